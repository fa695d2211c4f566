/* Points in time as people and the API write them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/wall_time.h"

#include "base/date.h"

#include <stdbool.h>

enum { MS_PER_DAY = 86400000 };
#define TIME_MS_MAX UINT64_C(253402300799999) /* the end of 9999 */

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
        day > date_month_size(year, month) || hour > 23 || minute > 59 ||
        second > 60) {
        return ERR_INVALID;
    }
    int64_t days = date_to_days(year, month, day);
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
