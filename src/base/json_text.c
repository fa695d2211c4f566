/* Members of a JSON object.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/json_text.h"

#include "base/wall_time.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes of the UTF-8 sequence at the beginning; 0 when there is none. */
static size_t sequence_size(struct str text)
{
    unsigned char first = (unsigned char)text.data[0];
    size_t size = first < 0x80   ? 1
                  : first < 0xc2 ? 0
                  : first < 0xe0 ? 2
                  : first < 0xf0 ? 3
                  : first < 0xf5 ? 4
                                 : 0;

    if (size == 0 || size > text.size) {
        return 0;
    }
    for (size_t at = 1; at < size; at++) {
        if (((unsigned char)text.data[at] & 0xc0) != 0x80) {
            return 0;
        }
    }
    unsigned char second = size > 1 ? (unsigned char)text.data[1] : 0;
    bool overlong =
        (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    bool outside = (first == 0xed && second > 0x9f) || /* surrogates */
                   (first == 0xf4 && second > 0x8f);
    return overlong || outside ? 0 : size;
}

bool json_text_is_text(struct str text)
{
    while (text.size > 0) {
        size_t size = text.data[0] == '\0' ? 0 : sequence_size(text);
        if (size == 0) {
            return false;
        }
        text = str_cut(text, size, text.size);
    }
    return true;
}

void json_text_append_base64(struct buf *to, struct str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";

    if (buf_reserve(to, (bytes.size + 2) / 3 * 4) != ERR_OK) {
        return; /* `failed` is set, and checked with all else */
    }
    for (size_t at = 0; at < bytes.size; at += 3) {
        struct str rest = str_cut(bytes, at, 3);
        uint32_t group = 0;
        for (size_t i = 0; i < 3; i++) {
            unsigned char byte =
                i < rest.size ? (unsigned char)rest.data[i] : 0;
            group = group << 8 | byte;
        }
        char text[4];
        for (size_t i = 0; i < 4; i++) {
            text[i] = i <= rest.size ? digits[group >> (18 - 6 * i) & 63] : '=';
        }
        buf_append(to, text, sizeof(text));
    }
}

void json_text_append_text(struct buf *to, const char *name, struct str text)
{
    buf_append_format(to, ",\"%s\":\"", name);
    buf_append_json(to, text);
    buf_append_byte(to, '"');
}

void json_text_append_number(struct buf *to, const char *name, uint64_t value)
{
    buf_append_format(to, ",\"%s\":", name);
    buf_append_u64(to, value);
}

void json_text_append_time(struct buf *to, const char *name, uint64_t unix_ms)
{
    buf_append_format(to, ",\"%s\":\"", name);
    wall_time_write(to, unix_ms);
    buf_append_byte(to, '"');
}

void json_text_append_bytes(struct buf *to, const char *name, struct str bytes)
{
    bool text = json_text_is_text(bytes);

    buf_append_format(to, ",\"%s%s\":\"", name, text ? "" : "_base64");
    if (text) {
        buf_append_json(to, bytes);
    } else {
        json_text_append_base64(to, bytes);
    }
    buf_append_byte(to, '"');
}
