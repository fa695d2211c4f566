/* The back end on io_uring.
 *
 * What happens: a listener has one multishot accept, a socket one multishot
 * receive, both armed once. Received bytes come in buffers of a ring that all
 * sockets share and that the kernel takes from only when there are bytes; a
 * buffer goes back when received() returns. Sends, closes and file operations
 * are written to the submission ring, and the next turn's wait submits all of
 * them: one system call a turn.
 *
 * What can go wrong:
 * - The ring of buffers is empty: a receive ends with ENOBUFS and is armed
 *   again, when buffers have come back.
 * - The submission ring is full: it is submitted and gone on with.
 * - The completion ring is full: the kernel keeps the rest (NODROP); receives
 *   and accepts end, and are armed again.
 *
 * Pausing costs nothing: what then comes is copied out of its buffer (so that
 * paused sockets never hold buffers that others need), the receive is
 * cancelled, and the rest stays with the kernel. Starting hands out the copies
 * first.
 *
 * A pointer to a socket, listener or file operation is with the kernel until
 * its last completion: `pending` counts them, and closed() waits for it. A
 * listener may be freed a turn after it is stopped, so the wait of that turn
 * lasts until the accept has ended.
 *
 * Only completions that were there when dispatch() began are handed out, so
 * that what a callback starts ends in a later turn even when the submission
 * ring was full.
 *
 * Files go to the helper thread when tests have put other functions under
 * sys/file.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "sys/file.h"
#include "sys/io_private.h"
#include "sys/io_uring_setup.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What user_data points to, in its lowest bits. */
enum {
    URING_TAG_RECEIVE = 0,
    URING_TAG_SEND = 1,
    URING_TAG_CONNECT = 2,
    URING_TAG_CLOSE = 3,
    URING_TAG_ACCEPT = 4,
    URING_TAG_FILE = 5,
    URING_TAG_CANCEL = 6,
    URING_TAG_WAKE = 7, /* with NULL; with the loop: polls, see io_poll.c */
    URING_TAG_MASK = 7,
};

/* Bytes that came while a socket was paused. */
struct io_held {
    struct io_held *next; /* owned */
    size_t size;
    char data[];
};

static struct uring *uring_of(const struct io *io)
{
    return io->backend;
}

/* --- submitting ---------------------------------------------------------- */

/* The ring belongs to the thread that first runs the loop, which need not be
 * the one that created it. */
static void enable(struct uring *uring)
{
    if (!uring->enabled) {
        uring->enabled = true;
        if ((uring->ring.flags & IORING_SETUP_R_DISABLED) != 0) {
            /* liburing 2.3 declares io_uring_enable_rings() but lacks it. */
            CHECK(io_uring_register((unsigned)uring->ring.ring_fd,
                                    IORING_REGISTER_ENABLE_RINGS, NULL,
                                    0) == 0);
        }
        /* Saves looking up the descriptor; not there before 5.18. */
        (void)io_uring_register_ring_fd(&uring->ring);
    }
}

/* Make room in a submission ring that is full. */
static struct io_uring_sqe *sqe_by_force(struct uring *uring)
{
    struct io_uring_sqe *sqe = NULL;
    enable(uring);
    io_uring_setup_give_buffers(uring);
    uring->sends = 0;
    for (int i = 0; i < URING_SUBMIT_TRIES && sqe == NULL; i++) {
        (void)io_uring_submit(&uring->ring); /* an error shows in the next */
        sqe = io_uring_get_sqe(&uring->ring);
    }
    CHECK(sqe != NULL); /* the kernel takes nothing any more */
    return sqe;
}

static struct io_uring_sqe *next_sqe(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    return sqe != NULL ? sqe : sqe_by_force(uring);
}

static void set_data(struct io_uring_sqe *sqe, const void *object, unsigned tag)
{
    sqe->user_data = (uintptr_t)object | tag;
}

static void cancel(struct uring *uring, const void *object, unsigned tag)
{
    struct io_uring_sqe *sqe = next_sqe(uring);
    io_uring_prep_cancel64(sqe, (uintptr_t)object | tag, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    set_data(sqe, NULL, URING_TAG_CANCEL);
}

static enum err uring_poll_watch(struct io *io)
{
    struct io_uring_sqe *sqe = next_sqe(uring_of(io));
    io_uring_prep_poll_add(sqe, io->poll_fd, POLLIN);
    set_data(sqe, io, URING_TAG_WAKE);
    return ERR_OK;
}

static void watch_wake(struct uring *uring)
{
    struct io_uring_sqe *sqe = next_sqe(uring);
    io_uring_prep_poll_multishot(sqe, uring->io->wake_fd, POLLIN);
    set_data(sqe, NULL, URING_TAG_WAKE);
}

/* --- life ---------------------------------------------------------------- */

static enum err uring_create(struct io *io, uint32_t sockets_max)
{
    struct uring *uring = calloc(1, sizeof(*uring));
    if (uring == NULL) {
        return ERR_NOMEM;
    }
    uring->io = io;
    list_init(&uring->ready);
    enum err err = io_uring_setup_init(uring, sockets_max);
    if (err != ERR_OK) {
        free(uring);
        return err;
    }
    watch_wake(uring);
    io->backend = uring;
    return ERR_OK;
}

static void uring_destroy(struct io *io)
{
    struct uring *uring = uring_of(io);
    io_uring_setup_fini(uring);
    free(uring);
    io->backend = NULL;
}

/* --- listeners ----------------------------------------------------------- */

static void uring_listener_start(struct io_listener *listener)
{
    if ((listener->state & IO_LISTENER_ARMED) != 0) {
        return; /* or is being cancelled: its end arms it again */
    }
    struct io_uring_sqe *sqe = next_sqe(uring_of(listener->io));
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL,
                                   SOCK_NONBLOCK | SOCK_CLOEXEC);
    set_data(sqe, listener, URING_TAG_ACCEPT);
    listener->state |= IO_LISTENER_ARMED;
}

static void uring_listener_stop(struct io_listener *listener)
{
    struct uring *uring = uring_of(listener->io);
    const uint32_t both = IO_LISTENER_ARMED | IO_LISTENER_CANCELLING;
    if ((listener->state & both) == IO_LISTENER_ARMED) {
        listener->state |= IO_LISTENER_CANCELLING;
        uring->stopping++;
        cancel(uring, listener, URING_TAG_ACCEPT);
    }
}

static void accept_done(struct uring *uring,
                        struct io_listener *listener,
                        int res,
                        bool more)
{
    if (!more && (listener->state & IO_LISTENER_CANCELLING) != 0) {
        uring->stopping--;
    }
    if (!more) {
        listener->state &=
            ~(uint32_t)(IO_LISTENER_ARMED | IO_LISTENER_CANCELLING);
    }
    if (res >= 0) {
        uring->io->stats.accepted++;
        listener->accepted(listener, ERR_OK, res);
    } else if ((listener->state & IO_LISTENER_ACTIVE) != 0) {
        enum err err = io_accept_err(-res);
        if (err != ERR_OK) {
            io_listener_failed(listener, err);
            return;
        }
    }
    if (!more && (listener->state & IO_LISTENER_ACTIVE) != 0 &&
        !io_timer_running(&listener->pause)) {
        uring_listener_start(listener);
    }
}

/* --- receiving ----------------------------------------------------------- */

static void arm_receive(struct uring *uring, struct io_socket *socket)
{
    struct io_uring_sqe *sqe = next_sqe(uring);
    if ((socket->state & IO_SOCKET_PACED) != 0) {
        io_uring_prep_recv(sqe, socket->fd, NULL, IO_RECEIVE_SIZE, 0);
    } else {
        io_uring_prep_recv_multishot(sqe, socket->fd, NULL, 0, 0);
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_GROUP;
    set_data(sqe, socket, URING_TAG_RECEIVE);
    socket->state |= IO_SOCKET_ARMED;
    socket->pending++;
}

static void cancel_receive(struct uring *uring, struct io_socket *socket)
{
    const uint32_t both = IO_SOCKET_ARMED | IO_SOCKET_CANCELLING;
    if ((socket->state & both) == IO_SOCKET_ARMED) {
        socket->state |= IO_SOCKET_CANCELLING;
        cancel(uring, socket, URING_TAG_RECEIVE);
    }
}

/* Arm the receive if the caller wants it and nothing is in the way: what is
 * held comes first, or it would only grow. */
static void rearm_receive(struct uring *uring, struct io_socket *socket)
{
    const uint32_t looked_at = IO_SOCKET_RECEIVING | IO_SOCKET_ARMED |
                               IO_SOCKET_END_KNOWN | IO_SOCKET_CLOSING |
                               IO_SOCKET_DETACHING;
    if ((socket->state & looked_at) == IO_SOCKET_RECEIVING &&
        socket->held_first == NULL) {
        arm_receive(uring, socket);
    }
}

static void uring_receive_start(struct io_socket *socket)
{
    struct uring *uring = uring_of(socket->io);
    if (socket->held_first != NULL ||
        (socket->state & IO_SOCKET_END_KNOWN) != 0) {
        if (!list_linked(&socket->ready)) {
            list_append(&uring->ready, &socket->ready);
        }
    }
    rearm_receive(uring, socket);
}

/* Keep a copy of what came for a socket that is paused. */
static void hold(struct io_socket *socket, const char *data, size_t size)
{
    struct io_held *held = malloc(sizeof(*held) + size);
    if (held == NULL) {
        socket->receive_err = ERR_NOMEM; /* a hole: the connection is over */
        socket->state |= IO_SOCKET_END_KNOWN;
        return;
    }
    held->next = NULL;
    held->size = size;
    memcpy(held->data, data, size);
    if (socket->held_first == NULL) {
        socket->held_first = held;
    } else {
        socket->held_last->next = held;
    }
    socket->held_last = held;
}

static struct io_held *take_held(struct io_socket *socket)
{
    struct io_held *held = socket->held_first;
    if (held != NULL) {
        socket->held_first = held->next;
    }
    return held;
}

static void report_end(struct io_socket *socket)
{
    socket->state |= IO_SOCKET_ENDED;
    socket->state &= ~(uint32_t)(IO_SOCKET_RECEIVING | IO_SOCKET_END_KNOWN);
    socket->ops->ended(socket, socket->receive_err);
}

/* Hand out what was held, as long as the caller wants it. */
static void hand_out_held(struct io_socket *socket)
{
    while ((socket->state & IO_SOCKET_RECEIVING) != 0) {
        struct io_held *held = take_held(socket);
        if (held == NULL) {
            break;
        }
        socket->ops->received(socket, held->data, held->size);
        free(held);
    }
    const uint32_t both = IO_SOCKET_RECEIVING | IO_SOCKET_END_KNOWN;
    if ((socket->state & both) == both) {
        report_end(socket);
    }
    rearm_receive(uring_of(socket->io), socket);
}

/* Hand out or hold received bytes. */
static void received_bytes(struct uring *uring,
                           struct io_socket *socket,
                           const char *data,
                           size_t size)
{
    const uint32_t looked_at = IO_SOCKET_RECEIVING | IO_SOCKET_END_KNOWN;
    uring->io->stats.received_bytes += size;
    if ((socket->state & looked_at) == IO_SOCKET_RECEIVING &&
        socket->held_first == NULL) {
        socket->ops->received(socket, data, size);
    } else if ((socket->state & (IO_SOCKET_CLOSING | IO_SOCKET_END_KNOWN)) ==
               0) {
        hold(socket, data, size);
        if ((socket->state & looked_at) != IO_SOCKET_RECEIVING) {
            cancel_receive(uring, socket);
        }
    }
}

/* A receive is over: the stream's end, a failure, or something that is no
 * matter of the caller's. */
static void receive_over(struct uring *uring, struct io_socket *socket, int res)
{
    bool end = res <= 0 && res != -ECANCELED && res != -ENOBUFS &&
               res != -EINTR && res != -EAGAIN;
    if (end && (socket->state & IO_SOCKET_END_KNOWN) == 0) {
        socket->receive_err = res == 0 ? ERR_CLOSED : io_stream_err(-res);
        socket->state |= IO_SOCKET_END_KNOWN;
    }
    const uint32_t both = IO_SOCKET_RECEIVING | IO_SOCKET_END_KNOWN;
    if ((socket->state & both) == both && socket->held_first == NULL) {
        report_end(socket);
    }
    rearm_receive(uring, socket);
}

static void receive_done(struct uring *uring,
                         struct io_socket *socket,
                         int res,
                         uint32_t flags)
{
    bool more = (flags & IORING_CQE_F_MORE) != 0;
    if (!more) {
        socket->pending--;
        socket->state &= ~(uint32_t)(IO_SOCKET_ARMED | IO_SOCKET_CANCELLING);
    }
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        uint32_t index = flags >> IORING_CQE_BUFFER_SHIFT;
        CHECK(index < uring->buffer_count);
        if (res > 0) {
            received_bytes(uring, socket,
                           uring->memory + (size_t)index * IO_RECEIVE_SIZE,
                           (size_t)res);
        }
        io_uring_setup_add_buffer(uring, index);
    }
    if (!more && (socket->state & IO_SOCKET_CLOSING) == 0) {
        receive_over(uring, socket, res);
    }
}

/* --- sending, connecting, closing ---------------------------------------- */

static void uring_send(struct io_socket *socket)
{
    /* WAITALL: the kernel goes on with a short send by itself. */
    const unsigned flags = MSG_NOSIGNAL | MSG_WAITALL;
    struct io_uring_sqe *sqe = next_sqe(uring_of(socket->io));
    struct iovec *part = &socket->parts[socket->part_index];
    uint32_t left = socket->part_count - socket->part_index;
    if (left == 1) {
        io_uring_prep_send(sqe, socket->fd, part->iov_base, part->iov_len,
                           (int)flags);
    } else {
        socket->message.msg_iov = part;
        socket->message.msg_iovlen = left;
        io_uring_prep_sendmsg(sqe, socket->fd, &socket->message, flags);
    }
    set_data(sqe, socket, URING_TAG_SEND);
    socket->pending++;
    uring_of(socket->io)->sends++;
}

static void send_done(struct io_socket *socket, int res)
{
    socket->pending--;
    if ((socket->state & IO_SOCKET_CLOSING) != 0) {
        return;
    }
    if ((socket->state & IO_SOCKET_DETACHING) != 0) {
        /* A send that was cancelled tells how far it came. */
        (void)io_socket_advance(socket, res > 0 ? (size_t)res : 0);
        socket->state &= ~(uint32_t)IO_SOCKET_SENDING;
        return;
    }
    bool again = res == -EINTR || res == -EAGAIN;
    if (res >= 0) {
        again = io_socket_advance(socket, (size_t)res);
    }
    if (again) {
        uring_send(socket);
        return;
    }
    socket->state &= ~(uint32_t)IO_SOCKET_SENDING;
    socket->ops->sent(socket, res >= 0 ? ERR_OK : io_stream_err(-res));
}

static void uring_connect(struct io_socket *socket,
                          const struct sockaddr *address,
                          socklen_t address_size)
{
    /* The address stays until it is submitted where the parts of a send will
     * be; there is no send yet. */
    static_assert(sizeof(socket->parts) >= sizeof(struct sockaddr_storage),
                  "an address fits the parts");
    struct sockaddr *copy = (struct sockaddr *)(void *)socket->parts;
    memcpy(copy, address, address_size);
    struct io_uring_sqe *sqe = next_sqe(uring_of(socket->io));
    io_uring_prep_connect(sqe, socket->fd, copy, address_size);
    set_data(sqe, socket, URING_TAG_CONNECT);
    socket->pending++;
}

static void connect_done(struct io_socket *socket, int res)
{
    socket->pending--;
    if ((socket->state & IO_SOCKET_CLOSING) == 0) {
        socket->state &= ~(uint32_t)IO_SOCKET_CONNECTING;
        socket->ops->connected(socket,
                               res == 0 ? ERR_OK : io_connect_err(-res));
    }
}

static void uring_close(struct io_socket *socket)
{
    struct uring *uring = uring_of(socket->io);
    struct io_held *held;
    while ((held = take_held(socket)) != NULL) {
        free(held);
    }
    cancel_receive(uring, socket);
    if ((socket->state & IO_SOCKET_SENDING) != 0) {
        /* Its bytes are the caller's again when this returns: what of the
         * send is still to run must fail before it looks at them. */
        (void)shutdown(socket->fd, SHUT_RDWR);
        cancel(uring, socket, URING_TAG_SEND);
    }
    if ((socket->state & IO_SOCKET_CONNECTING) != 0) {
        cancel(uring, socket, URING_TAG_CONNECT);
    }
    /* In order behind these; what they leave has the file, not its number. */
    struct io_uring_sqe *sqe = next_sqe(uring);
    io_uring_prep_close(sqe, socket->fd);
    set_data(sqe, socket, URING_TAG_CLOSE);
    socket->pending++;
    socket->fd = -1;
}

/* Nothing is with the kernel any more: give what it left, and the socket. */
static void detach_end(struct io_socket *socket)
{
    struct io_held *held = NULL;
    while ((socket->state & IO_SOCKET_CLOSING) == 0 &&
           (held = take_held(socket)) != NULL) {
        socket->ops->received(socket, held->data, held->size);
        free(held);
    }
    const uint32_t looked_at = IO_SOCKET_CLOSING | IO_SOCKET_END_KNOWN;
    if ((socket->state & looked_at) == IO_SOCKET_END_KNOWN) {
        report_end(socket);
    }
    if ((socket->state & IO_SOCKET_CLOSING) == 0) {
        socket->state |= IO_SOCKET_CLOSING;
        io_socket_closed(socket);
    } /* else a callback has closed it */
}

static void uring_detach(struct io_socket *socket)
{
    struct uring *uring = uring_of(socket->io);
    socket->state |= IO_SOCKET_RECEIVING; /* all that comes is handed out */
    cancel_receive(uring, socket);
    if ((socket->state & IO_SOCKET_SENDING) != 0) {
        cancel(uring, socket, URING_TAG_SEND);
    }
    if (socket->pending == 0) {
        list_append(&uring->ready, &socket->ready);
    }
}

/* --- files --------------------------------------------------------------- */

static void file_submit(struct uring *uring, struct io_file_op *op)
{
    struct io_uring_sqe *sqe = next_sqe(uring);
    uint64_t offset = op->offset + op->moved;
    switch (op->kind) {
    case IO_FILE_WRITE:
        io_uring_prep_writev2(sqe, op->fd, op->parts, op->part_count, offset,
                              op->durable ? RWF_DSYNC : 0);
        break;
    case IO_FILE_READ:
        io_uring_prep_readv(sqe, op->fd, op->parts, op->part_count, offset);
        break;
    default:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    }
    set_data(sqe, op, URING_TAG_FILE);
}

static void uring_file(struct io *io, struct io_file_op *op)
{
    if (file_current_calls() != file_kernel_calls()) {
        io_work_file(io, op);
        return;
    }
    file_submit(uring_of(io), op);
}

static void file_done(struct uring *uring, struct io_file_op *op, int res)
{
    if (res == -EINTR || res == -EAGAIN) {
        file_submit(uring, op);
        return;
    }
    if (res == -EOPNOTSUPP) {
        io_work_file(uring->io, op); /* knows another way */
        return;
    }
    if (res < 0) {
        bool full = err_from_errno(-res) == ERR_FULL || res == -EFBIG;
        io_file_done(op, full ? ERR_FULL : ERR_IO);
        return;
    }
    if (op->kind == IO_FILE_SYNC || !io_file_advance(op, (size_t)res)) {
        io_file_done(op, ERR_OK);
    } else if (res > 0) {
        file_submit(uring, op);
    } else {
        io_file_done(op, op->kind == IO_FILE_READ ? ERR_OK : ERR_IO);
    }
}

/* --- the turn ------------------------------------------------------------ */

static bool uring_ready(const struct io *io)
{
    const struct uring *uring = uring_of(io);
    return !list_empty(&uring->ready) || io_uring_cq_ready(&uring->ring) > 0;
}

/* How many of the accepts that are being cancelled have ended, by completions
 * that wait. */
static uint32_t count_stopped(struct uring *uring)
{
    uint32_t count = 0;
    unsigned head;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        uint64_t data = cqe->user_data;
        if ((data & URING_TAG_MASK) == URING_TAG_ACCEPT &&
            (cqe->flags & IORING_CQE_F_MORE) == 0) {
            const struct io_listener *listener =
                (void *)(uintptr_t)(data & ~(uint64_t)URING_TAG_MASK);
            count += (listener->state & IO_LISTENER_CANCELLING) != 0 ? 1 : 0;
        }
    }
    return count;
}

/* Wait until all stopped listeners are free. It takes no time to speak of. */
static void wait_stopped(struct uring *uring)
{
    while (count_stopped(uring) < uring->stopping) {
        unsigned waiting = io_uring_cq_ready(&uring->ring);
        CHECK(waiting < uring->ring.cq.ring_entries);
        (void)io_uring_submit_and_wait(&uring->ring, waiting + 1);
    }
}

/* How many completions to wait for, and `*wait_ns` for how long. Sends complete
 * while they are submitted, nearly always, and nobody waits for that: what they
 * lead to is waited for as well, for a moment, which saves a turn for the ends
 * of sends alone. */
static unsigned wait_count(const struct uring *uring, int64_t *wait_ns)
{
    uint32_t gather = uring->io->gather_count;
    if (gather == 0 && uring->sends == 0) {
        return 1;
    }
    if (gather == 0) {
        gather = 1;
        bool long_wait = *wait_ns < 0 || *wait_ns > URING_SENT_NS;
        *wait_ns = long_wait ? URING_SENT_NS : *wait_ns;
    }
    /* Each may be a receive, for which a buffer must be there. */
    uint32_t gather_max = uring->buffer_count / 2;
    gather = gather < gather_max ? gather : gather_max;
    uint32_t count = gather + uring->sends;
    return count < URING_COUNT_MAX ? count : URING_COUNT_MAX;
}

static void uring_wait(struct io *io, int64_t wait_ns)
{
    struct uring *uring = uring_of(io);
    enable(uring);
    /* Errors: EINTR, ETIME; EBUSY and EAGAIN until completions are taken. */
    if (wait_ns == 0) {
        (void)io_uring_submit_and_get_events(&uring->ring);
    } else {
        struct io_uring_cqe *cqe;
        unsigned count = wait_count(uring, &wait_ns);
        struct __kernel_timespec span = {
            .tv_sec = wait_ns / 1000000000,
            .tv_nsec = wait_ns % 1000000000,
        };
        (void)io_uring_submit_and_wait_timeout(
            &uring->ring, &cqe, count, wait_ns < 0 ? NULL : &span, NULL);
    }
    uring->sends = 0;
    if (uring->stopping > 0) {
        wait_stopped(uring);
    }
}

/* Hand out one completion. */
static void complete(struct uring *uring, const struct io_uring_cqe *cqe)
{
    uint64_t data = cqe->user_data;
    void *object = (void *)(uintptr_t)(data & ~(uint64_t)URING_TAG_MASK);
    struct io_socket *socket = object;
    bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    switch (data & URING_TAG_MASK) {
    case URING_TAG_RECEIVE:
        receive_done(uring, socket, cqe->res, cqe->flags);
        break;
    case URING_TAG_SEND:
        send_done(socket, cqe->res);
        break;
    case URING_TAG_CONNECT:
        connect_done(socket, cqe->res);
        break;
    case URING_TAG_CLOSE:
        socket->pending--;
        break;
    case URING_TAG_ACCEPT:
        accept_done(uring, object, cqe->res, more);
        return;
    case URING_TAG_FILE:
        file_done(uring, object, cqe->res);
        return;
    case URING_TAG_WAKE:
        if (object != NULL) {
            io_poll_dispatch(uring->io);
            (void)uring_poll_watch(uring->io); /* never fails */
        } else if (!more) {
            watch_wake(uring);
        }
        return;
    default: /* a cancel that came too late */
        return;
    }
    if (socket->pending > 0) {
        return;
    }
    if ((socket->state & IO_SOCKET_CLOSING) != 0) {
        io_socket_closed(socket);
    } else if ((socket->state & IO_SOCKET_DETACHING) != 0) {
        detach_end(socket);
    }
}

static void dispatch_ready(struct uring *uring)
{
    struct list *last = uring->ready.prev;
    struct list *node = NULL;
    while (node != last && !list_empty(&uring->ready)) {
        node = list_take_first(&uring->ready);
        struct io_socket *socket = CONTAINER_OF(node, struct io_socket, ready);
        if ((socket->state & IO_SOCKET_DETACHING) != 0) {
            detach_end(socket);
        } else {
            hand_out_held(socket);
        }
    }
}

static void uring_dispatch(struct io *io)
{
    struct uring *uring = uring_of(io);
    if (!list_empty(&uring->ready)) {
        dispatch_ready(uring);
    }
    unsigned count = io_uring_cq_ready(&uring->ring);
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_cqe *cqe = NULL;
        if (io_uring_peek_cqe(&uring->ring, &cqe) != 0) {
            break;
        }
        struct io_uring_cqe copy = *cqe;
        io_uring_cq_advance(&uring->ring, 1);
        complete(uring, &copy);
    }
    io_uring_setup_give_buffers(uring);
}

static void uring_flush(struct io *io)
{
    struct uring *uring = uring_of(io);
    enable(uring);
    uring->sends = 0;
    (void)io_uring_submit(&uring->ring); /* what stays is submitted later */
}

const struct io_ops io_uring_ops = {
    .name = "io_uring",
    .counts = true,
    .create = uring_create,
    .destroy = uring_destroy,
    .ready = uring_ready,
    .wait = uring_wait,
    .dispatch = uring_dispatch,
    .flush = uring_flush,
    .listener_start = uring_listener_start,
    .listener_stop = uring_listener_stop,
    .connect = uring_connect,
    .receive_start = uring_receive_start,
    .send = uring_send,
    .close = uring_close,
    .detach = uring_detach,
    .file = uring_file,
    .poll_watch = uring_poll_watch,
};
