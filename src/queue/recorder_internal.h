/* What the files of the recorder share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_RECORDER_INTERNAL_H
#define OPQ_QUEUE_RECORDER_INTERNAL_H

#include "base/buf.h"
#include "http/form.h"
#include "queue/recorder.h"
#include "queue/url_memo.h"

/* In `given`: JSON had its headers. Control values have the low bits. */
#define RECORDER_GIVEN_HEADERS (1U << 31)

/* What a push asks for besides. Set only where push.message.options is. */
struct recorder_asked {
    struct message_options options;
    uint64_t due_ms; /* not to be delivered before; it may be past */
    uint64_t ttl_ms; /* how long it is to be delivered then; 0: for ever */
};

/* Scratch memory for one push at a time. */
struct recorder {
    struct recorder_options options;
    struct push push;            /* being read */
    struct recorder_asked asked; /* of push.message */
    struct push items;           /* what each item of a batch begins with */
    struct recorder_asked items_asked; /* of items.message */
    struct str idempotency_key;        /* borrowed; empty: none */
    uint32_t given;    /* control values that it has, a bit each */
    struct form form;  /* owned */
    struct form query; /* owned */
    struct pair fields[MESSAGE_PAIRS_MAX];  /* of push.message */
    struct pair headers[MESSAGE_PAIRS_MAX]; /* of push.message */
    struct buf memory;                      /* owned: decoded JSON strings */
    struct buf events;                      /* owned: decoded CloudEvents */
    struct url_memo urls;                   /* that passed the check */
};

/* Forget the push before, and set the defaults of the next. */
void recorder_begin(struct recorder *recorder, uint64_t now_ms);

/* Check topic and url, whatever form they came in, and give the push.
 * Errors: ERR_INVALID */
MUST_CHECK enum err recorder_finish(struct recorder *recorder,
                                    struct push *out_push,
                                    struct push_refusal *refusal);

/* Say why a request is refused: "<what> <why>". Returns ERR_INVALID. */
MUST_CHECK enum err recorder_refuse(struct push_refusal *refusal,
                                    int status,
                                    const char *what,
                                    const char *why);

/* The same for something the request names itself, with 400: "<what> <name>
 * <why>". A name that is odd or long is left out. Returns ERR_INVALID. */
MUST_CHECK enum err recorder_refuse_name(struct push_refusal *refusal,
                                         const char *what,
                                         struct str name,
                                         const char *why);

/* Set a control value by its name, without a prefix.
 * Errors: ERR_NOT_FOUND  there is none of that name
 *         ERR_INVALID    its value has no sense, or it has one already */
MUST_CHECK enum err recorder_control(struct recorder *recorder,
                                     struct str name,
                                     struct str value,
                                     struct push_refusal *refusal);

/* Take the header Idempotency-Key, another name of `dedup_id`.
 * Errors: ERR_INVALID  it is no text, or there was one */
MUST_CHECK enum err recorder_idempotency_key(struct recorder *recorder,
                                             struct str value,
                                             struct push_refusal *refusal);

/* Work out what depends on several control values, and check the URLs among
 * them; for a push that has options or an Idempotency-Key.
 * Errors: ERR_INVALID */
MUST_CHECK enum err recorder_finish_options(struct recorder *recorder,
                                            struct push_refusal *refusal);

/* Keep the control values of a batch's head, for its items.
 * Errors: ERR_INVALID  one of them makes sense for one message only */
MUST_CHECK enum err recorder_keep_defaults(struct recorder *recorder,
                                           struct push_refusal *refusal);

/* Begin an item with what was kept. */
void recorder_take_defaults(struct recorder *recorder);

/* Check the URL of a target, by the name of the field that has it.
 * Errors: ERR_INVALID  missing, malformed, too long, or not allowed */
MUST_CHECK enum err recorder_check_url(struct recorder *recorder,
                                       const char *name,
                                       struct str text,
                                       struct push_refusal *refusal);

/* Tell whether there is a control value of this name, without a prefix. */
bool recorder_knows(struct str name);

/* Add a header that the producer names for the delivery.
 * Errors: ERR_INVALID  malformed, one that OPQ sets, or too many */
MUST_CHECK enum err recorder_add_header(struct recorder *recorder,
                                        struct str name,
                                        struct str value,
                                        struct push_refusal *refusal);

/* Take control values and forwarded fields from a request's head; with
 * `verbatim` its end-to-end fields, too.
 * Errors: ERR_INVALID */
MUST_CHECK enum err recorder_take_head(struct recorder *recorder,
                                       const struct http_head *head,
                                       bool verbatim,
                                       struct push_refusal *refusal);

/* Take control values from the query; unknown names are refused.
 * Errors: ERR_INVALID, ERR_NOMEM */
MUST_CHECK enum err recorder_take_query(struct recorder *recorder,
                                        const struct http_head *head,
                                        struct push_refusal *refusal);

/* Tell whether a request is a binary CloudEvent, whose body is its data
 * whatever the content type says. */
bool recorder_has_event_head(const struct http_head *head);

/* Keep the attributes of a binary CloudEvent, as they came.
 * Errors: ERR_INVALID  too many */
MUST_CHECK enum err recorder_take_event_head(struct recorder *recorder,
                                             const struct http_head *head,
                                             struct push_refusal *refusal);

/* Check the push if it is a CloudEvent, and take its ordering key if it has
 * no other. Its key is as long there as that of recorder_finish().
 * Errors: ERR_INVALID, ERR_NOMEM */
MUST_CHECK enum err recorder_check_event(struct recorder *recorder,
                                         struct push_refusal *refusal);

/* Set the ordering key, if there is none, by the attribute partitionkey.
 * Errors: ERR_INVALID  it is no text for one */
MUST_CHECK enum err recorder_default_key(struct recorder *recorder,
                                         struct str value,
                                         struct push_refusal *refusal);

/* Read a push from one JSON object, with the head's control values.
 * Errors: ERR_INVALID, ERR_NOMEM */
MUST_CHECK enum err recorder_read_json(struct recorder *recorder,
                                       const struct http_head *head,
                                       struct str json,
                                       struct push_refusal *refusal);

/* Read the members of a JSON object, strings and numbers, as fields.
 * Errors: ERR_INVALID, ERR_NOMEM */
MUST_CHECK enum err recorder_read_members(struct recorder *recorder,
                                          struct str json,
                                          struct push_refusal *refusal);

#endif
