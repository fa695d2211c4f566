/* What every store must do: the promises of store/store.h, one by one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "contract/store_contract.h"

#include "base/check.h"
#include "contract/store_contract_acked.h"
#include "contract/store_contract_read.h"
#include "contract/store_contract_view.h"
#include "contract/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- topics --------------------------------------------------------------- */

static void names_are_checked(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = NULL;
    char longest[TOPIC_NAME_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    const char *const bad[] = {"", ".", "..", "a/b", "../x", "a b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(
            store_topic_open(world.store, str_from(bad[i]), true, &topic),
            ERR_INVALID);
    }
    struct str name = {longest, TOPIC_NAME_MAX + 1};
    assert_int_equal(store_topic_open(world.store, name, true, &topic),
                     ERR_INVALID);
    name.size = TOPIC_NAME_MAX;
    assert_int_equal(store_topic_open(world.store, name, true, &topic), ERR_OK);
    assert_true(str_equal(topic->name_str, name));
    assert_int_equal(store_topic_open(world.store, STR("..."), true, &topic),
                     ERR_OK);
    world_end(&world);
}

static void a_topic_is_made_only_when_asked_for(void **state)
{
    struct world world = world_make(state);
    assert_null(store_place_find(world.store, "a"));
    struct store_topic *topic = world_topic(&world, "a");
    assert_ptr_equal(store_place_find(world.store, "a"), topic);
    assert_ptr_equal(world_topic(&world, "a"), topic);
    assert_int_not_equal(topic->id, 0);
    assert_int_not_equal(world_topic(&world, "b")->id, topic->id);
    world_end(&world);
}

static void count_topic(void *context, struct store_topic *topic)
{
    uint32_t *count = context;
    assert_non_null(topic);
    (*count)++;
}

static void each_visits_all_topics_once(void **state)
{
    struct world world = world_make(state);
    uint32_t count = 0;
    store_topic_each(world.store, count_topic, &count);
    assert_int_equal(count, 0);
    (void)world_topic(&world, "a");
    (void)world_topic(&world, "b");
    struct store_topic *c = world_topic(&world, "c");
    assert_int_equal(world_delete(&world, c), ERR_OK);
    store_topic_each(world.store, count_topic, &count);
    assert_int_equal(count, 2);
    world_end(&world);
}

static void a_deleted_topic_is_gone_and_its_name_free(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 20, 100);
    world_deliver(topic, 7, 1);
    uint64_t id = topic->id;
    assert_int_equal(world_delete(&world, topic), ERR_OK);
    assert_null(store_place_find(world.store, "a"));
    topic = world_topic(&world, "a");
    assert_int_not_equal(topic->id, id);
    assert_int_equal(topic->bounds.end, 0);
    assert_int_equal(topic->cursor.next, 0);
    world_fill(&world, topic, 0, 3, 50);
    id = topic->id;
    world_crash(&world);
    topic = store_place_find(world.store, "a");
    assert_non_null(topic);
    assert_int_equal(topic->id, id);
    store_place_expect(world.io, topic, 0, 3, 50);
    world_reopen(&world);
    store_place_expect(world.io, store_place_find(world.store, "a"), 0, 3, 50);
    world_end(&world);
}

static void a_name_is_free_before_the_deletion_is_done(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 5, 100);
    world_reopen(&world);
    topic = store_place_find(world.store, "a");
    uint64_t id = topic->id;
    struct store_wait deletion;
    struct store_wait append;
    store_wait_init(&deletion, DURABILITY_DISK);
    store_wait_init(&append, DURABILITY_DISK);
    store_topic_delete(topic, &deletion.op);
    topic = world_topic(&world, "a");
    assert_int_not_equal(topic->id, id);
    assert_int_equal(store_wait_append(topic, &append, 0, 70), ERR_OK);
    assert_int_equal(store_wait_run(world.io, &deletion), ERR_OK);
    assert_int_equal(store_wait_run(world.io, &append), ERR_OK);
    assert_int_equal(append.op.sequence, 0);
    store_place_expect(world.io, topic, 0, 1, 70);
    world_reopen(&world);
    store_place_expect(world.io, store_place_find(world.store, "a"), 0, 1, 70);
    world_end(&world);
}

static void appends_under_way_fail_when_their_topic_goes(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_wait append;
    struct store_wait deletion;
    store_wait_init(&append, DURABILITY_DISK);
    store_wait_init(&deletion, DURABILITY_DISK);
    assert_int_equal(store_wait_append(topic, &append, 0, 10), ERR_OK);
    store_topic_delete(topic, &deletion.op);
    assert_int_equal(store_wait_run(world.io, &append), ERR_CLOSED);
    assert_int_equal(store_wait_run(world.io, &deletion), ERR_OK);
    assert_null(store_place_find(world.store, "a"));
    world_end(&world);
}

static void settings_are_kept(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_retention retention = {
        .age_ms = 1, .bytes = 2, .count = 3, .discard_old = true};
    struct store_retention none = {0};
    char large[STORE_SETTINGS_MAX + 1];
    memset(large, '\n', sizeof(large));
    assert_int_equal(
        world_configure(&world, topic, STR("paused yes\n\0x"), &retention),
        ERR_OK);
    assert_int_equal(world_configure(&world, topic,
                                     (struct str){large, sizeof(large)}, &none),
                     ERR_TOO_LARGE);
    struct store_topic *other = world_topic(&world, "b");
    struct str most = {large, STORE_SETTINGS_MAX};
    assert_int_equal(world_configure(&world, other, most, &none), ERR_OK);
    for (int i = 0; i < 3; i++) {
        if (i == 1) {
            world_crash(&world);
        } else if (i == 2) {
            world_reopen(&world);
        }
        topic = store_place_find(world.store, "a");
        assert_non_null(topic);
        assert_true(str_equal(topic->settings, STR("paused yes\n\0x")));
        assert_int_equal(topic->retention.age_ms, 1);
        assert_int_equal(topic->retention.bytes, 2);
        assert_int_equal(topic->retention.count, 3);
        assert_true(topic->retention.discard_old);
        other = store_place_find(world.store, "b");
        assert_true(str_equal(other->settings, most));
        assert_int_equal(other->retention.age_ms, 0);
        assert_false(other->retention.discard_old);
    }
    world_end(&world);
}

/* --- appending ------------------------------------------------------------ */

static void done_never_comes_from_inside_the_call(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_retention retention = {0};
    struct store_wait waits[5];
    for (size_t i = 0; i < 5; i++) {
        store_wait_init(&waits[i], DURABILITY_DISK);
    }
    assert_int_equal(store_wait_append(topic, &waits[0], 0, 10), ERR_OK);
    store_cursor_move(topic, 99, &waits[1].op); /* out of range */
    store_purge(topic, 0, &waits[2].op);
    store_topic_configure(topic, STR("x"), &retention, &waits[3].op);
    store_topic_delete(world_topic(&world, "b"), &waits[4].op);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(waits[i].done_count, 0);
    }
    assert_int_equal(topic->bounds.end, 0); /* nor is anything readable */
    for (size_t i = 0; i < 5; i++) {
        enum err err = store_wait_run(world.io, &waits[i]);
        assert_int_equal(err, i == 1 ? ERR_RANGE : ERR_OK);
        assert_int_equal(waits[i].done_count, 1);
    }
    assert_int_equal(topic->bounds.end, 1);
    world_end(&world);
}

static void done_comes_in_the_order_of_the_calls(void **state)
{
    struct world world = world_make(state);
    struct store_topic *a = world_topic(&world, "a");
    struct store_topic *b = world_topic(&world, "b");
    static struct store_wait waits[100];
    for (uint32_t i = 0; i < 100; i++) {
        store_wait_init(&waits[i], DURABILITY_DISK);
        struct store_topic *topic = i % 3 == 0 ? b : a;
        assert_int_equal(store_wait_append(topic, &waits[i], i, 40), ERR_OK);
    }
    assert_int_equal(store_wait_run(world.io, &waits[99]), ERR_OK);
    uint64_t next_a = 0;
    uint64_t next_b = 0;
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(waits[i].err, ERR_OK);
        assert_int_equal(waits[i].done_count, 1);
        assert_true(i == 0 || waits[i].order > waits[i - 1].order);
        uint64_t *next = i % 3 == 0 ? &next_b : &next_a;
        assert_int_equal(waits[i].op.sequence, *next);
        (*next)++;
    }
    world_end(&world);
}

static void durability_tells_what_was_reached(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_wait none;
    struct store_wait disk;
    store_wait_init(&none, DURABILITY_NONE);
    assert_int_equal(store_wait_append(topic, &none, 0, 10), ERR_OK);
    assert_int_equal(store_wait_run(world.io, &none), ERR_OK);
    store_wait_init(&none, DURABILITY_NONE);
    store_wait_init(&disk, DURABILITY_DISK);
    assert_int_equal(store_wait_append(topic, &none, 1, 10), ERR_OK);
    assert_int_equal(store_wait_append(topic, &disk, 2, 10), ERR_OK);
    assert_int_equal(store_wait_run(world.io, &disk), ERR_OK);
    assert_int_equal(disk.op.durability, DURABILITY_DISK);
    store_place_expect(world.io, topic, 0, 3, 10);
    world_crash(&world); /* of the process: also what asked for none */
    store_place_expect(world.io, world_topic(&world, "a"), 0, 3, 10);
    world_end(&world);
}

static void the_next_sequence_counts_appends_under_way(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    struct store_wait waits[3];
    assert_int_equal(store_next_sequence(topic), 0);
    for (uint64_t i = 0; i < 3; i++) {
        store_wait_init(&waits[i], DURABILITY_DISK);
        assert_int_equal(store_wait_append(topic, &waits[i], i, 10), ERR_OK);
        assert_int_equal(store_next_sequence(topic), i + 1);
        assert_int_equal(topic->bounds.end, 0);
    }
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(store_wait_run(world.io, &waits[i]), ERR_OK);
        assert_int_equal(waits[i].op.sequence, i);
    }
    assert_int_equal(store_next_sequence(topic), 3);
    world_crash(&world);
    assert_int_equal(store_next_sequence(world_topic(&world, "a")), 3);
    world_end(&world);
}

/* Starts another append when it is done. */
struct chain {
    struct store_op op;
    struct store_topic *topic;
    uint32_t left;
};

static void chain_done(struct store_op *op, enum err err)
{
    struct chain *chain = CONTAINER_OF(op, struct chain, op);
    struct message message = {.url = STR("http://x/"),
                              .kind = MESSAGE_KIND_RAW};
    assert_int_equal(err, ERR_OK);
    chain->left--;
    if (chain->left > 0) {
        assert_int_equal(store_append(chain->topic, &message, op), ERR_OK);
    }
}

static void done_may_start_the_next_change(void **state)
{
    struct world world = world_make(state);
    struct chain chain = {.op = {.done = chain_done},
                          .topic = world_topic(&world, "a"),
                          .left = 50};
    struct message message = {.url = STR("http://x/"),
                              .kind = MESSAGE_KIND_RAW};
    assert_int_equal(store_append(chain.topic, &message, &chain.op), ERR_OK);
    LOOP_UNTIL(world.io, chain.left == 0);
    assert_int_equal(chain.topic->bounds.end, 50);
    world_end(&world);
}

static void an_encoded_record_is_numbered_anew(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 3, 10);
    struct message message = {.url = STR("http://x/"),
                              .kind = MESSAGE_KIND_RAW,
                              .body = STR("elsewhere"),
                              .pushed_at_ms = 5};
    size_t size = 0;
    assert_int_equal(record_size(&message, &size), ERR_OK);
    uint64_t bytes[64];
    assert_true(size <= sizeof(bytes));
    record_encode(&message, 777, bytes, size);
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    assert_int_equal(store_append_encoded(topic, bytes, size, &wait.op),
                     ERR_OK);
    memset(bytes, 0, sizeof(bytes)); /* it was copied */
    assert_int_equal(store_wait_run(world.io, &wait), ERR_OK);
    assert_int_equal(wait.op.sequence, 3);
    struct store_reader *reader = NULL;
    struct record record;
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    assert_int_equal(store_place_read(world.io, reader, 3, &record), ERR_OK);
    assert_int_equal(record.sequence, 3);
    assert_true(str_equal(record.message.body, STR("elsewhere")));
    store_reader_destroy(reader);
    world_end(&world);
}

static void changes_after_close_are_refused(void **state)
{
    struct world world = world_make(state);
    struct store_topic *topic = world_topic(&world, "a");
    world_fill(&world, topic, 0, 2, 10);
    struct store_wait given;
    struct store_wait late;
    struct store_wait move_late;
    store_wait_init(&given, DURABILITY_DISK);
    store_wait_init(&late, DURABILITY_DISK);
    store_wait_init(&move_late, DURABILITY_DISK);
    assert_int_equal(store_wait_append(topic, &given, 2, 10), ERR_OK);
    bool closed = false;
    store_close(world.store, world_closed, &closed);
    assert_int_equal(store_wait_append(topic, &late, 3, 10), ERR_CLOSED);
    store_cursor_move(topic, 0, &move_late.op);
    LOOP_UNTIL(world.io, closed);
    assert_int_equal(given.err, ERR_OK);
    assert_int_equal(given.done_count, 1);
    assert_int_equal(move_late.err, ERR_CLOSED);
    assert_int_equal(move_late.done_count, 1);
    assert_int_equal(late.done_count, 0);
    tested->closed(world.place);
    world_open(&world);
    store_place_expect(world.io, world_topic(&world, "a"), 0, 3, 10);
    world_end(&world);
}

/* --- many ----------------------------------------------------------------- */

static void many_topics_are_kept_apart(void **state)
{
    enum { TOPICS = 300 };
    struct world world = world_make(state);
    char name[16];
    for (int round = 0; round < 4; round++) {
        static struct store_wait waits[TOPICS];
        for (uint32_t i = 0; i < TOPICS; i++) {
            (void)snprintf(name, sizeof(name), "topic-%u", i);
            struct store_topic *topic = world_topic(&world, name);
            store_wait_init(&waits[i], DURABILITY_DISK);
            assert_int_equal(
                store_wait_append(topic, &waits[i], (uint64_t)round, i),
                ERR_OK);
        }
        for (uint32_t i = 0; i < TOPICS; i++) {
            assert_int_equal(store_wait_run(world.io, &waits[i]), ERR_OK);
        }
        if (round == 1) {
            world_reopen(&world);
        } else if (round == 2) {
            world_crash(&world);
        }
    }
    for (uint32_t i = 0; i < TOPICS; i++) {
        (void)snprintf(name, sizeof(name), "topic-%u", i);
        struct store_topic *topic = store_place_find(world.store, name);
        assert_non_null(topic);
        store_place_expect(world.io, topic, 0, 4, i);
    }
    world_end(&world);
}

static void reopened_at_every_step_it_goes_on(void **state)
{
    struct world world = world_make(state);
    for (uint64_t step = 0; step < 24; step++) {
        struct store_topic *topic = world_topic(&world, "a");
        uint64_t oldest = step > 8 ? (step - 8) * 5 : 0;
        store_place_expect(world.io, topic, oldest, step * 10, 30);
        if (step > 0) {
            assert_int_equal(topic->cursor.next,
                             step * 10 - 3 > oldest ? step * 10 - 3 : oldest);
        }
        world_fill(&world, topic, step * 10, step * 10 + 10, 30);
        world_deliver(topic, step * 10 + 7, 0);
        if (step >= 8) {
            assert_int_equal(world_purge(&world, topic, (step - 7) * 5),
                             ERR_OK);
        }
        step % 2 == 0 ? world_crash(&world) : world_reopen(&world);
    }
    world_end(&world);
}

int store_contract_run(const struct store_contract *contract)
{
    static const struct loop_test first[] = {
        LOOP_TEST(names_are_checked),
        LOOP_TEST(a_topic_is_made_only_when_asked_for),
        LOOP_TEST(each_visits_all_topics_once),
        LOOP_TEST(a_deleted_topic_is_gone_and_its_name_free),
        LOOP_TEST(a_name_is_free_before_the_deletion_is_done),
        LOOP_TEST(appends_under_way_fail_when_their_topic_goes),
        LOOP_TEST(settings_are_kept),
        LOOP_TEST(done_never_comes_from_inside_the_call),
        LOOP_TEST(done_comes_in_the_order_of_the_calls),
        LOOP_TEST(durability_tells_what_was_reached),
        LOOP_TEST(the_next_sequence_counts_appends_under_way),
        LOOP_TEST(done_may_start_the_next_change),
        LOOP_TEST(an_encoded_record_is_numbered_anew),
        LOOP_TEST(changes_after_close_are_refused),
        LOOP_TEST(many_topics_are_kept_apart),
        LOOP_TEST(reopened_at_every_step_it_goes_on),
    };
    static struct loop_test tests[LOOP_TESTS_MAX];
    size_t count = sizeof(first) / sizeof(first[0]);
    CHECK(count + store_contract_read_count + store_contract_view_count +
              store_contract_acked_count <=
          LOOP_TESTS_MAX);
    memcpy(tests, first, sizeof(first));
    memcpy(tests + count, store_contract_read_tests,
           store_contract_read_count * sizeof(tests[0]));
    count += store_contract_read_count;
    memcpy(tests + count, store_contract_view_tests,
           store_contract_view_count * sizeof(tests[0]));
    count += store_contract_view_count;
    memcpy(tests + count, store_contract_acked_tests,
           store_contract_acked_count * sizeof(tests[0]));
    count += store_contract_acked_count;
    tested = contract;
    return loop_run_tests(tests, count);
}
