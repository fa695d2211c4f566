/* What every store must do: messages that are done above a cursor, more of
 * them than it has ranges for.
 *
 * SPDX-License-Identifier: MIT
 */
#include "contract/store_contract_acked.h"

#include "contract/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGES = 3000 };

/* Fail the test unless the runs from `from` on are these. */
static void expect_runs(struct store_topic *topic,
                        uint64_t from,
                        const struct store_range *runs,
                        size_t count)
{
    struct store_range run = {0, from};
    for (size_t i = 0; i < count; i++) {
        assert_true(store_acked_next(topic, run.end, &run));
        assert_int_equal(run.first, runs[i].first);
        assert_int_equal(run.end, runs[i].end);
    }
    assert_false(store_acked_next(topic, run.end, &run));
}

/* Fail the test unless there are none. */
static void expect_none(struct store_topic *topic)
{
    expect_runs(topic, 0, NULL, 0);
}

/* A topic of messages. */
static struct store_topic *filled(struct world *world)
{
    struct store_topic *topic = world_topic(world, "a");
    world_fill(world, topic, 0, MESSAGES, 10);
    return topic;
}

/* Crash and reopen by turns. */
static struct store_topic *again(struct world *world, int round)
{
    round % 2 == 0 ? world_crash(world) : world_reopen(world);
    return world_topic(world, "a");
}

static void any_number_of_runs_is_kept(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = filled(&world);
    static struct store_range runs[MESSAGES / 2];
    size_t count = 0;
    expect_none(topic);
    for (uint64_t i = 1; i < MESSAGES; i += 2) {
        runs[count] = (struct store_range){i, i + 1};
        store_acked_add(topic, i, i + 1);
        count++;
    }
    for (int round = 0; round < 4; round++) {
        expect_runs(topic, 0, runs, count);
        expect_runs(topic, 1001, runs + 500, count - 500);
        expect_runs(topic, 1002, runs + 501, count - 501);
        topic = again(&world, round);
    }
    store_acked_add(topic, 0, 10); /* runs become one */
    runs[4] = (struct store_range){0, 10};
    expect_runs(topic, 0, runs + 4, count - 4);
    struct store_range run;
    assert_true(store_acked_next(topic, 4, &run));
    assert_int_equal(run.first, 4);
    assert_int_equal(run.end, 10);
    world_end(&world);
}

static void what_a_cursor_says_is_not_repeated(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = filled(&world);
    const struct store_range ranges[] = {{8, 12}, {20, 30}, {35, 36}};
    struct store_cursor cursor = {
        .next = 5, .range_count = 3, .ranges = ranges};
    store_acked_add(topic, 0, 40);
    store_cursor_store(topic, &cursor);
    for (int round = 0; round < 3; round++) {
        const struct store_range left[] = {
            {5, 8}, {12, 20}, {30, 35}, {36, 40}};
        expect_runs(topic, 0, left, 4);
        const struct store_range above[] = {{15, 20}, {30, 35}, {36, 40}};
        expect_runs(topic, 15, above, 3);
        expect_runs(topic, 22, above + 1, 2);
        expect_runs(topic, 40, NULL, 0);
        topic = again(&world, round);
    }
    world_deliver(topic, 33, 0);
    const struct store_range rest[] = {{33, 40}};
    expect_runs(topic, 0, rest, 1);
    world_deliver(topic, 50, 0);
    expect_none(topic);
    world_end(&world);
}

static void a_move_forgets_them(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = filled(&world);
    for (int round = 0; round < 4; round++) {
        const struct store_range runs[] = {{100, 200}, {300, 400}};
        uint64_t end = topic->bounds.end;
        world_fill(&world, topic, end, end + 1, 10); /* so there is room */
        store_acked_add(topic, 100, 200);
        store_acked_add(topic, 300, 400);
        expect_runs(topic, 0, runs, 2);
        struct store_wait wait;
        store_wait_init(&wait, DURABILITY_DISK);
        store_cursor_move(topic, 50, &wait.op);
        expect_none(topic); /* at once */
        assert_int_equal(store_wait_run(world.io, &wait), ERR_OK);
        expect_none(topic);
        if (round < 2) {
            topic = again(&world, round);
            expect_none(topic);
        }
        store_acked_add(topic, 120, 130);
        const struct store_range other[] = {{120, 130}};
        expect_runs(topic, 0, other, 1);
        topic = again(&world, round);
        expect_runs(topic, 0, other, 1);
        assert_int_equal(world_move(&world, topic, 20), ERR_OK);
    }
    world_end(&world);
}

static void a_purge_leaves_those_above_it(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = filled(&world);
    store_acked_add(topic, 100, 200);
    store_acked_add(topic, 300, 400);
    for (int round = 0; round < 3; round++) {
        const struct store_range runs[] = {{150, 200}, {300, 400}};
        if (round == 0) {
            assert_int_equal(world_purge(&world, topic, 150), ERR_OK);
        }
        expect_runs(topic, 0, runs, 2);
        topic = again(&world, round);
    }
    assert_int_equal(world_purge(&world, topic, MESSAGES), ERR_OK);
    expect_none(topic);
    topic = again(&world, 0);
    expect_none(topic);
    assert_int_equal(topic->cursor.next, MESSAGES);
    world_end(&world);
}

static void views_have_their_own(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = filled(&world);
    const struct store_range runs[] = {{10, 20}, {2000, 2001}};
    const struct store_range other[] = {{15, 25}};
    struct store_retention none = {0};
    struct store_topic *view = NULL;
    assert_int_equal(store_view_open(topic, STR("v"), true, &view), ERR_OK);
    assert_int_equal(world_configure(&world, view, STR("x\n"), &none), ERR_OK);
    assert_int_equal(world_move(&world, view, 0), ERR_OK);
    store_acked_add(topic, 15, 25);
    store_acked_add(view, 10, 20);
    store_acked_add(view, 2000, 2001);
    for (int round = 0; round < 3; round++) {
        expect_runs(topic, 0, other, 1);
        expect_runs(view, 0, runs, 2);
        topic = again(&world, round);
        assert_int_equal(store_view_open(topic, STR("v"), false, &view),
                         ERR_OK);
    }
    assert_int_equal(world_purge(&world, topic, 22), ERR_OK);
    const struct store_range left[] = {{22, 25}};
    expect_runs(topic, 0, left, 1);
    expect_runs(view, 0, runs + 1, 1);
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_view_delete(view, &wait.op);
    assert_int_equal(store_wait_run(world.io, &wait), ERR_OK);
    topic = again(&world, 0);
    expect_runs(topic, 0, left, 1);
    assert_int_equal(store_view_open(topic, STR("v"), true, &view), ERR_OK);
    expect_none(view);
    world_end(&world);
}

static void another_topic_of_the_name_has_none(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = filled(&world);
    store_acked_add(topic, 10, 20);
    assert_int_equal(world_delete(&world, topic), ERR_OK);
    topic = filled(&world);
    for (int round = 0; round < 3; round++) {
        expect_none(topic);
        topic = again(&world, round);
    }
    world_end(&world);
}

static void what_is_noted_can_grow_at_any_time(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = filled(&world);
    for (uint64_t i = 0; i < 12; i++) {
        uint64_t end = 200 * (i + 1);
        store_acked_add(topic, end - 100, end);
        world_deliver(topic, 8 * i, 0);
        topic = again(&world, (int)i);
        struct store_range run = {0};
        uint64_t count = 0;
        while (store_acked_next(topic, run.end, &run)) {
            count++;
            assert_int_equal(run.first, 200 * count - 100);
            assert_int_equal(run.end, 200 * count);
        }
        assert_int_equal(count, i + 1);
    }
    world_end(&world);
}

const struct loop_test store_contract_acked_tests[] = {
    LOOP_TEST(any_number_of_runs_is_kept),
    LOOP_TEST(what_a_cursor_says_is_not_repeated),
    LOOP_TEST(a_move_forgets_them),
    LOOP_TEST(a_purge_leaves_those_above_it),
    LOOP_TEST(views_have_their_own),
    LOOP_TEST(another_topic_of_the_name_has_none),
    LOOP_TEST(what_is_noted_can_grow_at_any_time),
};
const size_t store_contract_acked_count =
    sizeof(store_contract_acked_tests) / sizeof(store_contract_acked_tests[0]);
