/* The targets that a deliverer knows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_target.h"

#include "base/buf.h"
#include "base/check.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_notice.h"

#include <stdlib.h>
#include <string.h>

static void time_came(struct io_timer *timer);

void deliverer_target_name(const struct url *url, struct buf *to)
{
    buf_append_c(to, url->secure ? "https://" : "http://");
    buf_append_c(to, url->host_is_ip6 ? "[" : "");
    for (size_t i = 0; i < url->host.size; i++) {
        char byte = url->host.data[i];
        bool upper = byte >= 'A' && byte <= 'Z';
        buf_append_byte(to, upper ? (char)(byte | 0x20) : byte);
    }
    buf_append_c(to, url->host_is_ip6 ? "]:" : ":");
    buf_append_u64(to, url->port);
}

static struct deliverer_target *target_at(struct hash_node *node)
{
    return node == NULL ? NULL
                        : CONTAINER_OF(node, struct deliverer_target, node);
}

/* Make a target that is in no table yet. */
static enum err make(struct deliverer *deliverer,
                     struct str name,
                     struct deliverer_target **out)
{
    struct deliverer_target *target =
        calloc(1, sizeof(*target) + name.size + 1);
    const char *reason = NULL;

    if (target == NULL) {
        return ERR_NOMEM;
    }
    memcpy(target->name, name.data, name.size);
    target->name_size = name.size;
    enum err err =
        url_parse((struct str){target->name, name.size}, &target->url, &reason);
    if (err == ERR_OK) {
        err = http_endpoint_acquire(deliverer->options.client, &target->url,
                                    &target->http);
    }
    if (err != ERR_OK) {
        free(target);
        return err;
    }
    target->deliverer = deliverer;
    target->tick.expired = time_came;
    endpoint_init(&target->endpoint, &deliverer->slots);
    *out = target;
    return ERR_OK;
}

/* Free a target that is in no table. */
static void discard(struct deliverer_target *target)
{
    io_timer_stop(target->deliverer->options.io, &target->tick);
    list_remove(&target->slow);
    endpoint_fini(&target->endpoint);
    http_endpoint_release(target->http);
    free(target);
}

struct deliverer_target *
deliverer_target_find(const struct deliverer *deliverer, struct str name)
{
    struct deliverer_target *target =
        target_at(hash_table_first(&deliverer->targets.table, str_hash(name)));

    while (target != NULL &&
           !str_equal((struct str){target->name, target->name_size}, name)) {
        target = target_at(hash_table_next(&target->node));
    }
    return target;
}

static enum err find_or_make(struct deliverer *deliverer,
                             struct str name,
                             struct deliverer_target **out)
{
    *out = deliverer_target_find(deliverer, name);
    if (*out != NULL) {
        return ERR_OK;
    }
    enum err err = make(deliverer, name, out);
    if (err != ERR_OK) {
        return err;
    }
    err = hash_table_add(&deliverer->targets.table, &(*out)->node,
                         str_hash(name));
    if (err != ERR_OK) {
        discard(*out);
    }
    return err;
}

static void unused_end(struct deliverer_target *target)
{
    if (list_linked(&target->unused)) {
        list_remove(&target->unused);
        target->deliverer->targets.unused_count--;
    }
}

enum err deliverer_target_acquire(struct deliverer *deliverer,
                                  const struct url *url,
                                  struct deliverer_target **out)
{
    struct buf name = {0};

    deliverer_target_name(url, &name);
    enum err err = buf_err(&name);
    if (err == ERR_OK) {
        err = find_or_make(deliverer, buf_str(&name), out);
    }
    if (err == ERR_OK) {
        unused_end(*out);
        (*out)->users++;
    }
    buf_fini(&name);
    return err;
}

static void destroy(struct deliverer_target *target)
{
    CHECK(target->users == 0);
    unused_end(target);
    hash_table_remove(&target->deliverer->targets.table, &target->node);
    discard(target);
}

/* Tell whether there is something that a topic which comes back must know. */
static bool is_closed(const struct deliverer_target *target)
{
    return endpoint_due_ms(&target->endpoint) != ENDPOINT_NEVER;
}

/* Have the timer run as the endpoint needs it. */
static void arm(struct deliverer_target *target)
{
    struct io *io = target->deliverer->options.io;
    uint64_t due_ms = endpoint_due_ms(&target->endpoint);
    uint64_t now_ms = io_now_ms(io);

    if (target->users == 0 && due_ms == ENDPOINT_NEVER) {
        due_ms = target->unused_ms + DELIVERER_TARGET_UNUSED_MS;
    }

    if (due_ms == ENDPOINT_NEVER) {
        io_timer_stop(io, &target->tick);
    } else if (!io_timer_running(&target->tick) || target->due_ms != due_ms) {
        target->due_ms = due_ms;
        io_timer_start(io, &target->tick,
                       due_ms > now_ms ? due_ms - now_ms : 0);
    }
}

static void time_came(struct io_timer *timer)
{
    struct deliverer_target *target =
        CONTAINER_OF(timer, struct deliverer_target, tick);

    uint64_t now_ms = io_now_ms(target->deliverer->options.io);

    endpoint_tick(&target->endpoint, now_ms);
    if (target->users == 0 && !is_closed(target) &&
        now_ms >= target->unused_ms + DELIVERER_TARGET_UNUSED_MS) {
        destroy(target);
        return;
    }
    arm(target);
}

/* Nobody uses it: keep it, when there is something to be known of it. */
static void unused_begin(struct deliverer_target *target)
{
    struct deliverer_targets *targets = &target->deliverer->targets;

    if (target->endpoint.failed_ms == 0 && !is_closed(target)) {
        destroy(target);
        return;
    }
    target->unused_ms = io_now_ms(target->deliverer->options.io);
    list_append(&targets->unused, &target->unused);
    targets->unused_count++;
    arm(target);
    if (targets->unused_count > DELIVERER_TARGETS_UNUSED_MAX) {
        destroy(CONTAINER_OF(targets->unused.next, struct deliverer_target,
                             unused));
    }
}

void deliverer_target_release(struct deliverer_target *target)
{
    if (target == NULL) {
        return;
    }
    CHECK(target->users > 0);
    target->users--;
    if (target->users == 0) {
        unused_begin(target);
    }
}

void deliverer_target_note(struct deliverer_target *target,
                           struct endpoint_waiter *waiter,
                           const struct endpoint_result *result)
{
    struct io *io = target->deliverer->options.io;
    struct endpoint_result timed = *result;

    CHECK(waiter->endpoint == &target->endpoint);
    enum breaker_state before = target->endpoint.breaker.state;
    timed.now_ms = io_now_ms(io);
    timed.wall_ms = io_wall_ms(io);
    endpoint_note(waiter, &timed);
    deliverer_notice_target(target, before);
    arm(target);
}

void deliverer_target_hold(struct deliverer_target *target, uint64_t delay_ms)
{
    uint64_t now_ms = io_now_ms(target->deliverer->options.io);

    (void)endpoint_hold(&target->endpoint, now_ms + delay_ms);
    arm(target);
}

void deliverer_target_slow(struct deliverer_target *target, uint64_t slow_ms)
{
    if (!list_linked(&target->slow)) {
        list_append(&target->deliverer->targets.slow, &target->slow);
        target->slow_ms = 0;
    }
    target->slow_ms = slow_ms > target->slow_ms ? slow_ms : target->slow_ms;
}

void deliverer_target_hold_slow(struct deliverer *deliverer,
                                uint64_t slow_ms,
                                uint64_t hold_ms)
{
    struct list *slow = &deliverer->targets.slow;

    for (struct list *link = slow->next; link != slow; link = link->next) {
        struct deliverer_target *target =
            CONTAINER_OF(link, struct deliverer_target, slow);
        if (target->slow_ms >= slow_ms) {
            deliverer_target_hold(target, hold_ms);
        }
    }
}

void deliverer_target_limit(struct deliverer_target *target,
                            const struct settings_rate *rate,
                            const struct settings_rate *released)
{
    target->released = *released;
    endpoint_limit(&target->endpoint, rate,
                   io_now_ms(target->deliverer->options.io));
    arm(target);
}

void deliverer_target_reset(struct deliverer_target *target)
{
    enum breaker_state before = target->endpoint.breaker.state;

    endpoint_reset(&target->endpoint);
    deliverer_notice_target(target, before);
    arm(target);
}

void deliverer_target_clear(struct deliverer *deliverer)
{
    struct deliverer_targets *targets = &deliverer->targets;

    uint32_t bucket = 0;
    struct hash_node *node = hash_table_each(&targets->table, &bucket, NULL);

    while (node != NULL) {
        struct hash_node *next =
            hash_table_each(&targets->table, &bucket, node);
        CHECK(target_at(node)->users == 0);
        discard(target_at(node));
        node = next;
    }
    hash_table_fini(&targets->table);
    *targets = (struct deliverer_targets){0};
    list_init(&targets->unused);
    list_init(&targets->slow);
}
