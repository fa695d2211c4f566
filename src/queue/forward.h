/* Which headers of a push go with its deliveries.
 *
 * One list, for what is taken from a push (recorder) and again for what is
 * sent (outgoing), since what is on disk may be of another program.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_FORWARD_H
#define OPQ_QUEUE_FORWARD_H

#include "base/str.h"
#include "http/parse.h"

#include <stdbool.h>
#include <stddef.h>

/* Tell whether a header ends here, whatever a push says: those of a connection
 * or of the framing (RFC 9110, 7.6.1), and those that a delivery has anew
 * (Host, webhook-id, Opq-Seq, ...). Those that Connection names and
 * Content-Type are not known here. */
bool forward_drops(struct str name);

/* Bytes that all Connection fields of a push may have: each of its other
 * fields is looked for among them. */
enum { FORWARD_CONNECTION_MAX = 1024 };

/* Bytes that all Connection fields of a head have. */
size_t forward_connection_size(const struct http_head *head);

/* Tell whether any Connection field of a head names a header. */
bool forward_is_named(const struct http_head *head, struct str name);

#endif
