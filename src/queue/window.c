/* What of a topic's log is under work.
 *
 * What must stay true:
 *   - parcels ascend; none of them is aside, and every message below the scan
 *     that is neither is done;
 *   - of a lane's parcels all but the first are QUEUED, and the first is not;
 *   - a parcel is in `ready` exactly while it is READY; there those of a higher
 *     priority are before the others.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/window.h"

#include "base/check.h"
#include "queue/window_lane.h"

#include <stdlib.h>
#include <string.h>

static struct window_parcel *parcel_of(struct list *link)
{
    return CONTAINER_OF(link, struct window_parcel, link);
}

static struct window_parcel *placed(struct list *place)
{
    return CONTAINER_OF(place, struct window_parcel, place);
}

/* Go past what was done when the cursor was read. */
static void skip_done(struct window *window)
{
    while (window->done_next < window->done_count) {
        const struct store_range *range = &window->done[window->done_next];
        if (range->first > window->scan) {
            return;
        }
        if (range->end > window->scan) {
            window->scan = range->end;
        }
        window->done_next++;
    }
}

/* --- life ----------------------------------------------------------------- */

static enum err
copy(const void *from, uint32_t count, size_t size, void **out_copy)
{
    *out_copy = NULL;
    if (count == 0) {
        return ERR_OK;
    }
    void *to = malloc(count * size);
    if (to == NULL) {
        return ERR_NOMEM;
    }
    memcpy(to, from, count * size);
    *out_copy = to;
    return ERR_OK;
}

enum err window_init(struct window *window,
                     enum settings_order order,
                     const struct store_cursor *cursor,
                     uint64_t end,
                     bool plain)
{
    void *done = NULL;
    void *retries = NULL;

    enum err err = copy(cursor->ranges, cursor->range_count,
                        sizeof(*cursor->ranges), &done);
    if (err == ERR_OK) {
        err = copy(cursor->retries, cursor->retry_count,
                   sizeof(*cursor->retries), &retries);
    }
    if (err != ERR_OK) {
        free(done);
        return err;
    }
    *window = (struct window){
        .order = order,
        .scan = cursor->next,
        .end = end,
        .done = done,
        .done_count = cursor->range_count,
        .retries = retries,
        .retry_count = cursor->retry_count,
        .first = cursor->next,
        .first_attempts = cursor->attempts,
        .whole.last =
            plain && cursor->next > 0 ? cursor->next - 1 : WINDOW_NO_SEQUENCE,
    };
    list_init(&window->parcels);
    list_init(&window->whole.parcels);
    list_init(&window->lanes_idle);
    list_init(&window->ready);
    list_init(&window->hungry);
    list_init(&window->sweeping);
    skip_done(window);
    return ERR_OK;
}

void window_fini(struct window *window)
{
    CHECK(window->parcel_count == 0);
    window_lane_clear(window);
    sparse_set_fini(&window->aside);
    free(window->done);
    free(window->retries);
    *window = (struct window){0};
}

/* --- the scan ------------------------------------------------------------- */

uint64_t window_floor(const struct window *window)
{
    uint64_t floor = window->scan;

    if (!list_empty(&window->parcels)) {
        floor = parcel_of(window->parcels.next)->sequence;
    }
    if (window->aside.count > 0) {
        uint64_t aside = sparse_set_next(&window->aside, 0);
        floor = aside < floor ? aside : floor;
    }
    return floor;
}

bool window_wants(const struct window *window)
{
    if (window->order == SETTINGS_ORDER_TOPIC && window->parcel_count > 0) {
        return false;
    }
    return window->scan < window->end &&
           window->parcel_count < WINDOW_PARCELS_MAX &&
           window->aside.run_count < SPARSE_SET_RUNS_MAX &&
           !window_lanes_full(window);
}

bool window_is_done(const struct window *window)
{
    return window_floor(window) >= window->end;
}

/* How often the message failed before the window was made. */
static uint32_t attempts_of(const struct window *window, uint64_t sequence)
{
    if (sequence == window->first) {
        return window->first_attempts;
    }
    for (uint32_t i = 0; i < window->retry_count; i++) {
        if (window->retries[i].sequence == sequence) {
            return window->retries[i].attempts;
        }
    }
    return 0;
}

static uint32_t priority_of(struct list *turn)
{
    return CONTAINER_OF(turn, struct window_parcel, turn)->priority;
}

/* Put it behind all of its priority; nearly always at the end. */
static void make_ready(struct window *window, struct window_parcel *parcel)
{
    struct list *before = window->ready.prev;

    while (before != &window->ready && priority_of(before) < parcel->priority) {
        before = before->prev;
    }
    parcel->state = PARCEL_READY;
    list_prepend(before, &parcel->turn);
    window->ready_count++;
}

/* Put it before all of its priority. */
static void make_first(struct window *window, struct window_parcel *parcel)
{
    struct list *after = window->ready.next;

    while (after != &window->ready && priority_of(after) > parcel->priority) {
        after = after->next;
    }
    parcel->state = PARCEL_READY;
    list_append(after, &parcel->turn);
    window->ready_count++;
}

static void unready(struct window *window, struct window_parcel *parcel)
{
    if (parcel->state == PARCEL_READY) {
        list_remove(&parcel->turn);
        window->ready_count--;
    }
}

void window_enter(struct window *window,
                  struct window_parcel *parcel,
                  struct window_lane *lane,
                  uint64_t sequence,
                  uint32_t priority)
{
    parcel->sequence = sequence;
    parcel->end = sequence + 1;
    parcel->priority = priority;
    parcel->lane = lane;
    parcel->previous = lane != NULL ? lane->last : WINDOW_NO_SEQUENCE;
    parcel->attempts = attempts_of(window, sequence);
    parcel->state = PARCEL_QUEUED;
    window->parcel_count++;
    window->held++;
    window->prioritised = window->prioritised || priority > 0;
    bool first = lane == NULL || list_empty(&lane->parcels);
    if (lane != NULL) {
        lane->last = sequence;
        list_append(&lane->parcels, &parcel->place);
        lane->parcel_count++;
    }
    if (first) {
        make_ready(window, parcel);
    }
}

enum err window_found(struct window *window,
                      struct window_parcel *parcel,
                      uint64_t sequence,
                      struct str key,
                      uint32_t priority)
{
    CHECK(sequence >= window->scan);
    CHECK(priority < WINDOW_PRIORITIES);
    struct window_lane *lane = NULL;
    enum err err = window_lane_of(window, key, &lane);
    if (err != ERR_OK) {
        return err;
    }
    list_append(&window->parcels, &parcel->link);
    window_enter(window, parcel, lane, sequence, priority);
    window_pass(window, sequence + 1);
    return ERR_OK;
}

bool window_joins(const struct window *window,
                  const struct window_parcel *parcel)
{
    CHECK(window->parcels.prev == &parcel->link);
    return window->done_next == 0 ||
           window->done[window->done_next - 1].end <= parcel->end;
}

void window_extend(struct window *window,
                   struct window_parcel *parcel,
                   uint64_t end)
{
    CHECK(window->parcels.prev == &parcel->link);
    CHECK(end > window->scan);
    window->held += end - parcel->end;
    parcel->end = end;
    if (parcel->lane != NULL) {
        parcel->lane->last = end - 1;
    }
    window_pass(window, end);
}

void window_split(struct window *window,
                  struct window_parcel *parcel,
                  uint64_t at,
                  struct window_parcel *rest)
{
    CHECK(at > parcel->sequence && at < parcel->end);
    CHECK(parcel->state == PARCEL_TAKEN || parcel->state == PARCEL_QUEUED);
    rest->sequence = at;
    rest->end = parcel->end;
    rest->previous = parcel->lane != NULL ? at - 1 : WINDOW_NO_SEQUENCE;
    rest->attempts = parcel->attempts;
    rest->priority = parcel->priority;
    rest->lane = parcel->lane;
    rest->state = PARCEL_QUEUED;
    parcel->end = rest->sequence;
    list_prepend(&parcel->link, &rest->link);
    window->parcel_count++;
    if (parcel->lane != NULL) {
        list_prepend(&parcel->place, &rest->place);
        parcel->lane->parcel_count++;
    } else {
        make_ready(window, rest);
    }
}

void window_pass(struct window *window, uint64_t end)
{
    CHECK(end >= window->scan);
    window->scan = end;
    if (window->end < end) { /* it is newer than the last look */
        window->end = end;
    }
    skip_done(window);
}

void window_lose(struct window *window, uint64_t end)
{
    CHECK(end > 0);
    window->whole.last = end - 1;
    window_pass(window, end);
}

void window_trim(struct window *window, uint64_t oldest)
{
    CHECK(list_empty(&window->parcels) ||
          parcel_of(window->parcels.next)->sequence >= oldest);
    window_aside_trim(window, oldest);
    if (window->scan < oldest) {
        window_pass(window, oldest);
    }
}

/* --- turns ---------------------------------------------------------------- */

struct window_parcel *window_first(const struct window *window)
{
    return window->ready_count == 0
               ? NULL
               : CONTAINER_OF(window->ready.next, struct window_parcel, turn);
}

void window_take(struct window *window, struct window_parcel *parcel)
{
    CHECK(parcel->state == PARCEL_READY);
    unready(window, parcel);
    parcel->state = PARCEL_TAKEN;
}

void window_ready(struct window *window,
                  struct window_parcel *parcel,
                  bool at_once)
{
    CHECK(parcel->state == PARCEL_TAKEN || parcel->state == PARCEL_HELD);
    if (at_once) {
        make_first(window, parcel);
    } else {
        make_ready(window, parcel);
    }
}

void window_hold(struct window *window, struct window_parcel *parcel)
{
    CHECK(parcel->state == PARCEL_TAKEN || parcel->state == PARCEL_READY);
    unready(window, parcel);
    parcel->state = PARCEL_HELD;
}

void window_drop(struct window *window, struct window_parcel *parcel)
{
    struct window_lane *lane = parcel->lane;

    unready(window, parcel);
    list_remove(&parcel->link);
    window->parcel_count--;
    window->held -= parcel->end - parcel->sequence;
    if (lane == NULL) {
        return;
    }
    bool first = lane->parcels.next == &parcel->place;
    list_remove(&parcel->place);
    lane->parcel_count--;
    parcel->lane = NULL;
    if (first && !list_empty(&lane->parcels)) {
        make_ready(window, placed(lane->parcels.next));
    }
    window_lane_less(window, lane);
}

void window_done(struct window *window, struct window_parcel *parcel)
{
    CHECK(parcel->state != PARCEL_QUEUED);
    window_drop(window, parcel);
}

/* --- looking -------------------------------------------------------------- */

/* Of what the cursor of old says, what the scan did not come to yet. */
static bool walk_rest(const struct window *window,
                      struct window_walk *walk,
                      struct store_range *out_range)
{
    if (walk->done < window->done_next) {
        walk->done = window->done_next;
    }
    if (walk->done >= window->done_count) {
        return false;
    }
    *out_range = window->done[walk->done];
    if (out_range->first < window->scan) {
        out_range->first = window->scan;
    }
    walk->done++;
    return true;
}

uint64_t window_open(const struct window *window)
{
    uint64_t count = window->held + window->aside.count;
    uint64_t at = window->scan;

    for (uint32_t i = window->done_next; i < window->done_count; i++) {
        const struct store_range *done = &window->done[i];
        count += done->first > at ? done->first - at : 0;
        at = done->end;
    }
    return count + (window->end > at ? window->end - at : 0);
}

bool window_walk(const struct window *window,
                 struct window_walk *walk,
                 struct store_range *out_range)
{
    if (walk->parcel == NULL) {
        walk->parcel = window->parcels.next;
        walk->at = window_floor(window);
    }
    while (walk->at < window->scan) {
        const struct window_parcel *parcel =
            walk->parcel == &window->parcels
                ? NULL
                : CONTAINER_OF(walk->parcel, struct window_parcel, link);
        uint64_t open = sparse_set_next(&window->aside, walk->at);
        if (parcel != NULL && parcel->sequence < open) {
            open = parcel->sequence;
        }
        if (open > window->scan) {
            open = window->scan;
        }
        if (open > walk->at) {
            *out_range = (struct store_range){walk->at, open};
            walk->at = open;
            return true;
        }
        if (parcel != NULL && parcel->sequence == open) {
            walk->at = parcel->end;
            walk->parcel = parcel->link.next;
        } else {
            walk->at = sparse_set_next_absent(&window->aside, open);
        }
    }
    return walk_rest(window, walk, out_range);
}

static void put_retry(struct store_cursor *cursor,
                      struct store_retry *retries,
                      uint64_t sequence,
                      uint32_t attempts)
{
    if (attempts > 0 && cursor->retry_count < CURSOR_RETRIES_MAX) {
        retries[cursor->retry_count] =
            (struct store_retry){.sequence = sequence, .attempts = attempts};
        cursor->retry_count++;
    }
}

/* The next message above one that failed before the window was made and is no
 * parcel; NULL: none. */
static const struct store_retry *
next_retry(const struct window *window, uint64_t floor, uint32_t *index)
{
    for (; *index < window->retry_count; (*index)++) {
        const struct store_retry *retry = &window->retries[*index];
        if (retry->sequence > floor &&
            (retry->sequence >= window->scan ||
             sparse_set_has(&window->aside, retry->sequence))) {
            return retry;
        }
    }
    return NULL;
}

/* Note the failed attempts above the floor: of parcels, and of what was not
 * looked at again, in order. */
static void put_retries(const struct window *window,
                        struct store_cursor *cursor,
                        struct store_retry *retries)
{
    uint32_t index = 0;
    const struct store_retry *old = next_retry(window, cursor->next, &index);

    for (const struct list *link = window->parcels.next;
         link != &window->parcels && cursor->retry_count < CURSOR_RETRIES_MAX;
         link = link->next) {
        const struct window_parcel *parcel =
            CONTAINER_OF(link, struct window_parcel, link);
        while (old != NULL && old->sequence < parcel->sequence) {
            put_retry(cursor, retries, old->sequence, old->attempts);
            index++;
            old = next_retry(window, cursor->next, &index);
        }
        if (parcel->sequence > cursor->next) {
            put_retry(cursor, retries, parcel->sequence, parcel->attempts);
        }
    }
    for (; old != NULL; old = next_retry(window, cursor->next, &index)) {
        put_retry(cursor, retries, old->sequence, old->attempts);
        index++;
    }
}

bool window_cursor(const struct window *window,
                   struct store_range ranges[CURSOR_RANGES_MAX],
                   struct store_retry retries[CURSOR_RETRIES_MAX],
                   struct store_cursor *out_cursor)
{
    uint64_t floor = window_floor(window);
    struct store_cursor cursor = {
        .next = floor, .ranges = ranges, .retries = retries};
    const struct window_parcel *first =
        list_empty(&window->parcels) ? NULL : parcel_of(window->parcels.next);
    struct window_walk walk = {0};
    struct store_range range;
    bool more = false;

    cursor.attempts = first != NULL && first->sequence == floor
                          ? first->attempts
                          : attempts_of(window, floor);
    while ((more = window_walk(window, &walk, &range)) &&
           cursor.range_count < CURSOR_RANGES_MAX) {
        ranges[cursor.range_count] = range;
        cursor.range_count++;
    }
    put_retries(window, &cursor, retries);
    *out_cursor = cursor;
    return !more;
}

struct window_parcel *window_find(const struct window *window,
                                  uint64_t sequence)
{
    for (struct list *link = window->parcels.next; link != &window->parcels;
         link = link->next) {
        struct window_parcel *parcel = parcel_of(link);
        if (sequence >= parcel->sequence && sequence < parcel->end) {
            return parcel;
        }
    }
    return NULL;
}

struct window_parcel *window_head(const struct window_parcel *parcel)
{
    return parcel->lane == NULL ? (struct window_parcel *)parcel
                                : placed(parcel->lane->parcels.next);
}
