/* What the process gives up for good: system calls that a server never makes,
 * and somebody who has taken it over would.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_SANDBOX_H
#define OPQ_SYS_SANDBOX_H

#include "base/err.h"

/* Refuse this process and all that come of it (EPERM): looking into other
 * processes, mounting, namespaces, modules, kernel images, BPF, keys of the
 * kernel, clocks, other users' rights, raw sockets and all families but Unix,
 * IP, and netlink, by which libraries ask for the machine's addresses. Programs
 * it executes gain no rights by set-user-id.
 *
 * There is no way back, not even by exec; a program that finds itself in this
 * sandbox already adds no second one. Every thread is inside afterwards; one
 * started meanwhile may not be.
 *
 * Errors: ERR_UNSUPPORTED (a kernel without filters), ERR_NOMEM
 * Follows: seccomp(2) */
MUST_CHECK enum err sandbox_enter(void);

#endif
