/* Subcommands about topics: list, show, pause, resume, set, purge, delete,
 * replay; and about the server: info.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/cli_list.h"
#include "http/form.h"

#include <stdio.h>
#include <stdlib.h>

static const struct cli_option no_options[] = {{NULL, NULL, NULL, NULL}};

/* A request about a topic: METHOD /opq/topics/TOPIC<rest>. */
static int request_topic(struct cli_call *call,
                         const char *method,
                         const char *topic,
                         struct str rest)
{
    struct buf target = {0};

    buf_append_c(&target, "/opq/topics/");
    form_escape(&target, str_from(topic));
    buf_append_str(&target, rest);
    int code = cli_list_request(call, method, &target, (struct str){NULL, 0});
    buf_fini(&target);
    return code;
}

/* --- topics --------------------------------------------------------------- */

static void add_row(struct table *table, const json_t *topic)
{
    struct buf text = {0};

    table_add(table, cli_text(topic, "name"));
    table_add_u64(table, cli_number(topic, "oldest"));
    table_add_u64(table, cli_number(topic, "end"));
    table_add_u64(table, cli_number(topic, "lag"));
    cli_append_size(&text, cli_number(topic, "bytes"));
    buf_append_byte(&text, '\0');
    table_add(table, text.failed ? "" : text.data);
    buf_clear(&text);
    if (json_is_integer(json_object_get(topic, "oldest_undelivered_age_ms"))) {
        cli_append_span(&text, cli_number(topic, "oldest_undelivered_age_ms"));
    } else {
        buf_append_byte(&text, '-');
    }
    buf_append_byte(&text, '\0');
    table_add(table, text.failed ? "" : text.data);
    table_add_u64(table, cli_number(topic, "attempts"));
    table_add(table, cli_text(topic, "state"));
    table_add(table, cli_text(topic, "because"));
    buf_fini(&text);
}

static int list_topics(struct cli_call *call)
{
    static const char *const heads[] = {"TOPIC", "OLDEST", "END",
                                        "LAG",   "BYTES",  "AGE",
                                        "FAILS", "STATE",  "BECAUSE"};
    const struct cli_list list = {
        .target = STR("/opq/topics?limit=1000"),
        .member = "topics",
        .heads = heads,
        .head_count = sizeof(heads) / sizeof(heads[0]),
        .right = 0x7e,
        .add_row = add_row,
    };

    return cli_list_print(call, &list);
}

int cli_print_answer(struct cli_call *call)
{
    if (call->json) {
        return cli_print_response(call);
    }
    json_t *object =
        json_loadb(call->response.body.data, call->response.body.size, 0, NULL);
    int code = cli_print_object(object);
    json_decref(object);
    return code;
}

int cli_topics(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "topics", .usage = "[TOPIC] [--json]"};
    int code = cli_parse(&call, argument_count, arguments, no_options, 0, 1);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    if (call.word_count == 0) {
        code = list_topics(&call);
    } else {
        code = request_topic(&call, "GET", call.words[0], STR(""));
        code = code == CLI_EXIT_OK ? cli_print_answer(&call) : code;
    }
    cli_call_fini(&call);
    return code;
}

/* --- info ----------------------------------------------------------------- */

/* Print an object as a table, the members of those in it as lines of it. */
static int print_flat(const json_t *object)
{
    json_t *flat = json_object();
    const char *name = NULL;
    const char *inner = NULL;
    json_t *value = NULL;
    json_t *member = NULL;

    json_object_foreach((json_t *)object, name, value)
    {
        if (!json_is_object(value)) {
            (void)json_object_set(flat, name, value);
        }
        json_object_foreach(value, inner, member)
        {
            char path[64];
            (void)snprintf(path, sizeof(path), "%s.%s", name, inner);
            (void)json_object_set(flat, path, member);
        }
    }
    int code = cli_print_object(flat);
    json_decref(flat);
    return code;
}

int cli_info(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "info", .usage = "[--json]"};
    json_t *info = NULL;
    int code = cli_parse(&call, argument_count, arguments, no_options, 0, 0);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = cli_get_json(&call, STR("/opq/info"), &info);
    if (code == CLI_EXIT_OK) {
        code = call.json ? cli_print_response(&call) : print_flat(info);
        json_decref(info);
    }
    cli_call_fini(&call);
    return code;
}

/* --- changes -------------------------------------------------------------- */

/* Take a command line of one topic and do one thing to it. */
static int change_topic(struct cli_call *call,
                        int argument_count,
                        char *const *arguments,
                        const char *method,
                        struct str rest)
{
    call->usage = "TOPIC [--json]";
    int code = cli_parse(call, argument_count, arguments, no_options, 1, 1);
    if (code != CLI_EXIT_OK || call->help) {
        return code;
    }
    code = request_topic(call, method, call->words[0], rest);
    code = code == CLI_EXIT_OK ? cli_print_if_json(call) : code;
    cli_call_fini(call);
    return code;
}

int cli_pause(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "pause"};

    return change_topic(&call, argument_count, arguments, "POST",
                        STR("/pause"));
}

int cli_resume(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "resume"};

    return change_topic(&call, argument_count, arguments, "POST",
                        STR("/resume"));
}

int cli_delete(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "delete"};

    return change_topic(&call, argument_count, arguments, "DELETE", STR(""));
}

int cli_purge(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "purge",
                            .usage = "TOPIC [--before SEQ] [--json]"};
    const char *before = NULL;
    const struct cli_option options[] = {{"before", &before, NULL, NULL},
                                         {NULL, NULL, NULL, NULL}};
    struct buf rest = {0};
    int code = cli_parse(&call, argument_count, arguments, options, 1, 1);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    buf_append_c(&rest, "/purge");
    cli_list_parameter(&rest, "before", before);
    code = request_topic(&call, "POST", call.words[0], buf_str(&rest));
    code = code == CLI_EXIT_OK ? cli_print_if_json(&call) : code;
    buf_fini(&rest);
    cli_call_fini(&call);
    return code;
}

int cli_set(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "set",
                            .usage = "TOPIC NAME=VALUE... [--json]"};
    struct buf rest = {0};
    int code = cli_parse(&call, argument_count, arguments, no_options, 2,
                         CLI_WORDS_MAX);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    cli_list_parameters(&rest, &call, 1, '?');
    code = request_topic(&call, "PUT", call.words[0], buf_str(&rest));
    code = code == CLI_EXIT_OK ? cli_print_answer(&call) : code;
    buf_fini(&rest);
    cli_call_fini(&call);
    return code;
}

int cli_replay(int argument_count, char *const *arguments)
{
    struct cli_call call = {.command = "replay", .usage = "TOPIC SEQ [--json]"};
    struct buf body = {0};
    int code = cli_parse(&call, argument_count, arguments, no_options, 2, 2);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    buf_append_c(&body, "topic=");
    form_escape(&body, str_from(call.words[0]));
    buf_append_c(&body, "&cmd=");
    form_escape(&body, str_from(call.words[1]));
    const struct remote_request request = {
        .method = "POST",
        .target = STR("/opq/replay"),
        .headers = STR("Content-Type: application/x-www-form-urlencoded\r\n"),
        .body = buf_str(&body),
    };
    code = cli_request(&call, &request);
    code = code == CLI_EXIT_OK ? cli_print_if_json(&call) : code;
    buf_fini(&body);
    cli_call_fini(&call);
    return code;
}
