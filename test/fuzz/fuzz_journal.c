/* Fuzz recovery of log/journal: any bytes as a file of it, and whole batches
 * with some bytes changed. Of those, what a change did not hit survives.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "log/journal.h"
#include "log/journal_entry.h"
#include "log/record.h"
#include "sys/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    FILE_SIZE_MAX = 64 * 1024,
    ENTRIES_MAX = 256,
    CHANGE_SIZE = 4, /* bytes of a change in the input */
};

static char directory[256];
static char path[sizeof(directory) + 8];
static int file_fd = -1;

static char bytes[FILE_SIZE_MAX + 4096];
static size_t bytes_size;
static size_t starts[ENTRIES_MAX];
static size_t ends[ENTRIES_MAX];
static uint32_t built;
static uint32_t last_batch; /* the first entry of it */

static uint64_t found[ENTRIES_MAX * 64];
static uint32_t found_count;
static uint64_t damaged_bytes;

static enum err replay_entry(void *context,
                             enum journal_type type,
                             uint64_t topic_id,
                             struct str body)
{
    (void)context;
    CHECK(type >= JOURNAL_RECORD && type < JOURNAL_ABORT);
    CHECK(type != JOURNAL_RECORD || record_check(body) == ERR_OK);
    CHECK(found_count < sizeof(found) / sizeof(found[0]));
    found[found_count] = topic_id;
    found_count++;
    return ERR_OK;
}

static void replay_damaged(void *context,
                           uint64_t topic_id,
                           struct journal_place place,
                           uint64_t size)
{
    (void)context;
    (void)topic_id;
    CHECK(size > 0 && place.offset + size <= bytes_size);
    damaged_bytes += size;
}

static void clean_up(void)
{
    (void)remove(path);
    (void)remove(directory);
}

/* Make the one file of the journal, in a directory of this process. */
static void make_file(void)
{
    static bool made;
    const char *where = getenv("TMPDIR");
    (void)snprintf(directory, sizeof(directory), "%s/opq-fuzz-journal.XXXXXX",
                   where != NULL ? where : "/tmp");
    if (mkdtemp(directory) == NULL) {
        perror("fuzz_journal: mkdtemp");
        abort();
    }
    (void)snprintf(path, sizeof(path), "%s/0.jnl", directory);
    CHECK(file_open(path, FILE_WRITE | FILE_CREATE, &file_fd) == ERR_OK);
    if (!made) {
        made = true;
        CHECK(atexit(clean_up) == 0);
    }
}

static void write_file(void)
{
    if (file_fd < 0) {
        make_file();
    }
    enum err err = file_write_at(file_fd, bytes, bytes_size, 0, false);
    if (err == ERR_OK) {
        err = file_truncate(file_fd, bytes_size);
    }
    if (err != ERR_OK) {
        (void)fprintf(stderr, "fuzz_journal: writing %s: %s\n", path,
                      err_name(err));
        abort();
    }
}

/* Runs are long, and /tmp is everyone's: somebody who tidies it up there must
 * not look like a finding. */
static bool file_is_gone(void)
{
    struct stat status;
    CHECK(fstat(file_fd, &status) == 0);
    return status.st_nlink == 0;
}

static enum err recover_once(struct journal **out)
{
    struct journal_options options = {
        .directory = directory,
        .file_size = FILE_SIZE_MAX,
        .files_max = 1,
    };
    struct journal_replay replay = {
        .entry = replay_entry,
        .damaged = replay_damaged,
    };
    found_count = 0;
    damaged_bytes = 0;
    write_file();
    return journal_open(&options, (struct journal_place){0}, &replay, out);
}

static void recover(void)
{
    struct journal *journal = NULL;
    enum err err = recover_once(&journal);
    if (file_is_gone()) {
        (void)fprintf(stderr,
                      "fuzz_journal: %s was removed under us (%s); anew\n",
                      path, err_name(err));
        journal_close(journal);
        journal = NULL;
        file_close(file_fd);
        file_fd = -1;
        clean_up();
        err = recover_once(&journal);
    }
    if (err != ERR_OK) {
        (void)fprintf(stderr,
                      "fuzz_journal: journal_open of %s: %s, errno %d (%s)\n",
                      path, err_name(err), errno, strerror(errno));
        abort();
    }
    CHECK(damaged_bytes <= bytes_size);
    journal_close(journal);
}

/* Build batches as the input says: a byte an entry, its size, and its highest
 * bit begins a batch. Every third one is a record. */
static void build(const uint8_t *plan, size_t plan_size)
{
    size_t at = 0;
    memset(bytes, 0, sizeof(bytes));
    built = 0;
    last_batch = 0;
    for (size_t i = 0; i < plan_size && built < ENTRIES_MAX; i++) {
        bool first = built == 0 || (plan[i] & 0x80) != 0;
        at = first ? (at + 4095) & ~(size_t)4095 : at;
        size_t body_size = (plan[i] & 0x7fU) + 1;
        struct message message = {
            .kind = MESSAGE_KIND_RAW,
            .body = {(const char *)plan, i},
        };
        bool is_record = i % 3 == 0;
        if (is_record) {
            CHECK(record_size(&message, &body_size) == ERR_OK);
        }
        size_t size = journal_entry_size(body_size);
        if (at + size > FILE_SIZE_MAX) {
            break;
        }
        char *entry = bytes + at;
        journal_entry_begin(entry, size,
                            is_record ? JOURNAL_RECORD : JOURNAL_CURSOR, built);
        char *body = entry + JOURNAL_ENTRY_HEAD_SIZE;
        if (is_record) {
            record_encode(&message, i, body, body_size);
        } else {
            memset(body, 0x40 + (plan[i] & 0x1f), body_size);
        }
        journal_entry_seal(entry, 7, at, first);
        last_batch = first ? built : last_batch;
        starts[built] = at;
        at += size;
        ends[built] = at;
        built++;
    }
    bytes_size = (at + 4095) & ~(size_t)4095;
}

/* A byte at `offset` was changed: what is not hit is there. */
static void check_one_change(size_t offset)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < built; i++) {
        bool hit = offset >= starts[i] && offset < ends[i];
        if (hit && i >= last_batch) {
            break; /* taken for the place where the last write was torn */
        }
        if (hit) {
            continue;
        }
        CHECK(at < found_count && found[at] == i);
        at++;
    }
    CHECK(found_count == at);
}

static void changed_batches(const uint8_t *data, size_t size)
{
    size_t change_count = size > 0 ? data[0] % 4U : 0;
    size_t changes_size = 1 + change_count * CHANGE_SIZE;
    if (size < changes_size) {
        return;
    }
    build(data + changes_size, size - changes_size);
    if (built == 0) {
        return;
    }
    CHECK(bytes_size > 0);
    size_t offset = 0;
    for (size_t i = 0; i < change_count; i++) {
        const uint8_t *change = data + 1 + i * CHANGE_SIZE;
        offset =
            ((size_t)change[0] << 16 | (size_t)change[1] << 8 | change[2]) %
            bytes_size;
        bytes[offset] ^= (char)(change[3] | 1);
    }
    recover();
    if (change_count == 0) {
        CHECK(found_count == built && damaged_bytes == 0);
    } else if (change_count == 1) {
        check_one_change(offset);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        changed_batches(data + 1, size - 1);
        return 0;
    }
    bytes_size = size - 1 < FILE_SIZE_MAX ? size - 1 : FILE_SIZE_MAX;
    memcpy(bytes, data + 1, bytes_size);
    recover();
    return 0;
}
