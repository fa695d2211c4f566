/* Subcommand events: what goes wrong on the server, as it happens.
 *
 * When the stream ends or breaks off, for the server restarts or is away, it is
 * asked for again, with growing pauses, from behind the last event that came.
 * What refuses us ends it, and so does a server that was never there.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/str.h"
#include "cli/cli_internal.h"
#include "cli/cli_list.h"
#include "sys/clock.h"

#include <stdio.h>
#include <string.h>

enum { AGAIN_MS = 250, AGAIN_MS_MAX = 5000 }; /* pauses before asking again */

struct following {
    struct cli_call *call;
    bool json;
    uint64_t left; /* events to be printed */
    uint64_t last; /* id of the last that came, unless it is 0 */
    bool began;    /* there was an answer */
    bool away;     /* it was said that the server does not answer */
    uint32_t wait_ms;
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
    (void)json_dumpf(json_object_get(event, "data"), stdout, CLI_JSON);
    if (cli_number(event, "repeated") > 0) {
        (void)printf("  and %llu more",
                     (unsigned long long)cli_number(event, "repeated"));
    }
    (void)fputc('\n', stdout);
    json_decref(event);
}

/* Say that the stream goes on, and what cannot be known. */
static void say_back(struct following *following)
{
    following->began = true;
    following->wait_ms = AGAIN_MS;
    if (following->away) {
        following->away = false;
        following->call->silent = false; /* the request is, not this */
        (void)cli_complain(
            following->call, CLI_EXIT_OK, "%s is back; events in between %s",
            following->call->url,
            following->last > 0 ? "follow, but if it was restarted some may be "
                                  "missing"
                                : "may be missing");
        following->call->silent = true;
    }
}

/* Print each whole line of data that has come, but of what is lost. */
static bool took(void *context, struct buf *body)
{
    struct following *following = context;
    size_t size = 0;

    say_back(following);
    while ((size = str_find(buf_str(body), '\n')) < body->size) {
        struct str line = str_cut(buf_str(body), 0, size);
        if (str_starts(line, STR("id: "))) {
            uint64_t id = 0;
            if (str_to_u64(str_cut(line, 4, line.size), &id) == ERR_OK) {
                following->last = id;
            }
        } else if (str_starts(line, STR("data: {\"type\"")) &&
                   following->left > 0) {
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

/* Ask for the stream until enough came, or it is refused. */
static int follow(struct following *following, struct str target)
{
    struct cli_call *call = following->call;

    for (;;) {
        struct buf headers = {0};
        if (following->last > 0) {
            buf_append_format(&headers, "Last-Event-ID: %llu\r\n",
                              (unsigned long long)following->last);
        }
        const struct remote_request request = {.method = "GET",
                                               .target = target,
                                               .headers = buf_str(&headers),
                                               .took = took,
                                               .context = following};
        call->silent = following->began;
        int code =
            headers.failed ? CLI_EXIT_FAILED : cli_request(call, &request);
        call->silent = false;
        buf_fini(&headers);
        if (following->left == 0 || ferror(stdout) != 0) {
            return CLI_EXIT_OK;
        }
        if (!following->began) {
            return code; /* it was said why */
        }
        if (code != CLI_EXIT_OK && !cli_is_passing(call, code)) {
            return cli_complain_answer(call, code);
        }
        if (!following->away) {
            following->away = true;
            (void)cli_complain(call, code, "%s has ended; trying again",
                               call->url);
        }
        clock_sleep_ms(following->wait_ms);
        following->wait_ms = following->wait_ms * 2 < AGAIN_MS_MAX
                                 ? following->wait_ms * 2
                                 : AGAIN_MS_MAX;
    }
}

int cli_events(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "events",
        .usage = "[--types TYPE,...] [--topic TOPIC] [--from ID] [-n COUNT] "
                 "[--json]\n"
                 "It goes on, over restarts of the server too.",
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
    struct following following = {
        .call = &call, .left = UINT64_MAX, .wait_ms = AGAIN_MS};
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
        buf_append_c(&target, "/opq/events");
        cli_list_parameter(&target, "types", types);
        cli_list_parameter(&target, "topic", topic);
        cli_list_parameter(&target, "from", from);
        code = follow(&following, buf_str(&target));
    }
    buf_fini(&target);
    cli_call_fini(&call);
    return code;
}
