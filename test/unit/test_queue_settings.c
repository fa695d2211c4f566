/* Tests of queue/settings: each setting from the API's text to the store's and
 * back, limits, what is refused and why.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/settings.h"

#include "lib/settings_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- help ----------------------------------------------------------------- */

static bool is_topics(const char *name)
{
    const char *known = NULL;

    for (unsigned i = 0; (known = settings_name(SETTINGS_TOPIC, i)) != NULL;
         i++) {
        if (strcmp(known, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Set one in a scope that has it; it says something exactly when it is
 * refused. */
static enum err
set(struct settings *settings, const char *name, const char *value)
{
    struct buf detail = {0};
    enum settings_scope scope =
        is_topics(name) ? SETTINGS_TOPIC : SETTINGS_SUBSCRIPTION;
    enum err err =
        settings_set(settings, scope, str_from(name), str_from(value), &detail);

    assert_int_equal(detail.size > 0, err == ERR_INVALID);
    buf_fini(&detail);
    return err;
}

static void expect_detail(enum settings_scope scope,
                          const char *name,
                          const char *value,
                          const char *words)
{
    struct settings settings;
    struct buf detail = {0};

    settings_init(&settings);
    assert_int_equal(settings_set(&settings, scope, str_from(name),
                                  str_from(value), &detail),
                     ERR_INVALID);
    buf_append_byte(&detail, '\0');
    assert_string_equal(detail.data, words);
    buf_fini(&detail);
    settings_fini(&settings);
}

/* Write and read; `*to` is initialised. */
static void store(const struct settings *from, struct settings *to)
{
    struct buf text = {0};

    assert_int_equal(settings_write(from, &text), ERR_OK);
    assert_int_equal(settings_read(buf_str(&text), to), ERR_OK);
    buf_fini(&text);
}

/* --- values --------------------------------------------------------------- */

struct sample {
    const char *name;
    const char *value;
    const char *stored; /* the store's line */
    const char *shown;  /* as a member of JSON */
};

/* At least one of each setting that is not its default. */
static const struct sample samples[] = {
    {"paused", "yes", "paused 1\n", "\"paused\":true"},
    {"paused", "true", "paused 1\n", "\"paused\":true"},
    {"paused", "no", "", "\"paused\":false"},
    {"kind", "pull", "kind pull\n", "\"kind\":\"pull\""},
    {"kind", "mirror", "kind mirror\n", "\"kind\":\"mirror\""},
    {"kind", "push", "", "\"kind\":\"push\""},
    {"url", "http://h/a?b=c", "url http://h/a?b=c\n",
     "\"url\":\"http://h/a?b=c\""},
    {"url", "", "", "\"url\":\"\""},
    {"filter", "key = \"a\\\\b\"", "filter key = \"a\\\\\\\\b\"\n",
     "\"filter\":\"key = \\\"a\\\\\\\\b\\\"\""},
    {"headers", "{\"X-A\": \" b\\\\c \", \"y\":\"\"}",
     "headers X-A: b\\\\c\\ny: \\n\n",
     "\"headers\":{\"X-A\":\"b\\\\c\",\"y\":\"\"}"},
    {"headers", "{}", "", "\"headers\":{}"},
    {"headers", "", "", "\"headers\":{}"},
    {"headers", "{\"Authorization\":\"Bearer ${secret:shop}\"}",
     "headers Authorization: Bearer ${secret:shop}\\n\n",
     "\"headers\":{\"Authorization\":\"Bearer ${secret:shop}\"}"},
    {"share", "12.5%", "share_ppm 125000\n", "\"share\":\"12.5%\""},
    {"share", "0.0001", "share_ppm 1\n", "\"share\":\"0.0001%\""},
    {"share", "99.0900", "share_ppm 990900\n", "\"share\":\"99.09%\""},
    {"share", "0", "share_ppm 0\n", "\"share\":\"0%\""},
    {"share", "100.0000%", "", "\"share\":\"100%\""},
    {"hold", "yes", "hold yes\n", "\"hold\":\"yes\""},
    {"hold", "no", "hold no\n", "\"hold\":\"no\""},
    {"hold", "auto", "", "\"hold\":\"auto\""},
    {"order", "key", "order key\n", "\"order\":\"key\""},
    {"order", "none", "order none\n", "\"order\":\"none\""},
    {"concurrency", "1024", "concurrency 1024\n", "\"concurrency\":1024"},
    {"endpoint_concurrency", "3", "endpoint_concurrency 3\n",
     "\"endpoint_concurrency\":3"},
    {"timeout", "1500ms", "timeout_ms 1500\n", "\"timeout\":\"1500ms\""},
    {"timeout", "90", "timeout_ms 90000\n", "\"timeout\":\"90s\""},
    {"timeout", "0", "", "\"timeout\":\"0s\""},
    {"retries", "0", "retries 0\n", "\"retries\":0"},
    {"retries", "1000000", "retries 1000000\n", "\"retries\":1000000"},
    {"retries", "forever", "", "\"retries\":\"forever\""},
    {"retry_schedule", " 1ms , 1m,1d", "retry_schedule 1ms,1m,1d\n",
     "\"retry_schedule\":\"1ms,1m,1d\""},
    {"permanent_status", "400, 404,410-499",
     "permanent_status 400,404,410-499\n",
     "\"permanent_status\":\"400,404,410-499\""},
    {"permanent_status", "300-599,401-401",
     "permanent_status 300-599,401-401\n",
     "\"permanent_status\":\"300-599,401-401\""},
    {"rate", "100/1s", "rate 100/1s\n", "\"rate\":\"100/1s\""},
    {"rate", "1000000 / 1d", "rate 1000000/1d\n", "\"rate\":\"1000000/1d\""},
    {"rate", "0/1s", "", "\"rate\":\"0\""},
    {"flow_rate", "1/1ms", "flow_rate 1/1ms\n", "\"flow_rate\":\"1/1ms\""},
    {"expired", "drop", "expired_drop 1\n", "\"expired\":\"drop\""},
    {"dedup_window", "7d", "dedup_window_ms 604800000\n",
     "\"dedup_window\":\"7d\""},
    {"dedup", "content", "dedup_content 1\n", "\"dedup\":\"content\""},
    {"dedup", "cloudevents", "dedup_content 2\n", "\"dedup\":\"cloudevents\""},
    {"secret", "shop, shop-2", "secret shop,shop-2\n",
     "\"secret\":\"shop,shop-2\""},
    {"secret", "", "", "\"secret\":\"\""},
    {"batch", "100,50ms", "batch 100,50ms\n", "\"batch\":\"100,50ms\""},
    {"batch", "1000, 60s", "batch 1000,1m\n", "\"batch\":\"1000,1m\""},
    {"batch", "7", "batch 7,0s\n", "\"batch\":\"7,0s\""},
    {"batch", "0,5s", "", "\"batch\":\"0\""},
    {"batch_format", "json", "batch_format json\n",
     "\"batch_format\":\"json\""},
    {"cloudevents", "structured", "cloudevents structured\n",
     "\"cloudevents\":\"structured\""},
    {"cloudevents", "binary", "cloudevents binary\n",
     "\"cloudevents\":\"binary\""},
    {"cloudevents_type", " a.b c ", "cloudevents_type a.b c\n",
     "\"cloudevents_type\":\"a.b c\""},
    {"slow_after", "5m", "slow_after_ms 300000\n", "\"slow_after\":\"5m\""},
    {"cloudevents_source", "urn:\303\244", "cloudevents_source urn:\303\244\n",
     "\"cloudevents_source\":\"urn:\303\244\""},
    {"retain_age", " 7d ", "retain_age_ms 604800000\n",
     "\"retain_age\":\"7d\""},
    {"retain_bytes", "2g", "retain_bytes 2147483648\n",
     "\"retain_bytes\":2147483648"},
    {"retain_count", "9223372036854775807",
     "retain_count 9223372036854775807\n",
     "\"retain_count\":9223372036854775807"},
    {"discard", "old", "discard_old 1\n", "\"discard\":\"old\""},
};

enum { SAMPLE_COUNT = sizeof(samples) / sizeof(samples[0]) };

static void expect_sample(const struct sample *sample)
{
    struct settings settings;
    struct settings read;

    settings_init(&settings);
    settings_init(&read);
    assert_int_equal(set(&settings, sample->name, sample->value), ERR_OK);
    char *text = settings_fixture_dump(&settings);
    if (strstr(text, sample->shown) == NULL) {
        fail_msg("no %s in %s", sample->shown, text);
    }
    assert_string_equal(strstr(strchr(text, '\n') + 1, "\n") + 1,
                        sample->stored);
    store(&settings, &read);
    settings_fixture_same(&settings, &read);
    free(text);
    settings_fini(&settings);
    settings_fini(&read);
}

static void each_setting_goes_to_the_store_and_comes_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        expect_sample(&samples[i]);
    }
}

/* Tell whether a setting has a sample that the store keeps a line of. */
static bool has_sample(const char *name)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        if (strcmp(samples[i].name, name) == 0 &&
            samples[i].stored[0] != '\0') {
            return true;
        }
    }
    return false;
}

static void expect_samples(enum settings_scope scope)
{
    const char *name = NULL;

    for (unsigned i = 0; (name = settings_name(scope, i)) != NULL; i++) {
        if (!has_sample(name)) {
            fail_msg("no sample of %s", name);
        }
    }
}

static void each_name_of_the_table_has_a_sample(void **state)
{
    (void)state;
    expect_samples(SETTINGS_TOPIC);
    expect_samples(SETTINGS_SUBSCRIPTION);
    assert_null(settings_name(SETTINGS_TOPIC, 1000));
}

static void all_settings_together_come_back(void **state)
{
    (void)state;
    struct settings settings;
    struct settings read;

    settings_init(&settings);
    settings_init(&read);
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        if (samples[i].stored[0] != '\0') {
            assert_int_equal(set(&settings, samples[i].name, samples[i].value),
                             ERR_OK);
        }
    }
    settings.kind = SETTINGS_KIND_REPLAY;
    settings.replay_from = UINT64_MAX - 1;
    settings.replay_end = UINT64_MAX;
    settings.replay_failed = true;
    settings.replay_pace = 1000;
    settings.replay_of = strdup("billing");
    assert_non_null(settings.replay_of);
    store(&settings, &read);
    settings_fixture_same(&settings, &read);
    assert_int_equal(read.kind, SETTINGS_KIND_REPLAY);
    assert_int_equal(read.order, SETTINGS_ORDER_NONE);
    assert_int_equal(read.replay_from, UINT64_MAX - 1);
    assert_int_equal(read.replay_end, UINT64_MAX);
    assert_true(read.replay_failed);
    assert_int_equal(read.replay_pace, 1000);
    assert_string_equal(read.replay_of, "billing");
    assert_string_equal(read.headers, "Authorization: Bearer ${secret:shop}\n");
    settings_fini(&settings);
    settings_fini(&read);
}

/* The members of an object of JSON are given back as values. */
static void what_is_shown_can_be_given_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        const char *shown = samples[i].shown;
        struct settings settings;
        struct settings again;
        struct buf value = {0};
        settings_init(&settings);
        settings_init(&again);
        assert_int_equal(set(&settings, samples[i].name, samples[i].value),
                         ERR_OK);
        shown = strchr(shown, ':') + 1;
        bool quoted = *shown == '"';
        for (shown += quoted ? 1 : 0; *shown != '\0'; shown++) {
            if (quoted && *shown == '\\') {
                shown++;
            }
            buf_append_byte(&value, *shown);
        }
        value.size -= quoted ? 1 : 0;
        buf_append_byte(&value, '\0');
        assert_int_equal(set(&again, samples[i].name, value.data), ERR_OK);
        settings_fixture_same(&settings, &again);
        buf_fini(&value);
        settings_fini(&settings);
        settings_fini(&again);
    }
}

static void defaults_are_those_of_the_documents(void **state)
{
    (void)state;
    static const struct sample defaults[] = {
        {.name = "paused", .value = "no"},
        {.name = "kind", .value = "push"},
        {.name = "url", .value = ""},
        {.name = "filter", .value = ""},
        {.name = "headers", .value = ""},
        {.name = "share", .value = "100%"},
        {.name = "order", .value = "topic"},
        {.name = "concurrency", .value = "0"},
        {.name = "timeout", .value = "0s"},
        {.name = "retries", .value = "forever"},
        {.name = "retry_schedule", .value = ""},
        {.name = "permanent_status", .value = ""},
        {.name = "rate", .value = "0"},
        {.name = "flow_rate", .value = "0"},
        {.name = "expired", .value = "dead"},
        {.name = "dedup_window", .value = "0s"},
        {.name = "dedup", .value = "id"},
        {.name = "secret", .value = ""},
        {.name = "batch", .value = "0"},
        {.name = "batch_format", .value = "ndjson"},
        {.name = "retain_age", .value = "0s"},
        {.name = "retain_bytes", .value = "0"},
        {.name = "retain_count", .value = "0"},
        {.name = "discard", .value = "new"},
    };
    struct settings settings;
    struct settings untouched;
    struct buf text = {0};

    settings_init(&settings);
    settings_init(&untouched);
    settings_table(SETTINGS_TOPIC, &text);
    settings_table(SETTINGS_SUBSCRIPTION, &text);
    buf_append_byte(&text, '\0');
    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
        const char *value = defaults[i].value;
        char name[64];
        char end[64];
        assert_int_equal(set(&settings, defaults[i].name, value), ERR_OK);
        (void)snprintf(name, sizeof(name), "\n| `%s` | ", defaults[i].name);
        (void)snprintf(end, sizeof(end), " | %s | ",
                       value[0] != '\0' ? value : "none");
        const char *line = strstr(text.data, name);
        assert_non_null(line);
        assert_non_null(strstr(line, end));
        assert_true(strstr(line, end) < strchr(line + 1, '\n'));
    }
    settings_fixture_same(&settings, &untouched);
    buf_fini(&text);
    settings_fini(&settings);
}

/* --- limits --------------------------------------------------------------- */

static const char *const bad[][2] = {
    {"paused", "perhaps"},
    {"paused", ""},
    {"kind", "replay"},
    {"kind", "2"},
    {"url", "ftp://h/"},
    {"url", "https://h:8/a\\b\n"},
    {"url", "/hook"},
    {"filter", "a\nb"},
    {"filter", "a\x7f"},
    {"filter", "\xff"},
    {"filter", "key = "},
    {"hold", "maybe"},
    {"headers", "X-A: b"},
    {"headers", "[]"},
    {"headers", "{} {}"},
    {"headers", "{\"X-A\": 1}"},
    {"headers", "{\"X-A\": \"\\ud800\"}"},
    {"headers", "{\"X A\": \"1\"}"},
    {"headers", "{\"\": \"1\"}"},
    {"headers", "{\"X-A\": \"a\\r\\nX-B: c\"}"},
    {"headers", "{\"X-A\": \"a\\u0000\"}"},
    {"headers", "{\"X-A\": \"1\", \"x-a\": \"2\"}"},
    {"headers", "{\"Host\": \"h\"}"},
    {"headers", "{\"opq-seq\": \"1\"}"},
    {"headers", "{\"webhook-signature\": \"v1,x\"}"},
    {"headers", "{\"Content-Length\": \"1\"}"},
    {"share", "100.0001"},
    {"share", "101%"},
    {"share", "-1"},
    {"share", ".5"},
    {"share", "1."},
    {"share", "0.00001"},
    {"share", "%"},
    {"share", "1e1"},
    {"order", "lane"},
    {"order", "0"},
    {"order", ""},
    {"concurrency", "1025"},
    {"endpoint_concurrency", "1025"},
    {"concurrency", "4294967297"},
    {"concurrency", "1s"},
    {"timeout", "soon"},
    {"timeout", "-1"},
    {"timeout", "60d"},
    {"retries", "1000001"},
    {"retries", "4294967295"},
    {"retries", "ever"},
    {"retries", ""},
    {"retry_schedule", "0"},
    {"retry_schedule", "1s,"},
    {"retry_schedule", ",1s"},
    {"retry_schedule", "86401"},
    {"retry_schedule", "5s;1m"},
    {"permanent_status", "299"},
    {"permanent_status", "600"},
    {"permanent_status", "410-409"},
    {"permanent_status", "400-"},
    {"permanent_status", "400-499-500"},
    {"permanent_status", "4xx"},
    {"permanent_status", "0404"},
    {"rate", "100"},
    {"rate", "100/"},
    {"rate", "100/0"},
    {"rate", "1/25h"},
    {"rate", "0/"},
    {"rate", "1000001/1s"},
    {"rate", "/1s"},
    {"rate", ""},
    {"flow_rate", "fast"},
    {"expired", "keep"},
    {"dedup_window", "604800001ms"},
    {"dedup", "body"},
    {"secret", "a b"},
    {"secret", "a,"},
    {"secret", "a/b"},
    {"secret", "1,2,3,4,5,6,7,8,9"},
    {"batch", "1001"},
    {"batch", "1,61s"},
    {"batch", "1,"},
    {"batch", ",1s"},
    {"batch", "1,1s,1"},
    {"batch", ""},
    {"batch_format", "xml"},
    {"dedup", "event"},
    {"cloudevents", "json"},
    {"cloudevents_type", "a\nb"},
    {"cloudevents_source", "\377"},
    {"retain_age", "1w"},
    {"retain_bytes", "many"},
    {"retain_bytes", "9223372036854775808"},
    {"retain_count", "1k"},
    {"retain_count", "9223372036854775808"},
    {"discard", "none"},
    {"replay_from", "1"},
    {"Paused", "yes"},
    {"", ""},
};

static void binary_events_go_in_no_batches(void **state)
{
    struct settings settings;

    (void)state;
    settings_init(&settings);
    assert_null(settings_conflict(&settings));
    settings.batch_count = 1;
    assert_null(settings_conflict(&settings));
    settings.cloudevents = SETTINGS_EVENTS_STRUCTURED;
    assert_null(settings_conflict(&settings));
    settings.cloudevents = SETTINGS_EVENTS_BINARY;
    assert_non_null(strstr(settings_conflict(&settings), "batch"));
    settings.batch_count = 0;
    assert_null(settings_conflict(&settings));
}

static void bad_values_are_refused_and_change_nothing(void **state)
{
    (void)state;
    struct settings settings;
    struct settings before;

    settings_init(&settings);
    settings_init(&before);
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        assert_int_equal(set(&settings, samples[i].name, samples[i].value),
                         ERR_OK);
    }
    assert_int_equal(settings_copy(&before, &settings), ERR_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (set(&settings, bad[i][0], bad[i][1]) != ERR_INVALID) {
            fail_msg("%s takes \"%s\"", bad[i][0], bad[i][1]);
        }
        settings_fixture_same(&settings, &before);
    }
    settings_fini(&settings);
    settings_fini(&before);
}

/* `count` times `item` with `between` between them, from `first` to `last`. */
static char *repeated(const char *first,
                      const char *item,
                      const char *between,
                      size_t count,
                      const char *last)
{
    struct buf text = {0};

    buf_append_c(&text, first);
    for (size_t i = 0; i < count; i++) {
        buf_append_c(&text, i > 0 ? between : "");
        buf_append_c(&text, item);
    }
    buf_append_c(&text, last);
    buf_append_byte(&text, '\0');
    assert_int_equal(buf_err(&text), ERR_OK);
    return text.data;
}

static void text_and_lists_have_a_greatest_length(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *first;
        const char *item;
        const char *between;
        const char *last;
        size_t most;
    } limits[] = {
        {"url", "http://h/", "a", "", "", 8192 - 9},
        {"filter", "key = \"", "a", "", "\"", 2048 - 8},
        {"headers", "{\"X\":\"", "a", "", "\"}", 4096 - 4},
        {"retry_schedule", "", "1s", ",", "", 32},
        {"permanent_status", "", "400", ",", "", 64},
        {"secret", "", "s", ",", "", 8},
        {"secret", "", "s", "", "", 64},
    };
    struct settings settings;

    settings_init(&settings);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        for (size_t more = 0; more < 2; more++) {
            char *value =
                repeated(limits[i].first, limits[i].item, limits[i].between,
                         limits[i].most + more, limits[i].last);
            assert_int_equal(set(&settings, limits[i].name, value),
                             more > 0 ? ERR_INVALID : ERR_OK);
            free(value);
        }
    }
    settings_fini(&settings);
}

static void refusal_names_the_setting_and_what_it_takes(void **state)
{
    (void)state;
    expect_detail(SETTINGS_TOPIC, "discard", "all",
                  "discard must be new or old");
    expect_detail(SETTINGS_TOPIC, "order", "lane",
                  "order must be topic, key or none");
    expect_detail(SETTINGS_SUBSCRIPTION, "kind", "replay",
                  "kind must be push, pull or mirror");
    expect_detail(SETTINGS_TOPIC, "concurrency", "many",
                  "concurrency must be a number up to 1024; 0 takes 64");
}

static void refusal_of_a_text_says_where_it_is_wrong(void **state)
{
    (void)state;
    expect_detail(SETTINGS_SUBSCRIPTION, "filter", " key = \"a\" or",
                  "filter must be a filter of at most 2048 bytes; empty is "
                  "none: at byte 9: expected \" and \", a new line or the end");
    expect_detail(SETTINGS_SUBSCRIPTION, "headers",
                  "{\"X-A\":\"${secret:no such}\"}",
                  "headers must be a JSON object of header names and values, "
                  "at most 4096 bytes, each name once and none that deliveries "
                  "have anew: X-A: a secret is named as in "
                  "${secret:name}");
}

/* A mirror's failures never matter, so it keeps nothing back. */
static void all_but_mirrors_hold_messages_unless_told(void **state)
{
    (void)state;
    struct settings settings;

    settings_init(&settings);
    assert_true(settings_holds(&settings));
    settings.kind = SETTINGS_KIND_PULL;
    assert_true(settings_holds(&settings));
    settings.hold = SETTINGS_HOLD_NO;
    assert_false(settings_holds(&settings));
    settings.kind = SETTINGS_KIND_MIRROR;
    settings.hold = SETTINGS_HOLD_AUTO;
    assert_false(settings_holds(&settings));
    settings.hold = SETTINGS_HOLD_YES;
    assert_true(settings_holds(&settings));
    settings_fini(&settings);
}

/* Of a newer program: whoever matches with it decides. */
static void stored_filter_is_read_whatever_it_says(void **state)
{
    (void)state;
    struct settings read;

    settings_init(&read);
    assert_int_equal(
        settings_read(STR("filter size > 5\nretain_count 4\n"), &read), ERR_OK);
    assert_string_equal(read.filter, "size > 5");
    assert_int_equal(read.retention.count, 4);
    settings_fini(&read);
}

static void unknown_names_bring_the_nearest_one(void **state)
{
    (void)state;
    expect_detail(SETTINGS_TOPIC, "retain_agee", "1d",
                  "unknown setting: retain_agee; did you mean retain_age?");
    expect_detail(SETTINGS_TOPIC, "colour", "blue", "unknown setting: colour");
    expect_detail(SETTINGS_TOPIC, "url", "http://h/",
                  "url is a setting of subscriptions, not of topics");
    expect_detail(SETTINGS_SUBSCRIPTION, "dedup", "id",
                  "dedup is a setting of topics, not of subscriptions");
    /* It is not suggested to whom it would not be given. */
    expect_detail(SETTINGS_TOPIC, "kinde", "push", "unknown setting: kinde");
}

/* --- the store's text ----------------------------------------------------- */

static void lines_of_the_first_version_are_read(void **state)
{
    (void)state;
    struct settings settings;

    settings_init(&settings);
    assert_int_equal(settings_read(STR("paused 1\n"
                                       "timeout_ms 4294967295\n"
                                       "retain_age_ms 18446744073709551615\n"
                                       "retain_bytes 1\n"
                                       "retain_count 1000000\n"
                                       "discard_old 1\n"),
                                   &settings),
                     ERR_OK);
    assert_true(settings.paused);
    assert_int_equal(settings.timeout_ms, UINT32_MAX);
    assert_int_equal(settings.retention.age_ms, UINT64_MAX);
    assert_int_equal(settings.retention.bytes, 1);
    assert_int_equal(settings.retention.count, 1000000);
    assert_true(settings.retention.discard_old);
    assert_int_equal(settings.retries, RETRY_FOREVER);
}

static void no_text_is_the_defaults(void **state)
{
    (void)state;
    struct settings settings;
    struct settings defaults;

    settings_init(&settings);
    settings_init(&defaults);
    assert_int_equal(set(&settings, "paused", "yes"), ERR_OK);
    assert_int_equal(set(&settings, "secret", "shop"), ERR_OK);
    assert_int_equal(settings_read(STR(""), &settings), ERR_OK);
    settings_fixture_same(&settings, &defaults);
}

static void unknown_lines_are_skipped(void **state)
{
    (void)state;
    struct settings read;

    settings_init(&read);
    assert_int_equal(settings_read(STR("colour blue and green\\\n"
                                       "paused 1\n"
                                       "\n"
                                       "lonely\n"
                                       "timeout_ms 7"),
                                   &read),
                     ERR_OK);
    assert_true(read.paused);
    assert_int_equal(read.timeout_ms, 7);
}

static void
known_line_without_sense_is_corrupt_and_keeps_what_came_first(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "paused 2\n",
        "paused yes\n",
        "paused\n",
        "kind none\n",
        "timeout_ms -1\n",
        "timeout_ms 1 2\n",
        "timeout_ms 4294967296\n",
        "retain_bytes \n",
        "retain_count 0x1\n",
        "discard_old 10\n",
        "retain_age_ms 1h\n",
        "share_ppm 1000001\n",
        "order 1\n",
        "retries many\n",
        "rate 5\n",
        "batch 5;1s\n",
        "filter a\\\n",
        "filter a\\t\n",
        "filter a\x01z\n",
        "headers X-A\n",
        "headers Host: a\n",
        "headers X: a\\n\\n\n",
        "url nowhere\n",
        "secret ,\n",
        "replay_from x\n",
        "replay_pace yes\n",
        "replay_of a/b\n",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct settings read;
        struct buf text = {0};
        settings_init(&read);
        buf_append_c(&text, "retain_count 3\ntimeout_ms 9\nsecret a\n");
        buf_append_c(&text, lines[i]);
        buf_append_c(&text, "retain_count 4\n");
        if (settings_read(buf_str(&text), &read) != ERR_CORRUPT) {
            fail_msg("%s", lines[i]);
        }
        assert_int_equal(read.retention.count, 3);
        assert_int_equal(read.timeout_ms, 9);
        assert_string_equal(read.secret, "a");
        buf_fini(&text);
        settings_fini(&read);
    }
}

static void what_the_store_cannot_hold_is_too_large(void **state)
{
    (void)state;
    struct settings settings;
    struct buf text = {0};
    char *url = repeated("http://h/", "a", "", 8192 - 9, "");
    char *filter = repeated("key = \"", "\\\\", "", (2048 - 8) / 2, "\"");
    char *headers = repeated("{\"X\":\"", "\\\\", "", 4096 - 4, "\"}");

    settings_init(&settings);
    assert_int_equal(set(&settings, "url", url), ERR_OK);
    assert_int_equal(set(&settings, "filter", filter), ERR_OK);
    assert_int_equal(settings_write(&settings, &text), ERR_OK);
    buf_clear(&text);
    assert_int_equal(set(&settings, "headers", headers), ERR_OK);
    assert_int_equal(settings_write(&settings, &text), ERR_TOO_LARGE);
    buf_fini(&text);
    settings_fini(&settings);
    free(url);
    free(filter);
    free(headers);
}

/* --- copies and changes --------------------------------------------------- */

static void change_is_applied_and_leaves_the_rest(void **state)
{
    (void)state;
    struct settings_change change;
    struct settings settings;
    struct buf detail = {0};

    settings_change_init(&change);
    settings_init(&settings);
    assert_int_equal(set(&settings, "secret", "old"), ERR_OK);
    assert_int_equal(set(&settings, "retry_schedule", "1s"), ERR_OK);
    assert_int_equal(set(&settings, "timeout", "9s"), ERR_OK);
    assert_int_equal(settings_change_set(&change, SETTINGS_TOPIC, STR("secret"),
                                         STR("new"), &detail),
                     ERR_OK);
    assert_int_equal(settings_change_set(&change, SETTINGS_TOPIC,
                                         STR("retry_schedule"), STR(""),
                                         &detail),
                     ERR_OK);
    assert_int_equal(settings_change_set(&change, SETTINGS_TOPIC, STR("batch"),
                                         STR("5,1s"), &detail),
                     ERR_OK);
    assert_int_equal(detail.size, 0);
    assert_int_equal(settings_change_apply(&change, &settings), ERR_OK);
    assert_string_equal(settings.secret, "new");
    assert_null(settings.retry_schedule);
    assert_int_equal(settings.timeout_ms, 9000);
    assert_int_equal(settings.batch_count, 5);
    assert_int_equal(settings.batch_wait_ms, 1000);
    settings_change_fini(&change);
    assert_string_equal(settings.secret, "new");
    settings_fini(&settings);
}

static void change_takes_a_setting_once(void **state)
{
    (void)state;
    struct settings_change change;
    struct buf detail = {0};

    settings_change_init(&change);
    assert_int_equal(settings_change_set(&change, SETTINGS_TOPIC, STR("paused"),
                                         STR("perhaps"), &detail),
                     ERR_INVALID);
    buf_clear(&detail);
    assert_int_equal(settings_change_set(&change, SETTINGS_TOPIC, STR("paused"),
                                         STR("no"), &detail),
                     ERR_OK);
    assert_int_equal(settings_change_set(&change, SETTINGS_TOPIC, STR("paused"),
                                         STR("yes"), &detail),
                     ERR_INVALID);
    assert_true(str_equal(buf_str(&detail), STR("paused is given twice")));
    assert_false(change.values.paused);
    buf_clear(&detail);
    assert_int_equal(settings_change_set(&change, SETTINGS_TOPIC, STR("prio"),
                                         STR("1"), &detail),
                     ERR_INVALID);
    assert_true(str_equal(buf_str(&detail), STR("unknown setting: prio")));
    buf_fini(&detail);
    settings_change_fini(&change);
}

static void set_samples(struct settings *settings)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        if (samples[i].stored[0] != '\0') {
            assert_int_equal(set(settings, samples[i].name, samples[i].value),
                             ERR_OK);
        }
    }
}

static void copy_is_its_own(void **state)
{
    (void)state;
    struct settings from;
    struct settings to;

    settings_init(&from);
    settings_init(&to);
    set_samples(&from);
    assert_int_equal(set(&to, "url", "http://other/"), ERR_OK);
    assert_int_equal(settings_copy(&to, &from), ERR_OK);
    settings_fixture_same(&to, &from);
    settings_fini(&from);
    assert_null(from.url);
    assert_string_equal(to.url, "http://h/a?b=c");
    settings_fini(&to);
    settings_fini(&to); /* once more does nothing */
}

/* --- documents ------------------------------------------------------------ */

static void manual_has_each_setting_of_a_scope(void **state)
{
    (void)state;
    struct buf text = {0};

    settings_manual(SETTINGS_TOPIC, &text);
    buf_append_byte(&text, '\0');
    assert_non_null(strstr(text.data, "*retain\\_age* 0s\n\t"));
    assert_non_null(strstr(text.data, " (topic, key or none)\n\n"));
    assert_null(strstr(text.data, "*url*"));
    assert_null(strstr(text.data, "replay"));
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_setting_goes_to_the_store_and_comes_back),
        cmocka_unit_test(each_name_of_the_table_has_a_sample),
        cmocka_unit_test(all_settings_together_come_back),
        cmocka_unit_test(what_is_shown_can_be_given_back),
        cmocka_unit_test(defaults_are_those_of_the_documents),
        cmocka_unit_test(binary_events_go_in_no_batches),
        cmocka_unit_test(bad_values_are_refused_and_change_nothing),
        cmocka_unit_test(text_and_lists_have_a_greatest_length),
        cmocka_unit_test(refusal_names_the_setting_and_what_it_takes),
        cmocka_unit_test(refusal_of_a_text_says_where_it_is_wrong),
        cmocka_unit_test(all_but_mirrors_hold_messages_unless_told),
        cmocka_unit_test(stored_filter_is_read_whatever_it_says),
        cmocka_unit_test(unknown_names_bring_the_nearest_one),
        cmocka_unit_test(lines_of_the_first_version_are_read),
        cmocka_unit_test(no_text_is_the_defaults),
        cmocka_unit_test(unknown_lines_are_skipped),
        cmocka_unit_test(
            known_line_without_sense_is_corrupt_and_keeps_what_came_first),
        cmocka_unit_test(what_the_store_cannot_hold_is_too_large),
        cmocka_unit_test(change_is_applied_and_leaves_the_rest),
        cmocka_unit_test(change_takes_a_setting_once),
        cmocka_unit_test(copy_is_its_own),
        cmocka_unit_test(manual_has_each_setting_of_a_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
