/* What the deliverer, its deliveries and its targets know of each other.
 * Private to deliverer*.c.
 *
 * Memory: a topic costs one struct delivery while it is attached. What an
 * attempt needs (struct flight: the call and the rendered request) comes from a
 * pool of in_flight_max. Readers are lent to deliveries and taken back from
 * those that used theirs longest ago; what is known of a failure is allocated
 * when there is one.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_INTERNAL_H
#define OPQ_QUEUE_DELIVERER_INTERNAL_H

#include "base/list.h"
#include "http/client.h"
#include "queue/body_source.h"
#include "queue/deliverer.h"
#include "queue/deliverer_target.h"
#include "queue/endpoint.h"
#include "queue/lane.h"
#include "queue/outgoing.h"
#include "queue/retry.h"
#include "queue/topic.h"
#include "queue/url_memo.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* Readers that wait for the disk at once. More would only make a longer
     * line there, and each may hold a block. */
    DELIVERER_READING_MAX = 64,
    /* Readers kept by deliveries that have more to send, and by idle ones. */
    DELIVERER_READERS_MAX = 256,
    DELIVERER_READERS_IDLE_MAX = 16,
    /* Flights in the pool that keep their buffers (OUTGOING_KEEP_MAX each). */
    DELIVERER_WARM_MAX = 128,
    /* Bytes of a piece of a body that lies in a file, while few are sent, and
     * while many are. */
    DELIVERER_PIECE_SIZE = 256 * 1024,
    DELIVERER_PIECE_SIZE_SMALL = 32 * 1024,
    DELIVERER_BODIES_FEW = 32,
};

/* One attempt under way. */
struct flight {
    struct http_call call;
    struct outgoing outgoing;
    struct body_source *body;  /* owned; NULL: the body is in `outgoing` */
    struct delivery *delivery; /* borrowed; NULL: in the pool */
    struct list link;          /* in deliverer->free or ->flying */
};

/* How the last attempt at a message failed. */
struct failure {
    uint64_t sequence;
    const char *class; /* static */
    int status;        /* 0: none came */
    char detail[128];  /* terminated */
};

/* Readers that may be taken back, the one used longest ago first. */
struct reader_line {
    struct list list; /* of struct delivery, by `kept` */
    uint32_t count;
    uint32_t count_max;
};

struct deliverer {
    struct deliverer_options options;
    struct retry_policy policy;
    struct retry_random random;
    struct io_hook hook;
    struct io_timer wake; /* so that a turn comes */
    struct endpoint_set slots;
    struct deliverer_targets targets;
    struct list deliveries; /* all of them */
    struct list ready;      /* to be looked at in the hook */
    struct list starved;    /* that may not read before others have: the turn
                               hook moves them to `ready` as readers end */
    uint32_t reading;       /* readers that wait for the disk */
    struct reader_line readers;      /* of deliveries with work */
    struct reader_line readers_idle; /* of those without */
    struct flight *flights;          /* owned; in_flight_max of them */
    struct list free;                /* flights; those with buffers first */
    uint32_t warm;                   /* of them, how many have buffers */
    struct list flying;              /* flights */
    uint32_t bodies;                 /* of flights, read from files */
    bool draining;
    void (*drained)(void *context); /* NULL: was called */
    void *drained_context;          /* borrowed */
    struct deliverer_stats stats;
    struct record record; /* scratch */
    struct url_memo urls; /* of messages that were sent */
};

/* The deliverer's part of a topic. */
struct delivery {
    struct deliverer *deliverer; /* borrowed */
    struct topic *topic;         /* borrowed */
    struct lane lane;
    struct list link;                /* in deliverer->deliveries */
    struct list ready;               /* in deliverer->ready or ->starved */
    struct list kept;                /* in a reader_line */
    struct reader_line *kept_in;     /* borrowed; NULL: in none */
    struct store_watch watch;        /* of the topic's end */
    struct io_timer timer;           /* of a back-off */
    uint64_t due_ms;                 /* monotonic; of the timer */
    struct endpoint_waiter waiter;   /* its place in the endpoint's line */
    struct deliverer_target *target; /* one use of it; NULL: none yet */
    uint64_t target_sequence;        /* the message that goes to `target` */
    bool target_known;               /* target_sequence means something */
    bool reading;                    /* the reader waits for the disk */
    struct store_reader *reader;     /* owned; NULL: none */
    struct flight *flight;           /* borrowed; NULL: nothing in flight */
    struct failure *failure;         /* owned; NULL: none */
};

#endif
