/* The server's own events (queue/notices.h) as server-sent events.
 *
 * A page has those that the ring has from the place of the stream on; what the
 * ring lost before they were read is counted, and said first.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_stream.h"
#include "base/check.h"
#include "queue/answer.h"
#include "queue/notices.h"

#include <stdlib.h>
#include <string.h>

struct stream {
    struct api_stream base;
    struct notices_waiter waiter;
    struct shard *there;   /* borrowed; while it runs there */
    struct io_timer timer; /* there: the heartbeat */
    uint32_t types;        /* a bit for each that is wanted */
    uint64_t next;         /* id of the next one to be looked at */
    bool from_given;
    bool placed; /* `next` is right */
    char topic[TOPIC_NAME_MAX + 1];
};

static struct stream *stream_of(struct api_stream *base)
{
    return CONTAINER_OF(base, struct stream, base);
}

static void stream_release(struct api_stream *base)
{
    buf_fini(&base->text);
    free(stream_of(base));
}

/* --- there ---------------------------------------------------------------- */

/* Find where it goes on, and count what it cannot have any more. */
static void place(struct stream *stream, const struct notice_ring *ring)
{
    uint64_t oldest = notice_ring_oldest(ring);

    if (!stream->placed) {
        stream->placed = true;
        if (!stream->from_given || stream->next > ring->end) {
            stream->next = ring->end;
        }
    }
    /* Those of a process before are not counted: nobody knows how many. */
    uint64_t first = stream->next > ring->first ? stream->next : ring->first;
    if (first < oldest) {
        buf_append_format(&stream->base.text,
                          "event: lost\ndata: {\"lost\":%llu}\n\n",
                          (unsigned long long)(oldest - first));
    }
    stream->next = first > oldest ? first : oldest;
}

/* Make a page of what there is. */
static void fill(struct stream *stream, const struct notice_ring *ring)
{
    struct buf *to = &stream->base.text;

    place(stream, ring);
    while (stream->next < ring->end && to->size < API_STREAM_PAGE_SIZE) {
        const struct notice *notice = notice_ring_at(ring, stream->next);
        stream->next++;
        if (!notice_fits(notice, stream->types, str_from(stream->topic))) {
            continue;
        }
        buf_append_format(
            to, "id: %llu\nevent: %s\ndata: ", (unsigned long long)notice->id,
            notice_type_name(notice->type));
        notice_json(notice, to);
        buf_append_c(to, "\n\n");
    }
}

/* Wait no more. */
static void stream_end_wait(struct stream *stream)
{
    notices_leave(&stream->waiter);
    if (io_timer_running(&stream->timer)) {
        io_timer_stop(stream->there->io, &stream->timer);
    }
    api_stream_return(&stream->base);
}

static void stream_timer(struct io_timer *timer)
{
    stream_end_wait(CONTAINER_OF(timer, struct stream, timer));
}

static void stream_look(struct stream *stream, bool first)
{
    struct shard *there = stream->there;

    fill(stream, notices_ring(there));
    if (first || stream->base.text.size > 0 || stream->base.text.failed ||
        there->stopping) {
        stream_end_wait(stream);
        return;
    }
    notices_wait(there, &stream->waiter);
    if (!io_timer_running(&stream->timer)) {
        io_timer_start(there->io, &stream->timer, API_STREAM_HEARTBEAT_MS);
    }
}

static void stream_ready(struct notices_waiter *waiter)
{
    stream_look(CONTAINER_OF(waiter, struct stream, waiter), false);
}

static void stream_run(struct api_stream *base, struct shard *there)
{
    struct stream *stream = stream_of(base);

    stream->there = there;
    stream_look(stream, !stream->placed); /* the answer begins at once */
}

static void stream_cancelled(struct api_stream *base)
{
    stream_end_wait(stream_of(base));
}

/* --- begin ---------------------------------------------------------------- */

static bool read_types(const struct api_request *request,
                       const struct form *form,
                       struct stream *stream)
{
    const struct form_field *types = form_find(form, STR("types"));

    stream->types = UINT32_MAX;
    if (types == NULL ||
        notice_types_read(types->value, &stream->types) == ERR_OK) {
        return true;
    }
    answer_problem(request->exchange, 400,
                   "types must be some of endpoint.down, endpoint.recovered, "
                   "message.dead, topic.slow, disk.low, disk.ok, "
                   "record.quarantined, server.started, with commas",
                   NULL);
    return false;
}

static bool read_topic(const struct api_request *request,
                       const struct form *form,
                       struct stream *stream)
{
    const struct form_field *topic = form_find(form, STR("topic"));

    if (topic == NULL) {
        return true;
    }
    if (!store_topic_name_valid(topic->value)) {
        answer_problem(request->exchange, 400,
                       "a topic is 1 to 128 of A-Z a-z 0-9 . _ - and not . "
                       "or ..",
                       NULL);
        return false;
    }
    memcpy(stream->topic, topic->value.data, topic->value.size);
    return true;
}

/* Read where it begins: Last-Event-ID, or else from. */
static bool read_from(const struct api_request *request,
                      const struct form *form,
                      struct stream *stream)
{
    const struct http_header *last =
        http_head_find(request->exchange->head, STR("last-event-id"));
    uint64_t id = 0;

    stream->from_given = form_find(form, STR("from")) != NULL;
    if (!api_query_number(request, form, "from", UINT64_MAX, &stream->next)) {
        return false;
    }
    if (last == NULL || last->value.size == 0) {
        return true;
    }
    if (str_to_u64(last->value, &id) != ERR_OK || id == UINT64_MAX) {
        answer_problem(request->exchange, 400,
                       "Last-Event-ID must be the id of an event", NULL);
        return false;
    }
    stream->from_given = true;
    stream->next = id + 1;
    return true;
}

void api_notices_get(const struct api_request *request)
{
    static const char *const known[] = {"from", "topic", "types", NULL};
    struct form form = {0};
    struct stream *stream = NULL;

    if (!api_query(request, known, &form)) {
        form_fini(&form);
        return;
    }
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
    } else if (!read_types(request, &form, stream) ||
               !read_topic(request, &form, stream) ||
               !read_from(request, &form, stream)) {
        free(stream);
    } else {
        stream->waiter.ready = stream_ready;
        stream->timer.expired = stream_timer;
        stream->base.run = stream_run;
        stream->base.cancelled = stream_cancelled;
        stream->base.release = stream_release;
        stream->base.place = notices_place(pipeline_shard(request->pipeline));
        api_stream_begin(&stream->base, request);
    }
    form_fini(&form);
}
