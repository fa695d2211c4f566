/* Subcommands subscriptions (list, show, set, rm, pause, resume, replay) and
 * pull.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/cli_list.h"
#include "http/form.h"

#include <stdio.h>
#include <string.h>

/* Append "/opq/topics/TOPIC/subscriptions", and "/NAME" unless that is NULL. */
static void append_target(struct buf *to, const char *topic, const char *name)
{
    buf_append_c(to, "/opq/topics/");
    form_escape(to, str_from(topic));
    buf_append_c(to, "/subscriptions");
    if (name != NULL) {
        buf_append_byte(to, '/');
        form_escape(to, str_from(name));
    }
}

/* --- subscriptions -------------------------------------------------------- */

static void add_row(struct table *table, const json_t *subscription)
{
    const json_t *settings = json_object_get(subscription, "settings");
    const char *url = cli_text(settings, "url");

    table_add(table, cli_text(subscription, "name"));
    table_add(table, cli_text(settings, "kind"));
    table_add_u64(table, cli_number(subscription, "delivered"));
    table_add_u64(table, cli_number(subscription, "lag"));
    table_add_u64(table, cli_number(subscription, "attempts"));
    table_add(table, cli_text(subscription, "state"));
    table_add(table, url[0] != '\0' ? url : "-");
    table_add(table, cli_text(subscription, "because"));
}

static int list(struct cli_call *call, const char *topic)
{
    static const char *const heads[] = {
        "NAME", "KIND", "DELIVERED", "LAG", "FAILS", "STATE", "URL", "BECAUSE"};
    enum { NUMBERS = 0x1c };
    struct buf target = {0};

    append_target(&target, topic, NULL);
    const struct cli_list list = {
        .member = "subscriptions",
        .heads = heads,
        .head_count = sizeof(heads) / sizeof(heads[0]),
        .right = NUMBERS,
        .add_row = add_row,
    };
    int code = cli_list_print_of(call, list, &target);
    buf_fini(&target);
    return code;
}

/* PUT with NAME=VALUE words as its query. */
static int set(struct cli_call *call)
{
    struct buf target = {0};

    append_target(&target, call->words[1], call->words[2]);
    cli_list_parameters(&target, call, 3, '?');
    int code = cli_list_request(call, "PUT", &target, (struct str){NULL, 0});
    buf_fini(&target);
    return code == CLI_EXIT_OK ? cli_print_answer(call) : code;
}

static const struct cli_action actions[] = {
    {"show", 3, "GET", "", true},
    {"rm", 3, "DELETE", "", false},
    {"pause", 3, "POST", "/pause", false},
    {"resume", 3, "POST", "/resume", false},
    {"replay", 4, "POST", "/replay?to=", false},
    {NULL, 0, NULL, NULL, false},
};

static int act(struct cli_call *call, const struct cli_action *action)
{
    struct buf target = {0};

    append_target(&target, call->words[1], call->words[2]);
    int code = cli_list_act(call, action, &target,
                            action->word_count > 3 ? call->words[3] : NULL);
    buf_fini(&target);
    return code;
}

static int run(struct cli_call *call)
{
    const char *first = call->words[0];

    if (call->word_count == 1) {
        return list(call, first);
    }
    if (strcmp(first, "list") == 0 && call->word_count == 2) {
        return list(call, call->words[1]);
    }
    if (strcmp(first, "set") == 0 && call->word_count >= 3) {
        return set(call);
    }
    const struct cli_action *action = cli_list_action(actions, call);
    return action != NULL
               ? act(call, action)
               : cli_complain(call, CLI_EXIT_USAGE, "%s", call->usage);
}

int cli_subscriptions(int argument_count, char *const *arguments)
{
    static const struct cli_option options[] = {{NULL, NULL, NULL, NULL}};
    struct cli_call call = {
        .command = "subscriptions",
        .usage = "[list] TOPIC | show TOPIC NAME | rm TOPIC NAME |\n"
                 "    set TOPIC NAME [start=PLACE] [SETTING=VALUE]... |\n"
                 "    pause TOPIC NAME | resume TOPIC NAME |\n"
                 "    replay TOPIC NAME PLACE  [--json]\n"
                 "PLACE is new, oldest, a sequence number or a time"};
    int code =
        cli_parse(&call, argument_count, arguments, options, 1, CLI_WORDS_MAX);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = run(&call);
    cli_call_fini(&call);
    return code;
}

/* --- pull ----------------------------------------------------------------- */

struct pull_options {
    const char *limit; /* of a page */
    bool acknowledges;
    bool follows;
};

/* Acknowledge all before `next`. */
static int acknowledge(struct cli_call *call, uint64_t next)
{
    struct buf target = {0};

    append_target(&target, call->words[0], call->words[1]);
    buf_append_format(&target, "/ack?seq=%llu", (unsigned long long)next - 1);
    const struct remote_request asked = {.method = "POST",
                                         .target = buf_str(&target)};
    int code = buf_err(&target) == ERR_OK ? cli_request(call, &asked)
                                          : CLI_EXIT_FAILED;
    buf_fini(&target);
    return code;
}

/* Print a page, and acknowledge what was printed; `*from` is where the next
 * one begins, and `*more` tells whether there is one. */
static int pull_page(struct cli_call *call,
                     const struct pull_options *options,
                     uint64_t *from,
                     bool *more)
{
    struct buf target = {0};
    json_t *page = NULL;
    size_t count = 0;

    append_target(&target, call->words[0], call->words[1]);
    buf_append_format(&target,
                      "/messages?from=%llu&limit=", (unsigned long long)*from);
    form_escape(&target,
                str_from(options->limit != NULL ? options->limit : "100"));
    buf_append_c(&target, options->follows ? "&wait=60s" : "");
    int code = cli_get_json(call, buf_str(&target), &page);
    buf_fini(&target);
    if (code != CLI_EXIT_OK) {
        return code;
    }
    code = cli_print_messages(call, page, &count);
    *from = cli_number(page, "next");
    *more = options->follows ||
            (options->limit == NULL && *from < cli_number(page, "end"));
    json_decref(page);
    if (code == CLI_EXIT_OK && options->acknowledges && count > 0) {
        code = acknowledge(call, *from);
    }
    return code;
}

int cli_pull(int argument_count, char *const *arguments)
{
    struct pull_options pull = {0};
    const struct cli_option options[] = {
        {"n", &pull.limit, NULL, NULL},
        {"ack", NULL, &pull.acknowledges, NULL},
        {"f", NULL, &pull.follows, NULL},
        {"follow", NULL, &pull.follows, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct cli_call call = {
        .command = "pull",
        .usage = "TOPIC NAME [-n COUNT] [--ack] [-f|--follow] [--json]"};
    uint64_t from = 0;
    bool more = true;
    int code = cli_parse(&call, argument_count, arguments, options, 2, 2);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    while (more && code == CLI_EXIT_OK) {
        code = pull_page(&call, &pull, &from, &more);
    }
    cli_call_fini(&call);
    return code;
}
