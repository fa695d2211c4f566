/* What of a topic's log is under work: the messages between the lowest that is
 * not delivered (the floor) and the next to be looked at (the scan), in lanes.
 *
 *     0 ..... floor ........................... scan ............. end
 *     delivered | parcels, and delivered ones between | not looked at
 *
 *              found                take             done
 *     (scan) ---------> QUEUED/READY ----> TAKEN ------------> gone
 *                            ^               |  hold       |
 *                            '--- due ---- HELD <----------'
 *
 * A parcel is a message that was found and is not done, or several in a row
 * that go together. A lane is the unit of order: only its first parcel is
 * ready, held or taken, those behind it are queued. With order by topic there
 * is one lane; by key, one for each ordering key, and messages without a key
 * are in none; otherwise there are none.
 *
 * Every message below the scan that is no parcel is done. So the parcels alone
 * tell the floor and the ranges that a cursor has; there is no second account
 * that could differ.
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
#include "base/list.h"
#include "base/str.h"
#include "queue/settings.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    WINDOW_PARCELS_MAX = 4096, /* of one window */
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

struct window_lane {
    struct list parcels;      /* of struct window_parcel, by `place` */
    struct list idle;         /* in window->lanes_idle, while it has none */
    struct window_lane *next; /* in its bucket; NULL: last */
    uint64_t hash;            /* of the key */
    uint64_t last;            /* sequence of the one found last in it */
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
    bool prioritised;    /* a parcel had a priority above 0 */
    uint64_t scan;       /* the next message to be looked at */
    uint64_t end;        /* one past the last one */
    struct list parcels; /* of struct window_parcel, by `link` */
    struct list ready;   /* the same, by `turn`; the next one first */
    uint32_t ready_count;
    struct window_lane whole;     /* the lane of order by topic */
    struct window_lane **buckets; /* owned; lanes of keys; NULL: none yet */
    uint32_t bucket_count;        /* a power of two, or 0 */
    uint32_t lane_count;          /* of keys */
    struct list lanes_idle;       /* the one used longest ago first */
    uint32_t lanes_idle_count;
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

/* Tell whether a message is to be looked at: window->scan, which is then not
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

/* Messages below `oldest` are gone: passes what was not looked at. Parcels
 * below it were dropped before. */
void window_trim(struct window *window, uint64_t oldest);

/* What the cursor is. At most `range_max` and `retry_max` of each are written
 * to the caller's arrays, which `*out_cursor` borrows: those nearest the floor,
 * for without them delivery only repeats more after a crash. */
void window_cursor(const struct window *window,
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
