/* A place in a topic's log, as requests name it: "oldest", "new", a sequence
 * number, or a time.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_PLACE_H
#define OPQ_ADMIN_API_PLACE_H

#include "base/err.h"
#include "base/str.h"
#include "store/store.h"

#include <stdint.h>

/* What api_place_read() wants, for people. */
#define API_PLACE_WANTED                                                       \
    "new, oldest, a sequence number, or a time as 2026-01-02T03:04:05Z"

struct api_place {
    enum {
        API_PLACE_NEW, /* behind the last message */
        API_PLACE_OLDEST,
        API_PLACE_SEQUENCE,
        API_PLACE_TIME, /* the first message pushed at or after it */
    } kind;
    uint64_t value; /* the sequence, or Unix time in milliseconds */
};

/* Read a place. A number is always a sequence.
 * Errors: ERR_INVALID  it is none */
MUST_CHECK enum err api_place_read(struct str text,
                                   struct api_place *out_place);

/* Find the sequence of a place.
 * Errors: ERR_RANGE  a sequence outside of what is kept
 *         ERR_IO */
MUST_CHECK enum err api_place_find(const struct api_place *place,
                                   struct store_topic *topic,
                                   uint64_t *out_sequence);

#endif
