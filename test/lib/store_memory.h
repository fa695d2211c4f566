/* A store in memory, for tests of what stands on a store: the contract of
 * store/store.h without a disk, and ways to make it behave badly.
 *
 * What is given during a turn of the loop is committed by the store's hook at
 * its end, or fails as a whole when store_memory_fail_commits() says so.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_STORE_MEMORY_H
#define OPQ_TEST_LIB_STORE_MEMORY_H

#include "base/err.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

/* Make an empty store. Gives: `*out`, for store_close() or, when no loop runs
 * any more, store_memory_destroy(). Errors: ERR_NOMEM */
MUST_CHECK enum err store_memory_create(struct io *io, struct store **out);

/* Free it with all its topics; changes not yet committed are forgotten, their
 * done() is not called. */
void store_memory_destroy(struct store *store);

/* While `cold`, a record that was not asked for just before is there only in
 * the next turn: ERR_AGAIN, then ready(). */
void store_memory_cold(struct store *store, bool cold);

/* Let the next `count` reads fail with `err`. */
void store_memory_fail_reads(struct store *store, enum err err, uint32_t count);

/* Let the next `count` commits fail with `err`. */
void store_memory_fail_commits(struct store *store,
                               enum err err,
                               uint32_t count);

/* Quarantine a message: readers go on behind it. */
void store_memory_lose(struct store_topic *topic, uint64_t sequence);

/* Drop messages before `oldest`, without moving the cursor, as retention that
 * discards the old may. */
void store_memory_trim(struct store_topic *topic, uint64_t oldest);

/* Let the bodies of all messages that say that theirs lies in a file be this
 * file; NULL: they are missing. Borrows: path. */
void store_memory_body(struct store *store, const char *path);

/* Bodies that were said to be damaged. */
uint32_t store_memory_damaged(const struct store *store);

/* Readers that exist now. */
uint32_t store_memory_readers(const struct store *store);

#endif
