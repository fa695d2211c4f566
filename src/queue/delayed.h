/* Messages that are not due yet: kept on disk by the hour in which they are,
 * handed on to their topics when they are.
 *
 *     delayed_append -> bucket ".opq.delayed.<hour>" ... due -> its topic
 *
 * A bucket is an internal topic with the messages of one hour (since 1970), as
 * they came; a second one, its log (".opq.delayed.<hour>_log"), has notes of
 * what was handed on or cancelled. Both are on the shard that the name belongs
 * to, and go when the hour is over and nothing is left.
 *
 * While the hour runs, what is over is given back from the oldest message on,
 * up to the first that waits, as soon as it fills a segment of the store: its
 * note is durable, then it goes, then the notes that name nothing else.
 *
 * Memory does not follow the number of messages: a bucket has a few bits for
 * each message around those that were handed on or cancelled; an index of at
 * most DELAYED_INDEX_MAX is what is due next on this shard, read from the
 * buckets a minute before, as far as there is room. Where one hour has more
 * than that, 4 bytes for each of its messages, 16 MiB at most, save reading it
 * again.
 *
 * Time. Due times are wall clock; waits are monotonic, 10 s at most, so a clock
 * that jumps is noticed. What is due is handed on in order of due time, at most
 * DELAYED_ROUND_MAX every DELAYED_ROUND_MS, whatever there is after a jump or a
 * restart; a clock that goes back makes the rest wait.
 *
 * At least once: a message is noted as handed on some milliseconds after it was
 * made durable in its topic; a crash in between hands it on again, with the
 * same id.
 *
 * Threads: the shard's; delayed_append() is called on any shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELAYED_H
#define OPQ_QUEUE_DELAYED_H

#include "base/err.h"
#include "base/histogram.h"
#include "base/str.h"
#include "queue/due_id.h"
#include "queue/shard.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct delayed;
struct delayed_bucket;

enum {
    DELAYED_HOUR_MS = 3600 * 1000,
    DELAYED_INDEX_MAX = 65536, /* 16 bytes each */
    DELAYED_FLIGHTS_MAX = 256, /* being handed on at once, a shard */
    DELAYED_ROUND_MAX = 256,   /* begun in a round, */
    DELAYED_ROUND_MS = 10,     /* and so 25,600 a second, a shard */
};

struct delayed_options {
    struct shard *shard; /* borrowed; its store is open */
    /* The wall clock, ms since 1970; NULL: the loop's. */
    uint64_t (*wall_ms)(void *context);
    void *context;      /* borrowed */
    uint32_t index_max; /* 0: DELAYED_INDEX_MAX */
    /* What is over is given back while its hour runs when it is about as much
     * as a segment of the store has: so many bytes, or messages. 0: that does
     * not count; both: when the hour is over */
    uint64_t trim_bytes;
    uint64_t trim_count;
};

struct delayed_stats {
    uint64_t pending;   /* messages not handed on nor cancelled, now */
    uint64_t buckets;   /* now */
    uint64_t handed;    /* on, since start */
    uint64_t cancelled; /* since start */
    uint64_t failed;    /* attempts to hand on that failed, since start */
    uint64_t lost;      /* damaged on disk, since start */
    struct histogram lateness_ms; /* of those handed on */
};

/* --- life ----------------------------------------------------------------- */

/* Make what a shard needs, and find the buckets that its store has. Nothing is
 * handed on before delayed_start().
 * Gives:  `*out`, for delayed_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err delayed_create(const struct delayed_options *options,
                                   struct delayed **out);

/* Begin to hand on. */
void delayed_start(struct delayed *delayed);

/* Begin nothing new; what is under way ends by itself. */
void delayed_stop(struct delayed *delayed);

/* Tell whether nothing is under way any more, after delayed_stop(). */
bool delayed_stopped(const struct delayed *delayed);

/* Let go of readers, before topics are detached and the store closes. Stopped,
 * or what is under way is cut off and done again after the next start. */
void delayed_close(struct delayed *delayed);

/* Free it. Accepts NULL. Closed, and the store is, too. */
void delayed_destroy(struct delayed *delayed);

/* Figures; borrowed. */
const struct delayed_stats *delayed_stats(struct delayed *delayed);

/* --- pushes --------------------------------------------------------------- */

/* A delayed push under way; embedded in the caller's object. */
struct delayed_push {
    /* It ended. Called where delayed_append() was. May free this. */
    void (*done)(struct delayed_push *push, enum err err);
    uint64_t due_ms;            /* set by the caller: options.not_before_ms */
    enum durability durability; /* asked for; then: what was reached */
    const void *record;         /* set by the caller, borrowed until done() */
    size_t record_size;
    /* The outcome. */
    bool given;         /* a store took the record */
    uint64_t bucket_id; /* of its topic; the id is made of this */
    uint64_t sequence;  /* and this: due_id_put() */
    /* Private. */
    struct shard_call call;
    struct store_op op;
    struct delayed_bucket *bucket;
    enum err err;
};

/* Store an encoded message until it is due. Its options have `topic`, where it
 * belongs, and `not_before_ms`; an `id` that it has already stays its id when
 * it is delivered, and the delayed one is its name until then. All checks were
 * made: nothing is looked at when it is handed on.
 *
 * Borrows: push and its record, until done(), which never comes from inside
 *          this call.
 * Errors:  ERR_BUSY  as many calls as may be are under way: no done()
 * In done(): those of shard_topic() and store_append()
 */
MUST_CHECK enum err delayed_append(struct shard *here,
                                   struct delayed_push *push);

/* --- looking, cancelling -------------------------------------------------- */

enum delayed_state {
    DELAYED_PENDING,
    DELAYED_HANDED, /* on, or that is under way, and has not failed */
    DELAYED_CANCELLED,
    DELAYED_UNKNOWN,   /* there is no such message, or none any more */
    DELAYED_NOT_READY, /* after a start: its log is being read */
};

/* The bucket of this shard that has an id; NULL: none. Borrowed, as long as it
 * is held or the loop does not run. */
struct delayed_bucket *delayed_find(struct delayed *delayed,
                                    uint64_t bucket_id);

/* The bucket of this shard with the lowest hour at or after `hour`; NULL: none.
 * Borrowed, as delayed_find(). */
struct delayed_bucket *delayed_from(struct delayed *delayed, uint64_t hour);

/* Its hour since 1970. */
uint64_t delayed_hour(const struct delayed_bucket *bucket);

/* The topic that has its messages. Borrowed, as the bucket. */
struct topic *delayed_topic(const struct delayed_bucket *bucket);

/* Where a message stands. */
enum delayed_state delayed_look(const struct delayed_bucket *bucket,
                                uint64_t sequence);

/* Keep a bucket from being deleted. */
void delayed_hold(struct delayed_bucket *bucket);

/* End that. */
void delayed_release(struct delayed_bucket *bucket);

struct delayed_cancel {
    /* It ended: cancelled durably, or not. Never from inside the call. */
    void (*done)(struct delayed_cancel *cancel, enum err err);
    struct store_op op; /* private, as all below */
    struct delayed_bucket *bucket;
    uint64_t sequence;
    bool again; /* another one was first */
};

/* Cancel a message that is DELAYED_PENDING, or DELAYED_CANCELLED: that may be
 * under way only, and fail.
 * Borrows: cancel, until done().
 * Errors:  ERR_NOMEM, those of shard_topic() and store_append(): no done()
 * In done(): ERR_IO, ERR_FULL, ERR_CLOSED: it is as it was before */
MUST_CHECK enum err delayed_cancel(struct delayed_bucket *bucket,
                                   uint64_t sequence,
                                   struct delayed_cancel *cancel);

#endif
