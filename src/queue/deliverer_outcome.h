/* What follows from the end of an attempt: done, again later, or given up.
 * Private to deliverer*.c.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_OUTCOME_H
#define OPQ_QUEUE_DELIVERER_OUTCOME_H

#include "http/client.h"
#include "queue/deliverer_internal.h"

#include <stdbool.h>

/* The call of a flight has ended; its `done`. The parcel may be freed. */
void deliverer_outcome_call(struct http_call *call,
                            const struct http_result *result);

/* The message cannot be sent as it is: `err` says its class, `reason` is for
 * people. Nothing goes out, but it counts as an attempt, so that it is seen and
 * not tried in a loop. */
void deliverer_outcome_refuse(struct parcel *parcel,
                              enum err err,
                              const char *reason);

/* Tell whether a failure says nothing about the target: we had no memory, no
 * descriptor, or a kernel that said no. */
bool deliverer_outcome_is_ours(enum err err);

/* Give up a parcel that is TAKEN when its time is over. Returns whether it
 * is. */
bool deliverer_outcome_expire(struct parcel *parcel);

/* Tell whether there is a place for dead letters and callbacks. */
bool deliverer_outcome_settles(const struct parcel *parcel);

#endif
