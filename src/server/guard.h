/* Which addresses OPQ may connect to on a producer's behalf.
 *
 * Asked with the address that is really connected to, on every connection, so
 * a name that changes its address gains nothing. Rules, the first that fits:
 * allow_net allows; deny_net denies; link-local, cloud metadata, multicast,
 * unspecified and broadcast addresses are denied; with `public_only` loopback,
 * private and other special ones (RFC 6890) are denied, too; all else is
 * allowed. IPv4 in IPv6 forms (mapped, compatible, NAT64, 6to4) is judged as
 * IPv4.
 *
 * Threads: any, once made; it does not change.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_GUARD_H
#define OPQ_SERVER_GUARD_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "sys/net.h"

#include <stdbool.h>

struct guard;

/* Make a guard. `allow` and `deny` are lists by commas; what is wrong with
 * them is appended to `errors`, a line each.
 *
 * Gives:  `*out`, for guard_destroy().
 * Errors: ERR_INVALID, ERR_NOMEM
 */
MUST_CHECK enum err guard_create(struct str allow,
                                 struct str deny,
                                 bool public_only,
                                 struct buf *errors,
                                 struct guard **out);

/* Free it. Accepts NULL. */
void guard_destroy(struct guard *guard);

/* Tell whether an address may be connected to. */
bool guard_allows(const struct guard *guard, const struct net_address *address);

/* Tell whether a URL's host may be a target as far as can be said without
 * looking it up: false for a numeric address that is not allowed. */
bool guard_allows_host(const struct guard *guard, struct str host);

#endif
