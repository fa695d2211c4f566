/* Whether a request may be made.
 *
 * What can fail: nothing that lets a request pass. Policy: what is not known
 * to need less needs admin. A line of the log for each change, asked for by
 * whomever; of refusals, which anyone can cause, one a second and their number.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/access.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/answer.h"
#include "sys/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    AUDIT_PATH_MAX = 512, /* bytes of a path that are told */
    AUDIT_METHOD_MAX = 16,
    REFUSED_EVERY_MS = 1000,
};

/* --- what a request needs ------------------------------------------------- */

static bool is_open(struct str path)
{
    return str_equal(path, STR("/healthz")) ||
           str_equal(path, STR("/readyz")) ||
           str_equal(path, STR("/openapi.json"));
}

static bool ends_with(struct str text, struct str end)
{
    return text.size > end.size &&
           str_equal(str_cut(text, text.size - end.size, text.size), end);
}

enum tokens_scope access_scope(const struct http_head *head)
{
    struct str path = head->path;

    if (head->method == HTTP_METHOD_POST) {
        if (str_equal(path, STR("/opq/push")) ||
            str_equal(path, STR("/opq/batch"))) {
            return TOKENS_SCOPE_PUBLISH;
        }
        bool acknowledges = str_starts(path, STR("/opq/topics/")) &&
                            ends_with(path, STR("/ack"));
        return acknowledges ? TOKENS_SCOPE_READ : TOKENS_SCOPE_ADMIN;
    }
    if (head->method == HTTP_METHOD_GET || head->method == HTTP_METHOD_HEAD) {
        return is_open(path) ? TOKENS_SCOPE_NONE : TOKENS_SCOPE_READ;
    }
    return TOKENS_SCOPE_ADMIN;
}

/* --- the log -------------------------------------------------------------- */

/* What is known of a change before it is answered. */
struct audit {
    char peer[NET_TEXT_MAX];
    char token[TOKENS_NAME_SIZE_MAX + 1];
    char method[AUDIT_METHOD_MAX];
    char path[AUDIT_PATH_MAX];
};

static void audit_read(struct audit *audit,
                       const struct http_exchange *exchange,
                       const struct token *token)
{
    const struct http_head *head = exchange->head;

    http_exchange_peer(exchange, audit->peer);
    (void)snprintf(audit->token, sizeof(audit->token), "%s",
                   token != NULL ? token->name : "-");
    (void)snprintf(audit->method, sizeof(audit->method), "%.*s",
                   STR_ARG(head->method_text));
    (void)snprintf(audit->path, sizeof(audit->path), "%.*s",
                   STR_ARG(head->path));
}

static void audit_print(const struct audit *audit, int status)
{
    DIAG_INFO("audit", "peer=%s token=%s method=%s path=%s status=%d",
              audit->peer, audit->token, audit->method, audit->path, status);
}

static void audit_answered(struct http_exchange *exchange, int status)
{
    struct audit *audit = exchange->note;

    audit_print(audit, status);
    free(audit);
}

/* Have a change told when it is answered. */
static void audit_begin(struct http_exchange *exchange,
                        const struct token *token)
{
    struct audit *audit = malloc(sizeof(*audit));

    if (audit == NULL) {
        struct audit now; /* what becomes of it is not known then */
        audit_read(&now, exchange, token);
        audit_print(&now, 0);
        return;
    }
    audit_read(audit, exchange, token);
    exchange->note = audit;
    exchange->noted = audit_answered;
}

/* Tell of a refusal, unless one was told of a moment ago. */
static void tell_refused(struct access *access,
                         const struct http_exchange *exchange,
                         const struct token *token,
                         int status)
{
    uint64_t now_ms = clock_monotonic_ns() / 1000000;
    struct audit audit;

    access->refused++;
    if (access->told_ms != 0 && now_ms - access->told_ms < REFUSED_EVERY_MS) {
        return;
    }
    audit_read(&audit, exchange, token);
    DIAG_WARN("access_refused",
              "peer=%s token=%s method=%s path=%s status=%d requests=%llu",
              audit.peer, audit.token, audit.method, audit.path, status,
              (unsigned long long)access->refused);
    access->told_ms = now_ms;
    access->refused = 0;
}

/* --- tokens --------------------------------------------------------------- */

/* The token of an Authorization field; empty: it has none. */
static struct str bearer(struct str value)
{
    static const struct str scheme = {"bearer ", 7};

    if (!str_equal_nocase(str_cut(value, 0, scheme.size), scheme)) {
        return STR("");
    }
    return str_trim(str_cut(value, scheme.size, value.size));
}

/* Take the Authorization fields out of a request. Returns its token's line;
 * `*out_why` says what is wrong when there is none. */
static const struct token *take_token(const struct tokens *tokens,
                                      struct http_exchange *exchange,
                                      const char **out_why)
{
    const struct http_head *head = exchange->head;
    const struct token *token = NULL;
    uint32_t count = 0;

    *out_why = "a token is needed: Authorization: Bearer ...";
    for (uint32_t i = 0; i < head->header_count;) {
        const struct http_header *header = &head->headers[i];
        if (header->name.size != 13 ||
            !str_equal_nocase(header->name, STR("authorization"))) {
            i++;
            continue;
        }
        struct str text = bearer(header->value);
        token = text.size > 0 ? tokens_find(tokens, text) : NULL;
        if (text.size > 0) {
            *out_why = "the token is not known";
        }
        count++;
        http_exchange_forget_header(exchange, i);
    }
    if (count > 1) {
        *out_why = "there must be one Authorization field";
        return NULL;
    }
    return token;
}

static void refuse(struct http_exchange *exchange,
                   int status,
                   const char *challenge,
                   const char *detail)
{
    const struct http_header headers[] = {
        {STR("WWW-Authenticate"), str_from(challenge)},
    };

    answer_problem_with(exchange, status, detail, headers, 1);
}

static void refuse_scope(struct http_exchange *exchange,
                         enum tokens_scope scope)
{
    const char *name = tokens_scope_name(scope);
    char challenge[80];
    char detail[80];

    (void)snprintf(challenge, sizeof(challenge),
                   "Bearer realm=\"opq\", error=\"insufficient_scope\", "
                   "scope=\"%s\"",
                   name);
    (void)snprintf(detail, sizeof(detail), "the token lacks the scope %s",
                   name);
    refuse(exchange, 403, challenge, detail);
}

bool access_take(struct access *access,
                 struct http_exchange *exchange,
                 bool early)
{
    enum tokens_scope scope = access_scope(exchange->head);
    const struct token *token = NULL;
    const char *why = NULL;

    if (access->tokens != NULL) {
        token = take_token(access->tokens, exchange, &why);
        if (token == NULL && scope != TOKENS_SCOPE_NONE) {
            tell_refused(access, exchange, NULL, 401);
            refuse(exchange, 401, "Bearer realm=\"opq\"", why);
            return false;
        }
        if (token != NULL && scope != TOKENS_SCOPE_NONE &&
            (token->scopes & scope) == 0) {
            tell_refused(access, exchange, token, 403);
            refuse_scope(exchange, scope);
            return false;
        }
    }
    if (scope == TOKENS_SCOPE_ADMIN && !early) {
        audit_begin(exchange, token);
    }
    return true;
}

void access_set(struct access *access, struct tokens *tokens)
{
    tokens_release(access->tokens);
    access->tokens = tokens;
}
