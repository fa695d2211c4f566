/* A bar that shows how far long work has come: on standard error, and only
 * where that is a terminal.
 *
 * Threads: one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_PROGRESS_H
#define OPQ_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* borrowed: "export" */
    uint64_t all;     /* bytes of the work; 0: not known, counts are shown */
    uint64_t done;    /* of them */
    uint64_t count;   /* messages */
    uint64_t begun_ns;
    uint64_t shown_ns;
    bool terminal;
};

/* Begin. Borrows: what. */
void progress_begin(struct progress *progress, const char *what, uint64_t all);

/* A message of `bytes` was done; draws now and then. */
void progress_step(struct progress *progress, uint64_t bytes);

/* Take the bar away. */
void progress_end(struct progress *progress);

#endif
