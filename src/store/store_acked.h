/* Which messages above a cursor are done, beyond what its ranges say: what the
 * parts of the local store share of store_acked.c.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_ACKED_H
#define OPQ_STORE_STORE_ACKED_H

#include "store/store_local_internal.h"

enum {
    /* Topics and views of a shard that have such a file at a time: each is a
     * mapping, of which a process may have some tens of thousands. */
    STORE_ACKED_MAX = 4096,
};

/* Take up the files of this shard's topics and views, whose cursors are known,
 * and remove those that nobody needs.
 * Blocks: on the disk. Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum err store_acked_recover(struct local_store *store);

/* One past the highest message that is noted: its number was given. */
uint64_t store_acked_end(const struct local_topic *topic);

/* A move is durable, or undone. */
void store_acked_moved(struct local_topic *topic);

/* Give the file back when the cursor has passed all that it has: at
 * checkpoints, since a topic that had one soon has one again. */
void store_acked_spare(struct local_topic *topic);

/* The topic or view is gone: remove its file. */
void store_acked_gone(struct local_topic *topic);

/* Let go of the file, which stays. */
void store_acked_close(struct local_topic *topic);

/* Operations of struct store_ops. */
enum store_acked
store_acked_note(struct store_topic *base, uint64_t first, uint64_t end);
/* Likewise. */
bool store_acked_find(struct store_topic *base,
                      uint64_t from,
                      struct store_range *out);

#endif
