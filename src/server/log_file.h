/* The log file behind diagnostics: opened at start, opened anew on SIGUSR1.
 *
 * Threads: lines and log_file_set_level() from any; open, reopen and close
 * from one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_LOG_FILE_H
#define OPQ_SERVER_LOG_FILE_H

#include "base/err.h"
#include "server/config.h"

/* Print as much as the settings `debug` and `log_format` say, in that form, and
 * with `debug` to standard error, too. */
void log_file_set_level(const struct config *config);

/* Send diagnostics to a file (made with its folder).
 * Errors: ERR_TOO_LARGE (the path), ERR_EXISTS (its folder is none), ERR_FULL,
 *         ERR_BUSY (descriptors), ERR_IO; diagnostics then go to standard error
 *         alone */
MUST_CHECK enum err log_file_open(const char *path);

/* Open the path again, after someone has renamed the file. When that fails
 * lines go on to the old file, and one says so. */
void log_file_reopen(void);

/* Close the file; diagnostics are dropped from now on. */
void log_file_close(void);

#endif
