/* One event loop, in completion style: start an operation, be called back
 * when it is done.
 *
 * Two back ends with one behaviour: io_uring (multishot accept and receive,
 * provided buffers, one submission a turn) and epoll (readiness turned into
 * completions; file operations by a helper thread of their own). io_create()
 * takes the better one that the kernel allows, or the one it is told to.
 *
 * A turn: wait; hand out every completion, due timer and posted task; call the
 * turn hooks in the order they were added; submit what all of those started.
 * The hooks are where work that was collected during the turn is done at once:
 * one journal commit, one flush of answers, one round of deliveries. A hook
 * may start operations but its own completions come in a later turn.
 *
 * No callback is ever made from inside the call that starts an operation.
 *
 * Threads: everything from the thread that runs the loop, except io_post(),
 * which may be called from any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_IO_H
#define OPQ_SYS_IO_H

#include "base/err.h"
#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct io;
struct io_task;
struct io_hook;
struct io_timer;
struct io_listener;
struct io_socket;
struct io_file_op;
struct io_poll;

enum io_backend {
    IO_BACKEND_AUTO, /* io_uring where it works, epoll otherwise */
    IO_BACKEND_EPOLL,
    IO_BACKEND_URING,
};

enum {
    IO_RECEIVE_SIZE = 16 * 1024, /* most bytes in one received() call */
    IO_SEND_PARTS_MAX = 16,      /* parts of one io_send() */
};

struct io_options {
    enum io_backend backend;
    uint32_t sockets_max; /* sizes the rings; 0 takes 16,384 */
};

struct io_stats {
    uint64_t turns;
    uint64_t waits; /* turns that had nothing to do and slept */
    uint64_t accepted;
    uint64_t received_bytes;
    uint64_t sent_bytes;
};

/* Make a loop.
 *
 * Gives:  `*out`, for io_destroy().
 * Errors: ERR_UNSUPPORTED  the back end that was asked for is not available
 *         ERR_NOMEM, ERR_BUSY (descriptors), ERR_IO
 */
MUST_CHECK enum err io_create(const struct io_options *options,
                              struct io **out);

/* Free a loop. Accepts NULL. Every socket, listener and file operation has
 * been closed or is done; timers are forgotten. */
void io_destroy(struct io *io);

/* Tell whether sockets are open or file operations under way, so that
 * io_destroy() must wait for further turns. */
bool io_busy(const struct io *io);

/* The back end in use: "io_uring" or "epoll". */
const char *io_backend_name(const struct io *io);

/* Figures so far; borrowed, living as long as the loop. */
const struct io_stats *io_stats(const struct io *io);

/* Run turns until io_stop(). */
void io_run(struct io *io);

/* Run one turn, waiting at most `wait_ms` for something to do (-1: as long as
 * it takes; 0: not at all). For tests and nested drains. */
void io_run_turn(struct io *io, int wait_ms);

/* Make io_run() return at the end of this turn. */
void io_stop(struct io *io);

/* Monotonic time of this turn. Cheap: read once a turn. */
uint64_t io_now_ns(const struct io *io);

/* The same in milliseconds. */
uint64_t io_now_ms(const struct io *io);

/* Wall clock of this turn, milliseconds since 1970. */
uint64_t io_wall_ms(const struct io *io);

/* Let the next wait go on, for `span_ns` at most, until `count` operations have
 * completed, those not counted that complete as soon as they are submitted
 * (sends): for work that is cheaper done for many at once. Only for the next
 * wait; the largest count and the shortest span hold. What completes meanwhile
 * and what others post waits with it. False, and nothing happens, where the
 * back end cannot count (epoll). */
bool io_gather(struct io *io, uint32_t count, uint64_t span_ns);

/* --- turn hooks --------------------------------------------------------- */

struct io_hook {
    void (*turn)(struct io_hook *hook); /* set by the caller */
    struct list link;                   /* private */
};

/* Call `hook->turn` at the end of each turn, after hooks added before.
 * Borrows: hook, until io_hook_remove(). */
void io_hook_add(struct io *io, struct io_hook *hook);

/* Stop calling it. Allowed from inside a hook. */
void io_hook_remove(struct io *io, struct io_hook *hook);

/* --- tasks from other threads ------------------------------------------- */

struct io_task {
    void (*run)(struct io_task *task); /* set by the caller */
    struct io_task *next;              /* private */
};

/* Run `task->run` on the loop's thread in its next turn, in the order posted
 * by each thread. Wakes the loop once for any number of tasks, and only when
 * it sleeps.
 *
 * Borrows: task, until it runs; it may be freed or posted again from run().
 * Threads: any.
 */
void io_post(struct io *io, struct io_task *task);

/* --- timers: a wheel of 1 ms ticks -------------------------------------- */

struct io_timer {
    void (*expired)(struct io_timer *timer); /* set by the caller */
    struct list link;                        /* private */
    uint64_t due_ms;                         /* private */
};

/* Call `timer->expired` once, `delay_ms` after io_now_ns() or a little later,
 * never earlier. Starting a running timer moves it. A zeroed timer is stopped.
 * Borrows: timer, until it expires or is stopped. */
void io_timer_start(struct io *io, struct io_timer *timer, uint64_t delay_ms);

/* Stop it; nothing happens when it is not running. */
void io_timer_stop(struct io *io, struct io_timer *timer);

/* Tell whether it runs. */
bool io_timer_running(const struct io_timer *timer);

/* --- listening ------------------------------------------------------------ */

struct io_listener {
    /* A connection came: `fd` is the callee's, non-blocking, close-on-exec.
     * Or accepting failed (ERR_BUSY: out of descriptors): `fd` is -1, and
     * accepting goes on by itself after 100 ms. */
    void (*accepted)(struct io_listener *listener, enum err err, int fd);
    int fd;           /* set by the caller: a listening socket; stays its own */
    struct list link; /* private */
    uint32_t state;   /* private */
    struct io *io;    /* private */
    struct io_timer pause; /* private */
};

/* Accept connections from now on.
 * Borrows: listener, until the turn after io_listener_stop(). */
void io_listener_start(struct io *io, struct io_listener *listener);

/* Stop accepting. The descriptor is not closed. Connections that the kernel
 * had accepted for us by then still come, in this turn or the next, so that
 * none is lost when the listening socket is handed over; then no accepted()
 * will come and the struct may be freed. (The next turn's timers, tasks and
 * hooks are late enough.) */
void io_listener_stop(struct io_listener *listener);

/* --- connections ---------------------------------------------------------- */

/* What happens on a socket. None may be NULL, but connected() for sockets
 * that were accepted. Any of them may call io_close(). */
struct io_socket_ops {
    /* io_connect() ended. After an error the socket can only be closed. */
    void (*connected)(struct io_socket *socket, enum err err);
    /* Bytes came; they are borrowed until the callee returns. */
    void (*received)(struct io_socket *socket, const char *data, size_t size);
    /* Nothing more will come: ERR_CLOSED the peer ended its side in order,
     * ERR_RESET and others: the connection broke. */
    void (*ended)(struct io_socket *socket, enum err err);
    /* io_send() ended: all bytes are with the kernel, or `err`. */
    void (*sent)(struct io_socket *socket, enum err err);
    /* After io_close(): the descriptor is closed, no callback will come any
     * more, the struct may be freed. Likewise after io_detach(), but for the
     * descriptor. */
    void (*closed)(struct io_socket *socket);
};

struct io_held;

/* One connection; embedded in the caller's object. All fields private but
 * `fd`, which may be read. */
struct io_socket {
    const struct io_socket_ops *ops; /* borrowed */
    struct io *io;                   /* borrowed */
    int fd;                          /* owned; -1 once closed (io_detach():
                                        the caller's) */
    uint32_t state;                  /* flags, see io_private.h */
    uint32_t pending;                /* operations with the kernel */
    enum err send_err;    /* of a send that ended but is not yet reported */
    enum err receive_err; /* of a receive that ended, likewise */
    uint32_t part_index;  /* first part not sent */
    uint32_t part_count;
    struct io_held *held_first; /* owned; received while paused */
    struct io_held *held_last;
    struct list ready;                     /* in a queue of the back end */
    struct msghdr message;                 /* of the running send */
    struct iovec parts[IO_SEND_PARTS_MAX]; /* of the running send */
};

/* Take over `fd`, a connected or fresh stream socket (made non-blocking).
 * Borrows: ops and socket, until closed(). */
void io_socket_init(struct io *io,
                    struct io_socket *socket,
                    int fd,
                    const struct io_socket_ops *ops);

/* Connect; ends with connected(). `address` is copied.
 * There is no deadline: keep a timer and io_close(). */
void io_connect(struct io_socket *socket,
                const struct sockaddr *address,
                socklen_t address_size);

/* Receive from now on: received() as bytes come, until ended(), pause or
 * close. Does nothing when already receiving. */
void io_receive_start(struct io_socket *socket);

/* Hold back received() and ended() until io_receive_start(). What the kernel
 * has is left there, so that the peer feels it. */
void io_receive_pause(struct io_socket *socket);

/* Say whether the caller will take what comes at a pace of its own, pausing now
 * and then: what is held back meanwhile is then little, for the price of an
 * operation for each received(). */
void io_receive_pace(struct io_socket *socket, bool paced);

/* Send all parts in order; ends with sent(). One send at a time.
 * Borrows: the bytes (not `parts`), until sent() or io_close(). */
void io_send(struct io_socket *socket,
             const struct iovec *parts,
             uint32_t part_count);

/* Tell whether a send is running, so that io_send() must wait for sent(). */
bool io_sending(const struct io_socket *socket);

/* Tell whether the bytes of the running send are all with the kernel and not
 * borrowed any more, so that only sent() is to come; true when none runs. */
bool io_send_complete(const struct io_socket *socket);

/* End our side after what was sent (FIN); receiving goes on. For a polite end
 * when the peer may still be sending. No send is running. */
void io_shutdown(struct io_socket *socket);

/* Stop everything; ends with closed(). No other callback comes. Idempotent. */
void io_close(struct io_socket *socket);

/* Stop everything without closing, for another loop or process to go on with
 * the descriptor. Bytes that the kernel has given already still come by
 * received(), paused or not, and an end by ended(); then closed(), with `fd`
 * the caller's, who may also call io_close() until then. A running send ends
 * without sent(): io_unsent() tells what is left of it. Not while connecting.
 */
void io_detach(struct io_socket *socket);

/* In closed(), after io_detach(): bytes of the last io_send() that were not
 * sent, all at its end. */
size_t io_unsent(const struct io_socket *socket);

/* --- readiness of descriptors that others own ---------------------------- */

enum {
    IO_POLL_READ = 1 << 0,
    IO_POLL_WRITE = 1 << 1,
};

struct io_poll {
    /* `fd` is ready for some of `events`, or broken, which counts as ready
     * for all. Called again and again as long as that lasts. May stop and
     * free any poll, its own too. */
    void (*ready)(struct io_poll *poll, uint32_t events);
    int fd;          /* set by the caller; stays its own */
    uint32_t events; /* set by the caller: IO_POLL_READ, IO_POLL_WRITE */
    struct io *io;   /* private; NULL: not watched */
};

/* Watch a descriptor; again, with other events, changes what is watched.
 * Borrows: poll, until io_poll_stop().
 * Errors:  ERR_BUSY (descriptors), ERR_NOMEM
 *          ERR_IO  among others, the descriptor cannot be watched
 */
MUST_CHECK enum err io_poll_start(struct io *io, struct io_poll *poll);

/* Stop watching, before the descriptor is closed. ready() does not come any
 * more and the struct may be freed. Nothing happens when it is not watched. */
void io_poll_stop(struct io_poll *poll);

/* --- work that blocks ----------------------------------------------------- */

struct io_work {
    /* Runs on the loop's helper thread; may block. */
    void (*run)(struct io_work *work);
    /* Runs on the loop afterwards. */
    void (*done)(struct io_work *work);
    struct io *io; /* private, as all below */
    struct list link;
    struct io_task task;
};

/* Do `run` on the helper thread (one per loop, started with the first work),
 * in the order given, then `done` on the loop. File operations (below) do not
 * wait for it.
 * Borrows: work, until done(). */
void io_work_start(struct io *io, struct io_work *work);

/* --- files ---------------------------------------------------------------- */

struct io_file_op {
    /* The operation ended, in whatever order; `size` bytes were moved (all,
     * unless err or, for a read, the file's end). */
    void (*done)(struct io_file_op *op, enum err err, size_t size);
    int fd;              /* these are set by the caller */
    struct iovec *parts; /* borrowed; changed while the operation runs */
    uint32_t part_count;
    uint64_t offset; /* bytes from the start of the file */
    bool durable;    /* for io_write_at() */
    struct io *io;   /* private, as all below */
    int kind;
    size_t moved;
    enum err err;
    struct io_work work;
};

/* Write all bytes of `op->parts` at `op->offset` of `op->fd`; a short write is
 * gone on with. `op->durable`: as with RWF_DSYNC, so that done() without error
 * means that the bytes are on the device.
 * Borrows: op, parts and bytes, until done().
 * Errors in done(): ERR_FULL, ERR_IO */
void io_write_at(struct io *io, struct io_file_op *op);

/* Read until the parts are full or the file ends.
 * Borrows: op, parts and bytes, until done().
 * Errors in done(): ERR_IO */
void io_read_at(struct io *io, struct io_file_op *op);

/* Make a file's data durable (fdatasync).
 * Errors in done(): ERR_IO, ERR_FULL; never retry as if it had not happened */
void io_sync(struct io *io, struct io_file_op *op);

#endif
