/* What is stored about a message whose delivery has ended, before it is done:
 * its dead letter, and what its callback is told. Private to deliverer*.c.
 *
 *     deliverer_settle -> (read once more) -> deliverer_settle_store
 *                      -> durable: done | failed: that once more, later
 *
 * The parcel holds its lane until all is durable, so that neither is lost. A
 * crash in between repeats the attempt, or the letter: at least once.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_SETTLE_H
#define OPQ_QUEUE_DELIVERER_SETTLE_H

#include "base/err.h"
#include "http/parse.h"
#include "queue/deliverer_internal.h"
#include "queue/retry.h"

/* How the delivery of a message ended. */
struct settle_outcome {
    enum retry_reason reason; /* RETRY_REASON_NONE: it was delivered */
    const char *class;        /* of the last attempt; NULL: there was none */
    int status;               /* of its answer; 0: none came */
    const char *detail;       /* for people; NULL */
    const struct http_head *head; /* of the answer; NULL: none */
    struct str body;              /* the kept part of it */
};

/* The delivery of a parcel that is TAKEN has ended: note how, and have it read
 * once more. Its slot is given back. Without memory it is tried again. */
void deliverer_settle(struct parcel *parcel,
                      const struct settle_outcome *outcome);

/* Store what is to be stored about it.
 * Borrows: record, during the call. */
void deliverer_settle_store(struct parcel *parcel, const struct record *record);

/* Why it could not be stored the last time; ERR_OK: it has not failed. Accepts
 * NULL. */
MUST_CHECK enum err
deliverer_settle_failed(const struct settlement *settlement);

/* Nobody waits for it any more: its parcel is freed. What was given to the
 * store is stored. Accepts NULL. */
void deliverer_settle_leave(struct settlement *settlement);

#endif
