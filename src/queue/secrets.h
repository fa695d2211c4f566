/* Secrets by name: keys that deliveries are signed with, and texts that headers
 * of subscriptions name.
 *
 * They are lines of a file that only its owner, our user, can read:
 *
 *     # name value, and when it is not used any more
 *     shop whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
 * not_after=2027-01-01T00:00:00Z shop whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD
 *     partner whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=
 *     token wm3vzXEA4fzjFJk1
 *
 * A value that begins with `whsec_` is the key of an HMAC, 24 to 64 bytes in
 * base64; with `whsk_`, an Ed25519 key, its seed of 32 bytes or seed and public
 * half, in base64. Any other is a text of visible characters. Several lines of
 * one name are all used for signing, so that a key can be changed while
 * receivers still know the old one; of texts the first line that is in force.
 * '#' begins a comment, at the start of a line or after a blank.
 *
 *     load -> hold*, release* -> (the last release frees)
 *
 * A table never changes once it is loaded. To read the file again, load a
 * second table, give each shard one by a posted call, which holds the new one
 * and releases the old one; what is under way with the old one has taken what
 * it needs of it (sign.h).
 *
 * Values leave this module by signatures and by secrets_expand() alone: never
 * by an error, a line of the log, or an answer of the API. Their memory is
 * wiped before it is freed.
 *
 * Who may name a secret: whoever names one and chooses the target gets it. So
 * only headers that come from settings of a topic or a subscription, which an
 * administrator writes together with the target, are expanded; those of a push
 * never are, and go out as they came.
 *
 * Threads: any, of a table that is loaded.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_SECRETS_H
#define OPQ_QUEUE_SECRETS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SECRETS_FILE_SIZE_MAX = 256 * 1024,
    SECRETS_VALUE_SIZE_MAX = 4096, /* bytes of it as it is written */
    SECRETS_HMAC_SIZE_MIN = 24,    /* bytes of a key, as Standard Webhooks */
    SECRETS_HMAC_SIZE_MAX = 64,    /* wants them */
    SECRETS_ED25519_SIZE = 32,     /* bytes of a seed, and of a public key */
};

enum secret_kind {
    SECRET_KIND_TEXT,
    SECRET_KIND_HMAC,
    SECRET_KIND_ED25519,
};

/* One line of the file. For sign.h; nobody else looks into it. */
struct secret {
    struct str name;       /* borrowed from the table, as all below */
    struct str value;      /* TEXT: the text. HMAC: the bytes of the key */
    void *key;             /* ED25519: an EVP_PKEY */
    uint64_t not_after_ms; /* not used from then on; UINT64_MAX: for ever */
    enum secret_kind kind;
};

struct secrets;

/* Read the file of secrets. What is wrong is appended to `errors`, a line each,
 * as "path:3: ..." and without a word of what stands there.
 *
 * Gives:  `*out`, for secrets_release().
 * Errors: ERR_INVALID  something is wrong, or others can read the file; all of
 *                      it is in `errors`
 *         ERR_NOMEM
 * Blocks: on reading the file.
 */
MUST_CHECK enum err
secrets_load(const char *path, struct buf *errors, struct secrets **out);

/* Make a table of the text of such a file, which is wiped and freed in any
 * case. `where` stands for the path in `errors`.
 *
 * Takes:  text, of malloc(), `size` bytes.
 * Gives:  `*out`, for secrets_release().
 * Errors: ERR_INVALID, ERR_NOMEM as secrets_load()
 */
MUST_CHECK enum err secrets_parse(char *text,
                                  size_t size,
                                  const char *where,
                                  struct buf *errors,
                                  struct secrets **out);

/* Say that one more uses the table. Returns it. */
struct secrets *secrets_hold(struct secrets *secrets);

/* Say that one uses it no more; the last one frees it. Accepts NULL. */
void secrets_release(struct secrets *secrets);

/* The lines of a name, in the order of the file, those that are not in force
 * any more too: `*out_count` of them from the one returned; NULL and 0 when
 * there is none, as with a table that is NULL. */
const struct secret *secrets_find(const struct secrets *secrets,
                                  struct str name,
                                  uint32_t *out_count);

/* What HMACs are made with, an EVP_MAC; for sign.h. */
void *secrets_hmac(const struct secrets *secrets);

/* Append the value of a header with each `${secret:name}` in it replaced by
 * that secret; any other `$` stands for itself. A table that is NULL has no
 * secrets. After an error nothing is appended.
 *
 * Gives:  `*out_name` after ERR_NOT_FOUND and ERR_INVALID, the name that is
 *         wrong, a slice of `value`.
 * Errors: ERR_NOT_FOUND  no secret of that name is in force at `now_ms`
 *         ERR_INVALID    no name can be so, the brace is not closed, or the
 *                        secret is a key for signing, which is never sent
 *         ERR_NOMEM
 */
MUST_CHECK enum err secrets_expand(const struct secrets *secrets,
                                   struct str value,
                                   uint64_t now_ms,
                                   struct buf *to,
                                   struct str *out_name);

/* Tell whether a header's value names a secret, rightly or not. */
bool secrets_is_named(struct str value);

#endif
