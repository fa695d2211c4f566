/* Tests of TLS: sessions over memory by themselves, and the client's over
 * sockets, with certificates made here.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/tls.h"

#include "lib/caller.h"
#include "lib/loop.h"
#include "lib/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct peer_certificate right = {
    .names = "DNS:localhost,DNS:good.test,IP:127.0.0.1",
    .days_from = -1,
    .days_until = 5,
};

/* A server, a client that trusts its CA, a call. */
struct world {
    struct io *io;
    struct http_client_options options;
    struct http_client *client;
    struct peer_ca ca;
    struct peer peer;
    struct caller caller;
};

static struct world *world_open(void **state,
                                const struct peer_certificate *said,
                                void (*script)(struct peer *,
                                               struct peer_talk *))
{
    struct io *io = loop_of(state);
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->io = io;
    peer_ca_init(&world->ca);
    world->options = caller_options(io);
    world->options.ca_file = world->ca.path;
    world->peer.script = script;
    world->peer.tls = said != NULL ? peer_tls(&world->ca, said) : NULL;
    peer_start(&world->peer);
    return world;
}

static struct caller *
world_call(struct world *world, const char *host, const char *body)
{
    if (world->client == NULL) {
        world->client = caller_client(&world->options);
    }
    caller_fini(&world->caller);
    caller_start(&world->caller, world->client,
                 caller_url("https", host, world->peer.port), body);
    LOOP_UNTIL(world->io, world->caller.done > 0);
    return &world->caller;
}

static uint64_t open_count(struct world *world)
{
    return http_client_stats(world->client)->connections_open;
}

static void world_close(struct world *world)
{
    caller_fini(&world->caller);
    caller_client_destroy(world->io, world->client);
    peer_stop(&world->peer);
    SSL_CTX_free(world->peer.tls);
    peer_ca_fini(&world->ca);
    free(world);
}

static void answers_context(struct peer *peer, struct peer_talk *talk)
{
    while (peer_read_request(talk)) {
        (void)peer_say(talk, peer->context != NULL
                                 ? peer->context
                                 : "HTTP/1.1 200 OK\r\n"
                                   "Content-Length: 5\r\n\r\nhello");
    }
}

/* --- the client over TLS ------------------------------------------------- */

static void a_verified_server_is_talked_to(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (size_t i = 0; i < 2; i++) {
        struct world *world = world_open(state, &right, answers_context);
        for (int call = 0; call < 4; call++) {
            struct caller *caller = world_call(world, hosts[i], "x");
            assert_int_equal(caller->err, ERR_OK);
            assert_string_equal(caller->body, "hello");
            assert_int_equal(caller->reused, call > 0);
        }
        assert_int_equal(atomic_load(&world->peer.accepted), 1);
        world_close(world);
    }
}

/* Answers with the body it was sent. */
static void echoes_size(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    char text[128];
    while (peer_read_request(talk)) {
        size_t sum = 0;
        const char *body = strstr(talk->request, "\r\n\r\n") + 4;
        const char *end = talk->request + talk->used;
        for (const char *at = body; at < end; at++) {
            sum += (unsigned char)*at;
        }
        (void)snprintf(text, sizeof(text),
                       "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n%020zu",
                       sum);
        (void)peer_say(talk, text);
    }
}

static void bodies_larger_than_a_record_go_through(void **state)
{
    struct world *world = world_open(state, &right, echoes_size);
    const size_t size = 60000;
    char *body = malloc(size);
    char wanted[32];
    size_t sum = 0;
    assert_non_null(body);
    for (size_t i = 0; i < size - 1; i++) {
        body[i] = (char)('a' + i % 23);
        sum += (unsigned char)body[i];
    }
    body[size - 1] = '\0';
    (void)snprintf(wanted, sizeof(wanted), "%020zu", sum);
    for (int i = 0; i < 3; i++) {
        struct caller *caller = world_call(world, "127.0.0.1", body);
        assert_int_equal(caller->err, ERR_OK);
        assert_string_equal(caller->body, wanted);
    }
    assert_int_equal(open_count(world), 1);
    free(body);
    world_close(world);
}

static void answers_large(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    static char body[700000];
    while (peer_read_request(talk)) {
        (void)peer_say(talk, "HTTP/1.1 200 OK\r\n"
                             "Content-Length: 700000\r\n\r\n");
        (void)peer_say_bytes(talk, body, sizeof(body));
    }
}

static void a_large_response_is_read_to_its_end(void **state)
{
    struct world *world = world_open(state, &right, answers_large);
    for (int i = 0; i < 3; i++) {
        struct caller *caller = world_call(world, "127.0.0.1", "x");
        assert_int_equal(caller->err, ERR_OK);
        assert_int_equal(caller->body_size, CALLER_KEEP_MAX);
        assert_int_equal(caller->reused, i > 0);
    }
    world_close(world);
}

static void sessions_are_resumed(void **state)
{
    struct world *world = world_open(state, &right, answers_context);
    world->peer.context = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
                          "Content-Length: 2\r\n\r\nok";
    struct caller user = {0}; /* so that the endpoint stays */
    world->client = caller_client(&world->options);
    caller_prepare(&user, world->client,
                   caller_url("https", "127.0.0.1", world->peer.port), "x");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(world_call(world, "127.0.0.1", "x")->err, ERR_OK);
    }
    assert_int_equal(atomic_load(&world->peer.accepted), 3);
    assert_int_equal(atomic_load(&world->peer.resumed), 2);
    caller_fini(&user);
    world_close(world);
}

static void
expect_tls_error(struct world *world, const char *host, const char *detail)
{
    struct caller *caller = world_call(world, host, "x");
    assert_int_equal(caller->err, ERR_TLS);
    assert_non_null(strstr(caller->detail, detail));
    assert_int_equal(atomic_load(&world->peer.requests), 0);
    assert_int_equal(open_count(world), 0);
    world_close(world);
}

static void an_expired_certificate_is_refused(void **state)
{
    const struct peer_certificate said = {
        .names = "IP:127.0.0.1", .days_from = -9, .days_until = -1};
    expect_tls_error(world_open(state, &said, answers_context), "127.0.0.1",
                     "certificate has expired");
}

static void a_certificate_from_the_future_is_refused(void **state)
{
    const struct peer_certificate said = {
        .names = "IP:127.0.0.1", .days_from = 2, .days_until = 9};
    expect_tls_error(world_open(state, &said, answers_context), "127.0.0.1",
                     "not yet valid");
}

static void a_certificate_of_another_name_is_refused(void **state)
{
    const struct peer_certificate said = {.names =
                                              "DNS:other.test,IP:127.0.0.2",
                                          .days_from = -1,
                                          .days_until = 5};
    expect_tls_error(world_open(state, &said, answers_context), "localhost",
                     "hostname mismatch");
    expect_tls_error(world_open(state, &said, answers_context), "127.0.0.1",
                     "IP address mismatch");
}

static void an_unknown_ca_is_refused(void **state)
{
    struct world *world = world_open(state, &right, answers_context);
    struct peer_ca other;
    peer_ca_init(&other);
    world->options.ca_file = other.path;
    expect_tls_error(world, "127.0.0.1", "certificate");
    peer_ca_fini(&other);
}

static void answers_plain(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    (void)peer_read_byte(talk);
    (void)peer_say(talk, "HTTP/1.1 400 Bad Request\r\n\r\n");
    peer_wait_end(talk);
}

static void a_peer_without_tls_is_a_tls_error(void **state)
{
    struct world *world = world_open(state, NULL, answers_plain);
    struct caller *caller = world_call(world, "127.0.0.1", "x");
    assert_int_equal(caller->err, ERR_TLS);
    world_close(world);
}

static void hangs_up(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    (void)peer_read_byte(talk);
}

static void a_handshake_that_breaks_off_is_a_reset(void **state)
{
    struct world *world = world_open(state, NULL, hangs_up);
    struct caller *caller = world_call(world, "127.0.0.1", "x");
    assert_int_equal(caller->err, ERR_RESET);
    assert_non_null(strstr(caller->detail, "handshake"));
    world_close(world);
}

static void says_nothing(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    peer_wait_end(talk);
}

static void a_handshake_that_hangs_times_out(void **state)
{
    struct world *world = world_open(state, NULL, says_nothing);
    world->options.connect_timeout_ms = 50;
    struct caller *caller = world_call(world, "127.0.0.1", "x");
    assert_int_equal(caller->err, ERR_TIMEOUT);
    assert_non_null(strstr(caller->detail, "handshake"));
    world_close(world);
}

/* A body until the end, which comes with close_notify, or without. */
static void answers_until_close(struct peer *peer, struct peer_talk *talk)
{
    if (peer_read_request(talk)) {
        (void)peer_say(talk, "HTTP/1.1 200 OK\r\n\r\nall of it");
        talk->cut = peer->context != NULL;
    }
}

static void the_end_of_a_stream_must_be_said(void **state)
{
    struct world *world = world_open(state, &right, answers_until_close);
    struct caller *caller = world_call(world, "127.0.0.1", "x");
    assert_int_equal(caller->err, ERR_OK);
    assert_string_equal(caller->body, "all of it");
    world_close(world);
    world = world_open(state, &right, answers_until_close);
    world->peer.context = "cut";
    caller = world_call(world, "127.0.0.1", "x");
    assert_int_equal(caller->err, ERR_RESET);
    assert_string_equal(caller->detail, "the TLS stream was cut off");
    world_close(world);
}

static void answers_once(struct peer *peer, struct peer_talk *talk)
{
    if (peer_read_request(talk)) {
        (void)peer_say(talk, "HTTP/1.1 204 No Content\r\n\r\n");
        (void)peer_read_request(talk);
        talk->cut = peer->context != NULL;
    }
}

static void a_stale_connection_is_replaced(void **state)
{
    for (int cut = 0; cut < 2; cut++) {
        struct world *world = world_open(state, &right, answers_once);
        world->peer.context = cut != 0 ? "cut" : NULL;
        for (int i = 0; i < 3; i++) {
            struct caller *caller = world_call(world, "127.0.0.1", "x");
            assert_int_equal(caller->err, ERR_OK);
            assert_false(caller->reused);
        }
        assert_int_equal(atomic_load(&world->peer.accepted), 3);
        world_close(world);
    }
}

static void more_than_was_asked_ends_the_connection(void **state)
{
    struct world *world = world_open(state, &right, answers_context);
    world->peer.context =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n";
    assert_string_equal(world_call(world, "127.0.0.1", "x")->body, "ok");
    assert_int_equal(open_count(world), 0);
    world_close(world);
}

static void calls_may_be_cancelled_at_any_time(void **state)
{
    struct world *world = world_open(state, &right, answers_context);
    for (int turns = 0; turns < 10; turns++) {
        if (world->client == NULL) {
            world->client = caller_client(&world->options);
        }
        caller_fini(&world->caller);
        caller_start(&world->caller, world->client,
                     caller_url("https", "127.0.0.1", world->peer.port), "x");
        LOOP_TURNS(world->io, turns);
        http_call_cancel(&world->caller.call);
        int done = world->caller.done;
        LOOP_TURNS(world->io, 3);
        assert_int_equal(world->caller.done, done);
    }
    assert_int_equal(world_call(world, "127.0.0.1", "x")->err, ERR_OK);
    world_close(world);
}

/* --- sessions over memory ------------------------------------------------ */

/* Two sessions that talk to each other. */
struct pair {
    struct peer_ca ca;
    char certificate[64];
    char key[64];
    struct tls_context *client_context;
    struct tls_context *server_context;
    struct tls *client;
    struct tls *server;
};

static struct pair *pair_open(struct str host, struct tls_ticket *ticket)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    assert_non_null(pair);
    peer_ca_init(&pair->ca);
    peer_tls_files(&pair->ca, &right, pair->certificate, pair->key);
    assert_int_equal(
        tls_context_create_client(pair->ca.path, &pair->client_context),
        ERR_OK);
    assert_int_equal(tls_context_create_server(pair->certificate, pair->key,
                                               &pair->server_context),
                     ERR_OK);
    assert_int_equal(
        tls_create_client(pair->client_context, host, ticket, &pair->client),
        ERR_OK);
    assert_int_equal(tls_create_server(pair->server_context, &pair->server),
                     ERR_OK);
    return pair;
}

static void pair_close(struct pair *pair)
{
    tls_destroy(pair->client);
    tls_destroy(pair->server);
    tls_context_destroy(pair->client_context);
    tls_context_destroy(pair->server_context);
    peer_ca_fini(&pair->ca);
    (void)unlink(pair->certificate);
    (void)unlink(pair->key);
    free(pair);
}

/* Carry bytes from one to the other, at most `most` at a time, until there are
 * none or the other takes none. */
static void carry(struct tls *from, struct tls *to, size_t most)
{
    struct str output = tls_output(from);
    size_t taken = 1;
    while (output.size > 0 && taken > 0) {
        taken = tls_feed(to, str_cut(output, 0, most));
        tls_output_sent(from, taken);
        output = tls_output(from);
    }
}

/* Shake hands; gives how each side ended. */
static void shake(struct pair *pair, size_t most, enum err out[2])
{
    out[0] = ERR_AGAIN;
    out[1] = ERR_AGAIN;
    for (int i = 0; i < 20 && (out[0] == ERR_AGAIN || out[1] == ERR_AGAIN);
         i++) {
        out[0] = out[0] == ERR_AGAIN ? tls_handshake(pair->client) : out[0];
        carry(pair->client, pair->server, most);
        out[1] = out[1] == ERR_AGAIN ? tls_handshake(pair->server) : out[1];
        carry(pair->server, pair->client, most);
    }
}

/* Write all, and read it on the other side. */
static void
pass(struct tls *from, struct tls *to, const char *data, size_t size)
{
    char *copy = malloc(size);
    size_t written = 0;
    size_t read = 0;
    assert_non_null(copy);
    while (read < size) {
        size_t count = 0;
        enum err err = tls_write(
            from, (struct str){data + written, size - written}, &count);
        assert_true(err == ERR_OK || err == ERR_AGAIN);
        written += count;
        carry(from, to, 5000);
        while (tls_read(to, copy + read, size - read, &count) == ERR_OK) {
            read += count;
            if (read == size) {
                break;
            }
        }
    }
    assert_memory_equal(copy, data, size);
    free(copy);
}

static void sessions_talk_whatever_the_network_cuts(void **state)
{
    (void)state;
    for (size_t most = 1; most < 20000; most *= 7) {
        struct pair *pair = pair_open(STR("good.test"), NULL);
        enum err ends[2];
        char *data = malloc(100000);
        assert_non_null(data);
        for (size_t i = 0; i < 100000; i++) {
            data[i] = (char)(i * 31 / 7);
        }
        shake(pair, most, ends);
        assert_int_equal(ends[0], ERR_OK);
        assert_int_equal(ends[1], ERR_OK);
        pass(pair->client, pair->server, data, 100000);
        pass(pair->server, pair->client, data, 100000);
        free(data);
        pair_close(pair);
    }
}

static void the_end_is_told_in_order(void **state)
{
    (void)state;
    struct pair *pair = pair_open(STR("good.test."), NULL);
    enum err ends[2];
    char byte;
    size_t size = 0;
    shake(pair, 20000, ends);
    pass(pair->server, pair->client, "last", 4);
    assert_int_equal(tls_read(pair->client, &byte, 1, &size), ERR_AGAIN);
    tls_end(pair->server);
    carry(pair->server, pair->client, 20000);
    assert_int_equal(tls_read(pair->client, &byte, 1, &size), ERR_CLOSED);
    assert_int_equal(tls_read(pair->client, &byte, 1, &size), ERR_CLOSED);
    pair_close(pair);
}

static void both_sides_know_of_a_wrong_name(void **state)
{
    (void)state;
    struct pair *pair = pair_open(STR("wrong.test"), NULL);
    enum err ends[2];
    shake(pair, 20000, ends);
    assert_int_equal(ends[0], ERR_TLS);
    assert_string_equal(tls_detail(pair->client), "hostname mismatch");
    char byte;
    size_t size = 0;
    enum err err =
        ends[1] == ERR_OK ? tls_read(pair->server, &byte, 1, &size) : ends[1];
    assert_int_equal(err, ERR_TLS); /* an alert has come */
    pair_close(pair);
}

static void garbage_breaks_a_session(void **state)
{
    (void)state;
    struct pair *pair = pair_open(STR("good.test"), NULL);
    enum err ends[2];
    char byte;
    size_t size = 0;
    shake(pair, 20000, ends);
    assert_int_equal(tls_feed(pair->client, STR("GET / HTTP/1.1\r\n\r\n")), 18);
    assert_int_equal(tls_read(pair->client, &byte, 1, &size), ERR_TLS);
    assert_true(tls_detail(pair->client)[0] != '\0');
    assert_int_equal(tls_write(pair->client, STR("x"), &size), ERR_TLS);
    pair_close(pair);
}

static void input_that_finds_no_room_is_left(void **state)
{
    (void)state;
    struct pair *pair = pair_open(STR("good.test"), NULL);
    static const char zeros[64 * 1024];
    size_t taken = tls_feed(pair->client, (struct str){zeros, sizeof(zeros)});
    assert_in_range(taken, 16 * 1024, 32 * 1024);
    assert_int_equal(tls_feed(pair->client, STR("x")), 0);
    pair_close(pair);
}

static void tickets_resume(void **state)
{
    (void)state;
    struct tls_ticket ticket = {NULL};
    struct pair *pair = pair_open(STR("good.test"), &ticket);
    enum err ends[2];
    for (int i = 0; i < 3; i++) {
        shake(pair, 20000, ends);
        assert_int_equal(ends[0], ERR_OK);
        pass(pair->server, pair->client, "x", 1); /* the ticket is before it */
        assert_int_equal(tls_resumed(pair->client), i > 0);
        assert_int_equal(tls_resumed(pair->server), i > 0);
        assert_non_null(ticket.session);
        tls_destroy(pair->client);
        tls_destroy(pair->server);
        assert_int_equal(tls_create_client(pair->client_context,
                                           STR("good.test"), &ticket,
                                           &pair->client),
                         ERR_OK);
        assert_int_equal(tls_create_server(pair->server_context, &pair->server),
                         ERR_OK);
    }
    pair_close(pair);
    tls_ticket_fini(&ticket);
    tls_ticket_fini(&ticket);
}

static void hosts_that_cannot_be_verified_are_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_open(STR("good.test"), NULL);
    struct tls *tls = NULL;
    assert_int_equal(
        tls_create_client(pair->client_context, STR(""), NULL, &tls),
        ERR_INVALID);
    assert_int_equal(
        tls_create_client(pair->client_context, STR("."), NULL, &tls),
        ERR_INVALID);
    char name[300];
    memset(name, 'a', sizeof(name));
    assert_int_equal(tls_create_client(pair->client_context,
                                       (struct str){name, sizeof(name)}, NULL,
                                       &tls),
                     ERR_INVALID);
    assert_null(tls);
    pair_close(pair);
}

static void files_that_are_not_there_or_not_right_are_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_open(STR("good.test"), NULL);
    struct pair *other = pair_open(STR("good.test"), NULL);
    struct tls_context *context = NULL;
    assert_int_equal(tls_context_create_client("/nowhere/ca.pem", &context),
                     ERR_NOT_FOUND);
    assert_int_equal(tls_context_create_client("/dev/null", &context),
                     ERR_INVALID);
    assert_int_equal(
        tls_context_create_server("/nowhere/a.pem", pair->key, &context),
        ERR_NOT_FOUND);
    assert_int_equal(tls_context_create_server(pair->certificate,
                                               "/nowhere/a.pem", &context),
                     ERR_NOT_FOUND);
    assert_int_equal(
        tls_context_create_server(pair->key, pair->certificate, &context),
        ERR_INVALID);
    assert_int_equal(
        tls_context_create_server(pair->certificate, other->key, &context),
        ERR_INVALID);
    assert_null(context);
    tls_context_destroy(NULL);
    tls_destroy(NULL);
    pair_close(other);
    pair_close(pair);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_verified_server_is_talked_to),
        LOOP_TEST(bodies_larger_than_a_record_go_through),
        LOOP_TEST(a_large_response_is_read_to_its_end),
        LOOP_TEST(sessions_are_resumed),
        LOOP_TEST(an_expired_certificate_is_refused),
        LOOP_TEST(a_certificate_from_the_future_is_refused),
        LOOP_TEST(a_certificate_of_another_name_is_refused),
        LOOP_TEST(an_unknown_ca_is_refused),
        LOOP_TEST(a_peer_without_tls_is_a_tls_error),
        LOOP_TEST(a_handshake_that_breaks_off_is_a_reset),
        LOOP_TEST(a_handshake_that_hangs_times_out),
        LOOP_TEST(the_end_of_a_stream_must_be_said),
        LOOP_TEST(a_stale_connection_is_replaced),
        LOOP_TEST(more_than_was_asked_ends_the_connection),
        LOOP_TEST(calls_may_be_cancelled_at_any_time),
        LOOP_TEST(sessions_talk_whatever_the_network_cuts),
        LOOP_TEST(the_end_is_told_in_order),
        LOOP_TEST(both_sides_know_of_a_wrong_name),
        LOOP_TEST(garbage_breaks_a_session),
        LOOP_TEST(input_that_finds_no_room_is_left),
        LOOP_TEST(tickets_resume),
        LOOP_TEST(hosts_that_cannot_be_verified_are_refused),
        LOOP_TEST(files_that_are_not_there_or_not_right_are_refused),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
