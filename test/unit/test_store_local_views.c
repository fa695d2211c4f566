/* Tests of the local store's views: what a crash leaves of them, lost files,
 * retention, another number of shards, deletions that fail. What every store's
 * views do: contract/store_contract_view.c; failures at any call:
 * test_store_local_fault.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"
#include "log/topic_inspect.h"
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
        enum err err = ERR_BUSY; /* while the journal's next file is made */
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

/* A view; NULL when it is not there and not to be made. */
static struct store_topic *
view_of(struct store_topic *topic, const char *name, bool create)
{
    struct store_topic *view = NULL;
    enum err err = store_view_open(topic, str_from(name), create, &view);
    assert_true(err == ERR_OK || (err == ERR_NOT_FOUND && !create));
    return view;
}

static enum err set_view(struct io *io, struct store_topic *view)
{
    struct store_wait wait;
    struct store_retention none = {0};
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_configure(view, STR("url x\n"), &none, &wait.op);
    return store_wait_run(io, &wait);
}

static enum err delete_view(struct io *io, struct store_topic *view)
{
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_view_delete(view, &wait.op);
    return store_wait_run(io, &wait);
}

static bool there(const struct store_place *place, const char *name)
{
    char path[DIR_PATH_MAX];
    uint64_t free_size = 0;
    uint64_t total_size = 0;
    store_place_path(place, name, path);
    return dir_space(path, &free_size, &total_size) == ERR_OK;
}

static void remove_file(const struct store_place *place, const char *name)
{
    char path[DIR_PATH_MAX];
    store_place_path(place, name, path);
    assert_int_equal(file_remove(path), ERR_OK);
}

static void
write_file(const struct store_place *place, const char *name, struct str bytes)
{
    char path[DIR_PATH_MAX];
    store_place_path(place, name, path);
    assert_int_equal(file_replace(path, bytes.data, bytes.size), ERR_OK);
}

/* --- recovery ------------------------------------------------------------- */

static void a_crash_at_any_step_leaves_that_step(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    struct store_topic *view = view_of(topic, "v", true);
    assert_int_equal(set_view(io, view), ERR_OK);
    uint64_t id = view->id;
    for (uint64_t step = 0; step < 20; step++) {
        append_all(io, topic, step * 3, step * 3 + 3, 500);
        deliver(topic, step * 3 + 1);
        deliver(view, step * 2);
        store_place_crash(&place);
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        topic = store_place_topic(place.store, "a");
        view = view_of(topic, "v", false);
        assert_non_null(view);
        assert_true(view->id == id);
        assert_int_equal(topic->cursor.next, step * 3 + 1);
        assert_int_equal(view->cursor.next, step * 2);
        assert_int_equal(view->bounds.end, step * 3 + 3);
        assert_int_equal(store_stats(place.store)->quarantined, 0);
    }
    place_end(&place);
}

static void lost_files_of_a_view_cost_what_they_said(void **state)
{
    struct io *io = loop_of(state);
    static const char *const lost[] = {
        "topics/a/sub/v/dlv",  "topics/a/sub/v/topic.conf",
        "topics/a/topic.conf", "topics/a/cmd",
        "journal/0/cursors",   "journal/0/ranges"};
    for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++) {
        struct store_place place;
        place_make(&place, io);
        struct store_topic *topic = store_place_topic(place.store, "a");
        append_all(io, topic, 0, 50, 100);
        struct store_topic *view = view_of(topic, "v", true);
        uint64_t id = view->id;
        assert_int_equal(set_view(io, view), ERR_OK);
        append_all(io, topic, 50, 60, 100);
        deliver(view, 55);
        store_place_close(&place);
        remove_file(&place, lost[i]);
        for (int round = 0; round < 2; round++) {
            assert_int_equal(store_place_open(&place, io), ERR_OK);
            topic = store_place_find(place.store, "a");
            assert_non_null(topic);
            view = view_of(topic, "v", false);
            assert_non_null(view);
            assert_true(view->id == id);
            assert_true(view->hold);
            assert_int_equal(view->settings.size, i == 1 ? 0 : 6);
            /* In dlv or, where that is lost, in the cursor page. */
            assert_int_equal(view->cursor.next, 55);
            store_place_expect(io, topic, 0, 60, 100);
            store_place_close(&place);
        }
        store_place_destroy(&place);
    }
}

static void a_topic_takes_its_id_from_its_views(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    uint64_t id = topic->id;
    append_all(io, topic, 0, 20, 100);
    assert_int_equal(set_view(io, view_of(topic, "v", true)), ERR_OK);
    store_place_close(&place);
    remove_file(&place, "topics/a/cmd");
    remove_file(&place, "topics/a/dlv");
    remove_file(&place, "topics/a/topic.conf");
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_find(place.store, "a");
    assert_non_null(topic);
    assert_true(topic->id == id);
    assert_non_null(view_of(topic, "v", false));
    store_place_expect(io, topic, 0, 20, 100);
    place_end(&place);
}

/* What a checkpoint that was not completed leaves in sub/. */
static void folders_that_no_checkpoint_saw_are_made_anew(void **state)
{
    struct io *io = loop_of(state);
    static const char *const files[] = {"topics/a/sub/v/topic.conf",
                                        "topics/a/sub/v/dlv"};
    for (int have = 0; have < 4; have++) {
        struct store_place place;
        char path[DIR_PATH_MAX];
        place_make(&place, io);
        struct store_topic *topic = store_place_topic(place.store, "a");
        append_all(io, topic, 0, 7, 100);
        assert_int_equal(set_view(io, view_of(topic, "v", true)), ERR_OK);
        append_all(io, topic, 7, 9, 100);
        store_place_crash(&place);
        store_place_path(&place, "topics/a/sub/v", path);
        assert_int_equal(dir_create(path), ERR_OK);
        for (int i = 0; i < 2; i++) {
            if ((have >> i & 1) != 0) {
                write_file(&place, files[i], STR("torn by the power cut"));
            }
        }
        for (int round = 0; round < 2; round++) {
            assert_int_equal(store_place_open(&place, io), ERR_OK);
            topic = store_place_find(place.store, "a");
            assert_non_null(topic);
            store_place_expect(io, topic, 0, 9, 100);
            struct store_topic *view = view_of(topic, "v", false);
            assert_non_null(view);
            assert_int_equal(view->cursor.next, 7);
            assert_true(str_equal(view->settings, STR("url x\n")));
            store_place_close(&place);
        }
        store_place_destroy(&place);
    }
}

static void strange_folders_are_left_alone(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    char from[DIR_PATH_MAX];
    char to[DIR_PATH_MAX];
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 3, 100);
    append_all(io, store_place_topic(place.store, "b"), 0, 3, 100);
    assert_int_equal(set_view(io, view_of(topic, "v", true)), ERR_OK);
    store_place_close(&place);
    /* A view of another topic; a name that is none; a file; a view's folder for
     * a topic's. */
    store_place_path(&place, "topics/b/sub", to);
    assert_int_equal(dir_create(to), ERR_OK);
    store_place_path(&place, "topics/a/sub/v", from);
    store_place_path(&place, "topics/b/sub/v", to);
    assert_int_equal(file_rename(from, to), ERR_OK);
    store_place_path(&place, "topics/b/sub/not a name", to);
    assert_int_equal(dir_create(to), ERR_OK);
    write_file(&place, "topics/b/sub/file", STR("x"));
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_find(place.store, "b");
    assert_non_null(topic);
    assert_null(view_of(topic, "v", false));
    assert_null(view_of(topic, "file", false));
    assert_true(there(&place, "topics/b/sub/v"));
    assert_true(there(&place, "topics/b/sub/not a name"));
    assert_int_equal(set_view(io, view_of(topic, "v", true)), ERR_OK);
    assert_int_equal(set_view(io, view_of(topic, "file", true)), ERR_OK);
    for (int round = 0; round < 2; round++) {
        store_place_close(&place);
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        topic = store_place_find(place.store, "b");
        assert_non_null(view_of(topic, "v", false));
        assert_non_null(view_of(topic, "file", false));
        assert_int_equal(view_of(topic, "v", false)->cursor.next, 3);
    }
    place_end(&place);
}

static void what_a_deleted_view_had_is_removed(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 3, 100);
    for (int i = 0; i < 20; i++) { /* more than one job removes */
        char name[16];
        (void)snprintf(name, sizeof(name), "v%d", i);
        assert_int_equal(set_view(io, view_of(topic, name, true)), ERR_OK);
    }
    store_place_close(&place);
    assert_true(there(&place, "topics/a/sub/v7"));
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_topic(place.store, "a");
    assert_int_equal(delete_view(io, view_of(topic, "v7", false)), ERR_OK);
    LOOP_UNTIL(io, !there(&place, "topics/a/sub/v7"));
    assert_true(there(&place, "topics/a/sub/v8"));
    /* A kill before the checkpoint: entries of a view that is moved away. */
    deliver(view_of(topic, "v8", false), 3);
    assert_int_equal(set_view(io, view_of(topic, "v8", false)), ERR_OK);
    uint64_t id = topic->id;
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(topic, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    LOOP_UNTIL(io, !there(&place, "topics/a"));
    store_place_crash(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    assert_null(store_place_find(place.store, "a"));
    assert_int_equal(store_stats(place.store)->quarantined, 0);
    char trash[64];
    (void)snprintf(trash, sizeof(trash), "trash-%016llx",
                   (unsigned long long)id);
    LOOP_UNTIL(io, !there(&place, trash));
    place_end(&place);
}

/* --- retention ------------------------------------------------------------ */

static void keep_ten(struct io *io, struct store_topic *topic)
{
    struct store_wait wait;
    struct store_retention retention = {.count = 10};
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_configure(topic, STR(""), &retention, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
}

static void retention_waits_for_views_that_hold(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    store_place_create(&place);
    place.options.segment_count_max = 10;
    place.options.checkpoint_interval_ms = 5;
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place.store, "a");
    struct store_topic *view = view_of(topic, "v", true);
    struct store_topic *loose = view_of(topic, "loose", true);
    store_wait_init(&wait, DURABILITY_DISK);
    store_view_hold(loose, false, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    keep_ten(io, topic);
    append_all(io, topic, 0, 100, 100);
    /* All in segments, so that those which may go are full: one that is last
     * may go as it is, see below. */
    LOOP_UNTIL(io, store_stats(place.store)->memory_bytes == 0);
    deliver(topic, 100);
    deliver(view, 35);
    for (uint64_t i = 100; topic->bounds.oldest == 0; i++) {
        append_all(io, topic, i, i + 1, 100); /* segments, so that it looks */
        io_run_turn(io, 10);
        assert_true(i < 2000);
    }
    assert_int_equal(view->bounds.oldest, 30);
    assert_int_equal(view->cursor.next, 35);
    assert_int_equal(loose->cursor.next, 30); /* moved along */
    store_place_expect(io, topic, 30, topic->bounds.end, 100);
    store_wait_init(&wait, DURABILITY_DISK);
    store_view_hold(view, false, &wait.op);
    assert_int_equal(store_wait_run(io, &wait), ERR_OK);
    for (uint64_t i = topic->bounds.end; topic->bounds.oldest < 90; i++) {
        append_all(io, topic, i, i + 1, 100);
        deliver(topic, i + 1);
        io_run_turn(io, 10);
        assert_true(i < 4000);
    }
    assert_true(topic->bounds.end - topic->bounds.oldest >= 10);
    assert_int_equal(view->cursor.next, topic->bounds.oldest);
    store_place_crash(&place);
    assert_int_equal(store_place_open(&place, io), ERR_OK);
    topic = store_place_topic(place.store, "a");
    view = view_of(topic, "v", false);
    assert_non_null(view);
    assert_false(view->hold);
    assert_true(view->cursor.next >= topic->bounds.oldest);
    place_end(&place);
}

/* Segments 0, 10, 20 and 30, which is last and has five messages; more of them
 * in memory; all delivered but what the view holds, from `held` on. */
static void make_short_last(struct store_place *place, struct io *io, int held)
{
    store_place_create(place);
    place->options.segment_count_max = 10;
    place->options.checkpoint_interval_ms = 600000;
    assert_int_equal(store_place_open(place, io), ERR_OK);
    struct store_topic *topic = store_place_topic(place->store, "a");
    assert_int_equal(set_view(io, view_of(topic, "v", true)), ERR_OK);
    keep_ten(io, topic);
    append_all(io, topic, 0, 35, 100);
    store_place_close(place);
    assert_int_equal(store_place_open(place, io), ERR_OK);
    topic = store_place_topic(place->store, "a");
    append_all(io, topic, 35, 60, 100);
    deliver(topic, 60);
    deliver(view_of(topic, "v", false), (uint64_t)held);
}

static void the_last_segment_goes_when_no_view_holds_any_of_it(void **state)
{
    struct io *io = loop_of(state);
    for (int held = 33; held < 38; held++) {
        uint64_t oldest = held < 35 ? 30 : 35;
        struct store_place place;
        struct store_wait wait;
        make_short_last(&place, io, held);
        struct store_topic *topic = store_place_topic(place.store, "a");
        store_wait_init(&wait, DURABILITY_DISK);
        store_purge(topic, 1, &wait.op); /* so that it looks */
        assert_int_equal(store_wait_run(io, &wait), ERR_OK);
        LOOP_UNTIL(io, !there(&place, "topics/a/20.msg"));
        LOOP_UNTIL(io, there(&place, "topics/a/30.msg") == (oldest == 30));
        store_place_expect(io, topic, oldest, 60, 100);
        store_place_crash(&place);
        for (int round = 0; round < 2; round++) {
            assert_int_equal(store_place_open(&place, io), ERR_OK);
            topic = store_place_topic(place.store, "a");
            store_place_expect(io, topic, oldest, 60, 100);
            struct store_topic *view = view_of(topic, "v", false);
            assert_int_equal(view->cursor.next, held);
            assert_int_equal(view->bounds.oldest, oldest);
            store_place_close(&place);
            /* No name is used again: the next one begins where it ended. */
            assert_true(there(&place, "topics/a/35.msg") == (oldest == 35));
        }
        store_place_destroy(&place);
    }
}

/* --- shards --------------------------------------------------------------- */

enum { SHARDED_TOPICS = 12 };

static void the_number_of_shards_may_change(void **state)
{
    struct io *io = loop_of(state);
    static const uint32_t counts[] = {1, 3, 2, 5, 1};
    struct store_place place;
    store_place_create(&place);
    for (size_t round = 0; round < sizeof(counts) / sizeof(counts[0]);
         round++) {
        place.options.shard_count = counts[round];
        place.io = io;
        for (uint32_t shard = 0; shard < counts[round]; shard++) {
            assert_int_equal(store_local_prepare(&place.options, &place.data),
                             ERR_OK);
            assert_int_equal(
                store_local_open(place.data, io, shard, &place.store), ERR_OK);
            for (uint32_t i = 0; i < SHARDED_TOPICS; i++) {
                char name[16];
                (void)snprintf(name, sizeof(name), "topic%u", i);
                if (store_local_shard(place.data, str_from(name)) != shard) {
                    continue;
                }
                struct store_topic *topic =
                    store_place_topic(place.store, name);
                struct store_topic *view =
                    view_of(topic, "v", topic->bounds.end == 0);
                assert_non_null(view);
                assert_int_equal(view->cursor.next, round * 2);
                assert_int_equal(view->bounds.end, round * 5);
                append_all(io, topic, round * 5, round * 5 + 5, 50);
                assert_int_equal(set_view(io, view), ERR_OK);
                deliver(view, round * 2 + 2);
            }
            store_place_close(&place);
        }
    }
    store_place_destroy(&place);
}

/* --- deletions that fail -------------------------------------------------- */

/* Delete a topic or view with the journal unable to be written, and make what
 * `meanwhile` says before that is known. */
static void fail_deletion(struct io *io, bool of_view, bool meanwhile)
{
    struct store_place place;
    struct store_wait wait;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 9, 100);
    struct store_topic *view = view_of(topic, "v", true);
    assert_int_equal(set_view(io, view), ERR_OK);
    deliver(view, 9);
    uint64_t id = view->id;
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO});
    store_wait_init(&wait, DURABILITY_DISK);
    if (of_view) {
        store_view_delete(view, &wait.op);
        assert_null(view_of(topic, "v", false));
    } else {
        store_topic_delete(topic, &wait.op);
        assert_null(store_place_find(place.store, "a"));
    }
    if (meanwhile) {
        topic = store_place_topic(place.store, "a");
        assert_true(view_of(topic, "v", true)->id != id);
    }
    assert_int_equal(store_wait_run(io, &wait), ERR_IO);
    fault_remove();
    topic = store_place_topic(place.store, "a");
    view = view_of(topic, "v", false);
    assert_non_null(view);
    assert_true((view->id == id) == !meanwhile);
    if (meanwhile) { /* it comes once more before the newcomer */
        enum err err = ERR_BUSY;
        LOOP_UNTIL(io, (err = set_view(io, view)) == ERR_OK);
    } else {
        assert_int_equal(view->cursor.next, 9);
    }
    id = view->id;
    for (int round = 0; round < 2; round++) {
        store_place_crash(&place);
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        topic = store_place_find(place.store, "a");
        assert_non_null(topic);
        assert_int_equal(topic->bounds.end, meanwhile && !of_view ? 0 : 9);
        view = view_of(topic, "v", false);
        assert_non_null(view);
        assert_true(view->id == id);
        assert_int_equal(view->cursor.next, meanwhile && !of_view ? 0 : 9);
        assert_int_equal(store_stats(place.store)->quarantined, 0);
    }
    place_end(&place);
}

static void a_deletion_that_failed_leaves_all_as_it_was(void **state)
{
    for (int i = 0; i < 4; i++) {
        fail_deletion(loop_of(state), i % 2 == 0, i / 2 == 1);
    }
}

static void a_purge_that_failed_leaves_views_as_they_were(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    struct store_wait wait;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    struct store_topic *view = view_of(topic, "v", true);
    assert_int_equal(set_view(io, view), ERR_OK);
    append_all(io, topic, 0, 20, 100);
    struct store_range range = {8, 12};
    struct store_cursor cursor = {
        .next = 3, .attempts = 2, .range_count = 1, .ranges = &range};
    store_cursor_store(view, &cursor);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO});
    store_wait_init(&wait, DURABILITY_DISK);
    store_purge(topic, 10, &wait.op);
    assert_int_equal(view->cursor.next, 12);
    assert_int_equal(view->bounds.oldest, 10);
    assert_int_equal(store_wait_run(io, &wait), ERR_IO);
    fault_remove();
    for (int round = 0; round < 3; round++) {
        assert_int_equal(topic->bounds.oldest, 0);
        assert_int_equal(view->bounds.oldest, 0);
        assert_int_equal(view->cursor.next, 3);
        assert_int_equal(view->cursor.attempts, 2);
        assert_int_equal(view->cursor.range_count, 1);
        assert_int_equal(view->cursor.ranges[0].first, 8);
        store_place_crash(&place);
        assert_int_equal(store_place_open(&place, io), ERR_OK);
        topic = store_place_topic(place.store, "a");
        view = view_of(topic, "v", false);
        assert_non_null(view);
    }
    place_end(&place);
}

/* --- verify --------------------------------------------------------------- */

struct findings {
    uint32_t count;
    char file[64]; /* of the last one */
};

static void note_finding(void *context, const struct topic_finding *finding)
{
    struct findings *findings = context;
    findings->count++;
    (void)snprintf(findings->file, sizeof(findings->file), "%s", finding->file);
}

static struct findings inspect(const struct store_place *place)
{
    struct findings findings = {0};
    struct topic_inspect_sum sum;
    char path[DIR_PATH_MAX];
    store_place_path(place, "topics/a", path);
    const struct topic_inspect_options options = {.directory = path};
    const struct topic_inspect_visit visit = {.finding = note_finding,
                                              .context = &findings};
    assert_int_equal(topic_inspect_walk(&options, &visit, &sum), ERR_OK);
    return findings;
}

static void files_of_views_are_verified(void **state)
{
    struct io *io = loop_of(state);
    struct store_place place;
    place_make(&place, io);
    struct store_topic *topic = store_place_topic(place.store, "a");
    append_all(io, topic, 0, 5, 100);
    assert_int_equal(set_view(io, view_of(topic, "v", true)), ERR_OK);
    assert_int_equal(set_view(io, view_of(topic, "w", true)), ERR_OK);
    store_place_close(&place);
    struct findings findings = inspect(&place);
    assert_int_equal(findings.count, 0);
    write_file(&place, "topics/a/sub/w/topic.conf", STR("opq-view 1\n"));
    findings = inspect(&place);
    assert_int_equal(findings.count, 1);
    assert_string_equal(findings.file, "sub/w/topic.conf");
    remove_file(&place, "topics/a/sub/w/topic.conf");
    write_file(&place, "topics/a/sub/v/dlv", STR("no slot"));
    findings = inspect(&place);
    assert_int_equal(findings.count, 1);
    assert_string_equal(findings.file, "sub/v/dlv");
    store_place_destroy(&place);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_crash_at_any_step_leaves_that_step),
        LOOP_TEST(lost_files_of_a_view_cost_what_they_said),
        LOOP_TEST(a_topic_takes_its_id_from_its_views),
        LOOP_TEST(folders_that_no_checkpoint_saw_are_made_anew),
        LOOP_TEST(strange_folders_are_left_alone),
        LOOP_TEST(what_a_deleted_view_had_is_removed),
        LOOP_TEST(retention_waits_for_views_that_hold),
        LOOP_TEST(the_last_segment_goes_when_no_view_holds_any_of_it),
        LOOP_TEST(the_number_of_shards_may_change),
        LOOP_TEST(a_deletion_that_failed_leaves_all_as_it_was),
        LOOP_TEST(a_purge_that_failed_leaves_views_as_they_were),
        LOOP_TEST_ONCE(files_of_views_are_verified),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
