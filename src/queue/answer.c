/* Answers of the API.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/answer.h"

#include "base/buf.h"
#include "base/check.h"

int answer_status(enum err err)
{
    switch (err) {
    case ERR_OK:
        return 200;
    case ERR_INVALID:
        return 400;
    case ERR_DENIED:
        return 403;
    case ERR_NOT_FOUND:
        return 404;
    case ERR_EXISTS:
        return 409;
    case ERR_CONDITION:
        return 412;
    case ERR_TOO_LARGE:
        return 413;
    case ERR_RANGE:
        return 416;
    case ERR_BUSY:
    case ERR_NOMEM:
    case ERR_CLOSED:
        return 503;
    case ERR_FULL:
        return 507;
    default:
        return 500;
    }
}

void answer_json(struct http_exchange *exchange, int status, struct str json)
{
    const struct http_header headers[] = {
        {STR("Content-Type"), STR("application/json")},
    };

    http_exchange_answer(exchange, status, headers, 1, json);
}

void answer_text(struct http_exchange *exchange,
                 const char *type,
                 struct str text)
{
    const struct http_header headers[] = {
        {STR("Content-Type"), str_from(type)},
    };

    http_exchange_answer(exchange, 200, headers, 1, text);
}

/* Send a refusal: 503 and 507 pass, so the client is told to come again. */
static void send_refusal(struct http_exchange *exchange,
                         int status,
                         struct http_header *type,
                         struct str body)
{
    const struct http_header headers[] = {
        *type,
        {STR("Retry-After"), STR("1")},
    };
    bool passes = status == 503 || status == 507;

    http_exchange_answer(exchange, status, headers, passes ? 2 : 1, body);
}

/* Begin a problem, without its end. */
static void write_problem(struct buf *body, int status, const char *detail)
{
    buf_append_c(body, "{\"type\":\"about:blank\",\"title\":\"");
    buf_append_json(body, str_from(http_status_text(status)));
    buf_append_format(body, "\",\"status\":%d,\"detail\":\"", status);
    buf_append_json(body, str_from(detail));
    buf_append_c(body, "\"");
}

void answer_problem(struct http_exchange *exchange,
                    int status,
                    const char *detail,
                    const char *members)
{
    struct http_header type = {STR("Content-Type"),
                               STR("application/problem+json")};
    struct buf body = {0};

    write_problem(&body, status, detail);
    if (members != NULL) {
        buf_append_c(&body, ",");
        buf_append_c(&body, members);
    }
    buf_append_c(&body, "}\n");
    send_refusal(exchange, status, &type, buf_str(&body));
    buf_fini(&body);
}

void answer_problem_with(struct http_exchange *exchange,
                         int status,
                         const char *detail,
                         const struct http_header *headers,
                         uint32_t header_count)
{
    enum { HEADERS_MAX = 2 };
    struct http_header all[1 + HEADERS_MAX] = {
        {STR("Content-Type"), STR("application/problem+json")}};
    struct buf body = {0};

    CHECK(header_count <= HEADERS_MAX);
    for (uint32_t i = 0; i < header_count; i++) {
        all[1 + i] = headers[i];
    }
    write_problem(&body, status, detail);
    buf_append_c(&body, "}\n");
    http_exchange_answer(exchange, status, all, 1 + header_count,
                         buf_str(&body));
    buf_fini(&body);
}

void answer_plain_refusal(struct http_exchange *exchange,
                          int status,
                          const char *detail)
{
    struct http_header type = {STR("Content-Type"),
                               STR("text/plain; charset=utf-8")};
    struct buf body = {0};

    for (const char *at = http_status_text(status); *at != '\0'; at++) {
        if (*at != ' ') {
            buf_append_byte(&body, *at);
        }
    }
    buf_append_c(&body, ": ");
    buf_append_c(&body, detail);
    buf_append_c(&body, "\n");
    send_refusal(exchange, status, &type, buf_str(&body));
    buf_fini(&body);
}

void answer_method(struct http_exchange *exchange, const char *allow)
{
    const struct http_header headers[] = {
        {STR("Allow"), str_from(allow)},
        {STR("Content-Type"), STR("application/problem+json")},
    };

    http_exchange_answer(exchange, 405, headers, 2,
                         STR("{\"type\":\"about:blank\",\"title\":\"Method Not "
                             "Allowed\",\"status\":405,\"detail\":\"this path "
                             "does not take the method: see Allow\"}\n"));
}

/* Tell whether a media type is JSON's, whatever its parameters. */
static bool is_json(struct str type, bool problem)
{
    struct str essence = str_trim(str_cut(type, 0, str_find(type, ';')));

    return str_equal_nocase(essence, STR("application/json")) ||
           (problem &&
            str_equal_nocase(essence, STR("application/problem+json")));
}

/* Tell whether an Accept field names JSON. Its weight is not looked at: who
 * names it can read it. */
static bool accepts_json(struct str accept)
{
    while (accept.size > 0) {
        size_t comma = str_find(accept, ',');
        if (is_json(str_cut(accept, 0, comma), true)) {
            return true;
        }
        accept = str_cut(accept, comma + 1, accept.size);
    }
    return false;
}

bool answer_wants_json(const struct http_head *head)
{
    for (uint32_t index = 0; index < head->header_count; index++) {
        const struct http_header *header = &head->headers[index];
        if (header->name.size == 6 &&
            str_equal_nocase(header->name, STR("Accept")) &&
            accepts_json(header->value)) {
            return true;
        }
    }
    return is_json(head->content_type, false);
}
