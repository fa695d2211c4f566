/* What a delivery is doing, for people.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/check.h"
#include "queue/deliverer_internal.h"

#include <stdio.h>
#include <string.h>

/* The parcel at the floor; NULL: it is not found yet. */
static const struct parcel *first_of(const struct delivery *delivery)
{
    const struct window *window = &delivery->window;

    return list_empty(&window->parcels)
               ? NULL
               : CONTAINER_OF(window->parcels.next, struct parcel, base.link);
}

static bool is_held(const struct parcel *parcel)
{
    return parcel->target != NULL && parcel->target->endpoint.held;
}

/* Of a parcel that no one keeps from going on. */
static enum delivery_state state_of_parcel(const struct parcel *parcel)
{
    if (parcel->base.state == PARCEL_HELD) {
        return is_held(parcel) ? DELIVERY_HELD : DELIVERY_BACKOFF;
    }
    if (parcel->doing == PARCEL_WAITING) {
        return is_held(parcel) ? DELIVERY_HELD : DELIVERY_WAITING;
    }
    return DELIVERY_READY;
}

static enum delivery_state state_of(const struct delivery *delivery,
                                    const struct parcel *first)
{
    if (delivery->strays > 0 ||
        (first != NULL && first->doing == PARCEL_SENDING)) {
        return DELIVERY_SENDING;
    }
    if (delivery->paused) {
        return DELIVERY_PAUSED;
    }
    if (window_is_done(&delivery->window)) {
        return DELIVERY_IDLE;
    }
    if (delivery->stopped) {
        return DELIVERY_STOPPED;
    }
    return first == NULL ? DELIVERY_READY : state_of_parcel(first);
}

/* When the state ends, monotonic; 0 when that is not known. */
static uint64_t until_of(const struct parcel *parcel, enum delivery_state state)
{
    if (state != DELIVERY_HELD && state != DELIVERY_BACKOFF) {
        return 0;
    }
    uint64_t until_ms = parcel->base.state == PARCEL_HELD ? parcel->due_ms : 0;

    if (state == DELIVERY_HELD &&
        parcel->target->endpoint.held_until_ms > until_ms) {
        until_ms = parcel->target->endpoint.held_until_ms;
    }
    return until_ms;
}

/* Fill in what is known of the last failure and the target. */
static void view_failure(const struct parcel *parcel,
                         struct delivery_view *view)
{
    const struct failure *failure = parcel->failure;

    if (failure != NULL) {
        view->last_class = failure->class;
        view->last_status = failure->status;
        memcpy(view->last_detail, failure->detail, sizeof(view->last_detail));
    }
    if (parcel->target != NULL) {
        (void)snprintf(view->endpoint, sizeof(view->endpoint), "%s",
                       parcel->target->name);
    }
}

void deliverer_view(const struct topic *topic, struct delivery_view *out_view)
{
    const struct delivery *delivery = topic->delivery;
    const struct store_cursor *cursor = &topic->store->cursor;
    struct delivery_view view = {
        .state = DELIVERY_STOPPED,
        .sequence = cursor->next,
        .attempts = cursor->attempts,
    };

    if (delivery != NULL) {
        struct io *io = delivery->deliverer->options.io;
        const struct parcel *first = first_of(delivery);
        view.state = state_of(delivery, first);
        view.sequence = window_floor(&delivery->window);
        view.attempts = first != NULL ? first->base.attempts : view.attempts;
        uint64_t until_ms = first != NULL ? until_of(first, view.state) : 0;
        uint64_t now_ms = io_now_ms(io);
        if (until_ms > 0) {
            uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
            view.until_ms = io_wall_ms(io) + left_ms;
        }
        if (first != NULL) {
            view_failure(first, &view);
        }
    }
    *out_view = view;
}
