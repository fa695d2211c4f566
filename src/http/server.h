/* An HTTP/1.1 server on one loop, without any notion of queues.
 *
 *     start -> { connection: head -> body -> handler -> answer }* -> stop
 *
 * A request is handed to the handler when it is whole. Head and body are
 * slices of the receive buffer where possible, so they are borrowed only until
 * the handler returns; the exchange lives on until it is answered, at once or
 * later. Answers of one connection leave in the order of its requests,
 * whenever they are given. Answers given in one turn leave in one send per
 * connection, at the end of the turn: http_server_create() adds a turn hook,
 * so hooks that answer are added before it.
 *
 * Limits and deadlines: see the options. Malformed requests are answered (400,
 * 408, 413, 414, 417, 431, 501, 503, 505; application/problem+json) and the
 * connection closed; the close is in order (send, shut down, drain a little)
 * so that the answer arrives. When the client has gone, answering does nothing.
 * A client that ended its side only is answered what it asked for before.
 *
 * A body that is, or grows, larger than an option can go to a sink of the
 * owner instead, as it comes: the exchange is handed over with its end. Then
 * 100 Continue is sent only once the sink is open.
 *
 * An idle connection holds no buffers, but for those of TLS: 38 to 43 KiB were
 * measured, 54 to 64 while a handshake waits for its client, up to 86 once
 * bodies of 100 KB went through. A connection whose client does not read its
 * answers is not read from either.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_SERVER_H
#define OPQ_HTTP_SERVER_H

#include "base/buf.h"
#include "base/err.h"
#include "http/parse.h"
#include "sys/io.h"
#include "sys/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_server;
struct tls_context;

enum {
    HTTP_PIPELINE_MAX = 64, /* requests of a connection not yet answered;
                               past it receiving pauses */
};

/* One request and its answer. Owned by the server. */
struct http_exchange {
    /* The request; valid until the handler returns. */
    const struct http_head *head; /* borrowed */
    struct str body;              /* borrowed; whole, without chunking */
    /* For the handler's use until the exchange is answered. */
    void *context;
    /* Called when the client has gone, or has ended its side, before the
     * answer, so that the handler can stop waiting; NULL: the handler does not
     * care. The exchange must still be answered, then or later. */
    void (*abandoned)(struct http_exchange *exchange);
    /* Called once, when the status of the answer is known, with 0 when there
     * will be none; NULL: nobody cares. */
    void (*noted)(struct http_exchange *exchange, int status);
    void *note; /* for noted() */
    /* Private, as all below. */
    struct http_server *server;
    struct http_connection *connection; /* NULL when the client has gone */
    struct list link;
    struct buf answer; /* given, while others before it are not */
    bool answered;
    bool head_only;  /* HEAD: no body is sent */
    bool keep_alive; /* the request allows it */
    bool minor_zero; /* HTTP/1.0 */
    bool chunked;    /* a stream that is sent in chunks */
    bool streaming;
    bool alone; /* no other request of the connection is taken before it is
                   answered */
};

/* Takes the body of one request as it comes; embedded in the owner's object.
 * After end(), abort() and http_sink_refuse() the server has forgotten it. */
struct http_sink {
    /* Take bytes, copied, and return how many. With fewer than all of them the
     * client is held back until http_sink_resume(). May call
     * http_sink_refuse(), and then answer. */
    size_t (*write)(struct http_sink *sink, struct str bytes);
    /* The body is whole: answer sink->exchange, now or later. */
    void (*end)(struct http_sink *sink);
    /* It will never be: the client has gone or broke a rule. The exchange is
     * none of the owner's. */
    void (*abort)(struct http_sink *sink);
    struct http_exchange *exchange; /* set by the server; borrowed */
};

/* Where a large body goes. */
enum http_body {
    HTTP_BODY_MEMORY,   /* it is gathered, as small ones are */
    HTTP_BODY_SINK,     /* to the sink that was given */
    HTTP_BODY_ANSWERED, /* nowhere: the exchange was answered */
};

struct http_server_options {
    struct io *io; /* borrowed */
    struct http_limits limits;
    uint64_t body_size_max;   /* 413 past it */
    uint64_t body_memory_max; /* of all that was received and is not a whole
                                 request yet: 503 */
    /* A body larger than this is asked for by open_body(). */
    uint64_t body_buffer;
    uint64_t body_gather_max; /* of one that is gathered all the same: 413 */
    uint32_t connections_max; /* past it: 503 and close */
    /* Deadlines; 0: none. They are kept up to a sixteenth late. */
    uint32_t head_timeout_ms; /* first byte of a head to its end: 408 */
    uint32_t body_timeout_ms; /* without progress in a body: 408 */
    uint32_t body_rate_min;   /* bytes/s a body must come at, body_timeout_ms
                                 after its beginning; 0: none; 408 */
    uint32_t idle_timeout_ms; /* between requests: closed silently */
    uint32_t send_timeout_ms; /* an answer not taken: closed */
    /* The server's chain and key in PEM, for http_server_listen_tls(); NULL:
     * plain connections only. Read by http_server_create(). */
    const char *certificate_file;
    const char *key_file;
    const char *server_name; /* for the Server field; NULL: none */
    /* A whole request is there. Answer it now or later. */
    void (*handle)(void *context, struct http_exchange *exchange);
    /* The head of a request is there whose body is large: say where that is to
     * go. exchange->head is valid until the return, the body empty. With
     * HTTP_BODY_MEMORY, forget the exchange. NULL: all bodies are gathered. */
    enum http_body (*open_body)(void *context,
                                struct http_exchange *exchange,
                                struct http_sink **out_sink);
    /* The head of a request is there whose body is still to come, and is to be
     * gathered: tell whether it may come. If not, the exchange was answered; if
     * it may, forget the exchange. exchange->head is valid until the return,
     * the body empty. NULL: all may. */
    bool (*admit)(void *context, struct http_exchange *exchange);
    void *context; /* borrowed */
};

struct http_server_stats {
    uint64_t connections_open;
    uint64_t connections_total;
    uint64_t connections_refused; /* past connections_max */
    uint64_t requests;            /* given to the handler */
    uint64_t refused;             /* answered by the server itself */
    uint64_t timeouts;            /* cut by a deadline, but for idle ones */
};

/* Make a server without listeners.
 *
 * Gives:  `*out`, for http_server_destroy().
 * Errors: ERR_NOMEM; with a certificate, those of tls_context_create_server()
 */
MUST_CHECK enum err
http_server_create(const struct http_server_options *options,
                   struct http_server **out);

/* Free it. Accepts NULL. It is drained, or the loop will not run again. */
void http_server_destroy(struct http_server *server);

/* Accept connections from a listening socket.
 *
 * Takes:  fd, closed when the server stops.
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum err http_server_listen(struct http_server *server, int fd);

/* The same for connections that speak TLS: the options name a certificate.
 * The handshake has head_timeout_ms from the beginning of the connection. Plain
 * HTTP is answered 400, plainly; past connections_max they are cut. ALPN gives
 * "http/1.1" to who asks.
 *
 * Takes:  fd, closed when the server stops.
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum err http_server_listen_tls(struct http_server *server, int fd);

/* Stop in order: close the listeners, close idle connections, let running
 * requests be answered (with Connection: close); `drained` is called from the
 * loop when the last connection has gone. http_server_cut() hurries it. */
void http_server_drain(struct http_server *server,
                       void (*drained)(void *context),
                       void *context);

/* Close what is still open, answered or not. */
void http_server_cut(struct http_server *server);

/* A connection as a server gives it away, or takes it. */
struct http_handed {
    int fd;    /* of the callee */
    bool deaf; /* nothing more is read: it ends behind what is unsent */
    struct str unsent[2]; /* of answers, one behind the other */
    /* The request that is coming: its head, and what came of its body, which
     * is without the framing of chunks. */
    struct str request;
    size_t head_size; /* 0: none is coming */
    bool chunks;      /* its body comes in chunks: */
    struct http_chunked chunked;
    uint64_t body_left; /* else: bytes to come */
    uint64_t body_size; /* bytes that came */
    bool gathered;      /* it is kept in memory, however large */
    bool continue_due;  /* 100 Continue is to be sent */
    struct str input;   /* what came behind that and was not taken */
};

/* Begin no more bodies that go to a sink, or begin them again: whoever sends
 * one waits meanwhile. Those that are coming go on. For a while before
 * http_server_hand_over(). */
void http_server_hold_uploads(struct http_server *server, bool held);

/* Give the connections to a successor, without any client being told. Listeners
 * are closed: the caller has other descriptors of these. Requests that were
 * taken are answered, by whoever has them; no more are taken. `give` gets each
 * connection when its requests are answered, borrowed but for `fd`. `drained`
 * is called from the loop when there are no more; http_server_cut() hurries it.
 * Bodies that go to a sink are waited for, and waits (exchange->abandoned) end.
 * Connections that speak TLS are not given but ended, as
 * http_server_drain() does. */
void http_server_hand_over(struct http_server *server,
                           void (*give)(void *context,
                                        const struct http_handed *handed),
                           void (*drained)(void *context),
                           void *context);

/* Go on with a connection that another server gave. Requests that came with it
 * are taken inside this call.
 *
 * Takes:  handed->fd, also on an error: then it is closed
 * Errors: ERR_INVALID (what is said of its request cannot be), ERR_NOMEM */
MUST_CHECK enum err http_server_adopt(struct http_server *server,
                                      const struct http_handed *handed);

/* Go by other limits and deadlines from now on: `limits`, all that begin with
 * body_, connections_max, and the timeouts. Nothing else of `options` is looked
 * at. Requests and waits that have begun keep what they began with, where it
 * matters. */
void http_server_set_limits(struct http_server *server,
                            const struct http_server_options *options);

/* The limits and deadlines gone by; borrowed from the server. */
const struct http_server_options *
http_server_limits(const struct http_server *server);

/* Have new connections that speak TLS begin with another certificate; those
 * there are go on with theirs. Only where the server had one. Takes: tls */
void http_server_set_tls(struct http_server *server, struct tls_context *tls);

/* Figures so far; borrowed, living as long as the server. */
const struct http_server_stats *
http_server_stats(const struct http_server *server);

/* Count the clients that are likely to send a request within moments: those
 * whose requests were all answered in the last `within_ns` and that have sent
 * nothing since. */
uint32_t http_server_awaited(struct http_server *server, uint64_t within_ns);

/* Answer. `headers` are added to Date, Content-Length, Connection and Server;
 * controls in their values become blanks. A HEAD request gets no body.
 * Everything is copied. Exactly once for each exchange; the exchange is gone
 * afterwards. */
void http_exchange_answer(struct http_exchange *exchange,
                          int status,
                          const struct http_header *headers,
                          uint32_t header_count,
                          struct str body);

/* Answer with bytes that are complete but for Date, Server and Connection:
 * status line, fields each ended by CRLF, Content-Length among them, without
 * the empty line; and the body. For answers rendered beforehand on the hot
 * path. */
void http_exchange_answer_raw(struct http_exchange *exchange,
                              struct str head,
                              struct str body);

/* Answer 200 with a body of unknown size, chunked (to HTTP/1.0: until close):
 * first this, then pieces, then http_exchange_stream_end(). For event streams.
 * `headers` as for http_exchange_answer(). */
void http_exchange_stream_begin(struct http_exchange *exchange,
                                const struct http_header *headers,
                                uint32_t header_count);

/* Send a piece, copied.
 * Errors: ERR_BUSY    the client takes too slowly: more than 128 KiB wait
 *         ERR_CLOSED  the client has gone */
MUST_CHECK enum err http_exchange_stream_send(struct http_exchange *exchange,
                                              struct str piece);

/* How many bytes of a stream wait for its client; 0 also when that has gone. */
size_t http_exchange_stream_unsent(struct http_exchange *exchange);

/* End the body; the exchange is gone afterwards. */
void http_exchange_stream_end(struct http_exchange *exchange);

/* Close the connection instead of answering, with a reset or in order; what was
 * not sent yet is dropped, as are other requests of the connection. The
 * exchange is gone afterwards. Not from inside the handler. For receivers that
 * misbehave on purpose, and clients that a stop cannot wait for. */
void http_exchange_cut(struct http_exchange *exchange, bool reset);

/* The sink takes bytes again. Not from inside write(). */
void http_sink_resume(struct http_sink *sink);

/* Take no more of the body. The exchange is the owner's to answer, and the
 * connection is closed behind that answer. */
void http_sink_refuse(struct http_sink *sink);

/* The peer's address as text, for audit lines: "192.0.2.7:4711"; "-" when it
 * has gone. */
void http_exchange_peer(const struct http_exchange *exchange,
                        char text[NET_TEXT_MAX]);

/* Take a field out of a request's head, inside the handler, open_body() or
 * admit(): as if it had not come. Those behind it move up. */
void http_exchange_forget_header(struct http_exchange *exchange,
                                 uint32_t index);

/* Take no further request of this connection before this one is answered. For
 * those whose answers are large: many in a row would all be made at once. */
void http_exchange_alone(struct http_exchange *exchange);

/* Tell whether clients have left so much untaken (body_memory_max) that no
 * large answer should be given. */
bool http_exchange_crowded(const struct http_exchange *exchange);

#endif
