/* Days of the proleptic Gregorian calendar.
 *
 * Years begin in March here, so that the leap day is the last of its year.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/date.h"

enum {
    YEARS_PER_ERA = 400,
    DAYS_PER_ERA = 146097,
    DAYS_TO_1970 = 719468, /* from 0000-03-01 */
    DAYS_PER_WEEK = 7,
    WEEKDAY_OF_1970 = 4, /* a Thursday */
};

/* Divide, rounding down for negative numbers too. */
static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0 ? 1 : 0);
}

int64_t date_to_days(int64_t year, int64_t month, int64_t day)
{
    int64_t shifted = month <= 2 ? year - 1 : year;
    int64_t era = floor_div(shifted, YEARS_PER_ERA);
    int64_t year_of_era = shifted - era * YEARS_PER_ERA;
    int64_t month_from_march = month > 2 ? month - 3 : month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * DAYS_PER_ERA + day_of_era - DAYS_TO_1970;
}

struct date date_from_days(int64_t days)
{
    int64_t shifted = days + DAYS_TO_1970;
    int64_t era = floor_div(shifted, DAYS_PER_ERA);
    int64_t day_of_era = shifted - era * DAYS_PER_ERA;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                           day_of_era / 146096) /
                          365;
    int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    struct date date = {
        .year = year_of_era + era * YEARS_PER_ERA,
        .month =
            month_from_march < 10 ? month_from_march + 3 : month_from_march - 9,
        .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
    };

    date.year += date.month <= 2 ? 1 : 0;
    return date;
}

int64_t date_month_size(int64_t year, int64_t month)
{
    int64_t next_year = month == 12 ? year + 1 : year;
    int64_t next_month = month == 12 ? 1 : month + 1;

    return date_to_days(next_year, next_month, 1) -
           date_to_days(year, month, 1);
}

int64_t date_weekday(int64_t days)
{
    int64_t shifted = days + WEEKDAY_OF_1970;

    return shifted - floor_div(shifted, DAYS_PER_WEEK) * DAYS_PER_WEEK;
}
