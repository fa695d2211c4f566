/* Headers that a setting adds to deliveries: lines "Name: value".
 *
 * They come from settings of a topic or a subscription alone, so they may name
 * secrets (secrets.h says why those of a push may not). One replaces all
 * headers of a push that have its name. Those of a connection, of the framing,
 * and those that a delivery has of OPQ itself cannot be set.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_HEADER_LINES_H
#define OPQ_QUEUE_HEADER_LINES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "queue/secrets.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    HEADER_LINES_MAX = 32,        /* headers of a setting */
    HEADER_LINES_SIZE_MAX = 8192, /* bytes of it */
};

/* Tell whether a setting's text is right. Empty lines are passed over.
 *
 * Gives:  `*out_reason`, static, and `*out_line`, a slice of `lines`, after an
 *         error.
 * Errors: ERR_INVALID    a line that is none, a name that cannot be set, a
 *                        value with controls, a name of a secret that none can
 *                        have
 *         ERR_TOO_LARGE  too many lines, or bytes
 */
MUST_CHECK enum err header_lines_check(struct str lines,
                                       const char **out_reason,
                                       struct str *out_line);

/* Tell whether one of the lines has this name. */
bool header_lines_have(struct str lines, struct str name);

/* Append the lines as they are sent, each with "\r\n" behind it, secrets in the
 * place of their names. Lines that header_lines_check() would refuse are left
 * out. After an error nothing is appended.
 *
 * Gives:  `*out_has_secret`, whether there were any; `*out_name` after an
 * error, the name that is wrong, a slice of `lines`. Errors: ERR_NOT_FOUND,
 * ERR_INVALID, ERR_NOMEM as secrets_expand()
 */
MUST_CHECK enum err header_lines_expand(struct str lines,
                                        const struct secrets *secrets,
                                        uint64_t now_ms,
                                        struct buf *to,
                                        bool *out_has_secret,
                                        struct str *out_name);

#endif
