/* How long an endpoint took lately, in 200 bytes: a mean and percentiles.
 *
 * Counts in buckets of a quarter of a doubling, so about 19 % apart, from 64
 * microseconds to 15 minutes. They are halved when there are many, so that what
 * was long ago does not weigh.
 *
 * Threads: the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LATENCY_H
#define OPQ_QUEUE_LATENCY_H

#include <stdint.h>

enum {
    LATENCY_BUCKETS = 96,
    LATENCY_FIRST_BIT = 6, /* 2^6 us is the end of the first bucket */
    LATENCY_COUNT_MAX = 1024,
    LATENCY_MEAN_SHARE = 8, /* a new value is so much of the mean: an eighth */
};

/* Zeroed: nothing is known. */
struct latency {
    uint64_t mean_us; /* exponentially weighted */
    uint32_t count;   /* in the buckets */
    uint16_t buckets[LATENCY_BUCKETS];
};

/* Count one value. */
void latency_record(struct latency *latency, uint64_t elapsed_us);

/* Count what another one has counted as well. */
void latency_add(struct latency *latency, const struct latency *other);

/* The value that `percent` of the latest ones are below, as the upper end of
 * its bucket; 0 when nothing is known. */
uint64_t latency_percentile_us(const struct latency *latency, uint32_t percent);

#endif
