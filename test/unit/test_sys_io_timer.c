/* Tests of the event loop's timers, and of the wheel under them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "sys/io_private.h"

#include "lib/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 5000 };

struct alarm {
    struct io_timer timer;
    struct io *io;
    uint64_t due_ns; /* not before this */
    int count;       /* calls */
    int order;       /* which call of all it was */
    struct alarm *stops;
    uint64_t restart_ms;
    int restarts;
};

static int calls;

/* A generator with a seed, so that a failure comes again. */
static uint32_t seed;

static uint32_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static void alarm_expired(struct io_timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    assert_false(io_timer_running(timer));
    assert_true(clock_monotonic_ns() >= alarm->due_ns);
    alarm->count++;
    alarm->order = ++calls;
    if (alarm->stops != NULL) {
        io_timer_stop(alarm->io, &alarm->stops->timer);
    }
    if (alarm->restarts > 0) {
        alarm->restarts--;
        io_timer_start(alarm->io, timer, alarm->restart_ms);
    }
}

static void start(struct io *io, struct alarm *alarm, uint64_t delay_ms)
{
    alarm->io = io;
    alarm->timer.expired = alarm_expired;
    alarm->due_ns = clock_monotonic_ns() + delay_ms * 1000000;
    io_timer_start(io, &alarm->timer, delay_ms);
}

static void timers_expire_in_order_and_never_early(void **state)
{
    struct io *io = loop_of(state);
    struct alarm alarms[4] = {{.count = 0}};
    const uint64_t delays[] = {70, 5, 130, 0};
    for (int i = 0; i < 4; i++) {
        start(io, &alarms[i], delays[i]);
        assert_true(io_timer_running(&alarms[i].timer));
    }
    calls = 0;
    LOOP_UNTIL(io, calls == 4);
    assert_int_equal(alarms[3].order, 1);
    assert_int_equal(alarms[1].order, 2);
    assert_int_equal(alarms[0].order, 3);
    assert_int_equal(alarms[2].order, 4);
}

static void starting_again_moves_a_timer(void **state)
{
    struct io *io = loop_of(state);
    struct alarm alarm = {.count = 0};
    struct alarm mark = {.count = 0};
    start(io, &alarm, 1);
    start(io, &alarm, 60); /* due_ns is checked when it expires */
    start(io, &mark, 30);
    LOOP_UNTIL(io, mark.count == 1);
    assert_int_equal(alarm.count, 0);
    LOOP_UNTIL(io, alarm.count == 1);
    LOOP_TURNS(io, 3);
    assert_int_equal(alarm.count, 1);
}

static void a_stopped_timer_does_not_expire(void **state)
{
    struct io *io = loop_of(state);
    struct alarm alarm = {.count = 0};
    struct alarm mark = {.count = 0};
    io_timer_stop(io, &alarm.timer); /* was never started */
    start(io, &alarm, 5);
    io_timer_stop(io, &alarm.timer);
    io_timer_stop(io, &alarm.timer);
    assert_false(io_timer_running(&alarm.timer));
    start(io, &mark, 20);
    LOOP_UNTIL(io, mark.count == 1);
    assert_int_equal(alarm.count, 0);
}

static void a_callback_may_stop_one_due_at_the_same_time(void **state)
{
    struct io *io = loop_of(state);
    struct alarm alarms[2] = {{.count = 0}};
    alarms[0].stops = &alarms[1];
    alarms[1].stops = &alarms[0];
    start(io, &alarms[0], 10);
    start(io, &alarms[1], 10);
    /* The same tick, in case the clock moved between. */
    io_timer_stop(io, &alarms[1].timer);
    alarms[1].timer.due_ms = alarms[0].timer.due_ms;
    io_wheel_add(&io->wheel, &alarms[1].timer);
    LOOP_UNTIL(io, alarms[0].count + alarms[1].count > 0);
    LOOP_TURNS(io, 3);
    assert_int_equal(alarms[0].count, 1);
    assert_int_equal(alarms[1].count, 0);
}

static void a_callback_may_start_its_timer_again(void **state)
{
    struct io *io = loop_of(state);
    struct alarm alarm = {.restarts = 20, .restart_ms = 0};
    start(io, &alarm, 0);
    uint64_t turns = io_stats(io)->turns;
    LOOP_UNTIL(io, alarm.count == 21);
    /* Once a turn: one that starts itself with no delay stops nobody. */
    assert_true(io_stats(io)->turns - turns >= 21);
}

static void a_loop_sleeps_until_its_first_timer(void **state)
{
    struct io *io = loop_of(state);
    struct alarm alarm = {.count = 0};
    io_run_turn(io, 0);
    start(io, &alarm, 150); /* two levels up */
    uint64_t waits = io_stats(io)->waits;
    uint64_t begin = clock_monotonic_ns();
    while (alarm.count == 0) {
        io_run_turn(io, -1);
    }
    /* Once, but the kernel may interrupt us to tidy up an io_uring that the
     * test before has destroyed. With ticks it would be 150. */
    assert_true(io_stats(io)->waits - waits <= 8);
    /* Late by scheduling only; the bound is generous, the machine is shared. */
    assert_true(clock_monotonic_ns() - begin < UINT64_C(20000000000));
}

static void time_spent_before_running_counts(void **state)
{
    struct io *io = loop_of(state);
    struct alarm alarm = {.count = 0};
    uint64_t begin = clock_monotonic_ns();
    while (clock_monotonic_ns() - begin < 30000000) {
        /* Start-up takes its time after io_create(). */
    }
    start(io, &alarm, 20); /* not early by those 30 ms: see alarm_expired() */
    LOOP_UNTIL(io, alarm.count == 1);
}

static void thousands_of_timers_all_expire(void **state)
{
    struct io *io = loop_of(state);
    struct alarm *alarms = calloc(MANY, sizeof(*alarms));
    assert_non_null(alarms);
    seed = 7;
    calls = 0;
    for (int i = 0; i < MANY; i++) {
        start(io, &alarms[i], next_random() % 200);
    }
    for (int i = 0; i < MANY; i += 2) {
        io_timer_stop(io, &alarms[i].timer);
    }
    LOOP_UNTIL(io, calls == MANY / 2);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(alarms[i].count, i % 2);
    }
    free(alarms);
}

/* --- the wheel against a plain list -------------------------------------- */

struct model {
    struct io_timer timers[200];
    uint64_t due[200]; /* 0: not running */
    uint64_t now;
};

static struct model model;

static void model_expired(struct io_timer *timer)
{
    size_t index = (size_t)(timer - model.timers);
    assert_true(model.due[index] != 0 && model.due[index] <= model.now);
    model.due[index] = 0;
}

static uint64_t model_next(void)
{
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < 200; i++) {
        if (model.due[i] != 0 && model.due[i] < next) {
            next = model.due[i];
        }
    }
    return next;
}

static void wheel_start(struct io_wheel *wheel, int index, uint64_t due)
{
    struct io_timer *timer = &model.timers[index];
    list_remove(&timer->link);
    timer->expired = model_expired;
    timer->due_ms = due;
    model.due[index] = due;
    io_wheel_add(wheel, timer);
}

static uint64_t random_span(void)
{
    unsigned bits = next_random() % 30;
    return 1 + ((uint64_t)next_random() & ((UINT64_C(1) << bits) - 1));
}

static void the_wheel_agrees_with_a_list(void **state)
{
    (void)state;
    static struct io_wheel wheel;
    memset(&model, 0, sizeof(model));
    seed = 11;
    model.now = 123456789;
    io_wheel_init(&wheel, model.now);
    for (int step = 0; step < 20000; step++) {
        int index = (int)(next_random() % 200);
        if (next_random() % 4 == 0) {
            list_remove(&model.timers[index].link);
            model.due[index] = 0;
        } else {
            wheel_start(&wheel, index, model.now + random_span());
        }
        uint64_t first = model_next();
        uint64_t next = io_wheel_next_ms(&wheel);
        assert_true(next <= first);
        assert_true((next == UINT64_MAX) == (first == UINT64_MAX));
        model.now += next_random() % 3 == 0 ? random_span() : 1;
        io_wheel_advance(&wheel, model.now);
        /* None is left behind. */
        assert_true(model_next() > model.now);
    }
}

static void a_lone_timer_is_woken_for_exactly(void **state)
{
    (void)state;
    static struct io_wheel wheel;
    memset(&model, 0, sizeof(model));
    model.now = 1000;
    for (uint64_t span = 1; span < (UINT64_C(1) << 40); span = span * 3 + 1) {
        io_wheel_init(&wheel, model.now);
        wheel_start(&wheel, 0, model.now + span);
        assert_int_equal(io_wheel_next_ms(&wheel), model.now + span);
        model.now += span - 1;
        io_wheel_advance(&wheel, model.now);
        assert_int_not_equal(model.due[0], 0);
        model.now++;
        io_wheel_advance(&wheel, model.now);
        assert_int_equal(model.due[0], 0);
        assert_true(io_wheel_next_ms(&wheel) == UINT64_MAX);
    }
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST(timers_expire_in_order_and_never_early),
        LOOP_TEST(starting_again_moves_a_timer),
        LOOP_TEST(a_stopped_timer_does_not_expire),
        LOOP_TEST(a_callback_may_stop_one_due_at_the_same_time),
        LOOP_TEST(a_callback_may_start_its_timer_again),
        LOOP_TEST(a_loop_sleeps_until_its_first_timer),
        LOOP_TEST(time_spent_before_running_counts),
        LOOP_TEST(thousands_of_timers_all_expire),
        LOOP_TEST(the_wheel_agrees_with_a_list),
        LOOP_TEST(a_lone_timer_is_woken_for_exactly),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
