/* A topic as the pipeline sees it: its settings, and who works on it.
 *
 * A subscription is the same over a view of the topic: messages of the topic,
 * with a cursor, settings and a delivery of its own. What is said of a topic
 * here is true of a subscription, unless it says otherwise.
 *
 * The store keeps the messages and the cursor; this is what hangs on the
 * store's handle (`store_topic->user`). The input side (listener, recorder) and
 * the output side (deliverer) meet here and nowhere else.
 *
 * Threads: the loop's of the shard that owns the topic.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_TOPIC_H
#define OPQ_QUEUE_TOPIC_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "queue/settings.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct accept_topic; /* accept's state of a topic */
struct delivery;     /* the deliverer's, of a topic or subscription */
struct replay;       /* what replays.h knows of a view that is one */

struct topic_stats {
    uint64_t delivered;       /* since start */
    uint64_t attempts;        /* since start */
    uint64_t attempts_failed; /* since start */
    uint64_t given_up;        /* messages of a replay, since start */
};

struct topic {
    struct store_topic *store; /* borrowed; lives as long as the topic */
    struct topic *parent;      /* borrowed: of a subscription; else NULL */
    struct list subscriptions; /* of struct topic, by `link` */
    struct list link;          /* in parent->subscriptions */
    const char *title;         /* "topic" or "topic/subscription", for logs */
    struct settings settings;  /* its text goes with a change: look it up */
    struct topic_stats stats;
    /* What its log has or had, kept in the store with the settings: messages
     * with a dedup id, with a collapse key. Accept's. */
    bool dedup_used;
    bool collapse_used;
    struct accept_topic *accept; /* accept's; NULL: nothing to know */
    struct delivery *delivery;   /* the deliverer's; NULL: not attached */
    struct replay *replay;       /* that of replays.h; NULL: it is none */
    struct list letters;         /* of struct letters_job, the first one runs */
    /* Called by topic_changed(); set by the deliverer; NULL: not attached. */
    void (*changed)(struct topic *topic);
    char id_prefix[24]; /* "msg_<topic id, 16 hex digits>-", NUL */
};

enum { TOPIC_ID_PREFIX_SIZE = 21 }; /* bytes of it without the NUL */

/* Attach a topic to a store handle that has none, reading its settings and
 * what its log has. Of a view: the topic of its parent has one.
 *
 * Gives:  `*out`, for topic_destroy(), also as `store->user`.
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum err topic_create(struct store_topic *store, struct topic **out);

/* Free it, and take it off the store's handle. Accepts NULL. The delivery is
 * detached, and there are no subscriptions. */
void topic_destroy(struct topic *topic);

/* The topic of a store handle. */
static inline struct topic *topic_of(const struct store_topic *store)
{
    return store->user;
}

/* The topic whose messages these are: itself, or a subscription's parent. */
static inline const struct topic *topic_root(const struct topic *topic)
{
    return topic->parent != NULL ? topic->parent : topic;
}

/* The topic of callbacks: ordinary messages. */
#define TOPIC_CALLBACKS "opq.callbacks"

/* What is kept in order of its messages: what its settings say, but callbacks,
 * which are of anybody, are in no order. */
enum settings_order topic_order(const struct topic *topic);

/* Tell whether a topic has a subscription; replays are none. */
bool topic_has_subscriptions(const struct topic *topic);

/* Tell whether it is a subscription that people know as one: no replay. */
static inline bool topic_is_subscription(const struct topic *topic)
{
    return topic->parent != NULL &&
           topic->settings.kind != SETTINGS_KIND_REPLAY;
}

/* Tell whether there are messages in it for anybody outside: it is none of the
 * server's own, holds no dead letters, and is not one that clients pull, or a
 * replay that has finished. */
bool topic_is_delivered(const struct topic *topic);

/* Write the name of the topic of a topic's dead letters, "<t>.dlq", terminated.
 * Of a name that has no room for that, its beginning and a hash of it. */
void topic_dead_name(struct str name, char to[TOPIC_NAME_MAX + 1]);

/* Tell whether a topic is the server's own, by its name: it begins with
 * ".opq.". They are not delivered, and producers cannot push to them. */
bool topic_is_internal(struct str name);

/* Tell whether a topic holds dead letters, by its name. They are not delivered,
 * and producers cannot push to it. */
bool topic_is_dead(struct str name);

/* Say that the cursor was moved or that settings changed, so that whoever
 * delivers the topic looks again. */
static inline void topic_changed(struct topic *topic)
{
    if (topic->changed != NULL) {
        topic->changed(topic);
    }
}

/* Write what the store keeps of a topic: `settings`, which it is to have, and
 * what its log has.
 * Errors: those of settings_write() */
MUST_CHECK enum err topic_write(const struct topic *topic,
                                const struct settings *settings,
                                struct buf *to);

/* Write the id of a message, at most TOPIC_ID_PREFIX_SIZE + PUT_DECIMAL_MAX
 * bytes, at `to`; returns where it ends. */
char *
topic_message_id_put(const struct topic *topic, uint64_t sequence, char *to);

/* Append the id of a message: letters, digits, '_' and '-' only. */
void topic_message_id(const struct topic *topic,
                      uint64_t sequence,
                      struct buf *to);

#endif
