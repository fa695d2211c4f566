/* Any bytes as one word of a shell: it has nothing but text that a terminal may
 * show, and a shell's reading of it gives the bytes back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_curl.h"
#include "base/check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read '...' with '\'' in it, as a shell does. */
static void unquote(struct str word, struct buf *to)
{
    bool inside = false;

    for (size_t index = 0; index < word.size; index++) {
        char byte = word.data[index];
        if (byte == '\'') {
            inside = !inside;
        } else if (!inside) { /* \' */
            CHECK(byte == '\\' && index + 1 < word.size);
            index++;
            CHECK(word.data[index] == '\'');
            buf_append_byte(to, '\'');
        } else {
            buf_append_byte(to, byte);
        }
    }
    CHECK(!inside);
}

/* Read the format of printf between single quotes. */
static void unprint(struct str format, struct buf *to)
{
    for (size_t index = 0; index < format.size; index++) {
        char byte = format.data[index];
        CHECK(byte != '\'');
        if (byte == '%') {
            index++;
            CHECK(index < format.size && format.data[index] == '%');
        } else if (byte == '\\') {
            CHECK(index + 3 < format.size);
            const char *digits = &format.data[index + 1];
            byte = (char)((digits[0] - '0') << 6 | (digits[1] - '0') << 3 |
                          (digits[2] - '0'));
            index += 3;
        }
        buf_append_byte(to, byte);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char before[] = "\"$(printf -- '";
    static const char after[] = "')\"";
    struct str bytes = {(const char *)data, size};
    struct buf word = {0};
    struct buf read = {0};

    api_curl_word(&word, bytes);
    CHECK(!word.failed && word.size >= 2);
    for (size_t index = 0; index < word.size; index++) {
        unsigned char byte = (unsigned char)word.data[index];
        CHECK((byte >= ' ' && byte != 0x7f) || byte == '\n' || byte == '\t');
    }
    if (word.data[0] == '\'') {
        unquote(buf_str(&word), &read);
    } else {
        size_t first = sizeof(before) - 1;
        CHECK(word.size >= first + sizeof(after) - 1);
        size_t end = word.size - (sizeof(after) - 1);
        CHECK(memcmp(word.data, before, first) == 0);
        CHECK(memcmp(word.data + end, after, sizeof(after) - 1) == 0);
        unprint(str_cut(buf_str(&word), first, end - first), &read);
    }
    CHECK(str_equal(buf_str(&read), bytes));
    buf_fini(&word);
    buf_fini(&read);
    return 0;
}
