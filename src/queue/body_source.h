/* The body of a delivery, read from its file piece by piece while it is sent.
 *
 * One piece is in memory. The checksum is known with the last one: when it is
 * wrong, that piece is not given, so that no target ever sees a whole body that
 * is not the one that was pushed.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_BODY_SOURCE_H
#define OPQ_QUEUE_BODY_SOURCE_H

#include "base/err.h"
#include "http/client.h"
#include "store/store.h"
#include "sys/io.h"

#include <stddef.h>

struct body_source;

/* Make a source of a body that is open as `fd`, giving pieces of `piece_size`
 * bytes. The call fails with ERR_CORRUPT when the body is not what it was, with
 * ERR_IO when it cannot be read.
 *
 * Takes:  fd, unless it fails.
 * Gives:  `*out`, for body_source_destroy().
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum err body_source_create(struct io *io,
                                       int fd,
                                       const struct message_blob *blob,
                                       size_t piece_size,
                                       struct body_source **out);

/* Close and free it, when a running read has ended. Its call has ended or is
 * cancelled. Accepts NULL. */
void body_source_destroy(struct body_source *source);

/* For struct http_call. */
struct http_source *body_source_http(struct body_source *source);

#endif
