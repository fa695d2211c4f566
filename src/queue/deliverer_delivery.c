/* The delivery of one topic.
 *
 * The happy path, in one turn of the loop:
 *   - an answer came: the outcome goes to the lane, the cursor to the store,
 *     the slot back; the lane says READ, so the delivery is awake;
 *   - in the hook the next record is read, a slot taken, the request rendered
 *     into the flight, the call started;
 *   - the loop submits it with everything else of this turn.
 *
 * What can go wrong, and the policy:
 *   - the attempt fails: it is counted in the cursor (so a restart knows), the
 *     lane backs off, and what the delivery held goes back meanwhile;
 *   - the record cannot be read: nothing is counted, the lane backs off;
 *   - it is lost (quarantined, or dropped by retention): the lane goes on
 *     behind it, and an event says so;
 *   - its body lies in a file that is missing or damaged: as when it is lost;
 *     what was sent of it is cut off before its end;
 *   - its URL or method cannot be used: a failed attempt like any other, since
 *     a message is never dropped;
 *   - there is no memory: as when it cannot be read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_delivery.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_reader.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* How an attempt ended. */
struct ending {
    enum err err;       /* ERR_OK: an answer came */
    int status;         /* 0: none came */
    const char *detail; /* for people; NULL */
    uint64_t after_ms;  /* Retry-After; 0: none */
    bool lost;          /* the message cannot be sent, now or later */
};

static bool is_delivered(const struct ending *ending)
{
    return ending->err == ERR_OK && ending->status >= 200 &&
           ending->status <= 299;
}

static struct io *io_of(const struct delivery *delivery)
{
    return delivery->deliverer->options.io;
}

/* --- steps ---------------------------------------------------------------- */

static struct lane_place place_of(const struct delivery *delivery)
{
    const struct store_topic *stored = delivery->topic->store;

    return (struct lane_place){
        .next = stored->cursor.next,
        .attempts = stored->cursor.attempts,
        .end = stored->bounds.end,
    };
}

/* Tell the store how far the lane is. */
static void note(struct delivery *delivery)
{
    struct store_cursor cursor = {
        .next = delivery->lane.next,
        .attempts = delivery->lane.attempts,
    };

    store_cursor_store(delivery->topic->store, &cursor);
}

static void delay_stop(struct delivery *delivery)
{
    if (io_timer_running(&delivery->timer)) {
        io_timer_stop(io_of(delivery), &delivery->timer);
        delivery->deliverer->stats.backing_off--;
    }
}

static void delay_start(struct delivery *delivery, uint64_t delay_ms)
{
    delivery->due_ms = io_now_ms(io_of(delivery)) + delay_ms;
    io_timer_start(io_of(delivery), &delivery->timer, delay_ms);
    delivery->deliverer->stats.backing_off++;
}

/* Perform a decision. What the step before began ends here. */
static void perform(struct delivery *delivery, struct lane_decision decision)
{
    if (decision.note) {
        note(delivery);
    }
    if (decision.step == LANE_STEP_NONE || decision.step == LANE_STEP_SLOT) {
        return; /* who asked for a slot goes on with it himself */
    }
    delay_stop(delivery);
    endpoint_leave(&delivery->waiter);
    list_remove(&delivery->ready);
    switch (decision.step) {
    case LANE_STEP_READ:
        if (delivery->reading) {
            deliverer_reader_drop(delivery);
        }
        deliverer_delivery_wake(delivery);
        break;
    case LANE_STEP_DELAY:
        deliverer_reader_keep(delivery, &delivery->deliverer->readers_idle);
        delay_start(delivery, decision.delay_ms);
        break;
    default:
        deliverer_reader_keep(delivery, &delivery->deliverer->readers_idle);
        break;
    }
}

static void timer_expired(struct io_timer *timer)
{
    struct delivery *delivery = CONTAINER_OF(timer, struct delivery, timer);

    delivery->deliverer->stats.backing_off--;
    perform(delivery, lane_due(&delivery->lane));
}

static void watch_moved(struct store_watch *watch)
{
    struct delivery *delivery = CONTAINER_OF(watch, struct delivery, watch);

    if (delivery->lane.state == LANE_IDLE) {
        deliverer_delivery_wake(delivery);
    }
}

/* Tell whether the n-th of a row is worth a line: at each doubling. */
static bool worth_a_line(uint32_t count)
{
    return (count & (count - 1)) == 0;
}

/* --- outcomes ------------------------------------------------------------- */

static void failure_forget(struct delivery *delivery)
{
    free(delivery->failure);
    delivery->failure = NULL;
}

/* Keep what is known of a failure, for people. Without memory it is not. */
static void failure_remember(struct delivery *delivery,
                             const struct ending *ending)
{
    struct failure *failure = delivery->failure;

    if (failure == NULL) {
        failure = malloc(sizeof(*failure));
    }
    if (failure == NULL) {
        return;
    }
    failure->sequence = delivery->lane.next;
    failure->class = deliverer_class(ending->err, ending->status);
    failure->status = ending->status;
    (void)snprintf(failure->detail, sizeof(failure->detail), "%s",
                   ending->detail != NULL ? ending->detail : "");
    delivery->failure = failure;
}

static const char *target_name(const struct delivery *delivery)
{
    return delivery->target != NULL ? delivery->target->name : "";
}

static void say_blocked(const struct delivery *delivery,
                        const struct ending *ending)
{
    const struct lane *lane = &delivery->lane;

    if (worth_a_line(lane->attempts)) {
        DIAG_WARN("delivery_blocked",
                  "topic=%s seq=%" PRIu64 " attempts=%u class=%s status=%d "
                  "target=%s detail=%s",
                  delivery->topic->store->name, lane->next, lane->attempts,
                  deliverer_class(ending->err, ending->status), ending->status,
                  target_name(delivery),
                  ending->detail != NULL ? ending->detail : "");
    }
}

static void
count(struct delivery *delivery, const struct ending *ending, bool delivered)
{
    struct deliverer_stats *stats = &delivery->deliverer->stats;
    struct topic_stats *topic_stats = &delivery->topic->stats;

    stats->attempts++;
    topic_stats->attempts++;
    if (delivered) {
        stats->delivered++;
        topic_stats->delivered++;
        return;
    }
    topic_stats->attempts_failed++;
    if (ending->err != ERR_OK) {
        stats->failed_by_err[ending->err]++;
    } else {
        int digit = ending->status / 100;
        stats->failed_by_status[digit > 0 && digit < 6 ? digit : 0]++;
    }
}

/* The lane goes past a message whose body is not there any more. */
static void
say_lost(const struct delivery *delivery, uint64_t sequence, enum err err)
{
    store_blob_damaged(delivery->topic->store, sequence, err);
    DIAG_WARN("delivery_skipped",
              "topic=%s seq=%" PRIu64 " to=%" PRIu64 " reason=%s",
              delivery->topic->store->name, sequence, sequence,
              "its body is damaged on disk");
}

/* An attempt ended; the slot is given back by the step that follows. */
static void end(struct delivery *delivery, const struct ending *ending)
{
    struct deliverer *deliverer = delivery->deliverer;
    struct lane *lane = &delivery->lane;
    struct lane_place place = place_of(delivery);
    bool delivered = is_delivered(ending);
    struct lane_outcome outcome = {
        .delivered = delivered || ending->lost,
        .after_ms = ending->after_ms,
    };

    count(delivery, ending, delivered);
    perform(delivery, lane_look(lane, &place)); /* has the cursor moved? */
    bool stray = lane->stray;
    uint32_t attempts = lane->attempts;
    uint64_t sequence = lane->next;
    struct lane_decision decision =
        lane_end(lane, &outcome, &deliverer->policy, &deliverer->random);
    if (!stray && delivered) {
        failure_forget(delivery);
        if (attempts > 0) {
            DIAG_INFO("delivery_recovered",
                      "topic=%s seq=%" PRIu64 " attempts=%u target=%s",
                      delivery->topic->store->name, sequence, attempts,
                      target_name(delivery));
        }
    } else if (!stray && ending->lost) {
        failure_forget(delivery);
        say_lost(delivery, sequence, ending->err);
    } else if (!stray) {
        failure_remember(delivery, ending);
        say_blocked(delivery, ending);
    }
    perform(delivery, decision);
}

/* The message cannot be sent as it is. Nothing goes out, but it counts as an
 * attempt, so that it is seen and not tried in a loop. */
static void refuse(struct delivery *delivery, const char *reason)
{
    struct ending ending = {.err = ERR_PROTOCOL, .detail = reason};

    lane_start(&delivery->lane);
    end(delivery, &ending);
}

/* What is needed to go on is not there: try again later. */
static void stumble(struct delivery *delivery, enum err err)
{
    struct deliverer *deliverer = delivery->deliverer;
    struct lane *lane = &delivery->lane;
    struct lane_decision decision =
        lane_missed(lane, true, &deliverer->policy, &deliverer->random);

    if (worth_a_line(lane->unreadable)) {
        DIAG_WARN("delivery_unreadable",
                  "topic=%s seq=%" PRIu64 " times=%u err=%s",
                  delivery->topic->store->name, lane->next, lane->unreadable,
                  err_text(err));
    }
    perform(delivery, decision);
}

/* --- flights -------------------------------------------------------------- */

static struct flight *flight_take(struct delivery *delivery)
{
    struct deliverer *deliverer = delivery->deliverer;
    struct list *link = list_take_first(&deliverer->free);

    CHECK(link != NULL); /* as many as there are slots */
    struct flight *flight = CONTAINER_OF(link, struct flight, link);
    deliverer->warm -= deliverer->warm > 0 ? 1 : 0;
    flight->delivery = delivery;
    delivery->flight = flight;
    list_append(&deliverer->flying, link);
    deliverer->stats.in_flight++;
    return flight;
}

/* Put it back on top, so that memory that was used just now is used again.
 * After a burst most of the pool gives its memory back. */
static void flight_return(struct delivery *delivery)
{
    struct deliverer *deliverer = delivery->deliverer;
    struct flight *flight = delivery->flight;

    delivery->flight = NULL;
    flight->delivery = NULL;
    if (flight->body != NULL) {
        body_source_destroy(flight->body);
        flight->body = NULL;
        deliverer->bodies--;
    }
    list_remove(&flight->link);
    if (deliverer->warm < DELIVERER_WARM_MAX) {
        outgoing_clear(&flight->outgoing);
        list_prepend(&deliverer->free, &flight->link);
        deliverer->warm++;
    } else {
        outgoing_fini(&flight->outgoing);
        list_append(&deliverer->free, &flight->link);
    }
    CHECK(deliverer->stats.in_flight > 0);
    deliverer->stats.in_flight--;
}

/* What a failing answer asks for, in milliseconds; 0 when nothing. */
static uint64_t asked_for(struct delivery *delivery,
                          const struct http_result *result)
{
    uint64_t after_ms = 0;
    const struct http_header *header =
        http_head_find(result->head, STR("retry-after"));

    if (header == NULL ||
        retry_after_ms(&delivery->deliverer->policy, header->value,
                       io_wall_ms(io_of(delivery)), &after_ms) != ERR_OK) {
        return 0;
    }
    return after_ms;
}

/* Tell whether a failure says nothing about the target: we had no memory, no
 * descriptor, or a kernel that said no. */
static bool is_ours(enum err err)
{
    return err == ERR_NOMEM || err == ERR_BUSY || err == ERR_IO ||
           err == ERR_CORRUPT;
}

static void call_done(struct http_call *call, const struct http_result *result)
{
    struct flight *flight = CONTAINER_OF(call, struct flight, call);
    struct delivery *delivery = flight->delivery;
    struct deliverer *deliverer = delivery->deliverer;
    struct ending ending = {
        .err = result->err,
        .detail = result->detail,
        .lost = flight->body != NULL && result->err == ERR_CORRUPT,
    };

    if (result->head != NULL) {
        ending.status = result->head->status;
    }
    bool delivered = is_delivered(&ending);
    if (ending.err == ERR_OK && !delivered) {
        ending.detail = http_status_text(ending.status);
        ending.after_ms = asked_for(delivery, result);
    }
    histogram_record(&deliverer->stats.attempt_us, result->elapsed_ns / 1000);
    if (!is_ours(ending.err)) {
        endpoint_note(&delivery->target->endpoint, ending.err, ending.status,
                      delivered, io_wall_ms(deliverer->options.io));
    }
    if (ending.after_ms > 0) {
        deliverer_target_hold(delivery->target, ending.after_ms);
    }
    flight_return(delivery);
    end(delivery, &ending);
}

static uint32_t timeout_of(const struct delivery *delivery,
                           const struct message *message)
{
    if (message->timeout_ms > 0) {
        return message->timeout_ms;
    }
    if (delivery->topic->settings.timeout_ms > 0) {
        return delivery->topic->settings.timeout_ms;
    }
    return delivery->deliverer->options.timeout_ms;
}

/* The body's file is missing, or not what it was: go on behind the message. */
static void lose(struct delivery *delivery, enum err err)
{
    struct lane *lane = &delivery->lane;
    uint64_t sequence = lane->next;

    say_lost(delivery, sequence, err);
    perform(delivery, lane_found(lane, sequence + 1));
    struct lane_place place = place_of(delivery);
    perform(delivery, lane_change(lane, &place, lane->paused));
}

/* Open the body of a message that lies in a file.
 * Errors: those of store_blob_open(); ERR_NOMEM */
static enum err body_open(struct delivery *delivery,
                          const struct record *record,
                          struct body_source **out)
{
    struct deliverer *deliverer = delivery->deliverer;
    const struct message_blob *blob = &record->message.blob;
    bool few = deliverer->bodies < DELIVERER_BODIES_FEW;
    int fd = -1;
    enum err err =
        store_blob_open(delivery->topic->store, record->sequence, blob, &fd);

    if (err == ERR_OK) {
        err = body_source_create(
            io_of(delivery), fd, blob,
            few ? DELIVERER_PIECE_SIZE : DELIVERER_PIECE_SIZE_SMALL, out);
    }
    if (err != ERR_OK) {
        file_close(fd);
    }
    return err;
}

/* Tell whether the body of the message can be had; NULL: it is in memory. If
 * not, the delivery goes on otherwise. */
static bool body_ready(struct delivery *delivery,
                       const struct record *record,
                       struct body_source **out)
{
    *out = NULL;
    if (record->message.blob.size == 0) {
        return true;
    }
    enum err err = body_open(delivery, record, out);
    if (err == ERR_NOT_FOUND || err == ERR_CORRUPT) {
        lose(delivery, err);
    } else if (err != ERR_OK) {
        stumble(delivery, err);
    }
    return err == ERR_OK;
}

/* It has a slot: render and send. */
static void fly(struct delivery *delivery,
                const struct record *record,
                const struct url *url)
{
    struct deliverer *deliverer = delivery->deliverer;
    struct body_source *body = NULL;
    if (!body_ready(delivery, record, &body)) {
        return;
    }
    struct flight *flight = flight_take(delivery);
    flight->body = body;
    deliverer->bodies += body != NULL ? 1 : 0;
    struct outgoing_context context = {
        .topic = delivery->topic,
        .url = url,
        .user_agent = str_from(deliverer->options.user_agent),
        .sequence = record->sequence,
        .attempt = delivery->lane.attempts + 1,
        .now_s = io_wall_ms(deliverer->options.io) / 1000,
    };
    enum err err =
        outgoing_render(&flight->outgoing, &record->message, &context);

    deliverer_reader_keep(delivery, &deliverer->readers);
    if (err != ERR_OK) {
        flight_return(delivery);
        if (err == ERR_INVALID) {
            refuse(delivery, "the method cannot be sent");
        } else {
            stumble(delivery, err);
        }
        return;
    }
    struct http_call *call = &flight->call;
    *call = (struct http_call){
        .done = call_done,
        .endpoint = delivery->target->http,
        .source = body != NULL ? body_source_http(body) : NULL,
        .timeout_ms = timeout_of(delivery, &record->message),
        .head_only = flight->outgoing.head_only,
    };
    call->part_count = outgoing_parts(&flight->outgoing, call->parts);
    lane_start(&delivery->lane);
    http_call_start(call);
}

/* --- reading -------------------------------------------------------------- */

/* Have `target` be that of the message's URL. */
static enum err target_use(struct delivery *delivery, const struct url *url)
{
    struct deliverer_target *target = NULL;

    if (delivery->target != NULL &&
        url_same_endpoint(&delivery->target->url, url)) {
        return ERR_OK;
    }
    enum err err = deliverer_target_acquire(delivery->deliverer, url, &target);
    if (err != ERR_OK) {
        return err;
    }
    endpoint_leave(&delivery->waiter); /* a slot of another target */
    deliverer_target_release(delivery->target);
    delivery->target = target;
    return ERR_OK;
}

/* Take a slot, or stand in line. Returns whether there is one. */
static bool slot_take(struct delivery *delivery)
{
    struct endpoint *endpoint = &delivery->target->endpoint;
    bool retry = delivery->lane.attempts > 0;

    if (delivery->waiter.in_flight) {
        return true;
    }
    if (endpoint_take(endpoint, &delivery->waiter, retry)) {
        return true;
    }
    endpoint_wait(endpoint, &delivery->waiter, retry);
    deliverer_reader_keep(delivery, &delivery->deliverer->readers);
    return false;
}

/* Read a message's URL, if it was not read a while ago.
 * Errors: those of url_parse() */
static enum err read_url(struct deliverer *deliverer,
                         struct str text,
                         struct url *out_url,
                         const char **out_reason)
{
    if (url_memo_find(&deliverer->urls, text, out_url)) {
        return ERR_OK;
    }
    enum err err = url_parse(text, out_url, out_reason);
    if (err == ERR_OK) {
        url_memo_put(&deliverer->urls, text, out_url);
    }
    return err;
}

static void found(struct delivery *delivery, const struct record *record)
{
    struct lane *lane = &delivery->lane;
    struct url url;
    const char *reason = NULL;

    if (record->sequence > lane->next) {
        DIAG_WARN("delivery_skipped",
                  "topic=%s seq=%" PRIu64 " to=%" PRIu64 " reason=%s",
                  delivery->topic->store->name, lane->next,
                  record->sequence - 1, "damaged on disk");
    }
    perform(delivery, lane_found(lane, record->sequence));
    if (read_url(delivery->deliverer, record->message.url, &url, &reason) !=
        ERR_OK) {
        endpoint_leave(&delivery->waiter);
        deliverer_target_release(delivery->target);
        delivery->target = NULL;
        delivery->target_known = false;
        refuse(delivery, reason);
        return;
    }
    enum err err = target_use(delivery, &url);
    if (err != ERR_OK) {
        stumble(delivery, err);
        return;
    }
    delivery->target_sequence = record->sequence;
    delivery->target_known = true;
    if (slot_take(delivery)) {
        fly(delivery, record, &url);
    }
}

/* Retention took what was to be delivered: go on with the oldest there is. */
static void overtaken(struct delivery *delivery)
{
    struct lane *lane = &delivery->lane;
    uint64_t oldest = delivery->topic->store->bounds.oldest;

    if (oldest <= lane->next) { /* the store contradicts itself */
        stumble(delivery, ERR_RANGE);
        return;
    }
    DIAG_WARN(
        "delivery_skipped", "topic=%s seq=%" PRIu64 " to=%" PRIu64 " reason=%s",
        delivery->topic->store->name, lane->next, oldest - 1, "no longer kept");
    struct lane_decision decision = lane_found(lane, oldest);
    perform(delivery, decision);
    struct lane_place place = place_of(delivery);
    perform(delivery, lane_change(lane, &place, lane->paused));
}

static void read_and_send(struct delivery *delivery)
{
    struct deliverer *deliverer = delivery->deliverer;
    enum err err = deliverer_reader_next(delivery, delivery->lane.next,
                                         &deliverer->record);

    switch (err) {
    case ERR_OK:
        found(delivery, &deliverer->record);
        break;
    case ERR_AGAIN:
        break; /* it wakes the delivery */
    case ERR_NOT_FOUND:
        perform(delivery, lane_missed(&delivery->lane, false,
                                      &deliverer->policy, &deliverer->random));
        break;
    case ERR_RANGE:
        overtaken(delivery);
        break;
    default:
        stumble(delivery, err);
        break;
    }
}

/* When it is known where the message goes, as with a further attempt, it is
 * read only when there is a slot for it. Returns whether to read now. */
static bool may_read(struct delivery *delivery)
{
    struct lane *lane = &delivery->lane;

    if (delivery->waiter.in_flight) {
        return true;
    }
    if (delivery->target_known && delivery->target_sequence == lane->next) {
        (void)lane_found(lane, lane->next);
        return slot_take(delivery);
    }
    if (delivery->deliverer->reading >= DELIVERER_READING_MAX) {
        list_append(&delivery->deliverer->starved, &delivery->ready);
        return false;
    }
    return true;
}

/* --- for the deliverer ---------------------------------------------------- */

void deliverer_delivery_wake(struct delivery *delivery)
{
    if (!list_linked(&delivery->ready)) {
        list_append(&delivery->deliverer->ready, &delivery->ready);
    }
}

void deliverer_delivery_work(struct delivery *delivery)
{
    struct lane *lane = &delivery->lane;
    struct lane_place place = place_of(delivery);

    perform(delivery, lane_look(lane, &place));
    list_remove(&delivery->ready);
    bool wants_record =
        lane->state == LANE_READING ||
        (lane->state == LANE_WAITING && delivery->waiter.in_flight);
    if (wants_record && !delivery->reading && may_read(delivery)) {
        read_and_send(delivery);
    }
}

void deliverer_delivery_slot(struct delivery *delivery)
{
    deliverer_delivery_work(delivery);
}

void deliverer_delivery_change(struct delivery *delivery)
{
    struct lane_place place = place_of(delivery);

    perform(delivery, lane_change(&delivery->lane, &place,
                                  delivery->topic->settings.paused));
}

void deliverer_delivery_stop(struct delivery *delivery)
{
    perform(delivery, lane_stop(&delivery->lane));
}

void deliverer_delivery_give_up(struct delivery *delivery)
{
    if (delivery->flight != NULL) {
        http_call_cancel(&delivery->flight->call);
        flight_return(delivery);
        perform(delivery, lane_give_up(&delivery->lane));
    }
}

enum err deliverer_delivery_create(struct deliverer *deliverer,
                                   struct topic *topic,
                                   struct delivery **out)
{
    struct delivery *delivery = calloc(1, sizeof(*delivery));

    if (delivery == NULL) {
        return ERR_NOMEM;
    }
    delivery->deliverer = deliverer;
    delivery->topic = topic;
    delivery->watch.moved = watch_moved;
    delivery->timer.expired = timer_expired;
    struct lane_place place = place_of(delivery);
    lane_init(&delivery->lane, &place);
    delivery->lane.paused = topic->settings.paused;
    delivery->lane.stopped = deliverer->draining;
    list_append(&deliverer->deliveries, &delivery->link);
    store_watch_add(topic->store, &delivery->watch);
    if (lane_has_work(&delivery->lane)) {
        deliverer_delivery_wake(delivery);
    }
    *out = delivery;
    return ERR_OK;
}

void deliverer_delivery_destroy(struct delivery *delivery)
{
    store_watch_remove(&delivery->watch);
    if (delivery->flight != NULL) {
        http_call_cancel(&delivery->flight->call);
        flight_return(delivery);
    }
    delay_stop(delivery);
    endpoint_leave(&delivery->waiter);
    deliverer_reader_drop(delivery);
    list_remove(&delivery->ready);
    list_remove(&delivery->link);
    deliverer_target_release(delivery->target);
    failure_forget(delivery);
    free(delivery);
}
