/* A scene for deliveries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/scene.h"

#include "http/client_internal.h"
#include "lib/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct scene scene;

void scene_begin(void **state)
{
    memset(&scene, 0, sizeof(scene));
    scene.io = loop_of(state);
    assert_int_equal(store_memory_create(scene.io, &scene.store), ERR_OK);
    struct http_client_options client = {
        .io = scene.io,
        .connect_timeout_ms = 2000,
        .idle_timeout_ms = 5000,
        .endpoint_connections_max = 256,
        .connections_max = 512,
        .keep_size_max = 1024,
        .drop_size_max = 16384,
    };
    assert_int_equal(http_client_create(&client, &scene.client), ERR_OK);
    scene.options = (struct deliverer_options){
        .io = scene.io,
        .client = scene.client,
        .in_flight_max = 64,
        .timeout_ms = 10000,
        .retry_first_ms = 2,
        .retry_max_ms = 16,
        .retry_after_max_ms = 100,
        .user_agent = "OPQ/test",
        .seed = 1,
    };
}

void scene_start(void)
{
    assert_int_equal(deliverer_create(&scene.options, &scene.deliverer),
                     ERR_OK);
}

void scene_finish(void)
{
    for (uint32_t i = 0; i < scene.topic_count; i++) {
        deliverer_detach(scene.topics[i]);
        topic_destroy(scene.topics[i]);
    }
    deliverer_destroy(scene.deliverer);
    http_client_close_idle(scene.client);
    LOOP_UNTIL(scene.io, scene.client->closing == 0);
    http_client_destroy(scene.client);
    assert_int_equal(store_memory_readers(scene.store), 0);
    store_memory_destroy(scene.store);
    LOOP_TURNS(scene.io, 2);
}

/* Make a topic that nobody delivers yet. */
struct topic *scene_make_topic(void)
{
    struct store_topic *stored = NULL;
    struct topic *topic = NULL;
    char name[TARGET_TOPIC_MAX];

    assert_true(scene.topic_count < SCENE_TOPICS_MAX);
    (void)snprintf(name, sizeof(name), "t%u", (unsigned)scene.topic_count);
    assert_int_equal(
        store_topic_open(scene.store, str_from(name), true, &stored), ERR_OK);
    assert_int_equal(topic_create(stored, &topic), ERR_OK);
    scene.topics[scene.topic_count++] = topic;
    return topic;
}

void scene_attach(struct topic *topic)
{
    assert_int_equal(deliverer_attach(scene.deliverer, topic), ERR_OK);
}

struct topic *scene_make_attached(void)
{
    struct topic *topic = scene_make_topic();

    scene_attach(topic);
    return topic;
}

static void push_done(struct store_op *op, enum err err)
{
    (void)op;
    assert_int_equal(err, ERR_OK);
    scene.pushed++;
}

void scene_push_message(struct topic *topic, const struct message *message)
{
    assert_true(scene.push_count < SCENE_PUSHES_MAX);
    struct store_op *op = &scene.pushes[scene.push_count++];

    op->done = push_done;
    assert_int_equal(store_append(topic->store, message, op), ERR_OK);
}

void scene_push_url(struct topic *topic, const char *url)
{
    struct message message = {
        .url = str_from(url),
        .kind = MESSAGE_KIND_RAW,
        .body = STR("hello"),
        .content_type = STR("text/plain"),
    };

    scene_push_message(topic, &message);
}

void scene_push_to(struct topic *topic, uint16_t port, int count)
{
    char url[64];

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/sink",
                   (unsigned)port);
    for (int i = 0; i < count; i++) {
        scene_push_url(topic, url);
    }
}

struct target *scene_make_target(target_script *script, void *context)
{
    struct target *target = NULL;

    assert_int_equal(target_start(scene.io, &target), ERR_OK);
    target_set_script(target, script, context);
    return target;
}

struct delivery_view scene_view_of(const struct topic *topic)
{
    struct delivery_view view;

    deliverer_view(topic, &view);
    return view;
}

uint64_t scene_next_of(const struct topic *topic)
{
    return topic->store->cursor.next;
}

/* --- scripts -------------------------------------------------------------- */

enum target_act scene_hold(void *context,
                           const struct target_request *request,
                           struct str body,
                           struct buf *answer)
{
    (void)context;
    (void)request;
    (void)body;
    (void)answer;
    return TARGET_HOLD;
}

/* Hold the message whose sequence number `context` points to, while it does. */
enum target_act scene_hold_one(void *context,
                               const struct target_request *request,
                               struct str body,
                               struct buf *answer)
{
    const uint64_t *held = context;

    (void)body;
    (void)answer;
    return request->sequence == *held ? TARGET_HOLD : TARGET_ANSWER;
}

/* Fail each message's first `*context` attempts, in all kinds of ways. */
enum target_act scene_fail_first(void *context,
                                 const struct target_request *request,
                                 struct str body,
                                 struct buf *answer)
{
    static const char *const answers[] = {
        "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n",
    };
    const uint64_t *failures = context;

    (void)body;
    if (request->attempt > *failures) {
        return TARGET_ANSWER;
    }
    if (request->attempt % 5 == 0) {
        return TARGET_CLOSE;
    }
    buf_append_c(answer, answers[request->attempt % 5 - 1]);
    return TARGET_ANSWER;
}

/* Answer 503 with Retry-After as long as `*context`. */
enum target_act scene_ask_for_a_pause(void *context,
                                      const struct target_request *request,
                                      struct str body,
                                      struct buf *answer)
{
    const bool *busy = context;

    (void)request;
    (void)body;
    if (*busy) {
        buf_append_c(answer, "HTTP/1.1 503 Busy\r\nRetry-After: 9\r\n"
                             "Content-Length: 0\r\n\r\n");
    }
    return TARGET_ANSWER;
}

/* Answer `*context`, whatever comes. */
enum target_act scene_answer_with(void *context,
                                  const struct target_request *request,
                                  struct str body,
                                  struct buf *answer)
{
    const char *const *text = context;

    (void)request;
    (void)body;
    buf_append_c(answer, *text);
    return TARGET_ANSWER;
}
