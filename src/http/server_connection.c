/* Bytes in: from a socket to whole requests.
 *
 * Usually a receive holds whole requests: each is parsed, handed over and
 * answered from the receive buffer, nothing being copied. What is not whole is
 * kept: a part of a head in `input`, as it came; a head with a part of its body
 * in `request`, where the body grows without its chunking. Both are counted,
 * server-wide, and are gone when the request is.
 *
 * The request at the front of what came in decides alone: while the client is
 * to wait (too many requests unanswered, or answers not taken), everything
 * stays in `input`, and receiving is held back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server_internal.h"

#include "base/check.h"
#include "base/diag.h"
#include "sys/file.h"
#include "sys/net.h"

#include <string.h>

enum {
    BODY_GROW_MAX = 64 * 1024, /* bytes set aside for a body before they
                                  have come */
    RATE_GRACE_MS = 5000, /* of body_rate_min, when bodies have no timeout */
};

/* --- memory of what is not whole ----------------------------------------- */

/* Count what the connection holds anew; false when all hold too much. */
static bool count_held(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    uint64_t held = connection->input.capacity + connection->request.capacity;
    server->held_size = server->held_size - connection->held_size + held;
    connection->held_size = held;
    return server->held_size <= server->options.body_memory_max;
}

static void drop_input(struct http_connection *connection)
{
    buf_fini(&connection->input);
    (void)count_held(connection);
}

void server_drop_request(struct http_connection *connection)
{
    buf_fini(&connection->request);
    (void)count_held(connection);
}

/* Append to `request` or `input`; refuses when there is no memory left. */
static bool
keep(struct http_connection *connection, struct buf *to, struct str bytes)
{
    if (bytes.size > to->capacity - to->size) {
        enum err err = buf_reserve(to, bytes.size);
        if (!count_held(connection) || err != ERR_OK) {
            server_refuse(connection, 503, "no memory for the request");
            return false;
        }
    }
    buf_append_str(to, bytes);
    return true;
}

bool server_keep_request(struct http_connection *connection, struct str bytes)
{
    return keep(connection, &connection->request, bytes);
}

/* --- whole requests ------------------------------------------------------ */

/* Hand a request over. */
static void dispatch(struct http_connection *connection,
                     const struct http_head *head,
                     struct str body)
{
    struct http_server *server = connection->server;
    struct http_exchange *exchange = server_take_exchange(server);
    if (exchange == NULL) {
        server_close(connection);
        return;
    }
    exchange->head = head;
    exchange->body = body;
    exchange->server = server;
    exchange->connection = connection;
    exchange->head_only = head->method == HTTP_METHOD_HEAD;
    exchange->keep_alive = head->keep_alive;
    exchange->minor_zero = head->version_minor == 0;
    list_append(&connection->exchanges, &exchange->link);
    connection->exchange_count++;
    connection->state = head->keep_alive ? SERVER_HEAD : SERVER_DEAF;
    server->stats.requests++;
    server->options.handle(server->options.context, exchange);
}

/* Read the head of `request` once more: its slices were of a buffer that has
 * gone. */
static void parse_again(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    /* It was within the limits that there were when it came. */
    const struct http_limits limits = {.head_size_max = connection->head_size,
                                       .target_size_max =
                                           connection->head_size};
    struct http_refusal refusal;
    size_t scanned = 0;
    size_t size = 0;
    enum err err = http_parse_request(
        str_cut(buf_str(&connection->request), 0, connection->head_size),
        &limits, &scanned, &server->head, &size, &refusal);
    CHECK(err == ERR_OK);
    CHECK(size == connection->head_size);
}

/* Hand over what was put together in `request`. */
static void dispatch_request(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct str request = buf_str(&connection->request);
    parse_again(connection);
    dispatch(connection, &server->head,
             str_cut(request, connection->head_size, request.size));
    if (connection->state != SERVER_CLOSED) {
        server_drop_request(connection);
    }
}

/* --- bodies -------------------------------------------------------------- */

/* The first seconds are not looked at: a sender may be slow to begin. */
bool server_note_progress(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    uint64_t elapsed_ms = io_now_ms(server->io) - connection->body_start_ms;
    uint64_t size = connection->body_size;
    uint64_t rate_min = server->options.body_rate_min;
    uint64_t grace_ms = server->options.body_timeout_ms;
    server_deadline_set(server, &connection->receive_due_ms, grace_ms);
    grace_ms = grace_ms > 0 ? grace_ms : RATE_GRACE_MS;
    if (rate_min == 0 || elapsed_ms <= grace_ms ||
        size >= rate_min * (elapsed_ms - grace_ms) / 1000) {
        return true;
    }
    server->stats.timeouts++;
    server_refuse(connection, 408, "the body came too slowly");
    return false;
}

static size_t take_length(struct http_connection *connection, struct str bytes)
{
    struct str part = bytes;
    connection->continue_due = false;
    if (connection->sink != NULL) {
        return server_stream_length(connection, bytes);
    }
    if (part.size > connection->body_left) {
        part.size = (size_t)connection->body_left;
    }
    if (!keep(connection, &connection->request, part)) {
        return bytes.size;
    }
    connection->body_left -= part.size;
    connection->body_size += part.size;
    if (connection->body_left == 0) {
        dispatch_request(connection);
    } else if (!server_note_progress(connection)) {
        return bytes.size;
    }
    return part.size;
}

static void refuse_large(struct http_connection *connection)
{
    server_refuse(
        connection, 413,
        connection->gathered
            ? "a body of this kind must fit into half of batch_size_max"
            : "the body is too large");
}

/* A chunked body is larger than the buffer: ask where it is to go. False when
 * the connection takes no more of it. */
static bool overflow(struct http_connection *connection, struct str data)
{
    if (!keep(connection, &connection->request, data)) {
        return false;
    }
    parse_again(connection);
    switch (server_stream_open(connection, &connection->server->head)) {
    case HTTP_BODY_SINK:
        connection->backlog_at = connection->head_size;
        break;
    case HTTP_BODY_MEMORY:
        connection->gathered = true;
        break;
    case HTTP_BODY_ANSWERED:
        server_drop_request(connection);
        return false;
    }
    return true;
}

/* Take the data of a chunk. False when the connection takes no more. */
static bool
take_data(struct http_connection *connection, struct str data, bool done)
{
    struct http_server *server = connection->server;
    connection->body_size += data.size;
    if (connection->sink != NULL) {
        return server_stream_chunk(connection, data, done);
    }
    if (!connection->gathered &&
        server_stream_wanted(server, connection->body_size)) {
        if (!overflow(connection, data)) {
            return false;
        }
        if (connection->sink != NULL) {
            connection->body_whole = done;
            return server_stream_feed(connection) ||
                   connection->state != SERVER_DEAF;
        }
    } else if (!keep(connection, &connection->request, data)) {
        return false;
    }
    if (done) {
        dispatch_request(connection);
        return true;
    }
    return server_note_progress(connection);
}

static size_t take_chunked(struct http_connection *connection, struct str bytes)
{
    struct http_server *server = connection->server;
    uint64_t size_max = connection->gathered ? server->options.body_gather_max
                                             : server->options.body_size_max;
    size_t used = 0;
    struct str data = {NULL, 0};
    bool done = false;
    connection->continue_due = false;
    if (connection->sink_full) {
        return 0;
    }
    enum err err =
        http_chunked_next(&connection->chunked, bytes, &used, &data, &done);
    if (err != ERR_OK) {
        server_refuse(connection, 400, "malformed chunk");
        return bytes.size;
    }
    uint64_t size = connection->body_size;
    /* `left` too, so that a chunk that cannot fit is refused by its size. */
    if (size > size_max || data.size > size_max - size ||
        connection->chunked.left > size_max - size - data.size) {
        refuse_large(connection);
        return bytes.size;
    }
    return take_data(connection, data, done) ? used : bytes.size;
}

/* A body is too large for the buffer by what its head says. Returns whether it
 * is to be gathered all the same. */
static bool open_large(struct http_connection *connection,
                       const struct http_head *head)
{
    struct http_server *server = connection->server;
    switch (server_stream_open(connection, head)) {
    case HTTP_BODY_SINK:
        connection->continue_due = head->expect_continue;
        server_deadline_set(server, &connection->receive_due_ms,
                            server->options.body_timeout_ms);
        return false;
    case HTTP_BODY_ANSWERED:
        return false;
    case HTTP_BODY_MEMORY:
        break;
    }
    connection->gathered = true;
    if (connection->body_left > server->options.body_gather_max) {
        refuse_large(connection);
        return false;
    }
    return true;
}

/* Begin to put a request together: `head_bytes` are all of its head. */
static void begin_body(struct http_connection *connection,
                       const struct http_head *head,
                       struct str head_bytes)
{
    struct http_server *server = connection->server;
    connection->state = head->chunked ? SERVER_CHUNKED : SERVER_LENGTH;
    connection->body_left = head->chunked ? 0 : head->content_length;
    connection->chunked = (struct http_chunked){0};
    connection->head_size = head_bytes.size;
    connection->head_started = false;
    connection->body_size = 0;
    connection->body_start_ms = io_now_ms(server->io);
    connection->gathered = false;
    connection->continue_due = false;
    bool goes_on = server_stream_wanted(server, connection->body_left)
                       ? open_large(connection, head)
                       : server_stream_admit(connection, head);
    if (!goes_on) {
        return;
    }
    connection->continue_due = head->expect_continue;
    uint64_t body_max =
        head->chunked ? server->options.body_size_max : connection->body_left;
    buf_init(&connection->request, head_bytes.size + (size_t)body_max);
    if (!keep(connection, &connection->request, head_bytes)) {
        return;
    }
    uint64_t room = connection->body_left;
    room = room < BODY_GROW_MAX ? room : BODY_GROW_MAX;
    if (buf_reserve(&connection->request, (size_t)room) != ERR_OK ||
        !count_held(connection)) {
        server_refuse(connection, 503, "no memory for the request");
        return;
    }
    server_deadline_set(server, &connection->receive_due_ms,
                        server->options.body_timeout_ms);
}

/* --- heads --------------------------------------------------------------- */

static size_t take_head(struct http_connection *connection, struct str bytes)
{
    struct http_server *server = connection->server;
    struct http_head *head = &server->head;
    struct http_refusal refusal;
    size_t size = 0;
    enum err err =
        http_parse_request(bytes, &server->options.limits, &connection->scanned,
                           head, &size, &refusal);
    if (err == ERR_AGAIN) {
        return 0;
    }
    connection->scanned = 0;
    if (err != ERR_OK) {
        server_refuse(connection, refusal.status, refusal.reason);
        return bytes.size;
    }
    uint64_t body_size =
        head->content_length != HTTP_LENGTH_NONE ? head->content_length : 0;
    if (body_size > server->options.body_size_max) {
        server_refuse(connection, 413, "the body is too large");
        return bytes.size;
    }
    connection->upload_waits =
        server->uploads_held && server_stream_wanted(server, body_size);
    if (connection->upload_waits) {
        return 0;
    }
    connection->head_started = false;
    if (!head->chunked && body_size <= bytes.size - size) {
        dispatch(connection, head, str_cut(bytes, size, (size_t)body_size));
        return size + (size_t)body_size;
    }
    begin_body(connection, head, str_cut(bytes, 0, size));
    return size;
}

/* Take requests off the front of `bytes`, as many as are there and may be
 * taken now. Returns how many bytes were used. */
static size_t take(struct http_connection *connection, struct str bytes)
{
    size_t used = 0;
    while (used < bytes.size && !server_is_held(connection)) {
        struct str rest = str_cut(bytes, used, bytes.size);
        size_t step = rest.size; /* dropped, unless taken below */
        if (connection->state == SERVER_HEAD) {
            step =
                server_has_room(connection) ? take_head(connection, rest) : 0;
        } else if (connection->state == SERVER_LENGTH) {
            step = take_length(connection, rest);
        } else if (connection->state == SERVER_CHUNKED) {
            step = take_chunked(connection, rest);
        }
        if (step == 0) {
            break;
        }
        used += step;
    }
    return used;
}

/* --- the socket ---------------------------------------------------------- */

/* Set what the connection waits for next, after bytes were taken. */
static void settle_input(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    bool body = connection->state == SERVER_LENGTH ||
                connection->state == SERVER_CHUNKED;
    if (connection->state == SERVER_CLOSED ||
        connection->state == SERVER_LINGER) {
        return;
    }
    if (server_is_held(connection)) {
        return;
    }
    if (body) {
        /* With a sink, it is itself in line. */
        uint32_t first = connection->sink != NULL ? 1 : 0;
        if (connection->continue_due && connection->exchange_count == first) {
            server_send_continue(connection);
        }
        if (connection->sink_full) {
            server_stream_hold(connection);
        }
        return;
    }
    bool waits = connection->state == SERVER_HEAD && connection->input.size > 0;
    connection->paused =
        waits && (connection->upload_waits || !server_has_room(connection));
    if (connection->paused) {
        io_receive_pause(&connection->socket);
    }
    if (waits && !connection->paused) {
        if (!connection->head_started) {
            connection->head_started = true;
            server_deadline_set(server, &connection->receive_due_ms,
                                server->options.head_timeout_ms);
        }
        return;
    }
    connection->head_started = false;
    if (connection->exchange_count > 0 || connection->paused) {
        connection->receive_due_ms = SERVER_NEVER;
    } else {
        server_deadline_set(server, &connection->receive_due_ms,
                            server->options.idle_timeout_ms);
    }
}

/* Take what `input` holds. */
static void take_input(struct http_connection *connection)
{
    size_t used = take(connection, buf_str(&connection->input));
    if (connection->state == SERVER_CLOSED) {
        return;
    }
    if (used == connection->input.size) {
        drop_input(connection);
    } else {
        buf_consume(&connection->input, used);
    }
}

void server_take_bytes(struct http_connection *connection, struct str bytes)
{
    server_unawait(connection);
    if (connection->state == SERVER_LINGER) {
        return;
    }
    if (connection->input.size == 0) {
        bytes = str_cut(bytes, take(connection, bytes), bytes.size);
        if (bytes.size > 0 && connection->state != SERVER_CLOSED) {
            (void)keep(connection, &connection->input, bytes);
        }
    } else if (keep(connection, &connection->input, bytes)) {
        take_input(connection);
    }
    settle_input(connection);
}

static void received(struct io_socket *socket, const char *data, size_t size)
{
    struct http_connection *connection =
        CONTAINER_OF(socket, struct http_connection, socket);
    server_take_bytes(connection, (struct str){data, size});
}

void server_resume(struct http_connection *connection)
{
    if (connection->state == SERVER_CLOSED || !connection->paused) {
        return;
    }
    connection->paused = false;
    take_input(connection);
    settle_input(connection);
    if (connection->state == SERVER_CLOSED || connection->paused) {
        return;
    }
    io_receive_start(&connection->socket);
    if (connection->end_due) {
        connection->end_due = false;
        server_take_end(connection);
    }
}

void server_take_end(struct http_connection *connection)
{
    bool body = connection->state == SERVER_LENGTH ||
                connection->state == SERVER_CHUNKED;
    if (connection->state == SERVER_LINGER) {
        server_close(connection);
        return;
    }
    connection->ended = true;
    if (body || connection->input.size > 0) {
        server_refuse(connection, 400, "the request ended early");
    }
    server_stop_taking(connection);
    server_announce_end(connection);
    if (connection->state != SERVER_CLOSED) {
        server_mark_dirty(connection);
    }
}

/* The client ended its side, or the connection broke. */
static void ended(struct io_socket *socket, enum err err)
{
    struct http_connection *connection =
        CONTAINER_OF(socket, struct http_connection, socket);
    if (connection->leaving) {
        return; /* whoever has it next is told again */
    }
    if (err != ERR_CLOSED) {
        server_close(connection);
        return;
    }
    server_take_end(connection);
}

void server_closed(struct io_socket *socket)
{
    struct http_connection *connection =
        CONTAINER_OF(socket, struct http_connection, socket);
    struct http_server *server = connection->server;
    CHECK(list_empty(&connection->exchanges));
    if (connection->leaving && connection->state != SERVER_CLOSED) {
        server_give(connection);
    }
    server->unsent_size -= connection->unsent_size;
    tls_destroy(connection->tls);
    drop_input(connection);
    server_drop_request(connection);
    server_give_buf(server, &connection->output);
    server_give_buf(server, &connection->sending);
    list_remove(&connection->link);
    server->stats.connections_open--;
    server_give_connection(server, connection);
    if (server->draining && list_empty(&server->connections)) {
        server_post(server);
    }
}

static const struct io_socket_ops socket_ops = {
    .received = received,
    .ended = ended,
    .sent = server_sent,
    .closed = server_closed,
};

struct http_connection *
server_open(struct http_server *server, int fd, bool secure, bool refuse)
{
    struct http_connection *connection = server_take_connection(server);
    if (connection == NULL) {
        file_close(fd);
        server->stats.connections_refused++;
        return NULL;
    }
    net_set_nodelay(fd);
    connection->server = server;
    list_init(&connection->exchanges);
    list_append(&server->connections, &connection->link);
    connection->receive_due_ms = SERVER_NEVER;
    connection->send_due_ms = SERVER_NEVER;
    server->stats.connections_open++;
    server->stats.connections_total++;
    connection->secure = secure;
    io_socket_init(server->io, &connection->socket, fd,
                   secure ? &server_tls_ops : &socket_ops);
    io_receive_start(&connection->socket);
    if (refuse) {
        server->stats.connections_refused++;
        server_refuse(connection, 503, "too many connections");
        return connection;
    }
    server_deadline_set(server, &connection->receive_due_ms,
                        secure ? server->options.head_timeout_ms
                               : server->options.idle_timeout_ms);
    return connection;
}

void server_close(struct http_connection *connection)
{
    if (connection->state == SERVER_CLOSED) {
        return;
    }
    connection->state = SERVER_CLOSED;
    connection->receive_due_ms = SERVER_NEVER;
    connection->send_due_ms = SERVER_NEVER;
    list_remove(&connection->dirty);
    list_remove(&connection->resume);
    server_unawait(connection);
    struct http_exchange *exchange = server_stream_abort(connection);
    if (exchange != NULL) {
        exchange->answered = true; /* nobody else is to do it */
    }
    /* Buffers stay until closed(): the caller may be reading them. */
    io_close(&connection->socket);
    server_abandon_all(connection);
}

/* --- refusals ------------------------------------------------------------ */

void server_stop_taking(struct http_connection *connection)
{
    connection->state = SERVER_DEAF;
    connection->head_started = false;
    connection->continue_due = false;
    connection->receive_due_ms = SERVER_NEVER;
}

void server_refuse(struct http_connection *connection,
                   int status,
                   const char *reason)
{
    struct http_server *server = connection->server;
    if (connection->state == SERVER_CLOSED) {
        return;
    }
    struct http_exchange *exchange = server_stream_abort(connection);
    if (exchange == NULL) {
        exchange = server_take_exchange(server);
        if (exchange == NULL) {
            server_close(connection);
            return;
        }
        exchange->server = server;
        exchange->connection = connection;
        list_append(&connection->exchanges, &exchange->link);
        connection->exchange_count++;
    }
    server_stop_taking(connection);
    server->stats.refused++;
    server_drop_request(connection);

    struct buf body = {0};
    struct http_header headers[] = {
        {STR("Content-Type"), STR("application/problem+json")},
        {STR("Retry-After"), STR("1")},
    };
    server_take_buf(server, &body);
    buf_append_format(&body,
                      "{\"type\":\"about:blank\",\"title\":\"%s\","
                      "\"status\":%d,\"detail\":\"%s\"}\n",
                      http_status_text(status), status, reason);
    http_exchange_answer(exchange, status, headers, status == 503 ? 2 : 1,
                         buf_str(&body));
    server_give_buf(server, &body);
    DIAG_DEBUG("request_refused", "status=%d reason=%s", status, reason);
}

void server_send_continue(struct http_connection *connection)
{
    connection->continue_due = false;
    if (connection->output.data == NULL) {
        server_take_buf(connection->server, &connection->output);
    }
    buf_append_str(&connection->output, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    server_mark_dirty(connection);
}
