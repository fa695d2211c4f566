/* The back end for kernels without io_uring: readiness made into completions.
 *
 * Sockets are registered once, edge-triggered, so that after that a request
 * costs one receive and one send, and no epoll_ctl(2). What an edge said is
 * kept in READABLE until a receive finds less than it asked for: then the
 * socket is drained and the next bytes make a new edge. Not so when the end
 * of the stream was announced already (EPOLLRDHUP, EPOLLHUP, EPOLLERR): no
 * edge follows, and DRAIN makes us receive until we have seen it. Writing is
 * watched only after a send has found the socket full, since on Unix sockets
 * every receive of the peer would make an edge.
 *
 * Sends are tried at once. That they ended is told later, from the `ready`
 * queue, as is everything else that needs no edge. A turn takes the queue as
 * it is after the events; what is added meanwhile waits for the next turn.
 * Such a turn does not ask the kernel again when the one before did.
 *
 * A closed socket is closed at once and reported at the beginning of the next
 * turn, when no event of it can be in `events`.
 *
 * Fairness: a socket has EPOLL_RECEIVES_MAX receives in a turn, a listener
 * EPOLL_ACCEPTS_MAX accepts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "sys/io_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    EPOLL_EVENTS_MAX = 256, /* of one wait */
    EPOLL_RECEIVES_MAX = 4,
    EPOLL_ACCEPTS_MAX = 64,
    EPOLL_WAIT_MS_MAX = 1 << 30,
};

/* What epoll_event.data points to, in its lowest bits. */
enum {
    EPOLL_TAG_SOCKET = 0,
    EPOLL_TAG_LISTENER = 1,
    EPOLL_TAG_WAKE = 2,
    EPOLL_TAG_POLLS = 3,
    EPOLL_TAG_MASK = 3,
};

struct epoll {
    int fd;
    int event_count;
    bool looked;         /* the last turn asked the kernel */
    struct list ready;   /* sockets that have something to report or do */
    struct list closing; /* sockets to report as closed */
    struct epoll_event events[EPOLL_EVENTS_MAX];
    char buffer[IO_RECEIVE_SIZE]; /* of whichever socket receives */
};

static struct epoll *epoll_of(const struct io *io)
{
    return io->backend;
}

static void make_ready(struct io_socket *socket)
{
    if (!list_linked(&socket->ready)) {
        list_append(&epoll_of(socket->io)->ready, &socket->ready);
    }
}

static int control(
    struct epoll *epoll, int operation, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epoll->fd, operation, fd, &event) == 0 ? 0 : errno;
}

static uint64_t tagged(const void *object, unsigned tag)
{
    CHECK(((uintptr_t)object & EPOLL_TAG_MASK) == 0);
    return (uintptr_t)object | tag;
}

/* --- life ---------------------------------------------------------------- */

static enum err epoll_backend_create(struct io *io, uint32_t sockets_max)
{
    (void)sockets_max; /* no table here depends on it */
    struct epoll *epoll = malloc(sizeof(*epoll));
    if (epoll == NULL) {
        return ERR_NOMEM;
    }
    epoll->event_count = 0;
    epoll->looked = false;
    list_init(&epoll->ready);
    list_init(&epoll->closing);
    epoll->fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll->fd < 0) {
        enum err err = errno == EMFILE || errno == ENFILE ? ERR_BUSY : ERR_IO;
        free(epoll);
        return err;
    }
    int rc = control(epoll, EPOLL_CTL_ADD, io->wake_fd, EPOLLIN | EPOLLET,
                     EPOLL_TAG_WAKE);
    if (rc != 0) {
        (void)close(epoll->fd);
        free(epoll);
        return rc == ENOMEM ? ERR_NOMEM : ERR_IO;
    }
    io->backend = epoll;
    return ERR_OK;
}

static void epoll_backend_destroy(struct io *io)
{
    struct epoll *epoll = epoll_of(io);
    (void)close(epoll->fd);
    free(epoll);
    io->backend = NULL;
}

/* --- listeners ----------------------------------------------------------- */

static void epoll_listener_start(struct io_listener *listener)
{
    if ((listener->state & IO_LISTENER_ARMED) != 0) {
        return;
    }
    /* Level-triggered: what is not accepted in this turn comes in the next. */
    int rc = control(epoll_of(listener->io), EPOLL_CTL_ADD, listener->fd,
                     EPOLLIN, tagged(listener, EPOLL_TAG_LISTENER));
    if (rc == 0) {
        listener->state |= IO_LISTENER_ARMED;
    } else {
        /* Out of memory: tried again, without a call from in here. */
        io_timer_start(listener->io, &listener->pause, IO_ACCEPT_PAUSE_MS);
    }
}

static void epoll_listener_stop(struct io_listener *listener)
{
    if ((listener->state & IO_LISTENER_ARMED) != 0) {
        (void)control(epoll_of(listener->io), EPOLL_CTL_DEL, listener->fd, 0,
                      0);
        listener->state &= ~(uint32_t)IO_LISTENER_ARMED;
    }
}

static void listener_event(struct io_listener *listener)
{
    for (int i = 0; i < EPOLL_ACCEPTS_MAX; i++) {
        if ((listener->state & IO_LISTENER_ARMED) == 0) {
            return; /* stopped, by a callback */
        }
        int fd =
            accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->io->stats.accepted++;
            listener->accepted(listener, ERR_OK, fd);
            continue;
        }
        if (errno == EAGAIN) {
            return;
        }
        enum err err = io_accept_err(errno);
        if (err != ERR_OK) {
            epoll_listener_stop(listener);
            io_listener_failed(listener, err);
            return;
        }
    }
}

/* --- sockets ------------------------------------------------------------- */

/* Register a socket, or watch more of it. What is there already makes an
 * edge. Returns 0 or an errno. */
static int watch(struct io_socket *socket, bool writing)
{
    uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;
    writing = writing || (socket->state & IO_SOCKET_WATCH_OUT) != 0;
    events |= writing ? (uint32_t)EPOLLOUT : 0U;
    int operation = (socket->state & IO_SOCKET_WATCHED) != 0 ? EPOLL_CTL_MOD
                                                             : EPOLL_CTL_ADD;
    int rc = control(epoll_of(socket->io), operation, socket->fd, events,
                     tagged(socket, EPOLL_TAG_SOCKET));
    if (rc == 0) {
        socket->state |= IO_SOCKET_WATCHED;
        socket->state |= writing ? (uint32_t)IO_SOCKET_WATCH_OUT : 0U;
    }
    return rc;
}

/* A connect has ended; connected() comes from the queue. */
static void connect_ended(struct io_socket *socket, enum err err)
{
    socket->send_err = err;
    socket->state |= IO_SOCKET_REPORT;
    make_ready(socket);
}

static void epoll_connect(struct io_socket *socket,
                          const struct sockaddr *address,
                          socklen_t address_size)
{
    int rc;
    do {
        rc = connect(socket->fd, address, address_size) == 0 ? 0 : errno;
    } while (rc == EINTR);
    if (rc == EINPROGRESS) {
        rc = watch(socket, true);
        if (rc != 0) {
            connect_ended(socket, err_from_errno(rc));
        }
        return;
    }
    connect_ended(socket, rc == 0 ? ERR_OK : io_connect_err(rc));
}

static void connect_event(struct io_socket *socket, uint32_t events)
{
    int error_number = 0;
    socklen_t size = sizeof(error_number);
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
        return;
    }
    if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &error_number, &size) !=
        0) {
        error_number = errno;
    }
    connect_ended(socket,
                  error_number == 0 ? ERR_OK : io_connect_err(error_number));
}

static void epoll_receive_start(struct io_socket *socket)
{
    if ((socket->state & IO_SOCKET_WATCHED) == 0) {
        int rc = watch(socket, false);
        if (rc != 0) {
            socket->receive_err = rc == ENOMEM ? ERR_NOMEM : ERR_BUSY;
            socket->state |= IO_SOCKET_END_KNOWN;
        }
    }
    const uint32_t something = IO_SOCKET_READABLE | IO_SOCKET_END_KNOWN;
    if ((socket->state & something) != 0) {
        make_ready(socket);
    }
}

static void report_end(struct io_socket *socket, enum err err)
{
    socket->state |= IO_SOCKET_ENDED;
    socket->state &= ~(uint32_t)(IO_SOCKET_RECEIVING | IO_SOCKET_READABLE |
                                 IO_SOCKET_END_KNOWN);
    socket->ops->ended(socket, err);
}

/* Receive once. Returns whether it is worth to go on. */
static bool receive_once(struct io_socket *socket)
{
    struct epoll *epoll = epoll_of(socket->io);
    ssize_t size = recv(socket->fd, epoll->buffer, IO_RECEIVE_SIZE, 0);
    if (size > 0) {
        const uint32_t drain = IO_SOCKET_DRAIN;
        if (size < IO_RECEIVE_SIZE && (socket->state & drain) == 0) {
            socket->state &= ~(uint32_t)IO_SOCKET_READABLE;
        }
        socket->io->stats.received_bytes += (uint64_t)size;
        socket->ops->received(socket, epoll->buffer, (size_t)size);
        const uint32_t both = IO_SOCKET_RECEIVING | IO_SOCKET_READABLE;
        return (socket->state & both) == both;
    }
    if (size == 0) {
        report_end(socket, ERR_CLOSED);
    } else if (errno == EAGAIN) {
        socket->state &= ~(uint32_t)(IO_SOCKET_READABLE | IO_SOCKET_DRAIN);
    } else if (errno != EINTR) {
        report_end(socket, io_stream_err(errno));
    }
    return false;
}

static void receive(struct io_socket *socket)
{
    for (int i = 0; i < EPOLL_RECEIVES_MAX; i++) {
        if (!receive_once(socket)) {
            break;
        }
    }
    const uint32_t both = IO_SOCKET_RECEIVING | IO_SOCKET_READABLE;
    if ((socket->state & both) == both) {
        make_ready(socket);
    }
}

/* Send until all is with the kernel, it takes no more, or it fails. The first
 * and the last are told from the queue. */
static void send_some(struct io_socket *socket)
{
    for (;;) {
        uint32_t left = socket->part_count - socket->part_index;
        struct iovec *part = &socket->parts[socket->part_index];
        ssize_t size;
        if (left == 1) {
            size =
                send(socket->fd, part->iov_base, part->iov_len, MSG_NOSIGNAL);
        } else {
            socket->message.msg_iov = part;
            socket->message.msg_iovlen = left;
            size = sendmsg(socket->fd, &socket->message, MSG_NOSIGNAL);
        }
        if (size >= 0 && io_socket_advance(socket, (size_t)size)) {
            continue;
        }
        if (size < 0 && errno == EINTR) {
            continue;
        }
        int rc = size < 0 ? errno : 0;
        if (rc == EAGAIN) {
            const uint32_t watched = IO_SOCKET_WATCH_OUT;
            rc = (socket->state & watched) != 0 ? 0 : watch(socket, true);
            if (rc == 0) {
                return;
            }
        }
        socket->send_err = rc == 0 ? ERR_OK : io_stream_err(rc);
        socket->state |= IO_SOCKET_REPORT;
        make_ready(socket);
        return;
    }
}

static void epoll_send(struct io_socket *socket)
{
    socket->state &= ~(uint32_t)IO_SOCKET_REPORT;
    send_some(socket);
}

static void epoll_close(struct io_socket *socket)
{
    struct epoll *epoll = epoll_of(socket->io);
    if ((socket->state & IO_SOCKET_WATCHED) != 0) {
        /* Closing does it too, but not when a child has the descriptor. */
        (void)control(epoll, EPOLL_CTL_DEL, socket->fd, 0, 0);
    }
    (void)close(socket->fd);
    socket->fd = -1;
    list_append(&epoll->closing, &socket->ready);
}

/* What came and was not asked for is still with the kernel. */
static void epoll_detach(struct io_socket *socket)
{
    struct epoll *epoll = epoll_of(socket->io);
    if ((socket->state & IO_SOCKET_WATCHED) != 0) {
        (void)control(epoll, EPOLL_CTL_DEL, socket->fd, 0, 0);
    }
    socket->state |= IO_SOCKET_CLOSING; /* no other callback comes */
    socket->state &= ~(uint32_t)IO_SOCKET_RECEIVING;
    list_append(&epoll->closing, &socket->ready);
}

static void socket_event(struct io_socket *socket, uint32_t events)
{
    const uint32_t broken = EPOLLERR | EPOLLHUP;
    if ((socket->state & IO_SOCKET_CLOSING) != 0) {
        return; /* since this event was fetched */
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | broken)) != 0) {
        socket->state |= IO_SOCKET_READABLE;
    }
    if ((events & (EPOLLRDHUP | broken)) != 0) {
        socket->state |= IO_SOCKET_DRAIN;
    }
    if ((socket->state & IO_SOCKET_CONNECTING) != 0) {
        if ((socket->state & IO_SOCKET_REPORT) == 0) {
            connect_event(socket, events);
        }
        return;
    }
    if ((events & (EPOLLOUT | broken)) != 0 &&
        (socket->state & (IO_SOCKET_SENDING | IO_SOCKET_REPORT)) ==
            IO_SOCKET_SENDING) {
        send_some(socket);
    }
    const uint32_t both = IO_SOCKET_RECEIVING | IO_SOCKET_READABLE;
    if ((socket->state & both) == both) {
        receive(socket);
    }
}

/* Report and do what the queue is for. Each callback may close. */
static void socket_ready(struct io_socket *socket)
{
    if ((socket->state & IO_SOCKET_REPORT) != 0) {
        socket->state &= ~(uint32_t)IO_SOCKET_REPORT;
        if ((socket->state & IO_SOCKET_CONNECTING) != 0) {
            socket->state &= ~(uint32_t)IO_SOCKET_CONNECTING;
            socket->ops->connected(socket, socket->send_err);
        } else {
            socket->state &= ~(uint32_t)IO_SOCKET_SENDING;
            socket->ops->sent(socket, socket->send_err);
        }
    }
    if ((socket->state & IO_SOCKET_RECEIVING) == 0) {
        return;
    }
    if ((socket->state & IO_SOCKET_END_KNOWN) != 0) {
        report_end(socket, socket->receive_err);
    } else if ((socket->state & IO_SOCKET_READABLE) != 0) {
        receive(socket);
    }
}

/* --- the turn ------------------------------------------------------------ */

static bool epoll_ready(const struct io *io)
{
    const struct epoll *epoll = epoll_of(io);
    return !list_empty(&epoll->ready) || !list_empty(&epoll->closing);
}

static void epoll_backend_wait(struct io *io, int64_t wait_ns)
{
    struct epoll *epoll = epoll_of(io);
    epoll->event_count = 0;
    if (epoll->looked && epoll_ready(io)) {
        epoll->looked = false;
        return;
    }
    epoll->looked = true;
    int wait_ms = -1;
    if (wait_ns >= 0) {
        int64_t ms = (wait_ns + 999999) / 1000000; /* never too early */
        wait_ms = ms < EPOLL_WAIT_MS_MAX ? (int)ms : EPOLL_WAIT_MS_MAX;
    }
    int count = epoll_wait(epoll->fd, epoll->events, EPOLL_EVENTS_MAX, wait_ms);
    CHECK(count >= 0 || errno == EINTR);
    epoll->event_count = count > 0 ? count : 0;
}

/* Move all of a list to another, which is not initialised. */
static void take_list(struct list *from, struct list *to)
{
    list_init(to);
    if (!list_empty(from)) {
        to->next = from->next;
        to->prev = from->prev;
        to->next->prev = to;
        to->prev->next = to;
        list_init(from);
    }
}

static enum err epoll_poll_watch(struct io *io)
{
    int rc = control(epoll_of(io), EPOLL_CTL_ADD, io->poll_fd, EPOLLIN,
                     tagged(io, EPOLL_TAG_POLLS));
    if (rc != 0) {
        return rc == ENOMEM || rc == ENOSPC ? ERR_NOMEM : ERR_IO;
    }
    return ERR_OK;
}

static void dispatch_events(struct epoll *epoll)
{
    for (int i = 0; i < epoll->event_count; i++) {
        uint64_t data = epoll->events[i].data.u64;
        void *object = (void *)(uintptr_t)(data & ~(uint64_t)EPOLL_TAG_MASK);
        switch (data & EPOLL_TAG_MASK) {
        case EPOLL_TAG_SOCKET:
            socket_event(object, epoll->events[i].events);
            break;
        case EPOLL_TAG_LISTENER:
            listener_event(object);
            break;
        case EPOLL_TAG_POLLS:
            io_poll_dispatch(object);
            break;
        default:
            break; /* woken: what was posted is seen by the front */
        }
    }
    epoll->event_count = 0;
}

static void epoll_dispatch(struct io *io)
{
    struct epoll *epoll = epoll_of(io);
    struct list taken;
    struct list *node;
    take_list(&epoll->closing, &taken);
    while ((node = list_take_first(&taken)) != NULL) {
        io_socket_closed(CONTAINER_OF(node, struct io_socket, ready));
    }
    dispatch_events(epoll);
    take_list(&epoll->ready, &taken);
    while ((node = list_take_first(&taken)) != NULL) {
        socket_ready(CONTAINER_OF(node, struct io_socket, ready));
    }
}

static void epoll_flush(struct io *io)
{
    (void)io; /* nothing is put off */
}

const struct io_ops io_epoll_ops = {
    .name = "epoll",
    .create = epoll_backend_create,
    .destroy = epoll_backend_destroy,
    .ready = epoll_ready,
    .wait = epoll_backend_wait,
    .dispatch = epoll_dispatch,
    .flush = epoll_flush,
    .listener_start = epoll_listener_start,
    .listener_stop = epoll_listener_stop,
    .connect = epoll_connect,
    .receive_start = epoll_receive_start,
    .send = epoll_send,
    .close = epoll_close,
    .detach = epoll_detach,
    .file = io_work_file,
    .poll_watch = epoll_poll_watch,
};
