/* Runs of schedules: when they are due, and how they are made.
 *
 * One timer serves all: it ends when the next run is due, or after a while, for
 * a look at the wall clock. A look goes over all schedules, makes what is due,
 * and finds the next. A schedule whose run is under way is passed over; the end
 * of the run finds its next.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/diag.h"
#include "queue/scheduler_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct io *io_of(const struct scheduler *scheduler)
{
    return scheduler->options.shard->io;
}

/* --- waiting -------------------------------------------------------------- */

void scheduler_look_in(struct scheduler *scheduler, uint64_t wait_ms)
{
    if (!scheduler->started) {
        return;
    }
    wait_ms = wait_ms < SCHEDULER_LOOK_MS ? wait_ms : SCHEDULER_LOOK_MS;
    uint64_t at_ms = io_now_ms(io_of(scheduler)) + wait_ms;
    if (scheduler->timer_at_ms == 0 || at_ms < scheduler->timer_at_ms) {
        scheduler->timer_at_ms = at_ms;
        io_timer_start(io_of(scheduler), &scheduler->timer, wait_ms);
    }
}

/* How long until a schedule is to be looked at; UINT64_MAX: not at all. */
static uint64_t wait_of(const struct schedule_work *work)
{
    const struct scheduler *scheduler = work->scheduler;
    uint64_t next_ms = work->schedule.next_ms;
    uint64_t wall_ms = io_wall_ms(io_of(scheduler));
    uint64_t now_ms = io_now_ms(io_of(scheduler));

    if (next_ms == 0 || work->running || work->changing) {
        return UINT64_MAX;
    }
    uint64_t due_ms = next_ms > wall_ms ? next_ms - wall_ms : 0;
    uint64_t retry_ms =
        work->retry_at_ms > now_ms ? work->retry_at_ms - now_ms : 0;
    return due_ms > retry_ms ? due_ms : retry_ms;
}

void scheduler_plan(struct schedule_work *work, uint64_t after_ms)
{
    struct schedule *schedule = &work->schedule;
    uint64_t due_ms = schedule->state.due_ms;

    work->retry_at_ms = 0;
    work->retry_ms = 0;
    schedule->retry_count = 0;
    schedule->next_ms = 0;
    if (schedule->zone == NULL || schedule->state.paused) {
        return;
    }
    /* The clock was set back a little: not again what was made. */
    if (due_ms > after_ms && due_ms - after_ms < SCHEDULER_BACK_MAX_MS) {
        after_ms = due_ms;
    }
    if (cron_next(&schedule->definition.cron, schedule->zone, after_ms,
                  &schedule->next_ms) &&
        !work->running && !work->changing) {
        scheduler_look_in(work->scheduler, wait_of(work));
    }
}

/* --- making a run --------------------------------------------------------- */

static void run_ended(struct push_task *task);

/* Write the id of a run's message. */
static struct str write_id(const struct scheduler_run *run,
                           char id[SCHEDULE_RUN_ID_MAX])
{
    int size = snprintf(id, SCHEDULE_RUN_ID_MAX, "sch_%s_%llu", run->id,
                        (unsigned long long)run->due_ms);

    CHECK(size > 0 && size < SCHEDULE_RUN_ID_MAX);
    return (struct str){id, (size_t)size};
}

/* Give the push the id that receivers know the run by.
 * Borrows: all it is given, as long as the push is used. */
static void
mark_push(struct push *push, struct message_options *options, struct str id)
{
    *options = (struct message_options){.retries = MESSAGE_RETRIES_UNSET};
    if (push->message.options != NULL) {
        *options = *push->message.options;
    }
    options->id = id;
    push->message.options = options;
}

/* Give a push to its topic.
 * Errors: as push_task_start() */
static enum err
start_push(struct scheduler *scheduler, struct push *push, void *run)
{
    struct push_task *task = NULL;

    enum err err = push_task_acquire(&scheduler->pool, &task);
    if (err != ERR_OK) {
        return err;
    }
    task->ended = run_ended;
    task->context = run;
    err = push_task_start(task, push);
    if (err != ERR_OK) {
        push_task_release(task);
    }
    return err;
}

/* Begin a run.
 * Errors: as scheduler_run(), but ERR_NOT_FOUND */
static enum err begin_run(struct schedule_work *work,
                          struct scheduler_run *run,
                          uint64_t due_ms,
                          struct push_refusal *refusal)
{
    struct scheduler *scheduler = work->scheduler;
    char id[SCHEDULE_RUN_ID_MAX];
    struct message_options options;
    struct push push;

    run->scheduler = scheduler;
    memcpy(run->id, work->schedule.id, sizeof(run->id));
    run->number = work->number;
    run->due_ms = due_ms;
    enum err err =
        schedule_read_push(&work->schedule.definition, scheduler->recorder,
                           io_wall_ms(io_of(scheduler)), &push, refusal);
    if (err != ERR_OK) {
        return err;
    }
    mark_push(&push, &options, write_id(run, id));
    err = start_push(scheduler, &push, run);
    if (err == ERR_TOO_LARGE || err == ERR_INVALID) {
        refusal->status = err == ERR_INVALID ? 400 : 413;
        (void)snprintf(refusal->detail, sizeof(refusal->detail), "%s",
                       push_task_err_text(err));
        err = ERR_INVALID;
    }
    return err;
}

/* Try again after a while, twice as long each time. */
static void
retry_later(struct schedule_work *work, enum err err, const char *detail)
{
    uint64_t wait_ms = work->retry_ms * 2;

    wait_ms =
        wait_ms > SCHEDULER_RETRY_MIN_MS ? wait_ms : SCHEDULER_RETRY_MIN_MS;
    wait_ms =
        wait_ms < SCHEDULER_RETRY_MAX_MS ? wait_ms : SCHEDULER_RETRY_MAX_MS;
    work->retry_ms = wait_ms;
    work->retry_at_ms = io_now_ms(io_of(work->scheduler)) + wait_ms;
    work->schedule.retry_count++;
    (void)snprintf(work->schedule.error, sizeof(work->schedule.error), "%s",
                   detail);
    DIAG_DEBUG("schedule_run_waits", "id=%s err=%s", work->schedule.id,
               err_text(err));
    scheduler_look_in(work->scheduler, wait_ms);
}

/* A run is refused, and would be again: go on with the next. */
static void
give_up(struct schedule_work *work, uint64_t due_ms, const char *detail)
{
    struct schedule *schedule = &work->schedule;

    (void)snprintf(schedule->error, sizeof(schedule->error), "%s", detail);
    schedule->state.fail_count++;
    schedule->state.due_ms = due_ms;
    work->scheduler->stats.runs_refused++;
    DIAG_WARN("schedule_run_refused", "id=%s; %s", schedule->id,
              schedule->error);
    scheduler_plan(work, io_wall_ms(io_of(work->scheduler)));
    scheduler_note(work);
}

/* Tell whether a push that failed so would fail again. */
static bool is_final(enum err err)
{
    return err == ERR_INVALID || err == ERR_TOO_LARGE || err == ERR_CONDITION;
}

/* Note that a run that was due has failed. */
static void take_failure(struct schedule_work *work,
                         const struct scheduler_run *run,
                         enum err err)
{
    if (is_final(err)) {
        give_up(work, run->due_ms, run->detail);
    } else if (work->schedule.next_ms != 0) {
        retry_later(work, err, run->detail);
    }
}

/* Note how a run ended. */
static void
take_result(struct schedule_work *work, struct scheduler_run *run, enum err err)
{
    struct schedule *schedule = &work->schedule;
    uint64_t now_ms = io_wall_ms(io_of(work->scheduler));

    if (run->timed) {
        work->running = false;
    }
    if (err != ERR_OK) {
        if (run->timed) {
            take_failure(work, run, err);
        }
        return;
    }
    schedule->error[0] = '\0';
    schedule->state.run_count++;
    schedule->state.run_ms = now_ms;
    work->scheduler->stats.runs++;
    if (run->timed) {
        schedule->state.due_ms = run->due_ms;
        scheduler_plan(work, now_ms > run->due_ms ? now_ms : run->due_ms);
    }
    scheduler_note(work);
}

static_assert((int)SCHEDULER_RUN_JSON_MAX > (int)PUSH_TASK_JSON_MAX,
              "what is said of a push fits");

/* Say what became of a run's push. */
static void write_json(struct scheduler_run *run, const struct push_task *task)
{
    char id[SCHEDULE_RUN_ID_MAX];

    if (task->waits) { /* it has its run's id when it is handed on */
        *push_task_json(task, run->json) = '\0';
        return;
    }
    int size =
        snprintf(run->json, sizeof(run->json),
                 "{\"id\":\"%.*s\",\"topic\":\"%.*s\",\"seq\":%llu,"
                 "\"durability\":\"%.*s\"}",
                 STR_ARG(write_id(run, id)), STR_ARG(push_task_topic(task)),
                 (unsigned long long)task->sequence,
                 STR_ARG(push_task_durability(task)));

    CHECK(size > 0 && (size_t)size < sizeof(run->json));
}

static void run_ended(struct push_task *task)
{
    struct scheduler_run *run = task->context;
    struct schedule_work *work =
        scheduler_work(run->scheduler, str_from(run->id));
    enum err err = task->err;

    if (err == ERR_OK) {
        write_json(run, task);
    } else {
        push_task_detail(task, run->detail);
    }
    push_task_release(task);
    if (work != NULL && work->number == run->number) {
        take_result(work, run, err);
    }
    run->done(run, err);
}

enum err scheduler_run(struct scheduler *scheduler,
                       struct str id,
                       struct scheduler_run *run,
                       struct push_refusal *out_refusal)
{
    struct schedule_work *work = scheduler_work(scheduler, id);
    uint64_t due_ms = io_wall_ms(io_of(scheduler));

    if (work == NULL || work->schedule.fresh) {
        return ERR_NOT_FOUND;
    }
    /* Not the id of another run by hand, nor of one that was due. */
    due_ms =
        due_ms > scheduler->run_now_ms ? due_ms : scheduler->run_now_ms + 1;
    due_ms += due_ms % 1000 == 0 ? 1 : 0;
    scheduler->run_now_ms = due_ms;
    run->timed = false;
    return begin_run(work, run, due_ms, out_refusal);
}

/* --- what is due ---------------------------------------------------------- */

static void timed_done(struct scheduler_run *run, enum err err)
{
    (void)err;
    free(run);
}

static void make_run(struct schedule_work *work)
{
    struct scheduler_run *run = calloc(1, sizeof(*run));
    struct push_refusal refusal;

    if (run == NULL) {
        retry_later(work, ERR_NOMEM, push_task_err_text(ERR_NOMEM));
        return;
    }
    run->done = timed_done;
    run->timed = true;
    enum err err = begin_run(work, run, work->schedule.next_ms, &refusal);
    if (err == ERR_OK) {
        work->running = true;
        return;
    }
    free(run);
    if (err == ERR_INVALID) {
        give_up(work, work->schedule.next_ms, refusal.detail);
    } else {
        retry_later(work, err, push_task_err_text(err));
    }
}

/* A time passed and makes no run. */
static void miss(struct schedule_work *work, uint64_t now_ms)
{
    work->scheduler->stats.runs_missed++;
    scheduler_plan(work, now_ms);
}

/* The first look at a schedule: from where its state was noted on. What passed
 * while nobody looked was missed, however short ago. */
static void resume(struct schedule_work *work, uint64_t now_ms)
{
    struct schedule *schedule = &work->schedule;
    const struct schedule_state *state = &schedule->state;
    uint64_t from_ms =
        state->since_ms > state->due_ms ? state->since_ms : state->due_ms;

    if (from_ms > now_ms && from_ms - now_ms > SCHEDULER_BACK_MAX_MS) {
        from_ms = now_ms;
    }
    scheduler_plan(work, from_ms);
    if (schedule->next_ms != 0 && schedule->next_ms <= now_ms &&
        schedule->definition.missed == SCHEDULE_MISSED_SKIP) {
        miss(work, now_ms);
    }
}

static void look_at(struct schedule_work *work, bool corrected, uint64_t now_ms)
{
    struct schedule *schedule = &work->schedule;

    if (work->running || work->changing) {
        return;
    }
    if (corrected) {
        scheduler_plan(work, now_ms);
    } else if (!work->scheduler->begun) {
        resume(work, now_ms);
    }
    if (schedule->next_ms == 0 || wait_of(work) > 0) {
        return;
    }
    if (schedule->definition.missed == SCHEDULE_MISSED_SKIP &&
        work->retry_ms == 0 &&
        now_ms - schedule->next_ms > SCHEDULER_LATE_MAX_MS) {
        miss(work, now_ms);
    } else {
        make_run(work);
    }
}

void scheduler_look(struct io_timer *timer)
{
    struct scheduler *scheduler = CONTAINER_OF(timer, struct scheduler, timer);
    uint64_t wall_ms = io_wall_ms(io_of(scheduler));
    uint64_t now_ms = io_now_ms(io_of(scheduler));
    uint64_t expected_ms = scheduler->wall_ms + (now_ms - scheduler->look_ms);
    uint64_t missed = scheduler->stats.runs_missed;
    uint64_t wait_ms = UINT64_MAX;
    bool corrected =
        scheduler->begun && expected_ms > wall_ms + SCHEDULER_BACK_MAX_MS;

    scheduler->timer_at_ms = 0;
    scheduler->wall_ms = wall_ms;
    scheduler->look_ms = now_ms;
    for (uint32_t index = 0; index < scheduler->count; index++) {
        struct schedule_work *work = scheduler->table[index];
        if (work->note_failed) {
            scheduler_note(work);
        }
        look_at(work, corrected, wall_ms);
        uint64_t wait_one_ms = wait_of(work);
        wait_ms = wait_one_ms < wait_ms ? wait_one_ms : wait_ms;
    }
    scheduler->begun = true;
    if (wait_ms < UINT64_MAX) {
        scheduler_look_in(scheduler, wait_ms);
    }
    if (scheduler->stats.runs_missed > missed) {
        DIAG_WARN("schedules_missed", "shard=%u schedules=%llu",
                  scheduler->options.shard->index,
                  (unsigned long long)(scheduler->stats.runs_missed - missed));
    }
}

void scheduler_start(struct scheduler *scheduler)
{
    scheduler->started = true;
    scheduler_look_in(scheduler, 0);
}

void scheduler_stop(struct scheduler *scheduler)
{
    scheduler->started = false;
    scheduler->timer_at_ms = 0;
    io_timer_stop(io_of(scheduler), &scheduler->timer);
}
