/* Who may send next: lines of waiting senders per endpoint, and the slots that
 * all of them share.
 *
 *     out -> endpoint_wait -> waiting -> (endpoint_next) -> in flight
 *     out -> endpoint_take ----------------------------------^  |
 *     out <- endpoint_leave (from either) <---------------------'
 *
 * Decisions only: no clock, no I/O. An endpoint is a scheme, host and port; its
 * senders (topics) stand in line, first come, first served. Endpoints take
 * turns, one request a turn, whatever the length of their lines; a turn may
 * become a deficit later (deficit round robin) without changing the callers.
 *
 * A dead target must not starve the others, so
 *   - retries have a line of their own in each endpoint and may hold at most
 *     half of the slots;
 *   - one endpoint may hold at most `endpoint_max` slots, so that one that
 *     never answers cannot fill them all with first attempts;
 *   - at an endpoint that did not answer at all last time (it is failing),
 *     first attempts count as retries, and few may be in flight.
 *
 * Threads: one, the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ENDPOINT_H
#define OPQ_QUEUE_ENDPOINT_H

#include "base/err.h"
#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* An endpoint that is failing may hold one slot in so many of those that
     * it may hold else: enough to see that it is back. */
    ENDPOINT_FAILING_SHARE = 16,
};

enum endpoint_kind {
    ENDPOINT_FRESH, /* first attempts */
    ENDPOINT_RETRY, /* further ones, and all at an endpoint that is failing */
    ENDPOINT_KINDS,
};

/* All endpoints of a deliverer, and their slots. */
struct endpoint_set {
    uint32_t in_flight_max; /* slots in all; set by endpoint_set_init() */
    uint32_t retries_max;   /* of them for retries */
    uint32_t endpoint_max;  /* of them for one endpoint */
    uint32_t in_flight;
    uint32_t retries;                  /* of those in flight */
    enum endpoint_kind turn;           /* kind that comes first next time */
    struct list turns[ENDPOINT_KINDS]; /* endpoints that could send */
};

struct endpoint {
    struct endpoint_set *set;          /* borrowed */
    struct list turns[ENDPOINT_KINDS]; /* in set->turns while it could send */
    struct list lines[ENDPOINT_KINDS]; /* of struct endpoint_waiter */
    uint32_t waiting;                  /* in both lines */
    uint32_t in_flight;
    uint64_t held_until_ms; /* monotonic; what for: endpoint_hold() */
    bool held;
    bool failing;       /* the last request had no answer at all */
    enum err last_err;  /* of the last failure; ERR_OK: a status */
    int last_status;    /* of the last failure; 0: none came */
    uint64_t failed_ms; /* wall clock of the last failure; 0: never */
};

/* A sender's place; embedded in the caller's object. Zeroed: out. */
struct endpoint_waiter {
    struct list link;          /* in a line while waiting */
    struct endpoint *endpoint; /* borrowed; NULL: out */
    enum endpoint_kind kind;   /* of its line or its slot */
    bool in_flight;            /* it has a slot */
};

/* Make an empty set. `endpoint_max` 0 takes a quarter of the slots. */
void endpoint_set_init(struct endpoint_set *set,
                       uint32_t in_flight_max,
                       uint32_t endpoint_max);

/* Make an endpoint of a set. Borrows: set. */
void endpoint_init(struct endpoint *endpoint, struct endpoint_set *set);

/* End it; nobody waits or is in flight. */
void endpoint_fini(struct endpoint *endpoint);

/* Take a slot at once, if that is nobody else's turn. False: none is free for
 * it, and nothing is changed. Fair only when endpoint_next() was just asked
 * until it had nobody left. Borrows: waiter, until endpoint_leave(). */
bool endpoint_take(struct endpoint *endpoint,
                   struct endpoint_waiter *waiter,
                   bool retry);

/* Stand in line for a slot. Borrows: waiter, until endpoint_leave(). */
void endpoint_wait(struct endpoint *endpoint,
                   struct endpoint_waiter *waiter,
                   bool retry);

/* Leave the line, or give the slot back. Nothing happens when out. */
void endpoint_leave(struct endpoint_waiter *waiter);

/* Give a slot to the waiter whose turn it is; NULL when there is no slot, or
 * nobody who may have one. */
struct endpoint_waiter *endpoint_next(struct endpoint_set *set);

/* Let none of its waiters go before endpoint_release(): the target asked for a
 * pause. A hold is only ever made longer; true when it was. */
bool endpoint_hold(struct endpoint *endpoint, uint64_t until_ms);

/* End the hold. */
void endpoint_release(struct endpoint *endpoint);

/* A request ended with an answer that is a success (or another status: not
 * `delivered`), or with none (`err`). For people, and for what counts as a
 * retry. */
void endpoint_note(struct endpoint *endpoint,
                   enum err err,
                   int status,
                   bool delivered,
                   uint64_t wall_ms);

#endif
