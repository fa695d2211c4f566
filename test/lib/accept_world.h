/* A place for tests of queue/accept: a loop, a store in memory, one topic "t",
 * and pushes that tell what became of them. One at a time, for tests that
 * LOOP_TEST() names. Any failure fails the test.
 *
 *     accept_world_begin(state);
 *     accept_world_push_id(&push, "one");
 *     accept_world_stored(&push, 0);
 *     accept_world_restart();
 *     ...
 *     accept_world_finish();
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_ACCEPT_WORLD_H
#define OPQ_TEST_LIB_ACCEPT_WORLD_H

#include "queue/accept.h"

#include <stdbool.h>
#include <stdint.h>

/* One push, and what became of it. */
struct accept_world_push {
    struct accept_op op;
    struct accept_wants wants;
    void *record; /* owned; of one that is encoded */
    enum err err;
    uint32_t done; /* calls */
    uint32_t order;
};

struct accept_world {
    struct io *io;
    struct store *store;
    struct accept *accept;
    struct topic *topic;
    uint32_t dedup_max;
    uint32_t orders;  /* of done() calls */
    uint32_t changes; /* calls of topic_changed() */
};

extern struct accept_world accept_world;

/* Make loop, store and accept, with room for 1,000 ids. */
void accept_world_begin(void **state);

/* Free all of it; no reader is left. */
void accept_world_finish(void);

/* What a start does, with the store as it is, and dedup_max as it was set. */
void accept_world_start(void);

/* What an end does, but for the store. */
void accept_world_stop(void);

/* Both, without a turn between. */
void accept_world_restart(void);

/* A message pushed now, of text. */
struct message accept_world_message(const char *body);

/* Push a message; encoded before, as one that was carried over, if `encoded`.
 * What `push->wants` expects counts. Returns what the call said. */
enum err accept_world_push(struct accept_world_push *push,
                           const struct message *message,
                           bool encoded);

/* Push a message with options, or NULL. */
void accept_world_push_options(struct accept_world_push *push,
                               const char *body,
                               const struct message_options *options);

/* Push a message with a dedup id. */
void accept_world_push_id(struct accept_world_push *push, const char *id);

/* Push a message with a collapse key. */
void accept_world_push_key(struct accept_world_push *push, const char *key);

/* Run until a push has ended, which it does once. */
void accept_world_await(struct accept_world_push *push);

/* Await it; it was stored. */
void accept_world_stored(struct accept_world_push *push, uint64_t sequence);

/* Await it; it is a duplicate of that one. */
void accept_world_duplicate(struct accept_world_push *push, uint64_t sequence);

/* Await it; it was not given to the store. */
void accept_world_refused(struct accept_world_push *push, enum err err);

/* Messages of the topic. */
uint64_t accept_world_end(void);

/* Tell whether the topic's settings in the store have a line. */
bool accept_world_settings_have(struct str line);

/* Run until the log is read. */
void accept_world_walked(void);

#endif
