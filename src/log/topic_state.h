/* `cmd` and `dlv`, the state of a topic as of a checkpoint: doc/log-format.md,
 * section 5.
 *
 * Each file has two slots. The one in force is the valid one with the highest
 * number that is not above the last complete checkpoint; writing goes to the
 * other, so that a checkpoint that is never completed harms nothing.
 *
 * Durability: topic_state_sync().
 *
 * Threads: any; one at a time for a directory.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_STATE_H
#define OPQ_LOG_TOPIC_STATE_H

#include "base/err.h"
#include "log/topic_cursor.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    TOPIC_STATE_SLOTS = 2,
    TOPIC_STATE_SLOT_SIZE = 4096,
};

/* `cmd`. */
struct topic_state_cmd {
    uint64_t end;         /* next sequence */
    uint64_t oldest;      /* first sequence kept */
    uint64_t open_first;  /* N of the open segment, */
    uint64_t open_size;   /* and its bytes; 0: none is open, the next record
                             begins one */
    uint64_t quarantined; /* records */
};

/* What the slots of one file hold. */
struct topic_state_slots {
    /* The checkpoint of each; 0: empty, damaged or another topic's. */
    uint64_t numbers[TOPIC_STATE_SLOTS];
    bool damaged[TOPIC_STATE_SLOTS]; /* bytes are there, but not whole */
};

/* Which topic's, and which checkpoint is complete. */
struct topic_state_key {
    const char *directory; /* borrowed */
    uint64_t topic_id;     /* 0: any (for tools) */
    uint64_t checkpoint;   /* the last complete one */
};

/* Read `cmd`. `*out_slots` is set also with ERR_NOT_FOUND.
 *
 * Errors: ERR_NOT_FOUND  no slot is in force
 *         ERR_IO, ERR_BUSY (descriptors), ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err topic_state_load_cmd(const struct topic_state_key *key,
                                         struct topic_state_slots *out_slots,
                                         struct topic_state_cmd *out_cmd);

/* Read `dlv`; as topic_state_load_cmd(). */
MUST_CHECK enum err topic_state_load_dlv(const struct topic_state_key *key,
                                         struct topic_state_slots *out_slots,
                                         struct topic_cursor *out_cursor);

/* Tell whether a slot belongs to a checkpoint that is not complete. */
bool topic_state_stale(const struct topic_state_slots *slots,
                       uint64_t checkpoint);

/* Write `cmd` for checkpoint `key->checkpoint` + 1 into a slot that is not in
 * force, and empty the other one if it is stale.
 *
 * Gives:  `*slots`, which is what the file holds, brought up to date, also by
 *         a failure.
 * Errors: ERR_FULL, ERR_IO, ERR_BUSY (descriptors), ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err topic_state_store_cmd(const struct topic_state_key *key,
                                          const struct topic_state_cmd *cmd,
                                          struct topic_state_slots *slots);

/* Write `dlv`; as topic_state_store_cmd(). */
MUST_CHECK enum err topic_state_store_dlv(const struct topic_state_key *key,
                                          const struct topic_cursor *cursor,
                                          struct topic_state_slots *slots);

/* Make both files durable, or only `dlv`, not their names.
 * Errors: ERR_FULL, ERR_IO, ERR_BUSY (descriptors), ERR_TOO_LARGE (path) */
MUST_CHECK enum err topic_state_sync(const char *directory, bool with_cmd);

#endif
