/* When a commit waits for more changes.
 *
 * A sync costs as much for one message as for a hundred. Clients that wait for
 * their answer before they push again come back within moments of it, so those
 * whose answers have just left are worth waiting for: the batch then holds what
 * all of them bring, instead of what the quickest have brought.
 *
 * What bounds it:
 *   - Nobody expected, no wait: a lone client's push is committed at once.
 *   - At most half of what a sync takes in the mean, and GATHER_WAIT_MAX_NS, so
 *     an answer comes at most half a sync later than it would have.
 *   - Only clients count that were answered in the last two syncs and
 *     GATHER_RETURN_NS.
 *   - In a crowd, so many that attending to them takes as long as two syncs,
 *     nobody is waited for: its commits are made behind the loop, which has the
 *     others to attend to, and so take turns.
 *   - Where fewer than half of those expected come, waiting is soon given up,
 *     and tried again now and then.
 *
 * Over a back end that cannot count completions no commit waits. What waiting
 * is worth: doc/performance.md.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_local_internal.h"

enum {
    GATHER_WAIT_MIN_NS = 20 * 1000, /* less is not worth the call */
    GATHER_WAIT_MAX_NS = 3000 * 1000,
    GATHER_RETURN_NS = 500 * 1000, /* from an answer to the next push */
    GATHER_WORTH_START = 2,
    GATHER_WORTH_MAX = 8,
    GATHER_CROWD = 128,       /* changes, gathered and to come, at the least */
    GATHER_CHANGE_NS = 8000,  /* of the loop's time, for a change */
    GATHER_CROWDS_TIMED = 32, /* one of so many commits is timed */
    GATHER_UNTRIED_MAX = 64,  /* commits between tries while it is no use */
};

void store_gather_init(struct gather *gather)
{
    gather->worth = GATHER_WORTH_START;
}

/* The wait is over: see what came of it. */
static void judge(struct gather *gather, uint32_t count)
{
    uint32_t came = count - gather->count;
    gather->waiting = false;
    if (2 * came >= gather->expected) {
        gather->worth += gather->worth < GATHER_WORTH_MAX ? 1 : 0;
    } else {
        gather->worth -= gather->worth < 2 ? gather->worth : 2;
    }
}

/* How many are still to come. */
static uint32_t expected(const struct local_store *store)
{
    if (store->base.expected == NULL) {
        return 0;
    }
    uint64_t sync_ns = journal_stats(store->journal)->sync_mean_ns;
    return store->base.expected(store->base.expected_context,
                                2 * sync_ns + GATHER_RETURN_NS);
}

static bool is_crowd(const struct local_store *store, uint64_t count)
{
    uint64_t sync_ns = journal_stats(store->journal)->sync_mean_ns;
    return count >= GATHER_CROWD && count * GATHER_CHANGE_NS >= 2 * sync_ns;
}

/* Begin to wait, if that is worth while. */
static bool begin(struct local_store *store, uint32_t count)
{
    struct gather *gather = &store->gather;
    uint64_t wait_ns = journal_stats(store->journal)->sync_mean_ns / 2;
    if (wait_ns < GATHER_WAIT_MIN_NS) {
        return false;
    }
    if (gather->worth == 0 && gather->untried < GATHER_UNTRIED_MAX) {
        gather->untried++;
        return false;
    }
    uint32_t to_come = expected(store);
    if (to_come == 0 || is_crowd(store, (uint64_t)count + to_come)) {
        return false;
    }
    wait_ns = wait_ns < GATHER_WAIT_MAX_NS ? wait_ns : GATHER_WAIT_MAX_NS;
    if (!io_gather(store->io, to_come, wait_ns)) {
        return false;
    }
    gather->waiting = true;
    gather->until_ns = io_now_ns(store->io) + wait_ns;
    gather->count = count;
    gather->expected = to_come;
    gather->untried = 0;
    return true;
}

/* Go on waiting, for whoever is still expected. */
static bool go_on(struct local_store *store, uint32_t count)
{
    struct gather *gather = &store->gather;
    uint64_t now_ns = io_now_ns(store->io);
    uint32_t to_come = expected(store);
    if (to_come == 0 || now_ns >= gather->until_ns) {
        judge(gather, count);
        return false;
    }
    return io_gather(store->io, to_come, gather->until_ns - now_ns);
}

bool store_gather_waits(struct local_store *store)
{
    const struct batch *batch = &store->batches[store->gathering];
    struct gather *gather = &store->gather;
    if (gather->waiting && batch->count < gather->count) {
        gather->waiting = false; /* a full batch was committed meanwhile */
    }
    if (!batch->durable || store->cursors_due || store->closing) {
        gather->waiting = false;
        return false;
    }
    return gather->waiting ? go_on(store, batch->count)
                           : begin(store, batch->count);
}

bool store_gather_crowded(struct local_store *store)
{
    uint64_t count = store->batches[store->gathering].count;
    if (!is_crowd(store, count) && !is_crowd(store, count + expected(store))) {
        return false;
    }
    /* Only a commit that is waited for tells how fast the disk is. */
    store->gather.crowds++;
    return store->gather.crowds % GATHER_CROWDS_TIMED != 0;
}
