/* What of a topic's log is under work: the messages between the lowest that is
 * not delivered (the floor) and the next to be looked at (the scan), in lanes.
 *
 *     0 ..... floor ........................... scan ............. end
 *     delivered | parcels, messages set aside,  | not looked at
 *               | and delivered ones between    |
 *
 *              found                take             done
 *     (scan) ---------> QUEUED/READY ----> TAKEN ------------> gone
 *        |                 ^ ^               |  hold       |
 *        |                 | '--- due ---- HELD <----------'
 *        '-> set aside ----' take_back
 *
 * A parcel is a message that was found and is not done, or several in a row
 * that go together. A lane is the unit of order: only its first parcel is
 * ready, held or taken, those behind it are queued. With order by topic there
 * is one lane; by key, one for each ordering key, and messages without a key
 * are in none; otherwise there are none.
 *
 * A message that could not be sent for long, since many are before it in its
 * lane or in the line of its endpoint, is set aside: a bit is all that is kept
 * of it, so that what is behind it can be looked at. When there is room again
 * (a group is hungry), those set aside are read once more from the lowest on
 * that may be in that group: a sweep.
 *
 * Every message below the scan that is neither parcel nor aside is done. So
 * these two tell the floor and the ranges that a cursor has; there is no second
 * account that could differ. What groups know is only where to look.
 *
 * Decisions only: no clock, no I/O. Parcels are the caller's memory.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_WINDOW_H
#define OPQ_QUEUE_WINDOW_H

#include "base/err.h"
#include "base/hash_table.h"
#include "base/list.h"
#include "base/sparse_set.h"
#include "base/str.h"
#include "queue/settings.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    WINDOW_PARCELS_MAX = 4096, /* of one window */
    /* Parcels of a lane of a key, while there are few in all: those behind it
     * are set aside. Of a lane with fewer than the second, more are looked for.
     * When there are many, only the first of a lane is a parcel. */
    WINDOW_LANE_PARCELS_MAX = 64,
    WINDOW_LANE_PARCELS_FEW = 16,
    WINDOW_PARCELS_MANY = WINDOW_PARCELS_MAX / 2,
    /* Lanes of keys with parcels or messages aside, some 35 MB: with more,
     * nothing more is looked at. */
    WINDOW_LANES_MAX = 256 * 1024,
    /* Lanes without parcels that are kept, for what they know of the message
     * before: the header Opq-Prev-Seq. */
    WINDOW_LANES_IDLE_MAX = 1024,
    WINDOW_PRIORITIES = MESSAGE_PRIORITY_MAX + 1,
};

#define WINDOW_NO_SEQUENCE UINT64_MAX /* none, or not known */

enum parcel_state {
    PARCEL_QUEUED, /* behind another in its lane */
    PARCEL_READY,  /* may be taken */
    PARCEL_TAKEN,  /* somebody works on it */
    PARCEL_HELD,   /* not before it is said to be due */
};

/* Messages set aside that wait for the same thing: for their turn in a lane, or
 * for what the caller has room for. They lie in [from, end), and others may lie
 * there, too; none: both are 0. Zeroed: none. */
struct window_group {
    uint64_t from;
    uint64_t end;
    uint64_t sweep;           /* number of the sweep that looks at all of them;
                                 0: none */
    struct list hungry;       /* in window->hungry or ->sweeping, while there is
                                 room for more of it */
    struct window_lane *lane; /* borrowed; whose it is; NULL: the caller's */
};

struct window_lane {
    struct hash_node node;     /* in window->lanes, by the hash of the key */
    struct list parcels;       /* of struct window_parcel, by `place` */
    uint32_t parcel_count;     /* of those */
    struct list idle;          /* in window->lanes_idle, while it has nothing */
    struct window_group aside; /* behind its parcels */
    uint64_t passed_over; /* number of the sweep in which the first of those
                             aside stayed there; 0: of none */
    uint64_t last;        /* sequence of its newest parcel */
};

/* Embedded in the caller's object. */
struct window_parcel {
    struct list link;         /* in window->parcels, ascending */
    struct list place;        /* in lane->parcels; unlinked: no lane */
    struct list turn;         /* in window->ready while READY */
    struct window_lane *lane; /* borrowed; NULL: none */
    uint64_t sequence;
    uint64_t end;      /* one past the last message in it: window_extend() */
    uint64_t previous; /* of its lane; WINDOW_NO_SEQUENCE */
    uint32_t attempts; /* failed ones */
    uint32_t priority;
    enum parcel_state state;
};

struct window {
    enum settings_order order;
    uint32_t parcel_count;
    uint64_t held;       /* messages in parcels */
    bool prioritised;    /* a parcel had a priority above 0 */
    uint64_t scan;       /* the next message to be looked at */
    uint64_t end;        /* one past the last one */
    struct list parcels; /* of struct window_parcel, by `link` */
    struct list ready;   /* the same, by `turn`; the next one first */
    uint32_t ready_count;
    struct window_lane whole; /* the lane of order by topic */
    struct hash_table lanes;  /* of keys; owned */
    struct list lanes_idle;   /* the one used longest ago first */
    uint32_t lanes_idle_count;
    struct sparse_set aside;  /* messages that are */
    struct list hungry;       /* of struct window_group: for the next sweep */
    struct list sweeping;     /* the same: this sweep may find more of them */
    uint64_t sweep;           /* number of this sweep, or the last one */
    uint64_t sweep_from;      /* where it began: all aside from there up to */
    uint64_t sweep_at;        /* here were looked at */
    struct store_range *done; /* owned; from the cursor, above scan */
    uint32_t done_count;
    uint32_t done_next;          /* the first that is not passed yet */
    struct store_retry *retries; /* owned; from the cursor */
    uint32_t retry_count;
    uint32_t first_attempts; /* of the message at `first` */
    uint64_t first;          /* where the cursor stood */
};

/* Make a window at a cursor. `plain` says that every message of the log is in
 * it, so that what lies before the cursor is the one before in its lane.
 *
 * Errors: ERR_NOMEM; then nothing is to be freed */
MUST_CHECK enum err window_init(struct window *window,
                                enum settings_order order,
                                const struct store_cursor *cursor,
                                uint64_t end,
                                bool plain);

/* Free it. It has no parcels. */
void window_fini(struct window *window);

/* The lowest sequence that is not done. */
uint64_t window_floor(const struct window *window);

/* Tell whether the message at the scan is to be looked at, which is then not
 * one that is done already. With order by topic that is only so when there is
 * no parcel, for nothing behind it could be sent. */
bool window_wants(const struct window *window);

/* Tell whether all there is is done. */
bool window_is_done(const struct window *window);

/* The message at `sequence`, at or above the scan, was found: it is a parcel
 * now, and the scan is behind it; what lies between is done (it is lost). Key:
 * empty for none. The caller set nothing but the memory, zeroed.
 *
 * Borrows: parcel, until window_done() or window_drop().
 * Errors:  ERR_NOMEM (no lane); the window is as it was */
MUST_CHECK enum err window_found(struct window *window,
                                 struct window_parcel *parcel,
                                 uint64_t sequence,
                                 struct str key,
                                 uint32_t priority);

/* Tell whether the message at the scan may go with the parcel that was found
 * last: nothing between the two was done when the window was made, which
 * window_extend() would take in again. */
bool window_joins(const struct window *window,
                  const struct window_parcel *parcel);

/* Messages up to but without `end`, which is above the scan, go with the parcel
 * that was found last, and what lies between. */
void window_extend(struct window *window,
                   struct window_parcel *parcel,
                   uint64_t end);

/* Divide a parcel of several messages, which is TAKEN or QUEUED: those from
 * `at` on are those of `rest`, which stands behind it in its lane, as often
 * failed. Borrows: rest, which is zeroed, as window_found(). */
void window_split(struct window *window,
                  struct window_parcel *parcel,
                  uint64_t at,
                  struct window_parcel *rest);

/* Messages up to but without `end`, at or above the scan, are done without
 * being delivered. */
void window_pass(struct window *window, uint64_t end);

/* The same, since they are lost: in the lane of all, the message before the
 * next one is the last of them, so that its receiver can see the gap. */
void window_lose(struct window *window, uint64_t end);

/* --- setting aside (window_aside.c) --------------------------------------- */

/* Tell whether the message at the scan, with this key, may be a parcel as far
 * as its lane goes; else it is to be set aside. */
bool window_admits(const struct window *window, struct str key);

/* The message at the scan is set aside, and the scan is behind it. It waits for
 * its turn in its lane, or for room in `group`; NULL: for its turn alone.
 *
 * Borrows: group, as long as it is not empty, until window_group_forget() or
 *          window_fini()
 * Errors:  ERR_NOMEM
 *          ERR_FULL   there are too many, or too many lanes: look again when a
 *                     parcel is done; the window is as it was */
MUST_CHECK enum err window_set_aside(struct window *window,
                                     uint64_t sequence,
                                     struct str key,
                                     struct window_group *group);

/* Tell whether any message of a group is set aside. */
static inline bool window_group_has(const struct window_group *group)
{
    return group->from < group->end;
}

/* There is room for more of a group: have those aside looked at. Nothing
 * happens when there are none. */
void window_group_wants(struct window *window, struct window_group *group);

/* There is no more room for it. */
void window_group_full(struct window_group *group);

/* Let go of a group; its messages stay aside until their lanes come to them.
 * Only to end the window. */
void window_group_forget(struct window_group *group);

/* The message aside that is to be read now; WINDOW_NO_SEQUENCE: none. The
 * same until one of the four calls below that settle it. */
uint64_t window_sweep(struct window *window);

/* Tell whether it may be a parcel, as far as its lane goes; with its key, which
 * is as it was. */
bool window_sweep_admits(const struct window *window, struct str key);

/* It is a parcel now, as window_found(). `group`: one that it may have waited
 * in, or NULL. */
void window_take_back(struct window *window,
                      struct window_parcel *parcel,
                      struct str key,
                      uint32_t priority,
                      struct window_group *group);

/* It stays aside: for its turn in its lane, or, when window_sweep_admits(),
 * for room in `group`; NULL: none. Borrows: group, as window_set_aside(). */
void window_leave(struct window *window,
                  struct str key,
                  struct window_group *group);

/* It is done without being delivered. */
void window_sweep_pass(struct window *window, struct str key);

/* It and those aside behind it up to but without `end` are lost. */
void window_sweep_lose(struct window *window, uint64_t end);

/* The lane of a key, for people; NULL: none, or not known. */
const struct window_lane *window_lane_find(const struct window *window,
                                           struct str key);

/* --- turns ---------------------------------------------------------------- */

/* The parcel whose turn it is: of the highest priority, then the one that is
 * ready for the longest time; NULL: none. */
struct window_parcel *window_first(const struct window *window);

/* Somebody works on a parcel that was READY. */
void window_take(struct window *window, struct window_parcel *parcel);

/* It is ready again, behind all of its priority, or `at_once`: before them. */
void window_ready(struct window *window,
                  struct window_parcel *parcel,
                  bool at_once);

/* It waits until window_ready(). It was TAKEN or READY. */
void window_hold(struct window *window, struct window_parcel *parcel);

/* It is done; the next one of its lane is ready. */
void window_done(struct window *window, struct window_parcel *parcel);

/* Take a parcel out as if it had never been found; only to end the window, or
 * for all below a cursor that moved. The next of its lane is ready. */
void window_drop(struct window *window, struct window_parcel *parcel);

/* Messages below `oldest` are gone: passes what was not looked at, and what was
 * set aside. Parcels below it were dropped before. */
void window_trim(struct window *window, uint64_t oldest);

/* --- looking -------------------------------------------------------------- */

/* Messages that are not done, up to window->end. */
uint64_t window_open(const struct window *window);

/* A walk over what is done above the floor. Zeroed: at its begin. */
struct window_walk {
    const struct list *parcel; /* the next one; NULL: not begun */
    uint64_t at;
    uint32_t done; /* the next of window->done */
};

/* The next run of messages that are done; false: that was the last. The window
 * stays as it is during the walk. */
bool window_walk(const struct window *window,
                 struct window_walk *walk,
                 struct store_range *out_range);

/* What the cursor is. The ranges and retries nearest the floor, as many as fit,
 * are written to the caller's arrays, which `*out_cursor` borrows. False: there
 * are more ranges; without them delivery repeats more after a crash. */
bool window_cursor(const struct window *window,
                   struct store_range ranges[CURSOR_RANGES_MAX],
                   struct store_retry retries[CURSOR_RETRIES_MAX],
                   struct store_cursor *out_cursor);

/* Find the parcel that a message is in; NULL: none. */
struct window_parcel *window_find(const struct window *window,
                                  uint64_t sequence);

/* The first parcel of a parcel's lane: what it waits for; itself when it is
 * that, or in no lane. */
struct window_parcel *window_head(const struct window_parcel *parcel);

#endif
