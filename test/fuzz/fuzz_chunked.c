/* A chunked body is the same however it comes in pieces.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "http/parse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum err err;
    size_t used; /* bytes up to the end of the body, or the refused one */
    struct buf body;
};

/* Decode pieces of `piece_max` bytes; random ones when it is 0. */
static void decode(struct str input, size_t piece_max, struct outcome *out)
{
    struct http_chunked chunked = {0};
    uint64_t random = str_hash(input);
    size_t limit = 0; /* what has come */
    bool done = false;
    *out = (struct outcome){.err = ERR_AGAIN};
    while (!done && out->used < input.size) {
        if (out->used == limit) {
            random = random * UINT64_C(6364136223846793005) + 1;
            size_t piece = piece_max > 0 ? piece_max : 1 + (random >> 33) % 40;
            limit = piece < input.size - limit ? limit + piece : input.size;
        }
        size_t used = 0;
        struct str data = {NULL, 0};
        struct str rest = str_cut(input, out->used, limit - out->used);
        enum err err = http_chunked_next(&chunked, rest, &used, &data, &done);
        if (err != ERR_OK) {
            CHECK(err == ERR_INVALID);
            out->err = err;
            return;
        }
        CHECK(used > 0 && used <= rest.size && data.size <= used);
        CHECK(data.size == 0 || data.data + data.size == rest.data + used);
        buf_append_str(&out->body, data);
        out->used += used;
    }
    out->err = done ? ERR_OK : ERR_AGAIN;
}

static void check_same(const struct outcome *left, const struct outcome *right)
{
    CHECK(left->err == right->err);
    CHECK(left->err == ERR_INVALID || left->used == right->used);
    CHECK(left->err == ERR_INVALID ||
          str_equal(buf_str(&left->body), buf_str(&right->body)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = {(const char *)data, size};
    static const size_t pieces[] = {1, 0};
    struct outcome whole;
    decode(input, size > 0 ? size : 1, &whole);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct outcome other;
        decode(input, pieces[i], &other);
        check_same(&whole, &other);
        buf_fini(&other.body);
    }
    buf_fini(&whole.body);
    return 0;
}
