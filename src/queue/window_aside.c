/* Messages of a window that are set aside, and how they come back.
 *
 * A sweep reads what is aside from the lowest place on at which a hungry group
 * may have a message. What it finds is a parcel again where there is room; what
 * is left stays. It ends when no group that takes part wants more, or when it
 * came to the scan: then those that still want have none.
 *
 * Order. Of a lane's messages aside only the lowest may become a parcel. The
 * lane's `from` is at or below that; so when the sweep began at or below `from`
 * and did not pass over one of the lane, the next one of the lane that it meets
 * is the lowest. That it stays there is noted in the lane (`passed_over`), and
 * `from` is exact then.
 *
 * Nobody is forgotten: what is aside waits for its lane, which wants more when
 * it has few parcels, or it is the first of its lane, or in none, and waits in
 * a group of the caller's, who says when there is room.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/window.h"
#include "queue/window_lane.h"

/* --- groups --------------------------------------------------------------- */

static void group_empty(struct window_group *group)
{
    group->from = 0;
    group->end = 0;
    window_group_full(group);
}

/* One more message waits in a group. */
static void group_add(struct window_group *group, uint64_t sequence)
{
    if (!window_group_has(group)) {
        group->from = sequence;
        group->end = sequence + 1;
        return;
    }
    group->from = sequence < group->from ? sequence : group->from;
    group->end = sequence >= group->end ? sequence + 1 : group->end;
}

/* All of a group up to this one were looked at. */
static void group_advance(struct window_group *group, uint64_t sequence)
{
    group->from = sequence + 1;
    if (!window_group_has(group)) {
        group_empty(group);
    }
}

void window_group_wants(struct window *window, struct window_group *group)
{
    if (!window_group_has(group) || list_linked(&group->hungry)) {
        return;
    }
    if (!list_empty(&window->sweeping) && group->from >= window->sweep_at) {
        group->sweep = window->sweep;
        list_append(&window->sweeping, &group->hungry);
    } else {
        list_append(&window->hungry, &group->hungry);
    }
}

void window_group_full(struct window_group *group)
{
    group->sweep = 0;
    list_remove(&group->hungry);
}

void window_group_forget(struct window_group *group)
{
    group_empty(group);
}

/* --- lanes ---------------------------------------------------------------- */

/* Tell whether a lane may have one more parcel. */
static bool has_room(const struct window *window,
                     const struct window_lane *lane)
{
    return lane->parcel_count < (window->parcel_count < WINDOW_PARCELS_MANY
                                     ? (uint32_t)WINDOW_LANE_PARCELS_MAX
                                     : 1);
}

/* The lane of a key; NULL: none. */
static struct window_lane *find(const struct window *window, struct str key)
{
    return (struct window_lane *)window_lane_find(window, key);
}

/* Tell whether a message that the sweep met is the lowest of its lane that is
 * aside. */
static bool is_lowest(const struct window *window,
                      const struct window_lane *lane)
{
    return lane->aside.from >= window->sweep_from &&
           lane->passed_over != window->sweep;
}

bool window_admits(const struct window *window, struct str key)
{
    if (window->order != SETTINGS_ORDER_KEY) {
        return true;
    }
    const struct window_lane *lane = find(window, key);
    return lane == NULL ||
           (!window_group_has(&lane->aside) && has_room(window, lane));
}

enum err window_set_aside(struct window *window,
                          uint64_t sequence,
                          struct str key,
                          struct window_group *group)
{
    struct window_lane *lane = NULL;

    CHECK(sequence >= window->scan);
    enum err err = window_lane_of(window, key, &lane);
    if (err != ERR_OK) {
        return err;
    }
    err = sparse_set_add(&window->aside, sequence);
    if (err == ERR_OK && lane != NULL) {
        group_add(&lane->aside, sequence);
    }
    if (err == ERR_OK && group != NULL) {
        group_add(group, sequence);
    }
    if (err != ERR_OK) {
        if (lane != NULL) {
            window_lane_less(window, lane);
        }
        return err;
    }
    window_pass(window, sequence + 1);
    return ERR_OK;
}

/* --- sweeps --------------------------------------------------------------- */

/* Begin with all that are hungry, at the lowest place of any. */
static void begin(struct window *window)
{
    struct list *link = NULL;

    window->sweep++;
    window->sweep_from = UINT64_MAX;
    while ((link = list_take_first(&window->hungry)) != NULL) {
        struct window_group *group =
            CONTAINER_OF(link, struct window_group, hungry);
        group->sweep = window->sweep;
        if (group->from < window->sweep_from) {
            window->sweep_from = group->from;
        }
        list_append(&window->sweeping, link);
    }
    window->sweep_at = window->sweep_from;
}

/* All was looked at: who still wants has none. */
static void end(struct window *window)
{
    while (!list_empty(&window->sweeping)) {
        struct window_group *group =
            CONTAINER_OF(window->sweeping.next, struct window_group, hungry);
        group_empty(group);
        if (group->lane != NULL) {
            window_lane_less(window, group->lane);
        }
    }
}

uint64_t window_sweep(struct window *window)
{
    for (;;) {
        if (list_empty(&window->sweeping)) {
            if (list_empty(&window->hungry)) {
                return WINDOW_NO_SEQUENCE;
            }
            begin(window);
        }
        uint64_t next = sparse_set_next(&window->aside, window->sweep_at);
        if (next != UINT64_MAX) {
            window->sweep_at = next;
            return next;
        }
        end(window);
    }
}

bool window_sweep_admits(const struct window *window, struct str key)
{
    const struct window_lane *lane = find(window, key);

    return lane == NULL || (is_lowest(window, lane) && has_room(window, lane));
}

/* The lowest of a lane was met and is aside no more. */
static void
lane_advance(struct window *window, struct window_lane *lane, uint64_t sequence)
{
    group_advance(&lane->aside, sequence);
    if (!has_room(window, lane)) {
        window_group_full(&lane->aside);
    }
    window_lane_less(window, lane);
}

/* Link a parcel at its place; most of those below it are before it. */
static void link_sorted(struct window *window,
                        struct window_parcel *parcel,
                        uint64_t sequence)
{
    struct list *behind = window->parcels.prev;

    while (behind != &window->parcels &&
           CONTAINER_OF(behind, struct window_parcel, link)->sequence >
               sequence) {
        behind = behind->prev;
    }
    list_prepend(behind, &parcel->link);
}

void window_take_back(struct window *window,
                      struct window_parcel *parcel,
                      struct str key,
                      uint32_t priority,
                      struct window_group *group)
{
    uint64_t sequence = window->sweep_at;
    struct window_lane *lane = find(window, key);

    CHECK(sparse_set_has(&window->aside, sequence));
    CHECK(lane == NULL || is_lowest(window, lane));
    CHECK(priority < WINDOW_PRIORITIES);
    sparse_set_remove(&window->aside, sequence);
    link_sorted(window, parcel, sequence);
    window->sweep_at = sequence + 1;
    window_enter(window, parcel, lane, sequence, priority);
    if (lane != NULL) {
        lane_advance(window, lane, sequence);
    }
    if (group != NULL && group->sweep == window->sweep) {
        group_advance(group, sequence);
    }
}

void window_leave(struct window *window,
                  struct str key,
                  struct window_group *group)
{
    uint64_t sequence = window->sweep_at;
    struct window_lane *lane = find(window, key);
    bool admitted = window_sweep_admits(window, key);

    window->sweep_at = sequence + 1;
    if (lane != NULL && is_lowest(window, lane)) {
        lane->aside.from = sequence;
        lane->passed_over = window->sweep;
        window_group_full(&lane->aside); /* its turn comes otherwise */
    }
    if (admitted && group != NULL) {
        group_add(group, sequence);
        window_group_full(group);
    }
}

void window_sweep_pass(struct window *window, struct str key)
{
    uint64_t sequence = window->sweep_at;
    struct window_lane *lane = find(window, key);

    sparse_set_remove(&window->aside, sequence);
    window->sweep_at = sequence + 1;
    if (lane != NULL && is_lowest(window, lane)) {
        lane_advance(window, lane, sequence);
    }
}

/* Messages below `end` are gone, whoever they were: lanes that waited for one
 * of them look again. */
static void look_again(struct window *window, uint64_t end)
{
    uint32_t bucket = 0;
    struct hash_node *node = hash_table_each(&window->lanes, &bucket, NULL);

    while (node != NULL) {
        struct hash_node *next = hash_table_each(&window->lanes, &bucket, node);
        struct window_lane *lane = CONTAINER_OF(node, struct window_lane, node);
        if (window_group_has(&lane->aside) && lane->aside.from < end) {
            window_lane_less(window, lane);
        }
        node = next;
    }
}

void window_sweep_lose(struct window *window, uint64_t end)
{
    uint64_t next = window->sweep_at;

    while (next < end) {
        sparse_set_remove(&window->aside, next);
        next = sparse_set_next(&window->aside, next);
    }
    window->sweep_at = end;
    look_again(window, end);
}

void window_aside_trim(struct window *window, uint64_t oldest)
{
    uint64_t count = window->aside.count;

    sparse_set_remove_below(&window->aside, oldest);
    if (window->aside.count != count) {
        look_again(window, oldest);
    }
}
