/* The wait before a smooth restart: see handing.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/handing.h"

#include "base/check.h"
#include "base/diag.h"

#include <stdatomic.h>

enum {
    LOOK_MS = 20,
    /* Requests that let us wait for as long are slow; the coarser steps. */
    SLOW_MS = 100,
    SLOWER_MS = 1000,
    SLOWEST_MS = 10000,
    /* More than a look, for a loop that is busy; less than anybody minds when
     * it goes on. */
    HOLD_MS = 10 * LOOK_MS,
    ENDING_MS = 250,              /* for what is not slow, the first time */
    ENDING_MAX_MS = 3600 * 1000,  /* the longest timeout */
    FORCE_MS = 10000,             /* not by force before that */
    PREPARED_MS = 2000,           /* after which it is worth doing once more */
    SAY_MS = 3000,                /* the first line; then twice as late */
    SAY_EVERY_MAX_MS = 600 * 1000 /* at most */
};

static uint64_t now_of(const struct handing *handing)
{
    return io_now_ms(handing->shard->io);
}

static void look_due(struct io_timer *timer)
{
    (void)timer; /* so that there is a turn */
}

static void look_at(struct handing *handing, uint64_t at_ms)
{
    uint64_t now_ms = now_of(handing);

    handing->look_ms = at_ms;
    io_timer_start(handing->shard->io, &handing->timer,
                   at_ms > now_ms ? at_ms - now_ms : 0);
}

/* --- the store ------------------------------------------------------------ */

/* Have it write what it has in memory, beside other work, so that little is
 * left to do with connections waiting. Tell whether that was done of late. */
static bool is_prepared(struct handing *handing)
{
    uint64_t now_ms = now_of(handing);
    struct store *store = handing->shard->store;

    if (!handing->preparing && now_ms - handing->prepared_ms > PREPARED_MS) {
        handing->preparing = true;
        store_prepare_close(store);
    }
    if (handing->preparing && store_close_prepared(store)) {
        handing->preparing = false;
        handing->prepared_ms = now_ms;
    }
    return !handing->preparing;
}

/* --- what is slow --------------------------------------------------------- */

/* Note how long the oldest thing under way here lasts, and tell the same of all
 * shards; 0: nothing is slow. */
static uint64_t slowest_of_all(const struct handing *handing)
{
    struct shard_group *group = handing->shard->group;
    uint64_t now_ms = now_of(handing);
    uint64_t delivery_ms = deliverer_oldest_ms(handing->deliverer);
    uint64_t upload_ms = listener_oldest_upload_ms(handing->listener, now_ms);
    uint64_t own_ms = delivery_ms > upload_ms ? delivery_ms : upload_ms;
    uint64_t all_ms = 0;

    atomic_store(&group->slow_ms[handing->shard->index],
                 own_ms >= SLOW_MS ? own_ms : 0);
    for (uint32_t index = 0; index < group->count; index++) {
        uint64_t slow_ms = atomic_load(&group->slow_ms[index]);
        all_ms = slow_ms > all_ms ? slow_ms : all_ms;
    }
    return all_ms;
}

static uint64_t step_of(uint64_t slow_ms)
{
    return slow_ms >= SLOWEST_MS  ? SLOWEST_MS
           : slow_ms >= SLOWER_MS ? SLOWER_MS
           : slow_ms >= SLOW_MS   ? SLOW_MS
                                  : 0;
}

/* Say now and then what is waited for here. */
static void say(struct handing *handing)
{
    uint64_t waited_ms = now_of(handing) - handing->begun_ms;
    uint32_t uploads = listener_uploads(handing->listener);
    struct deliverer_slow slow;

    if (waited_ms < handing->say_ms) {
        return;
    }
    handing->say_ms +=
        handing->say_ms < SAY_EVERY_MAX_MS ? handing->say_ms : SAY_EVERY_MAX_MS;
    deliverer_slow(handing->deliverer, SLOW_MS, &slow);
    if (slow.count > 0 || uploads > 0) {
        DIAG_INFO("restart_waits",
                  "shard=%u waited_ms=%llu deliveries=%u longest_rest_ms=%llu "
                  "target=%s uploads=%u",
                  handing->shard->index, (unsigned long long)waited_ms,
                  slow.count, (unsigned long long)slow.rest_ms,
                  slow.target != NULL ? slow.target : "-", uploads);
    }
}

/* Tell whether it is to be tried although something is slow. */
static bool is_forced(const struct handing *handing)
{
    uint64_t now_ms = now_of(handing);
    uint64_t waited_ms = now_ms - handing->begun_ms;

    return waited_ms > FORCE_MS && waited_ms / 2 > handing->longest_ms &&
           now_ms >= handing->again_ms;
}

/* --- steps ---------------------------------------------------------------- */

void handing_start(struct handing *handing)
{
    struct shard_group *group = handing->shard->group;
    uint64_t now_ms = now_of(handing);

    CHECK(handing->stage == HANDING_OFF);
    handing->stage = HANDING_WAITING;
    handing->timer.expired = look_due;
    handing->begun_ms = now_ms;
    handing->longest_ms = 0;
    handing->ending_ms = ENDING_MS;
    handing->again_ms = 0;
    handing->say_ms = SAY_MS;
    handing->preparing = true;
    store_prepare_close(handing->shard->store);
    (void)slowest_of_all(handing);
    atomic_fetch_add(&group->handing, 1);
    look_at(handing, now_ms);
}

/* Let all go on; the next time it may take longer. */
static void go_on(struct handing *handing)
{
    uint64_t now_ms = now_of(handing);

    handing->stage = HANDING_WAITING;
    deliverer_resume(handing->deliverer);
    http_server_hold_uploads(handing->server, false);
    handing->again_ms = now_ms + handing->ending_ms;
    handing->ending_ms = 2 * handing->ending_ms < ENDING_MAX_MS
                             ? 2 * handing->ending_ms
                             : ENDING_MAX_MS;
    look_at(handing, now_ms);
}

/* Look whether it may end. */
static void wait_on(struct handing *handing)
{
    struct shard_group *group = handing->shard->group;
    uint64_t now_ms = now_of(handing);

    if (now_ms < handing->look_ms) {
        return;
    }
    look_at(handing, now_ms + LOOK_MS);
    uint64_t slowest_ms = slowest_of_all(handing);
    uint64_t step_ms = step_of(slowest_ms);
    if (slowest_ms > handing->longest_ms) {
        handing->longest_ms = slowest_ms;
    }
    if (step_ms > 0) {
        deliverer_hold_slow(handing->deliverer, step_ms, HOLD_MS);
    }
    http_server_hold_uploads(handing->server, step_ms == SLOW_MS);
    say(handing);
    if (atomic_load(&group->handing) < group->count ||
        (step_ms > 0 && !is_forced(handing)) || !is_prepared(handing)) {
        return;
    }
    handing->stage = HANDING_ENDING;
    handing->ending_until_ms = now_ms + handing->ending_ms;
    look_at(handing, handing->ending_until_ms);
    http_server_hold_uploads(handing->server, true);
    deliverer_halt(handing->deliverer);
}

/* Look whether it has ended. True: everywhere. */
static bool end_on(struct handing *handing)
{
    struct shard_group *group = handing->shard->group;

    if (!deliverer_is_halted(handing->deliverer) ||
        listener_uploads(handing->listener) > 0 || !is_prepared(handing)) {
        if (now_of(handing) >= handing->ending_until_ms) {
            go_on(handing);
        }
        return false;
    }
    handing->stage = HANDING_QUIET;
    return atomic_fetch_add(&group->quiet, 1) + 1 == group->count;
}

/* Count this shard as quiet no more; false when all are. */
static bool be_loud(struct shard_group *group)
{
    unsigned quiet = atomic_load(&group->quiet);

    while (quiet < group->count) {
        CHECK(quiet > 0);
        if (atomic_compare_exchange_weak(&group->quiet, &quiet, quiet - 1)) {
            return true;
        }
    }
    return false;
}

bool handing_look(struct handing *handing)
{
    switch (handing->stage) {
    case HANDING_OFF:
        return false;
    case HANDING_WAITING:
        wait_on(handing);
        return handing->stage == HANDING_ENDING && end_on(handing);
    case HANDING_ENDING:
        return end_on(handing);
    case HANDING_QUIET:
        if (now_of(handing) >= handing->ending_until_ms &&
            be_loud(handing->shard->group)) {
            go_on(handing);
        }
        return false;
    }
    return false;
}

bool handing_cancel(struct handing *handing)
{
    if (handing->stage == HANDING_QUIET && !be_loud(handing->shard->group)) {
        return false;
    }
    if (handing->stage == HANDING_ENDING || handing->stage == HANDING_QUIET) {
        deliverer_resume(handing->deliverer);
    }
    http_server_hold_uploads(handing->server, false);
    io_timer_stop(handing->shard->io, &handing->timer);
    handing->stage = HANDING_OFF;
    return true;
}
