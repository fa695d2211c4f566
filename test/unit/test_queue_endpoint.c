/* Tests of queue/endpoint: turns, slots, holds; and a seeded walk that checks
 * the promises after each step.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/endpoint.h"

#include "base/check.h"
#include "queue/retry.h"

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
    endpoint_release(&a);
    assert_non_null(endpoint_next(&set));
    assert_non_null(endpoint_next(&set));
    assert_null(endpoint_next(&set));
    finish();
}

static void first_attempts_at_a_failing_endpoint_count_as_retries(void **state)
{
    (void)state;
    begin(32, 32);
    endpoint_wait(&a, &waiters[0], false);
    endpoint_note(&a, ERR_REFUSED, 0, false, 1000);
    assert_true(a.failing);
    assert_int_equal(waiters[0].kind, ENDPOINT_RETRY);
    endpoint_wait(&a, &waiters[1], false);
    endpoint_wait(&a, &waiters[2], false);
    assert_ptr_equal(endpoint_next(&set), &waiters[0]);
    assert_ptr_equal(endpoint_next(&set), &waiters[1]);
    assert_int_equal(set.retries, 2);
    assert_null(endpoint_next(&set));            /* a sixteenth of 32 */
    endpoint_note(&a, ERR_OK, 503, false, 2000); /* it answers again */
    assert_false(a.failing);
    assert_ptr_equal(endpoint_next(&set), &waiters[2]);
    assert_true(endpoint_take(&a, &waiters[3], false));
    assert_int_equal(waiters[3].kind, ENDPOINT_FRESH);
    finish();
}

static void last_failure_is_remembered_past_a_success(void **state)
{
    (void)state;
    begin(4, 4);
    endpoint_note(&a, ERR_TIMEOUT, 0, false, 1000);
    endpoint_note(&a, ERR_OK, 500, false, 2000);
    endpoint_note(&a, ERR_OK, 200, true, 3000);
    assert_int_equal(a.last_err, ERR_OK);
    assert_int_equal(a.last_status, 500);
    assert_int_equal(a.failed_ms, 2000);
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

enum { ENDPOINTS = 7, STEPS = 20000 };

static struct endpoint endpoints[ENDPOINTS];

/* What must be true at any time. */
static void check_promises(void)
{
    uint32_t in_flight = 0;
    uint32_t retries = 0;
    uint32_t waiting = 0;

    for (int i = 0; i < WAITERS; i++) {
        bool out = waiters[i].endpoint == NULL;
        in_flight += waiters[i].in_flight ? 1 : 0;
        retries +=
            waiters[i].in_flight && waiters[i].kind == ENDPOINT_RETRY ? 1 : 0;
        waiting += !out && !waiters[i].in_flight ? 1 : 0;
    }
    assert_int_equal(set.in_flight, in_flight);
    assert_int_equal(set.retries, retries);
    assert_true(in_flight <= set.in_flight_max);
    assert_true(retries <= set.retries_max);
    for (int i = 0; i < ENDPOINTS; i++) {
        assert_true(endpoints[i].in_flight <= set.endpoint_max);
        waiting -= endpoints[i].waiting;
    }
    assert_int_equal(waiting, 0);
}

/* Nobody is left in line who could have gone. */
static void check_nobody_was_forgotten(void)
{
    for (int i = 0; i < WAITERS; i++) {
        const struct endpoint_waiter *waiter = &waiters[i];
        const struct endpoint *endpoint = waiter->endpoint;
        if (endpoint == NULL || waiter->in_flight) {
            continue;
        }
        uint32_t most = set.endpoint_max;
        if (endpoint->failing) {
            most = most / ENDPOINT_FAILING_SHARE > 0
                       ? most / ENDPOINT_FAILING_SHARE
                       : 1;
        }
        assert_true(
            endpoint->held || endpoint->in_flight >= most ||
            set.in_flight == set.in_flight_max ||
            (waiter->kind == ENDPOINT_RETRY && set.retries == set.retries_max));
    }
}

static void walk_step(struct retry_random *random, uint64_t now_ms)
{
    uint64_t dice = retry_random_next(random);
    struct endpoint_waiter *waiter = &waiters[dice % WAITERS];
    struct endpoint *endpoint = &endpoints[(dice >> 8) % ENDPOINTS];
    bool retry = (dice >> 16 & 1) != 0;

    switch (dice >> 20 & 7) {
    case 0:
        (void)endpoint_hold(endpoint, now_ms + (dice >> 32) % 50);
        break;
    case 1:
        endpoint_note(endpoint, retry ? ERR_RESET : ERR_OK, 200, !retry, 1);
        break;
    case 2:
    case 3:
        endpoint_leave(waiter);
        break;
    default:
        if (waiter->endpoint == NULL &&
            !endpoint_take(endpoint, waiter, retry)) {
            endpoint_wait(endpoint, waiter, retry);
        }
        break;
    }
    for (int i = 0; i < ENDPOINTS; i++) {
        if (endpoints[i].held && endpoints[i].held_until_ms <= now_ms) {
            endpoint_release(&endpoints[i]);
        }
    }
}

static void walk(uint64_t seed)
{
    struct retry_random random = {.state = seed};

    memset(waiters, 0, sizeof(waiters));
    endpoint_set_init(&set, 1 + (uint32_t)(seed % 24), (uint32_t)(seed % 9));
    for (int i = 0; i < ENDPOINTS; i++) {
        endpoint_init(&endpoints[i], &set);
    }
    for (uint64_t step = 0; step < STEPS; step++) {
        walk_step(&random, step);
        while (endpoint_next(&set) != NULL) {
        }
        check_promises();
        check_nobody_was_forgotten();
    }
    for (int i = 0; i < WAITERS; i++) {
        endpoint_leave(&waiters[i]);
    }
    for (int i = 0; i < ENDPOINTS; i++) {
        endpoint_fini(&endpoints[i]);
    }
}

static void promises_hold_on_any_walk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("seed %d\n", (int)seed);
        walk(seed);
    }
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
        cmocka_unit_test(leaving_twice_does_nothing),
        cmocka_unit_test(promises_hold_on_any_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
