/* Tests of http/form: urlencoded texts, multipart bodies, escaping.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/form.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE STR("multipart/form-data; boundary=xYz")

static struct form form;

static int set_up(void **state)
{
    (void)state;
    form_init(&form);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    form_fini(&form);
    return 0;
}

static void assert_field(uint32_t index, const char *name, const char *value)
{
    assert_true(index < form.field_count);
    const struct form_field *field = &form.fields[index];
    if (!str_equal(field->name, str_from(name)) ||
        !str_equal(field->value, str_from(value))) {
        fail_msg("field %u is \"%.*s\"=\"%.*s\"", index, STR_ARG(field->name),
                 STR_ARG(field->value));
    }
}

static void fields_keep_their_order_and_repeats(void **state)
{
    (void)state;
    assert_int_equal(form_parse_urlencoded(&form, STR("b=1&a=2&b=3")), ERR_OK);
    assert_int_equal(form.field_count, 3);
    assert_field(0, "b", "1");
    assert_field(1, "a", "2");
    assert_field(2, "b", "3");
    assert_ptr_equal(form_find(&form, STR("b")), &form.fields[0]);
    assert_null(form_find(&form, STR("c")));
}

static void escapes_are_decoded(void **state)
{
    (void)state;
    assert_int_equal(
        form_parse_urlencoded(&form, STR("a%3D+b=%26%2b+%c3%A9&%25=%00")),
        ERR_OK);
    assert_field(0, "a= b", "&+ \xc3\xa9");
    assert_true(str_equal(form.fields[1].name, STR("%")));
    assert_true(str_equal(form.fields[1].value, STR("\0")));
}

/* Every byte at each place of a text longer than a block, into a buffer that is
 * just large enough, or one byte too small. */
static void every_byte_is_escaped_wherever_it_stands(void **state)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "abcdefghijklmnopqrstuvwxyz0123456789-._~";
    enum { SIZE = 35 };

    (void)state;
    for (size_t place = 0; place < SIZE; place++) {
        for (int code = 0; code < 256; code++) {
            char text[SIZE];
            char expected[SIZE + 3];
            bool plain = code != 0 && strchr(unreserved, code) != NULL;
            memset(text, 'x', sizeof(text));
            text[place] = (char)code;
            char escape[4];
            (void)snprintf(escape, sizeof(escape), "%%%02X", (unsigned)code);
            memset(expected, 'x', sizeof(expected));
            memcpy(expected + place, escape, 3);
            struct str wanted = {expected, SIZE + 2};
            if (plain || code == ' ') {
                wanted = (struct str){text, SIZE};
            }
            struct buf buf = {0};
            form_escape(&buf, (struct str){text, SIZE});
            if (code == ' ') {
                text[place] = '+';
            }
            assert_true(str_equal(buf_str(&buf), wanted));
            buf_fini(&buf);
            text[place] = (char)code;
            for (size_t less = 0; less < 2; less++) {
                buf_init(&buf, wanted.size - less);
                form_escape(&buf, (struct str){text, SIZE});
                assert_true(buf.failed == (less == 1));
                assert_true(buf.size <= wanted.size - less);
                buf_fini(&buf);
            }
        }
    }
}

/* The standard's words, a byte at a time: a pair ends at '&', its name at the
 * first '='. Decodes into `to`; false when an escape is malformed. */
static bool decode_plainly(struct str text, char *to, size_t *out_size)
{
    size_t size = 0;
    for (size_t at = 0; at < text.size; at++) {
        char byte = text.data[at];
        if (byte == '%') {
            unsigned code = 0;
            char digits[3] = {0};
            if (text.size - at < 3) {
                return false;
            }
            memcpy(digits, text.data + at + 1, 2);
            if (strspn(digits, "0123456789abcdefABCDEF") != 2) {
                return false;
            }
            (void)sscanf(digits, "%x", &code);
            byte = (char)code;
            at += 2;
        }
        to[size++] = text.data[at] == '+' && byte == '+' ? ' ' : byte;
    }
    *out_size = size;
    return true;
}

/* Texts of all sizes around the blocks that are read at once. */
static void any_text_is_read_as_byte_by_byte(void **state)
{
    static const char alphabet[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaa=&%+41b";
    uint32_t random = 1;
    uint32_t good = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[200];
        char decoded[2][200];
        size_t size = (size_t)round % sizeof(text);
        bool bad = false;
        uint32_t count = 0;
        for (size_t at = 0; at < size; at++) {
            random = random * 1664525 + 1013904223;
            text[at] = alphabet[(random >> 16) % (sizeof(alphabet) - 1)];
        }
        form_clear(&form);
        enum err err = form_parse_urlencoded(&form, (struct str){text, size});
        for (struct str rest = {text, size}; rest.size > 0 && !bad;) {
            struct str pair = str_cut(rest, 0, str_find(rest, '&'));
            size_t equals = str_find(pair, '=');
            struct str name = {decoded[0], 0};
            struct str value = {decoded[1], 0};
            rest = str_cut(rest, pair.size + 1, rest.size);
            if (pair.size == 0) {
                continue;
            }
            bad = !decode_plainly(str_cut(pair, 0, equals), decoded[0],
                                  &name.size) ||
                  !decode_plainly(str_cut(pair, equals + 1, pair.size),
                                  decoded[1], &value.size);
            if (!bad && err == ERR_OK) {
                assert_true(count < form.field_count);
                assert_true(str_equal(form.fields[count].name, name));
                assert_true(str_equal(form.fields[count].value, value));
            }
            count++;
        }
        assert_int_equal(err, bad ? ERR_INVALID : ERR_OK);
        assert_int_equal(form.field_count, bad ? 0 : count);
        good += bad ? 0 : 1;
    }
    assert_true(good > 1000);
}

static void odd_pairs_are_read_as_the_standard_says(void **state)
{
    (void)state;
    assert_int_equal(form_parse_urlencoded(&form, STR("&a&&=b&c=&d=e=f&")),
                     ERR_OK);
    assert_int_equal(form.field_count, 4);
    assert_field(0, "a", "");
    assert_field(1, "", "b");
    assert_field(2, "c", "");
    assert_field(3, "d", "e=f");
    form_clear(&form);
    assert_int_equal(form_parse_urlencoded(&form, STR("")), ERR_OK);
    assert_int_equal(form.field_count, 0);
}

static void unescaped_fields_are_slices_of_the_input(void **state)
{
    (void)state;
    const char *text = "name=value";
    assert_int_equal(form_parse_urlencoded(&form, str_from(text)), ERR_OK);
    assert_ptr_equal(form.fields[0].name.data, text);
    assert_ptr_equal(form.fields[0].value.data, text + 5);
    assert_null(form.blocks);
}

static void
malformed_escapes_are_refused_and_leave_the_form_as_it_was(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "b=%",    "b=%4",     "b=%g0", "b=%0g", "b%=c",
        "b=%%41", "b=%u0041", "b=%+1", "%00=c", "b=1&c=%4",
    };
    assert_int_equal(form_parse_urlencoded(&form, STR("a=%31")), ERR_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (form_parse_urlencoded(&form, str_from(cases[i])) != ERR_INVALID) {
            fail_msg("taken: %s", cases[i]);
        }
        assert_int_equal(form.field_count, 1);
        assert_field(0, "a", "1");
    }
    assert_int_equal(form_parse_urlencoded(&form, STR("a\0b=c")), ERR_INVALID);
}

static void decoded_fields_stay_when_more_are_parsed(void **state)
{
    (void)state;
    char large[4096];
    assert_int_equal(form_parse_urlencoded(&form, STR("a=%31+2")), ERR_OK);
    memset(large, '+', sizeof(large));
    memcpy(large, "b=", 2);
    assert_int_equal(
        form_parse_urlencoded(&form, (struct str){large, sizeof(large)}),
        ERR_OK);
    assert_int_equal(form_parse_urlencoded(&form, STR("c=%33")), ERR_OK);
    assert_int_equal(form.field_count, 3);
    assert_field(0, "a", "1 2");
    assert_int_equal(form.fields[1].value.size, sizeof(large) - 2);
    assert_field(2, "c", "3");
    form_clear(&form);
    assert_int_equal(form_parse_urlencoded(&form, STR("d=%34")), ERR_OK);
    assert_int_equal(form.field_count, 1);
    assert_field(0, "d", "4");
}

static void one_field_past_the_bound_is_refused(void **state)
{
    (void)state;
    struct buf text = {0};
    for (int i = 0; i < FORM_FIELDS_MAX; i++) {
        buf_append_c(&text, "a=b&");
    }
    assert_int_equal(form_parse_urlencoded(&form, buf_str(&text)), ERR_OK);
    assert_int_equal(form.field_count, FORM_FIELDS_MAX);
    assert_int_equal(form_parse_urlencoded(&form, STR("c=d")), ERR_TOO_LARGE);
    assert_int_equal(form.field_count, FORM_FIELDS_MAX);
    buf_fini(&text);
}

static void escaping_is_undone_by_parsing(void **state)
{
    (void)state;
    char bytes[256];
    struct buf text = {0};
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
    }
    struct str all = {bytes, sizeof(bytes)};
    buf_append_c(&text, "v=");
    form_escape(&text, all);
    assert_int_equal(buf_err(&text), ERR_OK);
    assert_int_equal(form_parse_urlencoded(&form, buf_str(&text)), ERR_OK);
    assert_int_equal(form.field_count, 1);
    assert_true(str_equal(form.fields[0].value, all));
    buf_fini(&text);
}

static void escaping_is_that_of_the_first_opq(void **state)
{
    (void)state;
    struct buf text = {0};
    form_escape(&text, STR("hello 0 & \xc3\xa9+-._~/:*"));
    assert_true(
        str_equal(buf_str(&text), STR("hello+0+%26+%C3%A9%2B-._~%2F%3A%2A")));
    buf_fini(&text);
}

/* The n-th allocation from now on fails; 0: none. */
static int fail_at;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
    bool fails = fail_at > 0 && --fail_at == 0;
    return fails ? NULL : __real_malloc(size);
}

static void without_memory_the_form_is_as_it_was(void **state)
{
    (void)state;
    assert_int_equal(form_parse_urlencoded(&form, STR("a=b")), ERR_OK);
    fail_at = 1;
    assert_int_equal(form_parse_urlencoded(&form, STR("c=d&e=%66")), ERR_NOMEM);
    fail_at = 1;
    assert_int_equal(
        form_parse_multipart(&form, TYPE,
                             STR("--xYz\r\nContent-Disposition: form-data; "
                                 "name=\"\\\"\"\r\n\r\n1\r\n--xYz--")),
        ERR_NOMEM);
    assert_int_equal(form.field_count, 1);
    assert_field(0, "a", "b");
}

/* --- multipart ----------------------------------------------------------- */

static void parts_become_fields(void **state)
{
    (void)state;
    struct str body = STR("--xYz\r\n"
                          "Content-Disposition: form-data; name=\"url\"\r\n"
                          "\r\n"
                          "http://a/?b\r\n"
                          "--xYz  \t\r\n"
                          "content-disposition:form-data;filename=\"a; "
                          "name=x\" ; name=message\r\n"
                          "Content-Type: text/plain\r\n"
                          "Content-Transfer-Encoding: binary\r\n"
                          "\r\n"
                          "a\0b\r\n--xY\r\n\r\n"
                          "--xYz\r\n"
                          "Content-Disposition: form-data; name=\"\"\r\n"
                          "\r\n"
                          "\r\n--xYz--\r\nafter");
    assert_int_equal(form_parse_multipart(&form, TYPE, body), ERR_OK);
    assert_int_equal(form.field_count, 3);
    assert_field(0, "url", "http://a/?b");
    assert_true(str_equal(form.fields[1].name, STR("message")));
    assert_true(str_equal(form.fields[1].value, STR("a\0b\r\n--xY\r\n")));
    assert_field(2, "", "");
    assert_true(form.fields[0].value.data > body.data &&
                form.fields[0].value.data < body.data + body.size);
}

static void no_parts_at_all_are_a_form(void **state)
{
    (void)state;
    assert_int_equal(form_parse_multipart(&form, TYPE, STR("--xYz--")), ERR_OK);
    assert_int_equal(
        form_parse_multipart(&form, TYPE, STR("hello\r\n--xYz--\r\n")), ERR_OK);
    assert_int_equal(form.field_count, 0);
}

static void quoted_names_are_unescaped(void **state)
{
    (void)state;
    assert_int_equal(
        form_parse_multipart(
            &form, TYPE,
            STR("--xYz\r\n"
                "Content-Disposition: form-data; name=\"a\\\"\\\\b\\c\"\r\n"
                "\r\n1\r\n--xYz--")),
        ERR_OK);
    assert_field(0, "a\"\\b\\c", "1");
}

static void boundaries_are_read_quoted_and_bare(void **state)
{
    (void)state;
    static const char *const types[] = {
        "multipart/form-data;boundary=xYz",
        "Multipart/Form-Data ; Boundary=\"xYz\"",
        "multipart/form-data; charset=utf-8; boundary=xYz ",
        "multipart/form-data; a=\"; boundary=b\"; boundary=xYz",
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (form_parse_multipart(&form, str_from(types[i]), STR("--xYz--")) !=
            ERR_OK) {
            fail_msg("refused: %s", types[i]);
        }
    }
}

static void bad_boundaries_are_refused(void **state)
{
    (void)state;
    static const char *const types[] = {
        "",
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"xYz",
        "multipart/form-data; boundary=\"xYz\"a",
        "multipart/form-data; boundary=\"xYz \"",
        "multipart/form-data; boundary=\"x\\Yz\"",
        "multipart/form-data; boundary=xYz; boundary=xYz",
        "multipart/form-data, boundary=xYz",
        "multipart/mixed; boundary=xYz",
        "text/plain; boundary=xYz",
        "multipart/form-data; boundary="
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "a",
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (form_parse_multipart(&form, str_from(types[i]), STR("--xYz--")) !=
            ERR_INVALID) {
            fail_msg("taken: %s", types[i]);
        }
    }
}

#define NAMED "--xYz\r\nContent-Disposition: form-data; name=a\r\n"

static void
malformed_parts_are_refused_and_leave_the_form_as_it_was(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "--xY",
        "--xYz",
        "--xYz\r\n",
        "--xYz-",
        "x--xYz--",
        NAMED,
        NAMED "\r\n",
        NAMED "\r\n1",
        NAMED "\r\n1\r\n--xYz",
        NAMED "\r\n1\r\n--xYz\r\n",
        NAMED "\r\n1\n--xYz--",
        NAMED "\r\n1\r\n--xYzz\r\n--xYz--",
        NAMED "\r\n1\r\n--xYz\n--xYz--",
        NAMED "\r\n1\r\n--xYz\r\n\r\n2\r\n--xYz--",
        NAMED "\n1\r\n--xYz--",
        NAMED "X y: z\r\n\r\n1\r\n--xYz--",
        NAMED " folded\r\n\r\n1\r\n--xYz--",
        NAMED "no colon\r\n\r\n1\r\n--xYz--",
        NAMED "X: a\rb\r\n\r\n1\r\n--xYz--",
        NAMED "Content-Transfer-Encoding: base64\r\n\r\n1\r\n--xYz--",
        NAMED "Content-Disposition: form-data; name=b\r\n\r\n1\r\n--xYz--",
        "--xYz\r\nContent-Disposition: form-data\r\n\r\n1\r\n--xYz--",
        "--xYz\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n--xYz--",
        "--xYz\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\n1\r\n"
        "--xYz--",
        "--xYz\r\nContent-Disposition: form-data; name=\"a\r\n\r\n1\r\n--xYz--",
        "--xYz\r\nContent-Disposition: form-data; name=\"a\\\"\r\n\r\n1\r\n"
        "--xYz--",
        "--xYz\r\nContent-Type: text/plain\r\n\r\n1\r\n--xYz--",
    };
    assert_int_equal(form_parse_urlencoded(&form, STR("q=1")), ERR_OK);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        if (form_parse_multipart(&form, TYPE, str_from(bodies[i])) !=
            ERR_INVALID) {
            fail_msg("case %zu taken: %s", i, bodies[i]);
        }
        assert_int_equal(form.field_count, 1);
    }
    assert_int_equal(
        form_parse_multipart(&form, TYPE,
                             STR("--xYz\r\nContent-Disposition: form-data; "
                                 "name=\"a\0b\"\r\n\r\n1\r\n--xYz--")),
        ERR_INVALID);
}

static void one_part_past_the_bound_is_refused(void **state)
{
    (void)state;
    struct buf body = {0};
    for (int i = 0; i <= FORM_FIELDS_MAX; i++) {
        buf_append_c(&body, NAMED "\r\n1\r\n");
    }
    buf_append_c(&body, "--xYz--");
    assert_int_equal(form_parse_multipart(&form, TYPE, buf_str(&body)),
                     ERR_TOO_LARGE);
    assert_int_equal(form.field_count, 0);
    assert_int_equal(
        form_parse_multipart(
            &form, TYPE,
            str_cut(buf_str(&body), sizeof(NAMED "\r\n1\r\n") - 1, SIZE_MAX)),
        ERR_OK);
    assert_int_equal(form.field_count, FORM_FIELDS_MAX);
    buf_fini(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_keep_their_order_and_repeats),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(odd_pairs_are_read_as_the_standard_says),
        cmocka_unit_test(any_text_is_read_as_byte_by_byte),
        cmocka_unit_test(every_byte_is_escaped_wherever_it_stands),
        cmocka_unit_test(unescaped_fields_are_slices_of_the_input),
        cmocka_unit_test(
            malformed_escapes_are_refused_and_leave_the_form_as_it_was),
        cmocka_unit_test(decoded_fields_stay_when_more_are_parsed),
        cmocka_unit_test(one_field_past_the_bound_is_refused),
        cmocka_unit_test(escaping_is_undone_by_parsing),
        cmocka_unit_test(escaping_is_that_of_the_first_opq),
        cmocka_unit_test(without_memory_the_form_is_as_it_was),
        cmocka_unit_test(parts_become_fields),
        cmocka_unit_test(no_parts_at_all_are_a_form),
        cmocka_unit_test(quoted_names_are_unescaped),
        cmocka_unit_test(boundaries_are_read_quoted_and_bare),
        cmocka_unit_test(bad_boundaries_are_refused),
        cmocka_unit_test(
            malformed_parts_are_refused_and_leave_the_form_as_it_was),
        cmocka_unit_test(one_part_past_the_bound_is_refused),
    };
    struct CMUnitTest all[sizeof(tests) / sizeof(tests[0])];
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        all[i] = tests[i];
        all[i].setup_func = set_up;
        all[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests(all, NULL, NULL);
}
