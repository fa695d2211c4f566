/* The figures of the process: gathered from the shards as metrics.def says, and
 * shown for Prometheus.
 *
 *     zeroed -> { metrics_gather() on each shard } -> metrics_set_process()
 *            -> metrics_value() | metrics_render()
 *
 * Threads: one at a time; metrics_gather() that of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_METRICS_H
#define OPQ_ADMIN_METRICS_H

#include "admin/metrics_top.h"
#include "base/buf.h"
#include "base/histogram.h"
#include "http/client.h"
#include "http/server.h"
#include "queue/pipeline.h"
#include "queue/shard.h"
#include "sys/process.h"

#include <stdbool.h>
#include <stdint.h>

/* Figures that are one number: METRICS_PUSHES and so on. */
enum metrics_id {
#define SUM(id, labels, decimals, source) METRICS_##id,
#define LARGEST(id, labels, decimals, source) METRICS_##id,
#define PROCESS(id, labels, decimals, source) METRICS_##id,
#include "admin/metrics.def"
    METRICS_VALUES,
};

enum metrics_histogram_id {
#define BUCKETS(id, decimals, first, last, source) METRICS_##id,
#include "admin/metrics.def"
    METRICS_HISTOGRAMS,
};

/* One number a shard. */
enum metrics_shard_id {
#define PER_SHARD(id, decimals, source) METRICS_##id,
#include "admin/metrics.def"
    METRICS_SHARD_VALUES,
};

/* What a walk over the topics of a shard finds. */
struct metrics_walk {
    uint64_t lag;
    uint64_t lagging;
    uint64_t subscriptions;
    uint64_t dead; /* letters that are live */
    uint64_t bytes;
    uint64_t replays_running;
    uint64_t replays_paused;
    uint64_t replays_done;
};

/* What the sources of metrics.def name `of`, on a shard. */
struct metrics_sources {
    const struct shard *shard;
    const struct io_stats *io;
    const struct http_server_stats *server;
    const struct http_client_stats *client;
    const struct listener_stats *listener;
    const struct accept_stats *accept;
    const struct deliverer_stats *deliverer;
    const struct delayed_stats *delayed;
    const struct scheduler_stats *scheduler;
    const struct store_stats *store;
    const struct metrics_walk *walk;
    uint64_t schedules;
};

/* The same of what is of the whole process. */
struct metrics_process {
    struct process_usage usage;
    uint64_t endpoints[ENDPOINT_STATES];
    uint64_t started_ms; /* wall clock */
    uint64_t uptime_ms;
    uint64_t disk_free;
    uint64_t disk_size;
};

/* All of them. Large: allocate it. Zeroed: nothing gathered. */
struct metrics {
    uint64_t values[METRICS_VALUES];
    struct histogram histograms[METRICS_HISTOGRAMS];
    uint32_t shard_count;
    uint64_t shards[SHARDS_MAX][METRICS_SHARD_VALUES];
    struct metrics_top lag;             /* filled by the caller, as */
    struct metrics_top dead;            /* these two */
    struct metrics_endpoints endpoints; /* metrics_top_fini() */
};

/* What is known without the shards. Borrowed during the calls. */
struct metrics_about {
    const char *version;
    const char *io;      /* name of the back end */
    const char *sync;    /* the setting */
    const char *data;    /* the directory */
    uint64_t started_ms; /* wall clock */
    uint64_t started_ns; /* monotonic */
};

/* Walk over the topics of a shard: sums, and the topics that are shown. */
void metrics_topics(struct metrics *metrics,
                    struct shard *there,
                    struct metrics_walk *out_walk);

/* Add the figures of a shard. `walk` is of metrics_topics(), or zeroed. */
void metrics_gather(struct metrics *metrics,
                    struct shard *there,
                    const struct metrics_walk *walk);

/* Set those of the process. The endpoints are chosen, or there are none. */
void metrics_set_process(struct metrics *metrics,
                         const struct metrics_about *about);

/* A figure that is one number, in the unit of its source. */
static inline uint64_t metrics_value(const struct metrics *metrics,
                                     enum metrics_id id)
{
    return metrics->values[id];
}

/* Append all, in METRICS_TEXT_TYPE. */
void metrics_render(const struct metrics *metrics,
                    const struct metrics_about *about,
                    struct buf *to);

/* Append them as a table of a document, in Markdown. */
void metrics_table(struct buf *to);

#endif
