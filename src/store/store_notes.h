/* What a shard knows of its topics at rest, left to the process that goes on in
 * this one's place, which so need not look into their folders.
 *
 *     "version" u32, then of each topic, its views behind it:
 *
 *     { u32 sizes of conf and log, u64 id, u32 flags, u32 views, conf, log }
 *
 * `conf` is the body of a TOPIC entry of the journal, `log` a note of
 * log/topic_log.h. A topic is at rest when it did not change since the last
 * checkpoint and nothing of it waits for anything, views included. All others
 * are looked for on disk as at any start.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_NOTES_H
#define OPQ_STORE_STORE_NOTES_H

#include "store/store_local_internal.h"

enum {
    STORE_NOTES_VERSION = 1,
    /* Bytes of a shard's notes; topics past it are looked for on disk. */
    STORE_NOTES_MAX = 64 << 20,
};

/* Write the notes of a store that is about to end in order, as the last thing.
 * There are none, or some, without memory. */
void store_notes_write(const struct local_store *store, struct buf *to);

/* Make the topics that the process before has notes of, when they can be
 * believed: see struct store_local_end. Before folders are looked at. What is
 * not in order is passed over, with all that follows.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err store_notes_read(struct local_store *store);

#endif
