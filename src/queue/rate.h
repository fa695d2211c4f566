/* At most so many in a while: "100/1s".
 *
 * A token bucket: it holds as many tokens as a period has, each attempt takes
 * one, and they come back evenly over the period, not all at its end. After
 * idleness a whole period's worth may go at once; from then on one goes
 * whenever the next token is there. So any period has at most twice the count,
 * and a long time has its share of the rate and `count` more.
 *
 * Nothing is rounded from token to token: a bucket counts in parts of a
 * millisecond, `count` of them, so that three a second are three a second
 * after a year as well.
 *
 * A flow is what has a rate of its own, say the messages of a topic with one
 * flow key. Their buckets are in a table that forgets those that are full
 * again, which are as good as new.
 *
 * Time is monotonic, and given. Decisions only: no clock, no I/O.
 *
 * Threads: one, the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_RATE_H
#define OPQ_QUEUE_RATE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RATE_COUNT_MAX = 1000000,
    RATE_PERIOD_MAX_MS = 24 * 3600 * 1000,
    RATE_FLOWS_MAX = 65536, /* flows that a table may know; 4 MiB at most */
};

/* At most so many in a while; count 0: without limit. */
struct settings_rate {
    uint32_t count;
    uint32_t period_ms;
};

/* Zeroed: without limit. */
struct rate_bucket {
    struct settings_rate rate; /* count 0: without limit */
    uint64_t full_at;          /* in parts of a millisecond; when it will be
                                  full, or was */
};

/* What a table knows of a flow. */
struct rate_flow {
    uint64_t hash; /* rate_flow_hash() */
    bool used;
    struct rate_bucket bucket;
};

/* Buckets of flows, by their hashes; open addressing. */
struct rate_table {
    struct rate_flow *flows; /* owned; NULL: none yet */
    uint32_t capacity;       /* a power of two, or 0 */
    uint32_t count;          /* used ones; at most 3/4 of the capacity */
    uint32_t count_max;      /* set by rate_table_init() */
    uint32_t refused;        /* times that a flow found no place */
};

/* Read "100/1s": a number and a duration, blanks around either allowed. "0",
 * with or without one, is a rate without limit.
 *
 * Errors: ERR_INVALID  not of that form
 *         ERR_RANGE    more than RATE_COUNT_MAX, or a period that is 0 or
 *                      longer than RATE_PERIOD_MAX_MS
 */
MUST_CHECK enum err rate_parse(struct str text, struct settings_rate *out_rate);

/* Append a rate as rate_parse() reads it, its period in the largest unit that
 * it is a whole number of: "100/1s"; "0" for one without limit. */
void rate_write(const struct settings_rate *rate, struct buf *to);

/* Give a bucket a rate; full at first, and what is missing of it stays missing
 * for as long when it had another one before. */
void rate_set(struct rate_bucket *bucket,
              const struct settings_rate *rate,
              uint64_t now_ms);

/* Take a token. False: there is none, nothing is changed, and `*out_due_ms` is
 * when there will be one. */
bool rate_take(struct rate_bucket *bucket,
               uint64_t now_ms,
               uint64_t *out_due_ms);

/* Take a token, be it one that is yet to come: the caller waits until it is
 * there. Returns when that is: `now_ms`, or later. */
uint64_t rate_reserve(struct rate_bucket *bucket, uint64_t now_ms);

/* Spill what is above the tokens of `span_ms`, but not the last one, so that
 * no more than these go at once. */
void rate_level(struct rate_bucket *bucket, uint32_t span_ms, uint64_t now_ms);

/* When there is a token: `now_ms`, or later. */
uint64_t rate_due_ms(const struct rate_bucket *bucket, uint64_t now_ms);

/* Tell whether nothing is missing, so that it may as well be forgotten. */
bool rate_is_full(const struct rate_bucket *bucket, uint64_t now_ms);

/* How long so many take at a rate, in milliseconds; 0 without limit. */
uint64_t rate_span_ms(const struct settings_rate *rate, uint64_t count);

/* The share of a rate that `part` is of `whole`, at least 1: a little less, by
 * half a percent when it is a hundredth of it; but one a day at least. */
void rate_share(const struct settings_rate *rate,
                uint64_t part,
                uint64_t whole,
                struct settings_rate *out_share);

/* Name a flow by its topic and its key, either of any bytes. */
uint64_t rate_flow_hash(struct str topic, struct str key);

/* Make an empty table for at most `count_max` flows, at least 1; allocates
 * nothing. */
void rate_table_init(struct rate_table *table, uint32_t count_max);

/* Free its memory; then it is empty. */
void rate_table_fini(struct rate_table *table);

/* The bucket of a flow, with its rate set; a full one when the flow is new. It
 * is the table's, until the next call.
 *
 * When as many flows are known as may be and none of them is full again, the
 * flow shares the bucket of another one with the same rate: it is slower then
 * than it could be, and never faster than it may be.
 *
 * Errors: ERR_NOMEM  there is no table
 *         ERR_BUSY   there is no place, and none found to share; later there
 *                    may be
 */
MUST_CHECK enum err rate_table_find(struct rate_table *table,
                                    uint64_t hash,
                                    const struct settings_rate *rate,
                                    uint64_t now_ms,
                                    struct rate_bucket **out_bucket);

#endif
