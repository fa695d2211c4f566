/* Tests of base/json_number: numbers that are the same, and not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/json_number.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(const char *left, const char *right, bool equal)
{
    if (json_number_equal(str_from(left), str_from(right)) != equal ||
        json_number_equal(str_from(right), str_from(left)) != equal) {
        fail_msg("%s and %s", left, right);
    }
}

static void numbers_are_compared_by_value(void **state)
{
    static const char *const same[][2] = {
        {"0", "-0"},
        {"0", "0.000e99"},
        {"12", "12.0"},
        {"12", "1.2e1"},
        {"12", "120E-1"},
        {"1200", "1.2e+3"},
        {"0.012", "12e-3"},
        {"0.012", "0.0120"},
        {"-5.50", "-55e-1"},
        {"100", "1e2"},
        {"100.25", "1.0025e2"},
        {"1e400", "10e399"},
        {"1e0000000000000000005", "100000"},
        {"123456789012345678901234567890", "12345678901234567890123456789e1"},
    };
    static const char *const other[][2] = {
        {"0", "1"},
        {"1", "-1"},
        {"12", "1.2"},
        {"12", "120"},
        {"12", "112"},
        {"0.012", "0.12"},
        {"101", "11"},
        {"1.01", "1.1"},
        {"9007199254740992", "9007199254740993"},
        {"1e400", "1e401"},
        {"1e999999999999998", "1e999999999999999"},
        {"0.1", "0.10000000000000001"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++) {
        expect(same[i][0], same[i][1], true);
        expect(same[i][0], same[i][0], true);
    }
    for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++) {
        expect(other[i][0], other[i][1], false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_compared_by_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
