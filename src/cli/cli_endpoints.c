/* Subcommand endpoints: list, show, reset, release.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/cli_list.h"

#include <stdio.h>
#include <string.h>

/* --- list ----------------------------------------------------------------- */

/* Add a member with one digit behind the point; "-" when it is no number. */
static void
add_number(struct table *table, const json_t *object, const char *name)
{
    char text[32];
    const json_t *value = json_object_get(object, name);

    (void)snprintf(text, sizeof(text), "%.1f", json_number_value(value));
    table_add(table, json_is_number(value) ? text : "-");
}

static void add_row(struct table *table, const json_t *endpoint)
{
    const json_t *error = json_object_get(endpoint, "last_error");
    const json_t *latency = json_object_get(endpoint, "latency");
    const char *rate = cli_text(endpoint, "rate");
    const char *until = cli_text(endpoint, "until");
    const char *class = cli_text(error, "class");

    table_add(table, cli_text(endpoint, "endpoint"));
    table_add(table, cli_text(endpoint, "state"));
    table_add(table, until[0] != '\0' ? until : "-");
    table_add_u64(table, cli_number(endpoint, "window"));
    table_add_u64(table, cli_number(endpoint, "in_flight"));
    table_add_u64(table, cli_number(endpoint, "backlog"));
    table_add(table, rate[0] != '\0' ? rate : "-");
    add_number(table, latency, "p50_ms");
    add_number(table, latency, "p99_ms");
    table_add(table, class[0] != '\0' ? class : "-");
}

static int list(struct cli_call *call, const char *state)
{
    static const char *const heads[] = {
        "ENDPOINT", "STATE", "UNTIL", "WINDOW", "FLYING",
        "BACKLOG",  "RATE",  "P50MS", "P99MS",  "LAST ERROR"};
    enum { NUMBERS = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 };
    struct buf target = {0};

    buf_append_c(&target, "/opq/endpoints?limit=1000");
    cli_list_parameter(&target, "state", state);
    const struct cli_list list = {
        .member = "endpoints",
        .heads = heads,
        .head_count = sizeof(heads) / sizeof(heads[0]),
        .right = NUMBERS,
        .add_row = add_row,
    };
    int code = cli_list_print_of(call, list, &target);
    buf_fini(&target);
    return code;
}

/* --- one ------------------------------------------------------------------ */

static int show(struct cli_call *call)
{
    struct buf target = {0};
    json_t *page = NULL;

    buf_append_c(&target, "/opq/endpoints");
    cli_list_parameter(&target, "endpoint", call->words[1]);
    int code = cli_get_json(call, buf_str(&target), &page);
    buf_fini(&target);
    if (code != CLI_EXIT_OK) {
        return code;
    }
    const json_t *object =
        json_array_get(json_object_get(page, "endpoints"), 0);
    if (call->json) {
        cli_print_line(object);
    } else {
        code = cli_print_object(object);
    }
    json_decref(page);
    return code;
}

static int change(struct cli_call *call, const char *rate)
{
    struct buf target = {0};

    buf_append_c(&target, "/opq/endpoints/");
    buf_append_c(&target, call->words[0]);
    cli_list_parameter(&target, "endpoint", call->words[1]);
    cli_list_parameter(&target, "rate", rate);
    int code = cli_list_request(call, "POST", &target, (struct str){NULL, 0});
    buf_fini(&target);
    return code == CLI_EXIT_OK ? cli_print_answer(call) : code;
}

/* --- the subcommand ------------------------------------------------------- */

static int run(struct cli_call *call, const char *state, const char *rate)
{
    const char *word = call->word_count > 0 ? call->words[0] : "list";
    bool one = call->word_count == 2 && state == NULL;

    if (strcmp(word, "list") == 0 && call->word_count < 2 && rate == NULL) {
        return list(call, state);
    }
    if (strcmp(word, "show") == 0 && one && rate == NULL) {
        return show(call);
    }
    if ((strcmp(word, "reset") == 0 && one && rate == NULL) ||
        (strcmp(word, "release") == 0 && one && rate != NULL)) {
        return change(call, rate);
    }
    return cli_complain(call, CLI_EXIT_USAGE, "%s", call->usage);
}

int cli_endpoints(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "endpoints",
        .usage = "[list [--state STATE] | show URL | reset URL |\n"
                 "    release URL --rate RATE] [--json]"};
    const char *state = NULL;
    const char *rate = NULL;
    const struct cli_option options[] = {
        {"state", &state, NULL, NULL},
        {"rate", &rate, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code = cli_parse(&call, argument_count, arguments, options, 0, 2);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = run(&call, state, rate);
    cli_call_fini(&call);
    return code;
}
