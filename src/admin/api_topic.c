/* One topic: its figures, its settings, and what is done to it.
 *
 * Settings take effect at once and are durable when the answer comes; when
 * they cannot be made durable, the topic goes back to those it had. While a
 * change is under way the topic may be deleted, so it is looked up anew when
 * the store is done.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_render.h"
#include "admin/api_settings.h"
#include "base/check.h"
#include "queue/answer.h"
#include "queue/letters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct topic_call {
    struct api_call base;
    struct store_op op;
    struct shard *there;           /* borrowed: the topic's */
    struct api_reading reading;    /* of the oldest message not delivered */
    struct settings_change change; /* of a PUT */
    bool create;                   /* a PUT: the topic, when not there */
    bool created;
    uint64_t dead; /* live letters; API_RENDER_NONE: it has none of its own */
    uint32_t hops; /* shards visited, see topic_next() */
    void (*work)(struct api_call *call, struct shard *there);
    uint64_t before; /* of a purge */
};

static struct topic_call *topic_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct topic_call, base);
}

static void topic_call_release(struct api_call *call)
{
    settings_change_fini(&topic_call_of(call)->change);
}

/* Find the call's topic; when it is not there the call ends, and NULL is
 * returned. */
static struct topic *find_topic(struct topic_call *task, bool create)
{
    struct topic *topic = NULL;
    enum err err =
        shard_topic(task->there, str_from(task->base.topic), create, &topic);

    if (err != ERR_OK) {
        api_call_err(&task->base, err, "topic");
        api_call_end(&task->base);
        return NULL;
    }
    return topic;
}

/* Its dead letters may be another shard's: they are counted first. */
static struct shard *topic_next(struct api_call *call)
{
    struct topic_call *task = topic_call_of(call);
    struct str name = str_from(call->topic);
    char dead[TOPIC_NAME_MAX + 1];

    task->hops++;
    if (task->hops == 1 && !topic_is_dead(name)) {
        topic_dead_name(name, dead);
        return shard_owner(call->home, str_from(dead));
    }
    if (task->hops == 1) {
        task->hops = 2;
    }
    return task->hops == 2 ? shard_owner(call->home, name) : NULL;
}

static void count_letters(struct topic_call *task, struct shard *there)
{
    struct store_topic *stored = NULL;
    char dead[TOPIC_NAME_MAX + 1];

    topic_dead_name(str_from(task->base.topic), dead);
    task->dead = 0;
    if (store_topic_open(there->store, str_from(dead), false, &stored) ==
        ERR_OK) {
        task->dead = letters_count(stored);
    }
    api_call_end(&task->base);
}

static void topic_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);

    if (task->hops == 1) {
        count_letters(task, there);
    } else {
        task->work(call, there);
    }
}

static struct topic_call *create_call(const struct api_request *request,
                                      void (*work)(struct api_call *call,
                                                   struct shard *there))
{
    struct api_call *call =
        api_call_create(request, sizeof(struct topic_call), topic_run);

    if (call == NULL) {
        return NULL;
    }
    struct topic_call *task = topic_call_of(call);
    call->onward = topic_next;
    call->release = topic_call_release;
    task->work = work;
    task->dead = API_RENDER_NONE;
    settings_change_init(&task->change);
    return task;
}

/* --- show ----------------------------------------------------------------- */

static void show_ready(struct api_reading *reading);

static void show_end(struct topic_call *task, uint64_t age_ms)
{
    api_reading_close(&task->reading);
    struct topic *topic = find_topic(task, false);
    if (topic == NULL) {
        return;
    }
    api_render_topic(topic, age_ms, task->dead, &task->base.body);
    if (task->create) {
        api_settings_warn(&topic->settings,
                          pipeline_secrets(pipeline_of(task->there)),
                          &task->base.body);
    }
    buf_append_byte(&task->base.body, '\n');
    task->base.status = task->created ? 201 : 200;
    api_call_end(&task->base);
}

static void show_gone(struct api_reading *reading)
{
    struct topic_call *task = CONTAINER_OF(reading, struct topic_call, reading);

    api_call_err(&task->base, ERR_NOT_FOUND, "topic");
    api_call_end(&task->base);
}

/* A read ends by itself, also while the shard stops. */
static void show_stopping(struct api_reading *reading)
{
    (void)reading;
}

/* Read the message that the cursor is at, for its age. */
static void show_ready(struct api_reading *reading)
{
    struct topic_call *task = CONTAINER_OF(reading, struct topic_call, reading);
    const struct store_topic *stored = reading->reader->topic;
    struct record record;

    enum err err = api_reading_next(reading, stored->cursor.next, &record);
    if (err == ERR_AGAIN) {
        return;
    }
    uint64_t age_ms = API_RENDER_NONE;
    uint64_t now_ms = io_wall_ms(task->there->io);
    if (err == ERR_OK) {
        uint64_t at_ms = record.message.pushed_at_ms;
        age_ms = now_ms > at_ms ? now_ms - at_ms : 0;
    }
    show_end(task, age_ms);
}

/* Answer with the topic's figures. */
static void show(struct topic_call *task, struct topic *topic)
{
    if (deliverer_lag(topic) == 0) {
        show_end(task, API_RENDER_NONE);
        return;
    }
    task->reading.ready = show_ready;
    task->reading.gone = show_gone;
    task->reading.stopping = show_stopping;
    enum err err =
        api_reading_open(&task->reading, task->base.api, task->there, topic);
    if (err != ERR_OK) {
        show_end(task, API_RENDER_NONE);
        return;
    }
    show_ready(&task->reading);
}

static void get_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);

    task->there = there;
    struct topic *topic = find_topic(task, false);
    if (topic != NULL) {
        show(task, topic);
    }
}

void api_topic_get(const struct api_request *request)
{
    if (api_query_none(request)) {
        struct topic_call *task = create_call(request, get_run);
        if (task != NULL) {
            api_call_tour(&task->base);
        }
    }
}

/* --- settings ------------------------------------------------------------- */

/* The store has brought back the settings that the topic had; if it had none,
 * since it was made for them, it goes. */
static void put_failed(struct topic_call *task)
{
    struct str name = str_from(task->base.topic);
    struct topic *topic = NULL;
    struct settings settings;

    shard_topic_unused(task->there, name);
    if (shard_topic(task->there, name, false, &topic) != ERR_OK) {
        return;
    }
    settings_init(&settings);
    if (settings_read(topic->store->settings, &settings) != ERR_OK) {
        settings_fini(&settings);
        return;
    }
    settings_fini(&topic->settings);
    topic->settings = settings;
    topic_changed(topic);
}

static void configured(struct store_op *op, enum err err)
{
    struct topic_call *task = CONTAINER_OF(op, struct topic_call, op);
    struct topic *topic = NULL;

    if (err == ERR_OK) {
        topic = find_topic(task, false);
        if (topic != NULL) {
            show(task, topic);
        }
        return;
    }
    put_failed(task);
    api_call_err(&task->base, err, "the settings could not be stored");
    api_call_end(&task->base);
}

/* What a topic's settings become, and as the store keeps them. */
static enum err change_settings(const struct topic_call *task,
                                const struct topic *topic,
                                struct settings *settings,
                                struct buf *text)
{
    enum err err = settings_copy(settings, &topic->settings);

    if (err == ERR_OK) {
        err = settings_change_apply(&task->change, settings);
    }
    return err == ERR_OK ? topic_write(topic, settings, text) : err;
}

static void put_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);
    struct settings settings;
    struct buf text = {0};

    task->there = there;
    struct topic *topic = NULL;
    if (task->create) {
        struct store_topic *stored = NULL;
        task->created = store_topic_open(there->store, str_from(call->topic),
                                         false, &stored) == ERR_NOT_FOUND;
    }
    topic = find_topic(task, task->create);
    if (topic == NULL) {
        return;
    }
    settings_init(&settings);
    enum err err = change_settings(task, topic, &settings, &text);
    const char *conflict = settings_conflict(&settings);
    if (err != ERR_OK || conflict != NULL) {
        settings_fini(&settings);
        put_failed(task);
        if (err != ERR_OK) {
            api_call_err(call, err, "all settings together");
        } else {
            api_call_problem(call, 409, conflict);
        }
        api_call_end(call);
    } else {
        task->op.done = configured;
        settings_fini(&topic->settings);
        topic->settings = settings;
        store_topic_configure(topic->store, buf_str(&text), &settings.retention,
                              &task->op);
        topic_changed(topic);
    }
    buf_fini(&text);
}

void api_topic_put(const struct api_request *request)
{
    struct api_refusals refusals = {0};
    struct topic_call *task = create_call(request, put_run);

    if (task == NULL) {
        return;
    }
    task->create = true;
    enum err err = api_settings_read(request->exchange, SETTINGS_TOPIC,
                                     &task->change, &refusals);
    if (api_settings_taken(&task->base, err, &refusals)) {
        api_call_tour(&task->base);
    }
}

static void send_pause(const struct api_request *request)
{
    struct buf detail = {0};
    struct topic_call *task = create_call(request, put_run);

    if (task == NULL) {
        return;
    }
    enum err err =
        settings_change_set(&task->change, SETTINGS_TOPIC, STR("paused"),
                            str_from(request->word), &detail);
    CHECK(err == ERR_OK); /* the routes have yes and no */
    api_call_tour(&task->base);
    buf_fini(&detail);
}

void api_topic_pause(const struct api_request *request)
{
    if (api_query_none(request)) {
        send_pause(request);
    }
}

/* --- purge ---------------------------------------------------------------- */

static void purged(struct store_op *op, enum err err)
{
    struct topic_call *task = CONTAINER_OF(op, struct topic_call, op);
    struct topic *topic = find_topic(task, false);

    if (topic == NULL) {
        return;
    }
    if (err == ERR_OK) {
        show(task, topic);
        return;
    }
    topic_changed(topic); /* back to where it was */
    api_call_err(&task->base, err, "the topic could not be purged");
    api_call_end(&task->base);
}

static void purge_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);

    task->there = there;
    struct topic *topic = find_topic(task, false);
    if (topic == NULL) {
        return;
    }
    task->op.done = purged;
    store_purge(topic->store, task->before, &task->op);
    topic_changed(topic);
}

void api_topic_purge(const struct api_request *request)
{
    static const char *const known[] = {"before", NULL};
    struct form form = {0};
    uint64_t before = UINT64_MAX; /* all */

    if (api_query(request, known, &form) &&
        api_query_number(request, &form, "before", UINT64_MAX, &before)) {
        struct topic_call *task = create_call(request, purge_run);
        if (task != NULL) {
            task->before = before;
            api_call_tour(&task->base);
        }
    }
    form_fini(&form);
}

/* --- delete --------------------------------------------------------------- */

static void deleted(struct store_op *op, enum err err)
{
    struct topic_call *task = CONTAINER_OF(op, struct topic_call, op);

    if (err == ERR_OK) {
        task->base.status = 204;
    } else {
        shard_topic_again(task->there, str_from(task->base.topic));
        api_call_err(&task->base, err, "the topic could not be deleted");
    }
    api_call_end(&task->base);
}

static void delete_run(struct api_call *call, struct shard *there)
{
    struct topic_call *task = topic_call_of(call);

    task->there = there;
    struct topic *topic = find_topic(task, false);
    if (topic == NULL) {
        return;
    }
    api_reading_forget(call->api, there, topic);
    task->op.done = deleted;
    shard_topic_delete(there, topic, &task->op);
}

void api_topic_delete(const struct api_request *request)
{
    if (api_query_none(request)) {
        struct topic_call *task = create_call(request, delete_run);
        if (task != NULL) {
            api_call_tour(&task->base);
        }
    }
}
