/* Blocking calls on files, through a table of functions.
 *
 * Every call that can lose or change data goes through `current`; fstat(2)
 * goes to the kernel directly. Interrupted and short calls are gone on with
 * here, once, so that no module above has such a loop.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/file.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    FILE_ZEROS_SIZE = 64 * 1024,
    FILE_ZEROS_PARTS = 16, /* so 1 MiB with one call */
    FILE_MODE = 0640,
    FILE_PATH_MAX = 4096, /* bytes, the NUL included, as dir.h has it */
};

/* Never written, so that it stays one page of zeros in memory. */
static _Alignas(FILE_DIRECT_ALIGN) char file_zeros[FILE_ZEROS_SIZE];

static int kernel_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static void *
kernel_mmap(size_t size, int protection, int flags, int fd, off_t offset)
{
    return mmap(NULL, size, protection, flags, fd, offset);
}

static const struct file_calls kernel_calls = {
    .open = kernel_open,
    .close = close,
    .pwritev2 = pwritev2,
    .preadv2 = preadv2,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .syncfs = syncfs,
    .ftruncate = ftruncate,
    .fallocate = fallocate,
    .rename = rename,
    .link = link,
    .unlink = unlink,
    .mkdir = mkdir,
    .rmdir = rmdir,
    .mmap = kernel_mmap,
    .munmap = munmap,
};

static const struct file_calls *current = &kernel_calls;

void file_set_calls(const struct file_calls *calls)
{
    current = calls != NULL ? calls : &kernel_calls;
}

const struct file_calls *file_kernel_calls(void)
{
    return &kernel_calls;
}

const struct file_calls *file_current_calls(void)
{
    return current;
}

/* What a write, sync or read can say: no room, or failed. */
static enum err io_err(int error_number)
{
    if (error_number == EFBIG) {
        return ERR_FULL; /* past what this file system or process may have */
    }
    return err_from_errno(error_number) == ERR_FULL ? ERR_FULL : ERR_IO;
}

/* As io_err(), where a missing name is an answer, too. */
static enum err name_err(int error_number)
{
    return error_number == ENOENT ? ERR_NOT_FOUND : io_err(error_number);
}

static enum err open_err(int error_number, int flags)
{
    if (error_number == EINVAL && (flags & FILE_DIRECT) != 0) {
        return ERR_UNSUPPORTED;
    }
    switch (err_from_errno(error_number)) {
    case ERR_NOT_FOUND:
        return ERR_NOT_FOUND;
    case ERR_EXISTS:
        return ERR_EXISTS;
    case ERR_FULL:
        return ERR_FULL;
    case ERR_BUSY:
        return ERR_BUSY;
    default:
        return ERR_IO;
    }
}

/* Tell whether to open this for reading would wait for somebody who writes. */
static bool is_pipe(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISFIFO(status.st_mode);
}

enum err file_open(const char *path, int flags, int *out_fd)
{
    CHECK((flags & FILE_EXCLUSIVE) == 0 || (flags & FILE_CREATE) != 0);
    int how = O_CLOEXEC;
    how |= (flags & FILE_WRITE) != 0 ? O_RDWR : O_RDONLY;
    how |= (flags & FILE_CREATE) != 0 ? O_CREAT : 0;
    how |= (flags & FILE_EXCLUSIVE) != 0 ? O_EXCL : 0;
    how |= (flags & FILE_DIRECT) != 0 ? O_DIRECT : 0;
    how |= (flags & FILE_TRUNCATE) != 0 ? O_TRUNC : 0;
    if ((flags & FILE_WRITE) == 0 && is_pipe(path)) {
        errno = ESPIPE; /* what each read of it would say */
        return ERR_IO;
    }
    int fd;
    do {
        fd = current->open(path, how, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return open_err(errno, flags);
    }
    *out_fd = fd;
    return ERR_OK;
}

void file_close(int fd)
{
    if (fd >= 0) {
        (void)current->close(fd); /* see the header */
    }
}

bool file_is_terminal(int fd)
{
    return isatty(fd) == 1;
}

/* Step over `size` bytes of `parts` from `index` on. Returns the new index. */
static uint32_t parts_advance(struct iovec *parts,
                              uint32_t part_count,
                              uint32_t index,
                              size_t size)
{
    while (index < part_count && size >= parts[index].iov_len) {
        size -= parts[index].iov_len;
        parts[index].iov_len = 0;
        index++;
    }
    if (size > 0) {
        CHECK(index < part_count);
        parts[index].iov_base = (char *)parts[index].iov_base + size;
        parts[index].iov_len -= size;
    }
    return index;
}

static enum err sync_data(int fd)
{
    int rc;
    do {
        rc = current->fdatasync(fd);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? ERR_OK : io_err(errno);
}

enum err file_write_parts(int fd,
                          struct iovec *parts,
                          uint32_t part_count,
                          uint64_t offset,
                          bool durable)
{
    CHECK(part_count <= IOV_MAX);
    int flags = durable ? RWF_DSYNC : 0;
    uint32_t index = parts_advance(parts, part_count, 0, 0);
    while (index < part_count) {
        ssize_t moved = current->pwritev2(
            fd, parts + index, (int)(part_count - index), (off_t)offset, flags);
        if (moved < 0 && errno == EINTR) {
            continue;
        }
        if (moved < 0 && errno == EOPNOTSUPP && flags != 0) {
            flags = 0; /* this file system does not know RWF_DSYNC */
            continue;
        }
        if (moved <= 0) {
            return moved < 0 ? io_err(errno) : ERR_IO;
        }
        offset += (uint64_t)moved;
        index = parts_advance(parts, part_count, index, (size_t)moved);
    }
    return durable && flags == 0 ? sync_data(fd) : ERR_OK;
}

enum err file_write_at(
    int fd, const void *data, size_t size, uint64_t offset, bool durable)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return file_write_parts(fd, &part, 1, offset, durable);
}

bool file_set_direct(int fd, bool direct)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return false;
    }
    flags = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
    return fcntl(fd, F_SETFL, flags) == 0;
}

static enum err read_parts(int fd,
                           struct iovec *parts,
                           uint32_t part_count,
                           uint64_t offset,
                           int flags,
                           size_t *out_size)
{
    CHECK(part_count <= IOV_MAX);
    size_t size = 0;
    uint32_t index = parts_advance(parts, part_count, 0, 0);
    while (index < part_count) {
        ssize_t moved =
            current->preadv2(fd, parts + index, (int)(part_count - index),
                             (off_t)(offset + size), flags);
        if (moved < 0 && errno == EINTR) {
            continue;
        }
        if (moved < 0 && flags != 0 &&
            (errno == EAGAIN || errno == EOPNOTSUPP)) {
            return ERR_AGAIN;
        }
        if (moved < 0) {
            return ERR_IO;
        }
        if (moved == 0) {
            break; /* the file's end */
        }
        size += (size_t)moved;
        index = parts_advance(parts, part_count, index, (size_t)moved);
    }
    *out_size = size;
    return ERR_OK;
}

enum err file_read_parts(int fd,
                         struct iovec *parts,
                         uint32_t part_count,
                         uint64_t offset,
                         size_t *out_size)
{
    return read_parts(fd, parts, part_count, offset, 0, out_size);
}

enum err
file_read_at(int fd, void *to, size_t size, uint64_t offset, size_t *out_size)
{
    struct iovec part = {.iov_base = to, .iov_len = size};
    return read_parts(fd, &part, 1, offset, 0, out_size);
}

enum err file_read_cached(
    int fd, void *to, size_t size, uint64_t offset, size_t *out_size)
{
    struct iovec part = {.iov_base = to, .iov_len = size};
    return read_parts(fd, &part, 1, offset, RWF_NOWAIT, out_size);
}

enum err file_sync(int fd)
{
    return sync_data(fd);
}

void file_write_back(int fd, uint64_t offset, uint64_t size)
{
    (void)sync_file_range(fd, (off_t)offset, (off_t)size,
                          SYNC_FILE_RANGE_WRITE);
}

enum err file_sync_all(int fd)
{
    int rc;
    do {
        rc = current->syncfs(fd);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? ERR_OK : io_err(errno);
}

/* fsync, not fdatasync: for a new file its inode, too. */
static enum err sync_whole(int fd)
{
    int rc;
    do {
        rc = current->fsync(fd);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? ERR_OK : io_err(errno);
}

enum err file_sync_directory(const char *path)
{
    int fd;
    do {
        fd = current->open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    }
    enum err err = sync_whole(fd);
    file_close(fd);
    return err == ERR_OK ? ERR_OK : ERR_IO;
}

enum err file_truncate(int fd, uint64_t size)
{
    int rc;
    do {
        rc = current->ftruncate(fd, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? ERR_OK : io_err(errno);
}

enum err file_fill(int fd, uint64_t size)
{
    /* Reserve first: blocks in one piece, and a full disk is told before the
     * zeros are written. Where it is not supported, the zeros do all. */
    if (size > 0 && current->fallocate(fd, 0, 0, (off_t)size) != 0 &&
        io_err(errno) == ERR_FULL) {
        return ERR_FULL;
    }
    uint64_t offset = 0;
    while (offset < size) {
        struct iovec parts[FILE_ZEROS_PARTS];
        uint32_t part_count = 0;
        uint64_t batch = 0;
        while (part_count < FILE_ZEROS_PARTS && offset + batch < size) {
            uint64_t left = size - offset - batch;
            parts[part_count].iov_base = file_zeros;
            parts[part_count].iov_len =
                left < FILE_ZEROS_SIZE ? (size_t)left : FILE_ZEROS_SIZE;
            batch += parts[part_count].iov_len;
            part_count++;
        }
        enum err err = file_write_parts(fd, parts, part_count, offset, false);
        if (err != ERR_OK) {
            return err;
        }
        offset += batch;
    }
    return sync_whole(fd);
}

enum err file_size(int fd, uint64_t *out_size)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return ERR_IO;
    }
    *out_size = (uint64_t)status.st_size;
    return ERR_OK;
}

enum err file_map(int fd, size_t size, bool writable, void **out_memory)
{
    CHECK(size > 0);
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    void *memory = current->mmap(size, protection, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return errno == ENOMEM ? ERR_NOMEM : ERR_IO;
    }
    *out_memory = memory;
    return ERR_OK;
}

void file_unmap(void *memory, size_t size)
{
    if (memory != NULL) {
        CHECK(current->munmap(memory, size) == 0);
    }
}

enum err file_rename(const char *from, const char *to)
{
    return current->rename(from, to) == 0 ? ERR_OK : name_err(errno);
}

enum err file_link(const char *from, const char *to)
{
    if (current->link(from, to) == 0) {
        return ERR_OK;
    }
    switch (errno) {
    case EPERM: /* what the kernel says where there are none */
    case EMLINK:
    case EXDEV:
    case ENOSYS:
    case EOPNOTSUPP:
        return ERR_UNSUPPORTED;
    case EEXIST:
        return ERR_EXISTS;
    default:
        return name_err(errno);
    }
}

enum err file_remove(const char *path)
{
    if (current->unlink(path) == 0) {
        return ERR_OK;
    }
    return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
}

/* Read up to `size_max` + 1 bytes, so that a file that is too large, or grows,
 * shows. */
static enum err
load_fd(int fd, size_t size_max, char **out_data, size_t *out_size)
{
    uint64_t size_seen = 0;
    enum err err = file_size(fd, &size_seen);
    if (err != ERR_OK) {
        return err;
    }
    if (size_seen > size_max) {
        return ERR_TOO_LARGE;
    }
    size_t room = (size_t)size_seen + 1;
    char *data = malloc(room);
    if (data == NULL) {
        return ERR_NOMEM;
    }
    size_t size = 0;
    err = file_read_at(fd, data, room, 0, &size);
    if (err == ERR_OK && size == room) {
        err = ERR_IO; /* it grew under us; nobody writes our files in place */
    }
    if (err != ERR_OK) {
        explicit_bzero(data, room); /* it may be of a private file */
        free(data);
        return err;
    }
    data[size] = '\0';
    *out_data = data;
    *out_size = size;
    return ERR_OK;
}

enum err
file_load(const char *path, size_t size_max, char **out_data, size_t *out_size)
{
    int fd = -1;
    enum err err = file_open(path, FILE_READ, &fd);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_NOT_FOUND : ERR_IO;
    }
    err = load_fd(fd, size_max, out_data, out_size);
    file_close(fd);
    return err;
}

/* Tell whether nobody but we can read or change a file. */
static bool is_private(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
           status.st_uid == geteuid() &&
           (status.st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

enum err file_load_private(const char *path,
                           size_t size_max,
                           char **out_data,
                           size_t *out_size)
{
    int fd = -1;
    enum err err = file_open(path, FILE_READ, &fd);
    if (err != ERR_OK) {
        bool denied = err != ERR_NOT_FOUND && errno == EACCES;
        return err == ERR_NOT_FOUND ? ERR_NOT_FOUND
               : denied             ? ERR_DENIED
                                    : ERR_IO;
    }
    err =
        is_private(fd) ? load_fd(fd, size_max, out_data, out_size) : ERR_DENIED;
    file_close(fd);
    return err;
}

/* Write the directory of `path` to `directory` of FILE_PATH_MAX bytes. */
static enum err parent_of(const char *path, char *directory)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - path);
    if (size >= FILE_PATH_MAX) {
        return ERR_IO;
    }
    if (slash == NULL) {
        memcpy(directory, ".", 2);
    } else if (size == 0) {
        memcpy(directory, "/", 2);
    } else {
        memcpy(directory, path, size);
        directory[size] = '\0';
    }
    return ERR_OK;
}

/* Make `beside` a durable file of these bytes. */
static enum err write_beside(const char *beside, const void *data, size_t size)
{
    int fd = -1;
    enum err err =
        file_open(beside, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &fd);
    if (err != ERR_OK) {
        return err;
    }
    err = file_write_at(fd, data, size, 0, false);
    if (err == ERR_OK) {
        err = sync_whole(fd);
    }
    file_close(fd);
    return err;
}

enum err file_replace(const char *path, const void *data, size_t size)
{
    char directory[FILE_PATH_MAX];
    char beside[FILE_PATH_MAX];
    if (snprintf(beside, sizeof(beside), "%s.new", path) >=
        (int)sizeof(beside)) {
        return ERR_IO;
    }
    enum err err = parent_of(path, directory);
    if (err != ERR_OK) {
        return err;
    }
    err = write_beside(beside, data, size);
    if (err == ERR_OK) {
        err = file_rename(beside, path);
    }
    if (err != ERR_OK) {
        (void)current->unlink(beside); /* best effort: the next one truncates */
        return err == ERR_FULL ? ERR_FULL : ERR_IO;
    }
    err = file_sync_directory(directory);
    return err == ERR_OK || err == ERR_FULL ? err : ERR_IO;
}
