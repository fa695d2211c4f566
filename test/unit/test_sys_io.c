/* Tests of the event loop's sockets, over every back end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/io.h"

#include "lib/end.h"
#include "lib/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    LARGE = 4 * 1024 * 1024, /* more than the kernel keeps for a socket */
    WRITE_PAUSE_MS = 20,     /* between one and the next */
    CROWD = 400,             /* more sockets than there are shared buffers */
};

/* --- waiting for many ------------------------------------------------------
 */

struct writer {
    int fds[3];
    int count;
};

static void *write_in_turn(void *context)
{
    struct writer *writer = context;
    for (int i = 0; i < writer->count; i++) {
        (void)poll(NULL, 0, WRITE_PAUSE_MS);
        assert_int_equal(write(writer->fds[i], "x", 1), 1);
    }
    return NULL;
}

/* Three ends, of which `count` get a byte one after the other, while one turn
 * waits for `gather` of them. Returns how many it brought. */
static int gather(struct io *io, int count, uint32_t gather, uint64_t span_ns)
{
    static struct end ends[3];
    struct writer writer = {.count = count};
    pthread_t thread;
    for (int i = 0; i < 3; i++) {
        writer.fds[i] = end_pair(io, &ends[i]);
        end_receive(&ends[i]);
    }
    end_send(&ends[0], "y", 1); /* does not count */
    bool counts = strcmp(io_backend_name(io), "io_uring") == 0;
    assert_int_equal(io_gather(io, gather, span_ns), counts);
    assert_int_equal(pthread_create(&thread, NULL, write_in_turn, &writer), 0);
    io_run_turn(io, -1);
    int received = ends[0].received + ends[1].received + ends[2].received;
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 3; i++) {
        end_finish(&ends[i]);
        (void)close(writer.fds[i]);
    }
    return received;
}

static void a_wait_for_many_takes_them_in_one_turn(void **state)
{
    struct io *io = loop_of(state);
    bool exact = strcmp(io_backend_name(io), "io_uring") == 0;
    int received = gather(io, 3, 3, UINT64_C(60000000000));
    assert_true(exact ? received == 3 : received <= 3);
}

static void a_wait_for_many_ends_in_time(void **state)
{
    struct io *io = loop_of(state);
    uint64_t begun_ns = clock_monotonic_ns();
    int received = gather(io, 1, 3, 200000000);
    uint64_t took_ns = clock_monotonic_ns() - begun_ns;
    assert_true(received <= 1);
    assert_true(took_ns < UINT64_C(30000000000));
    if (strcmp(io_backend_name(io), "io_uring") == 0) {
        assert_int_equal(received, 1);
        assert_true(took_ns >= 200000000);
    }
}

static void a_wait_for_many_is_for_one_turn(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    int peer = end_pair(io, &end);
    end_receive(&end);
    (void)io_gather(io, 100, 1000000);
    io_run_turn(io, -1);
    assert_int_equal(write(peer, "x", 1), 1);
    io_run_turn(io, -1); /* for as long as it takes, but for one */
    LOOP_UNTIL(io, end.received == 1);
    end_finish(&end);
    (void)close(peer);
}

/* --- sending ------------------------------------------------------------- */

static void send_large(struct io *io, struct end *end, int peer)
{
    char *data = end_pattern(LARGE);
    static char chunk[50000];
    size_t got = 0;
    end_send(end, data, LARGE);
    LOOP_TURNS(io, 3);
    assert_int_equal(end->sent, 0); /* the kernel has not room for it */
    while (got < LARGE) {
        ssize_t size = read(peer, chunk, sizeof(chunk));
        if (size < 0) {
            assert_int_equal(errno, EAGAIN);
            io_run_turn(io, 1);
            continue;
        }
        assert_memory_equal(chunk, data + got, (size_t)size);
        got += (size_t)size;
    }
    LOOP_UNTIL(io, end->sent == 1);
    assert_int_equal(end->sent_err, ERR_OK);
    free(data);
}

static void a_large_send_waits_for_a_slow_reader(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    for (int tcp = 0; tcp < 2; tcp++) {
        int peer = tcp ? end_tcp_pair(io, &end) : end_pair(io, &end);
        if (!tcp) {
            end_receive(&end); /* with a receive beside it, too */
        }
        send_large(io, &end, peer);
        end_finish(&end);
        (void)close(peer);
    }
}

static void parts_are_sent_in_order(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    int peer = end_pair(io, &end);
    struct iovec parts[IO_SEND_PARTS_MAX];
    char text[IO_SEND_PARTS_MAX + 1] = "0123456789abcdef";
    char got[32] = "";
    for (int i = 0; i < IO_SEND_PARTS_MAX; i++) {
        parts[i] = (struct iovec){&text[i], i == 3 ? 0 : 1};
    }
    io_send(&end.socket, parts, IO_SEND_PARTS_MAX);
    memset(parts, 0, sizeof(parts)); /* they were copied */
    LOOP_UNTIL(io, end.sent == 1);
    assert_int_equal(read(peer, got, sizeof(got)), 15);
    assert_string_equal(got, "012456789abcdef");
    parts[0] = (struct iovec){text, 0};
    io_send(&end.socket, parts, 1); /* nothing at all */
    LOOP_UNTIL(io, end.sent == 2);
    assert_int_equal(end.sent_err, ERR_OK);
    end_finish(&end);
    (void)close(peer);
}

static void a_crowd_sends_in_one_turn(void **state)
{
    struct io *io = loop_of(state);
    enum { SENDERS = 1500 }; /* more than a submission ring holds */
    struct end *ends = calloc(SENDERS, sizeof(*ends));
    int *peers = calloc(SENDERS, sizeof(*peers));
    int *numbers = calloc(SENDERS, sizeof(*numbers));
    assert_true(ends != NULL && peers != NULL && numbers != NULL);
    for (int i = 0; i < SENDERS; i++) {
        peers[i] = end_pair(io, &ends[i]);
        end_receive(&ends[i]);
    }
    for (int i = 0; i < SENDERS; i++) {
        numbers[i] = i;
        end_send(&ends[i], &numbers[i], sizeof(int));
    }
    for (int i = 0; i < SENDERS; i++) {
        int got = -1;
        LOOP_UNTIL(io, ends[i].sent == 1);
        assert_int_equal(ends[i].sent_err, ERR_OK);
        assert_int_equal(read(peers[i], &got, sizeof(got)), sizeof(got));
        assert_int_equal(got, i);
        (void)close(peers[i]);
    }
    for (int i = 0; i < SENDERS; i++) {
        end_close(&ends[i]);
    }
    for (int i = 0; i < SENDERS; i++) {
        end_finish(&ends[i]);
    }
    free(ends);
    free(peers);
    free(numbers);
}

static void a_peer_that_is_gone_resets_a_send(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    char *data = end_pattern(LARGE);
    int peer = end_tcp_pair(io, &end);
    end_receive(&end);
    end_send(&end, data, LARGE);
    LOOP_TURNS(io, 3);
    assert_int_equal(end.sent, 0);
    end_reset_tcp(peer);
    LOOP_UNTIL(io, end.sent == 1 && end.ended == 1);
    assert_int_equal(end.sent_err, ERR_RESET);
    assert_true(end.end_err == ERR_RESET || end.end_err == ERR_CLOSED);
    end_send(&end, data, 10); /* and again, at once */
    LOOP_UNTIL(io, end.sent == 2);
    assert_int_equal(end.sent_err, ERR_RESET);
    end_finish(&end);
    free(data);
}

/* --- receiving ----------------------------------------------------------- */

/* Write all of it while the loop runs. */
static void write_all(struct io *io, int fd, const char *data, size_t size)
{
    size_t done = 0;
    uint64_t until_ns = clock_monotonic_ns() + 60000000000U;
    while (done < size) {
        assert_true(clock_monotonic_ns() < until_ns);
        ssize_t moved = write(fd, data + done, size - done);
        assert_true(moved >= 0 || errno == EAGAIN);
        done += moved > 0 ? (size_t)moved : 0;
        io_run_turn(io, 0);
    }
}

static void a_large_stream_arrives_whole(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    char *data = end_pattern(LARGE);
    for (int tcp = 0; tcp < 2; tcp++) {
        int peer = tcp ? end_tcp_pair(io, &end) : end_pair(io, &end);
        end_receive(&end);
        end_receive(&end); /* does nothing more */
        write_all(io, peer, data, LARGE);
        (void)close(peer);
        LOOP_UNTIL(io, end.ended == 1);
        assert_int_equal(end.end_err, ERR_CLOSED);
        assert_int_equal(end.in.size, LARGE);
        assert_memory_equal(end.in.data, data, LARGE);
        end_finish(&end);
    }
    free(data);
}

static void a_pause_holds_bytes_and_the_end_back(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    int peer = end_pair(io, &end);
    end_receive(&end);
    io_run_turn(io, 0);
    io_receive_pause(&end.socket);
    assert_int_equal(write(peer, "while ", 6), 6);
    LOOP_TURNS(io, 3);
    assert_int_equal(write(peer, "paused", 6), 6);
    (void)close(peer);
    LOOP_TURNS(io, 3);
    assert_int_equal(end.received, 0);
    assert_int_equal(end.ended, 0);
    end_receive(&end);
    assert_int_equal(end.received, 0);
    LOOP_UNTIL(io, end.ended == 1);
    assert_int_equal(end.in.size, 12);
    assert_memory_equal(end.in.data, "while paused", 12);
    end_finish(&end);
}

static void a_pause_is_felt_by_the_peer(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    char *data = end_pattern(LARGE);
    int peer = end_pair(io, &end);
    size_t taken = 0;
    end_receive(&end);
    io_run_turn(io, 0);
    io_receive_pause(&end.socket);
    for (int stuck = 0; stuck < 10;) {
        ssize_t moved = write(peer, data + taken, LARGE - taken);
        taken += moved > 0 ? (size_t)moved : 0;
        stuck = moved > 0 ? 0 : stuck + 1;
        assert_true(taken < LARGE);
        io_run_turn(io, 1);
    }
    end_receive(&end);
    write_all(io, peer, data + taken, LARGE - taken);
    (void)close(peer);
    LOOP_UNTIL(io, end.ended == 1);
    assert_int_equal(end.in.size, LARGE);
    assert_memory_equal(end.in.data, data, LARGE);
    end_finish(&end);
    free(data);
}

static void pausing_in_each_callback_keeps_the_order(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    char *data = end_pattern(LARGE / 4);
    size_t done = 0;
    int peer = end_pair(io, &end);
    end.pause_each = true;
    for (int step = 0; end.in.size < LARGE / 4; step++) {
        assert_true(step < 100000);
        if (done < LARGE / 4) {
            ssize_t moved = write(peer, data + done, LARGE / 4 - done);
            done += moved > 0 ? (size_t)moved : 0;
        }
        int before = end.received;
        io_run_turn(io, 0);
        assert_true(end.received <= before + 1);
        if (step % 3 == 0) {
            end_receive(&end);
        }
    }
    assert_memory_equal(end.in.data, data, LARGE / 4);
    end_finish(&end);
    (void)close(peer);
    free(data);
}

/* However long it lasts, little is held for one that takes slowly. */
static void a_slow_taker_is_not_flooded(void **state)
{
    struct io *io = loop_of(state);
    enum { STEPS = 3000, HELD_MAX = 1024 * 1024, PACED_HELD_MAX = 64 * 1024 };
    char *data = end_pattern(LARGE);
    for (int paced = 0; paced < 2; paced++) {
        static struct end end;
        int peer = end_pair(io, &end);
        size_t done = 0;
        uint64_t before = io_stats(io)->received_bytes;
        end.pause_each = true;
        io_receive_pace(&end.socket, paced != 0);
        for (int step = 0; step < STEPS; step++) {
            ssize_t moved = 1;
            while (moved > 0 && done < LARGE) {
                moved = write(peer, data + done, LARGE - done);
                done += moved > 0 ? (size_t)moved : 0;
            }
            if (step % 3 == 0) {
                end_receive(&end);
            }
            io_run_turn(io, 0);
            uint64_t held = io_stats(io)->received_bytes - before - end.in.size;
            assert_true(held <= (paced ? PACED_HELD_MAX : HELD_MAX));
        }
        assert_memory_equal(end.in.data, data, end.in.size);
        end_finish(&end);
        (void)close(peer);
    }
    free(data);
}

static void a_crowd_larger_than_the_buffers_is_served(void **state)
{
    struct io *io = loop_of(state);
    struct end *ends = calloc(CROWD, sizeof(*ends));
    int *peers = calloc(CROWD, sizeof(*peers));
    char *data = end_pattern(50000);
    assert_true(ends != NULL && peers != NULL);
    for (int i = 0; i < CROWD; i++) {
        peers[i] = end_pair(io, &ends[i]);
        end_receive(&ends[i]);
        if (i % 4 == 0) {
            io_receive_pause(&ends[i].socket); /* and these keep none */
        }
    }
    io_run_turn(io, 0);
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(write(peers[i], data, 50000), 50000);
        (void)close(peers[i]);
    }
    for (int i = 0; i < CROWD; i++) {
        if (i % 4 != 0) {
            LOOP_UNTIL(io, ends[i].ended == 1);
        }
    }
    for (int i = 0; i < CROWD; i++) {
        end_receive(&ends[i]);
        LOOP_UNTIL(io, ends[i].ended == 1);
        assert_int_equal(ends[i].in.size, 50000);
        assert_memory_equal(ends[i].in.data, data, 50000);
        end_finish(&ends[i]);
    }
    free(ends);
    free(peers);
    free(data);
}

static void each_side_may_end_alone(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    for (int tcp = 0; tcp < 2; tcp++) {
        char got[16];
        int peer = tcp ? end_tcp_pair(io, &end) : end_pair(io, &end);
        end_receive(&end);
        assert_int_equal(shutdown(peer, SHUT_WR), 0);
        LOOP_UNTIL(io, end.ended == 1);
        assert_int_equal(end.end_err, ERR_CLOSED);
        end_send(&end, "late", 4);
        LOOP_UNTIL(io, end.sent == 1);
        assert_int_equal(end.sent_err, ERR_OK);
        assert_int_equal(read(peer, got, sizeof(got)), 4);
        end_finish(&end);
        (void)close(peer);

        peer = tcp ? end_tcp_pair(io, &end) : end_pair(io, &end);
        end_receive(&end);
        io_run_turn(io, 0);
        io_shutdown(&end.socket);
        LOOP_UNTIL(io, read(peer, got, sizeof(got)) == 0);
        assert_int_equal(write(peer, "still", 5), 5);
        LOOP_UNTIL(io, end.in.size == 5);
        end_finish(&end);
        (void)close(peer);
    }
}

static void a_reset_ends_the_connection(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    int peer = end_tcp_pair(io, &end);
    end_receive(&end);
    io_run_turn(io, 0);
    end_reset_tcp(peer);
    LOOP_UNTIL(io, end.ended == 1);
    assert_int_equal(end.end_err, ERR_RESET);
    end_receive(&end); /* does nothing: it has ended */
    LOOP_TURNS(io, 3);
    end_finish(&end);
}

/* --- closing ------------------------------------------------------------- */

static void closing_ends_everything_with_one_closed(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    char *data = end_pattern(LARGE);
    /* 1: receiving, 2: sending, 4: a turn has passed, 8: bytes are held */
    for (int mix = 0; mix < 16; mix++) {
        int peer = end_pair(io, &end);
        if ((mix & 1) != 0) {
            end_receive(&end);
        }
        if ((mix & 2) != 0) {
            end_send(&end, data, LARGE);
        }
        if ((mix & 4) != 0) {
            LOOP_TURNS(io, 2);
        }
        if ((mix & 8) != 0) {
            io_receive_pause(&end.socket);
            assert_int_equal(write(peer, "held", 4), 4);
            LOOP_TURNS(io, 2);
        }
        end_close(&end);
        io_close(&end.socket); /* idempotent */
        end_finish(&end);
        assert_int_equal(end.received, 0);
        assert_int_equal(end.sent, 0);
        assert_int_equal(end.ended, 0);
        (void)close(peer);
    }
    free(data);
}

static void closing_is_allowed_in_every_callback(void **state)
{
    struct io *io = loop_of(state);
    static struct end end;
    char *data = end_pattern(100000);
    for (int which = 0; which < 3; which++) {
        int peer = end_pair(io, &end);
        end.close_in_received = which == 0;
        end.close_in_sent = which == 1;
        end.close_in_ended = which == 2;
        end_receive(&end);
        end_send(&end, "x", 1);
        if (which == 0) {
            assert_int_equal(write(peer, data, 100000), 100000);
        } else if (which == 2) {
            (void)close(peer);
        }
        LOOP_UNTIL(io, end.closed == 1);
        assert_true(end.received <= 1);
        buf_fini(&end.in);
        if (which != 2) {
            (void)close(peer);
        }
    }
    free(data);
}

static void closing_another_socket_stops_its_callbacks(void **state)
{
    struct io *io = loop_of(state);
    static struct end ends[2];
    for (int round = 0; round < 10; round++) {
        int peers[2];
        for (int i = 0; i < 2; i++) {
            peers[i] = end_pair(io, &ends[i]);
            end_receive(&ends[i]);
        }
        ends[0].close_other = &ends[1];
        ends[1].close_other = &ends[0];
        io_run_turn(io, 0);
        /* Both have something in the same turn; the first closes the other. */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(write(peers[i], "x", 1), 1);
        }
        LOOP_UNTIL(io, ends[0].closed + ends[1].closed == 1);
        assert_int_equal(ends[0].received + ends[1].received, 1);
        for (int i = 0; i < 2; i++) {
            ends[i].close_other = NULL;
            end_finish(&ends[i]);
            (void)close(peers[i]);
        }
    }
}

static void an_idle_loop_sleeps(void **state)
{
    struct io *io = loop_of(state);
    struct end *ends = calloc(100, sizeof(*ends));
    int peers[100];
    assert_non_null(ends);
    for (int i = 0; i < 100; i++) {
        peers[i] = end_pair(io, &ends[i]);
        end_receive(&ends[i]);
        end_send(&ends[i], "x", 1);
    }
    for (int i = 0; i < 100; i++) {
        LOOP_UNTIL(io, ends[i].sent == 1);
    }
    LOOP_TURNS(io, 5);
    /* Each turn sleeps for all of its 20 ms: nothing of ours wakes it. The
     * kernel may interrupt some to tidy up the io_uring of the test before. */
    uint64_t begin = clock_monotonic_ns();
    uint64_t waits = io_stats(io)->waits;
    for (int i = 0; i < 10; i++) {
        io_run_turn(io, 20);
    }
    assert_int_equal(io_stats(io)->waits - waits, 10);
    assert_true(clock_monotonic_ns() - begin >= 100000000);
    for (int i = 0; i < 100; i++) {
        end_finish(&ends[i]);
        (void)close(peers[i]);
    }
    free(ends);
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST(a_wait_for_many_takes_them_in_one_turn),
        LOOP_TEST(a_wait_for_many_ends_in_time),
        LOOP_TEST(a_wait_for_many_is_for_one_turn),
        LOOP_TEST(a_large_send_waits_for_a_slow_reader),
        LOOP_TEST(parts_are_sent_in_order),
        LOOP_TEST(a_crowd_sends_in_one_turn),
        LOOP_TEST(a_peer_that_is_gone_resets_a_send),
        LOOP_TEST(a_large_stream_arrives_whole),
        LOOP_TEST(a_pause_holds_bytes_and_the_end_back),
        LOOP_TEST(a_pause_is_felt_by_the_peer),
        LOOP_TEST(a_slow_taker_is_not_flooded),
        LOOP_TEST(pausing_in_each_callback_keeps_the_order),
        LOOP_TEST(a_crowd_larger_than_the_buffers_is_served),
        LOOP_TEST(each_side_may_end_alone),
        LOOP_TEST(a_reset_ends_the_connection),
        LOOP_TEST(closing_ends_everything_with_one_closed),
        LOOP_TEST(closing_is_allowed_in_every_callback),
        LOOP_TEST(closing_another_socket_stops_its_callbacks),
        LOOP_TEST(an_idle_loop_sleeps),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
