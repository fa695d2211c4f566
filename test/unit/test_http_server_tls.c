/* Tests of http/server over TLS, both sides in one thread, on each back end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/tls.h"
#include "lib/http_world.h"
#include "lib/peer.h"

#include <stdio.h>
#include <unistd.h>

enum { PIECE_SIZE = 4096 };

/* The n-th allocation of the server from now on fails; 0: none. OpenSSL's own
 * are not counted, since it is a shared library. */
static int fail_at;
static bool in_server;

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool fails_now(void)
{
    return in_server && fail_at > 0 && --fail_at == 0;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails_now() ? NULL : __real_realloc(memory, size);
}

/* Files of a certificate, and a server that has them. */
struct scene {
    struct world *world;
    struct peer_ca ca;
    char certificate[64];
    char key[64];
    struct tls_context *context; /* of clients */
};

/* A session of a client: decrypted bytes are in `client.in`. */
struct session {
    struct client client; /* the socket; nothing else reads it */
    struct tls *tls;
    bool shaken;
    bool noted; /* close_notify came */
};

static const struct peer_certificate right = {
    .names = "IP:127.0.0.1",
    .days_from = -1,
    .days_until = 5,
};

static void scene_files(struct scene *scene, struct world *world)
{
    scene->world = world;
    peer_ca_init(&scene->ca);
    peer_tls_files(&scene->ca, &right, scene->certificate, scene->key);
    assert_int_equal(tls_context_create_client(scene->ca.path, &scene->context),
                     ERR_OK);
    world->options.certificate_file = scene->certificate;
    world->options.key_file = scene->key;
}

static void scene_start(struct scene *scene, struct world *world)
{
    int fd = -1;
    scene_files(scene, world);
    assert_int_equal(net_parse(STR("127.0.0.1"), 0, &world->address), ERR_OK);
    assert_int_equal(net_listen(&world->address, false, &fd), ERR_OK);
    assert_int_equal(net_bound(fd, &world->address), ERR_OK);
    assert_int_equal(http_server_create(&world->options, &world->server),
                     ERR_OK);
    assert_int_equal(http_server_listen_tls(world->server, fd), ERR_OK);
}

static void scene_end(struct scene *scene)
{
    tls_context_destroy(scene->context);
    (void)unlink(scene->certificate);
    (void)unlink(scene->key);
    peer_ca_fini(&scene->ca);
}

static struct session session_open(struct scene *scene)
{
    struct session session = {.client = client_open(scene->world)};
    assert_int_equal(
        tls_create_client(scene->context, STR("127.0.0.1"), NULL, &session.tls),
        ERR_OK);
    return session;
}

static void session_close(struct session *session)
{
    tls_destroy(session->tls);
    client_close(&session->client);
}

/* Move what can be moved between the socket and the session, and run a turn. */
static void session_pump(struct session *session)
{
    struct client wire = {.world = session->client.world,
                          .fd = session->client.fd};
    char bytes[PIECE_SIZE];
    size_t size = 0;
    client_read(&wire);
    session->client.ended = session->client.ended || wire.ended;
    session->client.reset = session->client.reset || wire.reset;
    enum err err = ERR_AGAIN;
    size_t used = 0;
    do {
        used += tls_feed(session->tls,
                         str_cut(buf_str(&wire.in), used, wire.in.size));
        if (!session->shaken) {
            err = tls_handshake(session->tls);
            session->shaken = err == ERR_OK;
        }
        while (session->shaken &&
               (err = tls_read(session->tls, bytes, sizeof(bytes), &size)) ==
                   ERR_OK) {
            buf_append(&session->client.in, bytes, size);
        }
        session->noted = session->noted || err == ERR_CLOSED;
    } while (used < wire.in.size && err == ERR_AGAIN);
    buf_fini(&wire.in);
    struct str output = tls_output(session->tls);
    if (output.size > 0) {
        tls_output_sent(session->tls,
                        client_try_write(&session->client, output));
    }
    in_server = true;
    world_run_turn(session->client.world);
    in_server = false;
}

#define PUMP_UNTIL(session, condition)                                         \
    do {                                                                       \
        uint64_t until_ns =                                                    \
            clock_monotonic_ns() + WAIT_MAX_MS * UINT64_C(1000000);            \
        while (!(condition)) {                                                 \
            assert_true(clock_monotonic_ns() < until_ns);                      \
            session_pump(session);                                             \
        }                                                                      \
    } while (false)

static void session_write(struct session *session, struct str bytes)
{
    PUMP_UNTIL(session, session->shaken);
    while (bytes.size > 0) {
        size_t size = 0;
        enum err err = tls_write(session->tls, bytes, &size);
        assert_true(err == ERR_OK || err == ERR_AGAIN);
        bytes = str_cut(bytes, err == ERR_OK ? size : 0, bytes.size);
        session_pump(session);
    }
}

/* How often `text` is in what was decrypted. */
static uint32_t count_of(const struct session *session, const char *text)
{
    const char *at = session->client.in.data;
    size_t left = session->client.in.size;
    uint32_t count = 0;
    while (left > 0) {
        const char *found = memmem(at, left, text, strlen(text));
        if (found == NULL) {
            return count;
        }
        count++;
        left -= (size_t)(found + 1 - at);
        at = found + 1;
    }
    return count;
}

/* --- tests ---------------------------------------------------------------- */

static void answers_leave_in_the_order_of_requests(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    world->mode = MODE_HOLD;
    scene_start(&scene, world);
    struct session session = session_open(&scene);
    session_write(&session, STR(GET("/first") GET("/second")));
    PUMP_UNTIL(&session, world->held_count == 2);
    world_answer_held(world, 1);
    world_answer_held(world, 0);
    PUMP_UNTIL(&session, count_of(&session, "/second") == 1);
    const char *first =
        memmem(session.client.in.data, session.client.in.size, "/first", 6);
    const char *second =
        memmem(session.client.in.data, session.client.in.size, "/second", 7);
    assert_non_null(first);
    assert_true(first < second);
    session_close(&session);
    scene_end(&scene);
}

static void a_client_that_asks_too_much_waits_and_goes_on(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    const uint32_t count = 3 * HTTP_PIPELINE_MAX;
    world->mode = MODE_HOLD;
    scene_start(&scene, world);
    struct session session = session_open(&scene);
    for (uint32_t i = 0; i < count; i++) {
        session_write(&session, STR(GET("/a")));
    }
    PUMP_UNTIL(&session, world->held_count == HTTP_PIPELINE_MAX);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(world->held_count <= i + HTTP_PIPELINE_MAX);
        PUMP_UNTIL(&session, world->held_count > i);
        world_answer_held(world, i);
    }
    PUMP_UNTIL(&session, count_of(&session, "HTTP/1.1 200") == count);
    session_close(&session);
    scene_end(&scene);
}

/* What was asked before the end is answered, though it had to wait. */
static void an_end_behind_requests_that_wait_is_no_early_end(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    const uint32_t count = HTTP_PIPELINE_MAX + 3;
    world->mode = MODE_HOLD;
    scene_start(&scene, world);
    struct session session = session_open(&scene);
    PUMP_UNTIL(&session, session.shaken);
    for (uint32_t i = 0; i < count; i++) {
        size_t size = 0;
        assert_int_equal(tls_write(session.tls, STR(GET("/a")), &size), ERR_OK);
    }
    tls_end(session.tls); /* it comes with them */
    PUMP_UNTIL(&session, world->held_count == HTTP_PIPELINE_MAX);
    for (uint32_t i = 0; i < count; i++) {
        PUMP_UNTIL(&session, world->held_count > i);
        world_answer_held(world, i);
    }
    PUMP_UNTIL(&session, session.noted && session.client.ended);
    assert_int_equal(count_of(&session, "HTTP/1.1 200"), count);
    assert_int_equal(count_of(&session, "HTTP/1.1 400"), 0);
    session_close(&session);
    scene_end(&scene);
}

static void an_answer_larger_than_all_rings_is_whole(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    world->mode = MODE_LARGE;
    world->large_size = 1000000;
    scene_start(&scene, world);
    struct session session = session_open(&scene);
    session_write(&session, STR(GET("/")));
    PUMP_UNTIL(&session, session.client.in.size >= world->large_size);
    PUMP_UNTIL(&session, count_of(&session, "x") >= world->large_size);
    session_close(&session);
    scene_end(&scene);
}

static void both_ends_are_said(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    scene_start(&scene, world);
    struct session one = session_open(&scene);
    session_write(&one, STR("GET / HTTP/1.1\r\nHost: a\r\n"
                            "Connection: close\r\n\r\n"));
    PUMP_UNTIL(&one, one.noted);
    assert_int_equal(count_of(&one, "HTTP/1.1 200"), 1);
    session_close(&one);
    struct session two = session_open(&scene);
    PUMP_UNTIL(&two, two.shaken);
    tls_end(two.tls);
    PUMP_UNTIL(&two, two.noted && two.client.ended);
    session_close(&two);
    scene_end(&scene);
}

static void a_handshake_that_does_not_end_is_cut(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    world->options.head_timeout_ms = SHORT_MS;
    scene_start(&scene, world);
    struct client silent = client_open(world);
    struct client half = client_open(world);
    client_write_c(&half, "\x16\x03\x01");
    WAIT_FOR(world, client_has_ended(&silent) && client_has_ended(&half));
    assert_int_equal(silent.in.size + half.in.size, 0);
    assert_int_equal(http_server_stats(world->server)->timeouts, 2);
    client_close(&silent);
    client_close(&half);
    scene_end(&scene);
}

static void a_connection_past_the_cap_is_cut(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    world->options.connections_max = 1;
    scene_start(&scene, world);
    struct client silent = client_open(world);
    struct client more = client_open(world);
    WAIT_FOR(world, client_has_ended(&more));
    assert_int_equal(http_server_stats(world->server)->connections_refused, 1);
    assert_false(client_has_ended(&silent));
    client_close(&more);
    client_close(&silent);
    scene_end(&scene);
}

static void plain_http_is_answered_plainly(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    scene_start(&scene, world);
    struct client client = client_open(world);
    client_write_c(&client, GET("/"));
    assert_int_equal(client_response(&client).status, 400);
    client_assert_end(&client);
    assert_int_equal(world->requests, 0);
    client_close(&client);
    scene_end(&scene);
}

static void a_client_that_takes_no_answers_is_cut(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    world->mode = MODE_LARGE;
    world->large_size = 16 * 1024 * 1024;
    world->options.send_timeout_ms = SHORT_MS;
    scene_start(&scene, world);
    struct session session = session_open(&scene);
    session_write(&session, STR(GET("/")));
    WAIT_FOR(world, http_server_stats(world->server)->connections_open == 0);
    assert_int_equal(http_server_stats(world->server)->timeouts, 1);
    session_close(&session);
    scene_end(&scene);
}

static void files_that_do_not_fit_make_no_server(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    struct http_server *server = NULL;
    scene_files(&scene, world);
    world->options.key_file = scene.certificate;
    assert_int_equal(http_server_create(&world->options, &server), ERR_INVALID);
    world->options.key_file = "/nowhere/key.pem";
    assert_int_equal(http_server_create(&world->options, &server),
                     ERR_NOT_FOUND);
    assert_null(server);
    scene_end(&scene);
}

/* Send a piece of the request each time, once there is a session. Returns
 * whether it was answered, or the connection ended. */
static bool ask_by_pieces(struct session *session, struct str *request)
{
    if (session->shaken && request->size > 0) {
        size_t size = 0;
        enum err err = tls_write(session->tls, str_cut(*request, 0, 30), &size);
        assert_true(err == ERR_OK || err == ERR_AGAIN);
        *request = str_cut(*request, size, request->size);
    }
    return session->client.ended || session->client.reset ||
           count_of(session, "\r\n\r\n") > 0;
}

static void a_failed_allocation_costs_one_connection_at_most(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    const struct str request = STR("POST / HTTP/1.1\r\nHost: a\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n"
                                   "5\r\nhello\r\n0\r\n\r\n");
    int failed = 0;
    bool all_done = false;
    world->mode = MODE_EMPTY;
    scene_start(&scene, world);
    for (int i = 1; i < 100 && !all_done; i++) {
        struct str rest = request;
        struct session session = session_open(&scene);
        fail_at = i;
        PUMP_UNTIL(&session, ask_by_pieces(&session, &rest));
        bool good = count_of(&session, "HTTP/1.1 204") == 1;
        assert_true(good || count_of(&session, "HTTP/1.1 503") == 1 ||
                    session.client.in.size == 0);
        failed += !good;
        all_done = fail_at > 0 && good;
        fail_at = 0;
        session_close(&session);
        session = session_open(&scene);
        session_write(&session, request);
        PUMP_UNTIL(&session, count_of(&session, "HTTP/1.1 204") == 1);
        session_close(&session);
        WAIT_FOR(world,
                 http_server_stats(world->server)->connections_open == 0);
    }
    assert_true(failed > 0);
    assert_true(all_done);
    scene_end(&scene);
}

static void a_server_without_memory_is_not_made(void **state)
{
    struct world *world = WORLD(state);
    struct scene scene = {0};
    struct http_server *server = NULL;
    scene_files(&scene, world);
    in_server = true;
    fail_at = 1;
    assert_int_equal(http_server_create(&world->options, &server), ERR_NOMEM);
    assert_int_equal(fail_at, 0);
    assert_null(server);
    assert_int_equal(http_server_create(&world->options, &server), ERR_OK);
    fail_at = 1;
    assert_int_equal(http_server_listen_tls(server, -1), ERR_NOMEM);
    assert_int_equal(fail_at, 0);
    in_server = false;
    http_server_destroy(server);
    scene_end(&scene);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        WORLD_TEST(answers_leave_in_the_order_of_requests),
        WORLD_TEST(a_client_that_asks_too_much_waits_and_goes_on),
        WORLD_TEST(an_end_behind_requests_that_wait_is_no_early_end),
        WORLD_TEST(an_answer_larger_than_all_rings_is_whole),
        WORLD_TEST(both_ends_are_said),
        WORLD_TEST(a_handshake_that_does_not_end_is_cut),
        WORLD_TEST(a_connection_past_the_cap_is_cut),
        WORLD_TEST(plain_http_is_answered_plainly),
        WORLD_TEST(a_client_that_takes_no_answers_is_cut),
        WORLD_TEST(files_that_do_not_fit_make_no_server),
        WORLD_TEST(a_server_without_memory_is_not_made),
        WORLD_TEST(a_failed_allocation_costs_one_connection_at_most),
    };
    return world_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
