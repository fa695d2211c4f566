/* Tests of queue/breaker: what opens it, for how long, and what closes it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/breaker.h"

#include "queue/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct breaker breaker;
static uint64_t sent;

/* A request that ends at once. Returns whether the breaker opened. */
static bool note(enum breaker_sign sign, uint64_t now_ms)
{
    sent++;
    return breaker_note(&breaker, sign, sent, sent, now_ms);
}

static void begin(void)
{
    sent = 0;
    breaker = (struct breaker){0};
}

static void silence_opens_it_soon_but_only_in_a_row(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < 20; i++) {
        for (int j = 1; j < BREAKER_SILENT_MAX; j++) {
            assert_false(note(BREAKER_SILENT, 1000));
        }
        assert_false(note(BREAKER_GOOD, 1000));
        assert_false(note(BREAKER_GOOD, 1000));
        assert_false(note(BREAKER_GOOD, 1000));
    }
    for (int j = 1; j < BREAKER_SILENT_MAX; j++) {
        assert_false(note(BREAKER_SILENT, 1000));
    }
    assert_true(note(BREAKER_SILENT, 1000));
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_int_equal(breaker.failures, BREAKER_SILENT_MAX);
}

static void protest_opens_it_by_its_share(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < 1000; i++) { /* half of them: goes on */
        assert_false(note(i % 2 == 0 ? BREAKER_PROTEST : BREAKER_GOOD, 1000));
    }
    int more = 0;
    while (!note(BREAKER_PROTEST, 1000)) {
        more++;
    }
    assert_in_range(more, BREAKER_BAD / 2 - 2, BREAKER_BAD);
    begin();
    for (int i = 1; i < BREAKER_BAD; i++) {
        assert_false(note(BREAKER_PROTEST, 1000));
    }
    assert_true(note(BREAKER_PROTEST, 1000));
}

static void protest_now_and_then_does_not_open_it(void **state)
{
    (void)state;
    begin();
    for (uint64_t i = 0; i < 1000; i++) {
        assert_false(note(BREAKER_PROTEST, i * (BREAKER_STALE_MS + 1)));
    }
    assert_int_equal(breaker.failures, 1000);
}

static void it_is_open_longer_each_time_until_a_success(void **state)
{
    (void)state;
    struct retry_policy policy = {.first_ms = BREAKER_FIRST_MS,
                                  .max_ms = BREAKER_LONGEST_MS};
    struct retry_random random = {.state = 3};
    uint64_t now_ms = 1000;
    uint64_t expected_ms = BREAKER_FIRST_MS;

    begin();
    for (int i = 0; i < BREAKER_SILENT_MAX; i++) {
        (void)note(BREAKER_SILENT, now_ms);
    }
    for (int i = 0; i < 10; i++) {
        breaker_wait(&breaker, &policy, &random, now_ms);
        assert_in_range(breaker.until_ms - now_ms, expected_ms * 8 / 10,
                        expected_ms * 12 / 10);
        now_ms = breaker.until_ms;
        breaker_tick(&breaker, now_ms - 1);
        assert_int_equal(breaker.state, BREAKER_OPEN);
        breaker_tick(&breaker, now_ms);
        assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
        assert_true(
            note(i % 2 == 0 ? BREAKER_PROTEST : BREAKER_SILENT, now_ms));
        expected_ms = 2 * expected_ms < BREAKER_LONGEST_MS ? 2 * expected_ms
                                                           : BREAKER_LONGEST_MS;
    }
    breaker_wait(&breaker, &policy, &random, now_ms);
    breaker_tick(&breaker, breaker.until_ms);
    assert_false(note(BREAKER_GOOD, breaker.until_ms));
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker.openings, 0);
    for (int i = 1; i < BREAKER_SILENT_MAX; i++) { /* begins anew */
        assert_false(note(BREAKER_SILENT, breaker.until_ms));
    }
    assert_true(note(BREAKER_SILENT, breaker.until_ms));
    assert_int_equal(breaker.openings, 1);
}

static void what_was_sent_before_counts_no_more(void **state)
{
    (void)state;
    begin();
    sent = 100; /* 1 to 100 are under way */
    for (uint64_t i = 1; i < BREAKER_SILENT_MAX; i++) {
        assert_false(breaker_note(&breaker, BREAKER_SILENT, i, sent, 1000));
    }
    assert_true(breaker_note(&breaker, BREAKER_SILENT, 50, sent, 1000));
    for (uint64_t i = 51; i <= 90; i++) {
        assert_false(breaker_note(&breaker, BREAKER_SILENT, i, sent, 1000));
    }
    assert_false(breaker_note(&breaker, BREAKER_GOOD, 91, sent, 1000));
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_int_equal(breaker.failures, BREAKER_SILENT_MAX);
}

static void reset_closes_it(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < BREAKER_SILENT_MAX; i++) {
        (void)note(BREAKER_SILENT, 1000);
    }
    sent++;
    breaker_reset(&breaker, sent);
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker.failures, 0);
    assert_false(breaker_note(&breaker, BREAKER_SILENT, sent, sent, 1000));
    assert_int_equal(breaker.silent, 0);
    assert_false(note(BREAKER_SILENT, 1000));
    assert_int_equal(breaker.silent, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_opens_it_soon_but_only_in_a_row),
        cmocka_unit_test(protest_opens_it_by_its_share),
        cmocka_unit_test(protest_now_and_then_does_not_open_it),
        cmocka_unit_test(it_is_open_longer_each_time_until_a_success),
        cmocka_unit_test(what_was_sent_before_counts_no_more),
        cmocka_unit_test(reset_closes_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
