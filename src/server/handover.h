/* What a process leaves to the one that it becomes, at a smooth restart.
 *
 * A file in memory, by a descriptor whose number is in the environment, with
 * records that name descriptors: listening sockets, and connections with what
 * goes with them. doc/operations.md says what happens when; the format:
 *
 *     "OPQ-HAND", u32 version, u32 0                  all numbers are
 *     { u32 type, u32 size, size bytes }*             little-endian
 *
 *     type 1, begun:     u64 monotonic ns, when connections were held
 *     type 2, listener:  u64 descriptor, flags (1: opened by systemd)
 *     type 3, client:    u64 descriptor, shard, flags, head size; of a chunked
 *                        body: bytes left of the chunk, state, overhead; bytes
 *                        of the body to come, that came; sizes of the four
 *                        strings that follow: unsent, unsent behind it,
 *                        request, input
 *     type 4, program:   the path at which successors are looked for
 *     type 5, journal:   where a shard's journal ended: u64 node id of the data
 *                        directory, shard, generation, offset; maybe also: the
 *                        last checkpoint, when the directory was locked, and
 *                        notes of topics, which have a version of their own
 *                        (store/store_notes.h)
 *
 * A successor takes what is of its version or an older one. Records of a type
 * that it does not know are passed over; what a newer version adds to one goes
 * to the record's end.
 *
 * Threads: none of its own.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_HANDOVER_H
#define OPQ_SERVER_HANDOVER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/server.h"
#include "store/store_local.h"

#include <stdbool.h>
#include <stdint.h>

enum { HANDOVER_VERSION = 1 };

/* Names the descriptors: of the records, and of the former program's file, to
 * go back to; -1: none. "12,13" */
#define HANDOVER_VARIABLE "OPQ_HANDOVER"

/* --- writing -------------------------------------------------------------- */

/* Begin a handover. As all below: without memory, the buffer has failed. */
void handover_begin(struct buf *to, uint64_t held_ns);

/* A listening socket. */
void handover_listener(struct buf *to, int fd, bool activated);

/* Where the program's successors are looked for. */
void handover_program(struct buf *to, const char *path);

/* Where the journal of a shard ended. */
void handover_journal(struct buf *to, const struct store_local_end *end);

/* A connection of a shard. */
void handover_client(struct buf *to,
                     uint32_t shard,
                     const struct http_handed *handed);

/* --- reading -------------------------------------------------------------- */

/* What is called for each record; none NULL. */
struct handover_calls {
    void (*begun)(void *context, uint64_t held_ns);
    void (*listener)(void *context, int fd, bool activated);
    /* Borrowed during the call. */
    void (*program)(void *context, struct str path);
    /* Borrowed during the call. */
    void (*journal)(void *context, const struct store_local_end *end);
    /* Borrowed during the call, but for the descriptor. */
    void (*client)(void *context,
                   uint32_t shard,
                   const struct http_handed *handed);
};

/* Read a handover. What was read by then was called for.
 * Errors: ERR_UNSUPPORTED  a version that is not known
 *         ERR_CORRUPT      it breaks off, or says what cannot be */
MUST_CHECK enum err handover_read(struct str bytes,
                                  const struct handover_calls *calls,
                                  void *context);

/* --- the change ----------------------------------------------------------- */

/* What was left to this process. Zeroed: nothing. */
struct handover {
    int fd;      /* of the records; 0: none */
    int back_fd; /* of the former program's file; -1: none */
    char *bytes; /* owned; NULL: they could not be read */
    size_t size;
};

/* Take what was left, if anything, and the variable out of the environment.
 * Before settings are read. Gives: `*out`, for handover_end(); when it fails,
 * for handover_back() only.
 * Errors: ERR_CORRUPT, ERR_UNSUPPORTED (of a newer version), ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err handover_take(struct handover *out);

/* Forget it: all of it is taken over. */
void handover_end(struct handover *handover);

/* Go back to the former program, which gets all of it again; only when nothing
 * was touched. Returns when it cannot be done, or nothing was left. */
void handover_back(const struct handover *handover, char *const *arguments);

/* Become `path`, which gets `records`; back to the own program when it cannot
 * be run. Returns when neither can.
 * Errors: ERR_NOMEM, ERR_BUSY, ERR_IO, ERR_NOT_FOUND, ERR_DENIED */
MUST_CHECK enum err
handover_become(const char *path, char *const *arguments, struct str records);

#endif
