/* Growing bytes, and reading bytes without stepping past their end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BUF_SIZE_FIRST = 64,     /* bytes of the first allocation, at least */
    FORMAT_SIZE_SMALL = 256, /* bytes; longer output takes an allocation */
    UTF8_SIZE_MAX = 4,       /* bytes of one character */
};

void buf_init(struct buf *buf, size_t size_max)
{
    *buf = (struct buf){.size_max = size_max};
}

void buf_fini(struct buf *buf)
{
    if (buf == NULL) {
        return;
    }
    free(buf->data);
    *buf = (struct buf){.size_max = buf->size_max};
}

void buf_clear(struct buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

/* Capacity to allocate for `need` bytes: doubled, so that a row of appends
 * costs linear time, but not past the limit. */
static size_t capacity_for(const struct buf *buf, size_t need)
{
    size_t capacity = buf->capacity;
    if (capacity > SIZE_MAX / 2) {
        return need;
    }
    capacity *= 2;
    if (capacity < BUF_SIZE_FIRST) {
        capacity = BUF_SIZE_FIRST;
    }
    if (buf->size_max > 0 && capacity > buf->size_max) {
        capacity = buf->size_max;
    }
    return capacity > need ? capacity : need;
}

enum err buf_reserve(struct buf *buf, size_t size)
{
    CHECK(buf->size <= buf->capacity);
    if (buf->failed) {
        return ERR_NOMEM;
    }
    if (size <= buf->capacity - buf->size &&
        (buf->size_max == 0 || buf->size + size <= buf->size_max)) {
        return ERR_OK;
    }
    size_t need;
    bool overflow = __builtin_add_overflow(buf->size, size, &need);
    if (buf->size_max > 0 && (overflow || need > buf->size_max)) {
        buf->failed = true;
        return ERR_TOO_LARGE;
    }
    size_t capacity = overflow ? 0 : capacity_for(buf, need);
    char *data = overflow ? NULL : realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return ERR_NOMEM;
    }
    buf->data = data;
    buf->capacity = capacity;
    return ERR_OK;
}

void buf_append(struct buf *buf, const void *data, size_t size)
{
    if (size == 0 || buf_reserve(buf, size) != ERR_OK) {
        return;
    }
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
}

void buf_append_str(struct buf *buf, struct str text)
{
    buf_append(buf, text.data, text.size);
}

void buf_append_c(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_byte(struct buf *buf, char byte)
{
    buf_append(buf, &byte, 1);
}

char *put_decimal(char *to, uint64_t value)
{
    /* [d]: the first number with more than d digits; 0 needs one, too. */
    static const uint64_t bounds[PUT_DECIMAL_MAX] = {
        0,
        10U,
        100U,
        1000U,
        10000U,
        100000U,
        1000000U,
        10000000U,
        100000000U,
        1000000000U,
        10000000000U,
        100000000000U,
        1000000000000U,
        10000000000000U,
        100000000000000U,
        1000000000000000U,
        10000000000000000U,
        100000000000000000U,
        1000000000000000000U,
        10000000000000000000U,
    };
    /* 1233 / 4096 is a little more than the log of 2 to the base of 10: the
     * digits of the power of 2 below, which may be one too few. */
    unsigned bits = 64U - (unsigned)__builtin_clzll(value | 1);
    size_t size = bits * 1233U >> 12;
    size += value >= bounds[size] ? 1 : 0;
    char *end = to + size;
    char *at = end;
    while (value >= 10) {
        *--at = (char)('0' + value % 10);
        value /= 10;
    }
    *--at = (char)('0' + value);
    return end;
}

void buf_append_u64(struct buf *buf, uint64_t value)
{
    char digits[PUT_DECIMAL_MAX];
    buf_append(buf, digits, (size_t)(put_decimal(digits, value) - digits));
}

void buf_append_format(struct buf *buf, const char *format, ...)
{
    char small[FORMAT_SIZE_SMALL];
    char *text = small;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(small, sizeof(small), format, arguments);
    va_end(arguments);
    if (size < 0) {
        buf->failed = true;
        return;
    }
    /* vsnprintf() wants a byte for its terminator, which a buffer at its limit
     * may not have: so what is long is printed aside as well. */
    if ((size_t)size >= sizeof(small)) {
        text = malloc((size_t)size + 1);
        if (text == NULL) {
            buf->failed = true;
            return;
        }
        va_start(arguments, format);
        int again = vsnprintf(text, (size_t)size + 1, format, arguments);
        va_end(arguments);
        CHECK(again == size);
    }
    buf_append(buf, text, (size_t)size);
    if (text != small) {
        free(text);
    }
}

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Bytes of the UTF-8 character that `text`, not empty, begins with; 0 when it
 * begins with none. Refuses overlong forms, surrogates and what lies above
 * U+10FFFF, as RFC 3629 does. */
static size_t utf8_size(struct str text)
{
    const unsigned char *byte = (const unsigned char *)text.data;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t size = 0;
    if (byte[0] < 0x80) {
        return 1;
    }
    if (byte[0] >= 0xc2 && byte[0] <= 0xdf) {
        size = 2;
    } else if (byte[0] >= 0xe0 && byte[0] <= 0xef) {
        size = 3;
        low = byte[0] == 0xe0 ? 0xa0 : low;
        high = byte[0] == 0xed ? 0x9f : high;
    } else if (byte[0] >= 0xf0 && byte[0] <= 0xf4) {
        size = UTF8_SIZE_MAX;
        low = byte[0] == 0xf0 ? 0x90 : low;
        high = byte[0] == 0xf4 ? 0x8f : high;
    }
    if (size == 0 || size > text.size || byte[1] < low || byte[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if (!is_continuation(byte[i])) {
            return 0;
        }
    }
    return size;
}

/* Append one byte that cannot stand in a JSON string as it is. */
static void append_json_escape(struct buf *buf, char byte)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char code = (unsigned char)byte;
    char escape[6] = {'\\', 'u', '0', '0', hex[code >> 4], hex[code & 15]};

    switch (byte) {
    case '"':
        buf_append(buf, "\\\"", 2);
        break;
    case '\\':
        buf_append(buf, "\\\\", 2);
        break;
    case '\n':
        buf_append(buf, "\\n", 2);
        break;
    case '\r':
        buf_append(buf, "\\r", 2);
        break;
    case '\t':
        buf_append(buf, "\\t", 2);
        break;
    default:
        buf_append(buf, escape, sizeof(escape));
        break;
    }
}

static bool needs_json_escape(char byte)
{
    unsigned char code = (unsigned char)byte;
    return code < 0x20 || code == 0x7f || byte == '"' || byte == '\\';
}

void buf_append_json(struct buf *buf, struct str text)
{
    size_t start = 0; /* of the run that is good as it is */
    size_t at = 0;
    while (at < text.size && !buf->failed) {
        struct str rest = str_cut(text, at, text.size);
        size_t size = utf8_size(rest);
        if (size > 0 && !needs_json_escape(rest.data[0])) {
            at += size;
            continue;
        }
        buf_append(buf, text.data + start, at - start);
        if (size == 0) {
            buf_append_c(buf, "\xef\xbf\xbd");
        } else {
            append_json_escape(buf, rest.data[0]);
        }
        at++;
        start = at;
    }
    buf_append_str(buf, str_cut(text, start, text.size));
}

void buf_consume(struct buf *buf, size_t size)
{
    CHECK(size <= buf->size);
    if (size == 0) {
        return;
    }
    memmove(buf->data, buf->data + size, buf->size - size);
    buf->size -= size;
}

struct str buf_str(const struct buf *buf)
{
    return (struct str){buf->data, buf->size};
}

enum err buf_err(const struct buf *buf)
{
    return buf->failed ? ERR_NOMEM : ERR_OK;
}

struct reader reader_of(struct str text)
{
    return (struct reader){.data = (const uint8_t *)text.data,
                           .size = text.size};
}

size_t reader_left(const struct reader *reader)
{
    CHECK(reader->position <= reader->size);
    return reader->size - reader->position;
}

/* Move past `size` bytes and return where they are; NULL when not there. Once
 * failed, nothing is there any more. */
static const uint8_t *reader_take(struct reader *reader, size_t size)
{
    if (reader->failed || size > reader_left(reader)) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *taken = reader->data + reader->position;
    reader->position += size;
    return taken;
}

uint8_t reader_u8(struct reader *reader)
{
    const uint8_t *from = reader_take(reader, sizeof(uint8_t));
    return from != NULL ? *from : 0;
}

uint16_t reader_u16(struct reader *reader)
{
    uint16_t value = 0;
    const uint8_t *from = reader_take(reader, sizeof(value));
    if (from != NULL) {
        memcpy(&value, from, sizeof(value));
    }
    return value;
}

uint32_t reader_u32(struct reader *reader)
{
    const uint8_t *from = reader_take(reader, sizeof(uint32_t));
    return from != NULL ? get_u32(from) : 0;
}

uint64_t reader_u64(struct reader *reader)
{
    const uint8_t *from = reader_take(reader, sizeof(uint64_t));
    return from != NULL ? get_u64(from) : 0;
}

struct str reader_bytes(struct reader *reader, size_t size)
{
    if (size == 0) {
        return (struct str){NULL, 0};
    }
    const uint8_t *from = reader_take(reader, size);
    return (struct str){(const char *)from, from != NULL ? size : 0};
}

void reader_seek(struct reader *reader, size_t position)
{
    if (position > reader->size) {
        reader->failed = true;
        return;
    }
    reader->position = position;
}
