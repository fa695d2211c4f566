/* Replays beside live delivery: a part of a topic's log once more, on a cursor
 * of its own.
 *
 * A replay is a view of the topic, of kind replay. Its id is that view's name,
 * random, so that it can be found without its topic: such calls visit all
 * shards. It stays there for a day when it is done, or until it is deleted.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_place.h"
#include "admin/api_render.h"
#include "admin/api_replay_count.h"
#include "admin/api_settings.h"
#include "admin/api_view.h"
#include "base/check.h"
#include "base/json_text.h"
#include "base/wall_time.h"
#include "queue/answer.h"
#include "queue/replays.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    RETRIES = 3,     /* of a replay that does not say */
    PACE_MAX = 1000, /* as settings.def has it */
};

/* What a POST says of its own. */
enum replay_given {
    GIVEN_TOPIC = 1 << 0,
    GIVEN_SUBSCRIPTION = 1 << 1,
    GIVEN_FROM = 1 << 2,
    GIVEN_TO = 1 << 3,
    GIVEN_PACE = 1 << 4,
    GIVEN_DRY_RUN = 1 << 5,
    GIVEN_ONLY = 1 << 6,
};

struct replay_call {
    struct api_call base;
    struct shard *there;           /* borrowed: where it is */
    struct settings_change change; /* of a POST */
    struct api_place from;
    struct api_place to;
    unsigned given; /* a bit for each enum replay_given */
    uint32_t pace;  /* 0: not given */
    bool only_failed;
    bool dry_run;
    char subscription[TOPIC_NAME_MAX + 1]; /* as which it goes; empty: none */
    struct settings settings;              /* that it has */
    struct api_replay_count count;         /* of a dry run */
    struct api_view view;                  /* that is made, or changed */
    struct store_op op;                    /* of a deletion or a pause */
    bool pausing;                          /* what a change says */
    bool found;                            /* on some shard */
    bool first;                            /* of a list, on its way */
};

static struct replay_call *task_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct replay_call, base);
}

static void release(struct api_call *call)
{
    settings_change_fini(&task_of(call)->change);
    settings_fini(&task_of(call)->settings);
}

static struct replay_call *create_call(const struct api_request *request,
                                       void (*run)(struct api_call *call,
                                                   struct shard *there))
{
    struct api_call *call =
        api_call_create(request, sizeof(struct replay_call), run);

    if (call == NULL) {
        return NULL;
    }
    struct replay_call *task = task_of(call);
    call->release = release;
    settings_change_init(&task->change);
    settings_init(&task->settings);
    task->first = true;
    return task;
}

static void fail(struct replay_call *task, int status, const char *detail)
{
    api_call_problem(&task->base, status, detail);
    api_call_end(&task->base);
}

/* --- showing -------------------------------------------------------------- */

static bool is_replay(const struct topic *topic)
{
    return topic->settings.kind == SETTINGS_KIND_REPLAY;
}

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

static void render(const struct topic *replay, struct buf *to)
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
    render(replay, to);
}

static void walk_topic(void *context, struct store_topic *stored)
{
    struct walk *walk = context;
    const struct topic *topic = topic_of(stored);
    const struct list *all = topic != NULL ? &topic->subscriptions : NULL;

    for (struct list *link = all != NULL ? all->next : NULL; link != all;
         link = link->next) {
        struct topic *one = CONTAINER_OF(link, struct topic, link);
        if (!is_replay(one)) {
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
        render(replay, &call->body);
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
    if (api_query_none(request)) {
        struct replay_call *task = create_call(request, run);
        if (task != NULL) {
            task->base.finish = finish;
            task->pausing = pausing;
            if (finish == list_finish) {
                task->base.large = true;
                buf_append_c(&task->base.body, "{\"replays\":[");
            }
            api_call_walk(&task->base);
        }
    }
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

/* Note which view is changed: it may be gone when that ends. */
static void name_view(struct replay_call *task, const struct topic *replay)
{
    (void)snprintf(task->view.topic, sizeof(task->view.topic), "%s",
                   replay->store->parent->name);
    (void)snprintf(task->view.name, sizeof(task->view.name), "%s",
                   replay->store->name);
}

static void deleted(struct store_op *op, enum err err)
{
    struct replay_call *task = CONTAINER_OF(op, struct replay_call, op);

    if (err == ERR_OK) {
        task->base.status = 204;
    } else {
        shard_subscription_again(task->there, str_from(task->view.topic),
                                 str_from(task->view.name));
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
    name_view(task, replay);
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

/* --- beginning one -------------------------------------------------------- */

static void made(struct api_view *view, enum err err)
{
    struct replay_call *task = CONTAINER_OF(view, struct replay_call, view);
    struct topic *topic = NULL;
    struct topic *replay = NULL;

    if (err == ERR_OK) {
        err = shard_topic(task->there, str_from(view->topic), false, &topic);
    }
    if (err == ERR_OK) { /* which attaches it */
        err = shard_subscription(task->there, topic, str_from(view->name),
                                 false, &replay);
    }
    if (err != ERR_OK) {
        api_call_err(&task->base, err, "the replay could not be stored");
    } else {
        render(replay, &task->base.body);
        api_settings_warn(&replay->settings,
                          pipeline_secrets(pipeline_of(task->there)),
                          &task->base.body);
        buf_append_byte(&task->base.body, '\n');
        task->base.status = 201;
    }
    api_call_end(&task->base);
}

/* What a replay goes as: a subscription, or the topic itself.
 * Errors: ERR_NOT_FOUND, ERR_EXISTS (it is not one that delivers) */
static enum err find_base(struct replay_call *task,
                          struct topic *topic,
                          struct topic **out_base)
{
    *out_base = topic;
    if (task->subscription[0] == '\0') {
        return ERR_OK;
    }
    enum err err = shard_subscription(
        task->there, topic, str_from(task->subscription), false, out_base);
    if (err == ERR_OK && is_replay(*out_base)) {
        return ERR_NOT_FOUND;
    }
    if (err == ERR_OK && (*out_base)->settings.kind != SETTINGS_KIND_PUSH) {
        return ERR_EXISTS;
    }
    return err;
}

/* The settings that a replay has: those of what it goes as, and what the
 * request says.
 * Errors: those of find_base(), ERR_NOMEM */
static enum err settings_of(struct replay_call *task,
                            struct topic *topic,
                            struct settings *settings)
{
    struct topic *base = NULL;

    enum err err = find_base(task, topic, &base);
    if (err == ERR_OK) {
        err = settings_copy(settings, &base->settings);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (settings->retries == RETRY_FOREVER) {
        settings->retries = RETRIES; /* it is to come to an end */
    }
    err = settings_change_apply(&task->change, settings);
    settings->kind = SETTINGS_KIND_REPLAY;
    settings->paused = false;
    settings->hold = SETTINGS_HOLD_NO;
    settings->retention = (struct store_retention){0};
    settings->replay_pace = task->pace;
    settings->replay_failed = task->only_failed;
    settings->replay_created_ms = io_wall_ms(task->there->io);
    if (err == ERR_OK && task->subscription[0] != '\0') {
        settings->replay_of = strdup(task->subscription);
        err = settings->replay_of != NULL ? ERR_OK : ERR_NOMEM;
    }
    return err;
}

/* Find the range. Errors: those of api_place_find() */
static enum err find_range(const struct replay_call *task,
                           struct store_topic *stored,
                           struct settings *settings)
{
    enum err err = api_place_find(&task->from, stored, &settings->replay_from);

    settings->replay_end = stored->bounds.end;
    if (err == ERR_OK && (task->given & GIVEN_TO) != 0) {
        err = api_place_find(&task->to, stored, &settings->replay_end);
        bool within = settings->replay_end < stored->bounds.end;
        if (err == ERR_OK && task->to.kind == API_PLACE_SEQUENCE && within) {
            settings->replay_end++; /* the last one is replayed, too */
        }
    }
    if (err == ERR_OK && settings->replay_end < settings->replay_from) {
        err = ERR_RANGE;
    }
    return err;
}

static void counted(struct api_replay_count *count, enum err err)
{
    struct replay_call *task = CONTAINER_OF(count, struct replay_call, count);
    const struct settings *settings = &task->settings;
    struct buf *to = &task->base.body;

    if (err != ERR_OK) {
        api_call_err(&task->base, err, "counting the messages");
        api_call_end(&task->base);
        return;
    }
    bool complete = count->next >= settings->replay_end;
    buf_append_format(to,
                      "{\"topic\":\"%s\",\"from\":%" PRIu64 ",\"end\":%" PRIu64
                      ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64,
                      task->base.topic, settings->replay_from,
                      settings->replay_end, count->messages, count->bytes);
    if (count->messages > 0) {
        json_text_append_number(to, "first", count->first);
        json_text_append_number(to, "last", count->last);
    } else {
        buf_append_c(to, ",\"first\":null,\"last\":null");
    }
    json_text_append_number(to, "counted_to",
                            complete ? settings->replay_end : count->next);
    buf_append_format(to, ",\"complete\":%s,\"dry_run\":true}\n",
                      complete ? "true" : "false");
    api_call_end(&task->base);
}

/* Say what would be replayed. */
static void dry_run(struct replay_call *task, struct topic *topic)
{
    struct api_replay_count *count = &task->count;

    count->api = task->base.api;
    count->there = task->there;
    count->settings = &task->settings;
    count->done = counted;
    api_replay_count_begin(count, topic);
}

static void begin(struct replay_call *task,
                  struct topic *topic,
                  const struct settings *settings)
{
    struct api_view *view = &task->view;
    uint64_t number = 0;

    clock_random(&number, sizeof(number));
    view->made = made;
    view->there = task->there;
    memcpy(view->topic, task->base.topic, sizeof(view->topic));
    (void)snprintf(view->name, sizeof(view->name), "replay-%016" PRIx64,
                   number);
    api_view_make(view, topic, settings, settings->replay_from);
}

static void post_run(struct api_call *call, struct shard *there)
{
    struct replay_call *task = task_of(call);
    struct topic *topic = NULL;
    struct settings *settings = &task->settings;
    const char *subject = "topic";

    task->there = there;
    enum err err = shard_topic(there, str_from(call->topic), false, &topic);
    if (err == ERR_OK) {
        subject = "subscription";
        err = settings_of(task, topic, settings);
    }
    if (err == ERR_OK) {
        subject = "finding the place";
        err = find_range(task, topic->store, settings);
    }
    if (err == ERR_RANGE) {
        api_call_range(call, "from and to must be in order, and kept",
                       &topic->store->bounds);
        api_call_end(call);
    } else if (err == ERR_OK && settings->url != NULL &&
               !api_url_allowed(call->api, settings->url)) {
        fail(task, 400, "url points to an address that is not allowed");
    } else if (err == ERR_EXISTS) {
        fail(task, 409, "the subscription is not one of kind push");
    } else if (err != ERR_OK) {
        api_call_err(call, err, subject);
        api_call_end(call);
    } else if (task->dry_run) {
        dry_run(task, topic);
    } else {
        begin(task, topic, settings);
    }
}

/* Each takes a parameter of ours; returns what is wrong, or NULL. */
static const char *take_topic(struct replay_call *task, struct str value)
{
    if (!store_topic_name_valid(value)) {
        return "topic must be 1 to 128 of A-Z a-z 0-9 . _ - and not . or ..";
    }
    if (topic_is_internal(value) || topic_is_dead(value)) {
        return "messages of this topic are not delivered; dead letters are "
               "sent again by /opq/dlq/retry";
    }
    memcpy(task->base.topic, value.data, value.size);
    return NULL;
}

static const char *take_subscription(struct replay_call *task, struct str value)
{
    if (!store_topic_name_valid(value)) {
        return "subscription must be the name of one";
    }
    memcpy(task->subscription, value.data, value.size);
    return NULL;
}

static const char *take_from(struct replay_call *task, struct str value)
{
    return api_place_read(value, &task->from) == ERR_OK
               ? NULL
               : "from must be " API_PLACE_WANTED;
}

static const char *take_to(struct replay_call *task, struct str value)
{
    return api_place_read(value, &task->to) == ERR_OK
               ? NULL
               : "to must be " API_PLACE_WANTED;
}

static const char *take_time(struct api_place *place, struct str value)
{
    place->kind = API_PLACE_TIME;
    return wall_time_parse(value, &place->value) == ERR_OK
               ? NULL
               : "from_time and to_time must be times as "
                 "2026-01-02T03:04:05Z, or Unix seconds";
}

static const char *take_from_time(struct replay_call *task, struct str value)
{
    return take_time(&task->from, value);
}

static const char *take_to_time(struct replay_call *task, struct str value)
{
    return take_time(&task->to, value);
}

static const char *take_pace(struct replay_call *task, struct str value)
{
    uint64_t speed = 1;

    if (!str_equal(value, STR("original")) &&
        (value.size == 0 || value.data[value.size - 1] != 'x' ||
         str_to_u64(str_cut(value, 0, value.size - 1), &speed) != ERR_OK ||
         speed < 1 || speed > PACE_MAX)) {
        return "pace must be original, or so many times as fast: 2x to 1000x";
    }
    task->pace = (uint32_t)speed;
    return NULL;
}

static const char *take_only(struct replay_call *task, struct str value)
{
    task->only_failed = str_equal(value, STR("failed"));
    return task->only_failed ? NULL : "only must be failed";
}

static const char *take_dry_run(struct replay_call *task, struct str value)
{
    task->dry_run = str_equal(value, STR("1")) ||
                    str_equal(value, STR("yes")) ||
                    str_equal(value, STR("true"));
    return task->dry_run ? NULL : "dry_run must be 1";
}

/* Those of ours, by what they say: no two of one kind. */
static const struct parameter {
    const char *name;
    enum replay_given given;
    const char *(*take)(struct replay_call *task, struct str value);
} parameters[] = {
    {"topic", GIVEN_TOPIC, take_topic},
    {"subscription", GIVEN_SUBSCRIPTION, take_subscription},
    {"from", GIVEN_FROM, take_from},
    {"from_time", GIVEN_FROM, take_from_time},
    {"to", GIVEN_TO, take_to},
    {"to_time", GIVEN_TO, take_to_time},
    {"pace", GIVEN_PACE, take_pace},
    {"only", GIVEN_ONLY, take_only},
    {"dry_run", GIVEN_DRY_RUN, take_dry_run},
};

enum { PARAMETER_COUNT = sizeof(parameters) / sizeof(parameters[0]) };

static const struct parameter *find_parameter(struct str name)
{
    for (unsigned index = 0; index < PARAMETER_COUNT; index++) {
        if (str_equal(name, str_from(parameters[index].name))) {
            return &parameters[index];
        }
    }
    return NULL;
}

static const char *take_own(struct replay_call *task,
                            const struct parameter *parameter,
                            struct str value)
{
    if ((task->given & parameter->given) != 0) {
        return "a parameter is given twice";
    }
    task->given |= parameter->given;
    return parameter->take(task, value);
}

/* Tell whether a setting of subscriptions is one that a replay takes. */
static bool is_taken(struct str name)
{
    static const char *const taken[] = {
        "url",     "filter",         "headers",          "order",
        "timeout", "retry_schedule", "permanent_status", "concurrency",
        "rate",    "retries",        "secret",           NULL,
    };
    unsigned index = 0;

    while (taken[index] != NULL && !str_equal(name, str_from(taken[index]))) {
        index++;
    }
    return taken[index] != NULL;
}

/* Take one value of the request. */
static enum err
take(void *context, struct str name, struct str value, struct buf *detail)
{
    struct replay_call *task = context;
    const struct parameter *parameter = find_parameter(name);
    const char *wrong = NULL;

    if (parameter != NULL) {
        wrong = take_own(task, parameter, str_trim(value));
        buf_append_c(detail, wrong != NULL ? wrong : "");
        return wrong != NULL ? ERR_INVALID : ERR_OK;
    }
    if (!is_taken(name)) {
        buf_append_c(detail, "unknown parameter: ");
        buf_append_str(detail, str_cut(name, 0, 64));
        return ERR_INVALID;
    }
    enum err err = settings_change_set(&task->change, SETTINGS_SUBSCRIPTION,
                                       name, value, detail);
    if (err == ERR_OK && str_equal(name, STR("retries")) &&
        task->change.values.retries == RETRY_FOREVER) {
        wrong = "retries must be a number: a replay comes to its end";
    }
    buf_append_c(detail, wrong != NULL ? wrong : "");
    return wrong != NULL ? ERR_INVALID : err;
}

void api_replays_post(const struct api_request *request)
{
    struct api_refusals refusals = {0};
    struct replay_call *task = create_call(request, post_run);

    if (task == NULL) {
        return;
    }
    task->from.kind = API_PLACE_OLDEST;
    enum err err = api_settings_each(request->exchange, take, task, &refusals);
    if ((task->given & GIVEN_TOPIC) == 0) {
        buf_append_c(&refusals.detail, "topic is missing");
        api_refusals_add(&refusals);
        err = err == ERR_OK ? ERR_INVALID : err;
    }
    if (api_settings_taken(&task->base, err, &refusals)) {
        api_call_send(&task->base);
    }
}
