/* Tests of base/json_text: what is text, and what else is in base64.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_base64(struct str bytes, const char *wanted)
{
    struct buf text = {0};

    json_text_append_base64(&text, bytes);
    buf_append_byte(&text, '\0');
    assert_string_equal(text.data, wanted);
    buf_fini(&text);
}

static void base64_is_that_of_the_rfc(void **state)
{
    (void)state;
    assert_base64(STR(""), "");
    assert_base64(STR("f"), "Zg==");
    assert_base64(STR("fo"), "Zm8=");
    assert_base64(STR("foo"), "Zm9v");
    assert_base64(STR("foob"), "Zm9vYg==");
    assert_base64(STR("fooba"), "Zm9vYmE=");
    assert_base64(STR("foobar"), "Zm9vYmFy");
    assert_base64(STR("\xff\xfe\xfd\x00"), "//79AA==");
}

static void text_is_utf8_without_nul(void **state)
{
    (void)state;
    static const struct {
        struct str bytes;
        bool text;
    } known[] = {
        {{"", 0}, true},
        {{"plain\n", 6}, true},
        {{"\xc3\xa9", 2}, true},
        {{"\xe2\x82\xac", 3}, true},
        {{"\xf0\x9f\x98\x80", 4}, true},
        {{"\xf4\x8f\xbf\xbf", 4}, true},
        {{"a\0b", 3}, false},
        {{"\x80", 1}, false},
        {{"\xc3", 1}, false},
        {{"\xc3(", 2}, false},
        {{"\xc0\x80", 2}, false},
        {{"\xe0\x9f\xbf", 3}, false},
        {{"\xed\xa0\x80", 3}, false},
        {{"\xf0\x8f\xbf\xbf", 4}, false},
        {{"\xf4\x90\x80\x80", 4}, false},
        {{"\xf5\x80\x80\x80", 4}, false},
        {{"ok\xe2\x82", 4}, false},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        assert_int_equal(json_text_is_text(known[i].bytes), known[i].text);
    }
}

static void bytes_that_are_no_text_have_another_name(void **state)
{
    struct buf text = {0};

    (void)state;
    json_text_append_bytes(&text, "a", STR("\"x\""));
    json_text_append_bytes(&text, "b", STR("\xff"));
    buf_append_byte(&text, '\0');
    assert_string_equal(text.data,
                        ",\"a\":\"\\\"x\\\"\",\"b_base64\":\"/w==\"");
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_that_of_the_rfc),
        cmocka_unit_test(text_is_utf8_without_nul),
        cmocka_unit_test(bytes_that_are_no_text_have_another_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
