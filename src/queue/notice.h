/* What the server has to tell about itself: that a target is down, a message
 * dead, the disk low. To people and programs these are its "events"; messages
 * that are CloudEvents are another thing, hence the other name.
 *
 *     noticed -> limit: one of a kind in a while -> ring: numbered, kept
 *                  '-> the last of the others follows when that is over
 *
 * All that is kept has a bound: notices in the ring, kinds in the limit, bytes
 * of one. What has no room is counted, and the count goes with the next.
 *
 * Threads: none; plain data.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_NOTICE_H
#define OPQ_QUEUE_NOTICE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum notice_type {
    NOTICE_ENDPOINT_DOWN,      /* its breaker opened */
    NOTICE_ENDPOINT_RECOVERED, /* and closed again */
    NOTICE_MESSAGE_DEAD,       /* it was given up */
    NOTICE_TOPIC_SLOW,         /* its setting slow_after has passed */
    NOTICE_DISK_LOW,           /* pushes are refused */
    NOTICE_DISK_OK,            /* and taken again */
    NOTICE_RECORD_QUARANTINED, /* it is damaged on disk */
    NOTICE_SERVER_STARTED,
    NOTICE_TYPES,
};

enum {
    NOTICE_RING_MAX = 1000,     /* kept for who comes later */
    NOTICE_SPAN_MS = 10 * 1000, /* one of a kind in this time */
    NOTICE_KINDS_MAX = 1024,    /* of which any is known in this time */
    /* The same of those that many may have at once, so that the others pass. */
    NOTICE_KINDS_COMMON_MAX = 768,
    NOTICE_SUBJECT_MAX = 512, /* bytes; the rest is cut */
    NOTICE_DATA_MAX = 2048,   /* bytes; more is left out */
};

/* One allocation, its text behind it. */
struct notice {
    enum notice_type type;
    uint64_t id;        /* ascending; 0: it has none yet */
    uint64_t at_ms;     /* wall clock */
    uint64_t repeated;  /* others of its kind before it that were not shown */
    uint64_t omitted;   /* of any kind, for which there was no room */
    struct str subject; /* in `text` */
    struct str data;    /* the same; members of a JSON object, each with a
                           comma before it */
    char text[];
};

/* The name of a type: "endpoint.down". */
const char *notice_type_name(enum notice_type type);

/* Read names of types, with commas, as a bit for each.
 * Errors: ERR_INVALID  none, or an unknown one */
MUST_CHECK enum err notice_types_read(struct str names, uint32_t *out_types);

/* Make a notice; subject and data are copied.
 * Gives: the notice, for free(); NULL: no memory */
struct notice *notice_make(enum notice_type type,
                           uint64_t at_ms,
                           struct str subject,
                           struct str data);

/* Append it as a JSON object. */
void notice_json(const struct notice *notice, struct buf *to);

/* Tell whether it is of one of `types`, and about a topic or a subscription of
 * it; empty: about anything. */
bool notice_fits(const struct notice *notice, uint32_t types, struct str topic);

/* --- the ring ------------------------------------------------------------- */

struct notice_ring {
    struct notice *notices[NOTICE_RING_MAX]; /* owned; by id */
    uint64_t first;                          /* id of the first one ever */
    uint64_t end;                            /* the next id */
};

/* Begin with the id `first`, which is at least 1. */
void notice_ring_init(struct notice_ring *ring, uint64_t first);

/* Free what is in it. */
void notice_ring_fini(struct notice_ring *ring);

/* Give a notice its id and keep it, in place of the oldest. Takes: notice. */
void notice_ring_add(struct notice_ring *ring, struct notice *notice);

/* The id of the oldest that is kept; ring->end: there is none. */
uint64_t notice_ring_oldest(const struct notice_ring *ring);

/* The notice of an id that is kept. Borrowed until the next is added. */
const struct notice *notice_ring_at(const struct notice_ring *ring,
                                    uint64_t id);

/* --- the limit ------------------------------------------------------------ */

struct notice_limit {
    struct list kinds; /* owned; the one whose time is over first, first */
    uint32_t count;
    uint64_t omitted; /* since the last that was shown */
};

/* Make an empty one. */
void notice_limit_init(struct notice_limit *limit);

/* Free what is in it. */
void notice_limit_fini(struct notice_limit *limit);

/* A notice came, `now_ms` on a clock that never goes back. Returns it when it
 * is to be shown now; else it is kept, or forgotten, and NULL returned.
 * Takes: notice. Gives: what it returns */
struct notice *notice_limit_add(struct notice_limit *limit,
                                struct notice *notice,
                                uint64_t now_ms);

/* Take one that was kept and is to be shown now; NULL: there is none.
 * Gives: what it returns */
struct notice *notice_limit_take(struct notice_limit *limit, uint64_t now_ms);

/* When notice_limit_take() is to be called; UINT64_MAX: never. */
uint64_t notice_limit_due_ms(const struct notice_limit *limit);

#endif
