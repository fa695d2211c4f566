/* Tests of cli/table: columns for people.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_printed(const struct table *table, const char *wanted)
{
    struct buf text = {0};

    table_print(table, &text);
    buf_append_byte(&text, '\0');
    assert_string_equal(text.data, wanted);
    buf_fini(&text);
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
    (void)state;
    struct table table;

    table_init(&table, 3, 1 << 1);
    table_add(&table, "TOPIC");
    table_add(&table, "LAG");
    table_add(&table, "STATE");
    table_add(&table, "a-long-name");
    table_add_u64(&table, 5);
    table_add(&table, "idle");
    table_add(&table, "b");
    table_add_u64(&table, UINT64_C(18446744073709551615));
    table_add(&table, "");
    assert_printed(&table, "TOPIC                         LAG  STATE\n"
                           "a-long-name                     5  idle\n"
                           "b            18446744073709551615  \n");
    table_fini(&table);
}

static void characters_count_and_not_bytes(void **state)
{
    (void)state;
    struct table table;

    table_init(&table, 2, 0);
    table_add(&table, "\xc3\xa9\xe2\x82\xac");
    table_add(&table, "x");
    table_add(&table, "abc");
    table_add(&table, "y");
    assert_printed(&table, "\xc3\xa9\xe2\x82\xac   x\nabc  y\n");
    table_fini(&table);
}

static void controls_do_not_reach_the_terminal(void **state)
{
    (void)state;
    struct table table;

    table_init(&table, 1, 0);
    table_add(&table, "a\x1b[2Jb\nc\x7f");
    assert_printed(&table, "a?[2Jb?c?\n");
    table_fini(&table);
}

static void table_without_rows_prints_nothing(void **state)
{
    (void)state;
    struct table table;

    table_init(&table, TABLE_COLUMNS_MAX, 0);
    assert_printed(&table, "");
    table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(characters_count_and_not_bytes),
        cmocka_unit_test(controls_do_not_reach_the_terminal),
        cmocka_unit_test(table_without_rows_prints_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
