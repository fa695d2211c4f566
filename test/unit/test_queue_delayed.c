/* Tests of delayed messages on a real store, with a clock of our own: when they
 * are handed on, in what order and what amounts, what a kill or a failing disk
 * leaves, cancelling, and that buckets go.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/delayed_yard.h"
#include "lib/fault.h"
#include "lib/loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t noon_ms = YARD_NOON_MS;

/* Buckets and logs that there are. */
static void count_topic(void *context, struct store_topic *stored)
{
    uint32_t *count = context;

    *count += str_starts(stored->name_str, STR(".opq.delayed.")) ? 1 : 0;
}

static uint32_t internal_topics(void)
{
    uint32_t count = 0;

    store_topic_each(yard.place.store, count_topic, &count);
    return count;
}

/* --- when and in what order ----------------------------------------------- */

static void a_message_comes_when_it_is_due(void **state)
{
    yard_begin(state, 0, 0);
    (void)yard_push("a", 7, 5000);
    yard_push_wait(1);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 1);
    yard_wall_to(noon_ms + 4999);
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(yard_end_of("a"), 0);
    yard_wall_to(noon_ms + 5000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 1);
    assert_int_equal(yard_number_at("a", 0, NULL), 7);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->handed == 1);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 0);
    yard_end();
}

static void they_come_in_order_of_due_time(void **state)
{
    enum { COUNT = 1000 };
    uint64_t random = 3;
    uint64_t last = 0;

    yard_begin(state, 100, 0); /* several walks */
    for (uint64_t i = 0; i < COUNT; i++) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        uint64_t delay_ms = 1 + (random >> 33) % (2 * HOUR_MS);
        yard_push_paced("a", delay_ms, delay_ms);
    }
    yard_push_wait(COUNT);
    yard_wall_to(noon_ms + 3 * (uint64_t)HOUR_MS);
    LOOP_UNTIL(yard.io, yard_end_of("a") == COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t number = yard_number_at("a", i, NULL);
        assert_true(number >= last);
        last = number;
    }
    assert_true(yard.delayed->index.capacity <= 100);
    yard_end();
}

/* A clock that jumps makes many due at once: they come by and by. */
static void a_clock_that_jumps_makes_no_burst(void **state)
{
    enum { COUNT = 3000 };
    yard_begin(state, 0, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        yard_push_paced("a", i, 1000 + i);
    }
    yard_push_wait(COUNT);
    LOOP_TURNS(yard.io, 20);
    yard_wall_to(noon_ms + HOUR_MS);
    uint64_t start_ms = io_now_ms(yard.io);
    uint64_t before = 0;
    while (yard_end_of("a") < COUNT) {
        io_run_turn(yard.io, 100);
        uint64_t rounds = (io_now_ms(yard.io) - start_ms) / DELAYED_ROUND_MS;
        assert_true(yard_end_of("a") <= (rounds + 2) * DELAYED_ROUND_MAX);
        assert_true(yard_end_of("a") - before <= DELAYED_FLIGHTS_MAX);
        before = yard_end_of("a");
    }
    assert_true(io_now_ms(yard.io) - start_ms >=
                (COUNT / DELAYED_ROUND_MAX - 1) * DELAYED_ROUND_MS);
    yard_end();
}

static void a_clock_that_goes_back_makes_them_wait(void **state)
{
    yard_begin(state, 0, 0);
    (void)yard_push("a", 1, 1000);
    yard_push_wait(1);
    yard_wall_to(noon_ms - 3 * (uint64_t)HOUR_MS);
    LOOP_TURNS(yard.io, 20);
    (void)yard_push("a", 2, 10); /* of an earlier hour */
    yard_push_wait(2);
    yard_wall_to(yard.wall_ms + 10);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 1);
    assert_int_equal(yard_number_at("a", 0, NULL), 2);
    yard_wall_to(noon_ms + 1000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 2);
    yard_end();
}

/* One that is due before it is stored is not lost. */
static void a_message_that_is_late_already_comes_at_once(void **state)
{
    yard_begin(state, 0, 0);
    (void)yard_push("a", 1, 100);
    (void)yard_push("a", 2, 50);
    yard.wall_ms += 1000;
    LOOP_UNTIL(yard.io, yard_end_of("a") == 2);
    (void)yard_push("a", 3, 0);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 3);
    yard_end();
}

/* --- across restarts ------------------------------------------------------ */

static void they_wait_through_restarts_and_keep_their_ids(void **state)
{
    char id[DUE_ID_MAX];
    uint64_t bucket_id = 0;
    uint64_t sequence = 0;

    yard_begin(state, 0, 0);
    for (uint64_t i = 0; i < 50; i++) {
        yard_push_paced("a", i, 1000 + i);
        yard_push_paced("b", i, (uint64_t)365 * 24 * HOUR_MS);
    }
    yard_push_wait(100);
    bucket_id = yard_topic(".opq.delayed.500000")->id;
    yard_reopen();
    assert_int_equal(delayed_stats(yard.delayed)->pending, 100);
    yard_crash();
    yard_wall_to(noon_ms + 1024);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 25);
    yard_reopen(); /* what was handed on is noted */
    LOOP_TURNS(yard.io, 20);
    assert_int_equal(yard_end_of("a"), 25);
    yard_wall_to(noon_ms + 5000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 50);
    for (uint64_t i = 0; i < 50; i++) {
        uint64_t found_id = 0;
        assert_int_equal(yard_number_at("a", i, id), i);
        assert_int_equal(due_id_read(str_from(id), &found_id, &sequence),
                         ERR_OK);
        assert_int_equal(found_id, bucket_id);
        assert_int_equal(sequence, i);
    }
    assert_int_equal(yard_end_of("b"), 0);
    yard_wall_to(noon_ms + (uint64_t)366 * 24 * HOUR_MS);
    LOOP_UNTIL(yard.io, yard_end_of("b") == 50);
    yard_end();
}

/* Killed anywhere while many are handed on: none is lost, those that come
 * again have the id that they had. */
static void a_kill_loses_none(void **state)
{
    enum { COUNT = 600 };
    static uint32_t seen[COUNT];

    yard_begin(state, 200, 0);
    memset(seen, 0, sizeof(seen));
    for (uint64_t i = 0; i < COUNT; i++) {
        yard_push_paced("a", i, 1000 + i / 2);
    }
    yard_push_wait(COUNT);
    yard_wall_to(noon_ms + 2000);
    for (int kill = 0; kill < 4; kill++) {
        LOOP_TURNS(yard.io, 3 + 4 * kill);
        yard_crash();
    }
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->pending == 0 &&
                            delayed_stopped(yard.delayed));
    for (uint64_t i = 0; i < yard_end_of("a"); i++) {
        char id[DUE_ID_MAX];
        uint64_t bucket_id = 0;
        uint64_t sequence = 0;
        uint64_t number = yard_number_at("a", i, id);
        assert_true(number < COUNT);
        assert_int_equal(due_id_read(str_from(id), &bucket_id, &sequence),
                         ERR_OK);
        assert_int_equal(sequence, number);
        seen[number]++;
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_true(seen[i] >= 1);
    }
    yard_end();
}

/* --- the end of buckets --------------------------------------------------- */

static void a_bucket_goes_when_its_hour_is_over(void **state)
{
    yard_begin(state, 0, 0);
    (void)yard_push("a", 1, 1000);
    (void)yard_push("a", 2, HOUR_MS + 1000);
    yard_push_wait(2);
    assert_int_equal(internal_topics(), 2);
    yard_wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, internal_topics() == 3); /* and a log */
    yard_wall_to(noon_ms + HOUR_MS + DELAYED_AHEAD_MS);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 2 &&
                            yard_topic(".opq.delayed.500000") == NULL &&
                            yard_topic(".opq.delayed.500000_log") == NULL);
    LOOP_UNTIL(yard.io, internal_topics() == 2); /* those of the next hour */
    yard_wall_to(noon_ms + 3 * (uint64_t)HOUR_MS);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->buckets == 0);
    assert_int_equal(internal_topics(), 0);
    yard_end();
}

/* A kill between the two leaves a log without messages. */
static void a_log_that_is_left_over_goes(void **state)
{
    struct store_wait wait;

    yard_begin(state, 0, 0);
    (void)yard_push("a", 1, 1000);
    yard_push_wait(1);
    yard_wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, internal_topics() == 2);
    yard_close();
    assert_int_equal(store_place_open(&yard.place, yard.io), ERR_OK);
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(
        store_place_find(yard.place.store, ".opq.delayed.500000"), &wait.op);
    assert_int_equal(store_wait_run(yard.io, &wait), ERR_OK);
    store_place_close(&yard.place);
    yard_open();
    LOOP_UNTIL(yard.io, internal_topics() == 0);
    yard_end();
}

/* --- cancelling ----------------------------------------------------------- */

static void what_is_cancelled_does_not_come(void **state)
{
    yard_begin(state, 0, 0);
    for (uint64_t i = 0; i < 10; i++) {
        (void)yard_push("a", i, 1000 + i);
    }
    yard_push_wait(10);
    assert_int_equal(delayed_look(yard_bucket(), 4), DELAYED_PENDING);
    assert_int_equal(yard_cancel(yard_bucket(), 4), ERR_OK);
    assert_int_equal(delayed_look(yard_bucket(), 4), DELAYED_CANCELLED);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 9);
    yard_crash();
    LOOP_UNTIL(yard.io, delayed_look(yard_bucket(), 4) == DELAYED_CANCELLED);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 9);
    assert_int_equal(yard_cancel(yard_bucket(), 9), ERR_OK);
    yard_wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 8);
    LOOP_TURNS(yard.io, 20);
    assert_int_equal(yard_end_of("a"), 8);
    assert_int_equal(yard_number_at("a", 4, NULL), 5);
    LOOP_UNTIL(yard.io, delayed_look(yard_bucket(), 5) == DELAYED_HANDED);
    assert_int_equal(delayed_look(yard_bucket(), 10), DELAYED_UNKNOWN);
    yard_end();
}

/* A cancellation that the disk refuses did not happen. */
static void what_cannot_be_cancelled_comes(void **state)
{
    yard_begin(state, 0, 0);
    for (uint64_t i = 0; i < 3; i++) {
        (void)yard_push("a", i, 1000 + i);
    }
    yard_push_wait(3);
    LOOP_TURNS(yard.io, 20);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO, .sticky = true});
    assert_int_not_equal(yard_cancel(yard_bucket(), 1), ERR_OK);
    fault_reset();
    assert_int_equal(delayed_look(yard_bucket(), 1), DELAYED_PENDING);
    yard_wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 3);
    assert_int_equal(yard_number_at("a", 1, NULL), 1);
    yard_end();
    fault_remove();
}

/* --- failures ------------------------------------------------------------- */

/* A disk that fails for a while: all of them come when it works again. */
static void a_failing_disk_loses_none(void **state)
{
    enum { COUNT = 40 };
    static bool seen[COUNT];

    yard_begin(state, 0, 0);
    memset(seen, 0, sizeof(seen));
    for (uint64_t i = 0; i < COUNT; i++) {
        yard_push_paced("a", i, 1000 + i);
    }
    yard_push_wait(COUNT);
    LOOP_TURNS(yard.io, 20);
    fault_install();
    fault_set(&(struct fault_plan){.kinds = FAULT_WRITE | FAULT_FALLOCATE,
                                   .at = 1,
                                   .error_number = ENOSPC,
                                   .sticky = true});
    yard_wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->failed > 0);
    assert_int_equal(yard_end_of("a"), 0);
    assert_int_equal(delayed_stats(yard.delayed)->pending, COUNT);
    fault_reset();
    LOOP_UNTIL(yard.io, yard_end_of("a") >= COUNT);
    for (uint64_t i = 0; i < yard_end_of("a"); i++) {
        seen[yard_number_at("a", i, NULL)] = true;
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_true(seen[i]);
    }
    yard_end();
    fault_remove();
}

/* What was due and found no room waits still: it can be seen, and cancelled. */
static void what_finds_no_room_is_still_delayed(void **state)
{
    enum { COUNT = 5 };

    yard_begin(state, 0, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        yard_push_paced("a", i, 1000 + i);
    }
    yard_push_wait(COUNT);
    LOOP_TURNS(yard.io, 20);
    fault_install();
    fault_set(&(struct fault_plan){.kinds = FAULT_WRITE | FAULT_FALLOCATE,
                                   .at = 1,
                                   .error_number = ENOSPC,
                                   .sticky = true});
    yard_wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->failed == COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(delayed_look(yard_bucket(), i), DELAYED_PENDING);
    }
    fault_reset();
    enum err err = ERR_BUSY; /* there is no journal for a moment */
    for (int turn = 0; err != ERR_OK; turn++) {
        assert_true(turn < 1000);
        LOOP_TURNS(yard.io, 1);
        err = yard_cancel(yard_bucket(), 2);
    }
    assert_int_equal(delayed_stats(yard.delayed)->pending, COUNT - 1);
    LOOP_UNTIL(yard.io, yard_end_of("a") == COUNT - 1);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->pending == 0);
    for (uint64_t i = 0; i < COUNT - 1; i++) {
        assert_int_not_equal(yard_number_at("a", i, NULL), 2);
    }
    assert_int_equal(delayed_look(yard_bucket(), 1), DELAYED_HANDED);
    assert_int_equal(delayed_look(yard_bucket(), 2), DELAYED_CANCELLED);
    yard_end();
    fault_remove();
}

static void a_push_that_fails_leaves_no_bucket(void **state)
{
    yard_begin(state, 0, 0);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO, .sticky = true});
    (void)yard_push("a", 1, 1000);
    LOOP_UNTIL(yard.io, yard.push_err != ERR_OK);
    fault_reset();
    LOOP_TURNS(yard.io, 5);
    assert_int_equal(internal_topics(), 0);
    assert_int_equal(delayed_stats(yard.delayed)->buckets, 0);
    while (yard.pushed == 0) { /* the store may be busy for a while */
        yard.push_err = ERR_OK;
        (void)yard_push("a", 2, 1000);
        LOOP_UNTIL(yard.io, yard.pushed == 1 || yard.push_err != ERR_OK);
    }
    yard_wall_to(noon_ms + 1000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == 1);
    yard_end();
    fault_remove();
}

static void a_mark_tells_what_it_stands_for(void **state)
{
    uint64_t bucket_id = 0;
    uint64_t sequence = 0;

    yard_begin(state, 0, 0);
    (void)yard_push("a", 1, 1000);
    (void)yard_push("a", 2, 2000);
    (void)yard_push("a", 3, HOUR_MS);
    yard_push_wait(3);
    uint64_t mark = due_id_mark(noon_ms + 1000, 1);
    assert_true(
        due_id_marked(&yard.shard.delayed_ids, mark, &bucket_id, &sequence));
    assert_int_equal(bucket_id, yard_topic(".opq.delayed.500000")->id);
    assert_int_equal(sequence, 1);
    mark = due_id_mark(noon_ms + HOUR_MS, 0);
    assert_true(
        due_id_marked(&yard.shard.delayed_ids, mark, &bucket_id, &sequence));
    assert_int_equal(bucket_id, yard_topic(".opq.delayed.500001")->id);
    assert_int_equal(sequence, 0);
    mark = due_id_mark(noon_ms + 2 * HOUR_MS, 7); /* nothing was put there */
    assert_true(
        due_id_marked(&yard.shard.delayed_ids, mark, &bucket_id, &sequence));
    assert_int_equal(bucket_id, 0);
    assert_false(
        due_id_marked(&yard.shard.delayed_ids, 7, &bucket_id, &sequence));
    uint64_t due_ms = noon_ms + 2 * HOUR_MS;
    assert_true(due_id_remember(&yard.shard.delayed_ids, due_ms, 99, 7, &mark));
    assert_true(
        due_id_marked(&yard.shard.delayed_ids, mark, &bucket_id, &sequence));
    assert_int_equal(bucket_id, 99);
    assert_int_equal(sequence, 7);
    assert_false(
        due_id_remember(&yard.shard.delayed_ids, UINT64_MAX, 1, 1, &mark));
    assert_false(
        due_id_remember(&yard.shard.delayed_ids, 1, 1, UINT64_MAX, &mark));
    yard_end();
}

/* --- ids ------------------------------------------------------------------ */

static void ids_have_one_form(void **state)
{
    static const char *const wrong[] = {
        "",
        "dly_",
        "dly_0123456789abcdef-",
        "dly_0123456789abcdef",
        "msg_0123456789abcdef-1",
        "dly_0123456789abcdeF-1",
        "dly_0123456789abcde-1",
        "dly_0123456789abcdef-01",
        "dly_0123456789abcdef--1",
        "dly_0123456789abcdef-18446744073709551616",
    };
    char id[DUE_ID_MAX];
    uint64_t bucket_id = 0;
    uint64_t sequence = 0;

    (void)state;
    char *end = due_id_put(0x0123456789abcdefU, UINT64_MAX, id);
    struct str text = {id, (size_t)(end - id)};
    assert_true(
        str_equal(text, STR("dly_0123456789abcdef-18446744073709551615")));
    assert_int_equal(due_id_read(text, &bucket_id, &sequence), ERR_OK);
    assert_true(bucket_id == 0x0123456789abcdefU && sequence == UINT64_MAX);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(due_id_read(str_from(wrong[i]), &bucket_id, &sequence),
                         ERR_INVALID);
    }
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_message_comes_when_it_is_due),
        LOOP_TEST(they_come_in_order_of_due_time),
        LOOP_TEST(a_clock_that_jumps_makes_no_burst),
        LOOP_TEST(a_clock_that_goes_back_makes_them_wait),
        LOOP_TEST(a_message_that_is_late_already_comes_at_once),
        LOOP_TEST(they_wait_through_restarts_and_keep_their_ids),
        LOOP_TEST(a_kill_loses_none),
        LOOP_TEST(a_bucket_goes_when_its_hour_is_over),
        LOOP_TEST(a_log_that_is_left_over_goes),
        LOOP_TEST(what_is_cancelled_does_not_come),
        LOOP_TEST(what_cannot_be_cancelled_comes),
        LOOP_TEST(a_failing_disk_loses_none),
        LOOP_TEST(what_finds_no_room_is_still_delayed),
        LOOP_TEST(a_push_that_fails_leaves_no_bucket),
        LOOP_TEST_ONCE(a_mark_tells_what_it_stands_for),
        LOOP_TEST_ONCE(ids_have_one_form),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
