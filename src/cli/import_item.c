/* A stored message as a push of the API.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/import_item.h"

#include "base/json_text.h"
#include "http/form.h"

#include <stdlib.h>
#include <string.h>

static const struct str form_type = {"application/x-www-form-urlencoded", 33};

/* A field, and as which one it came. */
struct field {
    struct pair pair;
    size_t place;
};

/* By name; of one name in the order in which they came. */
static int compare_fields(const void *left, const void *right)
{
    const struct field *a = left;
    const struct field *b = right;
    int order = str_compare(a->pair.key, b->pair.key);

    return order != 0 ? order : a->place < b->place ? -1 : 1;
}

void import_item_form(struct buf *to,
                      struct str topic,
                      const struct message *message)
{
    struct field fields[MESSAGE_PAIRS_MAX + 2];
    size_t count = 0;

    fields[count++].pair = (struct pair){STR("url"), message->url};
    fields[count++].pair = (struct pair){STR("topic"), topic};
    for (uint32_t index = 0; index < message->field_count; index++) {
        fields[count++].pair = message->fields[index];
    }
    for (size_t index = 0; index < count; index++) {
        fields[index].place = index;
    }
    qsort(fields, count, sizeof(fields[0]), compare_fields);
    for (size_t index = 0; index < count; index++) {
        buf_append_c(to, index > 0 ? "&" : "");
        form_escape(to, fields[index].pair.key);
        buf_append_byte(to, '=');
        form_escape(to, fields[index].pair.value);
    }
}

/* --- control values ------------------------------------------------------- */

/* Where the values go: as members of an object, or as header fields. */
struct values {
    struct buf *to;
    bool headers;
};

static void add_text(const struct values *values,
                     const char *member,
                     const char *header,
                     struct str text)
{
    if (text.size == 0) {
        return;
    }
    if (!values->headers) {
        json_text_append_text(values->to, member, text);
        return;
    }
    buf_append_format(values->to, "%s: %.*s\r\n", header, STR_ARG(text));
}

static void add_number(const struct values *values,
                       const char *member,
                       const char *header,
                       uint64_t value)
{
    char text[PUT_DECIMAL_MAX];

    add_text(values, member, header,
             (struct str){text, (size_t)(put_decimal(text, value) - text)});
}

static void add_span(const struct values *values,
                     const char *member,
                     const char *header,
                     uint64_t ms)
{
    char text[PUT_DECIMAL_MAX + 2];
    char *end = put_text(put_decimal(text, ms), STR("ms"));

    add_text(values, member, header, (struct str){text, (size_t)(end - text)});
}

static void add_options(const struct values *values,
                        const struct message_options *options,
                        uint64_t now_ms)
{
    add_text(values, "key", "Opq-Key", options->key);
    add_text(values, "label", "Opq-Label", options->label);
    add_text(values, "retry_schedule", "Opq-Retry-Schedule",
             options->retry_schedule);
    if (!str_starts(options->dedup_id, STR("sha256:"))) {
        add_text(values, "dedup_id", "Opq-Dedup-Id", options->dedup_id);
    }
    add_text(values, "collapse", "Opq-Collapse", options->collapse);
    add_text(values, "flow_key", "Opq-Flow-Key", options->flow_key);
    add_text(values, "callback", "Opq-Callback", options->callback);
    add_text(values, "failure_callback", "Opq-Failure-Callback",
             options->failure_callback);
    if (options->priority > 0) {
        add_number(values, "priority", "Opq-Priority", options->priority);
    }
    if (options->retries != MESSAGE_RETRIES_UNSET) {
        add_number(values, "retries", "Opq-Retries", options->retries);
    }
    if (options->expires_at_ms > 0) {
        add_span(values, "ttl", "Opq-Ttl",
                 options->expires_at_ms > now_ms
                     ? options->expires_at_ms - now_ms
                     : 1);
    }
}

static void add_values(const struct values *values,
                       const struct message *message,
                       uint64_t now_ms)
{
    add_text(values, "url", "Opq-Url", message->url);
    add_text(values, "method", "Opq-Method", message->method);
    if (message->timeout_ms > 0) {
        add_span(values, "timeout", "Opq-Timeout", message->timeout_ms);
    }
    if (message->options != NULL) {
        add_options(values, message->options, now_ms);
    }
}

/* --- pushes --------------------------------------------------------------- */

static void append_headers(struct buf *to, const struct message *message)
{
    buf_append_c(to, ",\"headers\":{");
    for (uint32_t index = 0; index < message->header_count; index++) {
        buf_append_c(to, index > 0 ? ",\"" : "\"");
        buf_append_json(to, message->headers[index].key);
        buf_append_c(to, "\":\"");
        buf_append_json(to, message->headers[index].value);
        buf_append_byte(to, '"');
    }
    buf_append_byte(to, '}');
}

static void write_item(struct buf *to,
                       struct str topic,
                       const struct message *message,
                       uint64_t now_ms,
                       uint64_t due_ms)
{
    const struct values values = {.to = to};
    struct buf form = {0};
    struct str body = message->body;
    struct str type = message->content_type;

    if (message->kind == MESSAGE_KIND_FORM) {
        import_item_form(&form, topic, message);
        body = buf_str(&form);
        type = type.size > 0 ? type : form_type;
    }
    buf_append_c(to, "{\"topic\":\"");
    buf_append_json(to, topic);
    buf_append_byte(to, '"');
    add_values(&values, message, now_ms);
    if (due_ms > 0) {
        json_text_append_time(to, "not_before", due_ms);
    }
    add_text(&values, "content_type", "", type);
    append_headers(to, message);
    json_text_append_bytes(to, "message", body);
    buf_append_c(to, "}\n");
    to->failed = to->failed || form.failed;
    buf_fini(&form);
}

void import_item_write(struct buf *to,
                       struct str topic,
                       const struct message *message,
                       uint64_t now_ms)
{
    write_item(to, topic, message, now_ms, 0);
}

void import_item_write_due(struct buf *to,
                           struct str topic,
                           const struct message *message,
                           uint64_t now_ms)
{
    uint64_t due_ms =
        message->options == NULL ? 0 : message->options->not_before_ms;

    /* ttl counts from then. */
    write_item(to, topic, message, due_ms > now_ms ? due_ms : now_ms, due_ms);
}

void import_item_headers(struct buf *to,
                         struct str topic,
                         const struct message *message,
                         uint64_t now_ms)
{
    const struct values values = {.to = to, .headers = true};

    add_text(&values, "", "Opq-Topic", topic);
    add_values(&values, message, now_ms);
    add_text(&values, "", "Content-Type",
             message->content_type.size > 0 ? message->content_type
                                            : STR("application/octet-stream"));
    for (uint32_t index = 0; index < message->header_count; index++) {
        buf_append_format(to, "Opq-Forward-%.*s: %.*s\r\n",
                          STR_ARG(message->headers[index].key),
                          STR_ARG(message->headers[index].value));
    }
}
