/* When to try again: back-off, jitter, and what a target asked for.
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

#include <stdint.h>

enum {
    RETRY_JITTER_PERCENT = 20, /* a delay is spread by so much, both ways */
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

#endif
