/* Pushes: from the request to the answer.
 *
 *   1. The recorder reads the request in place.
 *   2. The topic's own shard: here, the store encodes the message straight into
 *      its batch; elsewhere, the record is encoded here and carried over.
 *   3. The store commits the batch at the end of the turn and calls back.
 *   4. The answer is rendered; the server sends all answers of the turn.
 *
 * What can fail: the request (400, 413, 414, 415), a bound (503), the disk
 * (507, 500). Policy: 201 means durable as asked for, and nothing else does.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/listener_internal.h"

#include "base/check.h"
#include "queue/answer.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH_MEMBERS_USUAL = 4 }; /* of an item; more are scanned again */

enum err listener_create(const struct listener_options *options,
                         struct listener **out)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL) {
        return ERR_NOMEM;
    }
    listener->options = *options;
    list_init(&listener->upload_list);
    push_task_pool_init(&listener->pool, options->shard, options->pending_max);
    listener->member_max = options->batch_count_max * BATCH_MEMBERS_USUAL;
    listener->items =
        calloc(options->batch_count_max, sizeof(*listener->items));
    listener->members =
        calloc(listener->member_max, sizeof(*listener->members));
    bool good = listener->items != NULL && listener->members != NULL;
    enum err err = good ? ERR_OK : ERR_NOMEM;
    if (err == ERR_OK) {
        err = recorder_create(&options->recorder, &listener->recorder);
    }
    if (err != ERR_OK) {
        listener_destroy(listener);
        return err;
    }
    *out = listener;
    return ERR_OK;
}

void listener_destroy(struct listener *listener)
{
    if (listener == NULL) {
        return;
    }
    push_task_pool_fini(&listener->pool);
    recorder_destroy(listener->recorder);
    free(listener->items);
    free(listener->members);
    free(listener);
}

void listener_set_pending_max(struct listener *listener, uint32_t pending_max)
{
    listener->pool.pending_max = pending_max;
}

const struct listener_stats *listener_stats(struct listener *listener)
{
    listener->stats.pending = listener->pool.pending;
    listener->stats.pending_max = listener->pool.pending_max;
    listener->stats.carried = listener->pool.carried;
    return &listener->stats;
}

/* --- answers -------------------------------------------------------------- */

void listener_refuse(struct http_exchange *exchange,
                     bool json,
                     int status,
                     const char *detail)
{
    if (json) {
        answer_problem(exchange, status, detail, NULL);
    } else {
        answer_plain_refusal(exchange, status, detail);
    }
}

/* The fields that tell what became of a push, one answer after the other: what
 * varies is written between constants, into memory that has room for all. */
static char *put_fields(const struct push_task *task, char *to)
{
    char sequence[PUT_DECIMAL_MAX];
    struct str digits = {sequence, 0};

    digits.size = (size_t)(put_decimal(sequence, task->sequence) - sequence);
    to = put_text(to, STR("Opq-Id: "));
    to = put_text(to, push_task_id_prefix(task));
    to = put_text(to, digits);
    to = put_text(to, STR("\r\nOpq-Topic: "));
    to = put_text(to, push_task_topic(task));
    if (task->waits && !task->duplicate) {
        to = put_text(to, STR("\r\nOpq-Due: "));
        to = push_task_due(task, to);
    } else if (!task->waits) {
        to = put_text(to, STR("\r\nOpq-Seq: "));
        to = put_text(to, digits);
    }
    if (task->duplicate) { /* no more is known of the first than that it is */
        return put_text(to, STR("\r\nOpq-Duplicate: true\r\n"));
    }
    to = put_text(to, STR("\r\nOpq-Durability: "));
    to = put_text(to, push_task_durability(task));
    return put_text(to, STR("\r\n"));
}

enum {
    /* Constants 208 bytes at most, a time, a topic, id's prefix and five
     * numbers. */
    ANSWER_HEAD_MAX = 208 + PUSH_TASK_DUE_MAX + TOPIC_NAME_MAX +
                      TOPIC_ID_PREFIX_SIZE + 5 * PUT_DECIMAL_MAX,
};

static void answer_stored(const struct push_task *task)
{
    char head[ANSWER_HEAD_MAX];
    char body[PUSH_TASK_JSON_MAX];
    struct str body_text = STR("success");
    char *to =
        put_text(head, task->duplicate ? STR("HTTP/1.1 202 Accepted\r\n")
                                       : STR("HTTP/1.1 201 Created\r\n"));

    to = put_text(to, STR("Content-Type: "));
    if (task->json) {
        body_text = (struct str){body, 0};
        body_text.size = (size_t)(push_task_json(task, body) - body);
        to = put_text(to, STR("application/json\r\nContent-Length: "));
        to = put_decimal(to, body_text.size);
        to = put_text(to, STR("\r\n"));
    } else {
        to = put_text(to, STR("text/plain; charset=utf-8\r\n"
                              "Content-Length: 7\r\n"));
    }
    to = put_fields(task, to);
    CHECK(to <= head + sizeof(head));
    http_exchange_answer_raw(
        task->exchange, (struct str){head, (size_t)(to - head)}, body_text);
}

static enum listener_reason reason_of(int status)
{
    switch (status) {
    case 412:
        return LISTENER_CONDITION;
    case 413:
        return LISTENER_TOO_LARGE;
    case 503:
        return LISTENER_BUSY;
    case 507:
        return LISTENER_DISK_FULL;
    default:
        return status < 500 ? LISTENER_INVALID : LISTENER_STORAGE;
    }
}

void listener_count_refusals(struct listener *listener,
                             int status,
                             uint64_t count)
{
    struct listener_stats *stats = &listener->stats;

    *(status < 500 ? &stats->refused : &stats->failed) += count;
    stats->refused_for[reason_of(status)] += count;
}

void listener_count_failure(struct listener *listener, enum err err)
{
    listener_count_refusals(listener, answer_status(err), 1);
}

void listener_count(struct listener *listener, const struct push_task *task)
{
    if (task->err == ERR_OK && task->duplicate) {
        listener->stats.duplicates++;
    } else if (task->err == ERR_OK) {
        listener->stats.pushes++;
    } else {
        listener_count_failure(listener, task->err);
    }
}

/* Answer a push that came to nothing. */
static void answer_failed(const struct push_task *task)
{
    char detail[RECORDER_DETAIL_MAX];
    char members[PUSH_TASK_MEMBERS_MAX];

    push_task_detail(task, detail);
    if (task->json) {
        answer_problem(task->exchange, answer_status(task->err), detail,
                       push_task_members(task, members));
    } else {
        answer_plain_refusal(task->exchange, answer_status(task->err), detail);
    }
}

void listener_push_ended(struct push_task *task)
{
    listener_count(task->context, task);
    if (task->err == ERR_OK) {
        answer_stored(task);
    } else {
        answer_failed(task);
    }
    push_task_release(task);
}

/* --- requests ------------------------------------------------------------- */

static void take_push(struct listener *listener, struct http_exchange *exchange)
{
    bool json = answer_wants_json(exchange->head);
    struct push_refusal refusal;
    struct push_task *task = NULL;
    struct push push;

    if (recorder_is_event_batch(exchange->head)) {
        listener_batch(listener, exchange);
        return;
    }
    enum err err =
        recorder_read(listener->recorder, exchange->head, exchange->body,
                      io_wall_ms(listener->options.shard->io), &push, &refusal);
    if (err == ERR_INVALID) {
        listener_count_refusals(listener, refusal.status, 1);
        listener_refuse(exchange, json, refusal.status, refusal.detail);
        return;
    }
    if (err == ERR_OK) {
        err = push_task_acquire(&listener->pool, &task);
    }
    if (err == ERR_OK) {
        task->context = listener;
        task->exchange = exchange;
        task->json = json;
        task->ended = listener_push_ended;
        err = push_task_start(task, &push);
    }
    if (err != ERR_OK) {
        listener_count_failure(listener, err);
        listener_refuse(exchange, json, answer_status(err),
                        push_task_err_text(err));
        if (task != NULL) {
            push_task_release(task);
        }
        return;
    }
    listener->stats.pushed_bytes += exchange->body.size;
}

static const struct route {
    struct str path;
    void (*take)(struct listener *listener, struct http_exchange *exchange);
} routes[] = {
    {{"/opq/push", 9}, take_push},
    {{"/opq/batch", 10}, listener_batch},
    {{"/opq/replay", 11}, listener_replay},
};

bool listener_handle(struct listener *listener, struct http_exchange *exchange)
{
    for (size_t index = 0; index < sizeof(routes) / sizeof(*routes); index++) {
        if (!str_equal(routes[index].path, exchange->head->path)) {
            continue;
        }
        if (exchange->head->method != HTTP_METHOD_POST) {
            answer_method(exchange, "POST");
        } else if (listener->options.shard->stopping) {
            if (routes[index].take != listener_replay) {
                listener_count_failure(listener, ERR_CLOSED);
            }
            listener_refuse(exchange, answer_wants_json(exchange->head), 503,
                            push_task_err_text(ERR_CLOSED));
        } else {
            routes[index].take(listener, exchange);
        }
        return true;
    }
    return false;
}
