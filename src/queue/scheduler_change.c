/* Changes of schedules, and how their state is kept.
 *
 * A change takes effect in memory at once, is appended as one message, and is
 * done when that is durable; else what was before is put back. Only one at a
 * time per schedule, and nothing else is appended while one is under way: so
 * what the last message holds is never a change that was refused.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/diag.h"
#include "queue/scheduler_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOPIC_SIZE = sizeof(SCHEDULE_TOPIC_PREFIX) + SCHEDULE_ID_MAX };

/* Write the name of a schedule's topic. */
static struct str topic_name(const struct schedule_work *work,
                             char name[TOPIC_SIZE])
{
    (void)snprintf(name, TOPIC_SIZE, SCHEDULE_TOPIC_PREFIX "%s",
                   work->schedule.id);
    return str_from(name);
}

static uint64_t wall_ms(const struct schedule_work *work)
{
    return io_wall_ms(work->scheduler->options.shard->io);
}

/* Append the message that keeps a schedule.
 * Errors: as shard_topic(), store_append() */
static enum err keep(struct schedule_work *work, struct store_op *op)
{
    struct schedule_message kept;
    struct shard *shard = work->scheduler->options.shard;
    struct topic *topic = NULL;
    char name[TOPIC_SIZE];

    enum err err = shard_topic(shard, topic_name(work, name), true, &topic);
    if (err != ERR_OK) {
        return err;
    }
    schedule_message_make(&work->schedule.definition, &work->schedule.state,
                          wall_ms(work), &kept);
    op->durability = DURABILITY_DISK;
    err = store_append(topic->store, &kept.message, op);
    if (err != ERR_OK) {
        shard_topic_unused(shard, topic_name(work, name));
        return err;
    }
    work->scheduler->operations++;
    return ERR_OK;
}

/* --- notes ---------------------------------------------------------------- */

static void settle(struct schedule_work *work);

static void note_ended(struct schedule_work *work)
{
    CHECK(work->scheduler->operations > 0);
    work->scheduler->operations--;
    work->noting = false;
    if (work->removed) {
        scheduler_work_free(work);
        return;
    }
    settle(work);
}

/* The next note has it, too; that comes with the next look, for the next run
 * may be far, and after a restart this one would be made again. */
static void note_later(struct schedule_work *work, enum err err)
{
    DIAG_WARN("schedule_not_noted", "id=%s err=%s", work->schedule.id,
              err_text(err));
    work->note_failed = true;
    scheduler_look_in(work->scheduler, SCHEDULER_LOOK_MS);
}

static void noted(struct store_op *op, enum err err)
{
    struct schedule_work *work =
        CONTAINER_OF(op, struct schedule_work, note_op);

    work->purge_wanted = err == ERR_OK;
    if (err != ERR_OK && !work->removed) {
        note_later(work, err);
    }
    note_ended(work);
}

static void purged(struct store_op *op, enum err err)
{
    (void)err; /* what is kept too long goes after the next note */
    note_ended(CONTAINER_OF(op, struct schedule_work, note_op));
}

/* Drop what the last message has made old, now and then. */
static void purge(struct schedule_work *work)
{
    struct shard *shard = work->scheduler->options.shard;
    struct topic *topic = NULL;
    char name[TOPIC_SIZE];

    if (!work->purge_wanted) {
        return;
    }
    work->purge_wanted = false;
    if (shard_topic(shard, topic_name(work, name), false, &topic) != ERR_OK) {
        return;
    }
    const struct store_bounds *bounds = &topic->store->bounds;
    if (bounds->end - bounds->oldest <= SCHEDULER_KEPT_MAX) {
        return;
    }
    work->noting = true;
    work->scheduler->operations++;
    work->note_op.done = purged;
    store_purge(topic->store, bounds->end - 1, &work->note_op);
}

/* A change or note has ended: begin what waited for it. */
static void settle(struct schedule_work *work)
{
    if (work->changing || work->noting || work->removed) {
        return;
    }
    if (!work->note_wanted) {
        purge(work);
        return;
    }
    work->note_wanted = false;
    work->note_failed = false;
    work->note_op.done = noted;
    work->noting = true;
    enum err err = keep(work, &work->note_op);
    if (err != ERR_OK) {
        work->noting = false;
        note_later(work, err);
    }
}

void scheduler_note(struct schedule_work *work)
{
    work->note_wanted = true;
    settle(work);
}

/* --- changes -------------------------------------------------------------- */

/* Put back what a change that failed has changed. What runs have counted
 * meanwhile stays. */
static void put_back(struct scheduler_change *change)
{
    struct schedule_work *work = change->work;
    struct schedule *schedule = &work->schedule;

    schedule->state.paused = change->state_before.paused;
    schedule->state.since_ms = change->state_before.since_ms;
    if (change->replaced) {
        schedule_definition_fini(&schedule->definition);
        schedule->definition = change->definition_before;
        scheduler_zone_leave(work->zone);
        work->zone = change->zone_before;
        schedule->zone = work->zone != NULL ? work->zone->zone : NULL;
    }
}

/* Forget what a change that is done has replaced. */
static void forget(struct scheduler_change *change)
{
    if (change->replaced) {
        schedule_definition_fini(&change->definition_before);
        scheduler_zone_leave(change->zone_before);
    }
}

/* A change ends, without calling its done(). The work may be gone after it. */
static void end_change(struct scheduler_change *change, enum err err)
{
    struct schedule_work *work = change->work;
    struct scheduler *scheduler = work->scheduler;
    uint64_t size = work->schedule.definition.json.size;

    work->changing = false;
    if (err == ERR_OK) {
        scheduler->bytes -= change->definition_before.json.size;
        forget(change);
        work->schedule.fresh = false;
        work->purge_wanted = true;
        if (change->replaced) { /* what failed was another definition's */
            work->schedule.error[0] = '\0';
        }
    } else if (work->schedule.fresh) {
        scheduler_leave(scheduler, work);
        scheduler_work_free(work);
        return;
    } else {
        scheduler->bytes -= change->replaced ? size : 0;
        put_back(change);
    }
    scheduler_plan(work, wall_ms(work));
    settle(work);
}

static void changed(struct store_op *op, enum err err)
{
    struct scheduler_change *change =
        CONTAINER_OF(op, struct scheduler_change, op);
    struct scheduler *scheduler = change->scheduler;
    char name[TOPIC_SIZE];

    if (err != ERR_OK) {
        shard_topic_unused(scheduler->options.shard,
                           topic_name(change->work, name));
    }
    end_change(change, err);
    CHECK(scheduler->operations > 0);
    scheduler->operations--;
    change->done(change, err);
}

/* The state in memory is changed: append it. */
static enum err begin_change(struct scheduler_change *change)
{
    struct schedule_work *work = change->work;

    change->op.done = changed;
    work->changing = true;
    work->schedule.next_ms = 0;
    enum err err = keep(work, &change->op);
    if (err != ERR_OK) {
        end_change(change, err);
    }
    return err;
}

static void init_change(struct scheduler_change *change,
                        struct scheduler *scheduler,
                        struct schedule_work *work)
{
    change->scheduler = scheduler;
    change->work = work;
    change->created = work->schedule.fresh;
    change->replaced = false;
    change->definition_before = (struct schedule_definition){0};
    change->zone_before = NULL;
    change->state_before = work->schedule.state;
}

enum err scheduler_pause(struct scheduler *scheduler,
                         struct str id,
                         bool paused,
                         struct scheduler_change *change)
{
    struct schedule_work *work = scheduler_work(scheduler, id);

    if (work == NULL) {
        return ERR_NOT_FOUND;
    }
    if (work->changing) {
        return ERR_BUSY;
    }
    init_change(change, scheduler, work);
    work->schedule.state.paused = paused;
    if (!paused && change->state_before.paused) {
        work->schedule.state.since_ms = wall_ms(work);
    }
    return begin_change(change);
}

/* Say which zone is not known. Returns ERR_INVALID. */
static enum err refuse_zone(const char *zone, struct push_refusal *refusal)
{
    refusal->status = 400;
    (void)snprintf(refusal->detail, sizeof(refusal->detail),
                   "zone %s is not known to this system", zone);
    return ERR_INVALID;
}

/* Read a definition with all that belongs to it, and try its push. */
static enum err read_put(struct scheduler *scheduler,
                         struct str json,
                         struct schedule_definition *out_definition,
                         struct zone_use **out_zone,
                         struct push_refusal *refusal)
{
    struct schedule_definition definition;
    uint64_t now_ms = io_wall_ms(scheduler->options.shard->io);
    struct push push;

    enum err err = schedule_definition_read(json, &definition, refusal);
    if (err != ERR_OK) {
        return err;
    }
    err = schedule_read_push(&definition, scheduler->recorder, now_ms, &push,
                             refusal);
    if (err == ERR_OK) {
        err =
            scheduler_zone_use(scheduler, str_from(definition.zone), out_zone);
        if (err == ERR_NOT_FOUND || err == ERR_INVALID) {
            err = refuse_zone(definition.zone, refusal);
        }
    }
    if (err != ERR_OK) {
        schedule_definition_fini(&definition);
        return err;
    }
    *out_definition = definition;
    return ERR_OK;
}

enum err scheduler_check(struct scheduler *scheduler,
                         struct str json,
                         struct scheduler_target *out_target,
                         struct push_refusal *out_refusal)
{
    struct schedule_definition definition;
    uint64_t now_ms = io_wall_ms(scheduler->options.shard->io);
    struct push push;

    enum err err = schedule_definition_read(json, &definition, out_refusal);
    if (err != ERR_OK) {
        return err;
    }
    err = schedule_read_push(&definition, scheduler->recorder, now_ms, &push,
                             out_refusal);
    if (err == ERR_OK) {
        memcpy(out_target->topic, push.topic.data, push.topic.size);
        out_target->topic[push.topic.size] = '\0';
        out_target->addressed = push.message.url.size > 0;
    }
    schedule_definition_fini(&definition);
    return err;
}

/* Find the work to be changed, or make and enter a fresh one. */
static enum err take_work(struct scheduler *scheduler,
                          struct str id,
                          struct schedule_work **out)
{
    struct schedule_work *work = scheduler_work(scheduler, id);

    if (work != NULL) {
        *out = work;
        return work->changing ? ERR_BUSY : ERR_OK;
    }
    if (scheduler->count >= SCHEDULER_COUNT_MAX) {
        return ERR_BUSY;
    }
    work = scheduler_work_make(scheduler, id);
    if (work == NULL) {
        return ERR_NOMEM;
    }
    work->schedule.fresh = true;
    enum err err = scheduler_enter(scheduler, work);
    if (err != ERR_OK) {
        scheduler_work_free(work);
        return err;
    }
    *out = work;
    return ERR_OK;
}

/* Put a definition in the place of what a work has. */
static void replace(struct scheduler_change *change,
                    const struct schedule_definition *definition,
                    struct zone_use *zone)
{
    struct schedule_work *work = change->work;
    struct schedule *schedule = &work->schedule;

    change->replaced = true;
    change->definition_before = schedule->definition;
    change->zone_before = work->zone;
    schedule->definition = *definition;
    work->zone = zone;
    schedule->zone = zone->zone;
    schedule->state.paused = definition->paused;
    schedule->state.since_ms = wall_ms(work);
    work->scheduler->bytes += definition->json.size;
}

enum err scheduler_put(struct scheduler *scheduler,
                       struct str id,
                       struct str json,
                       struct scheduler_change *change,
                       struct push_refusal *out_refusal)
{
    struct schedule_definition definition;
    struct schedule_work *work = NULL;
    struct zone_use *zone = NULL;

    CHECK(schedule_id_valid(id));
    if (scheduler->bytes + json.size > SCHEDULER_BYTES_MAX) {
        return ERR_BUSY;
    }
    enum err err = read_put(scheduler, json, &definition, &zone, out_refusal);
    if (err != ERR_OK) {
        return err;
    }
    err = take_work(scheduler, id, &work);
    if (err != ERR_OK) {
        scheduler_zone_leave(zone);
        schedule_definition_fini(&definition);
        return err;
    }
    init_change(change, scheduler, work);
    replace(change, &definition, zone);
    return begin_change(change);
}

/* --- removal -------------------------------------------------------------- */

static void removed(struct store_op *op, enum err err)
{
    struct scheduler_change *change =
        CONTAINER_OF(op, struct scheduler_change, op);
    struct scheduler *scheduler = change->scheduler;
    struct schedule_work *work = change->work;
    struct str id = str_from(work->schedule.id);
    char name[TOPIC_SIZE];

    work->changing = false;
    if (err != ERR_OK) {
        shard_topic_again(scheduler->options.shard, topic_name(work, name));
    }
    bool again = err != ERR_OK && scheduler_work(scheduler, id) == NULL &&
                 scheduler_enter(scheduler, work) == ERR_OK;
    if (again) {
        scheduler_plan(work, wall_ms(work));
        settle(work);
    } else {
        scheduler_work_free(work);
    }
    CHECK(scheduler->operations > 0);
    scheduler->operations--;
    change->done(change, err);
}

enum err scheduler_remove(struct scheduler *scheduler,
                          struct str id,
                          struct scheduler_change *change)
{
    struct schedule_work *work = scheduler_work(scheduler, id);
    struct shard *shard = scheduler->options.shard;
    struct topic *topic = NULL;
    char name[TOPIC_SIZE];

    if (work == NULL) {
        return ERR_NOT_FOUND;
    }
    if (work->changing) {
        return ERR_BUSY;
    }
    enum err err = shard_topic(shard, topic_name(work, name), false, &topic);
    if (err != ERR_OK) {
        return err;
    }
    init_change(change, scheduler, work);
    scheduler_leave(scheduler, work);
    work->changing = true;
    work->schedule.next_ms = 0;
    scheduler->operations++;
    change->op.done = removed;
    change->op.durability = DURABILITY_DISK;
    shard_topic_delete(shard, topic, &change->op);
    return ERR_OK;
}
