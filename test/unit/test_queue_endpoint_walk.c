/* A seeded walk over queue/endpoint: whatever is done in any order, the
 * promises of its header hold after each step.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/endpoint.h"

#include "queue/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { WAITERS = 64, ENDPOINTS = 7, STEPS = 20000 };

static struct endpoint_set set;
static struct endpoint_waiter waiters[WAITERS];
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

/* Requests in flight that were sent since the breaker opened. */
static uint32_t count_probes(const struct endpoint *endpoint)
{
    uint32_t count = 0;

    for (int i = 0; i < WAITERS; i++) {
        const struct endpoint_waiter *waiter = &waiters[i];
        count += waiter->in_flight && waiter->endpoint == endpoint &&
                         waiter->number > endpoint->breaker.opened_at
                     ? 1
                     : 0;
    }
    return count;
}

static void check_breakers(void)
{
    for (int i = 0; i < ENDPOINTS; i++) {
        const struct endpoint *endpoint = &endpoints[i];
        switch (endpoint->breaker.state) {
        case BREAKER_OPEN:
            assert_int_equal(count_probes(endpoint), 0);
            assert_true(endpoint_due_ms(endpoint) != ENDPOINT_NEVER);
            break;
        case BREAKER_HALF_OPEN:
            assert_true(count_probes(endpoint) <= 1);
            break;
        default:
            break;
        }
    }
}

/* Tell whether the endpoint itself is why none of its waiters goes. */
static bool is_shut(const struct endpoint *endpoint)
{
    uint32_t most = endpoint->congestion.window;
    uint32_t few = set.endpoint_max / ENDPOINT_FAILING_SHARE;

    if (endpoint->failing) {
        few = few > 0 ? few : 1;
        most = few < most ? few : most;
    }
    return endpoint->held || endpoint->breaker.state == BREAKER_OPEN ||
           (endpoint->breaker.state == BREAKER_HALF_OPEN &&
            count_probes(endpoint) == 1) ||
           (endpoint->breaker.state == BREAKER_CLOSED &&
            endpoint->in_flight >= most) ||
           (endpoint->limited &&
            rate_due_ms(&endpoint->limit, endpoint->limit_ms) >
                endpoint->limit_ms);
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
        uint32_t most = set.in_flight_max;
        if (endpoint->in_flight >= ENDPOINT_FEW) {
            most -= set.reserve;
        }
        assert_true(
            is_shut(endpoint) || set.in_flight >= most ||
            (waiter->kind == ENDPOINT_RETRY && set.retries == set.retries_max));
    }
}

/* An attempt ends, by one chance in three badly. */
static void
walk_end(struct endpoint_waiter *waiter, uint64_t dice, uint64_t now_ms)
{
    static const struct endpoint_result results[] = {
        {.err = ERR_REFUSED}, {.err = ERR_TIMEOUT}, {.status = 503},
        {.status = 429},      {.status = 404},      {.err = ERR_DENIED},
    };
    struct endpoint_result result = {.status = 200, .delivered = true};

    if (dice % 3 == 0) {
        result = results[dice / 3 % (sizeof(results) / sizeof(results[0]))];
    }
    result.elapsed_us = dice % 100000;
    result.now_ms = now_ms;
    if (waiter->in_flight) {
        endpoint_note(waiter, &result);
    }
    endpoint_leave(waiter);
}

/* What an operator or a target does now and then. */
static void
walk_change(struct endpoint *endpoint, uint64_t dice, uint64_t now_ms)
{
    struct settings_rate rate = {.count = (uint32_t)(dice >> 8) % 3,
                                 .period_ms = 20};

    if (dice % 8 < 6) {
        (void)endpoint_hold(endpoint, now_ms + (dice >> 4) % 50);
    } else if (dice % 8 == 6) {
        endpoint_limit(endpoint, &rate, now_ms);
    } else {
        endpoint_reset(endpoint);
    }
}

static void walk_step(struct retry_random *random, uint64_t now_ms)
{
    uint64_t dice = retry_random_next(random);
    struct endpoint_waiter *waiter = &waiters[dice % WAITERS];
    struct endpoint *endpoint = &endpoints[(dice >> 8) % ENDPOINTS];
    bool retry = (dice >> 16 & 1) != 0;

    switch (dice >> 20 & 15) {
    case 0:
        walk_change(endpoint, dice >> 32, now_ms);
        break;
    case 1:
        endpoint_leave(waiter);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        walk_end(waiter, dice >> 32, now_ms);
        break;
    default:
        if (waiter->endpoint == NULL &&
            !endpoint_take(endpoint, waiter, retry)) {
            endpoint_wait(endpoint, waiter, retry);
        }
        break;
    }
    for (int i = 0; i < ENDPOINTS; i++) {
        if (endpoint_due_ms(&endpoints[i]) <= now_ms) {
            endpoint_tick(&endpoints[i], now_ms);
        }
    }
}

static void walk(uint64_t seed)
{
    struct retry_random random = {.state = seed};

    memset(waiters, 0, sizeof(waiters));
    endpoint_set_init(&set, 1 + (uint32_t)(seed % 24), (uint32_t)(seed % 9));
    endpoint_set_pace(&set, 10, 80, seed);
    for (int i = 0; i < ENDPOINTS; i++) {
        endpoint_init(&endpoints[i], &set);
    }
    for (uint64_t step = 0; step < STEPS; step++) {
        walk_step(&random, step);
        while (endpoint_next(&set) != NULL) {
        }
        check_promises();
        check_breakers();
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
        cmocka_unit_test(promises_hold_on_any_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
