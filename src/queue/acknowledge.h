/* Acknowledged messages and a cursor: what it is with them.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ACKNOWLEDGE_H
#define OPQ_QUEUE_ACKNOWLEDGE_H

#include "base/err.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum { ACKNOWLEDGE_MAX = 1024 }; /* ranges at once */

/* Add ranges, at most ACKNOWLEDGE_MAX in any order, to those of a cursor. What
 * it fails to hold is ERR_FULL, or, with `cut`, left out: the ranges farthest
 * from the floor.
 *
 * Gives:  `*out_cursor`, which borrows `ranges`.
 * Errors: ERR_FULL  more than CURSOR_RANGES_MAX would be above the cursor
 */
MUST_CHECK enum err acknowledge(const struct store_cursor *cursor,
                                const struct store_range *added,
                                uint32_t added_count,
                                bool cut,
                                struct store_range ranges[CURSOR_RANGES_MAX],
                                struct store_cursor *out_cursor);

#endif
