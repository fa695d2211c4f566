/* What settings say, in the options of each part of a shard.
 *
 * What a function gives has all that comes from the settings, and zeros else.
 * Texts in it are those of `config`, which must outlive it, as the guard must.
 *
 * Threads: any; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_PARTS_H
#define OPQ_SERVER_PARTS_H

#include "http/client.h"
#include "http/server.h"
#include "queue/pipeline.h"
#include "server/config.h"
#include "server/descriptors.h"
#include "server/guard.h"
#include "store/store_local.h"
#include "sys/io.h"

/* Tell whether the guard (`context`) lets a host of a URL be a target. */
bool parts_host_allowed(void *context, struct str host);

/* Of the event loop. */
struct io_options parts_io(const struct config *config);

/* Of the store, beyond its own defaults; whose shards, and whom it tells of
 * failures, is left to the caller. */
struct store_local_options parts_store(const struct config *config,
                                       struct descriptors share);

/* Of connections from clients. */
struct http_server_options parts_http(const struct config *config,
                                      struct descriptors share);

/* Of connections to targets that the guard allows. */
struct http_client_options parts_client(const struct config *config,
                                        struct descriptors share,
                                        struct guard *guard);

/* Of deliveries. */
struct deliverer_options parts_deliverer(const struct config *config);

/* Of pushes. */
struct listener_options parts_listener(const struct config *config,
                                       struct guard *guard);

#endif
