/* Tests of http/parse: heads, refusals with their exact status, chunked
 * bodies.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/parse.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct http_limits limits = {
    .head_size_max = 64 * 1024,
    .target_size_max = 8 * 1024,
};

/* A copy without a byte of room behind it, so that a sanitizer sees the parser
 * step past the end. */
static struct str exact_copy(struct str text)
{
    char *copy = malloc(text.size > 0 ? text.size : 1);
    assert_non_null(copy);
    memcpy(copy, text.data, text.size);
    return (struct str){copy, text.size};
}

/* The status of a refusal; 0 when it was taken; -1 when more is wanted. */
static int request_status(struct str text)
{
    struct http_head head;
    struct http_refusal refusal = {0};
    size_t scanned = 0;
    size_t size = 0;
    struct str copy = exact_copy(text);
    enum err err =
        http_parse_request(copy, &limits, &scanned, &head, &size, &refusal);
    free((void *)copy.data);
    if (err == ERR_AGAIN) {
        return -1;
    }
    if (err == ERR_INVALID) {
        assert_non_null(refusal.reason);
        return refusal.status;
    }
    assert_int_equal(err, ERR_OK);
    assert_true(size <= text.size);
    return 0;
}

/* The same, the bytes coming one by one. */
static int request_status_bytewise(struct str text)
{
    struct http_head head;
    struct http_refusal refusal = {0};
    size_t scanned = 0;
    size_t size = 0;
    for (size_t i = 0; i <= text.size; i++) {
        struct str copy = exact_copy(str_cut(text, 0, i));
        enum err err =
            http_parse_request(copy, &limits, &scanned, &head, &size, &refusal);
        free((void *)copy.data);
        if (err == ERR_OK) {
            return 0;
        }
        if (err == ERR_INVALID) {
            return refusal.status;
        }
        assert_int_equal(err, ERR_AGAIN);
    }
    return -1;
}

struct verdict {
    int status;       /* 0 taken, -1 more wanted */
    struct str bytes; /* of the request */
};

#define CASE(status, literal)                                                  \
    {                                                                          \
        (status),                                                              \
        {                                                                      \
            (literal), sizeof(literal) - 1                                     \
        }                                                                      \
    }
/* A POST with the given field lines. */
#define POST(fields) "POST /p HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define GET11(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"

static const struct verdict start_lines[] = {
    CASE(0, GET11("/")),
    CASE(0, GET11("/a?b=c&d")),
    CASE(0, GET11("http://a")),
    CASE(0, GET11("http://a/b?c")),
    CASE(0, GET11("HTTPS://a:1/")),
    CASE(0, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(0, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(0, "\r\n" GET11("/")),
    CASE(0, "GET / HTTP/1.0\r\n\r\n"),
    CASE(0, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    CASE(0, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(-1, ""),
    CASE(-1, "\r"),
    CASE(-1, "\r\n"),
    CASE(-1, "GET / HTTP/1.1\r\nHost: a\r\n\r"),
    CASE(400, "\r\n\r\n" GET11("/")),
    CASE(400, "\n" GET11("/")),
    CASE(400, "\r" GET11("/")),
    CASE(400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    CASE(400, "GET /\r\n\r\n"),
    CASE(400, "GET\r\n\r\n"),
    CASE(400, "GET \r\n\r\n"),
    CASE(400, "G\0ET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, GET11("/\0")),
    CASE(400, GET11("/\x80")),
    CASE(400, GET11("/\x7f")),
    CASE(400, GET11("/a#b")),
    CASE(400, GET11("/a b")),
    CASE(400, GET11("a")),
    CASE(400, GET11("*")),
    CASE(400, GET11("a:1")),
    CASE(400, GET11("http://")),
    CASE(400, GET11("http:///x")),
    CASE(400, GET11("http://u@a/")),
    CASE(400, GET11("ftp://a/")),
    CASE(400, "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/11\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1,1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTPS/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\nHost: a\n\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    CASE(400, "\x16\x03\x01\x02"),
    CASE(505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    CASE(505, "GET / HTTP/0.9\r\n\r\n"),
    CASE(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
};

static const struct verdict fields[] = {
    CASE(0, POST("X-A: b\r\n")),
    CASE(0, POST("X-A:\r\n")),
    CASE(0, POST("X-A: \t b\tc \t\r\n")),
    CASE(0, POST("X-A: \x80\xff\r\n")),
    CASE(0, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    CASE(0, "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    CASE(0, "GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
    CASE(400, POST("X-A : b\r\n")),
    CASE(400, POST("X-A\t: b\r\n")),
    CASE(400, POST(" X-A: b\r\n")),
    CASE(400, POST("X-A: b\r\n c\r\n")),
    CASE(400, POST("X-A: b\r\n\tc\r\n")),
    CASE(400, POST("X-A: b\r\n \r\n")),
    CASE(400, POST("X-A b\r\n")),
    CASE(400, POST(": b\r\n")),
    CASE(400, POST("X-A\0: b\r\n")),
    CASE(400, POST("X-A: b\0c\r\n")),
    CASE(400, POST("X-A: b\rc\r\n")),
    CASE(400, POST("X-A: b\r\r\n")),
    CASE(400, POST("X-A: b\nX-B: c\r\n")),
    CASE(400, POST("X-A: b\x0b\r\n")),
    CASE(400, POST("X-A: b\x7f\r\n")),
    CASE(400, POST("X\x80: b\r\n")),
    CASE(400, POST("X(A): b\r\n")),
    CASE(400, POST("X\"A: b\r\n")),
    CASE(400, POST("Host: a\r\n")),
    CASE(400, POST("Host: b\r\n")),
    CASE(400, "GET / HTTP/1.1\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
};

static const struct verdict lengths[] = {
    CASE(0, POST("Content-Length: 0\r\n")),
    CASE(0, POST("content-LENGTH:  5 \r\n")),
    CASE(0, POST("Content-Length: 0005\r\n")),
    CASE(0, POST("Content-Length: 9223372036854775807\r\n")),
    CASE(400, POST("Content-Length: 9223372036854775808\r\n")),
    CASE(400, POST("Content-Length: 18446744073709551616\r\n")),
    CASE(400, POST("Content-Length:\r\n")),
    CASE(400, POST("Content-Length: +5\r\n")),
    CASE(400, POST("Content-Length: -1\r\n")),
    CASE(400, POST("Content-Length: 1_0\r\n")),
    CASE(400, POST("Content-Length: 0x5\r\n")),
    CASE(400, POST("Content-Length: 5 5\r\n")),
    CASE(400, POST("Content-Length: 5, 5\r\n")),
    CASE(400, POST("Content-Length: 5, 6\r\n")),
    CASE(400, POST("Content-Length: 5;\r\n")),
    CASE(400, POST("Content-Length: 5.0\r\n")),
    CASE(400, POST("Content-Length: five\r\n")),
    CASE(400, POST("Content-Length: 5\r\nContent-Length: 5\r\n")),
    CASE(400, POST("Content-Length: 5\r\nContent-Length: 6\r\n")),
    CASE(400, POST("Content-Length: 0\r\nContent-Length: 5\r\n")),
    CASE(400, POST("Content-Length : 5\r\n")),
    CASE(400, POST("Content-Length\0: 5\r\n")),
    CASE(400, POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
    CASE(400, POST("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n")),
};

static const struct verdict encodings[] = {
    CASE(0, POST("Transfer-Encoding: chunked\r\n")),
    CASE(0, POST("transfer-encoding: CHUNKED\r\n")),
    CASE(0, POST("Transfer-Encoding:chunked\r\n")),
    CASE(0, POST("Transfer-Encoding:\tchunked\t\r\n")),
    CASE(400, POST("Transfer-Encoding : chunked\r\n")),
    CASE(400, POST("Transfer-Encoding\t: chunked\r\n")),
    CASE(400, POST(" Transfer-Encoding: chunked\r\n")),
    CASE(400, POST("X: y\r\n Transfer-Encoding: chunked\r\n")),
    CASE(400, POST("Transfer-Encoding:\r\n chunked\r\n")),
    CASE(400,
         POST("Transfer-Encoding: \x0b"
              "chunked\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked\x0b\r\n")),
    CASE(400,
         POST("Transfer-Encoding: \x00"
              "chunked\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked\x00\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked\r\r\n")),
    CASE(400, POST("Transfer-Encoding:\r\n")),
    CASE(400, POST("Transfer-Encoding: ,chunked\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked,\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked, identity\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked, chunked\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked, gzip\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked;q=1\r\n")),
    CASE(400, POST("Transfer-Encoding: \"chunked\"\r\n")),
    CASE(400, POST("Transfer-Encoding: 'chunked' x\r\n")),
    CASE(400, POST("Transfer-Encoding: chun ked\r\n")),
    CASE(400, POST("Transfer-Encoding: [chunked]\r\n")),
    CASE(400, POST("Transfer-Encoding: chunked\xff\r\n")),
    CASE(400,
         POST("Transfer-Encoding: chunked\r\n"
              "Transfer-Encoding: chunked\r\n")),
    CASE(400,
         POST("Transfer-Encoding: chunked\r\n"
              "Transfer-Encoding: identity\r\n")),
    CASE(400, POST("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n")),
    CASE(400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    CASE(501, POST("Transfer-Encoding: xchunked\r\n")),
    CASE(501, POST("Transfer-Encoding: chunkedx\r\n")),
    CASE(501, POST("Transfer-Encoding: identity\r\n")),
    CASE(501, POST("Transfer-Encoding: gzip\r\n")),
    CASE(501, POST("Transfer-Encoding: gzip, chunked\r\n")),
    CASE(501, POST("Transfer-Encoding: identity, chunked\r\n")),
    CASE(501, POST("Transfer-Encoding: x-chunked\r\n")),
    /* Not that field at all, so nothing is hidden by it. */
    CASE(0, POST("Transfer_Encoding: chunked\r\n")),
    CASE(0, POST("X-Transfer-Encoding: chunked\r\n")),
    CASE(0, POST("Expect: 100-continue\r\n")),
    CASE(0, POST("Expect: 100-Continue\r\n")),
    CASE(0, "POST / HTTP/1.0\r\nExpect: the-moon\r\n\r\n"),
    CASE(417, POST("Expect: the-moon\r\n")),
    CASE(417, POST("Expect:\r\n")),
    CASE(417, POST("Expect: 100-continue, x\r\n")),
};

static void check_verdicts(const struct verdict *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int whole = request_status(cases[i].bytes);
        int bytewise = request_status_bytewise(cases[i].bytes);
        if (whole != cases[i].status || bytewise != whole) {
            fail_msg("case %zu: %d wanted, %d whole, %d bytewise: %.*s", i,
                     cases[i].status, whole, bytewise, STR_ARG(cases[i].bytes));
        }
    }
}

#define CHECK_VERDICTS(table)                                                  \
    check_verdicts(table, sizeof(table) / sizeof((table)[0]))

static void start_lines_get_their_exact_status(void **state)
{
    (void)state;
    CHECK_VERDICTS(start_lines);
}

static void fields_get_their_exact_status(void **state)
{
    (void)state;
    CHECK_VERDICTS(fields);
}

static void lengths_get_their_exact_status(void **state)
{
    (void)state;
    CHECK_VERDICTS(lengths);
}

static void encodings_get_their_exact_status(void **state)
{
    (void)state;
    CHECK_VERDICTS(encodings);
}

static struct http_head parsed_head;

static size_t parse_or_fail(const char *text)
{
    struct http_refusal refusal = {0};
    size_t scanned = 0;
    size_t size = 0;
    enum err err = http_parse_request(str_from(text), &limits, &scanned,
                                      &parsed_head, &size, &refusal);
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_name(err), refusal.reason);
    }
    return size;
}

static void assert_str(struct str text, const char *wanted)
{
    if (!str_equal(text, str_from(wanted))) {
        fail_msg("\"%.*s\" is not \"%s\"", STR_ARG(text), wanted);
    }
}

static void a_head_is_slices_of_the_input(void **state)
{
    (void)state;
    const char *text = "\r\nPOST /opq/push?topic=a&b HTTP/1.1\r\n"
                       "Host: localhost:8999\r\n"
                       "X-Empty:\r\n"
                       "Content-Length: 5\r\n"
                       "content-type:\t application/json \t\r\n"
                       "Expect: 100-continue\r\n"
                       "\r\nhello";
    size_t size = parse_or_fail(text);
    assert_int_equal(size, strlen(text) - 5);
    assert_int_equal(parsed_head.method, HTTP_METHOD_POST);
    assert_str(parsed_head.method_text, "POST");
    assert_str(parsed_head.target, "/opq/push?topic=a&b");
    assert_str(parsed_head.path, "/opq/push");
    assert_str(parsed_head.query, "topic=a&b");
    assert_int_equal(parsed_head.version_minor, 1);
    assert_int_equal(parsed_head.content_length, 5);
    assert_false(parsed_head.chunked);
    assert_true(parsed_head.keep_alive);
    assert_true(parsed_head.expect_continue);
    assert_int_equal(parsed_head.header_count, 5);
    assert_str(parsed_head.headers[1].name, "X-Empty");
    assert_str(parsed_head.headers[1].value, "");
    assert_str(http_head_value(&parsed_head, STR("Content-Type")),
               "application/json");
    assert_ptr_equal(parsed_head.target.data, text + 7);
    assert_null(http_head_find(&parsed_head, STR("X-None")));
    assert_int_equal(http_head_value(&parsed_head, STR("X-None")).size, 0);
}

/* Parse a request with one field of this name, and tell whether its being there
 * was taken note of. */
static bool has_read(const char *name)
{
    char text[256];
    struct http_head head;
    struct http_refusal refusal = {0};
    size_t scanned = 0;
    size_t size = 0;

    (void)snprintf(text, sizeof(text),
                   "GET / HTTP/1.1\r\nHost: h\r\n%s: 100-continue\r\n\r\n",
                   name);
    enum err err = http_parse_request(str_from(text), &limits, &scanned, &head,
                                      &size, &refusal);
    assert_int_equal(err, ERR_OK);
    assert_true(http_head_has_read(&head, 0));
    return http_head_has_read(&head, 1);
}

static void fields_are_known_by_their_whole_name(void **state)
{
    static const char *const names[] = {"connection", "content-type", "expect"};
    struct http_head head;
    struct http_refusal refusal = {0};
    size_t scanned = 0;
    size_t size = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[32] = "";
        memcpy(name, names[i], strlen(names[i]));
        assert_true(has_read(name));
        for (size_t at = 0; name[at] != '\0'; at++) {
            char kept = name[at];
            if (kept >= 'a') {
                name[at] = (char)(kept - 'a' + 'A');
                assert_true(has_read(name));
            }
            name[at] = '_';
            assert_false(has_read(name));
            name[at] = kept;
        }
    }
    struct str input = STR("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\n"
                           "X-Y: z\r\ncontent-type: c/d\r\n\r\n");
    assert_int_equal(
        http_parse_request(input, &limits, &scanned, &head, &size, &refusal),
        ERR_OK);
    assert_true(str_equal(head.content_type, STR("a/b")));
    assert_int_equal(head.content_type_count, 2);
    assert_true(http_head_has_read(&head, 1));
    assert_false(http_head_has_read(&head, 2));
    assert_true(http_head_has_read(&head, 3));
    assert_false(http_head_has_read(&head, 64));
}

static void methods_are_told_apart_with_regard_to_case(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http_method method;
    } cases[] = {
        {"GET", HTTP_METHOD_GET},       {"HEAD", HTTP_METHOD_HEAD},
        {"POST", HTTP_METHOD_POST},     {"PUT", HTTP_METHOD_PUT},
        {"DELETE", HTTP_METHOD_DELETE}, {"PATCH", HTTP_METHOD_OTHER},
        {"get", HTTP_METHOD_OTHER},     {"POSE", HTTP_METHOD_OTHER},
        {"DELETF", HTTP_METHOD_OTHER},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "%s / HTTP/1.0\r\n\r\n",
                       cases[i].text);
        (void)parse_or_fail(text);
        assert_int_equal(parsed_head.method, cases[i].method);
        assert_str(parsed_head.method_text, cases[i].text);
    }
}

static void targets_split_into_path_and_query(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        const char *path;
        const char *query;
    } cases[] = {
        {"/", "/", ""},
        {"/a?", "/a", ""},
        {"/a?b?c", "/a", "b?c"},
        {"//a", "//a", ""},
        {"http://h", "/", ""},
        {"http://h/a?b", "/a", "b"},
        {"HtTpS://h:1?b", "/", "b"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\n\r\n",
                       cases[i].target);
        (void)parse_or_fail(text);
        assert_str(parsed_head.target, cases[i].target);
        assert_str(parsed_head.path, cases[i].path);
        assert_str(parsed_head.query, cases[i].query);
    }
}

static void keep_alive_follows_version_and_connection(void **state)
{
    (void)state;
    static const struct {
        const char *rest;
        bool keep;
    } cases[] = {
        {"1.1\r\nHost: a\r\n", true},
        {"1.1\r\nHost: a\r\nConnection: close\r\n", false},
        {"1.1\r\nHost: a\r\nConnection: x , CLOSE\r\n", false},
        {"1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n", false},
        {"1.1\r\nHost: a\r\nConnection: close\r\nConnection: x\r\n", false},
        {"1.1\r\nHost: a\r\nConnection: closed\r\n", true},
        {"1.0\r\n", false},
        {"1.0\r\nConnection: Keep-Alive\r\n", true},
        {"1.0\r\nConnection: keep-alive\r\nConnection: close\r\n", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "GET / HTTP/%s\r\n", cases[i].rest);
        (void)parse_or_fail(text);
        assert_int_equal(parsed_head.keep_alive, cases[i].keep);
    }
}

static void what_follows_a_head_is_left_alone(void **state)
{
    (void)state;
    const char *one = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    const char *two = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\nx\0";
    assert_int_equal(parse_or_fail(two), strlen(one));
    assert_int_equal(parsed_head.content_length, HTTP_LENGTH_NONE);
}

/* A request whose head is `size` bytes with its empty line. */
static char *request_of_size(size_t size)
{
    const char *start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    memcpy(text, start, strlen(start));
    memcpy(text + size - 4, "\r\n\r\n", 5);
    return text;
}

static void a_head_at_its_limit_is_taken_and_one_past_it_is_431(void **state)
{
    (void)state;
    char *fits = request_of_size(limits.head_size_max);
    assert_int_equal(request_status(str_from(fits)), 0);
    char *large = request_of_size(limits.head_size_max + 1);
    assert_int_equal(request_status(str_from(large)), 431);
    /* Told as soon as that many bytes are there, without the end. */
    assert_int_equal(request_status((struct str){large, limits.head_size_max}),
                     431);
    assert_int_equal(
        request_status((struct str){large, limits.head_size_max - 1}), -1);
    free(fits);
    free(large);
}

static void a_target_at_its_limit_is_taken_and_one_past_it_is_414(void **state)
{
    (void)state;
    char text[16 * 1024];
    for (int past = 0; past < 2; past++) {
        int target_size = (int)limits.target_size_max + past;
        (void)snprintf(text, sizeof(text), "GET /%0*d HTTP/1.0\r\n\r\n",
                       target_size - 1, 0);
        assert_int_equal(request_status(str_from(text)), past ? 414 : 0);
    }
}

static void a_start_line_without_an_end_is_414(void **state)
{
    (void)state;
    size_t size = limits.head_size_max;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, 'a', size);
    assert_int_equal(request_status((struct str){text, size - 1}), -1);
    assert_int_equal(request_status((struct str){text, size}), 414);
    free(text);
}

static void a_hundred_fields_are_taken_and_one_more_is_431(void **state)
{
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        struct buf text = {0};
        buf_append_c(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 1; i < HTTP_HEADERS_MAX + extra; i++) {
            buf_append_c(&text, "X: y\r\n");
        }
        buf_append_c(&text, "\r\n");
        assert_int_equal(request_status(buf_str(&text)), extra ? 431 : 0);
        buf_fini(&text);
    }
}

static void lists_are_searched_by_member(void **state)
{
    (void)state;
    assert_true(http_list_has(STR("a, B ,c"), STR("b")));
    assert_true(http_list_has(STR(",,a"), STR("a")));
    assert_false(http_list_has(STR("ab, c"), STR("a")));
    assert_false(http_list_has(STR(""), STR("a")));
    assert_false(http_list_has(STR("a b"), STR("a")));
}

static void tokens_and_values_are_told_by_their_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        bool token = i != 0 && i < 128 &&
                     strchr("!#$%&'*+-.^_`|~0123456789"
                            "abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                            i) != NULL;
        bool value = i == '\t' || (i >= 0x20 && i != 0x7f);
        char row[40];
        memset(row, byte, sizeof(row));
        assert_int_equal(http_is_token((struct str){&byte, 1}), token);
        assert_int_equal(http_is_field_value((struct str){&byte, 1}), value);
        assert_int_equal(http_is_field_value((struct str){row, 40}), value);
    }
    assert_false(http_is_token(STR("")));
    assert_true(http_is_field_value(STR("")));
}

/* --- responses ----------------------------------------------------------- */

static enum err parse_answer(struct str text, struct http_refusal *refusal)
{
    size_t scanned = 0;
    size_t size = 0;
    struct str copy = exact_copy(text);
    enum err err = http_parse_response(copy, &limits, &scanned, &parsed_head,
                                       &size, refusal);
    free((void *)copy.data);
    return err;
}

static void good_answers_are_taken(void **state)
{
    (void)state;
    struct http_refusal refusal = {0};
    assert_int_equal(parse_answer(STR("HTTP/1.1 201 Created\r\n"
                                      "Content-Length: 7\r\n\r\nsuccess"),
                                  &refusal),
                     ERR_OK);
    assert_int_equal(parsed_head.status, 201);
    assert_int_equal(parsed_head.content_length, 7);
    assert_true(parsed_head.keep_alive);
    assert_int_equal(parse_answer(STR("HTTP/1.0 404\r\n\r\n"), &refusal),
                     ERR_OK);
    assert_int_equal(parsed_head.status, 404);
    assert_false(parsed_head.keep_alive);
    assert_int_equal(parse_answer(STR("HTTP/1.1 100 \r\n\r\n"), &refusal),
                     ERR_OK);
    assert_int_equal(parsed_head.content_length, HTTP_LENGTH_NONE);
    assert_int_equal(parse_answer(STR("HTTP/1.1 200 OK\r\n"
                                      "Content-Length: 7\r\n"
                                      "Content-Length: 7\r\n\r\n"),
                                  &refusal),
                     ERR_OK);
    assert_int_equal(parse_answer(STR("HTTP/1.0 200 OK\r\n"
                                      "Connection: keep-alive\r\n"
                                      "Transfer-Encoding: chunked\r\n\r\n"),
                                  &refusal),
                     ERR_OK);
    assert_true(parsed_head.chunked);
    assert_false(parsed_head.keep_alive);
}

static void
fields_of_an_answer_past_a_hundred_are_read_but_not_kept(void **state)
{
    (void)state;
    struct http_refusal refusal = {0};
    struct buf text = {0};
    buf_append_c(&text, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < HTTP_HEADERS_MAX * 10; i++) {
        buf_append_c(&text, "X: y\r\n");
    }
    size_t size = text.size;
    buf_append_c(&text, "Content-Length: 7\r\n\r\n");
    assert_int_equal(parse_answer(buf_str(&text), &refusal), ERR_OK);
    assert_int_equal(parsed_head.header_count, HTTP_HEADERS_MAX);
    assert_int_equal(parsed_head.content_length, 7);
    text.size = size;
    buf_append_c(&text, "Bad\r\n\r\n");
    assert_int_equal(parse_answer(buf_str(&text), &refusal), ERR_INVALID);
    buf_fini(&text);
}

static void bad_answers_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const struct verdict cases[] = {
        CASE(0, "x"),
        CASE(0, "HTTQ"),
        CASE(0, "\r\nHTTP/1.1 200 OK\r\n\r\n"),
        CASE(0, "HTTP/2.0 200 OK\r\n\r\n"),
        CASE(0, "HTTP/1.1  200 OK\r\n\r\n"),
        CASE(0, "HTTP/1.1 20 OK\r\n\r\n"),
        CASE(0, "HTTP/1.1 020 OK\r\n\r\n"),
        CASE(0, "HTTP/1.1 2000 OK\r\n\r\n"),
        CASE(0, "HTTP/1.1 200\tOK\r\n\r\n"),
        CASE(0, "HTTP/1.1 200 O\0K\r\n\r\n"),
        CASE(0, "HTTP/1.1 200 O\rK\r\n\r\n"),
        CASE(0, "HTTP/1.1 200 OK\n\n"),
        CASE(0, "HTTP/1.1\r\n\r\n"),
        CASE(0, "HTTP/1.1 2\r\n\r\n"),
        CASE(0, "HTTP/1.1 200 OK\r\nA : b\r\n\r\n"),
        CASE(0, "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"),
        CASE(0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_refusal refusal = {.status = 1};
        assert_int_equal(parse_answer(cases[i].bytes, &refusal), ERR_INVALID);
        assert_int_equal(refusal.status, 0);
        assert_non_null(refusal.reason);
    }
    struct http_refusal refusal = {0};
    assert_int_equal(parse_answer(STR("HTTP/1.1 200 OK\r\nContent-Length: 7"
                                      "\r\nContent-Length: 8\r\n\r\n"),
                                  &refusal),
                     ERR_INVALID);
    assert_int_equal(parse_answer(STR("HTTP/1.1 200 OK\r\nContent-Length: 7"
                                      "\r\nTransfer-Encoding: chunked\r\n\r\n"),
                                  &refusal),
                     ERR_INVALID);
    assert_int_equal(parse_answer(STR("HTTP/1.1 200 OK\r\nA: b\r\n"), &refusal),
                     ERR_AGAIN);
    assert_int_equal(parse_answer(STR("HT"), &refusal), ERR_AGAIN);
    assert_int_equal(parse_answer(STR(""), &refusal), ERR_AGAIN);
}

/* --- chunked ------------------------------------------------------------- */

/* Decode `text` given in pieces of `piece` bytes into `body`; the last error,
 * or ERR_OK when the body ended, with the bytes used in `*out_used`. */
static enum err
decode(struct str text, size_t piece, char *body, size_t *out_used)
{
    struct http_chunked chunked = {0};
    size_t at = 0;
    size_t body_size = 0;
    bool done = false;
    while (!done) {
        size_t used = 0;
        struct str data = {NULL, 0};
        struct str copy = exact_copy(str_cut(text, at, piece));
        enum err err = http_chunked_next(&chunked, copy, &used, &data, &done);
        if (err == ERR_OK && data.size > 0) {
            memcpy(body + body_size, data.data, data.size);
            body_size += data.size;
        }
        free((void *)copy.data);
        if (err != ERR_OK) {
            return err;
        }
        at += used;
    }
    body[body_size] = '\0';
    *out_used = at;
    return ERR_OK;
}

static void chunks_are_joined_however_they_come(void **state)
{
    (void)state;
    struct str text = STR("5\r\nhello\r\n"
                          "00A;a=\"b\" ; c\r\n 123456789\r\n"
                          "1\r\n!\r\n"
                          "0\r\nX-Trailer: a b\r\nY:\r\n\r\nNEXT");
    for (size_t piece = 1; piece <= text.size; piece++) {
        char body[64];
        size_t used = 0;
        assert_int_equal(decode(text, piece, body, &used), ERR_OK);
        assert_string_equal(body, "hello 123456789!");
        assert_int_equal(used, text.size - 4);
    }
}

static void malformed_chunks_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        "1_0\r\n",
        "g\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\x01\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nX y: z\r\n\r\n",
        "5\r\nhello\r\n0\r\n x: z\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
        "5\r\nhello\r\n0\r\n: y\r\n\r\n",
        "8000000000000000\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str text = str_from(cases[i]);
        char body[64];
        size_t used = 0;
        if (decode(text, text.size, body, &used) != ERR_INVALID ||
            decode(text, 1, body, &used) != ERR_INVALID) {
            fail_msg("case %zu was not refused: %s", i, cases[i]);
        }
    }
}

static void the_largest_chunk_size_is_read(void **state)
{
    (void)state;
    struct http_chunked chunked = {0};
    size_t used = 0;
    struct str data = {NULL, 0};
    bool done = true;
    assert_int_equal(http_chunked_next(&chunked, STR("7fffffffffffffff\r\nab"),
                                       &used, &data, &done),
                     ERR_OK);
    assert_str(data, "ab");
    assert_false(done);
    assert_int_equal(chunked.left, (uint64_t)INT64_MAX - 2);
}

static void chunk_overhead_is_bounded(void **state)
{
    (void)state;
    static const char *const starts[] = {"1;", "0\r\nX:", "0"};
    static const char fills[] = {'a', 'b', '0'};
    for (int i = 0; i < 3; i++) {
        char *text = malloc(20000);
        assert_non_null(text);
        memset(text, fills[i], 20000);
        memcpy(text, starts[i], strlen(starts[i]));
        char body[8];
        size_t used = 0;
        assert_int_equal(decode((struct str){text, 16000}, 512, body, &used),
                         ERR_AGAIN);
        assert_int_equal(decode((struct str){text, 20000}, 512, body, &used),
                         ERR_INVALID);
        free(text);
    }
}

static void many_small_chunks_are_no_overhead(void **state)
{
    (void)state;
    struct http_chunked chunked = {0};
    for (int i = 0; i < 100000; i++) {
        size_t used = 0;
        struct str data = {NULL, 0};
        bool done = true;
        assert_int_equal(
            http_chunked_next(&chunked, STR("1\r\na\r\n"), &used, &data, &done),
            ERR_OK);
        assert_int_equal(used, 4);
        assert_int_equal(data.size, 1);
        assert_int_equal(
            http_chunked_next(&chunked, STR("\r\n"), &used, &data, &done),
            ERR_OK);
        assert_int_equal(used, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_lines_get_their_exact_status),
        cmocka_unit_test(fields_get_their_exact_status),
        cmocka_unit_test(lengths_get_their_exact_status),
        cmocka_unit_test(encodings_get_their_exact_status),
        cmocka_unit_test(a_head_is_slices_of_the_input),
        cmocka_unit_test(fields_are_known_by_their_whole_name),
        cmocka_unit_test(methods_are_told_apart_with_regard_to_case),
        cmocka_unit_test(targets_split_into_path_and_query),
        cmocka_unit_test(keep_alive_follows_version_and_connection),
        cmocka_unit_test(what_follows_a_head_is_left_alone),
        cmocka_unit_test(a_head_at_its_limit_is_taken_and_one_past_it_is_431),
        cmocka_unit_test(a_target_at_its_limit_is_taken_and_one_past_it_is_414),
        cmocka_unit_test(a_start_line_without_an_end_is_414),
        cmocka_unit_test(a_hundred_fields_are_taken_and_one_more_is_431),
        cmocka_unit_test(lists_are_searched_by_member),
        cmocka_unit_test(tokens_and_values_are_told_by_their_bytes),
        cmocka_unit_test(good_answers_are_taken),
        cmocka_unit_test(
            fields_of_an_answer_past_a_hundred_are_read_but_not_kept),
        cmocka_unit_test(bad_answers_are_refused_with_a_reason),
        cmocka_unit_test(chunks_are_joined_however_they_come),
        cmocka_unit_test(malformed_chunks_are_refused),
        cmocka_unit_test(the_largest_chunk_size_is_read),
        cmocka_unit_test(chunk_overhead_is_bounded),
        cmocka_unit_test(many_small_chunks_are_no_overhead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
