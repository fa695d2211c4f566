/* Tests of http/server with bodies that go to a sink.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/http_world.h"

#include "base/crc32c.h"
#include "base/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BUFFER = 1000,
    BODY_SIZE = 500 * 1000,
    PIECE = 7001,
    RECEIVED_MAX = 1024 * 1024, /* in 100 turns, while the sink is full */
};

/* A sink that takes `room` bytes until it is resumed. */
static struct {
    struct http_sink sink;
    size_t room;
    size_t size;
    uint32_t crc;
    uint32_t opens;
    uint32_t ends;
    uint32_t aborts;
    size_t refuse_at; /* 0: never */
    enum http_body choice;
} taker;

static size_t sink_write(struct http_sink *sink, struct str bytes)
{
    struct str taken = str_cut(bytes, 0, taker.room);
    taker.crc = crc32c(taker.crc, taken.data, taken.size);
    taker.size += taken.size;
    taker.room -= taken.size;
    if (taker.refuse_at > 0 && taker.size >= taker.refuse_at) {
        struct http_exchange *exchange = sink->exchange;
        http_sink_refuse(sink);
        http_exchange_answer(exchange, 507, NULL, 0, STR("no room"));
    }
    return taken.size;
}

static void sink_end(struct http_sink *sink)
{
    taker.ends++;
    http_exchange_answer(sink->exchange, 200, NULL, 0, STR("taken"));
}

static void sink_abort(struct http_sink *sink)
{
    (void)sink;
    taker.aborts++;
}

static enum http_body open_body(void *context,
                                struct http_exchange *exchange,
                                struct http_sink **out_sink)
{
    (void)context;
    taker.opens++;
    assert_int_equal(exchange->body.size, 0);
    assert_true(str_equal(exchange->head->path, STR("/large")));
    if (taker.choice == HTTP_BODY_ANSWERED) {
        http_exchange_answer(exchange, 400, NULL, 0, STR("not so"));
    }
    taker.sink.write = sink_write;
    taker.sink.end = sink_end;
    taker.sink.abort = sink_abort;
    *out_sink = &taker.sink;
    return taker.choice;
}

static struct world *begin(void **state)
{
    struct world *world = *state;
    memset(&taker, 0, sizeof(taker));
    taker.room = SIZE_MAX;
    taker.choice = HTTP_BODY_SINK;
    if (world != NULL) {
        world->options.body_buffer = BUFFER;
        world->options.body_gather_max = (uint64_t)2 * BUFFER;
        world->options.open_body = open_body;
    }
    return world;
}

#define BEGIN(state)                                                           \
    begin(state);                                                              \
    if (*(state) == NULL) {                                                    \
        skip();                                                                \
    }

static char *body_make(void)
{
    char *body = malloc(BODY_SIZE);
    assert_non_null(body);
    for (size_t i = 0; i < BODY_SIZE; i++) {
        body[i] = (char)(i * 13 + i / 251);
    }
    return body;
}

/* Append a chunked body, or one with a length, with its head. */
static void append_push(struct buf *to, const char *body, bool chunked)
{
    if (!chunked) {
        buf_append_format(to,
                          "POST /large HTTP/1.1\r\nHost: a\r\n"
                          "Content-Length: %d\r\n\r\n",
                          BODY_SIZE);
        buf_append(to, body, BODY_SIZE);
        return;
    }
    buf_append_c(to, "POST /large HTTP/1.1\r\nHost: a\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < BODY_SIZE; at += PIECE) {
        size_t size = BODY_SIZE - at < PIECE ? BODY_SIZE - at : PIECE;
        buf_append_format(to, "%zx\r\n", size);
        buf_append(to, body + at, size);
        buf_append_c(to, "\r\n");
    }
    buf_append_c(to, "0\r\n\r\n");
}

/* A sink with room, and one that must be resumed all the time. */
static void bodies_arrive(void **state, size_t room)
{
    struct world *world = BEGIN(state);
    world_start(world);
    char *body = body_make();
    struct client client = client_open(world);
    for (int chunked = 0; chunked < 2; chunked++) {
        struct buf text = {0};
        struct response response;
        append_push(&text, body, chunked != 0);
        buf_append_c(&text, GET("/next"));
        struct str left = buf_str(&text);
        memset(&taker.size, 0, sizeof(taker.size));
        taker.crc = 0;
        taker.room = room;
        while (!client_take(&client, false, &response)) {
            size_t written = client_try_write(&client, left);
            left = str_cut(left, written, left.size);
            world_run_turn(world);
            if (taker.room == 0) {
                taker.room = room;
                http_sink_resume(&taker.sink);
            }
            client_read(&client);
        }
        assert_int_equal(response.status, 200);
        assert_string_equal(response.body, "taken");
        assert_true(response.keep_alive);
        assert_int_equal(taker.size, BODY_SIZE);
        assert_int_equal(taker.crc, crc32c(0, body, BODY_SIZE));
        client_write(&client, left);
        client_assert_response(&client, 200, "GET /next  ");
        buf_fini(&text);
    }
    assert_int_equal(taker.ends, 2);
    assert_int_equal(taker.aborts, 0);
    client_close(&client);
    free(body);
}

static void bodies_arrive_whole(void **state)
{
    bodies_arrive(state, SIZE_MAX);
}

static void bodies_arrive_at_the_sinks_pace(void **state)
{
    bodies_arrive(state, 9973);
}

static void bodies_arrive_at_a_very_slow_pace(void **state)
{
    bodies_arrive(state, 2003);
}

static void small_bodies_are_gathered(void **state)
{
    struct world *world = BEGIN(state);
    world_start(world);
    struct client client = client_open(world);
    char text[BUFFER + 200];
    int head = snprintf(text, sizeof(text),
                        "POST /small HTTP/1.1\r\nHost: a\r\n"
                        "Content-Length: %d\r\n\r\n",
                        BUFFER);
    memset(text + head, 'x', BUFFER);
    client_write(&client, (struct str){text, (size_t)head + 10});
    world_run_turn(world);
    client_write(&client, (struct str){text + head + 10, BUFFER - 10});
    assert_int_equal(client_response(&client).status, 200);
    assert_int_equal(taker.opens, 0);
    client_close(&client);
}

static void nothing_more_is_read_while_the_sink_is_full(void **state)
{
    struct world *world = BEGIN(state);
    world_start(world);
    taker.room = 5000;
    char *body = body_make();
    struct client client = client_open(world);
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 500000\r\n\r\n");
    WAIT_FOR(world, taker.opens == 1);
    uint64_t before = io_stats(world->io)->received_bytes;
    for (int i = 0; i < 100; i++) {
        (void)client_try_write(&client, (struct str){body, BODY_SIZE});
        world_run_turn(world);
    }
    assert_int_equal(taker.room, 0);
    /* What was under way when it was held back, at most. */
    uint64_t received = io_stats(world->io)->received_bytes - before;
    assert_true(received < (uint64_t)RECEIVED_MAX);
    client_close(&client);
    free(body);
}

static void what_the_owner_gathers_has_a_limit_of_its_own(void **state)
{
    struct world *world = BEGIN(state);
    taker.choice = HTTP_BODY_MEMORY;
    world_start(world);
    struct client client = client_open(world);
    char body[3 * BUFFER];
    memset(body, 'x', sizeof(body));
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 1500\r\n\r\n");
    client_write(&client, (struct str){body, 1500});
    assert_int_equal(client_response(&client).status, 200);
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n5dc\r\n");
    client_write(&client, (struct str){body, 1500});
    client_write_c(&client, "\r\n0\r\n\r\n");
    assert_int_equal(client_response(&client).status, 200);
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n5dc\r\n");
    client_write(&client, (struct str){body, 1500});
    client_write_c(&client, "\r\n5dc\r\n");
    assert_int_equal(client_response(&client).status, 413);
    client_assert_end(&client);
    client_close(&client);
    client = client_open(world);
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 2001\r\n\r\n");
    struct response response = client_response(&client);
    assert_int_equal(response.status, 413);
    assert_non_null(strstr(response.body, "batch_size_max"));
    client_close(&client);
}

static void refusal_comes_before_the_body(void **state)
{
    struct world *world = BEGIN(state);
    taker.choice = HTTP_BODY_ANSWERED;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Expect: 100-continue\r\n"
                            "Content-Length: 500000\r\n\r\n");
    struct response response = client_response(&client);
    assert_int_equal(response.status, 400);
    assert_false(response.keep_alive);
    client_assert_end(&client);
    client_close(&client);
}

static void continue_is_sent_once_the_sink_is_open(void **state)
{
    struct world *world = BEGIN(state);
    world_start(world);
    char *body = body_make();
    struct client client = client_open(world);
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Expect: 100-continue\r\n"
                            "Content-Length: 500000\r\n\r\n");
    assert_int_equal(client_response(&client).status, 100);
    assert_int_equal(taker.opens, 1);
    client_write(&client, (struct str){body, BODY_SIZE});
    client_assert_response(&client, 200, "taken");
    /* Behind an answer that is not given yet. */
    world->mode = MODE_HOLD;
    client_write_c(&client, GET("/held"));
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Expect: 100-continue\r\n"
                            "Content-Length: 500000\r\n\r\n");
    WAIT_FOR(world, taker.opens == 2);
    world_answer_held(world, 0);
    client_assert_response(&client, 200, "/held");
    assert_int_equal(client_response(&client).status, 100);
    client_write(&client, (struct str){body, BODY_SIZE});
    client_assert_response(&client, 200, "taken");
    client_close(&client);
    free(body);
}

static void client_that_goes_aborts(void **state)
{
    struct world *world = BEGIN(state);
    world_start(world);
    char *body = body_make();
    for (int how = 0; how < 3; how++) {
        struct client client = client_open(world);
        client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                                "Content-Length: 500000\r\n\r\n");
        client_write(&client, (struct str){body, BODY_SIZE / 2});
        if (how == 0) {
            client_vanish(&client);
        } else if (how == 1) {
            client_close(&client);
        } else {
            http_server_cut(world->server);
            client_close(&client);
        }
        WAIT_FOR(world, taker.aborts == (uint32_t)how + 1);
        WAIT_FOR(world,
                 http_server_stats(world->server)->connections_open == 0);
    }
    assert_int_equal(taker.ends, 0);
    free(body);
}

static void slow_body_is_cut(void **state)
{
    struct world *world = BEGIN(state);
    world->options.body_timeout_ms = SHORT_MS;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 500000\r\n\r\nsome");
    struct response response = client_response(&client);
    assert_int_equal(response.status, 408);
    assert_false(response.keep_alive);
    client_assert_end(&client);
    assert_int_equal(taker.aborts, 1);
    client_close(&client);
}

static void slow_sink_is_not_the_clients_fault(void **state)
{
    struct world *world = BEGIN(state);
    world->options.body_timeout_ms = SHORT_MS;
    world->options.body_rate_min = 1000 * 1000;
    world_start(world);
    taker.room = 10;
    char *body = body_make();
    struct client client = client_open(world);
    client_write_c(&client, "POST /large HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 2000\r\n\r\n");
    WAIT_FOR(world, taker.opens == 1);
    client_write(&client, (struct str){body, 2000});
    uint64_t until_ms = io_now_ms(world->io) + (uint64_t)4 * SHORT_MS;
    WAIT_FOR(world, io_now_ms(world->io) >= until_ms);
    assert_int_equal(taker.aborts, 0);
    taker.room = SIZE_MAX;
    http_sink_resume(&taker.sink);
    client_assert_response(&client, 200, "taken");
    client_close(&client);
    free(body);
}

static void sink_may_refuse_in_the_middle(void **state)
{
    struct world *world = BEGIN(state);
    world_start(world);
    taker.refuse_at = 100000;
    char *body = body_make();
    for (int chunked = 0; chunked < 2; chunked++) {
        struct buf text = {0};
        struct response response;
        taker.size = 0;
        append_push(&text, body, chunked != 0);
        struct str left = buf_str(&text);
        struct client client = client_open(world);
        while (!client_take(&client, false, &response)) {
            size_t written = client_try_write(&client, left);
            left = str_cut(left, written, left.size);
            world_run_turn(world);
            client_read(&client);
        }
        assert_int_equal(response.status, 507);
        assert_false(response.keep_alive);
        client_close(&client);
        buf_fini(&text);
    }
    assert_int_equal(taker.aborts + taker.ends, 0);
    free(body);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        WORLD_TEST(bodies_arrive_whole),
        WORLD_TEST(bodies_arrive_at_the_sinks_pace),
        WORLD_TEST(bodies_arrive_at_a_very_slow_pace),
        WORLD_TEST(small_bodies_are_gathered),
        WORLD_TEST(nothing_more_is_read_while_the_sink_is_full),
        WORLD_TEST(what_the_owner_gathers_has_a_limit_of_its_own),
        WORLD_TEST(refusal_comes_before_the_body),
        WORLD_TEST(continue_is_sent_once_the_sink_is_open),
        WORLD_TEST(client_that_goes_aborts),
        WORLD_TEST(slow_body_is_cut),
        WORLD_TEST(slow_sink_is_not_the_clients_fault),
        WORLD_TEST(sink_may_refuse_in_the_middle),
    };
    return world_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
