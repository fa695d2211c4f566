/* What the parts of the server share. Nothing outside of them includes this.
 *
 *     server.c             life-cycle, listeners, the turn hook, drain
 *     server_connection.c  bytes in: heads, bodies, handing over, refusals
 *     server_stream.c      bodies that go to a sink
 *     server_answer.c      answers and streams, in the order of the requests
 *     server_output.c      bytes out: sending, pausing, closing
 *     server_deadline.c    one timer for all deadlines
 *     server_tls.c         the same by TLS, between these and the socket
 *     server_handover.c    connections on their way to a successor
 *     server_pool.c        exchanges and buffers that are used again
 *
 * A connection's way:
 *
 *     HEAD <-> LENGTH, CHUNKED    a body that is not there at once
 *      |
 *     DEAF                        the last request came, or a refusal: what
 *      |                          comes in is dropped
 *     LINGER                      all is sent and our side shut down; waits
 *      |                          for the client to end its side
 *     CLOSED                      io_close() was called
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_SERVER_INTERNAL_H
#define OPQ_HTTP_SERVER_INTERNAL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "http/parse.h"
#include "http/server.h"
#include "http/tls.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SERVER_COMMON_SIZE_MAX = 256,        /* bytes of Date and Server */
    SERVER_SPARE_BUFS_MAX = 256,         /* buffers kept */
    SERVER_SPARE_BUF_SIZE_MAX = 65536,   /* bytes of one that is kept */
    SERVER_SPARE_EXCHANGES_MAX = 4096,   /* exchanges kept */
    SERVER_SPARE_CONNECTIONS_MAX = 256,  /* connections kept */
    SERVER_REFUSED_MAX = 64,             /* connections past the cap that are
                                            told at a time; others are cut */
    SERVER_REFUSED_PART = 8,             /* and such a part of the cap */
    SERVER_SAID_MS = 60 * 1000,          /* between words on those refused */
    SERVER_SEND_SIZE_MAX = 256 * 1024,   /* bytes of one send, which is what
                                            its deadline is for */
    SERVER_OUTPUT_SIZE_MAX = 256 * 1024, /* bytes unsent, past which no more
                                            is received */
    SERVER_STREAM_SIZE_MAX = 128 * 1024, /* bytes unsent of a stream: there may
                                            be thousands of slow clients */
    SERVER_LINGER_MS = 5000,             /* from our end to the client's */
    SERVER_PLAIN_SIZE = 16 * 1024,       /* a record of TLS */
};

#define SERVER_NEVER UINT64_MAX

enum server_state {
    SERVER_HEAD,
    SERVER_LENGTH,
    SERVER_CHUNKED,
    SERVER_DEAF,
    SERVER_LINGER,
    SERVER_CLOSED,
};

struct server_listener {
    struct io_listener listener;
    struct list link;           /* in http_server.listeners */
    struct http_server *server; /* borrowed */
    bool secure;                /* its connections speak TLS */
    bool stopped;
};

struct http_connection {
    struct io_socket socket;
    struct http_server *server; /* borrowed */
    struct list link;           /* in http_server.connections or .spare */
    struct list dirty;          /* in http_server.dirty: output may go out */
    struct list resume;         /* in http_server.resumes */
    struct list awaited;        /* in http_server.awaited */
    uint64_t answered_ns;       /* while in it: since when */
    enum server_state state;
    bool paused;       /* receiving is held back */
    bool leaving;      /* io_detach() was called: it is given away */
    bool upload_waits; /* a body for a sink is not begun */
    bool ended;        /* the client ended its side */
    bool continue_due; /* 100 Continue waits for answers before it */
    bool head_started; /* receive_due_ms is that of a head */
    /* TLS. */
    bool secure;        /* it is spoken */
    bool shaken;        /* the handshake is over */
    bool tls_over;      /* nothing more is read from it */
    bool tls_ended;     /* close_notify was written */
    bool end_due;       /* close_notify came while receiving was held back */
    struct tls *tls;    /* owned; NULL: plain, or nothing has come */
    size_t cipher_size; /* bytes of its output in the running send */
    /* In. */
    struct buf input;   /* received, not taken: a part of a head, or what
                           came while paused */
    size_t scanned;     /* of the head that is coming: see parse.h */
    struct buf request; /* head and body being put together */
    size_t head_size;   /* bytes of `request` that are its head */
    uint64_t body_left; /* LENGTH: bytes to come */
    struct http_chunked chunked; /* CHUNKED */
    uint64_t body_size;          /* bytes of it that were taken */
    uint64_t body_start_ms;
    bool gathered; /* CHUNKED: the owner wants it in memory, however large */
    /* A body that goes to a sink. */
    struct http_sink *sink; /* borrowed; NULL: none */
    bool sink_full;         /* http_sink_resume() is awaited */
    bool body_whole;        /* nothing but the backlog is to come */
    size_t backlog_at;      /* where in `request` what waits for it begins */
    uint64_t held_ms;       /* since when the sink is full */
    uint64_t held_size;     /* bytes counted in http_server.held_size */
    /* Out. */
    struct list exchanges; /* not wholly answered, in order */
    uint32_t exchange_count;
    struct buf output;  /* answers that are next to be sent */
    struct buf sending; /* being sent */
    size_t sent_size;   /* of `sending`, bytes that were sent */
    size_t slice_size;  /* bytes after them in the running send */
    size_t unsent_size; /* bytes counted in http_server.unsent_size */
    /* Deadlines, SERVER_NEVER when there is none. */
    uint64_t receive_due_ms;
    uint64_t send_due_ms;
};

struct http_server {
    struct http_server_options options;
    struct http_server_stats stats;
    struct io *io;           /* borrowed */
    struct tls_context *tls; /* owned; NULL: plain connections only */
    struct io_hook hook;
    struct io_task task; /* resumes connections; calls drained() */
    bool task_posted;
    struct list listeners;
    struct list connections;
    struct list dirty;
    struct list resumes;
    struct list awaited; /* answered, nothing came since; oldest first */
    uint32_t awaited_count;
    uint64_t refused_said_ms; /* 0: never yet */
    struct list orphans;      /* exchanges whose client has gone */
    /* Pools. */
    struct list spare_connections;
    uint32_t spare_connection_count;
    struct list spare_exchanges;
    uint32_t spare_exchange_count;
    struct buf spare_bufs[SERVER_SPARE_BUFS_MAX]; /* owned */
    uint32_t spare_buf_count;
    /* The head of the request in hand. */
    struct http_head head;
    uint64_t held_size;   /* bytes of requests that are not whole */
    uint64_t unsent_size; /* bytes of answers that clients have not taken */
    char plain[SERVER_PLAIN_SIZE]; /* what was decrypted, until it is taken */
    /* Fields that every answer has, made once a second. */
    uint64_t common_s;
    size_t common_size;
    char common[SERVER_COMMON_SIZE_MAX];
    /* Deadlines. */
    struct io_timer sweep;
    uint64_t sweep_due_ms; /* SERVER_NEVER while the timer is stopped */
    uint64_t sweep_step_ms;
    /* Handing over: no plain request is taken any more. */
    void (*give)(void *context, const struct http_handed *handed);
    void *give_context; /* borrowed */
    bool uploads_held;
    /* Drain. */
    bool draining;
    uint32_t quiet_turns; /* since the last connection went */
    void (*drained)(void *context);
    void *drained_context; /* borrowed */
};

/* --- server.c ------------------------------------------------------------ */

/* Have the loop call back in its next turn, to resume and to tell of drain. */
void server_post(struct http_server *server);

/* --- server_connection.c ------------------------------------------------- */

/* Serve a connection. Takes: fd. `refuse`: only to say that it is one too
 * many; not for `secure` ones, those that speak TLS. NULL: no memory, and fd is
 * closed. */
struct http_connection *
server_open(struct http_server *server, int fd, bool secure, bool refuse);

/* Take bytes of requests. */
void server_take_bytes(struct http_connection *connection, struct str bytes);

/* The client ended its side in order: answer what it asked for, then close. */
void server_take_end(struct http_connection *connection);

/* The socket is closed: let go of the connection. */
void server_closed(struct io_socket *socket);

/* Close at once, whatever runs: exchanges lose their client. Idempotent. */
void server_close(struct http_connection *connection);

/* Answer with a problem of our own, and listen no more. */
void server_refuse(struct http_connection *connection,
                   int status,
                   const char *reason);

/* Take no more requests: what comes in is dropped from now on. */
void server_stop_taking(struct http_connection *connection);

/* Go on with a connection whose receiving was held back. */
void server_resume(struct http_connection *connection);

/* Write 100 Continue. */
void server_send_continue(struct http_connection *connection);

/* Keep bytes of a body in `request`; refuses when there is no memory left. */
bool server_keep_request(struct http_connection *connection, struct str bytes);

/* Forget what is in `request`. */
void server_drop_request(struct http_connection *connection);

/* Set the next deadline of a body; refuses, and returns false, when it comes
 * too slowly. */
bool server_note_progress(struct http_connection *connection);

/* --- server_stream.c ----------------------------------------------------- */

/* Tell whether the owner is to be asked about a body of this size. */
bool server_stream_wanted(const struct http_server *server, uint64_t body_size);

/* Ask the owner whether a body that is to be gathered may come. False: the
 * request was answered, and the connection takes no more. */
bool server_stream_admit(struct http_connection *connection,
                         const struct http_head *head);

/* Ask the owner where a body is to go; with HTTP_BODY_SINK it has a sink, with
 * HTTP_BODY_ANSWERED the connection takes no more or is closed. */
enum http_body server_stream_open(struct http_connection *connection,
                                  const struct http_head *head);

/* Give the backlog to the sink. Returns whether more of the body may be taken
 * now. */
bool server_stream_feed(struct http_connection *connection);

/* Take bytes of a body of known length; how many were used. */
size_t server_stream_length(struct http_connection *connection,
                            struct str bytes);

/* Take the data of a chunk, `done` at the end of the body; there is no
 * backlog. False: the connection takes no more of it. */
bool server_stream_chunk(struct http_connection *connection,
                         struct str data,
                         bool done);

/* Hold the client back: the sink is full. */
void server_stream_hold(struct http_connection *connection);

/* The body will not be whole: tell the sink. Returns its exchange, which is to
 * be answered or let go; NULL when there is no sink. */
struct http_exchange *server_stream_abort(struct http_connection *connection);

/* --- server_answer.c ----------------------------------------------------- */

/* Let go of the exchanges of a connection that closes. */
void server_abandon_all(struct http_connection *connection);

/* Tell the handlers of waiting exchanges that their client is leaving. */
void server_announce_end(struct http_connection *connection);

/* --- server_output.c ----------------------------------------------------- */

/* Note that output was written: it leaves at the end of the turn. */
void server_mark_dirty(struct http_connection *connection);

/* Send what is written; do what is to be done once nothing is left. */
void server_flush(struct http_connection *connection);

/* The client is not awaited any more: it has sent something, or gone. */
void server_unawait(struct http_connection *connection);

/* The end of a send. */
void server_sent(struct io_socket *socket, enum err err);

/* Tell whether requests may be taken, or the client must wait. */
bool server_has_room(const struct http_connection *connection);

/* --- server_tls.c -------------------------------------------------------- */

/* What happens on sockets that speak TLS. */
extern const struct io_socket_ops server_tls_ops;

/* Tell whether requests cannot come yet. */
bool server_is_shaking(const struct http_connection *connection);

/* Send what TLS has for the network, with as much of `sending` as there is
 * room for. Returns whether that is under way, or the connection closed: the
 * caller has nothing more to do. False for plain ones. No send is running. */
bool server_tls_send(struct http_connection *connection);

/* Say once that nothing more will come (close_notify). Returns as
 * server_tls_send(). */
bool server_tls_end(struct http_connection *connection);

/* --- server_handover.c --------------------------------------------------- */

/* Tell whether a connection waits to be given away, so that nothing is taken
 * from it. */
bool server_is_held(const struct http_connection *connection);

/* Each turn while handing over: take connections off the loop that are done. */
void server_hand_over_turn(struct http_server *server);

/* A connection is off the loop: give it away. Its descriptor is gone then. */
void server_give(struct http_connection *connection);

/* --- server_deadline.c --------------------------------------------------- */

/* Set the options' part of the sweep. */
void server_deadline_init(struct http_server *server);

/* The same when options have changed: what is set stays set. */
void server_deadline_again(struct http_server *server);

/* Set one of a connection's deadlines, `due_ms` being one of its fields. A
 * `delay_ms` of 0 is none. */
void server_deadline_set(struct http_server *server,
                         uint64_t *due_ms,
                         uint64_t delay_ms);

/* --- server_pool.c ------------------------------------------------------- */

/* Take a connection, zeroed, or NULL. */
struct http_connection *server_take_connection(struct http_server *server);

/* Give a connection back. */
void server_give_connection(struct http_server *server,
                            struct http_connection *connection);

/* Take an exchange, zeroed, or NULL. */
struct http_exchange *server_take_exchange(struct http_server *server);

/* Give an exchange back; it is in no list. */
void server_give_exchange(struct http_server *server,
                          struct http_exchange *exchange);

/* Give `*buf`, which is empty and owns nothing, memory that is at hand. */
void server_take_buf(struct http_server *server, struct buf *buf);

/* Take the memory of `*buf` for later; it is empty afterwards. */
void server_give_buf(struct http_server *server, struct buf *buf);

/* Free all that is kept. */
void server_free_pools(struct http_server *server);

#endif
