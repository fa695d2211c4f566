/* Event loops for tests: each test is run over every back end.
 *
 *     static void a_fact(void **state)
 *     {
 *         struct io *io = loop_of(state);
 *         ...
 *         LOOP_UNTIL(io, end.received == 5);
 *     }
 *     ...
 *     return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
 *
 * Where a back end is not available its tests are skipped.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_LOOP_H
#define OPQ_TEST_LIB_LOOP_H

#include "sys/clock.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stddef.h>

struct loop_test {
    const char *name;
    void (*run)(void **state);
    bool once; /* no matter of the back end: run over the first alone */
};

#define LOOP_TEST(function)                                                    \
    {                                                                          \
        .name = #function, .run = (function)                                   \
    }

/* A test that costs much and whose way does not depend on the back end. */
#define LOOP_TEST_ONCE(function)                                               \
    {                                                                          \
        .name = #function, .run = (function), .once = true                     \
    }

enum { LOOP_TESTS_MAX = 64 };

/* Run every test once over each back end, or once. Returns main()'s exit code.
 */
int loop_run_tests(const struct loop_test *tests, size_t count);

/* The loop of a test; made before it, freed after it. Skips the test when the
 * back end is not available. */
struct io *loop_of(void **state);

/* Run turns until a condition holds; fail the test after a minute: what a
 * sanitizer builds is slow, and others may use the machine. */
#define LOOP_UNTIL(io, condition)                                              \
    do {                                                                       \
        uint64_t until_ns = clock_monotonic_ns() + 60000000000U;               \
        while (!(condition)) {                                                 \
            assert_true(clock_monotonic_ns() < until_ns);                      \
            io_run_turn((io), 100);                                            \
        }                                                                      \
    } while (0)

/* Run some turns that do not wait, for what must not happen. */
#define LOOP_TURNS(io, count)                                                  \
    do {                                                                       \
        for (int turn_index = 0; turn_index < (count); turn_index++) {         \
            io_run_turn((io), 1);                                              \
        }                                                                      \
    } while (0)

#endif
