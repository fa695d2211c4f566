/* The serving process: data directory, shards and their threads, signals.
 *
 *     read settings -> prepare data -> listen -> shards open (recover)
 *         -> ready -> signals -> drain -> closed
 *                                \--> hand over -> closed -> the successor
 *
 * Signals: SIGTERM and SIGINT drain and end; a second one ends the drain.
 * SIGUSR1 opens the log file anew. SIGHUP restarts smoothly (restart.h).
 * SIGPIPE is ignored.
 *
 * Threads: one per shard; this one waits for signals.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_SERVER_H
#define OPQ_SERVER_SERVER_H

#include "base/buf.h"
#include "server/config.h"
#include "server/restart.h"

/* Exit codes, those of sysexits.h where it has one. */
enum {
    SERVER_EXIT_OK = 0,
    SERVER_EXIT_UNAVAILABLE = 69, /* port or data directory is in use */
    SERVER_EXIT_SOFTWARE = 70,    /* no memory, no event loop */
    SERVER_EXIT_DATA = 73,        /* the data directory cannot be used */
    SERVER_EXIT_IO = 74,          /* the disk failed; start again to recover */
    SERVER_EXIT_CONFIG = 78,      /* a setting is wrong */
};

/* Look at settings that are more than values: addresses, networks, the files of
 * authorities and secrets. Touches neither port nor data directory. `errors`
 * has a line for each that is wrong. server_run() looks at them too.
 *
 * Errors: ERR_INVALID, ERR_NOMEM
 */
MUST_CHECK enum err server_check(const struct config *config,
                                 struct buf *errors);

/* Serve until a signal, with what another process left, if `start` has that; at
 * SIGHUP this becomes another process. Returns the exit code; what went wrong
 * is in the log and, before there is a log, on standard error. */
int server_run(const struct config *config, struct restart_start *start);

#endif
