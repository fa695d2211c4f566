/* The delivery of one topic: performs what its lane decides. Private to
 * deliverer.c.
 *
 *     create -> { wake -> work -> (slot) -> ... }* -> destroy
 *
 * Everything is done from the deliverer's turn hook; callbacks only note what
 * happened and wake the delivery.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_DELIVERY_H
#define OPQ_QUEUE_DELIVERER_DELIVERY_H

#include "base/err.h"
#include "queue/deliverer.h"
#include "queue/topic.h"

struct deliverer;
struct delivery;

/* Make the delivery of a topic, awake; watches the topic's end.
 * Gives:  `*out`, for deliverer_delivery_destroy(). Borrows: topic.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err deliverer_delivery_create(struct deliverer *deliverer,
                                              struct topic *topic,
                                              struct delivery **out);

/* End it; a request in flight is given up. */
void deliverer_delivery_destroy(struct delivery *delivery);

/* Have deliverer_delivery_work() called in the next hook. */
void deliverer_delivery_wake(struct delivery *delivery);

/* Look at the topic and begin what is to be done. From the hook. */
void deliverer_delivery_work(struct delivery *delivery);

/* It stood in line, and has its slot now: send. From the hook. */
void deliverer_delivery_slot(struct delivery *delivery);

/* The cursor was moved or settings changed. */
void deliverer_delivery_change(struct delivery *delivery);

/* Begin nothing new. */
void deliverer_delivery_stop(struct delivery *delivery);

/* Give up what is in flight. */
void deliverer_delivery_give_up(struct delivery *delivery);

#endif
