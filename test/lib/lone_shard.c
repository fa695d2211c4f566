/* A shard that has no others beside it, for tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/lone_shard.h"

#include "queue/accept.h"

static uint32_t owner(void *context, struct str topic)
{
    (void)context;
    (void)topic;
    return 0;
}

static enum err topic_added(struct shard *shard, struct topic *topic)
{
    return accept_attach(shard->accept, topic);
}

static void topic_removed(struct shard *shard, struct topic *topic)
{
    (void)shard;
    accept_detach(topic);
}

void lone_shard_init(struct shard *shard,
                     struct shard_group *group,
                     struct io *io,
                     struct store *store)
{
    *group = (struct shard_group){.count = 1, .owner = owner};
    *shard = (struct shard){.group = group, .io = io, .store = store};
    group->shards[0] = shard;
}

void lone_shard_accepts(struct shard *shard)
{
    shard->topic_added = topic_added;
    shard->topic_removed = topic_removed;
}
