/* Lanes and parcels: queue/window.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/window.h"

#include "base/check.h"
#include "queue/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGES = 600, KEYS = 7, IN_FLIGHT_MAX = 16 };

static struct window_parcel parcels[MESSAGES];

static void begin_at(struct window *window,
                     enum settings_order order,
                     const struct store_cursor *cursor,
                     uint64_t end)
{
    memset(parcels, 0, sizeof(parcels));
    assert_int_equal(window_init(window, order, cursor, end, true), ERR_OK);
}

static void
begin(struct window *window, enum settings_order order, uint64_t end)
{
    struct store_cursor cursor = {0};

    begin_at(window, order, &cursor, end);
}

static struct window_parcel *
find_next(struct window *window, const char *key, uint32_t priority)
{
    uint64_t sequence = window->scan;
    struct window_parcel *parcel = &parcels[sequence];

    assert_true(window_wants(window));
    memset(parcel, 0, sizeof(*parcel));
    assert_int_equal(
        window_found(window, parcel, sequence, str_from(key), priority),
        ERR_OK);
    return parcel;
}

static void finish(struct window *window)
{
    while (!list_empty(&window->parcels)) {
        window_drop(window, CONTAINER_OF(window->parcels.next,
                                         struct window_parcel, link));
    }
    window_fini(window);
}

static void by_topic_one_is_found_at_a_time(void **state)
{
    (void)state;
    struct window window;
    begin(&window, SETTINGS_ORDER_TOPIC, 3);
    struct window_parcel *first = find_next(&window, "", 0);

    assert_ptr_equal(window_first(&window), first);
    assert_false(window_wants(&window));
    window_take(&window, first);
    assert_null(window_first(&window));
    window_hold(&window, first);
    assert_false(window_wants(&window));
    window_ready(&window, first, false);
    window_take(&window, first);
    window_done(&window, first);
    assert_int_equal(window_floor(&window), 1);
    struct window_parcel *second = find_next(&window, "", 0);
    assert_int_equal(second->previous, 0);
    assert_false(window_is_done(&window));
    finish(&window);
}

static void keys_have_lanes_and_messages_without_are_free(void **state)
{
    (void)state;
    struct window window;
    begin(&window, SETTINGS_ORDER_KEY, 6);
    struct window_parcel *a1 = find_next(&window, "a", 0);
    struct window_parcel *a2 = find_next(&window, "a", 0);
    struct window_parcel *b1 = find_next(&window, "b", 0);
    struct window_parcel *free1 = find_next(&window, "", 0);
    struct window_parcel *free2 = find_next(&window, "", 0);
    struct window_parcel *a3 = find_next(&window, "a", 0);

    assert_int_equal(window.ready_count, 4);
    assert_int_equal(a2->state, PARCEL_QUEUED);
    assert_ptr_equal(window_head(a3), a1);
    assert_ptr_equal(window_head(free2), free2);
    assert_int_equal(a1->previous, WINDOW_NO_SEQUENCE);
    assert_int_equal(a2->previous, a1->sequence);
    assert_int_equal(a3->previous, a2->sequence);
    assert_int_equal(b1->previous, WINDOW_NO_SEQUENCE);
    assert_int_equal(free2->previous, WINDOW_NO_SEQUENCE);
    window_take(&window, a1);
    window_hold(&window, a1); /* it fails: only its lane waits */
    for (int i = 0; i < 3; i++) {
        struct window_parcel *parcel = window_first(&window);
        window_take(&window, parcel);
        window_done(&window, parcel);
    }
    assert_null(window_first(&window));
    window_ready(&window, a1, false);
    window_take(&window, a1);
    window_done(&window, a1);
    assert_ptr_equal(window_first(&window), a2);
    (void)free1;
    finish(&window);
}

static void higher_priority_goes_first_then_who_waits_longest(void **state)
{
    (void)state;
    struct window window;
    begin(&window, SETTINGS_ORDER_NONE, 5);
    struct window_parcel *low1 = find_next(&window, "", 0);
    struct window_parcel *high = find_next(&window, "", 9);
    struct window_parcel *low2 = find_next(&window, "", 0);
    struct window_parcel *middle = find_next(&window, "", 4);
    struct window_parcel *high2 = find_next(&window, "", 9);
    struct window_parcel *wanted[] = {high, high2, middle, low1, low2};

    assert_true(window.prioritised);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        assert_ptr_equal(window_first(&window), wanted[i]);
        window_take(&window, wanted[i]);
        if (wanted[i] == middle) { /* back to the head of its priority */
            window_ready(&window, middle, true);
            assert_ptr_equal(window_first(&window), middle);
            window_take(&window, middle);
        }
    }
    finish(&window);
}

/* What is done above the floor is told by the gaps, and is not found again. */
static void cursor_tells_what_is_done_and_what_failed(void **state)
{
    (void)state;
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_retry retries[CURSOR_RETRIES_MAX];
    struct store_cursor cursor;
    struct window window;
    begin(&window, SETTINGS_ORDER_NONE, 10);

    for (int i = 0; i < 6; i++) {
        window_take(&window, find_next(&window, "", 0));
    }
    window_done(&window, &parcels[1]);
    window_done(&window, &parcels[2]);
    window_done(&window, &parcels[5]);
    parcels[0].attempts = 3;
    parcels[4].attempts = 2;
    window_cursor(&window, ranges, retries, &cursor);
    assert_int_equal(cursor.next, 0);
    assert_int_equal(cursor.attempts, 3);
    assert_int_equal(cursor.range_count, 2);
    assert_int_equal(ranges[0].first, 1);
    assert_int_equal(ranges[0].end, 3);
    assert_int_equal(ranges[1].first, 5);
    assert_int_equal(ranges[1].end, 6);
    assert_int_equal(cursor.retry_count, 1);
    assert_int_equal(retries[0].sequence, 4);
    assert_int_equal(retries[0].attempts, 2);
    finish(&window);

    begin_at(&window, SETTINGS_ORDER_NONE, &cursor, 10);
    const uint64_t found[] = {0, 3, 4, 6, 7, 8, 9};
    for (size_t i = 0; i < sizeof(found) / sizeof(*found); i++) {
        struct window_parcel *parcel = find_next(&window, "", 0);
        assert_int_equal(parcel->sequence, found[i]);
    }
    assert_false(window_wants(&window));
    assert_int_equal(parcels[0].attempts, 3);
    assert_int_equal(parcels[4].attempts, 2);
    finish(&window);
}

/* A cursor read and noted again, however far the scan came, is the same. */
static void cursor_that_is_not_looked_at_stays(void **state)
{
    (void)state;
    const struct store_range given[] = {{2, 4}, {6, 7}, {9, 12}};
    const struct store_retry failed[] = {{4, 1}, {8, 5}};
    const struct store_cursor cursor = {
        .next = 1,
        .attempts = 7,
        .range_count = 3,
        .ranges = given,
        .retry_count = 2,
        .retries = failed,
    };

    for (int looked_at = 0; looked_at < 6; looked_at++) {
        struct store_range ranges[CURSOR_RANGES_MAX];
        struct store_retry retries[CURSOR_RETRIES_MAX];
        struct store_cursor again;
        struct window window;
        begin_at(&window, SETTINGS_ORDER_NONE, &cursor, 20);
        for (int i = 0; i < looked_at; i++) {
            (void)find_next(&window, "", 0);
        }
        window_cursor(&window, ranges, retries, &again);
        assert_int_equal(again.next, 1);
        assert_int_equal(again.attempts, 7);
        assert_int_equal(again.range_count, 3);
        assert_memory_equal(ranges, given, sizeof(given));
        assert_int_equal(again.retry_count, 2);
        assert_int_equal(retries[0].sequence, 4);
        assert_int_equal(retries[1].sequence, 8);
        assert_int_equal(retries[1].attempts, 5);
        finish(&window);
    }
}

/* What was done before the window was made is in no parcel of several. */
static void what_was_done_ends_a_parcel(void **state)
{
    (void)state;
    const struct store_range given[] = {{2, 4}};
    const struct store_cursor cursor = {
        .next = 0, .range_count = 1, .ranges = given};
    struct window window;
    begin_at(&window, SETTINGS_ORDER_NONE, &cursor, 9);

    struct window_parcel *parcel = find_next(&window, "", 0);
    assert_true(window_joins(&window, parcel));
    window_extend(&window, parcel, 2);
    assert_int_equal(window.scan, 4);
    assert_false(window_joins(&window, parcel));
    parcel = find_next(&window, "", 0);
    assert_int_equal(parcel->sequence, 4);
    window_pass(&window, 7); /* a filter's work, which is looked at again */
    assert_true(window_joins(&window, parcel));
    window_extend(&window, parcel, 8);
    assert_int_equal(parcel->end, 8);
    finish(&window);
}

static void what_is_trimmed_is_passed(void **state)
{
    (void)state;
    struct window window;
    begin(&window, SETTINGS_ORDER_NONE, 10);

    (void)find_next(&window, "", 0);
    struct window_parcel *second = find_next(&window, "", 0);
    window_drop(&window, &parcels[0]);
    window_trim(&window, 1);
    assert_int_equal(window_floor(&window), 1);
    assert_ptr_equal(window_find(&window, 1), second);
    assert_null(window_find(&window, 0));
    window_drop(&window, second);
    window_trim(&window, 7);
    assert_int_equal(window_floor(&window), 7);
    finish(&window);
}

static void lanes_that_rest_are_forgotten_in_time(void **state)
{
    (void)state;
    struct window window;
    begin(&window, SETTINGS_ORDER_KEY, 3000);
    char key[16];

    for (int i = 0; i < 3000; i++) {
        struct window_parcel *parcel = &parcels[i % MESSAGES];
        memset(parcel, 0, sizeof(*parcel));
        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(
            window_found(&window, parcel, (uint64_t)i, str_from(key), 0),
            ERR_OK);
        window_take(&window, parcel);
        window_done(&window, parcel);
    }
    assert_int_equal(window.lanes.count, WINDOW_LANES_IDLE_MAX);
    assert_true(window_is_done(&window));
    finish(&window);
}

/* --- any walk ------------------------------------------------------------- */

struct walk {
    struct window window;
    struct retry_random random;
    enum settings_order order;
    bool done[MESSAGES];
    int key[MESSAGES];       /* 0: none */
    uint64_t last[KEYS + 1]; /* done last of a lane, plus 1 */
    uint32_t taken;
};

static uint64_t dice(struct walk *walk, uint64_t sides)
{
    return retry_random_next(&walk->random) % sides;
}

/* The lane of a message; 0: none. */
static int lane_number(const struct walk *walk, uint64_t sequence)
{
    if (walk->order == SETTINGS_ORDER_TOPIC) {
        return KEYS;
    }
    return walk->order == SETTINGS_ORDER_KEY ? walk->key[sequence] : 0;
}

static void find_some(struct walk *walk)
{
    char key[16] = "";
    uint64_t sequence = walk->window.scan;

    if (!window_wants(&walk->window)) {
        return;
    }
    assert_false(walk->done[sequence]);
    if (dice(walk, 10) == 0) { /* a filter does not want it */
        walk->done[sequence] = true;
        window_pass(&walk->window, sequence + 1);
        return;
    }
    if (walk->key[sequence] > 0) {
        (void)snprintf(key, sizeof(key), "%d", walk->key[sequence]);
    }
    (void)find_next(&walk->window, key, (uint32_t)dice(walk, 3));
}

static void take_first(struct walk *walk)
{
    struct window_parcel *first = window_first(&walk->window);

    if (first == NULL || walk->taken >= IN_FLIGHT_MAX) {
        return;
    }
    for (struct list *link = walk->window.parcels.next;
         link != &walk->window.parcels; link = link->next) {
        struct window_parcel *other =
            CONTAINER_OF(link, struct window_parcel, link);
        int lane = lane_number(walk, other->sequence);
        assert_false(other->state == PARCEL_TAKEN && lane != 0 &&
                     lane == lane_number(walk, first->sequence));
        assert_false(other->state == PARCEL_READY &&
                     other->priority > first->priority);
    }
    window_take(&walk->window, first);
    walk->taken++;
}

static void end_one(struct walk *walk, struct window_parcel *parcel)
{
    int lane = lane_number(walk, parcel->sequence);

    if (parcel->state == PARCEL_HELD) {
        window_ready(&walk->window, parcel, dice(walk, 2) == 0);
        return;
    }
    if (parcel->state != PARCEL_TAKEN) {
        return;
    }
    walk->taken--;
    if (dice(walk, 3) == 0) {
        parcel->attempts++;
        window_hold(&walk->window, parcel);
        return;
    }
    if (lane != 0) {
        assert_true(parcel->sequence + 1 > walk->last[lane]);
        walk->last[lane] = parcel->sequence + 1;
    }
    walk->done[parcel->sequence] = true;
    window_done(&walk->window, parcel);
}

static struct window_parcel *any(struct walk *walk)
{
    uint64_t at = dice(walk, walk->window.parcel_count);
    struct list *link = walk->window.parcels.next;

    while (at-- > 0) {
        link = link->next;
    }
    return CONTAINER_OF(link, struct window_parcel, link);
}

/* Crash: all that the window knows is what its cursor says. */
static void crash(struct walk *walk)
{
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_retry retries[CURSOR_RETRIES_MAX];
    struct store_cursor cursor;

    window_cursor(&walk->window, ranges, retries, &cursor);
    uint64_t at = 0;
    for (; at < cursor.next; at++) {
        assert_true(walk->done[at]);
    }
    for (uint32_t i = 0; i < cursor.range_count; i++) {
        for (; at < ranges[i].first; at++) {
            assert_false(walk->done[at]);
        }
        for (; at < ranges[i].end; at++) {
            assert_true(walk->done[at]);
        }
    }
    if (cursor.range_count < CURSOR_RANGES_MAX) {
        for (; at < MESSAGES; at++) {
            assert_false(walk->done[at]);
        }
    }
    finish(&walk->window);
    walk->taken = 0;
    begin_at(&walk->window, walk->order, &cursor, MESSAGES);
}

static void run(enum settings_order order, uint64_t seed)
{
    struct walk walk = {.order = order, .random.state = seed};

    for (int i = 0; i < MESSAGES; i++) {
        walk.key[i] = (int)dice(&walk, KEYS);
    }
    begin(&walk.window, order, MESSAGES);
    for (int step = 0; !window_is_done(&walk.window); step++) {
        assert_true(step < 1000000);
        find_some(&walk);
        take_first(&walk);
        if (walk.window.parcel_count > 0) {
            end_one(&walk, any(&walk));
        }
        if (dice(&walk, 500) == 0) {
            crash(&walk);
        }
    }
    for (int i = 0; i < MESSAGES; i++) {
        assert_true(walk.done[i]);
    }
    finish(&walk.window);
}

static void lanes_hold_on_any_walk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        run(SETTINGS_ORDER_TOPIC, seed);
        run(SETTINGS_ORDER_KEY, seed);
        run(SETTINGS_ORDER_NONE, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_topic_one_is_found_at_a_time),
        cmocka_unit_test(keys_have_lanes_and_messages_without_are_free),
        cmocka_unit_test(higher_priority_goes_first_then_who_waits_longest),
        cmocka_unit_test(cursor_tells_what_is_done_and_what_failed),
        cmocka_unit_test(cursor_that_is_not_looked_at_stays),
        cmocka_unit_test(what_was_done_ends_a_parcel),
        cmocka_unit_test(what_is_trimmed_is_passed),
        cmocka_unit_test(lanes_that_rest_are_forgotten_in_time),
        cmocka_unit_test(lanes_hold_on_any_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
