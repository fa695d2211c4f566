/* The readers of a delivery: made when there is something to read, taken back
 * when too many others were used since. Private to deliverer*.c.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_READER_H
#define OPQ_QUEUE_DELIVERER_READER_H

#include "base/err.h"
#include "queue/deliverer_internal.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

/* Tell whether the reader may be used now: it does not wait for the disk, and
 * not too many others do; else the delivery is woken when it may. */
bool deliverer_reader_may(struct delivery_reader *reader);

/* Read the message `sequence` or what follows it, as store_reader_next(). After
 * ERR_AGAIN the delivery is woken.
 *
 * Borrows: `*out_record`, until the next call for any delivery.
 * Errors:  as store_reader_create() and store_reader_next()
 */
MUST_CHECK enum err deliverer_reader_next(struct delivery_reader *reader,
                                          uint64_t sequence,
                                          struct record *out_record);

/* Keep the reader in `line`, which may take it, or another's, back. One that
 * waits for the disk is dropped: what comes of it is not wanted any more. */
void deliverer_reader_keep(struct delivery_reader *reader,
                           struct reader_line *line);

/* Free the reader, if there is one. */
void deliverer_reader_drop(struct delivery_reader *reader);

#endif
