/* Deadlines of all connections by one timer.
 *
 * A connection's deadlines are plain numbers, set with a store. The timer runs
 * for the earliest that was known when it was started; when it expires, all
 * connections are looked through, and it is started for the earliest that is
 * left. A deadline that moves later, as with every request, costs nothing; one
 * earlier than all others restarts the timer. Sweeps are at least a sixteenth
 * of the shortest timeout apart, so that many connections with close deadlines
 * do not cost a sweep each. Without connections the timer stands still.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/server_internal.h"

#include "base/check.h"

enum {
    STEPS = 16,        /* sweeps in the shortest timeout, at most */
    STEP_MIN_MS = 1,   /* between sweeps, at least */
    STEP_MAX_MS = 500, /* between sweeps, when there is something to do */
};

static uint64_t min_u64(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

/* Sweep when `due_ms` has come, unless that is to happen anyway. */
static void start_sweep(struct http_server *server, uint64_t due_ms)
{
    uint64_t now_ms = io_now_ms(server->io);
    uint64_t earliest_ms = now_ms + server->sweep_step_ms;
    uint64_t sweep_ms = due_ms > earliest_ms ? due_ms : earliest_ms;
    if (sweep_ms < server->sweep_due_ms) {
        server->sweep_due_ms = sweep_ms;
        io_timer_start(server->io, &server->sweep, sweep_ms - now_ms);
    }
}

/* Act on deadlines of one connection that have passed. */
static void expire(struct http_connection *connection, uint64_t now_ms)
{
    struct http_server *server = connection->server;
    if (connection->send_due_ms <= now_ms) {
        server->stats.timeouts++;
        server_close(connection);
        return;
    }
    if (connection->receive_due_ms > now_ms) {
        return;
    }
    connection->receive_due_ms = SERVER_NEVER;
    if (server_is_shaking(connection)) {
        server->stats.timeouts++;
        server_close(connection);
        return;
    }
    bool body = connection->state == SERVER_LENGTH ||
                connection->state == SERVER_CHUNKED;
    if (body || connection->head_started) {
        server->stats.timeouts++;
        server_refuse(connection, 408,
                      body ? "the body did not come in time"
                           : "the head did not come in time");
        return;
    }
    if (connection->tls != NULL && connection->state == SERVER_HEAD) {
        server_stop_taking(connection); /* its end is said first */
        server_mark_dirty(connection);
        return;
    }
    server_close(connection);
}

static void sweep_expired(struct io_timer *timer)
{
    struct http_server *server = CONTAINER_OF(timer, struct http_server, sweep);
    uint64_t now_ms = io_now_ms(server->io);
    uint64_t next_ms = SERVER_NEVER;
    server->sweep_due_ms = SERVER_NEVER;
    /* Connections leave the list in closed() only, which is not called from
     * here, so the next one stays valid. */
    struct list *node = server->connections.next;
    for (; node != &server->connections; node = node->next) {
        struct http_connection *connection =
            CONTAINER_OF(node, struct http_connection, link);
        if (connection->state == SERVER_CLOSED) {
            continue;
        }
        expire(connection, now_ms);
        next_ms = min_u64(next_ms, connection->receive_due_ms);
        next_ms = min_u64(next_ms, connection->send_due_ms);
    }
    if (next_ms != SERVER_NEVER) {
        start_sweep(server, next_ms);
    }
}

void server_deadline_again(struct http_server *server)
{
    const struct http_server_options *options = &server->options;
    const uint32_t timeouts[] = {
        options->head_timeout_ms,
        options->body_timeout_ms,
        options->idle_timeout_ms,
        options->send_timeout_ms,
    };
    uint64_t step_ms = STEP_MAX_MS;
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        if (timeouts[i] > 0) {
            step_ms = min_u64(step_ms, timeouts[i] / STEPS);
        }
    }
    server->sweep_step_ms = step_ms > STEP_MIN_MS ? step_ms : STEP_MIN_MS;
}

void server_deadline_init(struct http_server *server)
{
    server_deadline_again(server);
    server->sweep_due_ms = SERVER_NEVER;
    server->sweep.expired = sweep_expired;
}

void server_deadline_set(struct http_server *server,
                         uint64_t *due_ms,
                         uint64_t delay_ms)
{
    if (delay_ms == 0) {
        *due_ms = SERVER_NEVER;
        return;
    }
    *due_ms = io_now_ms(server->io) + delay_ms;
    if (*due_ms < server->sweep_due_ms) {
        start_sweep(server, *due_ms);
    }
}
