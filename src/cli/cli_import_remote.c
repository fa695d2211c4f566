/* Pushing topics into a running server.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_import_remote.h"

#include "base/json_text.h"
#include "cli/cli_import_own.h"
#include "cli/import_item.h"
#include "cli/import_settings.h"
#include "http/form.h"
#include "store/store.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_ITEMS = 500,
    BATCH_SIZE = 512 * 1024, /* bytes; an item that is larger goes alone */
    STATE_SIZE_MAX = 64 * 1024,
    PAGE_MESSAGES = 500,
};

/* A subscription to be made, or a topic's own settings. */
struct view {
    char *name;     /* owned; NULL: the topic */
    char *settings; /* owned: JSON */
    uint64_t next;  /* its cursor, in the numbers of the source */
    bool paused;    /* as it was */
    uint64_t below; /* messages of the source before it */
};

/* What the state file says. */
struct state {
    uint64_t ordinal; /* of the topic, counted from 1 */
    uint64_t next;    /* the message of the source that is the next to send */
    uint64_t end;     /* the server's topic ended here before that was sent */
    uint64_t base;    /* and here before the import */
    uint64_t refused; /* messages of the topic */
    uint64_t begun;   /* 0: all before it is done, and it is not begun */
};

struct cli_import_remote {
    struct cli_import_remote_options options;
    struct state found; /* as the file was; ordinal 0: there was none */
    struct state state;
    char topic[TOPIC_NAME_MAX + 1];
    uint64_t first;
    bool prepared; /* the server has been asked about the topic */
    bool fresh;    /* it was made here */
    struct view views[STORE_VIEWS_MAX + 1]; /* the first is the topic */
    uint32_t view_count;
    struct buf batch;
    uint32_t batch_items;
    uint64_t batch_next; /* the first message of it */
    uint64_t next;       /* behind the last message that was looked at */
    /* What the server has of the batch that was being sent: pieces of JSON,
     * owned; NULL: it was found again. */
    char **left;
    size_t left_count;
    /* A message whose body comes in parts. */
    struct buf headers;
    struct buf body;
    uint64_t body_size;        /* 0: none is coming */
    uint64_t refused;          /* messages, in all */
    struct cli_import_own own; /* a topic of the server's own */
};

static enum err failed(struct cli_import_remote *remote, int code)
{
    *remote->options.code = code;
    return ERR_IO;
}

/* What the part for OPQ's own topics came to; it has said why. */
static enum err said(struct cli_import_remote *remote, enum err err)
{
    return err == ERR_IO ? failed(remote, CLI_EXIT_FAILED) : err;
}

static enum err request(struct cli_import_remote *remote,
                        const char *method,
                        const struct buf *target,
                        struct str headers,
                        struct str body)
{
    const struct remote_request asked = {.method = method,
                                         .target = buf_str(target),
                                         .headers = headers,
                                         .body = body};

    if (buf_err(target) != ERR_OK) {
        return ERR_NOMEM;
    }
    int code = cli_request(remote->options.call, &asked);
    return code == CLI_EXIT_OK ? ERR_OK : failed(remote, code);
}

/* Begin a target: "/opq/topics/<topic>". */
static void topic_target(const struct cli_import_remote *remote, struct buf *to)
{
    buf_append_c(to, "/opq/topics/");
    form_escape(to, str_from(remote->topic));
}

static json_t *answer(const struct cli_import_remote *remote)
{
    const struct buf *body = &remote->options.call->response.body;

    return json_loadb(body->data != NULL ? body->data : "", body->size, 0,
                      NULL);
}

/* --- the state file ------------------------------------------------------- */

static enum err store_state(struct cli_import_remote *remote)
{
    const struct state *state = &remote->state;
    struct buf text = {0};

    buf_append_format(
        &text,
        "{\"opq_import\":1,\"mark\":\"%s\",\"topic\":%llu,\"next\":%llu,"
        "\"end\":%llu,\"base\":%llu,\"refused\":%llu,\"begun\":%llu}\n",
        remote->options.mark, (unsigned long long)state->ordinal,
        (unsigned long long)state->next, (unsigned long long)state->end,
        (unsigned long long)state->base, (unsigned long long)state->refused,
        (unsigned long long)state->begun);
    enum err err = buf_err(&text);
    if (err == ERR_OK) {
        err = file_replace(remote->options.state_path, text.data, text.size);
    }
    buf_fini(&text);
    if (err != ERR_OK) {
        return failed(remote,
                      cli_complain(remote->options.call, CLI_EXIT_FAILED,
                                   "%s: %s", remote->options.state_path,
                                   err_text(err)));
    }
    return ERR_OK;
}

static enum err load_state(struct cli_import_remote *remote)
{
    char *text = NULL;
    size_t size = 0;
    enum err err =
        file_load(remote->options.state_path, STATE_SIZE_MAX, &text, &size);

    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    json_t *state = err == ERR_OK ? json_loadb(text, size, 0, NULL) : NULL;
    free(text);
    if (strcmp(cli_text(state, "mark"), remote->options.mark) != 0) {
        json_decref(state);
        (void)failed(remote, cli_complain(remote->options.call, CLI_EXIT_FAILED,
                                          "%s is the state of another import",
                                          remote->options.state_path));
        return ERR_CONDITION;
    }
    remote->found = (struct state){
        .ordinal = cli_number(state, "topic"),
        .next = cli_number(state, "next"),
        .end = cli_number(state, "end"),
        .base = cli_number(state, "base"),
        .refused = cli_number(state, "refused"),
        .begun = cli_number(state, "begun"),
    };
    json_decref(state);
    return ERR_OK;
}

enum err cli_import_remote_open(const struct cli_import_remote_options *options,
                                struct cli_import_remote **out)
{
    struct cli_import_remote *remote = calloc(1, sizeof(*remote));

    if (remote == NULL) {
        return ERR_NOMEM;
    }
    remote->options = *options;
    remote->own =
        (struct cli_import_own){.call = options->call, .mark = options->mark};
    enum err err = load_state(remote);
    if (err != ERR_OK) {
        cli_import_remote_close(remote);
        return err;
    }
    *out = remote;
    return ERR_OK;
}

static void drop_views(struct cli_import_remote *remote)
{
    for (uint32_t index = 0; index < remote->view_count; index++) {
        free(remote->views[index].name);
        free(remote->views[index].settings);
    }
    remote->view_count = 0;
}

static void drop_left(struct cli_import_remote *remote)
{
    for (size_t index = 0; index < remote->left_count; index++) {
        free(remote->left[index]);
    }
    free(remote->left);
    remote->left = NULL;
    remote->left_count = 0;
}

void cli_import_remote_close(struct cli_import_remote *remote)
{
    if (remote == NULL) {
        return;
    }
    drop_views(remote);
    drop_left(remote);
    buf_fini(&remote->batch);
    buf_fini(&remote->headers);
    buf_fini(&remote->body);
    cli_import_own_fini(&remote->own);
    free(remote);
}

uint64_t cli_import_remote_refused(const struct cli_import_remote *remote)
{
    return remote->refused + remote->own.refused;
}

/* --- topics --------------------------------------------------------------- */

/* Settings as an object that also pauses. */
static char *settings_json(const struct topic_conf *conf, bool *out_paused)
{
    struct buf text = {0};

    buf_append_c(&text, "{\"paused\":true");
    *out_paused = import_settings_write(&text, conf->settings);
    buf_append_byte(&text, '}');
    buf_append_byte(&text, '\0');
    if (text.failed) {
        buf_fini(&text);
        return NULL;
    }
    return text.data;
}

static enum err add_view(struct cli_import_remote *remote,
                         const struct topic_conf *conf,
                         bool topic,
                         uint64_t next)
{
    struct view *view = &remote->views[remote->view_count];

    *view = (struct view){.next = next};
    view->settings = settings_json(conf, &view->paused);
    if (!topic) {
        view->name = strndup(conf->name.data, conf->name.size);
    }
    remote->view_count++;
    return view->settings == NULL || (!topic && view->name == NULL) ? ERR_NOMEM
                                                                    : ERR_OK;
}

enum err cli_import_remote_begin(struct cli_import_remote *remote,
                                 const struct topic_conf *conf,
                                 uint64_t first)
{
    struct str name = conf->name;

    drop_views(remote);
    drop_left(remote);
    remote->state =
        (struct state){.ordinal = remote->state.ordinal + 1, .next = first};
    bool done = remote->state.ordinal < remote->found.ordinal;
    enum err err = cli_import_own_begin(&remote->own, name);
    if (err == ERR_OK) {
        /* A log is read again, for the bucket behind it. */
        return done && remote->own.kind != CLI_IMPORT_OWN_LOG ? ERR_AGAIN
                                                              : ERR_OK;
    }
    if (done || err != ERR_UNSUPPORTED) {
        return done ? ERR_AGAIN : err;
    }
    if (!store_topic_name_valid(name)) {
        return ERR_INVALID;
    }
    if (str_starts(name, STR(".opq.")) ||
        (name.size > 4 &&
         str_equal(str_cut(name, name.size - 4, 4), STR(".dlq")))) {
        return ERR_UNSUPPORTED;
    }
    memcpy(remote->topic, name.data, name.size);
    remote->topic[name.size] = '\0';
    remote->first = first;
    remote->next = first;
    remote->prepared = false;
    return add_view(remote, conf, true, first);
}

void cli_import_remote_cursor(struct cli_import_remote *remote,
                              const struct topic_cursor *cursor)
{
    if (remote->own.kind == CLI_IMPORT_OWN_NONE) {
        remote->views[0].next = cursor->next;
    }
}

enum err cli_import_remote_view(struct cli_import_remote *remote,
                                const struct topic_conf *conf,
                                const struct topic_cursor *cursor)
{
    /* A replay is a view, too, but only a server begins one. */
    if (str_starts(conf->name, STR("replay-")) ||
        remote->view_count > STORE_VIEWS_MAX) {
        return ERR_OK;
    }
    return add_view(remote, conf, false, cursor->next);
}

/* --- what was sent before ------------------------------------------------- */

/* What tells a message from others, of the object that shows it. */
static char *distinguish(json_t *object)
{
    static const char *const names[] = {"url",         "method",    "body",
                                        "body_base64", "body_size", "key",
                                        "label",       "dedup_id"};
    json_t *kept = json_object();

    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        json_t *value = json_object_get(object, names[index]);
        if (value != NULL) {
            (void)json_object_set(kept, names[index], value);
        }
    }
    char *text = json_dumps(kept, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(kept);
    return text;
}

static enum err add_left(struct cli_import_remote *remote, json_t *message)
{
    char **left =
        realloc((void *)remote->left, (remote->left_count + 1) * sizeof(*left));
    if (left == NULL) {
        return ERR_NOMEM;
    }
    remote->left = left;
    left[remote->left_count] = distinguish(message);
    remote->left_count++;
    return ERR_OK;
}

/* Fetch what the topic got since the state was noted. */
static enum err fetch_left(struct cli_import_remote *remote, uint64_t end)
{
    uint64_t from = remote->found.end;
    enum err err = ERR_OK;

    while (err == ERR_OK && from < end) {
        struct buf target = {0};
        size_t index = 0;
        json_t *message = NULL;
        topic_target(remote, &target);
        buf_append_format(&target, "/messages?from=%llu&limit=%d",
                          (unsigned long long)from, (int)PAGE_MESSAGES);
        err = request(remote, "GET", &target, STR(""), STR(""));
        buf_fini(&target);
        json_t *page = err == ERR_OK ? answer(remote) : NULL;
        json_array_foreach(json_object_get(page, "messages"), index, message)
        {
            err = err == ERR_OK ? add_left(remote, message) : err;
        }
        uint64_t next = cli_number(page, "next");
        json_decref(page);
        if (next <= from) {
            break;
        }
        from = next;
    }
    return err;
}

/* Whether the server has a message of the batch that was cut short. */
static bool was_sent(struct cli_import_remote *remote,
                     const struct message *message)
{
    struct buf text = {0};
    struct buf form = {0};
    bool found = false;
    struct str body = message->body;

    if (remote->left_count == 0) {
        return false;
    }
    if (message->kind == MESSAGE_KIND_FORM) {
        import_item_form(&form, str_from(remote->topic), message);
        body = buf_str(&form);
    }
    buf_append_byte(&text, '{');
    buf_append_c(&text, "\"x\":0"); /* each member brings a comma */
    json_text_append_text(&text, "url", message->url);
    json_text_append_text(&text, "method",
                          message->method.size > 0 ? message->method
                                                   : STR("POST"));
    if (message->blob.size > 0) {
        json_text_append_number(&text, "body_size", message->blob.size);
    } else {
        json_text_append_bytes(&text, "body", body);
    }
    if (message->options != NULL && message->options->key.size > 0) {
        json_text_append_text(&text, "key", message->options->key);
    }
    if (message->options != NULL && message->options->label.size > 0) {
        json_text_append_text(&text, "label", message->options->label);
    }
    if (message->options != NULL && message->options->dedup_id.size > 0 &&
        !str_starts(message->options->dedup_id, STR("sha256:"))) {
        json_text_append_text(&text, "dedup_id", message->options->dedup_id);
    }
    buf_append_byte(&text, '}');
    json_t *object = json_loadb(text.data, text.size, 0, NULL);
    char *wanted = distinguish(object);
    for (size_t index = 0; !found && index < remote->left_count; index++) {
        if (remote->left[index] != NULL && wanted != NULL &&
            strcmp(remote->left[index], wanted) == 0) {
            found = true;
            free(remote->left[index]);
            remote->left[index] = NULL;
        }
    }
    free(wanted);
    json_decref(object);
    buf_fini(&text);
    buf_fini(&form);
    return found;
}

/* --- preparing a topic ---------------------------------------------------- */

/* Make the topic, or a subscription, with its settings; nothing of it is
 * delivered yet. */
static enum err make(struct cli_import_remote *remote, const struct view *view)
{
    struct buf target = {0};
    struct str settings = str_from(view->settings);

    topic_target(remote, &target);
    if (view->name != NULL) {
        buf_append_c(&target, "/subscriptions/");
        form_escape(&target, str_from(view->name));
        buf_append_c(&target, "?start=oldest");
    }
    enum err err = request(remote, "PUT", &target,
                           STR("Content-Type: application/json\r\n"), settings);
    buf_fini(&target);
    return err;
}

/* Where the server's topic ends. 404 is 0. */
static enum err ask_end(struct cli_import_remote *remote, uint64_t *out_end)
{
    struct buf target = {0};
    struct cli_call *call = remote->options.call;
    int code = CLI_EXIT_OK;

    topic_target(remote, &target);
    if (call->remote == NULL &&
        remote_open(call->url, call->ca_file, &call->remote) != ERR_OK) {
        buf_fini(&target);
        return failed(remote, cli_complain(call, CLI_EXIT_USAGE,
                                           "not an address: %s", call->url));
    }
    const struct remote_request asked = {.method = "GET",
                                         .target = buf_str(&target)};
    enum err err = remote_send(call->remote, &asked, &call->response);
    buf_fini(&target);
    if (err != ERR_OK) {
        code = cli_complain(call, CLI_EXIT_UNREACHABLE, "%s: %s", call->url,
                            err_text(err));
    } else if (call->response.status != 200 && call->response.status != 404) {
        code = cli_complain(call, CLI_EXIT_FAILED, "%s: %d", remote->topic,
                            call->response.status);
    }
    if (code != CLI_EXIT_OK) {
        return failed(remote, code);
    }
    json_t *topic = call->response.status == 200 ? answer(remote) : NULL;
    *out_end = cli_number(topic, "end");
    json_decref(topic);
    return ERR_OK;
}

static enum err prepare(struct cli_import_remote *remote)
{
    uint64_t end = 0;
    bool again = remote->state.ordinal == remote->found.ordinal &&
                 remote->found.begun != 0;
    enum err err = remote->prepared ? ERR_OK : ask_end(remote, &end);

    if (remote->prepared || err != ERR_OK) {
        return err;
    }
    remote->prepared = true;
    remote->state.base = again ? remote->found.base : end;
    remote->state.refused = again ? remote->found.refused : 0;
    remote->state.next = again ? remote->found.next : remote->first;
    remote->state.end = end;
    remote->state.begun = 1;
    remote->fresh = remote->state.base == 0;
    if (again) {
        err = fetch_left(remote, end);
    } else {
        err = store_state(remote);
    }
    for (uint32_t index = 0;
         remote->fresh && err == ERR_OK && index < remote->view_count;
         index++) {
        err = make(remote, &remote->views[index]);
    }
    return err;
}

/* --- messages ------------------------------------------------------------- */

/* What came of an item. */
static void take_result(struct cli_import_remote *remote, const json_t *result)
{
    if (json_object_get(result, "seq") != NULL ||
        json_object_get(result, "due") != NULL) {
        uint64_t end = cli_number(result, "seq") + 1;
        remote->state.end = end > remote->state.end ? end : remote->state.end;
        return;
    }
    remote->refused++;
    remote->state.refused++;
    (void)cli_complain(remote->options.call, CLI_EXIT_FAILED,
                       "%s: a message is refused: %s", remote->topic,
                       cli_text(result, "detail"));
}

/* Refusals that will be none later end the import: it is to be repeated. */
static enum err take_results(struct cli_import_remote *remote,
                             const json_t *results)
{
    size_t index = 0;
    json_t *result = NULL;

    json_array_foreach(results, index, result)
    {
        if (cli_number(result, "status") >= 500) {
            return failed(remote,
                          cli_complain(remote->options.call, CLI_EXIT_FAILED,
                                       "%s: %s; import it again to go on",
                                       remote->topic,
                                       cli_text(result, "detail")));
        }
    }
    json_array_foreach(results, index, result)
    {
        take_result(remote, result);
    }
    return ERR_OK;
}

/* Send what was gathered. */
static enum err flush(struct cli_import_remote *remote)
{
    struct buf target = {0};

    if (remote->batch_items == 0) {
        return buf_err(&remote->batch);
    }
    remote->state.next = remote->batch_next;
    enum err err = store_state(remote);
    buf_append_c(&target, "/opq/batch");
    if (err == ERR_OK) {
        err = buf_err(&remote->batch);
    }
    if (err == ERR_OK) {
        err = request(remote, "POST", &target,
                      STR("Content-Type: application/x-ndjson\r\n"),
                      buf_str(&remote->batch));
    }
    buf_fini(&target);
    if (err != ERR_OK) {
        return err;
    }
    json_t *results = answer(remote);
    err = take_results(remote, results);
    json_decref(results);
    if (err == ERR_OK) {
        buf_clear(&remote->batch);
        remote->batch_items = 0;
        remote->state.next = remote->next;
        err = store_state(remote);
    }
    return err;
}

/* Note a message, and whether it is to be pushed. */
static bool is_wanted(struct cli_import_remote *remote,
                      const struct record *record)
{
    bool wanted = record->sequence >= remote->state.next;

    for (uint32_t index = 0; index < remote->view_count; index++) {
        struct view *view = &remote->views[index];
        view->below += record->sequence < view->next ? 1 : 0;
    }
    if (!remote->fresh && record->sequence < remote->views[0].next) {
        return false; /* delivered, and the cursor here is others' business */
    }
    return wanted && !was_sent(remote, &record->message);
}

enum err cli_import_remote_message(struct cli_import_remote *remote,
                                   const struct record *record)
{
    const struct message *message = &record->message;
    uint64_t now_ms = clock_wall_ms();
    struct str topic = str_from(remote->topic);
    size_t before = 0;

    if (remote->own.kind != CLI_IMPORT_OWN_NONE) {
        return said(remote, cli_import_own_message(&remote->own, record));
    }
    enum err err = prepare(remote);
    if (err != ERR_OK) {
        return err;
    }
    bool wanted = is_wanted(remote, record);
    if (wanted &&
        (message->blob.size > 0 || remote->batch_items == BATCH_ITEMS ||
         remote->batch.size + record->size > BATCH_SIZE)) {
        err = flush(remote);
    }
    remote->body_size = 0;
    if (err == ERR_OK && wanted && message->blob.size > 0) {
        buf_clear(&remote->headers);
        buf_clear(&remote->body);
        import_item_headers(&remote->headers, topic, message, now_ms);
        remote->body_size = message->blob.size;
        remote->batch_next = record->sequence;
    } else if (err == ERR_OK && wanted) {
        before = remote->batch.size;
        import_item_write(&remote->batch, topic, message, now_ms);
        remote->batch_next =
            before == 0 ? record->sequence : remote->batch_next;
        remote->batch_items++;
    }
    remote->next = record->sequence + 1;
    return err;
}

enum err cli_import_remote_part(struct cli_import_remote *remote,
                                struct str bytes)
{
    struct buf target = {0};

    if (remote->body_size == 0) {
        return ERR_OK; /* it was pushed before */
    }
    if (bytes.size > remote->body_size - remote->body.size) {
        return ERR_INVALID;
    }
    buf_append_str(&remote->body, bytes);
    if (buf_err(&remote->body) != ERR_OK ||
        remote->body.size < remote->body_size) {
        return buf_err(&remote->body);
    }
    remote->body_size = 0;
    remote->state.next = remote->batch_next;
    enum err err = store_state(remote);
    buf_append_c(&target, "/opq/push");
    if (err == ERR_OK) {
        err = request(remote, "POST", &target, buf_str(&remote->headers),
                      buf_str(&remote->body));
    }
    buf_fini(&target);
    if (err == ERR_OK) {
        remote->state.end++;
        remote->state.next = remote->next;
        err = store_state(remote);
    }
    return err;
}

/* --- ends ----------------------------------------------------------------- */

/* Put a cursor where it was, and let it go on. What was refused is not there:
 * the cursor is so much lower, for a message may be delivered again, but none
 * be left out. */
static enum err restore(struct cli_import_remote *remote,
                        const struct view *view)
{
    struct buf target = {0};
    uint64_t refused = remote->state.refused;
    uint64_t at = view->below > refused ? view->below - refused : 0;
    enum err err = ERR_OK;

    if (at > 0) {
        if (view->name == NULL) {
            buf_append_c(&target, "/opq/replay?topic=");
            form_escape(&target, str_from(remote->topic));
            buf_append_format(&target, "&cmd=%llu", (unsigned long long)at);
        } else {
            topic_target(remote, &target);
            buf_append_c(&target, "/subscriptions/");
            form_escape(&target, str_from(view->name));
            buf_append_format(&target, "/replay?to=%llu",
                              (unsigned long long)at);
        }
        err = request(remote, "POST", &target, STR(""), STR(""));
    }
    if (err == ERR_OK && !view->paused) {
        buf_clear(&target);
        topic_target(remote, &target);
        if (view->name != NULL) {
            buf_append_c(&target, "/subscriptions/");
            form_escape(&target, str_from(view->name));
        }
        buf_append_c(&target, "/resume");
        err = request(remote, "POST", &target, STR(""), STR(""));
    }
    buf_fini(&target);
    return err;
}

enum err cli_import_remote_end(struct cli_import_remote *remote)
{
    bool own = remote->own.kind != CLI_IMPORT_OWN_NONE;
    enum err err =
        own ? said(remote, cli_import_own_end(&remote->own)) : prepare(remote);

    if (err == ERR_OK && !own) {
        err = flush(remote);
    }
    for (uint32_t index = 0;
         remote->fresh && err == ERR_OK && index < remote->view_count;
         index++) {
        err = restore(remote, &remote->views[index]);
    }
    if (err == ERR_OK) {
        const struct state done = remote->state;
        remote->state = (struct state){.ordinal = done.ordinal + 1};
        err =
            done.ordinal < remote->found.ordinal ? ERR_OK : store_state(remote);
        remote->state = done;
    }
    return err;
}
