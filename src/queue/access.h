/* Whether a request may be made: its token, what it needs, and the line in the
 * log of each that changes something.
 *
 *     publish   POST /opq/push, /opq/batch
 *     read      GET and HEAD; POST .../ack, with which a reader moves on
 *     admin     all else
 *     nobody is asked for /healthz, /readyz and /openapi.json
 *
 * Without tokens everything is allowed. With them 401 is answered to who has
 * none, or one that is not known, and 403 to who has one without the scope. The
 * Authorization field is then ours, and taken out of the request: it is not
 * stored, and goes to no target.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ACCESS_H
#define OPQ_QUEUE_ACCESS_H

#include "http/server.h"
#include "queue/tokens.h"

#include <stdbool.h>
#include <stdint.h>

/* Of a shard; zeroed at first: nobody is asked. */
struct access {
    struct tokens *tokens; /* held; NULL: nobody is asked */
    uint64_t told_ms;      /* when a refusal was in the log last */
    uint64_t refused;      /* requests since then */
};

/* What a request needs. */
enum tokens_scope access_scope(const struct http_head *head);

/* Tell whether a request may go on; if not, it was answered. One that changes
 * something is told in the log when it is answered. Asked for each request when
 * it is whole, and may be asked before its body comes, with `early`: then
 * nothing is told of one that may go on. */
bool access_take(struct access *access,
                 struct http_exchange *exchange,
                 bool early);

/* Have other tokens asked for; NULL: none. What is held of the former ones is
 * let go of. Takes: tokens */
void access_set(struct access *access, struct tokens *tokens);

#endif
