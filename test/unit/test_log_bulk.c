/* Tests of large writes: whatever the place, the size and the parts, the file
 * holds what was given, past the page cache or not, or the write says that it
 * failed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/scratch.h"
#include "log/bulk.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    BLOCK = FILE_DIRECT_ALIGN,
    FILE_SIZE = 400 * 1024, /* more than any test writes */
    PARTS = 7,
};

struct world {
    char directory[SCRATCH_PATH_MAX];
    int fd;
    char *given;    /* what is written */
    char *expected; /* what the file is to hold */
    char *found;
};

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    char path[DIR_PATH_MAX];
    assert_non_null(world);
    assert_int_equal(scratch_make(world->directory), 0);
    assert_int_equal(dir_join(path, world->directory, "file"), ERR_OK);
    assert_int_equal(file_open(path, FILE_WRITE | FILE_CREATE, &world->fd),
                     ERR_OK);
    world->given = malloc(FILE_SIZE);
    world->expected = calloc(1, FILE_SIZE);
    world->found = malloc(FILE_SIZE);
    assert_true(world->given != NULL && world->expected != NULL &&
                world->found != NULL);
    for (size_t i = 0; i < FILE_SIZE; i++) {
        world->given[i] = (char)(i * 7 + i / 251);
    }
    fault_install();
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    fault_remove();
    file_close(world->fd);
    assert_int_equal(scratch_remove(world->directory), 0);
    free(world->given);
    free(world->expected);
    free(world->found);
    free(world);
    return 0;
}

/* Write `size` bytes from parts of odd sizes. */
static enum err write_some(struct world *world,
                           uint64_t offset,
                           size_t size,
                           enum bulk_way *out_way)
{
    struct iovec parts[PARTS];
    size_t at = 0;
    for (int i = 0; i < PARTS; i++) {
        size_t part = i == PARTS - 1 ? size - at : (size - at) / 3;
        parts[i] = (struct iovec){world->given + at, part};
        at += part;
    }
    return bulk_write(world->fd, parts, PARTS, offset, size, out_way);
}

static void expect(struct world *world, size_t size)
{
    size_t found = 0;
    assert_int_equal(
        file_read_at(world->fd, world->found, FILE_SIZE, 0, &found), ERR_OK);
    assert_int_equal(found, size);
    assert_memory_equal(world->found, world->expected, size);
}

/* Tell whether the file system of the tests has direct writes. */
static bool has_direct(const struct world *world)
{
    bool has = file_set_direct(world->fd, true);
    assert_true(file_set_direct(world->fd, false));
    return has;
}

static void any_place_and_size_is_written(void **state)
{
    struct world *world = *state;
    static const size_t sizes[] = {1,
                                   BLOCK - 1,
                                   BLOCK,
                                   BULK_DIRECT_MIN - 1,
                                   BULK_DIRECT_MIN,
                                   BULK_DIRECT_MIN + 1,
                                   BULK_DIRECT_MIN + BLOCK,
                                   BULK_DIRECT_MIN + 2 * BLOCK - 1,
                                   3 * BULK_DIRECT_MIN + 17};
    static const uint64_t offsets[] = {0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t j = 0; j < sizeof(offsets) / sizeof(offsets[0]); j++) {
            uint64_t offset = offsets[j];
            uint64_t first = (offset + BLOCK - 1) / BLOCK * BLOCK;
            uint64_t last = (offset + sizes[i]) / BLOCK * BLOCK;
            enum bulk_way way = BULK_REFUSED;
            assert_int_equal(file_truncate(world->fd, 0), ERR_OK);
            memset(world->expected, 0, FILE_SIZE);
            memcpy(world->expected + offset, world->given, sizes[i]);
            assert_int_equal(write_some(world, offset, sizes[i], &way), ERR_OK);
            bool large = last >= first + BULK_DIRECT_MIN;
            enum bulk_way best = has_direct(world) ? BULK_DIRECT : BULK_REFUSED;
            assert_int_equal(way, large ? best : BULK_CACHED);
            expect(world, offset + sizes[i]);
        }
    }
}

static void writes_may_follow_each_other(void **state)
{
    struct world *world = *state;
    size_t end = 0;
    enum bulk_way way;
    for (size_t size = 50000; end + size < FILE_SIZE; size += 31111) {
        memcpy(world->expected + end, world->given, size);
        assert_int_equal(write_some(world, end, size, &way), ERR_OK);
        end += size;
        expect(world, end); /* reading has it in the page cache */
    }
    assert_true(end > 3 * BULK_DIRECT_MIN);
}

static void a_failed_write_is_told_or_made_good(void **state)
{
    struct world *world = *state;
    static const struct fault_plan plans[] = {
        {.kinds = FAULT_WRITE, .error_number = EIO},
        {.kinds = FAULT_WRITE, .error_number = EINVAL},
        {.kinds = FAULT_WRITE, .error_number = ENOSPC},
        {.kinds = FAULT_WRITE, .error_number = ENOSPC, .sticky = true},
        {.kinds = FAULT_WRITE, .error_number = EIO, .sticky = true},
        {.kinds = FAULT_WRITE, .error_number = EINTR},
        {.kinds = FAULT_WRITE, .short_write = true},
    };
    const size_t size = BULK_DIRECT_MIN + 3 * BLOCK;
    for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
        uint64_t at = 1;
        for (bool fired = true; fired; at++) {
            struct fault_plan plan = plans[i];
            plan.at = at;
            assert_int_equal(file_truncate(world->fd, 0), ERR_OK);
            memset(world->expected, 0, FILE_SIZE);
            memcpy(world->expected + 5, world->given, size);
            fault_set(&plan);
            enum bulk_way way;
            enum err err = write_some(world, 5, size, &way);
            fired = fault_fired();
            fault_reset();
            if (err == ERR_OK) {
                expect(world, 5 + size);
            } else {
                assert_true(fired);
                assert_int_equal(err, plan.error_number == ENOSPC ? ERR_FULL
                                                                  : ERR_IO);
            }
        }
        assert_true(at > 3); /* head, blocks, tail */
    }
}

static void
what_cannot_be_written_directly_is_written_all_the_same(void **state)
{
    struct world *world = *state;
    const size_t size = 2 * BULK_DIRECT_MIN;
    if (!has_direct(world)) {
        return; /* nothing to be refused */
    }
    memcpy(world->expected, world->given, size);
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EINVAL});
    enum bulk_way way;
    assert_int_equal(write_some(world, 0, size, &way), ERR_OK);
    assert_int_equal(way, BULK_REFUSED);
    assert_true(fault_fired());
    assert_int_equal(fault_count(FAULT_WRITE), 2);
    fault_reset();
    expect(world, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_place_and_size_is_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(writes_may_follow_each_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_failed_write_is_told_or_made_good,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_cannot_be_written_directly_is_written_all_the_same, setup,
            teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
