/* Which letters of a topic are live.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/letters.h"

#include "base/check.h"

#include <string.h>

void letters_load(struct letters *letters, const struct store_cursor *cursor)
{
    CHECK(cursor->range_count <= CURSOR_RANGES_MAX);

    letters->next = cursor->next;
    letters->range_count = 0;
    for (uint32_t index = 0; index < cursor->range_count; index++) {
        const struct store_range *range = &cursor->ranges[index];
        if (range->first < range->end) {
            bool fits = letters_remove(letters, range->first, range->end);
            CHECK(fits); /* at most one more each time */
        }
    }
}

/* The first range that ends at or above a number; range_count: none. */
static uint32_t find(const struct letters *letters, uint64_t sequence)
{
    uint32_t low = 0;
    uint32_t high = letters->range_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (letters->ranges[middle].end < sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint64_t letters_next(const struct letters *letters, uint64_t from)
{
    uint64_t sequence = from > letters->next ? from : letters->next;
    uint32_t index = find(letters, sequence);

    if (index < letters->range_count &&
        letters->ranges[index].end == sequence) {
        index++; /* it ends right before */
    }
    return index < letters->range_count &&
                   letters->ranges[index].first <= sequence
               ? letters->ranges[index].end
               : sequence;
}

/* Put one range in the place of `count` from `index` on. */
static void
replace(struct letters *letters, uint32_t index, uint32_t count, bool by_one)
{
    uint32_t left = letters->range_count - index - count;
    uint32_t to = index + (by_one ? 1U : 0U);

    memmove(&letters->ranges[to], &letters->ranges[index + count],
            left * sizeof(letters->ranges[0]));
    letters->range_count = to + left;
}

/* Go on with `next` over the ranges that it has reached. */
static void advance(struct letters *letters)
{
    uint32_t passed = 0;

    while (passed < letters->range_count &&
           letters->ranges[passed].first <= letters->next) {
        if (letters->ranges[passed].end > letters->next) {
            letters->next = letters->ranges[passed].end;
        }
        passed++;
    }
    replace(letters, 0, passed, false);
}

bool letters_remove(struct letters *letters, uint64_t first, uint64_t end)
{
    CHECK(first < end);

    if (end <= letters->next) {
        return true;
    }
    if (first <= letters->next) {
        letters->next = end;
        advance(letters);
        return true;
    }
    /* Those that it touches become one with it. */
    uint32_t index = find(letters, first);
    uint32_t count = 0;
    while (index + count < letters->range_count &&
           letters->ranges[index + count].first <= end) {
        const struct store_range *range = &letters->ranges[index + count];
        first = range->first < first ? range->first : first;
        end = range->end > end ? range->end : end;
        count++;
    }
    if (count == 0 && letters->range_count == LETTERS_RANGES_MAX) {
        return false;
    }
    replace(letters, index, count, true);
    letters->ranges[index] = (struct store_range){first, end};
    return true;
}

bool letters_fit(const struct letters *letters)
{
    return letters->range_count <= CURSOR_RANGES_MAX;
}

/* Where the gap before a range begins. */
static uint64_t gap_first(const struct letters *letters, uint32_t index)
{
    return index == 0 ? letters->next : letters->ranges[index - 1].end;
}

void letters_choose(const struct letters *letters, struct letters_plan *plan)
{
    bool chosen[LETTERS_RANGES_MAX] = {false};
    uint32_t left = letters->range_count;

    plan->gap_count = 0;
    /* Each gap that is closed leaves one range less. */
    for (; left > CURSOR_RANGES_MAX; left--) {
        uint64_t least = UINT64_MAX;
        uint32_t best = 0;
        for (uint32_t index = 0; index < letters->range_count; index++) {
            uint64_t size =
                letters->ranges[index].first - gap_first(letters, index);
            if (!chosen[index] && size < least) {
                least = size;
                best = index;
            }
        }
        chosen[best] = true;
    }
    for (uint32_t index = 0; index < letters->range_count; index++) {
        if (chosen[index]) {
            plan->gaps[plan->gap_count] = (struct store_range){
                gap_first(letters, index), letters->ranges[index].first};
            plan->gap_count++;
        }
    }
}

void letters_close(struct letters *letters, const struct letters_plan *plan)
{
    for (uint32_t index = 0; index < plan->gap_count; index++) {
        bool fits = letters_remove(letters, plan->gaps[index].first,
                                   plan->gaps[index].end);
        CHECK(fits); /* it touches the ranges around it */
    }
}

void letters_cursor(const struct letters *letters,
                    struct store_cursor *out_cursor)
{
    CHECK(letters_fit(letters));
    *out_cursor = (struct store_cursor){
        .next = letters->next,
        .range_count = letters->range_count,
        .ranges = letters->ranges,
    };
}

uint64_t letters_count(const struct store_topic *stored)
{
    const struct store_cursor *cursor = &stored->cursor;
    uint64_t count = stored->bounds.end > cursor->next
                         ? stored->bounds.end - cursor->next
                         : 0;

    for (uint32_t index = 0; index < cursor->range_count; index++) {
        uint64_t size = cursor->ranges[index].end - cursor->ranges[index].first;
        count -= size < count ? size : count;
    }
    return count;
}
