/* Counts of durations in buckets of about 3 % width, for percentiles.
 *
 * Log-linear: 32 sub-buckets to each power of two, from 1 up to 2^40. Recording
 * costs a few instructions and never allocates.
 *
 * Threads: the owner; a copy taken by another thread may be a little torn.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_HISTOGRAM_H
#define OPQ_BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 36 * 32 + 32 };

struct histogram {
    uint64_t count;                      /* values recorded */
    uint64_t sum;                        /* of the values */
    uint64_t largest;                    /* exact */
    uint64_t buckets[HISTOGRAM_BUCKETS]; /* counts */
};

/* Count one value, in whatever unit the histogram has. */
void histogram_record(struct histogram *histogram, uint64_t value);

/* Add all of `other`. */
void histogram_add(struct histogram *histogram, const struct histogram *other);

/* How many of the counted values are below 2^exponent, exactly; `exponent` is
 * at most 40. */
uint64_t histogram_below(const struct histogram *histogram, uint32_t exponent);

/* The value below which `fraction` (0 to 1) of the counted ones lie, as the
 * upper end of its bucket but never above `largest`; 0 when nothing was
 * counted. */
uint64_t histogram_percentile(const struct histogram *histogram,
                              double fraction);

#endif
