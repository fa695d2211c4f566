/* Which messages of a topic are meant: by number and by time.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_DATA_RANGE_H
#define OPQ_CLI_DATA_RANGE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct data_range {
    uint64_t first;    /* sequence numbers from here */
    uint64_t end;      /* up to but without this, */
    uint64_t since_ms; /* pushed at this time */
    uint64_t until_ms; /* or before this, but not at it */
};

/* As they are given on a command line; NULL: not given. */
struct data_range_texts {
    const char *from;
    const char *to; /* the last one */
    const char *since;
    const char *until;
};

/* Read a range.
 *
 * Gives:  `*out_range`; after an error `*out_wrong` is what is wrong, static.
 * Errors: ERR_INVALID
 */
MUST_CHECK enum err data_range_read(const struct data_range_texts *texts,
                                    struct data_range *out_range,
                                    const char **out_wrong);

/* Tell whether a message is in it. */
bool data_range_has(const struct data_range *range,
                    uint64_t sequence,
                    uint64_t pushed_at_ms);

#endif
