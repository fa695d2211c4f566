/* The body of a message that lies in a file: opened, and signed.
 *
 * What can go wrong while it is read through is noted, and told when the parcel
 * is granted once more: from inside of that no parcel is freed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_body.h"

#include "base/check.h"
#include "queue/deliverer_delivery.h"
#include "sys/file.h"

#include <stdlib.h>

struct body_signing {
    struct body_scan scan;
    struct flight *flight; /* borrowed */
    struct sign sign;      /* of this body alone: it takes turns of the loop */
    uint64_t now_s;        /* what is signed as the time */
    enum err err;          /* how it ended; ERR_AGAIN: it did not */
    size_t size;
    char signature[SIGN_SIZE_MAX];
};

/* --- opening -------------------------------------------------------------- */

static enum err open_body(const struct parcel *parcel,
                          const struct record *record,
                          struct body_source **out)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;
    const struct message_blob *blob = &record->message.blob;
    bool few = deliverer->bodies < DELIVERER_BODIES_FEW;
    int fd = -1;
    enum err err = store_blob_open(parcel->delivery->topic->store,
                                   record->sequence, blob, &fd);

    if (err == ERR_OK) {
        err = body_source_create(
            deliverer->options.io, fd, blob,
            few ? DELIVERER_PIECE_SIZE : DELIVERER_PIECE_SIZE_SMALL, out);
    }
    if (err != ERR_OK) {
        file_close(fd);
    }
    return err;
}

void deliverer_body_close(struct deliverer *deliverer, struct flight *flight)
{
    if (flight->body == NULL) {
        return;
    }
    body_source_destroy(flight->body);
    flight->body = NULL;
    deliverer->bodies--;
    if (flight->signing != NULL) {
        sign_fini(&flight->signing->sign);
        free(flight->signing);
        flight->signing = NULL;
    }
}

/* --- signing -------------------------------------------------------------- */

static void scan_piece(struct body_scan *scan, struct str bytes)
{
    sign_update(&CONTAINER_OF(scan, struct body_signing, scan)->sign, bytes);
}

static void scan_done(struct body_scan *scan, enum err err)
{
    struct body_signing *signing =
        CONTAINER_OF(scan, struct body_signing, scan);
    struct parcel *parcel = signing->flight->parcel;

    CHECK(parcel->doing == PARCEL_SIGNING);
    if (err == ERR_OK) {
        err = sign_finish(&signing->sign, signing->signature, &signing->size);
    }
    signing->err = err;
    parcel->doing = PARCEL_GRANTED;
    list_append(&parcel->delivery->granted, &parcel->wants);
    deliverer_delivery_wake(parcel->delivery);
}

static enum err begin_signing(struct parcel *parcel,
                              const struct message *message,
                              const struct outgoing_context *context)
{
    struct flight *flight = parcel->flight;
    struct body_signing *signing = calloc(1, sizeof(*signing));

    if (signing == NULL) {
        return ERR_NOMEM;
    }
    enum err err = outgoing_sign_begin(&flight->outgoing, message, context,
                                       &signing->sign);
    if (err != ERR_OK) {
        sign_fini(&signing->sign);
        free(signing);
        return err;
    }
    signing->scan.piece = scan_piece;
    signing->scan.done = scan_done;
    signing->flight = flight;
    signing->now_s = context->now_s;
    signing->err = ERR_AGAIN;
    flight->signing = signing;
    parcel->doing = PARCEL_SIGNING;
    body_source_scan(flight->body, &signing->scan);
    return ERR_AGAIN;
}

/* Have the signature in the context.
 * Errors: as deliverer_body_prepare() */
static enum err sign_body(struct parcel *parcel,
                          const struct message *message,
                          struct outgoing_context *context)
{
    const struct body_signing *signing = parcel->flight->signing;

    if (context->secret_names.size == 0) {
        return ERR_OK;
    }
    if (signing == NULL) {
        return begin_signing(parcel, message, context);
    }
    CHECK(signing->err != ERR_AGAIN);
    context->signature = (struct str){signing->signature, signing->size};
    context->now_s = signing->now_s;
    return signing->err;
}

/* --- both ----------------------------------------------------------------- */

enum err deliverer_body_prepare(struct parcel *parcel,
                                const struct record *record,
                                struct outgoing_context *context)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;
    struct flight *flight = parcel->flight;
    enum err err = ERR_OK;

    if (record->message.blob.size == 0) {
        return ERR_OK;
    }
    if (flight->body == NULL) {
        err = open_body(parcel, record, &flight->body);
        deliverer->bodies += err == ERR_OK ? 1 : 0;
    }
    bool missing = err == ERR_NOT_FOUND;
    if (err == ERR_OK) {
        err = sign_body(parcel, &record->message, context);
    }
    if (missing || err == ERR_CORRUPT) {
        store_blob_damaged(parcel->delivery->topic->store, record->sequence,
                           err);
        return ERR_CORRUPT;
    }
    return err;
}
