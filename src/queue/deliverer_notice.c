/* What deliveries have to tell.
 *
 * A topic with a deadline (slow_after) has a timer while there is anything
 * that is not delivered. It looks at the lowest such message: how long ago it
 * was pushed, or, when that is not known since it was not read yet (the topic
 * is paused), since when it is seen to be the lowest. A topic that is slow is
 * told once, and again only after it was not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_notice.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/json_text.h"
#include "queue/notices.h"

#include <stdlib.h>

enum { LOOK_MS_MIN = 100 }; /* between two looks at how old messages are */

struct delivery_slow {
    struct delivery *delivery; /* borrowed */
    struct io_timer timer;
    uint64_t floor;    /* the lowest message when last looked at, */
    uint64_t since_ms; /* and since when (wall clock) */
    bool told;         /* that it is slow */
};

void deliverer_notice_dead(const struct parcel *parcel,
                           const struct settle_outcome *outcome)
{
    const struct topic *topic = parcel->delivery->topic;
    struct buf data;

    buf_init(&data, 0);
    json_text_append_number(&data, "seq", parcel->base.sequence);
    json_text_append_text(&data, "reason",
                          str_from(retry_reason_text(outcome->reason)));
    json_text_append_number(&data, "attempts", parcel->base.attempts);
    if (outcome->class != NULL) {
        json_text_append_text(&data, "class", str_from(outcome->class));
        json_text_append_number(&data, "status", (uint64_t)outcome->status);
    }
    if (parcel->target != NULL) {
        json_text_append_text(&data, "endpoint",
                              str_from(parcel->target->name));
    }
    notices_raise(parcel->delivery->deliverer->options.shard,
                  NOTICE_MESSAGE_DEAD, str_from(topic->title), &data);
    buf_fini(&data);
}

void deliverer_notice_target(const struct deliverer_target *target,
                             enum breaker_state before)
{
    const struct endpoint *endpoint = &target->endpoint;
    const struct shard *shard = target->deliverer->options.shard;
    bool was_closed = before == BREAKER_CLOSED;
    bool is_closed = endpoint->breaker.state == BREAKER_CLOSED;
    struct buf data;

    if (was_closed == is_closed || shard == NULL) {
        return;
    }
    buf_init(&data, 0);
    if (!is_closed) {
        json_text_append_text(&data, "class",
                              str_from(deliverer_class(endpoint->last_err,
                                                       endpoint->last_status)));
        json_text_append_number(&data, "status",
                                (uint64_t)endpoint->last_status);
        json_text_append_number(&data, "failures", endpoint->breaker.failures);
    }
    json_text_append_number(&data, "waiting", endpoint->waiting);
    json_text_append_number(&data, "shard", shard->index);
    notices_raise(shard,
                  is_closed ? NOTICE_ENDPOINT_RECOVERED : NOTICE_ENDPOINT_DOWN,
                  (struct str){target->name, target->name_size}, &data);
    buf_fini(&data);
}

/* --- slow topics ---------------------------------------------------------- */

static struct io *io_of(const struct delivery *delivery)
{
    return delivery->deliverer->options.io;
}

/* Since when the lowest message waits, as far as is known (wall clock). */
static uint64_t waiting_since_ms(struct delivery_slow *slow, uint64_t now_ms)
{
    const struct window *window = &slow->delivery->window;
    uint64_t floor = window_floor(window);

    if (slow->floor != floor) {
        slow->floor = floor;
        slow->since_ms = now_ms;
    }
    if (!list_empty(&window->parcels)) {
        const struct window_parcel *base =
            CONTAINER_OF(window->parcels.next, struct window_parcel, link);
        const struct parcel *parcel = CONTAINER_OF(base, struct parcel, base);
        if (base->sequence == floor && parcel->pushed_at_ms < slow->since_ms) {
            slow->since_ms = parcel->pushed_at_ms;
        }
    }
    return slow->since_ms;
}

static void tell(const struct delivery_slow *slow, uint64_t age_ms)
{
    const struct delivery *delivery = slow->delivery;
    struct buf data;

    buf_init(&data, 0);
    json_text_append_number(&data, "seq", slow->floor);
    json_text_append_number(&data, "age_ms", age_ms);
    json_text_append_number(&data, "slow_after_ms",
                            delivery->settings->slow_after_ms);
    json_text_append_number(&data, "lag",
                            delivery->topic->store->bounds.end - slow->floor);
    buf_append_c(&data,
                 delivery->paused ? ",\"paused\":true" : ",\"paused\":false");
    notices_raise(delivery->deliverer->options.shard, NOTICE_TOPIC_SLOW,
                  str_from(delivery->topic->title), &data);
    buf_fini(&data);
}

static bool is_done(const struct delivery *delivery)
{
    return window_floor(&delivery->window) >=
           delivery->topic->store->bounds.end;
}

static void look(struct io_timer *timer)
{
    struct delivery_slow *slow =
        CONTAINER_OF(timer, struct delivery_slow, timer);
    const struct delivery *delivery = slow->delivery;
    uint64_t limit_ms = delivery->settings->slow_after_ms;

    if (is_done(delivery)) {
        slow->told = false;
        return; /* until there is more */
    }
    uint64_t now_ms = io_wall_ms(io_of(delivery));
    uint64_t since_ms = waiting_since_ms(slow, now_ms);
    uint64_t age_ms = now_ms > since_ms ? now_ms - since_ms : 0;
    bool is_slow = age_ms >= limit_ms;
    if (is_slow && !slow->told) {
        tell(slow, age_ms);
    }
    slow->told = is_slow;
    uint64_t wait_ms = is_slow ? limit_ms : limit_ms - age_ms;
    io_timer_start(io_of(delivery), timer,
                   wait_ms > LOOK_MS_MIN ? wait_ms : LOOK_MS_MIN);
}

void deliverer_slow_set(struct delivery *delivery)
{
    if (delivery->settings->slow_after_ms == 0 ||
        delivery->settings->kind == SETTINGS_KIND_REPLAY ||
        delivery->deliverer->options.shard == NULL) {
        deliverer_slow_clear(delivery);
        return;
    }
    if (delivery->slow == NULL) {
        delivery->slow = calloc(1, sizeof(*delivery->slow));
        if (delivery->slow == NULL) {
            return; /* nobody is told, until it changes again */
        }
        delivery->slow->delivery = delivery;
        delivery->slow->timer.expired = look;
    }
    if (!is_done(delivery)) {
        deliverer_slow_wake(delivery);
        io_timer_start(io_of(delivery), &delivery->slow->timer, LOOK_MS_MIN);
    }
}

void deliverer_slow_wake(struct delivery *delivery)
{
    struct delivery_slow *slow = delivery->slow;

    if (slow == NULL || io_timer_running(&slow->timer)) {
        return;
    }
    slow->floor = window_floor(&delivery->window);
    slow->since_ms = io_wall_ms(io_of(delivery));
    io_timer_start(io_of(delivery), &slow->timer,
                   delivery->settings->slow_after_ms);
}

void deliverer_slow_clear(struct delivery *delivery)
{
    if (delivery->slow == NULL) {
        return;
    }
    if (io_timer_running(&delivery->slow->timer)) {
        io_timer_stop(io_of(delivery), &delivery->slow->timer);
    }
    free(delivery->slow);
    delivery->slow = NULL;
}
