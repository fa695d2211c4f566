/* A journal in a folder of its own, for tests: entries whose content tells
 * their number, replays that check and collect them, and ways to harm files.
 *
 * Any failure that is not the test's subject fails the test.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_JOURNAL_FIXTURE_H
#define OPQ_TEST_LIB_JOURNAL_FIXTURE_H

#include "lib/scratch.h"
#include "log/journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JOURNAL_FIXTURE_MAX = 4096, /* entries that a replay collects */
    JOURNAL_FIXTURE_PATH_MAX = 128,
};

struct journal_fixture {
    char directory[SCRATCH_PATH_MAX];
    struct io *io; /* borrowed */
    struct journal_options options;
    struct journal *journal;   /* owned while open */
    struct journal_place from; /* where the next open begins */

    /* What the last open replayed. */
    uint64_t numbers[JOURNAL_FIXTURE_MAX];
    uint32_t count;
    uint32_t damaged;
    uint64_t damaged_bytes;
    uint64_t done_bytes;
    uint64_t all_bytes;

    bool committed; /* the running commit ended, */
    enum err err;   /* so */
};

/* Make the folder; files of 64 KiB, four of them, batches of 16 KiB. */
void journal_fixture_create(struct journal_fixture *fixture, struct io *io);

/* Close if need be, and remove the folder. */
void journal_fixture_destroy(struct journal_fixture *fixture);

/* Open, replaying into `numbers`; returns what journal_open() said. */
enum err journal_fixture_open(struct journal_fixture *fixture);

/* Close, having waited for the helper. */
void journal_fixture_close(struct journal_fixture *fixture);

/* Put entry `number`: a record, or each third one a cursor. Its body is some
 * hundred bytes, or `body_size` when not 0. Returns what the put said. */
enum err journal_fixture_put(struct journal_fixture *fixture,
                             uint64_t number,
                             size_t body_size);

/* Bytes of the entry of a number on disk. */
size_t journal_fixture_entry_size(uint64_t number);

/* Commit what was put, and wait for the outcome. */
enum err journal_fixture_commit(struct journal_fixture *fixture, bool durable);

/* Put and commit entries [first, end), `batch` of them at a time. */
void journal_fixture_append(struct journal_fixture *fixture,
                            uint64_t first,
                            uint64_t end,
                            uint64_t batch);

/* Check that the last replay gave exactly the numbers [first, end). */
void journal_fixture_expect(const struct journal_fixture *fixture,
                            uint64_t first,
                            uint64_t end);

/* The path of a slot's file. */
void journal_fixture_path(const struct journal_fixture *fixture,
                          unsigned slot,
                          char path[JOURNAL_FIXTURE_PATH_MAX]);

/* Read a slot's file. Gives: memory, for free(); `*out_size`. */
char *journal_fixture_load(const struct journal_fixture *fixture,
                           unsigned slot,
                           size_t *out_size);

/* Make a slot's file be these bytes. */
void journal_fixture_store(const struct journal_fixture *fixture,
                           unsigned slot,
                           const char *data,
                           size_t size);

/* Copy all files of the folder to another one: what a kill leaves. */
void journal_fixture_copy(const struct journal_fixture *fixture,
                          const char *to);

#endif
