/* One push on its way from the request to its answer: here, or over the shard
 * that owns its topic.
 *
 * Tasks come from a pool with a bound, so that what is under way is bounded.
 *
 * Threads: the loop's of the shard where the request came; the carried part
 * runs on the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_PUSH_TASK_H
#define OPQ_QUEUE_PUSH_TASK_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "queue/accept.h"
#include "queue/delayed.h"
#include "queue/recorder.h"
#include "queue/shard.h"
#include "queue/topic.h"

#include <stdbool.h>
#include <stdint.h>

struct batch;
struct http_exchange;

struct push_pool {
    struct shard *shard; /* borrowed */
    struct list unused;  /* of struct push_task */
    uint64_t pending;    /* tasks in use */
    uint64_t pending_max;
    uint64_t carried; /* to other shards, so far */
};

struct push_task {
    struct list link;       /* in the pool while unused */
    struct push_pool *pool; /* borrowed */
    /* Set by who starts it. Called at home when the push has ended; releases
     * the task, then or later. */
    void (*ended)(struct push_task *task);
    void *context;                  /* borrowed; the starter's */
    struct http_exchange *exchange; /* of a single push; else NULL */
    struct batch *batch;            /* of an item; else NULL */
    uint32_t item;                  /* index in the batch */
    bool json;                      /* how to answer */
    /* The outcome. */
    enum err err;
    bool given;     /* the store took the record: what the disk holds of it when
                       the push failed is not known */
    bool duplicate; /* not stored again: `sequence` is the first's */
    uint64_t next;  /* after ERR_CONDITION: what would come next */
    const char *detail; /* more about the error; NULL: nothing */
    uint64_t due_ms;    /* wall clock: not before; 0: at once */
    bool waits;         /* it, or the first of a duplicate, is kept until it is
                           due: `sequence` is its number among those */
    uint64_t sequence;
    enum durability durability;
    char id_prefix[24];             /* of the topic, or of those that wait */
    uint32_t topic_size;            /* bytes of its name */
    char topic[TOPIC_NAME_MAX + 1]; /* terminated */
    /* The way; private. */
    struct accept_op op;
    struct accept_wants wants;
    bool addressed; /* see push_task_start() */
    struct shard_call call;
    struct delayed_push delayed;
    struct shard *there; /* borrowed: that of its topic */
    void *record; /* owned; when carried to another shard, or begun early */
    size_t record_size;
    struct store_blob *blob; /* owned: the body, once more; NULL: none */
    uint64_t pushed_at_ms;   /* of a message whose body that is */
};

/* Make an empty pool. */
void push_task_pool_init(struct push_pool *pool,
                         struct shard *shard,
                         uint64_t pending_max);

/* Free its tasks; none is in use. */
void push_task_pool_fini(struct push_pool *pool);

/* Take a task from the pool, or make one.
 * Gives: `*out`, for push_task_release().
 * Errors: ERR_BUSY (pending_max), ERR_NOMEM */
MUST_CHECK enum err push_task_acquire(struct push_pool *pool,
                                      struct push_task **out);

/* Give a task back. */
void push_task_release(struct push_task *task);

/* Store a push: here, or on the shard that owns its topic, or, when it is not
 * due yet, where such are kept. Ends with ended(), always, but never from
 * inside this call. One without a URL is taken only by a topic that has
 * subscriptions, or by one of the server's own.
 * Errors: those of accept_append(), shard_topic(), shard_send(); ERR_INVALID
 *         (nobody would get it; also in task->err): then ended() does not
 *         come */
MUST_CHECK enum err push_task_start(struct push_task *task,
                                    const struct push *push);

/* The same for a push that has the message `sequence` of `from`, a topic of the
 * pool's shard: a body that lies in a file is stored once more.
 * Borrows: from, until ended()
 * Errors:  also those of store_blob_share(). task->err also: ERR_NOT_FOUND,
 *          ERR_CORRUPT  the file is missing, or of another size */
MUST_CHECK enum err push_task_start_copy(struct push_task *task,
                                         const struct push *push,
                                         struct store_topic *from,
                                         uint64_t sequence);

/* Tell, before the body of a push comes, whether it would be refused since
 * nobody would get the message, as far as this shard knows: of a topic of
 * another one only push_task_start_record() finds out. */
bool push_task_is_for_nobody(struct shard *home, const struct push *push);

/* Encode a push whose body is yet to come, for push_task_start_record().
 * Errors: ERR_TOO_LARGE, ERR_NOMEM */
MUST_CHECK enum err push_task_record(struct push_task *task,
                                     const struct push *push);

/* Store the record that push_task_record() made, in task->record, as
 * push_task_start() does. */
MUST_CHECK enum err push_task_start_record(struct push_task *task);

/* The name of its topic, borrowed from the task. */
static inline struct str push_task_topic(const struct push_task *task)
{
    return (struct str){task->topic, task->topic_size};
}

/* How its message's id begins, borrowed from the task. */
static inline struct str push_task_id_prefix(const struct push_task *task)
{
    return (struct str){task->id_prefix, TOPIC_ID_PREFIX_SIZE};
}

/* How durable it was made: "disk" or "none". */
static inline struct str push_task_durability(const struct push_task *task)
{
    return task->durability == DURABILITY_DISK ? STR("disk") : STR("none");
}

enum {
    /* Bytes of what push_task_json() writes: 50 of its own, at most, or 74 with
     * a time. */
    PUSH_TASK_JSON_MAX =
        88 + TOPIC_NAME_MAX + TOPIC_ID_PREFIX_SIZE + 2 * PUT_DECIMAL_MAX,
};

/* Write {"id":...,"topic":...,"seq":...} of a stored push, or of the first one
 * of a duplicate; or with "due" in place of "seq" of one that waits; at most
 * PUSH_TASK_JSON_MAX bytes; returns where it ends. */
char *push_task_json(const struct push_task *task, char *to);

enum { PUSH_TASK_DUE_MAX = 32 }; /* bytes of a time, at most */

/* Write when a push that waits is due, as RFC 3339, at most PUSH_TASK_DUE_MAX
 * bytes; returns where it ends. */
char *push_task_due(const struct push_task *task, char *to);

/* What to say about a push that failed. */
const char *push_task_err_text(enum err err);

/* Write what to say about this one, RECORDER_DETAIL_MAX bytes at most, NUL
 * included. */
void push_task_detail(const struct push_task *task, char *to);

enum { PUSH_TASK_MEMBERS_MAX = 16 + PUT_DECIMAL_MAX };

/* Write what a problem says besides, as JSON members, terminated, at most
 * PUSH_TASK_MEMBERS_MAX bytes; returns `to`, or NULL when there is nothing. */
const char *push_task_members(const struct push_task *task, char *to);

#endif
