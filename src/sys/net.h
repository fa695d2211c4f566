/* Addresses and sockets before they belong to a loop.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_NET_H
#define OPQ_SYS_NET_H

#include "base/err.h"
#include "base/str.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { NET_TEXT_MAX = 128 }; /* bytes of an address as text, NUL included */

struct net_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
        struct sockaddr_storage storage;
    };
    socklen_t size;
};

/* Read a numeric IPv4 or IPv6 address (without brackets) and a port, or
 * "unix:PATH" (the port is not used).
 *
 * Errors: ERR_INVALID    neither of these
 *         ERR_TOO_LARGE  the path does not fit a socket address
 */
MUST_CHECK enum err
net_parse(struct str text, uint16_t port, struct net_address *out_address);

/* Tell whether what is sent there stays on this machine: 127.0.0.0/8, ::1, the
 * former mapped into IPv6, and Unix sockets. */
bool net_is_loopback(const struct net_address *address);

/* Write "192.0.2.1:80", "[2001:db8::1]:80" or "unix:/path", terminated. */
void net_format(const struct net_address *address, char text[NET_TEXT_MAX]);

/* Make a listening socket, close-on-exec, non-blocking. `shared`: with
 * SO_REUSEPORT, for a socket per shard on one port. IPv6 sockets take IPv6
 * only. A stale file of a Unix socket is removed; one that answers is not.
 *
 * Gives:  `*out_fd`, for close by file_close().
 * Errors: ERR_EXISTS  the address is in use
 *         ERR_DENIED  no right to it
 *         ERR_NOT_FOUND  the folder of a Unix socket is not there
 *         ERR_BUSY (descriptors), ERR_UNSUPPORTED (no such family), ERR_IO
 */
MUST_CHECK enum err
net_listen(const struct net_address *address, bool shared, int *out_fd);

/* Tell whether two addresses are the same; with port 0 in `wanted`, but for the
 * port. */
bool net_same(const struct net_address *address,
              const struct net_address *wanted);

/* Tell whether two addresses cannot be had at once, though they differ: of one
 * port, one of them all addresses of the machine. */
bool net_overlaps(const struct net_address *address,
                  const struct net_address *other);

/* Let others of our user bind what overlaps with the address of a listening
 * socket, if they say `shared`, too. */
void net_allow_overlap(int fd);

/* Tell whether an address could be had with `shared`, without taking any of its
 * connections. Leaves no file of a Unix socket, not even one that nobody
 * answers on.
 * Errors: as net_listen() */
MUST_CHECK enum err net_try(const struct net_address *address);

/* Make ready a listening socket that another process made: as net_listen()
 * leaves one, but for what can only be said before it is bound.
 *
 * Errors: ERR_INVALID  it is no stream socket that listens, or of a family
 *                      that is not ours
 */
MUST_CHECK enum err net_adopt(int fd, struct net_address *out_address);

/* Take a connection that waits at a listening socket.
 *
 * Gives:  `*out_fd`, close-on-exec, non-blocking.
 * Errors: ERR_AGAIN (none waits), ERR_BUSY (descriptors), ERR_IO
 */
MUST_CHECK enum err net_accept(int fd, int *out_fd);

/* Make a second descriptor of a listening socket, for another thread to accept
 * from the same queue.
 *
 * Gives:  `*out_fd`, for close by file_close().
 * Errors: ERR_BUSY (descriptors)
 */
MUST_CHECK enum err net_share(int fd, int *out_fd);

/* The address a socket is bound to (its port when 0 was asked for).
 * Errors: ERR_IO */
MUST_CHECK enum err net_bound(int fd, struct net_address *out_address);

/* The address of the other end of a connected socket.
 * Errors: ERR_IO  among others, when the peer has gone */
MUST_CHECK enum err net_peer(int fd, struct net_address *out_address);

/* How many bytes that were sent on a TCP socket the other end has not taken;
 * 0 where that cannot be known. */
size_t net_untaken(int fd);

/* Make a stream socket for connecting: close-on-exec, non-blocking,
 * TCP_NODELAY. Gives:  `*out_fd`. Errors: ERR_BUSY (descriptors),
 * ERR_UNSUPPORTED, ERR_IO */
MUST_CHECK enum err net_socket(int family, int *out_fd);

/* Spare a TCP socket whose peer, or own address when it listens, is on this
 * machine what its bytes do not need: congestion control that paces (BBR costs
 * a timer and 10 to 20 % of a small request). A no-op for other addresses. */
void net_ease(int fd, const struct net_address *address);

/* Have the next close of a TCP socket reset the connection. */
void net_set_reset(int fd);

/* Set TCP_NODELAY on an accepted socket; a no-op on Unix sockets. */
void net_set_nodelay(int fd);

/* One rule of a guard: a network in CIDR form. IPv4 is kept mapped into IPv6,
 * so that v4-mapped addresses meet the rules of IPv4. */
struct net_block {
    uint8_t prefix[16];
    uint8_t bits; /* 0 to 128 */
};

/* Read "10.0.0.0/8", "fe80::/10", or a single address.
 * Errors: ERR_INVALID */
MUST_CHECK enum err net_block_parse(struct str text,
                                    struct net_block *out_block);

/* Tell whether an IP address lies in a block. False for Unix sockets. */
bool net_block_contains(const struct net_block *block,
                        const struct net_address *address);

#endif
