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

enum { BUCKETS_FIRST = 64 }; /* a power of two */

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

/* The place that points to the target of a name, or to the NULL at the end of
 * its bucket. There are buckets. */
static struct deliverer_target **
place_of(const struct deliverer_targets *targets, struct str name)
{
    uint64_t hash = str_hash(name);
    struct deliverer_target **place =
        &targets->buckets[hash & (targets->bucket_count - 1)].first;

    while (*place != NULL &&
           ((*place)->hash != hash || (*place)->name_size != name.size ||
            memcmp((*place)->name, name.data, name.size) != 0)) {
        place = &(*place)->next;
    }
    return place;
}

/* Have twice as many buckets. Without memory the old ones do, only slower;
 * but there must be some. */
static enum err grow(struct deliverer_targets *targets)
{
    uint32_t count =
        targets->bucket_count == 0 ? BUCKETS_FIRST : 2 * targets->bucket_count;
    struct deliverer_target_bucket *buckets = calloc(count, sizeof(*buckets));

    if (buckets == NULL) {
        return targets->bucket_count == 0 ? ERR_NOMEM : ERR_OK;
    }
    for (uint32_t i = 0; i < targets->bucket_count; i++) {
        struct deliverer_target *next = NULL;
        for (struct deliverer_target *target = targets->buckets[i].first;
             target != NULL; target = next) {
            struct deliverer_target_bucket *bucket =
                &buckets[target->hash & (count - 1)];
            next = target->next;
            target->next = bucket->first;
            bucket->first = target;
        }
    }
    free(targets->buckets);
    targets->buckets = buckets;
    targets->bucket_count = count;
    return ERR_OK;
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
    target->hash = str_hash(name);
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

static enum err find_or_make(struct deliverer *deliverer,
                             struct str name,
                             struct deliverer_target **out)
{
    struct deliverer_targets *targets = &deliverer->targets;

    if (targets->count >= targets->bucket_count) {
        enum err err = grow(targets);
        if (err != ERR_OK) {
            return err;
        }
    }
    struct deliverer_target **place = place_of(targets, name);
    if (*place == NULL) {
        enum err err = make(deliverer, name, place);
        if (err != ERR_OK) {
            return err;
        }
        targets->count++;
    }
    *out = *place;
    return ERR_OK;
}

static void unused_end(struct deliverer_target *target)
{
    if (list_linked(&target->unused)) {
        list_remove(&target->unused);
        target->deliverer->targets.unused_count--;
    }
}

struct deliverer_target *
deliverer_target_find(const struct deliverer *deliverer, struct str name)
{
    return deliverer->targets.bucket_count == 0
               ? NULL
               : *place_of(&deliverer->targets, name);
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

/* Free a target that is in no table. */
static void discard(struct deliverer_target *target)
{
    io_timer_stop(target->deliverer->options.io, &target->tick);
    list_remove(&target->slow);
    endpoint_fini(&target->endpoint);
    http_endpoint_release(target->http);
    free(target);
}

static void destroy(struct deliverer_target *target)
{
    struct deliverer_targets *targets = &target->deliverer->targets;
    struct deliverer_target **place =
        place_of(targets, (struct str){target->name, target->name_size});

    CHECK(*place == target);
    CHECK(target->users == 0);
    unused_end(target);
    *place = target->next;
    targets->count--;
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

    for (uint32_t i = 0; i < targets->bucket_count; i++) {
        struct deliverer_target *next = NULL;
        for (struct deliverer_target *target = targets->buckets[i].first;
             target != NULL; target = next) {
            next = target->next;
            CHECK(target->users == 0);
            discard(target);
        }
    }
    free(targets->buckets);
    *targets = (struct deliverer_targets){0};
    list_init(&targets->unused);
    list_init(&targets->slow);
}
