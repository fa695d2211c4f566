/* Which call goes on which connection.
 *
 * A call takes the connection of its endpoint that was used last, or waits in
 * line. Whoever makes a reason to look at a line (a new call in it, a
 * connection closed) makes its endpoint hungry and posts the task; connections
 * are opened there only, so never from inside a caller's call. A connection
 * that is free goes to the first in line at once.
 *
 * Two bounds: of an endpoint, then of all. At the second, the connection that
 * was idle longest is closed; without one, the endpoint is starved until a
 * connection of any endpoint is closed or idle.
 *
 * A call that is tried again needs a connection of its own, since the kept
 * ones may be as stale as its first one was.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "http/client_internal.h"

#include <stdlib.h>

/* --- keeping ------------------------------------------------------------- */

/* Take a channel out of those that are idle. */
static void unpark(struct http_channel *channel)
{
    list_remove(&channel->idle);
    list_remove(&channel->idle_all);
}

static void park(struct http_channel *channel)
{
    struct http_client *client = channel->client;
    channel->stage = CHANNEL_IDLE;
    channel->idle_from_ms = io_now_ms(client->io);
    list_prepend(&channel->endpoint->idle, &channel->idle);
    list_append(&client->idle, &channel->idle_all);
    if (!io_timer_running(&client->idle_timer)) {
        io_timer_start(client->io, &client->idle_timer,
                       client->options.idle_timeout_ms);
    }
}

static struct http_channel *idle_longest(struct http_client *client)
{
    if (list_empty(&client->idle)) {
        return NULL;
    }
    return CONTAINER_OF(client->idle.next, struct http_channel, idle_all);
}

/* Close what is idle too long. The timer runs while something is idle; calls
 * in between do not move it. */
static void idle_timer_expired(struct io_timer *timer)
{
    struct http_client *client =
        CONTAINER_OF(timer, struct http_client, idle_timer);
    uint64_t now_ms = io_now_ms(client->io);
    struct http_channel *channel = idle_longest(client);
    while (channel != NULL) {
        uint64_t until_ms =
            channel->idle_from_ms + client->options.idle_timeout_ms;
        if (until_ms > now_ms) {
            io_timer_start(client->io, timer, until_ms - now_ms);
            return;
        }
        client_channel_close(channel);
        channel = idle_longest(client);
    }
}

void client_pool_close_idle(struct http_client *client)
{
    struct http_channel *channel = idle_longest(client);
    while (channel != NULL) {
        client_channel_close(channel);
        channel = idle_longest(client);
    }
}

/* --- serving ------------------------------------------------------------- */

static void make_hungry(struct http_endpoint *endpoint)
{
    struct http_client *client = endpoint->client;
    if (client->destroyed) {
        return;
    }
    list_remove(&endpoint->link);
    list_append(&client->hungry, &endpoint->link);
    client_post_task(client);
}

/* There may be room: have the first of the starved looked at. */
static void feed_starved(struct http_client *client)
{
    if (!list_empty(&client->starved)) {
        make_hungry(
            CONTAINER_OF(client->starved.next, struct http_endpoint, link));
    }
}

/* Tell whether one more connection may be open, after closing an idle one if
 * need be. */
static bool make_room(struct http_client *client)
{
    if (client->stats.connections_open < client->options.connections_max) {
        return true;
    }
    struct http_channel *channel = idle_longest(client);
    if (channel == NULL) {
        return false;
    }
    client_channel_close(channel);
    return true;
}

static struct http_call *first_waiting(struct http_endpoint *endpoint)
{
    if (list_empty(&endpoint->waiting)) {
        return NULL;
    }
    return CONTAINER_OF(endpoint->waiting.next, struct http_call, link);
}

static struct http_channel *take_idle(struct http_endpoint *endpoint)
{
    if (list_empty(&endpoint->idle)) {
        return NULL;
    }
    struct http_channel *channel =
        CONTAINER_OF(endpoint->idle.next, struct http_channel, idle);
    unpark(channel);
    return channel;
}

/* Give the first in line a connection. Returns whether to go on. */
static bool serve_first(struct http_endpoint *endpoint, struct http_call *call)
{
    struct http_client *client = endpoint->client;
    struct http_channel *channel = call->retried ? NULL : take_idle(endpoint);
    if (channel != NULL) {
        list_remove(&call->link);
        client_channel_send(channel, call);
        return true;
    }
    if (endpoint->channel_count >= client->options.endpoint_connections_max) {
        return false; /* until one of them is free or closed */
    }
    if (!make_room(client)) {
        list_remove(&endpoint->link);
        list_append(&client->starved, &endpoint->link);
        return false;
    }
    list_remove(&call->link);
    client_channel_open(endpoint, call);
    return true;
}

static void serve(struct http_endpoint *endpoint)
{
    struct http_call *call = first_waiting(endpoint);
    while (call != NULL && serve_first(endpoint, call)) {
        call = first_waiting(endpoint);
    }
}

static void task_run(struct io_task *task)
{
    struct http_client *client = CONTAINER_OF(task, struct http_client, task);
    struct list now;
    struct list *node;
    client->task_posted = false;
    client_channel_bury(client);
    if (client->destroyed) {
        client_free_if_over(client);
        return;
    }
    /* Those that get hungry meanwhile come next time. */
    list_init(&now);
    while ((node = list_take_first(&client->hungry)) != NULL) {
        list_append(&now, node);
    }
    while ((node = list_take_first(&now)) != NULL) {
        struct http_endpoint *endpoint =
            CONTAINER_OF(node, struct http_endpoint, link);
        endpoint->users++; /* a failed call may release it */
        serve(endpoint);
        http_endpoint_release(endpoint);
    }
}

/* --- the doors ----------------------------------------------------------- */

void client_pool_init(struct http_client *client)
{
    list_init(&client->idle);
    list_init(&client->hungry);
    list_init(&client->starved);
    list_init(&client->dead);
    client->task.run = task_run;
    client->idle_timer.expired = idle_timer_expired;
}

void client_pool_start(struct http_endpoint *endpoint, struct http_call *call)
{
    if (list_empty(&endpoint->waiting)) {
        struct http_channel *channel = take_idle(endpoint);
        if (channel != NULL) {
            client_channel_send(channel, call);
            return;
        }
    }
    list_append(&endpoint->waiting, &call->link);
    /* At its bound the line is looked at when a connection is free. */
    if (endpoint->channel_count <
        endpoint->client->options.endpoint_connections_max) {
        make_hungry(endpoint);
    }
}

void client_pool_retry(struct http_endpoint *endpoint, struct http_call *call)
{
    call->retried = true;
    list_prepend(&endpoint->waiting, &call->link);
    make_hungry(endpoint);
}

void client_pool_keep(struct http_channel *channel)
{
    struct http_endpoint *endpoint = channel->endpoint;
    struct http_call *call = first_waiting(endpoint);
    if (call != NULL && !call->retried) {
        list_remove(&call->link);
        client_channel_send(channel, call);
        return;
    }
    park(channel);
    if (call != NULL) {
        make_hungry(endpoint);
    }
    feed_starved(endpoint->client);
}

void client_pool_closed(struct http_endpoint *endpoint)
{
    if (!list_empty(&endpoint->waiting)) {
        make_hungry(endpoint);
    }
    feed_starved(endpoint->client);
    client_pool_release(endpoint);
}

void client_pool_release(struct http_endpoint *endpoint)
{
    if (endpoint->users == 0 && endpoint->channel_count == 0) {
        client_pool_endpoint_destroy(endpoint);
    }
}

void client_pool_endpoint_destroy(struct http_endpoint *endpoint)
{
    CHECK(endpoint->channel_count == 0);
    CHECK(list_empty(&endpoint->waiting));
    list_remove(&endpoint->bucket);
    list_remove(&endpoint->link);
    tls_ticket_fini(&endpoint->ticket);
    free(endpoint);
}
