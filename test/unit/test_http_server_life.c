/* Tests of http/server over real sockets, on each back end of the loop:
 * deadlines, clients that go, streams, the end, addresses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/http_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- no memory ----------------------------------------------------------- */

/* The n-th allocation from now on fails; 0: none. */
static int fail_at;

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool fails_now(void)
{
    return fail_at > 0 && --fail_at == 0;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails_now() ? NULL : __real_realloc(memory, size);
}

static void a_server_without_memory_is_not_made(void **state)
{
    struct world *world = WORLD(state);
    struct http_server *server = NULL;
    fail_at = 1;
    assert_int_equal(http_server_create(&world->options, &server), ERR_NOMEM);
    assert_null(server);
    world_start(world);
    fail_at = 1;
    assert_int_equal(http_server_listen(world->server, -1), ERR_NOMEM);
    assert_int_equal(fail_at, 0);
}

static bool is_over(struct client *client, struct response *response)
{
    return client_take(client, false, response) || client_has_ended(client);
}

static void a_failed_allocation_costs_one_connection_at_most(void **state)
{
    struct world *world = WORLD(state);
    static const char request[] = "POST / HTTP/1.1\r\nHost: a\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n"
                                  "5\r\nhello\r\n0\r\n\r\n";
    int failed = 0;
    bool all_done = false;
    world->mode = MODE_EMPTY;
    world_start(world);
    for (int i = 1; i < 100 && !all_done; i++) {
        struct response response = {0};
        struct client client = client_open(world);
        assert_int_equal(buf_reserve(&client.in, 65536), ERR_OK);
        fail_at = i;
        client_write(&client, (struct str){request, 60});
        io_run_turn(world->io, 0);
        io_run_turn(world->io, 0);
        client_write_c(&client, request + 60);
        WAIT_FOR(world, is_over(&client, &response));
        assert_true(response.status == 0 || response.status == 204 ||
                    response.status == 503);
        failed += response.status != 204;
        all_done = fail_at > 0 && response.status == 204;
        fail_at = 0;
        client_close(&client);
        client = client_open(world);
        client_write_c(&client, request);
        assert_int_equal(client_response(&client).status, 204);
        client_close(&client);
        WAIT_FOR(world,
                 http_server_stats(world->server)->connections_open == 0);
    }
    assert_true(failed > 0);
    assert_true(all_done);
}

/* --- deadlines ----------------------------------------------------------- */

static void assert_cut(struct world *world, const char *text, int status)
{
    struct client client = client_open(world);
    client_write_c(&client, text);
    if (status > 0) {
        assert_int_equal(client_response(&client).status, status);
    }
    client_assert_end(&client);
    client_close(&client);
}

static void a_slow_head_is_cut(void **state)
{
    struct world *world = WORLD(state);
    world->options.head_timeout_ms = SHORT_MS;
    world_start(world);
    assert_cut(world, "GET / HTTP/1.1\r\nHost: a\r\n", 408);
    assert_int_equal(http_server_stats(world->server)->timeouts, 1);
}

static void a_head_that_trickles_is_cut_too(void **state)
{
    struct world *world = WORLD(state);
    world->options.head_timeout_ms = SHORT_MS;
    world_start(world);
    struct client client = client_open(world);
    struct response response;
    client_write_c(&client, "GET / HTTP/1.1\r\nHost: ");
    WAIT_FOR(world, (client_write_c(&client, "a"),
                     client_take(&client, false, &response)));
    assert_int_equal(response.status, 408);
    client_close(&client);
}

static void a_body_that_stands_still_is_cut(void **state)
{
    struct world *world = WORLD(state);
    world->options.body_timeout_ms = SHORT_MS;
    world_start(world);
    assert_cut(world,
               "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
               408);
    assert_cut(world,
               "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
               "\r\n5\r\nhell",
               408);
    assert_int_equal(http_server_stats(world->server)->timeouts, 2);
}

static void a_body_that_trickles_is_cut_too(void **state)
{
    struct world *world = WORLD(state);
    world->options.body_timeout_ms = SHORT_MS;
    world->options.body_rate_min = 1000 * 1000 * 1000;
    world_start(world);
    struct client client = client_open(world);
    struct response response;
    client_write_c(&client, "POST / HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 2000000\r\n\r\n");
    WAIT_FOR(world, (client_write_c(&client, "a"),
                     client_take(&client, false, &response)));
    assert_int_equal(response.status, 408);
    assert_non_null(strstr(response.body, "too slowly"));
    client_close(&client);
}

static void an_idle_connection_is_closed_silently(void **state)
{
    struct world *world = WORLD(state);
    world->options.idle_timeout_ms = SHORT_MS;
    world_start(world);
    assert_cut(world, "", 0);
    struct client client = client_open(world);
    client_write_c(&client, GET("/a"));
    client_assert_response(&client, 200, "GET /a  ");
    client_assert_end(&client);
    client_close(&client);
    assert_int_equal(http_server_stats(world->server)->timeouts, 0);
}

static void a_waiting_request_has_no_deadline(void **state)
{
    struct world *world = WORLD(state);
    world->options.idle_timeout_ms = SHORT_MS;
    world->options.head_timeout_ms = SHORT_MS;
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/a"));
    WAIT_FOR(world, world->held_count == 1);
    /* Another connection shows that the time has passed. */
    assert_cut(world, "", 0);
    assert_cut(world, "", 0);
    world_answer_held(world, 0);
    client_assert_response(&client, 200, "/a");
    client_close(&client);
}

static void an_answer_that_is_not_taken_is_cut(void **state)
{
    struct world *world = WORLD(state);
    world->options.send_timeout_ms = SHORT_MS;
    world->mode = MODE_LARGE;
    world->large_size = 64 * 1024 * 1024;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/a"));
    WAIT_FOR(world, http_server_stats(world->server)->timeouts == 1);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
    client_close(&client);
}

static void a_server_without_connections_sleeps(void **state)
{
    struct world *world = WORLD(state);
    enum { NAP_MS = 100 };
    uint64_t slept_ns = 0;
    world->options.idle_timeout_ms = SHORT_MS;
    world_start(world);
    assert_cut(world, "", 0);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
    /* A last wake-up may be under way; after it there is none. */
    for (int i = 0; i < 4 && slept_ns < NAP_MS * UINT64_C(1000000); i++) {
        uint64_t start_ns = clock_monotonic_ns();
        io_run_turn(world->io, NAP_MS);
        slept_ns = clock_monotonic_ns() - start_ns;
    }
    assert_true(slept_ns >= NAP_MS * UINT64_C(1000000));
}

/* --- clients that go ----------------------------------------------------- */

static void a_client_that_vanishes_abandons_its_requests(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/0") GET("/1") GET("/2"));
    WAIT_FOR(world, world->held_count == 3);
    world_answer_held(world, 1);
    client_vanish(&client);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
    assert_int_equal(world->abandoned, 2);
    char peer[NET_TEXT_MAX];
    http_exchange_peer(world->held[0], peer);
    assert_string_equal(peer, "-");
    world_answer_held(world, 0);
    world_answer_held(world, 2);
    struct client next = client_open(world);
    client_write_c(&next, GET("/3"));
    WAIT_FOR(world, world->held_count == 4);
    world_answer_held(world, 3);
    client_assert_response(&next, 200, "/3");
    client_close(&next);
}

static void cut_held(struct world *world, bool reset)
{
    struct client client = client_open(world);
    world->held_count = 0;
    world->abandoned = 0;
    client_write_c(&client, GET("/a") GET("/b"));
    WAIT_FOR(world, world->held_count == 2);
    http_exchange_cut(world->held[0], reset);
    world->held[0] = NULL;
    assert_int_equal(world->abandoned, 1); /* the other one */
    WAIT_FOR(world, client_has_ended(&client));
    assert_int_equal(client.in.size, 0);
    assert_int_equal(client.reset, reset);
    world_answer_held(world, 1); /* into the void */
    client_close(&client);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
}

static void a_connection_can_be_cut_instead_of_answered(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    cut_held(world, false);
    cut_held(world, true);
}

static void cutting_when_the_client_has_gone_does_nothing(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/a"));
    WAIT_FOR(world, world->held_count == 1);
    client_vanish(&client);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
    http_exchange_cut(world->held[0], true);
    world->held[0] = NULL;
    world->mode = MODE_EMPTY;
    client = client_open(world);
    client_write_c(&client, GET("/b"));
    assert_int_equal(client_response(&client).status, 204);
    client_close(&client);
}

static void answer_when_abandoned(struct http_exchange *exchange)
{
    struct world *world = exchange->context;
    for (uint32_t i = 0; i < world->held_count; i++) {
        if (world->held[i] == exchange) {
            world_answer_held(world, i);
        }
    }
    world->abandoned++;
}

static void a_client_that_ends_its_side_is_answered(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/0") GET("/1") GET("/2"));
    WAIT_FOR(world, world->held_count == 3);
    world->held[0]->abandoned = NULL;
    world->held[1]->abandoned = answer_when_abandoned;
    world->held[2]->abandoned = answer_when_abandoned;
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    WAIT_FOR(world, world->abandoned == 2);
    world_answer_held(world, 0);
    client_assert_response(&client, 200, "/0");
    client_assert_response(&client, 200, "/1");
    client_assert_response(&client, 200, "/2");
    client_assert_end(&client);
    client_close(&client);
}

static void vanishing_with_half_a_request_leaves_nothing(void **state)
{
    struct world *world = WORLD(state);
    static const char *const texts[] = {
        "GET / HT",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
    };
    world_start(world);
    for (int i = 0; i < 3; i++) {
        struct client client = client_open(world);
        client_write_c(&client, texts[i]);
        world_run_turn(world);
        world_run_turn(world);
        client_vanish(&client);
        WAIT_FOR(world, http_server_stats(world->server)->connections_total ==
                            (uint64_t)i + 1);
        WAIT_FOR(world,
                 http_server_stats(world->server)->connections_open == 0);
    }
    assert_int_equal(world->requests, 0);
}

/* --- streams ------------------------------------------------------------- */

static bool client_has(struct client *client, const char *text)
{
    client_read(client);
    return client->in.size > 0 &&
           memmem(client->in.data, client->in.size, text, strlen(text)) != NULL;
}

static void a_stream_is_sent_in_chunks(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_STREAM;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/0"));
    WAIT_FOR(world, client_has(&client, "Transfer-Encoding: chunked\r\n"));
    WAIT_FOR(world, client_has(&client, "\r\n\r\n"));
    buf_clear(&client.in);
    struct http_exchange *exchange = world->held[0];
    assert_int_equal(http_exchange_stream_send(exchange, STR("hello")), ERR_OK);
    assert_int_equal(http_exchange_stream_send(exchange, STR("")), ERR_OK);
    WAIT_FOR(world, client_has(&client, "5\r\nhello\r\n"));
    assert_int_equal(
        http_exchange_stream_send(exchange, STR("0123456789abcdefg")), ERR_OK);
    world->held[0] = NULL;
    http_exchange_stream_end(exchange);
    WAIT_FOR(world, client_has(&client, "11\r\n0123456789abcdefg\r\n"
                                        "0\r\n\r\n"));
    assert_int_equal(client.in.size,
                     strlen("5\r\nhello\r\n11\r\n0123456789abcdefg\r\n"
                            "0\r\n\r\n"));
    buf_clear(&client.in);
    world->mode = MODE_ECHO;
    client_write_c(&client, GET("/a"));
    client_assert_response(&client, 200, "GET /a  ");
    client_close(&client);
}

static void a_stream_to_an_old_client_ends_with_the_connection(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_STREAM;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client,
                   "GET /0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    WAIT_FOR(world, world->held_count == 1);
    struct http_exchange *exchange = world->held[0];
    assert_int_equal(http_exchange_stream_send(exchange, STR("hello")), ERR_OK);
    world->held[0] = NULL;
    http_exchange_stream_end(exchange);
    WAIT_FOR(world, client_has_ended(&client));
    assert_true(client_has(&client, "\r\nConnection: close\r\n"));
    assert_true(client_has(&client, "\r\n\r\nhello"));
    assert_false(client_has(&client, "Transfer-Encoding"));
    client_close(&client);
}

static void a_stream_waits_for_the_answers_before_it(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/0"));
    WAIT_FOR(world, world->held_count == 1);
    world->mode = MODE_STREAM;
    client_write_c(&client, GET("/1"));
    WAIT_FOR(world, world->held_count == 2);
    assert_int_equal(http_exchange_stream_send(world->held[1], STR("hello")),
                     ERR_OK);
    world_answer_held(world, 0);
    client_assert_response(&client, 200, "/0");
    WAIT_FOR(world, client_has(&client, "5\r\nhello\r\n"));
    assert_int_equal(http_exchange_stream_send(world->held[1], STR("again")),
                     ERR_OK);
    WAIT_FOR(world, client_has(&client, "5\r\nhello\r\n5\r\nagain\r\n"));
    client_close(&client);
}

static void a_stream_that_is_not_taken_is_busy_and_then_closed(void **state)
{
    struct world *world = WORLD(state);
    static char piece[65536];
    enum err err = ERR_OK;
    world->mode = MODE_STREAM;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/0"));
    WAIT_FOR(world, world->held_count == 1);
    for (int i = 0; i < 10000 && err == ERR_OK; i++) {
        err = http_exchange_stream_send(world->held[0],
                                        (struct str){piece, sizeof(piece)});
        io_run_turn(world->io, 0);
    }
    assert_int_equal(err, ERR_BUSY);
    client_vanish(&client);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
    assert_int_equal(world->abandoned, 1);
    assert_int_equal(http_exchange_stream_send(world->held[0], STR("x")),
                     ERR_CLOSED);
}

/* --- the end ------------------------------------------------------------- */

static void draining_answers_what_runs_and_closes_the_rest(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client idle = client_open(world);
    struct client waiting = client_open(world);
    struct client coming = client_open(world);
    client_write_c(&waiting, GET("/w"));
    client_write_c(&coming, "POST /c HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 5\r\n\r\nhel");
    WAIT_FOR(world, world->held_count == 1);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 3);
    world_run_turn(world);
    http_server_drain(world->server, world_note_drained, world);
    client_assert_end(&idle);
    assert_false(world->is_drained);
    client_write_c(&coming, "lo");
    WAIT_FOR(world, world->held_count == 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct client *client = i == 0 ? &waiting : &coming;
        world_answer_held(world, i);
        struct response response = client_response(client);
        assert_int_equal(response.status, 200);
        assert_false(response.keep_alive);
        client_assert_end(client);
        client_close(client);
    }
    client_close(&idle);
    WAIT_FOR(world, world->is_drained);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &world->address.any, world->address.size), -1);
    (void)close(fd);
}

static void cutting_closes_everything(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/a"));
    WAIT_FOR(world, world->held_count == 1);
    http_server_drain(world->server, world_note_drained, world);
    world_run_turn(world);
    world_run_turn(world);
    assert_false(world->is_drained);
    http_server_cut(world->server);
    assert_int_equal(world->abandoned, 1);
    WAIT_FOR(world, client_has_ended(&client));
    WAIT_FOR(world, world->is_drained);
    client_close(&client);
}

static void an_empty_server_drains_at_once(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    http_server_drain(world->server, world_note_drained, world);
    assert_false(world->is_drained);
    WAIT_FOR(world, world->is_drained);
}

/* --- addresses ----------------------------------------------------------- */

static void a_unix_socket_serves_too(void **state)
{
    struct world *world = WORLD(state);
    char host[64];
    (void)snprintf(world->directory, sizeof(world->directory),
                   "opq-test-XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    (void)snprintf(host, sizeof(host), "unix:%s/socket", world->directory);
    world->mode = MODE_PEER;
    world_start_at(world, str_from(host));
    struct client client = client_open(world);
    client_write_c(&client, GET("/a"));
    struct response response = client_response(&client);
    assert_int_equal(response.status, 200);
    assert_int_equal(strncmp(response.body, "unix:", 5), 0);
    client_close(&client);
}

static void the_peer_is_named(void **state)
{
    struct world *world = WORLD(state);
    struct net_address own;
    char text[NET_TEXT_MAX];
    world->mode = MODE_PEER;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/a"));
    assert_int_equal(net_bound(client.fd, &own), ERR_OK);
    net_format(&own, text);
    client_assert_response(&client, 200, text);
    client_close(&client);
}

static void ip6_serves_too(void **state)
{
    struct world *world = WORLD(state);
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct net_address address;
    assert_int_equal(net_parse(STR("::1"), 0, &address), ERR_OK);
    bool there = probe >= 0 && bind(probe, &address.any, address.size) == 0;
    (void)close(probe);
    if (!there) {
        skip();
    }
    world->mode = MODE_PEER;
    world_start_at(world, STR("::1"));
    struct client client = client_open(world);
    client_write_c(&client, GET("/a"));
    struct response response = client_response(&client);
    assert_int_equal(strncmp(response.body, "[::1]:", 6), 0);
    client_close(&client);
}

static const struct CMUnitTest tests[] = {
    WORLD_TEST(a_server_without_memory_is_not_made),
    WORLD_TEST(a_failed_allocation_costs_one_connection_at_most),
    WORLD_TEST(a_slow_head_is_cut),
    WORLD_TEST(a_head_that_trickles_is_cut_too),
    WORLD_TEST(a_body_that_stands_still_is_cut),
    WORLD_TEST(a_body_that_trickles_is_cut_too),
    WORLD_TEST(an_idle_connection_is_closed_silently),
    WORLD_TEST(a_waiting_request_has_no_deadline),
    WORLD_TEST(an_answer_that_is_not_taken_is_cut),
    WORLD_TEST(a_server_without_connections_sleeps),
    WORLD_TEST(a_client_that_vanishes_abandons_its_requests),
    WORLD_TEST(a_client_that_ends_its_side_is_answered),
    WORLD_TEST(a_connection_can_be_cut_instead_of_answered),
    WORLD_TEST(cutting_when_the_client_has_gone_does_nothing),
    WORLD_TEST(vanishing_with_half_a_request_leaves_nothing),
    WORLD_TEST(a_stream_is_sent_in_chunks),
    WORLD_TEST(a_stream_to_an_old_client_ends_with_the_connection),
    WORLD_TEST(a_stream_waits_for_the_answers_before_it),
    WORLD_TEST(a_stream_that_is_not_taken_is_busy_and_then_closed),
    WORLD_TEST(draining_answers_what_runs_and_closes_the_rest),
    WORLD_TEST(cutting_closes_everything),
    WORLD_TEST(an_empty_server_drains_at_once),
    WORLD_TEST(a_unix_socket_serves_too),
    WORLD_TEST(the_peer_is_named),
    WORLD_TEST(ip6_serves_too),
};

int main(void)
{
    return world_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
