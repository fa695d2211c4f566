/* The lines of an export, read: by anyone's hand, so nothing in them is
 * believed before it was looked at.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/archive.h"

#include "base/base64.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

enum { ID_DIGITS = 16 };

/* A line being read: the first thing that is wrong is kept. */
struct parse {
    struct archive_line *line;
    const json_t *object;
    enum err err;
};

static void refuse(struct parse *parse, enum err err)
{
    parse->err = parse->err == ERR_OK ? err : parse->err;
}

/* A value as append_value() writes it. The memory has room for all of them. */
static struct str value_of(struct parse *parse, const json_t *value)
{
    struct buf *memory = &parse->line->memory;
    const json_t *coded = json_object_get(value, "base64");
    const json_t *text = coded != NULL ? coded : value;
    size_t size = 0;

    if (!json_is_string(text)) {
        refuse(parse, ERR_INVALID);
        return (struct str){NULL, 0};
    }
    struct str bytes = {json_string_value(text), json_string_length(text)};
    if (coded == NULL || bytes.size == 0) {
        return bytes;
    }
    if (base64_size_max(bytes.size) > memory->capacity - memory->size ||
        base64_decode(bytes, memory->data + memory->size, &size) != ERR_OK) {
        refuse(parse, ERR_INVALID);
        return (struct str){NULL, 0};
    }
    bytes = (struct str){memory->data + memory->size, size};
    memory->size += size;
    return bytes;
}

/* A member that may be absent: then it is empty. */
static struct str text_of(struct parse *parse, const char *name)
{
    const json_t *value = json_object_get(parse->object, name);

    return value == NULL ? (struct str){NULL, 0} : value_of(parse, value);
}

/* A number in an array or an object; none is below 0. */
static uint64_t
number_in(struct parse *parse, const json_t *value, uint64_t max)
{
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || (uint64_t)number > max) {
        refuse(parse, ERR_INVALID);
        return 0;
    }
    return (uint64_t)number;
}

/* A member that may be absent: then it is 0. */
static uint64_t number_of(struct parse *parse, const char *name, uint64_t max)
{
    const json_t *value = json_object_get(parse->object, name);

    return value == NULL ? 0 : number_in(parse, value, max);
}

/* An id in hexadecimal; 0 when it is absent. */
static uint64_t id_of(struct parse *parse)
{
    struct str text = text_of(parse, "id");
    uint64_t id = 0;

    if (text.size != 0 && text.size != ID_DIGITS) {
        refuse(parse, ERR_INVALID);
        return 0;
    }
    for (size_t index = 0; index < text.size; index++) {
        const char *digits = "0123456789abcdef";
        const char *digit = memchr(digits, text.data[index], ID_DIGITS);
        if (digit == NULL) {
            refuse(parse, ERR_INVALID);
            return 0;
        }
        id = id << 4 | (uint64_t)(digit - digits);
    }
    return id;
}

/* --- topics --------------------------------------------------------------- */

static void read_conf(struct parse *parse, const char *name)
{
    struct topic_conf *conf = &parse->line->conf;

    *conf = (struct topic_conf){
        .id = id_of(parse),
        .created_ms = number_of(parse, "created_ms", INT64_MAX),
        .settings = text_of(parse, "settings"),
        .retain_age_ms = number_of(parse, "retain_age_ms", INT64_MAX),
        .retain_bytes = number_of(parse, "retain_bytes", INT64_MAX),
        .retain_count = number_of(parse, "retain_count", INT64_MAX),
        .discard_old = number_of(parse, "discard_old", 1) != 0,
        .loose = number_of(parse, "loose", 1) != 0,
        .name = text_of(parse, name),
    };
    parse->line->name = conf->name;
    if (conf->settings.size > TOPIC_CONF_SETTINGS_MAX) {
        refuse(parse, ERR_INVALID);
    }
}

/* Element `at` of a pair of numbers. */
static uint64_t element(struct parse *parse, const json_t *pair, size_t at)
{
    if (json_array_size(pair) != 2) {
        refuse(parse, ERR_INVALID);
        return 0;
    }
    return number_in(parse, json_array_get(pair, at), INT64_MAX);
}

/* Read the ranges, any number of them: those that the cursor has no room for
 * are the line's. */
static void read_ranges(struct parse *parse, const json_t *ranges)
{
    struct topic_cursor *cursor = &parse->line->cursor;
    uint64_t above = cursor->next;
    size_t index = 0;
    const json_t *pair = NULL;

    json_array_foreach(ranges, index, pair)
    {
        const struct topic_range range = {element(parse, pair, 0),
                                          element(parse, pair, 1)};
        if (range.first < above || range.end <= range.first) {
            refuse(parse, ERR_INVALID);
            return;
        }
        above = range.end;
        if (index < TOPIC_RANGES_MAX) {
            cursor->ranges[index] = range;
            cursor->range_count++;
        } else if (topic_gaps_add(&parse->line->acked, range.first,
                                  range.end) != ERR_OK) {
            refuse(parse, ERR_NOMEM);
            return;
        }
    }
}

static void read_cursor(struct parse *parse)
{
    struct topic_cursor *cursor = &parse->line->cursor;
    const json_t *ranges = json_object_get(parse->object, "ranges");
    const json_t *retries = json_object_get(parse->object, "retries");
    size_t index = 0;
    const json_t *pair = NULL;

    memset(cursor, 0, sizeof(*cursor));
    cursor->next = number_of(parse, "cursor", INT64_MAX);
    cursor->epoch = number_of(parse, "epoch", INT64_MAX);
    cursor->attempts = (uint32_t)number_of(parse, "attempts", UINT32_MAX);
    if (json_array_size(retries) > TOPIC_RETRIES_MAX) {
        refuse(parse, ERR_INVALID);
        return;
    }
    read_ranges(parse, ranges);
    json_array_foreach(retries, index, pair)
    {
        uint64_t attempts = element(parse, pair, 1);
        if (attempts == 0 || attempts > UINT32_MAX) {
            refuse(parse, ERR_INVALID);
        }
        cursor->retries[index] =
            (struct topic_retry){element(parse, pair, 0), (uint32_t)attempts};
        cursor->retry_count++;
    }
    if (parse->err == ERR_OK && !topic_cursor_valid(cursor)) {
        refuse(parse, ERR_INVALID);
    }
}

/* --- messages ------------------------------------------------------------- */

static uint32_t
read_pairs(struct parse *parse, const json_t *pairs, struct pair *to)
{
    size_t index = 0;
    const json_t *pair = NULL;

    if (pairs != NULL &&
        (!json_is_array(pairs) || json_array_size(pairs) > MESSAGE_PAIRS_MAX)) {
        refuse(parse, ERR_INVALID);
        return 0;
    }
    json_array_foreach(pairs, index, pair)
    {
        if (json_array_size(pair) != 2) {
            refuse(parse, ERR_INVALID);
            return 0;
        }
        to[index].key = value_of(parse, json_array_get(pair, 0));
        to[index].value = value_of(parse, json_array_get(pair, 1));
    }
    return (uint32_t)index;
}

/* The options by their names; `record->options` has what they say. */
static void read_options(struct parse *parse)
{
    static const struct {
        const char *name;
        size_t at;
    } texts[] = {
        {"key", offsetof(struct message_options, key)},
        {"label", offsetof(struct message_options, label)},
        {"retry_schedule", offsetof(struct message_options, retry_schedule)},
        {"dedup_id", offsetof(struct message_options, dedup_id)},
        {"collapse", offsetof(struct message_options, collapse)},
        {"flow_key", offsetof(struct message_options, flow_key)},
        {"callback", offsetof(struct message_options, callback)},
        {"failure_callback",
         offsetof(struct message_options, failure_callback)},
        {"message_id", offsetof(struct message_options, id)},
        {"for_topic", offsetof(struct message_options, topic)},
        {"dead", offsetof(struct message_options, dead)},
        {"for_subscription", offsetof(struct message_options, subscription)},
    };
    struct record *record = &parse->line->record;
    struct message_options *options = &record->options;
    bool any = false;

    *options = (struct message_options){.retries = MESSAGE_RETRIES_UNSET};
    for (size_t index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        struct str text = text_of(parse, texts[index].name);
        memcpy((char *)options + texts[index].at, &text, sizeof(text));
        any = any || text.size > 0;
    }
    options->not_before_ms = number_of(parse, "not_before_ms", INT64_MAX);
    options->expires_at_ms = number_of(parse, "expires_at_ms", INT64_MAX);
    options->priority =
        (uint32_t)number_of(parse, "priority", MESSAGE_PRIORITY_MAX);
    if (json_object_get(parse->object, "retries") != NULL) {
        options->retries =
            (uint32_t)number_of(parse, "retries", MESSAGE_RETRIES_UNSET - 1);
    }
    any = any || options->not_before_ms > 0 || options->expires_at_ms > 0 ||
          options->priority > 0 || options->retries != MESSAGE_RETRIES_UNSET;
    record->message.options = any ? options : NULL;
}

/* The body: a form, bytes, or the size of parts that follow. */
static void read_body(struct parse *parse, struct record *record)
{
    struct message *message = &record->message;
    const json_t *form = json_object_get(parse->object, "form");
    const json_t *body = json_object_get(parse->object, "body");

    message->kind = MESSAGE_KIND_RAW;
    message->blob.size = number_of(parse, "body_size", INT64_MAX);
    message->blob.crc = (uint32_t)number_of(parse, "body_crc32c", UINT32_MAX);
    if ((form != NULL) + (body != NULL) + (message->blob.size > 0) != 1) {
        refuse(parse, ERR_INVALID);
    } else if (form != NULL) {
        message->kind = MESSAGE_KIND_FORM;
        message->fields = record->memory;
        message->field_count = read_pairs(parse, form, record->memory);
    } else if (body != NULL) {
        message->body = value_of(parse, body);
    }
}

static void read_message(struct parse *parse)
{
    struct record *record = &parse->line->record;
    struct message *message = &record->message;
    size_t size = 0;

    record->sequence = number_of(parse, "seq", INT64_MAX);
    *message = (struct message){
        .url = text_of(parse, "url"),
        .method = text_of(parse, "method"),
        .content_type = text_of(parse, "content_type"),
        .timeout_ms = (uint32_t)number_of(parse, "timeout_ms", UINT32_MAX),
        .pushed_at_ms = number_of(parse, "pushed_at_ms", INT64_MAX),
    };
    read_options(parse);
    read_body(parse, record);
    message->headers = record->memory + MESSAGE_PAIRS_MAX;
    message->header_count =
        read_pairs(parse, json_object_get(parse->object, "headers"),
                   record->memory + MESSAGE_PAIRS_MAX);
    if (parse->err == ERR_OK && record_size(message, &size) != ERR_OK) {
        refuse(parse, ERR_INVALID);
    }
    record->size = (uint32_t)size;
}

/* --- lines ---------------------------------------------------------------- */

static void read_head(struct parse *parse)
{
    uint64_t version = number_of(parse, "opq_export", INT64_MAX);

    if (version != ARCHIVE_VERSION) {
        refuse(parse,
               version > ARCHIVE_VERSION ? ERR_UNSUPPORTED : ERR_INVALID);
    }
    parse->line->id = id_of(parse);
}

static void read_topic(struct parse *parse)
{
    read_conf(parse, "topic");
    parse->line->first = number_of(parse, "first", INT64_MAX);
}

static void read_view(struct parse *parse)
{
    read_conf(parse, "subscription");
    read_cursor(parse);
}

static void read_part(struct parse *parse)
{
    struct buf *memory = &parse->line->memory;
    struct str text = text_of(parse, "part");
    size_t size = 0;

    if (text.size == 0 || base64_decode(text, memory->data, &size) != ERR_OK) {
        refuse(parse, ERR_INVALID);
    }
    parse->line->part = (struct str){memory->data, size};
}

static void read_topic_end(struct parse *parse)
{
    parse->line->name = text_of(parse, "topic_end");
    parse->line->messages = number_of(parse, "messages", INT64_MAX);
    parse->line->end = number_of(parse, "next", INT64_MAX);
}

static void read_end(struct parse *parse)
{
    parse->line->topics = number_of(parse, "export_end", INT64_MAX);
    parse->line->messages = number_of(parse, "messages", INT64_MAX);
}

/* Lines by the member that only they have. */
static const struct {
    const char *member;
    enum archive_kind kind;
    void (*read)(struct parse *parse);
} kinds[] = {
    {"seq", ARCHIVE_MESSAGE, read_message},
    {"part", ARCHIVE_PART, read_part},
    {"topic", ARCHIVE_TOPIC, read_topic},
    {"subscription", ARCHIVE_VIEW, read_view},
    {"cursor", ARCHIVE_CURSOR, read_cursor},
    {"topic_end", ARCHIVE_TOPIC_END, read_topic_end},
    {"opq_export", ARCHIVE_HEAD, read_head},
    {"export_end", ARCHIVE_END, read_end},
};

static enum err read_kind(struct archive_line *line)
{
    struct parse parse = {.line = line, .object = line->document};

    for (size_t index = 0; index < sizeof(kinds) / sizeof(kinds[0]); index++) {
        if (json_object_get(line->document, kinds[index].member) != NULL) {
            line->kind = kinds[index].kind;
            kinds[index].read(&parse);
            return parse.err;
        }
    }
    return ERR_INVALID;
}

enum err archive_read(struct str text, struct archive_line *line)
{
    json_error_t error;

    json_decref(line->document);
    buf_clear(&line->memory);
    topic_gaps_fini(&line->acked);
    line->document = json_loadb(text.data == NULL ? "" : text.data, text.size,
                                JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(line->document)) {
        return ERR_INVALID;
    }
    /* All that is decoded is shorter than the line. */
    if (buf_reserve(&line->memory, text.size + 1) != ERR_OK) {
        return ERR_NOMEM;
    }
    return read_kind(line);
}

void archive_line_fini(struct archive_line *line)
{
    json_decref(line->document);
    buf_fini(&line->memory);
    topic_gaps_fini(&line->acked);
    line->document = NULL;
}
