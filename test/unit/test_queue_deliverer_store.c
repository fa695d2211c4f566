/* Tests of queue/deliverer: a store whose records are slow, damaged or gone,
 * and what idle topics cost.
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

static void lost_messages_are_passed_over(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    struct topic *topic = scene_make_topic();
    struct topic *last = scene_make_topic();

    scene_push_to(topic, target_port(target), 5);
    scene_push_to(last, target_port(target), 1);
    LOOP_UNTIL(scene.io, scene.pushed == 6);
    store_memory_lose(topic->store, 1);
    store_memory_lose(topic->store, 2);
    store_memory_lose(last->store, 0);
    scene_attach(topic);
    scene_attach(last);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 5);
    assert_int_equal(target_count(target), 3);
    assert_int_equal(target_at(target, 1)->sequence, 3);
    assert_int_equal(target_at(target, 1)->previous, 2);
    scene_push_to(last, target_port(target), 1);
    LOOP_UNTIL(scene.io, scene_next_of(last) == 2);
    target_stop(target);
    scene_finish();
}

static void delivery_goes_on_behind_what_retention_took(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    struct topic *topic = scene_make_topic();

    scene_push_to(topic, target_port(target), 6);
    LOOP_UNTIL(scene.io, scene.pushed == 6);
    store_memory_trim(topic->store, 4);
    scene_attach(topic);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 6);
    assert_int_equal(target_count(target), 2);
    assert_int_equal(target_at(target, 0)->sequence, 4);
    target_stop(target);
    scene_finish();
}

static void records_that_wait_for_the_disk_are_delivered(void **state)
{
    scene_begin(state);
    scene.options.in_flight_max = 16;
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    int topics = 3 * DELIVERER_READING_MAX;

    store_memory_cold(scene.store, true);
    for (int i = 0; i < topics; i++) {
        scene_push_to(scene_make_topic(), target_port(target), 4);
    }
    LOOP_UNTIL(scene.io, scene.pushed == (uint32_t)topics * 4);
    for (int i = 0; i < topics; i++) {
        scene_attach(scene.topics[i]);
    }
    deliverer_detach(scene.topics[0]); /* while it reads, or waits to */
    LOOP_TURNS(scene.io, 1);
    deliverer_detach(scene.topics[1]);
    LOOP_UNTIL(scene.io, deliverer_stats(scene.deliverer)->delivered ==
                             (uint64_t)(topics - 2) * 4);
    for (int i = 2; i < topics; i++) {
        assert_int_equal(scene_next_of(scene.topics[i]), 4);
    }
    assert_int_equal(scene.deliverer->reading, 0);
    target_stop(target);
    scene_finish();
}

static void those_that_need_no_disk_strand_nobody(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    int topics = 4 * DELIVERER_READING_MAX;

    for (int i = 0; i < topics; i++) {
        scene_push_to(scene_make_topic(), target_port(target), 1);
    }
    LOOP_UNTIL(scene.io, scene.pushed == (uint32_t)topics);
    store_memory_cold(scene.store, true);
    for (int i = 0; i < topics; i++) {
        scene_attach(scene.topics[i]);
    }
    for (int i = 0; i < 10 && list_empty(&scene.deliverer->starved); i++) {
        LOOP_TURNS(scene.io, 1);
    }
    assert_false(list_empty(&scene.deliverer->starved));
    assert_int_equal(scene.deliverer->reading, DELIVERER_READING_MAX);
    store_memory_cold(scene.store, false); /* all others read at once */
    LOOP_UNTIL(scene.io,
               deliverer_stats(scene.deliverer)->delivered == (uint64_t)topics);
    assert_true(list_empty(&scene.deliverer->starved));
    assert_int_equal(scene.deliverer->reading, 0);
    target_stop(target);
    scene_finish();
}

static void failing_reads_are_tried_again_and_not_counted(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    struct topic *topic = scene_make_attached();

    store_memory_fail_reads(scene.store, ERR_IO, 4);
    scene_push_to(topic, target_port(target), 2);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 2);
    assert_int_equal(target_count(target), 2);
    assert_int_equal(target_at(target, 0)->attempt, 1);
    assert_int_equal(topic->stats.attempts, 2);
    target_stop(target);
    scene_finish();
}

static void most_buffers_are_freed_after_a_burst(void **state)
{
    scene_begin(state);
    scene.options.in_flight_max = 256;
    scene.options.endpoint_in_flight_max = 256;
    scene_start();
    struct target *target = scene_make_target(scene_hold, NULL);
    uint32_t with_buffers = 0;

    for (int i = 0; i < 200; i++) {
        scene_push_to(scene_make_attached(), target_port(target), 1);
    }
    LOOP_UNTIL(scene.io, target_count(target) == 200);
    target_release(target, NULL);
    LOOP_UNTIL(scene.io, deliverer_stats(scene.deliverer)->delivered == 200);
    for (uint32_t i = 0; i < 256; i++) {
        const struct outgoing *outgoing = &scene.deliverer->flights[i].outgoing;
        with_buffers += outgoing->head.capacity > 0 ? 1 : 0;
    }
    assert_int_equal(with_buffers, DELIVERER_WARM_MAX);
    assert_int_equal(scene.deliverer->warm, DELIVERER_WARM_MAX);
    target_stop(target);
    scene_finish();
}

static void idle_topics_keep_few_readers_and_little_memory(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);

    for (int i = 0; i < SCENE_TOPICS_MAX; i++) {
        scene_push_to(scene_make_attached(), target_port(target), 1);
    }
    LOOP_UNTIL(scene.io,
               deliverer_stats(scene.deliverer)->delivered == SCENE_TOPICS_MAX);
    assert_true(store_memory_readers(scene.store) <=
                DELIVERER_READERS_IDLE_MAX);
    print_message("struct delivery: %zu bytes, struct flight: %zu bytes\n",
                  sizeof(struct delivery), sizeof(struct flight));
    assert_true(sizeof(struct delivery) <= 840);
    target_stop(target);
    scene_finish();
}

static const struct loop_test tests[] = {
    LOOP_TEST(lost_messages_are_passed_over),
    LOOP_TEST(delivery_goes_on_behind_what_retention_took),
    LOOP_TEST(records_that_wait_for_the_disk_are_delivered),
    LOOP_TEST(those_that_need_no_disk_strand_nobody),
    LOOP_TEST(failing_reads_are_tried_again_and_not_counted),
    LOOP_TEST(most_buffers_are_freed_after_a_burst),
    LOOP_TEST(idle_topics_keep_few_readers_and_little_memory),
};

int main(void)
{
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
