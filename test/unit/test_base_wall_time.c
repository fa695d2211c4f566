/* Tests of base/wall_time: RFC 3339 and Unix seconds, there and back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/wall_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct known {
    const char *text;
    uint64_t unix_ms;
};

static void times_are_read_in_all_forms(void **state)
{
    (void)state;
    static const struct known known[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2000-02-29T12:34:56Z", 951827696000},
        {"2000-02-29t12:34:56z", 951827696000},
        {"2000-02-29 12:34:56Z", 951827696000},
        {"2026-11-23T23:06:26.5Z", 1795475186500},
        {"2026-11-23T23:06:26.123456789Z", 1795475186123},
        {"2026-11-24T01:06:26+02:00", 1795475186000},
        {"2026-11-23T18:36:26-04:30", 1795475186000},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"0", 0},
        {"1795475186", 1795475186000},
        {"1795475186.25", 1795475186250},
        {"1795475186.0009", 1795475186000},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        uint64_t unix_ms = 1;
        assert_int_equal(wall_time_parse(str_from(known[i].text), &unix_ms),
                         ERR_OK);
        assert_int_equal(unix_ms, known[i].unix_ms);
    }
}

static void what_is_no_time_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "now",
        "-1",
        "1.",
        "1.2.3",
        ".5",
        "99999999999999",
        "2026-11-23",
        "2026-11-23T23:06Z",
        "2026-11-23T23:06:26",
        "2026-11-23T23:06:26.Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T23:60:00Z",
        "2026-11-23T23:06:61Z",
        "2026-11-23T23:06:26Z ",
        "2026-11-23T23:06:26+24:00",
        "2026-11-23T23:06:26+0200",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-04-00T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "026-11-23T23:06:26Z",
        "20a6-11-23T23:06:26Z",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t unix_ms = 77;
        assert_int_equal(wall_time_parse(str_from(bad[i]), &unix_ms),
                         ERR_INVALID);
        assert_int_equal(unix_ms, 77);
    }
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    /* A step that is no multiple of a day meets each month and leap day. */
    const uint64_t end_ms = UINT64_C(253402300800000);
    const uint64_t step_ms = UINT64_C(86400000) * 13 + 12345677;
    unsigned count = 0;

    for (uint64_t at_ms = 0; at_ms < end_ms; at_ms += step_ms) {
        struct buf text = {0};
        uint64_t read_ms = 1;
        wall_time_write(&text, at_ms);
        assert_int_equal(text.size, strlen("2026-01-02T03:04:05.678Z"));
        assert_int_equal(wall_time_parse(buf_str(&text), &read_ms), ERR_OK);
        assert_int_equal(read_ms, at_ms);
        buf_fini(&text);
        count++;
    }
    assert_true(count > 200000);
}

static void late_times_are_written_as_the_last_one(void **state)
{
    (void)state;
    struct buf text = {0};

    wall_time_write(&text, UINT64_MAX);
    assert_true(str_equal(buf_str(&text), STR("9999-12-31T23:59:59.999Z")));
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_in_all_forms),
        cmocka_unit_test(what_is_no_time_is_refused_and_changes_nothing),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(late_times_are_written_as_the_last_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
