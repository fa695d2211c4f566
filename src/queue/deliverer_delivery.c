/* The delivery of one topic from one cursor.
 *
 * The happy path, in one turn of the loop:
 *   - an answer came: the parcel is done, its slot free, the delivery awake;
 *   - in the hook the next record is read, becomes a parcel, gets a slot and is
 *     sent while the record is at hand;
 *   - at the end of the hook the cursor is noted, once for all of the turn;
 *   - the loop submits it with everything else.
 *
 * What can go wrong, and the policy:
 *   - a record cannot be read: the delivery waits a while and tries again;
 *   - it is lost (quarantined, or dropped by retention): delivery goes on
 *     behind it, and a line in the log says so;
 *   - the cursor was moved: all parcels are forgotten; what is in flight is
 *     waited for first, so that no message of a lane overtakes another, and
 *     nothing is noted of it.
 * Of a single message: deliverer_parcel.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_delivery.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/accept.h"
#include "queue/deliverer_batch.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_limit.h"
#include "queue/deliverer_notice.h"
#include "queue/deliverer_parcel.h"
#include "queue/deliverer_quota.h"
#include "queue/deliverer_reader.h"
#include "queue/deliverer_settle.h"
#include "queue/filter.h"
#include "queue/replays.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct io *io_of(const struct delivery *delivery)
{
    return delivery->deliverer->options.io;
}

static struct parcel *parcel_of(struct window_parcel *base)
{
    return CONTAINER_OF(base, struct parcel, base);
}

static void say_skipped(const struct delivery *delivery,
                        uint64_t first,
                        uint64_t end,
                        const char *reason)
{
    DIAG_WARN("delivery_skipped",
              "topic=%s seq=%" PRIu64 " to=%" PRIu64 " reason=%s",
              delivery->topic->title, first, end - 1, reason);
}

/* --- the cursor ----------------------------------------------------------- */

static void mark(struct delivery *delivery)
{
    const struct store_cursor *cursor = &delivery->place->cursor;

    delivery->noted = (struct cursor_mark){
        .next = cursor->next,
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

void deliverer_delivery_note(struct delivery *delivery)
{
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_retry retries[CURSOR_RETRIES_MAX];
    struct store_cursor cursor;

    deliverer_delivery_follow(delivery);
    window_cursor(&delivery->window, ranges, retries, &cursor);
    store_cursor_store(delivery->place, &cursor);
    if (topic_root(delivery->topic)->collapse_used) {
        accept_delivered(delivery->topic);
    }
    mark(delivery);
}

/* Forget all parcels; those in flight are stray. */
static void forget(struct delivery *delivery)
{
    struct window *window = &delivery->window;

    while (!list_empty(&window->parcels)) {
        struct parcel *parcel = parcel_of(
            CONTAINER_OF(window->parcels.next, struct window_parcel, link));
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

/* One past the last message to deliver; a replay has an end of its own. */
static uint64_t end_of(const struct delivery *delivery)
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

static enum err window_begin(struct delivery *delivery)
{
    return window_init(&delivery->window, order_of(delivery),
                       &delivery->place->cursor, end_of(delivery),
                       is_plain(delivery));
}

/* Begin anew where the cursor is. Without memory for its ranges they are
 * forgotten: more is repeated then. */
static void restart(struct delivery *delivery)
{
    const struct store_topic *place = delivery->place;

    forget(delivery);
    window_fini(&delivery->window);
    if (window_begin(delivery) != ERR_OK) {
        struct store_cursor bare = {.next = place->cursor.next,
                                    .attempts = place->cursor.attempts};
        enum err err = window_init(&delivery->window, order_of(delivery), &bare,
                                   end_of(delivery), is_plain(delivery));
        CHECK(err == ERR_OK); /* it allocates nothing then */
    }
    if (io_timer_running(&delivery->timer)) {
        io_timer_stop(io_of(delivery), &delivery->timer);
    }
    deliverer_reader_drop(&delivery->scan);
    deliverer_reader_drop(&delivery->again);
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

    while (!list_empty(&window->parcels) && window_floor(window) < oldest) {
        struct parcel *parcel = parcel_of(
            CONTAINER_OF(window->parcels.next, struct window_parcel, link));
        window_drop(window, &parcel->base);
        if (parcel->doing == PARCEL_SENDING) {
            parcel->stray = true;
            delivery->strays++;
        } else {
            deliverer_parcel_free(parcel);
        }
    }
    window_trim(window, oldest);
    deliverer_delivery_wake(delivery);
}

static bool has_moved(const struct delivery *delivery)
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

    if (has_moved(delivery)) {
        if (place->bounds.oldest > window_floor(window)) {
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
    uint64_t end = end_of(delivery);
    window->end = end > window->scan ? end : window->scan;
}

/* --- finding -------------------------------------------------------------- */

uint32_t deliverer_delivery_concurrency(const struct delivery *delivery)
{
    uint32_t wanted = delivery->settings->concurrency;

    return wanted > 0 ? wanted : DELIVERER_CONCURRENCY;
}

enum err deliverer_delivery_url(struct delivery *delivery,
                                const struct record *record,
                                struct url *out_url,
                                const char **out_reason)
{
    struct url_memo *memo = &delivery->deliverer->urls;
    struct str text = delivery->settings->url != NULL
                          ? str_from(delivery->settings->url)
                          : record->message.url;

    if (url_memo_find(memo, text, out_url)) {
        return ERR_OK;
    }
    enum err err = url_parse(text, out_url, out_reason);
    if (err == ERR_OK) {
        url_memo_put(memo, text, out_url);
    }
    return err;
}

static void last_release(struct delivery *delivery)
{
    if (delivery->last != NULL) {
        delivery->last->last_users--;
        deliverer_target_release(delivery->last);
        delivery->last = NULL;
    }
}

/* Have a use of the target of a URL; most are that of the message before. */
static enum err target_use(struct delivery *delivery,
                           const struct url *url,
                           struct deliverer_target **out)
{
    struct deliverer_target *last = delivery->last;

    if (last == NULL || !url_same_endpoint(&last->url, url)) {
        enum err err =
            deliverer_target_acquire(delivery->deliverer, url, &last);
        if (err != ERR_OK) {
            return err;
        }
        last->last_users++;
        last_release(delivery);
        delivery->last = last;
    }
    last->users++;
    *out = last;
    return ERR_OK;
}

/* What is needed to go on is not there: look again later. */
static void stumble(struct delivery *delivery, enum err err)
{
    struct deliverer *deliverer = delivery->deliverer;
    uint32_t times = delivery->unreadable + 1;

    delivery->unreadable = times;
    if ((times & (times - 1)) == 0) {
        DIAG_WARN("delivery_unreadable",
                  "topic=%s seq=%" PRIu64 " times=%u err=%s",
                  delivery->topic->title, delivery->window.scan, times,
                  err_text(err));
    }
    io_timer_start(
        io_of(delivery), &delivery->timer,
        retry_delay_ms(&deliverer->policy, times, &deliverer->random));
}

static void timer_expired(struct io_timer *timer)
{
    deliverer_delivery_wake(CONTAINER_OF(timer, struct delivery, timer));
}

/* Tell whether a mirror gets a message: a share of them, spread evenly, and the
 * same ones each time. */
static bool is_sampled(const struct settings *settings, uint64_t sequence)
{
    enum { MILLION = 1000000 };
    struct retry_random random = {.state = sequence};

    return retry_random_next(&random) % MILLION < settings->share_ppm;
}

bool deliverer_replays(const struct settings *settings,
                       const struct filter *filter,
                       const struct message *message)
{
    struct str only = message->options != NULL ? message->options->subscription
                                               : (struct str){0};
    bool addressed = message->url.size > 0;

    if (only.size > 0 && !str_equal(only, str_from(settings->replay_of))) {
        return false;
    }
    return (settings->replay_of != NULL ? !addressed
                                        : addressed || settings->url != NULL) &&
           filter_matches(filter, message);
}

/* Tell whether a message is for this delivery: those with a URL are the
 * topic's, the others its subscriptions'. Mirrors and replays see both. */
bool deliverer_delivery_wants(const struct delivery *delivery,
                              const struct record *record)
{
    const struct topic *topic = delivery->topic;
    const struct settings *settings = delivery->settings;
    const struct message *message = &record->message;
    struct str only = message->options != NULL ? message->options->subscription
                                               : (struct str){0};
    bool addressed = message->url.size > 0;

    if (topic->parent == NULL) {
        return addressed;
    }
    if (settings->kind == SETTINGS_KIND_REPLAY) {
        return deliverer_replays(settings, delivery->filter, message);
    }
    if (only.size > 0 && !str_equal(only, topic->store->name_str)) {
        return false;
    }
    switch (settings->kind) {
    case SETTINGS_KIND_PUSH:
        return !addressed && filter_matches(delivery->filter, message);
    case SETTINGS_KIND_MIRROR:
        return is_sampled(settings, record->sequence) &&
               filter_matches(delivery->filter, message);
    default:
        return false;
    }
}

enum accept_collapse
deliverer_delivery_collapse(const struct delivery *delivery,
                            const struct record *record)
{
    const struct message_options *options = record->message.options;

    if (options == NULL || options->collapse.size == 0 ||
        delivery->settings->kind == SETTINGS_KIND_REPLAY) {
        return ACCEPT_SEND;
    }
    return accept_collapse(delivery->topic, options->collapse,
                           record->sequence);
}

/* Keep what a message says about its own delivery.
 * Errors: ERR_NOMEM */
static enum err parcel_options(struct parcel *parcel,
                               const struct message_options *options)
{
    enum settings_kind kind = parcel->delivery->settings->kind;

    /* Copies are tried as their replay or mirror says, and tell nobody. */
    if (options == NULL || kind == SETTINGS_KIND_REPLAY ||
        kind == SETTINGS_KIND_MIRROR) {
        return ERR_OK;
    }
    parcel->retries = options->retries;
    parcel->expires_at_ms = options->expires_at_ms;
    parcel->calls_back = options->callback.size > 0;
    parcel->flow = deliverer_limit_flow(parcel->delivery, options->flow_key);
    if (options->retry_schedule.size > 0) {
        parcel->retry_schedule =
            strndup(options->retry_schedule.data, options->retry_schedule.size);
        if (parcel->retry_schedule == NULL) {
            return ERR_NOMEM;
        }
    }
    return ERR_OK;
}

/* Make a parcel of a record that was read. */
static enum err found(struct delivery *delivery, const struct record *record)
{
    struct window *window = &delivery->window;
    const struct message_options *options = record->message.options;
    struct parcel_message message = {.record = record};
    const char *reason = NULL;

    if (record->sequence > window->scan) {
        say_skipped(delivery, window->scan, record->sequence,
                    "damaged on disk");
        window_lose(window, record->sequence);
        deliverer_delivery_dirty(delivery);
        if (window->scan > record->sequence) { /* it was delivered before */
            return ERR_OK;
        }
    }
    enum accept_collapse collapse =
        deliverer_delivery_collapse(delivery, record);
    if (collapse == ACCEPT_WAIT) {
        return ERR_AGAIN; /* we are told when it is known */
    }
    if (collapse == ACCEPT_SUPERSEDED ||
        !deliverer_delivery_wants(delivery, record)) {
        window_pass(window, record->sequence + 1);
        deliverer_delivery_dirty(delivery);
        return ERR_OK;
    }
    if (deliverer_batch_add(delivery, record)) {
        if (deliverer_batch_is_full(delivery)) {
            deliverer_batch_close(delivery);
        }
        return ERR_OK;
    }
    deliverer_batch_close(delivery);
    struct parcel *parcel = deliverer_parcel_take(delivery);
    if (parcel == NULL) {
        return ERR_NOMEM;
    }
    parcel->pushed_at_ms = record->message.pushed_at_ms;
    enum err err = parcel_options(parcel, options);
    if (err == ERR_OK && deliverer_delivery_url(delivery, record, &message.url,
                                                &reason) == ERR_OK) {
        err = target_use(delivery, &message.url, &parcel->target);
    }
    if (err == ERR_OK) {
        err = window_found(window, &parcel->base, record->sequence,
                           options != NULL ? options->key : (struct str){0},
                           options != NULL ? options->priority : 0);
    }
    if (err != ERR_OK) {
        deliverer_parcel_free(parcel);
        return err;
    }
    if (deliverer_batch_fits(delivery, record) &&
        deliverer_batch_begin(parcel, record) == ERR_OK) {
        return ERR_OK;
    }
    /* With priorities, those found first are not always sent first. */
    if (window->prioritised || parcel->base.state != PARCEL_READY) {
        return ERR_OK;
    }
    deliverer_parcel_start(parcel, &message);
    return ERR_OK;
}

/* Retention took what was to be looked at: go on with the oldest there is. */
static void overtaken(struct delivery *delivery)
{
    struct window *window = &delivery->window;
    uint64_t oldest = delivery->place->bounds.oldest;

    if (oldest <= window->scan) { /* the store contradicts itself */
        stumble(delivery, ERR_RANGE);
        return;
    }
    say_skipped(delivery, window->scan, oldest, "no longer kept");
    window_lose(window, oldest);
    deliverer_delivery_dirty(delivery);
}

/* Tell whether a message is to be looked at: for a parcel of its own, or to go
 * with the batch that is being gathered. */
static bool wants_more(const struct delivery *delivery)
{
    const struct window *window = &delivery->window;

    return delivery->gathering != NULL ? window->scan < window->end
                                       : window_wants(window);
}

/* Of a replay of what failed: pass over what did not. Returns false when that
 * is not known yet; then the delivery is woken. */
static bool pass_others(struct delivery *delivery)
{
    struct window *window = &delivery->window;
    uint64_t next = window->scan;

    if (!replays_next(delivery->topic, window->scan, &next)) {
        return false;
    }
    next = next < window->end ? next : window->end;
    if (next > window->scan) {
        window_pass(window, next);
        deliverer_delivery_dirty(delivery);
    }
    return wants_more(delivery);
}

/* Look at the next message. Returns whether to go on. */
static bool scan_next(struct delivery *delivery)
{
    struct record *record = &delivery->deliverer->record;

    if (!wants_more(delivery) || io_timer_running(&delivery->timer) ||
        !deliverer_reader_may(&delivery->scan) ||
        (delivery->settings->replay_failed && !pass_others(delivery))) {
        return false;
    }
    enum err err =
        deliverer_reader_next(&delivery->scan, delivery->window.scan, record);
    if (err == ERR_AGAIN) { /* it wakes the delivery */
        return false;
    }
    if (err == ERR_NOT_FOUND) {
        delivery->window.end = delivery->window.scan;
        return false;
    }
    if (err == ERR_RANGE) {
        overtaken(delivery);
        return true;
    }
    if (err == ERR_OK) {
        delivery->unreadable = 0;
        err = found(delivery, record);
    }
    if (err != ERR_OK && err != ERR_AGAIN) {
        stumble(delivery, err);
    }
    return err == ERR_OK;
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
           !delivery->deliverer->halted && delivery->strays == 0;
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
        scan_next(delivery)) {
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
    return delivery->waiting + delivery->crowded < DELIVERER_WAITING_MAX &&
           scan_next(delivery);
}

/* Keep the readers for later; those of a delivery with nothing to do go
 * first. */
static void keep_readers(struct delivery *delivery)
{
    struct deliverer *deliverer = delivery->deliverer;
    bool idle = !may_begin(delivery) || !wants_more(delivery);
    struct reader_line *line =
        idle ? &deliverer->readers_idle : &deliverer->readers;

    if (!delivery->scan.reading) {
        deliverer_reader_keep(&delivery->scan, line);
    }
    if (list_empty(&delivery->granted)) {
        deliverer_reader_keep(&delivery->again, line);
    }
}

void deliverer_delivery_work(struct delivery *delivery)
{
    list_remove(&delivery->ready);
    deliverer_delivery_follow(delivery);
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
    if (delivery->window.order != order_of(delivery)) {
        restart(delivery);
    }
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
    delivery->scan.delivery = delivery;
    delivery->again.delivery = delivery;
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
    if (list_linked(&delivery->dirty)) {
        deliverer_delivery_note(delivery);
    }
    store_watch_remove(&delivery->watch);
    forget(delivery);
    free_strays(delivery);
    window_fini(&delivery->window);
    if (io_timer_running(&delivery->timer)) {
        io_timer_stop(io_of(delivery), &delivery->timer);
    }
    deliverer_reader_drop(&delivery->scan);
    deliverer_reader_drop(&delivery->again);
    list_remove(&delivery->ready);
    list_remove(&delivery->dirty);
    list_remove(&delivery->link);
    last_release(delivery);
    deliverer_slow_clear(delivery);
    deliverer_limit_clear(delivery);
    deliverer_quota_clear(delivery);
    filter_destroy(delivery->filter);
    free(delivery);
}
