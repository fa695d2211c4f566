/* What a replay would send, counted: a dry run.
 *
 *     begin -> reading, and walks over dead letters -> done()
 *
 * All of the range is read, for only so is it known what a filter lets pass;
 * for at most API_REPLAY_COUNT_MS, then it is told how far it came.
 *
 * Threads: the loop's of the topic's shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_REPLAY_COUNT_H
#define OPQ_ADMIN_API_REPLAY_COUNT_H

#include "admin/api_internal.h"
#include "queue/filter.h"
#include "queue/replay_walk.h"
#include "queue/settings.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    API_REPLAY_COUNT_MS = 5000,
    API_REPLAY_COUNT_STEPS_MAX = 64, /* messages in a turn */
};

/* Embedded in the caller's object. */
struct api_replay_count {
    /* Set by the caller, all borrowed. */
    struct api *api;
    struct shard *there;
    const struct settings *settings; /* of the replay */
    /* It ended; what is below says what was counted. Errors: ERR_NOT_FOUND (the
     * topic was deleted), ERR_INVALID (the filter), ERR_CLOSED, ERR_BUSY,
     * ERR_IO, ERR_NOMEM */
    void (*done)(struct api_replay_count *count, enum err err);
    /* The result. */
    uint64_t messages;
    uint64_t bytes; /* of them, as they are on disk */
    uint64_t first; /* sequence number, if there are any */
    uint64_t last;  /* likewise */
    uint64_t next;  /* all before were looked at */
    /* Private. */
    struct api_reading reading;
    struct io_timer timer;
    uint64_t due_ms;
    struct filter *filter;     /* owned */
    struct replay_walk *walk;  /* one that is under way */
    struct replay_walk *known; /* owned; NULL: none */
};

/* Begin to count. done() may come from inside. */
void api_replay_count_begin(struct api_replay_count *count,
                            struct topic *topic);

#endif
