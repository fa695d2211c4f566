/* One file of records in sequence: doc/log-format.md, section 3.
 *
 *     create -> append* -> (sealed) -> read* -> removed
 *
 * A segment has no state in memory here: whoever owns it keeps its descriptor
 * and its size. This module knows its bytes: the head, the head of a record,
 * and how to walk from record to record, over damage too.
 *
 * Durability: none of its own; the caller syncs.
 *
 * Threads: any; one at a time for a walk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_SEGMENT_H
#define OPQ_LOG_SEGMENT_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SEGMENT_HEAD_SIZE = 64,
    SEGMENT_NAME_MAX = 32, /* of a file of a segment, its NUL included */
};

/* The head of a record, checked for sense but not by its checksum. */
struct segment_record {
    uint64_t sequence;
    uint64_t pushed_at_ms;
    uint64_t beside; /* bytes of a body that lies beside; 0: none does */
    uint32_t size;   /* header, payload and padding */
    uint32_t payload_size;
    uint32_t crc;
};

/* Write "<first>.msg" or, with `index`, "<first>.idx" to `name`. */
void segment_name(char name[SEGMENT_NAME_MAX], uint64_t first, bool index);

/* Tell whether a name is that of a .msg (or .idx) file, in the one form that
 * segment_name() gives it.
 *
 * Gives: `*out_first`. */
bool segment_name_parse(const char *name, bool index, uint64_t *out_first);

/* The path of a segment's file, to `path` of DIR_PATH_MAX bytes.
 * Errors: ERR_TOO_LARGE */
MUST_CHECK enum err
segment_path(char *path, const char *directory, uint64_t first, bool index);

/* Make an empty segment with its head; one of that name is emptied.
 *
 * Gives:  `*out_fd`, for file_close().
 * Errors: ERR_BUSY (descriptors), ERR_FULL, ERR_IO, ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err segment_create(const char *directory,
                                   uint64_t first,
                                   uint64_t created_ms,
                                   int *out_fd);

/* Open a segment and check its head.
 *
 * Gives:  `*out_fd`, for file_close(), and its size on disk.
 * Errors: ERR_NOT_FOUND
 *         ERR_CORRUPT  the head is damaged or another segment's
 *         ERR_BUSY (descriptors), ERR_IO, ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err segment_open(const char *directory,
                                 uint64_t first,
                                 bool writable,
                                 int *out_fd,
                                 uint64_t *out_size);

/* Read the head of a record.
 *
 * Errors: ERR_AGAIN    fewer bytes than a head
 *         ERR_CORRUPT  no record begins here
 */
MUST_CHECK enum err segment_record_head(struct str bytes,
                                        struct segment_record *out_record);

/* Check a record that lies wholly in `bytes`: checksum and padding. */
bool segment_record_whole(struct str bytes,
                          const struct segment_record *record);

/* --- walk ----------------------------------------------------------------- */

/* A walk over the records of a file. */
struct segment_walk {
    int fd;            /* borrowed */
    uint64_t offset;   /* of the record that the next step looks at */
    uint64_t end;      /* of the bytes to walk over */
    uint64_t sequence; /* that it must have */
    char *block;       /* owned: bytes of the file, */
    size_t block_capacity;
    size_t block_size;
    uint64_t block_offset; /* from here on */
};

/* A record met by a walk. */
struct segment_step {
    struct segment_record record;
    uint64_t offset;
    struct str bytes; /* borrowed until the walk's next call */
};

/* Begin a walk at a record's start that holds `sequence`.
 * Borrows: fd, until segment_walk_fini(). */
void segment_walk_init(struct segment_walk *walk,
                       int fd,
                       uint64_t offset,
                       uint64_t end,
                       uint64_t sequence);

/* Free its memory. */
void segment_walk_fini(struct segment_walk *walk);

/* Step over the next record, which is whole and next in sequence.
 *
 * Errors: ERR_NOT_FOUND  at the end
 *         ERR_CORRUPT    what is here is not that; the walk stays
 *         ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err segment_walk_next(struct segment_walk *walk,
                                      struct segment_step *out_step);

/* Where a search over damage may land. */
struct segment_landing {
    uint64_t limit;    /* stop before this offset */
    uint64_t sequence; /* that the record at `limit` has, or the end; */
    bool exact;        /* known: records found must lead exactly there */
};

/* From damage, move the walk to the next record that is whole: the one that
 * the damaged record's own size leads to, or else the first that is found
 * byte by byte. With `landing->exact`, only one from which whole records lead
 * to `landing->limit` counts, so that bytes in a payload that look like a
 * record are never taken for one.
 *
 * Errors: ERR_NOT_FOUND  none before the limit; the walk stays
 *         ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err segment_walk_resync(struct segment_walk *walk,
                                        const struct segment_landing *landing);

#endif
