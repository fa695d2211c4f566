/* A scripted HTTP target on the test's own loop: it takes requests, remembers
 * what they said, and answers as the test wants: bytes, nothing, or a closed
 * connection.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_PEER_H
#define OPQ_TEST_LIB_PEER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/parse.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

struct peer;

enum {
    PEER_TOPIC_MAX = 32, /* bytes of a topic's name, NUL included */
    PEER_REQUESTS_MAX = 16384,
};

/* What the peer does with a request. */
enum peer_act {
    PEER_ANSWER, /* send what the script wrote; "200" when that is nothing */
    PEER_HOLD,   /* say nothing before peer_release() */
    PEER_CLOSE,  /* close the connection */
};

/* A request as it came. */
struct peer_request {
    char topic[PEER_TOPIC_MAX]; /* Opq-Topic; terminated */
    uint64_t sequence;          /* Opq-Seq */
    uint64_t attempt;           /* Opq-Attempt */
    uint64_t previous;          /* Opq-Prev-Seq; UINT64_MAX: absent */
    uint64_t at_ms;             /* monotonic, of the loop */
    uint64_t body_size;
};

/* Decide about a request; NULL: answer 200. `body` is borrowed during the call.
 */
typedef enum peer_act peer_script(void *context,
                                  const struct peer_request *request,
                                  struct str body,
                                  struct buf *answer);

/* Begin to listen on a free port of 127.0.0.1. Gives: `*out`, for
 * peer_stop(). Errors: those of net_listen() and io, ERR_NOMEM */
MUST_CHECK enum err peer_start(struct io *io, struct peer **out);

/* Set the script. Borrows: context. */
void peer_set_script(struct peer *peer, peer_script *script, void *context);

/* Answer all that was held with these bytes, "200" when NULL. */
void peer_release(struct peer *peer, const char *answer);

/* The port it listens on. */
uint16_t peer_port(const struct peer *peer);

/* Requests that came so far, and one of them. */
uint32_t peer_count(const struct peer *peer);

/* The request number `index`, in order of arrival; borrowed from the peer. */
const struct peer_request *peer_at(const struct peer *peer, uint32_t index);

/* The most requests it had unanswered at a time. */
uint32_t peer_most_at_once(const struct peer *peer);

/* Connections accepted so far. */
uint32_t peer_connections(const struct peer *peer);

/* Close everything, running the loop until that is done, and free it. Accepts
 * NULL. */
void peer_stop(struct peer *peer);

/* A port of 127.0.0.1 on which nobody listens. */
uint16_t peer_dead_port(void);

#endif
