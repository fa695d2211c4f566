/* Tests of queue/recorder: what a push asks for besides, in every form.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/recorder.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define NOW_MS UINT64_C(1767225600000) /* 2026-01-01 */
#define DAY_MS (UINT64_C(24) * 3600 * 1000)

#define POST "POST /opq/push HTTP/1.1\r\nHost: h\r\n"
#define FORM POST "Content-Type: application/x-www-form-urlencoded\r\n"
#define JSON POST "Content-Type: application/json\r\n"
#define TARGET "topic=t&url=http://h/"
#define MEMBERS "\"topic\":\"t\",\"url\":\"http://h/\""

static struct http_head head;
static char request_memory[32768];
static char text[32768];

static bool allows(void *context, struct str host)
{
    (void)context;
    return !str_equal(host, STR("denied"));
}

static int make_recorder(void **state)
{
    const struct recorder_options options = {.durability = DURABILITY_DISK,
                                             .target_allowed = allows};
    struct recorder *recorder = NULL;

    assert_int_equal(recorder_create(&options, &recorder), ERR_OK);
    *state = recorder;
    return 0;
}

static int drop_recorder(void **state)
{
    recorder_destroy(*state);
    return 0;
}

/* Parse a request; `*out_body` is what follows its head. */
static void request(const char *bytes, struct str *out_body)
{
    const struct http_limits limits = {65536, 32768};
    struct http_refusal refusal = {0, NULL};
    size_t scanned = 0;
    size_t size = 0;

    (void)snprintf(request_memory, sizeof(request_memory), "%s", bytes);
    struct str input = str_from(request_memory);
    enum err err =
        http_parse_request(input, &limits, &scanned, &head, &size, &refusal);
    if (err != ERR_OK) {
        fail_msg("test's own request: %s", refusal.reason);
    }
    *out_body = str_cut(input, size, input.size);
}

static struct push read_good(void **state, const char *bytes)
{
    struct push_refusal refusal = {0, ""};
    struct push push;
    struct str body;

    request(bytes, &body);
    enum err err = recorder_read(*state, &head, body, NOW_MS, &push, &refusal);
    if (err != ERR_OK) {
        fail_msg("refused: %d %s", refusal.status, refusal.detail);
    }
    return push;
}

static void
expect_refusal(void **state, const char *bytes, int status, const char *detail)
{
    struct push_refusal refusal = {0, ""};
    struct push push;
    struct str body;

    request(bytes, &body);
    assert_int_equal(
        recorder_read(*state, &head, body, NOW_MS, &push, &refusal),
        ERR_INVALID);
    assert_string_equal(refusal.detail, detail);
    assert_int_equal(refusal.status, status);
}

/* Begin a batch whose head is `bytes`. */
static enum err
begin_batch(void **state, const char *bytes, struct push_refusal *refusal)
{
    struct str body;

    request(bytes, &body);
    return recorder_begin_items(*state, &head, NOW_MS, refusal);
}

static enum err read_item(void **state,
                          const char *json,
                          struct push *out_push,
                          struct push_refusal *refusal)
{
    const struct recorder_item item = {.json = str_from(json)};

    return recorder_read_item(*state, &item, out_push, refusal);
}

static void expect_str(struct str value, const char *expected)
{
    if (!str_equal(value, str_from(expected))) {
        fail_msg("'%.*s' is not '%s'", STR_ARG(value), expected);
    }
}

/* --- each option, in each form -------------------------------------------- */

/* An option as it is given, and what becomes of it. */
struct given {
    const char *name;
    const char *header;
    const char *value; /* without what a form would escape */
    bool number;       /* may be a number in JSON */
    struct message_options options;
};

#define UNSET .retries = MESSAGE_RETRIES_UNSET

static const struct given cases[] = {
    {"delay", "Delay", "10s", false, {UNSET, .not_before_ms = NOW_MS + 10000}},
    {"delay", "DELAY", "90", true, {UNSET, .not_before_ms = NOW_MS + 90000}},
    {"not_before",
     "Not-Before",
     "2026-01-01T01:00:00Z",
     false,
     {UNSET, .not_before_ms = NOW_MS + 3600000}},
    {"not_before",
     "not_before",
     "1767225601.5",
     true,
     {UNSET, .not_before_ms = NOW_MS + 1500}},
    {"ttl", "Ttl", "1h", false, {UNSET, .expires_at_ms = NOW_MS + 3600000}},
    {"key", "Key", "customer-7", false, {UNSET, .key = {"customer-7", 10}}},
    {"key", "Key", "7", true, {UNSET, .key = {"7", 1}}},
    {"priority", "Priority", "9", true, {UNSET, .priority = 9}},
    {"retries", "Retries", "0", true, {.retries = 0}},
    {"retries", "Retries", "1000000", true, {.retries = 1000000}},
    {"retry_schedule",
     "Retry-Schedule",
     "5s,1m,1d",
     false,
     {UNSET, .retry_schedule = {"5s,1m,1d", 8}}},
    {"retry_schedule",
     "Retry_Schedule",
     "30",
     true,
     {UNSET, .retry_schedule = {"30", 2}}},
    {"label", "Label", "blue", false, {UNSET, .label = {"blue", 4}}},
    {"dedup_id", "Dedup-Id", "d1", false, {UNSET, .dedup_id = {"d1", 2}}},
    {"collapse", "Collapse", "c1", false, {UNSET, .collapse = {"c1", 2}}},
    {"flow_key", "Flow-Key", "f1", false, {UNSET, .flow_key = {"f1", 2}}},
    {"callback",
     "Callback",
     "http://h/done",
     false,
     {UNSET, .callback = {"http://h/done", 13}}},
    {"failure_callback",
     "Failure-Callback",
     "https://h/failed",
     false,
     {UNSET, .failure_callback = {"https://h/failed", 16}}},
};

enum { CASE_COUNT = sizeof(cases) / sizeof(cases[0]) };

static void expect_options(const struct message_options *options,
                           const struct message_options *expected)
{
    assert_non_null(options);
    assert_true(str_equal(options->key, expected->key));
    assert_true(str_equal(options->label, expected->label));
    assert_true(str_equal(options->retry_schedule, expected->retry_schedule));
    assert_true(str_equal(options->dedup_id, expected->dedup_id));
    assert_true(str_equal(options->collapse, expected->collapse));
    assert_true(str_equal(options->flow_key, expected->flow_key));
    assert_true(str_equal(options->callback, expected->callback));
    assert_true(
        str_equal(options->failure_callback, expected->failure_callback));
    assert_int_equal(options->id.size, 0);
    assert_int_equal(options->topic.size, 0);
    assert_int_equal(options->dead.size, 0);
    assert_int_equal(options->not_before_ms, expected->not_before_ms);
    assert_int_equal(options->expires_at_ms, expected->expires_at_ms);
    assert_int_equal(options->retries, expected->retries);
    assert_int_equal(options->priority, expected->priority);
}

/* Read `text` and expect the option, and that nothing of it is delivered. */
static void expect_read(void **state, const struct given *given)
{
    struct push push = read_good(state, text);

    expect_options(push.message.options, &given->options);
    assert_int_equal(push.message.field_count, 0);
    assert_int_equal(push.message.header_count, 0);
    assert_false(push.expects);
}

static void every_option_may_be_a_header(void **state)
{
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct given *given = &cases[i];
        (void)snprintf(text, sizeof(text), FORM "Opq-%s: %s\r\n\r\n" TARGET,
                       given->header, given->value);
        expect_read(state, given);
        (void)snprintf(text, sizeof(text),
                       POST "Opq-Topic: t\r\nOpq-Url: http://h/\r\n"
                            "Opq-%s: %s\r\n\r\nbody",
                       given->header, given->value);
        expect_read(state, given);
        (void)snprintf(text, sizeof(text),
                       JSON "Opq-%s: %s\r\n\r\n{" MEMBERS "}", given->header,
                       given->value);
        expect_read(state, given);
    }
}

static void every_option_may_be_a_query_parameter(void **state)
{
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct given *given = &cases[i];
        (void)snprintf(text, sizeof(text),
                       "POST /opq/push?" TARGET "&%s=%s HTTP/1.1\r\n"
                       "Host: h\r\n\r\nbody",
                       given->name, given->value);
        expect_read(state, given);
    }
}

static void every_option_may_be_a_member(void **state)
{
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct given *given = &cases[i];
        (void)snprintf(text, sizeof(text),
                       JSON "\r\n{\"%s\":\"%s\"," MEMBERS "}", given->name,
                       given->value);
        expect_read(state, given);
        if (given->number) {
            (void)snprintf(text, sizeof(text),
                           JSON "\r\n{" MEMBERS ",\"%s\":%s}", given->name,
                           given->value);
            expect_read(state, given);
        }
    }
}

static void every_option_may_be_a_form_field_by_its_headers_name(void **state)
{
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct given *given = &cases[i];
        (void)snprintf(text, sizeof(text), FORM "\r\n" TARGET "&Opq-%s=%s",
                       given->header, given->value);
        expect_read(state, given);
        (void)snprintf(text, sizeof(text), FORM "\r\n" TARGET "&%s=%s",
                       given->name, given->value);
        struct push push = read_good(state, text);
        assert_null(push.message.options);
        assert_int_equal(push.message.field_count, 1);
        expect_str(push.message.fields[0].key, given->name);
    }
}

static void every_option_may_be_of_an_item_of_a_batch(void **state)
{
    struct push_refusal refusal = {0, ""};
    struct push push;

    assert_int_equal(begin_batch(state, JSON "\r\n", &refusal), ERR_OK);
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct given *given = &cases[i];
        (void)snprintf(text, sizeof(text), "{" MEMBERS ",\"%s\":\"%s\"}",
                       given->name, given->value);
        assert_int_equal(read_item(state, text, &push, &refusal), ERR_OK);
        expect_options(push.message.options, &given->options);
        assert_int_equal(read_item(state, "{" MEMBERS "}", &push, &refusal),
                         ERR_OK);
        assert_null(push.message.options); /* nothing is left of it */
    }
}

static void the_head_of_a_batch_has_options_for_its_items(void **state)
{
    struct push_refusal refusal = {0, ""};
    const struct message_options defaults = {.key = STR("k"),
                                             .retries = 3,
                                             .not_before_ms = NOW_MS + 60000,
                                             .expires_at_ms = NOW_MS + 120000};
    struct message_options changed = defaults;
    struct push push;

    assert_int_equal(begin_batch(state,
                                 JSON "Opq-Key: k\r\nOpq-Retries: 3\r\n"
                                      "Opq-Delay: 1m\r\nOpq-Ttl: 1m\r\n\r\n",
                                 &refusal),
                     ERR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read_item(state, "{" MEMBERS "}", &push, &refusal),
                         ERR_OK);
        expect_options(push.message.options, &defaults);
        /* An item that says otherwise; the one after it has the head's. */
        assert_int_equal(
            read_item(state,
                      "{" MEMBERS ",\"key\":\"own\",\"label\":\"l\",\"retries\""
                      ":9,\"not_before\":\"2026-01-01T00:00:01Z\"}",
                      &push, &refusal),
            ERR_OK);
        changed.key = STR("own");
        changed.label = STR("l");
        changed.retries = 9;
        changed.not_before_ms = NOW_MS + 1000;
        changed.expires_at_ms = NOW_MS + 61000;
        expect_options(push.message.options, &changed);
    }
}

static void
what_is_of_one_message_is_refused_in_the_head_of_a_batch(void **state)
{
    static const char *const refused[][2] = {
        {JSON "Opq-Dedup-Id: d\r\n\r\n",
         "dedup_id is of one message: give it in the item"},
        {JSON "Idempotency-Key: d\r\n\r\n",
         "dedup_id is of one message: give it in the item"},
        {JSON "Opq-Expect-Seq: 0\r\n\r\n",
         "expect_seq is of one message: give it in the item"},
        {JSON "Opq-Delay: 1s\r\nOpq-Not-Before: 1\r\n\r\n",
         "delay and not_before exclude one another"},
    };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct push_refusal refusal = {0, ""};
        assert_int_equal(begin_batch(state, refused[i][0], &refusal),
                         ERR_INVALID);
        assert_string_equal(refusal.detail, refused[i][1]);
    }
}

/* --- together ------------------------------------------------------------- */

static void a_push_without_options_has_none(void **state)
{
    struct push push = read_good(state, FORM "Opq-Retries: 3\r\n\r\n" TARGET);

    assert_non_null(push.message.options);
    push = read_good(state, FORM "\r\n" TARGET "&message=m");
    assert_null(push.message.options);
    push = read_good(state, FORM "Opq-Sync: none\r\n\r\n" TARGET);
    assert_null(push.message.options);
}

static void options_come_together(void **state)
{
    const struct message_options expected = {.key = STR("caf\xc3\xa9"),
                                             .label = STR("l"),
                                             .retries = 5,
                                             .priority = 1,
                                             .not_before_ms = NOW_MS + DAY_MS,
                                             .expires_at_ms =
                                                 NOW_MS + DAY_MS + 5000};
    struct push push = read_good(
        state, JSON "Opq-Label: l\r\n\r\n{" MEMBERS ",\"key\":\"caf\\u00e9\","
                    "\"ttl\":5,\"delay\":\"1d\",\"retries\":\"5\",\"priority\":"
                    "1,\"expect_seq\":18446744073709551615}");

    expect_options(push.message.options, &expected);
    assert_true(push.expects);
    assert_int_equal(push.expect_seq, UINT64_MAX);
}

static void what_is_due_already_is_not_delayed(void **state)
{
    static const char *const past[] = {
        "Opq-Delay: 0s", "Opq-Not-Before: 2026-01-01T00:00:00Z",
        "Opq-Not-Before: 1", "Opq-Not-Before: 1999-12-31T00:00:00+01:00"};

    for (size_t i = 0; i < sizeof(past) / sizeof(past[0]); i++) {
        (void)snprintf(text, sizeof(text),
                       FORM "%s\r\nOpq-Ttl: 10s\r\n\r\n" TARGET, past[i]);
        struct push push = read_good(state, text);
        assert_int_equal(push.message.options->not_before_ms, 0);
        assert_int_equal(push.message.options->expires_at_ms, NOW_MS + 10000);
    }
}

static void a_push_may_expect_its_number(void **state)
{
    struct push push =
        read_good(state, FORM "Opq-Expect-Seq: 7\r\n\r\n" TARGET);

    assert_true(push.expects);
    assert_int_equal(push.expect_seq, 7);
    assert_null(push.message.options);
    push = read_good(state, FORM "\r\n" TARGET);
    assert_false(push.expects);
}

static void idempotency_key_is_another_name_of_dedup_id(void **state)
{
    const struct message_options expected = {UNSET, .dedup_id = {"d 1", 3}};
    struct push push =
        read_good(state, FORM "idempotency-key: d 1\r\nX-A: 1\r\n\r\n" TARGET);

    expect_options(push.message.options, &expected);
    assert_int_equal(push.message.header_count, 1);
    expect_str(push.message.headers[0].key, "X-A");
    push = read_good(state, FORM "Idempotency-Key: d 1\r\nOpq-Dedup-Id: d 1\r\n"
                                 "\r\n" TARGET);
    expect_options(push.message.options, &expected);
    assert_int_equal(push.message.header_count, 0);
    push = read_good(state, JSON "Idempotency-Key: d 1\r\n\r\n{" MEMBERS "}");
    expect_options(push.message.options, &expected);
    push = read_good(state, POST "Idempotency-Key: d 1\r\nOpq-Topic: t\r\n"
                                 "Opq-Url: http://h/\r\n\r\nbody");
    expect_options(push.message.options, &expected);
    push = read_good(state, FORM "\r\n" TARGET);
    assert_null(push.message.options);

    /* The target's own is not meant for this server. */
    push = read_good(state,
                     FORM "Opq-Forward-Idempotency-Key: theirs\r\n\r\n" TARGET);
    assert_null(push.message.options);
    assert_int_equal(push.message.header_count, 1);
    expect_str(push.message.headers[0].value, "theirs");
}

/* --- refusals ------------------------------------------------------------- */

#define NOT_TEXT " must be text of 1 to 256 bytes, without control characters"

static void values_without_sense_are_refused_by_name(void **state)
{
    static const struct {
        const char *name;
        const char *value; /* in JSON */
        const char *why;
    } refused[] = {
        {"delay", "\"soon\"", " must be a duration up to 366d, such as 10m"},
        {"delay", "-1", " must be a duration up to 366d, such as 10m"},
        {"delay", "1.5", " must be a duration up to 366d, such as 10m"},
        {"delay", "\"367d\"", " must be a duration up to 366d, such as 10m"},
        {"delay", "\"31622400001ms\"",
         " must be a duration up to 366d, such as 10m"},
        {"not_before", "\"2027-01-02T00:00:00.001Z\"",
         " must be a time, RFC 3339 or Unix seconds, at most 366 days ahead"},
        {"not_before", "\"tomorrow\"",
         " must be a time, RFC 3339 or Unix seconds, at most 366 days ahead"},
        {"ttl", "\"36501d\"",
         " must be a duration of 1ms to 36500d, such as 1h"},
        {"ttl", "0", " must be a duration of 1ms to 36500d, such as 1h"},
        {"ttl", "\"\"", " must be a duration of 1ms to 36500d, such as 1h"},
        {"key", "\"\"", NOT_TEXT},
        {"key", "\"a\\nb\"", NOT_TEXT},
        {"key", "\"a\\u0000b\"", NOT_TEXT},
        {"label", "\"\\u007f\"", NOT_TEXT},
        {"label", "\"\\t\"", NOT_TEXT},
        {"dedup_id", "\"\"", NOT_TEXT},
        {"collapse", "\"\\r\"", NOT_TEXT},
        {"flow_key", "\"\"", NOT_TEXT},
        {"priority", "10", " must be 0 to 9"},
        {"priority", "\"high\"", " must be 0 to 9"},
        {"priority", "4294967297", " must be 0 to 9"},
        {"retries", "1000001", " must be 0 to 1000000"},
        {"retries", "-1", " must be 0 to 1000000"},
        {"retries", "1e3", " must be 0 to 1000000"},
        {"retries", "99999999999999999999", " must be 0 to 1000000"},
        {"callback", "\"\"", " must be a URL"},
        {"failure_callback", "\"\"", " must be a URL"},
        {"callback", "\"http://denied/\"",
         " points to an address that is not allowed"},
        {"failure_callback", "\"http://denied/\"",
         " points to an address that is not allowed"},
        {"expect_seq", "-1", " must be a sequence number"},
        {"expect_seq", "18446744073709551616", " must be a sequence number"},
        {"expect_seq", "\"\"", " must be a sequence number"},
    };
    char detail[RECORDER_DETAIL_MAX];

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        (void)snprintf(text, sizeof(text), JSON "\r\n{" MEMBERS ",\"%s\":%s}",
                       refused[i].name, refused[i].value);
        (void)snprintf(detail, sizeof(detail), "%s%s", refused[i].name,
                       refused[i].why);
        expect_refusal(state, text, 400, detail);
    }
}

static void retry_schedules_without_sense_are_refused(void **state)
{
    static const char *const refused[] = {"",      "5s,",  ",5s",   "5s,,1m",
                                          "5s 1m", "5s,,", "0s",    "1s,0",
                                          "25h",   "2d",   "1s;2s", "x"};
    struct buf list = {0};

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        (void)snprintf(text, sizeof(text),
                       JSON "\r\n{" MEMBERS ",\"retry_schedule\":\"%s\"}",
                       refused[i]);
        expect_refusal(state, text, 400,
                       "retry_schedule must be 1 to 32 durations of 1ms to 1d, "
                       "such as 5s,1m,10m");
    }
    struct push spaced = read_good(
        state, JSON "\r\n{" MEMBERS ",\"retry_schedule\":\"5s, 1m\"}");
    expect_str(spaced.message.options->retry_schedule, "5s, 1m");
    for (int i = 0; i < 32; i++) {
        buf_append_c(&list, i > 0 ? ",1s" : "1s");
    }
    buf_append_byte(&list, '\0');
    (void)snprintf(text, sizeof(text),
                   JSON "\r\n{" MEMBERS ",\"retry_schedule\":\"%s\"}",
                   list.data);
    struct push push = read_good(state, text);
    expect_str(push.message.options->retry_schedule, list.data);
    (void)snprintf(text, sizeof(text),
                   JSON "\r\n{" MEMBERS ",\"retry_schedule\":\"%s,1s\"}",
                   list.data);
    expect_refusal(state, text, 400,
                   "retry_schedule must be 1 to 32 durations of 1ms to 1d, "
                   "such as 5s,1m,10m");
    buf_fini(&list);
}

static void text_is_bounded_and_must_be_utf8(void **state)
{
    static const char *const names[] = {"key", "label", "dedup_id", "collapse",
                                        "flow_key"};
    char value[258];
    char detail[RECORDER_DETAIL_MAX];

    memset(value, 'x', sizeof(value));
    value[257] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(detail, sizeof(detail), "%s" NOT_TEXT, names[i]);
        (void)snprintf(text, sizeof(text),
                       JSON "\r\n{" MEMBERS ",\"%s\":\"%s\"}", names[i],
                       value + 1);
        assert_non_null(read_good(state, text).message.options);
        (void)snprintf(text, sizeof(text),
                       JSON "\r\n{" MEMBERS ",\"%s\":\"%s\"}", names[i], value);
        expect_refusal(state, text, 400, detail);
        (void)snprintf(text, sizeof(text), FORM "\r\n" TARGET "&Opq-%s=%%ff",
                       names[i]);
        expect_refusal(state, text, 400, detail);
        (void)snprintf(text, sizeof(text), FORM "\r\n" TARGET "&Opq-%s=a%%00",
                       names[i]);
        expect_refusal(state, text, 400, detail);
    }
}

static void other_refusals_name_the_field_too(void **state)
{
    static const char *const refused[][2] = {
        {FORM "Opq-Delay: 1s\r\nOpq-Not-Before: 1\r\n\r\n" TARGET,
         "delay and not_before exclude one another"},
        {FORM "Opq-Key: a\r\n\r\n" TARGET "&Opq-Key=a", "key is given twice"},
        {FORM "Opq-Not-Before: 1\r\nOpq-Not_Before: 1\r\n\r\n" TARGET,
         "not_before is given twice"},
        {FORM "Opq-Dedup-Id: a\r\nIdempotency-Key: b\r\n\r\n" TARGET,
         "dedup_id and Idempotency-Key are not the same"},
        {FORM "Idempotency-Key: a\r\nIdempotency-Key: a\r\n\r\n" TARGET,
         "Idempotency-Key is given twice"},
        {FORM "Idempotency-Key:\r\n\r\n" TARGET, "Idempotency-Key" NOT_TEXT},
        {FORM "Opq-Callback: ftp://h/\r\n\r\n" TARGET,
         "callback: not an http:// or https:// URL"},
        {FORM "Opq-Failure-Callback: nowhere\r\n\r\n" TARGET,
         "failure_callback: not an http:// or https:// URL"},
        {JSON "\r\n{" MEMBERS ",\"retries\":null}",
         "member retries must be a string"},
        {JSON "\r\n{" MEMBERS ",\"id\":\"mine\"}", "member id is not known"},
        {JSON "\r\n{" MEMBERS ",\"dead\":\"{}\"}", "member dead is not known"},
        {FORM "\r\nurl=http://h/&topic=.opq.delayed",
         "topic is reserved: names that begin with .opq. or end with .dlq are "
         "the server's own"},
        {FORM "\r\nurl=http://h/&topic=.opq.",
         "topic is reserved: names that begin with .opq. or end with .dlq are "
         "the server's own"},
    };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        expect_refusal(state, refused[i][0], 400, refused[i][1]);
    }
    struct push push = read_good(state, FORM "\r\nurl=http://h/&topic=.opq");
    expect_str(push.topic, ".opq");
    push = read_good(state, FORM "\r\nurl=http://h/&topic=a.opq.b");
    expect_str(push.topic, "a.opq.b");
}

static void a_callback_past_the_limit_is_414(void **state)
{
    static char url[10000];

    memset(url, 'x', sizeof(url) - 1);
    memcpy(url, "http://h/", 9);
    (void)snprintf(text, sizeof(text), JSON "\r\n{" MEMBERS ",\"%s\":\"%s\"}",
                   "callback", url);
    struct push_refusal refusal = {0, ""};
    struct push push;
    struct str body;

    request(text, &body);
    assert_int_equal(
        recorder_read(*state, &head, body, NOW_MS, &push, &refusal),
        ERR_INVALID);
    assert_int_equal(refusal.status, 414);
    assert_memory_equal(refusal.detail, "callback: ", 10);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, make_recorder, drop_recorder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_option_may_be_a_header),
        TEST(every_option_may_be_a_query_parameter),
        TEST(every_option_may_be_a_member),
        TEST(every_option_may_be_a_form_field_by_its_headers_name),
        TEST(every_option_may_be_of_an_item_of_a_batch),
        TEST(the_head_of_a_batch_has_options_for_its_items),
        TEST(what_is_of_one_message_is_refused_in_the_head_of_a_batch),
        TEST(a_push_without_options_has_none),
        TEST(options_come_together),
        TEST(what_is_due_already_is_not_delayed),
        TEST(a_push_may_expect_its_number),
        TEST(idempotency_key_is_another_name_of_dedup_id),
        TEST(values_without_sense_are_refused_by_name),
        TEST(retry_schedules_without_sense_are_refused),
        TEST(text_is_bounded_and_must_be_utf8),
        TEST(other_refusals_name_the_field_too),
        TEST(a_callback_past_the_limit_is_414),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
