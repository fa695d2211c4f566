/* The targets that a deliverer knows: for each scheme, host and port one entry
 * that joins the decisions (endpoint.h) with the connections (http/client.h).
 * Private to deliverer*.c.
 *
 * A target lives while a delivery uses it, and while it is closed until a time
 * (a hold that it asked for, a breaker that is open): else a topic that comes
 * back would forget it. A timer per target looks at the endpoint then.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_TARGET_H
#define OPQ_QUEUE_DELIVERER_TARGET_H

#include "base/err.h"
#include "http/client.h"
#include "http/url.h"
#include "queue/endpoint.h"
#include "sys/io.h"

#include <stdint.h>

struct deliverer;

struct deliverer_target_bucket {
    struct deliverer_target *first; /* owned; NULL: empty */
};

/* All targets of a deliverer, by name. Zeroed: empty. */
struct deliverer_targets {
    struct deliverer_target_bucket *buckets; /* owned; NULL: none yet */
    uint32_t bucket_count;                   /* a power of two, or 0 */
    uint32_t count;
};

struct deliverer_target {
    struct deliverer_target *next; /* in its bucket */
    uint64_t hash;                 /* of `name` */
    struct deliverer *deliverer;   /* borrowed */
    struct endpoint endpoint;
    struct http_endpoint *http; /* one use of it */
    struct io_timer tick;       /* at endpoint_due_ms() */
    uint64_t due_ms;            /* of the timer, while it runs */
    uint32_t users;
    struct url url; /* of `name`, so without a path */
    size_t name_size;
    char name[]; /* "http://127.0.0.1:9000", in lower case; terminated */
};

/* Find or make the target of a URL and count one more user.
 *
 * Gives:  `*out`, for deliverer_target_release().
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum err deliverer_target_acquire(struct deliverer *deliverer,
                                             const struct url *url,
                                             struct deliverer_target **out);

/* Count one user less. Accepts NULL. */
void deliverer_target_release(struct deliverer_target *target);

/* A request to it ended, whose waiter still has its slot: endpoint_note(), with
 * the times filled in. */
void deliverer_target_note(struct deliverer_target *target,
                           struct endpoint_waiter *waiter,
                           const struct endpoint_result *result);

/* Send nothing to it for `delay_ms`: it asked for that. */
void deliverer_target_hold(struct deliverer_target *target, uint64_t delay_ms);

/* Send to it at a rate, by an operator: endpoint_limit(). */
void deliverer_target_limit(struct deliverer_target *target,
                            const struct settings_rate *rate);

/* Send to it as if nothing had happened, by an operator: endpoint_reset(). */
void deliverer_target_reset(struct deliverer_target *target);

/* Free all, the held ones too. None is used. */
void deliverer_target_clear(struct deliverer *deliverer);

#endif
