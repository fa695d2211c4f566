/* Tests of admin/api_render: messages as JSON, and why one waits, in words.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_render.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_because(const struct delivery_view *view, const char *wanted)
{
    struct buf text = {0};

    api_render_because(view, &text);
    buf_append_byte(&text, '\0');
    assert_string_equal(text.data, wanted);
    buf_fini(&text);
}

static void because_says_what_is_waited_for_and_until_when(void **state)
{
    (void)state;
    struct delivery_view view = {
        .state = DELIVERY_BACKOFF,
        .until_ms = 1795475186500,
        .attempts = 3,
        .last_class = "http_5xx",
        .last_status = 503,
        .last_detail = "busy",
        .endpoint = "http://127.0.0.1:9000",
    };

    assert_because(&view, "is tried again at 2026-11-23T23:06:26.500Z: 3 "
                          "attempts failed, the last with http_5xx 503 (busy)");
    view.state = DELIVERY_HELD;
    view.attempts = 1;
    view.last_detail[0] = '\0';
    assert_because(&view, "waits, since http://127.0.0.1:9000 asked for a "
                          "pause until 2026-11-23T23:06:26.500Z: 1 attempt "
                          "failed with http_5xx 503");
    view.state = DELIVERY_SENDING;
    view.attempts = 2;
    view.last_class = NULL;
    assert_because(&view, "is being sent to http://127.0.0.1:9000: 2 attempts "
                          "failed");
}

static void because_without_failures_is_short(void **state)
{
    (void)state;
    struct delivery_view view = {.state = DELIVERY_READY};

    assert_because(&view, "is about to be sent");
    view.state = DELIVERY_WAITING;
    assert_because(&view, "waits for its turn at its target");
    view.state = DELIVERY_PAUSED;
    assert_because(&view, "waits, since the topic is paused");
    view.state = DELIVERY_STOPPED;
    assert_because(&view, "waits, since the server is stopping");
    view.state = DELIVERY_IDLE;
    assert_because(&view, "is delivered");
}

static void lag_leaves_out_what_was_acknowledged_above_the_cursor(void **state)
{
    (void)state;
    const struct store_range ranges[] = {{6, 8}, {9, 10}};
    struct store_topic stored = {
        .bounds = {.oldest = 0, .end = 12},
        .cursor = {.next = 5, .range_count = 2, .ranges = ranges},
    };

    assert_int_equal(api_render_lag(&stored), 4);
    stored.cursor.range_count = 0;
    assert_int_equal(api_render_lag(&stored), 7);
    stored.cursor.next = 12;
    assert_int_equal(api_render_lag(&stored), 0);
}

static void message_is_shown_with_what_is_not_text_in_base64(void **state)
{
    (void)state;
    struct topic topic = {.id_prefix = "msg_00000000000000ab-"};
    const struct pair headers[] = {{STR("X-A"), STR("\"1\"")}};
    struct record record = {
        .sequence = 7,
        .size = 128,
        .message = {.url = STR("http://h/p"),
                    .kind = MESSAGE_KIND_RAW,
                    .header_count = 1,
                    .headers = headers,
                    .body = STR("\xff\x00"),
                    .content_type = STR("image/x"),
                    .pushed_at_ms = 1795475186500},
    };
    struct buf text = {0};

    api_render_message(&topic, &record, &text);
    buf_append_byte(&text, '\0');
    assert_string_equal(
        text.data,
        "\"seq\":7,\"id\":\"msg_00000000000000ab-7\",\"pushed_at\":"
        "\"2026-11-23T23:06:26.500Z\",\"url\":\"http://h/p\",\"method\":"
        "\"POST\",\"size\":128,\"headers\":[{\"name\":\"X-A\",\"value\":"
        "\"\\\"1\\\"\"}],\"kind\":\"raw\",\"content_type\":\"image/x\","
        "\"body_base64\":\"/wA=\"");
    buf_clear(&text);
    record.message.kind = MESSAGE_KIND_FORM;
    record.message.content_type = STR("");
    record.message.field_count = 1;
    record.message.fields = headers;
    record.message.header_count = 0;
    record.message.method = STR("PUT");
    record.message.timeout_ms = 9;
    api_render_message(&topic, &record, &text);
    buf_append_byte(&text, '\0');
    assert_string_equal(
        text.data,
        "\"seq\":7,\"id\":\"msg_00000000000000ab-7\",\"pushed_at\":"
        "\"2026-11-23T23:06:26.500Z\",\"url\":\"http://h/p\",\"method\":"
        "\"PUT\",\"size\":128,\"timeout_ms\":9,\"headers\":[],\"kind\":"
        "\"form\",\"content_type\":\"application/x-www-form-urlencoded\","
        "\"fields\":[{\"name\":\"X-A\",\"value\":\"\\\"1\\\"\"}]");
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(because_says_what_is_waited_for_and_until_when),
        cmocka_unit_test(because_without_failures_is_short),
        cmocka_unit_test(lag_leaves_out_what_was_acknowledged_above_the_cursor),
        cmocka_unit_test(message_is_shown_with_what_is_not_text_in_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
