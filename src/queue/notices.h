/* The server's notices on their way: from where something happened over the
 * first shard, which limits, numbers and keeps them, to who listens there, and
 * as messages of the topic "opq.events" to a webhook.
 *
 *     raise (any shard) -> first shard: limit -> ring -> waiters
 *                                                 '-> a push, if there is a url
 *
 * Raising costs an allocation and a call between shards; nobody who raises
 * waits, or knows whether it was shown. Calls under way are bounded: what is
 * past that is counted.
 *
 * What becomes of "opq.events" itself is not told, nor to the webhook that its
 * own target is down, for each of these would lead to the next.
 *
 * Threads: each function from the shard's own thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_NOTICES_H
#define OPQ_QUEUE_NOTICES_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/notice.h"
#include "queue/shard.h"

#include <stdbool.h>

#define TOPIC_NOTICES "opq.events"

enum {
    NOTICES_CALLS_MAX = 256,   /* from one shard, under way */
    NOTICES_PUSHES_MAX = 4096, /* to the webhook, not yet durable */
};

struct notices;

/* Waits for the next notice; embedded in the caller's object. */
struct notices_waiter {
    /* There is one. The waiter waits no more. */
    void (*ready)(struct notices_waiter *waiter);
    struct list link; /* private */
};

/* Where they are pushed from the first shard. */
struct notices_hook {
    struct str url;    /* borrowed; empty: nowhere */
    struct str target; /* borrowed; its name, as endpoints have it */
};

/* Make those of a shard. Borrows: shard, and what `hook` has.
 * Gives:  `*out`, for notices_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err notices_create(struct shard *shard,
                                   const struct notices_hook *hook,
                                   struct notices **out);

/* Free them. Accepts NULL. None is under way, and nobody waits. */
void notices_destroy(struct notices *notices);

/* Tell something, if the shard has notices. `data` has members of a JSON
 * object, each with a comma before it; may have failed; NULL: none. */
void notices_raise(const struct shard *shard,
                   enum notice_type type,
                   struct str subject,
                   const struct buf *data);

/* Tell what the shard's store has to tell, from now on. */
void notices_listen(struct notices *notices);

/* Call all that wait, though there is nothing. */
void notices_end_waits(struct notices *notices);

/* Take nothing more from here, push nothing more. */
void notices_stop(struct notices *notices);

/* Tell whether no push is under way. */
bool notices_idle(const struct notices *notices);

/* The shard whose notices have the ring. */
struct shard *notices_place(const struct shard *shard);

/* The ring; of notices_place(). Borrowed. */
const struct notice_ring *notices_ring(const struct shard *place);

/* Wait for the next notice, at notices_place(). Borrows: waiter. */
void notices_wait(struct shard *place, struct notices_waiter *waiter);

/* Wait no more; does nothing when it does not. */
void notices_leave(struct notices_waiter *waiter);

#endif
