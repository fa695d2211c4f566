/* A record as JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_show.h"

#include "base/json_text.h"
#include "base/wall_time.h"

static void append_pairs(struct buf *to,
                         const char *name,
                         const struct pair *pairs,
                         uint32_t count)
{
    buf_append_format(to, ",\"%s\":[", name);
    for (uint32_t index = 0; index < count; index++) {
        buf_append_c(to, index > 0 ? ",{\"name\":\"" : "{\"name\":\"");
        buf_append_json(to, pairs[index].key);
        buf_append_byte(to, '"');
        json_text_append_bytes(to, "value", pairs[index].value);
        buf_append_byte(to, '}');
    }
    buf_append_byte(to, ']');
}

void store_show(const struct record *record, struct buf *to)
{
    const struct message *message = &record->message;

    json_text_append_time(to, "pushed_at", message->pushed_at_ms);
    json_text_append_text(to, "url", message->url);
    json_text_append_text(
        to, "method", message->method.size > 0 ? message->method : STR("POST"));
    json_text_append_number(to, "size", record->size);
    if (message->timeout_ms > 0) {
        json_text_append_number(to, "timeout_ms", message->timeout_ms);
    }
    append_pairs(to, "headers", message->headers, message->header_count);
    if (message->kind == MESSAGE_KIND_FORM) {
        json_text_append_text(to, "kind", STR("form"));
        json_text_append_text(to, "content_type",
                              message->content_type.size > 0
                                  ? message->content_type
                                  : STR("application/x-www-form-urlencoded"));
        append_pairs(to, "fields", message->fields, message->field_count);
        return;
    }
    json_text_append_text(to, "kind", STR("raw"));
    json_text_append_text(to, "content_type", message->content_type);
    if (message->blob.size > 0) {
        json_text_append_number(to, "body_size", message->blob.size);
        buf_append_c(to, ",\"body_omitted\":true");
        return;
    }
    json_text_append_bytes(to, "body", message->body);
}
