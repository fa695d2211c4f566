/* What deliveries have to tell, as notices: targets that are down or back,
 * messages that are dead, topics that are slow.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_NOTICE_H
#define OPQ_QUEUE_DELIVERER_NOTICE_H

#include "base/err.h"
#include "queue/breaker.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_settle.h"

#include <stdint.h>

/* A parcel was given up. */
void deliverer_notice_dead(const struct parcel *parcel,
                           const struct settle_outcome *outcome);

/* The breaker of a target was `before`: tell when it opened or closed. */
void deliverer_notice_target(const struct deliverer_target *target,
                             enum breaker_state before);

/* Watch how old the messages of a delivery get, as its settings now say. */
void deliverer_slow_set(struct delivery *delivery);

/* It may have something to deliver: look, when the time has come. */
void deliverer_slow_wake(struct delivery *delivery);

/* Watch no more. */
void deliverer_slow_clear(struct delivery *delivery);

#endif
