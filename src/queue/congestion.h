/* How many requests an endpoint is given at once: a window as TCP has one.
 *
 *     fresh: 256, for an endpoint that is well must never wait for this
 *     an answer that is no complaint: one more, so twice as many after each
 *         window full; past the threshold one more for each window full
 *     429, 503, a timeout: half of it, and that is the threshold now
 *     the breaker opened: the least, 1; afterwards it begins from there
 *
 * The requests of one window that fail together are one sign, not many: what
 * was sent before a cut says nothing any more. It grows only while it is in
 * use, so that it means something; it does not shrink by idleness.
 *
 * Requests are numbered by the caller in the order in which they are sent.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_CONGESTION_H
#define OPQ_QUEUE_CONGESTION_H

#include <stdint.h>

enum {
    CONGESTION_FIRST = 256, /* of a fresh endpoint */
    CONGESTION_LEAST = 1,   /* after an outage, and by halving */
    /* The threshold is never less: to double from 1 once is no risk. */
    CONGESTION_THRESHOLD_LEAST = 2,
};

struct congestion {
    uint32_t window;     /* requests that may be in flight */
    uint32_t window_max; /* set by congestion_init() */
    uint32_t threshold;  /* up to here it doubles */
    uint32_t grown;      /* towards the next one, past the threshold */
    uint32_t peak;       /* most in flight in this round, */
    uint32_t peak_last;  /* and in the one before */
    uint64_t sent;       /* the last request */
    uint64_t round_end;  /* with an outcome of a later one begins a round */
    uint64_t cut_at;     /* the last request sent when it was cut */
};

/* Make a fresh window of at most `window_max`, at least 1. */
void congestion_init(struct congestion *congestion, uint32_t window_max);

/* Request `number`, one more than the last one or later, is sent; `in_flight`
 * are then under way. */
void congestion_send(struct congestion *congestion,
                     uint64_t number,
                     uint32_t in_flight);

/* The target took request `number`. */
void congestion_grow(struct congestion *congestion, uint64_t number);

/* The target had too much when it was sent request `number`. */
void congestion_cut(struct congestion *congestion, uint64_t number);

/* The target is out: begin again from the least, later. */
void congestion_collapse(struct congestion *congestion);

/* Forget what was noted, as if it were fresh; what is under way says nothing
 * any more. */
void congestion_reset(struct congestion *congestion);

#endif
