/* Names to addresses on a loop, by c-ares, with a cache.
 *
 * c-ares says which of its sockets to watch (socket_changed()) and when to be
 * called at the latest; after each call into it, its timer is set anew
 * (update_timer()). It may call back from inside ares_getaddrinfo(), when the
 * hosts file has the name: then nobody waits yet and resolver_start() finds
 * the answer in the entry.
 *
 * What can go wrong: a socket of c-ares cannot be watched; the question is
 * then answered by c-ares's own time-out.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/resolver.h"

#include "base/check.h"
#include "base/diag.h"

#include <ares.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum {
    RESOLVER_NAME_MAX = 256,        /* bytes, NUL included */
    RESOLVER_BUCKETS = 512,         /* of the table of names */
    RESOLVER_TRY_TIMEOUT_MS = 1500, /* of the first try of a server */
    RESOLVER_TRIES = 3,             /* of each server */
};

/* A name: its answer, or those who wait for one. */
struct entry {
    struct resolver *resolver;    /* borrowed */
    char name[RESOLVER_NAME_MAX]; /* lower case, terminated; the key */
    bool asking;                  /* c-ares has it; never freed meanwhile */
    uint64_t until_ms;            /* monotonic; the answer is good before */
    enum err err;                 /* ERR_OK: `answer` */
    const char *detail;           /* static, with an error */
    struct resolver_answer answer;
    struct list waiting; /* of resolver_query */
    struct list link;    /* in resolver->used */
    struct list bucket;  /* in resolver->entries */
};

/* A socket of c-ares. */
struct watch {
    struct io_poll poll;
    struct resolver *resolver; /* borrowed */
    struct list link;          /* in resolver->watches */
};

struct resolver {
    struct io *io;                         /* borrowed */
    ares_channel channel;                  /* owned */
    struct io_timer timer;                 /* when c-ares wants to be called */
    struct list entries[RESOLVER_BUCKETS]; /* owned; by hash of the name */
    uint32_t entry_count;
    struct list used;    /* of entries, the one used longest ago first */
    struct list watches; /* of struct watch, owned */
    bool destroying;
    struct resolver_answer direct; /* scratch: of numbers and localhost */
    struct resolver_stats stats;
};

/* --- c-ares on the loop -------------------------------------------------- */

static void update_timer(struct resolver *resolver)
{
    struct timeval left;
    if (ares_timeout(resolver->channel, NULL, &left) == NULL) {
        io_timer_stop(resolver->io, &resolver->timer);
        return;
    }
    uint64_t delay_ms =
        (uint64_t)left.tv_sec * 1000 + ((uint64_t)left.tv_usec + 999) / 1000;
    io_timer_start(resolver->io, &resolver->timer, delay_ms);
}

static void timer_expired(struct io_timer *timer)
{
    struct resolver *resolver = CONTAINER_OF(timer, struct resolver, timer);
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    update_timer(resolver);
}

static void socket_ready(struct io_poll *poll, uint32_t events)
{
    struct watch *watch = CONTAINER_OF(poll, struct watch, poll);
    struct resolver *resolver = watch->resolver;
    int fd = poll->fd; /* the watch may end in there */
    ares_process_fd(resolver->channel,
                    (events & IO_POLL_READ) != 0 ? fd : ARES_SOCKET_BAD,
                    (events & IO_POLL_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
    update_timer(resolver);
}

static struct watch *find_watch(struct resolver *resolver, int fd)
{
    const struct list *head = &resolver->watches;
    for (struct list *node = head->next; node != head; node = node->next) {
        struct watch *watch = CONTAINER_OF(node, struct watch, link);
        if (watch->poll.fd == fd) {
            return watch;
        }
    }
    return NULL;
}

static void watch_destroy(struct watch *watch)
{
    io_poll_stop(&watch->poll);
    list_remove(&watch->link);
    free(watch);
}

static struct watch *watch_create(struct resolver *resolver, int fd)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    if (watch != NULL) {
        watch->poll.ready = socket_ready;
        watch->poll.fd = fd;
        watch->resolver = resolver;
        list_append(&resolver->watches, &watch->link);
    }
    return watch;
}

/* c-ares wants a socket watched; neither way: it closes it next. */
static void
socket_changed(void *context, ares_socket_t fd, int readable, int writable)
{
    struct resolver *resolver = context;
    struct watch *watch = find_watch(resolver, fd);
    if (readable == 0 && writable == 0) {
        if (watch != NULL) {
            watch_destroy(watch);
        }
        return;
    }
    if (watch == NULL) {
        watch = watch_create(resolver, fd);
    }
    enum err err = ERR_NOMEM;
    if (watch != NULL) {
        watch->poll.events = readable != 0 ? (uint32_t)IO_POLL_READ : 0U;
        watch->poll.events |= writable != 0 ? (uint32_t)IO_POLL_WRITE : 0U;
        err = io_poll_start(resolver->io, &watch->poll);
    }
    if (err != ERR_OK) {
        DIAG_WARN("dns_socket_not_watched", "err=%s", err_name(err));
    }
}

/* --- entries ------------------------------------------------------------- */

static void entry_destroy(struct entry *entry)
{
    struct resolver *resolver = entry->resolver;
    CHECK(!entry->asking);
    CHECK(list_empty(&entry->waiting));
    list_remove(&entry->bucket);
    resolver->entry_count--;
    list_remove(&entry->link);
    free(entry);
}

/* Have room for one more name, unless all are being asked for. */
static bool make_room(struct resolver *resolver)
{
    if (resolver->entry_count < RESOLVER_ENTRIES_MAX) {
        return true;
    }
    const struct list *head = &resolver->used;
    for (struct list *node = head->next; node != head; node = node->next) {
        struct entry *entry = CONTAINER_OF(node, struct entry, link);
        if (!entry->asking) {
            entry_destroy(entry);
            return true;
        }
    }
    return false;
}

static struct list *bucket_of(struct resolver *resolver, const char *name)
{
    return &resolver->entries[str_hash(str_from(name)) % RESOLVER_BUCKETS];
}

static struct entry *entry_find(struct resolver *resolver, const char *name)
{
    const struct list *head = bucket_of(resolver, name);
    for (struct list *node = head->next; node != head; node = node->next) {
        struct entry *entry = CONTAINER_OF(node, struct entry, bucket);
        if (strcmp(entry->name, name) == 0) {
            return entry;
        }
    }
    return NULL;
}

static struct entry *entry_create(struct resolver *resolver, const char *name)
{
    if (!make_room(resolver)) {
        return NULL;
    }
    struct entry *entry = calloc(1, sizeof(*entry));
    if (entry == NULL) {
        return NULL;
    }
    entry->resolver = resolver;
    memcpy(entry->name, name, strlen(name) + 1);
    list_init(&entry->waiting);
    list_append(bucket_of(resolver, name), &entry->bucket);
    resolver->entry_count++;
    list_append(&resolver->used, &entry->link);
    return entry;
}

/* Copy the addresses that fit; returns the least of their times to live, in
 * seconds. */
static int copy_addresses(const struct ares_addrinfo *info,
                          struct resolver_answer *answer)
{
    int ttl_s = RESOLVER_TTL_MAX_MS / 1000;
    answer->count = 0;
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL;
         node = node->ai_next) {
        struct net_address *address = &answer->addresses[answer->count];
        size_t size = node->ai_addrlen;
        if ((node->ai_family != AF_INET && node->ai_family != AF_INET6) ||
            size > sizeof(address->storage)) {
            continue;
        }
        memset(address, 0, sizeof(*address));
        memcpy(&address->storage, node->ai_addr, size);
        address->size = (socklen_t)size;
        ttl_s = node->ai_ttl < ttl_s ? node->ai_ttl : ttl_s;
        answer->count++;
        if (answer->count == RESOLVER_ADDRESSES_MAX) {
            break;
        }
    }
    return ttl_s;
}

static const char *failure_text(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENONAME:
        return "no such name";
    case ARES_ENODATA:
        return "the name has no address";
    case ARES_ETIMEOUT:
        return "the DNS servers do not answer";
    case ARES_ECONNREFUSED:
        return "the DNS servers cannot be reached";
    case ARES_ESERVFAIL:
        return "the DNS server failed";
    case ARES_EBADNAME:
        return "not a name that the DNS can have";
    default:
        return "name resolution failed";
    }
}

/* Hand the answer to all who wait. New ones find it in the entry. */
static void tell_waiting(struct entry *entry)
{
    struct list taken;
    struct list *node;
    list_init(&taken);
    while ((node = list_take_first(&entry->waiting)) != NULL) {
        list_append(&taken, node);
    }
    bool ok = entry->err == ERR_OK;
    /* A callback may start queries and so push this entry out of the cache. */
    struct resolver_answer answer = entry->answer;
    enum err err = entry->err;
    const char *detail = entry->detail;
    while ((node = list_take_first(&taken)) != NULL) {
        struct resolver_query *query =
            CONTAINER_OF(node, struct resolver_query, link);
        query->done(query, err, ok ? &answer : NULL, detail);
    }
}

static void
answered(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
    struct entry *entry = context;
    struct resolver *resolver = entry->resolver;
    (void)timeouts;
    entry->asking = false;
    if (resolver->destroying) {
        return; /* cut short: without an answer */
    }
    uint64_t keep_ms = RESOLVER_TTL_MIN_MS;
    entry->err = ERR_DNS;
    entry->detail = failure_text(status);
    if (status == ARES_SUCCESS) {
        int ttl_s = copy_addresses(info, &entry->answer);
        ares_freeaddrinfo(info);
        entry->err = entry->answer.count > 0 ? ERR_OK : ERR_DNS;
        entry->detail = failure_text(ARES_ENODATA);
        if (ttl_s > RESOLVER_TTL_MIN_MS / 1000) {
            keep_ms = (uint64_t)ttl_s * 1000;
        }
    }
    entry->until_ms = io_now_ms(resolver->io) + keep_ms;
    if (!list_empty(&entry->waiting)) {
        tell_waiting(entry);
    }
}

/* Have c-ares look a name up. It may have answered on return. */
static void entry_ask(struct entry *entry)
{
    struct resolver *resolver = entry->resolver;
    struct ares_addrinfo_hints hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM, /* else each address comes twice */
    };
    entry->asking = true;
    resolver->stats.asked++;
    ares_getaddrinfo(resolver->channel, entry->name, NULL, &hints, answered,
                     entry);
    update_timer(resolver);
}

/* --- questions ----------------------------------------------------------- */

static void add_direct(struct resolver *resolver, const char *text)
{
    struct resolver_answer *answer = &resolver->direct;
    enum err err =
        net_parse(str_from(text), 0, &answer->addresses[answer->count]);
    CHECK(err == ERR_OK); /* a constant */
    answer->count++;
}

/* Answer what needs no asking. IPv4 first for localhost: servers that listen
 * on one loopback address mostly take that one. */
static bool answer_direct(struct resolver *resolver, struct str host)
{
    struct resolver_answer *answer = &resolver->direct;
    const struct str local = STR("localhost");
    const struct str under = STR(".localhost");
    answer->count = 0;
    if (net_parse(host, 0, &answer->addresses[0]) == ERR_OK) {
        answer->count = answer->addresses[0].any.sa_family != AF_UNIX ? 1 : 0;
        return answer->count > 0;
    }
    if (host.size > 0 && host.data[host.size - 1] == '.') {
        host.size--;
    }
    bool below = host.size > under.size &&
                 str_equal_nocase(
                     str_cut(host, host.size - under.size, under.size), under);
    if (!below && !str_equal_nocase(host, local)) {
        return false;
    }
    add_direct(resolver, "127.0.0.1");
    add_direct(resolver, "::1");
    return true;
}

/* A name as its entry has it. */
static bool copy_name(struct str host, char name[RESOLVER_NAME_MAX])
{
    if (host.size == 0 || host.size >= RESOLVER_NAME_MAX ||
        str_find(host, '\0') < host.size) {
        return false;
    }
    for (size_t i = 0; i < host.size; i++) {
        char byte = host.data[i];
        name[i] = (char)(byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
    }
    name[host.size] = '\0';
    return true;
}

enum err resolver_start(struct resolver *resolver,
                        struct str host,
                        struct resolver_query *query,
                        const struct resolver_answer **out_answer,
                        const char **out_detail)
{
    char name[RESOLVER_NAME_MAX];
    if (answer_direct(resolver, host)) {
        *out_answer = &resolver->direct;
        return ERR_OK;
    }
    if (!copy_name(host, name)) {
        *out_detail = failure_text(ARES_EBADNAME);
        return ERR_DNS;
    }
    struct entry *entry = entry_find(resolver, name);
    if (entry == NULL) {
        entry = entry_create(resolver, name);
        if (entry == NULL) {
            return ERR_NOMEM;
        }
    } else {
        list_remove(&entry->link);
        list_append(&resolver->used, &entry->link);
    }
    if (entry->asking) {
        resolver->stats.joined++;
    } else if (io_now_ms(resolver->io) < entry->until_ms) {
        resolver->stats.cached++;
    } else {
        entry_ask(entry);
    }
    if (entry->asking) {
        list_append(&entry->waiting, &query->link);
        return ERR_AGAIN;
    }
    if (entry->err == ERR_OK) {
        *out_answer = &entry->answer;
    } else {
        *out_detail = entry->detail;
    }
    return entry->err;
}

void resolver_cancel(struct resolver_query *query)
{
    list_remove(&query->link);
}

/* --- life ---------------------------------------------------------------- */

static enum err ares_err(int status)
{
    return status == ARES_ENOMEM ? ERR_NOMEM : ERR_IO;
}

static enum err open_channel(struct resolver *resolver, const char *servers)
{
    struct ares_options options = {
        .timeout = RESOLVER_TRY_TIMEOUT_MS,
        .tries = RESOLVER_TRIES,
        .sock_state_cb = socket_changed,
        .sock_state_cb_data = resolver,
    };
    int status = ares_init_options(&resolver->channel, &options,
                                   ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                       ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) {
        return ares_err(status);
    }
    if (servers == NULL) {
        return ERR_OK;
    }
    status = ares_set_servers_ports_csv(resolver->channel, servers);
    if (status != ARES_SUCCESS) {
        ares_destroy(resolver->channel);
        return status == ARES_ENOMEM ? ERR_NOMEM : ERR_INVALID;
    }
    return ERR_OK;
}

enum err resolver_check_servers(const char *servers)
{
    struct resolver scratch = {0};
    int status = ares_library_init(ARES_LIB_INIT_ALL); /* counted */
    if (status != ARES_SUCCESS) {
        return ares_err(status);
    }
    enum err err = open_channel(&scratch, servers);
    if (err == ERR_OK) {
        ares_destroy(scratch.channel);
    }
    ares_library_cleanup();
    return err;
}

enum err resolver_create(const struct resolver_options *options,
                         struct resolver **out)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    if (resolver == NULL) {
        return ERR_NOMEM;
    }
    int status = ares_library_init(ARES_LIB_INIT_ALL); /* counted */
    if (status != ARES_SUCCESS) {
        free(resolver);
        return ares_err(status);
    }
    resolver->io = options->io;
    resolver->timer.expired = timer_expired;
    for (int i = 0; i < RESOLVER_BUCKETS; i++) {
        list_init(&resolver->entries[i]);
    }
    list_init(&resolver->used);
    list_init(&resolver->watches);
    enum err err = open_channel(resolver, options->servers);
    if (err != ERR_OK) {
        ares_library_cleanup();
        free(resolver);
        return err;
    }
    *out = resolver;
    return ERR_OK;
}

void resolver_destroy(struct resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    resolver->destroying = true;
    ares_destroy(resolver->channel); /* ends every look-up */
    ares_library_cleanup();
    CHECK(list_empty(&resolver->watches));
    io_timer_stop(resolver->io, &resolver->timer);
    struct list *node;
    while ((node = list_take_first(&resolver->used)) != NULL) {
        struct entry *entry = CONTAINER_OF(node, struct entry, link);
        /* Dropped; taken out, so that cancelling them stays allowed. */
        while (!list_empty(&entry->waiting)) {
            (void)list_take_first(&entry->waiting);
        }
        entry_destroy(entry);
    }
    free(resolver);
}

const struct resolver_stats *resolver_stats(const struct resolver *resolver)
{
    return &resolver->stats;
}
