/* The life of a server: made, listening, drained, gone.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server.h"

#include "base/check.h"
#include "base/diag.h"
#include "http/server_internal.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

enum { QUIET_TURNS = 2 }; /* before drained() */

/* --- turns --------------------------------------------------------------- */

/* Send what was answered in this turn. */
static void turn(struct io_hook *hook)
{
    struct http_server *server = CONTAINER_OF(hook, struct http_server, hook);
    struct list *node;
    while ((node = list_take_first(&server->dirty)) != NULL) {
        server_flush(CONTAINER_OF(node, struct http_connection, dirty));
    }
    if (server->give != NULL) {
        server_hand_over_turn(server);
    }
}

static void tell_drained(struct http_server *server)
{
    void (*drained)(void *context) = server->drained;
    if (drained == NULL || !list_empty(&server->connections)) {
        return;
    }
    /* The loop may know stopped listeners up to the end of the next turn. */
    server->quiet_turns++;
    if (server->quiet_turns <= QUIET_TURNS) {
        server_post(server);
        return;
    }
    server->drained = NULL;
    drained(server->drained_context); /* may destroy the server */
}

static void run_task(struct io_task *task)
{
    struct http_server *server = CONTAINER_OF(task, struct http_server, task);
    struct list *node;
    server->task_posted = false;
    while ((node = list_take_first(&server->resumes)) != NULL) {
        server_resume(CONTAINER_OF(node, struct http_connection, resume));
    }
    tell_drained(server);
}

void server_post(struct http_server *server)
{
    if (!server->task_posted) {
        server->task_posted = true;
        io_post(server->io, &server->task);
    }
}

uint32_t http_server_awaited(struct http_server *server, uint64_t within_ns)
{
    uint64_t now_ns = io_now_ns(server->io);
    while (!list_empty(&server->awaited)) {
        struct http_connection *oldest =
            CONTAINER_OF(server->awaited.next, struct http_connection, awaited);
        if (now_ns - oldest->answered_ns <= within_ns) {
            break;
        }
        server_unawait(oldest);
    }
    return server->awaited_count;
}

/* --- life-cycle ---------------------------------------------------------- */

enum err http_server_create(const struct http_server_options *options,
                            struct http_server **out)
{
    struct http_server *server = calloc(1, sizeof(*server));
    CHECK(options->handle != NULL);
    CHECK(options->server_name == NULL ||
          strlen(options->server_name) < SERVER_COMMON_SIZE_MAX / 2);
    if (server == NULL) {
        return ERR_NOMEM;
    }
    server->options = *options;
    server->io = options->io;
    list_init(&server->listeners);
    list_init(&server->connections);
    list_init(&server->dirty);
    list_init(&server->resumes);
    list_init(&server->awaited);
    list_init(&server->orphans);
    list_init(&server->spare_connections);
    list_init(&server->spare_exchanges);
    server->task.run = run_task;
    server->hook.turn = turn;
    if (options->certificate_file != NULL) {
        enum err err = tls_context_create_server(
            options->certificate_file, options->key_file, &server->tls);
        if (err != ERR_OK) {
            free(server);
            return err;
        }
    }
    server_deadline_init(server);
    io_hook_add(server->io, &server->hook);
    *out = server;
    return ERR_OK;
}

static void free_exchanges(struct http_server *server, struct list *exchanges)
{
    struct list *node;
    while ((node = list_take_first(exchanges)) != NULL) {
        server_give_exchange(server,
                             CONTAINER_OF(node, struct http_exchange, link));
    }
}

/* Free a connection that the loop will not touch any more. */
static void free_connection(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    free_exchanges(server, &connection->exchanges);
    if (connection->state != SERVER_CLOSED) {
        file_close(connection->socket.fd);
    }
    tls_destroy(connection->tls);
    buf_fini(&connection->input);
    buf_fini(&connection->request);
    buf_fini(&connection->output);
    buf_fini(&connection->sending);
    free(connection);
}

static void stop_listener(struct server_listener *listener)
{
    if (!listener->stopped) {
        listener->stopped = true;
        io_listener_stop(&listener->listener);
        file_close(listener->listener.fd);
    }
}

static void stop_listeners(struct http_server *server)
{
    struct list *node = server->listeners.next;
    for (; node != &server->listeners; node = node->next) {
        stop_listener(CONTAINER_OF(node, struct server_listener, link));
    }
}

void http_server_destroy(struct http_server *server)
{
    struct list *node;
    if (server == NULL) {
        return;
    }
    stop_listeners(server);
    while ((node = list_take_first(&server->connections)) != NULL) {
        free_connection(CONTAINER_OF(node, struct http_connection, link));
    }
    while ((node = list_take_first(&server->listeners)) != NULL) {
        free(CONTAINER_OF(node, struct server_listener, link));
    }
    io_hook_remove(server->io, &server->hook);
    io_timer_stop(server->io, &server->sweep);
    free_exchanges(server, &server->orphans);
    server_free_pools(server);
    tls_context_destroy(server->tls);
    free(server);
}

/* --- listening ----------------------------------------------------------- */

/* How many past the cap are told so at a time. */
static uint64_t told_max(uint64_t open_max)
{
    uint64_t share = open_max / SERVER_REFUSED_PART + 1;

    return share < SERVER_REFUSED_MAX ? share : SERVER_REFUSED_MAX;
}

/* Say that clients are refused, but not for each of them. */
static void say_refused(struct http_server *server)
{
    uint64_t now_ms = io_now_ms(server->io);

    if (server->refused_said_ms == 0 ||
        now_ms - server->refused_said_ms >= SERVER_SAID_MS) {
        server->refused_said_ms = now_ms;
        DIAG_WARN("connections_refused", "open=%llu connections_max=%u",
                  (unsigned long long)server->stats.connections_open,
                  server->options.connections_max);
    }
}

static void accepted(struct io_listener *io_listener, enum err err, int fd)
{
    struct server_listener *listener =
        CONTAINER_OF(io_listener, struct server_listener, listener);
    struct http_server *server = listener->server;
    if (err != ERR_OK) {
        DIAG_WARN("accept_failed", "err=%s", err_name(err));
        return;
    }
    uint64_t open = server->stats.connections_open;
    uint64_t open_max = server->options.connections_max;
    if (open >= open_max) {
        say_refused(server);
    }
    if (open >= open_max + told_max(open_max) ||
        (listener->secure && open >= open_max)) {
        server->stats.connections_refused++;
        file_close(fd);
        return;
    }
    (void)server_open(server, fd, listener->secure, open >= open_max);
}

static enum err listen_to(struct http_server *server, int fd, bool secure)
{
    struct server_listener *listener = calloc(1, sizeof(*listener));
    CHECK(!server->draining);
    if (listener == NULL) {
        return ERR_NOMEM;
    }
    listener->server = server;
    listener->secure = secure;
    listener->listener.fd = fd;
    listener->listener.accepted = accepted;
    list_append(&server->listeners, &listener->link);
    io_listener_start(server->io, &listener->listener);
    return ERR_OK;
}

enum err http_server_listen(struct http_server *server, int fd)
{
    return listen_to(server, fd, false);
}

enum err http_server_listen_tls(struct http_server *server, int fd)
{
    CHECK(server->tls != NULL);
    return listen_to(server, fd, true);
}

/* --- changes ------------------------------------------------------------- */

void http_server_set_limits(struct http_server *server,
                            const struct http_server_options *options)
{
    struct http_server_options *own = &server->options;
    own->limits = options->limits;
    own->connections_max = options->connections_max;
    own->body_size_max = options->body_size_max;
    own->body_memory_max = options->body_memory_max;
    own->body_buffer = options->body_buffer;
    own->body_gather_max = options->body_gather_max;
    own->body_timeout_ms = options->body_timeout_ms;
    own->body_rate_min = options->body_rate_min;
    own->head_timeout_ms = options->head_timeout_ms;
    own->idle_timeout_ms = options->idle_timeout_ms;
    own->send_timeout_ms = options->send_timeout_ms;
    server_deadline_again(server);
}

const struct http_server_options *
http_server_limits(const struct http_server *server)
{
    return &server->options;
}

void http_server_set_tls(struct http_server *server, struct tls_context *tls)
{
    CHECK(server->tls != NULL && tls != NULL);
    tls_context_destroy(server->tls);
    server->tls = tls;
}

/* --- the end ------------------------------------------------------------- */

void http_server_drain(struct http_server *server,
                       void (*drained)(void *context),
                       void *context)
{
    server->draining = true;
    server->drained = drained;
    server->drained_context = context;
    stop_listeners(server);
    /* The end of the turn looks at each: idle ones are closed there. */
    struct list *node = server->connections.next;
    for (; node != &server->connections; node = node->next) {
        server_mark_dirty(CONTAINER_OF(node, struct http_connection, link));
    }
    server_post(server);
}

void http_server_cut(struct http_server *server)
{
    struct list *node = server->connections.next;
    for (; node != &server->connections; node = node->next) {
        server_close(CONTAINER_OF(node, struct http_connection, link));
    }
}

const struct http_server_stats *
http_server_stats(const struct http_server *server)
{
    return &server->stats;
}
