/* The listening sockets of all shards, bound before any thread starts, so that
 * a port in use is found out at once.
 *
 * Each shard has its own socket for each address (SO_REUSEPORT), so that the
 * kernel spreads connections; a Unix socket belongs to the first shard.
 *
 * Sockets that systemd has opened (LISTEN_FDS) take the place of all addresses
 * of the settings. All shards accept from each of those of TCP.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_LISTEN_H
#define OPQ_SERVER_LISTEN_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/shard.h"
#include "server/config.h"

#include <stdbool.h>
#include <stdint.h>

enum { LISTEN_ADDRESSES_MAX = 16, LISTEN_INHERITED_MAX = 1024 };

/* Listening sockets that another process bound for this one. */
struct listen_inherited {
    bool activated; /* by systemd, instead of the settings' addresses */
    uint32_t count;
    int fds[LISTEN_INHERITED_MAX]; /* owned; -1: taken */
};

struct listen_set {
    uint32_t count;                            /* of sockets of each shard */
    int fds[SHARDS_MAX][LISTEN_ADDRESSES_MAX]; /* owned; -1: handed over, or
                                                  none for this shard */
    struct listen_inherited kept;      /* a second descriptor of each, for a
                                          successor */
    bool secure[LISTEN_ADDRESSES_MAX]; /* TLS is spoken there */
    uint16_t port;                     /* private: to bind next */
    bool inherits;                     /* private: the address in hand */
    struct buf text; /* owned: "http://127.0.0.1:8999" or https, a line each */
};

/* Tell whether the addresses are such that may be bound; `errors` has a line.
 * Errors: ERR_INVALID (no address, one that needs insecure_open, or the path of
 *         a Unix socket that is too long), ERR_NOMEM */
MUST_CHECK enum err listen_check(const struct config *config,
                                 struct buf *errors);

/* Let a successor bind what overlaps with these: another process of our user
 * could not otherwise. Before it is tried. */
void listen_allow_overlap(const struct listen_inherited *inherited);

/* Tell whether the addresses can be bound, but for `known` ones, by blanks;
 * "*": all are known. One that overlaps with known ones (all addresses, and one
 * of them) can, when these are wanted no more. `errors` has a line. Errors: as
 * listen_open() */
MUST_CHECK enum err
listen_try(const struct config *config, struct str known, struct buf *errors);

/* The same of the sockets that are open, for settings that change.
 * Errors: ERR_INVALID (one needs insecure_open, or tokens) */
MUST_CHECK enum err listen_check_open(const struct listen_set *set,
                                      const struct config *config,
                                      struct buf *errors);

/* Note a socket that another process bound; one too many is closed. Takes: fd.
 */
void listen_inherit(struct listen_inherited *inherited, int fd);

/* Close those that nobody took. */
void listen_forget(struct listen_inherited *inherited);

/* Take what systemd hands over; without that bind what the settings say, for
 * `shard_count` shards. Sockets that were inherited and are bound to an address
 * that is wanted are taken instead, those of more shards than there are by the
 * first one. With port 0 the first address takes a free one and the others
 * follow it. An address that the machine lacks (::1 without IPv6, say) is
 * passed over with a warning while another is left. listen_check() has been
 * asked before.
 *
 * Gives:  `*out`, for listen_close(), also when it fails: what was inherited
 *         stays open until then, for who goes back to the former program.
 * Errors: ERR_INVALID  no address is the machine's; or of what was handed over
 *                      there is too much, or some that does not listen, or
 *                      that others can reach
 *         ERR_EXISTS (in use), ERR_DENIED, ERR_BUSY, ERR_IO
 *         `errors` has a line
 * Blocks: for a second, while an address is in use
 */
MUST_CHECK enum err listen_open(const struct config *config,
                                uint32_t shard_count,
                                struct listen_inherited *inherited,
                                struct listen_set *out,
                                struct buf *errors);

/* Close what was not handed over, and what is kept. */
void listen_close(struct listen_set *set);

#endif
