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

enum { POOL_FIRST_COUNT = 64 };

static enum err pool_grow(struct listener *listener)
{
    struct push_task *task = calloc(1, sizeof(*task));

    if (task == NULL) {
        return ERR_NOMEM;
    }
    task->listener = listener;
    list_append(&listener->pool, &task->link);
    return ERR_OK;
}

enum err listener_create(const struct listener_options *options,
                         struct listener **out)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL) {
        return ERR_NOMEM;
    }
    listener->options = *options;
    list_init(&listener->pool);
    enum err err = recorder_create(&options->recorder, &listener->recorder);
    for (int count = 0; err == ERR_OK && count < POOL_FIRST_COUNT; count++) {
        err = pool_grow(listener);
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
    CHECK(listener->stats.pending == 0);
    while (!list_empty(&listener->pool)) {
        struct list *link = list_take_first(&listener->pool);
        free(CONTAINER_OF(link, struct push_task, link));
    }
    recorder_destroy(listener->recorder);
    free(listener);
}

const struct listener_stats *listener_stats(const struct listener *listener)
{
    return &listener->stats;
}

enum err push_task_acquire(struct listener *listener, struct push_task **out)
{
    if (listener->stats.pending >= listener->options.pending_max) {
        return ERR_BUSY;
    }
    if (list_empty(&listener->pool) && pool_grow(listener) != ERR_OK) {
        return ERR_NOMEM;
    }
    struct list *link = list_take_first(&listener->pool);
    struct push_task *task = CONTAINER_OF(link, struct push_task, link);
    task->exchange = NULL;
    task->batch = NULL;
    task->json = false;
    task->record = NULL;
    listener->stats.pending++;
    *out = task;
    return ERR_OK;
}

void push_task_release(struct push_task *task)
{
    struct listener *listener = task->listener;

    free(task->record);
    task->record = NULL;
    listener->stats.pending--;
    /* The one used last is warm: take it first. */
    list_prepend(&listener->pool, &task->link);
}

/* --- the way through the shards
 * ----------------------------------------------- */

static void note_topic(struct push_task *task, const struct topic *topic)
{
    memcpy(task->id_prefix, topic->id_prefix, sizeof(task->id_prefix));
    memcpy(task->topic, topic->store->name_str.data,
           topic->store->name_str.size + 1);
}

static void stored_here(struct store_op *op, enum err err)
{
    struct push_task *task = CONTAINER_OF(op, struct push_task, op);

    task->err = err;
    task->sequence = op->sequence;
    task->durability = op->durability;
    task->ended(task);
}

static void stored_there(struct store_op *op, enum err err)
{
    struct push_task *task = CONTAINER_OF(op, struct push_task, op);

    task->err = err;
    task->sequence = op->sequence;
    task->durability = op->durability;
    shard_call_return(&task->call);
}

static void carried(struct shard_call *call, struct shard *there)
{
    struct push_task *task = CONTAINER_OF(call, struct push_task, call);
    struct topic *topic = NULL;

    /* Taken even while the shard drains: it was promised where it came, and
     * no store closes before all shards have drained. */
    task->err = shard_topic(there, str_from(task->topic), true, &topic);
    if (task->err == ERR_OK) {
        note_topic(task, topic);
        task->err = store_append_encoded(topic->store, task->record,
                                         task->record_size, &task->op);
    }
    if (task->err != ERR_OK) {
        shard_call_return(call);
    }
}

static void carried_back(struct shard_call *call)
{
    struct push_task *task = CONTAINER_OF(call, struct push_task, call);

    task->ended(task);
}

/* Encode a push for another shard and send it there. */
static enum err
carry(struct push_task *task, const struct push *push, struct shard *there)
{
    enum err err = record_size(&push->message, &task->record_size);
    if (err != ERR_OK) {
        return err;
    }
    task->record = aligned_alloc(RECORD_ALIGN, task->record_size);
    if (task->record == NULL) {
        return ERR_NOMEM;
    }
    record_encode(&push->message, 0, task->record, task->record_size);
    memcpy(task->topic, push->topic.data, push->topic.size);
    task->topic[push->topic.size] = '\0';
    task->op.done = stored_there;
    task->call.run = carried;
    task->call.returned = carried_back;
    task->listener->stats.carried++;
    return shard_send(task->listener->options.shard, there, &task->call);
}

enum err push_task_start(struct push_task *task, const struct push *push)
{
    struct shard *home = task->listener->options.shard;
    struct shard *owner = shard_owner(home, push->topic);
    struct topic *topic = NULL;

    task->op.durability = push->durability;
    if (owner != home) {
        return carry(task, push, owner);
    }
    enum err err = shard_topic(home, push->topic, true, &topic);
    if (err != ERR_OK) {
        return err;
    }
    note_topic(task, topic);
    task->op.done = stored_here;
    return store_append(topic->store, &push->message, &task->op);
}

/* --- answers
 * ---------------------------------------------------------------------- */

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

const char *push_err_text(enum err err)
{
    switch (err) {
    case ERR_TOO_LARGE:
        return "the message is larger than this server stores";
    case ERR_BUSY:
    case ERR_NOMEM:
        return "too much is under way; try again";
    case ERR_CLOSED:
        return "the server is stopping";
    case ERR_FULL:
        return "no room on disk; try again when there is";
    default:
        return "the message could not be made durable";
    }
}

static const char *durability_text(enum durability durability)
{
    return durability == DURABILITY_DISK ? "disk" : "none";
}

void push_task_json(const struct push_task *task, struct buf *to)
{
    buf_append_c(to, "{\"id\":\"");
    buf_append_c(to, task->id_prefix);
    buf_append_u64(to, task->sequence);
    buf_append_c(to, "\",\"topic\":\"");
    buf_append_c(to, task->topic);
    buf_append_c(to, "\",\"seq\":");
    buf_append_u64(to, task->sequence);
    buf_append_c(to, ",\"durability\":\"");
    buf_append_c(to, durability_text(task->durability));
    buf_append_c(to, "\"}");
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
    buf_append_c(to, durability_text(task->durability));
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

static void push_ended(struct push_task *task)
{
    struct listener *listener = task->listener;

    if (task->err == ERR_OK) {
        listener->stats.pushes++;
        answer_stored(task);
    } else {
        listener->stats.failed++;
        listener_refuse(task->exchange, task->json, answer_status(task->err),
                        push_err_text(task->err));
    }
    push_task_release(task);
}

/* --- requests
 * ------------------------------------------------------------------------ */

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
        err = push_task_acquire(listener, &task);
    }
    if (err == ERR_OK) {
        task->exchange = exchange;
        task->json = json;
        task->ended = push_ended;
        err = push_task_start(task, &push);
    }
    if (err != ERR_OK) {
        listener->stats.failed++;
        listener_refuse(exchange, json, answer_status(err), push_err_text(err));
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
                            push_err_text(ERR_CLOSED));
        } else {
            routes[index].take(listener, exchange);
        }
        return true;
    }
    return false;
}
