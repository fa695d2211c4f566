/* Tests of queue/filter: what a filter may say, and what it holds of.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A pair of literals, as a constant. */
#define PAIR(name, value)                                                      \
    {                                                                          \
        {(name), sizeof(name) - 1},                                            \
        {                                                                      \
            (value), sizeof(value) - 1                                         \
        }                                                                      \
    }

static struct pair headers[] = {
    PAIR("X-Team", "billing"),
    PAIR("x-team", "second"),
    PAIR("X-Empty", ""),
};
static struct pair fields[] = {
    PAIR("name", "first"),
    PAIR("name", "second"),
    PAIR("a b", "blank"),
    PAIR("list[0]", "x"),
};
static struct message_options options;
static struct message message;

static int begin(void **state)
{
    (void)state;
    options = (struct message_options){.key = STR("customer-7")};
    message = (struct message){
        .kind = MESSAGE_KIND_RAW,
        .header_count = 3,
        .headers = headers,
        .content_type = STR("application/json"),
        .options = &options,
    };
    return 0;
}

static bool matches(const char *text)
{
    struct filter *filter = NULL;
    struct filter_problem problem = {0, NULL};

    if (filter_compile(str_from(text), &filter, &problem) != ERR_OK) {
        fail_msg("%s: at %zu: %s", text, problem.position, problem.expected);
    }
    bool holds = filter_matches(filter, &message);
    filter_destroy(filter);
    return holds;
}

static void holds(const char *text)
{
    if (!matches(text)) {
        fail_msg("should hold: %s", text);
    }
}

static void holds_not(const char *text)
{
    if (matches(text)) {
        fail_msg("should not hold: %s", text);
    }
}

static void refused(const char *text, size_t position, const char *expected)
{
    struct filter *filter = NULL;
    struct filter_problem problem = {0, NULL};

    assert_int_equal(filter_compile(str_from(text), &filter, &problem),
                     ERR_INVALID);
    assert_null(filter);
    if (problem.position != position ||
        strstr(problem.expected, expected) == NULL) {
        fail_msg("%s: at %zu: %s", text, problem.position, problem.expected);
    }
}

static void a_filter_without_conditions_holds_always(void **state)
{
    (void)state;
    holds("");
    holds("  \t ");
    holds("\n \r\n\n");
    assert_true(filter_matches(NULL, &message));
    filter_destroy(NULL);
}

static void
headers_are_compared_without_regard_to_the_case_of_names(void **state)
{
    (void)state;
    holds("header:X-Team = \"billing\"");
    holds("header:x-TEAM = \"second\"");
    holds_not("header:X-Team = \"Billing\"");
    holds_not("header:X-Team = \"bill\"");
    holds("header:X-Team ^= \"bill\"");
    holds("header:X-Team ^= \"\"");
    holds_not("header:X-Team ^= \"illing\"");
    holds_not("header:X-Team != \"second\"");
    holds("header:X-Team != \"third\"");
    holds("header:X-Empty = \"\"");
    holds("header:X-Empty exists");
    holds_not("header:X-Empty absent");
    holds_not("header:X-None exists");
    holds("header:X-None absent");
    holds("header:X-None != \"x\"");
    holds_not("header:X-None ^= \"\"");
}

static void content_type_is_that_of_the_delivery(void **state)
{
    static const struct pair own[] = {
        PAIR("Content-Type", "multipart/form-data")};

    (void)state;
    holds("header:content-type = \"application/json\"");
    message.headers = own;
    message.header_count = 1;
    holds_not("header:content-type ^= \"multipart\"");
    message.content_type = STR("");
    holds("header:content-type ^= \"multipart\"");
    message.kind = MESSAGE_KIND_FORM;
    holds("header:Content-Type = \"application/x-www-form-urlencoded\"");
}

static void key_and_label_are_those_of_the_options(void **state)
{
    (void)state;
    holds("key = \"customer-7\"");
    holds("key ^= \"customer-\" and label absent");
    holds("label != \"x\"");
    holds_not("label ^= \"\"");
    options.label = STR("red");
    holds("label ^= \"r\"\nkey exists");
    message.options = NULL;
    holds("key absent and label absent");
    holds_not("key = \"\"");
}

static void fields_are_those_of_forms(void **state)
{
    (void)state;
    message.fields = fields;
    message.field_count = 4;
    holds_not("field:name exists"); /* of a raw message */
    message.kind = MESSAGE_KIND_FORM;
    holds("field:name = \"first\"");
    holds("field:name = \"second\"");
    holds_not("field:Name exists");
    holds("field:\"a b\" = \"blank\"");
    holds("field:\"\\u0061 b\" ^= \"bl\"");
    holds("field:list[0] = \"x\"");
    holds("field:list[1] absent");
}

static void json_is_followed_by_paths(void **state)
{
    (void)state;
    message.body = STR(
        " {\"a\":{\"b\":[10,{\"c\":\"text\"},null,[true]],\"odd name\":false},"
        "\"\\u0061b\":\"x\",\"twice\":1,\"twice\":2,\"s\":\"a\\u00e9\\n\"} ");
    holds("json:$.a.b[1].c = \"text\"");
    holds("json:$.a.b[1].c ^= \"te\"");
    holds("json:$[\"a\"][\"b\"][1][\"c\"] ^= \"\"");
    holds_not("json:$.a.b[1].c = \"tex\"");
    holds("json:$.a.b[0] = 10");
    holds("json:$.a.b[0] = 1.0e1");
    holds_not("json:$.a.b[0] = \"10\"");
    holds_not("json:$.a.b[0] ^= \"1\"");
    holds("json:$.a.b[2] = null");
    holds("json:$.a.b[2] exists");
    holds("json:$.a.b[3][0] = true");
    holds("json:$.a[\"odd name\"] = false");
    holds_not("json:$.a[\"odd name\"] = true");
    holds("json:$.ab = \"x\"");
    holds("json:$.twice = 2");
    holds_not("json:$.twice = 1");
    holds("json:$.s = \"a\xc3\xa9\\n\"");
    holds("json:$.s ^= \"a\xc3\xa9\"");
    holds_not("json:$.s ^= \"a\xc3\xa9\\t\"");
    holds("json:$ exists");
    holds("json:$.a.b[4] absent");
    holds("json:$.a.b[4] != 10");
    holds("json:$.a.b.c absent");
    holds("json:$.a[0] absent");
    holds("json:$.a != \"text\"");
    holds("json:$.a exists and json:$.a.b exists");
}

static void a_whole_body_can_be_compared(void **state)
{
    (void)state;
    message.body = STR("\"text\"");
    holds("json:$ = \"text\"");
    message.body = STR("12");
    holds("json:$ = 12");
    message.body = STR("[1,2]");
    holds("json:$[1] = 2");
}

static void a_body_that_is_not_json_has_no_json_conditions(void **state)
{
    static const char *const bodies[] = {"", "text", "{\"a\":1", "{\"a\":1} 2",
                                         "{a:1}"};

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        message.body = str_from(bodies[i]);
        holds_not("json:$.a = 1");
        holds_not("json:$.a != 2");
        holds_not("json:$.b absent");
        holds_not("json:$ exists");
    }
    message.body = STR("{\"a\":1}");
    holds("json:$.a = 1");
    message.blob.size = 7;
    holds_not("json:$.a = 1");
    message.blob.size = 0;
    message.kind = MESSAGE_KIND_FORM;
    holds_not("json:$.a = 1");
}

static void an_attribute_of_an_event_is_in_either_mode(void **state)
{
    const struct pair attributes[] = {{STR("Ce-SpecVersion"), STR("1.0")},
                                      {STR("ce-TYPE"), STR("order.%C3%A4")},
                                      {STR("ce-n"), STR("7")}};

    (void)state;
    message.content_type = STR("text/xml");
    message.headers = attributes;
    message.header_count = 3;
    for (int mode = 0; mode < 2; mode++) {
        holds("ce:type = \"order.\303\244\"");
        holds("ce:type ^= \"order.\" and ce:n = \"7\"");
        holds_not("ce:type = \"order.\"");
        holds("ce:type != \"other\" and ce:n exists");
        holds("ce:subject absent");
        holds_not("ce:subject exists");
        holds("ce:datacontenttype = \"text/xml\"");
        message.header_count = 0;
        message.content_type = STR("application/cloudevents+json");
        message.body = STR("{\"type\":\"\\u006frder.\\u00e4\",\"n\":7,"
                           "\"subject\":null,"
                           "\"datacontenttype\":\"text/xml\"}");
    }
    message.content_type = STR("application/json"); /* no event any more */
    holds("ce:type absent");
    holds_not("ce:type = \"order.\303\244\"");
    refused("ce:my_ext exists", 3, "name of an attribute");
    refused("ce: exists", 3, "name of an attribute");
    refused("ce:type = 1", 10, "expected a string");
}

static void conditions_are_joined_by_and_or_lines(void **state)
{
    (void)state;
    holds("key exists and header:X-Team exists and label absent");
    holds("\n key exists  \r\n\n\theader:X-Team exists\t and  label absent\n");
    holds_not("key exists and label exists");
    holds_not("label exists\nkey exists");
    holds("key =\"customer-7\"");
    holds("key !=  \"and\" and key exists");
}

static void what_is_no_filter_is_told_with_its_place(void **state)
{
    static const char subject[] = "expected header:NAME";
    static const char value[] = "expected a value";

    (void)state;
    refused("x = 1", 0, subject);
    refused("key exists and", 10, "\" and \"");
    refused("key exists and ", 15, "expected a condition");
    refused("key exists and\nlabel exists", 10, "\" and \"");
    refused("key exists or label exists", 10, "\" and \"");
    refused("key = \"a\"and key = \"b\"", 9, "\" and \"");
    refused("key = \"a\" \"b\"", 9, "\" and \"");
    refused("key exists andkey exists", 10, "\" and \"");
    refused("keys exists", 0, subject);
    refused("key=\"a\"", 0, subject);
    refused("key", 3, "blank");
    refused("key ", 4, "expected =, !=");
    refused("key\n= \"a\"", 3, "blank");
    refused("key ~ \"a\"", 4, "expected =, !=");
    refused("key existsx", 4, "expected =, !=");
    refused("key =", 5, value);
    refused("key = a", 6, value);
    refused("key = 'a'", 6, value);
    refused("key =\n\"a\"", 5, value);
    refused("key = \"a", 6, "quotes");
    refused("key = \"\\ud800\"", 6, "surrogate");
    refused("key = \"\x01\"", 6, "quotes");
    refused("key = \"\xff\"", 6, "quotes");
    refused("key = 12", 6, "json: alone");
    refused("header:A = null", 11, "json: alone");
    refused("json:$ ^= 12", 10, "string in quotes");
    refused("json:$ = [1]", 9, value);
    refused("json:$ = {}", 9, value);
    refused("json:$ = 01", 10, "\" and \"");
    refused("json:$ = nul", 9, value);
    refused("json:a = 1", 5, "path");
    refused("json:$. = 1", 7, "member");
    refused("json:$..a = 1", 7, "member");
    refused("json:$.a[ = 1", 9, "index");
    refused("json:$.a[-1] = 1", 9, "index");
    refused("json:$.a[99999999999] = 1", 9, "index");
    refused("json:$.a[1 = 1", 10, "]");
    refused("json:$.a[\"b] = 1", 9, "quotes");
    refused("json:$a = 1", 6, "blank");
    refused("json:$.a=1", 8, "blank");
    refused("header: = \"a\"", 7, "name of a header");
    refused("header:A:B = \"a\"", 7, "name of a header");
    refused("header:A=\"a\"", 7, "name of a header");
    refused("field: = \"a\"", 6, "name of a field");
    refused("field:\"a = \"b\"", 12, "blank");
    refused("key exists\nlabel !", 17, "expected =, !=");
}

static void limits_are_kept(void **state)
{
    struct buf text = {0};
    struct filter *filter = NULL;
    struct filter_problem problem;

    (void)state;
    for (int i = 0; i < FILTER_CONDITIONS_MAX; i++) {
        buf_append_c(&text, "key exists\n");
    }
    assert_int_equal(filter_compile(buf_str(&text), &filter, &problem), ERR_OK);
    assert_true(filter_matches(filter, &message));
    filter_destroy(filter);
    buf_append_c(&text, "key exists");
    assert_int_equal(filter_compile(buf_str(&text), &filter, &problem),
                     ERR_TOO_LARGE);
    assert_int_equal(problem.position, 11 * FILTER_CONDITIONS_MAX);

    buf_clear(&text);
    buf_append_c(&text, "json:$");
    for (int i = 0; i < FILTER_STEPS_MAX; i++) {
        buf_append_c(&text, "[0]");
    }
    buf_append_c(&text, " absent");
    assert_int_equal(filter_compile(buf_str(&text), &filter, &problem), ERR_OK);
    filter_destroy(filter);
    buf_append_c(&text, " and json:$.a exists");
    assert_int_equal(filter_compile(buf_str(&text), &filter, &problem),
                     ERR_TOO_LARGE);

    buf_clear(&text);
    while (text.size < FILTER_SIZE_MAX) {
        buf_append_byte(&text, ' ');
    }
    assert_int_equal(filter_compile(buf_str(&text), &filter, &problem), ERR_OK);
    filter_destroy(filter);
    buf_append_byte(&text, ' ');
    assert_int_equal(filter_compile(buf_str(&text), &filter, &problem),
                     ERR_TOO_LARGE);
    assert_string_equal(problem.expected, "too long");
    buf_fini(&text);
}

static void a_nul_is_no_end(void **state)
{
    static const char text[] = "key exists\0 and label exists";
    struct filter *filter = NULL;
    struct filter_problem problem;

    (void)state;
    assert_int_equal(
        filter_compile((struct str){text, sizeof(text) - 1}, &filter, &problem),
        ERR_INVALID);
    assert_int_equal(problem.position, 10);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_filter_without_conditions_holds_always),
        CASE(headers_are_compared_without_regard_to_the_case_of_names),
        CASE(content_type_is_that_of_the_delivery),
        CASE(key_and_label_are_those_of_the_options),
        CASE(fields_are_those_of_forms),
        CASE(json_is_followed_by_paths),
        CASE(a_whole_body_can_be_compared),
        CASE(a_body_that_is_not_json_has_no_json_conditions),
        CASE(an_attribute_of_an_event_is_in_either_mode),
        CASE(conditions_are_joined_by_and_or_lines),
        CASE(what_is_no_filter_is_told_with_its_place),
        CASE(limits_are_kept),
        CASE(a_nul_is_no_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
