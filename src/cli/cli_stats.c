/* Subcommand stats: the figures of a server, for people.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/table.h"

#include <stdio.h>
#include <string.h>

/* Whether a name ends so. */
static bool ends(const char *name, const char *with)
{
    size_t size = strlen(name);
    size_t tail = strlen(with);

    return size >= tail && strcmp(name + size - tail, with) == 0;
}

/* Add a figure as its name says: bytes, a span, yes or no, a count. */
static void add_figure(struct table *table, const char *name, const json_t *is)
{
    struct buf text = {0};
    json_int_t value = json_integer_value(is);
    uint64_t figure = value > 0 ? (uint64_t)value : 0;

    if (json_is_boolean(is)) {
        buf_append_c(&text, json_is_true(is) ? "yes" : "no");
    } else if (json_is_string(is)) {
        buf_append_c(&text, json_string_value(is));
    } else if (ends(name, "bytes") || strcmp(name, "disk_free") == 0) {
        cli_append_size(&text, figure);
    } else if (ends(name, "_ms")) {
        cli_append_span(&text, figure);
    } else {
        buf_append_u64(&text, figure);
    }
    buf_append_byte(&text, '\0');
    table_add(table, name);
    table_add(table, text.failed ? "" : text.data);
    buf_fini(&text);
}

/* A table of one group of figures, under its name. */
static void
append_group(struct buf *to, const char *head, const json_t *figures)
{
    struct table table;
    const char *name = NULL;
    json_t *value = NULL;

    table_init(&table, 2, 2);
    json_object_foreach((json_t *)figures, name, value)
    {
        if (!json_is_object(value)) {
            add_figure(&table, name, value);
        }
    }
    buf_append_c(to, to->size > 0 ? "\n" : "");
    buf_append_format(to, "%s\n", head);
    table_print(&table, to);
    table_fini(&table);
}

int cli_stats(int argument_count, char *const *arguments)
{
    static const struct cli_option options[] = {{NULL, NULL, NULL, NULL}};
    struct cli_call call = {
        .command = "stats",
        .usage = "[--json]\n"
                 "Shows the figures of a server: now, and since its start. "
                 "opq top watches them."};
    struct buf text = {0};
    json_t *info = NULL;
    int code = cli_parse(&call, argument_count, arguments, options, 0, 0);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = cli_get_json(&call, STR("/opq/info"), &info);
    if (code == CLI_EXIT_OK && call.json) {
        code = cli_print_response(&call);
    } else if (code == CLI_EXIT_OK) {
        append_group(&text, "NOW", json_object_get(info, "now"));
        append_group(&text, "SINCE START",
                     json_object_get(info, "since_start"));
        code = cli_print(&text);
    }
    json_decref(info);
    cli_call_fini(&call);
    return code;
}
