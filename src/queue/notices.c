/* The server's notices on their way.
 *
 * What can go wrong: no memory, or too many at once; then they are counted as
 * omitted. A push that fails (a full disk, most likely) is told in the log: the
 * notice is still in the ring.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/notices.h"

#include "base/check.h"
#include "base/diag.h"
#include "base/json_text.h"
#include "queue/push_task.h"

#include <stdatomic.h>
#include <stdlib.h>

/* One on its way to the first shard. */
struct raising {
    struct shard_call call;
    struct notices *notices; /* borrowed: where it came from */
    struct notice *notice;   /* owned */
    uint64_t omitted;        /* before it, for too many were under way */
};

struct notices {
    struct shard *shard; /* borrowed */
    uint32_t calls;      /* under way from here */
    uint64_t omitted;
    bool stopped;
    /* Of the first shard. */
    struct notices_hook hook;
    struct notice_ring ring;
    struct notice_limit limit;
    struct io_timer timer; /* shows what was kept back */
    struct list waiters;
    struct push_pool pool;
    uint64_t disk_low; /* a bit for each shard whose store says so */
};

static bool is_first(const struct notices *notices)
{
    return notices->shard->index == 0;
}

/* --- at the first shard --------------------------------------------------- */

static void push_ended(struct push_task *task)
{
    if (task->err != ERR_OK) {
        DIAG_WARN("event_not_pushed", "topic=" TOPIC_NOTICES " err=%s",
                  err_name(task->err));
    }
    push_task_release(task);
}

static enum err push_start(struct notices *notices, const struct buf *body)
{
    struct push_task *task = NULL;
    const struct push push = {
        .topic = STR(TOPIC_NOTICES),
        .durability = DURABILITY_DISK,
        .owed = true,
        .message =
            {
                .url = notices->hook.url,
                .kind = MESSAGE_KIND_RAW,
                .body = buf_str(body),
                .content_type = STR("application/json"),
                .pushed_at_ms = io_wall_ms(notices->shard->io),
            },
    };
    enum err err = push_task_acquire(&notices->pool, &task);

    if (err != ERR_OK) {
        return err;
    }
    task->ended = push_ended;
    err = push_task_start(task, &push);
    if (err != ERR_OK) {
        push_task_release(task);
    }
    return err;
}

static void push(struct notices *notices, const struct notice *notice)
{
    struct buf body;
    bool own = (notice->type == NOTICE_ENDPOINT_DOWN ||
                notice->type == NOTICE_ENDPOINT_RECOVERED) &&
               str_equal(notice->subject, notices->hook.target);

    if (notices->hook.url.size == 0 || notices->stopped || own) {
        return;
    }
    buf_init(&body, 0);
    notice_json(notice, &body);
    enum err err = body.failed ? ERR_NOMEM : push_start(notices, &body);
    if (err != ERR_OK) {
        DIAG_WARN("event_not_pushed", "topic=" TOPIC_NOTICES " err=%s",
                  err_name(err));
    }
    buf_fini(&body);
}

void notices_end_waits(struct notices *notices)
{
    struct list waiters;
    struct list *link = NULL;

    list_init(&waiters);
    while ((link = list_take_first(&notices->waiters)) != NULL) {
        list_append(&waiters, link);
    }
    while ((link = list_take_first(&waiters)) != NULL) {
        struct notices_waiter *waiter =
            CONTAINER_OF(link, struct notices_waiter, link);
        waiter->ready(waiter);
    }
}

/* Takes: notice. */
static void show(struct notices *notices, struct notice *notice)
{
    notice_ring_add(&notices->ring, notice);
    push(notices, notice);
    notices_end_waits(notices);
}

static void timer_set(struct notices *notices)
{
    struct io *io = notices->shard->io;
    uint64_t due_ms = notice_limit_due_ms(&notices->limit);
    uint64_t now_ms = io_now_ms(io);

    if (due_ms < UINT64_MAX && !io_timer_running(&notices->timer) &&
        !notices->stopped) {
        io_timer_start(io, &notices->timer,
                       due_ms > now_ms ? due_ms - now_ms : 0);
    }
}

static void timer_expired(struct io_timer *timer)
{
    struct notices *notices = CONTAINER_OF(timer, struct notices, timer);
    uint64_t now_ms = io_now_ms(notices->shard->io);
    struct notice *notice = NULL;

    while ((notice = notice_limit_take(&notices->limit, now_ms)) != NULL) {
        show(notices, notice);
    }
    timer_set(notices);
}

/* The disk is one, but each shard looks at it: tell whether this is the first
 * that finds it low, or the last that finds room again. */
static bool is_disk_news(struct notices *notices,
                         const struct notice *notice,
                         uint32_t shard)
{
    uint64_t before = notices->disk_low;
    uint64_t bit = (uint64_t)1 << shard;

    if (notice->type == NOTICE_DISK_LOW) {
        notices->disk_low |= bit;
        return before == 0;
    }
    if (notice->type == NOTICE_DISK_OK) {
        notices->disk_low &= ~bit;
        return before != 0 && notices->disk_low == 0;
    }
    return true;
}

static void arrived(struct shard_call *call, struct shard *there)
{
    struct raising *raising = CONTAINER_OF(call, struct raising, call);
    struct notices *notices = there->notices;
    struct notice *notice = raising->notice;

    notices->limit.omitted += raising->omitted;
    raising->notice = NULL;
    if (is_disk_news(notices, notice, raising->notices->shard->index)) {
        notice = notice_limit_add(&notices->limit, notice,
                                  io_now_ms(notices->shard->io));
        if (notice != NULL) {
            show(notices, notice);
        }
        timer_set(notices);
    } else {
        free(notice);
    }
    shard_call_return(call);
}

/* --- anywhere ------------------------------------------------------------- */

static void returned(struct shard_call *call)
{
    struct raising *raising = CONTAINER_OF(call, struct raising, call);

    raising->notices->calls--;
    free(raising);
}

static bool is_own(struct str subject)
{
    return str_equal(subject, STR(TOPIC_NOTICES)) ||
           str_starts(subject, STR(TOPIC_NOTICES "/"));
}

static bool hand_on(struct notices *notices,
                    enum notice_type type,
                    struct str subject,
                    const struct buf *data)
{
    struct shard *shard = notices->shard;
    struct raising *raising = calloc(1, sizeof(*raising));

    if (raising == NULL) {
        return false;
    }
    raising->notice = notice_make(
        type, io_wall_ms(shard->io), subject,
        data != NULL && !data->failed ? buf_str(data) : (struct str){0});
    raising->notices = notices;
    raising->omitted = notices->omitted;
    raising->call.run = arrived;
    raising->call.returned = returned;
    if (raising->notice == NULL ||
        shard_send(shard, notices_place(shard), &raising->call) != ERR_OK) {
        free(raising->notice);
        free(raising);
        return false;
    }
    notices->omitted = 0;
    notices->calls++;
    return true;
}

void notices_raise(const struct shard *shard,
                   enum notice_type type,
                   struct str subject,
                   const struct buf *data)
{
    struct notices *notices = shard != NULL ? shard->notices : NULL;

    if (notices == NULL || notices->stopped || is_own(subject)) {
        return;
    }
    /* Each of these changes what the first shard knows. */
    bool must = type == NOTICE_DISK_LOW || type == NOTICE_DISK_OK;
    if ((notices->calls >= NOTICES_CALLS_MAX && !must) ||
        !hand_on(notices, type, subject, data)) {
        notices->omitted++;
    }
}

/* --- the store ------------------------------------------------------------ */

static void store_told(void *context, const struct store_news *news)
{
    struct notices *notices = context;
    enum notice_type type = NOTICE_RECORD_QUARANTINED;
    struct str subject = str_from(news->subject);
    struct buf data;

    buf_init(&data, 0);
    if (news->kind == STORE_NEWS_DAMAGED) {
        json_text_append_number(&data, "seq", news->sequence);
        json_text_append_number(&data, "count", news->count);
        json_text_append_text(&data, "what", str_from(news->what));
    } else {
        bool low = news->kind == STORE_NEWS_DISK_LOW;
        type = low ? NOTICE_DISK_LOW : NOTICE_DISK_OK;
        json_text_append_number(&data, "free", news->free);
        json_text_append_number(&data, "reserve", news->reserve);
        buf_append_c(&data, news->full ? ",\"full\":true" : ",\"full\":false");
    }
    notices_raise(notices->shard, type, subject, &data);
    buf_fini(&data);
}

void notices_listen(struct notices *notices)
{
    store_listen(notices->shard->store, store_told, notices);
}

/* --- life ----------------------------------------------------------------- */

enum err notices_create(struct shard *shard,
                        const struct notices_hook *hook,
                        struct notices **out)
{
    enum { IDS_PER_MS = 1000 }; /* more than are ever shown */
    struct notices *notices = calloc(1, sizeof(*notices));

    if (notices == NULL) {
        return ERR_NOMEM;
    }
    notices->shard = shard;
    notices->hook = *hook;
    notices->timer.expired = timer_expired;
    list_init(&notices->waiters);
    notice_limit_init(&notices->limit);
    /* Ids go on ascending after a restart, if the clock does. */
    uint64_t first = IDS_PER_MS * io_wall_ms(shard->io);
    notice_ring_init(&notices->ring, first > 0 ? first : 1);
    push_task_pool_init(&notices->pool, shard, NOTICES_PUSHES_MAX);
    *out = notices;
    return ERR_OK;
}

void notices_destroy(struct notices *notices)
{
    if (notices == NULL) {
        return;
    }
    CHECK(notices->calls == 0 && list_empty(&notices->waiters));
    if (io_timer_running(&notices->timer)) {
        io_timer_stop(notices->shard->io, &notices->timer);
    }
    notice_limit_fini(&notices->limit);
    notice_ring_fini(&notices->ring);
    push_task_pool_fini(&notices->pool);
    free(notices);
}

void notices_stop(struct notices *notices)
{
    notices->stopped = true;
    if (io_timer_running(&notices->timer)) {
        io_timer_stop(notices->shard->io, &notices->timer);
    }
}

bool notices_idle(const struct notices *notices)
{
    return notices->pool.pending == 0;
}

struct shard *notices_place(const struct shard *shard)
{
    return shard->group->shards[0];
}

const struct notice_ring *notices_ring(const struct shard *place)
{
    CHECK(is_first(place->notices));
    return &place->notices->ring;
}

void notices_wait(struct shard *place, struct notices_waiter *waiter)
{
    CHECK(is_first(place->notices) && !list_linked(&waiter->link));
    list_append(&place->notices->waiters, &waiter->link);
}

void notices_leave(struct notices_waiter *waiter)
{
    list_remove(&waiter->link);
}
