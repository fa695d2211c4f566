/* A file of slots of one size in a shared mapping, given out and taken back.
 *
 * A slot has two copies of what is noted in it, side by side and written in
 * turn, so that a kill in the middle of one leaves the other. The u64 at
 * SLOT_FILE_OWNER_AT of each says whose it is; 0: nobody's.
 *
 *     open -> claim (recovery) -> { take -> (writing to it) -> drop }* -> close
 *
 * The whole of what the file may become is mapped at once; the file grows in
 * steps beneath it, by written zeros, so that no store meets a hole for which
 * the disk has no room. Slots past the file's end are never touched.
 *
 * Durability: against the end of the process alone.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_SLOT_FILE_H
#define OPQ_LOG_SLOT_FILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slot_file;

enum {
    SLOT_FILE_STEP_SIZE = 128 << 10, /* bytes by which the file grows */
    SLOT_FILE_OWNER_AT = 8,
};

#define SLOT_FILE_NONE UINT32_MAX /* no slot */

struct slot_file_options {
    const char *directory; /* borrowed during the call */
    const char *name;      /* likewise */
    size_t copy_size;      /* half of a slot; SLOT_FILE_STEP_SIZE is a multiple
                              of a slot */
    uint32_t slot_max;     /* what a step holds, at least */
};

/* Open the file, made when it is not there.
 *
 * Gives:  `*out`, for slot_file_close().
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err slot_file_open(const struct slot_file_options *options,
                                   struct slot_file **out);

/* Unmap and free. Accepts NULL. */
void slot_file_close(struct slot_file *file);

/* Call `visit` for each slot. Those for which it returns true stay taken; all
 * others are free afterwards, and the file ends behind the last step that has
 * one taken. */
void slot_file_claim(struct slot_file *file,
                     bool (*visit)(void *context, uint32_t slot),
                     void *context);

/* Take a slot; it is empty.
 *
 * Errors: ERR_BUSY  all are taken
 *         ERR_FULL, ERR_IO: the file could not grow; it is as it was
 */
MUST_CHECK enum err slot_file_take(struct slot_file *file, uint32_t *out_slot);

/* A copy, 0 or 1, of a slot that is taken, or is being claimed. */
char *slot_file_copy(const struct slot_file *file, uint32_t slot, int copy);

/* Write to a copy, apart from whatever is written to the other one. */
void slot_file_write(struct slot_file *file,
                     uint32_t slot,
                     int copy,
                     const char *bytes,
                     size_t size);

/* Give a slot back; SLOT_FILE_NONE is accepted. */
void slot_file_drop(struct slot_file *file, uint32_t slot);

#endif
