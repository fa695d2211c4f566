/* The schedules of one shard: it keeps them, and makes their runs.
 *
 *     create -> load -> start -> { put, pause, remove, run }* -> stop
 *         -> (until idle) -> destroy
 *
 * A schedule belongs to the shard that owns its internal topic, and so the
 * schedules of a process are spread over all. A run is an ordinary push of the
 * definition into whatever topic it names, on whatever shard. What receivers
 * can tell it by: its message's id is "sch_<schedule>_<due, in ms since 1970>".
 *
 * Durability. A definition is durable when its change is done. A run is noted,
 * durably, after its push has become durable: at least once. A crash between
 * the two leaves a run that is not noted; with `missed` "once" it is made again
 * at the next start, with the same id.
 *
 * Time. A wait is a timer of the monotonic clock, at most LOOK_MS long, then
 * the wall clock is looked at anew: a machine that was suspended, or whose
 * clock was set, is noticed within that. However many times of a schedule have
 * passed since it was looked at, at most one run is made for all of them: a
 * jump of the clock makes no burst. A time that passed while the process was
 * down, or more than LATE_MAX_MS ago, was missed, and the definition says
 * whether one run is made for it. Where the clock is set back by less than
 * BACK_MAX_MS, what was run is not run again; by more, that was a correction,
 * and schedules go on by what it shows now (both as cron(8) of Vixie's cron).
 *
 * A run that cannot be stored now (no room, too much under way) is tried again
 * until it is; times that pass meanwhile are not made up for. One that is
 * refused (its target is not allowed any more, its topic has lost the last
 * subscription) is given up, and counted.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_SCHEDULER_H
#define OPQ_QUEUE_SCHEDULER_H

#include "base/err.h"
#include "base/str.h"
#include "queue/push_task.h"
#include "queue/recorder.h"
#include "queue/schedule.h"
#include "queue/shard.h"

#include <stdbool.h>
#include <stdint.h>

struct scheduler;

enum {
    SCHEDULER_COUNT_MAX = 10000,       /* schedules of a shard */
    SCHEDULER_BYTES_MAX = 64 << 20,    /* of their definitions */
    SCHEDULER_RUNS_MAX = 1024,         /* under way; others wait */
    SCHEDULER_LOOK_MS = 60 * 1000,     /* between looks at the wall clock */
    SCHEDULER_LATE_MAX_MS = 60 * 1000, /* a run that is later was missed */
    SCHEDULER_BACK_MAX_MS = 3 * 3600 * 1000,
    SCHEDULER_RETRY_MIN_MS = 1000, /* of a run that cannot be stored */
    SCHEDULER_RETRY_MAX_MS = 60 * 1000,
    SCHEDULER_RUN_JSON_MAX =
        SCHEDULE_RUN_ID_MAX + TOPIC_NAME_MAX + PUT_DECIMAL_MAX + 64,
    SCHEDULER_KEPT_MAX = 16, /* messages of a schedule's topic, after
                                which those before the last go */
};

struct scheduler_options {
    struct shard *shard; /* borrowed */
    struct recorder_options recorder;
};

struct scheduler_stats {
    uint64_t runs;         /* stored, since start */
    uint64_t runs_refused; /* given up */
    uint64_t runs_missed;  /* of times that had passed, and made no run */
};

/* A schedule, to be looked at. */
struct schedule {
    char id[SCHEDULE_ID_MAX + 1];
    struct schedule_definition definition;
    struct schedule_state state;
    uint64_t next_ms;        /* the next run, wall clock; 0: there is none */
    const struct zone *zone; /* borrowed; NULL: the system does not have it any
                                more, and there are no runs */
    /* Why the last run was given up or is tried again, or why there is none;
     * empty: it was stored. */
    char error[RECORDER_DETAIL_MAX];
    uint64_t retry_count; /* failed attempts at the run that is due */
    bool fresh;           /* not durable yet, and so as if it were not there */
    struct schedule_work *work; /* private */
};

/* Make a scheduler.
 * Gives: `*out`, for scheduler_destroy(). Errors: ERR_NOMEM */
MUST_CHECK enum err scheduler_create(const struct scheduler_options *options,
                                     struct scheduler **out);

/* Free it. Accepts NULL. It is idle, or its loop runs no more. */
void scheduler_destroy(struct scheduler *scheduler);

/* Read all schedules from the store, whose topics are attached. What cannot be
 * read is said in the log and left where it is.
 * Blocks: runs turns of the loop until all are read; before it is run.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err scheduler_load(struct scheduler *scheduler);

/* Make runs from now on. */
void scheduler_start(struct scheduler *scheduler);

/* Make no more runs. */
void scheduler_stop(struct scheduler *scheduler);

/* Tell whether no run and no change is under way. */
bool scheduler_idle(const struct scheduler *scheduler);

/* Figures so far; borrowed, living as long as the scheduler. */
const struct scheduler_stats *
scheduler_stats(const struct scheduler *scheduler);

/* How many schedules there are. */
uint32_t scheduler_count(const struct scheduler *scheduler);

/* The schedule at an index, by id, ascending. Borrowed until the next change.
 */
const struct schedule *scheduler_at(const struct scheduler *scheduler,
                                    uint32_t index);

/* The index of the first schedule whose id is `id` or behind it. */
uint32_t scheduler_find(const struct scheduler *scheduler, struct str id);

/* The schedule of an id; NULL when there is none. Borrowed likewise. */
const struct schedule *scheduler_get(const struct scheduler *scheduler,
                                     struct str id);

/* --- changes -------------------------------------------------------------- */

/* One change under way; embedded in the caller's object. */
struct scheduler_change {
    /* It ended: it is durable, or everything is as it was. Never called from
     * inside the call that began it. */
    void (*done)(struct scheduler_change *change, enum err err);
    bool created;       /* scheduler_put(): it was not there */
    struct store_op op; /* private, as all below */
    struct scheduler *scheduler;
    struct schedule_work *work;
    struct schedule_definition definition_before;
    struct zone_use *zone_before;
    bool replaced;
    struct schedule_state state_before;
};

/* Where the runs of a definition would go. */
struct scheduler_target {
    char topic[TOPIC_NAME_MAX + 1]; /* terminated */
    bool addressed; /* they have a URL; else they are for its subscriptions */
};

/* Look at a definition as scheduler_put() will, on any shard, without a change.
 * Errors: ERR_INVALID  `*out_refusal` says why
 *         ERR_NOMEM */
MUST_CHECK enum err scheduler_check(struct scheduler *scheduler,
                                    struct str json,
                                    struct scheduler_target *out_target,
                                    struct push_refusal *out_refusal);

/* Create or replace a schedule; its runs begin with the first time after now.
 *
 * Borrows: change, until done(). When the call itself fails, done() does not
 *          come.
 * Errors:  ERR_INVALID  id or definition; `*out_refusal` says why
 *          ERR_BUSY     a change of it is under way, there are too many, or as
 *                       store_append()
 *          ERR_FULL, ERR_NOMEM
 */
MUST_CHECK enum err scheduler_put(struct scheduler *scheduler,
                                  struct str id,
                                  struct str json,
                                  struct scheduler_change *change,
                                  struct push_refusal *out_refusal);

/* Hold a schedule's runs, or go on with the first after now.
 * Borrows: as scheduler_put().
 * Errors:  ERR_NOT_FOUND, ERR_BUSY, ERR_FULL */
MUST_CHECK enum err scheduler_pause(struct scheduler *scheduler,
                                    struct str id,
                                    bool paused,
                                    struct scheduler_change *change);

/* Remove a schedule, with its topic. A run of it that is under way goes on.
 * Nobody reads the topic.
 * Borrows: as scheduler_put().
 * Errors:  ERR_NOT_FOUND, ERR_BUSY */
MUST_CHECK enum err scheduler_remove(struct scheduler *scheduler,
                                     struct str id,
                                     struct scheduler_change *change);

/* --- runs by hand --------------------------------------------------------- */

struct scheduler_run {
    /* The push has ended; without error it is durable and `json` tells what
     * became of it: {"id":...,"topic":...,"seq":...,"durability":...}, or with
     * a delay what push_task_json() writes. Never called from inside
     * scheduler_run(). */
    void (*done)(struct scheduler_run *run, enum err err);
    char json[SCHEDULER_RUN_JSON_MAX]; /* terminated */
    char detail[RECORDER_DETAIL_MAX];  /* with an error: why */
    struct scheduler *scheduler;       /* private, as all below */
    char id[SCHEDULE_ID_MAX + 1];
    uint64_t number;
    uint64_t due_ms;
    bool timed;
};

/* Run a schedule now, paused or not. When it is due next stays.
 *
 * Borrows: run, until done(). When the call itself fails, done() does not come.
 * Errors:  ERR_NOT_FOUND
 *          ERR_INVALID  the push is refused; `*out_refusal` says why
 *          those of push_task_start()
 */
MUST_CHECK enum err scheduler_run(struct scheduler *scheduler,
                                  struct str id,
                                  struct scheduler_run *run,
                                  struct push_refusal *out_refusal);

#endif
