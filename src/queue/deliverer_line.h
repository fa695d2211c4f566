/* What messages of one delivery wait for, other than their lane: an endpoint,
 * or a token of their flow. Private to deliverer*.c.
 *
 *     start -> enter -> (counted) line, slot, request -> leave
 *                  `-> CROWDED: waits, in no line and for no slot, until one of
 *                      the same endpoint leaves; then it is ready again, and
 *                      has that place
 *
 * A line counts the requests of the delivery at its endpoint, for the setting
 * endpoint_concurrency. Who stands in the endpoint's line counts, too: else a
 * topic with much to send would have places there that it cannot use.
 *
 * And it counts who waits, so that not all that the delivery may look at is for
 * one dead endpoint or one slow flow: what is found when many wait is set aside
 * (window.h) in the line's group, and looked for again when few do.
 *
 * Memory: nothing while nobody waits and without the setting; else an entry for
 * each endpoint and flow for which somebody does.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_LINE_H
#define OPQ_QUEUE_DELIVERER_LINE_H

#include "base/err.h"
#include "queue/deliverer_internal.h"

#include <stdbool.h>

enum {
    /* Messages of a delivery that wait in one line before the next one is set
     * aside, and how few they are when more are looked for. */
    DELIVERER_LINE_MAX = 256,
    DELIVERER_LINE_FEW = 128,
    /* When so many wait in all lines, one in each must do. */
    DELIVERER_WAITING_MAX = 1024,
};

/* Count a parcel that is TAKEN and has a target, unless it is counted since a
 * place was kept for it.
 *
 * Errors: ERR_AGAIN  there are as many as may be: it is CROWDED
 *         ERR_NOMEM
 */
MUST_CHECK enum err deliverer_line_enter(struct parcel *parcel);

/* It waits for a slot of its endpoint, or for a token of its `flow`. Without
 * memory that is not counted. */
void deliverer_line_wait(struct parcel *parcel, bool flow);

/* It waits no more. Nothing happens when it did not. */
void deliverer_line_go(struct parcel *parcel);

/* The same, and it is counted no more; who waits for its place is ready. */
void deliverer_line_leave(struct parcel *parcel);

/* The group in which a parcel that was just found is to be set aside, since
 * many wait for the same; NULL: none. It has its target and its flow. */
struct window_group *deliverer_line_blocks(const struct parcel *parcel);

/* A parcel came back from aside: the group that it may have waited in; NULL:
 * none. */
struct window_group *deliverer_line_group(const struct parcel *parcel);

/* A sweep has ended: free lines that nobody needs any more. */
void deliverer_line_tidy(struct delivery *delivery);

/* The window ends: all groups are let go of. */
void deliverer_line_forget(struct delivery *delivery);

/* Free what a delivery without parcels knows of this. */
void deliverer_line_clear(struct delivery *delivery);

#endif
