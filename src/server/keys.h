/* The files that must be nobody else's: tokens and secrets; and the server's
 * certificate with its key.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_KEYS_H
#define OPQ_SERVER_KEYS_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/secrets.h"
#include "queue/tokens.h"
#include "server/config.h"

/* Read the file of tokens, if one is set; else `*out` stays.
 * Gives:  `*out`, for tokens_release().
 * Errors: ERR_INVALID (`errors` has a line), ERR_NOMEM */
MUST_CHECK enum err keys_load_tokens(const struct config *config,
                                     struct buf *errors,
                                     struct tokens **out);

/* The same of the file of secrets.
 * Gives:  `*out`, for secrets_release().
 * Errors: ERR_INVALID (`errors` has a line), ERR_NOMEM */
MUST_CHECK enum err keys_load_secrets(const struct config *config,
                                      struct buf *errors,
                                      struct secrets **out);

/* Look at all of them; of a key that others can read the log warns.
 * Errors: ERR_INVALID (`errors` has lines), ERR_NOMEM */
MUST_CHECK enum err keys_check(const struct config *config, struct buf *errors);

#endif
