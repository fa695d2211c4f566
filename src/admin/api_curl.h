/* A delivery as a command for a shell, so that somebody can repeat it by hand.
 *
 * The command is for any POSIX shell, and safe whatever the message has: text
 * stands in single quotes, all else is written by printf in octal, so that
 * neither the shell nor a terminal finds anything in it to act on.
 *
 * It is not signed, and texts of secrets are not in it.
 *
 * Threads: that of the topic's shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_CURL_H
#define OPQ_ADMIN_API_CURL_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/topic.h"
#include "store/store.h"

#include <stdint.h>

/* Append the command that repeats the delivery of a message of `topic`, or of
 * what was its delivery, of a dead letter. `attempts`: failed ones so far.
 *
 * Gives:  `*out_reason`, static, after ERR_INVALID.
 * Errors: ERR_INVALID  it cannot be sent
 *         ERR_NOMEM
 */
MUST_CHECK enum err api_curl_append(const struct topic *topic,
                                    const struct record *record,
                                    uint32_t attempts,
                                    uint64_t now_ms,
                                    struct buf *to,
                                    const char **out_reason);

/* Append bytes as one word of a shell. */
void api_curl_word(struct buf *to, struct str bytes);

#endif
