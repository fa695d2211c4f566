/* The files of tokens and secrets, certificate and key.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/keys.h"

#include "base/diag.h"
#include "http/tls.h"
#include "sys/dir.h"

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

/* The server's own certificate; each shard reads it once more. */
static enum err check_certificate(const struct config *config,
                                  struct buf *errors)
{
    struct tls_context *context = NULL;
    bool has_certificate = config->tls_cert[0] != '\0';
    bool has_key = config->tls_key[0] != '\0';

    if (has_certificate != has_key) {
        buf_append_format(errors, "%s needs %s\n",
                          has_key ? "tls_key" : "tls_cert",
                          has_key ? "tls_cert" : "tls_key");
        return ERR_INVALID;
    }
    if (!has_key) {
        return ERR_OK;
    }
    enum err err =
        tls_context_create_server(config->tls_cert, config->tls_key, &context);
    tls_context_destroy(context);
    if (err == ERR_NOMEM) {
        return err;
    }
    if (err != ERR_OK) {
        buf_append_format(errors,
                          "tls_cert, tls_key: %s and %s are no certificate "
                          "and its key in PEM that can be read: %s\n",
                          config->tls_cert, config->tls_key, err_text(err));
        return ERR_INVALID;
    }
    if (dir_file_is_public(config->tls_key)) {
        DIAG_WARN("key_open_to_others",
                  "path=%s; others than its owner can read it",
                  config->tls_key);
    }
    return ERR_OK;
}

enum err keys_check(const struct config *config, struct buf *errors)
{
    struct tokens *tokens = NULL;
    struct secrets *secrets = NULL;
    enum err err = keys_load_tokens(config, errors, &tokens);
    enum err secrets_err = keys_load_secrets(config, errors, &secrets);
    enum err certificate_err = check_certificate(config, errors);

    tokens_release(tokens);
    secrets_release(secrets);
    err = err == ERR_OK ? secrets_err : err;
    return err == ERR_OK ? certificate_err : err;
}
