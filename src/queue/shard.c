/* Calls between shards, and the topics of one.
 *
 * A call travels as a posted task: the loop of the other shard is woken once
 * for any number of them. The bound is counted where the call comes from, so
 * no shared counter is touched.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/shard.h"

#include "base/check.h"
#include "base/diag.h"
#include "sys/pages.h"

static void call_returned(struct io_task *task)
{
    struct shard_call *call = CONTAINER_OF(task, struct shard_call, task);

    CHECK(call->home->calls > 0);
    call->home->calls--;
    call->returned(call);
}

static void call_arrived(struct io_task *task)
{
    struct shard_call *call = CONTAINER_OF(task, struct shard_call, task);

    call->run(call, call->there);
}

enum err
shard_send(struct shard *home, struct shard *there, struct shard_call *call)
{
    if (home->calls >= SHARD_CALLS_MAX) {
        return ERR_BUSY;
    }
    home->calls++;
    call->home = home;
    call->there = there;
    call->task.run = call_arrived;
    io_post(there->io, &call->task);
    return ERR_OK;
}

void shard_call_again(struct shard_call *call)
{
    io_post(call->there->io, &call->task);
}

void shard_call_return(struct shard_call *call)
{
    call->task.run = call_returned;
    io_post(call->home->io, &call->task);
}

struct shard *shard_owner(const struct shard *shard, struct str topic)
{
    const struct shard_group *group = shard->group;
    /* With one shard there is nothing to find out. */
    uint32_t index =
        group->count == 1 ? 0 : group->owner(group->context, topic);

    CHECK(index < group->count);
    return group->shards[index];
}

/* Tell whether it is a topic that people know as one. */
static bool is_counted(const struct store_topic *stored)
{
    return stored->parent == NULL && !topic_is_internal(stored->name_str);
}

/* Give a store's topic or view its place in the pipeline. */
static enum err attach(struct shard *shard, struct store_topic *stored)
{
    struct topic *topic = NULL;
    enum err err = topic_create(stored, &topic);
    if (err != ERR_OK) {
        return err;
    }
    err = shard->topic_added(shard, topic);
    if (err != ERR_OK) {
        topic_destroy(topic);
        return err;
    }
    shard->topic_count += is_counted(stored) ? 1 : 0;
    return ERR_OK;
}

static void end(struct shard *shard, struct topic *topic)
{
    shard->topic_removed(shard, topic);
    topic_destroy(topic);
}

static void detach(struct shard *shard, struct topic *topic)
{
    while (!list_empty(&topic->subscriptions)) {
        end(shard, CONTAINER_OF(topic->subscriptions.next, struct topic, link));
    }
    if (is_counted(topic->store)) {
        CHECK(shard->topic_count > 0);
        shard->topic_count--;
    }
    end(shard, topic);
}

struct attach_walk {
    struct shard *shard;
    uint32_t count; /* of those attached */
    enum err err;   /* the first failure */
};

static void attach_one(void *context, struct store_topic *stored)
{
    struct attach_walk *walk = context;

    if (walk->err == ERR_OK && topic_of(stored) == NULL) {
        pages_ahead(walk->count++);
        walk->err = attach(walk->shard, stored);
    }
    if (walk->err == ERR_OK && stored->parent == NULL) {
        store_view_each(stored, attach_one, walk);
    }
}

/* Give a topic its place, with its subscriptions. */
static enum err attach_all(struct shard *shard, struct store_topic *stored)
{
    struct attach_walk walk = {.shard = shard, .count = 1, .err = ERR_OK};

    attach_one(&walk, stored);
    if (walk.err != ERR_OK && topic_of(stored) != NULL) {
        detach(shard, topic_of(stored));
    }
    return walk.err;
}

enum err shard_topic(struct shard *shard,
                     struct str name,
                     bool create,
                     struct topic **out)
{
    struct store_topic *stored = NULL;
    enum err err = store_topic_open(shard->store, name, create, &stored);
    if (err != ERR_OK) {
        return err;
    }
    if (topic_of(stored) == NULL) {
        err = attach_all(shard, stored);
        if (err != ERR_OK) {
            return err;
        }
    }
    *out = topic_of(stored);
    return ERR_OK;
}

enum err shard_subscription(struct shard *shard,
                            struct topic *topic,
                            struct str name,
                            bool create,
                            struct topic **out)
{
    struct store_topic *view = NULL;
    enum err err = store_view_open(topic->store, name, create, &view);
    if (err != ERR_OK) {
        return err;
    }
    if (topic_of(view) == NULL) {
        err = attach(shard, view);
        if (err != ERR_OK) {
            return err;
        }
    }
    *out = topic_of(view);
    return ERR_OK;
}

void shard_subscription_unused(struct shard *shard,
                               struct topic *topic,
                               struct str name)
{
    struct store_topic *view = NULL;

    if (store_view_open(topic->store, name, false, &view) != ERR_OK ||
        !store_topic_unused(view)) {
        return;
    }
    if (topic_of(view) != NULL) {
        detach(shard, topic_of(view));
    }
    store_topic_unmake(view);
}

void shard_subscription_changed(struct shard *shard, struct topic *subscription)
{
    if (topic_is_delivered(subscription) == (subscription->delivery != NULL)) {
        topic_changed(subscription);
        return;
    }
    if (subscription->delivery != NULL) {
        shard->topic_removed(shard, subscription);
        return;
    }
    enum err err = shard->topic_added(shard, subscription);
    if (err != ERR_OK) {
        DIAG_ERROR("topic_not_delivered", "topic=%s err=%s",
                   subscription->title, err_text(err));
    }
}

void shard_subscription_delete(struct shard *shard,
                               struct topic *subscription,
                               struct store_op *op)
{
    struct store_topic *view = subscription->store;

    detach(shard, subscription);
    store_view_delete(view, op);
}

enum err shard_attach_topics(struct shard *shard)
{
    struct attach_walk walk = {.shard = shard, .err = ERR_OK};

    store_topic_each(shard->store, attach_one, &walk);
    return walk.err;
}

static void detach_one(void *context, struct store_topic *stored)
{
    struct shard *shard = context;

    if (topic_of(stored) != NULL) {
        detach(shard, topic_of(stored));
    }
}

void shard_detach_topics(struct shard *shard)
{
    store_topic_each(shard->store, detach_one, shard);
}

void shard_topic_unused(struct shard *shard, struct str name)
{
    struct store_topic *stored = NULL;

    if (store_topic_open(shard->store, name, false, &stored) != ERR_OK ||
        !store_topic_unused(stored)) {
        return;
    }
    if (topic_of(stored) != NULL) {
        detach(shard, topic_of(stored));
    }
    store_topic_unmake(stored);
}

void shard_topic_delete(struct shard *shard,
                        struct topic *topic,
                        struct store_op *op)
{
    struct store_topic *stored = topic->store;

    detach(shard, topic);
    store_topic_delete(stored, op);
}

void shard_topic_again(struct shard *shard, struct str name)
{
    struct topic *topic = NULL;
    enum err err = shard_topic(shard, name, false, &topic);

    /* Not found: its name was taken, and whose it is now was deleted, too. */
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        DIAG_ERROR("topic_not_delivered", "topic=%.*s err=%s", (int)name.size,
                   name.data, err_text(err));
    }
}

void shard_subscription_again(struct shard *shard,
                              struct str topic_name,
                              struct str name)
{
    struct topic *topic = NULL;
    struct topic *subscription = NULL;

    enum err err = shard_topic(shard, topic_name, false, &topic);
    if (err == ERR_OK) {
        err = shard_subscription(shard, topic, name, false, &subscription);
    }
    /* Not found: its topic was deleted meanwhile. */
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        DIAG_ERROR("topic_not_delivered", "topic=%.*s/%.*s err=%s",
                   STR_ARG(topic_name), STR_ARG(name), err_text(err));
    }
}
