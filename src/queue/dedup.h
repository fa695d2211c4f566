/* Which messages were pushed lately, by what makes them duplicates: the table
 * of a shard, with a list for each topic.
 *
 *     look -> (new) claim -> settle     the message is durable: remembered
 *                        \-> release    it is not: nothing happened
 *          -> (pending)                 one of the same id is under way
 *          -> (known)                   the first one's number
 *
 * An entry is forgotten a window after its message was pushed, the oldest of a
 * topic first; never before, and at most 128 ms late. Memory is bounded by a
 * number of entries over all topics: at the bound nothing more is claimed, and
 * nothing is forgotten for it.
 *
 * Times are wall clock, since they are compared with those in the log after a
 * restart. A clock that jumps forward forgets sooner by its jump; one that goes
 * back later: what is then in the future counts as pushed now.
 *
 * Memory: 40 bytes an entry (id_table.h). Pure: no I/O, no clock of its own.
 *
 * Threads: none; the shard's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DEDUP_H
#define OPQ_QUEUE_DEDUP_H

#include "base/err.h"
#include "queue/id_table.h"

#include <stdint.h>

struct dedup {
    struct id_table table;
    uint32_t count_max;
    uint64_t base_ms; /* when tick 0 was */
};

/* What a topic has in it, in the order in which it is forgotten. */
struct dedup_list {
    uint32_t oldest;
    uint32_t newest;
    uint32_t count; /* settled ones */
};

enum dedup_state {
    DEDUP_NEW,
    DEDUP_PENDING, /* claimed */
    DEDUP_KNOWN,   /* settled, and within its window */
};

/* Make an empty table for `count_max` entries. */
void dedup_init(struct dedup *dedup, uint32_t count_max, uint64_t now_ms);

/* Free it. */
void dedup_fini(struct dedup *dedup);

/* Make an empty list. */
void dedup_list_init(struct dedup_list *list);

/* Look for a hash. The hash is of the topic and the id.
 * Gives: `*out_value` of one that is pending (what it was claimed with) or
 *        known (what it was settled with). */
enum dedup_state dedup_look(const struct dedup *dedup,
                            const struct siphash *hash,
                            uint64_t now_ms,
                            uint32_t window_ms,
                            uint64_t *out_value);

/* Enter a new hash, pending. For dedup_settle() or dedup_release().
 * Errors: ERR_BUSY (count_max), ERR_NOMEM */
MUST_CHECK enum err dedup_claim(struct dedup *dedup,
                                const struct siphash *hash,
                                uint64_t value,
                                uint32_t *out_index);

/* Remember what was claimed. */
void dedup_settle(struct dedup *dedup,
                  struct dedup_list *list,
                  uint32_t index,
                  uint64_t value,
                  uint64_t at_ms);

/* Forget what was claimed. */
void dedup_release(struct dedup *dedup, uint32_t index);

/* Remember a message read back from the log; not bounded by `count_max`, for
 * the promise was given.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err dedup_add(struct dedup *dedup,
                              struct dedup_list *list,
                              const struct siphash *hash,
                              uint64_t value,
                              uint64_t at_ms);

/* Forget those of a list whose window is over, `count_max` at most. Returns how
 * many. */
uint32_t dedup_forget(struct dedup *dedup,
                      struct dedup_list *list,
                      uint64_t now_ms,
                      uint32_t window_ms,
                      uint32_t count_max);

/* Forget all of a list. */
void dedup_forget_all(struct dedup *dedup, struct dedup_list *list);

#endif
