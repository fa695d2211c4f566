/* What settings must be, beyond what their table says.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/server_check.h"

#include "http/resolver.h"
#include "http/tls.h"
#include "server/announce.h"
#include "server/keys.h"
#include "server/listen.h"
#include "server/server.h"

#include <string.h>

enum err server_check_guard(const struct config *config,
                            struct buf *errors,
                            struct guard **out)
{
    return guard_create(str_from(config->allow_net), str_from(config->deny_net),
                        strcmp(config->targets, "public") == 0, errors, out);
}

/* What the authorities' file holds, each shard reads for itself later on. */
static enum err check_authorities(const struct config *config,
                                  struct buf *errors)
{
    struct tls_context *context = NULL;

    if (config->ca_file[0] == '\0') {
        return ERR_OK;
    }
    enum err err = tls_context_create_client(config->ca_file, &context);
    tls_context_destroy(context);
    if (err == ERR_OK || err == ERR_NOMEM) {
        return err;
    }
    buf_append_format(errors, "ca_file: %s has no certificates in PEM: %s\n",
                      config->ca_file, err_text(err));
    return ERR_INVALID;
}

static enum err check_dns_servers(const struct config *config,
                                  struct buf *errors)
{
    if (config->dns_servers[0] == '\0') {
        return ERR_OK;
    }
    enum err err = resolver_check_servers(config->dns_servers);
    if (err == ERR_INVALID) {
        buf_append_format(errors,
                          "dns_servers: %s are no addresses such as "
                          "192.0.2.1,192.0.2.2:5353\n",
                          config->dns_servers);
    }
    return err;
}

enum err server_check(const struct config *config, struct buf *errors)
{
    struct guard *guard = NULL;

    enum err err = server_check_guard(config, errors, &guard);
    guard_destroy(guard);
    enum err listen_err = listen_check(config, errors);
    enum err authorities_err = check_authorities(config, errors);
    enum err dns_err = check_dns_servers(config, errors);
    enum err keys_err = keys_check(config, errors);
    enum err events_err = announce_check(config->events_url, errors);
    err = err == ERR_OK ? listen_err : err;
    err = err == ERR_OK ? authorities_err : err;
    err = err == ERR_OK ? dns_err : err;
    err = err == ERR_OK ? events_err : err;
    return err == ERR_OK ? keys_err : err;
}
