/* The sandbox: a seccomp filter that refuses what is listed and allows the
 * rest, so that what libraries come to need goes on working, and the kernel
 * remembers the answer for most calls without running the filter.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A filter outlives exec, and each further one would cost every call a little.
 * So ours answers one call that cannot succeed, a comparison of a kind that
 * there is not, by an errno of its own. Another list of calls is another
 * version. */
enum {
    ASKED_SYSCALL = SYS_kcmp,
    ASKED_KIND = 0x4f5051,
    VERSION = 1,
    ANSWER = 4000 + VERSION,
};

enum { SOCKET_TYPES = 0xf }; /* the bits of a type, without its flags */

static const char *const refused[] = {
/* other processes; leak checkers of test builds look into their own */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    "ptrace",
#endif
    "pidfd_getfd",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    /* mounts and namespaces */
    "chroot",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "pivot_root",
    "quotactl",
    "quotactl_fd",
    "setns",
    "swapoff",
    "swapon",
    "umount",
    "umount2",
    "unshare",
    /* the kernel */
    "add_key",
    "bpf",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "init_module",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "modify_ldt",
    "perf_event_open",
    "personality",
    "reboot",
    "request_key",
    "syslog",
    "userfaultfd",
    "vhangup",
    /* the machine's name, clock and accounts */
    "acct",
    "adjtimex",
    "clock_adjtime",
    "clock_settime",
    "setdomainname",
    "sethostname",
    "settimeofday",
    /* who we are */
    "capset",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
};

static const unsigned families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

static bool is_inside(void)
{
    return syscall(ASKED_SYSCALL, 0, 0, ASKED_KIND, 0, 0) < 0 &&
           errno == ANSWER;
}

/* Refuse sockets of other families, those between ours and those above the
 * last, and raw ones; 0 or a negative errno, as all of libseccomp. */
static int add_sockets(scmp_filter_ctx filter)
{
    unsigned next = 0;
    int error = 0;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        for (; error == 0 && next < families[i]; next++) {
            error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
                                     SCMP_SYS(socket), 1,
                                     SCMP_A0(SCMP_CMP_EQ, next));
        }
        next = families[i] + 1;
    }
    if (error == 0) {
        error =
            seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                             SCMP_A0(SCMP_CMP_GE, next));
    }
    return error != 0
               ? error
               : seccomp_rule_add(
                     filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                     SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_TYPES, SOCK_RAW));
}

static int add_rules(scmp_filter_ctx filter)
{
    int error = add_sockets(filter);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        int number = seccomp_syscall_resolve_name(refused[i]);
        if (error == 0 && number != __NR_SCMP_ERROR) { /* this machine's */
            error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
        }
    }
    if (error == 0) {
        error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), ASKED_SYSCALL,
                                 1, SCMP_A2(SCMP_CMP_NE, ASKED_KIND));
    }
    return error != 0
               ? error
               : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ANSWER), ASKED_SYSCALL,
                                  1, SCMP_A2(SCMP_CMP_EQ, ASKED_KIND));
}

/* All threads; and no slower memory for the sake of other programs' secrets,
 * which kernels before 5.16 give to whoever has a filter. */
static int set_attributes(scmp_filter_ctx filter)
{
    int error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (error == 0) {
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    }
    return error != 0 ? error
                      : seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
                                         SCMP_ACT_ERRNO(ENOSYS));
}

enum err sandbox_enter(void)
{
    if (is_inside()) {
        return ERR_OK;
    }
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL) {
        return ERR_NOMEM;
    }
    int error = set_attributes(filter);
    if (error == 0) {
        error = add_rules(filter);
    }
    if (error == 0) {
        error = seccomp_load(filter);
    }
    seccomp_release(filter);
    return error == 0 ? ERR_OK : error == -ENOMEM ? ERR_NOMEM : ERR_UNSUPPORTED;
}
