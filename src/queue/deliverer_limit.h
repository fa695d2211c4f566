/* How fast a delivery sends: the rate of all its attempts, and of each flow.
 * Private to deliverer*.c.
 *
 * The delivery's own rate holds back everything, so that what has the highest
 * priority goes when a token comes. A flow's rate holds back its parcels alone:
 * each reserves a token and is held until that comes.
 *
 * Memory: nothing without a rate.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_LIMIT_H
#define OPQ_QUEUE_DELIVERER_LIMIT_H

#include "base/err.h"
#include "base/str.h"
#include "queue/deliverer_internal.h"

#include <stdbool.h>
#include <stdint.h>

/* Go by the rates that the delivery's settings have now. Without memory for
 * them the old ones stay.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err deliverer_limit_set(struct delivery *delivery);

/* Free them. */
void deliverer_limit_clear(struct delivery *delivery);

/* Tell whether an attempt may begin; else `*out_due_ms` is when. */
bool deliverer_limit_allows(const struct delivery *delivery,
                            uint64_t *out_due_ms);

/* Take the token of an attempt that begins; false: there is none. */
bool deliverer_limit_take(struct delivery *delivery);

/* Name the flow that a message counts for; 0: none. */
uint64_t deliverer_limit_flow(const struct delivery *delivery,
                              struct str flow_key);

/* How long until a message of a replay that keeps the pace of the pushes goes,
 * in milliseconds; the first one sets the pace. 0: now. */
uint64_t deliverer_limit_pace(struct parcel *parcel);

/* Reserve a token of a parcel's flow. Returns how long to wait for it, in
 * milliseconds; 0: it is there. */
uint64_t deliverer_limit_reserve(struct parcel *parcel);

#endif
