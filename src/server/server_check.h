/* What settings must be, beyond what their table says. server_check() itself is
 * in server.h.
 *
 * Threads: any; before there are shards.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_SERVER_CHECK_H
#define OPQ_SERVER_SERVER_CHECK_H

#include "base/buf.h"
#include "base/err.h"
#include "server/config.h"
#include "server/guard.h"

/* Make the guard of the addresses that may be targets.
 *
 * Gives:  `*out`, for guard_destroy()
 * Errors: ERR_INVALID  a setting has no sense: a line in `errors`
 *         ERR_NOMEM */
MUST_CHECK enum err server_check_guard(const struct config *config,
                                       struct buf *errors,
                                       struct guard **out);

#endif
