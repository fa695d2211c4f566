/* The subcommand `delayed`: what is not due yet, listed, shown, cancelled.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/cli_list.h"
#include "http/form.h"

#include <string.h>

struct list_options {
    const char *topic;
    const char *from;
    const char *to;
};

static void add_row(struct table *table, const json_t *message)
{
    table_add(table, cli_text(message, "due"));
    table_add(table, cli_text(message, "id"));
    table_add(table, cli_text(message, "topic"));
    table_add(table, cli_text(message, "url"));
}

static int list(struct cli_call *call, const struct list_options *options)
{
    static const char *const heads[] = {"DUE", "ID", "TOPIC", "TARGET"};
    const struct cli_list list = {
        .after = "cursor",
        .member = "delayed",
        .heads = heads,
        .head_count = sizeof(heads) / sizeof(heads[0]),
        .add_row = add_row,
    };
    struct buf target = {0};

    buf_append_c(&target, "/opq/delayed?limit=1000");
    cli_list_parameter(&target, "topic", options->topic);
    cli_list_parameter(&target, "from", options->from);
    cli_list_parameter(&target, "to", options->to);
    int code = cli_list_print_of(call, list, &target);
    buf_fini(&target);
    return code;
}

/* Ask for one message, by its id. */
static int
request_one(struct cli_call *call, const char *method, const char *id)
{
    struct buf target = {0};

    buf_append_c(&target, "/opq/messages/");
    form_escape(&target, str_from(id));
    int code = cli_list_request(call, method, &target, (struct str){NULL, 0});
    buf_fini(&target);
    return code;
}

static int show(struct cli_call *call)
{
    int code = request_one(call, "GET", call->words[1]);

    return code == CLI_EXIT_OK ? cli_print_answer(call) : code;
}

/* Cancel all that are named; what could not be is said, the rest goes on. */
static int cancel(struct cli_call *call)
{
    int code = CLI_EXIT_OK;

    for (uint32_t index = 1; index < call->word_count; index++) {
        int failed = request_one(call, "DELETE", call->words[index]);
        code = failed != CLI_EXIT_OK ? failed : code;
    }
    return code;
}

int cli_delayed(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "delayed",
        .usage = "[list] [--topic TOPIC] [--from TIME] [--to TIME] [--json]\n"
                 "       opq delayed show ID [--json]\n"
                 "       opq delayed cancel ID...",
    };
    struct list_options listed = {0};
    const struct cli_option options[] = {
        {"topic", &listed.topic, NULL, NULL},
        {"from", &listed.from, NULL, NULL},
        {"to", &listed.to, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code =
        cli_parse(&call, argument_count, arguments, options, 0, CLI_WORDS_MAX);

    if (code == CLI_EXIT_OK && !call.help) {
        const char *word = call.word_count > 0 ? call.words[0] : "list";
        if (strcmp(word, "list") == 0 && call.word_count <= 1) {
            code = list(&call, &listed);
        } else if (strcmp(word, "show") == 0 && call.word_count == 2) {
            code = show(&call);
        } else if (strcmp(word, "cancel") == 0 && call.word_count > 1) {
            code = cancel(&call);
        } else {
            code = cli_complain(&call, CLI_EXIT_USAGE,
                                "say list, show with an id, or cancel with "
                                "ids");
        }
    }
    cli_call_fini(&call);
    return code;
}
