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
 * Where the body lies beside (record_layout.h), three fields and the vtable
 * that has them follow the table, at 72, and all else lies behind: the many
 * records that have none are none the larger for it.
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

static bool has_blob(const struct message *message)
{
    return message->blob.size > 0;
}

/* Bytes of table and vtables. */
static uint32_t fixed_size(const struct message *message)
{
    return has_blob(message) ? RECORD_BLOB_FIXED_SIZE : RECORD_FIXED_SIZE;
}

/* Bytes of the payload without padding. */
static size_t payload_size(const struct message *message)
{
    size_t size = fixed_size(message) + vector_size(field_count(message)) +
                  vector_size(message->header_count);

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
                        const struct message *message)
{
    bool blob = has_blob(message);
    char *vtable = encoder->base + (blob ? RECORD_BLOB_VTABLE : RECORD_VTABLE);
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

    put_u16(vtable,
            4 + 2 * (blob ? RECORD_FIELD_COUNT_BLOB : RECORD_FIELD_COUNT));
    put_u16(vtable + 2, blob ? RECORD_BLOB_TABLE_SIZE : RECORD_TABLE_SIZE);
    for (uint32_t field = 0; field < RECORD_FIELD_COUNT; field++) {
        uint16_t place = (uint16_t)(4 + 4 * field);
        put_u16(vtable + 4 + 2 * (size_t)field, there[field] ? place : 0);
    }
    if (blob) {
        char *more = vtable + 4 + (size_t)2 * RECORD_FIELD_COUNT;
        put_u16(more, RECORD_BLOB_ID - RECORD_TABLE);
        put_u16(more + 2, RECORD_BLOB_SIZE - RECORD_TABLE);
        put_u16(more + 4, RECORD_BLOB_CRC - RECORD_TABLE);
    }
    put_u16(pair, 8);
    put_u16(pair + 2, RECORD_PAIR_SIZE);
    put_u16(pair + 4, RECORD_PAIR_KEY);
    put_u16(pair + 6, RECORD_PAIR_VALUE);
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
    uint32_t fixed = fixed_size(message);
    uint32_t vector = fixed;
    uint32_t tables = fixed + (uint32_t)vector_size(field_count(message)) +
                      (uint32_t)vector_size(message->header_count);
    struct encoder encoder = {.base = base,
                              .tables = tables,
                              .strings = tables + pairs * RECORD_PAIR_SIZE};

    memset(base, 0, fixed);
    put_u32(base, RECORD_TABLE);
    put_vtables(&encoder, message);
    /* The distance is signed: the longer vtable lies behind the table. */
    put_u32(base + RECORD_TABLE,
            (uint32_t)RECORD_TABLE -
                (has_blob(message) ? RECORD_BLOB_VTABLE : RECORD_VTABLE));
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

void record_renumber(void *record, uint64_t sequence)
{
    put_u64((char *)record + RECORD_AT_SEQUENCE, sequence);
    put_checksum(record);
}
