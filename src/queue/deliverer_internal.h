/* What the deliverer, its deliveries and its targets know of each other.
 * Private to deliverer*.c.
 *
 * Memory: a topic costs one struct delivery while it is attached, and one
 * struct parcel for each message that was found and is not done. What an
 * attempt needs (struct flight: the call and the rendered request) comes from a
 * pool of in_flight_max. Readers are lent to deliveries and taken back from
 * those that used theirs longest ago; what is known of failures is allocated
 * when there are some.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_INTERNAL_H
#define OPQ_QUEUE_DELIVERER_INTERNAL_H

#include "base/hash_table.h"
#include "base/list.h"
#include "http/client.h"
#include "queue/attempt_log.h"
#include "queue/body_source.h"
#include "queue/deliverer.h"
#include "queue/deliverer_target.h"
#include "queue/endpoint.h"
#include "queue/outgoing.h"
#include "queue/push_task.h"
#include "queue/rate.h"
#include "queue/retry.h"
#include "queue/topic.h"
#include "queue/url_memo.h"
#include "queue/window.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

struct body_signing;
struct delivery_limits;
struct delivery_slow;
struct line;
struct parcel_batch;
struct settlement;

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
    /* Parcels that are kept for the next message. */
    DELIVERER_PARCELS_KEEP = 256,
    /* Messages in flight of a topic that does not say how many. */
    DELIVERER_CONCURRENCY = 64,
    /* How far a delivery looks ahead for messages of a higher priority. */
    DELIVERER_AHEAD_MAX = 256,
    /* Messages that a delivery looks at in a turn before others have theirs. */
    DELIVERER_WORK_MAX = 64,
};

/* One attempt under way. */
struct flight {
    struct http_call call;
    struct outgoing outgoing;
    struct body_source *body;     /* owned; NULL: the body is in `outgoing` */
    struct body_signing *signing; /* owned; while it has a body that is or was
                                     signed; else NULL */
    struct parcel *parcel;        /* borrowed; NULL: in the pool */
    uint64_t begun_ms;            /* monotonic; in ->flying: */
    struct list link; /* in deliverer->free or ->flying, by begun_ms */
};

/* What is done with a parcel that was taken out of its window's turn. */
enum parcel_doing {
    PARCEL_RESTING,  /* nothing: it is the window's */
    PARCEL_CROWDED,  /* as many of its delivery are at its endpoint as may be */
    PARCEL_WAITING,  /* in the line of its endpoint */
    PARCEL_GRANTED,  /* it has a slot, and is to be read once more */
    PARCEL_SIGNING,  /* the same, and its body is read through before */
    PARCEL_SENDING,  /* an attempt is under way */
    PARCEL_SETTLING, /* what is to be known of its end is being stored */
};

/* A message that was found and is not done. */
struct parcel {
    struct window_parcel base;
    struct delivery *delivery; /* borrowed */
    enum parcel_doing doing;
    bool expiring; /* the timer is of its time to live, while it is WAITING */
    bool stray;    /* in flight, though its window knows it no more */
    struct deliverer_target *target; /* one use of it; NULL: its URL is bad */
    uint64_t aim;                    /* delivery->aim, when that was found */
    struct endpoint_waiter waiter;   /* its place in the endpoint's line */
    struct list wants;               /* in delivery->granted, or while it is
                                        CROWDED in its line */
    struct line *counted;            /* borrowed: where it is one of the
                                        requests; NULL: nowhere */
    struct line *waits;              /* borrowed: what it waits for; NULL:
                                        nothing, or it is not counted */
    struct io_timer timer;           /* of a back-off */
    uint64_t due_ms;                 /* monotonic; of the timer */
    struct flight *flight;           /* borrowed; NULL: nothing in flight */
    struct attempt_log *failures;    /* owned; NULL: none */
    struct settlement *settlement;   /* owned; NULL: none */
    uint64_t expires_at_ms;          /* wall clock; 0: never */
    uint32_t retries;                /* as the message says */
    char *retry_schedule;            /* owned; NULL: as its topic says */
    struct parcel_batch *batch;      /* owned; NULL: one message, as it is */
    bool single;                     /* though it could be in a batch */
    uint64_t pushed_at_ms;           /* wall clock */
    uint64_t flow;                   /* deliverer_limit_flow() */
    bool flow_paid;                  /* it has a token of its flow */
    bool calls_back;                 /* there is a callback when it is done */
    bool drops;                      /* it ends without a dead letter */
};

/* Readers that may be taken back, the one used longest ago first. */
struct reader_line {
    struct list list; /* of struct delivery_reader, by `kept` */
    uint32_t count;
    uint32_t count_max;
};

/* A place from which a delivery reads. */
struct delivery_reader {
    struct delivery *delivery;   /* borrowed */
    struct store_reader *reader; /* owned; NULL: none */
    bool reading;                /* it waits for the disk */
    struct list kept;            /* in a reader_line */
    struct reader_line *kept_in; /* borrowed; NULL: in none */
};

struct deliverer {
    struct deliverer_options options;
    struct retry_policy policy;
    struct retry_random random;
    struct io_hook hook;
    struct io_timer wake; /* so that a turn comes */
    struct endpoint_set slots;
    struct deliverer_targets targets;
    struct list deliveries;  /* all of them */
    struct list ready;       /* to be looked at in the hook */
    struct list starved;     /* that may not read before others have: the turn
                                hook moves them to `ready` as readers end */
    struct list dirty;       /* whose cursors are to be noted */
    struct push_pool pushes; /* of dead letters and callbacks */
    uint32_t settling;       /* settlements */
    struct sign sign;
    struct list parcels;             /* unused, by base.link */
    uint32_t parcel_count;           /* of those */
    uint32_t reading;                /* readers that wait for the disk */
    struct reader_line readers;      /* of deliveries with work */
    struct reader_line readers_idle; /* of those without */
    struct flight *flights;          /* owned; in_flight_max of them */
    struct list free;                /* flights; those with buffers first */
    uint32_t warm;                   /* of them, how many have buffers */
    struct list flying;              /* flights */
    uint32_t bodies;                 /* of flights, read from files */
    bool halted;                     /* nothing new is sent for a while */
    bool draining;
    void (*drained)(void *context); /* NULL: was called */
    void *drained_context;          /* borrowed */
    struct deliverer_stats stats;
    struct record record; /* scratch */
    struct url_memo urls; /* of messages that were sent */
};

/* Enough of a cursor to see that somebody moved it. */
struct cursor_mark {
    uint64_t next;
    uint64_t moves;
    uint32_t attempts;
    uint32_t range_count;
    uint32_t retry_count;
};

/* The delivery of a topic from one cursor. */
struct delivery {
    struct deliverer *deliverer;     /* borrowed */
    struct topic *topic;             /* borrowed */
    struct store_topic *place;       /* borrowed; whose cursor it follows */
    const struct settings *settings; /* borrowed */
    struct window window;
    struct cursor_mark noted; /* what the cursor was when last looked at */
    struct list dirty; /* in deliverer->dirty while the cursor is to be noted */
    bool acking; /* what is done has more ranges than the cursor: each message
                    is noted in the store, too */
    enum store_acked owed;         /* why some of that was not, and is to be */
    struct io_timer owed_timer;    /* so that it is */
    bool paused;                   /* by an operator */
    bool stopped;                  /* the server is draining */
    uint32_t slots;                /* that its parcels have */
    uint32_t waiting;              /* parcels that wait in lines */
    uint32_t strays;               /* parcels in flight from before a move */
    struct list granted;           /* parcels to be read once more */
    struct list link;              /* in deliverer->deliveries */
    struct list ready;             /* in deliverer->ready or ->starved */
    struct store_watch watch;      /* of the topic's end */
    struct delivery_reader scan;   /* reads what comes next */
    struct delivery_reader again;  /* reads what was read before */
    struct delivery_reader sweep;  /* reads what was set aside */
    bool sweeping;                 /* there was something to be swept */
    bool scans_first;              /* next time; the sweep, else */
    struct deliverer_target *last; /* one use of it: of the parcel found last;
                                      NULL: none yet */
    uint64_t aim; /* hash of the URL that the settings say; 0: they say none */
    struct parcel *gathering; /* borrowed; a batch that more may go with; NULL:
                                 none */
    struct filter *filter;    /* owned; NULL: all messages */
    /* Of a replay that keeps the pace: when its first message went (monotonic;
     * 0: it has not), and when that was pushed (wall clock). */
    uint64_t pace_begun_ms;
    uint64_t pace_pushed_ms;
    struct delivery_limits *limits; /* owned; NULL: no rates */
    struct hash_table lines;        /* of struct line; owned */
    struct delivery_slow *slow;     /* owned; NULL: nobody wants to know */
    uint32_t unreadable;            /* failed readings in a row */
    struct io_timer timer;          /* after one, or until a token comes */
};

/* Tell whether the n-th of a row is worth a line: at each doubling. */
static inline bool deliverer_worth_a_line(uint32_t count)
{
    return (count & (count - 1)) == 0;
}

#endif
