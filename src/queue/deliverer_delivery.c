/* The delivery of one topic from one cursor.
 *
 * The happy path, in one turn of the loop:
 *   - an answer came: the parcel is done, its slot free, the delivery awake;
 *   - in the hook the next record is found (deliverer_find.c), becomes a
 * parcel, gets a slot and is sent while the record is at hand;
 *   - at the end of the hook the cursor is noted, once for all of the turn;
 *   - the loop submits it with everything else.
 *
 * What can go wrong, and the policy: the cursor was moved. All parcels are
 * forgotten; what is in flight is waited for first, so that no message of a
 * lane overtakes another, and nothing is noted of it. Of a single message:
 * deliverer_parcel.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_delivery.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/accept.h"
#include "queue/deliverer_batch.h"
#include "queue/deliverer_find.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_limit.h"
#include "queue/deliverer_line.h"
#include "queue/deliverer_notice.h"
#include "queue/deliverer_parcel.h"
#include "queue/deliverer_reader.h"
#include "queue/deliverer_settle.h"
#include "queue/filter.h"

#include <stdlib.h>

enum {
    /* When what is done and could not be noted is given again. */
    NOTE_AGAIN_MS_MOVING = 10,
    NOTE_AGAIN_MS_NO_ROOM = 1000,
};

static struct io *io_of(const struct delivery *delivery)
{
    return delivery->deliverer->options.io;
}

static struct parcel *parcel_of(struct window_parcel *base)
{
    return CONTAINER_OF(base, struct parcel, base);
}

/* --- the cursor ----------------------------------------------------------- */

static void mark(struct delivery *delivery)
{
    const struct store_cursor *cursor = &delivery->place->cursor;

    delivery->noted = (struct cursor_mark){
        .next = cursor->next,
        .moves = delivery->place->moves,
        .attempts = cursor->attempts,
        .range_count = cursor->range_count,
        .retry_count = cursor->retry_count,
    };
}

void deliverer_delivery_dirty(struct delivery *delivery)
{
    if (!list_linked(&delivery->dirty)) {
        list_append(&delivery->deliverer->dirty, &delivery->dirty);
    }
}

/* Note what is done in the store, besides the cursor. What could not be noted
 * is given again: once a move is over, or in a while. */
static void note_done(struct delivery *delivery, uint64_t first, uint64_t end)
{
    enum store_acked noted = store_acked_add(delivery->place, first, end);

    if (noted != STORE_ACKED_NOTED && delivery->owed == STORE_ACKED_NOTED) {
        delivery->owed = noted;
        io_timer_start(io_of(delivery), &delivery->owed_timer,
                       noted == STORE_ACKED_MOVING ? NOTE_AGAIN_MS_MOVING
                                                   : NOTE_AGAIN_MS_NO_ROOM);
    }
}

/* Nothing is to be given again. */
static void owe_nothing(struct delivery *delivery)
{
    delivery->owed = STORE_ACKED_NOTED;
    if (io_timer_running(&delivery->owed_timer)) {
        io_timer_stop(io_of(delivery), &delivery->owed_timer);
    }
}

static void owed_expired(struct io_timer *timer)
{
    deliverer_delivery_dirty(CONTAINER_OF(timer, struct delivery, owed_timer));
}

void deliverer_delivery_did(struct delivery *delivery,
                            uint64_t first,
                            uint64_t end)
{
    if (delivery->acking) {
        note_done(delivery, first, end);
    }
    deliverer_delivery_dirty(delivery);
}

/* Note all that is done above the floor. */
static void note_all(struct delivery *delivery)
{
    struct window_walk walk = {0};
    struct store_range range;

    owe_nothing(delivery);
    while (delivery->owed == STORE_ACKED_NOTED &&
           window_walk(&delivery->window, &walk, &range)) {
        note_done(delivery, range.first, range.end);
    }
}

/* Tell whether all is to be noted: the first time that there is more than the
 * cursor has, and when some could not be. */
static bool notes_all(const struct delivery *delivery)
{
    return !delivery->acking || delivery->owed == STORE_ACKED_MOVING ||
           (delivery->owed == STORE_ACKED_NO_ROOM &&
            (delivery->stopped || !io_timer_running(&delivery->owed_timer)));
}

void deliverer_delivery_note(struct delivery *delivery)
{
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_retry retries[CURSOR_RETRIES_MAX];
    struct store_cursor cursor;

    deliverer_delivery_follow(delivery);
    bool whole = window_cursor(&delivery->window, ranges, retries, &cursor);
    store_cursor_store(delivery->place, &cursor);
    if (whole) {
        owe_nothing(delivery);
    } else if (notes_all(delivery)) {
        note_all(delivery);
    }
    delivery->acking = !whole || (delivery->acking &&
                                  cursor.range_count > CURSOR_RANGES_MAX / 2);
    if (topic_root(delivery->topic)->collapse_used) {
        accept_delivered(delivery->topic);
    }
    mark(delivery);
}

/* Forget the parcels below a sequence; those in flight are stray. */
static void forget_below(struct delivery *delivery, uint64_t end)
{
    struct window *window = &delivery->window;

    while (!list_empty(&window->parcels)) {
        struct parcel *parcel = parcel_of(
            CONTAINER_OF(window->parcels.next, struct window_parcel, link));
        if (parcel->base.sequence >= end) {
            break;
        }
        window_drop(window, &parcel->base);
        if (parcel->doing == PARCEL_SENDING) {
            parcel->stray = true;
            delivery->strays++;
        } else {
            deliverer_parcel_free(parcel);
        }
    }
}

/* What is kept in order. */
static enum settings_order order_of(const struct delivery *delivery)
{
    enum settings_order order = topic_order(delivery->topic);

    return delivery->settings->batch_count > 0 && order == SETTINGS_ORDER_KEY
               ? SETTINGS_ORDER_TOPIC /* a batch has many keys */
               : order;
}

uint64_t deliverer_delivery_end(const struct delivery *delivery)
{
    uint64_t end = delivery->place->bounds.end;
    uint64_t replay_end = delivery->settings->replay_end;

    return delivery->settings->kind == SETTINGS_KIND_REPLAY && replay_end < end
               ? replay_end
               : end;
}

/* Tell whether each message is one of this delivery, so that the number before
 * one is that of the message before. */
static bool is_plain(const struct delivery *delivery)
{
    return delivery->topic->parent == NULL &&
           !topic_has_subscriptions(delivery->topic);
}

/* A row of ranges that grows. */
struct range_row {
    struct store_range *ranges; /* owned; NULL: none */
    uint32_t count;
    uint32_t room;
};

static enum err row_add(struct range_row *row, struct store_range range)
{
    if (row->count == row->room) {
        uint32_t room = row->room == 0 ? CURSOR_RANGES_MAX : 2 * row->room;
        struct store_range *ranges =
            realloc(row->ranges, room * sizeof(*ranges));
        if (ranges == NULL) {
            return ERR_NOMEM;
        }
        row->ranges = ranges;
        row->room = room;
    }
    row->ranges[row->count] = range;
    row->count++;
    return ERR_OK;
}

/* What is done above the cursor: its ranges, and what is noted besides.
 * Errors: ERR_NOMEM */
static enum err row_fill(struct range_row *row, struct store_topic *place)
{
    const struct store_cursor *cursor = &place->cursor;
    struct store_range noted;
    uint64_t from = cursor->next;
    uint32_t index = 0;
    enum err err = ERR_OK;

    while (err == ERR_OK && store_acked_next(place, from, &noted)) {
        for (; err == ERR_OK && index < cursor->range_count &&
               cursor->ranges[index].first < noted.first;
             index++) {
            err = row_add(row, cursor->ranges[index]);
        }
        if (err == ERR_OK) {
            err = row_add(row, noted);
        }
        from = noted.end;
    }
    for (; err == ERR_OK && index < cursor->range_count; index++) {
        err = row_add(row, cursor->ranges[index]);
    }
    return err;
}

/* Make the window where the cursor is.
 * Errors: ERR_NOMEM */
static enum err window_begin(struct delivery *delivery)
{
    struct store_cursor cursor = delivery->place->cursor;
    struct range_row row = {0};

    enum err err = row_fill(&row, delivery->place);
    if (err == ERR_OK) {
        cursor.ranges = row.ranges;
        cursor.range_count = row.count;
        err = window_init(&delivery->window, order_of(delivery), &cursor,
                          deliverer_delivery_end(delivery), is_plain(delivery));
    }
    delivery->acking = row.count > CURSOR_RANGES_MAX;
    free(row.ranges);
    return err;
}

static void drop_readers(struct delivery *delivery)
{
    deliverer_reader_drop(&delivery->scan);
    deliverer_reader_drop(&delivery->again);
    deliverer_reader_drop(&delivery->sweep);
}

/* Begin anew where the cursor is. Without memory for its ranges they are
 * forgotten: more is repeated then. */
static void restart(struct delivery *delivery)
{
    const struct store_topic *place = delivery->place;

    forget_below(delivery, UINT64_MAX);
    deliverer_line_forget(delivery);
    window_fini(&delivery->window);
    if (window_begin(delivery) != ERR_OK) {
        struct store_cursor bare = {.next = place->cursor.next,
                                    .attempts = place->cursor.attempts};
        enum err err =
            window_init(&delivery->window, order_of(delivery), &bare,
                        deliverer_delivery_end(delivery), is_plain(delivery));
        CHECK(err == ERR_OK); /* it allocates nothing then */
    }
    if (io_timer_running(&delivery->timer)) {
        io_timer_stop(io_of(delivery), &delivery->timer);
    }
    owe_nothing(delivery);
    drop_readers(delivery);
    deliverer_delivery_wake(delivery);
}

/* Messages below the oldest are gone, and with them what is known of them. */
static void trim(struct delivery *delivery)
{
    struct window *window = &delivery->window;
    uint64_t oldest = delivery->place->bounds.oldest;
    struct window_parcel *cut = window_find(window, oldest);

    if (cut != NULL && cut->sequence < oldest) { /* the rest of it is there */
        restart(delivery);
        return;
    }

    forget_below(delivery, oldest);
    window_trim(window, oldest);
    deliverer_delivery_wake(delivery);
}

bool deliverer_delivery_moved(const struct delivery *delivery)
{
    const struct store_cursor *cursor = &delivery->place->cursor;
    const struct cursor_mark *noted = &delivery->noted;

    return cursor->next != noted->next ||
           cursor->range_count != noted->range_count ||
           cursor->retry_count != noted->retry_count;
}

void deliverer_delivery_follow(struct delivery *delivery)
{
    const struct store_topic *place = delivery->place;
    struct window *window = &delivery->window;

    if (deliverer_delivery_moved(delivery)) {
        if (place->moves == delivery->noted.moves &&
            place->bounds.oldest > window_floor(window)) {
            trim(delivery);
        } else {
            restart(delivery);
        }
    } else if (place->cursor.attempts != delivery->noted.attempts &&
               !list_empty(&window->parcels)) {
        /* It was moved to where it stands. */
        CONTAINER_OF(window->parcels.next, struct window_parcel, link)
            ->attempts = place->cursor.attempts;
    }
    mark(delivery);
    uint64_t end = deliverer_delivery_end(delivery);
    window->end = end > window->scan ? end : window->scan;
}

uint32_t deliverer_delivery_concurrency(const struct delivery *delivery)
{
    uint32_t wanted = delivery->settings->concurrency;

    return wanted > 0 ? wanted : DELIVERER_CONCURRENCY;
}

static void timer_expired(struct io_timer *timer)
{
    deliverer_delivery_wake(CONTAINER_OF(timer, struct delivery, timer));
}

/* --- working -------------------------------------------------------------- */

void deliverer_delivery_wake(struct delivery *delivery)
{
    if (!list_linked(&delivery->ready)) {
        list_append(&delivery->deliverer->ready, &delivery->ready);
    }
}

static bool may_begin(const struct delivery *delivery)
{
    return !delivery->paused && !delivery->stopped &&
           !delivery->deliverer->halted && delivery->strays == 0 &&
           delivery->window.order == order_of(delivery);
}

/* Tell whether a parcel is in flight, or what is known of its end on its way to
 * the store. */
static bool is_busy(const struct parcel *parcel)
{
    return parcel->doing == PARCEL_SENDING ||
           (parcel->doing == PARCEL_SETTLING &&
            !io_timer_running(&parcel->timer));
}

/* When another order is to be kept, begin anew, once nothing is in flight: so
 * none of that is sent again. */
static void follow_order(struct delivery *delivery)
{
    const struct window *window = &delivery->window;

    if (window->order == order_of(delivery)) {
        return;
    }
    for (const struct list *link = window->parcels.next;
         link != &window->parcels; link = link->next) {
        if (is_busy(CONTAINER_OF(link, const struct parcel, base.link))) {
            return;
        }
    }
    deliverer_delivery_note(delivery);
    restart(delivery);
    mark(delivery);
}

void deliverer_delivery_read(struct delivery *delivery)
{
    struct deliverer *deliverer = delivery->deliverer;

    while (!list_empty(&delivery->granted) &&
           deliverer_reader_may(&delivery->again)) {
        struct parcel *parcel =
            CONTAINER_OF(delivery->granted.next, struct parcel, wants);
        uint64_t sequence = parcel->base.sequence;
        if (parcel->batch != NULL && parcel->settlement == NULL) {
            if (!deliverer_batch_read(parcel)) {
                return;
            }
            continue;
        }
        enum err err = deliverer_reader_next(&delivery->again, sequence,
                                             &deliverer->record);
        if (err == ERR_AGAIN) {
            return;
        }
        if (err == ERR_OK && deliverer->record.sequence == sequence &&
            parcel->settlement != NULL) {
            list_remove(&parcel->wants);
            deliverer_settle_store(parcel, &deliverer->record);
        } else if (err == ERR_OK && deliverer->record.sequence == sequence) {
            deliverer_parcel_send_again(parcel, &deliverer->record);
        } else if (err == ERR_OK) {
            deliverer_parcel_lose(parcel, "damaged on disk");
        } else if (err == ERR_RANGE) {
            deliverer_parcel_lose(parcel, "no longer kept");
        } else {
            deliverer_parcel_stumble(parcel, err);
        }
    }
}

/* Tell whether the rate allows an attempt now; else a timer runs until it
 * does. */
static bool may_send(struct delivery *delivery)
{
    uint64_t due_ms = 0;

    if (deliverer_limit_allows(delivery, &due_ms)) {
        return true;
    }
    if (!io_timer_running(&delivery->timer)) {
        io_timer_start(io_of(delivery), &delivery->timer,
                       due_ms - io_now_ms(io_of(delivery)));
    }
    return false;
}

/* Begin with one more message, or look at one. Returns whether to go on. */
static bool begin_next(struct delivery *delivery)
{
    struct window *window = &delivery->window;

    if (window->prioritised && window->ready_count < DELIVERER_AHEAD_MAX &&
        deliverer_find_more(delivery)) {
        return true;
    }
    if (delivery->slots >= deliverer_delivery_concurrency(delivery) ||
        !may_send(delivery)) {
        return false;
    }
    struct window_parcel *first = window_first(window);
    if (first != NULL) {
        deliverer_parcel_start(parcel_of(first), NULL);
        return true;
    }
    return deliverer_find_more(delivery);
}

/* Keep the readers for later; those of a delivery with nothing to do go
 * first. */
static void keep_readers(struct delivery *delivery)
{
    struct deliverer *deliverer = delivery->deliverer;
    bool idle = !may_begin(delivery) || !deliverer_find_may(delivery);
    struct reader_line *line =
        idle ? &deliverer->readers_idle : &deliverer->readers;

    if (!delivery->scan.reading) {
        deliverer_reader_keep(&delivery->scan, line);
    }
    if (!delivery->sweep.reading) {
        deliverer_reader_keep(&delivery->sweep, line);
    }
    if (list_empty(&delivery->granted)) {
        deliverer_reader_keep(&delivery->again, line);
    }
}

void deliverer_delivery_work(struct delivery *delivery)
{
    list_remove(&delivery->ready);
    deliverer_delivery_follow(delivery);
    follow_order(delivery);
    deliverer_delivery_read(delivery);
    uint32_t left = DELIVERER_WORK_MAX;
    while (may_begin(delivery) && left > 0 && begin_next(delivery)) {
        left--;
    }
    if (left == 0) {
        deliverer_delivery_wake(delivery);
    }
    keep_readers(delivery);
}

/* Have the filter that the settings say. One that has no sense any more lets
 * nothing pass, for it was there to keep something out.
 * Errors: ERR_NOMEM, ERR_INVALID; the filter is as it was */
static enum err set_filter(struct delivery *delivery)
{
    struct filter_problem problem;
    struct filter *filter = NULL;

    if (delivery->settings->filter != NULL) {
        enum err err = filter_compile(str_from(delivery->settings->filter),
                                      &filter, &problem);
        if (err != ERR_OK) {
            return err;
        }
    }
    filter_destroy(delivery->filter);
    delivery->filter = filter;
    return ERR_OK;
}

/* Go by what the settings say now. What cannot be had stops the delivery, with
 * a line in the log. */
static void apply_settings(struct delivery *delivery)
{
    enum err err = set_filter(delivery);
    const char *url = delivery->settings->url;

    delivery->aim = url != NULL ? str_hash(str_from(url)) : 0;
    if (err == ERR_OK) {
        err = deliverer_limit_set(delivery);
    }
    delivery->paused = delivery->settings->paused || err != ERR_OK;
    if (delivery->paused) {
        delivery->pace_begun_ms = 0; /* what was due meanwhile is no burst */
    }
    if (err != ERR_OK) {
        DIAG_ERROR("delivery_stopped", "topic=%s err=%s",
                   delivery->topic->title, err_text(err));
    }
    deliverer_slow_set(delivery);
}

/* --- for the deliverer ---------------------------------------------------- */

static void watch_moved(struct store_watch *watch)
{
    struct delivery *delivery = CONTAINER_OF(watch, struct delivery, watch);

    deliverer_slow_wake(delivery);
    if (!delivery->scan.reading) {
        deliverer_delivery_wake(delivery);
    }
}

/* Take back what was begun and is not in flight. */
static void rest_all(struct delivery *delivery)
{
    struct window *window = &delivery->window;

    for (struct list *link = window->parcels.next; link != &window->parcels;
         link = link->next) {
        deliverer_parcel_rest(
            parcel_of(CONTAINER_OF(link, struct window_parcel, link)));
    }
    if (io_timer_running(&delivery->timer)) {
        io_timer_stop(io_of(delivery), &delivery->timer);
    }
}

void deliverer_delivery_change(struct delivery *delivery)
{
    apply_settings(delivery);
    deliverer_delivery_follow(delivery);
    rest_all(delivery);
    deliverer_delivery_wake(delivery);
}

void deliverer_delivery_halt(struct delivery *delivery)
{
    struct window *window = &delivery->window;

    if (delivery->slots == 0) {
        return;
    }
    for (struct list *link = window->parcels.next; link != &window->parcels;
         link = link->next) {
        struct parcel *parcel =
            parcel_of(CONTAINER_OF(link, struct window_parcel, link));
        if (parcel->doing == PARCEL_GRANTED ||
            parcel->doing == PARCEL_SIGNING) {
            deliverer_parcel_rest(parcel);
        }
    }
}

uint32_t deliverer_delivery_unsettled(const struct delivery *delivery)
{
    const struct window *window = &delivery->window;
    uint32_t count = 0;

    for (const struct list *link = window->parcels.next;
         link != &window->parcels; link = link->next) {
        const struct parcel *parcel =
            CONTAINER_OF(link, struct parcel, base.link);
        if (parcel->doing == PARCEL_SETTLING &&
            io_timer_running(&parcel->timer)) {
            count++;
        }
    }
    return count;
}

void deliverer_delivery_stop(struct delivery *delivery)
{
    delivery->stopped = true;
    rest_all(delivery);
}

enum err deliverer_delivery_create(struct deliverer *deliverer,
                                   struct topic *topic,
                                   struct delivery **out)
{
    struct delivery *delivery = calloc(1, sizeof(*delivery));

    if (delivery == NULL) {
        return ERR_NOMEM;
    }
    delivery->deliverer = deliverer;
    delivery->topic = topic;
    delivery->place = topic->store;
    delivery->settings = &topic->settings;
    mark(delivery);
    delivery->stopped = deliverer->draining;
    delivery->watch.moved = watch_moved;
    delivery->timer.expired = timer_expired;
    delivery->owed_timer.expired = owed_expired;
    delivery->scan.delivery = delivery;
    delivery->again.delivery = delivery;
    delivery->sweep.delivery = delivery;
    list_init(&delivery->granted);
    enum err err = window_begin(delivery);
    if (err != ERR_OK) {
        free(delivery);
        return err;
    }
    apply_settings(delivery);
    list_append(&deliverer->deliveries, &delivery->link);
    store_watch_add(topic->store, &delivery->watch);
    if (!window_is_done(&delivery->window)) {
        deliverer_delivery_wake(delivery);
    }
    *out = delivery;
    return ERR_OK;
}

/* Free the parcels in flight that no window knows any more. */
static void free_strays(struct delivery *delivery)
{
    struct list *flying = &delivery->deliverer->flying;
    struct list *next = NULL;

    for (struct list *link = flying->next; link != flying; link = next) {
        struct flight *flight = CONTAINER_OF(link, struct flight, link);
        next = link->next;
        if (flight->parcel->delivery == delivery) {
            deliverer_parcel_free(flight->parcel);
        }
    }
}

void deliverer_delivery_destroy(struct delivery *delivery)
{
    if (list_linked(&delivery->dirty) || delivery->owed != STORE_ACKED_NOTED) {
        deliverer_delivery_note(delivery);
    }
    store_watch_remove(&delivery->watch);
    forget_below(delivery, UINT64_MAX);
    free_strays(delivery);
    deliverer_line_clear(delivery);
    window_fini(&delivery->window);
    if (io_timer_running(&delivery->timer)) {
        io_timer_stop(io_of(delivery), &delivery->timer);
    }
    owe_nothing(delivery);
    drop_readers(delivery);
    list_remove(&delivery->ready);
    list_remove(&delivery->dirty);
    list_remove(&delivery->link);
    deliverer_find_end(delivery);
    deliverer_slow_clear(delivery);
    deliverer_limit_clear(delivery);
    filter_destroy(delivery->filter);
    free(delivery);
}
