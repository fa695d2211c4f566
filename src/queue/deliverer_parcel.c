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
#include "queue/deliverer_limit.h"
#include "queue/deliverer_pause.h"
#include "queue/deliverer_quota.h"
#include "queue/deliverer_reader.h"
#include "queue/deliverer_settle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Before the messages of a batch go one by one. */
enum { SPLIT_MS = 1 };

/* How an attempt ended. */
struct ending {
    enum err err;       /* ERR_OK: an answer came */
    int status;         /* 0: none came */
    const char *detail; /* for people; NULL */
    uint64_t after_ms;  /* Retry-After; 0: none */
    bool lost;          /* the message cannot be sent, now or later */
    bool abort;         /* the target says that it will never take it */
    uint64_t took_ms;   /* the attempt, from its begin on */
    const struct http_head *head; /* of the answer; NULL: none */
    struct str body;              /* the kept part of it */
};

static bool is_delivered(const struct ending *ending)
{
    return ending->err == ERR_OK && ending->status >= 200 &&
           ending->status <= 299;
}

static struct io *io_of(const struct parcel *parcel)
{
    return parcel->delivery->deliverer->options.io;
}

static const char *target_name(const struct parcel *parcel)
{
    return parcel->target != NULL ? parcel->target->name : "";
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
        count_delay(parcel, false);
    }
}

/* Leave the line, or give the slot back. */
static void slot_leave(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    list_remove(&parcel->wants);
    deliverer_quota_leave(parcel);
    if (parcel->waiter.endpoint == NULL) {
        return;
    }
    uint32_t *count =
        parcel->waiter.in_flight ? &delivery->slots : &delivery->waiting;
    CHECK(*count > 0);
    (*count)--;
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
    parcel->flight = flight;
    list_append(&deliverer->flying, link);
    deliverer->stats.in_flight++;
    return flight;
}

/* Put it back on top, so that memory that was used just now is used again.
 * After a burst most of the pool gives its memory back. */
static void flight_return(struct parcel *parcel)
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
    flight_return(parcel);
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
    deliverer_delivery_dirty(delivery);
    deliverer_delivery_wake(delivery);
    deliverer_parcel_free(parcel);
}

void deliverer_parcel_settle(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    if (parcel->flight != NULL) {
        flight_return(parcel); /* it was not begun */
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

static void delay(struct parcel *parcel, uint64_t delay_ms)
{
    if (parcel->flight != NULL) {
        flight_return(parcel); /* it was not begun */
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

    count_delay(parcel, false);
    if (parcel->settlement != NULL) {
        list_append(&delivery->granted, &parcel->wants);
    } else {
        window_ready(&delivery->window, &parcel->base, false);
    }
    deliverer_delivery_wake(delivery);
}

void deliverer_parcel_gather(struct parcel *parcel, uint64_t wait_ms)
{
    delay(parcel, wait_ms);
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
        flight_return(parcel);
    }
    delay_stop(parcel);
    slot_leave(parcel);
    parcel->doing = PARCEL_RESTING;
    if (parcel->base.state == PARCEL_TAKEN ||
        parcel->base.state == PARCEL_HELD) {
        window_ready(window, &parcel->base, true);
    }
}

/* Tell whether the n-th of a row is worth a line: at each doubling. */
static bool worth_a_line(uint32_t count)
{
    return (count & (count - 1)) == 0;
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
    if (worth_a_line(delivery->unreadable)) {
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
        delay(parcel, delay_ms);
    }
}

/* --- outcomes ------------------------------------------------------------- */

/* Keep what is known of a failure, for people. */
static void failure_remember(struct parcel *parcel, const struct ending *ending)
{
    uint64_t now_ms = io_wall_ms(io_of(parcel));
    struct attempt attempt = {
        .at_ms = now_ms > ending->took_ms ? now_ms - ending->took_ms : 0,
        .class = deliverer_class(ending->err, ending->status),
        .status = ending->status,
        .duration_ms = ending->took_ms < UINT32_MAX ? (uint32_t)ending->took_ms
                                                    : UINT32_MAX,
    };

    (void)snprintf(attempt.detail, sizeof(attempt.detail), "%s",
                   ending->detail != NULL ? ending->detail : "");
    attempt_log_add(&parcel->failures, &attempt);
}

static void say_blocked(const struct parcel *parcel,
                        const struct ending *ending)
{
    if (worth_a_line(parcel->base.attempts)) {
        DIAG_WARN(
            "delivery_blocked",
            "topic=%s seq=%" PRIu64 " attempts=%u class=%s status=%d "
            "target=%s detail=%s",
            topic_name(parcel), parcel->base.sequence, parcel->base.attempts,
            deliverer_class(ending->err, ending->status), ending->status,
            target_name(parcel), ending->detail != NULL ? ending->detail : "");
    }
}

static void
count(struct parcel *parcel, const struct ending *ending, bool delivered)
{
    struct deliverer_stats *stats = &parcel->delivery->deliverer->stats;
    struct topic_stats *topic_stats = &parcel->delivery->topic->stats;

    stats->attempts++;
    topic_stats->attempts++;
    if (delivered) {
        stats->delivered += deliverer_batch_count(parcel);
        topic_stats->delivered += deliverer_batch_count(parcel);
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

/* Its outcome does not count: the cursor is somewhere else by now. */
static void end_stray(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    CHECK(delivery->strays > 0);
    delivery->strays--;
    deliverer_parcel_free(parcel);
    deliverer_delivery_wake(delivery);
}

/* Tell whether there is a place for dead letters. */
static bool can_settle(const struct parcel *parcel)
{
    return parcel->delivery->deliverer->options.shard != NULL;
}

/* Its delivery has ended, one way or the other. */
static void settle(struct parcel *parcel,
                   const struct ending *ending,
                   enum retry_reason reason)
{
    struct settle_outcome outcome = {
        .reason = reason,
        .class = deliverer_class(ending->err, ending->status),
        .status = ending->status,
        .detail = ending->detail,
        .head = ending->head,
        .body = ending->body,
    };

    if (ending->err == ERR_OK && ending->status == 0) { /* not attempted now */
        const struct attempt *last = attempt_log_last(parcel->failures);
        outcome.class = last != NULL ? last->class : NULL;
        outcome.status = last != NULL ? last->status : 0;
    }
    if (reason != RETRY_REASON_NONE) {
        DIAG_WARN("message_dead",
                  "topic=%s seq=%" PRIu64 " reason=%s attempts=%u class=%s "
                  "status=%d target=%s",
                  topic_name(parcel), parcel->base.sequence,
                  retry_reason_text(reason), parcel->base.attempts,
                  outcome.class != NULL ? outcome.class : "none",
                  outcome.status, target_name(parcel));
    }

    deliverer_settle(parcel, &outcome);
}

static void bury(struct parcel *parcel,
                 const struct ending *ending,
                 enum retry_reason reason)
{
    parcel->drops = reason == RETRY_REASON_EXPIRED &&
                    parcel->delivery->settings->expired_drop;
    settle(parcel, ending, reason);
}

/* Bury a message whose time is over. Returns whether it is. */
static bool expire(struct parcel *parcel)
{
    const struct ending never = {.detail = "its time is over"};

    if (parcel->expires_at_ms == 0 || !can_settle(parcel) ||
        parcel->expires_at_ms > io_wall_ms(io_of(parcel))) {
        return false;
    }
    bury(parcel, &never, RETRY_REASON_EXPIRED);
    return true;
}

static struct retry_decision decide(const struct parcel *parcel,
                                    const struct ending *ending)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;
    const struct retry_outcome outcome = {
        .status = ending->status,
        .after_ms = ending->after_ms,
        .abort = ending->abort && can_settle(parcel),
    };
    const struct message_options said = {
        .retries = parcel->retries,
        .retry_schedule = str_from(parcel->retry_schedule),
        .expires_at_ms = parcel->expires_at_ms,
    };
    struct retry_rules rules = {.retries = SETTINGS_RETRIES_FOREVER};

    if (can_settle(parcel)) {
        retry_rules_of(parcel->delivery->settings, &said, &rules);
        rules.gone_pauses =
            parcel->delivery->topic->parent != NULL &&
            parcel->delivery->settings->kind == SETTINGS_KIND_PUSH;
    }
    return retry_decide(&deliverer->policy, &rules, &outcome,
                        parcel->base.attempts, io_wall_ms(io_of(parcel)),
                        &deliverer->random);
}

/* The target of a subscription is gone: send it nothing until an operator says
 * so. */
static void pause_all(struct parcel *parcel, const struct ending *ending)
{
    struct topic *subscription = parcel->delivery->topic;

    if (!subscription->settings.paused) {
        enum err err = deliverer_pause(subscription);
        if (err != ERR_OK) {
            deliverer_parcel_stumble(parcel, err);
            return;
        }
        DIAG_WARN("subscription_paused",
                  "topic=%s seq=%" PRIu64 " status=%d target=%s",
                  topic_name(parcel), parcel->base.sequence, ending->status,
                  target_name(parcel));
    }
    parcel->doing = PARCEL_RESTING;
    deliverer_parcel_rest(parcel);
    topic_changed(subscription);
}

static void failed(struct parcel *parcel, const struct ending *ending)
{
    uint32_t *attempts = &parcel->base.attempts;

    *attempts += *attempts < UINT32_MAX ? 1 : 0;
    failure_remember(parcel, ending);
    deliverer_delivery_dirty(parcel->delivery);
    struct retry_decision decision = decide(parcel, ending);
    switch (decision.action) {
    case RETRY_DEAD:
        if (deliverer_batch_split(parcel)) {
            say_blocked(parcel, ending);
            delay(parcel, SPLIT_MS);
            break;
        }
        bury(parcel, ending, decision.reason);
        break;
    case RETRY_PAUSE:
        pause_all(parcel, ending);
        break;
    case RETRY_AGAIN:
        say_blocked(parcel, ending);
        delay(parcel, decision.delay_ms);
        break;
    }
}

/* An attempt ended. */
static void end(struct parcel *parcel, const struct ending *ending)
{
    bool delivered = is_delivered(ending);

    count(parcel, ending, delivered);
    if (parcel->stray) {
        end_stray(parcel);
        return;
    }
    if (parcel->delivery->settings->kind == SETTINGS_KIND_MIRROR) {
        deliverer_parcel_done(parcel); /* whatever came of it */
        return;
    }
    if (delivered && parcel->base.attempts > 0) {
        DIAG_INFO("delivery_recovered",
                  "topic=%s seq=%" PRIu64 " attempts=%u target=%s",
                  topic_name(parcel), parcel->base.sequence,
                  parcel->base.attempts, target_name(parcel));
    }
    if (delivered && parcel->calls_back && can_settle(parcel)) {
        settle(parcel, ending, RETRY_REASON_NONE);
    } else if (delivered) {
        deliverer_parcel_done(parcel);
    } else if (ending->lost) {
        store_blob_damaged(parcel->delivery->topic->store,
                           parcel->base.sequence, ending->err);
        deliverer_parcel_lose(parcel, "its body is damaged on disk");
    } else {
        failed(parcel, ending);
    }
}

void deliverer_parcel_refuse(struct parcel *parcel, const char *reason)
{
    struct ending ending = {.err = ERR_PROTOCOL, .detail = reason};

    end(parcel, &ending);
}

/* What a failing answer asks for, in milliseconds; 0 when nothing. */
static uint64_t asked_for(const struct parcel *parcel,
                          const struct http_result *result)
{
    uint64_t after_ms = 0;
    const struct http_header *header =
        http_head_find(result->head, STR("retry-after"));

    if (header == NULL ||
        retry_after_ms(&parcel->delivery->deliverer->policy, header->value,
                       io_wall_ms(io_of(parcel)), &after_ms) != ERR_OK) {
        return 0;
    }
    return after_ms;
}

/* Tell whether an answer says that the message must not be sent again. */
static bool says_abort(const struct http_head *head)
{
    const struct http_header *header =
        http_head_find(head, STR("webhook-delivery"));

    return header != NULL && retry_is_abort(header->value);
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
    struct parcel *parcel = flight->parcel;
    struct deliverer *deliverer = parcel->delivery->deliverer;
    struct ending ending = {
        .err = result->err,
        .detail = result->detail,
        .lost = flight->body != NULL && result->err == ERR_CORRUPT,
        .took_ms = result->elapsed_ns / 1000000,
    };

    if (result->head != NULL) {
        ending.status = result->head->status;
        ending.head = result->head;
        ending.body = result->body;
        ending.abort = says_abort(result->head);
    }
    bool delivered = is_delivered(&ending);
    if (ending.err == ERR_OK && !delivered) {
        ending.detail = http_status_text(ending.status);
        ending.after_ms = asked_for(parcel, result);
    }
    histogram_record(&deliverer->stats.attempt_us, result->elapsed_ns / 1000);
    if (!is_ours(ending.err)) {
        const struct endpoint_result noted = {
            .err = ending.err,
            .status = ending.status,
            .delivered = delivered,
            .elapsed_us = result->elapsed_ns / 1000,
        };
        deliverer_target_note(parcel->target, &parcel->waiter, &noted);
    }
    if (ending.after_ms > 0) {
        deliverer_target_hold(parcel->target, ending.after_ms);
    }
    flight_return(parcel);
    deliverer_delivery_follow(parcel->delivery); /* has the cursor moved? */
    end(parcel, &ending);
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
        .done = call_done,
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
    if (expire(parcel)) { /* while it waited */
        return;
    }
    if (deliverer_delivery_collapse(parcel->delivery, record) ==
        ACCEPT_SUPERSEDED) {
        deliverer_parcel_done(parcel);
        return;
    }
    enum err err =
        deliverer_delivery_url(parcel->delivery, record, &message.url, &reason);
    if (err != ERR_OK) { /* it is not what was read first */
        deliverer_parcel_refuse(parcel, reason);
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
        .replay = settings->kind == SETTINGS_KIND_REPLAY
                      ? parcel->delivery->topic->store->name_str
                      : (struct str){0},
    };
}

void deliverer_parcel_rendered(struct parcel *parcel,
                               const struct message *message,
                               enum err err)
{
    if (err == ERR_OK) {
        launch(parcel, message);
        return;
    }
    const char *why = parcel->flight->outgoing.why;
    flight_return(parcel);
    if (is_ours(err)) {
        deliverer_parcel_stumble(parcel, err);
        return;
    }
    const struct ending ending = {
        .err = err == ERR_INVALID ? ERR_PROTOCOL : err,
        .detail = why != NULL ? why : "the method cannot be sent",
    };
    end(parcel, &ending);
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

void deliverer_parcel_start(struct parcel *parcel,
                            const struct parcel_message *message)
{
    struct delivery *delivery = parcel->delivery;
    bool retry = parcel->base.attempts > 0;

    if (delivery->gathering == parcel) {
        delivery->gathering = NULL; /* its time is over */
    }
    window_take(&delivery->window, &parcel->base);
    if (expire(parcel)) {
        return;
    }
    if (parcel->target == NULL) {
        deliverer_parcel_refuse(parcel, "its URL cannot be used");
        return;
    }
    uint64_t wait_ms = deliverer_limit_reserve(parcel);
    if (wait_ms > 0) {
        delay(parcel, wait_ms);
        return;
    }
    enum err err = deliverer_quota_enter(parcel);
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
    delivery->waiting++;
    parcel->doing = PARCEL_WAITING;
}

void deliverer_parcel_slot(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;

    CHECK(parcel->doing == PARCEL_WAITING);
    delivery->waiting--;
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
        end_stray(parcel);
        return;
    }
    parcel->doing = PARCEL_RESTING;
    slot_leave(parcel);
    window_ready(&parcel->delivery->window, &parcel->base, true);
}
