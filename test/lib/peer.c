/* A scripted HTTP target.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/peer.h"

#include "base/check.h"
#include "base/list.h"
#include "sys/file.h"
#include "sys/net.h"

#include <stdlib.h>
#include <string.h>

struct peer {
    struct io *io;
    struct io_listener listener;
    struct list connections;
    peer_script *script;
    void *context;
    struct peer_request *requests; /* owned */
    uint32_t request_count;
    uint32_t unanswered;
    uint32_t most_at_once;
    uint32_t accepted;
    uint16_t port;
};

struct connection {
    struct io_socket socket;
    struct peer *peer;
    struct list link;
    struct buf in;
    struct buf out;
    size_t scanned;
    bool held; /* a request waits for peer_release() */
};

static const char plain_answer[] =
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

static const struct http_limits limits = {
    .head_size_max = 65536,
    .target_size_max = 8192,
};

static struct connection *of_socket(struct io_socket *socket)
{
    return CONTAINER_OF(socket, struct connection, socket);
}

static uint64_t number_of(const struct http_head *head, struct str name)
{
    uint64_t number = UINT64_MAX;

    if (str_to_u64(http_head_value(head, name), &number) != ERR_OK) {
        return UINT64_MAX;
    }
    return number;
}

static struct peer_request *
remember(struct peer *peer, const struct http_head *head, size_t body_size)
{
    CHECK(peer->request_count < PEER_REQUESTS_MAX);
    struct peer_request *request = &peer->requests[peer->request_count];
    struct str topic = http_head_value(head, STR("opq-topic"));

    peer->request_count++;
    CHECK(topic.size < sizeof(request->topic));
    if (topic.size > 0) {
        memcpy(request->topic, topic.data, topic.size);
    }
    request->topic[topic.size] = '\0';
    request->sequence = number_of(head, STR("opq-seq"));
    request->attempt = number_of(head, STR("opq-attempt"));
    request->previous = number_of(head, STR("opq-prev-seq"));
    request->at_ms = io_now_ms(peer->io);
    request->body_size = body_size;
    return request;
}

static void send_answer(struct connection *connection)
{
    struct iovec part;

    if (connection->out.size == 0) {
        buf_append_c(&connection->out, plain_answer);
    }
    CHECK(!connection->out.failed);
    CHECK(connection->peer->unanswered > 0);
    connection->peer->unanswered--;
    part = (struct iovec){connection->out.data, connection->out.size};
    io_send(&connection->socket, &part, 1);
}

/* Take one whole request from what came. Returns false when there is none. */
static bool take_request(struct connection *connection)
{
    struct peer *peer = connection->peer;
    struct http_head head;
    struct http_refusal refusal;
    size_t size = 0;
    enum err err =
        http_parse_request(buf_str(&connection->in), &limits,
                           &connection->scanned, &head, &size, &refusal);

    if (err == ERR_AGAIN) {
        return false;
    }
    CHECK(err == ERR_OK); /* what is sent to a target is always well formed */
    uint64_t body_size =
        head.content_length == HTTP_LENGTH_NONE ? 0 : head.content_length;
    if (connection->in.size < size + body_size) {
        return false;
    }
    struct str body = {connection->in.data + size, body_size};
    struct peer_request *request = remember(peer, &head, body_size);
    enum peer_act act = PEER_ANSWER;
    buf_clear(&connection->out);
    if (peer->script != NULL) {
        act = peer->script(peer->context, request, body, &connection->out);
    }
    buf_consume(&connection->in, size + body_size);
    connection->scanned = 0;
    peer->unanswered++;
    if (peer->unanswered > peer->most_at_once) {
        peer->most_at_once = peer->unanswered;
    }
    if (act == PEER_ANSWER) {
        send_answer(connection);
    } else if (act == PEER_CLOSE) {
        peer->unanswered--;
        io_close(&connection->socket);
    } else {
        connection->held = true;
    }
    return true;
}

static void connected(struct io_socket *socket, enum err err)
{
    (void)socket;
    (void)err;
}

static void received(struct io_socket *socket, const char *data, size_t size)
{
    struct connection *connection = of_socket(socket);

    buf_append(&connection->in, data, size);
    CHECK(!connection->in.failed);
    (void)take_request(connection);
}

static void ended(struct io_socket *socket, enum err err)
{
    (void)err;
    io_close(socket);
}

static void sent(struct io_socket *socket, enum err err)
{
    if (err != ERR_OK) {
        io_close(socket);
        return;
    }
    (void)take_request(of_socket(socket));
}

static void closed(struct io_socket *socket)
{
    struct connection *connection = of_socket(socket);

    if (connection->held) {
        connection->peer->unanswered--;
    }
    list_remove(&connection->link);
    buf_fini(&connection->in);
    buf_fini(&connection->out);
    free(connection);
}

static const struct io_socket_ops socket_ops = {
    .connected = connected,
    .received = received,
    .ended = ended,
    .sent = sent,
    .closed = closed,
};

static void accepted(struct io_listener *listener, enum err err, int fd)
{
    struct peer *peer = CONTAINER_OF(listener, struct peer, listener);
    struct connection *connection = NULL;

    CHECK(err == ERR_OK);
    connection = calloc(1, sizeof(*connection));
    CHECK(connection != NULL);
    connection->peer = peer;
    peer->accepted++;
    list_append(&peer->connections, &connection->link);
    io_socket_init(peer->io, &connection->socket, fd, &socket_ops);
    io_receive_start(&connection->socket);
}

enum err peer_start(struct io *io, struct peer **out)
{
    struct net_address address;
    int fd = -1;
    struct peer *peer = calloc(1, sizeof(*peer));

    if (peer == NULL) {
        return ERR_NOMEM;
    }
    peer->requests = calloc(PEER_REQUESTS_MAX, sizeof(*peer->requests));
    enum err err = peer->requests == NULL ? ERR_NOMEM : ERR_OK;
    if (err == ERR_OK) {
        err = net_parse(STR("127.0.0.1"), 0, &address);
    }
    if (err == ERR_OK) {
        err = net_listen(&address, false, &fd);
    }
    if (err == ERR_OK) {
        err = net_bound(fd, &address);
    }
    if (err != ERR_OK) {
        free(peer->requests);
        free(peer);
        return err;
    }
    peer->io = io;
    peer->port = ntohs(address.v4.sin_port);
    list_init(&peer->connections);
    peer->listener.accepted = accepted;
    peer->listener.fd = fd;
    io_listener_start(io, &peer->listener);
    *out = peer;
    return ERR_OK;
}

void peer_set_script(struct peer *peer, peer_script *script, void *context)
{
    peer->script = script;
    peer->context = context;
}

void peer_release(struct peer *peer, const char *answer)
{
    for (struct list *link = peer->connections.next; link != &peer->connections;
         link = link->next) {
        struct connection *connection =
            CONTAINER_OF(link, struct connection, link);
        if (!connection->held) {
            continue;
        }
        connection->held = false;
        if (answer != NULL) {
            buf_append_c(&connection->out, answer);
        }
        send_answer(connection);
    }
}

uint16_t peer_port(const struct peer *peer)
{
    return peer->port;
}

uint32_t peer_count(const struct peer *peer)
{
    return peer->request_count;
}

const struct peer_request *peer_at(const struct peer *peer, uint32_t index)
{
    CHECK(index < peer->request_count);
    return &peer->requests[index];
}

uint32_t peer_most_at_once(const struct peer *peer)
{
    return peer->most_at_once;
}

uint32_t peer_connections(const struct peer *peer)
{
    return peer->accepted;
}

void peer_stop(struct peer *peer)
{
    if (peer == NULL) {
        return;
    }
    io_listener_stop(&peer->listener);
    for (struct list *link = peer->connections.next; link != &peer->connections;
         link = link->next) {
        io_close(&CONTAINER_OF(link, struct connection, link)->socket);
    }
    io_run_turn(peer->io, 0);
    while (!list_empty(&peer->connections)) {
        io_run_turn(peer->io, 100);
    }
    file_close(peer->listener.fd);
    free(peer->requests);
    free(peer);
}

uint16_t peer_dead_port(void)
{
    struct net_address address;
    int fd = -1;

    /* Bound and closed: nobody listens there, and the kernel gives such a port
     * to another socket only when it has gone round. */
    CHECK(net_parse(STR("127.0.0.1"), 0, &address) == ERR_OK);
    CHECK(net_listen(&address, false, &fd) == ERR_OK);
    CHECK(net_bound(fd, &address) == ERR_OK);
    file_close(fd);
    return ntohs(address.v4.sin_port);
}
