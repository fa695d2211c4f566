/* How many requests of one delivery may be at one endpoint.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_quota.h"

#include "base/check.h"
#include "queue/deliverer_delivery.h"

#include <stdlib.h>

enum { BUCKETS = 64 }; /* a power of two */

/* The requests of a delivery at one endpoint. */
struct quota {
    struct quota *next;              /* in its bucket */
    struct deliverer_target *target; /* borrowed: its parcels use it */
    uint32_t count;
    struct list crowded; /* of struct parcel, by `wants` */
};

struct delivery_quotas {
    struct quota *buckets[BUCKETS]; /* owned */
};

/* The place that points to the entry of a target, or to the NULL at the end of
 * its bucket. */
static struct quota **place_of(struct delivery_quotas *quotas,
                               const struct deliverer_target *target)
{
    struct quota **place = &quotas->buckets[target->hash & (BUCKETS - 1)];

    while (*place != NULL && (*place)->target != target) {
        place = &(*place)->next;
    }
    return place;
}

/* Find or make the entry of a parcel's target.
 * Errors: ERR_NOMEM */
static enum err find(const struct parcel *parcel, struct quota **out)
{
    struct delivery *delivery = parcel->delivery;

    if (delivery->quotas == NULL) {
        delivery->quotas = calloc(1, sizeof(*delivery->quotas));
    }
    if (delivery->quotas == NULL) {
        return ERR_NOMEM;
    }
    struct quota **place = place_of(delivery->quotas, parcel->target);
    if (*place == NULL) {
        struct quota *quota = calloc(1, sizeof(*quota));
        if (quota == NULL) {
            return ERR_NOMEM;
        }
        quota->target = parcel->target;
        list_init(&quota->crowded);
        *place = quota;
    }
    *out = *place;
    return ERR_OK;
}

enum err deliverer_quota_enter(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    uint32_t count_max = delivery->settings->endpoint_concurrency;
    struct quota *quota = NULL;

    CHECK(parcel->quota == NULL);
    if (count_max == 0) {
        return ERR_OK;
    }
    enum err err = find(parcel, &quota);
    if (err != ERR_OK) {
        return err;
    }
    parcel->quota = quota;
    if (quota->count < count_max) {
        quota->count++;
        return ERR_OK;
    }
    parcel->doing = PARCEL_CROWDED;
    list_append(&quota->crowded, &parcel->wants);
    delivery->crowded++;
    return ERR_AGAIN;
}

/* A place is free. */
static void wake_first(struct delivery *delivery, struct quota *quota)
{
    struct list *link = list_take_first(&quota->crowded);

    if (link == NULL) {
        return;
    }
    struct parcel *parcel = CONTAINER_OF(link, struct parcel, wants);
    CHECK(parcel->doing == PARCEL_CROWDED);
    parcel->quota = NULL;
    parcel->doing = PARCEL_RESTING;
    delivery->crowded--;
    window_ready(&delivery->window, &parcel->base, true);
    deliverer_delivery_wake(delivery);
}

void deliverer_quota_leave(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    struct quota *quota = parcel->quota;

    if (quota == NULL) {
        return;
    }
    parcel->quota = NULL;
    if (parcel->doing == PARCEL_CROWDED) {
        list_remove(&parcel->wants);
        delivery->crowded--;
    } else {
        CHECK(quota->count > 0);
        quota->count--;
        wake_first(delivery, quota);
    }
    if (quota->count == 0 && list_empty(&quota->crowded)) {
        struct quota **place = place_of(delivery->quotas, quota->target);
        CHECK(*place == quota);
        *place = quota->next;
        free(quota);
    }
}

void deliverer_quota_clear(struct delivery *delivery)
{
    for (int i = 0; delivery->quotas != NULL && i < BUCKETS; i++) {
        CHECK(delivery->quotas->buckets[i] == NULL);
    }
    free(delivery->quotas);
    delivery->quotas = NULL;
}
