/* Tests of http/text: phrases of statuses, dates.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void statuses_have_phrases(void **state)
{
    (void)state;
    assert_string_equal(http_status_text(201), "Created");
    assert_string_equal(http_status_text(207), "Multi-Status");
    assert_string_equal(http_status_text(507), "Insufficient Storage");
    assert_string_equal(http_status_text(299), "Unknown");
}

static void dates_are_read_in_their_three_forms(void **state)
{
    (void)state;
    static const char *const same[] = {
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    };
    for (int i = 0; i < 3; i++) {
        uint64_t at = 0;
        assert_int_equal(http_parse_date(str_from(same[i]), &at), ERR_OK);
        assert_int_equal(at, 784111777);
    }
    uint64_t at = 0;
    assert_int_equal(
        http_parse_date(STR("Monday, 29-Feb-60 00:00:00 GMT"), &at), ERR_OK);
    assert_int_equal(at, 2845238400);
}

static void malformed_dates_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "Sun",
        "Sun,",
        "120",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Xun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 06  08:49:37 1994",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t at = 7;
        if (http_parse_date(str_from(cases[i]), &at) != ERR_INVALID) {
            fail_msg("taken: %s", cases[i]);
        }
        assert_int_equal(at, 7);
    }
}

static void a_written_date_is_read_back(void **state)
{
    (void)state;
    char text[30];
    http_format_date(784111777, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    http_format_date(0, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    for (uint64_t at = 0; at < UINT64_C(253402300799);
         at += 86400 * 13 + 7919) {
        uint64_t back = 1;
        http_format_date(at, text);
        assert_int_equal(http_parse_date(str_from(text), &back), ERR_OK);
        assert_int_equal(back, at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_have_phrases),
        cmocka_unit_test(dates_are_read_in_their_three_forms),
        cmocka_unit_test(malformed_dates_are_refused),
        cmocka_unit_test(a_written_date_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
