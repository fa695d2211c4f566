/* The calls that look in and change topics: everything under /opq/ that is not
 * the listener's, and /healthz, /readyz, /openapi.json.
 *
 * What concerns one topic runs on the shard that owns it; what concerns all of
 * them visits shard after shard.
 *
 * Threads: a request's from its shard's; api_create() once at start, for all.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_H
#define OPQ_ADMIN_API_H

#include "base/err.h"
#include "http/server.h"
#include "queue/pipeline.h"

#include <stdbool.h>
#include <stdint.h>

struct api;

/* How the settings are read anew; see server/reload.h. NULL calls (tests): they
 * cannot be. One reload after the other. */
struct api_reload {
    /* From any thread; blocks. `answer` gets JSON, or `errors` lines.
     * Errors: ERR_INVALID, ERR_NOMEM */
    enum err (*read)(void *context, struct buf *answer, struct buf *errors);
    /* On each shard, after read(). */
    void (*apply)(void *context, struct pipeline *pipeline);
    /* After all of them. */
    void (*end)(void *context);
    void *context; /* borrowed */
};

/* What /opq/info tells of the process; limits are shown as they are set. Those
 * of HTTP are asked of its server. */
struct api_options {
    const char *version; /* "0.1.0"; borrowed, all texts */
    bool admin;          /* serve the calls that read and change topics;
                            else 404 but for info and health */
    uint64_t message_size_max;
    uint32_t batch_count_max;
    uint32_t shard_count;
    const char *durability; /* the default: "disk" or "none" */
    const char *data;       /* the directory */
    /* Whether a target's host is allowed at all, as recorder_options has it.
     * Threads: any. NULL: all are. */
    bool (*target_allowed)(void *context, struct str host);
    void *context; /* borrowed */
    struct api_reload reload;
};

/* Make the API.
 * Gives:  `*out`, for api_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err api_create(const struct api_options *options,
                               struct api **out);

/* Free it. Accepts NULL. No request is under way. */
void api_destroy(struct api *api);

/* Say that all shards are open: /readyz turns 200. Threads: any. */
void api_set_ready(struct api *api, bool ready);

/* Say that a restart is under way, and waits for what would be done twice:
 * /opq/info shows it. Threads: any. */
void api_set_restarting(struct api *api, bool restarting);

/* Take a request; the shape of pipeline_options.handle_other. Answers 404 for
 * what it does not know. */
void api_handle(void *context,
                struct pipeline *pipeline,
                struct http_exchange *exchange);

#endif
