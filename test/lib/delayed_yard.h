/* A shard with delayed messages on a real store, for tests, with a clock that
 * the test sets. One at a time; sizes are those of store_place.h.
 *
 *     yard_begin -> { yard_push... -> yard_wall_to -> yard_number_at
 *         -> yard_reopen or yard_crash }* -> yard_end
 *
 * Whatever fails fails the test.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_DELAYED_YARD_H
#define OPQ_TEST_LIB_DELAYED_YARD_H

#include "lib/store_place.h"
#include "queue/delayed_internal.h"

#include <stdbool.h>
#include <stdint.h>

enum { HOUR_MS = DELAYED_HOUR_MS };

/* The clock at yard_begin(): the beginning of an hour. */
#define YARD_NOON_MS UINT64_C(1800000000000)

/* A shard with delayed messages. One at a time. */
struct yard {
    struct store_place place;
    struct io *io;
    struct shard_group group;
    struct shard shard;
    struct delayed *delayed;
    uint64_t wall_ms;
    uint32_t index_max;
    uint64_t trim_bytes;
    uint32_t begun;  /* pushes, by yard_push_paced() */
    uint32_t pushed; /* done without error */
    enum err push_err;
};

extern struct yard yard;

struct yard_push {
    struct delayed_push base;
    char *record; /* owned */
    bool again;   /* until it is stored: the store may be busy */
};

/* Make it, on the loop of a test, and start; as in struct delayed_options. */
void yard_begin(void **state, uint32_t index_max, uint64_t trim_bytes);

/* Stop as a server does. */
void yard_close(void);

/* Start on what is stored, after yard_close(). */
void yard_open(void);

/* Both. */
void yard_reopen(void);

/* As if the process had been killed now, and started again. */
void yard_crash(void);

/* Close and remove it. */
void yard_end(void);

/* Begin a push of "<number>", due `delay_ms` from now. Borrowed, until it is
 * done. */
struct yard_push *
yard_push(const char *topic, uint64_t number, uint64_t delay_ms);

/* Wait until so many are done without error. */
void yard_push_wait(uint32_t count);

/* Push; every so many, wait for them: the store's batches are small. */
void yard_push_paced(const char *topic, uint64_t number, uint64_t delay_ms);

/* A topic; NULL: there is none. */
struct store_topic *yard_topic(const char *name);

/* How many messages a topic has had. */
uint64_t yard_end_of(const char *name);

/* Read the number of a message that was handed on, and the id, if that is
 * wanted: DUE_ID_MAX bytes. */
uint64_t yard_number_at(const char *name, uint64_t sequence, char *id);

/* Let the clock go on, and those who look at it now and then notice. */
void yard_wall_to(uint64_t wall_ms);

/* Cancel a message, and wait for it. Errors: those of delayed_cancel(). */
enum err yard_cancel(struct delayed_bucket *bucket, uint64_t sequence);

/* The bucket of the hour of YARD_NOON_MS; NULL: there is none. */
struct delayed_bucket *yard_bucket(void);

#endif
