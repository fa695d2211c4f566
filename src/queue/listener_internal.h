/* What the files of the listener share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LISTENER_INTERNAL_H
#define OPQ_QUEUE_LISTENER_INTERNAL_H

#include "base/list.h"
#include "queue/listener.h"
#include "queue/shard.h"

#include <stdbool.h>
#include <stdint.h>

struct listener {
    struct listener_options options;
    struct listener_stats stats;
    struct recorder *recorder; /* owned */
    struct list pool;          /* of struct push_task, unused */
};

/* One push on its way from the request to its answer. */
struct push_task {
    struct list link;          /* in the pool while unused */
    struct listener *listener; /* borrowed: where the request came */
    /* Called at home when the push has ended; frees or pools the task. */
    void (*ended)(struct push_task *task);
    struct http_exchange *exchange; /* of a single push; else NULL */
    struct batch *batch;            /* of an item; else NULL */
    uint32_t item;                  /* index in the batch */
    bool json;                      /* how to answer */
    /* The outcome. */
    enum err err;
    uint64_t sequence;
    enum durability durability;
    char id_prefix[24];             /* of the topic */
    char topic[TOPIC_NAME_MAX + 1]; /* terminated */
    /* The way. */
    struct store_op op;
    struct shard_call call;
    void *record; /* owned; only when carried to another shard */
    size_t record_size;
};

/* Take a task from the pool, or make one.
 * Gives: `*out`, for push_task_release().
 * Errors: ERR_BUSY (pending_max), ERR_NOMEM */
MUST_CHECK enum err push_task_acquire(struct listener *listener,
                                      struct push_task **out);

/* Give a task back. */
void push_task_release(struct push_task *task);

/* Store a push: here, or on the shard that owns its topic. Ends with ended(),
 * always, but never from inside this call.
 * Errors: those of store_append(), shard_topic(), shard_send(): then ended()
 *         does not come */
MUST_CHECK enum err push_task_start(struct push_task *task,
                                    const struct push *push);

/* Append {"id":...,"topic":...,"seq":...} of a stored push. */
void push_task_json(const struct push_task *task, struct buf *to);

/* What to say about a push that failed. */
const char *push_err_text(enum err err);

/* Answer a request of the first OPQ's two calls that is refused. */
void listener_refuse(struct http_exchange *exchange,
                     bool json,
                     int status,
                     const char *detail);

/* Take POST /opq/batch. */
void listener_batch(struct listener *listener, struct http_exchange *exchange);

/* Take POST /opq/replay. */
void listener_replay(struct listener *listener, struct http_exchange *exchange);

#endif
