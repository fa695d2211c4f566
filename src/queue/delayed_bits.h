/* A set of sequence numbers, a bit each, in memory only where there are any.
 *
 * Of a bucket of delayed messages: those that were handed on, and those that
 * were cancelled. Costs 8 bytes for each DELAYED_BITS_CHUNK numbers up to the
 * largest in the set, and a bit for each of those around one that is in it.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELAYED_BITS_H
#define OPQ_QUEUE_DELAYED_BITS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DELAYED_BITS_CHUNK = 1 << 15 }; /* numbers: 4 KiB of bits */

/* Zeroed, it is empty. */
struct delayed_bits {
    uint64_t **chunks;  /* owned, each of them, too; NULL: none in it */
    size_t chunk_count; /* that there is room for */
    uint64_t count;     /* numbers in the set */
};

/* Free it; it is empty then. */
void delayed_bits_fini(struct delayed_bits *bits);

/* Put a number in; nothing happens when it is there.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err delayed_bits_set(struct delayed_bits *bits,
                                     uint64_t sequence);

/* Take a number out; nothing happens when it is not there. */
void delayed_bits_clear(struct delayed_bits *bits, uint64_t sequence);

/* Tell whether a number is in the set. */
bool delayed_bits_has(const struct delayed_bits *bits, uint64_t sequence);

/* The lowest number in the set at or above `from` and below `end`; `end`: there
 * is none. */
uint64_t
delayed_bits_next(const struct delayed_bits *bits, uint64_t from, uint64_t end);

/* Take all numbers below `before` out, and free what held them. */
void delayed_bits_drop(struct delayed_bits *bits, uint64_t before);

#endif
