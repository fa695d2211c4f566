/* An HTTP/1.1 client on one loop: pools of kept-alive connections per
 * endpoint, names resolved by c-ares, TLS by OpenSSL over our own sockets,
 * deadlines, and a guard on the address really connected to.
 *
 *     http_call_start -> (resolve, connect, handshake | pooled) -> send
 *                     -> response head -> body read and dropped -> done
 *
 * One call on a connection at a time (no pipelining towards targets). A
 * request that fails on a reused connection before a byte of the answer came,
 * because the peer had closed it meanwhile, is sent once more on a fresh one,
 * and only then: the failure was not the target's.
 *
 * Redirects are never followed. Response bodies are read to `keep_size_max`
 * bytes kept, then dropped, so that the connection can be used again; past
 * `drop_size_max` the connection is closed instead and the call is done.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_CLIENT_H
#define OPQ_HTTP_CLIENT_H

#include "base/err.h"
#include "http/parse.h"
#include "http/url.h"
#include "sys/io.h"
#include "sys/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct http_client;
struct http_endpoint;

enum {
    HTTP_CALL_PARTS_MAX = 8, /* parts of a request */
};

struct http_client_options {
    struct io *io;                     /* borrowed */
    uint32_t connect_timeout_ms;       /* name, connect and handshake in all */
    uint32_t idle_timeout_ms;          /* a kept connection without a call */
    uint32_t endpoint_connections_max; /* open to one endpoint */
    uint32_t connections_max;          /* open in all; idle ones make room */
    size_t keep_size_max;              /* bytes of a response body to keep */
    size_t drop_size_max;              /* bytes of it to read at all */
    const char *ca_file;               /* PEM; NULL: the system's */
    /* "192.0.2.1,192.0.2.2:5353"; NULL: the system's. */
    const char *dns_servers; /* borrowed by http_client_create() */
    /* The guard, asked for each address right before connecting to it. Returns
     * false to refuse: ERR_DENIED. NULL: all are allowed. */
    bool (*allowed)(void *context, const struct net_address *address);
    void *context; /* borrowed */
};

struct http_client_stats {
    uint64_t connections_open;
    uint64_t connects; /* begun */
    uint64_t reused;   /* calls on a kept connection */
    uint64_t calls;    /* begun */
};

/* What came back. Borrowed until done() returns. */
struct http_result {
    enum err err; /* ERR_OK: a whole response came, whatever its status. Else
                     ERR_DNS REFUSED RESET TLS TIMEOUT DENIED PROTOCOL CLOSED,
                     or, of this side: ERR_NOMEM, ERR_BUSY (no descriptor or
                     port was free), ERR_IO, what the source failed with */
    const char *detail; /* for people, when err is set: "certificate has
                           expired"; borrowed */
    const struct http_head *head; /* NULL when err is set */
    struct str body;              /* the kept part of it */
    uint64_t elapsed_ns;          /* from start to done */
    bool reused;                  /* on a kept connection */
};

/* Gives the body of a request piece by piece, behind the request's parts;
 * embedded in the owner's object. */
struct http_source {
    /* Begin with the first piece, whatever was before: a request may be sent
     * once more. What is under way is void. */
    void (*start)(struct http_source *source);
    /* The piece before was sent: give the next one, later, by
     * http_source_give() or http_source_fail(), unless start() comes first. */
    void (*next)(struct http_source *source);
    struct http_call *call; /* private */
};

/* One request; embedded in the caller's object. */
struct http_call {
    /* It ended; always from the loop, never from inside http_call_start(). */
    void (*done)(struct http_call *call, const struct http_result *result);
    struct http_endpoint *endpoint;          /* set by the caller; borrowed */
    struct iovec parts[HTTP_CALL_PARTS_MAX]; /* the whole request, head and
                                  body; borrowed until done() */
    uint32_t part_count;
    /* What follows the parts; NULL: nothing. Borrowed until done(). */
    struct http_source *source;
    uint32_t timeout_ms; /* from start to the whole response, or, with a
                            source, from each piece that was sent to the next,
                            and from the last one; begun again when the peer has
                            taken of them meanwhile; ERR_TIMEOUT */
    bool head_only;      /* the request is HEAD: no body comes */
    /* Private, as all below. */
    struct http_channel *channel;
    struct list link;
    struct io_timer deadline;
    uint64_t started_ns;
    bool retried;
};

/* Make a client.
 *
 * Gives:  `*out`, for http_client_destroy().
 * Errors: ERR_NOMEM
 *         ERR_NOT_FOUND, ERR_INVALID  the CA file, the DNS servers
 *         ERR_IO                      c-ares cannot start
 */
MUST_CHECK enum err
http_client_create(const struct http_client_options *options,
                   struct http_client **out);

/* Go by another connect_timeout_ms, idle_timeout_ms and connections_max from
 * now on. Nothing else of `options` is looked at. */
void http_client_set_limits(struct http_client *client,
                            const struct http_client_options *options);

/* Free it. Accepts NULL. Running calls are dropped without done() and their
 * endpoints are gone with all others. Not from inside done(). Sockets are
 * closed through the loop, and the last of the memory is freed with them: run
 * turns until that is done, before io_destroy(). */
void http_client_destroy(struct http_client *client);

/* Find or make the endpoint of a URL (scheme, host, port) and count one more
 * user of it.
 *
 * Gives:  a handle, for http_endpoint_release().
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum err http_endpoint_acquire(struct http_client *client,
                                          const struct url *url,
                                          struct http_endpoint **out);

/* Count one user less; without users and connections it is freed. No call of
 * this user runs any more. Accepts NULL. */
void http_endpoint_release(struct http_endpoint *endpoint);

/* Start a call; it waits in line when the endpoint has all its connections
 * busy. The deadline counts from now, the waiting included.
 * Borrows: call, and the bytes of its parts, until done() is called (which may
 *          free them, or start the call again) or http_call_cancel() */
void http_call_start(struct http_call *call);

/* Give a call up; done() is not called. Its connection is closed when the
 * request was sent in part or whole. */
void http_call_cancel(struct http_call *call);

/* Send the next piece, which is not empty, and with `last` end the body. Never
 * from inside start() or next(). Nothing happens when the request was broken
 * off meanwhile: start() follows, or the call's end.
 * Borrows: the bytes, until next() or start() is called or the call ends */
void http_source_give(struct http_source *source, struct str piece, bool last);

/* Give the call up with an error of the source: done() is called from inside,
 * and the connection closed, so that the peer has no whole request. As
 * http_source_give(), nothing when the request was broken off. */
void http_source_fail(struct http_source *source,
                      enum err err,
                      const char *detail);

/* Close kept connections without a call (shutdown). */
void http_client_close_idle(struct http_client *client);

/* Figures so far; borrowed, living as long as the client. */
const struct http_client_stats *
http_client_stats(const struct http_client *client);

#endif
