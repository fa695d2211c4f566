/* Tests of log/journal: what recovery makes of what a crash or a disk left.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/journal.h"

#include "lib/journal_fixture.h"
#include "lib/loop.h"
#include "log/journal_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    BATCH = 24,  /* entries: some blocks */
    BATCHES = 3, /* of one file */
    ENTRIES = BATCH * BATCHES,
};

static struct journal_fixture fixture;

/* The bytes of slot 0 as they were, and where its entries are. */
static char *data;
static size_t data_size;
static size_t starts[ENTRIES];
static size_t ends[ENTRIES];

static size_t align(size_t size)
{
    return (size + JOURNAL_BATCH_ALIGN - 1) / JOURNAL_BATCH_ALIGN *
           JOURNAL_BATCH_ALIGN;
}

/* A journal with three batches in slot 0, closed; replays only from now on.
 * They make no use of the loop, so one back end will do. */
static void begin(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    fixture.options.file_size = 32U << 10;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, 0, ENTRIES, BATCH);
    journal_fixture_close(&fixture);
    data = journal_fixture_load(&fixture, 0, &data_size);
    size_t at = 0;
    for (uint64_t number = 0; number < ENTRIES; number++) {
        at = number % BATCH == 0 ? align(at) : at;
        starts[number] = at;
        at += journal_fixture_entry_size(number);
        ends[number] = at;
    }
    assert_true(data_size >= align(at));
    fixture.options.io = NULL;
}

static void end(void)
{
    fixture.options.io = fixture.io;
    free(data);
    data = NULL;
    journal_fixture_destroy(&fixture);
}

/* Replay slot 0 with other content, without changing anything. */
static void replay(const char *bytes, size_t size)
{
    journal_fixture_store(&fixture, 0, bytes, size);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_close(fixture.journal);
    fixture.journal = NULL;
}

/* Check that the last replay gave all numbers but one. */
static void expect_all_but(uint64_t missing)
{
    uint32_t at = 0;
    assert_int_equal(fixture.count, ENTRIES - 1);
    for (uint64_t number = 0; number < ENTRIES; number++) {
        if (number != missing) {
            assert_int_equal(fixture.numbers[at], number);
            at++;
        }
    }
}

static void a_torn_tail_ends_where_it_is_torn(void **state)
{
    begin(state);
    char *torn = malloc(data_size);
    assert_non_null(torn);
    size_t first = ENTRIES - BATCH;
    size_t cut_end = ends[ENTRIES - 1];
    for (size_t cut = starts[first]; cut <= cut_end; cut++) {
        for (int kind = 0; kind < 3; kind++) {
            memcpy(torn, data, data_size);
            if (kind > 0) { /* never written; or stale */
                memset(torn + cut, kind == 1 ? 0 : 0xa5, data_size - cut);
            }
            size_t size = kind == 0 ? cut : data_size;
            uint64_t whole = first;
            while (whole < ENTRIES && ends[whole] <= size &&
                   memcmp(torn + starts[whole], data + starts[whole],
                          ends[whole] - starts[whole]) == 0) {
                whole++;
            }
            replay(torn, size);
            journal_fixture_expect(&fixture, 0, whole);
            assert_int_equal(fixture.damaged, 0);
        }
    }
    free(torn);
    end();
}

static void
blocks_of_the_last_write_may_reach_the_disk_in_any_order(void **state)
{
    begin(state);
    char *torn = malloc(data_size);
    assert_non_null(torn);
    uint64_t first = ENTRIES - BATCH;
    size_t begin_at = starts[first];
    size_t blocks = (align(ends[ENTRIES - 1]) - begin_at) / JOURNAL_BATCH_ALIGN;
    assert_true(blocks >= 2 && blocks < 8);
    for (size_t missing = 1; missing < (size_t)1 << blocks; missing++) {
        size_t lost = data_size; /* where the first missing block is */
        memcpy(torn, data, data_size);
        for (size_t block = blocks; block > 0; block--) {
            if ((missing & ((size_t)1 << (block - 1))) != 0) {
                lost = begin_at + (block - 1) * JOURNAL_BATCH_ALIGN;
                memset(torn + lost, 0, JOURNAL_BATCH_ALIGN);
            }
        }
        uint64_t whole = first;
        while (whole < ENTRIES && ends[whole] <= lost) {
            whole++;
        }
        replay(torn, data_size);
        journal_fixture_expect(&fixture, 0, whole);
        assert_int_equal(fixture.damaged, 0);
    }
    free(torn);
    end();
}

/* Flip a bit of each byte of an entry: only that one is lost, and told. */
static void flip_entry(uint64_t number)
{
    for (size_t at = starts[number]; at < ends[number]; at++) {
        char bit = (char)(1 << at % 8);
        data[at] = (char)(data[at] ^ bit);
        replay(data, data_size);
        expect_all_but(number);
        assert_int_equal(fixture.damaged, 1);
        assert_true(fixture.damaged_bytes >= ends[number] - starts[number]);
        assert_true(fixture.damaged_bytes <=
                    align(ends[number]) - starts[number]);
        data[at] = (char)(data[at] ^ bit);
    }
}

static void a_damaged_entry_costs_no_other(void **state)
{
    begin(state);
    flip_entry(0);             /* by which the file is known */
    flip_entry(BATCH);         /* a record, first of a batch */
    flip_entry(BATCH + 5);     /* a cursor in the middle */
    flip_entry(BATCH + 6);     /* a record, likewise */
    flip_entry(2 * BATCH - 1); /* a cursor, last of a batch */
    flip_entry(2 * BATCH - 2); /* a record, before it */
    end();
}

static void damaged_padding_costs_nothing(void **state)
{
    begin(state);
    for (size_t at = ends[BATCH - 1]; at < starts[BATCH]; at++) {
        data[at] ^= 0x10;
        replay(data, data_size);
        journal_fixture_expect(&fixture, 0, ENTRIES);
        data[at] ^= 0x10;
    }
    end();
}

static void lost_blocks_in_the_middle_are_told(void **state)
{
    begin(state);
    size_t last = starts[ENTRIES - BATCH];
    for (size_t block = 0; block < last; block += JOURNAL_BATCH_ALIGN) {
        char saved[JOURNAL_BATCH_ALIGN];
        memcpy(saved, data + block, sizeof(saved));
        memset(data + block, 0x5a, sizeof(saved));
        replay(data, data_size);
        assert_true(fixture.damaged > 0);
        uint32_t at = 0;
        for (uint64_t number = 0; number < ENTRIES; number++) {
            bool hit = starts[number] < block + JOURNAL_BATCH_ALIGN &&
                       ends[number] > block;
            if (!hit) {
                assert_true(at < fixture.count);
                assert_int_equal(fixture.numbers[at], number);
                at++;
            }
        }
        assert_int_equal(fixture.count, at);
        memcpy(data + block, saved, sizeof(saved));
    }
    end();
}

/* What was ended once stays ended: bytes behind a torn place that are whole
 * must not come back between what was acknowledged later. */
static void a_second_recovery_decides_as_the_first(void **state)
{
    begin(state);
    uint64_t torn = ENTRIES - BATCH + 4;
    memset(data + starts[torn], 0,
           ends[torn] - starts[torn]); /* those behind it are whole */
    journal_fixture_store(&fixture, 0, data, data_size);
    fixture.options.io = fixture.io;
    for (int life = 0; life < 3; life++) {
        uint64_t count = torn + (uint64_t)life * 2;
        assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
        assert_int_equal(fixture.damaged, 0);
        assert_int_equal(fixture.count, count);
        for (uint64_t i = 0; i < count; i++) {
            assert_int_equal(fixture.numbers[i], i < torn ? i : i - torn + 900);
        }
        journal_fixture_append(&fixture, 900 + count - torn, 902 + count - torn,
                               1);
        journal_fixture_close(&fixture);
    }
    end();
}

/* Who closed the journal in order knows where it ended: below that all that is
 * not whole is damaged, behind it nothing counts. */
static void a_told_end_is_the_end(void **state)
{
    begin(state);
    struct journal_entry entry;
    assert_true(
        journal_entry_read((struct str){data, data_size}, 0, 0, &entry));
    uint64_t own = entry.generation;
    for (uint64_t count = BATCH; count <= ENTRIES; count += BATCH) {
        fixture.options.end =
            (struct journal_place){own, align(ends[count - 1])};
        replay(data, data_size);
        journal_fixture_expect(&fixture, 0, count);
        assert_int_equal(fixture.damaged, 0);
        data[ends[count - 1] - 1] ^= 0x04;
        replay(data, data_size);
        assert_int_equal(fixture.count, count - 1);
        assert_int_equal(fixture.damaged, 1);
        data[ends[count - 1] - 1] ^= 0x04;
    }
    /* That of another generation is none, nor one that the file lacks. */
    fixture.options.end = (struct journal_place){own + 1, 4096};
    replay(data, data_size);
    journal_fixture_expect(&fixture, 0, ENTRIES);
    fixture.options.end =
        (struct journal_place){own, data_size + JOURNAL_BATCH_ALIGN};
    replay(data, data_size);
    journal_fixture_expect(&fixture, 0, ENTRIES);
    fixture.options.end = (struct journal_place){0};
    end();
}

/* A file that is not the last is known to its end: damage in its last batch is
 * damage, too. */
static void the_end_of_a_full_file_is_known(void **state)
{
    begin(state);
    fixture.options.io = fixture.io;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, ENTRIES, ENTRIES + 2, 2);
    journal_fixture_close(&fixture);
    fixture.options.io = NULL;
    uint64_t number = ENTRIES - 3;
    for (size_t at = starts[number]; at < ends[number]; at++) {
        data[at] ^= 0x02;
        replay(data, data_size);
        assert_int_equal(fixture.count, ENTRIES + 1);
        assert_int_equal(fixture.damaged, 1);
        assert_int_equal(fixture.numbers[number - 1], number - 1);
        assert_int_equal(fixture.numbers[number], number + 1);
        data[at] ^= 0x02;
    }
    /* All of it lost but the first block: told, and the next file goes on. */
    replay(data, JOURNAL_BATCH_ALIGN);
    assert_true(fixture.damaged > 0);
    assert_int_equal(fixture.numbers[fixture.count - 1], ENTRIES + 1);
    end();
}

static void swap_names(unsigned left, unsigned right)
{
    char left_path[JOURNAL_FIXTURE_PATH_MAX];
    char right_path[JOURNAL_FIXTURE_PATH_MAX];
    char other[JOURNAL_FIXTURE_PATH_MAX];
    journal_fixture_path(&fixture, left, left_path);
    journal_fixture_path(&fixture, right, right_path);
    journal_fixture_path(&fixture, 99, other);
    assert_int_equal(rename(left_path, other), 0);
    assert_int_equal(rename(right_path, left_path), 0);
    assert_int_equal(rename(other, right_path), 0);
}

static void files_are_ordered_by_content_and_not_by_name(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    struct journal_place first = journal_place(fixture.journal);
    journal_fixture_append(&fixture, 0, 40, 1);
    struct journal_place place = journal_place(fixture.journal);
    assert_int_equal(place.generation, first.generation + 2);
    journal_fixture_close(&fixture);
    swap_names(0, 2);
    swap_names(1, 3);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 0, 40);
    assert_true(journal_place(fixture.journal).generation > place.generation);
    end();
}

static void what_lies_before_the_place_is_ignored(void **state)
{
    struct journal_place places[40];
    journal_fixture_create(&fixture, loop_of(state));
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    for (uint64_t number = 0; number < 40; number++) {
        places[number] = journal_place(fixture.journal);
        journal_fixture_append(&fixture, number, number + 1, 1);
    }
    struct journal_place behind = journal_place(fixture.journal);
    journal_fixture_close(&fixture);
    fixture.options.io = NULL;
    for (uint64_t number = 0; number < 40; number++) {
        fixture.from = places[number];
        assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
        journal_fixture_expect(&fixture, number, 40);
        journal_close(fixture.journal);
        fixture.journal = NULL;
    }
    fixture.from = behind;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    assert_int_equal(fixture.count, 0);
    assert_true(journal_place(fixture.journal).generation > behind.generation);
    journal_close(fixture.journal);
    fixture.journal = NULL;
    end();
}

/* --- a recycled file whose first write lost its first block --------------- */

enum {
    TORN_FIRST = 500, /* numbers of the torn batch, which was not answered */
    TORN_ENTRIES = 4, /* of one block each */
    ANSWERED_AFTER = 900,
};

/* What was answered before the power failed: [first_kept, end_kept). */
static uint64_t first_kept;
static uint64_t end_kept;

/* Fill slot 1, free slot 0, and begin to write it again with a large batch,
 * of which all but the first block, the ABORT entries, reached the disk: the
 * file still begins with its old life, and has entries of the new one. */
static void tear_first_write(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    fixture.options.file_size = 32U << 10;
    fixture.options.files_max = 2;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    struct journal_place first = journal_place(fixture.journal);
    uint64_t number = 0;
    do {
        journal_fixture_append(&fixture, number, number + 1, 1);
        number++;
    } while (journal_place(fixture.journal).generation == first.generation);
    fixture.from = journal_place(fixture.journal);
    first_kept = number;
    journal_release(fixture.journal, fixture.from);
    LOOP_UNTIL(fixture.io, !journal_busy(fixture.journal));
    uint64_t torn_size = (uint64_t)TORN_ENTRIES * JOURNAL_BATCH_ALIGN;
    while (journal_place(fixture.journal).offset + torn_size <=
           fixture.options.file_size) {
        journal_fixture_append(&fixture, number, number + 1, 1);
        number++;
    }
    end_kept = number;
    assert_true(end_kept > first_kept);

    char *old = journal_fixture_load(&fixture, 0, &data_size);
    for (uint64_t i = 0; i < TORN_ENTRIES; i++) {
        size_t body_size = JOURNAL_BATCH_ALIGN - JOURNAL_ENTRY_HEAD_SIZE;
        assert_int_equal(
            journal_fixture_put(&fixture, TORN_FIRST + i, body_size), ERR_OK);
    }
    assert_int_equal(journal_fixture_commit(&fixture, true), ERR_OK);
    journal_fixture_close(&fixture);
    data = journal_fixture_load(&fixture, 0, &data_size);
    assert_memory_not_equal(data, old, JOURNAL_BATCH_ALIGN);
    memcpy(data, old, JOURNAL_BATCH_ALIGN);
    journal_fixture_store(&fixture, 0, data, data_size);
    free(old);
}

/* Check that the last replay gave what was answered: before the power failed,
 * and `after` numbers after that. */
static void expect_answered(uint64_t after)
{
    uint64_t kept = end_kept - first_kept;
    assert_int_equal(fixture.damaged, 0);
    assert_int_equal(fixture.count, kept + after);
    for (uint64_t i = 0; i < kept + after; i++) {
        assert_int_equal(fixture.numbers[i],
                         i < kept ? first_kept + i : ANSWERED_AFTER + i - kept);
    }
}

/* The next batch goes to the same file, and ends where an entry of the torn
 * one begins. */
static void a_torn_first_write_does_not_go_on_behind_a_new_batch(void **state)
{
    tear_first_write(state);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    expect_answered(0);
    journal_fixture_append(&fixture, ANSWERED_AFTER, ANSWERED_AFTER + 1, 1);
    assert_int_equal(journal_place(fixture.journal).offset,
                     2 * JOURNAL_BATCH_ALIGN);
    for (int life = 0; life < 2; life++) {
        journal_fixture_close(&fixture);
        assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
        expect_answered(1);
    }
    size_t size = 0;
    char *now = journal_fixture_load(&fixture, 0, &size);
    assert_int_equal(size, data_size);
    assert_memory_not_equal(now, data, 2 * JOURNAL_BATCH_ALIGN);
    assert_memory_equal(now + 2 * JOURNAL_BATCH_ALIGN,
                        data + 2 * JOURNAL_BATCH_ALIGN, JOURNAL_BATCH_ALIGN);
    free(now);
    end();
}

/* Whether direct writes work is tried with that file: it must not become one
 * whose beginning is lost, and which is known by the batches behind it. */
static void a_torn_first_write_does_not_come_back_by_a_start(void **state)
{
    tear_first_write(state);
    for (int life = 0; life < 3; life++) {
        assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
        expect_answered(0);
        journal_fixture_close(&fixture);
    }
    end();
}

/* A start cannot see what it was that a life before wrote and lost in part; so
 * it gives numbers that none can have given. */
static void a_start_gives_generations_that_none_gave_before(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    fixture.from.generation = 7;
    uint64_t given[20];
    for (int life = 0; life < 20; life++) {
        assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
        struct journal_place place = journal_place(fixture.journal);
        assert_int_equal(place.offset, 0);
        assert_true(place.generation > fixture.from.generation);
        for (int i = 0; i < life; i++) {
            assert_int_not_equal(given[i], place.generation);
        }
        given[life] = place.generation;
        journal_fixture_close(&fixture); /* as if nothing reached the disk */
    }
    end();
}

/* --- kills ---------------------------------------------------------------- */

/* Replay a copy of the folder as it is now: at least the first `least`, at
 * most `most` entries, without a gap. */
static void check_copy(uint64_t least, uint64_t most)
{
    static struct journal_fixture copy;
    char directory[SCRATCH_PATH_MAX];
    journal_fixture_create(&copy, fixture.io);
    memcpy(directory, copy.directory, sizeof(directory));
    journal_fixture_copy(&fixture, directory);
    assert_int_equal(journal_fixture_open(&copy), ERR_OK);
    assert_true(copy.count >= least && copy.count <= most);
    journal_fixture_expect(&copy, 0, copy.count);
    assert_int_equal(copy.damaged, 0);
    /* It goes on from there. */
    uint64_t count = copy.count;
    journal_fixture_append(&copy, count, count + 1, 1);
    journal_fixture_close(&copy);
    assert_int_equal(journal_fixture_open(&copy), ERR_OK);
    journal_fixture_expect(&copy, 0, count + 1);
    journal_fixture_destroy(&copy);
}

static void note(void *context, enum err err)
{
    (void)context;
    assert_int_equal(err, ERR_OK);
    fixture.committed = true;
}

static void kill_at_each_step(void **state, uint32_t inline_max_us)
{
    journal_fixture_create(&fixture, loop_of(state));
    fixture.options.sync_inline_max_us = inline_max_us;
    fixture.options.file_size = 32U << 10;
    fixture.options.batch_size_max = 8U << 10;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    check_copy(0, 0);
    uint64_t number = 0;
    for (int batch = 0; batch < 20; batch++) {
        uint64_t first = number;
        enum err err = journal_fixture_put(&fixture, number, 0);
        while (err == ERR_BUSY) {
            assert_true(journal_busy(fixture.journal));
            io_run_turn(fixture.io, 100);
            err = journal_fixture_put(&fixture, number, 0);
        }
        assert_int_equal(err, ERR_OK);
        number++;
        for (; number < first + 1 + (uint64_t)batch % 5; number++) {
            assert_int_equal(journal_fixture_put(&fixture, number, 0), ERR_OK);
        }
        check_copy(first, first);
        fixture.committed = false;
        journal_commit(fixture.journal,
                       batch % 3 != 0 ? JOURNAL_DURABLE : JOURNAL_WRITTEN, note,
                       NULL);
        check_copy(fixture.committed ? number : first, number);
        LOOP_UNTIL(fixture.io, fixture.committed);
        check_copy(number, number);
    }
    end();
}

static void a_kill_loses_nothing_committed(void **state)
{
    kill_at_each_step(state, 1000000);
}

static void a_kill_loses_nothing_committed_asynchronously(void **state)
{
    kill_at_each_step(state, 0);
}

static void remove_slot(unsigned slot)
{
    char path[JOURNAL_FIXTURE_PATH_MAX];
    journal_fixture_path(&fixture, slot, path);
    assert_int_equal(remove(path), 0);
}

static void a_file_of_which_another_tells_is_missed(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, 0, 20, 1); /* 16 are a file */
    journal_fixture_close(&fixture);
    remove_slot(0);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 16, 20);
    assert_int_equal(fixture.damaged, 1);
    journal_fixture_destroy(&fixture);
}

static void a_file_in_which_replay_begins_is_missed(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, 0, 5, 1);
    fixture.from = journal_place(fixture.journal);
    journal_fixture_append(&fixture, 5, 8, 1);
    journal_fixture_close(&fixture);
    remove_slot(0);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    assert_int_equal(fixture.count, 0);
    assert_int_equal(fixture.damaged, 1);
    journal_fixture_destroy(&fixture);
}

static void a_file_that_ends_before_replay_begins_is_told(void **state)
{
    static const off_t sizes[] = {0, 1, 4096, 4096 + 123};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char path[JOURNAL_FIXTURE_PATH_MAX];
        journal_fixture_create(&fixture, loop_of(state));
        assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
        journal_fixture_append(&fixture, 0, 5, 1);
        fixture.from = journal_place(fixture.journal);
        journal_fixture_append(&fixture, 5, 8, 1);
        journal_fixture_close(&fixture);
        journal_fixture_path(&fixture, 0, path);
        assert_int_equal(truncate(path, sizes[i]), 0);
        assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
        assert_int_equal(fixture.count, 0);
        assert_int_equal(fixture.damaged, 1);
        journal_fixture_append(&fixture, 8, 10, 1);
        journal_fixture_destroy(&fixture);
    }
}

static void without_a_checkpoint_what_is_stale_does_not_count(void **state)
{
    journal_fixture_create(&fixture, loop_of(state));
    fixture.options.files_max = 3;
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_append(&fixture, 0, 40, 1); /* three files */
    fixture.from = journal_place(fixture.journal);
    journal_release(fixture.journal, fixture.from);
    journal_fixture_append(&fixture, 40, 50, 1);
    journal_fixture_close(&fixture);
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 40, 50);
    fixture.from = journal_place(fixture.journal);
    journal_release(fixture.journal, fixture.from);
    journal_fixture_append(&fixture, 50, 70, 1); /* two files */
    journal_fixture_close(&fixture);
    /* The checkpoint is lost. Some files are of before; others, which came
     * between, were written over. */
    fixture.from = (struct journal_place){0};
    assert_int_equal(journal_fixture_open(&fixture), ERR_OK);
    journal_fixture_expect(&fixture, 50, 70);
    assert_int_equal(fixture.damaged, 0);
    journal_fixture_destroy(&fixture);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST_ONCE(a_torn_tail_ends_where_it_is_torn),
        LOOP_TEST_ONCE(
            blocks_of_the_last_write_may_reach_the_disk_in_any_order),
        LOOP_TEST_ONCE(a_damaged_entry_costs_no_other),
        LOOP_TEST_ONCE(damaged_padding_costs_nothing),
        LOOP_TEST_ONCE(lost_blocks_in_the_middle_are_told),
        LOOP_TEST_ONCE(a_second_recovery_decides_as_the_first),
        LOOP_TEST_ONCE(a_told_end_is_the_end),
        LOOP_TEST_ONCE(the_end_of_a_full_file_is_known),
        LOOP_TEST(files_are_ordered_by_content_and_not_by_name),
        LOOP_TEST(what_lies_before_the_place_is_ignored),
        LOOP_TEST_ONCE(a_torn_first_write_does_not_go_on_behind_a_new_batch),
        LOOP_TEST_ONCE(a_torn_first_write_does_not_come_back_by_a_start),
        LOOP_TEST(a_start_gives_generations_that_none_gave_before),
        LOOP_TEST(a_kill_loses_nothing_committed),
        LOOP_TEST(a_kill_loses_nothing_committed_asynchronously),
        LOOP_TEST(a_file_of_which_another_tells_is_missed),
        LOOP_TEST(a_file_in_which_replay_begins_is_missed),
        LOOP_TEST(a_file_that_ends_before_replay_begins_is_told),
        LOOP_TEST(without_a_checkpoint_what_is_stale_does_not_count),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
