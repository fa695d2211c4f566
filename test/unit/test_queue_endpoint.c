/* Tests of queue/endpoint: turns, slots, holds, breakers, windows, limits; and
 * a seeded walk that checks the promises after each step. How all of it plays
 * together over time: test_queue_endpoint_sim.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { WAITERS = 64 };

static struct endpoint_set set;
static struct endpoint a;
static struct endpoint b;
static struct endpoint_waiter waiters[WAITERS];

static void begin(uint32_t in_flight_max, uint32_t endpoint_max)
{
    memset(waiters, 0, sizeof(waiters));
    endpoint_set_init(&set, in_flight_max, endpoint_max);
    endpoint_init(&a, &set);
    endpoint_init(&b, &set);
}

/* Leave all, so that the endpoints can be ended. */
static void finish(void)
{
    for (int i = 0; i < WAITERS; i++) {
        endpoint_leave(&waiters[i]);
    }
    endpoint_fini(&a);
    endpoint_fini(&b);
    assert_int_equal(set.in_flight, 0);
    assert_int_equal(set.retries, 0);
}

static void limits_follow_from_the_number_of_slots(void **state)
{
    (void)state;
    begin(100, 0);
    assert_int_equal(set.retries_max, 50);
    assert_int_equal(set.endpoint_max, 25);
    finish();
    begin(1, 0);
    assert_int_equal(set.retries_max, 1);
    assert_int_equal(set.endpoint_max, 1);
    finish();
    begin(100, 70);
    assert_int_equal(set.endpoint_max, 70);
    assert_int_equal(set.reserve, 25);
    finish();
    begin(100, 90);
    assert_int_equal(set.reserve, 10);
    finish();
    begin(100, 200);
    assert_int_equal(set.reserve, 0);
    finish();
}

static void waiters_of_an_endpoint_go_in_order(void **state)
{
    (void)state;
    begin(100, 100);
    for (int i = 0; i < 5; i++) {
        endpoint_wait(&a, &waiters[i], false);
    }
    endpoint_leave(&waiters[2]);
    assert_ptr_equal(endpoint_next(&set), &waiters[0]);
    assert_ptr_equal(endpoint_next(&set), &waiters[1]);
    assert_ptr_equal(endpoint_next(&set), &waiters[3]);
    assert_ptr_equal(endpoint_next(&set), &waiters[4]);
    assert_null(endpoint_next(&set));
    assert_int_equal(set.in_flight, 4);
    finish();
}

static void endpoints_take_turns_whatever_their_lines(void **state)
{
    (void)state;
    begin(100, 100);
    for (int i = 0; i < 10; i++) {
        endpoint_wait(&a, &waiters[i], false);
    }
    endpoint_wait(&b, &waiters[10], false);
    endpoint_wait(&b, &waiters[11], false);
    assert_ptr_equal(endpoint_next(&set)->endpoint, &a);
    assert_ptr_equal(endpoint_next(&set)->endpoint, &b);
    assert_ptr_equal(endpoint_next(&set)->endpoint, &a);
    assert_ptr_equal(endpoint_next(&set)->endpoint, &b);
    assert_ptr_equal(endpoint_next(&set)->endpoint, &a);
    finish();
}

static void slots_are_bounded_in_all_and_per_endpoint(void **state)
{
    (void)state;
    begin(6, 4);
    for (int i = 0; i < 10; i++) {
        endpoint_wait(&a, &waiters[i], false);
        endpoint_wait(&b, &waiters[20 + i], false);
    }
    for (int i = 0; i < 6; i++) {
        assert_non_null(endpoint_next(&set));
    }
    assert_null(endpoint_next(&set));
    finish();

    begin(6, 4);
    for (int i = 0; i < 10; i++) {
        endpoint_wait(&a, &waiters[i], false);
    }
    for (int i = 0; i < 4; i++) {
        assert_non_null(endpoint_next(&set));
    }
    assert_null(endpoint_next(&set));
    assert_true(endpoint_take(&b, &waiters[20], false));
    endpoint_leave(&waiters[0]);
    assert_ptr_equal(endpoint_next(&set), &waiters[4]);
    finish();
}

static void retries_have_at_most_half_of_the_slots(void **state)
{
    (void)state;
    begin(8, 8);
    for (int i = 0; i < 8; i++) {
        endpoint_wait(&a, &waiters[i], true);
    }
    for (int i = 0; i < 4; i++) {
        assert_non_null(endpoint_next(&set));
    }
    assert_null(endpoint_next(&set));
    assert_false(endpoint_take(&b, &waiters[20], true));
    assert_true(endpoint_take(&b, &waiters[20], false));
    endpoint_wait(&a, &waiters[21], false); /* not behind the retries */
    assert_ptr_equal(endpoint_next(&set), &waiters[21]);
    assert_null(endpoint_next(&set));
    endpoint_leave(&waiters[0]);
    assert_ptr_equal(endpoint_next(&set), &waiters[4]);
    finish();
}

static void first_attempts_do_not_keep_retries_out(void **state)
{
    (void)state;
    begin(64, 64);
    for (int i = 0; i < 10; i++) {
        endpoint_wait(&a, &waiters[i], false);
    }
    endpoint_wait(&a, &waiters[20], true);
    assert_ptr_equal(endpoint_next(&set), &waiters[0]);
    assert_ptr_equal(endpoint_next(&set), &waiters[20]);
    assert_ptr_equal(endpoint_next(&set), &waiters[1]);
    finish();
}

static void who_waits_is_not_overtaken_by_who_comes(void **state)
{
    (void)state;
    begin(1, 1);
    assert_true(endpoint_take(&a, &waiters[0], false));
    endpoint_wait(&a, &waiters[1], false);
    endpoint_leave(&waiters[0]);
    assert_false(endpoint_take(&a, &waiters[2], false));
    assert_null(waiters[2].endpoint);
    assert_ptr_equal(endpoint_next(&set), &waiters[1]);
    finish();
}

static void held_endpoint_waits_and_others_do_not(void **state)
{
    (void)state;
    begin(10, 10);
    endpoint_wait(&a, &waiters[0], false);
    endpoint_wait(&b, &waiters[1], false);
    assert_true(endpoint_hold(&a, 500));
    assert_ptr_equal(endpoint_next(&set), &waiters[1]);
    assert_null(endpoint_next(&set));
    assert_false(endpoint_take(&a, &waiters[2], false));
    endpoint_wait(&a, &waiters[3], true);
    assert_null(endpoint_next(&set));
    assert_false(endpoint_hold(&a, 400)); /* never shorter */
    assert_int_equal(a.held_until_ms, 500);
    assert_true(endpoint_hold(&a, 600));
    endpoint_tick(&a, 599);
    assert_null(endpoint_next(&set));
    endpoint_tick(&a, 600);
    assert_non_null(endpoint_next(&set));
    assert_non_null(endpoint_next(&set));
    assert_null(endpoint_next(&set));
    finish();
}

/* A waiter's request ends, at a time that is both clocks', and leaves. */
static void end_with(int waiter, enum err err, int status, uint64_t now_ms)
{
    struct endpoint_result result = {
        .err = err,
        .status = status,
        .delivered = err == ERR_OK && status / 100 == 2,
        .elapsed_us = 1000,
        .now_ms = now_ms,
        .wall_ms = now_ms,
    };
    endpoint_note(&waiters[waiter], &result);
    endpoint_leave(&waiters[waiter]);
}

static void first_attempts_at_a_failing_endpoint_count_as_retries(void **state)
{
    (void)state;
    begin(32, 32);
    assert_true(endpoint_take(&a, &waiters[10], false));
    assert_true(endpoint_take(&a, &waiters[11], false));
    endpoint_wait(&a, &waiters[0], false);
    end_with(10, ERR_REFUSED, 0, 1000);
    assert_true(a.failing);
    assert_int_equal(waiters[0].kind, ENDPOINT_RETRY);
    endpoint_wait(&a, &waiters[1], false);
    endpoint_wait(&a, &waiters[2], false);
    assert_ptr_equal(endpoint_next(&set), &waiters[0]);
    assert_int_equal(set.retries, 1);
    assert_null(endpoint_next(&set)); /* a sixteenth of 32 */
    end_with(11, ERR_OK, 503, 2000);  /* it answers again */
    assert_false(a.failing);
    endpoint_leave(&waiters[0]);
    assert_ptr_equal(endpoint_next(&set), &waiters[1]);
    assert_int_equal(waiters[1].kind, ENDPOINT_RETRY);
    endpoint_leave(&waiters[2]);
    endpoint_leave(&waiters[1]);
    assert_true(endpoint_take(&a, &waiters[3], false));
    assert_int_equal(waiters[3].kind, ENDPOINT_FRESH);
    finish();
}

static void last_failure_is_remembered_past_a_success(void **state)
{
    (void)state;
    begin(4, 4);
    for (int i = 0; i < 3; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
    }
    end_with(0, ERR_OK, 500, 1000);
    end_with(1, ERR_TIMEOUT, 0, 2000);
    end_with(2, ERR_OK, 200, 3000);
    assert_int_equal(a.last_err, ERR_TIMEOUT);
    assert_int_equal(a.last_status, 0);
    assert_int_equal(a.failed_ms, 2000);
    finish();
}

/* --- breaker -------------------------------------------------------------- */

/* Have the breaker of `a` open at a time. Jitter makes the time until it is
 * half open 800 to 1200 ms. */
static void open_breaker(uint64_t now_ms)
{
    for (int i = 0; i < BREAKER_SILENT_MAX; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
        end_with(i, ERR_REFUSED, 0, now_ms);
    }
    assert_int_equal(a.breaker.state, BREAKER_OPEN);
}

static void open_breaker_lets_nobody_go_and_then_one(void **state)
{
    (void)state;
    begin(100, 100);
    open_breaker(5000);
    for (int i = 10; i < 20; i++) {
        assert_false(endpoint_take(&a, &waiters[i], false));
        endpoint_wait(&a, &waiters[i], i % 2 == 0);
    }
    assert_null(endpoint_next(&set));
    uint64_t due_ms = endpoint_due_ms(&a);
    assert_in_range(due_ms, 5800, 6200);
    endpoint_tick(&a, due_ms - 1);
    assert_null(endpoint_next(&set));
    endpoint_tick(&a, due_ms);
    assert_int_equal(endpoint_due_ms(&a), ENDPOINT_NEVER);
    assert_ptr_equal(endpoint_next(&set), &waiters[10]);
    assert_null(endpoint_next(&set));
    assert_false(endpoint_take(&a, &waiters[0], false));
    finish();
}

static void probe_that_fails_opens_it_longer_each_time(void **state)
{
    (void)state;
    static const uint64_t expected_ms[] = {1000,  2000,  4000,  8000, 16000,
                                           32000, 60000, 60000, 60000};
    uint64_t now_ms = 5000;

    begin(100, 100);
    open_breaker(now_ms);
    for (size_t i = 0; i < sizeof(expected_ms) / sizeof(expected_ms[0]); i++) {
        uint64_t due_ms = endpoint_due_ms(&a);
        assert_in_range(due_ms - now_ms, expected_ms[i] * 8 / 10,
                        expected_ms[i] * 12 / 10);
        now_ms = due_ms;
        endpoint_tick(&a, now_ms);
        assert_true(endpoint_take(&a, &waiters[0], false));
        end_with(0, i % 2 == 0 ? ERR_TIMEOUT : ERR_OK, 503, now_ms);
        assert_int_equal(a.breaker.state, BREAKER_OPEN);
    }
    finish();
}

static void probe_that_succeeds_begins_a_slow_start(void **state)
{
    (void)state;
    begin(100, 100);
    open_breaker(5000);
    uint64_t now_ms = endpoint_due_ms(&a);
    endpoint_tick(&a, now_ms);
    for (int i = 0; i < WAITERS; i++) {
        endpoint_wait(&a, &waiters[i], true);
    }
    uint32_t expected[] = {1, 2, 4, 8, 16, 32};
    for (size_t round = 0; round < sizeof(expected) / sizeof(expected[0]);
         round++) {
        int sent[WAITERS];
        uint32_t count = 0;
        struct endpoint_waiter *waiter = NULL;
        while ((waiter = endpoint_next(&set)) != NULL) {
            sent[count++] = (int)(waiter - waiters);
        }
        assert_int_equal(count, expected[round]);
        for (uint32_t i = 0; i < count; i++) {
            end_with(sent[i], ERR_OK, 200, now_ms);
            endpoint_wait(&a, &waiters[sent[i]], false);
        }
        assert_int_equal(a.breaker.state, BREAKER_CLOSED);
    }
    finish();
}

static void probe_that_left_without_a_note_was_none(void **state)
{
    (void)state;
    begin(100, 100);
    open_breaker(5000);
    endpoint_tick(&a, endpoint_due_ms(&a));
    endpoint_wait(&a, &waiters[10], true);
    endpoint_wait(&a, &waiters[11], true);
    assert_ptr_equal(endpoint_next(&set), &waiters[10]);
    assert_null(endpoint_next(&set));
    endpoint_leave(&waiters[10]);
    assert_ptr_equal(endpoint_next(&set), &waiters[11]);
    finish();
}

static void what_was_sent_before_it_opened_says_nothing(void **state)
{
    (void)state;
    begin(100, 100);
    for (int i = 10; i < 14; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
    }
    open_breaker(5000);
    uint64_t due_ms = endpoint_due_ms(&a);
    end_with(10, ERR_OK, 200, 5100);
    assert_int_equal(a.breaker.state, BREAKER_OPEN);
    end_with(11, ERR_TIMEOUT, 0, 5200);
    assert_int_equal(endpoint_due_ms(&a), due_ms);
    endpoint_tick(&a, due_ms);
    assert_true(endpoint_take(&a, &waiters[0], false)); /* the probe */
    end_with(12, ERR_TIMEOUT, 0, due_ms);
    assert_int_equal(a.breaker.state, BREAKER_HALF_OPEN);
    end_with(0, ERR_OK, 200, due_ms + 1);
    assert_int_equal(a.breaker.state, BREAKER_CLOSED);
    end_with(13, ERR_TIMEOUT, 0, due_ms + 2);
    assert_int_equal(a.breaker.silent, 0);
    assert_int_equal(a.congestion.window, 2);
    finish();
}

static void denied_address_opens_no_breaker(void **state)
{
    (void)state;
    begin(100, 100);
    for (int i = 0; i < 50; i++) {
        assert_true(endpoint_take(&a, &waiters[0], false));
        end_with(0, ERR_DENIED, 0, 5000);
    }
    assert_int_equal(a.breaker.state, BREAKER_CLOSED);
    open_breaker(5000); /* but a probe has an end */
    endpoint_tick(&a, endpoint_due_ms(&a));
    assert_true(endpoint_take(&a, &waiters[0], false));
    end_with(0, ERR_DENIED, 0, 9000);
    assert_int_equal(a.breaker.state, BREAKER_OPEN);
    finish();
}

static void pace_of_breakers_can_only_be_quicker(void **state)
{
    (void)state;
    begin(100, 100);
    endpoint_set_pace(&set, 10, 40, 1);
    open_breaker(5000);
    assert_in_range(endpoint_due_ms(&a), 5008, 5012);
    finish();
    begin(100, 100);
    endpoint_set_pace(&set, 90000, 600000, 1);
    open_breaker(5000);
    assert_in_range(endpoint_due_ms(&a), 5800, 6200);
    assert_int_equal(set.policy.max_ms, BREAKER_LONGEST_MS);
    finish();
}

/* --- window --------------------------------------------------------------- */

static void window_bounds_what_is_in_flight(void **state)
{
    (void)state;
    begin(100, 100);
    for (int i = 0; i < 8; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
    }
    end_with(0, ERR_OK, 429, 1000);
    end_with(1, ERR_OK, 503, 1000); /* of the same window */
    assert_int_equal(a.congestion.window, 8);
    for (int i = 2; i < 8; i++) {
        end_with(i, ERR_OK, 200, 1000);
    }
    for (int i = 0; i < 8; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
    }
    assert_false(endpoint_take(&a, &waiters[8], false));
    end_with(0, ERR_TIMEOUT, 0, 1000);
    assert_int_equal(a.congestion.window, 4);
    end_with(1, ERR_OK, 200, 1000); /* also answers, so not failing */
    endpoint_wait(&a, &waiters[8], false);
    assert_null(endpoint_next(&set)); /* six are in flight */
    for (int i = 2; i < 5; i++) {
        endpoint_leave(&waiters[i]);
    }
    assert_non_null(endpoint_next(&set));
    finish();
}

static void answers_that_are_no_complaint_make_it_no_smaller(void **state)
{
    (void)state;
    static const int statuses[] = {200, 301, 400, 404, 410, 500, 502};

    begin(100, 100);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        assert_true(endpoint_take(&a, &waiters[0], false));
        end_with(0, ERR_OK, statuses[i], 1000);
        assert_int_equal(a.congestion.window, 100);
    }
    finish();
}

/* --- limit, reset, view --------------------------------------------------- */

static void limit_lets_no_more_begin_than_its_rate(void **state)
{
    (void)state;
    struct settings_rate rate = {.count = 50, .period_ms = 1000};
    struct settings_rate none = {0};
    uint32_t sent = 0;

    begin(100, 100);
    for (int i = 0; i < WAITERS; i++) {
        endpoint_wait(&a, &waiters[i], false);
    }
    endpoint_limit(&a, &rate, 5000);
    assert_int_equal(endpoint_eta_ms(&a, 100), 2000);
    for (uint64_t now_ms = 5000; now_ms < 6000; now_ms++) {
        uint32_t at_once = 0;
        if (endpoint_due_ms(&a) <= now_ms) {
            endpoint_tick(&a, now_ms);
        }
        while (endpoint_next(&set) != NULL) {
            at_once++;
        }
        assert_true(at_once <= 1);
        sent += at_once;
    }
    assert_in_range(sent, 49, 50);
    endpoint_limit(&a, &none, 6000);
    assert_int_equal(endpoint_due_ms(&a), ENDPOINT_NEVER);
    assert_int_equal(endpoint_eta_ms(&a, 100), 0);
    assert_non_null(endpoint_next(&set));
    finish();
}

static void limit_saves_nothing_up(void **state)
{
    (void)state;
    struct settings_rate rate = {.count = 200, .period_ms = 1000};
    int count = 0;

    begin(100, 100);
    endpoint_limit(&a, &rate, 5000);
    for (int i = 0; i < WAITERS; i++) {
        endpoint_wait(&a, &waiters[i], false);
    }
    endpoint_tick(&a, 5000 + 3600000); /* the machine slept */
    while (endpoint_next(&set) != NULL) {
        count++;
    }
    assert_int_equal(count, 4); /* what comes in two ticks of 10 ms */
    finish();
}

static void wall_clock_decides_nothing(void **state)
{
    (void)state;
    static const uint64_t walls_ms[] = {0, UINT64_MAX, 1, 1700000000000, 5};
    struct endpoint_result result = {.err = ERR_REFUSED, .now_ms = 5000};

    begin(100, 100);
    for (int i = 0; i < BREAKER_SILENT_MAX; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
        result.wall_ms = walls_ms[i];
        endpoint_note(&waiters[i], &result);
        endpoint_leave(&waiters[i]);
        assert_int_equal(a.failed_ms, walls_ms[i]);
    }
    assert_in_range(endpoint_due_ms(&a), 5800, 6200);
    finish();
}

static void limit_ends_when_its_backlog_is_drained(void **state)
{
    (void)state;
    struct settings_rate rate = {.count = 1000, .period_ms = 1000};
    uint64_t now_ms = 5000;

    begin(100, 100);
    endpoint_limit(&a, &rate, now_ms);
    assert_true(endpoint_take(&a, &waiters[0], false));
    for (; now_ms < 8000; now_ms += 10) {
        endpoint_tick(&a, now_ms);
        assert_true(a.limited);
    }
    endpoint_leave(&waiters[0]);
    uint64_t drained_ms = now_ms;
    while (endpoint_due_ms(&a) != ENDPOINT_NEVER) {
        now_ms = endpoint_due_ms(&a);
        endpoint_tick(&a, now_ms);
        assert_true(now_ms <= drained_ms + 2000);
    }
    assert_false(a.limited);
    assert_true(now_ms >= drained_ms + 980);
    finish();
}

static void limit_lasts_while_somebody_will_be_back(void **state)
{
    (void)state;
    struct settings_rate rate = {.count = 1000, .period_ms = 1000};
    struct endpoint_view view;
    uint64_t now_ms = 5000;

    begin(100, 100);
    endpoint_limit(&a, &rate, now_ms);
    endpoint_rest(&a, true);
    endpoint_rest(&a, true);
    endpoint_view(&a, &view);
    assert_int_equal(view.resting, 2);
    endpoint_rest(&a, false);
    for (; now_ms < 60000; now_ms += 10) {
        endpoint_tick(&a, now_ms);
    }
    assert_true(a.limited);
    endpoint_rest(&a, false);
    for (; now_ms < 63000; now_ms += 10) {
        endpoint_tick(&a, now_ms);
    }
    assert_false(a.limited);
    finish();
}

static void reset_is_a_fresh_beginning(void **state)
{
    (void)state;
    struct settings_rate rate = {.count = 1, .period_ms = 60000};
    struct endpoint_view view;

    begin(100, 100);
    assert_true(endpoint_take(&a, &waiters[20], false));
    open_breaker(5000);
    (void)endpoint_hold(&a, 99999);
    endpoint_limit(&a, &rate, 5000);
    endpoint_reset(&a);
    assert_int_equal(endpoint_due_ms(&a), ENDPOINT_NEVER);
    for (int i = 0; i < 10; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
        assert_int_equal(waiters[i].kind, ENDPOINT_FRESH);
    }
    end_with(20, ERR_REFUSED, 0, 6000); /* of the time before */
    assert_false(a.failing);
    endpoint_view(&a, &view);
    assert_int_equal(view.state, ENDPOINT_CLOSED);
    assert_int_equal(view.window, 100);
    assert_int_equal(view.failures, 0);
    assert_int_equal(view.last_err, ERR_REFUSED);
    finish();
}

static void reset_forgets_a_probe_under_way(void **state)
{
    (void)state;
    begin(100, 100);
    open_breaker(5000);
    endpoint_tick(&a, endpoint_due_ms(&a));
    assert_true(endpoint_take(&a, &waiters[0], false));
    endpoint_reset(&a);
    end_with(0, ERR_TIMEOUT, 0, 9000);
    assert_int_equal(a.breaker.state, BREAKER_CLOSED);
    open_breaker(9000);
    endpoint_tick(&a, endpoint_due_ms(&a));
    assert_true(endpoint_take(&a, &waiters[1], false));
    assert_false(endpoint_take(&a, &waiters[2], false));
    finish();
}

static void view_tells_the_state_and_until_when(void **state)
{
    (void)state;
    struct endpoint_view view;
    static const struct endpoint_view nothing;

    begin(100, 40);
    endpoint_view(&a, &view);
    assert_string_equal(endpoint_state_text(view.state), "closed");
    assert_int_equal(view.window, 40);
    assert_int_equal(view.latency_mean_us, nothing.latency_mean_us);
    assert_int_equal(view.latency_p99_us, 0);
    open_breaker(5000);
    endpoint_wait(&a, &waiters[10], false);
    endpoint_view(&a, &view);
    assert_string_equal(endpoint_state_text(view.state), "open");
    assert_int_equal(view.until_ms, a.breaker.until_ms);
    assert_int_equal(view.failures, BREAKER_SILENT_MAX);
    assert_int_equal(view.waiting, 1);
    assert_int_equal(view.window, CONGESTION_LEAST);
    assert_int_equal(view.latency_mean_us, 1000);
    assert_in_range(view.latency_p50_us, 1000, 1200);
    (void)endpoint_hold(&a, 5001); /* ends before the breaker */
    endpoint_view(&a, &view);
    assert_string_equal(endpoint_state_text(view.state), "open");
    (void)endpoint_hold(&a, 60000);
    endpoint_view(&a, &view);
    assert_string_equal(endpoint_state_text(view.state), "held");
    assert_int_equal(view.until_ms, 60000);
    endpoint_tick(&a, 60000);
    endpoint_view(&a, &view);
    assert_string_equal(endpoint_state_text(view.state), "half_open");
    assert_int_equal(view.until_ms, 0);
    finish();
}

static void tick_ends_a_hold_at_its_time(void **state)
{
    (void)state;
    begin(10, 10);
    endpoint_wait(&a, &waiters[0], false);
    (void)endpoint_hold(&a, 500);
    assert_int_equal(endpoint_due_ms(&a), 500);
    endpoint_tick(&a, 499);
    assert_null(endpoint_next(&set));
    endpoint_tick(&a, 500);
    assert_ptr_equal(endpoint_next(&set), &waiters[0]);
    assert_int_equal(endpoint_due_ms(&a), ENDPOINT_NEVER);
    finish();
}

/* --- debts ---------------------------------------------------------------- */

static void who_holds_fewest_goes_first(void **state)
{
    (void)state;
    begin(100, 100);
    for (int i = 0; i < 10; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
    }
    for (int i = 10; i < 20; i++) {
        endpoint_wait(&a, &waiters[i], false);
        endpoint_wait(&b, &waiters[10 + i], false);
    }
    for (int i = 0; i < 10; i++) {
        assert_ptr_equal(endpoint_next(&set)->endpoint, &b);
    }
    assert_ptr_equal(endpoint_next(&set)->endpoint, &a);
    finish();
}

static void last_slots_are_for_those_that_hold_few(void **state)
{
    (void)state;
    begin(40, 30);
    for (int i = 0; i < 30; i++) {
        assert_true(endpoint_take(&a, &waiters[i], false));
    }
    assert_false(endpoint_take(&a, &waiters[30], false));
    endpoint_wait(&a, &waiters[30], false);
    assert_null(endpoint_next(&set));
    for (int i = 31; i < 31 + ENDPOINT_FEW; i++) {
        assert_true(endpoint_take(&b, &waiters[i], false));
    }
    assert_false(endpoint_take(&b, &waiters[50], false));
    for (int i = 0; i < ENDPOINT_FEW; i++) {
        endpoint_leave(&waiters[i]);
        assert_null(endpoint_next(&set)); /* b's are not a's */
    }
    endpoint_leave(&waiters[ENDPOINT_FEW]);
    assert_ptr_equal(endpoint_next(&set), &waiters[30]);
    finish();
}

static void leaving_twice_does_nothing(void **state)
{
    (void)state;
    begin(4, 4);
    assert_true(endpoint_take(&a, &waiters[0], true));
    endpoint_leave(&waiters[0]);
    endpoint_leave(&waiters[0]);
    assert_int_equal(set.in_flight, 0);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_follow_from_the_number_of_slots),
        cmocka_unit_test(waiters_of_an_endpoint_go_in_order),
        cmocka_unit_test(endpoints_take_turns_whatever_their_lines),
        cmocka_unit_test(slots_are_bounded_in_all_and_per_endpoint),
        cmocka_unit_test(retries_have_at_most_half_of_the_slots),
        cmocka_unit_test(first_attempts_do_not_keep_retries_out),
        cmocka_unit_test(who_waits_is_not_overtaken_by_who_comes),
        cmocka_unit_test(held_endpoint_waits_and_others_do_not),
        cmocka_unit_test(first_attempts_at_a_failing_endpoint_count_as_retries),
        cmocka_unit_test(last_failure_is_remembered_past_a_success),
        cmocka_unit_test(open_breaker_lets_nobody_go_and_then_one),
        cmocka_unit_test(probe_that_fails_opens_it_longer_each_time),
        cmocka_unit_test(probe_that_succeeds_begins_a_slow_start),
        cmocka_unit_test(probe_that_left_without_a_note_was_none),
        cmocka_unit_test(what_was_sent_before_it_opened_says_nothing),
        cmocka_unit_test(denied_address_opens_no_breaker),
        cmocka_unit_test(pace_of_breakers_can_only_be_quicker),
        cmocka_unit_test(window_bounds_what_is_in_flight),
        cmocka_unit_test(answers_that_are_no_complaint_make_it_no_smaller),
        cmocka_unit_test(limit_lets_no_more_begin_than_its_rate),
        cmocka_unit_test(limit_saves_nothing_up),
        cmocka_unit_test(wall_clock_decides_nothing),
        cmocka_unit_test(limit_ends_when_its_backlog_is_drained),
        cmocka_unit_test(limit_lasts_while_somebody_will_be_back),
        cmocka_unit_test(reset_is_a_fresh_beginning),
        cmocka_unit_test(reset_forgets_a_probe_under_way),
        cmocka_unit_test(view_tells_the_state_and_until_when),
        cmocka_unit_test(tick_ends_a_hold_at_its_time),
        cmocka_unit_test(who_holds_fewest_goes_first),
        cmocka_unit_test(last_slots_are_for_those_that_hold_few),
        cmocka_unit_test(leaving_twice_does_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
