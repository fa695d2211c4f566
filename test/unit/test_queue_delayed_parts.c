/* The parts of delayed messages that decide without I/O: the set of numbers,
 * the bounded index, the notes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "queue/delayed_bits.h"
#include "queue/delayed_index.h"
#include "queue/delayed_note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A repeatable row of numbers. */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return *state >> 33;
}

/* --- the set -------------------------------------------------------------- */

static void a_set_has_what_was_put_in(void **state)
{
    struct delayed_bits bits = {0};
    uint64_t random = 1;
    static bool model[100000];

    (void)state;
    memset(model, 0, sizeof(model));
    uint64_t count = 0;
    for (int i = 0; i < 50000; i++) {
        uint64_t sequence = next_random(&random) % 100000;
        bool put = next_random(&random) % 3 > 0;
        if (put) {
            assert_int_equal(delayed_bits_set(&bits, sequence), ERR_OK);
        } else {
            delayed_bits_clear(&bits, sequence);
        }
        count += (uint64_t)(put && !model[sequence]);
        count -= (uint64_t)(!put && model[sequence]);
        model[sequence] = put;
        assert_int_equal(bits.count, count);
    }
    for (uint64_t sequence = 0; sequence < 100000; sequence++) {
        assert_int_equal(delayed_bits_has(&bits, sequence), model[sequence]);
    }
    assert_false(delayed_bits_has(&bits, UINT64_MAX));
    delayed_bits_fini(&bits);
    assert_int_equal(bits.count, 0);
    assert_false(delayed_bits_has(&bits, 5));
}

static void a_set_costs_nothing_where_it_is_empty(void **state)
{
    struct delayed_bits bits = {0};
    size_t chunks = 0;

    (void)state;
    assert_int_equal(delayed_bits_set(&bits, 10U * 1000 * 1000), ERR_OK);
    for (size_t index = 0; index < bits.chunk_count; index++) {
        chunks += bits.chunks[index] != NULL;
    }
    assert_int_equal(chunks, 1);
    delayed_bits_clear(&bits, 3); /* of a chunk that there is not */
    assert_int_equal(bits.count, 1);
    delayed_bits_fini(&bits);
}

static void a_set_finds_what_is_next_and_drops_what_was(void **state)
{
    static const uint64_t numbers[] = {
        0,
        63,
        64,
        DELAYED_BITS_CHUNK - 1,
        5 * DELAYED_BITS_CHUNK + 7, /* chunks between are not there */
        6 * DELAYED_BITS_CHUNK,
    };
    enum { COUNT = sizeof(numbers) / sizeof(numbers[0]) };
    const uint64_t end = (uint64_t)7 * DELAYED_BITS_CHUNK;
    struct delayed_bits bits = {0};
    uint64_t at = 0;

    (void)state;
    assert_int_equal(delayed_bits_next(&bits, 3, 9), 9);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(delayed_bits_set(&bits, numbers[i]), ERR_OK);
    }
    for (size_t i = 0; i < COUNT; i++) {
        at = delayed_bits_next(&bits, at, end);
        assert_int_equal(at, numbers[i]);
        at++;
    }
    assert_int_equal(delayed_bits_next(&bits, at, end), end);
    assert_int_equal(delayed_bits_next(&bits, 1, 63), 63);
    delayed_bits_drop(&bits, 64);
    assert_int_equal(bits.count, COUNT - 2);
    assert_int_equal(delayed_bits_next(&bits, 0, end), 64);
    delayed_bits_drop(&bits, numbers[4]);
    assert_int_equal(bits.count, 2);
    assert_null(bits.chunks[0]);
    assert_true(delayed_bits_has(&bits, numbers[4]));
    delayed_bits_drop(&bits, end);
    assert_int_equal(bits.count, 0);
    delayed_bits_fini(&bits);
}

/* --- the index ------------------------------------------------------------ */

static struct delayed_key key_of(uint64_t due_ms, uint64_t sequence)
{
    return (struct delayed_key){.due_ms = due_ms, .sequence = sequence};
}

static void load_all(struct delayed_index *index,
                     const struct delayed_key *keys,
                     size_t count)
{
    struct delayed_key limit = key_of(UINT64_MAX, UINT64_MAX);

    delayed_index_load(index, &limit);
    for (size_t i = 0; i < count && index->loading; i++) {
        if (delayed_index_compare(&keys[i], &index->horizon) > 0) {
            delayed_index_add(index, &keys[i]);
        }
    }
    delayed_index_loaded(index);
}

static int compare_keys(const void *left, const void *right)
{
    return delayed_index_compare(left, right);
}

/* However many there are, all come out, in order, out of a small index. */
static void all_come_in_order_through_a_small_index(void **state)
{
    enum { COUNT = 3000, ROOM = 100 };
    static struct delayed_key keys[COUNT];
    struct delayed_index index;
    uint64_t random = 7;
    int loads = 0;

    (void)state;
    for (uint64_t i = 0; i < COUNT; i++) {
        keys[i] = key_of(1 + next_random(&random) % 500, i);
    }
    delayed_index_init(&index, ROOM);
    struct delayed_key *left = malloc(sizeof(keys));
    assert_non_null(left);
    memcpy(left, keys, sizeof(keys));
    qsort(keys, COUNT, sizeof(keys[0]), compare_keys);
    for (size_t i = 0; i < COUNT; i++) {
        const struct delayed_key *first = delayed_index_first(&index);
        if (first == NULL) {
            load_all(&index, left, COUNT);
            loads++;
            first = delayed_index_first(&index);
        }
        assert_non_null(first);
        assert_int_equal(delayed_index_compare(first, &keys[i]), 0);
        assert_true(index.count <= ROOM);
        delayed_index_take(&index);
    }
    assert_null(delayed_index_first(&index));
    assert_true(loads >= COUNT / ROOM && loads <= 2 * COUNT / ROOM + 1);
    free(left);
    delayed_index_fini(&index);
}

static void what_lies_behind_the_horizon_is_not_added(void **state)
{
    struct delayed_index index;
    struct delayed_key limit = key_of(100, UINT64_MAX);
    struct delayed_key near = key_of(100, 3);
    struct delayed_key far = key_of(101, 1);

    (void)state;
    delayed_index_init(&index, 8);
    delayed_index_add(&index, &near);
    assert_int_equal(index.count, 0); /* nothing was loaded yet */
    delayed_index_load(&index, &limit);
    delayed_index_add(&index, &near);
    delayed_index_add(&index, &far);
    assert_int_equal(index.count, 1);
    assert_null(delayed_index_first(&index)); /* it may not be the first */
    delayed_index_loaded(&index);
    assert_non_null(delayed_index_first(&index));
    delayed_index_add(&index, &far);
    assert_int_equal(index.count, 1);
    delayed_index_fini(&index);
}

/* A full index that gets earlier ones forgets later ones, and says so. */
static void a_full_index_forgets_the_later_half(void **state)
{
    struct delayed_index index;
    struct delayed_key limit = key_of(1000, UINT64_MAX);

    (void)state;
    delayed_index_init(&index, 64);
    delayed_index_load(&index, &limit);
    delayed_index_loaded(&index);
    for (uint64_t i = 0; i < 64; i++) {
        struct delayed_key key = key_of(500 + i, i);
        delayed_index_add(&index, &key);
    }
    assert_int_equal(index.count, 64);
    struct delayed_key early = key_of(10, 99);
    delayed_index_add(&index, &early);
    assert_int_equal(index.count, 33);
    assert_int_equal(index.horizon.due_ms, 531);
    assert_int_equal(delayed_index_first(&index)->due_ms, 10);
    /* One that is later than all that is left is forgotten, too. */
    struct delayed_key late = key_of(700, 100);
    delayed_index_add(&index, &late);
    assert_int_equal(index.count, 33);
    delayed_index_fini(&index);
}

static void a_load_that_is_given_up_leaves_the_horizon(void **state)
{
    struct delayed_index index;
    struct delayed_key limit = key_of(100, UINT64_MAX);
    struct delayed_key further = key_of(200, UINT64_MAX);
    struct delayed_key near = key_of(50, 1);
    struct delayed_key far = key_of(150, 2);

    (void)state;
    delayed_index_init(&index, 8);
    delayed_index_load(&index, &limit);
    delayed_index_add(&index, &near);
    delayed_index_loaded(&index);
    delayed_index_load(&index, &further);
    delayed_index_add(&index, &far);
    assert_int_equal(index.count, 2);
    delayed_index_load_stop(&index);
    assert_int_equal(index.count, 1);
    assert_int_equal(index.horizon.due_ms, 100);
    assert_int_equal(delayed_index_first(&index)->due_ms, 50);
    delayed_index_fini(&index);
}

/* --- notes ---------------------------------------------------------------- */

static void a_note_is_read_as_it_was_written(void **state)
{
    static char bytes[DELAYED_NOTE_SIZE_MAX];
    uint64_t sequences[] = {9, 3, 4, 5, 20, 8};
    struct delayed_note note;

    (void)state;
    size_t size =
        delayed_note_write(DELAYED_NOTE_CANCELLED, sequences, 6, bytes);
    assert_int_equal(size, 8 + 3 * 16);
    assert_int_equal(delayed_note_read((struct str){bytes, size}, &note),
                     ERR_OK);
    assert_int_equal(note.kind, DELAYED_NOTE_CANCELLED);
    assert_int_equal(note.count, 3);
    assert_int_equal(delayed_note_range(&note, 0).first, 3);
    assert_int_equal(delayed_note_range(&note, 0).end, 6);
    assert_int_equal(delayed_note_range(&note, 1).first, 8);
    assert_int_equal(delayed_note_range(&note, 1).end, 10);
    assert_int_equal(delayed_note_range(&note, 2).first, 20);
    assert_int_equal(delayed_note_range(&note, 2).end, 21);
}

static void the_largest_note_fits(void **state)
{
    static char bytes[DELAYED_NOTE_SIZE_MAX];
    static uint64_t sequences[DELAYED_NOTE_COUNT_MAX];
    struct delayed_note note;

    (void)state;
    for (uint64_t i = 0; i < DELAYED_NOTE_COUNT_MAX; i++) {
        sequences[i] = 2 * (DELAYED_NOTE_COUNT_MAX - i);
    }
    size_t size = delayed_note_write(DELAYED_NOTE_HANDED, sequences,
                                     DELAYED_NOTE_COUNT_MAX, bytes);
    assert_int_equal(size, DELAYED_NOTE_SIZE_MAX);
    assert_int_equal(delayed_note_read((struct str){bytes, size}, &note),
                     ERR_OK);
    assert_int_equal(note.count, DELAYED_NOTE_COUNT_MAX);
}

static void what_is_no_note_is_refused(void **state)
{
    static char bytes[DELAYED_NOTE_SIZE_MAX];
    static char bad[DELAYED_NOTE_SIZE_MAX];
    uint64_t sequences[] = {3, 5};
    struct delayed_note note;

    (void)state;
    size_t size = delayed_note_write(DELAYED_NOTE_HANDED, sequences, 2, bytes);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(delayed_note_read((struct str){bytes, cut}, &note),
                         ERR_CORRUPT);
    }
    assert_int_equal(delayed_note_read((struct str){bytes, size + 16}, &note),
                     ERR_CORRUPT);
    const struct {
        size_t at;
        char value;
    } changes[] = {
        {0, 2},  /* version */
        {2, 0},  /* kind */
        {2, 3},  /* kind */
        {4, 0},  /* count */
        {4, 3},  /* count */
        {5, 8},  /* count */
        {8, 4},  /* the first range is empty */
        {16, 6}, /* the second is not behind the first */
        {16, 5}, /* they touch */
        {32, 5}, /* the second is empty */
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        memcpy(bad, bytes, size);
        bad[changes[i].at] = changes[i].value;
        assert_int_equal(delayed_note_read((struct str){bad, size}, &note),
                         ERR_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_has_what_was_put_in),
        cmocka_unit_test(a_set_costs_nothing_where_it_is_empty),
        cmocka_unit_test(a_set_finds_what_is_next_and_drops_what_was),
        cmocka_unit_test(all_come_in_order_through_a_small_index),
        cmocka_unit_test(what_lies_behind_the_horizon_is_not_added),
        cmocka_unit_test(a_full_index_forgets_the_later_half),
        cmocka_unit_test(a_load_that_is_given_up_leaves_the_horizon),
        cmocka_unit_test(a_note_is_read_as_it_was_written),
        cmocka_unit_test(the_largest_note_fits),
        cmocka_unit_test(what_is_no_note_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
