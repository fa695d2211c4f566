/* What every store must do: views of topics.
 *
 * SPDX-License-Identifier: MIT
 */
#include "contract/store_contract_view.h"

#include "base/check.h"
#include "contract/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A view, made when it is not there. */
static struct store_topic *view_of(struct store_topic *topic, const char *name)
{
    struct store_topic *view = NULL;
    assert_int_equal(store_view_open(topic, str_from(name), true, &view),
                     ERR_OK);
    return view;
}

/* A view that is there; NULL when it is not. */
static struct store_topic *find_view(struct store_topic *topic,
                                     const char *name)
{
    struct store_topic *view = NULL;
    enum err err = store_view_open(topic, str_from(name), false, &view);
    assert_true(err == ERR_OK || (err == ERR_NOT_FOUND && view == NULL));
    return view;
}

static enum err delete_view(struct world *world, struct store_topic *view)
{
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_view_delete(view, &wait.op);
    return store_wait_run(world->io, &wait);
}

static enum err
set_view(struct world *world, struct store_topic *view, const char *settings)
{
    struct store_retention none = {0};
    return world_configure(world, view, str_from(settings), &none);
}

static enum err
hold_view(struct world *world, struct store_topic *view, bool hold)
{
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_view_hold(view, hold, &wait.op);
    return store_wait_run(world->io, &wait);
}

/* Crash and reopen by turns. */
static struct store_topic *again(struct world *world, int round)
{
    round % 2 == 0 ? world_crash(world) : world_reopen(world);
    return world_topic(world, "a");
}

static void a_view_is_made_only_when_asked_for(void **state)
{
    struct world world = world_make(state);
    struct store_topic *a = world_topic(&world, "a");
    struct store_topic *b = world_topic(&world, "b");
    struct store_topic *view = NULL;
    assert_null(find_view(a, "v"));
    view = view_of(a, "v");
    assert_ptr_equal(view_of(a, "v"), view);
    assert_ptr_equal(find_view(a, "v"), view);
    assert_null(find_view(b, "v"));
    assert_ptr_equal(view->parent, a);
    assert_true(str_equal(view->name_str, STR("v")));
    assert_int_not_equal(view->id, a->id);
    assert_int_not_equal(view_of(b, "v")->id, view->id);
    assert_null(a->parent);
    assert_null(store_place_find(world.store, "v")); /* not a topic */
    assert_int_equal(store_view_open(a, STR("x/y"), true, &view), ERR_INVALID);
    assert_int_equal(store_view_open(a, STR(".."), true, &view), ERR_INVALID);
    assert_int_equal(store_view_open(a, STR(""), false, &view), ERR_INVALID);
    world_end(&world);
}

static void count_topic(void *context, struct store_topic *topic)
{
    uint32_t *count = context;
    assert_non_null(topic);
    (*count)++;
}

static void views_are_visited_and_are_no_topics(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    uint32_t count = 0;
    store_view_each(topic, count_topic, &count);
    assert_int_equal(count, 0);
    struct store_topic *view = view_of(topic, "u");
    (void)view_of(topic, "v");
    (void)view_of(world_topic(&world, "b"), "v");
    assert_int_equal(set_view(&world, view, "x\n"), ERR_OK);
    store_view_each(topic, count_topic, &count);
    assert_int_equal(count, 2);
    assert_int_equal(delete_view(&world, view), ERR_OK);
    count = 0;
    store_view_each(topic, count_topic, &count);
    assert_int_equal(count, 1);
    count = 0;
    store_topic_each(world.store, count_topic, &count);
    assert_int_equal(count, 2);
    world_end(&world);
}

static void a_topic_has_so_many_views_and_no_more(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_topic *view = NULL;
    char name[32];
    for (int i = 0; i < STORE_VIEWS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "view-%d", i);
        view = view_of(topic, name);
    }
    assert_int_equal(store_view_open(topic, STR("more"), true, &view),
                     ERR_BUSY);
    assert_int_equal(delete_view(&world, view_of(topic, "view-7")), ERR_OK);
    assert_int_equal(store_view_open(topic, STR("more"), true, &view), ERR_OK);
    assert_int_equal(set_view(&world, view, "x\n"), ERR_OK);
    world_crash(&world);
    topic = world_topic(&world, "a");
    assert_non_null(find_view(topic, "more"));
    assert_null(find_view(topic, "view-8")); /* nothing of it was durable */
    world_end(&world);
}

static void a_view_begins_at_the_end(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 20, 100);
    struct store_topic *view = view_of(topic, "v");
    uint64_t id = view->id;
    assert_int_equal(view->cursor.next, 20);
    assert_int_equal(view->bounds.end, 20);
    assert_true(view->hold);
    assert_int_equal(set_view(&world, view, "x\n"), ERR_OK);
    world_fill(&world, topic, 20, 30, 100);
    for (int round = 0; round < 3; round++) {
        topic = again(&world, round);
        view = find_view(topic, "v");
        assert_non_null(view);
        assert_int_equal(view->id, id);
        assert_int_equal(view->cursor.next, 20);
        assert_int_equal(view->bounds.end, 30);
        assert_true(view->hold);
    }
    world_end(&world);
}

static void settings_of_views_are_kept(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_retention retention = {.count = 77};
    assert_int_equal(world_configure(&world, topic, STR("t\n"), &retention),
                     ERR_OK);
    assert_int_equal(set_view(&world, view_of(topic, "u"), "u\n"), ERR_OK);
    assert_int_equal(set_view(&world, view_of(topic, "v"), "v\n"), ERR_OK);
    assert_int_equal(hold_view(&world, view_of(topic, "v"), false), ERR_OK);
    for (int round = 0; round < 4; round++) {
        topic = again(&world, round);
        assert_true(str_equal(topic->settings, STR("t\n")));
        assert_int_equal(topic->retention.count, 77);
        struct store_topic *u = find_view(topic, "u");
        struct store_topic *v = find_view(topic, "v");
        assert_non_null(u);
        assert_non_null(v);
        assert_true(str_equal(u->settings, STR("u\n")));
        assert_true(str_equal(v->settings, STR("v\n")));
        assert_true(u->hold);
        assert_false(v->hold);
    }
    assert_int_equal(hold_view(&world, find_view(topic, "v"), true), ERR_OK);
    topic = again(&world, 0);
    assert_true(find_view(topic, "v")->hold);
    assert_true(str_equal(find_view(topic, "v")->settings, STR("v\n")));
    world_end(&world);
}

static void cursors_of_views_go_their_own_ways(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_topic *u = view_of(topic, "u");
    struct store_topic *v = view_of(topic, "v");
    world_fill(&world, topic, 0, 100, 50);
    world_deliver(topic, 90, 1);
    world_deliver(u, 40, 2);
    world_deliver(v, 70, 0);
    assert_int_equal(world_move(&world, v, 10), ERR_OK);
    assert_int_equal(world_move(&world, u, 101), ERR_RANGE);
    struct store_range ranges[] = {{50, 52}, {60, 99}};
    struct store_cursor cursor = {
        .next = 41, .attempts = 3, .range_count = 2, .ranges = ranges};
    store_cursor_store(u, &cursor);
    assert_int_equal(world_move(&world, topic, 95), ERR_OK);
    for (int round = 0; round < 4; round++) {
        u = find_view(topic, "u");
        v = find_view(topic, "v");
        assert_int_equal(topic->cursor.next, 95);
        assert_int_equal(u->cursor.next, 41);
        assert_int_equal(u->cursor.attempts, 3);
        assert_int_equal(v->cursor.next, 10);
        topic = again(&world, round);
    }
    world_end(&world);
}

static void a_cursor_that_was_saved_is_kept(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_topic *view = view_of(topic, "v");
    struct store_wait waits[4];
    struct store_range ranges[] = {{50, 52}, {60, 99}};
    struct store_cursor cursor = {
        .next = 41, .range_count = 2, .ranges = ranges};
    for (size_t i = 0; i < 4; i++) {
        store_wait_init(&waits[i], DURABILITY_DISK);
    }
    world_fill(&world, topic, 0, 100, 50);
    assert_int_equal(world_move(&world, view, 0), ERR_OK);
    store_cursor_save(view, &cursor, &waits[0].op);
    assert_int_equal(waits[0].done_count, 0); /* not from inside the call */
    assert_int_equal(view->cursor.next, 41);
    assert_int_equal(store_wait_run(world.io, &waits[0]), ERR_OK);
    /* Neither back nor past the end; the same again is good. */
    cursor.next = 40;
    store_cursor_save(view, &cursor, &waits[1].op);
    store_cursor_save(view, &(struct store_cursor){.next = 101}, &waits[2].op);
    cursor.next = 41;
    store_cursor_save(view, &cursor, &waits[3].op);
    assert_int_equal(store_wait_run(world.io, &waits[1]), ERR_RANGE);
    assert_int_equal(store_wait_run(world.io, &waits[2]), ERR_RANGE);
    assert_int_equal(store_wait_run(world.io, &waits[3]), ERR_OK);
    for (int round = 0; round < 4; round++) {
        topic = again(&world, round);
        view = find_view(topic, "v");
        assert_int_equal(view->cursor.next, 41);
        assert_int_equal(view->cursor.range_count, 2);
        assert_int_equal(view->cursor.ranges[1].first, 60);
        assert_int_equal(view->cursor.ranges[1].end, 99);
    }
    world_end(&world);
}

static void readers_of_a_view_read_its_topic(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_topic *view = view_of(topic, "v");
    struct store_reader *reader = NULL;
    struct record record;
    uint64_t sequence = 0;
    world_fill(&world, topic, 0, 300, 100);
    assert_int_equal(store_next_sequence(view), 300);
    assert_int_equal(store_find_time(view, UINT64_MAX, &sequence), ERR_OK);
    assert_int_equal(sequence, 300);
    assert_int_equal(store_reader_create(view, &reader), ERR_OK);
    assert_ptr_equal(reader->topic, topic);
    for (uint64_t i = 0; i < 300; i++) {
        assert_int_equal(store_place_read(world.io, reader, i, &record),
                         ERR_OK);
        assert_true(store_place_is(&record, i, 100));
    }
    assert_int_equal(store_reader_next(reader, 300, &record), ERR_NOT_FOUND);
    assert_int_equal(delete_view(&world, view), ERR_OK);
    assert_int_equal(store_place_read(world.io, reader, 5, &record), ERR_OK);
    store_reader_destroy(reader);
    world_end(&world);
}

struct counter {
    struct store_watch watch;
    struct store_topic *watched;
    uint64_t end; /* seen when told */
    uint32_t count;
};

static void counter_moved(struct store_watch *watch)
{
    struct counter *counter = CONTAINER_OF(watch, struct counter, watch);
    counter->count++;
    counter->end = counter->watched->bounds.end;
}

static void watches_of_a_view_are_told(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct counter counters[3] = {{.watched = topic},
                                  {.watched = view_of(topic, "u")},
                                  {.watched = view_of(topic, "v")}};
    for (size_t i = 0; i < 3; i++) {
        counters[i].watch.moved = counter_moved;
        store_watch_add(counters[i].watched, &counters[i].watch);
    }
    world_fill(&world, topic, 0, 7, 10);
    LOOP_UNTIL(world.io, counters[0].end == 7);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(counters[i].end, 7);
        assert_int_equal(counters[i].count, counters[0].count);
        store_watch_remove(&counters[i].watch);
    }
    world_end(&world);
}

static void a_purge_moves_views(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    (void)view_of(topic, "behind");
    world_fill(&world, topic, 0, 50, 100);
    (void)view_of(topic, "ahead");
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_purge(topic, 30, &wait.op);
    for (int round = 0; round < 4; round++) {
        struct store_topic *behind = find_view(topic, "behind");
        struct store_topic *ahead = find_view(topic, "ahead");
        assert_int_equal(topic->bounds.oldest, 30);
        assert_int_equal(topic->cursor.next, 30);
        assert_non_null(behind);
        assert_int_equal(behind->bounds.oldest, 30);
        assert_int_equal(behind->cursor.next, 30);
        assert_non_null(ahead);
        assert_int_equal(ahead->bounds.oldest, 30);
        assert_int_equal(ahead->cursor.next, 50);
        if (round == 0) { /* at once, and durable when it is done */
            assert_int_equal(store_wait_run(world.io, &wait), ERR_OK);
            assert_int_equal(set_view(&world, ahead, "x\n"), ERR_OK);
            assert_int_equal(set_view(&world, behind, "x\n"), ERR_OK);
        }
        topic = again(&world, round);
    }
    world_end(&world);
}

static void a_deleted_view_is_gone_and_its_name_free(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 10, 100);
    struct store_topic *view = view_of(topic, "v");
    uint64_t id = view->id;
    assert_int_equal(set_view(&world, view, "old\n"), ERR_OK);
    world_reopen(&world);
    topic = world_topic(&world, "a");
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_view_delete(find_view(topic, "v"), &wait.op);
    assert_null(find_view(topic, "v"));
    world_fill(&world, topic, 10, 12, 100);
    view = view_of(topic, "v");
    assert_int_not_equal(view->id, id);
    id = view->id;
    assert_int_equal(view->settings.size, 0);
    assert_int_equal(set_view(&world, view, "new\n"), ERR_OK);
    assert_int_equal(store_wait_run(world.io, &wait), ERR_OK);
    for (int round = 0; round < 4; round++) {
        topic = again(&world, round);
        view = find_view(topic, "v");
        assert_non_null(view);
        assert_int_equal(view->id, id);
        assert_true(str_equal(view->settings, STR("new\n")));
        assert_int_equal(view->cursor.next, 12);
        store_place_expect(world.io, topic, 0, 12, 100);
    }
    assert_int_equal(delete_view(&world, view), ERR_OK);
    assert_null(find_view(again(&world, 0), "v"));
    assert_null(find_view(again(&world, 1), "v"));
    world_end(&world);
}

static void views_go_with_their_topic(void **state)
{
    struct world world = world_make(state);
    for (int round = 0; round < 6; round++) {
        struct store_topic *topic = world_topic(&world, "a");
        assert_null(find_view(topic, "u"));
        assert_null(find_view(topic, "v"));
        world_fill(&world, topic, 0, 10, 100);
        assert_int_equal(set_view(&world, view_of(topic, "u"), "u\n"), ERR_OK);
        (void)view_of(topic, "v"); /* nothing of it is durable */
        if (round % 3 != 0) {
            topic = again(&world, round);
            assert_non_null(find_view(topic, "u"));
        }
        assert_int_equal(world_delete(&world, topic), ERR_OK);
        if (round % 2 != 0) {
            (void)again(&world, round / 2);
        }
    }
    assert_int_equal(store_stats(world.store)->quarantined, 0);
    world_end(&world);
}

static void a_view_alone_makes_its_topic_durable(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    uint64_t id = topic->id;
    assert_true(store_topic_unused(topic));
    struct store_topic *view = view_of(topic, "v");
    assert_false(store_topic_unused(topic));
    assert_true(store_topic_unused(view));
    assert_int_equal(set_view(&world, view, "x\n"), ERR_OK);
    assert_false(store_topic_unused(view));
    for (int round = 0; round < 3; round++) {
        topic = again(&world, round);
        assert_int_equal(topic->id, id);
        assert_non_null(find_view(topic, "v"));
    }
    view = view_of(topic, "w");
    store_topic_unmake(view);
    assert_null(find_view(topic, "w"));
    world_end(&world);
}

const struct loop_test store_contract_view_tests[] = {
    LOOP_TEST(a_view_is_made_only_when_asked_for),
    LOOP_TEST(views_are_visited_and_are_no_topics),
    LOOP_TEST(a_topic_has_so_many_views_and_no_more),
    LOOP_TEST(a_view_begins_at_the_end),
    LOOP_TEST(settings_of_views_are_kept),
    LOOP_TEST(cursors_of_views_go_their_own_ways),
    LOOP_TEST(a_cursor_that_was_saved_is_kept),
    LOOP_TEST(readers_of_a_view_read_its_topic),
    LOOP_TEST(watches_of_a_view_are_told),
    LOOP_TEST(a_purge_moves_views),
    LOOP_TEST(a_deleted_view_is_gone_and_its_name_free),
    LOOP_TEST(views_go_with_their_topic),
    LOOP_TEST(a_view_alone_makes_its_topic_durable),
};
const size_t store_contract_view_count =
    sizeof(store_contract_view_tests) / sizeof(store_contract_view_tests[0]);
