/* What is noted of a bucket of delayed messages: which ones were handed on, and
 * which were cancelled.
 *
 * A note is the body of a message in the bucket's log (doc/log-format.md, 12).
 * The reader checks everything and trusts nothing.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELAYED_NOTE_H
#define OPQ_QUEUE_DELAYED_NOTE_H

#include "base/err.h"
#include "base/str.h"
#include "store/store.h"

#include <stddef.h>
#include <stdint.h>

enum {
    DELAYED_NOTE_COUNT_MAX = 1024, /* ranges of a note */
    DELAYED_NOTE_HEAD_SIZE = 8,
    DELAYED_NOTE_RANGE_SIZE = 16,
    DELAYED_NOTE_SIZE_MAX = DELAYED_NOTE_HEAD_SIZE +
                            DELAYED_NOTE_COUNT_MAX * DELAYED_NOTE_RANGE_SIZE,
};

enum delayed_note_kind {
    DELAYED_NOTE_HANDED = 1, /* on to their topics */
    DELAYED_NOTE_CANCELLED = 2,
};

/* A note, read. */
struct delayed_note {
    enum delayed_note_kind kind;
    uint32_t count;    /* of ranges: 1 to DELAYED_NOTE_COUNT_MAX */
    struct str ranges; /* borrowed: their bytes */
};

/* The type of the message that holds a note. */
#define DELAYED_NOTE_TYPE STR("application/vnd.opq.delayed")

/* Write a note of `count` sequence numbers (1 to DELAYED_NOTE_COUNT_MAX, each
 * once, sorted by this call) at `to`, which has room for DELAYED_NOTE_SIZE_MAX
 * bytes; returns how many it has. */
size_t delayed_note_write(enum delayed_note_kind kind,
                          uint64_t *sequences,
                          uint32_t count,
                          char *to);

/* Read a note.
 * Borrows: bytes, as long as `*out_note` is used.
 * Errors:  ERR_CORRUPT  it is none: size, version, kind, or a range that is
 *                       empty or not behind the one before
 */
MUST_CHECK enum err delayed_note_read(struct str bytes,
                                      struct delayed_note *out_note);

/* A range of a note that was read; `index` is below its count. */
struct store_range delayed_note_range(const struct delayed_note *note,
                                      uint32_t index);

#endif
