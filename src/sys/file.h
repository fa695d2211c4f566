/* Blocking calls on files, the one door to them for all modules above.
 *
 * Every call goes through a table of functions, so that tests put failures
 * under the whole store: "the third sync fails with EIO". Interrupted calls
 * are gone on with; a short write is gone on with.
 *
 * Threads: any; the table is set before there are threads.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_FILE_H
#define OPQ_SYS_FILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The kernel's calls, as the kernel has them: -1 and errno on failure. */
struct file_calls {
    int (*open)(const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pwritev2)(int fd,
                        const struct iovec *parts,
                        int part_count,
                        off_t offset,
                        int flags);
    ssize_t (*preadv2)(int fd,
                       const struct iovec *parts,
                       int part_count,
                       off_t offset,
                       int flags);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*syncfs)(int fd);
    int (*ftruncate)(int fd, off_t size);
    int (*fallocate)(int fd, int mode, off_t offset, off_t size);
    int (*rename)(const char *from, const char *to);
    int (*link)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
    int (*rmdir)(const char *path);
    void *(*mmap)(size_t size, int protection, int flags, int fd, off_t offset);
    int (*munmap)(void *address, size_t size);
};

/* Put other functions under this module (tests); NULL brings the kernel's
 * back. Copies nothing: `calls` outlives their use. */
void file_set_calls(const struct file_calls *calls);

/* The kernel's own, for wrappers to call. */
const struct file_calls *file_kernel_calls(void);

/* Those in use, for the other modules of sys/. */
const struct file_calls *file_current_calls(void);

enum {
    FILE_READ = 0,            /* open for reading */
    FILE_WRITE = 1,           /* open for reading and writing */
    FILE_CREATE = 2,          /* make it (0640) when it is not there */
    FILE_EXCLUSIVE = 4,       /* with FILE_CREATE: refuse one that is there */
    FILE_DIRECT = 8,          /* bypass the page cache (O_DIRECT) */
    FILE_TRUNCATE = 16,       /* empty it */
    FILE_DIRECT_ALIGN = 4096, /* of buffers, sizes and offsets when direct */
};

/* Open a file, close-on-exec.
 *
 * Gives:  a descriptor, for file_close().
 * Errors: ERR_NOT_FOUND, ERR_EXISTS, ERR_FULL, ERR_BUSY (descriptors)
 *         ERR_UNSUPPORTED  FILE_DIRECT on a file system that has none
 *         ERR_IO           any other failure; a named pipe for reading, which
 *                          would wait for somebody to write
 */
MUST_CHECK enum err file_open(const char *path, int flags, int *out_fd);

/* Close; -1 is accepted. Errors of close are not news: whoever needs
 * durability has synced. */
void file_close(int fd);

/* Tell whether somebody reads a descriptor on a terminal. */
bool file_is_terminal(int fd);

/* Write all of it at `offset`. `durable`: with RWF_DSYNC.
 *
 * Errors: ERR_FULL, ERR_IO; some bytes may have been written
 */
MUST_CHECK enum err file_write_at(
    int fd, const void *data, size_t size, uint64_t offset, bool durable);

/* As file_write_at(), the bytes gathered from `parts` (at most IOV_MAX), which
 * are changed as they are written. */
MUST_CHECK enum err file_write_parts(int fd,
                                     struct iovec *parts,
                                     uint32_t part_count,
                                     uint64_t offset,
                                     bool durable);

/* As file_read_at(), scattered over `parts` (at most IOV_MAX), which are
 * changed as they are filled. */
MUST_CHECK enum err file_read_parts(int fd,
                                    struct iovec *parts,
                                    uint32_t part_count,
                                    uint64_t offset,
                                    size_t *out_size);

/* Have writes and reads of a descriptor go past the page cache from now on, or
 * through it. False when the file system has no such way. */
bool file_set_direct(int fd, bool direct);

/* Read up to `size` bytes; fewer only at the file's end.
 *
 * Errors: ERR_IO
 */
MUST_CHECK enum err
file_read_at(int fd, void *to, size_t size, uint64_t offset, size_t *out_size);

/* Read what is in the page cache without blocking.
 *
 * Errors: ERR_AGAIN  it would block, or is not cached: read it on a helper
 *         ERR_IO
 */
MUST_CHECK enum err file_read_cached(
    int fd, void *to, size_t size, uint64_t offset, size_t *out_size);

/* Make data and what is needed to read it back durable (fdatasync).
 *
 * Errors: ERR_FULL, ERR_IO; the bytes may be lost, and a second call that
 *         succeeds proves nothing about them
 */
MUST_CHECK enum err file_sync(int fd);

/* Have the kernel begin to write back what was written to a range, so that the
 * next sync has less to do. Promises nothing and fails silently; how a later
 * sync tells of failures does not change. Blocks: while the device's queue is
 * full. */
void file_write_back(int fd, uint64_t offset, uint64_t size);

/* Make everything of the file system that holds `fd` durable (syncfs).
 * Errors: as file_sync() */
MUST_CHECK enum err file_sync_all(int fd);

/* Make the names in a directory durable.
 * Errors: ERR_NOT_FOUND, ERR_IO */
MUST_CHECK enum err file_sync_directory(const char *path);

/* Cut or extend (with a hole) to `size`.
 * Errors: ERR_FULL, ERR_IO */
MUST_CHECK enum err file_truncate(int fd, uint64_t size);

/* Fill with written zeros from 0 to `size` and sync, so that later writes
 * change no metadata.
 * Errors: ERR_FULL, ERR_IO */
MUST_CHECK enum err file_fill(int fd, uint64_t size);

/* The size of a file.
 * Errors: ERR_IO */
MUST_CHECK enum err file_size(int fd, uint64_t *out_size);

/* Map a file, shared. `writable` needs FILE_WRITE.
 *
 * Gives:  memory, for file_unmap().
 * Errors: ERR_NOMEM, ERR_IO
 */
MUST_CHECK enum err
file_map(int fd, size_t size, bool writable, void **out_memory);

/* Unmap; NULL is accepted. */
void file_unmap(void *memory, size_t size);

/* Replace `to` by `from` in one step; sync the directory for durability.
 * Errors: ERR_NOT_FOUND, ERR_FULL, ERR_IO */
MUST_CHECK enum err file_rename(const char *from, const char *to);

/* Give a file a second name; sync the directory for durability.
 * Errors: ERR_NOT_FOUND, ERR_EXISTS (`to`), ERR_FULL
 *         ERR_UNSUPPORTED  not here: the file system has no second names, no
 *                          more of them for this file, or it is another's
 *         ERR_IO           any other failure */
MUST_CHECK enum err file_link(const char *from, const char *to);

/* Remove a file's name.
 * Errors: ERR_NOT_FOUND, ERR_IO */
MUST_CHECK enum err file_remove(const char *path);

/* Read a whole small file.
 *
 * Gives:  `*out_data`, for free(); terminated, the NUL not counted.
 * Errors: ERR_NOT_FOUND, ERR_TOO_LARGE (past `size_max`), ERR_NOMEM, ERR_IO
 */
MUST_CHECK enum err
file_load(const char *path, size_t size_max, char **out_data, size_t *out_size);

/* As file_load(), of a file that nobody but we may read: a regular one that
 * belongs to our effective user and has no rights for group and others. What
 * was read of a file that is refused is wiped.
 *
 * Errors: ERR_DENIED  it is not so, or we may not read it ourselves;
 *         those of file_load()
 */
MUST_CHECK enum err file_load_private(const char *path,
                                      size_t size_max,
                                      char **out_data,
                                      size_t *out_size);

/* Replace a small file so that a crash leaves the old or the new content:
 * write beside it ("<path>.new"), sync, rename, sync the directory.
 * Errors: ERR_FULL, ERR_IO; the old content is still there, or, when only the
 *         directory's sync failed, the new one, and a crash may bring the old
 *         one back */
MUST_CHECK enum err
file_replace(const char *path, const void *data, size_t size);

#endif
