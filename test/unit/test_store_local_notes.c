/* A local store that goes on for another one, which was closed in order: topics
 * at rest are taken from notes, without a look at their folders; whatever is
 * not as it was left, or not sure to be, is looked at.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/loop.h"
#include "lib/store_place.h"
#include "store/store_notes.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { SIZE = 100 };

/* A place, and what a store of it left. */
struct heir {
    struct store_place place;
    struct store_local_end end;
    char *topics; /* owned; of `end` */
};

static void closed(void *context)
{
    *(bool *)context = true;
}

/* Close the store, keep what it tells, and release the directory. */
static void leave(struct heir *heir)
{
    struct store_place *place = &heir->place;
    bool done = false;
    store_close(place->store, closed, &done);
    LOOP_UNTIL(place->io, done);
    assert_true(store_local_ended(place->data, 0, &heir->end));
    free(heir->topics);
    heir->topics = malloc(heir->end.topics.size + 1);
    assert_non_null(heir->topics);
    if (heir->end.topics.size > 0) {
        memcpy(heir->topics, heir->end.topics.data, heir->end.topics.size);
    }
    heir->end.topics.data = heir->topics;
    store_local_release(place->data);
    place->store = NULL;
    place->data = NULL;
}

/* Open it as one that goes on. */
static void go_on(struct heir *heir, struct io *io)
{
    heir->place.options.ends = &heir->end;
    heir->place.options.end_count = 1;
    assert_int_equal(store_place_open(&heir->place, io), ERR_OK);
    heir->place.options.ends = NULL;
    heir->place.options.end_count = 0;
}

static void append_all(struct io *io,
                       struct store_topic *topic,
                       uint64_t first,
                       uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        enum err err = ERR_BUSY; /* while the journal's next file is made */
        LOOP_UNTIL(io,
                   (err = store_place_append(io, topic, i, SIZE)) != ERR_BUSY);
        assert_int_equal(err, ERR_OK);
    }
}

static void
configure(struct io *io, struct store_topic *topic, const char *settings)
{
    struct store_wait wait;
    struct store_retention retention = {.count = 1000};
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_configure(topic, str_from(settings), &retention, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
}

static struct store_topic *view_of(struct store_topic *topic, const char *name)
{
    struct store_topic *view = NULL;
    assert_int_equal(store_view_open(topic, str_from(name), true, &view),
                     ERR_OK);
    return view;
}

/* Topic "a": 100 messages in some segments, 40 delivered and two more, set,
 * with a view that is at 30; topic "b" with a message; left at rest. */
static void begin(struct heir *heir, struct io *io)
{
    static const struct store_range done[] = {{50, 51}, {60, 61}};
    *heir = (struct heir){.topics = NULL};
    store_place_create(&heir->place);
    heir->place.options.segment_count_max = 32;
    assert_int_equal(store_place_open(&heir->place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(heir->place.store, "a");
    struct store_topic *view = view_of(topic, "v");
    append_all(io, topic, 0, 100);
    append_all(io, store_place_topic(heir->place.store, "b"), 0, 1);
    configure(io, topic, "url a\n");
    configure(io, view, "url v\n");
    store_cursor_store(
        topic,
        &(struct store_cursor){.next = 40, .range_count = 2, .ranges = done});
    store_cursor_store(view, &(struct store_cursor){.next = 30});
    leave(heir);
}

static void end(struct heir *heir)
{
    if (heir->place.store != NULL) {
        store_place_close(&heir->place);
    }
    store_place_destroy(&heir->place);
    free(heir->topics);
}

/* Remove the files that say what "a" and its view are set to. */
static void forget_settings(const struct heir *heir)
{
    static const char *const names[] = {"topics/a/topic.conf",
                                        "topics/a/sub/v/topic.conf"};
    char path[DIR_PATH_MAX];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        store_place_path(&heir->place, names[i], path);
        assert_int_equal(file_remove(path), ERR_OK);
    }
}

/* Tell whether a topic is what begin() made of it, and so was not looked at, if
 * its settings are forgotten. */
static bool is_set(struct store_topic *topic, const char *settings)
{
    return str_equal(topic->settings, str_from(settings));
}

static void expect_all(struct heir *heir, struct io *io)
{
    struct store_topic *topic = store_place_find(heir->place.store, "a");
    assert_non_null(topic);
    assert_int_equal(topic->bounds.oldest, 0);
    assert_int_equal(topic->bounds.end, 100);
    assert_int_equal(topic->cursor.next, 40);
    assert_int_equal(topic->cursor.range_count, 2);
    assert_int_equal(topic->cursor.ranges[1].first, 60);
    assert_int_equal(view_of(topic, "v")->cursor.next, 30);
    store_place_expect(io, topic, 0, 100, SIZE);
    topic = store_place_find(heir->place.store, "b");
    assert_non_null(topic);
    store_place_expect(io, topic, 0, 1, SIZE);
}

/* --- believed ------------------------------------------------------------- */

static void topics_at_rest_are_not_looked_at(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    begin(&heir, io);
    forget_settings(&heir);
    go_on(&heir, io);
    expect_all(&heir, io);
    struct store_topic *topic = store_place_find(heir.place.store, "a");
    assert_true(is_set(topic, "url a\n"));
    assert_int_equal(topic->retention.count, 1000);
    assert_true(is_set(view_of(topic, "v"), "url v\n"));
    assert_true(view_of(topic, "v")->hold);
    end(&heir);
}

static void they_go_on_as_ever(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    begin(&heir, io);
    for (uint64_t round = 0; round < 3; round++) {
        go_on(&heir, io);
        struct store_topic *topic = store_place_find(heir.place.store, "a");
        append_all(io, topic, 100 + round * 40, 140 + round * 40);
        leave(&heir);
    }
    assert_int_equal(store_place_open(&heir.place, io), ERR_OK);
    struct store_topic *topic = store_place_find(heir.place.store, "a");
    assert_true(is_set(topic, "url a\n"));
    assert_int_equal(topic->cursor.next, 40);
    assert_int_equal(
        heir.place.store->ops->stats(heir.place.store)->quarantined, 0);
    store_place_expect(io, topic, 0, 220, SIZE);
    end(&heir);
}

static void a_crash_of_who_goes_on_costs_nothing(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    begin(&heir, io);
    go_on(&heir, io);
    struct store_topic *topic = store_place_find(heir.place.store, "a");
    append_all(io, topic, 100, 150);
    store_place_crash(&heir.place);
    assert_int_equal(store_place_open(&heir.place, io), ERR_OK);
    topic = store_place_find(heir.place.store, "a");
    assert_true(is_set(topic, "url a\n"));
    assert_int_equal(topic->cursor.next, 40);
    store_place_expect(io, topic, 0, 150, SIZE);
    end(&heir);
}

/* What changed since the last checkpoint has no note. */
static void what_is_in_the_journal_comes_from_there(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    begin(&heir, io);
    go_on(&heir, io);
    store_prepare_close(heir.place.store);
    LOOP_UNTIL(io, store_close_prepared(heir.place.store));
    struct store_topic *topic = store_place_find(heir.place.store, "a");
    append_all(io, topic, 100, 130);
    store_cursor_store(topic, &(struct store_cursor){.next = 120});
    leave(&heir);
    go_on(&heir, io);
    topic = store_place_find(heir.place.store, "a");
    assert_true(is_set(topic, "url a\n"));
    assert_int_equal(topic->cursor.next, 120);
    store_place_expect(io, topic, 0, 130, SIZE);
    topic = store_place_find(heir.place.store, "b");
    store_place_expect(io, topic, 0, 1, SIZE);
    end(&heir);
}

/* --- not believed --------------------------------------------------------- */

static void expect_looked_at(struct heir *heir, struct io *io)
{
    go_on(heir, io);
    expect_all(heir, io);
    struct store_topic *topic = store_place_find(heir->place.store, "a");
    assert_true(is_set(topic, ""));
    assert_true(is_set(view_of(topic, "v"), ""));
}

static void not_when_somebody_had_the_directory_since(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    char path[DIR_PATH_MAX];
    static const struct timespec times[2] = {{.tv_sec = 1000},
                                             {.tv_sec = 1000}};
    begin(&heir, io);
    store_place_path(&heir.place, "opq.lock", path);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    forget_settings(&heir);
    expect_looked_at(&heir, io);
    end(&heir);
}

static void not_of_another_checkpoint_or_directory(void **state)
{
    struct io *io = loop_of(state);
    for (int what = 0; what < 3; what++) {
        struct heir heir;
        begin(&heir, io);
        heir.end.checkpoint += what == 0 ? 1 : 0;
        heir.end.node += what == 1 ? 1 : 0;
        heir.end.locked = what == 2 ? 0 : heir.end.locked;
        forget_settings(&heir);
        expect_looked_at(&heir, io);
        end(&heir);
    }
}

static void not_of_another_number_of_shards(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    begin(&heir, io);
    forget_settings(&heir);
    heir.place.options.ends = &heir.end;
    heir.place.options.end_count = 1;
    heir.place.options.shard_count = 2;
    struct store_local_data *data = NULL;
    assert_int_equal(store_local_prepare(&heir.place.options, &data), ERR_OK);
    uint32_t shard = store_local_shard(data, STR("a"));
    assert_int_equal(store_local_open(data, io, shard, &heir.place.store),
                     ERR_OK);
    heir.place.data = data;
    heir.place.io = io;
    struct store_topic *topic = store_place_find(heir.place.store, "a");
    assert_true(is_set(topic, ""));
    store_place_expect(io, topic, 0, 100, SIZE);
    end(&heir);
}

static void not_of_a_version_that_is_not_known(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    begin(&heir, io);
    put_u32(heir.topics, STORE_NOTES_VERSION + 1);
    forget_settings(&heir);
    expect_looked_at(&heir, io);
    end(&heir);
}

static void notes_that_are_cut_are_used_as_far_as_they_go(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    begin(&heir, io);
    size_t all = heir.end.topics.size;
    for (size_t size = 0; size < all; size += 31) {
        heir.end.topics.size = size;
        go_on(&heir, io);
        expect_all(&heir, io);
        assert_true(is_set(store_place_find(heir.place.store, "a"), "url a\n"));
        struct store_local_end before = heir.end;
        char *topics = heir.topics;
        heir.topics = NULL;
        leave(&heir);
        free(topics);
        assert_int_equal(heir.end.topics.size, all);
        assert_int_equal(heir.end.checkpoint, before.checkpoint);
    }
    end(&heir);
}

/* Numbers that cannot be, here and there. */
static void strange_notes_do_no_harm(void **state)
{
    struct io *io = loop_of(state);
    struct heir heir;
    begin(&heir, io);
    for (size_t at = 4; at < heir.end.topics.size; at += 23) {
        heir.topics[at] = (char)~heir.topics[at];
        go_on(&heir, io);
        store_place_close(&heir.place);
        /* The stamp and the notes are those of the next. */
        assert_int_equal(store_place_open(&heir.place, io), ERR_OK);
        leave(&heir);
    }
    end(&heir);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(topics_at_rest_are_not_looked_at),
        LOOP_TEST(they_go_on_as_ever),
        LOOP_TEST(a_crash_of_who_goes_on_costs_nothing),
        LOOP_TEST(what_is_in_the_journal_comes_from_there),
        LOOP_TEST(not_when_somebody_had_the_directory_since),
        LOOP_TEST(not_of_another_checkpoint_or_directory),
        LOOP_TEST(not_of_another_number_of_shards),
        LOOP_TEST(not_of_a_version_that_is_not_known),
        LOOP_TEST(notes_that_are_cut_are_used_as_far_as_they_go),
        LOOP_TEST_ONCE(strange_notes_do_no_harm),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
