/* When to try again, or no more: back-off, jitter, what a target asked for, and
 * what a topic and a message allow.
 *
 * After a failed attempt retry_decide() asks, in this order:
 *   - did the target say that it will never take it? dead: abort_message
 *   - is its status one that the topic calls permanent? dead: permanent_status
 *   - is the message past its time? dead: expired
 *   - were there as many retries as allowed? dead: retries_exhausted
 *   - is the target gone for good (410), and all of the messages for it? pause:
 *     gone
 * and else when the next attempt is. Without `retries` nothing but the first
 * three ends a message: it is tried for ever.
 *
 * Decisions only: no clock, no I/O. Randomness comes from a generator that the
 * caller seeds, so that a test or a simulation sees the same delays again.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_RETRY_H
#define OPQ_QUEUE_RETRY_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define RETRY_FOREVER UINT32_MAX /* as many retries as it takes */

enum {
    RETRY_JITTER_PERCENT = 20,  /* a delay is spread by so much, both ways */
    RETRY_SCHEDULE_MAX = 32,    /* delays of a schedule */
    RETRY_STATUS_LIST_MAX = 64, /* items of a list of statuses */
    RETRY_STATUS_FIRST = 300,   /* statuses that a list may name: those that */
    RETRY_STATUS_LAST = 599,    /* are failures */
    /* A delay of a schedule, at most; so that a mistyped unit is seen. */
    RETRY_SCHEDULE_DELAY_MAX_MS = 24 * 3600 * 1000,
};

/* Delays double from `first_ms` up to `max_ms`. Jitter comes on top of that,
 * at the cap too, so that what failed together does not come back together. */
struct retry_policy {
    uint32_t first_ms;     /* after the first failure; at least 1 */
    uint32_t max_ms;       /* at least first_ms */
    uint64_t after_max_ms; /* Retry-After beyond it is cut to it */
};

/* A small generator (splitmix64). Not for secrets. */
struct retry_random {
    uint64_t state; /* the seed, at first; any value will do */
};

/* The next number of a generator. */
uint64_t retry_random_next(struct retry_random *random);

/* The delay before the next attempt after `failures` failed ones in a row, at
 * least 1 of them. Never 0. */
uint64_t retry_delay_ms(const struct retry_policy *policy,
                        uint32_t failures,
                        struct retry_random *random);

/* Read the value of Retry-After: seconds, or an HTTP date of any of the three
 * forms. `now_ms` is the wall clock. A date that has passed gives 0; what is
 * longer than policy->after_max_ms is cut to it.
 *
 * Errors: ERR_INVALID  neither of these
 */
MUST_CHECK enum err retry_after_ms(const struct retry_policy *policy,
                                   struct str value,
                                   uint64_t now_ms,
                                   uint64_t *out_delay_ms);

/* What a topic or subscription, and the message itself, say about retries. */
struct retry_rules {
    uint32_t retries;            /* RETRY_FOREVER, or then dead */
    struct str schedule;         /* borrowed; empty: doubling */
    struct str permanent_status; /* borrowed; empty: none */
    uint64_t expires_at_ms;      /* wall clock; 0: never */
    bool gone_pauses;            /* 410 is of the target, not of the message */
};

/* How a failed attempt ended. */
struct retry_outcome {
    int status;        /* 0: no answer came */
    uint64_t after_ms; /* Retry-After; 0: nothing was asked for */
    bool abort;        /* retry_is_abort() of its head */
};

enum retry_action {
    RETRY_AGAIN, /* after `delay_ms` */
    RETRY_DEAD,  /* to the dead letters, because of `reason` */
    RETRY_PAUSE, /* nothing more is sent until an operator says so */
};

enum retry_reason {
    RETRY_REASON_NONE,
    RETRY_REASON_EXHAUSTED,
    RETRY_REASON_PERMANENT,
    RETRY_REASON_ABORT,
    RETRY_REASON_EXPIRED,
    RETRY_REASON_GONE,
    RETRY_REASONS,
};

struct retry_decision {
    enum retry_action action;
    enum retry_reason reason; /* of RETRY_DEAD and RETRY_PAUSE */
    uint64_t delay_ms;        /* of RETRY_AGAIN; never 0 */
};

/* Decide after a failed attempt, the `failures`th in a row, at least 1.
 * `now_ms` is the wall clock. What a target asked for stands above the
 * schedule; no delay reaches past the end of the message's time. Texts of the
 * rules that are not well formed are as if they were not there. */
struct retry_decision retry_decide(const struct retry_policy *policy,
                                   const struct retry_rules *rules,
                                   const struct retry_outcome *outcome,
                                   uint32_t failures,
                                   uint64_t now_ms,
                                   struct retry_random *random);

/* Name a reason, for programs: "retries_exhausted". Never NULL; empty for
 * RETRY_REASON_NONE. */
const char *retry_reason_text(enum retry_reason reason);

/* Check a schedule: durations with commas, "5s,1m,10m", blanks around them
 * allowed; each at least 1 ms and at most RETRY_SCHEDULE_DELAY_MAX_MS.
 *
 * Errors: ERR_INVALID  not of that form, or empty
 *         ERR_RANGE    a delay that is not allowed, or too many
 */
MUST_CHECK enum err retry_schedule_check(struct str schedule);

/* The delay of a schedule before the next attempt after `failures` failed ones
 * in a row, at least 1, without jitter; the last one repeats.
 *
 * Errors: those of retry_schedule_check(), for what was read of it
 */
MUST_CHECK enum err retry_schedule_ms(struct str schedule,
                                      uint32_t failures,
                                      uint64_t *out_delay_ms);

/* Check a list of statuses: three digits, or ranges of those, with commas,
 * "400,404,410-499", blanks around the items allowed.
 *
 * Errors: ERR_INVALID  not of that form, or empty
 *         ERR_RANGE    a status that is no failure, a range that ends before
 *                      it begins, or too many items
 */
MUST_CHECK enum err retry_status_list_check(struct str list);

/* Tell whether a list names a status. One that is not well formed names
 * none. */
bool retry_status_list_has(struct str list, int status);

/* Tell whether the value of an answer's header `webhook-delivery` says that
 * the message must not be sent again. */
bool retry_is_abort(struct str value);

#endif
