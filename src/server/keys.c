/* The files of tokens and secrets.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/keys.h"

enum err keys_load_tokens(const struct config *config,
                          struct buf *errors,
                          struct tokens **out)
{
    return config->tokens[0] != '\0' ? tokens_load(config->tokens, errors, out)
                                     : ERR_OK;
}

enum err keys_load_secrets(const struct config *config,
                           struct buf *errors,
                           struct secrets **out)
{
    return config->secrets[0] != '\0'
               ? secrets_load(config->secrets, errors, out)
               : ERR_OK;
}

enum err keys_check(const struct config *config, struct buf *errors)
{
    struct tokens *tokens = NULL;
    struct secrets *secrets = NULL;
    enum err err = keys_load_tokens(config, errors, &tokens);
    enum err secrets_err = keys_load_secrets(config, errors, &secrets);

    tokens_release(tokens);
    secrets_release(secrets);
    return err == ERR_OK ? secrets_err : err;
}
