/* Any bytes become valid JSON text, and numbers are read as they are written.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/str.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void escape(struct str text)
{
    struct buf buf = {0};
    buf_append_byte(&buf, '"');
    buf_append_json(&buf, text);
    buf_append_byte(&buf, '"');
    CHECK(buf_err(&buf) == ERR_OK);
    json_t *value =
        json_loadb(buf.data, buf.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    CHECK(value != NULL);
    CHECK(json_is_string(value));
    json_decref(value);
    buf_fini(&buf);
}

/* What was read as a number is, written again, what was read. */
static void read_number(struct str text)
{
    uint64_t value = 0;
    if (str_to_u64(text, &value) != ERR_OK) {
        return;
    }
    while (text.size > 1 && text.data[0] == '0') {
        text = str_cut(text, 1, text.size);
    }
    struct buf buf = {0};
    buf_append_u64(&buf, value);
    CHECK(str_equal(buf_str(&buf), text));
    buf_fini(&buf);
}

static void read_with_units(struct str text)
{
    const uint64_t untouched = 4711;
    uint64_t value = untouched;
    if (str_to_duration_ms(text, &value) != ERR_OK) {
        CHECK(value == untouched);
    }
    value = untouched;
    if (str_to_size(text, &value) != ERR_OK) {
        CHECK(value == untouched);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    escape(text);
    read_number(text);
    read_with_units(text);
    struct str trimmed = str_trim(text);
    CHECK(trimmed.size <= size);
    CHECK(str_find(text, ':') <= size);
    return 0;
}
