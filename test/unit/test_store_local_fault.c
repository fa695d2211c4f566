/* A sweep of failures over the whole local store: each call to the kernel fails
 * once, at its n-th occurrence, in a workload that does all that a store does.
 * After each failure what was acknowledged is there, in order, what was refused
 * is not, and a restart recovers. The same with commits that are made
 * asynchronously, with failures that last, and in the recovery itself.
 *
 * The short form takes every few calls; OPQ_TORTURE in the environment takes
 * them all.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    TOPIC_COUNT = 3,
    MESSAGE_MAX = 600,
    BODY_SIZE = 700,
};

/* What must be in a topic. */
struct model {
    uint64_t numbers[MESSAGE_MAX]; /* of the messages, by sequence */
    uint64_t end;
    uint64_t oldest;
    uint64_t next;  /* the cursor as it was last noted or moved, */
    uint64_t above; /* and one acknowledged above it; 0: none */
    bool exists;    /* something of it was acknowledged */
    bool view_made;
    bool view_exists;   /* as `exists`, of its view */
    uint64_t view_next; /* as `next`, of its view */
};

struct sweep {
    struct store_place place;
    struct io *io;
    struct model models[TOPIC_COUNT];
    uint64_t number; /* of the next message */
    uint32_t refused;
    bool asynchronous; /* commits */
};

static const char *const names[TOPIC_COUNT] = {"a", "b", "c"};

/* Tell whether it was done, as it was, unless it was refused as it may be. */
static bool done_or_refused(enum err err)
{
    assert_true(err == ERR_OK || err == ERR_BUSY || err == ERR_FULL ||
                (err == ERR_NOMEM && fault_fired()));
    return err == ERR_OK;
}

/* The topic, made if need be; NULL when the store refuses. */
static struct store_topic *topic_of(struct sweep *sweep, uint32_t which)
{
    struct store_topic *topic = NULL;
    enum err err = store_topic_open(sweep->place.store, str_from(names[which]),
                                    true, &topic);
    (void)done_or_refused(err);
    return topic;
}

/* Append, once there is room: on a slow disk the journal's next file may not be
 * ready yet. After a failure it may never be. */
static enum err append_one(struct sweep *sweep,
                           struct store_topic *topic,
                           struct store_wait *wait,
                           uint64_t number)
{
    enum err err = ERR_BUSY;
    LOOP_UNTIL(sweep->io, (err = store_wait_append(topic, wait, number,
                                                   BODY_SIZE)) != ERR_BUSY ||
                              fault_fired());
    return err;
}

/* Append `count` messages in one turn, and take down what came of them. */
static void append(struct sweep *sweep, uint32_t which, uint32_t count)
{
    static struct store_wait waits[64];
    struct model *model = &sweep->models[which];
    struct store_topic *topic = topic_of(sweep, which);
    uint32_t given = 0;
    CHECK(count <= 64);
    while (topic != NULL && given < count) {
        store_wait_init(&waits[given], DURABILITY_DISK);
        enum err err =
            append_one(sweep, topic, &waits[given], sweep->number + given);
        if (!done_or_refused(err)) {
            sweep->refused++;
            break;
        }
        given++;
    }
    for (uint32_t i = 0; i < given; i++) {
        enum err err = store_wait_run(sweep->io, &waits[i]);
        if (err != ERR_OK) {
            assert_true(err == ERR_IO || err == ERR_FULL);
            sweep->refused++;
            continue;
        }
        assert_int_equal(waits[i].op.sequence, model->end);
        CHECK(model->end < MESSAGE_MAX);
        model->numbers[model->end] = sweep->number + i;
        model->end++;
        model->exists = true;
    }
    sweep->number += count;
}

static void deliver(struct sweep *sweep, uint32_t which, uint64_t next)
{
    struct model *model = &sweep->models[which];
    struct store_topic *topic = topic_of(sweep, which);
    if (topic == NULL || next > model->end || next < model->next) {
        return;
    }
    struct store_range range = {next + 2, next + 3};
    struct store_cursor cursor = {
        .next = next,
        .range_count = range.end <= model->end ? 1 : 0,
        .ranges = &range,
    };
    store_cursor_store(topic, &cursor);
    model->next = next;
    model->above = cursor.range_count > 0 ? range.first : 0;
}

static void expect_cursor(const struct store_topic *topic,
                          const struct model *model)
{
    assert_int_equal(topic->cursor.next, model->next);
    assert_int_equal(topic->cursor.range_count, model->above > 0 ? 1 : 0);
    if (model->above > 0) {
        assert_int_equal(topic->cursor.ranges[0].first, model->above);
        assert_int_equal(topic->cursor.ranges[0].end, model->above + 1);
    }
}

static void move(struct sweep *sweep, uint32_t which, uint64_t next)
{
    struct store_wait wait;
    struct model *model = &sweep->models[which];
    struct store_topic *topic = topic_of(sweep, which);
    if (topic == NULL || next < model->oldest || next > model->end) {
        return;
    }
    store_wait_init(&wait, DURABILITY_DISK);
    store_cursor_move(topic, next, &wait.op);
    if (store_wait_run(sweep->io, &wait) == ERR_OK) {
        model->next = next;
        model->above = 0;
        model->exists = true;
    }
    expect_cursor(topic, model);
}

/* The view of a topic, made if need be; NULL when the store refuses. */
static struct store_topic *view_of(struct sweep *sweep, uint32_t which)
{
    struct model *model = &sweep->models[which];
    struct store_topic *topic = topic_of(sweep, which);
    struct store_topic *view = NULL;
    if (topic == NULL) {
        return NULL;
    }
    enum err err = store_view_open(topic, STR("v"), true, &view);
    if (done_or_refused(err) && !model->view_made) {
        model->view_made = true;
        model->view_next = model->end;
        assert_int_equal(view->cursor.next, model->end);
    }
    return view;
}

/* What of a view is to be done. */
enum view_work { VIEW_SET, VIEW_HOLD, VIEW_MOVE, VIEW_DROP };

static void view_do(struct sweep *sweep, uint32_t which, enum view_work work)
{
    struct store_wait wait;
    struct model *model = &sweep->models[which];
    struct store_topic *view = view_of(sweep, which);
    struct store_retention none = {0};
    if (view == NULL) {
        return;
    }
    store_wait_init(&wait, DURABILITY_DISK);
    switch (work) {
    case VIEW_SET:
        store_topic_configure(view, STR("url x\n"), &none, &wait.op);
        break;
    case VIEW_HOLD:
        store_view_hold(view, !view->hold, &wait.op);
        break;
    case VIEW_MOVE:
        store_cursor_move(view, model->oldest, &wait.op);
        break;
    case VIEW_DROP:
        store_view_delete(view, &wait.op);
        break;
    }
    if (store_wait_run(sweep->io, &wait) != ERR_OK) {
        return;
    }
    if (work == VIEW_DROP) {
        /* Nothing of it may ever have been on disk, nor of its topic. */
        model->view_exists = false;
        model->view_made = false;
        return;
    }
    model->exists = true;
    model->view_exists = true;
    if (work == VIEW_MOVE) {
        model->view_next = model->oldest;
    }
}

static void view_deliver(struct sweep *sweep, uint32_t which, uint64_t next)
{
    struct model *model = &sweep->models[which];
    struct store_topic *view = view_of(sweep, which);
    if (view != NULL && next <= model->end && next >= model->view_next) {
        struct store_cursor cursor = {.next = next};
        store_cursor_store(view, &cursor);
        model->view_next = next;
    }
}

static void purge(struct sweep *sweep, uint32_t which, uint64_t before)
{
    struct store_wait wait;
    struct model *model = &sweep->models[which];
    struct store_topic *topic = topic_of(sweep, which);
    if (topic == NULL || before > model->end) {
        return;
    }
    store_wait_init(&wait, DURABILITY_DISK);
    store_purge(topic, before, &wait.op);
    if (store_wait_run(sweep->io, &wait) == ERR_OK) {
        model->exists = true;
        if (before > model->oldest) {
            model->oldest = before;
        }
        if (before > model->next) {
            model->next = before == model->above ? before + 1 : before;
            model->above = before < model->above ? model->above : 0;
        }
        if (before > model->view_next) {
            model->view_next = before;
        }
    }
    assert_int_equal(topic->bounds.oldest, model->oldest);
    expect_cursor(topic, model);
}

static void drop(struct sweep *sweep, uint32_t which)
{
    struct store_wait wait;
    struct store_topic *topic = topic_of(sweep, which);
    if (topic == NULL) {
        return;
    }
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(topic, &wait.op);
    if (store_wait_run(sweep->io, &wait) == ERR_OK) {
        sweep->models[which] = (struct model){.exists = false};
        assert_null(store_place_find(sweep->place.store, names[which]));
    }
}

static void configure(struct sweep *sweep, uint32_t which)
{
    struct store_wait wait;
    struct store_retention none = {0};
    struct store_topic *topic = topic_of(sweep, which);
    if (topic == NULL) {
        return;
    }
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_configure(topic, STR("paused yes\n"), &none, &wait.op);
    if (store_wait_run(sweep->io, &wait) == ERR_OK) {
        sweep->models[which].exists = true;
    }
}

/* Wait until a checkpoint was made, unless something is in the way. */
static void checkpoint(struct sweep *sweep)
{
    const struct store_stats *stats = store_stats(sweep->place.store);
    uint64_t count = stats->checkpoints + stats->checkpoint_failures;
    uint64_t until_ns = clock_monotonic_ns() + 60000000;
    while (stats->checkpoints + stats->checkpoint_failures == count &&
           sweep->place.fatal_count == 0 && clock_monotonic_ns() < until_ns) {
        io_run_turn(sweep->io, 10);
    }
}

/* Check a topic's view against the topic's model. */
static void verify_view(struct model *model, struct store_topic *topic)
{
    struct store_topic *view = NULL;
    enum err err = store_view_open(topic, STR("v"), false, &view);
    if (err == ERR_NOT_FOUND) {
        assert_false(model->view_exists);
        model->view_made = false;
        return;
    }
    assert_int_equal(err, ERR_OK);
    assert_true(model->view_made);
    assert_int_equal(view->cursor.next, model->view_next);
    assert_int_equal(view->bounds.oldest, model->oldest);
    assert_int_equal(view->bounds.end, model->end);
}

/* Check a topic against its model. */
static void verify_topic(struct sweep *sweep, uint32_t which)
{
    struct model *model = &sweep->models[which];
    struct store_topic *topic =
        store_place_find(sweep->place.store, names[which]);
    if (topic == NULL) {
        assert_false(model->exists);
        model->view_made = false;
        return;
    }
    verify_view(model, topic);
    struct store_reader *reader = NULL;
    struct record record;
    assert_int_equal(topic->bounds.oldest, model->oldest);
    assert_int_equal(topic->bounds.end, model->end);
    assert_int_equal(store_next_sequence(topic), model->end);
    expect_cursor(topic, model);
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    for (uint64_t i = model->oldest; i < model->end; i++) {
        assert_int_equal(store_place_read(sweep->io, reader, i, &record),
                         ERR_OK);
        assert_int_equal(record.sequence, i);
        assert_true(store_place_is(&record, model->numbers[i], BODY_SIZE));
    }
    store_reader_destroy(reader);
}

static void verify(struct sweep *sweep)
{
    for (uint32_t i = 0; i < TOPIC_COUNT; i++) {
        verify_topic(sweep, i);
    }
    assert_int_equal(store_stats(sweep->place.store)->quarantined, 0);
}

/* All that a store does. Ends early when the store says that it cannot go on.
 */
static void work(struct sweep *sweep)
{
    for (uint64_t round = 0; round < 3; round++) {
        append(sweep, 0, 40);
        append(sweep, 1, 3);
        deliver(sweep, 0, 20 + round * 40);
        view_do(sweep, 0, VIEW_SET);
        append(sweep, 0, 1);
        configure(sweep, 1);
        view_deliver(sweep, 0, 30 + round * 40);
        checkpoint(sweep);
        view_do(sweep, 0, VIEW_MOVE);
        view_do(sweep, 1, VIEW_SET); /* goes with its topic */
        move(sweep, 0, 15 + round * 10);
        append(sweep, 1, 50);
        append(sweep, 1, 60); /* its tail is flushed before the checkpoint, so
                                 that this one syncs the whole file system */
        purge(sweep, 0, 5 + round * 10);
        append(sweep, 2, 2);
        drop(sweep, 2);
        append(sweep, 2, 4);
        deliver(sweep, 2, 2);
        view_do(sweep, 2, VIEW_SET);
        view_do(sweep, 2, VIEW_DROP);
        view_do(sweep, 2, VIEW_HOLD); /* another one of its name */
        checkpoint(sweep);
        view_deliver(sweep, 2, 4);
        drop(sweep, 1);
        append(sweep, 1, 5);
        if (sweep->place.fatal_count > 0) {
            return;
        }
    }
}

static void sweep_begin(struct sweep *sweep, struct io *io, bool asynchronous)
{
    memset(sweep, 0, sizeof(*sweep));
    sweep->io = io;
    sweep->asynchronous = asynchronous;
    store_place_create(&sweep->place);
    sweep->place.options.checkpoint_interval_ms = 2;
    sweep->place.options.cursor_interval_ms = 2;
    sweep->place.options.memory_size_max = 1 << 20;
    sweep->place.options.segment_size_max = 16 << 10;
    sweep->place.options.topics_max = 100;
    sweep->place.options.files_open_max = 4;
    sweep->place.options.journal_size = 1 << 20;
    if (asynchronous) {
        sweep->place.options.sync_inline_max_us = 0;
    }
}

/* Run the workload with one failure. Returns whether it happened. */
static bool
sweep_once(struct io *io, const struct fault_plan *plan, bool asynchronous)
{
    static struct sweep sweep;
    sweep_begin(&sweep, io, asynchronous);
    fault_install();
    fault_set(plan);
    enum err err = store_place_open(&sweep.place, io);
    bool fired = fault_fired();
    if (err == ERR_OK) {
        work(&sweep);
        fired = fault_fired();
        fault_reset();
        if (sweep.place.fatal_count == 0) {
            verify(&sweep);
        }
        store_place_crash(&sweep.place);
    } else {
        assert_true(fired);
        fault_reset();
    }
    assert_true(fired || sweep.refused == 0);
    bool may_end = fired && plan->kinds != FAULT_MEMORY;
    assert_true(may_end || sweep.place.fatal_count == 0);
    assert_int_equal(store_place_open(&sweep.place, io), ERR_OK);
    verify(&sweep);
    append(&sweep, 0, 5);
    store_place_close(&sweep.place);
    assert_int_equal(store_place_open(&sweep.place, io), ERR_OK);
    verify(&sweep);
    store_place_close(&sweep.place);
    store_place_destroy(&sweep.place);
    fault_remove();
    return fired;
}

/* Every call, or every few of them. */
static uint64_t stride_of(uint64_t stride)
{
    return getenv("OPQ_TORTURE") != NULL ? 1 : stride;
}

/* Fail the first, second, third ... call, or every few of them. */
static void sweep_some(struct io *io,
                       struct fault_plan plan,
                       uint64_t stride,
                       bool asynchronous)
{
    stride = stride_of(stride);
    for (plan.at = 1 + plan.at % stride;; plan.at += stride) {
        if (!sweep_once(io, &plan, asynchronous)) {
            break;
        }
    }
}

static void sweep_all(struct io *io, struct fault_plan plan, uint64_t stride)
{
    sweep_some(io, plan, stride, false);
}

/* --- in the recovery ------------------------------------------------------ */

/* What a crash left, to be recovered from again and again. */
struct remains {
    struct sweep sweep;
    char left[128]; /* the directory */
    char copy[128]; /* one to recover in */
};

static void remains_make(struct remains *remains, struct io *io)
{
    struct sweep *sweep = &remains->sweep;
    struct store_place *place = &sweep->place;
    sweep_begin(sweep, io, false);
    assert_int_equal(store_place_open(place, io), ERR_OK);
    work(sweep);
    append(sweep, 0, 30); /* for the journal alone */
    store_place_crash(place);
    memcpy(remains->left, place->directory, sizeof(remains->left));
    (void)snprintf(remains->copy, sizeof(remains->copy), "%.64s/copy",
                   place->root);
}

/* Recover with one failure, then without. Returns whether it happened. */
static bool remains_recover(struct remains *remains,
                            const struct fault_plan *plan)
{
    static struct sweep sweep;
    struct store_place *place = &sweep.place;
    sweep = remains->sweep;
    place->options.directory = place->directory;
    place->options.context = place;
    store_place_keep(place, remains->copy);
    memcpy(place->directory, remains->copy, sizeof(remains->copy));
    fault_install();
    fault_set(plan);
    enum err err = store_place_open(place, sweep.io);
    bool fired = fault_fired();
    assert_true(err == ERR_OK || fired);
    fault_reset();
    if (err == ERR_OK) {
        verify(&sweep);
        store_place_close(place);
    }
    fault_remove();
    assert_int_equal(store_place_open(place, sweep.io), ERR_OK);
    verify(&sweep);
    append(&sweep, 0, 5);
    store_place_close(place);
    assert_int_equal(store_place_open(place, sweep.io), ERR_OK);
    verify(&sweep);
    store_place_close(place);
    return fired;
}

/* As sweep_all(), in the recovery from what a crash left. */
static void recover_all(struct io *io, struct fault_plan plan, uint64_t stride)
{
    static struct remains remains;
    stride = stride_of(stride);
    remains_make(&remains, io);
    for (plan.at = 1 + plan.at % stride;; plan.at += stride) {
        if (!remains_recover(&remains, &plan)) {
            break;
        }
    }
    store_place_destroy(&remains.sweep.place);
}

/* --- tests ---------------------------------------------------------------- */

static void nothing_fails(void **state)
{
    struct fault_plan plan = {.kinds = 0};
    assert_false(sweep_once(loop_of(state), &plan, false));
    assert_false(sweep_once(loop_of(state), &plan, true));
}

/* Else the sweeps would not be what they say. */
static void the_work_makes_every_kind_of_call(void **state)
{
    static struct sweep sweep;
    sweep_begin(&sweep, loop_of(state), false);
    fault_install();
    assert_int_equal(store_place_open(&sweep.place, sweep.io), ERR_OK);
    work(&sweep);
    store_place_close(&sweep.place);
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        uint32_t bit = (uint32_t)1 << kind;
        /* Links are of bodies once more: test_store_local_blob.c. */
        if (fault_count(bit) == 0 && bit != FAULT_LINK) {
            fail_msg("kind %d is not made", kind);
        }
    }
    fault_remove();
    store_place_destroy(&sweep.place);
}

static void any_call_fails_with_an_io_error(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){.kinds = FAULT_ANY & ~(uint32_t)FAULT_SYNC,
                                  .error_number = EIO},
              41);
}

static void any_call_fails_for_want_of_room(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){.kinds = FAULT_ANY & ~(uint32_t)FAULT_SYNC,
                                  .error_number = ENOSPC,
                                  .at = 11},
              43);
}

static void any_write_is_short_and_fails(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){.kinds = FAULT_WRITE,
                                  .error_number = ENOSPC,
                                  .short_write = true,
                                  .at = 5},
              29);
}

static void any_write_is_short(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){
                  .kinds = FAULT_WRITE, .error_number = 0, .short_write = true},
              61);
}

static void any_sync_fails(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){.kinds = FAULT_SYNC, .error_number = EIO},
              13);
}

static void each_kind_of_call_fails(void **state)
{
    struct io *io = loop_of(state);
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        for (uint64_t at = 1; at < 3; at++) {
            struct fault_plan plan = {.kinds = (uint32_t)1 << kind,
                                      .error_number =
                                          at % 2 == 1 ? EIO : ENOSPC,
                                      .at = at};
            (void)sweep_once(io, &plan, false);
        }
    }
}

static void an_asynchronous_commit_fails_at_any_call(void **state)
{
    struct io *io = loop_of(state);
    struct fault_plan plan = {.kinds = FAULT_ANY & ~(uint32_t)FAULT_SYNC,
                              .error_number = EIO,
                              .at = 7};
    sweep_some(io, plan, 211, true);
    plan = (struct fault_plan){
        .kinds = FAULT_WRITE, .error_number = ENOSPC, .short_write = true};
    sweep_some(io, plan, 97, true);
    plan = (struct fault_plan){.kinds = FAULT_SYNC, .error_number = EIO};
    sweep_some(io, plan, 53, true);
}

static void a_sync_finds_no_room(void **state)
{
    sweep_all(loop_of(state),
              (struct fault_plan){
                  .kinds = FAULT_SYNC, .error_number = ENOSPC, .at = 3},
              47);
}

static void failures_last_until_the_restart(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct fault_plan plan = {.kinds = FAULT_ANY & ~(uint32_t)FAULT_SYNC &
                                           ~(uint32_t)FAULT_READ,
                                  .error_number = errors[i],
                                  .sticky = true,
                                  .at = 13 * i};
        sweep_all(loop_of(state), plan, 397);
    }
}

static void any_call_of_the_recovery_fails(void **state)
{
    struct io *io = loop_of(state);
    struct fault_plan plan = {.kinds = FAULT_ANY, .error_number = EIO};
    recover_all(io, plan, 41);
    plan.error_number = ENOSPC;
    plan.at = 5;
    recover_all(io, plan, 47);
    plan = (struct fault_plan){
        .kinds = FAULT_WRITE, .error_number = ENOSPC, .short_write = true};
    recover_all(io, plan, 23);
}

/* Whatever finds no memory is refused; the store goes on. */
static void any_allocation_fails(void **state)
{
    sweep_all(
        loop_of(state),
        (struct fault_plan){.kinds = FAULT_MEMORY, .error_number = ENOMEM}, 71);
}

/* Change `which` of the workload's topics in the `kind`-th way; false: there
 * are no more. */
static bool change(struct sweep *sweep, uint32_t which, uint32_t kind)
{
    switch (kind) {
    case 0:
        configure(sweep, which);
        return true;
    case 1:
        move(sweep, which, sweep->models[which].oldest);
        return true;
    case 2:
        purge(sweep, which, sweep->models[which].oldest + 1);
        return true;
    case 3:
    case 4:
    case 5:
    case 6:
        view_do(sweep, which, VIEW_SET + (kind - 3));
        return true;
    case 7:
        drop(sweep, which);
        return true;
    default:
        return false;
    }
}

/* Each allocation of each change fails: it is done or refused, and the store
 * goes on. */
static void a_change_finds_no_memory(void **state)
{
    static struct sweep sweep;
    struct fault_plan plan = {.kinds = FAULT_MEMORY, .error_number = ENOMEM};
    sweep_begin(&sweep, loop_of(state), false);
    assert_int_equal(store_place_open(&sweep.place, sweep.io), ERR_OK);
    bool more = true;
    for (uint32_t kind = 0; more; kind++) {
        bool fired = true;
        for (plan.at = 1; more && fired; plan.at++) {
            append(&sweep, 0, 4);
            view_do(&sweep, 0, VIEW_SET);
            checkpoint(&sweep); /* so that there are folders */
            fault_set(&plan);
            more = change(&sweep, 0, kind);
            fired = fault_fired();
            fault_reset();
            assert_int_equal(sweep.place.fatal_count, 0);
            verify(&sweep);
        }
        assert_true(!more || plan.at > 2); /* some were made */
    }
    store_place_crash(&sweep.place);
    assert_int_equal(store_place_open(&sweep.place, sweep.io), ERR_OK);
    verify(&sweep);
    store_place_close(&sweep.place);
    store_place_destroy(&sweep.place);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(nothing_fails),
        LOOP_TEST_ONCE(the_work_makes_every_kind_of_call),
        LOOP_TEST(any_call_fails_with_an_io_error),
        LOOP_TEST(any_call_fails_for_want_of_room),
        LOOP_TEST(any_write_is_short_and_fails),
        LOOP_TEST(any_write_is_short),
        LOOP_TEST(any_sync_fails),
        LOOP_TEST(each_kind_of_call_fails),
        LOOP_TEST(an_asynchronous_commit_fails_at_any_call),
        LOOP_TEST(a_sync_finds_no_room),
        LOOP_TEST(failures_last_until_the_restart),
        LOOP_TEST(any_call_of_the_recovery_fails),
        LOOP_TEST(any_allocation_fails),
        LOOP_TEST(a_change_finds_no_memory),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
