/* Tests of delayed messages on a real store, with a clock of our own: when they
 * are handed on, in what order and what amounts, what a kill or a failing disk
 * leaves, cancelling, and that buckets go.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/fault.h"
#include "lib/loop.h"
#include "lib/store_place.h"
#include "queue/delayed_internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HOUR_MS = DELAYED_HOUR_MS };

static const uint64_t noon_ms = 1800000000000U; /* the beginning of an hour */

/* A shard with delayed messages. One at a time. */
struct yard {
    struct store_place place;
    struct io *io;
    struct shard_group group;
    struct shard shard;
    struct delayed *delayed;
    uint64_t wall_ms;
    uint32_t index_max;
    uint32_t begun;  /* pushes, by push_paced() */
    uint32_t pushed; /* done without error */
    enum err push_err;
};

static struct yard yard;

struct push {
    struct delayed_push base;
    char *record; /* owned */
    bool again;   /* until it is stored: the store may be busy */
};

static uint64_t wall(void *context)
{
    (void)context;
    return yard.wall_ms;
}

static uint32_t owner(void *context, struct str topic)
{
    (void)context;
    (void)topic;
    return 0;
}

static enum err topic_added(struct shard *shard, struct topic *topic)
{
    return accept_attach(shard->accept, topic);
}

static void topic_removed(struct shard *shard, struct topic *topic)
{
    (void)shard;
    accept_detach(topic);
}

/* Open the store and what is on it. */
static void yard_open(void)
{
    assert_int_equal(store_place_open(&yard.place, yard.io), ERR_OK);
    yard.group = (struct shard_group){.count = 1, .owner = owner};
    yard.shard = (struct shard){
        .group = &yard.group,
        .io = yard.io,
        .store = yard.place.store,
        .topic_added = topic_added,
        .topic_removed = topic_removed,
    };
    yard.group.shards[0] = &yard.shard;
    const struct accept_options accept = {.io = yard.io, .dedup_max = 100};
    assert_int_equal(accept_create(&accept, &yard.shard.accept), ERR_OK);
    assert_int_equal(shard_attach_topics(&yard.shard), ERR_OK);
    const struct delayed_options options = {
        .shard = &yard.shard,
        .wall_ms = wall,
        .index_max = yard.index_max,
    };
    assert_int_equal(delayed_create(&options, &yard.delayed), ERR_OK);
    yard.shard.delayed = yard.delayed;
    delayed_start(yard.delayed);
}

static void yard_begin(void **state, uint32_t index_max)
{
    memset(&yard, 0, sizeof(yard));
    yard.io = loop_of(state);
    yard.wall_ms = noon_ms;
    yard.index_max = index_max;
    store_place_create(&yard.place);
    yard_open();
}

/* Stop as a server does. */
static void yard_close(void)
{
    delayed_stop(yard.delayed);
    LOOP_UNTIL(yard.io, delayed_stopped(yard.delayed) && yard.shard.calls == 0);
    delayed_close(yard.delayed);
    shard_detach_topics(&yard.shard);
    store_place_close(&yard.place);
    delayed_destroy(yard.delayed);
    accept_destroy(yard.shard.accept);
}

static void yard_reopen(void)
{
    yard_close();
    yard_open();
}

/* As if the process had been killed now. */
static void yard_crash(void)
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

static void yard_end(void)
{
    yard_close();
    store_place_destroy(&yard.place);
}

/* --- pushes --------------------------------------------------------------- */

static void push_done(struct delayed_push *base, enum err err)
{
    struct push *push = CONTAINER_OF(base, struct push, base);

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

/* Begin a push of "<number>", due `delay_ms` from now. */
static struct push *
push_begin(const char *topic, uint64_t number, uint64_t delay_ms)
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
    struct push *push = calloc(1, sizeof(*push));

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

static void push_wait(uint32_t count)
{
    LOOP_UNTIL(yard.io, yard.pushed == count);
}

/* Push; every so many, wait for them: the store's batches are small. */
static void push_paced(const char *topic, uint64_t number, uint64_t delay_ms)
{
    enum { AT_ONCE = 20 };

    push_begin(topic, number, delay_ms)->again = true;
    yard.begun++;
    if (yard.begun - yard.pushed == AT_ONCE) {
        push_wait(yard.begun);
    }
}

/* --- what arrived --------------------------------------------------------- */

static struct store_topic *topic(const char *name)
{
    return store_place_find(yard.place.store, name);
}

static uint64_t end_of(const char *name)
{
    const struct store_topic *stored = topic(name);

    return stored == NULL ? 0 : stored->bounds.end;
}

/* Read the number and the id of a message that was handed on. */
static uint64_t number_at(const char *name, uint64_t sequence, char *id)
{
    static struct record record;
    struct store_reader *reader = NULL;
    uint64_t number = 0;

    assert_int_equal(store_reader_create(topic(name), &reader), ERR_OK);
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

/* Buckets and logs that there are. */
static void count_topic(void *context, struct store_topic *stored)
{
    uint32_t *count = context;

    *count += str_starts(stored->name_str, STR(".opq.delayed.")) ? 1 : 0;
}

static uint32_t internal_topics(void)
{
    uint32_t count = 0;

    store_topic_each(yard.place.store, count_topic, &count);
    return count;
}

/* Let the clock go on, and those who look at it now and then notice. */
static void wall_to(uint64_t wall_ms)
{
    yard.wall_ms = wall_ms;
    delayed_kick(yard.delayed);
}

/* --- when and in what order ----------------------------------------------- */

static void a_message_comes_when_it_is_due(void **state)
{
    yard_begin(state, 0);
    (void)push_begin("a", 7, 5000);
    push_wait(1);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 1);
    wall_to(noon_ms + 4999);
    LOOP_TURNS(yard.io, 30);
    assert_int_equal(end_of("a"), 0);
    wall_to(noon_ms + 5000);
    LOOP_UNTIL(yard.io, end_of("a") == 1);
    assert_int_equal(number_at("a", 0, NULL), 7);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->handed == 1);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 0);
    yard_end();
}

static void they_come_in_order_of_due_time(void **state)
{
    enum { COUNT = 1000 };
    uint64_t random = 3;
    uint64_t last = 0;

    yard_begin(state, 100); /* several walks */
    for (uint64_t i = 0; i < COUNT; i++) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        uint64_t delay_ms = 1 + (random >> 33) % (2 * HOUR_MS);
        push_paced("a", delay_ms, delay_ms);
    }
    push_wait(COUNT);
    wall_to(noon_ms + 3 * (uint64_t)HOUR_MS);
    LOOP_UNTIL(yard.io, end_of("a") == COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t number = number_at("a", i, NULL);
        assert_true(number >= last);
        last = number;
    }
    assert_true(yard.delayed->index.capacity <= 100);
    yard_end();
}

/* A clock that jumps makes many due at once: they come by and by. */
static void a_clock_that_jumps_makes_no_burst(void **state)
{
    enum { COUNT = 3000 };
    yard_begin(state, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        push_paced("a", i, 1000 + i);
    }
    push_wait(COUNT);
    LOOP_TURNS(yard.io, 20);
    wall_to(noon_ms + HOUR_MS);
    uint64_t start_ms = io_now_ms(yard.io);
    uint64_t before = 0;
    while (end_of("a") < COUNT) {
        io_run_turn(yard.io, 100);
        uint64_t rounds = (io_now_ms(yard.io) - start_ms) / DELAYED_ROUND_MS;
        assert_true(end_of("a") <= (rounds + 2) * DELAYED_ROUND_MAX);
        assert_true(end_of("a") - before <= DELAYED_FLIGHTS_MAX);
        before = end_of("a");
    }
    assert_true(io_now_ms(yard.io) - start_ms >=
                (COUNT / DELAYED_ROUND_MAX - 1) * DELAYED_ROUND_MS);
    yard_end();
}

static void a_clock_that_goes_back_makes_them_wait(void **state)
{
    yard_begin(state, 0);
    (void)push_begin("a", 1, 1000);
    push_wait(1);
    wall_to(noon_ms - 3 * (uint64_t)HOUR_MS);
    LOOP_TURNS(yard.io, 20);
    (void)push_begin("a", 2, 10); /* of an earlier hour */
    push_wait(2);
    wall_to(yard.wall_ms + 10);
    LOOP_UNTIL(yard.io, end_of("a") == 1);
    assert_int_equal(number_at("a", 0, NULL), 2);
    wall_to(noon_ms + 1000);
    LOOP_UNTIL(yard.io, end_of("a") == 2);
    yard_end();
}

/* One that is due before it is stored is not lost. */
static void a_message_that_is_late_already_comes_at_once(void **state)
{
    yard_begin(state, 0);
    (void)push_begin("a", 1, 100);
    (void)push_begin("a", 2, 50);
    yard.wall_ms += 1000;
    LOOP_UNTIL(yard.io, end_of("a") == 2);
    (void)push_begin("a", 3, 0);
    LOOP_UNTIL(yard.io, end_of("a") == 3);
    yard_end();
}

/* --- across restarts ------------------------------------------------------ */

static void they_wait_through_restarts_and_keep_their_ids(void **state)
{
    char id[DUE_ID_MAX];
    uint64_t bucket_id = 0;
    uint64_t sequence = 0;

    yard_begin(state, 0);
    for (uint64_t i = 0; i < 50; i++) {
        push_paced("a", i, 1000 + i);
        push_paced("b", i, (uint64_t)365 * 24 * HOUR_MS);
    }
    push_wait(100);
    bucket_id = topic(".opq.delayed.500000")->id;
    yard_reopen();
    assert_int_equal(delayed_stats(yard.delayed)->pending, 100);
    yard_crash();
    wall_to(noon_ms + 1024);
    LOOP_UNTIL(yard.io, end_of("a") == 25);
    yard_reopen(); /* what was handed on is noted */
    LOOP_TURNS(yard.io, 20);
    assert_int_equal(end_of("a"), 25);
    wall_to(noon_ms + 5000);
    LOOP_UNTIL(yard.io, end_of("a") == 50);
    for (uint64_t i = 0; i < 50; i++) {
        uint64_t found_id = 0;
        assert_int_equal(number_at("a", i, id), i);
        assert_int_equal(due_id_read(str_from(id), &found_id, &sequence),
                         ERR_OK);
        assert_int_equal(found_id, bucket_id);
        assert_int_equal(sequence, i);
    }
    assert_int_equal(end_of("b"), 0);
    wall_to(noon_ms + (uint64_t)366 * 24 * HOUR_MS);
    LOOP_UNTIL(yard.io, end_of("b") == 50);
    yard_end();
}

/* Killed anywhere while many are handed on: none is lost, those that come
 * again have the id that they had. */
static void a_kill_loses_none(void **state)
{
    enum { COUNT = 600 };
    static uint32_t seen[COUNT];

    yard_begin(state, 200);
    memset(seen, 0, sizeof(seen));
    for (uint64_t i = 0; i < COUNT; i++) {
        push_paced("a", i, 1000 + i / 2);
    }
    push_wait(COUNT);
    wall_to(noon_ms + 2000);
    for (int kill = 0; kill < 4; kill++) {
        LOOP_TURNS(yard.io, 3 + 4 * kill);
        yard_crash();
    }
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->pending == 0 &&
                            delayed_stopped(yard.delayed));
    for (uint64_t i = 0; i < end_of("a"); i++) {
        char id[DUE_ID_MAX];
        uint64_t bucket_id = 0;
        uint64_t sequence = 0;
        uint64_t number = number_at("a", i, id);
        assert_true(number < COUNT);
        assert_int_equal(due_id_read(str_from(id), &bucket_id, &sequence),
                         ERR_OK);
        assert_int_equal(sequence, number);
        seen[number]++;
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_true(seen[i] >= 1);
    }
    yard_end();
}

/* --- the end of buckets --------------------------------------------------- */

static void a_bucket_goes_when_its_hour_is_over(void **state)
{
    yard_begin(state, 0);
    (void)push_begin("a", 1, 1000);
    (void)push_begin("a", 2, HOUR_MS + 1000);
    push_wait(2);
    assert_int_equal(internal_topics(), 2);
    wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, internal_topics() == 3); /* and a log */
    wall_to(noon_ms + HOUR_MS + DELAYED_AHEAD_MS);
    LOOP_UNTIL(yard.io, end_of("a") == 2 &&
                            topic(".opq.delayed.500000") == NULL &&
                            topic(".opq.delayed.500000_log") == NULL);
    LOOP_UNTIL(yard.io, internal_topics() == 2); /* those of the next hour */
    wall_to(noon_ms + 3 * (uint64_t)HOUR_MS);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->buckets == 0);
    assert_int_equal(internal_topics(), 0);
    yard_end();
}

/* A kill between the two leaves a log without messages. */
static void a_log_that_is_left_over_goes(void **state)
{
    struct store_wait wait;

    yard_begin(state, 0);
    (void)push_begin("a", 1, 1000);
    push_wait(1);
    wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, internal_topics() == 2);
    yard_close();
    assert_int_equal(store_place_open(&yard.place, yard.io), ERR_OK);
    store_wait_init(&wait, DURABILITY_DISK);
    store_topic_delete(
        store_place_find(yard.place.store, ".opq.delayed.500000"), &wait.op);
    assert_int_equal(store_wait_run(yard.io, &wait), ERR_OK);
    store_place_close(&yard.place);
    yard_open();
    LOOP_UNTIL(yard.io, internal_topics() == 0);
    yard_end();
}

/* --- cancelling ----------------------------------------------------------- */

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

static enum err cancel(struct delayed_bucket *bucket, uint64_t sequence)
{
    struct cancelling cancelling = {.base = {.done = cancelled}};
    enum err err = delayed_cancel(bucket, sequence, &cancelling.base);

    if (err != ERR_OK) {
        return err;
    }
    LOOP_UNTIL(yard.io, cancelling.ended);
    return cancelling.err;
}

static struct delayed_bucket *bucket_now(void)
{
    return delayed_from(yard.delayed, noon_ms / HOUR_MS);
}

static void what_is_cancelled_does_not_come(void **state)
{
    yard_begin(state, 0);
    for (uint64_t i = 0; i < 10; i++) {
        (void)push_begin("a", i, 1000 + i);
    }
    push_wait(10);
    assert_int_equal(delayed_look(bucket_now(), 4), DELAYED_PENDING);
    assert_int_equal(cancel(bucket_now(), 4), ERR_OK);
    assert_int_equal(delayed_look(bucket_now(), 4), DELAYED_CANCELLED);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 9);
    yard_crash();
    LOOP_UNTIL(yard.io, delayed_look(bucket_now(), 4) == DELAYED_CANCELLED);
    assert_int_equal(delayed_stats(yard.delayed)->pending, 9);
    assert_int_equal(cancel(bucket_now(), 9), ERR_OK);
    wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, end_of("a") == 8);
    LOOP_TURNS(yard.io, 20);
    assert_int_equal(end_of("a"), 8);
    assert_int_equal(number_at("a", 4, NULL), 5);
    LOOP_UNTIL(yard.io, delayed_look(bucket_now(), 5) == DELAYED_HANDED);
    assert_int_equal(delayed_look(bucket_now(), 10), DELAYED_UNKNOWN);
    yard_end();
}

/* A cancellation that the disk refuses did not happen. */
static void what_cannot_be_cancelled_comes(void **state)
{
    yard_begin(state, 0);
    for (uint64_t i = 0; i < 3; i++) {
        (void)push_begin("a", i, 1000 + i);
    }
    push_wait(3);
    LOOP_TURNS(yard.io, 20);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO, .sticky = true});
    assert_int_not_equal(cancel(bucket_now(), 1), ERR_OK);
    fault_reset();
    assert_int_equal(delayed_look(bucket_now(), 1), DELAYED_PENDING);
    wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, end_of("a") == 3);
    assert_int_equal(number_at("a", 1, NULL), 1);
    yard_end();
    fault_remove();
}

/* --- failures ------------------------------------------------------------- */

/* A disk that fails for a while: all of them come when it works again. */
static void a_failing_disk_loses_none(void **state)
{
    enum { COUNT = 40 };
    static bool seen[COUNT];

    yard_begin(state, 0);
    memset(seen, 0, sizeof(seen));
    for (uint64_t i = 0; i < COUNT; i++) {
        push_paced("a", i, 1000 + i);
    }
    push_wait(COUNT);
    LOOP_TURNS(yard.io, 20);
    fault_install();
    fault_set(&(struct fault_plan){.kinds = FAULT_WRITE | FAULT_FALLOCATE,
                                   .at = 1,
                                   .error_number = ENOSPC,
                                   .sticky = true});
    wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->failed > 0);
    assert_int_equal(end_of("a"), 0);
    assert_int_equal(delayed_stats(yard.delayed)->pending, COUNT);
    fault_reset();
    LOOP_UNTIL(yard.io, end_of("a") >= COUNT);
    for (uint64_t i = 0; i < end_of("a"); i++) {
        seen[number_at("a", i, NULL)] = true;
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_true(seen[i]);
    }
    yard_end();
    fault_remove();
}

/* What was due and found no room waits still: it can be seen, and cancelled. */
static void what_finds_no_room_is_still_delayed(void **state)
{
    enum { COUNT = 5 };

    yard_begin(state, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        push_paced("a", i, 1000 + i);
    }
    push_wait(COUNT);
    LOOP_TURNS(yard.io, 20);
    fault_install();
    fault_set(&(struct fault_plan){.kinds = FAULT_WRITE | FAULT_FALLOCATE,
                                   .at = 1,
                                   .error_number = ENOSPC,
                                   .sticky = true});
    wall_to(noon_ms + 2000);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->failed == COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(delayed_look(bucket_now(), i), DELAYED_PENDING);
    }
    fault_reset();
    enum err err = ERR_BUSY; /* there is no journal for a moment */
    for (int turn = 0; err != ERR_OK; turn++) {
        assert_true(turn < 1000);
        LOOP_TURNS(yard.io, 1);
        err = cancel(bucket_now(), 2);
    }
    assert_int_equal(delayed_stats(yard.delayed)->pending, COUNT - 1);
    LOOP_UNTIL(yard.io, end_of("a") == COUNT - 1);
    LOOP_UNTIL(yard.io, delayed_stats(yard.delayed)->pending == 0);
    for (uint64_t i = 0; i < COUNT - 1; i++) {
        assert_int_not_equal(number_at("a", i, NULL), 2);
    }
    assert_int_equal(delayed_look(bucket_now(), 1), DELAYED_HANDED);
    assert_int_equal(delayed_look(bucket_now(), 2), DELAYED_CANCELLED);
    yard_end();
    fault_remove();
}

static void a_push_that_fails_leaves_no_bucket(void **state)
{
    yard_begin(state, 0);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = EIO, .sticky = true});
    (void)push_begin("a", 1, 1000);
    LOOP_UNTIL(yard.io, yard.push_err != ERR_OK);
    fault_reset();
    LOOP_TURNS(yard.io, 5);
    assert_int_equal(internal_topics(), 0);
    assert_int_equal(delayed_stats(yard.delayed)->buckets, 0);
    while (yard.pushed == 0) { /* the store may be busy for a while */
        yard.push_err = ERR_OK;
        (void)push_begin("a", 2, 1000);
        LOOP_UNTIL(yard.io, yard.pushed == 1 || yard.push_err != ERR_OK);
    }
    wall_to(noon_ms + 1000);
    LOOP_UNTIL(yard.io, end_of("a") == 1);
    yard_end();
    fault_remove();
}

static void a_mark_tells_what_it_stands_for(void **state)
{
    uint64_t bucket_id = 0;
    uint64_t sequence = 0;

    yard_begin(state, 0);
    (void)push_begin("a", 1, 1000);
    (void)push_begin("a", 2, 2000);
    (void)push_begin("a", 3, HOUR_MS);
    push_wait(3);
    uint64_t mark = due_id_mark(noon_ms + 1000, 1);
    assert_true(
        due_id_marked(&yard.shard.delayed_ids, mark, &bucket_id, &sequence));
    assert_int_equal(bucket_id, topic(".opq.delayed.500000")->id);
    assert_int_equal(sequence, 1);
    mark = due_id_mark(noon_ms + HOUR_MS, 0);
    assert_true(
        due_id_marked(&yard.shard.delayed_ids, mark, &bucket_id, &sequence));
    assert_int_equal(bucket_id, topic(".opq.delayed.500001")->id);
    assert_int_equal(sequence, 0);
    mark = due_id_mark(noon_ms + 2 * HOUR_MS, 7); /* nothing was put there */
    assert_true(
        due_id_marked(&yard.shard.delayed_ids, mark, &bucket_id, &sequence));
    assert_int_equal(bucket_id, 0);
    assert_false(
        due_id_marked(&yard.shard.delayed_ids, 7, &bucket_id, &sequence));
    uint64_t due_ms = noon_ms + 2 * HOUR_MS;
    assert_true(due_id_remember(&yard.shard.delayed_ids, due_ms, 99, 7, &mark));
    assert_true(
        due_id_marked(&yard.shard.delayed_ids, mark, &bucket_id, &sequence));
    assert_int_equal(bucket_id, 99);
    assert_int_equal(sequence, 7);
    assert_false(
        due_id_remember(&yard.shard.delayed_ids, UINT64_MAX, 1, 1, &mark));
    assert_false(
        due_id_remember(&yard.shard.delayed_ids, 1, 1, UINT64_MAX, &mark));
    yard_end();
}

/* --- ids ------------------------------------------------------------------ */

static void ids_have_one_form(void **state)
{
    static const char *const wrong[] = {
        "",
        "dly_",
        "dly_0123456789abcdef-",
        "dly_0123456789abcdef",
        "msg_0123456789abcdef-1",
        "dly_0123456789abcdeF-1",
        "dly_0123456789abcde-1",
        "dly_0123456789abcdef-01",
        "dly_0123456789abcdef--1",
        "dly_0123456789abcdef-18446744073709551616",
    };
    char id[DUE_ID_MAX];
    uint64_t bucket_id = 0;
    uint64_t sequence = 0;

    (void)state;
    char *end = due_id_put(0x0123456789abcdefU, UINT64_MAX, id);
    struct str text = {id, (size_t)(end - id)};
    assert_true(
        str_equal(text, STR("dly_0123456789abcdef-18446744073709551615")));
    assert_int_equal(due_id_read(text, &bucket_id, &sequence), ERR_OK);
    assert_true(bucket_id == 0x0123456789abcdefU && sequence == UINT64_MAX);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(due_id_read(str_from(wrong[i]), &bucket_id, &sequence),
                         ERR_INVALID);
    }
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(a_message_comes_when_it_is_due),
        LOOP_TEST(they_come_in_order_of_due_time),
        LOOP_TEST(a_clock_that_jumps_makes_no_burst),
        LOOP_TEST(a_clock_that_goes_back_makes_them_wait),
        LOOP_TEST(a_message_that_is_late_already_comes_at_once),
        LOOP_TEST(they_wait_through_restarts_and_keep_their_ids),
        LOOP_TEST(a_kill_loses_none),
        LOOP_TEST(a_bucket_goes_when_its_hour_is_over),
        LOOP_TEST(a_log_that_is_left_over_goes),
        LOOP_TEST(what_is_cancelled_does_not_come),
        LOOP_TEST(what_cannot_be_cancelled_comes),
        LOOP_TEST(a_failing_disk_loses_none),
        LOOP_TEST(what_finds_no_room_is_still_delayed),
        LOOP_TEST(a_push_that_fails_leaves_no_bucket),
        LOOP_TEST_ONCE(a_mark_tells_what_it_stands_for),
        LOOP_TEST_ONCE(ids_have_one_form),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
