/* Who may have how many of the descriptors that the system grants.
 *
 * Files come first, with at most half of all; what is left is shared by clients
 * and targets as their settings are to each other.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/descriptors.h"

enum {
    /* Of a shard: its loop, listeners, journal, bodies that come, clients that
     * are told that they are too many. */
    OTHERS = 64,
    OTHERS_MIN = 32,     /* the same without the last two */
    FILES_OPEN_MIN = 16, /* as the setting's */
};

/* The part of `left` that `wanted` of `all` is; at least 1. */
static uint32_t part(uint64_t wanted, uint64_t all, uint64_t left)
{
    uint64_t count = all > left ? wanted * left / all : wanted;

    return count == 0 ? 1 : count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

static uint32_t files_open_of(uint64_t wanted, uint64_t left)
{
    uint64_t count = left > OTHERS_MIN ? left - OTHERS_MIN : 0;

    count = count < wanted ? count : wanted;
    return count < FILES_OPEN_MIN ? FILES_OPEN_MIN : (uint32_t)count;
}

bool descriptors_share(const struct config *config,
                       uint64_t count,
                       uint32_t shard_count,
                       struct descriptors *out)
{
    uint64_t each = count / shard_count;
    uint64_t files = config->files_open + OTHERS;
    uint64_t wanted = config->connections_max + config->target_connections;

    *out = (struct descriptors){
        .connections_max = (uint32_t)config->connections_max,
        .target_connections = (uint32_t)config->target_connections,
        .files_open = (uint32_t)config->files_open,
    };
    if (files + wanted <= each) {
        return true;
    }
    if (files > each / 2) {
        files = each / 2;
        out->files_open = files_open_of(config->files_open, files);
    }
    out->connections_max = part(config->connections_max, wanted, each - files);
    out->target_connections =
        part(config->target_connections, wanted, each - files);
    return false;
}
