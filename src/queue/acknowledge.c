/* Acknowledged messages and a cursor.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/acknowledge.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *left, const void *right)
{
    const struct store_range *one = left;
    const struct store_range *other = right;

    return (one->first > other->first) - (one->first < other->first);
}

/* Melt ranges that are in order where they meet; how many are left. */
static uint32_t melt(struct store_range *row, uint32_t count)
{
    uint32_t kept = 0;

    for (uint32_t index = 0; index < count; index++) {
        if (row[index].end <= row[index].first) {
            continue; /* empty */
        }
        if (kept > 0 && row[index].first <= row[kept - 1].end) {
            if (row[index].end > row[kept - 1].end) {
                row[kept - 1].end = row[index].end;
            }
            continue;
        }
        row[kept] = row[index];
        kept++;
    }
    return kept;
}

enum err acknowledge(const struct store_cursor *cursor,
                     const struct store_range *added,
                     uint32_t added_count,
                     bool cut,
                     struct store_range ranges[CURSOR_RANGES_MAX],
                     struct store_cursor *out_cursor)
{
    struct store_range row[1 + CURSOR_RANGES_MAX + ACKNOWLEDGE_MAX];
    uint32_t count = 1;

    CHECK(added_count <= ACKNOWLEDGE_MAX);
    row[0] =
        (struct store_range){0, cursor->next}; /* so that it is the first */
    if (cursor->range_count > 0) {
        memcpy(&row[count], cursor->ranges,
               cursor->range_count * sizeof(row[0]));
        count += cursor->range_count;
    }
    if (added_count > 0) {
        memcpy(&row[count], added, added_count * sizeof(row[0]));
        count += added_count;
    }
    qsort(row, count, sizeof(row[0]), compare);
    count = melt(row, count);
    struct store_cursor result = {0};
    uint32_t first = 0;
    if (count > 0 && row[0].first == 0) {
        result.next = row[0].end;
        first = 1;
    }
    result.attempts = result.next == cursor->next ? cursor->attempts : 0;
    result.range_count = count - first;
    if (result.range_count > CURSOR_RANGES_MAX) {
        if (!cut) {
            return ERR_FULL;
        }
        result.range_count = CURSOR_RANGES_MAX;
    }
    memcpy(ranges, &row[first], result.range_count * sizeof(row[0]));
    result.ranges = ranges;
    *out_cursor = result;
    return ERR_OK;
}
