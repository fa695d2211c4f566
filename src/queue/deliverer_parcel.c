/* A parcel's way from its window's turn to its outcome.
 *
 * The happy path: it is found with its record in hand, its endpoint has a slot,
 * the request is rendered into a flight and the call started; the answer comes,
 * the window and with it the cursor go on, the slot goes back.
 *
 * What can go wrong, and the policy:
 *   - the attempt fails: it is counted in the cursor (so a restart knows), the
 *     parcel backs off, and what it held goes back meanwhile;
 *   - the record cannot be read: nothing is counted, it backs off;
 *   - its body lies in a file that is missing or damaged: it is lost, and what
 *     was sent of it is cut off before its end;
 *   - its URL or method cannot be used: a failed attempt like any other, since
 *     a message is never dropped;
 *   - there is no memory: as when it cannot be read;
 *   - its letter or callback cannot be stored: that is tried again later, and
 *     the lane waits.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_parcel.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/deliverer_batch.h"
#include "queue/deliverer_body.h"
#include "queue/deliverer_delivery.h"
#include "queue/deliverer_find.h"
#include "queue/deliverer_limit.h"
#include "queue/deliverer_line.h"
#include "queue/deliverer_outcome.h"
#include "queue/deliverer_pause.h"
#include "queue/deliverer_reader.h"
#include "queue/deliverer_settle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct io *io_of(const struct parcel *parcel)
{
    return parcel->delivery->deliverer->options.io;
}

static const char *topic_name(const struct parcel *parcel)
{
    return parcel->delivery->topic->title;
}

/* --- what a parcel has ---------------------------------------------------- */

static void delay_expired(struct io_timer *timer);

struct parcel *deliverer_parcel_take(struct delivery *delivery)
{
    struct deliverer *deliverer = delivery->deliverer;
    struct list *link = list_take_first(&deliverer->parcels);
    struct parcel *parcel = NULL;

    if (link != NULL) {
        deliverer->parcel_count--;
        parcel = CONTAINER_OF(link, struct parcel, base.link);
        memset(parcel, 0, sizeof(*parcel));
    } else {
        parcel = calloc(1, sizeof(*parcel));
        if (parcel == NULL) {
            return NULL;
        }
    }
    parcel->delivery = delivery;
    parcel->timer.expired = delay_expired;
    parcel->retries = MESSAGE_RETRIES_UNSET;
    return parcel;
}

/* Its back-off begins, or ends. */
static void count_delay(struct parcel *parcel, bool begins)
{
    uint64_t *backing_off = &parcel->delivery->deliverer->stats.backing_off;

    *backing_off = begins ? *backing_off + 1 : *backing_off - 1;
    if (parcel->target != NULL) {
        endpoint_rest(&parcel->target->endpoint, begins);
    }
}

static void delay_stop(struct parcel *parcel)
{
    if (io_timer_running(&parcel->timer)) {
        io_timer_stop(io_of(parcel), &parcel->timer);
        if (!parcel->expiring) {
            count_delay(parcel, false);
        }
    }
    parcel->expiring = false;
}

/* Leave the line, or give the slot back. */
static void slot_leave(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    list_remove(&parcel->wants);
    deliverer_line_leave(parcel);
    if (parcel->waiter.in_flight) {
        CHECK(delivery->slots > 0);
        delivery->slots--;
    }
    endpoint_leave(&parcel->waiter);
}

static struct flight *flight_take(struct parcel *parcel)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;
    struct list *link = list_take_first(&deliverer->free);

    CHECK(link != NULL); /* as many as there are slots */
    struct flight *flight = CONTAINER_OF(link, struct flight, link);
    deliverer->warm -= deliverer->warm > 0 ? 1 : 0;
    flight->parcel = parcel;
    flight->begun_ms = io_now_ms(deliverer->options.io);
    parcel->flight = flight;
    list_append(&deliverer->flying, link);
    deliverer->stats.in_flight++;
    return flight;
}

/* Put it back on top, so that memory that was used just now is used again.
 * After a burst most of the pool gives its memory back. */
void deliverer_parcel_land(struct parcel *parcel)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;
    struct flight *flight = parcel->flight;

    parcel->flight = NULL;
    flight->parcel = NULL;
    deliverer_body_close(deliverer, flight);
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

/* Give a request up, if it was begun. */
static void flight_end(struct parcel *parcel)
{
    if (parcel->doing == PARCEL_SENDING) {
        http_call_cancel(&parcel->flight->call);
    }
    deliverer_parcel_land(parcel);
}

void deliverer_parcel_free(struct parcel *parcel)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;

    if (parcel->flight != NULL) {
        flight_end(parcel);
    }
    delay_stop(parcel);
    slot_leave(parcel);
    deliverer_batch_free(parcel);
    deliverer_settle_leave(parcel->settlement);
    deliverer_target_release(parcel->target);
    free(parcel->failures);
    free(parcel->retry_schedule);
    if (deliverer->parcel_count < DELIVERER_PARCELS_KEEP) {
        list_prepend(&deliverer->parcels, &parcel->base.link);
        deliverer->parcel_count++;
    } else {
        free(parcel);
    }
}

/* --- steps ---------------------------------------------------------------- */

void deliverer_parcel_done(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    window_done(&delivery->window, &parcel->base);
    deliverer_delivery_did(delivery, parcel->base.sequence, parcel->base.end);
    deliverer_delivery_wake(delivery);
    deliverer_parcel_free(parcel);
}

void deliverer_parcel_settle(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    if (parcel->flight != NULL) {
        deliverer_parcel_land(parcel); /* it was not begun */
    }
    slot_leave(parcel);
    parcel->doing = PARCEL_SETTLING;
    list_append(&delivery->granted, &parcel->wants);
    deliverer_delivery_wake(delivery);
}

static void timer_begin(struct parcel *parcel, uint64_t delay_ms)
{
    parcel->due_ms = io_now_ms(io_of(parcel)) + delay_ms;
    io_timer_start(io_of(parcel), &parcel->timer, delay_ms);
    count_delay(parcel, true);
}

static void settlement_drop(struct parcel *parcel)
{
    deliverer_settle_leave(parcel->settlement);
    parcel->settlement = NULL;
}

void deliverer_parcel_delay(struct parcel *parcel, uint64_t delay_ms)
{
    if (parcel->flight != NULL) {
        deliverer_parcel_land(parcel); /* it was not begun */
    }
    slot_leave(parcel);
    settlement_drop(parcel);
    parcel->doing = PARCEL_RESTING;
    window_hold(&parcel->delivery->window, &parcel->base);
    timer_begin(parcel, delay_ms);
    deliverer_delivery_wake(parcel->delivery); /* others may begin */
}

static void delay_expired(struct io_timer *timer)
{
    struct parcel *parcel = CONTAINER_OF(timer, struct parcel, timer);
    struct delivery *delivery = parcel->delivery;

    if (parcel->expiring) { /* in line: nothing may come of that for long */
        parcel->expiring = false;
        if (!deliverer_outcome_expire(
                parcel)) { /* by the wall clock it is not yet */
            deliverer_parcel_rest(parcel);
        }
        deliverer_delivery_wake(delivery);
        return;
    }
    count_delay(parcel, false);
    deliverer_line_go(parcel);
    if (parcel->settlement != NULL) {
        list_append(&delivery->granted, &parcel->wants);
    } else {
        window_ready(&delivery->window, &parcel->base, false);
    }
    deliverer_delivery_wake(delivery);
}

void deliverer_parcel_rest(struct parcel *parcel)
{
    struct window *window = &parcel->delivery->window;

    if (parcel->doing == PARCEL_SENDING) {
        return;
    }
    if (parcel->doing == PARCEL_SETTLING) {
        if (!parcel->delivery->stopped || !io_timer_running(&parcel->timer)) {
            return;
        }
        settlement_drop(parcel); /* its time will not come */
    }
    if (parcel->flight != NULL) {
        deliverer_parcel_land(parcel);
    }
    delay_stop(parcel);
    slot_leave(parcel);
    parcel->doing = PARCEL_RESTING;
    if (parcel->base.state == PARCEL_TAKEN ||
        parcel->base.state == PARCEL_HELD) {
        window_ready(window, &parcel->base, true);
    }
}

void deliverer_parcel_lose(struct parcel *parcel, const char *reason)
{
    DIAG_WARN("delivery_skipped",
              "topic=%s seq=%" PRIu64 " to=%" PRIu64 " reason=%s",
              topic_name(parcel), parcel->base.sequence, parcel->base.sequence,
              reason);
    deliverer_parcel_done(parcel);
}

void deliverer_parcel_stumble(struct parcel *parcel, enum err err)
{
    struct delivery *delivery = parcel->delivery;
    struct deliverer *deliverer = delivery->deliverer;

    delivery->unreadable += delivery->unreadable < UINT32_MAX ? 1 : 0;
    if (deliverer_worth_a_line(delivery->unreadable)) {
        DIAG_WARN(parcel->settlement != NULL ? "delivery_unsettled"
                                             : "delivery_unreadable",
                  "topic=%s seq=%" PRIu64 " times=%u err=%s",
                  topic_name(parcel), parcel->base.sequence,
                  delivery->unreadable, err_text(err));
    }
    uint64_t delay_ms = retry_delay_ms(&deliverer->policy, delivery->unreadable,
                                       &deliverer->random);
    if (parcel->settlement != NULL && !deliverer->draining) {
        list_remove(&parcel->wants);
        timer_begin(parcel, delay_ms);
    } else {
        deliverer_parcel_delay(parcel, delay_ms);
    }
}

void deliverer_parcel_end_stray(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    CHECK(delivery->strays > 0);
    delivery->strays--;
    deliverer_parcel_free(parcel);
    deliverer_delivery_wake(delivery);
}

/* --- sending -------------------------------------------------------------- */

/* `message` NULL: a batch. */
static uint32_t timeout_of(const struct delivery *delivery,
                           const struct message *message)
{
    if (message != NULL && message->timeout_ms > 0) {
        return message->timeout_ms;
    }
    if (delivery->settings->timeout_ms > 0) {
        return delivery->settings->timeout_ms;
    }
    return delivery->deliverer->options.timeout_ms;
}

/* Fill in the call of a flight whose request is rendered, and start it. */
static void launch(struct parcel *parcel, const struct message *message)
{
    struct flight *flight = parcel->flight;
    struct http_call *call = &flight->call;

    *call = (struct http_call){
        .done = deliverer_outcome_call,
        .endpoint = parcel->target->http,
        .source = flight->body != NULL ? body_source_http(flight->body) : NULL,
        .timeout_ms = timeout_of(parcel->delivery, message),
        .head_only = flight->outgoing.head_only,
    };
    call->part_count = outgoing_parts(&flight->outgoing, call->parts);
    parcel->doing = PARCEL_SENDING;
    http_call_start(call);
}

void deliverer_parcel_send_again(struct parcel *parcel,
                                 const struct record *record)
{
    struct parcel_message message = {.record = record};
    const char *reason = NULL;

    list_remove(&parcel->wants);
    if (deliverer_outcome_expire(parcel)) { /* while it waited */
        return;
    }
    if (!deliverer_find_wants(parcel->delivery, record) || /* any more */
        deliverer_find_collapse(parcel->delivery, record) ==
            ACCEPT_SUPERSEDED) {
        deliverer_parcel_done(parcel);
        return;
    }
    enum err err =
        deliverer_find_url(parcel->delivery, record, &message.url, &reason);
    if (err != ERR_OK) { /* it is not what was read first */
        deliverer_outcome_refuse(parcel, ERR_PROTOCOL, reason);
        return;
    }
    deliverer_parcel_send(parcel, &message);
}

void deliverer_parcel_send(struct parcel *parcel,
                           const struct parcel_message *message)
{
    const struct record *record = message->record;
    struct outgoing_context context;

    if (parcel->flight == NULL) { /* else its body was signed */
        (void)flight_take(parcel);
    }
    deliverer_parcel_context(parcel, &message->url, &context);
    enum err err = deliverer_body_prepare(parcel, record, &context);
    if (err == ERR_AGAIN) {
        return;
    }
    if (err == ERR_CORRUPT) {
        deliverer_parcel_lose(parcel, "its body is damaged on disk");
        return;
    }
    if (err == ERR_OK) {
        err = outgoing_render(&parcel->flight->outgoing, &record->message,
                              &context);
    }
    deliverer_parcel_rendered(parcel, &record->message, err);
}

void deliverer_parcel_board(struct parcel *parcel)
{
    (void)flight_take(parcel);
}

const struct settings *deliverer_parcel_events(const struct parcel *parcel)
{
    const struct settings *settings = parcel->delivery->settings;

    return settings->cloudevents != SETTINGS_EVENTS_OFF ? settings : NULL;
}

void deliverer_parcel_context(const struct parcel *parcel,
                              const struct url *url,
                              struct outgoing_context *out_context)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;
    const struct settings *settings = parcel->delivery->settings;

    *out_context = (struct outgoing_context){
        .topic = topic_root(parcel->delivery->topic),
        .url = url,
        .user_agent = str_from(deliverer->options.user_agent),
        .sequence = parcel->base.sequence,
        .previous = parcel->base.previous,
        .has_previous = parcel->base.previous != WINDOW_NO_SEQUENCE,
        .attempt = parcel->base.attempts + 1,
        .now_s = io_wall_ms(deliverer->options.io) / 1000,
        .secrets = deliverer->options.secrets,
        .secret_names = str_from(settings->secret),
        .sign = &deliverer->sign,
        .headers = str_from(settings->headers),
        .events = deliverer_parcel_events(parcel),
        .replay = settings->kind == SETTINGS_KIND_REPLAY
                      ? parcel->delivery->topic->store->name_str
                      : (struct str){0},
    };
}

/* Say why a request could not be made, with the secret that is to blame. */
static void write_why(const struct outgoing *outgoing,
                      char why[ATTEMPT_DETAIL_SIZE])
{
    (void)snprintf(
        why, ATTEMPT_DETAIL_SIZE, "%s%s%.*s",
        outgoing->why != NULL ? outgoing->why : "the method cannot be sent",
        outgoing->wrong.size > 0 ? ": " : "", STR_ARG(outgoing->wrong));
}

void deliverer_parcel_rendered(struct parcel *parcel,
                               const struct message *message,
                               enum err err)
{
    if (err == ERR_OK) {
        launch(parcel, message);
        return;
    }
    char why[ATTEMPT_DETAIL_SIZE];
    write_why(&parcel->flight->outgoing, why);
    deliverer_parcel_land(parcel);
    if (deliverer_outcome_is_ours(err)) {
        deliverer_parcel_stumble(parcel, err);
        return;
    }
    deliverer_outcome_refuse(parcel, err == ERR_INVALID ? ERR_PROTOCOL : err,
                             why);
}

/* It has a slot: send it, or have it read first. */
static void granted(struct parcel *parcel, const struct parcel_message *message)
{
    struct delivery *delivery = parcel->delivery;

    delivery->slots++;
    if (!deliverer_limit_take(delivery)) {
        deliverer_parcel_rest(parcel);
        deliverer_delivery_wake(delivery);
        return;
    }
    parcel->flow_paid = false; /* a further attempt pays again */
    if (message != NULL) {
        deliverer_parcel_send(parcel, message);
        return;
    }
    parcel->doing = PARCEL_GRANTED;
    list_append(&delivery->granted, &parcel->wants);
    deliverer_delivery_read(delivery);
}

/* Have it wait until its turn in a replay that keeps the pace, or for a token
 * of its flow. Returns whether it does. */
static bool waits_for_time(struct parcel *parcel)
{
    uint64_t pace_ms = deliverer_limit_pace(parcel);
    uint64_t wait_ms = pace_ms > 0 ? pace_ms : deliverer_limit_reserve(parcel);

    if (wait_ms == 0) {
        return false;
    }
    deliverer_parcel_delay(parcel, wait_ms);
    if (pace_ms == 0) {
        deliverer_line_wait(parcel, true);
    }
    return true;
}

void deliverer_parcel_start(struct parcel *parcel,
                            const struct parcel_message *message)
{
    struct delivery *delivery = parcel->delivery;
    bool retry = parcel->base.attempts > 0;

    if (delivery->gathering == parcel) {
        delivery->gathering = NULL; /* its time is over */
    }
    window_take(&delivery->window, &parcel->base);
    if (deliverer_outcome_expire(parcel)) {
        return;
    }
    enum err err = deliverer_find_aim(parcel);
    if (err != ERR_OK) {
        deliverer_parcel_stumble(parcel, err);
        return;
    }
    if (parcel->target == NULL) {
        deliverer_outcome_refuse(parcel, ERR_PROTOCOL,
                                 "its URL cannot be used");
        return;
    }
    if (waits_for_time(parcel)) {
        return;
    }
    err = deliverer_line_enter(parcel);
    if (err == ERR_NOMEM) {
        deliverer_parcel_stumble(parcel, err);
    }
    if (err != ERR_OK) {
        return;
    }
    struct endpoint *endpoint = &parcel->target->endpoint;
    if (endpoint_take(endpoint, &parcel->waiter, retry)) {
        granted(parcel, message);
        return;
    }
    endpoint_wait(endpoint, &parcel->waiter, retry);
    deliverer_line_wait(parcel, false);
    parcel->doing = PARCEL_WAITING;
    if (parcel->expires_at_ms > 0 && deliverer_outcome_settles(parcel)) {
        uint64_t now_ms = io_wall_ms(io_of(parcel));
        parcel->expiring = true;
        io_timer_start(io_of(parcel), &parcel->timer,
                       parcel->expires_at_ms > now_ms
                           ? parcel->expires_at_ms - now_ms
                           : 0);
    }
}

void deliverer_parcel_slot(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    CHECK(parcel->doing == PARCEL_WAITING);
    delay_stop(parcel);
    deliverer_line_go(parcel);
    if (delivery->slots >= deliverer_delivery_concurrency(delivery)) {
        delivery->slots++; /* for slot_leave() */
        deliverer_parcel_rest(parcel);
        return;
    }
    granted(parcel, NULL);
}

void deliverer_parcel_give_up(struct parcel *parcel)
{
    if (parcel->flight == NULL) {
        return;
    }
    flight_end(parcel);
    if (parcel->stray) {
        deliverer_parcel_end_stray(parcel);
        return;
    }
    parcel->doing = PARCEL_RESTING;
    slot_leave(parcel);
    window_ready(&parcel->delivery->window, &parcel->base, true);
}
