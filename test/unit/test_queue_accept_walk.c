/* Tests of queue/accept: collapse keys; ids and keys read back from the log; a
 * topic that goes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/accept_world.h"
#include "lib/loop.h"
#include "lib/store_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- collapse ------------------------------------------------------------- */

static void key_is_superseded_once_a_newer_message_is_stored(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};

    accept_world_push_key(&push, "k");
    accept_world_stored(&push, 0);
    assert_true(accept_world_settings_have(STR("collapse_used 1")));
    assert_int_equal(accept_collapse(accept_world.topic, STR("k"), 0),
                     ACCEPT_SEND);
    store_memory_fail_commits(accept_world.store, ERR_FULL, 1);
    accept_world_push_key(&push, "k");
    accept_world_await(&push);
    assert_int_equal(push.err, ERR_FULL);
    assert_int_equal(accept_collapse(accept_world.topic, STR("k"), 0),
                     ACCEPT_SEND);
    accept_world_push_key(&push, "k");
    assert_int_equal(accept_collapse(accept_world.topic, STR("k"), 0),
                     ACCEPT_SEND);
    accept_world_stored(&push, 1);
    assert_int_equal(accept_collapse(accept_world.topic, STR("k"), 0),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(accept_world.topic, STR("k"), 1),
                     ACCEPT_SEND);
    assert_int_equal(accept_collapse(accept_world.topic, STR("other"), 0),
                     ACCEPT_SEND);
    assert_int_equal(accept_stats(accept_world.accept)->collapse_ids, 1);
    accept_world.topic->store->cursor.next = 1;
    accept_delivered(accept_world.topic);
    assert_int_equal(accept_stats(accept_world.accept)->collapse_ids, 1);
    accept_world.topic->store->cursor.next = 2;
    accept_delivered(accept_world.topic);
    assert_int_equal(accept_stats(accept_world.accept)->collapse_ids, 0);
    accept_world_finish();
}

static void keys_of_a_topic_are_those_of_its_subscriptions(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    struct store_topic view = {.name = "s"};
    struct topic subscription = {.changed = accept_world.topic->changed};

    for (uint64_t i = 0; i < 2; i++) {
        accept_world_push_key(&push, "k");
        accept_world_stored(&push, i);
    }
    accept_world.topic->store->cursor.next = 2;
    accept_world_restart();
    subscription.store = &view;
    subscription.parent = accept_world.topic;
    list_append(&accept_world.topic->subscriptions, &subscription.link);
    accept_world.changes = 0;
    assert_int_equal(accept_collapse(&subscription, STR("k"), 0), ACCEPT_WAIT);
    accept_world_walked();
    assert_int_equal(accept_world.changes, 2); /* both are told */
    assert_int_equal(accept_collapse(&subscription, STR("k"), 0),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(&subscription, STR("k"), 1), ACCEPT_SEND);
    view.cursor.next = 1; /* it has skipped the first */
    accept_delivered(&subscription);
    accept_delivered(accept_world.topic);
    assert_int_equal(accept_stats(accept_world.accept)->collapse_ids, 1);
    view.cursor.next = 2;
    accept_delivered(&subscription);
    assert_int_equal(accept_stats(accept_world.accept)->collapse_ids, 0);
    list_remove(&subscription.link);
    accept_world_finish();
}

static void keys_are_known_again_after_a_start(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};

    for (uint64_t i = 0; i < 6; i++) { /* a b a b a b */
        accept_world_push_key(&push, i % 2 == 0 ? "a" : "b");
        accept_world_stored(&push, i);
    }
    accept_world.topic->store->cursor.next = 2; /* two are delivered */
    store_memory_cold(accept_world.store, true);
    accept_world_restart();
    accept_world.changes = 0;
    assert_int_equal(accept_collapse(accept_world.topic, STR("a"), 2),
                     ACCEPT_WAIT);
    accept_world_push_key(&push, "b"); /* is not held up */
    accept_world_stored(&push, 6);
    assert_int_equal(accept_collapse(accept_world.topic, STR("b"), 5),
                     ACCEPT_SUPERSEDED);
    accept_world_walked();
    assert_int_equal(accept_world.changes, 1);
    assert_int_equal(accept_collapse(accept_world.topic, STR("a"), 2),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(accept_world.topic, STR("a"), 4),
                     ACCEPT_SEND);
    assert_int_equal(accept_collapse(accept_world.topic, STR("b"), 5),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(accept_world.topic, STR("b"), 6),
                     ACCEPT_SEND);
    accept_world_finish();
}

/* --- after a start -------------------------------------------------------- */

static void ids_are_known_again_after_a_start(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    struct accept_world_push early = {0};

    accept_world_push_options(&push, "plain", NULL);
    accept_world_stored(&push, 0);
    accept_world_push_id(&push, "one");
    accept_world_push_id(&early, "two");
    accept_world_stored(&push, 1);
    accept_world_stored(&early, 2);
    store_memory_cold(accept_world.store, true);
    accept_world_restart();
    accept_world_push_id(&push, "one"); /* not read yet */
    accept_world_push_id(&early, "new");
    accept_world_refused(&push, ERR_BUSY);
    assert_non_null(push.op.detail);
    accept_world_refused(&early, ERR_BUSY);
    accept_world_push_options(&push, "plain", NULL); /* does not wait for it */
    accept_world_stored(&push, 3);
    accept_world_walked();
    accept_world_push_id(&push, "two");
    accept_world_duplicate(&push, 2);
    accept_world_push_id(&push, "one");
    accept_world_duplicate(&push, 1);
    accept_world_push_id(&push, "new");
    accept_world_stored(&push, 4);
    assert_int_equal(accept_stats(accept_world.accept)->dedup_ids, 3);
    accept_world_finish();
}

static void only_what_is_in_the_window_is_known_again(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    struct message message = accept_world_message("a");
    struct message_options options = {.retries = MESSAGE_RETRIES_UNSET};
    const uint64_t ages_ms[] = {7200000, 700000, 590000, 0};
    const char *const ids[] = {"eldest", "old", "young", "now"};

    for (size_t i = 0; i < 4; i++) {
        options.dedup_id = str_from(ids[i]);
        message.options = &options;
        message.pushed_at_ms = io_wall_ms(accept_world.io) - ages_ms[i];
        assert_int_equal(accept_world_push(&push, &message, false), ERR_OK);
        accept_world_stored(&push, i);
    }
    accept_world_restart();
    accept_world_walked();
    assert_int_equal(accept_stats(accept_world.accept)->dedup_ids, 2);
    accept_world_push_id(&push, "young");
    accept_world_duplicate(&push, 2);
    accept_world_push_id(&push, "now");
    accept_world_duplicate(&push, 3);
    accept_world_push_id(&push, "old");
    accept_world_stored(&push, 4);
    accept_world_push_id(&push, "eldest");
    accept_world_stored(&push, 5);
    accept_world_finish();
}

static void content_ids_are_known_again_after_a_start(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    struct message message = accept_world_message("body");

    accept_world.topic->settings.dedup = SETTINGS_DEDUP_CONTENT;
    assert_int_equal(accept_world_push(&push, &message, false), ERR_OK);
    accept_world_stored(&push, 0);
    accept_world_restart();
    accept_world_walked();
    accept_world.topic->settings.dedup = SETTINGS_DEDUP_CONTENT;
    message.pushed_at_ms += 5;
    assert_int_equal(accept_world_push(&push, &message, true), ERR_OK);
    accept_world_duplicate(&push, 0);
    accept_world_finish();
}

static void ids_and_keys_of_one_topic_are_both_read(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    struct message message = accept_world_message("a");
    struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                      .collapse = STR("k"),
                                      .dedup_id = STR("old")};

    /* Long before the window, but not delivered. */
    message.pushed_at_ms -= 7200000;
    message.options = &options;
    assert_int_equal(accept_world_push(&push, &message, false), ERR_OK);
    accept_world_stored(&push, 0);
    options.collapse = STR("other");
    assert_int_equal(accept_world_push(&push, &message, false), ERR_OK);
    accept_world_stored(&push, 1);
    options.dedup_id = STR("new");
    options.collapse = STR("k");
    message.pushed_at_ms += 7200000;
    assert_int_equal(accept_world_push(&push, &message, false), ERR_OK);
    accept_world_stored(&push, 2);
    accept_world_restart();
    accept_world.changes = 0;
    accept_world_walked();
    assert_int_equal(accept_world.changes, 1);
    assert_int_equal(accept_collapse(accept_world.topic, STR("k"), 0),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(accept_world.topic, STR("other"), 0),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(accept_world.topic, STR("other"), 1),
                     ACCEPT_SEND);
    accept_world_push_id(&push, "new");
    accept_world_duplicate(&push, 2);
    accept_world_finish();
}

static void read_that_fails_is_made_again_and_promises_nothing(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};

    accept_world_push_id(&push, "one");
    accept_world_stored(&push, 0);
    store_memory_fail_reads(accept_world.store, ERR_IO, 1);
    accept_world_restart();
    LOOP_TURNS(accept_world.io, 20);
    accept_world_push_id(&push, "one");
    accept_world_refused(&push, ERR_BUSY);
    accept_world_walked();
    accept_world_push_id(&push, "one");
    accept_world_duplicate(&push, 0);
    accept_world_finish();
}

static void messages_that_are_gone_are_passed_over(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    char id[2] = "a";

    for (uint64_t i = 0; i < 5; i++) {
        id[0] = (char)('a' + i);
        accept_world_push_id(&push, id);
        accept_world_stored(&push, i);
    }
    store_memory_lose(accept_world.topic->store, 3);
    store_memory_cold(accept_world.store, true);
    accept_world_restart();
    io_run_turn(accept_world.io, 1); /* it reads the first */
    store_memory_trim(accept_world.topic->store, 2);
    accept_world_walked();
    accept_world_push_id(&push, "c");
    accept_world_duplicate(&push, 2);
    accept_world_push_id(&push, "e");
    accept_world_duplicate(&push, 4);
    accept_world_push_id(&push, "d"); /* nobody knows any more */
    accept_world_stored(&push, 5);
    accept_world_finish();
}

static void more_than_the_bound_is_known_again(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};

    accept_world_push_id(&push, "one");
    accept_world_push_id(&(struct accept_world_push){0}, "unused");
    accept_world_await(&push);
    accept_world_stop();
    accept_world.dedup_max = 1;
    accept_world_start();
    accept_world_walked();
    accept_world_push_id(&push, "one");
    accept_world_duplicate(&push, 0);
    accept_world_push_id(&push, "new");
    accept_world_refused(&push, ERR_BUSY);
    accept_world_finish();
}

/* --- the topic goes ------------------------------------------------------- */

static void topic_may_go_with_pushes_under_way(void **state)
{
    accept_world_begin(state);
    struct accept_world_push first = {0};
    struct accept_world_push second = {0};

    accept_world_push_id(&first, "one");
    accept_world_push_id(&second, "one");
    accept_detach(accept_world.topic);
    assert_null(accept_world.topic->accept);
    accept_world_await(&first);
    accept_world_await(&second);
    assert_int_equal(accept_stats(accept_world.accept)->dedup_ids, 0);
    accept_world_finish();
}

static void topic_may_go_while_it_is_read(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};

    accept_world_push_id(&push, "one");
    accept_world_push_key(&(struct accept_world_push){0}, "k");
    accept_world_stored(&push, 0);
    store_memory_cold(accept_world.store, true);
    accept_world_restart();
    io_run_turn(accept_world.io, 1);
    assert_int_equal(store_memory_readers(accept_world.store), 1);
    accept_world_restart(); /* while a record is being read */
    accept_world_restart(); /* while it waits in its row */
    accept_world_walked();
    accept_world_push_id(&push, "one");
    accept_world_duplicate(&push, 0);
    accept_world_finish();
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST_ONCE(key_is_superseded_once_a_newer_message_is_stored),
        LOOP_TEST_ONCE(keys_of_a_topic_are_those_of_its_subscriptions),
        LOOP_TEST(keys_are_known_again_after_a_start),
        LOOP_TEST(ids_are_known_again_after_a_start),
        LOOP_TEST_ONCE(only_what_is_in_the_window_is_known_again),
        LOOP_TEST_ONCE(content_ids_are_known_again_after_a_start),
        LOOP_TEST_ONCE(ids_and_keys_of_one_topic_are_both_read),
        LOOP_TEST_ONCE(read_that_fails_is_made_again_and_promises_nothing),
        LOOP_TEST_ONCE(messages_that_are_gone_are_passed_over),
        LOOP_TEST_ONCE(more_than_the_bound_is_known_again),
        LOOP_TEST_ONCE(topic_may_go_with_pushes_under_way),
        LOOP_TEST_ONCE(topic_may_go_while_it_is_read),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
