/* Topics and messages as the API shows them: in fields and in words.
 *
 * Threads: that of the topic's shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_RENDER_H
#define OPQ_ADMIN_API_RENDER_H

#include "base/buf.h"
#include "queue/deliverer.h"
#include "queue/topic.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

/* A figure that is not known. */
#define API_RENDER_NONE UINT64_MAX

/* Append a topic as a JSON object. `age_ms` is that of its oldest message that
 * is not delivered, `dead` the number of its live dead letters; either may be
 * API_RENDER_NONE. */
void api_render_topic(const struct topic *topic,
                      uint64_t age_ms,
                      uint64_t dead,
                      struct buf *to);

/* Append a subscription as a JSON object. */
void api_render_subscription(const struct topic *subscription, struct buf *to);

/* Give a topic's subscriptions by name; how many. */
uint32_t api_render_sorted(const struct topic *topic,
                           const struct topic *out_row[STORE_VIEWS_MAX]);

/* Append the members of a message, without braces. Its id is that of its topic
 * and sequence, unless it was given one when it was first stored. */
void api_render_message(const struct topic *topic,
                        const struct record *record,
                        struct buf *to);

/* Append the members that tell where a message of `topic` stands, `state` and
 * `because` first, without braces. The message is stored. */
void api_render_state(const struct topic *topic,
                      const struct record *record,
                      struct buf *to);

/* Append ,"subscriptions":[...] with where a message of `topic` stands in each,
 * if there are any. The message is stored. */
void api_render_states(const struct topic *topic,
                       const struct record *record,
                       struct buf *to);

/* Append `state` and `because` of a message that is for the subscriptions of
 * `topic`, without braces. The message is stored. */
void api_render_shared(const struct topic *topic,
                       const struct record *record,
                       struct buf *to);

/* The same of a message of a topic of dead letters. */
void api_render_letter(const struct store_topic *stored,
                       const struct record *record,
                       struct buf *to);

/* What a delivery is doing as a phrase that goes on after "message 7 ". */
void api_render_because(const struct delivery_view *view, struct buf *to);

#endif
