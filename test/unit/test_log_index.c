/* The sparse index of a segment: entries, lookup, repair.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/index.h"

#include "lib/log_fixture.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 500, PER_ENTRY = 47 };
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

/* When a record was pushed: a clock that goes back now and then. */
static uint64_t time_of(uint64_t i)
{
    return 10000 + i * 10 - (i % 90 == 0 ? 500 : 0);
}

/* The segment 1000.msg of COUNT records. */
static struct index_segment make(struct log_fixture *fixture)
{
    struct index_segment segment = {
        .directory = fixture->directory,
        .first = 1000,
        .end = 1000 + COUNT,
        .size = SEGMENT_HEAD_SIZE + COUNT * RECORD_SIZE,
        .exact = true,
    };
    assert_int_equal(segment_create(fixture->directory, 1000, 0, &segment.fd),
                     ERR_OK);
    for (uint64_t i = 0; i < COUNT; i++) {
        struct str record = log_fixture_record(1000 + i, time_of(i), 40);
        assert_int_equal(file_write_at(segment.fd, record.data, record.size,
                                       SEGMENT_HEAD_SIZE + i * RECORD_SIZE,
                                       false),
                         ERR_OK);
    }
    return segment;
}

static void check_content(const struct index_content *content)
{
    assert_int_equal(content->builder.count,
                     (COUNT + PER_ENTRY - 1) / PER_ENTRY);
    uint64_t time_max = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        time_max = time_of(i) > time_max ? time_of(i) : time_max;
        if (i % PER_ENTRY != 0) {
            continue;
        }
        const struct index_entry *entry = &content->entries[i / PER_ENTRY];
        assert_int_equal(entry->relative, i);
        assert_true(index_entry_offset(entry) ==
                    SEGMENT_HEAD_SIZE + i * RECORD_SIZE);
        assert_true(entry->time_ms == time_max);
    }
    assert_true(content->builder.time_max == time_max);
    assert_int_equal(content->end, 1000 + COUNT);
    assert_int_equal(content->end_offset,
                     SEGMENT_HEAD_SIZE + COUNT * RECORD_SIZE);
}

static void an_index_is_built_and_stored_and_loaded(void **state)
{
    struct log_fixture *fixture = *state;
    struct index_segment segment = make(fixture);
    struct index_content content;
    assert_int_equal(index_build(&segment, &content), ERR_OK);
    check_content(&content);
    assert_false(content.in_order);
    assert_int_equal(index_store(&segment, &content), ERR_OK);
    assert_true(content.in_order);
    assert_int_equal(log_fixture_size(fixture, "1000.idx"),
                     (uint64_t)content.builder.count * INDEX_ENTRY_SIZE);
    index_content_fini(&content);
    index_content_fini(&content);
    assert_int_equal(index_load(&segment, &content), ERR_OK);
    check_content(&content);
    assert_true(content.in_order);
    index_content_fini(&content);
    file_close(segment.fd);
}

static void entries_behind_the_segments_end_are_dropped(void **state)
{
    struct log_fixture *fixture = *state;
    struct index_segment segment = make(fixture);
    struct index_content content;
    assert_int_equal(index_build(&segment, &content), ERR_OK);
    assert_int_equal(index_store(&segment, &content), ERR_OK);
    index_content_fini(&content);
    segment.size = SEGMENT_HEAD_SIZE + UINT64_C(100) * RECORD_SIZE;
    segment.end = 1100;
    assert_int_equal(index_load(&segment, &content), ERR_OK);
    assert_int_equal(content.builder.count, 3);
    assert_int_equal(content.end, 1100);
    assert_false(content.in_order);
    assert_int_equal(index_store(&segment, &content), ERR_OK);
    assert_int_equal(log_fixture_size(fixture, "1000.idx"),
                     3 * INDEX_ENTRY_SIZE);
    index_content_fini(&content);
    file_close(segment.fd);
}

static void a_file_in_any_state_is_brought_in_order(void **state)
{
    struct log_fixture *fixture = *state;
    struct index_segment segment = make(fixture);
    struct index_content content;
    assert_int_equal(index_build(&segment, &content), ERR_OK);
    assert_int_equal(index_store(&segment, &content), ERR_OK);
    uint64_t size = (uint64_t)content.builder.count * INDEX_ENTRY_SIZE;
    index_content_fini(&content);
    for (uint64_t cut = 0; cut < size; cut++) {
        log_fixture_cut(fixture, "1000.idx", cut);
        assert_int_equal(index_load(&segment, &content), ERR_OK);
        check_content(&content);
        assert_int_equal(content.kept, cut / INDEX_ENTRY_SIZE);
        assert_int_equal(index_store(&segment, &content), ERR_OK);
        index_content_fini(&content);
    }
    for (uint64_t longer = 1; longer < 100; longer += 3) {
        log_fixture_cut(fixture, "1000.idx", size + longer);
        assert_int_equal(index_load(&segment, &content), ERR_OK);
        check_content(&content);
        assert_false(content.in_order);
        assert_int_equal(index_store(&segment, &content), ERR_OK);
        index_content_fini(&content);
    }
    log_fixture_flip(fixture, "1000.idx",
                     3); /* the first entry: all is built */
    assert_int_equal(index_load(&segment, &content), ERR_OK);
    check_content(&content);
    assert_int_equal(content.kept, 0);
    index_content_fini(&content);
    file_close(segment.fd);
}

static void an_index_of_an_empty_segment_is_empty(void **state)
{
    struct log_fixture *fixture = *state;
    struct index_segment segment = {.directory = fixture->directory,
                                    .first = 3,
                                    .end = 3,
                                    .size = SEGMENT_HEAD_SIZE,
                                    .exact = true};
    assert_int_equal(segment_create(fixture->directory, 3, 0, &segment.fd),
                     ERR_OK);
    struct index_content content;
    assert_int_equal(index_load(&segment, &content), ERR_OK);
    assert_int_equal(content.builder.count, 0);
    assert_int_equal(content.end, 3);
    assert_int_equal(index_store(&segment, &content), ERR_OK);
    assert_int_equal(log_fixture_size(fixture, "3.idx"), 0);
    index_content_fini(&content);
    struct index_map map;
    assert_int_equal(index_map_open(fixture->directory, 3, 0, &map), ERR_OK);
    assert_int_equal(index_find_sequence(&map, 0), 0);
    index_unmap(&map);
    file_close(segment.fd);
}

static void lookups_give_the_last_entry_before(void **state)
{
    (void)state;
    struct index_entry entries[] = {
        {0, 8, 100}, {10, 600, 100}, {20, 1200, 300}, {30, 1800, 400}};
    struct index_map map = {entries, 4, false};
    for (uint32_t i = 0; i < 45; i++) {
        assert_int_equal(index_find_sequence(&map, i), i < 40 ? i / 10 : 3);
    }
    assert_int_equal(index_find_time(&map, 0), 4);
    assert_int_equal(index_find_time(&map, 100), 4);
    assert_int_equal(index_find_time(&map, 101), 1);
    assert_int_equal(index_find_time(&map, 300), 1);
    assert_int_equal(index_find_time(&map, 301), 2);
    assert_int_equal(index_find_time(&map, UINT64_MAX), 3);
    assert_int_equal(index_find_offset(&map, 0), 0);
    assert_int_equal(index_find_offset(&map, 64), 1);
    assert_int_equal(index_find_offset(&map, 4799), 1);
    assert_int_equal(index_find_offset(&map, 4800), 2);
    assert_int_equal(index_find_offset(&map, 99999), 4);
    map.count = 0;
    assert_int_equal(index_find_sequence(&map, 5), 0);
    assert_int_equal(index_find_time(&map, 5), 0);
    assert_int_equal(index_find_offset(&map, 5), 0);
}

static void entries_must_ascend_from_the_first_record(void **state)
{
    (void)state;
    struct index_entry entries[] = {{0, 8, 5}, {1, 520, 5}, {2, 1040, 6}};
    assert_true(index_entries_ordered(entries, 3));
    assert_true(index_entries_ordered(entries, 0));
    entries[2].time_ms = 4;
    assert_false(index_entries_ordered(entries, 3));
    entries[2].time_ms = 6;
    entries[2].relative = 1;
    assert_false(index_entries_ordered(entries, 3));
    entries[2].relative = 2;
    entries[2].offset8 = 520;
    assert_false(index_entries_ordered(entries, 3));
    assert_true(index_entries_ordered(entries, 2));
    entries[0].offset8 = 9;
    assert_false(index_entries_ordered(entries, 1));
}

static void a_map_is_of_a_file_that_is_long_enough(void **state)
{
    struct log_fixture *fixture = *state;
    struct index_segment segment = make(fixture);
    struct index_map map = {0};
    assert_int_equal(index_map_open(fixture->directory, 1000, 5, &map),
                     ERR_NOT_FOUND);
    struct index_content content;
    assert_int_equal(index_build(&segment, &content), ERR_OK);
    assert_int_equal(index_store(&segment, &content), ERR_OK);
    uint32_t count = content.builder.count;
    assert_int_equal(index_map_open(fixture->directory, 1000, count + 1, &map),
                     ERR_CORRUPT);
    assert_int_equal(index_map_open(fixture->directory, 1000, count, &map),
                     ERR_OK);
    assert_true(map.mapped);
    assert_memory_equal(map.entries, content.entries,
                        (size_t)count * INDEX_ENTRY_SIZE);
    index_unmap(&map);
    index_unmap(&map);
    index_content_fini(&content);
    file_close(segment.fd);
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FACT(an_index_is_built_and_stored_and_loaded),
        FACT(entries_behind_the_segments_end_are_dropped),
        FACT(a_file_in_any_state_is_brought_in_order),
        FACT(an_index_of_an_empty_segment_is_empty),
        FACT(lookups_give_the_last_entry_before),
        FACT(entries_must_ascend_from_the_first_record),
        FACT(a_map_is_of_a_file_that_is_long_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
