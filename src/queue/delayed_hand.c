/* Handing delayed messages on.
 *
 *     due -> read -> (its body once more) -> encoded -> the shard of its topic
 *         -> appended, durable -> back here -> noted
 *
 * Messages are begun in order of due time, and those of one topic are appended
 * in that order, but those with a large body, which come when that is there.
 *
 * What can fail: reading, memory, the disk, the other shard's bounds. The
 * message is tried again later, with the others going on; when it is the disk
 * or memory, nothing is begun for a moment. As many as may wait for a further
 * attempt is bounded, and at the bound nothing new is begun. A message that is
 * damaged is counted, logged and passed over.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/delayed_internal.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/diag.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct shard *shard_of(const struct delayed *delayed)
{
    return delayed->options.shard;
}

static uint64_t now_of(const struct delayed *delayed)
{
    return io_now_ms(shard_of(delayed)->io);
}

/* --- flights -------------------------------------------------------------- */

/* Let go of what an attempt had. */
static void flight_clear(struct delayed_flight *flight)
{
    struct delayed *delayed = flight->delayed;

    if (flight->body != NULL) {
        if (flight->given) {
            store_blob_keep(flight->body);
        } else {
            store_blob_drop(flight->body);
        }
        flight->body = NULL;
    }
    if (flight->record != NULL) {
        delayed->flight_bytes -= flight->record_size;
        free(flight->record);
        flight->record = NULL;
    }
}

static void flight_free(struct delayed_flight *flight)
{
    flight_clear(flight);
    CHECK(flight->bucket->flights > 0);
    flight->bucket->flights--;
    list_remove(&flight->link);
    free(flight);
}

/* It is over: handed on, or nothing more can be done. */
static void flight_end(struct delayed_flight *flight)
{
    CHECK(flight->delayed->flight_count > 0);
    flight->delayed->flight_count--;
    flight_free(flight);
}

/* Note that it waits to be handed on again, or not any more. */
static void flight_mark(const struct delayed_flight *flight, bool failed)
{
    struct delayed_bits *bits = &flight->bucket->failed;

    if (!failed) {
        delayed_bits_clear(bits, flight->key.sequence);
    } else if (delayed_bits_set(bits, flight->key.sequence) != ERR_OK) {
        return; /* it only looks handed on, and cannot be cancelled */
    }
}

/* Give it up: it is as it was before it was begun. */
static void flight_undo(struct delayed_flight *flight)
{
    flight_mark(flight, false);
    delayed_bits_clear(&flight->bucket->taken, flight->key.sequence);
    flight_free(flight);
}

/* It failed: to be made again later. */
static void flight_later(struct delayed_flight *flight, enum err err)
{
    struct delayed *delayed = flight->delayed;

    delayed->stats.failed++;
    if (delayed->told_ms <= now_of(delayed)) {
        delayed->told_ms = now_of(delayed) + DELAYED_TELL_MS;
        DIAG_WARN("delayed_not_handed",
                  "topic=%s hour=%" PRIu64 " sequence=%" PRIu64
                  " err=%s failed=%" PRIu64,
                  flight->topic, flight->bucket->hour, flight->key.sequence,
                  err_name(err), delayed->stats.failed);
    }
    if (err != ERR_BUSY && err != ERR_CLOSED) {
        delayed->pause_ms = now_of(delayed) + DELAYED_PAUSE_MS;
    }
    flight_clear(flight);
    delayed->flight_count--;
    list_remove(&flight->link);
    if (delayed->stopping) {
        delayed_bits_clear(&flight->bucket->taken, flight->key.sequence);
        flight->bucket->flights--;
        free(flight);
        return;
    }
    flight->again_ms = now_of(delayed) + DELAYED_AGAIN_MS;
    list_append(&delayed->later, &flight->link);
    delayed->later_count++;
    flight_mark(flight, true);
}

/* --- to its topic --------------------------------------------------------- */

static void handed(struct shard_call *call)
{
    struct delayed_flight *flight =
        CONTAINER_OF(call, struct delayed_flight, call);
    struct delayed *delayed = flight->delayed;
    uint64_t wall_ms = delayed_wall_ms(delayed);
    uint64_t due_ms = flight->key.due_ms;

    flight->called = false;
    if (flight->err != ERR_OK) {
        flight_later(flight, flight->err);
    } else {
        delayed->stats.handed++;
        histogram_record(&delayed->stats.lateness_ms,
                         wall_ms > due_ms ? wall_ms - due_ms : 0);
        delayed_bucket_handed(flight->bucket, flight->key.sequence);
        flight->bucket->sized_count++;
        flight->bucket->sized_bytes +=
            flight->record_size +
            (flight->body != NULL ? flight->body->message.size : 0);
        flight_end(flight);
    }
    delayed_kick(delayed);
}

static void appended(struct store_op *op, enum err err)
{
    struct delayed_flight *flight =
        CONTAINER_OF(op, struct delayed_flight, op.store);

    if (err != ERR_OK) {
        shard_topic_unused(flight->call.there, str_from(flight->topic));
    }
    flight->given = !flight->op.unstored;
    flight->err = err;
    shard_call_return(&flight->call);
}

/* On the shard of the topic; taken even while it drains, as a push is. */
static void arrived(struct shard_call *call, struct shard *there)
{
    struct delayed_flight *flight =
        CONTAINER_OF(call, struct delayed_flight, call);
    struct str name = {flight->topic, flight->topic_size};
    struct topic *topic = NULL;

    flight->err = shard_topic(there, name, true, &topic);
    if (flight->err == ERR_OK) {
        const struct accept_push push = {
            .wants = &flight->wants,
            .record = flight->record,
            .record_size = flight->record_size,
        };
        flight->op.store.done = appended;
        flight->op.store.durability = DURABILITY_DISK;
        flight->op.store.owed = true;
        flight->err = accept_append(there->accept, topic, &push, &flight->op);
        if (flight->err != ERR_OK) {
            shard_topic_unused(there, name);
        }
    }
    if (flight->err != ERR_OK) {
        shard_call_return(call);
    }
}

static void flight_send(struct delayed_flight *flight)
{
    struct shard *home = shard_of(flight->delayed);
    struct str name = {flight->topic, flight->topic_size};

    flight->call.run = arrived;
    flight->call.returned = handed;
    enum err err = shard_send(home, shard_owner(home, name), &flight->call);
    if (err != ERR_OK) {
        flight_later(flight, err);
        return;
    }
    flight->called = true;
}

/* --- reading -------------------------------------------------------------- */

/* The message is not what was pushed. */
static void flight_lost(struct delayed_flight *flight)
{
    struct delayed_bucket *bucket = flight->bucket;

    delayed_bits_clear(&bucket->taken, flight->key.sequence);
    delayed_bucket_lost(bucket, flight->key.sequence);
    flight_end(flight);
}

/* The body of a large message has its second name. */
static void body_there(struct store_blob *blob)
{
    struct delayed_flight *flight = blob->user;
    struct delayed *delayed = flight->delayed;

    if (blob->err == ERR_OK) {
        record_set_blob(flight->record, &blob->message, flight->pushed_at_ms);
        flight_send(flight);
    } else if (blob->err == ERR_NOT_FOUND || blob->err == ERR_CORRUPT) {
        store_blob_damaged(flight->bucket->messages->store,
                           flight->key.sequence, blob->err);
        flight_lost(flight);
    } else {
        flight_later(flight, blob->err);
    }
    delayed_kick(delayed);
}

/* What is still to be asked when a message comes to its topic: whether it was
 * pushed before was found out when it was pushed. */
static void note_wants(struct delayed_flight *flight,
                       const struct message *message)
{
    struct str topic = {flight->topic, flight->topic_size};

    accept_wants(&flight->wants, topic, message, false, 0);
    flight->wants.own = true;
    flight->wants.dedup = false;
    flight->wants.any = flight->wants.collapse;
}

/* Encode a message as it is stored in its topic.
 * Errors: ERR_NOMEM, ERR_CORRUPT (it has no place to go), ERR_TOO_LARGE */
static enum err encode(struct delayed_flight *flight,
                       const struct record *record)
{
    struct message message = record->message;
    char id[DUE_ID_MAX];

    if (message.options == NULL ||
        !store_topic_name_valid(message.options->topic)) {
        return ERR_CORRUPT;
    }
    struct message_options options = *message.options;
    memcpy(flight->topic, options.topic.data, options.topic.size);
    flight->topic[options.topic.size] = '\0';
    flight->topic_size = (uint32_t)options.topic.size;
    options.topic = (struct str){NULL, 0};
    note_wants(flight, &record->message);
    if (options.id.size == 0) {
        const struct store_topic *stored = flight->bucket->messages->store;
        char *end = due_id_put(stored->id, record->sequence, id);
        options.id = (struct str){id, (size_t)(end - id)};
    }
    message.options = &options;
    enum err err = record_size(&message, &flight->record_size);
    if (err != ERR_OK) {
        return err;
    }
    flight->record = malloc(flight->record_size);
    if (flight->record == NULL) {
        return ERR_NOMEM;
    }
    flight->delayed->flight_bytes += flight->record_size;
    flight->pushed_at_ms = message.pushed_at_ms;
    record_encode(&message, 0, flight->record, flight->record_size);
    return ERR_OK;
}

/* The message was read: bring it on its way. */
static void flight_read(struct delayed_flight *flight,
                        const struct record *record)
{
    const struct message_blob *body = &record->message.blob;
    enum err err = encode(flight, record);

    if (err == ERR_CORRUPT) {
        flight_lost(flight);
        return;
    }
    if (err == ERR_OK && body->size == 0) {
        flight_send(flight);
        return;
    }
    if (err == ERR_OK) {
        err = store_blob_share(flight->bucket->messages->store,
                               flight->key.sequence, body, &flight->body);
    }
    if (err != ERR_OK) {
        flight_later(flight, err);
        return;
    }
    flight->body->ended = body_there;
    flight->body->user = flight;
}

static void bytes_there(struct store_reader *reader)
{
    struct delayed_bucket *bucket = reader->user;

    delayed_kick(bucket->delayed);
    bucket->delayed->reading_ready = true;
}

/* Read the message of a flight; it may have to wait for its bytes. */
static void read_flight(struct delayed_flight *flight)
{
    static _Thread_local struct record record;
    struct delayed_bucket *bucket = flight->bucket;
    struct delayed *delayed = flight->delayed;
    uint64_t sequence = flight->key.sequence;
    enum err err = ERR_OK;

    if (bucket->reader == NULL) {
        err = store_reader_create(bucket->messages->store, &bucket->reader);
        if (err != ERR_OK) {
            flight_later(flight, err);
            return;
        }
        bucket->reader->ready = bytes_there;
        bucket->reader->user = bucket;
    }
    err = store_reader_next(bucket->reader, sequence, &record);
    if (err == ERR_AGAIN) {
        delayed->reading = flight;
        delayed->reading_ready = false;
    } else if (err == ERR_RANGE || err == ERR_NOT_FOUND ||
               (err == ERR_OK && record.sequence != sequence)) {
        flight_lost(flight);
    } else if (err != ERR_OK) {
        flight_later(flight, err);
    } else {
        flight_read(flight, &record);
    }
}

/* --- what may be begun ---------------------------------------------------- */

/* Begin a message that is due. Returns false when there is no memory. */
static bool begin(struct delayed *delayed, const struct delayed_key *key)
{
    struct delayed_bucket *bucket =
        delayed_bucket_of(delayed, key->due_ms / DELAYED_HOUR_MS);

    if (bucket == NULL || bucket->messages == NULL ||
        delayed_bucket_settled(bucket, key->sequence)) {
        delayed_index_take(&delayed->index);
        return true; /* over, or cancelled */
    }
    struct delayed_flight *flight = calloc(1, sizeof(*flight));
    if (flight == NULL ||
        delayed_bits_set(&bucket->taken, key->sequence) != ERR_OK) {
        free(flight);
        delayed->pause_ms = now_of(delayed) + DELAYED_PAUSE_MS;
        return false;
    }
    flight->delayed = delayed;
    flight->bucket = bucket;
    flight->key = *key;
    bucket->flights++;
    delayed->flight_count++;
    delayed->round_count++;
    list_append(&delayed->flights, &flight->link);
    delayed_index_take(&delayed->index);
    read_flight(flight);
    return true;
}

/* Begin again what failed a while ago; false when there is none. */
static bool begin_again(struct delayed *delayed)
{
    struct list *link = delayed->later.next;

    if (link == &delayed->later) {
        return false;
    }
    struct delayed_flight *flight =
        CONTAINER_OF(link, struct delayed_flight, link);
    if (flight->again_ms > now_of(delayed)) {
        return false;
    }
    delayed->later_count--;
    if (flight->key.sequence < flight->bucket->first ||
        delayed_bits_has(&flight->bucket->cancelled, flight->key.sequence)) {
        flight_undo(flight);
        return true;
    }
    list_remove(link);
    list_append(&delayed->flights, link);
    flight_mark(flight, false);
    delayed->flight_count++;
    delayed->round_count++;
    flight->given = false;
    read_flight(flight);
    return true;
}

/* Tell whether anything may be begun now. */
static bool may_begin(struct delayed *delayed)
{
    uint64_t now_ms = now_of(delayed);

    if (now_ms >= delayed->round_ms + DELAYED_ROUND_MS) {
        delayed->round_ms = now_ms;
        delayed->round_count = 0;
    }
    return delayed->reading == NULL && delayed->pause_ms <= now_ms &&
           delayed->round_count < DELAYED_ROUND_MAX &&
           delayed->flight_count < DELAYED_FLIGHTS_MAX &&
           delayed->later_count + delayed->flight_count < DELAYED_LATER_MAX &&
           delayed->flight_bytes < DELAYED_BYTES_MAX &&
           delayed->unnoted < DELAYED_UNNOTED_MAX;
}

void delayed_hand_turn(struct delayed *delayed)
{
    uint64_t wall_ms = delayed_wall_ms(delayed);

    if (delayed->reading != NULL && delayed->reading_ready) {
        struct delayed_flight *flight = delayed->reading;
        delayed->reading = NULL;
        read_flight(flight);
    }
    while (may_begin(delayed)) {
        if (begin_again(delayed)) {
            continue;
        }
        const struct delayed_key *first = delayed_index_first(&delayed->index);
        if (first == NULL || first->due_ms > wall_ms) {
            break;
        }
        const struct delayed_key key = *first;
        if (!begin(delayed, &key)) {
            break;
        }
    }
}

uint64_t delayed_hand_wait(const struct delayed *delayed)
{
    const struct delayed_key *first = delayed_index_first(&delayed->index);
    uint64_t now_ms = now_of(delayed);
    uint64_t wall_ms = delayed_wall_ms(delayed);
    uint64_t wait_ms = UINT64_MAX;

    if (delayed->reading != NULL ||
        delayed->flight_count >= DELAYED_FLIGHTS_MAX ||
        delayed->flight_bytes >= DELAYED_BYTES_MAX) {
        return UINT64_MAX; /* what ends looks again */
    }
    if (first != NULL) {
        wait_ms = first->due_ms > wall_ms ? first->due_ms - wall_ms : 0;
    }
    if (delayed->later_count > 0) {
        const struct delayed_flight *flight = CONTAINER_OF(
            delayed->later.next, const struct delayed_flight, link);
        uint64_t again_ms =
            flight->again_ms > now_ms ? flight->again_ms - now_ms : 0;
        wait_ms = again_ms < wait_ms ? again_ms : wait_ms;
    }
    if (delayed->later_count + delayed->flight_count >= DELAYED_LATER_MAX ||
        delayed->unnoted >= DELAYED_UNNOTED_MAX) {
        return wait_ms > DELAYED_PAUSE_MS ? wait_ms : DELAYED_PAUSE_MS;
    }
    uint64_t free_ms = delayed->pause_ms > now_ms ? delayed->pause_ms : now_ms;
    if (delayed->round_count >= DELAYED_ROUND_MAX &&
        free_ms < delayed->round_ms + DELAYED_ROUND_MS) {
        free_ms = delayed->round_ms + DELAYED_ROUND_MS;
    }
    return wait_ms > free_ms - now_ms ? wait_ms : free_ms - now_ms;
}

void delayed_hand_stop(struct delayed *delayed)
{
    for (struct list *link = list_take_first(&delayed->later); link != NULL;
         link = list_take_first(&delayed->later)) {
        delayed->later_count--;
        flight_undo(CONTAINER_OF(link, struct delayed_flight, link));
    }
    delayed->reading = NULL;
    struct list *link = delayed->flights.next;
    while (link != &delayed->flights) {
        struct delayed_flight *flight =
            CONTAINER_OF(link, struct delayed_flight, link);
        link = link->next;
        if (!flight->called) {
            delayed->flight_count--;
            flight_undo(flight);
        }
    }
}
