/* Raw pushes with a body too large for memory.
 *
 * What can fail: the request, before its body comes (400, 414, 503, 507); the
 * disk, meanwhile (507, 500); the client, by going or being too slow. Whatever
 * it is, the file goes, but when its record was given to the store: then what
 * became of it is the store's to know.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/listener_upload.h"

#include "base/check.h"
#include "queue/answer.h"
#include "queue/listener_internal.h"

#include <stdlib.h>

struct upload {
    struct http_sink sink;
    struct listener *listener; /* borrowed */
    struct store_blob *blob;   /* owned */
    struct push_task *task;    /* owned */
    struct list link;          /* in listener->upload_list */
    uint64_t begun_ms;         /* by the loop's time */
};

static struct upload *upload_of(struct http_sink *sink)
{
    return CONTAINER_OF(sink, struct upload, sink);
}

/* Let go of all that it has; the exchange is answered or nobody's. */
static void upload_drop(struct upload *upload)
{
    store_blob_drop(upload->blob);
    if (upload->task != NULL) {
        push_task_release(upload->task);
    }
    list_remove(&upload->link);
    upload->listener->uploads--;
    free(upload);
}

/* Answer with why it failed. */
static void upload_fail(struct upload *upload, enum err err)
{
    struct listener *listener = upload->listener;

    listener_count_failure(listener, err);
    listener_refuse(upload->sink.exchange, upload->task->json,
                    answer_status(err), push_task_err_text(err));
    upload_drop(upload);
}

/* --- the body ------------------------------------------------------------- */

static size_t sink_write(struct http_sink *sink, struct str bytes)
{
    struct upload *upload = upload_of(sink);
    size_t taken = store_blob_write(upload->blob, bytes);

    if (upload->blob->err != ERR_OK) {
        http_sink_refuse(sink);
        upload_fail(upload, upload->blob->err);
    }
    return taken;
}

static void sink_end(struct http_sink *sink)
{
    store_blob_end(upload_of(sink)->blob);
}

static void sink_abort(struct http_sink *sink)
{
    upload_drop(upload_of(sink));
}

static void blob_ready(struct store_blob *blob)
{
    struct upload *upload = blob->user;

    if (blob->err == ERR_OK) {
        http_sink_resume(&upload->sink);
        return;
    }
    http_sink_refuse(&upload->sink);
    upload_fail(upload, blob->err);
}

/* The push has ended: the file is its store's, or nobody's. */
static void push_ended(struct push_task *task)
{
    struct upload *upload = task->context;

    if (task->err == ERR_OK) {
        upload->listener->stats.pushed_bytes += upload->blob->message.size;
    }
    if (task->given) {
        store_blob_keep(upload->blob);
        upload->blob = NULL;
    }
    task->context = upload->listener;
    upload->task = NULL;
    upload_drop(upload);
    listener_push_ended(task);
}

/* The body is durable: store its message. */
static void blob_ended(struct store_blob *blob)
{
    struct upload *upload = blob->user;
    struct listener *listener = upload->listener;
    struct push_task *task = upload->task;
    enum err err = blob->err;

    if (err == ERR_OK) {
        task->context = upload;
        task->exchange = upload->sink.exchange;
        task->ended = push_ended;
        record_set_blob(task->record, &blob->message,
                        io_wall_ms(listener->options.shard->io));
        err = push_task_start_record(task);
    }
    if (err != ERR_OK) {
        upload_fail(upload, err);
    }
}

/* --- the head ------------------------------------------------------------- */

/* Take what is needed for a push that was read. */
static enum err
upload_begin(struct upload *upload, struct push *push, uint64_t body_size)
{
    struct listener *listener = upload->listener;
    enum err err = push_task_acquire(&listener->pool, &upload->task);

    if (err == ERR_OK) {
        push->message.blob.size = 1; /* told at the end */
        err = push_task_record(upload->task, push);
    }
    if (err == ERR_OK) {
        err = store_blob_begin(listener->options.shard->store, body_size,
                               &upload->blob);
    }
    if (err != ERR_OK) {
        return err;
    }
    upload->blob->ready = blob_ready;
    upload->blob->ended = blob_ended;
    upload->blob->user = upload;
    upload->sink.write = sink_write;
    upload->sink.end = sink_end;
    upload->sink.abort = sink_abort;
    return ERR_OK;
}

static enum err upload_create(struct listener *listener,
                              struct push *push,
                              const struct http_head *head,
                              struct upload **out)
{
    uint64_t size =
        head->content_length != HTTP_LENGTH_NONE ? head->content_length : 0;
    if (listener->uploads >= listener->options.uploads_max) {
        return ERR_BUSY;
    }
    struct upload *upload = calloc(1, sizeof(*upload));
    if (upload == NULL) {
        return ERR_NOMEM;
    }
    upload->listener = listener;
    listener->uploads++;
    list_append(&listener->upload_list, &upload->link);
    upload->begun_ms = io_now_ms(listener->options.shard->io);
    enum err err = upload_begin(upload, push, size);
    if (err != ERR_OK) {
        upload_drop(upload);
        return err;
    }
    *out = upload;
    return ERR_OK;
}

/* Open the sink of a raw push, or answer. */
static enum http_body take_push(struct listener *listener,
                                struct http_exchange *exchange,
                                struct http_sink **out_sink)
{
    bool json = answer_wants_json(exchange->head);
    struct push_refusal refusal;
    struct upload *upload = NULL;
    struct push push;

    enum err err =
        recorder_read(listener->recorder, exchange->head, (struct str){NULL, 0},
                      io_wall_ms(listener->options.shard->io), &push, &refusal);
    if (err == ERR_INVALID) {
        listener_count_refusals(listener, refusal.status, 1);
        listener_refuse(exchange, json, refusal.status, refusal.detail);
        return HTTP_BODY_ANSWERED;
    }
    if (err == ERR_OK && listener->options.shard->stopping) {
        err = ERR_CLOSED;
    }
    if (err == ERR_OK &&
        push_task_is_for_nobody(listener->options.shard, &push)) {
        err = ERR_INVALID;
    }
    if (err == ERR_OK) {
        err = upload_create(listener, &push, exchange->head, &upload);
    }
    if (err != ERR_OK) {
        listener_count_failure(listener, err);
        listener_refuse(exchange, json, answer_status(err),
                        push_task_err_text(err));
        return HTTP_BODY_ANSWERED;
    }
    upload->task->json = json;
    *out_sink = &upload->sink;
    return HTTP_BODY_SINK;
}

enum http_body listener_upload(struct listener *listener,
                               struct http_exchange *exchange,
                               struct http_sink **out_sink)
{
    const struct http_head *head = exchange->head;

    if (head->method != HTTP_METHOD_POST ||
        !str_equal(head->path, STR("/opq/push")) || !recorder_is_raw(head)) {
        return HTTP_BODY_MEMORY;
    }
    return take_push(listener, exchange, out_sink);
}

uint32_t listener_uploads(const struct listener *listener)
{
    return listener->uploads;
}

uint64_t listener_oldest_upload_ms(const struct listener *listener,
                                   uint64_t now_ms)
{
    if (list_empty(&listener->upload_list)) {
        return 0;
    }
    const struct upload *oldest =
        CONTAINER_OF(listener->upload_list.next, struct upload, link);
    return now_ms > oldest->begun_ms ? now_ms - oldest->begun_ms : 0;
}
