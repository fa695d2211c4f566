/* The targets that a deliverer knows: for each scheme, host and port one entry
 * that joins the decisions (endpoint.h) with the connections (http/client.h).
 * Private to deliverer*.c.
 *
 * A target lives while a delivery uses it. One that is closed until a time (a
 * hold that it asked for, a breaker that is open) stays until then, or a topic
 * that comes back would not know; and one that ever failed stays for some
 * minutes, so that an operator can see what was. There is a bound to those:
 * past it, the one that is unused for the longest time goes. A timer per target
 * looks after it.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_TARGET_H
#define OPQ_QUEUE_DELIVERER_TARGET_H

#include "base/err.h"
#include "base/hash_table.h"
#include "http/client.h"
#include "http/url.h"
#include "queue/endpoint.h"
#include "sys/io.h"

#include <stdint.h>

struct deliverer;

enum {
    DELIVERER_TARGETS_UNUSED_MAX = 1000,
    DELIVERER_TARGET_UNUSED_MS = 10 * 60 * 1000,
};

/* All targets of a deliverer, by name. Zeroed, but for lists that are empty:
 * there are none. */
struct deliverer_targets {
    struct hash_table table; /* owned */
    struct list unused;      /* the one that is it for the longest time first */
    uint32_t unused_count;
    struct list slow; /* those of deliverer_target_slow() */
};

struct deliverer_target {
    struct hash_node node;       /* in targets->table, by the hash of `name` */
    struct deliverer *deliverer; /* borrowed */
    struct endpoint endpoint;
    struct http_endpoint *http; /* one use of it */
    struct io_timer tick;       /* at endpoint_due_ms(), or when unused */
    uint64_t due_ms;            /* of the timer, while it runs */
    uint32_t users;
    uint32_t other_users; /* of them: deliveries whose newest message goes here,
                             and their lines; the others are messages */
    struct list unused;   /* in targets->unused while there are no users */
    uint64_t unused_ms;   /* since when */
    struct list slow;     /* in targets->slow, */
    uint64_t slow_ms;     /* by how much, at most */
    struct settings_rate released; /* what an operator said, for all shards;
                                      of a limit */
    uint64_t ahead;  /* scratch of deliverer_each_target(): messages not
                        looked at, */
    uint32_t topics; /* and whose they are */
    struct url url;  /* of `name`, so without a path */
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

/* Note that a request to it has waited for `slow_ms`, before a successor. */
void deliverer_target_slow(struct deliverer_target *target, uint64_t slow_ms);

/* Hold all those that were noted with `slow_ms` or more for `hold_ms`. */
void deliverer_target_hold_slow(struct deliverer *deliverer,
                                uint64_t slow_ms,
                                uint64_t hold_ms);

/* Find the target of a name; NULL: it is not known. */
struct deliverer_target *
deliverer_target_find(const struct deliverer *deliverer, struct str name);

/* Send to it at a rate, by an operator: endpoint_limit(). The rate is a share
 * of `released`, which is only shown. */
void deliverer_target_limit(struct deliverer_target *target,
                            const struct settings_rate *rate,
                            const struct settings_rate *released);

/* Send to it as if nothing had happened, by an operator: endpoint_reset(). */
void deliverer_target_reset(struct deliverer_target *target);

/* Free all, the held ones too. None is used. */
void deliverer_target_clear(struct deliverer *deliverer);

#endif
