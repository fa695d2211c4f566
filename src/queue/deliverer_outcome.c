/* What follows from the end of an attempt.
 *
 * The happy path: it was accepted, and the parcel is done. If not,
 * retry_decide() says what is next: it waits, or it is given up. Outcomes of
 * strays count for the endpoint, and for nothing else.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_outcome.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/attempt_log.h"
#include "queue/deliverer_batch.h"
#include "queue/deliverer_delivery.h"
#include "queue/deliverer_notice.h"
#include "queue/deliverer_parcel.h"
#include "queue/deliverer_pause.h"
#include "queue/deliverer_settle.h"

#include <inttypes.h>
#include <stdio.h>

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
    if (deliverer_worth_a_line(parcel->base.attempts)) {
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

bool deliverer_outcome_settles(const struct parcel *parcel)
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
        deliverer_notice_dead(parcel, &outcome);
    }
    deliverer_settle(parcel, &outcome);
}

static void bury(struct parcel *parcel,
                 const struct ending *ending,
                 enum retry_reason reason)
{
    if (parcel->delivery->settings->kind == SETTINGS_KIND_REPLAY) {
        parcel->delivery->topic->stats.given_up++;
        deliverer_parcel_done(parcel); /* it had its end before */
        return;
    }
    parcel->drops = reason == RETRY_REASON_EXPIRED &&
                    parcel->delivery->settings->expired_drop;
    settle(parcel, ending, reason);
}

bool deliverer_outcome_expire(struct parcel *parcel)
{
    const struct ending never = {.detail = "its time is over"};

    if (parcel->expires_at_ms == 0 || !deliverer_outcome_settles(parcel) ||
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
        .abort = ending->abort && deliverer_outcome_settles(parcel),
    };
    const struct message_options said = {
        .retries = parcel->retries,
        .retry_schedule = str_from(parcel->retry_schedule),
        .expires_at_ms = parcel->expires_at_ms,
    };
    struct retry_rules rules = {.retries = RETRY_FOREVER};

    if (deliverer_outcome_settles(parcel)) {
        settings_retry_rules(parcel->delivery->settings, &said, &rules);
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

/* Tell whether we had no memory, descriptor or port to make the attempt: there
 * was none then. */
static bool is_short(enum err err)
{
    return err == ERR_NOMEM || err == ERR_BUSY;
}

/* Try again in a while, however often: nothing is dead because of us. */
static void run_short(struct parcel *parcel, const struct ending *ending)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;
    uint64_t times = deliverer->stats.failed_by_err[ending->err];

    failure_remember(parcel, ending);
    if (deliverer_worth_a_line((uint32_t)times)) {
        DIAG_WARN("delivery_short",
                  "topic=%s seq=%" PRIu64 " times=%" PRIu64
                  " target=%s detail=%s",
                  topic_name(parcel), parcel->base.sequence, times,
                  target_name(parcel), err_text(ending->err));
    }
    deliverer_parcel_delay(
        parcel, retry_delay_ms(&deliverer->policy, 1, &deliverer->random));
}

static void failed(struct parcel *parcel, const struct ending *ending)
{
    uint32_t *attempts = &parcel->base.attempts;

    if (is_short(ending->err)) {
        run_short(parcel, ending);
        return;
    }
    *attempts += *attempts < UINT32_MAX ? 1 : 0;
    failure_remember(parcel, ending);
    deliverer_delivery_dirty(parcel->delivery);
    struct retry_decision decision = decide(parcel, ending);
    switch (decision.action) {
    case RETRY_DEAD:
        if (deliverer_batch_split(parcel)) {
            say_blocked(parcel, ending);
            deliverer_parcel_delay(parcel, SPLIT_MS);
            break;
        }
        bury(parcel, ending, decision.reason);
        break;
    case RETRY_PAUSE:
        pause_all(parcel, ending);
        break;
    case RETRY_AGAIN:
        say_blocked(parcel, ending);
        deliverer_parcel_delay(parcel, decision.delay_ms);
        break;
    }
}

/* An attempt ended. */
static void end(struct parcel *parcel, const struct ending *ending)
{
    bool delivered = is_delivered(ending);

    count(parcel, ending, delivered);
    if (parcel->stray) {
        deliverer_parcel_end_stray(parcel);
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
    if (delivered && parcel->calls_back && deliverer_outcome_settles(parcel)) {
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

void deliverer_outcome_refuse(struct parcel *parcel,
                              enum err err,
                              const char *reason)
{
    const struct ending ending = {.err = err, .detail = reason};

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
bool deliverer_outcome_is_ours(enum err err)
{
    return err == ERR_NOMEM || err == ERR_BUSY || err == ERR_IO ||
           err == ERR_CORRUPT;
}

void deliverer_outcome_call(struct http_call *call,
                            const struct http_result *result)
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
    if (!deliverer_outcome_is_ours(ending.err)) {
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
    deliverer_parcel_land(parcel);
    deliverer_delivery_follow(parcel->delivery); /* has the cursor moved? */
    end(parcel, &ending);
}
