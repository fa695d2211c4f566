/* One file of records: names, heads, records, walks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/segment.h"

#include "base/buf.h"
#include "lib/log_fixture.h"
#include "log/record.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RECORD_SIZE UINT64_C(88)

static int setup(void **state)
{
    struct log_fixture *fixture = malloc(sizeof(*fixture));
    assert_non_null(fixture);
    log_fixture_create(fixture);
    assert_int_equal(dir_create(fixture->directory), ERR_OK);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    log_fixture_destroy(*state);
    free(*state);
    return 0;
}

/* A segment `first`.msg of `count` records. Gives: its descriptor. */
static int make(struct log_fixture *fixture, uint64_t first, uint64_t count)
{
    int fd = -1;
    assert_int_equal(segment_create(fixture->directory, first, 5, &fd), ERR_OK);
    for (uint64_t i = 0; i < count; i++) {
        struct str record = log_fixture_record(first + i, 1000 + i, 40);
        assert_int_equal(file_write_at(fd, record.data, record.size,
                                       SEGMENT_HEAD_SIZE + i * RECORD_SIZE,
                                       false),
                         ERR_OK);
    }
    return fd;
}

/* --- names ---------------------------------------------------------------- */

static void a_name_is_read_back_in_its_one_form(void **state)
{
    (void)state;
    const uint64_t numbers[] = {0, 7, 1000000, UINT64_MAX};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char name[SEGMENT_NAME_MAX];
        uint64_t first = 1;
        segment_name(name, numbers[i], false);
        assert_true(segment_name_parse(name, false, &first));
        assert_true(first == numbers[i]);
        assert_false(segment_name_parse(name, true, &first));
        segment_name(name, numbers[i], true);
        assert_true(segment_name_parse(name, true, &first));
        assert_true(first == numbers[i]);
    }
    const char *others[] = {"",        ".msg",   "00.msg",   "01.msg",
                            "1.ms",    "1msg",   "-1.msg",   "+1.msg",
                            " 1.msg",  "1.msg ", "0x1.msg",  "1.MSG",
                            "1.5.msg", "a.msg",  "1.msg.msg"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        uint64_t first = 9;
        assert_false(segment_name_parse(others[i], false, &first));
        assert_int_equal(first, 9);
    }
    uint64_t first = 9;
    assert_false(segment_name_parse("18446744073709551616.msg", false, &first));
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char directory[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    memset(directory, 'x', sizeof(directory) - 1);
    directory[sizeof(directory) - 1] = '\0';
    int fd = -1;
    uint64_t size = 0;
    assert_int_equal(segment_path(path, directory, 1, false), ERR_TOO_LARGE);
    assert_int_equal(segment_create(directory, 1, 0, &fd), ERR_TOO_LARGE);
    assert_int_equal(segment_open(directory, 1, false, &fd, &size),
                     ERR_TOO_LARGE);
    assert_int_equal(fd, -1);
}

/* --- heads ---------------------------------------------------------------- */

static void a_head_is_the_bytes_of_the_document(void **state)
{
    struct log_fixture *fixture = *state;
    file_close(make(fixture, 258, 0));
    char path[LOG_FIXTURE_PATH_MAX];
    log_fixture_path(fixture, "258.msg", path);
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(file_load(path, 1000, &data, &size), ERR_OK);
    assert_int_equal(size, 64);
    assert_memory_equal(data, "OPQ-SEG\0\1\0\0\0", 12);
    assert_memory_equal(data + 16, "\2\1\0\0\0\0\0\0\5\0\0\0\0\0\0\0", 16);
    for (size_t i = 32; i < 64; i++) {
        assert_int_equal(data[i], 0);
    }
    free(data);
}

static void any_flipped_byte_of_a_head_is_noticed(void **state)
{
    struct log_fixture *fixture = *state;
    file_close(make(fixture, 10, 3));
    int fd = -1;
    uint64_t size = 0;
    assert_int_equal(segment_open(fixture->directory, 10, true, &fd, &size),
                     ERR_OK);
    assert_int_equal(size, SEGMENT_HEAD_SIZE + 3 * RECORD_SIZE);
    file_close(fd);
    fd = -1;
    for (uint64_t at = 0; at < SEGMENT_HEAD_SIZE; at++) {
        log_fixture_flip(fixture, "10.msg", at);
        assert_int_equal(
            segment_open(fixture->directory, 10, false, &fd, &size),
            ERR_CORRUPT);
        assert_int_equal(fd, -1);
        log_fixture_flip(fixture, "10.msg", at);
    }
    for (uint64_t cut = 0; cut < SEGMENT_HEAD_SIZE; cut++) {
        log_fixture_cut(fixture, "10.msg", cut);
        assert_int_equal(
            segment_open(fixture->directory, 10, false, &fd, &size),
            ERR_CORRUPT);
    }
    assert_int_equal(segment_open(fixture->directory, 11, false, &fd, &size),
                     ERR_NOT_FOUND);
}

static void a_segment_under_another_name_is_refused(void **state)
{
    struct log_fixture *fixture = *state;
    file_close(make(fixture, 10, 0));
    char from[LOG_FIXTURE_PATH_MAX];
    char to[LOG_FIXTURE_PATH_MAX];
    log_fixture_path(fixture, "10.msg", from);
    log_fixture_path(fixture, "20.msg", to);
    assert_int_equal(file_rename(from, to), ERR_OK);
    int fd = -1;
    uint64_t size = 0;
    assert_int_equal(segment_open(fixture->directory, 20, false, &fd, &size),
                     ERR_CORRUPT);
}

static void creating_empties_what_was_there(void **state)
{
    struct log_fixture *fixture = *state;
    file_close(make(fixture, 10, 5));
    file_close(make(fixture, 10, 0));
    assert_int_equal(log_fixture_size(fixture, "10.msg"), SEGMENT_HEAD_SIZE);
}

/* --- records -------------------------------------------------------------- */

static void a_record_head_must_make_sense(void **state)
{
    (void)state;
    struct str record = log_fixture_record(5, 6, 37);
    struct segment_record head = {0};
    assert_int_equal(segment_record_head(str_cut(record, 0, 47), &head),
                     ERR_AGAIN);
    assert_int_equal(segment_record_head(record, &head), ERR_OK);
    assert_int_equal(head.sequence, 5);
    assert_int_equal(head.pushed_at_ms, 6);
    assert_int_equal(head.payload_size, 37);
    assert_int_equal(head.size, RECORD_SIZE);
    assert_true(segment_record_whole(record, &head));
    assert_false(segment_record_whole(str_cut(record, 0, 80), &head));
    char bytes[RECORD_SIZE];
    const size_t checked[] = {0, 3, 24, 27, 30, 31, 32, 47};
    for (size_t i = 0; i < sizeof(checked) / sizeof(checked[0]); i++) {
        memcpy(bytes, record.data, sizeof(bytes));
        bytes[checked[i]] = (char)(bytes[checked[i]] ^ 0x40);
        assert_int_equal(
            segment_record_head((struct str){bytes, sizeof(bytes)}, &head),
            ERR_CORRUPT);
    }
}

static void any_flipped_byte_of_a_record_is_noticed(void **state)
{
    (void)state;
    struct str record = log_fixture_record(5, 6, 37); /* 3 of padding */
    char bytes[RECORD_SIZE];
    for (size_t at = 0; at < RECORD_SIZE; at++) {
        memcpy(bytes, record.data, sizeof(bytes));
        bytes[at] = (char)(bytes[at] ^ 1);
        struct str changed = {bytes, sizeof(bytes)};
        struct segment_record head;
        enum err err = segment_record_head(changed, &head);
        assert_true(err == ERR_CORRUPT ||
                    !segment_record_whole(changed, &head));
    }
}

/* --- walks ---------------------------------------------------------------- */

static void a_walk_meets_each_record_once(void **state)
{
    struct log_fixture *fixture = *state;
    int fd = make(fixture, 10, 1000);
    struct segment_walk walk;
    struct segment_step step;
    segment_walk_init(&walk, fd, SEGMENT_HEAD_SIZE,
                      SEGMENT_HEAD_SIZE + 1000 * RECORD_SIZE, 10);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(segment_walk_next(&walk, &step), ERR_OK);
        assert_true(step.record.sequence == 10 + i);
        assert_true(step.offset == SEGMENT_HEAD_SIZE + i * RECORD_SIZE);
        struct str expected = log_fixture_record(10 + i, 1000 + i, 40);
        assert_true(str_equal(step.bytes, expected));
    }
    assert_int_equal(segment_walk_next(&walk, &step), ERR_NOT_FOUND);
    segment_walk_fini(&walk);
    file_close(fd);
}

static void a_walk_ends_where_the_file_does(void **state)
{
    struct log_fixture *fixture = *state;
    int fd = make(fixture, 0, 5);
    struct segment_walk walk;
    struct segment_step step;
    segment_walk_init(&walk, fd, SEGMENT_HEAD_SIZE, UINT64_C(1) << 34, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(segment_walk_next(&walk, &step), ERR_OK);
    }
    assert_int_equal(segment_walk_next(&walk, &step), ERR_NOT_FOUND);
    struct segment_landing landing = {.limit = UINT64_C(1) << 34};
    assert_int_equal(segment_walk_resync(&walk, &landing), ERR_NOT_FOUND);
    segment_walk_fini(&walk);
    file_close(fd);
}

static void a_walk_stays_at_damage_until_it_is_moved_over(void **state)
{
    struct log_fixture *fixture = *state;
    int fd = make(fixture, 0, 10);
    const uint64_t bytes[] = {0, 4, 8, 20, 30, 40, 60};
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        uint64_t at = SEGMENT_HEAD_SIZE + UINT64_C(4) * RECORD_SIZE + bytes[i];
        log_fixture_flip(fixture, "0.msg", at);
        struct segment_walk walk;
        struct segment_step step;
        uint64_t end = SEGMENT_HEAD_SIZE + 10 * RECORD_SIZE;
        segment_walk_init(&walk, fd, SEGMENT_HEAD_SIZE, end, 0);
        for (int met = 0; met < 4; met++) {
            assert_int_equal(segment_walk_next(&walk, &step), ERR_OK);
        }
        assert_int_equal(segment_walk_next(&walk, &step), ERR_CORRUPT);
        assert_int_equal(segment_walk_next(&walk, &step), ERR_CORRUPT);
        assert_true(walk.sequence == 4);
        struct segment_landing wrong = {end, 11, true};
        assert_int_equal(segment_walk_resync(&walk, &wrong), ERR_NOT_FOUND);
        assert_true(walk.sequence == 4);
        struct segment_landing near = {end - 5 * RECORD_SIZE, 5, true};
        assert_int_equal(segment_walk_resync(&walk, &near), ERR_NOT_FOUND);
        struct segment_landing landing = {end, 10, true};
        assert_int_equal(segment_walk_resync(&walk, &landing), ERR_OK);
        assert_true(walk.sequence == 5);
        assert_int_equal(segment_walk_next(&walk, &step), ERR_OK);
        assert_true(step.record.sequence == 5);
        segment_walk_fini(&walk);
        log_fixture_flip(fixture, "0.msg", at);
    }
    file_close(fd);
}

static void a_record_with_another_number_is_damage(void **state)
{
    struct log_fixture *fixture = *state;
    int fd = make(fixture, 0, 5);
    struct segment_walk walk;
    struct segment_step step;
    segment_walk_init(&walk, fd, SEGMENT_HEAD_SIZE,
                      SEGMENT_HEAD_SIZE + 5 * RECORD_SIZE, 1);
    assert_int_equal(segment_walk_next(&walk, &step), ERR_CORRUPT);
    segment_walk_fini(&walk);
    file_close(fd);
}

static void a_large_record_is_walked_over(void **state)
{
    struct log_fixture *fixture = *state;
    int fd = make(fixture, 0, 1);
    struct str record = log_fixture_record(1, 1, 5000000);
    uint64_t at = SEGMENT_HEAD_SIZE + RECORD_SIZE;
    assert_int_equal(file_write_at(fd, record.data, record.size, at, false),
                     ERR_OK);
    struct segment_walk walk;
    struct segment_step step;
    segment_walk_init(&walk, fd, SEGMENT_HEAD_SIZE, at + record.size, 0);
    assert_int_equal(segment_walk_next(&walk, &step), ERR_OK);
    assert_int_equal(segment_walk_next(&walk, &step), ERR_OK);
    assert_int_equal(step.bytes.size, record.size);
    assert_int_equal(segment_walk_next(&walk, &step), ERR_NOT_FOUND);
    segment_walk_fini(&walk);
    log_fixture_cut(fixture, "0.msg", at + record.size - 1);
    segment_walk_init(&walk, fd, SEGMENT_HEAD_SIZE, at + record.size - 1, 0);
    assert_int_equal(segment_walk_next(&walk, &step), ERR_OK);
    assert_int_equal(segment_walk_next(&walk, &step), ERR_CORRUPT);
    segment_walk_fini(&walk);
    file_close(fd);
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FACT(a_name_is_read_back_in_its_one_form),
        FACT(a_path_that_is_too_long_is_refused),
        FACT(a_head_is_the_bytes_of_the_document),
        FACT(any_flipped_byte_of_a_head_is_noticed),
        FACT(a_segment_under_another_name_is_refused),
        FACT(creating_empties_what_was_there),
        FACT(a_record_head_must_make_sense),
        FACT(any_flipped_byte_of_a_record_is_noticed),
        FACT(a_walk_meets_each_record_once),
        FACT(a_walk_ends_where_the_file_does),
        FACT(a_walk_stays_at_damage_until_it_is_moved_over),
        FACT(a_record_with_another_number_is_damage),
        FACT(a_large_record_is_walked_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
