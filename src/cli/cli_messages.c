/* Subcommands about messages: push, batch, message, tail.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "base/wall_time.h"
#include "cli/progress.h"
#include "http/form.h"
#include "http/parse.h"
#include "sys/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_ITEMS = 500,
    BATCH_SIZE = 512 * 1024, /* bytes of a batch, below the server's default */
    TAIL_COUNT = 10,
    FOLLOW_WAIT_MS = 100, /* before another try; it doubles up to */
    FOLLOW_WAIT_MS_MAX = 2000,
};

static const struct cli_option no_options[] = {{NULL, NULL, NULL, NULL}};

/* --- push ----------------------------------------------------------------- */

/* Control values: the flag of each, and the header that it becomes. */
static const struct push_control {
    const char *flag;
    const char *header;
} push_controls[] = {
    {"sync", "Opq-Sync"},
    {"timeout", "Opq-Timeout"},
    {"method", "Opq-Method"},
    {"delay", "Opq-Delay"},
    {"not-before", "Opq-Not-Before"},
    {"ttl", "Opq-Ttl"},
    {"key", "Opq-Key"},
    {"priority", "Opq-Priority"},
    {"retries", "Opq-Retries"},
    {"retry-schedule", "Opq-Retry-Schedule"},
    {"label", "Opq-Label"},
    {"dedup-id", "Opq-Dedup-Id"},
    {"collapse", "Opq-Collapse"},
    {"flow-key", "Opq-Flow-Key"},
    {"callback", "Opq-Callback"},
    {"failure-callback", "Opq-Failure-Callback"},
    {"expect-seq", "Opq-Expect-Seq"},
};

enum { PUSH_CONTROLS = sizeof(push_controls) / sizeof(push_controls[0]) };

struct push_options {
    const char *file;
    const char *type;                    /* NULL: a form */
    const char *controls[PUSH_CONTROLS]; /* NULL: not given */
    struct cli_repeats headers;
};

static void append_field(struct buf *to, const char *name, struct str value)
{
    buf_append_c(to, name);
    buf_append_byte(to, '=');
    form_escape(to, value);
}

/* Append the control values, and the headers that the delivery is to carry. */
static bool append_headers(struct buf *to, const struct push_options *options)
{
    bool good = true;

    for (uint32_t index = 0; index < PUSH_CONTROLS; index++) {
        const char *value = options->controls[index];
        if (value != NULL) {
            buf_append_format(to, "%s: %s\r\n", push_controls[index].header,
                              value);
            good = good && http_is_field_value(str_from(value));
        }
    }
    for (uint32_t index = 0; good && index < options->headers.count; index++) {
        struct str text = str_from(options->headers.values[index]);
        size_t colon = str_find(text, ':');
        struct str name = str_cut(text, 0, colon);
        struct str value = str_trim(str_cut(text, colon + 1, text.size));
        good = colon < text.size && http_is_token(name) &&
               http_is_field_value(value);
        buf_append_c(to, "Opq-Forward-");
        buf_append_str(to, name);
        buf_append_c(to, ": ");
        buf_append_str(to, value);
        buf_append_c(to, "\r\n");
    }
    return good;
}

/* Send a form, or the bytes as they are. */
static int send_push(struct cli_call *call,
                     const struct push_options *options,
                     struct str message)
{
    struct buf target = {0};
    struct buf headers = {0};
    struct buf body = {0};
    bool raw = options->type != NULL;
    struct buf *fields = raw ? &target : &body;

    bool good = append_headers(&headers, options);
    buf_append_c(&target, raw ? "/opq/push?" : "/opq/push");
    append_field(fields, "topic", str_from(call->words[0]));
    append_field(fields, "&url", str_from(call->words[1]));
    if (!raw) {
        append_field(&body, "&message", message);
    }
    buf_append_format(&headers, "Content-Type: %s\r\n",
                      raw ? options->type
                          : "application/x-www-form-urlencoded");
    good = good && (!raw || http_is_field_value(str_from(options->type)));
    const struct remote_request request = {
        .method = "POST",
        .target = buf_str(&target),
        .headers = buf_str(&headers),
        .body = raw ? message : buf_str(&body),
    };
    int code = CLI_EXIT_FAILED;
    if (!good) {
        code = cli_complain(call, CLI_EXIT_USAGE, "a header is malformed");
    } else if (!target.failed && !headers.failed && !body.failed) {
        code = cli_request(call, &request);
    }
    buf_fini(&target);
    buf_fini(&headers);
    buf_fini(&body);
    return code;
}

/* Print what the last answer says was pushed. */
static int print_pushed(struct cli_call *call)
{
    struct buf text = {0};

    if (call->json) {
        return cli_print_response(call);
    }
    json_t *pushed =
        json_loadb(call->response.body.data, call->response.body.size, 0, NULL);
    buf_append_format(&text, "%s %llu %s\n", cli_text(pushed, "topic"),
                      (unsigned long long)cli_number(pushed, "seq"),
                      cli_text(pushed, "id"));
    json_decref(pushed);
    return cli_print(&text);
}

/* The flags of a push: `to` has room for all of them and an end. */
static void list_push_flags(struct push_options *push, struct cli_option *to)
{
    const struct cli_option others[] = {
        {"file", &push->file, NULL, NULL},
        {"type", &push->type, NULL, NULL},
        {"header", NULL, NULL, &push->headers},
        {NULL, NULL, NULL, NULL},
    };

    for (uint32_t index = 0; index < PUSH_CONTROLS; index++) {
        to[index] = (struct cli_option){.name = push_controls[index].flag,
                                        .value = &push->controls[index]};
    }
    memcpy(to + PUSH_CONTROLS, others, sizeof(others));
}

int cli_push(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "push",
        .usage = "TOPIC URL [MESSAGE] [--file PATH|-] [--type MEDIA-TYPE]\n"
                 "    [--header 'NAME: VALUE']... [--sync disk|none] "
                 "[--timeout 10s]\n    [--method VERB] [--delay 10m] "
                 "[--not-before TIME] [--ttl 1h]\n    [--key KEY] "
                 "[--priority 0-9] [--retries N] [--retry-schedule 5s,1m]\n"
                 "    [--label TEXT] [--dedup-id ID] [--collapse KEY] "
                 "[--flow-key KEY]\n    [--callback URL] "
                 "[--failure-callback URL] [--expect-seq SEQ] [--json]\n"
                 "Pushes a form with the field `message`; with --type, the "
                 "message's bytes as they are.\nAn empty URL, '', is for the "
                 "topic's subscriptions.",
    };
    struct push_options push = {0};
    struct cli_option options[PUSH_CONTROLS + 4];
    struct buf message = {0};
    list_push_flags(&push, options);
    int code = cli_parse(&call, argument_count, arguments, options, 2, 3);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    if (push.file != NULL && call.word_count == 3) {
        code = cli_complain(&call, CLI_EXIT_USAGE,
                            "a message and --file: which one?");
    } else if (push.file != NULL) {
        code = cli_read_input(&call, push.file, &message);
    } else if (call.word_count == 3) {
        buf_append_c(&message, call.words[2]);
    }
    code =
        code == CLI_EXIT_OK ? send_push(&call, &push, buf_str(&message)) : code;
    code = code == CLI_EXIT_OK ? print_pushed(&call) : code;
    buf_fini(&message);
    cli_call_fini(&call);
    return code;
}

/* --- batch ---------------------------------------------------------------- */

struct batch_count {
    uint64_t stored;
    uint64_t refused;
};

/* Count the results of a batch; say those that are problems. */
static int count_results(struct cli_call *call, struct batch_count *count)
{
    json_t *results =
        json_loadb(call->response.body.data, call->response.body.size, 0, NULL);
    size_t index = 0;
    json_t *result = NULL;

    if (!json_is_array(results)) {
        json_decref(results);
        return cli_complain(call, CLI_EXIT_FAILED, "no answer to a batch");
    }
    json_array_foreach(results, index, result)
    {
        if (json_object_get(result, "id") != NULL) {
            count->stored++;
            continue;
        }
        count->refused++;
        unsigned long long item = count->stored + count->refused;
        if (!call->json) {
            (void)cli_complain(call, CLI_EXIT_FAILED, "item %llu: %s", item,
                               cli_text(result, "detail"));
        }
    }
    json_decref(results);
    return call->json ? cli_print_response(call) : CLI_EXIT_OK;
}

/* Take as many lines as one batch has. */
static struct str take_lines(struct str *left)
{
    struct str text = *left;
    size_t size = 0;

    for (unsigned lines = 0; lines < BATCH_ITEMS && size < text.size; lines++) {
        struct str rest = str_cut(text, size, text.size);
        size_t line = str_find(rest, '\n') + 1;
        if (size > 0 && size + line > BATCH_SIZE) {
            break;
        }
        size = size + line < text.size ? size + line : text.size;
    }
    *left = str_cut(text, size, text.size);
    return str_cut(text, 0, size);
}

static int send_batches(struct cli_call *call, struct str lines)
{
    struct batch_count count = {0};
    struct progress progress;
    struct buf text = {0};
    size_t size = lines.size;
    int code = CLI_EXIT_OK;

    progress_begin(&progress);
    while (str_trim(lines).size > 0 && code == CLI_EXIT_OK) {
        const struct remote_request request = {
            .method = "POST",
            .target = STR("/opq/batch"),
            .headers = STR("Content-Type: application/x-ndjson\r\n"),
            .body = take_lines(&lines),
        };
        code = cli_request(call, &request);
        code = code == CLI_EXIT_OK ? count_results(call, &count) : code;
        progress_show(&progress, size - lines.size, size,
                      "bytes; %llu stored, %llu refused",
                      (unsigned long long)count.stored,
                      (unsigned long long)count.refused);
    }
    progress_end(&progress);
    if (!call->json) {
        buf_append_format(&text, "%llu stored, %llu refused\n",
                          (unsigned long long)count.stored,
                          (unsigned long long)count.refused);
        int printed = cli_print(&text);
        code = code == CLI_EXIT_OK ? printed : code;
    }
    return code == CLI_EXIT_OK && count.refused > 0 ? CLI_EXIT_FAILED : code;
}

int cli_batch(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "batch",
        .usage = "[FILE] [--json]\n"
                 "Pushes a JSON object on each line: {\"topic\":..., "
                 "\"url\":..., \"message\":...}",
    };
    struct buf lines = {0};
    int code = cli_parse(&call, argument_count, arguments, no_options, 0, 1);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = cli_read_input(&call, call.word_count > 0 ? call.words[0] : "-",
                          &lines);
    code = code == CLI_EXIT_OK ? send_batches(&call, buf_str(&lines)) : code;
    buf_fini(&lines);
    cli_call_fini(&call);
    return code;
}

/* --- message -------------------------------------------------------------- */

static void append_pairs(struct buf *to, const json_t *pairs, const char *mark)
{
    size_t index = 0;
    json_t *pair = NULL;

    json_array_foreach(pairs, index, pair)
    {
        buf_append_format(to, "%s%s: %s%s\n", mark, cli_text(pair, "name"),
                          cli_text(pair, "value"),
                          cli_text(pair, "value_base64"));
    }
}

/* A raw body, as far as the server shows it. */
static void append_raw(struct buf *to, const json_t *message)
{
    if (json_is_true(json_object_get(message, "body_omitted"))) {
        buf_append_format(to, "[%llu bytes in a file]",
                          (unsigned long long)cli_number(message, "body_size"));
        return;
    }
    buf_append_c(to, cli_text(message, "body"));
    buf_append_c(to, cli_text(message, "body_base64"));
}

/* Append what the push asked for besides, if it did. */
static void append_asked(struct buf *to, const json_t *message)
{
    static const char *const texts[] = {
        "topic",          "key",      "not_before",      "expires_at",
        "retry_schedule", "label",    "dedup_id",        "collapse",
        "flow_key",       "callback", "failure_callback"};
    static const char *const numbers[] = {"priority", "retries"};

    for (unsigned index = 0; index < sizeof(texts) / sizeof(texts[0]);
         index++) {
        const char *value = cli_text(message, texts[index]);
        if (value[0] != '\0') {
            buf_append_format(to, "%-12s %s\n", texts[index], value);
        }
    }
    for (unsigned index = 0; index < sizeof(numbers) / sizeof(numbers[0]);
         index++) {
        if (json_object_get(message, numbers[index]) != NULL) {
            buf_append_format(
                to, "%-12s %llu\n", numbers[index],
                (unsigned long long)cli_number(message, numbers[index]));
        }
    }
    char *dead = json_dumps(json_object_get(message, "dead"),
                            JSON_COMPACT | JSON_ENCODE_ANY);
    if (dead != NULL) {
        buf_append_format(to, "%-12s %s\n", "dead", dead);
        free(dead);
    }
}

static int print_message(struct cli_call *call, const json_t *message)
{
    struct buf text = {0};
    static const char *const names[] = {"id",    "pushed_at", "method",
                                        "url",   "kind",      "content_type",
                                        "state", "because"};

    if (call->json) {
        return cli_print_response(call);
    }
    for (unsigned index = 0; index < sizeof(names) / sizeof(names[0]);
         index++) {
        buf_append_format(&text, "%-13s%s\n", names[index],
                          cli_text(message, names[index]));
    }
    append_asked(&text, message);
    append_pairs(&text, json_object_get(message, "headers"), "header  ");
    append_pairs(&text, json_object_get(message, "fields"), "field   ");
    if (strcmp(cli_text(message, "kind"), "raw") == 0) {
        buf_append_byte(&text, '\n');
        append_raw(&text, message);
        buf_append_byte(&text, '\n');
    }
    return cli_print(&text);
}

int cli_message(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "message",
                            .usage = "TOPIC SEQ [--curl] [--json]"};
    bool as_command = false;
    const struct cli_option options[] = {
        {"curl", NULL, &as_command, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct buf target = {0};
    json_t *message = NULL;
    int code = cli_parse(&call, argument_count, arguments, options, 2, 2);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    buf_append_c(&target, "/opq/topics/");
    form_escape(&target, str_from(call.words[0]));
    buf_append_c(&target, "/messages/");
    form_escape(&target, str_from(call.words[1]));
    if (as_command) {
        buf_append_c(&target, "/curl");
        const struct remote_request request = {.method = "GET",
                                               .target = buf_str(&target)};
        code = cli_request(&call, &request);
        code = code == CLI_EXIT_OK ? cli_print_response(&call) : code;
    } else {
        code = cli_get_json(&call, buf_str(&target), &message);
    }
    if (code == CLI_EXIT_OK && message != NULL) {
        code = print_message(&call, message);
        json_decref(message);
    }
    buf_fini(&target);
    cli_call_fini(&call);
    return code;
}

/* --- tail ----------------------------------------------------------------- */

struct tail_options {
    const char *from;
    const char *from_time;
    const char *since;
    const char *count;
    bool follow;
};

/* The body of a message on one line. */
static void append_body(struct buf *to, const json_t *message)
{
    const json_t *fields = json_object_get(message, "fields");
    size_t index = 0;
    json_t *field = NULL;

    append_raw(to, message);
    json_array_foreach(fields, index, field)
    {
        buf_append_format(to, "%s%s=%s%s", index > 0 ? "&" : "",
                          cli_text(field, "name"), cli_text(field, "value"),
                          cli_text(field, "value_base64"));
    }
}

/* Put a blank for each control from a place on. */
static void clean(struct buf *to, size_t begin)
{
    for (size_t at = begin; at < to->size; at++) {
        unsigned char byte = (unsigned char)to->data[at];
        to->data[at] = byte < 0x20 || byte == 0x7f ? ' ' : to->data[at];
    }
}

static void append_plain_line(struct buf *to, const json_t *message)
{
    bool colours = cli_colours();

    buf_append_c(to, colours ? "\033[36m" : "");
    size_t begin = to->size;
    buf_append_format(to, "%llu %s",
                      (unsigned long long)cli_number(message, "seq"),
                      cli_text(message, "pushed_at"));
    clean(to, begin);
    buf_append_c(to, colours ? "\033[0m" : "");
    begin = to->size;
    buf_append_format(to, " %s ", cli_text(message, "url"));
    append_body(to, message);
    clean(to, begin);
}

static void append_line(struct buf *to, const json_t *message, bool json)
{
    if (json) {
        char *dumped = json_dumps(message, CLI_JSON);
        buf_append_c(to, dumped != NULL ? dumped : "");
        free(dumped);
    } else {
        append_plain_line(to, message);
    }
    buf_append_byte(to, '\n');
}

int cli_print_messages(const struct cli_call *call,
                       const json_t *page,
                       size_t *out_count)
{
    const json_t *messages = json_object_get(page, "messages");
    struct buf text = {0};
    size_t index = 0;
    json_t *message = NULL;

    json_array_foreach(messages, index, message)
    {
        append_line(&text, message, call->json);
    }
    *out_count = json_array_size(messages);
    return cli_print(&text);
}

static void append_target(const struct cli_call *call, struct buf *to)
{
    buf_append_c(to, "/opq/topics/");
    form_escape(to, str_from(call->words[0]));
}

/* From a time on: one that is given, or so long ago. */
static int
append_since(const struct cli_call *call, const char *since, struct buf *to)
{
    struct buf text = {0};
    uint64_t ms = 0;
    uint64_t now_ms = clock_wall_ms();

    if (str_to_duration_ms(str_from(since), &ms) == ERR_OK) {
        wall_time_write(&text, now_ms > ms ? now_ms - ms : 0);
    } else if (wall_time_parse(str_from(since), &ms) == ERR_OK) {
        buf_append_c(&text, since);
    } else {
        return cli_complain(call, CLI_EXIT_USAGE,
                            "--since takes a duration such as 10m, or a time");
    }
    append_field(to, "from_time", buf_str(&text));
    buf_fini(&text);
    return CLI_EXIT_OK;
}

/* Where to begin, as a query: what was asked for, or the last few. */
static int tail_begin(struct cli_call *call,
                      const struct tail_options *options,
                      struct buf *to)
{
    struct buf target = {0};
    json_t *topic = NULL;
    uint64_t count = TAIL_COUNT;

    if (options->since != NULL) {
        return append_since(call, options->since, to);
    }
    if (options->from != NULL || options->from_time != NULL) {
        const char *value =
            options->from != NULL ? options->from : options->from_time;
        append_field(to, options->from != NULL ? "from" : "from_time",
                     str_from(value));
        return CLI_EXIT_OK;
    }
    if (options->count != NULL &&
        str_to_u64(str_from(options->count), &count) != ERR_OK) {
        return cli_complain(call, CLI_EXIT_USAGE, "-n takes a number");
    }
    append_target(call, &target);
    int code = cli_get_json(call, buf_str(&target), &topic);
    buf_fini(&target);
    if (code != CLI_EXIT_OK) {
        return code;
    }
    uint64_t oldest = cli_number(topic, "oldest");
    uint64_t end = cli_number(topic, "end");
    uint64_t from = end - oldest > count ? end - count : oldest;
    json_decref(topic);
    buf_append_format(to, "from=%llu", (unsigned long long)from);
    return CLI_EXIT_OK;
}

/* Ask for a page that is followed until the server gives it, over restarts of
 * it. What went wrong is said once, and when it is over. */
static int
follow_page(struct cli_call *call, const struct buf *target, json_t **out)
{
    uint32_t wait_ms = FOLLOW_WAIT_MS;

    call->silent = true;
    int code = cli_get_json(call, buf_str(target), out);
    call->silent = false;
    if (cli_is_passing(call, code)) {
        (void)cli_complain(call, code, "%s does not answer; trying again",
                           call->url);
    }
    while (cli_is_passing(call, code)) {
        clock_sleep_ms(wait_ms);
        wait_ms =
            wait_ms * 2 < FOLLOW_WAIT_MS_MAX ? wait_ms * 2 : FOLLOW_WAIT_MS_MAX;
        call->silent = true;
        code = cli_get_json(call, buf_str(target), out);
        call->silent = false;
        if (!cli_is_passing(call, code)) {
            (void)cli_complain(call, code, "%s is back", call->url);
        }
    }
    /* Asked once more, aloud. */
    return code == CLI_EXIT_OK ? code
                               : cli_get_json(call, buf_str(target), out);
}

/* Print a page; `*place` is where the next one begins. */
static int tail_page(struct cli_call *call,
                     const json_t *page,
                     struct buf *place,
                     bool *more)
{
    size_t count = 0;
    int code = cli_print_messages(call, page, &count);
    uint64_t next = cli_number(page, "next");

    *more = next < cli_number(page, "end");
    buf_clear(place);
    buf_append_format(place, "from=%llu", (unsigned long long)next);
    return code;
}

/* Print page after page, waiting at the end when it is followed. */
static int tail_pages(struct cli_call *call, const struct tail_options *options)
{
    struct buf place = {0};
    struct buf target = {0};
    int code = tail_begin(call, options, &place);
    bool first = true;
    bool more = true;

    while (more && code == CLI_EXIT_OK) {
        json_t *page = NULL;
        buf_clear(&target);
        append_target(call, &target);
        buf_append_c(&target, "/messages?limit=1000&");
        buf_append_str(&target, buf_str(&place));
        buf_append_c(&target, options->follow ? "&wait=60s" : "");
        code = options->follow && !first
                   ? follow_page(call, &target, &page)
                   : cli_get_json(call, buf_str(&target), &page);
        if (code == CLI_EXIT_OK) {
            code = tail_page(call, page, &place, &more);
            json_decref(page);
        }
        more = more || options->follow;
        first = false;
    }
    buf_fini(&place);
    buf_fini(&target);
    return code;
}

int cli_tail(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "tail",
        .usage = "TOPIC [-n COUNT] [--from SEQ] [--from-time TIME]\n"
                 "    [--since 10m|TIME] [-f|--follow] [--json]\n"
                 "With -f it goes on, over restarts of the server too.",
    };
    struct tail_options tail = {0};
    const struct cli_option options[] = {
        {"n", &tail.count, NULL, NULL},
        {"from", &tail.from, NULL, NULL},
        {"from-time", &tail.from_time, NULL, NULL},
        {"since", &tail.since, NULL, NULL},
        {"f", NULL, &tail.follow, NULL},
        {"follow", NULL, &tail.follow, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code = cli_parse(&call, argument_count, arguments, options, 1, 1);

    if (code == CLI_EXIT_OK && !call.help) {
        code = tail_pages(&call, &tail);
    }
    cli_call_fini(&call);
    return code;
}
