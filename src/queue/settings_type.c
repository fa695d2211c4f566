/* The types of settings that are numbers, flags and words.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/settings_internal.h"

#include "queue/rate.h"

#include <assert.h>

enum {
    BATCH_WAIT_MS_MAX = 60000,
    PPM_PERCENT = 10000, /* parts in a million that are one percent */
};

/* A choice's field is written as the compiler makes enums. */
static_assert(sizeof(enum settings_order) == sizeof(unsigned), "enum");
static_assert(sizeof(enum settings_kind) == sizeof(unsigned), "enum");
static_assert(sizeof(enum settings_hold) == sizeof(unsigned), "enum");
static_assert(sizeof(enum settings_batch) == sizeof(unsigned), "enum");
static_assert(sizeof(enum settings_dedup) == sizeof(unsigned), "enum");
static_assert(sizeof(enum settings_events) == sizeof(unsigned), "enum");

/* --- flags and words ------------------------------------------------------ */

static void quote(struct buf *to, struct str text)
{
    buf_append_byte(to, '"');
    buf_append_str(to, text);
    buf_append_byte(to, '"');
}

/* The word with this number of a|b|c; empty past the last. */
static struct str word_at(const char *words, unsigned number)
{
    struct str left = str_from(words);

    for (; number > 0; number--) {
        left = str_cut(left, str_find(left, '|') + 1, left.size);
    }
    return str_cut(left, 0, str_find(left, '|'));
}

/* The number of a word; false when it is none of them. */
static bool
word_number(const char *words, struct str word, unsigned *out_number)
{
    unsigned number = 0;

    for (struct str left = str_from(words); left.size > 0; number++) {
        size_t end = str_find(left, '|');
        if (str_equal(str_cut(left, 0, end), word)) {
            *out_number = number;
            return true;
        }
        left = str_cut(left, end + 1, left.size);
    }
    return false;
}

static enum err
set_flag(const struct setting *setting, struct str value, void *field)
{
    bool yes = str_equal(value, STR("yes")) || str_equal(value, STR("true")) ||
               str_equal(value, STR("1"));
    bool no = str_equal(value, STR("no")) || str_equal(value, STR("false")) ||
              str_equal(value, STR("0"));

    (void)setting;
    if (!yes && !no) {
        return ERR_INVALID;
    }
    *(bool *)field = yes;
    return ERR_OK;
}

static enum err
read_flag(const struct setting *setting, struct str value, void *field)
{
    uint64_t number = 0;

    (void)setting;
    if (str_to_u64(value, &number) != ERR_OK || number > 1) {
        return ERR_INVALID;
    }
    *(bool *)field = number == 1;
    return ERR_OK;
}

static void
show_flag(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    buf_append_c(to, *(const bool *)field ? "true" : "false");
}

static void
write_flag(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    buf_append_byte(to, *(const bool *)field ? '1' : '0');
}

const struct settings_type settings_type_flag = {
    sizeof(bool), set_flag, read_flag, show_flag, write_flag, NULL,
};

static enum err
set_either(const struct setting *setting, struct str value, void *field)
{
    unsigned number = 0;

    if (!word_number(setting->wanted, value, &number)) {
        return ERR_INVALID;
    }
    *(bool *)field = number == 1;
    return ERR_OK;
}

static void
show_either(const struct setting *setting, const void *field, struct buf *to)
{
    quote(to, word_at(setting->wanted, *(const bool *)field ? 1 : 0));
}

const struct settings_type settings_type_either = {
    sizeof(bool), set_either, read_flag, show_either, write_flag, NULL,
};

static enum err
read_choice(const struct setting *setting, struct str value, void *field)
{
    unsigned number = 0;

    if (!word_number(setting->wanted, value, &number)) {
        return ERR_INVALID;
    }
    *(unsigned *)field = number;
    return ERR_OK;
}

static enum err
set_choice(const struct setting *setting, struct str value, void *field)
{
    unsigned number = 0;
    enum err err = read_choice(setting, value, &number);

    if (err != ERR_OK || number > setting->max) {
        return ERR_INVALID;
    }
    *(unsigned *)field = number;
    return ERR_OK;
}

static void
write_choice(const struct setting *setting, const void *field, struct buf *to)
{
    buf_append_str(to, word_at(setting->wanted, *(const unsigned *)field));
}

static void
show_choice(const struct setting *setting, const void *field, struct buf *to)
{
    quote(to, word_at(setting->wanted, *(const unsigned *)field));
}

const struct settings_type settings_type_choice = {
    sizeof(unsigned), set_choice, read_choice, show_choice, write_choice, NULL,
};

static enum err
read_ordinal(const struct setting *setting, struct str value, void *field)
{
    uint64_t number = 0;

    if (str_to_u64(value, &number) != ERR_OK || number > setting->max) {
        return ERR_INVALID;
    }
    *(unsigned *)field = (unsigned)number;
    return ERR_OK;
}

static void
write_ordinal(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    buf_append_u64(to, *(const unsigned *)field);
}

const struct settings_type settings_type_ordinal = {
    sizeof(unsigned), set_choice,    read_ordinal,
    show_choice,      write_ordinal, NULL,
};

/* Append words that are to be chosen from: a, b or c. */
static void append_words(const char *words, unsigned count, struct buf *to)
{
    for (unsigned number = 0; number < count; number++) {
        if (number > 0) {
            buf_append_c(to, number + 1 < count ? ", " : " or ");
        }
        buf_append_str(to, word_at(words, number));
    }
}

void settings_wanted(const struct setting *setting, struct buf *to)
{
    if (setting->type == &settings_type_either) {
        append_words(setting->wanted, 2, to);
    } else if (setting->type == &settings_type_choice ||
               setting->type == &settings_type_ordinal) {
        append_words(setting->wanted, (unsigned)setting->max + 1, to);
    } else {
        buf_append_c(to, setting->wanted);
    }
}

/* --- numbers -------------------------------------------------------------- */

/* Set a field of 32 bits, unless the value was not read or is too large. */
static enum err
set_small(enum err err, uint64_t value, uint64_t max, void *field)
{
    if (err != ERR_OK || value > max || value > UINT32_MAX) {
        return ERR_INVALID;
    }
    *(uint32_t *)field = (uint32_t)value;
    return ERR_OK;
}

/* Set a field of 64 bits likewise. */
static enum err
set_large(enum err err, uint64_t value, uint64_t max, void *field)
{
    if (err != ERR_OK || value > max) {
        return ERR_INVALID;
    }
    *(uint64_t *)field = value;
    return ERR_OK;
}

/* What is stored may be of a program with other limits. */
static enum err
read_small(const struct setting *setting, struct str value, void *field)
{
    uint64_t number = 0;
    enum err err = str_to_u64(value, &number);

    (void)setting;
    return set_small(err, number, UINT32_MAX, field);
}

static enum err
read_large(const struct setting *setting, struct str value, void *field)
{
    uint64_t number = 0;
    enum err err = str_to_u64(value, &number);

    (void)setting;
    return set_large(err, number, UINT64_MAX, field);
}

/* Numbers are shown as they are stored. */
static void
write_small(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    buf_append_u64(to, *(const uint32_t *)field);
}

static void
write_large(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    buf_append_u64(to, *(const uint64_t *)field);
}

static enum err
set_count(const struct setting *setting, struct str value, void *field)
{
    uint64_t number = 0;
    enum err err = str_to_u64(value, &number);

    return set_small(err, number, setting->max, field);
}

static enum err
set_count64(const struct setting *setting, struct str value, void *field)
{
    uint64_t number = 0;
    enum err err = str_to_u64(value, &number);

    return set_large(err, number, setting->max, field);
}

static enum err
set_size(const struct setting *setting, struct str value, void *field)
{
    uint64_t bytes = 0;
    enum err err = str_to_size(value, &bytes);

    return set_large(err, bytes, setting->max, field);
}

const struct settings_type settings_type_count = {
    sizeof(uint32_t), set_count, read_small, write_small, write_small, NULL,
};

const struct settings_type settings_type_count64 = {
    sizeof(uint64_t), set_count64, read_large, write_large, write_large, NULL,
};

const struct settings_type settings_type_size = {
    sizeof(uint64_t), set_size, read_large, write_large, write_large, NULL,
};

/* --- durations ------------------------------------------------------------ */

/* Append a duration in the largest unit that keeps it exact. */
static void append_span(struct buf *to, uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {
        {86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"},
    };
    unsigned index = ms == 0 ? 3 : 0;

    while (ms % units[index].ms != 0) {
        index++;
    }
    buf_append_u64(to, ms / units[index].ms);
    buf_append_c(to, units[index].unit);
}

static void quote_span(struct buf *to, uint64_t ms)
{
    buf_append_byte(to, '"');
    append_span(to, ms);
    buf_append_byte(to, '"');
}

static enum err
set_span(const struct setting *setting, struct str value, void *field)
{
    uint64_t ms = 0;
    enum err err = str_to_duration_ms(value, &ms);

    return set_small(err, ms, setting->max, field);
}

static enum err
set_span64(const struct setting *setting, struct str value, void *field)
{
    uint64_t ms = 0;
    enum err err = str_to_duration_ms(value, &ms);

    return set_large(err, ms, setting->max, field);
}

static void
show_span(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    quote_span(to, *(const uint32_t *)field);
}

static void
show_span64(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    quote_span(to, *(const uint64_t *)field);
}

const struct settings_type settings_type_span = {
    sizeof(uint32_t), set_span, read_small, show_span, write_small, NULL,
};

const struct settings_type settings_type_span64 = {
    sizeof(uint64_t), set_span64, read_large, show_span64, write_large, NULL,
};

/* --- numbers with a form of their own ------------------------------------- */

static enum err
set_retries(const struct setting *setting, struct str value, void *field)
{
    if (str_equal(value, STR("forever"))) {
        *(uint32_t *)field = SETTINGS_RETRIES_FOREVER;
        return ERR_OK;
    }
    return set_count(setting, value, field);
}

static void
write_retries(const struct setting *setting, const void *field, struct buf *to)
{
    if (*(const uint32_t *)field == SETTINGS_RETRIES_FOREVER) {
        buf_append_c(to, "forever");
    } else {
        write_small(setting, field, to);
    }
}

static void
show_retries(const struct setting *setting, const void *field, struct buf *to)
{
    if (*(const uint32_t *)field == SETTINGS_RETRIES_FOREVER) {
        buf_append_c(to, "\"forever\"");
    } else {
        write_small(setting, field, to);
    }
}

const struct settings_type settings_type_retries = {
    sizeof(uint32_t), set_retries,   set_retries,
    show_retries,     write_retries, NULL,
};

static enum err
set_rate(const struct setting *setting, struct str value, void *field)
{
    (void)setting; /* its limit is that of all rates */
    return rate_parse(value, field) == ERR_OK ? ERR_OK : ERR_INVALID;
}

static void
write_rate(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    rate_write(field, to);
}

static void
show_rate(const struct setting *setting, const void *field, struct buf *to)
{
    buf_append_byte(to, '"');
    write_rate(setting, field, to);
    buf_append_byte(to, '"');
}

const struct settings_type settings_type_rate = {
    sizeof(struct settings_rate),
    set_rate,
    set_rate,
    show_rate,
    write_rate,
    NULL,
};

/* The fields of a batch stand side by side. */
struct batch_fields {
    uint32_t count;
    uint32_t wait_ms;
};
static_assert(offsetof(struct settings, batch_wait_ms) ==
                  offsetof(struct settings, batch_count) +
                      offsetof(struct batch_fields, wait_ms),
              "batch");

static enum err
set_batch(const struct setting *setting, struct str value, void *field)
{
    uint32_t *batch = field;
    size_t comma = str_find(value, ',');
    uint64_t count = 0;
    uint64_t wait_ms = 0;
    enum err err = str_to_u64(str_trim(str_cut(value, 0, comma)), &count);

    if (err == ERR_OK && comma < value.size) {
        err = str_to_duration_ms(
            str_trim(str_cut(value, comma + 1, value.size)), &wait_ms);
    }
    if (err != ERR_OK || count > setting->max || wait_ms > BATCH_WAIT_MS_MAX) {
        return ERR_INVALID;
    }
    batch[0] = (uint32_t)count;
    batch[1] = count > 0 ? (uint32_t)wait_ms : 0;
    return ERR_OK;
}

static void
write_batch(const struct setting *setting, const void *field, struct buf *to)
{
    const uint32_t *batch = field;

    (void)setting;
    buf_append_u64(to, batch[0]);
    if (batch[0] > 0) {
        buf_append_byte(to, ',');
        append_span(to, batch[1]);
    }
}

static void
show_batch(const struct setting *setting, const void *field, struct buf *to)
{
    buf_append_byte(to, '"');
    write_batch(setting, field, to);
    buf_append_byte(to, '"');
}

const struct settings_type settings_type_batch = {
    sizeof(struct batch_fields),
    set_batch,
    set_batch,
    show_batch,
    write_batch,
    NULL,
};

/* 12.5% and the like; the sign may be left out. */
static enum err
set_share(const struct setting *setting, struct str value, void *field)
{
    uint64_t percent = 0;
    uint64_t part = 0;

    if (value.size > 0 && value.data[value.size - 1] == '%') {
        value.size--;
    }
    size_t point = str_find(value, '.');
    struct str decimals = str_cut(value, point + 1, value.size);
    if (str_to_u64(str_cut(value, 0, point), &percent) != ERR_OK ||
        percent > setting->max / PPM_PERCENT || decimals.size > 4) {
        return ERR_INVALID;
    }
    if (point < value.size && str_to_u64(decimals, &part) != ERR_OK) {
        return ERR_INVALID;
    }
    for (size_t digits = decimals.size; digits < 4; digits++) {
        part *= 10;
    }
    return set_small(ERR_OK, percent * PPM_PERCENT + part, setting->max, field);
}

static void
show_share(const struct setting *setting, const void *field, struct buf *to)
{
    uint32_t ppm = *(const uint32_t *)field;
    uint32_t part = ppm % PPM_PERCENT;

    (void)setting;
    buf_append_byte(to, '"');
    buf_append_u64(to, ppm / PPM_PERCENT);
    if (part > 0) {
        int digits = 4;
        for (; part % 10 == 0; part /= 10) {
            digits--;
        }
        buf_append_format(to, ".%0*u", digits, part);
    }
    buf_append_c(to, "%\"");
}

static enum err
read_share(const struct setting *setting, struct str value, void *field)
{
    uint64_t ppm = 0;
    enum err err = str_to_u64(value, &ppm);

    return set_small(err, ppm, setting->max, field);
}

const struct settings_type settings_type_share = {
    sizeof(uint32_t), set_share, read_share, show_share, write_small, NULL,
};
