/* What can be set for a topic's delivery, and for that of a subscription: one
 * table (settings.def) gives names, values, limits and words for people to the
 * API, the store's text and the manual.
 *
 * A topic and each of its subscriptions have the same struct; some settings
 * have a meaning for one of them only, which the table says.
 *
 * Memory: a topic with default settings costs no allocation; text is owned and
 * NULL when it is not set.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_SETTINGS_H
#define OPQ_QUEUE_SETTINGS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum { SETTINGS_RETRIES_FOREVER = UINT32_MAX };

/* What is kept in order. */
enum settings_order {
    SETTINGS_ORDER_TOPIC, /* all: one message in flight */
    SETTINGS_ORDER_KEY,   /* those of one ordering key; without a key: none */
    SETTINGS_ORDER_NONE,
};

/* What a subscription is for. */
enum settings_kind {
    SETTINGS_KIND_PUSH,   /* delivers to its url */
    SETTINGS_KIND_PULL,   /* a cursor that a client reads and acknowledges by */
    SETTINGS_KIND_MIRROR, /* a share of the traffic; results never matter */
    SETTINGS_KIND_REPLAY, /* a part of the log once more, then it is done */
};

enum settings_batch {
    SETTINGS_BATCH_NDJSON,
    SETTINGS_BATCH_JSON, /* an array */
};

/* At most so many in a while; count 0: without limit. */
struct settings_rate {
    uint32_t count;
    uint32_t period_ms;
};

struct settings {
    bool paused;
    enum settings_order order;
    uint32_t concurrency;   /* messages in flight; 0: the server's default. With
                               order=topic it is 1, whatever it says */
    uint32_t timeout_ms;    /* of an attempt; 0: the server's */
    uint32_t retries;       /* SETTINGS_RETRIES_FOREVER, or then dead */
    char *retry_schedule;   /* "5s,1m,10m"; NULL: doubling */
    char *permanent_status; /* "400,404,410-499": dead at once */
    struct settings_rate rate;      /* of attempts */
    struct settings_rate flow_rate; /* of each flow_key */
    bool expired_drop;              /* without a dead letter */
    uint32_t dedup_window_ms;       /* 0: the default, 10 minutes */
    bool dedup_content;             /* same body, headers, url: a duplicate */
    char *secret;                   /* names of signing secrets, with commas */
    uint32_t batch_count;           /* 0: messages go one by one */
    uint32_t batch_wait_ms;
    enum settings_batch batch_format;
    struct store_retention retention; /* of a topic only, as stored with it */
    /* Of subscriptions only. */
    enum settings_kind kind;
    char *url;
    char *filter;
    char *headers;        /* "Name: value" lines */
    uint32_t share_ppm;   /* of a mirror: messages in a million */
    uint64_t replay_from; /* of a replay: first sequence, */
    uint64_t replay_end;  /* and one past the last */
    bool replay_failed;   /* only what became a dead letter */
    bool replay_pace;     /* as far apart as they were pushed */
};

/* Set all to their defaults. */
void settings_init(struct settings *settings);

/* Free the text; then as settings_init(). */
void settings_fini(struct settings *settings);

/* Make `*to` (initialised) the same as `from`.
 * Errors: ERR_NOMEM; `*to` is as it was */
MUST_CHECK enum err settings_copy(struct settings *to,
                                  const struct settings *from);

#endif
