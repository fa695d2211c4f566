/* Tests of log/record, with flatc as the second opinion.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/record.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "lib/scratch.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <jansson.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { MEMORY_SIZE = 1 << 20, PAYLOAD_SIZE_AT = 24, FLAGS_AT = 28 };

/* STR() for static initializers. */
#define TEXT(literal)                                                          \
    {                                                                          \
        literal, sizeof(literal) - 1                                           \
    }

extern char **environ;

static _Alignas(RECORD_ALIGN) char memory[MEMORY_SIZE];
static struct record decoded;
static struct pair pairs[MESSAGE_PAIRS_MAX + 1];

static struct message form(void)
{
    static const struct pair fields[] = {
        {TEXT("message"), TEXT("hello world")},
        {TEXT("n"), {NULL, 0}},
        {{NULL, 0}, TEXT("nameless")},
        {TEXT("bytes"), TEXT("\0\xff\xc3(\n")},
    };
    static const struct pair headers[] = {
        {TEXT("X-Trace"), TEXT("a-1")},
        {TEXT("Accept"), TEXT("*/*")},
    };
    return (struct message){
        .url = STR("http://example.net/hook?a=1"),
        .kind = MESSAGE_KIND_FORM,
        .field_count = 4,
        .fields = fields,
        .header_count = 2,
        .headers = headers,
        .timeout_ms = 2500,
        .pushed_at_ms = 1767225600123,
    };
}

static struct message raw(void)
{
    return (struct message){
        .url = STR("https://example.net/"),
        .kind = MESSAGE_KIND_RAW,
        .body = STR("{\"a\":1}\0tail"),
        .content_type = STR("application/json"),
        .method = STR("PUT"),
        .pushed_at_ms = 7,
    };
}

/* A message whose body lies beside. */
static struct message beside(void)
{
    struct message message = raw();
    message.body = (struct str){NULL, 0};
    message.blob = (struct message_blob){
        .id = 0x0123456789abcdef, .size = 1U << 30, .crc = 0xfedcba98};
    return message;
}

/* Encode into `memory`, which is dirty before. */
static struct str encode(const struct message *message, uint64_t sequence)
{
    size_t size = 0;
    memset(memory, 0xcd, sizeof(memory));
    assert_int_equal(record_size(message, &size), ERR_OK);
    assert_true(size <= sizeof(memory));
    assert_int_equal(size % RECORD_ALIGN, 0);
    record_encode(message, sequence, memory, size);
    for (size_t i = size; i < size + 64; i++) {
        assert_int_equal((unsigned char)memory[i], 0xcd);
    }
    return (struct str){memory, size};
}

static void assert_str(struct str left, struct str right)
{
    assert_true(str_equal(left, right));
}

static void
assert_pairs(const struct pair *left, const struct pair *right, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_str(left[i].key, right[i].key);
        assert_str(left[i].value, right[i].value);
    }
}

static void assert_same(const struct message *left, const struct message *right)
{
    assert_str(left->url, right->url);
    assert_int_equal(left->kind, right->kind);
    assert_int_equal(left->field_count, right->field_count);
    assert_pairs(left->fields, right->fields, right->field_count);
    assert_int_equal(left->header_count, right->header_count);
    assert_pairs(left->headers, right->headers, right->header_count);
    assert_str(left->body, right->body);
    assert_str(left->content_type, right->content_type);
    assert_str(left->method, right->method);
    assert_int_equal(left->timeout_ms, right->timeout_ms);
    assert_int_equal(left->pushed_at_ms, right->pushed_at_ms);
}

static void round_trip(const struct message *message)
{
    struct str bytes = encode(message, 42);
    assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
    assert_int_equal(decoded.sequence, 42);
    assert_int_equal(decoded.size, bytes.size);
    assert_same(&decoded.message, message);
    assert_int_equal(record_check(bytes), ERR_OK);
    size_t size = 0;
    uint64_t sequence = 0;
    uint64_t pushed_at_ms = 0;
    assert_int_equal(record_peek(bytes, &size, &sequence, &pushed_at_ms),
                     ERR_OK);
    assert_int_equal(size, bytes.size);
    assert_int_equal(sequence, 42);
    assert_int_equal(pushed_at_ms, message->pushed_at_ms);
}

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    struct message message = form();
    round_trip(&message);
    message = raw();
    round_trip(&message);
    message.body = (struct str){NULL, 0};
    message.content_type = (struct str){NULL, 0};
    message.method = (struct str){NULL, 0};
    round_trip(&message);
    message = (struct message){.kind = MESSAGE_KIND_FORM};
    round_trip(&message);
}

static void every_size_of_every_part_works(void **state)
{
    (void)state;
    static char bytes[64];
    memset(bytes, 'x', sizeof(bytes));
    for (size_t size = 0; size < sizeof(bytes); size++) {
        struct str text = {bytes, size};
        struct pair pair = {text, {bytes, sizeof(bytes) - size}};
        struct message message = {
            .url = text,
            .kind = size % 2 == 0 ? MESSAGE_KIND_RAW : MESSAGE_KIND_FORM,
            .header_count = 1,
            .headers = &pair,
            .timeout_ms = (uint32_t)size,
            .pushed_at_ms = size,
        };
        if (size % 2 == 0) {
            message.body = text;
            message.method = str_cut(text, 0, size / 2);
        } else {
            message.field_count = 1;
            message.fields = &pair;
        }
        round_trip(&message);
    }
}

static void as_many_pairs_as_allowed_fit_and_no_more(void **state)
{
    (void)state;
    static char keys[MESSAGE_PAIRS_MAX + 1][8];
    for (int i = 0; i <= MESSAGE_PAIRS_MAX; i++) {
        int size = snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        pairs[i].key = (struct str){keys[i], (size_t)size};
        pairs[i].value = (struct str){keys[i], (size_t)i % 4};
    }
    struct message message = form();
    message.fields = pairs;
    message.headers = pairs;
    message.field_count = MESSAGE_PAIRS_MAX;
    message.header_count = MESSAGE_PAIRS_MAX;
    round_trip(&message);
    size_t size = 77;
    message.field_count = MESSAGE_PAIRS_MAX + 1;
    assert_int_equal(record_size(&message, &size), ERR_TOO_LARGE);
    message.field_count = 0;
    message.header_count = MESSAGE_PAIRS_MAX + 1;
    assert_int_equal(record_size(&message, &size), ERR_TOO_LARGE);
    assert_int_equal(size, 77);
}

static void a_message_past_the_limit_is_refused(void **state)
{
    (void)state;
    size_t size = 77;
    struct message message = raw();
    message.body.size = UINT32_MAX / 2; /* its bytes are not looked at */
    assert_int_equal(record_size(&message, &size), ERR_TOO_LARGE);
    message.body.size = UINT32_MAX / 2 - 4096;
    assert_int_equal(record_size(&message, &size), ERR_OK);
    assert_true(size <= UINT32_MAX / 2);
}

static void renumbering_changes_only_the_sequence(void **state)
{
    (void)state;
    static char other[4096];
    struct message message = form();
    struct str bytes = encode(&message, 5);
    record_renumber(memory, UINT64_MAX);
    assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
    assert_int_equal(decoded.sequence, UINT64_MAX);
    assert_same(&decoded.message, &message);
    memcpy(other, memory, bytes.size);
    (void)encode(&message, UINT64_MAX);
    assert_memory_equal(other, memory, bytes.size);
}

/* The bytes on disk of messages without options, as they were before there
 * were any. */
static void a_message_without_options_has_the_bytes_it_always_had(void **state)
{
    (void)state;
    const struct {
        struct message message;
        size_t size;
        uint32_t crc;
    } cases[] = {{form(), 392, 0xc6ca489d},
                 {raw(), 200, 0x028d6e63},
                 {beside(), 232, 0xa4fb7ca9}};
    const struct message_options none = {.retries = MESSAGE_RETRIES_UNSET};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct message message = cases[i].message;
        struct str bytes = encode(&message, 42);
        assert_int_equal(bytes.size, cases[i].size);
        assert_int_equal(get_u32(memory + 4), cases[i].crc);
        message.options = &none;
        bytes = encode(&message, 42);
        assert_int_equal(bytes.size, cases[i].size);
        assert_int_equal(get_u32(memory + 4), cases[i].crc);
    }
}

/* --- bytes that are wrong ------------------------------------------------- */

static void any_flipped_bit_is_found(void **state)
{
    (void)state;
    struct message message = form();
    message.url = STR("http://example.net/h"); /* with padding at the end */
    struct str bytes = encode(&message, 9);
    for (size_t i = 0; i < bytes.size * 8; i++) {
        memory[i / 8] = (char)(memory[i / 8] ^ (1 << i % 8));
        enum err err = record_decode(bytes, &decoded);
        assert_true(err == ERR_CORRUPT || err == ERR_AGAIN);
        assert_int_not_equal(record_check(bytes), ERR_OK);
        memory[i / 8] = (char)(memory[i / 8] ^ (1 << i % 8));
    }
    assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
}

static void a_cut_record_asks_for_more(void **state)
{
    (void)state;
    size_t size = 0;
    uint64_t number = 0;
    struct message message = raw();
    struct str bytes = encode(&message, 9);
    for (size_t cut = 0; cut < bytes.size; cut++) {
        struct str part = str_cut(bytes, 0, cut);
        assert_int_equal(record_decode(part, &decoded), ERR_AGAIN);
        assert_int_equal(record_check(part), ERR_AGAIN);
        assert_int_equal(record_peek(part, &size, &number, &number), ERR_AGAIN);
    }
    struct str more = {bytes.data, bytes.size + 8};
    assert_int_equal(record_decode(more, &decoded), ERR_OK);
    assert_int_equal(record_check(more), ERR_CORRUPT);
}

/* Sum the record again, as one does who wants to be believed. */
static void reseal(void)
{
    size_t end = RECORD_HEADER_SIZE + get_u32(memory + PAYLOAD_SIZE_AT);
    put_u32(memory + 4, crc32c(0, memory + 8, end - 8));
}

/* Every 32-bit word of the payload becomes every awkward value: nothing is read
 * outside (the sanitizers watch), and what is accepted lies inside. */
static void offsets_are_never_followed_outside(void **state)
{
    (void)state;
    struct message message = form();
    struct str bytes = encode(&message, 9);
    char *exact = malloc(bytes.size); /* so that one byte past is seen */
    assert_non_null(exact);
    uint32_t size = (uint32_t)bytes.size;
    const uint32_t values[] = {0,          1,          2,          4,
                               size,       size - 48,  size - 49,  size - 52,
                               0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffc,
                               100,        101,        0x10000};
    for (size_t at = RECORD_HEADER_SIZE; at + 4 <= bytes.size; at += 2) {
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            uint32_t saved = get_u32(memory + at);
            put_u32(memory + at, values[i]);
            reseal();
            memcpy(exact, memory, bytes.size);
            struct str copy = {exact, bytes.size};
            enum err err = record_decode(copy, &decoded);
            assert_true(err == ERR_OK || err == ERR_CORRUPT);
            if (err == ERR_OK) {
                struct str url = decoded.message.url;
                assert_true(url.size == 0 ||
                            (url.data >= exact &&
                             url.data + url.size <= exact + bytes.size));
                assert_true(decoded.message.field_count <= MESSAGE_PAIRS_MAX);
            }
            put_u32(memory + at, saved);
        }
    }
    free(exact);
}

static void a_raw_record_without_a_body_is_corrupt(void **state)
{
    (void)state;
    struct message message = form();
    struct str bytes = encode(&message, 9);
    memory[FLAGS_AT] = 1;
    reseal();
    assert_int_equal(record_decode(bytes, &decoded), ERR_CORRUPT);
}

/* --- bodies that lie beside ------------------------------------------------
 */

static void where_a_body_lies_is_decoded(void **state)
{
    (void)state;
    struct message message = beside();
    struct message_blob blob = {0};
    struct str bytes = encode(&message, 5);
    assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
    assert_same(&decoded.message, &message);
    assert_int_equal(decoded.message.blob.id, message.blob.id);
    assert_int_equal(decoded.message.blob.size, message.blob.size);
    assert_int_equal(decoded.message.blob.crc, message.blob.crc);
    assert_true(record_blob(bytes.data, &blob));
    assert_int_equal(blob.id, message.blob.id);
    assert_int_equal(blob.size, message.blob.size);
    assert_int_equal(blob.crc, message.blob.crc);

    message = raw();
    assert_false(record_blob(encode(&message, 5).data, &blob));
}

static void what_is_known_late_is_filled_in(void **state)
{
    (void)state;
    struct message message = beside();
    const struct message_blob blob = {.id = 7, .size = 3U << 20, .crc = 9};
    struct str bytes = encode(&message, 5);
    record_set_blob(memory, &blob, 1234567);
    record_renumber(memory, 6);
    assert_int_equal(record_decode(bytes, &decoded), ERR_OK);
    assert_int_equal(decoded.sequence, 6);
    assert_int_equal(decoded.message.pushed_at_ms, 1234567);
    assert_int_equal(decoded.message.blob.id, 7);
    assert_int_equal(decoded.message.blob.size, 3U << 20);
    assert_int_equal(decoded.message.blob.crc, 9);
}

static void sizes_of_a_body_beside_must_agree(void **state)
{
    (void)state;
    enum { BODY_SIZE_AT = 32 };
    struct message message = beside();
    struct str bytes = encode(&message, 5);
    put_u64(memory + BODY_SIZE_AT, 5);
    record_renumber(memory, 5); /* the checksum is right */
    assert_int_equal(record_decode(bytes, &decoded), ERR_CORRUPT);

    bytes = encode(&message, 5);
    memory[FLAGS_AT] = 1; /* raw alone */
    record_renumber(memory, 5);
    assert_int_equal(record_decode(bytes, &decoded), ERR_CORRUPT);

    message = raw();
    bytes = encode(&message, 5);
    memory[FLAGS_AT] = 3;
    record_renumber(memory, 5);
    assert_int_equal(record_decode(bytes, &decoded), ERR_CORRUPT);
}

/* Found by the fuzzer: a number or checksum of a body that is nowhere, and a
 * body without a number. */
static void a_body_beside_has_all_of_its_marks_or_none(void **state)
{
    (void)state;
    enum { BODY_SIZE_AT = 32 };
    const struct message_blob halves[] = {
        {.id = 7, .size = 0}, {.crc = 9}, {.size = 3, .crc = 9}};
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        struct message message = beside();
        struct str bytes = encode(&message, 5);
        const struct message_blob some = {
            .id = halves[i].id, .size = 3, .crc = halves[i].crc};
        record_set_blob(memory, &some, 7);
        if (halves[i].size == 0) {
            char size[8] = {3};
            char *at = memmem(memory + RECORD_HEADER_SIZE,
                              bytes.size - RECORD_HEADER_SIZE, size, 8);
            assert_non_null(at);
            put_u64(at, 0);
            put_u64(memory + BODY_SIZE_AT, 0);
            memory[FLAGS_AT] = 0; /* a form without fields */
        }
        record_renumber(memory, 5); /* the checksum is right */
        assert_int_equal(record_decode(bytes, &decoded), ERR_CORRUPT);
    }
}

/* --- the second opinion --------------------------------------------------- */

/* Have flatc verify the payload and print it as JSON.
 * Gives: a value, for json_decref(). */
static json_t *flatc(struct str record)
{
    const char *root = getenv("OPQ_SOURCE_ROOT");
    char directory[SCRATCH_PATH_MAX];
    char schema[512];
    char path[128];
    int fd = -1;
    assert_int_equal(scratch_make(directory), 0);
    (void)snprintf(schema, sizeof(schema), "%s/schema/opq.fbs",
                   root != NULL ? root : ".");
    (void)snprintf(path, sizeof(path), "%s/message.bin", directory);
    assert_int_equal(file_open(path, FILE_WRITE | FILE_CREATE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, record.data + RECORD_HEADER_SIZE,
                                   get_u32(record.data + PAYLOAD_SIZE_AT), 0,
                                   false),
                     ERR_OK);
    file_close(fd);
    char *arguments[] = {
        "flatc", "--json",  "--strict-json", "--raw-binary", "--allow-non-utf8",
        "-o",    directory, schema,          "--",           path,
        NULL};
    pid_t pid = 0;
    int status = -1;
    assert_int_equal(
        posix_spawnp(&pid, "flatc", NULL, NULL, arguments, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    char *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/message.json", directory);
    assert_int_equal(file_load(path, 1 << 20, &text, &size), ERR_OK);
    json_t *json = json_loadb(text, size, JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    free(text);
    assert_int_equal(scratch_remove(directory), 0);
    return json;
}

static void assert_text(const json_t *json, const char *name, struct str text)
{
    const json_t *value = json_object_get(json, name);
    assert_non_null(value);
    assert_str(
        (struct str){json_string_value(value), json_string_length(value)},
        text);
}

static void
assert_number(const json_t *json, const char *name, json_int_t value)
{
    const json_t *number = json_object_get(json, name);
    assert_true(json_is_integer(number));
    assert_int_equal(json_integer_value(number), value);
}

static void flatc_reads_a_form(void **state)
{
    (void)state;
    struct message message = form();
    message.field_count = 3; /* JSON cannot hold any bytes */
    json_t *json = flatc(encode(&message, 1));
    assert_text(json, "url", message.url);
    const json_t *body = json_object_get(json, "body");
    const json_t *header = json_object_get(json, "header");
    assert_int_equal(json_array_size(body), 3);
    assert_int_equal(json_array_size(header), 2);
    for (size_t i = 0; i < 3; i++) {
        assert_text(json_array_get(body, i), "key", message.fields[i].key);
        assert_text(json_array_get(body, i), "value", message.fields[i].value);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_text(json_array_get(header, i), "key", message.headers[i].key);
        assert_text(json_array_get(header, i), "value",
                    message.headers[i].value);
    }
    assert_int_equal(json_integer_value(json_object_get(json, "timeout_ms")),
                     2500);
    assert_int_equal(json_integer_value(json_object_get(json, "pushed_at_ms")),
                     1767225600123);
    assert_null(json_object_get(json, "raw"));
    assert_null(json_object_get(json, "method"));
    json_decref(json);
}

static void flatc_reads_a_raw_body(void **state)
{
    (void)state;
    struct message message = raw();
    json_t *json = flatc(encode(&message, 1));
    assert_text(json, "url", message.url);
    assert_text(json, "content_type", message.content_type);
    assert_text(json, "method", message.method);
    const json_t *body = json_object_get(json, "raw");
    assert_int_equal(json_array_size(body), message.body.size);
    for (size_t i = 0; i < message.body.size; i++) {
        assert_int_equal(json_integer_value(json_array_get(body, i)),
                         (unsigned char)message.body.data[i]);
    }
    assert_null(json_object_get(json, "body"));
    json_decref(json);
}

static void flatc_reads_where_a_body_lies(void **state)
{
    (void)state;
    struct message message = beside();
    json_t *json = flatc(encode(&message, 1));
    assert_text(json, "url", message.url);
    assert_text(json, "content_type", message.content_type);
    assert_int_equal(json_integer_value(json_object_get(json, "blob_id")),
                     message.blob.id);
    assert_int_equal(json_integer_value(json_object_get(json, "blob_size")),
                     message.blob.size);
    assert_int_equal(json_integer_value(json_object_get(json, "blob_crc")),
                     message.blob.crc);
    assert_int_equal(json_array_size(json_object_get(json, "raw")), 0);
    json_decref(json);
}

/* One that sets every field, and one that sets a few. */
static void flatc_reads_options(void **state)
{
    (void)state;
    const struct message_options all = {
        .key = STR("customer 7"),
        .label = STR("blue"),
        .retry_schedule = STR("5s,1m"),
        .dedup_id = STR("d-1"),
        .collapse = STR("c"),
        .flow_key = STR("f"),
        .callback = STR("http://example.net/done"),
        .failure_callback = STR("http://example.net/failed"),
        .id = STR("msg_1-0"),
        .topic = STR("orders"),
        .dead = STR("{\"reason\":\"expired\"}"),
        .not_before_ms = 1767225600123,
        .expires_at_ms = INT64_MAX,
        .retries = 0,
        .priority = 9,
    };
    struct message message = beside();
    message.options = &all;
    json_t *json = flatc(encode(&message, 1));
    const json_t *options = json_object_get(json, "options");
    assert_int_equal(json_object_size(options), 15);
    assert_text(options, "key", all.key);
    assert_text(options, "label", all.label);
    assert_text(options, "retry_schedule", all.retry_schedule);
    assert_text(options, "dedup_id", all.dedup_id);
    assert_text(options, "collapse", all.collapse);
    assert_text(options, "flow_key", all.flow_key);
    assert_text(options, "callback", all.callback);
    assert_text(options, "failure_callback", all.failure_callback);
    assert_text(options, "id", all.id);
    assert_text(options, "topic", all.topic);
    assert_text(options, "dead", all.dead);
    assert_number(options, "not_before_ms", 1767225600123);
    assert_number(options, "expires_at_ms", INT64_MAX);
    assert_number(options, "retries", 0);
    assert_number(options, "priority", 9);
    assert_number(json, "blob_crc", message.blob.crc);
    json_decref(json);

    const struct message_options few = {
        .label = STR("x"), .expires_at_ms = 77, .retries = 3};
    message = form();
    message.field_count = 3; /* the last is no JSON */
    message.options = &few;
    json = flatc(encode(&message, 1));
    options = json_object_get(json, "options");
    assert_int_equal(json_object_size(options), 3);
    assert_text(options, "label", few.label);
    assert_number(options, "expires_at_ms", 77);
    assert_number(options, "retries", 3);
    assert_text(json, "url", message.url);
    assert_null(json_object_get(json, "blob_id"));
    json_decref(json);
}

static void flatc_reads_the_largest_and_the_empty(void **state)
{
    (void)state;
    struct message message = form();
    for (int i = 0; i < MESSAGE_PAIRS_MAX; i++) {
        pairs[i] = (struct pair){STR("key"), STR("a value of some size")};
    }
    message.fields = pairs;
    message.headers = pairs;
    message.field_count = MESSAGE_PAIRS_MAX;
    message.header_count = MESSAGE_PAIRS_MAX;
    json_t *json = flatc(encode(&message, 1));
    assert_int_equal(json_array_size(json_object_get(json, "body")),
                     MESSAGE_PAIRS_MAX);
    assert_int_equal(json_array_size(json_object_get(json, "header")),
                     MESSAGE_PAIRS_MAX);
    json_decref(json);
    message = (struct message){.kind = MESSAGE_KIND_FORM};
    json_decref(flatc(encode(&message, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(every_size_of_every_part_works),
        cmocka_unit_test(as_many_pairs_as_allowed_fit_and_no_more),
        cmocka_unit_test(a_message_past_the_limit_is_refused),
        cmocka_unit_test(renumbering_changes_only_the_sequence),
        cmocka_unit_test(a_message_without_options_has_the_bytes_it_always_had),
        cmocka_unit_test(any_flipped_bit_is_found),
        cmocka_unit_test(a_cut_record_asks_for_more),
        cmocka_unit_test(offsets_are_never_followed_outside),
        cmocka_unit_test(a_raw_record_without_a_body_is_corrupt),
        cmocka_unit_test(where_a_body_lies_is_decoded),
        cmocka_unit_test(what_is_known_late_is_filled_in),
        cmocka_unit_test(sizes_of_a_body_beside_must_agree),
        cmocka_unit_test(a_body_beside_has_all_of_its_marks_or_none),
        cmocka_unit_test(flatc_reads_a_form),
        cmocka_unit_test(flatc_reads_a_raw_body),
        cmocka_unit_test(flatc_reads_where_a_body_lies),
        cmocka_unit_test(flatc_reads_options),
        cmocka_unit_test(flatc_reads_the_largest_and_the_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
