/* Dead letters that are dropped or sent again.
 *
 * The happy path: a letter is read, meant by the filter, pushed; when its push
 * is durable it is removed from the set in memory, and at the end of the turn
 * the cursor says so. At the end gaps are closed if need be, what was removed
 * becomes durable, and what lies below it is freed.
 *
 * go() does a turn's work and is called from wherever something happened, never
 * from inside itself: pushes, reads and operations end later.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/letters_job.h"

#include "base/check.h"
#include "base/diag.h"

#include <assert.h>
#include <inttypes.h>

static_assert(LETTERS_JOB_PUSHES_MAX == 64, "a bit each of a uint64_t");
/* So that what is under way always finds room when it ends. */
static_assert(LETTERS_RANGES_MAX - CURSOR_RANGES_MAX >= LETTERS_JOB_PUSHES_MAX,
              "a job cannot go on");

static void go(struct letters_job *job);

static struct io *io_of(const struct letters_job *job)
{
    return job->shard->io;
}

/* Have go() called in the next turn, or later. */
static void later(struct letters_job *job, uint64_t delay_ms)
{
    io_timer_start(io_of(job), &job->timer, delay_ms);
}

static void timer_expired(struct io_timer *timer)
{
    go(CONTAINER_OF(timer, struct letters_job, timer));
}

/* The walk ends; what is under way comes to its end first. */
static void stop(struct letters_job *job, enum err err)
{
    job->stopping = true;
    if (job->err == ERR_OK) {
        job->err = err;
    }
}

/* --- the cursor ----------------------------------------------------------- */

/* Somebody else may have moved it: an operator back, to have letters again; an
 * operator or retention forward. */
static void follow(struct letters_job *job)
{
    const struct store_cursor *cursor = &job->topic->store->cursor;

    if (cursor->next < job->noted_next) {
        letters_load(&job->letters, cursor);
    } else if (cursor->next > job->noted_next) {
        bool fits = letters_remove(&job->letters, 0, cursor->next);
        CHECK(fits); /* it touches `next` */
    }
}

/* Note what is gone, as far as a cursor can say it. */
static void note(struct letters_job *job)
{
    struct store_topic *stored = job->topic->store;
    struct store_cursor cursor;

    follow(job);
    if (!letters_fit(&job->letters)) {
        return;
    }
    letters_cursor(&job->letters, &cursor);
    if (cursor.next > stored->bounds.end) {
        return; /* what was moved is more than there is */
    }
    store_cursor_store(stored, &cursor);
    job->noted_next = stored->cursor.next;
    job->dirty = false;
    if (stored->cursor.range_count < cursor.range_count) {
        stop(job, ERR_NOMEM); /* the store had none for the ranges */
    }
}

static void
remove_letters(struct letters_job *job, uint64_t first, uint64_t end)
{
    bool fits = letters_remove(&job->letters, first, end);

    CHECK(fits); /* gaps are closed before */
    job->removed = true;
    job->dirty = true;
}

/* Gaps could not be closed: the letters of the last ranges stay. */
static void cut(struct letters_job *job)
{
    struct letters *letters = &job->letters;
    uint64_t left = 0;

    while (!letters_fit(letters)) {
        letters->range_count--;
        const struct store_range *range =
            &letters->ranges[letters->range_count];
        left += range->end - range->first;
    }
    job->done -= left < job->done ? left : job->done;
    DIAG_WARN("dead_letters_left", "topic=%s count=%" PRIu64 " err=%s",
              job->topic->store->name, left, err_text(job->err));
}

/* --- pushes --------------------------------------------------------------- */

static uint32_t pushes_of(const struct letters_job *job)
{
    return (uint32_t)job->pool.pending;
}

/* A letter is where it was; when there was only no room for now, the walk is to
 * go on there later. */
static void
push_failed(struct letters_job *job, uint64_t sequence, enum err err)
{
    if (job->phase == LETTERS_JOB_COPYING) {
        stop(job, err);
        return;
    }
    job->next = sequence < job->next ? sequence : job->next;
    job->more = true;
    stop(job, err == ERR_BUSY ? ERR_OK : err);
}

/* A letter was sent again, or a copy of it stored. */
static void push_ended(struct push_task *task)
{
    struct letters_job *job = task->context;
    uint64_t sequence = job->pushing[task->item];
    enum err err = task->err;

    job->pushed &= ~((uint64_t)1 << task->item);
    push_task_release(task);
    if (err == ERR_NOT_FOUND || err == ERR_CORRUPT) {
        DIAG_WARN("dead_letter_not_sent",
                  "seq=%" PRIu64 " reason=its body is damaged on disk",
                  sequence);
        /* It stays, and others go on. */
    } else if (err != ERR_OK) {
        push_failed(job, sequence, err);
    } else if (job->phase == LETTERS_JOB_WALKING && job->topic != NULL) {
        job->matched++;
        job->done++;
        remove_letters(job, sequence, sequence + 1);
    }
    go(job);
}

/* There is no room for a push: wait, though not for ever. */
static void busy(struct letters_job *job, enum err err)
{
    uint64_t now_ms = io_now_ms(io_of(job));

    if (job->busy_ms == 0) {
        job->busy_ms = now_ms;
    }
    if (now_ms - job->busy_ms >= LETTERS_JOB_BUSY_MS) {
        stop(job, err);
    }
    later(job, LETTERS_JOB_PAUSE_MS);
}

/* Push what was read. Returns false when it was not begun: then the job has
 * stopped, or goes on when the store has room. */
static bool
push(struct letters_job *job, const struct push *what, uint64_t sequence)
{
    struct push_task *task = NULL;
    enum err err = push_task_acquire(&job->pool, &task);

    if (err == ERR_OK) {
        task->ended = push_ended;
        task->context = job;
        task->item = 0;
        while ((job->pushed >> task->item & 1) != 0) {
            task->item++;
        }
        err = push_task_start_copy(task, what, job->topic->store, sequence);
        if (err == ERR_OK) {
            job->pushed |= (uint64_t)1 << task->item;
            job->pushing[task->item] = sequence;
            job->busy_ms = 0;
            return true;
        }
        push_task_release(task);
    }
    if (err != ERR_BUSY && err != ERR_NOMEM) {
        stop(job, err);
    } else if (pushes_of(job) == 0) {
        busy(job, err);
    }
    return false;
}

/* --- reading -------------------------------------------------------------- */

static void reader_ready(struct store_reader *reader)
{
    struct letters_job *job = reader->user;

    job->reading = false;
    go(job);
}

/* Read the letter at `sequence`, or the next one that is whole. Returns false
 * when it is not there: then the job waits for it, or has stopped, or
 * `*sequence` is where to go on. */
static bool
read_letter(struct letters_job *job, uint64_t *sequence, struct record *record)
{
    const struct store_bounds *bounds = &job->topic->store->bounds;
    enum err err = store_reader_next(job->reader, *sequence, record);

    switch (err) {
    case ERR_OK:
        if (record->sequence == *sequence) {
            return true;
        }
        *sequence = record->sequence; /* those before it are damaged */
        return false;
    case ERR_AGAIN:
        job->reading = true;
        return false;
    case ERR_RANGE:
        if (*sequence < bounds->oldest) {
            *sequence = bounds->oldest; /* dropped meanwhile */
            return false;
        }
        break;
    case ERR_NOT_FOUND: /* nothing whole is behind it */
        *sequence = bounds->end;
        return false;
    default:
        break;
    }
    stop(job, err);
    return false;
}

/* --- walking -------------------------------------------------------------- */

/* Make a letter a message again. Returns false when it cannot be one. */
static bool restore(const struct letters_job *job,
                    const struct record *record,
                    const struct letters_end *end,
                    struct message_options *options,
                    struct push *push)
{
    if (record->message.options == NULL) {
        return false;
    }
    *options = *record->message.options;
    *push = (struct push){
        .topic = options->topic,
        .message = record->message,
        .durability = DURABILITY_DISK,
    };
    push->message.options = options;
    options->topic = (struct str){0};
    options->dead = (struct str){0};
    options->dedup_id = (struct str){0}; /* it is meant to come again */
    options->not_before_ms = 0;
    if (options->expires_at_ms <= io_wall_ms(io_of(job))) {
        options->expires_at_ms = 0; /* it would only expire again */
    }
    if (end->subscription.size > 0) {
        options->subscription = end->subscription;
    }
    return store_topic_name_valid(push->topic) &&
           !topic_is_internal(push->topic) && !topic_is_dead(push->topic);
}

/* Send a letter again. Returns false when that is to be tried later, or the job
 * has stopped. */
static bool send_again(struct letters_job *job,
                       const struct record *record,
                       const struct letters_end *end)
{
    struct message_options options;
    struct push again;

    if (restore(job, record, end, &options, &again)) {
        return push(job, &again, record->sequence);
    }
    DIAG_WARN("dead_letter_not_sent",
              "topic=%s seq=%" PRIu64 " reason=its topic is not known",
              job->topic->store->name, record->sequence);
    job->matched++;
    return true;
}

static bool is_meant(struct letters_job *job,
                     const struct record *record,
                     struct letters_end *end)
{
    const struct message_options *options = record->message.options;
    struct str dead = options != NULL ? options->dead : (struct str){0};
    enum err err = letters_filter_read(dead, &job->memory, end);

    if (err == ERR_NOMEM) {
        stop(job, err);
        return false;
    }
    if (err != ERR_OK) {
        *end = (struct letters_end){0};
    }
    return letters_filter_match(&job->filter, record->sequence, end);
}

/* Tell whether letters that nobody can read go as well: all are dropped. */
static bool takes_damaged(const struct letters_job *job)
{
    const struct letters_filter *filter = &job->filter;

    return job->drops && !filter->one && !filter->by_status &&
           filter->reason.size == 0 && filter->class.size == 0 &&
           filter->subscription.size == 0 && filter->from_ms == 0 &&
           filter->to_ms == 0;
}

/* Look at one letter. Returns whether to go on, be it to the end: something
 * will call go() otherwise. */
static bool look(struct letters_job *job, uint64_t sequence)
{
    struct record record;
    struct letters_end end;
    uint64_t first = sequence;

    if (!read_letter(job, &sequence, &record)) {
        job->next = sequence < job->end ? sequence : job->end;
        if (job->next > first && takes_damaged(job)) {
            remove_letters(job, first, job->next);
        }
        return !job->reading;
    }
    if (is_meant(job, &record, &end)) {
        if (job->drops) {
            job->matched++;
            job->done++;
            remove_letters(job, sequence, sequence + 1);
        } else if (!send_again(job, &record, &end)) {
            job->next = sequence;
            return job->stopping;
        }
    }
    if (job->stopping) {
        return true;
    }
    job->looked++;
    job->next = sequence + 1;
    return true;
}

/* Tell whether the budget is used up, or nobody has time any more. */
static bool is_due(const struct letters_job *job)
{
    return job->looked >= job->look_max || job->shard->stopping ||
           io_now_ms(io_of(job)) >= job->due_ms;
}

static void copy_begin(struct letters_job *job)
{
    job->phase = LETTERS_JOB_COPYING;
    letters_choose(&job->letters, &job->plan);
    job->gap = 0;
    job->copy_next = 0;
}

/* Walk on by a letter. Returns whether to go on in this turn. */
static bool walk(struct letters_job *job)
{
    uint32_t pending = pushes_of(job);

    if (job->letters.range_count + pending >= LETTERS_RANGES_MAX) {
        if (pending == 0) {
            copy_begin(job);
        }
        return pending == 0;
    }
    if (pending == LETTERS_JOB_PUSHES_MAX) {
        return false;
    }
    uint64_t sequence = letters_next(&job->letters, job->next);
    if (sequence >= job->end) {
        job->next = job->end;
        job->stopping = true;
    } else if (is_due(job)) {
        job->next = sequence;
        job->more = true;
        job->stopping = true;
    } else {
        return look(job, sequence);
    }
    return true;
}

/* --- closing gaps --------------------------------------------------------- */

/* Store a live letter once more, as it is. */
static bool copy(struct letters_job *job, const struct record *record)
{
    const struct push again = {
        .topic = job->topic->store->name_str,
        .message = record->message,
        .durability = DURABILITY_DISK,
    };

    return push(job, &again, record->sequence);
}

/* All that could be stored again is. */
static void copy_end(struct letters_job *job)
{
    if (job->err == ERR_OK) {
        letters_close(&job->letters, &job->plan);
    }
    if (!letters_fit(&job->letters)) {
        cut(job);
    }
    job->phase = LETTERS_JOB_WALKING;
    note(job);
}

/* Copy a letter. Returns whether to go on in this turn. */
static bool copy_next(struct letters_job *job)
{
    uint32_t pending = pushes_of(job);
    struct record record;

    if (job->gap == job->plan.gap_count || job->err != ERR_OK) {
        if (pending == 0) {
            copy_end(job);
        }
        return pending == 0;
    }
    const struct store_range *gap = &job->plan.gaps[job->gap];
    if (job->copy_next < gap->first) {
        job->copy_next = gap->first;
    }
    if (job->copy_next >= gap->end) {
        job->gap++;
        return true;
    }
    if (pending == LETTERS_JOB_PUSHES_MAX) {
        return false;
    }
    if (!read_letter(job, &job->copy_next, &record)) {
        return !job->reading;
    }
    if (!copy(job, &record)) {
        return job->err != ERR_OK;
    }
    job->copy_next++;
    return true;
}

/* --- the end -------------------------------------------------------------- */

static void release(struct letters_job *job)
{
    store_reader_destroy(job->reader);
    job->reader = NULL;
    job->reading = false;
}

static void end(struct letters_job *job)
{
    release(job);
    io_timer_stop(io_of(job), &job->timer);
    push_task_pool_fini(&job->pool);
    buf_fini(&job->memory);
    list_remove(&job->link);
    if (job->topic != NULL && !list_empty(&job->topic->letters)) {
        later(CONTAINER_OF(job->topic->letters.next, struct letters_job, link),
              0);
    }
    job->more = job->more || job->err != ERR_OK;
    job->ended(job);
}

static void closed(struct letters_job *job, enum err err)
{
    job->ops--;
    if (err != ERR_OK && job->err == ERR_OK) {
        job->err = err;
    }
    if (job->ops == 0) {
        end(job);
    }
}

static void purged(struct store_op *op, enum err err)
{
    closed(CONTAINER_OF(op, struct letters_job, purge), err);
}

static void synced(struct store_op *op, enum err err)
{
    closed(CONTAINER_OF(op, struct letters_job, sync), err);
}

/* The walk is over, and nothing is under way. */
static void close_job(struct letters_job *job)
{
    if (job->topic == NULL) {
        job->err = ERR_NOT_FOUND;
        end(job);
        return;
    }
    if (!job->removed) {
        end(job);
        return;
    }
    note(job);
    struct store_topic *stored = job->topic->store;
    job->phase = LETTERS_JOB_CLOSING;
    job->sync.done = synced;
    job->ops = 1;
    if (stored->cursor.next > stored->bounds.oldest) {
        job->purge.done = purged;
        job->ops++;
        store_purge(stored, stored->cursor.next, &job->purge);
        job->noted_next = stored->cursor.next;
    }
    store_cursor_save(stored, &stored->cursor, &job->sync);
}

/* --- turns ---------------------------------------------------------------- */

static void begin(struct letters_job *job)
{
    struct store_topic *stored = job->topic->store;

    job->phase = LETTERS_JOB_WALKING;
    job->next = job->from;
    job->end = stored->bounds.end;
    if (job->filter.one) {
        job->next = job->filter.sequence;
        job->end = job->next < job->end ? job->next + 1 : job->end;
    }
    letters_load(&job->letters, &stored->cursor);
    job->noted_next = stored->cursor.next;
    enum err err = store_reader_create(stored, &job->reader);
    if (err != ERR_OK) {
        stop(job, err);
        return;
    }
    job->reader->ready = reader_ready;
    job->reader->user = job;
}

/* Take a step. Returns whether to go on in this turn; false also when the job
 * has ended, and may be gone. */
static bool step(struct letters_job *job)
{
    if (job->topic == NULL ||
        (job->stopping && job->phase != LETTERS_JOB_COPYING)) {
        if (pushes_of(job) > 0) {
            return false;
        }
        if (job->topic != NULL && !letters_fit(&job->letters)) {
            copy_begin(job);
            return true;
        }
        close_job(job);
        return false;
    }
    return job->phase == LETTERS_JOB_COPYING ? copy_next(job) : walk(job);
}

static bool is_next(const struct letters_job *job)
{
    return job->topic == NULL || job->topic->letters.next == &job->link;
}

static void go(struct letters_job *job)
{
    if (job->reading || !is_next(job) || job->phase == LETTERS_JOB_CLOSING) {
        return;
    }
    if (job->phase == LETTERS_JOB_WAITING && job->topic != NULL) {
        begin(job);
    }
    if (job->dirty && job->topic != NULL) {
        note(job);
    }
    uint32_t left = LETTERS_JOB_STEPS_MAX;
    while (left > 0) {
        if (!step(job)) {
            break;
        }
        left--;
    }
    if (left == 0) {
        later(job, 0);
    }
}

void letters_job_start(struct letters_job *job, struct topic *topic)
{
    job->topic = topic;
    job->timer.expired = timer_expired;
    job->phase = LETTERS_JOB_WAITING;
    job->next = job->from;
    push_task_pool_init(&job->pool, job->shard, LETTERS_JOB_PUSHES_MAX);
    buf_init(&job->memory, 0);
    list_append(&topic->letters, &job->link);
    later(job, 0);
}

void letters_job_forget(struct topic *topic)
{
    struct list *link = NULL;

    while ((link = list_take_first(&topic->letters)) != NULL) {
        struct letters_job *job = CONTAINER_OF(link, struct letters_job, link);
        release(job);
        job->topic = NULL;
        if (job->phase != LETTERS_JOB_CLOSING) {
            later(job, 0);
        }
    }
}
