/* Tests of queue/dedup: states, windows, order of forgetting, bound, clocks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/dedup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define START UINT64_C(1700000000000)

enum { WINDOW = 10000, LATE = 128 };

static struct siphash id(uint64_t number)
{
    return (struct siphash){number * UINT64_C(0x9e3779b97f4a7c15), number};
}

static enum dedup_state
look(const struct dedup *dedup, uint64_t number, uint64_t now_ms)
{
    struct siphash hash = id(number);
    uint64_t value = 0;

    return dedup_look(dedup, &hash, now_ms, WINDOW, &value);
}

static uint64_t
value_of(const struct dedup *dedup, uint64_t number, uint64_t now_ms)
{
    struct siphash hash = id(number);
    uint64_t value = UINT64_MAX;

    (void)dedup_look(dedup, &hash, now_ms, WINDOW, &value);
    return value;
}

static uint32_t claim(struct dedup *dedup, uint64_t number, uint64_t value)
{
    struct siphash hash = id(number);
    uint32_t index = ID_TABLE_NONE;

    assert_int_equal(dedup_claim(dedup, &hash, value, &index), ERR_OK);
    return index;
}

static void remember(struct dedup *dedup,
                     struct dedup_list *list,
                     uint64_t number,
                     uint64_t at_ms)
{
    dedup_settle(dedup, list, claim(dedup, number, 0), number + 1000, at_ms);
}

static void id_goes_from_new_over_pending_to_known(void **state)
{
    (void)state;
    struct dedup dedup;
    struct dedup_list list;

    dedup_init(&dedup, 10, START);
    dedup_list_init(&list);
    assert_int_equal(look(&dedup, 1, START), DEDUP_NEW);
    uint32_t index = claim(&dedup, 1, UINT64_C(0xfedcba9876543210));
    assert_int_equal(look(&dedup, 1, START), DEDUP_PENDING);
    assert_true(value_of(&dedup, 1, START) == UINT64_C(0xfedcba9876543210));
    assert_int_equal(list.count, 0);
    dedup_settle(&dedup, &list, index, UINT64_MAX - 1, START);
    assert_int_equal(look(&dedup, 1, START), DEDUP_KNOWN);
    assert_true(value_of(&dedup, 1, START) == UINT64_MAX - 1);
    assert_int_equal(list.count, 1);
    assert_int_equal(look(&dedup, 2, START), DEDUP_NEW);
    dedup_fini(&dedup);
}

static void pending_id_never_runs_out_and_is_new_when_released(void **state)
{
    (void)state;
    struct dedup dedup;
    struct dedup_list list;

    dedup_init(&dedup, 10, START);
    dedup_list_init(&list);
    uint32_t index = claim(&dedup, 1, 5);
    assert_int_equal(look(&dedup, 1, START + UINT64_C(10) * WINDOW),
                     DEDUP_PENDING);
    assert_int_equal(
        dedup_forget(&dedup, &list, START + UINT64_C(10) * WINDOW, WINDOW, 10),
        0);
    dedup_release(&dedup, index);
    assert_int_equal(look(&dedup, 1, START), DEDUP_NEW);
    assert_int_equal(dedup.table.count, 0);
    dedup_fini(&dedup);
}

static void id_is_known_for_its_window_and_hardly_longer(void **state)
{
    (void)state;
    struct dedup dedup;
    struct dedup_list list;

    dedup_init(&dedup, 100000, START);
    dedup_list_init(&list);
    /* Whatever place in a tick. */
    for (uint64_t shift = 0; shift < 200; shift++) {
        uint64_t at = START + shift;
        remember(&dedup, &list, shift, at);
        assert_int_equal(look(&dedup, shift, at + WINDOW - 1), DEDUP_KNOWN);
        assert_int_equal(look(&dedup, shift, at + WINDOW + LATE), DEDUP_NEW);
    }
    uint64_t end = START + WINDOW - 1;
    assert_int_equal(dedup_forget(&dedup, &list, end, WINDOW, 1000), 0);
    end += 200 + LATE + 1;
    assert_int_equal(dedup_forget(&dedup, &list, end, WINDOW, 150), 150);
    assert_int_equal(dedup_forget(&dedup, &list, end, WINDOW, 1000), 50);
    assert_int_equal(list.count, 0);
    assert_int_equal(dedup.table.count, 0);
    dedup_fini(&dedup);
}

static void windows_of_lists_do_not_mix_and_oldest_go_first(void **state)
{
    (void)state;
    struct dedup dedup;
    struct dedup_list brief;
    struct dedup_list lasting;

    dedup_init(&dedup, 100, START);
    dedup_list_init(&brief);
    dedup_list_init(&lasting);
    for (uint64_t i = 0; i < 10; i++) {
        remember(&dedup, i % 2 == 0 ? &brief : &lasting, i, START + 1000 * i);
    }
    assert_int_equal(dedup_forget(&dedup, &brief, START + 6500, 2000, 10), 3);
    assert_int_equal(look(&dedup, 4, START + 6500), DEDUP_NEW);
    assert_int_equal(look(&dedup, 6, START + 6500), DEDUP_KNOWN);
    assert_int_equal(look(&dedup, 1, START + 6500), DEDUP_KNOWN);
    dedup_forget_all(&dedup, &lasting);
    assert_int_equal(lasting.count, 0);
    assert_int_equal(look(&dedup, 9, START + 6500), DEDUP_NEW);
    assert_int_equal(look(&dedup, 8, START + 6500), DEDUP_KNOWN);
    /* A list that was emptied goes on. */
    remember(&dedup, &lasting, 20, START + 6500);
    remember(&dedup, &lasting, 21, START + 6500);
    assert_int_equal(lasting.count, 2);
    dedup_forget_all(&dedup, &lasting);
    dedup_forget_all(&dedup, &brief);
    assert_int_equal(dedup.table.count, 0);
    dedup_fini(&dedup);
}

static void id_in_use_again_is_found_before_its_forerunner_went(void **state)
{
    (void)state;
    struct dedup dedup;
    struct dedup_list list;
    uint64_t later = START + WINDOW + 1000;

    dedup_init(&dedup, 100, START);
    dedup_list_init(&list);
    remember(&dedup, &list, 2, START + 5000); /* as clocks may have it */
    remember(&dedup, &list, 1, START);
    assert_int_equal(dedup_forget(&dedup, &list, later, WINDOW, 10), 0);
    assert_int_equal(look(&dedup, 1, later), DEDUP_NEW);
    uint32_t index = claim(&dedup, 1, 77);
    assert_int_equal(look(&dedup, 1, later), DEDUP_PENDING);
    dedup_settle(&dedup, &list, index, 78, later);
    assert_int_equal(value_of(&dedup, 1, later), 78);
    assert_int_equal(dedup_forget(&dedup, &list, later + 6000, WINDOW, 10), 2);
    assert_int_equal(value_of(&dedup, 1, later + 6000), 78);
    dedup_fini(&dedup);
}

static void at_the_bound_nothing_is_claimed_and_nothing_forgotten(void **state)
{
    (void)state;
    struct dedup dedup;
    struct dedup_list list;
    struct siphash hash = id(99);
    uint32_t index = 12345;

    dedup_init(&dedup, 3, START);
    dedup_list_init(&list);
    for (uint64_t i = 0; i < 3; i++) {
        remember(&dedup, &list, i, START);
    }
    assert_int_equal(dedup_claim(&dedup, &hash, 0, &index), ERR_BUSY);
    assert_int_equal(index, 12345);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(look(&dedup, i, START), DEDUP_KNOWN);
    }
    /* What the log says was promised before. */
    assert_int_equal(dedup_add(&dedup, &list, &hash, 5, START), ERR_OK);
    assert_int_equal(value_of(&dedup, 99, START), 5);
    assert_int_equal(
        dedup_forget(&dedup, &list, START + WINDOW + LATE, WINDOW, 2), 2);
    assert_int_equal(dedup_claim(&dedup, &hash, 0, &index), ERR_OK);
    dedup_fini(&dedup);
}

static void clock_that_goes_back_keeps_nothing_for_ever(void **state)
{
    (void)state;
    struct dedup dedup;
    struct dedup_list list;
    uint64_t year = UINT64_C(365) * 86400 * 1000;

    dedup_init(&dedup, 100, START);
    dedup_list_init(&list);
    remember(&dedup, &list, 1, START + year);
    assert_int_equal(look(&dedup, 1, START), DEDUP_KNOWN);
    assert_int_equal(dedup_forget(&dedup, &list, START, WINDOW, 10), 0);
    assert_int_equal(
        dedup_forget(&dedup, &list, START + WINDOW + LATE, WINDOW, 10), 1);
    /* Before all that can be in a window. */
    remember(&dedup, &list, 2, 1);
    assert_int_equal(look(&dedup, 2, START), DEDUP_NEW);
    /* Past all that this process will live to see. */
    remember(&dedup, &list, 3, START + 1000 * year);
    assert_int_equal(look(&dedup, 3, START), DEDUP_KNOWN);
    dedup_fini(&dedup);
}

static void longest_window_reaches_back_to_before_the_start(void **state)
{
    (void)state;
    struct dedup dedup;
    struct dedup_list list;
    struct siphash hash = id(1);
    uint64_t value = 0;

    dedup_init(&dedup, 100, START);
    dedup_list_init(&list);
    uint64_t at = START - UINT32_MAX + 1000;
    assert_int_equal(dedup_add(&dedup, &list, &hash, 9, at), ERR_OK);
    assert_int_equal(dedup_look(&dedup, &hash, START, UINT32_MAX, &value),
                     DEDUP_KNOWN);
    assert_int_equal(
        dedup_look(&dedup, &hash, START + 2000, UINT32_MAX, &value), DEDUP_NEW);
    dedup_fini(&dedup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(id_goes_from_new_over_pending_to_known),
        cmocka_unit_test(pending_id_never_runs_out_and_is_new_when_released),
        cmocka_unit_test(id_is_known_for_its_window_and_hardly_longer),
        cmocka_unit_test(windows_of_lists_do_not_mix_and_oldest_go_first),
        cmocka_unit_test(id_in_use_again_is_found_before_its_forerunner_went),
        cmocka_unit_test(at_the_bound_nothing_is_claimed_and_nothing_forgotten),
        cmocka_unit_test(clock_that_goes_back_keeps_nothing_for_ever),
        cmocka_unit_test(longest_window_reaches_back_to_before_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
