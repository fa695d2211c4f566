/* Endpoints as operators see them, and what they say to them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/check.h"
#include "queue/deliverer_delivery.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_parcel.h"

static struct delivery *delivery_of(struct list *link)
{
    return CONTAINER_OF(link, struct delivery, link);
}

/* Each target of a deliverer; `*bucket` begins with 0, and `after` with NULL.
 * NULL: that was the last. */
static struct deliverer_target *next_target(const struct deliverer *deliverer,
                                            uint32_t *bucket,
                                            struct deliverer_target *after)
{
    struct hash_node *node = hash_table_each(
        &deliverer->targets.table, bucket, after != NULL ? &after->node : NULL);

    return node == NULL ? NULL
                        : CONTAINER_OF(node, struct deliverer_target, node);
}

/* Note at each target what is ahead of it. */
static void count_ahead(struct deliverer *deliverer)
{
    struct deliverer_target *target = NULL;
    uint32_t bucket = 0;

    while ((target = next_target(deliverer, &bucket, target)) != NULL) {
        target->ahead = 0;
        target->topics = 0;
    }
    for (struct list *link = deliverer->deliveries.next;
         link != &deliverer->deliveries; link = link->next) {
        const struct delivery *delivery = delivery_of(link);
        const struct window *window = &delivery->window;
        if (delivery->last == NULL || window_is_done(window)) {
            continue;
        }
        delivery->last->topics++;
        delivery->last->ahead +=
            delivery->paused ? 0
                             : window->end - window->scan + window->aside.count;
    }
}

/* Messages for a target, after count_ahead(). */
static uint64_t backlog_of(const struct deliverer_target *target)
{
    CHECK(target->users >= target->other_users);
    return target->ahead + (target->users - target->other_users);
}

static void view_target(const struct deliverer_target *target,
                        struct target_view *out_view)
{
    struct io *io = target->deliverer->options.io;
    uint64_t now_ms = io_now_ms(io);
    struct target_view view = {
        .name = target->name,
        .latency = &target->endpoint.latency,
        .topics = target->topics,
        .backlog = backlog_of(target),
    };

    endpoint_view(&target->endpoint, &view.endpoint);
    uint64_t until_ms = view.endpoint.until_ms;
    if (until_ms > 0) {
        view.until_ms =
            io_wall_ms(io) + (until_ms > now_ms ? until_ms - now_ms : 0);
    }
    if (view.endpoint.limit.count > 0) {
        view.released = target->released;
        view.eta_ms = endpoint_eta_ms(&target->endpoint, view.backlog);
    }
    *out_view = view;
}

void deliverer_each_target(struct deliverer *deliverer,
                           void (*visit)(void *context,
                                         const struct target_view *view),
                           void *context)
{
    struct deliverer_target *target = NULL;
    struct target_view view;
    uint32_t bucket = 0;

    count_ahead(deliverer);
    while ((target = next_target(deliverer, &bucket, target)) != NULL) {
        view_target(target, &view);
        visit(context, &view);
    }
}

/* Have what failed at a target be tried at once, first what is first. What
 * waits for the rate of its flow goes on to. Returns how many. */
static uint64_t wake(struct delivery *delivery,
                     const struct deliverer_target *target)
{
    struct window *window = &delivery->window;
    uint64_t woken = 0;

    for (struct list *link = window->parcels.prev; link != &window->parcels;
         link = link->prev) {
        struct parcel *parcel =
            CONTAINER_OF(CONTAINER_OF(link, struct window_parcel, link),
                         struct parcel, base);
        if (parcel->target == target && parcel->base.state == PARCEL_HELD &&
            parcel->base.attempts > 0 && !parcel->flow_paid) {
            deliverer_parcel_rest(parcel);
            woken++;
        }
    }
    if (woken > 0) {
        deliverer_delivery_wake(delivery);
    }
    return woken;
}

/* Go on at a target: its operator said so. */
static void go_on(struct deliverer_target *target,
                  struct target_change *out_change)
{
    struct deliverer *deliverer = target->deliverer;

    *out_change = (struct target_change){0};
    for (struct list *link = deliverer->deliveries.next;
         link != &deliverer->deliveries; link = link->next) {
        struct delivery *delivery = delivery_of(link);
        if (!delivery->paused && !delivery->stopped) {
            out_change->woken += wake(delivery, target);
        }
    }
    count_ahead(deliverer);
    out_change->backlog = backlog_of(target);
    out_change->eta_ms =
        endpoint_eta_ms(&target->endpoint, out_change->backlog);
    if (!io_timer_running(&deliverer->wake)) { /* a turn comes */
        io_timer_start(deliverer->options.io, &deliverer->wake, 0);
    }
}

enum err deliverer_target_renew(struct deliverer *deliverer,
                                struct str name,
                                struct target_change *out_change)
{
    struct deliverer_target *target = deliverer_target_find(deliverer, name);

    if (target == NULL) {
        return ERR_NOT_FOUND;
    }
    deliverer_target_reset(target);
    go_on(target, out_change);
    return ERR_OK;
}

enum err deliverer_target_catch_up(struct deliverer *deliverer,
                                   struct str name,
                                   const struct settings_rate *rate,
                                   const struct settings_rate *released,
                                   struct target_change *out_change)
{
    struct deliverer_target *target = deliverer_target_find(deliverer, name);

    if (target == NULL) {
        return ERR_NOT_FOUND;
    }
    if (rate->count > 0) {
        deliverer_target_reset(target);
    }
    deliverer_target_limit(target, rate, released);
    if (rate->count > 0) {
        go_on(target, out_change);
        return ERR_OK;
    }
    count_ahead(deliverer);
    *out_change = (struct target_change){.backlog = backlog_of(target)};
    return ERR_OK;
}
