/* Programs: running one, and becoming one.
 *
 * Threads: the functions block or end the process; those that change a
 * descriptor may be called by any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_EXEC_H
#define OPQ_SYS_EXEC_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

enum { EXEC_PATH_MAX = 4096, EXEC_OUTPUT_MAX = 512 };

struct exec_result {
    int code; /* what it exited with; 128 and more: the signal that ended it */
    char output[EXEC_OUTPUT_MAX]; /* the last line of its standard error */
};

/* The path of the program that runs, as it was when it was started: where a new
 * version of it is found. `name` is what it was started as: taken when it is a
 * path to it, for it may be a link that is to point to the new version.
 * Errors: ERR_IO, ERR_TOO_LARGE */
MUST_CHECK enum err exec_own_path(const char *name, char path[EXEC_PATH_MAX]);

/* Run a program to its end, without the signals that this process waits for
 * blocked, its standard output dropped. `arguments` are all of them, its name
 * first, NULL last. `extra` is put into its environment: "NAME=value".
 * Blocks: at most `wait_ms`, or until a signal says that this process is to
 *         stop (process_stop_waits()); then it is killed.
 * Errors: ERR_NOT_FOUND, ERR_DENIED, ERR_IO (it cannot be run), ERR_NOMEM,
 *         ERR_TIMEOUT, ERR_CLOSED (this process is to stop) */
MUST_CHECK enum err exec_run(const char *path,
                             char *const *arguments,
                             char *extra,
                             unsigned wait_ms,
                             struct exec_result *out);

/* Open the file of the program that runs, whatever has become of its path.
 * Gives:  `*out_fd`, close-on-exec. Errors: ERR_IO */
MUST_CHECK enum err exec_own_file(int *out_fd);

/* Become a program, with `variable`=`value` in its environment. All other
 * threads end. Returns only when it fails.
 * Errors: ERR_NOT_FOUND, ERR_DENIED, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err exec_become(const char *path,
                                char *const *arguments,
                                const char *variable,
                                const char *value);

/* The same, by a descriptor of exec_own_file(). */
MUST_CHECK enum err exec_become_file(int fd,
                                     char *const *arguments,
                                     const char *variable,
                                     const char *value);

/* Let a descriptor outlive exec_become(), or not. False: there is none. */
bool exec_share(int fd, bool shared);

/* Have a socket that leads nowhere under a number that is not open, so that no
 * file of ours is taken for what should be there. Close-on-exec. */
void exec_hold(int fd);

/* Put bytes into a file that is in memory only, and outlives exec_become().
 * Gives:  `*out_fd`. Errors: ERR_NOMEM, ERR_BUSY, ERR_IO */
MUST_CHECK enum err exec_leave(struct str bytes, int *out_fd);

/* Read what was left, all of it. Gives: `*out`, for free().
 * Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum err exec_left(int fd, char **out, size_t *out_size);

#endif
