/* What the files of delayed messages share.
 *
 *     delayed.c         life, the turn, pushes
 *     delayed_bucket.c  buckets: found, made, noted, cancelled from, deleted
 *     delayed_trim.c    giving back what is over while its hour runs
 *     delayed_walk.c    reading logs after a start, and what is due next
 *     delayed_hand.c    handing on
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELAYED_INTERNAL_H
#define OPQ_QUEUE_DELAYED_INTERNAL_H

#include "queue/accept.h"
#include "queue/delayed.h"
#include "queue/delayed_bits.h"
#include "queue/delayed_index.h"
#include "queue/delayed_note.h"

enum {
    DELAYED_AHEAD_MS = 60 * 1000, /* read so long before it is due */
    DELAYED_LOOK_MS = 10 * 1000,  /* longest wait: the clock may have jumped */
    DELAYED_NOTE_MS = 100,        /* what was handed on is noted so often, */
    DELAYED_UNNOTED_MAX = 8192,   /* and handing on waits for it at these */
    DELAYED_AGAIN_MS = 5000,      /* from a failure to the next attempt */
    DELAYED_PAUSE_MS = 500,       /* of all, when the disk or memory fails */
    DELAYED_TELL_MS = 10 * 1000,  /* between lines in the log about failures */
    DELAYED_SICK_MS = 30 * 1000,  /* of a bucket that cannot be read */
    DELAYED_LATER_MAX = 4096,     /* messages that wait for one */
    DELAYED_NOTED_MAX = 4 << 20,  /* due times kept for the next walk: 16 MiB */
    DELAYED_WALK_MAX = 2000,      /* records looked at in a turn */
    DELAYED_BYTES_MAX = 8 << 20,  /* of records being handed on */
};

/* Deleting goes step by step, messages first: a log without messages means
 * nothing, but messages without their log would be handed on again. */
enum delayed_end { DELAYED_END_NONE, DELAYED_END_MESSAGES, DELAYED_END_LOG };

/* What is being given back: messages first, for the same reason. */
enum delayed_trim {
    DELAYED_TRIM_NONE,
    DELAYED_TRIM_MESSAGES,
    DELAYED_TRIM_LOG
};

struct delayed_bucket {
    struct delayed *delayed; /* borrowed */
    uint64_t hour;
    struct topic *messages; /* borrowed; NULL: deleted, or never there */
    struct topic *log;      /* borrowed; NULL: nothing was noted yet */
    bool ready;             /* its log was read */
    uint64_t sick_ms;       /* monotonic: passed over until then; 0: not */
    /* Not to be handed on: done, under way, or lost. */
    struct delayed_bits taken;
    struct delayed_bits cancelled;
    /* Of those taken: to be handed on again, for it failed. */
    struct delayed_bits failed;
    /* A note of it is durable: handed on, cancelled or lost for good. */
    struct delayed_bits over;
    uint64_t first;       /* those below were given back; no bit of them is */
    uint64_t over_end;    /* all from `first` up to it are over */
    uint64_t sized_bytes; /* of messages that were handed on since the start,
                             bodies included, */
    uint64_t sized_count; /* and how many */
    enum delayed_trim trim;
    uint64_t trim_before; /* what it lets go of */
    uint64_t trim_due_ms; /* monotonic: not before */
    struct store_op trim_op;
    uint64_t log_before; /* notes before it in the log name no messages */
    uint64_t log_names;  /* at or past this one */
    uint32_t pushes;     /* appends under way */
    uint32_t flights;    /* being handed on, or waiting to be again */
    uint32_t cancels;    /* under way */
    uint32_t holds;      /* delayed_hold() */
    struct store_reader *reader; /* owned; NULL: not open */
    /* Handed on and not noted; those of a running note first. */
    uint64_t *unnoted; /* owned */
    uint32_t unnoted_count;
    uint32_t unnoted_capacity;
    uint32_t noting;      /* of them, in `note_op`; 0: none runs */
    uint64_t note_due_ms; /* monotonic; 0: nothing to note */
    struct store_op note_op;
    enum delayed_end end;
    uint64_t end_due_ms; /* monotonic: not before, after a failure */
    struct store_op end_op;
};

/* A message on its way to its topic. */
struct delayed_flight {
    struct delayed *delayed;       /* borrowed */
    struct delayed_bucket *bucket; /* borrowed: it has flights */
    struct delayed_key key;
    struct list link;  /* in delayed->flights or later */
    uint64_t again_ms; /* monotonic, while in `later` */
    void *record;      /* owned; NULL: not read yet */
    size_t record_size;
    uint64_t pushed_at_ms;
    struct store_blob *body; /* owned; NULL: none */
    bool called;             /* on its way to the other shard */
    bool given;              /* its store took the record */
    struct shard_call call;
    struct accept_wants wants;
    struct accept_op op;
    enum err err;
    uint32_t topic_size;
    char topic[TOPIC_NAME_MAX + 1]; /* terminated */
};

enum delayed_walk_kind {
    DELAYED_WALK_NONE,
    DELAYED_WALK_LOG,
    DELAYED_WALK_DUE
};

/* Reading a bucket from its beginning, one at a time. */
struct delayed_walk {
    enum delayed_walk_kind kind;
    struct delayed_bucket *bucket;
    struct store_reader *reader; /* owned */
    uint64_t next;               /* sequence */
    uint64_t end;                /* there was no more when it began */
    bool reading;                /* ready() follows */
};

/* When the messages of a bucket are due, in the order of their numbers, as far
 * as they were read: so that an hour with more than the index has room for is
 * read from the disk but once. */
struct delayed_dues {
    struct delayed_bucket *bucket; /* NULL: nothing is kept */
    uint64_t first;                /* of the messages, */
    uint32_t *offsets_ms;          /* owned; in the hour */
    uint32_t count;                /* and how many from there */
    uint32_t capacity;
};

struct delayed {
    struct delayed_options options;
    struct delayed_stats stats;
    struct delayed_bucket **buckets; /* owned, by hour */
    uint32_t bucket_count;
    uint32_t bucket_capacity;
    uint32_t unready; /* of them */
    struct delayed_index index;
    struct delayed_walk walk;
    struct delayed_dues dues;
    uint32_t sick; /* buckets that are passed over */
    struct list flights;
    struct list later; /* flights to be made again, by when */
    uint32_t flight_count;
    uint32_t later_count;
    uint64_t flight_bytes;
    struct delayed_flight *reading; /* waits for its bytes; NULL: none */
    bool reading_ready;             /* they are there */
    uint32_t round_count;           /* begun since: */
    uint64_t round_ms;              /* monotonic */
    uint64_t told_ms;               /* monotonic: no line in the log before */
    uint64_t pause_ms;              /* monotonic: nothing begins before */
    uint32_t unnoted;               /* of all buckets */
    uint32_t noting;                /* notes that run */
    bool trim_due;                  /* there may be something to give back */
    struct io_timer timer;
    bool started;
    bool stopping;
    bool closed;
};

/* --- delayed.c ------------------------------------------------------------ */

/* The wall clock. */
uint64_t delayed_wall_ms(const struct delayed *delayed);

/* Something is to be done: look in the next turn. */
void delayed_kick(struct delayed *delayed);

/* --- delayed_bucket.c ----------------------------------------------------- */

/* Find the buckets that the store has.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err delayed_bucket_find_all(struct delayed *delayed);

/* The bucket of an hour; NULL: there is none. */
struct delayed_bucket *delayed_bucket_of(const struct delayed *delayed,
                                         uint64_t hour);

/* Index of the first bucket of this hour or a later one. */
uint32_t delayed_bucket_place(const struct delayed *delayed, uint64_t hour);

/* The bucket of an hour, made when it is not there.
 * Errors: ERR_NOMEM, ERR_BUSY (it is being deleted), those of shard_topic() */
MUST_CHECK enum err delayed_bucket_make(struct delayed *delayed,
                                        uint64_t hour,
                                        struct delayed_bucket **out);

/* Forget a bucket that was made for a push that failed. */
void delayed_bucket_unmake(struct delayed_bucket *bucket);

/* Messages that are not handed on nor cancelled. */
uint64_t delayed_bucket_pending(const struct delayed_bucket *bucket);

/* Tell whether nothing is to be done with a message any more, or is already
 * being done. */
bool delayed_bucket_settled(const struct delayed_bucket *bucket,
                            uint64_t sequence);

/* Remember that a message was handed on, or is lost, to be noted. */
void delayed_bucket_handed(struct delayed_bucket *bucket, uint64_t sequence);

/* A message is damaged: nothing is to be done with it any more. */
void delayed_bucket_lost(struct delayed_bucket *bucket, uint64_t sequence);

/* Write notes that are due; all of them while stopping. */
void delayed_bucket_note_all(struct delayed *delayed);

/* Delete the buckets that are over. */
void delayed_bucket_end_all(struct delayed *delayed);

/* Free all buckets. */
void delayed_bucket_free_all(struct delayed *delayed);

/* --- delayed_trim.c ------------------------------------------------------- */

/* A note of a message is durable. */
void delayed_trim_over(struct delayed_bucket *bucket, uint64_t sequence);

/* Give back what is over, where that is as much as a segment has. */
void delayed_trim_turn(struct delayed *delayed);

/* A step of it ended; `done` of trim_op. */
void delayed_trim_done(struct store_op *op, enum err err);

/* --- delayed_walk.c ------------------------------------------------------- */

/* Begin a walk where one is needed, and go on with the one that runs. */
void delayed_walk_turn(struct delayed *delayed);

/* Forget the due times that are kept. */
void delayed_walk_forget(struct delayed *delayed);

/* End the walk that runs, without a result. */
void delayed_walk_stop(struct delayed *delayed);

/* A message was stored: put it into the index, where it belongs there. */
void delayed_walk_stored(struct delayed_bucket *bucket,
                         const struct delayed_key *key);

/* When the index must be read further, in wall clock; UINT64_MAX: never. */
uint64_t delayed_walk_due(const struct delayed *delayed);

/* --- delayed_hand.c ------------------------------------------------------- */

/* Hand on what is due, as much as may be begun. */
void delayed_hand_turn(struct delayed *delayed);

/* Drop what has not gone to another shard yet. */
void delayed_hand_stop(struct delayed *delayed);

/* Milliseconds until something may be begun; UINT64_MAX: not by itself. */
uint64_t delayed_hand_wait(const struct delayed *delayed);

#endif
