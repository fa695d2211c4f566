/* Turns a push request into a message: the four forms a push can have.
 *
 *   form       urlencoded or multipart fields, query parameters too; the first
 *              OPQ's. Every field is kept but `url` and `topic`, which the
 *              message and its topic say; end-to-end headers are kept.
 *   JSON       one object; `message` becomes the body, byte for byte.
 *   raw        any other type, with `topic` and `url` in the query or as
 *              Opq-Topic and Opq-Url; the body byte for byte.
 *   batch      items of JSON, one after the other: recorder_read_item().
 *
 * A CloudEvent is a raw push: a structured one by its content type, a binary
 * one by its header ce-specversion, whose body is data, whatever its type. Its
 * headers ce-NAME are kept. One that is not valid is refused, in whatever form
 * it came.
 *
 * A push without `url` is for the topic's subscriptions; whether there are any
 * is for the topic's shard to say (push_task.h).
 *
 * Control values (sync, timeout, method, ...) come as a header `Opq-Name`, a
 * query parameter `name` or a JSON member `name`. In a form every field is the
 * message's, as it was with the first OPQ, so there a field is a control value
 * only under its header's name: `Opq-Sync`. A name's underscores are hyphens in
 * headers, or stay: `Opq-Not-Before`, `Opq-Not_Before`. Header `Opq-Forward-X:
 * v` is kept as header `X: v` of the delivery. `Idempotency-Key` is `dedup_id`,
 * and not delivered.
 *
 * Nothing is kept between requests; slices borrow the request, or the
 * recorder's scratch memory until the next call.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_RECORDER_H
#define OPQ_QUEUE_RECORDER_H

#include "base/err.h"
#include "base/json_scan.h"
#include "base/str.h"
#include "http/form.h"
#include "http/parse.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct recorder;

enum {
    RECORDER_DETAIL_MAX = 160, /* bytes of a refusal's words, NUL included */
    RECORDER_TIMEOUT_MAX_MS = 3600 * 1000, /* of one attempt */
    RECORDER_TEXT_MAX = 256, /* bytes of key, label and the like */
    RECORDER_RETRIES_MAX = 1000000,
};

/* How far ahead a push may be delayed: a year, and a leap year's day. */
#define RECORDER_DELAY_MAX_MS (UINT64_C(366) * 24 * 3600 * 1000)

/* A push, read. Borrowed: see the head of the file. */
struct push {
    struct str topic;
    struct message message;
    enum durability durability;
    bool expects;        /* it wants to be stored with this number: */
    uint64_t expect_seq; /* or not at all */
    bool dated;          /* it has a `not_before`, past or to come */
    bool owed;           /* it follows from a message that was accepted: see
                            struct store_op */
};

/* Why a request is no push. */
struct push_refusal {
    int status;                       /* 400, 413, 414, 415 */
    char detail[RECORDER_DETAIL_MAX]; /* which field, and what is wrong */
};

struct recorder_options {
    enum durability durability; /* of a push that does not say */
    /* Whether a target's host is allowed at all; NULL: all are. Names are
     * checked again, by address, when connected to. The answer for a host is
     * always the same: it is not asked for every push. */
    bool (*target_allowed)(void *context, struct str host);
    void *context; /* borrowed */
};

/* Make a recorder. Gives: `*out`, for recorder_destroy(). Errors: ERR_NOMEM */
MUST_CHECK enum err recorder_create(const struct recorder_options *options,
                                    struct recorder **out);

/* Free it. Accepts NULL. */
void recorder_destroy(struct recorder *recorder);

/* Read a push of any form.
 *
 * Borrows: head and body, as long as `*out_push` is used.
 * Errors:  ERR_INVALID  it is none; `*out_refusal` says why
 *          ERR_NOMEM
 */
MUST_CHECK enum err recorder_read(struct recorder *recorder,
                                  const struct http_head *head,
                                  struct str body,
                                  uint64_t now_ms,
                                  struct push *out_push,
                                  struct push_refusal *out_refusal);

/* Tell whether a push with this head is a raw one whose body need not be looked
 * at, by its type. */
bool recorder_is_raw(const struct http_head *head);

/* Tell whether a request has a JSON array of CloudEvents. */
bool recorder_is_event_batch(const struct http_head *head);

/* An item of a batch, looked at and well formed. Borrowed. */
struct recorder_item {
    bool event;      /* it is a CloudEvent, structured; else a JSON push */
    struct str json; /* one value, from its first byte to its last */
    /* Its members when it is an object and they were kept; NULL: they are read
     * from `json`. */
    const struct recorder_member *members;
    uint32_t member_count;
};

struct recorder_member {
    struct json_scan_value name;
    struct json_scan_value value;
};

/* Begin to read the items of a batch. `head` gives nothing but the defaults of
 * control values, in its Opq- headers and query; `dedup_id` and `expect_seq`,
 * which are of one message, are refused there. When it is refused, so is all of
 * the batch.
 * Borrows: head, until the last recorder_read_item()
 * Errors:  as recorder_read() */
MUST_CHECK enum err recorder_begin_items(struct recorder *recorder,
                                         const struct http_head *head,
                                         uint64_t now_ms,
                                         struct push_refusal *out_refusal);

/* Read a push from one JSON object, or event, after recorder_begin_items() and
 * nothing else but other items. Borrows and errors: as recorder_read() */
MUST_CHECK enum err recorder_read_item(struct recorder *recorder,
                                       const struct recorder_item *item,
                                       struct push *out_push,
                                       struct push_refusal *out_refusal);

/* Read `topic` and `cmd` of a replay: fields of a form, members of a JSON
 * object, query parameters, Opq- headers; each once. Other fields of a form are
 * there, too, for the first OPQ did not mind them; others are refused.
 *
 * Gives:   the recorder's scratch form, until its next call.
 * Borrows: head and body, as long as the form is used.
 * Errors:  ERR_INVALID, ERR_NOMEM
 */
MUST_CHECK enum err recorder_read_form(struct recorder *recorder,
                                       const struct http_head *head,
                                       struct str body,
                                       const struct form **out_form,
                                       struct push_refusal *out_refusal);

#endif
