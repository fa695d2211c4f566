/* How far long work is, for whoever waits at a terminal.
 *
 *     begin -> show* -> end
 *
 * A line on standard error, written over what it was before; nothing at all
 * when standard error is no terminal. It is drawn at most ten times a second,
 * so that work may show each of its steps.
 *
 * Threads: one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_PROGRESS_H
#define OPQ_CLI_PROGRESS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PROGRESS_BAR_SIZE = 30,  /* characters */
    PROGRESS_EVERY_MS = 100, /* at least between two drawings */
    PROGRESS_LINE_MAX = 256, /* bytes; what is longer is cut */
};

struct progress {
    bool shown;       /* standard error is a terminal */
    bool pending;     /* `line` is not drawn yet */
    uint64_t next_ms; /* monotonic: not drawn before */
    size_t drawn;     /* bytes that stand on the line */
    char line[PROGRESS_LINE_MAX];
};

/* Begin. */
void progress_begin(struct progress *progress);

/* Show that `done` of `total` is done; a `total` of 0 is not known: no bar,
 * only the words, which `format` makes. */
void progress_show(struct progress *progress,
                   uint64_t done,
                   uint64_t total,
                   const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

/* End: what was shown last stays, on a line of its own. */
void progress_end(struct progress *progress);

/* Work on messages of which the bytes count. Zeroed, it has done nothing. */
struct progress_steps {
    struct progress progress;
    uint64_t all;   /* bytes of the work; 0: not known */
    uint64_t done;  /* of them */
    uint64_t count; /* messages */
};

/* Begin work on `all` bytes; 0: not known. */
void progress_steps_begin(struct progress_steps *steps, uint64_t all);

/* A message of `bytes` is done. */
void progress_steps_next(struct progress_steps *steps, uint64_t bytes);

/* Wipe off what is shown, so that something can be printed; it comes again with
 * the next progress_show(). */
void progress_clear(struct progress *progress);

/* Append what progress_show() writes for `done` of `total`: "[###...] 5 of 9",
 * for `total` of 0 nothing. */
void progress_bar(struct buf *to, uint64_t done, uint64_t total);

#endif
