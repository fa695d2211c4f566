/* Tests of base/base64, with the vectors of RFC 4648.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *text, const char *bytes, size_t bytes_size)
{
    char decoded[64];
    size_t size = 99;

    assert_true(base64_size_max(strlen(text)) <= sizeof(decoded));
    assert_int_equal(base64_decode(str_from(text), decoded, &size), ERR_OK);
    assert_int_equal(size, bytes_size);
    assert_memory_equal(decoded, bytes, bytes_size);
}

static void published_vectors_are_decoded(void **state)
{
    (void)state;
    expect("", "", 0);
    expect("Zg==", "f", 1);
    expect("Zm8=", "fo", 2);
    expect("Zm9v", "foo", 3);
    expect("Zm9vYg==", "foob", 4);
    expect("Zm9vYmE=", "fooba", 5);
    expect("Zm9vYmFy", "foobar", 6);
    expect("AP/+/fs=", "\0\xff\xfe\xfd\xfb", 5);
}

static void what_is_no_base64_is_refused(void **state)
{
    static const char *const texts[] = {
        "Z",    "Zg",   "Zg=",  "Zm9",  "====", "Z===",     "Zm9v\n",
        "Zm-v", "Zm_v", "Z=9v", "=m9v", " Zm9", "Zg==Zg==",
    };
    char decoded[64];
    size_t size = 99;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_int_equal(base64_decode(str_from(texts[i]), decoded, &size),
                         ERR_INVALID);
        assert_int_equal(size, 99);
    }
}

static void text_is_decoded_where_it_lies(void **state)
{
    char text[] = "aGVsbG8sIHdvcmxk";
    size_t size = 0;

    (void)state;
    assert_int_equal(
        base64_decode((struct str){text, strlen(text)}, text, &size), ERR_OK);
    assert_int_equal(size, 12);
    assert_memory_equal(text, "hello, world", 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_are_decoded),
        cmocka_unit_test(what_is_no_base64_is_refused),
        cmocka_unit_test(text_is_decoded_where_it_lies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
