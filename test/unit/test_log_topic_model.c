/* The log of a topic against a model in memory: random appends, gaps, flushes
 * that fail or not, checkpoints, purges, retention, crashes that lose whatever
 * was not synced; and after each step random reads.
 *
 *     OPQ_TEST_SEED=n   begin with that seed (printed at each failure)
 *     OPQ_TEST_RUNS=n   so many seeds in a row; 12 otherwise
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/str.h"
#include "lib/fault.h"
#include "lib/log_fixture.h"
#include "log/segment.h"
#include "log/topic_log.h"
#include "sys/clock.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    RECORDS_MAX = 6000,
    STEPS = 120,
    RUNS = 12,
    FILES_MAX = 512,
};

/* A file as of the last complete checkpoint. */
struct synced {
    char name[SEGMENT_NAME_MAX];
    uint64_t size;
};

struct model {
    struct log_fixture fixture;
    uint64_t random;
    uint64_t oldest;
    uint64_t end;
    uint64_t delivered;
    uint64_t checkpoint;   /* the last complete one */
    uint64_t journal_from; /* the journal has records from here on */
    uint64_t journal_end;  /* of numbers given at that time */
    bool present[RECORDS_MAX];
    uint64_t times[RECORDS_MAX];
    uint32_t sizes[RECORDS_MAX];
    struct synced synced[FILES_MAX];
    uint32_t synced_count;
};

static struct model model; /* large; one at a time */
static uint64_t seed;

/* xorshift64* */
static uint64_t next_random(uint64_t below)
{
    model.random ^= model.random >> 12;
    model.random ^= model.random << 25;
    model.random ^= model.random >> 27;
    return (model.random * UINT64_C(2685821657736338717) >> 11) % below;
}

static bool chance(uint64_t percent)
{
    return next_random(100) < percent;
}

static void expect(bool condition, const char *text)
{
    if (!condition) {
        fail_msg("OPQ_TEST_SEED=%" PRIu64 ": %s", seed, text);
    }
}

#define EXPECT(condition) expect((condition), #condition)

static const struct topic_log_stats *stats(void)
{
    return topic_log_stats(model.fixture.log);
}

/* --- what may be done ----------------------------------------------------- */

static void append_one(uint64_t sequence)
{
    struct str record = log_fixture_record(sequence, model.times[sequence],
                                           model.sizes[sequence]);
    EXPECT(topic_log_append(model.fixture.log, record) == ERR_OK);
}

static void step_append(void)
{
    uint64_t count = 1 + next_random(chance(10) ? 300 : 30);
    if (chance(5)) {
        model.end += 1 + next_random(10); /* lost numbers */
    }
    for (uint64_t i = 0; i < count && model.end < RECORDS_MAX; i++) {
        uint64_t sequence = model.end++;
        model.present[sequence] = true;
        model.times[sequence] = 1000000 + sequence * 10 + next_random(300);
        model.sizes[sequence] = (uint32_t)next_random(chance(2) ? 90000 : 300);
        append_one(sequence);
    }
}

static void note_synced(void)
{
    DIR *directory = opendir(model.fixture.directory);
    assert_non_null(directory);
    model.synced_count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL;
         entry = readdir(directory)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        EXPECT(model.synced_count < FILES_MAX);
        struct synced *synced = &model.synced[model.synced_count++];
        (void)snprintf(synced->name, sizeof(synced->name), "%.31s",
                       entry->d_name);
        int64_t size = log_fixture_size(&model.fixture, entry->d_name);
        synced->size = (uint64_t)size;
    }
    EXPECT(closedir(directory) == 0);
}

static void random_fault(void)
{
    static const int numbers[] = {EIO, ENOSPC, EMFILE};
    struct fault_plan plan = {
        .kinds = FAULT_ANY,
        .at = 1 + next_random(20),
        .error_number = numbers[next_random(3)],
    };
    if (plan.error_number == EMFILE) {
        plan.kinds = FAULT_OPEN;
    } else if (chance(30)) {
        plan.kinds = FAULT_WRITE;
        plan.short_write = true;
    }
    fault_set(&plan);
}

/* Flush; what may fail, may. */
static void step_flush(bool with_state)
{
    struct log_fixture *fixture = &model.fixture;
    struct topic_flush *flush = NULL;
    fixture->cursor.next = model.delivered;
    enum err err =
        topic_flush_begin(fixture->log, model.checkpoint + 1,
                          with_state ? &fixture->cursor : NULL, &flush);
    if (err == ERR_NOT_FOUND) {
        EXPECT(!with_state);
        return;
    }
    EXPECT(err == ERR_OK);
    uint64_t end = model.end;
    if (chance(50)) {
        step_append();
    }
    if (chance(30)) {
        random_fault();
    }
    err = topic_flush_run(flush);
    EXPECT(err == ERR_OK || fault_fired());
    fault_reset();
    if (err != ERR_OK && chance(50)) {
        err = topic_flush_run(flush);
        EXPECT(err == ERR_OK);
    }
    if (err == ERR_OK && with_state) {
        EXPECT(topic_flush_sync(flush) == ERR_OK);
    }
    topic_flush_end(fixture->log, flush, err);
    if (err == ERR_OK && with_state && chance(80)) {
        model.checkpoint++; /* it is complete */
        model.journal_from = end;
        note_synced();
    }
}

static void step_trim(void)
{
    struct topic_trim trim = {
        .delivered = model.delivered,
        .now_ms = 1000000 + model.end * 10,
    };
    if (chance(30)) {
        trim.before = model.oldest + next_random(200);
        if (trim.before > model.end) {
            trim.before = model.end;
        }
        if (model.delivered < trim.before) {
            model.delivered = trim.before;
        }
    }
    if (chance(30)) {
        trim.count_max = 1 + next_random(500);
    }
    if (chance(30)) {
        trim.bytes_max = 1 + next_random(200000);
    }
    if (chance(30)) {
        trim.age_ms = 1 + next_random(5000);
    }
    uint64_t oldest = 0;
    EXPECT(topic_log_trim(model.fixture.log, &trim, &oldest) == ERR_OK);
    EXPECT(oldest >= model.oldest && oldest >= trim.before);
    EXPECT(oldest <= trim.before || oldest <= trim.delivered ||
           oldest == model.oldest);
    model.oldest = oldest;
    if (chance(70)) {
        (void)log_fixture_remove_dropped(&model.fixture);
    }
}

/* --- crash ---------------------------------------------------------------- */

static uint64_t synced_size(const char *name)
{
    for (uint32_t i = 0; i < model.synced_count; i++) {
        if (strcmp(model.synced[i].name, name) == 0) {
            return model.synced[i].size;
        }
    }
    return 0;
}

/* Take away from a file some of what was written since the checkpoint. */
static void lose_bytes(const char *name)
{
    struct log_fixture *fixture = &model.fixture;
    uint64_t synced = synced_size(name);
    int64_t signed_size = log_fixture_size(fixture, name);
    uint64_t size = (uint64_t)signed_size;
    if (strcmp(name, "cmd") == 0 || strcmp(name, "dlv") == 0) {
        return; /* their slots: test_log_topic_recover */
    }
    if (size <= synced) {
        return;
    }
    if (synced == 0 && chance(30)) {
        log_fixture_remove(fixture, name);
        return;
    }
    if (chance(40)) {
        size = synced + next_random(size - synced + 1);
        log_fixture_cut(fixture, name, size);
    }
    if (chance(40) && size > synced) { /* a hole of zeros */
        static const char zeros[4096];
        uint64_t from = synced + next_random(size - synced);
        uint64_t count = size - from < 4096 ? size - from : 4096;
        log_fixture_write(fixture, name, from, zeros, (size_t)count);
    }
}

static void lose_unsynced(void)
{
    DIR *directory = opendir(model.fixture.directory);
    if (directory == NULL) {
        return;
    }
    char names[FILES_MAX][SEGMENT_NAME_MAX];
    uint32_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL;
         entry = readdir(directory)) {
        if (entry->d_name[0] != '.') {
            EXPECT(count < FILES_MAX);
            (void)snprintf(names[count++], SEGMENT_NAME_MAX, "%.31s",
                           entry->d_name);
        }
    }
    EXPECT(closedir(directory) == 0);
    for (uint32_t i = 0; i < count; i++) {
        lose_bytes(names[i]);
    }
}

/* Crash, and recover as the store does. */
static void step_crash(void)
{
    struct log_fixture *fixture = &model.fixture;
    log_fixture_close(fixture);
    if (chance(70)) {
        lose_unsynced();
    }
    fixture->options.segment_count_max = 50 + next_random(300);
    fixture->options.segment_size_max = 2000 + next_random(200000);
    log_fixture_open(fixture, model.checkpoint);
    for (uint64_t i = model.journal_from; i < model.end; i++) {
        if (model.present[i]) {
            append_one(i);
        }
    }
    EXPECT(topic_log_recovered(fixture->log) == ERR_OK);
    topic_log_set_end(fixture->log, model.end);
    topic_log_set_oldest(fixture->log, model.oldest);
    for (; model.oldest < stats()->oldest; model.oldest++) {
        EXPECT(!model.present[model.oldest]); /* lost numbers may go as well */
    }
    if (chance(50)) {
        (void)log_fixture_remove_dropped(fixture);
    }
}

/* --- what must hold ------------------------------------------------------- */

static void check_read(uint64_t sequence)
{
    uint64_t got = UINT64_MAX;
    enum err err = log_fixture_read(&model.fixture, sequence, &got);
    if (sequence < model.oldest) {
        EXPECT(err == ERR_RANGE);
        return;
    }
    uint64_t expected = sequence;
    while (expected < model.end && !model.present[expected]) {
        expected++;
    }
    if (expected >= model.end) {
        EXPECT(err == ERR_NOT_FOUND);
        return;
    }
    if (err != ERR_OK || got != expected) {
        fail_msg("OPQ_TEST_SEED=%" PRIu64 ": read %" PRIu64 ": %s %" PRIu64
                 ", not %" PRIu64,
                 seed, sequence, err_name(err), got, expected);
    }
}

static void check_time(uint64_t at_ms)
{
    uint64_t expected = model.oldest;
    while (expected < model.end &&
           (!model.present[expected] || model.times[expected] < at_ms)) {
        expected++;
    }
    uint64_t got = UINT64_MAX;
    EXPECT(topic_log_find_time(model.fixture.log, at_ms, &got) == ERR_OK);
    if (got != expected) {
        fail_msg("OPQ_TEST_SEED=%" PRIu64 ": at %" PRIu64 ": %" PRIu64
                 ", not %" PRIu64,
                 seed, at_ms, got, expected);
    }
}

static void check(void)
{
    EXPECT(stats()->end == model.end);
    EXPECT(stats()->oldest == model.oldest);
    EXPECT(stats()->flushed <= stats()->end);
    for (int i = 0; i < 8; i++) {
        check_read(next_random(model.end + 5));
    }
    if (model.end > model.oldest) {
        check_read(model.oldest + next_random(model.end - model.oldest));
    }
    check_time(1000000 + next_random(model.end * 10 + 400));
}

static void check_all(void)
{
    for (uint64_t i = 0; i <= model.end; i++) {
        check_read(i);
    }
}

static void step(void)
{
    uint64_t what = next_random(100);
    if (what < 40) {
        step_append();
    } else if (what < 55) {
        step_flush(false);
    } else if (what < 70) {
        step_flush(true);
    } else if (what < 80) {
        model.delivered += next_random(model.end - model.delivered + 1);
        step_trim();
    } else if (what < 90) {
        topic_log_close_files(model.fixture.log);
    } else {
        step_crash();
    }
}

static void run_seed(void)
{
    memset(&model, 0, sizeof(model));
    model.random = seed * 2 + 1;
    log_fixture_create(&model.fixture);
    model.fixture.options.segment_count_max = 200;
    model.fixture.options.segment_size_max = 100000;
    log_fixture_open(&model.fixture, 0);
    for (int i = 0; i < STEPS && model.end < RECORDS_MAX - 50; i++) {
        step();
        check();
    }
    check_all();
    step_crash();
    check_all();
    log_fixture_destroy(&model.fixture);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t value = 0;
    if (text == NULL || str_to_u64(str_from(text), &value) != ERR_OK) {
        return otherwise;
    }
    return value;
}

static void a_log_does_what_its_model_does(void **state)
{
    (void)state;
    uint64_t first =
        number_of("OPQ_TEST_SEED", clock_wall_ms() % 1000000000 * 1000);
    uint64_t runs = number_of("OPQ_TEST_RUNS", RUNS);
    print_message("# OPQ_TEST_SEED=%" PRIu64 " OPQ_TEST_RUNS=%" PRIu64 "\n",
                  first, runs);
    fault_install();
    for (seed = first; seed < first + runs; seed++) {
        run_seed();
    }
    fault_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_does_what_its_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
