/* Tests of queue/schedule: what a definition says, and how it is kept.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct push_refusal refusal;

static struct recorder *make_recorder(void)
{
    const struct recorder_options options = {.durability = DURABILITY_DISK};
    struct recorder *recorder = NULL;

    assert_int_equal(recorder_create(&options, &recorder), ERR_OK);
    return recorder;
}

/* Read a definition, and the push that it is. */
static enum err read_all(const char *json)
{
    struct recorder *recorder = make_recorder();
    struct schedule_definition definition;
    struct push push;

    enum err err =
        schedule_definition_read(str_from(json), &definition, &refusal);
    if (err == ERR_OK) {
        err = schedule_read_push(&definition, recorder, 1, &push, &refusal);
        schedule_definition_fini(&definition);
    }
    recorder_destroy(recorder);
    return err;
}

static void a_definition_is_a_push_and_when(void **state)
{
    (void)state;
    const char *json = "\n{ \"cron\": \" 30 2 * * \\u004dON \", "
                       "\"zone\":\"Europe/Berlin\",\"missed\":\"once\","
                       "\"paused\":true, \"topic\":\"t\",\"url\":"
                       "\"http://h/\",\"message\":{\"a\": 1},"
                       "\"headers\":{\"X-A\":\"b\"},\"method\":\"PUT\"}\n";
    struct schedule_definition definition;
    struct recorder *recorder = make_recorder();
    struct push push;

    assert_int_equal(
        schedule_definition_read(str_from(json), &definition, &refusal),
        ERR_OK);
    assert_string_equal(definition.cron_text, "30 2 * * MON");
    assert_string_equal(definition.zone, "Europe/Berlin");
    assert_int_equal(definition.missed, SCHEDULE_MISSED_ONCE);
    assert_true(definition.paused);
    assert_true(str_equal(buf_str(&definition.json), str_from(json)));
    assert_int_equal(
        schedule_read_push(&definition, recorder, 7, &push, &refusal), ERR_OK);
    assert_true(str_equal(push.topic, STR("t")));
    assert_true(str_equal(push.message.url, STR("http://h/")));
    assert_true(str_equal(push.message.body, STR("{\"a\": 1}")));
    assert_true(str_equal(push.message.method, STR("PUT")));
    assert_int_equal(push.message.header_count, 1);
    assert_int_equal(push.message.pushed_at_ms, 7);
    assert_int_equal(push.durability, DURABILITY_DISK);
    schedule_definition_fini(&definition);
    recorder_destroy(recorder);
}

/* --- definitions ---------------------------------------------------------- */

static void what_is_no_definition_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        const char *words;
    } bad[] = {
        {"", "JSON"},
        {"[]", "object"},
        {"{\"cron\":1} x", "JSON"},
        {"{\"topic\":\"t\",\"url\":\"http://h/\"}", "cron is missing"},
        {"{\"cron\":5,\"topic\":\"t\",\"url\":\"http://h/\"}",
         "cron must be a string"},
        {"{\"cron\":\"* * *\",\"topic\":\"t\",\"url\":\"http://h/\"}",
         "cron must have five fields"},
        {"{\"cron\":\"@daily\",\"cron\":\"@daily\"}", "cron is given twice"},
        {"{\"cron\":\"@daily\",\"zone\":\"../x\"}", "zone must be"},
        {"{\"cron\":\"@daily\",\"missed\":\"all\"}", "missed must be"},
        {"{\"cron\":\"@daily\",\"missed\":true}", "missed must be"},
        {"{\"cron\":\"@daily\",\"paused\":\"yes\"}", "paused must be"},
        {"{\"cron\":\"@daily\",\"url\":\"http://h/\"}", "topic is missing"},
        {"{\"cron\":\"@daily\",\"topic\":\"t\",\"url\":\"ftp://h/\"}", "url"},
        {"{\"cron\":\"@daily\",\"topic\":\"t\",\"url\":\"http://h/\","
         "\"colour\":\"red\"}",
         "colour"},
        {"{\"cron\":\"@daily\",\"topic\":\"t\",\"url\":\"http://h/\","
         "\"message\":1,\"message_base64\":\"AA==\"}",
         "message"},
        {"{\"cron\":\"@daily\",\"topic\":\".opq.schedule.x\",\"url\":"
         "\"http://h/\"}",
         "topic"},
    };

    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        memset(&refusal, 0, sizeof(refusal));
        assert_int_equal(read_all(bad[index].json), ERR_INVALID);
        assert_int_equal(refusal.status, 400);
        if (strstr(refusal.detail, bad[index].words) == NULL) {
            fail_msg("%s: %s", bad[index].json, refusal.detail);
        }
    }
}

static void a_definition_has_limits(void **state)
{
    (void)state;
    struct buf json = {0};

    buf_append_c(&json, "{\"cron\":\"@daily\",\"message\":\"");
    while (json.size < SCHEDULE_SIZE_MAX) {
        buf_append_c(&json, "0123456789abcdef");
    }
    buf_append_c(&json, "\",\"topic\":\"t\",\"url\":\"http://h/\"}");
    buf_append_byte(&json, '\0');
    assert_int_equal(read_all(json.data), ERR_INVALID);
    assert_int_equal(refusal.status, 413);
    buf_clear(&json);
    buf_append_c(&json, "{\"cron\":\"@daily\"");
    for (int index = 0; index <= SCHEDULE_MEMBERS_MAX; index++) {
        buf_append_format(&json, ",\"x%d\":\"\"", index);
    }
    buf_append_c(&json, "}");
    buf_append_byte(&json, '\0');
    assert_int_equal(read_all(json.data), ERR_INVALID);
    assert_non_null(strstr(refusal.detail, "too many members"));
    buf_fini(&json);
}

static void ids_are_names_that_do_not_begin_with_a_dot(void **state)
{
    char longest[SCHEDULE_ID_MAX + 1];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    assert_true(schedule_id_valid((struct str){longest, SCHEDULE_ID_MAX}));
    assert_false(schedule_id_valid((struct str){longest, SCHEDULE_ID_MAX + 1}));
    assert_true(schedule_id_valid(STR("Nightly_report-1.x")));
    assert_false(schedule_id_valid(STR("")));
    assert_false(schedule_id_valid(STR(".")));
    assert_false(schedule_id_valid(STR(".a")));
    assert_false(schedule_id_valid(STR("a/b")));
    assert_true(
        str_equal(schedule_id_of_topic(STR(".opq.schedule.a")), STR("a")));
    assert_int_equal(schedule_id_of_topic(STR(".opq.schedule.")).size, 0);
    assert_int_equal(schedule_id_of_topic(STR(".opq.other.a")).size, 0);
    assert_int_equal(schedule_id_of_topic(STR("a")).size, 0);
}

static void a_kept_message_is_read_as_it_was_made(void **state)
{
    struct schedule_definition definition = {.zone = "UTC"};
    const struct schedule_state written = {.paused = true,
                                           .since_ms = 1,
                                           .due_ms = 2,
                                           .run_ms = UINT64_MAX,
                                           .run_count = 4,
                                           .fail_count = 5};
    struct schedule_state read;
    struct schedule_message kept;

    (void)state;
    memset(&read, 0, sizeof(read));
    schedule_message_make(&definition, &written, 7, &kept);
    assert_int_equal(schedule_message_read(&kept.message, &read), ERR_OK);
    assert_true(read.paused);
    assert_int_equal(read.since_ms, 1);
    assert_int_equal(read.due_ms, 2);
    assert_int_equal(read.run_ms, UINT64_MAX);
    assert_int_equal(read.run_count, 4);
    assert_int_equal(read.fail_count, 5);
    kept.pairs[1].value = STR("x");
    assert_int_equal(schedule_message_read(&kept.message, &read), ERR_CORRUPT);
    kept.pairs[1].key = STR("of-a-newer-program");
    assert_int_equal(schedule_message_read(&kept.message, &read), ERR_OK);
    kept.message.url = STR("http://h/");
    assert_int_equal(schedule_message_read(&kept.message, &read), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_definition_is_a_push_and_when),
        cmocka_unit_test(what_is_no_definition_is_refused),
        cmocka_unit_test(a_definition_has_limits),
        cmocka_unit_test(ids_are_names_that_do_not_begin_with_a_dot),
        cmocka_unit_test(a_kept_message_is_read_as_it_was_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
