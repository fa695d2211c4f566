/* How far long work is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/progress.h"

#include "sys/clock.h"
#include "sys/file.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STDERR_FD = 2 };

void progress_begin(struct progress *progress)
{
    *progress = (struct progress){.shown = file_is_terminal(STDERR_FD)};
}

void progress_bar(struct buf *to, uint64_t done, uint64_t total)
{
    if (total == 0) {
        return;
    }
    uint64_t known = done < total ? done : total;
    uint64_t filled =
        (uint64_t)((double)known / (double)total * PROGRESS_BAR_SIZE);
    buf_append_byte(to, '[');
    for (uint64_t at = 0; at < PROGRESS_BAR_SIZE; at++) {
        buf_append_byte(to, at < filled ? '#' : '.');
    }
    buf_append_format(to, "] %llu of %llu", (unsigned long long)done,
                      (unsigned long long)total);
}

static void draw(struct progress *progress)
{
    struct str line = str_from(progress->line);
    bool shorter = line.size < progress->drawn;

    (void)fprintf(stderr, "\r%s%s", line.data, shorter ? "\033[K" : "");
    (void)fflush(stderr);
    progress->drawn = line.size;
    progress->pending = false;
}

void progress_show(struct progress *progress,
                   uint64_t done,
                   uint64_t total,
                   const char *format,
                   ...)
{
    struct buf line = {0};
    va_list arguments;

    if (!progress->shown) {
        return;
    }
    progress_bar(&line, done, total);
    buf_append_c(&line, total > 0 ? ", " : "");
    size_t size =
        line.size < PROGRESS_LINE_MAX / 2 ? line.size : PROGRESS_LINE_MAX / 2;
    size = line.failed ? 0 : size;
    if (size > 0) {
        memcpy(progress->line, line.data, size);
    }
    buf_fini(&line);
    va_start(arguments, format);
    (void)vsnprintf(progress->line + size, PROGRESS_LINE_MAX - size, format,
                    arguments);
    va_end(arguments);
    progress->pending = true;
    uint64_t now_ms = clock_monotonic_ns() / 1000000;
    if (now_ms >= progress->next_ms) {
        progress->next_ms = now_ms + PROGRESS_EVERY_MS;
        draw(progress);
    }
}

void progress_end(struct progress *progress)
{
    if (progress->pending) {
        draw(progress);
    }
    if (progress->drawn > 0) {
        (void)fputc('\n', stderr);
    }
    progress->drawn = 0;
}

void progress_clear(struct progress *progress)
{
    if (progress->drawn > 0) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
        progress->drawn = 0;
        progress->pending = true;
    }
}

void progress_steps_begin(struct progress_steps *steps, uint64_t all)
{
    *steps = (struct progress_steps){.all = all};
    progress_begin(&steps->progress);
}

void progress_steps_next(struct progress_steps *steps, uint64_t bytes)
{
    steps->done += bytes;
    steps->count++;
    if (steps->all > 0 && steps->done > steps->all) {
        steps->all = steps->done; /* more came meanwhile */
    }
    progress_show(&steps->progress, steps->done, steps->all,
                  "bytes, %llu messages", (unsigned long long)steps->count);
}
