/* Which topics and endpoints are shown one by one: a bounded number of them,
 * those that are worth it most.
 *
 * A topic is on one shard, so the topics of all shards go through one list. An
 * endpoint is on several: first what each shard sees of each is noted, in a few
 * bytes; that is added up and the worst are chosen; a second visit gathers the
 * figures of these.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_METRICS_TOP_H
#define OPQ_ADMIN_METRICS_TOP_H

#include "base/err.h"
#include "queue/deliverer.h"
#include "queue/endpoint.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    METRICS_TOP_MAX = 100,      /* topics, or endpoints; doc and help say so */
    METRICS_ENDPOINT_MAX = 300, /* bytes of a name, as in struct delivery_view;
                                   terminated */
};

/* A figure that is not known. */
#define METRICS_NONE UINT64_MAX

/* A topic, or one of its subscriptions. */
struct metrics_topic {
    uint64_t lag;
    uint64_t age_ms; /* of its oldest message not delivered; METRICS_NONE */
    uint32_t shard;
    char topic[TOPIC_NAME_MAX + 1];
    char subscription[TOPIC_NAME_MAX + 1]; /* empty: the topic itself */
};

/* Those with the greatest lag. Zeroed: none. */
struct metrics_top {
    uint32_t count;
    uint8_t order[METRICS_TOP_MAX]; /* in `topics`, by lag, descending */
    struct metrics_topic topics[METRICS_TOP_MAX];
};

/* The place of one more with such a lag, to be filled in but for that; NULL
 * when there are as many with no less. Borrowed until the next call. */
struct metrics_topic *metrics_top_place(struct metrics_top *top, uint64_t lag);

/* What a shard sees of an endpoint. */
struct metrics_seen {
    uint64_t hash; /* of its name */
    uint64_t backlog;
    enum endpoint_state state;
};

/* An endpoint that is shown: sums over the shards. */
struct metrics_endpoint {
    uint64_t hash;
    char name[METRICS_ENDPOINT_MAX]; /* empty: not gathered yet */
    uint64_t badness;                /* the worst of the shards */
    uint64_t backlog;
    uint64_t in_flight;
    uint64_t window;
    uint64_t failures; /* the most of the shards */
};

/* All of them. Zeroed: none. */
struct metrics_endpoints {
    struct metrics_seen *seen; /* owned */
    uint32_t seen_count;
    uint32_t seen_capacity;
    bool failed; /* no memory */
    uint64_t by_state[ENDPOINT_STATES];
    uint32_t count;
    struct metrics_endpoint chosen[METRICS_TOP_MAX]; /* by hash, ascending */
};

/* Note what a shard sees. */
void metrics_top_note(struct metrics_endpoints *endpoints,
                      const struct target_view *view);

/* Add up what was noted, count the states, and choose the worst: by state, then
 * by backlog. */
void metrics_top_choose(struct metrics_endpoints *endpoints);

/* Add what a shard has, if it is of one that was chosen. */
void metrics_top_gather(struct metrics_endpoints *endpoints,
                        const struct target_view *view);

/* Free what they have. */
void metrics_top_fini(struct metrics_endpoints *endpoints);

#endif
