/* Which messages a delivery finds, and what becomes of them.
 *
 * Two places are read: the scan, where what is new is looked at once, and what
 * was set aside, which a sweep goes through when there is room (window.h).
 *
 * What can go wrong, and the policy:
 *   - a record cannot be read: the delivery waits a while and tries again;
 *   - it is lost (quarantined, or dropped by retention): delivery goes on
 *     behind it, and a line in the log says so.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_find.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/deliverer_batch.h"
#include "queue/deliverer_delivery.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_limit.h"
#include "queue/deliverer_line.h"
#include "queue/deliverer_parcel.h"
#include "queue/deliverer_reader.h"
#include "queue/filter.h"
#include "queue/replays.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct io *io_of(const struct delivery *delivery)
{
    return delivery->deliverer->options.io;
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

struct str deliverer_find_url_text(const struct delivery *delivery,
                                   const struct message *message)
{
    return delivery->settings->url != NULL ? str_from(delivery->settings->url)
                                           : message->url;
}

enum err deliverer_find_url(struct delivery *delivery,
                            const struct record *record,
                            struct url *out_url,
                            const char **out_reason)
{
    struct url_memo *memo = &delivery->deliverer->urls;
    struct str text = deliverer_find_url_text(delivery, &record->message);

    if (url_memo_find(memo, text, out_url)) {
        return ERR_OK;
    }
    enum err err = url_parse(text, out_url, out_reason);
    if (err == ERR_OK) {
        url_memo_put(memo, text, out_url);
    }
    return err;
}

void deliverer_find_end(struct delivery *delivery)
{
    if (delivery->last != NULL) {
        delivery->last->other_users--;
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
        last->other_users++;
        deliverer_find_end(delivery);
        delivery->last = last;
    }
    last->users++;
    *out = last;
    return ERR_OK;
}

enum err deliverer_find_aim(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    struct deliverer_target *target = NULL;
    struct url url;
    const char *reason = NULL;

    if (parcel->aim == delivery->aim || delivery->settings->url == NULL) {
        return ERR_OK;
    }
    if (url_parse(str_from(delivery->settings->url), &url, &reason) == ERR_OK) {
        enum err err = target_use(delivery, &url, &target);
        if (err != ERR_OK) {
            return err;
        }
    }
    deliverer_target_release(parcel->target);
    parcel->target = target;
    parcel->aim = delivery->aim;
    return ERR_OK;
}

/* What is needed to go on with a message is not there: look again later. */
static void stumble(struct delivery *delivery, uint64_t sequence, enum err err)
{
    struct deliverer *deliverer = delivery->deliverer;
    uint32_t times = delivery->unreadable + 1;

    delivery->unreadable = times;
    if (deliverer_worth_a_line(times)) {
        DIAG_WARN("delivery_unreadable",
                  "topic=%s seq=%" PRIu64 " times=%u err=%s",
                  delivery->topic->title, sequence, times, err_text(err));
    }
    io_timer_start(
        io_of(delivery), &delivery->timer,
        retry_delay_ms(&deliverer->policy, times, &deliverer->random));
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
bool deliverer_find_wants(const struct delivery *delivery,
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

enum accept_collapse deliverer_find_collapse(const struct delivery *delivery,
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

static struct str key_of(const struct record *record)
{
    const struct message_options *options = record->message.options;

    return options != NULL ? options->key : (struct str){0};
}

static uint32_t priority_of(const struct record *record)
{
    const struct message_options *options = record->message.options;

    return options != NULL ? options->priority : 0;
}

/* Make a parcel of a message, which is in no window yet, and fill in its record
 * and URL.
 * Errors: ERR_NOMEM */
static enum err make_parcel(struct delivery *delivery,
                            const struct record *record,
                            struct parcel_message *out_message,
                            struct parcel **out)
{
    struct parcel *parcel = deliverer_parcel_take(delivery);
    const char *reason = NULL;

    if (parcel == NULL) {
        return ERR_NOMEM;
    }
    *out_message = (struct parcel_message){.record = record};
    parcel->pushed_at_ms = record->message.pushed_at_ms;
    parcel->aim = delivery->aim;
    enum err err = parcel_options(parcel, record->message.options);
    if (err == ERR_OK && deliverer_find_url(delivery, record, &out_message->url,
                                            &reason) == ERR_OK) {
        err = target_use(delivery, &out_message->url, &parcel->target);
    }
    if (err != ERR_OK) {
        deliverer_parcel_free(parcel);
        return err;
    }
    *out = parcel;
    return ERR_OK;
}

/* A parcel is in the window: begin, if it may. */
static void begin(struct parcel *parcel, const struct parcel_message *message)
{
    /* With priorities, those found first are not always sent first. */
    if (!parcel->delivery->window.prioritised &&
        parcel->base.state == PARCEL_READY) {
        deliverer_parcel_start(parcel, message);
    }
}

/* Set a message aside that was found and could not be sent for long. */
static enum err set_aside(struct delivery *delivery,
                          const struct record *record,
                          struct window_group *group)
{
    enum err err = window_set_aside(&delivery->window, record->sequence,
                                    key_of(record), group);

    return err == ERR_FULL ? ERR_AGAIN : err; /* when a parcel is done */
}

/* A message of this delivery was found: it is a parcel, or set aside. */
static enum err found_one(struct delivery *delivery,
                          const struct record *record)
{
    struct window *window = &delivery->window;
    struct parcel_message message;
    struct parcel *parcel = NULL;

    if (!window_admits(window, key_of(record))) {
        return set_aside(delivery, record, NULL);
    }
    enum err err = make_parcel(delivery, record, &message, &parcel);
    if (err != ERR_OK) {
        return err;
    }
    struct window_group *group = delivery->settings->batch_count == 0
                                     ? deliverer_line_blocks(parcel)
                                     : NULL;
    err = group != NULL ? set_aside(delivery, record, group)
                        : window_found(window, &parcel->base, record->sequence,
                                       key_of(record), priority_of(record));
    if (err != ERR_OK || group != NULL) {
        deliverer_parcel_free(parcel);
        return err;
    }
    if (!deliverer_batch_fits(delivery, record) ||
        deliverer_batch_begin(parcel, record) != ERR_OK) {
        begin(parcel, &message);
    }
    return ERR_OK;
}

/* A message was read at the scan. */
static enum err found(struct delivery *delivery, const struct record *record)
{
    struct window *window = &delivery->window;

    if (record->sequence > window->scan) {
        say_skipped(delivery, window->scan, record->sequence,
                    "damaged on disk");
        window_lose(window, record->sequence);
        deliverer_delivery_dirty(delivery);
        if (window->scan > record->sequence) { /* it was delivered before */
            return ERR_OK;
        }
    }
    enum accept_collapse collapse = deliverer_find_collapse(delivery, record);
    if (collapse == ACCEPT_WAIT) {
        return ERR_AGAIN; /* we are told when it is known */
    }
    if (collapse == ACCEPT_SUPERSEDED ||
        !deliverer_find_wants(delivery, record)) {
        window_pass(window, record->sequence + 1);
        deliverer_delivery_did(delivery, record->sequence,
                               record->sequence + 1);
        return ERR_OK;
    }
    if (deliverer_batch_add(delivery, record)) {
        if (deliverer_batch_is_full(delivery)) {
            deliverer_batch_close(delivery);
        }
        return ERR_OK;
    }
    deliverer_batch_close(delivery);
    return found_one(delivery, record);
}

/* A message that was set aside was read once more. */
static enum err came_back(struct delivery *delivery,
                          const struct record *record)
{
    struct window *window = &delivery->window;
    struct str key = key_of(record);
    struct parcel_message message;
    struct parcel *parcel = NULL;

    enum accept_collapse collapse = deliverer_find_collapse(delivery, record);
    if (collapse == ACCEPT_WAIT) {
        return ERR_AGAIN;
    }
    if (collapse == ACCEPT_SUPERSEDED ||
        !deliverer_find_wants(delivery, record)) {
        window_sweep_pass(window, key);
        deliverer_delivery_did(delivery, record->sequence,
                               record->sequence + 1);
        return ERR_OK;
    }
    if (!window_sweep_admits(window, key)) {
        window_leave(window, key, NULL);
        return ERR_OK;
    }
    enum err err = make_parcel(delivery, record, &message, &parcel);
    if (err != ERR_OK) {
        return err;
    }
    struct window_group *group = deliverer_line_blocks(parcel);
    if (group != NULL) {
        window_leave(window, key, group);
        deliverer_parcel_free(parcel);
        return ERR_OK;
    }
    window_take_back(window, &parcel->base, key, priority_of(record),
                     deliverer_line_group(parcel));
    begin(parcel, &message);
    return ERR_OK;
}

/* Retention took what was to be looked at: go on with the oldest there is. */
static void overtaken(struct delivery *delivery)
{
    struct window *window = &delivery->window;
    uint64_t oldest = delivery->place->bounds.oldest;

    if (oldest <= window->scan) { /* the store contradicts itself */
        stumble(delivery, window->scan, ERR_RANGE);
        return;
    }
    say_skipped(delivery, window->scan, oldest, "no longer kept");
    window_lose(window, oldest);
    deliverer_delivery_dirty(delivery);
}

bool deliverer_find_may(const struct delivery *delivery)
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
    return deliverer_find_may(delivery);
}

/* Look at the next message of the scan. Returns whether to go on. */
static bool find_ahead(struct delivery *delivery)
{
    struct record *record = &delivery->deliverer->record;

    if (!deliverer_find_may(delivery) || io_timer_running(&delivery->timer) ||
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
        stumble(delivery, delivery->window.scan, err);
    }
    return err == ERR_OK;
}

/* Look at a message of those set aside, if any may go. Returns whether to go
 * on. */
static bool sweep_next(struct delivery *delivery)
{
    struct window *window = &delivery->window;
    struct record *record = &delivery->deliverer->record;
    uint64_t sequence = window_sweep(window);

    if (sequence == WINDOW_NO_SEQUENCE) {
        if (delivery->sweeping) {
            deliverer_line_tidy(delivery);
        }
        delivery->sweeping = false;
        return false;
    }
    delivery->sweeping = true;
    if (window->parcel_count >= WINDOW_PARCELS_MAX ||
        io_timer_running(&delivery->timer) ||
        !deliverer_reader_may(&delivery->sweep)) {
        return false;
    }
    enum err err = deliverer_reader_next(&delivery->sweep, sequence, record);
    if (err == ERR_OK && record->sequence == sequence) {
        err = came_back(delivery, record);
    } else if (err == ERR_OK || err == ERR_RANGE || err == ERR_NOT_FOUND) {
        uint64_t end = err == ERR_OK ? record->sequence : sequence + 1;
        say_skipped(delivery, sequence, end,
                    err == ERR_RANGE ? "no longer kept" : "damaged on disk");
        window_sweep_lose(window, end);
        deliverer_delivery_dirty(delivery);
        return true;
    }
    if (err != ERR_OK && err != ERR_AGAIN) {
        stumble(delivery, sequence, err);
    }
    return err == ERR_OK;
}

/* Look at the next message, unless all that it could do is wait: where all go
 * to one target, or in batches, none is set aside for its target. */
static bool look_further(struct delivery *delivery)
{
    const struct settings *settings = delivery->settings;
    bool may_set_aside = settings->url == NULL && settings->batch_count == 0;

    return (may_set_aside || delivery->waiting < DELIVERER_WAITING_MAX) &&
           find_ahead(delivery);
}

bool deliverer_find_more(struct delivery *delivery)
{
    delivery->scans_first = !delivery->scans_first;
    return delivery->scans_first
               ? look_further(delivery) || sweep_next(delivery)
               : sweep_next(delivery) || look_further(delivery);
}
