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

enum {
    WATCH_MS = 250, /* between looks */
};

#define USAGE                                                                  \
    "[list] | start TOPIC [NAME=VALUE]... [--watch] |\n"                       \
    "    show ID [--watch] | cancel ID | pause ID | resume ID  [--json]"

/* Ask for `method` "/opq/replays" and what is behind it. */
static int
request(struct cli_call *call, const char *method, const struct buf *rest)
{
    struct buf target = {0};

    buf_append_c(&target, "/opq/replays");
    buf_append_str(&target, buf_str(rest));
    int code = cli_list_request(call, method, &target, (struct str){NULL, 0});
    buf_fini(&target);
    return code;
}

/* The same about one replay: "/ID", and a word behind it. */
static int request_one(struct cli_call *call,
                       const char *method,
                       const char *id,
                       const char *word)
{
    struct buf rest = {0};

    buf_append_byte(&rest, '/');
    form_escape(&rest, str_from(id));
    buf_append_c(&rest, word);
    int code = request(call, method, &rest);
    buf_fini(&rest);
    return code;
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
        .target = "/opq/replays",
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
        buf_append_c(&target, "/opq/replays/");
        form_escape(&target, str_from(id));
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
    struct buf rest = {0};

    buf_append_c(&rest, "?topic=");
    form_escape(&rest, str_from(call->words[1]));
    cli_list_parameters(&rest, call, 2, '&');
    int code = request(call, "POST", &rest);
    buf_fini(&rest);
    return code == CLI_EXIT_OK ? finish(call, watched) : code;
}

static int run(struct cli_call *call, bool watched)
{
    const char *deed = call->word_count > 0 ? call->words[0] : "list";
    const char *id = call->word_count == 2 ? call->words[1] : NULL;
    int code = CLI_EXIT_OK;

    if (strcmp(deed, "list") == 0 && call->word_count < 2 && !watched) {
        return list(call);
    }
    if (strcmp(deed, "start") == 0 && call->word_count >= 2) {
        return start(call, watched);
    }
    if (strcmp(deed, "show") == 0 && id != NULL) {
        code = request_one(call, "GET", id, "");
        return code == CLI_EXIT_OK ? finish(call, watched) : code;
    }
    if (id == NULL || watched) {
        return cli_complain(call, CLI_EXIT_USAGE, "%s", call->usage);
    }
    if (strcmp(deed, "cancel") == 0) {
        return request_one(call, "DELETE", id, "");
    }
    if (strcmp(deed, "pause") == 0) {
        code = request_one(call, "POST", id, "/pause");
    } else if (strcmp(deed, "resume") == 0) {
        code = request_one(call, "POST", id, "/resume");
    } else {
        return cli_complain(call, CLI_EXIT_USAGE, "%s", call->usage);
    }
    return code == CLI_EXIT_OK && call->json ? cli_print_response(call) : code;
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
