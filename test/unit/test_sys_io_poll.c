/* Tests of readiness watches, over every back end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/io.h"

#include "lib/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* A pipe, and a watch of one end of it. */
struct watched {
    struct io_poll poll;
    int pipe[2];
    int calls;
    uint32_t events;       /* of the last call */
    bool drain;            /* read what came */
    struct watched *other; /* stopped and freed by the first call */
};

static void ready(struct io_poll *poll, uint32_t events)
{
    struct watched *watched = (struct watched *)poll;
    char byte;
    watched->calls++;
    watched->events = events;
    if (watched->drain) {
        assert_int_equal(read(watched->pipe[0], &byte, 1), 1);
    }
    if (watched->other != NULL) {
        io_poll_stop(&watched->other->poll);
        (void)close(watched->other->pipe[0]);
        (void)close(watched->other->pipe[1]);
        free(watched->other);
        watched->other = NULL;
        io_poll_stop(poll);
    }
}

static struct watched *watched_create(int end, uint32_t events)
{
    struct watched *watched = calloc(1, sizeof(*watched));
    assert_non_null(watched);
    assert_int_equal(pipe2(watched->pipe, O_CLOEXEC | O_NONBLOCK), 0);
    watched->poll.ready = ready;
    watched->poll.fd = watched->pipe[end];
    watched->poll.events = events;
    return watched;
}

static void watched_destroy(struct watched *watched)
{
    io_poll_stop(&watched->poll);
    (void)close(watched->pipe[0]);
    (void)close(watched->pipe[1]);
    free(watched);
}

static void says_readable_until_it_is_read(void **state)
{
    struct io *io = loop_of(state);
    struct watched *watched = watched_create(0, IO_POLL_READ);
    assert_int_equal(io_poll_start(io, &watched->poll), ERR_OK);
    LOOP_TURNS(io, 3);
    assert_int_equal(watched->calls, 0);
    assert_int_equal(write(watched->pipe[1], "x", 1), 1);
    LOOP_UNTIL(io, watched->calls >= 3);
    assert_int_equal(watched->events, IO_POLL_READ);
    watched->drain = true;
    LOOP_TURNS(io, 3);
    int calls = watched->calls;
    LOOP_TURNS(io, 3);
    assert_int_equal(watched->calls, calls);
    assert_int_equal(write(watched->pipe[1], "y", 1), 1);
    LOOP_UNTIL(io, watched->calls > calls);
    watched_destroy(watched);
}

static void says_writable(void **state)
{
    struct io *io = loop_of(state);
    struct watched *watched = watched_create(1, IO_POLL_WRITE);
    assert_int_equal(io_poll_start(io, &watched->poll), ERR_OK);
    LOOP_UNTIL(io, watched->calls >= 1);
    assert_int_equal(watched->events, IO_POLL_WRITE);
    watched_destroy(watched);
}

static void starting_again_changes_what_is_watched(void **state)
{
    struct io *io = loop_of(state);
    struct watched *watched = watched_create(1, IO_POLL_WRITE);
    assert_int_equal(io_poll_start(io, &watched->poll), ERR_OK);
    LOOP_UNTIL(io, watched->calls >= 1);
    watched->poll.events = IO_POLL_READ;
    assert_int_equal(io_poll_start(io, &watched->poll), ERR_OK);
    LOOP_TURNS(io, 1);
    int calls = watched->calls;
    LOOP_TURNS(io, 3);
    assert_int_equal(watched->calls, calls);
    watched_destroy(watched);
}

static void a_broken_descriptor_is_ready_for_all_that_is_watched(void **state)
{
    struct io *io = loop_of(state);
    struct watched *watched = watched_create(0, IO_POLL_READ);
    assert_int_equal(io_poll_start(io, &watched->poll), ERR_OK);
    (void)close(watched->pipe[1]);
    watched->pipe[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    LOOP_UNTIL(io, watched->calls >= 1);
    assert_int_equal(watched->events, IO_POLL_READ);
    watched_destroy(watched);
}

static void a_callback_may_stop_and_free_another(void **state)
{
    struct io *io = loop_of(state);
    struct watched *first = watched_create(0, IO_POLL_READ);
    struct watched *second = watched_create(0, IO_POLL_READ);
    assert_int_equal(io_poll_start(io, &first->poll), ERR_OK);
    assert_int_equal(io_poll_start(io, &second->poll), ERR_OK);
    assert_int_equal(write(first->pipe[1], "x", 1), 1);
    assert_int_equal(write(second->pipe[1], "x", 1), 1);
    first->other = second;
    LOOP_UNTIL(io, first->other == NULL);
    LOOP_TURNS(io, 3);
    assert_int_equal(first->calls, 1); /* it stopped itself, too */
    watched_destroy(first);
}

static void a_stopped_watch_is_silent_and_may_start_again(void **state)
{
    struct io *io = loop_of(state);
    struct watched *watched = watched_create(0, IO_POLL_READ);
    watched->drain = true;
    assert_int_equal(io_poll_start(io, &watched->poll), ERR_OK);
    io_poll_stop(&watched->poll);
    io_poll_stop(&watched->poll);
    assert_int_equal(write(watched->pipe[1], "x", 1), 1);
    LOOP_TURNS(io, 3);
    assert_int_equal(watched->calls, 0);
    assert_int_equal(io_poll_start(io, &watched->poll), ERR_OK);
    LOOP_UNTIL(io, watched->calls == 1);
    watched_destroy(watched);
}

static void what_cannot_be_watched_is_refused(void **state)
{
    struct io *io = loop_of(state);
    struct io_poll poll = {.ready = ready, .events = IO_POLL_READ};
    poll.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(poll.fd >= 0);
    assert_int_equal(io_poll_start(io, &poll), ERR_IO);
    io_poll_stop(&poll);
    (void)close(poll.fd);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(says_readable_until_it_is_read),
        LOOP_TEST(says_writable),
        LOOP_TEST(starting_again_changes_what_is_watched),
        LOOP_TEST(a_broken_descriptor_is_ready_for_all_that_is_watched),
        LOOP_TEST(a_callback_may_stop_and_free_another),
        LOOP_TEST(a_stopped_watch_is_silent_and_may_start_again),
        LOOP_TEST(what_cannot_be_watched_is_refused),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
