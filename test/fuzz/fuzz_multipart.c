/* What was parsed as multipart, written and parsed again is the same. The
 * content type is the first line of the input, the body the rest.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "http/form.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_name(struct buf *to, struct str name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '"' || name.data[i] == '\\') {
            buf_append_byte(to, '\\');
        }
        buf_append_byte(to, name.data[i]);
    }
}

static void
write_parts(struct buf *to, const struct form *form, const char *boundary)
{
    for (uint32_t i = 0; i < form->field_count; i++) {
        buf_append_format(to, "--%s\r\n", boundary);
        buf_append_c(to, "Content-Disposition: form-data; name=\"");
        write_name(to, form->fields[i].name);
        buf_append_c(to, "\"\r\n\r\n");
        buf_append_str(to, form->fields[i].value);
        buf_append_c(to, "\r\n");
    }
    buf_append_format(to, "--%s--\r\n", boundary);
    CHECK(buf_err(to) == ERR_OK);
}

/* Write and read again, when the boundary stands nowhere in the values. */
static void check_again(const struct form *form, struct str input)
{
    static struct form again;
    static const char boundary[] = "------------------------0f1e2d3c4b5a6978";
    struct buf text = {0};
    if (memmem(input.data, input.size, boundary, strlen(boundary)) != NULL) {
        return;
    }
    write_parts(&text, form, boundary);
    CHECK(form_parse_multipart(&again,
                               STR("multipart/form-data; boundary=---------"
                                   "---------------0f1e2d3c4b5a6978"),
                               buf_str(&text)) == ERR_OK);
    CHECK(again.field_count == form->field_count);
    for (uint32_t i = 0; i < form->field_count; i++) {
        CHECK(str_equal(again.fields[i].name, form->fields[i].name));
        CHECK(str_equal(again.fields[i].value, form->fields[i].value));
    }
    buf_fini(&text);
    form_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct form form;
    struct str input = {(const char *)data, size};
    size_t line = str_find(input, '\n');
    struct str type = str_cut(input, 0, line);
    struct str body = str_cut(input, line + 1, size);
    enum err err = form_parse_multipart(&form, type, body);
    CHECK(err == ERR_OK || form.field_count == 0);
    if (err == ERR_OK) {
        check_again(&form, body);
    }
    form_fini(&form);
    return 0;
}
