/* The lanes of a window.
 *
 * A lane of a key lives while it has parcels or messages aside. One that has
 * neither is kept for a while, for the header Opq-Prev-Seq.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/window_lane.h"

#include "base/check.h"

#include <stdlib.h>

static struct window_lane *lane_at(struct hash_node *node)
{
    return node == NULL ? NULL : CONTAINER_OF(node, struct window_lane, node);
}

/* Tell whether messages with a key, or without one, have lanes of keys. */
static bool has_lane(const struct window *window, struct str key)
{
    return window->order == SETTINGS_ORDER_KEY && key.size > 0;
}

static enum err
make(struct window *window, uint64_t hash, struct window_lane **out)
{
    if (window_lanes_full(window)) {
        return ERR_FULL;
    }
    struct window_lane *lane = calloc(1, sizeof(*lane));
    if (lane == NULL) {
        return ERR_NOMEM;
    }
    enum err err = hash_table_add(&window->lanes, &lane->node, hash);
    if (err != ERR_OK) {
        free(lane);
        return err;
    }
    lane->last = WINDOW_NO_SEQUENCE;
    lane->aside.lane = lane;
    list_init(&lane->parcels);
    *out = lane;
    return ERR_OK;
}

enum err
window_lane_of(struct window *window, struct str key, struct window_lane **out)
{
    *out = NULL;
    if (window->order == SETTINGS_ORDER_TOPIC) {
        *out = &window->whole;
        return ERR_OK;
    }
    if (!has_lane(window, key)) {
        return ERR_OK;
    }
    uint64_t hash = str_hash(key);
    struct window_lane *lane = lane_at(hash_table_first(&window->lanes, hash));
    if (lane == NULL) {
        enum err err = make(window, hash, &lane);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (list_linked(&lane->idle)) {
        list_remove(&lane->idle);
        window->lanes_idle_count--;
    }
    *out = lane;
    return ERR_OK;
}

const struct window_lane *window_lane_find(const struct window *window,
                                           struct str key)
{
    if (window->order == SETTINGS_ORDER_TOPIC) {
        return &window->whole;
    }
    return has_lane(window, key)
               ? lane_at(hash_table_first(&window->lanes, str_hash(key)))
               : NULL;
}

static void forget_oldest(struct window *window)
{
    struct list *link = list_take_first(&window->lanes_idle);
    struct window_lane *lane = CONTAINER_OF(link, struct window_lane, idle);

    window->lanes_idle_count--;
    hash_table_remove(&window->lanes, &lane->node);
    free(lane);
}

void window_lane_less(struct window *window, struct window_lane *lane)
{
    if (lane == &window->whole) {
        return;
    }
    if (window_group_has(&lane->aside)) {
        if (lane->parcel_count == 0 ||
            (lane->parcel_count < WINDOW_LANE_PARCELS_FEW &&
             window->parcel_count < WINDOW_PARCELS_MANY)) {
            window_group_wants(window, &lane->aside);
        }
        return;
    }
    if (lane->parcel_count > 0 || list_linked(&lane->idle)) {
        return;
    }
    list_append(&window->lanes_idle, &lane->idle);
    window->lanes_idle_count++;
    if (window->lanes_idle_count > WINDOW_LANES_IDLE_MAX) {
        forget_oldest(window);
    }
}

void window_lane_clear(struct window *window)
{
    uint32_t bucket = 0;
    struct hash_node *node = hash_table_each(&window->lanes, &bucket, NULL);

    while (node != NULL) {
        struct hash_node *next = hash_table_each(&window->lanes, &bucket, node);
        free(lane_at(node));
        node = next;
    }
    hash_table_fini(&window->lanes);
}
