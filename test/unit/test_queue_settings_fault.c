/* Tests of queue/settings: whatever allocation fails, settings are as they
 * were, and it is told.
 *
 * Linked with --wrap for malloc, realloc, strdup and strndup, so that the n-th
 * one fails.
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

#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

static int calls_until_failure = -1; /* -1: none fails */

static bool this_one_fails(void)
{
    if (calls_until_failure < 0) {
        return false;
    }
    return calls_until_failure-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return this_one_fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return this_one_fails() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text)
{
    return this_one_fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return this_one_fails() ? NULL : __real_strndup(text, size);
}

static void copy_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct settings from;
    struct settings to;
    struct settings before;
    int calls = 0;

    settings_init(&from);
    settings_init(&to);
    settings_init(&before);
    settings_fixture_fill(&from);
    assert_int_equal(settings_read(STR("secret a\n"), &to), ERR_OK);
    assert_int_equal(settings_read(STR("secret a\n"), &before), ERR_OK);
    for (;; calls++) {
        calls_until_failure = calls;
        enum err err = settings_copy(&to, &from);
        calls_until_failure = -1;
        if (err == ERR_OK) {
            break;
        }
        assert_int_equal(err, ERR_NOMEM);
        settings_fixture_same(&to, &before);
    }
    assert_int_equal(calls, SETTINGS_FIXTURE_TEXTS);
    settings_fixture_same(&to, &from);
    settings_fini(&from);
    settings_fini(&to);
    settings_fini(&before);
}

/* Set until it goes well; returns how often it did not. */
static int sweep_set(const char *name, const char *value)
{
    struct settings settings;
    struct settings before;
    struct buf detail = {0};
    int calls = 0;

    settings_init(&settings);
    settings_init(&before);
    settings_fixture_fill(&settings);
    settings_fixture_fill(&before);
    for (;; calls++) {
        calls_until_failure = calls;
        enum err err = settings_set(&settings, SETTINGS_SUBSCRIPTION,
                                    str_from(name), str_from(value), &detail);
        calls_until_failure = -1;
        assert_int_equal(detail.size, 0);
        if (err == ERR_OK) {
            break;
        }
        assert_int_equal(err, ERR_NOMEM);
        settings_fixture_same(&settings, &before);
    }
    settings_fini(&settings);
    settings_fini(&before);
    return calls;
}

static void set_without_memory_changes_nothing(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"retry_schedule", "1s,2s"}, {"permanent_status", "404"},
        {"secret", "a,b"},           {"url", "http://other/"},
        {"filter", "label = \"x\""}, {"headers", "{\"X-\\u0041\":\"\\u00e9\"}"},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(sweep_set(texts[i][0], texts[i][1]) >= 2);
    }
    assert_int_equal(sweep_set("retries", "3"), 0);
    assert_int_equal(sweep_set("secret", ""), 0);
}

static void refusal_without_memory_for_words_is_one(void **state)
{
    (void)state;
    struct settings settings;
    struct buf detail = {0};

    settings_init(&settings);
    calls_until_failure = 0;
    enum err err = settings_set(&settings, SETTINGS_TOPIC, STR("paused"),
                                STR("perhaps"), &detail);
    calls_until_failure = -1;
    assert_int_equal(err, ERR_INVALID);
    assert_true(detail.failed);
    buf_fini(&detail);
}

static void store_without_memory_is_told(void **state)
{
    (void)state;
    struct settings settings;
    struct settings read;
    struct buf text = {0};
    int writes = 0;
    int reads = 0;
    enum err err = ERR_NOMEM;

    settings_init(&settings);
    settings_init(&read);
    settings_fixture_fill(&settings);
    for (; err != ERR_OK; writes++) {
        buf_fini(&text);
        calls_until_failure = writes;
        err = settings_write(&settings, &text);
        calls_until_failure = -1;
        assert_true(err == ERR_OK || err == ERR_NOMEM);
    }
    for (err = ERR_NOMEM; err != ERR_OK; reads++) {
        calls_until_failure = reads;
        err = settings_read(buf_str(&text), &read);
        calls_until_failure = -1;
        assert_true(err == ERR_OK || err == ERR_NOMEM);
    }
    assert_true(writes > 2);
    assert_true(reads > SETTINGS_FIXTURE_TEXTS);
    settings_fixture_same(&settings, &read);
    buf_fini(&text);
    settings_fini(&settings);
    settings_fini(&read);
}

static void apply_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct settings_change change;
    struct settings settings;
    struct settings before;
    struct buf detail = {0};
    int calls = 0;

    settings_change_init(&change);
    settings_init(&settings);
    settings_init(&before);
    settings_fixture_fill(&settings);
    settings_fixture_fill(&before);
    assert_int_equal(settings_change_set(&change, SETTINGS_TOPIC, STR("secret"),
                                         STR("new"), &detail),
                     ERR_OK);
    for (;; calls++) {
        calls_until_failure = calls;
        enum err err = settings_change_apply(&change, &settings);
        calls_until_failure = -1;
        if (err == ERR_OK) {
            break;
        }
        assert_int_equal(err, ERR_NOMEM);
        settings_fixture_same(&settings, &before);
    }
    assert_int_equal(calls, SETTINGS_FIXTURE_TEXTS + 1);
    assert_string_equal(settings.secret, "new");
    settings_change_fini(&change);
    settings_fini(&settings);
    settings_fini(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_without_memory_changes_nothing),
        cmocka_unit_test(set_without_memory_changes_nothing),
        cmocka_unit_test(refusal_without_memory_for_words_is_one),
        cmocka_unit_test(store_without_memory_is_told),
        cmocka_unit_test(apply_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
