/* Tests of base/str: cutting, comparing, numbers, durations, sizes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static const struct str nothing = {NULL, 0};

static void slices_of_terminated_strings(void **state)
{
    (void)state;
    assert_int_equal(str_from("abc").size, 3);
    assert_int_equal(str_from("").size, 0);
    assert_int_equal(str_from(NULL).size, 0);
    assert_null(str_from(NULL).data);
    char text[16];
    (void)snprintf(text, sizeof(text), "<%.*s>", STR_ARG(STR("abc")));
    assert_string_equal(text, "<abc>");
}

static void cut_clamps_to_what_is_there(void **state)
{
    (void)state;
    struct str text = STR("abcdef");
    assert_true(str_equal(str_cut(text, 2, 3), STR("cde")));
    assert_true(str_equal(str_cut(text, 4, 100), STR("ef")));
    assert_true(str_equal(str_cut(text, 0, SIZE_MAX), text));
    assert_int_equal(str_cut(text, 7, 1).size, 0);
    assert_int_equal(str_cut(text, SIZE_MAX, SIZE_MAX).size, 0);
    assert_null(str_cut(nothing, 3, 3).data);
}

static void equality_is_of_bytes(void **state)
{
    (void)state;
    assert_true(str_equal(STR("a\0b"), STR("a\0b")));
    assert_false(str_equal(STR("a\0b"), STR("a\0c")));
    assert_false(str_equal(STR("a"), STR("ab")));
    assert_false(str_equal(STR("a"), STR("A")));
    assert_true(str_equal(nothing, STR("")));
}

static void case_is_folded_for_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(str_equal_nocase(STR("Content-LENGTH"), STR("cOntent-length")));
    assert_true(str_equal_nocase(STR("azAZ"), STR("AZaz")));
    assert_false(str_equal_nocase(STR("["), STR("{")));
    assert_false(str_equal_nocase(STR("@"), STR("`")));
    assert_false(str_equal_nocase(STR("\xc4"), STR("\xe4")));
    assert_false(str_equal_nocase(STR("a"), STR("aa")));
    assert_true(str_equal_nocase(nothing, nothing));
}

/* Every pair of bytes, at each place of a text of more than a word: beside the
 * definition, byte by byte. */
static void case_is_folded_wherever_the_byte_stands(void **state)
{
    char left[] = "Accept-Enco";
    char right[] = "aCCEPT-eNCO";
    enum { SIZE = sizeof(left) - 1 };

    (void)state;
    for (size_t at = 0; at < SIZE; at++) {
        char left_kept = left[at];
        char right_kept = right[at];
        for (int pair = 0; pair < 256 * 256; pair++) {
            int one = pair / 256;
            int two = pair % 256;
            int small_one = one >= 'A' && one <= 'Z' ? one + 32 : one;
            int small_two = two >= 'A' && two <= 'Z' ? two + 32 : two;
            left[at] = (char)one;
            right[at] = (char)two;
            assert_true(str_equal_nocase((struct str){left, SIZE},
                                         (struct str){right, SIZE}) ==
                        (small_one == small_two));
        }
        left[at] = left_kept;
        right[at] = right_kept;
    }
}

static void order_is_bytewise_with_a_prefix_first(void **state)
{
    (void)state;
    assert_true(str_compare(STR("a"), STR("b")) < 0);
    assert_true(str_compare(STR("b"), STR("a")) > 0);
    assert_true(str_compare(STR("a"), STR("ab")) < 0);
    assert_true(str_compare(STR("ab"), STR("a")) > 0);
    assert_true(str_compare(STR("\x7f"), STR("\x80")) < 0);
    assert_int_equal(str_compare(STR("ab"), STR("ab")), 0);
    assert_int_equal(str_compare(nothing, STR("")), 0);
    assert_true(str_compare(nothing, STR("a")) < 0);
}

static void prefixes(void **state)
{
    (void)state;
    assert_true(str_starts(STR("topic.dlq"), STR("topic")));
    assert_true(str_starts(STR("a"), nothing));
    assert_false(str_starts(STR("a"), STR("ab")));
    assert_false(str_starts(STR("abc"), STR("b")));
}

static void find_gives_the_first_or_the_size(void **state)
{
    (void)state;
    assert_int_equal(str_find(STR("a:b:c"), ':'), 1);
    assert_int_equal(str_find(STR("abc"), ':'), 3);
    assert_int_equal(str_find(STR("ab\0"), '\0'), 2);
    assert_int_equal(str_find(nothing, ':'), 0);
}

static void trim_takes_blanks_and_tabs_only(void **state)
{
    (void)state;
    assert_true(str_equal(str_trim(STR(" \t a b\t ")), STR("a b")));
    assert_true(str_equal(str_trim(STR("\ra\n")), STR("\ra\n")));
    assert_int_equal(str_trim(STR(" \t ")).size, 0);
    assert_int_equal(str_trim(nothing).size, 0);
}

typedef enum err (*read_number)(struct str text, uint64_t *out_value);

struct number_case {
    const char *text;
    enum err err;
    uint64_t value;
};

static void
read_all(read_number read_it, const struct number_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t untouched = 77777;
        uint64_t value = untouched;
        enum err err = read_it(str_from(cases[i].text), &value);
        uint64_t expected = cases[i].err == ERR_OK ? cases[i].value : untouched;
        if (err != cases[i].err || value != expected) {
            fail_msg("\"%s\": %s", cases[i].text, err_name(err));
        }
    }
}

static void numbers_are_digits_and_nothing_else(void **state)
{
    (void)state;
    static const struct number_case cases[] = {
        {"0", ERR_OK, 0},
        {"007", ERR_OK, 7},
        {"18446744073709551615", ERR_OK, UINT64_MAX},
        {"000000000000000000000000000001", ERR_OK, 1},
        {"18446744073709551616", ERR_RANGE, 0},
        {"99999999999999999999999", ERR_RANGE, 0},
        {"99999999999999999999999x", ERR_INVALID, 0},
        {"", ERR_INVALID, 0},
        {"-1", ERR_INVALID, 0},
        {"+1", ERR_INVALID, 0},
        {" 1", ERR_INVALID, 0},
        {"1 ", ERR_INVALID, 0},
        {"0x10", ERR_INVALID, 0},
        {"1.5", ERR_INVALID, 0},
    };
    read_all(str_to_u64, cases, sizeof(cases) / sizeof(cases[0]));
}

static void durations_have_units(void **state)
{
    (void)state;
    static const struct number_case cases[] = {
        {"250ms", ERR_OK, 250},
        {"10s", ERR_OK, 10000},
        {"10", ERR_OK, 10000},
        {"5m", ERR_OK, 300000},
        {"2h", ERR_OK, 7200000},
        {"1d", ERR_OK, 86400000},
        {"0", ERR_OK, 0},
        {"36500d", ERR_OK, UINT64_C(3153600000000)},
        {"36501d", ERR_RANGE, 0},
        {"3153600000001ms", ERR_RANGE, 0},
        {"18446744073709551615d", ERR_RANGE, 0},
        {"99999999999999999999s", ERR_RANGE, 0},
        {"", ERR_INVALID, 0},
        {"s", ERR_INVALID, 0},
        {"10S", ERR_INVALID, 0},
        {"10 s", ERR_INVALID, 0},
        {"1.5s", ERR_INVALID, 0},
        {"-1s", ERR_INVALID, 0},
        {"1w", ERR_INVALID, 0},
        {"1h30m", ERR_INVALID, 0},
    };
    read_all(str_to_duration_ms, cases, sizeof(cases) / sizeof(cases[0]));
}

static void sizes_have_units(void **state)
{
    (void)state;
    static const struct number_case cases[] = {
        {"4096", ERR_OK, 4096},
        {"64k", ERR_OK, 65536},
        {"64K", ERR_OK, 65536},
        {"64KiB", ERR_OK, 65536},
        {"1m", ERR_OK, 1048576},
        {"1MiB", ERR_OK, 1048576},
        {"2g", ERR_OK, UINT64_C(2147483648)},
        {"1GiB", ERR_OK, 1073741824},
        {"17179869183g", ERR_OK, UINT64_C(17179869183) << 30},
        {"17179869184g", ERR_RANGE, 0},
        {"18446744073709551616", ERR_RANGE, 0},
        {"", ERR_INVALID, 0},
        {"k", ERR_INVALID, 0},
        {"1kb", ERR_INVALID, 0},
        {"1t", ERR_INVALID, 0},
        {"-1k", ERR_INVALID, 0},
    };
    read_all(str_to_size, cases, sizeof(cases) / sizeof(cases[0]));
}

static void hash_is_fnv_1a(void **state)
{
    (void)state;
    assert_true(str_hash(nothing) == UINT64_C(0xcbf29ce484222325));
    assert_true(str_hash(STR("a")) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(str_hash(STR("foobar")) == UINT64_C(0x85944171f73967e8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_of_terminated_strings),
        cmocka_unit_test(cut_clamps_to_what_is_there),
        cmocka_unit_test(equality_is_of_bytes),
        cmocka_unit_test(case_is_folded_for_ascii_letters_only),
        cmocka_unit_test(case_is_folded_wherever_the_byte_stands),
        cmocka_unit_test(order_is_bytewise_with_a_prefix_first),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(find_gives_the_first_or_the_size),
        cmocka_unit_test(trim_takes_blanks_and_tabs_only),
        cmocka_unit_test(numbers_are_digits_and_nothing_else),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(hash_is_fnv_1a),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
