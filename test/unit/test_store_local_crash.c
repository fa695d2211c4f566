/* Tests of the local store's recovery: crashes at any step, files that are lost
 * or damaged, another number of shards. Kills: test_store_local_kill.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"
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
#include <unistd.h>

#include <cmocka.h>

static void place_make(struct store_place *place, struct io *io)
{
    store_place_create(place);
    assert_int_equal(store_place_open(place, io), ERR_OK);
}

static void place_end(struct store_place *place)
{
    store_place_close(place);
    store_place_destroy(place);
}

static void append_all(struct io *io,
                       struct store_topic *topic,
                       uint64_t first,
                       uint64_t end,
                       size_t size)
{
    for (uint64_t i = first; i < end; i++) {
        enum err err = ERR_BUSY; /* while the next journal file is made */
        LOOP_UNTIL(io,
                   (err = store_place_append(io, topic, i, size)) != ERR_BUSY);
        assert_int_equal(err, ERR_OK);
    }
}

static void deliver(struct store_topic *topic, uint64_t next)
{
    struct store_cursor cursor = {.next = next};
    store_cursor_store(topic, &cursor);
}

static void damage_file(const struct store_place *place,
                        const char *name,
                        uint64_t offset,
                        const char *bytes,
                        size_t size)
{
    char path[DIR_PATH_MAX];
    int fd = -1;
    store_place_path(place, name, path);
    assert_int_equal(file_open(path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, bytes, size, offset, false), ERR_OK);
    file_close(fd);
}

/* --- crashes -------------------------------------------------------------- */

static void a_crash_at_any_step_leaves_that_step(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    for (uint64_t step = 0; step < 30; step++) {
        struct store_topic *topic = store_place_topic(place.store, "a");
        append_all(io, topic, step * 3, step * 3 + 3, 2000);
        deliver(topic, step * 2);
        store_place_crash(&place);
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        topic = store_place_topic(place.store, "a");
        assert_int_equal(topic->cursor.next, step * 2);
        store_place_expect(io, topic, 0, step * 3 + 3, 2000);
    }
    place_end(&place);
}

static void a_crash_during_recovery_harms_nothing(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    char again[sizeof(place.directory)];
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 300, 1000);
    store_place_crash(&place);
    /* Recover a copy, and copy that after it was opened: the journal is
     * released, segments and state are new. */
    for (int round = 0; round < 3; round++) {
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        (void)snprintf(again, sizeof(again), "%.64s/again-%d", place.root,
                       round);
        store_place_copy(&place, again);
        store_place_close(&place);
        memcpy(place.directory, again, sizeof(again));
    }
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    store_place_expect(io, store_place_topic(place.store, "a"), 0, 300, 1000);
    place_end(&place);
}

/* --- pages of any age ----------------------------------------------------- */

enum { AGES = 10, AGED_END = 60, AGED_MOVE = 5, AGED_TO = 8 };

static const char *const page_names[] = {"journal/0/cursors",
                                         "journal/0/ranges"};

/* A page as it was, by age. */
struct aged {
    char *data; /* owned */
    size_t size;
};

/* Note that messages up to a step are acknowledged, in every second place. */
static void deliver_step(struct store_topic *topic, uint64_t next, int step)
{
    struct store_range ranges[AGES];
    struct store_cursor cursor = {
        .next = next, .range_count = (uint32_t)step, .ranges = ranges};
    for (int i = 0; i < step; i++) {
        ranges[i].first = next + 1 + (uint64_t)i * 2;
        ranges[i].end = ranges[i].first + 1;
    }
    store_cursor_store(topic, &cursor);
}

static bool says(const struct store_cursor *cursor, uint64_t sequence)
{
    bool said = sequence < cursor->next;
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        said = said || (sequence >= cursor->ranges[i].first &&
                        sequence < cursor->ranges[i].end);
    }
    return said;
}

/* Deliver, move back, and deliver again, keeping both pages of each step, and
 * crash. */
static void
make_aged(struct store_place *place, struct io *io, struct aged aged[2][AGES])
{
    place->options.cursor_interval_ms = 1000000; /* the pages alone */
    assert_int_equal(store_place_open(place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place->store, "a");
    append_all(io, topic, 0, AGED_END, 50);
    for (int age = 0; age < AGES; age++) {
        if (age == AGED_MOVE) {
            struct store_wait wait;
            store_wait_init(&wait, DURABILITY_DISK);
            store_cursor_move(topic, AGED_TO, &wait.op);
            assert_int_equal(store_wait_run(io, &wait), ERR_OK);
        }
        deliver_step(topic, age < AGED_MOVE ? 20 : AGED_TO, 1 + age);
        for (int i = 0; i < 2; i++) {
            char path[DIR_PATH_MAX];
            store_place_path(place, page_names[i], path);
            assert_int_equal(file_load(path, 1 << 20, &aged[i][age].data,
                                       &aged[i][age].size),
                             ERR_OK);
        }
    }
    store_place_crash(place);
}

static void pages_of_any_age_do_no_harm(void **state)
{
    struct io *io = loop_of(state);
    static struct aged aged[2][AGES];
    struct store_place place;
    char left[sizeof(place.directory)];
    char copy[sizeof(place.directory)];
    store_place_create(&place);
    make_aged(&place, io, aged);
    memcpy(left, place.directory, sizeof(left));
    (void)snprintf(copy, sizeof(copy), "%.64s/aged", place.root);
    for (int pair = 0; pair < AGES * AGES; pair++) {
        int ages[2] = {pair / AGES, pair % AGES};
        memcpy(place.directory, left, sizeof(left));
        store_place_keep(&place, copy);
        memcpy(place.directory, copy, sizeof(copy));
        for (int i = 0; i < 2; i++) {
            damage_file(&place, page_names[i], 0, aged[i][ages[i]].data,
                        aged[i][ages[i]].size);
        }
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        struct store_topic *topic = store_place_find(place.store, "a");
        assert_non_null(topic);
        const struct store_cursor *cursor = &topic->cursor;
        assert_int_equal(cursor->next, AGED_TO);
        for (uint64_t i = AGED_TO; i < AGED_END; i++) {
            bool last = i > AGED_TO && (i - AGED_TO) % 2 == 1 &&
                        i < AGED_TO + (uint64_t)AGES * 2;
            bool of_age =
                ages[1] >= AGED_MOVE && i < AGED_TO + 2 + (uint64_t)ages[1] * 2;
            assert_int_equal(says(cursor, i), last && of_age);
        }
        assert_int_equal(topic->bounds.end, AGED_END);
        store_place_close(&place);
    }
    for (int age = 0; age < AGES; age++) {
        free(aged[0][age].data);
        free(aged[1][age].data);
    }
    store_place_destroy(&place);
}

/* A power cut that took messages, but left the page that says that one of them
 * was acknowledged: another one must not get its number. */
static void a_number_that_was_acknowledged_is_not_given_again(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct aged page = {NULL, 0};
    char left[sizeof(place.directory)];
    char path[DIR_PATH_MAX];
    store_place_create(&place);
    place.options.cursor_interval_ms = 1000000;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 10, 50);
    (void)snprintf(left, sizeof(left), "%.64s/left", place.root);
    store_place_copy(&place, left);
    append_all(io, topic, 10, 20, 50);
    deliver_step(topic, 4, 5); /* up to 13 */
    store_place_path(&place, page_names[1], path);
    assert_int_equal(file_load(path, 1 << 20, &page.data, &page.size), ERR_OK);
    store_place_close(&place);
    memcpy(place.directory, left, sizeof(left));
    damage_file(&place, page_names[1], 0, page.data, page.size);
    free(page.data);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_find(place.store, "a");
    assert_non_null(topic);
    assert_true(says(&topic->cursor, 13));
    assert_int_equal(store_next_sequence(topic), 14);
    assert_int_equal(store_stats(place.store)->quarantined, 4);
    place_end(&place);
}

/* --- the directory -------------------------------------------------------- */

static void a_directory_is_used_once_at_a_time(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_local_data *data = NULL;
    place_make(&place, io);
    uint64_t node = store_local_node_id(place.data);
    assert_int_not_equal(node, 0);
    assert_int_equal(store_local_prepare(&place.options, &data), ERR_BUSY);
    store_place_close(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_true(store_local_node_id(place.data) == node);
    place_end(&place);
}

static void remove_file(const struct store_place *place, const char *name)
{
    char path[DIR_PATH_MAX];
    store_place_path(place, name, path);
    assert_int_equal(file_remove(path), ERR_OK);
}

static void a_directory_without_its_meta_is_refused(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 1, 10);
    store_place_close(&place);
    damage_file(&place, "meta", 20, "#", 1);
    assert_int_equal(store_place_open(&place, io), ERR_CORRUPT);
    remove_file(&place, "meta");
    assert_int_equal(store_place_open(&place, io), ERR_CORRUPT);
    store_place_destroy(&place);
}

/* Open all shards of a place, whatever their number, one after the other, and
 * call `visit` with each store. */
static void each_shard(struct store_place *place,
                       struct io *io,
                       uint32_t shard_count,
                       void (*visit)(struct io *io,
                                     struct store_local_data *data,
                                     struct store *store,
                                     uint32_t shard))
{
    place->options.shard_count = shard_count;
    assert_int_equal(store_local_prepare(&place->options, &place->data),
                     ERR_OK);
    struct store_local_data *data = place->data;
    place->io = io;
    for (uint32_t i = 0; i < shard_count; i++) {
        assert_int_equal(store_local_open(data, io, i, &place->store), ERR_OK);
        visit(io, data, place->store, i);
        store_place_close(place); /* releases the data, too */
        if (i + 1 < shard_count) {
            assert_int_equal(store_local_prepare(&place->options, &place->data),
                             ERR_OK);
            data = place->data;
        }
    }
}

enum { SHARDED_TOPICS = 20 };

static uint64_t sharded_end;

/* Check the topics of a shard, and append ten more messages to each. */
static void visit_sharded(struct io *io,
                          struct store_local_data *data,
                          struct store *store,
                          uint32_t shard)
{
    assert_int_equal(store_local_shard(data, STR(".opq.a.1")),
                     store_local_shard(data, STR(".opq.a.1_log")));
    for (uint32_t i = 0; i < SHARDED_TOPICS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "topic%u", i);
        struct store_topic *topic = store_place_find(store, name);
        if (store_local_shard(data, str_from(name)) != shard) {
            assert_null(topic);
            continue;
        }
        if (sharded_end == 0) {
            assert_null(topic);
            topic = store_place_topic(store, name);
        }
        assert_non_null(topic);
        store_place_expect(io, topic, 0, sharded_end, 40);
        assert_int_equal(topic->cursor.next,
                         sharded_end == 0 ? 0 : sharded_end - 4);
        append_all(io, topic, sharded_end, sharded_end + 10, 40);
        deliver(topic, sharded_end + 6);
    }
}

static void the_number_of_shards_may_change(void **state)
{
    struct io *io = loop_of(state);
    static const uint32_t counts[] = {1, 3, 2, 2, 5, 1};
    struct store_place place;
    store_place_create(&place);
    sharded_end = 0;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        each_shard(&place, io, counts[i], visit_sharded);
        sharded_end += 10;
    }
    store_place_destroy(&place);
}

static void shards_change_after_a_crash(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    char to[sizeof(place.directory)];
    store_place_create(&place);
    /* With one shard: written, and left as a kill leaves it. */
    place.options.shard_count = 1;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    sharded_end = 0;
    visit_sharded(io, place.data, place.store, 0);
    store_place_crash(&place);
    sharded_end = 10;
    /* Both from the same state, as if the first attempt had not ended. */
    (void)snprintf(to, sizeof(to), "%s/copy", place.root);
    place.io = io;
    store_place_copy(&place, to);
    each_shard(&place, io, 4, visit_sharded);
    memcpy(place.directory, to, sizeof(to));
    each_shard(&place, io, 4, visit_sharded);
    sharded_end = 20;
    each_shard(&place, io, 1, visit_sharded);
    store_place_destroy(&place);
}

/* --- lost and damaged files ----------------------------------------------- */

static void lost_state_is_rebuilt_from_segments(void **state)
{
    struct io *io = loop_of(state);
    static const char *const lost[] = {"topics/a/cmd", "topics/a/dlv",
                                       "topics/a/0.idx", "topics/a/topic.conf",
                                       "journal/0/cursors"};
    for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++) {
        struct store_place place;
        place_make(&place, io);
        struct store_topic *topic = store_place_topic(place.store, "a");
        uint64_t id = topic->id;
        append_all(io, topic, 0, 200, 500);
        deliver(topic, 120);
        store_place_close(&place);
        remove_file(&place, lost[i]);
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        topic = store_place_find(place.store, "a");
        assert_non_null(topic);
        assert_int_equal(topic->id, id);
        store_place_expect(io, topic, 0, 200, 500);
        assert_int_equal(topic->cursor.next, 120);
        append_all(io, topic, 200, 210, 500);
        store_place_crash(&place);
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        store_place_expect(io, store_place_topic(place.store, "a"), 0, 210,
                           500);
        place_end(&place);
    }
}

/* A topic that belongs to shard 0, whether of one or two. */
static struct store_topic *topic_of_shard_0(const struct store_place *place,
                                            char name[16])
{
    uint32_t number = 0;
    do {
        (void)snprintf(name, 16, "t%u", number);
        number++;
    } while (store_local_shard(place->data, str_from(name)) != 0);
    return store_place_topic(place->store, name);
}

/* Lose the checkpoint after the number of shards changed, when what is in a
 * journal may be void. */
static void lose_checkpoint(struct io *io, bool damage)
{
    struct store_place place;
    char name[16];
    store_place_create(&place);
    place.options.shard_count = 2; /* with one, it is of shard 0 as well */
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    append_all(io, topic_of_shard_0(&place, name), 0, 20, 100);
    store_place_close(&place);
    place.options.shard_count = 1;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    append_all(io, store_place_topic(place.store, name), 20, 30, 100);
    store_place_crash(&place);
    if (damage) {
        damage_file(&place, "journal/0/checkpoint", 8, "#", 1);
        damage_file(&place, "journal/0/checkpoint", 512 + 8, "#", 1);
    } else {
        remove_file(&place, "journal/0/checkpoint");
    }
    for (int round = 0; round < 2; round++) {
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        store_place_expect(io, store_place_find(place.store, name), 0, 30, 100);
        assert_int_equal(store_stats(place.store)->quarantined, 0);
        store_place_close(&place);
    }
    store_place_destroy(&place);
}

static void a_lost_checkpoint_does_not_void_the_journal(void **state)
{
    lose_checkpoint(loop_of(state), true);
    lose_checkpoint(loop_of(state), false);
}

static void a_file_with_the_name_of_a_topic_is_moved_aside(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    char path[DIR_PATH_MAX];
    int fd = -1;
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 3, 100);
    store_place_close(&place);
    store_place_path(&place, "topics/b", path);
    assert_int_equal(file_open(path, FILE_WRITE | FILE_CREATE, &fd), ERR_OK);
    file_close(fd);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    append_all(io, store_place_topic(place.store, "b"), 0, 5, 100);
    store_place_close(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_int_equal(store_stats(place.store)->recovered, 0); /* checkpoint */
    store_place_expect(io, store_place_find(place.store, "b"), 0, 5, 100);
    place_end(&place);
}

static void there_is_no_start_with_a_link_for_a_topic(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    char path[DIR_PATH_MAX];
    char elsewhere[DIR_PATH_MAX];
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 30, 100);
    store_place_close(&place);
    store_place_path(&place, "topics/a", path);
    store_place_path(&place, "elsewhere", elsewhere);
    assert_int_equal(file_rename(path, elsewhere), ERR_OK);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_equal(store_place_open(&place, io), ERR_IO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(store_place_open(&place, io), ERR_IO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(file_rename(elsewhere, path), ERR_OK);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    store_place_expect(io, store_place_find(place.store, "a"), 0, 30, 100);
    place_end(&place);
}

static void a_folder_of_messages_alone_is_taken_up(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 200, 500);
    store_place_close(&place);
    remove_file(&place, "topics/a/cmd");
    remove_file(&place, "topics/a/dlv");
    remove_file(&place, "topics/a/topic.conf");
    for (int round = 0; round < 2; round++) {
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        struct store_topic *topic = store_place_find(place.store, "a");
        assert_non_null(topic);
        assert_int_equal(topic->cursor.next, 0);
        store_place_expect(io, topic, 0, 200, 500);
        store_place_close(&place);
    }
    store_place_destroy(&place);
}

static void a_folder_that_no_checkpoint_saw_is_made_anew(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    char path[DIR_PATH_MAX];
    int fd = -1;
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 5, 100);
    store_place_crash(&place);
    /* As after a loss of power: names without what belongs to them. */
    store_place_path(&place, "topics/a", path);
    assert_int_equal(dir_create(path), ERR_OK);
    store_place_path(&place, "topics/a/0.msg", path);
    assert_int_equal(file_open(path, FILE_WRITE | FILE_CREATE, &fd), ERR_OK);
    file_close(fd);
    damage_file(&place, "topics/a/0.msg", 0, "not a segment", 13);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        store_place_expect(io, store_place_find(place.store, "a"), 0, 5, 100);
        assert_int_equal(store_stats(place.store)->quarantined, 0);
        store_place_close(&place);
    }
    store_place_destroy(&place);
}

static void a_folder_that_the_journal_sets_anew_keeps_its_id(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    struct store_retention retention = {.count = 1000};
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 5, 100);
    store_place_close(&place); /* a checkpoint: the journal starts anew */
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    uint64_t id = topic->id;
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_configure(topic, STR("x y\n"), &retention, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    append_all(io, topic, 5, 8, 100);
    store_place_crash(&place);
    remove_file(&place, "topics/a/cmd");
    remove_file(&place, "topics/a/dlv");
    remove_file(&place, "topics/a/topic.conf");
    for (int round = 0; round < 2; round++) {
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        topic = store_place_find(place.store, "a");
        assert_non_null(topic);
        assert_true(topic->id == id);
        assert_true(str_equal(topic->settings, STR("x y\n")));
        store_place_expect(io, topic, 0, 8, 100);
        store_place_close(&place);
    }
    store_place_destroy(&place);
}

/* Find the offset of some bytes in a file. */
static uint64_t
offset_of(const struct store_place *place, const char *name, const char *bytes)
{
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;
    store_place_path(place, name, path);
    assert_int_equal(file_load(path, 1 << 20, &data, &size), ERR_OK);
    char *found = memmem(data, size, bytes, strlen(bytes));
    assert_non_null(found);
    uint64_t offset = (uint64_t)(found - data);
    free(data);
    return offset;
}

/* Read all that is left of a topic in which `damaged` is. */
static void expect_without(struct io *io,
                           struct store_topic *topic,
                           uint64_t damaged,
                           uint64_t end)
{
    struct store_reader *reader = NULL;
    struct record record;
    assert_int_equal(topic->bounds.end, end);
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    for (uint64_t i = 0; i < end; i++) {
        uint64_t wanted = i == damaged ? i + 1 : i;
        assert_int_equal(store_place_read(io, reader, i, &record), ERR_OK);
        assert_int_equal(record.sequence, wanted);
        assert_true(store_place_is(&record, wanted, 100));
    }
    store_reader_destroy(reader);
}

static void a_damaged_record_in_a_segment_is_stepped_over(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 60, 100);
    store_place_close(&place);
    uint64_t offset =
        offset_of(&place, "topics/a/0.msg", "00000000000000000000037");
    damage_file(&place, "topics/a/0.msg", offset + 30, "#", 1);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    expect_without(io, topic, 37, 60);
    assert_int_equal(store_stats(place.store)->quarantined, 1);
    expect_without(io, topic, 37, 60);
    assert_int_equal(store_stats(place.store)->quarantined, 1); /* once */
    append_all(io, topic, 60, 70, 100);
    expect_without(io, topic, 37, 70);
    place_end(&place);
}

static void a_damaged_record_in_the_journal_is_stepped_over(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 60, 100);
    store_place_crash(&place);
    uint64_t offset =
        offset_of(&place, "journal/0/0.jnl", "00000000000000000000037");
    damage_file(&place, "journal/0/0.jnl", offset + 30, "#", 1);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_true(store_stats(place.store)->quarantined >= 1);
    expect_without(io, store_place_topic(place.store, "a"), 37, 60);
    store_place_close(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    expect_without(io, store_place_topic(place.store, "a"), 37, 60);
    place_end(&place);
}

/* Damage the entry of a deletion in a file of the journal, if it is there. */
static bool
damage_in(const struct store_place *place, const char *name, uint64_t id)
{
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;
    store_place_path(place, name, path);
    if (file_load(path, 1 << 20, &data, &size) != ERR_OK) {
        return false;
    }
    size_t at = 0;
    while (at + 32 <= size &&
           (data[at + 20] != 3 || memcmp(data + at + 24, &id, 8) != 0)) {
        at += 8;
    }
    bool found = at + 32 <= size;
    if (found) {
        char flipped = (char)(data[at] ^ 1);
        damage_file(place, name, at, &flipped, 1);
    }
    free(data);
    return found;
}

static void damage_deletion(const struct store_place *place, uint64_t id)
{
    bool found = false;
    for (int slot = 0; slot < 8 && !found; slot++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "journal/0/%d.jnl", slot);
        found = damage_in(place, name, id);
    }
    assert_true(found);
}

static void a_topic_whose_deletion_is_lost_is_kept_aside(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    char name[64];
    char path[DIR_PATH_MAX];
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 20, 100);
    store_place_close(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    uint64_t id = topic->id;
    fault_install(); /* its folder cannot be moved away */
    fault_set(&(struct fault_plan){
        .kinds = FAULT_RENAME, .at = 1, .error_number = EIO, .sticky = true});
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(topic, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    append_all(io, store_place_topic(place.store, "a"), 0, 3, 50);
    store_place_crash(&place);
    fault_remove();
    damage_deletion(&place, id);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        topic = store_place_find(place.store, "a");
        assert_non_null(topic);
        assert_true(topic->id != id);
        store_place_expect(io, topic, 0, 3, 50);
        store_place_close(&place);
    }
    (void)snprintf(name, sizeof(name), "lost-%016llx/0.msg",
                   (unsigned long long)id);
    store_place_path(&place, name, path);
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(file_load(path, 1 << 20, &data, &size), ERR_OK);
    assert_true(size > (size_t)20 * 100); /* all of it is still there */
    free(data);
    store_place_destroy(&place);
}

static enum err count_name(void *context, const char *name, bool is_directory)
{
    uint32_t *count = context;
    (void)is_directory;
    if (str_starts(str_from(name), STR("trash-"))) {
        (*count)++;
    }
    return ERR_OK;
}

static void what_a_deleted_topic_had_is_removed(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    uint32_t count = 1;
    store_place_create(&place);
    place.options.segment_count_max = 10; /* many files */
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    append_all(io, store_place_topic(place.store, "a"), 0, 300, 100);
    store_place_close(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(store_place_topic(place.store, "a"), &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    char path[DIR_PATH_MAX];
    store_place_path(&place, "topics/a", path);
    uint64_t free_size = 0;
    uint64_t total_size = 0;
    LOOP_UNTIL(io, dir_space(path, &free_size, &total_size) == ERR_NOT_FOUND);
    for (int turn = 0; turn < 2000 && count > 0; turn++) {
        count = 0;
        io_run_turn(io, 10);
        assert_int_equal(dir_each(place.directory, count_name, &count), ERR_OK);
    }
    assert_int_equal(count, 0);
    place_end(&place);
}

static void folders_that_make_no_sense_are_left_alone(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    char path[DIR_PATH_MAX];
    place_make(&place, io);
    append_all(io, store_place_topic(place.store, "a"), 0, 3, 100);
    store_place_close(&place);
    store_place_path(&place, "topics/not a topic", path);
    assert_int_equal(dir_create(path), ERR_OK);
    store_place_path(&place, "topics/empty", path);
    assert_int_equal(dir_create(path), ERR_OK);
    store_place_path(&place, "trash-0123456789abcdef", path);
    assert_int_equal(dir_create(path), ERR_OK);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_null(store_place_find(place.store, "empty"));
    struct store_topic *topic = store_place_topic(place.store, "empty");
    append_all(io, topic, 0, 2, 100);
    store_place_close(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    store_place_expect(io, store_place_find(place.store, "empty"), 0, 2, 100);
    store_place_expect(io, store_place_find(place.store, "a"), 0, 3, 100);
    store_place_close(&place);
    uint64_t free_size = 0;
    uint64_t total_size = 0;
    assert_int_equal(dir_space(path, &free_size, &total_size), ERR_NOT_FOUND);
    store_place_path(&place, "topics/not a topic", path);
    assert_int_equal(dir_space(path, &free_size, &total_size), ERR_OK);
    store_place_destroy(&place);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_crash_at_any_step_leaves_that_step),
        LOOP_TEST(a_crash_during_recovery_harms_nothing),
        LOOP_TEST(pages_of_any_age_do_no_harm),
        LOOP_TEST(a_number_that_was_acknowledged_is_not_given_again),
        LOOP_TEST(a_directory_is_used_once_at_a_time),
        LOOP_TEST(a_directory_without_its_meta_is_refused),
        LOOP_TEST(the_number_of_shards_may_change),
        LOOP_TEST(shards_change_after_a_crash),
        LOOP_TEST(lost_state_is_rebuilt_from_segments),
        LOOP_TEST(a_lost_checkpoint_does_not_void_the_journal),
        LOOP_TEST(a_file_with_the_name_of_a_topic_is_moved_aside),
        LOOP_TEST(there_is_no_start_with_a_link_for_a_topic),
        LOOP_TEST(a_folder_of_messages_alone_is_taken_up),
        LOOP_TEST(a_folder_that_no_checkpoint_saw_is_made_anew),
        LOOP_TEST(a_folder_that_the_journal_sets_anew_keeps_its_id),
        LOOP_TEST(a_damaged_record_in_a_segment_is_stepped_over),
        LOOP_TEST(a_damaged_record_in_the_journal_is_stepped_over),
        LOOP_TEST(a_topic_whose_deletion_is_lost_is_kept_aside),
        LOOP_TEST(what_a_deleted_topic_had_is_removed),
        LOOP_TEST(folders_that_make_no_sense_are_left_alone),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
