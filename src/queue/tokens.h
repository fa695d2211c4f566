/* Who may ask: bearer tokens by name, each with what it is good for.
 *
 * They are read from a file that nobody but our user may read, a line each:
 *
 *     # name  scopes        token
 *     shop    publish       sha256:60303ae22b998861bce3b28f33eec1be758a213c...
 *     desk    read,admin    a-text-of-20-bytes-or-more
 *
 * A token is 20 to 256 of A-Z a-z 0-9 - . _ ~ + / =, and stands there as it is
 * or, better, as its SHA-256 in hex; only that is kept. A name may stand on
 * several lines, so that a token can be replaced while the old one is good.
 *
 * A token is looked up by its hash, and the hash compared in constant time: how
 * long that takes says nothing of the tokens there are.
 *
 * Threads: any; a table does not change once it is made.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_TOKENS_H
#define OPQ_QUEUE_TOKENS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "queue/private_lines.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOKENS_NAME_SIZE_MAX = PRIVATE_LINES_NAME_SIZE_MAX,
    TOKENS_SIZE_MIN = 20, /* bytes of a token */
    TOKENS_SIZE_MAX = 256,
    TOKENS_HASH_SIZE = 32,
    TOKENS_FILE_SIZE_MAX = 1 << 20,
};

/* What a token is good for, as bits. */
enum tokens_scope {
    TOKENS_SCOPE_NONE = 0, /* nobody is asked */
    TOKENS_SCOPE_PUBLISH = 1,
    TOKENS_SCOPE_READ = 2,
    TOKENS_SCOPE_ADMIN = 4,
};

struct token {
    char name[TOKENS_NAME_SIZE_MAX + 1];
    uint8_t scopes; /* of enum tokens_scope */
    unsigned char hash[TOKENS_HASH_SIZE];
};

struct tokens;

/* Make a table of the lines of `text`. What is wrong is appended to `errors`,
 * a line each, and never says what stood there. `where` names the file there.
 *
 * Takes:  text, `size` bytes of malloc(); wiped and freed, also on an error
 * Gives:  `*out`, for tokens_release().
 * Errors: ERR_INVALID, ERR_NOMEM
 */
MUST_CHECK enum err tokens_parse(char *text,
                                 size_t size,
                                 const char *where,
                                 struct buf *errors,
                                 struct tokens **out);

/* The same of a file, which must be ours alone (file_load_private()).
 *
 * Gives:  `*out`, for tokens_release().
 * Errors: ERR_INVALID, ERR_NOMEM
 */
MUST_CHECK enum err
tokens_load(const char *path, struct buf *errors, struct tokens **out);

/* Have the table live until one more tokens_release(). Returns it. */
struct tokens *tokens_hold(struct tokens *tokens);

/* Let go of a table; the last one frees it. Accepts NULL. */
void tokens_release(struct tokens *tokens);

/* Find the line of a token that a client gave; NULL: there is none. Borrowed
 * from the table. */
const struct token *tokens_find(const struct tokens *tokens, struct str token);

/* How many there are. */
uint32_t tokens_count(const struct tokens *tokens);

/* The name of a scope: "publish". Static. */
const char *tokens_scope_name(enum tokens_scope scope);

#endif
