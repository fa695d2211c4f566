/* What is wrong with a data directory, what mending it takes, and which
 * messages it gives up. Finds what verify finds, and files that nothing names.
 * Nothing is written.
 *
 * A message counts as lost when neither a segment nor a journal has it whole,
 * or when the file of its body is missing or damaged.
 *
 * Threads: one. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_REPAIR_PLAN_H
#define OPQ_CLI_REPAIR_PLAN_H

#include "base/buf.h"
#include "base/err.h"
#include "cli/snapshot.h"
#include "log/topic_gaps.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A body's file that a topic's folder has and no message names, or that is
 * not what its message says. */
struct repair_body {
    uint64_t sequence;
    uint64_t id;
};

/* What is to be done in the folder of a topic. */
struct repair_topic {
    const struct snapshot_topic *topic; /* borrowed */
    struct topic_gaps lost;             /* owned: numbers that are given up */
    struct topic_gaps known;            /* owned: that were before */
    uint64_t *rewrite;                  /* owned: segments to be written anew */
    size_t rewrite_count;
    uint64_t *indexes; /* owned: those to be built anew, of these segments */
    size_t index_count;
    struct repair_body *bodies; /* owned: to be set aside */
    size_t body_count;
    uint64_t end;     /* one past the last number that was given */
    uint64_t tail;    /* segment whose end is to be cut, if */
    uint64_t tail_at; /* there, which is not 0 */
    bool state;       /* `cmd` and `dlv` are to be written anew */
    bool conf;        /* topic.conf is damaged */
    bool gaps;        /* `gaps` is damaged */
};

struct repair_plan {
    const char *directory;       /* borrowed */
    struct repair_topic *topics; /* owned: those that have something */
    size_t topic_count;
    size_t topic_capacity;
    struct buf text;      /* a line for each thing found */
    uint64_t found;       /* things */
    uint64_t lost;        /* messages, in all */
    bool meta;            /* `meta` is missing or damaged */
    bool journal_damaged; /* a journal has bytes that are no entries */
    uint64_t entries;     /* that the journals hold */
};

/* Look whether `meta` is what it must be; notes it when it is not.
 * Errors: ERR_NOT_FOUND  no data directory
 *         ERR_UNSUPPORTED, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err repair_plan_meta(struct repair_plan *plan,
                                     const char *directory);

/* Look at everything else. The lock of the directory is ours.
 * Errors: ERR_IO, ERR_NOMEM, ERR_BUSY, ERR_TOO_LARGE */
MUST_CHECK enum err repair_plan_look(struct repair_plan *plan,
                                     struct snapshot *snapshot);

/* Free it. */
void repair_plan_fini(struct repair_plan *plan);

#endif
