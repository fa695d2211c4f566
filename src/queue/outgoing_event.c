/* Deliveries that are CloudEvents.
 *
 * What happens: the message is read as an event, or an event is made of it;
 * then it is written in the mode that is asked for, and the head as for any
 * message, with other headers and another type. What can fail: memory, and what
 * fails for any message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/outgoing_event.h"

#include "base/json_scan.h"
#include "base/json_text.h"
#include "base/wall_time.h"
#include "queue/cloudevents.h"
#include "queue/json_type.h"

#include <stddef.h>

enum {
    HEADERS_MAX = MESSAGE_PAIRS_MAX + CLOUDEVENTS_ATTRIBUTES_MAX,
    TIME_SIZE_MAX = 32,
};

/* An event on its way out. */
struct sending {
    struct cloudevents_event event;
    struct buf memory; /* owned; what the event has decoded, or made */
    struct buf form;   /* owned; the body of a form */
    char id[OUTGOING_ID_SIZE_MAX];
};

static void sending_fini(struct sending *sending)
{
    buf_fini(&sending->memory);
    buf_fini(&sending->form);
}

/* --- what is no event ----------------------------------------------------- */

static void
add(struct cloudevents_event *event, const char *name, struct str value)
{
    event->attributes[event->count] = (struct pair){str_from(name), value};
    event->count++;
}

/* What was appended since `start`. */
static struct str since(const struct buf *buf, size_t start)
{
    return str_cut(buf_str(buf), start, buf->size);
}

/* Its source, and then the time, where there is room for both. */
static void make_texts(struct sending *sending,
                       const struct message *message,
                       const struct outgoing_context *context)
{
    struct buf *memory = &sending->memory;
    struct str source = str_from(context->events->cloudevents_source);

    if (source.size == 0) {
        buf_append_c(memory, "/topics/");
        buf_append_str(memory, context->topic->store->name_str);
        source = buf_str(memory);
    }
    size_t start = memory->size;
    wall_time_write(memory, message->pushed_at_ms);
    add(&sending->event, "source", source);
    add(&sending->event, "time", since(memory, start));
}

/* Make an event of a message that is none.
 * Errors: ERR_NOMEM */
static enum err make(struct sending *sending,
                     const struct message *message,
                     const struct outgoing_context *context)
{
    struct cloudevents_event *event = &sending->event;
    struct str type = str_from(context->events->cloudevents_type);
    bool form = message->kind == MESSAGE_KIND_FORM;

    buf_clear(&sending->memory);
    size_t size = 8 + context->topic->store->name_str.size + TIME_SIZE_MAX;
    if (buf_reserve(&sending->memory, size) != ERR_OK) {
        return ERR_NOMEM;
    }
    event->mode = CLOUDEVENTS_NONE;
    event->count = 0;
    add(event, "specversion", STR("1.0"));
    add(event, "id", outgoing_id(message, context, sending->id));
    add(event, "type", type.size > 0 ? type : STR("opq.message"));
    make_texts(sending, message, context);
    if (message->options != NULL && message->options->key.size > 0) {
        add(event, "subject", message->options->key);
    }
    event->content_type = message->content_type;
    event->data = message->body;
    if (form) {
        outgoing_render_body(&sending->form, message, context->topic);
        event->content_type = STR("application/x-www-form-urlencoded");
        event->data = buf_str(&sending->form);
    }
    event->kind =
        event->data.size > 0 ? CLOUDEVENTS_DATA_BYTES : CLOUDEVENTS_DATA_NONE;
    return sending->form.failed || sending->memory.failed ? ERR_NOMEM : ERR_OK;
}

/* Read a message as an event, or make one of it.
 * Errors: ERR_NOMEM */
static enum err load(struct sending *sending,
                     const struct message *message,
                     const struct outgoing_context *context)
{
    struct cloudevents_problem problem;

    enum err err =
        cloudevents_read(message, &sending->memory, &sending->event, &problem);
    return err == ERR_OK || err == ERR_NOMEM ? err
                                             : make(sending, message, context);
}

/* --- JSON ----------------------------------------------------------------- */

/* Tell whether a type is one of text in UTF-8, which JSON has as a string. */
static bool is_text_type(struct str type)
{
    struct str name = json_type_essence(type);
    size_t end = name.size > 4 ? name.size - 4 : 0;
    bool text =
        str_equal_nocase(str_cut(name, 0, 5), STR("text/")) ||
        str_equal_nocase(name, STR("application/xml")) ||
        str_equal_nocase(str_cut(name, end, 4), STR("+xml")) ||
        str_equal_nocase(name, STR("application/x-www-form-urlencoded"));
    struct str rest = type;

    while (text && rest.size > 0) { /* a charset other than UTF-8's */
        rest = str_cut(rest, str_find(rest, ';') + 1, rest.size);
        struct str parameter = str_trim(str_cut(rest, 0, str_find(rest, ';')));
        struct str value = str_cut(parameter, 8, parameter.size);
        if (str_equal_nocase(str_cut(parameter, 0, 8), STR("charset="))) {
            text = str_equal_nocase(value, STR("utf-8")) ||
                   str_equal_nocase(value, STR("\"utf-8\"")) ||
                   str_equal_nocase(value, STR("us-ascii"));
        }
    }
    return text;
}

static void append_data(struct buf *to, struct str type, struct str data)
{
    if (json_type_has(type, data)) {
        buf_append_c(to, ",\"data\":");
        buf_append_str(to, data);
    } else if (!json_type_is(type) && is_text_type(type) &&
               json_text_is_text(data)) {
        json_text_append_text(to, "data", data);
    } else {
        buf_append_c(to, ",\"data_base64\":\"");
        json_text_append_base64(to, data);
        buf_append_byte(to, '"');
    }
}

/* Write an event that is not structured. */
static void append_event(struct buf *to, const struct cloudevents_event *event)
{
    for (uint32_t index = 0; index < event->count; index++) {
        const struct pair *attribute = &event->attributes[index];
        buf_append_c(to, index == 0 ? "{\"" : ",\"");
        buf_append_str(to, attribute->key);
        buf_append_c(to, "\":\"");
        buf_append_json(to, attribute->value);
        buf_append_byte(to, '"');
    }
    if (event->content_type.size > 0) {
        json_text_append_text(to, "datacontenttype", event->content_type);
    }
    if (event->kind != CLOUDEVENTS_DATA_NONE) {
        append_data(to, event->content_type, event->data);
    }
    buf_append_byte(to, '}');
}

enum err outgoing_event_append(struct buf *to,
                               const struct message *message,
                               const struct outgoing_context *context)
{
    struct sending sending = {.event = {.count = 0}};

    enum err err = load(&sending, message, context);
    if (err == ERR_OK && sending.event.mode == CLOUDEVENTS_STRUCTURED) {
        buf_append_str(to, message->body);
    } else if (err == ERR_OK) {
        append_event(to, &sending.event);
    }
    sending_fini(&sending);
    return err == ERR_OK ? buf_err(to) : err;
}

/* --- requests ------------------------------------------------------------- */

/* Copy the headers of a message but for attributes; returns how many. */
static uint32_t other_headers(const struct message *message,
                              struct pair headers[MESSAGE_PAIRS_MAX])
{
    uint32_t count = 0;

    for (uint32_t index = 0;
         index < message->header_count && count < MESSAGE_PAIRS_MAX; index++) {
        if (!cloudevents_is_header(message->headers[index].key)) {
            headers[count++] = message->headers[index];
        }
    }
    return count;
}

static enum err render_structured(struct outgoing *outgoing,
                                  const struct message *message,
                                  const struct outgoing_context *context)
{
    struct pair headers[MESSAGE_PAIRS_MAX];
    struct message event = *message;

    enum err err = outgoing_event_append(&outgoing->body, message, context);
    if (err != ERR_OK) {
        return err;
    }
    event.kind = MESSAGE_KIND_RAW;
    event.content_type = STR("application/cloudevents+json");
    event.headers = headers;
    event.header_count = other_headers(message, headers);
    return outgoing_finish(outgoing, &event, context);
}

/* Write the attributes as headers, which borrow `texts`. Returns how many.
 * Errors: ERR_NOMEM */
static enum err attribute_headers(const struct cloudevents_event *event,
                                  struct buf *texts,
                                  struct pair *headers)
{
    size_t size = 0;

    for (uint32_t index = 0; index < event->count; index++) {
        const struct pair *attribute = &event->attributes[index];
        size += 3 + attribute->key.size + 3 * attribute->value.size;
    }
    if (buf_reserve(texts, size) != ERR_OK) {
        return ERR_NOMEM;
    }
    for (uint32_t index = 0; index < event->count; index++) {
        const struct pair *attribute = &event->attributes[index];
        size_t start = texts->size;
        buf_append_c(texts, "ce-");
        buf_append_str(texts, attribute->key);
        headers[index].key = since(texts, start);
        start = texts->size;
        cloudevents_append_header(texts, attribute->value);
        headers[index].value = since(texts, start);
    }
    return ERR_OK;
}

/* Write the data of a structured event as a body, and tell its type.
 * Errors: ERR_NOMEM */
static enum err
body_of_data(struct sending *sending, struct buf *body, struct str *type)
{
    const struct cloudevents_event *event = &sending->event;
    bool json =
        event->content_type.size == 0 || json_type_is(event->content_type);
    struct json_scan scan = json_scan_of(event->data);
    struct json_scan_value value;
    struct str text = event->data;

    *type = event->content_type;
    if (event->kind == CLOUDEVENTS_DATA_JSON) {
        if (event->content_type.size == 0) {
            *type = STR("application/json");
        }
        if (!json && json_scan_next(&scan, &value) == ERR_OK &&
            value.type == JSON_SCAN_STRING &&
            json_scan_string(&value, &sending->memory, &text) != ERR_OK) {
            text = event->data; /* half of a surrogate pair: as it stands */
        }
    }
    buf_append_str(body, text);
    return buf_err(body);
}

/* Write body and head of an event that was loaded. */
static enum err send_binary(struct outgoing *outgoing,
                            const struct message *message,
                            const struct outgoing_context *context,
                            struct sending *sending,
                            struct buf *texts)
{
    struct pair headers[HEADERS_MAX];
    struct message event = *message;
    enum err err = ERR_OK;

    if (sending->event.mode == CLOUDEVENTS_STRUCTURED) {
        err = body_of_data(sending, &outgoing->body, &event.content_type);
    } else {
        outgoing_render_body(&outgoing->body, message, context->topic);
    }
    event.headers = headers;
    event.header_count = other_headers(message, headers);
    if (err == ERR_OK) {
        err = attribute_headers(&sending->event, texts,
                                headers + event.header_count);
    }
    if (err != ERR_OK) {
        return err;
    }
    event.header_count += sending->event.count;
    return outgoing_finish(outgoing, &event, context);
}

static enum err render_binary(struct outgoing *outgoing,
                              const struct message *message,
                              const struct outgoing_context *context)
{
    struct sending sending = {.event = {.count = 0}};
    struct buf texts = {0};

    enum err err = load(&sending, message, context);
    if (err == ERR_OK) {
        err = send_binary(outgoing, message, context, &sending, &texts);
    }
    buf_fini(&texts);
    sending_fini(&sending);
    return err;
}

/* Tell whether a message that says it is an event in one mode cannot be read
 * as such. */
static bool is_unreadable(const struct message *message)
{
    struct cloudevents_problem problem;
    struct cloudevents_event event;
    struct buf memory = {0};

    enum err err = cloudevents_read(message, &memory, &event, &problem);
    buf_fini(&memory);
    return err == ERR_INVALID;
}

enum err outgoing_event_render(struct outgoing *outgoing,
                               const struct message *message,
                               const struct outgoing_context *context)
{
    enum cloudevents_mode mode = cloudevents_mode(message);
    bool structured =
        context->events->cloudevents == SETTINGS_EVENTS_STRUCTURED &&
        message->blob.size == 0;
    enum cloudevents_mode wanted =
        structured ? CLOUDEVENTS_STRUCTURED : CLOUDEVENTS_BINARY;

    if (mode == wanted || mode == CLOUDEVENTS_OPAQUE ||
        (mode != CLOUDEVENTS_NONE && is_unreadable(message))) {
        outgoing_render_body(&outgoing->body, message, context->topic);
        return outgoing_finish(outgoing, message, context);
    }
    return structured ? render_structured(outgoing, message, context)
                      : render_binary(outgoing, message, context);
}
