/* The record service: changes of a shard's topics, one batch at a time.
 *
 * What happens:
 *   - A change is encoded straight into the journal's batch and noted in
 *     batches[gathering]; an append takes the topic's next sequence number.
 *   - The turn hook commits: one write, one sync. While it runs on its own,
 *     the other batch gathers.
 *   - committed() applies the changes in order: records are copied from the
 *     batch to the tails of their topics, bounds move, ops go to `finished`.
 *   - The hook reports the finished ops, then tells the watches, once a topic.
 *   - A batch that is full before the turn ends is committed early, and
 *     reported with the others.
 *
 * What fails:
 *   - A commit: its changes, and all that were gathered behind it, are rolled
 *     back, the newest first, and their ops fail. So sequence numbers have no
 *     gaps, and nothing that was built on a failed change survives.
 *   - Memory for a tail, after the record is durable: it is set aside
 *     (log/tail_reserve.h), and messages are refused until it is free again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_blob.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"
#include "store/store_views.h"

#include "base/diag.h"
#include "sys/clock.h"

#include <stdlib.h>
#include <string.h>

static void commit(struct local_store *store);

/* --- taking changes ------------------------------------------------------- */

enum err store_append_admit(const struct local_store *store)
{
    if (store->closing) {
        return ERR_CLOSED;
    }
    return store->broken ? ERR_BUSY : ERR_OK;
}

static void kicked(struct io_task *task)
{
    struct local_store *store = CONTAINER_OF(task, struct local_store, kick);
    store->kicked = false; /* the hook follows in this turn */
}

void store_append_kick(struct local_store *store)
{
    if (!store->kicked && store->hook_turn == io_stats(store->io)->turns) {
        store->kicked = true;
        store->kick.run = kicked;
        io_post(store->io, &store->kick);
    }
}

void store_append_finish(struct local_store *store,
                         struct store_op *op,
                         enum err err)
{
    op->err = err;
    memset(&op->link, 0, sizeof(op->link));
    list_append(&store->finished, &op->link);
    store_append_kick(store);
}

/* Let there be room for one more change in the gathering batch. */
static enum err reserve(struct local_store *store)
{
    struct batch *batch = &store->batches[store->gathering];
    if (batch->count < batch->capacity) {
        return ERR_OK;
    }
    uint32_t capacity =
        batch->capacity == 0 ? STORE_CHANGES_MIN : 2 * batch->capacity;
    struct change *changes =
        realloc(batch->changes, capacity * sizeof(*changes));
    if (changes == NULL) {
        return ERR_BUSY;
    }
    batch->changes = changes;
    batch->capacity = capacity;
    return ERR_OK;
}

struct change *store_append_note(struct local_topic *topic,
                                 enum change_kind kind,
                                 struct store_op *op)
{
    struct local_store *store = topic->store;
    struct batch *batch = &store->batches[store->gathering];
    CHECK(batch->count < batch->capacity);
    struct change *change = &batch->changes[batch->count];
    batch->count++;
    *change = (struct change){.kind = kind, .topic = topic, .op = op};
    topic->holds++;
    if (op != NULL) {
        op->topic = &topic->base;
        if (kind != CHANGE_APPEND) {
            op->durability = DURABILITY_DISK;
        }
        if (op->durability == DURABILITY_DISK) {
            batch->durable = true;
        }
    }
    store_append_kick(store);
    return change;
}

/* Begin an entry, without any other before it. */
static enum err put_begin(struct local_topic *topic,
                          enum journal_type type,
                          size_t body_size,
                          void **out_body)
{
    struct local_store *store = topic->store;
    enum err err = reserve(store);
    if (err != ERR_OK) {
        return err;
    }
    return journal_put_begin(store->journal, type, topic->base.id, body_size,
                             out_body);
}

/* Write the body of a deletion: the topic's views. Some may have gone since
 * room was made for it. */
static void delete_body(const struct local_topic *topic, char *to, size_t size)
{
    const struct list *views = &topic->views;
    memset(to, 0, size);
    for (struct list *node = views->next; node != views && size > 0;
         node = node->next) {
        put_u64(to, CONTAINER_OF(node, struct local_topic, view_link)->base.id);
        to += sizeof(uint64_t);
        size -= sizeof(uint64_t);
    }
}

/* Put the deletions of those whose name this topic took. */
static enum err put_doomed(struct local_topic *topic)
{
    while (topic->doomed != NULL) {
        struct local_topic *doomed = topic->doomed;
        if (doomed->announced == ANNOUNCED_NOT) {
            topic->doomed = doomed->doomed;
            store_topics_gone(doomed);
            continue;
        }
        void *body = NULL;
        size_t size = doomed->view_count * sizeof(uint64_t);
        enum err err = put_begin(doomed, JOURNAL_DELETE, size, &body);
        if (err != ERR_OK) {
            return err;
        }
        delete_body(doomed, body, size);
        journal_put_end(topic->store->journal);
        (void)store_append_note(doomed, CHANGE_DELETE, NULL);
        topic->doomed = doomed->doomed;
        doomed->doomed = NULL;
    }
    return ERR_OK;
}

static enum err announce_one(struct local_topic *topic)
{
    enum err err = put_doomed(topic);
    if (err != ERR_OK) {
        return err;
    }
    struct topic_conf conf = store_topics_conf(topic);
    conf.made = true;
    conf.start = topic->base.parent != NULL ? topic->base.cursor.next : 0;
    void *body = NULL;
    err = put_begin(topic, JOURNAL_TOPIC, topic_conf_body_size(&conf), &body);
    if (err != ERR_OK) {
        return err;
    }
    topic_conf_body_write(&conf, body);
    journal_put_end(topic->store->journal);
    (void)store_append_note(topic, CHANGE_TOPIC, NULL);
    topic->announced = ANNOUNCED_PUT;
    return ERR_OK;
}

/* Let the journal know of a topic before anything else of it, and of a view's
 * topic before the view. */
static enum err announce(struct local_topic *topic)
{
    struct local_topic *parent = store_parent_of(topic);
    if (topic->announced != ANNOUNCED_NOT) {
        return ERR_OK;
    }
    if (parent != NULL && parent->announced == ANNOUNCED_NOT) {
        enum err err = announce_one(parent);
        if (err != ERR_OK) {
            return err;
        }
    }
    return announce_one(topic);
}

/* The journal took nothing although nothing is gathered: it has no file. */
static enum err journal_refused(struct local_store *store, enum err err)
{
    if (err == ERR_FULL || store->no_room) {
        err = ERR_FULL; /* or its next file is only being tried */
        store_space_full(store);
    } else if (!store->stats.failed) {
        store->stats.failed = true;
        DIAG_ERROR("journal_out_of_files", "shard=%u", store->shard);
    }
    store_checkpoint_begin(store);
    return err;
}

enum err store_append_try(struct local_topic *topic,
                          enum journal_type type,
                          size_t body_size,
                          void **out_body)
{
    enum err err = announce(topic);
    if (err == ERR_OK) {
        err = put_begin(topic, type, body_size, out_body);
    }
    if (err == ERR_OK) {
        topic->store->stats.failed = false;
    }
    return err;
}

enum err store_append_put(struct local_topic *topic,
                          enum journal_type type,
                          size_t body_size,
                          void **out_body)
{
    struct local_store *store = topic->store;
    uint64_t failures = store->stats.commit_failures;
    for (int try = 0; try < 2; try++) {
        enum err err = store_append_try(topic, type, body_size, out_body);
        if ((err != ERR_BUSY && err != ERR_FULL) ||
            journal_committing(store->journal)) {
            return err;
        }
        if (!journal_pending(store->journal)) {
            return journal_refused(store, err);
        }
        commit(store);
        if (store->stats.commit_failures != failures) {
            return ERR_BUSY; /* what the caller built on may be gone */
        }
    }
    return ERR_BUSY;
}

enum err store_append_delete(struct local_topic *topic, struct store_op *op)
{
    void *body = NULL;
    size_t size = topic->view_count * sizeof(uint64_t);
    enum err err = store_append_put(topic, JOURNAL_DELETE, size, &body);
    if (err != ERR_OK) {
        return err;
    }
    delete_body(topic, body, size);
    journal_put_end(topic->store->journal);
    (void)store_append_note(topic, CHANGE_DELETE, op);
    return ERR_OK;
}

/* Tell whether there is room for another message. */
static enum err admit_append(struct local_store *store, bool owed)
{
    enum err err = store_append_admit(store);
    if (err != ERR_OK) {
        return err;
    }
    store_space_check(store);
    if (store_space_refuses(store, owed)) {
        return ERR_FULL;
    }
    if (store->stats.memory_bytes >= store->options->memory_size_max ||
        tail_reserve_used(&store->tail_reserve)) {
        store_flush_next(store);
        return store->no_room ? ERR_FULL : ERR_BUSY;
    }
    if (store->no_room) {
        store->room_tried_ms = io_now_ms(store->io);
    }
    return ERR_OK;
}

/* The record is in the batch: note the change. */
static void note_append(struct local_topic *topic,
                        void *record,
                        size_t size,
                        struct store_op *op)
{
    journal_put_end(topic->store->journal);
    op->sequence = topic->next;
    topic->next++;
    struct change *change = store_append_note(topic, CHANGE_APPEND, op);
    change->record = record;
    change->record_size = (uint32_t)size;
}

enum err store_append_message(struct store_topic *base,
                              const struct message *message,
                              struct store_op *op)
{
    struct local_topic *topic = store_topic_of(base);
    CHECK(base->parent == NULL);
    enum err err = admit_append(topic->store, op->owed);
    size_t size = 0;
    if (err == ERR_OK) {
        err = record_size(message, &size);
    }
    void *record = NULL;
    if (err == ERR_OK) {
        err = store_append_put(topic, JOURNAL_RECORD, size, &record);
    }
    if (err != ERR_OK) {
        return err;
    }
    record_encode(message, topic->next, record, size);
    note_append(topic, record, size, op);
    return ERR_OK;
}

enum err store_append_record(struct store_topic *base,
                             const void *encoded,
                             size_t size,
                             struct store_op *op)
{
    struct local_topic *topic = store_topic_of(base);
    CHECK(base->parent == NULL);
    enum err err = admit_append(topic->store, op->owed);
    void *record = NULL;
    if (err == ERR_OK) {
        err = store_append_put(topic, JOURNAL_RECORD, size, &record);
    }
    if (err != ERR_OK) {
        return err;
    }
    memcpy(record, encoded, size);
    record_renumber(record, topic->next);
    note_append(topic, record, size, op);
    return ERR_OK;
}

uint64_t store_append_next(const struct store_topic *base)
{
    const struct local_topic *topic = (const struct local_topic *)base;
    CHECK(topic->magic == STORE_TOPIC_MAGIC);
    return topic->next;
}

/* --- undoing -------------------------------------------------------------- */

/* Copy bytes, if there are any; NULL also when there is no memory. */
static void *copy_of(const void *from, size_t size)
{
    void *copy = size > 0 ? malloc(size) : NULL;
    if (copy != NULL) {
        memcpy(copy, from, size);
    }
    return copy;
}

struct undo *store_append_undo(const struct local_topic *topic)
{
    struct undo *undo = calloc(1, sizeof(*undo));
    if (undo == NULL) {
        return NULL;
    }
    undo->cursor = topic->base.cursor;
    undo->epoch = topic->epoch;
    undo->oldest = topic->base.bounds.oldest;
    undo->retention = topic->base.retention;
    undo->hold = topic->base.hold;
    undo->settings_size = topic->base.settings.size;
    const struct store_cursor *cursor = &topic->base.cursor;
    undo->cursor.ranges =
        copy_of(cursor->ranges, cursor->range_count * sizeof(*cursor->ranges));
    undo->cursor.retries = copy_of(
        cursor->retries, cursor->retry_count * sizeof(*cursor->retries));
    undo->settings =
        copy_of(topic->base.settings.data, topic->base.settings.size);
    if ((cursor->range_count > 0 && undo->cursor.ranges == NULL) ||
        (cursor->retry_count > 0 && undo->cursor.retries == NULL) ||
        (undo->settings_size > 0 && undo->settings == NULL)) {
        store_append_undo_free(undo);
        return NULL;
    }
    return undo;
}

void store_append_undo_free(struct undo *undo)
{
    if (undo != NULL) {
        free((void *)undo->cursor.ranges);
        free((void *)undo->cursor.retries);
        free(undo->settings);
        free(undo);
    }
}

void store_append_undo_push(struct undo_list *list, struct undo *undo)
{
    if (list->last != NULL) {
        list->last->next = undo;
    } else {
        list->first = undo;
    }
    list->last = undo;
}

void store_append_undo_settle(struct undo_list *list, struct undo *undo)
{
    CHECK(list->first == undo);
    list->first = undo->next;
    if (undo->next == NULL) {
        list->last = NULL;
    }
    store_append_undo_free(undo);
}

void store_append_undo_take(struct undo_list *list, struct undo *undo)
{
    CHECK(list->last == undo);
    struct undo *before = NULL;
    for (struct undo *at = list->first; at != undo; at = at->next) {
        before = at;
    }
    list->last = before;
    if (before != NULL) {
        before->next = NULL;
    } else {
        list->first = NULL;
    }
}

/* Bring back settings; they fit, since they did before. */
static void unconfigure(struct change *change)
{
    struct local_topic *topic = change->topic;
    struct undo *undo = change->undo;
    store_append_undo_take(&topic->settings, undo);
    free((char *)topic->base.settings.data);
    topic->base.settings = (struct str){undo->settings, undo->settings_size};
    undo->settings = NULL;
    topic->base.retention = undo->retention;
    topic->base.hold = undo->hold;
    store_append_undo_free(undo);
}

/* Undo one change. Those behind it are undone. */
static void roll_back(struct change *change)
{
    struct local_topic *topic = change->topic;
    switch (change->kind) {
    case CHANGE_APPEND:
        topic->next = topic->base.bounds.end;
        break;
    case CHANGE_TOPIC:
        topic->announced = ANNOUNCED_NOT;
        break;
    case CHANGE_CONFIGURE:
        unconfigure(change);
        break;
    case CHANGE_DELETE:
        store_topics_revive(topic);
        break;
    case CHANGE_TRIM:
        topic->trim_dirty = true;
        store_cursor_mark(topic);
        break;
    case CHANGE_CURSOR:
        store_cursor_mark(topic);
        break;
    case CHANGE_MOVE:
    case CHANGE_PURGE:
        store_cursor_unmoved(change);
        break;
    }
}

/* --- after a commit ------------------------------------------------------- */

static void apply_append(struct change *change, bool durable)
{
    struct local_topic *topic = change->topic;
    struct local_store *store = topic->store;
    struct str record = {change->record, change->record_size};
    if (topic_log_append(topic->log, record) != ERR_OK) {
        store_local_internal_break(store, ERR_NOMEM);
        return;
    }
    struct message_blob blob;
    if (record_blob(change->record, &blob) &&
        store_blob_note(topic, topic->base.bounds.end, blob.id) != ERR_OK) {
        store_local_internal_break(store, ERR_NOMEM);
        return;
    }
    topic->base.bounds.end++;
    store->stats.appended++;
    store->stats.appended_bytes += change->record_size;
    if (change->op != NULL && durable) {
        change->op->durability = DURABILITY_DISK;
    }
    if (!store->job_failing) {
        store_space_found(store);
    }
    store_views_moved(topic);
    store_topics_mark(topic);
}

/* Let one change count. */
static void apply(struct change *change, bool durable)
{
    struct local_topic *topic = change->topic;
    switch (change->kind) {
    case CHANGE_APPEND:
        apply_append(change, durable);
        return;
    case CHANGE_TOPIC:
        topic->announced = ANNOUNCED_KEPT;
        topic->conf_dirty = true;
        break;
    case CHANGE_CONFIGURE:
        store_append_undo_settle(&topic->settings, change->undo);
        topic->conf_dirty = true;
        store_space_arm(topic);
        break;
    case CHANGE_DELETE:
        store_topics_gone(topic);
        return;
    case CHANGE_MOVE:
    case CHANGE_PURGE:
        store_cursor_moved(change);
        if (change->kind == CHANGE_PURGE) {
            store_blob_trim(topic, change->before);
        }
        break;
    case CHANGE_TRIM:
        store_blob_trim(topic, change->before);
        break;
    case CHANGE_CURSOR:
        break;
    }
    store_topics_mark(topic);
}

/* The batch is as durable as was asked for. */
static void batch_applied(struct local_store *store, struct batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        struct change *change = &batch->changes[i];
        struct local_topic *topic = change->topic;
        enum err err = ERR_OK;
        if (change->kind == CHANGE_APPEND && topic->deleted) {
            err = ERR_CLOSED;
        }
        apply(change, batch->durable);
        if (change->op != NULL) {
            store_append_finish(store, change->op, err);
        }
        store_topics_release(topic);
    }
    store->committed_since = true;
    store_checkpoint_arm(store);
}

/* Report the failure of a batch that is rolled back. */
static void
batch_refused(struct local_store *store, struct batch *batch, enum err err)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        struct change *change = &batch->changes[i];
        if (change->op != NULL) {
            store_append_finish(store, change->op, err);
        }
        store_topics_release(change->topic);
    }
    batch->count = 0;
    batch->durable = false;
}

/* The batch, and what was gathered behind it, never was. */
static void
batch_failed(struct local_store *store, struct batch *batch, enum err err)
{
    struct batch *gathered = &store->batches[store->gathering];
    if (batch->count + gathered->count == 0) {
        return;
    }
    DIAG_ERROR("commit_failed", "shard=%u changes=%u behind=%u err=%s",
               store->shard, batch->count, gathered->count, err_name(err));
    journal_drop(store->journal);
    for (uint32_t i = gathered->count; i > 0; i--) {
        roll_back(&gathered->changes[i - 1]);
    }
    for (uint32_t i = batch->count; i > 0; i--) {
        roll_back(&batch->changes[i - 1]);
    }
    batch_refused(store, batch, err);
    batch_refused(store, gathered, err);
    if (err == ERR_FULL) {
        store_space_full(store);
    }
}

static void committed(void *context, enum err err)
{
    struct local_store *store = context;
    struct batch *batch = &store->batches[1 - store->gathering];
    uint64_t took_ns = clock_monotonic_ns() - store->commit_started_ns;
    histogram_record(&store->stats.commit_ns, took_ns);
    histogram_record(&store->stats.commit_count, batch->count);
    if (err == ERR_OK) {
        store->stats.commits++;
        batch_applied(store, batch);
    } else {
        store->stats.commit_failures++;
        batch_failed(store, batch, err == ERR_FULL ? ERR_FULL : ERR_IO);
    }
    batch->count = 0;
    batch->durable = false;
    store_append_kick(store);
}

/* Commit what is gathered; cursors go along. */
static void commit(struct local_store *store)
{
    struct batch *batch = &store->batches[store->gathering];
    bool alone = batch->count == 0; /* cursors: nobody waits for them */
    if (store->cursors_due) {
        /* Power must not take them. */
        store_cursor_ride(store, UINT32_MAX);
        batch->durable = true;
        /* Those that move meanwhile have an interval of their own. */
        store->cursors_due =
            batch->count > 0 && !list_empty(&store->cursors_dirty);
    } else if (batch->durable) {
        store_cursor_ride(store, STORE_CURSORS_RIDING_MAX);
    }
    if (batch->count == 0) {
        batch->durable = false;
        return;
    }
    enum journal_how how = JOURNAL_WRITTEN;
    if (batch->durable) {
        bool behind = alone || store_gather_crowded(store);
        how = behind ? JOURNAL_DURABLE_BEHIND : JOURNAL_DURABLE;
    }
    store->gathering = 1 - store->gathering;
    store->commit_started_ns = clock_monotonic_ns();
    journal_commit(store->journal, how, committed, store);
}

/* --- the end of a turn ---------------------------------------------------- */

/* Report what ended; what ends meanwhile has its turn next. */
static void report(struct local_store *store)
{
    struct list ended;
    store_list_take(&store->finished, &ended);
    while (!list_empty(&ended)) {
        struct list *node = list_take_first(&ended);
        struct store_op *op = CONTAINER_OF(node, struct store_op, link);
        op->done(op, op->err);
    }
}

/* Call the watches of one topic, any of which may go away meanwhile. */
static void tell_watches(struct local_topic *topic)
{
    struct list watches;
    store_list_take(&topic->base.watches, &watches);
    while (!list_empty(&watches)) {
        struct list *node = list_take_first(&watches);
        struct store_watch *watch =
            CONTAINER_OF(node, struct store_watch, link);
        list_append(&topic->base.watches, node);
        watch->moved(watch);
    }
}

/* Account for the topics that grew, and tell who watches them. */
static void tell(struct local_store *store)
{
    struct list moved;
    store_list_take(&store->moved, &moved);
    while (!list_empty(&moved)) {
        struct list *node = list_take_first(&moved);
        struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, moved_link);
        topic->holds++;
        store_topics_account(topic);
        store_space_arm(topic);
        tell_watches(topic);
        store_topics_release(topic);
    }
}

/* A file for the journal may have come, though nobody has put anything since:
 * who asks whether pushes are taken must not wait for one. Checkpoints go on
 * while there is none, since each has files tried again. */
static void see_recovery(struct local_store *store)
{
    if (store->broken) {
        return;
    }
    if (!journal_has_file(store->journal)) {
        if (!store->without_file && (store->stats.failed || store->no_room)) {
            store->without_file = true;
            store_checkpoint_arm(store);
        }
        return;
    }
    if (store->stats.failed) {
        store->stats.failed = false;
        DIAG_INFO("journal_recovered", "shard=%u", store->shard);
    }
    if (store->without_file) {
        store->without_file = false;
        store_space_found(store);
    }
}

/* Commit what this turn brought, unless a commit is running. */
static void commit_due(struct local_store *store)
{
    struct batch *batch = &store->batches[store->gathering];
    if (journal_committing(store->journal)) {
        return;
    }
    if (list_empty(&store->cursors_dirty)) {
        store->cursors_due = false;
    }
    if (store->broken) {
        store->cursors_due = false;
        batch_failed(store, &store->batches[1 - store->gathering], ERR_IO);
    } else if ((batch->count > 0 || store->cursors_due) &&
               !store_gather_waits(store)) {
        commit(store);
    }
    /* More cursors than fit into a batch go on; without a journal file they
     * wait for the timer. */
    if (store->cursors_due && !list_empty(&store->cursors_dirty)) {
        store_append_kick(store);
    }
    store_cursor_arm(store);
}

void store_append_turn(struct io_hook *hook)
{
    struct local_store *store = CONTAINER_OF(hook, struct local_store, hook);
    store->hook_turn = io_stats(store->io)->turns;
    see_recovery(store);
    commit_due(store);
    report(store);
    tell(store);
    if (store->committed_since && journal_crowded(store->journal)) {
        store_checkpoint_begin(store);
    }
    store_checkpoint_resume(store);
    store_flush_next(store);
    store_local_internal_close_step(store);
}
