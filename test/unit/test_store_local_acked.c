/* Messages that are done above cursors, in the local store: files and when they
 * come and go, moves that fail, damage, numbers that power took. What every
 * store must do: contract/store_contract_acked.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"
#include "log/acked_file.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGES = 2000 };

static enum err count_file(void *context, const char *name, bool is_directory)
{
    uint32_t *count = context;
    struct str topic;
    uint64_t id = 0;
    assert_true(!is_directory && acked_file_parse(name, &topic, &id));
    (*count)++;
    return ERR_OK;
}

/* How many files there are. */
static uint32_t files_of(const struct store_place *place)
{
    uint32_t count = 0;
    char path[DIR_PATH_MAX];
    assert_int_equal(acked_file_folder(path, place->directory), ERR_OK);
    assert_int_equal(dir_each(path, count_file, &count), ERR_OK);
    return count;
}

/* Open the place, and a topic of it. */
static struct store_topic *open_topic(struct store_place *place, struct io *io)
{
    assert_int_equal(store_place_open(place, io), ERR_OK);
    return store_place_topic(place->store, "a");
}

/* Begin to append, as soon as the journal has room. */
static void append(struct io *io,
                   struct store_topic *topic,
                   struct store_wait *wait,
                   enum durability how)
{
    enum err err = ERR_BUSY; /* while the journal's file is made */
    store_wait_init(wait, how);
    LOOP_UNTIL(io,
               (err = store_wait_append(topic, wait, store_next_sequence(topic),
                                        10)) != ERR_BUSY);
    assert_int_equal(err, ERR_OK);
}

static void fill(struct io *io, struct store_topic *topic, enum durability how)
{
    static struct store_wait waits[100];
    for (uint64_t first = 0; first < MESSAGES; first += 100) {
        for (uint32_t i = 0; i < 100; i++) {
            append(io, topic, &waits[i], how);
        }
        assert_int_equal(store_wait_run(io, &waits[99]), ERR_OK);
    }
}

/* A new place with a topic of messages. */
static struct store_topic *
make(struct store_place *place, struct io *io, enum durability how)
{
    store_place_create(place);
    struct store_topic *topic = open_topic(place, io);
    fill(io, topic, how);
    return topic;
}

static void deliver(struct store_topic *topic, uint64_t next)
{
    struct store_cursor cursor = {.next = next};
    store_cursor_store(topic, &cursor);
}

static enum err move(struct io *io, struct store_topic *topic, uint64_t next)
{
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_cursor_move(topic, next, &wait.op);
    return store_wait_run(io, &wait);
}

/* Fail the test unless these are the first run and there is no other. */
static void expect_run(struct store_topic *topic, uint64_t first, uint64_t end)
{
    struct store_range run;
    assert_true(store_acked_next(topic, 0, &run));
    assert_int_equal(run.first, first);
    assert_int_equal(run.end, end);
    assert_false(store_acked_next(topic, end, &run));
}

static void expect_none(struct store_topic *topic)
{
    struct store_range run;
    assert_false(store_acked_next(topic, 0, &run));
}

/* The path of the file of a topic. */
static void path_of(const struct store_place *place,
                    const struct store_topic *topic,
                    char path[DIR_PATH_MAX])
{
    assert_int_equal(
        acked_file_path(path, place->directory, topic->name_str, topic->id),
        ERR_OK);
}

static void a_file_is_there_only_as_long_as_it_is_needed(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = make(&place, io, DURABILITY_DISK);
    deliver(topic, 50);
    expect_none(topic);
    assert_int_equal(files_of(&place), 0);
    store_acked_add(topic, 100, 200);
    assert_int_equal(files_of(&place), 1);
    store_place_close(&place);
    topic = open_topic(&place, io);
    assert_int_equal(files_of(&place), 1);
    expect_run(topic, 100, 200);
    deliver(topic, 200);
    expect_none(topic);
    store_place_close(&place); /* with a checkpoint */
    assert_int_equal(files_of(&place), 0);
    topic = open_topic(&place, io);
    store_acked_add(topic, 300, 400);
    deliver(topic, 1000);
    store_place_crash(&place); /* without one */
    topic = open_topic(&place, io);
    assert_int_equal(files_of(&place), 0);
    store_acked_add(topic, 900, 1000); /* passed: nothing to note */
    assert_int_equal(files_of(&place), 0);
    store_acked_add(topic, 1000, MESSAGES + 10); /* no message has these */
    expect_run(topic, 1000, MESSAGES);
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(topic, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    assert_int_equal(files_of(&place), 0);
    store_place_close(&place);
    store_place_destroy(&place);
}

static void files_of_nobody_are_removed(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = make(&place, io, DURABILITY_DISK);
    struct acked_file *file = NULL;
    char path[DIR_PATH_MAX];
    store_acked_add(topic, 100, 200);
    uint64_t id = topic->id;
    store_place_close(&place);
    assert_int_equal(acked_file_path(path, place.directory, STR("a"), id + 1),
                     ERR_OK);
    assert_int_equal(acked_file_create(path, id + 1, 0, &file), ERR_OK);
    acked_file_close(file);
    assert_int_equal(acked_file_path(path, place.directory, STR("b"), id),
                     ERR_OK);
    assert_int_equal(acked_file_create(path, id, 0, &file), ERR_OK);
    acked_file_close(file);
    assert_int_equal(files_of(&place), 3);
    topic = open_topic(&place, io);
    assert_int_equal(files_of(&place), 1);
    expect_run(topic, 100, 200);
    store_place_close(&place);
    store_place_destroy(&place);
}

/* A move is committed, and the file of the epoch before is still there: a kill
 * came between the two. */
static void a_file_of_the_epoch_before_is_not_believed(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = make(&place, io, DURABILITY_DISK);
    char path[DIR_PATH_MAX];
    char kept[DIR_PATH_MAX];
    store_acked_add(topic, 100, 200);
    path_of(&place, topic, path);
    store_place_path(&place, "kept", kept);
    assert_int_equal(file_link(path, kept), ERR_OK);
    assert_int_equal(move(io, topic, 10), ERR_OK);
    assert_int_equal(files_of(&place), 0);
    store_place_close(&place);
    assert_int_equal(file_rename(kept, path), ERR_OK);
    topic = open_topic(&place, io);
    expect_none(topic);
    assert_int_equal(files_of(&place), 0);
    store_acked_add(topic, 300, 310);
    expect_run(topic, 300, 310);
    store_place_close(&place);
    store_place_destroy(&place);
}

static void a_move_that_fails_leaves_them(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = make(&place, io, DURABILITY_DISK);
    store_acked_add(topic, 100, 200);
    fault_install();
    /* Sticky: the first may be another one's, behind the loop. */
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO, .sticky = true});
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_cursor_move(topic, 10, &wait.op);
    /* Of an epoch that will not be. */
    assert_int_equal(store_acked_add(topic, 300, 400), STORE_ACKED_MOVING);
    expect_none(topic);
    assert_int_equal(store_wait_run(io, &wait), ERR_IO);
    fault_remove();
    expect_run(topic, 100, 200);
    store_acked_add(topic, 200, 210);
    store_place_crash(&place);
    topic = open_topic(&place, io);
    expect_run(topic, 100, 210);
    assert_int_equal(move(io, topic, 10), ERR_OK);
    store_acked_add(topic, 20, 30);
    store_place_crash(&place);
    topic = open_topic(&place, io);
    expect_run(topic, 20, 30);
    store_place_close(&place);
    store_place_destroy(&place);
}

static void they_are_noted_while_a_purge_is_under_way(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = make(&place, io, DURABILITY_DISK);
    struct store_wait wait;
    for (int fails = 1; fails >= 0; fails--) {
        append(io, topic, &wait, DURABILITY_DISK); /* so there is room */
        assert_int_equal(store_wait_run(io, &wait), ERR_OK);
        store_acked_add(topic, 100, 200);
        store_wait_init(&wait, DURABILITY_DISK);
        store_purge(topic, 150, &wait.op);
        store_acked_add(topic, 200, 250);
        expect_run(topic, 150, 250);
        fault_install();
        fault_set(&(struct fault_plan){.kinds = fails == 1 ? FAULT_WRITE : 0,
                                       .at = 1,
                                       .error_number = EIO,
                                       .sticky = true});
        assert_int_equal(store_wait_run(io, &wait),
                         fails == 1 ? ERR_IO : ERR_OK);
        fault_remove();
        expect_run(topic, fails == 1 ? 100 : 150, 250);
    }
    store_place_close(&place);
    store_place_destroy(&place);
}

/* Power took messages that were not durable, but not that they are done: their
 * numbers are not given again. */
static void numbers_that_are_done_are_not_given_again(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    store_place_create(&place);
    struct store_topic *topic = open_topic(&place, io);
    struct acked_file *file = NULL;
    char path[DIR_PATH_MAX];
    assert_int_equal(store_place_append(io, topic, 0, 10), ERR_OK);
    path_of(&place, topic, path);
    uint64_t id = topic->id;
    store_place_close(&place);
    assert_int_equal(acked_file_create(path, id, 0, &file), ERR_OK);
    assert_int_equal(acked_file_add(file, 0, 40, 50), ERR_OK);
    acked_file_close(file);
    topic = open_topic(&place, io);
    assert_int_equal(topic->bounds.end, 50);
    expect_run(topic, 40, 50);
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    assert_int_equal(store_wait_append(topic, &wait, 1, 10), ERR_OK);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    assert_int_equal(wait.op.sequence, 50);
    store_place_close(&place);
    store_place_destroy(&place);
}

static void damage_costs_a_page_and_no_message(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = make(&place, io, DURABILITY_DISK);
    char path[DIR_PATH_MAX];
    int fd = -1;
    store_acked_add(topic, 100, 200);
    path_of(&place, topic, path);
    store_place_close(&place);
    assert_int_equal(file_open(path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, "\x01", 1, 4000, false), ERR_OK);
    file_close(fd);
    topic = open_topic(&place, io);
    expect_none(topic);
    assert_int_equal(topic->bounds.end, MESSAGES);
    assert_int_equal(topic->cursor.next, 0);
    store_acked_add(topic, 150, 160);
    expect_run(topic, 150, 160);
    store_place_crash(&place);
    topic = open_topic(&place, io);
    expect_run(topic, 150, 160);
    store_place_close(&place);
    store_place_destroy(&place);
}

static void without_room_nothing_is_noted_and_all_goes_on(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = make(&place, io, DURABILITY_DISK);
    fault_install();
    for (uint64_t at = 1;; at++) {
        fault_set(&(struct fault_plan){
            .kinds = FAULT_ANY, .at = at, .error_number = ENOSPC});
        bool all = store_acked_add(topic, 100, 200) == STORE_ACKED_NOTED;
        bool fired = fault_fired();
        fault_reset();
        struct store_range run;
        bool noted = store_acked_next(topic, 0, &run);
        assert_true(noted || fired); /* it may have been a helper's call */
        assert_int_equal(all, noted);
        if (!fired) {
            break;
        }
        store_acked_add(topic, 100, 101); /* and the next time it is */
        expect_run(topic, 100, noted ? 200 : 101);
        assert_int_equal(move(io, topic, 0), ERR_OK);
        expect_none(topic);
    }
    fault_remove();
    expect_run(topic, 100, 200);
    store_place_close(&place);
    store_place_destroy(&place);
}

static void another_number_of_shards_keeps_them(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_topic *topic = make(&place, io, DURABILITY_DISK);
    store_acked_add(topic, 100, 200);
    store_place_crash(&place);
    place.options.shard_count = 3;
    struct store_local_data *data = NULL;
    assert_int_equal(store_local_prepare(&place.options, &data), ERR_OK);
    store_local_release(data);
    place.options.shard_count = 1;
    topic = open_topic(&place, io);
    expect_run(topic, 100, 200);
    store_place_close(&place);
    store_place_destroy(&place);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_file_is_there_only_as_long_as_it_is_needed),
        LOOP_TEST(files_of_nobody_are_removed),
        LOOP_TEST(a_file_of_the_epoch_before_is_not_believed),
        LOOP_TEST(a_move_that_fails_leaves_them),
        LOOP_TEST(they_are_noted_while_a_purge_is_under_way),
        LOOP_TEST(numbers_that_are_done_are_not_given_again),
        LOOP_TEST(damage_costs_a_page_and_no_message),
        LOOP_TEST(without_room_nothing_is_noted_and_all_goes_on),
        LOOP_TEST(another_number_of_shards_keeps_them),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
