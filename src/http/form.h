/* Form bodies and query strings: urlencoded (WHATWG URL, 5) and multipart
 * (RFC 7578).
 *
 * Parsed fields keep their order and repeats. Values of a multipart form are
 * slices of the body; urlencoded ones too where nothing was escaped, and else
 * of `struct form`'s own memory.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_FORM_H
#define OPQ_HTTP_FORM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

enum { FORM_FIELDS_MAX = 100 }; /* fields of one form */

struct form_field {
    struct str name;  /* borrowed from the input or the form */
    struct str value; /* likewise */
};

struct form_block;

struct form {
    uint32_t field_count;
    struct form_field fields[FORM_FIELDS_MAX];
    struct form_block *blocks; /* owned; decoded text, newest first */
};

/* Make an empty form. A zeroed one is empty, too. Allocates nothing. */
void form_init(struct form *form);

/* Free the memory. */
void form_fini(struct form *form);

/* Forget the fields, keep the memory (the newest block of it). */
void form_clear(struct form *form);

/* Append the fields of an urlencoded text: a body or a query string. Percent
 * signs not followed by two hexadecimal digits are refused. Empty pairs ("&&")
 * are skipped. After an error the form is as it was.
 *
 * Borrows: text, as long as the fields are used. Slices of fields that were
 *          there before stay valid: memory is never moved while there are
 *          fields.
 * Errors:  ERR_INVALID    malformed escape, or a NUL in a name
 *          ERR_TOO_LARGE  more than FORM_FIELDS_MAX fields
 *          ERR_NOMEM
 */
MUST_CHECK enum err form_parse_urlencoded(struct form *form, struct str text);

/* Append the fields of a multipart/form-data body. Files are fields like
 * others: their content is the value. `content_type` is the whole field value,
 * for its boundary. After an error the form is as it was.
 *
 * Borrows: body, as long as the fields are used.
 * Errors:  ERR_INVALID    another type, no or bad boundary, part without a
 *                         name, with a NUL in it, or encoded; not ended
 *          ERR_TOO_LARGE  more than FORM_FIELDS_MAX fields
 *          ERR_NOMEM
 */
MUST_CHECK enum err form_parse_multipart(struct form *form,
                                         struct str content_type,
                                         struct str body);

/* The first field of a name; NULL when there is none. */
const struct form_field *form_find(const struct form *form, struct str name);

/* Append `text` escaped as in a form: A-Z a-z 0-9 - . _ ~ as they are, blank
 * as '+', all others as %XX in upper case. */
void form_escape(struct buf *to, struct str text);

#endif
