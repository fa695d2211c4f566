/* Tests of the local store's changes: what a failed commit leaves, what the
 * bounds refuse, and that an idle store sleeps.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"
#include "sys/io_private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void place_end(struct store_place *place)
{
    store_place_close(place);
    store_place_destroy(place);
}

static void fail_writes(int error_number, bool sticky)
{
    fault_set(&(struct fault_plan){.kinds = FAULT_WRITE,
                                   .at = 1,
                                   .error_number = error_number,
                                   .sticky = sticky});
}

/* Append one message, waiting while the next journal file is made. */
static void append_one(struct io *io,
                       struct store_topic *topic,
                       uint64_t number,
                       size_t size)
{
    enum err err = ERR_BUSY;
    LOOP_UNTIL(io,
               (err = store_place_append(io, topic, number, size)) != ERR_BUSY);
    assert_int_equal(err, ERR_OK);
}

static void append_all(struct io *io,
                       struct store_topic *topic,
                       uint64_t first,
                       uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        append_one(io, topic, i, 100);
    }
}

struct nothing {
    struct io_work work;
    bool done;
};

static void nothing_run(struct io_work *work)
{
    (void)work;
}

static void nothing_done(struct io_work *work)
{
    CONTAINER_OF(work, struct nothing, work)->done = true;
}

/* Wait until the helper thread has filled the journal file that the first
 * commit asked for, so that the write that fails is not one of its own. */
static void wait_helper(struct io *io)
{
    struct nothing nothing = {
        .work = {.run = nothing_run, .done = nothing_done}};
    io_work_start(io, &nothing.work);
    LOOP_UNTIL(io, nothing.done);
}

/* A place that is open, with a topic "first", whose commit has had the helper
 * fill the next journal file. */
static void place_make(struct store_place *place, struct io *io)
{
    store_place_create(place);
    assert_int_equal(store_place_open(place, io), ERR_OK);
    append_all(io, store_place_topic(place->store, "first"), 0, 1);
    wait_helper(io);
}

static void deliver(struct store_topic *topic, uint64_t next)
{
    struct store_cursor cursor = {.next = next};
    store_cursor_store(topic, &cursor);
}

/* --- failed commits ------------------------------------------------------- */

static void a_failed_commit_gives_its_numbers_again(void **state)
{
    struct io *io = loop_of(state);
    static const int errors[] = {EIO, ENOSPC};
    static const enum err expected[] = {ERR_IO, ERR_FULL};
    for (int round = 0; round < 2; round++) {
        struct store_place place;
        struct store_wait waits[5];
        fault_install();
        place_make(&place, io);
        struct store_topic *topic = store_place_topic(place.store, "a");
        append_all(io, topic, 0, 3);
        fail_writes(errors[round], false);
        for (uint64_t i = 0; i < 5; i++) {
            store_wait_init(&waits[i], DURABILITY_DISK);
            assert_int_equal(store_wait_append(topic, &waits[i], 90 + i, 100),
                             ERR_OK);
        }
        for (uint64_t i = 0; i < 5; i++) {
            assert_int_equal(store_wait_run(io, &waits[i]), expected[round]);
        }
        assert_true(fault_fired());
        fault_reset();
        assert_int_equal(topic->bounds.end, 3);
        assert_int_equal(store_stats(place.store)->commit_failures, 1);
        append_all(io, topic, 3, 6);
        store_place_expect(io, topic, 0, 6, 100);
        store_place_crash(&place); /* nothing brings the refused ones back */
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        store_place_expect(io, store_place_topic(place.store, "a"), 0, 6, 100);
        place_end(&place);
        fault_remove();
    }
}

static void a_cursor_that_cannot_be_saved_stays_noted(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    fault_install();
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 10);
    store_wait_init(&wait, DURABILITY_DISK);
    fail_writes(EIO, false);
    store_cursor_save(topic, &(struct store_cursor){.next = 7}, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_IO);
    fault_reset();
    assert_int_equal(topic->cursor.next, 7);
    append_all(io, topic, 10, 11); /* it goes with the next commit */
    store_place_crash(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(topic->cursor.next, 7);
    place_end(&place);
    fault_remove();
}

static void a_topic_made_in_a_failed_commit_is_made_again(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    fault_install();
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    fail_writes(EIO, false);
    assert_int_equal(store_place_append(io, topic, 0, 100), ERR_IO);
    fault_reset();
    append_all(io, topic, 0, 2);
    store_place_crash(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_find(place.store, "a");
    assert_non_null(topic);
    store_place_expect(io, topic, 0, 2, 100);
    place_end(&place);
    fault_remove();
}

/* Let commits be asynchronous, and begin one that will fail. */
static void begin_failing_commit(struct store_place *place,
                                 struct store_topic *topic,
                                 struct store_wait *wait)
{
    wait_helper(place->io);
    fault_slow_sync(30000);
    fail_writes(EIO, false);
    store_wait_init(wait, DURABILITY_DISK);
    assert_int_equal(store_wait_append(topic, wait, 1000, 100), ERR_OK);
    io_run_turn(place->io, 0);
    assert_int_equal(wait->done_count, 0); /* it runs by itself */
}

static void what_was_gathered_behind_a_failed_commit_fails(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait first;
    struct store_wait waits[5];
    struct store_retention retention = {.count = 7};
    store_place_create(&place);
    place.options.sync_inline_max_us = 0;
    fault_install();
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 10);
    deliver(topic, 6);
    begin_failing_commit(&place, topic, &first);
    for (size_t i = 0; i < 5; i++) {
        store_wait_init(&waits[i], DURABILITY_DISK);
    }
    assert_int_equal(store_wait_append(topic, &waits[0], 1001, 100), ERR_OK);
    store_cursor_move(topic, 2, &waits[1].op);
    store_purge(topic, 4, &waits[2].op);
    store_cursor_move(topic, 5, &waits[3].op);
    store_topic_configure(topic, STR("x"), &retention, &waits[4].op);
    assert_int_equal(topic->cursor.next, 5);
    assert_int_equal(topic->bounds.oldest, 4);
    assert_int_equal(store_wait_run(io, &first), ERR_IO);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(store_wait_run(io, &waits[i]), ERR_IO);
        assert_true(waits[i].order > first.order);
    }
    fault_reset();
    for (int round = 0; round < 2; round++) {
        assert_int_equal(topic->cursor.next, 6);
        assert_int_equal(topic->settings.size, 0);
        assert_int_equal(topic->retention.count, 0);
        store_place_expect(io, topic, 0, 10 + (uint64_t)round, 100);
        if (round == 0) {
            append_all(io, topic, 10, 11);
            store_place_crash(&place);
            assert_int_equal(store_place_open(&place, io), ERR_OK);
            topic = store_place_topic(place.store, "a");
        }
    }
    place_end(&place);
    fault_remove();
}

static void what_is_given_during_a_commit_is_the_next(void **state)
{
    enum { COUNT = 30 };
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait waits[COUNT];
    store_place_create(&place);
    place.options.sync_inline_max_us = 0;
    fault_install();
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 2);
    fault_slow_sync(10000);
    uint64_t commits = store_stats(place.store)->commits;
    for (uint64_t i = 0; i < COUNT; i++) {
        store_wait_init(&waits[i], DURABILITY_DISK);
        assert_int_equal(store_wait_append(topic, &waits[i], 2 + i, 100),
                         ERR_OK);
        io_run_turn(io, 0);
    }
    assert_int_equal(store_wait_run(io, &waits[COUNT - 1]), ERR_OK);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(waits[i].err, ERR_OK);
        assert_int_equal(waits[i].op.sequence, 2 + i);
    }
    assert_true(store_stats(place.store)->commits - commits < COUNT);
    fault_reset();
    store_place_expect(io, topic, 0, 2 + COUNT, 100);
    place_end(&place);
    fault_remove();
}

/* One try at a checkpoint that completes while a change of settings waits for
 * its commit; false when the machine was too slow for that. A checkpoint takes
 * some topics at a time: the change comes while it has the first in hand. */
static bool checkpoint_beside_a_change(struct io *io)
{
    enum { TOPICS = 12 };
    struct store_place place;
    struct store_topic *topics[TOPICS];
    struct store_wait waits[TOPICS];
    struct store_wait old;
    const struct store_retention retention = {0};
    store_place_create(&place);
    place.options.sync_inline_max_us = 0;
    place.options.checkpoint_interval_ms = 100;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    for (int i = 0; i < TOPICS; i++) {
        char name[] = {(char)('a' + i), '\0'};
        topics[i] = store_place_topic(place.store, name);
        append_one(io, topics[i], 0, 100);
    }
    for (int i = 0; i < TOPICS; i++) {
        store_wait_init(&old, DURABILITY_DISK);
        store_topic_configure(topics[i], STR("old"), &retention, &old.op);
        assert_int_equal(store_wait_run(io, &old), ERR_OK);
    }
    uint64_t checkpoints = store_stats(place.store)->checkpoints;
    fault_reset();
    fault_slow_sync(500000); /* the checkpoint's first sync */
    LOOP_UNTIL(io, fault_count(FAULT_SYNC) > 0);
    fault_slow_sync(2000000); /* the commit */
    for (int i = 0; i < TOPICS; i++) {
        store_wait_init(&waits[i], DURABILITY_DISK);
        store_topic_configure(topics[i], STR("new"), &retention, &waits[i].op);
    }
    uint64_t begun_ms = io_now_ms(io);
    LOOP_UNTIL(io, io_now_ms(io) >= begun_ms + 100); /* it is being written */
    fault_slow_sync(0);
    LOOP_UNTIL(io, store_stats(place.store)->checkpoints > checkpoints ||
                       waits[0].done_count > 0);
    bool beside = waits[0].done_count == 0;
    store_place_crash(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    for (int i = 0; beside && i < TOPICS; i++) {
        char name[] = {(char)('a' + i), '\0'};
        struct store_topic *topic = store_place_find(place.store, name);
        assert_non_null(topic);
        assert_true(str_equal(topic->settings, STR("old")));
    }
    place_end(&place);
    return beside;
}

static void
a_checkpoint_writes_down_no_change_that_is_not_committed(void **state)
{
    struct io *io = loop_of(state);
    fault_install();
    bool beside = false;
    for (int i = 0; i < 10 && !beside; i++) {
        beside = checkpoint_beside_a_change(io);
    }
    assert_true(beside);
    fault_remove();
}

static void a_deletion_that_failed_leaves_the_topic(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    fault_install();
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 5);
    deliver(topic, 3);
    uint64_t id = topic->id;
    fail_writes(EIO, false);
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(topic, &wait.op);
    assert_null(store_place_find(place.store, "a"));
    assert_int_equal(store_wait_run(io, &wait), ERR_IO);
    fault_reset();
    for (int round = 0; round < 2; round++) {
        topic = store_place_find(place.store, "a");
        assert_non_null(topic);
        assert_int_equal(topic->id, id);
        assert_int_equal(topic->cursor.next, 3);
        store_place_expect(io, topic, 0, 5 + (uint64_t)round, 100);
        if (round == 0) {
            append_all(io, topic, 5, 6);
            store_place_crash(&place);
            assert_int_equal(store_place_open(&place, io), ERR_OK);
        }
    }
    place_end(&place);
    fault_remove();
}

static void a_topic_that_nothing_was_stored_of_can_be_unmade(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait append;
    struct store_reader *reader = NULL;
    fault_install();
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    assert_true(store_topic_unused(topic));
    store_wait_init(&append, DURABILITY_DISK);
    assert_int_equal(store_wait_append(topic, &append, 0, 50), ERR_OK);
    assert_false(store_topic_unused(topic)); /* it is under way */
    fail_writes(EIO, false);
    assert_int_equal(store_wait_run(io, &append), ERR_IO);
    fault_reset();
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    assert_false(store_topic_unused(topic)); /* it is read */
    store_reader_destroy(reader);
    assert_true(store_topic_unused(topic));
    store_topic_unmake(topic);
    assert_null(store_place_find(place.store, "a"));
    topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 1);
    assert_false(store_topic_unused(topic));
    store_place_crash(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_find(place.store, "a");
    assert_non_null(topic);
    assert_false(store_topic_unused(topic));
    store_place_expect(io, topic, 0, 1, 100);
    place_end(&place);
    fault_remove();
}

static void a_topic_whose_name_was_taken_is_deleted_after_all(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait deletion;
    struct store_wait append;
    fault_install();
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 5);
    store_wait_init(&deletion, DURABILITY_DISK);
    store_wait_init(&append, DURABILITY_DISK);
    store_topic_delete(topic, &deletion.op);
    topic = store_place_topic(place.store, "a");
    uint64_t id = topic->id;
    assert_int_equal(store_wait_append(topic, &append, 0, 50), ERR_OK);
    fail_writes(EIO, false);
    assert_int_equal(store_wait_run(io, &deletion), ERR_IO);
    assert_int_equal(store_wait_run(io, &append), ERR_IO);
    fault_reset();
    assert_ptr_equal(store_place_find(place.store, "a"), topic);
    append_all(io, topic, 0, 1);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(topic->id, id);
        store_place_expect(io, topic, 0, 1, 100);
        if (round == 0) {
            store_place_crash(&place);
            assert_int_equal(store_place_open(&place, io), ERR_OK);
        } else if (round == 1) {
            store_place_close(&place);
            assert_int_equal(store_place_open(&place, io), ERR_OK);
        }
        topic = store_place_find(place.store, "a");
        assert_non_null(topic);
    }
    place_end(&place);
    fault_remove();
}

static void without_any_journal_file_changes_are_refused(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    fault_install();
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 3);
    fail_writes(EIO, true); /* all of them */
    enum err err = ERR_OK;
    for (int i = 0; i < 200 && err != ERR_BUSY; i++) {
        err = store_place_append(io, topic, 3, 100);
        assert_true(err == ERR_IO || err == ERR_BUSY);
    }
    assert_int_equal(err, ERR_BUSY);
    assert_true(store_stats(place.store)->failed);
    store_wait_init(&wait, DURABILITY_DISK);
    store_cursor_move(topic, 0, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_BUSY);
    store_place_expect(io, topic, 0, 3, 100); /* reads go on */
    fault_reset();
    LOOP_UNTIL(io, store_place_append(io, topic, 3, 100) == ERR_OK);
    assert_false(store_stats(place.store)->failed);
    store_place_expect(io, topic, 0, 4, 100);
    assert_int_equal(place.fatal_count, 0);
    store_place_crash(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    store_place_expect(io, store_place_topic(place.store, "a"), 0, 4, 100);
    place_end(&place);
    fault_remove();
}

static void a_failed_sync_of_segments_is_fatal(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    store_place_create(&place);
    place.options.checkpoint_interval_ms = 20;
    fault_install();
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 1);
    fault_set(&(struct fault_plan){.kinds = FAULT_FDATASYNC,
                                   .at = 1,
                                   .error_number = EIO,
                                   .sticky = true});
    LOOP_UNTIL(io, place.fatal_count > 0);
    fault_reset();
    assert_int_equal(store_place_append(io, topic, 1, 100), ERR_BUSY);
    store_place_expect(io, topic, 0, 1, 100);
    store_place_crash(&place); /* as the process must */
    assert_int_equal(place.fatal_count, 1);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_topic(place.store, "a");
    store_place_expect(io, topic, 0, 1, 100);
    append_all(io, topic, 1, 2);
    place_end(&place);
    fault_remove();
}

/* --- bounds --------------------------------------------------------------- */

static void a_full_batch_is_committed_early(void **state)
{
    enum { COUNT = 40 };
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait waits[COUNT];
    store_place_create(&place);
    place.options.journal_file_size = 4 << 20;
    place.options.journal_size = 16 << 20;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    for (uint64_t i = 0; i < COUNT; i++) { /* 10 batches in one turn */
        store_wait_init(&waits[i], DURABILITY_DISK);
        assert_int_equal(store_wait_append(topic, &waits[i], i, 32 << 10),
                         ERR_OK);
        assert_int_equal(waits[0].done_count, 0);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(store_wait_run(io, &waits[i]), ERR_OK);
        assert_int_equal(waits[i].op.sequence, i);
    }
    store_place_expect(io, topic, 0, COUNT, 32 << 10);
    place_end(&place);
}

static void a_message_larger_than_a_batch_is_refused(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    store_wait_init(&wait, DURABILITY_DISK);
    assert_int_equal(store_wait_append(topic, &wait, 0, 129 << 10),
                     ERR_TOO_LARGE);
    append_all(io, topic, 0, 1);
    assert_int_equal(wait.done_count, 0);
    place_end(&place);
}

/* Append a message to `*end` messages, if that is taken. */
static enum err
append_next(struct io *io, struct store_topic *topic, uint64_t *end)
{
    enum err err = store_place_append(io, topic, *end, 8 << 10);
    *end += err == ERR_OK ? 1 : 0;
    return err;
}

/* Append until it is refused, for tails cannot go: a folder cannot be made,
 * which says `error_number`. Then it can. */
static void fill_memory(struct io *io, int error_number, enum err wanted)
{
    struct store_place place;
    store_place_create(&place);
    place.options.memory_size_max = 256 << 10;
    place.options.journal_size = 8 << 20;
    fault_install();
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 1);
    /* Folders cannot be made, so tails cannot go. */
    fault_set(&(struct fault_plan){.kinds = FAULT_MKDIR,
                                   .at = 1,
                                   .error_number = error_number,
                                   .sticky = true});
    /* Memory may be full before the helper has found that there is no room. */
    uint64_t end = 1;
    LOOP_UNTIL(io, append_next(io, topic, &end) == wanted);
    assert_int_equal(store_stats(place.store)->disk_low, wanted == ERR_FULL);
    assert_true(wanted == ERR_FULL || end > 20);
    assert_true(store_stats(place.store)->memory_bytes < (512 << 10));
    fault_reset();
    LOOP_UNTIL(io, store_place_append(io, topic, end, 8 << 10) == ERR_OK);
    LOOP_UNTIL(io, !store_stats(place.store)->disk_low);
    place_end(&place);
    fault_remove();
}

static void memory_has_a_bound(void **state)
{
    fill_memory(loop_of(state), EIO, ERR_BUSY);
}

static void without_room_for_segments_messages_are_refused(void **state)
{
    fill_memory(loop_of(state), ENOSPC, ERR_FULL);
}

static void without_room_for_the_journal_messages_are_refused(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 5);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = ENOSPC, .sticky = true});
    for (int i = 0; i < 5; i++) {
        assert_int_equal(store_place_append(io, topic, 5, 100), ERR_FULL);
        assert_true(store_stats(place.store)->disk_low);
    }
    fault_reset();
    LOOP_UNTIL(io, store_place_append(io, topic, 5, 100) == ERR_OK);
    assert_false(store_stats(place.store)->disk_low);
    store_place_expect(io, topic, 0, 6, 100);
    place_end(&place);
    fault_remove();
}

static void below_the_reserve_only_messages_are_refused(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 10);
    store_place_close(&place);
    place.options.disk_reserve = UINT64_MAX;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(store_place_append(io, topic, 10, 100), ERR_FULL);
    assert_true(store_stats(place.store)->disk_low);
    /* What follows from messages that were accepted is not. */
    struct store_topic *owed = NULL;
    const struct message message = {
        .url = STR("http://h/"), .kind = MESSAGE_KIND_RAW, .body = STR("x")};
    assert_int_equal(store_topic_open(place.store, STR("b"), true, &owed),
                     ERR_OK);
    store_wait_init(&wait, DURABILITY_DISK);
    wait.op.owed = true;
    assert_int_equal(store_append(owed, &message, &wait.op), ERR_OK);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    assert_int_equal(owed->bounds.end, 1);
    deliver(topic, 7);
    store_wait_init(&wait, DURABILITY_DISK);
    store_cursor_move(topic, 2, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    store_wait_init(&wait, DURABILITY_DISK);
    store_purge(topic, 1, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    store_place_expect(io, topic, 1, 10, 100);
    place_end(&place);
}

static void topics_have_a_bound(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = NULL;
    struct store_wait wait;
    store_place_create(&place);
    place.options.topics_max = 3;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    (void)store_place_topic(place.store, "a");
    (void)store_place_topic(place.store, "b");
    (void)store_place_topic(place.store, "c");
    assert_int_equal(store_topic_open(place.store, STR("d"), true, &topic),
                     ERR_BUSY);
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(store_place_topic(place.store, "b"), &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    (void)store_place_topic(place.store, "d");
    place_end(&place);
}

/* --- retention ------------------------------------------------------------ */

static void limit(struct io *io,
                  struct store_topic *topic,
                  const struct store_retention *retention)
{
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_configure(topic, STR(""), retention, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
}

static void limits_drop_what_was_delivered(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    store_place_create(&place);
    place.options.checkpoint_interval_ms = 20;
    place.options.cursor_interval_ms = 20;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    limit(io, topic, &(struct store_retention){.count = 100});
    for (uint64_t i = 0; i < 600; i++) {
        append_one(io, topic, i, 1000);
    }
    assert_int_equal(topic->bounds.oldest, 0); /* nothing is delivered */
    deliver(topic, 400);
    uint64_t end = 600;
    while (topic->bounds.oldest == 0 && end < 2000) { /* a segment rolls */
        append_one(io, topic, end, 1000);
        end++;
    }
    assert_true(topic->bounds.oldest > 0 && topic->bounds.oldest <= 400);
    uint64_t oldest = topic->bounds.oldest;
    store_place_expect(io, topic, oldest, end, 1000);
    store_place_crash(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(topic->cursor.next, 400);
    assert_true(topic->bounds.oldest >= oldest);
    store_place_expect(io, topic, topic->bounds.oldest, end, 1000);
    place_end(&place);
}

static void discarding_the_old_moves_the_cursor(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    store_place_create(&place);
    place.options.checkpoint_interval_ms = 20;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    limit(io, topic,
          &(struct store_retention){.bytes = 100 << 10, .discard_old = true});
    uint64_t end = 0;
    while (topic->bounds.oldest == 0 && end < 3000) {
        append_one(io, topic, end, 1000);
        end++;
    }
    assert_true(topic->bounds.oldest > 0);
    assert_int_equal(topic->cursor.next, topic->bounds.oldest);
    store_place_close(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_topic(place.store, "a");
    assert_true(topic->cursor.next >= topic->bounds.oldest);
    store_place_expect(io, topic, topic->bounds.oldest, end, 1000);
    place_end(&place);
}

/* --- cursors alone -------------------------------------------------------- */

static void
cursors_that_move_all_the_time_are_committed_now_and_then(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    const uint64_t count = 300;
    store_place_create(&place);
    place.options.cursor_interval_ms = 20;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, count);
    const struct store_stats *stats = store_stats(place.store);
    uint64_t commits = stats->commits;
    uint64_t start_ms = io_now_ms(io);
    for (uint64_t next = 1; next <= count; next++) {
        deliver(topic, next);
        io_run_turn(io, 1);
    }
    uint64_t intervals = (io_now_ms(io) - start_ms) / 20;
    assert_true(stats->commits - commits <= intervals + 1);
    commits = stats->commits;
    LOOP_UNTIL(io, stats->commits > commits); /* the last ones, too */
    place_end(&place);
}

/* --- idleness ------------------------------------------------------------- */

/* Tell whether no timer runs but that of the look at the free space. */
static bool only_looks(struct io *io)
{
    return io_wheel_next_ms(&io->wheel) > io_now_ms(io) + 1000;
}

static void an_idle_store_only_looks_at_the_disk(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    store_place_create(&place);
    /* Far apart: a late turn would find both due, and commit only once. */
    place.options.checkpoint_interval_ms = 1000;
    place.options.cursor_interval_ms = 10;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    LOOP_UNTIL(io, only_looks(io));
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 20);
    deliver(topic, 15);
    assert_false(only_looks(io));
    const struct store_stats *stats = store_stats(place.store);
    LOOP_UNTIL(io, stats->checkpoints > 0 && stats->memory_bytes == 0 &&
                       only_looks(io));
    uint64_t checkpoints = stats->checkpoints;
    uint64_t commits = stats->commits;
    deliver(topic, 16); /* alone, it is committed by the timer */
    LOOP_UNTIL(io, stats->checkpoints > checkpoints && only_looks(io));
    assert_true(stats->commits > commits);
    uint64_t waits = io_stats(io)->waits;
    io_run_turn(io, 50);
    assert_int_equal(io_stats(io)->waits, waits + 1); /* it slept */
    place_end(&place);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_failed_commit_gives_its_numbers_again),
        LOOP_TEST(a_cursor_that_cannot_be_saved_stays_noted),
        LOOP_TEST(a_topic_made_in_a_failed_commit_is_made_again),
        LOOP_TEST(what_was_gathered_behind_a_failed_commit_fails),
        LOOP_TEST(what_is_given_during_a_commit_is_the_next),
        LOOP_TEST(a_checkpoint_writes_down_no_change_that_is_not_committed),
        LOOP_TEST(a_deletion_that_failed_leaves_the_topic),
        LOOP_TEST(a_topic_that_nothing_was_stored_of_can_be_unmade),
        LOOP_TEST(a_topic_whose_name_was_taken_is_deleted_after_all),
        LOOP_TEST(without_any_journal_file_changes_are_refused),
        LOOP_TEST(a_failed_sync_of_segments_is_fatal),
        LOOP_TEST(a_full_batch_is_committed_early),
        LOOP_TEST(a_message_larger_than_a_batch_is_refused),
        LOOP_TEST(memory_has_a_bound),
        LOOP_TEST(without_room_for_segments_messages_are_refused),
        LOOP_TEST(without_room_for_the_journal_messages_are_refused),
        LOOP_TEST(below_the_reserve_only_messages_are_refused),
        LOOP_TEST(topics_have_a_bound),
        LOOP_TEST(limits_drop_what_was_delivered),
        LOOP_TEST(discarding_the_old_moves_the_cursor),
        LOOP_TEST(cursors_that_move_all_the_time_are_committed_now_and_then),
        LOOP_TEST(an_idle_store_only_looks_at_the_disk),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
