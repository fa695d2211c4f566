/* Several messages as one request.
 *
 * They are read twice: when they are found, to see what goes together, and when
 * there is a slot, to be rendered. Reading may wait for the disk at any of
 * them; what is rendered so far waits in the parcel's flight.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_batch.h"

#include "base/check.h"
#include "queue/deliverer_delivery.h"
#include "queue/deliverer_find.h"
#include "queue/deliverer_outcome.h"
#include "queue/deliverer_parcel.h"
#include "queue/deliverer_reader.h"
#include "queue/outgoing_batch.h"

#include <stdlib.h>
#include <string.h>

struct parcel_batch {
    uint32_t count; /* messages found for it */
    uint64_t bytes; /* of their records */
    char *url;      /* owned: where it went when it was found */
    uint64_t next;  /* to be read, while it is rendered */
    struct outgoing_batch rendered;
};

static bool asks_nothing(const struct message_options *options)
{
    return options == NULL ||
           (options->retries == MESSAGE_RETRIES_UNSET &&
            options->retry_schedule.size == 0 && options->expires_at_ms == 0 &&
            options->callback.size == 0 && options->flow_key.size == 0 &&
            options->failure_callback.size == 0 && options->priority == 0);
}

bool deliverer_batch_fits(const struct delivery *delivery,
                          const struct record *record)
{
    const struct message *message = &record->message;
    struct str method = message->method;

    return delivery->settings->batch_count > 0 && message->blob.size == 0 &&
           (method.size == 0 || str_equal(method, STR("POST"))) &&
           message->timeout_ms == 0 && asks_nothing(message->options);
}

enum err deliverer_batch_begin(struct parcel *parcel,
                               const struct record *record)
{
    struct delivery *delivery = parcel->delivery;
    struct str url = deliverer_find_url_text(delivery, &record->message);
    struct parcel_batch *batch = calloc(1, sizeof(*batch));

    if (batch == NULL) {
        return ERR_NOMEM;
    }
    batch->url = strndup(url.data, url.size);
    if (batch->url == NULL) {
        free(batch);
        return ERR_NOMEM;
    }
    batch->count = 1;
    batch->bytes = record->size;
    parcel->batch = batch;
    delivery->gathering = parcel;
    if (parcel->base.state == PARCEL_READY) {
        deliverer_parcel_delay(parcel, delivery->settings->batch_wait_ms);
    }
    return ERR_OK;
}

bool deliverer_batch_add(struct delivery *delivery, const struct record *record)
{
    struct parcel *parcel = delivery->gathering;

    if (parcel == NULL) {
        return false;
    }
    struct parcel_batch *batch = parcel->batch;
    if (batch->count >= delivery->settings->batch_count ||
        batch->bytes + record->size > OUTGOING_BATCH_SIZE_MAX ||
        !deliverer_batch_fits(delivery, record) ||
        !window_joins(&delivery->window, &parcel->base) ||
        !str_equal(deliverer_find_url_text(delivery, &record->message),
                   str_from(batch->url))) {
        return false;
    }
    window_extend(&delivery->window, &parcel->base, record->sequence + 1);
    batch->count++;
    batch->bytes += record->size;
    return true;
}

bool deliverer_batch_is_full(const struct delivery *delivery)
{
    return delivery->gathering != NULL &&
           delivery->gathering->batch->count >= delivery->settings->batch_count;
}

void deliverer_batch_close(struct delivery *delivery)
{
    struct parcel *parcel = delivery->gathering;

    delivery->gathering = NULL;
    if (parcel != NULL && parcel->base.state == PARCEL_HELD) {
        deliverer_parcel_rest(parcel);
    }
}

uint32_t deliverer_batch_count(const struct parcel *parcel)
{
    return parcel->batch != NULL ? parcel->batch->rendered.count : 1;
}

void deliverer_batch_free(struct parcel *parcel)
{
    if (parcel->delivery->gathering == parcel) {
        parcel->delivery->gathering = NULL;
    }
    if (parcel->batch != NULL) {
        free(parcel->batch->url);
        free(parcel->batch);
        parcel->batch = NULL;
    }
}

/* Have what begins at `at` go in a batch of its own.
 * Errors: ERR_NOMEM */
static enum err divide(struct parcel *parcel, uint64_t at)
{
    struct delivery *delivery = parcel->delivery;
    struct parcel *rest = deliverer_parcel_take(delivery);

    if (rest == NULL) {
        return ERR_NOMEM;
    }
    rest->batch = calloc(1, sizeof(*rest->batch));
    if (rest->batch != NULL) {
        rest->batch->url = strdup(parcel->batch->url);
    }
    if (rest->batch == NULL || rest->batch->url == NULL) {
        deliverer_parcel_free(rest);
        return ERR_NOMEM;
    }
    rest->target = parcel->target;
    rest->target->users++;
    rest->aim = parcel->aim;
    rest->single = parcel->single;
    window_split(&delivery->window, &parcel->base, at, &rest->base);
    return ERR_OK;
}

bool deliverer_batch_split(struct parcel *parcel)
{
    struct window *window = &parcel->delivery->window;
    struct list *link = &parcel->base.link;

    if (parcel->batch == NULL ||
        parcel->base.end == parcel->base.sequence + 1) {
        return false;
    }
    while (CONTAINER_OF(link, struct parcel, base.link)->base.end >
           CONTAINER_OF(link, struct parcel, base.link)->base.sequence + 1) {
        struct parcel *first = CONTAINER_OF(link, struct parcel, base.link);
        enum parcel_state state = first->base.state;
        if (state == PARCEL_READY) { /* in no lane: it is not sent meanwhile */
            window_take(window, &first->base);
        }
        enum err err = divide(first, first->base.sequence + 1);
        if (state == PARCEL_READY) {
            window_ready(window, &first->base, false);
        }
        if (err != ERR_OK) {
            break; /* what is left goes together, once more */
        }
        link = link->next;
    }
    return true;
}

/* --- rendering ------------------------------------------------------------ */

/* Add a message that was read, if it is still to go. An error: the batch ends
 * before it. */
static enum err add(struct parcel *parcel, const struct record *record)
{
    struct delivery *delivery = parcel->delivery;

    if (!deliverer_find_wants(delivery, record) ||
        deliverer_find_collapse(delivery, record) == ACCEPT_SUPERSEDED) {
        return ERR_OK;
    }
    enum err err = outgoing_batch_add(&parcel->batch->rendered,
                                      record->sequence, &record->message);
    if (err == ERR_TOO_LARGE && record->sequence > parcel->base.sequence) {
        err = divide(parcel, record->sequence);
        return err == ERR_OK ? ERR_RANGE : err;
    }
    return err;
}

/* Read on. Errors: ERR_AGAIN; those of reading and rendering */
static enum err read_all(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    struct parcel_batch *batch = parcel->batch;
    struct record *record = &delivery->deliverer->record;

    while (batch->next < parcel->base.end) {
        enum err err =
            deliverer_reader_next(&delivery->again, batch->next, record);
        if (err == ERR_RANGE && batch->next < delivery->place->bounds.oldest) {
            batch->next = delivery->place->bounds.oldest;
            continue;
        }
        if (err != ERR_OK) {
            return err;
        }
        if (record->sequence >= parcel->base.end) {
            break; /* the last of them are lost */
        }
        err = add(parcel, record);
        if (err == ERR_RANGE) {
            break;
        }
        if (err != ERR_OK) {
            return err;
        }
        batch->next = record->sequence + 1;
    }
    return ERR_OK;
}

/* All is read: send it. */
static void finish(struct parcel *parcel)
{
    struct parcel_batch *batch = parcel->batch;
    struct outgoing_context context;
    struct url url;
    const char *reason = NULL;

    if (batch->rendered.count == 0) { /* nothing of it is there any more */
        deliverer_parcel_done(parcel);
        return;
    }
    const char *said = parcel->delivery->settings->url; /* now */
    enum err err =
        url_parse(str_from(said != NULL ? said : batch->url), &url, &reason);
    if (err != ERR_OK) {
        deliverer_outcome_refuse(parcel, ERR_PROTOCOL, reason);
        return;
    }
    deliverer_parcel_context(parcel, &url, &context);
    err = outgoing_batch_end(&batch->rendered, &context);
    deliverer_parcel_rendered(parcel, NULL, err);
}

bool deliverer_batch_read(struct parcel *parcel)
{
    struct parcel_batch *batch = parcel->batch;

    if (parcel->flight == NULL) {
        deliverer_parcel_board(parcel);
        batch->next = parcel->base.sequence;
        outgoing_batch_begin(&batch->rendered, &parcel->flight->outgoing,
                             topic_root(parcel->delivery->topic),
                             parcel->delivery->settings->batch_format,
                             deliverer_parcel_events(parcel));
    }
    enum err err = read_all(parcel);
    if (err == ERR_AGAIN) {
        return false;
    }
    list_remove(&parcel->wants);
    if (err != ERR_OK) {
        deliverer_parcel_stumble(parcel, err);
    } else {
        finish(parcel);
    }
    return true;
}
