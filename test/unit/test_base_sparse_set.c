/* Tests of base/sparse_set, against an array of flags.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/sparse_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NUMBERS = 5 * SPARSE_SET_RUN };

static void the_two_agree(const struct sparse_set *set, const bool *flags)
{
    uint64_t next = UINT64_MAX;
    uint64_t absent = NUMBERS;
    uint64_t count = 0;

    for (uint64_t i = NUMBERS; i-- > 0;) {
        if (flags[i]) {
            next = i;
            count++;
        } else {
            absent = i;
        }
        assert_int_equal(sparse_set_has(set, i), flags[i]);
        assert_int_equal(sparse_set_next(set, i), next);
        assert_int_equal(sparse_set_next_absent(set, i), absent);
    }
    assert_int_equal(set->count, count);
}

static void any_changes_are_as_of_an_array(void **state)
{
    (void)state;
    static bool flags[NUMBERS];
    struct sparse_set set = {0};
    unsigned seed = 3;

    memset(flags, 0, sizeof(flags));
    for (int round = 0; round < 40; round++) {
        uint64_t width = round % 3 == 0 ? NUMBERS : 500;
        for (int i = 0; i < 700; i++) {
            uint64_t number = (uint64_t)rand_r(&seed) % width +
                              (round % 2 == 0 ? 0 : NUMBERS - width);
            bool add = rand_r(&seed) % (round % 4 == 3 ? 8 : 2) == 0;
            flags[number] = add;
            if (add) {
                assert_int_equal(sparse_set_add(&set, number), ERR_OK);
                assert_int_equal(sparse_set_add(&set, number), ERR_OK);
            } else {
                sparse_set_remove(&set, number);
                sparse_set_remove(&set, number);
            }
        }
        if (round % 10 == 9) {
            uint64_t end = (uint64_t)rand_r(&seed) % NUMBERS;
            memset(flags, 0, end);
            sparse_set_remove_below(&set, end);
        }
        the_two_agree(&set, flags);
    }
    sparse_set_remove_below(&set, NUMBERS);
    assert_int_equal(set.count, 0);
    assert_int_equal(set.run_count, 0);
    sparse_set_fini(&set);
}

static void runs_are_whole_and_far_ones_cost_nothing_between(void **state)
{
    (void)state;
    struct sparse_set set = {0};

    for (uint64_t i = 0; i < 2 * SPARSE_SET_RUN; i++) {
        assert_int_equal(sparse_set_add(&set, i), ERR_OK);
    }
    assert_int_equal(sparse_set_next_absent(&set, 0), 2 * SPARSE_SET_RUN);
    assert_int_equal(sparse_set_add(&set, UINT64_MAX - 1), ERR_OK);
    assert_int_equal(set.run_count, 3);
    assert_int_equal(sparse_set_next(&set, 2 * SPARSE_SET_RUN), UINT64_MAX - 1);
    assert_int_equal(sparse_set_next(&set, UINT64_MAX), UINT64_MAX);
    sparse_set_remove_below(&set, UINT64_MAX);
    assert_int_equal(set.count, 0);
    sparse_set_fini(&set);
}

static void there_is_an_end_to_it(void **state)
{
    (void)state;
    struct sparse_set set = {0};

    for (uint64_t i = 0; i < SPARSE_SET_RUNS_MAX; i++) {
        assert_int_equal(sparse_set_add(&set, i * SPARSE_SET_RUN), ERR_OK);
    }
    uint64_t over = (uint64_t)SPARSE_SET_RUNS_MAX * SPARSE_SET_RUN;
    assert_int_equal(sparse_set_add(&set, over), ERR_FULL);
    assert_false(sparse_set_has(&set, over));
    assert_int_equal(sparse_set_add(&set, over - 1), ERR_OK);
    sparse_set_remove(&set, 0);
    assert_int_equal(sparse_set_add(&set, over), ERR_OK);
    assert_int_equal(set.count, SPARSE_SET_RUNS_MAX + 1);
    sparse_set_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_changes_are_as_of_an_array),
        cmocka_unit_test(runs_are_whole_and_far_ones_cost_nothing_between),
        cmocka_unit_test(there_is_an_end_to_it),
    };

    return cmocka_run_group_tests_name("base_sparse_set", tests, NULL, NULL);
}
