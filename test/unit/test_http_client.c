/* Tests of what the client makes of peers: responses, failures, deadlines.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/client.h"

#include "lib/caller.h"
#include "lib/loop.h"
#include "lib/peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A peer, a client, a call: most tests are one of each. */
struct world {
    struct io *io;
    struct http_client_options options;
    struct http_client *client;
    struct peer peer;
    struct caller caller;
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
    peer_start(&world->peer);
    return world;
}

/* Call the peer and wait for the end. */
static struct caller *world_call(struct world *world, const char *body)
{
    if (world->client == NULL) {
        world->client = caller_client(&world->options);
    }
    caller_fini(&world->caller);
    caller_start(&world->caller, world->client,
                 caller_url("http", "127.0.0.1", world->peer.port), body);
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
    if (world->client != NULL) {
        caller_client_destroy(world->io, world->client);
    }
    peer_stop(&world->peer);
    free(world);
}

/* --- responses ----------------------------------------------------------- */

/* Answers each request with the context, a text. */
static void answers_context(struct peer *peer, struct peer_talk *talk)
{
    while (peer_read_request(talk)) {
        (void)peer_say(talk, peer->context);
    }
}

/* Answers once with the context, then ends. */
static void answers_context_once(struct peer *peer, struct peer_talk *talk)
{
    if (peer_read_request(talk)) {
        (void)peer_say(talk, peer->context);
    }
}

/* Says the context byte by byte, as packets of their own. */
static void drips_context(struct peer *peer, struct peer_talk *talk)
{
    while (peer_read_request(talk)) {
        const char *text = peer->context;
        for (size_t i = 0; text[i] != '\0'; i++) {
            (void)peer_say_bytes(talk, text + i, 1);
        }
    }
}

/* Says 202 to the right request. */
static void answers_a_body(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    while (peer_read_request(talk)) {
        const char *body = talk->request + talk->used - 6;
        (void)peer_say(talk, strncmp(body, "a body", 6) == 0
                                 ? "HTTP/1.1 202 Accepted\r\n"
                                   "Content-Length: 5\r\n\r\nhello"
                                 : "HTTP/1.1 400 Bad Request\r\n"
                                   "Content-Length: 0\r\n\r\n");
    }
}

static void a_response_comes_whole(void **state)
{
    struct world *world = world_open(state, answers_a_body);
    struct caller *caller = world_call(world, "a body");
    assert_int_equal(caller->err, ERR_OK);
    assert_int_equal(caller->status, 202);
    assert_string_equal(caller->body, "hello");
    assert_false(caller->reused);
    assert_true(caller->elapsed_ns > 0);
    assert_int_equal(caller->done, 1);
    world_close(world);
}

static void a_connection_is_kept_and_used_again(void **state)
{
    struct world *world = world_open(state, answers_context);
    world->peer.context = "HTTP/1.1 204 No Content\r\n\r\n";
    for (int i = 0; i < 5; i++) {
        struct caller *caller = world_call(world, "x");
        assert_int_equal(caller->status, 204);
        assert_int_equal(caller->reused, i > 0);
    }
    const struct http_client_stats *stats = http_client_stats(world->client);
    assert_int_equal(stats->calls, 5);
    assert_int_equal(stats->reused, 4);
    assert_int_equal(stats->connects, 1);
    assert_int_equal(stats->connections_open, 1);
    assert_int_equal(atomic_load(&world->peer.accepted), 1);
    world_close(world);
}

static void a_response_reads_the_same_however_it_is_cut(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        "1\r\nb\r\n003;x=y\r\nody\r\n0\r\nTrailer: t\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n"
        "Link: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct world *world =
            world_open(state, i % 2 == 0 ? drips_context : answers_context);
        world->peer.context = texts[i];
        for (int call = 0; call < 2; call++) {
            struct caller *caller = world_call(world, NULL);
            assert_int_equal(caller->err, ERR_OK);
            assert_int_equal(caller->status, 200);
            assert_string_equal(caller->body, "body");
            assert_int_equal(caller->reused, call > 0);
        }
        world_close(world);
    }
}

static void a_body_may_end_with_the_connection(void **state)
{
    struct world *world = world_open(state, answers_context_once);
    world->peer.context = "HTTP/1.1 200 OK\r\n\r\nuntil the end";
    for (int i = 0; i < 2; i++) {
        struct caller *caller = world_call(world, NULL);
        assert_int_equal(caller->err, ERR_OK);
        assert_string_equal(caller->body, "until the end");
        assert_false(caller->reused);
        assert_int_equal(open_count(world), 0);
    }
    world_close(world);
}

static void there_is_no_body_after_204_304_and_head(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct world *world = world_open(state, answers_context);
        struct caller *caller = &world->caller;
        world->peer.context = texts[i];
        world->client = caller_client(&world->options);
        caller_prepare(caller, world->client,
                       caller_url("http", "127.0.0.1", world->peer.port), NULL);
        caller->call.head_only = i == 2;
        http_call_start(&caller->call);
        LOOP_UNTIL(world->io, caller->done > 0);
        assert_int_equal(caller->err, ERR_OK);
        assert_int_equal(caller->body_size, 0);
        assert_int_equal(open_count(world), 1);
        world_close(world);
    }
}

static void what_is_not_to_be_kept_is_dropped(void **state)
{
    struct world *world = world_open(state, answers_context);
    world->options.keep_size_max = 3;
    world->peer.context = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
                          "0123456789";
    assert_string_equal(world_call(world, NULL)->body, "012");
    world->peer.context = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                          "\r\n2\r\n01\r\n5\r\n23456\r\n0\r\n\r\n";
    assert_string_equal(world_call(world, NULL)->body, "012");
    assert_true(world->caller.reused);
    assert_int_equal(open_count(world), 1);
    world_close(world);
}

/* A response of 100 MB, by length or in chunks, until nobody listens. */
static void answers_100_mb(struct peer *peer, struct peer_talk *talk)
{
    static const char zeros[64 * 1024];
    const bool chunked = peer->context != NULL;
    if (!peer_read_request(talk)) {
        return;
    }
    (void)peer_say(talk, chunked ? "HTTP/1.1 200 OK\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n"
                                 : "HTTP/1.1 200 OK\r\n"
                                   "Content-Length: 104857600\r\n\r\n");
    bool heard = true;
    for (int i = 0; i < 1600 && heard; i++) {
        heard = (!chunked || peer_say(talk, "10000\r\n")) &&
                peer_say_bytes(talk, zeros, sizeof(zeros)) &&
                (!chunked || peer_say(talk, "\r\n"));
    }
    assert_false(heard);
}

static void a_body_past_its_bound_is_cut_off(void **state)
{
    for (int chunked = 0; chunked < 2; chunked++) {
        struct world *world = world_open(state, answers_100_mb);
        world->peer.context = chunked != 0 ? "chunked" : NULL;
        struct caller *caller = world_call(world, NULL);
        assert_int_equal(caller->err, ERR_OK);
        assert_int_equal(caller->body_size, CALLER_KEEP_MAX);
        assert_int_equal(open_count(world), 0);
        assert_true(io_stats(world->io)->received_bytes < UINT64_C(8000000));
        world_close(world);
    }
}

static void answers_before_it_has_the_request(struct peer *peer,
                                              struct peer_talk *talk)
{
    (void)peer;
    (void)peer_read_byte(talk);
    (void)peer_say(talk, "HTTP/1.1 413 Content Too Large\r\n"
                         "Content-Length: 0\r\n\r\n");
    (void)peer_wait_go(talk);
}

static void an_early_response_counts_and_ends_the_connection(void **state)
{
    struct world *world = world_open(state, answers_before_it_has_the_request);
    const size_t size = (size_t)32 * 1024 * 1024;
    char *body = malloc(size);
    assert_non_null(body);
    memset(body, 'x', size - 1);
    body[size - 1] = '\0';
    struct caller *caller = world_call(world, body);
    memset(body, 'y', size); /* the client has let go of it */
    free(body);
    assert_int_equal(caller->err, ERR_OK);
    assert_int_equal(caller->status, 413);
    assert_int_equal(open_count(world), 0);
    world_close(world);
}

static void connections_are_not_kept_when_the_peer_says_so(void **state)
{
    static const char *const texts[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        /* and not after it said more than it was asked */
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct world *world = world_open(state, answers_context);
        world->peer.context = texts[i];
        assert_string_equal(world_call(world, NULL)->body, "ok");
        assert_int_equal(open_count(world), 0);
        world_close(world);
    }
}

static void what_is_not_http_is_a_protocol_error(void **state)
{
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct world *world = world_open(state, answers_context);
        world->peer.context = texts[i];
        struct caller *caller = world_call(world, NULL);
        assert_int_equal(caller->err, ERR_PROTOCOL);
        assert_true(caller->detail[0] != '\0');
        assert_int_equal(open_count(world), 0);
        world_close(world);
    }
}

/* Interim responses, or fields, without end. */
static void answers_without_end(struct peer *peer, struct peer_talk *talk)
{
    bool heard = peer_read_request(talk);
    const bool fields = peer->context != NULL;
    if (heard && fields) {
        heard = peer_say(talk, "HTTP/1.1 200 OK\r\n");
    }
    for (int i = 0; i < 1000000 && heard; i++) {
        heard = peer_say(talk, fields ? "A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"
                                      : "HTTP/1.1 102 Processing\r\n\r\n");
    }
    assert_false(heard);
}

static void heads_without_end_are_refused(void **state)
{
    for (int fields = 0; fields < 2; fields++) {
        struct world *world = world_open(state, answers_without_end);
        world->peer.context = fields != 0 ? "fields" : NULL;
        struct caller *caller = world_call(world, NULL);
        assert_int_equal(caller->err, ERR_PROTOCOL);
        if (fields == 0) {
            assert_string_equal(caller->detail, "too many interim responses");
        }
        world_close(world);
    }
}

/* --- failures ------------------------------------------------------------ */

static void nobody_there_is_refused(void **state)
{
    struct world *world = world_open(state, answers_context);
    uint16_t port = world->peer.port;
    peer_stop(&world->peer);
    world->client = caller_client(&world->options);
    caller_start(&world->caller, world->client,
                 caller_url("http", "127.0.0.1", port), NULL);
    LOOP_UNTIL(world->io, world->caller.done > 0);
    assert_int_equal(world->caller.err, ERR_REFUSED);
    assert_non_null(strstr(world->caller.detail, "127.0.0.1:"));
    assert_int_equal(open_count(world), 0);
    peer_start(&world->peer);
    world_close(world);
}

/* Says the context, a part of a response, then ends or resets. */
static void breaks_off(struct peer *peer, struct peer_talk *talk)
{
    if (peer_read_request(talk)) {
        const char *text = peer->context;
        talk->reset = text[0] == '!';
        (void)peer_say(talk, text + (talk->reset ? 1 : 0));
    }
    if (talk->reset) {
        /* The bytes are to arrive before the reset overtakes them. */
        (void)peer_wait_go(talk);
    }
}

static void a_response_that_breaks_off_is_a_reset(void **state)
{
    static const struct {
        const char *text;
        enum err err;
    } cases[] = {
        {"", ERR_CLOSED},
        {"!", ERR_RESET},
        {"H", ERR_RESET},
        {"HTTP/1.1 200 OK\r\nContent-Le", ERR_RESET},
        {"!HTTP/1.1 200 OK\r\nContent-Le", ERR_RESET},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", ERR_RESET},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ERR_RESET},
        {"!HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ERR_RESET},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
         ERR_RESET},
        {"!HTTP/1.1 200 OK\r\n\r\nuntil", ERR_RESET},
        {"HTTP/1.1 100 Continue\r\n\r\n", ERR_RESET},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *world = world_open(state, breaks_off);
        world->peer.context = cases[i].text;
        atomic_store(&world->peer.go, true);
        struct caller *caller = world_call(world, "x");
        assert_int_equal(caller->err, cases[i].err);
        assert_true(caller->detail[0] != '\0');
        assert_int_equal(atomic_load(&world->peer.accepted), 1);
        assert_int_equal(open_count(world), 0);
        world_close(world);
    }
}

static void a_name_that_is_not_there_is_a_dns_error(void **state)
{
    struct dns dns = {.ttl_s = 60};
    struct world *world = world_open(state, answers_context);
    dns_start(&dns);
    world->options.dns_servers = dns.server;
    world->client = caller_client(&world->options);
    caller_start(&world->caller, world->client, "http://nobody.invalid/", NULL);
    LOOP_UNTIL(world->io, world->caller.done > 0);
    assert_int_equal(world->caller.err, ERR_DNS);
    assert_string_equal(world->caller.detail, "no such name");
    world_close(world);
    dns_stop(&dns);
}

/* What the guard was asked. */
struct asked {
    int count;
    char first[NET_TEXT_MAX];
    const char *denied; /* an address without port; NULL: none */
};

static bool guard(void *context, const struct net_address *address)
{
    struct asked *asked = context;
    char text[NET_TEXT_MAX];
    net_format(address, text);
    if (asked->count++ == 0) {
        memcpy(asked->first, text, sizeof(text));
    }
    return asked->denied == NULL ||
           strncmp(text, asked->denied, strlen(asked->denied)) != 0;
}

static void the_next_address_is_tried_when_one_is_refused(void **state)
{
    /* The peer listens on one of them; c-ares chooses the order. */
    struct dns dns = {.ttl_s = 60,
                      .addresses = {"127.0.0.7", "127.0.0.6", "127.0.0.5",
                                    "127.0.0.1", "127.0.0.4"}};
    struct asked asked = {0};
    struct world *world = world_open(state, answers_context);
    world->peer.context = "HTTP/1.1 204 No Content\r\n\r\n";
    dns_start(&dns);
    world->options.dns_servers = dns.server;
    world->options.allowed = guard;
    world->options.context = &asked;
    world->client = caller_client(&world->options);
    caller_start(&world->caller, world->client,
                 caller_url("http", "some.test", world->peer.port), NULL);
    LOOP_UNTIL(world->io, world->caller.done > 0);
    assert_int_equal(world->caller.err, ERR_OK);
    assert_in_range(asked.count, 1, 5);
    assert_int_equal(http_client_stats(world->client)->connects, 1);
    world_close(world);
    dns_stop(&dns);
}

static void the_last_address_says_how_the_call_failed(void **state)
{
    struct dns dns = {.ttl_s = 60, .addresses = {"127.0.0.7", "127.0.0.6"}};
    struct asked asked = {0};
    struct world *world = world_open(state, answers_context);
    dns_start(&dns);
    world->options.dns_servers = dns.server;
    world->options.allowed = guard;
    world->options.context = &asked;
    world->client = caller_client(&world->options);
    caller_start(&world->caller, world->client,
                 caller_url("http", "some.test", world->peer.port), NULL);
    LOOP_UNTIL(world->io, world->caller.done > 0);
    assert_int_equal(world->caller.err, ERR_REFUSED);
    assert_int_equal(asked.count, 2);
    assert_non_null(strstr(world->caller.detail, "127.0.0."));
    assert_null(strstr(world->caller.detail, asked.first));
    world_close(world);
    dns_stop(&dns);
}

static void a_denied_address_is_named_and_not_connected_to(void **state)
{
    struct asked asked = {.denied = "127.0.0.1:"};
    struct world *world = world_open(state, answers_context);
    world->peer.context = "HTTP/1.1 204 No Content\r\n\r\n";
    world->options.allowed = guard;
    world->options.context = &asked;
    struct caller *caller = world_call(world, NULL);
    assert_int_equal(caller->err, ERR_DENIED);
    assert_non_null(strstr(caller->detail, "127.0.0.1:"));
    assert_int_equal(atomic_load(&world->peer.accepted), 0);
    asked.denied = NULL;
    assert_int_equal(world_call(world, NULL)->err, ERR_OK);
    assert_int_equal(asked.count, 2);
    world_close(world);
}

static void the_guard_is_asked_for_each_connection(void **state)
{
    struct asked asked = {0};
    struct world *world = world_open(state, answers_context);
    world->peer.context = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
                          "Content-Length: 0\r\n\r\n";
    world->options.allowed = guard;
    world->options.context = &asked;
    assert_int_equal(world_call(world, NULL)->err, ERR_OK);
    assert_int_equal(world_call(world, NULL)->err, ERR_OK);
    assert_int_equal(asked.count, 2);
    asked.denied = "127.0.0.1:"; /* as when a name has moved */
    assert_int_equal(world_call(world, NULL)->err, ERR_DENIED);
    world_close(world);
}

/* --- deadlines ----------------------------------------------------------- */

static void says_nothing(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    if (peer_read_request(talk)) {
        peer_wait_end(talk);
    }
}

/* A byte of a long body now and then, so that something always comes. */
static void drips(struct peer *peer, struct peer_talk *talk)
{
    (void)peer;
    bool heard = peer_read_request(talk) &&
                 peer_say(talk, "HTTP/1.1 200 OK\r\n"
                                "Content-Length: 1000000\r\n\r\n");
    while (heard) {
        heard = !peer_wait_go(talk) ? false : peer_say(talk, "x");
    }
}

static void call_with_timeout(struct world *world, uint32_t timeout_ms)
{
    if (world->client == NULL) {
        world->client = caller_client(&world->options);
    }
    caller_fini(&world->caller);
    caller_prepare(&world->caller, world->client,
                   caller_url("http", "127.0.0.1", world->peer.port), "x");
    world->caller.call.timeout_ms = timeout_ms;
    http_call_start(&world->caller.call);
    LOOP_UNTIL(world->io, world->caller.done > 0);
    assert_int_equal(world->caller.err, ERR_TIMEOUT);
    assert_true(world->caller.elapsed_ns >=
                (uint64_t)(timeout_ms - 1) * 1000000);
    assert_int_equal(open_count(world), 0);
}

static void a_peer_that_never_answers_times_out(void **state)
{
    struct world *world = world_open(state, says_nothing);
    call_with_timeout(world, 50);
    assert_string_equal(world->caller.detail, "no response in time");
    world_close(world);
}

static void a_peer_that_drips_times_out(void **state)
{
    struct world *world = world_open(state, drips);
    atomic_store(&world->peer.go, true);
    uint32_t timeout_ms = 50;
    do { /* on a busy machine it may not even have begun */
        call_with_timeout(world, timeout_ms);
        timeout_ms *= 4;
    } while (timeout_ms < 20000 &&
             strcmp(world->caller.detail, "no response in time") == 0);
    assert_string_equal(world->caller.detail,
                        "the response was not over in time");
    world_close(world);
}

static void a_peer_that_does_not_accept_times_out(void **state)
{
    struct world *world = world_open(state, says_nothing);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(full, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(full, 0), 0);
    assert_int_equal(getsockname(full, (struct sockaddr *)&address, &size), 0);
    int fills[2];
    for (int i = 0; i < 2; i++) { /* its queue; nobody accepts */
        fills[i] =
            socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fills[i], (struct sockaddr *)&address, size);
    }
    world->options.connect_timeout_ms = 60;
    world->client = caller_client(&world->options);
    caller_prepare(&world->caller, world->client,
                   caller_url("http", "127.0.0.1", ntohs(address.sin_port)),
                   NULL);
    world->caller.call.timeout_ms = 60000; /* not by this one */
    http_call_start(&world->caller.call);
    LOOP_UNTIL(world->io, world->caller.done > 0);
    assert_int_equal(world->caller.err, ERR_TIMEOUT);
    assert_non_null(strstr(world->caller.detail, "127.0.0.1:"));
    assert_true(world->caller.elapsed_ns < UINT64_C(50000000000));
    (void)close(fills[0]);
    (void)close(fills[1]);
    (void)close(full);
    world_close(world);
}

static void a_name_server_that_does_not_answer_times_out(void **state)
{
    struct dns dns = {.ttl_s = 60};
    struct world *world = world_open(state, says_nothing);
    atomic_store(&dns.silent, true);
    dns_start(&dns);
    world->options.dns_servers = dns.server;
    world->options.connect_timeout_ms = 60;
    world->client = caller_client(&world->options);
    caller_start(&world->caller, world->client, "http://some.test/", NULL);
    LOOP_UNTIL(world->io, world->caller.done > 0);
    assert_int_equal(world->caller.err, ERR_TIMEOUT);
    assert_string_equal(world->caller.detail,
                        "the name was not resolved in time");
    world_close(world);
    dns_stop(&dns);
}

static void a_ca_file_that_is_none_is_refused(void **state)
{
    struct http_client_options options = caller_options(loop_of(state));
    struct http_client *client = NULL;
    options.ca_file = "/nowhere/at/all.pem";
    assert_int_equal(http_client_create(&options, &client), ERR_NOT_FOUND);
    options.ca_file = "/dev/null";
    assert_int_equal(http_client_create(&options, &client), ERR_INVALID);
    options.ca_file = NULL;
    options.dns_servers = "not a server";
    assert_int_equal(http_client_create(&options, &client), ERR_INVALID);
    assert_null(client);
    http_client_destroy(client);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_response_comes_whole),
        LOOP_TEST(a_connection_is_kept_and_used_again),
        LOOP_TEST(a_response_reads_the_same_however_it_is_cut),
        LOOP_TEST(a_body_may_end_with_the_connection),
        LOOP_TEST(there_is_no_body_after_204_304_and_head),
        LOOP_TEST(what_is_not_to_be_kept_is_dropped),
        LOOP_TEST(a_body_past_its_bound_is_cut_off),
        LOOP_TEST(an_early_response_counts_and_ends_the_connection),
        LOOP_TEST(connections_are_not_kept_when_the_peer_says_so),
        LOOP_TEST(what_is_not_http_is_a_protocol_error),
        LOOP_TEST(heads_without_end_are_refused),
        LOOP_TEST(nobody_there_is_refused),
        LOOP_TEST(a_response_that_breaks_off_is_a_reset),
        LOOP_TEST(a_name_that_is_not_there_is_a_dns_error),
        LOOP_TEST(the_next_address_is_tried_when_one_is_refused),
        LOOP_TEST(the_last_address_says_how_the_call_failed),
        LOOP_TEST(a_denied_address_is_named_and_not_connected_to),
        LOOP_TEST(the_guard_is_asked_for_each_connection),
        LOOP_TEST(a_peer_that_never_answers_times_out),
        LOOP_TEST(a_peer_that_drips_times_out),
        LOOP_TEST(a_peer_that_does_not_accept_times_out),
        LOOP_TEST(a_name_server_that_does_not_answer_times_out),
        LOOP_TEST(a_ca_file_that_is_none_is_refused),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
