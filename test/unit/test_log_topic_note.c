/* Notes of a topic's log: opened by one it is as its files would make it; what
 * is not all in its files has none; what cannot be is refused.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "lib/log_fixture.h"
#include "log/topic_log.h"

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
    fixture->options.segment_count_max = 100;
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    log_fixture_destroy(*state);
    free(*state);
    return 0;
}

static const struct topic_cursor cursor = {
    .epoch = 3,
    .next = 120,
    .attempts = 2,
    .range_count = 1,
    .ranges = {{130, 140}},
    .retry_count = 1,
    .retries = {{150, 4}},
};

/* Records [0, 350) as of checkpoint 1. */
static void write_log(struct log_fixture *fixture)
{
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 350);
    fixture->cursor = cursor;
    log_fixture_flush(fixture, 1);
}

static bool note(const struct log_fixture *fixture, struct buf *to)
{
    buf_clear(to);
    bool is = topic_log_note(fixture->log, 1, &cursor, to);
    assert_int_equal(buf_err(to), ERR_OK);
    assert_true(is == (to->size > 0));
    return is;
}

/* Open the log by a note. */
static enum err open_noted(struct log_fixture *fixture, struct str from)
{
    struct topic_log_options options = fixture->options;
    options.checkpoint = 1;
    options.note = from;
    return topic_log_open(&options, &fixture->log, &fixture->cursor);
}

static void what_a_note_makes_is_what_files_make(void **state)
{
    struct log_fixture *fixture = *state;
    struct buf bytes = {0};
    write_log(fixture);
    assert_true(note(fixture, &bytes));
    log_fixture_close(fixture);
    log_fixture_open(fixture, 1);
    assert_int_equal(topic_log_recovered(fixture->log), ERR_OK);
    struct topic_log_stats is = *log_fixture_stats(fixture);
    assert_true(is.plain);
    is.plain = false; /* nobody looks */
    log_fixture_close(fixture);
    log_fixture_remove(fixture, "cmd");
    log_fixture_remove(fixture, "dlv");
    assert_int_equal(open_noted(fixture, buf_str(&bytes)), ERR_OK);
    assert_memory_equal(log_fixture_stats(fixture), &is, sizeof(is));
    struct buf again = {0};
    assert_true(note(fixture, &again));
    assert_true(str_equal(buf_str(&bytes), buf_str(&again)));
    assert_int_equal(topic_log_recovered(fixture->log), ERR_OK);
    log_fixture_append(fixture, 350, 420);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 0, 420);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 2);
    assert_int_equal(topic_log_recovered(fixture->log), ERR_OK);
    log_fixture_expect(fixture, 0, 420);
    assert_int_equal(log_fixture_stats(fixture)->end, 420);
    buf_fini(&again);
    buf_fini(&bytes);
}

static void there_is_none_of_what_is_not_in_the_files(void **state)
{
    struct log_fixture *fixture = *state;
    struct buf bytes = {0};
    write_log(fixture);
    log_fixture_append(fixture, 350, 351);
    assert_false(note(fixture, &bytes)); /* it is in memory */
    log_fixture_flush(fixture, 0);
    assert_false(note(fixture, &bytes)); /* it waits for a sync */
    log_fixture_flush(fixture, 2);
    assert_false(note(fixture, &bytes)); /* of a checkpoint that is none yet */
    assert_true(topic_log_note(fixture->log, 2, &cursor, &bytes));
    topic_log_set_oldest(fixture->log, 150);
    bytes.size = 0;
    assert_false(topic_log_note(fixture->log, 2, &cursor, &bytes));
    assert_int_equal(log_fixture_remove_dropped(fixture), 2);
    assert_true(topic_log_note(fixture->log, 2, &cursor, &bytes));
    buf_fini(&bytes);
}

static void what_is_cut_is_refused(void **state)
{
    struct log_fixture *fixture = *state;
    struct buf bytes = {0};
    write_log(fixture);
    assert_true(note(fixture, &bytes));
    log_fixture_close(fixture);
    for (size_t size = 1; size < bytes.size; size++) {
        bool older = size == bytes.size - 16; /* cursors had no retries */
        assert_int_equal(open_noted(fixture, str_cut(buf_str(&bytes), 0, size)),
                         older ? ERR_OK : ERR_INVALID);
        if (older) {
            log_fixture_close(fixture);
        }
    }
    buf_fini(&bytes);
}

static void what_cannot_be_is_refused(void **state)
{
    struct log_fixture *fixture = *state;
    struct buf bytes = {0};
    /* Where what is put: oldest above end, more segments than there are bytes,
     * a segment that ends before it begins, one inside the one before, one past
     * the end, one without a head. */
    static const struct {
        size_t at;
        uint64_t value;
    } wrong[] = {{0, 351},
                 {64, UINT64_MAX},
                 {72 + 32 + 8, 99},
                 {72 + 32 + 0, 99},
                 {8, 349},
                 {72 + 16, 63},
                 {72 + 3 * 32 + 24, 0}}; /* the open one's end is not known */
    write_log(fixture);
    assert_true(note(fixture, &bytes));
    log_fixture_close(fixture);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint64_t before = get_u64(bytes.data + wrong[i].at);
        put_u64(bytes.data + wrong[i].at, wrong[i].value);
        enum err err = open_noted(fixture, buf_str(&bytes));
        put_u64(bytes.data + wrong[i].at, before);
        assert_int_equal(err, ERR_INVALID);
    }
    buf_fini(&bytes);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_note_makes_is_what_files_make,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            there_is_none_of_what_is_not_in_the_files, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_cut_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
