/* Messages that are CloudEvents (specversion 1.0) over HTTP, read.
 *
 *   structured  the content type is application/cloudevents+json, and the body
 *               a JSON object of attributes and data
 *   binary      there is a header ce-specversion: the attributes are headers
 *               ce-NAME, their values percent-encoded; the body is the data,
 *               and Content-Type what others call datacontenttype
 *
 * A content type that begins with application/cloudevents, whatever follows,
 * comes before headers. Of such a type other than the one above no more is
 * known than that: the message is opaque.
 *
 * A message is stored as it came; it is looked at when it is pushed, so that
 * what is no valid event is refused, and when it is delivered in another form.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_CLOUDEVENTS_H
#define OPQ_QUEUE_CLOUDEVENTS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CLOUDEVENTS_ATTRIBUTES_MAX = 64, /* of an event */
    CLOUDEVENTS_NAME_MAX = 64,       /* bytes of an attribute's name */
};

enum cloudevents_mode {
    CLOUDEVENTS_NONE, /* no event */
    CLOUDEVENTS_BINARY,
    CLOUDEVENTS_STRUCTURED,
    CLOUDEVENTS_OPAQUE, /* an event, or several, in a form that is not ours */
};

/* Where an event has its data. */
enum cloudevents_data {
    CLOUDEVENTS_DATA_NONE,
    CLOUDEVENTS_DATA_BYTES, /* as they are */
    CLOUDEVENTS_DATA_JSON,  /* a JSON value, as it was written */
};

/* An event, read. Borrowed of its message, and of the memory it was read with.
 */
struct cloudevents_event {
    enum cloudevents_mode mode;
    uint32_t count;
    /* Names in lower case, values decoded; without datacontenttype, which is
     * `content_type`. */
    struct pair attributes[CLOUDEVENTS_ATTRIBUTES_MAX];
    struct str content_type; /* of the data; empty: not given */
    enum cloudevents_data kind;
    struct str data; /* empty if a binary event's lies in a file */
};

/* Why a message is no valid event. */
struct cloudevents_problem {
    struct str name; /* of the attribute or member; borrowed; empty: it is about
                        all of it */
    const char *why; /* static: "is missing", ... */
};

/* Tell in which mode a message is an event; nothing is checked. */
enum cloudevents_mode cloudevents_mode(const struct message *message);

/* Tell whether a content type is that of a structured event. */
bool cloudevents_is_structured(struct str content_type);

/* Tell whether a content type is that of a JSON array of events. */
bool cloudevents_is_batch(struct str content_type);

/* Tell whether a content type begins as those of events do. */
bool cloudevents_begins(struct str content_type);

/* Tell whether a content type is of any of the forms in which events are. Every
 * push is asked: one byte tells most. */
static inline bool cloudevents_is_any(struct str content_type)
{
    return content_type.size > 12 && (content_type.data[12] | 0x20) == 'c' &&
           cloudevents_begins(content_type);
}

/* Tell whether a header is an attribute of a binary event. */
bool cloudevents_is_header(struct str name);

/* Tell whether a name may be an attribute's: letters a to z and digits. */
bool cloudevents_is_name(struct str name);

/* Tell whether the value of an attribute's header, decoded, begins with
 * `start`, and is that and no more if `whole`. Allocates nothing. */
bool cloudevents_starts(struct str header_value, struct str start, bool whole);

/* Append the value of an attribute as that of its header. */
void cloudevents_append_header(struct buf *to, struct str value);

/* Read and check an event.
 *
 * Borrows: message and memory, as long as `*out_event` is used; what `memory`
 *          had before is gone.
 * Gives:   `*out_event`; `*out_problem` after ERR_INVALID.
 * Errors:  ERR_NOT_FOUND  the message is no event, or an opaque one
 *          ERR_INVALID    it is none that is valid
 *          ERR_NOMEM
 */
MUST_CHECK enum err cloudevents_read(const struct message *message,
                                     struct buf *memory,
                                     struct cloudevents_event *out_event,
                                     struct cloudevents_problem *out_problem);

/* The value of an attribute; empty when it has none. */
struct str cloudevents_value(const struct cloudevents_event *event,
                             struct str name);

#endif
