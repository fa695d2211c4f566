/* POST /opq/batch: many pushes in one request, one sync for all of them.
 *
 * The body is a JSON array or NDJSON (one value after the other), or an array
 * of CloudEvents, which takes /opq/push, too. The answer is
 * a JSON array with a result per item, in order: what a single JSON push would
 * have been answered, or a problem. 201 when all are stored, some of them maybe
 * before (duplicates), 207 otherwise; a body that is no such row, or a head
 * that cannot be, is refused whole, before anything of it is stored.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/listener_internal.h"

#include "base/check.h"
#include "base/json_scan.h"
#include "queue/answer.h"

#include <stdio.h>
#include <stdlib.h>

/* How one item ended: its task when it was stored, else a refusal. */
struct batch_item {
    struct push_task *task; /* owned; NULL: refused; then: */
    int status;
    char detail[RECORDER_DETAIL_MAX];
    char members[PUSH_TASK_MEMBERS_MAX]; /* further ones; empty: none */
};

enum { ITEM_ANSWER_LIKELY = 128 }; /* bytes, of a topic's usual name */

struct batch {
    struct listener *listener;      /* borrowed */
    struct http_exchange *exchange; /* borrowed */
    uint32_t item_count;
    uint32_t pending; /* items not ended, and one while reading */
    struct batch_item items[];
};

/* Look at one item, keeping its members where there is room for them.
 * Errors: ERR_NOT_FOUND (nothing but blanks is left), ERR_INVALID */
static enum err look_at_item(struct listener *listener,
                             struct json_scan *scan,
                             uint32_t *member_count,
                             struct recorder_item *out_item)
{
    struct json_scan_value value;
    struct recorder_member member;
    uint32_t first = *member_count;
    uint32_t count = 0;

    if (json_scan_open_object(scan) != ERR_OK) {
        enum err err = json_scan_next(scan, &value);
        if (err == ERR_OK) {
            *out_item = (struct recorder_item){.json = value.text};
        }
        return err;
    }
    size_t start = scan->position - 1;
    enum err err = json_scan_opened_member(scan, &member.name, &member.value);
    while (err == ERR_OK) {
        if (count < listener->member_max - first) {
            listener->members[first + count] = member;
        }
        count++;
        err = json_scan_opened_member(scan, &member.name, &member.value);
    }
    if (err != ERR_NOT_FOUND) {
        return ERR_INVALID;
    }
    bool kept = count <= listener->member_max - first;
    *out_item = (struct recorder_item){
        .json = str_cut(scan->text, start, scan->position - start),
        .members = kept ? listener->members + first : NULL,
        .member_count = kept ? count : 0,
    };
    *member_count += kept ? count : 0;
    return ERR_OK;
}

/* Find the items of a body, so that nothing is stored of one that is malformed:
 * listener->items has them then. An array is looked at to its end even when it
 * has too many.
 * An array of events may be empty.
 * Errors: ERR_INVALID, ERR_TOO_LARGE */
static enum err find_items(struct listener *listener,
                           struct str body,
                           bool events,
                           uint32_t *out_count)
{
    const uint32_t max = listener->options.batch_count_max;
    struct json_scan scan = json_scan_of(body);
    struct json_scan_value more;
    bool array = json_scan_open(&scan) == ERR_OK;
    uint32_t member_count = 0;
    size_t count = 0;

    if (events && !array) {
        return ERR_INVALID;
    }
    for (;;) {
        struct recorder_item item;
        enum err err = array ? json_scan_opened_place(&scan) : ERR_OK;
        if (err == ERR_NOT_FOUND) {
            break;
        }
        if (err == ERR_OK) {
            err = look_at_item(listener, &scan, &member_count, &item);
        }
        if (err == ERR_NOT_FOUND && !array) {
            break;
        }
        if (err != ERR_OK) {
            return ERR_INVALID;
        }
        if (count < max) {
            item.event = events;
            listener->items[count] = item;
        } else if (!array) {
            return ERR_TOO_LARGE;
        }
        count++;
    }
    if ((count == 0 && !events) ||
        (array && json_scan_next(&scan, &more) != ERR_NOT_FOUND)) {
        return ERR_INVALID;
    }
    *out_count = (uint32_t)count;
    return count > max ? ERR_TOO_LARGE : ERR_OK;
}

static void append_problem(const struct batch_item *item, struct buf *to)
{
    buf_append_format(to, "{\"title\":\"%s\",\"status\":%d,\"detail\":\"",
                      http_status_text(item->status), item->status);
    buf_append_json(to, str_from(item->detail));
    buf_append_c(to, "\"");
    if (item->members[0] != '\0') {
        buf_append_c(to, ",");
        buf_append_c(to, item->members);
    }
    buf_append_c(to, "}");
}

static void batch_end(struct batch *batch)
{
    struct buf body = {0};
    bool all_stored = true;
    size_t size_likely = (size_t)batch->item_count * ITEM_ANSWER_LIKELY;

    if (buf_reserve(&body, size_likely) != ERR_OK) {
        buf_clear(&body); /* it may grow, yet */
    }
    if (batch->item_count == 0) {
        buf_append_c(&body, "[");
    }
    for (uint32_t index = 0; index < batch->item_count; index++) {
        struct batch_item *item = &batch->items[index];
        buf_append_c(&body, index == 0 ? "[" : ",\n");
        if (item->task != NULL) {
            if (buf_reserve(&body, PUSH_TASK_JSON_MAX) == ERR_OK) {
                char *at = body.data + body.size;
                body.size += (size_t)(push_task_json(item->task, at) - at);
            }
            push_task_release(item->task);
        } else {
            all_stored = false;
            append_problem(item, &body);
        }
    }
    buf_append_c(&body, "]\n");
    if (body.failed) {
        answer_problem(batch->exchange, 503, push_task_err_text(ERR_NOMEM),
                       NULL);
    } else {
        answer_json(batch->exchange, all_stored ? 201 : 207, buf_str(&body));
    }
    buf_fini(&body);
    free(batch);
}

static void batch_release(struct batch *batch)
{
    CHECK(batch->pending > 0);
    batch->pending--;
    if (batch->pending == 0) {
        batch_end(batch);
    }
}

static void item_failed(struct batch_item *item, enum err err)
{
    item->status = answer_status(err);
    item->members[0] = '\0';
    (void)snprintf(item->detail, sizeof(item->detail), "%s",
                   push_task_err_text(err));
}

static void item_ended(struct push_task *task)
{
    struct batch *batch = task->batch;
    struct batch_item *item = &batch->items[task->item];

    listener_count(batch->listener, task);
    if (task->err == ERR_OK) {
        item->task = task;
    } else {
        item->status = answer_status(task->err);
        push_task_detail(task, item->detail);
        item->members[0] = '\0';
        (void)push_task_members(task, item->members);
        push_task_release(task);
    }
    batch_release(batch);
}

static void item_refused(struct batch *batch,
                         struct batch_item *item,
                         const struct push_refusal *refusal)
{
    listener_count_refusals(batch->listener, refusal->status, 1);
    item->status = refusal->status;
    item->members[0] = '\0';
    (void)snprintf(item->detail, sizeof(item->detail), "%s", refusal->detail);
}

static void start_item(struct batch *batch, uint32_t index)
{
    struct listener *listener = batch->listener;
    struct batch_item *item = &batch->items[index];
    struct push_refusal refusal;
    struct push_task *task = NULL;
    struct push push;

    item->task = NULL;
    enum err err = recorder_read_item(listener->recorder,
                                      &listener->items[index], &push, &refusal);
    if (err == ERR_INVALID) {
        item_refused(batch, item, &refusal);
        return;
    }
    if (err == ERR_OK) {
        err = push_task_acquire(&listener->pool, &task);
    }
    if (err == ERR_OK) {
        task->batch = batch;
        task->item = index;
        task->ended = item_ended;
        batch->pending++;
        err = push_task_start(task, &push);
        if (err != ERR_OK) {
            batch->pending--;
        }
    }
    if (err != ERR_OK) {
        listener_count_failure(listener, err);
        item_failed(item, err);
        if (task != NULL) {
            push_task_release(task);
        }
    }
}

static void start_items(struct batch *batch)
{
    batch->pending = 1;
    for (uint32_t index = 0; index < batch->item_count; index++) {
        start_item(batch, index);
    }
    batch_release(batch);
}

/* Read what the head says for all items. When it is refused, so is the request.
 */
static bool read_head(struct listener *listener, struct http_exchange *exchange)
{
    struct push_refusal refusal;

    enum err err =
        recorder_begin_items(listener->recorder, exchange->head,
                             io_wall_ms(listener->options.shard->io), &refusal);
    if (err == ERR_INVALID) {
        listener_count_refusals(listener, refusal.status, 1);
        answer_problem(exchange, refusal.status, refusal.detail, NULL);
    } else if (err != ERR_OK) {
        listener_count_failure(listener, err);
        answer_problem(exchange, answer_status(err), push_task_err_text(err),
                       NULL);
    }
    return err == ERR_OK;
}

void listener_batch(struct listener *listener, struct http_exchange *exchange)
{
    uint32_t count = 0;
    bool events = recorder_is_event_batch(exchange->head);
    enum err err = find_items(listener, exchange->body, events, &count);

    if (err != ERR_OK) {
        listener_count_failure(listener, err);
        answer_problem(
            exchange, answer_status(err),
            err == ERR_TOO_LARGE ? "body has more items than batch_count_max"
            : events             ? "body must be a JSON array of CloudEvents"
                     : "body must be a JSON array or NDJSON of pushes",
            NULL);
        return;
    }
    if (!read_head(listener, exchange)) {
        return;
    }
    struct batch *batch =
        malloc(sizeof(*batch) + (size_t)count * sizeof(struct batch_item));
    if (batch == NULL) {
        answer_problem(exchange, 503, push_task_err_text(ERR_NOMEM), NULL);
        return;
    }
    batch->listener = listener;
    batch->exchange = exchange;
    batch->item_count = count;
    listener->stats.pushed_bytes += exchange->body.size;
    start_items(batch);
}
