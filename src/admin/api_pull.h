/* What the calls of pull subscriptions share.
 *
 * Threads: those of the topic's shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_PULL_H
#define OPQ_ADMIN_API_PULL_H

#include "base/err.h"
#include "queue/filter.h"
#include "queue/shard.h"

/* Find a subscription that clients pull.
 *
 * Gives:  `*out_subject`, static, after an error: what it is about.
 * Errors: ERR_NOT_FOUND, ERR_EXISTS (it is there, of another kind), those of
 *         shard_topic() */
MUST_CHECK enum err api_pull_find(struct shard *shard,
                                  const char *topic,
                                  const char *subscription,
                                  struct topic **out,
                                  const char **out_subject);

/* Make the filter of a subscription; NULL when it has none.
 * Gives:  `*out`, for filter_destroy().
 * Errors: ERR_NOMEM; ERR_CORRUPT (what is stored has no sense any more) */
MUST_CHECK enum err api_pull_filter(const struct topic *subscription,
                                    struct filter **out);

#endif
