/* A load generator: POSTs as fast as a server answers, and what came of it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_BENCH_H
#define OPQ_CLI_BENCH_H

#include "base/err.h"
#include "base/histogram.h"
#include "base/str.h"
#include "cli/remote_tls.h"
#include "sys/io.h"

#include <stdint.h>

/* How a single push says what it is; a batch is lines of JSON. */
enum bench_form {
    BENCH_FORM_URLENCODED,
    BENCH_FORM_MULTIPART,
    BENCH_FORM_JSON,
    BENCH_FORM_RAW, /* the message is the body, the rest is in the query */
};

struct bench_options {
    const char *url;     /* "http://127.0.0.1:8999": a numeric host; or https */
    const char *ca_file; /* PEM, for https; NULL: the system's */
    struct str headers;  /* borrowed: of each request, each ended by CRLF */
    const char *target;  /* URL in each push */
    const char *topic; /* prefix of the topics' names: "bench" gives bench-0 */
    enum io_backend backend;
    enum bench_form form; /* of single pushes */
    uint32_t connections; /* 1 or more */
    uint32_t pipeline;    /* requests under way on each; 1 to 256 */
    uint32_t topics;      /* 1 to 100,000 */
    uint32_t batch;       /* items of a POST /opq/batch; 0: single pushes */
    uint64_t size;        /* bytes of `message` */
    uint32_t warmup_ms;   /* not measured */
    uint32_t duration_ms; /* measured */
};

struct bench_result {
    uint64_t answers; /* while measuring */
    uint64_t elapsed_ns;
    uint64_t refused; /* answers that are not 2xx, warm-up included */
    uint64_t broken;  /* connections that broke */
    int last_status;  /* of those refused */
    char detail[REMOTE_DETAIL_SIZE]; /* the last failure of TLS; "": none */
    struct histogram latency_ns;
};

/* Run a load to its end.
 * Blocks: for warm-up and duration.
 * Errors: ERR_INVALID (the URL), ERR_UNSUPPORTED (the back end), ERR_NOMEM,
 *         ERR_BUSY, ERR_IO; ERR_TLS (a handshake, or the file of authorities:
 *         out_result->detail) */
MUST_CHECK enum err bench_run(const struct bench_options *options,
                              struct bench_result *out_result);

#endif
