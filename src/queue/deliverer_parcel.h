/* A parcel's way from its window's turn to its outcome. Private to
 * deliverer*.c.
 *
 *     take -> { start -> (line -> slot) -> (read once more) -> send
 *               -> done: free | failed: back-off -> ... }*
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_PARCEL_H
#define OPQ_QUEUE_DELIVERER_PARCEL_H

#include "base/err.h"
#include "queue/deliverer_internal.h"

#include <stdbool.h>

/* Take a zeroed parcel from those unused, or make one.
 * Gives:  the parcel, for deliverer_parcel_free(); NULL: no memory */
MUST_CHECK struct parcel *deliverer_parcel_take(struct delivery *delivery);

/* Give it back, with all that it has; a request in flight is given up. It is in
 * no window. */
void deliverer_parcel_free(struct parcel *parcel);

/* A parcel's message, read just now. */
struct parcel_message {
    const struct record *record; /* borrowed, as what follows */
    struct url url;              /* where it goes */
};

/* Begin with a parcel that is READY: get a slot, or stand in line for one.
 * `message` NULL: it is read when there is a slot.
 * Borrows: message, during the call. */
void deliverer_parcel_start(struct parcel *parcel,
                            const struct parcel_message *message);

/* It stood in line, and has its slot now. From the hook. */
void deliverer_parcel_slot(struct parcel *parcel);

/* It has a slot, and this is its message: send.
 * Borrows: message, during the call. */
void deliverer_parcel_send(struct parcel *parcel,
                           const struct parcel_message *message);

/* The same of a record that was read once more.
 * Borrows: record, during the call. */
void deliverer_parcel_send_again(struct parcel *parcel,
                                 const struct record *record);

/* Its delivery has ended, and it has a settlement: give the slot back, and have
 * it read once more. */
void deliverer_parcel_settle(struct parcel *parcel);

/* Give back what it holds, and have it be ready again later: after a failure,
 * or since others may go with it. */
void deliverer_parcel_delay(struct parcel *parcel, uint64_t delay_ms);

/* Give its flight back; the request was not begun, or has ended. */
void deliverer_parcel_land(struct parcel *parcel);

/* A stray's request has ended: its outcome does not count, for the cursor is
 * somewhere else by now. The parcel is freed. */
void deliverer_parcel_end_stray(struct parcel *parcel);

/* Take a flight, for its request to be rendered into. */
void deliverer_parcel_board(struct parcel *parcel);

/* What its request says besides messages.
 * Gives: `*out_context`, which borrows `url` and the settings */
void deliverer_parcel_context(const struct parcel *parcel,
                              const struct url *url,
                              struct outgoing_context *out_context);

/* The settings that say how its request is a CloudEvent; NULL: it need not be
 * one. */
const struct settings *deliverer_parcel_events(const struct parcel *parcel);

/* Its request was rendered, or could not be (`err`): send it. `message` NULL:
 * it is a batch. */
void deliverer_parcel_rendered(struct parcel *parcel,
                               const struct message *message,
                               enum err err);

/* It is done: the window goes on behind it. The parcel is freed. */
void deliverer_parcel_done(struct parcel *parcel);

/* It could not be read: try again later, without counting an attempt. */
void deliverer_parcel_stumble(struct parcel *parcel, enum err err);

/* It is lost: go on behind it. `reason`: for people. */
void deliverer_parcel_lose(struct parcel *parcel, const char *reason);

/* Have it be ready again, whatever it waits for; what is in flight goes on. */
void deliverer_parcel_rest(struct parcel *parcel);

/* Give up its request in flight, without an outcome; it is ready again. */
void deliverer_parcel_give_up(struct parcel *parcel);

#endif
