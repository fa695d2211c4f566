/* Mending a data directory as a plan says.
 *
 * Nothing is thrown away: what is taken out of its place goes to
 * `quarantine/<time>/` in the data directory, in folders by topic. Segments are
 * written anew beside (`repair/`), synced, then put in place one by one; a
 * crash leaves either the old or the new one, and `opq repair` can be run
 * again.
 *
 * Threads: one. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_REPAIR_H
#define OPQ_CLI_REPAIR_H

#include "base/err.h"
#include "cli/repair_plan.h"
#include "cli/snapshot.h"
#include "sys/dir.h"

#include <stdint.h>

struct repair {
    const char *directory; /* borrowed */
    char quarantine[DIR_PATH_MAX];
    char staging[DIR_PATH_MAX];
};

/* Prepare to mend a directory whose lock is ours; makes nothing yet.
 * Borrows: directory. Errors: ERR_TOO_LARGE (path) */
MUST_CHECK enum err
repair_init(struct repair *repair, const char *directory, uint64_t now_ms);

/* Write `meta` anew: as many shards as there are journals, all in force.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err repair_meta(struct repair *repair);

/* Set what is no folder in `topics/` aside, and topic.conf files that are
 * damaged: before the journals are brought into the topics.
 * Errors: ERR_FULL, ERR_IO, ERR_TOO_LARGE */
MUST_CHECK enum err repair_names(struct repair *repair,
                                 const struct repair_plan *plan);

/* Copy the journals aside, since they were damaged and are about to be emptied.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM, ERR_TOO_LARGE */
MUST_CHECK enum err repair_keep_journals(struct repair *repair);

/* Mend a topic. The journals hold nothing any more.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM, ERR_BUSY, ERR_TOO_LARGE */
MUST_CHECK enum err repair_topic(struct repair *repair,
                                 struct snapshot *snapshot,
                                 const struct repair_topic *topic);

#endif
