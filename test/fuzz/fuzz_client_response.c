/* Fuzz http/client_response: a stream of responses, cut anywhere, must read
 * the same as in one piece.
 *
 * The first byte of an input says how the request was, the second seeds the
 * cuts; the rest is the stream.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "http/client_response.h"

#include <stdlib.h>
#include <string.h>

enum { RESPONSES_MAX = 8, KEPT_MAX = 64, PIECE_MAX = 16 * 1024 };

/* One response, as it ended. */
struct ending {
    enum err err;
    int status;
    bool reusable;
    size_t body_size;
    char body[KEPT_MAX];
    size_t at; /* bytes of the stream that were used; not after an error */
};

static const struct client_response_limits limits = {
    .keep_size_max = KEPT_MAX,
    .drop_size_max = 1000,
};

static struct http_head head;

static void note(struct ending *ending,
                 const struct client_response *response,
                 enum err err,
                 size_t at)
{
    memset(ending, 0, sizeof(*ending));
    ending->err = err;
    if (err == ERR_OK) {
        ending->at = at;
        ending->status = head.status;
        ending->reusable = response->reusable;
        ending->body_size = response->body.size;
        CHECK(response->body.size <= KEPT_MAX);
        if (response->body.size > 0) {
            memcpy(ending->body, response->body.data, response->body.size);
        }
    }
}

/* Feed bytes up to `end`; a copy of each piece, so that reading past it, or
 * reading it later, is found out. */
static enum err feed_piece(struct client_response *response,
                           const char *data,
                           size_t size,
                           size_t *out_used,
                           struct ending *ending,
                           size_t at)
{
    const char *reason = NULL;
    char *copy = malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    enum err err = client_response_feed(response, (struct str){copy, size},
                                        &head, out_used, &reason);
    CHECK(err == ERR_OK || err == ERR_AGAIN || err == ERR_PROTOCOL);
    CHECK(err != ERR_PROTOCOL || reason != NULL);
    if (err != ERR_AGAIN) {
        note(ending, response, err, at + (err == ERR_OK ? *out_used : 0));
    }
    free(copy);
    return err;
}

/* Read one response from `*at` on, in pieces by `seed`; 0: as large as they
 * come from a socket. */
static void read_one(struct client_response *response,
                     struct str stream,
                     size_t *at,
                     unsigned *seed,
                     struct ending *ending)
{
    enum err err = ERR_AGAIN;
    while (*at < stream.size && err == ERR_AGAIN) {
        size_t size = PIECE_MAX;
        size_t used = 0;
        if (*seed != 0) {
            *seed = *seed * 1103515245U + 12345U;
            size = 1 + (*seed >> 16) % 13;
        }
        if (size > stream.size - *at) {
            size = stream.size - *at;
        }
        err = feed_piece(response, stream.data + *at, size, &used, ending, *at);
        CHECK(used <= size);
        *at += err == ERR_OK ? used : size;
    }
    if (err == ERR_AGAIN) {
        const char *reason = NULL;
        err = client_response_end(response, &head, &reason);
        CHECK(err == ERR_OK || err == ERR_CLOSED || err == ERR_RESET);
        CHECK(err == ERR_OK || reason != NULL);
        note(ending, response, err, stream.size);
    }
}

/* Read responses as long as the connection could be used again. */
static int read_all(struct str stream,
                    bool head_only,
                    unsigned seed,
                    struct ending endings[RESPONSES_MAX])
{
    struct client_response response;
    size_t at = 0;
    int count = 0;
    client_response_init(&response, &limits);
    while (count < RESPONSES_MAX) {
        client_response_begin(&response, head_only);
        read_one(&response, stream, &at, &seed, &endings[count]);
        count++;
        if (endings[count - 1].err != ERR_OK || !endings[count - 1].reusable) {
            break;
        }
    }
    client_response_fini(&response);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ending whole[RESPONSES_MAX];
    static struct ending cut[RESPONSES_MAX];
    if (size < 2) {
        return 0;
    }
    struct str stream = {(const char *)data + 2, size - 2};
    bool head_only = (data[0] & 1) != 0;
    int count = read_all(stream, head_only, 0, whole);
    CHECK(read_all(stream, head_only, data[1] + 1U, cut) == count);
    for (int i = 0; i < count; i++) {
        CHECK(whole[i].err == cut[i].err);
        CHECK(whole[i].status == cut[i].status);
        CHECK(whole[i].body_size == cut[i].body_size);
        CHECK(memcmp(whole[i].body, cut[i].body, KEPT_MAX) == 0);
        CHECK(whole[i].reusable == cut[i].reusable);
        /* What is too long to be read to its end is left anywhere. */
        CHECK(whole[i].at == cut[i].at || !whole[i].reusable);
    }
    return 0;
}
