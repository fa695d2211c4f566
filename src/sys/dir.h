/* Directories: make, list, remove, lock, how much room is left.
 *
 * Threads: any. All calls block.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_DIR_H
#define OPQ_SYS_DIR_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIR_PATH_MAX = 4096 }; /* bytes of a path, its NUL included */

/* Make a directory (0750) and, with it, those above that are missing. One that
 * is there already is fine. Durable only after dir_sync() of its parent.
 *
 * Errors: ERR_EXISTS  something else has the name
 *         ERR_FULL, ERR_IO
 */
MUST_CHECK enum err dir_create(const char *path);

/* Tell whether a path is a symbolic link, wherever it leads. */
bool dir_is_link(const char *path);

/* Make the names in a directory durable.
 * Errors: ERR_NOT_FOUND, ERR_IO */
MUST_CHECK enum err dir_sync(const char *path);

/* Call `visit` for each name in a directory but . and .., in no order. A
 * return other than ERR_OK ends the walk and is returned.
 * Errors: ERR_NOT_FOUND, ERR_IO, what `visit` gave */
MUST_CHECK enum err
dir_each(const char *path,
         enum err (*visit)(void *context, const char *name, bool is_directory),
         void *context);

/* Remove a directory with the files in it and one level of folders.
 * Errors: ERR_NOT_FOUND, ERR_IO (what is left is as it was) */
MUST_CHECK enum err dir_remove(const char *path);

/* Tell whether this process has the right to make files in a directory, or, as
 * long as it is not there, to make it; true for a file. For words about a
 * failure. */
bool dir_allowed(const char *path);

/* Take the lock file `path` for this process until it ends or unlocks; writes
 * the process id into it.
 *
 * Gives:  `*out_fd`, for dir_unlock().
 * Errors: ERR_BUSY  another process has it
 *         ERR_IO
 */
MUST_CHECK enum err dir_lock(const char *path, int *out_fd);

/* The same; `*out_again` says whether nobody took it since it was locked with
 * the stamp `since`; 0: no stamp.
 * Errors: as dir_lock() */
MUST_CHECK enum err
dir_lock_since(const char *path, uint64_t since, int *out_fd, bool *out_again);

/* When a lock that is held was taken, in the time of its file system; 0: not
 * known. */
uint64_t dir_lock_stamp(int fd);

/* Tell whether a process has the lock file `path`. Takes and writes nothing. */
bool dir_locked(const char *path);

/* Give the lock back. -1 is accepted. */
void dir_unlock(int fd);

/* Bytes free for us on the file system of `path`, and its size.
 * Errors: ERR_NOT_FOUND, ERR_IO */
MUST_CHECK enum err
dir_space(const char *path, uint64_t *out_free, uint64_t *out_total);

/* Write "<directory>/<name>" to `path` of DIR_PATH_MAX bytes.
 * Errors: ERR_TOO_LARGE */
MUST_CHECK enum err
dir_join(char *path, const char *directory, const char *name);

/* Tell whether users other than its owner and group may read a file. */
bool dir_file_is_public(const char *path);

#endif
