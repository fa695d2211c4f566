/* A file of definitions is read or refused with words, never otherwise; one
 * that is read, written and read again says the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "cli/apply_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_file(const struct apply_file *file, struct buf *to)
{
    for (size_t index = 0; index < file->count; index++) {
        const struct apply_section *section = &file->sections[index];
        const char *name = NULL;
        json_t *value = NULL;
        apply_file_write_head(to, section->kind,
                              section->kind == APPLY_SUBSCRIPTION
                                  ? json_string_value(section->topic)
                                  : NULL,
                              json_string_value(section->name));
        json_object_foreach(section->settings, name, value)
        {
            buf_append_format(to, "%s = ", name);
            apply_file_write_value(to, json_string_value(value));
            buf_append_byte(to, '\n');
        }
    }
}

static void check_same(const struct apply_file *one,
                       const struct apply_file *other)
{
    CHECK(one->count == other->count);
    for (size_t index = 0; index < one->count; index++) {
        const struct apply_section *left = &one->sections[index];
        const struct apply_section *right = &other->sections[index];
        CHECK(left->kind == right->kind);
        CHECK(json_equal(left->name, right->name));
        CHECK(json_equal(left->settings, right->settings));
        CHECK(left->topic == NULL || json_equal(left->topic, right->topic));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct apply_file file;
    struct apply_file again;
    struct buf errors = {0};
    struct buf text = {0};

    enum err err = apply_file_parse("f", (struct str){(const char *)data, size},
                                    &file, &errors);
    CHECK((err == ERR_OK) == (errors.size == 0));
    if (err == ERR_OK) {
        write_file(&file, &text);
        CHECK(apply_file_parse("f", buf_str(&text), &again, &errors) == ERR_OK);
        check_same(&file, &again);
        apply_file_fini(&again);
    }
    apply_file_fini(&file);
    buf_fini(&text);
    buf_fini(&errors);
    return 0;
}
