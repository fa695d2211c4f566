/* Beginning a replay: what a POST says, and the view that is made of it; or, of
 * a dry run, what it would be.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_replays.h"

#include "admin/api_place.h"
#include "admin/api_replay_count.h"
#include "admin/api_settings.h"
#include "admin/api_view.h"
#include "base/check.h"
#include "base/json_text.h"
#include "base/wall_time.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    RETRIES = 3,     /* of a replay that does not say */
    PACE_MAX = 1000, /* as settings.def has it */
};

/* What a POST says of its own. */
enum given {
    GIVEN_TOPIC = 1 << 0,
    GIVEN_SUBSCRIPTION = 1 << 1,
    GIVEN_FROM = 1 << 2,
    GIVEN_TO = 1 << 3,
    GIVEN_PACE = 1 << 4,
    GIVEN_DRY_RUN = 1 << 5,
    GIVEN_ONLY = 1 << 6,
};

struct post_call {
    struct api_call base;
    struct shard *there; /* borrowed: where it is */
    struct settings_change change;
    struct api_place from;
    struct api_place to;
    unsigned given; /* a bit for each enum given */
    uint32_t pace;  /* 0: not given */
    bool only_failed;
    bool dry_run;
    char subscription[TOPIC_NAME_MAX + 1]; /* as which it goes; empty: none */
    struct settings settings;              /* that it has */
    struct api_replay_count count;         /* of a dry run */
    struct api_view view;                  /* that is made */
};

static struct post_call *task_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct post_call, base);
}

static void release(struct api_call *call)
{
    settings_change_fini(&task_of(call)->change);
    settings_fini(&task_of(call)->settings);
}

static void fail(struct post_call *task, int status, const char *detail)
{
    api_call_problem(&task->base, status, detail);
    api_call_end(&task->base);
}

/* --- making it ------------------------------------------------------------ */

static void made(struct api_view *view, enum err err)
{
    struct post_call *task = CONTAINER_OF(view, struct post_call, view);
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
        api_replays_render(replay, &task->base.body);
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
static enum err
find_base(struct post_call *task, struct topic *topic, struct topic **out_base)
{
    *out_base = topic;
    if (task->subscription[0] == '\0') {
        return ERR_OK;
    }
    enum err err = shard_subscription(
        task->there, topic, str_from(task->subscription), false, out_base);
    if (err == ERR_OK && (*out_base)->settings.kind == SETTINGS_KIND_REPLAY) {
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
static enum err settings_of(struct post_call *task,
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
static enum err find_range(const struct post_call *task,
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
    struct post_call *task = CONTAINER_OF(count, struct post_call, count);
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
static void dry_run(struct post_call *task, struct topic *topic)
{
    struct api_replay_count *count = &task->count;

    count->api = task->base.api;
    count->there = task->there;
    count->settings = &task->settings;
    count->done = counted;
    api_replay_count_begin(count, topic);
}

static void begin(struct post_call *task,
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
    struct post_call *task = task_of(call);
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

/* --- the request ---------------------------------------------------------- */

/* Each takes a parameter of ours; returns what is wrong, or NULL. */
static const char *take_topic(struct post_call *task, struct str value)
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

static const char *take_subscription(struct post_call *task, struct str value)
{
    if (!store_topic_name_valid(value)) {
        return "subscription must be the name of one";
    }
    memcpy(task->subscription, value.data, value.size);
    return NULL;
}

static const char *take_from(struct post_call *task, struct str value)
{
    return api_place_read(value, &task->from) == ERR_OK
               ? NULL
               : "from must be " API_PLACE_WANTED;
}

static const char *take_to(struct post_call *task, struct str value)
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

static const char *take_from_time(struct post_call *task, struct str value)
{
    return take_time(&task->from, value);
}

static const char *take_to_time(struct post_call *task, struct str value)
{
    return take_time(&task->to, value);
}

static const char *take_pace(struct post_call *task, struct str value)
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

static const char *take_only(struct post_call *task, struct str value)
{
    task->only_failed = str_equal(value, STR("failed"));
    return task->only_failed ? NULL : "only must be failed";
}

static const char *take_dry_run(struct post_call *task, struct str value)
{
    task->dry_run = str_equal(value, STR("1")) ||
                    str_equal(value, STR("yes")) ||
                    str_equal(value, STR("true"));
    return task->dry_run ? NULL : "dry_run must be 1";
}

/* Those of ours, by what they say: no two of one kind. */
static const struct parameter {
    const char *name;
    enum given given;
    const char *(*take)(struct post_call *task, struct str value);
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

static const char *take_own(struct post_call *task,
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
    struct post_call *task = context;
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
    struct api_call *call =
        api_call_create(request, sizeof(struct post_call), post_run);

    if (call == NULL) {
        return;
    }
    struct post_call *task = task_of(call);
    call->release = release;
    settings_change_init(&task->change);
    settings_init(&task->settings);
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
