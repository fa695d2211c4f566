/* Tests of log/acked_file: what was noted is found again, whatever fails or is
 * damaged nothing else is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/acked_file.h"

#include "lib/fault.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/opq-acked-XXXXXX";
static char path[DIR_PATH_MAX];

enum { ID = 77, EPOCH = 5 };

#define M ((uint64_t)ACKED_PAGE_MESSAGES) /* of a page */

static int setup(void **state)
{
    (void)state;
    memcpy(directory + sizeof(directory) - 7, "XXXXXX", 6);
    return mkdtemp(directory) == NULL ||
                   dir_join(path, directory, "file") != ERR_OK
               ? -1
               : 0;
}

static int teardown(void **state)
{
    (void)state;
    return dir_remove(directory) == ERR_OK ? 0 : -1;
}

static struct acked_file *create(void)
{
    struct acked_file *file = NULL;
    assert_int_equal(acked_file_create(path, ID, EPOCH, &file), ERR_OK);
    return file;
}

static struct acked_file *reopen(struct acked_file *file)
{
    acked_file_close(file);
    file = NULL;
    assert_int_equal(acked_file_open(path, ID, EPOCH, &file), ERR_OK);
    return file;
}

/* Fail the test unless the file has this one run from `from` on. */
static void expect_run(const struct acked_file *file,
                       uint64_t from,
                       uint64_t first,
                       uint64_t end)
{
    struct topic_range run;
    assert_true(acked_file_next(file, from, &run));
    assert_int_equal(run.first, first);
    assert_int_equal(run.end, end);
}

static void expect_none(const struct acked_file *file, uint64_t from)
{
    struct topic_range run;
    assert_false(acked_file_next(file, from, &run));
}

/* Overwrite bytes of the file. */
static void damage(uint64_t offset, const char *bytes, size_t size)
{
    int fd = -1;
    assert_int_equal(file_open(path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, bytes, size, offset, false), ERR_OK);
    file_close(fd);
}

/* Bytes of the disk that the file takes. */
static uint64_t taken(void)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, ACKED_FILE_SIZE);
    return (uint64_t)status.st_blocks * 512;
}

static void what_was_noted_is_found(void **state)
{
    (void)state;
    const uint64_t far = UINT64_C(1) << 40;
    struct acked_file *file = create();
    assert_int_equal(acked_file_end(file), 0);
    expect_none(file, 0);
    assert_int_equal(acked_file_add(file, far, far + 5, far + 9), ERR_OK);
    assert_int_equal(acked_file_add(file, far, far + 3 * M, far + 6 * M + 1),
                     ERR_OK);
    assert_int_equal(acked_file_add(file, far, far + 9, far + 9), ERR_OK);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(acked_file_epoch(file), EPOCH);
        assert_int_equal(acked_file_end(file), far + 6 * M + 1);
        assert_int_equal(acked_file_damage(file).pages, 0);
        expect_run(file, far, far + 5, far + 9);
        expect_run(file, far + 8, far + 8, far + 9);
        expect_run(file, far + 9, far + 3 * M, far + 6 * M + 1);
        expect_run(file, far + 4 * M, far + 4 * M, far + 6 * M + 1);
        expect_none(file, far + 6 * M + 1);
        expect_run(file, far - 4 * M, far + 5, far + 9);
        file = reopen(file);
    }
    acked_file_close(file);
    assert_int_equal(acked_file_look(path, ID, EPOCH, &file), ERR_OK);
    expect_run(file, far, far + 5, far + 9);
    expect_run(file, far + 9, far + 3 * M, far + 6 * M + 1);
    acked_file_close(file);
    acked_file_close(NULL);
}

static void room_is_taken_by_pages_and_bounded(void **state)
{
    (void)state;
    struct acked_file *file = create();
    assert_true(taken() <= 4096);
    const uint64_t span = (ACKED_FILE_PAGES - 1) * M;
    assert_int_equal(span, ACKED_FILE_SPAN);
    assert_true(span >= 64000000);
    assert_int_equal(acked_file_add(file, 100, span + 99, span + 100), ERR_OK);
    assert_true(taken() <= UINT64_C(3) * 4096);
    assert_int_equal(acked_file_add(file, 0, 2 * span, 2 * span + 1),
                     ERR_RANGE);
    assert_int_equal(acked_file_add(file, 0, 200, 3 * span), ERR_RANGE);
    expect_run(file, 0, 200, span + ACKED_PAGE_MESSAGES);
    assert_true(taken() <= ACKED_FILE_SIZE + 4096);
    /* The cursor goes on, and places come round. */
    uint64_t floor = 200;
    for (int i = 0; i < 40; i++) {
        floor += span / 5;
        uint64_t at = floor + span - 1;
        assert_int_equal(acked_file_add(file, floor, at, at + 1), ERR_OK);
        assert_true(taken() <= ACKED_FILE_SIZE + 4096);
        expect_run(file, at, at, at + 1);
    }
    file = reopen(file);
    struct topic_range run = {0, floor};
    int count = 0;
    while (acked_file_next(file, run.end, &run)) {
        assert_int_equal(run.end - run.first, 1);
        count++;
    }
    assert_int_equal(count, 6); /* the rest was below the cursor */
    acked_file_close(file);
}

static void another_epoch_or_topic_has_none(void **state)
{
    (void)state;
    struct acked_file *file = create();
    struct acked_file_damage found;
    assert_int_equal(acked_file_add(file, 0, 5, 9), ERR_OK);
    acked_file_close(file);
    assert_int_equal(acked_file_open(path, ID, EPOCH + 1, &file), ERR_OK);
    expect_none(file, 0);
    assert_int_equal(acked_file_end(file), 0);
    assert_int_equal(acked_file_add(file, 0, 6, 7), ERR_OK); /* its place */
    expect_run(file, 0, 6, 7);
    acked_file_close(file);
    assert_int_equal(acked_file_open(path, ID, EPOCH, &file), ERR_OK);
    expect_none(file, 0);
    acked_file_close(file);
    assert_int_equal(acked_file_open(path, ID + 1, EPOCH + 1, &file), ERR_OK);
    expect_none(file, 0);
    assert_int_equal(acked_file_damage(file).pages, 0);
    acked_file_close(file);
    assert_int_equal(acked_file_check(path, ID, &found), ERR_OK);
    assert_int_equal(found.pages, 0);
    file = create(); /* in place of it */
    expect_none(file, 0);
    acked_file_close(file);
    assert_int_equal(acked_file_open("/tmp/opq-none/x", ID, EPOCH, &file),
                     ERR_NOT_FOUND);
}

static void a_damaged_page_is_not_believed_and_used_again(void **state)
{
    (void)state;
    struct acked_file_damage found;
    static char garbage[ACKED_PAGE_SIZE];
    memset(garbage, 0x5a, sizeof(garbage));
    struct acked_file *file = create();
    assert_int_equal(acked_file_add(file, 0, 5, 9), ERR_OK);
    assert_int_equal(acked_file_add(file, 0, M + 5, 2 * M), ERR_OK);
    assert_int_equal(acked_file_add(file, 0, 2 * M + 1, 2 * M + 3), ERR_OK);
    acked_file_close(file);
    damage(ACKED_PAGE_SIZE + 1000, "x", 1);
    damage((uint64_t)ACKED_PAGE_SIZE * 9, garbage, sizeof(garbage));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(acked_file_check(path, ID, &found), ERR_OK);
        assert_int_equal(found.pages, 2);
        assert_int_equal(found.offset, ACKED_PAGE_SIZE);
        assert_int_equal(round == 0 ? acked_file_look(path, ID, EPOCH, &file)
                                    : acked_file_open(path, ID, EPOCH, &file),
                         ERR_OK);
        assert_int_equal(acked_file_damage(file).pages, 2);
        expect_run(file, 0, 5, 9);
        expect_run(file, 9, 2 * M + 1, 2 * M + 3);
        if (round == 0) {
            acked_file_close(file);
        }
    }
    assert_int_equal(acked_file_add(file, 0, M + 7, M + 8), ERR_OK);
    assert_int_equal(acked_file_add(file, 0, 9 * M, 9 * M + 1), ERR_OK);
    file = reopen(file);
    assert_int_equal(acked_file_damage(file).pages, 0);
    expect_run(file, 9, M + 7, M + 8);
    expect_run(file, 3 * M, 9 * M, 9 * M + 1);
    acked_file_close(file);
}

static void a_file_of_another_size_is_read(void **state)
{
    (void)state;
    int fd = -1;
    struct acked_file *file = create();
    assert_int_equal(acked_file_add(file, 0, 5, 9), ERR_OK);
    assert_int_equal(acked_file_add(file, 0, 50000, 50001), ERR_OK);
    acked_file_close(file);
    static const uint64_t sizes[] = {5000, 4096, 60, 0};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(file_open(path, FILE_WRITE, &fd), ERR_OK);
        assert_int_equal(file_truncate(fd, sizes[i]), ERR_OK);
        file_close(fd);
        assert_int_equal(acked_file_look(path, ID, EPOCH, &file), ERR_OK);
        acked_file_close(file);
        assert_int_equal(acked_file_open(path, ID, EPOCH, &file), ERR_OK);
        if (sizes[i] >= 4096) {
            expect_run(file, 0, 5, 9);
            expect_none(file, 9);
        } else {
            expect_none(file, 0);
        }
        assert_int_equal(acked_file_add(file, 0, 50007, 50009), ERR_OK);
        expect_run(file, 9, 50007, 50009);
        acked_file_close(file);
    }
}

/* What is done with a file in a sweep of failures. */
static void work(uint64_t noted[3])
{
    struct acked_file *file = NULL;
    memset(noted, 0, 3 * sizeof(noted[0]));
    enum err err = acked_file_create(path, ID, EPOCH, &file);
    if (err != ERR_OK) {
        assert_true(err == ERR_IO || err == ERR_FULL);
        return;
    }
    for (uint64_t i = 0; i < 3; i++) {
        err = acked_file_add(file, 0, i * M + 3, i * M + 5);
        assert_true(err == ERR_OK || err == ERR_FULL || err == ERR_IO);
        noted[i] = err == ERR_OK ? 1 : 0;
    }
    acked_file_close(file);
}

/* Fail the test unless what was noted is there, and no more. */
static void expect_noted(const uint64_t noted[3])
{
    struct acked_file *file = NULL;
    enum err err = acked_file_open(path, ID, EPOCH, &file);
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    for (uint64_t i = 0; i < 3; i++) {
        struct topic_range run = {0, 0};
        bool is = file != NULL && acked_file_next(file, i * M, &run) &&
                  run.first == i * M + 3 && run.end == i * M + 5;
        assert_int_equal(is, noted[i] == 1);
    }
    acked_file_close(file);
    err = file_remove(path);
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
}

static void whatever_fails_what_was_noted_is_there(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO};
    fault_install();
    for (size_t e = 0; e < 4; e++) {
        bool fired = true;
        for (uint64_t at = 1; fired; at++) {
            uint64_t noted[3];
            fault_set(&(struct fault_plan){.kinds = FAULT_ANY,
                                           .at = at,
                                           .error_number = errors[e / 2],
                                           .short_write = e % 2 == 1});
            work(noted);
            fired = fault_fired();
            fault_reset();
            expect_noted(noted);
        }
    }
    fault_remove();
}

static void a_failed_look_is_told(void **state)
{
    (void)state;
    struct acked_file *file = create();
    struct acked_file_damage found;
    assert_int_equal(acked_file_add(file, 0, 5, 9), ERR_OK);
    acked_file_close(file);
    fault_install();
    for (uint64_t at = 1;; at++) {
        fault_set(&(struct fault_plan){
            .kinds = FAULT_ANY, .at = at, .error_number = EIO});
        enum err err = acked_file_open(path, ID, EPOCH, &file);
        if (err == ERR_OK) {
            acked_file_close(file);
        }
        bool fired = fault_fired();
        assert_int_equal(err, fired ? ERR_IO : ERR_OK);
        fault_set(&(struct fault_plan){
            .kinds = FAULT_ANY, .at = at, .error_number = EIO});
        err = acked_file_check(path, ID, &found);
        assert_int_equal(err, fault_fired() ? ERR_IO : ERR_OK);
        if (!fired) {
            break;
        }
    }
    fault_remove();
}

/* In a process of its own: note one run after the other, and tell which. */
static _Noreturn void child_run(int out, uint64_t from)
{
    struct acked_file *file = NULL;
    enum err err = from == 0 ? acked_file_create(path, ID, EPOCH, &file)
                             : acked_file_open(path, ID, EPOCH, &file);
    for (uint64_t i = from; err == ERR_OK; i++) {
        err = acked_file_add(file, 0, i * 97, i * 97 + 70);
        if (err == ERR_OK && write(out, &i, sizeof(i)) != sizeof(i)) {
            break;
        }
    }
    _exit(1);
}

/* Kill such a process when it has told of some runs. Returns how many. */
static uint64_t kill_one(uint64_t from, uint64_t count)
{
    int ends[2];
    uint64_t told = 0;
    uint64_t end = from;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_run(ends[1], from);
    }
    (void)close(ends[1]);
    while (read(ends[0], &told, sizeof(told)) == sizeof(told)) {
        end = told + 1;
        if (end == from + count) {
            assert_int_equal(kill(child, SIGKILL), 0);
        }
    }
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return end;
}

static void a_kill_at_any_moment_loses_nothing(void **state)
{
    (void)state;
    uint64_t end = 0;
    for (uint64_t round = 0; round < 60; round++) {
        struct acked_file *file = NULL;
        end = kill_one(end, 1 + round * 7 % 50);
        assert_int_equal(acked_file_look(path, ID, EPOCH, &file), ERR_OK);
        assert_int_equal(acked_file_damage(file).pages, 0);
        for (uint64_t i = 0; i < end; i++) {
            expect_run(file, i * 97, i * 97, i * 97 + 70);
        }
        struct topic_range run; /* what it was at then, at most */
        if (acked_file_next(file, end * 97, &run)) {
            assert_int_equal(run.first, end * 97);
            expect_none(file, run.end);
        }
        acked_file_close(file);
    }
}

static void names_are_taken_apart(void **state)
{
    (void)state;
    char made[DIR_PATH_MAX];
    struct str topic;
    uint64_t id = 0;
    assert_int_equal(acked_file_path(made, "d", STR("a-b.c"), 0xfe), ERR_OK);
    assert_string_equal(made, "d/acked/a-b.c-00000000000000fe");
    assert_true(acked_file_parse("a-b.c-00000000000000fe", &topic, &id));
    assert_true(str_equal(topic, STR("a-b.c")));
    assert_int_equal(id, 0xfe);
    assert_false(acked_file_parse("-00000000000000fe", &topic, &id));
    assert_false(acked_file_parse("a00000000000000fe", &topic, &id));
    assert_false(acked_file_parse("a-00000000000000fE", &topic, &id));
    assert_false(acked_file_parse("a-0000000000000fe", &topic, &id));
    assert_false(acked_file_parse("", &topic, &id));
    static char long_name[300];
    memset(long_name, 'a', sizeof(long_name) - 1);
    assert_int_equal(acked_file_path(made, "d", str_from(long_name), 1),
                     ERR_TOO_LARGE);
    assert_int_equal(acked_file_folder(made, "d"), ERR_OK);
    assert_string_equal(made, "d/acked");
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FACT(what_was_noted_is_found),
        FACT(room_is_taken_by_pages_and_bounded),
        FACT(another_epoch_or_topic_has_none),
        FACT(a_damaged_page_is_not_believed_and_used_again),
        FACT(a_file_of_another_size_is_read),
        FACT(whatever_fails_what_was_noted_is_there),
        FACT(a_failed_look_is_told),
        FACT(a_kill_at_any_moment_loses_nothing),
        FACT(names_are_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
