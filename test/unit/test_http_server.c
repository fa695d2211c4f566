/* Tests of http/server over real sockets, on each back end of the loop:
 * requests, their order, 100 Continue, refusals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/http_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* --- requests ------------------------------------------------------------ */

static void a_request_is_answered(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/a?b=c"));
    struct response response = client_response(&client);
    assert_int_equal(response.status, 200);
    assert_string_equal(response.body, "GET /a b=c ");
    assert_true(response.keep_alive);
    assert_non_null(strstr(response.head, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(response.head, "\r\nServer: OPQ/test\r\n"));
    assert_non_null(strstr(response.head, "\r\nX-Odd: a  b\r\n"));
    assert_null(strstr(response.head, "Connection"));
    const char *date = strstr(response.head, "\r\nDate: ");
    assert_non_null(date);
    uint64_t at_s = 0;
    assert_int_equal(http_parse_date((struct str){date + 8, 29}, &at_s),
                     ERR_OK);
    assert_in_range(at_s, clock_wall_ms() / 1000 - 2, clock_wall_ms() / 1000);
    client_close(&client);
}

static void answered_clients_are_awaited_for_a_while(void **state)
{
    struct world *world = WORLD(state);
    const uint64_t long_ns = UINT64_C(60000000000);
    world_start(world);
    struct client first = client_open(world);
    struct client second = client_open(world);
    client_write_c(&first, GET("/a"));
    assert_int_equal(client_response(&first).status, 200);
    assert_int_equal(http_server_awaited(world->server, long_ns), 1);
    client_write_c(&second, GET("/b") GET("/c"));
    assert_int_equal(client_response(&second).status, 200);
    assert_int_equal(client_response(&second).status, 200);
    assert_int_equal(http_server_awaited(world->server, long_ns), 2);
    client_write_c(&first, "GET"); /* it has begun with the next */
    WAIT_FOR(world, http_server_awaited(world->server, long_ns) == 1);
    client_write_c(&first, " /d HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(client_response(&first).status, 200);
    assert_int_equal(http_server_awaited(world->server, long_ns), 2);
    client_close(&second);
    WAIT_FOR(world, http_server_awaited(world->server, long_ns) == 1);
    WAIT_FOR(world, http_server_awaited(world->server, 1000000) == 0);
    assert_int_equal(http_server_awaited(world->server, long_ns), 0);
    client_write_c(&first, "GET /e HTTP/1.1\r\nHost: a\r\n"
                           "Connection: close\r\n\r\n");
    assert_int_equal(client_response(&first).status, 200);
    assert_int_equal(http_server_awaited(world->server, long_ns), 0);
    client_close(&first);
}

static void requests_may_come_byte_by_byte(void **state)
{
    struct world *world = WORLD(state);
    const char *text = "\r\nPOST /a HTTP/1.1\r\nHost: a\r\n"
                       "Content-Length: 5\r\n\r\nhello"
                       "POST /b HTTP/1.1\r\nHost: a\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n"
                       "3\r\nhel\r\n2;x\r\nlo\r\n0\r\nT: u\r\n\r\n"
                       "GET /c HTTP/1.1\r\nHost: a\r\n\r\n";
    world_start(world);
    struct client client = client_open(world);
    for (size_t i = 0; i < strlen(text); i++) {
        client_write(&client, (struct str){text + i, 1});
        io_run_turn(world->io, 0);
        io_run_turn(world->io, 0);
    }
    client_assert_response(&client, 200, "POST /a  hello");
    client_assert_response(&client, 200, "POST /b  hello");
    client_assert_response(&client, 200, "GET /c  ");
    client_close(&client);
}

static void requests_cut_anywhere_are_answered_alike(void **state)
{
    struct world *world = WORLD(state);
    struct str text = STR("POST /a HTTP/1.1\r\nHost: a\r\n"
                          "Content-Length: 5\r\n\r\nhello"
                          "POST /b HTTP/1.1\r\nHost: a\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n"
                          "5\r\nhello\r\n0\r\n\r\n");
    world_start(world);
    struct client client = client_open(world);
    for (size_t cut = 0; cut <= text.size; cut++) {
        client_write(&client, str_cut(text, 0, cut));
        uint32_t before = world->requests;
        io_run_turn(world->io, 0);
        io_run_turn(world->io, 0);
        client_write(&client, str_cut(text, cut, text.size));
        client_assert_response(&client, 200, "POST /a  hello");
        client_assert_response(&client, 200, "POST /b  hello");
        assert_true(world->requests - before <= 2);
    }
    assert_int_equal(http_server_stats(world->server)->requests,
                     2 * (text.size + 1));
    client_close(&client);
}

static void a_body_at_the_limit_is_taken(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    size_t size = (size_t)world->options.body_size_max;
    char *body = malloc(size);
    assert_non_null(body);
    memset(body, 'b', size);
    struct client client = client_open(world);
    for (int chunked = 0; chunked < 2; chunked++) {
        client_write_c(&client, chunked ? "POST /a HTTP/1.1\r\nHost: a\r\n"
                                          "Transfer-Encoding: chunked\r\n\r\n"
                                          "200000\r\n"
                                        : "POST /a HTTP/1.1\r\nHost: a\r\n"
                                          "Content-Length: 2097152\r\n\r\n");
        client_write(&client, (struct str){body, size});
        client_write_c(&client, chunked ? "\r\n0\r\n\r\n" : "");
        struct response response = client_response(&client);
        assert_int_equal(response.status, 200);
        assert_int_equal(response.body_size, size + strlen("POST /a  "));
    }
    free(body);
    client_close(&client);
}

static void pipelined_requests_are_answered_in_their_order(void **state)
{
    struct world *world = WORLD(state);
    enum { COUNT = 200 };
    struct buf text = {0};
    uint32_t answered = 0;
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    for (int i = 0; i < COUNT; i++) {
        buf_append_format(&text, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
    }
    client_write(&client, buf_str(&text));
    while (answered < COUNT) {
        uint32_t left = COUNT - answered;
        uint32_t batch = left < HTTP_PIPELINE_MAX ? left : HTTP_PIPELINE_MAX;
        WAIT_FOR(world, world->held_count == answered + batch);
        /* No more than that, though all of them have come. */
        world_run_turn(world);
        assert_int_equal(world->held_count, answered + batch);
        for (uint32_t i = 0; i < batch; i++) {
            world_answer_held(world, answered + batch - 1 - i);
        }
        answered += batch;
    }
    for (int i = 0; i < COUNT; i++) {
        char path[16];
        (void)snprintf(path, sizeof(path), "/%d", i);
        client_assert_response(&client, 200, path);
    }
    buf_fini(&text);
    client_close(&client);
}

static void a_request_that_wants_none_behind_it_is_waited_for(void **state)
{
    struct world *world = WORLD(state);
    enum { COUNT = 5 };
    struct buf text = {0};
    world->mode = MODE_ALONE;
    world_start(world);
    struct client client = client_open(world);
    for (int i = 0; i < COUNT; i++) {
        buf_append_format(&text, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
    }
    client_write(&client, buf_str(&text));
    for (uint32_t i = 0; i < COUNT; i++) {
        char path[16];
        (void)snprintf(path, sizeof(path), "/%u", (unsigned)i);
        WAIT_FOR(world, world->held_count == i + 1);
        world_run_turn(world);
        assert_int_equal(world->held_count, i + 1);
        world_answer_held(world, i);
        client_assert_response(&client, 200, path);
    }
    buf_fini(&text);
    client_close(&client);
}

static void a_client_that_does_not_read_is_not_read_from(void **state)
{
    struct world *world = WORLD(state);
    enum { COUNT = 20000, REQUEST_SIZE = 4096 };
    struct buf text = {0};
    uint32_t written = 0;
    uint32_t stuck = 0; /* turns in a row without a byte written */
    size_t at = 0;
    /* So large that the sockets' buffers do not hold them all. */
    buf_append_format(&text, "GET / HTTP/1.1\r\nHost: a\r\nX: %0*d\r\n\r\n",
                      REQUEST_SIZE, 0);
    struct str request = buf_str(&text);
    world->mode = MODE_LARGE;
    world->large_size = 8192;
    world_start(world);
    struct client client = client_open(world);
    while (stuck < 50 && written < COUNT) {
        size_t size =
            client_try_write(&client, str_cut(request, at, request.size));
        stuck = size == 0 ? stuck + 1 : 0;
        at += size;
        written += at == request.size;
        at = at == request.size ? 0 : at;
        io_run_turn(world->io, 0);
    }
    assert_true(written < COUNT);
    assert_true(world->requests < written);
    for (uint32_t i = 0; i < written; i++) {
        struct response response = client_response(&client);
        assert_int_equal(response.body_size, world->large_size);
    }
    buf_fini(&text);
    client_close(&client);
}

static void head_and_bodiless_answers_have_no_body(void **state)
{
    struct world *world = WORLD(state);
    struct response response;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    WAIT_FOR(world, client_take(&client, true, &response));
    assert_non_null(strstr(response.head, "\r\nContent-Length: 9\r\n"));
    world->mode = MODE_RAW;
    client_write_c(&client, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    WAIT_FOR(world, client_take(&client, true, &response));
    assert_non_null(strstr(response.head, "\r\nContent-Length: 7\r\n"));
    world->mode = MODE_EMPTY;
    client_write_c(&client, GET("/a"));
    response = client_response(&client);
    assert_int_equal(response.status, 204);
    assert_null(strstr(response.head, "Content-Length"));
    world->mode = MODE_RAW;
    client_write_c(&client, GET("/a"));
    client_assert_response(&client, 201, "success");
    client_close(&client);
}

static void connections_end_when_they_are_told_to(void **state)
{
    struct world *world = WORLD(state);
    static const char *const texts[] = {
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/b"),
        "GET /a HTTP/1.0\r\n\r\n" GET("/b"),
    };
    world_start(world);
    for (int i = 0; i < 2; i++) {
        struct client client = client_open(world);
        client_write_c(&client, texts[i]);
        struct response response = client_response(&client);
        assert_string_equal(response.body, "GET /a  ");
        assert_non_null(strstr(response.head, "\r\nConnection: close\r\n"));
        client_assert_end(&client);
        client_close(&client);
    }
    assert_int_equal(world->requests, 2);
    struct client client = client_open(world);
    for (int i = 0; i < 2; i++) {
        client_write_c(&client,
                       "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        struct response response = client_response(&client);
        assert_non_null(
            strstr(response.head, "\r\nConnection: keep-alive\r\n"));
    }
    client_close(&client);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
}

/* --- 100 Continue -------------------------------------------------------- */

#define EXPECT_HEAD(fields)                                                    \
    "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" fields "\r\n"

static void a_client_that_waits_is_told_to_go_on(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, EXPECT_HEAD("Content-Length: 2\r\n"));
    struct response response = client_response(&client);
    assert_int_equal(response.status, 100);
    assert_string_equal(response.head, "HTTP/1.1 100 Continue\r\n\r\n");
    client_write_c(&client, "hi");
    client_assert_response(&client, 200, "POST /a  hi");
    /* Not when the body is there, wholly or in part, or is empty. */
    client_write_c(&client, EXPECT_HEAD("Content-Length: 2\r\n") "hi");
    client_assert_response(&client, 200, "POST /a  hi");
    client_write_c(&client, EXPECT_HEAD("Content-Length: 2\r\n") "h");
    world_run_turn(world);
    client_write_c(&client, "i");
    client_assert_response(&client, 200, "POST /a  hi");
    client_write_c(&client, EXPECT_HEAD("Content-Length: 0\r\n"));
    client_assert_response(&client, 200, "POST /a  ");
    client_close(&client);
}

static void going_on_waits_for_the_answers_before_it(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client,
                   GET("/first") EXPECT_HEAD("Transfer-Encoding: chunked\r\n"));
    WAIT_FOR(world, world->held_count == 1);
    world_run_turn(world);
    client_read(&client);
    assert_int_equal(client.in.size, 0);
    world_answer_held(world, 0);
    client_assert_response(&client, 200, "/first");
    assert_int_equal(client_response(&client).status, 100);
    client_write_c(&client, "0\r\n\r\n");
    WAIT_FOR(world, world->held_count == 2);
    world_answer_held(world, 1);
    client_assert_response(&client, 200, "/a");
    client_close(&client);
}

/* --- refusals ------------------------------------------------------------ */

struct refusal {
    int status;
    const char *text;
};

static const struct refusal refusals[] = {
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\nHost: a\n\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
          "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          "0x1\r\na\r\n0\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          "1\r\nab\r\n0\r\n\r\n"},
    {413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2097153\r\n\r\nabc"},
    {413, EXPECT_HEAD("Content-Length: 2097153\r\n")},
    {413, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          "200001\r\nabc"},
    {413, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          "1\r\na\r\n200000\r\nabc"},
    {417, "POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"},
    {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
};

static void refusals_are_problems_and_end_the_connection(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    size_t count = sizeof(refusals) / sizeof(refusals[0]);
    for (size_t i = 0; i < count; i++) {
        char wanted[32];
        struct client client = client_open(world);
        client_write_c(&client, GET("/a"));
        client_write_c(&client, refusals[i].text);
        client_write_c(&client, GET("/hidden"));
        client_assert_response(&client, 200, "GET /a  ");
        struct response response = client_response(&client);
        assert_int_equal(response.status, refusals[i].status);
        assert_non_null(strstr(response.head, "\r\nConnection: close\r\n"));
        assert_non_null(strstr(
            response.head, "\r\nContent-Type: application/problem+json\r\n"));
        (void)snprintf(wanted, sizeof(wanted), "\"status\":%d,",
                       refusals[i].status);
        assert_non_null(strstr(response.body, wanted));
        client_assert_end(&client);
        client_close(&client);
    }
    assert_int_equal(world->requests, count);
    assert_int_equal(http_server_stats(world->server)->refused, count);
}

static void a_refusal_waits_for_the_answers_before_it(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/first") "bad\r\n\r\n");
    WAIT_FOR(world, world->held_count == 1);
    world_run_turn(world);
    world_answer_held(world, 0);
    client_assert_response(&client, 200, "/first");
    assert_int_equal(client_response(&client).status, 400);
    client_assert_end(&client);
    client_close(&client);
}

static void a_refusal_arrives_while_the_client_still_sends(void **state)
{
    struct world *world = WORLD(state);
    char bytes[65536];
    memset(bytes, 'x', sizeof(bytes));
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, "POST / HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 100000000\r\n\r\n");
    for (int i = 0; i < 64; i++) {
        client_write(&client, (struct str){bytes, sizeof(bytes)});
    }
    assert_false(client.reset);
    assert_int_equal(client_response(&client).status, 413);
    client_assert_end(&client);
    client_close(&client);
}

static void a_request_that_ends_early_is_refused(void **state)
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
        assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
        assert_int_equal(client_response(&client).status, 400);
        client_assert_end(&client);
        client_close(&client);
    }
    assert_int_equal(world->requests, 0);
}

static void connections_past_the_cap_are_told_so(void **state)
{
    struct world *world = WORLD(state);
    world->options.connections_max = 1;
    world_start(world);
    struct client first = client_open(world);
    client_write_c(&first, GET("/a"));
    client_assert_response(&first, 200, "GET /a  ");
    struct client second = client_open(world);
    struct response response = client_response(&second);
    assert_int_equal(response.status, 503);
    assert_non_null(strstr(response.head, "\r\nRetry-After: 1\r\n"));
    client_assert_end(&second);
    client_close(&second);
    assert_int_equal(http_server_stats(world->server)->connections_refused, 1);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 1);
    client_close(&first);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
    struct client third = client_open(world);
    client_write_c(&third, GET("/b"));
    client_assert_response(&third, 200, "GET /b  ");
    client_close(&third);
}

static void bodies_past_the_memory_for_them_are_refused(void **state)
{
    struct world *world = WORLD(state);
    char bytes[65536];
    memset(bytes, 'x', sizeof(bytes));
    world->options.body_memory_max = 1024 * 1024;
    world_start(world);
    struct client clients[4];
    uint32_t refused = 0;
    for (int i = 0; i < 4; i++) {
        clients[i] = client_open(world);
        client_write_c(&clients[i], "POST / HTTP/1.1\r\nHost: a\r\n"
                                    "Content-Length: 600000\r\n\r\n");
        for (int j = 0; j < 6; j++) {
            client_write(&clients[i], (struct str){bytes, sizeof(bytes)});
        }
    }
    /* Together they are half as much again. */
    WAIT_FOR(world, http_server_stats(world->server)->refused > 0);
    assert_in_range(http_server_stats(world->server)->refused, 1, 3);
    for (int i = 0; i < 4; i++) {
        struct response response;
        world_run_turn(world);
        if (client_take(&clients[i], false, &response)) {
            assert_int_equal(response.status, 503);
            refused++;
        }
        client_close(&clients[i]);
    }
    assert_in_range(refused, 1, 3);
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
    /* What they held is free again. */
    struct client client = client_open(world);
    client_write_c(&client, "POST / HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 393216\r\n\r\n");
    for (int j = 0; j < 6; j++) {
        client_write(&client, (struct str){bytes, sizeof(bytes)});
    }
    assert_int_equal(client_response(&client).status, 200);
    client_close(&client);
}

static const struct CMUnitTest tests[] = {
    WORLD_TEST(a_request_is_answered),
    WORLD_TEST(answered_clients_are_awaited_for_a_while),
    WORLD_TEST(requests_may_come_byte_by_byte),
    WORLD_TEST(requests_cut_anywhere_are_answered_alike),
    WORLD_TEST(a_body_at_the_limit_is_taken),
    WORLD_TEST(pipelined_requests_are_answered_in_their_order),
    WORLD_TEST(a_request_that_wants_none_behind_it_is_waited_for),
    WORLD_TEST(a_client_that_does_not_read_is_not_read_from),
    WORLD_TEST(head_and_bodiless_answers_have_no_body),
    WORLD_TEST(connections_end_when_they_are_told_to),
    WORLD_TEST(a_client_that_waits_is_told_to_go_on),
    WORLD_TEST(going_on_waits_for_the_answers_before_it),
    WORLD_TEST(refusals_are_problems_and_end_the_connection),
    WORLD_TEST(a_refusal_waits_for_the_answers_before_it),
    WORLD_TEST(a_refusal_arrives_while_the_client_still_sends),
    WORLD_TEST(a_request_that_ends_early_is_refused),
    WORLD_TEST(connections_past_the_cap_are_told_so),
    WORLD_TEST(bodies_past_the_memory_for_them_are_refused),
};

int main(void)
{
    return world_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
