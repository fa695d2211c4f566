/* GET /metrics.
 *
 * All shards are visited twice. The first time, in two turns of each, figures
 * are gathered, the topics that are shown are found, and what the shard sees of
 * its endpoints is noted. At home the endpoints that are shown are chosen. The
 * second time their figures are added up, and the oldest messages of the topics
 * that are shown are read for their age.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/metrics.h"
#include "admin/metrics_text.h"
#include "base/check.h"
#include "queue/answer.h"

#include <stdlib.h>

/* Ages that are not known so long after the visit began are left out. */
enum { AGES_MS = 50 };

struct metrics_call {
    struct api_call base;
    struct metrics *metrics;    /* owned */
    struct api_reading reading; /* of an oldest message */
    struct shard *there;        /* borrowed: where it is now */
    bool second;                /* visit */
    bool walked;                /* this shard's topics, the first time */
    uint32_t next;              /* topic to find the age of */
    uint64_t sequence;          /* of its oldest message */
    uint64_t begun_ms;          /* monotonic: the visit of this shard */
};

static struct metrics_call *metrics_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct metrics_call, base);
}

static void metrics_release(struct api_call *call)
{
    struct metrics_call *task = metrics_call_of(call);

    if (task->metrics != NULL) {
        metrics_top_fini(&task->metrics->endpoints);
    }
    free(task->metrics);
}

/* --- ages ----------------------------------------------------------------- */

/* Find a topic that is shown, if it is of this shard, and still there. */
static struct topic *find(const struct metrics_call *task,
                          const struct metrics_topic *shown)
{
    struct topic *topic = NULL;
    struct topic *subscription = NULL;

    if (shown->shard != task->there->index ||
        shard_topic(task->there, str_from(shown->topic), false, &topic) !=
            ERR_OK) {
        return NULL;
    }
    if (shown->subscription[0] == '\0') {
        return topic;
    }
    return shard_subscription(task->there, topic, str_from(shown->subscription),
                              false, &subscription) == ERR_OK
               ? subscription
               : NULL;
}

/* Begin to read for an age. Returns false when there is no need for it, or no
 * way. */
static bool begin_reading(struct metrics_call *task,
                          const struct metrics_topic *shown)
{
    if (shown->lag == 0 ||
        io_now_ms(task->there->io) - task->begun_ms > AGES_MS) {
        return false;
    }
    struct topic *topic = find(task, shown);
    if (topic == NULL) {
        return false;
    }
    task->sequence = topic->store->cursor.next;
    return api_reading_open(&task->reading, task->base.api, task->there,
                            topic) == ERR_OK;
}

/* Read for the age. Returns false while the bytes are not there. */
static bool read_age(struct metrics_call *task, struct metrics_topic *shown)
{
    struct record record;
    enum err err = api_reading_next(&task->reading, task->sequence, &record);

    if (err == ERR_AGAIN) {
        return false;
    }
    if (err == ERR_OK) {
        uint64_t at_ms = record.message.pushed_at_ms;
        uint64_t now_ms = io_wall_ms(task->there->io);
        shown->age_ms = now_ms > at_ms ? now_ms - at_ms : 0;
    }
    return true;
}

/* Find the ages of this shard's topics, until a read must wait. */
static void ages_go(struct metrics_call *task)
{
    struct metrics_top *top = &task->metrics->lag;

    for (; task->next < top->count; task->next++) {
        struct metrics_topic *shown = &top->topics[task->next];
        if (task->reading.reader == NULL && !begin_reading(task, shown)) {
            continue;
        }
        if (!read_age(task, shown)) {
            return;
        }
        api_reading_close(&task->reading);
    }
    api_call_end(&task->base);
}

static struct metrics_call *task_of_reading(struct api_reading *reading)
{
    return CONTAINER_OF(reading, struct metrics_call, reading);
}

static void ages_ready(struct api_reading *reading)
{
    ages_go(task_of_reading(reading));
}

/* The topic goes: on behind it. */
static void ages_gone(struct api_reading *reading)
{
    task_of_reading(reading)->next++;
    ages_go(task_of_reading(reading));
}

/* A read ends by itself, also while the shard stops. */
static void ages_stopping(struct api_reading *reading)
{
    (void)reading;
}

/* --- visits --------------------------------------------------------------- */

static void note_target(void *context, const struct target_view *view)
{
    metrics_top_note(context, view);
}

static void gather_target(void *context, const struct target_view *view)
{
    metrics_top_gather(context, view);
}

static void metrics_run(struct api_call *call, struct shard *there)
{
    struct metrics_call *task = metrics_call_of(call);
    struct metrics *metrics = task->metrics;
    struct deliverer *deliverer = pipeline_deliverer(pipeline_of(there));

    task->there = there;
    if (!task->second && !task->walked) {
        struct metrics_walk walk;
        metrics_topics(metrics, there, &walk);
        metrics_gather(metrics, there, &walk);
        task->walked = true;
        shard_call_again(&call->call);
    } else if (!task->second) {
        deliverer_each_target(deliverer, note_target, &metrics->endpoints);
        task->walked = false;
        api_call_end(call);
    } else {
        if (metrics->endpoints.count > 0) {
            deliverer_each_target(deliverer, gather_target,
                                  &metrics->endpoints);
        }
        task->next = 0;
        task->begun_ms = io_now_ms(there->io);
        ages_go(task);
    }
}

static bool metrics_again(struct api_call *call)
{
    struct metrics_call *task = metrics_call_of(call);

    if (task->second) {
        return false;
    }
    metrics_top_choose(&task->metrics->endpoints);
    task->second = true;
    return true;
}

static void metrics_finish(struct api_call *call)
{
    struct metrics_call *task = metrics_call_of(call);
    struct metrics_about about;

    api_about(call->api, call->home, &about);
    metrics_set_process(task->metrics, &about);
    metrics_render(task->metrics, &about, &call->body);
}

void api_metrics_get(const struct api_request *request)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct metrics_call), metrics_run);

    if (call == NULL) {
        return;
    }
    struct metrics_call *task = metrics_call_of(call);
    call->large = true;
    call->type = METRICS_TEXT_TYPE;
    call->again = metrics_again;
    call->finish = metrics_finish;
    call->release = metrics_release;
    task->reading.ready = ages_ready;
    task->reading.gone = ages_gone;
    task->reading.stopping = ages_stopping;
    task->metrics = calloc(1, sizeof(*task->metrics));
    if (task->metrics == NULL) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        api_call_drop(call);
        return;
    }
    api_call_walk(call);
}
