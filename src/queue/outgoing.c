/* The request that a message becomes.
 *
 * Headers were filtered when the message was pushed; here they are filtered
 * again, and names and values that could break the framing are left out, since
 * what is on disk may have come from an older or another program.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/outgoing.h"

#include "base/check.h"
#include "http/form.h"
#include "http/parse.h"
#include "queue/forward.h"

#include <stddef.h>

enum {
    FIELDS_MAX = MESSAGE_PAIRS_MAX + 2, /* with topic and url */
    /* Bytes of a head without what the message, its URL and topic and the
     * settings have of their own: names, six numbers, an id. */
    HEAD_SIZE_FIXED = 512,
};

/* Tell whether a Connection header of the message names a header. */
static bool named_by_connection(const struct message *message, struct str name)
{
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct pair *header = &message->headers[i];
        if (header->key.size == 10 &&
            str_equal_nocase(header->key, STR("connection")) &&
            http_list_has(header->value, name)) {
            return true;
        }
    }
    return false;
}

/* A head is written where there is room for the largest that it can be, so that
 * no piece of it asks again. */
static char *put_header(char *to, struct str name, struct str value)
{
    to = put_text(to, name);
    to = put_text(to, STR(": "));
    to = put_text(to, value);
    return put_text(to, STR("\r\n"));
}

static char *put_number(char *to, struct str name, uint64_t value)
{
    to = put_text(to, name);
    to = put_text(to, STR(": "));
    to = put_decimal(to, value);
    return put_text(to, STR("\r\n"));
}

/* Order by name, keeping the order of equal ones. Few, and mostly in order. */
static void sort_fields(const struct pair **fields, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        const struct pair *moving = fields[i];
        uint32_t at = i;
        while (at > 0 && str_compare(fields[at - 1]->key, moving->key) > 0) {
            fields[at] = fields[at - 1];
            at--;
        }
        fields[at] = moving;
    }
}

static void render_form(struct buf *to,
                        const struct message *message,
                        const struct topic *topic)
{
    const struct pair *fields[FIELDS_MAX];
    struct pair topic_field = {STR("topic"), topic->store->name_str};
    struct pair url_field = {STR("url"), message->url};
    uint32_t count = 0;

    CHECK(message->field_count <= MESSAGE_PAIRS_MAX);
    for (uint32_t i = 0; i < message->field_count; i++) {
        fields[count++] = &message->fields[i];
    }
    fields[count++] = &topic_field;
    fields[count++] = &url_field;
    sort_fields(fields, count);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_append_byte(to, '&');
        }
        form_escape(to, fields[i]->key);
        buf_append_byte(to, '=');
        form_escape(to, fields[i]->value);
    }
}

static void render_body(struct buf *to,
                        const struct message *message,
                        const struct topic *topic)
{
    if (message->kind == MESSAGE_KIND_FORM) {
        render_form(to, message, topic);
    } else {
        buf_append_str(to, message->body);
    }
}

static char *put_start(char *to, struct str method, const struct url *url)
{
    to = put_text(to, method);
    to = put_text(to, STR(" "));
    if (url->target.size == 0 || url->target.data[0] == '?') {
        to = put_text(to, STR("/"));
    }
    to = put_text(to, url->target);
    to = put_text(to, STR(" HTTP/1.1\r\n"));
    return put_header(to, STR("Host"), url->authority);
}

/* Tell whether the message's own content type stands in for a header. */
static bool has_content_type(const struct message *message)
{
    return message->kind == MESSAGE_KIND_FORM || message->content_type.size > 0;
}

/* Write the message's own headers. Says whether one is User-Agent. */
static char *
put_headers(char *to, const struct message *message, bool *out_has_agent)
{
    bool has_agent = false;

    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct pair *header = &message->headers[i];
        struct str name = header->key;
        bool is_type =
            name.size == 12 && str_equal_nocase(name, STR("content-type"));
        if (forward_drops(name) || (is_type && has_content_type(message)) ||
            !http_is_token(name) || !http_is_field_value(header->value) ||
            named_by_connection(message, name)) {
            continue;
        }
        has_agent = has_agent || (name.size == 10 &&
                                  str_equal_nocase(name, STR("user-agent")));
        to = put_header(to, name, header->value);
    }
    *out_has_agent = has_agent;
    return to;
}

static char *put_type(char *to, const struct message *message)
{
    if (message->content_type.size > 0 &&
        http_is_field_value(message->content_type)) {
        return put_header(to, STR("Content-Type"), message->content_type);
    }
    if (message->kind == MESSAGE_KIND_FORM) {
        return put_header(to, STR("Content-Type"),
                          STR("application/x-www-form-urlencoded"));
    }
    return to;
}

/* Write what OPQ says about the message. */
static char *put_place(char *to, const struct outgoing_context *context)
{
    to = put_text(to, STR("webhook-id: "));
    to = topic_message_id_put(context->topic, context->sequence, to);
    to = put_text(to, STR("\r\n"));
    to = put_number(to, STR("webhook-timestamp"), context->now_s);
    to = put_header(to, STR("Opq-Topic"), context->topic->store->name_str);
    to = put_number(to, STR("Opq-Seq"), context->sequence);
    if (context->sequence > 0) {
        to = put_number(to, STR("Opq-Prev-Seq"), context->sequence - 1);
    }
    return put_number(to, STR("Opq-Attempt"), context->attempt);
}

/* The most bytes that a head can have. */
static size_t head_size_max(const struct message *message,
                            const struct outgoing_context *context)
{
    size_t size = HEAD_SIZE_FIXED + message->method.size +
                  context->url->target.size + context->url->authority.size +
                  context->user_agent.size + message->content_type.size +
                  context->topic->store->name_str.size;

    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct pair *header = &message->headers[i];
        size += header->key.size + header->value.size + 4;
    }
    return size;
}

/* Tell whether a request without a body says so by a length (RFC 9110, 8.6):
 * those whose method has a meaning for one. */
static bool wants_length(struct str method)
{
    return !str_equal(method, STR("GET")) && !str_equal(method, STR("HEAD")) &&
           !str_equal(method, STR("DELETE")) &&
           !str_equal(method, STR("OPTIONS"));
}

enum err outgoing_render(struct outgoing *outgoing,
                         const struct message *message,
                         const struct outgoing_context *context)
{
    struct str method =
        message->method.size > 0 ? message->method : STR("POST");
    struct buf *head = &outgoing->head;
    struct buf *body = &outgoing->body;

    if (!http_is_token(method) || str_equal(method, STR("CONNECT"))) {
        return ERR_INVALID;
    }
    buf_clear(head);
    buf_clear(body);
    outgoing->head_only = str_equal(method, STR("HEAD"));
    size_t head_max = head_size_max(message, context);
    if (buf_reserve(head, head_max) != ERR_OK) {
        return ERR_NOMEM;
    }
    render_body(body, message, context->topic);
    bool has_agent = false;
    char *to = put_start(head->data, method, context->url);
    to = put_headers(to, message, &has_agent);
    if (!has_agent && context->user_agent.size > 0) {
        to = put_header(to, STR("User-Agent"), context->user_agent);
    }
    to = put_type(to, message);
    uint64_t size = message->blob.size > 0 ? message->blob.size : body->size;
    if (size > 0 || wants_length(method)) {
        to = put_number(to, STR("Content-Length"), size);
    }
    to = put_place(to, context);
    to = put_text(to, STR("\r\n"));
    head->size = (size_t)(to - head->data);
    CHECK(head->size <= head_max);
    return buf_err(body);
}

uint32_t outgoing_parts(const struct outgoing *outgoing,
                        struct iovec parts[OUTGOING_PARTS])
{
    parts[0] = (struct iovec){outgoing->head.data, outgoing->head.size};
    if (outgoing->body.size == 0) {
        return 1;
    }
    parts[1] = (struct iovec){outgoing->body.data, outgoing->body.size};
    return 2;
}

static void clear_buf(struct buf *buf)
{
    if (buf->capacity > OUTGOING_KEEP_MAX) {
        buf_fini(buf);
    } else {
        buf_clear(buf);
    }
}

void outgoing_clear(struct outgoing *outgoing)
{
    clear_buf(&outgoing->head);
    clear_buf(&outgoing->body);
}

void outgoing_fini(struct outgoing *outgoing)
{
    buf_fini(&outgoing->head);
    buf_fini(&outgoing->body);
}
