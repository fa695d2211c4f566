/* A scripted HTTP target.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/target.h"

#include "base/check.h"
#include "base/list.h"
#include "sys/file.h"
#include "sys/net.h"

#include <stdlib.h>
#include <string.h>

struct target {
    struct io *io;
    struct io_listener listener;
    struct list connections;
    target_script *script;
    void *context;
    struct target_request *requests; /* owned */
    uint32_t request_count;
    uint32_t unanswered;
    uint32_t most_at_once;
    uint32_t accepted;
    uint16_t port;
};

struct connection {
    struct io_socket socket;
    struct target *target;
    struct list link;
    struct buf in;
    struct buf out;
    size_t scanned;
    bool held; /* a request waits for target_release() */
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

static struct target_request *
remember(struct target *target, const struct http_head *head, size_t body_size)
{
    CHECK(target->request_count < TARGET_REQUESTS_MAX);
    struct target_request *request = &target->requests[target->request_count];
    struct str topic = http_head_value(head, STR("opq-topic"));

    target->request_count++;
    CHECK(topic.size < sizeof(request->topic));
    if (topic.size > 0) {
        memcpy(request->topic, topic.data, topic.size);
    }
    request->topic[topic.size] = '\0';
    request->sequence = number_of(head, STR("opq-seq"));
    request->attempt = number_of(head, STR("opq-attempt"));
    request->previous = number_of(head, STR("opq-prev-seq"));
    request->at_ms = io_now_ms(target->io);
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
    CHECK(connection->target->unanswered > 0);
    connection->target->unanswered--;
    part = (struct iovec){connection->out.data, connection->out.size};
    io_send(&connection->socket, &part, 1);
}

/* Take one whole request from what came. Returns false when there is none. */
static bool take_request(struct connection *connection)
{
    struct target *target = connection->target;
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
    struct target_request *request = remember(target, &head, body_size);
    enum target_act act = TARGET_ANSWER;
    buf_clear(&connection->out);
    if (target->script != NULL) {
        act = target->script(target->context, request, body, &connection->out);
    }
    buf_consume(&connection->in, size + body_size);
    connection->scanned = 0;
    target->unanswered++;
    if (target->unanswered > target->most_at_once) {
        target->most_at_once = target->unanswered;
    }
    if (act == TARGET_ANSWER) {
        send_answer(connection);
    } else if (act == TARGET_CLOSE) {
        target->unanswered--;
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
        connection->target->unanswered--;
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
    struct target *target = CONTAINER_OF(listener, struct target, listener);
    struct connection *connection = NULL;

    CHECK(err == ERR_OK);
    connection = calloc(1, sizeof(*connection));
    CHECK(connection != NULL);
    connection->target = target;
    target->accepted++;
    list_append(&target->connections, &connection->link);
    io_socket_init(target->io, &connection->socket, fd, &socket_ops);
    io_receive_start(&connection->socket);
}

enum err target_start(struct io *io, struct target **out)
{
    struct net_address address;
    int fd = -1;
    struct target *target = calloc(1, sizeof(*target));

    if (target == NULL) {
        return ERR_NOMEM;
    }
    target->requests = calloc(TARGET_REQUESTS_MAX, sizeof(*target->requests));
    enum err err = target->requests == NULL ? ERR_NOMEM : ERR_OK;
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
        free(target->requests);
        free(target);
        return err;
    }
    target->io = io;
    target->port = ntohs(address.v4.sin_port);
    list_init(&target->connections);
    target->listener.accepted = accepted;
    target->listener.fd = fd;
    io_listener_start(io, &target->listener);
    *out = target;
    return ERR_OK;
}

void target_set_script(struct target *target,
                       target_script *script,
                       void *context)
{
    target->script = script;
    target->context = context;
}

void target_release(struct target *target, const char *answer)
{
    for (struct list *link = target->connections.next;
         link != &target->connections; link = link->next) {
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

uint16_t target_port(const struct target *target)
{
    return target->port;
}

uint32_t target_count(const struct target *target)
{
    return target->request_count;
}

const struct target_request *target_at(const struct target *target,
                                       uint32_t index)
{
    CHECK(index < target->request_count);
    return &target->requests[index];
}

uint32_t target_most_at_once(const struct target *target)
{
    return target->most_at_once;
}

uint32_t target_connections(const struct target *target)
{
    return target->accepted;
}

void target_stop(struct target *target)
{
    if (target == NULL) {
        return;
    }
    io_listener_stop(&target->listener);
    for (struct list *link = target->connections.next;
         link != &target->connections; link = link->next) {
        io_close(&CONTAINER_OF(link, struct connection, link)->socket);
    }
    io_run_turn(target->io, 0);
    while (!list_empty(&target->connections)) {
        io_run_turn(target->io, 100);
    }
    file_close(target->listener.fd);
    free(target->requests);
    free(target);
}

uint16_t target_dead_port(void)
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
