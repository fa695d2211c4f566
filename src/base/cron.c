/* Times that come again and again.
 *
 * How the next one is found: zones are spans of one offset, in which the clock
 * goes forward like any other. So span by span, from the second asked about,
 * the first fitting time is looked for between what the clock shows at its
 * beginning and at its end, month by month, day by day, then by the bits of
 * the day. Where a span begins behind a gap, the times in the gap come before
 * all of its own; where it begins with a fold, what was shown before is left
 * out.
 *
 * What bounds it: CRON_YEARS_MAX, and the spans in them, of a zone that is
 * real about two a year.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/cron.h"

#include "base/date.h"

enum {
    SECONDS_PER_DAY = 86400,
    HOURS_ALL = (1 << 24) - 1,
    EVERY_MS_MIN = 1000,
    DAYS_MAX = 31,
    NAME_SIZE = 3,
};
#define EVERY_MS_MAX (UINT64_C(366) * 86400 * 1000)

/* --- reading -------------------------------------------------------------- */

struct field {
    unsigned min;
    unsigned max;
    const char *names; /* of `name_min` and on, three letters each; or NULL */
    unsigned name_min;
    const char *reason; /* when it is malformed */
};

static const char month_names[] = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC";
static const char weekday_names[] = "SUNMONTUEWEDTHUFRISAT";

enum field_index {
    FIELD_SECOND,
    FIELD_MINUTE,
    FIELD_HOUR,
    FIELD_DAY,
    FIELD_MONTH,
    FIELD_WEEKDAY,
    FIELD_COUNT,
};

static const struct field fields[FIELD_COUNT] = {
    {0, 59, NULL, 0, "has a second that is not 0 to 59, a range or a list"},
    {0, 59, NULL, 0, "has a minute that is not 0 to 59, a range or a list"},
    {0, 23, NULL, 0, "has an hour that is not 0 to 23, a range or a list"},
    {1, 31, NULL, 0,
     "has a day of the month that is not 1 to 31, a range or a list"},
    {1, 12, month_names, 1,
     "has a month that is not 1 to 12, JAN to DEC, a range or a list"},
    {0, 7, weekday_names, 0,
     "has a day of the week that is not 0 to 7, SUN to SAT, a range or a list"},
};

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Take what is up to the next blank; empty at the end. */
static struct str take_word(struct str *text)
{
    size_t size = 0;

    *text = str_trim(*text);
    while (size < text->size && !is_blank(text->data[size])) {
        size++;
    }
    struct str word = str_cut(*text, 0, size);
    *text = str_cut(*text, size, text->size);
    return word;
}

/* Read a name's number. */
static bool
read_name(struct str text, const struct field *field, unsigned *out_value)
{
    struct str names = str_from(field->names);

    if (text.size != NAME_SIZE) {
        return false;
    }
    for (unsigned at = 0; at < names.size; at += NAME_SIZE) {
        if (str_equal_nocase(text, str_cut(names, at, NAME_SIZE))) {
            *out_value = field->name_min + at / NAME_SIZE;
            return true;
        }
    }
    return false;
}

static bool
read_value(struct str text, const struct field *field, unsigned *out_value)
{
    uint64_t value = 0;

    if (read_name(text, field, out_value)) {
        return true;
    }
    if (str_to_u64(text, &value) != ERR_OK || value < field->min ||
        value > field->max) {
        return false;
    }
    *out_value = (unsigned)value;
    return true;
}

/* Read "a", "a-b" or a star. A single number takes no step. */
static bool read_range(struct str text,
                       const struct field *field,
                       unsigned *out_first,
                       unsigned *out_last)
{
    size_t dash = str_find(text, '-');

    if (str_equal(text, STR("*"))) {
        *out_first = field->min;
        *out_last = field->max;
        return true;
    }
    if (!read_value(str_cut(text, 0, dash), field, out_first)) {
        return false;
    }
    if (dash == text.size) {
        *out_last = *out_first;
        return true;
    }
    if (!read_value(str_cut(text, dash + 1, text.size), field, out_last)) {
        return false;
    }
    if (*out_last == 0 && field == &fields[FIELD_WEEKDAY]) {
        *out_last = 7; /* FRI-SUN */
    }
    return *out_first <= *out_last;
}

/* Read one item of a list into bits. */
static bool
read_item(struct str text, const struct field *field, uint64_t *bits)
{
    size_t slash = str_find(text, '/');
    struct str range = str_cut(text, 0, slash);
    unsigned first = 0;
    unsigned last = 0;
    uint64_t step = 1;

    if (!read_range(range, field, &first, &last)) {
        return false;
    }
    if (slash < text.size) {
        bool single =
            !str_equal(range, STR("*")) && str_find(range, '-') == range.size;
        enum err err = str_to_u64(str_cut(text, slash + 1, text.size), &step);
        if (err != ERR_OK || step == 0 || step > field->max || single) {
            return false;
        }
    }
    for (uint64_t value = first; value <= last; value += step) {
        *bits |= UINT64_C(1) << value;
    }
    return true;
}

static bool
read_field(struct str text, const struct field *field, uint64_t *bits)
{
    *bits = 0;
    for (;;) {
        size_t comma = str_find(text, ',');
        if (!read_item(str_cut(text, 0, comma), field, bits)) {
            return false;
        }
        if (comma == text.size) {
            return true;
        }
        text = str_cut(text, comma + 1, text.size);
        if (text.size == 0) {
            return false;
        }
    }
}

/* Tell whether any of the months has any of the days, a leap day too. */
static bool comes(const struct cron *cron)
{
    enum { LEAP_YEAR = 2000 };

    if (cron->either_day) {
        return true;
    }
    for (unsigned month = 1; month <= 12; month++) {
        uint64_t up_to = (UINT64_C(2) << date_month_size(LEAP_YEAR, month)) - 1;
        if ((cron->months >> month & 1) != 0 && (cron->days & up_to) != 0) {
            return true;
        }
    }
    return false;
}

/* Read the fields, five of them without seconds. */
static enum err read_fields(const struct str words[FIELD_COUNT],
                            struct cron *cron,
                            const char **out_reason)
{
    uint64_t bits[FIELD_COUNT];

    for (unsigned index = 0; index < FIELD_COUNT; index++) {
        if (!read_field(words[index], &fields[index], &bits[index])) {
            *out_reason = fields[index].reason;
            return ERR_INVALID;
        }
    }
    cron->seconds = bits[FIELD_SECOND];
    cron->minutes = bits[FIELD_MINUTE];
    cron->hours = (uint32_t)bits[FIELD_HOUR];
    cron->days = (uint32_t)bits[FIELD_DAY];
    cron->months = (uint32_t)bits[FIELD_MONTH];
    cron->weekdays = (uint32_t)bits[FIELD_WEEKDAY];
    cron->weekdays = (cron->weekdays | cron->weekdays >> 7) & 0x7f;
    cron->either_day =
        words[FIELD_DAY].data[0] != '*' && words[FIELD_WEEKDAY].data[0] != '*';
    if (!comes(cron)) {
        *out_reason = "never comes: no such month has such a day";
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err
read_line(struct str text, struct cron *cron, const char **out_reason)
{
    struct str words[FIELD_COUNT];
    unsigned count = 0;

    words[FIELD_SECOND] = STR("0");
    for (;;) {
        struct str word = take_word(&text);
        if (word.size == 0) {
            break;
        }
        if (count == FIELD_COUNT) {
            count++;
            break;
        }
        words[count] = word;
        count++;
    }
    if (count == FIELD_COUNT - 1) {
        for (unsigned index = FIELD_COUNT - 1; index > 0; index--) {
            words[index] = words[index - 1];
        }
        words[FIELD_SECOND] = STR("0");
        count++;
    }
    if (count != FIELD_COUNT) {
        *out_reason = "must have five fields, or six with seconds first";
        return ERR_INVALID;
    }
    return read_fields(words, cron, out_reason);
}

static enum err
read_every(struct str text, struct cron *cron, const char **out_reason)
{
    uint64_t ms = 0;

    if (str_to_duration_ms(text, &ms) != ERR_OK || ms < EVERY_MS_MIN ||
        ms > EVERY_MS_MAX || ms % 1000 != 0) {
        *out_reason = "must be @every and whole seconds up to 366d, such as "
                      "@every 90s";
        return ERR_INVALID;
    }
    cron->every_ms = ms;
    return ERR_OK;
}

static enum err
read_macro(struct str text, struct cron *cron, const char **out_reason)
{
    static const struct {
        const char *name;
        const char *line;
    } macros[] = {
        {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},
        {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
        {"@monthly", "0 0 1 * *"},  {"@yearly", "0 0 1 1 *"},
        {"@annually", "0 0 1 1 *"},
    };
    struct str rest = text;
    struct str word = take_word(&rest);

    if (str_equal_nocase(word, STR("@every"))) {
        return read_every(str_trim(rest), cron, out_reason);
    }
    for (unsigned index = 0; index < sizeof(macros) / sizeof(macros[0]);
         index++) {
        if (str_equal_nocase(text, str_from(macros[index].name))) {
            return read_line(str_from(macros[index].line), cron, out_reason);
        }
    }
    *out_reason = "is not one of @hourly, @daily, @weekly, @monthly, @yearly "
                  "and @every";
    return ERR_INVALID;
}

enum err
cron_parse(struct str text, struct cron *out_cron, const char **out_reason)
{
    struct cron cron = {0};
    const char *reason = "is empty";
    enum err err = ERR_INVALID;

    text = str_trim(text);
    if (text.size > CRON_SIZE_MAX) {
        reason = "is too long";
    } else if (text.size > 0) {
        err = text.data[0] == '@' ? read_macro(text, &cron, &reason)
                                  : read_line(text, &cron, &reason);
    }
    if (err == ERR_OK) {
        *out_cron = cron;
    } else {
        *out_reason = reason;
    }
    return err;
}

/* --- the next time -------------------------------------------------------- */

/* The lowest bit from `from` on; `size` when there is none. */
static unsigned next_bit(uint64_t bits, unsigned from, unsigned size)
{
    if (from >= size || bits >> from == 0) {
        return size;
    }
    return from + (unsigned)__builtin_ctzll(bits >> from);
}

/* Find the first second of a day from `from` on.
 * Returns SECONDS_PER_DAY when there is none. */
static int64_t next_in_day(const struct cron *cron, int64_t from)
{
    unsigned hour_from = (unsigned)(from / 3600);
    unsigned minute_from = (unsigned)(from / 60 % 60);
    unsigned hour = next_bit(cron->hours, hour_from, 24);
    unsigned minute = next_bit(cron->minutes, 0, 60);
    unsigned second = next_bit(cron->seconds, 0, 60);

    if (hour == hour_from) {
        minute = next_bit(cron->minutes, minute_from, 60);
        if (minute == minute_from) {
            second = next_bit(cron->seconds, (unsigned)(from % 60), 60);
        }
        if (second == 60) {
            second = next_bit(cron->seconds, 0, 60);
            minute = next_bit(cron->minutes, minute + 1, 60);
        }
        if (minute == 60) {
            minute = next_bit(cron->minutes, 0, 60);
            hour = next_bit(cron->hours, hour + 1, 24);
        }
    }
    return hour == 24 ? SECONDS_PER_DAY
                      : (int64_t)hour * 3600 + (int64_t)minute * 60 + second;
}

static bool fits_day(const struct cron *cron, int64_t day_of_month, int64_t day)
{
    bool of_month = (cron->days >> day_of_month & 1) != 0;
    bool of_week = (cron->weekdays >> date_weekday(day) & 1) != 0;

    return cron->either_day ? of_month || of_week : of_month && of_week;
}

/* Find the first fitting day from `day` to `last`, whole months passed over at
 * once. */
static bool next_day(const struct cron *cron, int64_t *day, int64_t last)
{
    struct date date = date_from_days(*day);

    while (*day <= last) {
        int64_t size = date_month_size(date.year, date.month);
        bool month = (cron->months >> date.month & 1) != 0;
        for (; month && date.day <= size && *day <= last; date.day++) {
            if (fits_day(cron, date.day, *day)) {
                return true;
            }
            (*day)++;
        }
        if (*day > last) {
            return false;
        }
        date.day = 1;
        date.year += date.month == 12 ? 1 : 0;
        date.month = date.month == 12 ? 1 : date.month + 1;
        *day = date_to_days(date.year, date.month, 1);
    }
    return false;
}

static int64_t day_of(int64_t shown)
{
    return shown / SECONDS_PER_DAY - (shown % SECONDS_PER_DAY < 0 ? 1 : 0);
}

/* Find the first fitting time that the clock shows from `shown` on, before
 * `end`, as seconds of the clock. */
static bool next_shown(const struct cron *cron, int64_t *shown, int64_t end)
{
    int64_t day = day_of(*shown);
    int64_t from = *shown - day * SECONDS_PER_DAY;
    int64_t last = day_of(end - 1);

    while (*shown < end) {
        int64_t first = day;
        if (!next_day(cron, &day, last)) {
            return false;
        }
        int64_t found = next_in_day(cron, day == first ? from : 0);
        if (found < SECONDS_PER_DAY) {
            *shown = day * SECONDS_PER_DAY + found;
            return *shown < end;
        }
        day++;
        from = 0;
        *shown = day * SECONDS_PER_DAY;
    }
    return false;
}

/* Find the first fitting second of a span, from `second` on, before `end`. */
static bool next_in_span(const struct cron *cron,
                         const struct zone_span *span,
                         int64_t end,
                         int64_t *second)
{
    bool jumps = span->start != INT64_MIN && cron->hours != HOURS_ALL;
    int64_t shown = *second + span->offset;

    if (jumps && span->offset < span->before &&
        shown < span->start + span->before) {
        shown = span->start + span->before; /* a fold: it was shown before */
    }
    if (jumps && span->offset > span->before && *second == span->start) {
        int64_t gap = span->start + span->before;
        if (next_shown(cron, &gap, span->start + span->offset)) {
            return true; /* at the end of the gap, where we are */
        }
    }
    if (!next_shown(cron, &shown, end + span->offset)) {
        return false;
    }
    *second = shown - span->offset;
    return true;
}

static bool every_next(uint64_t every_ms, uint64_t after_ms, uint64_t *out_ms)
{
    *out_ms = (after_ms / every_ms + 1) * every_ms;
    return *out_ms / 1000 <= ZONE_SECOND_MAX;
}

bool cron_next(const struct cron *cron,
               const struct zone *zone,
               uint64_t after_ms,
               uint64_t *out_ms)
{
    if (after_ms / 1000 >= ZONE_SECOND_MAX) {
        return false;
    }
    if (cron->every_ms != 0) {
        return every_next(cron->every_ms, after_ms, out_ms);
    }
    int64_t second = (int64_t)(after_ms / 1000) + 1;
    int64_t end = second + (int64_t)CRON_YEARS_MAX * 366 * SECONDS_PER_DAY;
    end = end < ZONE_SECOND_MAX ? end : ZONE_SECOND_MAX;
    while (second < end) {
        struct zone_span span = zone_span_of(zone, second);
        int64_t span_end = span.end < end ? span.end : end;
        if (next_in_span(cron, &span, span_end, &second)) {
            *out_ms = (uint64_t)second * 1000;
            return true;
        }
        second = span_end;
    }
    return false;
}
