/* The body of a message that lies in a file: opened before it is sent, and read
 * through when it is to be signed, since signatures stand in the head. Private
 * to deliverer*.c.
 *
 *     prepare -> (nothing to sign: OK)
 *             -> AGAIN: being read -> its parcel is granted once more
 *                -> prepare: OK, with the signature
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_BODY_H
#define OPQ_QUEUE_DELIVERER_BODY_H

#include "base/err.h"
#include "queue/deliverer_internal.h"
#include "queue/outgoing.h"
#include "store/store.h"

/* Have what the body of a parcel's message needs before its head is rendered:
 * the source in its flight, and in `context` the signature with its time. A
 * body in memory needs nothing.
 *
 * Gives:  context->signature, as long as the flight has the body.
 * Errors: ERR_AGAIN    it is read through: the parcel is SIGNING, and then in
 *                      the delivery's `granted`
 *         ERR_CORRUPT  it is not what it was, or missing: the store knows now
 *         ERR_NOMEM, ERR_BUSY, ERR_IO  it cannot be read now
 *         those of outgoing_sign_begin(), with `why` of the flight's outgoing
 */
MUST_CHECK enum err deliverer_body_prepare(struct parcel *parcel,
                                           const struct record *record,
                                           struct outgoing_context *context);

/* Close the body of a flight, if it has one, and give up what is read of it. */
void deliverer_body_close(struct deliverer *deliverer, struct flight *flight);

#endif
