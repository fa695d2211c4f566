/* A file of secrets is read or refused, line by line; what is in it can be
 * found, signed with and put into a header.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/sign.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sign with a name of the table, and expand it: both fit its kind. */
static void use(const struct secrets *secrets, struct str name)
{
    struct sign sign = {.failed = false};
    struct sign_content content = {.id = STR("msg_1"), .timestamp_s = 1};
    struct buf to = {0};
    struct str wrong;
    uint32_t count = 0;
    char value[SIGN_SIZE_MAX];
    size_t value_size = 0;

    const struct secret *found = secrets_find(secrets, name, &count);
    enum err err = sign_begin(&sign, secrets, name, &content, &wrong);
    if (found == NULL) {
        CHECK(err == ERR_NOT_FOUND || err == ERR_INVALID);
    }
    if (err == ERR_OK) {
        CHECK(sign_finish(&sign, value, &value_size) == ERR_OK);
        CHECK(value_size > 0 && value_size <= sizeof(value));
    }
    sign_fini(&sign);
    buf_append_c(&to, "${secret:");
    buf_append_str(&to, name);
    buf_append_byte(&to, '}');
    struct buf text = {0};
    err = secrets_expand(secrets, buf_str(&to), 1000, &text, &wrong);
    CHECK(err != ERR_OK || (count > 0 && text.size > 0));
    buf_fini(&text);
    buf_fini(&to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf errors = {0};
    struct secrets *secrets = NULL;
    char *copy = malloc(size > 0 ? size : 1);

    CHECK(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    enum err err = secrets_parse(copy, size, "file", &errors, &secrets);
    CHECK((err == ERR_OK) == (errors.size == 0));
    struct str left = {(const char *)data, size};
    while (err == ERR_OK && left.size > 0) {
        size_t end = str_find(left, '\n');
        struct str line = str_trim(str_cut(left, 0, end));
        use(secrets, str_cut(line, 0, str_find(line, ' ')));
        left = str_cut(left, end + 1, left.size);
    }
    secrets_release(secrets);
    buf_fini(&errors);
    return 0;
}
