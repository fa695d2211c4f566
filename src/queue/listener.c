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

enum err listener_create(const struct listener_options *options,
                         struct listener **out)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL) {
        return ERR_NOMEM;
    }
    listener->options = *options;
    push_task_pool_init(&listener->pool, options->shard, options->pending_max);
    enum err err = recorder_create(&options->recorder, &listener->recorder);
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
    free(listener);
}

const struct listener_stats *listener_stats(struct listener *listener)
{
    listener->stats.pending = listener->pool.pending;
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

/* Append the fields that tell what became of the push, and the empty line's
 * place: complete but for Date and Connection. */
static void render_fields(const struct push_task *task, struct buf *to)
{
    buf_append_str(to, STR("Opq-Id: "));
    buf_append_c(to, task->id_prefix);
    buf_append_u64(to, task->sequence);
    buf_append_str(to, STR("\r\nOpq-Topic: "));
    buf_append_c(to, task->topic);
    buf_append_str(to, STR("\r\nOpq-Seq: "));
    buf_append_u64(to, task->sequence);
    buf_append_str(to, STR("\r\nOpq-Durability: "));
    buf_append_c(to, push_task_durability(task));
    buf_append_str(to, STR("\r\n"));
}

static void answer_stored(const struct push_task *task)
{
    char memory[640];
    char body_memory[320];
    struct buf head = {
        .data = memory, .capacity = sizeof(memory), .size_max = sizeof(memory)};
    struct buf body = {.data = body_memory,
                       .capacity = sizeof(body_memory),
                       .size_max = sizeof(body_memory)};

    buf_append_str(&head, STR("HTTP/1.1 201 Created\r\n"));
    if (task->json) {
        push_task_json(task, &body);
        buf_append_str(&head, STR("Content-Type: application/json\r\n"
                                  "Content-Length: "));
        buf_append_u64(&head, body.size);
        buf_append_str(&head, STR("\r\n"));
    } else {
        buf_append_str(&body, STR("success"));
        buf_append_str(&head, STR("Content-Type: text/plain; charset=utf-8\r\n"
                                  "Content-Length: 7\r\n"));
    }
    render_fields(task, &head);
    CHECK(!head.failed && !body.failed);
    http_exchange_answer_raw(task->exchange, buf_str(&head), buf_str(&body));
}

void listener_push_ended(struct push_task *task)
{
    struct listener *listener = task->context;

    if (task->err == ERR_OK) {
        listener->stats.pushes++;
        answer_stored(task);
    } else {
        listener->stats.failed++;
        listener_refuse(task->exchange, task->json, answer_status(task->err),
                        push_task_err_text(task->err));
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

    enum err err =
        recorder_read(listener->recorder, exchange->head, exchange->body,
                      io_wall_ms(listener->options.shard->io), &push, &refusal);
    if (err == ERR_INVALID) {
        listener->stats.refused++;
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
        listener->stats.failed++;
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
            listener_refuse(exchange, answer_wants_json(exchange->head), 503,
                            push_task_err_text(ERR_CLOSED));
        } else {
            routes[index].take(listener, exchange);
        }
        return true;
    }
    return false;
}
