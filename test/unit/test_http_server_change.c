/* Tests of http/server over real sockets, on each back end of the loop: bodies
 * that may not come, fields that are taken out, answers whose status is told,
 * and limits that change.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/http_world.h"

#include <stdio.h>
#include <string.h>

#define BODY(fields) "POST /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n"

static int told; /* the status that noted() got; -1: it was not called */
static uint32_t tellings;
static void (*world_handle)(void *context, struct http_exchange *exchange);

static struct str no_body(void)
{
    return (struct str){NULL, 0};
}

/* Who says X-No may not. */
static bool admit(void *context, struct http_exchange *exchange)
{
    (void)context;
    if (http_head_find(exchange->head, STR("x-no")) == NULL) {
        return true;
    }
    http_exchange_answer(exchange, 401, NULL, 0, no_body());
    return false;
}

static void note(struct http_exchange *exchange, int status)
{
    (void)exchange;
    told = status;
    tellings++;
}

static void handle_noting(void *context, struct http_exchange *exchange)
{
    exchange->noted = note;
    world_handle(context, exchange);
}

/* Take the fields named X-No out, and answer with the names that are left. */
static void handle_forgetting(void *context, struct http_exchange *exchange)
{
    const struct http_head *head = exchange->head;
    struct buf names = {0};

    (void)context;
    for (uint32_t i = 0; i < head->header_count;) {
        if (str_equal_nocase(head->headers[i].name, STR("x-no"))) {
            http_exchange_forget_header(exchange, i);
            continue;
        }
        buf_append_str(&names, head->headers[i].name);
        buf_append_c(&names, http_head_has_read(head, i) ? "! " : " ");
        i++;
    }
    http_exchange_answer(exchange, 200, NULL, 0, buf_str(&names));
    buf_fini(&names);
}

static void a_body_that_may_not_come_is_refused_at_once(void **state)
{
    static const char *const requests[] = {
        BODY("X-No: 1\r\nContent-Length: 5\r\n"),
        BODY("X-No: 1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"),
        BODY("X-No: 1\r\nTransfer-Encoding: chunked\r\n"),
    };
    struct world *world = WORLD(state);

    world->options.admit = admit;
    world_start(world);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct client client = client_open(world);
        client_write_c(&client, requests[i]);
        struct response response = client_response(&client);
        assert_int_equal(response.status, 401);
        assert_false(response.keep_alive);
        WAIT_FOR(world, client_has_ended(&client));
        client_close(&client);
    }
    assert_int_equal(world->requests, 0);
}

static void a_body_that_may_come_is_taken(void **state)
{
    struct world *world = WORLD(state);

    world->options.admit = admit;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, BODY("Content-Length: 5\r\n"
                                 "Expect: 100-continue\r\n"));
    assert_int_equal(client_response(&client).status, 100);
    client_write_c(&client, "hello");
    client_assert_response(&client, 200, "POST /a  hello");
    /* Behind another that is not answered yet. */
    world->mode = MODE_HOLD;
    client_write_c(&client, GET("/h") BODY("Content-Length: 5\r\n") "he");
    WAIT_FOR(world, world->held_count == 1);
    world->mode = MODE_ECHO;
    client_write_c(&client, "llo");
    world_answer_held(world, 0);
    assert_int_equal(client_response(&client).status, 200);
    client_assert_response(&client, 200, "POST /a  hello");
    client_close(&client);
}

static void fields_are_taken_out(void **state)
{
    struct world *world = WORLD(state);
    struct buf many = {0};

    world->options.handle = handle_forgetting;
    world_start(world);
    struct client client = client_open(world);
    client_write_c(&client, "GET /a HTTP/1.1\r\nX-No: 1\r\nHost: a\r\n"
                            "X-A: 1\r\nx-no: 2\r\nX-NO: 3\r\n"
                            "Content-Type: t\r\nX-No: 4\r\n\r\n");
    client_assert_response(&client, 200, "Host! X-A Content-Type! ");
    /* Those behind the 64th are not known to be read. */
    buf_append_c(&many, "GET /a HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 62; i++) {
        buf_append_c(&many, "X-No: 1\r\n");
    }
    buf_append_c(&many, "Content-Type: t\r\nX-No: 1\r\nX-B: 1\r\n\r\n");
    client_write(&client, buf_str(&many));
    buf_fini(&many);
    client_assert_response(&client, 200, "Host! Content-Type! X-B ");
    client_close(&client);
}

static void the_status_of_an_answer_is_told_once(void **state)
{
    static const struct {
        enum mode mode;
        int status;
    } cases[] = {{MODE_ECHO, 200}, {MODE_RAW, 201}, {MODE_EMPTY, 204}};
    struct world *world = WORLD(state);

    world_handle = world->options.handle;
    world->options.handle = handle_noting;
    world_start(world);
    struct client client = client_open(world);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        told = -1;
        tellings = 0;
        world->mode = cases[i].mode;
        client_write_c(&client, GET("/a"));
        int status = client_response(&client).status;
        assert_int_equal(told, status);
        assert_int_equal(told, cases[i].status);
        assert_int_equal(tellings, 1);
    }
    client_close(&client);
}

static void of_an_exchange_without_an_answer_nothing_is_told(void **state)
{
    struct world *world = WORLD(state);

    world_handle = world->options.handle;
    world->options.handle = handle_noting;
    world_start(world);
    struct client client = client_open(world);
    told = -1;
    tellings = 0;
    world->mode = MODE_HOLD;
    client_write_c(&client, GET("/a"));
    WAIT_FOR(world, world->held_count == 1);
    assert_int_equal(told, -1);
    http_exchange_cut(world->held[0], false);
    assert_int_equal(told, 0);
    assert_int_equal(tellings, 1);
    world->held_count = 0;
    client_close(&client);
}

static void limits_change(void **state)
{
    struct world *world = WORLD(state);
    struct http_server_options options;

    world_start(world);
    struct client client = client_open(world);
    struct client half = client_open(world);
    client_write_c(&client, BODY("Content-Length: 5\r\n") "hello");
    client_assert_response(&client, 200, "POST /a  hello");
    client_write_c(&half, BODY("X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"
                               "Content-Length: 5\r\n") "he");
    io_run_turn(world->io, 0);
    io_run_turn(world->io, 0);
    options = *http_server_limits(world->server);
    options.body_size_max = 4;
    options.limits.head_size_max = 64;
    http_server_set_limits(world->server, &options);
    assert_int_equal(http_server_limits(world->server)->body_size_max, 4);
    client_write_c(&client, BODY("Content-Length: 5\r\n") "hello");
    assert_int_equal(client_response(&client).status, 413);
    client_close(&client);
    /* What had begun goes on, though its head is too large by now. */
    client_write_c(&half, "llo");
    client_assert_response(&half, 200, "POST /a  hello");
    client_write_c(&half, "GET /b HTTP/1.1\r\nHost: a\r\nX-Long: aaaaaaaaaaaa"
                          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n");
    assert_int_equal(client_response(&half).status, 431);
    client_close(&half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_body_that_may_not_come_is_refused_at_once),
        WORLD_TEST(a_body_that_may_come_is_taken),
        WORLD_TEST(fields_are_taken_out),
        WORLD_TEST(the_status_of_an_answer_is_told_once),
        WORLD_TEST(of_an_exchange_without_an_answer_nothing_is_told),
        WORLD_TEST(limits_change),
    };

    return world_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
