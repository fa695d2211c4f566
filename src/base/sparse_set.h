/* A set of numbers, most of which lie near one another: a bit for each of a run
 * of 4,096 in which there is any.
 *
 * Costs: 24 bytes and 512 for each such run; a search of them for each call.
 * Fast for those that are added in ascending order and asked for in order.
 *
 * Threads: none; the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_SPARSE_SET_H
#define OPQ_BASE_SPARSE_SET_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SPARSE_SET_RUN = 4096, /* numbers to a run */
    /* Runs of one set: 8 MiB, 67 million numbers when they lie densely. */
    SPARSE_SET_RUNS_MAX = 16384,
};

struct sparse_set_run {
    uint64_t number; /* the first of it, divided by SPARSE_SET_RUN */
    uint32_t count;  /* of bits that are set, at least 1 */
    uint64_t *bits;  /* owned */
};

/* Zeroed: empty. */
struct sparse_set {
    struct sparse_set_run *runs; /* owned; ascending; NULL: never any */
    uint32_t run_count;
    uint32_t run_room;
    uint64_t count; /* numbers in the set */
};

/* Free it; it is empty then. */
void sparse_set_fini(struct sparse_set *set);

/* Put a number in, which may be there.
 * Errors: ERR_NOMEM
 *         ERR_FULL   it is in a run of its own, and there are
 *                    SPARSE_SET_RUNS_MAX */
MUST_CHECK enum err sparse_set_add(struct sparse_set *set, uint64_t number);

/* Take a number out, which need not be there. */
void sparse_set_remove(struct sparse_set *set, uint64_t number);

/* Take out all below `end`. */
void sparse_set_remove_below(struct sparse_set *set, uint64_t end);

/* Tell whether a number is in the set. */
bool sparse_set_has(const struct sparse_set *set, uint64_t number);

/* The lowest number of the set at or above `from`; UINT64_MAX: none. */
uint64_t sparse_set_next(const struct sparse_set *set, uint64_t from);

/* The lowest number at or above `from` that is not in the set. */
uint64_t sparse_set_next_absent(const struct sparse_set *set, uint64_t from);

#endif
