/* Tests of queue/retry: back-off, jitter, Retry-After, schedules, lists of
 * statuses, and what comes of a failed attempt.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/retry.h"

#include "http/parse.h"
#include "queue/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110. */
#define DATE_S UINT64_C(784111777)
#define DAY_MS UINT64_C(86400000)

static const struct retry_policy policy = {
    .first_ms = 1000,
    .max_ms = 600 * 1000,
    .after_max_ms = DAY_MS,
};

static void delays_double_up_to_the_cap_within_the_jitter(void **state)
{
    (void)state;
    static const uint64_t expected[] = {1000,   2000,   4000,   8000,
                                        16000,  32000,  64000,  128000,
                                        256000, 512000, 600000, 600000};
    struct retry_random random = {.state = 1};

    for (uint32_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        for (int repeat = 0; repeat < 1000; repeat++) {
            uint64_t delay_ms = retry_delay_ms(&policy, i + 1, &random);
            assert_true(delay_ms >= expected[i] * 8 / 10);
            assert_true(delay_ms <= expected[i] * 12 / 10);
        }
    }
}

static void jitter_reaches_both_ends_and_is_centred(void **state)
{
    (void)state;
    struct retry_random random = {.state = 7};
    uint64_t sum = 0;
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;

    for (int i = 0; i < 10000; i++) {
        uint64_t delay_ms = retry_delay_ms(&policy, 1, &random);
        sum += delay_ms;
        least = delay_ms < least ? delay_ms : least;
        most = delay_ms > most ? delay_ms : most;
    }
    assert_in_range(least, 800, 805);
    assert_in_range(most, 1195, 1200);
    assert_in_range(sum / 10000, 990, 1010);
}

static void same_seed_gives_the_same_delays(void **state)
{
    (void)state;
    struct retry_random left = {.state = 42};
    struct retry_random right = {.state = 42};
    struct retry_random other = {.state = 43};
    int equal = 0;

    for (uint32_t i = 1; i <= 100; i++) {
        uint64_t delay_ms = retry_delay_ms(&policy, i, &left);
        assert_int_equal(delay_ms, retry_delay_ms(&policy, i, &right));
        equal += delay_ms == retry_delay_ms(&policy, i, &other) ? 1 : 0;
    }
    assert_true(equal < 10);
}

static void any_number_of_failures_has_a_delay(void **state)
{
    (void)state;
    static const struct retry_policy tiny = {1, UINT32_MAX, 1};
    struct retry_random random = {.state = 3};

    assert_int_equal(retry_delay_ms(&tiny, 1, &random), 1);
    for (uint32_t i = 1; i < 70; i++) {
        assert_true(retry_delay_ms(&tiny, i, &random) > 0);
    }
    assert_true(retry_delay_ms(&tiny, UINT32_MAX, &random) >
                (uint64_t)UINT32_MAX * 7 / 10);
}

static uint64_t after(const char *value, uint64_t now_ms)
{
    uint64_t delay_ms = 12345;
    assert_int_equal(
        retry_after_ms(&policy, str_from(value), now_ms, &delay_ms), ERR_OK);
    return delay_ms;
}

static void seconds_are_read_and_cut(void **state)
{
    (void)state;
    assert_int_equal(after("0", 0), 0);
    assert_int_equal(after("1", 0), 1000);
    assert_int_equal(after(" 120\t", 0), 120000);
    assert_int_equal(after("86400", 0), DAY_MS);
    assert_int_equal(after("86401", 0), DAY_MS);
    assert_int_equal(after("18446744073709551615", 0), DAY_MS);
    assert_int_equal(after("18446744073709551616", 0), DAY_MS);
    assert_int_equal(after("99999999999999999999999999", 0), DAY_MS);
}

static void all_three_forms_of_dates_are_read(void **state)
{
    (void)state;
    uint64_t now_ms = (DATE_S - 30) * 1000 + 250;

    assert_int_equal(after("Sun, 06 Nov 1994 08:49:37 GMT", now_ms), 29750);
    assert_int_equal(after("Sunday, 06-Nov-94 08:49:37 GMT", now_ms), 29750);
    assert_int_equal(after("Sun Nov  6 08:49:37 1994", now_ms), 29750);
}

static void date_that_has_passed_is_now_and_a_far_one_is_cut(void **state)
{
    (void)state;
    const char *date = "Sun, 06 Nov 1994 08:49:37 GMT";

    assert_int_equal(after(date, DATE_S * 1000), 0);
    assert_int_equal(after(date, DATE_S * 1000 + 1), 0);
    assert_int_equal(after(date, DATE_S * 1000 - 1), 1);
    assert_int_equal(after(date, 0), DAY_MS);
}

static void other_values_are_refused(void **state)
{
    (void)state;
    static const char *const values[] = {
        "",    "-1",  "+1",   "1.5", "1s",
        "0x1", "1 2", "soon", "1,2", "Sun, 06 Nov 1994",
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint64_t delay_ms = 12345;
        assert_int_equal(
            retry_after_ms(&policy, str_from(values[i]), 0, &delay_ms),
            ERR_INVALID);
        assert_int_equal(delay_ms, 12345);
    }
}

static uint64_t step(const char *schedule, uint32_t failures)
{
    uint64_t delay_ms = 0;
    assert_int_equal(retry_schedule_ms(str_from(schedule), failures, &delay_ms),
                     ERR_OK);
    return delay_ms;
}

static void schedule_goes_on_with_its_last_delay(void **state)
{
    (void)state;
    assert_int_equal(step("5s,1m,10m", 1), 5000);
    assert_int_equal(step("5s,1m,10m", 2), 60000);
    assert_int_equal(step("5s,1m,10m", 3), 600000);
    assert_int_equal(step("5s,1m,10m", 4), 600000);
    assert_int_equal(step("5s,1m,10m", UINT32_MAX), 600000);
    assert_int_equal(step(" 250ms ,\t2 ", 1), 250);
    assert_int_equal(step(" 250ms ,\t2 ", 7), 2000);
    assert_int_equal(step("1d", 1), DAY_MS);
}

static void malformed_schedules_are_refused(void **state)
{
    (void)state;
    static const char *const invalid[] = {"",    ",",   "5s,",  ",5s",  "5x",
                                          "-1s", "5 s", "1.5s", "5s;6s"};
    static const char *const out_of_range[] = {"0", "5s,0ms", "86401s",
                                               "99999999999999999999s"};
    char long_one[2 * RETRY_SCHEDULE_MAX + 2];

    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        assert_int_equal(retry_schedule_check(str_from(invalid[i])),
                         ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof(out_of_range) / sizeof(out_of_range[0]);
         i++) {
        assert_int_equal(retry_schedule_check(str_from(out_of_range[i])),
                         ERR_RANGE);
    }
    for (size_t i = 0; i < sizeof(long_one); i++) {
        long_one[i] = i % 2 == 0 ? '1' : ',';
    }
    assert_int_equal(retry_schedule_check(
                         (struct str){long_one, 2 * RETRY_SCHEDULE_MAX - 1}),
                     ERR_OK);
    assert_int_equal(retry_schedule_check(
                         (struct str){long_one, 2 * RETRY_SCHEDULE_MAX + 1}),
                     ERR_RANGE);
}

static void list_of_statuses_names_them_and_their_ranges(void **state)
{
    (void)state;
    struct str list = STR("400, 404 ,410-499");
    static const int named[] = {400, 404, 410, 450, 499};
    static const int others[] = {0, -400, 200, 399, 401, 403, 405, 409, 500};

    assert_int_equal(retry_status_list_check(list), ERR_OK);
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        assert_true(retry_status_list_has(list, named[i]));
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(retry_status_list_has(list, others[i]));
    }
    assert_false(retry_status_list_has(STR(""), 400));
    assert_true(retry_status_list_has(STR("300-599"), 599));
    assert_false(retry_status_list_has(STR("400,oops"), 400));
}

static void malformed_lists_of_statuses_are_refused(void **state)
{
    (void)state;
    static const char *const invalid[] = {"",     ",",     "400,",  "4xx",
                                          "400-", "-400",  "+400",  "400 - 404",
                                          "a-b",  "400--", "400;1", "4 00"};
    static const char *const out_of_range[] = {
        "200",     "299-400",  "600", "400-600",
        "404-400", "400-9999", "0",   "99999999999999999999",
        "0404",    "400-0404"};
    char long_one[4 * RETRY_STATUS_LIST_MAX + 4];

    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        assert_int_equal(retry_status_list_check(str_from(invalid[i])),
                         ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof(out_of_range) / sizeof(out_of_range[0]);
         i++) {
        assert_int_equal(retry_status_list_check(str_from(out_of_range[i])),
                         ERR_RANGE);
    }
    for (size_t i = 0; i < sizeof(long_one); i++) {
        long_one[i] = "404,"[i % 4];
    }
    assert_int_equal(retry_status_list_check(
                         (struct str){long_one, 4 * RETRY_STATUS_LIST_MAX - 1}),
                     ERR_OK);
    assert_int_equal(retry_status_list_check(
                         (struct str){long_one, 4 * RETRY_STATUS_LIST_MAX + 3}),
                     ERR_RANGE);
}

static void abort_is_one_word(void **state)
{
    (void)state;
    assert_true(retry_is_abort(STR("abort-message")));
    assert_true(retry_is_abort(STR(" Abort-Message\t")));
    assert_false(retry_is_abort(STR("abort-message-2")));
    assert_false(retry_is_abort(STR("abort")));
    assert_false(retry_is_abort(STR("")));
}

static struct retry_decision decide(const struct retry_rules *rules,
                                    const struct retry_outcome *outcome,
                                    uint32_t failures,
                                    uint64_t now_ms)
{
    static struct retry_random random = {.state = 11};
    return retry_decide(&policy, rules, outcome, failures, now_ms, &random);
}

static void assert_ends(struct retry_decision decision,
                        enum retry_action action,
                        const char *reason)
{
    assert_int_equal(decision.action, action);
    assert_string_equal(retry_reason_text(decision.reason), reason);
    assert_int_equal(decision.delay_ms, 0);
}

static void without_retries_set_it_goes_on_for_ever(void **state)
{
    (void)state;
    struct retry_rules rules = {.retries = UINT32_MAX};
    struct retry_outcome outcome = {.status = 500};

    for (uint32_t i = 1; i < 100; i++) {
        struct retry_decision decision = decide(&rules, &outcome, i, 0);
        assert_int_equal(decision.action, RETRY_AGAIN);
        assert_string_equal(retry_reason_text(decision.reason), "");
        assert_true(decision.delay_ms >= 800);
        assert_true(decision.delay_ms <= 720 * 1000);
    }
    assert_int_equal(decide(&rules, &outcome, UINT32_MAX, 0).action,
                     RETRY_AGAIN);
}

static void after_as_many_retries_as_allowed_it_is_dead(void **state)
{
    (void)state;
    struct retry_rules rules = {.retries = 2};
    struct retry_outcome outcome = {0};

    assert_int_equal(decide(&rules, &outcome, 1, 0).action, RETRY_AGAIN);
    assert_int_equal(decide(&rules, &outcome, 2, 0).action, RETRY_AGAIN);
    assert_ends(decide(&rules, &outcome, 3, 0), RETRY_DEAD,
                "retries_exhausted");
    rules.retries = 0;
    assert_ends(decide(&rules, &outcome, 1, 0), RETRY_DEAD,
                "retries_exhausted");
}

static void schedule_is_followed_within_the_jitter(void **state)
{
    (void)state;
    struct retry_rules rules = {.retries = UINT32_MAX,
                                .schedule = STR("10s,2m")};
    struct retry_outcome outcome = {.status = 503};
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;

    for (int i = 0; i < 5000; i++) {
        uint64_t delay_ms = decide(&rules, &outcome, 1, 0).delay_ms;
        least = delay_ms < least ? delay_ms : least;
        most = delay_ms > most ? delay_ms : most;
    }
    assert_in_range(least, 8000, 8050);
    assert_in_range(most, 11950, 12000);
    assert_in_range(decide(&rules, &outcome, 9, 0).delay_ms, 96000, 144000);
    rules.schedule = STR("nonsense"); /* as if it were not there */
    assert_in_range(decide(&rules, &outcome, 1, 0).delay_ms, 800, 1200);
}

static void what_a_target_asked_for_stands_above_the_schedule(void **state)
{
    (void)state;
    struct retry_rules rules = {.retries = UINT32_MAX, .schedule = STR("1s")};
    struct retry_outcome outcome = {.status = 429, .after_ms = 77000};

    assert_int_equal(decide(&rules, &outcome, 1, 0).delay_ms, 77000);
}

static void permanent_statuses_and_aborts_end_it_at_once(void **state)
{
    (void)state;
    struct retry_rules rules = {.retries = UINT32_MAX,
                                .permanent_status = STR("400-404")};
    struct retry_outcome outcome = {.status = 401};

    assert_ends(decide(&rules, &outcome, 1, 0), RETRY_DEAD, "permanent_status");
    outcome.status = 405;
    assert_int_equal(decide(&rules, &outcome, 1, 0).action, RETRY_AGAIN);
    outcome.abort = true;
    assert_ends(decide(&rules, &outcome, 1, 0), RETRY_DEAD, "abort_message");
    outcome.status = 0;
    outcome.abort = false;
    assert_int_equal(decide(&rules, &outcome, 1, 0).action, RETRY_AGAIN);
}

static void gone_pauses_unless_it_is_called_permanent(void **state)
{
    (void)state;
    struct retry_rules rules = {.retries = 5, .gone_pauses = true};
    struct retry_outcome outcome = {.status = 410};

    assert_ends(decide(&rules, &outcome, 1, 0), RETRY_PAUSE, "gone");
    rules.gone_pauses = false; /* other messages go elsewhere */
    assert_int_equal(decide(&rules, &outcome, 1, 0).action, RETRY_AGAIN);
    rules.gone_pauses = true;
    rules.permanent_status = STR("410");
    assert_ends(decide(&rules, &outcome, 1, 0), RETRY_DEAD, "permanent_status");
}

static void no_message_is_tried_past_its_time(void **state)
{
    (void)state;
    struct retry_rules rules = {.retries = UINT32_MAX, .expires_at_ms = 10000};
    struct retry_outcome outcome = {.status = 500};

    assert_in_range(decide(&rules, &outcome, 1, 5000).delay_ms, 800, 1200);
    assert_int_equal(decide(&rules, &outcome, 9, 9999).delay_ms, 1);
    outcome.after_ms = 60000;
    assert_int_equal(decide(&rules, &outcome, 1, 4000).delay_ms, 6000);
    assert_ends(decide(&rules, &outcome, 1, 10000), RETRY_DEAD, "expired");
    assert_ends(decide(&rules, &outcome, 1, 20000), RETRY_DEAD, "expired");
}

static void message_goes_before_its_topic(void **state)
{
    (void)state;
    char topic_schedule[] = "1m";
    char permanent[] = "400";
    struct settings settings = {.retries = 7,
                                .retry_schedule = topic_schedule,
                                .permanent_status = permanent};
    struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                      .expires_at_ms = 99};
    struct retry_rules rules;

    settings_retry_rules(&settings, NULL, &rules);
    assert_int_equal(rules.retries, 7);
    assert_true(str_equal(rules.schedule, STR("1m")));
    assert_true(str_equal(rules.permanent_status, STR("400")));
    assert_int_equal(rules.expires_at_ms, 0);
    settings_retry_rules(&settings, &options, &rules);
    assert_int_equal(rules.retries, 7);
    assert_true(str_equal(rules.schedule, STR("1m")));
    assert_int_equal(rules.expires_at_ms, 99);
    options.retries = 0;
    options.retry_schedule = STR("2s");
    settings_retry_rules(&settings, &options, &rules);
    assert_int_equal(rules.retries, 0);
    assert_true(str_equal(rules.schedule, STR("2s")));
    settings = (struct settings){.retries = RETRY_FOREVER};
    settings_retry_rules(&settings, NULL, &rules);
    assert_int_equal(rules.schedule.size, 0);
    assert_int_equal(rules.permanent_status.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_double_up_to_the_cap_within_the_jitter),
        cmocka_unit_test(jitter_reaches_both_ends_and_is_centred),
        cmocka_unit_test(same_seed_gives_the_same_delays),
        cmocka_unit_test(any_number_of_failures_has_a_delay),
        cmocka_unit_test(seconds_are_read_and_cut),
        cmocka_unit_test(all_three_forms_of_dates_are_read),
        cmocka_unit_test(date_that_has_passed_is_now_and_a_far_one_is_cut),
        cmocka_unit_test(other_values_are_refused),
        cmocka_unit_test(schedule_goes_on_with_its_last_delay),
        cmocka_unit_test(malformed_schedules_are_refused),
        cmocka_unit_test(list_of_statuses_names_them_and_their_ranges),
        cmocka_unit_test(malformed_lists_of_statuses_are_refused),
        cmocka_unit_test(abort_is_one_word),
        cmocka_unit_test(without_retries_set_it_goes_on_for_ever),
        cmocka_unit_test(after_as_many_retries_as_allowed_it_is_dead),
        cmocka_unit_test(schedule_is_followed_within_the_jitter),
        cmocka_unit_test(what_a_target_asked_for_stands_above_the_schedule),
        cmocka_unit_test(permanent_statuses_and_aborts_end_it_at_once),
        cmocka_unit_test(gone_pauses_unless_it_is_called_permanent),
        cmocka_unit_test(no_message_is_tried_past_its_time),
        cmocka_unit_test(message_goes_before_its_topic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
