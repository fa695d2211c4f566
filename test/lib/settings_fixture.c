/* Settings that are all set, and settings compared.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/settings_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

void settings_fixture_fill(struct settings *settings)
{
    assert_int_equal(settings_read(STR("paused 1\n"
                                       "kind replay\n"
                                       "url http://h/a\n"
                                       "filter key = \"a\\\\b\"\n"
                                       "headers X-A: b\\nX-B: c\\n\n"
                                       "share_ppm 125000\n"
                                       "hold no\n"
                                       "order key\n"
                                       "concurrency 7\n"
                                       "endpoint_concurrency 3\n"
                                       "timeout_ms 1500\n"
                                       "retries 5\n"
                                       "retry_schedule 5s,1m\n"
                                       "permanent_status 400,410-499\n"
                                       "rate 100/1s\n"
                                       "flow_rate 5/1m\n"
                                       "expired_drop 1\n"
                                       "dedup_window_ms 60000\n"
                                       "dedup_content 1\n"
                                       "secret shop,shop-2\n"
                                       "batch 100,50ms\n"
                                       "batch_format json\n"
                                       "cloudevents structured\n"
                                       "cloudevents_type a.b\n"
                                       "cloudevents_source urn:x\n"
                                       "retain_age_ms 1\n"
                                       "retain_bytes 2\n"
                                       "retain_count 3\n"
                                       "discard_old 1\n"
                                       "replay_from 4\n"
                                       "replay_end 18446744073709551615\n"
                                       "replay_failed 1\n"
                                       "replay_pace 1\n"),
                                   settings),
                     ERR_OK);
}

char *settings_fixture_dump(const struct settings *settings)
{
    struct buf text = {0};
    struct buf stored = {0};

    settings_json(settings, SETTINGS_TOPIC, &text);
    buf_append_byte(&text, '\n');
    settings_json(settings, SETTINGS_SUBSCRIPTION, &text);
    buf_append_byte(&text, '\n');
    assert_int_equal(settings_write(settings, &stored), ERR_OK);
    buf_append_str(&text, buf_str(&stored));
    buf_append_byte(&text, '\0');
    buf_fini(&stored);
    assert_int_equal(buf_err(&text), ERR_OK);
    return text.data;
}

void settings_fixture_same(const struct settings *left,
                           const struct settings *right)
{
    char *one = settings_fixture_dump(left);
    char *other = settings_fixture_dump(right);

    assert_string_equal(one, other);
    free(one);
    free(other);
}
