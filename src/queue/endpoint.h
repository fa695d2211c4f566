/* Who may send next: lines of waiting senders per endpoint, and the slots that
 * all of them share.
 *
 *     out -> endpoint_wait -> waiting -> (endpoint_next) -> in flight
 *     out -> endpoint_take ----------------------------------^  |
 *     out <- endpoint_leave (from either) <--- endpoint_note ---'
 *
 * Decisions only: no clock, no I/O. An endpoint is a scheme, host and port; its
 * senders (lanes of topics) stand in line, first come, first served.
 *
 * Turns. What endpoints compete for is slots, and what a request costs is how
 * long it holds one; a large body holds its slot longer, so bytes need no
 * account of their own. Round robin by requests would be fair only to those
 * that are slow: each of their turns costs a thousand of a fast one's. So turns
 * are given by deficit, and the debt of an endpoint is what it holds: the next
 * slot goes to the one that has the fewest, in rounds among those that have as
 * many. That is measured, not expected: an endpoint that turns slow, or was
 * dead from its first request, has its debt at once, while a mean of the past
 * would say so after its first timeouts. (Simulated with 100 endpoints of which
 * 21 are slow, dead or bursting: the others keep 0.97 of what they had, by
 * plain rounds 0.11.) A quarter of the slots is for endpoints that hold few, so
 * that those that came when all was taken by the slow need not wait for them.
 *
 * A dead target must not starve the others, so
 *   - retries have a line of their own in each endpoint and may hold at most
 *     half of the slots;
 *   - one endpoint may hold at most `endpoint_max` slots, and no more than its
 *     congestion window (congestion.h);
 *   - at an endpoint that did not answer at all last time, or whose breaker is
 *     not closed, it is failing: first attempts count as retries, and few may
 *     be in flight;
 *   - an endpoint whose breaker is open (breaker.h) gets nothing. Its waiters
 *     simply wait, which counts as no attempt; when the time has come one of
 *     them is the probe.
 *
 * An endpoint can be closed until a time: held, because its target asked for
 * that; open, by its breaker; limited to a rate, by an operator. The caller
 * looks at endpoint_due_ms() after each call that may have changed it (note,
 * hold, limit, reset, tick) and has endpoint_tick() called then.
 *
 * Time is monotonic where it is not called wall, and given.
 *
 * Threads: one, the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ENDPOINT_H
#define OPQ_QUEUE_ENDPOINT_H

#include "base/err.h"
#include "base/list.h"
#include "queue/breaker.h"
#include "queue/congestion.h"
#include "queue/latency.h"
#include "queue/rate.h"
#include "queue/retry.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* An endpoint that is failing may hold one slot in so many of those that
     * it may hold else: enough to see that it is back. */
    ENDPOINT_FAILING_SHARE = 16,
    /* One slot in so many is for endpoints that have fewer than ENDPOINT_FEW
     * in flight; less when one endpoint may hold nearly all. */
    ENDPOINT_RESERVE_SHARE = 4,
    ENDPOINT_FEW = 4,
    /* Levels of what is held: exact up to 16, then four to each doubling. */
    ENDPOINT_LEVELS = 64,
    /* While it is limited: how often it is looked at, and how long it has had
     * nothing to do when its backlog counts as drained. */
    ENDPOINT_LIMIT_TICK_MS = 10,
    ENDPOINT_LIMIT_IDLE_MS = 1000,
};

#define ENDPOINT_NEVER UINT64_MAX /* no tick is needed */

enum endpoint_kind {
    ENDPOINT_FRESH, /* first attempts */
    ENDPOINT_RETRY, /* further ones, and all at an endpoint that is failing */
    ENDPOINT_KINDS,
};

/* Endpoints that could send, by how much they hold. */
struct endpoint_turns {
    uint64_t used; /* a bit for each level with somebody in it */
    struct list levels[ENDPOINT_LEVELS]; /* of struct endpoint */
};

/* All endpoints of a deliverer, and their slots. */
struct endpoint_set {
    uint32_t in_flight_max; /* slots in all; set by endpoint_set_init() */
    uint32_t retries_max;   /* of them for retries */
    uint32_t endpoint_max;  /* of them for one endpoint */
    uint32_t reserve;       /* of them for endpoints that hold few */
    uint32_t in_flight;
    uint32_t retries;           /* of those in flight */
    enum endpoint_kind turn;    /* kind that comes first next time */
    struct retry_policy policy; /* how long breakers are open */
    struct retry_random random;
    struct endpoint_turns turns[ENDPOINT_KINDS];
};

struct endpoint {
    struct endpoint_set *set;          /* borrowed */
    struct list turns[ENDPOINT_KINDS]; /* in set->turns while it could send */
    uint32_t level;                    /* the one that it is in there */
    struct list lines[ENDPOINT_KINDS]; /* of struct endpoint_waiter */
    uint32_t waiting;                  /* in both lines */
    uint32_t in_flight;
    uint32_t resting;       /* senders that will be back: the owner's count */
    uint64_t sent;          /* requests that had a slot: numbers them */
    uint64_t probe;         /* of them the one in flight at a breaker that is
                               half open; 0: none */
    uint64_t held_until_ms; /* what for: endpoint_hold() */
    bool held;
    bool failing;      /* no answer last time, or the breaker is not
                          closed */
    bool limited;      /* to what `limit` gives */
    uint64_t limit_ms; /* the last tick while it is limited */
    uint64_t busy_ms;  /* when it last had something to do, likewise */
    struct rate_bucket limit;
    struct breaker breaker;
    struct congestion congestion;
    struct latency latency; /* of attempts that ended */
    enum err last_err;      /* of the last failure; ERR_OK: a status */
    int last_status;        /* of the last failure; 0: none came */
    uint64_t failed_ms;     /* wall clock of the last failure; 0: never */
};

/* A sender's place; embedded in the caller's object. Zeroed: out. */
struct endpoint_waiter {
    struct list link;          /* in a line while waiting */
    struct endpoint *endpoint; /* borrowed; NULL: out */
    enum endpoint_kind kind;   /* of its line or its slot */
    bool in_flight;            /* it has a slot */
    uint64_t number;           /* of the request, while it has one */
};

/* How a request ended. */
struct endpoint_result {
    enum err err;        /* ERR_OK: an answer came */
    int status;          /* 0: none came */
    bool delivered;      /* the answer is a success */
    uint64_t elapsed_us; /* the whole attempt */
    uint64_t now_ms;
    uint64_t wall_ms;
};

enum endpoint_state {
    ENDPOINT_CLOSED,    /* its breaker is: all goes */
    ENDPOINT_OPEN,      /* by its breaker: nothing goes, until a time */
    ENDPOINT_HALF_OPEN, /* a probe goes, or will when somebody waits */
    ENDPOINT_HELD,      /* it asked for a pause, until a time */
    ENDPOINT_STATES,
};

/* An endpoint's figures, for people. */
struct endpoint_view {
    enum endpoint_state state;
    uint64_t until_ms;      /* of ENDPOINT_OPEN and ENDPOINT_HELD; else 0 */
    uint32_t window;        /* requests that may be in flight */
    uint32_t in_flight_max; /* the same as things are: while it is failing, or
                               half open, they are fewer */
    uint32_t in_flight;
    uint32_t waiting;  /* senders, each with one message or more */
    uint32_t resting;  /* the same, in back-off */
    uint32_t failures; /* in a row */
    enum err last_err; /* these three as in struct endpoint */
    int last_status;
    uint64_t failed_ms;
    uint64_t latency_mean_us; /* 0: not known; these three of late attempts */
    uint64_t latency_p50_us;
    uint64_t latency_p99_us;
    struct settings_rate limit; /* count 0: not limited */
};

/* Make an empty set. `endpoint_max` 0 takes a quarter of the slots. */
void endpoint_set_init(struct endpoint_set *set,
                       uint32_t in_flight_max,
                       uint32_t endpoint_max);

/* Have breakers open for `first_ms` at first and `longest_ms` at most, both at
 * least 1, instead of what breaker.h says; neither is made longer by that.
 * `seed` is for their jitter. */
void endpoint_set_pace(struct endpoint_set *set,
                       uint32_t first_ms,
                       uint32_t longest_ms,
                       uint64_t seed);

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

/* Leave the line, or give the slot back. Nothing happens when out. A probe
 * that leaves without a note was none: another one goes. */
void endpoint_leave(struct endpoint_waiter *waiter);

/* Give a slot to the waiter whose turn it is; NULL when there is no slot, or
 * nobody who may have one. */
struct endpoint_waiter *endpoint_next(struct endpoint_set *set);

/* A waiter's request ended; its slot is still held, and left afterwards. What
 * went wrong on our side (no memory, no descriptor) is not for noting. */
void endpoint_note(struct endpoint_waiter *waiter,
                   const struct endpoint_result *result);

/* A sender went away and will be back, or it is back (or gone): a limit lasts
 * while there are such. */
void endpoint_rest(struct endpoint *endpoint, bool begins);

/* Let none of its waiters go before a time: the target asked for a pause. A
 * hold is only ever made longer; true when it was. */
bool endpoint_hold(struct endpoint *endpoint, uint64_t until_ms);

/* Have no more requests begin than a rate allows, until its backlog is drained
 * or there is another limit; `rate` with count 0 ends it. Begins with one. */
void endpoint_limit(struct endpoint *endpoint,
                    const struct settings_rate *rate,
                    uint64_t now_ms);

/* How long `backlog` more requests take at its limit; 0 when it has none. */
uint64_t endpoint_eta_ms(const struct endpoint *endpoint, uint64_t backlog);

/* Begin as if nothing had happened: breaker closed, window fresh, no hold, no
 * limit. Figures of the past stay. */
void endpoint_reset(struct endpoint *endpoint);

/* When endpoint_tick() is to be called; ENDPOINT_NEVER when nothing is closed
 * until a time. */
uint64_t endpoint_due_ms(const struct endpoint *endpoint);

/* The time came: end what ends now. Calls at other times are harmless. */
void endpoint_tick(struct endpoint *endpoint, uint64_t now_ms);

/* Show its figures. */
void endpoint_view(const struct endpoint *endpoint,
                   struct endpoint_view *out_view);

/* How bad a state is, to sort by: 0 is ENDPOINT_CLOSED, 3 ENDPOINT_OPEN. */
int endpoint_state_badness(enum endpoint_state state);

/* Name a state, for programs: "half_open". Never NULL. */
const char *endpoint_state_text(enum endpoint_state state);

#endif
