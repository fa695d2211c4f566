/* Tests of sys/file, with failures under it; and of the faults themselves.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/file.h"

#include "lib/fault.h"
#include "lib/scratch.h"
#include "sys/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_SIZE = 256 };

static char directory[SCRATCH_PATH_MAX];
static char path[PATH_SIZE];

static int setup(void **state)
{
    (void)state;
    if (scratch_make(directory) != 0) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "%s/file", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fault_remove();
    return scratch_remove(directory);
}

static int open_new(void)
{
    int fd = -1;
    assert_int_equal(file_open(path, FILE_WRITE | FILE_CREATE, &fd), ERR_OK);
    return fd;
}

static void fill_pattern(char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        data[i] = (char)(i * 7 + i / 256);
    }
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    static char data[100000];
    static char back[100001];
    size_t size = 0;
    int fd = open_new();
    fill_pattern(data, sizeof(data));
    assert_int_equal(file_write_at(fd, data, sizeof(data), 5, false), ERR_OK);
    assert_int_equal(file_write_at(fd, "first", 5, 0, true), ERR_OK);
    assert_int_equal(file_read_at(fd, back, sizeof(back), 5, &size), ERR_OK);
    assert_int_equal(size, sizeof(data)); /* the file's end */
    assert_memory_equal(back, data, sizeof(data));
    assert_int_equal(file_read_cached(fd, back, 5, 0, &size), ERR_OK);
    assert_int_equal(size, 5);
    assert_memory_equal(back, "first", 5);
    uint64_t file_bytes = 0;
    assert_int_equal(file_size(fd, &file_bytes), ERR_OK);
    assert_int_equal(file_bytes, sizeof(data) + 5);
    assert_int_equal(file_sync(fd), ERR_OK);
    assert_int_equal(file_sync_all(fd), ERR_OK);
    file_close(fd);
}

static void parts_are_gathered_and_scattered(void **state)
{
    (void)state;
    char left[4];
    char right[8];
    size_t size = 0;
    int fd = open_new();
    struct iovec out[] = {{"ab", 2}, {NULL, 0}, {"cdef", 4}, {"g", 1}};
    struct iovec in[] = {{left, sizeof(left)}, {right, sizeof(right)}};
    assert_int_equal(file_write_parts(fd, out, 4, 10, true), ERR_OK);
    assert_int_equal(file_read_parts(fd, in, 2, 10, &size), ERR_OK);
    assert_int_equal(size, 7);
    assert_memory_equal(left, "abcd", 4);
    assert_memory_equal(right, "efg", 3);
    file_close(fd);
}

static void open_tells_what_is_wrong(void **state)
{
    (void)state;
    int fd = -7;
    assert_int_equal(file_open(path, FILE_READ, &fd), ERR_NOT_FOUND);
    assert_int_equal(fd, -7);
    file_close(open_new());
    assert_int_equal(
        file_open(path, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &fd),
        ERR_EXISTS);
    assert_int_equal(file_open("/proc/self/status/x", FILE_READ, &fd), ERR_IO);
    const struct {
        int error_number;
        enum err err;
    } cases[] = {
        {ENOSPC, ERR_FULL},
        {EMFILE, ERR_BUSY},
        {EINVAL, ERR_UNSUPPORTED},
        {EIO, ERR_IO},
    };
    fault_install();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fault_set(&(struct fault_plan){.kinds = FAULT_OPEN,
                                       .at = 1,
                                       .error_number = cases[i].error_number});
        assert_int_equal(file_open(path, FILE_READ | FILE_DIRECT, &fd),
                         cases[i].err);
    }
    assert_int_equal(fd, -7);
}

/* One that somebody has put there must not hold a server for ever. */
static void a_pipe_for_reading_is_refused_at_once(void **state)
{
    (void)state;
    int fd = -1;
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(file_open(path, FILE_READ, &fd), ERR_IO);
    assert_int_equal(fd, -1);
    assert_int_equal(file_load(path, 10, &data, &size), ERR_IO);
    assert_int_equal(file_load_private(path, 10, &data, &size), ERR_IO);
    assert_null(data);
}

static void closing_nothing_is_fine(void **state)
{
    (void)state;
    file_close(-1);
    file_unmap(NULL, 0);
}

static void writing_goes_on_after_short_and_interrupted_calls(void **state)
{
    (void)state;
    char data[1000];
    char back[1000];
    size_t size = 0;
    int fd = open_new();
    fill_pattern(data, sizeof(data));
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .short_write = true});
    assert_int_equal(file_write_at(fd, data, sizeof(data), 0, false), ERR_OK);
    assert_int_equal(fault_count(FAULT_WRITE), 2);
    fault_set(&(struct fault_plan){
        .kinds = FAULT_ANY, .at = 1, .error_number = EINTR});
    assert_int_equal(file_read_at(fd, back, sizeof(back), 0, &size), ERR_OK);
    assert_true(fault_fired());
    assert_int_equal(size, sizeof(data));
    assert_memory_equal(back, data, sizeof(data));
    fault_set(&(struct fault_plan){
        .kinds = FAULT_SYNC, .at = 1, .error_number = EINTR});
    assert_int_equal(file_sync(fd), ERR_OK);
    assert_int_equal(fault_count(FAULT_SYNC), 2);
    file_close(fd);
}

static void a_short_write_on_a_full_disk_is_full(void **state)
{
    (void)state;
    char data[1000] = {1};
    uint64_t size = 0;
    int fd = open_new();
    fault_install();
    fault_set(&(struct fault_plan){.kinds = FAULT_WRITE,
                                   .at = 1,
                                   .short_write = true,
                                   .error_number = ENOSPC});
    assert_int_equal(file_write_at(fd, data, sizeof(data), 0, true), ERR_FULL);
    assert_int_equal(file_size(fd, &size), ERR_OK);
    assert_int_equal(size, sizeof(data) / 2);
    file_close(fd);
}

static void durable_writes_sync_where_the_flag_is_unknown(void **state)
{
    (void)state;
    int fd = open_new();
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EOPNOTSUPP});
    assert_int_equal(file_write_at(fd, "x", 1, 0, true), ERR_OK);
    assert_int_equal(fault_count(FAULT_WRITE), 2);
    assert_int_equal(fault_count(FAULT_FDATASYNC), 1);
    fault_reset();
    assert_int_equal(file_write_at(fd, "x", 1, 0, true), ERR_OK);
    assert_int_equal(fault_count(FAULT_FDATASYNC), 0);
    file_close(fd);
}

static void failures_are_full_or_io(void **state)
{
    (void)state;
    char byte;
    size_t size = 0;
    int fd = open_new();
    fault_install();
    struct fault_plan plan = {
        .kinds = FAULT_ANY, .at = 1, .error_number = EIO, .sticky = true};
    fault_set(&plan);
    assert_int_equal(file_write_at(fd, "x", 1, 0, false), ERR_IO);
    assert_int_equal(file_read_at(fd, &byte, 1, 0, &size), ERR_IO);
    assert_int_equal(file_sync(fd), ERR_IO);
    assert_int_equal(file_sync_all(fd), ERR_IO);
    assert_int_equal(file_truncate(fd, 3), ERR_IO);
    assert_int_equal(file_remove(path), ERR_IO);
    assert_int_equal(file_rename(path, path), ERR_IO);
    void *memory = NULL;
    assert_int_equal(file_map(fd, 1, false, &memory), ERR_IO);
    assert_null(memory);
    plan.error_number = EDQUOT;
    fault_set(&plan);
    assert_int_equal(file_write_at(fd, "x", 1, 0, false), ERR_FULL);
    assert_int_equal(file_sync(fd), ERR_FULL);
    assert_int_equal(file_truncate(fd, 3), ERR_FULL);
    assert_int_equal(file_fill(fd, 3), ERR_FULL);
    plan.error_number = EAGAIN;
    fault_set(&plan);
    assert_int_equal(file_read_cached(fd, &byte, 1, 0, &size), ERR_AGAIN);
    plan.error_number = ENOMEM;
    fault_set(&plan);
    assert_int_equal(file_map(fd, 1, false, &memory), ERR_NOMEM);
    file_close(fd);
}

static void fill_writes_zeros_to_the_last_byte(void **state)
{
    (void)state;
    const uint64_t wanted = (3U << 20) + 12345;
    int fd = open_new();
    fault_install();
    assert_int_equal(file_write_at(fd, "old", 3, 100, false), ERR_OK);
    fault_reset();
    assert_int_equal(file_fill(fd, wanted), ERR_OK);
    assert_true(fault_count(FAULT_WRITE) >= 3); /* written, not promised */
    assert_int_equal(fault_count(FAULT_FSYNC), 1);
    char *data = malloc(wanted + 1);
    size_t size = 0;
    assert_non_null(data);
    assert_int_equal(file_read_at(fd, data, wanted + 1, 0, &size), ERR_OK);
    assert_int_equal(size, wanted);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(data[i], 0);
    }
    free(data);
    /* No fallocate: the zeros do all. */
    fault_set(&(struct fault_plan){
        .kinds = FAULT_FALLOCATE, .at = 1, .error_number = EOPNOTSUPP});
    assert_int_equal(file_fill(fd, 4096), ERR_OK);
    file_close(fd);
}

static void maps_show_the_file(void **state)
{
    (void)state;
    void *memory = NULL;
    char byte = 0;
    size_t size = 0;
    int fd = open_new();
    assert_int_equal(file_truncate(fd, 8192), ERR_OK);
    assert_int_equal(file_map(fd, 8192, true, &memory), ERR_OK);
    ((char *)memory)[8000] = 'm';
    assert_int_equal(file_read_at(fd, &byte, 1, 8000, &size), ERR_OK);
    assert_int_equal(byte, 'm');
    file_unmap(memory, 8192);
    file_close(fd);
}

static void load_reads_all_or_refuses(void **state)
{
    (void)state;
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(file_load(path, 10, &data, &size), ERR_NOT_FOUND);
    assert_int_equal(file_replace(path, "0123456789", 10), ERR_OK);
    assert_int_equal(file_load(path, 9, &data, &size), ERR_TOO_LARGE);
    assert_null(data);
    assert_int_equal(file_load(path, 10, &data, &size), ERR_OK);
    assert_int_equal(size, 10);
    assert_string_equal(data, "0123456789");
    free(data);
}

static void names_are_renamed_and_removed(void **state)
{
    (void)state;
    char other[PATH_SIZE];
    (void)snprintf(other, sizeof(other), "%s/other", directory);
    assert_int_equal(file_rename(path, other), ERR_NOT_FOUND);
    assert_int_equal(file_remove(path), ERR_NOT_FOUND);
    file_close(open_new());
    assert_int_equal(file_rename(path, other), ERR_OK);
    assert_int_equal(file_link(other, other), ERR_EXISTS);
    assert_int_equal(file_link(other, path), ERR_OK);
    assert_int_equal(file_remove(path), ERR_OK);
    assert_int_equal(file_link(path, path), ERR_NOT_FOUND);
    assert_int_equal(file_remove(other), ERR_OK);
}

static void assert_content(const char *left, const char *right)
{
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(file_load(path, 1000, &data, &size), ERR_OK);
    assert_true(strcmp(data, left) == 0 || strcmp(data, right) == 0);
    free(data);
}

/* Fail each call of a replacement in turn. */
static void sweep_replace(struct fault_plan plan, enum err want)
{
    const char *before = "the content before";
    const char *after = "another content, after";
    uint64_t at = 1;
    for (;; at++) {
        fault_reset();
        assert_int_equal(file_replace(path, before, strlen(before)), ERR_OK);
        plan.at = at;
        fault_set(&plan);
        enum err err = file_replace(path, after, strlen(after));
        bool fired = fault_fired();
        bool renamed_only = fault_count(FAULT_FSYNC | FAULT_OPEN) >= 3;
        fault_reset();
        if (!fired) {
            assert_int_equal(err, ERR_OK);
            assert_content(after, after);
            break;
        }
        assert_true(err == want || (want == ERR_FULL && err == ERR_IO));
        assert_content(before, renamed_only ? after : before);
        /* It works again, and leaves nothing beside. */
        assert_int_equal(file_replace(path, after, strlen(after)), ERR_OK);
        assert_content(after, after);
        char beside[PATH_SIZE + 8];
        (void)snprintf(beside, sizeof(beside), "%s.new", path);
        assert_int_not_equal(access(beside, F_OK), 0);
    }
    assert_true(at > 5); /* open, write, sync, rename, open, sync */
}

static void replace_keeps_old_or_new_whatever_fails(void **state)
{
    (void)state;
    fault_install();
    sweep_replace((struct fault_plan){.kinds = FAULT_ANY, .error_number = EIO},
                  ERR_IO);
    sweep_replace(
        (struct fault_plan){.kinds = FAULT_ANY, .error_number = ENOSPC},
        ERR_FULL);
    sweep_replace((struct fault_plan){.kinds = FAULT_ANY,
                                      .error_number = ENOSPC,
                                      .short_write = true},
                  ERR_FULL);
}

static void replace_syncs_file_and_directory(void **state)
{
    (void)state;
    fault_install();
    assert_int_equal(file_replace(path, "x", 1), ERR_OK);
    assert_int_equal(fault_count(FAULT_FSYNC), 2);
    assert_int_equal(fault_count(FAULT_RENAME), 1);
}

static void faults_stick_when_told_to(void **state)
{
    (void)state;
    int fd = open_new();
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 2, .error_number = EIO});
    assert_int_equal(file_write_at(fd, "x", 1, 0, false), ERR_OK);
    assert_false(fault_fired());
    assert_int_equal(file_write_at(fd, "x", 1, 0, false), ERR_IO);
    assert_true(fault_fired());
    assert_int_equal(file_write_at(fd, "x", 1, 0, false), ERR_OK);
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 2, .error_number = EIO, .sticky = true});
    assert_int_equal(file_write_at(fd, "x", 1, 0, false), ERR_OK);
    assert_int_equal(file_write_at(fd, "x", 1, 0, false), ERR_IO);
    assert_int_equal(file_write_at(fd, "x", 1, 0, false), ERR_IO);
    assert_int_equal(file_sync(fd), ERR_OK);
    assert_int_equal(fault_count(FAULT_WRITE), 3);
    assert_int_equal(fault_count(FAULT_ANY), 4);
    file_close(fd);
}

static void slow_syncs_are_slow(void **state)
{
    (void)state;
    int fd = open_new();
    fault_install();
    fault_slow_sync(20000);
    uint64_t start = clock_monotonic_ns();
    assert_int_equal(file_sync(fd), ERR_OK);
    assert_int_equal(file_write_at(fd, "x", 1, 0, true), ERR_OK);
    assert_true(clock_monotonic_ns() - start >= 40000000);
    file_close(fd);
}

static void private_file_is_read_only_while_it_is_private(void **state)
{
    (void)state;
    char *data = NULL;
    size_t size = 0;

    assert_int_equal(file_load_private(path, 100, &data, &size), ERR_NOT_FOUND);
    int fd = open_new();
    assert_int_equal(file_write_at(fd, "hidden", 6, 0, false), ERR_OK);
    file_close(fd);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(file_load_private(path, 100, &data, &size), ERR_DENIED);
    assert_int_equal(chmod(path, 0604), 0);
    assert_int_equal(file_load_private(path, 100, &data, &size), ERR_DENIED);
    assert_int_equal(file_load_private(directory, 100, &data, &size),
                     ERR_DENIED);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(file_load_private(path, 5, &data, &size), ERR_TOO_LARGE);
    assert_null(data);
    assert_int_equal(file_load_private(path, 100, &data, &size), ERR_OK);
    assert_int_equal(size, 6);
    assert_string_equal(data, "hidden");
    free(data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_back),
        TEST(parts_are_gathered_and_scattered),
        TEST(open_tells_what_is_wrong),
        TEST(a_pipe_for_reading_is_refused_at_once),
        TEST(closing_nothing_is_fine),
        TEST(writing_goes_on_after_short_and_interrupted_calls),
        TEST(a_short_write_on_a_full_disk_is_full),
        TEST(durable_writes_sync_where_the_flag_is_unknown),
        TEST(failures_are_full_or_io),
        TEST(fill_writes_zeros_to_the_last_byte),
        TEST(maps_show_the_file),
        TEST(load_reads_all_or_refuses),
        TEST(names_are_renamed_and_removed),
        TEST(replace_keeps_old_or_new_whatever_fails),
        TEST(replace_syncs_file_and_directory),
        TEST(faults_stick_when_told_to),
        TEST(slow_syncs_are_slow),
        TEST(private_file_is_read_only_while_it_is_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
