/* Who may send next.
 *
 * An endpoint is in the ring set->turns[kind] exactly while it has a waiter of
 * that kind, is not held, and has fewer in flight than it may have; update()
 * keeps that true after each change. So finding the next one never walks past
 * endpoints that could not send.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/endpoint.h"

#include "base/check.h"

#include <stddef.h>

void endpoint_set_init(struct endpoint_set *set,
                       uint32_t in_flight_max,
                       uint32_t endpoint_max)
{
    CHECK(in_flight_max > 0);
    uint32_t half = in_flight_max / 2;
    uint32_t quarter = in_flight_max / 4;

    *set = (struct endpoint_set){
        .in_flight_max = in_flight_max,
        .retries_max = half > 0 ? half : 1,
        .endpoint_max = quarter > 0 ? quarter : 1,
        .turn = ENDPOINT_FRESH,
    };
    if (endpoint_max > 0) {
        set->endpoint_max = endpoint_max;
    }
    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        list_init(&set->turns[kind]);
    }
}

void endpoint_init(struct endpoint *endpoint, struct endpoint_set *set)
{
    *endpoint = (struct endpoint){.set = set};
    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        list_init(&endpoint->lines[kind]);
    }
}

void endpoint_fini(struct endpoint *endpoint)
{
    CHECK(endpoint->waiting == 0);
    CHECK(endpoint->in_flight == 0);
    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        list_remove(&endpoint->turns[kind]);
    }
}

static bool has_room(const struct endpoint *endpoint)
{
    uint32_t in_flight_max = endpoint->set->endpoint_max;

    if (endpoint->failing) {
        in_flight_max /= ENDPOINT_FAILING_SHARE;
        in_flight_max += in_flight_max == 0 ? 1 : 0;
    }
    return !endpoint->held && endpoint->in_flight < in_flight_max;
}

/* Put the endpoint into the rings that it belongs to, and out of others. */
static void update(struct endpoint *endpoint)
{
    bool room = has_room(endpoint);

    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        struct list *turn = &endpoint->turns[kind];
        bool wanted = room && !list_empty(&endpoint->lines[kind]);
        if (wanted && !list_linked(turn)) {
            list_append(&endpoint->set->turns[kind], turn);
        } else if (!wanted) {
            list_remove(turn);
        }
    }
}

static bool slot_free(const struct endpoint_set *set, enum endpoint_kind kind)
{
    return set->in_flight < set->in_flight_max &&
           (kind != ENDPOINT_RETRY || set->retries < set->retries_max);
}

static enum endpoint_kind kind_of(const struct endpoint *endpoint, bool retry)
{
    return retry || endpoint->failing ? ENDPOINT_RETRY : ENDPOINT_FRESH;
}

/* Give a slot to a waiter that is in no line. */
static void give_slot(struct endpoint_waiter *waiter)
{
    struct endpoint *endpoint = waiter->endpoint;
    struct endpoint_set *set = endpoint->set;

    CHECK(slot_free(set, waiter->kind));
    waiter->in_flight = true;
    endpoint->in_flight++;
    set->in_flight++;
    set->retries += waiter->kind == ENDPOINT_RETRY ? 1 : 0;
}

bool endpoint_take(struct endpoint *endpoint,
                   struct endpoint_waiter *waiter,
                   bool retry)
{
    enum endpoint_kind kind = kind_of(endpoint, retry);

    CHECK(waiter->endpoint == NULL);
    if (!has_room(endpoint) || !slot_free(endpoint->set, kind) ||
        !list_empty(&endpoint->lines[kind])) {
        return false;
    }
    waiter->endpoint = endpoint;
    waiter->kind = kind;
    give_slot(waiter);
    update(endpoint);
    return true;
}

void endpoint_wait(struct endpoint *endpoint,
                   struct endpoint_waiter *waiter,
                   bool retry)
{
    CHECK(waiter->endpoint == NULL);
    waiter->endpoint = endpoint;
    waiter->kind = kind_of(endpoint, retry);
    waiter->in_flight = false;
    list_append(&endpoint->lines[waiter->kind], &waiter->link);
    endpoint->waiting++;
    update(endpoint);
}

void endpoint_leave(struct endpoint_waiter *waiter)
{
    struct endpoint *endpoint = waiter->endpoint;

    if (endpoint == NULL) {
        return;
    }
    if (waiter->in_flight) {
        struct endpoint_set *set = endpoint->set;
        CHECK(endpoint->in_flight > 0 && set->in_flight > 0);
        endpoint->in_flight--;
        set->in_flight--;
        set->retries -= waiter->kind == ENDPOINT_RETRY ? 1 : 0;
    } else {
        CHECK(endpoint->waiting > 0);
        endpoint->waiting--;
        list_remove(&waiter->link);
    }
    waiter->endpoint = NULL;
    waiter->in_flight = false;
    update(endpoint);
}

struct endpoint_waiter *endpoint_next(struct endpoint_set *set)
{
    enum endpoint_kind kind = set->turn;

    for (int tries = 0; tries < ENDPOINT_KINDS; tries++) {
        if (slot_free(set, kind) && !list_empty(&set->turns[kind])) {
            break;
        }
        kind = kind == ENDPOINT_FRESH ? ENDPOINT_RETRY : ENDPOINT_FRESH;
        if (tries + 1 == ENDPOINT_KINDS) {
            return NULL;
        }
    }
    struct list *turn = list_take_first(&set->turns[kind]);
    struct endpoint *endpoint =
        CONTAINER_OF(turn, struct endpoint, turns[kind]);
    struct list *first = list_take_first(&endpoint->lines[kind]);
    struct endpoint_waiter *waiter =
        CONTAINER_OF(first, struct endpoint_waiter, link);

    endpoint->waiting--;
    set->turn = kind == ENDPOINT_FRESH ? ENDPOINT_RETRY : ENDPOINT_FRESH;
    give_slot(waiter);
    update(endpoint);
    return waiter;
}

bool endpoint_hold(struct endpoint *endpoint, uint64_t until_ms)
{
    if (endpoint->held && endpoint->held_until_ms >= until_ms) {
        return false;
    }
    endpoint->held = true;
    endpoint->held_until_ms = until_ms;
    update(endpoint);
    return true;
}

void endpoint_release(struct endpoint *endpoint)
{
    endpoint->held = false;
    update(endpoint);
}

/* Everybody in line for a first attempt now stands in the line of retries. */
static void demote(struct endpoint *endpoint)
{
    struct list *fresh = &endpoint->lines[ENDPOINT_FRESH];

    while (!list_empty(fresh)) {
        struct list *link = list_take_first(fresh);
        CONTAINER_OF(link, struct endpoint_waiter, link)->kind = ENDPOINT_RETRY;
        list_append(&endpoint->lines[ENDPOINT_RETRY], link);
    }
}

void endpoint_note(struct endpoint *endpoint,
                   enum err err,
                   int status,
                   bool delivered,
                   uint64_t wall_ms)
{
    bool failing = err != ERR_OK;

    if (!delivered) {
        endpoint->last_err = err;
        endpoint->last_status = status;
        endpoint->failed_ms = wall_ms;
    }
    if (failing && !endpoint->failing) {
        demote(endpoint);
    }
    endpoint->failing = failing;
    update(endpoint);
}
