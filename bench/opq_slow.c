/* The whole of opq on a disk that is slow to sync, for `make bench` alone.
 *
 * Linked with the real main(): before it runs, the table of sys/file.h is put
 * under all of it, and each durable write and each sync sleeps first for
 * SLOW_SYNC_US microseconds. (The variable has no OPQ_ in front, for the server
 * refuses settings that it does not know.)
 *
 * With a table of ours, what is not committed on the loop is written by a
 * helper thread, not by io_uring: two wake-ups a commit, some 20 us, which are
 * little beside the delays that this is for.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/str.h"
#include "sys/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct file_calls slow_calls;
static struct timespec delay;

static void wait_for_the_disk(void)
{
    struct timespec left = delay;
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

static ssize_t slow_pwritev2(
    int fd, const struct iovec *parts, int part_count, off_t offset, int flags)
{
    if ((flags & (RWF_DSYNC | RWF_SYNC)) != 0) {
        wait_for_the_disk();
    }
    return file_kernel_calls()->pwritev2(fd, parts, part_count, offset, flags);
}

static int slow_fdatasync(int fd)
{
    wait_for_the_disk();
    return file_kernel_calls()->fdatasync(fd);
}

static int slow_fsync(int fd)
{
    wait_for_the_disk();
    return file_kernel_calls()->fsync(fd);
}

static int slow_syncfs(int fd)
{
    wait_for_the_disk();
    return file_kernel_calls()->syncfs(fd);
}

/* Before main(), when there are no threads yet. */
__attribute__((constructor)) static void slow_down(void)
{
    const char *text = getenv("SLOW_SYNC_US");
    uint64_t us = 0;
    if (text == NULL || str_to_u64(str_from(text), &us) != ERR_OK) {
        (void)fprintf(stderr, "opq_slow: SLOW_SYNC_US must be a number\n");
        exit(64);
    }
    delay.tv_sec = (time_t)(us / 1000000);
    delay.tv_nsec = (long)(us % 1000000) * 1000;
    slow_calls = *file_kernel_calls();
    slow_calls.pwritev2 = slow_pwritev2;
    slow_calls.fdatasync = slow_fdatasync;
    slow_calls.fsync = slow_fsync;
    slow_calls.syncfs = slow_syncfs;
    file_set_calls(&slow_calls);
}
