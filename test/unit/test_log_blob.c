/* Tests of log/blob.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/blob.h"

#include "base/crc32c.h"
#include "lib/fault.h"
#include "lib/scratch.h"
#include "sys/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char data[SCRATCH_PATH_MAX];
static char topic[DIR_PATH_MAX];
static const char content[] = "the bytes of a body";

static int set_up(void **state)
{
    char path[DIR_PATH_MAX];
    (void)state;
    assert_int_equal(scratch_make(data), 0);
    assert_int_equal(dir_join(path, data, "blobs"), ERR_OK);
    assert_int_equal(dir_create(path), ERR_OK);
    assert_int_equal(dir_join(topic, data, "topics/t"), ERR_OK);
    assert_int_equal(dir_create(topic), ERR_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return scratch_remove(data);
}

/* Receive a body of that id. */
static struct message_blob receive(uint64_t id)
{
    char path[DIR_PATH_MAX];
    int fd = -1;
    assert_int_equal(blob_incoming_path(path, data, id), ERR_OK);
    assert_int_equal(file_open(path, FILE_WRITE | FILE_CREATE, &fd), ERR_OK);
    assert_int_equal(file_write_at(fd, content, sizeof(content), 0, false),
                     ERR_OK);
    file_close(fd);
    return (struct message_blob){
        .id = id,
        .size = sizeof(content),
        .crc = crc32c(0, content, sizeof(content)),
    };
}

static void body_is_found_before_and_after_it_is_placed(void **state)
{
    (void)state;
    char path[DIR_PATH_MAX];
    int fd = -1;
    struct message_blob blob = receive(5);
    assert_int_equal(blob_verify(data, topic, 9, &blob), ERR_OK);
    assert_int_equal(blob_place(data, topic, 9, 5), ERR_OK);
    assert_int_equal(blob_sync(data, topic), ERR_OK);
    assert_int_equal(blob_verify(data, topic, 9, &blob), ERR_OK);
    assert_int_equal(blob_incoming_path(path, data, 5), ERR_OK);
    assert_int_equal(file_open(path, FILE_READ, &fd), ERR_NOT_FOUND);
    /* Again, as recovery does it. */
    assert_int_equal(blob_place(data, topic, 9, 5), ERR_OK);
    assert_int_equal(blob_verify(data, topic, 9, &blob), ERR_OK);
}

static void body_of_another_message_is_never_taken(void **state)
{
    (void)state;
    struct message_blob blob = receive(5);
    assert_int_equal(blob_place(data, topic, 9, 5), ERR_OK);
    blob.id = 6;
    assert_int_equal(blob_verify(data, topic, 9, &blob), ERR_NOT_FOUND);
    blob.id = 5;
    assert_int_equal(blob_verify(data, topic, 10, &blob), ERR_NOT_FOUND);
}

static void body_with_another_size_or_other_bytes_is_damaged(void **state)
{
    (void)state;
    struct message_blob blob = receive(5);
    blob.size++;
    assert_int_equal(blob_verify(data, topic, 9, &blob), ERR_CORRUPT);
    blob.size--;
    blob.crc ^= 1;
    assert_int_equal(blob_verify(data, topic, 9, &blob), ERR_CORRUPT);
}

static void removal_takes_what_is_below_and_nothing_else(void **state)
{
    (void)state;
    char folder[DIR_PATH_MAX];
    struct message_blob blobs[5];
    assert_int_equal(blob_folder(folder, topic), ERR_OK);
    assert_int_equal(blob_remove_below(folder, 3, 8), ERR_OK); /* no folder */
    for (uint64_t i = 0; i < 5; i++) {
        blobs[i] = receive(i + 100);
        assert_int_equal(blob_place(data, topic, i * 7, i + 100), ERR_OK);
    }
    assert_int_equal(blob_remove_below(folder, 21, 2), ERR_AGAIN);
    assert_int_equal(blob_remove_below(folder, 21, 2), ERR_OK);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(blob_verify(data, topic, i * 7, &blobs[i]),
                         i < 3 ? ERR_NOT_FOUND : ERR_OK);
    }
}

static void names_are_told_from_others(void **state)
{
    (void)state;
    uint64_t id = 0;
    assert_true(blob_incoming_parse("00000000000000af", &id));
    assert_int_equal(id, 0xaf);
    assert_false(blob_incoming_parse("00000000000000a", &id));
    assert_false(blob_incoming_parse("00000000000000af0", &id));
    assert_false(blob_incoming_parse("00000000000000AF", &id));
    assert_false(blob_incoming_parse("", &id));
}

/* Whatever call fails, the body is in one of its places, and the next try
 * brings it there. */
static void placing_that_failed_is_tried_again(void **state)
{
    (void)state;
    struct message_blob blob = receive(5);
    bool fired = true;
    fault_install();
    for (uint64_t at = 1; fired; at++) {
        fault_set(&(struct fault_plan){
            .kinds = FAULT_ANY, .at = at, .error_number = 5});
        enum err err = blob_place(data, topic, at, 5);
        if (err == ERR_OK) {
            err = blob_sync(data, topic);
        }
        fired = fault_fired();
        fault_reset();
        assert_true(fired ? err != ERR_OK : err == ERR_OK);
        assert_int_equal(blob_place(data, topic, at, 5), ERR_OK);
        assert_int_equal(blob_verify(data, topic, at, &blob), ERR_OK);
        (void)scratch_remove(data);
        (void)set_up(state);
        blob = receive(5);
    }
    fault_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(body_is_found_before_and_after_it_is_placed),
        TEST(body_of_another_message_is_never_taken),
        TEST(body_with_another_size_or_other_bytes_is_damaged),
        TEST(removal_takes_what_is_below_and_nothing_else),
        TEST(names_are_told_from_others),
        TEST(placing_that_failed_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
