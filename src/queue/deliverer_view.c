/* What a delivery is doing, for people.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/check.h"
#include "queue/deliverer_delivery.h"
#include "queue/deliverer_find.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_limit.h"
#include "queue/deliverer_settle.h"
#include "queue/letters.h"

#include <stdio.h>
#include <string.h>

/* What keeps a message that is for a target to send, or `otherwise`. An open
 * breaker does only when it is longer than `due_ms`, for which it waits too. */
static enum delivery_state closed_or(const struct deliverer_target *target,
                                     uint64_t due_ms,
                                     enum delivery_state otherwise)
{
    if (target == NULL) {
        return otherwise;
    }
    if (target->endpoint.held) {
        return DELIVERY_HELD;
    }
    const struct breaker *breaker = &target->endpoint.breaker;
    return breaker->state == BREAKER_OPEN && breaker->until_ms > due_ms
               ? DELIVERY_OPEN
               : otherwise;
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
        return closed_or(parcel->target, parcel->due_ms, DELIVERY_BACKOFF);
    case PARCEL_READY:
        return DELIVERY_READY;
    default:
        break;
    }
    if (parcel->doing == PARCEL_CROWDED) {
        return closed_or(parcel->target, 0, DELIVERY_CROWDED);
    }
    if (parcel->doing == PARCEL_WAITING) {
        return closed_or(parcel->target, 0, DELIVERY_WAITING);
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

/* When the state ends, monotonic; 0 when that is not known. `target` NULL: none
 * is known. */
static uint64_t until_of(const struct delivery *delivery,
                         const struct parcel *parcel,
                         const struct deliverer_target *target,
                         enum delivery_state state)
{
    bool backs_off = parcel != NULL && parcel->base.state == PARCEL_HELD;
    uint64_t until_ms = backs_off ? parcel->due_ms : 0;

    if (state == DELIVERY_LIMITED && !backs_off) {
        (void)deliverer_limit_allows(delivery, &until_ms);
    }
    if (state == DELIVERY_HELD && target != NULL &&
        target->endpoint.held_until_ms > until_ms) {
        until_ms = target->endpoint.held_until_ms;
    }
    if (state == DELIVERY_SETTLING && parcel != NULL &&
        io_timer_running(&parcel->timer)) {
        until_ms = parcel->due_ms;
    }
    if (state == DELIVERY_OPEN && target != NULL) {
        until_ms = target->endpoint.breaker.until_ms;
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

/* When the state ends, and where the message goes. */
static void view_ends(const struct delivery *delivery,
                      const struct parcel *parcel,
                      const struct deliverer_target *target,
                      struct delivery_view *view)
{
    struct io *io = delivery->deliverer->options.io;
    uint64_t until_ms = until_of(delivery, parcel, target, view->state);
    uint64_t now_ms = io_now_ms(io);

    if (until_ms > 0) {
        uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
        view->until_ms = io_wall_ms(io) + left_ms;
    }
    if (target != NULL) {
        view_endpoint(target, view);
    }
}

static void view_failure(const struct parcel *parcel,
                         struct delivery_view *view)
{
    const struct attempt *last = attempt_log_last(parcel->failures);

    if (last != NULL) {
        view->last_class = last->class;
        view->last_status = last->status;
        memcpy(view->last_detail, last->detail, sizeof(view->last_detail));
    }
}

/* The target of a message that is no parcel; NULL: it is not known. */
static const struct deliverer_target *target_of(const struct delivery *delivery,
                                                const struct message *message)
{
    struct str text = deliverer_find_url_text(delivery, message);
    const struct deliverer_target *target = NULL;
    const char *reason = NULL;
    struct buf name = {0};
    struct url url;

    if (url_parse(text, &url, &reason) != ERR_OK) {
        return NULL;
    }
    deliverer_target_name(&url, &name);
    if (buf_err(&name) == ERR_OK) {
        target = deliverer_target_find(delivery->deliverer, buf_str(&name));
    }
    buf_fini(&name);
    return target;
}

/* The message that one set aside waits for in its lane; WINDOW_NO_SEQUENCE:
 * it is the first, or in none. */
static uint64_t before_aside(const struct window *window,
                             uint64_t sequence,
                             const struct message *message)
{
    const struct window_lane *lane =
        message->options == NULL
            ? NULL
            : window_lane_find(window, message->options->key);

    if (lane == NULL) {
        return WINDOW_NO_SEQUENCE;
    }
    if (lane->parcel_count > 0) {
        return CONTAINER_OF(lane->parcels.next, struct window_parcel, place)
            ->sequence;
    }
    return lane->aside.from < sequence ? lane->aside.from : WINDOW_NO_SEQUENCE;
}

/* Of a message that is set aside. `message` NULL: nobody knows what it is. */
static void view_aside(const struct delivery *delivery,
                       const struct message *message,
                       struct delivery_view *view)
{
    const struct deliverer_target *target = NULL;

    view->state = DELIVERY_WAITING;
    if (message != NULL) {
        uint64_t before =
            before_aside(&delivery->window, view->sequence, message);
        if (before != WINDOW_NO_SEQUENCE) {
            view->state = DELIVERY_QUEUED;
            view->behind = before;
            return;
        }
        target = target_of(delivery, message);
    }
    view->state = closed_or(target, 0, DELIVERY_WAITING);
    view_ends(delivery, NULL, target, view);
}

/* The state, when it ends, and what is known of the target. */
static void view_parcel(const struct delivery *delivery,
                        const struct parcel *parcel,
                        struct delivery_view *view)
{
    view->state = state_of(delivery, parcel);
    if (view->state == DELIVERY_QUEUED) {
        view->behind = window_head(&parcel->base)->sequence;
    } else if (parcel == NULL && view->state == DELIVERY_READY &&
               view->sequence != window_floor(&delivery->window)) {
        view->state = DELIVERY_UNSEEN;
        view->behind = window_floor(&delivery->window);
    }
    view_ends(delivery, parcel, parcel != NULL ? parcel->target : NULL, view);
    if (parcel != NULL) {
        view->attempts = parcel->base.attempts;
        view->unstored = deliverer_settle_failed(parcel->settlement);
        view_failure(parcel, view);
    }
}

static void view_message(const struct delivery *delivery,
                         const struct message *message,
                         struct delivery_view *view)
{
    const struct window *window = &delivery->window;
    struct window_parcel *base = window_find(window, view->sequence);

    view->in_flight = delivery->slots + delivery->strays;
    if (base != NULL) {
        view_parcel(delivery, CONTAINER_OF(base, struct parcel, base), view);
    } else if (view->sequence >= window->end) {
        view->state = delivery->paused ? DELIVERY_PAUSED : DELIVERY_IDLE;
        view->state = delivery->strays > 0 ? DELIVERY_SENDING : view->state;
    } else if (view->sequence >= window->scan) {
        view_parcel(delivery, NULL, view);
    } else if (!sparse_set_has(&window->aside, view->sequence)) {
        view->state = DELIVERY_IDLE;
    } else if (delivery->paused || delivery->stopped) {
        view->state = delivery->paused ? DELIVERY_PAUSED : DELIVERY_STOPPED;
    } else {
        view_aside(delivery, message, view);
    }
}

void deliverer_explain(const struct topic *topic,
                       uint64_t sequence,
                       const struct message *message,
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
        view_message(delivery, message, &view);
    }
    *out_view = view;
}

uint64_t deliverer_lag(const struct topic *topic)
{
    const struct delivery *delivery = topic->delivery;

    if (delivery == NULL || deliverer_delivery_moved(delivery)) {
        return letters_count(topic->store); /* of any topic */
    }
    uint64_t end = deliverer_delivery_end(delivery);
    uint64_t known = delivery->window.end;
    return window_open(&delivery->window) + (end > known ? end - known : 0);
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
                      NULL, out_view);
}
