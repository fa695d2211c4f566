/* Whether a commit waits for the disk on the loop: decided by how long commits
 * take, with a margin between going and coming back.
 *
 *     fast -- mean above the limit --> slow
 *     slow -- mean at half of it, or eight good probes in a row --> fast
 *
 * A slow disk's commits are asynchronous; what they take includes turns of the
 * loop, so now and then one is made on the loop to see how the disk is.
 *
 * Threads: none; decides without I/O.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_JOURNAL_PACE_H
#define OPQ_LOG_JOURNAL_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    JOURNAL_PACE_PROBES = 8,            /* good ones to come back */
    JOURNAL_PACE_PROBE_NS = 1000000000, /* between bad ones */
    JOURNAL_PACE_WEIGHT = 8,            /* of the mean against one commit */
};

struct journal_pace {
    uint64_t max_ns;      /* 0: never on the loop */
    uint64_t mean_ns;     /* running; 0: nothing seen yet */
    uint64_t probe_at_ns; /* when slow: the next probe */
    uint32_t good;        /* probes in a row that were fast */
    bool slow;
};

/* Begin fast. */
void journal_pace_init(struct journal_pace *pace, uint32_t max_us);

/* Tell whether the next commit is made on the loop. */
bool journal_pace_inline(const struct journal_pace *pace, uint64_t now_ns);

/* Note how long one took, write and sync. */
void journal_pace_note(struct journal_pace *pace,
                       bool was_inline,
                       uint64_t took_ns,
                       uint64_t now_ns);

#endif
