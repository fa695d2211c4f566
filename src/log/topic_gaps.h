/* Numbers of a topic that no message has, and that is known: an import left
 * them out, or a repair gave them up. The file `gaps` of a topic's folder says
 * them, so that nobody takes them for a loss again (doc/log-format.md, 1).
 *
 * Threads: none; plain functions. Loading and storing block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_GAPS_H
#define OPQ_LOG_TOPIC_GAPS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct topic_gap {
    uint64_t first; /* from here */
    uint64_t end;   /* up to but without this */
};

/* Ascending and apart. Zeroed: none. */
struct topic_gaps {
    struct topic_gap *gaps; /* owned */
    size_t count;
    size_t capacity;
};

/* Read the gaps of a folder; none when there is no such file.
 *
 * Gives:  `*out`, for topic_gaps_fini().
 * Errors: ERR_CORRUPT, ERR_UNSUPPORTED, ERR_IO, ERR_NOMEM, ERR_TOO_LARGE
 */
MUST_CHECK enum err topic_gaps_load(const char *directory,
                                    struct topic_gaps *out);

/* Replace the file in one step, durably.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM, ERR_TOO_LARGE (path) */
MUST_CHECK enum err topic_gaps_store(const char *directory,
                                     const struct topic_gaps *gaps);

/* Add numbers, brought together with those that are there.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err
topic_gaps_add(struct topic_gaps *gaps, uint64_t first, uint64_t end);

/* Tell whether all numbers from `first` up to `end` are in gaps. */
bool topic_gaps_has(const struct topic_gaps *gaps,
                    uint64_t first,
                    uint64_t end);

/* Free it. */
void topic_gaps_fini(struct topic_gaps *gaps);

#endif
