/* `cmd` and `dlv`: which slot is in force, which is written.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_state.h"

#include "lib/fault.h"
#include "lib/log_fixture.h"
#include "sys/dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct log_fixture *fixture = malloc(sizeof(*fixture));
    assert_non_null(fixture);
    log_fixture_create(fixture);
    assert_int_equal(dir_create(fixture->directory), ERR_OK);
    *state = fixture;
    fault_install();
    return 0;
}

static int teardown(void **state)
{
    fault_remove();
    log_fixture_destroy(*state);
    free(*state);
    return 0;
}

static struct topic_state_key key_of(const struct log_fixture *fixture,
                                     uint64_t checkpoint)
{
    return (struct topic_state_key){fixture->directory, 77, checkpoint};
}

/* Write both for a checkpoint, with `end` and `next` telling its number. */
static void store(const struct log_fixture *fixture,
                  uint64_t checkpoint,
                  struct topic_state_slots *cmd_slots,
                  struct topic_state_slots *dlv_slots)
{
    struct topic_state_key key = key_of(fixture, checkpoint - 1);
    struct topic_state_cmd cmd = {.end = checkpoint * 10,
                                  .oldest = checkpoint,
                                  .open_first = 3,
                                  .open_size = 4,
                                  .quarantined = 5};
    struct topic_cursor cursor = {.epoch = 1, .next = checkpoint * 10};
    assert_int_equal(topic_state_store_cmd(&key, &cmd, cmd_slots), ERR_OK);
    assert_int_equal(topic_state_store_dlv(&key, &cursor, dlv_slots), ERR_OK);
}

/* What is believed when `checkpoint` is complete; 0: nothing. */
static uint64_t believed(const struct log_fixture *fixture, uint64_t checkpoint)
{
    struct topic_state_key key = key_of(fixture, checkpoint);
    struct topic_state_slots slots;
    struct topic_state_cmd cmd = {0};
    struct topic_cursor cursor = {0};
    enum err err = topic_state_load_cmd(&key, &slots, &cmd);
    assert_int_equal(topic_state_load_dlv(&key, &slots, &cursor), err);
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    assert_true(cmd.end == cursor.next);
    if (err == ERR_OK) {
        assert_true(cmd.oldest == cmd.end / 10);
        assert_int_equal(cmd.open_first, 3);
        assert_int_equal(cmd.open_size, 4);
        assert_int_equal(cmd.quarantined, 5);
    }
    return cmd.end / 10;
}

static void what_is_in_force_is_never_written_over(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_state_slots cmd = {0};
    struct topic_state_slots dlv = {0};
    assert_int_equal(believed(fixture, 100), 0);
    store(fixture, 1, &cmd, &dlv);
    assert_int_equal(believed(fixture, 0), 0);
    assert_int_equal(believed(fixture, 1), 1);
    store(fixture, 4, &cmd, &dlv);
    assert_int_equal(believed(fixture, 3), 1);
    assert_int_equal(believed(fixture, 4), 4);
    store(fixture, 6, &cmd, &dlv); /* even as 4 is: not by parity */
    assert_int_equal(believed(fixture, 5), 4);
    assert_int_equal(believed(fixture, 6), 6);
    store(fixture, 7, &cmd, &dlv);
    store(fixture, 7, &cmd, &dlv); /* after a failure, the same again */
    assert_int_equal(believed(fixture, 6), 6);
    assert_int_equal(believed(fixture, 7), 7);
    assert_int_equal(log_fixture_size(fixture, "cmd"), 8192);
    assert_int_equal(topic_state_sync(fixture->directory, true), ERR_OK);
}

static void stale_slots_are_emptied(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_state_slots cmd = {0};
    struct topic_state_slots dlv = {0};
    store(fixture, 56, &cmd, &dlv);
    store(fixture, 57, &cmd, &dlv);
    assert_true(topic_state_stale(&cmd, 1));
    assert_true(topic_state_stale(&cmd, 56));
    assert_false(topic_state_stale(&cmd, 57));
    store(fixture, 1, &cmd, &dlv);
    assert_false(topic_state_stale(&cmd, 1));
    assert_false(topic_state_stale(&dlv, 1));
    assert_int_equal(believed(fixture, 1), 1);
    assert_int_equal(believed(fixture, 1000), 1);
}

static void any_flipped_byte_makes_a_slot_invalid(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_state_slots cmd = {0};
    struct topic_state_slots dlv = {0};
    store(fixture, 1, &cmd, &dlv);
    store(fixture, 2, &cmd, &dlv);
    for (uint64_t at = 0; at < 32 + 24; at++) {
        log_fixture_flip(fixture, "cmd", 4096 + at);
        log_fixture_flip(fixture, "dlv", 4096 + at);
        assert_int_equal(believed(fixture, 9), 1);
        struct topic_state_key key = key_of(fixture, 9);
        struct topic_state_slots slots;
        struct topic_state_cmd value;
        assert_int_equal(topic_state_load_cmd(&key, &slots, &value), ERR_OK);
        assert_true(slots.damaged[1]);
        assert_false(slots.damaged[0]);
        log_fixture_flip(fixture, "cmd", 4096 + at);
        log_fixture_flip(fixture, "dlv", 4096 + at);
    }
    for (uint64_t cut = 8192; cut > 0; cut -= cut > 4200 ? 512 : 1) {
        log_fixture_cut(fixture, "cmd", cut);
        log_fixture_cut(fixture, "dlv", cut);
        struct topic_state_key key = key_of(fixture, 9);
        struct topic_state_slots slots;
        struct topic_state_cmd value = {0};
        enum err err = topic_state_load_cmd(&key, &slots, &value);
        uint64_t expected = cut >= 4096 + 72 ? 20 : cut >= 72 ? 10 : 0;
        assert_int_equal(err, expected > 0 ? ERR_OK : ERR_NOT_FOUND);
        assert_int_equal(value.end, expected);
    }
}

static void another_topics_state_is_not_believed(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_state_slots slots = {0};
    struct topic_state_slots dlv = {0};
    store(fixture, 1, &slots, &dlv);
    struct topic_state_key key = key_of(fixture, 1);
    struct topic_state_cmd cmd;
    key.topic_id = 78;
    assert_int_equal(topic_state_load_cmd(&key, &slots, &cmd), ERR_NOT_FOUND);
    key.topic_id = 0;
    assert_int_equal(topic_state_load_cmd(&key, &slots, &cmd), ERR_OK);
}

static void a_full_cursor_is_read_back(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_state_key key = key_of(fixture, 0);
    struct topic_state_slots slots = {0};
    static struct topic_cursor cursor = {
        .epoch = 9,
        .next = 100,
        .attempts = 4,
        .range_count = TOPIC_RANGES_MAX,
        .retry_count = TOPIC_RETRIES_MAX,
    };
    for (uint64_t i = 0; i < TOPIC_RANGES_MAX; i++) {
        cursor.ranges[i].first = 200 + i * 10;
        cursor.ranges[i].end = 205 + i * 10;
    }
    for (uint64_t i = 0; i < TOPIC_RETRIES_MAX; i++) {
        cursor.retries[i].sequence = 206 + i * 10;
        cursor.retries[i].attempts = UINT32_MAX;
    }
    assert_int_equal(topic_state_store_dlv(&key, &cursor, &slots), ERR_OK);
    key.checkpoint = 1;
    static struct topic_cursor got;
    assert_int_equal(topic_state_load_dlv(&key, &slots, &got), ERR_OK);
    assert_memory_equal(&got, &cursor, sizeof(got));
}

static void ranges_that_make_no_sense_are_not_believed(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_cursor cursor = {.next = 100, .range_count = 2};
    const uint64_t bad[][4] = {
        {99, 105, 110, 120},  /* begins below next */
        {105, 105, 110, 120}, /* is empty */
        {105, 112, 110, 120}, /* they overlap */
        {120, 130, 105, 110}, /* they descend */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct topic_state_key key = key_of(fixture, 0);
        struct topic_state_slots slots = {0};
        cursor.ranges[0].first = bad[i][0];
        cursor.ranges[0].end = bad[i][1];
        cursor.ranges[1].first = bad[i][2];
        cursor.ranges[1].end = bad[i][3];
        assert_int_equal(topic_state_store_dlv(&key, &cursor, &slots), ERR_OK);
        key.checkpoint = 1;
        struct topic_cursor got;
        assert_int_equal(topic_state_load_dlv(&key, &slots, &got),
                         ERR_NOT_FOUND);
    }
}

static void a_write_that_failed_leaves_what_is_in_force(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_state_slots cmd_slots = {0};
    struct topic_state_slots dlv_slots = {0};
    store(fixture, 1, &cmd_slots, &dlv_slots);
    store(fixture, 2, &cmd_slots, &dlv_slots);
    struct fault_plan plan = {.kinds = FAULT_ANY, .error_number = EIO};
    for (uint64_t at = 1;; at++) {
        for (int half = 0; half < 2; half++) {
            plan.at = at;
            plan.short_write = half == 1;
            fault_set(&plan);
            struct topic_state_key key = key_of(fixture, 2);
            struct topic_state_cmd cmd = {.end = 30, .oldest = 3};
            enum err err = topic_state_store_cmd(&key, &cmd, &cmd_slots);
            bool fired = fault_fired();
            fault_reset();
            if (!fired) {
                assert_int_equal(err, ERR_OK);
                return;
            }
            assert_int_equal(err, ERR_IO);
            assert_int_equal(believed(fixture, 2), 2);
        }
    }
}

static void a_sync_of_what_is_not_there_fails(void **state)
{
    struct log_fixture *fixture = *state;
    assert_int_equal(topic_state_sync(fixture->directory, true), ERR_IO);
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FACT(what_is_in_force_is_never_written_over),
        FACT(stale_slots_are_emptied),
        FACT(any_flipped_byte_makes_a_slot_invalid),
        FACT(another_topics_state_is_not_believed),
        FACT(a_full_cursor_is_read_back),
        FACT(ranges_that_make_no_sense_are_not_believed),
        FACT(a_write_that_failed_leaves_what_is_in_force),
        FACT(a_sync_of_what_is_not_there_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
