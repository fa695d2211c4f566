/* Tests of queue/topic: settings of the store, message ids, the store's handle.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
topic_hangs_on_its_handle_and_takes_the_retention_of_the_store(void **state)
{
    (void)state;
    struct store_topic store = {
        .id = 0xabc,
        .name = "orders",
        .settings = STR("paused 1\nretain_count 5\nsecret shop\n"),
        .retention = {.count = 6},
    };
    struct topic *topic = NULL;

    assert_int_equal(topic_create(&store, &topic), ERR_OK);
    assert_ptr_equal(topic_of(&store), topic);
    assert_ptr_equal(topic->store, &store);
    assert_true(topic->settings.paused);
    assert_int_equal(topic->settings.retention.count, 6);
    assert_string_equal(topic->settings.secret, "shop");
    topic_destroy(topic);
    assert_null(topic_of(&store));
    topic_destroy(NULL);
}

static void damaged_settings_do_not_keep_a_topic_from_being(void **state)
{
    (void)state;
    struct store_topic store = {
        .name = "t", .settings = STR("timeout_ms 5\npaused maybe\n")};
    struct topic *topic = NULL;

    assert_int_equal(topic_create(&store, &topic), ERR_OK);
    assert_int_equal(topic->settings.timeout_ms, 5);
    assert_false(topic->settings.paused);
    topic_destroy(topic);
}

static void what_the_log_has_is_kept_beside_the_settings(void **state)
{
    (void)state;
    struct store_topic store = {.name = "t"};
    struct topic *topic = NULL;
    struct buf text = {0};

    for (int flags = 0; flags < 4; flags++) {
        store.settings = STR("dedup_used 10\ncollapse_used\npaused 1\n");
        assert_int_equal(topic_create(&store, &topic), ERR_OK);
        assert_false(topic->dedup_used || topic->collapse_used);
        topic->dedup_used = (flags & 1) != 0;
        topic->collapse_used = (flags & 2) != 0;
        buf_clear(&text);
        assert_int_equal(topic_write(topic, &topic->settings, &text), ERR_OK);
        topic_destroy(topic);
        store.settings = buf_str(&text);
        assert_int_equal(topic_create(&store, &topic), ERR_OK);
        assert_int_equal(topic->dedup_used, flags & 1);
        assert_int_equal(topic->collapse_used, flags >> 1);
        assert_true(topic->settings.paused);
        topic_destroy(topic);
    }
    buf_fini(&text);
}

static void
what_the_log_has_finds_room_beside_the_largest_settings(void **state)
{
    (void)state;
    struct store_topic store = {.name = "t"};
    struct topic *topic = NULL;
    struct buf text = {0};
    size_t most = 0;

    assert_int_equal(topic_create(&store, &topic), ERR_OK);
    topic->dedup_used = true;
    topic->collapse_used = true;
    topic->settings.headers = malloc(STORE_SETTINGS_MAX + 1);
    assert_non_null(topic->settings.headers);
    for (size_t size = STORE_SETTINGS_MAX - 200; size < STORE_SETTINGS_MAX;
         size++) {
        memset(topic->settings.headers, 'a', size);
        topic->settings.headers[size] = '\0';
        buf_clear(&text);
        if (topic_write(topic, &topic->settings, &text) == ERR_OK) {
            most = text.size;
        }
    }
    assert_true(most <= STORE_SETTINGS_MAX);
    assert_true(most > STORE_SETTINGS_MAX - 64);
    topic_destroy(topic);
    buf_fini(&text);
}

static void id_names_topic_and_sequence_in_plain_characters(void **state)
{
    (void)state;
    struct store_topic store = {.id = UINT64_C(0x00ff00000000beef),
                                .name = "t"};
    struct topic *topic = NULL;
    struct buf id = {0};

    assert_int_equal(topic_create(&store, &topic), ERR_OK);
    topic_message_id(topic, 0, &id);
    buf_append_byte(&id, ' ');
    topic_message_id(topic, UINT64_MAX, &id);
    assert_true(str_equal(buf_str(&id), STR("msg_00ff00000000beef-0 "
                                            "msg_00ff00000000beef-"
                                            "18446744073709551615")));
    buf_fini(&id);
    topic_destroy(topic);
}

static void count_change(struct topic *topic)
{
    topic->stats.attempts++;
}

static void change_is_told_to_who_delivers(void **state)
{
    (void)state;
    struct topic topic = {0};

    topic_changed(&topic); /* nobody does */
    topic.changed = count_change;
    topic_changed(&topic);
    assert_int_equal(topic.stats.attempts, 1);
}

/* Who asks whether anybody would get a message does not mean a replay. */
static void a_replay_is_no_subscription(void **state)
{
    (void)state;
    struct topic topic = {.parent = NULL};
    struct topic replay = {.parent = &topic,
                           .settings = {.kind = SETTINGS_KIND_REPLAY}};
    struct topic pull = {.parent = &topic,
                         .settings = {.kind = SETTINGS_KIND_PULL}};

    list_init(&topic.subscriptions);
    assert_false(topic_has_subscriptions(&topic));
    list_append(&topic.subscriptions, &replay.link);
    assert_false(topic_has_subscriptions(&topic));
    list_append(&topic.subscriptions, &pull.link);
    assert_true(topic_has_subscriptions(&topic));
    assert_false(topic_is_subscription(&topic));
    assert_false(topic_is_subscription(&replay));
    assert_true(topic_is_subscription(&pull));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            topic_hangs_on_its_handle_and_takes_the_retention_of_the_store),
        cmocka_unit_test(damaged_settings_do_not_keep_a_topic_from_being),
        cmocka_unit_test(what_the_log_has_is_kept_beside_the_settings),
        cmocka_unit_test(
            what_the_log_has_finds_room_beside_the_largest_settings),
        cmocka_unit_test(id_names_topic_and_sequence_in_plain_characters),
        cmocka_unit_test(change_is_told_to_who_delivers),
        cmocka_unit_test(a_replay_is_no_subscription),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
