/* The figures of the process.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/metrics.h"

#include "admin/metrics_text.h"
#include "base/check.h"
#include "queue/accept.h"
#include "queue/delayed.h"
#include "queue/deliverer.h"
#include "queue/letters.h"
#include "sys/clock.h"
#include "sys/dir.h"

#include <string.h>

/* --- sources -------------------------------------------------------------- */

/* Attempts that ended in a class of deliverer_class(). */
static uint64_t attempts_of(const struct deliverer_stats *stats,
                            const char *class)
{
    enum { DIGITS = sizeof(stats->failed_by_status) / sizeof(uint64_t) };
    uint64_t failed = 0; /* in all */
    uint64_t count = 0;

    for (int err = ERR_OK + 1; err < ERR_COUNT; err++) {
        uint64_t ended = stats->failed_by_err[err];
        failed += ended;
        count +=
            strcmp(deliverer_class((enum err)err, 0), class) == 0 ? ended : 0;
    }
    for (int digit = 0; digit < DIGITS; digit++) {
        uint64_t ended = stats->failed_by_status[digit];
        failed += ended;
        count += strcmp(deliverer_class(ERR_OK, digit * 100), class) == 0
                     ? ended
                     : 0;
    }
    if (strcmp(class, deliverer_class(ERR_OK, 200)) == 0) {
        return stats->attempts > failed ? stats->attempts - failed : 0;
    }
    return count;
}

/* Functions that read each sample: read_PUSHES() and so on. */
#define READ(id, type, source)                                                 \
    static uint64_t read_##id(const type *of)                                  \
    {                                                                          \
        (void)of;                                                              \
        return source;                                                         \
    }
#define SUM(id, labels, decimals, source)                                      \
    READ(id, struct metrics_sources, source)
#define LARGEST(id, labels, decimals, source)                                  \
    READ(id, struct metrics_sources, source)
#define PROCESS(id, labels, decimals, source)                                  \
    READ(id, struct metrics_process, source)
#define PER_SHARD(id, decimals, source) READ(id, struct metrics_sources, source)
#define PER_TOPIC(id, decimals, source) READ(id, struct metrics_topic, source)
#define PER_DEAD(id, decimals, source) READ(id, struct metrics_topic, source)
#define PER_ENDPOINT(id, decimals, source)                                     \
    READ(id, struct metrics_endpoint, source)
#define BUCKETS(id, decimals, first, last, source)                             \
    static const struct histogram *read_##id(const struct metrics_sources *of) \
    {                                                                          \
        return source;                                                         \
    }
#include "admin/metrics.def"

/* --- the table ------------------------------------------------------------ */

enum row_kind {
    ROW_FAMILY,
    ROW_SUM,
    ROW_LARGEST,
    ROW_PROCESS,
    ROW_BUCKETS,
    ROW_PER_SHARD,
    ROW_PER_TOPIC,
    ROW_PER_DEAD,
    ROW_PER_ENDPOINT,
    ROW_BUILD,
};

/* A line of metrics.def. */
struct row {
    enum row_kind kind;
    const char *name; /* of a family, or labels */
    const char *type; /* these three of a family */
    const char *unit;
    const char *help;
    uint32_t index; /* where it is gathered */
    struct metrics_text_bounds bounds;
    union {
        uint64_t (*sources)(const struct metrics_sources *of);
        uint64_t (*process)(const struct metrics_process *of);
        uint64_t (*topic)(const struct metrics_topic *of);
        uint64_t (*endpoint)(const struct metrics_endpoint *of);
        const struct histogram *(*histogram)(const struct metrics_sources *of);
    } read;
};

#define COUNTER "counter"
#define GAUGE "gauge"
#define HISTOGRAM "histogram"

static const struct row rows[] = {
#define FAMILY(id, kind_of, unit_of, help_of)                                  \
    {.kind = ROW_FAMILY,                                                       \
     .name = #id,                                                              \
     .type = (kind_of),                                                        \
     .unit = (unit_of),                                                        \
     .help = (help_of)},
#define VALUE(kind_of, labels, number, places, reader)                         \
    {.kind = (kind_of),                                                        \
     .name = (labels),                                                         \
     .index = (number),                                                        \
     .bounds = {.decimals = (places)},                                         \
     .read = {reader}},
#define SUM(id, labels, decimals, source)                                      \
    VALUE(ROW_SUM, labels, METRICS_##id, decimals, .sources = read_##id)
#define LARGEST(id, labels, decimals, source)                                  \
    VALUE(ROW_LARGEST, labels, METRICS_##id, decimals, .sources = read_##id)
#define PROCESS(id, labels, decimals, source)                                  \
    VALUE(ROW_PROCESS, labels, METRICS_##id, decimals, .process = read_##id)
#define PER_SHARD(id, decimals, source)                                        \
    VALUE(ROW_PER_SHARD, "shard=", METRICS_##id, decimals, .sources = read_##id)
#define PER_TOPIC(id, decimals, source)                                        \
    VALUE(ROW_PER_TOPIC, "topic=, subscription=", 0, decimals,                 \
          .topic = read_##id)
#define PER_DEAD(id, decimals, source)                                         \
    VALUE(ROW_PER_DEAD, "topic=", 0, decimals, .topic = read_##id)
#define PER_ENDPOINT(id, decimals, source)                                     \
    VALUE(ROW_PER_ENDPOINT, "endpoint=", 0, decimals, .endpoint = read_##id)
#define BUILD() {.kind = ROW_BUILD, .name = "version=, io=, sync="},
#define BUCKETS(id, places, from, to, source)                                  \
    {.kind = ROW_BUCKETS,                                                      \
     .name = "",                                                               \
     .index = METRICS_##id,                                                    \
     .bounds = {.first = (from), .last = (to), .decimals = (places)},          \
     .read = {.histogram = read_##id}},
#include "admin/metrics.def"
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

/* --- gathering ------------------------------------------------------------ */

struct walk {
    struct metrics *metrics;
    struct metrics_walk *sums;
    uint32_t shard;
};

static void name_topic(struct metrics_topic *place,
                       uint32_t shard,
                       const struct store_topic *stored)
{
    const struct store_topic *parent = stored->parent;
    const char *topic = parent != NULL ? parent->name : stored->name;

    place->shard = shard;
    place->age_ms = place->lag == 0 ? 0 : METRICS_NONE;
    memcpy(place->topic, topic, strlen(topic) + 1);
    if (parent != NULL) {
        memcpy(place->subscription, stored->name, strlen(stored->name) + 1);
    }
}

static void note_lag(struct walk *walk, const struct topic *topic)
{
    uint64_t lag = deliverer_lag(topic);

    walk->sums->lag += lag;
    walk->sums->lagging += lag > 0 ? 1 : 0;
    struct metrics_topic *place = metrics_top_place(&walk->metrics->lag, lag);
    if (place != NULL) {
        name_topic(place, walk->shard, topic->store);
    }
}

static void note_dead(struct walk *walk, const struct store_topic *stored)
{
    uint64_t count = letters_count(stored);

    walk->sums->dead += count;
    struct metrics_topic *place =
        metrics_top_place(&walk->metrics->dead, count);
    if (place != NULL) {
        name_topic(place, walk->shard, stored);
    }
}

static void note_replay(struct metrics_walk *sums, const struct topic *replay)
{
    if (replay->store->cursor.next >= replay->settings.replay_end) {
        sums->replays_done++;
    } else if (replay->settings.paused) {
        sums->replays_paused++;
    } else {
        sums->replays_running++;
    }
}

static void visit(void *context, struct store_topic *stored)
{
    struct walk *walk = context;
    const struct topic *topic = topic_of(stored);

    walk->sums->bytes += stored->bounds.bytes;
    if (topic == NULL || topic_is_internal(stored->name_str)) {
        return;
    }
    if (topic_is_dead(stored->name_str)) {
        note_dead(walk, stored);
    } else {
        note_lag(walk, topic);
    }
    for (const struct list *link = topic->subscriptions.next;
         link != &topic->subscriptions; link = link->next) {
        const struct topic *one = CONTAINER_OF(link, const struct topic, link);
        if (topic_is_subscription(one)) {
            walk->sums->subscriptions++;
            note_lag(walk, one);
        } else {
            note_replay(walk->sums, one);
        }
    }
}

void metrics_topics(struct metrics *metrics,
                    struct shard *there,
                    struct metrics_walk *out_walk)
{
    struct metrics_walk sums = {0};
    struct walk walk = {
        .metrics = metrics, .sums = &sums, .shard = there->index};

    store_topic_each(there->store, visit, &walk);
    *out_walk = sums;
}

static void gather_rows(struct metrics *metrics,
                        uint32_t shard,
                        const struct metrics_sources *of)
{
    for (unsigned i = 0; i < ROW_COUNT; i++) {
        const struct row *row = &rows[i];
        uint64_t *value = &metrics->values[row->index];
        uint64_t read = 0;
        switch (row->kind) {
        case ROW_SUM:
            *value += row->read.sources(of);
            break;
        case ROW_LARGEST:
            read = row->read.sources(of);
            *value = read > *value ? read : *value;
            break;
        case ROW_BUCKETS:
            histogram_add(&metrics->histograms[row->index],
                          row->read.histogram(of));
            break;
        case ROW_PER_SHARD:
            metrics->shards[shard][row->index] = row->read.sources(of);
            break;
        default: /* not of a shard */
            break;
        }
    }
}

void metrics_gather(struct metrics *metrics,
                    struct shard *there,
                    const struct metrics_walk *walk)
{
    struct pipeline *pipeline = pipeline_of(there);
    const struct scheduler *scheduler = pipeline_scheduler(pipeline);
    const struct metrics_sources sources = {
        .shard = there,
        .io = io_stats(there->io),
        .server = http_server_stats(pipeline_server(pipeline)),
        .client = http_client_stats(pipeline_client(pipeline)),
        .listener = listener_stats(pipeline_listener(pipeline)),
        .accept = accept_stats(there->accept),
        .deliverer = deliverer_stats(pipeline_deliverer(pipeline)),
        .delayed = delayed_stats(there->delayed),
        .scheduler = scheduler_stats(scheduler),
        .store = store_stats(there->store),
        .walk = walk,
        .schedules = scheduler_count(scheduler),
    };

    CHECK(there->index < SHARDS_MAX);
    gather_rows(metrics, there->index, &sources);
    if (there->index >= metrics->shard_count) {
        metrics->shard_count = there->index + 1;
    }
}

void metrics_set_process(struct metrics *metrics,
                         const struct metrics_about *about)
{
    struct metrics_process process = {
        .started_ms = about->started_ms,
        .uptime_ms = (clock_monotonic_ns() - about->started_ns) / 1000000,
    };

    process_usage(&process.usage);
    memcpy(process.endpoints, metrics->endpoints.by_state,
           sizeof(process.endpoints));
    if (dir_space(about->data, &process.disk_free, &process.disk_size) !=
        ERR_OK) {
        process.disk_free = METRICS_NONE;
        process.disk_size = METRICS_NONE;
    }
    for (unsigned i = 0; i < ROW_COUNT; i++) {
        if (rows[i].kind == ROW_PROCESS) {
            metrics->values[rows[i].index] = rows[i].read.process(&process);
        }
    }
}

/* --- showing -------------------------------------------------------------- */

/* Where samples go. */
struct page {
    struct buf *to;
    const char *name;  /* of the family */
    struct buf labels; /* owned, scratch */
};

static void
sample(struct page *page, struct str labels, uint64_t value, uint32_t decimals)
{
    if (value != METRICS_NONE) {
        metrics_text_sample(page->to, page->name, labels, value, decimals);
    }
}

static void show_shards(struct page *page,
                        const struct row *row,
                        const struct metrics *metrics)
{
    for (uint32_t shard = 0; shard < metrics->shard_count; shard++) {
        struct buf number = {0};
        buf_append_u64(&number, shard);
        buf_clear(&page->labels);
        metrics_text_label(&page->labels, "shard", buf_str(&number));
        buf_fini(&number);
        sample(page, buf_str(&page->labels), metrics->shards[shard][row->index],
               row->bounds.decimals);
    }
}

static void show_topics(struct page *page,
                        const struct row *row,
                        const struct metrics_top *top)
{
    for (uint32_t index = 0; index < top->count; index++) {
        const struct metrics_topic *topic = &top->topics[top->order[index]];
        buf_clear(&page->labels);
        metrics_text_label(&page->labels, "topic", str_from(topic->topic));
        if (topic->subscription[0] != '\0') {
            metrics_text_label(&page->labels, "subscription",
                               str_from(topic->subscription));
        }
        sample(page, buf_str(&page->labels), row->read.topic(topic),
               row->bounds.decimals);
    }
}

static void show_endpoints(struct page *page,
                           const struct row *row,
                           const struct metrics_endpoints *endpoints)
{
    for (uint32_t index = 0; index < endpoints->count; index++) {
        const struct metrics_endpoint *one = &endpoints->chosen[index];
        if (one->name[0] == '\0') {
            continue; /* it was forgotten meanwhile */
        }
        buf_clear(&page->labels);
        metrics_text_label(&page->labels, "endpoint", str_from(one->name));
        sample(page, buf_str(&page->labels), row->read.endpoint(one),
               row->bounds.decimals);
    }
}

static void show_build(struct page *page, const struct metrics_about *about)
{
    buf_clear(&page->labels);
    metrics_text_label(&page->labels, "version", str_from(about->version));
    metrics_text_label(&page->labels, "io", str_from(about->io));
    metrics_text_label(&page->labels, "sync", str_from(about->sync));
    sample(page, buf_str(&page->labels), 1, 0);
}

static void show(struct page *page,
                 const struct row *row,
                 const struct metrics *metrics,
                 const struct metrics_about *about)
{
    switch (row->kind) {
    case ROW_FAMILY:
        page->name = row->name;
        metrics_text_family(page->to, row->name, row->type, row->help);
        break;
    case ROW_SUM:
    case ROW_LARGEST:
    case ROW_PROCESS:
        sample(page, str_from(row->name), metrics->values[row->index],
               row->bounds.decimals);
        break;
    case ROW_BUCKETS:
        metrics_text_histogram(page->to, page->name,
                               &metrics->histograms[row->index], &row->bounds);
        break;
    case ROW_PER_SHARD:
        show_shards(page, row, metrics);
        break;
    case ROW_PER_TOPIC:
        show_topics(page, row, &metrics->lag);
        break;
    case ROW_PER_DEAD:
        show_topics(page, row, &metrics->dead);
        break;
    case ROW_PER_ENDPOINT:
        show_endpoints(page, row, &metrics->endpoints);
        break;
    case ROW_BUILD:
        show_build(page, about);
        break;
    }
}

void metrics_render(const struct metrics *metrics,
                    const struct metrics_about *about,
                    struct buf *to)
{
    struct page page = {.to = to};

    for (unsigned i = 0; i < ROW_COUNT; i++) {
        show(&page, &rows[i], metrics, about);
    }
    to->failed = to->failed || page.labels.failed || metrics->endpoints.failed;
    buf_fini(&page.labels);
}

/* --- documents ------------------------------------------------------------ */

/* Append the names of labels: `reason` of reason="busy". */
static void append_names(struct buf *to, const char *labels)
{
    const char *end = strchr(labels, '=');

    if (end == NULL) {
        buf_append_c(to, "-");
    }
    for (; end != NULL; end = strchr(labels, '=')) {
        buf_append_byte(to, '`');
        buf_append(to, labels, (size_t)(end - labels));
        buf_append_byte(to, '`');
        if (strncmp(end, "=, ", 3) != 0) {
            break;
        }
        buf_append_c(to, ", ");
        labels = end + 3;
    }
}

void metrics_table(struct buf *to)
{
    buf_append_c(to, "| metric | type | unit | labels | meaning |\n"
                     "|---|---|---|---|---|\n");
    for (unsigned i = 0; i < ROW_COUNT; i++) {
        const struct row *row = &rows[i];
        if (row->kind != ROW_FAMILY) {
            continue;
        }
        CHECK(i + 1 < ROW_COUNT);
        buf_append_format(to, "| `%s` | %s | %s | ", row->name, row->type,
                          row->unit);
        append_names(to, rows[i + 1].name);
        buf_append_format(to, " | %s |\n", row->help);
    }
}
