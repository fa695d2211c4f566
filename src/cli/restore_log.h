/* Writing the segments of a topic into a folder that no server has: what an
 * import or a repair puts there.
 *
 *     init -> put* -> finish -> fini
 *
 * A gap in the numbers begins a new segment, as do the limits of one.
 *
 * Durability: finish() without error.
 *
 * Threads: one. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_RESTORE_LOG_H
#define OPQ_CLI_RESTORE_LOG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "log/index.h"
#include "log/topic_gaps.h"

#include <stdbool.h>
#include <stdint.h>

struct restore_log {
    const char *directory;  /* borrowed: the folder, which is there */
    uint64_t first;         /* of the open segment */
    uint64_t end;           /* number that comes next without a gap */
    uint64_t size;          /* bytes of the open segment, the batch included */
    uint64_t index_size;    /* bytes of its index in the file */
    uint64_t messages;      /* so far */
    uint64_t oldest;        /* number of the first one */
    struct topic_gaps gaps; /* numbers that were left out on the way */
    int fd;                 /* owned; -1: no segment is open */
    int index_fd;           /* owned */
    struct index_builder builder;
    struct buf batch;       /* records to be written */
    struct buf index_batch; /* likewise entries */
};

/* Begin. Borrows: directory. */
void restore_log_init(struct restore_log *log, const char *directory);

/* Append an encoded record; numbers ascend.
 * Errors: ERR_INVALID (the number does not), ERR_FULL, ERR_IO, ERR_NOMEM,
 *         ERR_BUSY (descriptors), ERR_TOO_LARGE (path) */
MUST_CHECK enum err restore_log_put(struct restore_log *log, struct str record);

/* Write and sync what is left, and the names in the folder.
 * Errors: as restore_log_put() */
MUST_CHECK enum err restore_log_finish(struct restore_log *log);

/* Close and free. */
void restore_log_fini(struct restore_log *log);

#endif
