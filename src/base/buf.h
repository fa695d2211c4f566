/* Owned bytes that grow, and a checked cursor over borrowed ones.
 *
 * `struct buf` is for what we write: it owns its memory and grows up to a
 * limit. A failed append sets `failed` and later ones do nothing, so that a
 * row of appends is checked once at its end.
 *
 * `struct reader` is for what we are given: all access to bytes from disk or
 * network goes through it. It knows what is left; a read past the end gives
 * zeros and sets `failed`, which is checked once at the end.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_BUF_H
#define OPQ_BASE_BUF_H

#include "base/err.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;      /* owned; NULL while capacity is 0 */
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
    size_t size_max; /* appends past it fail; 0 is no limit */
    bool failed;     /* an append failed: no memory, or past size_max */
};

/* Make an empty buffer. Allocates nothing. A zeroed struct is the same with
 * no limit. */
void buf_init(struct buf *buf, size_t size_max);

/* Free the memory; the buffer is empty and usable again. */
void buf_fini(struct buf *buf);

/* Forget the content and `failed`, keep the memory. */
void buf_clear(struct buf *buf);

/* Make room for `size` more bytes, which then are appended without growth.
 *
 * Errors: ERR_NOMEM      (and `failed` is set)
 *         ERR_TOO_LARGE  past size_max (and `failed` is set)
 */
MUST_CHECK enum err buf_reserve(struct buf *buf, size_t size);

/* Append bytes; sets `failed` when it cannot. */
void buf_append(struct buf *buf, const void *data, size_t size);

/* Append a slice. */
void buf_append_str(struct buf *buf, struct str text);

/* Append a terminated string. */
void buf_append_c(struct buf *buf, const char *text);

/* Append one byte. */
void buf_append_byte(struct buf *buf, char byte);

/* Append a number in decimal. */
void buf_append_u64(struct buf *buf, uint64_t value);

/* Append as printf does. */
void buf_append_format(struct buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Append text as the inside of a JSON string: escapes quote, backslash and
 * controls; bytes that are not UTF-8 become U+FFFD. Adds no quotes. */
void buf_append_json(struct buf *buf, struct str text);

/* Drop the first `size` bytes, which are there, and move the rest forward. */
void buf_consume(struct buf *buf, size_t size);

/* The content as a slice, borrowed until the next append. */
struct str buf_str(const struct buf *buf);

/* `failed` as a code: ERR_OK or ERR_NOMEM. */
MUST_CHECK enum err buf_err(const struct buf *buf);

struct reader {
    const uint8_t *data; /* borrowed */
    size_t size;         /* bytes in all */
    size_t position;     /* <= size */
    bool failed;         /* something was read past the end */
};

/* Read from `text`, which outlives the reader. */
struct reader reader_of(struct str text);

/* Bytes not read yet. */
size_t reader_left(const struct reader *reader);

/* Read a little-endian number; 0 and `failed` when it is not all there. */
uint8_t reader_u8(struct reader *reader);
/* As reader_u8(), 2 bytes. */
uint16_t reader_u16(struct reader *reader);
/* As reader_u8(), 4 bytes. */
uint32_t reader_u32(struct reader *reader);
/* As reader_u8(), 8 bytes. */
uint64_t reader_u64(struct reader *reader);

/* Read `size` bytes; the empty slice and `failed` when they are not there. */
struct str reader_bytes(struct reader *reader, size_t size);

/* Go to a position from the start; `failed` when it is past the end. */
void reader_seek(struct reader *reader, size_t position);

/* Store a little-endian number at `to`. */
static inline void put_u16(void *to, uint16_t value)
{
    __builtin_memcpy(to, &value, sizeof(value));
}
/* Store a little-endian number at `to`. */
static inline void put_u32(void *to, uint32_t value)
{
    __builtin_memcpy(to, &value, sizeof(value));
}
/* Store a little-endian number at `to`. */
static inline void put_u64(void *to, uint64_t value)
{
    __builtin_memcpy(to, &value, sizeof(value));
}

/* Append a number as put_u32() writes it. */
static inline void buf_put_u32(struct buf *buf, uint32_t value)
{
    char bytes[4];
    put_u32(bytes, value);
    buf_append(buf, bytes, sizeof(bytes));
}

/* Append a number as put_u64() writes it. */
static inline void buf_put_u64(struct buf *buf, uint64_t value)
{
    char bytes[8];
    put_u64(bytes, value);
    buf_append(buf, bytes, sizeof(bytes));
}
/* Store a text at `to`; returns where it ends. */
static inline char *put_text(char *to, struct str text)
{
    if (text.size > 0) {
        __builtin_memcpy(to, text.data, text.size);
    }
    return to + text.size;
}
enum { PUT_DECIMAL_MAX = 20 }; /* bytes of the longest number */

/* Store a number in decimal, at most PUT_DECIMAL_MAX bytes, at `to`; returns
 * where it ends. */
char *put_decimal(char *to, uint64_t value);

/* Load a little-endian number. */
static inline uint16_t get_u16(const void *from)
{
    uint16_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}
/* Load a little-endian number. */
static inline uint32_t get_u32(const void *from)
{
    uint32_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}
/* Load a little-endian number. */
static inline uint64_t get_u64(const void *from)
{
    uint64_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the disk format is little-endian; swap in put_ and get_ first"
#endif

#endif
