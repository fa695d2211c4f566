/* One response as the client reads it: heads of 1xx skipped, the last one kept,
 * the body kept up to a size and dropped past it.
 *
 *     init -> begin -> feed* (ERR_AGAIN) -> feed or end (any other code)
 *                 ^--------- next response on the connection ----------+
 *
 * A response that comes in one piece, which is nearly every one, is read in
 * place: its head and body are slices of the input. Else head and kept body
 * are copied behind one another, and the head is parsed once more at the end,
 * since the copies may have moved.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_CLIENT_RESPONSE_H
#define OPQ_HTTP_CLIENT_RESPONSE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CLIENT_RESPONSE_HEAD_MAX = 64 * 1024, /* bytes of a head */
    CLIENT_RESPONSE_INTERIM_MAX = 8,      /* heads of 1xx before the last */
};

struct client_response_limits {
    size_t keep_size_max; /* bytes of a body to keep */
    size_t drop_size_max; /* bytes of a body to read at all */
};

struct client_response {
    const struct client_response_limits *limits; /* borrowed */
    struct buf bytes;            /* owned; the copies; empty while in place */
    struct str body;             /* once whole: the kept part; borrowed */
    struct http_chunked chunked; /* of a chunked body */
    uint64_t left;               /* body bytes to come, if by length */
    uint64_t body_size;          /* body bytes that came */
    size_t scanned;              /* of the head, see http_parse_response() */
    size_t head_size;            /* of the head in `bytes` */
    uint32_t stage;              /* private */
    uint32_t interim_count;      /* heads of 1xx skipped */
    bool head_only;              /* the request was HEAD */
    bool begun;                  /* a byte of it came */
    bool reusable; /* once whole: the connection may carry another */
};

/* Make a reader of responses. Allocates nothing.
 * Borrows: limits, until client_response_fini() */
void client_response_init(struct client_response *response,
                          const struct client_response_limits *limits);

/* Free what it holds. */
void client_response_fini(struct client_response *response);

/* Get ready for the next response; what the last one's head and body borrow
 * stays until bytes are fed. */
void client_response_begin(struct client_response *response, bool head_only);

/* Take bytes that came.
 *
 * On ERR_OK the response is whole: `*out_head` and response->body borrow the
 * input and the response, `*out_used` is how much of the input was its own
 * (less than all: the peer says more than it was asked). Without `reusable`
 * perhaps not all of the body was read.
 *
 * Errors: ERR_AGAIN     it is not whole yet; all input was taken
 *         ERR_PROTOCOL  malformed; `*out_reason` is static
 *         ERR_NOMEM
 */
MUST_CHECK enum err client_response_feed(struct client_response *response,
                                         struct str input,
                                         struct http_head *out_head,
                                         size_t *out_used,
                                         const char **out_reason);

/* The stream has ended; ERR_OK when that ends the body, as feed gives it.
 *
 * Errors: ERR_CLOSED  before the first byte
 *         ERR_RESET   in the middle; `*out_reason` is static, for both
 */
MUST_CHECK enum err client_response_end(struct client_response *response,
                                        struct http_head *out_head,
                                        const char **out_reason);

#endif
