/* Tests of sys/clock.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void monotonic_time_never_goes_back(void **state)
{
    (void)state;
    uint64_t last = clock_monotonic_ns();
    assert_true(last > 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_monotonic_ns();
        assert_true(now >= last);
        last = now;
    }
}

static void sleep_is_not_shorter(void **state)
{
    (void)state;
    uint64_t before = clock_monotonic_ns();
    clock_sleep_ms(12);
    assert_true(clock_monotonic_ns() - before >= 12000000U);
}

static void wall_time_is_that_of_the_system(void **state)
{
    (void)state;
    uint64_t before = (uint64_t)time(NULL) * 1000;
    uint64_t now = clock_wall_ms();
    uint64_t after = ((uint64_t)time(NULL) + 1) * 1000;
    /* time(2) may lag by a tick of the kernel. */
    assert_true(now + 20 >= before && now <= after + 20);
}

static void random_bytes_fill_all_and_differ(void **state)
{
    (void)state;
    unsigned char left[1000] = {0};
    unsigned char right[1000] = {0};
    clock_random(left, sizeof(left));
    clock_random(right, sizeof(right) - 1);
    assert_memory_not_equal(left, right, sizeof(left) - 1);
    assert_int_equal(right[999], 0); /* not past the end */
    int zeros = 0;
    for (size_t i = 0; i < sizeof(left); i++) {
        zeros += left[i] == 0 ? 1 : 0;
    }
    assert_true(zeros < 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(sleep_is_not_shorter),
        cmocka_unit_test(wall_time_is_that_of_the_system),
        cmocka_unit_test(random_bytes_fill_all_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
