/* The front of the client: its life, endpoints, calls.
 *
 * A call ends in one of these ways:
 * - client_channel.c has a whole response, or its connection failed;
 * - its deadline passes, wherever it is;
 * - it is cancelled, or the client destroyed: without done().
 *
 * Destroying closes the sockets; what their completions need stays until the
 * last of them has come, and goes with it (client_free_if_over()).
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/client.h"

#include "base/check.h"
#include "http/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_HOST_AT = 8,         /* before it "s12345/" or "p12345/", padded */
    KEY_HOST_SIZE_MAX = 256, /* bytes of a host */
};

/* --- life ---------------------------------------------------------------- */

enum err http_client_create(const struct http_client_options *options,
                            struct http_client **out)
{
    struct http_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return ERR_NOMEM;
    }
    client->options = *options;
    client->io = options->io;
    client->limits.keep_size_max = options->keep_size_max;
    client->limits.drop_size_max = options->drop_size_max;
    for (int i = 0; i < CLIENT_BUCKETS; i++) {
        list_init(&client->endpoints[i]);
    }
    client_pool_init(client);
    struct resolver_options resolver = {
        .io = options->io,
        .servers = options->dns_servers,
    };
    enum err err = resolver_create(&resolver, &client->resolver);
    if (err == ERR_OK && options->ca_file != NULL) {
        err = tls_context_create_client(options->ca_file, &client->tls);
    }
    if (err != ERR_OK) {
        resolver_destroy(client->resolver);
        free(client);
        return err;
    }
    *out = client;
    return ERR_OK;
}

/* Drop the calls and channels of an endpoint, and the endpoint. */
static void drop_endpoint(struct http_endpoint *endpoint)
{
    struct list *node;
    endpoint->users++; /* so that it stays while its channels go */
    while ((node = list_take_first(&endpoint->waiting)) != NULL) {
        struct http_call *call = CONTAINER_OF(node, struct http_call, link);
        io_timer_stop(endpoint->client->io, &call->deadline);
    }
    while (!list_empty(&endpoint->channels)) {
        struct http_channel *channel =
            CONTAINER_OF(endpoint->channels.next, struct http_channel, link);
        if (channel->call != NULL) {
            io_timer_stop(endpoint->client->io, &channel->call->deadline);
            channel->call->channel = NULL;
            channel->call = NULL;
        }
        client_channel_close(channel);
    }
    client_pool_endpoint_destroy(endpoint);
}

void http_client_set_limits(struct http_client *client,
                            const struct http_client_options *options)
{
    client->options.connect_timeout_ms = options->connect_timeout_ms;
    client->options.idle_timeout_ms = options->idle_timeout_ms;
    client->options.connections_max = options->connections_max;
}

void http_client_destroy(struct http_client *client)
{
    if (client == NULL) {
        return;
    }
    CHECK(!client->destroyed);
    client->destroyed = true;
    io_timer_stop(client->io, &client->idle_timer);
    for (int i = 0; i < CLIENT_BUCKETS; i++) {
        while (!list_empty(&client->endpoints[i])) {
            drop_endpoint(CONTAINER_OF(client->endpoints[i].next,
                                       struct http_endpoint, bucket));
        }
    }
    resolver_destroy(client->resolver);
    tls_context_destroy(client->tls);
    client_free_if_over(client);
}

void client_post_task(struct http_client *client)
{
    if (!client->task_posted) {
        client->task_posted = true;
        io_post(client->io, &client->task);
    }
}

void client_free_if_over(struct http_client *client)
{
    if (client->destroyed && client->closing == 0 && !client->task_posted) {
        free(client);
    }
}

const struct http_client_stats *
http_client_stats(const struct http_client *client)
{
    return &client->stats;
}

void http_client_close_idle(struct http_client *client)
{
    client_pool_close_idle(client);
}

/* --- endpoints ----------------------------------------------------------- */

static struct list *bucket_of(struct http_client *client, struct str key)
{
    return &client->endpoints[str_hash(key) % CLIENT_BUCKETS];
}

static struct http_endpoint *endpoint_find(struct http_client *client,
                                           struct str key)
{
    const struct list *head = bucket_of(client, key);
    for (struct list *node = head->next; node != head; node = node->next) {
        struct http_endpoint *endpoint =
            CONTAINER_OF(node, struct http_endpoint, bucket);
        if (str_equal((struct str){endpoint->key, endpoint->key_size}, key)) {
            return endpoint;
        }
    }
    return NULL;
}

static struct http_endpoint *endpoint_create(struct http_client *client,
                                             const struct url *url,
                                             const char *key,
                                             size_t key_size)
{
    struct http_endpoint *endpoint = calloc(1, sizeof(*endpoint) + key_size);
    if (endpoint == NULL) {
        return NULL;
    }
    endpoint->client = client;
    endpoint->secure = url->secure;
    endpoint->port = url->port;
    endpoint->key_size = key_size;
    memcpy(endpoint->key, key, key_size);
    endpoint->host.data = endpoint->key + KEY_HOST_AT;
    endpoint->host.size = key_size - KEY_HOST_AT;
    list_init(&endpoint->channels);
    list_init(&endpoint->idle);
    list_init(&endpoint->waiting);
    list_append(bucket_of(client, (struct str){key, key_size}),
                &endpoint->bucket);
    return endpoint;
}

enum err http_endpoint_acquire(struct http_client *client,
                               const struct url *url,
                               struct http_endpoint **out)
{
    char key[KEY_HOST_AT + KEY_HOST_SIZE_MAX];
    CHECK(url->host.size <= KEY_HOST_SIZE_MAX); /* see url_parse() */
    (void)snprintf(key, sizeof(key), "%c%06u", url->secure ? 's' : 'p',
                   url->port);
    key[KEY_HOST_AT - 1] = '/';
    for (size_t i = 0; i < url->host.size; i++) {
        char byte = url->host.data[i];
        bool capital = byte >= 'A' && byte <= 'Z';
        key[KEY_HOST_AT + i] = (char)(capital ? byte | 0x20 : byte);
    }
    size_t key_size = KEY_HOST_AT + url->host.size;
    struct http_endpoint *endpoint =
        endpoint_find(client, (struct str){key, key_size});
    if (endpoint == NULL) {
        endpoint = endpoint_create(client, url, key, key_size);
        if (endpoint == NULL) {
            return ERR_NOMEM;
        }
    }
    endpoint->users++;
    *out = endpoint;
    return ERR_OK;
}

void http_endpoint_release(struct http_endpoint *endpoint)
{
    if (endpoint != NULL) {
        CHECK(endpoint->users > 0);
        endpoint->users--;
        client_pool_release(endpoint);
    }
}

/* --- calls --------------------------------------------------------------- */

static void deadline_expired(struct io_timer *timer)
{
    struct http_call *call = CONTAINER_OF(timer, struct http_call, deadline);
    if (call->channel != NULL) {
        client_channel_timeout(call->channel);
        return;
    }
    list_remove(&call->link);
    client_call_fail(call, ERR_TIMEOUT, "no connection was free in time");
}

void http_call_start(struct http_call *call)
{
    struct http_client *client = call->endpoint->client;
    CHECK(call->done != NULL);
    CHECK(call->part_count > 0 && call->part_count <= HTTP_CALL_PARTS_MAX);
    CHECK(!client->destroyed);
    call->channel = NULL;
    call->link = (struct list){NULL, NULL};
    call->deadline = (struct io_timer){.expired = deadline_expired};
    call->started_ns = io_now_ns(client->io);
    call->retried = false;
    client->stats.calls++;
    io_timer_start(client->io, &call->deadline, call->timeout_ms);
    client_pool_start(call->endpoint, call);
}

void http_call_cancel(struct http_call *call)
{
    struct http_channel *channel = call->channel;
    io_timer_stop(call->endpoint->client->io, &call->deadline);
    list_remove(&call->link);
    call->channel = NULL;
    if (channel != NULL) {
        channel->call = NULL;
        client_channel_close(channel);
    }
}

void client_call_end(struct http_call *call, struct http_result *result)
{
    struct http_client *client = call->endpoint->client;
    io_timer_stop(client->io, &call->deadline);
    call->channel = NULL;
    result->elapsed_ns = io_now_ns(client->io) - call->started_ns;
    call->done(call, result);
}

void client_call_fail(struct http_call *call, enum err err, const char *detail)
{
    struct http_client *client = call->endpoint->client;
    struct http_result result = {.err = err, .detail = client->detail};
    if (detail != client->detail) {
        (void)snprintf(client->detail, sizeof(client->detail), "%s", detail);
    }
    client_call_end(call, &result);
}
