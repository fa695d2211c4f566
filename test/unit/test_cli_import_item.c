/* Tests of cli/import_item and cli/import_settings: what is stored, in the
 * words of the API.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/import_item.h"

#include "cli/import_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check(struct buf *text, const char *wanted)
{
    buf_append_byte(text, '\0');
    assert_false(text->failed);
    assert_string_equal(text->data, wanted);
    buf_fini(text);
}

static void test_a_form_is_what_its_receiver_gets(void **state)
{
    (void)state;
    struct buf text = {0};
    const struct pair fields[] = {
        {STR("message"), STR("hello 0 & \xc3\xa9+")},
        {STR("a"), STR("second")},
        {STR("z"), STR("")},
        {STR("a"), STR("first")},
    };
    const struct message message = {
        .url = STR("http://127.0.0.1:9000/sink"),
        .kind = MESSAGE_KIND_FORM,
        .field_count = 4,
        .fields = fields,
    };
    import_item_form(&text, STR("t"), &message);
    check(&text, "a=second&a=first&message=hello+0+%26+%C3%A9%2B&topic=t"
                 "&url=http%3A%2F%2F127.0.0.1%3A9000%2Fsink&z=");
}

static void test_a_message_is_an_item(void **state)
{
    (void)state;
    struct buf text = {0};
    const struct pair headers[] = {{STR("X-A"), STR("\"b\"")}};
    const struct message_options options = {
        .key = STR("k"),
        .dedup_id = STR("sha256:no id of its own"),
        .expires_at_ms = 5000,
        .retries = 0,
        .priority = 9,
    };
    struct message message = {
        .url = STR("http://x/"),
        .kind = MESSAGE_KIND_RAW,
        .body = STR("\xff\0"),
        .header_count = 1,
        .headers = headers,
        .timeout_ms = 3000,
        .options = &options,
    };
    import_item_write(&text, STR("t"), &message, 2000);
    check(&text,
          "{\"topic\":\"t\",\"url\":\"http://x/\",\"timeout\":\"3000ms\","
          "\"key\":\"k\",\"priority\":\"9\",\"retries\":\"0\","
          "\"ttl\":\"3000ms\",\"headers\":{\"X-A\":\"\\\"b\\\"\"},"
          "\"message_base64\":\"/wA=\"}\n");
    /* What has expired, expires again. */
    message.header_count = 0;
    message.timeout_ms = 0;
    message.body = STR("x");
    import_item_write(&text, STR("t"), &message, 6000);
    check(&text, "{\"topic\":\"t\",\"url\":\"http://x/\","
                 "\"key\":\"k\",\"priority\":\"9\",\"retries\":\"0\","
                 "\"ttl\":\"1ms\",\"headers\":{},\"message\":\"x\"}\n");
}

static void test_settings_have_their_names(void **state)
{
    (void)state;
    struct buf text = {0};
    bool paused = import_settings_write(
        &text, STR("paused 1\norder key\ntimeout_ms 3000\nexpired_drop 1\n"
                   "dedup_content 2\ndiscard_old 0\nshare_ppm 125000\n"
                   "headers X-A: a \\\\ b\\nX-B: c\nfilter a = \"b\"\n"
                   "dedup_used 1\nreplay_from 7\n"));
    assert_true(paused);
    check(&text, ",\"order\":\"key\",\"timeout\":\"3000ms\","
                 "\"expired\":\"drop\",\"dedup\":\"cloudevents\","
                 "\"discard\":\"new\",\"share\":\"12.5000%\","
                 "\"headers\":{\"X-A\":\"a \\\\ b\",\"X-B\":\"c\"},"
                 "\"filter\":\"a = \\\"b\\\"\"");
    assert_false(import_settings_write(&text, STR("")));
    check(&text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_form_is_what_its_receiver_gets),
        cmocka_unit_test(test_a_message_is_an_item),
        cmocka_unit_test(test_settings_have_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
