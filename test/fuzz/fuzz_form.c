/* What was parsed as a form, escaped and parsed again is the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "http/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void escape(struct buf *to, const struct form *form)
{
    for (uint32_t i = 0; i < form->field_count; i++) {
        if (i > 0) {
            buf_append_byte(to, '&');
        }
        form_escape(to, form->fields[i].name);
        buf_append_byte(to, '=');
        form_escape(to, form->fields[i].value);
    }
    CHECK(buf_err(to) == ERR_OK);
}

static void check_same(const struct form *left, const struct form *right)
{
    CHECK(left->field_count == right->field_count);
    for (uint32_t i = 0; i < left->field_count; i++) {
        CHECK(str_equal(left->fields[i].name, right->fields[i].name));
        CHECK(str_equal(left->fields[i].value, right->fields[i].value));
        const struct form_field *found = form_find(left, left->fields[i].name);
        CHECK(found != NULL && found <= &left->fields[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct form first;
    static struct form second;
    struct buf text = {0};
    struct str input = {(const char *)data, size};
    size_t half = size / 2;
    /* In two halves, as a query string and a body come. */
    enum err err = form_parse_urlencoded(&first, str_cut(input, 0, half));
    uint32_t count = first.field_count;
    CHECK(err == ERR_OK || count == 0);
    err = form_parse_urlencoded(&first, str_cut(input, half, size));
    CHECK(err == ERR_OK || first.field_count == count);
    escape(&text, &first);
    CHECK(form_parse_urlencoded(&second, buf_str(&text)) == ERR_OK);
    check_same(&first, &second);
    buf_fini(&text);
    form_fini(&first);
    form_fini(&second);
    return 0;
}
