/* Addresses and sockets before they belong to a loop.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/net.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    NET_BACKLOG = 4096, /* the kernel cuts it at net.core.somaxconn */
    NET_MAPPED_BITS = 96,
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0,    0,
                                          0, 0, 0, 0, 0xff, 0xff};

static enum err parse_local(struct str path, struct net_address *out_address)
{
    struct net_address address = {0};
    if (path.size == 0 || str_find(path, '\0') < path.size) {
        return ERR_INVALID;
    }
    if (path.size >= sizeof(address.local.sun_path)) {
        return ERR_TOO_LARGE;
    }
    address.local.sun_family = AF_UNIX;
    memcpy(address.local.sun_path, path.data, path.size);
    address.size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.size + 1);
    *out_address = address;
    return ERR_OK;
}

enum err
net_parse(struct str text, uint16_t port, struct net_address *out_address)
{
    const struct str local = STR("unix:");
    if (str_starts(text, local)) {
        return parse_local(str_cut(text, local.size, text.size), out_address);
    }
    char copy[INET6_ADDRSTRLEN];
    if (text.size == 0 || text.size >= sizeof(copy) ||
        str_find(text, '\0') < text.size) {
        return ERR_INVALID;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    struct net_address address = {0};
    if (inet_pton(AF_INET, copy, &address.v4.sin_addr) == 1) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        address.size = sizeof(address.v4);
    } else if (inet_pton(AF_INET6, copy, &address.v6.sin6_addr) == 1) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        address.size = sizeof(address.v6);
    } else {
        return ERR_INVALID;
    }
    *out_address = address;
    return ERR_OK;
}

static void format_local(const struct net_address *address, char *text)
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t size = address->size > start ? address->size - start : 0;
    const char *path = address->local.sun_path;
    if (size == 0) {
        (void)snprintf(text, NET_TEXT_MAX, "unix:"); /* has no name */
    } else if (path[0] == '\0') {
        (void)snprintf(text, NET_TEXT_MAX, "unix:@%.*s", (int)(size - 1),
                       path + 1);
    } else {
        (void)snprintf(text, NET_TEXT_MAX, "unix:%.*s", (int)size, path);
    }
}

bool net_is_loopback(const struct net_address *address)
{
    switch (address->any.sa_family) {
    case AF_UNIX:
        return true;
    case AF_INET:
        return (ntohl(address->v4.sin_addr.s_addr) >> 24) == 127;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr) &&
                address->v6.sin6_addr.s6_addr[12] == 127);
    default:
        return false;
    }
}

void net_format(const struct net_address *address, char text[NET_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "";
    switch (address->any.sa_family) {
    case AF_INET:
        (void)inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
        (void)snprintf(text, NET_TEXT_MAX, "%s:%u", host,
                       ntohs(address->v4.sin_port));
        return;
    case AF_INET6:
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
        (void)snprintf(text, NET_TEXT_MAX, "[%s]:%u", host,
                       ntohs(address->v6.sin6_port));
        return;
    case AF_UNIX:
        format_local(address, text);
        return;
    default:
        (void)snprintf(text, NET_TEXT_MAX, "?");
        return;
    }
}

static enum err socket_err(int error_number)
{
    switch (error_number) {
    case EMFILE:
    case ENFILE:
        return ERR_BUSY;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EADDRNOTAVAIL: /* IPv6 is there, but turned off */
        return ERR_UNSUPPORTED;
    case EADDRINUSE:
    case EEXIST:
        return ERR_EXISTS;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    default:
        return ERR_IO;
    }
}

static enum err open_socket(int family, int *out_fd)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return socket_err(errno);
    }
    *out_fd = fd;
    return ERR_OK;
}

/* Remove the file of a Unix socket that nobody answers on. */
static enum err remove_stale(const struct net_address *address)
{
    struct stat status;
    const char *path = address->local.sun_path;
    if (path[0] == '\0' || lstat(path, &status) != 0) {
        return ERR_OK; /* nothing in the way, or bind() tells */
    }
    if (!S_ISSOCK(status.st_mode)) {
        return ERR_EXISTS;
    }
    int fd = -1;
    enum err err = open_socket(AF_UNIX, &fd);
    if (err != ERR_OK) {
        return err;
    }
    bool stale =
        connect(fd, &address->any, address->size) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    if (!stale) {
        return ERR_EXISTS;
    }
    return unlink(path) == 0 || errno == ENOENT ? ERR_OK : ERR_IO;
}

static enum err set_listen_options(int fd, int family, bool shared)
{
    int on = 1;
    if (family == AF_UNIX) {
        return ERR_OK;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
        return ERR_IO;
    }
    if (shared &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) {
        return ERR_IO;
    }
    if (family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) {
        return ERR_IO;
    }
    return ERR_OK;
}

enum err net_listen(const struct net_address *address, bool shared, int *out_fd)
{
    int family = address->any.sa_family;
    if (family == AF_UNIX) {
        enum err err = remove_stale(address);
        if (err != ERR_OK) {
            return err;
        }
    }
    int fd = -1;
    enum err err = open_socket(family, &fd);
    if (err != ERR_OK) {
        return err;
    }
    net_ease(fd, address); /* accepted sockets inherit it */
    err = set_listen_options(fd, family, shared);
    if (err != ERR_OK) {
        goto fail;
    }
    if (bind(fd, &address->any, address->size) != 0 ||
        listen(fd, NET_BACKLOG) != 0) {
        err = socket_err(errno);
        goto fail;
    }
    *out_fd = fd;
    return ERR_OK;

fail:
    (void)close(fd);
    return err;
}

enum err net_try(const struct net_address *address)
{
    int family = address->any.sa_family;
    int fd = -1;
    enum err err = family == AF_UNIX ? remove_stale(address) : ERR_OK;
    if (err == ERR_OK) {
        err = open_socket(family, &fd);
    }
    if (err != ERR_OK) {
        return err;
    }
    err = set_listen_options(fd, family, true);
    if (err == ERR_OK && bind(fd, &address->any, address->size) != 0) {
        err = socket_err(errno);
    } else if (err == ERR_OK && family == AF_UNIX) {
        (void)unlink(address->local.sun_path); /* bind() made it */
    }
    (void)close(fd);
    return err;
}

void net_allow_overlap(int fd)
{
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
}

bool net_overlaps(const struct net_address *address,
                  const struct net_address *other)
{
    if (address->any.sa_family != other->any.sa_family ||
        net_same(address, other)) {
        return false;
    }
    if (address->any.sa_family == AF_INET) {
        return address->v4.sin_port == other->v4.sin_port &&
               (address->v4.sin_addr.s_addr == htonl(INADDR_ANY) ||
                other->v4.sin_addr.s_addr == htonl(INADDR_ANY));
    }
    return address->any.sa_family == AF_INET6 &&
           address->v6.sin6_port == other->v6.sin6_port &&
           (IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr) ||
            IN6_IS_ADDR_UNSPECIFIED(&other->v6.sin6_addr));
}

enum err net_accept(int fd, int *out_fd)
{
    for (;;) {
        int taken = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (taken >= 0) {
            *out_fd = taken;
            return ERR_OK;
        }
        if (errno == EAGAIN) {
            return ERR_AGAIN;
        }
        if (errno != EINTR && errno != ECONNABORTED) {
            return socket_err(errno);
        }
    }
}

bool net_same(const struct net_address *address,
              const struct net_address *wanted)
{
    if (address->any.sa_family != wanted->any.sa_family) {
        return false;
    }
    switch (address->any.sa_family) {
    case AF_INET:
        return address->v4.sin_addr.s_addr == wanted->v4.sin_addr.s_addr &&
               (wanted->v4.sin_port == 0 ||
                address->v4.sin_port == wanted->v4.sin_port);
    case AF_INET6:
        return memcmp(&address->v6.sin6_addr, &wanted->v6.sin6_addr,
                      sizeof(wanted->v6.sin6_addr)) == 0 &&
               (wanted->v6.sin6_port == 0 ||
                address->v6.sin6_port == wanted->v6.sin6_port);
    case AF_UNIX:
        return strcmp(address->local.sun_path, wanted->local.sun_path) == 0;
    default:
        return false;
    }
}

static int socket_option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

enum err net_adopt(int fd, struct net_address *out_address)
{
    struct net_address address;

    if (socket_option(fd, SO_TYPE) != SOCK_STREAM ||
        socket_option(fd, SO_ACCEPTCONN) != 1) {
        return ERR_INVALID;
    }
    enum err err = net_bound(fd, &address);
    if (err != ERR_OK) {
        return ERR_INVALID;
    }
    int family = address.any.sa_family;
    int flags = fcntl(fd, F_GETFL);
    if ((family != AF_UNIX && family != AF_INET && family != AF_INET6) ||
        flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return ERR_INVALID;
    }
    net_ease(fd, &address);
    *out_address = address;
    return ERR_OK;
}

enum err net_share(int fd, int *out_fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    if (copy < 0) {
        return ERR_BUSY;
    }
    *out_fd = copy;
    return ERR_OK;
}

enum err net_bound(int fd, struct net_address *out_address)
{
    struct net_address address = {0};
    address.size = sizeof(address.storage);
    if (getsockname(fd, &address.any, &address.size) != 0) {
        return ERR_IO;
    }
    *out_address = address;
    return ERR_OK;
}

enum err net_peer(int fd, struct net_address *out_address)
{
    struct net_address address = {0};
    address.size = sizeof(address.storage);
    if (getpeername(fd, &address.any, &address.size) != 0) {
        return ERR_IO;
    }
    *out_address = address;
    return ERR_OK;
}

size_t net_untaken(int fd)
{
    int size = 0;
    return ioctl(fd, SIOCOUTQ, &size) == 0 && size > 0 ? (size_t)size : 0;
}

enum err net_socket(int family, int *out_fd)
{
    enum err err = open_socket(family, out_fd);
    if (err != ERR_OK) {
        return err == ERR_BUSY || err == ERR_UNSUPPORTED ? err : ERR_IO;
    }
    if (family != AF_UNIX) {
        net_set_nodelay(*out_fd);
    }
    return ERR_OK;
}

void net_ease(int fd, const struct net_address *address)
{
    static const char plain[] = "reno"; /* every kernel has it */
    if (address->any.sa_family != AF_UNIX && net_is_loopback(address)) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, plain,
                         sizeof(plain) - 1);
    }
}

void net_set_nodelay(int fd)
{
    int on = 1;
    /* Fails on Unix sockets, which never delay. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void net_set_reset(int fd)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    /* Fails on Unix sockets, which have no resets. */
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* The 16 bytes of an IP address, those of IPv4 mapped. */
static bool address_bytes(const struct net_address *address, uint8_t bytes[16])
{
    if (address->any.sa_family == AF_INET) {
        memcpy(bytes, mapped_prefix, sizeof(mapped_prefix));
        memcpy(bytes + sizeof(mapped_prefix), &address->v4.sin_addr, 4);
        return true;
    }
    if (address->any.sa_family == AF_INET6) {
        memcpy(bytes, &address->v6.sin6_addr, 16);
        return true;
    }
    return false;
}

/* Tell whether the first `bits` bits are the same. */
static bool same_bits(const uint8_t *left, const uint8_t *right, uint8_t bits)
{
    size_t whole = bits / 8U;
    if (memcmp(left, right, whole) != 0) {
        return false;
    }
    unsigned rest = bits % 8U;
    if (rest == 0) {
        return true;
    }
    unsigned mask = 0xff00U >> rest;
    return ((left[whole] ^ right[whole]) & mask & 0xffU) == 0;
}

enum err net_block_parse(struct str text, struct net_block *out_block)
{
    size_t slash = str_find(text, '/');
    struct net_address address;
    struct net_block block = {.bits = 128};
    if (net_parse(str_cut(text, 0, slash), 0, &address) != ERR_OK ||
        !address_bytes(&address, block.prefix)) {
        return ERR_INVALID;
    }
    if (slash < text.size) {
        uint64_t bits_max = address.any.sa_family == AF_INET ? 32 : 128;
        uint64_t bits = 0;
        struct str digits = str_cut(text, slash + 1, text.size);
        if (str_to_u64(digits, &bits) != ERR_OK || bits > bits_max) {
            return ERR_INVALID;
        }
        bits += bits_max == 32 ? NET_MAPPED_BITS : 0U;
        block.bits = (uint8_t)bits;
    }
    /* Bits past the prefix do not count, but 10.1.0.0/8 is a mistake. */
    for (unsigned i = block.bits; i < 128; i++) {
        if ((block.prefix[i / 8] & (0x80U >> (i % 8))) != 0) {
            return ERR_INVALID;
        }
    }
    *out_block = block;
    return ERR_OK;
}

bool net_block_contains(const struct net_block *block,
                        const struct net_address *address)
{
    uint8_t bytes[16];
    return address_bytes(address, bytes) &&
           same_bits(block->prefix, bytes, block->bits);
}
