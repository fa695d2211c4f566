/* Tests of queue/deliverer: what is sent, in which order, and what happens when
 * it fails. Real sockets to scripted targets on the same loop, messages in a
 * store in memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/diag.h"
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

static void messages_arrive_in_order_one_at_a_time(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 150);
    LOOP_UNTIL(scene.io, scene.pushed == 150);
    scene_push_to(topic, target_port(target), 150);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 300);
    assert_int_equal(target_count(target), 300);
    for (uint32_t i = 0; i < 300; i++) {
        const struct target_request *request = target_at(target, i);
        assert_string_equal(request->topic, "t0");
        assert_int_equal(request->sequence, i);
        assert_int_equal(request->attempt, 1);
        assert_true(request->previous == (i == 0 ? UINT64_MAX : i - 1));
        assert_int_equal(request->body_size, 5);
    }
    assert_int_equal(target_most_at_once(target), 1);
    assert_int_equal(target_connections(target), 1);
    assert_int_equal(deliverer_stats(scene.deliverer)->delivered, 300);
    assert_int_equal(deliverer_stats(scene.deliverer)->in_flight, 0);
    assert_int_equal(deliverer_stats(scene.deliverer)->attempt_us.count, 300);
    assert_int_equal(topic->stats.delivered, 300);
    assert_int_equal(scene_view_of(topic).state, DELIVERY_IDLE);
    target_stop(target);
    scene_finish();
}

static void delivery_begins_at_the_cursor(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    struct topic *topic = scene_make_topic();
    struct store_cursor cursor = {.next = 3, .attempts = 4};

    scene_push_to(topic, target_port(target), 5);
    LOOP_UNTIL(scene.io, scene.pushed == 5);
    store_cursor_store(topic->store, &cursor);
    scene_attach(topic);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 5);
    assert_int_equal(target_count(target), 2);
    assert_int_equal(target_at(target, 0)->sequence, 3);
    assert_int_equal(target_at(target, 0)->attempt, 5);
    assert_int_equal(target_at(target, 1)->sequence, 4);
    assert_int_equal(target_at(target, 1)->attempt, 1);
    target_stop(target);
    scene_finish();
}

static void failing_message_is_tried_until_accepted(void **state)
{
    scene_begin(state);
    scene_start();
    uint64_t failures = 7;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 3);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 3);
    /* The fifth comes twice: a kept connection that closes without a word is
     * no answer, so the client asks once more on a fresh one. */
    static const uint64_t attempts[] = {1, 2, 3, 4, 5, 5, 6, 7, 8};
    assert_int_equal(target_count(target), 27);
    for (uint32_t i = 0; i < 27; i++) {
        assert_int_equal(target_at(target, i)->sequence, i / 9);
        assert_int_equal(target_at(target, i)->attempt, attempts[i % 9]);
    }
    const struct deliverer_stats *stats = deliverer_stats(scene.deliverer);
    assert_int_equal(stats->attempts, 24);
    assert_int_equal(stats->delivered, 3);
    assert_int_equal(stats->failed_by_status[5], 6);
    assert_int_equal(stats->failed_by_status[4], 9);
    assert_int_equal(stats->failed_by_status[3], 3);
    assert_int_equal(
        stats->failed_by_err[ERR_CLOSED] + stats->failed_by_err[ERR_RESET], 3);
    assert_int_equal(topic->stats.attempts_failed, 21);
    assert_int_equal(stats->backing_off, 0);
    target_stop(target);
    scene_finish();
}

static struct {
    int blocked;
    int recovered;
    char last[512]; /* the last line that says "blocked" */
} lines;

static void count_line(void *context, const char *line, size_t size)
{
    (void)context;
    struct str text = {line, size};
    char copy[512];

    (void)snprintf(copy, sizeof(copy), "%.*s", STR_ARG(text));
    if (strstr(copy, " warn delivery_blocked ") != NULL) {
        lines.blocked++;
        memcpy(lines.last, copy, sizeof(copy));
    } else if (strstr(copy, " info delivery_recovered ") != NULL) {
        lines.recovered++;
    } else {
        fail_msg("%s", copy);
    }
}

static void
blocked_topic_is_told_at_each_doubling_and_when_it_recovers(void **state)
{
    scene_begin(state);
    scene_start();
    uint64_t failures = 9;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    struct topic *topic = scene_make_attached();
    struct diag_sink sink = {.write = count_line, .now_ms = clock_wall_ms};

    memset(&lines, 0, sizeof(lines));
    diag_set_sink(&sink);
    scene_push_to(topic, target_port(target), 1);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    failures = 0;
    scene_push_to(topic, target_port(target), 20);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 21);
    diag_set_sink(NULL);
    assert_int_equal(lines.blocked, 4); /* 1, 2, 4, 8 */
    assert_int_equal(lines.recovered, 1);
    assert_non_null(strstr(lines.last, " topic=t0 seq=0 attempts=8 "));
    assert_non_null(strstr(lines.last, " class=http_3xx status=302 "));
    target_stop(target);
    scene_finish();
}

static void back_off_doubles_and_can_be_seen(void **state)
{
    scene_begin(state);
    scene.options.retry_first_ms = 20;
    scene.options.retry_max_ms = 80;
    scene_start();
    uint64_t failures = 4;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(target), 1);
    LOOP_UNTIL(scene.io, topic->stats.attempts_failed == 1);
    struct delivery_view view = scene_view_of(topic);
    assert_int_equal(view.state, DELIVERY_BACKOFF);
    assert_int_equal(view.sequence, 0);
    assert_int_equal(view.attempts, 1);
    assert_string_equal(view.last_class, "http_5xx");
    assert_int_equal(view.last_status, 500);
    assert_true(view.until_ms > io_wall_ms(scene.io));
    assert_true(view.until_ms <= io_wall_ms(scene.io) + 24);
    assert_non_null(strstr(view.endpoint, "http://127.0.0.1:"));
    assert_int_equal(deliverer_stats(scene.deliverer)->backing_off, 1);
    assert_int_equal(topic->store->cursor.attempts, 1);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    static const uint64_t least_ms[] = {16, 32, 64, 64};
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(target_at(target, i + 1)->at_ms >=
                    target_at(target, i)->at_ms + least_ms[i]);
    }
    view = scene_view_of(topic);
    assert_int_equal(view.state, DELIVERY_IDLE);
    assert_null(view.last_class);
    target_stop(target);
    scene_finish();
}

static void refused_connection_is_named(void **state)
{
    scene_begin(state);
    scene_start();
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_dead_port(), 1);
    LOOP_UNTIL(scene.io, topic->stats.attempts_failed >= 3);
    assert_string_equal(scene_view_of(topic).last_class, "connection_refused");
    assert_int_equal(scene_view_of(topic).last_status, 0);
    assert_int_equal(scene_next_of(topic), 0);
    scene_finish();
}

static void silent_target_times_out_after_the_topics_time(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(scene_hold, NULL);
    struct topic *topic = scene_make_topic();

    topic->settings.timeout_ms = 20;
    scene_attach(topic);
    scene_push_to(topic, target_port(target), 1);
    LOOP_UNTIL(scene.io, topic->stats.attempts_failed >= 2);
    assert_string_equal(scene_view_of(topic).last_class, "timeout");
    assert_true(target_at(target, 1)->at_ms >=
                target_at(target, 0)->at_ms + 20);
    target_stop(target);
    scene_finish();
}

static void message_that_cannot_be_sent_blocks_its_topic_only(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    struct topic *bad = scene_make_attached();
    struct topic *worse = scene_make_attached();
    struct topic *good = scene_make_attached();
    struct message message = {
        .url = STR("http://127.0.0.1:1/"),
        .kind = MESSAGE_KIND_RAW,
        .method = STR("BAD METHOD"),
    };

    scene_push_url(bad, "gopher://127.0.0.1/");
    scene_push_to(bad, target_port(target), 1);
    scene_push_message(worse, &message);
    scene_push_to(good, target_port(target), 20);
    LOOP_UNTIL(scene.io, scene_next_of(good) == 20 &&
                             bad->stats.attempts_failed >= 3 &&
                             worse->stats.attempts_failed >= 3);
    assert_string_equal(scene_view_of(bad).last_class, "protocol_error");
    assert_int_equal(scene_next_of(bad), 0);
    assert_int_equal(bad->store->cursor.attempts, bad->stats.attempts_failed);
    assert_string_equal(scene_view_of(worse).last_class, "protocol_error");
    assert_int_equal(target_count(target), 20);
    target_stop(target);
    scene_finish();
}

static void retry_after_holds_all_topics_of_the_endpoint(void **state)
{
    scene_begin(state);
    scene.options.retry_after_max_ms = 3600000;
    scene_start();
    bool busy = true;
    struct target *asking = scene_make_target(scene_ask_for_a_pause, &busy);
    struct target *other = scene_make_target(NULL, NULL);
    struct topic *first = scene_make_attached();
    struct topic *second = scene_make_attached();
    struct topic *third = scene_make_attached();

    scene_push_to(first, target_port(asking), 1);
    LOOP_UNTIL(scene.io, first->stats.attempts_failed == 1);
    uint64_t asked_ms = io_wall_ms(scene.io);
    busy = false;
    scene_push_to(second, target_port(asking), 1);
    scene_push_to(third, target_port(other), 1);
    LOOP_UNTIL(scene.io, scene_next_of(third) == 1);
    assert_int_equal(scene_view_of(first).state, DELIVERY_HELD);
    assert_int_equal(scene_view_of(second).state, DELIVERY_HELD);
    assert_in_range(scene_view_of(first).until_ms, asked_ms + 8900,
                    asked_ms + 9100);
    assert_in_range(scene_view_of(second).until_ms, asked_ms + 8900,
                    asked_ms + 9100);
    assert_int_equal(target_count(asking), 1);
    topic_changed(first); /* an operator is no reason to bother the target */
    LOOP_TURNS(scene.io, 3);
    assert_int_equal(scene_view_of(first).state, DELIVERY_HELD);
    assert_int_equal(target_count(asking), 1);
    target_stop(asking);
    target_stop(other);
    scene_finish();
}

static void all_go_on_when_the_hold_is_over(void **state)
{
    scene_begin(state);
    scene_start();
    bool busy = true;
    struct target *asking = scene_make_target(scene_ask_for_a_pause, &busy);
    struct topic *first = scene_make_attached();
    struct topic *second = scene_make_attached();

    scene_push_to(first, target_port(asking), 1);
    LOOP_UNTIL(scene.io, first->stats.attempts_failed == 1);
    uint64_t asked_ms = io_now_ms(scene.io);
    busy = false;
    scene_push_to(second, target_port(asking), 2);
    LOOP_UNTIL(scene.io,
               scene_next_of(first) == 1 && scene_next_of(second) == 2);
    assert_int_equal(target_count(asking), 4);
    /* 9 s, cut to retry_after_max_ms */
    assert_true(target_at(asking, 1)->at_ms >= asked_ms + 100);
    target_stop(asking);
    scene_finish();
}

static void hold_is_kept_while_nobody_uses_the_endpoint(void **state)
{
    scene_begin(state);
    scene_start();
    bool busy = true;
    struct target *asking = scene_make_target(scene_ask_for_a_pause, &busy);
    struct topic *topic = scene_make_attached();

    scene_push_to(topic, target_port(asking), 1);
    LOOP_UNTIL(scene.io, topic->stats.attempts_failed == 1);
    uint64_t asked_ms = io_now_ms(scene.io);
    busy = false;
    deliverer_detach(topic);
    LOOP_TURNS(scene.io, 3);
    scene_attach(topic);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    assert_true(target_at(asking, 1)->at_ms >= asked_ms + 100);
    target_stop(asking);
    scene_finish();
}

/* Every tenth topic's target is dead, and every tenth's is silent. */
static bool is_lost_cause(int index)
{
    return index % 10 == 3 || index % 10 == 7;
}

static bool all_others_are_delivered(void)
{
    for (int i = 0; i < 100; i++) {
        if (!is_lost_cause(i) && scene_next_of(scene.topics[i]) < 10) {
            return false;
        }
    }
    return true;
}

static void dead_and_silent_targets_delay_nobody(void **state)
{
    scene_begin(state);
    scene.options.in_flight_max = 8; /* far fewer than topics */
    scene.options.timeout_ms = 60000;
    scene_start();
    struct target *target = scene_make_target(NULL, NULL);
    struct target *silent = scene_make_target(scene_hold, NULL);
    uint16_t dead_port = target_dead_port();

    for (int i = 0; i < 100; i++) {
        struct topic *topic = scene_make_attached();
        uint16_t port = target_port(target);
        port = i % 10 == 3 ? dead_port : port;
        port = i % 10 == 7 ? target_port(silent) : port;
        scene_push_to(topic, port, 10);
    }
    LOOP_UNTIL(scene.io, all_others_are_delivered());
    assert_int_equal(target_count(target), 800);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(scene_next_of(scene.topics[i]),
                         is_lost_cause(i) ? 0 : 10);
    }
    /* The silent one has what one endpoint may have: a quarter. */
    assert_int_equal(target_most_at_once(silent), 2);
    LOOP_UNTIL(scene.io, scene.topics[3]->stats.attempts_failed > 2);
    target_stop(target);
    scene_finish();
    target_stop(silent);
}

static void slots_bound_what_is_in_flight(void **state)
{
    scene_begin(state);
    scene.options.in_flight_max = 6;
    scene.options.endpoint_in_flight_max = 6;
    scene_start();
    struct target *silent = scene_make_target(scene_hold, NULL);

    for (int i = 0; i < 50; i++) {
        scene_push_to(scene_make_attached(), target_port(silent), 1);
    }
    LOOP_UNTIL(scene.io, target_count(silent) == 6);
    LOOP_TURNS(scene.io, 5);
    assert_int_equal(target_count(silent), 6);
    assert_int_equal(deliverer_stats(scene.deliverer)->in_flight, 6);
    uint32_t waiting = 0;
    for (int i = 0; i < 50; i++) {
        enum delivery_state one = scene_view_of(scene.topics[i]).state;
        waiting += one == DELIVERY_WAITING ? 1 : 0;
    }
    assert_int_equal(waiting, 44);
    target_set_script(silent, NULL, NULL);
    target_release(silent, NULL);
    LOOP_UNTIL(scene.io, deliverer_stats(scene.deliverer)->delivered == 50);
    assert_int_equal(target_most_at_once(silent), 6);
    target_stop(silent);
    scene_finish();
}

static void topic_may_change_its_target_with_each_message(void **state)
{
    scene_begin(state);
    scene_start();
    struct target *left = scene_make_target(NULL, NULL);
    struct target *right = scene_make_target(NULL, NULL);
    struct topic *topic = scene_make_attached();

    for (int i = 0; i < 10; i++) {
        scene_push_to(topic, target_port(i % 2 == 0 ? left : right), 1);
    }
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 10);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(target_at(left, i)->sequence, 2 * i);
        assert_int_equal(target_at(right, i)->sequence, 2 * i + 1);
    }
    assert_int_equal(scene.deliverer->targets.table.count, 1);
    target_stop(left);
    target_stop(right);
    scene_finish();
}

static void only_2xx_is_success(void **state)
{
    scene_begin(state);
    scene_start();
    static const char *const good[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 204 None\r\n\r\n",
        "HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n",
    };
    static const char *const bad[] = {
        "HTTP/1.1 300 Many\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 Same\r\n\r\n",
        "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 599 No\r\nContent-Length: 0\r\n\r\n",
        "SMTP 220 hello\r\n\r\n",
    };
    const char *text = NULL;
    struct target *target = scene_make_target(scene_answer_with, (void *)&text);
    struct topic *topic = scene_make_attached();

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        text = good[i];
        scene_push_to(topic, target_port(target), 1);
        LOOP_UNTIL(scene.io, scene_next_of(topic) == i + 1);
    }
    assert_int_equal(topic->stats.attempts_failed, 0);
    scene_push_to(topic, target_port(target), 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t failed = topic->stats.attempts_failed;
        text = bad[i];
        LOOP_UNTIL(scene.io, topic->stats.attempts_failed >= failed + 2);
        assert_int_equal(scene_next_of(topic), 3);
    }
    assert_string_equal(scene_view_of(topic).last_class, "protocol_error");
    target_stop(target);
    scene_finish();
}

static void classes_have_the_names_of_the_design(void **state)
{
    (void)state;
    assert_string_equal(deliverer_class(ERR_DNS, 0), "dns_error");
    assert_string_equal(deliverer_class(ERR_REFUSED, 0), "connection_refused");
    assert_string_equal(deliverer_class(ERR_RESET, 0), "connection_reset");
    assert_string_equal(deliverer_class(ERR_CLOSED, 0), "connection_reset");
    assert_string_equal(deliverer_class(ERR_TLS, 0), "tls_error");
    assert_string_equal(deliverer_class(ERR_TIMEOUT, 200), "timeout");
    assert_string_equal(deliverer_class(ERR_DENIED, 0), "blocked_address");
    assert_string_equal(deliverer_class(ERR_PROTOCOL, 0), "protocol_error");
    assert_string_equal(deliverer_class(ERR_NOMEM, 0), "local_error");
    assert_string_equal(deliverer_class(ERR_OK, 204), "delivered");
    assert_string_equal(deliverer_class(ERR_OK, 302), "http_3xx");
    assert_string_equal(deliverer_class(ERR_OK, 404), "http_4xx");
    assert_string_equal(deliverer_class(ERR_OK, 503), "http_5xx");
    assert_string_equal(deliverer_class(ERR_OK, 600), "protocol_error");
}

static const struct loop_test tests[] = {
    LOOP_TEST(messages_arrive_in_order_one_at_a_time),
    LOOP_TEST(delivery_begins_at_the_cursor),
    LOOP_TEST(failing_message_is_tried_until_accepted),
    LOOP_TEST(blocked_topic_is_told_at_each_doubling_and_when_it_recovers),
    LOOP_TEST(back_off_doubles_and_can_be_seen),
    LOOP_TEST(refused_connection_is_named),
    LOOP_TEST(silent_target_times_out_after_the_topics_time),
    LOOP_TEST(message_that_cannot_be_sent_blocks_its_topic_only),
    LOOP_TEST(retry_after_holds_all_topics_of_the_endpoint),
    LOOP_TEST(all_go_on_when_the_hold_is_over),
    LOOP_TEST(hold_is_kept_while_nobody_uses_the_endpoint),
    LOOP_TEST(dead_and_silent_targets_delay_nobody),
    LOOP_TEST(slots_bound_what_is_in_flight),
    LOOP_TEST(topic_may_change_its_target_with_each_message),
    LOOP_TEST(only_2xx_is_success),
    LOOP_TEST(classes_have_the_names_of_the_design),
};

int main(void)
{
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
