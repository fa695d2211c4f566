/* Borrowed slices: comparing, cutting, reading numbers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/str.h"

#include <string.h>

enum { MS_PER_SECOND = 1000 };

static const uint64_t duration_ms_max = UINT64_C(36500) * 86400 * MS_PER_SECOND;

struct unit {
    struct str name;
    uint64_t factor;
};

/* The `static` initialisers want constants, which STR() is not. */
#define UNIT(literal, value)                                                   \
    {                                                                          \
        {literal, sizeof(literal) - 1}, (value)                                \
    }

static const struct unit duration_units[] = {
    UNIT("", MS_PER_SECOND),
    UNIT("ms", 1),
    UNIT("s", MS_PER_SECOND),
    UNIT("m", UINT64_C(60) * MS_PER_SECOND),
    UNIT("h", UINT64_C(3600) * MS_PER_SECOND),
    UNIT("d", UINT64_C(86400) * MS_PER_SECOND),
};

static const struct unit size_units[] = {
    UNIT("", 1),
    UNIT("k", UINT64_C(1) << 10),
    UNIT("m", UINT64_C(1) << 20),
    UNIT("g", UINT64_C(1) << 30),
    UNIT("kib", UINT64_C(1) << 10),
    UNIT("mib", UINT64_C(1) << 20),
    UNIT("gib", UINT64_C(1) << 30),
};

static char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

struct str str_from(const char *text)
{
    return (struct str){text, text != NULL ? strlen(text) : 0};
}

/* Eight bytes, ASCII letters made small, as no others are. */
static uint64_t lower_word(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t low = word & (ones * 0x7f);
    uint64_t from_a = low + ones * (0x80 - 'A');
    uint64_t past_z = low + ones * (0x7f - 'Z');
    uint64_t letter = (from_a ^ past_z) & ~word & (ones * 0x80);
    return word | letter >> 2;
}

static uint64_t load_word(const char *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof(word));
    return word;
}

bool str_same_letters(const char *left, const char *right, size_t size)
{
    enum { WORD = sizeof(uint64_t) };

    if (size < WORD) {
        for (size_t i = 0; i < size; i++) {
            if (lower(left[i]) != lower(right[i])) {
                return false;
            }
        }
        return true;
    }
    /* The last word may overlap the one before it. */
    for (size_t at = 0; at < size; at += WORD) {
        size_t from = at + WORD <= size ? at : size - WORD;
        uint64_t one = load_word(left + from);
        uint64_t two = load_word(right + from);
        if (one != two && lower_word(one) != lower_word(two)) {
            return false;
        }
    }
    return true;
}

int str_compare(struct str left, struct str right)
{
    size_t size = left.size < right.size ? left.size : right.size;
    int order = size > 0 ? memcmp(left.data, right.data, size) : 0;
    if (order != 0) {
        return order;
    }
    return (left.size > right.size) - (left.size < right.size);
}

bool str_starts(struct str text, struct str prefix)
{
    return text.size >= prefix.size &&
           (prefix.size == 0 ||
            memcmp(text.data, prefix.data, prefix.size) == 0);
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

struct str str_trim(struct str text)
{
    while (text.size > 0 && is_blank(text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && is_blank(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

enum err str_to_u64(struct str text, uint64_t *out_value)
{
    if (text.size == 0) {
        return ERR_INVALID;
    }
    uint64_t value = 0;
    bool overflow = false;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit(text.data[i])) {
            return ERR_INVALID;
        }
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        overflow = overflow || __builtin_mul_overflow(value, 10U, &value) ||
                   __builtin_add_overflow(value, digit, &value);
    }
    if (overflow) {
        return ERR_RANGE;
    }
    *out_value = value;
    return ERR_OK;
}

/* Split digits from the unit behind them and give the product. */
static enum err read_with_unit(struct str text,
                               const struct unit *units,
                               size_t unit_count,
                               bool any_case,
                               uint64_t *out_value)
{
    size_t digits = 0;
    while (digits < text.size && is_digit(text.data[digits])) {
        digits++;
    }
    struct str name = str_cut(text, digits, text.size);
    const struct unit *unit = NULL;
    for (size_t i = 0; i < unit_count && unit == NULL; i++) {
        bool same = any_case ? str_equal_nocase(name, units[i].name)
                             : str_equal(name, units[i].name);
        unit = same ? &units[i] : NULL;
    }
    if (unit == NULL) {
        return ERR_INVALID;
    }
    uint64_t value = 0;
    enum err err = str_to_u64(str_cut(text, 0, digits), &value);
    if (err != ERR_OK) {
        return err;
    }
    if (__builtin_mul_overflow(value, unit->factor, &value)) {
        return ERR_RANGE;
    }
    *out_value = value;
    return ERR_OK;
}

enum err str_to_duration_ms(struct str text, uint64_t *out_ms)
{
    uint64_t value = 0;
    size_t unit_count = sizeof(duration_units) / sizeof(duration_units[0]);
    enum err err =
        read_with_unit(text, duration_units, unit_count, false, &value);
    if (err != ERR_OK) {
        return err;
    }
    if (value > duration_ms_max) {
        return ERR_RANGE;
    }
    *out_ms = value;
    return ERR_OK;
}

enum err str_to_size(struct str text, uint64_t *out_size)
{
    size_t unit_count = sizeof(size_units) / sizeof(size_units[0]);
    return read_with_unit(text, size_units, unit_count, true, out_size);
}

uint64_t str_hash(struct str text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text.size; i++) {
        hash ^= (uint8_t)text.data[i];
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}
