/* A file that lines are appended to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum err log_sink_open(const char *path, int *out_fd)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

    if (fd < 0) {
        return err_from_errno(errno);
    }
    *out_fd = fd;
    return ERR_OK;
}

enum err log_sink_replace(const char *path, int fd)
{
    int fresh = -1;
    enum err err = log_sink_open(path, &fresh);

    if (err != ERR_OK) {
        return err;
    }
    if (dup3(fresh, fd, O_CLOEXEC) < 0) {
        err = err_from_errno(errno);
    }
    (void)close(fresh);
    return err;
}

void log_sink_write(int fd, const char *line, size_t size)
{
    ssize_t written;

    do {
        written = write(fd, line, size);
    } while (written < 0 && errno == EINTR);
}

void log_sink_close(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}
