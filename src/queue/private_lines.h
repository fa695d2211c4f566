/* Files of lines that nobody but our user may read: of tokens and of secrets.
 *
 * A line is words between blanks; '#' begins a comment, at the start of a line
 * or after a blank. What is wrong with a line is told by its number, and never
 * by what stands there, since a mistyped line may have a secret anywhere.
 *
 *     load -> next*, word*, refuse* -> wipe
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_PRIVATE_LINES_H
#define OPQ_QUEUE_PRIVATE_LINES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PRIVATE_LINES_NAME_SIZE_MAX = 64 }; /* bytes of a name */

/* A text that is read line by line. Set the first three. */
struct private_lines {
    struct str left;    /* borrowed: what is not read yet */
    const char *where;  /* borrowed: names the file in `errors` */
    struct buf *errors; /* borrowed */
    uint32_t number;    /* of the line that was read last */
    bool refused;       /* a line was */
};

/* Load a file, which must be ours alone (file_load_private()). What is wrong is
 * appended to `errors`, a line that begins with `what`.
 *
 * Gives:  `*out_text`, `*out_size` bytes of malloc(); private_lines_wipe().
 * Errors: ERR_INVALID  others can read it, or nobody; `errors` says why
 *         ERR_NOMEM
 * Blocks: on reading the file.
 */
MUST_CHECK enum err private_lines_load(const char *what,
                                       const char *path,
                                       size_t size_max,
                                       struct buf *errors,
                                       char **out_text,
                                       size_t *out_size);

/* Overwrite a text and free it. Accepts NULL. */
void private_lines_wipe(char *text, size_t size);

/* How many lines a text has at most. */
size_t private_lines_count(struct str text);

/* Go to the next line that has a word. False: there is none.
 *
 * Gives:  `*out_word`, its first word, and `*out_rest`, what stands behind
 *         that; slices of the text. */
bool private_lines_next(struct private_lines *lines,
                        struct str *out_word,
                        struct str *out_rest);

/* Take the next word off a line; empty at its end or at a comment. */
struct str private_lines_word(struct str *line);

/* Say what is wrong with the line that was read last, and what was nearly
 * written there; `near` NULL: nothing. */
void private_lines_refuse(struct private_lines *lines,
                          const char *wrong,
                          const char *near);

/* Tell whether a text may be a name: 1 to PRIVATE_LINES_NAME_SIZE_MAX of
 * A-Z a-z 0-9 . _ - */
bool private_lines_is_name(struct str text);

#endif
