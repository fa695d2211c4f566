/* A server and a client in one thread.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/http_world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const enum io_backend backends[] = {IO_BACKEND_EPOLL, IO_BACKEND_URING};

enum {
    BACKEND_COUNT = sizeof(backends) / sizeof(backends[0]),
    TESTS_MAX = 64, /* of one program */
};

/* --- the handler --------------------------------------------------------- */

static void note_abandoned(struct http_exchange *exchange)
{
    struct world *world = exchange->context;
    world->abandoned++;
}

static void hold(struct world *world, struct http_exchange *exchange)
{
    assert_true(world->held_count < HELD_MAX);
    (void)snprintf(world->paths[world->held_count], 16, "%.*s",
                   STR_ARG(exchange->head->path));
    world->held[world->held_count++] = exchange;
    exchange->context = world;
    exchange->abandoned = note_abandoned;
}

static void echo(struct http_exchange *exchange)
{
    struct buf text = {0};
    const struct http_header header = {STR("X-Odd"), STR("a\r\nb")};
    buf_append_str(&text, exchange->head->method_text);
    buf_append_byte(&text, ' ');
    buf_append_str(&text, exchange->head->path);
    buf_append_byte(&text, ' ');
    buf_append_str(&text, exchange->head->query);
    buf_append_byte(&text, ' ');
    buf_append_str(&text, exchange->body);
    http_exchange_answer(exchange, 200, &header, 1, buf_str(&text));
    buf_fini(&text);
}

static void answer_large(struct world *world, struct http_exchange *exchange)
{
    char *bytes = malloc(world->large_size);
    assert_non_null(bytes);
    memset(bytes, 'x', world->large_size);
    http_exchange_answer(exchange, 200, NULL, 0,
                         (struct str){bytes, world->large_size});
    free(bytes);
}

static void handle(void *context, struct http_exchange *exchange)
{
    struct world *world = context;
    char peer[NET_TEXT_MAX];
    world->requests++;
    switch (world->mode) {
    case MODE_ECHO:
        echo(exchange);
        break;
    case MODE_HOLD:
        hold(world, exchange);
        break;
    case MODE_ALONE:
        hold(world, exchange);
        http_exchange_alone(exchange);
        break;
    case MODE_LARGE:
        answer_large(world, exchange);
        break;
    case MODE_RAW:
        http_exchange_answer_raw(exchange,
                                 STR("HTTP/1.1 201 Created\r\n"
                                     "Content-Length: 7\r\n"),
                                 STR("success"));
        break;
    case MODE_EMPTY:
        http_exchange_answer(exchange, 204, NULL, 0, STR(""));
        break;
    case MODE_PEER:
        http_exchange_peer(exchange, peer);
        http_exchange_answer(exchange, 200, NULL, 0, str_from(peer));
        break;
    case MODE_STREAM:
        hold(world, exchange);
        http_exchange_stream_begin(exchange, NULL, 0);
        break;
    }
}

/* --- the world ----------------------------------------------------------- */

static struct world *world_create(enum io_backend backend)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    struct io_options io_options = {.backend = backend};
    if (io_create(&io_options, &world->io) != ERR_OK) {
        free(world);
        return NULL;
    }
    world->options = (struct http_server_options){
        .io = world->io,
        .limits = {.head_size_max = 64 * 1024, .target_size_max = 8 * 1024},
        .body_size_max = 2 * 1024 * 1024,
        .body_memory_max = 16 * 1024 * 1024,
        .connections_max = 100,
        .head_timeout_ms = LONG_MS,
        .body_timeout_ms = LONG_MS,
        .idle_timeout_ms = LONG_MS,
        .send_timeout_ms = LONG_MS,
        .server_name = "OPQ/test",
        .handle = handle,
        .context = world,
    };
    return world;
}

void world_start_at(struct world *world, struct str host)
{
    int fd = -1;
    struct net_address address;
    assert_int_equal(net_parse(host, 0, &address), ERR_OK);
    assert_int_equal(net_listen(&address, false, &fd), ERR_OK);
    assert_int_equal(net_bound(fd, &world->address), ERR_OK);
    assert_int_equal(http_server_create(&world->options, &world->server),
                     ERR_OK);
    assert_int_equal(http_server_listen(world->server, fd), ERR_OK);
}

void world_start(struct world *world)
{
    world_start_at(world, STR("127.0.0.1"));
}

void world_run_turn(struct world *world)
{
    io_run_turn(world->io, 10);
}

void world_note_drained(void *context)
{
    ((struct world *)context)->is_drained = true;
}

void world_answer_held(struct world *world, uint32_t index)
{
    struct http_exchange *exchange = world->held[index];
    assert_non_null(exchange);
    world->held[index] = NULL;
    http_exchange_answer(exchange, 200, NULL, 0, str_from(world->paths[index]));
}

static int set_up(void **state)
{
    *state = world_create(*(const enum io_backend *)*state);
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    if (world == NULL) {
        return 0;
    }
    if (world->server != NULL) {
        http_server_drain(world->server, world_note_drained, world);
        http_server_cut(world->server);
        WAIT_FOR(world, world->is_drained);
        for (uint32_t i = 0; i < world->held_count; i++) {
            if (world->held[i] != NULL && world->mode == MODE_STREAM) {
                http_exchange_stream_end(world->held[i]);
            } else if (world->held[i] != NULL) {
                world_answer_held(world, i);
            }
        }
        assert_int_equal(http_server_stats(world->server)->connections_open, 0);
        http_server_destroy(world->server);
    }
    io_destroy(world->io);
    if (world->directory[0] != '\0') {
        char path[64];
        (void)snprintf(path, sizeof(path), "%s/socket", world->directory);
        (void)unlink(path);
        (void)rmdir(world->directory);
    }
    free(world);
    return 0;
}

/* --- the client ---------------------------------------------------------- */

struct client client_open(struct world *world)
{
    struct client client = {.world = world};
    client.fd =
        socket(world->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client.fd >= 0);
    assert_int_equal(
        connect(client.fd, &world->address.any, world->address.size), 0);
    assert_int_equal(fcntl(client.fd, F_SETFL, O_NONBLOCK), 0);
    return client;
}

void client_close(struct client *client)
{
    (void)close(client->fd);
    buf_fini(&client->in);
}

/* Send a RST instead of a FIN. */
void client_vanish(struct client *client)
{
    struct linger linger = {.l_onoff = 1};
    assert_int_equal(
        setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)),
        0);
    client_close(client);
}

/* Write what the socket takes; bytes written. */
size_t client_try_write(struct client *client, struct str bytes)
{
    ssize_t size = send(client->fd, bytes.data, bytes.size, MSG_NOSIGNAL);
    if (size < 0 && errno != EAGAIN) {
        client->reset = true;
        return bytes.size;
    }
    return size < 0 ? 0 : (size_t)size;
}

void client_write(struct client *client, struct str bytes)
{
    while (bytes.size > 0) {
        size_t size = client_try_write(client, bytes);
        bytes = str_cut(bytes, size, bytes.size);
        if (size == 0) {
            world_run_turn(client->world);
        }
    }
}

void client_write_c(struct client *client, const char *text)
{
    client_write(client, str_from(text));
}

/* Read what is there. */
void client_read(struct client *client)
{
    char bytes[16384];
    ssize_t size = 1;
    while (size > 0) {
        size = recv(client->fd, bytes, sizeof(bytes), 0);
        if (size > 0) {
            buf_append(&client->in, bytes, (size_t)size);
        }
    }
    client->ended = client->ended || size == 0;
    client->reset = client->reset || (size < 0 && errno != EAGAIN);
}

bool client_has_ended(struct client *client)
{
    client_read(client);
    return client->ended || client->reset;
}

/* Take one response off what was read; false when it is not all there. */
bool client_take(struct client *client, bool head_only, struct response *out)
{
    static struct http_head head;
    struct http_limits limits = {64 * 1024, 0};
    struct http_refusal refusal = {0};
    size_t scanned = 0;
    size_t size = 0;
    client_read(client);
    enum err err = http_parse_response(buf_str(&client->in), &limits, &scanned,
                                       &head, &size, &refusal);
    if (err == ERR_AGAIN) {
        return false;
    }
    if (err != ERR_OK) {
        fail_msg("bad response: %s: %.*s", refusal.reason,
                 STR_ARG(buf_str(&client->in)));
    }
    bool bodiless = head_only || head.status == 204 || head.status == 100;
    size_t body_size = bodiless ? 0 : (size_t)head.content_length;
    assert_true(bodiless || head.content_length != HTTP_LENGTH_NONE);
    if (client->in.size - size < body_size) {
        return false;
    }
    out->status = head.status;
    out->keep_alive = head.keep_alive;
    out->body_size = body_size;
    (void)snprintf(out->body, sizeof(out->body), "%.*s", (int)body_size,
                   client->in.data + size);
    (void)snprintf(out->head, sizeof(out->head), "%.*s", (int)size,
                   client->in.data);
    buf_consume(&client->in, size + body_size);
    return true;
}

struct response client_response(struct client *client)
{
    struct response response;
    WAIT_FOR(client->world, client_take(client, false, &response));
    return response;
}

void client_assert_response(struct client *client, int status, const char *body)
{
    struct response response = client_response(client);
    assert_int_equal(response.status, status);
    assert_string_equal(response.body, body);
}

void client_assert_end(struct client *client)
{
    WAIT_FOR(client->world, client_has_ended(client));
    assert_int_equal(client->in.size, 0);
    assert_false(client->reset);
}

/* --- the tests ----------------------------------------------------------- */

int world_run_tests(const struct CMUnitTest *tests, size_t test_count)
{
    static const char *const names[BACKEND_COUNT] = {"epoll", "uring"};
    static char labels[BACKEND_COUNT * TESTS_MAX][96];
    static struct CMUnitTest all[BACKEND_COUNT * TESTS_MAX];
    size_t count = BACKEND_COUNT * test_count;
    if (test_count > TESTS_MAX) {
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        size_t backend = i / test_count;
        all[i] = tests[i % test_count];
        (void)snprintf(labels[i], sizeof(labels[i]), "%s: %s", names[backend],
                       all[i].name);
        all[i].name = labels[i];
        all[i].setup_func = set_up;
        all[i].teardown_func = tear_down;
        all[i].initial_state = (void *)(uintptr_t)&backends[backend];
    }
    return _cmocka_run_group_tests("http server", all, count, NULL, NULL);
}
