/* Tests of base/siphash: published vectors, parts add up, the key matters.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* 00 01 02 ... 0f */
static const struct siphash_key counted = {
    {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}};

static char bytes[64]; /* 00 01 02 ... */

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)i;
    }
    return 0;
}

static struct siphash hash_of(const struct siphash_key *key, struct str text)
{
    struct siphash_state state;

    siphash_begin(&state, key);
    siphash_add(&state, text);
    return siphash_end(&state);
}

static void published_vectors(void **state)
{
    (void)state;
    /* Of the authors' reference; bytes in their order, so swapped here. */
    static const struct {
        size_t size;
        uint64_t low;
        uint64_t high;
    } cases[] = {
        {0, UINT64_C(0xe6a825ba047f81a3), UINT64_C(0x930255c71472f66d)},
        {1, UINT64_C(0x44af996bd8c187da), UINT64_C(0x45fc229b11597634)},
        {7, UINT64_C(0x53c1dbd8beebf1a1), UINT64_C(0x3982f01fa64ab8c0)},
        {8, UINT64_C(0x61f55862baa9623b), UINT64_C(0xb49714f364e2830f)},
        {15, UINT64_C(0x11a8b03399e99354), UINT64_C(0xd9c3cf970fec087e)},
        {63, UINT64_C(0x4a83502f77d15051), UINT64_C(0x7cbd3f979a063e50)},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct siphash hash =
            hash_of(&counted, (struct str){bytes, cases[i].size});
        assert_true(hash.low == cases[i].low);
        assert_true(hash.high == cases[i].high);
    }
}

static void parts_add_up_wherever_they_end(void **state)
{
    (void)state;
    struct str all = {bytes, sizeof(bytes)};
    struct siphash whole = hash_of(&counted, all);

    for (size_t first = 0; first <= all.size; first++) {
        for (size_t second = first; second <= all.size; second++) {
            struct siphash_state parts;
            siphash_begin(&parts, &counted);
            siphash_add(&parts, str_cut(all, 0, first));
            siphash_add(&parts, str_cut(all, first, second - first));
            siphash_add(&parts, str_cut(all, second, all.size));
            struct siphash hash = siphash_end(&parts);
            assert_true(hash.low == whole.low && hash.high == whole.high);
        }
    }
}

static void nothing_added_is_the_hash_of_nothing(void **state)
{
    (void)state;
    struct siphash hash = hash_of(&counted, (struct str){NULL, 0});

    assert_true(hash.low == UINT64_C(0xe6a825ba047f81a3));
}

static void key_changes_both_halves(void **state)
{
    (void)state;
    struct siphash whole = hash_of(&counted, STR("id"));

    for (unsigned bit = 0; bit < 128; bit++) {
        struct siphash_key key = counted;
        key.words[bit / 64] ^= UINT64_C(1) << (bit % 64);
        struct siphash hash = hash_of(&key, STR("id"));
        assert_true(hash.low != whole.low);
        assert_true(hash.high != whole.high);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(parts_add_up_wherever_they_end),
        cmocka_unit_test(nothing_added_is_the_hash_of_nothing),
        cmocka_unit_test(key_changes_both_halves),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
