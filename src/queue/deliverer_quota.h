/* How many requests of one delivery may be at one endpoint: the setting
 * endpoint_concurrency. Private to deliverer*.c.
 *
 *     start -> enter -> (counted) line, slot, request -> leave
 *                  `-> CROWDED: waits, in no line and for no slot, until one of
 *                      the same endpoint leaves; then it is ready again
 *
 * Who stands in the endpoint's line counts, too: else a topic with much to send
 * would have places there that it cannot use.
 *
 * Memory: nothing without the setting, and an entry for each endpoint that has
 * requests.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_QUOTA_H
#define OPQ_QUEUE_DELIVERER_QUOTA_H

#include "base/err.h"
#include "queue/deliverer_internal.h"

/* Count a parcel that is TAKEN and has a target.
 *
 * Errors: ERR_AGAIN  there are as many as may be: it is CROWDED
 *         ERR_NOMEM
 */
MUST_CHECK enum err deliverer_quota_enter(struct parcel *parcel);

/* Count it no more, or let it wait no more; who waits for its place is ready.
 * Nothing happens when it did neither. */
void deliverer_quota_leave(struct parcel *parcel);

/* Free what a delivery without parcels knows of this. */
void deliverer_quota_clear(struct delivery *delivery);

#endif
