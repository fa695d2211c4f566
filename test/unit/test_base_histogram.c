/* Tests of base/histogram: bucket width, percentiles, sums.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct histogram one;
static struct histogram two;

static int zero(void **state)
{
    (void)state;
    memset(&one, 0, sizeof(one));
    memset(&two, 0, sizeof(two));
    return 0;
}

static void empty_one_has_percentile_zero(void **state)
{
    (void)state;
    assert_true(histogram_percentile(&one, 0.5) == 0);
    assert_true(histogram_percentile(&one, 1.0) == 0);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 64; value++) {
        histogram_record(&one, value);
    }
    assert_true(one.count == 64);
    assert_true(one.sum == 63 * 64 / 2);
    assert_true(one.largest == 63);
    assert_true(histogram_percentile(&one, 0.5) == 31);
    assert_true(histogram_percentile(&one, 0.25) == 15);
    assert_true(histogram_percentile(&one, 1.0) == 63);
    assert_true(histogram_percentile(&one, 0.0) == 0);
}

static void single_value_is_told_within_its_bucket(void **state)
{
    (void)state;
    for (uint64_t value = 1; value < UINT64_C(1) << 40;
         value += value / 7 + 1) {
        (void)zero(NULL);
        histogram_record(&one, value);
        histogram_record(&one, UINT64_C(1) << 40);
        uint64_t told = histogram_percentile(&one, 0.5);
        assert_true(told >= value);
        assert_true(told - value <= value / 32);
    }
}

static void every_bucket_is_reached_and_none_missed(void **state)
{
    (void)state;
    /* The lower end of each bucket in turn. */
    unsigned recorded = 0;
    for (uint64_t value = 0; value < UINT64_C(1) << 41; recorded++) {
        histogram_record(&one, value);
        unsigned shift = 0;
        while (value >> shift >= 64) {
            shift++;
        }
        value += UINT64_C(1) << shift;
    }
    assert_int_equal(recorded, HISTOGRAM_BUCKETS);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        assert_true(one.buckets[i] == 1);
    }
}

static void values_past_the_end_share_the_last_bucket(void **state)
{
    (void)state;
    histogram_record(&one, UINT64_C(1) << 41);
    histogram_record(&one, UINT64_MAX);
    assert_true(one.buckets[HISTOGRAM_BUCKETS - 1] == 2);
    assert_true(one.largest == UINT64_MAX);
    assert_true(histogram_percentile(&one, 0.5) == UINT64_MAX);
}

static void percentiles_rise_and_end_at_the_largest(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 10000; i++) {
        histogram_record(&one, i * 10);
    }
    assert_in_range(histogram_percentile(&one, 0.5), 50000, 51600);
    assert_in_range(histogram_percentile(&one, 0.99), 99000, 100000);
    assert_in_range(histogram_percentile(&one, 0.999), 99900, 100000);
    assert_true(histogram_percentile(&one, 1.0) == 100000);
    assert_true(histogram_percentile(&one, 2.0) == 100000);
    assert_true(histogram_percentile(&one, -1.0) == 10);
}

static void sum_of_two_is_as_if_recorded_in_one(void **state)
{
    (void)state;
    static struct histogram both;
    memset(&both, 0, sizeof(both));
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t value = i * i;
        histogram_record(i % 3 == 0 ? &one : &two, value);
        histogram_record(&both, value);
    }
    histogram_add(&one, &two);
    assert_memory_equal(&one, &both, sizeof(both));
    histogram_add(&two, &both);
    assert_true(two.largest == both.largest);
}

static void those_below_a_power_of_two_are_exact(void **state)
{
    (void)state;
    assert_true(histogram_below(&one, 40) == 0);
    for (uint32_t exponent = 0; exponent <= 40; exponent++) {
        histogram_record(&one, (UINT64_C(1) << exponent) - 1);
        histogram_record(&one, UINT64_C(1) << exponent);
    }
    histogram_record(&one, UINT64_MAX);
    for (uint32_t exponent = 0; exponent <= 40; exponent++) {
        /* Two of each below, and its own predecessor. */
        assert_true(histogram_below(&one, exponent) == 2 * exponent + 1);
    }
    assert_true(one.count == 83);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(empty_one_has_percentile_zero, zero),
        cmocka_unit_test_setup(small_values_are_exact, zero),
        cmocka_unit_test_setup(single_value_is_told_within_its_bucket, zero),
        cmocka_unit_test_setup(every_bucket_is_reached_and_none_missed, zero),
        cmocka_unit_test_setup(values_past_the_end_share_the_last_bucket, zero),
        cmocka_unit_test_setup(percentiles_rise_and_end_at_the_largest, zero),
        cmocka_unit_test_setup(sum_of_two_is_as_if_recorded_in_one, zero),
        cmocka_unit_test_setup(those_below_a_power_of_two_are_exact, zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
