/* The log file behind diagnostics.
 *
 * A line is one write() with O_APPEND, so lines of threads do not mix and a
 * rotation by rename loses none. The descriptor is swapped by dup2(), which is
 * atomic for writers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/log_file.h"

#include "base/diag.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/log_sink.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct {
    char path[DIR_PATH_MAX];
    int fd; /* -1: none */
    atomic_bool also_stderr;
} log_file = {.fd = -1};

static void write_line(void *context, const char *line, size_t size)
{
    (void)context;
    if (log_file.fd >= 0) {
        log_sink_write(log_file.fd, line, size);
    }
    if (log_file.fd < 0 || atomic_load(&log_file.also_stderr)) {
        log_sink_write(LOG_SINK_STDERR, line, size);
    }
}

static const struct diag_sink sink = {
    .write = write_line, .context = NULL, .now_ms = clock_wall_ms};

/* Make the folder that a path lies in. */
static enum err make_folder(const char *path)
{
    char folder[DIR_PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path) {
        return ERR_OK;
    }
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
    return dir_create(folder);
}

void log_file_set_level(const struct config *config)
{
    diag_set_level(config->debug ? DIAG_LEVEL_DEBUG : DIAG_LEVEL_INFO);
    diag_set_json(strcmp(config->log_format, "json") == 0);
    atomic_store(&log_file.also_stderr, config->debug);
}

enum err log_file_open(const char *path)
{
    diag_set_sink(&sink);
    if (strlen(path) >= sizeof(log_file.path)) {
        return ERR_TOO_LARGE;
    }
    enum err err = make_folder(path);
    if (err != ERR_OK) {
        return err;
    }
    memcpy(log_file.path, path, strlen(path) + 1);
    return log_sink_open(path, &log_file.fd);
}

void log_file_reopen(void)
{
    if (log_file.fd < 0) {
        return;
    }
    enum err err = log_sink_replace(log_file.path, log_file.fd);
    if (err != ERR_OK) {
        DIAG_ERROR("log_reopen_failed", "path=%s err=%s", log_file.path,
                   err_text(err));
        return;
    }
    DIAG_INFO("log_reopened", "path=%s", log_file.path);
}

void log_file_close(void)
{
    diag_set_sink(NULL);
    log_sink_close(log_file.fd);
    log_file.fd = -1;
}
