/* Tests of what is given back of delayed messages while their hour runs: that
 * neither disk nor memory grows, what a kill or a failing disk leaves, and what
 * has to stay.
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
#include <string.h>

#include <cmocka.h>

enum { TRIM_BYTES = 64 << 10 }; /* a segment of store_place */

static const uint64_t noon_ms = YARD_NOON_MS;

static const char bucket_name[] = ".opq.delayed.500000";

/* Push so many, due in a second, and have them handed on. */
static void hand_on(uint64_t from, uint64_t count)
{
    uint64_t end = yard_end_of("a") + count;

    for (uint64_t i = 0; i < count; i++) {
        yard_push_paced("a", from + i, 1000);
    }
    yard_push_wait(yard.begun);
    yard_wall_to(yard.wall_ms + 1000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == end);
}

/* What was handed on of an hour that has begun does not fill the disk, nor do
 * the notes of it; what waits stays. */
static void what_is_over_goes_while_its_hour_runs(void **state)
{
    enum { COUNT = 1000, ROUNDS = 12 };

    yard_begin(state, 0, TRIM_BYTES);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        hand_on(round * COUNT, COUNT);
        const struct store_bounds *bounds = &yard_topic(bucket_name)->bounds;
        LOOP_UNTIL(yard.io, bounds->bytes < (uint64_t)4 * TRIM_BYTES &&
                                delayed_stopped(yard.delayed));
    }
    assert_true(yard_topic(bucket_name)->bounds.oldest > (ROUNDS - 2) * COUNT);
    LOOP_UNTIL(yard.io,
               yard_topic(".opq.delayed.500000_log")->bounds.oldest > 0);
    assert_true(yard_bucket()->taken.chunks[0] == NULL ||
                yard_bucket()->first < DELAYED_BITS_CHUNK);
    (void)yard_push("a", 0, 1000);
    yard_push_wait(yard.begun + 1);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 1);
    yard_crash();
    assert_int_equal(delayed_stats(yard.delayed)->lost, 0);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->pending == 1);
    yard_wall_to(yard.wall_ms + 1000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == (uint64_t)ROUNDS * COUNT + 1);
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(yard_end_of("a"), ROUNDS * COUNT + 1);
    assert_int_equal(delayed_stats(yard.delayed)->lost, 0);
    yard_end();
}

/* Nor does it go one by one, when most of a segment went before. */
static void little_that_is_over_stays(void **state)
{
    enum { COUNT = 1000 };

    yard_begin(state, 0, 0);
    hand_on(0, COUNT);
    (void)yard_push("a", 7, 2000);
    yard.begun++;
    yard_push_wait(yard.begun);
    yard.delayed->options.trim_bytes = 1;
    yard.delayed->trim_due = true;
    delayed_kick(yard.delayed);
    LOOP_UNTIL(yard.io, yard_topic(bucket_name)->bounds.oldest == COUNT &&
                            yard_bucket()->trim == DELAYED_TRIM_NONE);
    yard.delayed->options.trim_bytes = TRIM_BYTES / 8;
    yard_wall_to(yard.wall_ms + 2000);
    LOOP_UNTIL(yard.io, yard_end_of("a") == COUNT + 1);
    LOOP_UNTIL(yard.io, yard_bucket()->over_end == COUNT + 1);
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(yard_topic(bucket_name)->bounds.oldest, COUNT);
    assert_int_equal(delayed_look(yard_bucket(), COUNT), DELAYED_HANDED);
    yard_end();
}

/* A stop while it is under way: it ends when the topics are let go of. */
static void a_stop_while_giving_back_harms_nothing(void **state)
{
    enum { COUNT = 100 };

    yard_begin(state, 0, 0);
    hand_on(0, COUNT);
    LOOP_UNTIL(yard.io, delayed_stopped(yard.delayed));
    yard.delayed->options.trim_bytes = 1;
    yard.delayed->trim_due = true;
    delayed_trim_turn(yard.delayed);
    assert_int_equal(yard_bucket()->trim, DELAYED_TRIM_MESSAGES);
    yard_reopen();
    assert_int_equal(yard_topic(bucket_name)->bounds.oldest, COUNT);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 0);
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(yard_end_of("a"), COUNT);
    yard_end();
}

/* One that waits keeps those behind it. */
static void what_waits_is_not_given_back(void **state)
{
    enum { COUNT = 1000 };

    yard_begin(state, 0, TRIM_BYTES);
    (void)yard_push("a", 7, HOUR_MS - 1);
    yard.begun++;
    hand_on(0, COUNT);
    LOOP_UNTIL(yard.io, delayed_stopped(yard.delayed));
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(yard_topic(bucket_name)->bounds.oldest, 0);
    assert_int_equal(delayed_look(yard_bucket(), 0), DELAYED_PENDING);
    assert_int_equal(delayed_look(yard_bucket(), 1), DELAYED_HANDED);
    yard_wall_to(noon_ms + HOUR_MS);
    LOOP_UNTIL(yard.io, yard_end_of("a") == COUNT + 1);
    assert_int_equal(yard_number_at("a", COUNT, NULL), 7);
    LOOP_UNTIL(yard.io, yard_topic(bucket_name)->bounds.oldest == COUNT + 1);
    assert_int_equal(delayed_look(yard_bucket(), 1), DELAYED_UNKNOWN);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 0);
    yard_end();
}

/* Killed at any moment of it: none is lost, and those whose note was durable
 * do not come again. */
static void a_kill_while_giving_back_loses_none(void **state)
{
    enum { COUNT = 2000, KILLS = 12 };
    static uint32_t seen[COUNT];
    uint64_t number = 0;

    yard_begin(state, 300, TRIM_BYTES / 4); /* several walks */
    memset(seen, 0, sizeof(seen));
    for (uint64_t i = 0; i < COUNT; i++) {
        yard_push_paced("a", i, 1000 + i);
    }
    yard_push_wait(COUNT);
    for (uint32_t kill = 1; kill <= KILLS; kill++) {
        yard_wall_to(noon_ms + 1000 + kill * (uint64_t)COUNT / KILLS);
        LOOP_TURNS(yard.io, (int)(20 + 7 * kill));
        if (kill % 3 == 0) {
            LOOP_UNTIL(yard.io, delayed_stopped(yard.delayed));
        }
        yard_crash();
        assert_int_equal(delayed_stats(yard.delayed)->lost, 0);
    }
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->pending == 0 &&
                            delayed_stopped(yard.delayed));
    assert_true(yard_topic(bucket_name)->bounds.oldest > COUNT / 2);
    for (uint64_t i = 0; i < yard_end_of("a"); i++) {
        number = yard_number_at("a", i, NULL);
        assert_true(number < COUNT);
        seen[number]++;
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_true(seen[i] >= 1);
    }
    assert_int_equal(delayed_stats(yard.delayed)->lost, 0);
    yard_end();
}

/* A purge that the disk refuses is as if it had not been begun. */
static void what_cannot_be_given_back_does_not_come_again(void **state)
{
    enum { COUNT = 400 };

    yard_begin(state, 0, 0);
    hand_on(0, COUNT);
    LOOP_UNTIL(yard.io, delayed_stopped(yard.delayed));
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO, .sticky = true});
    yard.delayed->options.trim_bytes = TRIM_BYTES / 4;
    yard.delayed->trim_due = true;
    delayed_kick(yard.delayed);
    LOOP_UNTIL(yard.io, yard_bucket()->trim_due_ms > 0);
    fault_reset();
    assert_int_equal(yard_topic(bucket_name)->bounds.oldest, 0);
    assert_int_equal(delayed_look(yard_bucket(), 0), DELAYED_HANDED);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 0);
    yard_bucket()->trim_due_ms = 0; /* later */
    while (yard_topic(bucket_name)->bounds.oldest == 0) {
        delayed_kick(yard.delayed);
        LOOP_TURNS(yard.io, 1);
        yard_bucket()->trim_due_ms = 0;
    }
    yard_reopen();
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(yard_end_of("a"), COUNT);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 0);
    yard_end();
    fault_remove();
}

/* What is cancelled is given back when its id is free again, if it had one. */
static void what_is_cancelled_is_given_back(void **state)
{
    enum { COUNT = 500, AT = 200 };

    yard_begin(state, 0, TRIM_BYTES / 4);
    for (uint64_t i = 0; i < COUNT; i++) {
        yard_push_paced("a", i, 1000);
    }
    yard_push_wait(COUNT);
    assert_int_equal(yard_cancel(yard_bucket(), AT), ERR_OK);
    yard.group.dedup_window_ms = UINT32_MAX; /* clocks differ: noon is later */
    yard_wall_to(noon_ms + 1000);
    LOOP_UNTIL(yard.io, yard_topic(bucket_name)->bounds.oldest == AT);
    LOOP_UNTIL(yard.io, yard_bucket()->trim == DELAYED_TRIM_NONE &&
                            delayed_stopped(yard.delayed));
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(yard_topic(bucket_name)->bounds.oldest, AT);
    assert_int_equal(delayed_look(yard_bucket(), AT), DELAYED_CANCELLED);
    yard.group.dedup_window_ms = 0; /* nobody has ids */
    yard_bucket()->trim_due_ms = 0;
    delayed_kick(yard.delayed);
    LOOP_UNTIL(yard.io, yard_topic(bucket_name)->bounds.oldest == COUNT);
    yard_reopen();
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(yard_end_of("a"), COUNT - 1);
    yard_end();
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(what_is_over_goes_while_its_hour_runs),
        LOOP_TEST(little_that_is_over_stays),
        LOOP_TEST(a_stop_while_giving_back_harms_nothing),
        LOOP_TEST(what_waits_is_not_given_back),
        LOOP_TEST(a_kill_while_giving_back_loses_none),
        LOOP_TEST(what_cannot_be_given_back_does_not_come_again),
        LOOP_TEST(what_is_cancelled_is_given_back),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
