/* Tests of log/topic_gaps: what was given up is known when it is read again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_gaps.h"

#include "lib/scratch.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static char directory[SCRATCH_PATH_MAX];

static int setup(void **state)
{
    (void)state;
    return scratch_make(directory);
}

static int teardown(void **state)
{
    (void)state;
    return scratch_remove(directory);
}

static void add(struct topic_gaps *gaps, uint64_t first, uint64_t end)
{
    assert_int_equal(topic_gaps_add(gaps, first, end), ERR_OK);
}

static void check(const struct topic_gaps *gaps,
                  const struct topic_gap *wanted,
                  size_t count)
{
    assert_int_equal(gaps->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(gaps->gaps[i].first, wanted[i].first);
        assert_int_equal(gaps->gaps[i].end, wanted[i].end);
    }
}

static void test_ranges_are_brought_together(void **state)
{
    (void)state;
    struct topic_gaps gaps = {0};
    add(&gaps, 50, 60);
    add(&gaps, 10, 20);
    add(&gaps, 30, 40);
    check(&gaps, (struct topic_gap[]){{10, 20}, {30, 40}, {50, 60}}, 3);
    add(&gaps, 20, 25); /* touches */
    check(&gaps, (struct topic_gap[]){{10, 25}, {30, 40}, {50, 60}}, 3);
    add(&gaps, 12, 13); /* inside */
    add(&gaps, 24, 51); /* over two */
    check(&gaps, (struct topic_gap[]){{10, 60}}, 1);
    add(&gaps, 0, 1);
    add(&gaps, 99, 100);
    check(&gaps, (struct topic_gap[]){{0, 1}, {10, 60}, {99, 100}}, 3);
    topic_gaps_fini(&gaps);
}

static void test_what_is_within_is_known(void **state)
{
    (void)state;
    struct topic_gaps gaps = {0};
    assert_false(topic_gaps_has(&gaps, 1, 2));
    assert_true(topic_gaps_has(&gaps, 2, 2));
    add(&gaps, 10, 20);
    assert_true(topic_gaps_has(&gaps, 10, 20));
    assert_true(topic_gaps_has(&gaps, 12, 13));
    assert_false(topic_gaps_has(&gaps, 9, 11));
    assert_false(topic_gaps_has(&gaps, 19, 21));
    topic_gaps_fini(&gaps);
}

static void test_stored_and_loaded(void **state)
{
    (void)state;
    struct topic_gaps gaps = {0};
    struct topic_gaps again = {0};
    assert_int_equal(topic_gaps_load(directory, &again), ERR_OK);
    assert_int_equal(again.count, 0);
    for (uint64_t i = 0; i < 100; i++) {
        add(&gaps, i * 10, i * 10 + 5);
    }
    assert_int_equal(topic_gaps_store(directory, &gaps), ERR_OK);
    assert_int_equal(topic_gaps_load(directory, &again), ERR_OK);
    check(&again, gaps.gaps, 100);
    topic_gaps_fini(&gaps);
    topic_gaps_fini(&again);
}

/* A byte that is another one is found, whichever it is. */
static void test_each_flipped_byte_is_found(void **state)
{
    (void)state;
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;
    struct topic_gaps gaps = {0};
    add(&gaps, 17, 20);
    assert_int_equal(topic_gaps_store(directory, &gaps), ERR_OK);
    assert_int_equal(dir_join(path, directory, "gaps"), ERR_OK);
    assert_int_equal(file_load(path, 4096, &data, &size), ERR_OK);
    for (size_t i = 0; i < size; i++) {
        struct topic_gaps again = {0};
        data[i] ^= 1;
        assert_int_equal(file_replace(path, data, size), ERR_OK);
        enum err err = topic_gaps_load(directory, &again);
        assert_true(err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
        assert_null(again.gaps);
        data[i] ^= 1;
    }
    free(data);
    topic_gaps_fini(&gaps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_are_brought_together),
        cmocka_unit_test(test_what_is_within_is_known),
        cmocka_unit_test_setup_teardown(test_stored_and_loaded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_each_flipped_byte_is_found, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
