/* What the files about replays share.
 *
 * Threads: the loop's of the topic's shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_REPLAYS_H
#define OPQ_ADMIN_API_REPLAYS_H

#include "admin/api_internal.h"

/* Append a replay as a JSON object. */
void api_replays_render(const struct topic *replay, struct buf *to);

#endif
