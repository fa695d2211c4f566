/* A stream of server-sent events, whatever is in them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_stream.h"

#include "base/check.h"
#include "queue/answer.h"

#include <stdio.h>

enum {
    PIECE_SIZE = 32 * 1024,  /* given to the server at once */
    SLOW_WAIT_MS = 50,       /* until a slow client is tried again */
    SLOW_MS_MAX = 60 * 1000, /* without any progress: it is cut */
    STOP_MS_MAX = 1000,      /* of a client when the server stops */
};

/* --- there ---------------------------------------------------------------- */

void api_stream_return(struct api_stream *stream)
{
    stream->idle = true;
    shard_call_return(&stream->call);
}

void api_stream_fail(struct api_stream *stream, int status, const char *detail)
{
    stream->status = status;
    (void)snprintf(stream->detail, sizeof(stream->detail), "%s", detail);
    api_stream_return(stream);
}

static void stream_run(struct shard_call *call, struct shard *there)
{
    struct api_stream *stream = CONTAINER_OF(call, struct api_stream, call);

    stream->idle = false;
    stream->run(stream, there);
}

static void cancel_run(struct shard_call *call, struct shard *there)
{
    struct api_stream *stream = CONTAINER_OF(call, struct api_stream, cancel);

    (void)there;
    if (!stream->idle) {
        stream->cancelled(stream);
    }
    shard_call_return(call);
}

/* --- at home -------------------------------------------------------------- */

static void stream_go(struct api_stream *stream);

/* End it, when nothing of it is away. */
static void stream_end(struct api_stream *stream)
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
    stream->release(stream);
}

static void cancel_returned(struct shard_call *call)
{
    struct api_stream *stream = CONTAINER_OF(call, struct api_stream, cancel);

    stream->cancelling = false;
    stream_end(stream);
}

static void stream_abandoned(struct http_exchange *exchange)
{
    struct api_stream *stream = exchange->context;

    exchange->abandoned = NULL;
    stream->gone = true;
    if (!stream->away) {
        stream_end(stream);
        return;
    }
    stream->cancel.run = cancel_run;
    stream->cancel.returned = cancel_returned;
    /* When it cannot be sent, the page ends with the next heartbeat. */
    stream->cancelling =
        shard_send(stream->home, stream->place, &stream->cancel) == ERR_OK;
}

/* Give the server what it takes of a page. Returns false while there is more;
 * or when the stream has ended, for then it is gone. */
static bool send_text(struct api_stream *stream)
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
static bool stop_waits(struct api_stream *stream)
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
static void stream_send(struct api_stream *stream)
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
    stream_send(CONTAINER_OF(timer, struct api_stream, timer));
}

static void stream_begin(struct api_stream *stream)
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
    struct api_stream *stream = CONTAINER_OF(call, struct api_stream, call);

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

static void stream_go(struct api_stream *stream)
{
    stream->call.run = stream_run;
    stream->call.returned = stream_returned;
    stream->away = true;
    if (shard_send(stream->home, stream->place, &stream->call) != ERR_OK) {
        stream->away = false;
        stream_end(stream);
    }
}

void api_stream_begin(struct api_stream *stream,
                      const struct api_request *request)
{
    stream->home = pipeline_shard(request->pipeline);
    stream->exchange = request->exchange;
    stream->timer.expired = stream_slow;
    stream->idle = true;
    stream->head_only = request->exchange->head->method == HTTP_METHOD_HEAD;
    request->exchange->context = stream;
    request->exchange->abandoned = stream_abandoned;
    http_exchange_alone(request->exchange);
    stream_go(stream);
}
