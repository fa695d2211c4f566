/* Deliveries that are CloudEvents: settings cloudevents, cloudevents_type and
 * cloudevents_source.
 *
 * A message that came as an event keeps its attributes, and is sent as it came
 * if it has the mode that is asked for; else its mode is changed. Any other
 * becomes one:
 *
 *     id               that of the message
 *     source, type     as the settings say, else /topics/TOPIC and opq.message
 *     time             when it was pushed
 *     subject          its ordering key, if it has one
 *     datacontenttype  the type of its body
 *
 * In JSON, a body that is JSON and whose type says so is `data` as it was
 * written; one of a type of text, in UTF-8, is `data` as a string; any other is
 * `data_base64`. None is no data.
 *
 * A body that lies in a file is not read for that: such a message is binary,
 * whatever the setting says. What cannot be read as an event, though its type
 * says that it is one, is sent as it is, and in a batch as the data of one.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_OUTGOING_EVENT_H
#define OPQ_QUEUE_OUTGOING_EVENT_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/outgoing.h"
#include "store/store.h"

/* Render a message as an event, after outgoing_begin(). The context has
 * `events`.
 * Gives, Errors: as outgoing_render() */
MUST_CHECK enum err
outgoing_event_render(struct outgoing *outgoing,
                      const struct message *message,
                      const struct outgoing_context *context);

/* Append a message, whose body is in memory, as an event in JSON. Of the
 * context topic, sequence and events are used. Errors: ERR_NOMEM */
MUST_CHECK enum err
outgoing_event_append(struct buf *to,
                      const struct message *message,
                      const struct outgoing_context *context);

#endif
