/* Subcommand schedules: list, show, set, rm, pause, resume, run.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/cli_list.h"
#include "http/form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct set_options {
    const char *file; /* the whole definition, in JSON */
    const char *cron;
    const char *zone;
    const char *missed;
    const char *type;
    const char *method;
    bool paused;
    struct cli_repeats headers;
    struct cli_repeats members; /* NAME=VALUE */
};

/* Append "/opq/schedules/ID". */
static void append_target(struct buf *to, const char *id)
{
    buf_append_c(to, "/opq/schedules/");
    form_escape(to, str_from(id));
}

/* --- list ----------------------------------------------------------------- */

static void add_row(struct table *table, const json_t *schedule)
{
    const char *error = cli_text(schedule, "error");
    const char *next = cli_text(schedule, "next_local");
    const char *last = cli_text(schedule, "last_run_at");
    bool paused = json_is_true(json_object_get(schedule, "paused"));

    table_add(table, cli_text(schedule, "id"));
    table_add(table, cli_text(schedule, "cron"));
    table_add(table, cli_text(schedule, "zone"));
    table_add(table, next[0] != '\0' ? next : "-");
    table_add(table, last[0] != '\0' ? last : "-");
    table_add_u64(table, cli_number(schedule, "runs"));
    table_add(table, cli_text(schedule, "topic"));
    table_add(table, paused ? "paused" : error[0] != '\0' ? error : "active");
}

static int list(struct cli_call *call)
{
    static const char *const heads[] = {"ID",       "CRON", "ZONE",  "NEXT",
                                        "LAST RUN", "RUNS", "TOPIC", "STATE"};
    enum { RUNS = 5 };
    const struct cli_list list = {
        .target = STR("/opq/schedules?limit=1000"),
        .member = "schedules",
        .heads = heads,
        .head_count = sizeof(heads) / sizeof(heads[0]),
        .right = 1U << RUNS,
        .add_row = add_row,
    };

    return cli_list_print(call, &list);
}

/* --- set ------------------------------------------------------------------ */

/* Set a member to a text, when it is given. False when it is not UTF-8. */
static bool set_text(json_t *object, const char *name, const char *text)
{
    return text == NULL ||
           json_object_set_new(object, name, json_string(text)) == 0;
}

/* Set what stands as NAME<mark>VALUE. */
static bool set_pair(json_t *object, const char *text, char mark)
{
    char name[128];
    struct str whole = str_from(text);
    size_t size = str_find(whole, mark);

    if (size == whole.size || size == 0 || size >= sizeof(name)) {
        return false;
    }
    memcpy(name, text, size);
    name[size] = '\0';
    text += size + 1;
    text += strspn(text, mark == ':' ? " " : "");
    return set_text(object, name, text);
}

static bool set_headers(json_t *object, const struct cli_repeats *headers)
{
    json_t *members = json_object();
    bool good = members != NULL;

    for (uint32_t index = 0; good && index < headers->count; index++) {
        good = set_pair(members, headers->values[index], ':');
    }
    if (headers->count == 0) {
        json_decref(members);
        return good;
    }
    return json_object_set_new(object, "headers", members) == 0 && good;
}

/* Make a definition of the command line; NULL: it cannot be. */
static json_t *make_definition(const struct cli_call *call,
                               const struct set_options *options)
{
    json_t *object = json_object();
    bool good = set_text(object, "cron", options->cron) &&
                set_text(object, "zone", options->zone) &&
                set_text(object, "missed", options->missed) &&
                set_text(object, "content_type", options->type) &&
                set_text(object, "method", options->method) &&
                set_text(object, "topic", call->words[2]) &&
                set_text(object, "url", call->words[3]) &&
                set_text(object, "message",
                         call->word_count > 4 ? call->words[4] : NULL) &&
                set_headers(object, &options->headers);

    if (options->paused) {
        good = good && json_object_set_new(object, "paused", json_true()) == 0;
    }
    for (uint32_t index = 0; good && index < options->members.count; index++) {
        good = set_pair(object, options->members.values[index], '=');
    }
    if (!good) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static int set(struct cli_call *call, const struct set_options *options)
{
    struct buf target = {0};
    struct buf body = {0};
    int code = CLI_EXIT_OK;

    append_target(&target, call->words[1]);
    if (options->file != NULL) {
        code = cli_read_input(call, options->file, &body);
    } else {
        json_t *object = make_definition(call, options);
        char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
        if (text == NULL) {
            code = cli_complain(call, CLI_EXIT_USAGE,
                                "a header, option or text is malformed");
        } else {
            buf_append_c(&body, text);
        }
        free(text);
        json_decref(object);
    }
    if (code == CLI_EXIT_OK) {
        code = cli_list_request(call, "PUT", &target, buf_str(&body));
    }
    buf_fini(&target);
    buf_fini(&body);
    return code == CLI_EXIT_OK ? cli_print_answer(call) : code;
}

/* --- the subcommand ------------------------------------------------------- */

static const struct cli_action actions[] = {
    {"show", 2, "GET", "", true},
    {"rm", 2, "DELETE", "", false},
    {"pause", 2, "POST", "/pause", false},
    {"resume", 2, "POST", "/resume", false},
    {"run", 2, "POST", "/run", false},
    {NULL, 0, NULL, NULL, false},
};

static int act(struct cli_call *call)
{
    const struct cli_action *action = cli_list_action(actions, call);
    struct buf target = {0};

    if (action == NULL) {
        return cli_complain(call, CLI_EXIT_USAGE, "%s", call->usage);
    }
    append_target(&target, call->words[1]);
    int code = cli_list_act(call, action, &target, NULL);
    buf_fini(&target);
    return code;
}

static int run(struct cli_call *call, const struct set_options *options)
{
    if (call->word_count == 0 ||
        (call->word_count == 1 && strcmp(call->words[0], "list") == 0)) {
        return list(call);
    }
    if (strcmp(call->words[0], "set") == 0 &&
        (options->file != NULL ? call->word_count == 2
                               : call->word_count >= 4)) {
        return set(call, options);
    }
    return act(call);
}

int cli_schedules(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "schedules",
        .usage = "[list | show ID | rm ID | pause ID | resume ID | run ID |\n"
                 "    set ID --file FILE | set ID --cron CRON [--zone ZONE] "
                 "[--missed skip|once] [--paused]\n"
                 "    [--type TYPE] [--method VERB] [--header 'NAME: VALUE'] "
                 "[--option NAME=VALUE]\n"
                 "    TOPIC URL [MESSAGE]] [--json]"};
    struct set_options chosen = {0};
    const struct cli_option options[] = {
        {"file", &chosen.file, NULL, NULL},
        {"cron", &chosen.cron, NULL, NULL},
        {"zone", &chosen.zone, NULL, NULL},
        {"missed", &chosen.missed, NULL, NULL},
        {"type", &chosen.type, NULL, NULL},
        {"method", &chosen.method, NULL, NULL},
        {"paused", NULL, &chosen.paused, NULL},
        {"header", NULL, NULL, &chosen.headers},
        {"option", NULL, NULL, &chosen.members},
        {NULL, NULL, NULL, NULL},
    };
    int code = cli_parse(&call, argument_count, arguments, options, 0, 5);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = run(&call, &chosen);
    cli_call_fini(&call);
    return code;
}
