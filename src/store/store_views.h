/* Views of the local store's topics, and how both are configured: what the
 * other parts of the local store ask of store_views.c.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_VIEWS_H
#define OPQ_STORE_STORE_VIEWS_H

#include "base/err.h"
#include "base/str.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct local_topic;
struct undo;

/* Let the views of a topic have its bounds. */
void store_views_mirror(struct local_topic *topic);

/* The topic's end moved: let its watches, and those of its views, be told. */
void store_views_moved(struct local_topic *topic);

/* The lowest sequence that the topic itself or a view that holds has not
 * delivered, moves that are not committed left aside. */
uint64_t store_views_delivered(const struct local_topic *topic);

/* Bring the cursors of a topic and its views up to the oldest message. */
void store_views_clamp(struct local_topic *topic);

/* Make undos of the views that a purge moves, of the purge's.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err
store_views_undo(struct local_topic *topic, uint64_t before, struct undo *undo);

/* The purge is pending: so are they. */
void store_views_purge(struct undo *undo);

/* The purge is durable: settle and free them. */
void store_views_purged(struct undo *undo);

/* The purge failed; the topic has its bounds again. Free them. */
void store_views_unpurged(struct undo *undo);

/* It was not even pending: free them. */
void store_views_drop(struct undo *undo);

/* Take up the views that a topic's folder has.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err store_views_found(struct local_topic *topic);

/* Operations of struct store_ops. */
void store_topics_configure(struct store_topic *base,
                            struct str settings,
                            const struct store_retention *retention,
                            struct store_op *op);
/* Likewise. */
MUST_CHECK enum err store_views_open(struct store_topic *base,
                                     struct str name,
                                     bool create,
                                     struct store_topic **out);
/* Likewise. */
void store_views_each(struct store_topic *base,
                      void (*visit)(void *context, struct store_topic *view),
                      void *context);
/* Likewise. */
void store_views_hold(struct store_topic *base, bool hold, struct store_op *op);

#endif
