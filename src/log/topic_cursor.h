/* How far a topic is delivered, as `dlv` and the journal's CURSOR entries say
 * it: doc/log-format.md, sections 5 and 6.
 *
 * Within one epoch all that a cursor says only ever grows: what was delivered
 * or acknowledged stays so, attempts are counted up. So two states of one
 * epoch, however old, are brought together by taking all that either says.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_CURSOR_H
#define OPQ_LOG_TOPIC_CURSOR_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOPIC_RANGES_MAX = 128,  /* acknowledged ranges above a cursor */
    TOPIC_RETRIES_MAX = 128, /* messages above a cursor with attempts */
    /* Bytes of a cursor as it is written. */
    TOPIC_CURSOR_SIZE_MIN = 24,
    TOPIC_CURSOR_SIZE_MAX = TOPIC_CURSOR_SIZE_MIN + TOPIC_RANGES_MAX * 16 + 4 +
                            TOPIC_RETRIES_MAX * 12,
};

struct topic_range {
    uint64_t first;
    uint64_t end;
};

struct topic_retry {
    uint64_t sequence;
    uint32_t attempts;
};

struct topic_cursor {
    uint64_t epoch;
    uint64_t next;
    uint32_t attempts; /* at `next` */
    uint32_t range_count;
    uint32_t retry_count;
    struct topic_range ranges[TOPIC_RANGES_MAX];   /* at or above `next`,
                                                      ascending, apart */
    struct topic_retry retries[TOPIC_RETRIES_MAX]; /* above it, ascending */
};

/* Tell whether ranges and retries are where and as they must be. */
bool topic_cursor_valid(const struct topic_cursor *cursor);

/* Bytes of a cursor as it is written. */
size_t topic_cursor_size(const struct topic_cursor *cursor);

/* Write topic_cursor_size() bytes. */
void topic_cursor_write(const struct topic_cursor *cursor, void *to);

/* Read a cursor; `*out_size` is how much of `bytes` it takes. False when it is
 * none, or not a valid one. */
bool topic_cursor_read(struct str bytes,
                       struct topic_cursor *out_cursor,
                       size_t *out_size);

/* Bring what lies below `next` in order: ranges that begin at `next` move it,
 * attempts are those at the new `next`, and retries of what is acknowledged are
 * dropped. Ranges are ascending, but may be anywhere. */
void topic_cursor_prune(struct topic_cursor *cursor);

/* Let `cursor` say also what another valid state of the topic's says. A higher
 * epoch takes its place; a lower one is passed over. What is more than there is
 * room for is dropped from the top, and so delivered again. Returns whether it
 * changed. */
bool topic_cursor_merge(struct topic_cursor *cursor,
                        const struct topic_cursor *other);

#endif
