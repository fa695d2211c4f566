/* Memory set aside for records that must not be lost for want of it.
 *
 * What is durable in the journal goes into the tail of its topic, whatever
 * happens: its sequence is given. So that this cannot fail, as much as can be
 * under way at once is set aside here; it is touched, and so becomes memory,
 * only when there is no other. Whoever takes changes takes none while some of
 * it is in use, so it always holds what was taken before.
 *
 *     init -> (take* -> give*)* -> fini
 *
 * Pieces lie behind one another, and all begins anew when the last is given
 * back.
 *
 * Threads: the shard's alone.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TAIL_RESERVE_H
#define OPQ_LOG_TAIL_RESERVE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tail_reserve {
    char *memory;   /* owned */
    size_t size;    /* bytes of it, */
    size_t used;    /* taken from the front */
    uint32_t count; /* pieces that are out */
};

/* Set memory aside.
 *
 * Gives:  `*reserve`, for tail_reserve_fini().
 * Errors: ERR_NOMEM  it is zeroed
 */
MUST_CHECK enum err tail_reserve_init(struct tail_reserve *reserve,
                                      size_t size);

/* Free it. No piece is out. Accepts a zeroed one. */
void tail_reserve_fini(struct tail_reserve *reserve);

/* Take a piece, aligned for any object. NULL: so much is not left.
 * Gives: the piece, for tail_reserve_give(). */
void *tail_reserve_take(struct tail_reserve *reserve, size_t size);

/* Give back a piece. */
void tail_reserve_give(struct tail_reserve *reserve);

/* Tell whether pieces are out. */
bool tail_reserve_used(const struct tail_reserve *reserve);

#endif
