/* Tests of queue/id_table: against a plain model, with growth and shrinking,
 * equal hashes, crowded buckets, and what an entry costs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/id_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MODEL_COUNT = 4096, STEPS = 200000 };

struct model {
    bool there;
    uint32_t index;
    uint64_t value;
};

static struct model model[MODEL_COUNT];

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = random_state;
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

/* Hashes that share their first word by eights, so that rows are long. */
static struct siphash hash_of(uint32_t number)
{
    return (struct siphash){(number / 8) * UINT64_C(0x9e3779b97f4a7c15),
                            number};
}

static void add(struct id_table *table, uint32_t number, uint64_t value)
{
    struct siphash hash = hash_of(number);

    assert_int_equal(id_table_insert(table, &hash, &model[number].index),
                     ERR_OK);
    id_table_set_value(id_table_entry(table, model[number].index), value);
    model[number].there = true;
    model[number].value = value;
}

static void drop(struct id_table *table, uint32_t number)
{
    id_table_remove(table, model[number].index);
    model[number].there = false;
}

static void expect_model(const struct id_table *table)
{
    uint32_t count = 0;

    for (uint32_t number = 0; number < MODEL_COUNT; number++) {
        struct siphash hash = hash_of(number);
        uint32_t index = id_table_find(table, &hash, ID_TABLE_NONE);
        if (!model[number].there) {
            assert_true(index == ID_TABLE_NONE);
            continue;
        }
        count++;
        assert_true(index == model[number].index);
        assert_true(id_table_value(id_table_entry(table, index)) ==
                    model[number].value);
        assert_true(id_table_find(table, &hash, index) == ID_TABLE_NONE);
    }
    assert_int_equal(table->count, count);
}

static void table_holds_what_a_model_holds(void **state)
{
    (void)state;
    struct id_table table;

    id_table_init(&table);
    random_state = 7;
    expect_model(&table);
    for (int step = 0; step < STEPS; step++) {
        uint32_t number = (uint32_t)(random_next() % MODEL_COUNT);
        /* It grows to three quarters, shrinks to nothing, and again. */
        bool growing = step / (STEPS / 4) % 2 == 0;
        if (!model[number].there && growing) {
            add(&table, number, random_next());
        } else if (model[number].there && (!growing || step % 4 == 0)) {
            drop(&table, number);
        }
        if (step % 9973 == 0) {
            expect_model(&table);
        }
    }
    for (uint32_t number = 0; number < MODEL_COUNT; number++) {
        if (model[number].there) {
            drop(&table, number);
        }
    }
    expect_model(&table);
    id_table_fini(&table);
}

static void equal_hashes_are_all_found_one_behind_the_other(void **state)
{
    (void)state;
    struct id_table table;
    struct siphash hash = {1, 2};
    struct siphash other = {1, 3};
    uint32_t indexes[5];
    uint32_t seen = 0;

    id_table_init(&table);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(
            id_table_insert(&table, i == 2 ? &other : &hash, &indexes[i]),
            ERR_OK);
    }
    uint32_t index = id_table_find(&table, &hash, ID_TABLE_NONE);
    while (index != ID_TABLE_NONE) {
        for (uint32_t i = 0; i < 5; i++) {
            seen |= index == indexes[i] ? 1U << i : 0;
        }
        index = id_table_find(&table, &hash, index);
    }
    assert_int_equal(seen, 1 | 2 | 8 | 16);
    id_table_remove(&table, indexes[0]);
    assert_true(id_table_find(&table, &other, ID_TABLE_NONE) == indexes[2]);
    id_table_fini(&table);
}

static void million_entries_cost_forty_bytes_each_and_go_with_them(void **state)
{
    (void)state;
    enum { COUNT = 1000000 };
    struct id_table table;
    uint32_t *indexes = malloc(COUNT * sizeof(*indexes));

    assert_non_null(indexes);
    id_table_init(&table);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct siphash hash = {i * UINT64_C(0x9e3779b97f4a7c15), i};
        assert_int_equal(id_table_insert(&table, &hash, &indexes[i]), ERR_OK);
    }
    assert_true(table.bucket_count >= COUNT);
    /* Half a chunk of each, and pointers to the chunks, beyond it. */
    assert_true(id_table_bytes(&table) <
                UINT64_C(40) * COUNT + UINT64_C(80) * 1024);
    for (uint32_t i = 0; i < COUNT; i++) {
        id_table_remove(&table, indexes[i]);
    }
    assert_true(id_table_bytes(&table) < UINT64_C(80) * 1024);
    free(indexes);
    id_table_fini(&table);
    assert_int_equal(id_table_bytes(&table), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_holds_what_a_model_holds),
        cmocka_unit_test(equal_hashes_are_all_found_one_behind_the_other),
        cmocka_unit_test(
            million_entries_cost_forty_bytes_each_and_go_with_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
