/* Which messages of a topic are meant.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/data_range.h"

#include "base/str.h"
#include "base/wall_time.h"

#include <stddef.h>

enum err data_range_read(const struct data_range_texts *texts,
                         struct data_range *out_range,
                         const char **out_wrong)
{
    struct data_range range = {.end = UINT64_MAX, .until_ms = UINT64_MAX};

    if (texts->from != NULL &&
        str_to_u64(str_from(texts->from), &range.first) != ERR_OK) {
        *out_wrong = "--from is a sequence number";
        return ERR_INVALID;
    }
    if (texts->to != NULL) {
        if (str_to_u64(str_from(texts->to), &range.end) != ERR_OK ||
            range.end == UINT64_MAX) {
            *out_wrong = "--to is a sequence number";
            return ERR_INVALID;
        }
        range.end++;
    }
    if (texts->since != NULL &&
        wall_time_parse(str_from(texts->since), &range.since_ms) != ERR_OK) {
        *out_wrong = "--since is a time: 2026-01-02T03:04:05Z, or Unix seconds";
        return ERR_INVALID;
    }
    if (texts->until != NULL &&
        wall_time_parse(str_from(texts->until), &range.until_ms) != ERR_OK) {
        *out_wrong = "--until is a time: 2026-01-02T03:04:05Z, or Unix seconds";
        return ERR_INVALID;
    }
    *out_range = range;
    return ERR_OK;
}

bool data_range_has(const struct data_range *range,
                    uint64_t sequence,
                    uint64_t pushed_at_ms)
{
    return sequence >= range->first && sequence < range->end &&
           pushed_at_ms >= range->since_ms && pushed_at_ms < range->until_ms;
}
