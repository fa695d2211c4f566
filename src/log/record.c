/* A message as it is stored: writing it.
 *
 * FlatBuffers are usually built backwards into a buffer that is then copied.
 * Here all sizes are known beforehand, so the table is written forward, once,
 * into its place:
 *
 *     0    root offset
 *     4    vtable of Message (8 fields)
 *     24   vtable of Body and Header (2 fields; both have the same shape)
 *     32   table Message
 *     72   vector of body, vector of header: offsets to tables
 *          the tables: vtable, key, value
 *          strings and raw bytes
 *
 * Where the body lies beside (record_layout.h), three fields follow the table,
 * at 72; where there are options, the offset to them. The vtable that has these
 * fields comes next, then the table Options with its own vtable, and all else
 * lies behind: the many records that have none are none the larger for it.
 *
 * Every offset points forward, as the format wants it; a vtable may lie on
 * either side of its table. Fields that are empty are absent.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/record.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "log/record_layout.h"

#include <stddef.h>
#include <string.h>

static size_t align(size_t size, size_t to)
{
    return (size + to - 1) & ~(to - 1);
}

/* A string with its length and NUL, padded; nothing when it is absent. */
static size_t string_size(struct str text)
{
    return text.size == 0 ? 0 : align(4 + text.size + 1, 4);
}

/* Strings of pairs are always there, empty or not. */
static size_t pair_size(const struct pair *pair)
{
    return align(4 + pair->key.size + 1, 4) +
           align(4 + pair->value.size + 1, 4);
}

static size_t vector_size(uint32_t count)
{
    return count == 0 ? 0 : 4 + 4 * (size_t)count;
}

static bool has_raw(const struct message *message)
{
    return message->kind == MESSAGE_KIND_RAW;
}

/* A raw body is all there is: no fields beside it. */
static uint32_t field_count(const struct message *message)
{
    return has_raw(message) ? 0 : message->field_count;
}

const uint16_t record_option_texts[RECORD_OPTION_TEXT_COUNT] = {
    [RECORD_OPTION_KEY] = offsetof(struct message_options, key),
    [RECORD_OPTION_LABEL] = offsetof(struct message_options, label),
    [RECORD_OPTION_RETRY_SCHEDULE] =
        offsetof(struct message_options, retry_schedule),
    [RECORD_OPTION_DEDUP_ID] = offsetof(struct message_options, dedup_id),
    [RECORD_OPTION_COLLAPSE] = offsetof(struct message_options, collapse),
    [RECORD_OPTION_FLOW_KEY] = offsetof(struct message_options, flow_key),
    [RECORD_OPTION_CALLBACK] = offsetof(struct message_options, callback),
    [RECORD_OPTION_FAILURE_CALLBACK] =
        offsetof(struct message_options, failure_callback),
    [RECORD_OPTION_ID] = offsetof(struct message_options, id),
    [RECORD_OPTION_TOPIC] = offsetof(struct message_options, topic),
    [RECORD_OPTION_DEAD] = offsetof(struct message_options, dead),
    [RECORD_OPTION_SUBSCRIPTION] =
        offsetof(struct message_options, subscription),
};

static struct str option_text(const struct message_options *options,
                              uint32_t field)
{
    const void *at = (const char *)options + record_option_texts[field];
    const struct str *text = at;

    return *text;
}

static bool has_blob(const struct message *message)
{
    return message->blob.size > 0;
}

/* A bit for each option that is set, by its field; none: there are none. */
static uint32_t option_bits(const struct message_options *options)
{
    uint32_t bits = 0;

    if (options == NULL) {
        return 0;
    }
    for (uint32_t field = 0; field < RECORD_OPTION_TEXT_COUNT; field++) {
        bits |= (uint32_t)(option_text(options, field).size > 0) << field;
    }
    bits |= (uint32_t)(options->not_before_ms > 0) << RECORD_OPTION_NOT_BEFORE;
    bits |= (uint32_t)(options->expires_at_ms > 0) << RECORD_OPTION_EXPIRES_AT;
    bits |= (uint32_t)(options->retries != MESSAGE_RETRIES_UNSET)
            << RECORD_OPTION_RETRIES;
    bits |= (uint32_t)(options->priority > 0) << RECORD_OPTION_PRIORITY;
    return bits;
}

/* What lies where in a payload before its vectors: all that depends on whether
 * there is a body beside, and which options there are. */
struct shape {
    uint32_t vtable;         /* of Message */
    uint32_t field_count;    /* that it has */
    uint32_t table_size;     /* of Message */
    uint32_t option_bits;    /* options that are set; 0: all below is unused */
    uint32_t options_at;     /* the offset to them, in table Message */
    uint32_t options_vtable; /* of Options */
    uint32_t options;        /* the table */
    uint32_t options_size;
    uint32_t end; /* the vectors begin here */
};

/* Place table Options behind the vtable of Message. */
static void place_options(struct shape *shape)
{
    const uint32_t wide =
        1U << RECORD_OPTION_NOT_BEFORE | 1U << RECORD_OPTION_EXPIRES_AT;
    uint32_t bits = shape->option_bits;
    uint32_t last = 31 - (uint32_t)__builtin_clz(bits);
    uint32_t vtable_end = shape->options_vtable + 4 + 2 * (last + 1);

    /* The u64s come first, and are aligned behind the table's own offset. */
    shape->options = (uint32_t)align(vtable_end, 8) + 4;
    shape->options_size = 4 + 4 * (uint32_t)__builtin_popcount(bits) +
                          4 * (uint32_t)__builtin_popcount(bits & wide);
    shape->end = shape->options + shape->options_size;
}

static struct shape shape_of(const struct message *message)
{
    bool blob = has_blob(message);
    struct shape shape = {
        .vtable = RECORD_VTABLE,
        .field_count = RECORD_FIELD_COUNT,
        .table_size = RECORD_TABLE_SIZE,
        .option_bits = option_bits(message->options),
        .end = RECORD_FIXED_SIZE,
    };

    if (!blob && shape.option_bits == 0) {
        return shape; /* most */
    }
    uint32_t table_end = blob ? RECORD_BLOB_END : RECORD_FIXED_SIZE;
    shape.field_count = RECORD_FIELD_COUNT_BLOB;
    if (shape.option_bits != 0) {
        shape.options_at = table_end;
        shape.field_count = RECORD_FIELD_COUNT_OPTIONS;
        table_end += 4;
    }
    shape.vtable = table_end;
    shape.table_size = table_end - RECORD_TABLE;
    shape.end = (uint32_t)align(table_end + 4 + 2 * shape.field_count, 4);
    if (shape.option_bits != 0) {
        shape.options_vtable = shape.end;
        place_options(&shape);
    }
    return shape;
}

/* Bytes of the options' strings. */
static size_t options_size(const struct message_options *options, uint32_t bits)
{
    size_t size = 0;

    if (bits == 0) {
        return 0;
    }
    for (uint32_t field = 0; field < RECORD_OPTION_TEXT_COUNT; field++) {
        size += string_size(option_text(options, field));
    }
    return size;
}

/* Bytes of the payload without padding. */
static size_t payload_size(const struct message *message)
{
    struct shape shape = shape_of(message);
    size_t size = shape.end + vector_size(field_count(message)) +
                  vector_size(message->header_count) +
                  options_size(message->options, shape.option_bits);

    size += ((size_t)field_count(message) + message->header_count) *
            RECORD_PAIR_SIZE;
    for (uint32_t index = 0; index < field_count(message); index++) {
        size += pair_size(&message->fields[index]);
    }
    for (uint32_t index = 0; index < message->header_count; index++) {
        size += pair_size(&message->headers[index]);
    }
    size += string_size(message->url) + string_size(message->content_type) +
            string_size(message->method);
    if (has_raw(message)) {
        size += align(4 + message->body.size, 4);
    }
    return size;
}

enum err record_size(const struct message *message, size_t *out_size)
{
    if (field_count(message) > MESSAGE_PAIRS_MAX ||
        message->header_count > MESSAGE_PAIRS_MAX) {
        return ERR_TOO_LARGE;
    }
    size_t size = RECORD_HEADER_SIZE + payload_size(message);
    if (size > UINT32_MAX / 2) {
        return ERR_TOO_LARGE;
    }
    *out_size = align(size, RECORD_ALIGN);
    return ERR_OK;
}

/* Where a field of Message lies in the payload. */
static uint32_t place_of(uint32_t field)
{
    return RECORD_TABLE + 4 + 4 * field;
}

/* Writes forward into the payload. */
struct encoder {
    char *base;       /* of the payload */
    uint32_t tables;  /* next table of a pair */
    uint32_t strings; /* next string */
};

/* Point the offset at `at` to `target`, which lies behind it. */
static void
put_offset(const struct encoder *encoder, uint32_t at, uint32_t target)
{
    put_u32(encoder->base + at, target - at);
}

/* Write a string, and point the offset at `at` to it. */
static void put_string(struct encoder *encoder, uint32_t at, struct str text)
{
    char *to = encoder->base + encoder->strings;
    size_t end = align(4 + text.size + 1, 4);

    put_offset(encoder, at, encoder->strings);
    /* The last word first: it holds the NUL and the padding. */
    put_u32(to + end - 4, 0);
    put_u32(to, (uint32_t)text.size);
    if (text.size > 0) {
        memcpy(to + 4, text.data, text.size);
    }
    encoder->strings += (uint32_t)end;
}

static void put_raw(struct encoder *encoder, uint32_t at, struct str bytes)
{
    char *to = encoder->base + encoder->strings;
    size_t end = align(4 + bytes.size, 4);

    put_offset(encoder, at, encoder->strings);
    put_u32(to + end - 4, 0);
    put_u32(to, (uint32_t)bytes.size);
    if (bytes.size > 0) {
        memcpy(to + 4, bytes.data, bytes.size);
    }
    encoder->strings += (uint32_t)end;
}

static void put_pair(struct encoder *encoder, const struct pair *pair)
{
    uint32_t table = encoder->tables;

    encoder->tables += RECORD_PAIR_SIZE;
    put_u32(encoder->base + table, table - RECORD_PAIR_VTABLE);
    put_string(encoder, table + RECORD_PAIR_KEY, pair->key);
    put_string(encoder, table + RECORD_PAIR_VALUE, pair->value);
}

/* Write a vector of pairs at `*vector`, if there are any. */
static void put_pairs(struct encoder *encoder,
                      uint32_t at,
                      const struct pair *pairs,
                      uint32_t count,
                      uint32_t *vector)
{
    if (count == 0) {
        return;
    }
    put_offset(encoder, at, *vector);
    put_u32(encoder->base + *vector, count);
    *vector += 4;
    for (uint32_t index = 0; index < count; index++) {
        put_offset(encoder, *vector, encoder->tables);
        *vector += 4;
        put_pair(encoder, &pairs[index]);
    }
}

/* The vtables: which fields are there, and where in their table. */
static void put_vtables(const struct encoder *encoder,
                        const struct message *message,
                        const struct shape *shape)
{
    char *vtable = encoder->base + shape->vtable;
    char *more = vtable + 4 + (size_t)2 * RECORD_FIELD_COUNT;
    char *pair = encoder->base + RECORD_PAIR_VTABLE;
    const bool there[RECORD_FIELD_COUNT] = {
        [RECORD_FIELD_URL] = message->url.size > 0,
        [RECORD_FIELD_BODY] = field_count(message) > 0,
        [RECORD_FIELD_HEADER] = message->header_count > 0,
        [RECORD_FIELD_RAW] = has_raw(message),
        [RECORD_FIELD_CONTENT_TYPE] = message->content_type.size > 0,
        [RECORD_FIELD_METHOD] = message->method.size > 0,
        [RECORD_FIELD_TIMEOUT] = message->timeout_ms > 0,
        [RECORD_FIELD_PUSHED_AT] = true,
    };

    put_u16(vtable, (uint16_t)(4 + 2 * shape->field_count));
    put_u16(vtable + 2, (uint16_t)shape->table_size);
    for (uint32_t field = 0; field < RECORD_FIELD_COUNT; field++) {
        uint16_t place = (uint16_t)(4 + 4 * field);
        put_u16(vtable + 4 + 2 * (size_t)field, there[field] ? place : 0);
    }
    if (has_blob(message)) {
        put_u16(more, RECORD_BLOB_ID - RECORD_TABLE);
        put_u16(more + 2, RECORD_BLOB_SIZE - RECORD_TABLE);
        put_u16(more + 4, RECORD_BLOB_CRC - RECORD_TABLE);
    }
    if (shape->option_bits != 0) {
        put_u16(more + 6, (uint16_t)(shape->options_at - RECORD_TABLE));
    }
    put_u16(pair, 8);
    put_u16(pair + 2, RECORD_PAIR_SIZE);
    put_u16(pair + 4, RECORD_PAIR_KEY);
    put_u16(pair + 6, RECORD_PAIR_VALUE);
}

/* Give a field of Options its place, the next of `size` bytes, in the vtable.
 * Returns where in the payload that is. */
static uint32_t take_place(const struct encoder *encoder,
                           const struct shape *shape,
                           uint32_t field,
                           uint32_t size,
                           uint32_t *place)
{
    char *vtable = encoder->base + shape->options_vtable;
    uint32_t taken = *place;

    put_u16(vtable + 4 + 2 * (size_t)field, (uint16_t)taken);
    *place += size;
    return shape->options + taken;
}

/* Write table Options: the fields that are set, one behind the other. */
static void put_options(struct encoder *encoder,
                        const struct message_options *options,
                        const struct shape *shape)
{
    const uint64_t wide[] = {options->not_before_ms, options->expires_at_ms};
    const uint32_t narrow[] = {options->retries, options->priority};
    char *vtable = encoder->base + shape->options_vtable;
    uint32_t last = 31 - (uint32_t)__builtin_clz(shape->option_bits);
    uint32_t place = 4;

    CHECK(options->priority <= MESSAGE_PRIORITY_MAX);
    put_u16(vtable, (uint16_t)(4 + 2 * (last + 1)));
    put_u16(vtable + 2, (uint16_t)shape->options_size);
    put_u32(encoder->base + shape->options,
            shape->options - shape->options_vtable);
    put_offset(encoder, shape->options_at, shape->options);
    for (uint32_t index = 0; index < 2; index++) {
        uint32_t field = RECORD_OPTION_NOT_BEFORE + index;
        if ((shape->option_bits >> field & 1) != 0) {
            uint32_t at = take_place(encoder, shape, field, 8, &place);
            put_u64(encoder->base + at, wide[index]);
        }
    }
    for (uint32_t index = 0; index < 2; index++) {
        uint32_t field = RECORD_OPTION_RETRIES + index;
        if ((shape->option_bits >> field & 1) != 0) {
            uint32_t at = take_place(encoder, shape, field, 4, &place);
            put_u32(encoder->base + at, narrow[index]);
        }
    }
    for (uint32_t field = 0; field < RECORD_OPTION_TEXT_COUNT; field++) {
        if ((shape->option_bits >> field & 1) != 0) {
            uint32_t at = take_place(encoder, shape, field, 4, &place);
            put_string(encoder, at, option_text(options, field));
        }
    }
}

static void
put_optional(struct encoder *encoder, uint32_t field, struct str text)
{
    if (text.size > 0) {
        put_string(encoder, place_of(field), text);
    }
}

/* Write the payload; gives its size. */
static uint32_t put_payload(const struct message *message, char *base)
{
    uint32_t pairs = field_count(message) + message->header_count;
    const struct shape shape = shape_of(message);
    uint32_t vector = shape.end;
    uint32_t tables = shape.end + (uint32_t)vector_size(field_count(message)) +
                      (uint32_t)vector_size(message->header_count);
    struct encoder encoder = {.base = base,
                              .tables = tables,
                              .strings = tables + pairs * RECORD_PAIR_SIZE};

    if (shape.end == RECORD_FIXED_SIZE) {
        memset(base, 0, RECORD_FIXED_SIZE); /* most; a few stores */
    } else {
        memset(base, 0, shape.end);
    }
    put_u32(base, RECORD_TABLE);
    put_vtables(&encoder, message, &shape);
    /* The distance is signed: the longer vtable lies behind the table. */
    put_u32(base + RECORD_TABLE, (uint32_t)RECORD_TABLE - shape.vtable);
    put_pairs(&encoder, place_of(RECORD_FIELD_BODY), message->fields,
              field_count(message), &vector);
    put_pairs(&encoder, place_of(RECORD_FIELD_HEADER), message->headers,
              message->header_count, &vector);
    put_optional(&encoder, RECORD_FIELD_URL, message->url);
    put_optional(&encoder, RECORD_FIELD_CONTENT_TYPE, message->content_type);
    put_optional(&encoder, RECORD_FIELD_METHOD, message->method);
    put_u32(base + place_of(RECORD_FIELD_TIMEOUT), message->timeout_ms);
    put_u64(base + place_of(RECORD_FIELD_PUSHED_AT), message->pushed_at_ms);
    if (has_raw(message)) {
        put_raw(&encoder, place_of(RECORD_FIELD_RAW), message->body);
    }
    if (shape.option_bits != 0) {
        put_options(&encoder, message->options, &shape);
    }
    return encoder.strings;
}

static void put_checksum(char *record)
{
    size_t summed =
        RECORD_HEADER_SIZE + get_u32(record + RECORD_AT_PAYLOAD_SIZE);

    put_u32(record + RECORD_AT_CRC, crc32c(0, record + RECORD_AT_SEQUENCE,
                                           summed - RECORD_AT_SEQUENCE));
}

/* Where the body lies, in the payload and in the header. */
static void put_blob(char *record, const struct message_blob *blob)
{
    char *payload = record + RECORD_HEADER_SIZE;

    put_u64(payload + RECORD_BLOB_ID, blob->id);
    put_u64(payload + RECORD_BLOB_SIZE, blob->size);
    put_u32(payload + RECORD_BLOB_CRC, blob->crc);
    put_u64(record + RECORD_AT_BODY_SIZE, blob->size);
}

void record_encode(const struct message *message,
                   uint64_t sequence,
                   void *to,
                   size_t size)
{
    char *record = to;

    memset(record, 0, RECORD_HEADER_SIZE);
    uint32_t payload = put_payload(message, record + RECORD_HEADER_SIZE);
    size_t used = RECORD_HEADER_SIZE + (size_t)payload;
    CHECK(align(used, RECORD_ALIGN) == size);
    memset(record + used, 0, size - used);
    put_u32(record + RECORD_AT_SIZE, (uint32_t)size);
    put_u64(record + RECORD_AT_SEQUENCE, sequence);
    put_u64(record + RECORD_AT_PUSHED_AT, message->pushed_at_ms);
    put_u32(record + RECORD_AT_PAYLOAD_SIZE, payload);
    put_u16(record + RECORD_AT_FLAGS, has_raw(message) ? RECORD_FLAG_RAW : 0);
    put_u16(record + RECORD_AT_VERSION, RECORD_VERSION);
    if (has_blob(message)) {
        CHECK(has_raw(message) && message->body.size == 0);
        put_u16(record + RECORD_AT_FLAGS, RECORD_FLAG_RAW | RECORD_FLAG_BLOB);
        put_blob(record, &message->blob);
    }
    put_checksum(record);
}

bool record_blob(const void *record, struct message_blob *out_blob)
{
    const char *header = record;
    const char *payload = header + RECORD_HEADER_SIZE;

    if ((header[RECORD_AT_FLAGS] & RECORD_FLAG_BLOB) == 0) {
        return false;
    }
    out_blob->id = get_u64(payload + RECORD_BLOB_ID);
    out_blob->size = get_u64(payload + RECORD_BLOB_SIZE);
    out_blob->crc = get_u32(payload + RECORD_BLOB_CRC);
    return true;
}

void record_set_blob(void *record,
                     const struct message_blob *blob,
                     uint64_t pushed_at_ms)
{
    char *header = record;

    CHECK((header[RECORD_AT_FLAGS] & RECORD_FLAG_BLOB) != 0);
    CHECK(blob->size > 0);
    put_blob(header, blob);
    put_u64(header + RECORD_AT_PUSHED_AT, pushed_at_ms);
    put_u64(header + RECORD_HEADER_SIZE + place_of(RECORD_FIELD_PUSHED_AT),
            pushed_at_ms);
    put_checksum(header);
}

size_t record_wrap_size(size_t payload_size)
{
    size_t size = RECORD_HEADER_SIZE + payload_size;
    return (size + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

void record_wrap(struct str payload,
                 uint64_t sequence,
                 uint64_t pushed_at_ms,
                 void *to)
{
    char *bytes = to;
    size_t size = record_wrap_size(payload.size);
    memset(bytes, 0, RECORD_HEADER_SIZE);
    memset(bytes + size - RECORD_ALIGN, 0, RECORD_ALIGN);
    (void)put_text(bytes + RECORD_HEADER_SIZE, payload);
    put_u32(bytes + RECORD_AT_SIZE, (uint32_t)size);
    put_u64(bytes + RECORD_AT_SEQUENCE, sequence);
    put_u64(bytes + RECORD_AT_PUSHED_AT, pushed_at_ms);
    put_u32(bytes + RECORD_AT_PAYLOAD_SIZE, (uint32_t)payload.size);
    put_u16(bytes + RECORD_AT_VERSION, RECORD_VERSION);
    put_u32(bytes + RECORD_AT_CRC,
            crc32c(0, bytes + RECORD_AT_SEQUENCE,
                   RECORD_HEADER_SIZE - RECORD_AT_SEQUENCE + payload.size));
}

void record_renumber(void *record, uint64_t sequence)
{
    put_u64((char *)record + RECORD_AT_SEQUENCE, sequence);
    put_checksum(record);
}
