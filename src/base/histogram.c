/* Log-linear buckets and percentiles over them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/histogram.h"

#include "base/check.h"

#include <assert.h>

enum {
    SUB_BITS = 5,
    SUB_BUCKETS = 1 << SUB_BITS, /* to each power of two */
    EXPONENT_MAX = 40,           /* larger values share the last bucket */
};

static_assert(HISTOGRAM_BUCKETS ==
                  (EXPONENT_MAX - SUB_BITS + 1) * SUB_BUCKETS + SUB_BUCKETS,
              "one row of buckets below 32, and one for each exponent");

/* Below 32 each value has a bucket of its own. Above, the exponent gives the
 * row and the five bits after the leading one give the place in it. */
static unsigned bucket_of(uint64_t value)
{
    if (value < SUB_BUCKETS) {
        return (unsigned)value;
    }
    unsigned exponent = 63U - (unsigned)__builtin_clzll(value);
    if (exponent > EXPONENT_MAX) {
        return HISTOGRAM_BUCKETS - 1;
    }
    unsigned shift = exponent - SUB_BITS;
    return shift * SUB_BUCKETS + (unsigned)(value >> shift);
}

/* Largest value that falls into a bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < SUB_BUCKETS) {
        return bucket;
    }
    unsigned shift = bucket / SUB_BUCKETS - 1;
    uint64_t leading = bucket % SUB_BUCKETS + SUB_BUCKETS;
    return ((leading + 1) << shift) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    histogram->buckets[bucket_of(value)]++;
    if (value > histogram->largest) {
        histogram->largest = value;
    }
}

void histogram_add(struct histogram *histogram, const struct histogram *other)
{
    histogram->count += other->count;
    histogram->sum += other->sum;
    if (other->largest > histogram->largest) {
        histogram->largest = other->largest;
    }
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        histogram->buckets[i] += other->buckets[i];
    }
}

uint64_t histogram_below(const struct histogram *histogram, uint32_t exponent)
{
    unsigned end = bucket_of(UINT64_C(1) << exponent);
    uint64_t count = 0;

    CHECK(exponent <= EXPONENT_MAX);
    for (unsigned i = 0; i < end; i++) {
        count += histogram->buckets[i];
    }
    return count;
}

uint64_t histogram_percentile(const struct histogram *histogram,
                              double fraction)
{
    /* How many values lie at or below the answer, at least one. */
    double exact = fraction * (double)histogram->count;
    uint64_t wanted = exact > 1.0 ? (uint64_t)exact : 1;
    if ((double)wanted < exact) {
        wanted++;
    }
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) {
            uint64_t end = bucket_end(i);
            return end < histogram->largest ? end : histogram->largest;
        }
    }
    return histogram->largest;
}
