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

/* Who reads a body through before it is sent: to sign it, which goes into the
 * head. Zeroed but for the functions; lives until `done`, or until the source
 * is destroyed, which cancels. */
struct body_scan {
    /* The next bytes of the body. */
    void (*piece)(struct body_scan *scan, struct str bytes);
    /* All was read, or ERR_CORRUPT, ERR_IO. The source may be destroyed here,
     * or sent. */
    void (*done)(struct body_scan *scan, enum err err);
};

/* Read the body through, piece by piece. It is not being sent, nor read so
 * already. Calls nothing before it returns.
 * Borrows: scan, until its end. */
void body_source_scan(struct body_source *source, struct body_scan *scan);

/* For struct http_call. */
struct http_source *body_source_http(struct body_source *source);

#endif
