/* Tests of cli/progress: the bar.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_bar(uint64_t done, uint64_t total, const char *wanted)
{
    struct buf text = {0};

    progress_bar(&text, done, total);
    buf_append_byte(&text, '\0');
    assert_string_equal(text.data, wanted);
    buf_fini(&text);
}

static void the_bar_fills_as_work_is_done(void **state)
{
    (void)state;
    assert_bar(0, 9, "[..............................] 0 of 9");
    assert_bar(3, 9, "[##########....................] 3 of 9");
    assert_bar(8, 9, "[##########################....] 8 of 9");
    assert_bar(9, 9, "[##############################] 9 of 9");
}

static void more_than_all_is_a_full_bar(void **state)
{
    (void)state;
    assert_bar(12, 9, "[##############################] 12 of 9");
    assert_bar(UINT64_MAX, UINT64_MAX,
               "[##############################] 18446744073709551615 of "
               "18446744073709551615");
}

static void what_is_not_known_has_no_bar(void **state)
{
    (void)state;
    assert_bar(5, 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bar_fills_as_work_is_done),
        cmocka_unit_test(more_than_all_is_a_full_bar),
        cmocka_unit_test(what_is_not_known_has_no_bar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
