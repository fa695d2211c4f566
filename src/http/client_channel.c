/* One connection of the client.
 *
 *     RESOLVING -> CONNECTING -> (HANDSHAKE) -> BUSY -> IDLE -> BUSY ...
 *                   |      ^                     +-> SETTLING -> IDLE
 *                   +-NEXT-+ the next address            any -> CLOSED
 *
 * What happens: addresses are tried in turn until one takes the connection;
 * the time left is shared among those not tried yet, so that one that does not
 * answer leaves some to the others. Then the request is sent, from the
 * caller's memory or through TLS, and the response read as it comes.
 *
 * What can go wrong:
 * - No address is left: the call fails as the last one did.
 * - The peer closed a kept connection before a byte of the response: the call
 *   goes back to the pool for a fresh connection, once.
 * - The response comes before the request is sent: it counts, the connection
 *   is closed. With epoll, a send may be over without sent() having come yet:
 *   that is SETTLING.
 * - Sending fails: the peer may have answered and closed, so what it says is
 *   read to its end first.
 * - Bytes that nobody asked for: the connection is closed.
 *
 * A channel is freed with closed(), or by the client's task when it has no
 * socket; so it is still there after its call has ended.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "http/client_internal.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ADDRESS_SHARE_MIN_MS = 250, /* for one address, if there is so much */
};

/* --- ending -------------------------------------------------------------- */

static void channel_free(struct http_channel *channel)
{
    tls_destroy(channel->tls);
    client_response_fini(&channel->response);
    free(channel->answer);
    free(channel);
}

void client_channel_close(struct http_channel *channel)
{
    struct http_client *client = channel->client;
    struct http_endpoint *endpoint = channel->endpoint;
    if (channel->stage == CHANNEL_CLOSED) {
        return;
    }
    channel->stage = CHANNEL_CLOSED;
    channel->endpoint = NULL;
    io_timer_stop(client->io, &channel->timer);
    resolver_cancel(&channel->query);
    list_remove(&channel->link);
    list_remove(&channel->idle);
    list_remove(&channel->idle_all);
    endpoint->channel_count--;
    client->stats.connections_open--;
    client->closing++;
    if (channel->socket_open) {
        io_close(&channel->socket);
    } else {
        list_append(&client->dead, &channel->link);
        client_post_task(client);
    }
    client_pool_closed(endpoint);
}

void client_channel_bury(struct http_client *client)
{
    struct list *node;
    while ((node = list_take_first(&client->dead)) != NULL) {
        channel_free(CONTAINER_OF(node, struct http_channel, link));
        client->closing--;
    }
}

/* Take the call off a channel. */
static struct http_call *take_call(struct http_channel *channel)
{
    struct http_call *call = channel->call;
    channel->call = NULL;
    call->channel = NULL;
    return call;
}

/* End the call with an error, and the channel with it. */
static void
channel_fail(struct http_channel *channel, enum err err, const char *detail)
{
    struct http_client *client = channel->client;
    struct http_call *call = take_call(channel);
    if (detail != client->detail) {
        (void)snprintf(client->detail, sizeof(client->detail), "%s", detail);
    }
    client_channel_close(channel);
    client_call_fail(call, err, client->detail);
}

/* --- getting there ------------------------------------------------------- */

/* Say which address failed, and how, as the detail of the call. */
static void connect_failed(struct http_channel *channel)
{
    struct http_client *client = channel->client;
    char text[NET_TEXT_MAX];
    CHECK(channel->address_index > 0);
    net_format(&channel->answer->addresses[channel->address_index - 1], text);
    (void)snprintf(client->detail, sizeof(client->detail), "%s: %s", text,
                   channel->connect_err == ERR_DENIED
                       ? "this address is not allowed"
                       : err_text(channel->connect_err));
    channel_fail(channel, channel->connect_err, client->detail);
}

/* Give the address that is tried its share of the time that is left. */
static void start_share(struct http_channel *channel)
{
    struct io *io = channel->client->io;
    uint64_t now_ms = io_now_ms(io);
    uint64_t left_ms = channel->connect_until_ms > now_ms
                           ? channel->connect_until_ms - now_ms
                           : 0;
    uint32_t count = channel->answer->count - channel->address_index + 1;
    uint64_t share_ms = left_ms / count;
    if (share_ms < ADDRESS_SHARE_MIN_MS) {
        share_ms =
            left_ms < ADDRESS_SHARE_MIN_MS ? left_ms : ADDRESS_SHARE_MIN_MS;
    }
    io_timer_start(io, &channel->timer, share_ms);
}

static void set_port(struct net_address *address, uint16_t port)
{
    if (address->any.sa_family == AF_INET6) {
        address->v6.sin6_port = htons(port);
    } else {
        address->v4.sin_port = htons(port);
    }
}

static const struct io_socket_ops channel_ops;

/* Ask the guard, and begin to connect. */
static enum err connect_to(struct http_channel *channel,
                           struct net_address *address)
{
    const struct http_client_options *options = &channel->client->options;
    int fd = -1;
    set_port(address, channel->endpoint->port);
    if (options->allowed != NULL &&
        !options->allowed(options->context, address)) {
        return ERR_DENIED;
    }
    enum err err = net_socket(address->any.sa_family, &fd);
    if (err == ERR_UNSUPPORTED) {
        return ERR_REFUSED; /* no such family here: unreachable */
    }
    if (err != ERR_OK) {
        return err;
    }
    net_ease(fd, address);
    io_socket_init(channel->client->io, &channel->socket, fd, &channel_ops);
    channel->socket_open = true;
    channel->stage = CHANNEL_CONNECTING;
    start_share(channel);
    io_connect(&channel->socket, &address->any, address->size);
    return ERR_OK;
}

/* Try the next address, or fail as the last one did. */
static void connect_next(struct http_channel *channel)
{
    struct resolver_answer *answer = channel->answer;
    while (channel->address_index < answer->count) {
        struct net_address *address =
            &answer->addresses[channel->address_index];
        channel->address_index++;
        channel->connect_err = connect_to(channel, address);
        if (channel->connect_err == ERR_OK) {
            return;
        }
    }
    connect_failed(channel);
}

/* The address that was tried did not take the connection. */
static void connect_over(struct http_channel *channel, enum err err)
{
    channel->connect_err = err;
    if (channel->address_index < channel->answer->count &&
        io_now_ms(channel->client->io) < channel->connect_until_ms) {
        channel->stage = CHANNEL_NEXT; /* with closed() */
        io_timer_stop(channel->client->io, &channel->timer);
        io_close(&channel->socket);
        return;
    }
    connect_failed(channel);
}

static void resolved(struct http_channel *channel,
                     const struct resolver_answer *answer)
{
    channel->answer = malloc(sizeof(*channel->answer));
    if (channel->answer == NULL) {
        channel_fail(channel, ERR_NOMEM, err_text(ERR_NOMEM));
        return;
    }
    *channel->answer = *answer;
    connect_next(channel);
}

static void query_done(struct resolver_query *query,
                       enum err err,
                       const struct resolver_answer *answer,
                       const char *detail)
{
    struct http_channel *channel =
        CONTAINER_OF(query, struct http_channel, query);
    if (err == ERR_OK) {
        resolved(channel, answer);
    } else {
        channel_fail(channel, err, detail);
    }
}

static void resolve(struct http_channel *channel)
{
    const struct resolver_answer *answer = NULL;
    const char *detail = err_text(ERR_NOMEM);
    enum err err =
        resolver_start(channel->client->resolver, channel->endpoint->host,
                       &channel->query, &answer, &detail);
    if (err == ERR_OK) {
        resolved(channel, answer);
    } else if (err != ERR_AGAIN) {
        channel_fail(channel, err, detail);
    }
}

/* --- sending ------------------------------------------------------------- */

/* What is to be encrypted next: small parts together, in `memory` of
 * CLIENT_PLAIN_SIZE bytes, since each piece costs a record; or a large one from
 * where it lies. */
static struct str next_plain(const struct http_channel *channel, char *memory)
{
    size_t used = 0;
    size_t skip = channel->part_offset;
    for (uint32_t i = channel->part_index; i < channel->part_count; i++) {
        const struct iovec *part = &channel->parts[i];
        struct str rest = {(const char *)part->iov_base + skip,
                           part->iov_len - skip};
        bool last = i + 1 == channel->part_count;
        if (used == 0 && (last || rest.size >= CLIENT_PLAIN_SIZE)) {
            return rest;
        }
        if (rest.size > CLIENT_PLAIN_SIZE - used) {
            break;
        }
        memcpy(memory + used, rest.data, rest.size);
        used += rest.size;
        skip = 0;
    }
    return (struct str){memory, used};
}

/* Step over bytes that were encrypted. */
static void plain_taken(struct http_channel *channel, size_t size)
{
    while (channel->part_index < channel->part_count) {
        size_t left =
            channel->parts[channel->part_index].iov_len - channel->part_offset;
        if (size < left) {
            channel->part_offset += size;
            return;
        }
        size -= left;
        channel->part_index++;
        channel->part_offset = 0;
    }
}

/* Encrypt as much of the request as there is room for. */
static enum err encrypt(struct http_channel *channel)
{
    char memory[CLIENT_PLAIN_SIZE];
    while (channel->call != NULL && channel->part_index < channel->part_count) {
        size_t size = 0;
        struct str plain = next_plain(channel, memory);
        enum err err = tls_write(channel->tls, plain, &size);
        if (err != ERR_OK) {
            return err == ERR_AGAIN ? ERR_OK : err;
        }
        plain_taken(channel, size);
    }
    return ERR_OK;
}

/* Send what TLS has for the network, and encrypt what there is to send. */
static void tls_pump(struct http_channel *channel)
{
    if (channel->stage == CHANNEL_CLOSED || io_sending(&channel->socket)) {
        return; /* sent() comes back here */
    }
    if (channel->stage == CHANNEL_BUSY && !channel->encrypt_failed &&
        encrypt(channel) != ERR_OK) {
        /* Told from the loop: this may be inside http_call_start(). */
        channel->encrypt_failed = true;
        io_timer_start(channel->client->io, &channel->timer, 0);
    }
    struct str output = tls_output(channel->tls);
    if (output.size > 0) {
        struct iovec part = {(void *)output.data, output.size};
        channel->sending_size = output.size;
        io_send(&channel->socket, &part, 1);
    }
}

/* Tell whether all of the request is with the kernel. */
static bool request_is_sent(struct http_channel *channel)
{
    if (channel->source_open || !io_send_complete(&channel->socket)) {
        return false;
    }
    return channel->tls == NULL ||
           (channel->part_index == channel->part_count &&
            tls_output(channel->tls).size == channel->sending_size);
}

static void send_parts(struct http_channel *channel,
                       const struct iovec *parts,
                       uint32_t part_count)
{
    channel->parts = parts;
    channel->part_count = part_count;
    channel->part_index = 0;
    channel->part_offset = 0;
    if (channel->tls == NULL) {
        io_send(&channel->socket, parts, part_count);
    } else {
        tls_pump(channel);
    }
}

void client_channel_send(struct http_channel *channel, struct http_call *call)
{
    channel->call = call;
    call->channel = channel;
    channel->stage = CHANNEL_BUSY;
    client_response_begin(&channel->response, call->head_only);
    if (channel->reused) {
        channel->client->stats.reused++;
    }
    channel->source_open = call->source != NULL;
    channel->pulling = false;
    channel->untaken = 0;
    if (call->source != NULL) {
        call->source->call = call;
        call->source->start(call->source);
    }
    send_parts(channel, call->parts, call->part_count);
}

/* --- a body by pieces ---------------------------------------------------- */

/* What was to be sent is with the kernel, or encrypted: have the source give
 * what follows. Each such step is progress, which the deadline counts from. */
static void pull(struct http_channel *channel)
{
    struct http_call *call = channel->call;
    if (channel->stage != CHANNEL_BUSY || call->source == NULL ||
        channel->pulling || channel->encrypt_failed ||
        (channel->tls == NULL ? io_sending(&channel->socket)
                              : channel->part_index < channel->part_count)) {
        return;
    }
    io_timer_start(channel->client->io, &call->deadline, call->timeout_ms);
    if (channel->source_open) {
        channel->pulling = true;
        call->source->next(call->source);
    }
}

/* Tell whether the peer has taken some of a body since this was asked, or the
 * last piece given. The kernel has megabytes of it, and a third of them must go
 * before it takes the next piece, which can be long for a slow peer. */
static bool takes_more(struct http_channel *channel)
{
    if (channel->stage != CHANNEL_BUSY || channel->call->source == NULL ||
        channel->untaken == 0) {
        return false;
    }
    size_t before = channel->untaken;
    channel->untaken = net_untaken(channel->socket.fd);
    return channel->untaken + CLIENT_TAKEN_MIN <= before;
}

/* The channel that waits for a piece of this source; NULL: none does, since
 * its connection broke meanwhile and the call waits for another. */
static struct http_channel *pulling(const struct http_source *source)
{
    struct http_channel *channel = source->call->channel;
    return channel != NULL && channel->pulling ? channel : NULL;
}

void http_source_give(struct http_source *source, struct str piece, bool last)
{
    struct http_channel *channel = pulling(source);
    CHECK(piece.size > 0);
    if (channel == NULL) {
        return;
    }
    channel->pulling = false;
    channel->source_open = !last;
    channel->piece = (struct iovec){(void *)piece.data, piece.size};
    channel->untaken = net_untaken(channel->socket.fd) + piece.size;
    send_parts(channel, &channel->piece, 1);
}

void http_source_fail(struct http_source *source,
                      enum err err,
                      const char *detail)
{
    struct http_channel *channel = pulling(source);
    if (channel != NULL) {
        channel_fail(channel, err, detail);
    }
}

static void channel_sent(struct io_socket *socket, enum err err)
{
    struct http_channel *channel =
        CONTAINER_OF(socket, struct http_channel, socket);
    if (err != ERR_OK) {
        /* ended() follows, after what the peer may have said. */
        if (channel->stage == CHANNEL_SETTLING) {
            client_channel_close(channel);
        }
        return;
    }
    if (channel->tls != NULL) {
        tls_output_sent(channel->tls, channel->sending_size);
        channel->sending_size = 0;
        tls_pump(channel);
    }
    pull(channel);
    if (channel->stage == CHANNEL_SETTLING && !io_sending(socket)) {
        client_pool_keep(channel);
    }
}

/* --- receiving ----------------------------------------------------------- */

/* Tell whether the peer has said nothing beyond its response. */
static bool nothing_more(struct http_channel *channel)
{
    char byte;
    size_t size = 0;
    return channel->tls == NULL ||
           (!channel->input_left &&
            tls_read(channel->tls, &byte, 1, &size) == ERR_AGAIN);
}

/* A whole response is in channel->response and client->head. */
static void complete(struct http_channel *channel, bool reusable)
{
    struct buf *bytes = &channel->response.bytes;
    bool sent = request_is_sent(channel);
    struct http_call *call = take_call(channel);
    struct http_result result = {
        .err = ERR_OK,
        .head = &channel->client->head,
        .body = channel->response.body,
        .reused = channel->reused,
    };
    channel->reused = true;
    /* First the next call, then what the caller does with this one. */
    if (!reusable || !channel->response.reusable || !sent ||
        !nothing_more(channel)) {
        client_channel_close(channel);
    } else if (io_sending(&channel->socket)) {
        channel->stage = CHANNEL_SETTLING;
    } else {
        client_pool_keep(channel);
    }
    client_call_end(call, &result);
    if (bytes->size == 0 && bytes->capacity > CLIENT_PLAIN_SIZE) {
        buf_fini(bytes);
    }
}

/* Take bytes of a response. */
static void feed_response(struct http_channel *channel, struct str input)
{
    struct http_client *client = channel->client;
    const char *reason = err_text(ERR_NOMEM);
    size_t used = 0;
    enum err err = client_response_feed(&channel->response, input,
                                        &client->head, &used, &reason);
    if (err == ERR_OK) {
        complete(channel, used == input.size);
    } else if (err != ERR_AGAIN) {
        channel_fail(channel, err, reason);
    }
}

/* The stream is over, `err` as ended() has it. */
static void stream_ended(struct http_channel *channel, enum err err)
{
    const char *reason = err_text(err);
    if (channel->call == NULL) {
        client_channel_close(channel);
        return;
    }
    if (channel->stage != CHANNEL_BUSY) {
        channel_fail(channel, err == ERR_CLOSED ? ERR_RESET : err,
                     "the connection ended in the TLS handshake");
        return;
    }
    if (err == ERR_CLOSED) {
        err = client_response_end(&channel->response, &channel->client->head,
                                  &reason);
        if (err == ERR_OK) {
            complete(channel, false);
            return;
        }
    }
    if (channel->reused && !channel->response.begun &&
        !channel->call->retried && (err == ERR_CLOSED || err == ERR_RESET)) {
        struct http_endpoint *endpoint = channel->endpoint;
        struct http_call *call = take_call(channel);
        /* First in line before the place of this channel is given away; and
         * the endpoint has a user as long as it has a call. */
        client_pool_retry(endpoint, call);
        client_channel_close(channel);
        return;
    }
    channel_fail(channel, err, reason);
}

/* Read what TLS has decrypted. */
static void tls_drain(struct http_channel *channel)
{
    char *plain = channel->client->plain;
    while (channel->stage != CHANNEL_CLOSED) {
        size_t size = 0;
        enum err err = tls_read(channel->tls, plain, CLIENT_PLAIN_SIZE, &size);
        if (err == ERR_AGAIN) {
            return;
        }
        if (err == ERR_TLS && channel->call != NULL) {
            channel_fail(channel, err, tls_detail(channel->tls));
        } else if (err != ERR_OK) {
            stream_ended(channel, ERR_CLOSED); /* in order: close_notify */
        } else if (channel->stage == CHANNEL_BUSY) {
            feed_response(channel, (struct str){plain, size});
        } else {
            client_channel_close(channel); /* unasked */
        }
    }
}

static void tls_shake(struct http_channel *channel)
{
    enum err err = tls_handshake(channel->tls);
    if (err == ERR_AGAIN) {
        return;
    }
    if (err != ERR_OK) {
        channel_fail(channel, err, tls_detail(channel->tls));
        return;
    }
    io_timer_stop(channel->client->io, &channel->timer);
    client_channel_send(channel, channel->call);
}

/* Take bytes of TLS. */
static void tls_received(struct http_channel *channel, struct str input)
{
    while (input.size > 0 && channel->stage != CHANNEL_CLOSED) {
        size_t taken = tls_feed(channel->tls, input);
        if (taken == 0) {
            /* It waits for our output to be taken: answers to what only a
             * broken or hostile peer sends so much of. */
            stream_ended(channel, ERR_RESET);
            return;
        }
        input = str_cut(input, taken, input.size);
        channel->input_left = input.size > 0;
        if (channel->stage == CHANNEL_HANDSHAKE) {
            tls_shake(channel);
        }
        if (channel->stage != CHANNEL_HANDSHAKE) {
            tls_drain(channel);
        }
    }
    tls_pump(channel);
}

static void
channel_received(struct io_socket *socket, const char *data, size_t size)
{
    struct http_channel *channel =
        CONTAINER_OF(socket, struct http_channel, socket);
    struct str input = {data, size};
    if (channel->tls != NULL) {
        tls_received(channel, input);
    } else if (channel->stage == CHANNEL_BUSY) {
        feed_response(channel, input);
    } else {
        client_channel_close(channel); /* unasked */
    }
}

static void channel_ended(struct io_socket *socket, enum err err)
{
    struct http_channel *channel =
        CONTAINER_OF(socket, struct http_channel, socket);
    if (channel->tls != NULL && channel->stage == CHANNEL_BUSY &&
        err == ERR_CLOSED && channel->response.begun) {
        /* Without close_notify anyone may have cut it short. */
        channel_fail(channel, ERR_RESET, "the TLS stream was cut off");
        return;
    }
    stream_ended(channel, err);
}

/* --- the socket's life --------------------------------------------------- */

static void start_tls(struct http_channel *channel)
{
    struct http_endpoint *endpoint = channel->endpoint;
    struct io *io = channel->client->io;
    uint64_t now_ms = io_now_ms(io);
    uint64_t left_ms = channel->connect_until_ms > now_ms
                           ? channel->connect_until_ms - now_ms
                           : 0;
    struct tls_context **context = &channel->client->tls;
    enum err err = ERR_OK;
    if (*context == NULL) {
        /* The system's authorities are many: read when they are needed. */
        err = tls_context_create_client(NULL, context);
    }
    if (err == ERR_OK) {
        err = tls_create_client(*context, endpoint->host, &endpoint->ticket,
                                &channel->tls);
    }
    if (err != ERR_OK) {
        channel_fail(channel, err == ERR_INVALID ? ERR_TLS : err,
                     "no TLS session for this name");
        return;
    }
    channel->stage = CHANNEL_HANDSHAKE;
    io_timer_start(io, &channel->timer, left_ms);
    tls_shake(channel);
    tls_pump(channel);
}

static void channel_connected(struct io_socket *socket, enum err err)
{
    struct http_channel *channel =
        CONTAINER_OF(socket, struct http_channel, socket);
    if (err != ERR_OK) {
        connect_over(channel, err);
        return;
    }
    io_timer_stop(channel->client->io, &channel->timer);
    free(channel->answer);
    channel->answer = NULL;
    io_receive_start(socket);
    if (channel->endpoint->secure) {
        start_tls(channel);
    } else {
        client_channel_send(channel, channel->call);
    }
}

static void channel_closed(struct io_socket *socket)
{
    struct http_channel *channel =
        CONTAINER_OF(socket, struct http_channel, socket);
    struct http_client *client = channel->client;
    channel->socket_open = false;
    if (channel->stage == CHANNEL_NEXT) {
        connect_next(channel);
        return;
    }
    CHECK(channel->stage == CHANNEL_CLOSED);
    channel_free(channel);
    client->closing--;
    client_free_if_over(client);
}

static const struct io_socket_ops channel_ops = {
    .connected = channel_connected,
    .received = channel_received,
    .ended = channel_ended,
    .sent = channel_sent,
    .closed = channel_closed,
};

static const char *timeout_text(const struct http_channel *channel)
{
    switch (channel->stage) {
    case CHANNEL_RESOLVING:
        return "the name was not resolved in time";
    case CHANNEL_CONNECTING:
    case CHANNEL_NEXT:
        return "not connected in time";
    case CHANNEL_HANDSHAKE:
        return "the TLS handshake was not over in time";
    default:
        return channel->response.begun ? "the response was not over in time"
                                       : "no response in time";
    }
}

static void timer_expired(struct io_timer *timer)
{
    struct http_channel *channel =
        CONTAINER_OF(timer, struct http_channel, timer);
    if (channel->encrypt_failed) {
        if (channel->call != NULL) {
            channel_fail(channel, ERR_TLS, tls_detail(channel->tls));
        } else {
            client_channel_close(channel);
        }
    } else if (channel->stage == CHANNEL_CONNECTING) {
        connect_over(channel, ERR_TIMEOUT);
    } else {
        channel_fail(channel, ERR_TIMEOUT, timeout_text(channel));
    }
}

void client_channel_timeout(struct http_channel *channel)
{
    struct http_call *call = channel->call;
    if (takes_more(channel)) {
        io_timer_start(channel->client->io, &call->deadline, call->timeout_ms);
        return;
    }
    channel_fail(channel, ERR_TIMEOUT, timeout_text(channel));
}

void client_channel_open(struct http_endpoint *endpoint, struct http_call *call)
{
    struct http_client *client = endpoint->client;
    uint64_t timeout_ms = client->options.connect_timeout_ms;
    struct http_channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL) {
        client_call_fail(call, ERR_NOMEM, err_text(ERR_NOMEM));
        return;
    }
    channel->client = client;
    channel->endpoint = endpoint;
    channel->call = call;
    call->channel = channel;
    channel->stage = CHANNEL_RESOLVING;
    channel->query.done = query_done;
    channel->timer.expired = timer_expired;
    channel->connect_until_ms = io_now_ms(client->io) + timeout_ms;
    client_response_init(&channel->response, &client->limits);
    endpoint->channel_count++;
    list_append(&endpoint->channels, &channel->link);
    client->stats.connects++;
    client->stats.connections_open++;
    io_timer_start(client->io, &channel->timer, timeout_ms);
    resolve(channel);
}
