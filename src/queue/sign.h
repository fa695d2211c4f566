/* Signatures of deliveries, as Standard Webhooks has them.
 *
 *     begin -> update* -> finish      (and again, for the next message)
 *
 * What is signed is `id.timestamp.body`, with each secret in force of the names
 * given: `v1,<base64>` is an HMAC-SHA256, `v1a,<base64>` an Ed25519 signature;
 * the header's value has all of them, with blanks between.
 *
 * The body comes by pieces, so one that lies in a file can be signed in
 * constant memory: by HMAC. Ed25519 needs the whole of it twice. So up to
 * SIGN_WHOLE_SIZE_MAX it is gathered in memory; larger bodies have `v1`
 * signatures only, and when there is no key for these, an error: a receiver
 * that asks for a signature is never sent a message without one.
 *
 * Memory: contexts are kept for the next message, so nothing is allocated but
 * for Ed25519. A running signature borrows nothing of the secrets.
 *
 * Threads: the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_SIGN_H
#define OPQ_QUEUE_SIGN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "queue/secrets.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SIGN_KEYS_MAX = 8,                 /* secrets of one message */
    SIGN_WHOLE_SIZE_MAX = 1024 * 1024, /* bytes of a body for Ed25519 */
    SIGN_SIZE_MAX = SIGN_KEYS_MAX * (4 + 88 + 1), /* bytes of a value */
};

/* A running signature. Zeroed: none. */
struct sign {
    void *macs[SIGN_KEYS_MAX]; /* owned, EVP_MAC_CTX; kept for the next */
    void *keys[SIGN_KEYS_MAX]; /* owned, EVP_PKEY; of the running one */
    uint32_t mac_count;        /* in use */
    uint32_t key_count;
    struct buf whole; /* what is signed, while there are keys */
    bool failed;      /* OpenSSL said no */
};

/* What is signed besides the body. */
struct sign_content {
    struct str id;        /* webhook-id */
    uint64_t timestamp_s; /* webhook-timestamp; secrets in force are those of
                             then */
    uint64_t body_size;
};

/* Begin to sign with the secrets of `names`, with commas between; a running
 * signature is given up. A table that is NULL has no secrets. Past
 * SIGN_KEYS_MAX, further secrets are not used: first those that stand first in
 * the names and in the file.
 *
 * Gives:  `*out_name`, of names, after ERR_NOT_FOUND and ERR_INVALID.
 * Errors: ERR_NOT_FOUND  no secret of a name is in force
 *         ERR_INVALID    a name has only texts, or cannot be one
 *         ERR_TOO_LARGE  the body is too large for all keys that are there
 *         ERR_NOMEM
 */
MUST_CHECK enum err sign_begin(struct sign *sign,
                               const struct secrets *secrets,
                               struct str names,
                               const struct sign_content *content,
                               struct str *out_name);

/* Go on with the next bytes of the body. */
void sign_update(struct sign *sign, struct str bytes);

/* End it, and write the header's value, at most SIGN_SIZE_MAX bytes, to `to`.
 *
 * Gives:  `*out_size`, bytes written.
 * Errors: ERR_NOMEM  also of what was updated
 */
MUST_CHECK enum err sign_finish(struct sign *sign, char *to, size_t *out_size);

/* Give up what runs and free the memory, wiped. */
void sign_fini(struct sign *sign);

#endif
