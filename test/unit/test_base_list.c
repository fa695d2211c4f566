/* Tests of base/list: order, and removal as often as one likes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void new_list_is_empty(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_take_first(&head));
}

static void nodes_leave_in_the_order_of_the_list(void **state)
{
    (void)state;
    struct list head;
    struct list nodes[3] = {0};
    list_init(&head);
    list_append(&head, &nodes[1]);
    list_append(&head, &nodes[2]);
    list_prepend(&head, &nodes[0]);
    for (int i = 0; i < 3; i++) {
        assert_true(list_linked(&nodes[i]));
        assert_ptr_equal(list_take_first(&head), &nodes[i]);
        assert_false(list_linked(&nodes[i]));
    }
    assert_true(list_empty(&head));
}

static void removal_is_idempotent(void **state)
{
    (void)state;
    struct list head;
    struct list nodes[3] = {0};
    list_init(&head);
    list_remove(&nodes[0]);
    for (int i = 0; i < 3; i++) {
        list_append(&head, &nodes[i]);
    }
    list_remove(&nodes[1]);
    list_remove(&nodes[1]);
    assert_ptr_equal(list_take_first(&head), &nodes[0]);
    assert_ptr_equal(list_take_first(&head), &nodes[2]);
    assert_null(list_take_first(&head));
    list_append(&head, &nodes[1]);
    assert_ptr_equal(list_take_first(&head), &nodes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_list_is_empty),
        cmocka_unit_test(nodes_leave_in_the_order_of_the_list),
        cmocka_unit_test(removal_is_idempotent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
