/* The subcommand `delayed`: what is not due yet, listed, shown, cancelled.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/table.h"
#include "http/form.h"

#include <stdio.h>
#include <string.h>

struct list_options {
    const char *topic;
    const char *from;
    const char *to;
};

static void
append_parameter(struct buf *to, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        buf_append_format(to, "&%s=", name);
        form_escape(to, str_from(value));
    }
}

/* Print a page as a line of JSON for each message, or add it to the table. */
static void
take_page(const struct cli_call *call, const json_t *page, struct table *table)
{
    const json_t *messages = json_object_get(page, "delayed");
    size_t index = 0;
    json_t *message = NULL;

    json_array_foreach(messages, index, message)
    {
        if (call->json) {
            (void)json_dumpf(message, stdout, JSON_COMPACT);
            (void)fputc('\n', stdout);
        } else {
            table_add(table, cli_text(message, "due"));
            table_add(table, cli_text(message, "id"));
            table_add(table, cli_text(message, "topic"));
            table_add(table, cli_text(message, "url"));
        }
    }
}

/* Ask for page after page, as long as a page names the next. */
static int take_pages(struct cli_call *call,
                      const struct list_options *options,
                      struct table *table)
{
    struct buf target = {0};
    struct buf cursor = {0};
    int code = CLI_EXIT_OK;
    bool more = true;

    buf_append_byte(&cursor, '\0');
    while (more && code == CLI_EXIT_OK) {
        json_t *page = NULL;
        buf_clear(&target);
        buf_append_c(&target, "/opq/delayed?limit=1000");
        append_parameter(&target, "topic", options->topic);
        append_parameter(&target, "from", options->from);
        append_parameter(&target, "to", options->to);
        append_parameter(&target, "cursor", cursor.data);
        code = cli_get_json(call, buf_str(&target), &page);
        if (code == CLI_EXIT_OK) {
            const char *next = cli_text(page, "next");
            take_page(call, page, table);
            more = next[0] != '\0';
            buf_clear(&cursor);
            buf_append(&cursor, next, strlen(next) + 1);
            json_decref(page);
        }
    }
    buf_fini(&cursor);
    buf_fini(&target);
    return code;
}

static int list(struct cli_call *call, const struct list_options *options)
{
    static const char *const heads[] = {"DUE", "ID", "TOPIC", "TARGET"};
    struct table table;
    struct buf text = {0};

    table_init(&table, 4, 0);
    for (unsigned index = 0; index < sizeof(heads) / sizeof(heads[0]);
         index++) {
        table_add(&table, heads[index]);
    }
    int code = take_pages(call, options, &table);
    if (code == CLI_EXIT_OK && !call->json) {
        table_print(&table, &text);
        code = cli_print(&text);
    }
    table_fini(&table);
    return code;
}

/* Ask for one message, by its id. */
static int
request_one(struct cli_call *call, const char *method, const char *id)
{
    struct buf target = {0};
    int code = CLI_EXIT_FAILED;

    buf_append_c(&target, "/opq/messages/");
    form_escape(&target, str_from(id));
    if (buf_err(&target) == ERR_OK) {
        const struct remote_request request = {.method = method,
                                               .target = buf_str(&target)};
        code = cli_request(call, &request);
    }
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
