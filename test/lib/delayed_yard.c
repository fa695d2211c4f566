/* A shard with delayed messages, for tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/delayed_yard.h"

#include "base/check.h"
#include "lib/lone_shard.h"
#include "lib/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct yard yard;

static uint64_t wall(void *context)
{
    (void)context;
    return yard.wall_ms;
}

void yard_open(void)
{
    assert_int_equal(store_place_open(&yard.place, yard.io), ERR_OK);
    lone_shard_init(&yard.shard, &yard.group, yard.io, yard.place.store);
    lone_shard_accepts(&yard.shard);
    const struct accept_options accept = {
        .io = yard.io,
        .shard = &yard.shard,
        .dedup_max = 100,
    };
    assert_int_equal(accept_create(&accept, &yard.shard.accept), ERR_OK);
    assert_int_equal(shard_attach_topics(&yard.shard), ERR_OK);
    const struct delayed_options options = {
        .shard = &yard.shard,
        .wall_ms = wall,
        .index_max = yard.index_max,
        .trim_bytes = yard.trim_bytes,
    };
    assert_int_equal(delayed_create(&options, &yard.delayed), ERR_OK);
    yard.shard.delayed = yard.delayed;
    delayed_start(yard.delayed);
}

void yard_begin(void **state, uint32_t index_max, uint64_t trim_bytes)
{
    memset(&yard, 0, sizeof(yard));
    yard.io = loop_of(state);
    yard.wall_ms = YARD_NOON_MS;
    yard.index_max = index_max;
    yard.trim_bytes = trim_bytes;
    store_place_create(&yard.place);
    yard_open();
}

void yard_close(void)
{
    delayed_stop(yard.delayed);
    LOOP_UNTIL(yard.io, delayed_stopped(yard.delayed) && yard.shard.calls == 0);
    delayed_close(yard.delayed);
    shard_detach_topics(&yard.shard);
    store_place_close(&yard.place);
    delayed_destroy(yard.delayed);
    accept_destroy(yard.shard.accept);
}

void yard_reopen(void)
{
    yard_close();
    yard_open();
}

void yard_crash(void)
{
    char to[sizeof(yard.place.directory)];

    int size = snprintf(to, sizeof(to), "%s/kill%u", yard.place.root,
                        yard.place.crashes++);
    assert_in_range(size, 1, sizeof(to) - 1);
    store_place_copy(&yard.place, to);
    yard_close();
    memcpy(yard.place.directory, to, sizeof(to));
    yard_open();
}

void yard_end(void)
{
    yard_close();
    store_place_destroy(&yard.place);
}

/* --- pushes --------------------------------------------------------------- */

static void push_done(struct delayed_push *base, enum err err)
{
    struct yard_push *push = CONTAINER_OF(base, struct yard_push, base);

    if (err == ERR_OK) {
        yard.pushed++;
    } else if (push->again) {
        assert_int_equal(delayed_append(&yard.shard, base), ERR_OK);
        return;
    } else {
        yard.push_err = err;
    }
    free(push->record);
    free(push);
}

struct yard_push *
yard_push(const char *topic, uint64_t number, uint64_t delay_ms)
{
    char body[32];
    int body_size =
        snprintf(body, sizeof(body), "%llu", (unsigned long long)number);
    const struct message_options options = {
        .topic = str_from(topic),
        .not_before_ms = yard.wall_ms + delay_ms,
        .retries = MESSAGE_RETRIES_UNSET,
    };
    const struct message message = {
        .url = STR("http://127.0.0.1:9/sink"),
        .kind = MESSAGE_KIND_RAW,
        .body = {body, (size_t)body_size},
        .pushed_at_ms = yard.wall_ms,
        .options = &options,
    };
    struct yard_push *push = calloc(1, sizeof(*push));

    assert_non_null(push);
    push->base.done = push_done;
    push->base.due_ms = options.not_before_ms;
    push->base.durability = DURABILITY_DISK;
    assert_int_equal(record_size(&message, &push->base.record_size), ERR_OK);
    push->record = malloc(push->base.record_size);
    assert_non_null(push->record);
    record_encode(&message, 0, push->record, push->base.record_size);
    push->base.record = push->record;
    assert_int_equal(delayed_append(&yard.shard, &push->base), ERR_OK);
    return push;
}

void yard_push_wait(uint32_t count)
{
    LOOP_UNTIL(yard.io, yard.pushed == count);
}

void yard_push_paced(const char *topic, uint64_t number, uint64_t delay_ms)
{
    enum { AT_ONCE = 20 };

    yard_push(topic, number, delay_ms)->again = true;
    yard.begun++;
    if (yard.begun - yard.pushed == AT_ONCE) {
        yard_push_wait(yard.begun);
    }
}

/* --- what arrived --------------------------------------------------------- */

struct store_topic *yard_topic(const char *name)
{
    return store_place_find(yard.place.store, name);
}

uint64_t yard_end_of(const char *name)
{
    const struct store_topic *stored = yard_topic(name);

    return stored == NULL ? 0 : stored->bounds.end;
}

uint64_t yard_number_at(const char *name, uint64_t sequence, char *id)
{
    static struct record record;
    struct store_reader *reader = NULL;
    uint64_t number = 0;

    assert_int_equal(store_reader_create(yard_topic(name), &reader), ERR_OK);
    assert_int_equal(store_place_read(yard.io, reader, sequence, &record),
                     ERR_OK);
    assert_int_equal(record.sequence, sequence);
    assert_int_equal(str_to_u64(record.message.body, &number), ERR_OK);
    assert_non_null(record.message.options);
    assert_int_equal(record.message.options->topic.size, 0);
    assert_true(record.message.options->not_before_ms <= yard.wall_ms);
    if (id != NULL) {
        struct str text = record.message.options->id;
        assert_in_range(text.size, 1, DUE_ID_MAX - 1);
        memcpy(id, text.data, text.size);
        id[text.size] = '\0';
    }
    store_reader_destroy(reader);
    return number;
}

void yard_wall_to(uint64_t wall_ms)
{
    yard.wall_ms = wall_ms;
    delayed_kick(yard.delayed);
}

struct cancelling {
    struct delayed_cancel base;
    bool ended;
    enum err err;
};

static void cancelled(struct delayed_cancel *base, enum err err)
{
    struct cancelling *cancelling = CONTAINER_OF(base, struct cancelling, base);

    cancelling->ended = true;
    cancelling->err = err;
}

enum err yard_cancel(struct delayed_bucket *bucket, uint64_t sequence)
{
    struct cancelling cancelling = {.base = {.done = cancelled}};
    enum err err = delayed_cancel(bucket, sequence, &cancelling.base);

    if (err != ERR_OK) {
        return err;
    }
    LOOP_UNTIL(yard.io, cancelling.ended);
    return cancelling.err;
}

struct delayed_bucket *yard_bucket(void)
{
    return delayed_from(yard.delayed, YARD_NOON_MS / HOUR_MS);
}
