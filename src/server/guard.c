/* Which addresses OPQ may connect to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/guard.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS_MAX = 256 };

struct blocks {
    uint32_t count;
    struct net_block items[BLOCKS_MAX];
};

struct guard {
    struct blocks allow;
    struct blocks deny;
    struct blocks special; /* always denied unless allowed */
};

/* Never a target by accident: link-local (with the clouds' metadata services),
 * this network, multicast, broadcast. */
static const char *const always[] = {
    "169.254.0.0/16",     "fe80::/10",        "0.0.0.0/8",   "::/128",
    "224.0.0.0/4",        "ff00::/8",         "240.0.0.0/4", "fd00:ec2::254",
    "100.100.100.200/32", "168.63.129.16/32",
};

/* What else is not the public Internet (RFC 6890 and its registries). */
static const char *const not_public[] = {
    "127.0.0.0/8",    "::1/128",        "10.0.0.0/8",      "172.16.0.0/12",
    "192.168.0.0/16", "100.64.0.0/10",  "fc00::/7",        "192.0.0.0/24",
    "192.0.2.0/24",   "198.18.0.0/15",  "198.51.100.0/24", "203.0.113.0/24",
    "2001:db8::/32",  "192.88.99.0/24", "fec0::/10",
};

static bool in_blocks(const struct blocks *blocks,
                      const struct net_address *address)
{
    for (uint32_t index = 0; index < blocks->count; index++) {
        if (net_block_contains(&blocks->items[index], address)) {
            return true;
        }
    }
    return false;
}

static void
add_known(struct blocks *blocks, const char *const *texts, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        CHECK(blocks->count < BLOCKS_MAX);
        enum err err = net_block_parse(str_from(texts[index]),
                                       &blocks->items[blocks->count]);
        CHECK(err == ERR_OK);
        blocks->count++;
    }
}

static enum err add_list(struct blocks *blocks,
                         struct str list,
                         const char *name,
                         struct buf *errors)
{
    enum err result = ERR_OK;

    while (list.size > 0) {
        size_t end = str_find(list, ',');
        struct str item = str_trim(str_cut(list, 0, end));
        list = str_cut(list, end + 1, list.size);
        if (item.size == 0) {
            continue;
        }
        if (blocks->count == BLOCKS_MAX ||
            net_block_parse(item, &blocks->items[blocks->count]) != ERR_OK) {
            buf_append_format(errors,
                              "%s: %.*s is no network such as 10.0.0.0/8\n",
                              name, STR_ARG(item));
            result = ERR_INVALID;
            continue;
        }
        blocks->count++;
    }
    return result;
}

enum err guard_create(struct str allow,
                      struct str deny,
                      bool public_only,
                      struct buf *errors,
                      struct guard **out)
{
    struct guard *guard = calloc(1, sizeof(*guard));

    if (guard == NULL) {
        return ERR_NOMEM;
    }
    enum err allow_err = add_list(&guard->allow, allow, "allow_net", errors);
    enum err deny_err = add_list(&guard->deny, deny, "deny_net", errors);
    if (allow_err != ERR_OK || deny_err != ERR_OK) {
        free(guard);
        return ERR_INVALID;
    }
    add_known(&guard->special, always, sizeof(always) / sizeof(*always));
    if (public_only) {
        add_known(&guard->special, not_public,
                  sizeof(not_public) / sizeof(*not_public));
    }
    *out = guard;
    return ERR_OK;
}

void guard_destroy(struct guard *guard)
{
    free(guard);
}

/* The IPv4 address that an IPv6 address carries: NAT64 (RFC 6052), 6to4 (RFC
 * 3056), IPv4-compatible (RFC 4291, 2.5.5.1; not ::1 and its like); mapped ones
 * are net_block_contains()'s business. */
static bool carried_v4(const struct net_address *address,
                       struct net_address *out_v4)
{
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    static const uint8_t compatible[12] = {0};
    const uint8_t *bytes = address->v6.sin6_addr.s6_addr;
    const uint8_t *carried;

    if (address->any.sa_family != AF_INET6) {
        return false;
    }
    if (memcmp(bytes, nat64, sizeof(nat64)) == 0 ||
        (memcmp(bytes, compatible, sizeof(compatible)) == 0 &&
         bytes[12] != 0)) {
        carried = bytes + 12;
    } else if (bytes[0] == 0x20 && bytes[1] == 0x02) {
        carried = bytes + 2;
    } else {
        return false;
    }
    memset(out_v4, 0, sizeof(*out_v4));
    out_v4->v4.sin_family = AF_INET;
    memcpy(&out_v4->v4.sin_addr, carried, 4);
    out_v4->size = sizeof(out_v4->v4);
    return true;
}

bool guard_allows(const struct guard *guard, const struct net_address *address)
{
    struct net_address v4;

    if (in_blocks(&guard->allow, address)) {
        return true;
    }
    if (in_blocks(&guard->deny, address) ||
        in_blocks(&guard->special, address)) {
        return false;
    }
    if (!carried_v4(address, &v4)) {
        return true;
    }
    return in_blocks(&guard->allow, &v4) ||
           (!in_blocks(&guard->deny, &v4) && !in_blocks(&guard->special, &v4));
}

bool guard_allows_host(const struct guard *guard, struct str host)
{
    struct net_address address;

    if (str_starts(host, STR("unix:")) ||
        net_parse(host, 0, &address) != ERR_OK) {
        return true;
    }
    return guard_allows(guard, &address);
}
