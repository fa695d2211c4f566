/* A file that lines are appended to, by many threads.
 *
 * Threads: log_sink_write() from any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_LOG_SINK_H
#define OPQ_SYS_LOG_SINK_H

#include "base/err.h"

#include <stddef.h>

enum { LOG_SINK_STDERR = 2 };

/* Open a file for appending, made (0640) when it is not there.
 * Gives:  `*out_fd`, for log_sink_close().
 * Errors: ERR_NOT_FOUND (its folder), ERR_FULL, ERR_BUSY, ERR_IO */
MUST_CHECK enum err log_sink_open(const char *path, int *out_fd);

/* Make `fd` stand for the file that `path` names now. Writers meanwhile write
 * to the one or the other.
 * Errors: as log_sink_open(); then `fd` stays as it is */
MUST_CHECK enum err log_sink_replace(const char *path, int fd);

/* Append bytes with one write. A failure is passed over: there is nowhere left
 * to tell it. */
void log_sink_write(int fd, const char *line, size_t size);

/* Close; -1 is accepted. */
void log_sink_close(int fd);

#endif
