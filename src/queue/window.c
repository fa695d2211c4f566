/* What of a topic's log is under work.
 *
 * What must stay true:
 *   - parcels ascend; every message below the scan that is none is done;
 *   - of a lane's parcels all but the first are QUEUED, and the first is not;
 *   - a parcel is in `ready` exactly while it is READY; there those of a higher
 *     priority are before the others.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/window.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 64 }; /* a power of two */

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
    skip_done(window);
    return ERR_OK;
}

void window_fini(struct window *window)
{
    CHECK(window->parcel_count == 0);
    for (uint32_t i = 0; i < window->bucket_count; i++) {
        struct window_lane *next = NULL;
        for (struct window_lane *lane = window->buckets[i]; lane != NULL;
             lane = next) {
            next = lane->next;
            free(lane);
        }
    }
    free(window->buckets);
    free(window->done);
    free(window->retries);
    *window = (struct window){0};
}

/* --- lanes of keys -------------------------------------------------------- */

static struct window_lane **place_of(const struct window *window, uint64_t hash)
{
    struct window_lane **place =
        &window->buckets[hash & (window->bucket_count - 1)];

    while (*place != NULL && (*place)->hash != hash) {
        place = &(*place)->next;
    }
    return place;
}

/* Have twice as many buckets. Without memory the old ones do, only slower;
 * but there must be some. */
static enum err grow(struct window *window)
{
    uint32_t count =
        window->bucket_count == 0 ? BUCKETS_FIRST : 2 * window->bucket_count;
    struct window_lane **buckets = calloc(count, sizeof(struct window_lane *));

    if (buckets == NULL) {
        return window->bucket_count == 0 ? ERR_NOMEM : ERR_OK;
    }
    for (uint32_t i = 0; i < window->bucket_count; i++) {
        struct window_lane *next = NULL;
        for (struct window_lane *lane = window->buckets[i]; lane != NULL;
             lane = next) {
            struct window_lane **bucket = &buckets[lane->hash & (count - 1)];
            next = lane->next;
            lane->next = *bucket;
            *bucket = lane;
        }
    }
    free(window->buckets);
    window->buckets = buckets;
    window->bucket_count = count;
    return ERR_OK;
}

static void forget_oldest_lane(struct window *window)
{
    struct list *link = list_take_first(&window->lanes_idle);
    struct window_lane *lane = CONTAINER_OF(link, struct window_lane, idle);
    struct window_lane **place = place_of(window, lane->hash);

    CHECK(*place == lane);
    *place = lane->next;
    window->lane_count--;
    window->lanes_idle_count--;
    free(lane);
}

static enum err
lane_of_key(struct window *window, struct str key, struct window_lane **out)
{
    uint64_t hash = str_hash(key);

    if (window->lane_count >= window->bucket_count && grow(window) != ERR_OK) {
        return ERR_NOMEM;
    }
    struct window_lane **place = place_of(window, hash);
    if (*place == NULL) {
        struct window_lane *lane = calloc(1, sizeof(*lane));
        if (lane == NULL) {
            return ERR_NOMEM;
        }
        lane->hash = hash;
        lane->last = WINDOW_NO_SEQUENCE;
        list_init(&lane->parcels);
        *place = lane;
        window->lane_count++;
    } else if (list_linked(&(*place)->idle)) {
        list_remove(&(*place)->idle);
        window->lanes_idle_count--;
    }
    *out = *place;
    return ERR_OK;
}

/* A lane of a key has no parcels left: keep what it knows for a while. */
static void rest(struct window *window, struct window_lane *lane)
{
    if (lane == &window->whole) {
        return;
    }
    list_append(&window->lanes_idle, &lane->idle);
    window->lanes_idle_count++;
    if (window->lanes_idle_count > WINDOW_LANES_IDLE_MAX) {
        forget_oldest_lane(window);
    }
}

/* The lane of a message; NULL: it is in none. */
static enum err
lane_of(struct window *window, struct str key, struct window_lane **out)
{
    *out = NULL;
    if (window->order == SETTINGS_ORDER_TOPIC) {
        *out = &window->whole;
        return ERR_OK;
    }
    if (window->order == SETTINGS_ORDER_NONE || key.size == 0) {
        return ERR_OK;
    }
    return lane_of_key(window, key, out);
}

/* --- the scan ------------------------------------------------------------- */

uint64_t window_floor(const struct window *window)
{
    return list_empty(&window->parcels)
               ? window->scan
               : parcel_of(window->parcels.next)->sequence;
}

bool window_wants(const struct window *window)
{
    if (window->order == SETTINGS_ORDER_TOPIC && window->parcel_count > 0) {
        return false;
    }
    return window->scan < window->end &&
           window->parcel_count < WINDOW_PARCELS_MAX;
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

enum err window_found(struct window *window,
                      struct window_parcel *parcel,
                      uint64_t sequence,
                      struct str key,
                      uint32_t priority)
{
    CHECK(sequence >= window->scan);
    CHECK(priority < WINDOW_PRIORITIES);
    struct window_lane *lane = NULL;
    if (lane_of(window, key, &lane) != ERR_OK) {
        return ERR_NOMEM;
    }
    parcel->sequence = sequence;
    parcel->end = sequence + 1;
    parcel->priority = priority;
    parcel->lane = lane;
    parcel->previous = lane != NULL ? lane->last : WINDOW_NO_SEQUENCE;
    parcel->attempts = attempts_of(window, sequence);
    parcel->state = PARCEL_QUEUED;
    bool first = lane == NULL || list_empty(&lane->parcels);
    if (lane != NULL) {
        lane->last = sequence;
        list_append(&lane->parcels, &parcel->place);
    }
    list_append(&window->parcels, &parcel->link);
    window->parcel_count++;
    window->prioritised = window->prioritised || priority > 0;
    window_pass(window, sequence + 1);
    if (first) {
        make_ready(window, parcel);
    }
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
    CHECK(list_empty(&window->parcels) || window_floor(window) >= oldest);
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
    if (lane == NULL) {
        return;
    }
    bool first = lane->parcels.next == &parcel->place;
    list_remove(&parcel->place);
    parcel->lane = NULL;
    if (list_empty(&lane->parcels)) {
        rest(window, lane);
    } else if (first) {
        make_ready(window, placed(lane->parcels.next));
    }
}

void window_done(struct window *window, struct window_parcel *parcel)
{
    CHECK(parcel->state != PARCEL_QUEUED);
    window_drop(window, parcel);
}

/* --- looking -------------------------------------------------------------- */

/* Note the gap between two parcels, or behind the last: it is done. */
static void put_range(struct store_cursor *cursor,
                      struct store_range *ranges,
                      uint64_t first,
                      uint64_t end)
{
    if (first < end && cursor->range_count < CURSOR_RANGES_MAX) {
        ranges[cursor->range_count] = (struct store_range){first, end};
        cursor->range_count++;
    }
}

/* What the cursor of old says, and the scan did not come to yet. */
static void put_rest(const struct window *window,
                     struct store_range *ranges,
                     struct store_retry *retries,
                     struct store_cursor *cursor)
{
    for (uint32_t i = window->done_next; i < window->done_count; i++) {
        const struct store_range *done = &window->done[i];
        uint64_t first =
            done->first > window->scan ? done->first : window->scan;
        put_range(cursor, ranges, first, done->end);
    }
    for (uint32_t i = 0;
         i < window->retry_count && cursor->retry_count < CURSOR_RETRIES_MAX;
         i++) {
        if (window->retries[i].sequence >= window->scan &&
            window->retries[i].sequence > cursor->next) {
            retries[cursor->retry_count] = window->retries[i];
            cursor->retry_count++;
        }
    }
}

void window_cursor(const struct window *window,
                   struct store_range ranges[CURSOR_RANGES_MAX],
                   struct store_retry retries[CURSOR_RETRIES_MAX],
                   struct store_cursor *out_cursor)
{
    uint64_t floor = window_floor(window);
    struct store_cursor cursor = {
        .next = floor, .ranges = ranges, .retries = retries};
    uint64_t behind = floor; /* one past the parcel before */

    for (const struct list *link = window->parcels.next;
         link != &window->parcels; link = link->next) {
        const struct window_parcel *parcel =
            CONTAINER_OF(link, struct window_parcel, link);
        put_range(&cursor, ranges, behind, parcel->sequence);
        behind = parcel->end;
        if (parcel->sequence == floor) {
            cursor.attempts = parcel->attempts;
        } else if (parcel->attempts > 0 &&
                   cursor.retry_count < CURSOR_RETRIES_MAX) {
            retries[cursor.retry_count] = (struct store_retry){
                .sequence = parcel->sequence, .attempts = parcel->attempts};
            cursor.retry_count++;
        }
    }
    if (window->parcel_count == 0) {
        cursor.attempts = attempts_of(window, floor);
    } else {
        put_range(&cursor, ranges, behind, window->scan);
    }
    put_rest(window, ranges, retries, &cursor);
    *out_cursor = cursor;
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
