/* Calls of the HTTP client for tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/caller.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int order_next;

struct http_client_options caller_options(struct io *io)
{
    return (struct http_client_options){
        .io = io,
        .connect_timeout_ms = 5000,
        .idle_timeout_ms = 30000,
        .endpoint_connections_max = 16,
        .connections_max = 64,
        .keep_size_max = CALLER_KEEP_MAX,
        .drop_size_max = (size_t)1024 * 1024,
    };
}

struct http_client *caller_client(const struct http_client_options *options)
{
    struct http_client *client = NULL;
    CHECK(http_client_create(options, &client) == ERR_OK);
    return client;
}

void caller_client_destroy(struct io *io, struct http_client *client)
{
    http_client_destroy(client);
    for (int i = 0; i < 5; i++) {
        io_run_turn(io, 1);
    }
}

static void done(struct http_call *call, const struct http_result *result)
{
    struct caller *caller = (struct caller *)call;
    caller->done++;
    caller->order = ++order_next;
    caller->err = result->err;
    caller->reused = result->reused;
    caller->elapsed_ns = result->elapsed_ns;
    CHECK((result->err == ERR_OK) == (result->head != NULL));
    CHECK((result->err == ERR_OK) == (result->detail == NULL));
    CHECK(result->body.size <= CALLER_KEEP_MAX);
    if (result->head != NULL) {
        caller->status = result->head->status;
        if (result->body.size > 0) {
            memcpy(caller->body, result->body.data, result->body.size);
        }
        caller->body_size = result->body.size;
        caller->body[caller->body_size] = '\0';
    } else {
        (void)snprintf(caller->detail, sizeof(caller->detail), "%s",
                       result->detail);
    }
    if (caller->then != NULL) {
        caller->then(caller);
    }
}

void caller_prepare(struct caller *caller,
                    struct http_client *client,
                    const char *url_text,
                    const char *body)
{
    struct url url;
    const char *reason = NULL;
    void (*then)(struct caller *) = caller->then;
    size_t body_size = body != NULL ? strlen(body) : 0;
    memset(caller, 0, sizeof(*caller));
    caller->then = then;
    CHECK(url_parse(str_from(url_text), &url, &reason) == ERR_OK);
    CHECK(http_endpoint_acquire(client, &url, &caller->endpoint) == ERR_OK);
    caller->request = malloc(512);
    CHECK(caller->request != NULL);
    int size = snprintf(caller->request, 512,
                        "%s / HTTP/1.1\r\nHost: %.*s\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        body != NULL ? "POST" : "GET", STR_ARG(url.authority),
                        body_size);
    CHECK(size > 0 && size < 512);
    caller->call.done = done;
    caller->call.endpoint = caller->endpoint;
    caller->call.timeout_ms = 10000;
    caller->call.parts[0] = (struct iovec){caller->request, (size_t)size};
    caller->call.part_count = 1;
    if (body_size > 0) {
        caller->call.parts[1] = (struct iovec){(void *)body, body_size};
        caller->call.part_count = 2;
    }
}

void caller_start(struct caller *caller,
                  struct http_client *client,
                  const char *url,
                  const char *body)
{
    caller_prepare(caller, client, url, body);
    http_call_start(&caller->call);
}

void caller_fini(struct caller *caller)
{
    http_endpoint_release(caller->endpoint);
    free(caller->request);
    memset(caller, 0, sizeof(*caller));
}

const char *caller_url(const char *scheme, const char *host, uint16_t port)
{
    static char urls[8][128];
    static unsigned next;
    char *url = urls[next++ % 8];
    (void)snprintf(url, sizeof(urls[0]), "%s://%s:%u/", scheme, host, port);
    return url;
}
