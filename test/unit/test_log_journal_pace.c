/* Tests of log/journal_pace: when a commit waits on the loop.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/journal_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MAX_US = 1000 };

static const uint64_t max_ns = 1000000;

static struct journal_pace pace;
static uint64_t now_ns;

/* Note `count` commits that took so long each; returns how many were inline. */
static int note(int count, uint64_t took_ns)
{
    int inline_count = 0;
    for (int i = 0; i < count; i++) {
        bool on_loop = journal_pace_inline(&pace, now_ns);
        now_ns += took_ns;
        journal_pace_note(&pace, on_loop, took_ns, now_ns);
        inline_count += on_loop;
    }
    return inline_count;
}

static int setup(void **state)
{
    (void)state;
    journal_pace_init(&pace, MAX_US);
    now_ns = 5;
    return 0;
}

static void fast_commits_stay_on_the_loop(void **state)
{
    (void)state;
    assert_int_equal(note(1000, max_ns / 2), 1000);
    assert_true(pace.mean_ns > max_ns / 3 && pace.mean_ns <= max_ns / 2);
}

static void one_slow_commit_among_many_changes_nothing(void **state)
{
    (void)state;
    (void)note(100, max_ns / 10);
    assert_int_equal(note(1, 5 * max_ns), 1);
    assert_int_equal(note(100, max_ns / 10), 100);
}

static void slow_commits_leave_the_loop(void **state)
{
    (void)state;
    (void)note(100, max_ns / 10);
    assert_true(note(50, 4 * max_ns) < 10);
    assert_true(pace.slow);
    assert_true(pace.mean_ns > max_ns);
}

static void between_the_limits_nothing_flaps(void **state)
{
    (void)state;
    (void)note(50, 4 * max_ns);
    assert_true(pace.slow);
    /* Faster than the limit, but not by half: asynchronous, but for probes. */
    uint64_t before_ns = now_ns;
    int probes = note(4000, max_ns * 3 / 4);
    assert_true(pace.slow);
    assert_true((uint64_t)probes <=
                (now_ns - before_ns) / JOURNAL_PACE_PROBE_NS + 1);
    assert_true(probes > 0);
}

static void a_fast_disk_comes_back(void **state)
{
    (void)state;
    (void)note(50, 4 * max_ns);
    assert_true(pace.slow);
    assert_true(note(100, max_ns / 10) > 50);
    assert_false(pace.slow);
}

/* Asynchronous commits take a turn of the loop longer; probes see the disk. */
static void probes_bring_a_busy_loop_back(void **state)
{
    (void)state;
    (void)note(50, 4 * max_ns);
    for (int i = 0; pace.slow; i++) {
        assert_true(i < 10000);
        bool on_loop = journal_pace_inline(&pace, now_ns);
        uint64_t took_ns = on_loop ? max_ns / 10 : 4 * max_ns;
        now_ns += took_ns;
        journal_pace_note(&pace, on_loop, took_ns, now_ns);
    }
    assert_int_equal(note(100, max_ns / 10), 100);
}

static void a_limit_of_0_means_never_on_the_loop(void **state)
{
    (void)state;
    journal_pace_init(&pace, 0);
    assert_int_equal(note(100, 1), 0);
    now_ns += 100 * (uint64_t)JOURNAL_PACE_PROBE_NS;
    assert_int_equal(note(100, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(fast_commits_stay_on_the_loop, setup),
        cmocka_unit_test_setup(one_slow_commit_among_many_changes_nothing,
                               setup),
        cmocka_unit_test_setup(slow_commits_leave_the_loop, setup),
        cmocka_unit_test_setup(between_the_limits_nothing_flaps, setup),
        cmocka_unit_test_setup(a_fast_disk_comes_back, setup),
        cmocka_unit_test_setup(probes_bring_a_busy_loop_back, setup),
        cmocka_unit_test_setup(a_limit_of_0_means_never_on_the_loop, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
