/* A data directory as a whole, at one moment: its topics with their settings,
 * cursors and subscriptions, and the messages of each in order, whether they
 * are in segments or only in a journal. For `opq export`, `grep` and `repair`.
 *
 * On a directory that a server has, the journals are read first and what they
 * hold is kept (in a file without a name), then the segments: whatever was
 * stored before the snapshot was opened is in one of the two. Nothing in the
 * directory is written.
 *
 *     open -> { at, read }* -> close
 *
 * Threads: one. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_SNAPSHOT_H
#define OPQ_CLI_SNAPSHOT_H

#include "base/err.h"
#include "base/str.h"
#include "cli/snapshot_spool.h"
#include "log/topic_conf.h"
#include "log/topic_cursor.h"
#include "log/topic_inspect.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snapshot;

/* A topic, or a view of one. */
struct snapshot_topic {
    char *name; /* owned */
    uint64_t id;
    struct topic_conf conf; /* its `name` and `settings` are borrowed from the
                               snapshot; `parent` 0: it is a topic */
    uint64_t oldest;        /* messages below it were dropped */
    uint64_t cmd_end;       /* what `cmd` says; 0: nothing */
    bool in_folder;         /* it has one */
    bool deleted;           /* the journal says so */
    struct topic_cursor *cursor; /* owned; NULL: nothing is known of it, so it
                                    is at the oldest message */
    struct str settings_memory;  /* owned */
};

struct snapshot_visit {
    /* A whole record, in sequence. An error ends the walk and is returned. */
    enum err (*record)(void *context, uint64_t sequence, struct str bytes);
    /* Something in the topic's folder is not as it should be; may be NULL. */
    void (*finding)(void *context, const struct topic_finding *finding);
    void *context; /* borrowed during the call */
};

struct snapshot_options {
    const char *directory; /* borrowed until the snapshot is closed */
    bool running;          /* a server may have it */
    bool bare;             /* no messages: they are not kept, nor read */
};

/* Open a snapshot. Takes no lock.
 *
 * Gives:  `*out`, for snapshot_close().
 * Errors: those of inspect_look()
 */
MUST_CHECK enum err snapshot_open(const struct snapshot_options *options,
                                  struct snapshot **out);

/* Close it. Accepts NULL. */
void snapshot_close(struct snapshot *snapshot);

/* How many topics and views there are, deleted ones included. */
size_t snapshot_count(const struct snapshot *snapshot);

/* One of them: by name, each topic before its views. Borrowed. */
const struct snapshot_topic *snapshot_at(const struct snapshot *snapshot,
                                         size_t index);

/* The topic of a name that is not deleted; NULL when there is none. */
const struct snapshot_topic *snapshot_find(const struct snapshot *snapshot,
                                           const char *name);

/* Number of the last complete checkpoint of the shard that a topic is in. */
uint64_t snapshot_checkpoint(const struct snapshot *snapshot, const char *name);

/* How many entries the journals held behind their checkpoints. */
uint64_t snapshot_entries(const struct snapshot *snapshot);

/* Bytes of all segments, for telling how far a walk over all has come. */
uint64_t snapshot_bytes(const struct snapshot *snapshot);

/* The path of a topic's folder.
 * Errors: ERR_TOO_LARGE */
MUST_CHECK enum err snapshot_path(const struct snapshot *snapshot,
                                  const struct snapshot_topic *topic,
                                  char path[DIR_PATH_MAX]);

/* Go through the messages of a topic that are not dropped, from `first` on.
 * Errors: ERR_IO, ERR_NOMEM, ERR_BUSY, those of record() */
MUST_CHECK enum err snapshot_read(struct snapshot *snapshot,
                                  const struct snapshot_topic *topic,
                                  uint64_t first,
                                  const struct snapshot_visit *visit);

#endif
