/* Tests of the local store's bodies in files: received, placed, found after a
 * kill, removed with their messages, whatever call to the kernel fails.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"
#include "log/blob.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BODY_SIZE = 300 * 1000, BODIES_MAX = 64 };

/* A body on its way. */
struct coming {
    struct store_blob *blob;
    bool ready;
    bool ended;
};

static void blob_ready(struct store_blob *blob)
{
    struct coming *coming = blob->user;
    coming->ready = true;
}

static void blob_ended(struct store_blob *blob)
{
    struct coming *coming = blob->user;
    coming->ended = true;
}

static char body[BODY_SIZE];

/* Receive a body, whole and durable. */
static enum err receive(struct store_place *place, struct coming *coming)
{
    *coming = (struct coming){0};
    for (size_t i = 0; i < BODY_SIZE; i++) {
        body[i] = (char)(i * 31 + i / 1000);
    }
    enum err err = store_blob_begin(place->store, BODY_SIZE, &coming->blob);
    if (err != ERR_OK) {
        return err;
    }
    coming->blob->ready = blob_ready;
    coming->blob->ended = blob_ended;
    coming->blob->user = coming;
    struct str rest = {body, BODY_SIZE};
    while (rest.size > 0 && coming->blob->err == ERR_OK) {
        size_t taken = store_blob_write(coming->blob, str_cut(rest, 0, 99999));
        rest = str_cut(rest, taken, rest.size);
        if (taken < 99999 && rest.size > 0 && coming->blob->err == ERR_OK) {
            LOOP_UNTIL(place->io, coming->ready);
            coming->ready = false;
        }
    }
    if (coming->blob->err == ERR_OK) {
        store_blob_end(coming->blob);
        LOOP_UNTIL(place->io, coming->ended);
    }
    err = coming->blob->err;
    if (err != ERR_OK) {
        store_blob_drop(coming->blob);
    }
    return err;
}

/* Receive a body and append its message. */
static enum err push(struct store_place *place, const char *name)
{
    struct store_topic *topic = NULL;
    struct coming coming;
    struct store_wait wait;
    enum err err = receive(place, &coming);
    if (err != ERR_OK) {
        return err;
    }
    struct message message = {
        .url = STR("http://127.0.0.1:9/sink"),
        .kind = MESSAGE_KIND_RAW,
        .blob = coming.blob->message,
        .pushed_at_ms = 1,
    };
    store_wait_init(&wait, DURABILITY_DISK);
    err = store_topic_open(place->store, str_from(name), true, &topic);
    if (err == ERR_OK) {
        err = store_append(topic, &message, &wait.op);
    }
    if (err != ERR_OK) {
        store_blob_drop(coming.blob);
        return err;
    }
    err = store_wait_run(place->io, &wait);
    store_blob_keep(coming.blob);
    return err;
}

/* Tell whether the body of a message is there and whole. */
static enum err
look(struct store_place *place, struct store_topic *topic, uint64_t sequence)
{
    struct store_reader *reader = NULL;
    static struct record record;
    char path[DIR_PATH_MAX];
    int fd = -1;
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    enum err err = store_place_read(place->io, reader, sequence, &record);
    if (err == ERR_OK) {
        assert_int_equal(record.message.blob.size, BODY_SIZE);
        err = store_blob_open(topic, sequence, &record.message.blob, &fd);
        file_close(fd);
    }
    if (err == ERR_OK) {
        store_place_path(place, "topics", path);
        char folder[DIR_PATH_MAX];
        assert_int_equal(dir_join(folder, path, topic->name), ERR_OK);
        err = blob_verify(place->directory, folder, sequence,
                          &record.message.blob);
    }
    store_reader_destroy(reader);
    return err;
}

static enum err count_one(void *context, const char *name, bool is_directory)
{
    uint32_t *count = context;
    (void)name;
    *count += is_directory ? 0 : 1;
    return ERR_OK;
}

/* Files in a folder of the data directory. */
static uint32_t files_in(const struct store_place *place, const char *name)
{
    char path[DIR_PATH_MAX];
    uint32_t count = 0;
    store_place_path(place, name, path);
    enum err err = dir_each(path, count_one, &count);
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    return count;
}

static void begin(struct store_place *place, struct io *io)
{
    store_place_create(place);
    place->options.checkpoint_interval_ms = 5;
    assert_int_equal(store_place_open(place, io), ERR_OK);
}

static void end(struct store_place *place)
{
    store_place_close(place);
    store_place_destroy(place);
}

static void crash(struct store_place *place, struct io *io)
{
    store_place_crash(place);
    assert_int_equal(store_place_open(place, io), ERR_OK);
}

/* --- the life of a body --------------------------------------------------- */

static void body_is_placed_and_survives_close_and_kill(void **state)
{
    struct store_place place;
    struct io *io = loop_of(state);
    begin(&place, io);
    assert_int_equal(push(&place, "a"), ERR_OK);
    assert_int_equal(push(&place, "a"), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    assert_int_equal(look(&place, topic, 0), ERR_OK);
    LOOP_UNTIL(io, files_in(&place, "topics/a/blobs") == 2);
    assert_int_equal(files_in(&place, "blobs"), 0);
    store_place_close(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(look(&place, topic, 1), ERR_OK);
    crash(&place, io);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(look(&place, topic, 0), ERR_OK);
    end(&place);
}

static void body_that_a_kill_left_unplaced_is_placed(void **state)
{
    struct store_place place;
    struct io *io = loop_of(state);
    store_place_create(&place);
    place.options.checkpoint_interval_ms = 3600000;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(push(&place, "a"), ERR_OK);
    assert_int_equal(files_in(&place, "blobs"), 1);
    crash(&place, io);
    assert_int_equal(files_in(&place, "blobs"), 0);
    assert_int_equal(files_in(&place, "topics/a/blobs"), 1);
    assert_int_equal(look(&place, store_place_topic(place.store, "a"), 0),
                     ERR_OK);
    end(&place);
}

static void body_without_a_record_goes_at_the_next_start(void **state)
{
    struct store_place place;
    struct coming whole;
    struct coming part = {0};
    struct io *io = loop_of(state);
    store_place_create(&place);
    place.options.checkpoint_interval_ms = 3600000;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(push(&place, "a"), ERR_OK);
    assert_int_equal(receive(&place, &whole), ERR_OK);
    assert_int_equal(store_blob_begin(place.store, 0, &part.blob), ERR_OK);
    part.blob->ready = blob_ready;
    part.blob->ended = blob_ended;
    part.blob->user = &part;
    assert_int_equal(store_blob_write(part.blob, STR("some")), 4);
    char to[sizeof(place.root) + 8];
    (void)snprintf(to, sizeof(to), "%s/copy", place.root);
    store_place_copy(&place, to);
    store_blob_drop(part.blob);
    store_blob_drop(whole.blob);
    struct store_place copy;
    store_place_use(&copy, to);
    assert_int_equal(files_in(&copy, "blobs"), 2 + 1);
    assert_int_equal(store_place_open(&copy, io), ERR_OK);
    LOOP_UNTIL(io, files_in(&copy, "blobs") == 0);
    assert_int_equal(look(&copy, store_place_topic(copy.store, "a"), 0),
                     ERR_OK);
    store_place_close(&copy);
    end(&place);
}

static void body_that_is_dropped_is_removed(void **state)
{
    struct store_place place;
    struct coming whole;
    struct coming part = {0};
    struct io *io = loop_of(state);
    begin(&place, io);
    assert_int_equal(receive(&place, &whole), ERR_OK);
    assert_int_equal(store_blob_begin(place.store, 0, &part.blob), ERR_OK);
    /* So much that it is being written. */
    assert_true(store_blob_write(part.blob, (struct str){body, BODY_SIZE}) > 0);
    store_blob_drop(part.blob);
    store_blob_drop(whole.blob);
    LOOP_UNTIL(io, files_in(&place, "blobs") == 0);
    end(&place);
}

static void purge_and_delete_remove_bodies(void **state)
{
    struct store_place place;
    struct store_wait wait;
    struct io *io = loop_of(state);
    begin(&place, io);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(push(&place, "a"), ERR_OK);
    }
    LOOP_UNTIL(io, files_in(&place, "topics/a/blobs") == 4);
    assert_int_equal(push(&place, "a"), ERR_OK); /* not placed, maybe */
    struct store_topic *topic = store_place_topic(place.store, "a");
    store_wait_init(&wait, DURABILITY_DISK);
    store_purge(topic, 3, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    LOOP_UNTIL(io,
               files_in(&place, "topics/a/blobs") + files_in(&place, "blobs") ==
                   2);
    assert_int_equal(look(&place, topic, 3), ERR_OK);
    assert_int_equal(look(&place, topic, 4), ERR_OK);
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(topic, &wait.op);
    /* A topic of the same name, at once: its bodies are its own. */
    assert_int_equal(push(&place, "a"), ERR_OK);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    LOOP_UNTIL(io, files_in(&place, "topics/a/blobs") == 1 &&
                       files_in(&place, "blobs") == 0);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(look(&place, topic, 0), ERR_OK);
    crash(&place, io);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(look(&place, topic, 0), ERR_OK);
    end(&place);
}

static void purge_takes_bodies_that_are_not_placed(void **state)
{
    struct store_place place;
    struct store_wait wait;
    struct io *io = loop_of(state);
    store_place_create(&place);
    place.options.checkpoint_interval_ms = 3600000;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(push(&place, "a"), ERR_OK);
    assert_int_equal(push(&place, "a"), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    store_wait_init(&wait, DURABILITY_DISK);
    store_purge(topic, 1, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    LOOP_UNTIL(io, files_in(&place, "blobs") == 1);
    assert_int_equal(look(&place, topic, 1), ERR_OK);
    crash(&place, io);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(look(&place, topic, 1), ERR_OK);
    end(&place);
}

static void another_number_of_shards_keeps_bodies(void **state)
{
    struct store_place place;
    struct io *io = loop_of(state);
    store_place_create(&place);
    place.options.checkpoint_interval_ms = 3600000;
    place.options.shard_count = 1;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(push(&place, "a"), ERR_OK);
    store_place_crash(&place);
    place.options.shard_count = 3;
    struct store_local_data *data = NULL;
    assert_int_equal(store_local_prepare(&place.options, &data), ERR_OK);
    store_local_release(data);
    place.options.shard_count = 1;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(look(&place, store_place_topic(place.store, "a"), 0),
                     ERR_OK);
    assert_int_equal(files_in(&place, "blobs"), 0);
    end(&place);
}

/* A body that a damaged record may have named is not removed at once. */
static void body_stays_while_its_journal_has_damage(void **state)
{
    struct store_place place;
    struct io *io = loop_of(state);
    char path[DIR_PATH_MAX];
    char *bytes = NULL;
    size_t size = 0;
    int fd = -1;
    store_place_create(&place);
    place.options.checkpoint_interval_ms = 3600000;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(push(&place, "a"), ERR_OK);
    assert_int_equal(push(&place, "a"), ERR_OK);
    store_place_crash(&place);
    store_place_path(&place, "journal/0/0.jnl", path);
    assert_int_equal(file_load(path, 1 << 24, &bytes, &size), ERR_OK);
    const char *url = memmem(bytes, size, "127.0.0.1:9/sink", 16);
    assert_non_null(url);
    assert_int_equal(file_open(path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, "X", 1, (uint64_t)(url - bytes), false),
                     ERR_OK);
    file_close(fd);
    free(bytes);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(files_in(&place, "blobs"), 1);
    assert_int_equal(files_in(&place, "topics/a/blobs"), 1);
    store_place_close(&place);
    assert_int_equal(files_in(&place, "blobs"), 1);
    store_place_destroy(&place);
}

static void body_that_would_take_the_reserve_is_refused(void **state)
{
    struct store_place place;
    struct store_blob *blob = NULL;
    uint64_t free_size = 0;
    uint64_t total_size = 0;
    struct io *io = loop_of(state);
    store_place_create(&place);
    assert_int_equal(dir_space(place.root, &free_size, &total_size), ERR_OK);
    place.options.disk_reserve = free_size / 2;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(store_blob_begin(place.store, free_size, &blob), ERR_FULL);
    assert_int_equal(push(&place, "a"), ERR_OK);
    end(&place);
}

static void body_that_is_gone_is_told(void **state)
{
    struct store_place place;
    struct io *io = loop_of(state);
    begin(&place, io);
    assert_int_equal(push(&place, "a"), ERR_OK);
    LOOP_UNTIL(io, files_in(&place, "topics/a/blobs") == 1);
    char path[DIR_PATH_MAX];
    store_place_path(&place, "topics/a/blobs", path);
    assert_int_equal(blob_remove_below(path, 1, 1), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    assert_int_equal(look(&place, topic, 0), ERR_NOT_FOUND);
    store_blob_damaged(topic, 0, ERR_NOT_FOUND);
    assert_int_equal(store_stats(place.store)->quarantined, 1);
    end(&place);
}

/* --- once more ------------------------------------------------------------ */

/* Begin the body of message 0 of "a" once more, failing as planned. */
static enum err share_begin(struct store_place *place,
                            struct coming *coming,
                            const struct fault_plan *plan)
{
    static struct record record;
    struct store_reader *reader = NULL;
    struct store_topic *topic = store_place_topic(place->store, "a");
    *coming = (struct coming){0};
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    assert_int_equal(store_place_read(place->io, reader, 0, &record), ERR_OK);
    if (plan != NULL) {
        fault_set(plan);
    }
    enum err err =
        store_blob_share(topic, 0, &record.message.blob, &coming->blob);
    store_reader_destroy(reader);
    if (err == ERR_OK) {
        coming->blob->ended = blob_ended;
        coming->blob->user = coming;
    }
    return err;
}

/* The same, to the end, and a message of "b" that has it. */
static enum err share(struct store_place *place)
{
    struct coming coming;
    struct store_wait wait;
    enum err err = share_begin(place, &coming, NULL);
    if (err != ERR_OK) {
        return err;
    }
    LOOP_UNTIL(place->io, coming.ended);
    struct message message = {
        .url = STR("http://127.0.0.1:9/sink"),
        .kind = MESSAGE_KIND_RAW,
        .blob = coming.blob->message,
        .pushed_at_ms = 1,
    };
    err = coming.blob->err;
    store_wait_init(&wait, DURABILITY_DISK);
    if (err == ERR_OK) {
        err = store_append(store_place_topic(place->store, "b"), &message,
                           &wait.op);
    }
    if (err != ERR_OK) {
        store_blob_drop(coming.blob);
        return err;
    }
    err = store_wait_run(place->io, &wait);
    store_blob_keep(coming.blob);
    return err;
}

/* Delete "a"; what "b" has is whole, now and after a kill. */
static void outlives(struct store_place *place, struct io *io, uint32_t count)
{
    struct store_wait wait;
    LOOP_UNTIL(io, files_in(place, "topics/b/blobs") == count);
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(store_place_topic(place->store, "a"), &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    LOOP_UNTIL(io, files_in(place, "topics/a/blobs") == 0);
    crash(place, io);
    LOOP_UNTIL(io, files_in(place, "blobs") == 0);
    struct store_topic *topic = store_place_topic(place->store, "b");
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(look(place, topic, i), ERR_OK);
    }
}

static void a_shared_body_outlives_the_first(void **state)
{
    struct store_place place;
    struct io *io = loop_of(state);
    begin(&place, io);
    assert_int_equal(push(&place, "a"), ERR_OK);
    assert_int_equal(share(&place), ERR_OK); /* placed or not */
    LOOP_UNTIL(io, files_in(&place, "topics/a/blobs") == 1);
    assert_int_equal(share(&place), ERR_OK);
    outlives(&place, io, 2);
    end(&place);
}

static void a_body_is_copied_where_there_are_no_links(void **state)
{
    struct store_place place;
    struct io *io = loop_of(state);
    begin(&place, io);
    assert_int_equal(push(&place, "a"), ERR_OK);
    LOOP_UNTIL(io, files_in(&place, "topics/a/blobs") == 1);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_LINK, .at = 1, .error_number = EPERM, .sticky = true});
    assert_int_equal(share(&place), ERR_OK);
    assert_true(fault_fired());
    fault_reset();
    outlives(&place, io, 1);
    end(&place);
    fault_remove();
}

/* Whatever call fails, linking or copying: an error, and nothing is left. */
static void sharing_fails_at_any_call(void **state)
{
    struct store_place place;
    struct coming coming;
    struct io *io = loop_of(state);
    begin(&place, io);
    assert_int_equal(push(&place, "a"), ERR_OK);
    store_place_close(&place);                      /* which places it */
    place.options.checkpoint_interval_ms = 3600000; /* no calls but ours */
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    fault_install();
    for (uint64_t at = 1;; at++) {
        const struct fault_plan plan = {
            .kinds = FAULT_OPEN | FAULT_LINK | FAULT_FSYNC,
            .at = at,
            .error_number = EIO,
        };
        assert_int_equal(share_begin(&place, &coming, &plan), ERR_OK);
        LOOP_UNTIL(io, coming.ended);
        bool fired = fault_fired();
        fault_reset();
        assert_int_equal(coming.blob->err, fired ? ERR_IO : ERR_OK);
        store_blob_drop(coming.blob);
        LOOP_UNTIL(io, files_in(&place, "blobs") == 0);
        if (!fired) {
            assert_true(at > 3); /* open, link, open, sync */
            break;
        }
    }
    /* Let go of before it is there. */
    assert_int_equal(share_begin(&place, &coming, NULL), ERR_OK);
    store_blob_drop(coming.blob);
    LOOP_TURNS(io, 20);
    LOOP_UNTIL(io, files_in(&place, "blobs") == 0);
    end(&place);
    fault_remove();
}

/* --- failures ------------------------------------------------------------- */

struct sweep {
    struct store_place place;
    uint64_t oldest;
    uint64_t ends; /* messages acknowledged */
};

static void purge(struct sweep *sweep, uint64_t before)
{
    struct store_wait wait;
    struct store_topic *topic = store_place_find(sweep->place.store, "a");
    if (topic == NULL || before > sweep->ends) {
        return;
    }
    store_wait_init(&wait, DURABILITY_DISK);
    store_purge(topic, before, &wait.op);
    if (store_wait_run(sweep->place.io, &wait) == ERR_OK) {
        sweep->oldest = before;
    }
}

static void work(struct sweep *sweep)
{
    const struct store_stats *stats = store_stats(sweep->place.store);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            sweep->ends += push(&sweep->place, "a") == ERR_OK ? 1 : 0;
        }
        uint64_t count = stats->checkpoints + stats->checkpoint_failures;
        uint64_t until_ns = clock_monotonic_ns() + 60000000;
        while (stats->checkpoints + stats->checkpoint_failures == count &&
               sweep->place.fatal_count == 0 &&
               clock_monotonic_ns() < until_ns) {
            io_run_turn(sweep->place.io, 10);
        }
        purge(sweep, (uint64_t)round);
        if (sweep->place.fatal_count > 0) {
            return;
        }
    }
}

static void verify(struct sweep *sweep)
{
    struct store_topic *topic = store_place_find(sweep->place.store, "a");
    if (topic == NULL) {
        assert_int_equal(sweep->ends, 0);
        return;
    }
    assert_int_equal(topic->bounds.oldest, sweep->oldest);
    assert_int_equal(topic->bounds.end, sweep->ends);
    for (uint64_t i = sweep->oldest; i < sweep->ends; i++) {
        assert_int_equal(look(&sweep->place, topic, i), ERR_OK);
    }
}

/* Returns whether a call failed. */
static bool sweep_once(struct io *io, const struct fault_plan *plan)
{
    struct sweep sweep = {.oldest = 0};
    store_place_create(&sweep.place);
    sweep.place.options.checkpoint_interval_ms = 2;
    fault_install();
    fault_set(plan);
    enum err err = store_place_open(&sweep.place, io);
    bool fired = fault_fired();
    if (err == ERR_OK) {
        work(&sweep);
        fired = fault_fired();
        fault_reset();
        if (sweep.place.fatal_count == 0) {
            verify(&sweep);
        }
        store_place_crash(&sweep.place);
    } else {
        assert_true(fired);
        fault_reset();
    }
    assert_int_equal(store_place_open(&sweep.place, io), ERR_OK);
    verify(&sweep);
    /* And nothing is left that nobody names. */
    LOOP_UNTIL(io, files_in(&sweep.place, "blobs") == 0);
    LOOP_UNTIL(io, files_in(&sweep.place, "topics/a/blobs") ==
                       sweep.ends - sweep.oldest);
    store_place_close(&sweep.place);
    store_place_destroy(&sweep.place);
    fault_remove();
    return fired;
}

static void sweep_all(struct io *io, struct fault_plan plan, uint64_t stride)
{
    if (getenv("OPQ_TORTURE") != NULL) {
        stride = 1;
    }
    for (plan.at = 1 + plan.at % stride; sweep_once(io, &plan);
         plan.at += stride) {
    }
}

static void any_call_fails_with_an_io_error(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){.kinds = FAULT_ANY & ~(uint32_t)FAULT_SYNC,
                                  .error_number = EIO},
              43);
}

static void any_call_fails_for_want_of_room(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){.kinds = FAULT_ANY & ~(uint32_t)FAULT_SYNC,
                                  .error_number = ENOSPC,
                                  .at = 7},
              47);
}

static void any_sync_fails(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){.kinds = FAULT_SYNC, .error_number = EIO}, 5);
}

static void any_rename_or_removal_fails(void **state)
{
    sweep_all(
        loop_of(state),
        (struct fault_plan){.kinds = FAULT_RENAME | FAULT_UNLINK | FAULT_MKDIR,
                            .error_number = EIO},
        2);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(body_is_placed_and_survives_close_and_kill),
        LOOP_TEST(body_that_a_kill_left_unplaced_is_placed),
        LOOP_TEST(body_without_a_record_goes_at_the_next_start),
        LOOP_TEST(body_that_is_dropped_is_removed),
        LOOP_TEST(purge_and_delete_remove_bodies),
        LOOP_TEST(purge_takes_bodies_that_are_not_placed),
        LOOP_TEST(another_number_of_shards_keeps_bodies),
        LOOP_TEST(body_stays_while_its_journal_has_damage),
        LOOP_TEST(body_that_would_take_the_reserve_is_refused),
        LOOP_TEST(body_that_is_gone_is_told),
        LOOP_TEST(a_shared_body_outlives_the_first),
        LOOP_TEST(a_body_is_copied_where_there_are_no_links),
        LOOP_TEST(sharing_fails_at_any_call),
        LOOP_TEST(any_call_fails_with_an_io_error),
        LOOP_TEST(any_call_fails_for_want_of_room),
        LOOP_TEST(any_sync_fails),
        LOOP_TEST(any_rename_or_removal_fails),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
