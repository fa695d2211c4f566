/* What messages of one delivery wait for, other than their lane.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_line.h"

#include "base/check.h"
#include "queue/deliverer_delivery.h"

#include <stdlib.h>

struct line {
    struct hash_node node;           /* in delivery->lines */
    struct deliverer_target *target; /* one use of it; NULL: it is a flow's */
    uint32_t count;      /* requests at the endpoint, those in its line, and
                            parcels that a place is kept for */
    uint32_t waiting;    /* parcels that wait for it */
    struct list crowded; /* of struct parcel, by `wants`; some of those */
    struct window_group aside;
};

static struct line *line_at(struct hash_node *node)
{
    return node == NULL ? NULL : CONTAINER_OF(node, struct line, node);
}

/* Find the line of an endpoint, or with `target` NULL of a flow. */
static struct line *find(const struct delivery *delivery,
                         const struct deliverer_target *target,
                         uint64_t flow)
{
    struct hash_node *node = hash_table_first(
        &delivery->lines, target != NULL ? target->node.hash : flow);

    while (node != NULL && line_at(node)->target != target) {
        node = hash_table_next(node);
    }
    return line_at(node);
}

/* The same; made when there is none.
 * Errors: ERR_NOMEM */
static enum err find_or_make(struct delivery *delivery,
                             struct deliverer_target *target,
                             uint64_t flow,
                             struct line **out)
{
    *out = find(delivery, target, flow);
    if (*out != NULL) {
        return ERR_OK;
    }
    struct line *line = calloc(1, sizeof(*line));
    if (line == NULL) {
        return ERR_NOMEM;
    }
    if (hash_table_add(&delivery->lines, &line->node,
                       target != NULL ? target->node.hash : flow) != ERR_OK) {
        free(line);
        return ERR_NOMEM;
    }
    line->target = target;
    if (target != NULL) {
        target->users++;
        target->other_users++;
    }
    list_init(&line->crowded);
    *out = line;
    return ERR_OK;
}

/* Free a line, unless somebody needs it. */
static void free_unused(struct delivery *delivery, struct line *line)
{
    if (line->count > 0 || line->waiting > 0 ||
        window_group_has(&line->aside)) {
        return;
    }
    hash_table_remove(&delivery->lines, &line->node);
    if (line->target != NULL) {
        line->target->other_users--;
        deliverer_target_release(line->target);
    }
    free(line);
}

/* --- who waits ------------------------------------------------------------ */

static void waits(struct parcel *parcel, struct line *line)
{
    parcel->waits = line;
    line->waiting++;
    parcel->delivery->waiting++;
}

void deliverer_line_wait(struct parcel *parcel, bool flow)
{
    struct line *line = parcel->counted;

    CHECK(parcel->waits == NULL);
    if ((flow || line == NULL) &&
        find_or_make(parcel->delivery, flow ? NULL : parcel->target,
                     parcel->flow, &line) != ERR_OK) {
        return;
    }
    waits(parcel, line);
}

/* Tell whether more of a line are to be looked for. */
static bool has_few(const struct delivery *delivery, const struct line *line)
{
    return line->waiting == 0 || (line->waiting < DELIVERER_LINE_FEW &&
                                  delivery->waiting < DELIVERER_WAITING_MAX);
}

/* Tell whether many wait in a line. */
static bool has_many(const struct delivery *delivery, const struct line *line)
{
    return line->waiting >= DELIVERER_LINE_MAX ||
           (line->waiting > 0 && delivery->waiting >= DELIVERER_WAITING_MAX);
}

void deliverer_line_go(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    struct line *line = parcel->waits;

    if (line == NULL) {
        return;
    }
    parcel->waits = NULL;
    CHECK(line->waiting > 0 && delivery->waiting > 0);
    line->waiting--;
    delivery->waiting--;
    if (window_group_has(&line->aside) && has_few(delivery, line)) {
        window_group_wants(&delivery->window, &line->aside);
        deliverer_delivery_wake(delivery);
    }
    if (line != parcel->counted) {
        free_unused(delivery, line);
    }
}

/* --- how many may be there ------------------------------------------------ */

enum err deliverer_line_enter(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    uint32_t count_max = delivery->settings->endpoint_concurrency;
    struct line *line = NULL;

    if (parcel->counted != NULL || count_max == 0) {
        return ERR_OK; /* a place was kept for it, or none is needed */
    }
    enum err err = find_or_make(delivery, parcel->target, 0, &line);
    if (err != ERR_OK) {
        return err;
    }
    if (line->count < count_max) {
        parcel->counted = line;
        line->count++;
        return ERR_OK;
    }
    parcel->doing = PARCEL_CROWDED;
    list_append(&line->crowded, &parcel->wants);
    waits(parcel, line);
    return ERR_AGAIN;
}

/* A place is free: it is kept for the one that waits for the longest time,
 * which gives it on when it ends without being sent. */
static void wake_first(struct delivery *delivery, struct line *line)
{
    if (list_empty(&line->crowded)) {
        return;
    }
    struct parcel *parcel =
        CONTAINER_OF(line->crowded.next, struct parcel, wants);
    CHECK(parcel->doing == PARCEL_CROWDED);
    list_remove(&parcel->wants);
    parcel->doing = PARCEL_RESTING;
    parcel->counted = line;
    line->count++;
    deliverer_line_go(parcel);
    window_ready(&delivery->window, &parcel->base, true);
    deliverer_delivery_wake(delivery);
}

void deliverer_line_leave(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    struct line *line = parcel->counted;

    if (parcel->doing == PARCEL_CROWDED) {
        list_remove(&parcel->wants);
    }
    deliverer_line_go(parcel);
    if (line == NULL) {
        return;
    }
    parcel->counted = NULL;
    CHECK(line->count > 0);
    line->count--;
    if (list_empty(&line->crowded)) {
        free_unused(delivery, line);
    } else {
        wake_first(delivery, line);
    }
}

/* --- setting aside -------------------------------------------------------- */

struct window_group *deliverer_line_blocks(const struct parcel *parcel)
{
    const struct delivery *delivery = parcel->delivery;

    if (delivery->waiting == 0) {
        return NULL;
    }
    if (delivery->settings->url == NULL && parcel->target != NULL) {
        struct line *line = find(delivery, parcel->target, 0);
        if (line != NULL && has_many(delivery, line)) {
            return &line->aside;
        }
    }
    if (parcel->flow != 0) {
        struct line *line = find(delivery, NULL, parcel->flow);
        if (line != NULL && has_many(delivery, line)) {
            return &line->aside;
        }
    }
    return NULL;
}

struct window_group *deliverer_line_group(const struct parcel *parcel)
{
    const struct delivery *delivery = parcel->delivery;
    struct line *line = NULL;

    if (parcel->flow != 0) {
        line = find(delivery, NULL, parcel->flow);
    }
    if ((line == NULL || !window_group_has(&line->aside)) &&
        parcel->target != NULL) {
        line = find(delivery, parcel->target, 0);
    }
    return line != NULL ? &line->aside : NULL;
}

/* --- ends ----------------------------------------------------------------- */

static void each_line(struct delivery *delivery,
                      void (*visit)(struct delivery *delivery,
                                    struct line *line))
{
    uint32_t bucket = 0;
    struct hash_node *node = hash_table_each(&delivery->lines, &bucket, NULL);

    while (node != NULL) {
        struct hash_node *next =
            hash_table_each(&delivery->lines, &bucket, node);
        visit(delivery, line_at(node));
        node = next;
    }
}

void deliverer_line_tidy(struct delivery *delivery)
{
    each_line(delivery, free_unused);
}

static void let_go(struct delivery *delivery, struct line *line)
{
    window_group_forget(&line->aside);
    free_unused(delivery, line);
}

void deliverer_line_forget(struct delivery *delivery)
{
    each_line(delivery, let_go);
}

void deliverer_line_clear(struct delivery *delivery)
{
    deliverer_line_forget(delivery);
    CHECK(delivery->lines.count == 0);
    hash_table_fini(&delivery->lines);
}
