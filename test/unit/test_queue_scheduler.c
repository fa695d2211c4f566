/* Tests of queue/scheduler, with clocks that only go when they are told to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/scheduler.h"

#include "queue/accept.h"

#include "base/wall_time.h"
#include "lib/lone_shard.h"
#include "lib/loop.h"
#include "lib/store_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };
enum { TURNS_MAX = 500 };

/* --- clocks --------------------------------------------------------------- */

static uint64_t wall_ms;
static uint64_t monotonic_ms = 1000000;

uint64_t __wrap_clock_wall_ms(void);
uint64_t __wrap_clock_monotonic_ns(void);

uint64_t __wrap_clock_wall_ms(void)
{
    return wall_ms;
}

uint64_t __wrap_clock_monotonic_ns(void)
{
    return monotonic_ms * 1000000;
}

/* --- the scene ------------------------------------------------------------ */

static struct {
    struct io *io;
    struct store *store;
    struct shard_group group;
    struct shard shard;
    struct scheduler *scheduler;
    bool denied; /* targets are not allowed */
    uint32_t done;
    enum err err;
} scene;

static bool target_allowed(void *context, struct str host)
{
    (void)context;
    (void)host;
    return !scene.denied;
}

static void turns(void)
{
    for (int turn = 0; turn < 10; turn++) {
        io_run_turn(scene.io, 0);
    }
}

#define UNTIL(condition)                                                       \
    do {                                                                       \
        for (int turn = 0; !(condition); turn++) {                             \
            assert_true(turn < TURNS_MAX);                                     \
            io_run_turn(scene.io, 0);                                          \
        }                                                                      \
    } while (0)

static void start(void)
{
    const struct scheduler_options options = {
        .shard = &scene.shard,
        .recorder = {.durability = DURABILITY_DISK,
                     .target_allowed = target_allowed},
    };

    io_run_turn(scene.io, 0);
    assert_int_equal(scheduler_create(&options, &scene.scheduler), ERR_OK);
    assert_int_equal(scheduler_load(scene.scheduler), ERR_OK);
    scheduler_start(scene.scheduler);
    monotonic_ms++;
    turns();
}

static void begin(void **state)
{
    memset(&scene, 0, sizeof(scene));
    assert_int_equal(wall_time_parse(STR("2026-03-28T12:00:00Z"), &wall_ms),
                     ERR_OK);
    scene.io = loop_of(state);
    assert_int_equal(store_memory_create(scene.io, &scene.store), ERR_OK);
    lone_shard_init(&scene.shard, &scene.group, scene.io, scene.store);
    lone_shard_accepts(&scene.shard);
    const struct accept_options options = {.io = scene.io, .dedup_max = 16};
    assert_int_equal(accept_create(&options, &scene.shard.accept), ERR_OK);
    start();
}

static void stop(void)
{
    scheduler_stop(scene.scheduler);
    UNTIL(scheduler_idle(scene.scheduler));
    scheduler_destroy(scene.scheduler);
    scene.scheduler = NULL;
}

static void finish(void)
{
    stop();
    shard_detach_topics(&scene.shard);
    assert_int_equal(store_memory_readers(scene.store), 0);
    accept_destroy(scene.shard.accept);
    store_memory_destroy(scene.store);
}

/* Let time pass, on both clocks, without a turn. Timers are a tick late, so as
 * never to be early. */
static void let_pass(uint64_t ms)
{
    wall_ms += ms;
    monotonic_ms += ms + 1;
}

static void pass(uint64_t ms)
{
    let_pass(ms);
    turns();
}

/* --- what tests do -------------------------------------------------------- */

static void change_done(struct scheduler_change *change, enum err err)
{
    (void)change;
    scene.done++;
    scene.err = err;
}

static enum err wait_change(enum err err)
{
    uint32_t before = scene.done;

    if (err != ERR_OK) {
        return err;
    }
    UNTIL(scene.done > before);
    return scene.err;
}

static struct scheduler_change the_change;
static struct push_refusal refusal;

static enum err put_json(const char *id, const char *json)
{
    the_change = (struct scheduler_change){.done = change_done};
    return wait_change(scheduler_put(scene.scheduler, str_from(id),
                                     str_from(json), &the_change, &refusal));
}

/* Put a schedule that pushes `id` into the topic `id`. */
static enum err put(const char *id, const char *cron, const char *more)
{
    char json[512];

    (void)snprintf(json, sizeof(json),
                   "{\"cron\":\"%s\",\"topic\":\"%s\",\"url\":"
                   "\"http://127.0.0.1:1/x\",\"message\":\"%s\"%s}",
                   cron, id, id, more);
    return put_json(id, json);
}

static enum err pause(const char *id, bool paused)
{
    the_change = (struct scheduler_change){.done = change_done};
    return wait_change(
        scheduler_pause(scene.scheduler, str_from(id), paused, &the_change));
}

static enum err remove_one(const char *id)
{
    the_change = (struct scheduler_change){.done = change_done};
    return wait_change(
        scheduler_remove(scene.scheduler, str_from(id), &the_change));
}

static const struct schedule *get(const char *id)
{
    const struct schedule *schedule =
        scheduler_get(scene.scheduler, str_from(id));

    assert_non_null(schedule);
    return schedule;
}

static struct store_topic *find(const char *name)
{
    struct store_topic *stored = NULL;

    return store_topic_open(scene.store, str_from(name), false, &stored) ==
                   ERR_OK
               ? stored
               : NULL;
}

/* How many messages a topic has got. */
static uint64_t pushed(const char *topic)
{
    const struct store_topic *stored = find(topic);

    return stored != NULL ? stored->bounds.end : 0;
}

/* The id that a message of a topic was given. */
static const char *id_of(const char *topic, uint64_t sequence)
{
    static struct record record;
    static char id[128];
    struct store_reader *reader = NULL;

    assert_int_equal(store_reader_create(find(topic), &reader), ERR_OK);
    assert_int_equal(store_reader_next(reader, sequence, &record), ERR_OK);
    assert_non_null(record.message.options);
    (void)snprintf(id, sizeof(id), "%.*s", STR_ARG(record.message.options->id));
    store_reader_destroy(reader);
    return id;
}

/* --- runs ----------------------------------------------------------------- */

static void a_run_is_pushed_when_it_is_due(void **state)
{
    struct record record;
    struct store_reader *reader = NULL;

    begin(state);
    wall_ms += 30 * SECOND;
    turns();
    assert_int_equal(put("a", "* * * * *", ",\"headers\":{\"X-A\":\"1\"}"),
                     ERR_OK);
    assert_true(the_change.created);
    assert_int_equal(get("a")->next_ms, wall_ms + 30 * SECOND);
    pass(30 * SECOND - 1);
    assert_int_equal(pushed("a"), 0);
    pass(2);
    UNTIL(pushed("a") == 1 && scheduler_idle(scene.scheduler));
    assert_int_equal(store_reader_create(find("a"), &reader), ERR_OK);
    assert_int_equal(store_reader_next(reader, 0, &record), ERR_OK);
    assert_true(str_equal(record.message.body, STR("a")));
    assert_int_equal(record.message.header_count, 1);
    assert_non_null(record.message.options);
    assert_true(
        str_equal(record.message.options->id, STR("sch_a_1774699260000")));
    store_reader_destroy(reader);
    assert_int_equal(get("a")->state.run_count, 1);
    assert_int_equal(get("a")->state.due_ms, 1774699260000);
    for (int minute = 0; minute < 5; minute++) {
        pass(MINUTE);
    }
    assert_int_equal(pushed("a"), 6);
    finish();
}

static void runs_are_of_the_zones_clock(void **state)
{
    begin(state);
    /* The next day at 2:30 is in a gap in Berlin: at 3:00, which is 1:00Z. */
    assert_int_equal(put("a", "30 2 * * *", ",\"zone\":\"Europe/Berlin\""),
                     ERR_OK);
    assert_int_equal(get("a")->next_ms, wall_ms + 13 * HOUR);
    for (int hour = 0; hour < 12; hour++) {
        pass(HOUR);
    }
    assert_int_equal(pushed("a"), 0);
    pass(HOUR);
    assert_int_equal(pushed("a"), 1);
    assert_int_equal(get("a")->next_ms, wall_ms + 23 * HOUR + HOUR / 2);
    finish();
}

static void a_paused_schedule_makes_no_runs_and_makes_up_for_none(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ",\"missed\":\"once\""), ERR_OK);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 1);
    assert_int_equal(pause("a", true), ERR_OK);
    assert_int_equal(get("a")->next_ms, 0);
    for (int minute = 0; minute < 5; minute++) {
        pass(MINUTE);
    }
    assert_int_equal(pushed("a"), 1);
    pass(30 * SECOND);
    assert_int_equal(pause("a", false), ERR_OK);
    turns();
    assert_int_equal(pushed("a"), 1);
    pass(30 * SECOND);
    assert_int_equal(pushed("a"), 2);
    assert_int_equal(pause("nobody", true), ERR_NOT_FOUND);
    finish();
}

static void a_schedule_may_begin_paused(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ",\"paused\":true"), ERR_OK);
    pass(2 * MINUTE);
    assert_int_equal(pushed("a"), 0);
    stop();
    start();
    assert_true(get("a")->state.paused);
    assert_int_equal(pause("a", false), ERR_OK);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 1);
    finish();
}

/* --- jumps of the clock --------------------------------------------------- */

/* A machine that slept: the wall clock has gone on, the other has not. */
static void after_a_sleep_there_is_one_run_or_none(void **state)
{
    begin(state);
    assert_int_equal(put("once", "* * * * * *", ",\"missed\":\"once\""),
                     ERR_OK);
    assert_int_equal(put("skip", "* * * * * *", ""), ERR_OK);
    pass(SECOND);
    pass(SECOND);
    assert_int_equal(pushed("once"), 2);
    assert_int_equal(pushed("skip"), 2);
    wall_ms += 5 * HOUR;
    monotonic_ms += MINUTE + 1; /* it is noticed within that */
    turns();
    assert_int_equal(pushed("once"), 3);
    assert_int_equal(pushed("skip"), 2);
    assert_int_equal(scheduler_stats(scene.scheduler)->runs_missed, 1);
    pass(SECOND);
    assert_int_equal(pushed("once"), 4);
    assert_int_equal(pushed("skip"), 3);
    finish();
}

/* A loop that was held up: one run, however many times have passed. */
static void a_held_up_loop_makes_no_burst(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * * *", ""), ERR_OK);
    pass(30 * SECOND);
    assert_int_equal(pushed("a"), 1);
    pass(SECOND);
    assert_int_equal(pushed("a"), 2);
    finish();
}

static void a_clock_set_back_a_little_repeats_nothing(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 1);
    wall_ms -= HOUR;
    for (int minute = 0; minute < 60; minute++) {
        pass(MINUTE);
    }
    assert_int_equal(pushed("a"), 1);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 2);
    finish();
}

static void a_clock_set_back_by_much_is_gone_by(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    pass(MINUTE);
    wall_ms -= 24 * HOUR;
    for (int minute = 0; minute < 3; minute++) {
        pass(MINUTE);
    }
    /* The first of them is the look that notices it. */
    assert_int_equal(pushed("a"), 3);
    stop();
    start();
    pass(MINUTE);
    assert_int_equal(pushed("a"), 4);
    finish();
}

/* --- restarts ------------------------------------------------------------- */

static void a_restart_keeps_everything(void **state)
{
    begin(state);
    assert_int_equal(put("b", "0 0 1 1 *", ",\"zone\":\"Asia/Kolkata\""),
                     ERR_OK);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    pass(MINUTE);
    pass(MINUTE);
    struct schedule_state before = get("a")->state;
    stop();
    start();
    assert_int_equal(scheduler_count(scene.scheduler), 2);
    assert_string_equal(scheduler_at(scene.scheduler, 0)->id, "a");
    assert_string_equal(scheduler_at(scene.scheduler, 1)->id, "b");
    assert_int_equal(scheduler_find(scene.scheduler, STR("aa")), 1);
    assert_int_equal(get("a")->state.since_ms, before.since_ms);
    assert_int_equal(get("a")->state.due_ms, before.due_ms);
    assert_int_equal(get("a")->state.run_ms, before.run_ms);
    assert_int_equal(get("a")->state.run_count, 2);
    assert_string_equal(get("b")->definition.zone, "Asia/Kolkata");
    assert_string_equal(get("b")->definition.cron_text, "0 0 1 1 *");
    assert_int_equal(pushed("a"), 2);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 3);
    finish();
}

static void what_was_missed_while_down_runs_once_or_not(void **state)
{
    begin(state);
    assert_int_equal(put("once", "* * * * *", ",\"missed\":\"once\""), ERR_OK);
    assert_int_equal(put("skip", "* * * * *", ",\"missed\":\"skip\""), ERR_OK);
    pass(MINUTE);
    stop();
    wall_ms += 2 * HOUR + 30 * SECOND;
    start();
    assert_int_equal(pushed("once"), 2);
    assert_string_equal(id_of("once", 1), "sch_once_1774699320000");
    assert_int_equal(pushed("skip"), 1);
    pass(30 * SECOND);
    assert_int_equal(pushed("once"), 3);
    assert_int_equal(pushed("skip"), 2);
    stop();
    wall_ms += 10 * SECOND; /* nothing passed */
    start();
    assert_int_equal(pushed("once"), 3);
    finish();
}

/* A crash between a push and its note: the same run, by its id, again. */
static void a_run_that_was_not_noted_is_made_again(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ",\"missed\":\"once\""), ERR_OK);
    let_pass(MINUTE);
    UNTIL(pushed("a") == 1);
    store_memory_fail_commits(scene.store, ERR_IO, 1);
    UNTIL(scheduler_idle(scene.scheduler));
    assert_string_equal(id_of("a", 0), "sch_a_1774699260000");
    stop();
    start();
    assert_int_equal(pushed("a"), 2);
    assert_string_equal(id_of("a", 1), "sch_a_1774699260000");
    finish();
}

static void a_damaged_message_costs_the_last_change_only(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    assert_int_equal(put("a", "0 * * * *", ""), ERR_OK);
    assert_false(the_change.created);
    stop();
    store_memory_lose(find(".opq.schedule.a"), 1);
    start();
    assert_string_equal(get("a")->definition.cron_text, "* * * * *");
    stop();
    store_memory_lose(find(".opq.schedule.a"), 0);
    start();
    assert_int_equal(scheduler_count(scene.scheduler), 0);
    finish();
}

static void appended(struct store_op *op, enum err err)
{
    (void)op;
    assert_int_equal(err, ERR_OK);
}

/* What is kept may be of a program that knew more. */
static void a_definition_that_is_not_understood_is_kept(void **state)
{
    struct schedule_definition definition = {.zone = "UTC"};
    struct schedule_state kept_state = {0};
    struct schedule_message kept;
    struct store_op op = {.durability = DURABILITY_DISK, .done = appended};
    struct topic *topic = NULL;

    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    buf_append_c(&definition.json, "{\"cron\":\"@reboot\"}");
    schedule_message_make(&definition, &kept_state, wall_ms, &kept);
    assert_int_equal(
        shard_topic(&scene.shard, STR(".opq.schedule.a"), false, &topic),
        ERR_OK);
    scheduler_stop(scene.scheduler);
    assert_int_equal(store_append(topic->store, &kept.message, &op), ERR_OK);
    buf_fini(&definition.json);
    turns();
    stop();
    start();
    assert_true(strstr(get("a")->error, "cron") != NULL);
    assert_int_equal(get("a")->next_ms, 0);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 0);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 1);
    finish();
}

/* --- failures ------------------------------------------------------------- */

static void a_run_that_cannot_be_stored_is_tried_again(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    store_memory_fail_commits(scene.store, ERR_FULL, 3);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 0);
    pass(SECOND);
    pass(2 * SECOND);
    assert_int_equal(pushed("a"), 0);
    assert_int_equal(get("a")->retry_count, 3);
    assert_non_null(strstr(get("a")->error, "no room on disk"));
    pass(4 * SECOND);
    assert_int_equal(pushed("a"), 1);
    assert_int_equal(get("a")->retry_count, 0);
    assert_string_equal(get("a")->error, "");
    assert_string_equal(id_of("a", 0), "sch_a_1774699260000");
    pass(53 * SECOND);
    assert_int_equal(pushed("a"), 2);
    assert_int_equal(get("a")->state.run_count, 2);
    assert_int_equal(get("a")->state.fail_count, 0);
    finish();
}

/* However long that takes: a run that was begun is not one that was missed. */
static void a_run_is_tried_again_past_the_next_ones(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    store_memory_fail_commits(scene.store, ERR_FULL, 10);
    for (int minute = 0; minute < 12; minute++) {
        pass(MINUTE);
    }
    assert_true(pushed("a") >= 1);
    assert_string_equal(id_of("a", 0), "sch_a_1774699260000");
    assert_true(pushed("a") <= 3);
    finish();
}

static void a_run_that_is_refused_is_given_up(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    stop();
    scene.denied = true; /* and no URL is remembered as good */
    start();
    pass(MINUTE);
    assert_int_equal(pushed("a"), 0);
    assert_int_equal(get("a")->state.fail_count, 1);
    assert_non_null(strstr(get("a")->error, "not allowed"));
    scene.denied = false;
    pass(MINUTE);
    assert_int_equal(pushed("a"), 1);
    assert_string_equal(get("a")->error, "");
    finish();
}

static void a_change_that_fails_changes_nothing(void **state)
{
    begin(state);
    store_memory_fail_commits(scene.store, ERR_IO, 1);
    assert_int_equal(put("a", "* * * * *", ""), ERR_IO);
    assert_null(scheduler_get(scene.scheduler, STR("a")));
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    store_memory_fail_commits(scene.store, ERR_IO, 1);
    assert_int_equal(put("a", "0 0 1 1 *", ",\"zone\":\"Asia/Kolkata\""),
                     ERR_IO);
    assert_string_equal(get("a")->definition.cron_text, "* * * * *");
    store_memory_fail_commits(scene.store, ERR_FULL, 1);
    assert_int_equal(pause("a", true), ERR_FULL);
    assert_false(get("a")->state.paused);
    store_memory_fail_commits(scene.store, ERR_IO, 1);
    assert_int_equal(remove_one("a"), ERR_IO);
    pass(MINUTE);
    assert_int_equal(pushed("a"), 1);
    stop();
    start();
    assert_string_equal(get("a")->definition.cron_text, "* * * * *");
    assert_false(get("a")->state.paused);
    finish();
}

static void one_change_at_a_time(void **state)
{
    struct scheduler_change first = {.done = change_done};
    struct scheduler_change second = {.done = change_done};
    struct scheduler_run run;
    const char *json = "{\"cron\":\"@daily\",\"topic\":\"t\",\"url\":"
                       "\"http://127.0.0.1:1/x\"}";

    begin(state);
    assert_int_equal(scheduler_put(scene.scheduler, STR("a"), str_from(json),
                                   &first, &refusal),
                     ERR_OK);
    assert_true(scheduler_at(scene.scheduler, 0)->fresh);
    assert_int_equal(scheduler_run(scene.scheduler, STR("a"), &run, &refusal),
                     ERR_NOT_FOUND);
    assert_int_equal(scheduler_put(scene.scheduler, STR("a"), str_from(json),
                                   &second, &refusal),
                     ERR_BUSY);
    assert_int_equal(scheduler_pause(scene.scheduler, STR("a"), true, &second),
                     ERR_BUSY);
    assert_int_equal(scheduler_remove(scene.scheduler, STR("a"), &second),
                     ERR_BUSY);
    UNTIL(scene.done == 1);
    assert_int_equal(scene.err, ERR_OK);
    assert_int_equal(remove_one("a"), ERR_OK);
    finish();
}

/* --- removal, and what is kept -------------------------------------------- */

static void a_removed_schedule_is_gone_with_its_topic(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    assert_int_equal(remove_one("a"), ERR_OK);
    assert_null(scheduler_get(scene.scheduler, STR("a")));
    assert_null(find(".opq.schedule.a"));
    assert_int_equal(remove_one("a"), ERR_NOT_FOUND);
    pass(2 * MINUTE);
    assert_int_equal(pushed("a"), 0);
    stop();
    start();
    assert_int_equal(scheduler_count(scene.scheduler), 0);
    finish();
}

/* While its run and its note are under way, too. */
static void a_schedule_may_be_removed_at_any_turn(void **state)
{
    for (int after = 0; after < 6; after++) {
        begin(state);
        assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
        let_pass(MINUTE);
        for (int turn = 0; turn < after; turn++) {
            io_run_turn(scene.io, 0);
        }
        assert_int_equal(remove_one("a"), ERR_OK);
        turns();
        assert_null(find(".opq.schedule.a"));
        finish();
    }
}

static void old_messages_of_a_schedule_are_dropped(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    for (int minute = 0; minute < 3 * SCHEDULER_KEPT_MAX; minute++) {
        pass(MINUTE);
    }
    const struct store_topic *stored = find(".opq.schedule.a");
    assert_int_equal(stored->bounds.end, 3 * SCHEDULER_KEPT_MAX + 1);
    assert_true(stored->bounds.end - stored->bounds.oldest <=
                SCHEDULER_KEPT_MAX);
    stop();
    start();
    assert_int_equal(get("a")->state.run_count, 3 * SCHEDULER_KEPT_MAX);
    finish();
}

/* A purge that fails is not begun again at once, and again. */
static void a_full_disk_makes_no_loop_of_purges(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * * * *", ""), ERR_OK);
    for (int minute = 1; minute < SCHEDULER_KEPT_MAX; minute++) {
        pass(MINUTE);
    }
    const struct store_topic *stored = find(".opq.schedule.a");
    uint64_t end = stored->bounds.end;
    assert_int_equal(end - stored->bounds.oldest, SCHEDULER_KEPT_MAX);
    let_pass(MINUTE);
    UNTIL(stored->bounds.end > end && stored->bounds.oldest == end);
    store_memory_fail_commits(scene.store, ERR_FULL, UINT32_MAX);
    turns();
    assert_true(scheduler_idle(scene.scheduler));
    assert_int_equal(stored->bounds.oldest, 0);
    store_memory_fail_commits(scene.store, ERR_OK, 0);
    pass(MINUTE);
    assert_int_equal(stored->bounds.oldest, end + 1);
    finish();
}

/* The next run may be far: it is not waited for. */
static void a_note_that_failed_is_made_again(void **state)
{
    begin(state);
    assert_int_equal(put("a", "1 12 28 3 *", ",\"missed\":\"once\""), ERR_OK);
    let_pass(MINUTE);
    UNTIL(pushed("a") == 1);
    store_memory_fail_commits(scene.store, ERR_FULL, 2);
    UNTIL(scheduler_idle(scene.scheduler));
    pass(SCHEDULER_LOOK_MS);
    pass(SCHEDULER_LOOK_MS);
    stop();
    start();
    assert_int_equal(pushed("a"), 1);
    assert_int_equal(get("a")->state.run_count, 1);
    finish();
}

/* --- runs by hand --------------------------------------------------------- */

static void run_done(struct scheduler_run *run, enum err err)
{
    (void)run;
    change_done(NULL, err);
}

static void a_run_by_hand_leaves_the_plan_alone(void **state)
{
    struct scheduler_run run = {.done = run_done};

    begin(state);
    assert_int_equal(put("a", "0 * * * *", ",\"paused\":true"), ERR_OK);
    for (uint64_t count = 1; count <= 3; count++) {
        assert_int_equal(wait_change(scheduler_run(scene.scheduler, STR("a"),
                                                   &run, &refusal)),
                         ERR_OK);
        assert_int_equal(pushed("a"), count);
    }
    assert_string_equal(run.json,
                        "{\"id\":\"sch_a_1774699200003\",\"topic\":\"a\","
                        "\"seq\":2,\"durability\":\"disk\"}");
    assert_string_equal(id_of("a", 0), "sch_a_1774699200001");
    assert_string_equal(id_of("a", 2), "sch_a_1774699200003");
    assert_int_equal(get("a")->state.run_count, 3);
    assert_int_equal(get("a")->state.due_ms, 0);
    assert_int_equal(scheduler_run(scene.scheduler, STR("b"), &run, &refusal),
                     ERR_NOT_FOUND);
    store_memory_fail_commits(scene.store, ERR_IO, 1);
    assert_int_equal(
        wait_change(scheduler_run(scene.scheduler, STR("a"), &run, &refusal)),
        ERR_IO);
    finish();
}

static void what_is_refused_leaves_nothing(void **state)
{
    begin(state);
    assert_int_equal(put("a", "* * *", ""), ERR_INVALID);
    assert_int_equal(refusal.status, 400);
    assert_int_equal(put("a", "@daily", ",\"zone\":\"Mars/Base\""),
                     ERR_INVALID);
    assert_non_null(strstr(refusal.detail, "zone Mars/Base is not known"));
    assert_int_equal(put("a", "@daily", ",\"colour\":\"red\""), ERR_INVALID);
    assert_int_equal(scheduler_count(scene.scheduler), 0);
    assert_null(find(".opq.schedule.a"));
    finish();
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST_ONCE(a_run_is_pushed_when_it_is_due),
        LOOP_TEST_ONCE(runs_are_of_the_zones_clock),
        LOOP_TEST_ONCE(a_paused_schedule_makes_no_runs_and_makes_up_for_none),
        LOOP_TEST_ONCE(a_schedule_may_begin_paused),
        LOOP_TEST_ONCE(after_a_sleep_there_is_one_run_or_none),
        LOOP_TEST_ONCE(a_held_up_loop_makes_no_burst),
        LOOP_TEST_ONCE(a_clock_set_back_a_little_repeats_nothing),
        LOOP_TEST_ONCE(a_clock_set_back_by_much_is_gone_by),
        LOOP_TEST_ONCE(a_restart_keeps_everything),
        LOOP_TEST_ONCE(what_was_missed_while_down_runs_once_or_not),
        LOOP_TEST_ONCE(a_run_that_was_not_noted_is_made_again),
        LOOP_TEST_ONCE(a_damaged_message_costs_the_last_change_only),
        LOOP_TEST_ONCE(a_definition_that_is_not_understood_is_kept),
        LOOP_TEST_ONCE(a_run_that_cannot_be_stored_is_tried_again),
        LOOP_TEST_ONCE(a_run_is_tried_again_past_the_next_ones),
        LOOP_TEST_ONCE(a_run_that_is_refused_is_given_up),
        LOOP_TEST_ONCE(a_change_that_fails_changes_nothing),
        LOOP_TEST_ONCE(one_change_at_a_time),
        LOOP_TEST_ONCE(a_removed_schedule_is_gone_with_its_topic),
        LOOP_TEST_ONCE(a_schedule_may_be_removed_at_any_turn),
        LOOP_TEST_ONCE(old_messages_of_a_schedule_are_dropped),
        LOOP_TEST_ONCE(a_full_disk_makes_no_loop_of_purges),
        LOOP_TEST_ONCE(a_note_that_failed_is_made_again),
        LOOP_TEST_ONCE(a_run_by_hand_leaves_the_plan_alone),
        LOOP_TEST_ONCE(what_is_refused_leaves_nothing),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
