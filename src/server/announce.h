/* The server's own events, as far as the server itself has to do with them.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_ANNOUNCE_H
#define OPQ_SERVER_ANNOUNCE_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/shard.h"

#include <stdbool.h>

/* Check the URL that gets events; empty is right.
 * Errors: ERR_INVALID, with a line in `errors` */
MUST_CHECK enum err announce_check(const char *url, struct buf *errors);

/* Tell that the server is there, from its first shard; does nothing from the
 * others. Smooth: it goes on for another process. */
void announce_start(const struct shard *shard,
                    const char *version,
                    bool smooth);

#endif
