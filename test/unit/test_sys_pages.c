/* Tests of sys/pages.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    SIZE = PAGES_SIZE_MAX,
    RUNS = 256,
};

/* Whether the kernel keeps pages of ours for it. */
static bool is_resident(void *run, size_t size)
{
    unsigned char pages[PAGES_SIZE_MAX / 4096] = {0};
    assert_int_equal(mincore(run, size, pages), 0);
    for (size_t i = 0; i < size / 4096; i++) {
        if ((pages[i] & 1) != 0) {
            return true;
        }
    }
    return false;
}

static void take_all(void **runs, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        runs[i] = pages_take(size);
        assert_non_null(runs[i]);
        memset(runs[i], (int)i, size);
    }
}

static void give_all(void **runs, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        pages_give(runs[i], size);
    }
}

static size_t count_resident(void **runs, size_t count, size_t size)
{
    size_t resident = 0;
    for (size_t i = 0; i < count; i++) {
        resident += is_resident(runs[i], size) ? 1 : 0;
    }
    return resident;
}

/* Leave nothing that is not wanted. */
static int settle(void **state)
{
    (void)state;
    (void)pages_release();
    (void)pages_release();
    return 0;
}

static void a_size_is_rounded_up_to_one_there_is(void **state)
{
    (void)state;
    assert_int_equal(pages_fit(1), PAGES_SIZE_MIN);
    assert_int_equal(pages_fit(PAGES_SIZE_MIN), PAGES_SIZE_MIN);
    assert_int_equal(pages_fit(PAGES_SIZE_MIN + 1), 2 * PAGES_SIZE_MIN);
    assert_int_equal(pages_fit(PAGES_SIZE_MAX), PAGES_SIZE_MAX);
}

static void runs_of_all_sizes_do_not_overlap(void **state)
{
    (void)state;
    for (size_t size = PAGES_SIZE_MIN; size <= PAGES_SIZE_MAX;
         size += PAGES_SIZE_MIN) {
        void *runs[RUNS];
        take_all(runs, RUNS, size);
        for (size_t i = 0; i < RUNS; i++) {
            const unsigned char *bytes = runs[i];
            assert_int_equal((uintptr_t)runs[i] % 8, 0);
            assert_int_equal(bytes[0], i);
            assert_int_equal(bytes[size - 1], i);
        }
        give_all(runs, RUNS, size);
    }
}

static void what_nobody_wants_is_released_and_can_be_had_again(void **state)
{
    (void)state;
    void *runs[RUNS];
    take_all(runs, RUNS, SIZE);
    assert_int_equal(pages_release(), 0); /* all in use */
    give_all(runs, RUNS, SIZE);
    assert_int_equal(pages_release(), 0); /* they were, since the last one */
    assert_int_equal(count_resident(runs, RUNS, SIZE), RUNS);
    assert_int_equal(pages_release(), RUNS * SIZE);
    assert_int_equal(count_resident(runs, RUNS, SIZE), 0);
    assert_int_equal(pages_release(), 0);
    take_all(runs, RUNS, SIZE);
    assert_int_equal(count_resident(runs, RUNS, SIZE), RUNS);
    give_all(runs, RUNS, SIZE);
}

static void what_a_steady_load_uses_is_kept(void **state)
{
    (void)state;
    enum { USED = 10 };
    void *runs[RUNS];
    void *used[USED];
    take_all(runs, RUNS, SIZE);
    give_all(runs, RUNS, SIZE);
    (void)pages_release();
    take_all(used, USED, SIZE);
    give_all(used, USED, SIZE);
    assert_int_equal(pages_release(), (RUNS - USED) * SIZE);
    assert_int_equal(count_resident(used, USED, SIZE), USED);
    take_all(used, USED, SIZE);
    assert_int_equal(pages_release(), 0);
    give_all(used, USED, SIZE);
}

static void *take_and_give(void *context)
{
    for (int round = 0; round < 2000; round++) {
        void *runs[8];
        for (size_t i = 0; i < 8; i++) {
            runs[i] = pages_take(SIZE);
            *(void **)runs[i] = context;
        }
        for (size_t i = 0; i < 8; i++) {
            if (*(void **)runs[i] != context) {
                return "another one has it, or it was released";
            }
            pages_give(runs[i], SIZE);
        }
    }
    return NULL;
}

static void what_is_in_use_stays_while_others_take_and_release(void **state)
{
    (void)state;
    pthread_t threads[2];
    int names[2];
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, take_and_give, &names[i]), 0);
    }
    for (int i = 0; i < 2000; i++) {
        (void)pages_release();
    }
    for (size_t i = 0; i < 2; i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_is_rounded_up_to_one_there_is),
        cmocka_unit_test(runs_of_all_sizes_do_not_overlap),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test_setup(
            what_nobody_wants_is_released_and_can_be_had_again, settle),
        cmocka_unit_test_setup(what_a_steady_load_uses_is_kept, settle),
#endif
        cmocka_unit_test_setup(
            what_is_in_use_stays_while_others_take_and_release, settle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
