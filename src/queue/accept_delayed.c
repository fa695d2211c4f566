/* Reading back, after a start, the ids of messages that still wait to be due.
 *
 * They lie in buckets (delayed.h) and belong to topics of any shard. So a
 * bucket's log is read like that of a topic (accept_walk.c), as far back as the
 * longest window of any topic goes, and what it says travels: a batch goes to
 * each shard in turn, which takes what is its own. Until all buckets of all
 * shards are read, no topic that had ids before knows all of them.
 *
 * What was cancelled is remembered like any other: an id is taken for its
 * window, whatever became of its message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/accept_internal.h"

#include "base/check.h"
#include "queue/shard.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH_MAX = 256 };

/* The id of a message that waits. */
struct waiting_id {
    struct siphash hash;
    uint64_t due_ms;
    uint64_t bucket_id; /* these two: where it is */
    uint64_t sequence;
    uint64_t pushed_at_ms;
    uint32_t topic_size;
    char topic[TOPIC_NAME_MAX];
};

struct accept_batch {
    struct shard_call call;
    struct accept *accept; /* whose it is */
    uint32_t at;           /* index of the shard that it is on, or goes to */
    enum err err;          /* there */
    uint32_t count;
    struct waiting_id ids[BATCH_MAX];
};

/* --- who waits for whom --------------------------------------------------- */

bool accept_delayed_known(const struct accept *accept)
{
    const struct shard *shard = accept->options.shard;

    return shard == NULL || atomic_load(&shard->group->ids_unread) == 0;
}

void accept_delayed_window(const struct accept *accept, uint32_t window_ms)
{
    const struct shard *shard = accept->options.shard;

    if (shard == NULL) {
        return;
    }
    atomic_uint *longest = &shard->group->dedup_window_ms;
    unsigned now = atomic_load(longest);
    while (now < window_ms &&
           !atomic_compare_exchange_weak(longest, &now, window_ms)) {
    }
}

void accept_delayed_begin(const struct accept *accept)
{
    atomic_fetch_add(&accept->options.shard->group->ids_unread, 1);
}

void accept_delayed_end(struct accept *accept)
{
    atomic_fetch_sub(&accept->options.shard->group->ids_unread, 1);
}

enum err accept_delayed_needed(const struct accept *accept,
                               const struct topic *bucket,
                               uint64_t *out_first)
{
    const struct shard_group *group = accept->options.shard->group;
    uint64_t now_ms = io_wall_ms(accept->options.io);
    uint64_t window_ms = atomic_load(&group->dedup_window_ms);

    if (window_ms == 0) { /* nobody had an id */
        *out_first = bucket->store->bounds.end;
        return ERR_OK;
    }
    window_ms += ACCEPT_MARGIN_MS;
    return store_find_time(
        bucket->store, now_ms > window_ms ? now_ms - window_ms : 0, out_first);
}

/* --- batches -------------------------------------------------------------- */

enum err accept_delayed_take(struct accept *accept,
                             const struct topic *bucket,
                             const struct record *record)
{
    struct accept_walk *walk = &accept->walk;
    const struct message_options *options = record->message.options;

    if (options == NULL || options->id.size > 0 ||
        options->dedup_id.size == 0 || options->topic.size > TOPIC_NAME_MAX) {
        return ERR_OK;
    }
    if (walk->batch == NULL) {
        walk->batch = calloc(1, sizeof(*walk->batch));
    }
    struct accept_batch *batch = walk->batch;
    if (batch == NULL) {
        return ERR_NOMEM;
    }
    CHECK(batch->count < BATCH_MAX);
    struct waiting_id *one = &batch->ids[batch->count];
    batch->count++;
    one->hash = accept_hash(options->topic, options->dedup_id);
    one->due_ms = options->not_before_ms;
    one->bucket_id = bucket->store->id;
    one->sequence = record->sequence;
    one->pushed_at_ms = record->message.pushed_at_ms;
    one->topic_size = (uint32_t)options->topic.size;
    memcpy(one->topic, options->topic.data, options->topic.size);
    return ERR_OK;
}

/* Note an id whose topic is of this shard. Errors: ERR_NOMEM */
static enum err note(struct shard *there, const struct waiting_id *one)
{
    struct str name = {one->topic, one->topic_size};
    struct topic *topic = NULL;
    uint64_t mark = 0;
    enum err err = shard_topic(there, name, false, &topic);

    if (err != ERR_OK) {
        return err == ERR_NOMEM ? err : ERR_OK; /* it was deleted meanwhile */
    }
    if (!due_id_remember(&there->delayed_ids, one->due_ms, one->bucket_id,
                         one->sequence, &mark)) {
        return ERR_OK;
    }
    return accept_note_id(there->accept, topic, &one->hash, mark,
                          one->pushed_at_ms);
}

static void arrived(struct shard_call *call, struct shard *there)
{
    struct accept_batch *batch = CONTAINER_OF(call, struct accept_batch, call);

    for (uint32_t i = 0; batch->err == ERR_OK && i < batch->count; i++) {
        const struct waiting_id *one = &batch->ids[i];
        struct str name = {one->topic, one->topic_size};
        if (shard_owner(there, name) == there) {
            batch->err = note(there, one);
        }
    }
    shard_call_return(call);
}

static enum err send_on(struct accept_batch *batch)
{
    struct shard *home = batch->accept->options.shard;
    enum err err =
        shard_send(home, home->group->shards[batch->at], &batch->call);

    batch->accept->walk.sending = err == ERR_OK;
    return err;
}

static void returned(struct shard_call *call)
{
    struct accept_batch *batch = CONTAINER_OF(call, struct accept_batch, call);
    struct accept *accept = batch->accept;
    enum err err = batch->err;

    accept->walk.sending = false;
    batch->at++;
    if (err == ERR_OK && batch->at < accept->options.shard->group->count &&
        accept->walk.topic != NULL) {
        err = send_on(batch);
    }
    if (accept->walk.sending) {
        return;
    }
    batch->count = 0;
    accept_walk_sent(accept, err);
}

bool accept_delayed_full(const struct accept *accept)
{
    const struct accept_batch *batch = accept->walk.batch;

    return batch != NULL && batch->count == BATCH_MAX;
}

bool accept_delayed_any(const struct accept *accept)
{
    return accept->walk.batch != NULL && accept->walk.batch->count > 0;
}

enum err accept_delayed_send(struct accept *accept)
{
    struct accept_batch *batch = accept->walk.batch;

    batch->accept = accept;
    batch->call.run = arrived;
    batch->call.returned = returned;
    batch->at = 0;
    batch->err = ERR_OK;
    return send_on(batch);
}

void accept_delayed_drop(struct accept *accept)
{
    struct accept_walk *walk = &accept->walk;

    if (walk->sending) {
        return; /* it is emptied when it comes back */
    }
    free(walk->batch);
    walk->batch = NULL;
}
