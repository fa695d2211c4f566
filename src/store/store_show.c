/* A record as JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_show.h"

#include "base/json_scan.h"
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

static void append_given(struct buf *to, const char *name, struct str text)
{
    if (text.size > 0) {
        json_text_append_text(to, name, text);
    }
}

/* Append why a message is dead: OPQ wrote a JSON object. */
static void append_dead(struct buf *to, struct str dead)
{
    struct json_scan scan = json_scan_of(dead);
    struct json_scan_value value;
    struct json_scan_value more;

    if (json_scan_next(&scan, &value) != ERR_OK ||
        json_scan_next(&scan, &more) != ERR_NOT_FOUND) {
        append_given(to, "dead", dead);
        return;
    }
    buf_append_c(to, ",\"dead\":");
    buf_append_str(to, value.text);
}

/* Append what the push asked for besides, by the names it has there. */
static void append_options(struct buf *to,
                           const struct message_options *options)
{
    append_given(to, "topic", options->topic);
    append_given(to, "key", options->key);
    if (options->priority > 0) {
        json_text_append_number(to, "priority", options->priority);
    }
    if (options->not_before_ms > 0) {
        json_text_append_time(to, "not_before", options->not_before_ms);
    }
    if (options->expires_at_ms > 0) {
        json_text_append_time(to, "expires_at", options->expires_at_ms);
    }
    if (options->retries != MESSAGE_RETRIES_UNSET) {
        json_text_append_number(to, "retries", options->retries);
    }
    append_given(to, "retry_schedule", options->retry_schedule);
    append_given(to, "label", options->label);
    append_given(to, "dedup_id", options->dedup_id);
    append_given(to, "collapse", options->collapse);
    append_given(to, "flow_key", options->flow_key);
    append_given(to, "callback", options->callback);
    append_given(to, "failure_callback", options->failure_callback);
    append_given(to, "subscription", options->subscription);
    append_dead(to, options->dead);
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
    if (message->options != NULL) {
        append_options(to, message->options);
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
