/* What letters say, and which are meant: queue/letters_filter.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/letters_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LETTER                                                                 \
    "{\"id\":\"msg_1\",\"delivered\":false,\"reason\":\"expired\","            \
    "\"seq\":70000000000,\"attempts\":4,\"class\":\"http_5\\u0078x\","         \
    "\"status\":503,\"subscription\":\"s\\t\","                                \
    "\"at\":\"1970-01-01T00:00:02.500Z\",\"attempts_log\":[{\"status\":1}]}"

static enum err read_text(const char *text, struct letters_end *end)
{
    static struct buf memory;

    buf_fini(&memory);
    return letters_filter_read(str_from(text), &memory, end);
}

static void assert_text(struct str text, const char *wanted)
{
    assert_true(str_equal(text, str_from(wanted)));
}

static void a_letter_is_read(void **state)
{
    struct letters_end end;
    (void)state;
    assert_int_equal(read_text(LETTER, &end), ERR_OK);
    assert_text(end.reason, "expired");
    assert_text(end.class, "http_5xx");
    assert_text(end.subscription, "s\t");
    assert_true(end.has_status);
    assert_int_equal(end.status, 503);
    assert_int_equal(end.at_ms, 2500);
    assert_int_equal(end.sequence, 70000000000);
    assert_int_equal(end.attempts, 4);
}

static void what_is_missing_or_odd_is_empty(void **state)
{
    struct letters_end end;
    (void)state;
    assert_int_equal(read_text(" { } ", &end), ERR_OK);
    assert_int_equal(end.reason.size, 0);
    assert_false(end.has_status);
    assert_int_equal(end.at_ms, 0);
    assert_int_equal(read_text("{\"reason\":7,\"status\":\"500\",\"at\":\"x\","
                               "\"class\":null}",
                               &end),
                     ERR_OK);
    assert_int_equal(end.reason.size, 0);
    assert_false(end.has_status);
    assert_int_equal(end.at_ms, 0);
}

static void what_is_no_object_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "x", "[]", "{", "{} {}", "\"a\"", "{\"reason\":\"\\ud800\"}"};
    struct letters_end end;
    (void)state;
    for (unsigned index = 0; index < sizeof(texts) / sizeof(texts[0]);
         index++) {
        assert_int_equal(read_text(texts[index], &end), ERR_INVALID);
    }
}

static void statuses_are_read(void **state)
{
    struct letters_filter filter = {0};
    (void)state;
    assert_int_equal(letters_filter_status(&filter, STR("500")), ERR_OK);
    assert_int_equal(filter.status_first, 500);
    assert_int_equal(filter.status_last, 500);
    assert_int_equal(letters_filter_status(&filter, STR("0-499")), ERR_OK);
    assert_int_equal(filter.status_first, 0);
    assert_int_equal(filter.status_last, 499);
    assert_int_equal(letters_filter_status(&filter, STR("5xx")), ERR_INVALID);
    assert_int_equal(letters_filter_status(&filter, STR("")), ERR_INVALID);
    assert_int_equal(letters_filter_status(&filter, STR("5-")), ERR_INVALID);
    assert_int_equal(letters_filter_status(&filter, STR("1000")), ERR_RANGE);
    assert_int_equal(letters_filter_status(&filter, STR("9-8")), ERR_RANGE);
    assert_int_equal(filter.status_last, 499);
}

static bool match(struct letters_filter filter)
{
    struct letters_end end;

    assert_int_equal(read_text(LETTER, &end), ERR_OK);
    return letters_filter_match(&filter, 7, &end);
}

static void all_that_is_given_applies(void **state)
{
    const struct letters_end silent = {.has_status = true};
    const struct letters_end never = {0};
    const struct letters_filter zero = {.by_status = true};
    (void)state;
    assert_true(match((struct letters_filter){0}));
    assert_true(match((struct letters_filter){.one = true, .sequence = 7}));
    assert_false(match((struct letters_filter){.one = true, .sequence = 8}));
    assert_true(match((struct letters_filter){.reason = STR("expired")}));
    assert_false(match((struct letters_filter){.reason = STR("expire")}));
    assert_true(match((struct letters_filter){.class = STR("http_5xx")}));
    assert_false(match((struct letters_filter){.class = STR("timeout")}));
    assert_true(match((struct letters_filter){.subscription = STR("s\t")}));
    assert_false(match((struct letters_filter){.subscription = STR("s")}));
    assert_true(match((struct letters_filter){.from_ms = 2500}));
    assert_false(match((struct letters_filter){.from_ms = 2501}));
    assert_true(match((struct letters_filter){.to_ms = 2501}));
    assert_false(match((struct letters_filter){.to_ms = 2500}));
    assert_true(match((struct letters_filter){
        .by_status = true, .status_first = 500, .status_last = 599}));
    assert_false(match((struct letters_filter){
        .by_status = true, .status_first = 504, .status_last = 599}));
    assert_false(match(
        (struct letters_filter){.reason = STR("expired"), .class = STR("x")}));
    assert_true(letters_filter_match(&zero, 0, &silent));
    assert_false(letters_filter_match(&zero, 0, &never));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_is_read),
        cmocka_unit_test(what_is_missing_or_odd_is_empty),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(statuses_are_read),
        cmocka_unit_test(all_that_is_given_applies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
