/* The store in a data directory: journal and segments of one shard.
 *
 * Opening recovers: it reads the checkpoint, replays the journals into the
 * topics, cuts torn tails, quarantines what is damaged, and says what it did.
 * The directory is prepared once for all shards by store_local_prepare(), which
 * takes its lock, checks its version, empties the journals of another number
 * of shards into the topics, and counts what there is.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_LOCAL_H
#define OPQ_STORE_STORE_LOCAL_H

#include "base/err.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

/* A data directory that this process has. */
struct store_local_data;

/* Where the journal of a shard ended that was closed in order. */
struct store_local_end {
    uint64_t node; /* store_local_node_id() of the directory */
    uint64_t shard;
    uint64_t generation;
    uint64_t offset;
    uint64_t checkpoint; /* the last complete one */
    uint64_t locked;     /* dir_lock_stamp() of the directory; 0: not known */
    struct str topics;   /* borrowed: notes of those at rest, whose folders need
                            no look; empty: none */
};

struct store_local_options {
    const char *directory; /* borrowed until the data is released */
    uint32_t shard_count;
    uint64_t journal_size;      /* bytes of a shard's journal in all */
    uint64_t journal_file_size; /* of one of its files */
    uint64_t batch_size_max;    /* bytes of one commit, and so of a record */
    uint64_t memory_size_max;   /* of messages not yet in segments, a shard */
    uint64_t segment_size_max;  /* bytes of a segment */
    uint64_t segment_count_max; /* messages of a segment */
    uint64_t disk_reserve;      /* free bytes below which pushes stop */
    uint32_t topics_max;        /* of a shard */
    uint32_t files_open_max;    /* segment files kept open, a shard */
    /* Serve as soon as may be: the process before closed it just now
     * (store_prepare_close()), with clients waiting. */
    bool hurried;
    /* What that process told of its ends; borrowed until all shards are open.
     * Behind them nothing is looked for. Its notes of topics count only when
     * nobody had the directory since, and there are as many shards. */
    const struct store_local_end *ends;
    uint32_t end_count;
    uint32_t checkpoint_interval_ms;
    uint32_t cursor_interval_ms; /* to a commit of cursors alone */
    uint32_t sync_inline_max_us; /* commits slower than this (running mean)
                                    are made asynchronously */
    bool direct;                 /* try O_DIRECT for journal and segments */
    /* Called once when the shard cannot go on safely (a failed sync of
     * segments): the process must stop, without a checkpoint. */
    void (*fatal)(void *context, enum err err);
    /* Progress of recovery, when it takes over a second. */
    void (*progress)(void *context, uint64_t done_bytes, uint64_t all_bytes);
    void *context; /* borrowed */
};

/* Fill in defaults; those of the settings are in server/config.def. */
void store_local_options_init(struct store_local_options *options);

/* Take a data directory: make it when it is not there, lock it, check its
 * version, and bring journals of another number of shards into the topics.
 *
 * Gives:  `*out`, for store_local_release().
 * Blocks: on the disk, as long as recovery of foreign journals takes.
 * Errors: ERR_BUSY         another process has it
 *         ERR_UNSUPPORTED  a version that this program does not know
 *         ERR_CORRUPT      its meta file is damaged
 *         ERR_FULL, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err
store_local_prepare(const struct store_local_options *options,
                    struct store_local_data **out);

/* Open one shard on its loop's thread; recovers.
 *
 * Gives:  `*out`, for store_close().
 * Blocks: on the disk.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err store_local_open(struct store_local_data *data,
                                     struct io *io,
                                     uint32_t shard,
                                     struct store **out);

/* The shard that a topic belongs to. At the end of a name that begins with
 * ".opq.", "_log" does not count: an internal topic and its log are on one
 * shard. */
uint32_t store_local_shard(const struct store_local_data *data,
                           struct str topic);

/* The same, of a directory that has so many shards. */
uint32_t store_local_shard_of(uint32_t shard_count, struct str topic);

/* A random number made with the directory, for message ids. */
uint64_t store_local_node_id(const struct store_local_data *data);

/* Tell where a shard's journal ended, once that is closed, and what is known of
 * its topics, borrowed until the release. False: it is not, or not in order.
 * Threads: any, when the shard's has ended. */
bool store_local_ended(const struct store_local_data *data,
                       uint32_t shard,
                       struct store_local_end *out);

/* Unlock and free. Accepts NULL. All shards are closed. */
void store_local_release(struct store_local_data *data);

#endif
