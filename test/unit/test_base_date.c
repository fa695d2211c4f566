/* Tests of base/date: days and dates, there and back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void days_are_counted_from_1970(void **state)
{
    (void)state;
    assert_int_equal(date_to_days(1970, 1, 1), 0);
    assert_int_equal(date_to_days(1969, 12, 31), -1);
    assert_int_equal(date_to_days(2000, 2, 29), 11016);
    assert_int_equal(date_to_days(2026, 11, 24), 20781);
    assert_int_equal(date_to_days(2026, 2, 30), date_to_days(2026, 3, 2));
}

/* Day after day, through leap years, centuries and the year 0. */
static void dates_go_on_day_by_day(void **state)
{
    (void)state;
    enum { FIRST = -730000, LAST = 1000000 };
    struct date before = date_from_days(FIRST - 1);

    for (int64_t day = FIRST; day <= LAST; day++) {
        struct date date = date_from_days(day);
        assert_int_equal(date_to_days(date.year, date.month, date.day), day);
        if (date.day == 1) {
            assert_int_equal(before.day,
                             date_month_size(before.year, before.month));
            assert_int_equal(date.month, before.month % 12 + 1);
        } else {
            assert_int_equal(date.day, before.day + 1);
            assert_int_equal(date.month, before.month);
        }
        before = date;
    }
}

static void february_is_longer_in_leap_years(void **state)
{
    (void)state;
    assert_int_equal(date_month_size(2023, 2), 28);
    assert_int_equal(date_month_size(2024, 2), 29);
    assert_int_equal(date_month_size(2000, 2), 29);
    assert_int_equal(date_month_size(2100, 2), 28);
    assert_int_equal(date_month_size(2100, 12), 31);
}

static void weekdays_are_known(void **state)
{
    (void)state;
    assert_int_equal(date_weekday(0), 4); /* a Thursday */
    assert_int_equal(date_weekday(-5), 6);
    assert_int_equal(date_weekday(date_to_days(2024, 2, 29)), 4);
    assert_int_equal(date_weekday(date_to_days(2026, 3, 29)), 0);
    assert_int_equal(date_weekday(date_to_days(1600, 1, 1)), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_are_counted_from_1970),
        cmocka_unit_test(dates_go_on_day_by_day),
        cmocka_unit_test(february_is_longer_in_leap_years),
        cmocka_unit_test(weekdays_are_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
