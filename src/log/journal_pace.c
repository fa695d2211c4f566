/* Whether a commit waits for the disk on the loop.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/journal_pace.h"

void journal_pace_init(struct journal_pace *pace, uint32_t max_us)
{
    *pace = (struct journal_pace){.max_ns = (uint64_t)max_us * 1000};
}

bool journal_pace_inline(const struct journal_pace *pace, uint64_t now_ns)
{
    if (pace->max_ns == 0) {
        return false;
    }
    return !pace->slow || pace->good > 0 || now_ns >= pace->probe_at_ns;
}

static void go_slow(struct journal_pace *pace, uint64_t now_ns)
{
    pace->slow = true;
    pace->good = 0;
    pace->probe_at_ns = now_ns + JOURNAL_PACE_PROBE_NS;
}

static void go_fast(struct journal_pace *pace, uint64_t mean_ns)
{
    pace->slow = false;
    pace->good = 0;
    pace->mean_ns = mean_ns;
}

void journal_pace_note(struct journal_pace *pace,
                       bool was_inline,
                       uint64_t took_ns,
                       uint64_t now_ns)
{
    if (pace->mean_ns == 0) {
        pace->mean_ns = took_ns;
    } else {
        pace->mean_ns = pace->mean_ns - pace->mean_ns / JOURNAL_PACE_WEIGHT +
                        took_ns / JOURNAL_PACE_WEIGHT;
    }
    if (!pace->slow) {
        if (pace->mean_ns > pace->max_ns) {
            go_slow(pace, now_ns);
        }
        return;
    }
    if (pace->mean_ns <= pace->max_ns / 2) {
        go_fast(pace, pace->mean_ns);
    } else if (was_inline && took_ns > pace->max_ns / 2) {
        go_slow(pace, now_ns);
    } else if (was_inline) {
        pace->good++;
        if (pace->good >= JOURNAL_PACE_PROBES) {
            go_fast(pace, took_ns);
        }
    }
}
