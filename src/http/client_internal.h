/* What the parts of the client share: client.c is its front, client_pool.c
 * says which call goes on which connection, client_channel.c is one
 * connection, client_response.h what comes over it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_CLIENT_INTERNAL_H
#define OPQ_HTTP_CLIENT_INTERNAL_H

#include "base/err.h"
#include "base/list.h"
#include "http/client.h"
#include "http/client_response.h"
#include "http/parse.h"
#include "http/resolver.h"
#include "http/tls.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CLIENT_DETAIL_SIZE = 320, /* bytes of why a call failed */
    CLIENT_BUCKETS = 256,     /* of the table of endpoints */
    CLIENT_PLAIN_SIZE = 16 * 1024,
    CLIENT_TAKEN_MIN = 16 * 1024, /* bytes of a body that count as progress */
};

struct http_client {
    struct http_client_options options;
    struct client_response_limits limits;
    struct http_client_stats stats;
    struct io *io;                         /* borrowed */
    struct resolver *resolver;             /* owned */
    struct tls_context *tls;               /* owned; NULL: not needed so far */
    struct list endpoints[CLIENT_BUCKETS]; /* owned; by hash of the key */
    struct list idle;    /* of channels, the one idle longest first */
    struct list hungry;  /* of endpoints with calls to be served */
    struct list starved; /* of endpoints that wait for room in all */
    struct list dead;    /* of channels without a socket, to be freed */
    struct io_task task; /* serves the hungry, frees the dead */
    struct io_timer idle_timer;
    uint32_t closing; /* channels that are closed and not freed yet */
    bool task_posted;
    bool destroyed;        /* what remains goes with the last of these two */
    struct http_head head; /* scratch: of the response that is being read */
    char detail[CLIENT_DETAIL_SIZE]; /* scratch: of the call that is ending */
    char plain[CLIENT_PLAIN_SIZE];   /* scratch: decrypted bytes */
};

struct http_endpoint {
    struct http_client *client; /* borrowed */
    uint32_t users;
    uint32_t channel_count;
    struct list channels; /* all that are open, by `link` */
    struct list idle;     /* of channels, the one used last first */
    struct list waiting;  /* of calls, first come first */
    struct list link;     /* in client->hungry or ->starved */
    struct tls_ticket ticket;
    bool secure;
    uint16_t port;
    struct str host;    /* borrowed from key */
    struct list bucket; /* in client->endpoints */
    size_t key_size;
    char key[]; /* scheme, port, host in small letters */
};

enum channel_stage {
    CHANNEL_RESOLVING,
    CHANNEL_CONNECTING,
    CHANNEL_NEXT, /* a socket is being closed, the next address follows */
    CHANNEL_HANDSHAKE,
    CHANNEL_BUSY,     /* a call is on it */
    CHANNEL_SETTLING, /* its call is done, only sent() is to come */
    CHANNEL_IDLE,
    CHANNEL_CLOSED,
};

/* One connection to be, or that is. */
struct http_channel {
    struct io_socket socket;
    struct http_client *client;     /* borrowed */
    struct http_endpoint *endpoint; /* borrowed; NULL: closed */
    struct http_call *call;         /* borrowed; NULL: none */
    enum channel_stage stage;
    bool socket_open; /* from io_socket_init() to closed() */
    bool reused;      /* had a call before this one */
    struct client_response response;
    const struct iovec *parts; /* borrowed: what is being sent of the call */
    uint32_t part_count;
    struct iovec piece;    /* of the call's source; then `parts` */
    bool source_open;      /* the source has more */
    bool pulling;          /* it is asked for the next piece */
    size_t untaken;        /* bytes, when last looked at: see sys/net.h */
    struct list link;      /* in endpoint->channels */
    struct list idle;      /* in endpoint->idle */
    struct list idle_all;  /* in client->idle */
    uint64_t idle_from_ms; /* monotonic */
    /* Getting there. */
    struct resolver_query query;
    struct resolver_answer *answer; /* owned; NULL: none, or connected */
    uint32_t address_index;         /* the next one to try */
    uint64_t connect_until_ms;      /* monotonic */
    struct io_timer timer;          /* of an address, of getting there */
    enum err connect_err;           /* of the last address tried */
    /* TLS. */
    struct tls *tls;     /* owned; NULL: plain */
    uint32_t part_index; /* of `parts`, the first not all encrypted */
    size_t part_offset;  /* into it */
    size_t sending_size; /* bytes of tls_output() that are being sent */
    bool input_left;     /* bytes came that TLS could not take yet */
    bool encrypt_failed; /* told by the timer */
};

/* --- client.c ------------------------------------------------------------- */

/* End a call that is on no channel and in no line. */
void client_call_end(struct http_call *call, struct http_result *result);

/* The same with an error; `detail` is copied. */
void client_call_fail(struct http_call *call, enum err err, const char *detail);

/* Have the task run, from the loop. */
void client_post_task(struct http_client *client);

/* Free the rest of a destroyed client, if nothing is to come any more. */
void client_free_if_over(struct http_client *client);

/* --- client_pool.c -------------------------------------------------------- */

/* Start the pool of a client. */
void client_pool_init(struct http_client *client);

/* Put a call on a kept connection, or in line. */
void client_pool_start(struct http_endpoint *endpoint, struct http_call *call);

/* Put a call first in line, for a connection of its own. */
void client_pool_retry(struct http_endpoint *endpoint, struct http_call *call);

/* A channel is free: give it the next call, or keep it. */
void client_pool_keep(struct http_channel *channel);

/* A channel of an endpoint was closed: others may have room now. The endpoint
 * may be freed on return. */
void client_pool_closed(struct http_endpoint *endpoint);

/* Free an endpoint that has neither users nor channels. */
void client_pool_release(struct http_endpoint *endpoint);

/* Close all kept connections. */
void client_pool_close_idle(struct http_client *client);

/* Free an endpoint that has no channels and no calls. */
void client_pool_endpoint_destroy(struct http_endpoint *endpoint);

/* --- client_channel.c ----------------------------------------------------- */

/* Get a connection for a call and send it. The call may have failed on
 * return; not to be called from inside http_call_start(). */
void client_channel_open(struct http_endpoint *endpoint,
                         struct http_call *call);

/* Send a call on a kept connection that was taken out of the pool. */
void client_channel_send(struct http_channel *channel, struct http_call *call);

/* Close it; it is freed later, from the loop. It has no call any more. */
void client_channel_close(struct http_channel *channel);

/* Free the channels that were closed without a socket. */
void client_channel_bury(struct http_client *client);

/* Its call's deadline has passed: end both, or go on if the peer has taken
 * more of a body that comes by pieces. */
void client_channel_timeout(struct http_channel *channel);

#endif
