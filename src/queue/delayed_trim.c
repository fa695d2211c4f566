/* Giving back, while its hour runs, what is over of a bucket.
 *
 *     noted durably -> over -> messages purged, durably -> their notes purged
 *
 * What goes is always a beginning: all up to the first message that waits. It
 * goes when it is as much as a segment of the store, which is what the disk
 * gets back. Notes go after the messages that they name, so that whatever a
 * crash leaves, a message that is there has its note.
 *
 * A cancelled message may be all that tells, after a start, that its id is
 * taken: it stays as long as an id does.
 *
 * What can fail: a purge. It is as if it had not been begun, and is made again
 * later.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/delayed_internal.h"

#include "base/check.h"
#include "base/diag.h"

#include <inttypes.h>

enum { LOOKED_MAX = 1 << 16 }; /* messages looked at in a turn, a bucket */

static uint64_t now_of(const struct delayed *delayed)
{
    return io_now_ms(delayed->options.shard->io);
}

void delayed_trim_over(struct delayed_bucket *bucket, uint64_t sequence)
{
    if (delayed_bits_set(&bucket->over, sequence) != ERR_OK) {
        return; /* it stays until the hour is over */
    }
    bucket->delayed->trim_due = true;
}

/* Find out up to where all is over, a part at a time. */
static void look_on(struct delayed_bucket *bucket)
{
    uint64_t until = bucket->over_end + LOOKED_MAX;

    while (bucket->over_end < until &&
           delayed_bits_has(&bucket->over, bucket->over_end) &&
           !delayed_bits_has(&bucket->failed, bucket->over_end)) {
        bucket->over_end++;
    }
    if (bucket->over_end == until) {
        bucket->delayed->trim_due = true;
        delayed_kick(bucket->delayed);
    }
}

/* What a message has, about. After a start, when none was handed on yet, what
 * the bucket has is all that is known: part of that may have been given back.
 */
static uint64_t mean_bytes(const struct delayed_bucket *bucket)
{
    const struct store_bounds *bounds = &bucket->messages->store->bounds;

    if (bucket->sized_count > 0) {
        return bucket->sized_bytes / bucket->sized_count;
    }
    CHECK(bounds->end > bucket->first);
    return bounds->bytes / (bounds->end - bucket->first);
}

/* Tell whether what is over is as much as it takes. */
static bool is_enough(const struct delayed_bucket *bucket)
{
    const struct delayed_options *options = &bucket->delayed->options;
    uint64_t count = bucket->over_end - bucket->first;

    if (count == 0) {
        return false;
    }
    if (options->trim_count > 0 && count >= options->trim_count) {
        return true;
    }
    return options->trim_bytes > 0 &&
           count * mean_bytes(bucket) >= options->trim_bytes;
}

/* Tell whether nobody reads what would go, nor is to read it. */
static bool is_free(const struct delayed_bucket *bucket)
{
    const struct accept *accept = bucket->delayed->options.shard->accept;

    return bucket->ready && accept_delayed_known(accept) &&
           bucket->holds == 0 && bucket->trim == DELAYED_TRIM_NONE &&
           bucket->delayed->walk.bucket != bucket &&
           bucket->trim_due_ms <= now_of(bucket->delayed);
}

/* Up to where messages may go, ids that are taken left alone. */
static uint64_t find_before(const struct delayed_bucket *bucket)
{
    const struct accept *accept = bucket->delayed->options.shard->accept;
    uint64_t from = 0;

    if (delayed_bits_next(&bucket->cancelled, bucket->first,
                          bucket->over_end) == bucket->over_end) {
        return bucket->over_end;
    }
    if (accept_delayed_needed(accept, bucket->messages, &from) != ERR_OK) {
        return bucket->first;
    }
    from = from > bucket->first ? from : bucket->first;
    return delayed_bits_next(&bucket->cancelled, from, bucket->over_end);
}

static void purge(struct delayed_bucket *bucket,
                  enum delayed_trim trim,
                  struct topic *topic,
                  uint64_t before)
{
    bucket->trim = trim;
    bucket->trim_before = before;
    bucket->trim_op.durability = DURABILITY_DISK;
    store_purge(topic->store, before, &bucket->trim_op);
}

static void trim_bucket(struct delayed_bucket *bucket)
{
    struct delayed *delayed = bucket->delayed;

    if (bucket->messages == NULL || bucket->end != DELAYED_END_NONE) {
        return;
    }
    look_on(bucket);
    if (!is_enough(bucket)) {
        return;
    }
    if (!is_free(bucket)) {
        delayed->trim_due = true;
        return;
    }
    uint64_t before = find_before(bucket);
    if (before == bucket->first) {
        bucket->trim_due_ms = now_of(delayed) + DELAYED_LOOK_MS;
        delayed->trim_due = true;
        return;
    }
    purge(bucket, DELAYED_TRIM_MESSAGES, bucket->messages, before);
}

void delayed_trim_turn(struct delayed *delayed)
{
    if (!delayed->trim_due) {
        return;
    }
    delayed->trim_due = false;
    for (uint32_t index = 0; index < delayed->bucket_count; index++) {
        if (delayed->buckets[index]->over.count > 0) {
            trim_bucket(delayed->buckets[index]);
        }
    }
}

/* Messages are gone for good: forget them, and let go of notes that name no
 * others. */
static void messages_gone(struct delayed_bucket *bucket)
{
    uint64_t log_before = bucket->log_before;

    bucket->first = bucket->trim_before;
    delayed_bits_drop(&bucket->taken, bucket->first);
    delayed_bits_drop(&bucket->cancelled, bucket->first);
    delayed_bits_drop(&bucket->failed, bucket->first);
    delayed_bits_drop(&bucket->over, bucket->first);
    if (bucket->log == NULL || bucket->log_names > bucket->first) {
        return;
    }
    bucket->log_before = bucket->log->store->bounds.end;
    bucket->log_names = bucket->messages->store->bounds.end;
    if (log_before > bucket->log->store->bounds.oldest) {
        purge(bucket, DELAYED_TRIM_LOG, bucket->log, log_before);
    }
}

void delayed_trim_done(struct store_op *op, enum err err)
{
    struct delayed_bucket *bucket =
        CONTAINER_OF(op, struct delayed_bucket, trim_op);
    struct delayed *delayed = bucket->delayed;
    enum delayed_trim trim = bucket->trim;

    bucket->trim = DELAYED_TRIM_NONE;
    if (delayed->closed) {
        return; /* the topics are gone; the next start sees what it did */
    }
    if (err != ERR_OK) {
        DIAG_WARN("delayed_not_trimmed", "hour=%" PRIu64 " log=%d err=%s",
                  bucket->hour, trim == DELAYED_TRIM_LOG, err_name(err));
        bucket->trim_due_ms = now_of(delayed) + DELAYED_AGAIN_MS;
    } else if (trim == DELAYED_TRIM_MESSAGES) {
        messages_gone(bucket);
    }
    delayed->trim_due = true;
    delayed_kick(delayed);
}
