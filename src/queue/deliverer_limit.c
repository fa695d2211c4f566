/* How fast a delivery sends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_limit.h"

#include "base/check.h"

#include <stdlib.h>

enum {
    FLOW_AGAIN_MS = 1000, /* when there is no place for one more flow */
};

struct delivery_limits {
    struct rate_bucket all;
    struct rate_table flows;
};

static uint64_t now_ms(const struct delivery *delivery)
{
    return io_now_ms(delivery->deliverer->options.io);
}

enum err deliverer_limit_set(struct delivery *delivery)
{
    const struct settings *settings = delivery->settings;
    bool wanted = settings->rate.count > 0 || settings->flow_rate.count > 0;

    if (!wanted) {
        deliverer_limit_clear(delivery);
        return ERR_OK;
    }
    if (delivery->limits == NULL) {
        delivery->limits = calloc(1, sizeof(*delivery->limits));
        if (delivery->limits == NULL) {
            return ERR_NOMEM;
        }
        rate_table_init(&delivery->limits->flows, RATE_FLOWS_MAX);
    }
    rate_set(&delivery->limits->all, &settings->rate, now_ms(delivery));
    return ERR_OK;
}

void deliverer_limit_clear(struct delivery *delivery)
{
    if (delivery->limits != NULL) {
        rate_table_fini(&delivery->limits->flows);
        free(delivery->limits);
        delivery->limits = NULL;
    }
}

bool deliverer_limit_allows(const struct delivery *delivery,
                            uint64_t *out_due_ms)
{
    if (delivery->limits == NULL) {
        return true;
    }
    *out_due_ms = rate_due_ms(&delivery->limits->all, now_ms(delivery));
    return *out_due_ms <= now_ms(delivery);
}

bool deliverer_limit_take(struct delivery *delivery)
{
    uint64_t due_ms = 0;

    return delivery->limits == NULL ||
           rate_take(&delivery->limits->all, now_ms(delivery), &due_ms);
}

uint64_t deliverer_limit_flow(const struct delivery *delivery,
                              struct str flow_key)
{
    if (delivery->limits == NULL || flow_key.size == 0 ||
        delivery->settings->flow_rate.count == 0) {
        return 0;
    }
    return rate_flow_hash(delivery->topic->store->name_str, flow_key);
}

uint64_t deliverer_limit_pace(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    uint32_t speed = delivery->settings->replay_pace;
    uint64_t now = now_ms(delivery);
    uint64_t due_ms = now;

    if (speed == 0 || parcel->base.attempts > 0) {
        return 0;
    }
    if (delivery->pace_begun_ms == 0) {
        delivery->pace_begun_ms = now;
        delivery->pace_pushed_ms = parcel->pushed_at_ms;
    }
    if (parcel->pushed_at_ms > delivery->pace_pushed_ms) {
        due_ms = delivery->pace_begun_ms +
                 (parcel->pushed_at_ms - delivery->pace_pushed_ms) / speed;
    }
    return due_ms > now ? due_ms - now : 0;
}

uint64_t deliverer_limit_reserve(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    struct rate_bucket *bucket = NULL;
    uint64_t now = now_ms(delivery);

    if (parcel->flow == 0 || parcel->flow_paid || delivery->limits == NULL ||
        delivery->settings->flow_rate.count == 0) {
        return 0;
    }
    enum err err =
        rate_table_find(&delivery->limits->flows, parcel->flow,
                        &delivery->settings->flow_rate, now, &bucket);
    if (err != ERR_OK) {
        return FLOW_AGAIN_MS;
    }
    parcel->flow_paid = true;
    return rate_reserve(bucket, now) - now;
}
