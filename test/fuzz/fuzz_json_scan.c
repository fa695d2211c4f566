/* Fuzz base/json_scan beside jansson: both take the same texts.
 *
 * They are known to differ in ways that are let pass: jansson limits nesting to
 * 2,048 where we stop at 64, refuses numbers that do not fit, and takes a NUL
 * byte for the end of the text.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/json_scan.h"

#include <jansson.h>
#include <stdlib.h>

/* Read all that is in a value, as callers do. */
static void walk(const struct json_scan_value *value)
{
    struct json_scan_value name;
    struct json_scan_value item;

    if (value->type == JSON_SCAN_OBJECT) {
        struct json_scan scan = json_scan_enter(value);
        enum err err = ERR_OK;
        while (err == ERR_OK) {
            err = json_scan_member(&scan, &name, &item);
        }
        CHECK(err == ERR_NOT_FOUND);
    } else if (value->type == JSON_SCAN_ARRAY) {
        struct json_scan scan = json_scan_enter(value);
        enum err err = ERR_OK;
        while (err == ERR_OK) {
            err = json_scan_element(&scan, &item);
        }
        CHECK(err == ERR_NOT_FOUND);
    }
}

/* A decoded string must be what jansson made of it. */
static void compare_string(const struct json_scan_value *value,
                           const json_t *reference)
{
    struct buf memory = {0};
    struct str text;

    CHECK(buf_reserve(&memory, value->text.size) == ERR_OK);
    CHECK(json_scan_string(value, &memory, &text) == ERR_OK);
    CHECK(str_equal(text, (struct str){json_string_value(reference),
                                       json_string_length(reference)}));
    buf_fini(&memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct json_scan scan = json_scan_of(text);
    struct json_scan_value value;
    struct json_scan_value more;
    json_error_t error;

    bool ours = json_scan_next(&scan, &value) == ERR_OK &&
                json_scan_next(&scan, &more) == ERR_NOT_FOUND;
    if (ours) {
        walk(&value);
    }
    if (str_find(text, '\0') < size) {
        return 0;
    }
    json_t *reference = json_loadb(
        (const char *)data, size,
        JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (reference != NULL) {
        /* Ours may refuse for depth alone, and that is seen by its size. */
        CHECK(ours || size > 2 * JSON_SCAN_DEPTH_MAX);
        if (ours && json_is_string(reference)) {
            compare_string(&value, reference);
        }
    } else if (ours) {
        /* A lone surrogate is well formed to us until it is decoded. */
        enum json_error_code code = json_error_code(&error);
        CHECK(code == json_error_numeric_overflow ||
              code == json_error_invalid_syntax ||
              code == json_error_null_character ||
              code == json_error_null_byte_in_key);
    }
    json_decref(reference);
    return 0;
}
