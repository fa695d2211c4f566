/* Which messages of a topic became dead letters, for a replay of those alone.
 *
 *     start -> (on the shard of the dead letters: reading)* -> ended()
 *                                                 -> replay_walk_free()
 *
 * A walk reads all live letters of a topic once, and collects the sequence
 * numbers that their messages had: those from `from` on, the lowest ones, as
 * many as there is room for (REPLAY_WALK_MAX). It says up to where that is all
 * of them; for what is behind, there is another walk. So any number of letters
 * is met with bounded memory. Letters of a deleted topic of the same name are
 * told by the ids of their messages.
 *
 * Threads: from the shard where it is started; it goes to that of the letters
 * and back.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_REPLAY_WALK_H
#define OPQ_QUEUE_REPLAY_WALK_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "queue/shard.h"
#include "queue/topic.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdint.h>

enum {
    REPLAY_WALK_MAX = 16384,    /* sequence numbers of a walk */
    REPLAY_WALK_STEPS_MAX = 64, /* letters looked at in a turn */
};

struct replay_walk {
    /* The result, once ended() was called. */
    enum err err;        /* ERR_CLOSED: the server stops */
    uint64_t *sequences; /* owned; ascending, each once */
    uint32_t count;      /* of them */
    uint64_t from;       /* from here up to but without `end` these are all */
    uint64_t end;
    void *owner; /* the caller's */
    /* From the loop where it was started; NULL: nobody waits any more. */
    void (*ended)(struct replay_walk *walk);
    /* Private. */
    struct shard_call call;
    struct shard *there;                   /* borrowed */
    struct list link;                      /* in there->replay_walks */
    char letters[TOPIC_NAME_MAX + 1];      /* the topic of dead letters */
    char subscription[TOPIC_NAME_MAX + 1]; /* whose; empty: anybody's */
    char id_prefix[TOPIC_ID_PREFIX_SIZE + 1];
    struct store_reader *reader; /* owned; NULL: not open */
    uint64_t next;               /* of the letters */
    struct io_timer timer;
    struct buf memory; /* owned; of what a letter says */
};

/* Begin a walk for messages of a topic of this shard, from `from` up to but
 * without the end of the replay that `settings` describe: of letters of the
 * subscription as which it goes, or all. `owner` and `ended` are the caller's
 * to set, at once.
 *
 * Gives:  `*out`, for replay_walk_free() after ended(), or before that for
 *         replay_walk_abandon().
 * Errors: ERR_NOMEM, ERR_BUSY */
MUST_CHECK enum err replay_walk_start(struct shard *home,
                                      const struct topic *topic,
                                      const struct settings *settings,
                                      uint64_t from,
                                      struct replay_walk **out);

/* Nobody waits for it any more; it frees itself. Accepts NULL. */
void replay_walk_abandon(struct replay_walk *walk);

/* Free one that has ended. Accepts NULL. */
void replay_walk_free(struct replay_walk *walk);

/* Find the first of a walk's messages at or above `sequence`, which is in what
 * it knows; walk->end when there is none. */
uint64_t replay_walk_next(const struct replay_walk *walk, uint64_t sequence);

/* A topic of this shard goes: walks do not read it any more. */
void replay_walk_forget(struct shard *shard, const struct topic *topic);

#endif
