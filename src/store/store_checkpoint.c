/* Checkpoints: doc/log-format.md, section 8.
 *
 * What happens: the topics that changed since the last one are taken over to
 * `todo`; jobs flush them, some at a time, with `cmd` and `dlv`; then all is
 * synced (when there are few topics, each by its own job), then the shard's
 * checkpoint file says so, then the journal is told.
 *
 * What fails:
 *   - A flush: the run is given up; all topics of it change again; the next one
 *     has the same number.
 *   - A sync: the store breaks.
 *   - The last write: only that is done again, after a pause, until it
 *     succeeds, since the disk may have either state.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_chore.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"

#include "base/diag.h"
#include "sys/clock.h"

/* Count nodes, as far as it matters. */
static uint32_t list_count(const struct list *head, uint32_t count_max)
{
    uint32_t count = 0;
    for (struct list *node = head->next; node != head && count < count_max;
         node = node->next) {
        count++;
    }
    return count;
}

void store_checkpoint_begin(struct local_store *store)
{
    struct checkpoint_run *run = &store->checkpoint_run;
    if (run->step == CHECKPOINT_NONE && !run->wanted && !store->broken) {
        run->wanted = true;
        if (store->io != NULL) {
            store_append_kick(store);
        }
    }
}

void store_checkpoint_resume(struct local_store *store)
{
    struct checkpoint_run *run = &store->checkpoint_run;
    if (!run->wanted || run->step != CHECKPOINT_NONE ||
        journal_committing(store->journal) ||
        io_timer_running(&store->hold_timer)) {
        return;
    }
    run->wanted = false;
    run->step = CHECKPOINT_TOPICS;
    run->started_ns = clock_monotonic_ns();
    run->target = store->checkpoint;
    run->target.number++;
    if (store->io != NULL) {
        struct journal_place place = journal_place(store->journal);
        run->target.generation = place.generation;
        run->target.offset = place.offset;
    }
    store->committed_since = false;
    list_init(&run->done);
    list_init(&run->todo);
    while (!list_empty(&store->dirty)) {
        struct list *node = list_take_first(&store->dirty);
        struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, dirty_link);
        list_append(&run->todo, &topic->checkpoint_link);
    }
    run->sync_all =
        store->sync_all_due ||
        list_count(&run->todo, STORE_SYNC_FILES_MAX + 1) > STORE_SYNC_FILES_MAX;
    if (store->io != NULL) {
        io_timer_stop(store->io, &store->checkpoint_timer);
    }
}

/* Fill the job with some of the topics that are still to be done. */
static bool pick_topics(struct local_store *store)
{
    struct checkpoint_run *run = &store->checkpoint_run;
    struct job *job = &store->job;
    job->kind = JOB_TOPICS;
    job->sync_topics = !run->sync_all;
    job->forget_files = run->sync_all;
    uint64_t size = 0;
    uint32_t count_max =
        run->sync_all ? STORE_JOB_TOPICS_MAX : STORE_JOB_SYNCS_MAX;
    while (!list_empty(&run->todo) && size < STORE_JOB_SIZE_MAX &&
           job->count < count_max) {
        struct list *node = run->todo.next;
        struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, checkpoint_link);
        if (!store_flush_add(topic, run->target.number)) {
            job->err = ERR_BUSY; /* a folder that waits, or no memory */
            break;
        }
        size += topic->memory_seen;
        store_list_move(&run->done, node);
    }
    if (run->sync_all) {
        store->sync_all_due = true; /* until the sync is done */
    }
    return job->count > 0 || job->err != ERR_OK;
}

bool store_checkpoint_pick(struct local_store *store)
{
    struct checkpoint_run *run = &store->checkpoint_run;
    struct job *job = &store->job;
    switch (run->step) {
    case CHECKPOINT_TOPICS:
        if (!list_empty(&run->todo)) {
            return pick_topics(store);
        }
        if (store_chore_moves(store)) {
            return false; /* what moves away must be durable, too */
        }
        /* All flushed: what was flushed meanwhile by others may have closed
         * files without a sync. */
        run->step = CHECKPOINT_SYNC;
        job->kind = JOB_SYNC;
        job->sync_all = store->sync_all_due;
        return true;
    case CHECKPOINT_SYNC:
        job->kind = JOB_SYNC;
        job->sync_all = store->sync_all_due;
        return true;
    case CHECKPOINT_COMPLETE:
        job->kind = JOB_COMPLETE;
        job->checkpoint = run->target;
        return true;
    case CHECKPOINT_NONE:
        break;
    }
    return false;
}

/* Give the run up. What it wrote is not believed; all of it is to do again. */
static void give_up(struct local_store *store)
{
    struct checkpoint_run *run = &store->checkpoint_run;
    struct list *heads[] = {&run->todo, &run->done};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        for (struct list *node = list_take_first(heads[i]); node != NULL;
             node = list_take_first(heads[i])) {
            store_topics_mark(
                CONTAINER_OF(node, struct local_topic, checkpoint_link));
        }
    }
    run->step = CHECKPOINT_NONE;
    store->committed_since = true;
    store->stats.checkpoint_failures++;
    store_checkpoint_arm(store);
}

/* The checkpoint is in force. */
static void complete(struct local_store *store)
{
    struct checkpoint_run *run = &store->checkpoint_run;
    while (list_take_first(&run->done) != NULL) {
    }
    run->step = CHECKPOINT_NONE;
    store->checkpoint = run->target;
    store->stats.checkpoints++;
    histogram_record(&store->stats.checkpoint_us,
                     (clock_monotonic_ns() - run->started_ns) / 1000);
    if (store->io != NULL) {
        struct journal_place place = {
            .generation = run->target.generation,
            .offset = run->target.offset,
        };
        journal_release(store->journal, place);
    }
    store_checkpoint_arm(store);
}

void store_checkpoint_stepped(struct local_store *store)
{
    struct checkpoint_run *run = &store->checkpoint_run;
    bool failed = store->job.err != ERR_OK;
    switch (run->step) {
    case CHECKPOINT_TOPICS:
        if (failed) {
            give_up(store);
        }
        break;
    case CHECKPOINT_SYNC:
        if (store->job.sync_all) {
            store->sync_all_due = false;
        }
        run->step = CHECKPOINT_COMPLETE;
        break;
    case CHECKPOINT_COMPLETE:
        if (failed) {
            store->stats.checkpoint_failures++; /* the same again, later */
        } else {
            complete(store);
        }
        break;
    case CHECKPOINT_NONE:
        break;
    }
}

void store_checkpoint_arm(struct local_store *store)
{
    if (store->io == NULL || store->closing) {
        return;
    }
    /* One that frees the journal's files has them tried again, too. */
    bool due = store->committed_since || !list_empty(&store->dirty) ||
               store->stats.failed || store->without_file;
    if (due && store->checkpoint_run.step == CHECKPOINT_NONE &&
        !io_timer_running(&store->checkpoint_timer)) {
        io_timer_start(store->io, &store->checkpoint_timer,
                       store->options->checkpoint_interval_ms);
    }
}

void store_checkpoint_expired(struct io_timer *timer)
{
    struct local_store *store =
        CONTAINER_OF(timer, struct local_store, checkpoint_timer);
    store_checkpoint_begin(store); /* the turn hook, which follows, goes on */
}
