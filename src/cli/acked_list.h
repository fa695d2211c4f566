/* What is acknowledged above a cursor, ranges and what they have no room for,
 * as one list: read from a data directory, and put into one.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_ACKED_LIST_H
#define OPQ_CLI_ACKED_LIST_H

#include "base/err.h"
#include "log/topic_cursor.h"
#include "log/topic_gaps.h"

#include <stdint.h>

/* Read the list of the cursor of a topic, or of the view of it that has this
 * id. A server may have the directory. `*out` is empty where the cursor's own
 * ranges are all that there is.
 *
 * Gives:  `*out`, for topic_gaps_fini().
 * Blocks: on the disk.
 * Errors: ERR_BUSY (descriptors), ERR_IO, ERR_NOMEM, ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err acked_list_load(const char *directory,
                                    const char *topic,
                                    uint64_t id,
                                    const struct topic_cursor *cursor,
                                    struct topic_gaps *out);

/* Put a list beside the cursor, durably, in the place of what there was for the
 * id. No server has the directory. What is further above the cursor than there
 * is room for is left out, and so delivered again.
 *
 * Blocks: on the disk.
 * Errors: ERR_FULL, ERR_BUSY (descriptors), ERR_IO, ERR_NOMEM, ERR_TOO_LARGE
 *         (path)
 */
MUST_CHECK enum err acked_list_store(const char *directory,
                                     const char *topic,
                                     uint64_t id,
                                     const struct topic_cursor *cursor,
                                     const struct topic_gaps *list);

#endif
