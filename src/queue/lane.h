/* What to do next in one lane: messages of a topic that go out in order, one in
 * flight at a time.
 *
 *            look            found            start           end
 *     IDLE ---------> READING -----> WAITING -------> SENDING ----> READING
 *       ^                ^    unreadable |                 |  failed
 *       |                |        v      |                 v
 *       '--- nothing left '----- BACKOFF <-----------------'
 *                          due
 *
 * Decisions only: an event goes in, a step comes out, and the deliverer
 * performs it. No clock, no I/O, no memory of its own; what comes of a seed is
 * the same each time. A topic has one lane now; a lane per key is the same
 * thing with other messages between its own, which is why it is told what was
 * found instead of counting by itself.
 *
 * A step replaces whatever the step before it began, except a request in
 * flight: that is always waited for, so that no two are ever under way.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LANE_H
#define OPQ_QUEUE_LANE_H

#include "queue/retry.h"

#include <stdbool.h>
#include <stdint.h>

enum lane_state {
    LANE_IDLE,    /* nothing to deliver, or halted */
    LANE_READING, /* the message at `next` is being looked for */
    LANE_WAITING, /* it was found, and waits for a slot */
    LANE_SENDING, /* an attempt is under way */
    LANE_BACKOFF, /* until lane_due() */
};

/* What the deliverer is to do now. */
enum lane_step {
    LANE_STEP_NONE,  /* nothing; what was begun goes on */
    LANE_STEP_REST,  /* end what was begun; nothing is to be done */
    LANE_STEP_READ,  /* read the message at `next`, then lane_found() */
    LANE_STEP_SLOT,  /* get a slot, then lane_start() */
    LANE_STEP_DELAY, /* call lane_due() after `delay_ms` */
};

/* Where the lane's topic stands, as its store says. */
struct lane_place {
    uint64_t next;     /* the cursor */
    uint32_t attempts; /* failed ones there */
    uint64_t end;      /* one past the last message */
};

/* How an attempt ended. */
struct lane_outcome {
    bool delivered;
    uint64_t after_ms; /* what the target asked for; 0: nothing */
};

struct lane {
    enum lane_state state;
    bool paused;         /* by an operator */
    bool stopped;        /* the server is draining */
    bool stray;          /* what is in flight is not what is wanted now */
    uint32_t attempts;   /* failed ones at `next` */
    uint32_t unreadable; /* failed readings in a row at `next` */
    uint64_t next;       /* the message to deliver next */
    uint64_t end;        /* one past the last one */
};

/* What came of an event. */
struct lane_decision {
    enum lane_step step;
    bool note;         /* store `lane->next` and `lane->attempts` */
    uint64_t delay_ms; /* of LANE_STEP_DELAY */
};

/* Make a lane that stands where its topic does. */
void lane_init(struct lane *lane, const struct lane_place *place);

/* The end moved, or something may have: look again. A cursor that went
 * elsewhere is followed; what is in flight then is a stray. */
struct lane_decision lane_look(struct lane *lane,
                               const struct lane_place *place);

/* An operator moved the cursor, be it to where it stands, or set `paused`: as
 * lane_look(), and a back-off is forgotten. */
struct lane_decision
lane_change(struct lane *lane, const struct lane_place *place, bool paused);

/* The server drains: nothing new is begun. */
struct lane_decision lane_stop(struct lane *lane);

/* The message at `next` was found, or, when what was there is lost, the next
 * one at `sequence`, which becomes the lane's. */
struct lane_decision lane_found(struct lane *lane, uint64_t sequence);

/* It could not be read (`failed`: try again later), or there is none. */
struct lane_decision lane_missed(struct lane *lane,
                                 bool failed,
                                 const struct retry_policy *policy,
                                 struct retry_random *random);

/* An attempt begins. */
void lane_start(struct lane *lane);

/* It ended. Nothing is noted of a stray. */
struct lane_decision lane_end(struct lane *lane,
                              const struct lane_outcome *outcome,
                              const struct retry_policy *policy,
                              struct retry_random *random);

/* What was in flight was given up, without an outcome. */
struct lane_decision lane_give_up(struct lane *lane);

/* The back-off is over. */
struct lane_decision lane_due(struct lane *lane);

/* Tell whether a message waits to be delivered. */
bool lane_has_work(const struct lane *lane);

#endif
