/* Tests of sys/dir.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/dir.h"

#include "lib/fault.h"
#include "lib/scratch.h"
#include "sys/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char root[SCRATCH_PATH_MAX];
static char path[DIR_PATH_MAX];

static int setup(void **state)
{
    (void)state;
    return scratch_make(root);
}

static int teardown(void **state)
{
    (void)state;
    fault_remove();
    return scratch_remove(root);
}

/* A path under the root, in a static buffer. */
static const char *under(const char *name)
{
    assert_int_equal(dir_join(path, root, name), ERR_OK);
    return path;
}

static void make_file(const char *name)
{
    assert_int_equal(file_replace(under(name), "x", 1), ERR_OK);
}

static void create_makes_those_above_as_well(void **state)
{
    (void)state;
    assert_int_equal(dir_create(under("a/b//c/")), ERR_OK);
    assert_int_equal(access(under("a/b/c"), X_OK), 0);
    assert_int_equal(dir_create(under("a/b/c")), ERR_OK);
}

static void create_refuses_the_name_of_a_file(void **state)
{
    (void)state;
    make_file("file");
    assert_int_equal(dir_create(under("file")), ERR_EXISTS);
    assert_int_equal(dir_create(under("file/below")), ERR_EXISTS);
}

static void create_tells_full_and_io(void **state)
{
    (void)state;
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_MKDIR, .at = 1, .error_number = ENOSPC});
    assert_int_equal(dir_create(under("a")), ERR_FULL);
    fault_set(&(struct fault_plan){
        .kinds = FAULT_MKDIR, .at = 2, .error_number = EIO});
    assert_int_equal(dir_create(under("a/b")), ERR_IO);
    assert_int_equal(dir_create(""), ERR_IO);
}

static void sync_needs_a_directory(void **state)
{
    (void)state;
    assert_int_equal(dir_sync(root), ERR_OK);
    assert_int_equal(dir_sync(under("none")), ERR_NOT_FOUND);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_FSYNC, .at = 1, .error_number = EIO});
    assert_int_equal(dir_sync(root), ERR_IO);
}

struct seen {
    int files;
    int directories;
    int stop_at;
};

static enum err see(void *context, const char *name, bool is_directory)
{
    struct seen *seen = context;
    assert_true(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    *(is_directory ? &seen->directories : &seen->files) += 1;
    return seen->files + seen->directories == seen->stop_at ? ERR_RANGE
                                                            : ERR_OK;
}

static void each_visits_every_name_once(void **state)
{
    (void)state;
    struct seen seen = {0};
    make_file("one");
    make_file("two");
    assert_int_equal(dir_create(under("three")), ERR_OK);
    assert_int_equal(dir_each(root, see, &seen), ERR_OK);
    assert_int_equal(seen.files, 2);
    assert_int_equal(seen.directories, 1);
}

static void each_ends_with_what_visit_gives(void **state)
{
    (void)state;
    struct seen seen = {.stop_at = 2};
    make_file("one");
    make_file("two");
    make_file("three");
    assert_int_equal(dir_each(root, see, &seen), ERR_RANGE);
    assert_int_equal(seen.files, 2);
    assert_int_equal(dir_each(under("none"), see, &seen), ERR_NOT_FOUND);
    assert_int_equal(dir_each(under("one"), see, &seen), ERR_IO);
}

static void remove_takes_files_and_one_level_of_folders(void **state)
{
    (void)state;
    assert_int_equal(dir_create(under("topic/sub/name")), ERR_OK);
    assert_int_equal(dir_remove(under("topic")), ERR_IO); /* too deep */
    assert_int_equal(dir_remove(under("topic/sub")), ERR_OK);
    assert_int_equal(dir_create(under("topic/sub")), ERR_OK);
    make_file("topic/file");
    make_file("topic/sub/file");
    assert_int_equal(dir_remove(under("topic")), ERR_OK);
    assert_int_not_equal(access(under("topic"), F_OK), 0);
    assert_int_equal(dir_remove(under("topic")), ERR_NOT_FOUND);
}

static void remove_does_not_follow_links(void **state)
{
    (void)state;
    char link_path[DIR_PATH_MAX];
    assert_int_equal(dir_create(under("goes")), ERR_OK);
    assert_int_equal(dir_create(under("stays")), ERR_OK);
    make_file("stays/file");
    assert_int_equal(dir_join(link_path, root, "goes/link"), ERR_OK);
    assert_int_equal(symlink(under("stays"), link_path), 0);
    assert_int_equal(dir_remove(under("goes")), ERR_OK);
    assert_int_equal(access(under("stays/file"), F_OK), 0);
}

static void remove_tells_what_failed(void **state)
{
    (void)state;
    fault_install();
    for (uint64_t at = 1; at <= 3; at++) {
        assert_int_equal(dir_create(under("topic/sub")), ERR_OK);
        make_file("topic/sub/file");
        fault_set(&(struct fault_plan){.kinds = FAULT_UNLINK | FAULT_RMDIR,
                                       .at = at,
                                       .error_number = EIO});
        assert_int_equal(dir_remove(under("topic")), ERR_IO);
        assert_int_equal(access(under("topic"), F_OK), 0);
        fault_reset();
        assert_int_equal(dir_remove(under("topic")), ERR_OK);
    }
}

/* In a child, which gives up being root. */
static void want_of_rights_is_told(void **state)
{
    int status = 0;

    (void)state;
    assert_true(dir_allowed(root));
    assert_true(dir_allowed(under("not/there/yet")));
    make_file("file");
    assert_true(dir_allowed(under("file")));
    assert_true(dir_allowed(under("file/in/it")));
    assert_int_equal(dir_create(under("closed")), ERR_OK);
    assert_int_equal(chmod(path, 0500), 0);
    pid_t child = fork();
    if (child == 0) {
        bool root_user = geteuid() == 0;
        if (root_user && setresuid(65534, 65534, 65534) != 0) {
            _exit(2);
        }
        _exit(dir_allowed(path) || dir_allowed(under("closed/new")) ? 1 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_lock_keeps_other_openers_out(void **state)
{
    (void)state;
    int fd = -1;
    int other = -1;
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(dir_lock(under("opq.lock"), &fd), ERR_OK);
    assert_int_equal(dir_lock(under("opq.lock"), &other), ERR_BUSY);
    assert_int_equal(other, -1);
    assert_int_equal(file_load(under("opq.lock"), 100, &text, &size), ERR_OK);
    assert_int_equal(strtol(text, NULL, 10), getpid());
    free(text);
    dir_unlock(fd);
    assert_int_equal(dir_lock(under("opq.lock"), &other), ERR_OK);
    dir_unlock(other);
    dir_unlock(-1);
    assert_int_equal(dir_lock(under("none/opq.lock"), &other), ERR_IO);
}

static void a_lock_tells_whether_others_had_it(void **state)
{
    (void)state;
    /* File systems have a coarse clock: long ago, then. */
    static const struct timespec times[2] = {{.tv_sec = 1000},
                                             {.tv_sec = 1000}};
    int fd = -1;
    bool again = true;
    assert_int_equal(dir_lock_since(under("opq.lock"), 0, &fd, &again), ERR_OK);
    assert_false(again);
    assert_int_equal(futimens(fd, times), 0);
    uint64_t stamp = dir_lock_stamp(fd);
    assert_int_not_equal(stamp, 0);
    dir_unlock(fd);
    assert_int_equal(dir_lock_since(under("opq.lock"), stamp, &fd, &again),
                     ERR_OK);
    assert_true(again);
    assert_int_not_equal(dir_lock_stamp(fd), stamp);
    dir_unlock(fd);
    assert_int_equal(dir_lock_since(under("opq.lock"), stamp, &fd, &again),
                     ERR_OK);
    assert_false(again);
    dir_unlock(fd);
    assert_int_equal(dir_lock_stamp(-1), 0);
}

static void a_lock_ends_with_its_process(void **state)
{
    (void)state;
    int fd = -1;
    int status = -1;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(dir_lock(under("opq.lock"), &fd) == ERR_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(dir_lock(under("opq.lock"), &fd), ERR_OK);
    dir_unlock(fd);
}

static void space_is_told(void **state)
{
    (void)state;
    uint64_t left = 0;
    uint64_t total = 0;
    assert_int_equal(dir_space(root, &left, &total), ERR_OK);
    assert_true(left > 0 && left <= total);
    assert_int_equal(dir_space(under("none"), &left, &total), ERR_NOT_FOUND);
}

static void join_refuses_what_does_not_fit(void **state)
{
    (void)state;
    char joined[DIR_PATH_MAX];
    static char name[DIR_PATH_MAX];
    memset(name, 'n', DIR_PATH_MAX - 3);
    assert_int_equal(dir_join(joined, "d", name), ERR_OK);
    assert_int_equal(strlen(joined), DIR_PATH_MAX - 1);
    assert_int_equal(dir_join(joined, "dd", name), ERR_TOO_LARGE);
    assert_int_equal(dir_join(joined, "a", "b"), ERR_OK);
    assert_string_equal(joined, "a/b");
}

static void a_file_is_public_when_all_may_read_it(void **state)
{
    static const struct {
        mode_t mode;
        bool is_public;
    } cases[] = {{0600, false}, {0640, false}, {0660, false}, {0643, false},
                 {0644, true},  {0604, true},  {0004, true}};
    (void)state;
    make_file("key");
    assert_int_equal(symlink("key", under("link")), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(chmod(under("key"), cases[i].mode), 0);
        assert_int_equal(dir_file_is_public(under("key")), cases[i].is_public);
        assert_int_equal(dir_file_is_public(under("link")), cases[i].is_public);
    }
    assert_false(dir_file_is_public(under("none")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(create_makes_those_above_as_well),
        TEST(create_refuses_the_name_of_a_file),
        TEST(create_tells_full_and_io),
        TEST(sync_needs_a_directory),
        TEST(each_visits_every_name_once),
        TEST(each_ends_with_what_visit_gives),
        TEST(remove_takes_files_and_one_level_of_folders),
        TEST(remove_does_not_follow_links),
        TEST(remove_tells_what_failed),
        TEST(want_of_rights_is_told),
        TEST(a_lock_keeps_other_openers_out),
        TEST(a_lock_tells_whether_others_had_it),
        TEST(a_lock_ends_with_its_process),
        TEST(space_is_told),
        TEST(join_refuses_what_does_not_fit),
        TEST(a_file_is_public_when_all_may_read_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
