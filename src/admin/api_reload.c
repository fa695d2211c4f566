/* Reading the settings anew: POST /opq/reload.
 *
 * What happens: files are read on the helper thread; what came of it is posted
 * to every shard, and the last one that goes by it posts back; then the answer.
 * What can fail: reading (400), or another reload under way (409). Policy:
 * nothing is changed unless all is right; then nothing can fail, so that no
 * shard is left behind.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "base/check.h"
#include "queue/answer.h"

#include <stdlib.h>

struct reload_part {
    struct io_task task;
    struct reload_call *call;
    struct shard *shard;
};

struct reload_call {
    struct api *api;                /* borrowed */
    struct http_exchange *exchange; /* borrowed */
    struct shard *home;             /* borrowed */
    struct io_work work;
    enum err err; /* of reading */
    struct buf answer;
    struct buf errors;
    struct io_task end_task;
    atomic_uint left; /* shards that have not changed */
    struct reload_part parts[SHARDS_MAX];
};

/* What is wrong, as an array of lines. */
static void answer_errors(struct http_exchange *exchange,
                          const struct buf *errors)
{
    struct str left = buf_str(errors);
    struct buf members = {0};

    buf_append_c(&members, "\"errors\":[");
    for (bool first = true; left.size > 0; first = false) {
        size_t end = str_find(left, '\n');
        buf_append_c(&members, first ? "\"" : ",\"");
        buf_append_json(&members, str_cut(left, 0, end));
        buf_append_c(&members, "\"");
        left = str_cut(left, end + 1, left.size);
    }
    buf_append_byte(&members, ']');
    buf_append_byte(&members, '\0');
    answer_problem(exchange, 400, "the settings are wrong: nothing is changed",
                   members.failed ? NULL : members.data);
    buf_fini(&members);
}

/* Answer, and let the next one in. */
static void reload_over(struct reload_call *call)
{
    if (call->err == ERR_OK) {
        answer_json(call->exchange, 200, buf_str(&call->answer));
    } else if (call->err == ERR_INVALID) {
        answer_errors(call->exchange, &call->errors);
    } else {
        answer_problem(call->exchange, answer_status(call->err),
                       err_text(call->err), NULL);
    }
    call->home->calls--;
    atomic_store(&call->api->reloading, false);
    buf_fini(&call->answer);
    buf_fini(&call->errors);
    free(call);
}

/* Home again, all shards having changed. */
static void end_arrived(struct io_task *task)
{
    struct reload_call *call = CONTAINER_OF(task, struct reload_call, end_task);
    const struct api_reload *reload = &call->api->options.reload;

    reload->end(reload->context);
    reload_over(call);
}

/* On a shard. */
static void part_arrived(struct io_task *task)
{
    struct reload_part *part = CONTAINER_OF(task, struct reload_part, task);
    struct reload_call *call = part->call;
    const struct api_reload *reload = &call->api->options.reload;

    reload->apply(reload->context, pipeline_of(part->shard));
    if (atomic_fetch_sub(&call->left, 1) == 1) {
        io_post(call->home->io, &call->end_task);
    }
}

/* On the helper thread. */
static void read_anew(struct io_work *work)
{
    struct reload_call *call = CONTAINER_OF(work, struct reload_call, work);
    const struct api_reload *reload = &call->api->options.reload;

    call->err = reload->read(reload->context, &call->answer, &call->errors);
}

static void read_done(struct io_work *work)
{
    struct reload_call *call = CONTAINER_OF(work, struct reload_call, work);
    const struct shard_group *group = call->home->group;

    if (call->err != ERR_OK) {
        reload_over(call);
        return;
    }
    atomic_store(&call->left, group->count);
    for (uint32_t i = 0; i < group->count; i++) {
        struct reload_part *part = &call->parts[i];
        part->call = call;
        part->shard = group->shards[i];
        part->task.run = part_arrived;
    }
    for (uint32_t i = 0; i < group->count; i++) {
        io_post(group->shards[i]->io, &call->parts[i].task);
    }
}

void api_reload_post(const struct api_request *request)
{
    struct api *api = request->api;
    struct reload_call *call = NULL;

    if (!api_query_none(request)) {
        return;
    }
    if (api->options.reload.read == NULL) {
        answer_problem(request->exchange, 501, "there is nothing to reload",
                       NULL);
        return;
    }
    if (atomic_exchange(&api->reloading, true)) {
        answer_problem(request->exchange, 409, "another reload is under way",
                       NULL);
        return;
    }
    call = calloc(1, sizeof(*call));
    if (call == NULL) {
        atomic_store(&api->reloading, false);
        answer_problem(request->exchange, 503, "out of memory", NULL);
        return;
    }
    call->api = api;
    call->exchange = request->exchange;
    call->home = pipeline_shard(request->pipeline);
    call->home->calls++; /* the shard does not end meanwhile */
    call->end_task.run = end_arrived;
    call->work.run = read_anew;
    call->work.done = read_done;
    io_work_start(call->home->io, &call->work);
}
