/* A place with an open store, for the suite of a store's contract. What fails
 * here fails the test.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_CONTRACT_WORLD_H
#define OPQ_TEST_CONTRACT_WORLD_H

#include "contract/store_contract.h"
#include "lib/loop.h"
#include "lib/store_place.h"

/* The implementation being tested. */
extern const struct store_contract *tested;

struct world {
    void *place;
    struct io *io;
    struct store *store;
};

/* Make a place and open its store. */
struct world world_make(void **state);

/* Open the store again. */
void world_open(struct world *world);

/* For store_close(): sets the bool that `context` is. */
void world_closed(void *context);

/* Close the store. */
void world_close(struct world *world);

/* Close it and open it again. */
void world_reopen(struct world *world);

/* End it as a kill would, and open it again. */
void world_crash(struct world *world);

/* Close it and remove the place. */
void world_end(struct world *world);

/* A topic, made when it is not there. */
struct store_topic *world_topic(struct world *world, const char *name);

/* Append messages number `first` up to `end`, many at a time. */
void world_fill(struct world *world,
                struct store_topic *topic,
                uint64_t first,
                uint64_t end,
                size_t size);

/* Move the cursor. Returns what done() said. */
enum err
world_move(struct world *world, struct store_topic *topic, uint64_t next);

/* Purge. Returns what done() said. */
enum err
world_purge(struct world *world, struct store_topic *topic, uint64_t before);

/* Delete. Returns what done() said. */
enum err world_delete(struct world *world, struct store_topic *topic);

/* Configure. Returns what done() said. */
enum err world_configure(struct world *world,
                         struct store_topic *topic,
                         struct str settings,
                         const struct store_retention *retention);

/* Note progress of delivery. */
void world_deliver(struct store_topic *topic, uint64_t next, uint32_t attempts);

#endif
