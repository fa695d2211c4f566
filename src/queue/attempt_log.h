/* The last failed attempts at a message, in memory only: after a restart the
 * log begins anew, though the count of attempts does not.
 *
 * Memory: none until an attempt failed; it grows with the attempts up to
 * ATTEMPT_LOG_MAX of them, about 2.5 KiB.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ATTEMPT_LOG_H
#define OPQ_QUEUE_ATTEMPT_LOG_H

#include "base/buf.h"

#include <stdint.h>

enum { ATTEMPT_LOG_MAX = 16, ATTEMPT_DETAIL_SIZE = 128 };

/* An attempt that failed. */
struct attempt {
    uint64_t at_ms;    /* wall clock, when it began */
    const char *class; /* static: "http_5xx" */
    int status;        /* 0: no answer came */
    uint32_t duration_ms;
    char detail[ATTEMPT_DETAIL_SIZE]; /* for people; terminated */
};

struct attempt_log {
    uint32_t count; /* attempts that are kept */
    uint32_t first; /* index of the oldest one */
    uint32_t capacity;
    struct attempt attempts[]; /* a ring */
};

/* Add an attempt to `*log`, which is NULL without any. The oldest one goes when
 * there are ATTEMPT_LOG_MAX, or when there is no memory for one more.
 * Gives: `*log`, for free(). */
void attempt_log_add(struct attempt_log **log, const struct attempt *attempt);

/* An attempt by its index, from 0, the oldest; it is there. */
const struct attempt *attempt_log_at(const struct attempt_log *log,
                                     uint32_t index);

/* The last one; NULL when there is none, as without a log. */
const struct attempt *attempt_log_last(const struct attempt_log *log);

/* Append ,"attempts_log":[{"at":...,"class":...,...}, ...], the oldest first;
 * nothing without any. `log` may be NULL. */
void attempt_log_json(const struct attempt_log *log, struct buf *to);

#endif
