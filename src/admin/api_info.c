/* What the process is and how it is: info, health, readiness, description.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"

#include "base/check.h"
#include "queue/answer.h"
#include "queue/delayed.h"

#include <stdio.h>

void api_info_health(const struct api_request *request)
{
    answer_json(request->exchange, 200, STR("{\"status\":\"alive\"}\n"));
}

void api_info_openapi(const struct api_request *request)
{
    answer_json(request->exchange, 200,
                (struct str){api_openapi_json, api_openapi_json_size});
}

/* --- readiness ------------------------------------------------------------ */

static void ready_run(struct api_call *call, struct shard *there)
{
    const struct store_stats *stats = store_stats(there->store);

    if (there->stopping) {
        api_call_problem(call, 503, "the server is stopping");
    } else if (stats->failed) {
        api_call_problem(call, 503, "the journal cannot be written");
    } else if (stats->disk_low) {
        api_call_problem(call, 503,
                         "the disk is full, or has less room than its reserve: "
                         "pushes are refused, deliveries go on");
    }
    api_call_end(call);
}

static void ready_finish(struct api_call *call)
{
    buf_append_c(&call->body, "{\"status\":\"ready\"}\n");
}

void api_info_ready(const struct api_request *request)
{
    int phase = atomic_load(&request->api->phase);

    if (phase != API_READY) {
        answer_problem(request->exchange, 503,
                       phase == API_STARTING ? "the server is starting"
                                             : "the server is stopping",
                       NULL);
        return;
    }
    struct api_call *call = api_call_create(request, sizeof(*call), ready_run);
    if (call != NULL) {
        call->finish = ready_finish;
        api_call_walk(call);
    }
}

/* --- info ----------------------------------------------------------------- */

/* Sums over the shards. */
struct info_figures {
    uint64_t topics;
    uint64_t connections;
    uint64_t requests;
    uint64_t requests_refused;
    uint64_t pushes;
    uint64_t pushed_bytes;
    uint64_t duplicates;
    uint64_t dedup_ids; /* remembered */
    uint64_t pushes_refused;
    uint64_t pushes_failed;
    uint64_t delivered;
    uint64_t attempts;
    uint64_t in_flight;
    uint64_t backing_off;
    uint64_t delayed;
    uint64_t delayed_handed_on;
    uint64_t delayed_cancelled;
    struct histogram lateness_ms; /* of those handed on */
    uint64_t commits;
    uint64_t commit_failures;
    uint64_t checkpoints;
    uint64_t quarantined;
    uint64_t recovered;
    uint64_t recovery_ms; /* the longest */
    uint64_t journal_bytes;
    uint64_t memory_bytes;
    uint64_t disk_free; /* the least */
    bool disk_low;
};

struct info_call {
    struct api_call base;
    struct info_figures figures;
    char backend[16]; /* of the loops */
};

static void add_store(struct info_figures *sum, const struct store_stats *stats)
{
    sum->commits += stats->commits;
    sum->commit_failures += stats->commit_failures;
    sum->checkpoints += stats->checkpoints;
    sum->quarantined += stats->quarantined;
    sum->recovered += stats->recovered;
    sum->recovery_ms = stats->recovery_ms > sum->recovery_ms
                           ? stats->recovery_ms
                           : sum->recovery_ms;
    sum->journal_bytes += stats->journal_bytes;
    sum->memory_bytes += stats->memory_bytes;
    /* 0: that shard has not looked yet. */
    if (stats->disk_free > 0 &&
        (stats->disk_free < sum->disk_free || sum->disk_free == 0)) {
        sum->disk_free = stats->disk_free;
    }
    sum->disk_low = sum->disk_low || stats->disk_low;
}

static void info_run(struct api_call *call, struct shard *there)
{
    struct info_call *info = CONTAINER_OF(call, struct info_call, base);
    struct info_figures *sum = &info->figures;
    struct pipeline *pipeline = pipeline_of(there);
    const struct http_server_stats *server =
        http_server_stats(pipeline_server(pipeline));
    const struct listener_stats *listener =
        listener_stats(pipeline_listener(pipeline));
    const struct deliverer_stats *deliverer =
        deliverer_stats(pipeline_deliverer(pipeline));

    sum->topics += there->topic_count;
    sum->connections += server->connections_open;
    sum->requests += server->requests;
    sum->requests_refused += server->refused;
    sum->pushes += listener->pushes;
    sum->pushed_bytes += listener->pushed_bytes;
    sum->duplicates += listener->duplicates;
    sum->dedup_ids += accept_stats(there->accept)->dedup_ids;
    sum->pushes_refused += listener->refused;
    sum->pushes_failed += listener->failed;
    sum->delivered += deliverer->delivered;
    sum->attempts += deliverer->attempts;
    sum->in_flight += deliverer->in_flight;
    sum->backing_off += deliverer->backing_off;
    const struct delayed_stats *delayed = delayed_stats(there->delayed);
    sum->delayed += delayed->pending;
    sum->delayed_handed_on += delayed->handed;
    sum->delayed_cancelled += delayed->cancelled;
    histogram_add(&sum->lateness_ms, &delayed->lateness_ms);
    add_store(sum, store_stats(there->store));
    (void)snprintf(info->backend, sizeof(info->backend), "%s",
                   io_backend_name(there->io));
    api_call_end(call);
}

static void member(struct buf *to, const char *name, uint64_t value)
{
    buf_append_format(to, "\"%s\":%llu,", name, (unsigned long long)value);
}

static void text_member(struct buf *to, const char *name, const char *text)
{
    buf_append_format(to, "\"%s\":\"", name);
    buf_append_json(to, str_from(text));
    buf_append_c(to, "\",");
}

static void append_limits(struct buf *to,
                          const struct api_options *options,
                          const struct http_server_options *http)
{
    buf_append_c(to, "\"limits\":{");
    member(to, "body_size_max", http->body_size_max);
    member(to, "body_buffer", http->body_buffer);
    member(to, "head_size_max", http->limits.head_size_max);
    member(to, "target_size_max", http->limits.target_size_max);
    member(to, "message_size_max", options->message_size_max);
    member(to, "batch_count_max", options->batch_count_max);
    member(to, "topic_name_max", TOPIC_NAME_MAX);
    buf_append_format(to, "\"page_max\":%d},", API_PAGE_MAX);
}

static void append_figures(struct buf *to, const struct info_figures *figures)
{
    buf_append_c(to, "\"since_start\":{");
    member(to, "requests", figures->requests);
    member(to, "requests_refused", figures->requests_refused);
    member(to, "pushes", figures->pushes);
    member(to, "pushed_bytes", figures->pushed_bytes);
    member(to, "duplicates", figures->duplicates);
    member(to, "pushes_refused", figures->pushes_refused);
    member(to, "pushes_failed", figures->pushes_failed);
    member(to, "delivered", figures->delivered);
    member(to, "attempts", figures->attempts);
    member(to, "delayed_handed_on", figures->delayed_handed_on);
    member(to, "delayed_cancelled", figures->delayed_cancelled);
    member(to, "delayed_late_p50_ms",
           histogram_percentile(&figures->lateness_ms, 0.5));
    member(to, "delayed_late_p99_ms",
           histogram_percentile(&figures->lateness_ms, 0.99));
    member(to, "delayed_late_max_ms", figures->lateness_ms.largest);
    member(to, "commits", figures->commits);
    member(to, "commit_failures", figures->commit_failures);
    member(to, "checkpoints", figures->checkpoints);
    member(to, "quarantined", figures->quarantined);
    member(to, "recovered", figures->recovered);
    buf_append_format(to, "\"recovery_ms\":%llu},\"now\":{",
                      (unsigned long long)figures->recovery_ms);
    member(to, "topics", figures->topics);
    member(to, "connections", figures->connections);
    member(to, "in_flight", figures->in_flight);
    member(to, "backing_off", figures->backing_off);
    member(to, "dedup_ids", figures->dedup_ids);
    member(to, "delayed", figures->delayed);
    member(to, "journal_bytes", figures->journal_bytes);
    member(to, "memory_bytes", figures->memory_bytes);
    member(to, "disk_free", figures->disk_free);
    buf_append_format(to, "\"disk_low\":%s}",
                      figures->disk_low ? "true" : "false");
}

static void info_finish(struct api_call *call)
{
    const struct info_call *info = CONTAINER_OF(call, struct info_call, base);
    const struct api_options *options = &call->api->options;
    struct buf *to = &call->body;

    buf_append_byte(to, '{');
    text_member(to, "name", "opq");
    text_member(to, "version", options->version);
    text_member(to, "data", options->data);
    text_member(to, "durability", options->durability);
    text_member(to, "io", info->backend);
    member(to, "shards", options->shard_count);
    append_limits(to, options,
                  http_server_limits(pipeline_server(pipeline_of(call->home))));
    append_figures(to, &info->figures);
    buf_append_c(to, "}\n");
}

void api_info_get(const struct api_request *request)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct info_call), info_run);

    if (call != NULL) {
        call->finish = info_finish;
        api_call_walk(call);
    }
}
