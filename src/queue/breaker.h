/* Whether an endpoint is worth an attempt at all: a circuit breaker.
 *
 *             silent or bad                due              (one probe)
 *     CLOSED ---------------> OPEN ---------------> HALF_OPEN
 *        ^                      ^    it fails: longer   |  |
 *        |                      '-----------------------'  |
 *        '-------------------------------------------------'
 *                            it succeeds
 *
 * It opens when
 *   - BREAKER_SILENT_MAX requests in a row had no answer at all (refused,
 *     reset, no name, no TLS, timed out): few, since such a target is out and
 *     each attempt may hold a slot for a whole timeout;
 *   - or BREAKER_BAD of the last BREAKER_OUTCOMES were that or a complaint
 *     (5xx, 429): a large share, since a target that refuses half of the
 *     messages still takes the other half. Only outcomes that came one soon
 *     after the other count, so that a message that its target will never
 *     take, tried again now and then, closes it to nobody else.
 *
 * It stays open for a second at first, about what a restart takes, twice as
 * long after each probe that failed, and at most a minute: a target that is
 * back is found within that, and a probe a minute costs nobody anything. Each
 * time is spread by the jitter of queue/retry.h.
 *
 * What was sent before it opened says nothing afterwards. Requests are numbered
 * by the caller in the order in which they are sent. Time is monotonic.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_BREAKER_H
#define OPQ_QUEUE_BREAKER_H

#include "queue/retry.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    BREAKER_SILENT_MAX = 5,
    BREAKER_OUTCOMES = 32, /* bits of breaker->bad */
    BREAKER_BAD = 24,
    BREAKER_STALE_MS = 10000, /* outcomes before such a pause are forgotten */
    BREAKER_FIRST_MS = 1000,  /* how long it is open, unless told otherwise */
    BREAKER_LONGEST_MS = 60000,
};

enum breaker_state {
    BREAKER_CLOSED, /* all goes */
    BREAKER_OPEN,   /* nothing goes before `until_ms` */
    BREAKER_HALF_OPEN,
};

/* What a request says about its target. */
enum breaker_sign {
    BREAKER_GOOD,    /* it answers */
    BREAKER_PROTEST, /* it answers that it cannot: 5xx, 429 */
    BREAKER_SILENT,  /* no answer */
};

/* Zeroed: closed. */
struct breaker {
    enum breaker_state state;
    uint32_t silent;     /* in a row, up to now */
    uint32_t failures;   /* in a row, silent or not */
    uint32_t openings;   /* in a row, without a success between */
    uint32_t bad;        /* a bit for each outcome, the last one lowest */
    uint64_t outcome_ms; /* when the last one came */
    uint64_t until_ms;   /* of BREAKER_OPEN */
    uint64_t opened_at;  /* the last request sent when it opened */
};

/* Request `number` ended; `sent` is the last one that was sent. True when the
 * breaker opened because of it. */
bool breaker_note(struct breaker *breaker,
                  enum breaker_sign sign,
                  uint64_t number,
                  uint64_t sent,
                  uint64_t now_ms);

/* Set how long it stays open, after breaker_note() said that it opened. The
 * policy's delays are those, by how often it opened in a row. */
void breaker_wait(struct breaker *breaker,
                  const struct retry_policy *policy,
                  struct retry_random *random,
                  uint64_t now_ms);

/* Let it be half open when its time has come. */
void breaker_tick(struct breaker *breaker, uint64_t now_ms);

/* Close it, by an operator; `sent` as for breaker_note(). */
void breaker_reset(struct breaker *breaker, uint64_t sent);

#endif
