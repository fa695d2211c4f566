/* Who may have how many of the descriptors that the system grants.
 *
 * Settings say how many connections and files there may be, as if there were
 * descriptors for all of them. When there are not, none of clients, targets and
 * files may take those that the others need, or a crowd of clients ends all
 * deliveries, and slow targets keep producers out. So each gets its share.
 *
 * Threads: any; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_DESCRIPTORS_H
#define OPQ_SERVER_DESCRIPTORS_H

#include "server/config.h"

#include <stdbool.h>
#include <stdint.h>

/* Of a shard. */
struct descriptors {
    uint32_t connections_max;    /* of clients */
    uint32_t target_connections; /* of deliveries */
    uint32_t files_open;         /* segment files */
};

/* Share `count` descriptors among so many shards. Each figure is that of the
 * settings, or less. Returns false when one of them is less. */
bool descriptors_share(const struct config *config,
                       uint64_t count,
                       uint32_t shard_count,
                       struct descriptors *out);

#endif
