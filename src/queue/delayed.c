/* Messages that are not due yet: life, the turn, pushes.
 *
 * Everything is done by a timer: what happens meanwhile (a push was stored, a
 * message was handed on, bytes were read) only lets it run in the next turn. So
 * nothing begins from inside another call, and what one turn does has a bound.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/delayed_internal.h"

#include "base/buf.h"
#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t delayed_wall_ms(const struct delayed *delayed)
{
    const struct delayed_options *options = &delayed->options;

    return options->wall_ms != NULL ? options->wall_ms(options->context)
                                    : io_wall_ms(options->shard->io);
}

void delayed_kick(struct delayed *delayed)
{
    if (delayed->started && !delayed->closed) {
        io_timer_start(delayed->options.shard->io, &delayed->timer, 0);
    }
}

/* --- the turn ------------------------------------------------------------- */

static uint64_t least(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

/* Milliseconds until the earliest note is due. */
static uint64_t note_wait(const struct delayed *delayed, uint64_t now_ms)
{
    uint64_t wait_ms = UINT64_MAX;

    uint32_t seen = 0;
    for (uint32_t index = 0;
         index < delayed->bucket_count && seen < delayed->unnoted; index++) {
        const struct delayed_bucket *bucket = delayed->buckets[index];
        seen += bucket->unnoted_count;
        if (bucket->note_due_ms != 0 && bucket->noting == 0) {
            wait_ms = least(wait_ms, bucket->note_due_ms > now_ms
                                         ? bucket->note_due_ms - now_ms
                                         : 1);
        }
    }
    return wait_ms;
}

/* Sleep until something may be done. */
static void sleep_on(struct delayed *delayed)
{
    struct io *io = delayed->options.shard->io;
    uint64_t wall_ms = delayed_wall_ms(delayed);
    uint64_t wait_ms = delayed->bucket_count > 0 ? DELAYED_LOOK_MS : UINT64_MAX;

    if (!delayed->stopping) {
        uint64_t walk_ms = delayed_walk_due(delayed);
        if (walk_ms != UINT64_MAX) {
            wait_ms = least(wait_ms, walk_ms > wall_ms ? walk_ms - wall_ms : 0);
        }
        wait_ms = least(wait_ms, delayed_hand_wait(delayed));
    }
    wait_ms = least(wait_ms, note_wait(delayed, io_now_ms(io)));
    if (wait_ms != UINT64_MAX) {
        io_timer_start(io, &delayed->timer, wait_ms);
    }
}

static void turn(struct io_timer *timer)
{
    struct delayed *delayed = CONTAINER_OF(timer, struct delayed, timer);

    if (delayed->closed) {
        return;
    }
    if (!delayed->stopping) {
        delayed_walk_turn(delayed);
        delayed_hand_turn(delayed);
        delayed_trim_turn(delayed);
        delayed_bucket_end_all(delayed);
    }
    delayed_bucket_note_all(delayed);
    if (!io_timer_running(timer)) {
        sleep_on(delayed);
    }
}

/* --- life ----------------------------------------------------------------- */

enum err delayed_create(const struct delayed_options *options,
                        struct delayed **out)
{
    struct delayed *delayed = calloc(1, sizeof(*delayed));

    if (delayed == NULL) {
        return ERR_NOMEM;
    }
    delayed->options = *options;
    delayed_index_init(&delayed->index, options->index_max > 0
                                            ? options->index_max
                                            : DELAYED_INDEX_MAX);
    list_init(&delayed->flights);
    list_init(&delayed->later);
    delayed->timer.expired = turn;
    enum err err = delayed_bucket_find_all(delayed);
    if (err != ERR_OK) {
        delayed_destroy(delayed);
        return err;
    }
    *out = delayed;
    return ERR_OK;
}

void delayed_start(struct delayed *delayed)
{
    delayed->started = true;
    if (delayed->bucket_count > 0) {
        delayed_kick(delayed);
    }
}

void delayed_stop(struct delayed *delayed)
{
    if (delayed->stopping) {
        return;
    }
    delayed->stopping = true;
    delayed_walk_stop(delayed);
    delayed_hand_stop(delayed);
    delayed_kick(delayed);
}

bool delayed_stopped(const struct delayed *delayed)
{
    return delayed->flight_count == 0 && delayed->unnoted == 0 &&
           delayed->noting == 0;
}

void delayed_close(struct delayed *delayed)
{
    delayed_stop(delayed);
    delayed->closed = true;
    io_timer_stop(delayed->options.shard->io, &delayed->timer);
    for (uint32_t index = 0; index < delayed->bucket_count; index++) {
        struct delayed_bucket *bucket = delayed->buckets[index];
        store_reader_destroy(bucket->reader);
        bucket->reader = NULL;
    }
}

void delayed_destroy(struct delayed *delayed)
{
    if (delayed == NULL) {
        return;
    }
    CHECK(delayed->flight_count == 0);
    delayed_bucket_free_all(delayed);
    delayed_index_fini(&delayed->index);
    delayed_walk_forget(delayed);
    due_id_table_fini(&delayed->options.shard->delayed_ids);
    free(delayed);
}

const struct delayed_stats *delayed_stats(struct delayed *delayed)
{
    struct delayed_stats *stats = &delayed->stats;

    stats->buckets = delayed->bucket_count;
    stats->pending = 0;
    for (uint32_t index = 0; index < delayed->bucket_count; index++) {
        stats->pending += delayed_bucket_pending(delayed->buckets[index]);
    }
    return stats;
}

/* --- pushes --------------------------------------------------------------- */

static void push_stored(struct store_op *op, enum err err)
{
    struct delayed_push *push = CONTAINER_OF(op, struct delayed_push, op);
    struct delayed_bucket *bucket = push->bucket;

    CHECK(bucket->pushes > 0);
    bucket->pushes--;
    push->err = err;
    push->given = true;
    push->durability = op->durability;
    push->sequence = op->sequence;
    if (err == ERR_OK) {
        const struct delayed_key key = {
            .due_ms = push->due_ms,
            .sequence = op->sequence,
        };
        delayed_walk_stored(bucket, &key);
        delayed_kick(bucket->delayed);
    } else {
        delayed_bucket_unmake(bucket);
    }
    shard_call_return(&push->call);
}

static enum err push_store(struct delayed_push *push, struct shard *there)
{
    struct delayed *delayed = there->delayed;
    struct delayed_bucket *bucket = NULL;
    enum err err =
        delayed_bucket_make(delayed, push->due_ms / DELAYED_HOUR_MS, &bucket);

    if (err != ERR_OK) {
        return err;
    }
    push->bucket = bucket;
    push->bucket_id = bucket->messages->store->id;
    push->op.durability = push->durability;
    push->op.done = push_stored;
    bucket->pushes++;
    err = store_append_encoded(bucket->messages->store, push->record,
                               push->record_size, &push->op);
    if (err != ERR_OK) {
        bucket->pushes--;
        delayed_bucket_unmake(bucket);
    }
    return err;
}

static void push_arrived(struct shard_call *call, struct shard *there)
{
    struct delayed_push *push = CONTAINER_OF(call, struct delayed_push, call);

    push->err = push_store(push, there);
    if (push->err != ERR_OK) {
        shard_call_return(call);
    }
}

static void push_returned(struct shard_call *call)
{
    struct delayed_push *push = CONTAINER_OF(call, struct delayed_push, call);

    if (push->err == ERR_OK) {
        due_id_know(&call->home->delayed_ids, push->due_ms, push->bucket_id);
    }
    push->done(push, push->err);
}

enum err delayed_append(struct shard *here, struct delayed_push *push)
{
    char name[64];
    int size = snprintf(name, sizeof(name), ".opq.delayed.%" PRIu64,
                        push->due_ms / DELAYED_HOUR_MS);

    CHECK(size > 0 && (size_t)size < sizeof(name));
    push->given = false;
    push->call.run = push_arrived;
    push->call.returned = push_returned;
    return shard_send(here, shard_owner(here, (struct str){name, (size_t)size}),
                      &push->call);
}
