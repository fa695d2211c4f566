/* Tests of log/range_page: what a kill leaves is what was noted last, or, in
 * the middle of a store, what was noted before.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/range_page.h"

#include "lib/fault.h"
#include "log/slot_file.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char directory[] = "/tmp/opq-ranges-XXXXXX";

static int setup(void **state)
{
    (void)state;
    memcpy(directory + sizeof(directory) - 7, "XXXXXX", 6);
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return dir_remove(directory) == ERR_OK ? 0 : -1;
}

/* What a claim found: all that its copies say. */
struct found {
    uint32_t count;
    uint64_t topic_id;
    uint32_t slot;
    struct topic_cursor cursor;
    uint64_t keep; /* the topic whose slot stays taken; 0: all */
};

static bool visit(void *context,
                  uint32_t slot,
                  uint64_t topic_id,
                  const struct topic_cursor *cursor)
{
    struct found *found = context;
    if (found->keep != 0 && found->keep != topic_id) {
        return false;
    }
    found->count++;
    found->topic_id = topic_id;
    found->slot = slot;
    (void)topic_cursor_merge(&found->cursor, cursor);
    return true;
}

static struct range_page *open_page(void)
{
    struct range_page *page = NULL;
    assert_int_equal(range_page_open(directory, 40, &page), ERR_OK);
    return page;
}

/* Open the page and claim all of it. */
static struct range_page *open_claimed(struct found *found)
{
    struct range_page *page = open_page();
    *found = (struct found){.keep = found->keep};
    range_page_claim(page, visit, found);
    return page;
}

static uint32_t take(struct range_page *page)
{
    uint32_t slot = RANGE_PAGE_NONE;
    assert_int_equal(range_page_take(page, &slot), ERR_OK);
    return slot;
}

/* A cursor with ranges and retries that tell the number of the store. */
static const struct topic_cursor *numbered(uint64_t number)
{
    static struct topic_cursor cursor;
    cursor = (struct topic_cursor){.epoch = 1, .next = 5};
    cursor.range_count = (uint32_t)(number % TOPIC_RANGES_MAX) + 1;
    for (uint32_t i = 0; i < cursor.range_count; i++) {
        cursor.ranges[i] = (struct topic_range){10 + i * 4, 12 + i * 4};
    }
    cursor.ranges[cursor.range_count - 1].end = 1000 + number;
    cursor.retry_count = 1;
    cursor.retries[0] = (struct topic_retry){6, (uint32_t)number + 1};
    return &cursor;
}

/* Tell which store a found cursor is of. */
static uint64_t number_of(const struct topic_cursor *cursor)
{
    assert_true(cursor->range_count > 0 && cursor->retry_count == 1);
    uint64_t number = cursor->ranges[cursor->range_count - 1].end - 1000;
    assert_int_equal(cursor->retries[0].attempts, number + 1);
    return number;
}

static void what_was_noted_last_is_found(void **state)
{
    (void)state;
    struct found found = {0};
    struct range_page *page = open_page();
    uint32_t slot = take(page);
    for (uint64_t i = 0; i < 500; i++) {
        range_page_store(page, slot, 77, numbered(i));
    }
    range_page_close(page);
    for (uint64_t i = 500; i < 504; i++) {
        page = open_claimed(&found);
        assert_int_equal(found.count, 2);
        assert_int_equal(found.topic_id, 77);
        assert_int_equal(number_of(&found.cursor), i - 1);
        range_page_store(page, found.slot, 77, numbered(i));
        range_page_close(page);
    }
}

/* Overwrite bytes of the file. */
static void damage(uint64_t offset, const char *bytes, size_t size)
{
    char path[DIR_PATH_MAX];
    int fd = -1;
    assert_int_equal(dir_join(path, directory, "ranges"), ERR_OK);
    assert_int_equal(file_open(path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, bytes, size, offset, false), ERR_OK);
    file_close(fd);
}

static void read_copy(int copy, char bytes[RANGE_PAGE_COPY_SIZE])
{
    char path[DIR_PATH_MAX];
    size_t size = 0;
    int fd = -1;
    assert_int_equal(dir_join(path, directory, "ranges"), ERR_OK);
    assert_int_equal(file_open(path, FILE_READ, &fd), ERR_OK);
    assert_int_equal(file_read_at(fd, bytes, RANGE_PAGE_COPY_SIZE,
                                  (uint64_t)copy * RANGE_PAGE_COPY_SIZE, &size),
                     ERR_OK);
    file_close(fd);
    assert_int_equal(size, RANGE_PAGE_COPY_SIZE);
}

/* A store that was cut off anywhere, in either direction: the bytes that differ
 * are of the one before. */
static void a_store_cut_anywhere_leaves_the_one_before(void **state)
{
    (void)state;
    struct found found = {0};
    struct range_page *page = open_page();
    uint32_t slot = take(page);
    for (uint64_t i = 0; i < 9; i++) {
        range_page_store(page, slot, 77, numbered(i));
    }
    static char before[2][RANGE_PAGE_COPY_SIZE];
    static char after[2][RANGE_PAGE_COPY_SIZE];
    read_copy(0, before[0]);
    read_copy(1, before[1]);
    range_page_store(page, slot, 77, numbered(9));
    range_page_close(page);
    read_copy(0, after[0]);
    read_copy(1, after[1]);
    int copy = memcmp(before[0], after[0], RANGE_PAGE_COPY_SIZE) == 0 ? 1 : 0;
    assert_memory_equal(before[1 - copy], after[1 - copy],
                        RANGE_PAGE_COPY_SIZE);
    uint64_t offset = (uint64_t)copy * RANGE_PAGE_COPY_SIZE;
    for (size_t cut = 0; cut < 300; cut++) {
        bool forward = cut % 2 == 0;
        damage(offset, after[copy], RANGE_PAGE_COPY_SIZE);
        if (forward) {
            damage(offset + cut, before[copy] + cut,
                   RANGE_PAGE_COPY_SIZE - cut);
        } else {
            damage(offset, before[copy], cut);
        }
        page = open_claimed(&found);
        uint64_t number = number_of(&found.cursor);
        assert_true(number == 8 || number == 9);
        assert_true(found.count == 1 || found.count == 2);
        range_page_close(page);
    }
}

static void a_torn_copy_is_the_one_written_next(void **state)
{
    (void)state;
    for (int torn = 0; torn < 2; torn++) {
        struct found found = {0};
        struct range_page *page = open_page();
        uint32_t slot = take(page);
        range_page_store(page, slot, 77, numbered(1));
        range_page_store(page, slot, 77, numbered(2));
        range_page_close(page);
        damage((uint64_t)torn * RANGE_PAGE_COPY_SIZE + 40, "\xff", 1);
        page = open_claimed(&found);
        assert_int_equal(found.count, 1);
        uint64_t whole = number_of(&found.cursor);
        range_page_store(page, found.slot, 77, numbered(3));
        range_page_close(page);
        /* Both are whole now: the one that was, and the new one. */
        page = open_claimed(&found);
        assert_int_equal(found.count, 2);
        assert_int_equal(number_of(&found.cursor), 3);
        assert_true(whole == 1 || whole == 2);
        range_page_drop(page, found.slot);
        range_page_close(page);
    }
}

static void slots_are_given_back_and_the_file_shrinks(void **state)
{
    (void)state;
    struct found found = {0};
    struct range_page *page = open_page();
    uint32_t slot = RANGE_PAGE_NONE;
    char path[DIR_PATH_MAX];
    uint64_t size = 0;
    int fd = -1;
    for (uint64_t i = 1; i <= 40; i++) {
        slot = take(page);
        range_page_store(page, slot, i, numbered(i));
    }
    uint32_t none = RANGE_PAGE_NONE;
    assert_int_equal(range_page_take(page, &none), ERR_BUSY);
    range_page_drop(page, slot);
    assert_int_equal(take(page), slot);
    range_page_drop(page, slot);
    range_page_drop(page, RANGE_PAGE_NONE);
    range_page_close(page);
    assert_int_equal(dir_join(path, directory, "ranges"), ERR_OK);
    assert_int_equal(file_open(path, FILE_READ, &fd), ERR_OK);
    assert_int_equal(file_size(fd, &size), ERR_OK);
    assert_int_equal(size, 40 * 2 * RANGE_PAGE_COPY_SIZE);
    found.keep = 9;
    page = open_claimed(&found);
    assert_int_equal(found.count, 1);
    assert_int_equal(file_size(fd, &size), ERR_OK);
    assert_int_equal(size, SLOT_FILE_STEP_SIZE);
    file_close(fd);
    for (int i = 0; i < 39; i++) { /* and it grows again */
        slot = take(page);
        assert_true(slot != found.slot);
        range_page_store(page, slot, 100, numbered(1));
    }
    range_page_close(page);
}

static void without_room_the_page_is_as_it_was(void **state)
{
    (void)state;
    struct found found = {0};
    struct range_page *page = open_page();
    for (uint64_t i = 1; i <= 16; i++) {
        range_page_store(page, take(page), i, numbered(i));
    }
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_WRITE, .at = 1, .error_number = ENOSPC, .sticky = true});
    uint32_t slot = RANGE_PAGE_NONE;
    assert_int_equal(range_page_take(page, &slot), ERR_FULL);
    assert_true(slot == RANGE_PAGE_NONE);
    fault_remove();
    assert_int_equal(take(page), 16);
    range_page_close(page);
    found.keep = 16;
    page = open_claimed(&found);
    assert_int_equal(number_of(&found.cursor), 16);
    range_page_close(page);
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_OPEN, .at = 1, .error_number = EIO});
    assert_int_equal(range_page_open(directory, 40, &page), ERR_IO);
    fault_remove();
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FACT(what_was_noted_last_is_found),
        FACT(a_store_cut_anywhere_leaves_the_one_before),
        FACT(a_torn_copy_is_the_one_written_next),
        FACT(slots_are_given_back_and_the_file_shrinks),
        FACT(without_room_the_page_is_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
