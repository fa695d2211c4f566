/* Several messages as one request.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/outgoing_batch.h"

#include "base/check.h"
#include "base/json_text.h"
#include "http/parse.h"
#include "queue/json_type.h"
#include "queue/outgoing_event.h"

#include <stddef.h>

void outgoing_batch_begin(struct outgoing_batch *batch,
                          struct outgoing *outgoing,
                          const struct topic *topic,
                          enum settings_batch format,
                          const struct settings *events)
{
    outgoing_begin(outgoing);
    *batch = (struct outgoing_batch){
        .outgoing = outgoing,
        .topic = topic,
        .format = events != NULL ? SETTINGS_BATCH_JSON : format,
        .events = events,
    };
}

/* Append JSON, on one line: its line ends are blanks between tokens, for
 * strings have none. */
static void append_line(struct buf *to, struct str json)
{
    size_t start = to->size;

    buf_append_str(to, json);
    if (buf_err(to) != ERR_OK) {
        return;
    }
    for (size_t i = start; i < to->size; i++) {
        if (to->data[i] == '\n' || to->data[i] == '\r') {
            to->data[i] = ' ';
        }
    }
}

static void append_pair(struct buf *to, bool first, const struct pair *pair)
{
    buf_append_c(to, first ? "{\"name\":\"" : ",{\"name\":\"");
    buf_append_json(to, pair->key);
    buf_append_byte(to, '"');
    json_text_append_bytes(to, "value", pair->value);
    buf_append_byte(to, '}');
}

/* Append ,"headers":[...] of those that a delivery has; nothing if none. */
static void append_headers(struct buf *to, const struct message *message)
{
    bool first = true;

    for (uint32_t i = 0; i < message->header_count; i++) {
        if (!outgoing_has_header(message, &message->headers[i])) {
            continue;
        }
        if (first) {
            buf_append_c(to, ",\"headers\":[");
        }
        append_pair(to, first, &message->headers[i]);
        first = false;
    }
    if (!first) {
        buf_append_byte(to, ']');
    }
}

static void append_fields(struct buf *to, const struct message *message)
{
    buf_append_c(to, ",\"fields\":[");
    for (uint32_t i = 0; i < message->field_count; i++) {
        append_pair(to, i == 0, &message->fields[i]);
    }
    buf_append_byte(to, ']');
}

static void append_body(struct buf *to, const struct message *message)
{
    if (message->kind == MESSAGE_KIND_FORM) {
        append_fields(to, message);
        return;
    }
    if (message->content_type.size > 0) {
        json_text_append_text(to, "content_type", message->content_type);
    }
    if (json_type_has(message->content_type, message->body)) {
        buf_append_c(to, ",\"json\":");
        append_line(to, message->body);
    } else {
        json_text_append_bytes(to, "body", message->body);
    }
}

static void append_option(struct buf *to, const char *name, struct str value)
{
    if (value.size > 0) {
        json_text_append_text(to, name, value);
    }
}

static enum err append_object(struct buf *to,
                              const struct outgoing_batch *batch,
                              uint64_t sequence,
                              const struct message *message)
{
    const struct outgoing_context context = {
        .topic = batch->topic,
        .sequence = sequence,
        .events = batch->events,
    };
    char memory[OUTGOING_ID_SIZE_MAX];

    if (batch->events != NULL) {
        return outgoing_event_append(to, message, &context);
    }
    buf_append_c(to, "{\"id\":\"");
    buf_append_json(to, outgoing_id(message, &context, memory));
    buf_append_byte(to, '"');
    json_text_append_text(to, "topic", batch->topic->store->name_str);
    json_text_append_number(to, "seq", sequence);
    json_text_append_time(to, "pushed_at", message->pushed_at_ms);
    if (message->options != NULL) {
        append_option(to, "key", message->options->key);
        append_option(to, "label", message->options->label);
    }
    append_headers(to, message);
    append_body(to, message);
    buf_append_byte(to, '}');
    return buf_err(to);
}

enum err outgoing_batch_add(struct outgoing_batch *batch,
                            uint64_t sequence,
                            const struct message *message)
{
    struct buf *body = &batch->outgoing->body;
    size_t size_before = body->size;

    if (message->blob.size > 0) {
        return ERR_UNSUPPORTED;
    }
    bool array = batch->format == SETTINGS_BATCH_JSON;
    if (array) {
        buf_append_byte(body, batch->count == 0 ? '[' : ',');
    }
    enum err err = append_object(body, batch, sequence, message);
    if (!array) {
        buf_append_byte(body, '\n');
    }
    bool fits = body->size < OUTGOING_BATCH_SIZE_MAX || batch->count == 0;
    if (err != ERR_OK || body->failed || !fits) {
        err = err != ERR_OK || body->failed ? ERR_NOMEM : ERR_TOO_LARGE;
        body->size = size_before;
        body->failed = false;
        return err;
    }
    batch->first = batch->count == 0 ? sequence : batch->first;
    batch->last = sequence;
    batch->count++;
    return ERR_OK;
}

enum err outgoing_batch_end(struct outgoing_batch *batch,
                            const struct outgoing_context *context)
{
    bool array = batch->format == SETTINGS_BATCH_JSON;
    struct message message = {
        .kind = MESSAGE_KIND_RAW,
        .content_type =
            array ? STR("application/json") : STR("application/x-ndjson"),
    };
    struct outgoing_context whole = *context;

    CHECK(batch->count > 0);
    if (batch->events != NULL) {
        message.content_type = STR("application/cloudevents-batch+json");
    }
    if (array) {
        buf_append_byte(&batch->outgoing->body, ']');
    }
    whole.topic = batch->topic;
    whole.sequence = batch->first;
    whole.sequence_last = batch->last;
    whole.batch_count = batch->count;
    return outgoing_finish(batch->outgoing, &message, &whole);
}
