/* What a delivery is doing, for people.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/check.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_limit.h"
#include "queue/deliverer_settle.h"

#include <stdio.h>
#include <string.h>

static bool is_held(const struct parcel *parcel)
{
    return parcel->target != NULL && parcel->target->endpoint.held;
}

/* Tell whether its endpoint's breaker is open, and longer than what else it
 * waits for. */
static bool is_open(const struct parcel *parcel)
{
    if (parcel->target == NULL) {
        return false;
    }
    const struct breaker *breaker = &parcel->target->endpoint.breaker;
    return breaker->state == BREAKER_OPEN &&
           (parcel->base.state != PARCEL_HELD ||
            breaker->until_ms > parcel->due_ms);
}

/* What keeps a parcel that is for its endpoint to send, or `otherwise`. */
static enum delivery_state closed_or(const struct parcel *parcel,
                                     enum delivery_state otherwise)
{
    if (is_held(parcel)) {
        return DELIVERY_HELD;
    }
    return is_open(parcel) ? DELIVERY_OPEN : otherwise;
}

/* Of a parcel that no one keeps from going on. */
static enum delivery_state state_of_parcel(const struct parcel *parcel)
{
    switch (parcel->base.state) {
    case PARCEL_QUEUED:
        return DELIVERY_QUEUED;
    case PARCEL_HELD:
        if (parcel->flow_paid || (parcel->delivery->settings->replay_pace &&
                                  parcel->base.attempts == 0)) {
            return DELIVERY_LIMITED;
        }
        return closed_or(parcel, DELIVERY_BACKOFF);
    case PARCEL_READY:
        return DELIVERY_READY;
    default:
        break;
    }
    if (parcel->doing == PARCEL_CROWDED) {
        return closed_or(parcel, DELIVERY_CROWDED);
    }
    if (parcel->doing == PARCEL_WAITING) {
        return closed_or(parcel, DELIVERY_WAITING);
    }
    return DELIVERY_READY;
}

/* Of a message that is not delivered; `parcel` NULL: it was not found yet. */
static enum delivery_state state_of(const struct delivery *delivery,
                                    const struct parcel *parcel)
{
    if (parcel != NULL && parcel->doing == PARCEL_SENDING) {
        return DELIVERY_SENDING;
    }
    if (parcel != NULL && parcel->doing == PARCEL_SETTLING) {
        return DELIVERY_SETTLING;
    }
    if (parcel == NULL && delivery->strays > 0) {
        return DELIVERY_SENDING; /* what is in flight is waited for */
    }
    if (delivery->paused) {
        return DELIVERY_PAUSED;
    }
    if (delivery->stopped) {
        return DELIVERY_STOPPED;
    }
    uint64_t due_ms = 0;
    enum delivery_state state =
        parcel == NULL ? DELIVERY_READY : state_of_parcel(parcel);
    return state == DELIVERY_READY && !deliverer_limit_allows(delivery, &due_ms)
               ? DELIVERY_LIMITED
               : state;
}

/* When the state ends, monotonic; 0 when that is not known. */
static uint64_t until_of(const struct delivery *delivery,
                         const struct parcel *parcel,
                         enum delivery_state state)
{
    bool backs_off = parcel != NULL && parcel->base.state == PARCEL_HELD;
    uint64_t until_ms = backs_off ? parcel->due_ms : 0;

    if (state == DELIVERY_LIMITED && !backs_off) {
        (void)deliverer_limit_allows(delivery, &until_ms);
    }
    if (state == DELIVERY_HELD &&
        parcel->target->endpoint.held_until_ms > until_ms) {
        until_ms = parcel->target->endpoint.held_until_ms;
    }
    if (state == DELIVERY_SETTLING && io_timer_running(&parcel->timer)) {
        until_ms = parcel->due_ms;
    }
    if (state == DELIVERY_OPEN) {
        until_ms = parcel->target->endpoint.breaker.until_ms;
    }
    return until_ms;
}

/* Fill in what is known of the target. */
static void view_endpoint(const struct deliverer_target *target,
                          struct delivery_view *view)
{
    struct endpoint_view endpoint;

    (void)snprintf(view->endpoint, sizeof(view->endpoint), "%s", target->name);
    endpoint_view(&target->endpoint, &endpoint);
    view->endpoint_in_flight = endpoint.in_flight;
    view->endpoint_in_flight_max = endpoint.in_flight_max;
    if (endpoint.limit.count > 0) {
        view->limit = target->released;
    }
}

/* The same, and of the last failure. */
static void view_failure(const struct parcel *parcel,
                         struct delivery_view *view)
{
    const struct attempt *last = attempt_log_last(parcel->failures);

    if (last != NULL) {
        view->last_class = last->class;
        view->last_status = last->status;
        memcpy(view->last_detail, last->detail, sizeof(view->last_detail));
    }
    if (parcel->target != NULL) {
        view_endpoint(parcel->target, view);
    }
}

/* The message before which this one is not looked at. */
static uint64_t before_unseen(const struct delivery *delivery)
{
    const struct window *window = &delivery->window;

    return list_empty(&window->parcels) ? window->scan : window_floor(window);
}

static void view_message(const struct delivery *delivery,
                         struct delivery_view *view)
{
    const struct window *window = &delivery->window;
    struct window_parcel *base = window_find(window, view->sequence);
    const struct parcel *parcel =
        base != NULL ? CONTAINER_OF(base, struct parcel, base) : NULL;
    struct io *io = delivery->deliverer->options.io;

    view->in_flight = delivery->slots + delivery->strays;
    if (parcel == NULL &&
        (view->sequence < window->scan || view->sequence >= window->end)) {
        view->state = delivery->paused ? DELIVERY_PAUSED : DELIVERY_IDLE;
        view->state = delivery->strays > 0 ? DELIVERY_SENDING : view->state;
        return;
    }
    view->state = state_of(delivery, parcel);
    if (view->state == DELIVERY_QUEUED) {
        view->behind = window_head(base)->sequence;
    } else if (parcel == NULL && view->state == DELIVERY_READY &&
               view->sequence != before_unseen(delivery)) {
        view->state = DELIVERY_UNSEEN;
        view->behind = before_unseen(delivery);
    }
    uint64_t until_ms = until_of(delivery, parcel, view->state);
    uint64_t now_ms = io_now_ms(io);
    if (until_ms > 0) {
        uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
        view->until_ms = io_wall_ms(io) + left_ms;
    }
    if (parcel != NULL) {
        view->attempts = parcel->base.attempts;
        view->unstored = deliverer_settle_failed(parcel->settlement);
        view_failure(parcel, view);
    }
}

void deliverer_explain(const struct topic *topic,
                       uint64_t sequence,
                       struct delivery_view *out_view)
{
    const struct delivery *delivery = topic->delivery;
    const struct store_cursor *cursor = &topic->store->cursor;
    struct delivery_view view = {
        .state = DELIVERY_STOPPED,
        .sequence = sequence,
        .attempts = sequence == cursor->next ? cursor->attempts : 0,
    };

    if (delivery != NULL) {
        view_message(delivery, &view);
    }
    *out_view = view;
}

void deliverer_attempts(const struct topic *topic,
                        uint64_t sequence,
                        struct buf *to)
{
    const struct delivery *delivery = topic->delivery;

    if (delivery == NULL) {
        return;
    }
    const struct window_parcel *base = window_find(&delivery->window, sequence);
    if (base != NULL) {
        attempt_log_json(
            CONTAINER_OF(base, const struct parcel, base)->failures, to);
    }
}

void deliverer_view(const struct topic *topic, struct delivery_view *out_view)
{
    const struct delivery *delivery = topic->delivery;

    deliverer_explain(topic,
                      delivery != NULL ? window_floor(&delivery->window)
                                       : topic->store->cursor.next,
                      out_view);
}
