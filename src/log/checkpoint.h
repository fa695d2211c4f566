/* Where replay of a shard's journal begins: doc/log-format.md, section 8.
 *
 * Two slots, written in turn, each within one sector of a file that was filled
 * beforehand: writing needs no room and never harms the one in force.
 *
 * Durability: checkpoint_write() without error is durable.
 *
 * Threads: none; one at a time for a directory.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_CHECKPOINT_H
#define OPQ_LOG_CHECKPOINT_H

#include "base/err.h"

#include <stdint.h>

/* A complete checkpoint: everything before this place of the journal is in the
 * topics, durably. */
struct checkpoint {
    uint64_t number;     /* 0: there is none */
    uint64_t generation; /* of the journal's file */
    uint64_t offset;     /* bytes, in that file */
};

/* Read the checkpoint in force in journal/<shard>; all zero when there is no
 * file or nothing whole in it.
 *
 * Errors: ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err checkpoint_load(const char *directory,
                                    struct checkpoint *out_checkpoint);

/* Put a checkpoint in force, durably; makes the file when it is not there. Its
 * number is higher than any before, or it is the one that failed last time,
 * again.
 *
 * Errors: ERR_FULL, ERR_IO: the one before is in force, or this one; write it
 *         again before anything that needs to know
 */
MUST_CHECK enum err checkpoint_write(const char *directory,
                                     const struct checkpoint *checkpoint);

#endif
