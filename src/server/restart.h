/* A smooth restart (SIGHUP): the program at the own path, which may be a new
 * version, is tried; then this process becomes it, its clients and listening
 * sockets with it (handover.h).
 *
 *     check -> pipelines hand over -> records -> handover_become()
 *                                                     |
 *               restart_listeners() -> restart_adopt() in the new program
 *
 * Threads: as said.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_RESTART_H
#define OPQ_SERVER_RESTART_H

#include "base/buf.h"
#include "http/server.h"
#include "queue/pipeline.h"
#include "server/handover.h"
#include "server/listen.h"
#include "sys/exec.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { RESTART_WHY_MAX = 600 };

/* In the environment of a program that is tried: the version of the handover
 * that it would get, and the addresses that it would get sockets of; "*": all
 * that it needs. "1 127.0.0.1:8999 [::1]:8999" */
#define RESTART_CHECK_VARIABLE "OPQ_HANDOVER_CHECK"

/* How the process was started. */
struct restart_start {
    char *const *arguments; /* borrowed: all, the program's name first */
    struct handover handover;
};

/* Clients of one shard on their way out. */
struct restart_clients {
    uint32_t shard;
    uint32_t count;
    uint64_t held_ns;   /* monotonic, of the first */
    struct buf records; /* owned */
};

/* The line that says so, after all else on standard error: a program that knows
 * nothing of it may exit with 0, too. */
#define RESTART_CHECK_LINE "opq: ready to take over"

/* In a program that is tried: tell whether it takes over from a version.
 * `errors` has a line. Takes the variable out of the environment.
 *
 * Gives: `*out_addresses`, those of the variable, borrowed for ever; NULL: it
 * is not tried */
bool restart_may_take_over(struct buf *errors, const char **out_addresses);

/* Try the program at `path` with these arguments: does it run, take over from
 * this version, find its settings right, and addresses that are not bound yet
 * free? `why` says why not.
 * Blocks: 10 s at most. Threads: the main one. */
bool restart_check(const char *path,
                   char *const *arguments,
                   const struct listen_inherited *listeners,
                   char why[RESTART_WHY_MAX]);

/* For pipeline_hand_over(), with the shard's struct restart_clients. */
void restart_take(void *context, const struct http_handed *handed);

/* All records, of all shards; `program` is where successors are looked for. The
 * buffer fails without memory. */
void restart_records(const char *program,
                     const struct listen_inherited *listeners,
                     struct restart_clients *const *clients,
                     uint32_t count,
                     struct buf *to);

/* Where successors are to be looked for, by who was here before. False: nobody
 * was, or did not say, or it is too long. Threads: the main one. */
bool restart_program(const struct handover *handover, char path[EXEC_PATH_MAX]);

/* Where journals ended that were left, of `max` shards at most; returns of how
 * many. What is known of topics is borrowed from the handover.
 * Threads: the main one. */
uint32_t restart_ends(const struct handover *handover,
                      struct store_local_end *to,
                      uint32_t max);

/* Note the listening sockets that were left. Threads: the main one. */
void restart_listeners(const struct handover *handover,
                       struct listen_inherited *to);

/* Go on with the clients that were left to a shard, of `count`. Returns how
 * many. Threads: the shard's. */
uint32_t restart_adopt(const struct handover *handover,
                       struct pipeline *pipeline,
                       uint32_t shard,
                       uint32_t count);

/* Close listening sockets that nobody wants any more; a shard goes on with the
 * connections that wait there, without TLS. Returns how many. Threads: the
 * shard's. */
uint32_t restart_adopt_waiting(struct listen_inherited *listeners,
                               struct pipeline *pipeline);

/* Milliseconds since the clients of before were held; 0: there were none. */
uint64_t restart_pause_ms(const struct handover *handover);

#endif
