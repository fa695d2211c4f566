/* Dead letters: listed, sent again, dropped.
 *
 * A call of the server's is bounded, so all three ask again until nothing is
 * left. Whoever waits at a terminal sees how far it is, on standard error.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/cli_list.h"
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>

enum { PAGE_MAX = 1000 };

/* What may be asked for, as the query has it. */
static const char *const filter_names[] = {
    "topic", "seq", "status", "reason", "class", "from", "to", "subscription"};

enum { FILTER_COUNT = sizeof(filter_names) / sizeof(filter_names[0]) };

struct dlq {
    struct cli_call call;
    const char *filters[FILTER_COUNT];
    const char *limit; /* of a list; NULL: all */
    bool all;
    uint64_t looked;
    uint64_t matched;
    uint64_t done;
    uint64_t total; /* letters that there are; 0: not known */
    struct progress progress;
};

/* --- requests ------------------------------------------------------------- */

/* The target with what was asked for, going on at `next`, if it is not "". */
static void append_target(struct buf *to,
                          const struct dlq *dlq,
                          const char *path,
                          const char *next)
{
    buf_append_c(to, path);
    for (unsigned index = 0; index < FILTER_COUNT; index++) {
        cli_list_parameter(to, filter_names[index], dlq->filters[index]);
    }
    cli_list_parameter(to, "all", dlq->all ? "yes" : NULL);
    cli_list_parameter(to, "cursor", next[0] != '\0' ? next : NULL);
}

/* --- list ----------------------------------------------------------------- */

static void add_heads(struct table *table)
{
    static const char *const heads[] = {"TOPIC",    "SEQ",   "DEAD-SINCE",
                                        "REASON",   "FAILS", "CLASS",
                                        "ENDPOINT", "DETAIL"};

    for (unsigned index = 0; index < sizeof(heads) / sizeof(heads[0]);
         index++) {
        table_add(table, heads[index]);
    }
}

static void add_row(struct table *table, const json_t *letter)
{
    const json_t *dead = json_object_get(letter, "dead");
    char class[64];

    table_add(table, cli_text(letter, "topic"));
    table_add_u64(table, cli_number(letter, "seq"));
    table_add(table, cli_text(dead, "at"));
    table_add(table, cli_text(dead, "reason"));
    table_add_u64(table, cli_number(dead, "attempts"));
    if (cli_number(dead, "status") > 0) {
        (void)snprintf(class, sizeof(class), "%s %llu", cli_text(dead, "class"),
                       (unsigned long long)cli_number(dead, "status"));
        table_add(table, class);
    } else {
        table_add(table, cli_text(dead, "class"));
    }
    table_add(table, cli_text(dead, "endpoint"));
    table_add(table, cli_text(dead, "detail"));
}

/* Print a page: a line of JSON for each letter, or a table. */
static int print_page(const struct dlq *dlq, const json_t *page, bool first)
{
    const json_t *letters = json_object_get(page, "letters");
    struct table table;
    struct buf text = {0};
    size_t index = 0;
    json_t *letter = NULL;

    if (!dlq->call.json && json_array_size(letters) == 0 && !first) {
        return CLI_EXIT_OK;
    }
    table_init(&table, 8, 0x12);
    if (first) {
        add_heads(&table);
    }
    json_array_foreach(letters, index, letter)
    {
        if (dlq->call.json) {
            cli_print_line(letter);
        } else {
            add_row(&table, letter);
        }
    }
    int code = CLI_EXIT_OK;
    if (!dlq->call.json) {
        table_print(&table, &text);
        code = cli_print(&text);
    }
    table_fini(&table);
    return code;
}

static int list(struct dlq *dlq)
{
    uint64_t left = UINT64_MAX;
    char next[256] = "";
    bool first = true;
    int code = CLI_EXIT_OK;

    if (dlq->all) {
        return cli_complain(&dlq->call, CLI_EXIT_USAGE,
                            "--all goes with retry and drop");
    }
    if (dlq->limit != NULL &&
        str_to_u64(str_from(dlq->limit), &left) != ERR_OK) {
        return cli_complain(&dlq->call, CLI_EXIT_USAGE,
                            "--limit takes a number");
    }
    while (code == CLI_EXIT_OK && left > 0 && (first || next[0] != '\0')) {
        struct buf target = {0};
        json_t *page = NULL;
        char limit[24];
        (void)snprintf(limit, sizeof(limit), "%llu",
                       (unsigned long long)(left < PAGE_MAX ? left : PAGE_MAX));
        append_target(&target, dlq, "/opq/dlq", next);
        cli_list_parameter(&target, "limit", limit);
        code = cli_get_json(&dlq->call, buf_str(&target), &page);
        if (code == CLI_EXIT_OK) {
            left -= json_array_size(json_object_get(page, "letters"));
            code = print_page(dlq, page, first);
            (void)snprintf(next, sizeof(next), "%s", cli_text(page, "next"));
            json_decref(page);
        }
        first = false;
        buf_fini(&target);
    }
    return code;
}

/* --- changes -------------------------------------------------------------- */

/* Count the dead letters that there are. */
static void count_topic(void *context, const json_t *topic)
{
    struct dlq *dlq = context;
    const char *name = cli_text(topic, "name");
    const char *wanted = dlq->filters[0];
    size_t size = wanted != NULL ? strlen(wanted) : 0;
    bool meant = wanted == NULL ||
                 (strncmp(name, wanted, size) == 0 &&
                  (name[size] == '\0' || strcmp(name + size, ".dlq") == 0));

    if (meant && strcmp(cli_text(topic, "kind"), "dead_letters") == 0) {
        dlq->total += cli_number(topic, "lag");
    }
}

static int count_letters(struct dlq *dlq)
{
    return cli_list_each(&dlq->call, STR("/opq/topics?limit=1000"), "topics",
                         count_topic, dlq);
}

/* Take the counts of an answer. */
static void take_counts(struct dlq *dlq, const char *word, char next[256])
{
    json_t *counts = json_loadb(dlq->call.response.body.data,
                                dlq->call.response.body.size, 0, NULL);

    dlq->looked += cli_number(counts, "looked");
    dlq->matched += cli_number(counts, "matched");
    dlq->done += cli_number(counts, word);
    (void)snprintf(next, 256, "%s", cli_text(counts, "next"));
    json_decref(counts);
}

static int print_counts(const struct dlq *dlq, const char *word)
{
    struct buf text = {0};

    buf_append_format(&text,
                      dlq->call.json ? "{\"matched\":%llu,\"%s\":%llu}\n"
                                     : "%llu matched, %s: %llu\n",
                      (unsigned long long)dlq->matched, word,
                      (unsigned long long)dlq->done);
    return cli_print(&text);
}

static int change(struct dlq *dlq, bool drop)
{
    const char *word = drop ? "dropped" : "sent";
    char next[256] = "";
    bool more = true;
    int code = CLI_EXIT_OK;

    if (dlq->limit != NULL) {
        return cli_complain(&dlq->call, CLI_EXIT_USAGE,
                            "--limit goes with list");
    }
    progress_begin(&dlq->progress);
    if (dlq->progress.shown) {
        code = count_letters(dlq);
    }
    while (more && code == CLI_EXIT_OK) {
        struct buf target = {0};
        append_target(&target, dlq, drop ? "/opq/dlq" : "/opq/dlq/retry", next);
        const struct remote_request request = {
            .method = drop ? "DELETE" : "POST",
            .target = buf_str(&target),
        };
        code = cli_request(&dlq->call, &request);
        if (code != CLI_EXIT_UNREACHABLE) { /* a failure has counts, too */
            take_counts(dlq, word, next);
        }
        more = next[0] != '\0';
        progress_show(&dlq->progress, dlq->looked,
                      dlq->total > dlq->looked ? dlq->total : dlq->looked,
                      "%llu %s", (unsigned long long)dlq->done, word);
        buf_fini(&target);
    }
    progress_end(&dlq->progress);
    int printed = code == CLI_EXIT_OK || dlq->matched > 0
                      ? print_counts(dlq, word)
                      : CLI_EXIT_OK;
    return code == CLI_EXIT_OK ? printed : code;
}

/* --- the command ---------------------------------------------------------- */

static int run(struct dlq *dlq)
{
    const char *deed = dlq->call.word_count > 0 ? dlq->call.words[0] : "list";

    if (strcmp(deed, "list") == 0) {
        return list(dlq);
    }
    if (strcmp(deed, "retry") == 0 || strcmp(deed, "drop") == 0) {
        return change(dlq, deed[0] == 'd');
    }
    return cli_complain(&dlq->call, CLI_EXIT_USAGE,
                        "it is list, retry or drop, not %s", deed);
}

int cli_dlq(int argument_count, char *const *arguments)
{
    struct dlq dlq = {
        .call = {.command = "dlq",
                 .usage = "[list|retry|drop] [--topic TOPIC [--seq SEQ]] "
                          "[--status STATUS]\n    [--reason REASON] "
                          "[--class CLASS] [--subscription NAME] [--from TIME]"
                          "\n    [--to TIME] [--all] [--limit COUNT] [--json]\n"
                          "Dead letters: lists them, sends them again, or "
                          "drops them."},
    };
    struct cli_option options[FILTER_COUNT + 3] = {{NULL, NULL, NULL, NULL}};

    for (unsigned index = 0; index < FILTER_COUNT; index++) {
        options[index] = (struct cli_option){filter_names[index],
                                             &dlq.filters[index], NULL, NULL};
    }
    options[FILTER_COUNT] = (struct cli_option){"all", NULL, &dlq.all, NULL};
    options[FILTER_COUNT + 1] =
        (struct cli_option){"limit", &dlq.limit, NULL, NULL};
    int code = cli_parse(&dlq.call, argument_count, arguments, options, 0, 1);
    if (code != CLI_EXIT_OK || dlq.call.help) {
        return code;
    }
    code = run(&dlq);
    cli_call_fini(&dlq.call);
    return code;
}
