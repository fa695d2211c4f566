/* Records that were read from journals, kept until they are asked for by topic
 * and number: in a file without a name, for they may be as many as the journals
 * hold, and a server uses those again meanwhile.
 *
 *     init -> put* -> sort -> { find, read }* -> fini
 *
 * Threads: one. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_SNAPSHOT_SPOOL_H
#define OPQ_CLI_SNAPSHOT_SPOOL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct snapshot_spool_place {
    uint64_t topic_id;
    uint64_t sequence;
    uint64_t offset; /* in the file */
    uint32_t size;
};

/* Zeroed: empty. */
struct snapshot_spool {
    FILE *file;                          /* owned; NULL: nothing is kept */
    struct snapshot_spool_place *places; /* owned */
    size_t count;
    size_t capacity;
    uint64_t size;     /* bytes of the file */
    struct buf record; /* the one that was read last */
};

/* Keep a record.
 * Errors: ERR_NOMEM, ERR_IO */
MUST_CHECK enum err snapshot_spool_put(struct snapshot_spool *spool,
                                       uint64_t topic_id,
                                       uint64_t sequence,
                                       struct str bytes);

/* Bring all in order: by topic, then by sequence, each once.
 * Errors: ERR_IO */
MUST_CHECK enum err snapshot_spool_sort(struct snapshot_spool *spool);

/* Tell whether a number is missing between two of a topic. Sorted. */
bool snapshot_spool_has_gap(const struct snapshot_spool *spool);

/* The place of the first record of a topic at or past a sequence; it is
 * another topic's, or spool->count, when there is none. */
size_t snapshot_spool_find(const struct snapshot_spool *spool,
                           uint64_t topic_id,
                           uint64_t sequence);

/* Read one. Gives: `*out_bytes`, borrowed until the next call.
 * Errors: ERR_NOMEM, ERR_IO */
MUST_CHECK enum err snapshot_spool_read(struct snapshot_spool *spool,
                                        size_t place,
                                        struct str *out_bytes);

/* Free all of it. */
void snapshot_spool_fini(struct snapshot_spool *spool);

#endif
