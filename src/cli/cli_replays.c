/* Subcommand replays: list, start, show, cancel, pause, resume; and watching
 * one until it is done.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/cli_list.h"
#include "cli/progress.h"
#include "http/form.h"
#include "sys/clock.h"

#include <stdio.h>
#include <string.h>

enum { WATCH_MS = 250 }; /* between looks */

#define USAGE                                                                  \
    "[list] | start TOPIC [NAME=VALUE]... [--watch] |\n"                       \
    "    show ID [--watch] | cancel ID | pause ID | resume ID  [--json]"

/* Append "/opq/replays/ID". */
static void append_target(struct buf *to, const char *id)
{
    buf_append_c(to, "/opq/replays/");
    form_escape(to, str_from(id));
}

/* --- list ----------------------------------------------------------------- */

static void add_row(struct table *table, const json_t *replay)
{
    const char *url = cli_text(json_object_get(replay, "settings"), "url");

    table_add(table, cli_text(replay, "id"));
    table_add(table, cli_text(replay, "topic"));
    table_add(table, cli_text(replay, "state"));
    table_add_u64(table, cli_number(replay, "from"));
    table_add_u64(table, cli_number(replay, "end"));
    table_add_u64(table, cli_number(replay, "left"));
    table_add_u64(table, cli_number(replay, "delivered"));
    table_add_u64(table, cli_number(replay, "given_up"));
    table_add(table, url[0] != '\0' ? url : "-");
}

static int list(struct cli_call *call)
{
    static const char *const heads[] = {"ID",   "TOPIC",    "STATE",
                                        "FROM", "END",      "LEFT",
                                        "SENT", "GIVEN UP", "URL"};
    enum { NUMBERS = 0xf8 };
    const struct cli_list list = {
        .target = STR("/opq/replays"),
        .member = "replays",
        .heads = heads,
        .head_count = sizeof(heads) / sizeof(heads[0]),
        .right = NUMBERS,
        .add_row = add_row,
    };

    return cli_list_print(call, &list);
}

/* --- watching ------------------------------------------------------------- */

static void show_replay(struct progress *progress, const json_t *replay)
{
    uint64_t total = cli_number(replay, "end") - cli_number(replay, "from");
    uint64_t left = cli_number(replay, "left");
    const char *eta = cli_text(replay, "eta");

    progress_show(progress, total > left ? total - left : 0, total,
                  "%llu sent, %llu given up, %s%s%s",
                  (unsigned long long)cli_number(replay, "delivered"),
                  (unsigned long long)cli_number(replay, "given_up"),
                  cli_text(replay, "state"), eta[0] != '\0' ? " until " : "",
                  eta);
}

/* Look until it is done; its last state is the call's response. */
static int watch(struct cli_call *call, const char *id)
{
    struct progress progress;
    bool done = false;
    int code = CLI_EXIT_OK;

    progress_begin(&progress);
    while (code == CLI_EXIT_OK && !done) {
        json_t *replay = NULL;
        struct buf target = {0};
        append_target(&target, id);
        code = cli_get_json(call, buf_str(&target), &replay);
        buf_fini(&target);
        if (code == CLI_EXIT_OK) {
            done = strcmp(cli_text(replay, "state"), "done") == 0;
            show_replay(&progress, replay);
            json_decref(replay);
        }
        if (code == CLI_EXIT_OK && !done) {
            clock_sleep_ms(WATCH_MS);
        }
    }
    progress_end(&progress);
    return code;
}

/* Print the replay that the last answer is; watched before, if that is
 * wanted. */
static int finish(struct cli_call *call, bool watched)
{
    char id[128];

    if (watched) {
        json_t *replay = json_loadb(call->response.body.data,
                                    call->response.body.size, 0, NULL);
        (void)snprintf(id, sizeof(id), "%s", cli_text(replay, "id"));
        json_decref(replay);
        int code = id[0] != '\0' ? watch(call, id) : CLI_EXIT_OK;
        if (code != CLI_EXIT_OK) {
            return code;
        }
    }
    return cli_print_answer(call);
}

/* --- the command ---------------------------------------------------------- */

/* POST with NAME=VALUE words as its query. */
static int start(struct cli_call *call, bool watched)
{
    struct buf target = {0};

    buf_append_c(&target, "/opq/replays");
    cli_list_parameter(&target, "topic", call->words[1]);
    cli_list_parameters(&target, call, 2, '&');
    int code = cli_list_request(call, "POST", &target, (struct str){NULL, 0});
    buf_fini(&target);
    return code == CLI_EXIT_OK ? finish(call, watched) : code;
}

static int show(struct cli_call *call, bool watched)
{
    struct buf target = {0};

    append_target(&target, call->words[1]);
    int code = cli_list_request(call, "GET", &target, (struct str){NULL, 0});
    buf_fini(&target);
    return code == CLI_EXIT_OK ? finish(call, watched) : code;
}

static const struct cli_action actions[] = {
    {"cancel", 2, "DELETE", "", false},
    {"pause", 2, "POST", "/pause", false},
    {"resume", 2, "POST", "/resume", false},
    {NULL, 0, NULL, NULL, false},
};

static int act(struct cli_call *call, const struct cli_action *action)
{
    struct buf target = {0};

    append_target(&target, call->words[1]);
    int code = cli_list_act(call, action, &target, NULL);
    buf_fini(&target);
    return code;
}

static int run(struct cli_call *call, bool watched)
{
    const char *word = call->word_count > 0 ? call->words[0] : "list";

    if (strcmp(word, "list") == 0 && call->word_count < 2 && !watched) {
        return list(call);
    }
    if (strcmp(word, "start") == 0 && call->word_count >= 2) {
        return start(call, watched);
    }
    if (strcmp(word, "show") == 0 && call->word_count == 2) {
        return show(call, watched);
    }
    const struct cli_action *action =
        watched ? NULL : cli_list_action(actions, call);
    return action != NULL
               ? act(call, action)
               : cli_complain(call, CLI_EXIT_USAGE, "%s", call->usage);
}

int cli_replays(int argument_count, char *const *arguments)
{
    bool watched = false;
    const struct cli_option options[] = {
        {"watch", NULL, &watched, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct cli_call call = {.command = "replays", .usage = USAGE};
    int code =
        cli_parse(&call, argument_count, arguments, options, 0, CLI_WORDS_MAX);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = run(&call, watched);
    cli_call_fini(&call);
    return code;
}
