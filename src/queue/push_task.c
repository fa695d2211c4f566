/* One push on its way: see push_task.h.
 *
 * On the topic's own shard the store encodes the message straight into its
 * batch. For another one the record is encoded here and carried over; the owner
 * gives it its number, and the outcome comes back the same way. What is not due
 * yet is encoded, too, and goes where such is kept (delayed.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/push_task.h"

#include "base/check.h"
#include "base/wall_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void push_task_pool_init(struct push_pool *pool,
                         struct shard *shard,
                         uint64_t pending_max)
{
    memset(pool, 0, sizeof(*pool));
    pool->shard = shard;
    pool->pending_max = pending_max;
    list_init(&pool->unused);
}

void push_task_pool_fini(struct push_pool *pool)
{
    CHECK(pool->pending == 0);
    while (!list_empty(&pool->unused)) {
        struct list *link = list_take_first(&pool->unused);
        free(CONTAINER_OF(link, struct push_task, link));
    }
}

static enum err pool_grow(struct push_pool *pool)
{
    struct push_task *task = calloc(1, sizeof(*task));

    if (task == NULL) {
        return ERR_NOMEM;
    }
    task->pool = pool;
    list_append(&pool->unused, &task->link);
    return ERR_OK;
}

enum err push_task_acquire(struct push_pool *pool, struct push_task **out)
{
    if (pool->pending >= pool->pending_max) {
        return ERR_BUSY;
    }
    if (list_empty(&pool->unused) && pool_grow(pool) != ERR_OK) {
        return ERR_NOMEM;
    }
    struct list *link = list_take_first(&pool->unused);
    struct push_task *task = CONTAINER_OF(link, struct push_task, link);
    task->exchange = NULL;
    task->batch = NULL;
    task->json = false;
    task->record = NULL;
    task->blob = NULL;
    task->given = false;
    task->duplicate = false;
    task->detail = NULL;
    task->due_ms = 0;
    task->waits = false;
    pool->pending++;
    *out = task;
    return ERR_OK;
}

void push_task_release(struct push_task *task)
{
    struct push_pool *pool = task->pool;

    free(task->record);
    task->record = NULL;
    pool->pending--;
    /* The one used last is warm: take it first. */
    list_prepend(&pool->unused, &task->link);
}

/* --- what is not due yet -------------------------------------------------- */

/* Tell whether a push waits; the recorder has set no time that is over. */
static bool waits(const struct push *push)
{
    return push->message.options != NULL &&
           push->message.options->not_before_ms > 0;
}

static void delayed_stored(struct delayed_push *delayed, enum err err)
{
    struct push_task *task = CONTAINER_OF(delayed, struct push_task, delayed);
    struct store_op *op = &task->op.store;

    task->op.unstored = !delayed->given;
    op->durability = delayed->durability;
    if (err == ERR_OK) {
        op->sequence = due_id_mark(delayed->due_ms, delayed->sequence);
    }
    op->done(op, err);
}

/* Make the record of a message, which may lie in the one there was.
 * Errors: ERR_NOMEM, ERR_TOO_LARGE */
static enum err encode(struct push_task *task, const struct message *message)
{
    size_t size = 0;
    enum err err = record_size(message, &size);

    if (err != ERR_OK) {
        return err;
    }
    void *record = aligned_alloc(RECORD_ALIGN, size);
    if (record == NULL) {
        return ERR_NOMEM;
    }
    record_encode(message, 0, record, size);
    free(task->record);
    task->record = record;
    task->record_size = size;
    return ERR_OK;
}

/* Keep a record until it is due; on the shard of its topic. */
static enum err give_delayed(const struct accept_push *push,
                             struct accept_op *op)
{
    struct push_task *task = CONTAINER_OF(op, struct push_task, op);

    if (push->message != NULL) {
        enum err err = encode(task, push->message);
        if (err != ERR_OK) {
            return err;
        }
    }
    task->delayed.done = delayed_stored;
    task->delayed.due_ms = task->due_ms;
    task->delayed.durability = op->store.durability;
    task->delayed.record = task->record;
    task->delayed.record_size = task->record_size;
    return delayed_append(task->there, &task->delayed);
}

/* --- the way through the shards ------------------------------------------- */

static void note_topic(struct push_task *task, const struct topic *topic)
{
    memcpy(task->id_prefix, topic->id_prefix, sizeof(task->id_prefix));
    task->topic_size = (uint32_t)topic->store->name_str.size;
    memcpy(task->topic, topic->store->name_str.data, task->topic_size + 1);
}

/* Tell by its number whether it, or what it is a duplicate of, waits. */
static void note_waiting(struct push_task *task)
{
    uint64_t bucket_id = 0;
    char id[DUE_ID_MAX];

    if (!due_id_marked(&task->there->delayed_ids, task->sequence, &bucket_id,
                       &task->sequence)) {
        return;
    }
    task->waits = true;
    (void)due_id_put(bucket_id, task->sequence, id);
    memcpy(task->id_prefix, id, TOPIC_ID_PREFIX_SIZE);
}

/* What a topic may have been made for went elsewhere, or failed. */
static void forget_topic(struct push_task *task, enum err err)
{
    if (err != ERR_OK || task->due_ms > 0) {
        shard_topic_unused(task->there, push_task_topic(task));
    }
}

/* The push has ended on the shard of its topic. */
static void note_outcome(struct push_task *task, enum err err)
{
    task->err = err;
    task->given = !task->op.unstored;
    task->duplicate = task->op.duplicate;
    task->next = task->op.next;
    task->detail = task->op.detail;
    task->sequence = task->op.store.sequence;
    task->durability = task->op.store.durability;
    if (err == ERR_OK) {
        note_waiting(task);
    }
}

/* It has ended, and is at home. */
static void push_end(struct push_task *task)
{
    struct store_blob *blob = task->blob;

    task->blob = NULL;
    if (blob != NULL && task->given) {
        store_blob_keep(blob);
    } else {
        store_blob_drop(blob);
    }
    task->ended(task);
}

static void stored_here(struct store_op *op, enum err err)
{
    struct push_task *task = CONTAINER_OF(op, struct push_task, op.store);

    forget_topic(task, err);
    note_outcome(task, err);
    push_end(task);
}

static void stored_there(struct store_op *op, enum err err)
{
    struct push_task *task = CONTAINER_OF(op, struct push_task, op.store);

    forget_topic(task, err);
    note_outcome(task, err);
    shard_call_return(&task->call);
}

/* Tell whether a push need not be for anybody's subscription. */
static bool is_addressed(const struct push *push)
{
    return push->message.url.size > 0 || topic_is_dead(push->topic) ||
           topic_is_internal(push->topic);
}

/* Find the topic of a push, or make it.
 * Errors: as shard_topic(); ERR_INVALID (nobody would get the message; nothing
 *         was made for it) */
static enum err topic_for(struct shard *there,
                          struct str name,
                          bool addressed,
                          struct topic **out)
{
    enum err err = shard_topic(there, name, addressed, out);

    if (addressed) {
        return err;
    }
    if (err == ERR_NOT_FOUND ||
        (err == ERR_OK && !topic_has_subscriptions(*out))) {
        return ERR_INVALID;
    }
    return err;
}

bool push_task_is_for_nobody(struct shard *home, const struct push *push)
{
    struct topic *topic = NULL;

    return !is_addressed(push) && shard_owner(home, push->topic) == home &&
           topic_for(home, push->topic, false, &topic) == ERR_INVALID;
}

/* Give a record to the shard of its topic, which is this one. */
static enum err accept_record(struct push_task *task, struct shard *there)
{
    struct topic *topic = NULL;
    enum err err =
        topic_for(there, push_task_topic(task), task->addressed, &topic);

    if (err != ERR_OK) {
        return err;
    }
    note_topic(task, topic);
    task->there = there;
    const struct accept_push push = {
        .wants = &task->wants,
        .record = task->record,
        .record_size = task->record_size,
        .give = task->due_ms > 0 ? give_delayed : NULL,
    };
    err = accept_append(there->accept, topic, &push, &task->op);
    if (err != ERR_OK) {
        shard_topic_unused(there, push_task_topic(task));
    }
    return err;
}

static void carried(struct shard_call *call, struct shard *there)
{
    struct push_task *task = CONTAINER_OF(call, struct push_task, call);

    /* Taken even while the shard drains: it was promised where it came, and
     * no store closes before all shards have drained. */
    task->err = accept_record(task, there);
    if (task->err != ERR_OK) {
        shard_call_return(call);
    }
}

static void carried_back(struct shard_call *call)
{
    push_end(CONTAINER_OF(call, struct push_task, call));
}

/* --- records -------------------------------------------------------------- */

enum err push_task_record(struct push_task *task, const struct push *push)
{
    struct message message = push->message;
    struct message_options options;

    if (waits(push)) {
        options = *message.options;
        options.topic = push->topic;
        message.options = &options;
        task->due_ms = options.not_before_ms;
    }
    enum err err = encode(task, &message);
    if (err != ERR_OK) {
        return err;
    }
    memcpy(task->topic, push->topic.data, push->topic.size);
    task->topic[push->topic.size] = '\0';
    task->topic_size = (uint32_t)push->topic.size;
    task->op.store.durability = push->durability;
    task->op.store.owed = push->owed;
    task->addressed = is_addressed(push);
    accept_wants(&task->wants, push->topic, &push->message, push->expects,
                 push->expect_seq);
    return ERR_OK;
}

/* Send the record to another shard. */
static enum err carry(struct push_task *task, struct shard *there)
{
    task->op.store.done = stored_there;
    task->call.run = carried;
    task->call.returned = carried_back;
    task->pool->carried++;
    return shard_send(task->pool->shard, there, &task->call);
}

enum err push_task_start_record(struct push_task *task)
{
    struct shard *home = task->pool->shard;
    struct shard *owner = shard_owner(home, push_task_topic(task));

    if (owner != home) {
        return carry(task, owner);
    }
    task->op.store.done = stored_here;
    return accept_record(task, home);
}

enum err push_task_start(struct push_task *task, const struct push *push)
{
    struct shard *home = task->pool->shard;
    struct shard *owner = shard_owner(home, push->topic);
    struct topic *topic = NULL;

    task->op.store.durability = push->durability;
    task->op.store.owed = push->owed;
    if (waits(push) || owner != home) {
        enum err err = push_task_record(task, push);
        return err == ERR_OK ? push_task_start_record(task) : err;
    }
    enum err err = topic_for(home, push->topic, is_addressed(push), &topic);
    if (err != ERR_OK) {
        return err;
    }
    note_topic(task, topic);
    task->there = home;
    task->op.store.durability = push->durability;
    task->op.store.owed = push->owed;
    task->op.store.done = stored_here;
    accept_wants(&task->wants, push->topic, &push->message, push->expects,
                 push->expect_seq);
    const struct accept_push accepted = {.wants = &task->wants,
                                         .message = &push->message};
    err = accept_append(home->accept, topic, &accepted, &task->op);
    if (err != ERR_OK) {
        shard_topic_unused(home, push->topic);
    }
    return err;
}

/* The body is there once more: store its message. */
static void copied(struct store_blob *blob)
{
    struct push_task *task = blob->user;

    task->err = blob->err;
    if (task->err == ERR_OK) {
        record_set_blob(task->record, &blob->message, task->pushed_at_ms);
        task->err = push_task_start_record(task);
    }
    if (task->err != ERR_OK) {
        push_end(task);
    }
}

enum err push_task_start_copy(struct push_task *task,
                              const struct push *push,
                              struct store_topic *from,
                              uint64_t sequence)
{
    const struct message *message = &push->message;

    if (message->blob.size == 0) {
        return push_task_start(task, push);
    }
    enum err err = push_task_record(task, push);
    if (err == ERR_OK) {
        err = store_blob_share(from, sequence, &message->blob, &task->blob);
    }
    if (err != ERR_OK) {
        return err;
    }
    task->pushed_at_ms = message->pushed_at_ms;
    task->blob->user = task;
    task->blob->ended = copied;
    return ERR_OK;
}

/* --- the outcome ---------------------------------------------------------- */

const char *push_task_err_text(enum err err)
{
    switch (err) {
    case ERR_INVALID: /* all else is looked at before it starts */
        return "url is missing or empty, and the topic has no subscription";
    case ERR_TOO_LARGE:
        return "the message is larger than this server stores";
    case ERR_BUSY:
    case ERR_NOMEM:
        return "too much is under way; try again";
    case ERR_CLOSED:
        return "the server is stopping, or the topic was being deleted; try "
               "again";
    case ERR_FULL:
        return "no room on disk; try again when there is";
    default:
        return "the message could not be made durable";
    }
}

char *push_task_due(const struct push_task *task, char *to)
{
    struct buf text = {0};

    wall_time_write(&text, task->due_ms);
    CHECK(text.size <= PUSH_TASK_DUE_MAX);
    to = put_text(to, buf_str(&text)); /* nothing, without memory */
    buf_fini(&text);
    return to;
}

void push_task_detail(const struct push_task *task, char *to)
{
    if (task->err == ERR_CONDITION) {
        (void)snprintf(to, RECORDER_DETAIL_MAX,
                       "the topic's next sequence number is %llu, not what "
                       "expect_seq says",
                       (unsigned long long)task->next);
        return;
    }
    (void)snprintf(to, RECORDER_DETAIL_MAX, "%s",
                   task->detail != NULL ? task->detail
                                        : push_task_err_text(task->err));
}

const char *push_task_members(const struct push_task *task, char *to)
{
    if (task->err != ERR_CONDITION) {
        return NULL;
    }
    (void)snprintf(to, PUSH_TASK_MEMBERS_MAX, "\"next_seq\":%llu",
                   (unsigned long long)task->next);
    return to;
}

char *push_task_json(const struct push_task *task, char *to)
{
    char sequence[PUT_DECIMAL_MAX];
    struct str digits = {sequence, 0};

    digits.size = (size_t)(put_decimal(sequence, task->sequence) - sequence);
    to = put_text(to, STR("{\"id\":\""));
    to = put_text(to, push_task_id_prefix(task));
    to = put_text(to, digits);
    to = put_text(to, STR("\",\"topic\":\""));
    to = put_text(to, push_task_topic(task));
    if (task->waits && task->duplicate) {
        to = put_text(to, STR("\""));
    } else if (task->waits) {
        to = put_text(to, STR("\",\"due\":\""));
        to = push_task_due(task, to);
        to = put_text(to, STR("\""));
    } else {
        to = put_text(to, STR("\",\"seq\":"));
        to = put_text(to, digits);
    }
    if (task->duplicate) {
        return put_text(to, STR(",\"duplicate\":true}"));
    }
    to = put_text(to, STR(",\"durability\":\""));
    to = put_text(to, push_task_durability(task));
    return put_text(to, STR("\"}"));
}
