/* Tests of log/journal: puts, commits, the life of files.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/journal.h"

#include "lib/fault.h"
#include "lib/journal_fixture.h"
#include "lib/loop.h"
#include "log/journal_internal.h"
#include "sys/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct journal_fixture fixture;

static void begin(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
}

static void begin_open(void **state)
{
    begin(state);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
}

static void end(void)
{
    fault_reset();
    journal_fixture_destroy(&fixture); /* its helper makes calls till then */
    fault_remove();
}

static void reopen(void)
{
    journal_fixture_close(&fixture);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
}

static void what_is_committed_is_replayed_in_order(void **state)
{
    begin_open(state);
    assert_int_equal(fixture.count, 0);
    assert_false(journal_pending(fixture.journal));
    journal_fixture_append(&fixture, 0, 100, 7);
    assert_int_equal(journal_stats(fixture.journal)->commits, 15);
    reopen();
    journal_fixture_expect(&fixture, 0, 100);
    assert_int_equal(fixture.damaged, 0);
    assert_int_equal(fixture.done_bytes, fixture.all_bytes);
    assert_int_equal(journal_stats(fixture.journal)->recovered_entries, 100);
    /* And once more, with what a second life adds. */
    journal_fixture_append(&fixture, 100, 120, 20);
    reopen();
    journal_fixture_expect(&fixture, 0, 120);
    end();
}

static void what_is_not_committed_is_gone(void **state)
{
    begin_open(state);
    journal_fixture_append(&fixture, 0, 5, 5);
    assert_int_equal(journal_fixture_put(&fixture, 5, 0), ERR_OK);
    assert_true(journal_pending(fixture.journal));
    reopen();
    journal_fixture_expect(&fixture, 0, 5);
    assert_int_equal(journal_fixture_put(&fixture, 5, 0), ERR_OK);
    journal_drop(fixture.journal);
    assert_false(journal_pending(fixture.journal));
    journal_fixture_append(&fixture, 5, 6, 1);
    reopen();
    journal_fixture_expect(&fixture, 0, 6);
    end();
}

static void a_batch_too_large_is_refused(void **state)
{
    void *body = NULL;
    begin_open(state);
    uint64_t size_max = fixture.options.batch_size_max;
    size_t body_max = size_max - JOURNAL_ENTRY_HEAD_SIZE;
    assert_int_equal(journal_fixture_put(&fixture, 2, body_max + 1),
                     ERR_TOO_LARGE);
    assert_int_equal(journal_put_begin(fixture.journal, JOURNAL_CURSOR, 1,
                                       SIZE_MAX - 8, &body),
                     ERR_TOO_LARGE);
    assert_null(body);
    assert_false(journal_pending(fixture.journal));
    assert_int_equal(journal_fixture_put(&fixture, 2, body_max), ERR_OK);
    assert_int_equal(journal_fixture_put(&fixture, 3, 0), ERR_BUSY);
    assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
    assert_int_equal(journal_fixture_put(&fixture, 3, 0), ERR_OK);
    assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
    reopen();
    journal_fixture_expect(&fixture, 2, 4);
    end();
}

static void places_only_grow_and_batches_are_aligned(void **state)
{
    begin_open(state);
    struct journal_place place = journal_place(fixture.journal);
    uint64_t first = place.generation;
    assert_int_equal(place.offset, 0);
    for (uint64_t number = 0; number < 60; number++) {
        journal_fixture_append(&fixture, number, number + 1, 1);
        struct journal_place next = journal_place(fixture.journal);
        assert_int_equal(next.offset % JOURNAL_BATCH_ALIGN, 0);
        assert_true(next.generation > place.generation ||
                    (next.generation == place.generation &&
                     next.offset > place.offset));
        place = next;
    }
    assert_true(place.generation > first);
    end();
}

static void a_full_journal_goes_on_after_a_release(void **state)
{
    uint64_t number = 0;
    uint64_t first_kept = 0;
    begin_open(state);
    assert_false(journal_crowded(fixture.journal));
    for (int round = 0; round < 5; round++) {
        enum err err = ERR_OK;
        while (err == ERR_OK) {
            err = journal_fixture_put(&fixture, number, 0);
            if (err == ERR_BUSY && journal_busy(fixture.journal)) {
                io_run_turn(fixture.io, 100);
                err = ERR_OK;
                continue;
            }
            if (err == ERR_OK) {
                assert_int_equal(journal_fixture_commit(&fixture, true),
                                 ERR_OK);
                number++;
            }
        }
        assert_int_equal(err, ERR_BUSY);
        assert_false(journal_pending(fixture.journal));
        assert_true(journal_crowded(fixture.journal));
        uint64_t used = journal_stats(fixture.journal)->used_bytes;
        assert_true(used > 2 * fixture.options.file_size);
        fixture.from = journal_place(fixture.journal);
        journal_release(fixture.journal, fixture.from);
        assert_int_equal(journal_stats(fixture.journal)->used_bytes, 0);
        assert_false(journal_crowded(fixture.journal));
        first_kept = number;
        journal_fixture_append(&fixture, number, number + 3, 1);
        number += 3;
    }
    /* Only what lies behind the released place comes back. */
    reopen();
    journal_fixture_expect(&fixture, first_kept, number);
    end();
}

static void stale_bytes_of_recycled_files_never_count(void **state)
{
    uint64_t number = 0;
    begin_open(state);
    for (int round = 0; round < 40; round++) {
        journal_fixture_append(&fixture, number, number + 9, 3);
        number += 9;
        fixture.from = journal_place(fixture.journal);
        journal_release(fixture.journal, fixture.from);
        journal_fixture_append(&fixture, number, number + 2, 1);
        reopen();
        journal_fixture_expect(&fixture, number, number + 2);
        assert_int_equal(fixture.damaged, 0);
        number += 2;
    }
    end();
}

static unsigned count_files(void)
{
    char path[JOURNAL_FIXTURE_PATH_MAX];
    unsigned files = 0;
    for (unsigned slot = 0; slot < 8; slot++) {
        journal_fixture_path(&fixture, slot, path);
        files += access(path, F_OK) == 0;
    }
    return files;
}

static void more_files_than_wanted_are_removed_once_free(void **state)
{
    begin_open(state);
    journal_fixture_append(&fixture, 0, 45, 1); /* all four files */
    journal_fixture_close(&fixture);
    fixture.options.files_max = 2;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 0, 45);
    assert_int_equal(journal_fixture_put(&fixture, 45, 0), ERR_BUSY);
    fixture.from = journal_place(fixture.journal);
    journal_release(fixture.journal, fixture.from);
    journal_fixture_append(&fixture, 45, 50, 1);
    reopen();
    journal_fixture_expect(&fixture, 45, 50);
    assert_int_equal(count_files(), 2);
    end();
}

static bool roomy;

static bool ask_room(void *context, uint64_t size)
{
    assert_ptr_equal(context, &roomy);
    assert_int_equal(size, fixture.options.file_size);
    return roomy;
}

/* Append until no file is free; returns the number behind the last. */
static uint64_t append_until_busy(uint64_t number)
{
    enum err err = ERR_OK;
    bool busy = false; /* before the put: a file may have come since */
    while (err == ERR_OK || busy) {
        busy = journal_busy(fixture.journal);
        err = journal_fixture_put(&fixture, number, 0);
        if (err == ERR_OK) {
            assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
            number++;
        } else {
            io_run_turn(fixture.io, 100);
        }
    }
    assert_int_equal(err, ERR_BUSY);
    return number;
}

static void without_room_there_are_two_files_and_no_more(void **state)
{
    begin(state);
    roomy = false;
    fixture.options.room = ask_room;
    fixture.options.room_context = &roomy;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    uint64_t number = append_until_busy(0);
    assert_int_equal(count_files(), 2);
    assert_true(journal_crowded(fixture.journal));
    reopen(); /* both are in use, and still there is no third */
    journal_fixture_expect(&fixture, 0, number);
    assert_int_equal(journal_fixture_put(&fixture, number, 0), ERR_BUSY);
    assert_int_equal(count_files(), 2);
    for (int round = 0; round < 3; round++) {
        fixture.from = journal_place(fixture.journal);
        journal_release(fixture.journal, fixture.from);
        number = append_until_busy(number);
        assert_int_equal(count_files(), 2);
    }
    roomy = true;
    fixture.from = journal_place(fixture.journal);
    journal_release(fixture.journal, fixture.from);
    (void)append_until_busy(number);
    assert_int_equal(count_files(), 4);
    end();
}

/* It looks again by itself, before the current file is full. */
static void room_that_comes_back_is_used_in_time(void **state)
{
    begin(state);
    roomy = false;
    fixture.options.room = ask_room;
    fixture.options.room_context = &roomy;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    uint64_t first = journal_place(fixture.journal).generation;
    uint64_t number = 0;
    while (journal_place(fixture.journal).generation == first) {
        journal_fixture_append(&fixture, number, number + 1, 1);
        number++;
        LOOP_UNTIL(fixture.io, !journal_busy(fixture.journal));
    }
    assert_false(journal_has_file(fixture.journal));
    roomy = true;
    fixture.journal->prepare->retry_at_ns = 0; /* a second is over */
    while (!journal_has_file(fixture.journal)) {
        assert_int_equal(journal_place(fixture.journal).generation, first + 1);
        journal_fixture_append(&fixture, number, number + 1, 1);
        number++;
        LOOP_UNTIL(fixture.io, !journal_busy(fixture.journal));
    }
    assert_int_equal(count_files(), 3);
    end();
}

static void files_of_another_size_are_used(void **state)
{
    begin_open(state);
    journal_fixture_append(&fixture, 0, 20, 1);
    journal_fixture_close(&fixture);
    fixture.options.file_size = 128U << 10;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, 20, 60, 1);
    journal_fixture_close(&fixture);
    fixture.options.file_size = 36U << 10;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 0, 60);
    fixture.from = journal_place(fixture.journal);
    journal_release(fixture.journal, fixture.from);
    journal_fixture_append(&fixture, 60, 70, 1);
    reopen();
    journal_fixture_expect(&fixture, 60, 70);
    end();
}

/* --- asynchronously ------------------------------------------------------- */

static void note_committed(void *context, enum err err)
{
    struct journal_fixture *own = context;
    own->committed = true;
    own->err = err;
}

static void puts_gather_while_a_commit_runs(void **state)
{
    begin(state);
    fixture.options.sync_inline_max_us = 0;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    uint64_t number = 0;
    for (int round = 0; round < 50; round++) {
        void *body = NULL;
        enum err err = journal_put_begin(fixture.journal, JOURNAL_CURSOR,
                                         number, 100, &body);
        while (err == ERR_BUSY && journal_busy(fixture.journal)) {
            io_run_turn(fixture.io, 100);
            err = journal_put_begin(fixture.journal, JOURNAL_CURSOR, number,
                                    100, &body);
        }
        if (err == ERR_BUSY) {
            journal_release(fixture.journal, journal_place(fixture.journal));
            continue;
        }
        assert_int_equal(err, ERR_OK);
        memset(body, (int)(number & 0xff), 100);
        journal_put_end(fixture.journal);
        number++;
        fixture.committed = false;
        journal_commit(fixture.journal, JOURNAL_DURABLE, note_committed,
                       &fixture);
        assert_true(journal_committing(fixture.journal));
        assert_false(fixture.committed); /* never from inside */
        void *behind = NULL;
        if (journal_put_begin(fixture.journal, JOURNAL_CURSOR, number, 100,
                              &behind) == ERR_OK) {
            memset(behind, (int)(number & 0xff), 100);
            journal_put_end(fixture.journal);
            number++;
        }
        LOOP_UNTIL(fixture.io, fixture.committed);
        assert_int_equal(fixture.err, ERR_OK);
        /* The committed bytes were where they are until now. */
        assert_int_equal(*(unsigned char *)body,
                         (number - (behind != NULL ? 2 : 1)) & 0xff);
        if (journal_pending(fixture.journal)) {
            assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
        }
    }
    end();
}

static void slow_syncs_make_commits_asynchronous(void **state)
{
    begin(state);
    /* So far apart that no disk, however busy, is taken for the other. */
    fixture.options.sync_inline_max_us = 200000;
    fixture.options.file_size = 1024U << 10;
    fault_install();
    fault_slow_sync(300000);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    bool asynchronous = false;
    uint64_t number = 0;
    for (; number < 40 && !asynchronous; number++) {
        assert_int_equal(journal_fixture_put(&fixture, number, 0), ERR_OK);
        fixture.committed = false;
        journal_commit(fixture.journal, JOURNAL_DURABLE, note_committed,
                       &fixture);
        asynchronous = !fixture.committed;
        LOOP_UNTIL(fixture.io, fixture.committed);
        assert_int_equal(fixture.err, ERR_OK);
    }
    assert_true(asynchronous);
    assert_true(journal_stats(fixture.journal)->sync_mean_ns > 200000000);
    /* The page cache is fast whatever the disk is. */
    assert_int_equal(journal_fixture_put(&fixture, number, 0), ERR_OK);
    fixture.committed = false;
    journal_commit(fixture.journal, JOURNAL_WRITTEN, note_committed, &fixture);
    assert_true(fixture.committed);
    number++;
    /* A fast disk brings them back. */
    fault_slow_sync(0);
    bool on_loop = false;
    for (; number < 200 && !on_loop; number++) {
        assert_int_equal(journal_fixture_put(&fixture, number, 0), ERR_OK);
        fixture.committed = false;
        journal_commit(fixture.journal, JOURNAL_DURABLE, note_committed,
                       &fixture);
        on_loop = fixture.committed;
        LOOP_UNTIL(fixture.io, fixture.committed);
    }
    assert_true(on_loop);
    reopen();
    journal_fixture_expect(&fixture, 0, number);
    end();
}

static void what_nobody_waits_for_is_not_done_on_the_loop(void **state)
{
    begin(state);
    fixture.options.sync_inline_max_us = 10000000;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    for (uint64_t number = 0; number < 10; number++) {
        assert_int_equal(journal_fixture_put(&fixture, number, 0), ERR_OK);
        uint64_t mean_ns = journal_stats(fixture.journal)->sync_mean_ns;
        fixture.committed = false;
        journal_commit(fixture.journal, JOURNAL_DURABLE_BEHIND, note_committed,
                       &fixture);
        assert_false(fixture.committed);
        assert_true(journal_committing(fixture.journal));
        LOOP_UNTIL(fixture.io, fixture.committed);
        assert_int_equal(fixture.err, ERR_OK);
        assert_int_equal(journal_stats(fixture.journal)->sync_mean_ns, mean_ns);
    }
    assert_int_equal(journal_fixture_put(&fixture, 10, 0), ERR_OK);
    fixture.committed = false;
    journal_commit(fixture.journal, JOURNAL_DURABLE, note_committed, &fixture);
    assert_true(fixture.committed);
    reopen();
    journal_fixture_expect(&fixture, 0, 11);
    end();
}

static void closing_waits_for_the_helper(void **state)
{
    begin(state);
    fixture.options.file_size = 32U << 20;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, 0, 1, 1);
    assert_true(journal_busy(fixture.journal)); /* fills the second file */
    journal_close(fixture.journal);
    fixture.journal = NULL;
    /* Whatever state the second file is in, it is used or filled again. */
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 0, 1);
    journal_fixture_append(&fixture, 1, 5, 1);
    reopen();
    journal_fixture_expect(&fixture, 0, 5);
    end();
}

/* --- durability ----------------------------------------------------------- */

static void a_durable_commit_syncs_what_was_not_durable(void **state)
{
    begin_open(state);
    fault_install();
    journal_fixture_append(&fixture, 0, 1, 1);
    LOOP_UNTIL(fixture.io, !journal_busy(fixture.journal));
    fault_reset();
    assert_int_equal(journal_fixture_put(&fixture, 1, 0), ERR_OK);
    assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
    /* One call: a synchronous write. */
    assert_int_equal(fault_count(FAULT_SYNC), 0);
    assert_int_equal(fault_count(FAULT_WRITE), 1);
    fault_reset();
    assert_int_equal(journal_fixture_put(&fixture, 2, 0), ERR_OK);
    assert_int_equal(journal_fixture_commit(&fixture, false), ERR_OK);
    assert_int_equal(fault_count(FAULT_SYNC), 0);
    assert_int_equal(fault_count(FAULT_WRITE), 1);
    assert_int_equal(journal_fixture_put(&fixture, 3, 0), ERR_OK);
    assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
    assert_int_equal(fault_count(FAULT_FDATASYNC), 1);
    assert_int_equal(journal_fixture_put(&fixture, 4, 0), ERR_OK);
    assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
    assert_int_equal(fault_count(FAULT_FDATASYNC), 1);
    reopen();
    journal_fixture_expect(&fixture, 0, 5);
    end();
}

static void
files_left_unsynced_are_synced_by_the_next_durable_commit(void **state)
{
    begin_open(state);
    fault_install();
    uint64_t number = 0;
    uint64_t first = journal_place(fixture.journal).generation;
    while (journal_place(fixture.journal).generation < first + 2) {
        enum err err = journal_fixture_put(&fixture, number, 0);
        if (err == ERR_BUSY) {
            io_run_turn(fixture.io, 100);
            continue;
        }
        assert_int_equal(journal_fixture_commit(&fixture, false), ERR_OK);
        number++;
    }
    LOOP_UNTIL(fixture.io, !journal_busy(fixture.journal));
    fault_reset();
    assert_int_equal(journal_fixture_put(&fixture, number, 0), ERR_OK);
    assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
    assert_int_equal(fault_count(FAULT_FDATASYNC), 3); /* each file once */
    reopen();
    journal_fixture_expect(&fixture, 0, number + 1);
    end();
}

static enum err refuse(void *context,
                       enum journal_type type,
                       uint64_t topic_id,
                       struct str body)
{
    (void)context;
    (void)type;
    (void)body;
    return topic_id == 2 ? ERR_NOMEM : ERR_CORRUPT;
}

static void ignore(void *context,
                   uint64_t topic_id,
                   struct journal_place place,
                   uint64_t size)
{
    (void)topic_id;
    (void)place;
    (void)size;
    ++*(int *)context;
}

static void errors_of_the_callback_end_recovery_but_for_damage(void **state)
{
    int damaged = 0;
    struct journal_replay replay = {
        .entry = refuse,
        .damaged = ignore,
        .context = &damaged,
    };
    begin_open(state);
    journal_fixture_append(&fixture, 0, 2, 2);
    journal_fixture_close(&fixture);
    struct journal *journal = NULL;
    fixture.options.io = NULL; /* recovery only: nothing is written */
    assert_int_equal(
        journal_open(&fixture.options, fixture.from, &replay, &journal),
        ERR_OK);
    assert_int_equal(damaged, 2);
    assert_int_equal(journal_stats(journal)->damaged_entries, 2);
    journal_close(journal);
    fixture.options.io = fixture.io;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, 2, 3, 1);
    journal_fixture_close(&fixture);
    journal = NULL;
    assert_int_equal(
        journal_open(&fixture.options, fixture.from, &replay, &journal),
        ERR_NOMEM);
    assert_null(journal);
    end();
}

static void a_missing_directory_is_an_error(void **state)
{
    begin(state);
    fixture.options.directory = "/nonexistent/journal";
    assert_int_equal(journal_fixture_open(&fixture), ERR_IO);
    assert_null(fixture.journal);
    end();
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(what_is_committed_is_replayed_in_order),
        LOOP_TEST(what_is_not_committed_is_gone),
        LOOP_TEST(a_batch_too_large_is_refused),
        LOOP_TEST(places_only_grow_and_batches_are_aligned),
        LOOP_TEST(a_full_journal_goes_on_after_a_release),
        LOOP_TEST(stale_bytes_of_recycled_files_never_count),
        LOOP_TEST(more_files_than_wanted_are_removed_once_free),
        LOOP_TEST(without_room_there_are_two_files_and_no_more),
        LOOP_TEST(room_that_comes_back_is_used_in_time),
        LOOP_TEST(files_of_another_size_are_used),
        LOOP_TEST(puts_gather_while_a_commit_runs),
        LOOP_TEST(slow_syncs_make_commits_asynchronous),
        LOOP_TEST(what_nobody_waits_for_is_not_done_on_the_loop),
        LOOP_TEST(closing_waits_for_the_helper),
        LOOP_TEST(a_durable_commit_syncs_what_was_not_durable),
        LOOP_TEST(files_left_unsynced_are_synced_by_the_next_durable_commit),
        LOOP_TEST(errors_of_the_callback_end_recovery_but_for_damage),
        LOOP_TEST(a_missing_directory_is_an_error),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
