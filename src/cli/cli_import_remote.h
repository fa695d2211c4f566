/* Pushing topics into a running server, by its API.
 *
 * Messages go in batches, each noted in a state file before it is sent: which
 * message is the first of it, and where the server's topic ended. So an import
 * that was cut short is repeated from there, and what the server had of the
 * last batch is found by comparing, not pushed again.
 *
 * A topic that is not there yet is made as it was: settings, subscriptions, and
 * the cursors at the end, so that what was delivered is not again. Into one
 * that has messages already only what was not delivered goes.
 *
 *     open -> { begin -> {cursor, view, message, part}* -> end }* -> close
 *
 * Threads: one. All calls block on the network.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLI_IMPORT_REMOTE_H
#define OPQ_CLI_CLI_IMPORT_REMOTE_H

#include "base/err.h"
#include "cli/cli_internal.h"
#include "log/record.h"
#include "log/topic_conf.h"
#include "log/topic_cursor.h"

#include <stdint.h>

struct cli_import_remote;

struct cli_import_remote_options {
    struct cli_call *call;  /* borrowed: its server */
    const char *mark;       /* borrowed: where all of it comes from */
    const char *state_path; /* borrowed: the state file */
    int *code; /* borrowed: what to exit with, when something was said */
};

/* Begin, or go on where the state file says.
 *
 * Gives:  `*out`, for cli_import_remote_close().
 * Errors: ERR_CONDITION (the state file is of another import), ERR_IO,
 *         ERR_NOMEM; then `*code` is set
 */
MUST_CHECK enum err
cli_import_remote_open(const struct cli_import_remote_options *options,
                       struct cli_import_remote **out);

/* Begin a topic.
 *
 * Borrows: nothing.
 * Errors:  ERR_AGAIN        it was imported before
 *          ERR_UNSUPPORTED  nothing can be pushed there
 *          ERR_NOMEM */
MUST_CHECK enum err cli_import_remote_begin(struct cli_import_remote *remote,
                                            const struct topic_conf *conf,
                                            uint64_t first);

/* Set where the topic's cursor was. */
void cli_import_remote_cursor(struct cli_import_remote *remote,
                              const struct topic_cursor *cursor);

/* Have a subscription made.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err cli_import_remote_view(struct cli_import_remote *remote,
                                           const struct topic_conf *conf,
                                           const struct topic_cursor *cursor);

/* Push a message, soon.
 * Errors: ERR_IO  it failed, and `*code` is set; ERR_NOMEM */
MUST_CHECK enum err cli_import_remote_message(struct cli_import_remote *remote,
                                              const struct record *record);

/* Add to the body of the last message, which lies beside.
 * Errors: as cli_import_remote_message(); ERR_INVALID: more than it has */
MUST_CHECK enum err cli_import_remote_part(struct cli_import_remote *remote,
                                           struct str bytes);

/* End the topic: all of it is pushed, and the cursors are where they were.
 * Errors: as cli_import_remote_message() */
MUST_CHECK enum err cli_import_remote_end(struct cli_import_remote *remote);

/* Messages that the server refused. */
uint64_t cli_import_remote_refused(const struct cli_import_remote *remote);

/* Free it. Accepts NULL. */
void cli_import_remote_close(struct cli_import_remote *remote);

#endif
