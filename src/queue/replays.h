/* The replays of a shard: how far each is, for good.
 *
 * A replay is a view of a topic, of kind replay; the deliverer delivers it like
 * a subscription. What that does not do is done here: its counts are noted in
 * its settings every few seconds, at a clean stop and at its end, so that a
 * restart knows them; its end is noted, and a day later it is deleted; and a
 * replay of nothing but what became dead letters is told what did.
 *
 *     create -> { attach -> detach }* -> close -> destroy
 *
 * Nothing runs while there is no replay; while all are done, nothing but the
 * timer of the next that is to go.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_REPLAYS_H
#define OPQ_QUEUE_REPLAYS_H

#include "base/err.h"
#include "queue/shard.h"
#include "queue/topic.h"

#include <stdbool.h>
#include <stdint.h>

struct replays;

enum {
    REPLAYS_LOOK_MS = 1000, /* between looks at those that are not done */
    REPLAYS_NOTE_MS = 5000, /* between notes of their counts */
    REPLAYS_KEEP_MS = 24 * 3600 * 1000, /* one that is done */
};

/* What is known of a replay. */
struct replays_counts {
    uint64_t sent;     /* messages, since it began */
    uint64_t given_up; /* those that failed for good, likewise */
};

/* Make it. `finished` is called when a replay is done: it need not be delivered
 * any more. Gives: `*out`, for replays_destroy(). Errors: ERR_NOMEM */
MUST_CHECK enum err replays_create(struct shard *shard,
                                   void (*finished)(struct topic *topic),
                                   struct replays **out);

/* Free it. Accepts NULL. All topics are detached, the store is closed. */
void replays_destroy(struct replays *replays);

/* A view was attached: know it if it is a replay.
 * Borrows: topic, until replays_detach(). Errors: ERR_NOMEM */
MUST_CHECK enum err replays_attach(struct replays *replays,
                                   struct topic *topic);

/* A topic or view goes. Of one that is no replay it does nothing. */
void replays_detach(struct topic *topic);

/* The settings of a replay changed: look at it soon. */
void replays_changed(struct topic *topic);

/* Note all counts, before the store closes; look no more. */
void replays_close(struct replays *replays);

/* What was counted. */
void replays_counts(const struct topic *topic,
                    struct replays_counts *out_counts);

/* The first message at or above `sequence` that became a dead letter, or where
 * what is known ends, which is above it. Returns false when that is not known
 * yet: topic_changed() follows. */
bool replays_next(struct topic *topic, uint64_t sequence, uint64_t *out_next);

#endif
