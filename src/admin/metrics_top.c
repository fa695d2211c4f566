/* Topics and endpoints that are shown one by one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/metrics_top.h"

#include "base/check.h"
#include "base/str.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN_FIRST = 64 }; /* grows by doubling */

static_assert(METRICS_TOP_MAX <= UINT8_MAX, "metrics_top.order has indices");

/* --- topics --------------------------------------------------------------- */

struct metrics_topic *metrics_top_place(struct metrics_top *top, uint64_t lag)
{
    uint32_t place = top->count;
    uint8_t *order = top->order;

    if (place == METRICS_TOP_MAX && top->topics[order[place - 1]].lag >= lag) {
        return NULL;
    }
    while (place > 0 && top->topics[order[place - 1]].lag < lag) {
        place--;
    }
    uint8_t taken = (uint8_t)top->count;
    if (top->count == METRICS_TOP_MAX) {
        taken = order[METRICS_TOP_MAX - 1];
    } else {
        top->count++;
    }
    for (uint32_t index = top->count - 1; index > place; index--) {
        order[index] = order[index - 1];
    }
    order[place] = taken;
    top->topics[taken] = (struct metrics_topic){.lag = lag};
    return &top->topics[taken];
}

/* --- endpoints ------------------------------------------------------------ */

static uint64_t hash_of(const char *name)
{
    return str_hash(str_from(name));
}

void metrics_top_note(struct metrics_endpoints *endpoints,
                      const struct target_view *view)
{
    if (endpoints->seen_count == endpoints->seen_capacity) {
        uint32_t capacity = endpoints->seen_capacity == 0
                                ? SEEN_FIRST
                                : 2 * endpoints->seen_capacity;
        struct metrics_seen *seen =
            realloc(endpoints->seen, capacity * sizeof(*seen));
        if (seen == NULL) {
            endpoints->failed = true;
            return;
        }
        endpoints->seen = seen;
        endpoints->seen_capacity = capacity;
    }
    endpoints->seen[endpoints->seen_count] = (struct metrics_seen){
        .hash = hash_of(view->name),
        .backlog = view->backlog,
        .state = view->endpoint.state,
    };
    endpoints->seen_count++;
}

static int compare_numbers(uint64_t left, uint64_t right)
{
    return (left > right) - (left < right);
}

static int by_hash(const void *left, const void *right)
{
    const struct metrics_seen *one = left;
    const struct metrics_seen *other = right;

    return compare_numbers(one->hash, other->hash);
}

/* The worst first. */
static int by_worth(const void *left, const void *right)
{
    const struct metrics_seen *one = left;
    const struct metrics_seen *other = right;
    int worse = endpoint_state_badness(other->state) -
                endpoint_state_badness(one->state);
    int larger = compare_numbers(other->backlog, one->backlog);

    if (worse != 0) {
        return worse;
    }
    return larger != 0 ? larger : compare_numbers(one->hash, other->hash);
}

static int by_hash_chosen(const void *left, const void *right)
{
    const struct metrics_endpoint *one = left;
    const struct metrics_endpoint *other = right;

    return compare_numbers(one->hash, other->hash);
}

/* Make one of what several shards see of an endpoint. */
static void merge(struct metrics_endpoints *endpoints)
{
    struct metrics_seen *seen = endpoints->seen;
    uint32_t count = 0;

    qsort(seen, endpoints->seen_count, sizeof(*seen), by_hash);
    for (uint32_t index = 0; index < endpoints->seen_count; index++) {
        const struct metrics_seen *one = &seen[index];
        struct metrics_seen *last = count > 0 ? &seen[count - 1] : NULL;
        if (last == NULL || last->hash != one->hash) {
            seen[count] = *one;
            count++;
            continue;
        }
        last->backlog += one->backlog;
        if (endpoint_state_badness(one->state) >
            endpoint_state_badness(last->state)) {
            last->state = one->state;
        }
    }
    endpoints->seen_count = count;
}

void metrics_top_choose(struct metrics_endpoints *endpoints)
{
    CHECK(endpoints->count == 0);
    if (endpoints->seen_count == 0) {
        return;
    }
    merge(endpoints);
    qsort(endpoints->seen, endpoints->seen_count, sizeof(*endpoints->seen),
          by_worth);
    for (uint32_t index = 0; index < endpoints->seen_count; index++) {
        const struct metrics_seen *seen = &endpoints->seen[index];
        endpoints->by_state[seen->state]++;
        if (index < METRICS_TOP_MAX) {
            endpoints->chosen[index].hash = seen->hash;
            endpoints->count = index + 1;
        }
    }
    qsort(endpoints->chosen, endpoints->count, sizeof(endpoints->chosen[0]),
          by_hash_chosen);
}

void metrics_top_gather(struct metrics_endpoints *endpoints,
                        const struct target_view *view)
{
    const struct endpoint_view *endpoint = &view->endpoint;
    const struct metrics_endpoint wanted = {.hash = hash_of(view->name)};
    uint64_t badness = (uint64_t)endpoint_state_badness(endpoint->state);
    struct metrics_endpoint *found =
        bsearch(&wanted, endpoints->chosen, endpoints->count,
                sizeof(endpoints->chosen[0]), by_hash_chosen);

    if (found == NULL) {
        return;
    }
    size_t size = strlen(view->name);
    CHECK(size < METRICS_ENDPOINT_MAX);
    memcpy(found->name, view->name, size + 1);
    found->badness = badness > found->badness ? badness : found->badness;
    found->backlog += view->backlog;
    found->in_flight += endpoint->in_flight;
    found->window += endpoint->window;
    found->failures = endpoint->failures > found->failures ? endpoint->failures
                                                           : found->failures;
}

void metrics_top_fini(struct metrics_endpoints *endpoints)
{
    free(endpoints->seen);
    endpoints->seen = NULL;
}
