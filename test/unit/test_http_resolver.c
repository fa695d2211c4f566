/* Tests of the resolver, against a DNS server of their own.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/resolver.h"

#include "lib/loop.h"
#include "lib/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One question and what came of it. */
struct asker {
    struct resolver_query query;
    int done;
    enum err err;
    char detail[64];
    struct resolver_answer answer;
    struct asker *starts; /* in done(), the same name again */
    struct resolver *resolver;
};

static void note(struct asker *asker,
                 enum err err,
                 const struct resolver_answer *answer,
                 const char *detail)
{
    asker->done++;
    asker->err = err;
    if (err == ERR_OK) {
        asker->answer = *answer;
    } else {
        assert_null(answer);
        (void)snprintf(asker->detail, sizeof(asker->detail), "%s", detail);
    }
}

static void asker_done(struct resolver_query *query,
                       enum err err,
                       const struct resolver_answer *answer,
                       const char *detail)
{
    struct asker *asker = (struct asker *)query;
    struct asker *next = asker->starts;
    const struct resolver_answer *found = NULL;
    note(asker, err, answer, detail);
    if (next != NULL) {
        /* It is answered at once, by what came just now. */
        assert_int_equal(resolver_start(asker->resolver, STR("some.test"),
                                        &next->query, &found, &detail),
                         ERR_OK);
        note(next, ERR_OK, found, NULL);
    }
}

/* Ask; an answer that comes at once is noted as done. */
static void
ask(struct resolver *resolver, struct asker *asker, const char *name)
{
    const struct resolver_answer *answer = NULL;
    const char *detail = NULL;
    asker->query.done = asker_done;
    asker->resolver = resolver;
    enum err err = resolver_start(resolver, str_from(name), &asker->query,
                                  &answer, &detail);
    if (err != ERR_AGAIN) {
        note(asker, err, answer, detail);
    }
}

struct world {
    struct io *io;
    struct dns dns;
    struct resolver *resolver;
};

static struct world *world_open(void **state, uint32_t ttl_s)
{
    struct io *io = loop_of(state);
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->io = io;
    world->dns.ttl_s = ttl_s;
    dns_start(&world->dns);
    struct resolver_options options = {.io = io, .servers = world->dns.server};
    assert_int_equal(resolver_create(&options, &world->resolver), ERR_OK);
    return world;
}

static void world_close(struct world *world)
{
    resolver_destroy(world->resolver);
    LOOP_TURNS(world->io, 2);
    dns_stop(&world->dns);
    free(world);
}

static void expect_address(const struct asker *asker, const char *text)
{
    char found[NET_TEXT_MAX];
    assert_int_equal(asker->err, ERR_OK);
    assert_int_equal(asker->answer.count, 1);
    net_format(&asker->answer.addresses[0], found);
    assert_string_equal(found, text);
}

/* Let time pass, so that what is kept for `span_ms` is not any more. */
static void pass_time(struct io *io, uint64_t span_ms)
{
    uint64_t until_ms = io_now_ms(io) + span_ms;
    while (io_now_ms(io) < until_ms) {
        io_run_turn(io, 20);
    }
}

static void a_name_is_asked_for_once_and_kept(void **state)
{
    struct world *world = world_open(state, 300);
    world->dns.addresses[0] = "192.0.2.7";
    struct asker first = {0};
    ask(world->resolver, &first, "Some.Test");
    assert_int_equal(first.done, 0);
    LOOP_UNTIL(world->io, first.done > 0);
    expect_address(&first, "192.0.2.7:0");
    struct asker second = {0};
    ask(world->resolver, &second, "some.test");
    assert_int_equal(second.done, 1); /* at once */
    expect_address(&second, "192.0.2.7:0");
    assert_int_equal(atomic_load(&world->dns.asked), 1);
    assert_int_equal(resolver_stats(world->resolver)->asked, 1);
    assert_int_equal(resolver_stats(world->resolver)->cached, 1);
    world_close(world);
}

static void several_addresses_come_all(void **state)
{
    struct world *world = world_open(state, 300);
    struct asker asker = {0};
    world->dns.addresses[0] = "192.0.2.7";
    world->dns.addresses[1] = "192.0.2.8";
    world->dns.addresses[2] = "192.0.2.9";
    ask(world->resolver, &asker, "some.test");
    LOOP_UNTIL(world->io, asker.done > 0);
    assert_int_equal(asker.err, ERR_OK);
    assert_int_equal(asker.answer.count, 3);
    world_close(world);
}

static void questions_at_the_same_time_are_one(void **state)
{
    struct world *world = world_open(state, 300);
    struct asker askers[10];
    memset(askers, 0, sizeof(askers));
    world->dns.addresses[0] = "192.0.2.7";
    for (int i = 0; i < 10; i++) {
        ask(world->resolver, &askers[i], "some.test");
    }
    resolver_cancel(&askers[4].query);
    resolver_cancel(&askers[4].query);
    for (int i = 0; i < 10; i++) {
        LOOP_UNTIL(world->io, i == 4 || askers[i].done == 1);
    }
    assert_int_equal(askers[4].done, 0);
    assert_int_equal(atomic_load(&world->dns.asked), 1);
    assert_int_equal(resolver_stats(world->resolver)->joined, 9);
    world_close(world);
}

static void a_short_time_to_live_is_a_second(void **state)
{
    struct world *world = world_open(state, 0);
    struct asker asker = {0};
    world->dns.addresses[0] = "192.0.2.7";
    ask(world->resolver, &asker, "some.test");
    LOOP_UNTIL(world->io, asker.done == 1);
    ask(world->resolver, &asker, "some.test");
    assert_int_equal(asker.done, 2);
    world->dns.addresses[0] = "192.0.2.8"; /* it moves */
    pass_time(world->io, RESOLVER_TTL_MIN_MS + 1);
    ask(world->resolver, &asker, "some.test");
    LOOP_UNTIL(world->io, asker.done == 3);
    expect_address(&asker, "192.0.2.8:0");
    assert_int_equal(atomic_load(&world->dns.asked), 2);
    world_close(world);
}

static void that_there_is_no_name_is_kept_for_a_second(void **state)
{
    struct world *world = world_open(state, 300);
    struct asker asker = {0};
    ask(world->resolver, &asker, "nobody.invalid");
    LOOP_UNTIL(world->io, asker.done == 1);
    assert_int_equal(asker.err, ERR_DNS);
    assert_string_equal(asker.detail, "no such name");
    int asked = atomic_load(&world->dns.asked);
    ask(world->resolver, &asker, "nobody.invalid");
    assert_int_equal(asker.done, 2);
    assert_int_equal(asker.err, ERR_DNS);
    assert_int_equal(atomic_load(&world->dns.asked), asked);
    world->dns.addresses[0] = "192.0.2.7"; /* it comes up */
    pass_time(world->io, RESOLVER_TTL_MIN_MS + 1);
    ask(world->resolver, &asker, "nobody.invalid");
    LOOP_UNTIL(world->io, asker.done == 3);
    expect_address(&asker, "192.0.2.7:0");
    world_close(world);
}

static void numbers_and_localhost_need_no_asking(void **state)
{
    static const struct {
        const char *name;
        const char *first;
        uint32_t count;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1:0", 1},
        {"2001:db8::1", "[2001:db8::1]:0", 1},
        {"::1", "[::1]:0", 1},
        {"localhost", "127.0.0.1:0", 2},
        {"LocalHost.", "127.0.0.1:0", 2},
        {"a.localhost", "127.0.0.1:0", 2},
    };
    struct world *world = world_open(state, 300);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct asker asker = {0};
        char text[NET_TEXT_MAX];
        ask(world->resolver, &asker, cases[i].name);
        assert_int_equal(asker.done, 1);
        assert_int_equal(asker.err, ERR_OK);
        assert_int_equal(asker.answer.count, cases[i].count);
        net_format(&asker.answer.addresses[0], text);
        assert_string_equal(text, cases[i].first);
    }
    assert_int_equal(resolver_stats(world->resolver)->asked, 0);
    world_close(world);
}

static void what_is_no_name_is_a_dns_error(void **state)
{
    struct world *world = world_open(state, 300);
    char longest[400];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    const char *const names[] = {"", longest, "unix:x"};
    for (int i = 0; i < 3; i++) {
        struct asker asker = {0};
        ask(world->resolver, &asker, names[i]);
        LOOP_UNTIL(world->io, asker.done == 1);
        assert_int_equal(asker.err, ERR_DNS);
        assert_true(asker.detail[0] != '\0');
    }
    world_close(world);
}

static void done_may_ask_again(void **state)
{
    struct world *world = world_open(state, 300);
    struct asker second = {0};
    struct asker first = {.starts = &second};
    world->dns.addresses[0] = "192.0.2.7";
    ask(world->resolver, &first, "some.test");
    LOOP_UNTIL(world->io, second.done == 1);
    expect_address(&second, "192.0.2.7:0");
    world_close(world);
}

static void the_cache_has_a_bound(void **state)
{
    struct world *world = world_open(state, 300);
    struct asker asker = {0};
    char name[64];
    world->dns.addresses[0] = "192.0.2.7";
    for (int i = 0; i < RESOLVER_ENTRIES_MAX + 10; i++) {
        (void)snprintf(name, sizeof(name), "n%d.test", i);
        ask(world->resolver, &asker, name);
        LOOP_UNTIL(world->io, asker.done == i + 1);
    }
    const struct resolver_stats *stats = resolver_stats(world->resolver);
    uint64_t asked = stats->asked;
    ask(world->resolver, &asker, name); /* the last one */
    assert_int_equal(stats->asked, asked);
    ask(world->resolver, &asker, "n0.test"); /* made room long ago */
    LOOP_UNTIL(world->io, asker.done == RESOLVER_ENTRIES_MAX + 12);
    assert_int_equal(stats->asked, asked + 1);
    world_close(world);
}

static void a_resolver_may_be_destroyed_with_questions_open(void **state)
{
    struct world *world = world_open(state, 300);
    struct asker askers[3];
    memset(askers, 0, sizeof(askers));
    atomic_store(&world->dns.silent, true);
    ask(world->resolver, &askers[0], "some.test");
    ask(world->resolver, &askers[1], "some.test");
    ask(world->resolver, &askers[2], "other.test");
    LOOP_TURNS(world->io, 2);
    resolver_destroy(world->resolver);
    world->resolver = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(askers[i].done, 0);
        resolver_cancel(&askers[i].query); /* late, and harmless */
    }
    world_close(world);
}

static void servers_that_are_none_are_refused(void **state)
{
    struct resolver_options options = {.io = loop_of(state),
                                       .servers = "not a server"};
    struct resolver *resolver = NULL;
    assert_int_equal(resolver_create(&options, &resolver), ERR_INVALID);
    assert_null(resolver);
    resolver_destroy(NULL);
    assert_int_equal(resolver_check_servers("not a server"), ERR_INVALID);
    assert_int_equal(resolver_check_servers("192.0.2.1,[::1]:5353"), ERR_OK);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_name_is_asked_for_once_and_kept),
        LOOP_TEST(several_addresses_come_all),
        LOOP_TEST(questions_at_the_same_time_are_one),
        LOOP_TEST(a_short_time_to_live_is_a_second),
        LOOP_TEST(that_there_is_no_name_is_kept_for_a_second),
        LOOP_TEST(numbers_and_localhost_need_no_asking),
        LOOP_TEST(what_is_no_name_is_a_dns_error),
        LOOP_TEST(done_may_ask_again),
        LOOP_TEST(the_cache_has_a_bound),
        LOOP_TEST(a_resolver_may_be_destroyed_with_questions_open),
        LOOP_TEST(servers_that_are_none_are_refused),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
