/* Points in time as people and the API write them.
 *
 * Days are counted in the proleptic Gregorian calendar, with years that begin
 * in March, so that the leap day is the last of its year.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/wall_time.h"

#include <stdbool.h>

enum {
    MS_PER_DAY = 86400000,
    DAYS_PER_ERA = 146097, /* 400 years */
    DAYS_TO_1970 = 719468, /* from 0000-03-01 */
};
#define TIME_MS_MAX UINT64_C(253402300799999) /* the end of 9999 */

static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    int64_t shifted = month <= 2 ? year - 1 : year;
    int64_t era = shifted / 400;
    int64_t year_of_era = shifted - era * 400;
    int64_t month_from_march = month > 2 ? month - 3 : month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * DAYS_PER_ERA + day_of_era - DAYS_TO_1970;
}

struct date {
    int64_t year;
    int64_t month;
    int64_t day;
};

static struct date date_from_days(int64_t days)
{
    int64_t shifted = days + DAYS_TO_1970;
    int64_t era = shifted / DAYS_PER_ERA;
    int64_t day_of_era = shifted - era * DAYS_PER_ERA;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                           day_of_era / 146096) /
                          365;
    int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    struct date date = {
        .year = year_of_era + era * 400,
        .month =
            month_from_march < 10 ? month_from_march + 3 : month_from_march - 9,
        .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
    };

    date.year += date.month <= 2 ? 1 : 0;
    return date;
}

/* Take `count` digits; sets `*bad` when they are not there. */
static int64_t take_digits(struct str *text, size_t count, bool *bad)
{
    int64_t value = 0;

    for (size_t i = 0; i < count; i++) {
        if (i >= text->size || text->data[i] < '0' || text->data[i] > '9') {
            *bad = true;
            return 0;
        }
        value = value * 10 + (text->data[i] - '0');
    }
    *text = str_cut(*text, count, text->size);
    return value;
}

static void take_byte(struct str *text, const char *allowed, bool *bad)
{
    if (text->size == 0 ||
        str_find(str_from(allowed), text->data[0]) == str_from(allowed).size) {
        *bad = true;
        return;
    }
    *text = str_cut(*text, 1, text->size);
}

/* Take ".678", if there is one, as milliseconds. */
static int64_t take_fraction(struct str *text, bool *bad)
{
    int64_t ms = 0;
    int64_t unit = 100;

    if (text->size == 0 || text->data[0] != '.') {
        return 0;
    }
    *text = str_cut(*text, 1, text->size);
    if (text->size == 0 || text->data[0] < '0' || text->data[0] > '9') {
        *bad = true;
    }
    while (text->size > 0 && text->data[0] >= '0' && text->data[0] <= '9') {
        ms += (text->data[0] - '0') * unit;
        unit /= 10;
        *text = str_cut(*text, 1, text->size);
    }
    return ms;
}

/* Take "Z" or "+02:00", as milliseconds east. */
static int64_t take_offset(struct str *text, bool *bad)
{
    char sign = text->size > 0 ? text->data[0] : '\0';

    take_byte(text, "Zz+-", bad);
    if (*bad || sign == 'Z' || sign == 'z') {
        return 0;
    }
    int64_t hours = take_digits(text, 2, bad);
    take_byte(text, ":", bad);
    int64_t minutes = take_digits(text, 2, bad);
    if (hours > 23 || minutes > 59) {
        *bad = true;
    }
    int64_t ms = (hours * 60 + minutes) * 60000;
    return sign == '-' ? -ms : ms;
}

static enum err parse_unix(struct str text, uint64_t *out_unix_ms)
{
    uint64_t seconds = 0;
    bool bad = false;
    size_t dot = str_find(text, '.');
    struct str fraction = str_cut(text, dot, text.size);

    if (str_to_u64(str_cut(text, 0, dot), &seconds) != ERR_OK ||
        seconds > TIME_MS_MAX / 1000) {
        return ERR_INVALID;
    }
    int64_t ms = take_fraction(&fraction, &bad);
    if (bad || fraction.size > 0) {
        return ERR_INVALID;
    }
    *out_unix_ms = seconds * 1000 + (uint64_t)ms;
    return ERR_OK;
}

static int64_t days_of_month(int64_t year, int64_t month)
{
    int64_t next_year = month == 12 ? year + 1 : year;
    int64_t next_month = month == 12 ? 1 : month + 1;

    return days_from_date(next_year, next_month, 1) -
           days_from_date(year, month, 1);
}

enum err wall_time_parse(struct str text, uint64_t *out_unix_ms)
{
    bool bad = false;

    if (str_find(text, '-') == text.size) {
        return parse_unix(text, out_unix_ms);
    }
    int64_t year = take_digits(&text, 4, &bad);
    take_byte(&text, "-", &bad);
    int64_t month = take_digits(&text, 2, &bad);
    take_byte(&text, "-", &bad);
    int64_t day = take_digits(&text, 2, &bad);
    take_byte(&text, "Tt ", &bad);
    int64_t hour = take_digits(&text, 2, &bad);
    take_byte(&text, ":", &bad);
    int64_t minute = take_digits(&text, 2, &bad);
    take_byte(&text, ":", &bad);
    int64_t second = take_digits(&text, 2, &bad);
    int64_t ms = take_fraction(&text, &bad);
    int64_t east_ms = take_offset(&text, &bad);
    if (bad || text.size > 0 || month < 1 || month > 12 || day < 1 ||
        day > days_of_month(year, month) || hour > 23 || minute > 59 ||
        second > 60) {
        return ERR_INVALID;
    }
    int64_t days = days_from_date(year, month, day);
    int64_t of_day = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    int64_t unix_ms = days * MS_PER_DAY + of_day - east_ms;
    if (unix_ms < 0 || unix_ms > (int64_t)TIME_MS_MAX) {
        return ERR_INVALID;
    }
    *out_unix_ms = (uint64_t)unix_ms;
    return ERR_OK;
}

void wall_time_write(struct buf *to, uint64_t unix_ms)
{
    uint64_t clamped = unix_ms < TIME_MS_MAX ? unix_ms : TIME_MS_MAX;
    struct date date = date_from_days((int64_t)(clamped / MS_PER_DAY));
    int of_day = (int)(clamped % MS_PER_DAY);

    buf_append_format(to, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)date.year,
                      (int)date.month, (int)date.day, of_day / 3600000,
                      of_day / 60000 % 60, of_day / 1000 % 60, of_day % 1000);
}
