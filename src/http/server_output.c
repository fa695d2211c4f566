/* Bytes out, once a turn, and what follows when all are out.
 *
 * Answers are appended to `output`; at the end of the turn it becomes
 * `sending`, of which one slice at a time is with the kernel: the deadline is
 * for a slice, so that a large answer to a slow client is not cut while it
 * moves.
 *
 * The last answer is followed by the end of our side. The connection is closed
 * when the client has ended its side too: closing while bytes of the client
 * are unread would reset the connection, and the answer might be lost with it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server_internal.h"

#include "base/check.h"

/* Bytes written and not sent. */
static size_t unsent_size(const struct http_connection *connection)
{
    return connection->output.size + connection->sending.size -
           connection->sent_size;
}

/* Keep the sum of what all connections have not sent. */
static void count_unsent(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    size_t size = unsent_size(connection);
    server->unsent_size = server->unsent_size - connection->unsent_size + size;
    connection->unsent_size = size;
}

/* Tell whether the last request that was taken wants no other behind it. */
static bool last_is_alone(const struct http_connection *connection)
{
    const struct list *last = connection->exchanges.prev;
    return last != &connection->exchanges &&
           CONTAINER_OF(last, struct http_exchange, link)->alone;
}

bool server_has_room(const struct http_connection *connection)
{
    return connection->exchange_count < HTTP_PIPELINE_MAX &&
           unsent_size(connection) < SERVER_OUTPUT_SIZE_MAX &&
           !last_is_alone(connection);
}

/* Go on with a client that had to wait, once half of the room is there. It
 * happens in a turn of its own, since requests are not taken in hooks. */
static void resume_later(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    if (connection->paused && !list_linked(&connection->resume) &&
        connection->exchange_count <= HTTP_PIPELINE_MAX / 2 &&
        unsent_size(connection) < SERVER_OUTPUT_SIZE_MAX / 2 &&
        !last_is_alone(connection)) {
        list_append(&server->resumes, &connection->resume);
        server_post(server);
    }
}

/* All that was asked is answered: the next request is likely to come soon. */
static void await(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    server_unawait(connection);
    if (connection->exchange_count == 0 && connection->state == SERVER_HEAD) {
        connection->answered_ns = io_now_ns(server->io);
        list_append(&server->awaited, &connection->awaited);
        server->awaited_count++;
    }
}

void server_unawait(struct http_connection *connection)
{
    if (list_linked(&connection->awaited)) {
        list_remove(&connection->awaited);
        connection->server->awaited_count--;
    }
}

static void send_slice(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    if (connection->tls != NULL && server_tls_send(connection)) {
        return;
    }
    size_t left = connection->sending.size - connection->sent_size;
    size_t size = left < SERVER_SEND_SIZE_MAX ? left : SERVER_SEND_SIZE_MAX;
    struct iovec part = {
        .iov_base = connection->sending.data + connection->sent_size,
        .iov_len = size,
    };
    connection->slice_size = size;
    io_send(&connection->socket, &part, 1);
    server_deadline_set(server, &connection->send_due_ms,
                        server->options.send_timeout_ms);
}

/* All is sent, and no request is unanswered. */
static void settle(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    bool body = connection->state == SERVER_LENGTH ||
                connection->state == SERVER_CHUNKED;
    server_give_buf(server, &connection->output);
    server_give_buf(server, &connection->sending);
    bool deaf = connection->state == SERVER_DEAF;
    if (connection->secure && server_is_shaking(connection) && !deaf &&
        !server->draining) {
        return;
    }
    if ((connection->ended || deaf) && server_tls_end(connection)) {
        return; /* it comes back here */
    }
    if (connection->ended) {
        server_close(connection);
        return;
    }
    if (deaf) {
        connection->state = SERVER_LINGER;
        io_shutdown(&connection->socket);
        server_deadline_set(server, &connection->receive_due_ms,
                            SERVER_LINGER_MS);
        return;
    }
    if (body || connection->state != SERVER_HEAD || connection->paused ||
        connection->input.size > 0) {
        return;
    }
    if (server->draining && !server_is_held(connection)) {
        if (!server_tls_end(connection)) {
            server_close(connection);
        }
        return;
    }
    server_deadline_set(server, &connection->receive_due_ms,
                        server->options.idle_timeout_ms);
}

void server_mark_dirty(struct http_connection *connection)
{
    if (!list_linked(&connection->dirty) &&
        connection->state != SERVER_CLOSED) {
        list_append(&connection->server->dirty, &connection->dirty);
    }
}

void server_flush(struct http_connection *connection)
{
    count_unsent(connection);
    if (connection->output.failed) {
        server_close(connection); /* no memory for its answers */
        return;
    }
    resume_later(connection);
    if (io_sending(&connection->socket)) {
        return;
    }
    if (connection->tls != NULL && connection->output.size == 0 &&
        server_tls_send(connection)) {
        return;
    }
    if (connection->output.size > 0) {
        struct buf empty = connection->sending;
        CHECK(empty.size == 0 && connection->sent_size == 0);
        connection->sending = connection->output;
        connection->output = empty;
        await(connection);
        send_slice(connection);
        return;
    }
    if (connection->exchange_count == 0) {
        settle(connection);
    }
}

void server_sent(struct io_socket *socket, enum err err)
{
    struct http_connection *connection =
        CONTAINER_OF(socket, struct http_connection, socket);
    if (err != ERR_OK) {
        server_close(connection);
        return;
    }
    connection->sent_size += connection->slice_size;
    count_unsent(connection);
    connection->send_due_ms = SERVER_NEVER;
    if (connection->sent_size < connection->sending.size) {
        send_slice(connection);
        return;
    }
    buf_clear(&connection->sending);
    connection->sent_size = 0;
    if (list_linked(&connection->dirty)) {
        return; /* at the end of the turn, with what is written by then */
    }
    server_flush(connection);
}
