/* Tests of base/crc32c: published vectors, both ways equal, parts add up.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

enum { BYTES_MAX = 8192 };

static uint8_t bytes[BYTES_MAX + 16];

static int fill(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return 0;
}

/* A bit at a time, straight from the definition. */
static uint32_t slowly(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

static void published_vectors(void **state)
{
    (void)state;
    uint8_t data[32] = {0};
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c_portable(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, data, 32), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    assert_int_equal(crc32c(0, data, 32), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++) {
        data[i] = (uint8_t)i;
    }
    assert_int_equal(crc32c(0, data, 32), 0x46dd794e);
    for (unsigned i = 0; i < 32; i++) {
        data[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, data, 32), 0x113fdb5c);
    assert_int_equal(crc32c_portable(0, data, 32), 0x113fdb5c);
}

static void nothing_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, NULL, 0), 0);
    assert_int_equal(crc32c(0xdeadbeef, "", 0), 0xdeadbeef);
    assert_int_equal(crc32c_portable(0xdeadbeef, "", 0), 0xdeadbeef);
}

static void both_ways_agree_with_the_definition_at_every_size(void **state)
{
    (void)state;
    for (size_t size = 0; size <= BYTES_MAX; size += size < 700 ? 1 : 331) {
        const uint8_t *data = bytes + size % 16; /* at every alignment */
        uint32_t begin = (uint32_t)size * 2654435761U;
        uint32_t expected = slowly(begin, data, size);
        assert_int_equal(crc32c(begin, data, size), expected);
        assert_int_equal(crc32c_portable(begin, data, size), expected);
    }
}

static void parts_add_up_to_the_whole(void **state)
{
    (void)state;
    uint32_t whole = crc32c(0, bytes, 4096);
    for (size_t cut = 0; cut <= 4096; cut += 37) {
        uint32_t first = crc32c(0, bytes, cut);
        assert_int_equal(crc32c(first, bytes + cut, 4096 - cut), whole);
        first = crc32c_portable(0, bytes, cut);
        assert_int_equal(crc32c_portable(first, bytes + cut, 4096 - cut),
                         whole);
    }
}

static void every_flipped_bit_is_seen(void **state)
{
    (void)state;
    uint32_t whole = crc32c(0, bytes, 200);
    for (size_t bit = 0; bit < 1600; bit++) {
        uint8_t mask = (uint8_t)(1U << (bit % 8));
        bytes[bit / 8] ^= mask;
        assert_int_not_equal(crc32c(0, bytes, 200), whole);
        bytes[bit / 8] ^= mask;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(nothing_changes_nothing),
        cmocka_unit_test(both_ways_agree_with_the_definition_at_every_size),
        cmocka_unit_test(parts_add_up_to_the_whole),
        cmocka_unit_test(every_flipped_bit_is_seen),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
