/* A pattern, and where it matches in bytes: POSIX extended regular expressions
 * or fixed text, line by line.
 *
 * Threads: one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_MATCHER_H
#define OPQ_CLI_MATCHER_H

#include "base/err.h"
#include "base/str.h"

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    MATCHER_AROUND = 60, /* bytes that are shown on both sides of a match */
    MATCHER_ERROR_MAX = 128,
};

struct matcher {
    regex_t regex;
};

/* A line that matched. */
struct matcher_match {
    struct str line; /* borrowed */
    size_t start;    /* of the match in it */
    size_t end;
};

/* Make a matcher of an expression, or with `fixed` of the text itself.
 *
 * Gives:  `*out`, for matcher_fini(); after ERR_INVALID what is wrong in
 *         `wrong`, of MATCHER_ERROR_MAX bytes.
 * Errors: ERR_INVALID, ERR_NOMEM
 */
MUST_CHECK enum err matcher_init(struct matcher *out,
                                 const char *pattern,
                                 bool fixed,
                                 bool any_case,
                                 char *wrong);

/* Free it. */
void matcher_fini(struct matcher *matcher);

/* Find the first line of a text that matches; bytes that are no text are bytes
 * like others. */
bool matcher_find(const struct matcher *matcher,
                  struct str text,
                  struct matcher_match *out_match);

/* The part of a line that is shown: the match with MATCHER_AROUND bytes on both
 * sides, not cut within a character of UTF-8. */
struct str matcher_part(const struct matcher_match *match);

#endif
