/* Subscriptions of a topic: the list, one of them, and what is done to it.
 *
 * One that is made is first there in the store alone, and attached (delivered,
 * found by pushes) when all of it is durable: settings, cursor, hold. When that
 * fails it is gone again. A change takes effect at once, as a topic's does, and
 * goes back when it cannot be made durable. While something is under way the
 * subscription may be deleted, so it is looked up anew when the store is done.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_place.h"
#include "admin/api_render.h"
#include "admin/api_settings.h"
#include "admin/api_view.h"
#include "base/check.h"
#include "queue/answer.h"

#include <string.h>

struct subscription_call;

/* One of the changes of a subscription. */
struct step {
    struct store_op op;
    struct subscription_call *task; /* borrowed */
};

enum { STEPS_MAX = 2 }; /* settings, hold */

struct subscription_call {
    struct api_call base;
    const struct api *api; /* borrowed */
    struct shard *there;   /* borrowed: the topic's */
    char name[TOPIC_NAME_MAX + 1];
    struct settings_change change; /* of a PUT */
    struct api_place place;        /* of a PUT that makes one, or a replay */
    bool create; /* a PUT: the subscription, when it is not there */
    bool created;
    struct api_view view; /* of one that is made */
    struct step steps[STEPS_MAX];
    uint32_t pending; /* steps under way, and one while they begin */
    enum err err;     /* the first that failed */
};

static struct subscription_call *task_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct subscription_call, base);
}

static void release(struct api_call *call)
{
    settings_change_fini(&task_of(call)->change);
}

static struct str name_of(const struct subscription_call *task)
{
    return str_from(task->name);
}

/* Make a call about the subscription of a request. When it cannot be, the
 * request is answered and NULL returned. */
static struct subscription_call *create_call(const struct api_request *request,
                                             void (*run)(struct api_call *call,
                                                         struct shard *there))
{
    struct str name = request->segments[1];

    if (name.size > 0 && !store_topic_name_valid(name)) {
        answer_problem(request->exchange, 400,
                       "a subscription is 1 to 128 of A-Z a-z 0-9 . _ - and "
                       "not . or ..",
                       NULL);
        return NULL;
    }
    struct api_call *call =
        api_call_create(request, sizeof(struct subscription_call), run);
    if (call == NULL) {
        return NULL;
    }
    struct subscription_call *task = task_of(call);
    if (name.size > 0) {
        memcpy(task->name, name.data, name.size);
    }
    call->release = release;
    task->api = request->api;
    settings_change_init(&task->change);
    return task;
}

/* End the call with a problem. */
static void fail(struct subscription_call *task, int status, const char *detail)
{
    api_call_problem(&task->base, status, detail);
    api_call_end(&task->base);
}

static void
fail_err(struct subscription_call *task, enum err err, const char *subject)
{
    api_call_err(&task->base, err, subject);
    api_call_end(&task->base);
}

/* Find the call's subscription; when it is not there the call ends, and NULL is
 * returned. */
static struct topic *find(struct subscription_call *task)
{
    struct topic *topic = NULL;
    struct topic *subscription = NULL;
    const char *subject = "topic";
    enum err err =
        shard_topic(task->there, str_from(task->base.topic), false, &topic);

    if (err == ERR_OK) {
        subject = "subscription";
        err = shard_subscription(task->there, topic, name_of(task), false,
                                 &subscription);
    }
    if (err == ERR_OK && !topic_is_subscription(subscription)) {
        err = ERR_NOT_FOUND;
    }
    if (err != ERR_OK) {
        fail_err(task, err, subject);
        return NULL;
    }
    return subscription;
}

/* End the call with its subscription. */
static void show(struct subscription_call *task)
{
    const struct topic *subscription = find(task);

    if (subscription == NULL) {
        return;
    }
    api_render_subscription(subscription, &task->base.body);
    if (task->create) {
        api_settings_warn(&subscription->settings,
                          pipeline_secrets(pipeline_of(task->there)),
                          &task->base.body);
    }
    buf_append_byte(&task->base.body, '\n');
    task->base.status = task->created ? 201 : 200;
    api_call_end(&task->base);
}

/* Send a call that takes no parameters. */
static void send_plain(const struct api_request *request,
                       void (*run)(struct api_call *call, struct shard *there))
{
    if (api_query_none(request)) {
        struct subscription_call *task = create_call(request, run);
        if (task != NULL) {
            api_call_send(&task->base);
        }
    }
}

/* --- show ----------------------------------------------------------------- */

static void get_run(struct api_call *call, struct shard *there)
{
    struct subscription_call *task = task_of(call);

    task->there = there;
    show(task);
}

void api_subscriptions_get(const struct api_request *request)
{
    send_plain(request, get_run);
}

static void list_run(struct api_call *call, struct shard *there)
{
    const struct topic *row[STORE_VIEWS_MAX];
    struct topic *topic = NULL;

    enum err err = shard_topic(there, str_from(call->topic), false, &topic);
    if (err != ERR_OK) {
        fail_err(task_of(call), err, "topic");
        return;
    }
    uint32_t count = api_render_sorted(topic, row);
    buf_append_c(&call->body, "{\"subscriptions\":[");
    for (uint32_t index = 0; index < count; index++) {
        buf_append_c(&call->body, index > 0 ? ",\n" : "\n");
        api_render_subscription(row[index], &call->body);
    }
    buf_append_c(&call->body, "]}\n");
    api_call_end(call);
}

void api_subscriptions_list(const struct api_request *request)
{
    if (api_query_none(request)) {
        struct subscription_call *task = create_call(request, list_run);
        if (task != NULL) {
            task->base.large = true;
            api_call_send(&task->base);
        }
    }
}

/* --- making one ----------------------------------------------------------- */

static void made(struct api_view *view, enum err err)
{
    struct subscription_call *task =
        CONTAINER_OF(view, struct subscription_call, view);

    if (err == ERR_OK) {
        show(task); /* which attaches it */
    } else {
        fail_err(task, err, "the subscription could not be stored");
    }
}

/* Make the subscription in the store. */
static void make(struct subscription_call *task,
                 struct topic *topic,
                 const struct settings *settings,
                 uint64_t start)
{
    struct api_view *view = &task->view;

    view->made = made;
    view->there = task->there;
    memcpy(view->topic, task->base.topic, sizeof(view->topic));
    memcpy(view->name, task->name, sizeof(view->name));
    api_view_make(view, topic, settings, start);
}

/* --- changing one --------------------------------------------------------- */

/* The store has brought back the settings that it had. */
static void change_failed(struct subscription_call *task)
{
    struct topic *topic = NULL;
    struct topic *subscription = NULL;
    struct settings settings;

    if (shard_topic(task->there, str_from(task->base.topic), false, &topic) !=
            ERR_OK ||
        shard_subscription(task->there, topic, name_of(task), false,
                           &subscription) != ERR_OK) {
        return;
    }
    settings_init(&settings);
    if (settings_read(subscription->store->settings, &settings) != ERR_OK) {
        settings_fini(&settings);
        return;
    }
    settings_fini(&subscription->settings);
    subscription->settings = settings;
    shard_subscription_changed(task->there, subscription);
    api_reading_changed(task->base.api, task->there, subscription);
}

static void change_done(struct store_op *op, enum err err);

static struct store_op *step_begin(struct subscription_call *task,
                                   unsigned index)
{
    struct step *step = &task->steps[index];

    step->task = task;
    step->op = (struct store_op){.done = change_done};
    task->pending++;
    return &step->op;
}

static void change_end(struct subscription_call *task)
{
    CHECK(task->pending > 0);
    task->pending--;
    if (task->pending > 0) {
        return;
    }
    if (task->err == ERR_OK) {
        show(task);
        return;
    }
    change_failed(task);
    fail_err(task, task->err, "the settings could not be stored");
}

static void change_done(struct store_op *op, enum err err)
{
    struct subscription_call *task = CONTAINER_OF(op, struct step, op)->task;

    task->err = task->err == ERR_OK ? err : task->err;
    change_end(task);
}

/* Give the subscription the settings, which are taken. */
static void change(struct subscription_call *task,
                   struct topic *subscription,
                   struct settings *settings)
{
    struct store_topic *view = subscription->store;
    struct buf text = {0};

    enum err err = topic_write(subscription, settings, &text);
    if (err != ERR_OK) {
        buf_fini(&text);
        fail_err(task, err, "all settings together");
        return;
    }
    settings_fini(&subscription->settings);
    subscription->settings = *settings;
    settings_init(settings);
    task->pending = 1;
    store_topic_configure(view, buf_str(&text), &view->retention,
                          step_begin(task, 0));
    if (settings_holds(&subscription->settings) != view->hold) {
        store_view_hold(view, settings_holds(&subscription->settings),
                        step_begin(task, 1));
    }
    shard_subscription_changed(task->there, subscription);
    api_reading_changed(task->base.api, task->there, subscription);
    buf_fini(&text);
    change_end(task);
}

/* --- PUT, pause, resume --------------------------------------------------- */

/* Tell why the settings cannot be those of a subscription; NULL: they can.
 * Before: the URL that it has; NULL for none. */
static const char *settings_fault(const struct subscription_call *task,
                                  const struct settings *settings,
                                  const char *before)
{
    bool pull = settings->kind == SETTINGS_KIND_PULL;

    if (!pull && topic_is_dead(str_from(task->base.topic))) {
        return "dead letters are not delivered: of their topic, kind must be "
               "pull";
    }
    if (!pull && settings->url == NULL) {
        return "url is missing or empty: kinds push and mirror need one";
    }
    if (settings->url != NULL &&
        (before == NULL || strcmp(before, settings->url) != 0) &&
        !api_url_allowed(task->api, settings->url)) {
        return "url points to an address that is not allowed";
    }
    return NULL;
}

/* With replays, which are views of the store, too. */
static uint32_t count_of(const struct topic *topic)
{
    const struct list *all = &topic->subscriptions;
    uint32_t count = 0;

    for (const struct list *link = all->next; link != all; link = link->next) {
        count++;
    }
    return count;
}

/* End the call: the place that was asked for is none of the topic's. */
static void fail_range(struct subscription_call *task,
                       const struct store_bounds *bounds)
{
    api_call_range(&task->base, "the sequence number is out of range", bounds);
    api_call_end(&task->base);
}

/* Make a new one of the settings, if it may be. */
static void begin_new(struct subscription_call *task,
                      struct topic *topic,
                      const struct settings *settings)
{
    struct str name = str_from(task->base.topic);
    const char *fault = settings_fault(task, settings, NULL);
    uint64_t start = 0;

    if (fault == NULL && count_of(topic) >= STORE_VIEWS_MAX) {
        fail(task, 409, "the topic has as many subscriptions as may be: 256");
        return;
    }
    enum err err = fault == NULL
                       ? api_place_find(&task->place, topic->store, &start)
                       : ERR_OK;
    if (fault == NULL && err == ERR_OK) {
        task->created = true;
        make(task, topic, settings, start);
        return;
    }
    const struct store_bounds bounds = topic->store->bounds;
    shard_topic_unused(task->there, name);
    if (fault != NULL) {
        fail(task, 400, fault);
    } else if (err == ERR_RANGE) {
        fail_range(task, &bounds);
    } else {
        fail_err(task, err, "finding the start");
    }
}

/* Change one that is there, if it may be. */
static void begin_change(struct subscription_call *task,
                         struct topic *subscription,
                         struct settings *settings)
{
    const char *fault =
        settings_fault(task, settings, subscription->settings.url);

    if (settings->kind != subscription->settings.kind) {
        fail(task, 409, "kind cannot change: delete the subscription first");
    } else if (fault != NULL) {
        fail(task, 400, fault);
    } else {
        change(task, subscription, settings);
    }
}

/* Find what is to be changed; NULL: it is to be made. When neither can be the
 * call ends, and false is returned. */
static bool find_to_put(struct subscription_call *task,
                        struct topic **out_topic,
                        struct topic **out_subscription)
{
    struct str name = str_from(task->base.topic);
    const char *subject = "topic";

    *out_subscription = NULL;
    enum err err = shard_topic(task->there, name, task->create, out_topic);
    if (err == ERR_OK) {
        subject = "subscription";
        err = shard_subscription(task->there, *out_topic, name_of(task), false,
                                 out_subscription);
    }
    if (err == ERR_OK && !topic_is_subscription(*out_subscription)) {
        fail(task, 409, "a replay has this name");
        return false;
    }
    if (err == ERR_OK || (err == ERR_NOT_FOUND && task->create)) {
        return true;
    }
    shard_topic_unused(task->there, name);
    fail_err(task, err, subject);
    return false;
}

static void put_run(struct api_call *call, struct shard *there)
{
    struct subscription_call *task = task_of(call);
    struct topic *topic = NULL;
    struct topic *subscription = NULL;
    struct settings settings;

    task->there = there;
    if (!find_to_put(task, &topic, &subscription)) {
        return;
    }
    settings_init(&settings);
    enum err err = subscription != NULL
                       ? settings_copy(&settings, &subscription->settings)
                       : ERR_OK;
    if (err == ERR_OK) {
        err = settings_change_apply(&task->change, &settings);
    }
    const char *conflict = settings_conflict(&settings);
    if (err != ERR_OK || conflict != NULL) {
        shard_topic_unused(there, str_from(call->topic));
    }
    if (err != ERR_OK) {
        fail_err(task, err, "the settings");
    } else if (conflict != NULL) {
        fail(task, 409, conflict);
    } else if (subscription != NULL) {
        begin_change(task, subscription, &settings);
    } else {
        begin_new(task, topic, &settings);
    }
    settings_fini(&settings);
}

/* Read what a PUT says. */
static enum err read_put(const struct api_request *request,
                         struct subscription_call *task,
                         struct api_refusals *refusals)
{
    struct api_settings_extra start = {.name = "start"};

    enum err err =
        api_settings_read_with(request->exchange, SETTINGS_SUBSCRIPTION,
                               &task->change, &start, refusals);
    if (start.given &&
        api_place_read(buf_str(&start.value), &task->place) != ERR_OK) {
        buf_append_c(&refusals->detail, "start must be " API_PLACE_WANTED);
        api_refusals_add(refusals);
        err = err == ERR_OK ? ERR_INVALID : err;
    }
    buf_fini(&start.value);
    return err;
}

void api_subscriptions_put(const struct api_request *request)
{
    struct api_refusals refusals = {0};
    struct subscription_call *task = create_call(request, put_run);

    if (task == NULL) {
        return;
    }
    task->create = true;
    enum err err = read_put(request, task, &refusals);
    if (api_settings_taken(&task->base, err, &refusals)) {
        api_call_send(&task->base);
    }
}

static void send_pause(const struct api_request *request)
{
    struct buf detail = {0};
    struct subscription_call *task = create_call(request, put_run);

    if (task == NULL) {
        return;
    }
    enum err err =
        settings_change_set(&task->change, SETTINGS_SUBSCRIPTION, STR("paused"),
                            str_from(request->word), &detail);
    CHECK(err == ERR_OK); /* the routes have yes and no */
    api_call_send(&task->base);
    buf_fini(&detail);
}

void api_subscriptions_pause(const struct api_request *request)
{
    if (api_query_none(request)) {
        send_pause(request);
    }
}

/* --- replay --------------------------------------------------------------- */

static void replayed(struct store_op *op, enum err err)
{
    struct subscription_call *task = CONTAINER_OF(op, struct step, op)->task;
    struct topic *subscription = NULL;

    if (err == ERR_OK) {
        show(task);
        return;
    }
    subscription = find(task);
    if (subscription != NULL) {
        topic_changed(subscription); /* back to where it was */
        fail_err(task, err, "the cursor could not be moved");
    }
}

static void replay_run(struct api_call *call, struct shard *there)
{
    struct subscription_call *task = task_of(call);
    uint64_t next = 0;

    task->there = there;
    struct topic *subscription = find(task);
    if (subscription == NULL) {
        return;
    }
    enum err err = api_place_find(&task->place, subscription->store, &next);
    if (err == ERR_RANGE) {
        fail_range(task, &subscription->store->bounds);
        return;
    }
    if (err != ERR_OK) {
        fail_err(task, err, "finding the place");
        return;
    }
    task->steps[0].task = task;
    task->steps[0].op = (struct store_op){.done = replayed};
    store_cursor_move(subscription->store, next, &task->steps[0].op);
    topic_changed(subscription);
    api_reading_changed(task->base.api, there, subscription);
}

void api_subscriptions_replay(const struct api_request *request)
{
    static const char *const known[] = {"to", NULL};
    struct form form = {0};
    struct api_place place;

    if (api_query(request, known, &form)) {
        const struct form_field *to = form_find(&form, STR("to"));
        if (to == NULL || api_place_read(to->value, &place) != ERR_OK) {
            answer_problem(request->exchange, 400,
                           "to must be " API_PLACE_WANTED, NULL);
        } else {
            struct subscription_call *task = create_call(request, replay_run);
            if (task != NULL) {
                task->place = place;
                api_call_send(&task->base);
            }
        }
    }
    form_fini(&form);
}

/* --- delete --------------------------------------------------------------- */

static void deleted(struct store_op *op, enum err err)
{
    struct subscription_call *task = CONTAINER_OF(op, struct step, op)->task;

    if (err == ERR_OK) {
        task->base.status = 204;
        api_call_end(&task->base);
        return;
    }
    shard_subscription_again(task->there, str_from(task->base.topic),
                             name_of(task));
    fail_err(task, err, "the subscription could not be deleted");
}

static void delete_run(struct api_call *call, struct shard *there)
{
    struct subscription_call *task = task_of(call);

    task->there = there;
    struct topic *subscription = find(task);
    if (subscription == NULL) {
        return;
    }
    task->steps[0].task = task;
    task->steps[0].op = (struct store_op){.done = deleted};
    api_reading_forget_subscription(task->base.api, there, subscription);
    shard_subscription_delete(there, subscription, &task->steps[0].op);
}

void api_subscriptions_delete(const struct api_request *request)
{
    send_plain(request, delete_run);
}
