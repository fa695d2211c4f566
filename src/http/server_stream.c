/* Bodies that are not gathered in memory: from the socket to a sink.
 *
 * The exchange is made when the sink is opened, and stands in line from then
 * on; it is the server's until the body is whole, so that the server can
 * refuse what comes too slowly or never ends. What the sink does not take is
 * the backlog: a chunk, or what was gathered of a chunked body before it grew
 * past the buffer. While there is any, nothing more is taken, and the client
 * feels it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server_internal.h"

#include "base/check.h"

/* --- opening -------------------------------------------------------------- */

bool server_stream_wanted(const struct http_server *server, uint64_t body_size)
{
    return server->options.open_body != NULL &&
           body_size > server->options.body_buffer;
}

/* Make the exchange of a request whose body has not come; NULL: the connection
 * was closed. */
static struct http_exchange *begin(struct http_connection *connection,
                                   const struct http_head *head)
{
    struct http_server *server = connection->server;
    struct http_exchange *exchange = server_take_exchange(server);
    if (exchange == NULL) {
        server_close(connection);
        return NULL;
    }
    exchange->head = head;
    exchange->server = server;
    exchange->connection = connection;
    exchange->minor_zero = head->version_minor == 0;
    exchange->keep_alive = false; /* an answer now leaves the body unread */
    list_append(&connection->exchanges, &exchange->link);
    connection->exchange_count++;
    return exchange;
}

static void forget(struct http_exchange *exchange)
{
    list_remove(&exchange->link);
    exchange->connection->exchange_count--;
    server_give_exchange(exchange->server, exchange);
}

/* The exchange was answered: no more is taken. */
static void end_early(struct http_connection *connection)
{
    server_stop_taking(connection);
    server_mark_dirty(connection);
}

bool server_stream_admit(struct http_connection *connection,
                         const struct http_head *head)
{
    const struct http_server_options *options = &connection->server->options;
    if (options->admit == NULL) {
        return true;
    }
    struct http_exchange *exchange = begin(connection, head);
    if (exchange == NULL) {
        return false;
    }
    if (options->admit(options->context, exchange)) {
        forget(exchange);
        return true;
    }
    end_early(connection);
    return false;
}

enum http_body server_stream_open(struct http_connection *connection,
                                  const struct http_head *head)
{
    struct http_server *server = connection->server;
    struct http_sink *sink = NULL;
    struct http_exchange *exchange = begin(connection, head);
    if (exchange == NULL) {
        return HTTP_BODY_ANSWERED;
    }
    enum http_body choice =
        server->options.open_body(server->options.context, exchange, &sink);
    switch (choice) {
    case HTTP_BODY_SINK:
        CHECK(sink != NULL);
        exchange->head = NULL;
        exchange->keep_alive = head->keep_alive;
        exchange->head_only = head->method == HTTP_METHOD_HEAD;
        sink->exchange = exchange;
        connection->sink = sink;
        io_receive_pace(&connection->socket, true);
        break;
    case HTTP_BODY_MEMORY:
        forget(exchange);
        break;
    case HTTP_BODY_ANSWERED:
        end_early(connection);
        break;
    }
    return choice;
}

/* --- taking --------------------------------------------------------------- */

/* The body is whole, and all of it with the sink. */
static void whole(struct http_connection *connection)
{
    struct http_sink *sink = connection->sink;
    bool keep_alive = sink->exchange->keep_alive;
    connection->sink = NULL;
    connection->body_whole = false;
    io_receive_pace(&connection->socket, false);
    connection->state = keep_alive ? SERVER_HEAD : SERVER_DEAF;
    connection->server->stats.requests++;
    sink->end(sink);
}

/* Give bytes to the sink; how many it took. */
static size_t give(struct http_connection *connection, struct str bytes)
{
    size_t taken = connection->sink->write(connection->sink, bytes);
    CHECK(taken <= bytes.size);
    if (connection->sink != NULL && taken < bytes.size) {
        connection->sink_full = true;
        connection->held_ms = io_now_ms(connection->server->io);
    }
    return taken;
}

bool server_stream_feed(struct http_connection *connection)
{
    struct str backlog =
        str_cut(buf_str(&connection->request), connection->backlog_at,
                connection->request.size);
    if (connection->sink_full) {
        return false;
    }
    if (backlog.size > 0) {
        connection->backlog_at += give(connection, backlog);
        if (connection->sink == NULL) {
            return false; /* it was refused */
        }
        if (connection->sink_full) {
            return false;
        }
    }
    server_drop_request(connection);
    connection->backlog_at = 0;
    if (connection->body_whole) {
        whole(connection);
        return false;
    }
    return true;
}

size_t server_stream_length(struct http_connection *connection,
                            struct str bytes)
{
    struct str part = bytes;
    if (connection->sink_full) {
        return 0;
    }
    if (part.size > connection->body_left) {
        part.size = (size_t)connection->body_left;
    }
    size_t taken = give(connection, part);
    if (connection->sink == NULL) {
        return bytes.size; /* refused: what comes is dropped */
    }
    connection->body_left -= taken;
    connection->body_size += taken;
    if (connection->body_left == 0) {
        whole(connection);
    } else if (!server_note_progress(connection)) {
        return bytes.size;
    }
    return taken;
}

bool server_stream_chunk(struct http_connection *connection,
                         struct str data,
                         bool done)
{
    size_t taken = data.size > 0 ? give(connection, data) : 0;
    if (connection->sink == NULL) {
        return false;
    }
    connection->body_whole = done;
    if (taken < data.size) {
        return server_keep_request(connection, str_cut(data, taken, data.size));
    }
    if (done) {
        whole(connection);
        return true;
    }
    return server_note_progress(connection);
}

/* --- waiting -------------------------------------------------------------- */

void server_stream_hold(struct http_connection *connection)
{
    if (!connection->paused) {
        connection->paused = true;
        io_receive_pause(&connection->socket);
    }
    connection->receive_due_ms = SERVER_NEVER; /* it is we who are slow */
}

void http_sink_resume(struct http_sink *sink)
{
    struct http_connection *connection = sink->exchange->connection;
    struct http_server *server = connection->server;
    CHECK(connection->sink == sink);
    if (!connection->sink_full) {
        return;
    }
    connection->sink_full = false;
    connection->body_start_ms += io_now_ms(server->io) - connection->held_ms;
    server_deadline_set(server, &connection->receive_due_ms,
                        server->options.body_timeout_ms);
    (void)server_stream_feed(connection);
    server_resume(connection);
}

/* --- ends ----------------------------------------------------------------- */

void http_sink_refuse(struct http_sink *sink)
{
    struct http_exchange *exchange = sink->exchange;
    struct http_connection *connection = exchange->connection;
    CHECK(connection->sink == sink);
    connection->sink = NULL;
    connection->sink_full = false;
    exchange->keep_alive = false;
    server_stop_taking(connection);
    if (connection->paused) {
        /* What comes is dropped, so that the answer arrives. */
        connection->paused = false;
        io_receive_start(&connection->socket);
    }
}

struct http_exchange *server_stream_abort(struct http_connection *connection)
{
    struct http_sink *sink = connection->sink;
    if (sink == NULL) {
        return NULL;
    }
    struct http_exchange *exchange = sink->exchange;
    connection->sink = NULL;
    connection->sink_full = false;
    connection->body_whole = false;
    exchange->keep_alive = false;
    sink->abort(sink);
    return exchange;
}
