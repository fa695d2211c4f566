/* The lines of an export, written.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/archive.h"

#include "base/json_text.h"

/* Append a value: a string, or {"base64":"..."} for bytes that are no text. */
static void append_value(struct buf *to, struct str bytes)
{
    if (json_text_is_text(bytes)) {
        buf_append_byte(to, '"');
        buf_append_json(to, bytes);
        buf_append_byte(to, '"');
        return;
    }
    buf_append_c(to, "{\"base64\":\"");
    json_text_append_base64(to, bytes);
    buf_append_c(to, "\"}");
}

static void append_given(struct buf *to, const char *name, struct str bytes)
{
    if (bytes.size > 0) {
        buf_append_format(to, ",\"%s\":", name);
        append_value(to, bytes);
    }
}

static void append_number(struct buf *to, const char *name, uint64_t value)
{
    if (value > 0) {
        json_text_append_number(to, name, value);
    }
}

static void append_pairs(struct buf *to,
                         const char *name,
                         const struct pair *pairs,
                         uint32_t count)
{
    buf_append_format(to, ",\"%s\":[", name);
    for (uint32_t index = 0; index < count; index++) {
        buf_append_c(to, index > 0 ? ",[" : "[");
        append_value(to, pairs[index].key);
        buf_append_byte(to, ',');
        append_value(to, pairs[index].value);
        buf_append_byte(to, ']');
    }
    buf_append_byte(to, ']');
}

void archive_write_head(struct buf *to, uint64_t id, uint64_t now_ms)
{
    buf_append_format(to, "{\"opq_export\":%d,\"id\":\"%016llx\"",
                      (int)ARCHIVE_VERSION, (unsigned long long)id);
    json_text_append_time(to, "exported_at", now_ms);
    buf_append_c(to, "}\n");
}

/* What topics and views have in common. */
static void append_conf(struct buf *to, const struct topic_conf *conf)
{
    buf_append_format(to, ",\"id\":\"%016llx\"", (unsigned long long)conf->id);
    append_number(to, "created_ms", conf->created_ms);
    append_given(to, "settings", conf->settings);
}

void archive_write_topic(struct buf *to,
                         struct str name,
                         const struct topic_conf *conf,
                         uint64_t first)
{
    buf_append_c(to, "{\"topic\":");
    append_value(to, name);
    append_conf(to, conf);
    append_number(to, "retain_age_ms", conf->retain_age_ms);
    append_number(to, "retain_bytes", conf->retain_bytes);
    append_number(to, "retain_count", conf->retain_count);
    append_number(to, "discard_old", conf->discard_old ? 1 : 0);
    json_text_append_number(to, "first", first);
    buf_append_c(to, "}\n");
}

static void
append_range(struct buf *to, size_t at, uint64_t first, uint64_t end)
{
    buf_append_format(to, "%s[%llu,%llu]", at > 0 ? "," : ",\"ranges\":[",
                      (unsigned long long)first, (unsigned long long)end);
}

/* Append the ranges of a list, or else the cursor's own. */
static void append_ranges(struct buf *to,
                          const struct topic_cursor *cursor,
                          const struct topic_gaps *acked)
{
    for (size_t index = 0; index < acked->count; index++) {
        append_range(to, index, acked->gaps[index].first,
                     acked->gaps[index].end);
    }
    for (uint32_t index = 0; acked->count == 0 && index < cursor->range_count;
         index++) {
        append_range(to, index, cursor->ranges[index].first,
                     cursor->ranges[index].end);
    }
    buf_append_c(to, acked->count > 0 || cursor->range_count > 0 ? "]" : "");
}

static void append_cursor(struct buf *to,
                          const struct topic_cursor *cursor,
                          const struct topic_gaps *acked)
{
    buf_append_format(to, "\"cursor\":%llu", (unsigned long long)cursor->next);
    append_number(to, "epoch", cursor->epoch);
    append_number(to, "attempts", cursor->attempts);
    append_ranges(to, cursor, acked);
    if (cursor->retry_count > 0) {
        buf_append_c(to, ",\"retries\":[");
    }
    for (uint32_t index = 0; index < cursor->retry_count; index++) {
        buf_append_format(to, "%s[%llu,%lu]", index > 0 ? "," : "",
                          (unsigned long long)cursor->retries[index].sequence,
                          (unsigned long)cursor->retries[index].attempts);
    }
    buf_append_c(to, cursor->retry_count > 0 ? "]" : "");
}

void archive_write_cursor(struct buf *to,
                          const struct topic_cursor *cursor,
                          const struct topic_gaps *acked)
{
    buf_append_byte(to, '{');
    append_cursor(to, cursor, acked);
    buf_append_c(to, "}\n");
}

void archive_write_view(struct buf *to,
                        struct str name,
                        const struct topic_conf *conf,
                        const struct topic_cursor *cursor,
                        const struct topic_gaps *acked)
{
    buf_append_c(to, "{\"subscription\":");
    append_value(to, name);
    append_conf(to, conf);
    append_number(to, "loose", conf->loose ? 1 : 0);
    buf_append_byte(to, ',');
    append_cursor(to, cursor, acked);
    buf_append_c(to, "}\n");
}

static void append_options(struct buf *to,
                           const struct message_options *options)
{
    append_given(to, "key", options->key);
    append_given(to, "label", options->label);
    append_given(to, "retry_schedule", options->retry_schedule);
    append_given(to, "dedup_id", options->dedup_id);
    append_given(to, "collapse", options->collapse);
    append_given(to, "flow_key", options->flow_key);
    append_given(to, "callback", options->callback);
    append_given(to, "failure_callback", options->failure_callback);
    append_given(to, "message_id", options->id);
    append_given(to, "for_topic", options->topic);
    append_given(to, "dead", options->dead);
    append_given(to, "for_subscription", options->subscription);
    append_number(to, "not_before_ms", options->not_before_ms);
    append_number(to, "expires_at_ms", options->expires_at_ms);
    append_number(to, "priority", options->priority);
    if (options->retries != MESSAGE_RETRIES_UNSET) {
        json_text_append_number(to, "retries", options->retries);
    }
}

void archive_write_message(struct buf *to, const struct record *record)
{
    const struct message *message = &record->message;

    buf_append_format(to, "{\"seq\":%llu",
                      (unsigned long long)record->sequence);
    json_text_append_number(to, "pushed_at_ms", message->pushed_at_ms);
    append_given(to, "url", message->url);
    append_given(to, "method", message->method);
    append_given(to, "content_type", message->content_type);
    append_number(to, "timeout_ms", message->timeout_ms);
    if (message->options != NULL) {
        append_options(to, message->options);
    }
    if (message->header_count > 0) {
        append_pairs(to, "headers", message->headers, message->header_count);
    }
    if (message->kind == MESSAGE_KIND_FORM) {
        append_pairs(to, "form", message->fields, message->field_count);
    } else if (message->blob.size > 0) {
        json_text_append_number(to, "body_size", message->blob.size);
        json_text_append_number(to, "body_crc32c", message->blob.crc);
    } else {
        buf_append_c(to, ",\"body\":");
        append_value(to, message->body);
    }
    buf_append_c(to, "}\n");
}

void archive_write_part(struct buf *to, struct str bytes)
{
    buf_append_c(to, "{\"part\":\"");
    json_text_append_base64(to, bytes);
    buf_append_c(to, "\"}\n");
}

void archive_write_topic_end(struct buf *to,
                             struct str name,
                             uint64_t messages,
                             uint64_t end)
{
    buf_append_c(to, "{\"topic_end\":");
    append_value(to, name);
    json_text_append_number(to, "messages", messages);
    json_text_append_number(to, "next", end);
    buf_append_c(to, "}\n");
}

void archive_write_end(struct buf *to, uint64_t topics, uint64_t messages)
{
    buf_append_format(to, "{\"export_end\":%llu", (unsigned long long)topics);
    json_text_append_number(to, "messages", messages);
    buf_append_c(to, "}\n");
}
