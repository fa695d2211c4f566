/* Sockets that remember what they were told.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/end.h"

#include "base/check.h"

#include "lib/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* We are inside of a call that starts something: no callback may come. */
static bool inside;

void end_starting(bool starting)
{
    inside = starting;
}

bool end_may_call(void)
{
    return !inside;
}

static struct end *end_of(struct io_socket *socket)
{
    assert_false(inside);
    struct end *end = CONTAINER_OF(socket, struct end, socket);
    assert_int_equal(end->closed, 0);
    return end;
}

void end_close(struct end *end)
{
    end->close_turn = io_stats(end->io)->turns;
    end_starting(true);
    io_close(&end->socket);
    end_starting(false);
}

void end_send(struct end *end, const void *data, size_t size)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    end_starting(true);
    io_send(&end->socket, &part, 1);
    end_starting(false);
    assert_true(io_sending(&end->socket));
}

void end_receive(struct end *end)
{
    end_starting(true);
    io_receive_start(&end->socket);
    end_starting(false);
}

static void on_connected(struct io_socket *socket, enum err err)
{
    struct end *end = end_of(socket);
    end->connected++;
    end->connect_err = err;
}

static void on_received(struct io_socket *socket, const char *data, size_t size)
{
    struct end *end = end_of(socket);
    assert_true(size > 0 && size <= IO_RECEIVE_SIZE);
    end->received++;
    buf_append(&end->in, data, size);
    assert_int_equal(buf_err(&end->in), ERR_OK);
    if (end->echo && !io_sending(socket)) {
        memcpy(end->echoed, data, size);
        end_send(end, end->echoed, size);
    }
    if (end->pause_each) {
        io_receive_pause(socket);
    }
    if (end->close_other != NULL) {
        end_close(end->close_other);
        end->close_other = NULL;
    }
    if (end->close_in_received) {
        end_close(end);
    }
}

static void on_ended(struct io_socket *socket, enum err err)
{
    struct end *end = end_of(socket);
    assert_int_equal(end->ended, 0);
    end->ended++;
    end->end_err = err;
    if (end->close_in_ended) {
        end_close(end);
    }
}

static void on_sent(struct io_socket *socket, enum err err)
{
    struct end *end = end_of(socket);
    assert_false(io_sending(socket));
    end->sent++;
    end->sent_err = err;
    if (end->close_in_sent) {
        end_close(end);
    }
}

static void on_closed(struct io_socket *socket)
{
    struct end *end = end_of(socket);
    assert_true(io_stats(end->io)->turns > end->close_turn);
    end->closed++;
    end->fd = socket->fd;
    end->unsent = io_unsent(socket);
    /* As if freed: a back end that touches it later is found out. */
    memset(socket, 0xa5, sizeof(*socket));
}

static const struct io_socket_ops ops = {
    .connected = on_connected,
    .received = on_received,
    .ended = on_ended,
    .sent = on_sent,
    .closed = on_closed,
};

void end_init(struct io *io, struct end *end, int fd)
{
    memset(end, 0, sizeof(*end));
    end->io = io;
    buf_init(&end->in, 0);
    io_socket_init(io, &end->socket, fd, &ops);
}

void end_finish(struct end *end)
{
    if (end->closed == 0 && end->close_turn == 0) {
        end_close(end);
        assert_int_equal(end->closed, 0);
    }
    LOOP_UNTIL(end->io, end->closed == 1);
    io_run_turn(end->io, 0);
    assert_int_equal(end->closed, 1);
    buf_fini(&end->in);
}

int end_pair(struct io *io, struct end *end)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    end_init(io, end, fds[0]);
    return fds[1];
}

int end_listen(const char *text, struct net_address *out_address)
{
    int fd = -1;
    assert_int_equal(net_parse(str_from(text), 0, out_address), ERR_OK);
    enum err err = net_listen(out_address, false, &fd);
    if (err == ERR_UNSUPPORTED) {
        return -1; /* no IPv6 here */
    }
    assert_int_equal(err, ERR_OK);
    assert_int_equal(net_bound(fd, out_address), ERR_OK);
    return fd;
}

/* As end_pair(), over TCP. */
int end_tcp_pair(struct io *io, struct end *end)
{
    struct net_address address;
    int listener = end_listen("127.0.0.1", &address);
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(peer, &address.any, address.size), 0);
    int fd = -1;
    do {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    } while (fd < 0 && errno == EAGAIN);
    assert_true(fd >= 0);
    (void)close(listener);
    assert_int_equal(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    end_init(io, end, fd);
    return peer;
}

char *end_pattern(size_t size)
{
    char *data = malloc(size);
    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (char)(i * 31 + i / 4096);
    }
    return data;
}

void end_reset_tcp(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)),
                     0);
    (void)close(fd);
}
