/* Subcommand events: what goes wrong on the server, as it happens.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/str.h"
#include "cli/cli_internal.h"
#include "http/form.h"

#include <stdio.h>
#include <string.h>

struct following {
    bool json;
    uint64_t left; /* events to be printed */
};

static void print_event(const struct following *following, struct str text)
{
    json_t *event = NULL;

    if (following->json) {
        (void)printf("%.*s\n", STR_ARG(text));
        return;
    }
    event = json_loadb(text.data, text.size, 0, NULL);
    (void)printf("%-24s  %-18s  %s  ", cli_text(event, "at"),
                 cli_text(event, "type"), cli_text(event, "subject"));
    (void)json_dumpf(json_object_get(event, "data"), stdout, JSON_COMPACT);
    if (cli_number(event, "repeated") > 0) {
        (void)printf("  and %llu more",
                     (unsigned long long)cli_number(event, "repeated"));
    }
    (void)fputc('\n', stdout);
    json_decref(event);
}

/* Print each whole line of data that has come, but of what is lost. */
static bool took(void *context, struct buf *body)
{
    struct following *following = context;
    size_t size = 0;

    while ((size = str_find(buf_str(body), '\n')) < body->size) {
        struct str line = str_cut(buf_str(body), 0, size);
        if (str_starts(line, STR("data: {\"type\"")) && following->left > 0) {
            print_event(following, str_cut(line, 6, line.size));
            following->left--;
        } else if (str_starts(line, STR("data: {\"lost\""))) {
            (void)fprintf(stderr, "opq: events are lost: %.*s\n",
                          STR_ARG(str_cut(line, 6, line.size)));
        }
        buf_consume(body, size + 1);
    }
    (void)fflush(stdout);
    return following->left > 0 && ferror(stdout) == 0;
}

static void
append_parameter(struct buf *to, const char *name, const char *value)
{
    if (value != NULL) {
        buf_append_format(to, "%s=", name);
        form_escape(to, str_from(value));
        buf_append_byte(to, '&');
    }
}

int cli_events(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "events",
        .usage = "[--types TYPE,...] [--topic TOPIC] [--from ID] [-n COUNT] "
                 "[--json]",
    };
    const char *types = NULL;
    const char *topic = NULL;
    const char *from = NULL;
    const char *count = NULL;
    const struct cli_option options[] = {
        {"types", &types, NULL, NULL}, {"topic", &topic, NULL, NULL},
        {"from", &from, NULL, NULL},   {"n", &count, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct following following = {.left = UINT64_MAX};
    struct buf target = {0};
    int code = cli_parse(&call, argument_count, arguments, options, 0, 0);

    if (code == CLI_EXIT_OK && count != NULL &&
        (str_to_u64(str_from(count), &following.left) != ERR_OK ||
         following.left == 0)) {
        (void)fprintf(stderr, "opq events: -n must be a number\n");
        code = CLI_EXIT_USAGE;
    }
    if (code == CLI_EXIT_OK && !call.help) {
        following.json = call.json;
        buf_append_c(&target, "/opq/events?");
        append_parameter(&target, "types", types);
        append_parameter(&target, "topic", topic);
        append_parameter(&target, "from", from);
        target.size--; /* the last '&', or the '?' */
        const struct remote_request request = {.method = "GET",
                                               .target = buf_str(&target),
                                               .took = took,
                                               .context = &following};
        code = cli_request(&call, &request);
    }
    buf_fini(&target);
    cli_call_fini(&call);
    return code;
}
