/* Sends messages to their targets, in order per lane, until accepted.
 *
 *     attach -> { found -> waiting for a slot -> sending
 *                 -> done | back-off -> ... | dead }* -> detach
 *
 * Others decide, without I/O: which messages of a topic may go (window.h), when
 * one is tried again or given up (retry.h), at what rate (rate.h), and how much
 * an endpoint gets (endpoint.h). The deliverer performs: reads records through
 * a store_reader, renders the request (outgoing.h), sends it (http/client.h),
 * classifies the outcome, notes the cursor in the store.
 *
 *     deliverer.c           life, the turn
 *     deliverer_delivery.c  a topic: its window, its cursor
 *     deliverer_parcel.c    a message on its way; _batch: several as one
 *     deliverer_outcome.c   how an attempt ended; _settle: what is stored of it
 *     deliverer_target.c    an endpoint, and its connections
 *     deliverer_operate.c   operators; deliverer_view.c: what people are told
 *
 * Fairness: messages that could be sent wait in line per endpoint; endpoints
 * take turns. A dead or slow endpoint holds only its own line: what failed
 * there backs off by a timer and takes no connection meanwhile.
 *
 * The base rule: a message that fails is tried again for ever, with back-off,
 * never dropped, and its lane waits behind it. Settings and the message itself
 * may say when it is given up instead: then it is a dead letter.
 *
 * In memory are at most in_flight_max requests, and of each topic at most
 * WINDOW_PARCELS_MAX messages that were found, without their bodies.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_H
#define OPQ_QUEUE_DELIVERER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/histogram.h"
#include "http/client.h"
#include "http/url.h"
#include "queue/attempt_log.h"
#include "queue/endpoint.h"
#include "queue/topic.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

struct deliverer;
struct filter;
struct secrets;
struct shard;

struct deliverer_options {
    struct io *io;                   /* borrowed */
    struct http_client *client;      /* borrowed */
    uint32_t in_flight_max;          /* requests under way in all */
    uint32_t endpoint_in_flight_max; /* to one endpoint; 0: a quarter of it */
    uint32_t timeout_ms;             /* of an attempt */
    uint32_t retry_first_ms;         /* back-off after the first failure, */
    uint32_t retry_max_ms;           /* doubling up to this */
    uint64_t retry_after_max_ms;     /* Retry-After beyond it is cut to it */
    const char *user_agent;          /* "OPQ/1.0"; borrowed */
    uint64_t seed;                   /* of the jitter; 0: a random one */
    /* Where dead letters and callbacks are pushed from; borrowed. NULL (tests):
     * nothing is ever dead. */
    struct shard *shard;
    /* What deliveries are signed with; borrowed. NULL: there are none. */
    const struct secrets *secrets;
};

struct deliverer_stats {
    uint64_t delivered;
    uint64_t attempts;
    uint64_t failed_by_status[6]; /* by first digit of the status */
    uint64_t failed_by_err[ERR_COUNT];
    uint64_t in_flight;
    uint64_t backing_off;         /* messages that wait for a retry or rate */
    uint64_t dead[RETRY_REASONS]; /* messages that became dead letters */
    uint64_t expired_dropped;     /* messages that ended without one */
    uint64_t in_flight_max;       /* of `in_flight` */
    struct histogram attempt_us;  /* of attempts that ended */
};

/* Why a message is not delivered yet. */
enum delivery_state {
    DELIVERY_IDLE,     /* it is delivered, or is nothing to deliver */
    DELIVERY_READY,    /* about to be read or sent */
    DELIVERY_WAITING,  /* for a slot: the endpoint's or the deliverer's */
    DELIVERY_CROWDED,  /* as many of its topic are at the endpoint as may be */
    DELIVERY_SENDING,  /* in flight */
    DELIVERY_BACKOFF,  /* after a failure, until `until_ms` */
    DELIVERY_HELD,     /* the endpoint asked for a pause, until `until_ms` */
    DELIVERY_OPEN,     /* the endpoint's breaker is, until `until_ms` */
    DELIVERY_PAUSED,   /* by an operator */
    DELIVERY_STOPPED,  /* the server is draining */
    DELIVERY_QUEUED,   /* behind `behind` in its lane, */
    DELIVERY_UNSEEN,   /* or not looked at before `behind` is on its way */
    DELIVERY_LIMITED,  /* by the rate of its topic or flow, until `until_ms` */
    DELIVERY_SETTLING, /* its dead letter or callback is being stored */
};

/* What is known of the delivery of a message, for people. */
struct delivery_view {
    enum delivery_state state;
    uint64_t until_ms;      /* wall clock; 0: not known */
    uint64_t sequence;      /* of the message it is about */
    uint64_t behind;        /* of DELIVERY_QUEUED and DELIVERY_UNSEEN */
    uint32_t in_flight;     /* messages of the topic */
    uint32_t attempts;      /* failed ones at that message */
    const char *last_class; /* "http_5xx", "connection_refused", ...; NULL */
    int last_status;        /* 0: none came */
    char last_detail[ATTEMPT_DETAIL_SIZE]; /* for people; terminated */
    char endpoint[300]; /* "http://127.0.0.1:9000"; terminated; empty */
    uint32_t endpoint_in_flight;     /* these of DELIVERY_WAITING */
    uint32_t endpoint_in_flight_max; /* as the endpoint is now */
    struct settings_rate limit;      /* by an operator; count 0: none */
    enum err unstored; /* of DELIVERY_SETTLING: why not, the last time */
};

/* An endpoint as a deliverer sees it, for people. */
struct target_view {
    const char *name; /* "http://127.0.0.1:9000"; borrowed during the visit */
    struct endpoint_view endpoint;
    const struct latency *latency; /* borrowed likewise */
    uint64_t until_ms; /* wall clock; 0: its state has no end, or none known */
    uint64_t backlog;  /* messages for it, see deliverer_each_target() */
    uint64_t topics;   /* whose newest known message goes there, with any that
                          are not done */
    struct settings_rate released; /* as an operator said; count 0: not */
    uint64_t eta_ms;               /* of the backlog at that rate, here */
};

/* What came of a word from an operator. */
struct target_change {
    uint64_t woken;   /* messages that would have been tried later */
    uint64_t backlog; /* as in target_view */
    uint64_t eta_ms;  /* likewise */
};

/* Make a deliverer.
 * Gives:  `*out`, for deliverer_destroy().
 * Errors: ERR_NOMEM */
MUST_CHECK enum err deliverer_create(const struct deliverer_options *options,
                                     struct deliverer **out);

/* Go by another timeout, back-off and secrets (borrowed; NULL: there are none)
 * with the attempts that begin from now on. Nothing else of `options` is looked
 * at. */
void deliverer_set_limits(struct deliverer *deliverer,
                          const struct deliverer_options *options,
                          const struct secrets *secrets);

/* Free it. Accepts NULL. All topics are detached. */
void deliverer_destroy(struct deliverer *deliverer);

/* Deliver a topic from its cursor on, and whatever comes; watches its end, and
 * sets topic->changed.
 * Borrows: topic, until deliverer_detach().
 * Errors:  ERR_NOMEM */
MUST_CHECK enum err deliverer_attach(struct deliverer *deliverer,
                                     struct topic *topic);

/* Stop delivering a topic; a request in flight is given up. */
void deliverer_detach(struct topic *topic);

/* Tell whether a replay with such settings sends a message: those with a URL
 * of their own, or all to its own; as a subscription, what that one gets.
 * `filter` NULL: all pass. */
bool deliverer_replays(const struct settings *settings,
                       const struct filter *filter,
                       const struct message *message);

/* What a topic's delivery is doing: of its lowest message that is not
 * delivered. */
void deliverer_view(const struct topic *topic, struct delivery_view *out_view);

/* The same of one message that is stored. `message` NULL: it is not at hand;
 * then of one that was set aside it is not known what it waits for.
 * DELIVERY_IDLE: it is delivered. */
void deliverer_explain(const struct topic *topic,
                       uint64_t sequence,
                       const struct message *message,
                       struct delivery_view *out_view);

/* Messages of a topic or subscription that are not done; of one that is not
 * attached, as its cursor says. */
uint64_t deliverer_lag(const struct topic *topic);

/* Show all endpoints that are in use, and those that were and are still known:
 * what failed stays for some minutes.
 *
 * The backlog is those messages that were looked at and go there, and of each
 * topic that is not paused those behind: as many as there are, since most go
 * where the last one looked at does.
 *
 * Costs a look at each topic and each endpoint. */
void deliverer_each_target(struct deliverer *deliverer,
                           void (*visit)(void *context,
                                         const struct target_view *view),
                           void *context);

/* Append the name of a URL's endpoint, as targets have it: in lower case, with
 * its port. */
void deliverer_target_name(const struct url *url, struct buf *to);

/* Send to an endpoint as if nothing had happened, and at once what waits for
 * another attempt there.
 * Errors: ERR_NOT_FOUND  it is not known */
MUST_CHECK enum err deliverer_target_renew(struct deliverer *deliverer,
                                           struct str name,
                                           struct target_change *out_change);

/* The same, but with no more requests than at `rate`, until the backlog is
 * drained. The rate is this deliverer's share of `released`, which is shown.
 * With count 0, this only ends such a limit.
 * Errors: ERR_NOT_FOUND  it is not known */
MUST_CHECK enum err
deliverer_target_catch_up(struct deliverer *deliverer,
                          struct str name,
                          const struct settings_rate *rate,
                          const struct settings_rate *released,
                          struct target_change *out_change);

/* Append the last failed attempts at a message that is not done, as
 * attempt_log_json() does. */
void deliverer_attempts(const struct topic *topic,
                        uint64_t sequence,
                        struct buf *to);

/* How long the oldest request in flight lasts; 0: there is none. */
uint64_t deliverer_oldest_ms(const struct deliverer *deliverer);

/* What is in flight for long. */
struct deliverer_slow {
    uint32_t count;     /* of requests */
    uint64_t rest_ms;   /* how long one of them may last yet, at most: a body
                           that comes from a file is sent as long as it takes,
                           of that one its timeout */
    const char *target; /* which one that goes to; borrowed for a moment, NULL:
                           none is */
};

/* Tell of the requests that are in flight for `slow_ms`. Costs a look at each
 * of them. */
void deliverer_slow(const struct deliverer *deliverer,
                    uint64_t slow_ms,
                    struct deliverer_slow *out_slow);

/* Before deliverer_halt(), so that it is short: have targets that let a request
 * wait for `slow_ms`, now or when this was called before, get no new ones for
 * `hold_ms`, while all others do. Called again and again. */
void deliverer_hold_slow(struct deliverer *deliverer,
                         uint64_t slow_ms,
                         uint64_t hold_ms);

/* Send nothing new until deliverer_resume(); what waits keeps its place. */
void deliverer_halt(struct deliverer *deliverer);

/* Tell whether nothing is in flight any more after deliverer_halt(). Its end
 * makes a turn. */
bool deliverer_is_halted(const struct deliverer *deliverer);

/* Go on after deliverer_halt(). */
void deliverer_resume(struct deliverer *deliverer);

/* Send nothing new; `drained` is called from the loop when nothing is in
 * flight any more. deliverer_cut() gives up what is. */
void deliverer_drain(struct deliverer *deliverer,
                     void (*drained)(void *context),
                     void *context);

/* Give up what is in flight. */
void deliverer_cut(struct deliverer *deliverer);

/* Figures so far; borrowed, living as long as the deliverer. */
const struct deliverer_stats *
deliverer_stats(const struct deliverer *deliverer);

/* The name of an outcome's class: "http_5xx", "timeout", ... (design: dns_error
 * connection_refused connection_reset tls_error timeout blocked_address
 * protocol_error http_3xx http_4xx http_5xx; "delivered" for 2xx, "local_error"
 * when the fault is ours). Never NULL. */
const char *deliverer_class(enum err err, int status);

#endif
