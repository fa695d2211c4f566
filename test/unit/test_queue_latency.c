/* Tests of queue/latency: mean, percentiles, and that the past fades.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void nothing_is_known_at_first(void **state)
{
    (void)state;
    struct latency latency = {0};

    assert_int_equal(latency.mean_us, 0);
    assert_int_equal(latency_percentile_us(&latency, 0), 0);
    assert_int_equal(latency_percentile_us(&latency, 99), 0);
}

static void any_value_is_in_a_bucket_that_is_near(void **state)
{
    (void)state;
    for (uint64_t us = 1; us < 900000000; us += us / 7 + 1) {
        struct latency latency = {0};
        latency_record(&latency, us);
        uint64_t end_us = latency_percentile_us(&latency, 50);
        assert_true(end_us > us);
        assert_true(end_us <= 64 || end_us <= us + us / 4 + 1);
        assert_int_equal(latency_percentile_us(&latency, 0), end_us);
        assert_int_equal(latency_percentile_us(&latency, 100), end_us);
    }
    struct latency latency = {0};
    latency_record(&latency, UINT64_MAX);
    assert_true(latency_percentile_us(&latency, 50) > 900000000);
}

static void percentiles_follow_the_shares(void **state)
{
    (void)state;
    struct latency latency = {0};

    for (int i = 0; i < 1000; i++) {
        latency_record(&latency, i % 100 < 95 ? 1000 : 500000);
    }
    assert_in_range(latency_percentile_us(&latency, 50), 1000, 1250);
    assert_in_range(latency_percentile_us(&latency, 94), 1000, 1250);
    assert_in_range(latency_percentile_us(&latency, 99), 500000, 625000);
}

static void past_fades(void **state)
{
    (void)state;
    struct latency latency = {0};

    for (int i = 0; i < 100000; i++) {
        latency_record(&latency, 2000000);
    }
    assert_int_equal(latency.mean_us, 2000000);
    for (int i = 0; i < 50; i++) {
        latency_record(&latency, 1000);
    }
    assert_in_range(latency.mean_us, 1000, 10000);
    for (int i = 0; i < 10000; i++) {
        latency_record(&latency, 1000);
        assert_true(latency.count < LATENCY_COUNT_MAX);
    }
    assert_in_range(latency_percentile_us(&latency, 99), 1000, 1250);
}

static void two_together_are_as_one_that_saw_both(void **state)
{
    (void)state;
    struct latency left = {0};
    struct latency right = {0};
    struct latency none = {0};

    for (int i = 0; i < 100; i++) {
        latency_record(&left, 1000);
    }
    for (int i = 0; i < 300; i++) {
        latency_record(&right, 9000);
    }
    struct latency sum = left;
    latency_add(&sum, &right);
    latency_add(&sum, &none);
    assert_int_equal(sum.count, 400);
    assert_int_equal(sum.mean_us, 7000);
    assert_in_range(latency_percentile_us(&sum, 25), 1000, 1250);
    assert_in_range(latency_percentile_us(&sum, 26), 9000, 11250);
    latency_add(&none, &left);
    assert_memory_equal(&none, &left, sizeof(left));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(any_value_is_in_a_bucket_that_is_near),
        cmocka_unit_test(percentiles_follow_the_shares),
        cmocka_unit_test(past_fades),
        cmocka_unit_test(two_together_are_as_one_that_saw_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
