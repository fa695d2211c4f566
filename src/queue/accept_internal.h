/* What the files of accept share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ACCEPT_INTERNAL_H
#define OPQ_QUEUE_ACCEPT_INTERNAL_H

#include "queue/accept.h"
#include "queue/collapse.h"
#include "queue/dedup.h"

enum {
    /* "sha256:" or "events:", and hex digits */
    ACCEPT_CONTENT_ID_SIZE = 7 + 64,
    /* Clocks of shards, and bodies that took long to come, put times out of
     * order a little; a search by time ends at the first that is late enough.
     */
    ACCEPT_MARGIN_MS = 60000,
};

struct accept_batch;

/* What a topic has here; made when it is needed. */
struct accept_topic {
    struct accept *accept; /* borrowed */
    struct topic *topic;   /* borrowed; NULL: it is gone */
    struct list link;      /* in accept->topics */
    struct list under_way; /* of struct accept_op, with the store */
    uint32_t holds;        /* operations under way */
    struct dedup_list dedup;
    struct collapse_list collapse;
    bool dedup_ready; /* what the log says is known */
    bool collapse_ready;
    bool delayed_ready; /* and what waits to be due, for all that is known */
    bool is_bucket;     /* of delayed messages: its ids are those of topics */
    struct list walk_link; /* in one of the rows of accept_walk.c */
    uint64_t walked_from;  /* everything from here on was read */
};

/* Reading back, one topic at a time. */
struct accept_walk {
    struct list dedup_row;       /* of struct accept_topic: read for its ids */
    struct list bucket_row;      /* likewise, for the ids of other topics */
    struct list collapse_row;    /* then those with nothing but keys */
    struct accept_topic *topic;  /* being read; NULL: none */
    bool for_dedup;              /* what it is read for */
    struct store_reader *reader; /* owned */
    bool reading;                /* its ready() is to come */
    uint64_t first;              /* of the part that is read, */
    uint64_t next;               /* being read */
    uint64_t end;                /* one past the last */
    struct io_timer timer;       /* goes on with it, or begins the next */
    uint64_t waiting;           /* topics in all rows, and the one being read */
    struct accept_batch *batch; /* owned; ids on their way; NULL: none */
    bool sending;               /* it is: nothing goes on before it is back */
};

struct accept {
    struct accept_options options;
    struct accept_stats stats;
    struct dedup dedup;
    struct collapse collapse;
    struct list topics;  /* of struct accept_topic; the next to sweep first */
    struct list ended;   /* of struct accept_op, for their done() */
    struct io_task task; /* ends them */
    bool posted;
    struct io_timer sweep;
    struct accept_walk walk;
};

/* What a topic has here, made if it is not there; NULL without memory. */
struct accept_topic *accept_state(struct accept *accept, struct topic *topic);

/* The window of a topic. */
uint32_t accept_window_ms(const struct topic *topic);

/* What is delivered everywhere is before this: the lowest cursor of a topic and
 * its subscriptions. */
uint64_t accept_undelivered_from(const struct topic *topic);

/* Hashes of a topic's dedup id or collapse key, by the key of the process. */
struct siphash accept_hash(struct str topic, struct str id);

/* Write the id of what a message has, ACCEPT_CONTENT_ID_SIZE bytes: of its url,
 * method, content type, and body or fields.
 * Errors: ERR_UNSUPPORTED  its body lies in a file
 *         ERR_NOMEM */
MUST_CHECK enum err accept_content_id(const struct message *message, char *to);

/* Write the id of the event that a message is, ACCEPT_CONTENT_ID_SIZE bytes: of
 * its source and id, the same in both modes.
 * Errors: ERR_UNSUPPORTED  it is no valid event
 *         ERR_NOMEM */
MUST_CHECK enum err accept_event_id(const struct message *message, char *to);

/* Begin the walk's part of `accept`. */
void accept_walk_init(struct accept *accept);

/* End it; nothing is being read. */
void accept_walk_fini(struct accept *accept);

/* Put a topic whose log is to be read into its row. */
void accept_walk_add(struct accept_topic *state);

/* Take it out, or end reading it. */
void accept_walk_remove(struct accept_topic *state);

/* A batch of ids is back, or could not go further: go on. */
void accept_walk_sent(struct accept *accept, enum err err);

/* Start the timer that forgets, if there is something to forget. */
void accept_sweep_arm(struct accept *accept);

/* Note an id found in a log, unless it is known or its window is over.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err accept_note_id(struct accept *accept,
                                   struct topic *topic,
                                   const struct siphash *hash,
                                   uint64_t value,
                                   uint64_t pushed_at_ms);

/* --- accept_delayed.c ----------------------------------------------------- */

/* A topic that had ids has this window. */
void accept_delayed_window(const struct accept *accept, uint32_t window_ms);

/* A bucket is to be read; */
void accept_delayed_begin(const struct accept *accept);

/* it was, or is gone. */
void accept_delayed_end(struct accept *accept);

/* Put the id of a message of a bucket into the batch, which is not full.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err accept_delayed_take(struct accept *accept,
                                        const struct topic *bucket,
                                        const struct record *record);

/* Tell whether the batch is full, */
bool accept_delayed_full(const struct accept *accept);

/* or has anything. */
bool accept_delayed_any(const struct accept *accept);

/* Send the batch around; accept_walk_sent() follows, never from inside.
 * Errors: ERR_BUSY */
MUST_CHECK enum err accept_delayed_send(struct accept *accept);

/* Drop what is in it. */
void accept_delayed_drop(struct accept *accept);

#endif
