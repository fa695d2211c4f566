/* A borrowed slice of bytes, passed by value.
 *
 * It owns nothing and is not terminated. The data pointer may be NULL only
 * when the size is 0. Whoever stores one says until when it is borrowed.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_STR_H
#define OPQ_BASE_STR_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *data; /* borrowed */
    size_t size;      /* bytes */
};

/* A slice of a string literal: STR("topic"). */
#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

/* For printf: "%.*s", STR_ARG(text). The size is cut at INT_MAX. */
#define STR_ARG(text)                                                          \
    (int)((text).size < 0x7fffffff ? (text).size : 0x7fffffff), (text).data

/* Slice a terminated string; NULL gives the empty slice. */
struct str str_from(const char *text);

/* Cut: `size` bytes from `start`, both clamped to what is there. */
static inline struct str str_cut(struct str text, size_t start, size_t size)
{
    if (start > text.size) {
        start = text.size;
    }
    if (size > text.size - start) {
        size = text.size - start;
    }
    if (text.size == 0) {
        return text; /* its data may be NULL */
    }
    return (struct str){text.data + start, size};
}

/* Compare bytes. Inline, so that a comparison with a literal is one with its
 * size, and then a few words. */
static inline bool str_equal(struct str left, struct str right)
{
    return left.size == right.size &&
           (left.size == 0 || memcmp(left.data, right.data, left.size) == 0);
}

/* Compare `size` bytes, ASCII letters without regard to case. */
bool str_same_letters(const char *left, const char *right, size_t size);

/* Compare, ASCII letters without regard to case (HTTP field names). Most that
 * differ do so in their sizes or first letters, which needs no call. */
static inline bool str_equal_nocase(struct str left, struct str right)
{
    return left.size == right.size &&
           (left.size == 0 ||
            (((left.data[0] ^ right.data[0]) & ~0x20) == 0 &&
             str_same_letters(left.data, right.data, left.size)));
}

/* Order bytewise, a prefix first: <0, 0, >0. */
int str_compare(struct str left, struct str right);

/* Tell whether `text` begins with `prefix`. */
bool str_starts(struct str text, struct str prefix);

/* Position of the first `byte`; text.size when there is none. */
static inline size_t str_find(struct str text, char byte)
{
    if (text.size == 0) {
        return 0;
    }
    const char *found = (const char *)memchr(text.data, byte, text.size);
    return found != NULL ? (size_t)(found - text.data) : text.size;
}

/* Without blanks and tabs at both ends (the OWS of RFC 9110, 5.6.3). */
struct str str_trim(struct str text);

/* Read a whole decimal number: digits only, no sign, no blanks.
 *
 * Errors: ERR_INVALID  empty, or something else than digits
 *         ERR_RANGE    larger than UINT64_MAX
 */
MUST_CHECK enum err str_to_u64(struct str text, uint64_t *out_value);

/* Read a duration as "250ms", "10s", "5m", "2h", "1d", or plain seconds.
 *
 * Errors: ERR_INVALID  not of that form
 *         ERR_RANGE    more than 100 years
 */
MUST_CHECK enum err str_to_duration_ms(struct str text, uint64_t *out_ms);

/* Read a size as "4096", "64k", "1m", "2g", also "64KiB", "1MiB", "1GiB".
 *
 * Errors: ERR_INVALID  not of that form
 *         ERR_RANGE    does not fit
 */
MUST_CHECK enum err str_to_size(struct str text, uint64_t *out_size);

/* Hash for tables and for the shard of a topic (FNV-1a, 64 bits).
 * The value decides whose journal a topic is in: it changes only together with
 * the version of the data directory. */
uint64_t str_hash(struct str text);

#endif
