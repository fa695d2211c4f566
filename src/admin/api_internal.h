/* What the files of the API share.
 *
 * A request becomes a call: an object that owns all that goes with it, travels
 * to the shards that it concerns, and is answered where it came from. Only one
 * thread has a call at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_INTERNAL_H
#define OPQ_ADMIN_API_INTERNAL_H

#include "admin/api.h"
#include "base/buf.h"
#include "base/list.h"
#include "http/form.h"
#include "queue/shard.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    API_PAGE_DEFAULT = 100,         /* topics or messages of an answer, */
    API_PAGE_MAX = 1000,            /* and how many may be asked for */
    API_BYTES_MAX = 1024 * 1024,    /* after which a page of messages ends, so
                                       that a shard is not held up for long */
    API_LARGE_PER_TURN = 2,         /* large answers begun in one turn of a
                                       shard, so that pushes go on between */
    API_LARGE_SIZE = 64 * 1024,     /* bytes of an answer that is refused
                                       while clients take none */
    API_WAIT_MS_MAX = 60 * 1000,    /* of a long poll */
    API_SETTINGS_SIZE_MAX = 0x4000, /* of a PUT's body */
};

struct metrics_about;

enum api_phase { API_STARTING, API_READY, API_STOPPING };

/* What of the API lives on one shard; its thread's. */
struct api_shard {
    struct list readings; /* of struct api_reading, open */
    struct io_hook hook;  /* added while there are readings */
    struct shard *shard;  /* borrowed */
    uint64_t large_turn;  /* of the loop: when large answers were begun, */
    uint32_t large_count; /* and how many */
};

struct api {
    struct api_options options;
    atomic_int phase; /* enum api_phase */
    atomic_bool reloading;
    atomic_bool restarting; /* a successor is to come; shown only */
    uint64_t started_ms;    /* wall clock: when it was made */
    uint64_t started_ns;    /* the same, monotonic */
    struct api_shard shards[SHARDS_MAX];
};

/* A request as the routes see it; during the call of a handler. */
struct api_request {
    struct api *api;
    struct pipeline *pipeline;
    struct http_exchange *exchange;
    struct str segments[2]; /* what stood for {} in the route */
    const char *word;       /* of the route, for handlers of several */
};

/* Tell whether a header is one of ours, which gives a control value. */
bool api_is_control(struct str header);

/* Tell whether a head has such a header. */
bool api_has_control(const struct http_head *head);

/* --- calls ---------------------------------------------------------------- */

struct api_call {
    struct shard_call call;
    struct api *api;                /* borrowed */
    struct shard *home;             /* borrowed */
    struct http_exchange *exchange; /* borrowed; NULL once answered */
    /* Run on a shard; ends with api_call_end(), now or later. */
    void (*run)(struct api_call *call, struct shard *there);
    /* Back home, unless it failed: the shard to go to next; NULL: answer. Not
     * with api_call_walk(). */
    struct shard *(*onward)(struct api_call *call);
    /* Back home from all shards: whether to visit them once more; NULL: no. */
    bool (*again)(struct api_call *call);
    /* Back home, before the answer; NULL: nothing to do. */
    void (*finish)(struct api_call *call);
    /* The same of a call that has failed. */
    void (*failed)(struct api_call *call);
    /* Free what the call has beside this struct; NULL: nothing. */
    void (*release)(struct api_call *call);
    bool large;          /* its answer may be; set before it is sent */
    bool walking;        /* visits all shards, in order of their index */
    bool kept;           /* something else is under way: api_call_drop() */
    uint32_t walk_index; /* the shard that it is at */
    char topic[TOPIC_NAME_MAX + 1];
    int status;         /* of the answer; 0: 200 */
    const char *type;   /* static; of a body that is no JSON; NULL: it is */
    struct buf detail;  /* owned: of a problem, terminated */
    struct buf members; /* owned: JSON members of a problem, terminated */
    struct buf body;    /* owned: of the answer */
};

/* Make a call of `size` bytes that begins with a struct api_call. When there
 * is no memory, the request is answered and NULL returned. */
struct api_call *api_call_create(const struct api_request *request,
                                 size_t size,
                                 void (*run)(struct api_call *call,
                                             struct shard *there));

/* Send it to the shard that owns call->topic. */
void api_call_send(struct api_call *call);

/* Send it to a shard. */
void api_call_to(struct api_call *call, struct shard *there);

/* Send it where call->onward() says, as long as that names a shard. */
void api_call_tour(struct api_call *call);

/* Send it to all shards, one after the other. */
void api_call_walk(struct api_call *call);

/* It is done on this shard. */
void api_call_end(struct api_call *call);

/* Make the answer a problem. `detail` is copied. */
void api_call_problem(struct api_call *call, int status, const char *detail);

/* Make the answer a problem for a code; `subject` begins its text. */
void api_call_err(struct api_call *call, enum err err, const char *subject);

/* Make the answer a problem, 416: a place is none of a log's; `what` begins its
 * text, and both bounds are told. */
void api_call_range(struct api_call *call,
                    const char *what,
                    const struct store_bounds *bounds);

/* Free a call that was `kept` and is not any more; or one that was never
 * sent. */
void api_call_drop(struct api_call *call);

/* --- readings ------------------------------------------------------------- */

/* A reader on a shard, known to it, so that deleting the topic or stopping the
 * shard can end it. */
struct api_reading {
    struct store_reader *reader; /* owned; NULL: not open */
    const char *subscription;    /* borrowed: for whom; NULL or empty: none */
    struct api_shard *place;     /* borrowed */
    /* Bytes are there: read again. */
    void (*ready)(struct api_reading *reading);
    /* It was closed, for the topic goes: must not open one of it again. */
    void (*gone)(struct api_reading *reading);
    /* The subscription's settings or cursor changed; NULL: it has none. */
    void (*changed)(struct api_reading *reading);
    /* The shard stops: end waiting. Called each turn while it does. */
    void (*stopping)(struct api_reading *reading);
    struct list link; /* in place->readings */
    bool busy;        /* bytes are being read: ready() follows */
};

/* Open a reading. The callbacks are set before.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err api_reading_open(struct api_reading *reading,
                                     struct api *api,
                                     struct shard *shard,
                                     struct topic *topic);

/* Read a message: store_reader_next(), but for ERR_AGAIN while bytes are being
 * read. Borrows, Errors: as there */
MUST_CHECK enum err api_reading_next(struct api_reading *reading,
                                     uint64_t sequence,
                                     struct record *out_record);

/* Close it; idempotent. */
void api_reading_close(struct api_reading *reading);

/* Close the readings of a topic, saying so to each. */
void api_reading_forget(struct api *api,
                        struct shard *shard,
                        const struct topic *topic);

/* The same of a subscription that goes. */
void api_reading_forget_subscription(struct api *api,
                                     struct shard *shard,
                                     const struct topic *subscription);

/* A subscription's settings or cursor changed: say so to its readings. */
void api_reading_changed(struct api *api,
                         struct shard *shard,
                         const struct topic *subscription);

/* --- requests ------------------------------------------------------------- */

/* Read the query into `form`, which is empty; refuses names that are not in
 * `known` (ended by NULL) and names given twice. When that is so the request
 * is answered, and false returned. */
bool api_query(const struct api_request *request,
               const char *const *known,
               struct form *form);

/* Refuse a query that has anything. When that is so the request is answered,
 * and false returned. */
bool api_query_none(const struct api_request *request);

/* Read a number of the query, up to `max`; `*value` stays when it is not
 * given. Answers and returns false when it is wrong. */
bool api_query_number(const struct api_request *request,
                      const struct form *form,
                      const char *name,
                      uint64_t max,
                      uint64_t *value);

/* Read a yes or no of the query; `*flag` stays when it is not given. Answers
 * and returns false when it is neither. */
bool api_query_flag(const struct api_request *request,
                    const struct form *form,
                    const char *name,
                    bool *flag);

/* What is known of the process, for metrics.h. Borrows: api. */
void api_about(const struct api *api,
               const struct shard *shard,
               struct metrics_about *out_about);

/* Tell whether deliveries may go to a URL, as a push's may. A name is looked at
 * again, by address, when it is connected to. */
bool api_url_allowed(const struct api *api, const char *text);

/* --- handlers ------------------------------------------------------------- */

/* GET /healthz. */
void api_info_health(const struct api_request *request);
/* GET /readyz. */
void api_info_ready(const struct api_request *request);
/* GET /opq/info. */
void api_info_get(const struct api_request *request);
/* GET /metrics. */
void api_metrics_get(const struct api_request *request);
/* GET /openapi.json. */
void api_info_openapi(const struct api_request *request);
/* GET /opq/topics. */
void api_list_get(const struct api_request *request);
/* GET /opq/topics/{}. */
void api_topic_get(const struct api_request *request);
/* PUT /opq/topics/{}. */
void api_topic_put(const struct api_request *request);
/* DELETE /opq/topics/{}. */
void api_topic_delete(const struct api_request *request);
/* POST /opq/topics/{}/pause and resume. */
void api_topic_pause(const struct api_request *request);
/* POST /opq/topics/{}/purge. */
void api_topic_purge(const struct api_request *request);
/* GET /opq/topics/{}/messages. */
void api_messages_list(const struct api_request *request);
/* GET /opq/topics/{}/messages/{}. */
void api_messages_one(const struct api_request *request);
/* GET /opq/topics/{}/subscriptions. */
void api_subscriptions_list(const struct api_request *request);
/* GET /opq/topics/{}/subscriptions/{}. */
void api_subscriptions_get(const struct api_request *request);
/* PUT /opq/topics/{}/subscriptions/{}. */
void api_subscriptions_put(const struct api_request *request);
/* DELETE /opq/topics/{}/subscriptions/{}. */
void api_subscriptions_delete(const struct api_request *request);
/* POST /opq/topics/{}/subscriptions/{}/pause and resume. */
void api_subscriptions_pause(const struct api_request *request);
/* POST /opq/topics/{}/subscriptions/{}/replay. */
void api_subscriptions_replay(const struct api_request *request);
/* GET /opq/topics/{}/subscriptions/{}/messages. */
void api_pull_messages(const struct api_request *request);
/* POST /opq/topics/{}/subscriptions/{}/ack. */
void api_pull_ack(const struct api_request *request);
/* GET /opq/topics/{}/events and /opq/topics/{}/subscriptions/{}/events. */
void api_events_get(const struct api_request *request);
/* GET /opq/endpoints. */
void api_endpoints_list(const struct api_request *request);
/* POST /opq/endpoints/reset. */
void api_endpoints_reset(const struct api_request *request);
/* POST /opq/endpoints/release. */
void api_endpoints_release(const struct api_request *request);
/* GET /opq/schedules. */
void api_schedules_list(const struct api_request *request);
/* GET /opq/schedules/{}. */
void api_schedules_get(const struct api_request *request);
/* PUT /opq/schedules/{}. */
void api_schedules_put(const struct api_request *request);
/* DELETE /opq/schedules/{}. */
void api_schedules_delete(const struct api_request *request);
/* POST /opq/schedules/{}/pause and resume. */
void api_schedules_pause(const struct api_request *request);
/* POST /opq/schedules/{}/run. */
void api_schedules_run(const struct api_request *request);
/* GET /opq/replays. */
void api_replays_list(const struct api_request *request);
/* POST /opq/replays. */
void api_replays_post(const struct api_request *request);
/* GET /opq/replays/{}. */
void api_replays_get(const struct api_request *request);
/* DELETE /opq/replays/{}. */
void api_replays_delete(const struct api_request *request);
/* POST /opq/replays/{}/pause and resume. */
void api_replays_pause(const struct api_request *request);
/* GET /opq/delayed. */
void api_delayed_list(const struct api_request *request);
/* GET /opq/messages/{}. */
void api_delayed_one(const struct api_request *request);
/* DELETE /opq/messages/{}. */
void api_delayed_cancel(const struct api_request *request);

/* GET /opq/dlq. */
void api_dlq_get(const struct api_request *request);
/* POST /opq/dlq/retry, with a word, and DELETE /opq/dlq. */
void api_dlq_change(const struct api_request *request);

/* POST /opq/reload. */
void api_reload_post(const struct api_request *request);

/* GET /opq/events. */
void api_notices_get(const struct api_request *request);

/* GET /opq/topics/{}/messages/{}/curl. */
void api_messages_curl(const struct api_request *request);

/* The description of the API, embedded at build. */
extern const char api_openapi_json[];
extern const size_t api_openapi_json_size;

#endif
