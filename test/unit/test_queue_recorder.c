/* Tests of queue/recorder: what becomes of a request, form by form.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/recorder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

enum { NOW_MS = 1700000000 };

static struct http_head head;
static char request_memory[8192];

/* Parse a request; `*out_body` is what follows its head. */
static void request(const char *text, struct str *out_body)
{
    const struct http_limits limits = {65536, 8192};
    struct http_refusal refusal = {0, NULL};
    size_t scanned = 0;
    size_t size = 0;

    (void)snprintf(request_memory, sizeof(request_memory), "%s", text);
    struct str input = str_from(request_memory);
    enum err err =
        http_parse_request(input, &limits, &scanned, &head, &size, &refusal);
    if (err != ERR_OK) {
        fail_msg("test's own request: %s", refusal.reason);
    }
    *out_body = str_cut(input, size, input.size);
}

#define POST "POST /opq/push HTTP/1.1\r\nHost: h\r\n"
#define FORM POST "Content-Type: application/x-www-form-urlencoded\r\n"
#define JSON POST "Content-Type: application/json; charset=utf-8\r\n"

static int make_recorder(void **state)
{
    const struct recorder_options options = {.durability = DURABILITY_DISK};
    struct recorder *recorder = NULL;

    assert_int_equal(recorder_create(&options, &recorder), ERR_OK);
    *state = recorder;
    return 0;
}

static int drop_recorder(void **state)
{
    recorder_destroy(*state);
    return 0;
}

static struct push read_good(void **state, const char *text)
{
    struct push_refusal refusal = {0, ""};
    struct push push;
    struct str body;

    request(text, &body);
    enum err err = recorder_read(*state, &head, body, NOW_MS, &push, &refusal);
    if (err != ERR_OK) {
        fail_msg("refused: %d %s", refusal.status, refusal.detail);
    }
    return push;
}

static void
expect_refusal(void **state, const char *text, int status, const char *detail)
{
    struct push_refusal refusal = {0, ""};
    struct push push;
    struct str body;

    request(text, &body);
    assert_int_equal(
        recorder_read(*state, &head, body, NOW_MS, &push, &refusal),
        ERR_INVALID);
    assert_string_equal(refusal.detail, detail);
    assert_int_equal(refusal.status, status);
}

static void expect_str(struct str text, const char *expected)
{
    if (!str_equal(text, str_from(expected))) {
        fail_msg("'%.*s' is not '%s'", STR_ARG(text), expected);
    }
}

static void expect_pair(struct pair pair, const char *key, const char *value)
{
    expect_str(pair.key, key);
    expect_str(pair.value, value);
}

static void a_form_keeps_all_fields_but_url_and_topic(void **state)
{
    struct push push = read_good(
        state,
        FORM "\r\nextra=1&url=http%3A%2F%2Fh%2Fp&message=a+b&topic=t&extra=2");

    expect_str(push.topic, "t");
    expect_str(push.message.url, "http://h/p");
    assert_int_equal(push.message.kind, MESSAGE_KIND_FORM);
    assert_int_equal(push.message.field_count, 3);
    expect_pair(push.message.fields[0], "extra", "1");
    expect_pair(push.message.fields[1], "message", "a b");
    expect_pair(push.message.fields[2], "extra", "2");
    assert_int_equal(push.message.pushed_at_ms, NOW_MS);
    assert_int_equal(push.durability, DURABILITY_DISK);
}

static void query_parameters_count_as_fields(void **state)
{
    struct push push = read_good(
        state,
        "POST /opq/push?topic=t&x=1 HTTP/1.1\r\nHost: h\r\nContent-Type: "
        "application/x-www-form-urlencoded\r\n\r\nurl=http://h/");

    expect_str(push.topic, "t");
    assert_int_equal(push.message.field_count, 1);
    expect_pair(push.message.fields[0], "x", "1");
}

static void a_multipart_form_is_a_form(void **state)
{
    struct push push = read_good(
        state,
        POST "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
             "--b\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\n"
             "http://h/\r\n"
             "--b\r\nContent-Disposition: form-data; name=\"topic\"\r\n\r\n"
             "t\r\n"
             "--b\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\n"
             "this & that\r\n--b--\r\n");

    assert_int_equal(push.message.kind, MESSAGE_KIND_FORM);
    assert_int_equal(push.message.field_count, 1);
    expect_pair(push.message.fields[0], "message", "this & that");
}

static void a_form_forwards_end_to_end_headers(void **state)
{
    struct push push = read_good(
        state,
        FORM "User-Agent: ua\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
             "Authorization: Basic eA==\r\nCookie: c=1\r\nX-A: 1\r\nX-A: 2\r\n"
             "Keep-Alive: 5\r\nProxy-Authorization: p\r\nTE: trailers\r\n"
             "Upgrade: h2c\r\nTrailer: X\r\nwebhook-id: fake\r\n"
             "Content-Length: 23\r\nOpq-Forward-X-B: forwarded\r\n\r\n"
             "url=http://h/&topic=abc");

    assert_int_equal(push.message.header_count, 6);
    expect_pair(push.message.headers[0], "User-Agent", "ua");
    expect_pair(push.message.headers[1], "Authorization", "Basic eA==");
    expect_pair(push.message.headers[2], "Cookie", "c=1");
    expect_pair(push.message.headers[3], "X-A", "1");
    expect_pair(push.message.headers[4], "X-A", "2");
    expect_pair(push.message.headers[5], "X-B", "forwarded");
}

static void a_forms_own_names_are_never_control_values(void **state)
{
    struct push push = read_good(
        state, FORM "\r\nurl=http://h/&topic=t&sync=none&timeout=x&method=y");

    assert_int_equal(push.durability, DURABILITY_DISK);
    assert_int_equal(push.message.field_count, 3);
    assert_int_equal(push.message.timeout_ms, 0);
}

static void a_form_is_controlled_by_prefixed_names(void **state)
{
    struct push push =
        read_good(state, FORM
                  "Opq-Timeout: 5s\r\n\r\nurl=http://h/&topic=t&Opq-Sync=none");

    assert_int_equal(push.durability, DURABILITY_NONE);
    assert_int_equal(push.message.timeout_ms, 5000);
    assert_int_equal(push.message.field_count, 0);
}

static void a_raw_body_is_kept_byte_for_byte(void **state)
{
    struct push push = read_good(
        state,
        "POST /opq/push?topic=t&url=http://h/%3Fq&method=PUT&sync=none "
        "HTTP/1.1\r\nHost: h\r\nContent-Type: image/x; a=b\r\nX-Own: 1\r\n"
        "Opq-Forward-X-Own: 2\r\n\r\n\x01\xff%2B+&=");

    assert_int_equal(push.message.kind, MESSAGE_KIND_RAW);
    expect_str(push.message.url, "http://h/?q");
    expect_str(push.message.body, "\x01\xff%2B+&=");
    expect_str(push.message.content_type, "image/x; a=b");
    expect_str(push.message.method, "PUT");
    assert_int_equal(push.durability, DURABILITY_NONE);
    assert_int_equal(push.message.header_count, 1);
    expect_pair(push.message.headers[0], "X-Own", "2");
}

static void raw_control_values_may_all_be_headers(void **state)
{
    struct push push = read_good(
        state, POST "Opq-Topic: t\r\nOpq-Url: http://h/\r\n"
                    "Opq-Content-Type: a/b\r\nOPQ-TIMEOUT: 90\r\n\r\nx");

    expect_str(push.topic, "t");
    expect_str(push.message.content_type, "a/b");
    assert_int_equal(push.message.timeout_ms, 90000);
}

static void a_json_message_stays_as_it_was_written(void **state)
{
    struct push push = read_good(
        state,
        JSON "\r\n{\"url\":\"http:\\/\\/h/\",\"topic\":\"t\",\"message\":"
             "{ \"n\": 1.10, \"big\":12345678901234567890123 },"
             "\"headers\":{\"X-A\":\"1\"},\"timeout\":7,\"sync\":\"none\"}");

    expect_str(push.message.url, "http://h/");
    expect_str(push.message.body,
               "{ \"n\": 1.10, \"big\":12345678901234567890123 }");
    expect_str(push.message.content_type, "application/json");
    assert_int_equal(push.message.timeout_ms, 7000);
    assert_int_equal(push.durability, DURABILITY_NONE);
    assert_int_equal(push.message.header_count, 1);
    expect_pair(push.message.headers[0], "X-A", "1");
}

static void a_json_string_is_delivered_as_its_text(void **state)
{
    struct push push = read_good(
        state, JSON "\r\n{\"content_type\":\"text/csv\",\"topic\":\"t\","
                    "\"url\":\"http://h/\",\"message\":\"caf\\u00e9\\n\"}");

    expect_str(push.message.body, "caf\xc3\xa9\n");
    expect_str(push.message.content_type, "text/csv");
    push = read_good(state, JSON "\r\n{\"topic\":\"t\",\"url\":\"http://h/\","
                                 "\"message\":\"\"}");
    expect_str(push.message.body, "");
    expect_str(push.message.content_type, "text/plain; charset=utf-8");
}

static void base64_is_decoded(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"Zg==", "f"},
        {"Zm8=", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYg==", "foob"},
        {"Zm9vYmE=", "fooba"},
        {"+/+/", "\xfb\xff\xbf"},
    };
    char text[256];

    for (size_t index = 0; index < sizeof(cases) / sizeof(*cases); index++) {
        (void)snprintf(text, sizeof(text),
                       JSON "\r\n{\"topic\":\"t\",\"url\":\"http://h/\","
                            "\"message_base64\":\"%s\"}",
                       cases[index][0]);
        struct push push = read_good(state, text);
        expect_str(push.message.body, cases[index][1]);
        expect_str(push.message.content_type, "application/octet-stream");
    }
}

/* Whether anybody would get it is for the topic's shard to say. */
static void push_without_a_url_is_read_in_each_form(void **state)
{
    static const char *const texts[] = {
        FORM "\r\ntopic=t",
        FORM "\r\ntopic=t&url=&message=m",
        JSON "\r\n{\"topic\":\"t\",\"message\":\"m\"}",
        JSON "\r\n{\"topic\":\"t\",\"url\":\"\"}",
        POST "Content-Type: text/plain\r\nOpq-Topic: t\r\n\r\nm",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct push push = read_good(state, texts[i]);
        expect_str(push.topic, "t");
        expect_str(push.message.url, "");
    }
}

static void refusals_name_the_field_and_the_reason(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *detail;
    } cases[] = {
        {FORM "\r\nurl=http://h/", 400, "topic is missing or empty"},
        {FORM "\r\nurl=http://h/&topic=", 400, "topic is missing or empty"},
        {FORM "\r\ntopic=t&topic=u&url=http://h/", 400, "topic is given twice"},
        {FORM "\r\ntopic=t&url=http://h/&url=http://i/", 400,
         "url is given twice"},
        {FORM "\r\ntopic=../../x&url=http://h/", 400,
         "topic must be 1 to 128 of A-Z a-z 0-9 . _ - and not . or .."},
        {FORM "\r\ntopic=..&url=http://h/", 400,
         "topic must be 1 to 128 of A-Z a-z 0-9 . _ - and not . or .."},
        {FORM "\r\ntopic=%zz", 400, "form is malformed"},
        {POST "Content-Type: multipart/form-data\r\n\r\nx", 400,
         "form is malformed"},
        {FORM "Opq-Sync: maybe\r\n\r\ntopic=t&url=http://h/", 400,
         "sync must be disk or none"},
        {FORM "Opq-Synk: disk\r\n\r\ntopic=t&url=http://h/", 400,
         "header Opq-Synk is not known"},
        {FORM "Opq-Timeout: 0s\r\n\r\ntopic=t&url=http://h/", 400,
         "timeout must be a duration up to 1h, such as 30s"},
        {FORM "Opq-Forward-Host: evil\r\n\r\ntopic=t&url=http://h/", 400,
         "headers has a field that OPQ sets itself"},
        {JSON "\r\n{\"topic\":", 400, "body is not valid JSON"},
        {JSON "\r\n{} {}", 400, "body is not valid JSON"},
        {JSON "\r\n", 400, "body is not valid JSON"},
        {JSON "\r\n[]", 400, "body must be a JSON object"},
        {JSON "\r\n{\"tpoic\":\"t\"}", 400, "member tpoic is not known"},
        {JSON "\r\n{\"topic\":[]}", 400, "member topic must be a string"},
        {FORM "Opq-Topic: other\r\n\r\ntopic=t&url=http://h/", 400,
         "topic is given twice"},
        {JSON "\r\n{\"topic\":\"a\",\"topic\":\"b\"}", 400,
         "topic is given twice"},
        {"POST /opq/push?topic=t&topic=u&url=http://h/ HTTP/1.1\r\n"
         "Host: h\r\n\r\n",
         400, "topic is given twice"},
        {JSON "\r\n{\"message\":1,\"message\":2}", 400,
         "message is given twice"},
        {JSON "\r\n{\"message\":\"\\ud800\"}", 400,
         "message has half of a surrogate pair"},
        {JSON "\r\n{\"message_base64\":\"Zg=\"}", 400,
         "message_base64 must be base64"},
        {JSON "\r\n{\"message_base64\":\"Z*==\"}", 400,
         "message_base64 must be base64"},
        {JSON "\r\n{\"headers\":{\"a b\":\"1\"}}", 400,
         "headers has a bad field"},
        {JSON "\r\n{\"headers\":{\"X\":\"a\\r\\nY: b\"}}", 400,
         "headers has a bad field"},
        {JSON "\r\n{\"headers\":{\"Content-Length\":\"1\"}}", 400,
         "headers has a field that OPQ sets itself"},
        {JSON "\r\n{\"headers\":[]}", 400, "headers must be an object"},
        {"POST /opq/push?topic=t&ulr=x HTTP/1.1\r\nHost: h\r\n\r\n", 400,
         "query parameter ulr is not known"},
        {"POST /opq/push?topic=t&url=http://h/&method=TRACE HTTP/1.1\r\n"
         "Host: h\r\n\r\n",
         400, "method must be POST, PUT, PATCH, DELETE or GET"},
    };

    for (size_t index = 0; index < sizeof(cases) / sizeof(*cases); index++) {
        expect_refusal(state, cases[index].text, cases[index].status,
                       cases[index].detail);
    }
}

static void unusable_urls_are_refused(void **state)
{
    static const char *const cases[] = {"ftp://h/",      "h/p",
                                        "http://",       "http://u:p@h/",
                                        "http://h:0/",   "http://h:65536/",
                                        "http://h:x/",   "http://h/a b",
                                        "http://h/\x01", "javascript:alert(1)",
                                        "http://[::1/",  "http://[nonsense]/"};
    struct push_refusal refusal;
    struct push push;
    struct str body;
    char text[512];

    for (size_t index = 0; index < sizeof(cases) / sizeof(*cases); index++) {
        (void)snprintf(text, sizeof(text), FORM "\r\ntopic=t&url=%s",
                       cases[index]);
        request(text, &body);
        refusal.status = 0;
        enum err err =
            recorder_read(*state, &head, body, NOW_MS, &push, &refusal);
        if (err != ERR_INVALID || refusal.status != 400 ||
            strncmp(refusal.detail, "url: ", 5) != 0) {
            fail_msg("%s: err=%d %s", cases[index], err, refusal.detail);
        }
    }
}

static uint32_t asked;

static bool allow_all_but_bad(void *context, struct str host)
{
    (void)context;
    asked++;
    return !str_equal(host, STR("bad"));
}

static void a_target_is_asked_for_until_it_is_allowed(void **state)
{
    const struct recorder_options options = {
        .durability = DURABILITY_DISK, .target_allowed = allow_all_but_bad};
    const char *good = FORM "\r\ntopic=t&url=http://good/hook";
    const char *bad = FORM "\r\ntopic=t&url=http://bad/hook";
    struct recorder *recorder = NULL;

    (void)state;
    asked = 0;
    assert_int_equal(recorder_create(&options, &recorder), ERR_OK);
    void *mine = recorder;
    for (int i = 0; i < 3; i++) {
        expect_refusal(&mine, bad, 400,
                       "url points to an address that is not allowed");
        struct push push = read_good(&mine, good);
        expect_str(push.message.url, "http://good/hook");
    }
    assert_int_equal(asked, 3 + 1);
    (void)read_good(&mine, FORM "\r\ntopic=t&url=http://good/other");
    assert_int_equal(asked, 3 + 2);
    recorder_destroy(recorder);
}

/* Read an item, by its text or by members that were kept: both alike. */
static enum err read_item(struct recorder *recorder,
                          struct str json,
                          struct push *out_push,
                          struct push_refusal *out_refusal)
{
    struct recorder_member members[8];
    struct recorder_item item = {.json = json};
    struct json_scan scan = json_scan_of(json);
    struct push_refusal refusal = {0, ""};

    enum err plain = recorder_read_item(recorder, &item, out_push, &refusal);
    struct push push = plain == ERR_OK ? *out_push : (struct push){0};
    if (json_scan_open_object(&scan) == ERR_OK) {
        item.members = members;
        while (json_scan_opened_member(&scan, &members[item.member_count].name,
                                       &members[item.member_count].value) ==
               ERR_OK) {
            item.member_count++;
        }
    }
    enum err err = recorder_read_item(recorder, &item, out_push, out_refusal);
    assert_int_equal(err, plain);
    if (err == ERR_OK) {
        assert_true(str_equal(push.topic, out_push->topic));
        assert_true(str_equal(push.message.url, out_push->message.url));
        assert_true(str_equal(push.message.body, out_push->message.body));
        assert_int_equal(push.message.header_count,
                         out_push->message.header_count);
    } else {
        assert_string_equal(refusal.detail, out_refusal->detail);
    }
    return err;
}

static void an_item_of_a_batch_is_a_json_push(void **state)
{
    struct push_refusal refusal = {0, ""};
    struct push push;
    struct str body;

    request("POST /opq/batch HTTP/1.1\r\nHost: h\r\nOpq-Topic: t\r\n\r\n",
            &body);
    assert_int_equal(recorder_begin_items(*state, &head, NOW_MS, &refusal),
                     ERR_OK);
    assert_int_equal(read_item(*state,
                               STR("{\"url\":\"http://h/\",\"message\":[1]}"),
                               &push, &refusal),
                     ERR_OK);
    expect_str(push.topic, "t");
    expect_str(push.message.body, "[1]");

    /* What the head says is for items that do not say otherwise. */
    assert_int_equal(read_item(*state,
                               STR("{\"url\":\"http://h/\","
                                   "\"topic\":\"own\"}"),
                               &push, &refusal),
                     ERR_OK);
    expect_str(push.topic, "own");
    expect_str(push.message.body, "");

    /* Nor does an item say anything for the next one, refused or not. */
    assert_int_equal(read_item(*state,
                               STR("{\"topic\":\"bad\",\"timeout\":\"5s\","
                                   "\"headers\":{\"X-A\":\"1\"},\"wrong\":1}"),
                               &push, &refusal),
                     ERR_INVALID);
    assert_string_equal(refusal.detail, "member wrong is not known");
    assert_int_equal(
        read_item(*state, STR("{\"url\":\"http://h/\"}"), &push, &refusal),
        ERR_OK);
    expect_str(push.topic, "t");
    assert_int_equal(push.message.timeout_ms, 0);
    assert_int_equal(push.message.header_count, 0);
    assert_int_equal(push.message.pushed_at_ms, NOW_MS);
    assert_int_equal(read_item(*state, STR("[1]"), &push, &refusal),
                     ERR_INVALID);
    assert_string_equal(refusal.detail, "body must be a JSON object");
}

static void replay_fields_come_as_form_or_json(void **state)
{
    struct push_refusal refusal = {0, ""};
    const struct form *form = NULL;
    struct str body;

    request(FORM "\r\ntopic=t&cmd=30", &body);
    assert_int_equal(recorder_read_form(*state, &head, body, &form, &refusal),
                     ERR_OK);
    expect_str(form_find(form, STR("cmd"))->value, "30");

    request(JSON "\r\n{\"topic\":\"t\",\"cmd\":30}", &body);
    assert_int_equal(recorder_read_form(*state, &head, body, &form, &refusal),
                     ERR_OK);
    expect_str(form_find(form, STR("cmd"))->value, "30");

    request("POST /opq/replay?topic=t&cmd=3 HTTP/1.1\r\nHost: h\r\n\r\n",
            &body);
    assert_int_equal(recorder_read_form(*state, &head, body, &form, &refusal),
                     ERR_OK);
    expect_str(form_find(form, STR("cmd"))->value, "3");

    request(POST "Content-Type: text/plain\r\n\r\ntopic=t", &body);
    assert_int_equal(recorder_read_form(*state, &head, body, &form, &refusal),
                     ERR_INVALID);
    assert_int_equal(refusal.status, 415);
}

#define CASE(name)                                                             \
    cmocka_unit_test_setup_teardown(name, make_recorder, drop_recorder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_form_keeps_all_fields_but_url_and_topic),
        CASE(query_parameters_count_as_fields),
        CASE(a_multipart_form_is_a_form),
        CASE(a_form_forwards_end_to_end_headers),
        CASE(a_forms_own_names_are_never_control_values),
        CASE(a_form_is_controlled_by_prefixed_names),
        CASE(a_raw_body_is_kept_byte_for_byte),
        CASE(raw_control_values_may_all_be_headers),
        CASE(a_json_message_stays_as_it_was_written),
        CASE(a_json_string_is_delivered_as_its_text),
        CASE(base64_is_decoded),
        CASE(push_without_a_url_is_read_in_each_form),
        CASE(refusals_name_the_field_and_the_reason),
        CASE(unusable_urls_are_refused),
        CASE(a_target_is_asked_for_until_it_is_allowed),
        CASE(an_item_of_a_batch_is_a_json_push),
        CASE(replay_fields_come_as_form_or_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
