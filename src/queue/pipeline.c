/* The pipeline of one shard, put together and taken apart.
 *
 * The end, step by step: take nothing new; answer what was asked and finish
 * what is in flight, or cut both when the time is over; when no call to another
 * shard is under way, count this shard as drained. The last shard to drain
 * tells all of them to close, for until then one may still carry a push to
 * another. Closing: topics detached, store closed (checkpoint), loop stopped.
 *
 * Handing over to a successor is the same with a wait before it (handing.h),
 * and without clients being told: when nothing is under way that would be done
 * twice, nor much in memory, all shards hold their connections and end as
 * above.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/pipeline.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/delayed.h"
#include "queue/handing.h"
#include "queue/letters_job.h"
#include "queue/listener_upload.h"
#include "queue/notices.h"
#include "queue/replay_walk.h"
#include "queue/replays.h"
#include "sys/pages.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

struct pipeline {
    struct pipeline_options options;
    struct shard shard;
    struct io *io;               /* owned */
    struct store *store;         /* owned; NULL before open, after close */
    struct http_server *server;  /* owned */
    struct http_client *client;  /* owned */
    struct listener *listener;   /* owned */
    struct accept *accept;       /* owned */
    struct deliverer *deliverer; /* owned */
    struct scheduler *scheduler; /* owned */
    struct delayed *delayed;     /* owned */
    struct replays *replays;     /* owned */
    struct notices *notices;     /* owned */
    struct buf events_target;    /* owned; the name of events_url's */
    struct access access;
    struct secrets *secrets; /* held; NULL: there are none */
    bool delivering;         /* pipeline_deliver() was called */
    bool draining;
    bool server_drained;
    bool deliverer_drained;
    bool counted;              /* as drained, in the group */
    struct io_hook drain_hook; /* looks whether all is drained */
    struct io_timer cut_timer; /* ends the drain */
    struct handing handing;    /* before a successor */
    pipeline_give *give;
    void *give_context;           /* borrowed */
    struct io_task handover_task; /* from pipeline_hand_over() */
    struct io_task hold_task;     /* from the last shard to be quiet */
    struct io_task stop_task;     /* from pipeline_stop() */
    struct io_task close_task;    /* from the last shard to drain */
    atomic_uint stop_ms;          /* the drain asked for last */
    atomic_bool stop_posted;
};

struct pipeline *pipeline_of(struct shard *shard)
{
    return CONTAINER_OF(shard, struct pipeline, shard);
}

struct shard *pipeline_shard(struct pipeline *pipeline)
{
    return &pipeline->shard;
}

struct deliverer *pipeline_deliverer(struct pipeline *pipeline)
{
    return pipeline->deliverer;
}

struct http_server *pipeline_server(struct pipeline *pipeline)
{
    return pipeline->server;
}

struct http_client *pipeline_client(struct pipeline *pipeline)
{
    return pipeline->client;
}

struct listener *pipeline_listener(struct pipeline *pipeline)
{
    return pipeline->listener;
}

struct scheduler *pipeline_scheduler(struct pipeline *pipeline)
{
    return pipeline->scheduler;
}

/* --- topics come and go --------------------------------------------------- */

static enum err topic_added(struct shard *shard, struct topic *topic)
{
    struct pipeline *pipeline = pipeline_of(shard);
    enum err err =
        topic->parent == NULL ? accept_attach(pipeline->accept, topic) : ERR_OK;

    if (err == ERR_OK) {
        err = replays_attach(pipeline->replays, topic);
    }
    if (err == ERR_OK && pipeline->delivering && topic_is_delivered(topic)) {
        err = deliverer_attach(pipeline->deliverer, topic);
    } /* else attached by pipeline_deliver(), or never */
    if (err != ERR_OK) {
        replays_detach(topic);
        accept_detach(topic);
    }
    return err;
}

static void topic_removed(struct shard *shard, struct topic *topic)
{
    if (topic->delivery != NULL) {
        deliverer_detach(topic);
    }
    replay_walk_forget(shard, topic);
    replays_detach(topic);
    accept_detach(topic);
    letters_job_forget(topic);
}

/* --- life ----------------------------------------------------------------- */

/* Hold tokens and secrets, and let go of the former ones. */
static void hold_keys(struct pipeline *pipeline,
                      struct tokens *tokens,
                      struct secrets *secrets)
{
    struct secrets *former = pipeline->secrets;

    access_set(&pipeline->access, tokens != NULL ? tokens_hold(tokens) : NULL);
    pipeline->secrets = secrets != NULL ? secrets_hold(secrets) : NULL;
    secrets_release(former);
}

static void stop_arrived(struct io_task *task);
static void handover_arrived(struct io_task *task);
static void hold_arrived(struct io_task *task);
static void close_arrived(struct io_task *task);
static void drain_look(struct io_hook *hook);
static void drain_over(struct io_timer *timer);

enum err pipeline_create(const struct pipeline_options *options,
                         struct pipeline **out)
{
    struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (pipeline == NULL) {
        return ERR_NOMEM;
    }
    pipeline->options = *options;
    enum err err = io_create(&options->io, &pipeline->io);
    if (err != ERR_OK) {
        free(pipeline);
        return err;
    }
    pipeline->stop_task.run = stop_arrived;
    pipeline->handover_task.run = handover_arrived;
    pipeline->hold_task.run = hold_arrived;
    pipeline->close_task.run = close_arrived;
    pipeline->drain_hook.turn = drain_look;
    pipeline->cut_timer.expired = drain_over;
    pipeline->shard.index = options->index;
    pipeline->shard.group = options->group;
    pipeline->shard.io = pipeline->io;
    pipeline->shard.topic_added = topic_added;
    pipeline->shard.topic_removed = topic_removed;
    list_init(&pipeline->shard.replay_walks);
    hold_keys(pipeline, options->tokens, options->secrets);
    options->group->shards[options->index] = &pipeline->shard;
    *out = pipeline;
    return ERR_OK;
}

void pipeline_destroy(struct pipeline *pipeline)
{
    if (pipeline == NULL) {
        return;
    }
    delayed_destroy(pipeline->delayed);
    deliverer_destroy(pipeline->deliverer);
    http_client_destroy(pipeline->client);
    http_server_destroy(pipeline->server);
    listener_destroy(pipeline->listener);
    scheduler_destroy(pipeline->scheduler);
    replays_destroy(pipeline->replays);
    notices_destroy(pipeline->notices);
    buf_fini(&pipeline->events_target);
    accept_destroy(pipeline->accept);
    access_set(&pipeline->access, NULL);
    secrets_release(pipeline->secrets);
    /* Closing a socket takes a turn. */
    while (io_busy(pipeline->io)) {
        io_run_turn(pipeline->io, -1);
    }
    io_destroy(pipeline->io);
    free(pipeline);
}

static void handle(void *context, struct http_exchange *exchange)
{
    struct pipeline *pipeline = context;

    if (!access_take(&pipeline->access, exchange, false)) {
        return;
    }
    if (!listener_handle(pipeline->listener, exchange)) {
        pipeline->options.handle_other(pipeline->options.other_context,
                                       pipeline, exchange);
    }
}

static enum http_body open_body(void *context,
                                struct http_exchange *exchange,
                                struct http_sink **out_sink)
{
    struct pipeline *pipeline = context;

    return access_take(&pipeline->access, exchange, true)
               ? listener_upload(pipeline->listener, exchange, out_sink)
               : HTTP_BODY_ANSWERED;
}

static bool admit(void *context, struct http_exchange *exchange)
{
    struct pipeline *pipeline = context;

    return access_take(&pipeline->access, exchange, true);
}

static uint32_t awaited(void *context, uint64_t within_ns)
{
    struct pipeline *pipeline = context;

    return http_server_awaited(pipeline->server, within_ns);
}

/* Errors: ERR_NOMEM */
static enum err open_notices(struct pipeline *pipeline)
{
    struct str text = str_from(pipeline->options.events_url);
    struct url url;
    const char *reason = NULL;

    buf_init(&pipeline->events_target, 0);
    if (text.size > 0 && url_parse(text, &url, &reason) == ERR_OK) {
        deliverer_target_name(&url, &pipeline->events_target);
    }
    const struct notices_hook hook = {text, buf_str(&pipeline->events_target)};
    enum err err = notices_create(&pipeline->shard, &hook, &pipeline->notices);
    pipeline->shard.notices = pipeline->notices;
    return err;
}

/* The parts in the order in which their turn hooks are to run. */
static enum err open_parts(struct pipeline *pipeline)
{
    struct pipeline_options *options = &pipeline->options;

    options->client.io = pipeline->io;
    enum err err = http_client_create(&options->client, &pipeline->client);
    if (err != ERR_OK) {
        return err;
    }
    options->deliverer.io = pipeline->io;
    options->deliverer.client = pipeline->client;
    options->deliverer.shard = &pipeline->shard;
    options->deliverer.secrets = pipeline->secrets;
    err = deliverer_create(&options->deliverer, &pipeline->deliverer);
    if (err != ERR_OK) {
        return err;
    }
    options->accept.io = pipeline->io;
    options->accept.shard = &pipeline->shard;
    err = accept_create(&options->accept, &pipeline->accept);
    if (err != ERR_OK) {
        return err;
    }
    pipeline->shard.accept = pipeline->accept;
    err =
        replays_create(&pipeline->shard, deliverer_detach, &pipeline->replays);
    if (err != ERR_OK) {
        return err;
    }
    err = open_notices(pipeline);
    if (err != ERR_OK) {
        return err;
    }
    options->listener.shard = &pipeline->shard;
    err = listener_create(&options->listener, &pipeline->listener);
    if (err != ERR_OK) {
        return err;
    }
    const struct scheduler_options scheduler = {
        .shard = &pipeline->shard, .recorder = options->listener.recorder};
    err = scheduler_create(&scheduler, &pipeline->scheduler);
    if (err != ERR_OK) {
        return err;
    }
    options->http.io = pipeline->io;
    options->http.handle = handle;
    options->http.open_body = open_body;
    options->http.admit = admit;
    options->http.context = pipeline;
    err = http_server_create(&options->http, &pipeline->server);
    if (err == ERR_OK) {
        store_expect(pipeline->store, awaited, pipeline);
    }
    return err;
}

/* Have the ids of messages that wait read.
 * Errors: ERR_NOMEM */
static enum err read_ids(struct pipeline *pipeline)
{
    enum err err = ERR_OK;

    for (struct delayed_bucket *bucket = delayed_from(pipeline->delayed, 0);
         err == ERR_OK && bucket != NULL;
         bucket = delayed_from(pipeline->delayed, delayed_hour(bucket) + 1)) {
        if (delayed_topic(bucket) != NULL) {
            err = accept_attach_bucket(pipeline->accept, delayed_topic(bucket));
        }
    }
    return err;
}

enum err pipeline_open(struct pipeline *pipeline)
{
    struct pipeline_options *options = &pipeline->options;
    enum err err = options->store_open(options->store_context, pipeline->io,
                                       options->index, &pipeline->store);

    if (err != ERR_OK) {
        return err;
    }
    pipeline->shard.store = pipeline->store;
    err = open_parts(pipeline);
    if (err != ERR_OK) {
        return err;
    }
    err = shard_attach_topics(&pipeline->shard);
    if (err == ERR_OK) {
        err = scheduler_load(pipeline->scheduler);
    }
    if (err != ERR_OK) {
        return err;
    }
    const struct delayed_options delayed = {.shard = &pipeline->shard,
                                            .trim_bytes = options->trim_bytes,
                                            .trim_count = options->trim_count};
    err = delayed_create(&delayed, &pipeline->delayed);
    pipeline->shard.delayed = pipeline->delayed;
    return err == ERR_OK ? read_ids(pipeline) : err;
}

enum err pipeline_listen(struct pipeline *pipeline, int fd, bool secure)
{
    return secure ? http_server_listen_tls(pipeline->server, fd)
                  : http_server_listen(pipeline->server, fd);
}

struct deliver_walk {
    struct deliverer *deliverer;
    uint32_t count; /* of topics attached */
    enum err err;
};

static void deliver_one(void *context, struct store_topic *stored)
{
    struct deliver_walk *walk = context;
    struct topic *topic = topic_of(stored);

    if (walk->err == ERR_OK && topic != NULL && topic_is_delivered(topic)) {
        pages_ahead(walk->count++);
        walk->err = deliverer_attach(walk->deliverer, topic);
    }
    if (stored->parent == NULL) {
        store_view_each(stored, deliver_one, walk);
    }
}

enum err pipeline_deliver(struct pipeline *pipeline)
{
    struct deliver_walk walk = {.deliverer = pipeline->deliverer,
                                .err = ERR_OK};

    CHECK(!pipeline->delivering);
    pipeline->delivering = true;
    store_topic_each(pipeline->store, deliver_one, &walk);
    if (walk.err == ERR_OK) {
        notices_listen(pipeline->notices);
        scheduler_start(pipeline->scheduler);
        delayed_start(pipeline->delayed);
    }
    return walk.err;
}

void pipeline_run(struct pipeline *pipeline)
{
    io_run(pipeline->io);
}

/* --- changes -------------------------------------------------------------- */

const struct secrets *pipeline_secrets(const struct pipeline *pipeline)
{
    return pipeline->secrets;
}

void pipeline_change(struct pipeline *pipeline,
                     const struct pipeline_change *change)
{
    hold_keys(pipeline, change->tokens, change->secrets);
    http_server_set_limits(pipeline->server, &change->http);
    if (change->tls != NULL) {
        http_server_set_tls(pipeline->server, change->tls);
    }
    http_client_set_limits(pipeline->client, &change->client);
    deliverer_set_limits(pipeline->deliverer, &change->deliverer,
                         pipeline->secrets);
    listener_set_pending_max(pipeline->listener, change->pending_max);
}

/* --- the end -------------------------------------------------------------- */

void pipeline_stop(struct pipeline *pipeline, uint32_t drain_ms)
{
    atomic_store(&pipeline->stop_ms, drain_ms);
    if (!atomic_exchange(&pipeline->stop_posted, true)) {
        io_post(pipeline->io, &pipeline->stop_task);
    }
}

static void server_drained(void *context)
{
    struct pipeline *pipeline = context;

    pipeline->server_drained = true;
}

static void deliverer_drained(void *context)
{
    struct pipeline *pipeline = context;

    pipeline->deliverer_drained = true;
}

static void stop_arrived(struct io_task *task)
{
    struct pipeline *pipeline = CONTAINER_OF(task, struct pipeline, stop_task);

    atomic_store(&pipeline->stop_posted, false);
    if (pipeline->counted) {
        return;
    }
    io_timer_start(pipeline->io, &pipeline->cut_timer,
                   atomic_load(&pipeline->stop_ms));
    bool waiting = pipeline->handing.stage != HANDING_OFF;
    if (pipeline->draining ||
        (waiting && !handing_cancel(&pipeline->handing))) {
        return;
    }
    pipeline->draining = true;
    pipeline->shard.stopping = true;
    if (!waiting) {
        io_hook_add(pipeline->io, &pipeline->drain_hook);
    }
    scheduler_stop(pipeline->scheduler);
    http_server_drain(pipeline->server, server_drained, pipeline);
    deliverer_drain(pipeline->deliverer, deliverer_drained, pipeline);
    delayed_stop(pipeline->delayed);
}

static void drain_over(struct io_timer *timer)
{
    struct pipeline *pipeline = CONTAINER_OF(timer, struct pipeline, cut_timer);

    DIAG_WARN(
        "drain_cut", "shard=%u connections=%llu in_flight=%llu",
        pipeline->shard.index,
        (unsigned long long)http_server_stats(pipeline->server)
            ->connections_open,
        (unsigned long long)deliverer_stats(pipeline->deliverer)->in_flight);
    deliverer_cut(pipeline->deliverer);
    http_server_cut(pipeline->server);
}

/* Post one task of each shard. */
static void post_all(const struct shard_group *group, size_t task_offset)
{
    for (uint32_t index = 0; index < group->count; index++) {
        struct pipeline *other = pipeline_of(group->shards[index]);
        void *task = (char *)other + task_offset;
        io_post(other->io, task);
    }
}

/* Each turn while draining: count this shard when nothing is left on it. */
static void drain_look(struct io_hook *hook)
{
    struct pipeline *pipeline = CONTAINER_OF(hook, struct pipeline, drain_hook);
    struct shard_group *group = pipeline->shard.group;

    if (!pipeline->draining) {
        if (handing_look(&pipeline->handing)) {
            post_all(group, offsetof(struct pipeline, hold_task));
        }
        return;
    }
    /* To clients nothing stops that is handed over; to the rest it does when
     * they are away. */
    pipeline->shard.stopping |= pipeline->server_drained;
    if (pipeline->shard.stopping) {
        notices_end_waits(pipeline->notices);
    }
    if (!pipeline->server_drained || !pipeline->deliverer_drained ||
        pipeline->shard.calls > 0 || !delayed_stopped(pipeline->delayed) ||
        listener_stats(pipeline->listener)->pending > 0 ||
        !scheduler_idle(pipeline->scheduler) ||
        !notices_idle(pipeline->notices)) {
        return;
    }
    pipeline->counted = true;
    notices_stop(pipeline->notices);
    io_timer_stop(pipeline->io, &pipeline->cut_timer);
    io_hook_remove(pipeline->io, hook);
    if (atomic_fetch_add(&group->drained, 1) + 1 == group->count) {
        post_all(group, offsetof(struct pipeline, close_task));
    }
}

/* --- handing over --------------------------------------------------------- */

void pipeline_hand_over(struct pipeline *pipeline,
                        pipeline_give *give,
                        void *context)
{
    pipeline->give = give;
    pipeline->give_context = context;
    io_post(pipeline->io, &pipeline->handover_task);
}

static void handover_arrived(struct io_task *task)
{
    struct pipeline *pipeline =
        CONTAINER_OF(task, struct pipeline, handover_task);

    if (pipeline->draining) {
        return;
    }
    pipeline->handing.shard = &pipeline->shard;
    pipeline->handing.deliverer = pipeline->deliverer;
    pipeline->handing.listener = pipeline->listener;
    pipeline->handing.server = pipeline->server;
    io_hook_add(pipeline->io, &pipeline->drain_hook);
    handing_start(&pipeline->handing);
}

static void give(void *context, const struct http_handed *handed)
{
    struct pipeline *pipeline = context;

    pipeline->give(pipeline->give_context, handed);
}

static void hold_arrived(struct io_task *task)
{
    enum { HOLD_MS = 2000 }; /* for requests that were taken */
    struct pipeline *pipeline = CONTAINER_OF(task, struct pipeline, hold_task);

    CHECK(!pipeline->draining); /* no shard can have cancelled it */
    pipeline->draining = true;
    io_timer_stop(pipeline->io, &pipeline->handing.timer);
    io_timer_start(pipeline->io, &pipeline->cut_timer, HOLD_MS);
    deliverer_drain(pipeline->deliverer, deliverer_drained, pipeline);
    scheduler_stop(pipeline->scheduler);
    delayed_stop(pipeline->delayed);
    http_server_hand_over(pipeline->server, give, server_drained, pipeline);
}

enum err pipeline_adopt(struct pipeline *pipeline,
                        const struct http_handed *handed)
{
    return http_server_adopt(pipeline->server, handed);
}

/* --- closing -------------------------------------------------------------- */

static void store_closed(void *context)
{
    struct pipeline *pipeline = context;

    pipeline->store = NULL;
    pipeline->shard.store = NULL;
    io_stop(pipeline->io);
}

static void close_arrived(struct io_task *task)
{
    struct pipeline *pipeline = CONTAINER_OF(task, struct pipeline, close_task);

    delayed_close(pipeline->delayed);
    replays_close(pipeline->replays);
    shard_detach_topics(&pipeline->shard);
    http_client_close_idle(pipeline->client);
    store_close(pipeline->store, store_closed, pipeline);
}
