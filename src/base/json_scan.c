/* JSON read in place. One pass; nesting is kept in a bit set, not on the stack.
 *
 * Functions named skip_ take where something begins and where the text ends,
 * and return where it ends itself, or NULL when it is malformed: two pointers
 * that stay in registers from byte to byte.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/json_scan.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static inline const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (unsigned char)*at <= ' ' && is_blank(*at)) {
        at++;
    }
    return at;
}

/* The next byte, or NUL at the end. A NUL in the text is no valid JSON where
 * this is asked, so the two need no telling apart. */
static inline char peek(const char *at, const char *end)
{
    return at < end ? *at : '\0';
}

struct json_scan json_scan_of(struct str text)
{
    return (struct json_scan){.text = text.data != NULL ? text : STR("")};
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

/* An escape, which begins with a backslash. */
static const char *skip_escape(const char *at, const char *end)
{
    char kind = peek(at + 1, end);
    if (kind == 'u') {
        at += 2;
        for (int index = 0; index < 4; index++) {
            if (hex_value(peek(at, end)) < 0) {
                return NULL;
            }
            at++;
        }
        return at;
    }
    return kind != '\0' && strchr("\"\\/bfnrt", kind) != NULL ? at + 2 : NULL;
}

/* Step over plain ASCII inside a string, a block at a time: what is left begins
 * with a quote, a backslash, a control or a byte above 0x7f, or is short. */
static inline const char *skip_plain(const char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i last_control = _mm_set1_epi8(0x1f);
    for (; end - at >= 16; at += 16) {
        __m128i block = _mm_loadu_si128((const void *)at);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(block, quote),
                                   _mm_cmpeq_epi8(block, backslash));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(block, last_control), block);
        /* The mask is of top bits, which what is above 0x7f has itself. */
        unsigned mask = (unsigned)_mm_movemask_epi8(
            _mm_or_si128(_mm_or_si128(hit, low), block));
        if (mask != 0) {
            return at + __builtin_ctz(mask);
        }
    }
#endif
    while (at < end && (signed char)*at >= ' ' && *at != '"' && *at != '\\') {
        at++;
    }
    return at;
}

/* A string, from quote to quote. `*escaped` is set when it has a backslash. */
static const char *skip_string(const char *at, const char *end, bool *escaped)
{
    at++;
    for (;;) {
        at = skip_plain(at, end);
        if (at >= end) {
            return NULL;
        }
        if (*at == '"') {
            return at + 1;
        }
        if ((unsigned char)*at < 0x20) {
            return NULL;
        }
        if (*at == '\\') {
            *escaped = true;
            at = skip_escape(at, end);
            if (at == NULL) {
                return NULL;
            }
            continue;
        }
        size_t size = utf8_size((const unsigned char *)at, (size_t)(end - at));
        if (size == 0) {
            return NULL;
        }
        at += size;
    }
}

/* One digit or more. */
static const char *skip_digits(const char *at, const char *end)
{
    const char *start = at;

    while (is_digit(peek(at, end))) {
        at++;
    }
    return at > start ? at : NULL;
}

static const char *skip_number(const char *at, const char *end)
{
    if (peek(at, end) == '-') {
        at++;
    }
    at = peek(at, end) == '0' ? at + 1 : skip_digits(at, end);
    if (at != NULL && peek(at, end) == '.') {
        at = skip_digits(at + 1, end);
    }
    if (at != NULL && (peek(at, end) == 'e' || peek(at, end) == 'E')) {
        at++;
        if (peek(at, end) == '+' || peek(at, end) == '-') {
            at++;
        }
        at = skip_digits(at, end);
    }
    return at;
}

static const char *skip_word(const char *at, const char *end, struct str word)
{
    bool same = (size_t)(end - at) >= word.size &&
                memcmp(at, word.data, word.size) == 0;
    return same ? at + word.size : NULL;
}

/* A value that is no string and holds no other. */
static const char *
skip_plain_value(const char *at, const char *end, enum json_scan_type *out_type)
{
    switch (*at) {
    case 't':
        *out_type = JSON_SCAN_TRUE;
        return skip_word(at, end, STR("true"));
    case 'f':
        *out_type = JSON_SCAN_FALSE;
        return skip_word(at, end, STR("false"));
    case 'n':
        *out_type = JSON_SCAN_NULL;
        return skip_word(at, end, STR("null"));
    default:
        *out_type = JSON_SCAN_NUMBER;
        return skip_number(at, end);
    }
}

/* A name and its colon. */
static inline const char *skip_name(const char *at, const char *end)
{
    bool escaped = false;

    if (peek(at, end) != '"') {
        return NULL;
    }
    at = skip_string(at, end, &escaped);
    if (at == NULL) {
        return NULL;
    }
    at = skip_blanks(at, end);
    return peek(at, end) == ':' ? at + 1 : NULL;
}

/* What may come next inside an array or object. */
enum expect {
    EXPECT_VALUE,
    EXPECT_FIRST, /* a value or name, or the end of what was just opened */
    EXPECT_NAME,
    EXPECT_AFTER, /* a comma or the end of the level */
};

/* An array or object and all that is in it, inside of `depth` others. */
static const char *
skip_nested(const char *at, const char *end, uint32_t depth_around)
{
    uint32_t depth = depth_around; /* levels around `at` */
    uint64_t objects = 0;          /* bit d: level d is an object */
    bool in_object = false;        /* the innermost is */
    enum expect expect = EXPECT_VALUE;

    do {
        at = skip_blanks(at, end);
        char byte = peek(at, end);
        if (expect == EXPECT_AFTER && byte == ',') {
            at++;
            expect = in_object ? EXPECT_NAME : EXPECT_VALUE;
        } else if ((expect == EXPECT_AFTER || expect == EXPECT_FIRST) &&
                   byte == (in_object ? '}' : ']')) {
            at++;
            depth--;
            in_object = depth > 0 && (objects >> (depth - 1) & 1) != 0;
            expect = EXPECT_AFTER;
        } else if (expect == EXPECT_AFTER) {
            return NULL;
        } else if (in_object && expect != EXPECT_VALUE) {
            at = skip_name(at, end);
            expect = EXPECT_VALUE;
        } else if (byte == '"') {
            bool escaped = false;
            at = skip_string(at, end, &escaped);
            expect = EXPECT_AFTER;
        } else if (byte == '{' || byte == '[') {
            if (depth == JSON_SCAN_DEPTH_MAX) {
                return NULL;
            }
            at++;
            in_object = byte == '{';
            uint64_t bit = UINT64_C(1) << depth;
            objects = in_object ? objects | bit : objects & ~bit;
            depth++;
            expect = EXPECT_FIRST;
        } else {
            enum json_scan_type type;
            at = at < end ? skip_plain_value(at, end, &type) : NULL;
            expect = EXPECT_AFTER;
        }
        if (at == NULL) {
            return NULL;
        }
    } while (depth > depth_around);
    return at;
}

/* One value, which begins at `at`, inside of `depth` others. */
static const char *skip_value(const char *at,
                              const char *end,
                              uint32_t depth,
                              struct json_scan_value *out_value)
{
    const char *start = at;

    out_value->escaped = false;
    switch (*at) {
    case '"':
        out_value->type = JSON_SCAN_STRING;
        at = skip_string(at, end, &out_value->escaped);
        break;
    case '{':
        out_value->type = JSON_SCAN_OBJECT;
        at = skip_nested(at, end, depth);
        break;
    case '[':
        out_value->type = JSON_SCAN_ARRAY;
        at = skip_nested(at, end, depth);
        break;
    default:
        at = skip_plain_value(at, end, &out_value->type);
        break;
    }
    if (at != NULL) {
        out_value->text = (struct str){start, (size_t)(at - start)};
    }
    return at;
}

/* Where scanning goes on, blanks skipped. */
static inline const char *place_of(const struct json_scan *scan)
{
    if (scan->position >= scan->text.size) {
        return scan->text.data + scan->text.size;
    }
    return skip_blanks(scan->text.data + scan->position,
                       scan->text.data + scan->text.size);
}

static inline void go_to(struct json_scan *scan, const char *at)
{
    scan->position = (size_t)(at - scan->text.data);
}

enum err json_scan_next(struct json_scan *scan,
                        struct json_scan_value *out_value)
{
    struct json_scan_value value;
    const char *end = scan->text.data + scan->text.size;
    const char *at = place_of(scan);

    if (at == end) {
        return ERR_NOT_FOUND;
    }
    at = skip_value(at, end, scan->depth, &value);
    if (at == NULL) {
        return ERR_INVALID;
    }
    go_to(scan, at);
    *out_value = value;
    return ERR_OK;
}

struct json_scan json_scan_enter(const struct json_scan_value *value)
{
    /* Without the brackets: the end of the text is the end of the members. */
    return json_scan_of(str_cut(value->text, 1, value->text.size - 2));
}

/* Step over the comma between members or elements. */
static inline enum err next_place(struct json_scan *scan)
{
    const char *end = scan->text.data + scan->text.size;
    const char *at = place_of(scan);

    if (at == end) {
        return ERR_NOT_FOUND;
    }
    if (scan->begun) {
        if (*at != ',') {
            return ERR_INVALID;
        }
        at++;
    }
    go_to(scan, at);
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

/* Open what is next, which begins with this bracket. */
static enum err open_level(struct json_scan *scan, char bracket)
{
    const char *end = scan->text.data + scan->text.size;
    const char *at = place_of(scan);

    if (peek(at, end) != bracket || scan->depth == JSON_SCAN_DEPTH_MAX) {
        return ERR_INVALID;
    }
    go_to(scan, at + 1);
    scan->depth++;
    scan->begun = false;
    return ERR_OK;
}

/* Step over the end of what was opened, if it is next. */
static bool close_level(struct json_scan *scan, char bracket)
{
    const char *end = scan->text.data + scan->text.size;
    const char *at = place_of(scan);

    if (peek(at, end) != bracket) {
        return false;
    }
    go_to(scan, at + 1);
    scan->depth--;
    scan->begun = true; /* it was an element itself */
    return true;
}

enum err json_scan_open(struct json_scan *scan)
{
    return open_level(scan, '[');
}

enum err json_scan_open_object(struct json_scan *scan)
{
    return open_level(scan, '{');
}

enum err json_scan_opened_place(struct json_scan *scan)
{
    if (close_level(scan, ']')) {
        return ERR_NOT_FOUND;
    }
    enum err err = next_place(scan);
    return err == ERR_NOT_FOUND ? ERR_INVALID : err;
}

enum err json_scan_opened_member(struct json_scan *scan,
                                 struct json_scan_value *out_name,
                                 struct json_scan_value *out_value)
{
    if (close_level(scan, '}')) {
        return ERR_NOT_FOUND;
    }
    enum err err = json_scan_member(scan, out_name, out_value);
    return err == ERR_NOT_FOUND ? ERR_INVALID : err;
}

enum err json_scan_member(struct json_scan *scan,
                          struct json_scan_value *out_name,
                          struct json_scan_value *out_value)
{
    struct json_scan_value name = {.type = JSON_SCAN_STRING};
    struct json_scan_value value;
    const char *end = scan->text.data + scan->text.size;
    enum err err = next_place(scan);

    if (err != ERR_OK) {
        return err;
    }
    const char *start = place_of(scan);
    if (peek(start, end) != '"') {
        return ERR_INVALID;
    }
    const char *at = skip_string(start, end, &name.escaped);
    if (at == NULL) {
        return ERR_INVALID;
    }
    name.text = (struct str){start, (size_t)(at - start)};
    at = skip_blanks(at, end);
    if (peek(at, end) != ':') {
        return ERR_INVALID;
    }
    at = skip_blanks(at + 1, end);
    if (at == end) {
        return ERR_INVALID;
    }
    at = skip_value(at, end, scan->depth, &value);
    if (at == NULL) {
        return ERR_INVALID;
    }
    go_to(scan, at);
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

enum err json_scan_decode(const struct json_scan_value *value,
                          struct buf *memory,
                          struct str *out_text)
{
    struct str text = str_cut(value->text, 1, value->text.size - 2);

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

/* Take the escape at `*index`: its bytes, at most 4, go to `memory`.
 * Errors: ERR_INVALID  a lone surrogate */
static enum err take_escape(struct str text, size_t *index, struct buf *memory)
{
    buf_clear(memory);
    if (text.data[*index + 1] == 'u') {
        return decode_unicode(text, index, memory);
    }
    buf_append_byte(memory, plain_escape(text.data[*index + 1]));
    *index += 2;
    return ERR_OK;
}

bool json_scan_starts(const struct json_scan_value *value,
                      struct str start,
                      bool whole)
{
    struct str text = str_cut(value->text, 1, value->text.size - 2);
    char bytes[8];
    struct buf memory = {.data = bytes, .capacity = sizeof(bytes)};
    size_t index = 0;

    if (!value->escaped) {
        return str_starts(text, start) && (!whole || text.size == start.size);
    }
    while (index < text.size && start.size > 0) {
        struct str piece = str_cut(text, index, 1);
        if (piece.data[0] != '\\') {
            index++;
        } else if (take_escape(text, &index, &memory) == ERR_OK) {
            piece = buf_str(&memory);
        } else {
            return false;
        }
        /* A start that ends inside of a character is one nevertheless. */
        size_t size = piece.size < start.size ? piece.size : start.size;
        if (!str_equal(str_cut(piece, 0, size), str_cut(start, 0, size)) ||
            (whole && size < piece.size)) {
            return false;
        }
        start = str_cut(start, size, start.size);
    }
    return start.size == 0 && (!whole || index == text.size);
}
