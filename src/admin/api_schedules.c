/* Schedules: the list, one of them, and what is done to it.
 *
 * A schedule is on the shard that owns its internal topic; the list visits all
 * shards, takes from each its own first ids behind `after`, one more than the
 * page has room for, and merges them at home.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "base/check.h"
#include "base/json_scan.h"
#include "base/json_text.h"
#include "base/wall_time.h"
#include "queue/answer.h"
#include "queue/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- showing -------------------------------------------------------------- */

/* Append ,"name":"time" or ,"name":null. */
static void append_time(struct buf *to, const char *name, uint64_t ms)
{
    if (ms != 0) {
        json_text_append_time(to, name, ms);
    } else {
        buf_append_format(to, ",\"%s\":null", name);
    }
}

/* Append a time as the clock of its zone shows it, with its offset. */
static void
append_local(struct buf *to, const struct zone *zone, uint64_t next_ms)
{
    int64_t second = (int64_t)(next_ms / 1000);
    int32_t offset = zone_span_of(zone, second).offset;
    struct zone_time time = zone_time_at(second, offset);
    int32_t size = offset < 0 ? -offset : offset;

    buf_append_format(
        to, ",\"next_local\":\"%04d-%02d-%02dT%02d:%02d:%02d%c%02d:%02d\"",
        (int)time.year, time.month, time.day, time.hour, time.minute,
        time.second, offset < 0 ? '-' : '+', size / 3600, size / 60 % 60);
}

/* Append a member of a definition as it was written, when it has it. */
static void append_member(struct buf *to, struct str json, const char *wanted)
{
    struct json_scan scan = json_scan_of(json);
    struct json_scan_value object;
    struct json_scan_value name;
    struct json_scan_value value;

    if (json_scan_next(&scan, &object) != ERR_OK ||
        object.type != JSON_SCAN_OBJECT) {
        return;
    }
    scan = json_scan_enter(&object);
    while (json_scan_member(&scan, &name, &value) == ERR_OK) {
        struct str text = str_cut(name.text, 1, name.text.size - 2);
        if (str_equal(text, str_from(wanted))) {
            buf_append_format(to, ",\"%s\":", wanted);
            buf_append_str(to, value.text);
            return;
        }
    }
}

/* Append a schedule as a JSON object. */
static void
append_schedule(struct buf *to, const struct schedule *schedule, bool whole)
{
    const struct schedule_definition *definition = &schedule->definition;
    const struct schedule_state *state = &schedule->state;
    struct str json = buf_str(&definition->json);

    buf_append_format(to, "{\"id\":\"%s\"", schedule->id);
    json_text_append_text(to, "cron", str_from(definition->cron_text));
    json_text_append_text(to, "zone", str_from(definition->zone));
    append_member(to, json, "topic");
    append_member(to, json, "url");
    buf_append_format(to, ",\"missed\":\"%s\",\"paused\":%s",
                      definition->missed == SCHEDULE_MISSED_ONCE ? "once"
                                                                 : "skip",
                      state->paused ? "true" : "false");
    append_time(to, "next_at", schedule->next_ms);
    if (schedule->next_ms != 0) {
        append_local(to, schedule->zone, schedule->next_ms);
    }
    append_time(to, "since", state->since_ms);
    append_time(to, "last_due_at", state->due_ms);
    append_time(to, "last_run_at", state->run_ms);
    json_text_append_number(to, "runs", state->run_count);
    json_text_append_number(to, "refused", state->fail_count);
    if (schedule->retry_count > 0) {
        json_text_append_number(to, "retries", schedule->retry_count);
    }
    if (schedule->error[0] != '\0') {
        json_text_append_text(to, "error", str_from(schedule->error));
    }
    if (whole && json.size > 0) {
        buf_append_c(to, ",\"definition\":");
        buf_append_str(to, json);
    }
    buf_append_byte(to, '}');
}

/* --- one schedule --------------------------------------------------------- */

struct schedule_call {
    struct api_call base;
    struct scheduler_change change;
    struct scheduler_run run;
    struct scheduler *scheduler;    /* borrowed: that of the shard it is at */
    struct buf json;                /* owned: the definition of a PUT, */
    struct scheduler_target target; /* and where its runs go */
    bool checked;                   /* that somebody would get them */
    bool paused;
};

static struct schedule_call *schedule_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct schedule_call, base);
}

static void release(struct api_call *call)
{
    buf_fini(&schedule_call_of(call)->json);
}

/* The id of the call's schedule: its topic's name has it. */
static struct str id_of(const struct schedule_call *task)
{
    return schedule_id_of_topic(str_from(task->base.topic));
}

/* Make a call about the schedule of a request. When there is no memory, the
 * request is answered and NULL returned. */
static struct schedule_call *create_call(const struct api_request *request,
                                         void (*run)(struct api_call *call,
                                                     struct shard *there))
{
    struct api_call *call =
        api_call_create(request, sizeof(struct schedule_call), run);

    if (call == NULL) {
        return NULL;
    }
    call->release = release;
    int size =
        snprintf(call->topic, sizeof(call->topic), SCHEDULE_TOPIC_PREFIX "%.*s",
                 STR_ARG(request->segments[0]));
    CHECK(size > 0 && (size_t)size < sizeof(call->topic));
    return schedule_call_of(call);
}

/* End a call that failed. */
static void
fail(struct schedule_call *task, enum err err, const struct push_refusal *why)
{
    if (err == ERR_INVALID && why != NULL) {
        api_call_problem(&task->base, why->status, why->detail);
    } else if (err == ERR_BUSY) {
        api_call_problem(&task->base, 503,
                         "another change of this schedule is under way, there "
                         "are as many schedules as may be, or too much is "
                         "under way; try again");
    } else {
        api_call_err(&task->base, err, "schedule");
    }
    api_call_end(&task->base);
}

/* End a call with its schedule. */
static void show(struct schedule_call *task, int status)
{
    const struct schedule *schedule =
        scheduler_get(task->scheduler, id_of(task));

    if (schedule == NULL || schedule->fresh) {
        fail(task, ERR_NOT_FOUND, NULL);
        return;
    }
    append_schedule(&task->base.body, schedule, true);
    buf_append_byte(&task->base.body, '\n');
    task->base.status = status;
    api_call_end(&task->base);
}

static void changed(struct scheduler_change *change, enum err err)
{
    struct schedule_call *task =
        CONTAINER_OF(change, struct schedule_call, change);

    if (err != ERR_OK) {
        api_call_err(&task->base, err, "the schedule could not be changed");
        api_call_end(&task->base);
        return;
    }
    show(task, change->created ? 201 : 200);
}

static void get_run(struct api_call *call, struct shard *there)
{
    struct schedule_call *task = schedule_call_of(call);

    task->scheduler = pipeline_scheduler(pipeline_of(there));
    show(task, 200);
}

/* A definition without a URL goes by its topic first, which says whether it
 * has subscriptions, as it would to a push. */
static struct shard *put_next(struct api_call *call)
{
    struct schedule_call *task = schedule_call_of(call);

    if (!task->checked) {
        return shard_owner(call->home, str_from(task->target.topic));
    }
    return task->scheduler == NULL
               ? shard_owner(call->home, str_from(call->topic))
               : NULL;
}

static void check_run(struct schedule_call *task, struct shard *there)
{
    struct topic *topic = NULL;
    enum err err =
        shard_topic(there, str_from(task->target.topic), false, &topic);

    task->checked = true;
    if (err == ERR_NOT_FOUND ||
        (err == ERR_OK && !topic_has_subscriptions(topic))) {
        api_call_problem(&task->base, 400, push_task_err_text(ERR_INVALID));
    } else if (err != ERR_OK) {
        api_call_err(&task->base, err, "topic");
    }
    api_call_end(&task->base);
}

static void put_run(struct api_call *call, struct shard *there)
{
    struct schedule_call *task = schedule_call_of(call);
    struct push_refusal refusal;

    if (!task->checked) {
        check_run(task, there);
        return;
    }
    task->scheduler = pipeline_scheduler(pipeline_of(there));
    task->change.done = changed;
    enum err err = scheduler_put(task->scheduler, id_of(task),
                                 buf_str(&task->json), &task->change, &refusal);
    if (err != ERR_OK) {
        fail(task, err, &refusal);
    }
}

static void pause_run(struct api_call *call, struct shard *there)
{
    struct schedule_call *task = schedule_call_of(call);

    task->scheduler = pipeline_scheduler(pipeline_of(there));
    task->change.done = changed;
    enum err err = scheduler_pause(task->scheduler, id_of(task), task->paused,
                                   &task->change);
    if (err != ERR_OK) {
        fail(task, err, NULL);
    }
}

static void removed(struct scheduler_change *change, enum err err)
{
    struct schedule_call *task =
        CONTAINER_OF(change, struct schedule_call, change);

    if (err == ERR_OK) {
        task->base.status = 204;
    } else {
        api_call_err(&task->base, err, "the schedule could not be deleted");
    }
    api_call_end(&task->base);
}

static void delete_run(struct api_call *call, struct shard *there)
{
    struct schedule_call *task = schedule_call_of(call);
    struct topic *topic = NULL;

    task->scheduler = pipeline_scheduler(pipeline_of(there));
    task->change.done = removed;
    enum err err = shard_topic(there, str_from(call->topic), false, &topic);
    if (err == ERR_OK) {
        api_reading_forget(call->api, there, topic);
        err = scheduler_remove(task->scheduler, id_of(task), &task->change);
    }
    if (err != ERR_OK) {
        fail(task, err, NULL);
    }
}

static void run_done(struct scheduler_run *run, enum err err)
{
    struct schedule_call *task = CONTAINER_OF(run, struct schedule_call, run);

    if (err != ERR_OK) {
        api_call_problem(&task->base, answer_status(err), run->detail);
    } else {
        buf_append_c(&task->base.body, run->json);
        buf_append_byte(&task->base.body, '\n');
        task->base.status = 201;
    }
    api_call_end(&task->base);
}

static void run_run(struct api_call *call, struct shard *there)
{
    struct schedule_call *task = schedule_call_of(call);
    struct push_refusal refusal;

    task->scheduler = pipeline_scheduler(pipeline_of(there));
    task->run.done = run_done;
    enum err err =
        scheduler_run(task->scheduler, id_of(task), &task->run, &refusal);
    if (err != ERR_OK) {
        fail(task, err, &refusal);
    }
}

/* --- requests ------------------------------------------------------------- */

/* Make a call of a request that has no parameters; NULL: it is answered. */
static struct schedule_call *take_request(const struct api_request *request,
                                          void (*run)(struct api_call *call,
                                                      struct shard *there))
{
    return api_query_none(request) ? create_call(request, run) : NULL;
}

void api_schedules_get(const struct api_request *request)
{
    struct schedule_call *task = take_request(request, get_run);

    if (task != NULL) {
        api_call_send(&task->base);
    }
}

void api_schedules_delete(const struct api_request *request)
{
    struct schedule_call *task = take_request(request, delete_run);

    if (task != NULL) {
        api_call_send(&task->base);
    }
}

void api_schedules_run(const struct api_request *request)
{
    struct schedule_call *task = take_request(request, run_run);

    if (task != NULL) {
        api_call_send(&task->base);
    }
}

void api_schedules_pause(const struct api_request *request)
{
    struct schedule_call *task = take_request(request, pause_run);

    if (task != NULL) {
        task->paused = str_equal(str_from(request->word), STR("yes"));
        api_call_send(&task->base);
    }
}

/* Look at a definition before anything is begun for it. When it is refused, so
 * is the request. */
static bool check_put(const struct api_request *request,
                      struct schedule_call *task)
{
    struct http_exchange *exchange = request->exchange;
    struct push_refusal refusal;

    enum err err = scheduler_check(pipeline_scheduler(request->pipeline),
                                   exchange->body, &task->target, &refusal);
    if (err == ERR_INVALID) {
        answer_problem(exchange, refusal.status, refusal.detail, NULL);
        return false;
    }
    if (err == ERR_OK) {
        buf_append_str(&task->json, exchange->body);
        err = buf_err(&task->json);
    }
    if (err != ERR_OK) {
        answer_problem(exchange, 503, "out of memory", NULL);
        return false;
    }
    task->checked = task->target.addressed;
    return true;
}

void api_schedules_put(const struct api_request *request)
{
    struct http_exchange *exchange = request->exchange;

    if (api_has_control(exchange->head)) {
        answer_problem(exchange, 400,
                       "this call takes no Opq- headers: all of a schedule is "
                       "in its JSON",
                       NULL);
        return;
    }
    if (exchange->body.size > SCHEDULE_SIZE_MAX) {
        answer_problem(exchange, 413, "the body is too large for a schedule",
                       NULL);
        return;
    }
    struct schedule_call *task = take_request(request, put_run);
    if (task == NULL) {
        return;
    }
    if (!check_put(request, task)) {
        api_call_drop(&task->base);
        return;
    }
    task->base.onward = put_next;
    api_call_tour(&task->base);
}

/* --- the list ------------------------------------------------------------- */

/* A schedule of the page: its text is in the call's `text`. */
struct list_entry {
    char id[SCHEDULE_ID_MAX + 1];
    size_t start;
    size_t size;
};

struct list_call {
    struct api_call base;
    uint32_t limit;
    uint64_t total;
    char after[SCHEDULE_ID_MAX + 1];
    struct list_entry *entries; /* owned */
    uint32_t entry_count;
    struct buf text; /* owned */
};

static struct list_call *list_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct list_call, base);
}

static void list_release(struct api_call *call)
{
    free(list_call_of(call)->entries);
    buf_fini(&list_call_of(call)->text);
}

static void add_entry(struct list_call *list, const struct schedule *schedule)
{
    struct list_entry *entry = &list->entries[list->entry_count];

    memcpy(entry->id, schedule->id, sizeof(entry->id));
    entry->start = list->text.size;
    append_schedule(&list->text, schedule, false);
    entry->size = list->text.size - entry->start;
    list->entry_count++;
}

static void list_run(struct api_call *call, struct shard *there)
{
    struct list_call *list = list_call_of(call);
    struct scheduler *scheduler = pipeline_scheduler(pipeline_of(there));
    uint32_t count = scheduler_count(scheduler);
    uint32_t room = list->limit > 0 ? list->limit + 1 : 0;
    uint32_t index = scheduler_find(scheduler, str_from(list->after));

    list->total += count;
    struct list_entry *entries =
        realloc(list->entries,
                ((size_t)list->entry_count + room + 1) * sizeof(*entries));
    if (entries == NULL) {
        api_call_err(call, ERR_NOMEM, "the list");
        api_call_end(call);
        return;
    }
    list->entries = entries;
    for (; index < count && room > 0; index++) {
        const struct schedule *schedule = scheduler_at(scheduler, index);
        if (!schedule->fresh && strcmp(schedule->id, list->after) != 0) {
            add_entry(list, schedule);
            room--;
        }
    }
    api_call_end(call);
}

static int compare_entries(const void *left, const void *right)
{
    const struct list_entry *left_entry = left;
    const struct list_entry *right_entry = right;

    return strcmp(left_entry->id, right_entry->id);
}

static void list_finish(struct api_call *call)
{
    struct list_call *list = list_call_of(call);
    struct buf *to = &call->body;
    bool more = list->entry_count > list->limit;
    uint32_t end = more ? list->limit : list->entry_count;

    if (list->entry_count > 0) {
        qsort(list->entries, list->entry_count, sizeof(list->entries[0]),
              compare_entries);
    }
    buf_append_c(to, "{\"schedules\":[");
    for (uint32_t index = 0; index < end; index++) {
        const struct list_entry *entry = &list->entries[index];
        buf_append_c(to, index > 0 ? ",\n" : "\n");
        buf_append_str(
            to, str_cut(buf_str(&list->text), entry->start, entry->size));
    }
    buf_append_format(
        to, "],\"total\":%llu,\"next\":", (unsigned long long)list->total);
    if (more && end > 0) {
        buf_append_format(to, "\"%s\"", list->entries[end - 1].id);
    } else {
        buf_append_c(to, "null");
    }
    buf_append_c(to, "}\n");
    to->failed = to->failed || list->text.failed;
}

static void
list_start(const struct api_request *request, uint32_t limit, struct str after)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct list_call), list_run);

    if (call == NULL) {
        return;
    }
    struct list_call *list = list_call_of(call);
    call->large = true;
    call->finish = list_finish;
    call->release = list_release;
    list->limit = limit;
    if (after.size > 0) {
        memcpy(list->after, after.data, after.size);
    }
    api_call_walk(call);
}

void api_schedules_list(const struct api_request *request)
{
    static const char *const known[] = {"limit", "after", NULL};
    struct form form = {0};
    uint64_t limit = API_PAGE_DEFAULT;

    if (api_query(request, known, &form) &&
        api_query_number(request, &form, "limit", API_PAGE_MAX, &limit)) {
        const struct form_field *after = form_find(&form, STR("after"));
        struct str id = after != NULL ? after->value : (struct str){NULL, 0};
        list_start(request, (uint32_t)limit, str_cut(id, 0, SCHEDULE_ID_MAX));
    }
    form_fini(&form);
}
