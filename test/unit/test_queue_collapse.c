/* Tests of queue/collapse: the newest of a key, order, forgetting, bound.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/collapse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct siphash key(uint64_t number)
{
    return (struct siphash){number * UINT64_C(0x9e3779b97f4a7c15), number};
}

static void note(struct collapse *collapse,
                 struct collapse_list *list,
                 uint64_t number,
                 uint64_t sequence)
{
    struct siphash hash = key(number);

    collapse_note(collapse, list, &hash, sequence);
}

static bool
superseded(const struct collapse *collapse, uint64_t number, uint64_t sequence)
{
    struct siphash hash = key(number);

    return collapse_superseded(collapse, &hash, sequence);
}

static void all_but_the_newest_of_a_key_are_superseded(void **state)
{
    (void)state;
    struct collapse collapse;
    struct collapse_list list;

    collapse_init(&collapse);
    collapse_list_init(&list);
    assert_false(superseded(&collapse, 1, 0));
    note(&collapse, &list, 1, 4);
    note(&collapse, &list, 2, 5);
    assert_true(superseded(&collapse, 1, 3));
    assert_false(superseded(&collapse, 1, 4));
    note(&collapse, &list, 1, 9);
    assert_true(superseded(&collapse, 1, 4));
    assert_false(superseded(&collapse, 1, 9));
    assert_false(superseded(&collapse, 2, 5));
    assert_int_equal(list.count, 2);
    collapse_fini(&collapse);
}

static void older_message_changes_nothing(void **state)
{
    (void)state;
    struct collapse collapse;
    struct collapse_list list;

    collapse_init(&collapse);
    collapse_list_init(&list);
    note(&collapse, &list, 1, 9);
    note(&collapse, &list, 1, 4);
    note(&collapse, &list, 1, 9);
    assert_true(superseded(&collapse, 1, 8));
    assert_false(superseded(&collapse, 1, 9));
    assert_int_equal(list.count, 1);
    collapse_fini(&collapse);
}

static void key_is_forgotten_when_its_newest_is_passed(void **state)
{
    (void)state;
    struct collapse collapse;
    struct collapse_list list;
    struct collapse_list other;

    collapse_init(&collapse);
    collapse_list_init(&list);
    collapse_list_init(&other);
    for (uint64_t i = 0; i < 10; i++) {
        note(&collapse, &list, i, i);
    }
    note(&collapse, &other, 100, 3);
    note(&collapse, &list, 2, 10); /* moves from the middle to the end */
    note(&collapse, &list, 0, 11); /* from the beginning */
    note(&collapse, &list, 0, 12); /* stays there */
    collapse_forget(&collapse, &list, 5);
    assert_int_equal(list.count, 7);
    assert_false(superseded(&collapse, 4, 0));
    assert_true(superseded(&collapse, 5, 0));
    assert_true(superseded(&collapse, 2, 9));
    assert_true(superseded(&collapse, 100, 2));
    collapse_forget(&collapse, &list, 13);
    assert_int_equal(list.count, 0);
    note(&collapse, &list, 7, 20);
    collapse_forget_all(&collapse, &list);
    collapse_forget_all(&collapse, &other);
    assert_int_equal(collapse.table.count, 0);
    collapse_fini(&collapse);
}

static void past_the_bound_of_a_topic_its_oldest_key_is_forgotten(void **state)
{
    (void)state;
    struct collapse collapse;
    struct collapse_list list;
    struct collapse_list other;

    collapse_init(&collapse);
    collapse_list_init(&list);
    collapse_list_init(&other);
    note(&collapse, &other, 0, 1);
    for (uint64_t i = 1; i <= COLLAPSE_KEYS_MAX + 3; i++) {
        note(&collapse, &list, i, i);
    }
    assert_int_equal(list.count, COLLAPSE_KEYS_MAX);
    assert_false(superseded(&collapse, 3, 0));
    assert_true(superseded(&collapse, 4, 0));
    assert_true(superseded(&collapse, COLLAPSE_KEYS_MAX + 3, 1));
    assert_true(superseded(&collapse, 0, 0));
    collapse_fini(&collapse);
}

static void past_the_bound_of_all_a_topic_gives_of_its_own(void **state)
{
    (void)state;
    struct collapse collapse;
    struct collapse_list lists[17];
    uint64_t number = 0;

    collapse_init(&collapse);
    for (int i = 0; i < 17; i++) {
        collapse_list_init(&lists[i]);
    }
    while (collapse.table.count < COLLAPSE_TOTAL_MAX) {
        note(&collapse, &lists[number / COLLAPSE_KEYS_MAX], number, number);
        number++;
    }
    note(&collapse, &lists[16], 2000000, 2000000); /* it has none to give */
    assert_int_equal(collapse.table.count, COLLAPSE_TOTAL_MAX);
    assert_false(superseded(&collapse, 2000000, 0));
    assert_true(superseded(&collapse, COLLAPSE_KEYS_MAX, 0));
    uint32_t before = lists[1].count;
    note(&collapse, &lists[1], 2000000, 2000000);
    assert_int_equal(lists[1].count, before);
    assert_true(superseded(&collapse, 2000000, 0));
    assert_false(superseded(&collapse, COLLAPSE_KEYS_MAX, 0));
    assert_int_equal(collapse.table.count, COLLAPSE_TOTAL_MAX);
    collapse_fini(&collapse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_but_the_newest_of_a_key_are_superseded),
        cmocka_unit_test(older_message_changes_nothing),
        cmocka_unit_test(key_is_forgotten_when_its_newest_is_passed),
        cmocka_unit_test(past_the_bound_of_a_topic_its_oldest_key_is_forgotten),
        cmocka_unit_test(past_the_bound_of_all_a_topic_gives_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
