/* Tests of sys/process: what a supervisor is told, and hands over, and what is
 * kept from others.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/process.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { FIRST = 3, HELD = 2, LOOKED_AT = 4 };

/* Descriptors of the test program that stand where ours are to be. */
static int held[HELD];

/* Put sockets at the first descriptors that are handed over. */
static int setup(void **state)
{
    (void)state;
    for (int index = 0; index < HELD; index++) {
        held[index] = fcntl(FIRST + index, F_DUPFD_CLOEXEC, 64);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0) {
            return -1;
        }
        if (fd != FIRST + index) {
            (void)dup2(fd, FIRST + index);
            (void)close(fd);
        }
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int index = 0; index < HELD; index++) {
        (void)close(FIRST + index);
        if (held[index] >= 0) {
            (void)dup2(held[index], FIRST + index);
            (void)close(held[index]);
        }
    }
    return 0;
}

static void hand_over(const char *process, const char *count)
{
    (void)setenv("LISTEN_PID", process, 1);
    (void)setenv("LISTEN_FDS", count, 1);
    (void)setenv("LISTEN_FDNAMES", "http:unix", 1);
}

static const char *our_id(void)
{
    static char text[16];

    (void)snprintf(text, sizeof(text), "%u", process_id());
    return text;
}

static void sockets_are_taken_once_and_closed_on_exec(void **state)
{
    (void)state;
    int fds[LOOKED_AT] = {-1, -1, -1, -1};
    uint32_t count = 99;

    hand_over(our_id(), "2");
    assert_int_equal(process_sockets(LOOKED_AT, fds, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(fds[0], FIRST);
    assert_int_equal(fds[1], FIRST + 1);
    assert_int_equal(fds[2], -1);
    assert_int_equal(fcntl(FIRST, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(FIRST + 1, F_GETFD), FD_CLOEXEC);
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_FDNAMES"));
    assert_int_equal(process_sockets(LOOKED_AT, fds, &count), ERR_OK);
    assert_int_equal(count, 0);
}

static void sockets_for_another_process_are_left(void **state)
{
    (void)state;
    int fds[LOOKED_AT] = {-1, -1, -1, -1};
    uint32_t count = 99;

    hand_over("1", "2");
    assert_int_equal(process_sockets(LOOKED_AT, fds, &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(fds[0], -1);
    assert_int_equal(fcntl(FIRST, F_GETFD), 0);
}

static void more_sockets_than_asked_for_are_refused(void **state)
{
    (void)state;
    int fds[1] = {-1};
    uint32_t count = 99;

    hand_over(our_id(), "2");
    assert_int_equal(process_sockets(1, fds, &count), ERR_RANGE);
    assert_int_equal(fds[0], -1);
    assert_int_equal(count, 99);
}

static void what_names_no_sockets_is_invalid(void **state)
{
    (void)state;
    int fds[LOOKED_AT] = {-1, -1, -1, -1};
    uint32_t count = 99;
    const char *counts[] = {"", "-1", "two", "2x"};

    for (size_t index = 0; index < sizeof(counts) / sizeof(*counts); index++) {
        hand_over(our_id(), counts[index]);
        assert_int_equal(process_sockets(LOOKED_AT, fds, &count), ERR_INVALID);
    }
    hand_over("me", "2");
    assert_int_equal(process_sockets(LOOKED_AT, fds, &count), ERR_INVALID);
    (void)close(FIRST + 1);
    hand_over(our_id(), "2");
    assert_int_equal(process_sockets(LOOKED_AT, fds, &count), ERR_INVALID);
    assert_int_equal(fds[0], -1);
    assert_int_equal(count, 99);
}

/* A supervisor that listens at an address. */
static int supervisor(const struct sockaddr_un *address, size_t path_size)
{
    socklen_t size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_size);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)address, size), 0);
    return fd;
}

static void expect_told(int fd, const char *words)
{
    char text[64] = "";

    assert_int_equal(recv(fd, text, sizeof(text) - 1, 0),
                     (ssize_t)strlen(words));
    assert_string_equal(text, words);
    assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
}

static void a_supervisor_with_a_file_is_told(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/opq-process-XXXXXX";

    assert_non_null(mkdtemp(folder));
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify",
                   folder);
    int fd = supervisor(&address, strlen(address.sun_path) + 1);
    (void)setenv("NOTIFY_SOCKET", address.sun_path, 1);
    process_notify("READY=1");
    expect_told(fd, "READY=1");
    (void)close(fd);
    process_notify("STOPPING=1"); /* nobody listens: nothing happens */
    (void)unlink(address.sun_path);
    (void)rmdir(folder);
}

static void a_supervisor_without_a_file_is_told(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64];

    (void)snprintf(name, sizeof(name), "@opq-test-process-%u", process_id());
    memcpy(address.sun_path, name, strlen(name));
    address.sun_path[0] = '\0';
    int fd = supervisor(&address, strlen(name));
    (void)setenv("NOTIFY_SOCKET", name, 1);
    process_notify("STOPPING=1");
    expect_told(fd, "STOPPING=1");
    (void)close(fd);
}

static void no_supervisor_is_no_trouble(void **state)
{
    (void)state;
    char name[200];

    (void)unsetenv("NOTIFY_SOCKET");
    process_notify("READY=1");
    (void)setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
    process_notify("READY=1");
    memset(name, 'x', sizeof(name) - 1);
    name[0] = '/';
    name[sizeof(name) - 1] = '\0';
    (void)setenv("NOTIFY_SOCKET", name, 1);
    process_notify("READY=1");
    (void)unsetenv("NOTIFY_SOCKET");
}

static void memory_can_be_hidden(void **state)
{
    (void)state;
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
    process_hide_memory();
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
}

static void leave(void)
{
    process_exit(7);
}

/* How a process ends that touches a mapping whose file is cut off, or gets the
 * signal from another. */
static int end_of(bool touches)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int fd = memfd_create("mapped", MFD_CLOEXEC);
        process_on_lost_mapping(leave);
        if (!touches) {
            (void)kill(getpid(), SIGBUS);
        } else if (ftruncate(fd, 1) == 0) {
            volatile char *memory =
                mmap(NULL, 1, PROT_WRITE, MAP_SHARED, fd, 0);
            if (memory != MAP_FAILED && ftruncate(fd, 0) == 0) {
                *memory = 1;
            }
        }
        process_exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_mapping_that_is_lost_is_told(void **state)
{
    (void)state;
    int status = end_of(true);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    status = end_of(false);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_can_be_hidden),
        cmocka_unit_test(a_mapping_that_is_lost_is_told),
        cmocka_unit_test_setup_teardown(
            sockets_are_taken_once_and_closed_on_exec, setup, teardown),
        cmocka_unit_test_setup_teardown(sockets_for_another_process_are_left,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(more_sockets_than_asked_for_are_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_names_no_sockets_is_invalid, setup,
                                        teardown),
        cmocka_unit_test(a_supervisor_with_a_file_is_told),
        cmocka_unit_test(a_supervisor_without_a_file_is_told),
        cmocka_unit_test(no_supervisor_is_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
