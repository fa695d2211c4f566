/* Classes of bytes, and finding them fast. Private to http/.
 *
 * Inline, since the parser asks for each byte of a head.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_BYTES_H
#define OPQ_HTTP_BYTES_H

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What a byte may stand in, a bit each. */
enum {
    BYTES_TOKEN = 1,
    BYTES_HOST = 2,
    BYTES_UNRESERVED = 4,
    BYTES_TARGET = 8,
};

/* The classes of each byte; none above 0x7f has any. */
extern uint8_t bytes_classes[256];

/* The value of a hexadecimal digit, plus 1; 0 for all other bytes. */
extern uint8_t bytes_digits[256];

/* Tell whether a byte may stand in a token (RFC 9110, 5.6.2): letters, digits,
 * and !#$%&'*+-.^_`|~ */
static inline bool bytes_is_token(char byte)
{
    return (bytes_classes[(unsigned char)byte] & BYTES_TOKEN) != 0;
}

/* Tell whether a byte may stand in a host and port (RFC 3986, 3.2.2):
 * unreserved, sub-delims, % : [ ] */
static inline bool bytes_is_host(char byte)
{
    return (bytes_classes[(unsigned char)byte] & BYTES_HOST) != 0;
}

/* Tell whether a byte may stand in a request target: printable, no '#'. */
static inline bool bytes_is_target(char byte)
{
    return (bytes_classes[(unsigned char)byte] & BYTES_TARGET) != 0;
}

/* Tell whether a byte is "unreserved" (RFC 3986, 2.3): letters, digits,
 * - . _ ~ */
static inline bool bytes_is_unreserved(char byte)
{
    return (bytes_classes[(unsigned char)byte] & BYTES_UNRESERVED) != 0;
}

/* Tell whether a byte is a control that no field value has: all but tab. */
static inline bool bytes_is_control(char byte)
{
    unsigned char code = (unsigned char)byte;
    return (code < 0x20 && code != '\t') || code == 0x7f;
}

/* The value of a hexadecimal digit; -1 for other bytes. */
static inline int bytes_hex(char byte)
{
    return (int)bytes_digits[(unsigned char)byte] - 1;
}

/* Position of the first line feed from `at` on; `end` when there is none. */
static inline size_t bytes_find_lf(const char *data, size_t at, size_t end)
{
#ifdef __SSE2__
    const __m128i wanted = _mm_set1_epi8('\n');
    for (; end - at >= 16; at += 16) {
        __m128i block = _mm_loadu_si128((const void *)(data + at));
        int mask = _mm_movemask_epi8(_mm_cmpeq_epi8(block, wanted));
        if (mask != 0) {
            return at + (size_t)__builtin_ctz((unsigned)mask);
        }
    }
#endif
    while (at < end && data[at] != '\n') {
        at++;
    }
    return at;
}

/* Position of the first control but tab from `at` on; `end` when there is
 * none. */
static inline size_t bytes_find_control(const char *data, size_t at, size_t end)
{
#ifdef __SSE2__
    const __m128i last = _mm_set1_epi8(0x1f);
    const __m128i tab = _mm_set1_epi8('\t');
    const __m128i del = _mm_set1_epi8(0x7f);
    for (; end - at >= 16; at += 16) {
        __m128i block = _mm_loadu_si128((const void *)(data + at));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(block, last), block);
        __m128i hit =
            _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(block, tab), low),
                         _mm_cmpeq_epi8(block, del));
        int mask = _mm_movemask_epi8(hit);
        if (mask != 0) {
            return at + (size_t)__builtin_ctz((unsigned)mask);
        }
    }
#endif
    while (at < end && !bytes_is_control(data[at])) {
        at++;
    }
    return at;
}

/* Tell whether a field name, which is a token, is `lower`, which has small
 * letters and '-' only, the same size, and from 4 to 24 bytes. Setting bit 5
 * folds case, and makes no token character equal to one of those but the letter
 * itself. With a constant size it is two or three comparisons of words, of
 * which the last overlaps the one before it. */
static inline bool
bytes_name_is(const char *name, const char *lower, size_t size)
{
    const uint64_t bits = UINT64_C(0x2020202020202020);

    if (size < 8) {
        uint32_t first = get_u32(name) | (uint32_t)bits;
        uint32_t last = get_u32(name + size - 4) | (uint32_t)bits;
        return first == get_u32(lower) && last == get_u32(lower + size - 4);
    }
    uint64_t first = get_u64(name) | bits;
    uint64_t last = get_u64(name + size - 8) | bits;
    if (first != get_u64(lower) || last != get_u64(lower + size - 8)) {
        return false;
    }
    return size <= 16 || (get_u64(name + 8) | bits) == get_u64(lower + 8);
}

#endif
