/* A place for tests of queue/accept: see accept_world.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/accept_world.h"

#include "base/check.h"
#include "lib/loop.h"
#include "lib/store_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct accept_world accept_world;

static void note_change(struct topic *topic)
{
    (void)topic;
    accept_world.changes++;
}

/* What a start does, with the store as it is. */
void accept_world_start(void)
{
    struct store_topic *stored = NULL;
    const struct accept_options options = {.io = accept_world.io,
                                           .dedup_max = accept_world.dedup_max};

    assert_int_equal(accept_create(&options, &accept_world.accept), ERR_OK);
    assert_int_equal(
        store_topic_open(accept_world.store, STR("t"), true, &stored), ERR_OK);
    assert_int_equal(topic_create(stored, &accept_world.topic), ERR_OK);
    accept_world.topic->changed = note_change;
    assert_int_equal(accept_attach(accept_world.accept, accept_world.topic),
                     ERR_OK);
}

void accept_world_stop(void)
{
    accept_detach(accept_world.topic);
    topic_destroy(accept_world.topic);
    accept_destroy(accept_world.accept);
}

void accept_world_begin(void **state)
{
    accept_world =
        (struct accept_world){.io = loop_of(state), .dedup_max = 1000};
    assert_int_equal(store_memory_create(accept_world.io, &accept_world.store),
                     ERR_OK);
    accept_world_start();
}

void accept_world_finish(void)
{
    accept_world_stop();
    assert_int_equal(store_memory_readers(accept_world.store), 0);
    store_memory_destroy(accept_world.store);
}

void accept_world_restart(void)
{
    accept_world_stop();
    accept_world_start();
}

/* --- pushes --------------------------------------------------------------- */

static void push_done(struct store_op *op, enum err err)
{
    struct accept_world_push *push =
        CONTAINER_OF(op, struct accept_world_push, op.store);

    push->err = err;
    push->done++;
    accept_world.orders++;
    push->order = accept_world.orders;
}

struct message accept_world_message(const char *body)
{
    return (struct message){.url = STR("http://a/b"),
                            .kind = MESSAGE_KIND_RAW,
                            .body = str_from(body),
                            .content_type = STR("text/plain"),
                            .pushed_at_ms = io_wall_ms(accept_world.io)};
}

/* Push a message; encoded before, as one that was carried over, if `encoded`.
 * Returns what the call said. */
enum err accept_world_push(struct accept_world_push *push,
                           const struct message *message,
                           bool encoded)
{
    size_t size = 0;
    bool expects = push->wants.expects;
    uint64_t expect_seq = push->wants.expect_seq;
    struct accept_push given = {.wants = &push->wants, .message = message};

    memset(push, 0, sizeof(*push));
    push->op.store.done = push_done;
    accept_wants(&push->wants, STR("t"), message, expects, expect_seq);
    if (encoded) {
        assert_int_equal(record_size(message, &size), ERR_OK);
        push->record = aligned_alloc(RECORD_ALIGN, size);
        assert_non_null(push->record);
        record_encode(message, 0, push->record, size);
        given.message = NULL;
        given.record = push->record;
        given.record_size = size;
    }
    enum err err = accept_append(accept_world.accept, accept_world.topic,
                                 &given, &push->op);
    assert_int_equal(push->done, 0);
    free(push->record); /* borrowed during the call only */
    push->record = NULL;
    return err;
}

void accept_world_push_options(struct accept_world_push *push,
                               const char *body,
                               const struct message_options *options)
{
    struct message message = accept_world_message(body);

    message.options = options;
    assert_int_equal(accept_world_push(push, &message, false), ERR_OK);
}

void accept_world_push_id(struct accept_world_push *push, const char *id)
{
    const struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                            .dedup_id = str_from(id)};

    accept_world_push_options(push, id, &options);
}

void accept_world_push_key(struct accept_world_push *push, const char *key)
{
    const struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                            .collapse = str_from(key)};

    accept_world_push_options(push, key, &options);
}

void accept_world_await(struct accept_world_push *push)
{
    LOOP_UNTIL(accept_world.io, push->done > 0);
    assert_int_equal(push->done, 1);
}

void accept_world_stored(struct accept_world_push *push, uint64_t sequence)
{
    accept_world_await(push);
    assert_int_equal(push->err, ERR_OK);
    assert_false(push->op.duplicate);
    assert_false(push->op.unstored);
    assert_int_equal(push->op.store.sequence, sequence);
}

void accept_world_duplicate(struct accept_world_push *push, uint64_t sequence)
{
    accept_world_await(push);
    assert_int_equal(push->err, ERR_OK);
    assert_true(push->op.duplicate);
    assert_true(push->op.unstored);
    assert_int_equal(push->op.store.sequence, sequence);
}

void accept_world_refused(struct accept_world_push *push, enum err err)
{
    accept_world_await(push);
    assert_int_equal(push->err, err);
    assert_false(push->op.duplicate);
    assert_true(push->op.unstored);
}

uint64_t accept_world_end(void)
{
    return accept_world.topic->store->bounds.end;
}

bool accept_world_settings_have(struct str line)
{
    struct str text = accept_world.topic->store->settings;

    while (text.size > 0) {
        struct str one = str_cut(text, 0, str_find(text, '\n'));
        if (str_equal(one, line)) {
            return true;
        }
        text = str_cut(text, one.size + 1, text.size);
    }
    return false;
}

/* Run until the log is read. */
void accept_world_walked(void)
{
    LOOP_UNTIL(accept_world.io, accept_stats(accept_world.accept)->walks == 0);
}
