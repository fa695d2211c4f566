/* The bodies in files that records name: which of them are missing or damaged.
 *
 * What was found is kept until all is read, for the journal may say later that
 * the message was dropped, or its topic deleted, and its body with it.
 *
 * Threads: one. Checking blocks on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_VERIFY_BODIES_H
#define OPQ_CLI_VERIFY_BODIES_H

#include "base/err.h"
#include "log/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A body that is not what it was. */
struct verify_body {
    char *topic; /* owned */
    uint64_t sequence;
    enum err err;    /* ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO ... */
    bool in_journal; /* so its record is */
};

/* Zeroed: none. */
struct verify_bodies {
    const char *directory; /* borrowed: the data directory */
    struct verify_body *bodies;
    size_t count;
    size_t capacity;
};

/* Read the body of a record, if it lies in a file, and keep what is wrong.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err verify_bodies_check(struct verify_bodies *bodies,
                                        const char *topic,
                                        const struct record *record,
                                        bool in_journal);

/* Forget what was found of messages below `oldest`. */
void verify_bodies_trim(struct verify_bodies *bodies,
                        const char *topic,
                        uint64_t oldest);

/* Forget what was found of records in the journal: the topic was deleted. */
void verify_bodies_delete(struct verify_bodies *bodies, const char *topic);

/* Free it. */
void verify_bodies_fini(struct verify_bodies *bodies);

#endif
