/* Tests of queue/acknowledge: ranges and a cursor become one cursor.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/acknowledge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static struct store_range ranges[CURSOR_RANGES_MAX];

/* Acknowledge, and keep the result. */
static enum err add(struct store_cursor *cursor,
                    const struct store_range *added,
                    uint32_t count,
                    bool cut)
{
    static struct store_range kept[CURSOR_RANGES_MAX];
    enum err err = acknowledge(cursor, added, count, cut, ranges, cursor);

    memcpy(kept, ranges, sizeof(kept));
    if (err == ERR_OK) {
        cursor->ranges = kept;
    }
    return err;
}

static void
expect(const struct store_cursor *cursor, uint64_t next, uint32_t count)
{
    assert_int_equal(cursor->next, next);
    assert_int_equal(cursor->range_count, count);
}

static void ranges_melt_into_the_cursor(void **state)
{
    (void)state;
    struct store_cursor cursor = {.next = 3, .attempts = 2};

    assert_int_equal(add(&cursor, NULL, 0, false), ERR_OK);
    expect(&cursor, 3, 0);
    assert_int_equal(cursor.attempts, 2);
    const struct store_range above[] = {
        {9, 10}, {5, 7}, {7, 8}, {0, 2}, {6, 6}};
    assert_int_equal(add(&cursor, above, 5, false), ERR_OK);
    expect(&cursor, 3, 2);
    assert_int_equal(cursor.ranges[0].first, 5);
    assert_int_equal(cursor.ranges[0].end, 8);
    assert_int_equal(cursor.ranges[1].first, 9);
    assert_int_equal(add(&cursor, &(struct store_range){3, 5}, 1, false),
                     ERR_OK);
    expect(&cursor, 8, 1);
    assert_int_equal(cursor.attempts, 0); /* they were of another message */
    assert_int_equal(add(&cursor, &(struct store_range){0, 9}, 1, false),
                     ERR_OK);
    expect(&cursor, 10, 0);
}

static void a_cursor_at_the_beginning_stays_there(void **state)
{
    (void)state;
    struct store_cursor cursor = {0};

    assert_int_equal(add(&cursor, &(struct store_range){1, 2}, 1, false),
                     ERR_OK);
    expect(&cursor, 0, 1);
    assert_int_equal(add(&cursor, &(struct store_range){0, 1}, 1, false),
                     ERR_OK);
    expect(&cursor, 2, 0);
}

static void too_many_are_refused_or_cut(void **state)
{
    (void)state;
    struct store_cursor cursor = {0};
    struct store_range row[CURSOR_RANGES_MAX + 1];

    for (uint32_t i = 0; i <= CURSOR_RANGES_MAX; i++) {
        row[i] = (struct store_range){2 * i + 1, 2 * i + 2};
    }
    assert_int_equal(add(&cursor, row, CURSOR_RANGES_MAX + 1, false), ERR_FULL);
    expect(&cursor, 0, 0);
    assert_int_equal(add(&cursor, row, CURSOR_RANGES_MAX, false), ERR_OK);
    expect(&cursor, 0, CURSOR_RANGES_MAX);
    assert_int_equal(add(&cursor, &row[CURSOR_RANGES_MAX], 1, false), ERR_FULL);
    assert_int_equal(add(&cursor, &row[CURSOR_RANGES_MAX], 1, true), ERR_OK);
    expect(&cursor, 0, CURSOR_RANGES_MAX);
    assert_int_equal(cursor.ranges[CURSOR_RANGES_MAX - 1].end,
                     2 * CURSOR_RANGES_MAX);
    /* One that fills a gap makes room. */
    const struct store_range fits[] = {{0, 1}, row[CURSOR_RANGES_MAX]};
    assert_int_equal(add(&cursor, fits, 2, false), ERR_OK);
    expect(&cursor, 2, CURSOR_RANGES_MAX);
}

/* Against a plain table, in random order. */
static void any_order_gives_what_a_table_gives(void **state)
{
    (void)state;
    enum { COUNT = 120, ROUNDS = 50 };
    uint64_t seed = 7;

    for (int round = 0; round < ROUNDS; round++) {
        struct store_cursor cursor = {0};
        bool done[COUNT] = {false};
        for (int step = 0; step < 60; step++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint64_t first = (seed >> 33) % COUNT;
            uint64_t end = first + 1 + (seed >> 50) % 3;
            end = end > COUNT ? COUNT : end;
            for (uint64_t i = first; i < end; i++) {
                done[i] = true;
            }
            const struct store_range one = {first, end};
            assert_int_equal(add(&cursor, &one, 1, false), ERR_OK);
        }
        bool told[COUNT] = {false};
        for (uint64_t i = 0; i < cursor.next; i++) {
            told[i] = true;
        }
        uint64_t above = cursor.next;
        for (uint32_t i = 0; i < cursor.range_count; i++) {
            assert_true(cursor.ranges[i].first > above);
            above = cursor.ranges[i].end;
            for (uint64_t j = cursor.ranges[i].first; j < above; j++) {
                told[j] = true;
            }
        }
        assert_memory_equal(done, told, sizeof(done));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_melt_into_the_cursor),
        cmocka_unit_test(a_cursor_at_the_beginning_stays_there),
        cmocka_unit_test(too_many_are_refused_or_cut),
        cmocka_unit_test(any_order_gives_what_a_table_gives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
