/* POST /opq/replay: the topic's cursor goes to `cmd`, and delivery with it.
 *
 * It is done on the shard that owns the topic. 404 for a topic that is not
 * there, 416 outside of what is kept; `cmd` equal to the end is accepted and
 * waits for the next message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/listener_internal.h"

#include "base/check.h"
#include "queue/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct replay {
    struct shard_call call;
    struct store_op op;
    struct http_exchange *exchange; /* borrowed */
    bool json;
    char topic[TOPIC_NAME_MAX + 1];
    uint64_t cmd;
    enum err err;
    struct store_bounds bounds; /* for a 416 */
};

static void replay_moved(struct store_op *op, enum err err)
{
    struct replay *replay = CONTAINER_OF(op, struct replay, op);
    struct topic *topic = NULL;

    replay->err = err;
    /* A move that failed is undone: the delivery goes back with it. The topic
     * may have been deleted meanwhile. */
    if (err != ERR_OK &&
        shard_topic(replay->call.there, str_from(replay->topic), false,
                    &topic) == ERR_OK) {
        topic_changed(topic);
    }
    shard_call_return(&replay->call);
}

static void replay_run(struct shard_call *call, struct shard *there)
{
    struct replay *replay = CONTAINER_OF(call, struct replay, call);
    struct topic *topic = NULL;

    replay->err = shard_topic(there, str_from(replay->topic), false, &topic);
    if (replay->err == ERR_OK) {
        replay->bounds = topic->store->bounds;
        if (replay->cmd < replay->bounds.oldest ||
            replay->cmd > replay->bounds.end) {
            replay->err = ERR_RANGE;
        }
    }
    if (replay->err != ERR_OK) {
        shard_call_return(call);
        return;
    }
    replay->op.done = replay_moved;
    store_cursor_move(topic->store, replay->cmd, &replay->op);
    topic_changed(topic);
}

/* Say that `cmd` is outside, and what is inside. */
static void answer_range(const struct replay *replay)
{
    char detail[160];
    char members[96];
    uint64_t oldest = replay->bounds.oldest;
    uint64_t end = replay->bounds.end;

    if (end == oldest) {
        (void)snprintf(detail, sizeof(detail),
                       "cmd is out of range: the topic is empty, the next "
                       "message is %llu",
                       (unsigned long long)end);
    } else {
        (void)snprintf(detail, sizeof(detail),
                       "cmd is out of range: oldest=%llu newest=%llu",
                       (unsigned long long)oldest, (unsigned long long)end - 1);
    }
    if (!replay->json) {
        answer_plain_refusal(replay->exchange, 416, detail);
        return;
    }
    (void)snprintf(members, sizeof(members), "\"oldest\":%llu,\"end\":%llu",
                   (unsigned long long)oldest, (unsigned long long)end);
    answer_problem(replay->exchange, 416, detail, members);
}

static void answer_replayed(const struct replay *replay)
{
    const struct http_header headers[] = {
        {STR("Content-Type"), STR("text/plain; charset=utf-8")},
        {STR("Opq-Topic"), str_from(replay->topic)},
    };
    char body[TOPIC_NAME_MAX + 64];

    if (!replay->json) {
        http_exchange_answer(replay->exchange, 201, headers, 2, STR("success"));
        return;
    }
    int size = snprintf(body, sizeof(body), "{\"topic\":\"%s\",\"cmd\":%llu}",
                        replay->topic, (unsigned long long)replay->cmd);
    answer_json(replay->exchange, 201, (struct str){body, (size_t)size});
}

static void replay_returned(struct shard_call *call)
{
    struct replay *replay = CONTAINER_OF(call, struct replay, call);

    if (replay->err == ERR_OK) {
        answer_replayed(replay);
    } else if (replay->err == ERR_RANGE) {
        answer_range(replay);
    } else {
        const char *detail = replay->err == ERR_NOT_FOUND
                                 ? "topic is not known"
                                 : "the cursor could not be moved";
        listener_refuse(replay->exchange, replay->json,
                        answer_status(replay->err), detail);
    }
    free(replay);
}

/* Read the two fields. Returns what is wrong, or NULL. */
static const char *
read_fields(const struct form *form, struct str *out_topic, uint64_t *out_cmd)
{
    const struct form_field *topic = form_find(form, STR("topic"));
    const struct form_field *cmd = form_find(form, STR("cmd"));

    if (topic == NULL || topic->value.size == 0) {
        return "topic is missing or empty";
    }
    if (!store_topic_name_valid(topic->value)) {
        return "topic must be 1 to 128 of A-Z a-z 0-9 . _ - and not . or ..";
    }
    if (cmd == NULL || cmd->value.size == 0) {
        return "cmd is missing or empty";
    }
    enum err err = str_to_u64(cmd->value, out_cmd);
    if (err == ERR_RANGE) {
        *out_cmd = UINT64_MAX; /* a number, but beyond any end */
    } else if (err != ERR_OK) {
        return "cmd must be a decimal number, 0 or more";
    }
    *out_topic = topic->value;
    return NULL;
}

static enum err start_replay(struct listener *listener,
                             struct http_exchange *exchange,
                             struct str topic,
                             uint64_t cmd)
{
    struct shard *home = listener->options.shard;
    struct replay *replay = calloc(1, sizeof(*replay));

    if (replay == NULL) {
        return ERR_NOMEM;
    }
    replay->exchange = exchange;
    replay->json = answer_wants_json(exchange->head);
    replay->cmd = cmd;
    memcpy(replay->topic, topic.data, topic.size);
    replay->call.run = replay_run;
    replay->call.returned = replay_returned;
    enum err err = shard_send(home, shard_owner(home, topic), &replay->call);
    if (err != ERR_OK) {
        free(replay);
    }
    return err;
}

void listener_replay(struct listener *listener, struct http_exchange *exchange)
{
    bool json = answer_wants_json(exchange->head);
    const struct form *form = NULL;
    struct push_refusal refusal;
    struct str topic = {NULL, 0};
    uint64_t cmd = 0;

    enum err err = recorder_read_form(listener->recorder, exchange->head,
                                      exchange->body, &form, &refusal);
    if (err == ERR_INVALID) {
        listener_refuse(exchange, json, refusal.status, refusal.detail);
        return;
    }
    if (err == ERR_OK) {
        const char *wrong = read_fields(form, &topic, &cmd);
        if (wrong != NULL) {
            listener_refuse(exchange, json, 400, wrong);
            return;
        }
        err = start_replay(listener, exchange, topic, cmd);
    }
    if (err != ERR_OK) {
        listener_refuse(exchange, json, answer_status(err),
                        push_task_err_text(err));
    }
}
