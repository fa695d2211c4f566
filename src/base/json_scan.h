/* JSON (RFC 8259) read in place: values as slices of the text, checked strictly
 * and never built into a tree.
 *
 * For what comes by the hundred thousand: a push or an item of a batch, whose
 * `message` must stay as it was written, byte for byte. All else uses a
 * library.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_JSON_SCAN_H
#define OPQ_BASE_JSON_SCAN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_SCAN_DEPTH_MAX = 64 }; /* arrays and objects in one another */

enum json_scan_type {
    JSON_SCAN_OBJECT,
    JSON_SCAN_ARRAY,
    JSON_SCAN_STRING,
    JSON_SCAN_NUMBER,
    JSON_SCAN_TRUE,
    JSON_SCAN_FALSE,
    JSON_SCAN_NULL,
};

/* One value, borrowed from the text. */
struct json_scan_value {
    enum json_scan_type type;
    struct str text; /* as written: a string with its quotes */
    bool escaped;    /* a string with a backslash in it */
};

/* Where scanning is; made by json_scan_of() or json_scan_enter(). */
struct json_scan {
    struct str text; /* borrowed */
    size_t position; /* of what is next */
    uint32_t depth;  /* arrays around it that were opened */
    bool begun;      /* a member or element was read */
};

/* Scan a text from its beginning. */
struct json_scan json_scan_of(struct str text);

/* Read one whole value, blanks before it skipped.
 *
 * Errors: ERR_NOT_FOUND  nothing but blanks is left
 *         ERR_INVALID    malformed, cut, not UTF-8, or nested too deeply
 */
MUST_CHECK enum err json_scan_next(struct json_scan *scan,
                                   struct json_scan_value *out_value);

/* Begin to read the members or elements of an object or array, which was read
 * by json_scan_next() and so is well formed. */
struct json_scan json_scan_enter(const struct json_scan_value *value);

/* Read the next member of an entered object.
 *
 * Gives:  `*out_name`, a string value.
 * Errors: ERR_NOT_FOUND  there is none any more
 *         ERR_INVALID    (not of a value that json_scan_next() passed)
 */
MUST_CHECK enum err json_scan_member(struct json_scan *scan,
                                     struct json_scan_value *out_name,
                                     struct json_scan_value *out_value);

/* Read the next element of an entered array.
 * Errors: as json_scan_member() */
MUST_CHECK enum err json_scan_element(struct json_scan *scan,
                                      struct json_scan_value *out_value);

/* Begin to read the elements of an array that is next and that nothing has
 * looked at yet: so what lies in it is read once, not twice.
 * Errors: ERR_INVALID  what is next is no array */
MUST_CHECK enum err json_scan_open(struct json_scan *scan);

/* Go to the next element of an opened array, which then is read by
 * json_scan_next() or json_scan_open_object().
 *
 * Errors: ERR_NOT_FOUND  there is none any more; what is next lies behind the
 *                        array
 *         ERR_INVALID    as json_scan_next(), or the array is cut
 */
MUST_CHECK enum err json_scan_opened_place(struct json_scan *scan);

/* Begin to read the members of an object that is next and that nothing has
 * looked at yet.
 * Errors: ERR_INVALID  what is next is no object; the scan is where it was */
MUST_CHECK enum err json_scan_open_object(struct json_scan *scan);

/* Read the next member of an opened object.
 *
 * Errors: ERR_NOT_FOUND  there is none any more; what is next lies behind the
 *                        object
 *         ERR_INVALID    as json_scan_next(), or the object is cut
 */
MUST_CHECK enum err json_scan_opened_member(struct json_scan *scan,
                                            struct json_scan_value *out_name,
                                            struct json_scan_value *out_value);

/* Decode a string value that has escapes, as json_scan_string() does.
 * Errors: as json_scan_string() */
MUST_CHECK enum err json_scan_decode(const struct json_scan_value *value,
                                     struct buf *memory,
                                     struct str *out_text);

/* Tell whether a string value, decoded, begins with `start`, and is that and no
 * more if `whole`. Allocates nothing, and reads no more than is needed. A lone
 * surrogate is like nothing. */
bool json_scan_starts(const struct json_scan_value *value,
                      struct str start,
                      bool whole);

/* The text of a string value. Without escapes it borrows the scanned text;
 * else it is decoded behind what `memory` has, which must have room for it
 * (value->text.size bytes) and not move while the slice is used.
 *
 * Errors: ERR_INVALID  a lone surrogate
 *         ERR_NOMEM    no room
 */
MUST_CHECK static inline enum err
json_scan_string(const struct json_scan_value *value,
                 struct buf *memory,
                 struct str *out_text)
{
    if (value->escaped) {
        return json_scan_decode(value, memory, out_text);
    }
    *out_text = (struct str){value->text.data + 1, value->text.size - 2};
    return ERR_OK;
}

#endif
