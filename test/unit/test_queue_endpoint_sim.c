/* Seeded simulations of queue/endpoint over time: many senders that send again
 * as soon as they may, targets that are fast, slow, dead or rise again, and a
 * clock of our own.
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
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    TARGETS_MAX = 100,
    SENDERS_MAX = 20000,
    DAYS_MS = 1 << 17, /* a ring of milliseconds; longer waits are cut */
    SECONDS_MAX = 200,
    START_MS = 1000000,
};

/* How a target behaves. */
struct habit {
    uint32_t least_ms; /* it answers between these, */
    uint32_t most_ms;
    bool silent;          /* or not at all, by then */
    uint64_t up_ms;       /* silent up to here; 0: as `silent` says */
    uint32_t senders;     /* that have a message for it at any time */
    uint32_t at_once_max; /* more in flight get a 503; 0: any number */
};

struct target {
    struct endpoint endpoint;
    struct habit habit;
    uint32_t delivered;
    uint32_t attempts;
    uint32_t in_flight_most;
    uint32_t arrivals[SECONDS_MAX]; /* attempts in each second */
};

enum sender_state {
    SENDER_READY,
    SENDER_WAITING,
    SENDER_FLYING,
    SENDER_BACKOFF
};

struct sender {
    struct endpoint_waiter waiter;
    struct list link; /* in days[] while flying or backing off */
    struct target *target;
    enum sender_state state;
    uint32_t failures; /* in a row */
    uint64_t sent_ms;
    bool silent;  /* there will be no answer */
    bool refused; /* with a 503 */
};

static struct endpoint_set set;
static struct target targets[TARGETS_MAX];
static uint32_t target_count;
static struct sender senders[SENDERS_MAX];
static uint32_t sender_count;
static struct list days[DAYS_MS];
static struct list ready; /* senders that may be sent at once */
static struct retry_random dice;
static uint64_t now_ms;

static const struct retry_policy policy = {1000, 600000, 86400000};

static void begin(uint32_t in_flight_max, uint32_t endpoint_max, uint64_t seed)
{
    memset(targets, 0, sizeof(targets));
    memset(senders, 0, sizeof(senders));
    endpoint_set_init(&set, in_flight_max, endpoint_max);
    set.random.state = seed;
    dice.state = seed;
    target_count = 0;
    sender_count = 0;
    now_ms = START_MS;
    list_init(&ready);
    for (uint32_t i = 0; i < DAYS_MS; i++) {
        list_init(&days[i]);
    }
}

static struct target *add_target(struct habit habit)
{
    CHECK(target_count < TARGETS_MAX);
    struct target *target = &targets[target_count++];

    target->habit = habit;
    endpoint_init(&target->endpoint, &set);
    return target;
}

/* Make the senders of all targets, shuffled. */
static void add_senders(void)
{
    for (uint32_t i = 0; i < target_count; i++) {
        for (uint32_t j = 0; j < targets[i].habit.senders; j++) {
            CHECK(sender_count < SENDERS_MAX);
            senders[sender_count++].target = &targets[i];
        }
    }
    for (uint32_t i = sender_count - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(retry_random_next(&dice) % (i + 1));
        struct target *target = senders[i].target;
        senders[i].target = senders[j].target;
        senders[j].target = target;
    }
    for (uint32_t i = 0; i < sender_count; i++) {
        list_append(&ready, &senders[i].link);
    }
}

static void schedule(struct sender *sender, uint64_t delay_ms)
{
    uint64_t wait_ms = delay_ms < DAYS_MS - 1 ? delay_ms : DAYS_MS - 1;

    wait_ms = wait_ms > 0 ? wait_ms : 1;
    list_append(&days[(now_ms + wait_ms) % DAYS_MS], &sender->link);
}

/* The request goes out. What becomes of it is known to the target only. */
static void fly(struct sender *sender)
{
    struct target *target = sender->target;
    const struct habit *habit = &target->habit;
    uint64_t span_ms = habit->most_ms - habit->least_ms + 1;
    uint32_t in_flight = target->endpoint.in_flight;

    sender->state = SENDER_FLYING;
    sender->sent_ms = now_ms;
    sender->silent = habit->up_ms > 0 ? now_ms < habit->up_ms : habit->silent;
    sender->refused = habit->at_once_max > 0 && in_flight > habit->at_once_max;
    target->attempts++;
    target->arrivals[(now_ms - START_MS) / 1000]++;
    if (in_flight > target->in_flight_most) {
        target->in_flight_most = in_flight;
    }
    schedule(sender, habit->least_ms + retry_random_next(&dice) % span_ms);
}

static void land(struct sender *sender)
{
    struct target *target = sender->target;
    struct endpoint_result result = {
        .err = sender->silent ? ERR_TIMEOUT : ERR_OK,
        .status = sender->silent    ? 0
                  : sender->refused ? 503
                                    : 200,
        .elapsed_us = (now_ms - sender->sent_ms) * 1000,
        .now_ms = now_ms,
    };

    result.delivered = result.status == 200;
    endpoint_note(&sender->waiter, &result);
    endpoint_leave(&sender->waiter);
    if (result.delivered) {
        target->delivered++;
        sender->failures = 0;
        sender->state = SENDER_READY;
        list_append(&ready, &sender->link);
        return;
    }
    sender->failures++;
    sender->state = SENDER_BACKOFF;
    schedule(sender, retry_delay_ms(&policy, sender->failures, &dice));
}

static void give_slots(void)
{
    struct endpoint_waiter *waiter = NULL;

    while ((waiter = endpoint_next(&set)) != NULL) {
        fly(CONTAINER_OF(waiter, struct sender, waiter));
    }
}

/* A turn of the loop, as the deliverer has it. */
static void turn(void)
{
    struct list *link = NULL;

    while ((link = list_take_first(&days[now_ms % DAYS_MS])) != NULL) {
        struct sender *sender = CONTAINER_OF(link, struct sender, link);
        if (sender->state == SENDER_FLYING) {
            land(sender);
        } else {
            sender->state = SENDER_READY;
            list_append(&ready, &sender->link);
        }
    }
    for (uint32_t i = 0; i < target_count; i++) {
        if (endpoint_due_ms(&targets[i].endpoint) <= now_ms) {
            endpoint_tick(&targets[i].endpoint, now_ms);
        }
    }
    give_slots();
    while ((link = list_take_first(&ready)) != NULL) {
        struct sender *sender = CONTAINER_OF(link, struct sender, link);
        struct endpoint *endpoint = &sender->target->endpoint;
        bool retry = sender->failures > 0;
        sender->state = SENDER_WAITING;
        if (endpoint_take(endpoint, &sender->waiter, retry)) {
            fly(sender);
        } else {
            endpoint_wait(endpoint, &sender->waiter, retry);
        }
    }
    give_slots();
}

static void run(uint64_t span_ms)
{
    CHECK(now_ms + span_ms - START_MS <= (uint64_t)SECONDS_MAX * 1000);
    for (uint64_t end_ms = now_ms + span_ms; now_ms < end_ms; now_ms++) {
        turn();
    }
}

static void finish(void)
{
    for (uint32_t i = 0; i < sender_count; i++) {
        endpoint_leave(&senders[i].waiter);
    }
    for (uint32_t i = 0; i < target_count; i++) {
        endpoint_fini(&targets[i].endpoint);
    }
}

/* --- isolation ------------------------------------------------------------ */

enum { OTHERS = 79, DEAD = 10, SLOW = 10 };

static const struct habit usual = {.least_ms = 5, .most_ms = 15, .senders = 4};

/* What the 79 get in 20 s, with or without those that misbehave. */
static uint32_t measure(bool with_others, uint64_t seed, uint32_t *out_least)
{
    uint32_t sum = 0;
    uint32_t least = UINT32_MAX;

    begin(400, 100, seed);
    for (int i = 0; i < OTHERS; i++) {
        (void)add_target(usual);
    }
    for (int i = 0; with_others && i < DEAD; i++) {
        /* Half of them refuse, half of them swallow. */
        uint32_t ms = i % 2 == 0 ? 1 : 5000;
        (void)add_target((struct habit){
            .least_ms = ms, .most_ms = ms, .silent = true, .senders = 300});
    }
    for (int i = 0; with_others && i < SLOW; i++) {
        (void)add_target(
            (struct habit){.least_ms = 1000, .most_ms = 5000, .senders = 300});
    }
    if (with_others) {
        (void)add_target(
            (struct habit){.least_ms = 5, .most_ms = 15, .senders = 5000});
    }
    add_senders();
    run(20000);
    for (int i = 0; i < OTHERS; i++) {
        sum += targets[i].delivered;
        least = targets[i].delivered < least ? targets[i].delivered : least;
    }
    finish();
    *out_least = least;
    return sum;
}

static void dead_slow_and_bursting_ones_cost_the_others_little(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint32_t alone_least = 0;
        uint32_t least = 0;
        uint32_t alone = measure(false, seed, &alone_least);
        uint32_t beside = measure(true, seed, &least);
        print_message("seed %d: %u of %u, the worst %u of %u\n", (int)seed,
                      beside, alone, least, alone_least);
        assert_true(beside * UINT64_C(10) >= alone * UINT64_C(9));
        assert_true(least * UINT64_C(10) >= alone_least * UINT64_C(9));
    }
}

static void healthy_target_gets_all_that_it_may(void **state)
{
    (void)state;
    begin(1024, 256, 1);
    struct target *target = add_target(
        (struct habit){.least_ms = 10, .most_ms = 10, .senders = 1000});
    add_senders();
    run(10000);
    uint32_t most = 256 * 1000; /* 256 in flight, 100 times a second, 10 s */
    print_message("%u of %u\n", target->delivered, most);
    assert_true(target->delivered <= most);
    assert_true(target->delivered >= most / 100 * 98);
    assert_int_equal(target->in_flight_most, 256);
    finish();
}

/* --- outages -------------------------------------------------------------- */

enum { OUTAGE_MS = 60000 };

/* A target that is out for a minute, then answers within 100 ms. */
static struct target *add_outage(void)
{
    return add_target((struct habit){.least_ms = 100,
                                     .most_ms = 100,
                                     .up_ms = START_MS + OUTAGE_MS,
                                     .senders = 10000});
}

static void outage_costs_few_attempts_and_one_probe_at_a_time(void **state)
{
    (void)state;
    begin(1024, 256, 7);
    struct target *target = add_outage();
    const struct endpoint *endpoint = &target->endpoint;
    add_senders();
    run(1000);
    assert_int_equal(target->attempts, CONGESTION_FIRST); /* all at once */
    uint32_t before = target->attempts;
    uint64_t end_ms = START_MS + OUTAGE_MS;
    while (now_ms < end_ms) {
        run(1);
        assert_true(endpoint->in_flight <= 1);
        assert_true(endpoint->breaker.state != BREAKER_CLOSED);
    }
    /* After 1, 2, 4, 8, 16, 32 seconds, each 20 % more or less. */
    assert_in_range(target->attempts - before, 5, 7);
    assert_true(endpoint->waiting + CONGESTION_FIRST + 7 >= 10000);
    finish();
}

/* Most in flight in each 100 ms, the first time that an answer came included,
 * is never more than twice what it was before. */
static void after_an_outage_it_begins_low_and_grows(void **state)
{
    (void)state;
    enum { STEPS = 200 };
    static uint32_t most[STEPS];

    for (uint64_t seed = 1; seed <= 3; seed++) {
        begin(1024, 256, seed);
        struct target *target = add_outage();
        const struct endpoint *endpoint = &target->endpoint;
        add_senders();
        while (target->delivered == 0) {
            run(1);
        }
        assert_true(now_ms <= START_MS + 2 * OUTAGE_MS + 12000);
        for (int i = 0; i < STEPS; i++) {
            most[i] = 0;
            for (int ms = 0; ms < 100; ms++) {
                run(1);
                most[i] = endpoint->in_flight > most[i] ? endpoint->in_flight
                                                        : most[i];
            }
            assert_true(i == 0 || most[i] <= 2 * most[i - 1]);
            assert_true(most[i] <= endpoint->congestion.window);
        }
        print_message("seed %d: %u %u %u %u %u, %u after 2 s, %u after 20 s\n",
                      (int)seed, most[0], most[1], most[2], most[3], most[4],
                      most[19], most[STEPS - 1]);
        assert_in_range(most[0], 2, 4); /* doubling, for up to two rounds */
        assert_in_range(most[2], 8, 16);
        assert_true(most[STEPS - 1] > 150);
        assert_true(target->in_flight_most <= 256);
        finish();
    }
}

static void limited_release_has_no_second_above_its_rate(void **state)
{
    (void)state;
    struct settings_rate rate = {.count = 100, .period_ms = 1000};

    begin(1024, 256, 9);
    struct target *target = add_outage();
    add_senders();
    run(OUTAGE_MS);
    endpoint_reset(&target->endpoint);
    endpoint_limit(&target->endpoint, &rate, now_ms);
    run(60000);
    for (int second = 61; second < 119; second++) {
        assert_in_range(target->arrivals[second], 99, 101);
    }
    assert_true(target->arrivals[60] <= 101);
    finish();
}

/* --- overload ------------------------------------------------------------- */

static void window_settles_near_what_a_target_can_do(void **state)
{
    (void)state;
    begin(1024, 256, 5);
    struct target *target = add_target((struct habit){
        .least_ms = 20, .most_ms = 20, .senders = 15000, .at_once_max = 40});
    add_senders();
    run(10000); /* it is found out */
    uint32_t delivered = target->delivered;
    uint32_t attempts = target->attempts;
    run(60000);
    delivered = target->delivered - delivered;
    attempts = target->attempts - attempts;
    uint32_t most = 60 * 50 * 40;
    print_message("%u of %u, %u refused\n", delivered, most,
                  attempts - delivered);
    assert_true(delivered >= most / 100 * 65);
    assert_true((attempts - delivered) * 20 <= attempts);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy_target_gets_all_that_it_may),
        cmocka_unit_test(outage_costs_few_attempts_and_one_probe_at_a_time),
        cmocka_unit_test(after_an_outage_it_begins_low_and_grows),
        cmocka_unit_test(limited_release_has_no_second_above_its_rate),
        cmocka_unit_test(window_settles_near_what_a_target_can_do),
        cmocka_unit_test(dead_slow_and_bursting_ones_cost_the_others_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
