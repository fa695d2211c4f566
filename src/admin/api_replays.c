/* Replays beside live delivery, a part of a topic's log once more, on a cursor
 * of its own: the list, one of them, and what is done to it.
 *
 * A replay is a view of the topic, of kind replay. Its id is that view's name,
 * random, so that it can be found without its topic: such calls visit all
 * shards. It stays there for a day when it is done, or until it is deleted.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_replays.h"

#include "admin/api_render.h"
#include "base/check.h"
#include "base/json_text.h"
#include "queue/answer.h"
#include "queue/replays.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <stdio.h>

struct replay_call {
    struct api_call base;
    struct shard *there;            /* borrowed: where it is */
    struct store_op op;             /* of a deletion or a pause */
    char topic[TOPIC_NAME_MAX + 1]; /* of the replay that goes, */
    char name[TOPIC_NAME_MAX + 1];  /* and its name */
    bool pausing;                   /* what a change says */
    bool found;                     /* on some shard */
    bool first;                     /* of a list, on its way */
};

static struct replay_call *task_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct replay_call, base);
}

/* --- showing -------------------------------------------------------------- */

/* Append `because`: what the message at the cursor is doing. */
static void append_because(const struct topic *replay, struct buf *to)
{
    struct delivery_view view;
    struct buf words = {0};

    deliverer_view(replay, &view);
    buf_append_format(&words, "message %" PRIu64 " ", view.sequence);
    api_render_because(&view, &words);
    json_text_append_text(to, "because", buf_str(&words));
    to->failed = to->failed || words.failed;
    buf_fini(&words);
}

/* Append ,"eta":"time" when its rate says when it will be done. */
static void
append_eta(const struct topic *replay, uint64_t left, struct buf *to)
{
    const struct settings_rate *rate = &replay->settings.rate;
    uint64_t now_ms = clock_wall_ms();

    if (rate->count > 0 && !replay->settings.paused &&
        left <= UINT32_MAX) { /* what is more is centuries, or no matter */
        json_text_append_time(to, "eta",
                              now_ms + left * rate->period_ms / rate->count);
    }
}

static const char *state_of(const struct topic *replay)
{
    if (replay->store->cursor.next >= replay->settings.replay_end) {
        return "done";
    }
    return replay->settings.paused ? "paused" : "running";
}

static void append_pace(uint32_t pace, struct buf *to)
{
    if (pace > 1) {
        buf_append_format(to, ",\"pace\":\"%" PRIu32 "x\"", pace);
    } else {
        buf_append_c(to,
                     pace == 1 ? ",\"pace\":\"original\"" : ",\"pace\":null");
    }
}

/* Append what it was begun with. */
static void append_wishes(const struct settings *settings, struct buf *to)
{
    if (settings->replay_of != NULL) {
        json_text_append_text(to, "subscription",
                              str_from(settings->replay_of));
    }
    buf_append_c(to, settings->replay_failed ? ",\"only\":\"failed\""
                                             : ",\"only\":null");
    append_pace(settings->replay_pace, to);
    buf_append_c(to, ",\"settings\":");
    settings_json(settings, SETTINGS_SUBSCRIPTION, to);
}

void api_replays_render(const struct topic *replay, struct buf *to)
{
    const struct settings *settings = &replay->settings;
    const struct store_topic *view = replay->store;
    uint64_t end = settings->replay_end;
    uint64_t position = view->cursor.next < end ? view->cursor.next : end;
    struct replays_counts counts;

    replays_counts(replay, &counts);
    buf_append_format(to, "{\"id\":\"%s\",\"topic\":\"%s\"", view->name,
                      view->parent->name);
    json_text_append_text(to, "state", str_from(state_of(replay)));
    json_text_append_number(to, "from", settings->replay_from);
    json_text_append_number(to, "end", end);
    json_text_append_number(to, "position", position);
    json_text_append_number(to, "left", end - position);
    json_text_append_number(to, "delivered", counts.sent);
    json_text_append_number(to, "attempts_failed",
                            replay->stats.attempts_failed);
    json_text_append_number(to, "given_up", counts.given_up);
    json_text_append_time(to, "created_at", settings->replay_created_ms);
    if (settings->replay_finished_ms > 0) {
        json_text_append_time(to, "finished_at", settings->replay_finished_ms);
    }
    if (position < end) {
        append_because(replay, to);
        append_eta(replay, end - position, to);
    }
    append_wishes(settings, to);
    buf_append_byte(to, '}');
}

struct walk {
    struct replay_call *task;
    struct str id;       /* to be found; empty: all are meant */
    struct topic *found; /* NULL: not here */
};

static void show_one(struct replay_call *task, const struct topic *replay)
{
    struct buf *to = &task->base.body;

    buf_append_c(to, task->first ? "\n" : ",\n");
    task->first = false;
    api_replays_render(replay, to);
}

static void walk_topic(void *context, struct store_topic *stored)
{
    struct walk *walk = context;
    const struct topic *topic = topic_of(stored);
    const struct list *all = topic != NULL ? &topic->subscriptions : NULL;

    for (struct list *link = all != NULL ? all->next : NULL; link != all;
         link = link->next) {
        struct topic *one = CONTAINER_OF(link, struct topic, link);
        if (one->settings.kind != SETTINGS_KIND_REPLAY) {
            continue;
        }
        if (walk->id.size == 0) {
            show_one(walk->task, one);
        } else if (str_equal(one->store->name_str, walk->id)) {
            walk->found = one;
        }
    }
}

/* Find the call's replay on this shard; NULL: it is not here. */
static struct topic *find(struct replay_call *task)
{
    struct walk walk = {.task = task, .id = str_from(task->base.topic)};

    store_topic_each(task->there->store, walk_topic, &walk);
    task->found = task->found || walk.found != NULL;
    return walk.found;
}

/* No shard had it. */
static void not_found(struct api_call *call)
{
    if (!task_of(call)->found) {
        api_call_problem(call, 404, "replay: not known");
    }
}

static void list_run(struct api_call *call, struct shard *there)
{
    struct walk walk = {.task = task_of(call)};

    store_topic_each(there->store, walk_topic, &walk);
    api_call_end(call);
}

static void list_finish(struct api_call *call)
{
    buf_append_c(&call->body, "]}\n");
}

static void get_run(struct api_call *call, struct shard *there)
{
    struct replay_call *task = task_of(call);

    task->there = there;
    const struct topic *replay = find(task);
    if (replay != NULL) {
        api_replays_render(replay, &call->body);
        buf_append_byte(&call->body, '\n');
        call->status = 200;
    }
    api_call_end(call);
}

/* Send a call that takes no parameters, to all shards. */
static void send_walk(const struct api_request *request,
                      void (*run)(struct api_call *call, struct shard *there),
                      void (*finish)(struct api_call *call),
                      bool pausing)
{
    struct str id = request->segments[0];

    if (id.size > 0 && !store_topic_name_valid(id)) {
        answer_problem(request->exchange, 404, "replay: not known", NULL);
        return;
    }
    if (!api_query_none(request)) {
        return;
    }
    struct api_call *call =
        api_call_create(request, sizeof(struct replay_call), run);
    if (call == NULL) {
        return;
    }
    struct replay_call *task = task_of(call);
    call->finish = finish;
    task->pausing = pausing;
    task->first = true;
    if (finish == list_finish) {
        call->large = true;
        buf_append_c(&call->body, "{\"replays\":[");
    }
    api_call_walk(call);
}

void api_replays_list(const struct api_request *request)
{
    send_walk(request, list_run, list_finish, false);
}

void api_replays_get(const struct api_request *request)
{
    send_walk(request, get_run, not_found, false);
}

/* --- changing ------------------------------------------------------------- */

static void deleted(struct store_op *op, enum err err)
{
    struct replay_call *task = CONTAINER_OF(op, struct replay_call, op);

    if (err == ERR_OK) {
        task->base.status = 204;
    } else {
        shard_subscription_again(task->there, str_from(task->topic),
                                 str_from(task->name));
        api_call_err(&task->base, err, "the replay could not be deleted");
    }
    api_call_end(&task->base);
}

static void delete_run(struct api_call *call, struct shard *there)
{
    struct replay_call *task = task_of(call);

    task->there = there;
    struct topic *replay = find(task);
    if (replay == NULL) {
        api_call_end(call);
        return;
    }
    /* It may be gone when that ends. */
    (void)snprintf(task->topic, sizeof(task->topic), "%s",
                   replay->store->parent->name);
    (void)snprintf(task->name, sizeof(task->name), "%s", replay->store->name);
    task->op = (struct store_op){.done = deleted};
    shard_subscription_delete(there, replay, &task->op);
}

void api_replays_delete(const struct api_request *request)
{
    send_walk(request, delete_run, not_found, false);
}

/* The store has brought back the settings that it had. */
static void pause_failed(struct replay_call *task)
{
    struct topic *replay = find(task);
    struct settings settings;

    settings_init(&settings);
    if (replay != NULL &&
        settings_read(replay->store->settings, &settings) == ERR_OK) {
        replay->settings.paused = settings.paused;
        topic_changed(replay);
        replays_changed(replay);
    }
    settings_fini(&settings);
}

static void paused(struct store_op *op, enum err err)
{
    struct replay_call *task = CONTAINER_OF(op, struct replay_call, op);

    if (err != ERR_OK) {
        pause_failed(task);
        api_call_err(&task->base, err, "the replay could not be changed");
        api_call_end(&task->base);
        return;
    }
    task->found = false; /* it may be gone meanwhile */
    get_run(&task->base, task->there);
}

static void pause_run(struct api_call *call, struct shard *there)
{
    struct replay_call *task = task_of(call);
    struct buf text = {0};

    task->there = there;
    struct topic *replay = find(task);
    if (replay == NULL) {
        api_call_end(call);
        return;
    }
    bool before = replay->settings.paused;
    replay->settings.paused = task->pausing;
    enum err err = topic_write(replay, &replay->settings, &text);
    if (err != ERR_OK) {
        replay->settings.paused = before;
        api_call_err(call, err, "the replay");
        api_call_end(call);
    } else {
        task->op = (struct store_op){.done = paused};
        topic_changed(replay);
        replays_changed(replay);
        store_topic_configure(replay->store, buf_str(&text),
                              &replay->store->retention, &task->op);
    }
    buf_fini(&text);
}

void api_replays_pause(const struct api_request *request)
{
    send_walk(request, pause_run, not_found,
              str_equal(str_from(request->word), STR("yes")));
}
