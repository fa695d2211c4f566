/* The readers of a delivery.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_reader.h"

#include "base/check.h"
#include "queue/deliverer_delivery.h"

static void unkeep(struct delivery_reader *reader)
{
    if (reader->kept_in != NULL) {
        list_remove(&reader->kept);
        reader->kept_in->count--;
        reader->kept_in = NULL;
    }
}

/* It no longer waits for the disk; the turn lets others go on. */
static void waits_no_more(struct delivery_reader *reader)
{
    struct deliverer *deliverer = reader->delivery->deliverer;

    if (!reader->reading) {
        return;
    }
    reader->reading = false;
    CHECK(deliverer->reading > 0);
    deliverer->reading--;
}

void deliverer_reader_drop(struct delivery_reader *reader)
{
    unkeep(reader);
    waits_no_more(reader);
    store_reader_destroy(reader->reader);
    reader->reader = NULL;
}

void deliverer_reader_keep(struct delivery_reader *reader,
                           struct reader_line *line)
{
    if (reader->reading) {
        deliverer_reader_drop(reader);
    }
    if (reader->reader == NULL) {
        return;
    }
    unkeep(reader);
    list_append(&line->list, &reader->kept);
    line->count++;
    reader->kept_in = line;
    if (line->count > line->count_max) {
        deliverer_reader_drop(
            CONTAINER_OF(line->list.next, struct delivery_reader, kept));
    }
}

bool deliverer_reader_may(struct delivery_reader *reader)
{
    struct delivery *delivery = reader->delivery;
    struct deliverer *deliverer = delivery->deliverer;

    if (reader->reading) {
        return false;
    }
    if (deliverer->reading < DELIVERER_READING_MAX) {
        return true;
    }
    if (!list_linked(&delivery->ready)) {
        list_append(&deliverer->starved, &delivery->ready);
    }
    return false;
}

static void ready(struct store_reader *store_reader)
{
    struct delivery_reader *reader = store_reader->user;

    waits_no_more(reader);
    deliverer_delivery_wake(reader->delivery);
}

enum err deliverer_reader_next(struct delivery_reader *reader,
                               uint64_t sequence,
                               struct record *out_record)
{
    CHECK(!reader->reading);
    unkeep(reader);
    if (reader->reader == NULL) {
        enum err err = store_reader_create(reader->delivery->topic->store,
                                           &reader->reader);
        if (err != ERR_OK) {
            return err;
        }
        reader->reader->ready = ready;
        reader->reader->user = reader;
    }
    enum err err = store_reader_next(reader->reader, sequence, out_record);
    if (err == ERR_AGAIN) {
        reader->reading = true;
        reader->delivery->deliverer->reading++;
    }
    return err;
}
