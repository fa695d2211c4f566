/* The inside of topic_log.h: what a topic's log and its flush are made of, and
 * what the files that make it up together ask of each other.
 *
 *     topic_log      open, append, files    topic_log_find   reading
 *     topic_log_recover  opening, replay    topic_log_trim   retention
 *     topic_flush    writing, on the helper
 *     topic_log_note     opening without a look
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_LOG_INTERNAL_H
#define OPQ_LOG_TOPIC_LOG_INTERNAL_H

#include "base/list.h"
#include "log/topic_log.h"
#include "log/topic_segment.h"
#include "log/topic_state.h"
#include "log/topic_tail.h"
#include "log/topic_writer.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* Ranges of lost sequences that are remembered, so that they count once.
     * Past it the lowest is forgotten, and would count again. */
    TOPIC_LOST_MAX = 64,
};

/* Files behind the end that `cmd` names, until replay decides. */
struct topic_rest {
    bool behind_last;  /* bytes behind the last segment's size */
    bool walked;       /* without cmd: even the segments may be cut */
    uint32_t count;    /* segments behind it: */
    uint64_t firsts[]; /* ascending */
};

struct topic_log {
    char *directory; /* owned */
    uint64_t topic_id;
    bool view; /* see topic_log_options */
    struct topic_log_stats stats;
    struct list segments;       /* of struct topic_segment, ascending */
    struct topic_segment *hint; /* borrowed: where the loop looked last */
    struct topic_tail tail;
    struct topic_flush *flush;  /* borrowed: the one that runs */
    struct topic_writer writer; /* the flush has it while one runs */
    struct topic_state_slots cmd_slots;
    struct topic_state_slots dlv_slots;
    uint64_t checkpoint;     /* the last complete one that is known */
    struct topic_rest *rest; /* owned; NULL: nothing to decide */
    struct topic_lost *lost; /* owned; TOPIC_LOST_MAX of them, or NULL */
    uint32_t lost_count;     /* ascending, apart */
    uint32_t holds;          /* topic_log_hold() */
    uint64_t skip_last;      /* what topic_log_skip() gave last, */
    uint32_t skip_repeats;   /* and how often in a row what was asked for */
    struct list dropped;     /* of struct topic_segment: paths not taken yet */
    struct list parked;      /* likewise, taken, but held */
};

struct topic_flush {
    struct topic_writer writer;
    struct topic_tail row; /* what is to be written */
    struct list grown;     /* of struct topic_segment: begun or grown */
    bool view;             /* the log's: there is no cmd */
    bool with_state;       /* write cmd and dlv, */
    bool state_done;       /* which was done, */
    bool state_dirty;      /* and waits for a sync */
    struct topic_state_key key;
    struct topic_state_cmd cmd;
    struct topic_cursor cursor;
    struct topic_state_slots cmd_slots;
    struct topic_state_slots dlv_slots;
};

/* --- topic_log_recover.c -------------------------------------------------- */

/* Fill an empty log from its folder, as far as `cmd` says, or else as far as
 * records are whole; what lies behind becomes the rest.
 *
 * Gives:  `*out_cursor`.
 * Errors: ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM
 */
MUST_CHECK enum err topic_log_recover(struct topic_log *log,
                                      struct topic_cursor *out_cursor);

/* Decide over the rest: `first` is the first sequence that the journal brings,
 * UINT64_MAX when there is none. It has all that follows, so the rest is cut
 * from there on; what is whole of it below is taken.
 *
 * Errors: ERR_IO, ERR_BUSY (descriptors), ERR_FULL, ERR_NOMEM; call it again
 */
MUST_CHECK enum err topic_log_settle(struct topic_log *log, uint64_t first);

/* --- topic_log_note.c ----------------------------------------------------- */

/* Fill an empty log as a note says.
 *
 * Gives:  `*out_cursor`.
 * Errors: ERR_INVALID  it is none, or says what cannot be; ERR_NOMEM
 */
MUST_CHECK enum err topic_log_take_note(struct topic_log *log,
                                        struct str note,
                                        struct topic_cursor *out_cursor);

/* --- topic_log_find.c ----------------------------------------------------- */

/* Have a segment's files open and its index at hand; counts descriptors.
 * Errors: ERR_NOT_FOUND  it is gone; ERR_IO, ERR_BUSY, ERR_NOMEM */
MUST_CHECK enum err topic_log_open_segment(struct topic_log *log,
                                           struct topic_segment *segment);

/* Close it, unless it was open before. */
void topic_log_close_again(struct topic_log *log,
                           struct topic_segment *segment,
                           bool was_open);

/* Count the sequences from `first` up to `end` as quarantined, those at least
 * that were not counted before, and say so. */
void topic_log_note_lost(struct topic_log *log, uint64_t first, uint64_t end);

/* --- topic_log_trim.c ----------------------------------------------------- */

/* Raise the oldest sequence, at most to the end, and drop what is wholly below
 * it. */
void topic_log_raise_oldest(struct topic_log *log, uint64_t oldest);

/* Bring the figures up to date: segments, bytes, memory, descriptors. */
void topic_log_figures(struct topic_log *log);

#endif
