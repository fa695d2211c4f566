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
    HEAD_SIZE_USUAL = 512,              /* bytes, without the headers' own */
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

static void append_header(struct buf *to, const char *name, struct str value)
{
    buf_append_c(to, name);
    buf_append(to, ": ", 2);
    buf_append_str(to, value);
    buf_append(to, "\r\n", 2);
}

static void append_number(struct buf *to, const char *name, uint64_t value)
{
    buf_append_c(to, name);
    buf_append(to, ": ", 2);
    buf_append_u64(to, value);
    buf_append(to, "\r\n", 2);
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

static void
render_start(struct buf *to, struct str method, const struct url *url)
{
    buf_append_str(to, method);
    buf_append_byte(to, ' ');
    if (url->target.size == 0 || url->target.data[0] == '?') {
        buf_append_byte(to, '/');
    }
    buf_append_str(to, url->target);
    buf_append_c(to, " HTTP/1.1\r\n");
    append_header(to, "Host", url->authority);
}

/* Tell whether the message's own content type stands in for a header. */
static bool has_content_type(const struct message *message)
{
    return message->kind == MESSAGE_KIND_FORM || message->content_type.size > 0;
}

/* Append the message's own headers. Returns whether one is User-Agent. */
static bool render_headers(struct buf *to, const struct message *message)
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
        buf_append_str(to, name);
        buf_append(to, ": ", 2);
        buf_append_str(to, header->value);
        buf_append(to, "\r\n", 2);
    }
    return has_agent;
}

static void render_type(struct buf *to, const struct message *message)
{
    if (message->content_type.size > 0 &&
        http_is_field_value(message->content_type)) {
        append_header(to, "Content-Type", message->content_type);
    } else if (message->kind == MESSAGE_KIND_FORM) {
        append_header(to, "Content-Type",
                      STR("application/x-www-form-urlencoded"));
    }
}

/* Append what OPQ says about the message. */
static void render_place(struct buf *to, const struct outgoing_context *context)
{
    buf_append_c(to, "webhook-id: ");
    topic_message_id(context->topic, context->sequence, to);
    buf_append(to, "\r\n", 2);
    append_number(to, "webhook-timestamp", context->now_s);
    append_header(to, "Opq-Topic", context->topic->store->name_str);
    append_number(to, "Opq-Seq", context->sequence);
    if (context->sequence > 0) {
        append_number(to, "Opq-Prev-Seq", context->sequence - 1);
    }
    append_number(to, "Opq-Attempt", context->attempt);
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
    if (buf_reserve(head, HEAD_SIZE_USUAL) != ERR_OK) {
        return ERR_NOMEM;
    }
    render_body(body, message, context->topic);
    render_start(head, method, context->url);
    bool has_agent = render_headers(head, message);
    if (!has_agent && context->user_agent.size > 0) {
        append_header(head, "User-Agent", context->user_agent);
    }
    render_type(head, message);
    uint64_t size = message->blob.size > 0 ? message->blob.size : body->size;
    if (size > 0 || wants_length(method)) {
        append_number(head, "Content-Length", size);
    }
    render_place(head, context);
    buf_append(head, "\r\n", 2);
    enum err err = buf_err(head);
    return err != ERR_OK ? err : buf_err(body);
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
