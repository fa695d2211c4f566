/* Ids of delayed messages, and numbers that stand for them.
 *
 * An id is "dly_<bucket id>-<sequence>", by the topic that is its bucket. Where
 * delayed messages are remembered among others by a number alone, that is the
 * hour in which one is due and its sequence, with a bit that no sequence number
 * has; a table says which bucket an hour has.
 *
 * Threads: none; a table is of one shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DUE_ID_H
#define OPQ_QUEUE_DUE_ID_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* The bucket in which messages of an hour were put. */
struct due_id_known {
    uint64_t hour;
    uint64_t bucket_id;
};

/* Zeroed, it knows none. */
struct due_id_table {
    struct due_id_known *known; /* owned, by hour */
    uint32_t count;
    uint32_t capacity;
};

/* Free it; it knows none then. */
void due_id_table_fini(struct due_id_table *table);

/* Remember which bucket an hour has; without memory it is not. */
void due_id_know(struct due_id_table *table,
                 uint64_t due_ms,
                 uint64_t bucket_id);

/* A number that stands for a delayed message among the sequence numbers of its
 * topic, which are smaller: where such have to be remembered together. */
uint64_t due_id_mark(uint64_t due_ms, uint64_t sequence);

/* The same of a message that was handed on, by what is stored of it, and
 * remember which bucket it was in. False when that makes no sense. */
bool due_id_remember(struct due_id_table *table,
                     uint64_t due_ms,
                     uint64_t bucket_id,
                     uint64_t sequence,
                     uint64_t *out_mark);

/* Tell whether a number is one of those, and whose.
 * Gives: bucket id (0: not known any more) and sequence. Known are buckets
 *        that due_id_know() or due_id_remember() was told of. */
bool due_id_marked(const struct due_id_table *table,
                   uint64_t mark,
                   uint64_t *out_bucket_id,
                   uint64_t *out_sequence);

enum { DUE_ID_MAX = 64 }; /* bytes of an id, at most */

/* Write "dly_<bucket id, 16 hex digits>-<sequence>", at most DUE_ID_MAX
 * bytes; returns where it ends. */
char *due_id_put(uint64_t bucket_id, uint64_t sequence, char *to);

/* Tell whether an id begins as they do. */
bool due_id_is(struct str id);

/* Read such an id.
 * Errors: ERR_INVALID  it is none */
MUST_CHECK enum err
due_id_read(struct str id, uint64_t *out_bucket_id, uint64_t *out_sequence);

#endif
