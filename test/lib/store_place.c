/* A local store for tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/store_place.h"

#include "base/check.h"
#include "base/str.h"
#include "lib/loop.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BODY_MAX = 1 << 20 };

static void place_fatal(void *context, enum err err)
{
    struct store_place *place = context;
    (void)err;
    place->fatal_count++;
}

void store_place_use(struct store_place *place, const char *directory)
{
    memset(place, 0, sizeof(*place));
    (void)snprintf(place->directory, sizeof(place->directory), "%s", directory);
    store_local_options_init(&place->options);
    place->options.directory = place->directory;
    place->options.journal_file_size = 256 << 10;
    place->options.journal_size = 2 << 20;
    place->options.batch_size_max = 128 << 10;
    place->options.memory_size_max = 4 << 20;
    place->options.segment_size_max = 64 << 10;
    place->options.segment_count_max = 1000;
    place->options.disk_reserve = 0;
    place->options.topics_max = 2000;
    place->options.files_open_max = 16;
    place->options.sync_inline_max_us = UINT32_MAX;
    place->options.fatal = place_fatal;
    place->options.context = place;
}

void store_place_create(struct store_place *place)
{
    char root[sizeof(place->root)] = "/tmp/opq-store-XXXXXX";
    char directory[sizeof(place->directory)];
    assert_non_null(mkdtemp(root));
    (void)snprintf(directory, sizeof(directory), "%s/data", root);
    store_place_use(place, directory);
    memcpy(place->root, root, sizeof(root));
}

/* --- directories ---------------------------------------------------------- */

enum { TREE_DEPTH_MAX = 4 };

/* A walk through a tree of folders, deepest last. */
struct tree {
    char paths[4096][DIR_PATH_MAX / 16]; /* folders that were found */
    size_t count;
    size_t at; /* the one being looked into */
    const char *to;
    const char *from;
};

static void copy_file(const char *from, const char *to)
{
    char *data = NULL;
    size_t size = 0;
    int fd = -1;
    enum err err = file_load(from, (size_t)1 << 30, &data, &size);
    if (err == ERR_NOT_FOUND) {
        return; /* removed meanwhile by the helper thread */
    }
    CHECK(err == ERR_OK);
    CHECK(file_open(to, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &fd) ==
          ERR_OK);
    if (size > 0) {
        CHECK(file_write_at(fd, data, size, 0, false) == ERR_OK);
    }
    file_close(fd);
    free(data);
}

static enum err copy_entry(void *context, const char *name, bool is_directory)
{
    struct tree *tree = context;
    char below[DIR_PATH_MAX];
    char from[DIR_PATH_MAX];
    char to[DIR_PATH_MAX];
    const char *folder = tree->paths[tree->at];
    (void)snprintf(below, sizeof(below), "%s%s%s", folder,
                   folder[0] != '\0' ? "/" : "", name);
    CHECK(dir_join(from, tree->from, below) == ERR_OK);
    CHECK(dir_join(to, tree->to, below) == ERR_OK);
    if (is_directory) {
        CHECK(dir_create(to) == ERR_OK);
        CHECK(tree->count < sizeof(tree->paths) / sizeof(tree->paths[0]));
        CHECK(strlen(below) < sizeof(tree->paths[0]));
        memcpy(tree->paths[tree->count], below, strlen(below) + 1);
        tree->count++;
    } else {
        copy_file(from, to);
    }
    return ERR_OK;
}

static void copy_tree(const char *from, const char *to)
{
    struct tree *tree = calloc(1, sizeof(*tree));
    CHECK(tree != NULL);
    tree->from = from;
    tree->to = to;
    tree->count = 1; /* the top */
    CHECK(dir_create(to) == ERR_OK);
    for (tree->at = 0; tree->at < tree->count; tree->at++) {
        char path[DIR_PATH_MAX];
        CHECK(dir_join(path, from, tree->paths[tree->at]) == ERR_OK);
        enum err err = dir_each(path, copy_entry, tree);
        CHECK(err == ERR_OK || err == ERR_NOT_FOUND);
    }
    free(tree);
}

static enum err remove_entry(void *context, const char *name, bool is_directory)
{
    struct tree *tree = context;
    char path[DIR_PATH_MAX];
    assert_int_equal(dir_join(path, tree->paths[tree->at], name), ERR_OK);
    if (!is_directory) {
        return file_remove(path);
    }
    CHECK(tree->count < sizeof(tree->paths) / sizeof(tree->paths[0]));
    CHECK(strlen(path) < sizeof(tree->paths[0]));
    memcpy(tree->paths[tree->count], path, strlen(path) + 1);
    tree->count++;
    return ERR_OK;
}

static void remove_tree(const char *path)
{
    struct tree *tree = calloc(1, sizeof(*tree));
    assert_non_null(tree);
    memcpy(tree->paths[0], path, strlen(path) + 1);
    tree->count = 1;
    for (tree->at = 0; tree->at < tree->count; tree->at++) {
        assert_int_equal(dir_each(tree->paths[tree->at], remove_entry, tree),
                         ERR_OK);
    }
    for (size_t i = tree->count; i > 0; i--) {
        (void)file_kernel_calls()->rmdir(tree->paths[i - 1]);
    }
    free(tree);
}

void store_place_keep(const struct store_place *place, const char *to)
{
    CHECK(place->store == NULL);
    if (file_kernel_calls()->mkdir(to, 0700) != 0) {
        remove_tree(to);
    }
    copy_tree(place->directory, to);
}

void store_place_destroy(struct store_place *place)
{
    assert_null(place->store);
    remove_tree(place->root);
}

/* Runs on the helper thread of the loop, so that nothing else does. */
struct copy_work {
    struct io_work work;
    const char *from;
    const char *to;
    bool done;
};

static void copy_run(struct io_work *work)
{
    struct copy_work *copy = CONTAINER_OF(work, struct copy_work, work);
    copy_tree(copy->from, copy->to);
}

static void copy_done(struct io_work *work)
{
    struct copy_work *copy = CONTAINER_OF(work, struct copy_work, work);
    copy->done = true;
}

void store_place_copy(const struct store_place *place, const char *to)
{
    struct copy_work copy = {.work = {.run = copy_run, .done = copy_done},
                             .from = place->directory,
                             .to = to};
    io_work_start(place->io, &copy.work);
    LOOP_UNTIL(place->io, copy.done);
}

void store_place_path(const struct store_place *place,
                      const char *name,
                      char *path)
{
    assert_int_equal(dir_join(path, place->directory, name), ERR_OK);
}

/* --- life ----------------------------------------------------------------- */

enum err store_place_open(struct store_place *place, struct io *io)
{
    struct store_local_data *data = NULL;
    enum err err = store_local_prepare(&place->options, &data);
    if (err != ERR_OK) {
        return err;
    }
    err = store_local_open(data, io, 0, &place->store);
    if (err != ERR_OK) {
        store_local_release(data);
        return err;
    }
    place->data = data;
    place->io = io;
    return ERR_OK;
}

static void place_closed(void *context)
{
    bool *closed = context;
    *closed = true;
}

void store_place_close(struct store_place *place)
{
    bool closed = false;
    store_close(place->store, place_closed, &closed);
    LOOP_UNTIL(place->io, closed);
    place->store = NULL;
    store_local_release(place->data);
    place->data = NULL;
}

void store_place_crash(struct store_place *place)
{
    char to[sizeof(place->directory)];
    place->crashes++;
    (void)snprintf(to, sizeof(to), "%s/crash-%u", place->root, place->crashes);
    store_place_copy(place, to);
    store_place_close(place);
    remove_tree(place->directory);
    memcpy(place->directory, to, sizeof(to));
}

/* --- operations ----------------------------------------------------------- */

static void wait_done(struct store_op *op, enum err err)
{
    static uint32_t order;
    struct store_wait *wait = CONTAINER_OF(op, struct store_wait, op);
    wait->done_count++;
    wait->err = err;
    order++;
    wait->order = order;
}

void store_wait_init(struct store_wait *wait, enum durability durability)
{
    memset(wait, 0, sizeof(*wait));
    wait->op.done = wait_done;
    wait->op.durability = durability;
}

enum err store_wait_run(struct io *io, struct store_wait *wait)
{
    LOOP_UNTIL(io, wait->done_count > 0);
    return wait->err;
}

/* A body that depends on its number, at every byte. */
static void body_fill(char *body, uint64_t number, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        body[i] = (char)('a' + (number * 7 + i) % 26);
    }
    if (size >= 24) {
        (void)snprintf(body, 24, "%023llu", (unsigned long long)number);
    }
}

enum err store_wait_append(struct store_topic *topic,
                           struct store_wait *wait,
                           uint64_t number,
                           size_t size)
{
    static char body[BODY_MAX];
    CHECK(size <= sizeof(body));
    body_fill(body, number, size);
    struct message message = {
        .url = STR("http://127.0.0.1:9/sink"),
        .kind = MESSAGE_KIND_RAW,
        .body = {body, size},
        .content_type = STR("text/plain"),
        .pushed_at_ms = 1000000 + number * 1000,
    };
    return store_append(topic, &message, &wait->op);
}

enum err store_place_append(struct io *io,
                            struct store_topic *topic,
                            uint64_t number,
                            size_t size)
{
    struct store_wait wait;
    store_wait_init(&wait, DURABILITY_DISK);
    enum err err = store_wait_append(topic, &wait, number, size);
    if (err == ERR_OK) {
        err = store_wait_run(io, &wait);
    }
    return err;
}

struct store_topic *store_place_topic(struct store *store, const char *name)
{
    struct store_topic *topic = NULL;
    assert_int_equal(store_topic_open(store, str_from(name), true, &topic),
                     ERR_OK);
    return topic;
}

struct store_topic *store_place_find(struct store *store, const char *name)
{
    struct store_topic *topic = NULL;
    enum err err = store_topic_open(store, str_from(name), false, &topic);
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    return topic;
}

struct ready {
    bool is;
};

static void reader_ready(struct store_reader *reader)
{
    struct ready *ready = reader->user;
    ready->is = true;
}

enum err store_place_read(struct io *io,
                          struct store_reader *reader,
                          uint64_t sequence,
                          struct record *out_record)
{
    struct ready ready = {false};
    reader->ready = reader_ready;
    reader->user = &ready;
    enum err err = store_reader_next(reader, sequence, out_record);
    while (err == ERR_AGAIN) {
        LOOP_UNTIL(io, ready.is);
        ready.is = false;
        err = store_reader_next(reader, sequence, out_record);
    }
    reader->user = NULL;
    return err;
}

bool store_place_is(const struct record *record, uint64_t number, size_t size)
{
    static char body[BODY_MAX];
    body_fill(body, number, size);
    return str_equal(record->message.body, (struct str){body, size});
}

void store_place_expect(struct io *io,
                        struct store_topic *topic,
                        uint64_t first,
                        uint64_t end,
                        size_t size)
{
    struct store_reader *reader = NULL;
    struct record record;
    assert_int_equal(topic->bounds.oldest, first);
    assert_int_equal(topic->bounds.end, end);
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    for (uint64_t i = first; i < end; i++) {
        assert_int_equal(store_place_read(io, reader, i, &record), ERR_OK);
        assert_int_equal(record.sequence, i);
        assert_true(store_place_is(&record, i, size));
    }
    assert_int_equal(store_place_read(io, reader, end, &record), ERR_NOT_FOUND);
    store_reader_destroy(reader);
}
