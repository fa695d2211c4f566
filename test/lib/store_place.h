/* A local store in a directory of its own, for tests: opened, closed, opened
 * again, or left as a killed process leaves it.
 *
 *     store_place_create(&place) -> { store_place_open -> ...
 *         -> store_place_close or store_place_crash }* -> store_place_destroy
 *
 * Sizes are small, so that files, segments and batches end soon.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_STORE_PLACE_H
#define OPQ_TEST_LIB_STORE_PLACE_H

#include "base/err.h"
#include "store/store.h"
#include "store/store_local.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

struct store_place {
    char root[64];       /* of all that is made here */
    char directory[128]; /* the data directory in use */
    uint32_t crashes;    /* copies made */
    struct store_local_options options;
    struct store_local_data *data; /* owned while open */
    struct store *store;           /* owned while open; of shard 0 */
    struct io *io;                 /* borrowed while open */
    uint32_t fatal_count;          /* calls of options.fatal */
};

/* Make an empty directory and small options. */
void store_place_create(struct store_place *place);

/* Use a data directory that is there, with the same options. */
void store_place_use(struct store_place *place, const char *directory);

/* Remove the directory with all that is in it. The store is closed. */
void store_place_destroy(struct store_place *place);

/* Prepare the directory and open shard 0.
 * Errors: those of store_local_prepare() and store_local_open() */
MUST_CHECK enum err store_place_open(struct store_place *place, struct io *io);

/* Close the store, running the loop until it is, and release the directory. */
void store_place_close(struct store_place *place);

/* As if the process had been killed now: the next store_place_open() finds the
 * directory as it is at this moment. Then the store, which goes on in the old
 * directory, is closed. */
void store_place_crash(struct store_place *place);

/* Copy the directory as it is to `to`, which is made. */
void store_place_copy(const struct store_place *place, const char *to);

/* Copy the directory, of which no store is open, to `to`, in place of what is
 * there: for a look, should what follows fail. */
void store_place_keep(const struct store_place *place, const char *to);

/* Write the path of a file or folder of the directory. */
void store_place_path(const struct store_place *place,
                      const char *name,
                      char *path);

/* --- operations, waited for ----------------------------------------------- */

struct store_wait {
    struct store_op op;
    uint32_t done_count; /* calls of done() */
    uint32_t order;      /* of its first, counted over all */
    enum err err;        /* what it said */
};

/* Make it ready for an operation. */
void store_wait_init(struct store_wait *wait, enum durability durability);

/* Run the loop until it is done. Returns what done() said. */
enum err store_wait_run(struct io *io, struct store_wait *wait);

/* Begin to append a raw message with a body of `size` bytes that tells its
 * number. Returns what store_append() said. */
enum err store_wait_append(struct store_topic *topic,
                           struct store_wait *wait,
                           uint64_t number,
                           size_t size);

/* Append and wait. Returns the first error. */
enum err store_place_append(struct io *io,
                            struct store_topic *topic,
                            uint64_t number,
                            size_t size);

/* Open a topic, made when it is not there; fails the test when it cannot. */
struct store_topic *store_place_topic(struct store *store, const char *name);

/* Open a topic that is there; NULL when it is not. */
struct store_topic *store_place_find(struct store *store, const char *name);

/* Read one message, waiting for the block. Returns what reader_next() said. */
enum err store_place_read(struct io *io,
                          struct store_reader *reader,
                          uint64_t sequence,
                          struct record *out_record);

/* Tell whether a record is the one that store_wait_append() made. */
bool store_place_is(const struct record *record, uint64_t number, size_t size);

/* Fail the test unless the topic holds messages `first` to `end`, each with
 * its own sequence as its number, of `size` bytes. */
void store_place_expect(struct io *io,
                        struct store_topic *topic,
                        uint64_t first,
                        uint64_t end,
                        size_t size);

#endif
