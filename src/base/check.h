/* Invariants that stay compiled in.
 *
 * CHECK is for programmers' mistakes only, and cheap. Bytes that came from a
 * disk or a network get an error instead. CHECK_SLOW is for walks; it is on
 * in builds with -Dcheck_slow=true (the sanitizer builds).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_CHECK_H
#define OPQ_BASE_CHECK_H

#include <stddef.h>

/* Say what was broken and where, on standard error, and abort. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition)                                                       \
    ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

#ifdef OPQ_CHECK_SLOW
#define CHECK_SLOW(condition) CHECK(condition)
#else
#define CHECK_SLOW(condition) ((void)sizeof(!(condition)))
#endif

/* The struct that holds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member)                                    \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
