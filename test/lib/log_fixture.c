/* A topic's log in a folder of its own, for tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/log_fixture.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "log/record.h"
#include "log/segment.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { TIME_FIRST_MS = 1000000, COPY_SIZE = 65536 };

void log_fixture_create(struct log_fixture *fixture)
{
    const char *place = getenv("TMPDIR");
    *fixture = (struct log_fixture){
        .options =
            {
                .topic_id = 77,
                .segment_size_max = UINT64_C(1) << 30,
                .segment_count_max = 1000000,
            },
        .payload_size = 40,
        .time_step_ms = 10,
    };
    (void)snprintf(fixture->root, sizeof(fixture->root), "%.32s/opq-log-XXXXXX",
                   place != NULL ? place : "/tmp");
    assert_non_null(mkdtemp(fixture->root));
    (void)snprintf(fixture->directory, sizeof(fixture->directory), "%s/t",
                   fixture->root);
}

void log_fixture_destroy(struct log_fixture *fixture)
{
    log_fixture_close(fixture);
    assert_int_equal(dir_remove(fixture->root), ERR_OK);
}

void log_fixture_open(struct log_fixture *fixture, uint64_t checkpoint)
{
    assert_null(fixture->log);
    fixture->options.directory = fixture->directory;
    fixture->options.checkpoint = checkpoint;
    assert_int_equal(
        topic_log_open(&fixture->options, &fixture->log, &fixture->cursor),
        ERR_OK);
}

void log_fixture_close(struct log_fixture *fixture)
{
    topic_log_close(fixture->log);
    fixture->log = NULL;
}

/* The byte of a payload at a place: it tells the record's number. */
static char payload_byte(uint64_t sequence, size_t at)
{
    return (char)(uint8_t)(sequence * 31 + at * 7 + (at >> 8) + 1);
}

struct str log_fixture_record(uint64_t sequence,
                              uint64_t pushed_at_ms,
                              uint32_t payload_size)
{
    static struct buf buf;
    size_t used = RECORD_HEADER_SIZE + (size_t)payload_size;
    size_t size = (used + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
    buf_clear(&buf);
    assert_int_equal(buf_reserve(&buf, size), ERR_OK);
    assert_non_null(buf.data);
    memset(buf.data, 0, size);
    put_u32(buf.data, (uint32_t)size);
    put_u64(buf.data + 8, sequence);
    put_u64(buf.data + 16, pushed_at_ms);
    put_u32(buf.data + 24, payload_size);
    put_u16(buf.data + 30, 1);
    for (size_t i = 0; i < payload_size; i++) {
        buf.data[RECORD_HEADER_SIZE + i] = payload_byte(sequence, i);
    }
    put_u32(buf.data + 4, crc32c(0, buf.data + 8, used - 8));
    return (struct str){buf.data, size};
}

uint64_t log_fixture_time(const struct log_fixture *fixture, uint64_t sequence)
{
    return TIME_FIRST_MS + sequence * fixture->time_step_ms;
}

void log_fixture_append(struct log_fixture *fixture,
                        uint64_t first,
                        uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        struct str record = log_fixture_record(i, log_fixture_time(fixture, i),
                                               fixture->payload_size);
        assert_int_equal(topic_log_append(fixture->log, record), ERR_OK);
    }
}

void log_fixture_flush(struct log_fixture *fixture, uint64_t checkpoint)
{
    struct topic_flush *flush = NULL;
    struct topic_cursor *cursor = checkpoint != 0 ? &fixture->cursor : NULL;
    enum err err = topic_flush_begin(fixture->log, checkpoint, cursor, &flush);
    if (err == ERR_NOT_FOUND && cursor == NULL) {
        return;
    }
    assert_int_equal(err, ERR_OK);
    assert_int_equal(topic_flush_run(flush), ERR_OK);
    if (checkpoint != 0) {
        assert_int_equal(topic_flush_sync(flush), ERR_OK);
    }
    topic_flush_end(fixture->log, flush, ERR_OK);
}

/* --- read ----------------------------------------------------------------- */

/* Fail unless a whole record is the one of its number. */
static void check_record(struct str bytes, uint64_t sequence)
{
    struct segment_record record = {0};
    assert_int_equal(segment_record_head(bytes, &record), ERR_OK);
    assert_true(segment_record_whole(bytes, &record));
    assert_true(record.sequence == sequence);
    CHECK(bytes.data != NULL);
    for (size_t i = 0; i < record.payload_size; i++) {
        assert_true(bytes.data[RECORD_HEADER_SIZE + i] ==
                    payload_byte(sequence, i));
    }
}

/* Walk a file's place to a sequence (or past it). ERR_CORRUPT: damaged. */
static enum err read_file(const struct topic_place *place,
                          uint64_t sequence,
                          uint64_t *out_sequence)
{
    uint64_t wanted = place->damaged_skip && place->first > sequence
                          ? place->first
                          : sequence;
    struct segment_walk walk;
    segment_walk_init(&walk, place->fd, place->offset,
                      place->offset + place->size, place->first);
    struct segment_step step = {0};
    enum err err = ERR_OK;
    while (err == ERR_OK && walk.sequence <= wanted) {
        err = segment_walk_next(&walk, &step);
    }
    if (err == ERR_OK) {
        check_record(step.bytes, wanted);
        *out_sequence = wanted;
    }
    segment_walk_fini(&walk);
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

enum err log_fixture_read(struct log_fixture *fixture,
                          uint64_t sequence,
                          uint64_t *out_sequence)
{
    struct topic_place place;
    enum err err = topic_log_find(fixture->log, sequence, &place);
    for (int tries = 0; err == ERR_OK; tries++) {
        assert_true(tries < 10000);
        if (place.memory.size > 0) {
            assert_true(place.first >= sequence);
            struct segment_record record;
            assert_int_equal(segment_record_head(place.memory, &record),
                             ERR_OK);
            check_record(str_cut(place.memory, 0, record.size), place.first);
            *out_sequence = place.first;
            return ERR_OK;
        }
        err = read_file(&place, sequence, out_sequence);
        if (err != ERR_CORRUPT) {
            return err;
        }
        if (place.damaged_skip && place.first > sequence) {
            sequence = place.first;
        }
        err = topic_log_skip(fixture->log, sequence, &place);
    }
    return err;
}

void log_fixture_expect(struct log_fixture *fixture,
                        uint64_t first,
                        uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        uint64_t sequence = 0;
        enum err err = log_fixture_read(fixture, i, &sequence);
        if (err != ERR_OK || sequence != i) {
            fail_msg("read %llu: %s, %llu", (unsigned long long)i,
                     err_name(err), (unsigned long long)sequence);
        }
    }
}

const struct topic_log_stats *
log_fixture_stats(const struct log_fixture *fixture)
{
    return topic_log_stats(fixture->log);
}

/* --- files ---------------------------------------------------------------- */

void log_fixture_path(const struct log_fixture *fixture,
                      const char *name,
                      char path[LOG_FIXTURE_PATH_MAX])
{
    int size =
        snprintf(path, LOG_FIXTURE_PATH_MAX, "%s/%s", fixture->directory, name);
    assert_true(size > 0 && size < LOG_FIXTURE_PATH_MAX);
}

static int
open_file(const struct log_fixture *fixture, const char *name, int flags)
{
    char path[LOG_FIXTURE_PATH_MAX];
    log_fixture_path(fixture, name, path);
    int fd = open(path, flags | O_CLOEXEC, 0640);
    if (fd < 0 && (flags & O_ACCMODE) != O_RDONLY) {
        fail_msg("%s: %s", path, strerror(errno));
    }
    return fd;
}

int64_t log_fixture_size(const struct log_fixture *fixture, const char *name)
{
    int fd = open_file(fixture, name, O_RDONLY);
    if (fd < 0) {
        return -1;
    }
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(close(fd), 0);
    return status.st_size;
}

void log_fixture_flip(const struct log_fixture *fixture,
                      const char *name,
                      uint64_t offset)
{
    int fd = open_file(fixture, name, O_RDWR);
    char byte = 0;
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte = (char)(byte ^ 0x10);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    assert_int_equal(close(fd), 0);
}

void log_fixture_cut(const struct log_fixture *fixture,
                     const char *name,
                     uint64_t size)
{
    int fd = open_file(fixture, name, O_RDWR);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(close(fd), 0);
}

void log_fixture_write(const struct log_fixture *fixture,
                       const char *name,
                       uint64_t offset,
                       const void *data,
                       size_t size)
{
    int fd = open_file(fixture, name, O_RDWR | O_CREAT);
    assert_int_equal(pwrite(fd, data, size, (off_t)offset), size);
    assert_int_equal(close(fd), 0);
}

void log_fixture_remove(const struct log_fixture *fixture, const char *name)
{
    char path[LOG_FIXTURE_PATH_MAX];
    log_fixture_path(fixture, name, path);
    assert_int_equal(unlink(path), 0);
}

uint32_t log_fixture_remove_dropped(struct log_fixture *fixture)
{
    char *paths = topic_log_take_dropped(fixture->log);
    uint32_t count = 0;
    for (const char *path = paths; path != NULL && *path != '\0';
         path += strlen(path) + 1) {
        int rc = unlink(path);
        assert_true(rc == 0 || errno == ENOENT);
        count++;
    }
    free(paths);
    return count;
}

struct copy {
    const char *from;
    const char *to;
};

static enum err copy_file(void *context, const char *name, bool is_directory)
{
    const struct copy *copy = context;
    char from[LOG_FIXTURE_PATH_MAX * 2];
    char to[LOG_FIXTURE_PATH_MAX * 2];
    static char bytes[COPY_SIZE];
    assert_false(is_directory);
    (void)snprintf(from, sizeof(from), "%s/%s", copy->from, name);
    (void)snprintf(to, sizeof(to), "%s/%s", copy->to, name);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    assert_true(in >= 0 && out >= 0);
    for (ssize_t size = read(in, bytes, sizeof(bytes)); size > 0;
         size = read(in, bytes, sizeof(bytes))) {
        assert_int_equal(write(out, bytes, (size_t)size), size);
    }
    assert_int_equal(close(in), 0);
    assert_int_equal(close(out), 0);
    return ERR_OK;
}

void log_fixture_fork(struct log_fixture *fixture, const char *name)
{
    char to[sizeof(fixture->directory)];
    assert_null(fixture->log);
    int size = snprintf(to, sizeof(to), "%s/%s", fixture->root, name);
    assert_true(size > 0 && (size_t)size < sizeof(to));
    assert_int_equal(dir_create(to), ERR_OK);
    struct copy copy = {fixture->directory, to};
    assert_int_equal(dir_each(fixture->directory, copy_file, &copy), ERR_OK);
    memcpy(fixture->directory, to, sizeof(to));
}
