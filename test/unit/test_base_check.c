/* Tests of base/check: a broken invariant says where, and ends the process.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CHECK_SLOW
#define OPQ_CHECK_SLOW
#endif
#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct outer {
    int before;
    int member;
};

/* Run `body` in a child; give its wait status and its standard error. */
static int in_child(void (*body)(void), char *said, size_t said_size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    (void)close(ends[1]);
    size_t size = 0;
    ssize_t got = 1;
    while (got > 0 && size < said_size - 1) {
        got = read(ends[0], said + size, said_size - 1 - size);
        size += got > 0 ? (size_t)got : 0;
    }
    said[size] = '\0';
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void break_check(void)
{
    int apples = 3;
    CHECK(apples == 4);
}

static void break_check_slow(void)
{
    int pears = 3;
    CHECK_SLOW(pears == 5);
}

static void keep_check(void)
{
    int plums = 3;
    CHECK(plums == 3);
    CHECK_SLOW(plums == 3);
}

static void broken_check_names_condition_and_place_and_aborts(void **state)
{
    (void)state;
    char said[512];
    int status = in_child(break_check, said, sizeof(said));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(said, "test_base_check.c:"));
    assert_non_null(strstr(said, "check failed: apples == 4"));
}

static void broken_slow_check_aborts_where_they_are_on(void **state)
{
    (void)state;
    char said[512];
    int status = in_child(break_check_slow, said, sizeof(said));
    assert_true(WIFSIGNALED(status));
    assert_non_null(strstr(said, "check failed: pears == 5"));
}

static void kept_check_does_nothing(void **state)
{
    (void)state;
    char said[512];
    int status = in_child(keep_check, said, sizeof(said));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_string_equal(said, "");
}

static void container_is_found_from_its_member(void **state)
{
    (void)state;
    struct outer outer = {.before = 1, .member = 2};
    int *member = &outer.member;
    struct outer *found = CONTAINER_OF(member, struct outer, member);
    assert_ptr_equal(found, &outer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_check_names_condition_and_place_and_aborts),
        cmocka_unit_test(broken_slow_check_aborts_where_they_are_on),
        cmocka_unit_test(kept_check_does_nothing),
        cmocka_unit_test(container_is_found_from_its_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
