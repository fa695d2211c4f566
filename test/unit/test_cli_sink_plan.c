/* Tests of cli/sink_plan: rules read from text, and what they decide.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/sink_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct sink_plan plan_of(const char *text)
{
    struct sink_plan plan;
    struct buf detail = {0};

    assert_int_equal(sink_plan_parse(str_from(text), 7, &plan, &detail),
                     ERR_OK);
    assert_int_equal(detail.size, 0);
    return plan;
}

/* The status for a request; 200 when there is no rule. */
static int status_for(struct sink_plan *plan,
                      const char *topic,
                      uint64_t sequence,
                      uint64_t attempt)
{
    const struct sink_request request = {
        .topic = str_from(topic), .sequence = sequence, .attempt = attempt};
    const struct sink_rule *rule = sink_plan_rule(plan, &request);

    return rule == NULL ? 200 : rule->status;
}

static void empty_plan_is_always_good(void **state)
{
    (void)state;
    struct sink_plan plan = plan_of("");

    assert_int_equal(status_for(&plan, "a", 0, 1), 200);
}

static void conditions_must_all_fit(void **state)
{
    (void)state;
    struct sink_plan plan = plan_of("410:seq=7,503:topic=a:attempt=1-2");

    assert_int_equal(status_for(&plan, "b", 7, 1), 410);
    assert_int_equal(status_for(&plan, "b", 8, 1), 200);
    assert_int_equal(status_for(&plan, "a", 8, 1), 503);
    assert_int_equal(status_for(&plan, "a", 8, 2), 503);
    assert_int_equal(status_for(&plan, "a", 8, 3), 200);
    assert_int_equal(status_for(&plan, "", UINT64_MAX, 1), 200);
}

static void first_rule_that_fits_decides(void **state)
{
    (void)state;
    struct sink_plan plan = plan_of("404:seq=1-3,500,418");

    assert_int_equal(status_for(&plan, "a", 3, 1), 404);
    assert_int_equal(status_for(&plan, "a", 4, 1), 500);
}

static void slow_and_hang_say_when_to_answer(void **state)
{
    (void)state;
    struct sink_plan plan = plan_of("slow:2s:seq=1,slow:250ms:seq=2,hang");
    struct sink_request request = {.sequence = 1, .attempt = 1};

    const struct sink_rule *rule = sink_plan_rule(&plan, &request);
    assert_int_equal(rule->status, 200);
    assert_int_equal(rule->delay_ms, 2000);
    request.sequence = 2;
    assert_int_equal(sink_plan_rule(&plan, &request)->delay_ms, 250);
    request.sequence = 3;
    assert_int_equal(sink_plan_rule(&plan, &request)->status, 0);
}

static void actions_are_told_apart(void **state)
{
    (void)state;
    struct sink_plan plan = plan_of("hang:seq=1,reset:seq=2,close:seq=3,"
                                    "drip:1s:seq=4,garbage:seq=5:attempt=1,"
                                    "429:retry-after=2m:seq=6,slow:1s");
    static const struct {
        enum sink_action action;
        int status;
        uint32_t delay_ms;
        uint32_t retry_after_s;
    } wanted[] = {
        {SINK_HANG, 0, 0, 0},        {SINK_RESET, 0, 0, 0},
        {SINK_CLOSE, 0, 0, 0},       {SINK_DRIP, 0, 1000, 0},
        {SINK_GARBAGE, 0, 0, 0},     {SINK_ANSWER, 429, 0, 120},
        {SINK_ANSWER, 200, 1000, 0},
    };

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        struct sink_request request = {.sequence = i + 1, .attempt = 1};
        const struct sink_rule *rule = sink_plan_rule(&plan, &request);
        assert_int_equal(rule->action, wanted[i].action);
        assert_int_equal(rule->status, wanted[i].status);
        assert_int_equal(rule->delay_ms, wanted[i].delay_ms);
        assert_int_equal(rule->retry_after_s, wanted[i].retry_after_s);
    }
}

static void chance_comes_about_as_often_as_asked_for(void **state)
{
    (void)state;
    struct sink_plan plan = plan_of("503:10%");
    struct sink_plan again = plan_of("503:10%");
    unsigned failed = 0;

    for (uint64_t sequence = 0; sequence < 100000; sequence++) {
        int status = status_for(&plan, "a", sequence, 1);
        assert_int_equal(status, status_for(&again, "a", sequence, 1));
        failed += status == 503 ? 1 : 0;
    }
    assert_in_range(failed, 9000, 11000);
}

static void chances_of_none_and_all_are_exact(void **state)
{
    (void)state;
    struct sink_plan never = plan_of("503:0%");
    struct sink_plan always = plan_of("503:100%");
    struct sink_plan seldom = plan_of("503:0.5%");

    assert_int_equal(seldom.rules[0].per_mille, 5);
    for (uint64_t sequence = 0; sequence < 10000; sequence++) {
        assert_int_equal(status_for(&never, "a", sequence, 1), 200);
        assert_int_equal(status_for(&always, "a", sequence, 1), 503);
    }
}

static void every_counts_only_what_else_fits(void **state)
{
    (void)state;
    struct sink_plan plan = plan_of("503:topic=a:every=3");

    for (int round = 0; round < 4; round++) {
        assert_int_equal(status_for(&plan, "a", 0, 1), 200);
        assert_int_equal(status_for(&plan, "b", 0, 1), 200);
        assert_int_equal(status_for(&plan, "a", 0, 1), 200);
        assert_int_equal(status_for(&plan, "a", 0, 1), 503);
    }
}

static void what_is_no_plan_is_refused_with_words(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "teapot",
        "99",
        "600",
        "199",
        "503:often",
        "503:101%",
        "503:%",
        "503:1.25%",
        "503:-1%",
        "slow",
        "slow:now",
        "slow:10%",
        "drip",
        "drip:0s",
        "drip:fast",
        "drip:10%",
        "answer",
        "reset:retry-after=1s",
        "503:retry-after",
        "503:retry-after=",
        "503:retry-after=0s",
        "503:retry-after=1500ms",
        "503:retry-after=soon",
        "410:seq=",
        "410:seq=a",
        "410:seq=3-1",
        "410:topic=",
        "503:every=0",
        "503:attempt",
        ",503",
        "503,,404",
        "500,500,500,500,500,500,500,500,500,500,500,500,500,500,500,500,500",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct sink_plan plan = {.rule_count = 77};
        struct buf detail = {0};
        assert_int_equal(sink_plan_parse(str_from(bad[i]), 1, &plan, &detail),
                         ERR_INVALID);
        assert_int_equal(plan.rule_count, 77);
        assert_true(detail.size > 0);
        buf_fini(&detail);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_plan_is_always_good),
        cmocka_unit_test(conditions_must_all_fit),
        cmocka_unit_test(first_rule_that_fits_decides),
        cmocka_unit_test(slow_and_hang_say_when_to_answer),
        cmocka_unit_test(actions_are_told_apart),
        cmocka_unit_test(chance_comes_about_as_often_as_asked_for),
        cmocka_unit_test(chances_of_none_and_all_are_exact),
        cmocka_unit_test(every_counts_only_what_else_fits),
        cmocka_unit_test(what_is_no_plan_is_refused_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
