/* Dead letters that are dropped or sent again, many at once.
 *
 *     (zeroed, filled in) -> start -> (in line)
 *         -> { walking <-> copying } -> closing -> ended()
 *
 * A job walks a topic of dead letters from a number on, as far as the topic
 * reached when it began, a few letters a turn. A letter that the filter means
 * is dropped, or pushed to the topic that it came from as any other message:
 * with its own id, without what made it a letter, and without its time (ttl)
 * when that is over. One of a subscription goes to that one alone. It is
 * removed only once it is durable there: a crash in between may send it twice.
 *
 * Jobs of one topic go one after the other, so no letter is sent by two of
 * them.
 *
 * What can go wrong: a push fails (a full disk): the job ends with that error,
 * and its letter stays. When letters cannot be stored again to close gaps
 * (letters.h), some that were sent stay live, and may be sent once more.
 *
 * When the walk is over, what was removed is durable, and the log below which
 * all is gone is freed.
 *
 * Threads: the loop's of the topic's shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LETTERS_JOB_H
#define OPQ_QUEUE_LETTERS_JOB_H

#include "base/buf.h"
#include "base/list.h"
#include "queue/letters.h"
#include "queue/letters_filter.h"
#include "queue/push_task.h"
#include "queue/shard.h"
#include "queue/topic.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LETTERS_JOB_PUSHES_MAX = 64, /* under way at once */
    LETTERS_JOB_STEPS_MAX = 64,  /* letters looked at in a turn */
    LETTERS_JOB_PAUSE_MS = 20,   /* when the store is too busy for a push */
    LETTERS_JOB_BUSY_MS = 10000, /* and for how long at most */
};

enum letters_job_phase {
    LETTERS_JOB_WAITING, /* in line behind others of its topic */
    LETTERS_JOB_WALKING,
    LETTERS_JOB_COPYING, /* live letters of gaps */
    LETTERS_JOB_CLOSING, /* what is gone becomes durable */
};

struct letters_job {
    /* Set by the owner before it starts. */
    struct shard *shard;          /* borrowed */
    struct letters_filter filter; /* its texts are borrowed */
    bool drops;                   /* else it sends again */
    uint64_t from;                /* sequence to begin at */
    uint32_t look_max;            /* letters to look at */
    uint64_t due_ms;              /* monotonic: to stop then */
    /* From the loop, never from inside letters_job_start(). May free it. */
    void (*ended)(struct letters_job *job);
    /* The outcome. */
    enum err err;     /* why it stopped; ERR_NOT_FOUND: the topic was deleted */
    bool more;        /* it stopped before the end: go on at `next` */
    uint64_t next;    /* the sequence to go on at */
    uint32_t looked;  /* letters looked at */
    uint64_t matched; /* of them, those that were meant and came to an end */
    uint64_t done;    /* of them, those dropped or sent */
    /* Private. */
    struct topic *topic; /* borrowed; NULL: deleted */
    struct list link;    /* in topic->letters */
    enum letters_job_phase phase;
    bool stopping;   /* the walk is over */
    bool reading;    /* the reader waits for the disk */
    bool removed;    /* anything */
    uint64_t end;    /* of the walk */
    uint64_t pushed; /* a bit for each push under way */
    uint64_t pushing[LETTERS_JOB_PUSHES_MAX]; /* their sequences */
    uint32_t ops;                             /* of the store, under way */
    struct letters letters;
    bool dirty;                  /* they are to be noted */
    uint64_t noted_next;         /* of the cursor, when they were last */
    uint64_t busy_ms;            /* since when no push begins; 0: they do */
    struct letters_plan plan;    /* while copying */
    uint32_t gap;                /* of the plan */
    uint64_t copy_next;          /* in that gap */
    struct store_reader *reader; /* owned; NULL: not open */
    struct push_pool pool;
    struct io_timer timer;
    struct store_op purge;
    struct store_op sync;
    struct buf memory; /* owned; of what a letter says */
};

/* Begin a job on a topic of this shard.
 * Borrows: job, until ended(). */
void letters_job_start(struct letters_job *job, struct topic *topic);

/* The topic goes: its jobs end, soon. */
void letters_job_forget(struct topic *topic);

#endif
