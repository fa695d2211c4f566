/* The log of a topic on a disk that fails: each call under it fails once, in
 * turn. After each failure the contract holds: what was readable is, the same
 * call can be made again, and a restart finds what was checkpointed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/fault.h"
#include "lib/log_fixture.h"
#include "log/topic_log.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SWEEP_MAX = 400 };

/* Ways to fail. */
static const struct fault_plan plans[] = {
    {.kinds = FAULT_ANY, .error_number = EIO},
    {.kinds = FAULT_ANY, .error_number = ENOSPC},
    {.kinds = FAULT_OPEN, .error_number = EMFILE},
    {.kinds = FAULT_WRITE, .error_number = ENOSPC, .short_write = true},
    {.kinds = FAULT_WRITE, .error_number = EIO, .short_write = true},
    {.kinds = FAULT_MMAP, .error_number = ENOMEM},
};
enum { PLAN_COUNT = sizeof(plans) / sizeof(plans[0]) };

static int setup(void **state)
{
    struct log_fixture *fixture = malloc(sizeof(*fixture));
    assert_non_null(fixture);
    log_fixture_create(fixture);
    fixture->options.segment_count_max = 100;
    fixture->payload_size = 200;
    *state = fixture;
    fault_install();
    return 0;
}

/* Records so large that flushes go past the page cache. */
static int setup_large(void **state)
{
    (void)setup(state);
    struct log_fixture *fixture = *state;
    fixture->options.direct = true;
    fixture->payload_size = 1000;
    return 0;
}

static int teardown(void **state)
{
    fault_remove();
    log_fixture_destroy(*state);
    free(*state);
    return 0;
}

static uint32_t count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    uint32_t count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    assert_int_equal(closedir(directory), 0);
    return count;
}

/* Use a folder of its own for a step of a sweep. */
static void use_folder(struct log_fixture *fixture, size_t plan, uint64_t at)
{
    (void)snprintf(fixture->directory, sizeof(fixture->directory), "%s/s%zu-%d",
                   fixture->root, plan, (int)at);
}

static void remove_folder(struct log_fixture *fixture)
{
    char path[sizeof(fixture->directory)];
    memcpy(path, fixture->directory, sizeof(path));
    log_fixture_close(fixture);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (struct dirent *entry = readdir(directory); entry != NULL;
         entry = readdir(directory)) {
        if (entry->d_name[0] != '.') {
            log_fixture_remove(fixture, entry->d_name);
        }
    }
    assert_int_equal(closedir(directory), 0);
}

static void set_fault(size_t plan, uint64_t at)
{
    struct fault_plan how = plans[plan];
    how.at = at;
    fault_set(&how);
}

static bool is_disk_error(enum err err)
{
    return err == ERR_IO || err == ERR_FULL || err == ERR_BUSY ||
           err == ERR_NOMEM;
}

/* --- flush ---------------------------------------------------------------- */

/* What happens after a run that failed. */
enum after { AFTER_RUN_AGAIN, AFTER_END_AND_BEGIN, AFTER_CRASH };

static void begin(struct log_fixture *fixture, struct topic_flush **out)
{
    assert_int_equal(topic_flush_begin(fixture->log, 2, &fixture->cursor, out),
                     ERR_OK);
}

/* 0 to 250 as of checkpoint 1, 250 to 520 in memory. */
static void make_log(struct log_fixture *fixture)
{
    fixture->cursor = (struct topic_cursor){0};
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 250);
    log_fixture_flush(fixture, 1);
    topic_log_close_files(fixture->log);
    log_fixture_append(fixture, 250, 520);
    fixture->cursor.next = 33;
}

/* Go on after a failure, to the end of checkpoint 2. */
static void
go_on(struct log_fixture *fixture, struct topic_flush *flush, enum after after)
{
    if (after == AFTER_END_AND_BEGIN) {
        topic_flush_end(fixture->log, flush, ERR_IO);
        log_fixture_expect(fixture, 0, 520);
        log_fixture_append(fixture, 520, 530);
        begin(fixture, &flush);
    }
    assert_int_equal(topic_flush_run(flush), ERR_OK);
    assert_int_equal(topic_flush_sync(flush), ERR_OK);
    topic_flush_end(fixture->log, flush, ERR_OK);
}

/* One step of the sweep; false when the fault did not come any more. */
static bool flush_step(struct log_fixture *fixture,
                       size_t plan,
                       uint64_t at,
                       enum after after)
{
    use_folder(fixture, plan, at);
    make_log(fixture);
    struct topic_flush *flush = NULL;
    begin(fixture, &flush);
    set_fault(plan, at);
    enum err err = topic_flush_run(flush);
    bool fired = fault_fired();
    fault_reset();
    if (fired) {
        assert_true(err == ERR_OK || is_disk_error(err));
        log_fixture_expect(fixture, 0, 520);
    } else {
        assert_int_equal(err, ERR_OK);
    }
    uint64_t end = after == AFTER_END_AND_BEGIN ? 530 : 520;
    if (after == AFTER_CRASH) {
        topic_flush_end(fixture->log, flush, ERR_IO);
        log_fixture_close(fixture);
        log_fixture_open(fixture, 1);
        assert_int_equal(log_fixture_stats(fixture)->end, 250);
        assert_int_equal(fixture->cursor.next, 0);
        log_fixture_append(fixture, 240, 520);
        assert_int_equal(topic_log_recovered(fixture->log), ERR_OK);
        log_fixture_flush(fixture, 2);
    } else {
        go_on(fixture, flush, after);
        log_fixture_expect(fixture, 0, end);
        log_fixture_close(fixture);
        log_fixture_open(fixture, 2);
        assert_int_equal(fixture->cursor.next, 33);
    }
    assert_int_equal(log_fixture_stats(fixture)->end, end);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
    log_fixture_expect(fixture, 0, end);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 6);
    remove_folder(fixture);
    return fired;
}

static void sweep_flush(struct log_fixture *fixture, enum after after)
{
    uint32_t descriptors = count_descriptors();
    for (size_t plan = 0; plan < PLAN_COUNT; plan++) {
        uint64_t at = 1;
        while (flush_step(fixture, plan, at, after)) {
            at++;
            assert_true(at < SWEEP_MAX);
        }
        /* It did sweep: each flush makes more calls than these. */
        assert_true(plans[plan].kinds == FAULT_MMAP || at > 8);
        assert_int_equal(count_descriptors(), descriptors);
    }
}

static void a_flush_that_failed_can_be_run_again(void **state)
{
    sweep_flush(*state, AFTER_RUN_AGAIN);
}

static void a_flush_that_failed_can_be_ended_and_begun_anew(void **state)
{
    sweep_flush(*state, AFTER_END_AND_BEGIN);
}

static void a_crash_after_a_flush_that_failed_costs_nothing(void **state)
{
    sweep_flush(*state, AFTER_CRASH);
}

static void a_purge_between_two_tries_of_a_flush_is_kept(void **state)
{
    struct log_fixture *fixture = *state;
    for (uint64_t at = 1;; at++) {
        use_folder(fixture, 0, at);
        make_log(fixture);
        struct topic_flush *flush = NULL;
        begin(fixture, &flush);
        set_fault(3, at);
        enum err err = topic_flush_run(flush);
        bool fired = fault_fired();
        fault_reset();
        topic_flush_end(fixture->log, flush, err);
        struct topic_trim trim = {.before = 460, .delivered = 460};
        uint64_t oldest = 0;
        assert_int_equal(topic_log_trim(fixture->log, &trim, &oldest), ERR_OK);
        assert_int_equal(oldest, 460);
        (void)log_fixture_remove_dropped(fixture);
        begin(fixture, &flush);
        assert_int_equal(topic_flush_run(flush), ERR_OK);
        assert_int_equal(topic_flush_sync(flush), ERR_OK);
        topic_flush_end(fixture->log, flush, ERR_OK);
        log_fixture_expect(fixture, 460, 520);
        log_fixture_close(fixture);
        log_fixture_open(fixture, 2);
        log_fixture_expect(fixture, 460, 520);
        assert_int_equal(log_fixture_stats(fixture)->oldest, 460);
        assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
        remove_folder(fixture);
        if (!fired) {
            break;
        }
    }
}

static void a_sync_that_failed_is_said(void **state)
{
    struct log_fixture *fixture = *state;
    struct fault_plan plan = {.kinds = FAULT_SYNC, .error_number = EIO};
    uint64_t at = 1;
    for (;; at++) {
        use_folder(fixture, 0, at);
        make_log(fixture);
        struct topic_flush *flush = NULL;
        begin(fixture, &flush);
        assert_int_equal(topic_flush_run(flush), ERR_OK);
        plan.at = at;
        fault_set(&plan);
        enum err err = topic_flush_sync(flush);
        bool fired = fault_fired();
        fault_reset();
        assert_int_equal(err, fired ? ERR_IO : ERR_OK);
        topic_flush_end(fixture->log, flush, err);
        remove_folder(fixture);
        if (!fired) {
            break;
        }
    }
    /* Four segments and their indexes, cmd, dlv, names. */
    assert_int_equal(at, 4 * 2 + 2 + 1 + 1);
}

/* --- open and replay ------------------------------------------------------ */

/* A folder with all that recovery may have to do: no index, bytes and
 * segments behind cmd; or (without_cmd) no cmd. */
static void make_folder(struct log_fixture *fixture, bool without_cmd)
{
    fixture->cursor = (struct topic_cursor){.next = 33};
    log_fixture_open(fixture, 0);
    struct topic_cursor cursor = {.next = 33};
    fixture->cursor = cursor;
    log_fixture_append(fixture, 0, 250);
    log_fixture_flush(fixture, 1);
    log_fixture_append(fixture, 250, 420);
    log_fixture_flush(fixture, 0);
    log_fixture_close(fixture);
    log_fixture_remove(fixture, "100.idx");
    log_fixture_cut(fixture, "0.idx", 20);
    if (without_cmd) {
        log_fixture_remove(fixture, "cmd");
        log_fixture_flip(fixture, "300.msg", 10000);
    }
}

/* Open under the fault, until it can. */
static void open_through(struct log_fixture *fixture, bool *fired)
{
    fixture->options.directory = fixture->directory;
    fixture->options.checkpoint = 1;
    enum err err =
        topic_log_open(&fixture->options, &fixture->log, &fixture->cursor);
    if (err != ERR_OK) {
        assert_true(fault_fired());
        assert_true(is_disk_error(err));
        assert_null(fixture->log);
        *fired = true;
        fault_reset();
        log_fixture_open(fixture, 1);
    }
}

/* Replay from `first`, each call made again after a failure. */
static void replay_through(struct log_fixture *fixture, uint64_t first)
{
    for (uint64_t i = first; i < 430; i++) {
        struct str record = log_fixture_record(i, log_fixture_time(fixture, i),
                                               fixture->payload_size);
        enum err err = topic_log_append(fixture->log, record);
        if (err != ERR_OK) {
            assert_true(is_disk_error(err));
            fault_reset();
            assert_int_equal(topic_log_append(fixture->log, record), ERR_OK);
        }
    }
    enum err err = topic_log_recovered(fixture->log);
    if (err != ERR_OK) {
        assert_true(is_disk_error(err));
        fault_reset();
        assert_int_equal(topic_log_recovered(fixture->log), ERR_OK);
    }
}

static void
sweep_recovery(struct log_fixture *fixture, bool without_cmd, uint64_t first)
{
    for (size_t plan = 0; plan < PLAN_COUNT; plan++) {
        for (uint64_t at = 1;; at++) {
            assert_true(at < SWEEP_MAX);
            use_folder(fixture, plan, at);
            make_folder(fixture, without_cmd);
            bool fired = false;
            set_fault(plan, at);
            open_through(fixture, &fired);
            replay_through(fixture, first);
            fired = fired || fault_fired();
            fault_reset();
            assert_int_equal(fixture->cursor.next, 33);
            assert_int_equal(log_fixture_stats(fixture)->end,
                             first < 430 ? 430 : 420);
            log_fixture_expect(fixture, 0, 330);
            log_fixture_flush(fixture, 2);
            log_fixture_expect(fixture, 0, 330);
            assert_int_equal(log_fixture_stats(fixture)->quarantined,
                             without_cmd ? 1 : 0);
            remove_folder(fixture);
            if (!fired) {
                break;
            }
        }
    }
}

static void recovery_that_failed_can_be_made_again(void **state)
{
    sweep_recovery(*state, false, 240);
}

static void recovery_without_the_journal_can_be_made_again(void **state)
{
    sweep_recovery(*state, false, 430);
}

static void recovery_without_cmd_can_be_made_again(void **state)
{
    sweep_recovery(*state, true, 400);
}

/* --- read ----------------------------------------------------------------- */

static void reading_that_failed_can_be_made_again(void **state)
{
    struct log_fixture *fixture = *state;
    use_folder(fixture, 0, 0);
    make_log(fixture);
    log_fixture_flush(fixture, 2);
    log_fixture_close(fixture);
    log_fixture_flip(fixture, "200.msg", 64 + 50 * 248 + 100);
    for (size_t plan = 0; plan < PLAN_COUNT; plan++) {
        for (uint64_t at = 1;; at++) {
            assert_true(at < SWEEP_MAX);
            log_fixture_cut(fixture, "0.idx", 0);
            log_fixture_open(fixture, 2);
            set_fault(plan, at);
            struct topic_place place;
            enum err find = topic_log_find(fixture->log, 30, &place);
            enum err skip = topic_log_skip(fixture->log, 250, &place);
            uint64_t found = 0;
            enum err time = topic_log_find_time(
                fixture->log, log_fixture_time(fixture, 333), &found);
            struct topic_trim trim = {
                .delivered = 520, .age_ms = 1, .now_ms = 5};
            uint64_t oldest = 0;
            assert_int_equal(topic_log_trim(fixture->log, &trim, &oldest),
                             ERR_OK);
            bool fired = fault_fired();
            fault_reset();
            assert_true(find == ERR_OK || is_disk_error(find));
            assert_true(skip == ERR_OK || is_disk_error(skip));
            assert_true(time == ERR_OK ? found == 333 : is_disk_error(time));
            assert_int_equal(oldest, 0);
            log_fixture_expect(fixture, 0, 250);
            log_fixture_expect(fixture, 251, 520);
            assert_int_equal(topic_log_skip(fixture->log, 250, &place), ERR_OK);
            assert_int_equal(log_fixture_stats(fixture)->quarantined, 1);
            log_fixture_close(fixture);
            if (!fired) {
                break;
            }
        }
    }
}

static void a_full_disk_does_not_keep_anybody_from_reading(void **state)
{
    struct log_fixture *fixture = *state;
    make_log(fixture);
    log_fixture_flush(fixture, 2);
    log_fixture_close(fixture);
    log_fixture_remove(fixture, "0.idx");
    log_fixture_cut(fixture, "200.idx", 16);
    struct fault_plan plan = {.kinds = FAULT_WRITE | FAULT_FTRUNCATE,
                              .at = 1,
                              .error_number = ENOSPC,
                              .sticky = true};
    fault_set(&plan);
    log_fixture_open(fixture, 2);
    log_fixture_append(fixture, 520, 530);
    log_fixture_expect(fixture, 0, 530);
    assert_true(fault_fired());
    struct topic_trim trim = {.before = 300, .delivered = 300};
    uint64_t oldest = 0;
    assert_int_equal(topic_log_trim(fixture->log, &trim, &oldest), ERR_OK);
    assert_int_equal(log_fixture_remove_dropped(fixture), 6);
    log_fixture_expect(fixture, 300, 530);
    struct topic_flush *flush = NULL;
    begin(fixture, &flush);
    assert_int_equal(topic_flush_run(flush), ERR_FULL);
    topic_flush_end(fixture->log, flush, ERR_FULL);
    fault_reset(); /* there is room again */
    begin(fixture, &flush);
    assert_int_equal(topic_flush_run(flush), ERR_OK);
    topic_flush_end(fixture->log, flush, ERR_OK);
    log_fixture_expect(fixture, 300, 530);
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define LARGE(name)                                                            \
    {                                                                          \
#name "[large]", name, setup_large, teardown, NULL                     \
    }
    const struct CMUnitTest tests[] = {
        FACT(a_flush_that_failed_can_be_run_again),
        FACT(a_flush_that_failed_can_be_ended_and_begun_anew),
        FACT(a_crash_after_a_flush_that_failed_costs_nothing),
        FACT(a_purge_between_two_tries_of_a_flush_is_kept),
        FACT(a_sync_that_failed_is_said),
        FACT(recovery_that_failed_can_be_made_again),
        FACT(recovery_without_the_journal_can_be_made_again),
        FACT(recovery_without_cmd_can_be_made_again),
        FACT(reading_that_failed_can_be_made_again),
        FACT(a_full_disk_does_not_keep_anybody_from_reading),
        LARGE(a_flush_that_failed_can_be_run_again),
        LARGE(a_flush_that_failed_can_be_ended_and_begun_anew),
        LARGE(a_crash_after_a_flush_that_failed_costs_nothing),
        LARGE(a_purge_between_two_tries_of_a_flush_is_kept),
        LARGE(a_full_disk_does_not_keep_anybody_from_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
