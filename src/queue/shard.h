/* One shard as its parts see it: a loop, a store, its topics, and the way to
 * the other shards.
 *
 * Shards share nothing. What concerns a topic is done on the shard that owns
 * it; a request that came to another is carried over by shard_send(), and its
 * answer back the same way: one wake-up per batch, bounded. pipeline.h puts the
 * parts together.
 *
 * Threads: each function from the shard's own thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_SHARD_H
#define OPQ_QUEUE_SHARD_H

#include "base/err.h"
#include "base/str.h"
#include "queue/due_id.h"
#include "queue/topic.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    SHARDS_MAX = 64,
    SHARD_CALLS_MAX = 8192, /* calls under way from one shard: ERR_BUSY */
};

struct accept;
struct delayed;
struct notices;
struct shard;

/* All shards of a process; fixed before their threads start, but atomics. */
struct shard_group {
    uint32_t count;
    atomic_uint drained;               /* shards that take nothing any more */
    atomic_uint handing;               /* shards that are to hand over, */
    atomic_uint quiet;                 /* those that nothing is under way on, */
    atomic_ullong slow_ms[SHARDS_MAX]; /* and how long the oldest that is slow
                                          on each is under way; 0: none */
    atomic_uint ids_unread;           /* of accept_delayed.c: buckets to read */
    atomic_uint dedup_window_ms;      /* likewise: the longest of any topic */
    struct shard *shards[SHARDS_MAX]; /* borrowed */
    /* The index of the shard that a topic belongs to. */
    uint32_t (*owner)(void *context, struct str topic);
    void *context; /* borrowed */
};

/* Embedded in the pipeline, which fills it in. */
struct shard {
    uint32_t index;
    struct shard_group *group; /* borrowed */
    struct io *io;             /* borrowed from the pipeline */
    struct store *store;       /* borrowed from the pipeline */
    struct accept *accept;     /* borrowed from the pipeline */
    struct delayed *delayed;   /* borrowed from the pipeline */
    struct notices *notices;   /* borrowed from the pipeline; NULL (tests):
                                  nothing is told */
    struct due_id_table delayed_ids; /* where what was pushed from here is */
    /* A topic came into being (or was found at start): begin its delivery. */
    enum err (*topic_added)(struct shard *shard, struct topic *topic);
    /* A topic goes: end its delivery. */
    void (*topic_removed)(struct shard *shard, struct topic *topic);
    struct list replay_walks; /* of struct replay_walk, reading here */
    uint32_t topic_count;     /* without internal ones */
    uint32_t calls;           /* under way from here */
    bool stopping;            /* nothing new is taken */
};

/* Something to do on another shard; embedded in the caller's object. */
struct shard_call {
    /* On the other shard. It ends with shard_call_return(), now or later. */
    void (*run)(struct shard_call *call, struct shard *there);
    /* Back home. May free the call. */
    void (*returned)(struct shard_call *call);
    struct io_task task; /* private, as all below */
    struct shard *home;
    struct shard *there;
};

/* Run `call->run` on shard `there` (which may be `home`: then in its next
 * turn), in the order of the calls.
 *
 * Borrows: call, until returned().
 * Errors:  ERR_BUSY  SHARD_CALLS_MAX are under way
 */
MUST_CHECK enum err
shard_send(struct shard *home, struct shard *there, struct shard_call *call);

/* From run(): run it again in the next turn of this shard. */
void shard_call_again(struct shard_call *call);

/* End a call: returned() will run where it came from. */
void shard_call_return(struct shard_call *call);

/* The shard that owns a topic; may be `shard` itself. */
struct shard *shard_owner(const struct shard *shard, struct str topic);

/* Find a topic of this shard, or make it if `create`.
 * Errors: as store_topic_open() */
MUST_CHECK enum err shard_topic(struct shard *shard,
                                struct str name,
                                bool create,
                                struct topic **out);

/* Find a subscription of a topic of this shard, or make it if `create`.
 * Errors: as store_view_open() */
MUST_CHECK enum err shard_subscription(struct shard *shard,
                                       struct topic *topic,
                                       struct str name,
                                       bool create,
                                       struct topic **out);

/* Begin to deliver a subscription, or end it, as its settings now say. A
 * failure is told in the log. */
void shard_subscription_changed(struct shard *shard,
                                struct topic *subscription);

/* What a subscription may have been made for failed: when nothing of it is
 * stored nor under way, it is gone again. */
void shard_subscription_unused(struct shard *shard,
                               struct topic *topic,
                               struct str name);

/* Delete a subscription; it is gone at once, and durably when `op` is done.
 * When `op` fails, shard_subscription() finds it again. Borrows: op. */
void shard_subscription_delete(struct shard *shard,
                               struct topic *subscription,
                               struct store_op *op);

/* Attach the topics that the store has, at start.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err shard_attach_topics(struct shard *shard);

/* Detach all topics, before the store closes. */
void shard_detach_topics(struct shard *shard);

/* What a topic may have been made for was refused, or failed: when nothing of
 * it is stored nor under way, it is gone again. */
void shard_topic_unused(struct shard *shard, struct str name);

/* Delete a topic of this shard; it is gone for everybody at once, and durably
 * when `op` is done. When `op` fails, shard_topic_again() follows.
 * Borrows: op. */
void shard_topic_delete(struct shard *shard,
                        struct topic *topic,
                        struct store_op *op);

/* A deletion failed: the topic is there again, and delivered. */
void shard_topic_again(struct shard *shard, struct str name);

/* The same of a subscription of a topic. */
void shard_subscription_again(struct shard *shard,
                              struct str topic_name,
                              struct str name);

#endif
