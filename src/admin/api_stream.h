/* A stream of server-sent events, whatever is in them.
 *
 * A stream is a row of pages. It travels to the shard that has what it shows,
 * where a page is made or waited for, and comes home with bytes, or, after a
 * while, with none, which is a heartbeat; home it is sent, and goes again.
 *
 *     home: send piece by piece -> there: run, or wait -> home: ...
 *
 * A client that takes slowly holds its stream at home, by a timer, so what is
 * in memory for one is a page and what the server lets a stream have. A client
 * that goes while the stream is away is told to it by a second call.
 *
 * Threads: the shard's that has it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_STREAM_H
#define OPQ_ADMIN_API_STREAM_H

#include "admin/api_internal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    API_STREAM_HEARTBEAT_MS = 15 * 1000,
    API_STREAM_PAGE_SIZE = 64 * 1024, /* after which a page is sent */
};

/* Embedded in the caller's object, which is zeroed but for what is said to be
 * the caller's. */
struct api_stream {
    /* The caller's: there, make or await a page in `text`; ends with
     * api_stream_return() or api_stream_fail(), now or later. */
    void (*run)(struct api_stream *stream, struct shard *there);
    /* There, while it has not ended: end waiting, with the same. */
    void (*cancelled)(struct api_stream *stream);
    /* Free the object. */
    void (*release)(struct api_stream *stream);
    struct shard *place; /* borrowed: where it runs */
    struct buf text;     /* owned: a page */
    /* Private, as all below. */
    struct shard_call call;
    struct shard_call cancel;       /* after the client has gone */
    struct shard *home;             /* borrowed */
    struct http_exchange *exchange; /* borrowed */
    struct io_timer timer;          /* home: the client takes slowly */
    uint64_t slow_ms;               /* monotonic: since when; 0: it is not */
    uint64_t stop_ms;               /* the same of a stop that waits for it */
    size_t sent;                    /* bytes of `text` */
    bool head_only;
    bool begun;      /* the answer is */
    bool away;       /* `call` is */
    bool cancelling; /* `cancel` is away */
    bool gone;       /* the client has */
    bool late;       /* the server stops, and does not wait for it */
    /* Set there, looked at at home. */
    bool idle;  /* there: not running */
    int status; /* of a problem that ends it; 0: none */
    char detail[160];
};

/* Take a request as a stream, which is freed when it has ended; place, run,
 * cancelled and release are set. */
void api_stream_begin(struct api_stream *stream,
                      const struct api_request *request);

/* From run() or later: what is in `text` is a page. */
void api_stream_return(struct api_stream *stream);

/* The same: it ends with a problem, which has to be before its first page to
 * be seen. */
void api_stream_fail(struct api_stream *stream, int status, const char *detail);

#endif
