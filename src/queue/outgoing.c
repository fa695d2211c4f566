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
#include "queue/outgoing_event.h"

#include <stddef.h>
#include <string.h>

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
    if (message->url.size > 0) {
        fields[count++] = &url_field;
    }
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

void outgoing_render_body(struct buf *to,
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

bool outgoing_has_header(const struct message *message,
                         const struct pair *header)
{
    struct str name = header->key;
    bool is_type =
        name.size == 12 && str_equal_nocase(name, STR("content-type"));

    return !forward_drops(name) && !(is_type && has_content_type(message)) &&
           http_is_token(name) && http_is_field_value(header->value) &&
           !named_by_connection(message, name);
}

/* Write the message's own headers, but for those that settings replace. Says
 * whether one is User-Agent. */
static char *put_headers(char *to,
                         const struct message *message,
                         struct str settings,
                         bool *out_has_agent)
{
    bool has_agent = false;

    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct pair *header = &message->headers[i];
        struct str name = header->key;
        if (!outgoing_has_header(message, header) ||
            (settings.size > 0 && header_lines_have(settings, name))) {
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

struct str outgoing_id(const struct message *message,
                       const struct outgoing_context *context,
                       char memory[OUTGOING_ID_SIZE_MAX])
{
    if (message->options != NULL && message->options->id.size > 0 &&
        http_is_field_value(message->options->id)) {
        return message->options->id;
    }
    char *end = topic_message_id_put(context->topic, context->sequence, memory);
    if (context->batch_count > 0) {
        end = put_text(end, STR("_"));
        end = put_decimal(end, context->sequence_last);
    }
    return (struct str){memory, (size_t)(end - memory)};
}

/* Write what OPQ says about the message. */
static char *
put_place(char *to, struct str id, const struct outgoing_context *context)
{
    to = put_header(to, STR("webhook-id"), id);
    to = put_number(to, STR("webhook-timestamp"), context->now_s);
    to = put_header(to, STR("Opq-Topic"), context->topic->store->name_str);
    to = put_number(to, STR("Opq-Seq"), context->sequence);
    if (context->batch_count > 0) {
        to = put_number(to, STR("Opq-Seq-Last"), context->sequence_last);
        to = put_number(to, STR("Opq-Batch"), context->batch_count);
    }
    if (context->has_previous) {
        to = put_number(to, STR("Opq-Prev-Seq"), context->previous);
    }
    to = put_number(to, STR("Opq-Attempt"), context->attempt);
    if (context->replay.size > 0) {
        to = put_header(to, STR("Opq-Replay"), context->replay);
    }
    return to;
}

/* Remember what is wrong, for people; gives the error. */
static enum err
complain(struct outgoing *outgoing, enum err err, const char *why)
{
    outgoing->why = why;
    return err;
}

/* What an error of sign_begin() or secrets_expand() is to our caller. */
static enum err
complain_of_secret(struct outgoing *outgoing, enum err err, bool signing)
{
    switch (err) {
    case ERR_NOT_FOUND:
        return complain(outgoing, ERR_NOT_FOUND, "no such secret is in force");
    case ERR_INVALID:
        return complain(outgoing, ERR_NOT_FOUND,
                        signing ? "the secret is no key to sign with"
                                : "the secret is no text for a header");
    case ERR_TOO_LARGE:
        return complain(outgoing, ERR_TOO_LARGE,
                        "a body of this size needs a whsec_ key to be signed");
    default:
        return err;
    }
}

/* Sign the rendered body. Gives the header's value, of at most SIGN_SIZE_MAX
 * bytes.
 * Errors: as outgoing_render() */
static enum err make_signature(struct outgoing *outgoing,
                               const struct outgoing_context *context,
                               struct str id,
                               char *to,
                               size_t *out_size)
{
    const struct sign_content content = {
        .id = id,
        .timestamp_s = context->now_s,
        .body_size = outgoing->body.size,
    };

    enum err err = buf_err(&outgoing->body);
    if (err != ERR_OK) {
        return err;
    }
    err = sign_begin(context->sign, context->secrets, context->secret_names,
                     &content, &outgoing->wrong);
    if (err != ERR_OK) {
        return complain_of_secret(outgoing, err, true);
    }
    sign_update(context->sign, buf_str(&outgoing->body));
    return sign_finish(context->sign, to, out_size);
}

/* Write the signature: of the rendered body, or as it was made before. */
static enum err put_signature(struct outgoing *outgoing,
                              const struct outgoing_context *context,
                              struct str id,
                              char **to)
{
    size_t size = 0;
    enum err err = ERR_OK;

    if (context->secret_names.size == 0) {
        return ERR_OK;
    }
    *to = put_text(*to, STR("webhook-signature: "));
    if (context->signature.size > 0) {
        *to = put_text(*to, context->signature);
    } else {
        err = make_signature(outgoing, context, id, *to, &size);
        *to += size;
    }
    *to = put_text(*to, STR("\r\n"));
    return err;
}

/* The most bytes that a head can have. */
static size_t head_size_max(const struct message *message,
                            const struct outgoing_context *context)
{
    size_t size = HEAD_SIZE_FIXED + message->method.size +
                  context->url->target.size + context->url->authority.size +
                  context->user_agent.size + message->content_type.size +
                  context->topic->store->name_str.size + context->replay.size;

    if (message->options != NULL) {
        size += message->options->id.size;
    }
    if (context->secret_names.size > 0) {
        size += SIGN_SIZE_MAX + context->signature.size;
    }

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

/* Forget what a buffer has; wiped, if there may be secrets in it. */
static void forget(struct buf *buf, bool has_secret)
{
    if (has_secret && buf->capacity > 0) {
        explicit_bzero(buf->data, buf->capacity);
    }
    buf_clear(buf);
}

void outgoing_begin(struct outgoing *outgoing)
{
    forget(&outgoing->head, outgoing->has_secret);
    forget(&outgoing->settings, outgoing->has_secret);
    buf_clear(&outgoing->body);
    outgoing->has_secret = false;
    outgoing->why = NULL;
    outgoing->wrong = STR("");
}

/* Have the headers of settings ready.
 * Errors: ERR_NOT_FOUND, ERR_NOMEM */
static enum err expand_settings(struct outgoing *outgoing,
                                const struct outgoing_context *context)
{
    if (context->headers.size == 0) {
        return ERR_OK;
    }
    enum err err = header_lines_expand(
        context->headers, context->secrets, context->now_s * 1000,
        &outgoing->settings, &outgoing->has_secret, &outgoing->wrong);
    return err == ERR_OK ? ERR_OK : complain_of_secret(outgoing, err, false);
}

/* Write all headers, from the message's own to the length. */
static char *put_all_headers(char *to,
                             const struct outgoing *outgoing,
                             const struct message *message,
                             const struct outgoing_context *context,
                             struct str method)
{
    struct str settings = context->headers;
    const struct buf *body = &outgoing->body;
    bool has_agent = false;

    to = put_headers(to, message, settings, &has_agent);
    to = put_text(to, buf_str(&outgoing->settings));
    if (!has_agent && context->user_agent.size > 0 &&
        !header_lines_have(settings, STR("user-agent"))) {
        to = put_header(to, STR("User-Agent"), context->user_agent);
    }
    if (!header_lines_have(settings, STR("content-type"))) {
        to = put_type(to, message);
    }
    uint64_t size = message->blob.size > 0 ? message->blob.size : body->size;
    if (size > 0 || wants_length(method)) {
        to = put_number(to, STR("Content-Length"), size);
    }
    return to;
}

enum err outgoing_finish(struct outgoing *outgoing,
                         const struct message *message,
                         const struct outgoing_context *context)
{
    struct str method =
        message->method.size > 0 ? message->method : STR("POST");
    struct buf *head = &outgoing->head;
    char memory[OUTGOING_ID_SIZE_MAX];

    if (!http_is_token(method) || str_equal(method, STR("CONNECT"))) {
        return complain(outgoing, ERR_INVALID, "the method cannot be sent");
    }
    if (message->blob.size > 0 && context->secret_names.size > 0 &&
        context->signature.size == 0) {
        return ERR_AGAIN;
    }
    outgoing->head_only = str_equal(method, STR("HEAD"));
    enum err err = expand_settings(outgoing, context);
    if (err != ERR_OK) {
        return err;
    }
    size_t head_max = head_size_max(message, context) + outgoing->settings.size;
    if (buf_reserve(head, head_max) != ERR_OK) {
        return ERR_NOMEM;
    }
    char *to = put_start(head->data, method, context->url);
    to = put_all_headers(to, outgoing, message, context, method);
    struct str id = outgoing_id(message, context, memory);
    to = put_place(to, id, context);
    err = put_signature(outgoing, context, id, &to);
    if (err != ERR_OK) {
        return err;
    }
    to = put_text(to, STR("\r\n"));
    head->size = (size_t)(to - head->data);
    CHECK(head->size <= head_max);
    return buf_err(&outgoing->body);
}

enum err outgoing_sign_begin(struct outgoing *outgoing,
                             const struct message *message,
                             const struct outgoing_context *context,
                             struct sign *sign)
{
    char memory[OUTGOING_ID_SIZE_MAX];
    const struct sign_content content = {
        .id = outgoing_id(message, context, memory),
        .timestamp_s = context->now_s,
        .body_size = message->blob.size,
    };

    outgoing_begin(outgoing);
    enum err err = sign_begin(sign, context->secrets, context->secret_names,
                              &content, &outgoing->wrong);
    return err == ERR_OK ? ERR_OK : complain_of_secret(outgoing, err, true);
}

enum err outgoing_render(struct outgoing *outgoing,
                         const struct message *message,
                         const struct outgoing_context *context)
{
    outgoing_begin(outgoing);
    if (context->events != NULL) {
        return outgoing_event_render(outgoing, message, context);
    }
    outgoing_render_body(&outgoing->body, message, context->topic);
    return outgoing_finish(outgoing, message, context);
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

static void clear_buf(struct buf *buf, bool has_secret)
{
    forget(buf, has_secret);
    if (buf->capacity > OUTGOING_KEEP_MAX) {
        buf_fini(buf);
    }
}

void outgoing_clear(struct outgoing *outgoing)
{
    clear_buf(&outgoing->head, outgoing->has_secret);
    clear_buf(&outgoing->settings, outgoing->has_secret);
    clear_buf(&outgoing->body, false);
    outgoing->has_secret = false;
}

void outgoing_fini(struct outgoing *outgoing)
{
    outgoing_clear(outgoing);
    buf_fini(&outgoing->head);
    buf_fini(&outgoing->settings);
    buf_fini(&outgoing->body);
}
