/* Tests of log/journal with failures under it: each call fails once, in turn.
 * What was reported committed is there after a restart; what was reported
 * failed never is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/journal.h"

#include "base/diag.h"
#include "lib/fault.h"
#include "lib/journal_fixture.h"
#include "lib/loop.h"
#include "log/journal_internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
    COMMITS = 14,
    NUMBERS_MAX = 256,
    CALLS_MAX = 300, /* far more than a run makes */
};

/* A way to run the journal. */
struct way {
    uint32_t inline_max_us;
    bool direct;
    uint32_t durable_each; /* of so many commits one is durable */
};

static const struct way ways[] = {
    {.inline_max_us = 1000000, .direct = true, .durable_each = 1},
    {.inline_max_us = 1000000, .direct = false, .durable_each = 3},
    {.inline_max_us = 0, .direct = true, .durable_each = 2},
};

static struct journal_fixture fixture;

/* What was reported of each number. */
enum outcome {
    OUTCOME_NONE,
    OUTCOME_COMMITTED,
    OUTCOME_FAILED,
};
static enum outcome outcomes[NUMBERS_MAX];
static uint64_t number;

/* Open without failures and compare; `refused`: what failed is looked for. */
static void restart(bool refused)
{
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    assert_int_equal(fixture.damaged, 0);
    uint64_t at = 0;
    for (uint32_t i = 0; i < fixture.count; i++) {
        uint64_t found = fixture.numbers[i];
        for (; at < found; at++) {
            assert_int_not_equal(outcomes[at], OUTCOME_COMMITTED);
        }
        assert_int_equal(found, at); /* in order, none twice */
        if (refused) {
            assert_int_not_equal(outcomes[found], OUTCOME_FAILED);
        }
        at++;
    }
    for (; at < number; at++) {
        assert_int_not_equal(outcomes[at], OUTCOME_COMMITTED);
    }
}

/* Put some entries; false when the journal takes none. */
static bool put_some(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        enum err err = journal_fixture_put(&fixture, number, 0);
        while (err != ERR_OK && journal_busy(fixture.journal)) {
            io_run_turn(fixture.io, 100);
            err = journal_fixture_put(&fixture, number, 0);
        }
        if (err != ERR_OK) {
            assert_true(err == ERR_BUSY || err == ERR_FULL);
            return i > 0;
        }
        outcomes[number] = OUTCOME_NONE;
        number++;
    }
    return true;
}

/* A run of commits; after a failed one a restart at once. */
static void run(const struct way *way, bool sticky)
{
    for (uint64_t commit = 0; commit < COMMITS; commit++) {
        LOOP_UNTIL(fixture.io, !journal_busy(fixture.journal));
        uint64_t first = number;
        if (!put_some(1 + commit % 3)) {
            /* No file can be had: a checkpoint of nothing changes nothing. */
            continue;
        }
        enum err err =
            journal_fixture_commit(&fixture, commit % way->durable_each == 0);
        for (uint64_t i = first; i < number; i++) {
            outcomes[i] = err == ERR_OK ? OUTCOME_COMMITTED : OUTCOME_FAILED;
        }
        if (err == ERR_OK) {
            continue;
        }
        assert_true(err == ERR_IO || err == ERR_FULL);
        assert_false(journal_pending(fixture.journal));
        assert_true(fault_fired());
        if (!sticky) {
            journal_fixture_close(&fixture);
            restart(true);
        }
    }
}

static void sweep(void **state, const struct fault_plan *plan)
{
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        uint64_t at = 1;
        for (; at < CALLS_MAX; at++) {
            journal_fixture_create(&fixture, loop_of(state));
            fixture.options.file_size = 32U << 10;
            fixture.options.files_max = 8;
            fixture.options.sync_inline_max_us = ways[i].inline_max_us;
            fixture.options.direct = ways[i].direct;
            number = 0;
            fault_install();
            struct fault_plan now = *plan;
            now.at = at;
            fault_set(&now);
            enum err err = journal_fixture_open(&fixture);
            if (err == ERR_OK) {
                run(&ways[i], plan->sticky);
                journal_fixture_close(&fixture);
            } else {
                assert_true(err == ERR_IO || err == ERR_FULL);
                assert_null(fixture.journal);
            }
            bool fired = fault_fired();
            fault_remove();
            restart(!plan->sticky);
            journal_fixture_append(&fixture, number, number + 2, 1);
            journal_fixture_destroy(&fixture);
            if (!fired) {
                break;
            }
        }
        assert_true(at > 1 && at < CALLS_MAX);
    }
}

static void each_call_fails_once(void **state)
{
    sweep(state, &(struct fault_plan){.kinds = FAULT_ANY, .error_number = EIO});
}

static void the_disk_is_full_once(void **state)
{
    sweep(state, &(struct fault_plan){.kinds = FAULT_WRITE | FAULT_SYNC |
                                               FAULT_FALLOCATE | FAULT_OPEN,
                                      .error_number = ENOSPC});
}

static void each_write_is_short_and_its_rest_fails(void **state)
{
    sweep(state, &(struct fault_plan){.kinds = FAULT_WRITE,
                                      .error_number = EIO,
                                      .short_write = true});
}

static void a_disk_that_stays_broken_loses_nothing_committed(void **state)
{
    sweep(state, &(struct fault_plan){.kinds = FAULT_WRITE | FAULT_SYNC,
                                      .error_number = EIO,
                                      .sticky = true});
}

/* The file that failed is not written again until it is released. */
static void a_file_that_failed_waits_for_a_release(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    fault_install();
    number = 0;
    for (uint64_t i = 0; i < 3; i++) {
        journal_fixture_append(&fixture, i, i + 1, 1);
        LOOP_UNTIL(fixture.io, !journal_busy(fixture.journal));
        struct journal_place before = journal_place(fixture.journal);
        fault_set(&(struct fault_plan){
            .kinds = FAULT_WRITE, .at = 1, .error_number = EIO});
        assert_int_equal(journal_fixture_put(&fixture, 100 + i, 0), ERR_OK);
        assert_int_equal(journal_fixture_commit(&fixture, true), ERR_IO);
        struct journal_place after = journal_place(fixture.journal);
        assert_int_equal(after.generation, before.generation + 1);
    }
    assert_int_equal(journal_stats(fixture.journal)->failures, 3);
    assert_true(journal_crowded(fixture.journal));
    journal_fixture_append(&fixture, 3, 4, 1);
    LOOP_UNTIL(fixture.io, !journal_busy(fixture.journal));
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO});
    assert_int_equal(journal_fixture_put(&fixture, 103, 0), ERR_OK);
    assert_int_equal(journal_fixture_commit(&fixture, true), ERR_IO);
    fault_reset();
    /* All four are given up. */
    assert_int_equal(journal_fixture_put(&fixture, 4, 0), ERR_BUSY);
    journal_release(fixture.journal, fixture.from); /* of nothing */
    assert_int_equal(journal_fixture_put(&fixture, 4, 0), ERR_BUSY);
    fixture.from = journal_place(fixture.journal);
    journal_release(fixture.journal, fixture.from);
    assert_false(journal_crowded(fixture.journal));
    journal_fixture_append(&fixture, 4, 8, 1);
    journal_fixture_close(&fixture);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 4, 8);
    journal_fixture_destroy(&fixture);
    fault_remove();
}

static void a_full_disk_does_not_stop_a_start_that_frees_room(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    fixture.options.files_max = 2;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, 0, 3, 1);
    journal_fixture_close(&fixture);
    char path[JOURNAL_FIXTURE_PATH_MAX];
    journal_fixture_path(&fixture, 1, path);
    assert_int_equal(remove(path), 0);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = ENOSPC, .sticky = true});
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 0, 3);
    assert_true(journal_crowded(fixture.journal));
    assert_int_equal(journal_fixture_put(&fixture, 3, 0), ERR_FULL);
    fixture.from = journal_place(fixture.journal);
    fault_reset();
    journal_release(fixture.journal, fixture.from);
    journal_fixture_append(&fixture, 3, 5, 1);
    journal_fixture_destroy(&fixture);
    fault_remove();
}

static void without_direct_writes_it_goes_through_the_page_cache(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_OPEN, .at = 4, .error_number = EINVAL, .sticky = true});
    /* The folder, the file, the folder with its name; then it, directly. */
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    assert_true(fault_fired());
    assert_false(journal_stats(fixture.journal)->direct);
    fault_reset();
    journal_fixture_append(&fixture, 0, 40, 2);
    assert_false(journal_stats(fixture.journal)->direct);
    journal_fixture_close(&fixture);
    fault_remove();
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 0, 40);
    journal_fixture_destroy(&fixture);
}

/* --- a file that cannot be read ------------------------------------------- */

static char lines[4096]; /* what was told, NUL behind it */
static size_t lines_size;

static void keep_line(void *context, const char *line, size_t size)
{
    (void)context;
    assert_true(size < sizeof(lines) - lines_size);
    memcpy(lines + lines_size, line, size);
    lines_size += size;
    lines[lines_size] = '\0';
}

static uint64_t no_time(void)
{
    return 0;
}

/* Tell whether the last start named a slot's file as what stopped it. */
static bool named(unsigned slot)
{
    char path[JOURNAL_FIXTURE_PATH_MAX];
    char text[JOURNAL_FIXTURE_PATH_MAX + 64];
    journal_fixture_path(&fixture, slot, path);
    (void)snprintf(text, sizeof(text),
                   "error journal_file_unusable path=%s call=read ", path);
    return strstr(lines, text) != NULL;
}

static void
a_file_that_cannot_be_read_refuses_the_start_and_is_named(void **state)
{
    static const struct diag_sink sink = {.write = keep_line,
                                          .now_ms = no_time};
    int counts[2] = {0, 0}; /* how often each file was named */
    journal_fixture_create(&fixture, loop_of(state));
    fixture.options.files_max = 2;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    struct journal_place first = journal_place(fixture.journal);
    uint64_t count = 0;
    do {
        journal_fixture_append(&fixture, count, count + 1, 1);
        count++;
    } while (journal_place(fixture.journal).generation == first.generation);
    journal_fixture_close(&fixture);
    fault_install();
    diag_set_sink(&sink);
    for (uint64_t at = 1; at < CALLS_MAX; at++) {
        lines_size = 0;
        lines[0] = '\0';
        fault_set(&(struct fault_plan){
            .kinds = FAULT_READ, .at = at, .error_number = EIO});
        enum err err = journal_fixture_open(&fixture);
        if (!fault_fired()) {
            assert_int_equal(err, ERR_OK);
            break;
        }
        assert_int_equal(err, ERR_IO);
        assert_true(named(0) != named(1));
        counts[0] += named(0);
        counts[1] += named(1);
    }
    diag_set_sink(NULL);
    fault_remove();
    /* Both when they are looked at and when they are replayed. */
    assert_true(counts[0] >= 2 && counts[1] >= 2);
    journal_fixture_expect(&fixture, 0, count);
    journal_fixture_destroy(&fixture);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(each_call_fails_once),
        LOOP_TEST(the_disk_is_full_once),
        LOOP_TEST(each_write_is_short_and_its_rest_fails),
        LOOP_TEST(a_disk_that_stays_broken_loses_nothing_committed),
        LOOP_TEST(a_file_that_failed_waits_for_a_release),
        LOOP_TEST(a_full_disk_does_not_stop_a_start_that_frees_room),
        LOOP_TEST(without_direct_writes_it_goes_through_the_page_cache),
        LOOP_TEST(a_file_that_cannot_be_read_refuses_the_start_and_is_named),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
