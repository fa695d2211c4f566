/* Failures under sys/file.h, by a table that counts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/fault.h"

#include "base/check.h"
#include "sys/file.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the plan */
static struct fault_plan plan;
static _Atomic uint64_t counts[FAULT_KIND_COUNT + 1];
static _Atomic uint64_t planned; /* calls of the plan's kinds */
static atomic_bool fired;
static atomic_bool rest_fails; /* the write after a short one */
static _Atomic uint32_t slow_us;

/* What to do with a call. */
enum verdict {
    VERDICT_PASS,
    VERDICT_FAIL, /* errno is set */
    VERDICT_SHORT,
};

/* As judge(), under the lock. */
static enum verdict judge_locked(uint32_t kind)
{
    unsigned kind_index = (unsigned)__builtin_ctz(kind);
    CHECK(kind_index <= FAULT_KIND_COUNT);
    counts[kind_index]++;
    if ((kind & FAULT_WRITE) != 0 && atomic_exchange(&rest_fails, false)) {
        errno = plan.error_number;
        return VERDICT_FAIL;
    }
    if ((plan.kinds & kind) == 0) {
        return VERDICT_PASS;
    }
    uint64_t index = atomic_fetch_add(&planned, 1) + 1;
    if (index < plan.at || (index > plan.at && !plan.sticky)) {
        return VERDICT_PASS;
    }
    fired = true;
    if (plan.short_write && (kind & FAULT_WRITE) != 0 && index == plan.at) {
        rest_fails = plan.error_number != 0;
        return VERDICT_SHORT;
    }
    if (plan.error_number == 0) {
        return VERDICT_PASS;
    }
    errno = plan.error_number;
    return VERDICT_FAIL;
}

static enum verdict judge(uint32_t kind)
{
    CHECK(pthread_mutex_lock(&lock) == 0);
    enum verdict verdict = judge_locked(kind);
    int error_number = errno;
    CHECK(pthread_mutex_unlock(&lock) == 0);
    errno = error_number;
    return verdict;
}

bool fault_memory(void)
{
    return judge(FAULT_MEMORY) == VERDICT_FAIL;
}

static void delay_sync(void)
{
    if (slow_us == 0) {
        return;
    }
    struct timespec left = {
        .tv_sec = slow_us / 1000000,
        .tv_nsec = (long)(slow_us % 1000000) * 1000,
    };
    /* No descriptors: a slow device. A signal shortens it, which is fine. */
    (void)ppoll(NULL, 0, &left, NULL);
}

static int fault_open(const char *path, int flags, mode_t mode)
{
    if (judge(FAULT_OPEN) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->open(path, flags, mode);
}

static int fault_close(int fd)
{
    return file_kernel_calls()->close(fd);
}

/* Write half of what was asked for. */
static ssize_t
write_half(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size += parts[i].iov_len;
    }
    size = size > 1 ? size / 2 : size;
    ssize_t written = 0;
    for (int i = 0; i < count && (size_t)written < size; i++) {
        struct iovec part = parts[i];
        if (part.iov_len > size - (size_t)written) {
            part.iov_len = size - (size_t)written;
        }
        ssize_t got =
            file_kernel_calls()->pwritev2(fd, &part, 1, at + written, flags);
        if (got < 0) {
            return written > 0 ? written : got;
        }
        written += got;
    }
    return written;
}

static ssize_t fault_pwritev2(
    int fd, const struct iovec *parts, int part_count, off_t offset, int flags)
{
    enum verdict verdict = judge(FAULT_WRITE);
    if ((flags & RWF_DSYNC) != 0) {
        delay_sync();
    }
    if (verdict == VERDICT_FAIL) {
        return -1;
    }
    if (verdict == VERDICT_SHORT) {
        return write_half(fd, parts, part_count, offset, flags);
    }
    return file_kernel_calls()->pwritev2(fd, parts, part_count, offset, flags);
}

static ssize_t fault_preadv2(
    int fd, const struct iovec *parts, int part_count, off_t offset, int flags)
{
    if (judge(FAULT_READ) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->preadv2(fd, parts, part_count, offset, flags);
}

static int fault_fdatasync(int fd)
{
    enum verdict verdict = judge(FAULT_FDATASYNC);
    delay_sync();
    return verdict == VERDICT_FAIL ? -1 : file_kernel_calls()->fdatasync(fd);
}

static int fault_fsync(int fd)
{
    enum verdict verdict = judge(FAULT_FSYNC);
    delay_sync();
    return verdict == VERDICT_FAIL ? -1 : file_kernel_calls()->fsync(fd);
}

static int fault_syncfs(int fd)
{
    enum verdict verdict = judge(FAULT_SYNCFS);
    delay_sync();
    return verdict == VERDICT_FAIL ? -1 : file_kernel_calls()->syncfs(fd);
}

static int fault_ftruncate(int fd, off_t size)
{
    if (judge(FAULT_FTRUNCATE) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->ftruncate(fd, size);
}

static int fault_fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (judge(FAULT_FALLOCATE) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->fallocate(fd, mode, offset, size);
}

static int fault_rename(const char *from, const char *to)
{
    if (judge(FAULT_RENAME) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->rename(from, to);
}

static int fault_link(const char *from, const char *to)
{
    if (judge(FAULT_LINK) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->link(from, to);
}

static int fault_unlink(const char *path)
{
    if (judge(FAULT_UNLINK) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->unlink(path);
}

static int fault_mkdir(const char *path, mode_t mode)
{
    if (judge(FAULT_MKDIR) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->mkdir(path, mode);
}

static int fault_rmdir(const char *path)
{
    if (judge(FAULT_RMDIR) == VERDICT_FAIL) {
        return -1;
    }
    return file_kernel_calls()->rmdir(path);
}

static void *
fault_mmap(size_t size, int protection, int flags, int fd, off_t offset)
{
    if (judge(FAULT_MMAP) == VERDICT_FAIL) {
        return MAP_FAILED;
    }
    return file_kernel_calls()->mmap(size, protection, flags, fd, offset);
}

static int fault_munmap(void *address, size_t size)
{
    return file_kernel_calls()->munmap(address, size);
}

static const struct file_calls fault_calls = {
    .open = fault_open,
    .close = fault_close,
    .pwritev2 = fault_pwritev2,
    .preadv2 = fault_preadv2,
    .fdatasync = fault_fdatasync,
    .fsync = fault_fsync,
    .syncfs = fault_syncfs,
    .ftruncate = fault_ftruncate,
    .fallocate = fault_fallocate,
    .rename = fault_rename,
    .link = fault_link,
    .unlink = fault_unlink,
    .mkdir = fault_mkdir,
    .rmdir = fault_rmdir,
    .mmap = fault_mmap,
    .munmap = fault_munmap,
};

void fault_install(void)
{
    fault_reset();
    file_set_calls(&fault_calls);
}

void fault_remove(void)
{
    file_set_calls(NULL);
}

void fault_set(const struct fault_plan *new_plan)
{
    CHECK(new_plan->kinds == 0 || new_plan->at > 0);
    CHECK(pthread_mutex_lock(&lock) == 0);
    plan = *new_plan;
    for (int i = 0; i <= FAULT_KIND_COUNT; i++) {
        counts[i] = 0;
    }
    planned = 0;
    fired = false;
    rest_fails = false;
    CHECK(pthread_mutex_unlock(&lock) == 0);
}

void fault_reset(void)
{
    const struct fault_plan nothing = {0};
    fault_set(&nothing);
    slow_us = 0;
}

bool fault_fired(void)
{
    return fired;
}

uint64_t fault_count(uint32_t kinds)
{
    uint64_t count = 0;
    for (int i = 0; i <= FAULT_KIND_COUNT; i++) {
        count += (kinds & (1U << i)) != 0 ? counts[i] : 0;
    }
    return count;
}

void fault_slow_sync(uint32_t delay_us)
{
    slow_us = delay_us;
}
