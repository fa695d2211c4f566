/* Fuzz log/record: any bytes as a record, and any bytes as the payload of one
 * whose checksum holds. What is accepted lies inside, and is encoded again to
 * a record that says the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "log/record.h"

#include <stdlib.h>
#include <string.h>

enum {
    BODY_BESIDE = 4,            /* of the first byte: the header says so */
    BODY_BESIDE_SIZE = 5000000, /* as in the kept corpus */
};

static struct record first;
static struct record second;

static void check_inside(struct str text, struct str bytes)
{
    CHECK(text.size == 0 || (text.data >= bytes.data &&
                             text.data + text.size <= bytes.data + bytes.size));
}

static void check_pairs(const struct pair *left,
                        const struct pair *right,
                        uint32_t count,
                        struct str bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        check_inside(left[i].key, bytes);
        check_inside(left[i].value, bytes);
        CHECK(str_equal(left[i].key, right[i].key));
        CHECK(str_equal(left[i].value, right[i].value));
    }
}

static void check_text(struct str left, struct str right, struct str bytes)
{
    check_inside(left, bytes);
    CHECK(str_equal(left, right));
}

/* A table Options without any in it is not written again. */
static void check_options(struct str bytes)
{
    const struct message_options none = {.retries = MESSAGE_RETRIES_UNSET};
    const struct message_options *left = first.message.options;
    const struct message_options *right = second.message.options;
    if (left == NULL) {
        CHECK(right == NULL);
        return;
    }
    CHECK(left->priority <= MESSAGE_PRIORITY_MAX);
    right = right == NULL ? &none : right;
    check_text(left->key, right->key, bytes);
    check_text(left->label, right->label, bytes);
    check_text(left->retry_schedule, right->retry_schedule, bytes);
    check_text(left->dedup_id, right->dedup_id, bytes);
    check_text(left->collapse, right->collapse, bytes);
    check_text(left->flow_key, right->flow_key, bytes);
    check_text(left->callback, right->callback, bytes);
    check_text(left->failure_callback, right->failure_callback, bytes);
    check_text(left->id, right->id, bytes);
    check_text(left->topic, right->topic, bytes);
    check_text(left->dead, right->dead, bytes);
    CHECK(left->not_before_ms == right->not_before_ms);
    CHECK(left->expires_at_ms == right->expires_at_ms);
    CHECK(left->retries == right->retries);
    CHECK(left->priority == right->priority);
}

/* Bytes all over may be referred to again and again; sizes are bounded. */
static void encode_again(struct str bytes)
{
    struct message *message = &first.message;
    size_t size = 0;
    if (record_size(message, &size) != ERR_OK || size > 64U << 20) {
        return;
    }
    char *copy = aligned_alloc(RECORD_ALIGN, size);
    CHECK(copy != NULL);
    record_encode(message, first.sequence, copy, size);
    struct str again = {copy, size};
    CHECK(record_check(again) == ERR_OK);
    CHECK(record_decode(again, &second) == ERR_OK);
    CHECK(second.sequence == first.sequence);
    CHECK(second.message.kind == message->kind);
    CHECK(second.message.timeout_ms == message->timeout_ms);
    CHECK(second.message.pushed_at_ms == message->pushed_at_ms);
    CHECK(str_equal(second.message.url, message->url));
    CHECK(str_equal(second.message.method, message->method));
    CHECK(second.message.header_count == message->header_count);
    CHECK(second.message.blob.id == message->blob.id);
    CHECK(second.message.blob.size == message->blob.size);
    CHECK(second.message.blob.crc == message->blob.crc);
    check_inside(message->url, bytes);
    check_options(bytes);
    check_pairs(message->headers, second.message.headers, message->header_count,
                bytes);
    if (message->kind == MESSAGE_KIND_RAW) {
        CHECK(str_equal(second.message.body, message->body));
    } else {
        CHECK(second.message.field_count == message->field_count);
        check_pairs(message->fields, second.message.fields,
                    message->field_count, bytes);
    }
    free(copy);
}

static void try(struct str bytes)
{
    size_t size = 0;
    uint64_t sequence = 0;
    uint64_t pushed_at_ms = 0;
    enum err peeked = record_peek(bytes, &size, &sequence, &pushed_at_ms);
    enum err err = record_decode(bytes, &first);
    CHECK(peeked == ERR_OK || err == peeked);
    if (err == ERR_OK) {
        CHECK(first.sequence == sequence && first.size == size);
        CHECK(record_check(str_cut(bytes, 0, size)) == ERR_OK);
        encode_again(bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    uint8_t flags = data[0];
    struct str input = {(const char *)data + 1, size - 1};
    size_t room = RECORD_HEADER_SIZE + input.size;
    room = (room + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
    char *record = calloc(1, room);
    CHECK(record != NULL);
    if ((flags & 1) == 0) {
        memcpy(record, input.data, input.size);
        try((struct str){record, input.size});
        free(record);
        return 0;
    }
    memcpy(record + RECORD_HEADER_SIZE, input.data, input.size);
    put_u32(record, (uint32_t)room);
    put_u32(record + 24, (uint32_t)input.size);
    put_u16(record + 28, flags >> 1);
    put_u16(record + 30, 1);
    if ((flags & BODY_BESIDE) != 0) {
        put_u64(record + 32, BODY_BESIDE_SIZE); /* or any other would do */
    }
    put_u32(record + 4,
            crc32c(0, record + 8, RECORD_HEADER_SIZE - 8 + input.size));
    try((struct str){record, room});
    free(record);
    return 0;
}
