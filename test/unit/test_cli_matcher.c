/* Tests of cli/matcher and cli/data_range: what is looked for, and where.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/matcher.h"

#include "cli/data_range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct matcher make(const char *pattern, bool fixed, bool any_case)
{
    struct matcher matcher;
    char wrong[MATCHER_ERROR_MAX];
    assert_int_equal(matcher_init(&matcher, pattern, fixed, any_case, wrong),
                     ERR_OK);
    return matcher;
}

static bool finds(const char *pattern, bool fixed, struct str text)
{
    struct matcher matcher = make(pattern, fixed, false);
    struct matcher_match match;
    bool found = matcher_find(&matcher, text, &match);
    matcher_fini(&matcher);
    return found;
}

static void test_lines_are_looked_at_one_by_one(void **state)
{
    (void)state;
    struct str text = STR("first\nsecond line\nthird");
    assert_true(finds("^second line$", false, text));
    assert_false(finds("first.second", false, text));
    assert_true(finds("third$", false, text));
    assert_true(finds("^$", false, STR("a\n\nb")));
    assert_true(finds("^$", false, STR("")));
    assert_true(finds("x", false, STR("a\0b\nx")));
    assert_true(finds("c", false, STR("a\0b\0c"))); /* behind a NUL */
    assert_false(finds("y", false, (struct str){NULL, 0}));
}

static void test_a_text_is_taken_as_it_is(void **state)
{
    (void)state;
    const char *each = "a^.[$()|*+?{}\\]b";
    assert_true(finds(each, true, STR("xa^.[$()|*+?{}\\]bx")));
    assert_false(finds("a.c", true, STR("abc")));
    assert_true(finds("a.c", false, STR("abc")));
    struct matcher matcher = make("NEEDLE.", true, true);
    struct matcher_match match;
    assert_true(matcher_find(&matcher, STR("a needle."), &match));
    assert_int_equal(match.start, 2);
    assert_int_equal(match.end, 9);
    matcher_fini(&matcher);
}

static void test_what_is_shown_is_bounded(void **state)
{
    (void)state;
    char line[601];
    memset(line, 'x', sizeof(line));
    memcpy(line + 300, "needle", 6);
    /* Two bytes each: cut between them. */
    memcpy(line + 300 - MATCHER_AROUND - 1, "\xc3\xa9", 2);
    memcpy(line + 306 + MATCHER_AROUND - 1, "\xc3\xa9", 2);
    struct matcher matcher = make("needle", false, false);
    struct matcher_match match;
    assert_true(matcher_find(&matcher, (struct str){line, 600}, &match));
    struct str part = matcher_part(&match);
    assert_ptr_equal(part.data, line + 300 - MATCHER_AROUND + 1);
    assert_int_equal(part.size, 2 * MATCHER_AROUND + 6 - 2);
    matcher_fini(&matcher);
}

static void test_what_is_no_expression_is_refused(void **state)
{
    (void)state;
    struct matcher matcher;
    char wrong[MATCHER_ERROR_MAX] = "";
    assert_int_equal(matcher_init(&matcher, "(", false, false, wrong),
                     ERR_INVALID);
    assert_true(wrong[0] != '\0');
    assert_int_equal(matcher_init(&matcher, "(", true, false, wrong), ERR_OK);
    matcher_fini(&matcher);
}

static void test_ranges(void **state)
{
    (void)state;
    struct data_range range;
    const char *wrong = NULL;
    struct data_range_texts texts = {0};
    assert_int_equal(data_range_read(&texts, &range, &wrong), ERR_OK);
    assert_true(data_range_has(&range, 0, 0));
    assert_true(data_range_has(&range, UINT64_MAX - 1, UINT64_MAX - 1));
    texts = (struct data_range_texts){"5", "7", "1000", "2000"};
    assert_int_equal(data_range_read(&texts, &range, &wrong), ERR_OK);
    assert_true(data_range_has(&range, 5, 1000000));
    assert_true(data_range_has(&range, 7, 1999999));
    assert_false(data_range_has(&range, 4, 1500000));
    assert_false(data_range_has(&range, 8, 1500000));
    assert_false(data_range_has(&range, 6, 999999));
    assert_false(data_range_has(&range, 6, 2000000));
    const struct data_range_texts bad[] = {
        {"x", NULL, NULL, NULL},
        {NULL, "-1", NULL, NULL},
        {NULL, "18446744073709551615", NULL, NULL},
        {NULL, NULL, "yesterday", NULL},
        {NULL, NULL, NULL, "2026-13-01T00:00:00Z"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        wrong = NULL;
        assert_int_equal(data_range_read(&bad[i], &range, &wrong), ERR_INVALID);
        assert_non_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_looked_at_one_by_one),
        cmocka_unit_test(test_a_text_is_taken_as_it_is),
        cmocka_unit_test(test_what_is_shown_is_bounded),
        cmocka_unit_test(test_what_is_no_expression_is_refused),
        cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
