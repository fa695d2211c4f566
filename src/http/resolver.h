/* Names to addresses on a loop, by c-ares, with a cache.
 *
 *     resolver_start -> answer at once (number, cache, hosts file)
 *                    -> ERR_AGAIN -> done()
 *
 * Look-ups of one name that run at the same time are one. Answers are kept as
 * long as the DNS allows, but no less than a second, so that a busy endpoint
 * does not ask for each connection, and no more than a minute, so that moved
 * targets are found. That a name has no address is kept for a second.
 *
 * Numeric addresses and "localhost" (RFC 6761, 6.3) are answered here, the
 * hosts file is c-ares's, and only then the DNS is asked.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_RESOLVER_H
#define OPQ_HTTP_RESOLVER_H

#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "sys/io.h"
#include "sys/net.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RESOLVER_ADDRESSES_MAX = 8,  /* of one name; more are left out */
    RESOLVER_TTL_MIN_MS = 1000,  /* answers are kept at least so long */
    RESOLVER_TTL_MAX_MS = 60000, /* and at most so long */
    RESOLVER_ENTRIES_MAX = 1024, /* names kept; the one used longest ago
                                    makes room */
};

struct resolver;

struct resolver_options {
    struct io *io; /* borrowed */
    /* DNS servers, "192.0.2.1,192.0.2.2:5353"; NULL: the system's. */
    const char *servers; /* borrowed by resolver_create() */
};

/* Addresses of a name, in the order to try them; ports are 0. */
struct resolver_answer {
    uint32_t count; /* at least 1 */
    struct net_address addresses[RESOLVER_ADDRESSES_MAX];
};

struct resolver_stats {
    uint64_t asked;  /* look-ups given to c-ares */
    uint64_t cached; /* answered from what was kept */
    uint64_t joined; /* that waited for one that ran already */
};

/* One question; embedded in the caller's object. */
struct resolver_query {
    /* The answer; borrowed until it returns; NULL with an error: ERR_DNS,
     * whose `detail` is static, for people. Always from the loop. */
    void (*done)(struct resolver_query *query,
                 enum err err,
                 const struct resolver_answer *answer,
                 const char *detail);
    struct list link; /* private; zeroed at first */
};

/* See whether a list of servers can be used.
 * Errors: ERR_NOMEM
 *         ERR_INVALID  it cannot
 *         ERR_IO       c-ares cannot start */
MUST_CHECK enum err resolver_check_servers(const char *servers);

/* Make a resolver.
 *
 * Gives:  `*out`, for resolver_destroy().
 * Errors: ERR_NOMEM
 *         ERR_INVALID  the servers
 *         ERR_IO       c-ares cannot start
 */
MUST_CHECK enum err resolver_create(const struct resolver_options *options,
                                    struct resolver **out);

/* Free it. Accepts NULL. Queries are dropped without done(). */
void resolver_destroy(struct resolver *resolver);

/* Find the addresses of a host: a name, or a numeric address.
 *
 * On ERR_OK `*out_answer` is the answer, borrowed until the next call into the
 * loop; done() does not come.
 *
 * Borrows: query, after ERR_AGAIN, until done() or resolver_cancel()
 * Errors:  ERR_AGAIN  done() will come
 *          ERR_DNS    there is none; `*out_detail` is static
 *          ERR_NOMEM
 */
MUST_CHECK enum err resolver_start(struct resolver *resolver,
                                   struct str host,
                                   struct resolver_query *query,
                                   const struct resolver_answer **out_answer,
                                   const char **out_detail);

/* Forget a query; done() does not come. Nothing happens when it is not
 * waiting. */
void resolver_cancel(struct resolver_query *query);

/* Figures so far; borrowed, living as long as the resolver. */
const struct resolver_stats *resolver_stats(const struct resolver *resolver);

#endif
