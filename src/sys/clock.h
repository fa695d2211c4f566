/* Time, from the kernel. Loops read it once a turn: see io_now_ms().
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_CLOCK_H
#define OPQ_SYS_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds of a clock that never jumps (CLOCK_MONOTONIC). */
uint64_t clock_monotonic_ns(void);

/* Milliseconds since 1970 of the wall clock, which may jump. */
uint64_t clock_wall_ms(void);

/* Sleep so long, or shorter when a signal comes.
 *
 * Blocks: the thread; so never on a loop. */
void clock_sleep_ms(uint32_t ms);

/* Fill with unpredictable bytes (getrandom). Never fails once booted. */
void clock_random(void *to, size_t size);

#endif
