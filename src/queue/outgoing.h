/* The request that a message becomes: rendered once per attempt into memory of
 * its own, since a record is valid only until its reader goes on.
 *
 * A form message (the first OPQ's) is sent urlencoded: all its fields sorted by
 * name, repeats in order, `topic` and `url` put back among them. A raw message
 * is sent byte for byte with its own content type. Headers of the push go with
 * it as they came, without those that concern one connection only.
 *
 * The buffers are used again for the next message, so usual sizes cost no
 * allocation.
 *
 * Threads: the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_OUTGOING_H
#define OPQ_QUEUE_OUTGOING_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/url.h"
#include "queue/topic.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    OUTGOING_PARTS = 2,            /* head and body */
    OUTGOING_KEEP_MAX = 16 * 1024, /* bytes of a buffer kept for the next */
};

/* A rendered request. Zeroed: empty. */
struct outgoing {
    struct buf head;
    struct buf body;
    bool head_only; /* the method is HEAD: the answer has no body */
};

/* What a request says besides its message. */
struct outgoing_context {
    const struct topic *topic; /* borrowed, as all below */
    const struct url *url;     /* the message's, parsed */
    struct str user_agent;     /* when the message has none of its own */
    uint64_t sequence;
    uint32_t attempt; /* from 1 */
    uint64_t now_s;   /* wall clock, since 1970 */
};

/* Render a message. What was in `outgoing` before is overwritten. A body that
 * lies in a file is not rendered, only its length told: it follows the parts.
 *
 * Errors: ERR_INVALID  its method is none that can be sent
 *         ERR_NOMEM
 */
MUST_CHECK enum err outgoing_render(struct outgoing *outgoing,
                                    const struct message *message,
                                    const struct outgoing_context *context);

/* The parts to send, borrowed until the next call on `outgoing`. Returns how
 * many there are. */
uint32_t outgoing_parts(const struct outgoing *outgoing,
                        struct iovec parts[OUTGOING_PARTS]);

/* Forget the request; large buffers are freed. */
void outgoing_clear(struct outgoing *outgoing);

/* Free the memory. */
void outgoing_fini(struct outgoing *outgoing);

#endif
