/* Tests of queue/accept on a local store: each call to the kernel that a first
 * push makes fails once, and after each failure, and a kill, an id is known if
 * and only if its message was acknowledged.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"
#include "queue/accept.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct push {
    struct accept_op op;
    struct accept_wants wants;
    enum err err;
    bool done;
};

struct world {
    struct io *io;
    struct store_place place;
    struct accept *accept;
    struct topic *topic;
};

static struct world world;

static void open_place(void)
{
    struct store_topic *stored = NULL;
    const struct accept_options options = {.io = world.io, .dedup_max = 10000};

    assert_int_equal(store_place_open(&world.place, world.io), ERR_OK);
    stored = store_place_topic(world.place.store, "t");
    assert_int_equal(accept_create(&options, &world.accept), ERR_OK);
    assert_int_equal(topic_create(stored, &world.topic), ERR_OK);
    assert_int_equal(accept_attach(world.accept, world.topic), ERR_OK);
    LOOP_UNTIL(world.io, accept_stats(world.accept)->walks == 0);
}

static void let_go(void)
{
    accept_detach(world.topic);
    topic_destroy(world.topic);
    accept_destroy(world.accept);
}

static void crash(void)
{
    let_go();
    store_place_crash(&world.place);
    open_place();
}

static void push_done(struct store_op *op, enum err err)
{
    struct push *push = CONTAINER_OF(op, struct push, op.store);

    push->err = err;
    push->done = true;
}

/* Begin a push; when the call fails it has ended with that. */
static void begin(struct push *push, const char *id, const char *key)
{
    const struct message_options options = {
        .retries = MESSAGE_RETRIES_UNSET,
        .dedup_id = str_from(id),
        .collapse = str_from(key),
    };
    const struct message message = {
        .url = STR("http://a/"),
        .kind = MESSAGE_KIND_RAW,
        .body = STR("body"),
        .pushed_at_ms = clock_wall_ms(),
        .options = &options,
    };
    const struct accept_push given = {.wants = &push->wants,
                                      .message = &message};

    memset(push, 0, sizeof(*push));
    push->op.store.done = push_done;
    push->op.store.durability = DURABILITY_DISK;
    accept_wants(&push->wants, STR("t"), &message, false, 0);
    push->err = accept_append(world.accept, world.topic, &given, &push->op);
    push->done = push->err != ERR_OK;
}

static void await(struct push *push)
{
    LOOP_UNTIL(world.io, push->done);
}

/* Push until the store takes it: it may be in search of a journal file. */
static void push_surely(struct push *push, const char *id)
{
    uint64_t until_ns = clock_monotonic_ns() + UINT64_C(30000000000);

    do {
        assert_true(clock_monotonic_ns() < until_ns);
        begin(push, id, "k");
        await(push);
    } while (push->err != ERR_OK);
}

/* Two pushes of an id on a fresh directory, with a failure. Returns whether it
 * came to it. */
static bool push_with_failure(uint64_t at, int error_number)
{
    struct push first;
    struct push second;
    struct push third;

    store_place_create(&world.place);
    open_place();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_ANY, .at = at, .error_number = error_number});
    begin(&first, "one", "k");
    begin(&second, "one", "k");
    await(&first);
    await(&second);
    bool fired = fault_fired();
    fault_reset();
    bool stored = first.err == ERR_OK;
    if (stored) {
        assert_int_equal(first.op.store.sequence, 0);
        assert_int_equal(second.err, ERR_OK);
        assert_true(second.op.duplicate);
    }
    /* What failed leaves the way free: for the second, if it came later. */
    bool second_stored = second.err == ERR_OK && !second.op.duplicate;
    assert_false(stored && second_stored);
    push_surely(&third, "one");
    assert_int_equal(third.op.duplicate, stored || second_stored);
    assert_int_equal(third.op.store.sequence, 0);
    crash();
    push_surely(&third, "one");
    assert_true(third.op.duplicate);
    assert_int_equal(third.op.store.sequence, 0);
    assert_int_equal(world.topic->store->bounds.end, 1);
    assert_true(world.topic->dedup_used && world.topic->collapse_used);
    let_go();
    store_place_close(&world.place);
    store_place_destroy(&world.place);
    return fired;
}

static void first_push_survives_any_failure(void **state)
{
    static const int errors[] = {EIO, ENOSPC};

    world.io = loop_of(state);
    fault_install();
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        uint64_t at = 1;
        while (push_with_failure(at, errors[i])) {
            at++;
        }
        assert_true(at > 1);
    }
    fault_remove();
}

static void ids_and_keys_are_known_after_a_kill_at_any_time(void **state)
{
    enum { ROUNDS = 12, EACH = 40 };
    static struct push pushes[EACH];
    char id[32];

    world.io = loop_of(state);
    store_place_create(&world.place);
    open_place();
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < EACH; i++) {
            (void)snprintf(id, sizeof(id), "%d-%d", round, i);
            begin(&pushes[i], id, id);
            if (i < EACH / 2) { /* the others are under way when it ends */
                await(&pushes[i]);
            }
        }
        bool acknowledged[EACH];
        uint64_t sequences[EACH];
        for (int i = 0; i < EACH; i++) {
            acknowledged[i] = pushes[i].done && pushes[i].err == ERR_OK;
            sequences[i] = pushes[i].op.store.sequence;
        }
        crash();
        for (int i = 0; i < EACH; i++) {
            (void)snprintf(id, sizeof(id), "%d-%d", round, i);
            begin(&pushes[i], id, id);
            await(&pushes[i]);
            assert_int_equal(pushes[i].err, ERR_OK);
            assert_true(!acknowledged[i] ||
                        (pushes[i].op.duplicate &&
                         pushes[i].op.store.sequence == sequences[i]));
        }
        assert_int_equal(world.topic->store->bounds.end, (round + 1) * EACH);
    }
    let_go();
    store_place_close(&world.place);
    store_place_destroy(&world.place);
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST_ONCE(first_push_survives_any_failure),
        LOOP_TEST(ids_and_keys_are_known_after_a_kill_at_any_time),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
