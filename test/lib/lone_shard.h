/* A shard that has no others beside it, for tests.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_LONE_SHARD_H
#define OPQ_TEST_LIB_LONE_SHARD_H

#include "queue/shard.h"

/* Make the only shard of a group: each topic is its own. */
void lone_shard_init(struct shard *shard,
                     struct shard_group *group,
                     struct io *io,
                     struct store *store);

/* Have its topics take pushes through shard->accept, which is set before the
 * first topic. */
void lone_shard_accepts(struct shard *shard);

#endif
