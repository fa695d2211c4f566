/* Reading the settings again while the server runs: POST /opq/reload.
 *
 *     read (files; changes nothing) -> apply on each shard -> end
 *
 * All that can fail is done by reload_read(): the settings are read from where
 * they came from, looked at as at start, and tokens, secrets and certificates
 * made. What is wrong leaves everything as it was. Applying cannot fail.
 *
 * A setting that needs a restart stays as it is, and is named each time until
 * then. What is left in force together is looked at as well: tokens cannot go
 * while the sockets that are open need them.
 *
 * Threads: read, apply and end of one reload after the other, from any, and
 * apply from the shard's own, on all at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_RELOAD_H
#define OPQ_SERVER_RELOAD_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/pipeline.h"
#include "server/config.h"

#include <stdint.h>

struct reload;

struct reload_options {
    const struct config *config; /* in force; borrowed by reload_create() */
    char *const *arguments;      /* of the program; borrowed */
    uint32_t shard_count;
    /* Look at settings, as server_check(), and beside what is open. */
    enum err (*check)(void *context,
                      const struct config *config,
                      struct buf *errors);
    /* Say what settings are to the parts of a shard, but tokens, secrets and
     * certificate. */
    void (*change_of)(void *context,
                      const struct config *config,
                      struct pipeline_change *out);
    void *context; /* borrowed */
};

/* Make it. Gives: `*out`, for reload_destroy(). Errors: ERR_NOMEM */
MUST_CHECK enum err reload_create(const struct reload_options *options,
                                  struct reload **out);

/* Free it. Accepts NULL. None is under way. */
void reload_destroy(struct reload *reload);

/* Read settings and files anew. `answer` gets a JSON object of what changes, or
 * `errors` a line for each thing that is wrong; then nothing follows, else
 * reload_apply() on each shard and reload_end().
 *
 * Blocks: on the files
 * Errors: ERR_INVALID, ERR_NOMEM
 */
MUST_CHECK enum err
reload_read(void *context, struct buf *answer, struct buf *errors);

/* Have a shard go by what was read. */
void reload_apply(void *context, struct pipeline *pipeline);

/* All shards go by it: tell it in the log. */
void reload_end(void *context);

#endif
