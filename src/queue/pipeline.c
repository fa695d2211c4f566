/* The pipeline of one shard, put together and taken apart.
 *
 * The end, step by step: take nothing new; answer what was asked and finish
 * what is in flight, or cut both when the time is over; when no call to another
 * shard is under way, count this shard as drained. The last shard to drain
 * tells all of them to close, for until then one may still carry a push to
 * another. Closing: topics detached, store closed (checkpoint), loop stopped.
 *
 * Handing over to a successor is the same with steps before it, and without
 * clients being told: first the store writes what it has in memory, so that
 * little is left to do with connections waiting; then targets that are slow to
 * answer get nothing new, then none does, nor do bodies that go to a file
 * begin, while all else goes on; when the last shard is quiet, all hold their
 * connections and end as above.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/pipeline.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/delayed.h"
#include "queue/letters_job.h"
#include "queue/listener_upload.h"
#include "queue/notices.h"
#include "queue/replay_walk.h"
#include "queue/replays.h"

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
    /* Handing over. */
    bool handing;
    uint64_t prepared_ms;       /* when the store began to write what it has */
    struct io_timer look_timer; /* while slow targets are waited for */
    uint64_t look_ms;           /* when they are looked at again */
    bool cut;                   /* the time for deliveries is over */
    bool ending;                /* no delivery begins any more */
    bool quiet;                 /* counted, in the group */
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

struct delayed *pipeline_delayed(struct pipeline *pipeline)
{
    return pipeline->delayed;
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
static void look_due(struct io_timer *timer);

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
    pipeline->look_timer.expired = look_due;
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

/* Free the parts and let their sockets be closed, which takes a turn. Accepts
 * parts that are gone. From the loop's thread, if it ever ran: io_uring has
 * completions for that one only. */
static void end_parts(struct pipeline *pipeline)
{
    delayed_destroy(pipeline->delayed);
    deliverer_destroy(pipeline->deliverer);
    http_client_destroy(pipeline->client);
    http_server_destroy(pipeline->server);
    listener_destroy(pipeline->listener);
    scheduler_destroy(pipeline->scheduler);
    replays_destroy(pipeline->replays);
    notices_destroy(pipeline->notices);
    accept_destroy(pipeline->accept);
    pipeline->delayed = NULL;
    pipeline->deliverer = NULL;
    pipeline->client = NULL;
    pipeline->server = NULL;
    pipeline->listener = NULL;
    pipeline->scheduler = NULL;
    pipeline->replays = NULL;
    pipeline->notices = NULL;
    pipeline->accept = NULL;
    while (io_busy(pipeline->io)) {
        io_run_turn(pipeline->io, -1);
    }
}

void pipeline_destroy(struct pipeline *pipeline)
{
    if (pipeline == NULL) {
        return;
    }
    end_parts(pipeline);
    buf_fini(&pipeline->events_target);
    access_set(&pipeline->access, NULL);
    secrets_release(pipeline->secrets);
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
    const struct delayed_options delayed = {.shard = &pipeline->shard};
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
    enum err err;
};

static void deliver_one(void *context, struct store_topic *stored)
{
    struct deliver_walk *walk = context;
    struct topic *topic = topic_of(stored);

    if (walk->err == ERR_OK && topic != NULL && topic_is_delivered(topic)) {
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
    end_parts(pipeline);
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
    if (pipeline->draining || pipeline->handing) {
        return;
    }
    pipeline->draining = true;
    pipeline->shard.stopping = true;
    io_hook_add(pipeline->io, &pipeline->drain_hook);
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
    pipeline->cut = true;
    deliverer_cut(pipeline->deliverer);
    if (pipeline->handing && !pipeline->draining) {
        http_server_cut_uploads(pipeline->server);
    } else {
        http_server_cut(pipeline->server);
    }
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

/* Have the store write what it has in memory, beside other work. */
static void prepare_store(struct pipeline *pipeline)
{
    pipeline->prepared_ms = io_now_ms(pipeline->io);
    store_prepare_close(pipeline->store);
}

/* Tell whether no target is slow to answer what it has, so that the end of all
 * deliveries would be short. Until then fast ones go on. */
static bool slow_are_done(struct pipeline *pipeline)
{
    enum { SLOW_MS = 100, LOOK_MS = 20 };
    uint64_t now_ms = io_now_ms(pipeline->io);

    if (pipeline->cut) {
        return true; /* they had their time */
    }
    if (now_ms < pipeline->look_ms) {
        return false;
    }
    pipeline->look_ms = now_ms + LOOK_MS;
    io_timer_start(pipeline->io, &pipeline->look_timer, LOOK_MS);
    return deliverer_hold_slow(pipeline->deliverer, SLOW_MS,
                               atomic_load(&pipeline->stop_ms));
}

static void look_due(struct io_timer *timer)
{
    (void)timer; /* so that there is a turn */
}

/* Each turn before connections are held: take the next step when there is one,
 * and count this shard when nothing is under way that would be done twice, and
 * little is in memory. */
static void quiet_look(struct pipeline *pipeline)
{
    enum { PREPARED_MS = 2000 }; /* after which it is worth doing once more */
    struct shard_group *group = pipeline->shard.group;

    if (pipeline->quiet || !store_close_prepared(pipeline->store)) {
        return; /* its end makes a turn */
    }
    if (!pipeline->ending && !slow_are_done(pipeline)) {
        return;
    }
    if (!pipeline->ending) {
        pipeline->ending = true;
        http_server_hold_uploads(pipeline->server);
        deliverer_drain(pipeline->deliverer, deliverer_drained, pipeline);
    }
    if (!pipeline->deliverer_drained ||
        listener_uploads(pipeline->listener) > 0) {
        return;
    }
    if (io_now_ms(pipeline->io) - pipeline->prepared_ms > PREPARED_MS) {
        prepare_store(pipeline);
        if (!store_close_prepared(pipeline->store)) {
            return;
        }
    }
    pipeline->quiet = true;
    io_timer_stop(pipeline->io, &pipeline->cut_timer);
    if (atomic_fetch_add(&group->quiet, 1) + 1 == group->count) {
        post_all(group, offsetof(struct pipeline, hold_task));
    }
}

/* Each turn while draining: count this shard when nothing is left on it. */
static void drain_look(struct io_hook *hook)
{
    struct pipeline *pipeline = CONTAINER_OF(hook, struct pipeline, drain_hook);
    struct shard_group *group = pipeline->shard.group;

    if (pipeline->handing && !pipeline->draining) {
        quiet_look(pipeline);
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
                        uint32_t drain_ms,
                        pipeline_give *give,
                        void *context)
{
    pipeline->give = give;
    pipeline->give_context = context;
    atomic_store(&pipeline->stop_ms, drain_ms);
    io_post(pipeline->io, &pipeline->handover_task);
}

static void handover_arrived(struct io_task *task)
{
    struct pipeline *pipeline =
        CONTAINER_OF(task, struct pipeline, handover_task);

    if (pipeline->draining) {
        return;
    }
    pipeline->handing = true;
    io_hook_add(pipeline->io, &pipeline->drain_hook);
    io_timer_start(pipeline->io, &pipeline->cut_timer,
                   atomic_load(&pipeline->stop_ms));
    prepare_store(pipeline);
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

    pipeline->draining = true;
    io_timer_start(pipeline->io, &pipeline->cut_timer, HOLD_MS);
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
