/* Buckets of delayed messages: found, made, noted, cancelled from, deleted.
 *
 * What can fail: a note. It is made again later; until then a restart would
 * hand on again what it names. When the deletion of a bucket fails it is there
 * again, empty, and deleted later.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/delayed_internal.h"

#include "base/check.h"
#include "base/diag.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_SIZE = 64 }; /* of a bucket's topic, its NUL included */

static const struct str name_prefix = {".opq.delayed.", 13};
static const struct str log_suffix = {"_log", 4};

static struct shard *shard_of(const struct delayed *delayed)
{
    return delayed->options.shard;
}

static void name_of(uint64_t hour, bool log, char name[NAME_MAX_SIZE])
{
    int size = snprintf(name, NAME_MAX_SIZE, "%s%" PRIu64 "%s",
                        name_prefix.data, hour, log ? log_suffix.data : "");

    CHECK(size > 0 && size < NAME_MAX_SIZE);
}

/* Tell whether a topic is one of a bucket, and which. */
static bool parse_name(struct str name, uint64_t *out_hour, bool *out_log)
{
    if (!str_starts(name, name_prefix)) {
        return false;
    }
    struct str rest = str_cut(name, name_prefix.size, name.size);
    struct str digits = str_cut(rest, 0, str_find(rest, '_'));
    struct str suffix = str_cut(rest, digits.size, rest.size);
    if (suffix.size > 0 && !str_equal(suffix, log_suffix)) {
        return false;
    }
    *out_log = suffix.size > 0;
    return digits.size > 0 && (digits.data[0] != '0' || digits.size == 1) &&
           str_to_u64(digits, out_hour) == ERR_OK &&
           *out_hour < UINT64_MAX / DELAYED_HOUR_MS - 1;
}

/* --- the row of buckets --------------------------------------------------- */

uint32_t delayed_bucket_place(const struct delayed *delayed, uint64_t hour)
{
    uint32_t low = 0;
    uint32_t high = delayed->bucket_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (delayed->buckets[middle]->hour < hour) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct delayed_bucket *delayed_bucket_of(const struct delayed *delayed,
                                         uint64_t hour)
{
    uint32_t place = delayed_bucket_place(delayed, hour);

    return place < delayed->bucket_count &&
                   delayed->buckets[place]->hour == hour
               ? delayed->buckets[place]
               : NULL;
}

static enum err make_room(struct delayed *delayed)
{
    if (delayed->bucket_count < delayed->bucket_capacity) {
        return ERR_OK;
    }
    uint32_t capacity = 2 * delayed->bucket_capacity + 16;
    struct delayed_bucket **buckets =
        realloc(delayed->buckets, capacity * sizeof(struct delayed_bucket *));
    if (buckets == NULL) {
        return ERR_NOMEM;
    }
    delayed->buckets = buckets;
    delayed->bucket_capacity = capacity;
    return ERR_OK;
}

static void note_stored(struct store_op *op, enum err err);
static void end_step_done(struct store_op *op, enum err err);

/* Enter an empty bucket into the row.
 * Errors: ERR_NOMEM */
static enum err
add(struct delayed *delayed, uint64_t hour, struct delayed_bucket **out)
{
    uint32_t place = delayed_bucket_place(delayed, hour);
    enum err err = make_room(delayed);
    struct delayed_bucket *bucket =
        err == ERR_OK ? calloc(1, sizeof(*bucket)) : NULL;

    if (bucket == NULL) {
        return ERR_NOMEM;
    }
    bucket->delayed = delayed;
    bucket->hour = hour;
    bucket->note_op.done = note_stored;
    bucket->end_op.done = end_step_done;
    bucket->trim_op.done = delayed_trim_done;
    memmove(&delayed->buckets[place + 1], &delayed->buckets[place],
            (delayed->bucket_count - place) * sizeof(struct delayed_bucket *));
    delayed->buckets[place] = bucket;
    delayed->bucket_count++;
    delayed->unready++;
    *out = bucket;
    return ERR_OK;
}

static void bucket_free(struct delayed_bucket *bucket)
{
    delayed_bits_fini(&bucket->taken);
    delayed_bits_fini(&bucket->cancelled);
    delayed_bits_fini(&bucket->failed);
    delayed_bits_fini(&bucket->over);
    free(bucket->unnoted);
    free(bucket);
}

/* Take a bucket out of the row and free it. */
static void drop(struct delayed_bucket *bucket)
{
    struct delayed *delayed = bucket->delayed;
    uint32_t place = delayed_bucket_place(delayed, bucket->hour);

    CHECK(place < delayed->bucket_count && delayed->buckets[place] == bucket);
    if (delayed->dues.bucket == bucket) {
        delayed_walk_forget(delayed);
    }
    store_reader_destroy(bucket->reader);
    delayed->unready -= bucket->ready ? 0 : 1;
    delayed->sick -= bucket->sick_ms > 0 ? 1 : 0;
    delayed->unnoted -= bucket->unnoted_count;
    delayed->bucket_count--;
    memmove(&delayed->buckets[place], &delayed->buckets[place + 1],
            (delayed->bucket_count - place) * sizeof(struct delayed_bucket *));
    bucket_free(bucket);
}

void delayed_bucket_free_all(struct delayed *delayed)
{
    for (uint32_t index = 0; index < delayed->bucket_count; index++) {
        CHECK(delayed->buckets[index]->reader == NULL);
        bucket_free(delayed->buckets[index]);
    }
    free(delayed->buckets);
    delayed->buckets = NULL;
    delayed->bucket_count = 0;
}

/* Nothing of its log is to be read. */
static void set_ready(struct delayed_bucket *bucket)
{
    if (!bucket->ready) {
        bucket->ready = true;
        bucket->delayed->unready--;
    }
}

struct find_walk {
    struct delayed *delayed;
    enum err err;
};

static void find_one(void *context, struct store_topic *stored)
{
    struct find_walk *walk = context;
    struct delayed_bucket *bucket = NULL;
    uint64_t hour = 0;
    bool log = false;

    if (walk->err != ERR_OK || topic_of(stored) == NULL ||
        !parse_name(stored->name_str, &hour, &log)) {
        return;
    }
    bucket = delayed_bucket_of(walk->delayed, hour);
    if (bucket == NULL) {
        walk->err = add(walk->delayed, hour, &bucket);
        if (walk->err != ERR_OK) {
            return;
        }
    }
    if (log) {
        bucket->log = topic_of(stored);
    } else {
        bucket->messages = topic_of(stored);
        bucket->first = stored->bounds.oldest;
        bucket->over_end = stored->bounds.oldest;
    }
}

enum err delayed_bucket_find_all(struct delayed *delayed)
{
    struct find_walk walk = {.delayed = delayed, .err = ERR_OK};

    store_topic_each(shard_of(delayed)->store, find_one, &walk);
    for (uint32_t index = 0; index < delayed->bucket_count; index++) {
        struct delayed_bucket *bucket = delayed->buckets[index];
        if (bucket->log == NULL || bucket->messages == NULL) {
            set_ready(bucket);
        }
    }
    return walk.err;
}

enum err delayed_bucket_make(struct delayed *delayed,
                             uint64_t hour,
                             struct delayed_bucket **out)
{
    struct delayed_bucket *bucket = delayed_bucket_of(delayed, hour);
    char name[NAME_MAX_SIZE];

    if (bucket != NULL) {
        if (bucket->end != DELAYED_END_NONE || bucket->messages == NULL) {
            return ERR_BUSY; /* it is being deleted */
        }
        *out = bucket;
        return ERR_OK;
    }
    if (delayed->closed) {
        return ERR_CLOSED;
    }
    enum err err = add(delayed, hour, &bucket);
    if (err != ERR_OK) {
        return err;
    }
    set_ready(bucket);
    name_of(hour, false, name);
    err =
        shard_topic(shard_of(delayed), str_from(name), true, &bucket->messages);
    if (err != ERR_OK) {
        drop(bucket);
        return err;
    }
    *out = bucket;
    return ERR_OK;
}

void delayed_bucket_unmake(struct delayed_bucket *bucket)
{
    struct delayed *delayed = bucket->delayed;
    char name[NAME_MAX_SIZE];

    if (bucket->pushes > 0 || bucket->holds > 0 || bucket->log != NULL ||
        bucket->reader != NULL || delayed->walk.bucket == bucket ||
        bucket->end != DELAYED_END_NONE ||
        !store_topic_unused(bucket->messages->store)) {
        return;
    }
    name_of(bucket->hour, false, name);
    drop(bucket);
    shard_topic_unused(shard_of(delayed), str_from(name));
}

/* --- messages ------------------------------------------------------------- */

uint64_t delayed_bucket_pending(const struct delayed_bucket *bucket)
{
    if (bucket->messages == NULL) {
        return 0;
    }
    const struct store_bounds *bounds = &bucket->messages->store->bounds;
    uint64_t all = bounds->end - bucket->first + bucket->flights;
    uint64_t over = bucket->taken.count + bucket->cancelled.count;

    return all > over ? all - over : 0;
}

bool delayed_bucket_settled(const struct delayed_bucket *bucket,
                            uint64_t sequence)
{
    return sequence < bucket->first ||
           delayed_bits_has(&bucket->taken, sequence) ||
           delayed_bits_has(&bucket->cancelled, sequence);
}

/* Make room for another number to be noted. */
static bool unnoted_grow(struct delayed_bucket *bucket)
{
    if (bucket->unnoted_count < bucket->unnoted_capacity) {
        return true;
    }
    uint32_t capacity = 2 * bucket->unnoted_capacity + 64;
    uint64_t *unnoted =
        realloc(bucket->unnoted, capacity * sizeof(*bucket->unnoted));
    if (unnoted == NULL) {
        return false;
    }
    bucket->unnoted = unnoted;
    bucket->unnoted_capacity = capacity;
    return true;
}

void delayed_bucket_handed(struct delayed_bucket *bucket, uint64_t sequence)
{
    struct delayed *delayed = bucket->delayed;

    if (!unnoted_grow(bucket)) {
        return; /* after a restart it is handed on again */
    }
    bucket->unnoted[bucket->unnoted_count] = sequence;
    bucket->unnoted_count++;
    delayed->unnoted++;
    if (bucket->note_due_ms == 0) {
        bucket->note_due_ms =
            io_now_ms(shard_of(delayed)->io) + DELAYED_NOTE_MS;
    }
}

void delayed_bucket_lost(struct delayed_bucket *bucket, uint64_t sequence)
{
    if (delayed_bucket_settled(bucket, sequence) ||
        delayed_bits_set(&bucket->taken, sequence) != ERR_OK) {
        return;
    }
    bucket->delayed->stats.lost++;
    DIAG_ERROR("delayed_lost", "hour=%" PRIu64 " sequence=%" PRIu64,
               bucket->hour, sequence);
    delayed_bucket_handed(bucket, sequence);
}

/* --- notes ---------------------------------------------------------------- */

/* Append a note to the bucket's log, which is made with the first one. */
static enum err
append_note(struct delayed_bucket *bucket, struct str note, struct store_op *op)
{
    struct shard *shard = shard_of(bucket->delayed);
    struct message message = {
        .kind = MESSAGE_KIND_RAW,
        .body = note,
        .content_type = DELAYED_NOTE_TYPE,
        .pushed_at_ms = delayed_wall_ms(bucket->delayed),
    };
    char name[NAME_MAX_SIZE];

    if (bucket->log == NULL) {
        name_of(bucket->hour, true, name);
        enum err err = shard_topic(shard, str_from(name), true, &bucket->log);
        if (err != ERR_OK) {
            return err;
        }
    }
    op->durability = DURABILITY_DISK;
    op->owed = true;
    return store_append(bucket->log->store, &message, op);
}

static void note_failed(struct delayed_bucket *bucket)
{
    struct delayed *delayed = bucket->delayed;

    bucket->noting = 0;
    if (delayed->stopping) {
        /* The next start hands them on again. */
        delayed->unnoted -= bucket->unnoted_count;
        bucket->unnoted_count = 0;
        bucket->note_due_ms = 0;
        return;
    }
    bucket->note_due_ms = io_now_ms(shard_of(delayed)->io) + DELAYED_PAUSE_MS;
}

static void note_stored(struct store_op *op, enum err err)
{
    struct delayed_bucket *bucket =
        CONTAINER_OF(op, struct delayed_bucket, note_op);
    struct delayed *delayed = bucket->delayed;

    CHECK(delayed->noting > 0);
    delayed->noting--;
    if (err != ERR_OK) {
        note_failed(bucket);
    } else {
        uint32_t left = bucket->unnoted_count - bucket->noting;
        for (uint32_t index = 0; index < bucket->noting; index++) {
            delayed_trim_over(bucket, bucket->unnoted[index]);
        }
        memmove(bucket->unnoted, bucket->unnoted + bucket->noting,
                left * sizeof(*bucket->unnoted));
        delayed->unnoted -= bucket->noting;
        bucket->unnoted_count = left;
        bucket->noting = 0;
        bucket->note_due_ms =
            left == 0 ? 0 : io_now_ms(shard_of(delayed)->io) + DELAYED_NOTE_MS;
    }
    delayed_kick(delayed);
}

/* Note what was handed on of a bucket, as much as a note holds. */
static void note(struct delayed_bucket *bucket)
{
    static _Thread_local char bytes[DELAYED_NOTE_SIZE_MAX];
    uint32_t count = bucket->unnoted_count < DELAYED_NOTE_COUNT_MAX
                         ? bucket->unnoted_count
                         : DELAYED_NOTE_COUNT_MAX;
    size_t size =
        delayed_note_write(DELAYED_NOTE_HANDED, bucket->unnoted, count, bytes);

    bucket->noting = count;
    enum err err =
        append_note(bucket, (struct str){bytes, size}, &bucket->note_op);
    if (err != ERR_OK) {
        note_failed(bucket);
        return;
    }
    bucket->delayed->noting++;
}

void delayed_bucket_note_all(struct delayed *delayed)
{
    uint64_t now_ms = io_now_ms(shard_of(delayed)->io);
    uint32_t seen = 0;

    for (uint32_t index = 0;
         index < delayed->bucket_count && seen < delayed->unnoted; index++) {
        struct delayed_bucket *bucket = delayed->buckets[index];
        seen += bucket->unnoted_count;
        if (bucket->unnoted_count > 0 && bucket->noting == 0 &&
            (delayed->stopping || bucket->note_due_ms <= now_ms ||
             bucket->unnoted_count >= DELAYED_NOTE_COUNT_MAX)) {
            note(bucket);
        }
    }
}

/* --- the end of a bucket -------------------------------------------------- */

/* Tell whether nothing is left of it, nor comes any more. */
static bool is_over(const struct delayed_bucket *bucket, uint64_t wall_ms)
{
    uint64_t end_ms = (bucket->hour + 1) * DELAYED_HOUR_MS;

    return bucket->ready &&
           (end_ms + DELAYED_AHEAD_MS <= wall_ms || bucket->messages == NULL) &&
           delayed_bucket_pending(bucket) == 0 && bucket->pushes == 0 &&
           bucket->flights == 0 && bucket->cancels == 0 && bucket->holds == 0 &&
           bucket->noting == 0 && bucket->trim == DELAYED_TRIM_NONE &&
           bucket->delayed->walk.bucket != bucket;
}

/* Delete what is left of it, or forget it. */
static void end_step(struct delayed_bucket *bucket)
{
    struct shard *shard = shard_of(bucket->delayed);
    struct topic *topic = NULL;

    if (bucket->messages != NULL) {
        bucket->end = DELAYED_END_MESSAGES;
        topic = bucket->messages;
        bucket->messages = NULL;
    } else if (bucket->log != NULL) {
        bucket->end = DELAYED_END_LOG;
        topic = bucket->log;
        bucket->log = NULL;
    } else {
        drop(bucket);
        return;
    }
    bucket->end_op.durability = DURABILITY_DISK;
    shard_topic_delete(shard, topic, &bucket->end_op);
}

static void end_step_done(struct store_op *op, enum err err)
{
    struct delayed_bucket *bucket =
        CONTAINER_OF(op, struct delayed_bucket, end_op);
    struct delayed *delayed = bucket->delayed;
    bool log = bucket->end == DELAYED_END_LOG;
    char name[NAME_MAX_SIZE];

    bucket->end = DELAYED_END_NONE;
    if (err == ERR_OK || delayed->closed) {
        if (!delayed->closed) {
            end_step(bucket);
        }
        return;
    }
    /* It is there again, with all it had, and so is its log. */
    name_of(bucket->hour, log, name);
    shard_topic_again(shard_of(delayed), str_from(name));
    enum err found = shard_topic(shard_of(delayed), str_from(name), false,
                                 log ? &bucket->log : &bucket->messages);
    DIAG_WARN("delayed_not_deleted", "topic=%s err=%s found=%s", name,
              err_name(err), err_name(found));
    bucket->end_due_ms = io_now_ms(shard_of(delayed)->io) + DELAYED_AGAIN_MS;
}

void delayed_bucket_end_all(struct delayed *delayed)
{
    uint64_t wall_ms = delayed_wall_ms(delayed);
    uint64_t now_ms = io_now_ms(shard_of(delayed)->io);
    uint32_t place = 0;

    while (place < delayed->bucket_count &&
           delayed->buckets[place]->hour * DELAYED_HOUR_MS < wall_ms) {
        struct delayed_bucket *bucket = delayed->buckets[place];
        if (bucket->end == DELAYED_END_NONE && bucket->end_due_ms <= now_ms &&
            is_over(bucket, wall_ms)) {
            store_reader_destroy(bucket->reader);
            bucket->reader = NULL;
            delayed->unnoted -= bucket->unnoted_count;
            bucket->unnoted_count = 0;
            end_step(bucket);
        }
        /* It may be gone from its place, but nothing comes before it. */
        place +=
            place < delayed->bucket_count && delayed->buckets[place] == bucket
                ? 1
                : 0;
    }
}

/* --- looking, cancelling -------------------------------------------------- */

struct delayed_bucket *delayed_find(struct delayed *delayed, uint64_t bucket_id)
{
    for (uint32_t index = 0; index < delayed->bucket_count; index++) {
        struct delayed_bucket *bucket = delayed->buckets[index];
        if (bucket->messages != NULL && bucket->end == DELAYED_END_NONE &&
            bucket->messages->store->id == bucket_id) {
            return bucket;
        }
    }
    return NULL;
}

struct delayed_bucket *delayed_from(struct delayed *delayed, uint64_t hour)
{
    for (uint32_t index = delayed_bucket_place(delayed, hour);
         index < delayed->bucket_count; index++) {
        struct delayed_bucket *bucket = delayed->buckets[index];
        if (bucket->messages != NULL && bucket->end == DELAYED_END_NONE) {
            return bucket;
        }
    }
    return NULL;
}

uint64_t delayed_hour(const struct delayed_bucket *bucket)
{
    return bucket->hour;
}

struct topic *delayed_topic(const struct delayed_bucket *bucket)
{
    return bucket->messages;
}

enum delayed_state delayed_look(const struct delayed_bucket *bucket,
                                uint64_t sequence)
{
    if (bucket->messages == NULL ||
        sequence >= bucket->messages->store->bounds.end) {
        return DELAYED_UNKNOWN;
    }
    if (!bucket->ready) {
        return DELAYED_NOT_READY;
    }
    if (sequence < bucket->messages->store->bounds.oldest) {
        return DELAYED_UNKNOWN; /* over, and given back */
    }
    if (delayed_bits_has(&bucket->cancelled, sequence)) {
        return DELAYED_CANCELLED;
    }
    return delayed_bits_has(&bucket->taken, sequence) &&
                   !delayed_bits_has(&bucket->failed, sequence)
               ? DELAYED_HANDED
               : DELAYED_PENDING;
}

void delayed_hold(struct delayed_bucket *bucket)
{
    bucket->holds++;
}

void delayed_release(struct delayed_bucket *bucket)
{
    CHECK(bucket->holds > 0);
    bucket->holds--;
}

/* It is not cancelled, after all. Meanwhile its entry may have been passed
 * over: the bucket is read anew, from the beginning of its hour. */
static void uncancel(struct delayed_bucket *bucket, uint64_t sequence)
{
    delayed_bits_clear(&bucket->cancelled, sequence);
    delayed_walk_stop(bucket->delayed);
    delayed_index_forget(&bucket->delayed->index,
                         bucket->hour * DELAYED_HOUR_MS);
}

static void cancel_stored(struct store_op *op, enum err err)
{
    struct delayed_cancel *cancel = CONTAINER_OF(op, struct delayed_cancel, op);
    struct delayed_bucket *bucket = cancel->bucket;

    CHECK(bucket->cancels > 0);
    bucket->cancels--;
    if (err == ERR_OK) {
        bucket->delayed->stats.cancelled += cancel->again ? 0 : 1;
        if (delayed_bits_has(&bucket->cancelled, cancel->sequence)) {
            delayed_trim_over(bucket, cancel->sequence);
        }
    } else if (!cancel->again) {
        uncancel(bucket, cancel->sequence);
    }
    delayed_kick(bucket->delayed);
    cancel->done(cancel, err);
}

enum err delayed_cancel(struct delayed_bucket *bucket,
                        uint64_t sequence,
                        struct delayed_cancel *cancel)
{
    char bytes[DELAYED_NOTE_HEAD_SIZE + DELAYED_NOTE_RANGE_SIZE];
    uint64_t noted = sequence;

    cancel->again = delayed_look(bucket, sequence) == DELAYED_CANCELLED;
    CHECK(cancel->again || delayed_look(bucket, sequence) == DELAYED_PENDING);
    enum err err = delayed_bits_set(&bucket->cancelled, sequence);
    if (err != ERR_OK) {
        return err;
    }
    size_t size = delayed_note_write(DELAYED_NOTE_CANCELLED, &noted, 1, bytes);
    cancel->bucket = bucket;
    cancel->sequence = sequence;
    cancel->op.done = cancel_stored;
    err = append_note(bucket, (struct str){bytes, size}, &cancel->op);
    if (err != ERR_OK) {
        if (!cancel->again) {
            delayed_bits_clear(&bucket->cancelled, sequence);
        }
        return err;
    }
    bucket->cancels++;
    return ERR_OK;
}
