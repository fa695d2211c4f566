/* Answers, in the order of the requests.
 *
 * The first exchange of a connection writes straight into the connection's
 * output; others into a buffer of their own until those before them are whole.
 * Output leaves once a turn: see server_output.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server_internal.h"

#include "base/check.h"
#include "sys/net.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { STATUS_LINE_SIZE_MAX = 64 };

/* --- order --------------------------------------------------------------- */

static bool is_first(const struct http_exchange *exchange)
{
    return exchange->connection->exchanges.next == &exchange->link;
}

/* Where an exchange writes; NULL when its client has gone. */
static struct buf *output_of(struct http_exchange *exchange)
{
    struct http_connection *connection = exchange->connection;
    if (connection == NULL) {
        return NULL;
    }
    struct buf *to =
        is_first(exchange) ? &connection->output : &exchange->answer;
    if (to->data == NULL) {
        server_take_buf(exchange->server, to);
    }
    return to;
}

static void release(struct http_exchange *exchange)
{
    list_remove(&exchange->link);
    server_give_exchange(exchange->server, exchange);
}

/* Let the exchanges at the front go that are wholly answered, and bring what
 * the next ones have written so far into the output. */
static void advance(struct http_connection *connection)
{
    struct list *head = &connection->exchanges;
    while (!list_empty(head)) {
        struct http_exchange *first =
            CONTAINER_OF(head->next, struct http_exchange, link);
        if (first->answer.size > 0) {
            buf_append_str(&connection->output, buf_str(&first->answer));
        }
        connection->output.failed |= first->answer.failed;
        server_give_buf(connection->server, &first->answer);
        if (!first->answered) {
            bool coming =
                connection->sink != NULL && connection->sink->exchange == first;
            if (coming && connection->continue_due) {
                server_send_continue(connection);
            }
            return;
        }
        connection->exchange_count--;
        release(first);
    }
    if (connection->continue_due) {
        server_send_continue(connection);
    }
}

/* The exchange has written its last byte. */
static void finish(struct http_exchange *exchange)
{
    struct http_connection *connection = exchange->connection;
    if (connection == NULL) {
        release(exchange);
        return;
    }
    exchange->answered = true;
    exchange->abandoned = NULL;
    if (is_first(exchange)) {
        advance(connection);
    }
    server_mark_dirty(connection);
}

/* --- heads --------------------------------------------------------------- */

/* Make the fields that every answer has, once a second. */
static void renew_common(struct http_server *server, uint64_t now_s)
{
    char date[30];
    const char *name = server->options.server_name;
    http_format_date(now_s, date);
    int size =
        snprintf(server->common, sizeof(server->common), "Date: %s\r\n", date);
    if (name != NULL) {
        size += snprintf(server->common + size,
                         sizeof(server->common) - (size_t)size,
                         "Server: %s\r\n", name);
    }
    CHECK(size > 0 && (size_t)size < sizeof(server->common));
    server->common_size = (size_t)size;
    server->common_s = now_s;
}

/* What the Connection field says, and what is done: the answer to the last
 * request closes. While draining any request may turn out to be the last. */
static struct str connection_field(struct http_exchange *exchange)
{
    struct http_connection *connection = exchange->connection;
    bool last = connection->exchanges.prev == &exchange->link;
    if (exchange->server->draining && last &&
        connection->state == SERVER_HEAD && !server_is_held(connection)) {
        exchange->keep_alive = false;
        server_stop_taking(connection);
    }
    if (!exchange->keep_alive) {
        return STR("Connection: close\r\n\r\n");
    }
    return exchange->minor_zero ? STR("Connection: keep-alive\r\n\r\n")
                                : STR("\r\n");
}

/* Append what `head` lacks, an empty line, and the body. */
static void write_answer(struct http_exchange *exchange,
                         struct buf *to,
                         struct str head,
                         struct str body)
{
    struct http_server *server = exchange->server;
    uint64_t now_s = io_wall_ms(server->io) / 1000;
    if (now_s != server->common_s) {
        renew_common(server, now_s);
    }
    struct str end = connection_field(exchange);
    if (exchange->head_only) {
        body = (struct str){NULL, 0};
    }
    size_t size = head.size + server->common_size + end.size + body.size;
    if (buf_reserve(to, size) != ERR_OK) {
        return; /* `to` has failed: the connection is closed for it */
    }
    char *at = to->data + to->size;
    memcpy(at, head.data, head.size);
    at += head.size;
    memcpy(at, server->common, server->common_size);
    at += server->common_size;
    memcpy(at, end.data, end.size);
    if (body.size > 0) {
        memcpy(at + end.size, body.data, body.size);
    }
    to->size += size;
}

static void write_fields(struct buf *to,
                         const struct http_header *headers,
                         uint32_t header_count)
{
    for (uint32_t i = 0; i < header_count; i++) {
        struct str value = headers[i].value;
        CHECK(http_is_token(headers[i].name));
        buf_append_str(to, headers[i].name);
        buf_append(to, ": ", 2);
        size_t start = to->size;
        buf_append_str(to, value);
        if (!http_is_field_value(value) && !to->failed) {
            for (size_t j = start; j < to->size; j++) {
                bool good = http_is_field_value((struct str){to->data + j, 1});
                to->data[j] = good ? to->data[j] : ' ';
            }
        }
        buf_append(to, "\r\n", 2);
    }
}

static void write_status(struct buf *to, int status)
{
    char line[STATUS_LINE_SIZE_MAX];
    int size = snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", status,
                        http_status_text(status));
    CHECK(size > 0 && (size_t)size < sizeof(line));
    buf_append(to, line, (size_t)size);
}

/* Tell who wants to know how it was answered. */
static void note(struct http_exchange *exchange, int status)
{
    if (exchange->noted != NULL) {
        void (*noted)(struct http_exchange *, int) = exchange->noted;
        exchange->noted = NULL;
        noted(exchange, status);
    }
}

/* The status of "HTTP/1.1 201 Created". */
static int status_of(struct str head)
{
    int status = 0;
    for (size_t i = 9; i < 12 && i < head.size; i++) {
        status = status * 10 + (head.data[i] - '0');
    }
    return status;
}

/* --- whole answers ------------------------------------------------------- */

void http_exchange_answer(struct http_exchange *exchange,
                          int status,
                          const struct http_header *headers,
                          uint32_t header_count,
                          struct str body)
{
    struct buf *to = output_of(exchange);
    CHECK(!exchange->answered && !exchange->streaming);
    CHECK(status >= 200 && status <= 999);
    if (to != NULL) {
        bool bodiless = status == 204 || status == 304;
        write_status(to, status);
        write_fields(to, headers, header_count);
        if (bodiless) {
            body = (struct str){NULL, 0};
        } else {
            buf_append(to, "Content-Length: ", 16);
            buf_append_u64(to, body.size);
            buf_append(to, "\r\n", 2);
        }
        write_answer(exchange, to, STR(""), body);
    }
    note(exchange, status);
    finish(exchange);
}

void http_exchange_answer_raw(struct http_exchange *exchange,
                              struct str head,
                              struct str body)
{
    struct buf *to = output_of(exchange);
    CHECK(!exchange->answered && !exchange->streaming);
    if (to != NULL) {
        write_answer(exchange, to, head, body);
    }
    if (exchange->noted != NULL) {
        note(exchange, status_of(head));
    }
    finish(exchange);
}

/* --- streams ------------------------------------------------------------- */

void http_exchange_stream_begin(struct http_exchange *exchange,
                                const struct http_header *headers,
                                uint32_t header_count)
{
    struct buf *to = output_of(exchange);
    CHECK(!exchange->answered && !exchange->streaming);
    exchange->streaming = true;
    note(exchange, 200);
    if (to == NULL) {
        return;
    }
    exchange->chunked = !exchange->minor_zero;
    if (!exchange->chunked) {
        /* The end of the connection ends the body. */
        exchange->keep_alive = false;
        server_stop_taking(exchange->connection);
    }
    write_status(to, 200);
    write_fields(to, headers, header_count);
    if (exchange->chunked) {
        buf_append_str(to, STR("Transfer-Encoding: chunked\r\n"));
    }
    write_answer(exchange, to, STR(""), (struct str){NULL, 0});
    server_mark_dirty(exchange->connection);
}

size_t http_exchange_stream_unsent(struct http_exchange *exchange)
{
    const struct http_connection *connection = exchange->connection;
    CHECK(exchange->streaming && !exchange->answered);
    if (connection == NULL) {
        return 0;
    }
    return output_of(exchange)->size + connection->sending.size -
           connection->sent_size;
}

enum err http_exchange_stream_send(struct http_exchange *exchange,
                                   struct str piece)
{
    struct http_connection *connection = exchange->connection;
    CHECK(exchange->streaming && !exchange->answered);
    if (connection == NULL) {
        return ERR_CLOSED;
    }
    struct buf *to = output_of(exchange);
    size_t unsent = http_exchange_stream_unsent(exchange);
    if (unsent + piece.size > SERVER_STREAM_SIZE_MAX) {
        return ERR_BUSY;
    }
    if (piece.size == 0 || exchange->head_only) {
        return ERR_OK;
    }
    if (exchange->chunked) {
        char line[STATUS_LINE_SIZE_MAX];
        int size = snprintf(line, sizeof(line), "%zx\r\n", piece.size);
        buf_append(to, line, (size_t)size);
    }
    buf_append_str(to, piece);
    if (exchange->chunked) {
        buf_append(to, "\r\n", 2);
    }
    server_mark_dirty(connection);
    return ERR_OK;
}

void http_exchange_stream_end(struct http_exchange *exchange)
{
    CHECK(exchange->streaming && !exchange->answered);
    struct buf *to = output_of(exchange);
    if (to != NULL && exchange->chunked && !exchange->head_only) {
        buf_append(to, "0\r\n\r\n", 5);
    }
    finish(exchange);
}

/* --- no answer ----------------------------------------------------------- */

void http_exchange_cut(struct http_exchange *exchange, bool reset)
{
    struct http_connection *connection = exchange->connection;
    CHECK(!exchange->answered);
    exchange->abandoned = NULL;
    if (connection != NULL) {
        if (reset) {
            net_set_reset(connection->socket.fd);
        }
        server_close(connection);
    }
    release(exchange); /* by now it is one without a client */
}

/* --- large answers ------------------------------------------------------- */

void http_exchange_alone(struct http_exchange *exchange)
{
    CHECK(!exchange->answered);
    exchange->alone = true;
}

bool http_exchange_crowded(const struct http_exchange *exchange)
{
    const struct http_server *server = exchange->server;
    return server->unsent_size >= server->options.body_memory_max;
}

/* --- clients that go ----------------------------------------------------- */

void server_abandon_all(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct list *node;
    while ((node = list_take_first(&connection->exchanges)) != NULL) {
        struct http_exchange *exchange =
            CONTAINER_OF(node, struct http_exchange, link);
        exchange->connection = NULL;
        if (exchange->answered) {
            server_give_exchange(server, exchange);
            continue;
        }
        list_append(&server->orphans, &exchange->link);
        if (exchange->abandoned != NULL) {
            exchange->abandoned(exchange);
        }
    }
    connection->exchange_count = 0;
}

void server_announce_end(struct http_connection *connection)
{
    /* A handler may answer from its callback, and so take any of its own
     * exchanges away; beginning anew each time is bounded by the pipeline. */
    struct list *node = connection->exchanges.next;
    while (node != &connection->exchanges &&
           connection->state != SERVER_CLOSED) {
        struct http_exchange *exchange =
            CONTAINER_OF(node, struct http_exchange, link);
        node = node->next;
        if (exchange->abandoned != NULL) {
            void (*abandoned)(struct http_exchange *) = exchange->abandoned;
            exchange->abandoned = NULL;
            abandoned(exchange);
            node = connection->exchanges.next;
        }
    }
}

void http_exchange_forget_header(struct http_exchange *exchange, uint32_t index)
{
    struct http_head *head = &exchange->server->head;
    CHECK(exchange->head == head && index < head->header_count);
    if (index < 64) {
        uint64_t below = ((uint64_t)1 << index) - 1;
        uint64_t above = index < 63 ? head->read >> (index + 1) << index : 0;
        head->read = (head->read & below) | above;
    }
    head->header_count--;
    memmove(&head->headers[index], &head->headers[index + 1],
            (head->header_count - index) * sizeof(head->headers[0]));
}

void http_exchange_peer(const struct http_exchange *exchange,
                        char text[NET_TEXT_MAX])
{
    struct net_address address;
    if (exchange->connection == NULL ||
        net_peer(exchange->connection->socket.fd, &address) != ERR_OK) {
        memcpy(text, "-", 2);
        return;
    }
    net_format(&address, text);
}
