/* What a sink has accepted, topic by topic: is anything missing, twice, or out
 * of order?
 *
 * One bit for each sequence number, so that it is exact.
 *
 * Threads: none.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_SINK_LEDGER_H
#define OPQ_CLI_SINK_LEDGER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct sink_ledger;

/* Sequence numbers past it are refused: 512 MiB of bits. */
#define SINK_LEDGER_SEQUENCE_MAX (UINT64_C(1) << 32)

/* The figures of a topic, or of all. */
struct sink_figures {
    uint64_t accepted;   /* messages, repeats included */
    uint64_t distinct;   /* messages */
    uint64_t duplicates; /* accepted more than once */
    uint64_t disorder;   /* first came after one with a higher number */
    uint64_t missing;    /* between the lowest and the highest */
    uint64_t lowest;     /* of a topic with any */
    uint64_t highest;    /* likewise */
};

/* Make a ledger.
 * Gives:  `*out`, for sink_ledger_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err sink_ledger_create(struct sink_ledger **out);

/* Free it. Accepts NULL. */
void sink_ledger_destroy(struct sink_ledger *ledger);

/* Note a message that was accepted.
 * Errors: ERR_RANGE (the sequence number), ERR_NOMEM */
MUST_CHECK enum err sink_ledger_note(struct sink_ledger *ledger,
                                     struct str topic,
                                     uint64_t sequence);

/* The figures of a topic; zeros when nothing of it came. */
void sink_ledger_topic(const struct sink_ledger *ledger,
                       struct str topic,
                       struct sink_figures *out_figures);

/* The sums over all topics; lowest and highest are zero. */
void sink_ledger_sum(const struct sink_ledger *ledger,
                     struct sink_figures *out_figures);

/* Append a JSON array with an object per topic. */
void sink_ledger_json(const struct sink_ledger *ledger, struct buf *to);

#endif
