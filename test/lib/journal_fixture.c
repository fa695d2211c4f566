/* A journal in a folder of its own, for tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/journal_fixture.h"

#include "base/buf.h"
#include "lib/loop.h"
#include "log/journal_internal.h"
#include "log/record.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CURSOR_SIZE = 100, RECORD_BODY_SIZE = 60 };

void journal_fixture_create(struct journal_fixture *fixture, struct io *io)
{
    memset(fixture, 0, sizeof(*fixture));
    assert_int_equal(scratch_make(fixture->directory), 0);
    fixture->io = io;
    fixture->options = (struct journal_options){
        .io = io,
        .directory = fixture->directory,
        .file_size = 64U << 10,
        .files_max = 4,
        .batch_size_max = 16U << 10,
        .direct = true,
        .sync_inline_max_us = 1000000,
    };
}

void journal_fixture_destroy(struct journal_fixture *fixture)
{
    journal_fixture_close(fixture);
    assert_int_equal(scratch_remove(fixture->directory), 0);
}

void journal_fixture_close(struct journal_fixture *fixture)
{
    if (fixture->journal == NULL) {
        return;
    }
    LOOP_UNTIL(fixture->io, !journal_busy(fixture->journal));
    journal_close(fixture->journal);
    fixture->journal = NULL;
}

/* --- content -------------------------------------------------------------- */

static bool is_cursor(uint64_t number)
{
    return number % 3 == 2;
}

static void fill(char *to, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)(number * 31 + i * 7 + 1);
    }
}

/* The message of a number; its body is in `body`. */
static struct message message_of(uint64_t number, char *body, size_t size)
{
    fill(body, size, number);
    return (struct message){
        .url = STR("http://example.net/in"),
        .kind = MESSAGE_KIND_RAW,
        .body = {body, size},
        .pushed_at_ms = 1000000 + number,
    };
}

size_t journal_fixture_entry_size(uint64_t number)
{
    char body[RECORD_BODY_SIZE];
    size_t size = CURSOR_SIZE + 4; /* padded */
    if (!is_cursor(number)) {
        struct message message = message_of(number, body, sizeof(body));
        assert_int_equal(record_size(&message, &size), ERR_OK);
    }
    return JOURNAL_ENTRY_HEAD_SIZE + size;
}

enum err journal_fixture_put(struct journal_fixture *fixture,
                             uint64_t number,
                             size_t body_size)
{
    static char bytes[1 << 20];
    void *body = NULL;
    if (is_cursor(number) || body_size > 0) {
        size_t size = body_size > 0 ? body_size : CURSOR_SIZE;
        enum err err = journal_put_begin(fixture->journal, JOURNAL_CURSOR,
                                         number, size, &body);
        if (err == ERR_OK) {
            fill(body, size, number);
            journal_put_end(fixture->journal);
        }
        return err;
    }
    struct message message = message_of(number, bytes, RECORD_BODY_SIZE);
    size_t size = 0;
    assert_int_equal(record_size(&message, &size), ERR_OK);
    enum err err = journal_put_begin(fixture->journal, JOURNAL_RECORD, number,
                                     size, &body);
    if (err == ERR_OK) {
        assert_int_equal((uintptr_t)body % RECORD_ALIGN, 0);
        record_encode(&message, number, body, size);
        journal_put_end(fixture->journal);
    }
    return err;
}

/* What was replayed is what was put. */
static void check_body(enum journal_type type, uint64_t number, struct str body)
{
    static char bytes[1 << 20];
    if (type == JOURNAL_CURSOR) {
        assert_true(body.size >= CURSOR_SIZE && body.size <= sizeof(bytes));
        fill(bytes, CURSOR_SIZE, number);
        assert_memory_equal(body.data, bytes, CURSOR_SIZE);
        return;
    }
    static struct record record;
    assert_int_equal(type, JOURNAL_RECORD);
    assert_int_equal(record_decode(body, &record), ERR_OK);
    assert_int_equal(record.size, body.size);
    assert_int_equal(record.sequence, number);
    fill(bytes, RECORD_BODY_SIZE, number);
    assert_int_equal(record.message.body.size, RECORD_BODY_SIZE);
    assert_memory_equal(record.message.body.data, bytes, RECORD_BODY_SIZE);
}

/* --- opening -------------------------------------------------------------- */

static enum err replay_entry(void *context,
                             enum journal_type type,
                             uint64_t topic_id,
                             struct str body)
{
    struct journal_fixture *fixture = context;
    check_body(type, topic_id, body);
    assert_true(fixture->count < JOURNAL_FIXTURE_MAX);
    fixture->numbers[fixture->count] = topic_id;
    fixture->count++;
    return ERR_OK;
}

static void replay_damaged(void *context,
                           uint64_t topic_id,
                           struct journal_place place,
                           uint64_t size)
{
    struct journal_fixture *fixture = context;
    (void)topic_id;
    (void)place;
    assert_true(size > 0);
    fixture->damaged++;
    fixture->damaged_bytes += size;
}

static void
replay_progress(void *context, uint64_t done_bytes, uint64_t all_bytes)
{
    struct journal_fixture *fixture = context;
    assert_true(done_bytes >= fixture->done_bytes && done_bytes <= all_bytes);
    fixture->done_bytes = done_bytes;
    fixture->all_bytes = all_bytes;
}

enum err journal_fixture_open(struct journal_fixture *fixture)
{
    struct journal_replay replay = {
        .entry = replay_entry,
        .damaged = replay_damaged,
        .progress = replay_progress,
        .context = fixture,
    };
    assert_null(fixture->journal);
    fixture->count = 0;
    fixture->damaged = 0;
    fixture->damaged_bytes = 0;
    fixture->done_bytes = 0;
    fixture->all_bytes = 0;
    return journal_open(&fixture->options, fixture->from, &replay,
                        &fixture->journal);
}

/* --- committing ----------------------------------------------------------- */

static void committed(void *context, enum err err)
{
    struct journal_fixture *fixture = context;
    fixture->committed = true;
    fixture->err = err;
    if (err != ERR_OK) {
        journal_drop(fixture->journal);
    }
}

enum err journal_fixture_commit(struct journal_fixture *fixture, bool durable)
{
    fixture->committed = false;
    journal_commit(fixture->journal,
                   durable ? JOURNAL_DURABLE : JOURNAL_WRITTEN, committed,
                   fixture);
    LOOP_UNTIL(fixture->io, fixture->committed);
    assert_false(journal_committing(fixture->journal));
    return fixture->err;
}

void journal_fixture_append(struct journal_fixture *fixture,
                            uint64_t first,
                            uint64_t end,
                            uint64_t batch)
{
    for (uint64_t number = first; number < end; number++) {
        /* Without a file there is one when the helper has made it. */
        enum err err = journal_fixture_put(fixture, number, 0);
        while (err == ERR_BUSY && journal_busy(fixture->journal)) {
            io_run_turn(fixture->io, 100);
            err = journal_fixture_put(fixture, number, 0);
        }
        assert_int_equal(err, ERR_OK);
        if ((number - first + 1) % batch == 0 || number + 1 == end) {
            assert_int_equal(journal_fixture_commit(fixture, true), ERR_OK);
        }
    }
}

void journal_fixture_expect(const struct journal_fixture *fixture,
                            uint64_t first,
                            uint64_t end)
{
    assert_int_equal(fixture->count, end - first);
    for (uint64_t i = 0; i < end - first; i++) {
        assert_int_equal(fixture->numbers[i], first + i);
    }
}

/* --- files ---------------------------------------------------------------- */

void journal_fixture_path(const struct journal_fixture *fixture,
                          unsigned slot,
                          char path[JOURNAL_FIXTURE_PATH_MAX])
{
    (void)snprintf(path, JOURNAL_FIXTURE_PATH_MAX, "%s/%u.jnl",
                   fixture->directory, slot);
}

char *journal_fixture_load(const struct journal_fixture *fixture,
                           unsigned slot,
                           size_t *out_size)
{
    char path[JOURNAL_FIXTURE_PATH_MAX];
    char *data = NULL;
    journal_fixture_path(fixture, slot, path);
    assert_int_equal(file_load(path, 1 << 30, &data, out_size), ERR_OK);
    return data;
}

static void store_path(const char *path, const char *data, size_t size)
{
    int fd = -1;
    /* Not emptied before: ext4 would write it to the disk on closing. */
    assert_int_equal(file_open(path, FILE_WRITE | FILE_CREATE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, data, size, 0, false), ERR_OK);
    assert_int_equal(file_truncate(fd, size), ERR_OK);
    file_close(fd);
}

void journal_fixture_store(const struct journal_fixture *fixture,
                           unsigned slot,
                           const char *data,
                           size_t size)
{
    char path[JOURNAL_FIXTURE_PATH_MAX];
    journal_fixture_path(fixture, slot, path);
    store_path(path, data, size);
}

struct copying {
    const char *from;
    const char *to;
};

static enum err copy_one(void *context, const char *name, bool is_directory)
{
    const struct copying *copying = context;
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;
    assert_false(is_directory);
    assert_int_equal(dir_join(path, copying->from, name), ERR_OK);
    assert_int_equal(file_load(path, 1 << 30, &data, &size), ERR_OK);
    assert_int_equal(dir_join(path, copying->to, name), ERR_OK);
    store_path(path, data, size);
    free(data);
    return ERR_OK;
}

void journal_fixture_copy(const struct journal_fixture *fixture, const char *to)
{
    struct copying copying = {fixture->directory, to};
    assert_int_equal(dir_each(fixture->directory, copy_one, &copying), ERR_OK);
}
