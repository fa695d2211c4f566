/* A topic's log in a folder of its own, for tests: records whose content tells
 * their number, a reader as the store has one, and ways to harm files.
 *
 * Any failure that is not the test's subject fails the test.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_LOG_FIXTURE_H
#define OPQ_TEST_LIB_LOG_FIXTURE_H

#include "base/err.h"
#include "base/str.h"
#include "log/topic_log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_FIXTURE_PATH_MAX = 256 };

struct log_fixture {
    char root[64];       /* made by log_fixture_create() */
    char directory[128]; /* the topic's folder in it; not made */
    struct topic_log_options options;
    struct topic_log *log; /* owned while open */
    struct topic_cursor cursor;
    uint32_t payload_size; /* of records that are appended; 40 at first */
    uint64_t time_step_ms; /* between records; 10 at first */
};

/* Make the root, and options: topic 77, no checkpoint, large segments. */
void log_fixture_create(struct log_fixture *fixture);

/* Close the log if need be, and remove the root. */
void log_fixture_destroy(struct log_fixture *fixture);

/* Open the log, as after a restart that knows checkpoint `checkpoint`. */
void log_fixture_open(struct log_fixture *fixture, uint64_t checkpoint);

/* Close the log without a flush, as a kill does. */
void log_fixture_close(struct log_fixture *fixture);

/* Make the record of a number; borrowed until the next call. */
struct str log_fixture_record(uint64_t sequence,
                              uint64_t pushed_at_ms,
                              uint32_t payload_size);

/* When the record of a number was pushed: 1,000,000 and a step for each. */
uint64_t log_fixture_time(const struct log_fixture *fixture, uint64_t sequence);

/* Append records [first, end). */
void log_fixture_append(struct log_fixture *fixture,
                        uint64_t first,
                        uint64_t end);

/* Flush what is in memory; with `checkpoint` not 0, with state and a sync. */
void log_fixture_flush(struct log_fixture *fixture, uint64_t checkpoint);

/* Read the record at or after a sequence as a reader of the store does:
 * through damage, checking it. Returns ERR_OK, or what ended the search. */
enum err log_fixture_read(struct log_fixture *fixture,
                          uint64_t sequence,
                          uint64_t *out_sequence);

/* Fail unless each of [first, end) is read as itself. */
void log_fixture_expect(struct log_fixture *fixture,
                        uint64_t first,
                        uint64_t end);

/* Figures. */
const struct topic_log_stats *
log_fixture_stats(const struct log_fixture *fixture);

/* The path of a file in the topic's folder. */
void log_fixture_path(const struct log_fixture *fixture,
                      const char *name,
                      char path[LOG_FIXTURE_PATH_MAX]);

/* The size of a file in the topic's folder; -1: it is not there. */
int64_t log_fixture_size(const struct log_fixture *fixture, const char *name);

/* Change a byte of a file. */
void log_fixture_flip(const struct log_fixture *fixture,
                      const char *name,
                      uint64_t offset);

/* Cut a file, or lengthen it with zeros. */
void log_fixture_cut(const struct log_fixture *fixture,
                     const char *name,
                     uint64_t size);

/* Write bytes into a file, made if need be. */
void log_fixture_write(const struct log_fixture *fixture,
                       const char *name,
                       uint64_t offset,
                       const void *data,
                       size_t size);

/* Remove a file, which is there. */
void log_fixture_remove(const struct log_fixture *fixture, const char *name);

/* Remove the files that the log dropped, as the helper does. Returns how many
 * there were. */
uint32_t log_fixture_remove_dropped(struct log_fixture *fixture);

/* Copy the folder to another name in the root, and let the fixture use that
 * from now on: a crash, seen from the disk. The log is closed. */
void log_fixture_fork(struct log_fixture *fixture, const char *name);

#endif
