/* Tests of base/hash_table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/hash_table.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { THINGS = 3000, HASHES = 1000 };

struct thing {
    struct hash_node node;
    bool seen;
};

static struct thing things[THINGS];

static struct thing *thing_of(struct hash_node *node)
{
    return CONTAINER_OF(node, struct thing, node);
}

/* Three things have each hash; those below `from` are not in the table. */
static void all_are_found(const struct hash_table *table, int from)
{
    for (uint64_t hash = 0; hash < HASHES; hash++) {
        int count = 0;
        for (struct hash_node *node = hash_table_first(table, hash);
             node != NULL; node = hash_table_next(node)) {
            ptrdiff_t index = thing_of(node) - things;
            assert_true(index >= from);
            assert_int_equal((uint64_t)index % HASHES, hash);
            count++;
        }
        int wanted = 0;
        for (int i = (int)hash; i < THINGS; i += HASHES) {
            wanted += i >= from ? 1 : 0;
        }
        assert_int_equal(count, wanted);
    }
}

static void what_is_in_is_found_and_else_nothing(void **state)
{
    (void)state;
    struct hash_table table = {0};

    assert_null(hash_table_first(&table, 1));
    for (int i = 0; i < THINGS; i++) {
        assert_int_equal(
            hash_table_add(&table, &things[i].node, (uint64_t)i % HASHES),
            ERR_OK);
    }
    all_are_found(&table, 0);
    for (int i = 0; i < THINGS; i++) {
        hash_table_remove(&table, &things[i].node);
        if (i % 500 == 0) {
            all_are_found(&table, i + 1);
        }
    }
    assert_int_equal(table.count, 0);
    hash_table_fini(&table);
}

static void a_walk_meets_each_and_may_take_it_out(void **state)
{
    (void)state;
    struct hash_table table = {0};
    uint32_t bucket = 0;
    int count = 0;

    assert_null(hash_table_each(&table, &bucket, NULL));
    for (int i = 0; i < THINGS; i++) {
        things[i].seen = false;
        assert_int_equal(
            hash_table_add(&table, &things[i].node, (uint64_t)i * 77), ERR_OK);
    }
    struct hash_node *node = hash_table_each(&table, &bucket, NULL);
    while (node != NULL) {
        struct hash_node *next = hash_table_each(&table, &bucket, node);
        assert_false(thing_of(node)->seen);
        thing_of(node)->seen = true;
        hash_table_remove(&table, node);
        count++;
        node = next;
    }
    assert_int_equal(count, THINGS);
    assert_int_equal(table.count, 0);
    hash_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_is_found_and_else_nothing),
        cmocka_unit_test(a_walk_meets_each_and_may_take_it_out),
    };

    return cmocka_run_group_tests_name("base_hash_table", tests, NULL, NULL);
}
