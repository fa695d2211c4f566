/* A small blocking HTTP remote, for subcommands that talk to a server.
 *
 *     open -> request* -> close
 *
 * One connection, kept between requests.
 *
 * Threads: one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_REMOTE_H
#define OPQ_CLI_REMOTE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct remote;

enum {
    REMOTE_WAIT_S = 90, /* for anything to come; long polls take 60 */
    REMOTE_BODY_MAX = 1 << 30,
};

struct remote_request {
    const char *method;
    struct str target;  /* "/opq/topics?limit=3" */
    struct str headers; /* further fields, each ended by CRLF */
    struct str body;
    /* Called with what has come of a chunked body of 200, when its head has
     * come and each time there is more; may consume of it. False: no more is
     * wanted. NULL: all is taken. */
    bool (*took)(void *context, struct buf *body);
    void *context; /* borrowed */
};

struct remote_response {
    int status;
    struct buf body; /* owned */
};

/* Make a remote of "http://host:port", "https://host:port", "host:port" (which
 * is http) or "unix:PATH"; it connects with its first request. An https server
 * is verified by the authorities of `ca_file` (PEM; NULL: the system's).
 *
 * Gives:   `*out`, for remote_close().
 * Borrows: ca_file, until then.
 * Errors:  ERR_INVALID (the address), ERR_NOMEM
 */
MUST_CHECK enum err
remote_open(const char *address, const char *ca_file, struct remote **out);

/* Send further fields with each request, each ended by CRLF. Borrows: headers,
 * until remote_close(). */
void remote_set_headers(struct remote *remote, struct str headers);

/* Close and free it. Accepts NULL. */
void remote_close(struct remote *remote);

/* Send a request and wait for its answer. `*response` is zeroed or holds an
 * earlier answer, whose memory is used again.
 *
 * Gives:  the body, for remote_response_fini().
 * Blocks: at most REMOTE_WAIT_S without progress.
 * Errors: ERR_REFUSED, ERR_DNS, ERR_RESET, ERR_CLOSED, ERR_TIMEOUT,
 *         ERR_PROTOCOL, ERR_TOO_LARGE, ERR_NOMEM, ERR_IO,
 *         ERR_TLS (remote_detail()), those of a waiter
 */
MUST_CHECK enum err remote_send(struct remote *remote,
                                const struct remote_request *request,
                                struct remote_response *response);

/* Wait at most so long for anything to come, and to connect, from now on. */
void remote_set_wait(struct remote *remote, uint32_t wait_ms);

/* From now on, wait for the server by `wait` and do not block, so that the
 * caller can do other things meanwhile; only the look-up of a name blocks. It
 * returns when `fd` is ready for `events` (of poll()), or ERR_TIMEOUT after
 * `wait_ms`, or any other error to end the request with that. NULL: block.
 * Borrows: context. */
void remote_set_waiter(
    struct remote *remote,
    enum err (*wait)(void *context, int fd, short events, uint32_t wait_ms),
    void *context);

/* Why remote_send() gave ERR_TLS; borrowed from the remote. */
const char *remote_detail(const struct remote *remote);

/* Free an answer. */
void remote_response_fini(struct remote_response *response);

#endif
