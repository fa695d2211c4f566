/* One topic: its figures, its settings, and what is done to it.
 *
 * Settings take effect at once and are durable when the answer comes; when
 * they cannot be made durable, the topic goes back to those it had. While a
 * change is under way the topic may be deleted, so it is looked up anew when
 * the store is done.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_render.h"
#include "admin/api_settings.h"
#include "base/check.h"
#include "queue/answer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTING_NAME_MAX = 32 }; /* bytes; longer ones are unknown, too */

struct topic_call {
    struct api_call base;
    struct store_op op;
    struct shard *there;        /* borrowed: the topic's */
    struct api_reading reading; /* of the oldest message not delivered */
    struct buf changes;         /* owned: "name value\n" of a PUT */
    bool create;                /* the topic, when it is not there */
    bool created;
    uint64_t before; /* of a purge */
};

static struct topic_call *topic_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct topic_call, base);
}

static void topic_call_release(struct api_call *call)
{
    buf_fini(&topic_call_of(call)->changes);
}

/* Find the call's topic; when it is not there the call ends, and NULL is
 * returned. */
static struct topic *find_topic(struct topic_call *task, bool create)
{
    struct topic *topic = NULL;
    enum err err =
        shard_topic(task->there, str_from(task->base.topic), create, &topic);

    if (err != ERR_OK) {
        api_call_err(&task->base, err, "topic");
        api_call_end(&task->base);
        return NULL;
    }
    return topic;
}

static struct topic_call *create_call(const struct api_request *request,
                                      void (*run)(struct api_call *call,
                                                  struct shard *there))
{
    struct api_call *call =
        api_call_create(request, sizeof(struct topic_call), run);

    if (call == NULL) {
        return NULL;
    }
    call->release = topic_call_release;
    return topic_call_of(call);
}

/* --- show ----------------------------------------------------------------- */

static void show_ready(struct api_reading *reading);

static void show_end(struct topic_call *task, uint64_t age_ms)
{
    api_reading_close(&task->reading);
    struct topic *topic = find_topic(task, false);
    if (topic == NULL) {
        return;
    }
    api_render_topic(topic, age_ms, &task->base.body);
    buf_append_byte(&task->base.body, '\n');
    task->base.status = task->created ? 201 : 200;
    api_call_end(&task->base);
}

static void show_gone(struct api_reading *reading)
{
    struct topic_call *task = CONTAINER_OF(reading, struct topic_call, reading);

    api_call_err(&task->base, ERR_NOT_FOUND, "topic");
    api_call_end(&task->base);
}

/* A read ends by itself, also while the shard stops. */
static void show_stopping(struct api_reading *reading)
{
    (void)reading;
}

/* Read the message that the cursor is at, for its age. */
static void show_ready(struct api_reading *reading)
{
    struct topic_call *task = CONTAINER_OF(reading, struct topic_call, reading);
    const struct store_topic *stored = reading->reader->topic;
    struct record record;

    enum err err = api_reading_next(reading, stored->cursor.next, &record);
    if (err == ERR_AGAIN) {
        return;
    }
    uint64_t age_ms = API_AGE_NONE;
    uint64_t now_ms = io_wall_ms(task->there->io);
    if (err == ERR_OK) {
        uint64_t at_ms = record.message.pushed_at_ms;
        age_ms = now_ms > at_ms ? now_ms - at_ms : 0;
    }
    show_end(task, age_ms);
}

/* Answer with the topic's figures. */
static void show(struct topic_call *task, struct topic *topic)
{
    if (api_render_lag(topic->store) == 0) {
        show_end(task, API_AGE_NONE);
        return;
    }
    task->reading.ready = show_ready;
    task->reading.gone = show_gone;
    task->reading.stopping = show_stopping;
    enum err err =
        api_reading_open(&task->reading, task->base.api, task->there, topic);
    if (err != ERR_OK) {
        show_end(task, API_AGE_NONE);
        return;
    }
    show_ready(&task->reading);
}

static void get_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);

    task->there = there;
    struct topic *topic = find_topic(task, false);
    if (topic != NULL) {
        show(task, topic);
    }
}

void api_topic_get(const struct api_request *request)
{
    static const char *const known[] = {NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        struct topic_call *task = create_call(request, get_run);
        if (task != NULL) {
            api_call_send(&task->base);
        }
    }
    form_fini(&form);
}

/* --- settings ------------------------------------------------------------- */

/* Apply "name value\n" lines, which were checked before. */
static enum err apply_changes(struct str changes,
                              struct topic_settings *settings)
{
    struct buf detail = {0};
    enum err err = ERR_OK;

    while (changes.size > 0 && err == ERR_OK) {
        struct str line = str_cut(changes, 0, str_find(changes, '\n'));
        size_t blank = str_find(line, ' ');
        changes = str_cut(changes, line.size + 1, changes.size);
        err = api_settings_set(settings, str_cut(line, 0, blank),
                               str_cut(line, blank + 1, line.size), &detail);
    }
    buf_fini(&detail);
    return err;
}

/* The store has brought back the settings that the topic had; if it had none,
 * since it was made for them, it goes. */
static void put_failed(struct topic_call *task)
{
    struct str name = str_from(task->base.topic);
    struct topic *topic = NULL;

    shard_topic_unused(task->there, name);
    if (shard_topic(task->there, name, false, &topic) == ERR_OK &&
        topic_settings_read(topic->store->settings, &topic->settings) ==
            ERR_OK) {
        topic_changed(topic);
    }
}

static void configured(struct store_op *op, enum err err)
{
    struct topic_call *task = CONTAINER_OF(op, struct topic_call, op);
    struct topic *topic = NULL;

    if (err == ERR_OK) {
        topic = find_topic(task, false);
        if (topic != NULL) {
            show(task, topic);
        }
        return;
    }
    put_failed(task);
    api_call_err(&task->base, err, "the settings could not be stored");
    api_call_end(&task->base);
}

static void put_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);
    struct buf text = {0};

    task->there = there;
    struct topic *topic = NULL;
    if (task->create) {
        struct store_topic *stored = NULL;
        task->created = store_topic_open(there->store, str_from(call->topic),
                                         false, &stored) == ERR_NOT_FOUND;
    }
    topic = find_topic(task, task->create);
    if (topic == NULL) {
        return;
    }
    struct topic_settings settings = topic->settings;
    enum err err = apply_changes(buf_str(&task->changes), &settings);
    topic_settings_write(&settings, &text);
    err = err == ERR_OK ? buf_err(&text) : err;
    if (err != ERR_OK) {
        put_failed(task);
        api_call_err(call, err, "settings");
        api_call_end(call);
    } else {
        task->op.done = configured;
        topic->settings = settings;
        store_topic_configure(topic->store, buf_str(&text), &settings.retention,
                              &task->op);
        topic_changed(topic);
    }
    buf_fini(&text);
}

/* Tell whether a setting is among the changes noted so far. */
static bool is_noted(const struct topic_call *task, struct str name)
{
    struct str changes = buf_str(&task->changes);

    while (changes.size > 0) {
        struct str line = str_cut(changes, 0, str_find(changes, '\n'));
        changes = str_cut(changes, line.size + 1, changes.size);
        if (str_equal(str_cut(line, 0, str_find(line, ' ')), name)) {
            return true;
        }
    }
    return false;
}

/* Note a change, checked. Returns false when `detail` says what is wrong. */
static bool note_change(struct topic_call *task,
                        struct str name,
                        struct str value,
                        struct buf *detail)
{
    struct topic_settings scratch = {0};

    if (api_settings_set(&scratch, name, value, detail) != ERR_OK) {
        return false;
    }
    if (is_noted(task, name)) {
        buf_append_str(detail, name);
        buf_append_c(detail, " is given twice");
        return false;
    }
    buf_append_str(&task->changes, name);
    buf_append_byte(&task->changes, ' ');
    buf_append_str(&task->changes, str_trim(value));
    buf_append_byte(&task->changes, '\n');
    return true;
}

static bool
note_query(struct topic_call *task, const struct form *form, struct buf *detail)
{
    for (uint32_t index = 0; index < form->field_count; index++) {
        const struct form_field *field = &form->fields[index];
        if (!note_change(task, field->name, field->value, detail)) {
            return false;
        }
    }
    return true;
}

/* Opq-Retain-Age and the like: the setting's name, in `name`. */
static struct str header_setting(struct str header, char name[SETTING_NAME_MAX])
{
    struct str rest = str_cut(header, 4, header.size);
    size_t size = rest.size < SETTING_NAME_MAX ? rest.size : SETTING_NAME_MAX;

    for (size_t index = 0; index < size; index++) {
        char byte = rest.data[index];
        bool capital = byte >= 'A' && byte <= 'Z';
        byte = capital ? (char)(byte - 'A' + 'a') : byte;
        name[index] = byte == '-' ? '_' : byte;
    }
    return (struct str){name, size};
}

static bool note_headers(struct topic_call *task,
                         const struct http_head *head,
                         struct buf *detail)
{
    for (uint32_t index = 0; index < head->header_count; index++) {
        const struct http_header *header = &head->headers[index];
        char name[SETTING_NAME_MAX];
        if (api_is_control(header->name) &&
            !note_change(task, header_setting(header->name, name),
                         header->value, detail)) {
            return false;
        }
    }
    return true;
}

static bool note_member(struct topic_call *task,
                        const char *name,
                        const json_t *value,
                        struct buf *detail)
{
    char number[24];

    if (json_is_integer(value)) {
        (void)snprintf(number, sizeof(number), "%lld",
                       (long long)json_integer_value(value));
        return note_change(task, str_from(name), str_from(number), detail);
    }
    if (json_is_boolean(value)) {
        return note_change(task, str_from(name),
                           json_is_true(value) ? STR("yes") : STR("no"),
                           detail);
    }
    if (json_is_string(value)) {
        return note_change(
            task, str_from(name),
            (struct str){json_string_value(value), json_string_length(value)},
            detail);
    }
    buf_append_format(
        detail, "%.64s must be a string, a whole number, true or false", name);
    return false;
}

static bool
note_json(struct topic_call *task, struct str body, struct buf *detail)
{
    json_error_t error;
    const char *name = NULL;
    json_t *value = NULL;
    bool good = true;

    if (body.size == 0) {
        return true;
    }
    json_t *document =
        json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(document)) {
        buf_append_format(detail, "the body must be a JSON object%s%.100s",
                          document == NULL ? ": " : "",
                          document == NULL ? error.text : "");
        json_decref(document);
        return false;
    }
    json_object_foreach(document, name, value)
    {
        good = good && note_member(task, name, value, detail);
    }
    json_decref(document);
    return good;
}

/* Read the changes of a PUT. Returns false when `detail` says what is wrong. */
static bool read_changes(struct topic_call *task,
                         const struct http_exchange *exchange,
                         struct buf *detail)
{
    struct form form = {0};
    bool good = false;

    if (exchange->body.size > API_SETTINGS_SIZE_MAX) {
        buf_append_c(detail, "the body is too large for settings");
        return false;
    }
    if (form_parse_urlencoded(&form, exchange->head->query) != ERR_OK) {
        buf_append_c(detail, "the query is malformed");
    } else {
        good = note_headers(task, exchange->head, detail) &&
               note_query(task, &form, detail) &&
               note_json(task, exchange->body, detail);
    }
    form_fini(&form);
    return good;
}

void api_topic_put(const struct api_request *request)
{
    struct buf detail = {0};
    struct topic_call *task = create_call(request, put_run);

    if (task == NULL) {
        return;
    }
    task->create = true;
    bool good = read_changes(task, request->exchange, &detail);
    buf_append_byte(&detail, '\0');
    if (!good) {
        answer_problem(request->exchange, 400,
                       detail.failed ? "bad settings" : detail.data, NULL);
        api_call_drop(&task->base);
    } else if (buf_err(&task->changes) != ERR_OK) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        api_call_drop(&task->base);
    } else {
        api_call_send(&task->base);
    }
    buf_fini(&detail);
}

static void send_pause(const struct api_request *request)
{
    struct topic_call *task = create_call(request, put_run);

    if (task == NULL) {
        return;
    }
    buf_append_format(&task->changes, "paused %s\n", request->word);
    if (buf_err(&task->changes) != ERR_OK) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        api_call_drop(&task->base);
        return;
    }
    api_call_send(&task->base);
}

void api_topic_pause(const struct api_request *request)
{
    static const char *const known[] = {NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        send_pause(request);
    }
    form_fini(&form);
}

/* --- purge ---------------------------------------------------------------- */

static void purged(struct store_op *op, enum err err)
{
    struct topic_call *task = CONTAINER_OF(op, struct topic_call, op);
    struct topic *topic = find_topic(task, false);

    if (topic == NULL) {
        return;
    }
    if (err == ERR_OK) {
        show(task, topic);
        return;
    }
    topic_changed(topic); /* back to where it was */
    api_call_err(&task->base, err, "the topic could not be purged");
    api_call_end(&task->base);
}

static void purge_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);

    task->there = there;
    struct topic *topic = find_topic(task, false);
    if (topic == NULL) {
        return;
    }
    task->op.done = purged;
    store_purge(topic->store, task->before, &task->op);
    topic_changed(topic);
}

void api_topic_purge(const struct api_request *request)
{
    static const char *const known[] = {"before", NULL};
    struct form form = {0};
    uint64_t before = UINT64_MAX; /* all */

    if (api_query(request, known, &form) &&
        api_query_number(request, &form, "before", UINT64_MAX, &before)) {
        struct topic_call *task = create_call(request, purge_run);
        if (task != NULL) {
            task->before = before;
            api_call_send(&task->base);
        }
    }
    form_fini(&form);
}

/* --- delete --------------------------------------------------------------- */

static void deleted(struct store_op *op, enum err err)
{
    struct topic_call *task = CONTAINER_OF(op, struct topic_call, op);

    if (err == ERR_OK) {
        task->base.status = 204;
    } else {
        shard_topic_again(task->there, str_from(task->base.topic));
        api_call_err(&task->base, err, "the topic could not be deleted");
    }
    api_call_end(&task->base);
}

static void delete_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);

    task->there = there;
    struct topic *topic = find_topic(task, false);
    if (topic == NULL) {
        return;
    }
    api_reading_forget(call->api, there, topic);
    task->op.done = deleted;
    shard_topic_delete(there, topic, &task->op);
}

void api_topic_delete(const struct api_request *request)
{
    static const char *const known[] = {NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        struct topic_call *task = create_call(request, delete_run);
        if (task != NULL) {
            api_call_send(&task->base);
        }
    }
    form_fini(&form);
}
