/* Tests of queue/retry: back-off, jitter, Retry-After.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/retry.h"

#include "http/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110. */
#define DATE_S UINT64_C(784111777)
#define DAY_MS UINT64_C(86400000)

static const struct retry_policy policy = {
    .first_ms = 1000,
    .max_ms = 600 * 1000,
    .after_max_ms = DAY_MS,
};

static void delays_double_up_to_the_cap_within_the_jitter(void **state)
{
    (void)state;
    static const uint64_t expected[] = {1000,   2000,   4000,   8000,
                                        16000,  32000,  64000,  128000,
                                        256000, 512000, 600000, 600000};
    struct retry_random random = {.state = 1};

    for (uint32_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        for (int repeat = 0; repeat < 1000; repeat++) {
            uint64_t delay_ms = retry_delay_ms(&policy, i + 1, &random);
            assert_true(delay_ms >= expected[i] * 8 / 10);
            assert_true(delay_ms <= expected[i] * 12 / 10);
        }
    }
}

static void jitter_reaches_both_ends_and_is_centred(void **state)
{
    (void)state;
    struct retry_random random = {.state = 7};
    uint64_t sum = 0;
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;

    for (int i = 0; i < 10000; i++) {
        uint64_t delay_ms = retry_delay_ms(&policy, 1, &random);
        sum += delay_ms;
        least = delay_ms < least ? delay_ms : least;
        most = delay_ms > most ? delay_ms : most;
    }
    assert_in_range(least, 800, 805);
    assert_in_range(most, 1195, 1200);
    assert_in_range(sum / 10000, 990, 1010);
}

static void same_seed_gives_the_same_delays(void **state)
{
    (void)state;
    struct retry_random left = {.state = 42};
    struct retry_random right = {.state = 42};
    struct retry_random other = {.state = 43};
    int equal = 0;

    for (uint32_t i = 1; i <= 100; i++) {
        uint64_t delay_ms = retry_delay_ms(&policy, i, &left);
        assert_int_equal(delay_ms, retry_delay_ms(&policy, i, &right));
        equal += delay_ms == retry_delay_ms(&policy, i, &other) ? 1 : 0;
    }
    assert_true(equal < 10);
}

static void any_number_of_failures_has_a_delay(void **state)
{
    (void)state;
    static const struct retry_policy tiny = {1, UINT32_MAX, 1};
    struct retry_random random = {.state = 3};

    assert_int_equal(retry_delay_ms(&tiny, 1, &random), 1);
    for (uint32_t i = 1; i < 70; i++) {
        assert_true(retry_delay_ms(&tiny, i, &random) > 0);
    }
    assert_true(retry_delay_ms(&tiny, UINT32_MAX, &random) >
                (uint64_t)UINT32_MAX * 7 / 10);
}

static uint64_t after(const char *value, uint64_t now_ms)
{
    uint64_t delay_ms = 12345;
    assert_int_equal(
        retry_after_ms(&policy, str_from(value), now_ms, &delay_ms), ERR_OK);
    return delay_ms;
}

static void seconds_are_read_and_cut(void **state)
{
    (void)state;
    assert_int_equal(after("0", 0), 0);
    assert_int_equal(after("1", 0), 1000);
    assert_int_equal(after(" 120\t", 0), 120000);
    assert_int_equal(after("86400", 0), DAY_MS);
    assert_int_equal(after("86401", 0), DAY_MS);
    assert_int_equal(after("18446744073709551615", 0), DAY_MS);
    assert_int_equal(after("18446744073709551616", 0), DAY_MS);
    assert_int_equal(after("99999999999999999999999999", 0), DAY_MS);
}

static void all_three_forms_of_dates_are_read(void **state)
{
    (void)state;
    uint64_t now_ms = (DATE_S - 30) * 1000 + 250;

    assert_int_equal(after("Sun, 06 Nov 1994 08:49:37 GMT", now_ms), 29750);
    assert_int_equal(after("Sunday, 06-Nov-94 08:49:37 GMT", now_ms), 29750);
    assert_int_equal(after("Sun Nov  6 08:49:37 1994", now_ms), 29750);
}

static void date_that_has_passed_is_now_and_a_far_one_is_cut(void **state)
{
    (void)state;
    const char *date = "Sun, 06 Nov 1994 08:49:37 GMT";

    assert_int_equal(after(date, DATE_S * 1000), 0);
    assert_int_equal(after(date, DATE_S * 1000 + 1), 0);
    assert_int_equal(after(date, DATE_S * 1000 - 1), 1);
    assert_int_equal(after(date, 0), DAY_MS);
}

static void other_values_are_refused(void **state)
{
    (void)state;
    static const char *const values[] = {
        "",    "-1",  "+1",   "1.5", "1s",
        "0x1", "1 2", "soon", "1,2", "Sun, 06 Nov 1994",
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint64_t delay_ms = 12345;
        assert_int_equal(
            retry_after_ms(&policy, str_from(values[i]), 0, &delay_ms),
            ERR_INVALID);
        assert_int_equal(delay_ms, 12345);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_double_up_to_the_cap_within_the_jitter),
        cmocka_unit_test(jitter_reaches_both_ends_and_is_centred),
        cmocka_unit_test(same_seed_gives_the_same_delays),
        cmocka_unit_test(any_number_of_failures_has_a_delay),
        cmocka_unit_test(seconds_are_read_and_cut),
        cmocka_unit_test(all_three_forms_of_dates_are_read),
        cmocka_unit_test(date_that_has_passed_is_now_and_a_far_one_is_cut),
        cmocka_unit_test(other_values_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
