/* A progress bar.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/progress.h"

#include "sys/clock.h"
#include "sys/file.h"

#include <stdio.h>

enum {
    WIDTH = 30,
    ASK_EVERY = 256, /* messages between two looks at the clock */
};

static const uint64_t draw_every_ns = UINT64_C(200) * 1000 * 1000;
static const uint64_t second_ns = UINT64_C(1000) * 1000 * 1000;

void progress_begin(struct progress *progress, const char *what, uint64_t all)
{
    *progress = (struct progress){
        .what = what,
        .all = all,
        .begun_ns = clock_monotonic_ns(),
        .terminal = file_is_terminal(fileno(stderr)),
    };
    progress->shown_ns = progress->begun_ns;
}

static void draw(struct progress *progress, uint64_t now_ns)
{
    static const char full[] = "##############################";
    static const char none[] = "..............................";
    uint64_t done =
        progress->done < progress->all ? progress->done : progress->all;
    int filled = progress->all == 0
                     ? 0
                     : (int)((double)done / (double)progress->all * WIDTH);
    double seconds = (double)(now_ns - progress->begun_ns) / (double)second_ns;

    if (progress->all == 0) {
        (void)fprintf(stderr, "\r%s %llu messages, %.0f/s ", progress->what,
                      (unsigned long long)progress->count,
                      (double)progress->count / seconds);
        return;
    }
    (void)fprintf(stderr, "\r%s [%.*s%.*s] %3d %%  %llu messages, %.0f/s ",
                  progress->what, filled, full, WIDTH - filled, none,
                  (int)((double)done * 100 / (double)progress->all),
                  (unsigned long long)progress->count,
                  (double)progress->count / seconds);
}

void progress_step(struct progress *progress, uint64_t bytes)
{
    progress->count++;
    progress->done += bytes;
    if (!progress->terminal || progress->count % ASK_EVERY != 0) {
        return;
    }
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns - progress->shown_ns >= draw_every_ns) {
        progress->shown_ns = now_ns;
        draw(progress, now_ns);
    }
}

void progress_end(struct progress *progress)
{
    if (progress->terminal && progress->shown_ns != progress->begun_ns) {
        (void)fputs("\r\033[K", stderr);
    }
}
