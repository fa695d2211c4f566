/* Which segments a topic's folder has, by the names of its files.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_FOLDER_H
#define OPQ_LOG_TOPIC_FOLDER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers of files, ascending. */
struct topic_folder {
    uint64_t *firsts;  /* owned: of .msg files */
    size_t count;      /* of them */
    uint64_t *indexes; /* owned: of .idx files */
    size_t index_count;
    bool plain; /* it has neither a folder of views nor one of bodies */
};

/* List a folder. Names of other kinds are passed over.
 *
 * Gives:  `*out_folder`, for topic_folder_fini().
 * Errors: ERR_NOT_FOUND  there is no folder
 *         ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err topic_folder_list(const char *directory,
                                      struct topic_folder *out_folder);

/* Free its memory. Accepts a zeroed one. */
void topic_folder_fini(struct topic_folder *folder);

/* Tell whether a segment has an index file. */
bool topic_folder_has_index(const struct topic_folder *folder, uint64_t first);

#endif
