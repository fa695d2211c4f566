/* The write-ahead journal of a shard: doc/log-format.md, section 6.
 *
 *     open (recovers by callbacks) -> { put* -> commit }* -> close
 *
 * Puts gather entries in memory; a commit writes them as one batch and makes
 * it durable. While an asynchronous commit runs, puts gather the next batch.
 * Files are filled, found free and recycled here; the next one is prepared on
 * the helper thread before it is needed.
 *
 * Failure: see the document. After a failed commit the batch is gone, the file
 * is given up and the next commit begins a fresh one with an ABORT entry. When
 * there is none (all full, or filling one failed), puts give ERR_BUSY or
 * ERR_FULL until a checkpoint frees one.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_JOURNAL_H
#define OPQ_LOG_JOURNAL_H

#include "base/err.h"
#include "base/str.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

enum journal_type {
    JOURNAL_RECORD = 1,
    JOURNAL_TOPIC = 2,
    JOURNAL_DELETE = 3,
    JOURNAL_CURSOR = 4,
    JOURNAL_TRIM = 5,
    JOURNAL_ABORT = 6,
};

enum {
    JOURNAL_ENTRY_HEAD_SIZE = 32,
    JOURNAL_BATCH_ALIGN = 4096,
    JOURNAL_FILES_MAX = 4096, /* so that what a new file begins with is small */
    /* Made whether there is room or not: one to write to, and one for when that
     * is full, while a checkpoint frees it. */
    JOURNAL_FILES_OWED = 2,
};

/* A place between two batches. */
struct journal_place {
    uint64_t generation;
    uint64_t offset; /* bytes */
};

struct journal_options {
    struct io *io;         /* borrowed; NULL: recovery only, no commits */
    const char *directory; /* journal/<shard>; copied */
    uint64_t file_size;    /* bytes of a file, a multiple of 4,096 */
    uint32_t files_max;    /* at most JOURNAL_FILES_MAX are used */
    /* Bytes; at most half of file_size. Rounded down to a multiple of 4,096:
     * what a commit writes is padded. */
    uint64_t batch_size_max;
    /* Tells whether there is room for another file of so many bytes: asked
     * before there are more than JOURNAL_FILES_OWED. NULL: there is. */
    bool (*room)(void *context, uint64_t size);
    void *room_context; /* borrowed */
    /* Where it ended, as who closed it in order tells; generation 0: not known.
     * Nothing is looked for behind it, and all before it was whole. */
    struct journal_place end;
    bool direct;                 /* try O_DIRECT */
    uint32_t sync_inline_max_us; /* a slower mean makes commits asynchronous;
                                    0: all durable ones are */
};

/* What recovery found, entry by entry, in order. */
struct journal_replay {
    /* A whole entry, but ABORT, which the journal heeds itself. `body` ends
     * with up to 7 zeros of padding; of a record it is just the record, whose
     * checksum holds. An error other than ERR_CORRUPT ends recovery and is
     * returned; ERR_CORRUPT counts it as quarantined. */
    enum err (*entry)(void *context,
                      enum journal_type type,
                      uint64_t topic_id,
                      struct str body);
    /* Bytes that are damaged: `topic_id` 0 when not even that is known. */
    void (*damaged)(void *context,
                    uint64_t topic_id,
                    struct journal_place place,
                    uint64_t size);
    /* NULL: nobody asks. */
    void (*progress)(void *context, uint64_t done_bytes, uint64_t all_bytes);
    void *context; /* borrowed during the call */
};

struct journal_stats {
    uint64_t commits;
    uint64_t bytes;      /* written, padding included */
    uint64_t failures;   /* commits that failed */
    uint64_t used_bytes; /* between the last checkpoint and the end */
    uint64_t recovered_entries;
    uint64_t damaged_entries;
    uint64_t
        sync_mean_ns; /* running mean of write and sync of JOURNAL_DURABLE */
    bool direct;      /* O_DIRECT is in use */
};

/* Open the journal in a directory, which is there, replaying what lies behind
 * `from` through `replay`; then ready for puts in a fresh file, unless all are
 * in use: then puts give ERR_BUSY until journal_release(). What was replayed
 * is durable then, and is needed until it is released.
 *
 * Gives:  `*out`, for journal_close().
 * Blocks: on reading files, and on filling the beginning of one.
 * Errors: ERR_FULL, ERR_NOMEM, what `replay->entry` gave
 *         ERR_IO  also when a file cannot be read, which the log names: what
 *                 it holds may have been acknowledged
 */
MUST_CHECK enum err journal_open(const struct journal_options *options,
                                 struct journal_place from,
                                 const struct journal_replay *replay,
                                 struct journal **out);

/* Close. Accepts NULL. No commit is running; puts not committed are dropped.
 * While the helper still prepares a file, it blocks until that lets go of it,
 * and a task of the loop is left that frees the last of it in the next turn.
 *
 * Blocks: while a file is being prepared, some milliseconds
 */
void journal_close(struct journal *journal);

/* Make room in the batch for an entry with a body of `body_size` bytes, to be
 * written in place (8-byte aligned) before the next call. It is part of the
 * batch from now on; journal_put_end() seals it. The bytes stay where they are
 * until committed() of their batch has returned, so that they can be copied
 * from there.
 *
 * Errors: ERR_TOO_LARGE  past batch_size_max
 *         ERR_BUSY       the batch is full: commit first; or no file is free
 *         ERR_FULL       no file is free, and there was no room for another
 */
MUST_CHECK enum err journal_put_begin(struct journal *journal,
                                      enum journal_type type,
                                      uint64_t topic_id,
                                      size_t body_size,
                                      void **out_body);

/* End the entry begun last: its body is written. A record in it is as large as
 * was said. (Place and checksum are set when the batch's place is known.) */
void journal_put_end(struct journal *journal);

/* Forget what was put since the last commit began: after a failed commit,
 * what was gathered behind it fails with it. */
void journal_drop(struct journal *journal);

/* Tell whether a file is ready, so that any batch has a place. */
bool journal_has_file(const struct journal *journal);

/* Tell whether there is something to commit. */
bool journal_pending(const struct journal *journal);

/* Tell whether an asynchronous commit is running. */
bool journal_committing(const struct journal *journal);

enum journal_how {
    JOURNAL_WRITTEN, /* it survives the process, not the machine */
    JOURNAL_DURABLE,
    JOURNAL_DURABLE_BEHIND, /* likewise; the loop has other things to do, and
                               goes on meanwhile however fast the disk is */
};

/* Write the batch and, unless JOURNAL_WRITTEN, make it durable; then call
 * `committed` with the outcome: before the return when commits are fast and the
 * batch is written on the loop, else from the loop later (a failure, too, may
 * take until it is noted on the disk). No commit is running.
 *
 * With JOURNAL_WRITTEN the batch survives the process, not the machine; the
 * next durable commit makes it durable, too. (When that one's sync fails, it is
 * only durable with the next checkpoint.)
 *
 * committed() may put and drop, but not commit.
 *
 * Errors in committed(): ERR_FULL, ERR_IO: nothing of the batch will ever
 *         count, unless the disk also refuses to take note of that and then
 *         the machine stops before any other commit
 */
void journal_commit(struct journal *journal,
                    enum journal_how how,
                    void (*committed)(void *context, enum err err),
                    void *context);

/* The place where the next batch will begin. */
struct journal_place journal_place(const struct journal *journal);

/* Everything before `place` is durable elsewhere: recycle its files. */
void journal_release(struct journal *journal, struct journal_place place);

/* Tell whether a checkpoint is due: half of the journal is in use. */
bool journal_crowded(const struct journal *journal);

/* Figures so far; borrowed, living as long as the journal. */
const struct journal_stats *journal_stats(const struct journal *journal);

#endif
