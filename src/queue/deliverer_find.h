/* Which messages a delivery finds, and what becomes of them. Private to
 * deliverer*.c.
 *
 *     scan --> for somebody else, superseded: passed
 *          |-> a batch, or a parcel, which is begun
 *          '-> set aside --> sweep --> a parcel, or it stays
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_FIND_H
#define OPQ_QUEUE_DELIVERER_FIND_H

#include "base/err.h"
#include "base/str.h"
#include "http/url.h"
#include "queue/accept.h"

#include <stdbool.h>

struct delivery;
struct message;
struct parcel;
struct record;

/* The URL that a message goes to, as text. */
struct str deliverer_find_url_text(const struct delivery *delivery,
                                   const struct message *message);

/* Read the URL that a message goes to.
 * Borrows: record, as long as `*out_url` is used.
 * Errors:  those of url_parse(), with `*out_reason` */
MUST_CHECK enum err deliverer_find_url(struct delivery *delivery,
                                       const struct record *record,
                                       struct url *out_url,
                                       const char **out_reason);

/* A parcel that is in no line is to be sent: have its target be that of the URL
 * that the settings say, which may be another since it was found.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err deliverer_find_aim(struct parcel *parcel);

/* Tell whether a message is for this delivery. */
bool deliverer_find_wants(const struct delivery *delivery,
                          const struct record *record);

/* Tell whether a newer message of the same collapse key takes the place of this
 * one. */
enum accept_collapse deliverer_find_collapse(const struct delivery *delivery,
                                             const struct record *record);

/* Tell whether a message is to be looked at: for a parcel of its own, or to go
 * with the batch that is being gathered. */
bool deliverer_find_may(const struct delivery *delivery);

/* Look at the next message of the scan, or at one that was set aside, in turn.
 * Returns whether to go on. */
bool deliverer_find_more(struct delivery *delivery);

/* The delivery ends: let go of the target of the message found last. */
void deliverer_find_end(struct delivery *delivery);

#endif
