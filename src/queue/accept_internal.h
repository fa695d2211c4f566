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
};

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
    struct list walk_link; /* in one of the rows of accept_walk.c */
    uint64_t walked_from;  /* everything from here on was read */
};

/* Reading back, one topic at a time. */
struct accept_walk {
    struct list dedup_row;       /* of struct accept_topic: read for its ids */
    struct list collapse_row;    /* then those with nothing but keys */
    struct accept_topic *topic;  /* being read; NULL: none */
    bool for_dedup;              /* what it is read for */
    struct store_reader *reader; /* owned */
    bool reading;                /* its ready() is to come */
    uint64_t first;              /* of the part that is read, */
    uint64_t next;               /* being read */
    uint64_t end;                /* one past the last */
    struct io_timer timer;       /* goes on with it, or begins the next */
    uint64_t waiting; /* topics in both rows, and the one being read */
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

/* Start the timer that forgets, if there is something to forget. */
void accept_sweep_arm(struct accept *accept);

#endif
