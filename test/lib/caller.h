/* Calls of the HTTP client for tests: what came back is copied, so that a test
 * can look at it later.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_CALLER_H
#define OPQ_TEST_LIB_CALLER_H

#include "http/client.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CALLER_KEEP_MAX = 16 * 1024 };

/* One call and its outcome. */
struct caller {
    struct http_call call;
    struct http_endpoint *endpoint; /* one use of it; NULL: none */
    char *request;                  /* owned */
    int done;                       /* how often done() came */
    int order;                      /* the how many-th done() of all it was */
    enum err err;
    int status;
    char detail[400];
    char body[CALLER_KEEP_MAX + 1]; /* terminated */
    size_t body_size;
    bool reused;
    uint64_t elapsed_ns;
    void (*then)(struct caller *caller); /* called in done(); may be NULL */
};

/* Options that fit most tests. */
struct http_client_options caller_options(struct io *io);

/* Make a client, or fail. */
struct http_client *caller_client(const struct http_client_options *options);

/* Destroy a client and run turns until its sockets are closed. */
void caller_client_destroy(struct io *io, struct http_client *client);

/* Begin a call: POST of `body` (NULL: GET) to a URL. */
void caller_start(struct caller *caller,
                  struct http_client *client,
                  const char *url,
                  const char *body);

/* Prepare as caller_start() does, but do not start. */
void caller_prepare(struct caller *caller,
                    struct http_client *client,
                    const char *url,
                    const char *body);

/* Give back what a caller holds, and zero it. */
void caller_fini(struct caller *caller);

/* "http://127.0.0.1:PORT/"; in one of several buffers used in turn. */
const char *caller_url(const char *scheme, const char *host, uint16_t port);

#endif
