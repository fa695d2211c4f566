/* What the files of the scheduler share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_SCHEDULER_INTERNAL_H
#define OPQ_QUEUE_SCHEDULER_INTERNAL_H

#include "base/list.h"
#include "queue/scheduler.h"
#include "sys/io.h"

/* A zone that schedules use, read once for all of them. */
struct zone_use {
    struct list link; /* in scheduler.zones */
    char name[ZONE_NAME_MAX + 1];
    struct zone *zone; /* owned */
    uint32_t users;
};

/* A schedule, and what is under way with it. */
struct schedule_work {
    struct schedule schedule;
    struct scheduler *scheduler; /* borrowed */
    struct zone_use *zone;       /* one of its users; NULL: not known */
    uint64_t number;             /* never used again */
    uint64_t retry_at_ms;        /* monotonic: not before; 0: no retry */
    uint64_t retry_ms;           /* the wait before that */
    bool running;                /* a run that was due is under way */
    bool changing;               /* by a struct scheduler_change */
    bool removed;                /* out of the table; waits for its note */
    bool noting;                 /* note_op is under way */
    bool note_wanted;            /* the state has changed since */
    bool note_failed;            /* wanted with the next look */
    bool purge_wanted;           /* a message has made others old */
    struct store_op note_op;
};

struct scheduler {
    struct scheduler_options options;
    struct scheduler_stats stats;
    struct recorder *recorder;    /* owned */
    struct push_pool pool;        /* of runs */
    struct list zones;            /* of struct zone_use */
    struct schedule_work **table; /* owned, so are its members; by id */
    uint32_t count;
    uint32_t capacity;
    uint64_t bytes;        /* of definitions */
    uint64_t number_next;  /* for the next schedule_work.number */
    uint64_t run_now_ms;   /* the last due_ms of a run by hand */
    uint64_t operations;   /* changes and notes under way */
    struct io_timer timer; /* for the next look */
    uint64_t timer_at_ms;  /* monotonic: when that is; 0: it does not run */
    uint64_t wall_ms;      /* when last looked, by the wall clock, */
    uint64_t look_ms;      /* and by the monotonic one */
    bool started;
    bool begun; /* all schedules were looked at once */
};

/* The work of an id; NULL when there is none. */
struct schedule_work *scheduler_work(const struct scheduler *scheduler,
                                     struct str id);

/* Enter a work into the table, at its id's place.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err scheduler_enter(struct scheduler *scheduler,
                                    struct schedule_work *work);

/* Take it out. */
void scheduler_leave(struct scheduler *scheduler, struct schedule_work *work);

/* Make a work that is in no table.
 * Gives: it, for scheduler_work_free(); NULL: no memory */
struct schedule_work *scheduler_work_make(struct scheduler *scheduler,
                                          struct str id);

/* Free it, unless something is under way with it: then its end does. It is in
 * no table. */
void scheduler_work_free(struct schedule_work *work);

/* Become a user of a zone.
 * Errors: as zone_file_load() */
MUST_CHECK enum err scheduler_zone_use(struct scheduler *scheduler,
                                       struct str name,
                                       struct zone_use **out);

/* Cease to be one. Accepts NULL. */
void scheduler_zone_leave(struct zone_use *use);

/* Find when a schedule runs next, strictly after `after_ms`, and see to it that
 * it does. */
void scheduler_plan(struct schedule_work *work, uint64_t after_ms);

/* Keep the state, durably, as soon as can be. */
void scheduler_note(struct schedule_work *work);

/* Look at what is due: the timer's expired(). */
void scheduler_look(struct io_timer *timer);

/* Have a look not later than in `wait_ms`. */
void scheduler_look_in(struct scheduler *scheduler, uint64_t wait_ms);

#endif
