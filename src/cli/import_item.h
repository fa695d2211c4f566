/* A stored message as a push of the API.
 *
 * What a push cannot say is left out: the id it had, of which subscription it
 * is, and why it is dead. A form is written as the bytes that its receiver
 * would get, so it is delivered as it would have been.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_IMPORT_ITEM_H
#define OPQ_CLI_IMPORT_ITEM_H

#include "base/buf.h"
#include "log/record.h"

#include <stdint.h>

/* Append it as an item of a batch, and a newline. */
void import_item_write(struct buf *to,
                       struct str topic,
                       const struct message *message,
                       uint64_t now_ms);

/* The same, of a message that waits to be due: with its due time. */
void import_item_write_due(struct buf *to,
                           struct str topic,
                           const struct message *message,
                           uint64_t now_ms);

/* Append the header fields of a raw push of a message whose body lies beside,
 * topic and URL included. */
void import_item_headers(struct buf *to,
                         struct str topic,
                         const struct message *message,
                         uint64_t now_ms);

/* Append a form as it is delivered: all fields, `url` and `topic` with them,
 * by name. */
void import_item_form(struct buf *to,
                      struct str topic,
                      const struct message *message);

#endif
