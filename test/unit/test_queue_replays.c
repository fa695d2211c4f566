/* Tests of queue/replays and queue/replay_walk, with clocks that only go when
 * they are told to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/replays.h"

#include "lib/lone_shard.h"
#include "lib/loop.h"
#include "lib/store_memory.h"
#include "queue/replay_walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGES = 100, MANY = 3 * REPLAY_WALK_MAX };

#define SECOND ((uint64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

/* --- clocks --------------------------------------------------------------- */

static uint64_t wall_ms;
static uint64_t monotonic_ms = 1000000;

uint64_t __wrap_clock_wall_ms(void);
uint64_t __wrap_clock_monotonic_ns(void);

uint64_t __wrap_clock_wall_ms(void)
{
    return wall_ms;
}

uint64_t __wrap_clock_monotonic_ns(void)
{
    return monotonic_ms * 1000000;
}

/* --- the scene ------------------------------------------------------------ */

static struct {
    struct io *io;
    struct store *store;
    struct shard_group group;
    struct shard shard;
    struct replays *replays;
    struct topic *topic;
    struct topic *replay;
    uint32_t messages; /* of the topic */
    uint32_t finished;
    uint32_t changed;
    uint32_t done; /* operations */
} scene;

static void changed(struct topic *topic)
{
    (void)topic;
    scene.changed++;
}

static enum err topic_added(struct shard *shard, struct topic *topic)
{
    (void)shard;
    topic->changed = changed;
    return replays_attach(scene.replays, topic);
}

static void topic_removed(struct shard *shard, struct topic *topic)
{
    replay_walk_forget(shard, topic);
    replays_detach(topic);
}

static void finished(struct topic *topic)
{
    assert_ptr_equal(topic, scene.replay);
    scene.finished++;
}

static void turns(uint32_t count)
{
    for (uint32_t turn = 0; turn < count; turn++) {
        io_run_turn(scene.io, 0);
    }
}

/* Let time pass on both clocks, a second at once. */
static void pass(uint64_t ms)
{
    for (uint64_t left = ms; left > 0;) {
        uint64_t step = left < SECOND ? left : SECOND;
        wall_ms += step;
        monotonic_ms += step + 1;
        left -= step;
        io_run_turn(scene.io, 0);
    }
    turns(5);
}

static void op_done(struct store_op *op, enum err err)
{
    (void)op;
    assert_int_equal(err, ERR_OK);
    scene.done++;
}

/* Append a message; its options may be NULL. */
static void append_to(struct store_topic *stored,
                      const struct message_options *options)
{
    const struct message message = {
        .kind = MESSAGE_KIND_RAW,
        .url = STR("http://a/"),
        .pushed_at_ms = wall_ms,
        .options = options,
    };
    struct store_op op = {.done = op_done};
    uint32_t before = scene.done;

    assert_int_equal(store_append(stored, &message, &op), ERR_OK);
    for (int turn = 0; scene.done == before; turn++) {
        assert_true(turn < 100);
        io_run_turn(scene.io, 0);
    }
}

static struct topic *topic_named(const char *name)
{
    struct topic *topic = NULL;

    assert_int_equal(shard_topic(&scene.shard, str_from(name), true, &topic),
                     ERR_OK);
    return topic;
}

/* A dead letter of message `sequence`. */
static void append_letter(const char *id, uint64_t sequence, const char *whose)
{
    char dead[128];

    (void)snprintf(dead, sizeof(dead), "{\"seq\":%llu,\"subscription\":\"%s\"}",
                   (unsigned long long)sequence, whose);
    const struct message_options options = {
        .id = str_from(id),
        .dead = str_from(dead),
        .retries = MESSAGE_RETRIES_UNSET,
    };
    append_to(topic_named("t.dlq")->store, &options);
}

/* Make a replay of messages up to `end`, by the store's text. The store in
 * memory has no views: this one is a topic of its own, with as many messages,
 * that is said to have a parent. */
static void make(uint64_t end, const char *more)
{
    struct store_topic *view = NULL;
    struct store_retention none = {0};
    struct store_op op = {.done = op_done};
    char text[256];

    (void)snprintf(text, sizeof(text), "kind replay\nreplay_end %llu\n%s",
                   (unsigned long long)end, more);
    assert_int_equal(
        store_topic_open(scene.store, STR("replay-1"), true, &view), ERR_OK);
    for (uint32_t message = 0; message < scene.messages; message++) {
        append_to(view, NULL);
    }
    store_topic_configure(view, str_from(text), &none, &op);
    turns(10);
    view->parent = scene.topic->store;
    assert_int_equal(topic_create(view, &scene.replay), ERR_OK);
    assert_int_equal(topic_added(&scene.shard, scene.replay), ERR_OK);
    assert_non_null(scene.replay->replay);
}

static void begin(void **state, uint32_t messages)
{
    memset(&scene, 0, sizeof(scene));
    wall_ms = 1774699200000;
    scene.io = loop_of(state);
    assert_int_equal(store_memory_create(scene.io, &scene.store), ERR_OK);
    lone_shard_init(&scene.shard, &scene.group, scene.io, scene.store);
    scene.shard.topic_added = topic_added;
    scene.shard.topic_removed = topic_removed;
    list_init(&scene.shard.replay_walks);
    assert_int_equal(replays_create(&scene.shard, finished, &scene.replays),
                     ERR_OK);
    io_run_turn(scene.io, 0);
    scene.topic = topic_named("t");
    scene.messages = messages;
    for (uint32_t message = 0; message < messages; message++) {
        append_to(scene.topic->store, NULL);
    }
}

static void finish(void)
{
    replays_close(scene.replays);
    shard_detach_topics(&scene.shard);
    turns(20);
    assert_int_equal(store_memory_readers(scene.store), 0);
    assert_int_equal(scene.shard.calls, 0);
    replays_destroy(scene.replays);
    store_memory_destroy(scene.store);
}

/* Tell whether the store has a line of the replay. */
static bool stored(const char *line)
{
    struct str text = scene.replay->store->settings;

    while (text.size > 0) {
        size_t size = str_find(text, '\n');
        if (str_equal(str_cut(text, 0, size), str_from(line))) {
            return true;
        }
        text = str_cut(text, size + 1, text.size);
    }
    return false;
}

static bool is_there(void)
{
    struct store_topic *view = NULL;

    return store_topic_open(scene.store, STR("replay-1"), false, &view) ==
           ERR_OK;
}

static void deliver_up_to(uint64_t next)
{
    const struct store_cursor cursor = {.next = next};

    store_cursor_store(scene.replay->store, &cursor);
}

/* --- counts and the end --------------------------------------------------- */

static void counts_are_noted_now_and_then(void **state)
{
    struct replays_counts counts;

    begin(state, MESSAGES);
    make(MESSAGES, "");
    scene.replay->stats.delivered = 7;
    scene.replay->stats.given_up = 2;
    pass(2 * SECOND);
    assert_false(stored("replay_sent 7"));
    pass(5 * SECOND);
    assert_true(stored("replay_sent 7"));
    assert_true(stored("replay_given_up 2"));
    replays_counts(scene.replay, &counts);
    assert_int_equal(counts.sent, 7);
    assert_int_equal(scene.finished, 0);
    finish();
}

static void counts_go_on_from_what_was_noted(void **state)
{
    struct replays_counts counts;

    begin(state, MESSAGES);
    make(MESSAGES, "replay_sent 40\nreplay_given_up 3\n");
    scene.replay->stats.delivered = 2;
    scene.replay->stats.given_up = 1;
    replays_counts(scene.replay, &counts);
    assert_int_equal(counts.sent, 42);
    assert_int_equal(counts.given_up, 4);
    replays_close(scene.replays); /* notes them at once */
    turns(5);
    assert_true(stored("replay_sent 42"));
    assert_true(stored("replay_given_up 4"));
    finish();
}

static void what_cannot_be_noted_is_noted_later(void **state)
{
    begin(state, MESSAGES);
    make(MESSAGES, "");
    scene.replay->stats.delivered = 7;
    store_memory_fail_commits(scene.store, ERR_IO, 1);
    pass(6 * SECOND);
    assert_false(stored("replay_sent 7"));
    pass(6 * SECOND);
    assert_true(stored("replay_sent 7"));
    finish();
}

static void one_that_is_done_goes_a_day_later(void **state)
{
    begin(state, MESSAGES);
    make(MESSAGES, "");
    deliver_up_to(MESSAGES - 1);
    pass(10 * SECOND);
    assert_int_equal(scene.finished, 0);
    deliver_up_to(MESSAGES);
    pass(2 * SECOND);
    assert_int_equal(scene.finished, 1);
    assert_true(scene.replay->settings.replay_finished_ms > 0);
    assert_false(topic_is_delivered(scene.replay));
    pass(DAY - MINUTE);
    assert_true(is_there());
    assert_int_equal(scene.finished, 1);
    pass(2 * MINUTE);
    assert_false(is_there());
    finish();
}

static void one_that_was_done_before_a_start_goes_in_time(void **state)
{
    char line[64];

    begin(state, MESSAGES);
    (void)snprintf(line, sizeof(line), "replay_finished_ms %llu\n",
                   (unsigned long long)(wall_ms - DAY + HOUR));
    make(MESSAGES, line);
    deliver_up_to(MESSAGES);
    pass(HOUR - MINUTE);
    assert_true(is_there());
    pass(2 * MINUTE);
    assert_false(is_there());
    assert_int_equal(scene.finished, 0);
    finish();
}

static void one_that_rests_is_looked_at_when_it_changes(void **state)
{
    begin(state, MESSAGES);
    make(MESSAGES, "paused 1\n");
    pass(10 * SECOND);
    monotonic_ms += HOUR; /* no timer is due then */
    scene.replay->settings.paused = false;
    deliver_up_to(MESSAGES);
    turns(5);
    assert_int_equal(scene.finished, 0); /* not looked at */
    replays_changed(scene.replay);
    pass(2 * SECOND);
    assert_int_equal(scene.finished, 1);
    finish();
}

static void one_may_go_while_it_is_noted(void **state)
{
    struct store_op op = {.done = op_done};

    begin(state, MESSAGES);
    make(MESSAGES, "");
    scene.replay->stats.delivered = 1;
    replays_close(scene.replays); /* the note is under way, */
    shard_subscription_delete(&scene.shard, scene.replay, &op);
    turns(10); /* and is let go here */
    assert_false(is_there());
    finish();
}

/* --- what failed ---------------------------------------------------------- */

/* Ask for the next one, until it is known. */
static uint64_t next_of(uint64_t sequence)
{
    uint64_t next = 0;

    for (int turn = 0; !replays_next(scene.replay, sequence, &next); turn++) {
        assert_true(turn < 100000);
        io_run_turn(scene.io, 0);
        monotonic_ms++;
    }
    assert_true(next >= sequence);
    return next;
}

static void letters_say_what_failed(void **state)
{
    begin(state, MESSAGES);
    append_letter("own", 70, "");
    append_letter("own", 5, "s");
    append_letter("own", 70, "s"); /* of a subscription, too */
    append_letter("own", 99, "");
    make(90, "replay_failed 1\n");
    assert_int_equal(next_of(0), 5);
    assert_int_equal(next_of(5), 5);
    assert_int_equal(next_of(6), 70);
    assert_int_equal(next_of(71), 90); /* its end */
    assert_true(scene.changed > 0);
    finish();
}

static void without_letters_nothing_failed(void **state)
{
    begin(state, MESSAGES);
    make(MESSAGES, "replay_failed 1\n");
    assert_int_equal(next_of(0), MESSAGES);
    finish();
}

static void letters_of_others_do_not_count(void **state)
{
    char id[64];

    begin(state, MESSAGES);
    append_letter("msg_0123456789abcdef-3", 3, "s"); /* of an earlier topic */
    (void)snprintf(id, sizeof(id), "%s4", scene.topic->id_prefix);
    append_letter(id, 4, "s");
    append_letter("own", 5, "other");
    append_letter("own", 6, "");
    append_letter("own", 7, "s");
    append_to(topic_named("t.dlq")->store, NULL); /* says nothing */
    make(MESSAGES, "replay_failed 1\nreplay_of s\n");
    assert_int_equal(next_of(0), 4);
    assert_int_equal(next_of(5), 7);
    assert_int_equal(next_of(8), MESSAGES);
    finish();
}

static void letters_that_are_gone_or_damaged_do_not_count(void **state)
{
    const struct store_range range = {5, 7};
    const struct store_cursor cursor = {
        .next = 2, .range_count = 1, .ranges = &range};

    begin(state, MESSAGES);
    for (uint64_t sequence = 0; sequence < 10; sequence++) {
        append_letter("own", 10 * sequence, "");
    }
    struct topic *letters = topic_named("t.dlq");
    store_cursor_store(letters->store, &cursor);
    store_memory_lose(letters->store, 3);
    store_memory_cold(scene.store, true);
    make(MESSAGES, "replay_failed 1\n");
    assert_int_equal(next_of(0), 20);
    assert_int_equal(next_of(21), 40);
    assert_int_equal(next_of(41), 70);
    assert_int_equal(next_of(91), MESSAGES);
    finish();
}

/* More than a walk has room for: each is found, in order, over several. */
static void any_number_of_letters_is_met(void **state)
{
    begin(state, 0);
    for (uint64_t letter = 0; letter < MANY; letter++) {
        uint64_t sequence = letter * 7919 % MANY; /* each once, scrambled */
        append_letter("own", 2 * sequence, "");
        if (letter % 5 == 0) {
            append_letter("own", 2 * sequence, "s");
        }
    }
    make((uint64_t)2 * MANY, "replay_failed 1\n");
    for (uint64_t sequence = 0; sequence < MANY; sequence++) {
        assert_int_equal(next_of(2 * sequence), 2 * sequence);
        assert_int_equal(next_of(2 * sequence + 1), 2 * sequence + 2);
    }
    finish();
}

static void letters_that_cannot_be_read_are_read_later(void **state)
{
    uint64_t next = 0;

    begin(state, MESSAGES);
    append_letter("own", 5, "");
    make(MESSAGES, "replay_failed 1\n");
    store_memory_fail_reads(scene.store, ERR_IO, 1);
    assert_false(replays_next(scene.replay, 0, &next));
    turns(10);
    assert_false(replays_next(scene.replay, 0, &next));
    assert_int_equal(scene.changed, 0);
    pass(2 * SECOND);
    assert_int_equal(scene.changed, 1); /* ask again */
    assert_int_equal(next_of(0), 5);
    finish();
}

static void letters_may_be_deleted_while_they_are_read(void **state)
{
    struct store_op op = {.done = op_done};
    uint64_t next = 0;

    begin(state, MESSAGES);
    for (uint64_t sequence = 0; sequence < 300; sequence++) {
        append_letter("own", sequence % MESSAGES, "");
    }
    store_memory_cold(scene.store, true);
    make(MESSAGES, "replay_failed 1\n");
    assert_false(replays_next(scene.replay, 0, &next));
    turns(3);
    assert_int_equal(store_memory_readers(scene.store), 1);
    shard_topic_delete(&scene.shard, topic_named("t.dlq"), &op);
    assert_int_equal(store_memory_readers(scene.store), 0);
    turns(5);
    assert_true(replays_next(scene.replay, 99, &next));
    assert_int_equal(next, MESSAGES);
    finish();
}

static void one_may_go_while_letters_are_read(void **state)
{
    struct store_op op = {.done = op_done};
    uint64_t next = 0;

    begin(state, MESSAGES);
    for (uint64_t sequence = 0; sequence < 300; sequence++) {
        append_letter("own", sequence % MESSAGES, "");
    }
    store_memory_cold(scene.store, true);
    make(MESSAGES, "replay_failed 1\n");
    assert_false(replays_next(scene.replay, 0, &next));
    turns(3);
    shard_subscription_delete(&scene.shard, scene.replay, &op);
    for (int turn = 0; scene.shard.calls > 0; turn++) {
        assert_true(turn < 10000);
        io_run_turn(scene.io, 0);
        monotonic_ms++;
    }
    finish();
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST_ONCE(counts_are_noted_now_and_then),
        LOOP_TEST_ONCE(counts_go_on_from_what_was_noted),
        LOOP_TEST_ONCE(what_cannot_be_noted_is_noted_later),
        LOOP_TEST_ONCE(one_that_is_done_goes_a_day_later),
        LOOP_TEST_ONCE(one_that_was_done_before_a_start_goes_in_time),
        LOOP_TEST_ONCE(one_that_rests_is_looked_at_when_it_changes),
        LOOP_TEST_ONCE(one_may_go_while_it_is_noted),
        LOOP_TEST_ONCE(letters_say_what_failed),
        LOOP_TEST_ONCE(without_letters_nothing_failed),
        LOOP_TEST_ONCE(letters_of_others_do_not_count),
        LOOP_TEST_ONCE(letters_that_are_gone_or_damaged_do_not_count),
        LOOP_TEST_ONCE(any_number_of_letters_is_met),
        LOOP_TEST_ONCE(letters_that_cannot_be_read_are_read_later),
        LOOP_TEST_ONCE(letters_may_be_deleted_while_they_are_read),
        LOOP_TEST_ONCE(one_may_go_while_letters_are_read),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
