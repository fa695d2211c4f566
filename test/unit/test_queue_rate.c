/* Tests of queue/rate: the text of a rate, buckets, and the table of flows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/rate.h"

#include "queue/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define START_MS UINT64_C(5000000000) /* two months after the boot */

static struct settings_rate read(const char *text)
{
    struct settings_rate rate = {0};
    assert_int_equal(rate_parse(str_from(text), &rate), ERR_OK);
    return rate;
}

static void assert_read(const char *text,
                        uint32_t count,
                        uint32_t period_ms,
                        const char *written)
{
    struct settings_rate rate = read(text);
    struct buf buf = {0};

    assert_int_equal(rate.count, count);
    assert_int_equal(rate.period_ms, period_ms);
    rate_write(&rate, &buf);
    assert_true(str_equal(buf_str(&buf), str_from(written)));
    buf_fini(&buf);
}

static void rates_are_read_and_written(void **state)
{
    (void)state;
    assert_read("100/1s", 100, 1000, "100/1s");
    assert_read("5/1m", 5, 60000, "5/1m");
    assert_read(" 5 / 1s ", 5, 1000, "5/1s");
    assert_read("0", 0, 0, "0");
    assert_read("0/1s", 0, 0, "0");
    assert_read("1/250ms", 1, 250, "1/250ms");
    assert_read("1/1ms", 1, 1, "1/1ms");
    assert_read("7/90s", 7, 90000, "7/90s");
    assert_read("7/120", 7, 120000, "7/2m");
    assert_read("1000000/1d", 1000000, 86400000, "1000000/1d");
    assert_read("3/24h", 3, 86400000, "3/1d");
}

static void other_texts_are_refused(void **state)
{
    (void)state;
    static const char *const invalid[] = {
        "",       "/",    "/1s",    "5/",     "5/x", "-5/1s", "5",     "0/",
        "5/1s/2", "five", "5.5/1s", "5/1.5s", "5/m", "5/ s",  "5 5/1s"};
    static const char *const out_of_range[] = {
        "0/0s", "1000001/1s", "5/0s",         "5/2d",
        "0/2d", "5/86401",    "5/86400001ms", "99999999999999999999/1s"};

    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        struct settings_rate rate = {1, 2};
        assert_int_equal(rate_parse(str_from(invalid[i]), &rate), ERR_INVALID);
        assert_int_equal(rate.count, 1);
    }
    for (size_t i = 0; i < sizeof(out_of_range) / sizeof(out_of_range[0]);
         i++) {
        struct settings_rate rate = {1, 2};
        assert_int_equal(rate_parse(str_from(out_of_range[i]), &rate),
                         ERR_RANGE);
        assert_int_equal(rate.period_ms, 2);
    }
}

/* Take as many as there are. */
static uint32_t drain(struct rate_bucket *bucket, uint64_t now_ms)
{
    uint64_t due_ms = 0;
    uint32_t count = 0;

    while (count < 2 * RATE_COUNT_MAX && rate_take(bucket, now_ms, &due_ms)) {
        count++;
    }
    return count;
}

static struct rate_bucket full(const char *text)
{
    struct rate_bucket bucket = {0};
    struct settings_rate rate = read(text);

    rate_set(&bucket, &rate, START_MS);
    return bucket;
}

static void after_idleness_a_period_goes_at_once_then_evenly(void **state)
{
    (void)state;
    struct rate_bucket bucket = full("10/1s");

    assert_true(rate_is_full(&bucket, START_MS));
    assert_int_equal(drain(&bucket, START_MS), 10);
    for (uint64_t ms = 1; ms <= 10000; ms++) {
        assert_int_equal(drain(&bucket, START_MS + ms), ms % 100 == 0 ? 1 : 0);
    }
    assert_false(rate_is_full(&bucket, START_MS + 10999));
    assert_true(rate_is_full(&bucket, START_MS + 11000));
    assert_int_equal(drain(&bucket, START_MS + 3600000), 10);
}

static void it_says_when_there_will_be_one(void **state)
{
    (void)state;
    struct rate_bucket bucket = full("3/1s");
    uint64_t due_ms = 77;

    assert_int_equal(rate_due_ms(&bucket, START_MS), START_MS);
    for (int i = 0; i < 3; i++) {
        assert_true(rate_take(&bucket, START_MS, &due_ms));
    }
    assert_int_equal(due_ms, 77);
    assert_false(rate_take(&bucket, START_MS, &due_ms));
    assert_int_equal(due_ms, START_MS + 334); /* not before a third */
    assert_false(rate_take(&bucket, START_MS + 333, &due_ms));
    assert_int_equal(due_ms, START_MS + 334);
    assert_true(rate_take(&bucket, START_MS + 334, &due_ms));
    assert_false(rate_take(&bucket, START_MS + 334, &due_ms));
    assert_int_equal(due_ms, START_MS + 667);
}

/* The bucket that is asked as soon as it says, for a long time, gives what the
 * rate is, to the token. */
static void assert_no_drift(const char *text, uint64_t span_ms)
{
    struct rate_bucket bucket = full(text);
    uint64_t now_ms = START_MS;
    uint64_t taken = 0;

    while (now_ms < START_MS + span_ms) {
        uint64_t due_ms = 0;
        if (rate_take(&bucket, now_ms, &due_ms)) {
            taken++;
        } else {
            assert_true(due_ms > now_ms);
            now_ms = due_ms;
        }
    }
    uint64_t even = (span_ms - 1) * bucket.rate.count / bucket.rate.period_ms;
    assert_int_equal(taken, even + bucket.rate.count);
}

static void rates_do_not_drift(void **state)
{
    (void)state;
    assert_no_drift("3/1s", UINT64_C(365) * 86400 * 10);
    assert_no_drift("7/1d", UINT64_C(365) * 86400000);
    assert_no_drift("1000/1s", 600000);
    assert_no_drift("999/1001ms", 600000);
    assert_no_drift("2000/1ms", 100);
    assert_no_drift("1000000/1d", 3600000);
}

/* Whatever the moments, no period has more than twice the count, and no span
 * more than its share and one bucket. */
static void no_span_has_more_than_its_share(void **state)
{
    (void)state;
    struct rate_bucket bucket = full("20/1s");
    struct retry_random random = {.state = 5};
    static uint64_t taken[20000]; /* when */
    uint64_t now_ms = START_MS;
    size_t count = 0;

    while (count < sizeof(taken) / sizeof(taken[0])) {
        uint64_t due_ms = 0;
        uint64_t dice = retry_random_next(&random);
        now_ms += dice % 100 == 0 ? dice / 100 % 3000 : dice / 100 % 60;
        while (count < sizeof(taken) / sizeof(taken[0]) &&
               rate_take(&bucket, now_ms, &due_ms)) {
            taken[count++] = now_ms;
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i; j < count && j < i + 200; j++) {
            uint64_t span_ms = taken[j] - taken[i];
            assert_true(j - i + 1 <= 20 + span_ms * 20 / 1000);
        }
    }
}

static void without_limit_there_is_always_one(void **state)
{
    (void)state;
    struct rate_bucket bucket = {0};
    uint64_t due_ms = 0;

    for (int i = 0; i < 1000; i++) {
        assert_true(rate_take(&bucket, START_MS, &due_ms));
    }
    assert_int_equal(rate_due_ms(&bucket, START_MS), START_MS);
    assert_true(rate_is_full(&bucket, 0));
}

static void another_rate_keeps_what_is_missing(void **state)
{
    (void)state;
    struct rate_bucket bucket = full("10/10s");
    struct settings_rate faster = read("100/10s");
    struct settings_rate shorter = read("1/1s");
    struct settings_rate none = {0};

    assert_int_equal(drain(&bucket, START_MS), 10);
    rate_set(&bucket, &faster, START_MS);
    assert_int_equal(drain(&bucket, START_MS), 0);
    assert_int_equal(drain(&bucket, START_MS + 100), 1);
    rate_set(&bucket, &shorter, START_MS + 100);
    assert_int_equal(rate_due_ms(&bucket, START_MS + 100), START_MS + 1100);
    rate_set(&bucket, &none, START_MS + 100);
    assert_true(rate_is_full(&bucket, START_MS + 100));
    rate_set(&bucket, &shorter, START_MS + 200);
    assert_int_equal(drain(&bucket, START_MS + 200), 1);
}

static void span_of_a_backlog_follows_from_the_rate(void **state)
{
    (void)state;
    struct settings_rate rate = read("3/1s");
    struct settings_rate day = read("1/1d");
    struct settings_rate none = {0};

    assert_int_equal(rate_span_ms(&rate, 0), 0);
    assert_int_equal(rate_span_ms(&rate, 1), 334);
    assert_int_equal(rate_span_ms(&rate, 10), 3334);
    assert_int_equal(rate_span_ms(&none, 10), 0);
    assert_int_equal(rate_span_ms(&day, UINT64_MAX), UINT64_MAX);
}

/* --- flows ---------------------------------------------------------------- */

static struct rate_bucket *find(struct rate_table *table,
                                uint64_t hash,
                                const struct settings_rate *rate,
                                uint64_t now_ms)
{
    struct rate_bucket *bucket = NULL;
    assert_int_equal(rate_table_find(table, hash, rate, now_ms, &bucket),
                     ERR_OK);
    assert_non_null(bucket);
    return bucket;
}

static void topic_and_key_name_a_flow(void **state)
{
    (void)state;
    assert_int_equal(rate_flow_hash(STR("t"), STR("k")),
                     rate_flow_hash(STR("t"), STR("k")));
    assert_int_not_equal(rate_flow_hash(STR("t"), STR("k")),
                         rate_flow_hash(STR("k"), STR("t")));
    assert_int_not_equal(rate_flow_hash(STR("tk"), STR("")),
                         rate_flow_hash(STR("t"), STR("k")));
}

static void flows_do_not_share_while_there_is_room(void **state)
{
    (void)state;
    struct settings_rate rate = read("2/1s");
    struct rate_table table;

    rate_table_init(&table, 1000);
    for (uint64_t flow = 0; flow < 1000; flow++) {
        assert_int_equal(
            drain(find(&table, flow << 7, &rate, START_MS), START_MS), 2);
    }
    for (uint64_t flow = 0; flow < 1000; flow++) {
        assert_int_equal(drain(find(&table, flow << 7, &rate, START_MS + 500),
                               START_MS + 500),
                         1);
    }
    assert_int_equal(table.count, 1000);
    rate_table_fini(&table);
    assert_int_equal(table.count, 0);
    rate_table_fini(&table);
}

static void flows_that_are_full_again_are_forgotten(void **state)
{
    (void)state;
    struct settings_rate rate = read("5/1s");
    struct rate_table table;
    uint64_t now_ms = START_MS;

    rate_table_init(&table, RATE_FLOWS_MAX);
    for (uint64_t flow = 0; flow < 200000; flow++) {
        uint64_t due_ms = 0;
        now_ms += flow % 10 == 0 ? 1 : 0; /* 2,000 of them within 200 ms */
        assert_true(rate_take(find(&table, flow * 0x9e3779b9, &rate, now_ms),
                              now_ms, &due_ms));
    }
    assert_true(table.capacity <= 16384);
    rate_table_fini(&table);
}

static void past_the_bound_flows_of_a_rate_share(void **state)
{
    (void)state;
    struct settings_rate rate = read("1/1s");
    struct settings_rate other = read("2/1s");
    struct rate_table table;
    struct rate_bucket *bucket = NULL;
    uint32_t taken = 0;

    rate_table_init(&table, 8);
    for (uint64_t flow = 0; flow < 100; flow++) {
        taken += drain(find(&table, flow << 5, &rate, START_MS), START_MS);
    }
    assert_int_equal(taken, 8);
    assert_int_equal(rate_table_find(&table, 7777, &other, START_MS, &bucket),
                     ERR_BUSY);
    assert_null(bucket);
    /* Those that are full again make room. */
    taken = 0;
    for (uint64_t flow = 1000; flow < 1100; flow++) {
        taken += drain(find(&table, flow << 5, &rate, START_MS + 1000),
                       START_MS + 1000);
    }
    assert_int_equal(taken, 8);
    rate_table_fini(&table);
}

/* Against a list of all buckets that never forgets. */
static void table_gives_what_buckets_would(void **state)
{
    (void)state;
    enum { FLOWS = 300 };
    static struct rate_bucket model[FLOWS];
    struct settings_rate rates[] = {read("1/50ms"), read("7/1s"),
                                    read("100/3s")};
    struct retry_random random = {.state = 17};
    struct rate_table table;
    uint64_t now_ms = START_MS;

    rate_table_init(&table, FLOWS);
    for (int i = 0; i < FLOWS; i++) {
        rate_set(&model[i], &rates[i % 3], START_MS);
    }
    for (int step = 0; step < 100000; step++) {
        uint64_t dice = retry_random_next(&random);
        size_t flow = dice % FLOWS * (dice >> 16 & 1) + (dice >> 20) % 30;
        flow = flow < FLOWS ? flow : FLOWS - 1;
        uint64_t due_ms = 0;
        uint64_t model_due_ms = 0;
        now_ms += (dice >> 32) % 5;
        bool given =
            rate_take(find(&table, flow << 40, &rates[flow % 3], now_ms),
                      now_ms, &due_ms);
        assert_int_equal(given, rate_take(&model[flow], now_ms, &model_due_ms));
        assert_int_equal(due_ms, model_due_ms);
    }
    rate_table_fini(&table);
}

/* --- memory --------------------------------------------------------------- */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool calloc_fails;

void *__wrap_calloc(size_t count, size_t size)
{
    return calloc_fails ? NULL : __real_calloc(count, size);
}

static void without_memory_flows_share_or_are_refused(void **state)
{
    (void)state;
    struct settings_rate rate = read("1/1s");
    struct rate_table table;
    struct rate_bucket *bucket = NULL;
    uint32_t taken = 0;

    rate_table_init(&table, 1000);
    calloc_fails = true;
    assert_int_equal(rate_table_find(&table, 1, &rate, START_MS, &bucket),
                     ERR_NOMEM);
    assert_null(bucket);
    calloc_fails = false;
    (void)find(&table, 1, &rate, START_MS);
    calloc_fails = true;
    for (uint64_t flow = 0; flow < 500; flow++) {
        taken += drain(find(&table, flow, &rate, START_MS), START_MS);
    }
    calloc_fails = false;
    assert_int_equal(taken, table.count);
    assert_true(table.count < 64);
    rate_table_fini(&table);
}

static void tokens_to_come_are_reserved_one_after_the_other(void **state)
{
    (void)state;
    struct rate_bucket bucket = {0};
    const struct settings_rate rate = {.count = 4, .period_ms = 1000};

    assert_int_equal(rate_reserve(&bucket, 5), 5); /* without limit */
    rate_set(&bucket, &rate, 5);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(rate_reserve(&bucket, 5), 5);
    }
    for (uint64_t i = 1; i <= 8; i++) {
        assert_int_equal(rate_reserve(&bucket, 5), 5 + i * 250);
    }
    assert_int_equal(rate_due_ms(&bucket, 5), 5 + 9 * 250);
}

static void
assert_share(struct settings_rate rate, uint64_t part, uint64_t whole)
{
    struct settings_rate share;

    rate_share(&rate, part, whole, &share);
    assert_true(share.count >= 1 && share.count <= RATE_COUNT_MAX);
    assert_true(share.period_ms >= 1 && share.period_ms <= RATE_PERIOD_MAX_MS);
    double wanted =
        (double)rate.count / rate.period_ms * ((double)part / (double)whole);
    double got = (double)share.count / share.period_ms;
    assert_true(got <= wanted * 1.0000001);
    assert_true(got >= wanted * 0.995);
}

static void share_of_a_rate_is_a_little_less(void **state)
{
    (void)state;
    static const struct settings_rate rates[] = {
        {1, 1000}, {100, 1000}, {1000000, 1000}, {1000000, 1}, {7, 13}};

    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        for (uint64_t part = 1; part <= 64; part++) {
            assert_share(rates[i], part, 64);
        }
        assert_share(rates[i], UINT64_C(1) << 39, (UINT64_C(3) << 39) - 1);
        assert_share(rates[i], 12345678, UINT64_C(1) << 30);
    }
    /* No less than one a day. */
    struct settings_rate slow = {.count = 1, .period_ms = RATE_PERIOD_MAX_MS};
    rate_share(&slow, 1, 10, &slow);
    assert_int_equal(slow.count, 1);
    assert_int_equal(slow.period_ms, RATE_PERIOD_MAX_MS);
    struct settings_rate none = {0};
    rate_share(&none, 1, 10, &none);
    assert_int_equal(none.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_to_come_are_reserved_one_after_the_other),
        cmocka_unit_test(rates_are_read_and_written),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(after_idleness_a_period_goes_at_once_then_evenly),
        cmocka_unit_test(it_says_when_there_will_be_one),
        cmocka_unit_test(rates_do_not_drift),
        cmocka_unit_test(no_span_has_more_than_its_share),
        cmocka_unit_test(without_limit_there_is_always_one),
        cmocka_unit_test(another_rate_keeps_what_is_missing),
        cmocka_unit_test(span_of_a_backlog_follows_from_the_rate),
        cmocka_unit_test(share_of_a_rate_is_a_little_less),
        cmocka_unit_test(topic_and_key_name_a_flow),
        cmocka_unit_test(flows_do_not_share_while_there_is_room),
        cmocka_unit_test(flows_that_are_full_again_are_forgotten),
        cmocka_unit_test(past_the_bound_flows_of_a_rate_share),
        cmocka_unit_test(table_gives_what_buckets_would),
        cmocka_unit_test(without_memory_flows_share_or_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
