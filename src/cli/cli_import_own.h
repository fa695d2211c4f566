/* Bringing what OPQ keeps in topics of its own to a running server: messages
 * that are not due yet, and schedules (doc/log-format.md, 1 and 12).
 *
 * A bucket's log comes before it, so that what was handed on or cancelled is
 * known. What is left is pushed with its due time and, unless it has one, a
 * dedup id made of where it comes from: pushed again within the dedup window it
 * is a duplicate. Of a schedule the last message is its definition.
 *
 *     begin -> message* -> end; fini
 *
 * Threads: one. All calls block on the network.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLI_IMPORT_OWN_H
#define OPQ_CLI_CLI_IMPORT_OWN_H

#include "base/buf.h"
#include "base/err.h"
#include "cli/cli_internal.h"
#include "log/record.h"
#include "log/topic_gaps.h"

#include <stdbool.h>
#include <stdint.h>

enum cli_import_own_kind {
    CLI_IMPORT_OWN_NONE,
    CLI_IMPORT_OWN_LOG, /* of a bucket */
    CLI_IMPORT_OWN_BUCKET,
    CLI_IMPORT_OWN_SCHEDULE,
};

/* Zeroed but for the borrowed ones: no topic. */
struct cli_import_own {
    struct cli_call *call; /* borrowed */
    const char *mark;      /* borrowed: where it comes from */
    enum cli_import_own_kind kind;
    struct buf name;        /* of the topic */
    struct topic_gaps done; /* numbers in the bucket that follows its log */
    struct buf batch;
    uint32_t batch_items;
    struct buf definition; /* of the schedule, as last seen */
    bool paused;           /* likewise */
    uint64_t refused;      /* messages, in all */
};

/* Begin a topic, if it is one of these.
 * Errors: ERR_UNSUPPORTED  it is not
 *         ERR_NOMEM */
MUST_CHECK enum err cli_import_own_begin(struct cli_import_own *own,
                                         struct str name);

/* Take a message of it.
 * Errors: ERR_NOMEM
 *         ERR_IO  a request failed, which was said */
MUST_CHECK enum err cli_import_own_message(struct cli_import_own *own,
                                           const struct record *record);

/* End it. Errors: as cli_import_own_message() */
MUST_CHECK enum err cli_import_own_end(struct cli_import_own *own);

/* Free its memory. */
void cli_import_own_fini(struct cli_import_own *own);

#endif
