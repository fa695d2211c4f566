/* Tests of queue/deliverer: what an operator does to it. Replay, pause, drain.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "lib/loop.h"
#include "lib/scene.h"
#include "queue/deliverer_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct store_op move;
static bool move_is_done;
static bool is_drained;

static void op_done(struct store_op *op, enum err err)
{
    (void)op;
    assert_int_equal(err, ERR_OK);
    move_is_done = true;
}

/* Replay from `next` on. */
static void move_cursor(struct topic *topic, uint64_t next)
{
    move_is_done = false;
    move.done = op_done;
    store_cursor_move(topic->store, next, &move);
    topic_changed(topic);
    LOOP_UNTIL(scene.io, move_is_done);
}

static void replay_during_flight_begins_after_it(void **state)
{
    scene_begin(state);
    scene_start();
    uint64_t held = 5;
    struct target *target = scene_make_target(scene_hold_one, &held);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 8);
    LOOP_UNTIL(scene.io, target_count(target) == 6);
    move_cursor(topic, 2);
    LOOP_TURNS(scene.io, 3);
    assert_int_equal(target_count(target), 6);
    assert_int_equal(scene_view_of(topic).state, DELIVERY_SENDING);
    assert_int_equal(scene_view_of(topic).sequence, 2);
    held = UINT64_MAX;
    target_release(target, NULL);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 8);
    static const uint64_t expected[] = {0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7};
    assert_int_equal(target_count(target), 12);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(target_at(target, i)->sequence, expected[i]);
        assert_int_equal(target_at(target, i)->attempt, 1);
    }
    target_stop(target);
    scene_finish();
}

static void replay_ends_a_back_off(void **state)
{
    scene_begin(state);
    scene.options.retry_first_ms = 60000;
    scene.options.retry_max_ms = 60000;
    scene_start();
    uint64_t failures = 1;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 2);
    LOOP_UNTIL(scene.io, topic->stats.attempts_failed == 1);
    failures = 0;
    move_cursor(topic, 1);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 2);
    assert_int_equal(target_count(target), 2);
    assert_int_equal(target_at(target, 1)->sequence, 1);
    assert_int_equal(deliverer_stats(scene.deliverer)->backing_off, 0);
    target_stop(target);
    scene_finish();
}

static void replay_to_the_end_waits_for_the_next_message(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    struct topic *topic = scene_make_topic();

    scene_push_to(topic, target_port(target), 4);
    LOOP_UNTIL(scene.io, scene.pushed == 4);
    topic->settings.paused = true;
    scene_attach(topic);
    move_cursor(topic, 4);
    topic->settings.paused = false;
    topic_changed(topic);
    LOOP_TURNS(scene.io, 3);
    assert_int_equal(target_count(target), 0);
    scene_push_to(topic, target_port(target), 1);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 5);
    assert_int_equal(target_at(target, 0)->sequence, 4);
    target_stop(target);
    scene_finish();
}

static void paused_topic_waits_and_resumes_where_it_was(void **state)
{
    scene_begin(state);
    scene_start();
    uint64_t held = 2;
    struct target *target = scene_make_target(scene_hold_one, &held);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 6);
    LOOP_UNTIL(scene.io, target_count(target) == 3);
    topic->settings.paused = true;
    topic_changed(topic);
    held = UINT64_MAX;
    target_release(target, NULL);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 3); /* its outcome counts */
    scene_push_to(topic, target_port(target), 1);
    LOOP_TURNS(scene.io, 5);
    assert_int_equal(target_count(target), 3);
    assert_int_equal(scene_view_of(topic).state, DELIVERY_PAUSED);
    topic->settings.paused = false;
    topic_changed(topic);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 7);
    for (uint32_t i = 0; i < 7; i++) {
        assert_int_equal(target_at(target, i)->sequence, i);
    }
    target_stop(target);
    scene_finish();
}

static void drained(void *context)
{
    assert_ptr_equal(context, &scene);
    is_drained = true;
}

static void drain_finishes_what_is_in_flight_and_begins_nothing(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(scene_hold, NULL);
    struct topic *topic = scene_make_attached();
    struct topic *other = scene_make_attached();

    scene_push_to(topic, target_port(target), 3);
    LOOP_UNTIL(scene.io, target_count(target) == 1);
    is_drained = false;
    deliverer_drain(scene.deliverer, drained, &scene);
    scene_push_to(other, target_port(target), 1);
    LOOP_TURNS(scene.io, 5);
    assert_false(is_drained);
    assert_int_equal(scene_view_of(other).state, DELIVERY_STOPPED);
    target_release(target, NULL);
    LOOP_UNTIL(scene.io, is_drained);
    LOOP_TURNS(scene.io, 3);
    assert_int_equal(target_count(target), 1);
    assert_int_equal(scene_next_of(topic), 1);
    assert_int_equal(scene_view_of(topic).state, DELIVERY_STOPPED);
    target_stop(target);
    scene_finish();
}

static void drained_may_destroy_the_deliverer(void *context)
{
    for (uint32_t i = 0; i < scene.topic_count; i++) {
        deliverer_detach(scene.topics[i]);
    }
    deliverer_destroy(scene.deliverer);
    scene.deliverer = NULL;
    drained(context);
}

static void idle_deliverer_is_drained_at_once(void **state)
{
    scene_begin(state);
    scene_start();
    (void)scene_make_attached();
    is_drained = false;
    deliverer_drain(scene.deliverer, drained_may_destroy_the_deliverer, &scene);
    assert_false(is_drained); /* never from inside the call */
    LOOP_UNTIL(scene.io, is_drained);
    scene_finish();
}

static void cut_gives_up_what_is_in_flight(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(scene_hold, NULL);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 3);
    LOOP_UNTIL(scene.io, target_count(target) == 1);
    is_drained = false;
    deliverer_drain(scene.deliverer, drained, &scene);
    deliverer_cut(scene.deliverer);
    LOOP_UNTIL(scene.io, is_drained);
    assert_int_equal(scene_next_of(topic), 0);
    assert_int_equal(topic->store->cursor.attempts, 0);
    assert_int_equal(deliverer_stats(scene.deliverer)->in_flight, 0);
    target_stop(target);
    scene_finish();
}

static void detached_topic_is_sent_again_when_attached(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(scene_hold, NULL);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 1);
    LOOP_UNTIL(scene.io, target_count(target) == 1);
    deliverer_detach(topic);
    assert_null(topic->delivery);
    assert_null(topic->changed);
    assert_int_equal(scene_view_of(topic).state, DELIVERY_STOPPED);
    deliverer_detach(topic);
    target_set_script(target, NULL, NULL);
    scene_attach(topic);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    assert_int_equal(target_count(target), 2);
    assert_int_equal(target_at(target, 1)->attempt, 1);
    target_stop(target);
    scene_finish();
}

static void attempts_outlive_the_deliverer(void **state)
{
    scene_begin(state);
    scene.options.retry_first_ms = 10000;
    scene.options.retry_max_ms = 10000;
    scene_start();
    uint64_t failures = 2;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 1);
    for (uint64_t i = 1; i <= 2; i++) {
        LOOP_UNTIL(scene.io, topic->stats.attempts_failed == i);
        deliverer_detach(topic);
        deliverer_destroy(scene.deliverer);
        scene_start();
        scene_attach(topic);
    }
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    assert_int_equal(target_count(target), 3);
    assert_int_equal(target_at(target, 2)->attempt, 3);
    target_stop(target);
    scene_finish();
}

static const struct loop_test tests[] = {
    LOOP_TEST(replay_during_flight_begins_after_it),
    LOOP_TEST(replay_ends_a_back_off),
    LOOP_TEST(replay_to_the_end_waits_for_the_next_message),
    LOOP_TEST(paused_topic_waits_and_resumes_where_it_was),
    LOOP_TEST(drain_finishes_what_is_in_flight_and_begins_nothing),
    LOOP_TEST(idle_deliverer_is_drained_at_once),
    LOOP_TEST(cut_gives_up_what_is_in_flight),
    LOOP_TEST(detached_topic_is_sent_again_when_attached),
    LOOP_TEST(attempts_outlive_the_deliverer),
};

int main(void)
{
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
