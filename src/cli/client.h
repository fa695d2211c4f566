/* A small blocking HTTP client, for subcommands that talk to a server.
 *
 *     open -> request* -> close
 *
 * One connection, kept between requests.
 *
 * Threads: one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLIENT_H
#define OPQ_CLI_CLIENT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct client;

enum {
    CLIENT_WAIT_S = 90, /* for anything to come; long polls take 60 */
    CLIENT_BODY_MAX = 1 << 30,
};

struct client_request {
    const char *method;
    struct str target;  /* "/opq/topics?limit=3" */
    struct str headers; /* further fields, each ended by CRLF */
    struct str body;
};

struct client_response {
    int status;
    struct buf body; /* owned */
};

/* Make a client of "http://host:port", "host:port" or "unix:PATH"; it connects
 * with its first request.
 *
 * Gives:  `*out`, for client_close().
 * Errors: ERR_INVALID (the address), ERR_NOMEM
 */
MUST_CHECK enum err client_open(const char *address, struct client **out);

/* Close and free it. Accepts NULL. */
void client_close(struct client *client);

/* Send a request and wait for its answer. `*response` is zeroed or holds an
 * earlier answer, whose memory is used again.
 *
 * Gives:  the body, for client_response_fini().
 * Blocks: at most CLIENT_WAIT_S without progress.
 * Errors: ERR_REFUSED, ERR_DNS, ERR_RESET, ERR_CLOSED, ERR_TIMEOUT,
 *         ERR_PROTOCOL, ERR_TOO_LARGE, ERR_NOMEM, ERR_IO
 */
MUST_CHECK enum err client_send(struct client *client,
                                const struct client_request *request,
                                struct client_response *response);

/* Free an answer. */
void client_response_fini(struct client_response *response);

#endif
