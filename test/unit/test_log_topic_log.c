/* The log of a topic: append, flush, find, roll, trim, files.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/log_fixture.h"
#include "log/record.h"
#include "log/topic_log.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct log_fixture *fixture = malloc(sizeof(*fixture));
    assert_non_null(fixture);
    log_fixture_create(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    log_fixture_destroy(*state);
    free(*state);
    return 0;
}

/* What /proc says of this process. */
static uint32_t count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    uint32_t count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    assert_int_equal(closedir(directory), 0);
    return count;
}

static uint32_t count_maps(void)
{
    FILE *file = fopen("/proc/self/maps", "re");
    assert_non_null(file);
    uint32_t count = 0;
    for (int byte = fgetc(file); byte != EOF; byte = fgetc(file)) {
        count += byte == '\n' ? 1 : 0;
    }
    assert_int_equal(fclose(file), 0);
    return count;
}

static struct topic_trim trim_of(const struct log_fixture *fixture)
{
    return (struct topic_trim){
        .delivered = log_fixture_stats(fixture)->end,
        .now_ms = log_fixture_time(fixture, log_fixture_stats(fixture)->end),
    };
}

static uint64_t trim(struct log_fixture *fixture, const struct topic_trim *how)
{
    uint64_t oldest = UINT64_MAX;
    assert_int_equal(topic_log_trim(fixture->log, how, &oldest), ERR_OK);
    assert_true(oldest == log_fixture_stats(fixture)->oldest);
    return oldest;
}

static void
find_time(struct log_fixture *fixture, uint64_t at_ms, uint64_t expected)
{
    uint64_t sequence = UINT64_MAX;
    assert_int_equal(topic_log_find_time(fixture->log, at_ms, &sequence),
                     ERR_OK);
    if (sequence != expected) {
        fail_msg("at %llu: %llu, not %llu", (unsigned long long)at_ms,
                 (unsigned long long)sequence, (unsigned long long)expected);
    }
}

/* --- open ----------------------------------------------------------------- */

static void a_folder_that_is_not_there_is_an_empty_log(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    struct topic_place place;
    assert_int_equal(log_fixture_stats(fixture)->end, 0);
    assert_int_equal(topic_log_find(fixture->log, 0, &place), ERR_NOT_FOUND);
    assert_int_equal(fixture->cursor.next, 0);
    struct topic_flush *flush = NULL;
    assert_int_equal(topic_flush_begin(fixture->log, 0, NULL, &flush),
                     ERR_NOT_FOUND);
    assert_null(topic_log_take_dropped(fixture->log));
}

static void segment_sizes_out_of_bounds_are_refused(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_log *log = NULL;
    struct topic_cursor cursor;
    fixture->options.directory = fixture->directory;
    struct topic_log_options options = fixture->options;
    options.segment_size_max = 0;
    assert_int_equal(topic_log_open(&options, &log, &cursor), ERR_INVALID);
    options.segment_size_max = TOPIC_SEGMENT_SIZE_MAX + 1;
    assert_int_equal(topic_log_open(&options, &log, &cursor), ERR_INVALID);
    options = fixture->options;
    options.segment_count_max = 0;
    assert_int_equal(topic_log_open(&options, &log, &cursor), ERR_INVALID);
    options.segment_count_max = TOPIC_SEGMENT_COUNT_MAX + 1;
    assert_int_equal(topic_log_open(&options, &log, &cursor), ERR_INVALID);
    options.segment_count_max = TOPIC_SEGMENT_COUNT_MAX;
    options.segment_size_max = TOPIC_SEGMENT_SIZE_MAX;
    assert_int_equal(topic_log_open(&options, &log, &cursor), ERR_OK);
    topic_log_close(log);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    struct log_fixture *fixture = *state;
    char path[5000];
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    struct topic_log_options options = fixture->options;
    options.directory = path;
    struct topic_log *log = NULL;
    struct topic_cursor cursor;
    assert_int_equal(topic_log_open(&options, &log, &cursor), ERR_TOO_LARGE);
    assert_null(log);
}

static void a_fresh_log_does_not_look_at_its_folder(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 10);
    log_fixture_flush(fixture, 1);
    log_fixture_close(fixture);
    fixture->options.fresh = true;
    log_fixture_open(fixture, 1);
    assert_int_equal(log_fixture_stats(fixture)->end, 0);
    log_fixture_append(fixture, 0, 3);
    log_fixture_flush(fixture, 2);
    log_fixture_close(fixture);
    fixture->options.fresh = false;
    log_fixture_open(fixture, 2);
    assert_int_equal(log_fixture_stats(fixture)->end, 3);
    log_fixture_expect(fixture, 0, 3);
}

/* --- memory --------------------------------------------------------------- */

static void records_are_found_in_memory_one_by_one_and_in_a_row(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 5000);
    log_fixture_expect(fixture, 0, 5000);
    struct topic_place place;
    uint64_t sequence = 0;
    uint32_t finds = 0;
    while (topic_log_find(fixture->log, sequence, &place) == ERR_OK) {
        assert_true(place.first == sequence);
        assert_int_equal(place.memory.size % 88, 0);
        sequence += place.memory.size / 88;
        finds++;
    }
    assert_int_equal(sequence, 5000);
    assert_true(finds < 20); /* by chunks, not by records */
    for (uint64_t i = 5000; i > 0; i--) {
        log_fixture_expect(fixture, i - 1, i);
    }
}

static void a_topic_with_one_message_holds_little_memory(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 1);
    assert_true(log_fixture_stats(fixture)->memory_bytes <= 4096);
    log_fixture_append(fixture, 1, 20000);
    uint64_t bytes = UINT64_C(20000) * 88;
    assert_true(log_fixture_stats(fixture)->memory_bytes >= bytes);
    assert_true(log_fixture_stats(fixture)->memory_bytes < bytes * 11 / 10);
    log_fixture_flush(fixture, 0);
    assert_int_equal(log_fixture_stats(fixture)->memory_bytes, 0);
}

static void a_record_larger_than_a_chunk_has_one_of_its_own(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 3);
    fixture->payload_size = 3000001;
    log_fixture_append(fixture, 3, 5);
    fixture->payload_size = 0;
    log_fixture_append(fixture, 5, 8);
    log_fixture_expect(fixture, 0, 8);
    log_fixture_flush(fixture, 1);
    log_fixture_expect(fixture, 0, 8);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 1);
    log_fixture_expect(fixture, 0, 8);
}

static void numbers_that_were_skipped_are_lost(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 10);
    log_fixture_append(fixture, 15, 20);
    uint64_t sequence = 0;
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 5);
    for (int flushed = 0; flushed < 2; flushed++) {
        for (uint64_t i = 10; i < 15; i++) {
            struct topic_place place;
            assert_int_equal(topic_log_find(fixture->log, i, &place), ERR_OK);
            assert_true(place.first == 15);
            assert_true(place.damaged_skip);
            assert_int_equal(log_fixture_read(fixture, i, &sequence), ERR_OK);
            assert_int_equal(sequence, 15);
        }
        log_fixture_expect(fixture, 0, 10);
        log_fixture_expect(fixture, 15, 20);
        log_fixture_flush(fixture, 1);
    }
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 2);
    assert_true(log_fixture_size(fixture, "15.msg") > 0);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 1);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 5);
    assert_int_equal(log_fixture_read(fixture, 12, &sequence), ERR_OK);
    assert_int_equal(sequence, 15);
}

static void numbers_that_were_given_are_not_given_again(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 10);
    topic_log_set_end(fixture->log, 5);
    assert_int_equal(log_fixture_stats(fixture)->end, 10);
    topic_log_set_end(fixture->log, 12);
    assert_int_equal(log_fixture_stats(fixture)->end, 12);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 2);
    uint64_t sequence = 0;
    assert_int_equal(log_fixture_read(fixture, 11, &sequence), ERR_NOT_FOUND);
    log_fixture_flush(fixture, 1);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 1);
    assert_int_equal(log_fixture_stats(fixture)->end, 12);
    log_fixture_append(fixture, 12, 14);
    assert_int_equal(log_fixture_read(fixture, 10, &sequence), ERR_OK);
    assert_int_equal(sequence, 12);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 0, 10);
    log_fixture_expect(fixture, 12, 14);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 2);
}

/* --- flush ---------------------------------------------------------------- */

static void records_are_found_before_during_and_after_a_flush(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 1000);
    log_fixture_flush(fixture, 0);
    log_fixture_append(fixture, 1000, 2000);
    struct topic_flush *flush = NULL;
    assert_int_equal(topic_flush_begin(fixture->log, 0, NULL, &flush), ERR_OK);
    struct topic_flush *second = NULL;
    assert_int_equal(topic_flush_begin(fixture->log, 0, NULL, &second),
                     ERR_BUSY);
    log_fixture_append(fixture, 2000, 3000);
    log_fixture_expect(fixture, 0, 3000);
    assert_int_equal(topic_flush_run(flush), ERR_OK);
    log_fixture_expect(fixture, 0, 3000);
    assert_int_equal(log_fixture_stats(fixture)->flushed, 1000);
    topic_flush_end(fixture->log, flush, ERR_OK);
    assert_int_equal(log_fixture_stats(fixture)->flushed, 2000);
    log_fixture_expect(fixture, 0, 3000);
    log_fixture_flush(fixture, 0);
    log_fixture_expect(fixture, 0, 3000);
    assert_int_equal(log_fixture_stats(fixture)->memory_bytes, 0);
}

/* The helper's part of a flush. */
struct helper {
    struct topic_flush *flush;
    enum err err;
};

static void *run_on_helper(void *context)
{
    struct helper *helper = context;
    helper->err = topic_flush_run(helper->flush);
    if (helper->err == ERR_OK) {
        helper->err = topic_flush_sync(helper->flush);
    }
    return NULL;
}

static void a_flush_runs_beside_the_loop(void **state)
{
    /* For the thread sanitizer: all that the loop may do meanwhile. */
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 700;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 2000);
    uint64_t end = 2000;
    for (uint64_t round = 1; round <= 10; round++) {
        struct helper helper = {0};
        assert_int_equal(topic_flush_begin(fixture->log, round,
                                           &fixture->cursor, &helper.flush),
                         ERR_OK);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_on_helper, &helper),
                         0);
        log_fixture_append(fixture, end, end + 1000);
        end += 1000;
        uint64_t oldest = log_fixture_stats(fixture)->oldest;
        for (uint64_t i = oldest; i < end; i += 97) {
            log_fixture_expect(fixture, i, i + 1);
        }
        find_time(fixture, log_fixture_time(fixture, end - 10), end - 10);
        struct topic_trim how = trim_of(fixture);
        how.count_max = 2500;
        (void)trim(fixture, &how);
        (void)log_fixture_remove_dropped(fixture);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(helper.err, ERR_OK);
        topic_flush_end(fixture->log, helper.flush, ERR_OK);
    }
    log_fixture_expect(fixture, log_fixture_stats(fixture)->oldest, end);
}

static void a_segment_ends_by_count(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    log_fixture_open(fixture, 0);
    for (uint64_t i = 0; i < 1000; i += 30) {
        log_fixture_append(fixture, i, i + 30 < 1000 ? i + 30 : 1000);
        log_fixture_flush(fixture, 0);
    }
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 10);
    assert_int_equal(log_fixture_size(fixture, "900.msg"), 64 + 100 * 88);
    log_fixture_expect(fixture, 0, 1000);
    uint64_t sequence = 0;
    assert_int_equal(log_fixture_read(fixture, 1000, &sequence), ERR_NOT_FOUND);
}

static void a_segment_ends_by_size(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_size_max = 64 + 10 * 88;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 25);
    log_fixture_flush(fixture, 0);
    assert_int_equal(log_fixture_size(fixture, "0.msg"), 64 + 10 * 88);
    assert_int_equal(log_fixture_size(fixture, "10.msg"), 64 + 10 * 88);
    assert_int_equal(log_fixture_size(fixture, "20.msg"), 64 + 5 * 88);
    log_fixture_expect(fixture, 0, 25);
}

static void a_record_larger_than_a_segment_has_one_of_its_own(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_size_max = 2000;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 3);
    fixture->payload_size = 100000;
    log_fixture_append(fixture, 3, 5);
    fixture->payload_size = 40;
    log_fixture_append(fixture, 5, 8);
    log_fixture_flush(fixture, 1);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 4);
    log_fixture_expect(fixture, 0, 8);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 1);
    log_fixture_expect(fixture, 0, 8);
}

static void state_alone_can_be_flushed(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    fixture->cursor.epoch = 3;
    log_fixture_flush(fixture, 1);
    log_fixture_append(fixture, 0, 10);
    fixture->cursor.next = 4;
    fixture->cursor.attempts = 2;
    fixture->cursor.range_count = 1;
    fixture->cursor.ranges[0].first = 6;
    fixture->cursor.ranges[0].end = 8;
    log_fixture_flush(fixture, 2);
    log_fixture_close(fixture);
    fixture->cursor = (struct topic_cursor){0};
    log_fixture_open(fixture, 2);
    assert_int_equal(fixture->cursor.epoch, 3);
    assert_int_equal(fixture->cursor.next, 4);
    assert_int_equal(fixture->cursor.attempts, 2);
    assert_int_equal(fixture->cursor.range_count, 1);
    assert_int_equal(fixture->cursor.ranges[0].first, 6);
    assert_int_equal(fixture->cursor.ranges[0].end, 8);
    log_fixture_expect(fixture, 0, 10);
    log_fixture_flush(fixture, 3);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 3);
    assert_int_equal(fixture->cursor.next, 4);
    assert_int_equal(log_fixture_stats(fixture)->end, 10);
}

static void a_writer_goes_on_after_its_files_were_closed(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    for (uint64_t i = 0; i < 50; i++) {
        log_fixture_append(fixture, i * 20, i * 20 + 20);
        log_fixture_flush(fixture, i + 1);
        topic_log_close_files(fixture->log);
        assert_int_equal(log_fixture_stats(fixture)->files_open, 0);
    }
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 1);
    log_fixture_expect(fixture, 0, 1000);
    /* The index is that of one writer without a break. */
    int64_t entries = log_fixture_size(fixture, "0.idx") / 16;
    assert_int_equal(entries, (1000 * 88 + 4135) / 4136);
}

/* --- files ---------------------------------------------------------------- */

static void a_file_that_waits_for_a_sync_stays_open(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 10;
    uint32_t before = count_descriptors();
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 35);
    log_fixture_flush(fixture, 0);
    topic_log_close_files(fixture->log);
    assert_int_equal(log_fixture_stats(fixture)->files_open, 4);
    assert_int_equal(count_descriptors(), before + 4);
    log_fixture_flush(fixture, 1);
    topic_log_close_files(fixture->log);
    assert_int_equal(log_fixture_stats(fixture)->files_open, 0);
    assert_int_equal(count_descriptors(), before);
    log_fixture_append(fixture, 35, 55);
    struct topic_flush *flush = NULL;
    assert_int_equal(
        topic_flush_begin(fixture->log, 2, &fixture->cursor, &flush), ERR_OK);
    assert_int_equal(topic_flush_run(flush), ERR_OK);
    topic_flush_synced(flush); /* by syncfs, say */
    topic_flush_end(fixture->log, flush, ERR_OK);
    topic_log_close_files(fixture->log);
    assert_int_equal(count_descriptors(), before);
}

static void closing_files_thousands_of_times_leaves_nothing(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 1000);
    log_fixture_flush(fixture, 1);
    topic_log_close_files(fixture->log);
    uint32_t descriptors = count_descriptors();
    uint32_t maps = count_maps();
    for (uint64_t i = 0; i < 3000; i++) {
        log_fixture_expect(fixture, i * 37 % 1000, i * 37 % 1000 + 1);
        if (i % 100 == 0) {
            assert_true(log_fixture_stats(fixture)->files_open > 0);
            assert_true(count_maps() > maps);
        }
        topic_log_close_files(fixture->log);
        assert_int_equal(log_fixture_stats(fixture)->files_open, 0);
    }
    assert_int_equal(count_descriptors(), descriptors);
    assert_true(count_maps() <= maps + 1);
    for (int i = 0; i < 1000; i++) {
        log_fixture_close(fixture);
        log_fixture_open(fixture, 1);
        log_fixture_expect(fixture, 950, 951);
    }
    topic_log_close_files(fixture->log);
    assert_int_equal(count_descriptors(), descriptors);
    assert_true(count_maps() <= maps + 1);
}

static void the_index_is_mapped_while_its_segment_is_read(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 1000);
    log_fixture_flush(fixture, 0);
    uint32_t maps = count_maps();
    log_fixture_expect(fixture, 500, 501);
    assert_int_equal(count_maps(), maps + 1);
    log_fixture_append(fixture, 1000, 2000);
    log_fixture_flush(fixture, 0);
    struct topic_place place; /* the mapping follows the file */
    assert_int_equal(topic_log_find(fixture->log, 1990, &place), ERR_OK);
    assert_true(place.size < 4096 + 2 * 88);
    assert_int_equal(count_maps(), maps + 1);
}

static void held_descriptors_stay_open(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 10;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 30);
    log_fixture_flush(fixture, 1);
    struct topic_place place;
    assert_int_equal(topic_log_find(fixture->log, 5, &place), ERR_OK);
    uint32_t open = count_descriptors();
    topic_log_hold(fixture->log);
    topic_log_hold(fixture->log);
    struct topic_trim how = trim_of(fixture);
    how.before = 20;
    assert_int_equal(trim(fixture, &how), 20);
    topic_log_close_files(fixture->log);
    assert_int_equal(count_descriptors(), open);
    assert_int_equal(log_fixture_remove_dropped(fixture), 4);
    assert_int_equal(count_descriptors(), open);
    topic_log_release(fixture->log);
    assert_int_equal(count_descriptors(), open);
    topic_log_release(fixture->log);
    assert_int_equal(count_descriptors(), open - 1);
    topic_log_close_files(fixture->log);
    assert_int_equal(log_fixture_stats(fixture)->files_open, 0);
}

/* --- time ----------------------------------------------------------------- */

static void a_time_is_found_wherever_it_is(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 300;
    log_fixture_open(fixture, 0);
    find_time(fixture, 0, 0);
    log_fixture_append(fixture, 0, 1000);
    log_fixture_flush(fixture, 0);
    log_fixture_append(fixture, 1000, 1500);
    struct topic_flush *flush = NULL;
    assert_int_equal(topic_flush_begin(fixture->log, 0, NULL, &flush), ERR_OK);
    log_fixture_append(fixture, 1500, 2000);
    for (uint64_t i = 0; i < 2000; i += 7) {
        uint64_t at_ms = log_fixture_time(fixture, i);
        find_time(fixture, at_ms, i);
        find_time(fixture, at_ms + 1, i + 1);
    }
    find_time(fixture, 0, 0);
    find_time(fixture, log_fixture_time(fixture, 2000), 2000);
    find_time(fixture, UINT64_MAX, 2000);
    assert_int_equal(topic_flush_run(flush), ERR_OK);
    topic_flush_end(fixture->log, flush, ERR_OK);
    for (uint64_t i = 1; i < 2000; i += 13) {
        find_time(fixture, log_fixture_time(fixture, i), i);
    }
    struct topic_trim how = trim_of(fixture);
    how.before = 700;
    assert_int_equal(trim(fixture, &how), 700);
    find_time(fixture, 0, 700);
    find_time(fixture, log_fixture_time(fixture, 699), 700);
    find_time(fixture, log_fixture_time(fixture, 710), 710);
}

static void the_first_of_times_that_jump_is_found(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 400;
    enum { COUNT = 1000 };
    uint64_t times[COUNT];
    uint32_t random = 12345;
    log_fixture_open(fixture, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        random = random * 1103515245 + 12345;
        times[i] = 1000000 + i * 10 + (random >> 16) % 2000;
        assert_int_equal(
            topic_log_append(fixture->log, log_fixture_record(i, times[i], 40)),
            ERR_OK);
        if (i % 333 == 300) {
            log_fixture_flush(fixture, 0);
        }
    }
    for (uint64_t at_ms = 999990; at_ms < 1013000; at_ms += 17) {
        uint64_t expected = 0;
        while (expected < COUNT && times[expected] < at_ms) {
            expected++;
        }
        find_time(fixture, at_ms, expected);
    }
}

/* --- retention ------------------------------------------------------------ */

static void segments_go_by_count(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 1000);
    log_fixture_flush(fixture, 1);
    struct topic_trim how = trim_of(fixture);
    how.count_max = 250;
    assert_int_equal(trim(fixture, &how), 700); /* 300 are kept, not 200 */
    how.count_max = 200;
    how.delivered = 799;
    assert_int_equal(trim(fixture, &how), 700);
    how.delivered = 800;
    assert_int_equal(trim(fixture, &how), 800);
    struct topic_place place;
    assert_int_equal(topic_log_find(fixture->log, 799, &place), ERR_RANGE);
    assert_int_equal(topic_log_skip(fixture->log, 799, &place), ERR_RANGE);
    log_fixture_expect(fixture, 800, 1000);
    assert_true(log_fixture_size(fixture, "700.msg") > 0);
    assert_int_equal(log_fixture_remove_dropped(fixture), 16);
    assert_int_equal(log_fixture_size(fixture, "700.msg"), -1);
    assert_int_equal(log_fixture_size(fixture, "700.idx"), -1);
    assert_null(topic_log_take_dropped(fixture->log));
    log_fixture_close(fixture);
    log_fixture_open(fixture, 1); /* before the next checkpoint */
    assert_int_equal(log_fixture_stats(fixture)->oldest, 800);
    log_fixture_expect(fixture, 800, 1000);
}

static void segments_go_by_bytes(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    uint64_t segment = 64 + 100 * 88;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 1000);
    log_fixture_flush(fixture, 0);
    assert_int_equal(log_fixture_stats(fixture)->disk_bytes, 10 * segment);
    struct topic_trim how = trim_of(fixture);
    how.bytes_max = 3 * segment;
    assert_int_equal(trim(fixture, &how), 700);
    how.bytes_max = 3 * segment - 1;
    assert_int_equal(trim(fixture, &how), 700);
    how.bytes_max = 2 * segment;
    assert_int_equal(trim(fixture, &how), 800);
    assert_int_equal(log_fixture_stats(fixture)->disk_bytes, 2 * segment);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 2);
}

static void segments_go_by_age_down_to_the_last(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 1000);
    log_fixture_flush(fixture, 1);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 1); /* so that times are to be read first */
    struct topic_trim how = trim_of(fixture);
    how.age_ms = 1000;
    how.now_ms = log_fixture_time(fixture, 499) + 1000;
    assert_int_equal(trim(fixture, &how), 400); /* 499 is not older yet */
    how.now_ms++;
    assert_int_equal(trim(fixture, &how), 500);
    assert_int_equal(log_fixture_stats(fixture)->files_open, 0);
    how.now_ms = 0; /* a clock that jumped */
    assert_int_equal(trim(fixture, &how), 500);
    how.now_ms = log_fixture_time(fixture, 5000);
    how.delivered = 950;
    assert_int_equal(trim(fixture, &how), 900);
    how.delivered = 1000;
    assert_int_equal(trim(fixture, &how), 1000);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 0);
    assert_int_equal(log_fixture_remove_dropped(fixture), 20);
    log_fixture_append(fixture, 1000, 1100);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 1000, 1100);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 2);
    assert_int_equal(log_fixture_stats(fixture)->oldest, 1000);
    log_fixture_expect(fixture, 1000, 1100);
}

static void an_empty_log_keeps_its_number(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 100);
    log_fixture_flush(fixture, 1);
    struct topic_trim how = trim_of(fixture);
    how.before = 100;
    assert_int_equal(trim(fixture, &how), 100);
    assert_int_equal(log_fixture_remove_dropped(fixture), 2);
    for (uint64_t checkpoint = 1; checkpoint < 4; checkpoint++) {
        log_fixture_close(fixture);
        log_fixture_open(fixture, checkpoint);
        assert_int_equal(log_fixture_stats(fixture)->end, 100);
        assert_int_equal(log_fixture_stats(fixture)->oldest, 100);
        log_fixture_flush(fixture, checkpoint + 1);
    }
}

static void a_purge_hides_what_lies_inside_a_segment(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 100);
    log_fixture_flush(fixture, 0);
    log_fixture_append(fixture, 100, 20000);
    uint64_t memory = log_fixture_stats(fixture)->memory_bytes;
    struct topic_trim how = trim_of(fixture);
    how.delivered = 0;
    how.before = 50;
    assert_int_equal(trim(fixture, &how), 50);
    struct topic_place place;
    assert_int_equal(topic_log_find(fixture->log, 49, &place), ERR_RANGE);
    log_fixture_expect(fixture, 50, 60);
    assert_null(topic_log_take_dropped(fixture->log));
    how.before = 19000;
    assert_int_equal(trim(fixture, &how), 19000);
    assert_true(log_fixture_stats(fixture)->memory_bytes < memory / 4);
    log_fixture_expect(fixture, 19000, 20000);
    log_fixture_flush(fixture, 1); /* it begins behind what was purged */
    log_fixture_expect(fixture, 19000, 20000);
    how.before = UINT64_MAX;
    assert_int_equal(trim(fixture, &how), 20000);
    assert_int_equal(log_fixture_stats(fixture)->end, 20000);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 1);
    assert_int_equal(log_fixture_stats(fixture)->end, 20000);
    assert_int_equal(log_fixture_stats(fixture)->oldest, 19000);
    topic_log_set_oldest(fixture->log, 20000); /* the journal says */
    assert_int_equal(log_fixture_stats(fixture)->oldest, 20000);
    topic_log_set_oldest(fixture->log, 20010);
    assert_int_equal(log_fixture_stats(fixture)->end, 20010);
}

static void a_trim_while_a_flush_runs_leaves_its_segment(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 350);
    log_fixture_flush(fixture, 0);
    log_fixture_append(fixture, 350, 800);
    struct topic_flush *flush = NULL;
    assert_int_equal(
        topic_flush_begin(fixture->log, 1, &fixture->cursor, &flush), ERR_OK);
    log_fixture_append(fixture, 800, 900);
    struct topic_trim how = trim_of(fixture);
    how.before = 850;
    assert_int_equal(trim(fixture, &how), 850);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 1);
    assert_int_equal(log_fixture_remove_dropped(fixture), 6);
    log_fixture_expect(fixture, 850, 900);
    assert_int_equal(topic_flush_run(flush), ERR_OK);
    assert_int_equal(topic_flush_sync(flush), ERR_OK);
    topic_flush_end(fixture->log, flush, ERR_OK);
    log_fixture_expect(fixture, 850, 900);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 0);
    assert_int_equal(log_fixture_remove_dropped(fixture), 10);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 850, 900);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 2);
    log_fixture_expect(fixture, 850, 900);
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FACT(a_folder_that_is_not_there_is_an_empty_log),
        FACT(segment_sizes_out_of_bounds_are_refused),
        FACT(a_path_that_is_too_long_is_refused),
        FACT(a_fresh_log_does_not_look_at_its_folder),
        FACT(records_are_found_in_memory_one_by_one_and_in_a_row),
        FACT(a_topic_with_one_message_holds_little_memory),
        FACT(a_record_larger_than_a_chunk_has_one_of_its_own),
        FACT(numbers_that_were_skipped_are_lost),
        FACT(numbers_that_were_given_are_not_given_again),
        FACT(records_are_found_before_during_and_after_a_flush),
        FACT(a_flush_runs_beside_the_loop),
        FACT(a_segment_ends_by_count),
        FACT(a_segment_ends_by_size),
        FACT(a_record_larger_than_a_segment_has_one_of_its_own),
        FACT(state_alone_can_be_flushed),
        FACT(a_writer_goes_on_after_its_files_were_closed),
        FACT(a_file_that_waits_for_a_sync_stays_open),
        FACT(closing_files_thousands_of_times_leaves_nothing),
        FACT(the_index_is_mapped_while_its_segment_is_read),
        FACT(held_descriptors_stay_open),
        FACT(a_time_is_found_wherever_it_is),
        FACT(the_first_of_times_that_jump_is_found),
        FACT(segments_go_by_count),
        FACT(segments_go_by_bytes),
        FACT(segments_go_by_age_down_to_the_last),
        FACT(an_empty_log_keeps_its_number),
        FACT(a_purge_hides_what_lies_inside_a_segment),
        FACT(a_trim_while_a_flush_runs_leaves_its_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
