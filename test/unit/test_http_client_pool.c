/* Tests of the client's connections: keeping, bounds, trying again, giving up.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/client.h"

#include "lib/caller.h"
#include "lib/loop.h"
#include "lib/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CALLS_MAX = 12 };

struct world {
    struct io *io;
    struct http_client_options options;
    struct http_client *client;
    struct peer peer;
    struct peer other; /* a second endpoint */
    struct caller callers[CALLS_MAX];
};

static struct world *
world_open(void **state, void (*script)(struct peer *, struct peer_talk *))
{
    struct io *io = loop_of(state);
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->io = io;
    world->options = caller_options(io);
    world->peer.script = script;
    world->other.script = script;
    peer_start(&world->peer);
    peer_start(&world->other);
    return world;
}

static void world_start(struct world *world, int index, struct peer *peer)
{
    if (world->client == NULL) {
        world->client = caller_client(&world->options);
    }
    caller_fini(&world->callers[index]);
    caller_start(&world->callers[index], world->client,
                 caller_url("http", "127.0.0.1", peer->port), "x");
}

/* Wait for the first `count` calls. */
static void world_wait(struct world *world, int count)
{
    for (int i = 0; i < count; i++) {
        LOOP_UNTIL(world->io, world->callers[i].done > 0);
    }
}

/* One call, from start to end. */
static struct caller *world_call(struct world *world, struct peer *peer)
{
    world_start(world, 0, peer);
    world_wait(world, 1);
    return &world->callers[0];
}

static uint64_t open_count(struct world *world)
{
    return http_client_stats(world->client)->connections_open;
}

static void world_close(struct world *world)
{
    for (int i = 0; i < CALLS_MAX; i++) {
        caller_fini(&world->callers[i]);
    }
    caller_client_destroy(world->io, world->client);
    peer_stop(&world->peer);
    peer_stop(&world->other);
    free(world);
}

static const char *const no_content = "HTTP/1.1 204 No Content\r\n\r\n";

static void answers(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    while (peer_read_request(talk)) {
        (void)peer_say(talk, no_content);
    }
}

/* Answers when the test says go. */
static void answers_on_go(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    while (peer_read_request(talk) && peer_wait_go(talk)) {
        (void)peer_say(talk, no_content);
    }
}

/* Each connection takes one request; the next one ends it without an answer. */
static void answers_once(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    if (peer_read_request(talk)) {
        (void)peer_say(talk, no_content);
        (void)peer_read_request(talk);
    }
}

/* The first connection answers once; others end without an answer. */
static void answers_once_in_all(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    if (peer_read_request(talk) && talk->index == 0) {
        (void)peer_say(talk, no_content);
        (void)peer_read_request(talk);
    }
}

/* The second request on a connection gets one byte. */
static void answers_once_and_a_byte(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    if (peer_read_request(talk)) {
        (void)peer_say(talk, no_content);
        if (peer_read_request(talk)) {
            (void)peer_say(talk, "H");
        }
    }
}

/* --- trying again -------------------------------------------------------- */

static void a_stale_connection_is_replaced_once(void **state)
{
    struct world *world = world_open(state, answers_once);
    for (int i = 0; i < 3; i++) {
        struct caller *caller = world_call(world, &world->peer);
        assert_int_equal(caller->err, ERR_OK);
        assert_false(caller->reused);
        assert_int_equal(atomic_load(&world->peer.accepted), i + 1);
    }
    assert_int_equal(atomic_load(&world->peer.requests), 5);
    world_close(world);
}

static void it_is_replaced_once_only(void **state)
{
    struct world *world = world_open(state, answers_once_in_all);
    assert_int_equal(world_call(world, &world->peer)->err, ERR_OK);
    assert_int_equal(world_call(world, &world->peer)->err, ERR_CLOSED);
    assert_int_equal(atomic_load(&world->peer.accepted), 2);
    assert_int_equal(atomic_load(&world->peer.requests), 3);
    world_close(world);
}

static void a_byte_of_a_response_rules_it_out(void **state)
{
    struct world *world = world_open(state, answers_once_and_a_byte);
    assert_int_equal(world_call(world, &world->peer)->err, ERR_OK);
    assert_int_equal(world_call(world, &world->peer)->err, ERR_RESET);
    assert_int_equal(atomic_load(&world->peer.accepted), 1);
    world_close(world);
}

static void a_stale_connection_is_replaced_at_the_bound_too(void **state)
{
    struct world *world = world_open(state, answers_once);
    world->options.endpoint_connections_max = 1;
    world->options.connections_max = 1;
    for (int i = 0; i < 6; i++) {
        world_start(world, i, &world->peer);
    }
    world_wait(world, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(world->callers[i].err, ERR_OK);
    }
    assert_int_equal(atomic_load(&world->peer.open_most), 1);
    world_close(world);
}

/* --- keeping ------------------------------------------------------------- */

/* Answers, and ends when the test says so. */
static void answers_then_ends_on_go(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    if (peer_read_request(talk)) {
        (void)peer_say(talk, no_content);
        (void)peer_wait_go(talk);
    }
}

static void says_more_on_go(struct peer *peer, struct peer_talk *talk)
{
    answers_then_ends_on_go(peer, talk);
    (void)peer_say(talk, "HTTP/1.1 408 Request Timeout\r\n\r\n");
    peer_wait_end(talk);
}

static void an_idle_connection_that_ends_is_dropped(void **state)
{
    struct world *world = world_open(state, answers_then_ends_on_go);
    assert_int_equal(world_call(world, &world->peer)->err, ERR_OK);
    assert_int_equal(open_count(world), 1);
    atomic_store(&world->peer.go, true);
    LOOP_UNTIL(world->io, open_count(world) == 0);
    assert_int_equal(world_call(world, &world->peer)->err, ERR_OK);
    assert_int_equal(http_client_stats(world->client)->reused, 0);
    world_close(world);
}

static void an_idle_connection_that_talks_is_dropped(void **state)
{
    struct world *world = world_open(state, says_more_on_go);
    assert_int_equal(world_call(world, &world->peer)->err, ERR_OK);
    assert_int_equal(open_count(world), 1);
    atomic_store(&world->peer.go, true);
    LOOP_UNTIL(world->io, open_count(world) == 0);
    world_close(world);
}

static void what_is_idle_too_long_is_closed(void **state)
{
    struct world *world = world_open(state, answers);
    world->options.idle_timeout_ms = 30;
    for (int i = 0; i < 3; i++) {
        world_start(world, i, i == 2 ? &world->other : &world->peer);
    }
    world_wait(world, 3);
    uint64_t done_ns = clock_monotonic_ns();
    LOOP_UNTIL(world->io, open_count(world) == 0);
    assert_true(clock_monotonic_ns() - done_ns < UINT64_C(25000000000));
    world_close(world);
}

static void closing_what_is_idle_leaves_what_is_not(void **state)
{
    struct world *world = world_open(state, answers_on_go);
    atomic_store(&world->other.go, true);
    world_start(world, 0, &world->other);
    world_start(world, 1, &world->peer);
    world_wait(world, 1);
    assert_int_equal(open_count(world), 2);
    http_client_close_idle(world->client);
    assert_int_equal(open_count(world), 1);
    atomic_store(&world->peer.go, true);
    world_wait(world, 2);
    assert_int_equal(world->callers[1].err, ERR_OK);
    world_close(world);
}

static void an_endpoint_keeps_its_connections_without_users(void **state)
{
    struct world *world = world_open(state, answers);
    assert_int_equal(world_call(world, &world->peer)->err, ERR_OK);
    caller_fini(&world->callers[0]); /* the only user */
    assert_int_equal(open_count(world), 1);
    assert_true(world_call(world, &world->peer)->reused);
    world_close(world);
}

/* --- bounds -------------------------------------------------------------- */

static void calls_wait_in_line_at_the_endpoints_bound(void **state)
{
    struct world *world = world_open(state, answers_on_go);
    world->options.endpoint_connections_max = 2;
    for (int i = 0; i < CALLS_MAX; i++) {
        world_start(world, i, &world->peer);
    }
    LOOP_UNTIL(world->io, atomic_load(&world->peer.requests) == 2);
    LOOP_TURNS(world->io, 5);
    assert_int_equal(open_count(world), 2);
    assert_int_equal(atomic_load(&world->peer.requests), 2);
    atomic_store(&world->peer.go, true);
    world_wait(world, CALLS_MAX);
    assert_int_equal(atomic_load(&world->peer.accepted), 2);
    assert_int_equal(atomic_load(&world->peer.open_most), 2);
    world_close(world);
}

static void the_line_is_first_come_first_served(void **state)
{
    struct world *world = world_open(state, answers);
    world->options.endpoint_connections_max = 1;
    for (int i = 0; i < CALLS_MAX; i++) {
        world_start(world, i, &world->peer);
    }
    world_wait(world, CALLS_MAX);
    for (int i = 1; i < CALLS_MAX; i++) {
        assert_int_equal(world->callers[i].err, ERR_OK);
        assert_int_equal(world->callers[i].order, world->callers[0].order + i);
    }
    assert_int_equal(atomic_load(&world->peer.accepted), 1);
    world_close(world);
}

static void waiting_in_line_has_the_calls_deadline(void **state)
{
    struct world *world = world_open(state, answers_on_go);
    world->options.endpoint_connections_max = 1;
    world_start(world, 1, &world->peer);
    struct caller *caller = &world->callers[0];
    caller_prepare(caller, world->client,
                   caller_url("http", "127.0.0.1", world->peer.port), "x");
    caller->call.timeout_ms = 30;
    http_call_start(&caller->call);
    LOOP_UNTIL(world->io, caller->done > 0);
    assert_int_equal(caller->err, ERR_TIMEOUT);
    assert_string_equal(caller->detail, "no connection was free in time");
    atomic_store(&world->peer.go, true);
    world_wait(world, 2);
    assert_int_equal(world->callers[1].err, ERR_OK);
    world_close(world);
}

static void idle_connections_make_room_for_others(void **state)
{
    struct world *world = world_open(state, answers);
    world->options.connections_max = 1;
    for (int i = 0; i < 4; i++) {
        struct peer *peer = i % 2 == 0 ? &world->peer : &world->other;
        assert_int_equal(world_call(world, peer)->err, ERR_OK);
        assert_int_equal(open_count(world), 1);
    }
    assert_int_equal(http_client_stats(world->client)->connects, 4);
    world_close(world);
}

static void a_starved_endpoint_gets_its_turn(void **state)
{
    struct world *world = world_open(state, answers_on_go);
    world->options.connections_max = 2;
    world_start(world, 0, &world->peer);
    world_start(world, 1, &world->peer);
    LOOP_UNTIL(world->io, atomic_load(&world->peer.requests) == 2);
    world_start(world, 2, &world->other);
    world_start(world, 3, &world->other);
    LOOP_TURNS(world->io, 5);
    assert_int_equal(atomic_load(&world->other.accepted), 0);
    atomic_store(&world->other.go, true);
    atomic_store(&world->peer.go, true);
    world_wait(world, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(world->callers[i].err, ERR_OK);
    }
    assert_true(open_count(world) <= 2);
    world_close(world);
}

/* --- calls from done() --------------------------------------------------- */

static int chain_left;

static void start_again(struct caller *caller)
{
    if (chain_left > 0) {
        chain_left--;
        http_call_start(&caller->call);
    }
}

static void a_call_may_start_again_from_its_own_end(void **state)
{
    struct world *world = world_open(state, answers);
    chain_left = 500;
    world->client = caller_client(&world->options);
    world->callers[0].then = start_again;
    caller_start(&world->callers[0], world->client,
                 caller_url("http", "127.0.0.1", world->peer.port), "x");
    LOOP_UNTIL(world->io, world->callers[0].done == 501);
    assert_int_equal(world->callers[0].err, ERR_OK);
    assert_int_equal(atomic_load(&world->peer.accepted), 1);
    assert_int_equal(http_client_stats(world->client)->reused, 500);
    world_close(world);
}

static void release_itself(struct caller *caller)
{
    http_endpoint_release(caller->endpoint);
    caller->endpoint = NULL;
}

static void a_failed_call_may_release_its_endpoint(void **state)
{
    struct world *world = world_open(state, answers);
    world->client = caller_client(&world->options);
    world->callers[0].then = release_itself;
    caller_start(&world->callers[0], world->client, "http://127.0.0.1:1/", "x");
    LOOP_UNTIL(world->io, world->callers[0].done == 1);
    assert_int_not_equal(world->callers[0].err, ERR_OK);
    LOOP_TURNS(world->io, 3);
    world_close(world);
}

/* --- giving up ----------------------------------------------------------- */

static void a_call_may_be_cancelled_at_any_time(void **state)
{
    struct world *world = world_open(state, answers);
    world->options.endpoint_connections_max = 2;
    for (int turns = 0; turns < 12; turns++) {
        for (int i = 0; i < 5; i++) {
            world_start(world, i, &world->peer);
        }
        LOOP_TURNS(world->io, turns);
        int done[5];
        for (int i = 0; i < 5; i++) {
            done[i] = world->callers[i].done;
            http_call_cancel(&world->callers[i].call);
            memset(world->callers[i].request, '!', 100); /* ours again */
        }
        LOOP_TURNS(world->io, 3);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(world->callers[i].done, done[i]);
            caller_fini(&world->callers[i]);
        }
        assert_int_equal(world_call(world, &world->peer)->err, ERR_OK);
    }
    world_close(world);
}

/* Reads nothing, so that a large request stays in the middle of its way. */
static void reads_nothing(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    (void)peer_wait_go(talk);
}

static void a_request_on_its_way_is_let_go_of(void **state)
{
    struct world *world = world_open(state, reads_nothing);
    const size_t size = (size_t)32 * 1024 * 1024;
    char *body = malloc(size);
    assert_non_null(body);
    memset(body, 'x', size - 1);
    body[size - 1] = '\0';
    world->client = caller_client(&world->options);
    caller_start(&world->callers[0], world->client,
                 caller_url("http", "127.0.0.1", world->peer.port), body);
    LOOP_UNTIL(world->io, io_stats(world->io)->sent_bytes > 0 ||
                              atomic_load(&world->peer.accepted) > 0);
    LOOP_TURNS(world->io, 5);
    http_call_cancel(&world->callers[0].call);
    free(body); /* whoever still reads it is found out */
    LOOP_TURNS(world->io, 5);
    assert_int_equal(open_count(world), 0);
    assert_int_equal(world->callers[0].done, 0);
    world_close(world);
}

static void cancelling_what_does_not_run_is_harmless(void **state)
{
    struct world *world = world_open(state, answers);
    struct caller *caller = world_call(world, &world->peer);
    http_call_cancel(&caller->call);
    http_call_cancel(&caller->call);
    assert_int_equal(open_count(world), 1);
    world_close(world);
}

static void the_client_may_be_destroyed_with_calls_running(void **state)
{
    for (int turns = 0; turns < 8; turns++) {
        struct dns dns = {.ttl_s = 1};
        struct world *world = world_open(state, answers_on_go);
        atomic_store(&dns.silent, true);
        dns_start(&dns);
        world->options.dns_servers = dns.server;
        world->options.endpoint_connections_max = 2;
        for (int i = 0; i < 4; i++) { /* two of them wait in line */
            world_start(world, i, &world->peer);
        }
        caller_start(&world->callers[4], world->client, "http://some.test/",
                     "x");
        LOOP_TURNS(world->io, turns);
        caller_client_destroy(world->io, world->client);
        world->client = NULL;
        for (int i = 0; i < 5; i++) {
            assert_int_equal(world->callers[i].done, 0);
            world->callers[i].endpoint = NULL; /* gone with the client */
        }
        world_close(world);
        dns_stop(&dns);
    }
}

static void a_client_without_connections_is_gone_at_once(void **state)
{
    struct http_client_options options = caller_options(loop_of(state));
    http_client_destroy(caller_client(&options));
    http_client_destroy(NULL);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_stale_connection_is_replaced_once),
        LOOP_TEST(it_is_replaced_once_only),
        LOOP_TEST(a_byte_of_a_response_rules_it_out),
        LOOP_TEST(a_stale_connection_is_replaced_at_the_bound_too),
        LOOP_TEST(an_idle_connection_that_ends_is_dropped),
        LOOP_TEST(an_idle_connection_that_talks_is_dropped),
        LOOP_TEST(what_is_idle_too_long_is_closed),
        LOOP_TEST(closing_what_is_idle_leaves_what_is_not),
        LOOP_TEST(an_endpoint_keeps_its_connections_without_users),
        LOOP_TEST(calls_wait_in_line_at_the_endpoints_bound),
        LOOP_TEST(the_line_is_first_come_first_served),
        LOOP_TEST(waiting_in_line_has_the_calls_deadline),
        LOOP_TEST(idle_connections_make_room_for_others),
        LOOP_TEST(a_starved_endpoint_gets_its_turn),
        LOOP_TEST(a_call_may_start_again_from_its_own_end),
        LOOP_TEST(a_failed_call_may_release_its_endpoint),
        LOOP_TEST(a_call_may_be_cancelled_at_any_time),
        LOOP_TEST(a_request_on_its_way_is_let_go_of),
        LOOP_TEST(cancelling_what_does_not_run_is_harmless),
        LOOP_TEST(the_client_may_be_destroyed_with_calls_running),
        LOOP_TEST(a_client_without_connections_is_gone_at_once),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
