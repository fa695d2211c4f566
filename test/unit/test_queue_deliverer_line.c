/* Tests of queue/deliverer: how many messages of a topic are at one endpoint.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/diag.h"
#include "lib/loop.h"
#include "lib/scene.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_line.h"
#include "queue/retry.h"
#include "sys/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A topic whose messages may go in any order, so many to one endpoint. */
static struct topic *make_topic(uint32_t endpoint_concurrency)
{
    struct topic *topic = scene_make_topic();

    topic->settings.order = SETTINGS_ORDER_NONE;
    topic->settings.endpoint_concurrency = endpoint_concurrency;
    scene_attach(topic);
    return topic;
}

static void assert_nothing_is_held(const struct topic *topic)
{
    assert_int_equal(topic->delivery->waiting, 0);
    assert_int_equal(topic->delivery->slots, 0);
}

static void crowded_endpoint_keeps_nobody_from_others(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *silent = scene_make_target(scene_hold, NULL);
    struct target *good = scene_make_target(NULL, NULL);
    struct topic *topic = make_topic(2);
    struct topic *other = make_topic(3);

    for (int i = 0; i < 50; i++) {
        scene_push_to(topic, target_port(silent), 1);
        scene_push_to(topic, target_port(good), 1);
        scene_push_to(other, target_port(silent), 1);
    }
    LOOP_UNTIL(scene.io, target_count(good) == 50 && target_count(silent) == 5);
    LOOP_TURNS(scene.io, 5);
    assert_int_equal(target_count(silent), 5);
    assert_int_equal(topic->delivery->waiting, 48);
    assert_int_equal(other->delivery->waiting, 47);
    struct delivery_view view;
    deliverer_explain(topic, 98, NULL, &view);
    assert_int_equal(view.state, DELIVERY_CROWDED);
    assert_non_null(strstr(view.endpoint, "http://127.0.0.1:"));
    deliverer_explain(topic, 0, NULL, &view);
    assert_int_equal(view.state, DELIVERY_SENDING);

    target_set_script(silent, NULL, NULL);
    target_release(silent, NULL);
    LOOP_UNTIL(scene.io,
               scene_next_of(topic) == 100 && scene_next_of(other) == 50);
    assert_int_equal(target_most_at_once(silent), 5);
    assert_nothing_is_held(topic);
    assert_nothing_is_held(other);
    target_stop(silent);
    target_stop(good);
    scene_finish();
}

static void another_bound_counts_at_once(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *silent = scene_make_target(scene_hold, NULL);
    struct topic *topic = make_topic(1);

    scene_push_to(topic, target_port(silent), 30);
    LOOP_UNTIL(scene.io, target_count(silent) == 1);
    topic->settings.endpoint_concurrency = 4;
    topic_changed(topic);
    LOOP_UNTIL(scene.io, target_count(silent) == 4);
    topic->settings.endpoint_concurrency = 2;
    topic_changed(topic);
    LOOP_TURNS(scene.io, 5);
    assert_int_equal(target_count(silent), 4);
    topic->settings.endpoint_concurrency = 0;
    topic_changed(topic);
    LOOP_UNTIL(scene.io, target_count(silent) == 16); /* all that it may have */
    topic->settings.endpoint_concurrency = 3;
    topic_changed(topic);
    target_set_script(silent, NULL, NULL);
    target_release(silent, NULL);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 30);
    assert_nothing_is_held(topic);
    target_stop(silent);
    scene_finish();
}

static void place_is_free_during_back_off(void **state)
{
    scene_begin(state);
    scene.options.retry_first_ms = 600000;
    scene.options.retry_max_ms = 600000;
    scene_start();
    uint64_t failures = 1;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    struct topic *topic = make_topic(1);

    scene_push_to(topic, target_port(target), 20);
    LOOP_UNTIL(scene.io, topic->stats.attempts_failed == 20);
    assert_int_equal(target_most_at_once(target), 1);
    assert_nothing_is_held(topic);
    target_stop(target);
    scene_finish();
}

static void moved(struct store_op *op, enum err err)
{
    (void)op;
    assert_int_equal(err, ERR_OK);
}

/* However many wait for one target, those to another go. */
static void those_that_wait_for_long_are_set_aside(void **state)
{
    enum { MANY = 3000 };
    scene_begin(state);
    scene_start();
    struct target *silent = scene_make_target(scene_hold, NULL);
    struct target *good = scene_make_target(NULL, NULL);
    struct topic *topic = make_topic(1);
    const struct window *window = &topic->delivery->window;

    scene_push_to(topic, target_port(silent), MANY);
    scene_push_to(topic, target_port(good), 10);
    LOOP_UNTIL(scene.io, target_count(good) == 10);
    LOOP_TURNS(scene.io, 20);
    assert_int_equal(topic->delivery->waiting, DELIVERER_LINE_MAX);
    assert_int_equal(window->parcel_count, DELIVERER_LINE_MAX + 1);
    assert_int_equal(window->aside.count, MANY - 1 - DELIVERER_LINE_MAX);
    assert_int_equal(window->scan, MANY + 10);
    struct delivery_view view;
    deliverer_explain(topic, MANY + 5, NULL, &view);
    assert_int_equal(view.state, DELIVERY_IDLE);
    deliverer_explain(topic, MANY - 1, NULL, &view);
    assert_int_equal(view.state, DELIVERY_WAITING);
    target_set_script(silent, NULL, NULL);
    target_release(silent, NULL);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == MANY + 10);
    assert_int_equal(target_most_at_once(silent), 1);
    assert_int_equal(target_count(silent), MANY);
    assert_int_equal(target_count(good), 10);
    assert_int_equal(window->aside.count, 0);
    assert_int_equal(topic->delivery->lines.count, 0);
    target_stop(silent);
    target_stop(good);
    scene_finish();
}

static char last_line[512];

static void keep_line(void *context, const char *line, size_t size)
{
    (void)context;
    (void)snprintf(last_line, sizeof(last_line), "%.*s", (int)size, line);
}

/* What is said of a message aside that cannot be read names that one. */
static void message_aside_that_cannot_be_read_is_told(void **state)
{
    enum { MANY = 300 };
    struct diag_sink sink = {.write = keep_line, .now_ms = clock_wall_ms};
    scene_begin(state);
    scene_start();
    struct target *silent = scene_make_target(scene_hold, NULL);
    struct topic *topic = make_topic(1);

    scene_push_to(topic, target_port(silent), MANY);
    LOOP_UNTIL(scene.io, topic->delivery->window.scan == MANY);
    LOOP_UNTIL(scene.io, target_count(silent) == 1);
    store_memory_fail_reads(scene.store, ERR_IO, 1);
    last_line[0] = '\0';
    diag_set_sink(&sink);
    topic_changed(topic); /* so all aside are looked at */
    LOOP_UNTIL(scene.io, last_line[0] != '\0');
    diag_set_sink(NULL);
    assert_non_null(
        strstr(last_line, " delivery_unreadable topic=t0 seq=257 "));
    target_set_script(silent, NULL, NULL);
    target_release(silent, NULL);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == MANY);
    target_stop(silent);
    scene_finish();
}

/* A cursor that is moved takes what is aside along. */
static void what_is_aside_goes_with_its_window(void **state)
{
    enum { MANY = 2000 };
    static struct store_op move;
    scene_begin(state);
    scene_start();
    struct target *silent = scene_make_target(scene_hold, NULL);
    struct topic *topic = make_topic(1);
    const struct window *window = &topic->delivery->window;

    scene_push_to(topic, target_port(silent), MANY);
    LOOP_UNTIL(scene.io, window->scan == MANY);
    move.done = moved;
    store_cursor_move(topic->store, MANY - 10, &move);
    topic_changed(topic);
    LOOP_TURNS(scene.io, 5);
    assert_int_equal(window->aside.count, 0);
    target_set_script(silent, NULL, NULL);
    target_release(silent, NULL);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == MANY);
    assert_int_equal(target_count(silent), 11);
    target_stop(silent);
    scene_finish();
}

/* One that is moved while messages are dropped goes where it was moved to. */
static void what_was_purged_hides_no_move(void **state)
{
    enum { MANY = 100 };
    static struct store_op purge;
    static struct store_op move;
    scene_begin(state);
    scene_start();
    struct target *silent = scene_make_target(scene_hold, NULL);
    struct topic *topic = make_topic(1);

    scene_push_to(topic, target_port(silent), MANY);
    LOOP_UNTIL(scene.io, target_count(silent) == 1);
    purge.done = move.done = moved;
    store_purge(topic->store, 20, &purge);
    store_cursor_move(topic->store, MANY - 10, &move);
    topic_changed(topic);
    LOOP_TURNS(scene.io, 5);
    assert_int_equal(window_floor(&topic->delivery->window), MANY - 10);
    target_set_script(silent, NULL, NULL);
    target_release(silent, NULL);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == MANY);
    assert_int_equal(target_count(silent), 11);
    target_stop(silent);
    scene_finish();
}

static void crowd_ends_with_its_delivery(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *silent = scene_make_target(scene_hold, NULL);
    struct topic *topic = make_topic(2);
    static struct store_op move;

    scene_push_to(topic, target_port(silent), 20);
    LOOP_UNTIL(scene.io, target_count(silent) == 2);
    deliverer_detach(topic);
    scene_attach(topic);
    LOOP_UNTIL(scene.io, target_count(silent) == 4);
    assert_int_equal(topic->delivery->waiting, 18);
    move.done = moved;
    store_cursor_move(topic->store, 5, &move);
    topic_changed(topic);
    LOOP_TURNS(scene.io, 5);
    assert_int_equal(topic->delivery->waiting,
                     0); /* those in flight end first */
    target_set_script(silent, NULL, NULL);
    target_release(silent, NULL);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 20);
    assert_int_equal(target_count(silent), 4 + 15);
    assert_nothing_is_held(topic);
    target_stop(silent);
    scene_finish();
}

/* Fail now and then. */
static enum target_act fail_some(void *context,
                                 const struct target_request *request,
                                 struct str body,
                                 struct buf *answer)
{
    struct retry_random *random = context;

    (void)request;
    (void)body;
    if (retry_random_next(random) % 4 == 0) {
        buf_append_c(answer, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    }
    return TARGET_ANSWER;
}

/* Keep the most that an endpoint has in flight. */
static void note_most(void *context, const struct target_view *view)
{
    uint32_t *most = context;

    if (view->endpoint.in_flight > *most) {
        *most = view->endpoint.in_flight;
    }
}

static void bound_holds_whatever_happens(void **state)
{
    enum { TARGETS = 5, MESSAGES = 1500, BOUND = 3 };
    scene_begin(state);
    scene_start();
    struct retry_random random = {.state = 1};
    struct target *targets[TARGETS];
    struct topic *topic = make_topic(BOUND);
    uint32_t most = 0;

    for (int i = 0; i < TARGETS; i++) {
        targets[i] = scene_make_target(fail_some, &random);
    }
    for (int i = 0; i < MESSAGES; i++) {
        scene_push_to(
            topic, target_port(targets[retry_random_next(&random) % TARGETS]),
            1);
    }
    while (scene_next_of(topic) < MESSAGES) {
        LOOP_TURNS(scene.io, 1);
        deliverer_each_target(scene.deliverer, note_most, &most);
        io_run_turn(scene.io, 1);
        deliverer_each_target(scene.deliverer, note_most, &most);
        uint64_t what = retry_random_next(&random) % 50;
        if (what < 3) {
            topic->settings.paused = what == 0;
            topic_changed(topic);
        } else if (what == 3) {
            topic->settings.paused = false;
            deliverer_detach(topic);
            scene_attach(topic);
        }
        topic->settings.paused = false;
        topic_changed(topic);
    }
    for (int i = 0; i < TARGETS; i++) {
        target_stop(targets[i]);
    }
    assert_int_equal(most, BOUND);
    assert_nothing_is_held(topic);
    scene_finish();
}

static const struct loop_test tests[] = {
    LOOP_TEST(crowded_endpoint_keeps_nobody_from_others),
    LOOP_TEST(another_bound_counts_at_once),
    LOOP_TEST(place_is_free_during_back_off),
    LOOP_TEST(those_that_wait_for_long_are_set_aside),
    LOOP_TEST(message_aside_that_cannot_be_read_is_told),
    LOOP_TEST(what_is_aside_goes_with_its_window),
    LOOP_TEST(what_was_purged_hides_no_move),
    LOOP_TEST(crowd_ends_with_its_delivery),
    LOOP_TEST(bound_holds_whatever_happens),
};

int main(void)
{
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
