/* Tests of admin/api_settings: settings of a topic by name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static enum err
set(struct topic_settings *settings, const char *name, const char *value)
{
    struct buf detail = {0};
    enum err err =
        api_settings_set(settings, str_from(name), str_from(value), &detail);

    assert_int_equal(detail.size > 0, err != ERR_OK);
    buf_fini(&detail);
    return err;
}

static void each_setting_is_set_by_its_name(void **state)
{
    (void)state;
    struct topic_settings settings = {0};

    assert_int_equal(set(&settings, "paused", "yes"), ERR_OK);
    assert_int_equal(set(&settings, "timeout", "1500ms"), ERR_OK);
    assert_int_equal(set(&settings, "retain_age", " 7d "), ERR_OK);
    assert_int_equal(set(&settings, "retain_bytes", "2g"), ERR_OK);
    assert_int_equal(set(&settings, "retain_count", "1000"), ERR_OK);
    assert_int_equal(set(&settings, "discard", "old"), ERR_OK);
    assert_true(settings.paused);
    assert_int_equal(settings.timeout_ms, 1500);
    assert_int_equal(settings.retention.age_ms, UINT64_C(604800000));
    assert_int_equal(settings.retention.bytes, UINT64_C(2147483648));
    assert_int_equal(settings.retention.count, 1000);
    assert_true(settings.retention.discard_old);
    assert_int_equal(set(&settings, "discard", "new"), ERR_OK);
    assert_int_equal(set(&settings, "paused", "false"), ERR_OK);
    assert_false(settings.retention.discard_old);
    assert_false(settings.paused);
}

static void bad_values_are_refused_and_change_nothing(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"paused", "perhaps"},
        {"paused", ""},
        {"timeout", "soon"},
        {"timeout", "-1"},
        {"timeout", "60d"},
        {"retain_age", "1w"},
        {"retain_bytes", "many"},
        {"retain_count", "1k"},
        {"discard", "none"},
        {"colour", "blue"},
        {"", ""},
        {"Paused", "yes"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct topic_settings settings;
        struct topic_settings before;
        memset(&settings, 0x11, sizeof(settings));
        settings.paused = true;
        settings.retention.discard_old = true;
        memcpy(&before, &settings, sizeof(before));
        assert_int_equal(set(&settings, bad[i][0], bad[i][1]), ERR_INVALID);
        assert_memory_equal(&settings, &before, sizeof(before));
    }
}

static void refusal_names_the_setting_and_what_it_takes(void **state)
{
    (void)state;
    struct topic_settings settings = {0};
    struct buf detail = {0};

    assert_int_equal(
        api_settings_set(&settings, STR("discard"), STR("all"), &detail),
        ERR_INVALID);
    assert_true(str_equal(buf_str(&detail), STR("discard must be new or old")));
    buf_fini(&detail);
}

static void settings_as_json_are_exact_and_short(void **state)
{
    (void)state;
    struct buf text = {0};
    struct topic_settings settings = {
        .paused = true,
        .timeout_ms = 90000,
        .retention = {.age_ms = 172800000, .bytes = 5, .discard_old = true},
    };

    api_settings_json(&settings, &text);
    assert_true(str_equal(
        buf_str(&text),
        STR("{\"paused\":true,\"timeout\":\"90s\",\"retain_age\":\"2d\","
            "\"retain_bytes\":5,\"retain_count\":0,\"discard\":\"old\"}")));
    buf_clear(&text);
    settings = (struct topic_settings){.timeout_ms = 1};
    api_settings_json(&settings, &text);
    assert_true(str_equal(
        buf_str(&text),
        STR("{\"paused\":false,\"timeout\":\"1ms\",\"retain_age\":\"0s\","
            "\"retain_bytes\":0,\"retain_count\":0,\"discard\":\"new\"}")));
    buf_fini(&text);
}

static void names_end_after_the_last_and_each_is_known(void **state)
{
    (void)state;
    unsigned count = 0;

    while (api_settings_name(count) != NULL) {
        struct topic_settings settings = {0};
        const char *name = api_settings_name(count);
        const char *value = strcmp(name, "discard") == 0 ? "old" : "0";
        assert_int_equal(set(&settings, name, value), ERR_OK);
        count++;
    }
    assert_int_equal(count, 6);
    assert_null(api_settings_name(1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_setting_is_set_by_its_name),
        cmocka_unit_test(bad_values_are_refused_and_change_nothing),
        cmocka_unit_test(refusal_names_the_setting_and_what_it_takes),
        cmocka_unit_test(settings_as_json_are_exact_and_short),
        cmocka_unit_test(names_end_after_the_last_and_each_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
