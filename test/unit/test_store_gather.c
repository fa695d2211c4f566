/* Tests of commits that wait for changes which are about to come. Each write
 * to the journal takes WRITE_MS, so that there is something to be gained.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum {
    WRITE_MS = 4,
    ROUNDS = 20,
};

static uint32_t say(void *context, uint64_t within_ns)
{
    assert_true(within_ns > 0);
    return *(const uint32_t *)context;
}

struct world {
    struct store_place place;
    struct store_topic *topic;
    uint32_t expected;
    uint64_t next;
};

/* A store that commits in its turns and knows how long that takes. */
static void world_make(struct world *world, struct io *io)
{
    *world = (struct world){.expected = 0};
    fault_install();
    fault_slow_sync(WRITE_MS * 1000);
    store_place_create(&world->place);
    world->place.options.sync_inline_max_us = 1000000;
    assert_int_equal(store_place_open(&world->place, io), ERR_OK);
    world->topic = store_place_topic(world->place.store, "a");
    store_expect(world->place.store, say, &world->expected);
    for (; world->next < 20; world->next++) {
        assert_int_equal(store_place_append(io, world->topic, world->next, 100),
                         ERR_OK);
    }
}

static void world_end(struct world *world, struct io *io)
{
    store_place_expect(io, world->topic, 0, world->next, 100);
    store_place_close(&world->place);
    store_place_destroy(&world->place);
    fault_remove();
}

static void append(struct world *world, struct store_wait *wait)
{
    store_wait_init(wait, DURABILITY_DISK);
    assert_int_equal(store_wait_append(world->topic, wait, world->next, 100),
                     ERR_OK);
    world->next++;
}

static uint64_t commits(const struct world *world)
{
    return store_stats(world->place.store)->commits;
}

/* Each append is committed in the turn that brought it. */
static void expect_no_wait(struct world *world, struct io *io)
{
    struct store_wait wait;
    for (int i = 0; i < ROUNDS; i++) {
        append(world, &wait);
        io_run_turn(io, 0);
        assert_int_equal(wait.done_count, 1);
    }
}

/* Over epoll, which cannot count, no commit waits. */
static bool counts(struct io *io)
{
    return strcmp(io_backend_name(io), "io_uring") == 0;
}

static void those_expected_share_a_commit(void **state)
{
    struct io *io = loop_of(state);
    static struct world world;
    if (!counts(io)) {
        return;
    }
    world_make(&world, io);
    uint64_t before = commits(&world);
    uint32_t shared = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct store_wait first;
        struct store_wait second;
        world.expected = 1;
        append(&world, &first);
        io_run_turn(io, 0);
        bool waited = first.done_count == 0;
        append(&world, &second);
        world.expected = 0; /* all are here */
        assert_int_equal(store_wait_run(io, &second), ERR_OK);
        assert_int_equal(store_wait_run(io, &first), ERR_OK);
        shared += waited ? 1 : 0;
    }
    assert_true(shared > ROUNDS / 2); /* all, unless turns took long */
    assert_int_equal(commits(&world) - before, 2 * ROUNDS - shared);
    world_end(&world, io);
}

static void those_who_do_not_come_are_soon_not_waited_for(void **state)
{
    struct io *io = loop_of(state);
    static struct world world;
    struct store_wait wait;
    uint32_t waited = 0;
    if (!counts(io)) {
        return;
    }
    world_make(&world, io);
    world.expected = 100;
    for (int i = 0; i < ROUNDS; i++) {
        append(&world, &wait);
        io_run_turn(io, 0);
        waited += wait.done_count == 0 ? 1 : 0;
        assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    }
    assert_true(waited >= 1);
    assert_true(waited <= ROUNDS / 4);
    world_end(&world, io);
}

static void nobody_expected_is_not_waited_for(void **state)
{
    struct io *io = loop_of(state);
    static struct world world;
    world_make(&world, io);
    expect_no_wait(&world, io);
    world_end(&world, io);
}

static void what_need_not_be_synced_does_not_wait(void **state)
{
    struct io *io = loop_of(state);
    static struct world world;
    struct store_wait wait;
    world_make(&world, io);
    world.expected = 1;
    for (int i = 0; i < ROUNDS; i++) {
        store_wait_init(&wait, DURABILITY_NONE);
        assert_int_equal(store_wait_append(world.topic, &wait, world.next, 100),
                         ERR_OK);
        world.next++;
        io_run_turn(io, 0);
        assert_int_equal(wait.done_count, 1);
    }
    world_end(&world, io);
}

static void a_crowd_is_committed_behind_the_loop(void **state)
{
    struct io *io = loop_of(state);
    static struct world world;
    struct store_wait wait;
    world_make(&world, io);
    world.expected = 10000;            /* of 8 us each; a sync takes 4 ms */
    for (int i = 0; i < ROUNDS; i++) { /* one of 32 is timed */
        append(&world, &wait);
        io_run_turn(io, 0);
        assert_int_equal(wait.done_count, 0);
        assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    }
    world_end(&world, io);
}

static void on_a_slow_disk_even_many_are_waited_for(void **state)
{
    struct io *io = loop_of(state);
    static struct world world;
    struct store_wait wait;
    uint32_t waited = 0;
    if (!counts(io)) {
        return;
    }
    world_make(&world, io);
    world.expected = 400; /* 3 ms of work */
    uint64_t before = commits(&world);
    append(&world, &wait);
    io_run_turn(io, 0);
    waited += commits(&world) == before && wait.done_count == 0 ? 1 : 0;
    struct store_wait next;
    append(&world, &next);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    assert_int_equal(store_wait_run(io, &next), ERR_OK);
    assert_int_equal(waited, 1);
    assert_int_equal(commits(&world), before + 1);
    world_end(&world, io);
}

static void over_epoll_no_commit_waits(void **state)
{
    struct io *io = loop_of(state);
    static struct world world;
    if (counts(io)) {
        return;
    }
    world_make(&world, io);
    world.expected = 1;
    expect_no_wait(&world, io);
    world_end(&world, io);
}

static void closing_does_not_wait(void **state)
{
    struct io *io = loop_of(state);
    static struct world world;
    struct store_wait wait;
    world_make(&world, io);
    world.expected = 1;
    append(&world, &wait);
    store_place_close(&world.place);
    assert_int_equal(wait.done_count, 1);
    assert_int_equal(wait.err, ERR_OK);
    store_place_destroy(&world.place);
    fault_remove();
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(those_expected_share_a_commit),
        LOOP_TEST(those_who_do_not_come_are_soon_not_waited_for),
        LOOP_TEST(nobody_expected_is_not_waited_for),
        LOOP_TEST(what_need_not_be_synced_does_not_wait),
        LOOP_TEST(a_crowd_is_committed_behind_the_loop),
        LOOP_TEST(on_a_slow_disk_even_many_are_waited_for),
        LOOP_TEST(over_epoll_no_commit_waits),
        LOOP_TEST(closing_does_not_wait),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
