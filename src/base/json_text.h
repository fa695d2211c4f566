/* Members of a JSON object, each with a comma before it; bytes of anyone's as
 * text where they are that, else in base64 under a name that says so.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_JSON_TEXT_H
#define OPQ_BASE_JSON_TEXT_H

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* Tell whether bytes are UTF-8 without NUL, so that JSON shows them as they
 * are. */
bool json_text_is_text(struct str bytes);

/* Append base64 with padding (RFC 4648, 4). */
void json_text_append_base64(struct buf *to, struct str bytes);

/* Append ,"name":"text"; what is not UTF-8 is replaced. */
void json_text_append_text(struct buf *to, const char *name, struct str text);

/* Append ,"name":value. */
void json_text_append_number(struct buf *to, const char *name, uint64_t value);

/* Append ,"name":"2026-01-02T03:04:05.678Z". */
void json_text_append_time(struct buf *to, const char *name, uint64_t unix_ms);

/* Append ,"name":"..." or, when the bytes are no text, ,"name_base64":"...". */
void json_text_append_bytes(struct buf *to, const char *name, struct str bytes);

#endif
