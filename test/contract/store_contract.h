/* One suite of tests for every implementation of store/store.h.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_CONTRACT_STORE_CONTRACT_H
#define OPQ_TEST_CONTRACT_STORE_CONTRACT_H

#include "base/err.h"
#include "store/store.h"
#include "sys/io.h"

/* An implementation, and where its stores live. */
struct store_contract {
    /* Make an empty place. Gives: the place, for destroy(). */
    void *(*create)(void);
    /* Remove it. No store is open. */
    void (*destroy)(void *place);
    /* Open the store of the place; later, open it again. */
    enum err (*open)(void *place, struct io *io, struct store **out);
    /* Let go of what open() took, after store_close(). */
    void (*closed)(void *place);
    /* End the open store as a kill of the process would. */
    void (*crash)(void *place);
};

/* Run the suite over every back end of the loop. Returns main()'s code. */
int store_contract_run(const struct store_contract *contract);

#endif
