/* What the suite of a store's contract shares.
 *
 * SPDX-License-Identifier: MIT
 */
#include "contract/world.h"

#include "lib/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const struct store_contract *tested;

void world_open(struct world *world)
{
    assert_int_equal(tested->open(world->place, world->io, &world->store),
                     ERR_OK);
}

struct world world_make(void **state)
{
    struct world world = {.io = loop_of(state)};
    world.place = tested->create();
    world_open(&world);
    return world;
}

void world_closed(void *context)
{
    bool *closed = context;
    *closed = true;
}

void world_close(struct world *world)
{
    bool closed = false;
    store_close(world->store, world_closed, &closed);
    LOOP_UNTIL(world->io, closed);
    tested->closed(world->place);
}

void world_reopen(struct world *world)
{
    world_close(world);
    world_open(world);
}

void world_crash(struct world *world)
{
    tested->crash(world->place);
    world_open(world);
}

void world_end(struct world *world)
{
    world_close(world);
    tested->destroy(world->place);
}

struct store_topic *world_topic(struct world *world, const char *name)
{
    return store_place_topic(world->store, name);
}

/* Append messages number `first` up to `end`, many at a time. */
void world_fill(struct world *world,
                struct store_topic *topic,
                uint64_t first,
                uint64_t end,
                size_t size)
{
    static struct store_wait waits[64];
    while (first < end) {
        uint32_t count = 0;
        while (count < 64 && first + count < end) {
            store_wait_init(&waits[count], DURABILITY_DISK);
            enum err err =
                store_wait_append(topic, &waits[count], first + count, size);
            if (err == ERR_BUSY) {
                break;
            }
            assert_int_equal(err, ERR_OK);
            count++;
        }
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(store_wait_run(world->io, &waits[i]), ERR_OK);
            assert_int_equal(waits[i].op.sequence, first + i);
        }
        if (count == 0) {
            io_run_turn(world->io, 10); /* what is in the way goes */
        }
        first += count;
    }
}

/* Tell whether a change came to an end. It has to be given again when there was
 * no room: a small journal may have none for a moment, on a slow disk. */
static bool
finished(struct world *world, struct store_wait *wait, enum err *out_err)
{
    *out_err = store_wait_run(world->io, wait);
    if (*out_err != ERR_BUSY) {
        return true;
    }
    io_run_turn(world->io, 10); /* what is in the way goes */
    return false;
}

enum err
world_move(struct world *world, struct store_topic *topic, uint64_t next)
{
    struct store_wait wait;
    enum err err = ERR_OK;
    do {
        store_wait_init(&wait, DURABILITY_DISK);
        store_cursor_move(topic, next, &wait.op);
    } while (!finished(world, &wait, &err));
    return err;
}

enum err
world_purge(struct world *world, struct store_topic *topic, uint64_t before)
{
    struct store_wait wait;
    enum err err = ERR_OK;
    do {
        store_wait_init(&wait, DURABILITY_DISK);
        store_purge(topic, before, &wait.op);
    } while (!finished(world, &wait, &err));
    return err;
}

enum err world_delete(struct world *world, struct store_topic *topic)
{
    struct store_wait wait;
    enum err err = ERR_OK;
    do {
        store_wait_init(&wait, DURABILITY_DISK);
        store_topic_delete(topic, &wait.op);
    } while (!finished(world, &wait, &err));
    return err;
}

enum err world_configure(struct world *world,
                         struct store_topic *topic,
                         struct str settings,
                         const struct store_retention *retention)
{
    struct store_wait wait;
    enum err err = ERR_OK;
    bool taken = false;
    do {
        store_wait_init(&wait, DURABILITY_DISK);
        store_topic_configure(topic, settings, retention, &wait.op);
        /* Taken at once, or not at all. */
        taken = str_equal(topic->settings, settings);
    } while (!finished(world, &wait, &err));
    assert_int_equal(err == ERR_OK, taken);
    return err;
}

void world_deliver(struct store_topic *topic, uint64_t next, uint32_t attempts)
{
    struct store_cursor cursor = {.next = next, .attempts = attempts};
    store_cursor_store(topic, &cursor);
}
