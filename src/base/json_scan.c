/* JSON read in place. One pass; nesting is kept in a bit set, not on the stack.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/json_scan.h"

#include <stdint.h>
#include <string.h>

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static void skip_blanks(struct json_scan *scan)
{
    while (scan->position < scan->text.size &&
           is_blank(scan->text.data[scan->position])) {
        scan->position++;
    }
}

/* The next byte, or NUL at the end. A NUL in the text is no valid JSON where
 * this is asked, so the two need no telling apart. */
static char peek(const struct json_scan *scan)
{
    return scan->position < scan->text.size ? scan->text.data[scan->position]
                                            : '\0';
}

struct json_scan json_scan_of(struct str text)
{
    return (struct json_scan){.text = text, .position = 0, .begun = false};
}

/* The bytes that a UTF-8 sequence at `at` has, 0 when it is not one (RFC 3629:
 * no overlong forms, no surrogates, nothing past U+10FFFF). */
static size_t utf8_size(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t size;

    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        size = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        size = 3;
        low = first == 0xe0 ? 0xa0 : low;
        high = first == 0xed ? 0x9f : high;
    } else if (first >= 0xf0 && first <= 0xf4) {
        size = 4;
        low = first == 0xf0 ? 0x90 : low;
        high = first == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (left < size || at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t index = 2; index < size; index++) {
        if (at[index] < 0x80 || at[index] > 0xbf) {
            return 0;
        }
    }
    return size;
}

static int hex_value(char byte)
{
    if (is_digit(byte)) {
        return byte - '0';
    }
    if (byte >= 'a' && byte <= 'f') {
        return byte - 'a' + 10;
    }
    if (byte >= 'A' && byte <= 'F') {
        return byte - 'A' + 10;
    }
    return -1;
}

/* Check the escape at the position, which is a backslash, and step over it. */
static enum err skip_escape(struct json_scan *scan)
{
    scan->position++;
    char kind = peek(scan);
    scan->position++;
    if (kind == 'u') {
        for (int index = 0; index < 4; index++) {
            if (hex_value(peek(scan)) < 0) {
                return ERR_INVALID;
            }
            scan->position++;
        }
        return ERR_OK;
    }
    return kind != '\0' && strchr("\"\\/bfnrt", kind) != NULL ? ERR_OK
                                                              : ERR_INVALID;
}

/* Step over plain ASCII inside a string, eight bytes at a time. */
static void skip_plain(struct json_scan *scan)
{
    const uint64_t ones = 0x0101010101010101ULL;
    const uint64_t highs = 0x8080808080808080ULL;

    while (scan->position + 8 <= scan->text.size) {
        uint64_t word = get_u64(scan->text.data + scan->position);
        uint64_t quote = word ^ (ones * '"');
        uint64_t slash = word ^ (ones * '\\');
        uint64_t special = ((quote - ones) & ~quote) |
                           ((slash - ones) & ~slash) |
                           ((word - ones * 0x20) & ~word) | word;
        if ((special & highs) != 0) {
            return;
        }
        scan->position += 8;
    }
}

static enum err scan_string(struct json_scan *scan, bool *out_escaped)
{
    bool escaped = false;

    scan->position++; /* the quote */
    for (;;) {
        skip_plain(scan);
        if (scan->position >= scan->text.size) {
            return ERR_INVALID;
        }
        unsigned char byte = (unsigned char)scan->text.data[scan->position];
        if (byte == '"') {
            scan->position++;
            *out_escaped = escaped;
            return ERR_OK;
        }
        if (byte < 0x20) {
            return ERR_INVALID;
        }
        if (byte == '\\') {
            escaped = true;
            if (skip_escape(scan) != ERR_OK) {
                return ERR_INVALID;
            }
            continue;
        }
        size_t size =
            utf8_size((const unsigned char *)scan->text.data + scan->position,
                      scan->text.size - scan->position);
        if (size == 0) {
            return ERR_INVALID;
        }
        scan->position += size;
    }
}

static bool skip_digits(struct json_scan *scan)
{
    size_t start = scan->position;

    while (is_digit(peek(scan))) {
        scan->position++;
    }
    return scan->position > start;
}

static enum err scan_number(struct json_scan *scan)
{
    if (peek(scan) == '-') {
        scan->position++;
    }
    if (peek(scan) == '0') {
        scan->position++;
    } else if (!skip_digits(scan)) {
        return ERR_INVALID;
    }
    if (peek(scan) == '.') {
        scan->position++;
        if (!skip_digits(scan)) {
            return ERR_INVALID;
        }
    }
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        scan->position++;
        if (peek(scan) == '+' || peek(scan) == '-') {
            scan->position++;
        }
        if (!skip_digits(scan)) {
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

static enum err scan_word(struct json_scan *scan, struct str word)
{
    if (!str_equal(str_cut(scan->text, scan->position, word.size), word)) {
        return ERR_INVALID;
    }
    scan->position += word.size;
    return ERR_OK;
}

/* A value that holds no other. */
static enum err scan_scalar(struct json_scan *scan,
                            enum json_scan_type *out_type,
                            bool *out_escaped)
{
    switch (peek(scan)) {
    case '"':
        *out_type = JSON_SCAN_STRING;
        return scan_string(scan, out_escaped);
    case 't':
        *out_type = JSON_SCAN_TRUE;
        return scan_word(scan, STR("true"));
    case 'f':
        *out_type = JSON_SCAN_FALSE;
        return scan_word(scan, STR("false"));
    case 'n':
        *out_type = JSON_SCAN_NULL;
        return scan_word(scan, STR("null"));
    default:
        *out_type = JSON_SCAN_NUMBER;
        return scan_number(scan);
    }
}

/* The arrays and objects around the position. */
struct nesting {
    uint32_t depth;
    uint64_t objects; /* bit d: level d is an object */
};

/* What may come at the position. */
enum expect {
    EXPECT_VALUE,
    EXPECT_FIRST, /* a value or name, or the end of what was just opened */
    EXPECT_NAME,
    EXPECT_AFTER, /* a comma or the end of the level */
};

static bool in_object(const struct nesting *nesting)
{
    return (nesting->objects >> (nesting->depth - 1) & 1) != 0;
}

static enum err nesting_open(struct nesting *nesting, bool object)
{
    if (nesting->depth == JSON_SCAN_DEPTH_MAX) {
        return ERR_INVALID;
    }
    uint64_t bit = 1ULL << nesting->depth;
    nesting->objects =
        object ? nesting->objects | bit : nesting->objects & ~bit;
    nesting->depth++;
    return ERR_OK;
}

static enum err scan_name(struct json_scan *scan)
{
    bool escaped = false;

    if (peek(scan) != '"' || scan_string(scan, &escaped) != ERR_OK) {
        return ERR_INVALID;
    }
    skip_blanks(scan);
    if (peek(scan) != ':') {
        return ERR_INVALID;
    }
    scan->position++;
    return ERR_OK;
}

/* Take one step inside an array or object. */
static enum err
scan_step(struct json_scan *scan, struct nesting *nesting, enum expect *expect)
{
    enum json_scan_type type;
    bool escaped = false;
    char byte = peek(scan);
    char end = in_object(nesting) ? '}' : ']';

    if (byte == end && (*expect == EXPECT_FIRST || *expect == EXPECT_AFTER)) {
        scan->position++;
        nesting->depth--;
        *expect = EXPECT_AFTER;
        return ERR_OK;
    }
    if (*expect == EXPECT_AFTER) {
        scan->position++;
        *expect = in_object(nesting) ? EXPECT_NAME : EXPECT_VALUE;
        return byte == ',' ? ERR_OK : ERR_INVALID;
    }
    if (*expect == EXPECT_NAME ||
        (*expect == EXPECT_FIRST && in_object(nesting))) {
        *expect = EXPECT_VALUE;
        return scan_name(scan);
    }
    if (byte == '{' || byte == '[') {
        scan->position++;
        *expect = EXPECT_FIRST;
        return nesting_open(nesting, byte == '{');
    }
    *expect = EXPECT_AFTER;
    return scan_scalar(scan, &type, &escaped);
}

static enum err scan_nested(struct json_scan *scan)
{
    struct nesting nesting = {.depth = 0, .objects = 0};
    enum expect expect = EXPECT_FIRST;
    enum err err = nesting_open(&nesting, peek(scan) == '{');

    scan->position++;
    while (err == ERR_OK && nesting.depth > 0) {
        skip_blanks(scan);
        err = scan_step(scan, &nesting, &expect);
    }
    return err;
}

enum err json_scan_next(struct json_scan *scan,
                        struct json_scan_value *out_value)
{
    struct json_scan_value value = {.escaped = false};

    skip_blanks(scan);
    if (scan->position >= scan->text.size) {
        return ERR_NOT_FOUND;
    }
    size_t start = scan->position;
    enum err err;
    if (peek(scan) == '{' || peek(scan) == '[') {
        value.type = peek(scan) == '{' ? JSON_SCAN_OBJECT : JSON_SCAN_ARRAY;
        err = scan_nested(scan);
    } else {
        err = scan_scalar(scan, &value.type, &value.escaped);
    }
    if (err != ERR_OK) {
        return err;
    }
    value.text = str_cut(scan->text, start, scan->position - start);
    *out_value = value;
    return ERR_OK;
}

struct json_scan json_scan_enter(const struct json_scan_value *value)
{
    /* Without the brackets: the end of the text is the end of the members. */
    return json_scan_of(str_cut(value->text, 1, value->text.size - 2));
}

/* Step over the comma between members or elements. */
static enum err next_place(struct json_scan *scan)
{
    skip_blanks(scan);
    if (scan->position >= scan->text.size) {
        return ERR_NOT_FOUND;
    }
    if (scan->begun) {
        if (peek(scan) != ',') {
            return ERR_INVALID;
        }
        scan->position++;
    }
    scan->begun = true;
    return ERR_OK;
}

enum err json_scan_element(struct json_scan *scan,
                           struct json_scan_value *out_value)
{
    enum err err = next_place(scan);

    if (err != ERR_OK) {
        return err;
    }
    err = json_scan_next(scan, out_value);
    return err == ERR_NOT_FOUND ? ERR_INVALID : err;
}

enum err json_scan_member(struct json_scan *scan,
                          struct json_scan_value *out_name,
                          struct json_scan_value *out_value)
{
    struct json_scan_value name;
    struct json_scan_value value;
    enum err err = json_scan_element(scan, &name);

    if (err != ERR_OK) {
        return err;
    }
    skip_blanks(scan);
    if (name.type != JSON_SCAN_STRING || peek(scan) != ':') {
        return ERR_INVALID;
    }
    scan->position++;
    err = json_scan_next(scan, &value);
    if (err != ERR_OK) {
        return ERR_INVALID;
    }
    *out_name = name;
    *out_value = value;
    return ERR_OK;
}

static uint32_t read_hex4(const char *digits)
{
    uint32_t value = 0;

    for (int index = 0; index < 4; index++) {
        value = value << 4 | (uint32_t)hex_value(digits[index]);
    }
    return value;
}

static void append_utf8(struct buf *to, uint32_t code)
{
    if (code < 0x80) {
        buf_append_byte(to, (char)code);
        return;
    }
    if (code < 0x800) {
        buf_append_byte(to, (char)(0xc0 | code >> 6));
    } else if (code < 0x10000) {
        buf_append_byte(to, (char)(0xe0 | code >> 12));
        buf_append_byte(to, (char)(0x80 | (code >> 6 & 0x3f)));
    } else {
        buf_append_byte(to, (char)(0xf0 | code >> 18));
        buf_append_byte(to, (char)(0x80 | (code >> 12 & 0x3f)));
        buf_append_byte(to, (char)(0x80 | (code >> 6 & 0x3f)));
    }
    buf_append_byte(to, (char)(0x80 | (code & 0x3f)));
}

/* Decode the \u escape at `*index` (its backslash), a pair as one. */
static enum err decode_unicode(struct str text, size_t *index, struct buf *to)
{
    uint32_t code = read_hex4(text.data + *index + 2);

    *index += 6;
    if (code >= 0xdc00 && code <= 0xdfff) {
        return ERR_INVALID;
    }
    if (code >= 0xd800 && code <= 0xdbff) {
        if (text.size - *index < 6 || text.data[*index] != '\\' ||
            text.data[*index + 1] != 'u') {
            return ERR_INVALID;
        }
        uint32_t low = read_hex4(text.data + *index + 2);
        if (low < 0xdc00 || low > 0xdfff) {
            return ERR_INVALID;
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        *index += 6;
    }
    append_utf8(to, code);
    return ERR_OK;
}

static char plain_escape(char kind)
{
    switch (kind) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return kind;
    }
}

enum err json_scan_string(const struct json_scan_value *value,
                          struct buf *memory,
                          struct str *out_text)
{
    struct str text = str_cut(value->text, 1, value->text.size - 2);

    if (!value->escaped) {
        *out_text = text;
        return ERR_OK;
    }
    if (memory->capacity - memory->size < text.size) {
        return ERR_NOMEM;
    }
    size_t start = memory->size;
    size_t index = 0;
    while (index < text.size) {
        if (text.data[index] != '\\') {
            buf_append_byte(memory, text.data[index]);
            index++;
            continue;
        }
        if (text.data[index + 1] != 'u') {
            buf_append_byte(memory, plain_escape(text.data[index + 1]));
            index += 2;
            continue;
        }
        if (decode_unicode(text, &index, memory) != ERR_OK) {
            return ERR_INVALID;
        }
    }
    *out_text = str_cut(buf_str(memory), start, memory->size - start);
    return ERR_OK;
}
