/* The reader of a delivery.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_reader.h"

#include "base/check.h"
#include "queue/deliverer_delivery.h"

static void unkeep(struct delivery *delivery)
{
    if (delivery->kept_in != NULL) {
        list_remove(&delivery->kept);
        delivery->kept_in->count--;
        delivery->kept_in = NULL;
    }
}

/* It no longer waits for the disk; the turn lets others go on. */
static void waits_no_more(struct delivery *delivery)
{
    struct deliverer *deliverer = delivery->deliverer;

    if (!delivery->reading) {
        return;
    }
    delivery->reading = false;
    CHECK(deliverer->reading > 0);
    deliverer->reading--;
}

void deliverer_reader_drop(struct delivery *delivery)
{
    unkeep(delivery);
    waits_no_more(delivery);
    store_reader_destroy(delivery->reader);
    delivery->reader = NULL;
}

void deliverer_reader_keep(struct delivery *delivery, struct reader_line *line)
{
    if (delivery->reading) {
        deliverer_reader_drop(delivery);
    }
    if (delivery->reader == NULL) {
        return;
    }
    unkeep(delivery);
    list_append(&line->list, &delivery->kept);
    line->count++;
    delivery->kept_in = line;
    if (line->count > line->count_max) {
        deliverer_reader_drop(
            CONTAINER_OF(line->list.next, struct delivery, kept));
    }
}

static void ready(struct store_reader *reader)
{
    struct delivery *delivery = reader->user;

    waits_no_more(delivery);
    deliverer_delivery_wake(delivery);
}

enum err deliverer_reader_next(struct delivery *delivery,
                               uint64_t sequence,
                               struct record *out_record)
{
    CHECK(!delivery->reading);
    unkeep(delivery);
    if (delivery->reader == NULL) {
        enum err err =
            store_reader_create(delivery->topic->store, &delivery->reader);
        if (err != ERR_OK) {
            return err;
        }
        delivery->reader->ready = ready;
        delivery->reader->user = delivery;
    }
    enum err err = store_reader_next(delivery->reader, sequence, out_record);
    if (err == ERR_AGAIN) {
        delivery->reading = true;
        delivery->deliverer->reading++;
    }
    return err;
}
