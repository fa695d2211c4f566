/* Tests of log/checkpoint: which one is in force, whatever happened to the
 * file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/checkpoint.h"

#include "lib/fault.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char directory[] = "/tmp/opq-checkpoint-XXXXXX";

static int setup(void **state)
{
    (void)state;
    memcpy(directory + sizeof(directory) - 7, "XXXXXX", 6);
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return dir_remove(directory) == ERR_OK ? 0 : -1;
}

static struct checkpoint made(uint64_t number)
{
    return (struct checkpoint){
        .number = number, .generation = number * 3, .offset = number * 4096};
}

static void put(uint64_t number)
{
    struct checkpoint checkpoint = made(number);
    assert_int_equal(checkpoint_write(directory, &checkpoint), ERR_OK);
}

static void expect(uint64_t number)
{
    struct checkpoint found;
    struct checkpoint wanted = made(number);
    assert_int_equal(checkpoint_load(directory, &found), ERR_OK);
    assert_memory_equal(&found, &wanted, sizeof(found));
}

/* Overwrite bytes of the file. */
static void damage(uint64_t offset, const char *bytes, size_t size)
{
    char path[DIR_PATH_MAX];
    int fd = -1;
    assert_int_equal(dir_join(path, directory, "checkpoint"), ERR_OK);
    assert_int_equal(file_open(path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, bytes, size, offset, false), ERR_OK);
    file_close(fd);
}

static void there_is_none_at_first(void **state)
{
    (void)state;
    expect(0);
}

static void the_last_one_is_in_force(void **state)
{
    (void)state;
    for (uint64_t number = 1; number < 20; number++) {
        put(number);
        expect(number);
    }
    put(500); /* numbers may jump */
    expect(500);
    put(501);
    expect(501);
}

static void a_torn_slot_leaves_the_one_before(void **state)
{
    (void)state;
    /* Each byte of a slot in turn is lost; 3 is in one, 4 in the other. */
    for (uint64_t at = 0; at < 36; at++) {
        assert_int_equal(dir_remove(directory), ERR_OK);
        assert_int_equal(dir_create(directory), ERR_OK);
        put(3);
        put(4);
        char found[1024];
        char path[DIR_PATH_MAX];
        char *data = NULL;
        size_t size = 0;
        assert_int_equal(dir_join(path, directory, "checkpoint"), ERR_OK);
        assert_int_equal(file_load(path, 1 << 20, &data, &size), ERR_OK);
        assert_true(size >= sizeof(found));
        uint64_t slot = (unsigned char)data[8] == 4 ? 0 : 512;
        char flipped = (char)(data[slot + at] ^ 0x40);
        free(data);
        damage(slot + at, &flipped, 1);
        expect(3);
        put(4);
        expect(4);
    }
}

static void every_failed_call_leaves_one_of_the_two(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    for (size_t e = 0; e < 2; e++) {
        uint64_t number = 1;
        for (uint64_t at = 1;; at++) {
            assert_int_equal(dir_remove(directory), ERR_OK);
            assert_int_equal(dir_create(directory), ERR_OK);
            if (at % 2 == 0) {
                put(number);
            }
            fault_install();
            fault_set(&(struct fault_plan){.kinds = FAULT_ANY,
                                           .at = at / 2 + 1,
                                           .error_number = errors[e],
                                           .short_write = at % 3 == 0});
            struct checkpoint next = made(number + 1);
            enum err err = checkpoint_write(directory, &next);
            bool fired = fault_fired();
            fault_remove();
            if (!fired) {
                assert_int_equal(err, ERR_OK);
                break;
            }
            struct checkpoint found;
            assert_int_equal(checkpoint_load(directory, &found), ERR_OK);
            uint64_t before = at % 2 == 0 ? number : 0;
            assert_true(found.number == before || found.number == number + 1);
            put(number + 1); /* the same again */
            expect(number + 1);
            put(number + 2);
            expect(number + 2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(there_is_none_at_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_last_one_is_in_force, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_torn_slot_leaves_the_one_before,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(every_failed_call_leaves_one_of_the_two,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
