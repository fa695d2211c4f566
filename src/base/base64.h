/* Base64 with padding (RFC 4648, 4), read. What writes it is json_text.h.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_BASE64_H
#define OPQ_BASE_BASE64_H

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

/* Bytes that text of a size decodes to, at most. */
static inline size_t base64_size_max(size_t text_size)
{
    return text_size / 4 * 3;
}

/* Decode to `to`, which has room for base64_size_max() bytes and may be where
 * the text is. After an error what is there has no meaning.
 *
 * Errors: ERR_INVALID  not base64, or padded wrongly
 */
MUST_CHECK enum err base64_decode(struct str text, char *to, size_t *out_size);

#endif
