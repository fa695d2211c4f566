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
#include "queue/rate.h"
#include "queue/retry.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

/* What the store takes; topics have to note a little beside their settings. */
enum { SETTINGS_TEXT_MAX = STORE_SETTINGS_MAX - 64 };

/* Whose setting it is: a bit each. */
enum settings_scope {
    SETTINGS_TOPIC = 1 << 0,
    SETTINGS_SUBSCRIPTION = 1 << 1,
};

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

/* Whether retention keeps what a subscription has not delivered. */
enum settings_hold {
    SETTINGS_HOLD_AUTO, /* unless it is a mirror or a replay */
    SETTINGS_HOLD_YES,
    SETTINGS_HOLD_NO,
};

/* What makes a push without a dedup_id a duplicate. */
enum settings_dedup {
    SETTINGS_DEDUP_ID,          /* nothing */
    SETTINGS_DEDUP_CONTENT,     /* the same url, method and body */
    SETTINGS_DEDUP_CLOUDEVENTS, /* an event with the same source and id */
};

enum settings_batch {
    SETTINGS_BATCH_NDJSON,
    SETTINGS_BATCH_JSON, /* an array */
};

/* Whether deliveries are CloudEvents. */
enum settings_events {
    SETTINGS_EVENTS_OFF,
    SETTINGS_EVENTS_STRUCTURED,
    SETTINGS_EVENTS_BINARY,
};

struct settings {
    bool paused;
    enum settings_order order;
    uint32_t concurrency; /* messages in flight; 0: DELIVERER_CONCURRENCY, 64.
                             With order=topic it is 1, whatever it says */
    uint32_t endpoint_concurrency;  /* the same, to one endpoint; 0: no bound */
    uint32_t timeout_ms;            /* of an attempt; 0: the server's */
    uint32_t retries;               /* RETRY_FOREVER, or then dead */
    char *retry_schedule;           /* "5s,1m,10m"; NULL: doubling */
    char *permanent_status;         /* "400,404,410-499": dead at once */
    struct settings_rate rate;      /* of attempts */
    struct settings_rate flow_rate; /* of each flow_key */
    bool expired_drop;              /* without a dead letter */
    uint32_t dedup_window_ms;       /* 0: the default, 10 minutes */
    enum settings_dedup dedup;
    uint32_t slow_after_ms; /* of a message not delivered: tell; 0: never */
    char *secret;           /* names of signing secrets, with commas */
    uint32_t batch_count;   /* 0: messages go one by one */
    uint32_t batch_wait_ms;
    enum settings_batch batch_format;
    enum settings_events cloudevents;
    char *cloudevents_type;   /* of what is no event; NULL: opq.message */
    char *cloudevents_source; /* likewise; NULL: by the topic */
    struct store_retention retention; /* of a topic only, as stored with it */
    /* Of subscriptions only. */
    enum settings_kind kind;
    enum settings_hold hold;
    char *url;
    char *filter;
    char *headers;        /* "Name: value\n" lines, each name once */
    uint32_t share_ppm;   /* of a mirror: messages in a million */
    uint64_t replay_from; /* of a replay: first sequence, */
    uint64_t replay_end;  /* and one past the last */
    bool replay_failed;   /* only what became a dead letter */
    uint32_t replay_pace; /* so many times as fast as they were pushed; 0: as
                             fast as it goes */
    uint64_t replay_created_ms;  /* wall clock */
    uint64_t replay_finished_ms; /* likewise; 0: it has not */
    uint64_t replay_sent;        /* messages, when it was last noted */
    uint64_t replay_given_up;    /* likewise */
    char *replay_of; /* as this subscription gets them; NULL: the topic */
};

/* Settings that a request gives, to be applied elsewhere. */
struct settings_change {
    struct settings values;
    uint64_t given; /* a bit for each setting that is */
};

/* Set all to their defaults. */
void settings_init(struct settings *settings);

/* Free the text; then as settings_init(). */
void settings_fini(struct settings *settings);

/* Make `*to` (initialised) the same as `from`.
 * Errors: ERR_NOMEM; `*to` is as it was */
MUST_CHECK enum err settings_copy(struct settings *to,
                                  const struct settings *from);

/* Set one setting of a scope by its name, as the API takes it: settings.def
 * has the names and what each of them wants. Blanks around the value are
 * dropped; an empty value of a text takes the text away.
 *
 * Errors: ERR_INVALID  unknown name, one of another scope, or a bad value:
 *                      `detail` says which and what is wanted. The settings are
 *                      as they were
 *         ERR_NOMEM    the same, with nothing in `detail`
 */
MUST_CHECK enum err settings_set(struct settings *settings,
                                 enum settings_scope scope,
                                 struct str name,
                                 struct str value,
                                 struct buf *detail);

/* Tell whether retention is to keep what a subscription has not delivered. */
bool settings_holds(const struct settings *settings);

/* Collect the rules of retries for a message: what it says itself goes before
 * what its topic says. `options` may be NULL; `gone_pauses` is the caller's to
 * set. Borrows: the texts of both, as long as `*out_rules` is used. */
void settings_retry_rules(const struct settings *settings,
                          const struct message_options *options,
                          struct retry_rules *out_rules);

/* Why settings cannot stand together, for people; static. NULL: they can. */
const char *settings_conflict(const struct settings *settings);

/* Append the settings of a scope as a JSON object, whose members settings_set()
 * takes back: strings without their quotes, other values as they stand. */
void settings_json(const struct settings *settings,
                   enum settings_scope scope,
                   struct buf *to);

/* The name of a setting of a scope by its number, from 0; NULL past the
 * last. */
const char *settings_name(enum settings_scope scope, unsigned index);

/* --- changes -------------------------------------------------------------- */

/* Begin without any. */
void settings_change_init(struct settings_change *change);

/* Free what a change has; then it is as after settings_change_init(). */
void settings_change_fini(struct settings_change *change);

/* Note one setting, as settings_set() does; one that was noted before is
 * ERR_INVALID.
 * Errors: as settings_set() */
MUST_CHECK enum err settings_change_set(struct settings_change *change,
                                        enum settings_scope scope,
                                        struct str name,
                                        struct str value,
                                        struct buf *detail);

/* Apply all that was noted.
 * Errors: ERR_NOMEM; the settings are as they were */
MUST_CHECK enum err settings_change_apply(const struct settings_change *change,
                                          struct settings *settings);

/* --- the store's text ----------------------------------------------------- */

/* Append all that differs from the default to an empty buffer, as the store
 * keeps it: a "name value" line each.
 *
 * Errors: ERR_TOO_LARGE  more than the store takes (SETTINGS_TEXT_MAX)
 *         ERR_NOMEM
 */
MUST_CHECK enum err settings_write(const struct settings *settings,
                                   struct buf *to);

/* Read what settings_write() of any version wrote into `settings`
 * (initialised): what has no line has its default. Unknown lines are skipped,
 * so that an older program starts on a newer directory.
 *
 * Errors: ERR_CORRUPT  a known line has no sense; what went before is read
 *         ERR_NOMEM    likewise
 */
MUST_CHECK enum err settings_read(struct str text, struct settings *settings);

/* --- documents ------------------------------------------------------------ */

/* Append the settings of a scope as a table in Markdown. */
void settings_table(enum settings_scope scope, struct buf *to);

/* Append them as a part of a manual page, in scdoc's language. */
void settings_manual(enum settings_scope scope, struct buf *to);

#endif
