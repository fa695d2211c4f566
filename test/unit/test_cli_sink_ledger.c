/* Tests of cli/sink_ledger: what is missing, twice, out of order.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/sink_ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct sink_ledger *ledger = NULL;

    assert_int_equal(sink_ledger_create(&ledger), ERR_OK);
    *state = ledger;
    return 0;
}

static int teardown(void **state)
{
    sink_ledger_destroy(*state);
    return 0;
}

static void
note(struct sink_ledger *ledger, const char *topic, uint64_t sequence)
{
    assert_int_equal(sink_ledger_note(ledger, str_from(topic), sequence),
                     ERR_OK);
}

static void topic_in_order_is_whole(void **state)
{
    struct sink_figures figures;

    for (uint64_t sequence = 100; sequence < 5000; sequence++) {
        note(*state, "a", sequence);
    }
    sink_ledger_topic(*state, STR("a"), &figures);
    assert_int_equal(figures.accepted, 4900);
    assert_int_equal(figures.distinct, 4900);
    assert_int_equal(figures.duplicates, 0);
    assert_int_equal(figures.disorder, 0);
    assert_int_equal(figures.missing, 0);
    assert_int_equal(figures.lowest, 100);
    assert_int_equal(figures.highest, 4999);
}

static void gaps_are_missing_until_they_are_filled(void **state)
{
    struct sink_figures figures;

    note(*state, "a", 5);
    note(*state, "a", 9);
    sink_ledger_topic(*state, STR("a"), &figures);
    assert_int_equal(figures.missing, 3);
    note(*state, "a", 7);
    note(*state, "a", 6);
    note(*state, "a", 8);
    sink_ledger_topic(*state, STR("a"), &figures);
    assert_int_equal(figures.missing, 0);
    assert_int_equal(figures.disorder, 3);
    note(*state, "a", 3);
    sink_ledger_topic(*state, STR("a"), &figures);
    assert_int_equal(figures.missing, 1);
    assert_int_equal(figures.lowest, 3);
}

static void repeats_are_duplicates_and_not_disorder(void **state)
{
    struct sink_figures figures;

    note(*state, "a", 0);
    note(*state, "a", 1);
    note(*state, "a", 0);
    note(*state, "a", 1);
    note(*state, "a", 1);
    sink_ledger_topic(*state, STR("a"), &figures);
    assert_int_equal(figures.accepted, 5);
    assert_int_equal(figures.distinct, 2);
    assert_int_equal(figures.duplicates, 3);
    assert_int_equal(figures.disorder, 0);
}

static void topics_are_kept_apart_and_added_up(void **state)
{
    struct sink_figures figures;

    for (unsigned topic = 0; topic < 200; topic++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "t%u", topic);
        note(*state, name, 0);
        note(*state, name, 2);
        note(*state, name, 2);
    }
    sink_ledger_topic(*state, STR("t17"), &figures);
    assert_int_equal(figures.distinct, 2);
    sink_ledger_topic(*state, STR("t"), &figures);
    assert_int_equal(figures.accepted, 0);
    sink_ledger_sum(*state, &figures);
    assert_int_equal(figures.accepted, 600);
    assert_int_equal(figures.distinct, 400);
    assert_int_equal(figures.duplicates, 200);
    assert_int_equal(figures.missing, 200);
}

static void what_it_cannot_keep_is_refused(void **state)
{
    struct sink_figures figures;
    char name[256];

    for (size_t i = 0; i < sizeof(name); i++) {
        name[i] = 'n';
    }
    assert_int_equal(
        sink_ledger_note(*state, STR("a"), SINK_LEDGER_SEQUENCE_MAX),
        ERR_RANGE);
    assert_int_equal(
        sink_ledger_note(*state, (struct str){name, sizeof(name)}, 0),
        ERR_RANGE);
    sink_ledger_sum(*state, &figures);
    assert_int_equal(figures.accepted, 0);
}

static void json_has_an_object_for_each_topic(void **state)
{
    struct buf text = {0};

    sink_ledger_json(*state, &text);
    assert_true(str_equal(buf_str(&text), STR("[]")));
    buf_clear(&text);
    note(*state, "a\"b", 3);
    note(*state, "c", 1);
    sink_ledger_json(*state, &text);
    assert_true(str_equal(
        buf_str(&text),
        STR("[{\"topic\":\"a\\\"b\",\"accepted\":1,\"distinct\":1,"
            "\"duplicates\":0,\"disorder\":0,\"missing\":0,\"lowest\":3,"
            "\"highest\":3},{\"topic\":\"c\",\"accepted\":1,\"distinct\":1,"
            "\"duplicates\":0,\"disorder\":0,\"missing\":0,\"lowest\":1,"
            "\"highest\":1}]")));
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(topic_in_order_is_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(gaps_are_missing_until_they_are_filled,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(repeats_are_duplicates_and_not_disorder,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(topics_are_kept_apart_and_added_up,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_it_cannot_keep_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(json_has_an_object_for_each_topic,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
