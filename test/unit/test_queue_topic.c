/* Tests of queue/topic: settings as text, message ids, the store's handle.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void settings_come_back_as_they_were_written(void **state)
{
    (void)state;
    struct topic_settings settings = {
        .paused = true,
        .timeout_ms = UINT32_MAX,
        .retention = {.age_ms = UINT64_MAX,
                      .bytes = 1,
                      .count = 1000000,
                      .discard_old = true},
    };
    struct topic_settings read;
    struct buf text = {0};

    topic_settings_write(&settings, &text);
    assert_false(text.failed);
    assert_true(text.size <= STORE_SETTINGS_MAX);
    assert_int_equal(topic_settings_read(buf_str(&text), &read), ERR_OK);
    assert_true(read.paused);
    assert_int_equal(read.timeout_ms, UINT32_MAX);
    assert_int_equal(read.retention.age_ms, UINT64_MAX);
    assert_int_equal(read.retention.bytes, 1);
    assert_int_equal(read.retention.count, 1000000);
    assert_true(read.retention.discard_old);
    buf_fini(&text);
}

static void no_settings_are_the_defaults(void **state)
{
    (void)state;
    static const struct topic_settings defaults = {0};
    struct topic_settings read;

    memset(&read, 0x55, sizeof(read));
    assert_int_equal(topic_settings_read(STR(""), &read), ERR_OK);
    assert_false(read.paused);
    assert_int_equal(read.timeout_ms, defaults.timeout_ms);
    assert_int_equal(read.retention.age_ms, 0);
    assert_false(read.retention.discard_old);
}

static void unknown_lines_are_skipped(void **state)
{
    (void)state;
    struct topic_settings read;

    assert_int_equal(topic_settings_read(STR("colour blue and green\n"
                                             "paused 1\n"
                                             "\n"
                                             "lonely\n"
                                             "timeout_ms 7"),
                                         &read),
                     ERR_OK);
    assert_true(read.paused);
    assert_int_equal(read.timeout_ms, 7);
}

static void
known_line_without_sense_is_corrupt_and_keeps_what_came_first(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "paused 2\n",         "paused yes\n",       "paused\n",
        "timeout_ms -1\n",    "timeout_ms 1 2\n",   "timeout_ms 4294967296\n",
        "retain_bytes \n",    "retain_count 0x1\n", "discard_old 10\n",
        "retain_age_ms 1h\n",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct topic_settings read;
        struct buf text = {0};
        buf_append_c(&text, "retain_count 3\ntimeout_ms 9\n");
        buf_append_c(&text, lines[i]);
        buf_append_c(&text, "retain_count 4\n");
        assert_int_equal(topic_settings_read(buf_str(&text), &read),
                         ERR_CORRUPT);
        assert_int_equal(read.retention.count, 3);
        assert_int_equal(read.timeout_ms, 9);
        buf_fini(&text);
    }
}

static void
topic_hangs_on_its_handle_and_takes_the_retention_of_the_store(void **state)
{
    (void)state;
    struct store_topic store = {
        .id = 0xabc,
        .name = "orders",
        .settings = STR("paused 1\nretain_count 5\n"),
        .retention = {.count = 6},
    };
    struct topic *topic = NULL;

    assert_int_equal(topic_create(&store, &topic), ERR_OK);
    assert_ptr_equal(topic_of(&store), topic);
    assert_ptr_equal(topic->store, &store);
    assert_true(topic->settings.paused);
    assert_int_equal(topic->settings.retention.count, 6);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_come_back_as_they_were_written),
        cmocka_unit_test(no_settings_are_the_defaults),
        cmocka_unit_test(unknown_lines_are_skipped),
        cmocka_unit_test(
            known_line_without_sense_is_corrupt_and_keeps_what_came_first),
        cmocka_unit_test(
            topic_hangs_on_its_handle_and_takes_the_retention_of_the_store),
        cmocka_unit_test(damaged_settings_do_not_keep_a_topic_from_being),
        cmocka_unit_test(id_names_topic_and_sequence_in_plain_characters),
        cmocka_unit_test(change_is_told_to_who_delivers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
