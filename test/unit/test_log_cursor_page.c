/* Tests of log/cursor_page: what a kill leaves is what was noted last.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/cursor_page.h"

#include "lib/fault.h"
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

static char directory[] = "/tmp/opq-cursors-XXXXXX";

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

/* What a claim found. */
struct found {
    uint32_t count;
    struct cursor_page_entry last;
    uint64_t keep; /* the topic whose slot stays taken; 0: all */
};

static bool
visit(void *context, uint32_t slot, const struct cursor_page_entry *entry)
{
    struct found *found = context;
    (void)slot;
    found->count++;
    found->last = *entry;
    return found->keep == 0 || found->keep == entry->topic_id;
}

static void read_one(void *context, const struct cursor_page_entry *entry)
{
    struct found *found = context;
    found->count++;
    found->last = entry->next > found->last.next ? *entry : found->last;
}

static struct cursor_page *open_page(uint32_t slot_max)
{
    struct cursor_page *page = NULL;
    assert_int_equal(cursor_page_open(directory, slot_max, &page), ERR_OK);
    return page;
}

static uint32_t take(struct cursor_page *page)
{
    uint32_t slot = CURSOR_PAGE_NONE;
    assert_int_equal(cursor_page_take(page, &slot), ERR_OK);
    return slot;
}

static void
note(struct cursor_page *page, uint32_t slot, uint64_t topic, uint64_t next)
{
    struct cursor_page_entry entry = {
        .topic_id = topic, .epoch = 1, .next = next, .attempts = 2};
    cursor_page_store(page, slot, &entry);
}

static void what_was_noted_last_is_found(void **state)
{
    (void)state;
    struct cursor_page *page = open_page(10);
    uint32_t slot = take(page);
    for (uint64_t next = 0; next < 1000; next++) {
        note(page, slot, 77, next);
    }
    cursor_page_close(page);
    struct found found = {0};
    page = open_page(10);
    cursor_page_claim(page, visit, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.last.topic_id, 77);
    assert_int_equal(found.last.next, 999);
    assert_int_equal(found.last.epoch, 1);
    assert_int_equal(found.last.attempts, 2);
    cursor_page_close(page);
}

/* Read while it is open, as of a server at work. */
static void reading_finds_it_and_changes_nothing(void **state)
{
    (void)state;
    struct found found = {0};
    assert_int_equal(cursor_page_read(directory, read_one, &found), ERR_OK);
    assert_int_equal(found.count, 0); /* no file */
    struct cursor_page *page = open_page(10);
    uint32_t slot = take(page);
    note(page, slot, 77, 41);
    note(page, slot, 77, 42);
    assert_int_equal(cursor_page_read(directory, read_one, &found), ERR_OK);
    assert_int_equal(found.count, 2); /* both copies */
    assert_int_equal(found.last.topic_id, 77);
    assert_int_equal(found.last.next, 42);
    cursor_page_close(page);
    found = (struct found){0};
    page = open_page(10);
    cursor_page_claim(page, visit, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.last.next, 42);
    cursor_page_close(page);
}

static void a_higher_epoch_beats_a_higher_cursor(void **state)
{
    (void)state;
    struct cursor_page *page = open_page(10);
    uint32_t slot = take(page);
    note(page, slot, 5, 900);
    struct cursor_page_entry entry = {.topic_id = 5, .epoch = 2, .next = 3};
    cursor_page_store(page, slot, &entry);
    cursor_page_close(page);
    struct found found = {0};
    page = open_page(10);
    cursor_page_claim(page, visit, &found);
    assert_int_equal(found.last.epoch, 2);
    assert_int_equal(found.last.next, 3);
    cursor_page_close(page);
}

/* Flip a byte of the file. */
static void flip(uint64_t offset)
{
    char path[DIR_PATH_MAX];
    char byte = 0;
    size_t size = 0;
    int fd = -1;
    assert_int_equal(dir_join(path, directory, "cursors"), ERR_OK);
    assert_int_equal(file_open(path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_read_at(fd, &byte, 1, offset, &size), ERR_OK);
    byte = (char)(byte ^ 1);
    assert_int_equal(file_write_at(fd, &byte, 1, offset, false), ERR_OK);
    file_close(fd);
}

static void a_torn_copy_leaves_the_one_before(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 32; at++) {
        struct cursor_page *page = open_page(10);
        struct found none = {.keep = 1};
        cursor_page_claim(page, visit, &none); /* empty it */
        uint32_t slot = take(page);
        assert_int_equal(slot, 0);
        note(page, slot, 9, 40); /* into the first copy, */
        note(page, slot, 9, 41); /* and the second */
        cursor_page_close(page);
        flip(CURSOR_PAGE_COPY_SIZE + at);
        struct found found = {0};
        page = open_page(10);
        cursor_page_claim(page, visit, &found);
        assert_int_equal(found.count, 1);
        assert_int_equal(found.last.next, 40);
        cursor_page_close(page);
        flip(at); /* both */
        found = (struct found){0};
        page = open_page(10);
        cursor_page_claim(page, visit, &found);
        assert_int_equal(found.count, 0);
        cursor_page_close(page);
    }
}

static void slots_are_used_again(void **state)
{
    (void)state;
    enum { COUNT = 2500 };
    struct cursor_page *page = open_page(COUNT);
    static bool taken[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t slot = take(page);
        assert_true(slot < COUNT && !taken[slot]);
        taken[slot] = true;
        note(page, slot, 1000 + slot, slot);
    }
    uint32_t slot = 4;
    assert_int_equal(cursor_page_take(page, &slot), ERR_BUSY);
    assert_int_equal(slot, 4);
    cursor_page_drop(page, 17);
    cursor_page_drop(page, CURSOR_PAGE_NONE);
    assert_int_equal(take(page), 17);
    cursor_page_drop(page, 18);
    cursor_page_close(page);
    struct found found = {.keep = 3000};
    page = open_page(COUNT);
    cursor_page_claim(page, visit, &found);
    assert_int_equal(found.count, COUNT - 2); /* 17 and 18 hold nothing */
    for (uint32_t i = 0; i < COUNT - 1; i++) {
        slot = take(page);
        assert_int_not_equal(slot, 2000); /* it stayed taken */
        note(page, slot, 1, 1);
    }
    assert_int_equal(cursor_page_take(page, &slot), ERR_BUSY);
    cursor_page_close(page);
}

static void a_page_that_cannot_grow_stays_as_it_was(void **state)
{
    (void)state;
    struct cursor_page *page = open_page(3 * CURSOR_PAGE_STEP);
    for (uint32_t i = 0; i < CURSOR_PAGE_STEP; i++) {
        note(page, take(page), 1 + i, i);
    }
    uint32_t slot = 0;
    fault_install();
    fault_set(&(struct fault_plan){.kinds = FAULT_WRITE,
                                   .at = 1,
                                   .error_number = ENOSPC,
                                   .short_write = true});
    assert_int_equal(cursor_page_take(page, &slot), ERR_FULL);
    fault_remove();
    assert_int_equal(take(page), CURSOR_PAGE_STEP);
    note(page, CURSOR_PAGE_STEP, 99999, 5);
    cursor_page_close(page);
    struct found found = {0};
    page = open_page(3 * CURSOR_PAGE_STEP);
    cursor_page_claim(page, visit, &found);
    assert_int_equal(found.count, CURSOR_PAGE_STEP + 1);
    cursor_page_close(page);
}

static void opening_reports_what_failed(void **state)
{
    (void)state;
    for (uint64_t at = 1;; at++) {
        struct cursor_page *page = NULL;
        fault_install();
        fault_set(&(struct fault_plan){
            .kinds = FAULT_ANY, .at = at, .error_number = EIO});
        enum err err = cursor_page_open(directory, 10, &page);
        bool fired = fault_fired();
        fault_remove();
        if (err == ERR_OK) {
            cursor_page_close(page);
        } else {
            assert_int_equal(err, ERR_IO);
            assert_null(page);
        }
        if (!fired) {
            assert_int_equal(err, ERR_OK);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_noted_last_is_found, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reading_finds_it_and_changes_nothing,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_higher_epoch_beats_a_higher_cursor,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_copy_leaves_the_one_before,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(slots_are_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_page_that_cannot_grow_stays_as_it_was,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(opening_reports_what_failed, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
