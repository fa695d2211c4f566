/* Tests of the event loop's listeners and connects, over every back end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "sys/io.h"
#include "sys/net.h"

#include "lib/end.h"
#include "lib/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

struct acceptor {
    struct io_listener listener;
    struct io *io;
    int accepted;
    int failed;
    enum err err;
    struct end *end; /* made of what is accepted; NULL: close it */
};

static void on_accepted(struct io_listener *listener, enum err err, int fd)
{
    assert_true(end_may_call());
    struct acceptor *acceptor =
        CONTAINER_OF(listener, struct acceptor, listener);
    if (err != ERR_OK) {
        assert_int_equal(fd, -1);
        acceptor->failed++;
        acceptor->err = err;
        return;
    }
    acceptor->accepted++;
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    if (acceptor->end == NULL) {
        (void)close(fd);
        return;
    }
    end_init(acceptor->io, acceptor->end, fd);
    acceptor->end->echo = true;
    end_receive(acceptor->end);
}

static void echo_over(struct io *io, const char *text)
{
    static struct end server;
    static struct end client;
    struct net_address address;
    int listener = end_listen(text, &address);
    if (listener < 0) {
        return;
    }
    struct acceptor acceptor = {
        .io = io,
        .end = &server,
        .listener = {.accepted = on_accepted, .fd = listener}};
    io_listener_start(io, &acceptor.listener);
    int fd = -1;
    assert_int_equal(net_socket(address.any.sa_family, &fd), ERR_OK);
    end_init(io, &client, fd);
    end_starting(true);
    io_connect(&client.socket, &address.any, address.size);
    end_starting(false);
    memset(&address, 0xff, sizeof(address)); /* it was copied */
    LOOP_UNTIL(io, client.connected == 1 && acceptor.accepted == 1);
    assert_int_equal(client.connect_err, ERR_OK);
    end_receive(&client);
    for (int i = 0; i < 10; i++) {
        buf_clear(&client.in);
        end_send(&client, "a request", 9);
        LOOP_UNTIL(io, client.in.size == 9);
        assert_memory_equal(client.in.data, "a request", 9);
    }
    LOOP_UNTIL(io, client.sent == 10 && server.sent == 10);
    assert_true(io_stats(io)->accepted >= 1);
    assert_true(io_stats(io)->received_bytes >= 180);
    assert_true(io_stats(io)->sent_bytes >= 180);
    io_listener_stop(&acceptor.listener);
    end_finish(&client);
    LOOP_UNTIL(io, server.ended == 1);
    assert_int_equal(server.end_err, ERR_CLOSED);
    end_finish(&server);
    (void)close(listener);
}

static void bytes_are_echoed_over_every_family(void **state)
{
    struct io *io = loop_of(state);
    char text[64];
    (void)snprintf(text, sizeof(text), "unix:/tmp/opq-test.%ld",
                   (long)getpid());
    echo_over(io, "127.0.0.1");
    echo_over(io, "::1");
    echo_over(io, text);
    (void)unlink(text + 5);
}

static void connect_and_expect(struct io *io,
                               const struct net_address *address,
                               enum err want)
{
    static struct end client;
    int fd = -1;
    assert_int_equal(net_socket(address->any.sa_family, &fd), ERR_OK);
    end_init(io, &client, fd);
    io_connect(&client.socket, &address->any, address->size);
    LOOP_UNTIL(io, client.connected == 1);
    assert_int_equal(client.connect_err, want);
    end_finish(&client);
}

static void connecting_to_nobody_is_refused(void **state)
{
    struct io *io = loop_of(state);
    struct net_address address;
    int listener = end_listen("127.0.0.1", &address);
    (void)close(listener); /* a port that nobody has */
    connect_and_expect(io, &address, ERR_REFUSED);
    assert_int_equal(net_parse(STR("unix:/nowhere/at/all"), 0, &address),
                     ERR_OK);
    connect_and_expect(io, &address, ERR_REFUSED);
    /* A reserved class of addresses: no route. */
    assert_int_equal(net_parse(STR("255.255.255.255"), 9, &address), ERR_OK);
    connect_and_expect(io, &address, ERR_REFUSED);
}

static void a_connect_may_be_closed_before_it_ends(void **state)
{
    struct io *io = loop_of(state);
    static struct end client;
    struct net_address address;
    int fd = -1;
    /* A listener whose queue is full does not answer. */
    int listener = end_listen("127.0.0.1", &address);
    assert_int_equal(listen(listener, 0), 0);
    int filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(filler, &address.any, address.size), 0);
    for (int turns = 0; turns < 3; turns++) {
        assert_int_equal(net_socket(AF_INET, &fd), ERR_OK);
        end_init(io, &client, fd);
        io_connect(&client.socket, &address.any, address.size);
        LOOP_TURNS(io, turns);
        int connected = client.connected;
        end_close(&client);
        end_finish(&client);
        assert_int_equal(client.connected, connected);
    }
    (void)close(filler);
    (void)close(listener);
}

static void stopping_a_listener_loses_no_connection(void **state)
{
    struct io *io = loop_of(state);
    struct net_address address;
    int listener = end_listen("127.0.0.1", &address);
    struct acceptor *acceptor = calloc(1, sizeof(*acceptor));
    assert_non_null(acceptor);
    acceptor->io = io;
    acceptor->listener.accepted = on_accepted;
    acceptor->listener.fd = listener;
    io_listener_start(io, &acceptor->listener);
    io_run_turn(io, 0);
    int peers[20];
    for (int i = 0; i < 20; i++) {
        peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(peers[i], &address.any, address.size), 0);
    }
    io_listener_stop(&acceptor->listener);
    io_listener_stop(&acceptor->listener);
    io_run_turn(io, 0);
    int seen = acceptor->accepted;
    free(acceptor); /* the next turn is over */
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            break;
        }
        seen++;
        (void)close(fd);
    }
    assert_int_equal(seen, 20);
    LOOP_TURNS(io, 3);
    for (int i = 0; i < 20; i++) {
        (void)close(peers[i]);
    }
    (void)close(listener);
}

static void a_listener_may_be_started_again(void **state)
{
    struct io *io = loop_of(state);
    struct net_address address;
    int listener = end_listen("127.0.0.1", &address);
    struct acceptor acceptor = {
        .io = io, .listener = {.accepted = on_accepted, .fd = listener}};
    for (int i = 0; i < 4; i++) {
        io_listener_start(io, &acceptor.listener);
        if (i % 2 == 0) {
            io_run_turn(io, 0);
        }
        io_listener_stop(&acceptor.listener);
        io_listener_start(io, &acceptor.listener);
        int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(peer, &address.any, address.size), 0);
        LOOP_UNTIL(io, acceptor.accepted == i + 1);
        (void)close(peer);
    }
    io_listener_stop(&acceptor.listener);
    io_run_turn(io, 0);
    (void)close(listener);
}

static void accepting_goes_on_when_descriptors_are_free_again(void **state)
{
    struct io *io = loop_of(state);
    struct net_address address;
    struct rlimit before;
    int listener = end_listen("127.0.0.1", &address);
    struct acceptor acceptor = {
        .io = io, .listener = {.accepted = on_accepted, .fd = listener}};
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int lowest = dup(peer); /* the next number that is free */
    assert_true(lowest >= 0);
    (void)close(lowest);
    struct rlimit low = {.rlim_cur = (rlim_t)lowest,
                         .rlim_max = before.rlim_max};
    /* Before starting: io_uring reads the limit when it begins to accept. */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    io_listener_start(io, &acceptor.listener);
    io_run_turn(io, 0);
    assert_int_equal(connect(peer, &address.any, address.size), 0);
    LOOP_UNTIL(io, acceptor.failed > 0);
    assert_int_equal(acceptor.err, ERR_BUSY);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    int failed = acceptor.failed;
    /* Some kernels drop the connection that had no descriptor. */
    int second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(second, &address.any, address.size), 0);
    LOOP_UNTIL(io, acceptor.accepted > 0);
    assert_true(acceptor.failed <= failed + 1); /* it does not spin */
    io_listener_stop(&acceptor.listener);
    io_run_turn(io, 0);
    (void)close(peer);
    (void)close(second);
    (void)close(listener);
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST(bytes_are_echoed_over_every_family),
        LOOP_TEST(connecting_to_nobody_is_refused),
        LOOP_TEST(a_connect_may_be_closed_before_it_ends),
        LOOP_TEST(stopping_a_listener_loses_no_connection),
        LOOP_TEST(a_listener_may_be_started_again),
        LOOP_TEST(accepting_goes_on_when_descriptors_are_free_again),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
