/* Any text of the store is read or refused, and what was read is written and
 * read again as the same; any "name value" is taken or refused with a word, and
 * what was taken is shown in a way that is taken again as the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/json_scan.h"
#include "queue/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct settings *left,
                       const struct settings *right)
{
    struct buf one = {0};
    struct buf other = {0};

    enum err err = settings_write(left, &one);
    CHECK(err == ERR_OK || err == ERR_TOO_LARGE);
    CHECK(settings_write(right, &other) == err);
    CHECK(str_equal(buf_str(&one), buf_str(&other)));
    buf_fini(&one);
    buf_fini(&other);
}

/* What is written comes back; so does a copy. */
static void check_store(const struct settings *settings)
{
    struct settings again;
    struct buf text = {0};

    settings_init(&again);
    enum err err = settings_write(settings, &text);
    CHECK(err == ERR_OK || err == ERR_TOO_LARGE);
    CHECK(settings_read(buf_str(&text), &again) == ERR_OK);
    check_same(settings, &again);
    settings_fini(&again);
    CHECK(settings_copy(&again, settings) == ERR_OK);
    check_same(settings, &again);
    settings_fini(&again);
    buf_fini(&text);
}

/* Set each member of what is shown. */
static void give_back(enum settings_scope scope,
                      const struct json_scan_value *object,
                      struct settings *settings)
{
    struct json_scan members = json_scan_enter(object);
    struct json_scan_value name;
    struct json_scan_value value;

    while (json_scan_member(&members, &name, &value) == ERR_OK) {
        struct str name_text = str_cut(name.text, 1, name.text.size - 2);
        struct str text = value.text;
        struct buf memory = {0};
        struct buf detail = {0};
        if (value.type == JSON_SCAN_STRING) {
            CHECK(buf_reserve(&memory, text.size) == ERR_OK);
            CHECK(json_scan_string(&value, &memory, &text) == ERR_OK);
        }
        CHECK(settings_set(settings, scope, name_text, text, &detail) ==
              ERR_OK);
        buf_fini(&memory);
        buf_fini(&detail);
    }
}

/* It is shown as JSON, which is taken back if it came from there. */
static void check_shown(const struct settings *settings,
                        enum settings_scope scope,
                        bool was_set)
{
    struct buf text = {0};
    struct json_scan_value object;
    struct settings again;

    settings_json(settings, scope, &text);
    struct json_scan scan = json_scan_of(buf_str(&text));
    CHECK(json_scan_next(&scan, &object) == ERR_OK);
    CHECK(json_scan_next(&scan, &object) == ERR_NOT_FOUND);
    if (was_set) {
        settings_init(&again);
        give_back(scope, &object, &again);
        check_same(settings, &again);
        settings_fini(&again);
    }
    buf_fini(&text);
}

static void read_store(struct str text)
{
    struct settings settings;

    settings_init(&settings);
    enum err err = settings_read(text, &settings);
    CHECK(err == ERR_OK || err == ERR_CORRUPT);
    check_store(&settings);
    check_shown(&settings, SETTINGS_TOPIC, false);
    check_shown(&settings, SETTINGS_SUBSCRIPTION, false);
    settings_fini(&settings);
}

static void set(enum settings_scope scope, struct str name, struct str value)
{
    struct settings settings;
    struct buf detail = {0};

    settings_init(&settings);
    enum err err = settings_set(&settings, scope, name, value, &detail);
    CHECK(err == ERR_OK || err == ERR_INVALID);
    CHECK((err == ERR_OK) == (detail.size == 0));
    check_store(&settings);
    check_shown(&settings, scope, true);
    settings_fini(&settings);
    buf_fini(&detail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    size_t blank = str_find(text, ' ');
    struct str name = str_cut(text, 0, blank);
    struct str value = str_cut(text, blank + 1, size);

    read_store(text);
    set(SETTINGS_TOPIC, name, value);
    set(SETTINGS_SUBSCRIPTION, name, value);
    return 0;
}
