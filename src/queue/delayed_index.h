/* Which delayed messages are due next: as many as there is room for, those due
 * first, however many there are.
 *
 * The index holds every message up to its **horizon**, and none behind it. It
 * grows by loading: between delayed_index_load() and delayed_index_loaded()
 * those up to a limit are added in any order, then that limit is the horizon.
 * When it is full it forgets the later half of what it has, and the horizon, or
 * the limit of the load, comes down with it: what was forgotten is found again
 * by a later load. So its size is bounded, whatever there is.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELAYED_INDEX_H
#define OPQ_QUEUE_DELAYED_INDEX_H

#include <stdbool.h>
#include <stdint.h>

/* A message: first by when it is due, then by its number in its bucket. */
struct delayed_key {
    uint64_t due_ms; /* wall clock, since 1970 */
    uint64_t sequence;
};

struct delayed_index {
    struct delayed_key *keys; /* owned; a heap, the first one first */
    uint32_t count;
    uint32_t capacity;
    uint32_t count_max;
    struct delayed_key horizon; /* all up to this one are in it */
    struct delayed_key limit;   /* while loading: what is to be added */
    bool loading;
};

/* Make an empty index for at most `count_max` messages (2 or more); nothing is
 * allocated until there is one. Its horizon is before the first. */
void delayed_index_init(struct delayed_index *index, uint32_t count_max);

/* Free it. */
void delayed_index_fini(struct delayed_index *index);

/* Order two keys: <0, 0, >0. */
int delayed_index_compare(const struct delayed_key *left,
                          const struct delayed_key *right);

/* Begin to load what lies behind the horizon, up to `limit`. */
void delayed_index_load(struct delayed_index *index,
                        const struct delayed_key *limit);

/* All up to the limit was added: it is the horizon now. */
void delayed_index_loaded(struct delayed_index *index);

/* Give up loading: what was added behind the horizon is forgotten. */
void delayed_index_load_stop(struct delayed_index *index);

/* Add a message that is not in it, if it lies up to the horizon or, while
 * loading, the limit. May forget later ones for it, or itself; a load may be
 * over by that. */
void delayed_index_add(struct delayed_index *index,
                       const struct delayed_key *key);

/* Nothing that is due at `from_ms` or later is known any more: the horizon
 * comes down before it. Not while loading. */
void delayed_index_forget(struct delayed_index *index, uint64_t from_ms);

/* The first message up to the horizon; NULL: none. Borrowed, until the next
 * change. */
const struct delayed_key *
delayed_index_first(const struct delayed_index *index);

/* Take the first message out; there is one. */
void delayed_index_take(struct delayed_index *index);

#endif
