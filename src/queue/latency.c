/* How long an endpoint took lately.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/latency.h"

#include "base/check.h"

#include <assert.h>

static_assert(LATENCY_COUNT_MAX <= UINT16_MAX, "a bucket holds them all");

/* Four to each doubling: the highest bit, and the two below it. */
static uint32_t bucket_of(uint64_t elapsed_us)
{
    if (elapsed_us >> LATENCY_FIRST_BIT == 0) {
        return 0;
    }
    uint32_t bit = 63 - (uint32_t)__builtin_clzll(elapsed_us);
    uint32_t quarter = (uint32_t)(elapsed_us >> (bit - 2)) & 3;
    uint32_t bucket = 1 + 4 * (bit - LATENCY_FIRST_BIT) + quarter;
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* One past the last value of a bucket. */
static uint64_t end_of(uint32_t bucket)
{
    uint32_t bit = LATENCY_FIRST_BIT + bucket / 4;
    return (UINT64_C(4) + bucket % 4) << (bit - 2);
}

static void halve(struct latency *latency)
{
    latency->count = 0;
    for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
        latency->buckets[i] /= 2;
        latency->count += latency->buckets[i];
    }
}

void latency_record(struct latency *latency, uint64_t elapsed_us)
{
    if (latency->mean_us == 0) {
        latency->mean_us = elapsed_us;
    } else if (elapsed_us > latency->mean_us) {
        latency->mean_us +=
            (elapsed_us - latency->mean_us) / LATENCY_MEAN_SHARE;
    } else {
        latency->mean_us -=
            (latency->mean_us - elapsed_us) / LATENCY_MEAN_SHARE;
    }
    latency->buckets[bucket_of(elapsed_us)]++;
    latency->count++;
    if (latency->count >= LATENCY_COUNT_MAX) {
        halve(latency);
    }
}

void latency_add(struct latency *latency, const struct latency *other)
{
    uint64_t count = (uint64_t)latency->count + other->count;

    if (other->count == 0) {
        return;
    }
    latency->mean_us =
        (latency->mean_us * latency->count + other->mean_us * other->count) /
        count;
    for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
        uint32_t sum = (uint32_t)latency->buckets[i] + other->buckets[i];
        latency->buckets[i] = (uint16_t)(sum < UINT16_MAX ? sum : UINT16_MAX);
    }
    latency->count = 0;
    for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
        latency->count += latency->buckets[i];
    }
}

uint64_t latency_percentile_us(const struct latency *latency, uint32_t percent)
{
    CHECK(percent <= 100);
    uint64_t rank = ((uint64_t)latency->count * percent + 99) / 100;
    uint64_t below = 0;

    for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
        below += latency->buckets[i];
        if (below > 0 && below >= rank) {
            return end_of(i);
        }
    }
    return 0;
}
