/* Tests of queue/accept: duplicates before and after the first is durable,
 * failures, bound and window, content, expected numbers.
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
#include <string.h>

#include <cmocka.h>

/* --- duplicates ----------------------------------------------------------- */

static void push_that_asks_for_nothing_leaves_nothing(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    const struct message_options options = {.retries = 3, .label = STR("l")};

    accept_world_push_options(&push, "a", NULL);
    accept_world_stored(&push, 0);
    accept_world_push_options(&push, "a", &options);
    accept_world_stored(&push, 1);
    assert_null(accept_world.topic->accept);
    assert_int_equal(accept_world.topic->store->settings.size, 0);
    accept_world_finish();
}

static void second_of_an_id_gets_the_number_of_the_first(void **state)
{
    accept_world_begin(state);
    struct accept_world_push other = {0};
    struct accept_world_push first = {0};
    struct accept_world_push second = {0};

    accept_world_push_options(&other, "x", NULL);
    accept_world_push_id(&first, "one");
    accept_world_stored(&first, 1);
    accept_world_push_id(&second, "one");
    accept_world_duplicate(&second, 1);
    accept_world_push_id(&other, "two");
    accept_world_stored(&other, 2);
    assert_int_equal(accept_world_end(), 3);
    assert_int_equal(accept_stats(accept_world.accept)->duplicates, 1);
    assert_int_equal(accept_stats(accept_world.accept)->dedup_ids, 2);
    accept_world_finish();
}

static void those_of_an_id_under_way_wait_for_the_first(void **state)
{
    enum { COUNT = 5 };
    accept_world_begin(state);
    struct accept_world_push first = {0};
    struct accept_world_push others[COUNT] = {0};

    accept_world_push_id(&first, "one");
    for (int i = 0; i < COUNT; i++) {
        accept_world_push_id(&others[i], "one");
    }
    accept_world_stored(&first, 0);
    for (int i = 0; i < COUNT; i++) {
        accept_world_duplicate(&others[i], 0);
        assert_true(others[i].order > first.order);
    }
    assert_int_equal(accept_world_end(), 1);
    accept_world_finish();
}

static void when_the_first_fails_so_do_those_that_waited(void **state)
{
    accept_world_begin(state);
    struct accept_world_push first = {0};
    struct accept_world_push second = {0};
    struct accept_world_push third = {0};

    store_memory_fail_commits(accept_world.store, ERR_IO, 1);
    accept_world_push_id(&first, "one");
    accept_world_push_id(&second, "one");
    accept_world_await(&first);
    assert_int_equal(first.err, ERR_IO);
    assert_false(first.op.unstored);
    accept_world_refused(&second, ERR_IO);
    /* It never was; and neither was what the settings said of it. */
    assert_false(accept_world_settings_have(STR("dedup_used 1")));
    assert_false(accept_world.topic->dedup_used);
    assert_int_equal(accept_stats(accept_world.accept)->dedup_ids, 0);
    accept_world_push_id(&third, "one");
    accept_world_stored(&third, 0);
    assert_true(accept_world_settings_have(STR("dedup_used 1")));
    accept_world_finish();
}

static void what_has_an_id_already_is_no_duplicate(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    const struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                            .id = STR("msg_1-2"),
                                            .collapse = STR("k"),
                                            .dedup_id = STR("one")};

    accept_world.topic->settings.dedup = SETTINGS_DEDUP_CONTENT;
    for (uint64_t i = 0; i < 2; i++) {
        accept_world_push_options(&push, "again", &options);
        accept_world_stored(&push, i);
    }
    accept_world_push_id(&push, "one");
    accept_world_stored(&push, 2);
    assert_int_equal(accept_collapse(accept_world.topic, STR("k"), 0),
                     ACCEPT_SEND);
    accept_world_restart();
    accept_world_walked();
    assert_int_equal(accept_stats(accept_world.accept)->dedup_ids, 1);
    accept_world_push_id(&push, "one");
    accept_world_duplicate(&push, 2);
    accept_world_finish();
}

static void topics_do_not_share_ids(void **state)
{
    accept_world_begin(state);
    struct accept_world_push first = {0};
    struct accept_wants here;
    struct accept_wants there;
    struct message message = accept_world_message("a");
    const struct message_options options = {.dedup_id = STR("bc")};

    message.options = &options;
    accept_wants(&here, STR("a"), &message, false, 0);
    accept_wants(&there, STR("ab"), &message, false, 0);
    assert_true(here.dedup && there.dedup);
    assert_true(memcmp(&here.dedup_hash, &there.dedup_hash,
                       sizeof(here.dedup_hash)) != 0);
    accept_world_push_id(&first, "one");
    accept_world_stored(&first, 0);
    accept_world_finish();
}

static void id_is_new_again_when_its_window_is_over(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};

    accept_world.topic->settings.dedup_window_ms = 500;
    accept_world_push_id(&push, "one");
    accept_world_stored(&push, 0);
    uint64_t until_ms = io_wall_ms(accept_world.io) + 500 + 130;
    accept_world_push_id(&push, "one");
    accept_world_duplicate(&push, 0);
    LOOP_UNTIL(accept_world.io, io_wall_ms(accept_world.io) > until_ms);
    accept_world_push_id(&push, "one");
    accept_world_stored(&push, 1);
    accept_world_push_id(&push, "one");
    accept_world_duplicate(&push, 1);
    assert_int_equal(accept_stats(accept_world.accept)->dedup_ids, 1);
    accept_world_finish();
}

static void at_the_bound_pushes_with_a_new_id_are_refused(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};

    accept_world_stop();
    accept_world.dedup_max = 2;
    accept_world_start();
    accept_world.topic->settings.dedup_window_ms = 1000;
    uint64_t until_ms = io_wall_ms(accept_world.io) + 1000 + 130;
    accept_world_push_id(&push, "one");
    accept_world_stored(&push, 0);
    accept_world_push_id(&push, "two");
    accept_world_stored(&push, 1);
    if (io_wall_ms(accept_world.io) <
        until_ms - 500) { /* not on a machine that hangs */
        accept_world_push_id(&push, "three");
        accept_world_refused(&push, ERR_BUSY);
        assert_non_null(push.op.detail);
        accept_world_push_id(&push, "one");
        accept_world_duplicate(&push, 0);
        accept_world_push_options(&push, "no id", NULL);
        accept_world_stored(&push, 2);
    }
    LOOP_UNTIL(accept_world.io, io_wall_ms(accept_world.io) > until_ms + 50);
    accept_world_push_id(&push, "three");
    accept_world_await(&push);
    assert_int_equal(push.err, ERR_OK);
    assert_false(push.op.duplicate);
    accept_world_finish();
}

/* --- by content ----------------------------------------------------------- */

static void without_an_id_content_makes_the_duplicate(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    struct message message = accept_world_message("body");
    const struct pair header = {STR("Trace-Id"), STR("7")};

    accept_world.topic->settings.dedup = SETTINGS_DEDUP_CONTENT;
    for (int encoded = 0; encoded < 2; encoded++) {
        assert_int_equal(accept_world_push(&push, &message, encoded == 1),
                         ERR_OK);
        if (encoded == 0) {
            accept_world_stored(&push, 0);
        } else {
            accept_world_duplicate(&push, 0);
        }
    }
    message.headers = &header; /* does not matter */
    message.header_count = 1;
    assert_int_equal(accept_world_push(&push, &message, true), ERR_OK);
    accept_world_duplicate(&push, 0);
    accept_world_push_id(&push, "body"); /* an id of its own counts alone */
    accept_world_stored(&push, 1);
    accept_world_finish();
}

static void each_part_of_the_content_matters(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    const struct pair fields[] = {{STR("ab"), STR("c")}, {STR("d"), STR("")}};
    const struct pair other[] = {{STR("a"), STR("bc")}, {STR("d"), STR("")}};
    struct message base = accept_world_message("body");
    struct message variants[9];

    for (size_t i = 0; i < 9; i++) {
        variants[i] = base;
    }
    variants[1].body = STR("Body");
    variants[2].url = STR("http://a/c");
    variants[3].method = STR("PUT");
    variants[4].content_type = STR("text/html");
    for (size_t i = 5; i < 9; i++) {
        variants[i].kind = MESSAGE_KIND_FORM;
        variants[i].body = (struct str){NULL, 0};
        variants[i].content_type = (struct str){NULL, 0};
    }
    variants[5].fields = fields;
    variants[5].field_count = 2;
    variants[6].fields = other;
    variants[6].field_count = 2;
    variants[7].fields = fields;
    variants[7].field_count = 1;
    accept_world.topic->settings.dedup = SETTINGS_DEDUP_CONTENT;
    for (uint64_t i = 0; i < 9; i++) {
        assert_int_equal(accept_world_push(&push, &variants[i], i % 2 == 0),
                         ERR_OK);
        accept_world_stored(&push, i);
    }
    for (uint64_t i = 0; i < 9; i++) {
        assert_int_equal(accept_world_push(&push, &variants[i], i % 2 == 1),
                         ERR_OK);
        accept_world_duplicate(&push, i);
    }
    variants[0].method = STR("POST"); /* is what none is */
    assert_int_equal(accept_world_push(&push, &variants[0], false), ERR_OK);
    accept_world_duplicate(&push, 0);
    accept_world_finish();
}

static void content_id_is_stored_with_the_message(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    struct message message = accept_world_message("body");
    struct message_options options = {.retries = 5, .label = STR("label")};
    struct store_reader *reader = NULL;
    struct record record;

    accept_world.topic->settings.dedup = SETTINGS_DEDUP_CONTENT;
    message.options = &options;
    assert_int_equal(accept_world_push(&push, &message, true), ERR_OK);
    accept_world_stored(&push, 0);
    assert_int_equal(store_reader_create(accept_world.topic->store, &reader),
                     ERR_OK);
    assert_int_equal(store_reader_next(reader, 0, &record), ERR_OK);
    assert_non_null(record.message.options);
    assert_int_equal(record.options.retries, 5);
    assert_true(str_equal(record.options.label, STR("label")));
    assert_int_equal(record.options.dedup_id.size, 71);
    assert_true(str_starts(record.options.dedup_id, STR("sha256:")));
    assert_true(str_equal(record.message.body, STR("body")));
    assert_int_equal(record.message.pushed_at_ms, message.pushed_at_ms);
    store_reader_destroy(reader);
    accept_world_finish();
}

static void body_in_a_file_has_no_content_to_compare(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};
    struct message message = accept_world_message("");

    message.blob = (struct message_blob){.id = 1, .size = 9, .crc = 2};
    accept_world.topic->settings.dedup = SETTINGS_DEDUP_CONTENT;
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(accept_world_push(&push, &message, true), ERR_OK);
        accept_world_stored(&push, i);
    }
    accept_world_finish();
}

/* --- expected numbers ----------------------------------------------------- */

static void push_expecting(struct accept_world_push *push,
                           uint64_t sequence,
                           const char *id)
{
    const struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                            .dedup_id = str_from(id)};

    push->wants.expects = true;
    push->wants.expect_seq = sequence;
    accept_world_push_options(push, "e", id != NULL ? &options : NULL);
}

static void expected_number_counts_those_under_way(void **state)
{
    accept_world_begin(state);
    struct accept_world_push pushes[6] = {0};

    push_expecting(&pushes[0], 0, NULL);
    push_expecting(&pushes[1], 0, NULL);
    push_expecting(&pushes[2], 1, NULL);
    push_expecting(&pushes[3], 3, NULL);
    accept_world_push_options(&pushes[4], "plain", NULL);
    push_expecting(&pushes[5], 3, NULL);
    accept_world_stored(&pushes[0], 0);
    accept_world_refused(&pushes[1], ERR_CONDITION);
    assert_int_equal(pushes[1].op.next, 1);
    accept_world_stored(&pushes[2], 1);
    accept_world_refused(&pushes[3], ERR_CONDITION);
    assert_int_equal(pushes[3].op.next, 2);
    accept_world_stored(&pushes[4], 2);
    accept_world_stored(&pushes[5], 3);
    assert_int_equal(accept_world_end(), 4);
    accept_world_finish();
}

static void push_sent_again_is_a_duplicate_whatever_it_expects(void **state)
{
    accept_world_begin(state);
    struct accept_world_push push = {0};

    push_expecting(&push, 0, "one");
    accept_world_stored(&push, 0);
    push_expecting(&push, 0, "one");
    accept_world_duplicate(&push, 0);
    push_expecting(&push, 0, "two");
    accept_world_refused(&push, ERR_CONDITION);
    assert_int_equal(push.op.next, 1);
    /* Which did not make it known. */
    push_expecting(&push, 1, "two");
    accept_world_stored(&push, 1);
    accept_world_finish();
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST_ONCE(push_that_asks_for_nothing_leaves_nothing),
        LOOP_TEST_ONCE(second_of_an_id_gets_the_number_of_the_first),
        LOOP_TEST(those_of_an_id_under_way_wait_for_the_first),
        LOOP_TEST_ONCE(when_the_first_fails_so_do_those_that_waited),
        LOOP_TEST_ONCE(what_has_an_id_already_is_no_duplicate),
        LOOP_TEST_ONCE(topics_do_not_share_ids),
        LOOP_TEST_ONCE(id_is_new_again_when_its_window_is_over),
        LOOP_TEST_ONCE(at_the_bound_pushes_with_a_new_id_are_refused),
        LOOP_TEST_ONCE(without_an_id_content_makes_the_duplicate),
        LOOP_TEST_ONCE(each_part_of_the_content_matters),
        LOOP_TEST_ONCE(content_id_is_stored_with_the_message),
        LOOP_TEST_ONCE(body_in_a_file_has_no_content_to_compare),
        LOOP_TEST_ONCE(expected_number_counts_those_under_way),
        LOOP_TEST_ONCE(push_sent_again_is_a_duplicate_whatever_it_expects),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
