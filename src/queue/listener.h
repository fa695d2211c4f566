/* The producer's side of HTTP: /opq/push, /opq/batch and /opq/replay.
 *
 * Takes a whole request, has the recorder make a message of it, gives it to the
 * store of the shard that owns the topic (carrying it over when that is another
 * one), and answers when it is as durable as was asked for.
 *
 * Here, and with answer.h alone, codes become HTTP statuses.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LISTENER_H
#define OPQ_QUEUE_LISTENER_H

#include "base/err.h"
#include "http/server.h"
#include "queue/recorder.h"

#include <stdbool.h>
#include <stdint.h>

struct listener;
struct shard;

struct listener_options {
    struct shard *shard; /* borrowed */
    struct recorder_options recorder;
    uint32_t batch_count_max; /* items of one /opq/batch */
    uint32_t pending_max;     /* pushes under way; past it 503 */
    uint32_t uploads_max;     /* of them, with bodies that go into files, of
                                 256 KiB each in memory; past it 503 */
};

/* Why a push came to nothing, as its answer says. */
enum listener_reason {
    LISTENER_INVALID,   /* 4xx but for these: what it says is wrong */
    LISTENER_CONDITION, /* 412: not the sequence number that was expected */
    LISTENER_TOO_LARGE, /* 413 */
    LISTENER_BUSY,      /* 503: a bound is reached, or the server stops */
    LISTENER_DISK_FULL, /* 507 */
    LISTENER_STORAGE,   /* other 5xx: it could not be made durable */
    LISTENER_REASONS,
};

struct listener_stats {
    uint64_t pushes;                        /* answered 201 */
    uint64_t duplicates;                    /* answered 202 */
    uint64_t pushed_bytes;                  /* of their bodies */
    uint64_t refused;                       /* answered 4xx */
    uint64_t failed;                        /* answered 5xx */
    uint64_t refused_for[LISTENER_REASONS]; /* both of them */
    uint64_t carried;                       /* to another shard */
    uint64_t pending;                       /* now, of `pending_max` */
    uint64_t pending_max;
};

/* Make a listener.
 * Gives:  `*out`, for listener_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err listener_create(const struct listener_options *options,
                                    struct listener **out);

/* Free it. Accepts NULL. Nothing is pending. */
void listener_destroy(struct listener *listener);

/* Take a request if it is one of ours, answering it now or later.
 * Returns false, the exchange untouched, when its path is not. */
bool listener_handle(struct listener *listener, struct http_exchange *exchange);

/* Have another bound of pushes under way. */
void listener_set_pending_max(struct listener *listener, uint32_t pending_max);

/* Bodies that are coming into files now. */
uint32_t listener_uploads(const struct listener *listener);

/* How long the oldest of them is coming, by the loop's time; 0: there is none.
 */
uint64_t listener_oldest_upload_ms(const struct listener *listener,
                                   uint64_t now_ms);

/* Figures so far; borrowed, living as long as the listener. */
const struct listener_stats *listener_stats(struct listener *listener);

#endif
