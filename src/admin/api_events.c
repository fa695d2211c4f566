/* Messages as server-sent events: those of a topic, or of a pull subscription.
 * What a page (api_page.h) has is sent as api_stream.h says.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_page.h"
#include "admin/api_pull.h"
#include "admin/api_stream.h"
#include "base/check.h"
#include "queue/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stream {
    struct api_stream base;
    struct api *api; /* borrowed */
    struct api_page page;
    struct filter *filter; /* owned */
    char topic[TOPIC_NAME_MAX + 1];
    char name[TOPIC_NAME_MAX + 1]; /* of a subscription; empty: none */
    uint64_t from;
    bool from_given;
    bool placed; /* `page.next` says where it is */
};

static struct stream *stream_of(struct api_stream *base)
{
    return CONTAINER_OF(base, struct stream, base);
}

static void stream_release(struct api_stream *base)
{
    struct stream *stream = stream_of(base);

    filter_destroy(stream->filter);
    buf_fini(&base->text);
    free(stream);
}

/* --- there ---------------------------------------------------------------- */

static void
stream_fail(struct stream *stream, enum err err, const char *subject)
{
    char detail[160];

    (void)snprintf(detail, sizeof(detail), "%s%s%s", subject,
                   err == ERR_EXISTS ? "" : ": ",
                   err == ERR_EXISTS      ? ""
                   : err == ERR_NOT_FOUND ? "not known"
                                          : err_text(err));
    api_stream_fail(&stream->base, answer_status(err), detail);
}

static void page_done(struct api_page *page, enum err err, const char *subject)
{
    struct stream *stream = CONTAINER_OF(page, struct stream, page);

    if (err != ERR_OK) {
        stream_fail(stream, err, subject);
        return;
    }
    api_stream_return(&stream->base);
}

/* Find where it begins. Returns false when it cannot, and has ended. */
static bool place(struct stream *stream, const struct store_topic *stored)
{
    const struct store_bounds *bounds = &stored->bounds;
    uint64_t from = stored->parent != NULL ? stored->cursor.next : bounds->end;
    char detail[160];

    if (stream->placed) {
        return true;
    }
    from = stream->from_given ? stream->from : from;
    if (from > bounds->end) {
        (void)snprintf(detail, sizeof(detail),
                       "from is past the end: oldest=%llu end=%llu",
                       (unsigned long long)bounds->oldest,
                       (unsigned long long)bounds->end);
        api_stream_fail(&stream->base, 416, detail);
        return false;
    }
    if (stored->parent != NULL && from < stored->cursor.next) {
        from = stored->cursor.next; /* those before are acknowledged */
    }
    stream->page.next = from > bounds->oldest ? from : bounds->oldest;
    stream->placed = true;
    return true;
}

/* Find what is read, its filter and its state.
 * Errors: those of api_pull_find(), api_pull_filter() */
static enum err look_up(struct stream *stream,
                        struct shard *there,
                        struct topic **out,
                        const char **out_subject)
{
    if (stream->name[0] == '\0') {
        *out_subject = "topic";
        return shard_topic(there, str_from(stream->topic), false, out);
    }
    enum err err =
        api_pull_find(there, stream->topic, stream->name, out, out_subject);
    if (err != ERR_OK) {
        return err;
    }
    *out_subject = "the filter";
    filter_destroy(stream->filter);
    stream->filter = NULL;
    stream->page.held = (*out)->settings.paused;
    return api_pull_filter(*out, &stream->filter);
}

static void stream_run(struct api_stream *base, struct shard *there)
{
    struct stream *stream = stream_of(base);
    struct api_page *page = &stream->page;
    struct topic *topic = NULL;
    const char *subject = NULL;

    enum err err = look_up(stream, there, &topic, &subject);
    if (err != ERR_OK) {
        stream_fail(stream, err, subject);
        return;
    }
    bool first = !stream->placed;
    if (!place(stream, topic->store)) {
        return;
    }
    page->api = stream->api;
    page->there = there;
    page->topic = stream->topic;
    page->subscription = stream->name;
    page->filter = stream->filter;
    page->to = &base->text;
    page->done = page_done;
    page->form = API_PAGE_EVENTS;
    page->limit = API_PAGE_MAX;
    page->size_max = API_STREAM_PAGE_SIZE;
    /* The answer begins at once. */
    page->wait_ms = first ? 0 : API_STREAM_HEARTBEAT_MS;
    api_page_begin(page);
}

static void stream_cancelled(struct api_stream *base)
{
    api_page_cancel(&stream_of(base)->page);
}

/* --- begin ---------------------------------------------------------------- */

/* Read Last-Event-ID. Returns false when it is no sequence number. */
static bool read_last_id(const struct http_head *head, struct stream *stream)
{
    const struct http_header *last = http_head_find(head, STR("last-event-id"));
    uint64_t sequence = 0;

    if (last == NULL || last->value.size == 0) {
        return true;
    }
    if (str_to_u64(last->value, &sequence) != ERR_OK ||
        sequence == UINT64_MAX) {
        return false;
    }
    stream->from = sequence + 1;
    stream->from_given = true;
    return true;
}

static void stream_start(const struct api_request *request,
                         const struct form *form)
{
    struct str name = request->segments[1];
    uint64_t from = 0;

    if (name.size > 0 && !store_topic_name_valid(name)) {
        answer_problem(request->exchange, 400,
                       "a subscription is 1 to 128 of A-Z a-z 0-9 . _ - and "
                       "not . or ..",
                       NULL);
        return;
    }
    if (!api_query_number(request, form, "from", UINT64_MAX, &from)) {
        return;
    }
    struct stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        return;
    }
    stream->from = from;
    stream->from_given = form_find(form, STR("from")) != NULL;
    if (!read_last_id(request->exchange->head, stream)) {
        answer_problem(request->exchange, 400,
                       "Last-Event-ID must be a sequence number", NULL);
        free(stream);
        return;
    }
    stream->api = request->api;
    memcpy(stream->topic, request->segments[0].data, request->segments[0].size);
    if (name.size > 0) {
        memcpy(stream->name, name.data, name.size);
    }
    stream->base.run = stream_run;
    stream->base.cancelled = stream_cancelled;
    stream->base.release = stream_release;
    stream->base.place =
        shard_owner(pipeline_shard(request->pipeline), str_from(stream->topic));
    api_stream_begin(&stream->base, request);
}

void api_events_get(const struct api_request *request)
{
    static const char *const known[] = {"from", NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        stream_start(request, &form);
    }
    form_fini(&form);
}
