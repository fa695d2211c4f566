/* Figures as the text format of Prometheus has them, version 0.0.4:
 *
 *     # HELP opq_pushes_total Pushes that were stored.
 *     # TYPE opq_pushes_total counter
 *     opq_pushes_total 5
 *     opq_attempts_total{class="delivered"} 5
 *
 * Values are whole numbers of some unit, written exactly in another one that is
 * a power of ten of it: 1500 with 6 decimals is 0.0015.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_METRICS_TEXT_H
#define OPQ_ADMIN_METRICS_TEXT_H

#include "base/buf.h"
#include "base/histogram.h"
#include "base/str.h"

#include <stdint.h>

#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Buckets of a histogram as it is shown: one for each power of two of its unit
 * from `first` to `last`, both exponents, and one for all. A value below 2^n is
 * counted as at most 2^n, which is true of times, as they are cut to whole
 * units when they are taken. With no decimals it is a count, and the bound is
 * 2^n - 1. So all bounds are exact. */
struct metrics_text_bounds {
    uint32_t first;
    uint32_t last; /* at most 40, where the histogram ends */
    uint32_t decimals;
};

/* Append the two lines before the samples of a metric. */
void metrics_text_family(struct buf *to,
                         const char *name,
                         const char *type,
                         const char *help);

/* Append name="value" to labels, with a comma between; what must not stand in
 * quotes is escaped, what is not UTF-8 replaced. */
void metrics_text_label(struct buf *labels, const char *name, struct str value);

/* Append a number with its point moved: 1500 and 6 give 0.0015. */
void metrics_text_number(struct buf *to, uint64_t value, uint32_t decimals);

/* Append a sample. `labels` may be empty. */
void metrics_text_sample(struct buf *to,
                         const char *name,
                         struct str labels,
                         uint64_t value,
                         uint32_t decimals);

/* Append the samples of a histogram without labels: buckets, sum, count. */
void metrics_text_histogram(struct buf *to,
                            const char *name,
                            const struct histogram *histogram,
                            const struct metrics_text_bounds *bounds);

#endif
