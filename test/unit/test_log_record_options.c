/* Tests of the options in log/record: what a push may ask for besides.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/record.h"

#include "base/buf.h"
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MEMORY_SIZE = 1 << 16, PAYLOAD_SIZE_AT = 24 };

static _Alignas(RECORD_ALIGN) char memory[MEMORY_SIZE];
static struct record decoded;

/* Where the text options lie in the struct. */
static const size_t texts[] = {
    offsetof(struct message_options, key),
    offsetof(struct message_options, label),
    offsetof(struct message_options, retry_schedule),
    offsetof(struct message_options, dedup_id),
    offsetof(struct message_options, collapse),
    offsetof(struct message_options, flow_key),
    offsetof(struct message_options, callback),
    offsetof(struct message_options, failure_callback),
    offsetof(struct message_options, id),
    offsetof(struct message_options, topic),
    offsetof(struct message_options, dead),
    offsetof(struct message_options, subscription),
};

enum { TEXT_COUNT = sizeof(texts) / sizeof(texts[0]), OPTION_COUNT = 16 };

static struct str *text_of(struct message_options *options, size_t index)
{
    void *at = (char *)options + texts[index];
    return at;
}

static struct message_options nothing(void)
{
    return (struct message_options){.retries = MESSAGE_RETRIES_UNSET};
}

/* Set one of the options to something of its own. */
static void set(struct message_options *options, size_t index)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    if (index < TEXT_COUNT) {
        *text_of(options, index) = (struct str){letters + index, index + 1};
    } else if (index == TEXT_COUNT) {
        options->not_before_ms = 1767225600123;
    } else if (index == TEXT_COUNT + 1) {
        options->expires_at_ms = UINT64_MAX;
    } else if (index == TEXT_COUNT + 2) {
        options->retries = 0;
    } else {
        options->priority = MESSAGE_PRIORITY_MAX;
    }
}

static struct message_options all(void)
{
    struct message_options options = nothing();
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        set(&options, i);
    }
    return options;
}

/* A form; a raw message; one whose body lies beside. */
static struct message message_of(int kind)
{
    static const struct pair pair = {{"X-A", 3}, {"value", 5}};
    struct message message = {
        .url = STR("http://example.net/hook"),
        .header_count = 1,
        .headers = &pair,
        .pushed_at_ms = 7,
    };
    if (kind == 0) {
        message.field_count = 1;
        message.fields = &pair;
        return message;
    }
    message.kind = MESSAGE_KIND_RAW;
    message.content_type = STR("text/plain");
    if (kind == 1) {
        message.body = STR("body");
    } else {
        message.blob = (struct message_blob){.id = 5, .size = 9, .crc = 77};
    }
    return message;
}

enum { KIND_COUNT = 3 };

/* Encode into `memory`, which is dirty before. */
static struct str encode(const struct message *message)
{
    size_t size = 0;
    memset(memory, 0xcd, sizeof(memory));
    assert_int_equal(record_size(message, &size), ERR_OK);
    assert_true(size + 64 <= sizeof(memory));
    record_encode(message, 42, memory, size);
    for (size_t i = size; i < size + 64; i++) {
        assert_int_equal((unsigned char)memory[i], 0xcd);
    }
    return (struct str){memory, size};
}

static void assert_options(const struct message_options *left,
                           const struct message_options *right)
{
    struct message_options a = *left;
    struct message_options b = *right;
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        assert_true(str_equal(*text_of(&a, i), *text_of(&b, i)));
    }
    assert_int_equal(a.not_before_ms, b.not_before_ms);
    assert_int_equal(a.expires_at_ms, b.expires_at_ms);
    assert_int_equal(a.retries, b.retries);
    assert_int_equal(a.priority, b.priority);
}

/* That all else of the message is read back, too. */
static void assert_rest(const struct message *message)
{
    const struct message *read = &decoded.message;
    assert_true(str_equal(read->url, message->url));
    assert_int_equal(read->kind, message->kind);
    assert_int_equal(read->field_count, message->field_count);
    assert_int_equal(read->header_count, 1);
    assert_true(str_equal(read->headers[0].value, STR("value")));
    assert_true(str_equal(read->body, message->body));
    assert_true(str_equal(read->content_type, message->content_type));
    assert_int_equal(read->blob.id, message->blob.id);
    assert_int_equal(read->blob.size, message->blob.size);
    assert_int_equal(read->blob.crc, message->blob.crc);
    assert_int_equal(read->pushed_at_ms, message->pushed_at_ms);
}

static void round_trip(int kind, const struct message_options *options)
{
    struct message message = message_of(kind);
    message.options = options;
    struct str bytes = encode(&message);
    assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
    assert_int_equal(record_check(bytes), ERR_OK);
    assert_non_null(decoded.message.options);
    assert_ptr_equal(decoded.message.options, &decoded.options);
    assert_options(decoded.message.options, options);
    assert_rest(&message);
}

static void each_option_alone_is_decoded(void **state)
{
    (void)state;
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        for (size_t i = 0; i < OPTION_COUNT; i++) {
            struct message_options options = nothing();
            set(&options, i);
            round_trip(kind, &options);
        }
    }
}

static void every_two_options_are_decoded(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        for (size_t j = i + 1; j < OPTION_COUNT; j++) {
            struct message_options options = nothing();
            set(&options, i);
            set(&options, j);
            round_trip((int)((i + j) % KIND_COUNT), &options);
        }
    }
}

static void all_options_are_decoded(void **state)
{
    (void)state;
    const struct message_options options = all();
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        round_trip(kind, &options);
    }
}

static void texts_of_every_size_are_decoded(void **state)
{
    (void)state;
    static char bytes[300];
    memset(bytes, 'x', sizeof(bytes));
    for (size_t size = 1; size < sizeof(bytes); size++) {
        struct message_options options = nothing();
        options.key = (struct str){bytes, size};
        options.dead = (struct str){bytes, sizeof(bytes) - size};
        options.priority = (uint32_t)(size % 10);
        round_trip((int)(size % KIND_COUNT), &options);
    }
}

static void a_message_without_options_has_none(void **state)
{
    (void)state;
    const struct message_options unset = nothing();
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        struct message message = message_of(kind);
        struct str bytes = encode(&message);
        decoded.message.options = &unset; /* of the record before */
        assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
        assert_null(decoded.message.options);

        message.options = &unset;
        size_t size = encode(&message).size;
        assert_int_equal(size, bytes.size);
        assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
        assert_null(decoded.message.options);
    }
}

static void only_what_is_set_takes_room(void **state)
{
    (void)state;
    struct message message = message_of(0);
    size_t without = encode(&message).size;
    struct message_options options = nothing();
    options.priority = 1;
    message.options = &options;
    assert_true(encode(&message).size <= without + 88);
    options = all();
    assert_true(encode(&message).size > without + 200);
}

static void options_count_for_the_limit(void **state)
{
    (void)state;
    struct message message = message_of(1);
    struct message_options options = nothing();
    size_t size = 77;
    options.dead.size = UINT32_MAX / 2; /* its bytes are not looked at */
    message.options = &options;
    assert_int_equal(record_size(&message, &size), ERR_TOO_LARGE);
    assert_int_equal(size, 77);
}

static void what_is_known_late_leaves_the_options(void **state)
{
    (void)state;
    const struct message_blob blob = {.id = 7, .size = 3U << 20, .crc = 9};
    const struct message_options options = all();
    struct message_blob read = {0};
    struct message message = message_of(2);
    message.options = &options;
    struct str bytes = encode(&message);
    record_set_blob(memory, &blob, 1234567);
    record_renumber(memory, 6);
    assert_true(record_blob(memory, &read));
    assert_int_equal(read.id, 7);
    assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
    assert_int_equal(decoded.sequence, 6);
    message.blob = blob;
    message.pushed_at_ms = 1234567;
    assert_rest(&message);
    assert_options(decoded.message.options, &options);
}

/* --- bytes that are wrong ------------------------------------------------- */

static void a_cut_record_asks_for_more(void **state)
{
    (void)state;
    const struct message_options options = all();
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        struct message message = message_of(kind);
        message.options = &options;
        struct str bytes = encode(&message);
        for (size_t cut = 0; cut < bytes.size; cut++) {
            char *exact = malloc(cut + 1);
            assert_non_null(exact);
            memcpy(exact, memory, cut);
            struct str part = {exact, cut};
            assert_int_equal(record_decode(part, &decoded), ERR_AGAIN);
            free(exact);
        }
    }
}

static void any_flipped_bit_is_found(void **state)
{
    (void)state;
    const struct message_options options = all();
    struct message message = message_of(2);
    message.options = &options;
    struct str bytes = encode(&message);
    for (size_t i = 0; i < bytes.size * 8; i++) {
        memory[i / 8] = (char)(memory[i / 8] ^ (1 << i % 8));
        enum err err = record_decode(bytes, &decoded);
        assert_true(err == ERR_CORRUPT || err == ERR_AGAIN);
        memory[i / 8] = (char)(memory[i / 8] ^ (1 << i % 8));
    }
    assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
}

/* Sum the record again, as one does who wants to be believed. */
static void reseal(void)
{
    size_t end = RECORD_HEADER_SIZE + get_u32(memory + PAYLOAD_SIZE_AT);
    put_u32(memory + 4, crc32c(0, memory + 8, end - 8));
}

/* Decode a copy of exactly the record's size, and see that whatever is
 * accepted lies in it. */
static void try_decode(size_t size)
{
    char *exact = malloc(size); /* so that one byte past is seen */
    assert_non_null(exact);
    memcpy(exact, memory, size);
    enum err err = record_decode((struct str){exact, size}, &decoded);
    assert_true(err == ERR_OK || err == ERR_CORRUPT);
    if (err == ERR_OK && decoded.message.options != NULL) {
        for (size_t i = 0; i < TEXT_COUNT; i++) {
            struct str text = *text_of(&decoded.options, i);
            assert_true(
                text.size == 0 ||
                (text.data >= exact && text.data + text.size <= exact + size));
        }
        assert_true(decoded.options.priority <= MESSAGE_PRIORITY_MAX);
    }
    free(exact);
}

static void offsets_are_never_followed_outside(void **state)
{
    (void)state;
    const struct message_options options = all();
    struct message message = message_of(2);
    message.options = &options;
    struct str bytes = encode(&message);
    uint32_t size = (uint32_t)bytes.size;
    const uint32_t values[] = {0,          1,          2,          4,
                               size,       size - 48,  size - 49,  size - 52,
                               0x7fffffff, 0x80000000, UINT32_MAX, 0xfffffffc};
    for (size_t at = RECORD_HEADER_SIZE; at + 4 <= bytes.size; at += 2) {
        uint32_t saved = get_u32(memory + at);
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            put_u32(memory + at, values[i]);
            reseal();
            try_decode(bytes.size);
        }
        put_u32(memory + at, saved);
    }
    for (size_t at = RECORD_HEADER_SIZE; at < bytes.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            memory[at] = (char)(memory[at] ^ (1 << bit));
            reseal();
            try_decode(bytes.size);
            memory[at] = (char)(memory[at] ^ (1 << bit));
        }
    }
}

static void a_priority_past_the_last_is_corrupt(void **state)
{
    (void)state;
    struct message_options options = nothing();
    options.priority = 9;
    options.expires_at_ms = 0x1122334455667788;
    struct message message = message_of(0);
    message.options = &options;
    struct str bytes = encode(&message);
    char *at = memmem(memory, bytes.size, &options.expires_at_ms, 8);
    assert_non_null(at);
    assert_int_equal(get_u32(at + 8), 9); /* it lies behind */
    put_u32(at + 8, 10);
    reseal();
    assert_int_equal(record_decode(bytes, &decoded), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_alone_is_decoded),
        cmocka_unit_test(every_two_options_are_decoded),
        cmocka_unit_test(all_options_are_decoded),
        cmocka_unit_test(texts_of_every_size_are_decoded),
        cmocka_unit_test(a_message_without_options_has_none),
        cmocka_unit_test(only_what_is_set_takes_room),
        cmocka_unit_test(options_count_for_the_limit),
        cmocka_unit_test(what_is_known_late_leaves_the_options),
        cmocka_unit_test(a_cut_record_asks_for_more),
        cmocka_unit_test(any_flipped_bit_is_found),
        cmocka_unit_test(offsets_are_never_followed_outside),
        cmocka_unit_test(a_priority_past_the_last_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
