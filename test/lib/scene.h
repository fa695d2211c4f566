/* A scene for deliveries: a loop, a store in memory, an HTTP client, a
 * deliverer, topics, and scripted targets. One at a time, for tests that
 * LOOP_TEST() names.
 *
 *     scene_begin(state);
 *     scene.options.in_flight_max = 8;      whatever the test wants
 *     scene_start();
 *     ...
 *     scene_finish();
 *
 * Any failure fails the test.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_SCENE_H
#define OPQ_TEST_LIB_SCENE_H

#include "lib/store_memory.h"
#include "lib/target.h"
#include "queue/deliverer.h"
#include "queue/topic.h"

#include <stdbool.h>
#include <stdint.h>

enum { SCENE_TOPICS_MAX = 300, SCENE_PUSHES_MAX = 4096 };

struct scene {
    struct io *io;
    struct store *store;
    struct http_client *client;
    struct deliverer *deliverer;
    struct deliverer_options options;
    struct topic *topics[SCENE_TOPICS_MAX]; /* "t0", "t1", ... */
    uint32_t topic_count;
    struct store_op pushes[SCENE_PUSHES_MAX];
    uint32_t push_count;
    uint32_t pushed; /* done */
};

extern struct scene scene;

/* Make loop, store and client, and fill in options: back-off of 2 to 16 ms,
 * Retry-After cut at 100 ms, 64 in flight. */
void scene_begin(void **state);

/* Make the deliverer. */
void scene_start(void);

/* Detach all topics and free everything but the targets. */
void scene_finish(void);

/* Make a topic that nobody delivers yet. */
struct topic *scene_make_topic(void);

/* Have a topic delivered. */
void scene_attach(struct topic *topic);

/* Both. */
struct topic *scene_make_attached(void);

/* Push a message. `message` is not kept. */
void scene_push_message(struct topic *topic, const struct message *message);

/* Push a raw "hello" to a URL. */
void scene_push_url(struct topic *topic, const char *url);

/* Push `count` of those to a port of 127.0.0.1. */
void scene_push_to(struct topic *topic, uint16_t port, int count);

/* Start a target. Gives: it, for target_stop(). */
struct target *scene_make_target(target_script *script, void *context);

/* deliverer_view() by value. */
struct delivery_view scene_view_of(const struct topic *topic);

/* The topic's cursor. */
uint64_t scene_next_of(const struct topic *topic);

/* Scripts. */

/* Hold everything. */
target_script scene_hold;

/* Hold the message whose number the uint64_t `context` is, while it is. */
target_script scene_hold_one;

/* Fail each message's first attempts, as many as the uint64_t `context` says,
 * in five ways one after the other: 500, 404, 302, 429, connection closed. */
target_script scene_fail_first;

/* Answer 503 with Retry-After: 9 as long as the bool `context`. */
target_script scene_ask_for_a_pause;

/* Answer with the text that `context`, a pointer to one, points to. */
target_script scene_answer_with;

#endif
