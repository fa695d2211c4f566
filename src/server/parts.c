/* What settings say, in the options of each part.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/parts.h"

#include <string.h>

static bool address_allowed(void *context, const struct net_address *address)
{
    return guard_allows(context, address);
}

bool parts_host_allowed(void *context, struct str host)
{
    return guard_allows_host(context, host);
}

static enum io_backend backend(const struct config *config)
{
    if (strcmp(config->io, "epoll") == 0) {
        return IO_BACKEND_EPOLL;
    }
    return strcmp(config->io, "uring") == 0 ? IO_BACKEND_URING
                                            : IO_BACKEND_AUTO;
}

static enum durability durability(const struct config *config)
{
    return strcmp(config->sync, "none") == 0 ? DURABILITY_NONE
                                             : DURABILITY_DISK;
}

/* Bytes of a body that fit into a batch, with all that goes with them. */
static uint64_t body_gather_max(const struct config *config)
{
    uint64_t size = config->batch_size_max / 2;

    return config->body_size_max < size ? config->body_size_max : size;
}

/* Bytes of a body past which it goes into a file. */
static uint64_t body_buffer(const struct config *config)
{
    uint64_t size = body_gather_max(config);

    return config->body_buffer < size ? config->body_buffer : size;
}

/* Bodies going into files at once: each has two pieces in memory. */
static uint32_t uploads_max(const struct config *config)
{
    enum { UPLOAD_SIZE = 256 * 1024 };
    uint64_t count = config->body_memory / UPLOAD_SIZE;

    return count == 0 ? 1 : count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

struct io_options parts_io(const struct config *config)
{
    /* A connection in, one out, and a few files: the kernel's limit rules. */
    uint64_t sockets = config->connections_max + config->target_connections;

    return (struct io_options){
        .backend = backend(config),
        .sockets_max = sockets < UINT32_MAX ? (uint32_t)sockets : UINT32_MAX,
    };
}

struct store_local_options parts_store(const struct config *config,
                                       struct descriptors share)
{
    struct store_local_options options;

    store_local_options_init(&options);
    options.directory = config->data;
    options.journal_size = config->journal_size;
    options.journal_file_size = config->journal_file_size;
    options.batch_size_max = config->batch_size_max;
    options.memory_size_max = config->memory;
    options.segment_size_max = config->segment_size;
    options.segment_count_max = config->segment_count;
    options.disk_reserve = config->disk_reserve;
    options.topics_max = (uint32_t)config->topics_max;
    options.files_open_max = share.files_open;
    options.checkpoint_interval_ms = (uint32_t)config->checkpoint_interval;
    options.cursor_interval_ms = (uint32_t)config->cursor_interval;
    options.sync_inline_max_us = (uint32_t)config->sync_inline_max * 1000;
    options.direct = config->direct;
    return options;
}

struct listener_options parts_listener(const struct config *config,
                                       struct guard *guard)
{
    return (struct listener_options){
        .recorder = {.durability = durability(config),
                     .target_allowed = parts_host_allowed,
                     .context = guard},
        .batch_count_max = (uint32_t)config->batch_count_max,
        .pending_max = (uint32_t)config->pending_max,
        .uploads_max = uploads_max(config),
    };
}

struct http_server_options parts_http(const struct config *config,
                                      struct descriptors share)
{
    return (struct http_server_options){
        .limits = {.head_size_max = (size_t)config->head_size_max,
                   .target_size_max = (size_t)config->target_size_max},
        .body_size_max = config->body_size_max,
        .body_memory_max = config->body_memory,
        .body_buffer = body_buffer(config),
        .body_gather_max = body_gather_max(config),
        .connections_max = share.connections_max,
        .head_timeout_ms = (uint32_t)config->head_timeout,
        .body_timeout_ms = (uint32_t)config->body_timeout,
        .body_rate_min = (uint32_t)config->body_rate_min,
        .idle_timeout_ms = (uint32_t)config->idle_timeout,
        .send_timeout_ms = (uint32_t)config->send_timeout,
        .certificate_file =
            config->tls_cert[0] != '\0' ? config->tls_cert : NULL,
        .key_file = config->tls_key,
        .server_name = "OPQ/" OPQ_VERSION,
    };
}

struct http_client_options parts_client(const struct config *config,
                                        struct descriptors share,
                                        struct guard *guard)
{
    return (struct http_client_options){
        .connect_timeout_ms = (uint32_t)config->connect_timeout,
        .idle_timeout_ms = (uint32_t)config->target_idle_timeout,
        .endpoint_connections_max = (uint32_t)config->endpoint_connections,
        .connections_max = share.target_connections,
        .keep_size_max = (size_t)16 * 1024,
        .drop_size_max = (size_t)1024 * 1024,
        .ca_file = config->ca_file[0] != '\0' ? config->ca_file : NULL,
        .dns_servers =
            config->dns_servers[0] != '\0' ? config->dns_servers : NULL,
        .allowed = address_allowed,
        .context = guard,
    };
}

struct deliverer_options parts_deliverer(const struct config *config)
{
    return (struct deliverer_options){
        .in_flight_max = (uint32_t)config->in_flight,
        /* More would only wait for a connection, their time running. */
        .endpoint_in_flight_max = (uint32_t)config->endpoint_connections,
        .timeout_ms = (uint32_t)config->timeout,
        .retry_first_ms = (uint32_t)config->retry_first,
        .retry_max_ms = (uint32_t)config->retry_max,
        .retry_after_max_ms = config->retry_after_max,
        .user_agent = "OPQ/" OPQ_VERSION,
    };
}
