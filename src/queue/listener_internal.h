/* What the files of the listener share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LISTENER_INTERNAL_H
#define OPQ_QUEUE_LISTENER_INTERNAL_H

#include "queue/listener.h"
#include "queue/push_task.h"
#include "queue/shard.h"

#include <stdbool.h>
#include <stdint.h>

struct listener {
    struct listener_options options;
    struct listener_stats stats;
    struct recorder *recorder; /* owned */
    struct push_pool pool;
    /* Of a batch that is being read. */
    struct recorder_item *items;     /* owned; batch_count_max of them */
    struct recorder_member *members; /* owned; member_max of them */
    uint32_t member_max;
    uint32_t uploads;        /* bodies that are coming */
    struct list upload_list; /* of struct upload, the oldest first */
};

/* Answer a request of the first OPQ's two calls that is refused. */
void listener_refuse(struct http_exchange *exchange,
                     bool json,
                     int status,
                     const char *detail);

/* Count pushes that came to nothing, by the status of their answer. */
void listener_count_refusals(struct listener *listener,
                             int status,
                             uint64_t count);

/* Count a push that came to nothing. */
void listener_count_failure(struct listener *listener, enum err err);

/* Count a push by what became of it. */
void listener_count(struct listener *listener, const struct push_task *task);

/* A push of its own, not of a batch, has ended: answer it. */
void listener_push_ended(struct push_task *task);

/* Take POST /opq/batch, and events for /opq/push. */
void listener_batch(struct listener *listener, struct http_exchange *exchange);

/* Take POST /opq/replay. */
void listener_replay(struct listener *listener, struct http_exchange *exchange);

#endif
