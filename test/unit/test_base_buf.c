/* Tests of base/buf: growth, limits, failed allocations, JSON, the reader.
 *
 * Linked with --wrap for malloc and realloc, so that the n-th one fails.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *memory, size_t size);

static int calls_until_failure = -1; /* -1: none fails */

static bool this_one_fails(void)
{
    if (calls_until_failure < 0) {
        return false;
    }
    return calls_until_failure-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return this_one_fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return this_one_fails() ? NULL : __real_realloc(memory, size);
}

static void assert_content(const struct buf *buf, struct str expected)
{
    assert_int_equal(buf->size, expected.size);
    assert_true(str_equal(buf_str(buf), expected));
}

static void new_buffer_has_no_memory(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_null(buf.data);
    assert_int_equal(buf.size, 0);
    assert_int_equal(buf.capacity, 0);
    assert_int_equal(buf_err(&buf), ERR_OK);
    buf_fini(&buf);
    buf_fini(NULL);
}

static void decimals_have_as_many_digits_as_they_need(void **state)
{
    (void)state;
    for (uint64_t power = 1;; power *= 10) {
        const uint64_t values[] = {power - 1, power, power + 1, UINT64_MAX};
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            char expected[PUT_DECIMAL_MAX + 1];
            char text[PUT_DECIMAL_MAX + 1] = {0};
            int size = snprintf(expected, sizeof(expected), "%llu",
                                (unsigned long long)values[i]);
            assert_ptr_equal(put_decimal(text, values[i]), text + size);
            assert_string_equal(text, expected);
        }
        if (power > UINT64_MAX / 10) {
            break;
        }
    }
}

static void appends_come_one_after_the_other(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_append(&buf, "a\0b", 3);
    buf_append_str(&buf, STR("-cd"));
    buf_append_str(&buf, (struct str){NULL, 0});
    buf_append_c(&buf, "-ef");
    buf_append_byte(&buf, '-');
    buf_append_u64(&buf, 0);
    buf_append_byte(&buf, '-');
    buf_append_u64(&buf, UINT64_MAX);
    buf_append_format(&buf, "-%d%s", -7, "x");
    assert_content(&buf, STR("a\0b-cd-ef-0-18446744073709551615--7x"));
    assert_int_equal(buf_err(&buf), ERR_OK);
    buf_fini(&buf);
    assert_null(buf.data);
    buf_append_c(&buf, "usable again");
    assert_content(&buf, STR("usable again"));
    buf_fini(&buf);
}

static void format_may_be_longer_than_the_small_array(void **state)
{
    (void)state;
    struct buf buf = {0};
    for (size_t size = 250; size < 260; size++) {
        buf_clear(&buf);
        buf_append_format(&buf, "%0*d", (int)size, 7);
        assert_int_equal(buf.size, size);
        assert_int_equal(buf.data[0], '0');
        assert_int_equal(buf.data[size - 1], '7');
    }
    buf_fini(&buf);
}

static void growth_keeps_content(void **state)
{
    (void)state;
    struct buf buf = {0};
    for (unsigned i = 0; i < 100000; i++) {
        buf_append_byte(&buf, (char)(i % 251));
    }
    assert_int_equal(buf.size, 100000);
    for (unsigned i = 0; i < 100000; i++) {
        assert_int_equal((unsigned char)buf.data[i], i % 251);
    }
    buf_fini(&buf);
}

static void clear_keeps_memory_and_forgets_failure(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 4);
    buf_append_c(&buf, "abcd");
    char *data = buf.data;
    buf_append_c(&buf, "e");
    assert_true(buf.failed);
    buf_clear(&buf);
    assert_false(buf.failed);
    assert_ptr_equal(buf.data, data);
    buf_append_c(&buf, "wxyz");
    assert_content(&buf, STR("wxyz"));
    buf_fini(&buf);
}

static void limit_is_exact_and_failure_sticks(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 100);
    for (int i = 0; i < 100; i++) {
        buf_append_byte(&buf, 'x');
    }
    assert_false(buf.failed);
    assert_true(buf.capacity <= 100);
    buf_append_byte(&buf, 'y');
    assert_true(buf.failed);
    assert_int_equal(buf.size, 100);
    assert_int_equal(buf_err(&buf), ERR_NOMEM);
    buf_consume(&buf, 50);
    buf_append_byte(&buf, 'y'); /* there is room now, but it failed */
    assert_int_equal(buf.size, 50);
    buf_fini(&buf);
}

static void reserve_makes_room_without_growth_later(void **state)
{
    (void)state;
    struct buf buf = {0};
    assert_int_equal(buf_reserve(&buf, 1000), ERR_OK);
    char *data = buf.data;
    for (int i = 0; i < 1000; i++) {
        buf_append_byte(&buf, 'x');
    }
    assert_ptr_equal(buf.data, data);
    assert_int_equal(buf_reserve(&buf, 0), ERR_OK);
    buf_fini(&buf);
}

static void reserve_past_the_limit_is_too_large(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    buf_append_c(&buf, "abc");
    assert_int_equal(buf_reserve(&buf, 7), ERR_OK);
    assert_int_equal(buf_reserve(&buf, 8), ERR_TOO_LARGE);
    assert_true(buf.failed);
    buf_clear(&buf);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX), ERR_TOO_LARGE);
    buf_fini(&buf);
}

static void reserve_of_what_no_machine_has_is_nomem(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_append_c(&buf, "abc");
    assert_int_equal(buf_reserve(&buf, SIZE_MAX), ERR_NOMEM);
    assert_true(buf.failed);
    assert_content(&buf, STR("abc"));
    assert_int_equal(buf_reserve(&buf, 1), ERR_NOMEM);
    buf_fini(&buf);
}

/* Some appends that together allocate several times. */
static void append_several(struct buf *buf)
{
    for (int i = 0; i < 40; i++) {
        buf_append_format(buf, "%d %0300d;", i, i);
        buf_append_json(buf, STR("\"quoted\""));
    }
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    struct buf whole = {0};
    append_several(&whole);
    assert_int_equal(buf_err(&whole), ERR_OK);
    bool succeeded = false;
    int failures = 0;
    while (!succeeded) {
        struct buf buf = {0};
        calls_until_failure = failures;
        append_several(&buf);
        succeeded = calls_until_failure >= 0;
        calls_until_failure = -1;
        if (succeeded) {
            assert_int_equal(buf_err(&buf), ERR_OK);
            assert_content(&buf, buf_str(&whole));
        } else {
            failures++;
            assert_int_equal(buf_err(&buf), ERR_NOMEM);
            assert_true(str_starts(buf_str(&whole), buf_str(&buf)));
        }
        buf_fini(&buf);
    }
    assert_true(failures > 40); /* one for each format and the growth */
    buf_fini(&whole);
}

static void consume_moves_the_rest_forward(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_consume(&buf, 0);
    buf_append_c(&buf, "abcdef");
    buf_consume(&buf, 2);
    assert_content(&buf, STR("cdef"));
    buf_consume(&buf, 4);
    assert_int_equal(buf.size, 0);
    buf_fini(&buf);
}

static void json_escapes(void **state)
{
    (void)state;
    static const struct {
        struct str from;
        const char *to;
    } cases[] = {
        {{"", 0}, ""},
        {{"plain /text", 11}, "plain /text"},
        {{"a\"b\\c", 5}, "a\\\"b\\\\c"},
        {{"\n\r\t", 3}, "\\n\\r\\t"},
        {{"\0\x01\x1f\x7f", 4}, "\\u0000\\u0001\\u001f\\u007f"},
        {{"\xc3\xa4\xe4\xbd\xa0\xf0\x9f\x98\x80", 9},
         "\xc3\xa4\xe4\xbd\xa0\xf0\x9f\x98\x80"},
        {{"\xff", 1}, "\xef\xbf\xbd"},
        {{"a\x80z", 3}, "a\xef\xbf\xbdz"},
        {{"\xc0\xaf", 2}, "\xef\xbf\xbd\xef\xbf\xbd"},
        {{"\xc3", 1}, "\xef\xbf\xbd"},
        {{"\xc3(", 2}, "\xef\xbf\xbd("},
        {{"\xe0\x9f\xbf", 3}, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {{"\xed\xa0\x80", 3}, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {{"\xe4\xbd(", 3}, "\xef\xbf\xbd\xef\xbf\xbd("},
        {{"\xf4\x90\x80\x80", 4},
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {{"\xf0\x8f\xbf\xbf", 4},
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {{"\xf5\x80", 2}, "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf buf = {0};
        buf_append_json(&buf, cases[i].from);
        assert_content(&buf, str_from(cases[i].to));
        buf_fini(&buf);
    }
}

static void reader_reads_little_endian(void **state)
{
    (void)state;
    struct reader reader = reader_of(
        STR("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
            "rest"));
    assert_int_equal(reader_u8(&reader), 0x01);
    assert_int_equal(reader_u16(&reader), 0x0302);
    assert_int_equal(reader_u32(&reader), 0x07060504);
    assert_true(reader_u64(&reader) == UINT64_C(0x0f0e0d0c0b0a0908));
    assert_int_equal(reader_left(&reader), 4);
    assert_true(str_equal(reader_bytes(&reader, 3), STR("res")));
    assert_int_equal(reader_bytes(&reader, 0).size, 0);
    assert_int_equal(reader_left(&reader), 1);
    assert_false(reader.failed);
}

static void reads_past_the_end_give_zero_and_fail(void **state)
{
    (void)state;
    struct str three = STR("\xff\xff\xff");
    struct reader reader = reader_of(STR(""));
    assert_int_equal(reader_u8(&reader), 0);
    assert_true(reader.failed);
    reader = reader_of(str_cut(three, 0, 1));
    assert_int_equal(reader_u16(&reader), 0);
    assert_true(reader.failed);
    reader = reader_of(three);
    assert_int_equal(reader_u32(&reader), 0);
    assert_true(reader.failed);
    reader = reader_of(three);
    assert_true(reader_u64(&reader) == 0);
    assert_true(reader.failed);
    reader = reader_of(three);
    assert_int_equal(reader_bytes(&reader, 4).size, 0);
    assert_true(reader.failed);
    reader = reader_of(three);
    assert_int_equal(reader_bytes(&reader, SIZE_MAX).size, 0);
    assert_true(reader.failed);
}

static void failed_reader_gives_nothing_more(void **state)
{
    (void)state;
    struct reader reader = reader_of(STR("\x01\x02"));
    assert_int_equal(reader_u32(&reader), 0);
    assert_int_equal(reader_u8(&reader), 0);
    assert_true(reader.failed);
}

static void seek_goes_as_far_as_the_end(void **state)
{
    (void)state;
    struct reader reader = reader_of(STR("abc"));
    reader_seek(&reader, 2);
    assert_int_equal(reader_u8(&reader), 'c');
    reader_seek(&reader, 0);
    assert_int_equal(reader_u8(&reader), 'a');
    reader_seek(&reader, 3);
    assert_int_equal(reader_left(&reader), 0);
    assert_false(reader.failed);
    reader_seek(&reader, 4);
    assert_true(reader.failed);
    assert_int_equal(reader.position, 3);
}

static void numbers_are_stored_as_they_are_read(void **state)
{
    (void)state;
    char bytes[15] = {0};
    put_u16(bytes + 1, 0x1234);
    put_u32(bytes + 3, 0x89abcdef);
    put_u64(bytes + 7, UINT64_C(0x0102030405060708));
    assert_memory_equal(bytes,
                        "\0\x34\x12\xef\xcd\xab\x89\x08\x07\x06\x05\x04\x03"
                        "\x02\x01",
                        sizeof(bytes));
    assert_int_equal(get_u32(bytes + 3), 0x89abcdef);
    assert_true(get_u64(bytes + 7) == UINT64_C(0x0102030405060708));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_buffer_has_no_memory),
        cmocka_unit_test(decimals_have_as_many_digits_as_they_need),
        cmocka_unit_test(appends_come_one_after_the_other),
        cmocka_unit_test(format_may_be_longer_than_the_small_array),
        cmocka_unit_test(growth_keeps_content),
        cmocka_unit_test(clear_keeps_memory_and_forgets_failure),
        cmocka_unit_test(limit_is_exact_and_failure_sticks),
        cmocka_unit_test(reserve_makes_room_without_growth_later),
        cmocka_unit_test(reserve_past_the_limit_is_too_large),
        cmocka_unit_test(reserve_of_what_no_machine_has_is_nomem),
        cmocka_unit_test(every_failed_allocation_is_told),
        cmocka_unit_test(consume_moves_the_rest_forward),
        cmocka_unit_test(json_escapes),
        cmocka_unit_test(reader_reads_little_endian),
        cmocka_unit_test(reads_past_the_end_give_zero_and_fail),
        cmocka_unit_test(failed_reader_gives_nothing_more),
        cmocka_unit_test(seek_goes_as_far_as_the_end),
        cmocka_unit_test(numbers_are_stored_as_they_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
