/* Tests of the event loop's sockets that are given away, over every back end:
 * whatever runs, no byte is lost, and none comes twice.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/io.h"

#include "lib/end.h"
#include "lib/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 16 * 1024 * 1024, STEPS = 40, PIECE = 3000 };

/* Give the socket away; the descriptor it had. */
static int detach(struct io *io, struct end *end)
{
    end_starting(true);
    io_detach(&end->socket);
    io_detach(&end->socket); /* does nothing more */
    end_starting(false);
    LOOP_UNTIL(io, end->closed == 1);
    LOOP_TURNS(io, 2);
    assert_int_equal(end->closed, 1);
    assert_true(end->fd >= 0);
    return end->fd;
}

static void forget(struct end *end)
{
    buf_fini(&end->in);
    (void)close(end->fd);
}

/* Read what is there, at most `size` bytes; how many. */
static size_t drain(int fd, char *to, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t count = read(fd, to + got, size - got);
        if (count <= 0) {
            break;
        }
        got += (size_t)count;
    }
    return got;
}

static void an_idle_one_is_given_away_at_once(void **state)
{
    struct io *io = loop_of(state);
    for (int receiving = 0; receiving < 2; receiving++) {
        static struct end end;
        char text[8];
        int peer = end_pair(io, &end);
        if (receiving) {
            end_receive(&end);
            LOOP_TURNS(io, 2);
        }
        int fd = detach(io, &end);
        assert_int_equal(end.unsent, 0);
        assert_int_equal(write(peer, "later", 5), 5);
        assert_int_equal(drain(fd, text, sizeof(text)), 5);
        assert_int_equal(end.received, 0);
        assert_false(io_busy(io));
        forget(&end);
        (void)close(peer);
    }
}

/* The peer writes all the time; the socket is given away at each step. */
static void a_stream_goes_on_where_it_was(void **state)
{
    struct io *io = loop_of(state);
    char *data = end_pattern((size_t)STEPS * PIECE);
    char *rest = malloc((size_t)STEPS * PIECE);
    assert_non_null(rest);
    for (int step = 0; step < STEPS; step++) {
        static struct end end;
        int peer = end_tcp_pair(io, &end);
        end_receive(&end);
        for (int i = 0; i < STEPS; i++) {
            size_t at = (size_t)i * PIECE;
            assert_int_equal(write(peer, data + at, PIECE), PIECE);
            if (i == step && step % 2 == 0) {
                io_receive_pause(&end.socket); /* some is held back */
            }
            if (i < step) {
                io_run_turn(io, 0);
            } else if (i == step) {
                io_detach(&end.socket);
            }
        }
        (void)close(peer);
        LOOP_UNTIL(io, end.closed == 1);
        size_t got = drain(end.fd, rest, (size_t)STEPS * PIECE);
        assert_int_equal(end.in.size + got, STEPS * PIECE);
        assert_memory_equal(end.in.data, data, end.in.size);
        assert_memory_equal(rest, data + end.in.size, got);
        forget(&end);
    }
    free(rest);
    free(data);
}

static void an_end_that_is_known_is_told(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    char byte;
    int peer = end_pair(io, &end);
    end_receive(&end);
    io_run_turn(io, 0);
    io_receive_pause(&end.socket);
    assert_int_equal(write(peer, "last", 4), 4);
    (void)close(peer);
    LOOP_TURNS(io, 3);
    int fd = detach(io, &end);
    size_t got = 4 - end.in.size;
    char text[4];
    assert_int_equal(drain(fd, text, got), got);
    if (end.ended == 1) {
        assert_int_equal(end.end_err, ERR_CLOSED);
    }
    assert_int_equal(read(fd, &byte, 1), 0); /* and found again */
    forget(&end);
}

/* A send that the peer does not take is gone on with by hand. */
static void a_send_tells_what_is_left_of_it(void **state)
{
    struct io *io = loop_of(state);
    char *data = end_pattern(LARGE);
    char *got = malloc(LARGE);
    assert_non_null(got);
    for (int turns = 0; turns < 6; turns++) {
        static struct end end;
        size_t size = 0;
        int peer = turns % 2 == 0 ? end_tcp_pair(io, &end) : end_pair(io, &end);
        end_receive(&end);
        end_send(&end, data, LARGE);
        for (int i = 0; i < turns; i++) {
            io_run_turn(io, 1);
            size += drain(peer, got + size, 100000);
        }
        int fd = detach(io, &end);
        size_t left = end.unsent;
        assert_int_equal(end.sent, 0);
        assert_true(left > 0 && left <= LARGE);
        size += drain(peer, got + size, LARGE - size);
        while (left > 0) {
            ssize_t count = write(fd, data + LARGE - left, left);
            assert_true(count > 0 || errno == EAGAIN);
            left -= count > 0 ? (size_t)count : 0;
            size += drain(peer, got + size, LARGE - size);
        }
        forget(&end); /* ends its side */
        while (size < LARGE) {
            struct pollfd ready = {.fd = peer, .events = POLLIN};
            assert_int_equal(poll(&ready, 1, 60000), 1);
            size_t more = drain(peer, got + size, LARGE - size);
            assert_true(more > 0);
            size += more;
        }
        assert_memory_equal(got, data, LARGE);
        (void)close(peer);
    }
    free(got);
    free(data);
}

static void closing_before_it_is_given_away_closes(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    char byte;
    int peer = end_pair(io, &end);
    end.close_in_received = true;
    end_receive(&end);
    io_run_turn(io, 0);
    io_receive_pause(&end.socket);
    assert_int_equal(write(peer, "x", 1), 1);
    LOOP_TURNS(io, 2);
    end_starting(true);
    io_detach(&end.socket);
    end_starting(false);
    LOOP_UNTIL(io, end.closed == 1);
    if (end.received == 1) { /* it had been received */
        assert_int_equal(end.fd, -1);
        assert_true(read(peer, &byte, 1) <= 0);
    } else {
        (void)close(end.fd);
    }
    buf_fini(&end.in);
    (void)close(peer);
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST(an_idle_one_is_given_away_at_once),
        LOOP_TEST(a_stream_goes_on_where_it_was),
        LOOP_TEST(an_end_that_is_known_is_told),
        LOOP_TEST(a_send_tells_what_is_left_of_it),
        LOOP_TEST(closing_before_it_is_given_away_closes),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
