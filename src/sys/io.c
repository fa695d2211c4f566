/* The front of the event loop: the turn, hooks, posted tasks, and what both
 * back ends do alike.
 *
 * A turn submits what the last one started and waits, with one call into the
 * kernel; so io_run() makes one call a turn. What waits for the next turn
 * (posted tasks, queues of the back end) makes the wait a mere look.
 *
 * Posted tasks are a stack that any thread pushes to and the loop takes as a
 * whole. The loop says in `sleeping` that it is about to wait, then looks at
 * the stack once more; a poster pushes, then looks at `sleeping`. So one of
 * them sees the other, and only the one poster that takes `sleeping` away
 * pays for waking.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "sys/clock.h"
#include "sys/io_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    IO_SOCKETS_DEFAULT = 16 * 1024,
    /* A wait is cut here, which only costs a turn every 12 days. */
    IO_WAIT_MS_MAX = 1 << 30,
};

static const uint64_t ns_per_ms = 1000000;

static void read_clocks(struct io *io)
{
    io->now_ns = clock_monotonic_ns();
    io->now_ms = io->now_ns / ns_per_ms;
    io->wall_ms = clock_wall_ms();
}

/* Set up the back end that was asked for, or the best there is. */
static enum err choose_backend(struct io *io, const struct io_options *options)
{
    uint32_t sockets_max =
        options->sockets_max > 0 ? options->sockets_max : IO_SOCKETS_DEFAULT;
    if (options->backend != IO_BACKEND_EPOLL) {
        io->ops = &io_uring_ops;
        enum err err = io->ops->create(io, sockets_max);
        if (err == ERR_OK || options->backend == IO_BACKEND_URING) {
            return err;
        }
    }
    io->ops = &io_epoll_ops;
    return io->ops->create(io, sockets_max);
}

enum err io_create(const struct io_options *options, struct io **out)
{
    struct io *io = aligned_alloc(_Alignof(struct io), sizeof(struct io));
    if (io == NULL) {
        return ERR_NOMEM;
    }
    memset(io, 0, sizeof(*io));
    io->poll_fd = -1;
    list_init(&io->hooks);
    io->hook_next = &io->hooks;
    atomic_init(&io->posted, NULL);
    atomic_init(&io->sleeping, 0);
    read_clocks(io);
    io_wheel_init(&io->wheel, io->now_ms);
    enum err err = io_worker_init(&io->worker);
    if (err != ERR_OK) {
        goto fail_worker;
    }
    err = io_worker_init(&io->file_worker);
    if (err != ERR_OK) {
        goto fail_file_worker;
    }
    io->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (io->wake_fd < 0) {
        err = errno == EMFILE || errno == ENFILE ? ERR_BUSY : ERR_IO;
        goto fail_wake;
    }
    err = choose_backend(io, options);
    if (err != ERR_OK) {
        goto fail_backend;
    }
    *out = io;
    return ERR_OK;

fail_backend:
    (void)close(io->wake_fd);
fail_wake:
    io_worker_fini(&io->file_worker);
fail_file_worker:
    io_worker_fini(&io->worker);
fail_worker:
    free(io);
    return err;
}

bool io_busy(const struct io *io)
{
    return io->sockets > 0 || io->file_ops > 0;
}

void io_destroy(struct io *io)
{
    if (io == NULL) {
        return;
    }
    CHECK(io->sockets == 0);
    CHECK(io->file_ops == 0);
    io_worker_fini(&io->file_worker);
    io_worker_fini(&io->worker);
    io->ops->destroy(io);
    io_poll_fini(io);
    (void)close(io->wake_fd);
    free(io);
}

const char *io_backend_name(const struct io *io)
{
    return io->ops->name;
}

const struct io_stats *io_stats(const struct io *io)
{
    return &io->stats;
}

/* --- the turn ------------------------------------------------------------ */

/* How long this turn may wait: see io_ops.wait(). */
static int64_t wait_span(struct io *io, int wait_ms)
{
    if (wait_ms == 0 || io->ops->ready(io) ||
        atomic_load_explicit(&io->posted, memory_order_relaxed) != NULL) {
        return 0;
    }
    int64_t span = wait_ms < 0 ? -1 : (int64_t)wait_ms * (int64_t)ns_per_ms;
    uint64_t next_ms = io_wheel_next_ms(&io->wheel);
    if (next_ms == UINT64_MAX) {
        return span;
    }
    /* Not io_now_ns(): the last turn may have taken long. */
    uint64_t now_ns = clock_monotonic_ns();
    if (next_ms * ns_per_ms <= now_ns) {
        return 0;
    }
    uint64_t until = next_ms * ns_per_ms - now_ns;
    if (until > IO_WAIT_MS_MAX * ns_per_ms) {
        until = IO_WAIT_MS_MAX * ns_per_ms;
    }
    return span >= 0 && (uint64_t)span < until ? span : (int64_t)until;
}

static void wait_for_something(struct io *io, int wait_ms)
{
    int64_t span = wait_span(io, wait_ms);
    if (io->gather_count > 0 && (span < 0 || (uint64_t)span > io->gather_ns)) {
        span = (int64_t)io->gather_ns;
    }
    if (span == 0) {
        io->ops->wait(io, 0);
        return;
    }
    atomic_store(&io->sleeping, 1);
    if (atomic_load(&io->posted) != NULL) {
        span = 0;
    } else {
        io->stats.waits++;
    }
    io->ops->wait(io, span);
    atomic_store_explicit(&io->sleeping, 0, memory_order_relaxed);
}

static void run_posted(struct io *io)
{
    if (atomic_load_explicit(&io->posted, memory_order_relaxed) == NULL) {
        return;
    }
    struct io_task *newest =
        atomic_exchange_explicit(&io->posted, NULL, memory_order_acquire);
    struct io_task *oldest = NULL;
    while (newest != NULL) {
        struct io_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct io_task *task = oldest;
        oldest = task->next; /* before it is freed or posted again */
        task->run(task);
    }
}

static void run_hooks(struct io *io)
{
    io->hook_next = io->hooks.next;
    while (io->hook_next != &io->hooks) {
        struct io_hook *hook =
            CONTAINER_OF(io->hook_next, struct io_hook, link);
        io->hook_next = io->hook_next->next;
        hook->turn(hook);
    }
}

void io_run_turn(struct io *io, int wait_ms)
{
    CHECK(!io->in_turn);
    wait_for_something(io, wait_ms);
    io->gather_count = 0;
    read_clocks(io);
    io->in_turn = true;
    io->stats.turns++;
    io->ops->dispatch(io);
    io_wheel_advance(&io->wheel, io->now_ms);
    run_posted(io);
    run_hooks(io);
    io->in_turn = false;
}

void io_run(struct io *io)
{
    while (!io->stop) {
        io_run_turn(io, -1);
    }
    io->stop = false;
    io->ops->flush(io);
}

void io_stop(struct io *io)
{
    io->stop = true;
}

uint64_t io_now_ns(const struct io *io)
{
    return io->now_ns;
}

uint64_t io_now_ms(const struct io *io)
{
    return io->now_ms;
}

uint64_t io_wall_ms(const struct io *io)
{
    return io->wall_ms;
}

bool io_gather(struct io *io, uint32_t count, uint64_t span_ns)
{
    if (!io->ops->counts || count == 0) {
        return false;
    }
    bool first = io->gather_count == 0;
    io->gather_ns = first || span_ns < io->gather_ns ? span_ns : io->gather_ns;
    io->gather_count =
        first || count > io->gather_count ? count : io->gather_count;
    return true;
}

/* --- hooks and tasks ----------------------------------------------------- */

void io_hook_add(struct io *io, struct io_hook *hook)
{
    CHECK(hook->turn != NULL);
    memset(&hook->link, 0, sizeof(hook->link));
    list_append(&io->hooks, &hook->link);
}

void io_hook_remove(struct io *io, struct io_hook *hook)
{
    if (io->hook_next == &hook->link) {
        io->hook_next = hook->link.next;
    }
    list_remove(&hook->link);
}

void io_post(struct io *io, struct io_task *task)
{
    struct io_task *newest =
        atomic_load_explicit(&io->posted, memory_order_relaxed);
    do {
        task->next = newest;
    } while (!atomic_compare_exchange_weak(&io->posted, &newest, task));
    if (atomic_load(&io->sleeping) != 0 &&
        atomic_exchange(&io->sleeping, 0) != 0) {
        uint64_t one = 1;
        ssize_t written;
        do {
            written = write(io->wake_fd, &one, sizeof(one));
        } while (written < 0 && errno == EINTR);
        CHECK(written == sizeof(one)); /* 2^64 wake-ups do not happen */
    }
}

/* --- listeners ----------------------------------------------------------- */

static void pause_expired(struct io_timer *timer)
{
    struct io_listener *listener =
        CONTAINER_OF(timer, struct io_listener, pause);
    listener->io->ops->listener_start(listener);
}

void io_listener_start(struct io *io, struct io_listener *listener)
{
    CHECK(listener->accepted != NULL);
    listener->io = io;
    listener->pause.expired = pause_expired;
    if ((listener->state & IO_LISTENER_ACTIVE) == 0) {
        listener->state |= IO_LISTENER_ACTIVE;
        io->ops->listener_start(listener);
    }
}

void io_listener_stop(struct io_listener *listener)
{
    if ((listener->state & IO_LISTENER_ACTIVE) == 0) {
        return;
    }
    listener->state &= ~(uint32_t)IO_LISTENER_ACTIVE;
    io_timer_stop(listener->io, &listener->pause);
    listener->io->ops->listener_stop(listener);
}

void io_listener_failed(struct io_listener *listener, enum err err)
{
    io_timer_start(listener->io, &listener->pause, IO_ACCEPT_PAUSE_MS);
    listener->accepted(listener, err, -1);
}

enum err io_accept_err(int error_number)
{
    switch (error_number) {
    case EMFILE:
    case ENFILE:
        return ERR_BUSY;
    case ENOMEM:
    case ENOBUFS:
        return ERR_NOMEM;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        return ERR_IO; /* not a listening socket */
    default:
        return ERR_OK; /* of that one connection, see accept(2) */
    }
}

/* --- sockets ------------------------------------------------------------- */

enum err io_stream_err(int error_number)
{
    switch (error_number) {
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ENOMEM:
    case ENOBUFS:
        return ERR_NOMEM;
    default:
        return ERR_RESET;
    }
}

enum err io_connect_err(int error_number)
{
    switch (error_number) {
    case ENOENT: /* of a Unix socket */
    case ENOTDIR:
    case EHOSTDOWN:
    case ENETDOWN:
        return ERR_REFUSED;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case EADDRNOTAVAIL: /* no local port is free */
        return ERR_BUSY;
    default:
        return err_from_errno(error_number);
    }
}

void io_socket_init(struct io *io,
                    struct io_socket *socket,
                    int fd,
                    const struct io_socket_ops *ops)
{
    CHECK(fd >= 0);
    CHECK(ops->received != NULL && ops->ended != NULL);
    CHECK(ops->sent != NULL && ops->closed != NULL);
    /* The parts need no clearing, and are most of it. */
    memset(socket, 0, offsetof(struct io_socket, parts));
    socket->ops = ops;
    socket->io = io;
    socket->fd = fd;
    io->sockets++;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) == 0) {
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
}

void io_connect(struct io_socket *socket,
                const struct sockaddr *address,
                socklen_t address_size)
{
    CHECK(socket->ops->connected != NULL);
    CHECK((socket->state & IO_SOCKET_CONNECTING) == 0);
    CHECK(address_size <= sizeof(struct sockaddr_storage));
    if ((socket->state & IO_SOCKET_CLOSING) == 0) {
        socket->state |= IO_SOCKET_CONNECTING;
        socket->io->ops->connect(socket, address, address_size);
    }
}

void io_receive_start(struct io_socket *socket)
{
    const uint32_t never = IO_SOCKET_CLOSING | IO_SOCKET_ENDED;
    if ((socket->state & (never | IO_SOCKET_RECEIVING)) == 0) {
        socket->state |= IO_SOCKET_RECEIVING;
        socket->io->ops->receive_start(socket);
    }
}

void io_receive_pause(struct io_socket *socket)
{
    /* The back ends notice when something comes: for request and answer in
     * turns, which pauses all the time, nothing does. */
    socket->state &= ~(uint32_t)IO_SOCKET_RECEIVING;
}

void io_receive_pace(struct io_socket *socket, bool paced)
{
    socket->state &= ~(uint32_t)IO_SOCKET_PACED;
    socket->state |= paced ? IO_SOCKET_PACED : 0;
}

void io_send(struct io_socket *socket,
             const struct iovec *parts,
             uint32_t part_count)
{
    CHECK(part_count > 0 && part_count <= IO_SEND_PARTS_MAX);
    CHECK((socket->state & IO_SOCKET_SENDING) == 0);
    if ((socket->state & IO_SOCKET_CLOSING) != 0) {
        return;
    }
    for (uint32_t i = 0; i < part_count; i++) {
        socket->parts[i] = parts[i];
    }
    socket->part_index = 0;
    socket->part_count = part_count;
    socket->state |= IO_SOCKET_SENDING;
    socket->io->ops->send(socket);
}

bool io_sending(const struct io_socket *socket)
{
    return (socket->state & IO_SOCKET_SENDING) != 0;
}

bool io_send_complete(const struct io_socket *socket)
{
    return (socket->state & IO_SOCKET_SENDING) == 0 ||
           socket->part_index == socket->part_count;
}

bool io_socket_advance(struct io_socket *socket, size_t size)
{
    socket->io->stats.sent_bytes += size;
    while (socket->part_index < socket->part_count) {
        struct iovec *part = &socket->parts[socket->part_index];
        if (size < part->iov_len) {
            part->iov_base = (char *)part->iov_base + size;
            part->iov_len -= size;
            return true;
        }
        size -= part->iov_len;
        socket->part_index++;
    }
    CHECK(size == 0);
    return false;
}

void io_shutdown(struct io_socket *socket)
{
    CHECK((socket->state & IO_SOCKET_SENDING) == 0);
    if ((socket->state & IO_SOCKET_CLOSING) == 0) {
        /* Fails when the connection is gone, which ended() tells. */
        (void)shutdown(socket->fd, SHUT_WR);
    }
}

void io_close(struct io_socket *socket)
{
    if ((socket->state & IO_SOCKET_CLOSING) == 0) {
        socket->state |= IO_SOCKET_CLOSING;
        socket->state &= ~(uint32_t)IO_SOCKET_RECEIVING;
        list_remove(&socket->ready);
        socket->io->ops->close(socket);
    }
}

void io_detach(struct io_socket *socket)
{
    CHECK((socket->state & IO_SOCKET_CONNECTING) == 0);
    if ((socket->state & (IO_SOCKET_CLOSING | IO_SOCKET_DETACHING)) == 0) {
        socket->state |= IO_SOCKET_DETACHING;
        list_remove(&socket->ready);
        socket->io->ops->detach(socket);
    }
}

size_t io_unsent(const struct io_socket *socket)
{
    size_t size = 0;

    for (uint32_t i = socket->part_index; i < socket->part_count; i++) {
        size += socket->parts[i].iov_len;
    }
    return size;
}

void io_socket_closed(struct io_socket *socket)
{
    CHECK(socket->io->sockets > 0);
    socket->io->sockets--;
    socket->ops->closed(socket);
}

/* --- files --------------------------------------------------------------- */

static void file_start(struct io *io, struct io_file_op *op, int kind)
{
    CHECK(op->done != NULL);
    CHECK(kind == IO_FILE_SYNC || op->part_count <= IOV_MAX);
    op->io = io;
    op->kind = kind;
    op->moved = 0;
    op->err = ERR_OK;
    io->file_ops++;
    io->ops->file(io, op);
}

void io_write_at(struct io *io, struct io_file_op *op)
{
    file_start(io, op, IO_FILE_WRITE);
}

void io_read_at(struct io *io, struct io_file_op *op)
{
    file_start(io, op, IO_FILE_READ);
}

void io_sync(struct io *io, struct io_file_op *op)
{
    file_start(io, op, IO_FILE_SYNC);
}

bool io_file_advance(struct io_file_op *op, size_t size)
{
    op->moved += size;
    for (uint32_t i = 0; i < op->part_count; i++) {
        struct iovec *part = &op->parts[i];
        size_t step = size < part->iov_len ? size : part->iov_len;
        part->iov_base = (char *)part->iov_base + step;
        part->iov_len -= step;
        size -= step;
        if (part->iov_len > 0) {
            return true;
        }
    }
    CHECK(size == 0);
    return false;
}

void io_file_done(struct io_file_op *op, enum err err)
{
    CHECK(op->io->file_ops > 0);
    op->io->file_ops--;
    op->done(op, err, op->moved);
}
