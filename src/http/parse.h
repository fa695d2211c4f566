/* HTTP/1.1 message heads and chunked bodies, strictly (RFC 9112).
 *
 * Nothing is copied: a parsed head is slices of the input. What can be read in
 * two ways is refused, not repaired: bare CR or LF, obs-fold, blanks before a
 * colon, NUL, two different lengths, a length with chunked.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_PARSE_H
#define OPQ_HTTP_PARSE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_HEADERS_MAX = 100, /* fields of a request; of a response these many
                               are kept, and the others only read, since what
                               a target says too much of is no failure */
};

/* Body size not given by a length. */
#define HTTP_LENGTH_NONE UINT64_MAX

enum http_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OTHER, /* see method_text */
};

struct http_header {
    struct str name;  /* borrowed; as it came, any case */
    struct str value; /* borrowed; trimmed */
};

struct http_limits {
    size_t head_size_max;   /* start line and fields, bytes: 431 past it */
    size_t target_size_max; /* request target, bytes: 414 past it */
};

/* A parsed request or response head. All slices borrow the input. */
struct http_head {
    enum http_method method; /* requests */
    struct str method_text;  /* requests */
    struct str target;       /* requests: as it came */
    struct str path;         /* requests: target up to '?', not decoded */
    struct str query;        /* requests: after '?', may be empty */
    int status;              /* responses */
    int version_minor;       /* 0 or 1, of HTTP/1.x */
    uint64_t content_length; /* HTTP_LENGTH_NONE when not given */
    bool chunked;            /* transfer-encoding is chunked */
    bool keep_alive;         /* by version and Connection */
    bool expect_continue;    /* Expect: 100-continue (HTTP/1.1) */
    struct str content_type; /* the first; borrowed; empty when not given */
    uint32_t content_type_count;
    uint32_t header_count;
    uint64_t read; /* see http_head_has_read() */
    struct http_header headers[HTTP_HEADERS_MAX];
};

/* Why a head is refused. */
struct http_refusal {
    int status;         /* what to answer: 400, 414, 417, 431, 501, 505 */
    const char *reason; /* for people, static: "bare LF in a field" */
};

/* Parse the head of a request. `input` begins at its first byte; call again
 * with more when there is too little. `*scanned` is the caller's, 0 for a new
 * message, and makes repeated calls cost nothing twice.
 *
 * Gives:  `*out_size`, bytes of the head with its empty line (and the one
 *         empty line that may come before it); `*out_head`, whose content is
 *         of no meaning after an error.
 * Errors: ERR_AGAIN    the head is not all there yet (nor too large already)
 *         ERR_INVALID  refused; `*out_refusal` says how to answer. The
 *                      connection cannot be used any more.
 */
MUST_CHECK enum err http_parse_request(struct str input,
                                       const struct http_limits *limits,
                                       size_t *scanned,
                                       struct http_head *out_head,
                                       size_t *out_size,
                                       struct http_refusal *out_refusal);

/* Parse the head of a response, 1xx too. As http_parse_request(); a refusal
 * has no status to answer (0), only a reason. More lenient in one thing: the
 * same Content-Length may come twice. */
MUST_CHECK enum err http_parse_response(struct str input,
                                        const struct http_limits *limits,
                                        size_t *scanned,
                                        struct http_head *out_head,
                                        size_t *out_size,
                                        struct http_refusal *out_refusal);

/* Find a field by name without regard to case; the first one.
 * Returns NULL when there is none. */
const struct http_header *http_head_find(const struct http_head *head,
                                         struct str name);

/* Tell whether a field is one of those that were read with the head: Host,
 * Expect, Connection, Content-Length, Content-Type, Transfer-Encoding. Says so
 * of the first 64 fields only: who asks must do without. */
static inline bool http_head_has_read(const struct http_head *head,
                                      uint32_t index)
{
    return index < 64 && (head->read >> index & 1) != 0;
}

/* The value of a field, trimmed; the empty slice when there is none. */
struct str http_head_value(const struct http_head *head, struct str name);

/* Tell whether a comma-separated field value has `token` among its members,
 * without regard to case. */
bool http_list_has(struct str value, struct str token);

/* Tell whether all bytes are token characters (RFC 9110, 5.6.2), and at least
 * one is there. */
bool http_is_token(struct str text);

/* Tell whether bytes may stand in a field value: no controls but tab. */
bool http_is_field_value(struct str text);

/* A chunked body, incrementally (RFC 9112, 7.1). Zeroed to begin. */
struct http_chunked {
    uint64_t left;     /* bytes of the running chunk still to come */
    uint32_t state;    /* private */
    uint32_t overhead; /* bytes of framing and trailers so far; bounded */
};

/* Tell whether a state that came from elsewhere can be that of a body which is
 * not at its end. */
bool http_chunked_is_sound(const struct http_chunked *chunked);

/* Take what is next of a chunked body.
 *
 * On ERR_OK `*out_used` bytes of input are done with and `*out_data` is the
 * body data among them (perhaps empty); `*out_done` says that the body ended.
 *
 * Errors: ERR_AGAIN    nothing can be taken before more input comes
 *         ERR_INVALID  malformed: sizes with sign, blanks, overflow, missing
 *                      CRLF; extensions or trailers past 16 KiB in all
 */
MUST_CHECK enum err http_chunked_next(struct http_chunked *chunked,
                                      struct str input,
                                      size_t *out_used,
                                      struct str *out_data,
                                      bool *out_done);

/* The standard phrase of a status: "Not Found"; "Unknown" for others. */
const char *http_status_text(int status);

/* Read an HTTP date, all three forms of RFC 9110, 5.6.7. Years of two digits
 * are 1970 to 2069.
 * Errors: ERR_INVALID  malformed, no such day, or before 1970 */
MUST_CHECK enum err http_parse_date(struct str text, uint64_t *out_unix_s);

/* Write the IMF-fixdate of a time up to the year 9999, 29 bytes and a NUL. */
void http_format_date(uint64_t unix_s, char text[30]);

#endif
