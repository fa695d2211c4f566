/* The delivery of one topic from one cursor: when its parcels begin, and what
 * the cursor is. Private to deliverer*.c.
 *
 *     create -> { wake -> work -> ... }* -> destroy
 *
 * Everything is begun from the deliverer's turn hook; callbacks only note what
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

#include <stdbool.h>
#include <stdint.h>

struct deliverer;
struct delivery;

/* Make the delivery of a topic, awake; watches the topic's end.
 * Gives:  `*out`, for deliverer_delivery_destroy(). Borrows: topic.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err deliverer_delivery_create(struct deliverer *deliverer,
                                              struct topic *topic,
                                              struct delivery **out);

/* End it; requests in flight are given up. */
void deliverer_delivery_destroy(struct delivery *delivery);

/* Have deliverer_delivery_work() called in the next hook. */
void deliverer_delivery_wake(struct delivery *delivery);

/* Look at the topic and begin what is to be done. From the hook. */
void deliverer_delivery_work(struct delivery *delivery);

/* Read and send what has a slot and waits for its record. */
void deliverer_delivery_read(struct delivery *delivery);

/* Look where the cursor is. When somebody moved it, all is begun anew there,
 * and what is in flight is stray. */
void deliverer_delivery_follow(struct delivery *delivery);

/* Tell whether somebody moved the cursor since that was looked at last. */
bool deliverer_delivery_moved(const struct delivery *delivery);

/* One past the last message to deliver; a replay has an end of its own. */
uint64_t deliverer_delivery_end(const struct delivery *delivery);

/* The window went on: have the cursor noted at the end of the turn. */
void deliverer_delivery_dirty(struct delivery *delivery);

/* Messages of its window are done: the same, and if they are many with others
 * between, each is noted for itself. */
void deliverer_delivery_did(struct delivery *delivery,
                            uint64_t first,
                            uint64_t end);

/* Note the cursor in the store. From the end of the hook. */
void deliverer_delivery_note(struct delivery *delivery);

/* How many messages may be in flight. */
uint32_t deliverer_delivery_concurrency(const struct delivery *delivery);

/* The cursor was moved or settings changed. */
void deliverer_delivery_change(struct delivery *delivery);

/* Begin nothing new for a while, while deliverer->halted: what has a slot and
 * is not sent gives it back. All else stays as it is. */
void deliverer_delivery_halt(struct delivery *delivery);

/* Count the messages whose end could not be stored, and is to be once more,
 * later. Costs a look at all that were found. */
uint32_t deliverer_delivery_unsettled(const struct delivery *delivery);

/* Begin nothing new. */
void deliverer_delivery_stop(struct delivery *delivery);

#endif
