/* Tests of connections that go from one http/server to its successor, over
 * real sockets, on each back end: clients must not notice.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/http_world.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEPT_MAX = 64, LARGE_SIZE = 12 * 1024 * 1024 };

/* What was given, as another process would have it. */
struct kept {
    struct http_handed handed;
    char *bytes; /* owned: of all its strings */
};

static struct kept kept[KEPT_MAX];
static uint32_t kept_count;
static bool handed_all;

static struct str keep(struct kept *to, size_t *at, struct str bytes)
{
    struct str copy = {to->bytes + *at, bytes.size};
    if (bytes.size > 0) {
        memcpy(to->bytes + *at, bytes.data, bytes.size);
    }
    *at += bytes.size;
    return copy;
}

static void give(void *context, const struct http_handed *handed)
{
    (void)context;
    assert_true(kept_count < KEPT_MAX);
    struct kept *to = &kept[kept_count++];
    size_t at = 0;
    to->handed = *handed;
    to->bytes = malloc(handed->unsent[0].size + handed->unsent[1].size +
                       handed->request.size + handed->input.size + 1);
    assert_non_null(to->bytes);
    to->handed.unsent[0] = keep(to, &at, handed->unsent[0]);
    to->handed.unsent[1] = keep(to, &at, handed->unsent[1]);
    to->handed.request = keep(to, &at, handed->request);
    to->handed.input = keep(to, &at, handed->input);
}

static void note_all(void *context)
{
    (void)context;
    handed_all = true;
}

static void begin(struct world *world)
{
    kept_count = 0;
    handed_all = false;
    http_server_hand_over(world->server, give, note_all, world);
}

/* The other half: a new server goes on with what the old one gave. */
static void finish(struct world *world)
{
    WAIT_FOR(world, handed_all);
    assert_int_equal(http_server_stats(world->server)->connections_open, 0);
    http_server_destroy(world->server);
    assert_int_equal(http_server_create(&world->options, &world->server),
                     ERR_OK);
    for (uint32_t i = 0; i < kept_count; i++) {
        assert_int_equal(http_server_adopt(world->server, &kept[i].handed),
                         ERR_OK);
        free(kept[i].bytes);
    }
}

static void swap(struct world *world)
{
    begin(world);
    finish(world);
}

/* A client that the server knows of. */
static struct client enter(struct world *world)
{
    uint64_t total = http_server_stats(world->server)->connections_total;
    struct client client = client_open(world);
    WAIT_FOR(world,
             http_server_stats(world->server)->connections_total > total);
    return client;
}

static void idle_connections_go_on(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    struct client clients[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = enter(world);
        client_write_c(&clients[i], GET("/1"));
        client_assert_response(&clients[i], 200, "GET /1  ");
    }
    for (int round = 0; round < 3; round++) {
        swap(world);
        assert_int_equal(kept_count, 3);
        for (int i = 0; i < 3; i++) {
            client_write_c(&clients[i], GET("/2"));
            client_assert_response(&clients[i], 200, "GET /2  ");
        }
    }
    for (int i = 0; i < 3; i++) {
        client_close(&clients[i]);
    }
}

/* Requests of every form, pipelined, with the swap after each byte. */
static void no_byte_is_lost_wherever_it_happens(void **state)
{
    struct world *world = WORLD(state);
    static const char text[] =
        GET("/a") "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
                  "hello"
                  "POST /c HTTP/1.1\r\nHost: a\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n" GET("/d");
    static const char *const answers[] = {"GET /a  ", "POST /b  hello",
                                          "POST /c  abcdefg", "GET /d  "};
    world_start(world);
    struct client client = enter(world);
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        client_write(&client, (struct str){text, cut});
        for (size_t turn = 0; turn < cut % 3; turn++) {
            io_run_turn(world->io, 0); /* what came may be taken, or not */
        }
        swap(world);
        client_write_c(&client, text + cut);
        for (int i = 0; i < 4; i++) {
            client_assert_response(&client, 200, answers[i]);
        }
    }
    assert_int_equal(world->requests, 4 * sizeof(text));
    client_close(&client);
}

static void what_runs_is_answered_first(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_HOLD;
    world_start(world);
    struct client client = enter(world);
    client_write_c(&client, GET("/1") GET("/2"));
    WAIT_FOR(world, world->held_count == 2);
    begin(world);
    client_write_c(&client, GET("/3")); /* is for the successor */
    for (int i = 0; i < 5; i++) {
        world_run_turn(world);
    }
    assert_false(handed_all);
    assert_int_equal(world->abandoned, 2); /* waits are ended */
    world_answer_held(world, 1);
    world_answer_held(world, 0);
    finish(world);
    assert_int_equal(world->held_count, 3);
    world_answer_held(world, 2);
    client_assert_response(&client, 200, "/1");
    client_assert_response(&client, 200, "/2");
    client_assert_response(&client, 200, "/3");
    client_close(&client);
}

static void an_answer_half_taken_goes_on(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_LARGE;
    world->large_size = LARGE_SIZE;
    world_start(world);
    struct client client = enter(world);
    for (int round = 0; round < 4; round++) {
        client_write_c(&client, GET("/l"));
        for (int i = 0; i < 3 * round; i++) {
            world_run_turn(world);
        }
        swap(world);
        swap(world); /* unsent as it is */
        struct response response = client_response(&client);
        assert_int_equal(response.status, 200);
        assert_int_equal(response.body_size, LARGE_SIZE);
        assert_true(response.keep_alive);
    }
    client_close(&client);
}

static void a_connection_that_ends_ends_behind_its_answer(void **state)
{
    struct world *world = WORLD(state);
    world->mode = MODE_LARGE;
    world->large_size = LARGE_SIZE;
    world_start(world);
    struct client client = enter(world);
    client_write_c(&client, "GET / HTTP/1.1\r\nHost: a\r\n"
                            "Connection: close\r\n\r\n");
    WAIT_FOR(world, world->requests == 1);
    swap(world);
    struct response response = client_response(&client);
    assert_int_equal(response.body_size, LARGE_SIZE);
    client_assert_end(&client);
    client_close(&client);
}

static void clients_that_come_meanwhile_are_given_too(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    struct client early = enter(world);
    struct client late = client_open(world); /* in the backlog, maybe */
    client_write_c(&late, GET("/late"));
    swap(world);
    client_write_c(&early, GET("/early"));
    client_assert_response(&early, 200, "GET /early  ");
    client_close(&early);
    if (kept_count == 2) {
        client_assert_response(&late, 200, "GET /late  ");
    }
    client_close(&late);
}

/* What a request has so far counts in the successor, too. */
static void memory_of_bodies_has_its_bound_behind_it(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    struct client client = enter(world);
    client_write_c(&client, "POST /b HTTP/1.1\r\nHost: a\r\n"
                            "Content-Length: 1000\r\n\r\nhello");
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 1);
    for (int i = 0; i < 5; i++) {
        world_run_turn(world);
    }
    world->options.body_memory_max = 20;
    swap(world);
    assert_int_equal(client_response(&client).status, 503);
    client_assert_end(&client);
    client_close(&client);
    assert_int_equal(world->requests, 0);
}

#define LENGTH_HEAD "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"
#define CHUNKED_HEAD                                                           \
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

/* A request with three bytes of its body. */
#define PART(head)                                                             \
    .request = {head "abc", sizeof(head "abc") - 1},                           \
    .head_size = sizeof(head) - 1, .body_size = 3

static void bodies_that_disagree_with_their_head_are_refused(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    static const struct http_handed bad[] = {
        {PART(LENGTH_HEAD)},
        {PART(LENGTH_HEAD), .body_left = 4},
        {PART(LENGTH_HEAD), .body_left = 6},
        {PART(LENGTH_HEAD), .body_left = UINT64_MAX},
        {PART(LENGTH_HEAD), .body_left = 5, .chunks = true},
        {PART(CHUNKED_HEAD), .body_left = 5},
        {PART(CHUNKED_HEAD), .chunks = true, .body_left = 5},
        {PART(CHUNKED_HEAD), .chunks = true, .chunked.state = 4},
        {PART(CHUNKED_HEAD), .chunks = true, .chunked.state = 12},
        {PART(CHUNKED_HEAD), .chunks = true, .chunked.state = UINT32_MAX},
        {PART(CHUNKED_HEAD), .chunks = true, .chunked.left = 5},
        {PART(CHUNKED_HEAD), .chunks = true, .chunked.overhead = UINT32_MAX},
        {PART(CHUNKED_HEAD), .chunks = true,
         .chunked = {.left = UINT64_MAX, .state = 4}},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_handed handed = bad[i];
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        handed.fd = ends[0];
        assert_int_equal(http_server_adopt(world->server, &handed),
                         ERR_INVALID);
        (void)close(ends[1]);
    }
}

static void what_cannot_be_is_refused(void **state)
{
    struct world *world = WORLD(state);
    world_start(world);
    static const struct http_handed bad[] = {
        {.request = {"x", 1}},
        {.request = {"x", 1}, .head_size = 1},
        {.request = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27}, .head_size = 28},
        {.request = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27}, .head_size = 26},
        {.request = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27},
         .head_size = 27,
         .chunks = true},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_handed handed = bad[i];
        int ends[2];
        char byte;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        handed.fd = ends[0];
        assert_int_equal(http_server_adopt(world->server, &handed),
                         ERR_INVALID);
        assert_int_equal(read(ends[1], &byte, 1), 0); /* it is closed */
        (void)close(ends[1]);
    }
}

static const struct CMUnitTest tests[] = {
    WORLD_TEST(idle_connections_go_on),
    WORLD_TEST(no_byte_is_lost_wherever_it_happens),
    WORLD_TEST(what_runs_is_answered_first),
    WORLD_TEST(an_answer_half_taken_goes_on),
    WORLD_TEST(a_connection_that_ends_ends_behind_its_answer),
    WORLD_TEST(clients_that_come_meanwhile_are_given_too),
    WORLD_TEST(memory_of_bodies_has_its_bound_behind_it),
    WORLD_TEST(bodies_that_disagree_with_their_head_are_refused),
    WORLD_TEST(what_cannot_be_is_refused),
};

int main(void)
{
    return world_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
