/* Shares of the descriptors that there are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/descriptors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct config config = {
    .connections_max = 10000,
    .target_connections = 4096,
    .files_open = 1024,
};

static void settings_stand_when_there_is_enough(void **state)
{
    (void)state;
    struct descriptors share;
    const uint64_t enough = 10000 + 4096 + 1024 + 64;

    for (uint32_t shards = 1; shards < 5; shards++) {
        assert_true(
            descriptors_share(&config, enough * shards, shards, &share));
        assert_int_equal(share.connections_max, 10000);
        assert_int_equal(share.target_connections, 4096);
        assert_int_equal(share.files_open, 1024);
        assert_false(
            descriptors_share(&config, enough * shards - 1, shards, &share));
    }
}

static void connections_share_what_files_leave(void **state)
{
    (void)state;
    struct descriptors share;

    assert_false(descriptors_share(&config, 20000, 2, &share));
    assert_int_equal(share.files_open, 1024);
    assert_int_equal(share.connections_max, 10000 * (10000 - 1088) / 14096);
    assert_int_equal(share.target_connections, 4096 * (10000 - 1088) / 14096);
}

static void nothing_gets_more_than_there_is(void **state)
{
    (void)state;
    struct descriptors share;

    for (uint64_t count = 0; count < 40000; count += 7) {
        for (uint32_t shards = 1; shards < 9; shards++) {
            (void)descriptors_share(&config, count, shards, &share);
            uint64_t sum = share.connections_max + share.target_connections +
                           (uint64_t)share.files_open + 32;
            assert_true(share.connections_max >= 1);
            assert_true(share.target_connections >= 1);
            assert_true(share.files_open >= 16);
            assert_true(sum * shards <= count ||
                        count < UINT64_C(128) * shards);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_stand_when_there_is_enough),
        cmocka_unit_test(connections_share_what_files_leave),
        cmocka_unit_test(nothing_gets_more_than_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
