/* Fields of forms: urlencoded texts, and what both kinds share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/form.h"

#include "base/check.h"
#include "http/bytes.h"
#include "http/form_internal.h"

#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

enum {
    BLOCK_SIZE_MIN = 512, /* bytes of the first block */
    ESCAPE_SIZE = 3,      /* bytes of "%2B" */
};

/* A piece of memory for decoded text; never moved. */
struct form_block {
    struct form_block *next; /* owned; older */
    size_t size;             /* bytes of `text` */
    size_t used;             /* bytes of `text` in use */
    char text[];
};

void form_init(struct form *form)
{
    form->field_count = 0;
    form->blocks = NULL;
}

static void free_blocks(struct form_block *block)
{
    while (block != NULL) {
        struct form_block *next = block->next;
        free(block);
        block = next;
    }
}

void form_fini(struct form *form)
{
    if (form == NULL) {
        return;
    }
    free_blocks(form->blocks);
    form_init(form);
}

void form_clear(struct form *form)
{
    form->field_count = 0;
    if (form->blocks != NULL) {
        free_blocks(form->blocks->next);
        form->blocks->next = NULL;
        form->blocks->used = 0;
    }
}

char *form_allocate(struct form *form, size_t size)
{
    struct form_block *block = form->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t block_size = size > BLOCK_SIZE_MIN ? size : BLOCK_SIZE_MIN;
        struct form_block *fresh = malloc(sizeof(*fresh) + block_size);
        if (fresh == NULL) {
            return NULL;
        }
        fresh->next = block;
        fresh->size = block_size;
        fresh->used = 0;
        form->blocks = fresh;
        block = fresh;
    }
    return block->text + block->used;
}

void form_use(struct form *form, size_t size)
{
    struct form_block *block = form->blocks;
    CHECK(size <= block->size - block->used);
    block->used += size;
}

enum err form_add(struct form *form, struct str name, struct str value)
{
    if (name.size > 0 && memchr(name.data, '\0', name.size) != NULL) {
        return ERR_INVALID;
    }
    if (form->field_count == FORM_FIELDS_MAX) {
        return ERR_TOO_LARGE;
    }
    form->fields[form->field_count++] = (struct form_field){name, value};
    return ERR_OK;
}

/* --- urlencoded ---------------------------------------------------------- */

static bool is_escaped(struct str text)
{
    return str_find(text, '%') < text.size || str_find(text, '+') < text.size;
}

/* Where what begins at `at` ends: at the first '&', a name at '=' too. Says
 * whether something in it is escaped.
 *
 * Names and short values are looked through once, a block at a time. What goes
 * on has the library look for one byte after the other, in wider blocks. */
static size_t
find_end(struct str text, size_t at, bool is_name, bool *out_escaped)
{
    enum { BLOCKS_MAX = 4 };
    char stop = is_name ? '=' : '&';
    bool escaped = false;
#ifdef __SSE2__
    const __m128i stops = _mm_set1_epi8(stop);
    const __m128i ends = _mm_set1_epi8('&');
    const __m128i percents = _mm_set1_epi8('%');
    const __m128i pluses = _mm_set1_epi8('+');
    for (int i = 0; i < BLOCKS_MAX && text.size - at >= 16; i++, at += 16) {
        __m128i block = _mm_loadu_si128((const void *)(text.data + at));
        unsigned end = (unsigned)_mm_movemask_epi8(_mm_or_si128(
            _mm_cmpeq_epi8(block, stops), _mm_cmpeq_epi8(block, ends)));
        unsigned escapes = (unsigned)_mm_movemask_epi8(_mm_or_si128(
            _mm_cmpeq_epi8(block, percents), _mm_cmpeq_epi8(block, pluses)));
        if (end != 0) {
            *out_escaped = escaped || (escapes & ((end & -end) - 1)) != 0;
            return at + (size_t)__builtin_ctz(end);
        }
        escaped = escaped || escapes != 0;
    }
#endif
    struct str rest = str_cut(text, at, text.size);
    if (is_name || rest.size < 16) {
        for (; at < text.size; at++) {
            char byte = text.data[at];
            if (byte == stop || byte == '&') {
                break;
            }
            escaped = escaped || byte == '%' || byte == '+';
        }
    } else {
        rest.size = str_find(rest, '&');
        escaped = escaped || is_escaped(rest);
        at += rest.size;
    }
    *out_escaped = escaped;
    return at;
}

/* Decode `*text` into the form's memory. `room` is what may yet have to be
 * decoded of the whole, so that all of it is in one block. */
static enum err decode(struct form *form, size_t room, struct str *text)
{
    char *start = form_allocate(form, room);
    if (start == NULL) {
        return ERR_NOMEM;
    }
    char *to = start;
    const char *end = text->data + text->size;
    for (const char *from = text->data; from < end; from++) {
#ifdef __SSE2__
        /* There is room for a block wherever one is left to be read, since
         * nothing gets longer; what is not plain in it is written anew. */
        const __m128i percents = _mm_set1_epi8('%');
        const __m128i pluses = _mm_set1_epi8('+');
        unsigned escapes = 0;
        while (end - from >= 16 && escapes == 0) {
            __m128i block = _mm_loadu_si128((const void *)from);
            _mm_storeu_si128((void *)to, block);
            escapes = (unsigned)_mm_movemask_epi8(
                _mm_or_si128(_mm_cmpeq_epi8(block, percents),
                             _mm_cmpeq_epi8(block, pluses)));
            int plain = escapes != 0 ? __builtin_ctz(escapes) : 16;
            from += plain;
            to += plain;
        }
        if (from == end) {
            break;
        }
#endif
        char byte = *from;
        if (byte == '%') {
            int high = end - from > 2 ? bytes_hex(from[1]) : -1;
            int low = end - from > 2 ? bytes_hex(from[2]) : -1;
            if (high < 0 || low < 0) {
                return ERR_INVALID;
            }
            byte = (char)(high * 16 + low);
            from += 2;
        } else if (byte == '+') {
            byte = ' ';
        }
        *to++ = byte;
    }
    *text = (struct str){start, (size_t)(to - start)};
    form_use(form, text->size);
    return ERR_OK;
}

/* Read the pair at `*at`, and go behind it. */
static enum err parse_pair(struct form *form, struct str text, size_t *at)
{
    bool escaped_name = false;
    bool escaped_value = false;
    size_t room = text.size - *at;
    size_t name_end = find_end(text, *at, true, &escaped_name);
    size_t value_end = name_end;
    struct str name = str_cut(text, *at, name_end - *at);
    struct str value = str_cut(text, name_end, 0);
    if (name_end < text.size && text.data[name_end] == '=') {
        value_end = find_end(text, name_end + 1, false, &escaped_value);
        value = str_cut(text, name_end + 1, value_end - name_end - 1);
    }
    *at = value_end + 1;
    enum err err = escaped_name ? decode(form, room, &name) : ERR_OK;
    if (err == ERR_OK && escaped_value) {
        err = decode(form, text.size - name_end - 1, &value);
    }
    return err == ERR_OK ? form_add(form, name, value) : err;
}

enum err form_parse_urlencoded(struct form *form, struct str text)
{
    uint32_t count_before = form->field_count;
    size_t at = 0;
    while (at < text.size) {
        if (text.data[at] == '&') { /* a pair of nothing */
            at++;
            continue;
        }
        enum err err = parse_pair(form, text, &at);
        if (err != ERR_OK) {
            form->field_count = count_before;
            return err;
        }
    }
    return ERR_OK;
}

/* --- both ---------------------------------------------------------------- */

const struct form_field *form_find(const struct form *form, struct str name)
{
    for (uint32_t i = 0; i < form->field_count; i++) {
        if (str_equal(form->fields[i].name, name)) {
            return &form->fields[i];
        }
    }
    return NULL;
}

/* Copies unreserved bytes, a block at a time, up to the first block with
 * another byte in it, whose bytes before that it copies, too. Both texts have
 * at least `size` bytes, which may be overwritten behind what was copied.
 * Returns how many were copied; fewer than a block may be left. */
typedef size_t (*copy_blocks)(char *to, const char *from, size_t size);

static size_t copy_none(char *to, const char *from, size_t size)
{
    (void)to;
    (void)from;
    (void)size;
    return 0;
}

/* Written once before main(), read by any thread after. */
static copy_blocks copy_best = copy_none;

#ifdef __x86_64__

/* For each low half of a byte, the high halves with which it is unreserved, a
 * bit each: bit 0 is 0x2., bit 5 is 0x7. */
static uint8_t low_halves[16];

/* A byte is unreserved when its halves have a bit in common. */
__attribute__((target("avx2"))) static size_t
copy_avx2(char *to, const char *from, size_t size)
{
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    const __m256i low_table =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)low_halves));
    const __m256i high_table = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 1, 2, 4, 8, 16, 32, 0, 0, 0, 0, 0, 0, 0, 0));
    size_t at = 0;

    for (; size - at >= 32; at += 32) {
        __m256i block = _mm256_loadu_si256((const void *)(from + at));
        __m256i low = _mm256_and_si256(block, nibble);
        __m256i high = _mm256_and_si256(_mm256_srli_epi16(block, 4), nibble);
        __m256i common =
            _mm256_and_si256(_mm256_shuffle_epi8(low_table, low),
                             _mm256_shuffle_epi8(high_table, high));
        unsigned escapes = (unsigned)_mm256_movemask_epi8(
            _mm256_cmpeq_epi8(common, _mm256_setzero_si256()));
        _mm256_storeu_si256((void *)(to + at), block);
        if (escapes != 0) {
            return at + (size_t)__builtin_ctz(escapes);
        }
    }
    return at;
}

static void make_low_halves(void)
{
    for (unsigned code = 0x20; code < 0x80; code++) {
        if (bytes_is_unreserved((char)code)) {
            low_halves[code & 15] |= (uint8_t)(1U << ((code >> 4) - 2));
        }
    }
}

#endif

/* After the tables of bytes.c. */
__attribute__((constructor(200))) static void choose_copy(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        make_low_halves();
        copy_best = copy_avx2;
    }
#endif
}

/* Where the bytes end that may be written without growth. */
static const char *room_end(const struct buf *buf)
{
    bool limited = buf->size_max > 0 && buf->size_max < buf->capacity;
    return buf->data + (limited ? buf->size_max : buf->capacity);
}

/* Bytes that a byte takes when it is written. */
static ptrdiff_t written_size(char byte)
{
    return bytes_is_unreserved(byte) || byte == ' ' ? 1 : ESCAPE_SIZE;
}

/* Write the bytes from `at` on that need an escape, up to the first that does
 * not or that has no room. Returns where that is. */
static size_t escape_run(struct buf *to, struct str text, size_t at)
{
    static const char digits[] = "0123456789ABCDEF";
    char *out = to->data + to->size;
    const char *end = room_end(to);

    for (; at < text.size && !bytes_is_unreserved(text.data[at]); at++) {
        unsigned char code = (unsigned char)text.data[at];
        if (end - out < written_size(text.data[at])) {
            break;
        }
        if (code == ' ') {
            *out++ = '+';
            continue;
        }
        out[0] = '%';
        out[1] = digits[code >> 4];
        out[2] = digits[code & 15];
        out += ESCAPE_SIZE;
    }
    to->size = (size_t)(out - to->data);
    return at;
}

/* Write the unreserved bytes from `at` on, up to the first that is none or that
 * has no room. Returns where that is. */
static size_t copy_run(struct buf *to, struct str text, size_t at)
{
    char *out = to->data + to->size;
    const char *end = room_end(to);
    size_t left = text.size - at;
    size_t room = (size_t)(end - out);
    size_t copied = copy_best(out, text.data + at, left < room ? left : room);
    at += copied;
    out += copied;
    while (at < text.size && out < end && bytes_is_unreserved(text.data[at])) {
        *out++ = text.data[at++];
    }
    to->size = (size_t)(out - to->data);
    return at;
}

void form_escape(struct buf *to, struct str text)
{
    size_t at = 0;
    while (at < text.size && !to->failed) {
        /* A buffer with a limit may have room for no more than is needed. */
        ptrdiff_t least = written_size(text.data[at]);
        if (room_end(to) - (to->data + to->size) < least) {
            size_t wanted = to->size_max == 0 ? text.size - at + ESCAPE_SIZE
                                              : (size_t)least;
            if (buf_reserve(to, wanted) != ERR_OK) {
                return;
            }
        }
        at = bytes_is_unreserved(text.data[at]) ? copy_run(to, text, at)
                                                : escape_run(to, text, at);
    }
}
