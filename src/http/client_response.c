/* One response as the client reads it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/client_response.h"

#include "base/check.h"

/* What comes next. */
enum stage {
    STAGE_HEAD,
    STAGE_LENGTH,      /* `left` bytes of body */
    STAGE_CHUNKED,     /* chunks */
    STAGE_UNTIL_CLOSE, /* body until the stream ends */
    STAGE_DONE,
};

enum {
    STATUS_SWITCHING = 101,
    STATUS_OK = 200, /* the first that is not interim */
    STATUS_NO_CONTENT = 204,
    STATUS_NOT_MODIFIED = 304,
};

static const struct http_limits head_limits = {
    .head_size_max = CLIENT_RESPONSE_HEAD_MAX,
};

void client_response_init(struct client_response *response,
                          const struct client_response_limits *limits)
{
    *response = (struct client_response){.limits = limits};
}

void client_response_fini(struct client_response *response)
{
    buf_fini(&response->bytes);
}

void client_response_begin(struct client_response *response, bool head_only)
{
    buf_clear(&response->bytes);
    response->body = (struct str){NULL, 0};
    response->chunked = (struct http_chunked){0};
    response->left = 0;
    response->body_size = 0;
    response->scanned = 0;
    response->head_size = 0;
    response->stage = STAGE_HEAD;
    response->interim_count = 0;
    response->head_only = head_only;
    response->begun = false;
    response->reusable = false;
}

/* See from its head how the body is delimited (RFC 9112, 6.3). */
static void judge_body(struct client_response *response,
                       const struct http_head *head)
{
    response->reusable = head->keep_alive;
    if (response->head_only || head->status == STATUS_NO_CONTENT ||
        head->status == STATUS_NOT_MODIFIED) {
        response->stage = STAGE_LENGTH;
        response->left = 0;
    } else if (head->chunked) {
        response->stage = STAGE_CHUNKED;
    } else if (head->content_length != HTTP_LENGTH_NONE) {
        response->stage = STAGE_LENGTH;
        response->left = head->content_length;
    } else {
        response->stage = STAGE_UNTIL_CLOSE;
        response->reusable = false;
    }
    if (response->left > response->limits->drop_size_max) {
        response->reusable = false; /* it will not be read to its end */
    }
}

/* Count a head of 1xx, which is skipped. */
static enum err skip_interim(struct client_response *response,
                             const struct http_head *head,
                             const char **out_reason)
{
    if (head->status == STATUS_SWITCHING) {
        *out_reason = "switches protocols unasked";
        return ERR_PROTOCOL;
    }
    response->interim_count++;
    if (response->interim_count > CLIENT_RESPONSE_INTERIM_MAX) {
        *out_reason = "too many interim responses";
        return ERR_PROTOCOL;
    }
    return ERR_OK;
}

/* The bytes of the head as far as they are known: `rest`, or behind the
 * copies of what came before. */
static enum err head_text(struct client_response *response,
                          struct str rest,
                          struct str *out_text)
{
    *out_text = rest;
    if (response->bytes.size > 0) {
        buf_append_str(&response->bytes, rest);
        *out_text = buf_str(&response->bytes);
    }
    return buf_err(&response->bytes);
}

/* Keep a copy of the head alone, behind which the body will be kept. */
static enum err
keep_head(struct client_response *response, struct str text, size_t head_size)
{
    if (response->bytes.size == 0) {
        buf_append(&response->bytes, text.data, head_size);
    } else {
        response->bytes.size = head_size; /* body came with it: fed again */
    }
    response->head_size = head_size;
    return buf_err(&response->bytes);
}

/* A head in place, and the whole body behind it: nothing needs copying. */
static bool
take_in_place(struct client_response *response, struct str input, size_t *at)
{
    if (response->bytes.size > 0 || response->stage != STAGE_LENGTH ||
        response->left > input.size - *at) {
        return false;
    }
    size_t size = (size_t)response->left;
    size_t keep_max = response->limits->keep_size_max;
    response->body = str_cut(input, *at, size < keep_max ? size : keep_max);
    response->body_size = size;
    response->left = 0;
    response->stage = STAGE_DONE;
    *at += size;
    return true;
}

/* Read a head, from `*at` on. */
static enum err feed_head(struct client_response *response,
                          struct str input,
                          size_t *at,
                          struct http_head *head,
                          const char **out_reason)
{
    struct str rest = str_cut(input, *at, input.size);
    size_t before = response->bytes.size;
    struct http_refusal refusal;
    struct str text;
    size_t size = 0;
    enum err err = head_text(response, rest, &text);
    if (err != ERR_OK) {
        return err;
    }
    err = http_parse_response(text, &head_limits, &response->scanned, head,
                              &size, &refusal);
    if (err == ERR_AGAIN) {
        if (before == 0) {
            buf_append_str(&response->bytes, rest);
        }
        *at = input.size;
        return response->bytes.failed ? ERR_NOMEM : ERR_AGAIN;
    }
    if (err != ERR_OK) {
        *out_reason = refusal.reason;
        return ERR_PROTOCOL;
    }
    CHECK(size > before); /* else it would have been whole before */
    *at += size - before;
    response->scanned = 0;
    if (head->status < STATUS_OK) {
        buf_clear(&response->bytes);
        return skip_interim(response, head, out_reason);
    }
    judge_body(response, head);
    if (take_in_place(response, input, at)) {
        return ERR_OK;
    }
    return keep_head(response, text, size);
}

/* Keep what fits of a piece of body. */
static enum err take_body(struct client_response *response, struct str piece)
{
    size_t kept = response->bytes.size - response->head_size;
    size_t room = response->limits->keep_size_max - kept;
    response->body_size += piece.size;
    buf_append_str(&response->bytes, str_cut(piece, 0, room));
    return buf_err(&response->bytes);
}

/* Tell whether no more of the body is wanted, though it goes on. */
static bool has_enough(const struct client_response *response)
{
    const struct client_response_limits *limits = response->limits;
    if (response->stage == STAGE_LENGTH &&
        response->left + response->body_size > limits->drop_size_max) {
        return response->body_size >= limits->keep_size_max;
    }
    return response->body_size > limits->drop_size_max;
}

static enum err
feed_length(struct client_response *response, struct str input, size_t *at)
{
    struct str rest = str_cut(input, *at, input.size);
    if (rest.size > response->left) {
        rest.size = (size_t)response->left;
    }
    enum err err = take_body(response, rest);
    response->left -= rest.size;
    *at += rest.size;
    if (response->left == 0) {
        response->stage = STAGE_DONE;
    }
    return err;
}

static enum err feed_chunked(struct client_response *response,
                             struct str input,
                             size_t *at,
                             const char **out_reason)
{
    enum err err = ERR_OK;
    bool done = false;
    while (err == ERR_OK && !done && !has_enough(response)) {
        struct str piece = {NULL, 0};
        size_t used = 0;
        err = http_chunked_next(&response->chunked,
                                str_cut(input, *at, input.size), &used, &piece,
                                &done);
        if (err == ERR_INVALID) {
            *out_reason = "malformed chunked body";
            return ERR_PROTOCOL;
        }
        if (err == ERR_OK) {
            *at += used;
            err = take_body(response, piece);
        }
    }
    if (done) {
        response->stage = STAGE_DONE;
    }
    return err == ERR_AGAIN ? ERR_OK : err;
}

static enum err
feed_until_close(struct client_response *response, struct str input, size_t *at)
{
    struct str rest = str_cut(input, *at, input.size);
    *at = input.size;
    return take_body(response, rest);
}

static enum err feed_body(struct client_response *response,
                          struct str input,
                          size_t *at,
                          const char **out_reason)
{
    enum err err = ERR_OK;
    if (response->stage == STAGE_LENGTH) {
        err = feed_length(response, input, at);
    } else if (response->stage == STAGE_CHUNKED) {
        err = feed_chunked(response, input, at, out_reason);
    } else {
        err = feed_until_close(response, input, at);
    }
    if (err == ERR_OK && response->stage != STAGE_DONE &&
        has_enough(response)) {
        response->stage = STAGE_DONE;
        response->reusable = false;
    }
    return err;
}

/* All is there. What was copied is found where it lies now. */
static void finish(struct client_response *response, struct http_head *head)
{
    struct str bytes = buf_str(&response->bytes);
    struct str text = str_cut(bytes, 0, response->head_size);
    struct http_refusal refusal;
    size_t scanned = 0;
    size_t size = 0;
    if (response->head_size == 0) {
        return; /* in place */
    }
    enum err err = http_parse_response(text, &head_limits, &scanned, head,
                                       &size, &refusal);
    CHECK(err == ERR_OK); /* as it was before */
    response->body = str_cut(bytes, response->head_size, bytes.size);
}

enum err client_response_feed(struct client_response *response,
                              struct str input,
                              struct http_head *out_head,
                              size_t *out_used,
                              const char **out_reason)
{
    size_t at = 0;
    response->begun = response->begun || input.size > 0;
    while (response->stage == STAGE_HEAD) {
        if (at == input.size) {
            return ERR_AGAIN;
        }
        enum err err = feed_head(response, input, &at, out_head, out_reason);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (response->stage != STAGE_DONE) {
        enum err err = feed_body(response, input, &at, out_reason);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (response->stage != STAGE_DONE) {
        CHECK(at == input.size);
        return ERR_AGAIN;
    }
    finish(response, out_head);
    *out_used = at;
    return ERR_OK;
}

enum err client_response_end(struct client_response *response,
                             struct http_head *out_head,
                             const char **out_reason)
{
    if (response->stage == STAGE_UNTIL_CLOSE) {
        response->stage = STAGE_DONE;
        finish(response, out_head);
        return ERR_OK;
    }
    if (!response->begun) {
        *out_reason = "closed the connection without a response";
        return ERR_CLOSED;
    }
    *out_reason = response->stage == STAGE_HEAD
                      ? "closed the connection in the head of a response"
                      : "closed the connection in the body of a response";
    return ERR_RESET;
}
