/* Reading back what a topic's log says of ids and collapse keys, after a start.
 *
 *   - A topic with dedup ids waits in the first row, one with nothing but
 *     collapse keys in the second: pushes are refused as long as the former is
 *     not read, while for the latter only a delivery waits.
 *   - One topic is read at a time, some records each turn: from the first that
 *     can still be in its window, or that is not delivered, to the end of what
 *     there was then. What comes later notes itself.
 *   - A topic of both kinds goes to the second row when its window is read, for
 *     what is before it.
 *
 * What fails: a read, or memory. The topic goes to the end of its row, and the
 * row goes on after a while; until it is read, the topic is as not read. What
 * was noted before is found again, and not noted twice.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/accept_internal.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/due_id.h"
#include "queue/shard.h"

enum {
    STEP_RECORDS = 1024, /* read in one turn: about a millisecond's work */
    AGAIN_MS = 1000,     /* after a failure */
};

static void step_due(struct io_timer *timer);
static void ready(struct store_reader *reader);

void accept_walk_init(struct accept *accept)
{
    struct accept_walk *walk = &accept->walk;

    list_init(&walk->dedup_row);
    list_init(&walk->bucket_row);
    list_init(&walk->collapse_row);
    walk->timer.expired = step_due;
}

void accept_walk_fini(struct accept *accept)
{
    CHECK(accept->walk.topic == NULL);
    CHECK(accept->walk.waiting == 0);
    CHECK(!accept->walk.sending);
    accept_delayed_drop(accept);
    io_timer_stop(accept->options.io, &accept->walk.timer);
}

/* Go on with the walk, unless it goes on by itself. */
static void go_on(struct accept *accept)
{
    struct accept_walk *walk = &accept->walk;

    if (!walk->reading && !walk->sending && !io_timer_running(&walk->timer)) {
        io_timer_start(accept->options.io, &walk->timer, 0);
    }
}

static void enter_row(struct accept_topic *state)
{
    struct accept_walk *walk = &state->accept->walk;
    struct list *row =
        state->dedup_ready ? &walk->collapse_row : &walk->dedup_row;

    list_append(state->is_bucket ? &walk->bucket_row : row, &state->walk_link);
}

void accept_walk_add(struct accept_topic *state)
{
    enter_row(state);
    state->accept->walk.waiting++;
    go_on(state->accept);
}

/* Let go of the topic being read. */
static void leave(struct accept *accept)
{
    struct accept_walk *walk = &accept->walk;

    accept_delayed_drop(accept);
    store_reader_destroy(walk->reader);
    walk->reader = NULL;
    walk->reading = false;
    walk->topic = NULL;
}

void accept_walk_remove(struct accept_topic *state)
{
    struct accept_walk *walk = &state->accept->walk;

    if (state->dedup_ready && state->collapse_ready) {
        return;
    }
    if (walk->topic == state) {
        leave(state->accept);
        go_on(state->accept);
    }
    if (state->is_bucket) {
        accept_delayed_end(state->accept);
    }
    list_remove(&state->walk_link);
    walk->waiting--;
}

/* Tell all who wait for the keys of a topic. */
static void tell(struct topic *topic)
{
    struct list *next = NULL;

    for (struct list *link = topic->subscriptions.next;
         link != &topic->subscriptions; link = next) {
        next = link->next;
        topic_changed(CONTAINER_OF(link, struct topic, link));
    }
    topic_changed(topic);
}

/* --- one topic ------------------------------------------------------------ */

/* The number that stands for a message: its own, or that of the place where it
 * was kept until it was due, for that is the id its push was answered with. */
static uint64_t value_of(const struct accept *accept,
                         const struct record *record)
{
    const struct message_options *options = record->message.options;
    uint64_t bucket_id = 0;
    uint64_t sequence = 0;
    uint64_t mark = 0;

    if (accept->options.shard == NULL ||
        due_id_read(options->id, &bucket_id, &sequence) != ERR_OK ||
        !due_id_remember(&accept->options.shard->delayed_ids,
                         options->not_before_ms, bucket_id, sequence, &mark)) {
        return record->sequence;
    }
    return mark;
}

enum err accept_note_id(struct accept *accept,
                        struct topic *topic,
                        const struct siphash *hash,
                        uint64_t value,
                        uint64_t pushed_at_ms)
{
    uint64_t now_ms = io_wall_ms(accept->options.io);
    uint32_t window_ms = accept_window_ms(topic);
    struct accept_topic *state = accept_state(accept, topic);
    uint64_t known = 0;

    if (state == NULL) {
        return ERR_NOMEM;
    }
    /* It may be known from a walk that failed, or, of what was handed on, from
     * two places. */
    if (pushed_at_ms + window_ms <= now_ms ||
        dedup_look(&accept->dedup, hash, now_ms, window_ms, &known) !=
            DEDUP_NEW) {
        return ERR_OK;
    }
    accept_sweep_arm(accept);
    return dedup_add(&accept->dedup, &state->dedup, hash, value, pushed_at_ms);
}

/* Note what a message says. Errors: ERR_NOMEM */
static enum err note(struct accept_topic *state, const struct record *record)
{
    struct accept *accept = state->accept;
    const struct message *message = &record->message;
    const struct message_options *options = message->options;
    struct str name = state->topic->store->name_str;

    if (state->is_bucket) {
        return accept_delayed_take(accept, state->topic, record);
    }
    if (options == NULL || (options->id.size > 0 && !due_id_is(options->id))) {
        return ERR_OK; /* as accept_wants() has it */
    }
    if (options->collapse.size > 0) {
        struct siphash hash = accept_hash(name, options->collapse);
        collapse_note(&accept->collapse, &state->collapse, &hash,
                      record->sequence);
    }
    if (options->dedup_id.size == 0 || state->dedup_ready) {
        return ERR_OK;
    }
    struct siphash hash = accept_hash(name, options->dedup_id);
    return accept_note_id(accept, state->topic, &hash, value_of(accept, record),
                          message->pushed_at_ms);
}

/* What was looked for is all read. */
static void walked(struct accept *accept)
{
    struct accept_walk *walk = &accept->walk;
    struct accept_topic *state = walk->topic;
    bool was_ready = state->collapse_ready;

    leave(accept);
    if (state->is_bucket) {
        state->dedup_ready = true;
        walk->waiting--;
        accept_delayed_end(accept);
        return;
    }
    if (walk->for_dedup) {
        state->dedup_ready = true;
        state->walked_from = walk->first;
        accept_sweep_arm(accept);
        if (!was_ready &&
            state->walked_from > accept_undelivered_from(state->topic)) {
            enter_row(state);
            return;
        }
    }
    state->collapse_ready = true;
    walk->waiting--;
    if (!was_ready) {
        tell(state->topic);
    }
}

/* Begin again later, when the others had their turn. */
static void fail(struct accept *accept, enum err err)
{
    struct accept_walk *walk = &accept->walk;
    struct accept_topic *state = walk->topic;

    DIAG_WARN("topic_ids_unread", "topic=%s err=%s", state->topic->store->name,
              err_text(err));
    leave(accept);
    enter_row(state);
    io_timer_start(accept->options.io, &walk->timer, AGAIN_MS);
}

/* Find out which part of a topic's log is to be read. */
static enum err find_part(struct accept *accept, const struct topic *topic)
{
    struct accept_walk *walk = &accept->walk;
    uint64_t now_ms = io_wall_ms(accept->options.io);
    uint64_t back_ms = (uint64_t)accept_window_ms(topic) + ACCEPT_MARGIN_MS;

    walk->for_dedup = !walk->topic->dedup_ready;
    walk->end = topic->store->bounds.end;
    if (walk->topic->is_bucket) {
        return accept_delayed_needed(accept, topic, &walk->first);
    }
    if (walk->for_dedup) {
        return store_find_time(topic->store,
                               now_ms > back_ms ? now_ms - back_ms : 0,
                               &walk->first);
    }
    walk->first = accept_undelivered_from(topic);
    if (walk->end > walk->topic->walked_from) {
        walk->end = walk->topic->walked_from;
    }
    return ERR_OK;
}

/* Take the next topic. Returns false when there is none. */
static bool begin(struct accept *accept)
{
    struct accept_walk *walk = &accept->walk;
    struct list *link = list_take_first(&walk->dedup_row);

    link = link != NULL ? link : list_take_first(&walk->bucket_row);
    link = link != NULL ? link : list_take_first(&walk->collapse_row);
    if (link == NULL) {
        return false;
    }
    walk->topic = CONTAINER_OF(link, struct accept_topic, walk_link);
    struct topic *topic = walk->topic->topic;
    enum err err = find_part(accept, topic);
    if (err == ERR_OK) {
        err = store_reader_create(topic->store, &walk->reader);
    }
    if (err != ERR_OK) {
        fail(accept, err);
        return false;
    }
    walk->reader->ready = ready;
    walk->reader->user = accept;
    walk->next = walk->first;
    return true;
}

/* Read one record. Returns ERR_NOT_FOUND at the end of the part. */
static enum err step_one(struct accept *accept)
{
    struct accept_walk *walk = &accept->walk;
    struct record record;

    if (walk->next >= walk->end) {
        return ERR_NOT_FOUND;
    }
    enum err err = store_reader_next(walk->reader, walk->next, &record);
    if (err == ERR_RANGE) {
        walk->next = walk->topic->topic->store->bounds.oldest;
        return ERR_OK; /* it was dropped meanwhile */
    }
    if (err == ERR_OK) {
        walk->next = record.sequence + 1;
        err = note(walk->topic, &record);
    }
    return err;
}

static bool is_stopping(const struct accept *accept)
{
    return accept->options.shard != NULL && accept->options.shard->stopping;
}

/* Read some records. */
static void step(struct accept *accept)
{
    enum err err = ERR_OK;

    if (is_stopping(accept) || (accept->walk.topic == NULL && !begin(accept))) {
        return;
    }
    for (int count = 0;
         err == ERR_OK && count < STEP_RECORDS && !accept_delayed_full(accept);
         count++) {
        err = step_one(accept);
    }
    accept->walk.reading = err == ERR_AGAIN;
    if (err == ERR_AGAIN) {
        return; /* ready() follows */
    }
    if (accept_delayed_full(accept) ||
        (err == ERR_NOT_FOUND && accept_delayed_any(accept))) {
        err = accept_delayed_send(accept);
        if (err == ERR_OK) {
            return; /* accept_walk_sent() follows */
        }
    }
    if (err == ERR_NOT_FOUND) {
        walked(accept);
    } else if (err != ERR_OK) {
        fail(accept, err);
        return;
    }
    go_on(accept);
}

static void ready(struct store_reader *reader)
{
    struct accept *accept = reader->user;

    accept->walk.reading = false;
    step(accept);
}

void accept_walk_sent(struct accept *accept, enum err err)
{
    if (err != ERR_OK && accept->walk.topic != NULL) {
        fail(accept, err);
    } else {
        go_on(accept);
    }
}

static void step_due(struct io_timer *timer)
{
    step(CONTAINER_OF(timer, struct accept, walk.timer));
}
