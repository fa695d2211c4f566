/* Failures under everything that sys/file.h does.
 *
 *     fault_install();
 *     for (uint64_t at = 1;; at++) {
 *         fault_set(&(struct fault_plan){.kinds = FAULT_ANY, .at = at,
 *                                        .error_number = EIO});
 *         enum err err = operation();
 *         if (!fault_fired()) {
 *             break;      the sweep is over: it makes fewer calls than that
 *         }
 *         ...             check that the contract holds after the failure
 *     }
 *     fault_remove();
 *
 * Calls are counted by kind from the last fault_set() or fault_reset() on.
 * Interrupted calls do not occur by themselves, so a sweep with EINTR shows
 * that calls are gone on with.
 *
 * While installed, file operations of the event loop go through it as well,
 * on the loop's helper thread, whatever the back end.
 *
 * Threads: calls from any, set and reset too; install and remove while no
 * other thread makes calls.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_FAULT_H
#define OPQ_TEST_LIB_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Kinds of calls, a bit each. */
enum {
    FAULT_OPEN = 1 << 0,
    FAULT_WRITE = 1 << 1, /* pwritev2, with RWF_DSYNC or not */
    FAULT_READ = 1 << 2,  /* preadv2 */
    FAULT_FDATASYNC = 1 << 3,
    FAULT_FSYNC = 1 << 4, /* also of directories */
    FAULT_SYNCFS = 1 << 5,
    FAULT_FTRUNCATE = 1 << 6,
    FAULT_FALLOCATE = 1 << 7,
    FAULT_RENAME = 1 << 8,
    FAULT_UNLINK = 1 << 9,
    FAULT_MKDIR = 1 << 10,
    FAULT_RMDIR = 1 << 11,
    FAULT_MMAP = 1 << 12,
    FAULT_LINK = 1 << 13,
    FAULT_KIND_COUNT = 14,
    FAULT_SYNC = FAULT_FDATASYNC | FAULT_FSYNC | FAULT_SYNCFS,
    FAULT_ANY = (1 << FAULT_KIND_COUNT) - 1, /* close and munmap never fail */
    FAULT_MEMORY = 1 << FAULT_KIND_COUNT,    /* fault_memory(), of the test */
};

struct fault_plan {
    uint32_t kinds;   /* the calls that count; 0: no call fails */
    uint64_t at;      /* from 1: the first of them that fails */
    int error_number; /* what it says */
    bool short_write; /* the call, if a write of more than one byte, writes half
                       * of it, and the write after it fails with error_number,
                       * unless that is 0 */
    bool sticky;      /* all later calls of these kinds fail as well */
};

/* Put the failing table under sys/file.h; nothing fails yet. */
void fault_install(void);

/* Bring the kernel's table back. */
void fault_remove(void);

/* Count from 0 again, and fail as `plan` (copied) says. */
void fault_set(const struct fault_plan *plan);

/* Count from 0 again; nothing fails and nothing is slow. */
void fault_reset(void);

/* Tell whether a call has failed, or been short, since fault_set(). */
bool fault_fired(void);

/* Calls of these kinds since fault_set() or fault_reset(). */
uint64_t fault_count(uint32_t kinds);

/* Tell whether an allocation, which is counted, is to fail: of
 * lib/fault_memory.c, for tests that are linked with --wrap of malloc() and its
 * kin. Sets errno. */
bool fault_memory(void);

/* Let every sync, and every write with RWF_DSYNC, take `delay_us` longer.
 * Units: microseconds; 0 is as fast as it is */
void fault_slow_sync(uint32_t delay_us);

#endif
