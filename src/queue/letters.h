/* Which letters of a topic of dead letters are live: those that were neither
 * dropped nor sent again.
 *
 * The topic's cursor says so: all below `next` are gone, and so are those in
 * its ranges. It has at most CURSOR_RANGES_MAX of them. To have any number of
 * letters removed, in any order, gaps between two of them are closed: the live
 * letters of the smallest gaps are stored again at the end of the topic (first
 * that, then the cursor, so a crash in between has them twice, never not at
 * all), and the gap then is gone like the ranges around it. So a letter may
 * have another number than before, behind all others; what it says is the same.
 *
 *     load -> { remove }* -> fits: cursor | else: plan -> (copies) -> cursor
 *
 * What that costs: nothing for up to CURSOR_RANGES_MAX holes. Beyond, each
 * removal stores as many letters once more as lie in the smallest gap, which is
 * one when every other letter goes. Letters below which all are gone are freed
 * by store_purge().
 *
 * Decisions only: letters_job.h does it.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LETTERS_H
#define OPQ_QUEUE_LETTERS_H

#include "base/err.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* Ranges that are in memory before gaps are closed: the more at once, the
     * smaller are those that are chosen. */
    LETTERS_RANGES_MAX = 2 * CURSOR_RANGES_MAX,
};

/* The letters that are gone. */
struct letters {
    uint64_t next;        /* all below are */
    uint32_t range_count; /* at most LETTERS_RANGES_MAX */
    /* Those that are above it: ascending, with live ones between. */
    struct store_range ranges[LETTERS_RANGES_MAX];
};

/* Gaps that are to be closed. */
struct letters_plan {
    uint32_t gap_count;
    struct store_range gaps[LETTERS_RANGES_MAX]; /* ascending */
};

/* Begin with what a cursor says. */
void letters_load(struct letters *letters, const struct store_cursor *cursor);

/* The first live letter at or above a number, as far as numbers go: whether
 * there is such a message is the store's to say. */
uint64_t letters_next(const struct letters *letters, uint64_t from);

/* Letters from `first` up to but without `end`, at least one, are gone.
 * Returns false when there is no room for one more range, with nothing
 * changed: then gaps are to be closed before. */
MUST_CHECK bool
letters_remove(struct letters *letters, uint64_t first, uint64_t end);

/* Tell whether a cursor can say what is gone. */
bool letters_fit(const struct letters *letters);

/* Choose the gaps to close so that it can: always the smallest one, the lowest
 * of equal ones. Their live letters are what lies in them. */
void letters_choose(const struct letters *letters, struct letters_plan *plan);

/* The letters in the gaps of a plan are stored again: the gaps are gone. */
void letters_close(struct letters *letters, const struct letters_plan *plan);

/* The cursor that says what is gone; it fits. Borrows: letters. */
void letters_cursor(const struct letters *letters,
                    struct store_cursor *out_cursor);

/* Live letters of a topic, those that are damaged on disk included. */
uint64_t letters_count(const struct store_topic *stored);

#endif
