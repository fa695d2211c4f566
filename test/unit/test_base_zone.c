/* Tests of base/zone: beside libc's reading of the same files, at gaps and
 * folds, and with bytes that are no zone.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/date.h"
#include "base/zone.h"
#include "base/zone_rule.h"
#include "sys/file.h"
#include "sys/zone_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { HOUR = 3600, DAY = 24 * HOUR };

static struct zone *load(const char *name)
{
    struct zone *zone = NULL;

    assert_int_equal(zone_file_load(str_from(name), &zone), ERR_OK);
    return zone;
}

static int64_t second_of(int64_t year, int month, int day, int second)
{
    return date_to_days(year, month, day) * DAY + second;
}

static bool
shows(const struct zone_time *time, int hour, int minute, int second)
{
    return time->hour == hour && time->minute == minute &&
           time->second == second;
}

/* --- beside libc ---------------------------------------------------------- */

static void compare_at(const struct zone *zone, int64_t second)
{
    time_t at = (time_t)second;
    struct tm theirs;
    struct zone_time ours = zone_time_of(zone, second);
    struct zone_span span = zone_span_of(zone, second);
    int64_t seconds[ZONE_ANSWERS_MAX];

    assert_non_null(localtime_r(&at, &theirs));
    assert_int_equal(span.offset, theirs.tm_gmtoff);
    assert_int_equal(ours.year, theirs.tm_year + 1900);
    assert_int_equal(ours.month, theirs.tm_mon + 1);
    assert_int_equal(ours.day, theirs.tm_mday);
    assert_true(shows(&ours, theirs.tm_hour, theirs.tm_min, theirs.tm_sec));
    assert_true(second >= span.start && second < span.end);
    unsigned count = zone_seconds_of(zone, &ours, seconds);
    assert_true(count == 1 || count == 2);
    assert_true(seconds[0] == second || (count == 2 && seconds[1] == second));
}

/* Every change of two centuries, and many seconds between them. */
static void zones_are_read_as_libc_reads_them(void **state)
{
    (void)state;
    static const char *const names[] = {
        "Europe/Berlin",       "Europe/Dublin",    "America/New_York",
        "America/Sao_Paulo",   "America/St_Johns", "Asia/Kolkata",
        "Asia/Kathmandu",      "Asia/Gaza",        "Australia/Lord_Howe",
        "Pacific/Apia",        "Pacific/Chatham",  "Africa/Casablanca",
        "America/Godthab",     "Antarctica/Troll", "America/Asuncion",
        "Africa/Johannesburg", "Etc/GMT-14",       "EST5EDT",
    };
    const int64_t end = second_of(2120, 1, 1, 0);

    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        struct zone *zone = load(names[index]);
        assert_int_equal(setenv("TZ", names[index], 1), 0);
        tzset();
        int64_t second = second_of(1920, 1, 1, 0);
        while (second < end) {
            struct zone_span span = zone_span_of(zone, second);
            compare_at(zone, second);
            int64_t next = second + 17 * DAY + 4711;
            if (span.end < next) {
                compare_at(zone, span.end - 1);
                next = span.end;
            }
            second = next;
        }
        zone_destroy(zone);
    }
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

/* --- gaps and folds ------------------------------------------------------- */

static void a_time_in_a_gap_is_shown_at_no_second(void **state)
{
    (void)state;
    int64_t seconds[ZONE_ANSWERS_MAX];
    struct zone_time time = {.year = 2026, .month = 3, .day = 29, .hour = 2};
    struct zone *zone = load("Europe/Berlin");

    assert_int_equal(zone_seconds_of(zone, &time, seconds), 0);
    time.minute = 59;
    time.second = 59;
    assert_int_equal(zone_seconds_of(zone, &time, seconds), 0);
    time = (struct zone_time){.year = 2026, .month = 3, .day = 29, .hour = 3};
    assert_int_equal(zone_seconds_of(zone, &time, seconds), 1);
    assert_int_equal(seconds[0], second_of(2026, 3, 29, HOUR));
    struct zone_span span = zone_span_of(zone, seconds[0]);
    assert_int_equal(span.start, seconds[0]);
    assert_int_equal(span.before, HOUR);
    assert_int_equal(span.offset, 2 * HOUR);
    assert_int_equal(span.end, second_of(2026, 10, 25, HOUR));
    zone_destroy(zone);
}

static void a_time_in_a_fold_is_shown_at_two_seconds(void **state)
{
    (void)state;
    int64_t seconds[ZONE_ANSWERS_MAX];
    /* Far behind the table of any file: by the rule. */
    struct zone_time time = {
        .year = 2085, .month = 10, .day = 28, .hour = 2, .minute = 30};
    struct zone *zone = load("Europe/Berlin");

    assert_int_equal(zone_seconds_of(zone, &time, seconds), 2);
    assert_int_equal(seconds[0], second_of(2085, 10, 28, HOUR / 2));
    assert_int_equal(seconds[1], second_of(2085, 10, 28, HOUR + HOUR / 2));
    time.hour = 3;
    assert_int_equal(zone_seconds_of(zone, &time, seconds), 1);
    zone_destroy(zone);
}

/* Apia went over the date line: 2011-12-30 was never. */
static void a_whole_day_may_be_in_a_gap(void **state)
{
    (void)state;
    int64_t seconds[ZONE_ANSWERS_MAX];
    struct zone_time time = {.year = 2011, .month = 12, .day = 30, .hour = 12};
    struct zone *zone = load("Pacific/Apia");

    assert_int_equal(zone_seconds_of(zone, &time, seconds), 0);
    time.day = 31;
    assert_int_equal(zone_seconds_of(zone, &time, seconds), 1);
    time.day = 29;
    assert_int_equal(zone_seconds_of(zone, &time, seconds), 1);
    zone_destroy(zone);
}

static void utc_never_changes(void **state)
{
    (void)state;
    struct zone *zone = NULL;

    assert_int_equal(zone_create_utc(&zone), ERR_OK);
    struct zone_span span = zone_span_of(zone, 0);
    assert_true(span.start == INT64_MIN && span.end == INT64_MAX);
    assert_int_equal(span.offset, 0);
    struct zone_time time = zone_time_of(zone, -1);
    assert_int_equal(time.year, 1969);
    assert_true(shows(&time, 23, 59, 59));
    zone_destroy(zone);
    zone_destroy(NULL);
}

/* --- rules ---------------------------------------------------------------- */

static struct zone_rule rule_of(const char *text)
{
    struct zone_rule rule;

    assert_int_equal(zone_rule_parse(str_from(text), &rule), ERR_OK);
    return rule;
}

static void rules_are_read_in_all_forms(void **state)
{
    (void)state;
    struct zone_rule rule = rule_of("<-0330>3:30<-0230>,M3.2.0,M11.1.0");
    assert_int_equal(rule.standard, -(3 * HOUR + HOUR / 2));
    assert_int_equal(rule.summer, -(2 * HOUR + HOUR / 2));
    assert_int_equal(rule.begin.time, 2 * HOUR);

    rule = rule_of("IST-1GMT0,M10.5.0,M3.5.0/1"); /* Dublin: winter time */
    assert_int_equal(rule.summer, 0);
    assert_int_equal(zone_rule_span_of(&rule, second_of(2030, 1, 1, 0)).offset,
                     0);
    assert_int_equal(zone_rule_span_of(&rule, second_of(2030, 7, 1, 0)).offset,
                     HOUR);

    rule = rule_of("<-02>2<-01>,M3.5.0/-1,M10.5.0/0"); /* Godthab */
    assert_int_equal(rule.begin.time, -HOUR);

    rule = rule_of("AAA+1:00:30BBB-3:30:01,J60/167,300/-167:59:59");
    assert_int_equal(rule.standard, -(HOUR + 30));
    assert_int_equal(rule.summer, 3 * HOUR + HOUR / 2 + 1);
    assert_int_equal(rule.end.kind, ZONE_RULE_DAY);
    assert_int_equal(rule.end.time, -(168 * HOUR - 1));
}

/* RFC 8536, 3.3.1: summer time all year. */
static void summer_may_last_all_year(void **state)
{
    (void)state;
    const struct zone_rule rule = rule_of("EST5EDT,0/0,J365/25");

    for (int64_t second = second_of(2027, 12, 28, 0);
         second < second_of(2028, 1, 4, 0); second += HOUR) {
        assert_int_equal(zone_rule_span_of(&rule, second).offset, -4 * HOUR);
    }
}

static void julian_days_do_not_count_the_leap_day(void **state)
{
    (void)state;
    const struct zone_rule rule = rule_of("AAA0BBB,J60/0,J300/0");

    for (int year = 2027; year <= 2028; year++) {
        int64_t begin = second_of(year, 3, 1, 0);
        assert_int_equal(zone_rule_span_of(&rule, begin - 1).offset, 0);
        assert_int_equal(zone_rule_span_of(&rule, begin).offset, HOUR);
        assert_int_equal(zone_rule_span_of(&rule, begin).start, begin);
    }
}

/* Both changes of a year may be in the first days of the next. */
static void changes_may_lie_in_the_next_year(void **state)
{
    (void)state;
    const struct zone_rule rule = rule_of("AAA0BBB,365/140,365/167");

    assert_int_equal(zone_rule_span_of(&rule, second_of(2030, 1, 1, 0)).offset,
                     0);
    assert_int_equal(
        zone_rule_span_of(&rule, second_of(2030, 1, 6, 20 * HOUR)).offset,
        HOUR);
}

static void what_is_no_rule_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "AB1",
        "CET",
        "CET-",
        "CET-25",
        "CET-1:60",
        "<ab>1",
        "<abc1",
        "CET-1CEST",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M3.5.0,",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,M3.5,M10.5.0",
        "CET-1CEST,M3,M10.5.0",
        "CET-1CEST,J0,M10.5.0",
        "CET-1CEST,366,M10.5.0",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0/3x",
        "CET-1CE,M3.5.0,M10.5.0",
        "CET-99999999999",
    };

    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        struct zone_rule rule = {.standard = 4711};
        assert_int_equal(zone_rule_parse(str_from(bad[index]), &rule),
                         ERR_CORRUPT);
        assert_int_equal(rule.standard, 4711);
    }
}

/* --- bytes that are no zone ----------------------------------------------- */

static void append_u32(struct buf *to, uint32_t value)
{
    uint32_t swapped = __builtin_bswap32(value);
    buf_append(to, &swapped, sizeof(swapped));
}

static void append_u64(struct buf *to, uint64_t value)
{
    uint64_t swapped = __builtin_bswap64(value);
    buf_append(to, &swapped, sizeof(swapped));
}

static void append_header(struct buf *to,
                          char version,
                          uint32_t leaps,
                          uint32_t changes,
                          uint32_t types)
{
    static const char unused[15] = {0};

    buf_append_c(to, "TZif");
    buf_append_byte(to, version);
    buf_append(to, unused, sizeof(unused));
    append_u32(to, 0);
    append_u32(to, 0);
    append_u32(to, leaps);
    append_u32(to, changes);
    append_u32(to, types);
    append_u32(to, 0);
}

struct made {
    char version;
    uint32_t leaps;
    uint32_t types; /* said; there is one */
    int32_t offset; /* of it */
    int64_t changes[2];
    uint8_t to[2];
    const char *rule;
};

static enum err read_made(const struct made *made)
{
    struct buf bytes = {0};
    struct zone *zone = NULL;

    append_header(&bytes, made->version, 0, 0, 0);
    append_header(&bytes, made->version, made->leaps, 2, made->types);
    append_u64(&bytes, (uint64_t)made->changes[0]);
    append_u64(&bytes, (uint64_t)made->changes[1]);
    buf_append(&bytes, made->to, sizeof(made->to));
    append_u32(&bytes, (uint32_t)made->offset);
    buf_append_byte(&bytes, 0);
    buf_append_byte(&bytes, 0);
    buf_append_c(&bytes, made->rule);
    assert_false(bytes.failed);
    enum err err = zone_create(buf_str(&bytes), &zone);
    assert_true((zone != NULL) == (err == ERR_OK));
    zone_destroy(zone);
    buf_fini(&bytes);
    return err;
}

static void what_is_wrong_in_a_file_is_refused(void **state)
{
    (void)state;
    const struct made good = {
        .version = '2', .types = 1, .changes = {-5, 5}, .rule = "\nUTC0\n"};
    struct made bad = good;

    assert_int_equal(read_made(&good), ERR_OK);
    bad.rule = "\n\n"; /* none */
    assert_int_equal(read_made(&bad), ERR_OK);
    bad.rule = "\nUTC0";
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
    bad.rule = "UTC0\n";
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
    bad.rule = "\n0\n";
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
    bad = good;
    bad.version = '\0';
    assert_int_equal(read_made(&bad), ERR_UNSUPPORTED);
    bad = good;
    bad.leaps = 1;
    assert_int_equal(read_made(&bad), ERR_UNSUPPORTED);
    bad = good;
    bad.types = 0;
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
    bad.types = 257;
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
    bad = good;
    bad.to[1] = 1;
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
    bad = good;
    bad.changes[1] = -5;
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
    bad = good;
    bad.offset = 26 * HOUR;
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
    bad.offset = -26 * HOUR;
    assert_int_equal(read_made(&bad), ERR_CORRUPT);
}

/* A file that ends early is refused, wherever it ends. */
static void a_file_that_is_cut_is_refused(void **state)
{
    (void)state;
    char *data = NULL;
    size_t size = 0;

    assert_int_equal(file_load("/usr/share/zoneinfo/Europe/Berlin",
                               ZONE_FILE_SIZE_MAX, &data, &size),
                     ERR_OK);
    for (size_t cut = 0; cut < size; cut++) {
        struct zone *zone = NULL;
        char *exact = malloc(cut + 1);
        assert_non_null(exact);
        memcpy(exact, data, cut);
        assert_int_equal(zone_create((struct str){exact, cut}, &zone),
                         ERR_CORRUPT);
        free(exact);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zones_are_read_as_libc_reads_them),
        cmocka_unit_test(a_time_in_a_gap_is_shown_at_no_second),
        cmocka_unit_test(a_time_in_a_fold_is_shown_at_two_seconds),
        cmocka_unit_test(a_whole_day_may_be_in_a_gap),
        cmocka_unit_test(utc_never_changes),
        cmocka_unit_test(rules_are_read_in_all_forms),
        cmocka_unit_test(summer_may_last_all_year),
        cmocka_unit_test(julian_days_do_not_count_the_leap_day),
        cmocka_unit_test(changes_may_lie_in_the_next_year),
        cmocka_unit_test(what_is_no_rule_is_refused),
        cmocka_unit_test(what_is_wrong_in_a_file_is_refused),
        cmocka_unit_test(a_file_that_is_cut_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
