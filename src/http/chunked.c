/* Chunked bodies, byte by byte through a small machine for the framing, and
 * in one step for the data (RFC 9112, 7.1).
 *
 * Every byte of framing is taken as it comes, so nothing of it needs to be
 * kept between calls, and a body cut anywhere reads the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/parse.h"

#include "base/check.h"
#include "http/bytes.h"

enum {
    OVERHEAD_MAX = 16 * 1024, /* bytes of extensions, trailers and leading
                                 zeros of one body */
};

/* What comes next. The first is 0: a zeroed machine begins there. */
enum state {
    STATE_SIZE_FIRST, /* first digit of a chunk's size */
    STATE_SIZE,       /* more digits, an extension or the line's end */
    STATE_EXTENSION,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_FIRST, /* first byte of a trailer, or of the last line */
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
    STATE_DONE,
};

static const uint64_t chunk_size_max = INT64_MAX;

/* One more byte that carries no data; false past the bound. */
static bool count_overhead(struct http_chunked *chunked)
{
    chunked->overhead++;
    return chunked->overhead <= OVERHEAD_MAX;
}

/* Each step takes one byte and moves the machine; false is malformed. */
static bool step_size(struct http_chunked *chunked, char byte)
{
    int digit = bytes_hex(byte);
    if (digit >= 0) {
        if (chunked->left > (chunk_size_max >> 4)) {
            return false;
        }
        bool zero = chunked->state == STATE_SIZE && chunked->left == 0;
        chunked->left = chunked->left * 16 + (uint64_t)digit;
        chunked->state = STATE_SIZE;
        return !zero || count_overhead(chunked);
    }
    if (chunked->state == STATE_SIZE_FIRST) {
        return false;
    }
    if (byte == '\r') {
        chunked->state = STATE_SIZE_LF;
        return true;
    }
    chunked->state = STATE_EXTENSION;
    return byte == ';' && count_overhead(chunked);
}

static bool step_extension(struct http_chunked *chunked, char byte)
{
    if (byte == '\r') {
        chunked->state = STATE_SIZE_LF;
        return true;
    }
    return !bytes_is_control(byte) && count_overhead(chunked);
}

static bool step_trailer(struct http_chunked *chunked, char byte)
{
    bool first = chunked->state == STATE_TRAILER_FIRST;
    bool value = chunked->state == STATE_TRAILER_VALUE;
    if (byte == '\r' && first) {
        chunked->state = STATE_END_LF;
        return true;
    }
    if (byte == '\r' && value) {
        chunked->state = STATE_TRAILER_LF;
        return true;
    }
    if (!count_overhead(chunked)) {
        return false;
    }
    if (value) {
        return !bytes_is_control(byte);
    }
    if (byte == ':' && !first) {
        chunked->state = STATE_TRAILER_VALUE;
        return true;
    }
    chunked->state = STATE_TRAILER_NAME;
    return bytes_is_token(byte);
}

static bool
step_fixed(struct http_chunked *chunked, char byte, char wanted, uint32_t next)
{
    chunked->state = next;
    return byte == wanted;
}

static bool step(struct http_chunked *chunked, char byte)
{
    switch ((enum state)chunked->state) {
    case STATE_SIZE_FIRST:
    case STATE_SIZE:
        return step_size(chunked, byte);
    case STATE_EXTENSION:
        return step_extension(chunked, byte);
    case STATE_SIZE_LF:
        return step_fixed(chunked, byte, '\n',
                          chunked->left > 0 ? STATE_DATA : STATE_TRAILER_FIRST);
    case STATE_DATA_CR:
        return step_fixed(chunked, byte, '\r', STATE_DATA_LF);
    case STATE_DATA_LF:
        return step_fixed(chunked, byte, '\n', STATE_SIZE_FIRST);
    case STATE_TRAILER_FIRST:
    case STATE_TRAILER_NAME:
    case STATE_TRAILER_VALUE:
        return step_trailer(chunked, byte);
    case STATE_TRAILER_LF:
        return step_fixed(chunked, byte, '\n', STATE_TRAILER_FIRST);
    case STATE_END_LF:
        return step_fixed(chunked, byte, '\n', STATE_DONE);
    case STATE_DATA:
    case STATE_DONE:
    default:
        return false;
    }
}

bool http_chunked_is_sound(const struct http_chunked *chunked)
{
    bool counts = chunked->state == STATE_SIZE ||
                  chunked->state == STATE_EXTENSION ||
                  chunked->state == STATE_SIZE_LF;

    if (chunked->state >= STATE_DONE || chunked->overhead > OVERHEAD_MAX ||
        chunked->left > chunk_size_max) {
        return false;
    }
    return counts || (chunked->left > 0) == (chunked->state == STATE_DATA);
}

enum err http_chunked_next(struct http_chunked *chunked,
                           struct str input,
                           size_t *out_used,
                           struct str *out_data,
                           bool *out_done)
{
    size_t at = 0;
    struct str data = {NULL, 0};
    if (input.size == 0 && chunked->state != STATE_DONE) {
        return ERR_AGAIN;
    }
    while (at < input.size && chunked->state != STATE_DATA &&
           chunked->state != STATE_DONE) {
        if (!step(chunked, input.data[at])) {
            return ERR_INVALID;
        }
        at++;
    }
    if (chunked->state == STATE_DATA && at < input.size) {
        CHECK(chunked->left > 0);
        data = str_cut(input, at, input.size);
        if (data.size >= chunked->left) {
            data.size = (size_t)chunked->left;
            chunked->state = STATE_DATA_CR;
        }
        chunked->left -= data.size;
        at += data.size;
    }
    *out_used = at;
    *out_data = data;
    *out_done = chunked->state == STATE_DONE;
    return ERR_OK;
}
