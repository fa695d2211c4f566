/* Tests of sys/sandbox, each in a child, since there is no way back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Return what `act` returns in a child. */
static int in_child(int (*act)(void))
{
    pid_t child = fork();
    if (child == 0) {
        _exit(act());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* A number behind a name of our /proc/self/status; -1: there is none. */
static int status_of(const char *name)
{
    char line[256];
    int value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            (void)sscanf(line + strlen(name), ":%d", &value);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return value;
}

static bool is_refused(long result)
{
    return result == -1 && errno == EPERM;
}

enum { INSIDE, NOT_ENTERED, ALLOWED, BROKEN };

static int try_what_is_refused(void)
{
    char byte = 0;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    if (sandbox_enter() != ERR_OK) {
        return NOT_ENTERED;
    }
    /* Most would be allowed to us, or fail for another reason. */
    return is_refused(process_vm_readv(getpid(), &vector, 1, &vector, 1, 0)) &&
                   is_refused(mount("none", "/nowhere", "tmpfs", 0, NULL)) &&
                   is_refused(chroot("/nowhere")) &&
                   is_refused(syscall(SYS_kcmp, 1, 1, 0, 0, 0)) &&
                   is_refused(setuid(getuid())) &&
                   is_refused(socket(AF_PACKET, SOCK_RAW, 0)) &&
                   is_refused(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)) &&
                   is_refused(socket(AF_VSOCK, SOCK_STREAM, 0)) &&
                   is_refused(socket(AF_AX25, SOCK_STREAM, 0))
               ? INSIDE
               : ALLOWED;
}

static void what_a_server_never_does_is_refused(void **state)
{
    (void)state;
    assert_int_equal(in_child(try_what_is_refused), INSIDE);
}

static int try_what_is_allowed(void)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    if (sandbox_enter() != ERR_OK) {
        return NOT_ENTERED;
    }
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        int type = families[i] == AF_NETLINK ? SOCK_DGRAM : SOCK_STREAM;
        int fd = socket(families[i], type | SOCK_CLOEXEC, 0);
        if (fd < 0 && errno != EAFNOSUPPORT) {
            return BROKEN;
        }
        (void)close(fd);
    }
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || close(fd) != 0) {
        return BROKEN;
    }
    (void)execl("/bin/true", "true", (char *)NULL);
    return BROKEN;
}

static void what_a_server_does_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(in_child(try_what_is_allowed), INSIDE);
}

static int enter_twice(void)
{
    if (sandbox_enter() != ERR_OK) {
        return NOT_ENTERED;
    }
    int filters = status_of("Seccomp_filters");
    if (sandbox_enter() != ERR_OK) {
        return NOT_ENTERED;
    }
    return status_of("Seccomp_filters") == filters &&
                   status_of("NoNewPrivs") == 1
               ? INSIDE
               : BROKEN;
}

static void a_second_time_adds_nothing(void **state)
{
    (void)state;
    assert_int_equal(in_child(enter_twice), INSIDE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_server_never_does_is_refused),
        cmocka_unit_test(what_a_server_does_is_allowed),
        cmocka_unit_test(a_second_time_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
