/* Answers of the API: JSON, problems (RFC 9457), and the status of a code.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ANSWER_H
#define OPQ_QUEUE_ANSWER_H

#include "base/err.h"
#include "base/str.h"
#include "http/server.h"

#include <stdbool.h>
#include <stdint.h>

/* The HTTP status that a store's or parser's code becomes: ERR_INVALID 400,
 * ERR_NOT_FOUND 404, ERR_EXISTS 409, ERR_CONDITION 412, ERR_TOO_LARGE 413,
 * ERR_RANGE 416, ERR_BUSY and ERR_NOMEM and ERR_CLOSED 503, ERR_FULL 507,
 * others 500. */
int answer_status(enum err err);

/* Answer with a JSON document (application/json). */
void answer_json(struct http_exchange *exchange, int status, struct str json);

/* Answer 200 with a text of this media type. */
void answer_text(struct http_exchange *exchange,
                 const char *type,
                 struct str text);

/* Answer with application/problem+json: {"type":"about:blank","title":...,
 * "status":...,"detail":...}; 503 and 507 carry Retry-After: 1. `members` is
 * further JSON members without braces ("\"oldest\":3"), or NULL. */
void answer_problem(struct http_exchange *exchange,
                    int status,
                    const char *detail,
                    const char *members);

/* The same with further headers (at most 2), as of http_exchange_answer(). */
void answer_problem_with(struct http_exchange *exchange,
                         int status,
                         const char *detail,
                         const struct http_header *headers,
                         uint32_t header_count);

/* Answer as the first OPQ did: text/plain, "BadRequest: <detail>", the status
 * in words before the colon. */
void answer_plain_refusal(struct http_exchange *exchange,
                          int status,
                          const char *detail);

/* Answer 405 with Allow. */
void answer_method(struct http_exchange *exchange, const char *allow);

/* Tell whether the client asked for JSON: Accept has application/json, or the
 * request's own type is. */
bool answer_wants_json(const struct http_head *head);

#endif
