/* The request that a message becomes: rendered once per attempt into memory of
 * its own, since a record is valid only until its reader goes on.
 *
 * A form message (the first OPQ's) is sent urlencoded: all its fields sorted by
 * name, repeats in order, `topic` and `url` put back among them. A raw message
 * is sent byte for byte with its own content type. Headers of the push go with
 * it as they came, without those that concern one connection only, and those
 * that settings replace; only these may name secrets (header_lines.h).
 *
 * Where settings say so it is a CloudEvent: outgoing_event.h.
 *
 * With names of secrets it is signed (sign.h). The body of a message that lies
 * in a file is not known here, so its signature is made before:
 *
 *     outgoing_sign_begin -> sign_update* -> sign_finish -> outgoing_render
 *
 * The buffers are used again for the next message, so usual sizes cost no
 * allocation.
 *
 * Memory with secrets of headers in it is wiped before it is used again or
 * freed.
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
#include "queue/header_lines.h"
#include "queue/secrets.h"
#include "queue/sign.h"
#include "queue/topic.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    OUTGOING_PARTS = 2,            /* head and body */
    OUTGOING_KEEP_MAX = 16 * 1024, /* bytes of a buffer kept for the next */
    /* Bytes of an id that is made of topic and sequence, or two of these. */
    OUTGOING_ID_SIZE_MAX = TOPIC_ID_PREFIX_SIZE + 2 * PUT_DECIMAL_MAX + 1,
};

/* A rendered request. Zeroed: empty. */
struct outgoing {
    struct buf head;
    struct buf body;
    struct buf settings; /* headers of settings, on their way to the head */
    bool head_only;      /* the method is HEAD: the answer has no body */
    bool has_secret;     /* there is one in the head: it is wiped after use */
    const char *why;     /* static: what is wrong, after an error; NULL: no more
                            than the error says */
    struct str wrong;    /* borrowed from the context: the name of a secret that
                            is wrong, or empty */
};

/* What a request says besides its message. */
struct outgoing_context {
    const struct topic *topic; /* borrowed, as all below */
    const struct url *url;     /* where it goes, parsed: the message's, or
                                  another that stands in for it */
    struct str user_agent;     /* when the message has none of its own */
    uint64_t sequence;
    uint64_t previous; /* sequence of the one before it in its lane */
    bool has_previous;
    uint32_t attempt;              /* from 1 */
    uint64_t now_s;                /* wall clock, since 1970 */
    const struct secrets *secrets; /* NULL: there are none */
    struct str secret_names; /* to sign with, by commas; empty: unsigned */
    struct sign *sign;       /* to sign by, with names */
    struct str signature;    /* made before, of a body that lies in a file */
    struct str headers;      /* lines of settings; empty: none */
    struct str replay;       /* id of the replay that sends it; empty: none */
    const struct settings *events; /* they say how it is a CloudEvent; NULL: it
                                      need not be one */
    uint32_t batch_count;          /* messages in it; 0: it is no batch */
    uint64_t sequence_last; /* of a batch; `sequence` is that of the first */
};

/* The id of a message: that which it was given when it was first stored, else
 * one of its topic and sequence, which is written to `memory`; that of a batch
 * has the last sequence behind. */
struct str outgoing_id(const struct message *message,
                       const struct outgoing_context *context,
                       char memory[OUTGOING_ID_SIZE_MAX]);

/* Render a message. What was in `outgoing` before is overwritten. A body that
 * lies in a file is not rendered, only its length told: it follows the parts.
 *
 * Gives:  `why` and `wrong` of outgoing, after an error; `wrong` is as long
 *         there as the context's texts.
 * Errors: ERR_INVALID    its method is none that can be sent
 *         ERR_NOT_FOUND  a secret that is named is not in force, or of the
 *                        wrong kind: settings or the file of secrets must
 *                        change, so that it is not sent without
 *         ERR_TOO_LARGE  the body is too large for the only keys there are
 *         ERR_AGAIN      the body lies in a file, and is to be signed before
 *         ERR_NOMEM
 */
MUST_CHECK enum err outgoing_render(struct outgoing *outgoing,
                                    const struct message *message,
                                    const struct outgoing_context *context);

/* Begin to sign a body that lies in a file, as outgoing_render() would one in
 * memory; its signature goes into the context then, with the same time.
 * Gives, Errors: as outgoing_render() */
MUST_CHECK enum err outgoing_sign_begin(struct outgoing *outgoing,
                                        const struct message *message,
                                        const struct outgoing_context *context,
                                        struct sign *sign);

/* The steps of outgoing_render(), for who renders the body otherwise: forget
 * what was there before; then append to `outgoing->body`, and finish. */
void outgoing_begin(struct outgoing *outgoing);

/* Render the head for a body that was rendered. Of the message all is used but
 * its body and fields.
 * Gives, Errors: as outgoing_render() */
MUST_CHECK enum err outgoing_finish(struct outgoing *outgoing,
                                    const struct message *message,
                                    const struct outgoing_context *context);

/* Append a message's body as it is sent: a form urlencoded, with topic and url
 * among its fields. Nothing is appended for one that lies in a file. */
void outgoing_render_body(struct buf *to,
                          const struct message *message,
                          const struct topic *topic);

/* Tell whether a header of a message goes with its delivery. */
bool outgoing_has_header(const struct message *message,
                         const struct pair *header);

/* The parts to send, borrowed until the next call on `outgoing`. Returns how
 * many there are. */
uint32_t outgoing_parts(const struct outgoing *outgoing,
                        struct iovec parts[OUTGOING_PARTS]);

/* Forget the request; large buffers are freed. */
void outgoing_clear(struct outgoing *outgoing);

/* Free the memory. */
void outgoing_fini(struct outgoing *outgoing);

#endif
