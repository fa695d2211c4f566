/* What happens to a push on the shard that owns its topic, before and when it
 * is stored: duplicates, expected sequence numbers, collapse keys.
 *
 *     accept_append: seen before? -> as expected? -> (due later?) -> the store
 *                          |              |                            |
 *                       the first's    refused                 done: remembered
 *                       outcome
 *
 * In this order, so that a push that is sent again because its answer was lost
 * gets the first one's answer, whatever else it asked for. All of it happens in
 * one go with the append: nothing comes between.
 *
 * Duplicates. A push with a dedup id (or, where the topic says so, any push, by
 * a hash of what it has) whose id was stored in the last `dedup_window` of the
 * topic is answered with the first one's number and not stored. While the first
 * is under way the others wait for it, and get its outcome, whatever it is.
 *
 * Collapse. The deliverer asks whether a message has been superseded by a newer
 * one of its key, and skips it then.
 *
 * Both outlive the process by the topic's own log: what it says is read back
 * after a restart, a step each turn. While that goes on, pushes with a dedup id
 * to that topic are refused with ERR_BUSY, and the deliverer is told to wait
 * with messages that have a collapse key. A mark in the topic's settings, made
 * durable before the first such message, says whether there is any to read. Ids
 * of messages that wait to be due are in no topic's log yet: they are read from
 * where such are kept (accept_delayed.c).
 *
 * A push that asks for none of this costs a test. What OPQ stores a second time
 * or on its own behalf, which has an id already, is never a duplicate and
 * supersedes nothing.
 *
 * Threads: accept_wants() any; all else the shard's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ACCEPT_H
#define OPQ_QUEUE_ACCEPT_H

#include "base/err.h"
#include "base/list.h"
#include "base/siphash.h"
#include "queue/topic.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ACCEPT_WINDOW_MS = 600000 }; /* of a topic that does not say */

struct accept;
struct accept_topic;
struct shard;

struct accept_options {
    struct io *io;       /* borrowed */
    struct shard *shard; /* borrowed, where this is; NULL (tests): nothing was
                            ever delayed */
    uint32_t dedup_max;  /* ids remembered, of all topics; past it ERR_BUSY */
};

struct accept_stats {
    uint64_t duplicates;   /* answered as such */
    uint64_t dedup_ids;    /* remembered now */
    uint64_t collapse_ids; /* likewise */
    uint64_t bytes;        /* of memory for both */
    uint64_t walks;        /* topics that are being read, or wait for it */
};

/* What a push asks for, found where it arrived, for it to travel beside an
 * encoded record. */
struct accept_wants {
    bool own; /* stored before, elsewhere (options.id): nothing is asked */
    bool any; /* something of what follows */
    bool dedup;
    bool collapse;
    bool expects;
    uint64_t expect_seq;
    struct siphash dedup_hash;    /* if `dedup` */
    struct siphash collapse_hash; /* if `collapse` */
};

struct accept_op;

/* A push: a message, or its record. Borrowed during the call. */
struct accept_push {
    const struct accept_wants *wants;
    const struct message *message; /* NULL: encoded */
    const void *record;
    size_t record_size;
    /* Keep it elsewhere, until it is due; NULL: it goes to its topic. As
     * store_append() with `op->store`, whose `sequence` then is a number that
     * stands for the place where it is; a duplicate of it is given that. */
    enum err (*give)(const struct accept_push *push, struct accept_op *op);
};

/* One push under way; embedded in the caller's object. */
struct accept_op {
    /* `done` and `durability` are set by the caller; done() comes once, never
     * from inside accept_append(). */
    struct store_op store;
    /* The outcome besides, set before done(): */
    bool duplicate; /* store.sequence is that of the first */
    bool unstored;  /* the store never had it: a duplicate, or refused here */
    uint64_t next;  /* after ERR_CONDITION: what would come next */
    const char *detail; /* why it was refused here; NULL: err_text() */
    /* Private. */
    void (*done)(struct store_op *op, enum err err);
    struct accept_topic *topic;
    struct list link;    /* under way, waiting for another, or ended */
    struct list waiting; /* of the same id */
    enum err err;
    bool claimed; /* `entry` is ours */
    bool collapse;
    uint32_t entry;
    uint64_t at_ms; /* when it was pushed */
    struct siphash collapse_hash;
};

/* What to do with a message that has a collapse key. */
enum accept_collapse {
    ACCEPT_SEND,       /* no newer one is known */
    ACCEPT_SUPERSEDED, /* skip it: a newer one is stored */
    ACCEPT_WAIT,       /* not known yet; topic_changed() follows */
};

/* Make what a shard needs. Gives: `*out`, for accept_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err accept_create(const struct accept_options *options,
                                  struct accept **out);

/* Free it. Accepts NULL. All topics are detached, no push is under way. */
void accept_destroy(struct accept *accept);

/* Figures; borrowed, living as long as `accept`. */
const struct accept_stats *accept_stats(struct accept *accept);

/* Find out what a message asks for; `expect_seq` counts if `expects`.
 * Threads: any. */
void accept_wants(struct accept_wants *out_wants,
                  struct str topic,
                  const struct message *message,
                  bool expects,
                  uint64_t expect_seq);

/* A topic came into being, or was found at start: begin to read what its log
 * says, if it has to.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err accept_attach(struct accept *accept, struct topic *topic);

/* At start: a topic was found that keeps delayed messages. Begin to read their
 * ids, which are of other topics.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err accept_attach_bucket(struct accept *accept,
                                         struct topic *topic);

/* Tell whether no bucket of any shard is still to be read for its ids. */
bool accept_delayed_known(const struct accept *accept);

/* From where on a bucket says which ids are taken: those of older messages are
 * free again in any topic.
 * Errors: those of store_find_time() */
MUST_CHECK enum err accept_delayed_needed(const struct accept *accept,
                                          const struct topic *bucket,
                                          uint64_t *out_first);

/* The topic goes. Pushes under way end by themselves. */
void accept_detach(struct topic *topic);

/* Store a push in its topic, or end it as a duplicate or refused.
 *
 * Borrows: op, until its done(). When the call itself fails, done() does not
 *          come.
 * Errors:  those of store_append(), ERR_NOMEM
 * In done(): those of the store's; ERR_CONDITION (not the sequence number that
 *          was expected), ERR_BUSY (ids are being read back, or as many are
 *          remembered as may be)
 */
MUST_CHECK enum err accept_append(struct accept *accept,
                                  struct topic *topic,
                                  const struct accept_push *push,
                                  struct accept_op *op);

/* What to do with a message of a topic, or of a subscription to it, that has
 * this collapse key and is not delivered there. Asked again for each attempt.
 */
enum accept_collapse
accept_collapse(const struct topic *topic, struct str key, uint64_t sequence);

/* The cursor of a topic, or of a subscription to it, has moved: collapse keys
 * whose newest message all of them have passed are forgotten. */
void accept_delivered(struct topic *topic);

#endif
