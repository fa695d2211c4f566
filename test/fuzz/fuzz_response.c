/* Any bytes are a response, refused, or a beginning; in pieces as in one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/str.h"
#include "http/parse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTEWISE_SIZE_MAX = 512 }; /* longer input is cut more coarsely */

/* Small, so that short input meets them. */
static const struct http_limits limits = {
    .head_size_max = 2048,
    .target_size_max = 256,
};

struct outcome {
    enum err err;
    size_t size;
    struct http_refusal refusal;
    struct http_head head;
};

static void parse(struct str input, size_t *scanned, struct outcome *out)
{
    out->size = 0;
    out->err = http_parse_response(input, &limits, scanned, &out->head,
                                   &out->size, &out->refusal);
}

static void check_slice(struct str slice, struct str input)
{
    CHECK(slice.size == 0 ||
          (slice.data >= input.data &&
           slice.data + slice.size <= input.data + input.size));
}

/* What every head that was taken promises. */
static void check_head(const struct http_head *head, struct str input)
{
    CHECK(head->header_count <= HTTP_HEADERS_MAX);
    CHECK(head->status >= 100 && head->status <= 999);
    CHECK(!head->chunked || head->content_length == HTTP_LENGTH_NONE);
    CHECK(!head->expect_continue);
    for (uint32_t i = 0; i < head->header_count; i++) {
        struct http_header header = head->headers[i];
        check_slice(header.name, input);
        check_slice(header.value, input);
        CHECK(http_is_token(header.name));
        CHECK(http_is_field_value(header.value));
        CHECK(http_head_find(head, header.name) <= &head->headers[i]);
    }
}

/* The same bytes in pieces end as they do in one. */
static void check_pieces(struct str input, const struct outcome *whole)
{
    static struct outcome pieces;
    size_t scanned = 0;
    size_t at = 0;
    uint64_t random = str_hash(input);
    pieces.err = ERR_AGAIN;
    while (pieces.err == ERR_AGAIN && at < input.size) {
        random = random * UINT64_C(6364136223846793005) + 1;
        at += input.size <= BYTEWISE_SIZE_MAX ? 1 : 1 + (random >> 33) % 64;
        at = at < input.size ? at : input.size;
        /* Memory of exactly this size, so that ASan sees a step past it. */
        char *copy = malloc(at);
        CHECK(copy != NULL);
        memcpy(copy, input.data, at);
        parse((struct str){copy, at}, &scanned, &pieces);
        free(copy);
        CHECK(scanned <= at);
    }
    CHECK(pieces.err == whole->err);
    CHECK(pieces.size == whole->size);
    if (whole->err == ERR_INVALID) {
        CHECK(pieces.refusal.status == whole->refusal.status);
        CHECK(strcmp(pieces.refusal.reason, whole->refusal.reason) == 0);
    }
    if (whole->err == ERR_OK) {
        CHECK(pieces.head.header_count == whole->head.header_count);
        CHECK(pieces.head.content_length == whole->head.content_length);
        CHECK(pieces.head.chunked == whole->head.chunked);
        CHECK(pieces.head.keep_alive == whole->head.keep_alive);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole;
    struct str input = {(const char *)data, size};
    size_t scanned = 0;
    parse(input, &scanned, &whole);
    CHECK(whole.err == ERR_OK || whole.err == ERR_AGAIN ||
          whole.err == ERR_INVALID);
    if (whole.err == ERR_OK) {
        CHECK(whole.size <= size);
        CHECK(whole.size <= limits.head_size_max + 2);
        check_head(&whole.head, input);
    }
    check_pieces(input, &whole);
    return 0;
}
