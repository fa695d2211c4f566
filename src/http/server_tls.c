/* Connections that speak TLS: between the socket and what http knows.
 *
 *     first bytes -> (handshake) -> decrypted bytes -> server_take_bytes()
 *     `sending` -> encrypted, as much as TLS has room for -> socket
 *
 * Such a connection has operations of its own for its socket, so that plain
 * ones do not ask on each receive. All that came is decrypted at once and goes
 * the way of plain bytes; what is held back while the client must wait is
 * therefore one receive at most.
 *
 * What can go wrong:
 * - The first byte is a letter: plain HTTP, which gets a plain 400.
 * - The handshake fails: the alert is sent, then the connection closed.
 * - It does not end in time (head_timeout_ms from the beginning): closed.
 * - The stream breaks later: likewise with an alert, unless requests are
 *   unanswered, which are lost at once.
 * - The client ends its side with or without close_notify: as with plain
 *   ones, since HTTP knows where its messages end. While it must wait, the end
 *   waits with what came before it.
 *
 * A session is made with the first byte, not before, and its rings do not
 * grow: a connection costs the same whatever its client sends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server_internal.h"

#include "base/check.h"
#include "base/diag.h"

bool server_is_shaking(const struct http_connection *connection)
{
    return connection->secure && !connection->shaken;
}

/* Take no more from a session that cannot go on. What TLS has to say of it is
 * sent, then the connection is closed. */
static void fail(struct http_connection *connection)
{
    DIAG_DEBUG("tls_failed", "detail=%s", tls_detail(connection->tls));
    connection->tls_over = true;
    if (connection->exchange_count > 0) {
        server_close(connection); /* nobody is left to be answered */
        return;
    }
    server_stop_taking(connection);
    server_mark_dirty(connection);
}

/* --- in ------------------------------------------------------------------ */

static bool shake(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    enum err err = tls_handshake(connection->tls);
    if (err == ERR_OK) {
        connection->shaken = true;
        server_deadline_set(server, &connection->receive_due_ms,
                            server->options.idle_timeout_ms);
        return true;
    }
    if (err != ERR_AGAIN) {
        fail(connection);
    }
    return false;
}

/* Decrypt what there is, and hand it over. */
static void decrypt(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    if (!connection->shaken && !shake(connection)) {
        return;
    }
    while (!connection->tls_over && connection->state != SERVER_CLOSED) {
        size_t size = 0;
        enum err err = tls_read(connection->tls, server->plain,
                                sizeof(server->plain), &size);
        if (err == ERR_AGAIN) {
            return;
        }
        if (err == ERR_CLOSED) {
            connection->tls_over = true;
            connection->end_due = connection->paused;
            if (!connection->paused) {
                server_take_end(connection);
            }
            return;
        }
        if (err != ERR_OK) {
            fail(connection);
            return;
        }
        server_take_bytes(connection, (struct str){server->plain, size});
    }
}

/* The first bytes are no handshake: speak as plainly. */
static bool is_plain(const char *data)
{
    return data[0] >= 'A' && data[0] <= 'Z';
}

/* Make the session. False: there will be none. */
static bool begin(struct http_connection *connection, const char *data)
{
    if (is_plain(data)) {
        connection->secure = false;
        server_refuse(connection, 400, "this port speaks TLS: https://");
        return false;
    }
    if (tls_create_server(connection->server->tls, &connection->tls) !=
        ERR_OK) {
        server_close(connection);
        return false;
    }
    return true;
}

static void received(struct io_socket *socket, const char *data, size_t size)
{
    struct http_connection *connection =
        CONTAINER_OF(socket, struct http_connection, socket);
    struct str bytes = {data, size};
    if (!connection->secure || connection->tls_over) {
        return; /* refused, and what comes is dropped */
    }
    if (connection->tls == NULL && !begin(connection, data)) {
        return;
    }
    while (bytes.size > 0 && !connection->tls_over &&
           connection->state != SERVER_CLOSED) {
        size_t taken = tls_feed(connection->tls, bytes);
        if (taken == 0) {
            /* It makes TLS answer and takes no answers. */
            server_close(connection);
            return;
        }
        bytes = str_cut(bytes, taken, bytes.size);
        decrypt(connection);
    }
    if (tls_output(connection->tls).size > 0) {
        server_mark_dirty(connection);
    }
}

static void ended(struct io_socket *socket, enum err err)
{
    struct http_connection *connection =
        CONTAINER_OF(socket, struct http_connection, socket);
    if (err != ERR_CLOSED || server_is_shaking(connection) ||
        connection->state == SERVER_LINGER) {
        server_close(connection);
        return;
    }
    if (!connection->ended) {
        connection->tls_over = connection->secure;
        server_take_end(connection);
    }
}

/* --- out ----------------------------------------------------------------- */

/* Encrypt of `sending` what there is room for; how many bytes. */
static size_t encrypt(struct http_connection *connection)
{
    struct str rest = str_cut(buf_str(&connection->sending),
                              connection->sent_size, connection->sending.size);
    size_t all = 0;
    while (all < rest.size) {
        size_t size = 0;
        enum err err =
            tls_write(connection->tls, str_cut(rest, all, rest.size), &size);
        if (err != ERR_OK) {
            break; /* no room; or broken, and then there is no output */
        }
        all += size;
    }
    return all;
}

bool server_tls_send(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    if (connection->tls == NULL) {
        return false;
    }
    bool wanted = connection->sending.size > connection->sent_size;
    connection->slice_size = wanted ? encrypt(connection) : 0;
    struct str output = tls_output(connection->tls);
    if (output.size == 0) {
        if (wanted) {
            server_close(connection);
        }
        return wanted;
    }
    struct iovec part = {(void *)output.data, output.size};
    connection->cipher_size = output.size;
    io_send(&connection->socket, &part, 1);
    server_deadline_set(server, &connection->send_due_ms,
                        server->options.send_timeout_ms);
    return true;
}

bool server_tls_end(struct http_connection *connection)
{
    if (connection->tls == NULL || !connection->shaken ||
        connection->tls_ended) {
        return false;
    }
    connection->tls_ended = true;
    tls_end(connection->tls);
    return server_tls_send(connection);
}

static void sent(struct io_socket *socket, enum err err)
{
    struct http_connection *connection =
        CONTAINER_OF(socket, struct http_connection, socket);
    if (err == ERR_OK && connection->cipher_size > 0) {
        tls_output_sent(connection->tls, connection->cipher_size);
        connection->cipher_size = 0;
        if (!connection->tls_over) {
            decrypt(connection); /* it may have waited for room */
        }
        if (connection->state == SERVER_CLOSED) {
            return;
        }
    }
    server_sent(socket, err);
}

const struct io_socket_ops server_tls_ops = {
    .received = received,
    .ended = ended,
    .sent = sent,
    .closed = server_closed,
};
