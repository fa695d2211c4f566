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
    view.state = DELIVERY_OPEN;
    assert_because(&view, "waits, since the breaker of http://127.0.0.1:9000 "
                          "is open until 2026-11-23T23:06:26.500Z: 1 attempt "
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
    view.endpoint_in_flight = 3;
    view.endpoint_in_flight_max = 4;
    assert_because(&view, "waits for its turn at its target: 3 in flight of 4");
    view.limit = (struct settings_rate){.count = 5, .period_ms = 60000};
    assert_because(&view, "waits for its turn at its target: 3 in flight of 4, "
                          "which is released at 5/1m");
    view.state = DELIVERY_OPEN;
    assert_because(&view, "waits, since the breaker of its target is open");
    view.state = DELIVERY_CROWDED;
    assert_because(&view, "waits, since as many messages as may be are on "
                          "their way to its target");
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

    const struct topic topic = {.store = &stored}; /* nobody delivers it */

    assert_int_equal(deliverer_lag(&topic), 4);
    stored.cursor.range_count = 0;
    assert_int_equal(deliverer_lag(&topic), 7);
    stored.cursor.next = 12;
    assert_int_equal(deliverer_lag(&topic), 0);
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

static void message_is_shown_with_what_it_asks_for(void **state)
{
    (void)state;
    struct topic topic = {.id_prefix = "msg_00000000000000ab-"};
    struct record record = {
        .message = {.url = STR("http://h/p"), .body = STR("")},
        .options = {.key = STR("k\"1"),
                    .label = STR("l"),
                    .retry_schedule = STR("5s,1m"),
                    .dedup_id = STR("d"),
                    .collapse = STR("c"),
                    .flow_key = STR("f"),
                    .callback = STR("http://h/c"),
                    .failure_callback = STR("http://h/f"),
                    .id = STR("msg_1-5"),
                    .topic = STR("orders"),
                    .dead = STR(" {\"reason\": \"expired\"} "),
                    .not_before_ms = 1795475186500,
                    .expires_at_ms = 1795475187000,
                    .retries = 0,
                    .priority = 9},
    };
    struct buf text = {0};

    record.message.kind = MESSAGE_KIND_RAW;
    record.message.options = &record.options;
    api_render_message(&topic, &record, &text);
    buf_append_byte(&text, '\0');
    assert_string_equal(
        text.data,
        "\"seq\":0,\"id\":\"msg_1-5\",\"pushed_at\":"
        "\"1970-01-01T00:00:00.000Z\",\"url\":\"http://h/p\",\"method\":"
        "\"POST\",\"size\":0,\"topic\":\"orders\",\"key\":\"k\\\"1\","
        "\"priority\":9,\"not_before\":\"2026-11-23T23:06:26.500Z\","
        "\"expires_at\":\"2026-11-23T23:06:27.000Z\",\"retries\":0,"
        "\"retry_schedule\":\"5s,1m\",\"label\":\"l\",\"dedup_id\":\"d\","
        "\"collapse\":\"c\",\"flow_key\":\"f\",\"callback\":"
        "\"http://h/c\",\"failure_callback\":\"http://h/f\",\"dead\":"
        "{\"reason\": \"expired\"},\"headers\":[],\"kind\":\"raw\","
        "\"content_type\":\"\",\"body\":\"\"");
    buf_clear(&text);
    record.options = (struct message_options){.retries = MESSAGE_RETRIES_UNSET,
                                              .dead = STR("{\"a\":1} x")};
    api_render_message(&topic, &record, &text);
    buf_append_byte(&text, '\0');
    assert_string_equal(
        text.data,
        "\"seq\":0,\"id\":\"msg_00000000000000ab-0\",\"pushed_at\":"
        "\"1970-01-01T00:00:00.000Z\",\"url\":\"http://h/p\",\"method\":"
        "\"POST\",\"size\":0,\"dead\":\"{\\\"a\\\":1} x\",\"headers\":[],"
        "\"kind\":\"raw\",\"content_type\":\"\",\"body\":\"\"");
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(because_says_what_is_waited_for_and_until_when),
        cmocka_unit_test(because_without_failures_is_short),
        cmocka_unit_test(lag_leaves_out_what_was_acknowledged_above_the_cursor),
        cmocka_unit_test(message_is_shown_with_what_is_not_text_in_base64),
        cmocka_unit_test(message_is_shown_with_what_it_asks_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
