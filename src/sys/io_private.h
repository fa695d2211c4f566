/* What the parts of the event loop share: io.c is its front, io_timer.c the
 * wheel, io_work.c the helper threads, io_poll.c watches, io_epoll.c and
 * io_uring.c the back ends. Nothing outside of these includes this.
 *
 * Threads: as io.h.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_IO_PRIVATE_H
#define OPQ_SYS_IO_PRIVATE_H

#include "base/err.h"
#include "base/list.h"
#include "sys/io.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- the wheel -------------------------------------------------------------
 *
 * Seven levels of 64 slots. A timer sits on the level of the highest group of
 * six bits in which its due tick differs from the wheel's, in the slot that
 * the group names. So all timers of a level are due before those of the next,
 * within a level in the order of the slots, and there is no wrapping round.
 * When the wheel comes to a slot of a higher level, its timers move down. */
enum {
    IO_WHEEL_BITS = 6,
    IO_WHEEL_SLOTS = 1 << IO_WHEEL_BITS,
    IO_WHEEL_LEVELS = 7, /* 2^42 ms, 139 years */
};

struct io_wheel {
    uint64_t now_ms; /* ticks up to and including this one have expired */
    uint32_t levels; /* bit: the level may have timers */
    /* Bit: the slot may have timers. Stopping leaves it set; whoever looks
     * for timers clears it. */
    uint64_t slots[IO_WHEEL_LEVELS];
    struct list lists[IO_WHEEL_LEVELS][IO_WHEEL_SLOTS];
};

/* Make an empty wheel that stands at `now_ms`. */
void io_wheel_init(struct io_wheel *wheel, uint64_t now_ms);

/* Put a timer, which is in no list, where its `due_ms` belongs; one that is
 * due already expires with the next tick. */
void io_wheel_add(struct io_wheel *wheel, struct io_timer *timer);

/* Turn the wheel to `now_ms` and call what is due. */
void io_wheel_advance(struct io_wheel *wheel, uint64_t now_ms);

/* The tick to wake at: not after the first timer is due, and mostly exactly
 * then; UINT64_MAX when no timer runs. */
uint64_t io_wheel_next_ms(struct io_wheel *wheel);

/* --- the helper threads -------------------------------------------------- */

struct io_worker {
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t more;  /* the queue has grown, or it is time to stop */
    struct list first;    /* of struct io_work, first come first */
    struct list queue;    /* likewise; while `first` is empty */
    pthread_t thread;
    bool started; /* the loop's thread only */
    bool stopping;
};

/* Make a worker without a thread. Errors: ERR_NOMEM */
MUST_CHECK enum err io_worker_init(struct io_worker *worker);

/* End the thread; nothing is queued. */
void io_worker_fini(struct io_worker *worker);

/* Do a file operation on a helper thread, through the table of file.h. Writes
 * and syncs go before reads that wait. */
void io_work_file(struct io *io, struct io_file_op *op);

/* --- the loop ------------------------------------------------------------ */

/* Flags of io_socket.state. */
enum {
    IO_SOCKET_RECEIVING = 1 << 0,  /* the caller wants received() */
    IO_SOCKET_ARMED = 1 << 1,      /* uring: a receive is with the kernel */
    IO_SOCKET_CANCELLING = 1 << 2, /* uring: and is being cancelled */
    IO_SOCKET_SENDING = 1 << 3,    /* io_send() to sent() */
    IO_SOCKET_CONNECTING = 1 << 4, /* io_connect() to connected() */
    IO_SOCKET_CLOSING = 1 << 5,    /* io_close() was called */
    IO_SOCKET_END_KNOWN = 1 << 6,  /* receive_err is to be reported */
    IO_SOCKET_ENDED = 1 << 7,      /* ended() was called, or will not be */
    IO_SOCKET_REPORT = 1 << 8,     /* epoll: send_err is to be reported */
    IO_SOCKET_READABLE = 1 << 9,   /* epoll: a receive may find something */
    IO_SOCKET_DRAIN = 1 << 10,     /* epoll: receive until the end is seen */
    IO_SOCKET_WATCHED = 1 << 11,   /* epoll: registered */
    IO_SOCKET_WATCH_OUT = 1 << 12, /* epoll: for writing, too */
    IO_SOCKET_PACED = 1 << 13,     /* uring: receives are armed one by one */
    IO_SOCKET_DETACHING = 1 << 14, /* io_detach() was called */
};

/* Flags of io_listener.state. */
enum {
    IO_LISTENER_ACTIVE = 1 << 0,     /* the caller wants accepted() */
    IO_LISTENER_ARMED = 1 << 1,      /* the kernel accepts, or watches */
    IO_LISTENER_CANCELLING = 1 << 2, /* uring: and is told to stop */
};

/* Kinds of io_file_op. */
enum {
    IO_FILE_WRITE = 1,
    IO_FILE_READ,
    IO_FILE_SYNC,
};

enum { IO_ACCEPT_PAUSE_MS = 100 };

/* A back end. All functions are required and run on the loop's thread. Those
 * that start something call nobody back. */
struct io_ops {
    const char *name;
    bool counts; /* wait() heeds io->gather_count */
    /* Set io->backend. Errors: as io_create() */
    enum err (*create)(struct io *io, uint32_t sockets_max);
    void (*destroy)(struct io *io);
    /* Tell whether dispatch() has work without waiting. */
    bool (*ready)(const struct io *io);
    /* Submit, and wait: 0 not at all, -1 as long as it takes. Returns early
     * when io->wake_fd is written, but not while several operations are waited
     * for, for io->gather_ns or another short time. Calls nobody. */
    void (*wait)(struct io *io, int64_t wait_ns);
    /* Hand out what has completed, in bounded time. */
    void (*dispatch)(struct io *io);
    /* Submit without waiting. */
    void (*flush)(struct io *io);
    void (*listener_start)(struct io_listener *listener);
    void (*listener_stop)(struct io_listener *listener);
    void (*connect)(struct io_socket *socket,
                    const struct sockaddr *address,
                    socklen_t address_size);
    void (*receive_start)(struct io_socket *socket); /* RECEIVING is set */
    void (*send)(struct io_socket *socket);          /* SENDING and parts are */
    void (*close)(struct io_socket *socket);         /* CLOSING is */
    void (*detach)(struct io_socket *socket);        /* DETACHING is */
    void (*file)(struct io *io, struct io_file_op *op);
    /* Call io_poll_dispatch() in each turn in which io->poll_fd is readable,
     * until destroy(). Errors: ERR_NOMEM, ERR_IO */
    enum err (*poll_watch)(struct io *io);
};

struct io {
    const struct io_ops *ops;
    void *backend; /* owned by ops */
    uint64_t now_ns;
    uint64_t now_ms;
    uint64_t wall_ms;
    int wake_fd;  /* eventfd, only ever written: each write is an edge */
    int poll_fd;  /* epoll, see io_poll.c; -1 before the first io_poll */
    bool in_turn; /* now_ns is that of this turn */
    bool stop;
    struct io_stats stats;
    struct list hooks;
    struct list *hook_next; /* where the walk over hooks goes on */
    uint32_t gather_count;  /* of io_gather(); 0: none */
    uint64_t gather_ns;     /* likewise */
    uint32_t sockets;       /* that are not closed */
    uint32_t file_ops;      /* that are not done */
    struct io_wheel wheel;
    struct io_worker worker;      /* of io_work_start() */
    struct io_worker file_worker; /* of io_work_file() */
    /* Posted by other threads; on cache lines of their own. */
    _Alignas(64) _Atomic(struct io_task *) posted; /* newest first */
    atomic_uint sleeping; /* whoever takes it from 1 to 0 writes wake_fd */
};

/* The back ends. io_uring needs its kernel, see io_uring.c. */
extern const struct io_ops io_epoll_ops;
extern const struct io_ops io_uring_ops;

/* Turn the errno of a receive or send into a code: ERR_TIMEOUT, ERR_NOMEM, or
 * ERR_RESET. */
enum err io_stream_err(int error_number);

/* Turn the errno of a connect into a code: ERR_REFUSED when nobody is there. */
enum err io_connect_err(int error_number);

/* Turn the errno of an accept into a code: ERR_OK when the next one may
 * follow at once. */
enum err io_accept_err(int error_number);

/* Report that accepting failed, and go on later. */
void io_listener_failed(struct io_listener *listener, enum err err);

/* Step over `size` sent bytes. Returns whether parts are left. */
bool io_socket_advance(struct io_socket *socket, size_t size);

/* A socket's life is over: call closed(). */
void io_socket_closed(struct io_socket *socket);

/* Call those whose descriptors are ready. */
void io_poll_dispatch(struct io *io);

/* Close poll_fd. */
void io_poll_fini(struct io *io);

/* Step over `size` moved bytes. Returns whether something is left. */
bool io_file_advance(struct io_file_op *op, size_t size);

/* A file operation is over: call done(). */
void io_file_done(struct io_file_op *op, enum err err);

#endif
