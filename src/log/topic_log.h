/* The messages of one topic: a row of segments on disk and, behind their end,
 * a tail in memory of what is in the journal but not yet in a segment.
 *
 *     segments [oldest ... | open segment) flushing [chunks) tail [chunks) end
 *
 * Appending copies into the tail. A flush takes the tail's chunks away from the
 * loop, writes them to the segments on the helper thread, and gives them back
 * to be freed; until then they stay readable. See doc/log-format.md, 3 to 5.
 *
 * Files are opened when needed and closed when idle (topic_log_close_files), so
 * that idle topics cost neither descriptors nor memory to speak of.
 *
 *   open -> append* (replay) -> recovered -> { append | find | flush | trim }*
 *
 * What lies on disk behind the end that `cmd` names is kept until the first
 * append of the replay shows from where on the journal brings it again (there
 * it is cut); what is whole of it before that is taken.
 *
 * Threads: the loop's of the shard, but topic_flush_run(), which runs on the
 * helper and touches only the flush.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_LOG_H
#define OPQ_LOG_TOPIC_LOG_H

#include "base/err.h"
#include "base/str.h"
#include "log/topic_state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct topic_log;
struct topic_flush;

/* What an index entry can say: offset / 8 and relative sequence in 32 bits. */
#define TOPIC_SEGMENT_SIZE_MAX (UINT64_C(1) << 35)
#define TOPIC_SEGMENT_COUNT_MAX (UINT64_C(1) << 32)

struct topic_log_options {
    const char *directory; /* topics/<topic>; copied */
    uint64_t topic_id;
    uint64_t checkpoint; /* the last complete one: what cmd and dlv may say */
    bool fresh;          /* a new topic: the disk is not looked at, since its
                            folder is not there or still a deleted topic's */
    /* A segment ends before a record that would take it past these; a larger
     * record gets a segment of its own. 1 to TOPIC_SEGMENT_..._MAX. */
    uint64_t segment_size_max;    /* bytes */
    uint64_t segment_count_max;   /* messages */
    struct tail_reserve *reserve; /* borrowed, as long as it is open: memory
                                     for records when there is no other; NULL */
    bool direct; /* write past the page cache where that is possible */
    bool view;   /* no messages, only a cursor: of the folder only `dlv` is
                    read and written. Of what follows it knows figures, which
                    stay 0, recovered, and flushes with a cursor */
    /* Borrowed during the call: of topic_log_note(), when nobody was at the
     * files since: they are not read. Empty: they are. */
    struct str note;
};

struct topic_log_stats {
    uint64_t oldest;       /* first sequence kept */
    uint64_t end;          /* next sequence */
    uint64_t flushed;      /* first sequence that is not in a segment */
    uint64_t disk_bytes;   /* of segments */
    uint64_t memory_bytes; /* of tail and flushing chunks */
    uint64_t quarantined;  /* damaged or lost records met so far */
    uint32_t segment_count;
    uint32_t files_open; /* descriptors */
    /* `cmd` or `dlv` hold a state of a checkpoint that never was complete: the
     * topic takes part in the next one, changed or not, lest that one makes
     * the stale state look complete. */
    bool state_stale;
    bool plain; /* its folder was listed when it was opened, and had none of
                   views and none of bodies */
};

/* Sequences that are known to be lost. */
struct topic_lost {
    uint64_t first;
    uint64_t end; /* one past the last */
};

/* Open the log of a topic. The folder need not be there: then it is empty, and
 * made by the first flush. Applies section 9, step 2.
 *
 * Gives:  `*out`, for topic_log_close(); `*out_cursor`, from `dlv` or else at
 *         the oldest; or both from the note.
 * Blocks: on the disk.
 * Errors: ERR_INVALID  segment sizes out of their bounds, or no such note
 *         ERR_TOO_LARGE  the directory's path
 *         ERR_BUSY (descriptors), ERR_FULL, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err topic_log_open(const struct topic_log_options *options,
                                   struct topic_log **out,
                                   struct topic_cursor *out_cursor);

/* Append what opening it would find, for a process that goes on in this one's
 * place; `cursor` is what `dlv` says. Does nothing when that is not all there
 * is to know: messages are in memory, something waits for a sync, or files for
 * their removal.
 * Borrows: cursor, during the call. Returns whether it did. */
bool topic_log_note(const struct topic_log *log,
                    uint64_t checkpoint,
                    const struct topic_cursor *cursor,
                    struct buf *to);

/* Free it and close its files; what was not flushed is dropped. Accepts NULL.
 * No flush is running. */
void topic_log_close(struct topic_log *log);

/* Figures; borrowed, living as long as the log. */
const struct topic_log_stats *topic_log_stats(const struct topic_log *log);

/* The ranges of sequences that were found to be lost since it was opened, the
 * highest of them if there are many: ascending, none touching another.
 * Borrowed until the next call that may find more. */
const struct topic_lost *topic_log_lost(const struct topic_log *log,
                                        uint32_t *out_count);

/* Append an encoded record, copied. Its sequence is the end, or above it when
 * recovery knows that those between are lost (they count as quarantined).
 * Below the end nothing is done: replay may bring what is there already; give
 * it all that the journal has, for its first record decides what happens to
 * bytes behind `cmd`.
 *
 * Blocks: the first one of a replay may cut files.
 * Errors: ERR_NOMEM
 *         ERR_IO, ERR_BUSY, ERR_FULL  the first one of a replay only
 */
MUST_CHECK enum err topic_log_append(struct topic_log *log, struct str record);

/* Replay is over; call it once for each topic that was opened by recovery,
 * before anything but append. What lies on disk behind the end and did not
 * come again from the journal is taken as far as it is whole.
 *
 * Blocks: on reading that.
 * Errors: ERR_IO, ERR_BUSY (descriptors), ERR_FULL, ERR_NOMEM
 */
MUST_CHECK enum err topic_log_recovered(struct topic_log *log);

/* Say that sequences below `end` were given (a cursor in the journal is past
 * them): those at or past the present end are lost and count as quarantined;
 * they are never given again. Does nothing when the end is there already. */
void topic_log_set_end(struct topic_log *log, uint64_t end);

/* --- flush ---------------------------------------------------------------- */

/* Take what is in the tail for writing. With `cursor`, `cmd` and `dlv` are
 * written too, for checkpoint number `checkpoint`: into the slot that is not in
 * force, which is the one with the highest number below `checkpoint`. The same
 * number comes again after a checkpoint that failed; all topics that took part
 * in that one then take part again. One flush at a time.
 *
 * Borrows: cursor, during the call.
 * Gives:   `*out`, for topic_flush_end().
 * Errors:  ERR_NOT_FOUND  nothing to write (and no `cursor` given)
 *          ERR_BUSY       one is running
 *          ERR_NOMEM
 */
MUST_CHECK enum err topic_flush_begin(struct topic_log *log,
                                      uint64_t checkpoint,
                                      const struct topic_cursor *cursor,
                                      struct topic_flush **out);

/* Write it: makes folder and files, rolls segments, extends indexes, writes
 * `cmd` and `dlv`. Syncs nothing. What failed can be run again: it goes on
 * where it stopped.
 *
 * Threads: the helper's.
 * Errors:  ERR_FULL, ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM
 */
MUST_CHECK enum err topic_flush_run(struct topic_flush *flush);

/* Make what it and earlier flushes of the topic wrote durable, file by file,
 * and the folder's names.
 *
 * Threads: the helper's, after a run without error.
 * Errors:  ERR_FULL, ERR_IO: fatal, see doc/log-format.md, 8
 *          ERR_BUSY (descriptors): not synced, may be tried again
 */
MUST_CHECK enum err topic_flush_sync(struct topic_flush *flush);

/* Note that syncfs did, after the run, what topic_flush_sync() would do: files
 * kept open only to be synced are closed.
 * Threads: the helper's, after a run without error. */
void topic_flush_synced(struct topic_flush *flush);

/* Give it back: after a good run the chunks are freed and the segments known
 * to the loop; after a bad one (`outcome` not ERR_OK) the chunks that were not
 * wholly written are in front of the tail again. */
void topic_flush_end(struct topic_log *log,
                     struct topic_flush *flush,
                     enum err outcome);

/* --- read ----------------------------------------------------------------- */

/* Where the bytes of some records are. */
struct topic_place {
    struct str memory; /* records in a row, the one asked for first; borrowed
                          until the next flush ends, trim or append */
    int fd;            /* when memory is empty: the segment's file, borrowed
                          until topic_log_close_files() or a trim, see also
                          topic_log_hold(); */
    uint64_t offset;   /* where in it to read from (a record's start at or
                          before the one asked for), */
    uint64_t size;     /* and how much there is to the segment's end */
    uint64_t first;    /* sequence at `offset`, or of memory's first record */
    bool damaged_skip; /* the place lies behind records that are lost: `first`
                          is past the sequence asked for */
};

/* Find a record. `*out_place` begins with it (memory), or at the index entry
 * before it (file), from where records are read one by one. When it is known
 * to be lost, the place is that of the next one, and `damaged_skip` is set.
 * When reading a file's place to its end does not meet the sequence, or what
 * is there fails its check, topic_log_skip() tells where to go on.
 *
 * Blocks: on opening a file and on pages of its index, seldom; on rebuilding
 *         an index that is missing.
 * Errors: ERR_RANGE      before the oldest
 *         ERR_NOT_FOUND  at or past the end
 *         ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM
 */
MUST_CHECK enum err topic_log_find(struct topic_log *log,
                                   uint64_t sequence,
                                   struct topic_place *out_place);

/* Note that `sequence` is damaged on disk (its bytes were read and failed) and
 * find the next place where a record is whole: behind it, at an index entry,
 * in the next segment, or in memory; the place's `first` says which sequence
 * that is, and the place begins with it. Everything from `sequence` up to it
 * counts as quarantined, once. When the index was wrong and not the record,
 * the index is mended and `first` is `sequence` itself: read it again.
 *
 * Blocks: on reading the neighbourhood.
 * Errors: as topic_log_find(); ERR_NOT_FOUND: none follows yet
 */
MUST_CHECK enum err topic_log_skip(struct topic_log *log,
                                   uint64_t sequence,
                                   struct topic_place *out_place);

/* The first sequence pushed at or after a time; the end when there is none.
 * Blocks: as topic_log_find().
 * Errors: ERR_IO, ERR_BUSY, ERR_NOMEM */
MUST_CHECK enum err topic_log_find_time(struct topic_log *log,
                                        uint64_t at_ms,
                                        uint64_t *out_sequence);

/* Keep the descriptors of places open, whatever is trimmed or closed, while a
 * read that runs elsewhere uses them. Counts; undone by topic_log_release(). */
void topic_log_hold(struct topic_log *log);

/* Undo one topic_log_hold(). */
void topic_log_release(struct topic_log *log);

/* --- retention ------------------------------------------------------------ */

struct topic_trim {
    uint64_t before;    /* purge: everything below goes, delivered or not */
    uint64_t delivered; /* nothing at or past it goes for the limits below */
    uint64_t now_ms;    /* wall clock */
    /* Limits; 0: none. A segment goes when its newest message is older than
     * `age_ms`, or when what follows it is `bytes_max` or `count_max` still. */
    uint64_t age_ms;
    uint64_t bytes_max;
    uint64_t count_max;
};

/* Drop whole segments by the limits, and everything below `before` (clamped to
 * the end) from what is readable; `*out_oldest` is the new oldest sequence.
 * Removing files is left to who calls topic_log_take_dropped(). The segment
 * that a running flush appends to stays until a later trim.
 *
 * Blocks: with `age_ms`, on reading the index of the oldest segment, once.
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum err topic_log_trim(struct topic_log *log,
                                   const struct topic_trim *trim,
                                   uint64_t *out_oldest);

/* Set the oldest sequence, as the journal says (recovery). Segments wholly
 * below it are dropped; past the end, the end goes along. */
void topic_log_set_oldest(struct topic_log *log, uint64_t oldest);

/* Take the paths of files that were dropped, for removal on the helper in the
 * order given: a row of terminated strings, ended by an empty one. NULL when
 * there are none (or no memory: they stay for the next call). No name in it is
 * ever used again. Gives: memory, for free(). */
char *topic_log_take_dropped(struct topic_log *log);

/* Close files that are open only for speed: not those that wait for a sync,
 * and none while held. No flush is running. */
void topic_log_close_files(struct topic_log *log);

#endif
