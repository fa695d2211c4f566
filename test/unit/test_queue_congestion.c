/* Tests of queue/congestion: how a window grows, is cut, and begins again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/congestion.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct congestion window;
static uint64_t sent;

/* Send `count` requests at once. Returns the first one's number. */
static uint64_t send(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        sent++;
        congestion_send(&window, sent, i + 1);
    }
    return sent - count + 1;
}

/* A window full, all of which succeed. */
static void round_trip(void)
{
    uint32_t count = window.window;
    uint64_t first = send(count);

    for (uint32_t i = 0; i < count; i++) {
        congestion_grow(&window, first + i);
    }
}

static void begin(uint32_t window_max)
{
    sent = 0;
    congestion_init(&window, window_max);
}

static void fresh_one_is_wide_and_bounded(void **state)
{
    (void)state;
    begin(1000);
    assert_int_equal(window.window, CONGESTION_FIRST);
    begin(10);
    assert_int_equal(window.window, 10);
    begin(1);
    assert_int_equal(window.window, 1);
    round_trip();
    assert_int_equal(window.window, 1);
}

static void it_doubles_up_to_its_bound(void **state)
{
    (void)state;
    begin(1100);
    round_trip();
    assert_int_equal(window.window, 512);
    round_trip();
    assert_int_equal(window.window, 1024);
    round_trip();
    assert_int_equal(window.window, 1100);
    round_trip();
    assert_int_equal(window.window, 1100);
}

static void it_does_not_grow_unless_it_is_used(void **state)
{
    (void)state;
    begin(1000);
    for (int i = 0; i < 100; i++) {
        uint64_t first = send(127);
        for (uint32_t j = 0; j < 127; j++) {
            congestion_grow(&window, first + j);
        }
    }
    assert_int_equal(window.window, CONGESTION_FIRST);
    congestion_grow(&window, send(128)); /* half of it is use enough */
    assert_int_equal(window.window, CONGESTION_FIRST + 1);
}

static void failures_of_one_window_are_one_sign(void **state)
{
    (void)state;
    begin(1000);
    uint64_t first = send(256);
    for (uint32_t i = 0; i < 256; i++) {
        congestion_cut(&window, first + i);
    }
    assert_int_equal(window.window, 128);
    first = send(128);
    congestion_cut(&window, first + 127);
    congestion_cut(&window, first);
    assert_int_equal(window.window, 64);
    for (int i = 0; i < 10; i++) {
        congestion_cut(&window, send(1));
    }
    assert_int_equal(window.window, CONGESTION_LEAST);
}

static void what_was_sent_before_a_cut_does_not_make_it_grow(void **state)
{
    (void)state;
    begin(300);
    uint64_t first = send(256);
    congestion_cut(&window, first);
    for (uint32_t i = 1; i < 256; i++) {
        congestion_grow(&window, first + i);
    }
    assert_int_equal(window.window, 128);
}

static void past_the_threshold_it_grows_by_one_a_round(void **state)
{
    (void)state;
    begin(300);
    congestion_cut(&window, send(256));
    for (uint32_t round = 1; round <= 20; round++) {
        round_trip();
        assert_int_equal(window.window, 128 + round);
    }
}

static void one_slow_answer_of_few_costs_nothing(void **state)
{
    (void)state;
    begin(300);
    congestion_cut(&window, send(4));
    assert_int_equal(window.window, 4); /* no less than there were */
    congestion_cut(&window, send(4));
    assert_int_equal(window.window, 2);
}

static void after_an_outage_it_begins_with_the_least(void **state)
{
    (void)state;
    static const uint32_t expected[] = {2, 4, 8, 16, 32, 64, 128, 129, 130};

    begin(300);
    uint64_t first = send(64);
    congestion_collapse(&window);
    assert_int_equal(window.window, CONGESTION_LEAST);
    congestion_grow(&window, first + 5); /* of the time before */
    congestion_collapse(&window);        /* a probe fails */
    assert_int_equal(window.window, CONGESTION_LEAST);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        round_trip();
        assert_int_equal(window.window, expected[i]);
    }
}

static void reset_is_fresh_and_ignores_what_is_under_way(void **state)
{
    (void)state;
    begin(300);
    uint64_t first = send(64);
    congestion_collapse(&window);
    congestion_reset(&window);
    assert_int_equal(window.window, CONGESTION_FIRST);
    congestion_cut(&window, first);
    assert_int_equal(window.window, CONGESTION_FIRST);
    round_trip();
    assert_int_equal(window.window, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_one_is_wide_and_bounded),
        cmocka_unit_test(it_doubles_up_to_its_bound),
        cmocka_unit_test(it_does_not_grow_unless_it_is_used),
        cmocka_unit_test(failures_of_one_window_are_one_sign),
        cmocka_unit_test(what_was_sent_before_a_cut_does_not_make_it_grow),
        cmocka_unit_test(past_the_threshold_it_grows_by_one_a_round),
        cmocka_unit_test(one_slow_answer_of_few_costs_nothing),
        cmocka_unit_test(after_an_outage_it_begins_with_the_least),
        cmocka_unit_test(reset_is_fresh_and_ignores_what_is_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
