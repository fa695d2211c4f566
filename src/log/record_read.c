/* A message as it is stored: reading it back.
 *
 * The bytes may be anything: each offset is checked against the payload before
 * it is followed, each step goes to a table of a fixed kind, and the pairs are
 * bounded, so the work is bounded whatever the offsets say. Tables and strings
 * may overlap; they are only read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/crc32c.h"
#include "log/record_layout.h"

#include <string.h>

/* A table in the payload. */
struct table {
    struct str payload;   /* borrowed */
    uint32_t position;    /* of the table */
    uint32_t vtable;      /* of its vtable */
    uint32_t vtable_size; /* bytes */
    uint32_t size;        /* bytes of the table */
};

/* Read a u32 at a position; false when it is not all there. */
static bool read_u32(struct str payload, uint64_t position, uint32_t *out_value)
{
    if (position > payload.size || payload.size - position < 4) {
        return false;
    }
    *out_value = get_u32(payload.data + position);
    return true;
}

static bool read_u16(struct str payload, uint64_t position, uint32_t *out_value)
{
    if (position > payload.size || payload.size - position < 2) {
        return false;
    }
    *out_value = (uint32_t)(uint8_t)payload.data[position] |
                 (uint32_t)(uint8_t)payload.data[position + 1] << 8;
    return true;
}

/* Follow the offset at `position`; offsets point forward. */
static bool follow(struct str payload, uint64_t position, uint32_t *out_target)
{
    uint32_t offset = 0;

    if (!read_u32(payload, position, &offset) || offset == 0 ||
        offset > payload.size - position) {
        return false;
    }
    *out_target = (uint32_t)(position + offset);
    return true;
}

static bool
open_table(struct str payload, uint32_t position, struct table *out_table)
{
    struct table table = {.payload = payload, .position = position};
    uint32_t distance = 0;

    if (!read_u32(payload, position, &distance)) {
        return false;
    }
    /* Signed, and counted backwards from the table. */
    int64_t vtable = (int64_t)position - (int32_t)distance;
    if (vtable < 0 || (uint64_t)vtable > payload.size) {
        return false;
    }
    table.vtable = (uint32_t)vtable;
    if (!read_u16(payload, table.vtable, &table.vtable_size) ||
        !read_u16(payload, (uint64_t)table.vtable + 2, &table.size) ||
        table.vtable_size < 4 || table.vtable_size % 2 != 0 ||
        table.vtable_size > payload.size - table.vtable || table.size < 4 ||
        table.size > payload.size - position) {
        return false;
    }
    *out_table = table;
    return true;
}

/* Where a field of `size` bytes lies in its table. Gives 0 when it is absent.
 * False when the vtable points outside of the table. */
static bool find_field(const struct table *table,
                       uint32_t field,
                       uint32_t size,
                       uint32_t *out_position)
{
    uint32_t entry = 4 + 2 * field;
    uint32_t place = 0;

    *out_position = 0;
    if (entry + 2 > table->vtable_size) {
        return true;
    }
    if (!read_u16(table->payload, (uint64_t)table->vtable + entry, &place)) {
        return false;
    }
    if (place == 0) {
        return true;
    }
    if (place < 4 || place > table->size || table->size - place < size) {
        return false;
    }
    *out_position = table->position + place;
    return true;
}

/* A string or a vector of bytes; the empty slice when it is absent. */
static bool
read_bytes(const struct table *table, uint32_t field, struct str *out_bytes)
{
    uint32_t position = 0;
    uint32_t target = 0;
    uint32_t size = 0;

    if (!find_field(table, field, 4, &position)) {
        return false;
    }
    if (position == 0) {
        *out_bytes = (struct str){NULL, 0};
        return true;
    }
    if (!follow(table->payload, position, &target) ||
        !read_u32(table->payload, target, &size) ||
        size > table->payload.size - target - 4) {
        return false;
    }
    *out_bytes = str_cut(table->payload, (size_t)target + 4, size);
    return true;
}

/* A vector of pairs, into `to` of MESSAGE_PAIRS_MAX. */
static bool read_pairs(const struct table *table,
                       uint32_t field,
                       struct pair *to,
                       uint32_t *out_count)
{
    struct str payload = table->payload;
    uint32_t position = 0;
    uint32_t vector = 0;
    uint32_t count = 0;

    *out_count = 0;
    if (!find_field(table, field, 4, &position)) {
        return false;
    }
    if (position == 0) {
        return true;
    }
    if (!follow(payload, position, &vector) ||
        !read_u32(payload, vector, &count) || count > MESSAGE_PAIRS_MAX) {
        return false;
    }
    for (uint32_t index = 0; index < count; index++) {
        struct table pair;
        uint32_t target = 0;
        if (!follow(payload, vector + 4 + 4 * (uint64_t)index, &target) ||
            !open_table(payload, target, &pair) ||
            !read_bytes(&pair, 0, &to[index].key) ||
            !read_bytes(&pair, 1, &to[index].value)) {
            return false;
        }
    }
    *out_count = count;
    return true;
}

static bool read_numbers(const struct table *table, struct message *message)
{
    uint32_t timeout = 0;
    uint32_t pushed_at = 0;

    if (!find_field(table, RECORD_FIELD_TIMEOUT, 4, &timeout) ||
        !find_field(table, RECORD_FIELD_PUSHED_AT, 8, &pushed_at)) {
        return false;
    }
    message->timeout_ms =
        timeout == 0 ? 0 : get_u32(table->payload.data + timeout);
    message->pushed_at_ms =
        pushed_at == 0 ? 0 : get_u64(table->payload.data + pushed_at);
    return true;
}

/* Where the body lies, for a record that says that it lies beside. */
static bool read_blob(const struct table *table, struct message_blob *blob)
{
    uint32_t id = 0;
    uint32_t size = 0;
    uint32_t crc = 0;

    if (!find_field(table, RECORD_FIELD_BLOB_ID, 8, &id) ||
        !find_field(table, RECORD_FIELD_BLOB_SIZE, 8, &size) ||
        !find_field(table, RECORD_FIELD_BLOB_CRC, 4, &crc)) {
        return false;
    }
    const char *data = table->payload.data;
    blob->id = id == 0 ? 0 : get_u64(data + id);
    blob->size = size == 0 ? 0 : get_u64(data + size);
    blob->crc = crc == 0 ? 0 : get_u32(data + crc);
    return true;
}

/* A number of Options, of 4 or 8 bytes; as it was when it is absent. */
static bool read_option(const struct table *table, uint32_t field, void *value)
{
    bool wide =
        field == RECORD_OPTION_NOT_BEFORE || field == RECORD_OPTION_EXPIRES_AT;
    uint32_t size = wide ? 8 : 4;
    uint32_t position = 0;

    if (!find_field(table, field, size, &position)) {
        return false;
    }
    if (position != 0) {
        memcpy(value, table->payload.data + position, size);
    }
    return true;
}

static bool read_options(const struct table *message, struct record *record)
{
    struct message_options *options = &record->options;
    struct str payload = message->payload;
    struct table table;
    uint32_t position = 0;
    uint32_t target = 0;

    record->message.options = NULL;
    if (!find_field(message, RECORD_FIELD_OPTIONS, 4, &position)) {
        return false;
    }
    if (position == 0) {
        return true;
    }
    if (!follow(payload, position, &target) ||
        !open_table(payload, target, &table)) {
        return false;
    }
    *options = (struct message_options){.retries = MESSAGE_RETRIES_UNSET};
    for (uint32_t field = 0; field < RECORD_OPTION_TEXT_COUNT; field++) {
        void *text = (char *)options + record_option_texts[field];
        if (!read_bytes(&table, field, text)) {
            return false;
        }
    }
    record->message.options = options;
    return read_option(&table, RECORD_OPTION_NOT_BEFORE,
                       &options->not_before_ms) &&
           read_option(&table, RECORD_OPTION_EXPIRES_AT,
                       &options->expires_at_ms) &&
           read_option(&table, RECORD_OPTION_RETRIES, &options->retries) &&
           read_option(&table, RECORD_OPTION_PRIORITY, &options->priority) &&
           options->priority <= MESSAGE_PRIORITY_MAX;
}

static bool read_message(struct str payload, struct record *record)
{
    struct message *message = &record->message;
    struct table table;
    uint32_t root = 0;

    if (!follow(payload, 0, &root) || !open_table(payload, root, &table)) {
        return false;
    }
    if (!read_bytes(&table, RECORD_FIELD_URL, &message->url) ||
        !read_bytes(&table, RECORD_FIELD_RAW, &message->body) ||
        !read_bytes(&table, RECORD_FIELD_CONTENT_TYPE,
                    &message->content_type) ||
        !read_bytes(&table, RECORD_FIELD_METHOD, &message->method) ||
        !read_numbers(&table, message) || !read_blob(&table, &message->blob) ||
        !read_options(&table, record)) {
        return false;
    }
    message->fields = record->memory;
    if (!read_pairs(&table, RECORD_FIELD_BODY, record->memory,
                    &message->field_count)) {
        return false;
    }
    message->headers = record->memory + message->field_count;
    return read_pairs(&table, RECORD_FIELD_HEADER,
                      record->memory + message->field_count,
                      &message->header_count);
}

static bool is_zero(struct str bytes)
{
    for (size_t index = 0; index < bytes.size; index++) {
        if (bytes.data[index] != 0) {
            return false;
        }
    }
    return true;
}

bool record_body_size_valid(const char *header)
{
    bool blob = (header[RECORD_AT_FLAGS] & RECORD_FLAG_BLOB) != 0;

    return blob == (get_u64(header + RECORD_AT_BODY_SIZE) != 0);
}

enum err record_peek(struct str bytes,
                     size_t *out_size,
                     uint64_t *out_sequence,
                     uint64_t *out_pushed_at_ms)
{
    if (bytes.size < RECORD_HEADER_SIZE) {
        return ERR_AGAIN;
    }
    uint32_t size = get_u32(bytes.data + RECORD_AT_SIZE);
    uint32_t payload = get_u32(bytes.data + RECORD_AT_PAYLOAD_SIZE);
    uint32_t version = 0;
    if (size > UINT32_MAX / 2 || size % RECORD_ALIGN != 0 ||
        size < RECORD_HEADER_SIZE || payload > size - RECORD_HEADER_SIZE ||
        size - RECORD_HEADER_SIZE - payload >= RECORD_ALIGN ||
        !read_u16(bytes, RECORD_AT_VERSION, &version) ||
        version != RECORD_VERSION || !record_body_size_valid(bytes.data) ||
        get_u64(bytes.data + RECORD_AT_RESERVED) != 0) {
        return ERR_CORRUPT;
    }
    if (bytes.size < size) {
        return ERR_AGAIN;
    }
    *out_size = size;
    *out_sequence = get_u64(bytes.data + RECORD_AT_SEQUENCE);
    *out_pushed_at_ms = get_u64(bytes.data + RECORD_AT_PUSHED_AT);
    return ERR_OK;
}

/* Check all but the structure of the payload. */
static enum err check(struct str bytes, struct str *out_payload)
{
    size_t size = 0;
    uint64_t sequence = 0;
    uint64_t pushed_at_ms = 0;
    enum err err = record_peek(bytes, &size, &sequence, &pushed_at_ms);
    if (err != ERR_OK) {
        return err;
    }
    uint32_t payload = get_u32(bytes.data + RECORD_AT_PAYLOAD_SIZE);
    size_t end = RECORD_HEADER_SIZE + (size_t)payload;
    uint32_t crc =
        crc32c(0, bytes.data + RECORD_AT_SEQUENCE, end - RECORD_AT_SEQUENCE);
    if (crc != get_u32(bytes.data + RECORD_AT_CRC) ||
        !is_zero(str_cut(bytes, end, size - end))) {
        return ERR_CORRUPT;
    }
    *out_payload = str_cut(bytes, RECORD_HEADER_SIZE, payload);
    return ERR_OK;
}

enum err record_check(struct str bytes)
{
    struct str payload;
    enum err err = check(bytes, &payload);
    if (err == ERR_OK && get_u32(bytes.data + RECORD_AT_SIZE) != bytes.size) {
        return ERR_CORRUPT;
    }
    return err;
}

enum err record_decode(struct str bytes, struct record *out_record)
{
    struct str payload;
    uint32_t flags = 0;
    enum err err = check(bytes, &payload);
    if (err != ERR_OK) {
        return err;
    }
    if (!read_u16(bytes, RECORD_AT_FLAGS, &flags) ||
        !read_message(payload, out_record)) {
        return ERR_CORRUPT;
    }
    struct message *message = &out_record->message;
    bool raw = (flags & RECORD_FLAG_RAW) != 0;
    bool blob = (flags & RECORD_FLAG_BLOB) != 0;
    if ((raw && message->body.data == NULL) ||
        blob != (message->blob.size > 0) || blob != (message->blob.id != 0) ||
        (!blob && message->blob.crc != 0) ||
        (blob && (!raw || message->body.size > 0)) ||
        message->blob.size != get_u64(bytes.data + RECORD_AT_BODY_SIZE)) {
        return ERR_CORRUPT;
    }
    message->kind = raw ? MESSAGE_KIND_RAW : MESSAGE_KIND_FORM;
    message->pushed_at_ms = get_u64(bytes.data + RECORD_AT_PUSHED_AT);
    out_record->sequence = get_u64(bytes.data + RECORD_AT_SEQUENCE);
    out_record->size = get_u32(bytes.data + RECORD_AT_SIZE);
    return ERR_OK;
}
