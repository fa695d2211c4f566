/* What the process is and how it is: info, health, readiness, description.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"

#include "admin/metrics.h"
#include "base/check.h"
#include "base/histogram.h"
#include "queue/answer.h"

#include <stdlib.h>

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

/* A figure that is shown as it is gathered. */
struct info_value {
    const char *name;
    enum metrics_id id;
};

struct info_call {
    struct api_call base;
    struct metrics *metrics; /* owned */
};

static struct info_call *info_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct info_call, base);
}

static void info_release(struct api_call *call)
{
    free(info_call_of(call)->metrics);
}

/* Topics are not walked over: nothing of that is shown. */
static void info_run(struct api_call *call, struct shard *there)
{
    static const struct metrics_walk none;

    metrics_gather(info_call_of(call)->metrics, there, &none);
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

/* The sum of figures that stand one after the other in metrics.def. */
static uint64_t sum_of(const struct metrics *metrics,
                       enum metrics_id first,
                       enum metrics_id last)
{
    uint64_t sum = 0;

    for (enum metrics_id id = first; id <= last; id++) {
        sum += metrics_value(metrics, id);
    }
    return sum;
}

/* The same of a figure of each shard. */
static uint64_t sum_of_shards(const struct metrics *metrics,
                              enum metrics_shard_id id)
{
    uint64_t sum = 0;

    for (uint32_t shard = 0; shard < metrics->shard_count; shard++) {
        sum += metrics->shards[shard][id];
    }
    return sum;
}

/* Append figures, by the names that they have here. */
static void append_values(struct buf *to,
                          const struct metrics *metrics,
                          const struct info_value *values,
                          size_t count)
{
    for (size_t index = 0; index < count; index++) {
        member(to, values[index].name,
               metrics_value(metrics, values[index].id));
    }
}

static void append_since_start(struct buf *to, const struct metrics *metrics)
{
    static const struct info_value values[] = {
        {"requests", METRICS_REQUESTS},
        {"requests_refused", METRICS_REQUESTS_REFUSED},
        {"pushes", METRICS_PUSHES},
        {"pushed_bytes", METRICS_PUSHED_BYTES},
        {"duplicates", METRICS_DUPLICATES},
        {"delivered", METRICS_DELIVERED},
        {"delayed_handed_on", METRICS_DELAYED_HANDED_ON},
        {"delayed_cancelled", METRICS_DELAYED_CANCELLED},
        {"commits", METRICS_COMMITS},
        {"commit_failures", METRICS_COMMIT_FAILURES},
        {"checkpoints", METRICS_CHECKPOINTS},
        {"quarantined", METRICS_QUARANTINED},
        {"recovered", METRICS_RECOVERED},
    };
    const struct histogram *late_ms = &metrics->histograms[METRICS_LATENESS_MS];

    buf_append_c(to, "\"since_start\":{");
    append_values(to, metrics, values, sizeof(values) / sizeof(values[0]));
    member(to, "pushes_refused",
           sum_of(metrics, METRICS_REFUSED_INVALID, METRICS_REFUSED_TOO_LARGE));
    member(to, "pushes_failed",
           sum_of(metrics, METRICS_REFUSED_BUSY, METRICS_REFUSED_STORAGE));
    member(to, "attempts",
           sum_of(metrics, METRICS_ATTEMPTS_DELIVERED, METRICS_ATTEMPTS_LOCAL));
    member(to, "delayed_late_p50_ms", histogram_percentile(late_ms, 0.5));
    member(to, "delayed_late_p99_ms", histogram_percentile(late_ms, 0.99));
    member(to, "delayed_late_max_ms", late_ms->largest);
    buf_append_format(
        to, "\"recovery_ms\":%llu},",
        (unsigned long long)metrics_value(metrics, METRICS_RECOVERY_MS));
}

static void
append_now(struct buf *to, const struct metrics *metrics, bool restarting)
{
    static const struct info_value values[] = {
        {"topics", METRICS_TOPICS},       {"connections", METRICS_CONNECTIONS},
        {"in_flight", METRICS_IN_FLIGHT}, {"backing_off", METRICS_BACKING_OFF},
        {"dedup_ids", METRICS_DEDUP_IDS}, {"delayed", METRICS_DELAYED},
    };
    uint64_t disk_free = metrics_value(metrics, METRICS_DISK_FREE);

    buf_append_c(to, "\"now\":{");
    append_values(to, metrics, values, sizeof(values) / sizeof(values[0]));
    member(to, "journal_bytes", sum_of_shards(metrics, METRICS_JOURNAL_BYTES));
    member(to, "memory_bytes", sum_of_shards(metrics, METRICS_MEMORY_BYTES));
    member(to, "disk_free", disk_free == METRICS_NONE ? 0 : disk_free);
    buf_append_format(to, "\"disk_low\":%s,\"restarting\":%s}",
                      metrics_value(metrics, METRICS_DISK_LOW) > 0 ? "true"
                                                                   : "false",
                      restarting ? "true" : "false");
}

static void info_finish(struct api_call *call)
{
    struct metrics *metrics = info_call_of(call)->metrics;
    const struct api_options *options = &call->api->options;
    struct buf *to = &call->body;
    struct metrics_about about;

    api_about(call->api, call->home, &about);
    metrics_set_process(metrics, &about);
    buf_append_byte(to, '{');
    text_member(to, "name", "opq");
    text_member(to, "version", options->version);
    text_member(to, "data", options->data);
    text_member(to, "durability", options->durability);
    text_member(to, "io", about.io);
    member(to, "shards", options->shard_count);
    append_limits(to, options,
                  http_server_limits(pipeline_server(pipeline_of(call->home))));
    append_since_start(to, metrics);
    append_now(to, metrics, atomic_load(&call->api->restarting));
    buf_append_c(to, "}\n");
}

void api_info_get(const struct api_request *request)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct info_call), info_run);

    if (call == NULL) {
        return;
    }
    call->finish = info_finish;
    call->release = info_release;
    info_call_of(call)->metrics = calloc(1, sizeof(struct metrics));
    if (info_call_of(call)->metrics == NULL) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        api_call_drop(call);
        return;
    }
    api_call_walk(call);
}
