/* Exchanges, connections and buffers that are used again.
 *
 * A request takes an exchange and a buffer or two and gives them back; under
 * load that must not go through malloc(). What is kept is bounded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server_internal.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

struct http_connection *server_take_connection(struct http_server *server)
{
    struct list *node = list_take_first(&server->spare_connections);
    if (node == NULL) {
        return calloc(1, sizeof(struct http_connection));
    }
    struct http_connection *connection =
        CONTAINER_OF(node, struct http_connection, link);
    server->spare_connection_count--;
    memset(connection, 0, sizeof(*connection));
    return connection;
}

void server_give_connection(struct http_server *server,
                            struct http_connection *connection)
{
    if (server->spare_connection_count == SERVER_SPARE_CONNECTIONS_MAX) {
        free(connection);
        return;
    }
    server->spare_connection_count++;
    list_prepend(&server->spare_connections, &connection->link);
}

struct http_exchange *server_take_exchange(struct http_server *server)
{
    struct list *node = list_take_first(&server->spare_exchanges);
    if (node == NULL) {
        return calloc(1, sizeof(struct http_exchange));
    }
    struct http_exchange *exchange =
        CONTAINER_OF(node, struct http_exchange, link);
    server->spare_exchange_count--;
    memset(exchange, 0, sizeof(*exchange));
    return exchange;
}

void server_give_exchange(struct http_server *server,
                          struct http_exchange *exchange)
{
    CHECK(!list_linked(&exchange->link));
    if (exchange->noted != NULL) {
        exchange->noted(exchange, 0);
    }
    server_give_buf(server, &exchange->answer);
    if (server->spare_exchange_count == SERVER_SPARE_EXCHANGES_MAX) {
        free(exchange);
        return;
    }
    server->spare_exchange_count++;
    list_prepend(&server->spare_exchanges, &exchange->link);
}

void server_take_buf(struct http_server *server, struct buf *buf)
{
    CHECK_SLOW(buf->data == NULL);
    if (server->spare_buf_count > 0) {
        *buf = server->spare_bufs[--server->spare_buf_count];
    }
}

void server_give_buf(struct http_server *server, struct buf *buf)
{
    if (buf->data == NULL) {
        buf_clear(buf);
        return;
    }
    if (buf->capacity > SERVER_SPARE_BUF_SIZE_MAX ||
        server->spare_buf_count == SERVER_SPARE_BUFS_MAX) {
        buf_fini(buf);
        return;
    }
    buf_clear(buf);
    server->spare_bufs[server->spare_buf_count++] = *buf;
    *buf = (struct buf){0};
}

void server_free_pools(struct http_server *server)
{
    struct list *node;
    while ((node = list_take_first(&server->spare_connections)) != NULL) {
        free(CONTAINER_OF(node, struct http_connection, link));
    }
    while ((node = list_take_first(&server->spare_exchanges)) != NULL) {
        free(CONTAINER_OF(node, struct http_exchange, link));
    }
    while (server->spare_buf_count > 0) {
        buf_fini(&server->spare_bufs[--server->spare_buf_count]);
    }
}
