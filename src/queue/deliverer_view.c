/* What a delivery is doing, for people.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "queue/deliverer_internal.h"

#include <stdio.h>
#include <string.h>

static enum delivery_state state_of(const struct delivery *delivery)
{
    const struct lane *lane = &delivery->lane;
    const struct store_topic *stored = delivery->topic->store;
    bool held = delivery->target != NULL && delivery->target->endpoint.held;

    if (lane->state == LANE_SENDING) {
        return DELIVERY_SENDING;
    }
    if (lane->paused) {
        return DELIVERY_PAUSED;
    }
    if (stored->cursor.next >= stored->bounds.end) {
        return DELIVERY_IDLE;
    }
    if (lane->stopped) {
        return DELIVERY_STOPPED;
    }
    switch (lane->state) {
    case LANE_WAITING:
        if (delivery->waiter.in_flight) {
            return DELIVERY_READY;
        }
        return held ? DELIVERY_HELD : DELIVERY_WAITING;
    case LANE_BACKOFF:
        return held ? DELIVERY_HELD : DELIVERY_BACKOFF;
    default:
        return DELIVERY_READY;
    }
}

/* When the state ends, monotonic; 0 when that is not known. */
static uint64_t until_of(const struct delivery *delivery,
                         enum delivery_state state)
{
    bool backing_off = delivery->lane.state == LANE_BACKOFF;
    uint64_t until_ms = backing_off ? delivery->due_ms : 0;

    if (state == DELIVERY_HELD &&
        delivery->target->endpoint.held_until_ms > until_ms) {
        until_ms = delivery->target->endpoint.held_until_ms;
    }
    return state == DELIVERY_HELD || state == DELIVERY_BACKOFF ? until_ms : 0;
}

/* Fill in what is known of the last failure and the target. */
static void view_failure(const struct delivery *delivery,
                         struct delivery_view *view)
{
    const struct failure *failure = delivery->failure;

    if (failure != NULL && failure->sequence == view->sequence) {
        view->last_class = failure->class;
        view->last_status = failure->status;
        memcpy(view->last_detail, failure->detail, sizeof(view->last_detail));
    }
    if (delivery->target != NULL) {
        (void)snprintf(view->endpoint, sizeof(view->endpoint), "%s",
                       delivery->target->name);
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
        view.state = state_of(delivery);
        uint64_t until_ms = until_of(delivery, view.state);
        uint64_t now_ms = io_now_ms(io);
        if (until_ms > 0) {
            uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
            view.until_ms = io_wall_ms(io) + left_ms;
        }
        view_failure(delivery, &view);
    }
    *out_view = view;
}
