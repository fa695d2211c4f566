/* Calls of the API: to the shards and back, and what they hold there.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"

#include "base/check.h"
#include "queue/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- calls ---------------------------------------------------------------- */

static void call_free(struct api_call *call)
{
    if (call->release != NULL) {
        call->release(call);
    }
    buf_fini(&call->detail);
    buf_fini(&call->members);
    buf_fini(&call->body);
    free(call);
}

/* Answer, unless that was done. */
static void call_answer(struct api_call *call)
{
    struct http_exchange *exchange = call->exchange;

    if (exchange == NULL) {
        return;
    }
    call->exchange = NULL;
    exchange->abandoned = NULL;
    if (call->body.size > API_LARGE_SIZE && http_exchange_crowded(exchange)) {
        answer_problem(exchange, 503,
                       "too many answers are waiting to be taken; try again",
                       NULL);
        return;
    }
    if (call->status < 300 &&
        (buf_err(&call->body) != ERR_OK || buf_err(&call->members) != ERR_OK)) {
        answer_problem(exchange, 503, "out of memory", NULL);
        return;
    }
    if (call->status == 204) {
        http_exchange_answer(exchange, 204, NULL, 0, (struct str){NULL, 0});
    } else if (call->status < 300 && call->type != NULL) {
        answer_text(exchange, call->type, buf_str(&call->body));
    } else if (call->status < 300) {
        answer_json(exchange, call->status == 0 ? 200 : call->status,
                    buf_str(&call->body));
    } else {
        answer_problem(exchange, call->status,
                       call->detail.failed ? "" : call->detail.data,
                       call->members.size > 0 && !call->members.failed
                           ? call->members.data
                           : NULL);
    }
}

static void call_close(struct api_call *call)
{
    if (call->finish != NULL && call->status < 300) {
        call->finish(call);
    } else if (call->failed != NULL && call->status >= 300) {
        call->failed(call);
    }
    buf_append_byte(&call->members, '\0');
    if (call->members.size == 1) {
        buf_clear(&call->members); /* none */
    }
    call_answer(call);
    if (!call->kept) {
        call_free(call);
    }
}

/* Tell whether another large answer may begin in this turn. */
static bool take_turn(struct api_shard *place, const struct shard *there)
{
    uint64_t turn = io_stats(there->io)->turns;

    if (place->large_turn != turn) {
        place->large_turn = turn;
        place->large_count = 0;
    }
    place->large_count++;
    return place->large_count <= API_LARGE_PER_TURN;
}

static void call_run(struct shard_call *shard_call, struct shard *there)
{
    struct api_call *call = CONTAINER_OF(shard_call, struct api_call, call);

    if (call->large && !take_turn(&call->api->shards[there->index], there)) {
        shard_call_again(shard_call);
        return;
    }
    call->run(call, there);
}

/* On to a shard; when it cannot go, answer. */
static void call_go(struct api_call *call, struct shard *there)
{
    if (call->large && call->exchange != NULL) {
        http_exchange_alone(call->exchange);
    }
    enum err err = shard_send(call->home, there, &call->call);

    if (err != ERR_OK) {
        api_call_err(call, err, "the server");
        call_close(call);
    }
}

/* On to where the call says, or close it. */
static void call_tour(struct api_call *call)
{
    struct shard *there = call->status < 300 ? call->onward(call) : NULL;

    if (there != NULL) {
        call_go(call, there);
    } else {
        call_close(call);
    }
}

static void call_returned(struct shard_call *shard_call)
{
    struct api_call *call = CONTAINER_OF(shard_call, struct api_call, call);
    struct shard_group *group = call->home->group;

    if (call->onward != NULL) {
        call_tour(call);
        return;
    }
    if (call->walking && call->status == 0 &&
        call->walk_index + 1 < group->count) {
        call->walk_index++;
        call_go(call, group->shards[call->walk_index]);
        return;
    }
    if (call->walking && call->status == 0 && call->again != NULL &&
        call->again(call)) {
        call->walk_index = 0;
        call_go(call, group->shards[0]);
        return;
    }
    call_close(call);
}

struct api_call *api_call_create(const struct api_request *request,
                                 size_t size,
                                 void (*run)(struct api_call *call,
                                             struct shard *there))
{
    CHECK(size >= sizeof(struct api_call));
    CHECK(request->segments[0].size <= TOPIC_NAME_MAX);

    struct api_call *call = calloc(1, size);
    if (call == NULL) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        return NULL;
    }
    call->api = request->api;
    call->home = pipeline_shard(request->pipeline);
    call->exchange = request->exchange;
    call->run = run;
    call->call.run = call_run;
    call->call.returned = call_returned;
    if (request->segments[0].size > 0) {
        memcpy(call->topic, request->segments[0].data,
               request->segments[0].size);
    }
    return call;
}

void api_call_send(struct api_call *call)
{
    call_go(call, shard_owner(call->home, str_from(call->topic)));
}

void api_call_to(struct api_call *call, struct shard *there)
{
    call_go(call, there);
}

void api_call_tour(struct api_call *call)
{
    CHECK(call->onward != NULL);
    call_tour(call);
}

void api_call_walk(struct api_call *call)
{
    call->walking = true;
    call_go(call, call->home->group->shards[0]);
}

void api_call_end(struct api_call *call)
{
    shard_call_return(&call->call);
}

void api_call_problem(struct api_call *call, int status, const char *detail)
{
    call->status = status;
    buf_clear(&call->detail);
    buf_append_c(&call->detail, detail);
    buf_append_byte(&call->detail, '\0');
}

void api_call_err(struct api_call *call, enum err err, const char *subject)
{
    struct buf detail = {0};
    const char *why = err_text(err);

    if (err == ERR_NOT_FOUND) {
        why = "not known";
    }
    buf_append_c(&detail, subject);
    buf_append_c(&detail, ": ");
    buf_append_c(&detail, why);
    buf_append_byte(&detail, '\0');
    api_call_problem(call, answer_status(err),
                     detail.failed ? why : detail.data);
    buf_fini(&detail);
}

void api_call_range(struct api_call *call,
                    const char *what,
                    const struct store_bounds *bounds)
{
    unsigned long long oldest = bounds->oldest;
    unsigned long long end = bounds->end;
    char detail[128];

    (void)snprintf(detail, sizeof(detail), "%s: oldest=%llu end=%llu", what,
                   oldest, end);
    api_call_problem(call, 416, detail);
    buf_append_format(&call->members, "\"oldest\":%llu,\"end\":%llu", oldest,
                      end);
}

void api_call_drop(struct api_call *call)
{
    CHECK(!call->kept);
    call_free(call);
}

/* --- readings ------------------------------------------------------------- */

static void reading_ready(struct store_reader *reader)
{
    struct api_reading *reading = reader->user;

    reading->busy = false;
    reading->ready(reading);
}

/* Each turn while there are readings: end those that wait on a shard that
 * stops, since it drains only when they are answered. */
static void readings_turn(struct io_hook *hook)
{
    struct api_shard *place = CONTAINER_OF(hook, struct api_shard, hook);

    if (!place->shard->stopping) {
        return;
    }
    struct list *link = place->readings.next;
    while (link != &place->readings) {
        struct api_reading *reading =
            CONTAINER_OF(link, struct api_reading, link);
        link = link->next;
        reading->stopping(reading);
    }
}

enum err api_reading_open(struct api_reading *reading,
                          struct api *api,
                          struct shard *shard,
                          struct topic *topic)
{
    struct api_shard *place = &api->shards[shard->index];

    CHECK(reading->reader == NULL);
    enum err err = store_reader_create(topic->store, &reading->reader);
    if (err != ERR_OK) {
        return err;
    }
    reading->reader->ready = reading_ready;
    reading->reader->user = reading;
    reading->place = place;
    reading->busy = false;
    if (place->shard == NULL) {
        place->shard = shard;
        place->hook.turn = readings_turn;
        list_init(&place->readings);
    }
    if (list_empty(&place->readings)) {
        io_hook_add(shard->io, &place->hook);
    }
    list_append(&place->readings, &reading->link);
    return ERR_OK;
}

enum err api_reading_next(struct api_reading *reading,
                          uint64_t sequence,
                          struct record *out_record)
{
    if (reading->busy) {
        return ERR_AGAIN;
    }
    enum err err = store_reader_next(reading->reader, sequence, out_record);
    reading->busy = err == ERR_AGAIN;
    return err;
}

void api_reading_close(struct api_reading *reading)
{
    if (reading->reader == NULL) {
        return;
    }
    store_reader_destroy(reading->reader);
    reading->reader = NULL;
    list_remove(&reading->link);
    if (list_empty(&reading->place->readings)) {
        io_hook_remove(reading->place->shard->io, &reading->place->hook);
    }
}

/* Tell whether a reading is for a subscription. */
static bool is_for(const struct api_reading *reading,
                   const struct topic *subscription)
{
    return reading->subscription != NULL &&
           reading->reader->topic == subscription->store->parent &&
           strcmp(reading->subscription, subscription->store->name) == 0;
}

void api_reading_forget_subscription(struct api *api,
                                     struct shard *shard,
                                     const struct topic *subscription)
{
    struct api_shard *place = &api->shards[shard->index];

    if (place->shard == NULL) {
        return; /* nothing was ever read here */
    }
    struct list *link = place->readings.next;
    while (link != &place->readings) {
        struct api_reading *reading =
            CONTAINER_OF(link, struct api_reading, link);
        link = link->next;
        if (is_for(reading, subscription)) {
            api_reading_close(reading);
            reading->gone(reading);
        }
    }
}

void api_reading_changed(struct api *api,
                         struct shard *shard,
                         const struct topic *subscription)
{
    struct api_shard *place = &api->shards[shard->index];

    if (place->shard == NULL) {
        return; /* nothing was ever read here */
    }
    struct list *link = place->readings.next;
    while (link != &place->readings) {
        struct api_reading *reading =
            CONTAINER_OF(link, struct api_reading, link);
        link = link->next;
        if (is_for(reading, subscription)) {
            reading->changed(reading);
        }
    }
}

void api_reading_forget(struct api *api,
                        struct shard *shard,
                        const struct topic *topic)
{
    struct api_shard *place = &api->shards[shard->index];

    if (place->shard == NULL) {
        return; /* nothing was ever read here */
    }
    struct list *link = place->readings.next;
    while (link != &place->readings) {
        struct api_reading *reading =
            CONTAINER_OF(link, struct api_reading, link);
        link = link->next;
        if (reading->reader->topic == topic->store) {
            api_reading_close(reading);
            reading->gone(reading);
        }
    }
    for (link = place->readings.next; link != &place->readings;
         link = link->next) {
        const struct api_reading *left =
            CONTAINER_OF(link, struct api_reading, link);
        CHECK(left->reader->topic != topic->store);
    }
}
