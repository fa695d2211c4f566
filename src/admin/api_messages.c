/* A topic's log, read from a place on, or one message of it.
 *
 * A page ends at `limit` messages or API_BYTES_MAX bytes. At the end of the
 * log, an empty page may wait for the next message: the call then lies on the
 * topic's shard with a watch and a timer, and ends when a message comes, the
 * time is over, the topic is deleted, the shard stops, or the client has gone
 * (which a second call carries over).
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_curl.h"
#include "admin/api_internal.h"
#include "admin/api_render.h"
#include "base/check.h"
#include "base/wall_time.h"
#include "queue/answer.h"

struct messages_call {
    struct api_call base;
    struct shard_call cancel;   /* after the client has gone */
    struct api_reading reading; /* open while it reads or waits */
    struct store_watch watch;   /* while it waits */
    struct io_timer timer;      /* while it waits */
    struct shard *there;        /* borrowed: the topic's */
    uint64_t from;              /* sequence or, */
    uint64_t from_ms;           /* with by_time, wall clock */
    uint64_t next;              /* sequence to read next */
    uint64_t due_ms;            /* monotonic: the wait ends */
    uint32_t wait_ms;
    uint32_t limit;
    uint32_t count; /* messages on the page so far */
    bool by_time;
    bool from_given;
    bool one;       /* a single message, with its state, */
    bool curl;      /* or as a command */
    bool waiting;   /* for the next message */
    bool woken;     /* it came */
    bool ended;     /* api_call_end() was called */
    bool cancelled; /* the client has gone */
};

static struct messages_call *messages_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct messages_call, base);
}

static struct messages_call *messages_of_reading(struct api_reading *reading)
{
    return CONTAINER_OF(reading, struct messages_call, reading);
}

/* --- on the topic's shard ------------------------------------------------- */

static void wait_end(struct messages_call *task)
{
    task->waiting = false;
    store_watch_remove(&task->watch);
    io_timer_stop(task->there->io, &task->timer);
}

static void messages_end(struct messages_call *task)
{
    CHECK(!task->ended);
    task->ended = true;
    wait_end(task);
    api_reading_close(&task->reading);
    api_call_end(&task->base);
}

static void
messages_fail(struct messages_call *task, enum err err, const char *subject)
{
    api_call_err(&task->base, err, subject);
    messages_end(task);
}

/* End the page. */
static void page_end(struct messages_call *task)
{
    const struct store_bounds *bounds = &task->reading.reader->topic->bounds;

    buf_append_format(
        &task->base.body, "],\"next\":%llu,\"oldest\":%llu,\"end\":%llu}\n",
        (unsigned long long)task->next, (unsigned long long)bounds->oldest,
        (unsigned long long)bounds->end);
    messages_end(task);
}

/* At the end of the log: wait for more, or end the page. */
static void page_at_end(struct messages_call *task)
{
    struct io *io = task->there->io;

    if (task->count > 0 || task->cancelled || task->there->stopping ||
        io_now_ms(io) >= task->due_ms) {
        page_end(task);
        return;
    }
    task->woken = false;
    if (!task->waiting) {
        task->waiting = true;
        store_watch_add(task->reading.reader->topic, &task->watch);
    }
    io_timer_start(io, &task->timer, task->due_ms - io_now_ms(io));
}

static void page_add(struct messages_call *task, const struct record *record)
{
    struct buf *to = &task->base.body;

    buf_append_c(to, task->count > 0 ? ",\n{" : "\n{");
    api_render_message(topic_of(task->reading.reader->topic), record, to);
    buf_append_byte(to, '}');
    task->count++;
    task->next = record->sequence + 1;
}

/* Read until the page is full, the log ends, or bytes must be waited for. */
static void page_read(struct messages_call *task)
{
    const struct store_topic *stored = task->reading.reader->topic;
    struct record record;

    while (task->count < task->limit && task->base.body.size < API_BYTES_MAX) {
        enum err err = api_reading_next(&task->reading, task->next, &record);
        if (err == ERR_OK) {
            page_add(task, &record);
        } else if (err == ERR_RANGE && task->next < stored->bounds.oldest) {
            task->next = stored->bounds.oldest; /* dropped meanwhile */
        } else if (err == ERR_NOT_FOUND) {
            page_at_end(task);
            return;
        } else if (err == ERR_AGAIN) {
            return;
        } else {
            messages_fail(task, err, "reading the topic");
            return;
        }
    }
    page_end(task);
}

/* --- a single message ----------------------------------------------------- */

static void
one_absent(struct messages_call *task, const char *state, const char *because)
{
    const struct store_bounds *bounds = &task->reading.reader->topic->bounds;

    api_call_problem(&task->base, 404, because);
    buf_append_format(&task->base.members,
                      "\"seq\":%llu,\"state\":\"%s\",\"oldest\":%llu,\"end\":"
                      "%llu",
                      (unsigned long long)task->from, state,
                      (unsigned long long)bounds->oldest,
                      (unsigned long long)bounds->end);
    messages_end(task);
}

/* Append where a message stands: its own delivery, or those of its topic's
 * subscriptions; mirrors get both. */
static void one_standing(const struct topic *topic,
                         const struct record *record,
                         struct buf *to)
{
    if (record->message.url.size > 0 || !topic_has_subscriptions(topic)) {
        api_render_state(topic, record, to);
    } else {
        api_render_shared(topic, record, to);
    }
    api_render_states(topic, record, to);
}

static void one_show(struct messages_call *task, const struct record *record)
{
    const struct store_topic *stored = task->reading.reader->topic;
    struct buf *to = &task->base.body;

    buf_append_byte(to, '{');
    api_render_message(topic_of(stored), record, to);
    buf_append_byte(to, ',');
    if (topic_is_dead(stored->name_str)) {
        api_render_letter(stored, record, to);
    } else {
        one_standing(topic_of(stored), record, to);
    }
    buf_append_c(to, "}\n");
    messages_end(task);
}

/* Show the command that repeats the delivery. */
static void one_curl(struct messages_call *task, const struct record *record)
{
    const struct topic *topic = topic_of(task->reading.reader->topic);
    const char *reason = "the message cannot be sent";
    struct delivery_view view;

    deliverer_explain(topic, task->from, &record->message, &view);
    enum err err =
        api_curl_append(topic, record, view.attempts,
                        io_wall_ms(task->there->io), &task->base.body, &reason);
    task->base.type = "text/plain; charset=utf-8";
    if (err == ERR_INVALID) {
        api_call_problem(&task->base, 409, reason);
    } else if (err != ERR_OK) {
        api_call_err(&task->base, err, "the command");
    }
    messages_end(task);
}

static void one_read(struct messages_call *task)
{
    const struct store_topic *stored = task->reading.reader->topic;
    struct record record;

    enum err err = api_reading_next(&task->reading, task->from, &record);
    if (err == ERR_AGAIN) {
        return;
    }
    if (err == ERR_RANGE) {
        one_absent(task, "dropped",
                   "the message was dropped, by retention or a purge");
    } else if (err == ERR_NOT_FOUND && task->from >= stored->bounds.end) {
        one_absent(task, "unknown", "there is no such message yet");
    } else if (err == ERR_NOT_FOUND ||
               (err == ERR_OK && record.sequence != task->from)) {
        one_absent(task, "quarantined",
                   "the message is damaged on disk and was set aside");
    } else if (err != ERR_OK) {
        messages_fail(task, err, "reading the topic");
    } else if (task->curl) {
        one_curl(task, &record);
    } else {
        one_show(task, &record);
    }
}

static void messages_read(struct messages_call *task)
{
    if (task->one) {
        one_read(task);
    } else {
        page_read(task);
    }
}

/* --- what happens meanwhile ----------------------------------------------- */

static void messages_ready(struct api_reading *reading)
{
    messages_read(messages_of_reading(reading));
}

static void messages_gone(struct api_reading *reading)
{
    struct messages_call *task = messages_of_reading(reading);

    /* Before the store frees the list that the watch is in. */
    wait_end(task);
    messages_fail(task, ERR_NOT_FOUND, "topic");
}

static void messages_stopping(struct api_reading *reading)
{
    struct messages_call *task = messages_of_reading(reading);

    if (task->waiting) {
        page_end(task);
    }
}

/* Messages came. The store is calling all watches: read in the next turn. */
static void messages_moved(struct store_watch *watch)
{
    struct messages_call *task =
        CONTAINER_OF(watch, struct messages_call, watch);

    if (!task->woken) {
        task->woken = true;
        io_timer_start(task->there->io, &task->timer, 0);
    }
}

static void messages_expired(struct io_timer *timer)
{
    page_read(CONTAINER_OF(timer, struct messages_call, timer));
}

/* The client has gone: nobody waits any more. */
static void cancel_run(struct shard_call *call, struct shard *there)
{
    struct messages_call *task =
        CONTAINER_OF(call, struct messages_call, cancel);

    (void)there;
    task->cancelled = true;
    if (task->waiting) {
        page_end(task);
    }
    shard_call_return(call);
}

/* --- at home -------------------------------------------------------------- */

static void cancel_returned(struct shard_call *call)
{
    struct messages_call *task =
        CONTAINER_OF(call, struct messages_call, cancel);

    task->base.kept = false;
    if (task->base.exchange == NULL) {
        api_call_drop(&task->base); /* it was answered before */
    }
}

static void messages_abandoned(struct http_exchange *exchange)
{
    struct messages_call *task = exchange->context;

    exchange->abandoned = NULL;
    if (task->base.kept) {
        return;
    }
    task->cancel.run = cancel_run;
    task->cancel.returned = cancel_returned;
    /* When it cannot be sent, the wait ends by its time. */
    struct shard *there =
        shard_owner(task->base.home, str_from(task->base.topic));
    task->base.kept =
        shard_send(task->base.home, there, &task->cancel) == ERR_OK;
}

/* --- begin ---------------------------------------------------------------- */

/* Find where the page begins. Returns false when the call has failed. */
static bool page_begin(struct messages_call *task, struct topic *topic)
{
    struct store_topic *stored = topic->store;
    const struct store_bounds *bounds = &stored->bounds;

    task->next = task->from_given ? task->from : bounds->oldest;
    if (task->by_time) {
        enum err err = store_find_time(stored, task->from_ms, &task->next);
        if (err != ERR_OK) {
            api_call_err(&task->base, err, "finding the time");
            return false;
        }
    }
    if (task->next > bounds->end) {
        api_call_range(&task->base, "from is past the end", bounds);
        return false;
    }
    if (task->next < bounds->oldest) {
        task->next = bounds->oldest;
    }
    buf_append_c(&task->base.body, "{\"messages\":[");
    task->due_ms = io_now_ms(task->there->io) + task->wait_ms;
    return true;
}

static void messages_run(struct api_call *call, struct shard *there)
{
    struct messages_call *task = messages_of(call);
    struct topic *topic = NULL;

    task->there = there;
    enum err err = shard_topic(there, str_from(call->topic), false, &topic);
    if (err != ERR_OK) {
        messages_fail(task, err, "topic");
        return;
    }
    if (!task->one && !page_begin(task, topic)) {
        messages_end(task);
        return;
    }
    err = api_reading_open(&task->reading, call->api, there, topic);
    if (err != ERR_OK) {
        messages_fail(task, err, "reading the topic");
        return;
    }
    messages_read(task);
}

static struct messages_call *messages_create(const struct api_request *request)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct messages_call), messages_run);

    if (call == NULL) {
        return NULL;
    }
    struct messages_call *task = messages_of(call);
    call->large = true;
    task->reading.ready = messages_ready;
    task->reading.gone = messages_gone;
    task->reading.stopping = messages_stopping;
    task->watch.moved = messages_moved;
    task->timer.expired = messages_expired;
    task->limit = API_PAGE_DEFAULT;
    return task;
}

/* Read from, from_time, wait. Answers and returns false when one is wrong. */
static bool read_place(const struct api_request *request,
                       const struct form *form,
                       struct messages_call *task)
{
    const struct form_field *time = form_find(form, STR("from_time"));
    const struct form_field *wait = form_find(form, STR("wait"));
    uint64_t wait_ms = 0;
    const char *wrong = NULL;

    task->from_given = form_find(form, STR("from")) != NULL;
    task->by_time = time != NULL;
    if (task->from_given && task->by_time) {
        wrong = "give either from or from_time";
    } else if (time != NULL &&
               wall_time_parse(time->value, &task->from_ms) != ERR_OK) {
        wrong = "from_time must be a time as 2026-01-02T03:04:05Z or as Unix "
                "seconds";
    } else if (wait != NULL &&
               (str_to_duration_ms(wait->value, &wait_ms) != ERR_OK ||
                wait_ms > API_WAIT_MS_MAX)) {
        wrong = "wait must be a duration of at most 60s";
    }
    if (wrong != NULL) {
        answer_problem(request->exchange, 400, wrong, NULL);
        return false;
    }
    task->wait_ms = (uint32_t)wait_ms;
    return true;
}

static bool read_page(const struct api_request *request,
                      const struct form *form,
                      struct messages_call *task)
{
    uint64_t limit = API_PAGE_DEFAULT;

    if (!api_query_number(request, form, "from", UINT64_MAX, &task->from) ||
        !api_query_number(request, form, "limit", API_PAGE_MAX, &limit) ||
        !read_place(request, form, task)) {
        return false;
    }
    task->limit = (uint32_t)limit;
    return true;
}

/* Send a call whose client may go while it waits. */
static void messages_send(const struct api_request *request,
                          struct messages_call *task)
{
    if (task->wait_ms > 0) {
        request->exchange->context = task;
        request->exchange->abandoned = messages_abandoned;
    }
    api_call_send(&task->base);
}

void api_messages_list(const struct api_request *request)
{
    static const char *const known[] = {"from", "from_time", "limit", "wait",
                                        NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        struct messages_call *task = messages_create(request);
        if (task != NULL && read_page(request, &form, task)) {
            messages_send(request, task);
        } else if (task != NULL) {
            api_call_drop(&task->base);
        }
    }
    form_fini(&form);
}

static void one_begin(const struct api_request *request, bool curl)
{
    uint64_t sequence = 0;

    if (str_to_u64(request->segments[1], &sequence) != ERR_OK) {
        answer_problem(request->exchange, 404,
                       "a message is named by its sequence number", NULL);
    } else if (api_query_none(request)) {
        struct messages_call *task = messages_create(request);
        if (task != NULL) {
            task->one = true;
            task->curl = curl;
            task->from = sequence;
            messages_send(request, task);
        }
    }
}

void api_messages_one(const struct api_request *request)
{
    one_begin(request, false);
}

void api_messages_curl(const struct api_request *request)
{
    one_begin(request, true);
}
