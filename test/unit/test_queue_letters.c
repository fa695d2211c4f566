/* Which letters are live: queue/letters.h, by cases and against a model.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/letters.h"

#include "queue/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGES = 3000 };

static struct letters letters;
static struct letters_plan plan;
static bool gone[MESSAGES]; /* the model */

static void begin(void)
{
    const struct store_cursor cursor = {0};

    memset(gone, 0, sizeof(gone));
    letters_load(&letters, &cursor);
}

static void take(uint64_t first, uint64_t end)
{
    assert_true(letters_remove(&letters, first, end));
    for (uint64_t sequence = first; sequence < end; sequence++) {
        gone[sequence] = true;
    }
}

/* The same as the model, in ranges with live letters between. */
static void check(void)
{
    uint64_t live = MESSAGES;
    uint64_t end = letters.next;

    for (uint32_t index = 0; index < letters.range_count; index++) {
        assert_true(letters.ranges[index].first > end);
        end = letters.ranges[index].end;
        assert_true(letters.ranges[index].first < end);
    }
    for (uint64_t sequence = MESSAGES; sequence > 0; sequence--) {
        live = gone[sequence - 1] ? live : sequence - 1;
        assert_int_equal(letters_next(&letters, sequence - 1), live);
    }
}

static void what_touches_becomes_one(void **state)
{
    (void)state;
    begin();
    take(10, 11);
    take(20, 22);
    take(11, 12);
    take(19, 20);
    assert_int_equal(letters.range_count, 2);
    take(12, 19);
    assert_int_equal(letters.range_count, 1);
    assert_int_equal(letters.ranges[0].first, 10);
    assert_int_equal(letters.ranges[0].end, 22);
    take(15, 16); /* again */
    take(30, 40);
    check();
    take(0, 10);
    assert_int_equal(letters.next, 22);
    assert_int_equal(letters.range_count, 1);
    take(5, 6);
    take(21, 35);
    assert_int_equal(letters.next, 40);
    assert_int_equal(letters.range_count, 0);
    check();
}

static void a_cursor_says_the_same(void **state)
{
    struct store_cursor cursor;
    struct store_range ranges[CURSOR_RANGES_MAX];
    (void)state;
    begin();
    take(0, 3);
    for (uint64_t index = 0; index < CURSOR_RANGES_MAX; index++) {
        take(5 + 4 * index, 6 + 4 * index + index % 3);
    }
    assert_true(letters_fit(&letters));
    letters_cursor(&letters, &cursor);
    memcpy(ranges, cursor.ranges, cursor.range_count * sizeof(ranges[0]));
    cursor.ranges = ranges;
    struct store_topic topic = {.bounds = {.end = MESSAGES}, .cursor = cursor};
    uint64_t live = 0;
    for (uint64_t sequence = 0; sequence < MESSAGES; sequence++) {
        live += gone[sequence] ? 0 : 1;
    }
    assert_int_equal(letters_count(&topic), live);
    letters_load(&letters, &cursor);
    check();
}

static void a_cursor_that_touches_itself_is_read(void **state)
{
    const struct store_range ranges[] = {{3, 5}, {5, 6}, {6, 6}, {8, 9}};
    const struct store_cursor cursor = {
        .next = 3, .range_count = 4, .ranges = ranges};
    (void)state;
    letters_load(&letters, &cursor);
    assert_int_equal(letters.next, 6);
    assert_int_equal(letters.range_count, 1);
    assert_int_equal(letters_next(&letters, 0), 6);
    assert_int_equal(letters_next(&letters, 8), 9);
}

static void there_is_room_for_so_many_ranges(void **state)
{
    (void)state;
    begin();
    for (uint64_t index = 0; index < LETTERS_RANGES_MAX; index++) {
        take(1 + 2 * index, 2 + 2 * index);
    }
    assert_false(letters_remove(&letters, 2000, 2001));
    check(); /* as it was */
    take(2, 3);
    take(2000, 2001);
    assert_false(letters_fit(&letters));
    check();
}

static void the_smallest_gaps_are_closed(void **state)
{
    (void)state;
    begin();
    uint64_t at = 12; /* the first gap */
    for (uint32_t index = 0; index <= CURSOR_RANGES_MAX; index++) {
        take(at, at + 2);
        at += 2U + (index % 7 == 3 ? 2U : 9U);
    }
    letters_choose(&letters, &plan);
    assert_int_equal(plan.gap_count, 1);
    assert_int_equal(plan.gaps[0].end - plan.gaps[0].first, 2);
    assert_int_equal(plan.gaps[0].first, letters.ranges[3].end);
    letters_close(&letters, &plan);
    assert_true(letters_fit(&letters));
    /* What is below the first range is a gap like others. */
    begin();
    for (uint64_t index = 0; index <= CURSOR_RANGES_MAX; index++) {
        take(1 + 5 * index, 2 + 5 * index);
    }
    letters_choose(&letters, &plan);
    assert_int_equal(plan.gap_count, 1);
    assert_int_equal(plan.gaps[0].first, 0);
    assert_int_equal(plan.gaps[0].end, 1);
    letters_close(&letters, &plan);
    assert_int_equal(letters.next, 2);
}

/* Any walk: what a cursor says is always the model, and what is closed was
 * live, each letter of it once. */
static void any_number_of_removals_works(void **state)
{
    struct retry_random random = {.state = 7};
    (void)state;
    for (uint32_t round = 0; round < 20; round++) {
        begin();
        for (uint32_t step = 0; step < 2000; step++) {
            uint64_t first = retry_random_next(&random) % (MESSAGES - 10);
            uint64_t size = 1 + retry_random_next(&random) % (1 + round % 4);
            take(first, first + size);
            if (letters.range_count < LETTERS_RANGES_MAX) {
                continue;
            }
            letters_choose(&letters, &plan);
            for (uint32_t index = 0; index < plan.gap_count; index++) {
                struct store_range gap = plan.gaps[index];
                assert_true(gap.first < gap.end);
                for (uint64_t at = gap.first; at < gap.end; at++) {
                    assert_false(gone[at]);
                    gone[at] = true;
                }
            }
            letters_close(&letters, &plan);
            assert_true(letters_fit(&letters));
            check();
        }
        check();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_touches_becomes_one),
        cmocka_unit_test(a_cursor_says_the_same),
        cmocka_unit_test(a_cursor_that_touches_itself_is_read),
        cmocka_unit_test(there_is_room_for_so_many_ranges),
        cmocka_unit_test(the_smallest_gaps_are_closed),
        cmocka_unit_test(any_number_of_removals_works),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
