/* A view that a call makes: a subscription, or a replay.
 *
 *     api_view_make -> (settings, cursor, hold: all durable) -> made
 *                   -> (one of them failed) taken back -> made, with the error
 *
 * It is first there in the store alone, and found (and so delivered) only by
 * shard_subscription(), which made() may call.
 *
 * Threads: the topic's shard's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_VIEW_H
#define OPQ_ADMIN_API_VIEW_H

#include "base/err.h"
#include "queue/settings.h"
#include "queue/shard.h"
#include "store/store.h"

#include <stdint.h>

enum { API_VIEW_STEPS = 3 }; /* settings, cursor, hold */

struct api_view_step {
    struct store_op op;
    struct api_view *view; /* borrowed */
};

/* Embedded in the caller's object. */
struct api_view {
    /* Set by the caller: all is durable, or nothing is left of it. May free the
     * object. */
    void (*made)(struct api_view *view, enum err err);
    struct shard *there;                        /* borrowed; the topic's */
    char topic[TOPIC_NAME_MAX + 1];             /* terminated */
    char name[TOPIC_NAME_MAX + 1];              /* of the view, likewise */
    struct api_view_step steps[API_VIEW_STEPS]; /* private, as all below */
    uint32_t pending; /* steps under way, and one while they begin */
    enum err err;     /* the first that failed */
};

/* Make a view of `topic`, whose names are in `view`, with its cursor at
 * `start`. made() comes, maybe from inside. Borrows: view, until made() */
void api_view_make(struct api_view *view,
                   struct topic *topic,
                   const struct settings *settings,
                   uint64_t start);

#endif
