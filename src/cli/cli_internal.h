/* What the subcommands share: options, requests, what is printed.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLI_INTERNAL_H
#define OPQ_CLI_CLI_INTERNAL_H

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/remote.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    CLI_WORDS_MAX = 32,  /* arguments that are no options */
    CLI_REPEATS_MAX = 32 /* times an option may be given */
};

/* How what a server answered is written again: fractions as short as there. */
enum { CLI_JSON = JSON_COMPACT | JSON_REAL_PRECISION(15) };

/* An option of a subcommand: --name VALUE, --name=VALUE, with one dash or two;
 * or a flag, --name. */
struct cli_option {
    const char *name;
    const char **value; /* set to what was given, or */
    bool *flag;         /* set to true, or */
    struct cli_repeats *repeats;
};

struct cli_repeats {
    uint32_t count;
    const char *values[CLI_REPEATS_MAX];
};

/* A subcommand's command line, taken apart. */
struct cli_call {
    const char *command;
    const char *usage;      /* what stands behind the command's name */
    const char *url;        /* --url, OPQ_URL, or the default */
    const char *ca_file;    /* --ca-file, OPQ_CA_FILE, or NULL: the system's */
    const char *token_file; /* --token-file, or NULL: OPQ_TOKEN */
    struct buf
        authorization; /* owned: the field with the token; may be empty */
    bool json;         /* --json */
    bool help;         /* --help: was printed */
    bool silent;       /* nothing is said on standard error */
    uint32_t wait_ms;  /* for an answer; 0: REMOTE_WAIT_S */
    uint32_t word_count;
    const char *words[CLI_WORDS_MAX];
    struct remote *remote;           /* owned; NULL until the first request */
    struct remote_response response; /* the last one; status 0: none came */
};

/* Take a command line apart: `options` (ended by a NULL name) and --url,
 * --ca-file, --token-file, --json, --help. Between `word_min` and `word_max`
 * words must be left. What is wrong is said on standard error. Returns
 * CLI_EXIT_OK, or what to exit with. */
int cli_parse(struct cli_call *call,
              int argument_count,
              char *const *arguments,
              const struct cli_option *options,
              uint32_t word_min,
              uint32_t word_max);

/* Make the field with the token of --token-file, or OPQ_TOKEN. What is wrong is
 * said on standard error. Returns CLI_EXIT_OK, or what to exit with. */
int cli_find_token(struct cli_call *call);

/* A subcommand. */
struct cli_command {
    const char *name;
    int (*run)(int argument_count, char *const *arguments);
    const char *text; /* what it does */
};

/* Who is shown options. */
struct cli_options_visit {
    void (*visit)(void *context, const char *name, bool takes_value);
    void *context; /* borrowed */
};

/* The subcommand with a number from 0 on. Returns false behind the last. */
bool cli_command(unsigned index, struct cli_command *out);

/* Show all options of a subcommand. It runs until it parses its command line,
 * and there ends as with --help. */
void cli_show_options(const struct cli_command *command,
                      struct cli_options_visit *visit);

/* Free what the call has. */
void cli_call_fini(struct cli_call *call);

/* Send a request; what goes wrong, also an answer that is no success, is said
 * on standard error. The answer is in call->response.
 * Returns CLI_EXIT_OK, CLI_EXIT_FAILED, CLI_EXIT_UNREACHABLE, or CLI_EXIT_USAGE
 * when --url is no address. */
int cli_request(struct cli_call *call, const struct remote_request *request);

/* Tell whether what went wrong with the last request, which gave `code`, goes
 * by: the server is gone, starts, or stops. */
bool cli_is_passing(const struct cli_call *call, int code);

/* Say what went wrong with the last request, which was a silent one and gave
 * `code`. Returns `code`. */
int cli_complain_answer(const struct cli_call *call, int code);

/* GET a target and read its answer as JSON.
 * Gives: `*out`, for json_decref(). Returns as cli_request(). */
int cli_get_json(struct cli_call *call, struct str target, json_t **out);

/* A member of an object as text; "" when it is no string. */
const char *cli_text(const json_t *object, const char *name);

/* A member of an object as a number; 0 when it is none. */
uint64_t cli_number(const json_t *object, const char *name);

/* Read a file, or standard input for "-". What goes wrong is said on standard
 * error. Returns CLI_EXIT_OK, or CLI_EXIT_FAILED. */
int cli_read_input(const struct cli_call *call,
                   const char *path,
                   struct buf *to);

/* Print a buffer to standard output and free it.
 * Returns CLI_EXIT_OK, or CLI_EXIT_FAILED when it could not. */
int cli_print(struct buf *text);

/* Whether standard output takes colours: a terminal, and no NO_COLOR. */
bool cli_colours(void);

/* Print a line of JSON to standard output, as CLI_JSON. */
void cli_print_line(const json_t *document);

/* Print an object as a table of its members.
 * Returns as cli_print(). */
int cli_print_object(const json_t *object);

/* Print the last answer's body to standard output. */
int cli_print_response(const struct cli_call *call);

/* The same with --json only: the answer tells people nothing. */
int cli_print_if_json(const struct cli_call *call);

/* Print the object that the last answer is: its members, a line each, or with
 * --json as it came. */
int cli_print_answer(struct cli_call *call);

/* Print a page of messages, a line each; `*out_count` is how many it had. */
int cli_print_messages(const struct cli_call *call,
                       const json_t *page,
                       size_t *out_count);

/* Say what is wrong: "opq COMMAND: ...". Returns `code`. */
int cli_complain(const struct cli_call *call, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Append a byte count for people: "1.5M". */
void cli_append_size(struct buf *to, uint64_t bytes);

/* Append a span for people: "1.5s", "3m", "2d". */
void cli_append_span(struct buf *to, uint64_t ms);

/* The subcommands; each takes what is behind its name. */
int cli_push(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_batch(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_info(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_topics(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_message(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_tail(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_delayed(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_replay(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_pause(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_resume(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_purge(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_delete(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_set(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_endpoints(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_events(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_schedules(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_subscriptions(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_pull(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_replays(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_dlq(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_reload(int argument_count, char *const *arguments);
/* As cli_push(); asks no server. */
int cli_token(int argument_count, char *const *arguments);
/* As cli_push(); on a data directory. */
int cli_verify(int argument_count, char *const *arguments);
/* As cli_push(); on a data directory. */
int cli_dump(int argument_count, char *const *arguments);
/* As cli_push(); on a data directory. */
int cli_grep(int argument_count, char *const *arguments);
/* As cli_push(); on a data directory. */
int cli_repair(int argument_count, char *const *arguments);
/* As cli_push(); also on a data directory. */
int cli_import(int argument_count, char *const *arguments);
/* As cli_push(); on a data directory. */
int cli_export(int argument_count, char *const *arguments);
/* As cli_push(); runs until SIGINT or SIGTERM. */
int cli_sink(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_bench(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_stats(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_top(int argument_count, char *const *arguments);
/* As cli_push(). */
int cli_apply(int argument_count, char *const *arguments);
/* As cli_push(); runs until SIGINT or SIGTERM. */
int cli_dev(int argument_count, char *const *arguments);
/* As cli_push(); without a server, but for names of topics. */
int cli_completion(int argument_count, char *const *arguments);

#endif
