/* Tests of base/json_scan: what is JSON, what is not, and what is inside.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/json_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

/* Scan one value that must be all of the text. */
static enum err scan_whole(struct str text, struct json_scan_value *out_value)
{
    struct json_scan scan = json_scan_of(text);
    struct json_scan_value more;
    enum err err = json_scan_next(&scan, out_value);

    if (err != ERR_OK) {
        return err;
    }
    return json_scan_next(&scan, &more) == ERR_NOT_FOUND ? ERR_OK : ERR_INVALID;
}

/* Take the elements of an array both ways: looked at before, and not. */
static uint32_t open_both_ways(struct str text, enum err expected)
{
    struct json_scan scan = json_scan_of(text);
    struct json_scan_value array;
    struct json_scan_value left;
    struct json_scan_value right;
    struct json_scan_value more;
    uint32_t count = 0;
    enum err err = json_scan_open(&scan);

    bool whole =
        scan_whole(text, &array) == ERR_OK && array.type == JSON_SCAN_ARRAY;
    struct json_scan entered = json_scan_of(STR(""));
    if (whole) {
        entered = json_scan_enter(&array);
    }
    while (err == ERR_OK) {
        err = json_scan_opened_place(&scan);
        if (err == ERR_OK) {
            err = json_scan_next(&scan, &left);
            err = err == ERR_NOT_FOUND ? ERR_INVALID : err;
        }
        if (err == ERR_OK && whole) {
            assert_int_equal(json_scan_element(&entered, &right), ERR_OK);
            assert_true(str_equal(left.text, right.text));
            assert_int_equal(left.type, right.type);
            count++;
        }
    }
    if (err == ERR_NOT_FOUND) {
        err = json_scan_next(&scan, &more) == ERR_NOT_FOUND ? ERR_OK
                                                            : ERR_INVALID;
    }
    if (err != expected || whole != (expected == ERR_OK)) {
        fail_msg("'%.*s': err=%d whole=%d", STR_ARG(text), err, whole);
    }
    return count;
}

static void an_array_can_be_opened_before_it_was_looked_at(void **state)
{
    static const char *const malformed[] = {
        "",    " ",     "{}",   "1",          "\"[\"",      "[",
        "[1",  "[1,",   "[,]",  "[,1]",       "[1,]",       "[1 2]",
        "[}",  "[{]}",  "[1]]", "[1] 2",      "[]x",        "[\"",
        "[[]", "[tru]", "[01]", "[\"\x01\"]", "[\"\xff\"]",
    };
    char deep[2 * JSON_SCAN_DEPTH_MAX + 2];

    (void)state;
    assert_int_equal(open_both_ways(STR("[]"), ERR_OK), 0);
    assert_int_equal(open_both_ways(STR(" [ ] "), ERR_OK), 0);
    assert_int_equal(
        open_both_ways(STR("[1,\"]\",[2,{}],{\"a\":[]}]\n"), ERR_OK), 4);
    for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
        (void)open_both_ways(str_from(malformed[i]), ERR_INVALID);
    }
    /* What is around an element counts for its depth. */
    for (size_t depth = JSON_SCAN_DEPTH_MAX; depth <= JSON_SCAN_DEPTH_MAX + 1;
         depth++) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        (void)open_both_ways((struct str){deep, 2 * depth},
                             depth <= JSON_SCAN_DEPTH_MAX ? ERR_OK
                                                          : ERR_INVALID);
    }
}

/* Take the members of an object both ways. Gives how many there are. */
static uint32_t
open_object_both_ways(struct str text, bool good, size_t *out_end)
{
    struct json_scan scan = json_scan_of(text);
    struct json_scan first = scan;
    struct json_scan_value object;
    struct json_scan_value names[2];
    struct json_scan_value values[2];
    uint32_t count = 0;
    bool whole = json_scan_next(&first, &object) == ERR_OK &&
                 object.type == JSON_SCAN_OBJECT;
    struct json_scan entered = json_scan_of(STR(""));

    if (whole) {
        entered = json_scan_enter(&object);
    }
    enum err err = json_scan_open_object(&scan);
    while (err == ERR_OK) {
        err = json_scan_opened_member(&scan, &names[0], &values[0]);
        if (err == ERR_OK && whole) {
            assert_int_equal(json_scan_member(&entered, &names[1], &values[1]),
                             ERR_OK);
            assert_true(str_equal(names[0].text, names[1].text));
            assert_true(str_equal(values[0].text, values[1].text));
            count++;
        }
    }
    if (whole != good || (err == ERR_NOT_FOUND) != good) {
        fail_msg("'%.*s': err=%d whole=%d", STR_ARG(text), err, whole);
    }
    if (good) {
        assert_int_equal(scan.position, first.position);
        assert_int_equal(json_scan_member(&entered, &names[1], &values[1]),
                         ERR_NOT_FOUND);
    }
    *out_end = scan.position;
    return count;
}

static void an_object_can_be_opened_before_it_was_looked_at(void **state)
{
    static const char *const malformed[] = {
        "",          " ",          "[]",           "1",
        "{",         "{\"a\"",     "{\"a\":",      "{\"a\":1",
        "{\"a\":1,", "{\"a\":1,}", "{,}",          "{,\"a\":1}",
        "{\"a\" 1}", "{a:1}",      "{1:1}",        "{\"a\":1 \"b\":2}",
        "{\"a\":1]", "{\"a\":[}",  "{\"\xff\":1}", "{\"a\":tru}",
    };
    size_t end = 0;

    (void)state;
    assert_int_equal(open_object_both_ways(STR(" {} {}"), true, &end), 0);
    assert_int_equal(end, 3);
    assert_int_equal(open_object_both_ways(
                         STR("{ \"a\" : 1 , \"}\" : {\"b\":[]} }"), true, &end),
                     2);
    for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
        (void)open_object_both_ways(str_from(malformed[i]), false, &end);
    }
}

/* Strings of all sizes around a block, with one odd byte at each place. */
static void odd_bytes_are_seen_wherever_they_stand(void **state)
{
    static const struct {
        const char *bytes;
        enum err err;
    } odd[] = {
        {"\\\"", ERR_OK},     {"\\", ERR_INVALID},   {"\x1f", ERR_INVALID},
        {"\xc3\xa9", ERR_OK}, {"\xc3", ERR_INVALID}, {"\x80", ERR_INVALID},
        {"\"", ERR_INVALID},  {"\x7f", ERR_OK},      {"\\u00e9", ERR_OK},
    };

    (void)state;
    for (size_t size = 0; size < 40; size++) {
        for (size_t place = 0; place <= size; place++) {
            for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
                char text[64] = "\"";
                struct json_scan_value value;
                size_t odd_size = strlen(odd[i].bytes);
                memset(text + 1, 'a', size + odd_size);
                memcpy(text + 1 + place, odd[i].bytes, odd_size);
                text[1 + size + odd_size] = '"';
                enum err err =
                    scan_whole((struct str){text, size + odd_size + 2}, &value);
                if (err != odd[i].err) {
                    fail_msg("size %zu place %zu case %zu: err=%d", size, place,
                             i, err);
                }
            }
        }
    }
}

static void values_are_told_apart(void **state)
{
    static const struct {
        const char *text;
        enum json_scan_type type;
    } cases[] = {
        {"{}", JSON_SCAN_OBJECT},
        {" [ ] ", JSON_SCAN_ARRAY},
        {"\"\"", JSON_SCAN_STRING},
        {"0", JSON_SCAN_NUMBER},
        {"-0.5e+10", JSON_SCAN_NUMBER},
        {"12E3", JSON_SCAN_NUMBER},
        {"true", JSON_SCAN_TRUE},
        {"false", JSON_SCAN_FALSE},
        {"\t\r\nnull", JSON_SCAN_NULL},
        {"{\"a\":[1,{}]}", JSON_SCAN_OBJECT},
        {"[[[]],{}]", JSON_SCAN_ARRAY},
        {"\"\\ud83d\\ude00\"", JSON_SCAN_STRING},
        {"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", JSON_SCAN_STRING},
        {"123456789012345678901234567890", JSON_SCAN_NUMBER},
    };

    (void)state;
    for (size_t index = 0; index < sizeof(cases) / sizeof(*cases); index++) {
        struct json_scan_value value;
        enum err err = scan_whole(str_from(cases[index].text), &value);
        if (err != ERR_OK || value.type != cases[index].type) {
            fail_msg("%s: err=%d", cases[index].text, err);
        }
    }
}

static void what_is_not_json_is_refused(void **state)
{
    static const char *const cases[] = {
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{a:1}",
        "{1:1}",
        "'a'",
        "\"a",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123",
        "\"\\",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "0x10",
        "tru",
        "nulll",
        "NaN",
        "1 1",
        "\"\x80\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xe2\x82\"",
        "\"\x1f\"",
        "{\"a\" 1}",
        "[\"a\":1]",
    };

    (void)state;
    for (size_t index = 0; index < sizeof(cases) / sizeof(*cases); index++) {
        struct json_scan_value value;
        if (scan_whole(str_from(cases[index]), &value) != ERR_INVALID) {
            fail_msg("taken: %s", cases[index]);
        }
    }
}

static void nothing_is_told_from_something_wrong(void **state)
{
    struct json_scan_value value;

    (void)state;
    assert_int_equal(scan_whole(STR(""), &value), ERR_NOT_FOUND);
    assert_int_equal(scan_whole(STR(" \n\t"), &value), ERR_NOT_FOUND);
}

static void nesting_is_bounded(void **state)
{
    char text[2 * JSON_SCAN_DEPTH_MAX + 2];
    struct json_scan_value value;

    (void)state;
    memset(text, '[', JSON_SCAN_DEPTH_MAX);
    memset(text + JSON_SCAN_DEPTH_MAX, ']', JSON_SCAN_DEPTH_MAX);
    struct str deep = {text, 2 * JSON_SCAN_DEPTH_MAX};
    assert_int_equal(scan_whole(deep, &value), ERR_OK);

    memset(text, '[', JSON_SCAN_DEPTH_MAX + 1);
    memset(text + JSON_SCAN_DEPTH_MAX + 1, ']', JSON_SCAN_DEPTH_MAX + 1);
    struct str deeper = {text, sizeof(text)};
    assert_int_equal(scan_whole(deeper, &value), ERR_INVALID);
}

static void rows_of_values_are_read_one_by_one(void **state)
{
    struct json_scan scan = json_scan_of(STR("{\"a\":1}\n2\n\"x\" [3]\n"));
    struct json_scan_value value;

    (void)state;
    assert_int_equal(json_scan_next(&scan, &value), ERR_OK);
    assert_true(str_equal(value.text, STR("{\"a\":1}")));
    assert_int_equal(json_scan_next(&scan, &value), ERR_OK);
    assert_true(str_equal(value.text, STR("2")));
    assert_int_equal(json_scan_next(&scan, &value), ERR_OK);
    assert_true(str_equal(value.text, STR("\"x\"")));
    assert_int_equal(json_scan_next(&scan, &value), ERR_OK);
    assert_true(str_equal(value.text, STR("[3]")));
    assert_int_equal(json_scan_next(&scan, &value), ERR_NOT_FOUND);
}

static void members_are_read_in_order(void **state)
{
    struct json_scan_value object;
    struct json_scan_value name;
    struct json_scan_value value;

    (void)state;
    assert_int_equal(
        scan_whole(STR("{ \"a\" : 1 , \"b\\n\":{\"c\":[ ]} }"), &object),
        ERR_OK);
    struct json_scan scan = json_scan_enter(&object);
    assert_int_equal(json_scan_member(&scan, &name, &value), ERR_OK);
    assert_true(str_equal(name.text, STR("\"a\"")));
    assert_true(str_equal(value.text, STR("1")));
    assert_int_equal(json_scan_member(&scan, &name, &value), ERR_OK);
    assert_true(name.escaped);
    assert_true(str_equal(value.text, STR("{\"c\":[ ]}")));
    assert_int_equal(json_scan_member(&scan, &name, &value), ERR_NOT_FOUND);
}

static void elements_are_read_in_order(void **state)
{
    struct json_scan_value array;
    struct json_scan_value value;

    (void)state;
    assert_int_equal(scan_whole(STR("[ ]"), &array), ERR_OK);
    struct json_scan scan = json_scan_enter(&array);
    assert_int_equal(json_scan_element(&scan, &value), ERR_NOT_FOUND);

    assert_int_equal(scan_whole(STR("[1, [2,3] ,\"4\"]"), &array), ERR_OK);
    scan = json_scan_enter(&array);
    assert_int_equal(json_scan_element(&scan, &value), ERR_OK);
    assert_int_equal(json_scan_element(&scan, &value), ERR_OK);
    assert_true(str_equal(value.text, STR("[2,3]")));
    assert_int_equal(json_scan_element(&scan, &value), ERR_OK);
    assert_int_equal(json_scan_element(&scan, &value), ERR_NOT_FOUND);
}

static void strings_are_decoded(void **state)
{
    struct buf memory;
    struct json_scan_value value;
    struct str text;

    (void)state;
    buf_init(&memory, 0);
    assert_int_equal(scan_whole(STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9"
                                    "\\u20ac\\uD83D\\uDE00 z\""),
                                &value),
                     ERR_OK);
    assert_int_equal(json_scan_string(&value, &memory, &text), ERR_NOMEM);
    assert_int_equal(buf_reserve(&memory, value.text.size), ERR_OK);
    assert_int_equal(json_scan_string(&value, &memory, &text), ERR_OK);
    assert_true(str_equal(text, STR("\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac"
                                    "\xf0\x9f\x98\x80 z")));
    buf_fini(&memory);
}

static void plain_strings_are_not_copied(void **state)
{
    static const char json[] = "\"plain text\"";
    struct buf memory;
    struct json_scan_value value;
    struct str text;

    (void)state;
    buf_init(&memory, 0);
    assert_int_equal(scan_whole(STR(json), &value), ERR_OK);
    assert_int_equal(json_scan_string(&value, &memory, &text), ERR_OK);
    assert_ptr_equal(text.data, json + 1);
    assert_int_equal(memory.capacity, 0);
}

static void lone_surrogates_are_refused(void **state)
{
    static const char *const cases[] = {"\"\\ud83d\"", "\"\\ud83dx\"",
                                        "\"\\ude00\"", "\"\\ud83d\\u0041\""};
    struct buf memory;

    (void)state;
    buf_init(&memory, 0);
    assert_int_equal(buf_reserve(&memory, 64), ERR_OK);
    for (size_t index = 0; index < sizeof(cases) / sizeof(*cases); index++) {
        struct json_scan_value value;
        struct str text;
        assert_int_equal(scan_whole(str_from(cases[index]), &value), ERR_OK);
        assert_int_equal(json_scan_string(&value, &memory, &text), ERR_INVALID);
        buf_clear(&memory);
    }
    buf_fini(&memory);
}

/* Whether the string begins with the start, and is it. */
static void
expect_start(const char *string, const char *start, bool begins, bool is)
{
    struct json_scan_value value;

    assert_int_equal(scan_whole(str_from(string), &value), ERR_OK);
    if (json_scan_starts(&value, str_from(start), false) != begins ||
        json_scan_starts(&value, str_from(start), true) != is) {
        fail_msg("%s and %s", string, start);
    }
}

static void strings_are_compared_decoded(void **state)
{
    (void)state;
    expect_start("\"\"", "", true, true);
    expect_start("\"abc\"", "", true, false);
    expect_start("\"abc\"", "ab", true, false);
    expect_start("\"abc\"", "abc", true, true);
    expect_start("\"abc\"", "abcd", false, false);
    expect_start("\"a\\u0062c\"", "abc", true, true);
    expect_start("\"a\\u0062c\"", "ab", true, false);
    expect_start("\"a\\u0062c\"", "ac", false, false);
    expect_start("\"a\\u0062\"", "abc", false, false);
    expect_start("\"\\n\\/\\\\\"", "\n/\\", true, true);
    expect_start("\"\\ud83d\\ude00!\"", "\xf0\x9f\x98\x80!", true, true);
    expect_start("\"\\ud83d\\ude00\"", "\xf0\x9f", true, false);
    expect_start("\"\\u00e9\"", "\xc3", true, false);
    expect_start("\"x\\ud83d\"", "x\xed\xa0\xbd", false, false);
    expect_start("\"x\\ud83d\"", "x", true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_can_be_opened_before_it_was_looked_at),
        cmocka_unit_test(an_object_can_be_opened_before_it_was_looked_at),
        cmocka_unit_test(odd_bytes_are_seen_wherever_they_stand),
        cmocka_unit_test(values_are_told_apart),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(nothing_is_told_from_something_wrong),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(rows_of_values_are_read_one_by_one),
        cmocka_unit_test(members_are_read_in_order),
        cmocka_unit_test(elements_are_read_in_order),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(plain_strings_are_not_copied),
        cmocka_unit_test(lone_surrogates_are_refused),
        cmocka_unit_test(strings_are_compared_decoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
