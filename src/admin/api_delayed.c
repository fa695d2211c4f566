/* Delayed messages: the list, one of them, and cancelling it.
 *
 * The list goes through the hours in order. Each hour is on one shard, so a
 * page goes to all shards for the next hour that there is, then to the shard
 * that has it, and so on until it is full. A bucket is held while it is read,
 * so that it is not deleted meanwhile.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "base/check.h"
#include "base/json_text.h"
#include "base/wall_time.h"
#include "queue/answer.h"
#include "queue/delayed.h"
#include "store/store_show.h"

#include <stdio.h>
#include <string.h>

enum { SCAN_MAX = 10000 }; /* messages looked at for a page */

struct delayed_call {
    struct api_call base;
    struct api_reading reading;    /* open while it reads */
    struct delayed_bucket *bucket; /* held; NULL: none */
    struct delayed_cancel cancel;
    /* One message. */
    uint64_t bucket_id;
    uint64_t sequence;
    bool cancels; /* it is to be cancelled */
    enum delayed_state state;
    /* The list. */
    uint64_t from_ms;               /* due at this or later, */
    uint64_t to_ms;                 /* and before this */
    char topic[TOPIC_NAME_MAX + 1]; /* empty: all */
    uint32_t limit;
    uint32_t count;   /* on the page so far */
    uint32_t scanned; /* messages looked at */
    uint64_t hour;    /* where the page goes on, */
    uint64_t next;    /* and with which message there */
    uint64_t total;   /* that are delayed, in all */
    bool counted;     /* total is known */
    bool looking;     /* for the next hour: */
    uint32_t shard;   /* asked now */
    bool found;
    uint64_t found_hour; /* the first of those found, */
    uint32_t found_shard;
    bool full;
};

static struct delayed_call *delayed_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct delayed_call, base);
}

static struct delayed_call *of_reading(struct api_reading *reading)
{
    return CONTAINER_OF(reading, struct delayed_call, reading);
}

static const char not_ready[] =
    "the notes about delayed messages are being read after the start; try "
    "again";

/* --- on a shard ----------------------------------------------------------- */

static void part_end(struct delayed_call *task)
{
    api_reading_close(&task->reading);
    if (task->bucket != NULL) {
        delayed_release(task->bucket);
        task->bucket = NULL;
    }
    api_call_end(&task->base);
}

static void part_fail(struct delayed_call *task, int status, const char *why)
{
    api_call_problem(&task->base, status, why);
    part_end(task);
}

static bool open_reading(struct delayed_call *task, struct shard *there)
{
    enum err err = api_reading_open(&task->reading, task->base.api, there,
                                    delayed_topic(task->bucket));

    if (err != ERR_OK) {
        api_call_err(&task->base, err, "reading delayed messages");
        part_end(task);
    }
    return err == ERR_OK;
}

static const char *state_name(enum delayed_state state)
{
    switch (state) {
    case DELAYED_PENDING:
        return "delayed";
    case DELAYED_CANCELLED:
        return "cancelled";
    default:
        return "handed_on";
    }
}

/* Append why a message is not delivered, and until when, if that is known. */
static void append_why(const struct delayed_call *task,
                       uint64_t due_ms,
                       enum delayed_state state,
                       struct buf *to)
{
    const struct shard *there = task->reading.place->shard;

    if (state == DELAYED_CANCELLED) {
        json_text_append_text(to, "because", STR("was cancelled"));
    } else if (state != DELAYED_PENDING) {
        json_text_append_text(to, "because",
                              STR("was handed on to its topic, or is on its "
                                  "way there"));
    } else if (due_ms > io_wall_ms(there->io)) {
        json_text_append_text(to, "because", STR("is not due yet"));
        json_text_append_time(to, "until", due_ms);
    } else if (store_stats(there->store)->disk_low) {
        json_text_append_text(to, "because",
                              STR("is due, and is handed on to its topic when "
                                  "there is room on disk"));
    } else {
        json_text_append_text(to, "because",
                              STR("is due, and is about to be handed on to its "
                                  "topic"));
    }
}

/* Append a message: what is said of all, then what it is. */
static void render(struct delayed_call *task,
                   const struct record *record,
                   enum delayed_state state)
{
    struct buf *to = &task->base.body;
    const struct store_topic *stored = delayed_topic(task->bucket)->store;
    char id[DUE_ID_MAX];
    char *end = due_id_put(stored->id, record->sequence, id);

    buf_append_c(to, "{\"id\":\"");
    buf_append(to, id, (size_t)(end - id));
    buf_append_format(to, "\",\"state\":\"%s\"", state_name(state));
    if (record->message.options != NULL) {
        uint64_t due_ms = record->message.options->not_before_ms;
        json_text_append_time(to, "due", due_ms);
        append_why(task, due_ms, state, to);
    }
    store_show(record, to);
    buf_append_byte(to, '}');
}

/* --- the list: on a shard ------------------------------------------------- */

/* Tell whether a message belongs on the page. */
static bool is_listed(const struct delayed_call *task,
                      const struct record *record)
{
    const struct message_options *options = record->message.options;

    return options != NULL && options->not_before_ms >= task->from_ms &&
           options->not_before_ms < task->to_ms &&
           (task->topic[0] == '\0' ||
            str_equal(options->topic, str_from(task->topic))) &&
           delayed_look(task->bucket, record->sequence) == DELAYED_PENDING;
}

/* Read on in the hour, until the page is full or the hour ends. */
static void list_read(struct delayed_call *task)
{
    const struct store_bounds *bounds =
        &delayed_topic(task->bucket)->store->bounds;
    struct record record;

    while (task->count < task->limit && task->scanned < SCAN_MAX &&
           task->base.body.size < API_BYTES_MAX) {
        enum err err = api_reading_next(&task->reading, task->next, &record);
        if (err == ERR_AGAIN) {
            return;
        }
        if (err == ERR_RANGE && task->next < bounds->oldest) {
            task->next = bounds->oldest; /* what was before was given back */
            continue;
        }
        if (err == ERR_NOT_FOUND || err == ERR_RANGE) {
            task->hour++;
            task->next = 0;
            part_end(task);
            return;
        }
        if (err != ERR_OK) {
            api_call_err(&task->base, err, "reading delayed messages");
            part_end(task);
            return;
        }
        task->next = record.sequence + 1;
        task->scanned++;
        if (is_listed(task, &record)) {
            buf_append_c(&task->base.body, task->count > 0 ? ",\n" : "\n");
            render(task, &record, DELAYED_PENDING);
            task->count++;
        }
    }
    task->full = true;
    part_end(task);
}

/* Look which hour is next on this shard. */
static void list_look(struct delayed_call *task, struct delayed *delayed)
{
    const struct delayed_bucket *bucket = delayed_from(delayed, task->hour);

    if (!task->counted) {
        task->total += delayed_stats(delayed)->pending;
    }
    if (bucket != NULL &&
        (!task->found || delayed_hour(bucket) < task->found_hour)) {
        task->found = true;
        task->found_hour = delayed_hour(bucket);
        task->found_shard = task->shard;
    }
    part_end(task);
}

static void list_run(struct api_call *call, struct shard *there)
{
    struct delayed_call *task = delayed_of(call);

    if (task->looking) {
        list_look(task, there->delayed);
        return;
    }
    struct delayed_bucket *bucket = delayed_from(there->delayed, task->hour);
    if (bucket == NULL || delayed_hour(bucket) != task->hour) {
        task->hour++; /* it is gone */
        task->next = 0;
        part_end(task);
        return;
    }
    if (delayed_look(bucket, 0) == DELAYED_NOT_READY) {
        part_fail(task, 503, not_ready);
        return;
    }
    delayed_hold(bucket);
    task->bucket = bucket;
    if (open_reading(task, there)) {
        list_read(task);
    }
}

/* --- the list: at home ---------------------------------------------------- */

static struct shard *look_at(struct delayed_call *task, uint32_t index)
{
    task->looking = true;
    task->shard = index;
    return task->base.home->group->shards[index];
}

/* Where the page goes next; NULL: it is done. */
static struct shard *list_onward(struct api_call *call)
{
    struct delayed_call *task = delayed_of(call);
    const struct shard_group *group = call->home->group;

    if (task->full) {
        return NULL;
    }
    if (!task->looking) { /* an hour was read */
        task->found = false;
        return look_at(task, 0);
    }
    if (task->shard + 1 < group->count) {
        return look_at(task, task->shard + 1);
    }
    task->counted = true;
    if (!task->found || task->found_hour > task->to_ms / DELAYED_HOUR_MS) {
        return NULL;
    }
    if (task->limit == 0) {
        task->full = true;
        return NULL;
    }
    task->looking = false;
    if (task->found_hour != task->hour) {
        task->hour = task->found_hour;
        task->next = 0;
    }
    return group->shards[task->found_shard];
}

static void list_finish(struct api_call *call)
{
    const struct delayed_call *task = delayed_of(call);
    struct buf *to = &call->body;

    buf_append_format(
        to, "],\"total\":%llu,\"next\":", (unsigned long long)task->total);
    if (task->full && task->limit > 0) {
        buf_append_format(to, "\"%llu-%llu\"", (unsigned long long)task->hour,
                          (unsigned long long)task->next);
    } else {
        buf_append_c(to, "null");
    }
    buf_append_c(to, "}\n");
}

/* Read a time of the query into `*at_ms`. Answers and returns false when it is
 * wrong. */
static bool read_time(const struct api_request *request,
                      const struct form *form,
                      const char *name,
                      uint64_t *at_ms)
{
    const struct form_field *field = form_find(form, str_from(name));
    char detail[128];

    if (field == NULL || wall_time_parse(field->value, at_ms) == ERR_OK) {
        return true;
    }
    (void)snprintf(detail, sizeof(detail),
                   "%s must be a time as 2026-01-02T03:04:05Z or as Unix "
                   "seconds",
                   name);
    answer_problem(request->exchange, 400, detail, NULL);
    return false;
}

/* Read `cursor`: where the page before ended. */
static bool read_cursor(const struct api_request *request,
                        const struct form *form,
                        struct delayed_call *task)
{
    const struct form_field *field = form_find(form, STR("cursor"));
    uint64_t hour = 0;
    uint64_t next = 0;

    task->hour = task->from_ms / DELAYED_HOUR_MS;
    if (field == NULL) {
        return true;
    }
    size_t dash = str_find(field->value, '-');
    if (str_to_u64(str_cut(field->value, 0, dash), &hour) != ERR_OK ||
        str_to_u64(str_cut(field->value, dash + 1, field->value.size), &next) !=
            ERR_OK ||
        hour >= UINT64_MAX / DELAYED_HOUR_MS - 1) {
        answer_problem(request->exchange, 400,
                       "cursor must be what `next` of the page before said",
                       NULL);
        return false;
    }
    if (hour >= task->hour) {
        task->hour = hour;
        task->next = next;
    }
    return true;
}

static bool read_topic(const struct api_request *request,
                       const struct form *form,
                       struct delayed_call *task)
{
    const struct form_field *field = form_find(form, STR("topic"));

    if (field == NULL) {
        return true;
    }
    if (!store_topic_name_valid(field->value)) {
        answer_problem(request->exchange, 400,
                       "topic must be 1 to 128 of A-Z a-z 0-9 . _ - and not . "
                       "or ..",
                       NULL);
        return false;
    }
    memcpy(task->topic, field->value.data, field->value.size);
    return true;
}

static bool read_list(const struct api_request *request,
                      const struct form *form,
                      struct delayed_call *task)
{
    uint64_t limit = API_PAGE_DEFAULT;

    task->to_ms = UINT64_MAX;
    if (!api_query_number(request, form, "limit", API_PAGE_MAX, &limit) ||
        !read_time(request, form, "from", &task->from_ms) ||
        !read_time(request, form, "to", &task->to_ms) ||
        !read_cursor(request, form, task) || !read_topic(request, form, task)) {
        return false;
    }
    task->limit = (uint32_t)limit;
    return true;
}

/* --- one message: on a shard ---------------------------------------------- */

/* Show the message; it may have to wait for its bytes. */
static void one_read(struct delayed_call *task)
{
    struct record record;
    enum err err = api_reading_next(&task->reading, task->sequence, &record);

    if (err == ERR_AGAIN) {
        return;
    }
    if (err == ERR_OK && record.sequence == task->sequence) {
        render(task, &record, task->state);
        buf_append_byte(&task->base.body, '\n');
        task->base.status = 200; /* not to the shards that follow */
        part_end(task);
    } else if (err == ERR_OK || err == ERR_NOT_FOUND || err == ERR_RANGE) {
        part_fail(task, 404, "the message is damaged on disk");
    } else {
        api_call_err(&task->base, err, "reading the message");
        part_end(task);
    }
}

static void cancelled(struct delayed_cancel *cancel, enum err err)
{
    struct delayed_call *task =
        CONTAINER_OF(cancel, struct delayed_call, cancel);

    if (err == ERR_OK) {
        task->base.status = 204;
    } else {
        api_call_err(&task->base, err, "cancelling the message");
    }
    part_end(task);
}

static void one_cancel(struct delayed_call *task)
{
    if (task->state == DELAYED_HANDED) {
        part_fail(task, 409, "the message was handed on to its topic already");
        return;
    }
    task->cancel.done = cancelled;
    enum err err = delayed_cancel(task->bucket, task->sequence, &task->cancel);
    if (err != ERR_OK) {
        api_call_err(&task->base, err, "cancelling the message");
        part_end(task);
    }
}

static void one_run(struct api_call *call, struct shard *there)
{
    struct delayed_call *task = delayed_of(call);
    struct delayed_bucket *bucket =
        delayed_find(there->delayed, task->bucket_id);

    if (bucket == NULL) {
        api_call_end(call); /* on to the next shard */
        return;
    }
    delayed_hold(bucket);
    task->bucket = bucket;
    task->state = delayed_look(bucket, task->sequence);
    if (task->state == DELAYED_UNKNOWN) {
        part_end(task);
    } else if (task->state == DELAYED_NOT_READY) {
        part_fail(task, 503, not_ready);
    } else if (task->cancels) {
        one_cancel(task);
    } else if (open_reading(task, there)) {
        one_read(task);
    }
}

/* No shard knows it. */
static void one_finish(struct api_call *call)
{
    if (call->status == 0) {
        api_call_problem(call, 404,
                         "no such delayed message: it never was, or the hour "
                         "in which it was due is over");
    }
}

/* --- calls ---------------------------------------------------------------- */

static void delayed_ready(struct api_reading *reading)
{
    struct delayed_call *task = of_reading(reading);

    if (task->bucket_id != 0) {
        one_read(task);
    } else {
        list_read(task);
    }
}

/* Cannot be: a bucket that is held is not deleted. */
static void delayed_gone(struct api_reading *reading)
{
    (void)reading;
    CHECK(false);
}

/* A read ends by itself, also while the shard stops. */
static void delayed_stopping(struct api_reading *reading)
{
    (void)reading;
}

static struct delayed_call *
delayed_create_call(const struct api_request *request,
                    void (*run)(struct api_call *call, struct shard *there))
{
    struct api_call *call =
        api_call_create(request, sizeof(struct delayed_call), run);

    if (call == NULL) {
        return NULL;
    }
    struct delayed_call *task = delayed_of(call);
    task->reading.ready = delayed_ready;
    task->reading.gone = delayed_gone;
    task->reading.stopping = delayed_stopping;
    return task;
}

void api_delayed_list(const struct api_request *request)
{
    static const char *const known[] = {"topic", "from",   "to",
                                        "limit", "cursor", NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        struct delayed_call *task = delayed_create_call(request, list_run);
        if (task != NULL && read_list(request, &form, task)) {
            struct api_call *call = &task->base;
            call->large = true;
            call->onward = list_onward;
            call->finish = list_finish;
            buf_append_c(&call->body, "{\"delayed\":[");
            api_call_to(call, look_at(task, 0));
        } else if (task != NULL) {
            api_call_drop(&task->base);
        }
    }
    form_fini(&form);
}

/* GET or DELETE of a message. */
static void one_start(const struct api_request *request, bool cancels)
{
    uint64_t bucket_id = 0;
    uint64_t sequence = 0;

    if (due_id_read(request->segments[0], &bucket_id, &sequence) != ERR_OK ||
        bucket_id == 0) {
        answer_problem(request->exchange, 404,
                       "no such delayed message: its id is the one that the "
                       "push was answered with, dly_...",
                       NULL);
    } else if (api_query_none(request)) {
        struct delayed_call *task = delayed_create_call(request, one_run);
        if (task != NULL) {
            task->bucket_id = bucket_id;
            task->sequence = sequence;
            task->cancels = cancels;
            task->base.finish = one_finish;
            api_call_walk(&task->base);
        }
    }
}

void api_delayed_one(const struct api_request *request)
{
    one_start(request, false);
}

void api_delayed_cancel(const struct api_request *request)
{
    one_start(request, true);
}
