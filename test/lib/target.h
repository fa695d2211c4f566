/* A scripted HTTP target on the test's own loop: it takes requests, remembers
 * what they said, and answers as the test wants: bytes, nothing, or a closed
 * connection.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_TARGET_H
#define OPQ_TEST_LIB_TARGET_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/parse.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

struct target;

enum {
    TARGET_TOPIC_MAX = 32, /* bytes of a topic's name, NUL included */
    TARGET_REQUESTS_MAX = 16384,
};

/* What the target does with a request. */
enum target_act {
    TARGET_ANSWER, /* send what the script wrote; "200" when that is nothing */
    TARGET_HOLD,   /* say nothing before target_release() */
    TARGET_CLOSE,  /* close the connection */
};

/* A request as it came. */
struct target_request {
    char topic[TARGET_TOPIC_MAX]; /* Opq-Topic; terminated */
    uint64_t sequence;            /* Opq-Seq */
    uint64_t attempt;             /* Opq-Attempt */
    uint64_t previous;            /* Opq-Prev-Seq; UINT64_MAX: absent */
    uint64_t at_ms;               /* monotonic, of the loop */
    uint64_t body_size;
};

/* Decide about a request; NULL: answer 200. `body` is borrowed during the call.
 */
typedef enum target_act target_script(void *context,
                                      const struct target_request *request,
                                      struct str body,
                                      struct buf *answer);

/* Begin to listen on a free port of 127.0.0.1. Gives: `*out`, for
 * target_stop(). Errors: those of net_listen() and io, ERR_NOMEM */
MUST_CHECK enum err target_start(struct io *io, struct target **out);

/* Set the script. Borrows: context. */
void target_set_script(struct target *target,
                       target_script *script,
                       void *context);

/* Answer all that was held with these bytes, "200" when NULL. */
void target_release(struct target *target, const char *answer);

/* The port it listens on. */
uint16_t target_port(const struct target *target);

/* Requests that came so far, and one of them. */
uint32_t target_count(const struct target *target);

/* The request number `index`, in order of arrival; borrowed from the target. */
const struct target_request *target_at(const struct target *target,
                                       uint32_t index);

/* The most requests it had unanswered at a time. */
uint32_t target_most_at_once(const struct target *target);

/* Connections accepted so far. */
uint32_t target_connections(const struct target *target);

/* Close everything, running the loop until that is done, and free it. Accepts
 * NULL. */
void target_stop(struct target *target);

/* A port of 127.0.0.1 on which nobody listens. */
uint16_t target_dead_port(void);

#endif
