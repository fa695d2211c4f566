/* What every store must do: reading, watches, cursors, purging.
 *
 * SPDX-License-Identifier: MIT
 */
#include "contract/store_contract_read.h"

#include "base/check.h"
#include "contract/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- reading -------------------------------------------------------------- */

static void messages_are_read_in_order(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    store_place_expect(world.io, topic, 0, 0, 0);
    world_fill(&world, topic, 0, 3000, 200);
    store_place_expect(world.io, topic, 0, 3000, 200);
    world_reopen(&world);
    topic = world_topic(&world, "a");
    store_place_expect(world.io, topic, 0, 3000, 200);
    world_fill(&world, topic, 3000, 3500, 200);
    store_place_expect(world.io, topic, 0, 3500, 200);
    world_crash(&world);
    store_place_expect(world.io, world_topic(&world, "a"), 0, 3500, 200);
    world_end(&world);
}

static void messages_are_read_in_any_order(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_reader *reader = NULL;
    struct record record;
    world_fill(&world, topic, 0, 2000, 150);
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    uint64_t at = 1;
    for (int i = 0; i < 2000; i++) {
        at = (at * 1103515245 + 12345) % 2147483648;
        uint64_t sequence = at % 2000;
        assert_int_equal(store_place_read(world.io, reader, sequence, &record),
                         ERR_OK);
        assert_int_equal(record.sequence, sequence);
        assert_true(store_place_is(&record, sequence, 150));
    }
    for (uint64_t i = 2000; i > 0; i--) { /* backwards */
        assert_int_equal(store_place_read(world.io, reader, i - 1, &record),
                         ERR_OK);
        assert_true(store_place_is(&record, i - 1, 150));
        assert_int_equal(store_place_read(world.io, reader, i - 1, &record),
                         ERR_OK); /* and again */
        assert_int_equal(record.sequence, i - 1);
    }
    store_reader_destroy(reader);
    world_end(&world);
}

static void messages_of_any_size_are_read(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    static const size_t sizes[] = {0,     1,     4096,   16383, 16384,
                                   16385, 60000, 100000, 3,     99999};
    uint32_t count = sizeof(sizes) / sizeof(sizes[0]);
    for (uint32_t i = 0; i < count; i++) {
        world_fill(&world, topic, i, i + 1, sizes[i]);
    }
    for (int round = 0; round < 2; round++) {
        struct store_reader *reader = NULL;
        struct record record;
        topic = world_topic(&world, "a");
        assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(store_place_read(world.io, reader, i, &record),
                             ERR_OK);
            assert_true(store_place_is(&record, i, sizes[i]));
        }
        store_reader_destroy(reader);
        world_reopen(&world);
    }
    world_end(&world);
}

static void a_record_stays_until_the_readers_next_call(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_reader *reader = NULL;
    struct record record;
    world_fill(&world, topic, 0, 5, 100);
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    assert_int_equal(store_place_read(world.io, reader, 2, &record), ERR_OK);
    world_fill(&world, topic, 5, 2000, 300); /* tails come and go meanwhile */
    assert_int_equal(world_purge(&world, topic, 4), ERR_OK);
    assert_true(store_place_is(&record, 2, 100));
    store_reader_destroy(reader);
    world_end(&world);
}

static void many_readers_do_not_disturb_each_other(void **state)
{
    enum { READERS = 40 };
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_reader *readers[READERS];
    struct record record;
    world_fill(&world, topic, 0, 1000, 120);
    world_reopen(&world);
    topic = world_topic(&world, "a");
    for (uint32_t i = 0; i < READERS; i++) {
        assert_int_equal(store_reader_create(topic, &readers[i]), ERR_OK);
    }
    for (uint64_t step = 0; step < 100; step++) {
        for (uint32_t i = 0; i < READERS; i++) {
            uint64_t sequence = (uint64_t)i * 20 + step;
            assert_int_equal(
                store_place_read(world.io, readers[i], sequence, &record),
                ERR_OK);
            assert_true(store_place_is(&record, sequence, 120));
        }
    }
    for (uint32_t i = 0; i < READERS; i++) {
        store_reader_destroy(readers[i]);
    }
    world_end(&world);
}

static void time_finds_the_first_message_at_or_after(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    uint64_t found = 0;
    assert_int_equal(store_find_time(topic, 5, &found), ERR_OK);
    assert_int_equal(found, 0); /* the end */
    world_fill(&world, topic, 0, 1500, 100);
    for (int round = 0; round < 2; round++) {
        /* Message n was pushed at 1,000,000 + 1,000 n. */
        assert_int_equal(store_find_time(topic, 0, &found), ERR_OK);
        assert_int_equal(found, 0);
        assert_int_equal(store_find_time(topic, 1000000 + 700000, &found),
                         ERR_OK);
        assert_int_equal(found, 700);
        assert_int_equal(store_find_time(topic, 1000000 + 700001, &found),
                         ERR_OK);
        assert_int_equal(found, 701);
        assert_int_equal(store_find_time(topic, UINT64_MAX, &found), ERR_OK);
        assert_int_equal(found, 1500);
        world_reopen(&world);
        topic = world_topic(&world, "a");
    }
    assert_int_equal(world_purge(&world, topic, 900), ERR_OK);
    assert_int_equal(store_find_time(topic, 1000000, &found), ERR_OK);
    assert_int_equal(found, 900);
    world_end(&world);
}

/* --- watches -------------------------------------------------------------- */

struct watcher {
    struct store_watch watch;
    struct store_watch *remove; /* when called */
    uint32_t count;
};

static void watcher_moved(struct store_watch *watch)
{
    struct watcher *watcher = CONTAINER_OF(watch, struct watcher, watch);
    watcher->count++;
    if (watcher->remove != NULL) {
        store_watch_remove(watcher->remove);
    }
}

static void watches_are_told_once_a_turn(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_topic *other = world_topic(&world, "b");
    struct watcher watchers[3] = {0};
    for (int i = 0; i < 3; i++) {
        watchers[i].watch.moved = watcher_moved;
        store_watch_add(i == 2 ? other : topic, &watchers[i].watch);
    }
    struct store_wait waits[10];
    for (uint32_t i = 0; i < 10; i++) {
        store_wait_init(&waits[i], DURABILITY_DISK);
        assert_int_equal(store_wait_append(topic, &waits[i], i, 10), ERR_OK);
    }
    assert_int_equal(store_wait_run(world.io, &waits[9]), ERR_OK);
    assert_int_equal(watchers[0].count, 1);
    assert_int_equal(watchers[1].count, 1);
    assert_int_equal(watchers[2].count, 0);
    store_watch_remove(&watchers[0].watch);
    store_watch_remove(&watchers[0].watch);
    world_fill(&world, topic, 10, 11, 10);
    assert_int_equal(watchers[0].count, 1);
    assert_int_equal(watchers[1].count, 2);
    store_watch_remove(&watchers[1].watch);
    store_watch_remove(&watchers[2].watch);
    world_end(&world);
}

static void a_watch_may_remove_itself_and_others(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct watcher watchers[3] = {0};
    for (int i = 0; i < 3; i++) {
        watchers[i].watch.moved = watcher_moved;
        store_watch_add(topic, &watchers[i].watch);
    }
    watchers[0].remove = &watchers[1].watch;
    watchers[2].remove = &watchers[2].watch;
    world_fill(&world, topic, 0, 1, 10);
    world_fill(&world, topic, 1, 2, 10);
    assert_int_equal(watchers[0].count, 2);
    assert_int_equal(watchers[1].count, 0);
    assert_int_equal(watchers[2].count, 1);
    store_watch_remove(&watchers[0].watch);
    world_end(&world);
}

/* --- cursors -------------------------------------------------------------- */

static void a_cursor_survives_a_kill_exactly(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 100, 10);
    for (uint64_t next = 1; next <= 60; next++) {
        world_deliver(topic, next, 0);
    }
    world_deliver(topic, 60, 3);
    assert_int_equal(topic->cursor.next, 60);
    world_crash(&world);
    topic = world_topic(&world, "a");
    assert_int_equal(topic->cursor.next, 60);
    assert_int_equal(topic->cursor.attempts, 3);
    world_deliver(topic, 61, 0);
    world_crash(&world);
    topic = world_topic(&world, "a");
    assert_int_equal(topic->cursor.next, 61);
    assert_int_equal(topic->cursor.attempts, 0);
    world_reopen(&world);
    assert_int_equal(world_topic(&world, "a")->cursor.next, 61);
    world_end(&world);
}

static void a_cursor_never_goes_back_by_progress(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 10, 10);
    world_deliver(topic, 6, 0);
    world_deliver(topic, 4, 2);
    assert_int_equal(topic->cursor.next, 6);
    assert_int_equal(topic->cursor.attempts, 0);
    world_end(&world);
}

static void acknowledged_ranges_are_kept(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 20, 10);
    struct store_range ranges[] = {{5, 7}, {9, 12}};
    struct store_cursor cursor = {
        .next = 3, .attempts = 1, .range_count = 2, .ranges = ranges};
    store_cursor_store(topic, &cursor);
    memset(ranges, 0, sizeof(ranges)); /* they were copied */
    for (int round = 0; round < 4; round++) {
        round % 2 == 0 ? world_crash(&world) : world_reopen(&world);
        topic = world_topic(&world, "a");
        assert_int_equal(topic->cursor.next, 3);
        assert_int_equal(topic->cursor.attempts, 1);
        assert_int_equal(topic->cursor.range_count, 2);
        assert_int_equal(topic->cursor.ranges[0].first, 5);
        assert_int_equal(topic->cursor.ranges[0].end, 7);
        assert_int_equal(topic->cursor.ranges[1].first, 9);
        assert_int_equal(topic->cursor.ranges[1].end, 12);
    }
    world_end(&world);
}

/* Messages acknowledged in any order, the model of a cursor. */
struct acknowledged {
    bool has[400];
    uint64_t end;
};

/* Note what was acknowledged. */
static void note_acknowledged(struct store_topic *topic,
                              const struct acknowledged *model)
{
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_cursor cursor = {.ranges = ranges};
    while (cursor.next < model->end && model->has[cursor.next]) {
        cursor.next++;
    }
    for (uint64_t i = cursor.next; i < model->end; i++) {
        if (!model->has[i]) {
            continue;
        }
        if (!model->has[i - 1]) {
            assert_true(cursor.range_count < CURSOR_RANGES_MAX);
            ranges[cursor.range_count].first = i;
            cursor.range_count++;
        }
        ranges[cursor.range_count - 1].end = i + 1;
    }
    store_cursor_store(topic, &cursor);
}

/* Check that the cursor says all of it, and no more. */
static void expect_acknowledged(const struct store_topic *topic,
                                const struct acknowledged *model)
{
    const struct store_cursor *cursor = &topic->cursor;
    for (uint64_t i = 0; i < model->end; i++) {
        bool has = i < cursor->next;
        for (uint32_t k = 0; k < cursor->range_count; k++) {
            has = has ||
                  (i >= cursor->ranges[k].first && i < cursor->ranges[k].end);
        }
        assert_int_equal(has, model->has[i]);
    }
}

static void a_crash_repeats_nothing_that_was_acknowledged(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct acknowledged model = {.end = 400};
    uint32_t seed = 7;
    world_fill(&world, topic, 0, model.end, 10);
    for (uint64_t first = 0; first < model.end; first += 100) {
        uint64_t left = 100; /* of a window of a hundred, in any order */
        while (left > 0) {
            seed = seed * 1103515245 + 12345;
            uint64_t at = first + (seed >> 8) % 100;
            if (model.has[at]) {
                continue;
            }
            model.has[at] = true;
            left--;
            note_acknowledged(topic, &model);
            if (left % 9 == 0) {
                left % 2 == 0 ? world_crash(&world) : world_reopen(&world);
                topic = world_topic(&world, "a");
                expect_acknowledged(topic, &model);
            }
        }
        assert_int_equal(topic->cursor.next, first + 100);
        assert_int_equal(topic->cursor.range_count, 0);
    }
    world_end(&world);
}

/* Check what the cursor of attempts_above_the_cursor_are_kept() became. */
static void expect_retries(const struct store_topic *topic)
{
    assert_int_equal(topic->cursor.next, 3);
    assert_int_equal(topic->cursor.attempts, 1);
    assert_int_equal(topic->cursor.range_count, 1);
    assert_int_equal(topic->cursor.retry_count, 2);
    assert_int_equal(topic->cursor.retries[0].sequence, 4);
    assert_int_equal(topic->cursor.retries[0].attempts, 6);
    assert_int_equal(topic->cursor.retries[1].sequence, 9);
    assert_int_equal(topic->cursor.retries[1].attempts, UINT32_MAX);
}

static void attempts_above_the_cursor_are_kept(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 20, 10);
    struct store_range ranges[] = {{5, 7}};
    struct store_retry retries[] = {{4, 6}, {9, UINT32_MAX}};
    struct store_cursor cursor = {.next = 3,
                                  .attempts = 1,
                                  .range_count = 1,
                                  .retry_count = 2,
                                  .ranges = ranges,
                                  .retries = retries};
    store_cursor_store(topic, &cursor);
    memset(retries, 0, sizeof(retries)); /* they were copied */
    expect_retries(topic);
    for (int round = 0; round < 3; round++) {
        round % 2 == 0 ? world_crash(&world) : world_reopen(&world);
        topic = world_topic(&world, "a");
        expect_retries(topic);
    }
    /* The cursor passes one and comes to the other. */
    assert_int_equal(world_purge(&world, topic, 9), ERR_OK);
    assert_int_equal(topic->cursor.next, 9);
    assert_int_equal(topic->cursor.attempts, UINT32_MAX);
    assert_int_equal(topic->cursor.range_count, 0);
    assert_int_equal(topic->cursor.retry_count, 0);
    world_fill(&world, topic, 20, 21, 10);
    cursor = (struct store_cursor){
        .next = 10, .retry_count = 1, .retries = &(struct store_retry){12, 3}};
    store_cursor_store(topic, &cursor);
    assert_int_equal(world_move(&world, topic, 9), ERR_OK);
    assert_int_equal(topic->cursor.retry_count, 0); /* a move forgets them */
    world_reopen(&world);
    assert_int_equal(world_topic(&world, "a")->cursor.retry_count, 0);
    world_end(&world);
}

static void a_cursor_moves_back_and_forward(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 50, 10);
    world_deliver(topic, 40, 5);
    assert_int_equal(world_move(&world, topic, 51), ERR_RANGE);
    assert_int_equal(topic->cursor.next, 40);
    assert_int_equal(world_move(&world, topic, 10), ERR_OK);
    assert_int_equal(topic->cursor.next, 10);
    assert_int_equal(topic->cursor.attempts, 0);
    world_deliver(topic, 12, 0);
    world_crash(&world); /* not 40: that was before the move */
    topic = world_topic(&world, "a");
    assert_int_equal(topic->cursor.next, 12);
    assert_int_equal(world_move(&world, topic, 50), ERR_OK);
    world_reopen(&world);
    topic = world_topic(&world, "a");
    assert_int_equal(topic->cursor.next, 50);
    assert_int_equal(world_move(&world, topic, 0), ERR_OK);
    world_crash(&world);
    assert_int_equal(world_topic(&world, "a")->cursor.next, 0);
    world_end(&world);
}

static void a_move_counts_at_once(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 50, 10);
    world_deliver(topic, 40, 0);
    struct store_wait waits[2];
    store_wait_init(&waits[0], DURABILITY_DISK);
    store_wait_init(&waits[1], DURABILITY_DISK);
    store_cursor_move(topic, 10, &waits[0].op);
    assert_int_equal(topic->cursor.next, 10);
    world_deliver(topic, 11, 0);
    store_cursor_move(topic, 5, &waits[1].op);
    assert_int_equal(topic->cursor.next, 5);
    assert_int_equal(store_wait_run(world.io, &waits[1]), ERR_OK);
    assert_int_equal(waits[0].err, ERR_OK);
    world_crash(&world);
    assert_int_equal(world_topic(&world, "a")->cursor.next, 5);
    world_end(&world);
}

/* --- purging -------------------------------------------------------------- */

static void purged_messages_are_gone(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_reader *reader = NULL;
    struct record record;
    world_fill(&world, topic, 0, 800, 200);
    world_deliver(topic, 5, 2);
    assert_int_equal(world_purge(&world, topic, 300), ERR_OK);
    assert_int_equal(topic->bounds.oldest, 300);
    assert_int_equal(topic->cursor.next, 300);
    assert_int_equal(topic->cursor.attempts, 0);
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    assert_int_equal(store_place_read(world.io, reader, 299, &record),
                     ERR_RANGE);
    store_reader_destroy(reader);
    store_place_expect(world.io, topic, 300, 800, 200);
    assert_int_equal(world_move(&world, topic, 299), ERR_RANGE);
    world_crash(&world);
    topic = world_topic(&world, "a");
    store_place_expect(world.io, topic, 300, 800, 200);
    assert_int_equal(topic->cursor.next, 300);
    world_reopen(&world);
    store_place_expect(world.io, world_topic(&world, "a"), 300, 800, 200);
    world_end(&world);
}

static void a_purge_past_the_end_stops_there(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 500, 200);
    assert_int_equal(world_purge(&world, topic, UINT64_MAX), ERR_OK);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(topic->bounds.oldest, 500);
        assert_int_equal(topic->bounds.end, 500);
        assert_int_equal(topic->cursor.next, 500);
        if (round < 2) {
            round == 0 ? world_crash(&world) : world_reopen(&world);
            topic = world_topic(&world, "a");
        }
    }
    world_fill(&world, topic, 500, 501,
               200); /* numbers are never given twice */
    store_place_expect(world.io, topic, 500, 501, 200);
    world_reopen(&world);
    store_place_expect(world.io, world_topic(&world, "a"), 500, 501, 200);
    world_end(&world);
}

static void a_purge_of_nothing_changes_nothing(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 10, 10);
    world_deliver(topic, 7, 1);
    assert_int_equal(world_purge(&world, topic, 5), ERR_OK);
    assert_int_equal(world_purge(&world, topic, 2), ERR_OK);
    assert_int_equal(topic->bounds.oldest, 5);
    assert_int_equal(topic->cursor.next, 7);
    assert_int_equal(topic->cursor.attempts, 1);
    world_end(&world);
}

const struct loop_test store_contract_read_tests[] = {
    LOOP_TEST(messages_are_read_in_order),
    LOOP_TEST(messages_are_read_in_any_order),
    LOOP_TEST(messages_of_any_size_are_read),
    LOOP_TEST(a_record_stays_until_the_readers_next_call),
    LOOP_TEST(many_readers_do_not_disturb_each_other),
    LOOP_TEST(time_finds_the_first_message_at_or_after),
    LOOP_TEST(watches_are_told_once_a_turn),
    LOOP_TEST(a_watch_may_remove_itself_and_others),
    LOOP_TEST(a_cursor_survives_a_kill_exactly),
    LOOP_TEST(a_cursor_never_goes_back_by_progress),
    LOOP_TEST(acknowledged_ranges_are_kept),
    LOOP_TEST(a_crash_repeats_nothing_that_was_acknowledged),
    LOOP_TEST(attempts_above_the_cursor_are_kept),
    LOOP_TEST(a_cursor_moves_back_and_forward),
    LOOP_TEST(a_move_counts_at_once),
    LOOP_TEST(purged_messages_are_gone),
    LOOP_TEST(a_purge_past_the_end_stops_there),
    LOOP_TEST(a_purge_of_nothing_changes_nothing),
};

const size_t store_contract_read_count =
    sizeof(store_contract_read_tests) / sizeof(store_contract_read_tests[0]);
