/* Days of the proleptic Gregorian calendar, counted from 1970-01-01.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_DATE_H
#define OPQ_BASE_DATE_H

#include <stdint.h>

struct date {
    int64_t year;
    int64_t month; /* 1 to 12 */
    int64_t day;   /* 1 to 31 */
};

/* The day that a date is; one that its month does not have counts on. */
int64_t date_to_days(int64_t year, int64_t month, int64_t day);

/* The date of a day. */
struct date date_from_days(int64_t days);

/* How many days a month has. */
int64_t date_month_size(int64_t year, int64_t month);

/* The day of the week of a day: 0 is Sunday, 6 Saturday. */
int64_t date_weekday(int64_t days);

#endif
