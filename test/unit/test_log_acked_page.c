/* Tests of log/acked_page: bits are what was set, and a page of which a kill,
 * or the loss of power, left a part never says that more was done.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/acked_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct acked_page_key key = {
    .topic_id = 0x1f0c6b2a9d3e4f50, .epoch = 3, .number = 7};

static _Alignas(8) char page[ACKED_PAGE_SIZE];
static _Alignas(8) char other[ACKED_PAGE_SIZE];

/* A page of which nothing is done. */
static void begin(void)
{
    memset(page, 0, sizeof(page));
    acked_page_begin(page, &key);
}

/* Tell whether bytes are a whole page of the key. */
static bool is_whole(const char *bytes)
{
    struct acked_page_key found;
    return acked_page_read(bytes, &found) && found.topic_id == key.topic_id &&
           found.epoch == key.epoch && found.number == key.number;
}

/* Tell whether all that is done in one page is done in another. */
static bool is_within(const char *some, const char *all)
{
    for (size_t at = ACKED_PAGE_HEAD_SIZE; at < ACKED_PAGE_SIZE; at++) {
        if ((some[at] & ~all[at]) != 0) {
            return false;
        }
    }
    return true;
}

static void bits_are_what_was_set(void **state)
{
    (void)state;
    static bool model[ACKED_PAGE_MESSAGES];
    static const uint32_t runs[][2] = {
        {0, 1},         {5, 5},
        {63, 65},       {100, 300},
        {128, 256},     {ACKED_PAGE_MESSAGES - 1, ACKED_PAGE_MESSAGES},
        {5000, 9000},   {64, 64 + 64},
        {20000, 20001},
    };
    begin();
    assert_int_equal(acked_page_find(page, 0, true), ACKED_PAGE_MESSAGES);
    assert_int_equal(acked_page_find(page, 9, false), 9);
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        acked_page_set(page, &key, runs[i][0], runs[i][1]);
        for (uint32_t k = runs[i][0]; k < runs[i][1]; k++) {
            model[k] = true;
        }
        assert_true(is_whole(page));
        uint32_t set = ACKED_PAGE_MESSAGES;
        uint32_t clear = ACKED_PAGE_MESSAGES;
        for (uint32_t k = ACKED_PAGE_MESSAGES; k > 0; k--) {
            set = model[k - 1] ? k - 1 : set;
            clear = model[k - 1] ? clear : k - 1;
            assert_int_equal(acked_page_find(page, k - 1, true), set);
            assert_int_equal(acked_page_find(page, k - 1, false), clear);
        }
    }
    acked_page_set(page, &key, 0, ACKED_PAGE_MESSAGES);
    assert_true(is_whole(page));
    assert_int_equal(acked_page_find(page, 0, false), ACKED_PAGE_MESSAGES);
}

static void no_flipped_byte_says_more(void **state)
{
    (void)state;
    static const unsigned char flips[] = {0x01, 0x80, 0x10, 0xff};
    begin();
    acked_page_set(page, &key, 3, 9000);
    acked_page_set(page, &key, 20000, 20001);
    memcpy(other, page, sizeof(page));
    for (size_t at = 0; at < ACKED_PAGE_SIZE; at++) {
        for (size_t flip = 0; flip < sizeof(flips); flip++) {
            other[at] = (char)(page[at] ^ (char)flips[flip]);
            struct acked_page_key found;
            if (acked_page_read(other, &found)) {
                /* One of the two copies of the checksum. */
                assert_true(is_whole(other) && is_within(other, page));
                assert_true(at < ACKED_PAGE_HEAD_SIZE);
            }
        }
        other[at] = page[at];
    }
}

/* What a page was at each step of setting bits: a step changes a word. */
static void a_kill_between_any_two_stores_loses_nothing(void **state)
{
    (void)state;
    static _Alignas(8) char before[ACKED_PAGE_SIZE];
    begin();
    acked_page_set(page, &key, 10, 500);
    for (uint32_t at = 600; at < 5000; at += 61) {
        memcpy(before, page, sizeof(page));
        acked_page_set(page, &key, at, at + 3);
        /* In the order of the stores: the next sum, words, the sum. */
        memcpy(other, before, sizeof(page));
        size_t first = ACKED_PAGE_HEAD_SIZE + at / 64 * 8;
        if ((at + 2) / 64 == at / 64) {
            memcpy(other + 40, page + 40, 8);
            assert_true(is_whole(other));
            memcpy(other + first, page + first, 8);
            assert_true(is_whole(other) && is_within(before, other));
            acked_page_mend(other, &key);
            assert_memory_equal(other, page, sizeof(page));
        }
    }
}

static void a_page_that_is_part_of_two_is_not_believed(void **state)
{
    (void)state;
    static _Alignas(8) char before[ACKED_PAGE_SIZE];
    begin();
    acked_page_set(page, &key, 10, 500);
    memcpy(before, page, sizeof(page));
    acked_page_set(page, &key, 500, 30000);
    for (size_t sectors = 1; sectors < 255; sectors++) { /* which are new */
        memcpy(other, before, sizeof(page));
        for (size_t i = 0; i < 8; i++) {
            if ((sectors >> i & 1) != 0) {
                memcpy(other + i * 512, page + i * 512, 512);
            }
        }
        assert_false(is_whole(other));
    }
}

static void a_page_of_others_is_not_of_the_key(void **state)
{
    (void)state;
    for (int part = 0; part < 3; part++) {
        begin();
        acked_page_set(page, &key, 10, 500);
        page[8 + part * 8]++; /* the topic, the epoch, the number */
        struct acked_page_key found;
        assert_false(acked_page_read(page, &found));
    }
    memset(page, 0, sizeof(page));
    assert_true(acked_page_is_empty(page));
    assert_false(is_whole(page));
    page[ACKED_PAGE_SIZE - 1] = 1;
    assert_false(acked_page_is_empty(page));
}

static void the_beginning_cut_anywhere_is_no_page(void **state)
{
    (void)state;
    begin();
    assert_true(is_whole(page));
    for (size_t at = 8; at <= 48; at += 8) { /* the magic comes last */
        memset(other, 0, sizeof(other));
        memcpy(other + 8, page + 8, at - 8);
        assert_false(is_whole(other));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_what_was_set),
        cmocka_unit_test(no_flipped_byte_says_more),
        cmocka_unit_test(a_kill_between_any_two_stores_loses_nothing),
        cmocka_unit_test(a_page_that_is_part_of_two_is_not_believed),
        cmocka_unit_test(a_page_of_others_is_not_of_the_key),
        cmocka_unit_test(the_beginning_cut_anywhere_is_no_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
