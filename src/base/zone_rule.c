/* The rule behind the last change of a zone.
 *
 * Its source is the description of TZ in POSIX.1-2017 (Base Definitions, 8.3)
 * and RFC 8536, 3.3.1: hours of a change may be -167 to 167.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/zone_rule.h"

#include "base/date.h"

enum {
    SECONDS_PER_DAY = 86400,
    SECONDS_PER_HOUR = 3600,
    OFFSET_HOURS_MAX = 24,
    CHANGE_HOURS_MAX = 167,
    CHANGE_TIME_DEFAULT = 2 * SECONDS_PER_HOUR,
    NAME_SIZE_MIN = 3,
    YEARS_AROUND = 5, /* of a second: its own is the third */
    CHANGES_AROUND = 2 * YEARS_AROUND,
};

static bool is_next(const struct str *text, char byte)
{
    return text->size > 0 && text->data[0] == byte;
}

static bool skip(struct str *text, char byte)
{
    if (!is_next(text, byte)) {
        return false;
    }
    *text = str_cut(*text, 1, text->size);
    return true;
}

static bool is_digit(const struct str *text)
{
    return text->size > 0 && text->data[0] >= '0' && text->data[0] <= '9';
}

/* Take a number of `min` to `max`. */
static enum err
take_number(struct str *text, int32_t min, int32_t max, int32_t *out_value)
{
    int32_t value = 0;

    if (!is_digit(text)) {
        return ERR_CORRUPT;
    }
    while (is_digit(text)) {
        value = value * 10 + (text->data[0] - '0');
        *text = str_cut(*text, 1, text->size);
        if (value > max) {
            return ERR_CORRUPT;
        }
    }
    if (value < min) {
        return ERR_CORRUPT;
    }
    *out_value = value;
    return ERR_OK;
}

/* Take a zone's short name: letters, or anything between angle brackets. */
static enum err take_name(struct str *text)
{
    size_t size = 0;

    if (skip(text, '<')) {
        size = str_find(*text, '>');
        if (size == text->size || size < NAME_SIZE_MIN) {
            return ERR_CORRUPT;
        }
        *text = str_cut(*text, size + 1, text->size);
        return ERR_OK;
    }
    while (size < text->size &&
           ((text->data[size] >= 'a' && text->data[size] <= 'z') ||
            (text->data[size] >= 'A' && text->data[size] <= 'Z'))) {
        size++;
    }
    *text = str_cut(*text, size, text->size);
    return size < NAME_SIZE_MIN ? ERR_CORRUPT : ERR_OK;
}

/* Take "[+-]hh[:mm[:ss]]" as seconds. */
static enum err
take_time(struct str *text, int32_t hours_max, int32_t *out_seconds)
{
    int32_t hours = 0;
    int32_t minutes = 0;
    int32_t seconds = 0;
    bool negative = is_next(text, '-');

    if (!skip(text, '-')) {
        (void)skip(text, '+');
    }
    enum err err = take_number(text, 0, hours_max, &hours);
    if (err == ERR_OK && skip(text, ':')) {
        err = take_number(text, 0, 59, &minutes);
        if (err == ERR_OK && skip(text, ':')) {
            err = take_number(text, 0, 59, &seconds);
        }
    }
    if (err != ERR_OK) {
        return err;
    }
    int32_t sum = hours * SECONDS_PER_HOUR + minutes * 60 + seconds;
    *out_seconds = negative ? -sum : sum;
    return ERR_OK;
}

/* Take an offset, which the rule counts west, as seconds east. */
static enum err take_offset(struct str *text, int32_t *out_offset)
{
    int32_t west = 0;
    enum err err = take_time(text, OFFSET_HOURS_MAX, &west);

    if (err == ERR_OK) {
        *out_offset = -west;
    }
    return err;
}

/* Take "Mm.w.d" behind its M. */
static enum err take_week(struct str *text, struct zone_rule_date *date)
{
    date->kind = ZONE_RULE_WEEK;
    enum err err = take_number(text, 1, 12, &date->month);
    if (err != ERR_OK || !skip(text, '.')) {
        return ERR_CORRUPT;
    }
    err = take_number(text, 1, 5, &date->week);
    if (err != ERR_OK || !skip(text, '.')) {
        return ERR_CORRUPT;
    }
    return take_number(text, 0, 6, &date->day);
}

/* Take ",date[/time]". */
static enum err take_date(struct str *text, struct zone_rule_date *date)
{
    enum err err = ERR_OK;

    if (!skip(text, ',')) {
        return ERR_CORRUPT;
    }
    date->time = CHANGE_TIME_DEFAULT;
    if (skip(text, 'M')) {
        err = take_week(text, date);
    } else if (skip(text, 'J')) {
        date->kind = ZONE_RULE_JULIAN;
        err = take_number(text, 1, 365, &date->day);
    } else {
        date->kind = ZONE_RULE_DAY;
        err = take_number(text, 0, 365, &date->day);
    }
    if (err == ERR_OK && skip(text, '/')) {
        err = take_time(text, CHANGE_HOURS_MAX, &date->time);
    }
    return err;
}

/* Take what is behind the standard time: summer time, if there is any. */
static enum err take_summer(struct str *text, struct zone_rule *rule)
{
    if (text->size == 0) {
        return ERR_OK;
    }
    rule->has_summer = true;
    enum err err = take_name(text);
    rule->summer = rule->standard + SECONDS_PER_HOUR;
    if (err == ERR_OK && !is_next(text, ',')) {
        err = take_offset(text, &rule->summer);
    }
    if (err == ERR_OK) {
        err = take_date(text, &rule->begin);
    }
    if (err == ERR_OK) {
        err = take_date(text, &rule->end);
    }
    return err == ERR_OK && text->size > 0 ? ERR_CORRUPT : err;
}

enum err zone_rule_parse(struct str text, struct zone_rule *out_rule)
{
    struct zone_rule rule = {0};
    enum err err = take_name(&text);

    if (err == ERR_OK) {
        err = take_offset(&text, &rule.standard);
    }
    if (err == ERR_OK) {
        err = take_summer(&text, &rule);
    }
    if (err == ERR_OK) {
        *out_rule = rule;
    }
    return err;
}

/* --- changes -------------------------------------------------------------- */

static bool is_leap(int64_t year)
{
    return date_month_size(year, 2) == 29;
}

/* The day of a date in a year. */
static int64_t day_of(const struct zone_rule_date *date, int64_t year)
{
    int64_t first = date_to_days(year, 1, 1);

    if (date->kind == ZONE_RULE_DAY) {
        return first + date->day;
    }
    if (date->kind == ZONE_RULE_JULIAN) {
        enum { LAST_OF_FEBRUARY = 59 };
        int64_t leap = is_leap(year) && date->day > LAST_OF_FEBRUARY ? 1 : 0;
        return first + date->day - 1 + leap;
    }
    int64_t of_month = date_to_days(year, date->month, 1);
    int64_t to_weekday = (date->day - date_weekday(of_month) + 7) % 7;
    int64_t day = to_weekday + (int64_t)(date->week - 1) * 7;
    if (day >= date_month_size(year, date->month)) {
        day -= 7; /* a fifth week that is not there is the last */
    }
    return of_month + day;
}

struct change {
    int64_t at;
    int32_t offset; /* from then on */
};

/* Sort, so that of two changes at the same second summer time wins: a summer
 * that lasts all year ends when it begins. */
static void sort(struct change *changes, unsigned count, int32_t summer)
{
    for (unsigned index = 1; index < count; index++) {
        for (unsigned place = index; place > 0; place--) {
            struct change *left = &changes[place - 1];
            struct change *right = &changes[place];
            if (left->at < right->at ||
                (left->at == right->at && left->offset != summer)) {
                break;
            }
            struct change swapped = *left;
            *left = *right;
            *right = swapped;
        }
    }
}

struct zone_rule_span zone_rule_span_of(const struct zone_rule *rule,
                                        int64_t second)
{
    struct zone_rule_span span = {.start = INT64_MIN,
                                  .end = INT64_MAX,
                                  .offset = rule->standard,
                                  .before = rule->standard};
    struct change changes[CHANGES_AROUND];
    unsigned count = 0;

    if (!rule->has_summer) {
        return span;
    }
    int64_t days = second / SECONDS_PER_DAY - (second < 0 ? 1 : 0);
    int64_t year = date_from_days(days).year - YEARS_AROUND / 2;
    for (unsigned index = 0; index < YEARS_AROUND; index++, year++) {
        changes[count++] =
            (struct change){.at = day_of(&rule->begin, year) * SECONDS_PER_DAY +
                                  rule->begin.time - rule->standard,
                            .offset = rule->summer};
        changes[count++] =
            (struct change){.at = day_of(&rule->end, year) * SECONDS_PER_DAY +
                                  rule->end.time - rule->summer,
                            .offset = rule->standard};
    }
    sort(changes, count, rule->summer);
    /* What was in force before the first of these does not matter: a second
     * has more than a year of them before it. */
    span.offset = changes[0].offset;
    for (unsigned index = 0; index < count; index++) {
        if (changes[index].at > second) {
            span.end = changes[index].at;
            break;
        }
        span.before = span.offset;
        span.offset = changes[index].offset;
        span.start = changes[index].at;
    }
    return span;
}
