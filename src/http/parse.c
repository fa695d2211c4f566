/* Heads of requests and responses, in place.
 *
 * 1. Find the end: walk from line feed to line feed, refusing one without a
 *    carriage return before it, until a line is empty. What was walked is
 *    remembered, so a head that comes in pieces is walked once.
 * 2. Read the start line.
 * 3. Read the fields: name, colon, value; the few that say how long the
 *    message is and what becomes of the connection are taken note of.
 * 4. Judge: lengths, host and codings as a whole.
 *
 * A refusal depends on the bytes only, never on how they came in pieces:
 * whatever is looked at before the end is there is decided by a prefix.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/parse.h"

#include "base/check.h"
#include "http/bytes.h"

#include <string.h>

enum {
    VERSION_SIZE = 8, /* "HTTP/1.1" */
};

/* One head being read. */
struct work {
    const char *data;             /* borrowed: the input */
    size_t at;                    /* next byte to read */
    size_t end;                   /* of the last field: its CRLF is before it */
    struct http_head *head;       /* borrowed */
    struct http_refusal *refusal; /* borrowed */
    bool is_request;
    bool coded;           /* a Transfer-Encoding was there */
    bool close;           /* Connection: close */
    bool keep;            /* Connection: keep-alive */
    uint32_t host_count;  /* Host fields */
    struct str expect;    /* the last Expect that is not 100-continue */
    struct str encodings; /* the Transfer-Encoding */
};

static enum err
refuse(struct http_refusal *refusal, int status, const char *reason)
{
    refusal->status = status;
    refusal->reason = reason;
    return ERR_INVALID;
}

/* --- 1. the end of a head ------------------------------------------------ */

static enum err refuse_size(struct str input,
                            size_t start,
                            size_t bound,
                            struct http_refusal *refusal)
{
    if (bytes_find_lf(input.data, start, bound) == bound) {
        return refuse(refusal, 414, "start line too large");
    }
    return refuse(refusal, 431, "head too large");
}

static enum err find_end(struct str input,
                         size_t start,
                         size_t head_size_max,
                         size_t *scanned,
                         size_t *out_size,
                         struct http_refusal *refusal)
{
    size_t bound = input.size;
    bool full = input.size - start >= head_size_max;
    if (full) {
        bound = start + head_size_max;
    }
    size_t at = *scanned > start ? *scanned : start;
    CHECK(at <= input.size);
    while (at < bound) {
        at = bytes_find_lf(input.data, at, bound);
        if (at == bound) {
            break;
        }
        if (at == start || input.data[at - 1] != '\r') {
            return refuse(refusal, 400, "line feed without carriage return");
        }
        if (at - start >= 2 && input.data[at - 2] == '\n') {
            *out_size = at + 1;
            return ERR_OK;
        }
        at++;
    }
    *scanned = bound;
    if (full) {
        return refuse_size(input, start, bound, refusal);
    }
    return ERR_AGAIN;
}

/* --- 2. start lines ------------------------------------------------------ */

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Read "HTTP/1.x" at `work->at`. A later minor version is read as 1.1, the
 * highest that we know (RFC 9110, 2.5). */
static enum err parse_version(struct work *work)
{
    const char *text = work->data + work->at;
    if (work->end - work->at < VERSION_SIZE || memcmp(text, "HTTP/", 5) != 0 ||
        !is_digit(text[5]) || text[6] != '.' || !is_digit(text[7])) {
        return refuse(work->refusal, 400, "malformed version");
    }
    if (text[5] != '1') {
        return refuse(work->refusal, 505, "only HTTP/1.x is spoken here");
    }
    work->head->version_minor = text[7] == '0' ? 0 : 1;
    work->at += VERSION_SIZE;
    return ERR_OK;
}

static enum err expect_crlf(struct work *work, const char *reason)
{
    if (work->data[work->at] != '\r' || work->data[work->at + 1] != '\n') {
        return refuse(work->refusal, 400, reason);
    }
    work->at += 2;
    return ERR_OK;
}

static enum http_method method_of(struct str text)
{
    switch (text.size) {
    case 3:
        if (memcmp(text.data, "GET", 3) == 0) {
            return HTTP_METHOD_GET;
        }
        return memcmp(text.data, "PUT", 3) == 0 ? HTTP_METHOD_PUT
                                                : HTTP_METHOD_OTHER;
    case 4:
        if (memcmp(text.data, "POST", 4) == 0) {
            return HTTP_METHOD_POST;
        }
        return memcmp(text.data, "HEAD", 4) == 0 ? HTTP_METHOD_HEAD
                                                 : HTTP_METHOD_OTHER;
    case 6:
        return memcmp(text.data, "DELETE", 6) == 0 ? HTTP_METHOD_DELETE
                                                   : HTTP_METHOD_OTHER;
    default:
        return HTTP_METHOD_OTHER;
    }
}

/* Where the path of an absolute-form target begins; 0 when the target has not
 * that form. The authority is checked as a Host field is, and has no user. */
static size_t absolute_path_start(struct str target)
{
    size_t start = 0;
    if (str_equal_nocase(str_cut(target, 0, 7), STR("http://"))) {
        start = 7;
    } else if (str_equal_nocase(str_cut(target, 0, 8), STR("https://"))) {
        start = 8;
    } else {
        return 0;
    }
    size_t at = start;
    while (at < target.size && bytes_is_host(target.data[at])) {
        at++;
    }
    bool ended =
        at == target.size || target.data[at] == '/' || target.data[at] == '?';
    return at > start && ended ? at : 0;
}

/* Tell the four forms of RFC 9112, 3.2 apart, and find path and query. */
static enum err split_target(struct work *work)
{
    struct http_head *head = work->head;
    struct str target = head->target;
    bool has_slash = str_find(target, '/') < target.size;
    size_t start = 0; /* of the path */
    bool good = true;
    if (str_equal(head->method_text, STR("CONNECT"))) {
        good = !has_slash;
    } else if (target.data[0] != '/') {
        start = absolute_path_start(target);
        good = start > 0 || (str_equal(target, STR("*")) &&
                             str_equal(head->method_text, STR("OPTIONS")));
    }
    if (!good) {
        return refuse(work->refusal, 400, "malformed request target");
    }
    struct str rest = str_cut(target, start, target.size);
    size_t mark = str_find(rest, '?');
    head->path = str_cut(rest, 0, mark);
    head->query = str_cut(rest, mark + 1, rest.size);
    if (head->path.size == 0) {
        head->path = STR("/");
    }
    return ERR_OK;
}

static enum err parse_target(struct work *work, size_t target_size_max)
{
    size_t start = work->at;
    size_t at = start;
    while (bytes_is_target(work->data[at])) {
        at++;
    }
    size_t size = at - start;
    if (size > target_size_max) {
        return refuse(work->refusal, 414, "request target too large");
    }
    if (size == 0 || work->data[at] != ' ') {
        return refuse(work->refusal, 400, "malformed request target");
    }
    work->head->target = (struct str){work->data + start, size};
    work->at = at + 1;
    return ERR_OK;
}

static enum err parse_request_line(struct work *work, size_t target_size_max)
{
    size_t start = work->at;
    while (bytes_is_token(work->data[work->at])) {
        work->at++;
    }
    size_t size = work->at - start;
    if (size == 0 || work->data[work->at] != ' ') {
        return refuse(work->refusal, 400, "malformed method");
    }
    work->head->method_text = (struct str){work->data + start, size};
    work->head->method = method_of(work->head->method_text);
    work->at++;
    enum err err = parse_target(work, target_size_max);
    if (err != ERR_OK) {
        return err;
    }
    err = parse_version(work);
    if (err != ERR_OK) {
        return err;
    }
    err = expect_crlf(work, "bytes after the version");
    return err == ERR_OK ? split_target(work) : err;
}

static enum err parse_status_line(struct work *work)
{
    enum err err = parse_version(work);
    if (err != ERR_OK) {
        return err;
    }
    const char *text = work->data + work->at;
    if (work->end - work->at < 6 || text[0] != ' ' || text[1] < '1' ||
        text[1] > '9' || !is_digit(text[2]) || !is_digit(text[3])) {
        return refuse(work->refusal, 400, "malformed status");
    }
    work->head->status =
        (text[1] - '0') * 100 + (text[2] - '0') * 10 + (text[3] - '0');
    work->at += 4;
    /* The blank before an empty phrase is often forgotten, and harmless. */
    if (text[4] != ' ' && text[4] != '\r') {
        return refuse(work->refusal, 400, "malformed status");
    }
    work->at = bytes_find_control(work->data, work->at, work->end);
    return expect_crlf(work, "control character in the status line");
}

/* --- 3. fields ----------------------------------------------------------- */

static enum err note_length(struct work *work, struct str value)
{
    uint64_t length = 0;
    enum err err = str_to_u64(value, &length);
    if (err != ERR_OK || length > INT64_MAX) {
        return refuse(work->refusal, 400, "malformed Content-Length");
    }
    /* The same length twice is common with careless servers, and in a
     * response harmless; in a request it is how smuggling is tried. */
    uint64_t before = work->head->content_length;
    if (before != HTTP_LENGTH_NONE && (work->is_request || before != length)) {
        return refuse(work->refusal, 400, "more than one Content-Length");
    }
    work->head->content_length = length;
    return ERR_OK;
}

static enum err note_encoding(struct work *work, struct str value)
{
    if (work->coded) {
        return refuse(work->refusal, 400, "more than one Transfer-Encoding");
    }
    work->coded = true;
    work->encodings = value;
    return ERR_OK;
}

static enum err note_host(struct work *work, struct str value)
{
    work->host_count++;
    for (size_t i = 0; i < value.size; i++) {
        if (!bytes_is_host(value.data[i])) {
            return refuse(work->refusal, 400, "malformed Host");
        }
    }
    return ERR_OK;
}

/* Take note that the last field was read here. */
static void mark_read(struct work *work)
{
    uint32_t index = work->head->header_count - 1;
    if (index < 64) {
        work->head->read |= UINT64_C(1) << index;
    }
}

static void note_expect(struct work *work, struct str value)
{
    bool known = str_equal_nocase(value, STR("100-continue"));
    work->head->expect_continue |= known;
    work->expect = known ? work->expect : value;
}

static void note_type(struct work *work, struct str value)
{
    if (work->head->content_type_count == 0) {
        work->head->content_type = value;
    }
    work->head->content_type_count++;
}

/* Names are told by their size first, so that most cost one branch. */
static enum err note_field(struct work *work, struct str name, struct str value)
{
    switch (name.size) {
    case 4:
        if (work->is_request && bytes_name_is(name.data, "host", 4)) {
            mark_read(work);
            return note_host(work, value);
        }
        break;
    case 6:
        if (work->is_request && bytes_name_is(name.data, "expect", 6)) {
            mark_read(work);
            note_expect(work, value);
        }
        break;
    case 10:
        if (bytes_name_is(name.data, "connection", 10)) {
            mark_read(work);
            work->close |= http_list_has(value, STR("close"));
            work->keep |= http_list_has(value, STR("keep-alive"));
        }
        break;
    case 12:
        if (bytes_name_is(name.data, "content-type", 12)) {
            mark_read(work);
            note_type(work, value);
        }
        break;
    case 14:
        if (bytes_name_is(name.data, "content-length", 14)) {
            mark_read(work);
            return note_length(work, value);
        }
        break;
    case 17:
        if (bytes_name_is(name.data, "transfer-encoding", 17)) {
            mark_read(work);
            return note_encoding(work, value);
        }
        break;
    default:
        break;
    }
    return ERR_OK;
}

static const char *name_reason(char byte, bool at_start)
{
    switch (byte) {
    case '\0':
        return "NUL in a field name";
    case ' ':
    case '\t':
        return at_start ? "folded field" : "blank before a colon";
    case ':':
        return "field without a name";
    default:
        return "malformed field name";
    }
}

static const char *value_reason(char byte)
{
    switch (byte) {
    case '\0':
        return "NUL in a field";
    case '\r':
        return "carriage return without line feed";
    default:
        return "control character in a field";
    }
}

static enum err parse_field(struct work *work)
{
    const char *data = work->data;
    size_t start = work->at;
    size_t at = start;
    while (bytes_is_token(data[at])) {
        at++;
    }
    if (at == start || data[at] != ':') {
        return refuse(work->refusal, 400, name_reason(data[at], at == start));
    }
    bool full = work->head->header_count == HTTP_HEADERS_MAX;
    if (full && work->is_request) {
        return refuse(work->refusal, 431, "too many fields");
    }
    struct str name = {data + start, at - start};
    at++;
    while (data[at] == ' ' || data[at] == '\t') {
        at++;
    }
    size_t value_end = bytes_find_control(data, at, work->end);
    if (data[value_end] != '\r' || data[value_end + 1] != '\n') {
        return refuse(work->refusal, 400, value_reason(data[value_end]));
    }
    work->at = value_end + 2;
    while (value_end > at &&
           (data[value_end - 1] == ' ' || data[value_end - 1] == '\t')) {
        value_end--;
    }
    struct str value = {data + at, value_end - at};
    if (!full) {
        struct http_header *header =
            &work->head->headers[work->head->header_count++];
        header->name = name;
        header->value = value;
    }
    return note_field(work, name, value);
}

static enum err parse_fields(struct work *work)
{
    while (work->at < work->end) {
        enum err err = parse_field(work);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* --- 4. the head as a whole ---------------------------------------------- */

/* Take one member off a comma-separated list. */
static struct str take_member(struct str *list)
{
    size_t comma = str_find(*list, ',');
    struct str member = str_trim(str_cut(*list, 0, comma));
    *list = str_cut(*list, comma + 1, list->size);
    return member;
}

/* Only "chunked", once and alone, is known. Chunked before another coding, or
 * in any dress, is what parsers disagree about: 400. Others: 501. */
static enum err judge_encodings(struct work *work)
{
    struct str list = work->encodings;
    bool unknown = false;
    bool chunked = false;
    bool more = true;
    while (more) {
        more = str_find(list, ',') < list.size;
        struct str member = take_member(&list);
        if (chunked || !http_is_token(member)) {
            return refuse(work->refusal, 400, "malformed Transfer-Encoding");
        }
        chunked = str_equal_nocase(member, STR("chunked"));
        unknown = unknown || !chunked;
    }
    if (unknown) {
        return refuse(work->refusal, 501, "unknown transfer coding");
    }
    work->head->chunked = true;
    return ERR_OK;
}

static enum err judge_length(struct work *work)
{
    if (!work->coded) {
        return ERR_OK;
    }
    if (work->head->content_length != HTTP_LENGTH_NONE) {
        return refuse(work->refusal, 400,
                      "both Content-Length and Transfer-Encoding");
    }
    if (work->head->version_minor == 0) {
        if (work->is_request) {
            return refuse(work->refusal, 400,
                          "Transfer-Encoding in an HTTP/1.0 request");
        }
        work->close = true; /* RFC 9112, 6.1: read it, then do not go on */
    }
    return judge_encodings(work);
}

static enum err judge(struct work *work)
{
    struct http_head *head = work->head;
    enum err err = judge_length(work);
    if (err != ERR_OK) {
        return err;
    }
    head->keep_alive = !work->close && (head->version_minor > 0 || work->keep);
    if (!work->is_request) {
        return ERR_OK;
    }
    if (work->host_count > 1) {
        return refuse(work->refusal, 400, "more than one Host");
    }
    if (work->host_count == 0 && head->version_minor > 0) {
        return refuse(work->refusal, 400, "no Host");
    }
    if (head->version_minor == 0) {
        head->expect_continue = false; /* RFC 9110, 10.1.1 */
        return ERR_OK;
    }
    if (work->expect.data != NULL) {
        return refuse(work->refusal, 417, "unknown expectation");
    }
    return ERR_OK;
}

/* --- the two doors ------------------------------------------------------- */

/* All but the slots of fields, of which `header_count` are valid. */
static void clear_head(struct http_head *head)
{
    memset(head, 0, offsetof(struct http_head, headers));
    head->content_length = HTTP_LENGTH_NONE;
}

/* Skip the one empty line that may come before a request (RFC 9112, 2.2). */
static enum err
skip_empty_line(struct str input, size_t *out_start, struct http_refusal *out)
{
    *out_start = 0;
    if (input.size == 0) {
        return ERR_AGAIN;
    }
    size_t start = 0;
    if (input.data[0] == '\r') {
        if (input.size < 2) {
            return ERR_AGAIN;
        }
        if (input.data[1] != '\n') {
            return refuse(out, 400, "carriage return without line feed");
        }
        start = 2;
        if (input.size == start) {
            return ERR_AGAIN;
        }
    }
    if (!bytes_is_token(input.data[start])) {
        return refuse(out, 400, "malformed method");
    }
    *out_start = start;
    return ERR_OK;
}

enum err http_parse_request(struct str input,
                            const struct http_limits *limits,
                            size_t *scanned,
                            struct http_head *out_head,
                            size_t *out_size,
                            struct http_refusal *out_refusal)
{
    size_t start = 0;
    size_t size = 0;
    enum err err = skip_empty_line(input, &start, out_refusal);
    if (err != ERR_OK) {
        return err;
    }
    err = find_end(input, start, limits->head_size_max, scanned, &size,
                   out_refusal);
    if (err != ERR_OK) {
        return err;
    }
    clear_head(out_head);
    struct work work = {
        .data = input.data,
        .at = start,
        .end = size - 2,
        .head = out_head,
        .refusal = out_refusal,
        .is_request = true,
    };
    err = parse_request_line(&work, limits->target_size_max);
    if (err != ERR_OK) {
        return err;
    }
    err = parse_fields(&work);
    if (err != ERR_OK) {
        return err;
    }
    err = judge(&work);
    if (err != ERR_OK) {
        return err;
    }
    *out_size = size;
    return ERR_OK;
}

/* http_parse_response() but for the status of a refusal. */
static enum err parse_response(struct str input,
                               const struct http_limits *limits,
                               size_t *scanned,
                               struct http_head *out_head,
                               size_t *out_size,
                               struct http_refusal *out_refusal)
{
    size_t size = 0;
    enum err err =
        find_end(input, 0, limits->head_size_max, scanned, &size, out_refusal);
    if (err != ERR_OK) {
        return err;
    }
    clear_head(out_head);
    struct work work = {
        .data = input.data,
        .end = size - 2,
        .head = out_head,
        .refusal = out_refusal,
    };
    err = parse_status_line(&work);
    if (err != ERR_OK) {
        return err;
    }
    err = parse_fields(&work);
    if (err != ERR_OK) {
        return err;
    }
    err = judge(&work);
    if (err != ERR_OK) {
        return err;
    }
    *out_size = size;
    return ERR_OK;
}

enum err http_parse_response(struct str input,
                             const struct http_limits *limits,
                             size_t *scanned,
                             struct http_head *out_head,
                             size_t *out_size,
                             struct http_refusal *out_refusal)
{
    /* What does not begin as HTTP is told at once, not at its end. */
    size_t prefix_size = input.size < 5 ? input.size : 5;
    if (prefix_size == 0) {
        return ERR_AGAIN;
    }
    enum err err = ERR_INVALID;
    if (memcmp(input.data, "HTTP/", prefix_size) == 0) {
        err = parse_response(input, limits, scanned, out_head, out_size,
                             out_refusal);
    } else {
        out_refusal->reason = "not an HTTP response";
    }
    if (err == ERR_INVALID) {
        out_refusal->status = 0;
    }
    return err;
}

/* --- reading a head ------------------------------------------------------ */

const struct http_header *http_head_find(const struct http_head *head,
                                         struct str name)
{
    for (uint32_t i = 0; i < head->header_count; i++) {
        if (str_equal_nocase(head->headers[i].name, name)) {
            return &head->headers[i];
        }
    }
    return NULL;
}

struct str http_head_value(const struct http_head *head, struct str name)
{
    const struct http_header *header = http_head_find(head, name);
    return header != NULL ? header->value : (struct str){NULL, 0};
}

bool http_list_has(struct str value, struct str token)
{
    while (value.size > 0) {
        if (str_equal_nocase(take_member(&value), token)) {
            return true;
        }
    }
    return false;
}

bool http_is_token(struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!bytes_is_token(text.data[i])) {
            return false;
        }
    }
    return text.size > 0;
}

bool http_is_field_value(struct str text)
{
    return bytes_find_control(text.data, 0, text.size) == text.size;
}
