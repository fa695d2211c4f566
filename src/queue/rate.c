/* At most so many in a while.
 *
 * The bucket is the generic cell rate algorithm: all that is kept is when the
 * bucket would be full. A token moves that by one period / count; there is one
 * as long as the bucket would not be emptier than empty, so when it will be
 * full within a period. In parts of a millisecond, `count` of them, a token is
 * `period_ms` parts and a period is `period_ms * count`: whole numbers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/rate.h"

#include "base/check.h"

#include <assert.h>
#include <stdlib.h>

enum {
    CAPACITY_FIRST = 64, /* a power of two */
    SHARE_PROBES = 64,   /* places looked at for a bucket to share */
};

/* Monotonic times that fit, in parts: 290 years. */
static const uint64_t now_ms_max = (UINT64_C(1) << 63) / RATE_COUNT_MAX;

static_assert((uint64_t)RATE_PERIOD_MAX_MS * RATE_COUNT_MAX < UINT64_C(1) << 62,
              "a period behind the latest time fits");

/* --- text ----------------------------------------------------------------- */

enum err rate_parse(struct str text, struct settings_rate *out_rate)
{
    size_t slash = str_find(text, '/');
    bool has_period = slash < text.size;
    uint64_t count = 0;
    uint64_t period_ms = 0;
    enum err err = str_to_u64(str_trim(str_cut(text, 0, slash)), &count);

    if (err == ERR_OK && has_period) {
        err = str_to_duration_ms(str_trim(str_cut(text, slash + 1, text.size)),
                                 &period_ms);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (count > 0 && !has_period) {
        return ERR_INVALID;
    }
    if (count > RATE_COUNT_MAX || (has_period && period_ms == 0) ||
        period_ms > RATE_PERIOD_MAX_MS) {
        return ERR_RANGE;
    }
    *out_rate = (struct settings_rate){
        .count = (uint32_t)count,
        .period_ms = count > 0 ? (uint32_t)period_ms : 0,
    };
    return ERR_OK;
}

void rate_write(const struct settings_rate *rate, struct buf *to)
{
    static const struct {
        const char *name;
        uint32_t ms;
    } units[] = {
        {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;

    if (rate->count == 0) {
        buf_append_byte(to, '0');
        return;
    }
    while (rate->period_ms % units[i].ms != 0) {
        i++; /* everything is a whole number of the last one */
    }
    buf_append_format(to, "%u/%u%s", (unsigned)rate->count,
                      (unsigned)(rate->period_ms / units[i].ms), units[i].name);
}

/* --- buckets -------------------------------------------------------------- */

static uint64_t parts_of(const struct rate_bucket *bucket, uint64_t now_ms)
{
    CHECK(now_ms < now_ms_max);
    return now_ms * bucket->rate.count;
}

/* A period, in parts. */
static uint64_t period_of(const struct rate_bucket *bucket)
{
    return (uint64_t)bucket->rate.period_ms * bucket->rate.count;
}

bool rate_is_full(const struct rate_bucket *bucket, uint64_t now_ms)
{
    return bucket->rate.count == 0 ||
           bucket->full_at <= parts_of(bucket, now_ms);
}

void rate_set(struct rate_bucket *bucket,
              const struct settings_rate *rate,
              uint64_t now_ms)
{
    CHECK(rate->count <= RATE_COUNT_MAX);
    CHECK(rate->count == 0 ||
          (rate->period_ms > 0 && rate->period_ms <= RATE_PERIOD_MAX_MS));
    if (bucket->rate.count == rate->count &&
        bucket->rate.period_ms == rate->period_ms) {
        return;
    }
    uint64_t missing_ms = 0;
    if (!rate_is_full(bucket, now_ms)) {
        uint64_t missing = bucket->full_at - parts_of(bucket, now_ms);
        missing_ms = (missing - 1) / bucket->rate.count + 1;
    }
    if (missing_ms > rate->period_ms) {
        missing_ms = rate->period_ms; /* no emptier than empty */
    }
    bucket->rate = *rate;
    bucket->full_at = parts_of(bucket, now_ms + missing_ms);
}

uint64_t rate_due_ms(const struct rate_bucket *bucket, uint64_t now_ms)
{
    uint64_t count = bucket->rate.count;

    if (rate_is_full(bucket, now_ms)) {
        return now_ms;
    }
    /* With one token less it is full no later than a period from then. */
    uint64_t needed = bucket->full_at + bucket->rate.period_ms;
    uint64_t period = period_of(bucket);
    if (needed <= period) {
        return now_ms;
    }
    uint64_t due_ms = (needed - period + count - 1) / count;
    return due_ms > now_ms ? due_ms : now_ms;
}

uint64_t rate_reserve(struct rate_bucket *bucket, uint64_t now_ms)
{
    uint64_t due_ms = rate_due_ms(bucket, now_ms);

    if (bucket->rate.count == 0) {
        return now_ms;
    }
    if (rate_is_full(bucket, now_ms)) {
        bucket->full_at = parts_of(bucket, now_ms);
    }
    bucket->full_at += bucket->rate.period_ms;
    return due_ms;
}

bool rate_take(struct rate_bucket *bucket,
               uint64_t now_ms,
               uint64_t *out_due_ms)
{
    uint64_t due_ms = rate_due_ms(bucket, now_ms);

    if (due_ms > now_ms) {
        *out_due_ms = due_ms;
        return false;
    }
    (void)rate_reserve(bucket, now_ms);
    return true;
}

void rate_level(struct rate_bucket *bucket, uint32_t span_ms, uint64_t now_ms)
{
    uint64_t token = bucket->rate.period_ms;
    uint64_t period = period_of(bucket);
    uint64_t kept = (uint64_t)span_ms * bucket->rate.count;

    kept = kept > token ? kept : token;
    if (bucket->rate.count == 0 || kept >= period) {
        return;
    }
    uint64_t full_at = parts_of(bucket, now_ms) + (period - kept);
    if (bucket->full_at < full_at) {
        bucket->full_at = full_at;
    }
}

void rate_share(const struct settings_rate *rate,
                uint64_t part,
                uint64_t whole,
                struct settings_rate *out_share)
{
    enum { WHOLE_MAX = 1 << 16 }; /* so that the product below fits */

    CHECK(whole > 0 && part <= whole);
    if (rate->count == 0 || part == whole) {
        *out_share = *rate;
        return;
    }
    while (whole >= WHOLE_MAX) {
        whole = whole / 2 + whole % 2;
        part /= 2;
    }
    /* The same rate with longer periods, as long as they may be: so less is
     * lost by having whole numbers. */
    uint64_t times = RATE_PERIOD_MAX_MS / rate->period_ms;
    uint64_t count = rate->count * part * times / whole;
    if (count > RATE_COUNT_MAX) {
        times = RATE_COUNT_MAX * whole / (rate->count * part);
        times = times > 0 ? times : 1;
        count = rate->count * part * times / whole;
    }
    *out_share = (struct settings_rate){
        .count = (uint32_t)(count > 0 ? count : 1),
        .period_ms = (uint32_t)(rate->period_ms * times),
    };
}

uint64_t rate_span_ms(const struct settings_rate *rate, uint64_t count)
{
    if (rate->count == 0) {
        return 0;
    }
    uint64_t whole = count / rate->count;
    uint64_t rest = count % rate->count;
    uint64_t span_ms = 0;
    if (__builtin_mul_overflow(whole, (uint64_t)rate->period_ms, &span_ms)) {
        return UINT64_MAX;
    }
    uint64_t rest_ms = (rest * rate->period_ms + rate->count - 1) / rate->count;
    return span_ms <= UINT64_MAX - rest_ms ? span_ms + rest_ms : UINT64_MAX;
}

/* --- flows ---------------------------------------------------------------- */

uint64_t rate_flow_hash(struct str topic, struct str key)
{
    /* Mixed, so that the two do not give the same the other way round. */
    uint64_t hash = str_hash(topic) * UINT64_C(0x9e3779b97f4a7c15);
    return (hash ^ (hash >> 32)) + str_hash(key);
}

void rate_table_init(struct rate_table *table, uint32_t count_max)
{
    CHECK(count_max > 0 && count_max <= RATE_FLOWS_MAX);
    *table = (struct rate_table){.count_max = count_max};
}

void rate_table_fini(struct rate_table *table)
{
    free(table->flows);
    table->flows = NULL;
    table->capacity = 0;
    table->count = 0;
}

/* The place of a flow, or the free one where it would be. There is one that is
 * free. */
static struct rate_flow *
place_of(struct rate_flow *flows, uint32_t capacity, uint64_t hash)
{
    uint64_t mixed = hash ^ (hash >> 32);
    uint32_t place = (uint32_t)mixed & (capacity - 1);

    while (flows[place].used && flows[place].hash != hash) {
        place = (place + 1) & (capacity - 1);
    }
    return &flows[place];
}

/* Flows whose buckets are not full again. */
static uint32_t count_missing(const struct rate_table *table, uint64_t now_ms)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < table->capacity; i++) {
        const struct rate_flow *flow = &table->flows[i];
        count += flow->used && !rate_is_full(&flow->bucket, now_ms) ? 1 : 0;
    }
    return count;
}

/* Forget the full ones, and have room for more than before if those that are
 * left need it. Without memory nothing changes. */
static void sweep(struct rate_table *table, uint64_t now_ms)
{
    uint32_t kept = count_missing(table, now_ms);
    uint32_t capacity = CAPACITY_FIRST;

    while (capacity / 2 < kept + 1) {
        capacity *= 2;
    }
    struct rate_flow *flows = calloc(capacity, sizeof(*flows));
    if (flows == NULL) {
        return;
    }
    for (uint32_t i = 0; i < table->capacity; i++) {
        const struct rate_flow *flow = &table->flows[i];
        if (flow->used && !rate_is_full(&flow->bucket, now_ms)) {
            *place_of(flows, capacity, flow->hash) = *flow;
        }
    }
    free(table->flows);
    table->flows = flows;
    table->capacity = capacity;
    table->count = kept;
}

/* Tell whether one more flow has a place. */
static bool has_place(const struct rate_table *table)
{
    return table->count < table->count_max &&
           table->count < table->capacity / 4 * 3;
}

/* A flow with the same rate; NULL when none is near. For one hash it is the
 * same one as long as the table is the same. */
static struct rate_flow *find_to_share(const struct rate_table *table,
                                       uint64_t hash,
                                       const struct settings_rate *rate)
{
    uint32_t place = (uint32_t)(hash ^ (hash >> 32)) & (table->capacity - 1);

    for (int i = 0; i < SHARE_PROBES; i++) {
        struct rate_flow *flow = &table->flows[place];
        if (flow->used && flow->bucket.rate.count == rate->count &&
            flow->bucket.rate.period_ms == rate->period_ms) {
            return flow;
        }
        place = (place + 1) & (table->capacity - 1);
    }
    return NULL;
}

/* Try to have a place for one more flow. At the bound a sweep that found
 * nothing is not repeated each time. */
static void make_place(struct rate_table *table, uint64_t now_ms)
{
    uint32_t pause = table->capacity / 4;

    if (pause == 0 || table->count < table->count_max ||
        table->refused % pause == 0) {
        sweep(table, now_ms);
    }
    table->refused += has_place(table) ? 0 : 1;
}

enum err rate_table_find(struct rate_table *table,
                         uint64_t hash,
                         const struct settings_rate *rate,
                         uint64_t now_ms,
                         struct rate_bucket **out_bucket)
{
    struct rate_flow *flow = NULL;

    if (table->capacity > 0) {
        flow = place_of(table->flows, table->capacity, hash);
    }
    if (flow != NULL && flow->used) {
        rate_set(&flow->bucket, rate, now_ms);
        *out_bucket = &flow->bucket;
        return ERR_OK;
    }
    if (!has_place(table)) {
        make_place(table, now_ms);
    }
    if (table->capacity == 0) {
        return ERR_NOMEM;
    }
    if (has_place(table)) {
        flow = place_of(table->flows, table->capacity, hash);
        *flow = (struct rate_flow){.hash = hash, .used = true};
        table->count++;
        rate_set(&flow->bucket, rate, now_ms);
    } else {
        flow = find_to_share(table, hash, rate);
    }
    if (flow == NULL) {
        return ERR_BUSY;
    }
    *out_bucket = &flow->bucket;
    return ERR_OK;
}
