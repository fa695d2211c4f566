/* Several messages as one request: a JSON object for each, on lines of their
 * own (NDJSON) or in an array.
 *
 *     begin -> add* -> end
 *
 * An object has, in this order, what of it there is:
 *
 *     {"id":"msg_5f0c9a1e77d3b204-7","topic":"orders","seq":7,
 *      "pushed_at":"2026-11-23T23:06:26.500Z","key":"...","label":"...",
 *      "headers":[{"name":"X-A","value":"1"}],"content_type":"text/plain",
 *
 * and one of "json":..., "body":"...", "body_base64":"...", "fields":[...].
 *
 * `json` is a body whose content type says JSON and which is that, as it was
 * written; in NDJSON its line ends are blanks, which changes no value.
 * `fields`, pairs like those of `headers`, are those of a message that came as
 * a form. Any other body is `body` if it is UTF-8, else `body_base64`. A value
 * of a pair that is not UTF-8 is in `value_base64`.
 *
 * The request has one answer for all. Its id is made of the topic and the first
 * and last sequence numbers, so it is the same at each attempt as long as the
 * messages are.
 *
 * Threads: the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_OUTGOING_BATCH_H
#define OPQ_QUEUE_OUTGOING_BATCH_H

#include "base/err.h"
#include "queue/outgoing.h"
#include "queue/settings.h"

#include <stdint.h>

enum {
    /* Bytes of a batch, past which a further message waits for the next. */
    OUTGOING_BATCH_SIZE_MAX = 1024 * 1024,
};

/* A batch that is being rendered. */
struct outgoing_batch {
    struct outgoing *outgoing; /* borrowed until the end */
    const struct topic *topic; /* likewise */
    enum settings_batch format;
    const struct settings *events; /* borrowed; messages are events; or NULL */
    uint32_t count;                /* messages in it */
    uint64_t first; /* sequence numbers of the first and the last */
    uint64_t last;
};

/* Begin a batch of messages of a topic. With `events` it is an array of them,
 * made as these settings say (outgoing_event.h), whatever the format. What was
 * in `outgoing` before is overwritten. Borrows: outgoing, topic, events, until
 * outgoing_batch_end(). */
void outgoing_batch_begin(struct outgoing_batch *batch,
                          struct outgoing *outgoing,
                          const struct topic *topic,
                          enum settings_batch format,
                          const struct settings *events);

/* Add a message, in order of sequence numbers. After an error it is not in the
 * batch, and those before are.
 *
 * Errors: ERR_TOO_LARGE    it is not the first, and would not fit any more
 *         ERR_UNSUPPORTED  its body lies in a file: it is delivered alone
 *         ERR_NOMEM
 */
MUST_CHECK enum err outgoing_batch_add(struct outgoing_batch *batch,
                                       uint64_t sequence,
                                       const struct message *message);

/* Render the head. There is a message at least. Of the context all is used but
 * the topic, the sequence numbers and the count, which are the batch's.
 * Gives, Errors: as outgoing_render() */
MUST_CHECK enum err outgoing_batch_end(struct outgoing_batch *batch,
                                       const struct outgoing_context *context);

#endif
