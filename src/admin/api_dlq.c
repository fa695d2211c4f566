/* Dead letters of one topic or of all: listed, sent again, dropped.
 *
 * Of all topics: a call first visits all shards for the next few names of
 * topics with live letters (names_run), then their shards one after the other
 * (letters_run), and again, until the page is full, its time is over, or no
 * name is left. So the order is that of names, then of sequence numbers, and a
 * place in it is "name:number": what `next` gives and `cursor` takes.
 *
 * Every call is bounded: by the page, or DLQ_LOOK_MAX letters and DLQ_TIME_MS.
 * What it did not come to is behind `next`.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_render.h"
#include "base/check.h"
#include "base/wall_time.h"
#include "queue/answer.h"
#include "queue/letters.h"
#include "queue/letters_filter.h"
#include "queue/letters_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DLQ_LOOK_MAX = 10000, /* letters that a call looks at */
    DLQ_TIME_MS = 5000,
    DLQ_NAMES_MAX = 64, /* topics that are found at once */
    DLQ_TURN_MAX = 64,  /* letters that a list looks at in a turn */
    DLQ_TEXT_MAX = 128, /* bytes of a filter's text */
    DLQ_NAME_SIZE = TOPIC_NAME_MAX + 1,
};

enum dlq_deed { DLQ_LIST, DLQ_SEND, DLQ_DROP };

/* Where the call goes next. */
enum dlq_phase {
    DLQ_START,
    DLQ_NAMES,   /* on all shards */
    DLQ_LETTERS, /* on the shard of names[name] */
    DLQ_ORIGIN,  /* is there such a topic, without dead letters? */
    DLQ_OVER,
};

struct dlq_call {
    struct api_call base;
    enum dlq_deed deed;
    enum dlq_phase phase;
    struct letters_filter filter;
    char reason[DLQ_TEXT_MAX + 1]; /* of the filter, terminated; */
    char class[DLQ_TEXT_MAX + 1];  /* likewise */
    char subscription[DLQ_TEXT_MAX + 1];
    struct str topic;          /* asked for, in `asked`; empty: all */
    char asked[DLQ_NAME_SIZE]; /* terminated */
    char place[DLQ_NAME_SIZE]; /* topic to begin at, or that comes next */
    uint64_t sequence;         /* in it */
    uint32_t limit;            /* of a page */
    uint32_t count;            /* letters on it */
    uint32_t looked;           /* letters, in all */
    uint64_t due_ms;           /* of the home loop's clock, in all shards */
    uint64_t matched;          /* by jobs that ended */
    uint64_t done;             /* likewise */
    bool more;                 /* `place` and `sequence` are where to go on */
    bool sought;               /* names were, from `place` on, */
    bool behind;               /* but for it */
    uint32_t shard_index;      /* while names are sought */
    uint32_t name;             /* index: the topic where it is */
    uint32_t name_count;       /* in order */
    char (*names)[DLQ_NAME_SIZE]; /* owned; DLQ_NAMES_MAX of them */
    struct shard *there;          /* borrowed: where it is */
    struct api_reading reading;   /* of a list */
    struct io_timer timer;        /* of a list, for the next turn */
    struct letters_job job;
    struct buf memory; /* owned; of what a letter says */
};

static struct dlq_call *dlq_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct dlq_call, base);
}

static void dlq_release(struct api_call *call)
{
    struct dlq_call *task = dlq_call_of(call);

    free(task->names);
    buf_fini(&task->memory);
}

/* --- names ---------------------------------------------------------------- */

/* Keep the smallest names that there is room for, in order. */
static void name_add(struct dlq_call *task, const char *name)
{
    uint32_t place = task->name_count;

    while (place > 0 && strcmp(task->names[place - 1], name) > 0) {
        place--;
    }
    if (place == DLQ_NAMES_MAX) {
        return;
    }
    uint32_t last =
        task->name_count < DLQ_NAMES_MAX ? task->name_count : DLQ_NAMES_MAX - 1;
    memmove(task->names[place + 1], task->names[place],
            (last - place) * sizeof(task->names[0]));
    memcpy(task->names[place], name, strlen(name) + 1);
    task->name_count = last + 1;
}

static void names_visit(void *context, struct store_topic *stored)
{
    struct dlq_call *task = context;

    if (topic_of(stored) == NULL || !topic_is_dead(stored->name_str) ||
        letters_count(stored) == 0) {
        return;
    }
    int order = strcmp(stored->name, task->place);
    if (order > 0 || (order == 0 && !task->behind)) {
        name_add(task, stored->name);
    }
}

/* --- a list --------------------------------------------------------------- */

/* The topic is walked to its end: on with the next one. */
static void topic_end(struct dlq_call *task)
{
    api_reading_close(&task->reading);
    task->sequence = 0;
    task->name++;
    api_call_end(&task->base);
}

/* The call has done what it may: on at `sequence`. */
static void call_full(struct dlq_call *task)
{
    api_reading_close(&task->reading);
    task->more = true;
    api_call_end(&task->base);
}

static void dlq_fail(struct dlq_call *task, enum err err, const char *subject)
{
    api_reading_close(&task->reading);
    api_call_err(&task->base, err, subject);
    api_call_end(&task->base);
}

static bool list_is_full(const struct dlq_call *task)
{
    return task->count >= task->limit || task->looked >= DLQ_LOOK_MAX ||
           task->base.body.size >= API_BYTES_MAX ||
           io_now_ms(task->there->io) >= task->due_ms;
}

static bool list_match(struct dlq_call *task, const struct record *record)
{
    const struct message_options *options = record->message.options;
    struct str dead = options != NULL ? options->dead : (struct str){NULL, 0};
    struct letters_end end;

    if (letters_filter_read(dead, &task->memory, &end) != ERR_OK) {
        end = (struct letters_end){0};
    }
    return letters_filter_match(&task->filter, record->sequence, &end);
}

static void list_add(struct dlq_call *task, const struct record *record)
{
    const struct store_topic *stored = task->reading.reader->topic;
    struct buf *to = &task->base.body;

    buf_append_c(to, task->count > 0 ? ",\n{" : "\n{");
    api_render_message(topic_of(stored), record, to);
    buf_append_byte(to, '}');
    task->count++;
}

/* Look at the letter at task->sequence, which is live, or go on behind what is
 * no more. Returns false when the call has ended, or waits. */
static bool list_look(struct dlq_call *task)
{
    const struct store_topic *stored = task->reading.reader->topic;
    struct record record;

    enum err err = api_reading_next(&task->reading, task->sequence, &record);
    if (err == ERR_AGAIN) {
        return false;
    }
    if (err == ERR_RANGE && task->sequence < stored->bounds.oldest) {
        task->sequence = stored->bounds.oldest; /* dropped meanwhile */
        return true;
    }
    if (err == ERR_NOT_FOUND) {
        topic_end(task);
        return false;
    }
    if (err != ERR_OK) {
        dlq_fail(task, err, "reading the topic");
        return false;
    }
    if (record.sequence > task->sequence) {
        task->sequence = record.sequence; /* those between are damaged */
        return true;
    }
    task->looked++;
    if (list_match(task, &record)) {
        list_add(task, &record);
    }
    task->sequence++;
    return true;
}

static void list_go(struct dlq_call *task)
{
    const struct store_topic *stored = task->reading.reader->topic;

    struct letters letters;

    letters_load(&letters, &stored->cursor);
    for (uint32_t turn = 0; turn < DLQ_TURN_MAX; turn++) {
        task->sequence = letters_next(&letters, task->sequence);
        if (task->sequence >= stored->bounds.end ||
            (task->filter.one && task->sequence > task->filter.sequence)) {
            topic_end(task);
            return;
        }
        if (list_is_full(task)) {
            call_full(task);
            return;
        }
        if (!list_look(task)) {
            return;
        }
    }
    io_timer_start(task->there->io, &task->timer, 0);
}

static void list_ready(struct api_reading *reading)
{
    list_go(CONTAINER_OF(reading, struct dlq_call, reading));
}

static void list_expired(struct io_timer *timer)
{
    list_go(CONTAINER_OF(timer, struct dlq_call, timer));
}

/* The topic is deleted while it is read. */
static void list_gone(struct api_reading *reading)
{
    struct dlq_call *task = CONTAINER_OF(reading, struct dlq_call, reading);

    io_timer_stop(task->there->io, &task->timer);
    topic_end(task);
}

/* A read ends by itself, also while the shard stops. */
static void list_stopping(struct api_reading *reading)
{
    (void)reading;
}

static void list_begin(struct dlq_call *task, struct topic *topic)
{
    if (task->filter.one && task->sequence < task->filter.sequence) {
        task->sequence = task->filter.sequence;
    }
    enum err err =
        api_reading_open(&task->reading, task->base.api, task->there, topic);
    if (err != ERR_OK) {
        dlq_fail(task, err, "reading the topic");
        return;
    }
    list_go(task);
}

/* --- jobs ----------------------------------------------------------------- */

static void job_ended(struct letters_job *job)
{
    struct dlq_call *task = CONTAINER_OF(job, struct dlq_call, job);

    task->matched += job->matched;
    task->done += job->done;
    task->looked += job->looked;
    task->sequence = job->next;
    if (job->err == ERR_OK && job->more) {
        call_full(task);
    } else if (job->err == ERR_OK || job->err == ERR_NOT_FOUND) {
        topic_end(task); /* or it was deleted */
    } else {
        dlq_fail(task, job->err,
                 job->drops ? "not all could be dropped"
                            : "not all could be sent again");
    }
}

static void job_begin(struct dlq_call *task, struct topic *topic)
{
    task->job = (struct letters_job){
        .shard = task->there,
        .filter = task->filter,
        .drops = task->deed == DLQ_DROP,
        .from = task->sequence,
        .look_max =
            task->looked < DLQ_LOOK_MAX ? DLQ_LOOK_MAX - task->looked : 0,
        .due_ms = task->due_ms,
        .ended = job_ended,
    };
    letters_job_start(&task->job, topic);
}

/* --- on a shard ----------------------------------------------------------- */

static void dlq_run(struct api_call *call, struct shard *there)
{
    struct dlq_call *task = dlq_call_of(call);
    struct topic *topic = NULL;

    task->there = there;
    if (task->phase == DLQ_NAMES) {
        store_topic_each(there->store, names_visit, task);
        api_call_end(call);
        return;
    }
    const char *name =
        task->phase == DLQ_ORIGIN ? task->asked : task->names[task->name];
    enum err err = shard_topic(there, str_from(name), false, &topic);
    if (task->phase == DLQ_ORIGIN) {
        if (err != ERR_OK) {
            api_call_err(call, err, "topic");
        }
        task->phase = DLQ_OVER;
        api_call_end(call);
    } else if (err == ERR_NOT_FOUND && task->topic.size > 0) {
        task->phase = topic_is_dead(task->topic) ? DLQ_OVER : DLQ_ORIGIN;
        if (task->phase == DLQ_OVER) {
            api_call_err(call, err, "topic");
        }
        api_call_end(call);
    } else if (err == ERR_NOT_FOUND) {
        topic_end(task); /* deleted meanwhile */
    } else if (err != ERR_OK) {
        dlq_fail(task, err, "topic");
    } else if (task->deed == DLQ_LIST) {
        list_begin(task, topic);
    } else {
        job_begin(task, topic);
    }
}

/* --- at home -------------------------------------------------------------- */

/* Look for names from `place` on, unless there can be none. Returns the shard
 * to begin at, or NULL. */
static struct shard *seek(struct dlq_call *task)
{
    struct shard_group *group = task->base.home->group;

    if (task->sought && task->name_count < DLQ_NAMES_MAX) {
        task->phase = DLQ_OVER;
        return NULL;
    }
    if (task->sought) {
        memcpy(task->place, task->names[DLQ_NAMES_MAX - 1],
               sizeof(task->place));
        task->behind = true;
    }
    task->sought = true;
    task->name_count = 0;
    task->name = 0;
    task->shard_index = 0;
    task->phase = DLQ_NAMES;
    return group->shards[0];
}

static struct shard *dlq_next(struct api_call *call)
{
    struct dlq_call *task = dlq_call_of(call);
    struct shard_group *group = call->home->group;

    if (task->more || task->phase == DLQ_OVER) {
        return NULL;
    }
    if (task->phase == DLQ_ORIGIN) {
        return shard_owner(call->home, task->topic);
    }
    if (task->phase == DLQ_NAMES && task->shard_index + 1 < group->count) {
        task->shard_index++;
        return group->shards[task->shard_index];
    }
    if (task->name < task->name_count) {
        const char *name = task->names[task->name];
        if (strcmp(name, task->place) != 0) { /* not where to go on */
            task->sequence = 0;
        }
        memcpy(task->place, name, strlen(name) + 1);
        task->phase = DLQ_LETTERS;
        return shard_owner(call->home, str_from(name));
    }
    return task->topic.size > 0 ? NULL : seek(task);
}

/* Append where to go on. */
static void append_next(const struct dlq_call *task, struct buf *to)
{
    if (task->more) {
        buf_append_format(to, "\"next\":\"%s:%llu\"", task->place,
                          (unsigned long long)task->sequence);
    } else {
        buf_append_c(to, "\"next\":null");
    }
}

static void append_counts(const struct dlq_call *task, struct buf *to)
{
    buf_append_format(
        to, "\"looked\":%llu,\"matched\":%llu,\"%s\":%llu,\"more\":%s,",
        (unsigned long long)task->looked, (unsigned long long)task->matched,
        task->deed == DLQ_SEND ? "sent" : "dropped",
        (unsigned long long)task->done, task->more ? "true" : "false");
    append_next(task, to);
}

static void dlq_finish(struct api_call *call)
{
    struct dlq_call *task = dlq_call_of(call);
    struct buf *to = &call->body;

    if (task->deed == DLQ_LIST) {
        buf_append_c(to, "],");
        append_next(task, to);
        buf_append_c(to, "}\n");
        return;
    }
    if (task->filter.one && task->matched == 0) {
        api_call_problem(call, 404, "there is no such dead letter");
        return;
    }
    buf_append_byte(to, '{');
    append_counts(task, to);
    buf_append_c(to, "}\n");
}

/* What was done is told with what failed. */
static void dlq_failed(struct api_call *call)
{
    struct dlq_call *task = dlq_call_of(call);

    if (task->deed != DLQ_LIST && task->phase == DLQ_LETTERS) {
        task->more = true;
        append_counts(task, &call->members);
    }
}

/* --- requests ------------------------------------------------------------- */

/* Copy a text of the query, if it is given; returns what is wrong, or NULL. */
static const char *take_text(const struct form *form,
                             const char *name,
                             char to[DLQ_TEXT_MAX + 1],
                             struct str *out_text)
{
    const struct form_field *field = form_find(form, str_from(name));

    if (field == NULL) {
        return NULL;
    }
    if (field->value.size == 0 || field->value.size > DLQ_TEXT_MAX) {
        return "reason, class and subscription have 1 to 128 bytes";
    }
    memcpy(to, field->value.data, field->value.size);
    to[field->value.size] = '\0';
    *out_text = (struct str){to, field->value.size};
    return NULL;
}

static const char *
take_time(const struct form *form, const char *name, uint64_t *out_ms)
{
    const struct form_field *field = form_find(form, str_from(name));

    if (field != NULL && wall_time_parse(field->value, out_ms) != ERR_OK) {
        return "from and to must be times as 2026-01-02T03:04:05Z or as Unix "
               "seconds";
    }
    return NULL;
}

/* Read the topic, and with it the name to begin at. */
static const char *take_topic(const struct form *form, struct dlq_call *task)
{
    const struct form_field *field = form_find(form, STR("topic"));

    if (field == NULL) {
        return NULL;
    }
    if (!store_topic_name_valid(field->value)) {
        return "topic must be 1 to 128 of A-Z a-z 0-9 . _ - and not . or ..";
    }
    memcpy(task->asked, field->value.data, field->value.size);
    task->topic = (struct str){task->asked, field->value.size};
    if (topic_is_dead(task->topic)) {
        memcpy(task->place, task->asked, sizeof(task->place));
    } else {
        topic_dead_name(task->topic, task->place);
    }
    memcpy(task->names[0], task->place, sizeof(task->names[0]));
    task->name_count = 1;
    return NULL;
}

/* Read where to go on: "name:number". */
static const char *take_cursor(const struct form *form, struct dlq_call *task)
{
    const struct form_field *field = form_find(form, STR("cursor"));

    if (field == NULL) {
        return NULL;
    }
    size_t colon = str_find(field->value, ':');
    struct str name = str_cut(field->value, 0, colon);
    if (colon == field->value.size || !store_topic_name_valid(name) ||
        str_to_u64(str_cut(field->value, colon + 1, field->value.size),
                   &task->sequence) != ERR_OK ||
        (task->topic.size > 0 && !str_equal(name, str_from(task->place)))) {
        return "cursor must be what `next` of an answer to the same request "
               "gave";
    }
    memcpy(task->place, name.data, name.size);
    task->place[name.size] = '\0';
    return NULL;
}

static const char *take_status(const struct form *form, struct dlq_call *task)
{
    const struct form_field *field = form_find(form, STR("status"));

    if (field != NULL &&
        letters_filter_status(&task->filter, field->value) != ERR_OK) {
        return "status must be a number up to 999, or two of them with a dash "
               "such as 500-599; 0 is no answer";
    }
    return NULL;
}

static const char *take_sequence(const struct form *form, struct dlq_call *task)
{
    const struct form_field *field = form_find(form, STR("seq"));

    if (field == NULL) {
        return NULL;
    }
    if (task->topic.size == 0 ||
        str_to_u64(field->value, &task->filter.sequence) != ERR_OK) {
        return "seq must be the number of a dead letter in its topic, and goes "
               "with topic";
    }
    task->filter.one = true;
    return NULL;
}

static bool is_narrowed(const struct dlq_call *task)
{
    const struct letters_filter *filter = &task->filter;

    return task->topic.size > 0 || filter->by_status ||
           filter->reason.size > 0 || filter->class.size > 0 ||
           filter->subscription.size > 0 || filter->from_ms > 0 ||
           filter->to_ms > 0;
}

/* Whoever means all says so: a filter that was forgotten changes nothing. */
static const char *take_all(const struct form *form, struct dlq_call *task)
{
    const struct form_field *field = form_find(form, STR("all"));

    if (field != NULL && !str_equal(field->value, STR("yes"))) {
        return "all must be yes";
    }
    if (task->deed != DLQ_LIST && field == NULL && !is_narrowed(task)) {
        return "say which: topic, status, reason, class, subscription, from, "
               "to, or all=yes";
    }
    return NULL;
}

/* Read the query; returns what is wrong, or NULL. */
static const char *take_query(const struct form *form, struct dlq_call *task)
{
    struct letters_filter *filter = &task->filter;
    const char *wrong = take_topic(form, task);

    wrong = wrong != NULL ? wrong : take_cursor(form, task);
    wrong = wrong != NULL ? wrong : take_status(form, task);
    wrong = wrong != NULL ? wrong : take_sequence(form, task);
    wrong = wrong != NULL
                ? wrong
                : take_text(form, "reason", task->reason, &filter->reason);
    wrong = wrong != NULL
                ? wrong
                : take_text(form, "class", task->class, &filter->class);
    wrong = wrong != NULL ? wrong
                          : take_text(form, "subscription", task->subscription,
                                      &filter->subscription);
    wrong = wrong != NULL ? wrong : take_time(form, "from", &filter->from_ms);
    wrong = wrong != NULL ? wrong : take_time(form, "to", &filter->to_ms);
    return wrong != NULL ? wrong : take_all(form, task);
}

static struct dlq_call *dlq_create(const struct api_request *request,
                                   enum dlq_deed deed)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct dlq_call), dlq_run);

    if (call == NULL) {
        return NULL;
    }
    struct dlq_call *task = dlq_call_of(call);
    task->deed = deed;
    call->large = true;
    call->onward = dlq_next;
    call->finish = dlq_finish;
    call->failed = dlq_failed;
    call->release = dlq_release;
    task->reading.ready = list_ready;
    task->reading.gone = list_gone;
    task->reading.stopping = list_stopping;
    task->timer.expired = list_expired;
    task->due_ms = io_now_ms(call->home->io) + DLQ_TIME_MS;
    task->names = calloc(DLQ_NAMES_MAX + 1, sizeof(task->names[0]));
    if (task->names == NULL) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        api_call_drop(call);
        return NULL;
    }
    return task;
}

static void dlq_begin(const struct api_request *request,
                      const struct form *form,
                      enum dlq_deed deed)
{
    uint64_t limit = API_PAGE_DEFAULT;
    struct dlq_call *task = NULL;

    if (!api_query_number(request, form, "limit", API_PAGE_MAX, &limit)) {
        return;
    }
    task = dlq_create(request, deed);
    if (task == NULL) {
        return;
    }
    task->limit = (uint32_t)limit;
    const char *wrong = take_query(form, task);
    if (wrong != NULL) {
        answer_problem(request->exchange, 400, wrong, NULL);
        api_call_drop(&task->base);
        return;
    }
    if (deed == DLQ_LIST) {
        buf_append_c(&task->base.body, "{\"letters\":[");
    }
    api_call_tour(&task->base);
}

void api_dlq_get(const struct api_request *request)
{
    static const char *const known[] = {
        "topic", "status", "reason", "class", "subscription", "from", "to",
        "limit", "cursor", "seq",    NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        dlq_begin(request, &form, DLQ_LIST);
    }
    form_fini(&form);
}

void api_dlq_change(const struct api_request *request)
{
    static const char *const known[] = {
        "topic", "status", "reason", "class", "subscription", "from", "to",
        "all",   "cursor", "seq",    NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        dlq_begin(request, &form, request->word != NULL ? DLQ_SEND : DLQ_DROP);
    }
    form_fini(&form);
}
