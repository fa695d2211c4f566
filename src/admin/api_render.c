/* Topics and messages as the API shows them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_render.h"

#include "base/check.h"
#include "base/json_text.h"
#include "base/wall_time.h"
#include "queue/letters.h"
#include "queue/letters_filter.h"
#include "queue/rate.h"
#include "store/store_show.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* --- messages ------------------------------------------------------------- */

void api_render_message(const struct topic *topic,
                        const struct record *record,
                        struct buf *to)
{
    buf_append_c(to, "\"seq\":");
    buf_append_u64(to, record->sequence);
    if (record->message.options != NULL &&
        record->message.options->id.size > 0) {
        json_text_append_text(to, "id", record->message.options->id);
    } else {
        buf_append_c(to, ",\"id\":\"");
        topic_message_id(topic, record->sequence, to);
        buf_append_byte(to, '"');
    }
    store_show(record, to);
}

/* --- why ------------------------------------------------------------------ */

static void append_endpoint(const struct delivery_view *view, struct buf *to)
{
    buf_append_c(to, view->endpoint[0] != '\0' ? view->endpoint : "its target");
}

/* "3 attempts failed, the last with http_5xx 503 (detail)" */
static void append_failure(const struct delivery_view *view, struct buf *to)
{
    buf_append_u64(to, view->attempts);
    buf_append_c(to,
                 view->attempts == 1 ? " attempt failed" : " attempts failed");
    if (view->last_class == NULL) {
        return;
    }
    buf_append_c(to, view->attempts == 1 ? " with " : ", the last with ");
    buf_append_c(to, view->last_class);
    if (view->last_status != 0) {
        buf_append_format(to, " %d", view->last_status);
    }
    if (view->last_detail[0] != '\0') {
        buf_append_format(to, " (%s)", view->last_detail);
    }
}

static void append_until(const struct delivery_view *view,
                         const char *before,
                         struct buf *to)
{
    if (view->until_ms > 0) {
        buf_append_c(to, before);
        wall_time_write(to, view->until_ms);
    }
}

/* "waits for its turn at http://127.0.0.1:9000: 4 in flight of 4" */
static void append_turn(const struct delivery_view *view, struct buf *to)
{
    buf_append_c(to, "waits for its turn at ");
    append_endpoint(view, to);
    if (view->endpoint_in_flight_max > 0) {
        buf_append_format(to, ": %u in flight of %u",
                          (unsigned)view->endpoint_in_flight,
                          (unsigned)view->endpoint_in_flight_max);
    }
    if (view->limit.count > 0) {
        buf_append_c(to, ", which is released at ");
        rate_write(&view->limit, to);
    }
}

static void append_doing(const struct delivery_view *view, struct buf *to)
{
    switch (view->state) {
    case DELIVERY_IDLE:
        buf_append_c(to, "is delivered");
        break;
    case DELIVERY_READY:
        buf_append_c(to, "is about to be sent");
        break;
    case DELIVERY_WAITING:
        append_turn(view, to);
        break;
    case DELIVERY_CROWDED:
        buf_append_c(to, "waits, since as many messages as may be are on "
                         "their way to ");
        append_endpoint(view, to);
        break;
    case DELIVERY_SENDING:
        buf_append_c(to, "is being sent to ");
        append_endpoint(view, to);
        break;
    case DELIVERY_BACKOFF:
        buf_append_c(to, "is tried again");
        append_until(view, " at ", to);
        break;
    case DELIVERY_HELD:
        buf_append_c(to, "waits, since ");
        append_endpoint(view, to);
        buf_append_c(to, " asked for a pause");
        append_until(view, " until ", to);
        break;
    case DELIVERY_OPEN:
        buf_append_c(to, "waits, since the breaker of ");
        append_endpoint(view, to);
        buf_append_c(to, " is open");
        append_until(view, " until ", to);
        break;
    case DELIVERY_QUEUED:
        buf_append_format(to,
                          "waits behind message %llu, which is the next of "
                          "its ordering key",
                          (unsigned long long)view->behind);
        break;
    case DELIVERY_UNSEEN:
        buf_append_format(to, "waits behind message %llu",
                          (unsigned long long)view->behind);
        break;
    case DELIVERY_LIMITED:
        buf_append_c(to, "waits, since its rate is used up");
        append_until(view, " until ", to);
        break;
    case DELIVERY_SETTLING:
        buf_append_c(to, "is done when its dead letter or callback is stored");
        if (view->unstored != ERR_OK) {
            buf_append_format(to, ", which failed (%s) and is tried again",
                              view->unstored == ERR_FULL
                                  ? "the disk is full"
                                  : err_text(view->unstored));
            append_until(view, " at ", to);
        }
        break;
    case DELIVERY_PAUSED:
        buf_append_c(to, "waits, since the topic is paused");
        break;
    case DELIVERY_STOPPED:
        buf_append_c(to, "waits, since the server is stopping");
        break;
    }
}

void api_render_because(const struct delivery_view *view, struct buf *to)
{
    append_doing(view, to);
    if (view->attempts > 0) {
        buf_append_c(to, ": ");
        append_failure(view, to);
    }
}

/* The same of a topic or subscription whose delivery it is. */
static void explain(const struct topic *topic,
                    const struct delivery_view *view,
                    struct buf *to)
{
    if (topic->parent == NULL || view->state != DELIVERY_PAUSED) {
        api_render_because(view, to);
        return;
    }
    buf_append_c(to, "waits, since the subscription is paused");
    if (view->attempts > 0) {
        buf_append_c(to, ": ");
        append_failure(view, to);
    }
}

/* Append the fields of a delivery: until, attempts, endpoint, last_error. */
static void append_view(const struct delivery_view *view, struct buf *to)
{
    if (view->until_ms > 0) {
        json_text_append_time(to, "until", view->until_ms);
    }
    json_text_append_number(to, "attempts", view->attempts);
    if (view->endpoint[0] != '\0') {
        json_text_append_text(to, "endpoint", str_from(view->endpoint));
    }
    if (view->last_class == NULL) {
        return;
    }
    buf_append_format(to, ",\"last_error\":{\"class\":\"%s\"",
                      view->last_class);
    if (view->last_status != 0) {
        json_text_append_number(to, "status", (uint64_t)view->last_status);
    }
    json_text_append_text(to, "detail", str_from(view->last_detail));
    buf_append_byte(to, '}');
}

static void append_because(struct buf *to, struct buf *words)
{
    json_text_append_text(to, "because", buf_str(words));
    to->failed = to->failed || words->failed;
    buf_fini(words);
}

static bool is_delivered(const struct store_cursor *cursor, uint64_t sequence)
{
    if (sequence < cursor->next) {
        return true;
    }
    for (uint32_t index = 0; index < cursor->range_count; index++) {
        if (sequence >= cursor->ranges[index].first &&
            sequence < cursor->ranges[index].end) {
            return true;
        }
    }
    return false;
}

/* The state of the message that a delivery is about. */
static const char *head_state(const struct delivery_view *view)
{
    switch (view->state) {
    case DELIVERY_SENDING:
        return "in_flight";
    case DELIVERY_PAUSED:
        return "paused";
    default:
        return view->attempts > 0 ? "retrying" : "waiting";
    }
}

static bool is_behind(const struct delivery_view *view)
{
    return view->state == DELIVERY_QUEUED || view->state == DELIVERY_UNSEEN;
}

/* Append what the message before is doing: ", which is tried again at ...". */
static void append_what_is_before(const struct topic *topic,
                                  uint64_t sequence,
                                  struct buf *to)
{
    struct delivery_view view;

    deliverer_explain(topic, sequence, NULL, &view);
    buf_append_c(to, ", which ");
    api_render_because(&view, to);
}

static bool is_pull(const struct topic *topic)
{
    return topic->parent != NULL && topic->settings.kind == SETTINGS_KIND_PULL;
}

/* Tell whether a message is done in one place; else see what is with it, except
 * where clients pull. The stored cursor does not say all: it has only so many
 * ranges. */
static bool is_done(const struct topic *topic,
                    const struct record *record,
                    struct delivery_view *out_view)
{
    if (is_delivered(&topic->store->cursor, record->sequence)) {
        return true;
    }
    if (is_pull(topic)) {
        return false;
    }
    deliverer_explain(topic, record->sequence, &record->message, out_view);
    return out_view->state == DELIVERY_IDLE;
}

static const char *why_delivered(const struct topic *topic)
{
    if (is_pull(topic)) {
        return "a client acknowledged it, or the cursor was moved past it";
    }
    return topic->parent != NULL
               ? "its target accepted it, it is not for this subscription, it "
                 "was given up (then it is a dead letter), superseded or "
                 "expired, or the cursor was moved past it"
               : "its target accepted it, it was given up (then it is a dead "
                 "letter), superseded or expired, or the cursor was moved past "
                 "it";
}

void api_render_state(const struct topic *topic,
                      const struct record *record,
                      struct buf *to)
{
    uint64_t sequence = record->sequence;
    struct delivery_view view = {0};
    struct buf words = {0};

    if (is_done(topic, record, &view)) {
        buf_append_format(to, "\"state\":\"delivered\",\"because\":\"%s\"",
                          why_delivered(topic));
        return;
    }
    if (is_pull(topic)) {
        buf_append_c(to, "\"state\":\"waiting\",\"because\":\"waits for a "
                         "client to read and acknowledge it\"");
        return;
    }
    buf_append_format(to, "\"state\":\"%s\"", head_state(&view));
    explain(topic, &view, &words);
    if (is_behind(&view)) {
        append_what_is_before(topic, view.behind, &words);
    }
    append_because(to, &words);
    if (is_behind(&view)) {
        json_text_append_number(to, "behind", view.behind);
    }
    append_view(&view, to);
    deliverer_attempts(topic, sequence, to);
}

/* --- subscriptions -------------------------------------------------------- */

static int compare_names(const void *left, const void *right)
{
    const struct topic *const *one = left;
    const struct topic *const *other = right;

    return strcmp((*one)->store->name, (*other)->store->name);
}

uint32_t api_render_sorted(const struct topic *topic,
                           const struct topic *out_row[STORE_VIEWS_MAX])
{
    const struct list *all = &topic->subscriptions;
    uint32_t count = 0;

    for (const struct list *link = all->next; link != all; link = link->next) {
        const struct topic *one = CONTAINER_OF(link, struct topic, link);
        CHECK(count < STORE_VIEWS_MAX);
        out_row[count] = one;
        count += topic_is_subscription(one) ? 1 : 0;
    }
    if (count > 0) {
        qsort(out_row, count, sizeof(const struct topic *), compare_names);
    }
    return count;
}

void api_render_states(const struct topic *topic,
                       const struct record *record,
                       struct buf *to)
{
    const struct topic *row[STORE_VIEWS_MAX];
    uint32_t count = api_render_sorted(topic, row);

    if (count == 0) {
        return;
    }
    buf_append_c(to, ",\"subscriptions\":[");
    for (uint32_t index = 0; index < count; index++) {
        buf_append_format(to, "%s{\"name\":\"%s\",", index > 0 ? "," : "",
                          row[index]->store->name);
        api_render_state(row[index], record, to);
        buf_append_byte(to, '}');
    }
    buf_append_byte(to, ']');
}

void api_render_shared(const struct topic *topic,
                       const struct record *record,
                       struct buf *to)
{
    const struct list *all = &topic->subscriptions;
    struct delivery_view view;
    uint32_t count = 0;
    uint32_t done = 0;

    for (const struct list *link = all->next; link != all; link = link->next) {
        const struct topic *one = CONTAINER_OF(link, struct topic, link);
        if (topic_is_subscription(one)) {
            count++;
            done += is_done(one, record, &view) ? 1 : 0;
        }
    }
    buf_append_format(to,
                      "\"state\":\"%s\",\"because\":\"it is for the topic's "
                      "subscriptions: %u of %u are done with it\"",
                      done == count ? "delivered" : "waiting", done, count);
}

void api_render_letter(const struct store_topic *stored,
                       const struct record *record,
                       struct buf *to)
{
    const struct message_options *options = record->message.options;
    struct letters_end end = {0};
    struct buf memory = {0};
    struct buf words = {0};

    if (is_delivered(&stored->cursor, record->sequence)) {
        buf_append_c(to, "\"state\":\"delivered\",\"because\":\"the dead "
                         "letter was sent again or dropped\"");
        return;
    }
    if (options == NULL ||
        letters_filter_read(options->dead, &memory, &end) != ERR_OK) {
        end = (struct letters_end){0};
    }
    buf_append_c(to, "\"state\":\"dead\"");
    buf_append_c(&words, "is a dead letter");
    if (end.reason.size > 0) {
        buf_append_c(&words, ", because of ");
        buf_append_str(&words, end.reason);
    }
    append_because(to, &words);
    buf_fini(&memory);
}

/* --- topics --------------------------------------------------------------- */

static const char *state_name(enum delivery_state state)
{
    static const char *const names[] = {
        [DELIVERY_IDLE] = "idle",       [DELIVERY_READY] = "ready",
        [DELIVERY_WAITING] = "waiting", [DELIVERY_SENDING] = "sending",
        [DELIVERY_BACKOFF] = "backoff", [DELIVERY_HELD] = "held",
        [DELIVERY_PAUSED] = "paused",   [DELIVERY_STOPPED] = "stopped",
        [DELIVERY_QUEUED] = "waiting",  [DELIVERY_UNSEEN] = "waiting",
        [DELIVERY_LIMITED] = "limited", [DELIVERY_SETTLING] = "settling",
        [DELIVERY_OPEN] = "open",       [DELIVERY_CROWDED] = "waiting",
    };

    return names[state];
}

/* The same of a subscription that clients pull. */
static void append_pull(const struct topic *topic, struct buf *to)
{
    const struct store_cursor *cursor = &topic->store->cursor;

    json_text_append_text(to, "state",
                          topic->settings.paused ? STR("paused") : STR("pull"));
    if (deliverer_lag(topic) == 0) {
        buf_append_c(to, ",\"because\":\"everything is acknowledged\"");
    } else {
        buf_append_format(to,
                          ",\"because\":\"message %llu waits for a client to "
                          "read and acknowledge it\"",
                          (unsigned long long)cursor->next);
    }
    buf_append_c(to, ",\"in_flight\":0,\"attempts\":0");
}

/* The same of a topic of dead letters. */
static void append_kept(const struct store_topic *stored, struct buf *to)
{
    uint64_t count = letters_count(stored);
    struct buf words = {0};

    json_text_append_text(to, "state", STR("kept"));
    buf_append_u64(&words, count);
    buf_append_c(&words, count == 1 ? " dead letter is kept until it is"
                                    : " dead letters are kept until they are");
    buf_append_c(&words, " sent again or dropped by /opq/dlq");
    append_because(to, &words);
    buf_append_c(to, ",\"in_flight\":0,\"attempts\":0");
}

/* Append `state`, `because` and what goes with them. */
static void append_delivery(const struct topic *topic, struct buf *to)
{
    struct delivery_view view;
    struct buf words = {0};

    if (topic_is_internal(topic->store->name_str)) {
        buf_append_c(to, ",\"state\":\"internal\",\"because\":\"it is OPQ's "
                         "own and is not delivered\",\"in_flight\":0,"
                         "\"attempts\":0");
        return;
    }
    if (is_pull(topic)) {
        append_pull(topic, to);
        return;
    }
    if (topic_is_dead(topic->store->name_str)) {
        append_kept(topic->store, to);
        return;
    }
    deliverer_view(topic, &view);
    json_text_append_text(to, "state", str_from(state_name(view.state)));
    if (deliverer_lag(topic) == 0 && view.state != DELIVERY_SENDING) {
        bool paused = view.state == DELIVERY_PAUSED;
        buf_append_c(&words, !paused ? "everything is delivered"
                             : topic->parent != NULL
                                 ? "the subscription is paused; nothing waits"
                                 : "the topic is paused; nothing waits");
    } else {
        buf_append_format(&words, "message %llu ",
                          (unsigned long long)view.sequence);
        explain(topic, &view, &words);
    }
    append_because(to, &words);
    json_text_append_number(to, "in_flight", view.in_flight);
    append_view(&view, to);
}

/* Append `paused` and what was counted. */
static void append_counts(const struct topic *topic, struct buf *to)
{
    const struct topic_stats *stats = &topic->stats;

    buf_append_c(to, ",\"paused\":");
    buf_append_c(to, topic->settings.paused ? "true" : "false");
    buf_append_c(to, ",\"since_start\":{\"delivered\":");
    buf_append_u64(to, stats->delivered);
    json_text_append_number(to, "attempts", stats->attempts);
    json_text_append_number(to, "failed", stats->attempts_failed);
    buf_append_byte(to, '}');
}

/* Append the names of a topic's subscriptions. */
static void append_names(const struct topic *topic, struct buf *to)
{
    const struct topic *row[STORE_VIEWS_MAX];
    uint32_t count = api_render_sorted(topic, row);

    buf_append_c(to, ",\"subscriptions\":[");
    for (uint32_t index = 0; index < count; index++) {
        buf_append_format(to, "%s\"%s\"", index > 0 ? "," : "",
                          row[index]->store->name);
    }
    buf_append_byte(to, ']');
}

void api_render_topic(const struct topic *topic,
                      uint64_t age_ms,
                      uint64_t dead,
                      struct buf *to)
{
    const struct store_topic *stored = topic->store;

    buf_append_format(to, "{\"name\":\"%s\",\"kind\":\"%s\"", stored->name,
                      topic_is_dead(stored->name_str) ? "dead_letters"
                                                      : "messages");
    json_text_append_number(to, "oldest", stored->bounds.oldest);
    json_text_append_number(to, "end", stored->bounds.end);
    json_text_append_number(to, "delivered", stored->cursor.next);
    json_text_append_number(to, "lag", deliverer_lag(topic));
    if (dead != API_RENDER_NONE) {
        json_text_append_number(to, "dead", dead);
    }
    json_text_append_number(to, "bytes", stored->bounds.bytes);
    if (age_ms != API_RENDER_NONE) {
        json_text_append_number(to, "oldest_undelivered_age_ms", age_ms);
    } else {
        buf_append_c(to, ",\"oldest_undelivered_age_ms\":null");
    }
    append_delivery(topic, to);
    append_counts(topic, to);
    append_names(topic, to);
    buf_append_c(to, ",\"settings\":");
    struct settings shown = topic->settings; /* borrows */
    shown.order = topic_order(topic);
    settings_json(&shown, SETTINGS_TOPIC, to);
    buf_append_byte(to, '}');
}

void api_render_subscription(const struct topic *subscription, struct buf *to)
{
    const struct store_topic *stored = subscription->store;

    buf_append_format(to, "{\"name\":\"%s\",\"topic\":\"%s\"", stored->name,
                      stored->parent->name);
    json_text_append_number(to, "oldest", stored->bounds.oldest);
    json_text_append_number(to, "end", stored->bounds.end);
    json_text_append_number(to, "delivered", stored->cursor.next);
    json_text_append_number(to, "lag", deliverer_lag(subscription));
    append_delivery(subscription, to);
    append_counts(subscription, to);
    buf_append_c(to, ",\"settings\":");
    settings_json(&subscription->settings, SETTINGS_SUBSCRIPTION, to);
    buf_append_byte(to, '}');
}
