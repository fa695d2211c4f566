/* Tests of queue/cloudevents: what is an event, and what is wrong with one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/cloudevents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CORE                                                                   \
    "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

static struct buf memory;
static struct cloudevents_event event;
static struct cloudevents_problem problem;

static int finish(void **state)
{
    (void)state;
    buf_fini(&memory);
    return 0;
}

static struct message structured(const char *body)
{
    return (struct message){
        .kind = MESSAGE_KIND_RAW,
        .content_type = STR("Application/CloudEvents+JSON ; charset=utf-8"),
        .body = str_from(body),
    };
}

static void read_good(const struct message *message)
{
    enum err err = cloudevents_read(message, &memory, &event, &problem);

    if (err != ERR_OK) {
        fail_msg("refused: '%.*s' %s", STR_ARG(problem.name), problem.why);
    }
}

static void expect(const char *name, const char *value)
{
    struct str found = cloudevents_value(&event, str_from(name));

    if (!str_equal(found, str_from(value))) {
        fail_msg("%s is '%.*s', not '%s'", name, STR_ARG(found), value);
    }
}

static void
refused(const struct message *message, const char *name, const char *why)
{
    assert_int_equal(cloudevents_read(message, &memory, &event, &problem),
                     ERR_INVALID);
    if (!str_equal(problem.name, str_from(name)) ||
        strstr(problem.why, why) == NULL) {
        fail_msg("'%.*s' %s; not '%s' %s", STR_ARG(problem.name), problem.why,
                 name, why);
    }
}

static void refused_body(const char *body, const char *name, const char *why)
{
    struct message message = structured(body);

    refused(&message, name, why);
}

static void the_mode_is_by_type_first_and_then_by_a_header(void **state)
{
    const struct pair headers[] = {{STR("X-A"), STR("1")},
                                   {STR("CE-SpecVersion"), STR("1.0")}};
    struct message message = structured("");

    (void)state;
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_STRUCTURED);
    message.headers = headers;
    message.header_count = 2;
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_STRUCTURED);
    message.content_type = STR("application/cloudevents+xml");
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_OPAQUE);
    message.content_type = STR("application/cloudevents-batch+json");
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_OPAQUE);
    assert_true(cloudevents_is_batch(message.content_type));
    assert_int_equal(cloudevents_read(&message, &memory, &event, &problem),
                     ERR_NOT_FOUND);
    message.content_type = STR("application/json");
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_BINARY);
    message.content_type = STR("");
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_BINARY);
    message.header_count = 1;
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_NONE);
    message.content_type = STR("application/cloudevent");
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_NONE);
    message = structured("");
    message.kind = MESSAGE_KIND_FORM;
    assert_int_equal(cloudevents_mode(&message), CLOUDEVENTS_NONE);
}

static void a_structured_event_is_read(void **state)
{
    struct message message = structured(
        " {" CORE ",\"partitionkey\":\"k\\u00e4\",\"n\":-7,\"b\":true,"
        "\"none\":null,\"datacontenttype\":\"text/xml\",\"data\":\"<\\n/"
        ">\"}\n");

    (void)state;
    read_good(&message);
    assert_int_equal(event.mode, CLOUDEVENTS_STRUCTURED);
    assert_int_equal(event.count, 7);
    expect("specversion", "1.0");
    expect("id", "1");
    expect("source", "/s");
    expect("type", "t");
    expect("partitionkey", "k\303\244");
    expect("n", "-7");
    expect("b", "true");
    expect("none", "");
    assert_int_equal(event.kind, CLOUDEVENTS_DATA_JSON);
    assert_true(str_equal(event.data, STR("\"<\\n/>\"")));
    assert_true(str_equal(event.content_type, STR("text/xml")));
}

static void data_is_a_value_bytes_or_nothing(void **state)
{
    struct message message = structured("{" CORE ",\"data_base64\":\"AP8=\"}");

    (void)state;
    read_good(&message);
    assert_int_equal(event.kind, CLOUDEVENTS_DATA_BYTES);
    assert_int_equal(event.data.size, 2);
    assert_memory_equal(event.data.data, "\0\377", 2);
    message = structured("{" CORE ",\"data_base64\":\"A\\u0050\\u0038=\"}");
    read_good(&message);
    assert_memory_equal(event.data.data, "\0\377", 2);
    message = structured("{\"data\":{\"a\":[1, 2]}," CORE "}");
    read_good(&message);
    assert_int_equal(event.kind, CLOUDEVENTS_DATA_JSON);
    assert_true(str_equal(event.data, STR("{\"a\":[1, 2]}")));
    message = structured("{" CORE ",\"data_base64\":null}");
    read_good(&message);
    assert_int_equal(event.kind, CLOUDEVENTS_DATA_NONE);
}

static void required_attributes_are_required(void **state)
{
    (void)state;
    refused_body("{\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}",
                 "specversion", "missing");
    refused_body("{\"specversion\":\"1.0\",\"source\":\"/s\",\"type\":\"t\"}",
                 "id", "missing");
    refused_body("{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"t\"}",
                 "source", "missing");
    refused_body("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\"}",
                 "type", "missing");
    refused_body("{\"specversion\":\"1.0\",\"id\":null,\"source\":\"/s\","
                 "\"type\":\"t\"}",
                 "id", "missing");
    refused_body("{\"specversion\":\"0.3\"}", "specversion", "must be 1.0");
    refused_body("{\"specversion\":1.0}", "specversion", "must be a string");
    refused_body("{\"id\":\"\"}", "id", "empty");
    refused_body("{\"source\":\"\"}", "source", "empty");
    refused_body("{\"type\":\"\"}", "type", "empty");
    refused_body("{\"id\":1}", "id", "must be a string");
}

static void what_is_no_event_is_refused(void **state)
{
    (void)state;
    refused_body("", "", "JSON object");
    refused_body("[]", "", "JSON object");
    refused_body("{" CORE "} x", "", "JSON object");
    refused_body("{" CORE, "", "JSON object");
    refused_body("{\"ID\":\"1\"}", "ID", "no name");
    refused_body("{\"my_ext\":\"1\"}", "my_ext", "no name");
    refused_body("{\"\":\"1\"}", "", "no name");
    refused_body("{\"id\":\"1\",\"id\":\"1\"}", "id", "twice");
    refused_body("{\"i\\u0064\":\"1\",\"id\":\"1\"}", "id", "twice");
    refused_body("{\"data\":1,\"data\":1}", "data", "twice");
    refused_body("{\"data\":1,\"data_base64\":\"\"}", "data_base64",
                 "excludes");
    refused_body("{\"data_base64\":\"\",\"data\":null}", "data", "excludes");
    refused_body("{\"data_base64\":\"A\"}", "data_base64", "base64");
    refused_body("{\"data_base64\":1}", "data_base64", "base64");
    refused_body("{\"ext\":{}}", "ext", "must be a string, a boolean");
    refused_body("{\"ext\":1.5}", "ext", "must be a string, a boolean");
    refused_body("{\"ext\":2147483648}", "ext", "integer of 32 bits");
    refused_body("{\"ext\":-2147483649}", "ext", "integer of 32 bits");
    refused_body("{\"ext\":\"\\u0000\"}", "ext", "NUL");
    refused_body("{\"ext\":\"\\ud800\"}", "ext", "must be text");
    refused_body("{\"datacontenttype\":\"a\\nb\"}", "datacontenttype",
                 "media type");
    refused_body("{\"datacontenttype\":\"a/b\",\"datacontenttype\":\"a/b\"}",
                 "datacontenttype", "twice");
}

static void an_event_has_64_attributes_at_most(void **state)
{
    struct buf body = {0};

    (void)state;
    buf_append_c(&body, "{" CORE);
    for (int index = 0; index < CLOUDEVENTS_ATTRIBUTES_MAX - 4; index++) {
        buf_append_format(&body, ",\"x%d\":\"\"", index);
    }
    buf_append_c(&body, "}");
    struct message message = structured("");
    message.body = buf_str(&body);
    read_good(&message);
    body.size--;
    buf_append_c(&body, ",\"more\":1}");
    message.body = buf_str(&body);
    refused(&message, "", "more than 64");
    buf_fini(&body);
}

static void a_binary_event_is_read(void **state)
{
    const struct pair headers[] = {
        {STR("Ce-SpecVersion"), STR("1.0")},
        {STR("ce-id"), STR("\"a\\\"b\"")},
        {STR("ce-source"), STR("/s%20%C3%A4%zz%4")},
        {STR("X-Other"), STR("1")},
        {STR("CE-Type"), STR("t")},
    };
    struct message message = {
        .kind = MESSAGE_KIND_RAW,
        .headers = headers,
        .header_count = 5,
        .content_type = STR("application/json"),
        .body = STR("{}"),
    };

    (void)state;
    read_good(&message);
    assert_int_equal(event.mode, CLOUDEVENTS_BINARY);
    assert_int_equal(event.count, 4);
    expect("id", "a\"b");
    expect("source", "/s \303\244%zz%4");
    expect("type", "t");
    assert_int_equal(event.kind, CLOUDEVENTS_DATA_BYTES);
    assert_true(str_equal(event.data, STR("{}")));
    assert_true(str_equal(event.content_type, STR("application/json")));
}

static void a_wrong_binary_event_is_refused(void **state)
{
    struct pair headers[] = {
        {STR("ce-specversion"), STR("1.0")},
        {STR("ce-id"), STR("1")},
        {STR("ce-source"), STR("/s")},
        {STR("ce-type"), STR("t")},
    };
    struct message message = {.kind = MESSAGE_KIND_RAW, .headers = headers};

    (void)state;
    message.header_count = 3;
    refused(&message, "type", "missing");
    message.header_count = 4;
    headers[3].value = STR("");
    refused(&message, "type", "empty");
    headers[3].value = STR("%ff");
    refused(&message, "type", "UTF-8");
    headers[3].value = STR("%00");
    refused(&message, "type", "UTF-8");
    headers[3] = (struct pair){STR("ce-my-ext"), STR("1")};
    refused(&message, "my-ext", "no name");
    headers[3] = (struct pair){STR("ce-"), STR("1")};
    refused(&message, "", "no name");
    headers[3] = (struct pair){STR("CE-ID"), STR("2")};
    refused(&message, "id", "twice");
    headers[3] = (struct pair){STR("ce-data"), STR("2")};
    refused(&message, "data", "no header");
    headers[3] = (struct pair){STR("ce-datacontenttype"), STR("a/b")};
    refused(&message, "datacontenttype", "no header");
    headers[0].value = STR("1.1");
    refused(&message, "specversion", "must be 1.0");
}

static void values_of_headers_go_there_and_back(void **state)
{
    struct buf header = {0};
    struct str value = STR("a \"%\" \303\244\x7f~!");

    (void)state;
    cloudevents_append_header(&header, value);
    assert_true(
        str_equal(buf_str(&header), STR("a%20%22%25%22%20%C3%A4%7F~!")));
    assert_true(cloudevents_starts(buf_str(&header), value, true));
    assert_true(cloudevents_starts(buf_str(&header), STR("a \""), false));
    assert_false(cloudevents_starts(buf_str(&header), STR("a \""), true));
    assert_false(cloudevents_starts(buf_str(&header), STR("a%20"), false));
    assert_false(cloudevents_starts(STR("a"), STR("ab"), false));
    assert_true(cloudevents_starts(STR(""), STR(""), true));
    assert_true(cloudevents_starts(STR("\"a%20b\""), STR("a b"), true));
    buf_fini(&header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mode_is_by_type_first_and_then_by_a_header),
        cmocka_unit_test(a_structured_event_is_read),
        cmocka_unit_test(data_is_a_value_bytes_or_nothing),
        cmocka_unit_test(required_attributes_are_required),
        cmocka_unit_test(what_is_no_event_is_refused),
        cmocka_unit_test(an_event_has_64_attributes_at_most),
        cmocka_unit_test(a_binary_event_is_read),
        cmocka_unit_test(a_wrong_binary_event_is_refused),
        cmocka_unit_test(values_of_headers_go_there_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, finish);
}
