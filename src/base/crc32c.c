/* CRC-32C: the instruction in three interleaved lanes, or tables.
 *
 * The instruction takes three cycles to give its result but can be started
 * each cycle, so three lanes of a third of the bytes each run side by side.
 * They are joined by linearity: the checksum of a lane followed by n bytes is
 * its own times x^8n modulo the polynomial. That product is one carry-less
 * multiplication by a constant of the distance, and its reduction rides on
 * the last step of the last lane.
 *
 * Bits are reflected: bit 31 of a checksum is the coefficient of x^0. Three
 * things follow for a 32 by 32 bit carry-less product as it lies in 64 bits:
 * it is too high by x, and the instruction, fed 64 bits, multiplies by x^32
 * while reducing. So the constant for n bytes is x^(8n - 33).
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/crc32c.h"

#include <string.h>

enum {
    TABLES = 8,       /* bytes taken in one step without the instruction */
    LANE_WORDS = 128, /* 8-byte words of a lane, at most */
    WORD = 8,         /* bytes */
};

static const uint32_t polynomial = 0x82f63b78; /* reflected */

/* Written once before main(), read by any thread after. */
static uint32_t tables[TABLES][256];
static uint32_t (*best)(uint32_t crc, const void *data, size_t size);

static uint32_t times_x(uint32_t value)
{
    return (value >> 1) ^ ((value & 1U) != 0 ? polynomial : 0);
}

static uint64_t load_word(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    crc = ~crc;
    for (; size >= WORD; size -= WORD, at += WORD) {
        uint64_t word = load_word(at) ^ crc;
        crc = 0;
        for (unsigned i = 0; i < TABLES; i++) {
            crc ^= tables[TABLES - 1 - i][(word >> (8 * i)) & 0xff];
        }
    }
    for (; size > 0; size--, at++) {
        crc = (crc >> 8) ^ tables[0][(crc ^ *at) & 0xff];
    }
    return ~crc;
}

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) {
            value = times_x(value);
        }
        tables[0][byte] = value;
    }
    for (unsigned i = 1; i < TABLES; i++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            uint32_t before = tables[i - 1][byte];
            tables[i][byte] = (before >> 8) ^ tables[0][before & 0xff];
        }
    }
}

#ifdef __x86_64__

#include <immintrin.h>

/* [n]: x^(64n - 33), to move a lane n words on. */
static uint32_t distance[2 * LANE_WORDS + 1];

static void make_distances(void)
{
    uint32_t power = 1; /* x^31, for one word */
    for (unsigned words = 1; words <= 2 * LANE_WORDS; words++) {
        distance[words] = power;
        for (int bit = 0; bit < 64; bit++) {
            power = times_x(power);
        }
    }
}

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t
moved(uint64_t crc, unsigned words)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                             _mm_cvtsi64_si128(distance[words]), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Take three lanes of `words` words each, which begin at `at`. */
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t
three_lanes(uint64_t crc, const uint8_t *at, unsigned words)
{
    const uint8_t *first = at;
    const uint8_t *second = at + (size_t)words * WORD;
    const uint8_t *third = second + (size_t)words * WORD;
    uint64_t crc_second = 0;
    uint64_t crc_third = 0;

    for (unsigned i = 1; i < words; i++) {
        crc = _mm_crc32_u64(crc, load_word(first));
        crc_second = _mm_crc32_u64(crc_second, load_word(second));
        crc_third = _mm_crc32_u64(crc_third, load_word(third));
        first += WORD;
        second += WORD;
        third += WORD;
    }
    crc = _mm_crc32_u64(crc, load_word(first));
    crc_second = _mm_crc32_u64(crc_second, load_word(second));
    uint64_t joined = moved(crc, 2 * words) ^ moved(crc_second, words);
    return _mm_crc32_u64(crc_third, load_word(third) ^ joined);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
crc32c_instruction(uint32_t crc, const void *data, size_t size)
{
    const size_t lanes = 3;
    const uint8_t *at = data;
    uint64_t value = ~crc;

    while (size >= lanes * WORD * 2) {
        size_t words = size / (lanes * WORD);
        words = words < LANE_WORDS ? words : LANE_WORDS;
        value = three_lanes(value, at, (unsigned)words);
        at += lanes * WORD * words;
        size -= lanes * WORD * words;
    }
    for (; size >= WORD; size -= WORD, at += WORD) {
        value = _mm_crc32_u64(value, load_word(at));
    }
    uint32_t narrow = (uint32_t)value;
    for (; size > 0; size--, at++) {
        narrow = _mm_crc32_u8(narrow, *at);
    }
    return ~narrow;
}

#endif

__attribute__((constructor)) static void choose(void)
{
    make_tables();
    best = crc32c_portable;
#ifdef __x86_64__
    make_distances();
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        best = crc32c_instruction;
    }
#endif
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return best(crc, data, size);
}
