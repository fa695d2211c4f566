/* Several messages as one request, all or nothing: settings batch and
 * batch_format. Private to deliverer*.c.
 *
 *     begin -> add* -> (full, its time is over, or a message that cannot go
 *     with it) -> read and render -> sent -> done | failed: again, or split
 *
 * A batch is one parcel of several messages in a row. Its lane waits for it as
 * for a message. With order by key it is as with order by topic.
 *
 * A message that asks for something of its own (retries, ttl, callbacks,
 * another method, a body in a file) goes alone, as it is. When the retries of a
 * batch are used up, its messages go alone in batches of one, each once: those
 * that fail again become dead letters, so that one bad message takes none with
 * it.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_BATCH_H
#define OPQ_QUEUE_DELIVERER_BATCH_H

#include "base/err.h"
#include "queue/deliverer_internal.h"

#include <stdbool.h>

/* Tell whether a message may go with others. */
bool deliverer_batch_fits(const struct delivery *delivery,
                          const struct record *record);

/* Make a parcel that was found just now a batch, which waits for more.
 * Errors: ERR_NOMEM: it goes as it is */
MUST_CHECK enum err deliverer_batch_begin(struct parcel *parcel,
                                          const struct record *record);

/* Let the message at the scan go with the batch that is being gathered. False:
 * there is none, or it goes elsewhere or is full. */
bool deliverer_batch_add(struct delivery *delivery,
                         const struct record *record);

/* Tell whether the batch that is being gathered has all that may go with it. */
bool deliverer_batch_is_full(const struct delivery *delivery);

/* Nothing more goes with the batch that is being gathered, if there is one; it
 * is ready. */
void deliverer_batch_close(struct delivery *delivery);

/* Read the messages of a batch that has a slot, and send it. False: bytes are
 * being read, and the delivery is woken. */
bool deliverer_batch_read(struct parcel *parcel);

/* A batch of several is not to be tried again as one: its messages are parcels
 * of their own now, which are tried once. False: it is one message only. */
bool deliverer_batch_split(struct parcel *parcel);

/* How many messages are in a parcel's request. */
uint32_t deliverer_batch_count(const struct parcel *parcel);

/* Free what a parcel knows of its batch. */
void deliverer_batch_free(struct parcel *parcel);

#endif
