/* What `opq top` shows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_top_view.h"

#include "cli/cli_internal.h"
#include "cli/table.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENDPOINT_LINES_MIN = 3, /* kept for endpoints, if there are so many */
    FIXED_LINES = 9,        /* head, blanks, both tables' heads, keys */
};

static const char *const sort_names[TOP_SORT_COUNT] = {
    [TOP_SORT_LAG] = "lag",
    [TOP_SORT_PUSHED] = "pushes",
    [TOP_SORT_FAILED] = "failures",
    [TOP_SORT_NAME] = "name",
};

void cli_top_view_init(struct top_view *view, const char *url)
{
    *view = (struct top_view){.url = url};
}

static void drop_topics(struct top_view *view)
{
    for (size_t index = 0; index < view->topic_count; index++) {
        json_decref(view->topics[index].item);
    }
    view->topic_count = 0;
}

void cli_top_view_fini(struct top_view *view)
{
    drop_topics(view);
    free(view->topics);
    json_decref(view->info);
    json_decref(view->info_before);
    json_decref(view->before);
    json_decref(view->endpoints);
    *view = (struct top_view){0};
}

/* --- taking --------------------------------------------------------------- */

void cli_top_view_take_info(struct top_view *view,
                            json_t *info,
                            uint64_t now_ms)
{
    json_decref(view->info_before);
    json_decref(view->before);
    json_decref(view->endpoints);
    view->info_before = view->info;
    view->info = info;
    view->span_ms = now_ms - view->taken_ms;
    view->taken_ms = now_ms;
    view->before = json_object();
    for (size_t index = 0; index < view->topic_count; index++) {
        json_t *item = view->topics[index].item;
        (void)json_object_set(view->before, cli_text(item, "name"), item);
    }
    drop_topics(view);
    view->endpoints = json_array();
    view->lag = 0;
    view->age_ms = 0;
}

/* How fast a count grew, in a second; 0 when there is nothing to compare it
 * with, or it is less: the server was started anew. */
static double rate(const struct top_view *view,
                   const json_t *before,
                   const json_t *now,
                   const char *name)
{
    uint64_t from = cli_number(before, name);
    uint64_t to = cli_number(now, name);

    if (before == NULL || view->span_ms == 0 || to < from) {
        return 0;
    }
    return (double)(to - from) * 1000 / (double)view->span_ms;
}

static struct top_topic *add_topic(struct top_view *view)
{
    if (view->topic_count == view->topic_room) {
        size_t room = view->topic_room * 2 + 64;
        struct top_topic *topics =
            realloc(view->topics, room * sizeof(*topics));
        if (topics == NULL) {
            view->failed = true;
            return NULL;
        }
        view->topics = topics;
        view->topic_room = room;
    }
    view->topic_count++;
    return &view->topics[view->topic_count - 1];
}

void cli_top_view_take_topic(void *context, const json_t *item)
{
    struct top_view *view = context;
    const json_t *counts = json_object_get(item, "since_start");
    const json_t *before =
        json_object_get(view->before, cli_text(item, "name"));
    const json_t *counts_before = json_object_get(before, "since_start");
    uint64_t age_ms = cli_number(item, "oldest_undelivered_age_ms");
    struct top_topic *topic = add_topic(view);

    if (topic == NULL) {
        return;
    }
    *topic = (struct top_topic){
        .item = json_incref((json_t *)item),
        .pushed = rate(view, before, item, "end"),
        .delivered = rate(view, counts_before, counts, "delivered"),
        .failed = rate(view, counts_before, counts, "failed"),
    };
    if (strcmp(cli_text(item, "kind"), "dead_letters") != 0) {
        view->lag += cli_number(item, "lag");
        view->age_ms = age_ms > view->age_ms ? age_ms : view->age_ms;
    }
}

void cli_top_view_take_endpoint(void *context, const json_t *endpoint)
{
    struct top_view *view = context;

    (void)json_array_append(view->endpoints, (json_t *)endpoint);
}

/* --- sorting -------------------------------------------------------------- */

static int by_name(const void *left, const void *right)
{
    const struct top_topic *one = left;
    const struct top_topic *other = right;

    return strcmp(cli_text(one->item, "name"), cli_text(other->item, "name"));
}

static int greater(double one, double other)
{
    return one < other ? 1 : one > other ? -1 : 0;
}

static int by_lag(const void *left, const void *right)
{
    const struct top_topic *one = left;
    const struct top_topic *other = right;
    int order = greater((double)cli_number(one->item, "lag"),
                        (double)cli_number(other->item, "lag"));

    return order != 0 ? order : by_name(left, right);
}

static int by_pushed(const void *left, const void *right)
{
    const struct top_topic *one = left;
    const struct top_topic *other = right;
    int order = greater(one->pushed, other->pushed);

    return order != 0 ? order : by_lag(left, right);
}

static int by_failed(const void *left, const void *right)
{
    const struct top_topic *one = left;
    const struct top_topic *other = right;
    int order = greater(one->failed, other->failed);

    return order != 0 ? order : by_lag(left, right);
}

static void sort_topics(struct top_view *view)
{
    static int (*const orders[TOP_SORT_COUNT])(const void *, const void *) = {
        [TOP_SORT_LAG] = by_lag,
        [TOP_SORT_PUSHED] = by_pushed,
        [TOP_SORT_FAILED] = by_failed,
        [TOP_SORT_NAME] = by_name,
    };

    if (view->topic_count > 0) {
        qsort(view->topics, view->topic_count, sizeof(view->topics[0]),
              orders[view->sort]);
    }
}

/* --- rendering ------------------------------------------------------------ */

static void append_rate(struct buf *to, const char *name, double value)
{
    buf_append_format(to, value < 10 ? "%s %.1f/s  " : "%s %.0f/s  ", name,
                      value);
}

static void append_count(struct buf *to, const char *name, uint64_t value)
{
    buf_append_format(to, "%s %llu  ", name, (unsigned long long)value);
}

static void append_size(struct buf *to, const char *name, uint64_t value)
{
    buf_append_format(to, "%s ", name);
    cli_append_size(to, value);
    buf_append_c(to, "  ");
}

/* The four lines at the top. */
static void append_head(const struct top_view *view, struct buf *to)
{
    const json_t *now = json_object_get(view->info, "now");
    const json_t *sums = json_object_get(view->info, "since_start");
    const json_t *past = json_object_get(view->info_before, "since_start");
    double delivered = rate(view, past, sums, "delivered");
    double attempts = rate(view, past, sums, "attempts");

    buf_append_format(to, "opq %s at %s%s%s\n", cli_text(view->info, "version"),
                      view->url, view->paused ? "  PAUSED" : "",
                      view->lost ? "  NO ANSWER, trying again" : "");
    append_rate(to, "pushed", rate(view, past, sums, "pushes"));
    append_rate(to, "delivered", delivered);
    append_rate(to, "attempts failed",
                attempts > delivered ? attempts - delivered : 0);
    append_rate(to, "requests", rate(view, past, sums, "requests"));
    append_rate(to, "refused", rate(view, past, sums, "pushes_refused"));
    buf_append_byte(to, '\n');
    append_count(to, "lag", view->lag);
    buf_append_c(to, "oldest ");
    cli_append_span(to, view->age_ms);
    buf_append_c(to, "  ");
    append_count(to, "in flight", cli_number(now, "in_flight"));
    append_count(to, "backing off", cli_number(now, "backing_off"));
    append_count(to, "delayed", cli_number(now, "delayed"));
    buf_append_byte(to, '\n');
    append_count(to, "topics", cli_number(now, "topics"));
    append_count(to, "connections", cli_number(now, "connections"));
    append_size(to, "memory", cli_number(now, "memory_bytes"));
    append_size(to, "journal", cli_number(now, "journal_bytes"));
    append_size(to, "disk free", cli_number(now, "disk_free"));
    buf_append_c(to, json_is_true(json_object_get(now, "disk_low")) ? "DISK LOW"
                                                                    : "");
    buf_append_c(to, json_is_true(json_object_get(now, "restarting"))
                         ? "  RESTART WAITS\n\n"
                         : "\n\n");
}

static void add_rate(struct table *table, double value)
{
    struct buf text = {0};

    buf_append_format(&text, value < 10 ? "%.1f" : "%.0f", value);
    buf_append_byte(&text, '\0');
    table_add(table, text.failed ? "" : text.data);
    buf_fini(&text);
}

static void add_heads(struct table *table, const char *const *heads)
{
    for (; *heads != NULL; heads++) {
        table_add(table, *heads);
    }
}

static void
append_topics(const struct top_view *view, size_t line_count, struct buf *to)
{
    static const char *const heads[] = {"TOPIC",  "LAG",     "AGE",
                                        "PUSH/S", "SENT/S",  "FAIL/S",
                                        "STATE",  "BECAUSE", NULL};
    enum { NUMBERS = 0x3e };
    struct table table;

    table_init(&table, sizeof(heads) / sizeof(heads[0]) - 1, NUMBERS);
    add_heads(&table, heads);
    for (size_t index = view->scroll;
         index < view->topic_count && index - view->scroll < line_count;
         index++) {
        const struct top_topic *topic = &view->topics[index];
        struct buf age = {0};
        cli_append_span(&age,
                        cli_number(topic->item, "oldest_undelivered_age_ms"));
        buf_append_byte(&age, '\0');
        table_add(&table, cli_text(topic->item, "name"));
        table_add_u64(&table, cli_number(topic->item, "lag"));
        table_add(&table, age.failed ? "" : age.data);
        add_rate(&table, topic->pushed);
        add_rate(&table, topic->delivered);
        add_rate(&table, topic->failed);
        table_add(&table, cli_text(topic->item, "state"));
        table_add(&table, cli_text(topic->item, "because"));
        buf_fini(&age);
    }
    table_print(&table, to);
    table_fini(&table);
}

static void
add_latency(struct table *table, const json_t *latency, const char *name)
{
    const json_t *value = json_object_get(latency, name);

    if (json_is_number(value)) {
        add_rate(table, json_number_value(value));
    } else {
        table_add(table, "-");
    }
}

static void
append_endpoints(const struct top_view *view, size_t line_count, struct buf *to)
{
    static const char *const heads[] = {"ENDPOINT",   "STATE", "FLYING",
                                        "BACKLOG",    "P50MS", "P99MS",
                                        "LAST ERROR", NULL};
    enum { NUMBERS = 0x3c };
    struct table table;
    size_t index = 0;
    json_t *endpoint = NULL;

    table_init(&table, sizeof(heads) / sizeof(heads[0]) - 1, NUMBERS);
    add_heads(&table, heads);
    json_array_foreach(view->endpoints, index, endpoint)
    {
        const json_t *latency = json_object_get(endpoint, "latency");
        const char *error =
            cli_text(json_object_get(endpoint, "last_error"), "class");
        if (index >= line_count) {
            break;
        }
        table_add(&table, cli_text(endpoint, "endpoint"));
        table_add(&table, cli_text(endpoint, "state"));
        table_add_u64(&table, cli_number(endpoint, "in_flight"));
        table_add_u64(&table, cli_number(endpoint, "backlog"));
        add_latency(&table, latency, "p50_ms");
        add_latency(&table, latency, "p99_ms");
        table_add(&table, error[0] != '\0' ? error : "-");
    }
    buf_append_byte(to, '\n');
    table_print(&table, to);
    table_fini(&table);
}

/* The first `width` characters of a line. */
static struct str clip(struct str line, size_t width)
{
    size_t size = 0;

    for (size_t count = 0; size < line.size; size++) {
        bool begins = ((unsigned char)line.data[size] & 0xc0) != 0x80;
        if (begins && count == width) {
            break;
        }
        count += begins ? 1 : 0;
    }
    return str_cut(line, 0, size);
}

/* Put lines on a screen of a size: cut, wiped, none below. */
static void
append_screen(struct str text, const struct top_page *page, struct buf *to)
{
    for (uint32_t line = 0; line < page->height && text.size > 0; line++) {
        size_t size = str_find(text, '\n');
        buf_append_c(to, line > 0 ? "\r\n" : "");
        buf_append_str(to, clip(str_cut(text, 0, size), page->width));
        buf_append_c(to, "\033[K");
        text = str_cut(text, size + 1, text.size);
    }
    buf_append_c(to, "\033[J");
}

/* How many lines topics have, and endpoints, of those of a page. */
static void share_lines(const struct top_view *view,
                        uint32_t height,
                        size_t *out_topics,
                        size_t *out_endpoints)
{
    size_t free_lines = height > FIXED_LINES ? height - FIXED_LINES : 0;
    size_t endpoints = json_array_size(view->endpoints);
    size_t room = free_lines / 3 > ENDPOINT_LINES_MIN ? free_lines / 3
                                                      : ENDPOINT_LINES_MIN;

    if (view->topic_count + endpoints > free_lines && endpoints > room) {
        endpoints = room;
    }
    endpoints = endpoints < free_lines ? endpoints : free_lines;
    *out_endpoints = endpoints;
    *out_topics = free_lines - endpoints;
}

void cli_top_view_render(struct top_view *view,
                         const struct top_page *page,
                         struct buf *to)
{
    size_t topics = SIZE_MAX;
    size_t endpoints = SIZE_MAX;
    struct buf text = {0};

    sort_topics(view);
    if (page->width > 0) {
        share_lines(view, page->height, &topics, &endpoints);
    }
    size_t hidden = view->topic_count > topics ? view->topic_count - topics : 0;
    view->scroll = view->scroll < hidden ? view->scroll : hidden;
    append_head(view, &text);
    append_topics(view, topics, &text);
    append_endpoints(view, endpoints, &text);
    if (page->width == 0) {
        buf_append_str(to, buf_str(&text));
    } else {
        buf_append_format(
            &text, "q quit  p %s  s sort (%s)  arrows scroll (%zu more)",
            view->paused ? "go on" : "pause", sort_names[view->sort], hidden);
        append_screen(buf_str(&text), page, to);
    }
    to->failed = to->failed || text.failed;
    buf_fini(&text);
}

void cli_top_view_scroll(struct top_view *view, int lines)
{
    size_t step = (size_t)(lines < 0 ? -lines : lines);

    if (lines < 0) {
        view->scroll -= step < view->scroll ? step : view->scroll;
    } else if (view->topic_count > 0) {
        size_t last = view->topic_count - 1;
        view->scroll = view->scroll + step < last ? view->scroll + step : last;
    }
}
