/* Reading buckets: their logs after a start, and then what is due next.
 *
 * The index is complete up to its horizon. When that is near, the first bucket
 * behind it with something in it is read from its beginning, and the horizon
 * comes to the end of its hour, or as far as there was room; what was pushed
 * meanwhile is added as if it had been read. A bucket whose log was not read
 * yet comes after that: first the one that is needed next, then all others.
 *
 * What can fail: reading, memory. The bucket is passed over then, so that those
 * behind it go on, and after a while the horizon comes back to it. Nothing that
 * it had before the start is handed on until its log was read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/delayed_internal.h"

#include "base/check.h"
#include "base/diag.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    NOTED_STEP = 4096, /* kept due times that are looked at like records are, */
    NOTED_COST = 64,   /* for the price of so many */
};

static const uint32_t lost = UINT32_MAX; /* in place of a due time */

static struct io *io_of(const struct delayed *delayed)
{
    return delayed->options.shard->io;
}

/* The last key of an hour. */
static struct delayed_key hour_end(uint64_t hour)
{
    return (struct delayed_key){
        .due_ms = (hour + 1) * DELAYED_HOUR_MS - 1,
        .sequence = UINT64_MAX,
    };
}

/* --- what is needed next -------------------------------------------------- */

/* The first bucket that has something behind the horizon; NULL: none. */
static struct delayed_bucket *first_behind(const struct delayed *delayed)
{
    const struct delayed_key *horizon = &delayed->index.horizon;

    for (uint32_t place =
             delayed_bucket_place(delayed, horizon->due_ms / DELAYED_HOUR_MS);
         place < delayed->bucket_count; place++) {
        struct delayed_bucket *bucket = delayed->buckets[place];
        struct delayed_key end = hour_end(bucket->hour);
        if (delayed_index_compare(&end, horizon) > 0 &&
            bucket->end == DELAYED_END_NONE && bucket->sick_ms == 0 &&
            (!bucket->ready || delayed_bucket_pending(bucket) > 0)) {
            return bucket;
        }
    }
    return NULL;
}

/* The first bucket whose log is to be read; NULL: none. */
static struct delayed_bucket *first_unready(const struct delayed *delayed)
{
    for (uint32_t place = 0;
         delayed->unready > 0 && place < delayed->bucket_count; place++) {
        struct delayed_bucket *bucket = delayed->buckets[place];
        if (!bucket->ready && bucket->sick_ms == 0) {
            return bucket;
        }
    }
    return NULL;
}

/* Tell whether there is room in the index to read on: half of it is kept for
 * what is pushed. */
static bool has_room(const struct delayed_index *index)
{
    return index->count <= index->count_max / 4;
}

uint64_t delayed_walk_due(const struct delayed *delayed)
{
    if (delayed->walk.kind != DELAYED_WALK_NONE) {
        return UINT64_MAX; /* it goes on by itself */
    }
    if (first_unready(delayed) != NULL) {
        return delayed_wall_ms(delayed);
    }
    const struct delayed_bucket *bucket = first_behind(delayed);
    if (bucket == NULL || !has_room(&delayed->index)) {
        return UINT64_MAX; /* handing on makes room, and looks again */
    }
    uint64_t from_ms = bucket->hour * DELAYED_HOUR_MS;
    if (from_ms <= delayed->index.horizon.due_ms) {
        from_ms = delayed->index.horizon.due_ms;
    }
    return from_ms > DELAYED_AHEAD_MS ? from_ms - DELAYED_AHEAD_MS : 0;
}

/* --- due times that are kept ---------------------------------------------- */

void delayed_walk_forget(struct delayed *delayed)
{
    free(delayed->dues.offsets_ms);
    delayed->dues = (struct delayed_dues){.bucket = NULL};
}

/* Keep the due time of the message that follows those that are kept. */
static void keep(struct delayed *delayed, uint64_t sequence, uint32_t offset_ms)
{
    struct delayed_dues *dues = &delayed->dues;

    if (dues->bucket != delayed->walk.bucket ||
        sequence != dues->first + dues->count) {
        return;
    }
    if (dues->count == dues->capacity) {
        uint32_t capacity = dues->capacity == 0 ? 1024 : 2 * dues->capacity;
        uint32_t *offsets_ms =
            capacity <= DELAYED_NOTED_MAX
                ? realloc(dues->offsets_ms, capacity * sizeof(*offsets_ms))
                : NULL;
        if (offsets_ms == NULL) {
            return; /* those behind are read again */
        }
        dues->offsets_ms = offsets_ms;
        dues->capacity = capacity;
    }
    dues->offsets_ms[dues->count] = offset_ms;
    dues->count++;
}

/* --- begin and end -------------------------------------------------------- */

static void ready(struct store_reader *reader)
{
    struct delayed *delayed = reader->user;

    delayed->walk.reading = false;
    delayed_kick(delayed);
}

static void walk_end(struct delayed *delayed)
{
    struct delayed_walk *walk = &delayed->walk;

    store_reader_destroy(walk->reader);
    *walk = (struct delayed_walk){.kind = DELAYED_WALK_NONE};
}

void delayed_walk_stop(struct delayed *delayed)
{
    if (delayed->walk.kind == DELAYED_WALK_DUE) {
        delayed_index_load_stop(&delayed->index);
    }
    walk_end(delayed);
}

static void walk_failed(struct delayed *delayed, enum err err)
{
    struct delayed_bucket *bucket = delayed->walk.bucket;

    DIAG_WARN("delayed_unreadable", "hour=%" PRIu64 " log=%d err=%s",
              bucket->hour, delayed->walk.kind == DELAYED_WALK_LOG,
              err_name(err));
    delayed_walk_stop(delayed);
    delayed->sick += bucket->sick_ms == 0 ? 1 : 0;
    bucket->sick_ms = io_now_ms(io_of(delayed)) + DELAYED_SICK_MS;
}

/* Come back to buckets that were passed over. */
static void heal(struct delayed *delayed)
{
    uint64_t now_ms = io_now_ms(io_of(delayed));

    for (uint32_t place = 0; delayed->sick > 0 && place < delayed->bucket_count;
         place++) {
        struct delayed_bucket *bucket = delayed->buckets[place];
        if (bucket->sick_ms > 0 && bucket->sick_ms <= now_ms) {
            bucket->sick_ms = 0;
            delayed->sick--;
            delayed_index_forget(&delayed->index,
                                 bucket->hour * DELAYED_HOUR_MS);
        }
    }
}

static void walk_begin(struct delayed *delayed,
                       enum delayed_walk_kind kind,
                       struct delayed_bucket *bucket)
{
    struct delayed_walk *walk = &delayed->walk;
    const struct topic *topic =
        kind == DELAYED_WALK_LOG ? bucket->log : bucket->messages;

    *walk = (struct delayed_walk){
        .kind = kind,
        .bucket = bucket,
        .next = topic->store->bounds.oldest,
        .end = topic->store->bounds.end,
    };
    if (kind == DELAYED_WALK_DUE) {
        const struct delayed_key limit = hour_end(bucket->hour);
        delayed_index_load(&delayed->index, &limit);
        if (delayed->dues.bucket != bucket) {
            delayed_walk_forget(delayed);
            delayed->dues.bucket = bucket;
            delayed->dues.first = walk->next;
        }
    }
    enum err err = store_reader_create(topic->store, &walk->reader);
    if (err != ERR_OK) {
        walk_failed(delayed, err);
        return;
    }
    walk->reader->ready = ready;
    walk->reader->user = delayed;
}

/* Begin the walk that is needed next, if one is. */
static void choose(struct delayed *delayed)
{
    heal(delayed);
    if (delayed_walk_due(delayed) > delayed_wall_ms(delayed)) {
        return;
    }
    struct delayed_bucket *bucket = first_behind(delayed);
    if (bucket != NULL && bucket->ready) {
        uint64_t from_ms = bucket->hour * DELAYED_HOUR_MS;
        bool near = from_ms <= delayed_wall_ms(delayed) + DELAYED_AHEAD_MS;
        if (near && has_room(&delayed->index)) {
            walk_begin(delayed, DELAYED_WALK_DUE, bucket);
            return;
        }
        bucket = NULL;
    }
    if (bucket == NULL) {
        bucket = first_unready(delayed);
    }
    if (bucket != NULL) {
        walk_begin(delayed, DELAYED_WALK_LOG, bucket);
    }
}

/* --- the steps ------------------------------------------------------------ */

/* Take what a note of the log says.
 * Errors: ERR_NOMEM */
static enum err take_note(struct delayed_bucket *bucket,
                          const struct record *record)
{
    const struct message *message = &record->message;
    uint64_t all = bucket->messages->store->bounds.end;
    struct delayed_note note;
    enum err err = ERR_OK;

    if (!str_equal(message->content_type, DELAYED_NOTE_TYPE) ||
        delayed_note_read(message->body, &note) != ERR_OK) {
        DIAG_ERROR("delayed_note_damaged", "hour=%" PRIu64 " sequence=%" PRIu64,
                   bucket->hour, record->sequence);
        return ERR_OK; /* what it named is handed on again */
    }
    struct delayed_bits *bits = note.kind == DELAYED_NOTE_CANCELLED
                                    ? &bucket->cancelled
                                    : &bucket->taken;
    for (uint32_t index = 0; err == ERR_OK && index < note.count; index++) {
        struct store_range range = delayed_note_range(&note, index);
        uint64_t at = range.first > bucket->first ? range.first : bucket->first;
        for (; err == ERR_OK && at < range.end && at < all; at++) {
            err = delayed_bits_set(bits, at);
            delayed_trim_over(bucket, at);
        }
    }
    return err;
}

/* Put a message into the index, unless it is known, or over. */
static void
offer(struct delayed_bucket *bucket, uint64_t sequence, uint32_t offset_ms)
{
    struct delayed *delayed = bucket->delayed;
    const struct delayed_key key = {
        .due_ms = bucket->hour * DELAYED_HOUR_MS + offset_ms,
        .sequence = sequence,
    };

    if (delayed_index_compare(&key, &delayed->index.horizon) > 0 &&
        !delayed_bucket_settled(bucket, sequence)) {
        delayed_index_add(&delayed->index, &key);
    }
}

/* A message of the bucket that is read for what is due. */
static void take_message(struct delayed_bucket *bucket,
                         const struct record *record)
{
    struct delayed *delayed = bucket->delayed;
    const struct message_options *options = record->message.options;
    uint64_t sequence = record->sequence;

    if (options == NULL ||
        options->not_before_ms / DELAYED_HOUR_MS != bucket->hour) {
        keep(delayed, sequence, lost);
        delayed_bucket_lost(bucket, sequence); /* not one of ours */
        return;
    }
    uint32_t offset_ms = (uint32_t)(options->not_before_ms % DELAYED_HOUR_MS);
    keep(delayed, sequence, offset_ms);
    offer(bucket, sequence, offset_ms);
}

/* Take what is kept of the messages that are next; false when nothing is. */
static bool take_kept(struct delayed *delayed)
{
    struct delayed_walk *walk = &delayed->walk;
    const struct delayed_dues *dues = &delayed->dues;
    uint64_t end = dues->first + dues->count;

    end = end < walk->end ? end : walk->end;
    if (walk->kind != DELAYED_WALK_DUE || dues->bucket != walk->bucket ||
        walk->next < dues->first || walk->next >= end) {
        return false;
    }
    end = end - walk->next > NOTED_STEP ? walk->next + NOTED_STEP : end;
    for (; walk->next < end && delayed->index.loading; walk->next++) {
        uint32_t offset_ms = dues->offsets_ms[walk->next - dues->first];
        if (offset_ms != lost) {
            offer(walk->bucket, walk->next, offset_ms);
        }
    }
    return true;
}

/* What lies before a sequence and was not found is damaged. */
static void lose_until(struct delayed *delayed, uint64_t sequence)
{
    struct delayed_walk *walk = &delayed->walk;
    uint64_t found = sequence < walk->end ? sequence : walk->end;

    for (; walk->next < found; walk->next++) {
        keep(delayed, walk->next, lost);
        delayed_bucket_lost(walk->bucket, walk->next);
    }
}

/* Look at one record, and at what is missing before it. */
static enum err take(struct delayed *delayed, const struct record *record)
{
    struct delayed_walk *walk = &delayed->walk;

    if (walk->kind == DELAYED_WALK_LOG) {
        walk->next = record->sequence + 1;
        return take_note(walk->bucket, record);
    }
    lose_until(delayed, record->sequence);
    if (record->sequence < walk->end) {
        take_message(walk->bucket, record);
    }
    walk->next = record->sequence + 1;
    return ERR_OK;
}

static void walk_over(struct delayed *delayed)
{
    struct delayed_bucket *bucket = delayed->walk.bucket;

    if (delayed->walk.kind == DELAYED_WALK_DUE) {
        struct delayed_key end = hour_end(bucket->hour);
        delayed_index_loaded(&delayed->index);
        if (delayed_index_compare(&delayed->index.horizon, &end) >= 0) {
            delayed_walk_forget(delayed); /* it is all in the index */
        }
    } else {
        bucket->ready = true;
        delayed->unready--;
    }
    walk_end(delayed);
}

/* Go on with the walk; returns false when it waits or has done its part. */
static bool step(struct delayed *delayed, uint32_t *left)
{
    struct delayed_walk *walk = &delayed->walk;
    static _Thread_local struct record record;

    while (*left > 0) {
        bool stopped =
            walk->kind == DELAYED_WALK_DUE && !delayed->index.loading;
        if (walk->next >= walk->end || stopped) {
            walk_over(delayed);
            return true;
        }
        if (take_kept(delayed)) {
            *left -= *left < NOTED_COST ? *left : NOTED_COST;
            continue;
        }
        enum err err = store_reader_next(walk->reader, walk->next, &record);
        if (err == ERR_NOT_FOUND) { /* the rest is damaged */
            if (walk->kind == DELAYED_WALK_DUE) {
                lose_until(delayed, walk->end);
            }
            walk->next = walk->end;
            continue;
        }
        if (err == ERR_AGAIN) {
            walk->reading = true;
            return false;
        }
        if (err == ERR_OK) {
            err = take(delayed, &record);
        }
        if (err != ERR_OK) {
            walk_failed(delayed, err);
            return false;
        }
        (*left)--;
    }
    return false;
}

void delayed_walk_turn(struct delayed *delayed)
{
    uint32_t left = DELAYED_WALK_MAX;

    do {
        if (delayed->walk.kind == DELAYED_WALK_NONE) {
            choose(delayed);
        }
        if (delayed->walk.kind == DELAYED_WALK_NONE || delayed->walk.reading) {
            return;
        }
    } while (step(delayed, &left));
    if (delayed->walk.kind != DELAYED_WALK_NONE && !delayed->walk.reading) {
        delayed_kick(delayed);
    }
}

void delayed_walk_stored(struct delayed_bucket *bucket,
                         const struct delayed_key *key)
{
    struct delayed *delayed = bucket->delayed;
    const struct delayed_walk *walk = &delayed->walk;

    if (walk->kind == DELAYED_WALK_DUE && walk->bucket == bucket &&
        key->sequence < walk->end &&
        delayed_index_compare(key, &delayed->index.horizon) > 0) {
        return; /* the walk finds it */
    }
    delayed_index_add(&delayed->index, key);
}
