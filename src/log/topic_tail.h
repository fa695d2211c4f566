/* Records in memory: those of a topic's end that are not in a segment yet.
 *
 * A row of chunks, never moved once made, so that the loop reads them while a
 * flush writes them. The first chunk is small and each one is twice the one
 * before, up to 64 KiB: an idle topic with one message holds 4 KiB, a busy one
 * allocates seldom. A record larger than that gets a chunk of its own, as does
 * any when there is no memory, from what is set aside (tail_reserve.h).
 *
 * Threads: the loop's changes the row; a flush, which has a row of its own,
 * reads chunks only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_TAIL_H
#define OPQ_LOG_TOPIC_TAIL_H

#include "base/err.h"
#include "base/str.h"
#include "log/segment.h"
#include "log/tail_reserve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Records in a row, without a gap in their sequence. */
struct topic_chunk {
    struct topic_chunk *next; /* owned */
    uint64_t first;           /* sequences: of the first record, */
    uint64_t end;             /* and one past the last */
    uint64_t time_max;        /* largest pushed_at_ms */
    uint64_t hint_sequence;   /* the loop's: where it looked last, */
    size_t hint_at;           /* and where in `bytes` that is */
    size_t last_at;           /* where the last record begins */
    size_t size;              /* bytes in use */
    size_t capacity;          /* bytes there are */
    bool reserved;            /* it is of the tail's reserve */
    _Alignas(8) char bytes[];
};

struct topic_tail {
    struct topic_chunk *head;     /* owned; NULL: empty */
    struct topic_chunk *last;     /* borrowed from the row */
    struct topic_chunk *hint;     /* borrowed: where the loop looked last */
    uint64_t memory_bytes;        /* allocated */
    struct tail_reserve *reserve; /* borrowed; NULL: none */
};

/* Append a copy of a record, whose head was read to `record`. A sequence that
 * is not the one after the last begins a new chunk.
 * Errors: ERR_NOMEM  not even in the reserve */
MUST_CHECK enum err topic_tail_append(struct topic_tail *tail,
                                      struct str bytes,
                                      const struct segment_record *record);

/* The first record at or after a sequence, with those that follow it in its
 * chunk. False when there is none.
 *
 * Gives: `*out_bytes`, borrowed until the tail changes; `*out_first`. */
bool topic_tail_find(struct topic_tail *tail,
                     uint64_t sequence,
                     struct str *out_bytes,
                     uint64_t *out_first);

/* The first record at or after a sequence that was pushed at or after a time.
 * False when there is none. */
bool topic_tail_find_time(const struct topic_tail *tail,
                          uint64_t sequence,
                          uint64_t at_ms,
                          uint64_t *out_sequence);

/* Free chunks from the front that are wholly below `before`. */
void topic_tail_drop(struct topic_tail *tail, uint64_t before);

/* Move all chunks of `from` to the front of `to`. */
void topic_tail_prepend(struct topic_tail *to, struct topic_tail *from);

/* Free all; it is empty then. */
void topic_tail_fini(struct topic_tail *tail);

/* The record at a place in a chunk; chunks hold only what was checked. */
struct segment_record topic_tail_record(const struct topic_chunk *chunk,
                                        size_t at);

#endif
