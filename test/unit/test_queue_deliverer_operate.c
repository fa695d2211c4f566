/* Tests of queue/deliverer: endpoints as operators see them, and what they say
 * to them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/check.h"
#include "lib/loop.h"
#include "lib/scene.h"
#include "queue/deliverer_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What deliverer_each_target() shows of one endpoint. */
struct sight {
    char name[64];
    struct target_view view;
    uint32_t count; /* how many there are in all */
    bool found;
};

static void see(void *context, const struct target_view *view)
{
    struct sight *sight = context;

    sight->count++;
    if (strcmp(view->name, sight->name) == 0) {
        sight->view = *view;
        sight->found = true;
    }
}

static void write_name(char name[64], uint16_t port)
{
    (void)snprintf(name, 64, "http://127.0.0.1:%u", (unsigned)port);
}

static struct sight look(uint16_t port)
{
    struct sight sight = {0};

    write_name(sight.name, port);
    deliverer_each_target(scene.deliverer, see, &sight);
    return sight;
}

static struct target_change renew(uint16_t port)
{
    struct target_change change;
    char name[64];

    write_name(name, port);
    assert_int_equal(
        deliverer_target_renew(scene.deliverer, str_from(name), &change),
        ERR_OK);
    return change;
}

static void begin_slow(void **state)
{
    scene_begin(state);
    scene.options.retry_first_ms = 600000;
    scene.options.retry_max_ms = 600000;
    scene_start();
}

static void endpoint_is_seen_with_what_waits_for_it(void **state)
{
    begin_slow(state);
    uint64_t failures = 1;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    uint16_t port = target_port(target);
    struct topic *first = scene_make_attached();
    struct topic *second = scene_make_attached();

    assert_int_equal(look(port).count, 0);
    scene_push_to(first, port, 5);
    scene_push_to(second, port, 7);
    LOOP_UNTIL(scene.io, first->stats.attempts_failed == 1 &&
                             second->stats.attempts_failed == 1);
    struct sight sight = look(port);
    assert_true(sight.found);
    assert_int_equal(sight.count, 1);
    assert_int_equal(sight.view.backlog, 12);
    assert_int_equal(sight.view.topics, 2);
    assert_int_equal(sight.view.endpoint.resting, 2);
    assert_int_equal(sight.view.endpoint.state, ENDPOINT_CLOSED);
    assert_int_equal(sight.view.endpoint.last_status, 500);
    assert_int_equal(sight.view.latency->count, 2);
    assert_int_equal(sight.view.released.count, 0);

    /* What is paused is not on its way. */
    second->settings.paused = true;
    topic_changed(second);
    sight = look(port);
    assert_int_equal(sight.view.backlog, 6);
    assert_int_equal(sight.view.endpoint.resting, 1);
    target_stop(target);
    scene_finish();
}

static void renewed_endpoint_gets_what_backs_off_at_once(void **state)
{
    begin_slow(state);
    uint64_t failures = 1;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    struct target *other = scene_make_target(scene_fail_first, &failures);
    uint16_t port = target_port(target);
    struct topic *first = scene_make_attached();
    struct topic *second = scene_make_topic();
    struct topic *third = scene_make_attached();
    struct topic *paused = scene_make_attached();

    second->settings.order = SETTINGS_ORDER_NONE;
    scene_attach(second);
    scene_push_to(first, port, 3);
    scene_push_to(second, port, 4);
    scene_push_to(third, target_port(other), 1);
    scene_push_to(paused, port, 1);
    LOOP_UNTIL(scene.io, first->stats.attempts_failed == 1 &&
                             second->stats.attempts_failed == 4 &&
                             third->stats.attempts_failed == 1 &&
                             paused->stats.attempts_failed == 1);
    paused->settings.paused = true;
    topic_changed(paused);
    failures = 0;
    struct target_change change = renew(port);
    assert_int_equal(change.woken, 5);
    assert_int_equal(change.backlog, 7 + 1);
    assert_int_equal(change.eta_ms, 0);
    uint32_t before = target_count(target);
    LOOP_UNTIL(scene.io,
               scene_next_of(first) == 3 && scene_next_of(second) == 4);
    /* Of a topic the lowest goes first, however many were woken. */
    uint64_t expected = 0;
    for (uint32_t i = before; i < target_count(target); i++) {
        const struct target_request *request = target_at(target, i);
        if (strcmp(request->topic, "t1") == 0) {
            assert_int_equal(request->sequence, expected);
            expected++;
        }
    }
    assert_int_equal(expected, 4);
    assert_int_equal(third->stats.attempts, 1);
    assert_int_equal(paused->stats.attempts, 1);
    assert_int_equal(deliverer_stats(scene.deliverer)->backing_off, 1);
    target_stop(target);
    target_stop(other);
    scene_finish();
}

static bool is_open(uint16_t port)
{
    return look(port).view.endpoint.state == ENDPOINT_OPEN;
}

static void renewed_endpoint_is_open_no_more(void **state)
{
    begin_slow(state);
    uint16_t port = target_dead_port();

    for (int i = 0; i < 5; i++) {
        scene_push_to(scene_make_attached(), port, 1);
    }
    LOOP_UNTIL(scene.io, is_open(port));
    for (int i = 0; i < 3; i++) {
        scene_push_to(scene_make_attached(), port, 1);
    }
    LOOP_UNTIL(scene.io, look(port).view.endpoint.waiting == 3);
    struct sight sight = look(port);
    assert_true(sight.view.until_ms >= io_wall_ms(scene.io));
    for (int i = 0; i < 8; i++) {
        struct delivery_view view = scene_view_of(scene.topics[i]);
        /* Of those that failed the back-off is longer. */
        assert_int_equal(view.state, i < 5 ? DELIVERY_BACKOFF : DELIVERY_OPEN);
        assert_int_equal(view.attempts, i < 5 ? 1 : 0);
        if (i >= 5) {
            assert_in_range(view.until_ms, sight.view.until_ms - 5,
                            sight.view.until_ms + 5);
        }
    }
    struct target_change change = renew(port);
    assert_int_equal(change.woken, 5);
    assert_int_equal(look(port).view.endpoint.state, ENDPOINT_CLOSED);
    LOOP_UNTIL(scene.io, scene.topics[7]->stats.attempts_failed == 1);
    scene_finish();
}

static void caught_up_endpoint_gets_no_more_than_its_rate(void **state)
{
    begin_slow(state);
    uint64_t failures = 1;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    uint16_t port = target_port(target);
    const struct settings_rate rate = {.count = 1, .period_ms = 20};
    const struct settings_rate all = {.count = 3, .period_ms = 20};
    const struct settings_rate none = {0};
    struct target_change change;
    char name[64];

    for (int i = 0; i < 10; i++) {
        scene_push_to(scene_make_attached(), port, 1);
    }
    LOOP_UNTIL(scene.io, look(port).view.endpoint.resting == 10);
    write_name(name, port);
    uint64_t begun_ms = io_now_ms(scene.io);
    assert_int_equal(deliverer_target_catch_up(scene.deliverer, str_from(name),
                                               &rate, &all, &change),
                     ERR_OK);
    assert_int_equal(change.woken, 10);
    assert_int_equal(change.backlog, 10);
    assert_int_equal(change.eta_ms, 200);
    assert_int_equal(look(port).view.released.count, 3);
    LOOP_UNTIL(scene.io, target_count(target) == 13);
    assert_true(io_now_ms(scene.io) >= begun_ms + 40);
    bool told = false;
    for (uint32_t i = 0; i < scene.topic_count; i++) {
        struct delivery_view view = scene_view_of(scene.topics[i]);
        told =
            told || (view.state == DELIVERY_WAITING && view.limit.count == 3);
    }
    assert_true(told);
    assert_int_equal(deliverer_target_catch_up(scene.deliverer, str_from(name),
                                               &none, &none, &change),
                     ERR_OK);
    assert_int_equal(change.woken, 0);
    assert_int_equal(look(port).view.released.count, 0);
    LOOP_UNTIL(scene.io, deliverer_stats(scene.deliverer)->delivered == 10);
    target_stop(target);
    scene_finish();
}

static void unknown_endpoint_is_told_so(void **state)
{
    scene_begin(state);
    scene_start();
    struct target_change change = {.woken = 77};
    const struct settings_rate rate = {.count = 1, .period_ms = 1000};

    for (int i = 0; i < 2; i++) {
        assert_int_equal(deliverer_target_renew(scene.deliverer,
                                                STR("http://127.0.0.1:1"),
                                                &change),
                         ERR_NOT_FOUND);
        assert_int_equal(deliverer_target_catch_up(scene.deliverer,
                                                   STR("http://127.0.0.1:1"),
                                                   &rate, &rate, &change),
                         ERR_NOT_FOUND);
        assert_int_equal(change.woken, 77);
        scene_push_to(scene_make_attached(), target_dead_port(), 1);
        LOOP_UNTIL(scene.io, scene.topics[i]->stats.attempts_failed == 1);
    }
    scene_finish();
}

static void
endpoint_that_failed_is_known_for_a_while_others_are_not(void **state)
{
    begin_slow(state);
    struct target *good = scene_make_target(NULL, NULL);
    uint16_t dead_port = target_dead_port();
    struct topic *topic = scene_make_attached();
    struct topic *other = scene_make_attached();

    scene_push_to(topic, dead_port, 1);
    scene_push_to(other, target_port(good), 1);
    LOOP_UNTIL(scene.io,
               topic->stats.attempts_failed == 1 && scene_next_of(other) == 1);
    assert_int_equal(look(dead_port).count, 2);
    deliverer_detach(topic);
    deliverer_detach(other);
    struct sight sight = look(dead_port);
    assert_true(sight.found);
    assert_int_equal(sight.count, 1);
    assert_int_equal(sight.view.endpoint.last_err, ERR_REFUSED);
    assert_int_equal(sight.view.backlog, 0);
    assert_int_equal(sight.view.topics, 0);

    struct deliverer_targets *targets = &scene.deliverer->targets;
    assert_int_equal(targets->unused_count, 1);
    scene_attach(topic); /* it is the same one that comes back */
    LOOP_UNTIL(scene.io, topic->stats.attempts_failed == 2);
    assert_int_equal(targets->unused_count, 0);
    assert_int_equal(look(dead_port).view.endpoint.failures, 2);
    deliverer_detach(topic);
    assert_int_equal(targets->unused_count, 1);

    /* When the time is over it goes. */
    struct deliverer_target *target =
        CONTAINER_OF(targets->unused.next, struct deliverer_target, unused);
    assert_true(io_timer_running(&target->tick));
    target->tick.expired(&target->tick);
    assert_int_equal(targets->table.count, 1); /* not yet */
    io_timer_stop(scene.io, &target->tick);
    target->unused_ms -= DELIVERER_TARGET_UNUSED_MS;
    target->tick.expired(&target->tick);
    assert_int_equal(targets->table.count, 0);
    assert_int_equal(targets->unused_count, 0);
    target_stop(good);
    scene_finish();
}

static void past_the_bound_the_one_unused_longest_goes(void **state)
{
    begin_slow(state);
    struct deliverer_targets *targets = &scene.deliverer->targets;
    struct deliverer_target *target = NULL;
    struct url url;
    const char *reason = NULL;
    char name[64];

    for (int i = 0; i < DELIVERER_TARGETS_UNUSED_MAX + 10; i++) {
        (void)snprintf(name, sizeof(name), "http://h%d:80", i);
        assert_int_equal(url_parse(str_from(name), &url, &reason), ERR_OK);
        assert_int_equal(
            deliverer_target_acquire(scene.deliverer, &url, &target), ERR_OK);
        target->endpoint.failed_ms = 1;
        deliverer_target_release(target);
    }
    assert_int_equal(targets->table.count, DELIVERER_TARGETS_UNUSED_MAX);
    assert_int_equal(targets->unused_count, DELIVERER_TARGETS_UNUSED_MAX);
    assert_null(deliverer_target_find(scene.deliverer, STR("http://h9:80")));
    assert_non_null(
        deliverer_target_find(scene.deliverer, STR("http://h10:80")));
    scene_finish();
}

static const struct loop_test tests[] = {
    LOOP_TEST(endpoint_is_seen_with_what_waits_for_it),
    LOOP_TEST(renewed_endpoint_gets_what_backs_off_at_once),
    LOOP_TEST(renewed_endpoint_is_open_no_more),
    LOOP_TEST(caught_up_endpoint_gets_no_more_than_its_rate),
    LOOP_TEST(unknown_endpoint_is_told_so),
    LOOP_TEST(endpoint_that_failed_is_known_for_a_while_others_are_not),
    LOOP_TEST(past_the_bound_the_one_unused_longest_goes),
};

int main(void)
{
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
