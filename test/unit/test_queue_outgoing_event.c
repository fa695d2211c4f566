/* Tests of queue/outgoing_event: the exact bytes of deliveries that are events.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/outgoing_batch.h"
#include "queue/outgoing_event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CORE                                                                   \
    "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""
#define MADE                                                                   \
    "{\"specversion\":\"1.0\",\"id\":\"msg_000000000000001f-7\","              \
    "\"type\":\"opq.message\",\"source\":\"/topics/orders\","                  \
    "\"time\":\"2023-11-14T22:13:20.123Z\""

static struct store_topic stored;
static struct topic topic;
static struct outgoing outgoing;
static struct outgoing_context context;
static struct settings settings;
static struct url url;
static struct message message;
static struct message_options options;
static char head[4096];

static int begin(void **state)
{
    const char *reason = NULL;

    (void)state;
    stored = (struct store_topic){.id = 0x1f, .name_str = STR("orders")};
    topic = (struct topic){.store = &stored};
    (void)snprintf(topic.id_prefix, sizeof(topic.id_prefix), "%s",
                   "msg_000000000000001f-");
    settings_init(&settings);
    settings.cloudevents = SETTINGS_EVENTS_STRUCTURED;
    options = (struct message_options){.retries = MESSAGE_RETRIES_UNSET};
    message = (struct message){
        .url = STR("http://a.example/"),
        .kind = MESSAGE_KIND_RAW,
        .content_type = STR("text/plain"),
        .body = STR("x"),
        .pushed_at_ms = 1700000000123,
    };
    context = (struct outgoing_context){
        .topic = &topic,
        .url = &url,
        .sequence = 7,
        .attempt = 1,
        .now_s = 1700000000,
        .events = &settings,
    };
    return url_parse(STR("http://b.example/in"), &url, &reason) == ERR_OK ? 0
                                                                          : -1;
}

static int finish(void **state)
{
    (void)state;
    outgoing_fini(&outgoing);
    return 0;
}

/* Render as a mode; the head is in `head` then. */
static void render(enum settings_events mode)
{
    settings.cloudevents = mode;
    assert_int_equal(outgoing_render(&outgoing, &message, &context), ERR_OK);
    (void)snprintf(head, sizeof(head), "%.*s",
                   STR_ARG(buf_str(&outgoing.head)));
}

static void expect_body(const char *expected)
{
    if (!str_equal(buf_str(&outgoing.body), str_from(expected))) {
        fail_msg("%.*s\nis not\n%s", STR_ARG(buf_str(&outgoing.body)),
                 expected);
    }
}

static void expect_header(const char *line)
{
    char whole[512];

    (void)snprintf(whole, sizeof(whole), "\r\n%s\r\n", line);
    if (strstr(head, whole) == NULL) {
        fail_msg("no %s in %s", line, head);
    }
}

static void expect_none(const char *text)
{
    if (strstr(head, text) != NULL) {
        fail_msg("%s in %s", text, head);
    }
}

static void expect_structured(const char *rest)
{
    char whole[1024];

    render(SETTINGS_EVENTS_STRUCTURED);
    (void)snprintf(whole, sizeof(whole), MADE "%s}", rest);
    expect_body(whole);
    expect_header("Content-Type: application/cloudevents+json");
}

static void any_message_becomes_a_structured_event(void **state)
{
    (void)state;
    expect_structured(",\"datacontenttype\":\"text/plain\",\"data\":\"x\"");
    expect_header("webhook-id: msg_000000000000001f-7");
    message.options = &options;
    options.key = STR("k\"1");
    message.body = STR("");
    expect_structured(
        ",\"subject\":\"k\\\"1\",\"datacontenttype\":\"text/plain\"");
    options.key = STR("");
    message.content_type = STR("");
    expect_structured("");
    options.id = STR("first");
    settings.cloudevents_type = "a.b";
    settings.cloudevents_source = "urn:x";
    render(SETTINGS_EVENTS_STRUCTURED);
    expect_body("{\"specversion\":\"1.0\",\"id\":\"first\",\"type\":\"a.b\","
                "\"source\":\"urn:x\","
                "\"time\":\"2023-11-14T22:13:20.123Z\"}");
}

static void expect_data(const char *type, struct str body, const char *expected)
{
    char rest[512];

    message.content_type = str_from(type);
    message.body = body;
    (void)snprintf(rest, sizeof(rest), "%s%s%s,\"%s",
                   *type != '\0' ? ",\"datacontenttype\":\"" : "", type,
                   *type != '\0' ? "\"" : "", expected);
    expect_structured(rest);
}

static void data_is_json_text_or_base64_by_its_type(void **state)
{
    (void)state;
    expect_data("application/json", STR("{\"a\": 1 }"), "data\":{\"a\": 1 }");
    expect_data("a/b+JSON;x=1", STR(" \"s\"\n"), "data\": \"s\"\n");
    expect_data("application/json", STR("{"), "data_base64\":\"ew==\"");
    expect_data("text/plain", STR("\303\244\n"), "data\":\"\303\244\\n\"");
    expect_data("text/plain", STR("\377"), "data_base64\":\"/w==\"");
    expect_data("text/plain; charset=UTF-8", STR("a"), "data\":\"a\"");
    expect_data("text/plain;charset=latin1", STR("a"),
                "data_base64\":\"YQ==\"");
    expect_data("image/svg+xml", STR("<a/>"), "data\":\"<a/>\"");
    expect_data("application/xml", STR("<a/>"), "data\":\"<a/>\"");
    expect_data("image/png", STR("a"), "data_base64\":\"YQ==\"");
    expect_data("", STR("a"), "data_base64\":\"YQ==\"");
}

static void the_data_of_a_form_is_its_body(void **state)
{
    const struct pair fields[] = {{STR("message"), STR("a b")}};
    static const char body[] =
        "message=a+b&topic=orders&url=http%3A%2F%2Fa.example%2F";
    char rest[256];

    (void)state;
    message.kind = MESSAGE_KIND_FORM;
    message.content_type = STR("");
    message.body = STR("");
    message.fields = fields;
    message.field_count = 1;
    (void)snprintf(rest, sizeof(rest),
                   ",\"datacontenttype\":\"application/x-www-form-urlencoded\","
                   "\"data\":\"%s\"",
                   body);
    expect_structured(rest);
    render(SETTINGS_EVENTS_BINARY);
    expect_body(body);
    expect_header("Content-Type: application/x-www-form-urlencoded");
    expect_header("ce-type: opq.message");
}

static void any_message_becomes_a_binary_event(void **state)
{
    const struct pair headers[] = {{STR("X-A"), STR("1")},
                                   {STR("ce-extra"), STR("1")}};

    (void)state;
    message.headers = headers;
    message.header_count = 2;
    message.options = &options;
    options.key = STR("a \303\244\"%");
    render(SETTINGS_EVENTS_BINARY);
    expect_body("x");
    expect_header("Content-Type: text/plain");
    expect_header("X-A: 1");
    expect_none("ce-extra");
    expect_header("ce-specversion: 1.0");
    expect_header("ce-id: msg_000000000000001f-7");
    expect_header("ce-source: /topics/orders");
    expect_header("ce-type: opq.message");
    expect_header("ce-time: 2023-11-14T22:13:20.123Z");
    expect_header("ce-subject: a%20%C3%A4%22%25");
    render(SETTINGS_EVENTS_STRUCTURED);
    expect_header("X-A: 1");
    expect_none("ce-");
}

static void an_event_of_the_mode_is_sent_as_it_came(void **state)
{
    const struct pair headers[] = {{STR("Ce-specversion"), STR("1.0")},
                                   {STR("cE-id"), STR("\"a\"")},
                                   {STR("ce-source"), STR("/s")},
                                   {STR("ce-type"), STR("t%41")}};

    (void)state;
    message.content_type = STR("application/cloudevents+json; charset=utf-8");
    message.body = STR(" {" CORE " } ");
    render(SETTINGS_EVENTS_STRUCTURED);
    expect_body(" {" CORE " } ");
    expect_header("Content-Type: application/cloudevents+json; charset=utf-8");
    message.headers = headers;
    message.header_count = 4;
    message.content_type = STR("");
    render(SETTINGS_EVENTS_BINARY);
    expect_header("Ce-specversion: 1.0");
    expect_header("cE-id: \"a\"");
    expect_header("ce-type: t%41");
    expect_none("opq.message");
    expect_none("Content-Type");
}

static void what_cannot_be_read_is_sent_as_it_is(void **state)
{
    (void)state;
    message.content_type = STR("application/cloudevents+xml");
    message.body = STR("<event/>");
    render(SETTINGS_EVENTS_BINARY);
    expect_body("<event/>");
    expect_none("ce-");
    render(SETTINGS_EVENTS_STRUCTURED);
    expect_body("<event/>");
    expect_header("Content-Type: application/cloudevents+xml");
    message.content_type = STR("application/cloudevents+json");
    render(SETTINGS_EVENTS_BINARY);
    expect_body("<event/>");
    expect_none("ce-");
}

static void
expect_binary(const char *members, const char *type, struct str body)
{
    char text[512];

    (void)snprintf(text, sizeof(text), "{" CORE "%s}", members);
    message.content_type = STR("application/cloudevents+json");
    message.body = str_from(text);
    render(SETTINGS_EVENTS_BINARY);
    assert_int_equal(outgoing.body.size, body.size);
    assert_true(str_equal(buf_str(&outgoing.body), body));
    expect_header("ce-specversion: 1.0");
    expect_header("ce-id: 1");
    expect_none("datacontenttype");
    if (type == NULL) {
        expect_none("Content-Type");
        return;
    }
    (void)snprintf(text, sizeof(text), "Content-Type: %s", type);
    expect_header(text);
}

static void a_structured_event_becomes_binary(void **state)
{
    const struct pair headers[] = {{STR("ce-id"), STR("no")}};

    (void)state;
    message.headers = headers;
    message.header_count = 1;
    expect_binary("", NULL, STR(""));
    expect_none("ce-id: no");
    expect_binary(",\"data\":{\"a\" :1}", "application/json",
                  STR("{\"a\" :1}"));
    expect_binary(",\"data\":\"s\"", "application/json", STR("\"s\""));
    expect_binary(",\"data\":\"s\",\"datacontenttype\":\"a/b+json\"",
                  "a/b+json", STR("\"s\""));
    expect_binary(",\"data\":\"<\\u00e4>\\n\",\"datacontenttype\":\"text/xml\"",
                  "text/xml", STR("<\303\244>\n"));
    expect_binary(",\"data\":\"\",\"datacontenttype\":\"text/xml\"", "text/xml",
                  STR(""));
    expect_binary(",\"data\":[1],\"datacontenttype\":\"text/xml\"", "text/xml",
                  STR("[1]"));
    expect_binary(",\"data_base64\":\"AP8=\",\"datacontenttype\":\"image/png\"",
                  "image/png", STR("\0\377"));
    expect_binary(",\"data_base64\":\"AP8=\"", NULL, STR("\0\377"));
    expect_binary(",\"subject\":\"a \\u00e4\",\"n\":-7,\"b\":true,\"z\":null",
                  NULL, STR(""));
    expect_header("ce-subject: a%20%C3%A4");
    expect_header("ce-n: -7");
    expect_header("ce-b: true");
    expect_none("ce-z");
}

static void a_binary_event_becomes_structured(void **state)
{
    const struct pair headers[] = {{STR("ce-specversion"), STR("1.0")},
                                   {STR("CE-ID"), STR("%22a%20")},
                                   {STR("X-A"), STR("1")},
                                   {STR("ce-source"), STR("/s")},
                                   {STR("ce-type"), STR("t")},
                                   {STR("ce-ext"), STR("\"b\"")}};

    (void)state;
    message.headers = headers;
    message.header_count = 6;
    message.content_type = STR("application/json");
    message.body = STR("{\"a\":1}");
    render(SETTINGS_EVENTS_STRUCTURED);
    expect_body("{\"specversion\":\"1.0\",\"id\":\"\\\"a \",\"source\":\"/s\","
                "\"type\":\"t\",\"ext\":\"b\","
                "\"datacontenttype\":\"application/json\","
                "\"data\":{\"a\":1}}");
    expect_header("Content-Type: application/cloudevents+json");
    expect_header("X-A: 1");
    expect_none("ce-");
}

static void a_body_in_a_file_is_sent_in_binary_mode(void **state)
{
    (void)state;
    message.body = STR("");
    message.blob = (struct message_blob){.id = 1, .size = 5000000};
    render(SETTINGS_EVENTS_STRUCTURED);
    expect_body("");
    expect_header("Content-Length: 5000000");
    expect_header("Content-Type: text/plain");
    expect_header("ce-type: opq.message");
}

static void a_batch_is_an_array_of_events(void **state)
{
    const struct pair headers[] = {{STR("ce-specversion"), STR("1.0")},
                                   {STR("ce-id"), STR("2")},
                                   {STR("ce-source"), STR("/s")},
                                   {STR("ce-type"), STR("t")}};
    struct outgoing_batch batch;

    (void)state;
    outgoing_batch_begin(&batch, &outgoing, &topic, SETTINGS_BATCH_NDJSON,
                         &settings);
    assert_int_equal(outgoing_batch_add(&batch, 7, &message), ERR_OK);
    message.content_type = STR("application/cloudevents+json");
    message.body = STR("{" CORE "}\n");
    assert_int_equal(outgoing_batch_add(&batch, 8, &message), ERR_OK);
    message.content_type = STR("");
    message.body = STR("");
    message.headers = headers;
    message.header_count = 4;
    assert_int_equal(outgoing_batch_add(&batch, 9, &message), ERR_OK);
    assert_int_equal(outgoing_batch_end(&batch, &context), ERR_OK);
    (void)snprintf(head, sizeof(head), "%.*s",
                   STR_ARG(buf_str(&outgoing.head)));
    expect_body("[" MADE ",\"datacontenttype\":\"text/plain\",\"data\":\"x\"}"
                ",{" CORE "}\n"
                ",{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/s\","
                "\"type\":\"t\"}]");
    expect_header("Content-Type: application/cloudevents-batch+json");
    expect_header("Opq-Batch: 3");
}

static void without_the_setting_nothing_is_an_event(void **state)
{
    (void)state;
    context.events = NULL;
    render(SETTINGS_EVENTS_STRUCTURED);
    expect_body("x");
    expect_header("Content-Type: text/plain");
    expect_none("ce-");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(any_message_becomes_a_structured_event),
        CASE(data_is_json_text_or_base64_by_its_type),
        CASE(the_data_of_a_form_is_its_body),
        CASE(any_message_becomes_a_binary_event),
        CASE(an_event_of_the_mode_is_sent_as_it_came),
        CASE(what_cannot_be_read_is_sent_as_it_is),
        CASE(a_structured_event_becomes_binary),
        CASE(a_binary_event_becomes_structured),
        CASE(a_body_in_a_file_is_sent_in_binary_mode),
        CASE(a_batch_is_an_array_of_events),
        CASE(without_the_setting_nothing_is_an_event),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
