/* The pipeline of one shard, put together: loop, store, HTTP server, listener,
 * deliverer, HTTP client, scheduler.
 *
 *     create -> open (recovers) -> listen* -> deliver -> run -> destroy
 *                                              stop (any thread) ^
 *
 * Order of the turn hooks: the store's commit, whose done() calls answer and
 * wake the deliverer; the deliverer's sends; the server's flush of answers. So
 * a push that came in this turn is durable, answered, and on its way to the
 * target in the same turn.
 *
 * Threads: pipeline_stop() from any; create from the one that owns the start of
 * the process; all else from the one that runs the shard, destroy too: sockets
 * that are still to close need turns of the loop, which are that thread's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_PIPELINE_H
#define OPQ_QUEUE_PIPELINE_H

#include "base/err.h"
#include "http/client.h"
#include "http/server.h"
#include "http/tls.h"
#include "queue/accept.h"
#include "queue/access.h"
#include "queue/deliverer.h"
#include "queue/listener.h"
#include "queue/scheduler.h"
#include "queue/secrets.h"
#include "queue/shard.h"
#include "queue/tokens.h"
#include "store/store.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

struct pipeline;

struct pipeline_options {
    uint32_t index;
    struct shard_group *group; /* borrowed; our shard is entered into it */
    struct io_options io;
    struct http_server_options http;    /* io, context, calls: ours */
    struct http_client_options client;  /* io: ours */
    struct deliverer_options deliverer; /* io, client, secrets: ours */
    struct listener_options listener;   /* shard: ours */
    struct accept_options accept;       /* io, shard: ours */
    uint64_t trim_bytes;                /* of delayed_options, */
    uint64_t trim_count;                /* and this */
    struct tokens *tokens;   /* held meanwhile; NULL: nobody is asked */
    struct secrets *secrets; /* held meanwhile; NULL: there are none */
    const char
        *events_url; /* where events are pushed; borrowed; NULL: nowhere */
    /* Open the shard's store on its loop; called once, by pipeline_open(). */
    enum err (*store_open)(void *context,
                           struct io *io,
                           uint32_t index,
                           struct store **out);
    void *store_context; /* borrowed */
    /* Take a request that is none of the listener's (admin/). */
    void (*handle_other)(void *context,
                         struct pipeline *pipeline,
                         struct http_exchange *exchange);
    void *other_context; /* borrowed */
};

/* What may change while a pipeline runs. */
struct pipeline_change {
    struct http_server_options http;    /* as http_server_set_limits() has it */
    struct deliverer_options deliverer; /* as deliverer_set_limits() has it */
    struct http_client_options client;  /* as http_client_set_limits() has it */
    uint32_t pending_max;               /* of listener_options */
    struct tokens *tokens;   /* held meanwhile; NULL: nobody is asked */
    struct secrets *secrets; /* held meanwhile; NULL: there are none */
    struct tls_context *tls; /* taken; NULL: the certificate stays */
};

/* Make a pipeline; its store is not open, its loop not running.
 * Gives:  `*out`, for pipeline_destroy().
 * Errors: ERR_NOMEM, ERR_UNSUPPORTED (the back end), ERR_BUSY, ERR_IO */
MUST_CHECK enum err pipeline_create(const struct pipeline_options *options,
                                    struct pipeline **out);

/* Free it. Accepts NULL. It was never opened, or pipeline_run() returned. */
void pipeline_destroy(struct pipeline *pipeline);

/* Open the store, attach its topics, make server, client, deliverer and
 * scheduler.
 * Blocks: on recovery.
 * Errors: those of store_open(); of http_client_create(); ERR_NOMEM */
MUST_CHECK enum err pipeline_open(struct pipeline *pipeline);

/* Serve the connections of a listening socket, with TLS if they are `secure`.
 * Takes: fd.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err
pipeline_listen(struct pipeline *pipeline, int fd, bool secure);

/* Begin delivering what is there, and running what is due. */
MUST_CHECK enum err pipeline_deliver(struct pipeline *pipeline);

/* Run the loop until it has stopped. */
void pipeline_run(struct pipeline *pipeline);

/* Drain and end: close listeners, answer what was asked, finish what is in
 * flight, for at most `drain_ms`; then close the store and end the loop. A
 * further call shortens the drain to its own `drain_ms`.
 * Threads: any, while pipeline_run() runs or before it does. */
void pipeline_stop(struct pipeline *pipeline, uint32_t drain_ms);

/* Takes a connection that is given away; from its shard's thread. As `give` of
 * http_server_hand_over(). */
typedef void pipeline_give(void *context, const struct http_handed *handed);

/* End for a successor, which gets the connections: when the deliveries under
 * way have ended, on all shards (handing.h), connections are given, and then it
 * is as after pipeline_stop(), without clients being told. All shards are
 * asked; pipeline_stop() of all of them makes it an ordinary end, until then.
 * Threads: any, while pipeline_run() runs. */
void pipeline_hand_over(struct pipeline *pipeline,
                        pipeline_give *give,
                        void *context);

/* Go on with a connection that was given away, when it listens. As
 * http_server_adopt(). */
MUST_CHECK enum err pipeline_adopt(struct pipeline *pipeline,
                                   const struct http_handed *handed);

/* Go by other limits, tokens, secrets, and another certificate from now on.
 * Nothing under way is disturbed: it goes on by what it began with. */
void pipeline_change(struct pipeline *pipeline,
                     const struct pipeline_change *change);

/* The secrets in force; NULL: there are none. Borrowed, until a turn ends. */
const struct secrets *pipeline_secrets(const struct pipeline *pipeline);

/* The parts, borrowed. */
struct shard *pipeline_shard(struct pipeline *pipeline);
/* As pipeline_shard(). */
struct deliverer *pipeline_deliverer(struct pipeline *pipeline);
/* As pipeline_shard(). */
struct http_server *pipeline_server(struct pipeline *pipeline);
/* As pipeline_shard(). */
struct http_client *pipeline_client(struct pipeline *pipeline);
/* As pipeline_shard(). */
struct listener *pipeline_listener(struct pipeline *pipeline);
/* As pipeline_shard(). */
struct scheduler *pipeline_scheduler(struct pipeline *pipeline);
/* The pipeline of a shard. */
struct pipeline *pipeline_of(struct shard *shard);

#endif
