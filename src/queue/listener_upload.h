/* Raw pushes with a body too large for memory: it goes into a file as it comes.
 *
 *     head -> (refused | sink opened) -> body -> durable file -> record
 *          -> committed -> 201
 *
 * The head is read before the body comes, so that a push that cannot be is
 * refused at once; the record is encoded then, too, since the head does not
 * outlive that, and told its body's place at the end.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LISTENER_UPLOAD_H
#define OPQ_QUEUE_LISTENER_UPLOAD_H

#include "http/server.h"

struct listener;

/* Say where a large body goes; the shape of http_server_options.open_body. What
 * is no raw push is gathered in memory. */
enum http_body listener_upload(struct listener *listener,
                               struct http_exchange *exchange,
                               struct http_sink **out_sink);

#endif
