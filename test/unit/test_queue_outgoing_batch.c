/* Tests of queue/outgoing_batch: the exact bytes of several messages in one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/outgoing_batch.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct store_topic stored;
static struct topic topic;
static struct outgoing outgoing;
static struct outgoing_batch batch;
static struct outgoing_context context;
static struct url url;
static struct message message;
static struct secrets *secrets;
static struct sign sign;

static int begin(void **state)
{
    const char *reason = NULL;

    (void)state;
    stored = (struct store_topic){.id = 0x1f, .name_str = STR("orders")};
    topic = (struct topic){.store = &stored};
    (void)snprintf(topic.id_prefix, sizeof(topic.id_prefix), "%s",
                   "msg_000000000000001f-");
    message = (struct message){
        .url = STR("http://a.example/"),
        .kind = MESSAGE_KIND_RAW,
        .content_type = STR("text/plain"),
        .body = STR("x"),
        .pushed_at_ms = 1700000000123,
    };
    context = (struct outgoing_context){
        .url = &url,
        .user_agent = STR("OPQ/1.0"),
        .attempt = 2,
        .now_s = 1700000000,
    };
    return url_parse(STR("http://b.example/in"), &url, &reason) == ERR_OK ? 0
                                                                          : -1;
}

static int finish(void **state)
{
    (void)state;
    outgoing_fini(&outgoing);
    sign_fini(&sign);
    secrets_release(secrets);
    secrets = NULL;
    return 0;
}

static void start(enum settings_batch format)
{
    outgoing_batch_begin(&batch, &outgoing, &topic, format, NULL);
}

static void add(uint64_t sequence)
{
    assert_int_equal(outgoing_batch_add(&batch, sequence, &message), ERR_OK);
}

static void end(void)
{
    assert_int_equal(outgoing_batch_end(&batch, &context), ERR_OK);
}

static void expect_body(const char *expected)
{
    struct str body = buf_str(&outgoing.body);

    if (!str_equal(body, str_from(expected))) {
        fail_msg("%.*s", STR_ARG(body));
    }
}

/* Render one message alone and give what stands behind "pushed_at". */
static void expect_rest(const char *expected)
{
    struct buf text = {0};

    start(SETTINGS_BATCH_NDJSON);
    add(7);
    buf_append_c(&text, "{\"id\":\"msg_000000000000001f-7\",\"topic\":"
                        "\"orders\",\"seq\":7,\"pushed_at\":"
                        "\"2023-11-14T22:13:20.123Z\"");
    buf_append_c(&text, expected);
    buf_append_c(&text, "}\n");
    buf_append_byte(&text, '\0');
    expect_body(text.data);
    json_error_t error;
    json_t *parsed =
        json_loadb(outgoing.body.data, outgoing.body.size, 0, &error);
    assert_non_null(parsed);
    json_decref(parsed);
    buf_fini(&text);
}

static void lines_have_an_object_each(void **state)
{
    (void)state;
    start(SETTINGS_BATCH_NDJSON);
    add(5);
    message.body = STR("y\n");
    add(9);
    end();
    expect_body(
        "{\"id\":\"msg_000000000000001f-5\",\"topic\":\"orders\",\"seq\":5,"
        "\"pushed_at\":\"2023-11-14T22:13:20.123Z\",\"content_type\":"
        "\"text/plain\",\"body\":\"x\"}\n"
        "{\"id\":\"msg_000000000000001f-9\",\"topic\":\"orders\",\"seq\":9,"
        "\"pushed_at\":\"2023-11-14T22:13:20.123Z\",\"content_type\":"
        "\"text/plain\",\"body\":\"y\\n\"}\n");
    struct str head = buf_str(&outgoing.head);
    const char expected[] = "POST /in HTTP/1.1\r\n"
                            "Host: b.example\r\n"
                            "User-Agent: OPQ/1.0\r\n"
                            "Content-Type: application/x-ndjson\r\n"
                            "Content-Length: 272\r\n"
                            "webhook-id: msg_000000000000001f-5_9\r\n"
                            "webhook-timestamp: 1700000000\r\n"
                            "Opq-Topic: orders\r\n"
                            "Opq-Seq: 5\r\n"
                            "Opq-Seq-Last: 9\r\n"
                            "Opq-Batch: 2\r\n"
                            "Opq-Attempt: 2\r\n"
                            "\r\n";
    if (!str_equal(head, str_from(expected))) {
        fail_msg("%.*s", STR_ARG(head));
    }
}

static void an_array_has_all_objects(void **state)
{
    json_error_t error;

    (void)state;
    start(SETTINGS_BATCH_JSON);
    for (uint64_t sequence = 0; sequence < 3; sequence++) {
        add(sequence);
    }
    end();
    json_t *array =
        json_loadb(outgoing.body.data, outgoing.body.size, 0, &error);
    assert_int_equal(json_array_size(array), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(array, i);
        assert_int_equal(json_integer_value(json_object_get(item, "seq")), i);
    }
    json_decref(array);
    buf_append_byte(&outgoing.head, '\0');
    assert_non_null(
        strstr(outgoing.head.data, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(outgoing.head.data, "\r\nOpq-Batch: 3\r\n"));
}

static void a_json_body_is_json(void **state)
{
    static const char *const types[] = {
        "application/json", "Application/JSON; charset=utf-8", "text/json",
        "application/cloudevents+json"};

    (void)state;
    message.body = STR(" {\"a\": [1.50,\r\n\"\\n\"]}\n");
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        char expected[256];
        message.content_type = str_from(types[i]);
        (void)snprintf(expected, sizeof(expected),
                       ",\"content_type\":\"%s\",\"json\": {\"a\": [1.50,  "
                       "\"\\n\"]} ",
                       types[i]);
        expect_rest(expected);
    }
}

static void what_is_not_json_is_text_or_base64(void **state)
{
    (void)state;
    message.content_type = STR("application/json");
    message.body = STR("{\"a\":1} 2");
    expect_rest(",\"content_type\":\"application/json\","
                "\"body\":\"{\\\"a\\\":1} 2\"");
    message.content_type = STR("application/jsonp");
    message.body = STR("1");
    expect_rest(",\"content_type\":\"application/jsonp\",\"body\":\"1\"");
    message.content_type = STR("");
    message.body = STR("\xff\xfe");
    expect_rest(",\"body_base64\":\"//4=\"");
    message.body = STR("");
    expect_rest(",\"body\":\"\"");
}

static void a_form_has_its_fields(void **state)
{
    static const struct pair fields[] = {
        {{"message", 7}, {"a \"b\"", 5}},
        {{"b", 1}, {"\xff", 1}},
    };

    (void)state;
    message.kind = MESSAGE_KIND_FORM;
    message.content_type = STR("");
    message.fields = fields;
    message.field_count = 2;
    expect_rest(",\"fields\":[{\"name\":\"message\",\"value\":\"a \\\"b\\\"\"},"
                "{\"name\":\"b\",\"value_base64\":\"/w==\"}]");
}

static void options_and_headers_are_told(void **state)
{
    static const struct pair headers[] = {
        {{"Connection", 10}, {"x-private", 9}}, {{"X-A", 3}, {"1", 1}},
        {{"X-Private", 9}, {"evil", 4}},        {{"Opq-Seq", 7}, {"evil", 4}},
        {{"content-type", 12}, {"evil", 4}},    {{"X-B", 3}, {"2", 1}},
    };
    const struct message_options options = {
        .key = STR("k"), .label = STR("l"), .id = STR("msg_given-1")};

    (void)state;
    message.headers = headers;
    message.header_count = 6;
    expect_rest(",\"headers\":[{\"name\":\"X-A\",\"value\":\"1\"},"
                "{\"name\":\"X-B\",\"value\":\"2\"}],"
                "\"content_type\":\"text/plain\",\"body\":\"x\"");
    message.header_count = 1;
    message.options = &options;
    start(SETTINGS_BATCH_NDJSON);
    add(7);
    expect_body("{\"id\":\"msg_given-1\",\"topic\":\"orders\",\"seq\":7,"
                "\"pushed_at\":\"2023-11-14T22:13:20.123Z\",\"key\":\"k\","
                "\"label\":\"l\",\"content_type\":\"text/plain\","
                "\"body\":\"x\"}\n");
}

static void what_does_not_fit_waits_for_the_next(void **state)
{
    static char large[OUTGOING_BATCH_SIZE_MAX];

    (void)state;
    memset(large, 'x', sizeof(large));
    for (int format = 0; format < 2; format++) {
        message.body = STR("x");
        start(format == 0 ? SETTINGS_BATCH_NDJSON : SETTINGS_BATCH_JSON);
        add(1);
        size_t size = outgoing.body.size;
        message.body = (struct str){large, sizeof(large)};
        assert_int_equal(outgoing_batch_add(&batch, 2, &message),
                         ERR_TOO_LARGE);
        assert_int_equal(outgoing.body.size, size);
        assert_int_equal(batch.last, 1);
        message.body = STR("y");
        add(3);
        end();
        assert_int_equal(batch.count, 2);
        /* Alone it goes, however large. */
        start(SETTINGS_BATCH_NDJSON);
        message.body = (struct str){large, sizeof(large)};
        add(2);
        end();
        assert_true(outgoing.body.size > sizeof(large));
    }
}

static void a_body_in_a_file_is_delivered_alone(void **state)
{
    (void)state;
    start(SETTINGS_BATCH_JSON);
    add(1);
    message.blob.size = 7;
    assert_int_equal(outgoing_batch_add(&batch, 2, &message), ERR_UNSUPPORTED);
    assert_int_equal(batch.count, 1);
}

static void a_batch_is_signed_as_a_whole(void **state)
{
    static const char text[] = "shop whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
    char expected[SIGN_SIZE_MAX + 64];
    struct buf errors = {0};
    struct str wrong;
    size_t size = 0;
    char *copy = strdup(text);

    (void)state;
    assert_non_null(copy);
    assert_int_equal(secrets_parse(copy, strlen(text), "f", &errors, &secrets),
                     ERR_OK);
    context.secrets = secrets;
    context.secret_names = STR("shop");
    context.sign = &sign;
    start(SETTINGS_BATCH_JSON);
    add(3);
    add(4);
    end();
    const struct sign_content content = {
        .id = STR("msg_000000000000001f-3_4"),
        .timestamp_s = 1700000000,
        .body_size = outgoing.body.size,
    };
    assert_int_equal(sign_begin(&sign, secrets, STR("shop"), &content, &wrong),
                     ERR_OK);
    sign_update(&sign, buf_str(&outgoing.body));
    size_t at = (size_t)snprintf(expected, sizeof(expected), "%s",
                                 "\r\nwebhook-signature: ");
    assert_int_equal(sign_finish(&sign, expected + at, &size), ERR_OK);
    expected[at + size] = '\0';
    buf_append_byte(&outgoing.head, '\0');
    assert_non_null(strstr(outgoing.head.data, expected));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lines_have_an_object_each),
        CASE(an_array_has_all_objects),
        CASE(a_json_body_is_json),
        CASE(what_is_not_json_is_text_or_base64),
        CASE(a_form_has_its_fields),
        CASE(options_and_headers_are_told),
        CASE(what_does_not_fit_waits_for_the_next),
        CASE(a_body_in_a_file_is_delivered_alone),
        CASE(a_batch_is_signed_as_a_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
