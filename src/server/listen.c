/* The listening sockets of all shards.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/listen.h"

#include "base/diag.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/net.h"
#include "sys/process.h"

#include <string.h>

/* A process that was killed has its sockets a little longer, for the kernel
 * takes an io_uring apart behind its back: who starts right afterwards found
 * the port in use one time in three. */
enum { PATIENCE_MS = 1000, STEP_MS = 10 };

static enum err
complain(struct buf *errors, struct str address, const char *why, enum err err)
{
    buf_append_format(errors, "cannot listen on %.*s: %s\n", STR_ARG(address),
                      why);
    return err;
}

static void note_bound(struct listen_set *set, const struct net_address *bound)
{
    const char *scheme = set->secure[set->count] ? "https://" : "http://";
    char text[NET_TEXT_MAX];

    net_format(bound, text);
    buf_append_format(&set->text, "%s%s\n",
                      bound->any.sa_family == AF_UNIX ? "" : scheme, text);
}

/* The port to bind next: the one asked for, or the one the kernel gave. */
static void keep_port(const struct net_address *bound, uint16_t *port)
{
    if (bound->any.sa_family == AF_INET) {
        *port = ntohs(bound->v4.sin_port);
    } else if (bound->any.sa_family == AF_INET6) {
        *port = ntohs(bound->v6.sin6_port);
    }
}

/* Bind an address for one shard. A port that shards share could be shared by
 * another process as well, which would then get a part of our connections: so
 * the first one asks for the address alone, for a moment. */
static enum err bind_shard(const struct net_address *address,
                           bool shared,
                           bool first,
                           int *out_fd)
{
    if (shared && first) {
        int fd = -1;
        enum err err = net_listen(address, false, &fd);
        if (err != ERR_OK) {
            return err;
        }
        file_close(fd);
    }
    return net_listen(address, shared, out_fd);
}

/* The same, with patience for a port that is in use. */
static enum err bind_patiently(const struct net_address *address,
                               bool shared,
                               bool first,
                               int *out_fd)
{
    enum err err = bind_shard(address, shared, first, out_fd);

    for (uint32_t waited_ms = 0; err == ERR_EXISTS && waited_ms < PATIENCE_MS;
         waited_ms += STEP_MS) {
        clock_sleep_ms(STEP_MS);
        err = bind_shard(address, shared, first, out_fd);
    }
    return err;
}

/* --- what was inherited --------------------------------------------------- */

void listen_inherit(struct listen_inherited *inherited, int fd)
{
    if (inherited->count == LISTEN_INHERITED_MAX) {
        file_close(fd);
        return;
    }
    inherited->fds[inherited->count] = fd;
    inherited->count++;
}

/* Tell whether a socket is bound to an address; to any port of it for port 0.
 */
static bool is_bound_to(int fd, const struct net_address *wanted)
{
    struct net_address bound;

    return net_bound(fd, &bound) == ERR_OK && net_same(&bound, wanted);
}

/* Take an inherited socket of an address; -1: there is none (more). */
static int take_inherited(struct listen_inherited *inherited,
                          const struct net_address *address)
{
    for (uint32_t index = 0; index < inherited->count; index++) {
        int fd = inherited->fds[index];
        if (fd >= 0 && is_bound_to(fd, address)) {
            inherited->fds[index] = -1;
            return fd;
        }
    }
    return -1;
}

/* Let an address be bound that overlaps with one that was inherited: that is
 * closed when all serve. Tell whether there is such a one. */
static bool allow_overlap(const struct listen_inherited *inherited,
                          const struct net_address *address)
{
    bool any = false;

    for (uint32_t index = 0; index < inherited->count; index++) {
        int fd = inherited->fds[index];
        struct net_address bound;
        if (fd >= 0 && net_bound(fd, &bound) == ERR_OK &&
            net_overlaps(&bound, address)) {
            net_allow_overlap(fd);
            any = true;
        }
    }
    return any;
}

/* Give the first shard what is left of an address: connections may wait there.
 */
static void take_surplus(struct listen_set *set,
                         struct listen_inherited *inherited,
                         const struct net_address *address)
{
    bool secure = set->secure[set->count - 1];
    int fd = -1;

    while (set->count < LISTEN_ADDRESSES_MAX &&
           (fd = take_inherited(inherited, address)) >= 0) {
        set->secure[set->count] = secure;
        set->fds[0][set->count] = fd;
        set->count++;
    }
}

/* Have a second descriptor of each socket; those that systemd opened are the
 * same for all shards. Errors: ERR_BUSY */
static enum err keep_all(struct listen_set *set)
{
    uint32_t shard_max = set->kept.activated ? 1 : SHARDS_MAX;

    for (uint32_t shard = 0; shard < shard_max; shard++) {
        for (uint32_t index = 0; index < set->count; index++) {
            int fd = -1;
            if (set->fds[shard][index] < 0) {
                continue;
            }
            enum err err = net_share(set->fds[shard][index], &fd);
            if (err != ERR_OK) {
                return err;
            }
            listen_inherit(&set->kept, fd);
        }
    }
    return ERR_OK;
}

/* --- binding -------------------------------------------------------------- */

/* A socket of an address for one shard: inherited, the first shard's once more
 * where that was bound for itself alone, or a new one. */
static enum err bind_one(struct listen_set *set,
                         struct listen_inherited *inherited,
                         const struct net_address *address,
                         bool shared,
                         uint32_t shard)
{
    int *fd = &set->fds[shard][set->count];

    *fd = take_inherited(inherited, address);
    if (*fd >= 0) {
        set->inherits = true;
        return ERR_OK;
    }
    if (shard > 0 && set->inherits) {
        return net_share(set->fds[0][set->count], fd);
    }
    if (allow_overlap(inherited, address)) {
        return net_listen(address, true, fd);
    }
    return bind_patiently(address, shared, shard == 0, fd);
}

/* Bind one address for all shards that are to have it. */
static enum err bind_address(struct listen_set *set,
                             struct listen_inherited *inherited,
                             struct str text,
                             uint32_t shard_count,
                             struct buf *errors)
{
    struct net_address address;
    uint16_t *port = &set->port;

    if (net_parse(text, *port, &address) != ERR_OK) {
        return complain(errors, text, "no IP address", ERR_INVALID);
    }
    bool local = address.any.sa_family == AF_UNIX;
    set->inherits = false;
    for (uint32_t shard = 0; shard < (local ? 1 : shard_count); shard++) {
        enum err err = bind_one(set, inherited, &address,
                                !local && shard_count > 1, shard);
        if (err != ERR_OK) {
            return err == ERR_UNSUPPORTED
                       ? err
                       : complain(errors, text,
                                  err == ERR_EXISTS ? "the address is in use"
                                                    : err_text(err),
                                  err);
        }
        if (shard == 0) {
            err = net_bound(set->fds[0][set->count], &address);
            if (err != ERR_OK) {
                return complain(errors, text, err_text(err), err);
            }
            keep_port(&address, port);
            note_bound(set, &address);
        }
    }
    set->count++;
    take_surplus(set, inherited, &address);
    return ERR_OK;
}

/* Take the next address off a list by commas; false when there is none. */
static bool next_address(struct str *list, struct str *out_text)
{
    while (list->size > 0) {
        size_t end = str_find(*list, ',');
        struct str text = str_trim(str_cut(*list, 0, end));
        *list = str_cut(*list, end + 1, list->size);
        if (text.size > 0) {
            *out_text = text;
            return true;
        }
    }
    return false;
}

/* Refuse an address that others can reach, unless that is meant. */
static enum err check_reach(const struct config *config,
                            const struct net_address *address,
                            struct str text,
                            struct buf *errors)
{
    if (!config->insecure_open && config->tokens[0] == '\0' &&
        !net_is_loopback(address)) {
        return complain(errors, text,
                        "others can reach it, and nobody is asked who he is; "
                        "--tokens asks, --insecure-open allows it",
                        ERR_INVALID);
    }
    return ERR_OK;
}

static enum err
check_address(const struct config *config, struct str text, struct buf *errors)
{
    struct net_address address;
    if (net_parse(text, 0, &address) != ERR_OK) {
        return complain(errors, text, "no IP address", ERR_INVALID);
    }
    return check_reach(config, &address, text, errors);
}

enum err listen_check_open(const struct listen_set *set,
                           const struct config *config,
                           struct buf *errors)
{
    for (uint32_t index = 0; index < set->kept.count; index++) {
        struct net_address address;
        char text[NET_TEXT_MAX];
        if (set->kept.fds[index] < 0 ||
            net_bound(set->kept.fds[index], &address) != ERR_OK) {
            continue;
        }
        net_format(&address, text);
        enum err err = check_reach(config, &address, str_from(text), errors);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* The address of the setting `unix`; it is set. Errors: ERR_INVALID */
static enum err read_local(const struct config *config,
                           struct net_address *out,
                           struct buf *errors)
{
    struct buf text = {0};

    buf_append_format(&text, "unix:%s", config->unix);
    enum err err = buf_err(&text);
    if (err == ERR_OK && net_parse(buf_str(&text), 0, out) != ERR_OK) {
        err = complain(errors, buf_str(&text), "the path is too long",
                       ERR_INVALID);
    }
    buf_fini(&text);
    return err;
}

enum err listen_check(const struct config *config, struct buf *errors)
{
    struct str list = str_from(config->listen);
    struct str text;
    int count = 0;
    enum err result = ERR_OK;

    while (next_address(&list, &text)) {
        count++;
        enum err err = check_address(config, text, errors);
        result = err != ERR_OK ? err : result;
    }
    if (count >= LISTEN_ADDRESSES_MAX) {
        return complain(errors, text, "too many addresses", ERR_INVALID);
    }
    if (count == 0 && config->unix[0] == '\0') {
        buf_append_c(errors, "no address to listen on\n");
        return ERR_INVALID;
    }
    if (config->unix[0] != '\0') {
        struct net_address address;
        enum err err = read_local(config, &address, errors);
        result = err != ERR_OK ? err : result;
    }
    return result;
}

/* Tell whether an address is among those that blanks separate; the path of a
 * Unix socket may have some itself. */
static bool has_shown(struct str list, struct str shown)
{
    for (size_t at = 0; at + shown.size <= list.size; at++) {
        size_t end = at + shown.size;
        if ((at == 0 || list.data[at - 1] == ' ') &&
            (end == list.size || list.data[end] == ' ') &&
            str_equal(str_cut(list, at, shown.size), shown)) {
            return true;
        }
    }
    return false;
}

/* Tell whether an address is in a list of the settings. */
static bool
is_listed(struct str list, uint16_t port, const struct net_address *address)
{
    struct str text;
    struct net_address listed;

    while (next_address(&list, &text)) {
        if (net_parse(text, port, &listed) == ERR_OK &&
            net_same(&listed, address)) {
            return true;
        }
    }
    return false;
}

/* Read an address as net_format() writes it: "[::1]:8999". */
static bool read_shown(struct str shown, struct net_address *out)
{
    size_t end = shown.size;
    uint64_t port = 0;

    while (end > 0 && shown.data[end - 1] != ':') {
        end--;
    }
    if (end == 0 ||
        str_to_u64(str_cut(shown, end, shown.size), &port) != ERR_OK ||
        port > UINT16_MAX) {
        return false;
    }
    struct str host = str_cut(shown, 0, end - 1);
    if (str_starts(host, STR("["))) {
        host = str_cut(host, 1, host.size - 2);
    }
    return net_parse(host, (uint16_t)port, out) == ERR_OK;
}

/* Tell whether an address that is in use could be had when those of `known` are
 * closed that it overlaps with, and that are wanted no more. */
static bool could_overlap(const struct config *config,
                          struct str known,
                          const struct net_address *address)
{
    uint16_t port = (uint16_t)config->port;
    bool any = false;

    while (known.size > 0) {
        struct net_address other;
        size_t end = str_find(known, ' ');
        if (read_shown(str_cut(known, 0, end), &other) &&
            net_overlaps(&other, address)) {
            if (is_listed(str_from(config->listen), port, &other)) {
                return false;
            }
            any = true;
        }
        known = str_cut(known, end + 1, known.size);
    }
    return any && net_try(address) == ERR_OK;
}

/* Tell of an address that cannot be had. */
static enum err
complain_try(struct buf *errors, const char *shown, enum err err)
{
    return complain(errors, str_from(shown),
                    err == ERR_EXISTS ? "the address is in use" : err_text(err),
                    ERR_INVALID);
}

static enum err
try_local(const struct config *config, struct str known, struct buf *errors)
{
    struct net_address address;
    char shown[NET_TEXT_MAX];

    if (config->unix[0] == '\0') {
        return ERR_OK;
    }
    enum err err = read_local(config, &address, errors);
    if (err != ERR_OK) {
        return err;
    }
    net_format(&address, shown);
    if (has_shown(known, str_from(shown))) {
        return ERR_OK;
    }
    err = net_try(&address);
    return err == ERR_OK ? ERR_OK : complain_try(errors, shown, err);
}

enum err
listen_try(const struct config *config, struct str known, struct buf *errors)
{
    struct str list = str_from(config->listen);
    struct str text;

    if (has_shown(known, STR("*"))) {
        return ERR_OK;
    }
    while (config->port != 0 && next_address(&list, &text)) {
        struct net_address address;
        char shown[NET_TEXT_MAX];
        int fd = -1;
        enum err err = net_parse(text, (uint16_t)config->port, &address);
        if (err != ERR_OK) {
            return complain(errors, text, "no IP address", err);
        }
        net_format(&address, shown);
        if (has_shown(known, str_from(shown))) {
            continue;
        }
        err = net_listen(&address, false, &fd);
        file_close(fd);
        if (err == ERR_EXISTS && could_overlap(config, known, &address)) {
            err = ERR_OK;
        }
        if (err != ERR_OK && err != ERR_UNSUPPORTED) {
            return complain_try(errors, shown, err);
        }
    }
    return try_local(config, known, errors);
}

static enum err bind_list(const struct config *config,
                          uint32_t shard_count,
                          struct listen_inherited *inherited,
                          struct listen_set *set,
                          struct buf *errors)
{
    struct str list = str_from(config->listen);
    struct str text;

    set->port = (uint16_t)config->port;
    while (next_address(&list, &text)) {
        set->secure[set->count] = config->tls_cert[0] != '\0';
        enum err err = bind_address(set, inherited, text, shard_count, errors);
        if (err == ERR_UNSUPPORTED) {
            DIAG_WARN("address_missing",
                      "address=%.*s; the machine has no such address, going "
                      "on without it",
                      STR_ARG(text));
        } else if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err bind_local(const struct config *config,
                           struct listen_inherited *inherited,
                           struct listen_set *set,
                           struct buf *errors)
{
    struct buf text = {0};

    if (config->unix[0] == '\0') {
        return ERR_OK;
    }
    set->secure[set->count] = false;
    buf_append_format(&text, "unix:%s", config->unix);
    enum err err = buf_err(&text);
    if (err == ERR_OK) {
        err = bind_address(set, inherited, buf_str(&text), 1, errors);
        err = err == ERR_NOT_FOUND ? ERR_INVALID : err; /* its folder */
    }
    buf_fini(&text);
    return err;
}

/* Give a socket that was handed over to the shards that are to have it. */
static enum err adopt_socket(const struct config *config,
                             uint32_t shard_count,
                             struct listen_set *set,
                             struct buf *errors)
{
    struct net_address address;
    char text[NET_TEXT_MAX] = "a socket that was handed over";
    int *first = &set->fds[0][set->count];

    enum err err = net_adopt(*first, &address);
    if (err != ERR_OK) {
        return complain(errors, str_from(text), "it does not listen", err);
    }
    net_format(&address, text);
    err = check_reach(config, &address, str_from(text), errors);
    if (err != ERR_OK) {
        return err;
    }
    bool local = address.any.sa_family == AF_UNIX;
    for (uint32_t shard = 1; shard < (local ? 1 : shard_count); shard++) {
        err = net_share(*first, &set->fds[shard][set->count]);
        if (err != ERR_OK) {
            return complain(errors, str_from(text), err_text(err), err);
        }
    }
    set->secure[set->count] = !local && config->tls_cert[0] != '\0';
    note_bound(set, &address);
    return ERR_OK;
}

/* The sockets that systemd has opened, for this process or for the one before.
 * Errors: as process_sockets() */
static enum err find_activated(struct listen_inherited *inherited,
                               struct listen_set *set,
                               uint32_t *out_count)
{
    if (!inherited->activated) {
        return process_sockets(LISTEN_ADDRESSES_MAX, set->fds[0], out_count);
    }
    *out_count = inherited->count < LISTEN_ADDRESSES_MAX ? inherited->count
                                                         : LISTEN_ADDRESSES_MAX;
    for (uint32_t index = 0; index < *out_count; index++) {
        set->fds[0][index] = inherited->fds[index];
        inherited->fds[index] = -1;
    }
    return ERR_OK;
}

/* Take the sockets that systemd hands over; there may be none. */
static enum err adopt_all(const struct config *config,
                          uint32_t shard_count,
                          struct listen_inherited *inherited,
                          struct listen_set *set,
                          struct buf *errors)
{
    uint32_t count = 0;

    enum err err = find_activated(inherited, set, &count);
    set->kept.activated = count > 0;
    if (err != ERR_OK) {
        return complain(errors, STR("LISTEN_FDS"),
                        err == ERR_RANGE ? "too many sockets"
                                         : "it names no open sockets",
                        ERR_INVALID);
    }
    for (; set->count < count; set->count++) {
        err = adopt_socket(config, shard_count, set, errors);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err bind_all(const struct config *config,
                         uint32_t shard_count,
                         struct listen_inherited *inherited,
                         struct listen_set *set,
                         struct buf *errors)
{
    enum err err = bind_list(config, shard_count, inherited, set, errors);

    if (err == ERR_OK) {
        err = bind_local(config, inherited, set, errors);
    }
    if (err == ERR_OK && set->count == 0) {
        buf_append_format(errors,
                          "cannot listen on %s: the machine has no "
                          "such address\n",
                          config->listen);
        err = ERR_INVALID;
    }
    return err;
}

enum err listen_open(const struct config *config,
                     uint32_t shard_count,
                     struct listen_inherited *inherited,
                     struct listen_set *out,
                     struct buf *errors)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++) {
        for (uint32_t index = 0; index < LISTEN_ADDRESSES_MAX; index++) {
            out->fds[shard][index] = -1;
        }
    }
    enum err err = adopt_all(config, shard_count, inherited, out, errors);
    if (err == ERR_OK && out->count == 0) {
        err = bind_all(config, shard_count, inherited, out, errors);
    }
    return err == ERR_OK ? keep_all(out) : err;
}

void listen_allow_overlap(const struct listen_inherited *inherited)
{
    for (uint32_t index = 0; index < inherited->count; index++) {
        struct net_address bound;
        if (inherited->fds[index] >= 0 && !inherited->activated &&
            net_bound(inherited->fds[index], &bound) == ERR_OK &&
            bound.any.sa_family != AF_UNIX) {
            net_allow_overlap(inherited->fds[index]);
        }
    }
}

void listen_forget(struct listen_inherited *inherited)
{
    for (uint32_t index = 0; index < inherited->count; index++) {
        file_close(inherited->fds[index]);
    }
    inherited->count = 0;
}

void listen_close(struct listen_set *set)
{
    listen_forget(&set->kept);
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++) {
        for (uint32_t index = 0; index < LISTEN_ADDRESSES_MAX; index++) {
            file_close(set->fds[shard][index]);
            set->fds[shard][index] = -1;
        }
    }
    buf_fini(&set->text);
}
