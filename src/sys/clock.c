/* Time and randomness, from the kernel.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/clock.h"

#include "base/check.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

uint64_t clock_monotonic_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t clock_wall_ms(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U;
}

void clock_sleep_ms(uint32_t ms)
{
    struct timespec span = {
        .tv_sec = (time_t)(ms / 1000),
        .tv_nsec = (long)(ms % 1000) * 1000000,
    };

    (void)nanosleep(&span, NULL); /* what is left does not matter */
}

void clock_random(void *to, size_t size)
{
    char *at = to;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0) {
            CHECK(errno == EINTR); /* there is no other failure once booted */
            continue;
        }
        at += got;
        size -= (size_t)got;
    }
}
