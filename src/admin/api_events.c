/* Messages as server-sent events: those of a topic, or of a pull subscription.
 *
 * A stream is a row of pages. It travels to the topic's shard, where a page is
 * read or waited for, and comes home with bytes, or, after a while, with none,
 * which is a heartbeat; home it is sent, and goes again.
 *
 *     home: send piece by piece -> there: read or wait -> home: ...
 *
 * A client that takes slowly holds its stream at home, by a timer, so what is
 * in memory for one is a page and what the server lets a stream have. A client
 * that goes while the stream is away is told to it by a second call.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_page.h"
#include "admin/api_pull.h"
#include "base/check.h"
#include "queue/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEARTBEAT_MS = 15 * 1000,
    PAGE_SIZE = 64 * 1024,   /* after which a page is sent */
    PIECE_SIZE = 32 * 1024,  /* given to the server at once */
    SLOW_WAIT_MS = 50,       /* until a slow client is tried again */
    SLOW_MS_MAX = 60 * 1000, /* without any progress: it is cut */
    STOP_MS_MAX = 1000,      /* of a client when the server stops */
};

struct stream {
    struct shard_call call;
    struct shard_call cancel;       /* after the client has gone */
    struct api *api;                /* borrowed */
    struct shard *home;             /* borrowed */
    struct http_exchange *exchange; /* borrowed */
    struct io_timer timer;          /* home: the client takes slowly */
    uint64_t slow_ms;               /* monotonic: since when; 0: it is not */
    uint64_t stop_ms;               /* the same of a stop that waits for it */
    struct api_page page;
    struct filter *filter; /* owned */
    struct buf text;       /* owned: a page */
    size_t sent;           /* bytes of it */
    char topic[TOPIC_NAME_MAX + 1];
    char name[TOPIC_NAME_MAX + 1]; /* of a subscription; empty: none */
    uint64_t from;
    bool from_given;
    bool head_only;
    bool begun;      /* the answer is */
    bool placed;     /* `page.next` says where it is */
    bool away;       /* `call` is */
    bool cancelling; /* `cancel` is away */
    bool gone;       /* the client has */
    bool late;       /* the server stops, and does not wait for it */
    /* Set there, looked at at home. */
    bool idle;  /* there: not in a page */
    int status; /* of a problem that ends it; 0: none */
    char detail[160];
};

static void stream_free(struct stream *stream)
{
    filter_destroy(stream->filter);
    buf_fini(&stream->text);
    free(stream);
}

/* --- there ---------------------------------------------------------------- */

static void
stream_fail(struct stream *stream, enum err err, const char *subject)
{
    stream->status = answer_status(err);
    (void)snprintf(stream->detail, sizeof(stream->detail), "%s%s%s", subject,
                   err == ERR_EXISTS ? "" : ": ",
                   err == ERR_EXISTS      ? ""
                   : err == ERR_NOT_FOUND ? "not known"
                                          : err_text(err));
    stream->idle = true;
    shard_call_return(&stream->call);
}

static void page_done(struct api_page *page, enum err err, const char *subject)
{
    struct stream *stream = CONTAINER_OF(page, struct stream, page);

    if (err != ERR_OK) {
        stream_fail(stream, err, subject);
        return;
    }
    stream->idle = true;
    shard_call_return(&stream->call);
}

/* Find where it begins. Returns false when it cannot, and has ended. */
static bool place(struct stream *stream, const struct store_topic *stored)
{
    const struct store_bounds *bounds = &stored->bounds;
    uint64_t from = stored->parent != NULL ? stored->cursor.next : bounds->end;

    if (stream->placed) {
        return true;
    }
    from = stream->from_given ? stream->from : from;
    if (from > bounds->end) {
        stream->status = 416;
        (void)snprintf(stream->detail, sizeof(stream->detail),
                       "from is past the end: oldest=%llu end=%llu",
                       (unsigned long long)bounds->oldest,
                       (unsigned long long)bounds->end);
        stream->idle = true;
        shard_call_return(&stream->call);
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

static void stream_run(struct shard_call *call, struct shard *there)
{
    struct stream *stream = CONTAINER_OF(call, struct stream, call);
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
    page->to = &stream->text;
    page->done = page_done;
    page->form = API_PAGE_EVENTS;
    page->limit = API_PAGE_MAX;
    page->size_max = PAGE_SIZE;
    page->wait_ms = first ? 0 : HEARTBEAT_MS; /* the answer begins at once */
    stream->idle = false;
    api_page_begin(page);
}

static void cancel_run(struct shard_call *call, struct shard *there)
{
    struct stream *stream = CONTAINER_OF(call, struct stream, cancel);

    (void)there;
    if (!stream->idle) {
        api_page_cancel(&stream->page);
    }
    shard_call_return(call);
}

/* --- at home -------------------------------------------------------------- */

static void stream_go(struct stream *stream);

/* End it, when nothing of it is away. */
static void stream_end(struct stream *stream)
{
    stream->gone = true;
    io_timer_stop(stream->home->io, &stream->timer);
    if (stream->away || stream->cancelling) {
        return;
    }
    stream->exchange->abandoned = NULL;
    if (stream->late) {
        http_exchange_cut(stream->exchange, false);
    } else if (stream->begun) {
        http_exchange_stream_end(stream->exchange);
    } else {
        answer_problem(
            stream->exchange, stream->status != 0 ? stream->status : 503,
            stream->status != 0 ? stream->detail : "the server is stopping",
            NULL);
    }
    stream_free(stream);
}

static void cancel_returned(struct shard_call *call)
{
    struct stream *stream = CONTAINER_OF(call, struct stream, cancel);

    stream->cancelling = false;
    stream_end(stream);
}

static void stream_abandoned(struct http_exchange *exchange)
{
    struct stream *stream = exchange->context;

    exchange->abandoned = NULL;
    stream->gone = true;
    if (!stream->away) {
        stream_end(stream);
        return;
    }
    stream->cancel.run = cancel_run;
    stream->cancel.returned = cancel_returned;
    struct shard *there = shard_owner(stream->home, str_from(stream->topic));
    /* When it cannot be sent, the page ends with the next heartbeat. */
    stream->cancelling =
        shard_send(stream->home, there, &stream->cancel) == ERR_OK;
}

/* Give the server what it takes of a page. Returns false while there is more;
 * or when the stream has ended, for then it is gone. */
static bool send_text(struct stream *stream)
{
    struct str left =
        str_cut(buf_str(&stream->text), stream->sent, stream->text.size);

    while (left.size > 0) {
        struct str piece = str_cut(left, 0, PIECE_SIZE);
        enum err err = http_exchange_stream_send(stream->exchange, piece);
        uint64_t now_ms = io_now_ms(stream->home->io);
        if (err == ERR_OK) {
            stream->sent += piece.size;
            stream->slow_ms = 0;
            left = str_cut(left, piece.size, left.size);
            continue;
        }
        stream->slow_ms = stream->slow_ms > 0 ? stream->slow_ms : now_ms;
        if (err == ERR_BUSY && now_ms - stream->slow_ms < SLOW_MS_MAX) {
            io_timer_start(stream->home->io, &stream->timer, SLOW_WAIT_MS);
        } else {
            stream_end(stream);
        }
        return false;
    }
    return true;
}

/* The server stops: wait a moment for the client to take what it has, for a
 * slow one would hold the stop. It can go on by the last id that it got.
 * Returns false when the wait is over. */
static bool stop_waits(struct stream *stream)
{
    uint64_t now_ms = io_now_ms(stream->home->io);

    if (!stream->begun || http_exchange_stream_unsent(stream->exchange) == 0) {
        return false;
    }
    stream->stop_ms = stream->stop_ms > 0 ? stream->stop_ms : now_ms;
    stream->late = now_ms - stream->stop_ms >= STOP_MS_MAX;
    if (!stream->late) {
        io_timer_start(stream->home->io, &stream->timer, SLOW_WAIT_MS);
    }
    return !stream->late;
}

/* A page is home: send it, and go for the next. */
static void stream_send(struct stream *stream)
{
    if (!stream->gone && stream->home->stopping && stop_waits(stream)) {
        return;
    }
    if (stream->gone || stream->home->stopping || stream->text.failed) {
        stream_end(stream);
        return;
    }
    if (!send_text(stream)) {
        return;
    }
    buf_clear(&stream->text);
    stream->sent = 0;
    stream_go(stream);
}

static void stream_slow(struct io_timer *timer)
{
    stream_send(CONTAINER_OF(timer, struct stream, timer));
}

static void stream_begin(struct stream *stream)
{
    static const struct http_header headers[] = {
        {{"Content-Type", 12}, {"text/event-stream", 17}},
        {{"Cache-Control", 13}, {"no-store", 8}},
    };

    stream->begun = true;
    http_exchange_stream_begin(stream->exchange, headers,
                               sizeof(headers) / sizeof(headers[0]));
}

static void stream_returned(struct shard_call *call)
{
    struct stream *stream = CONTAINER_OF(call, struct stream, call);

    stream->away = false;
    if (stream->gone || stream->status != 0) {
        stream_end(stream);
        return;
    }
    if (!stream->begun) {
        stream_begin(stream);
    }
    if (stream->head_only) {
        stream_end(stream);
        return;
    }
    if (stream->text.size == 0 && !stream->text.failed) {
        buf_append_c(&stream->text, ": heartbeat\n\n");
    }
    stream_send(stream);
}

static void stream_go(struct stream *stream)
{
    struct shard *there = shard_owner(stream->home, str_from(stream->topic));

    stream->call.run = stream_run;
    stream->call.returned = stream_returned;
    stream->away = true;
    if (shard_send(stream->home, there, &stream->call) != ERR_OK) {
        stream->away = false;
        stream_end(stream);
    }
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
    stream->home = pipeline_shard(request->pipeline);
    stream->exchange = request->exchange;
    stream->timer.expired = stream_slow;
    stream->idle = true;
    stream->head_only = request->exchange->head->method == HTTP_METHOD_HEAD;
    memcpy(stream->topic, request->segments[0].data, request->segments[0].size);
    if (name.size > 0) {
        memcpy(stream->name, name.data, name.size);
    }
    request->exchange->context = stream;
    request->exchange->abandoned = stream_abandoned;
    http_exchange_alone(request->exchange);
    stream_go(stream);
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
