/* Connections on their way to a successor: see http_server_hand_over().
 *
 * Held: no request is taken any more, and bodies are not gone on with; what
 * comes stays as it is. A connection whose requests are all answered is taken
 * off the loop, whether or not its answers are sent; what came and was not
 * taken, what a request has so far, and what is not sent go with it. Those that
 * wait for something to happen are told to end their wait.
 *
 * TLS has a state that no library gives away: such connections are closed in
 * order behind the answers to what they asked for.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server_internal.h"

#include "base/check.h"
#include "sys/file.h"
#include "sys/net.h"

#include <string.h>

/* --- away ----------------------------------------------------------------- */

bool server_is_held(const struct http_connection *connection)
{
    return connection->server->give != NULL && !connection->secure &&
           connection->sink == NULL;
}

/* What of the bytes that were with the kernel it has not sent. */
static struct str left_of_sending(const struct http_connection *connection)
{
    size_t sent = connection->sent_size;

    if (connection->slice_size > 0 &&
        sent + connection->slice_size <= connection->sending.size) {
        sent += connection->slice_size - io_unsent(&connection->socket);
    }
    return str_cut(buf_str(&connection->sending), sent,
                   connection->sending.size);
}

void server_give(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    bool body = connection->state == SERVER_LENGTH ||
                connection->state == SERVER_CHUNKED;
    const struct http_handed handed = {
        .fd = connection->socket.fd,
        .deaf = connection->state == SERVER_DEAF ||
                connection->state == SERVER_LINGER,
        .unsent = {left_of_sending(connection), buf_str(&connection->output)},
        .input = buf_str(&connection->input),
        .request = body ? buf_str(&connection->request) : STR(""),
        .head_size = body ? connection->head_size : 0,
        .chunks = connection->state == SERVER_CHUNKED,
        .chunked = connection->chunked,
        .body_left = connection->body_left,
        .body_size = connection->body_size,
        .gathered = connection->gathered,
        .continue_due = connection->continue_due,
    };

    server->give(server->give_context, &handed);
}

/* Take a connection off the loop, or bring it nearer to that. */
static void let_go(struct http_connection *connection)
{
    if (connection->state == SERVER_CLOSED || connection->leaving) {
        return;
    }
    if (connection->secure) {
        server_mark_dirty(connection); /* as when draining */
        return;
    }
    if (connection->exchange_count > 0) {
        server_announce_end(connection);
        return;
    }
    connection->leaving = true;
    connection->receive_due_ms = SERVER_NEVER;
    connection->send_due_ms = SERVER_NEVER;
    list_remove(&connection->dirty);
    list_remove(&connection->resume);
    server_unawait(connection);
    io_detach(&connection->socket);
}

void server_hand_over_turn(struct http_server *server)
{
    struct list *next = NULL;

    for (struct list *node = server->connections.next;
         node != &server->connections; node = next) {
        next = node->next;
        let_go(CONTAINER_OF(node, struct http_connection, link));
    }
}

void http_server_hold_uploads(struct http_server *server, bool held)
{
    if (server->uploads_held == held) {
        return;
    }
    server->uploads_held = held;
    for (struct list *node = server->connections.next;
         !held && node != &server->connections; node = node->next) {
        struct http_connection *connection =
            CONTAINER_OF(node, struct http_connection, link);
        if (connection->upload_waits && connection->paused &&
            !list_linked(&connection->resume)) {
            list_append(&server->resumes, &connection->resume);
        }
    }
    if (!list_empty(&server->resumes)) {
        server_post(server);
    }
}

void http_server_hand_over(struct http_server *server,
                           void (*give)(void *context,
                                        const struct http_handed *handed),
                           void (*drained)(void *context),
                           void *context)
{
    CHECK(!server->draining);
    server->give = give;
    server->give_context = context;
    http_server_drain(server, drained, context);
}

/* --- back ----------------------------------------------------------------- */

/* Put what it had into a connection that was opened for it.
 * Errors: ERR_NOMEM */
static enum err restore(struct http_connection *connection,
                        const struct http_handed *handed)
{
    struct http_server *server = connection->server;
    bool body = handed->head_size > 0;

    for (int part = 0; part < 2; part++) {
        buf_append_str(&connection->output, handed->unsent[part]);
    }
    if (buf_err(&connection->output) != ERR_OK) {
        return ERR_NOMEM;
    }
    if (body && !server_keep_request(connection, handed->request)) {
        return ERR_OK; /* all hold too much: it is told so */
    }
    if (handed->deaf) {
        server_stop_taking(connection);
    } else if (body) {
        connection->state = handed->chunks ? SERVER_CHUNKED : SERVER_LENGTH;
        connection->head_size = handed->head_size;
        connection->chunked = handed->chunked;
        connection->body_left = handed->body_left;
        connection->body_size = handed->body_size;
        connection->body_start_ms = io_now_ms(server->io);
        connection->gathered = handed->gathered;
        connection->continue_due = handed->continue_due;
        server_deadline_set(server, &connection->receive_due_ms,
                            server->options.body_timeout_ms);
    }
    return ERR_OK;
}

/* Tell whether what is said of a body that is coming agrees with its head. */
static bool is_body_sound(const struct http_handed *handed,
                          const struct http_head *head)
{
    uint64_t came = handed->request.size - handed->head_size;

    if (head->chunked != handed->chunks || handed->body_size != came) {
        return false;
    }
    if (head->chunked) {
        return handed->body_left == 0 &&
               http_chunked_is_sound(&handed->chunked);
    }
    return head->content_length != HTTP_LENGTH_NONE && handed->body_left > 0 &&
           handed->body_left <= head->content_length &&
           came == head->content_length - handed->body_left;
}

/* Tell whether what is said of a request that is coming can be true. */
static bool is_sound(const struct http_server *server,
                     const struct http_handed *handed)
{
    struct http_head head;
    struct http_refusal refusal;
    size_t scanned = 0;
    size_t size = 0;

    if (handed->head_size == 0) {
        return handed->request.size == 0;
    }
    return handed->head_size <= handed->request.size &&
           http_parse_request(str_cut(handed->request, 0, handed->head_size),
                              &server->options.limits, &scanned, &head, &size,
                              &refusal) == ERR_OK &&
           size == handed->head_size && is_body_sound(handed, &head);
}

enum err http_server_adopt(struct http_server *server,
                           const struct http_handed *handed)
{
    if (!is_sound(server, handed)) {
        file_close(handed->fd);
        return ERR_INVALID;
    }
    struct http_connection *connection =
        server_open(server, handed->fd, false, false);
    if (connection == NULL) {
        return ERR_NOMEM;
    }
    enum err err = restore(connection, handed);
    if (err != ERR_OK) {
        server_close(connection);
        return err;
    }
    server_take_bytes(connection, handed->input);
    server_mark_dirty(connection);
    return ERR_OK;
}
