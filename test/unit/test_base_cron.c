/* Tests of base/cron: what is read, what comes next, and a model that looks at
 * every minute, in zones whose clocks jump.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/cron.h"

#include "base/buf.h"
#include "base/date.h"
#include "base/wall_time.h"
#include "sys/zone_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct zone *load(const char *name)
{
    struct zone *zone = NULL;

    assert_int_equal(zone_file_load(str_from(name), &zone), ERR_OK);
    return zone;
}

static struct cron parse(const char *text)
{
    struct cron cron;
    const char *reason = "";

    if (cron_parse(str_from(text), &cron, &reason) != ERR_OK) {
        fail_msg("%s: %s", text, reason);
    }
    return cron;
}

static uint64_t ms_of(const char *text)
{
    uint64_t ms = 0;

    assert_int_equal(wall_time_parse(str_from(text), &ms), ERR_OK);
    return ms;
}

struct known {
    const char *cron;
    const char *zone;
    const char *after;
    const char *next[3]; /* one after the other; NULL: no more is asked */
};

static void expect(const struct known *known)
{
    const struct cron cron = parse(known->cron);
    struct zone *zone = load(known->zone);
    uint64_t at_ms = ms_of(known->after);

    for (int index = 0; index < 3 && known->next[index] != NULL; index++) {
        uint64_t next_ms = 0;
        struct buf text = {0};
        assert_true(cron_next(&cron, zone, at_ms, &next_ms));
        if (next_ms != ms_of(known->next[index])) {
            wall_time_write(&text, next_ms);
            buf_append_byte(&text, '\0');
            fail_msg("%s in %s: %s, not %s", known->cron, known->zone,
                     text.data, known->next[index]);
        }
        at_ms = next_ms;
    }
    zone_destroy(zone);
}

static void expect_all(const struct known *known, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        expect(&known[index]);
    }
}

#define EXPECT_ALL(known)                                                      \
    expect_all((known), sizeof(known) / sizeof((known)[0]))

/* --- what comes next ------------------------------------------------------ */

static void the_next_time_is_strictly_after(void **state)
{
    (void)state;
    static const struct known known[] = {
        {"* * * * *",
         "UTC",
         "2026-01-01T00:00:00Z",
         {"2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"}},
        {"* * * * *",
         "UTC",
         "2026-01-01T00:00:59.999Z",
         {"2026-01-01T00:01:00Z"}},
        {"* * * * * *",
         "UTC",
         "2026-12-31T23:59:58.001Z",
         {"2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"}},
        {"30 4 * * *",
         "UTC",
         "2026-02-28T04:30:00Z",
         {"2026-03-01T04:30:00Z", "2026-03-02T04:30:00Z"}},
        {"15,45 8-9 * * *",
         "UTC",
         "2026-05-05T08:44:59.5Z",
         {"2026-05-05T08:45:00Z", "2026-05-05T09:15:00Z",
          "2026-05-05T09:45:00Z"}},
        {"*/20 * * * *",
         "UTC",
         "2026-05-05T08:41:00Z",
         {"2026-05-05T09:00:00Z", "2026-05-05T09:20:00Z"}},
        {"10-30/10 23 31 12 *",
         "UTC",
         "2026-12-31T23:10:00Z",
         {"2026-12-31T23:20:00Z", "2026-12-31T23:30:00Z",
          "2027-12-31T23:10:00Z"}},
        {"15,30 10,50 3 * * *",
         "UTC",
         "2026-01-01T03:10:15Z",
         {"2026-01-01T03:10:30Z", "2026-01-01T03:50:15Z",
          "2026-01-01T03:50:30Z"}},
        {"0 0 31 * *",
         "UTC",
         "2026-01-31T00:00:00Z",
         {"2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"}},
    };

    EXPECT_ALL(known);
}

static void leap_days_come_in_leap_years(void **state)
{
    (void)state;
    static const struct known known[] = {
        {"0 0 29 2 *",
         "UTC",
         "2096-02-28T00:00:00Z",
         {"2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"}},
        {"0 0 29 FEB *",
         "UTC",
         "2025-01-01T00:00:00Z",
         {"2028-02-29T00:00:00Z"}},
        /* A day of the week that begins with a star: both have to fit. */
        {"0 0 29 2 */7",
         "UTC",
         "2004-03-01T00:00:00Z",
         {"2032-02-29T00:00:00Z", "2060-02-29T00:00:00Z",
          "2088-02-29T00:00:00Z"}},
        {"0 0 29 2 */7",
         "UTC",
         "2088-03-01T00:00:00Z",
         {"2128-02-29T00:00:00Z"}},
    };

    EXPECT_ALL(known);
}

/* crontab(5): if both are restricted, it comes when either fits. */
static void days_of_month_and_week_are_as_in_vixies_cron(void **state)
{
    (void)state;
    static const struct known known[] = {
        {"30 4 1,15 * 5",
         "UTC",
         "2026-05-01T04:30:00Z",
         {"2026-05-08T04:30:00Z", "2026-05-15T04:30:00Z",
          "2026-05-22T04:30:00Z"}},
        {"0 0 13 * FRI",
         "UTC",
         "2026-03-12T00:00:00Z",
         {"2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"}},
        {"0 0 */2 * MON",
         "UTC",
         "2026-06-01T00:00:00Z",
         {"2026-06-15T00:00:00Z", "2026-06-29T00:00:00Z"}},
        {"0 0 * * 7", "UTC", "2026-03-01T00:00:00Z", {"2026-03-08T00:00:00Z"}},
        {"0 0 * * 5-7",
         "UTC",
         "2026-03-05T00:00:00Z",
         {"2026-03-06T00:00:00Z", "2026-03-07T00:00:00Z",
          "2026-03-08T00:00:00Z"}},
        {"0 0 * * fri-sun",
         "UTC",
         "2026-03-08T00:00:00Z",
         {"2026-03-13T00:00:00Z"}},
        {"0 0 * jan,jul Mon-Wed",
         "UTC",
         "2026-02-01T00:00:00Z",
         {"2026-07-01T00:00:00Z", "2026-07-06T00:00:00Z"}},
    };

    EXPECT_ALL(known);
}

static void macros_stand_for_lines(void **state)
{
    (void)state;
    static const struct known known[] = {
        {"@hourly", "UTC", "2026-03-01T10:00:00Z", {"2026-03-01T11:00:00Z"}},
        {"@daily", "UTC", "2026-03-01T10:00:00Z", {"2026-03-02T00:00:00Z"}},
        {"@midnight", "UTC", "2026-03-01T10:00:00Z", {"2026-03-02T00:00:00Z"}},
        {"@weekly", "UTC", "2026-03-01T10:00:00Z", {"2026-03-08T00:00:00Z"}},
        {"@monthly", "UTC", "2026-03-01T00:00:00Z", {"2026-04-01T00:00:00Z"}},
        {"@yearly", "UTC", "2026-03-01T10:00:00Z", {"2027-01-01T00:00:00Z"}},
        {"@Annually", "UTC", "2026-03-01T10:00:00Z", {"2027-01-01T00:00:00Z"}},
        {"@every 90s",
         "Europe/Berlin",
         "1970-01-01T00:02:00Z",
         {"1970-01-01T00:03:00Z", "1970-01-01T00:04:30Z"}},
        {"@every 1h",
         "UTC",
         "2026-03-01T10:59:59.9Z",
         {"2026-03-01T11:00:00Z"}},
        {"  @every   1000ms ",
         "UTC",
         "2026-03-01T10:00:00Z",
         {"2026-03-01T10:00:01Z"}},
    };

    EXPECT_ALL(known);
}

/* --- clocks that jump ----------------------------------------------------- */

static void what_falls_into_a_gap_comes_once_at_its_end(void **state)
{
    (void)state;
    static const struct known known[] = {
        {"30 2 * * *",
         "Europe/Berlin",
         "2026-03-28T12:00:00+01:00",
         {"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
        {"0,15,30,45 2 * * *",
         "Europe/Berlin",
         "2026-03-28T12:00:00+01:00",
         {"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
        {"0 2,3 * * *", /* at the end of the gap is its own time, too */
         "Europe/Berlin",
         "2026-03-29T00:00:00+01:00",
         {"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
        {"30 2 29 3 *",
         "Europe/Berlin",
         "2026-01-01T00:00:00Z",
         {"2026-03-29T03:00:00+02:00", "2027-03-29T02:30:00+02:00"}},
        {"30 2 * * *",
         "America/New_York",
         "2026-03-07T12:00:00-05:00",
         {"2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"}},
        {"15 2 * * *", /* half an hour */
         "Australia/Lord_Howe",
         "2026-10-03T12:00:00+10:30",
         {"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
        {"0 0 * * *", /* at midnight */
         "Africa/Cairo",
         "2026-04-23T12:00:00+02:00",
         {"2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"}},
        {"0 12 30 12 *", /* a day that never was */
         "Pacific/Apia",
         "2011-12-29T00:00:00-10:00",
         {"2011-12-31T00:00:00+14:00", "2012-12-30T12:00:00+14:00"}},
        {"30 2 * * *", /* by the rule */
         "Europe/Berlin",
         "2085-03-24T12:00:00+01:00",
         {"2085-03-25T03:00:00+02:00"}},
    };

    EXPECT_ALL(known);
}

static void what_falls_into_a_fold_comes_the_first_time_only(void **state)
{
    (void)state;
    static const struct known known[] = {
        {"30 2 * * *",
         "Europe/Berlin",
         "2026-10-25T00:00:00+02:00",
         {"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
        {"30 2 * * *", /* asked between both */
         "Europe/Berlin",
         "2026-10-25T02:10:00+01:00",
         {"2026-10-26T02:30:00+01:00"}},
        {"0 1-4 * * *",
         "Europe/Berlin",
         "2026-10-25T01:00:00+02:00",
         {"2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00",
          "2026-10-25T04:00:00+01:00"}},
        {"30 1 * * *",
         "America/New_York",
         "2026-10-31T12:00:00-04:00",
         {"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"}},
        {"45 1 * * *",
         "Australia/Lord_Howe",
         "2026-04-04T12:00:00+11:00",
         {"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
        {"0 0 * * *", /* midnight comes twice */
         "America/Havana",
         "2026-10-31T12:00:00-04:00",
         {"2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"}},
    };

    EXPECT_ALL(known);
}

/* What is for every hour stays as far apart as it always is. */
static void what_is_for_every_hour_goes_on_as_the_clock_shows(void **state)
{
    (void)state;
    static const struct known known[] = {
        {"*/30 * * * *",
         "Europe/Berlin",
         "2026-03-29T01:30:00+01:00",
         {"2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"}},
        {"15 * * * *",
         "Europe/Berlin",
         "2026-03-29T01:15:00+01:00",
         {"2026-03-29T03:15:00+02:00"}},
        {"15 * * * *",
         "Europe/Berlin",
         "2026-10-25T01:15:00+02:00",
         {"2026-10-25T02:15:00+02:00", "2026-10-25T02:15:00+01:00",
          "2026-10-25T03:15:00+01:00"}},
        {"@every 30m",
         "Europe/Berlin",
         "2026-10-25T00:15:00Z",
         {"2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z",
          "2026-10-25T01:30:00Z"}},
    };

    EXPECT_ALL(known);
}

/* --- the model ------------------------------------------------------------ */

static bool fits(const struct cron *cron, const struct zone_time *time)
{
    int64_t days = date_to_days(time->year, time->month, time->day);
    bool of_month = (cron->days >> time->day & 1) != 0;
    bool of_week = (cron->weekdays >> date_weekday(days) & 1) != 0;

    return (cron->seconds >> time->second & 1) != 0 &&
           (cron->minutes >> time->minute & 1) != 0 &&
           (cron->hours >> time->hour & 1) != 0 &&
           (cron->months >> time->month & 1) != 0 &&
           (cron->either_day ? of_month || of_week : of_month && of_week);
}

/* Tell by the words of the contract alone whether a minute is one of cron's. */
static bool
is_meant(const struct cron *cron, const struct zone *zone, int64_t at)
{
    struct zone_time time = zone_time_of(zone, at);
    struct zone_span span = zone_span_of(zone, at);
    int64_t seconds[ZONE_ANSWERS_MAX];

    if (cron->hours == (1U << 24) - 1) {
        return fits(cron, &time);
    }
    if (fits(cron, &time)) {
        assert_true(zone_seconds_of(zone, &time, seconds) >= 1);
        return seconds[0] == at;
    }
    if (at != span.start) {
        return false;
    }
    for (int64_t gap = span.before; gap < span.offset; gap += 60) {
        time = zone_time_at(at, (int32_t)gap);
        if (fits(cron, &time)) {
            return true;
        }
    }
    return false;
}

static void compare_model(const char *text, const char *name, const char *from)
{
    enum { MINUTES = 3 * 24 * 60 };
    const struct cron cron = parse(text);
    struct zone *zone = load(name);
    int64_t begin = (int64_t)(ms_of(from) / 1000);
    uint64_t next_ms = 0;

    assert_true(cron_next(&cron, zone, (uint64_t)begin * 1000 - 1, &next_ms));
    for (int64_t at = begin; at < begin + MINUTES * 60; at += 60) {
        bool meant = is_meant(&cron, zone, at);
        if (meant != (next_ms == (uint64_t)at * 1000)) {
            fail_msg("%s in %s: wrong at %lld", text, name, (long long)at);
        }
        if (meant) {
            assert_true(cron_next(&cron, zone, next_ms, &next_ms));
        }
    }
    zone_destroy(zone);
}

static void every_minute_is_as_the_contract_says(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "* * * * *",    "*/7 * * * *",    "30 2 * * *",  "*/10 1-3 * * *",
        "0 */2 * * *",  "59 23 * * *",    "0 0 * * *",   "5 0-12/3 * * SUN",
        "* 2 29 3 MON", "17 1 24-31 * *", "0 3 * * SAT", "1-59/2 0,1,2 * * *",
    };
    static const struct {
        const char *zone;
        const char *from; /* the day before the clock jumps */
    } jumps[] = {
        {"Europe/Berlin", "2026-03-28T00:00:00Z"},
        {"Europe/Berlin", "2026-10-24T00:00:00Z"},
        {"Europe/Berlin", "2090-03-25T00:00:00Z"},
        {"America/New_York", "2026-03-07T00:00:00Z"},
        {"America/New_York", "2026-10-31T00:00:00Z"},
        {"America/St_Johns", "2026-10-31T00:00:00Z"},
        {"Australia/Lord_Howe", "2026-04-03T12:00:00Z"},
        {"Australia/Lord_Howe", "2026-10-02T12:00:00Z"},
        {"America/Havana", "2026-10-31T00:00:00Z"},
        {"Africa/Cairo", "2026-04-23T00:00:00Z"},
        {"Africa/Casablanca", "2026-02-14T00:00:00Z"},
        {"Pacific/Apia", "2011-12-29T00:00:00Z"},
        {"Antarctica/Troll", "2026-03-28T00:00:00Z"},
        {"UTC", "2028-02-28T00:00:00Z"},
    };

    for (size_t line = 0; line < sizeof(lines) / sizeof(lines[0]); line++) {
        for (size_t jump = 0; jump < sizeof(jumps) / sizeof(jumps[0]); jump++) {
            compare_model(lines[line], jumps[jump].zone, jumps[jump].from);
        }
    }
}

/* --- what is refused ------------------------------------------------------ */

static void what_is_no_cron_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "   ",
        "*",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * * 8",
        "-1 * * * *",
        "5- * * * *",
        "-5 * * * *",
        "5-1 * * * *",
        "1, * * * *",
        ",1 * * * *",
        "1,,2 * * * *",
        "*/0 * * * *",
        "*/ * * * *",
        "5/2 * * * *",
        "*/60 * * * *",
        "1-5/2/2 * * * *",
        "x * * * *",
        "* * * JA *",
        "* * * * MONDAY",
        "MON * * * *",
        "* * JAN * *",
        "60 * * * * *",
        "**  * * * *",
        "1.5 * * * *",
        "@reboot",
        "@",
        "@every",
        "@every 0s",
        "@every 500ms",
        "@every 1500ms",
        "@every 367d",
        "@every x",
        "@daily 1",
        "99999999999999999999 * * * *",
        "* * * * sun-mon-tue",
    };

    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        struct cron cron = {.every_ms = 4711};
        const char *reason = NULL;
        if (cron_parse(str_from(bad[index]), &cron, &reason) != ERR_INVALID) {
            fail_msg("taken: %s", bad[index]);
        }
        assert_non_null(reason);
        assert_true(reason[0] != '\0');
        assert_int_equal(cron.every_ms, 4711);
    }
}

static void what_never_comes_is_refused(void **state)
{
    (void)state;
    static const char *const never[] = {"0 0 30 2 *", "0 0 31 2,4,6,9,11 *",
                                        "0 0 30,31 FEB *"};
    struct cron cron;
    const char *reason = NULL;

    for (size_t index = 0; index < sizeof(never) / sizeof(never[0]); index++) {
        assert_int_equal(cron_parse(str_from(never[index]), &cron, &reason),
                         ERR_INVALID);
        assert_non_null(strstr(reason, "never"));
    }
    /* With a day of the week it does. */
    assert_int_equal(cron_parse(STR("0 0 30 2 MON"), &cron, &reason), ERR_OK);
}

static void what_is_too_long_is_refused(void **state)
{
    (void)state;
    struct buf text = {0};
    struct cron cron;
    const char *reason = NULL;

    buf_append_c(&text, "0");
    while (text.size < CRON_SIZE_MAX) {
        buf_append_c(&text, ",0");
    }
    buf_append_c(&text, " * * * *");
    assert_int_equal(cron_parse(buf_str(&text), &cron, &reason), ERR_INVALID);
    buf_fini(&text);
}

static void there_is_nothing_after_the_end_of_time(void **state)
{
    (void)state;
    struct zone *zone = load("UTC");
    uint64_t next_ms = 4711;
    struct cron cron = parse("* * * * *");

    assert_false(
        cron_next(&cron, zone, ms_of("9999-12-31T23:59:59Z"), &next_ms));
    assert_false(cron_next(&cron, zone, UINT64_MAX, &next_ms));
    cron = parse("@every 366d");
    assert_false(cron_next(&cron, zone, UINT64_MAX, &next_ms));
    zone_destroy(zone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_time_is_strictly_after),
        cmocka_unit_test(leap_days_come_in_leap_years),
        cmocka_unit_test(days_of_month_and_week_are_as_in_vixies_cron),
        cmocka_unit_test(macros_stand_for_lines),
        cmocka_unit_test(what_falls_into_a_gap_comes_once_at_its_end),
        cmocka_unit_test(what_falls_into_a_fold_comes_the_first_time_only),
        cmocka_unit_test(what_is_for_every_hour_goes_on_as_the_clock_shows),
        cmocka_unit_test(every_minute_is_as_the_contract_says),
        cmocka_unit_test(what_is_no_cron_is_refused_with_a_reason),
        cmocka_unit_test(what_never_comes_is_refused),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(there_is_nothing_after_the_end_of_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
