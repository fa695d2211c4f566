/* Tests of sys/process: what the process takes of the machine.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void usage_is_known(void **state)
{
    (void)state;
    struct process_usage usage;
    process_usage(&usage);
    assert_true(usage.resident_bytes > 64 * 1024);
    assert_true(usage.virtual_bytes > usage.resident_bytes);
    assert_true(usage.files_open >= 3);
    assert_true(usage.files_max >= usage.files_open);
}

static void open_files_are_counted(void **state)
{
    (void)state;
    struct process_usage before;
    struct process_usage after;
    int fds[2];
    process_usage(&before);
    assert_int_equal(pipe(fds), 0);
    process_usage(&after);
    assert_int_equal(after.files_open, before.files_open + 2);
    (void)close(fds[0]);
    (void)close(fds[1]);
    process_usage(&after);
    assert_int_equal(after.files_open, before.files_open);
}

static void memory_in_use_is_resident(void **state)
{
    (void)state;
    enum { SIZE = 32 << 20 };
    struct process_usage before;
    struct process_usage after;
    process_usage(&before);
    char *memory = malloc(SIZE);
    assert_non_null(memory);
    memset(memory, 1, SIZE);
    __asm__ volatile("" : : "r"(memory) : "memory"); /* it is used */
    process_usage(&after);
    free(memory);
    assert_true(after.resident_bytes >= before.resident_bytes + SIZE / 2);
}

static void work_takes_time_of_the_processor(void **state)
{
    (void)state;
    struct process_usage before;
    struct process_usage after;
    process_usage(&before);
    do {
        process_usage(&after);
    } while (after.cpu_us < before.cpu_us + 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_is_known),
        cmocka_unit_test(open_files_are_counted),
        cmocka_unit_test(memory_in_use_is_resident),
        cmocka_unit_test(work_takes_time_of_the_processor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
