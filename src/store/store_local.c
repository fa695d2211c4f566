/* The life of a local store.
 *
 * Opening recovers and makes a checkpoint, on the calling thread or, in a
 * hurry, right afterwards; from then on the turn hook drives
 * everything (store_append.c). Closing commits what was given and all cursors,
 * makes a last checkpoint, waits for whatever runs, and frees the store from a
 * task of its own.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_local.h"
#include "store/store_acked.h"
#include "store/store_blob.h"
#include "store/store_chore.h"
#include "store/store_local_internal.h"
#include "store/store_notes.h"
#include "store/store_views.h"

#include "base/diag.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

void store_local_options_init(struct store_local_options *options)
{
    *options = (struct store_local_options){
        .directory = "./opq-data",
        .shard_count = 1,
        .journal_size = UINT64_C(256) << 20,
        .journal_file_size = UINT64_C(32) << 20,
        .batch_size_max = UINT64_C(8) << 20,
        .memory_size_max = UINT64_C(256) << 20,
        .segment_size_max = UINT64_C(1) << 30,
        .segment_count_max = 1000000,
        .disk_reserve = UINT64_C(256) << 20,
        .topics_max = 100000,
        .files_open_max = 1024,
        .checkpoint_interval_ms = 30000,
        .cursor_interval_ms = 1000,
        .sync_inline_max_us = 2000,
        .direct = true,
    };
}

enum err store_local_prepare(const struct store_local_options *options,
                             struct store_local_data **out)
{
    return store_data_prepare(options, out);
}

uint32_t store_local_shard(const struct store_local_data *data,
                           struct str topic)
{
    return store_data_shard(data->meta.shard_count, topic);
}

uint32_t store_local_shard_of(uint32_t shard_count, struct str topic)
{
    return store_data_shard(shard_count, topic);
}

uint64_t store_local_node_id(const struct store_local_data *data)
{
    return data->meta.node;
}

bool store_local_ended(const struct store_local_data *data,
                       uint32_t shard,
                       struct store_local_end *out)
{
    CHECK(shard < data->options->shard_count);
    const struct shard_end *end = &data->ends[shard];
    *out = (struct store_local_end){
        .node = data->meta.node,
        .shard = shard,
        .generation = end->place.generation,
        .offset = end->place.offset,
        .checkpoint = end->checkpoint,
        .locked = dir_lock_stamp(data->lock_fd),
        .topics = buf_str(&end->notes),
    };
    return end->place.generation != 0;
}

void store_local_release(struct store_local_data *data)
{
    store_data_release(data);
}

/* --- making --------------------------------------------------------------- */

static void lists_init(struct local_store *store)
{
    list_init(&store->topics);
    list_init(&store->views);
    list_init(&store->deleted);
    list_init(&store->finished);
    list_init(&store->moved);
    list_init(&store->cursors_dirty);
    list_init(&store->dirty);
    list_init(&store->tails);
    list_init(&store->urgent);
    list_init(&store->files);
    list_init(&store->chores);
    list_init(&store->checkpoint_run.todo);
    list_init(&store->checkpoint_run.done);
    list_init(&store->recovery.orphans);
}

/* A tail of so many bytes is flushed at once. */
static uint64_t flush_size(const struct store_local_options *options)
{
    uint64_t size = options->memory_size_max / 16;
    if (size < STORE_FLUSH_SIZE_MIN) {
        return STORE_FLUSH_SIZE_MIN;
    }
    return size > STORE_FLUSH_SIZE_MAX ? STORE_FLUSH_SIZE_MAX : size;
}

static enum err paths_init(struct local_store *store)
{
    char path[DIR_PATH_MAX];
    enum err err = store_data_journal(store->data, store->shard, path);
    if (err != ERR_OK) {
        return err;
    }
    store->journal_directory = strdup(path);
    if (dir_join(path, store->data->directory, "topics") != ERR_OK) {
        return ERR_IO;
    }
    store->topics_directory = strdup(path);
    if (store->journal_directory == NULL || store->topics_directory == NULL) {
        return ERR_NOMEM;
    }
    return file_open(store->data->directory, FILE_READ, &store->sync_fd);
}

enum err store_local_internal_create(struct store_local_data *data,
                                     uint32_t shard,
                                     uint32_t shard_count,
                                     struct local_store **out)
{
    struct local_store *store = calloc(1, sizeof(*store));
    if (store == NULL) {
        return ERR_NOMEM;
    }
    store->magic = STORE_MAGIC;
    store->data = data;
    store->options = data->options;
    store->shard = shard;
    store->shard_count = shard_count;
    store->sync_fd = -1;
    store->flush_size = flush_size(data->options);
    store->job.store = store;
    store_gather_init(&store->gather);
    lists_init(store);
    /* Two batches, one being committed, with what tails add to records. */
    enum err err = tail_reserve_init(&store->tail_reserve,
                                     (size_t)data->options->batch_size_max *
                                         STORE_RESERVE_BATCHES);
    if (err == ERR_OK) {
        err = store_topics_init(store);
    }
    if (err == ERR_OK) {
        err = paths_init(store);
    }
    if (err != ERR_OK) {
        store_local_internal_destroy(store);
        return err == ERR_FULL || err == ERR_NOMEM ? err : ERR_IO;
    }
    *out = store;
    return ERR_OK;
}

void store_local_internal_destroy(struct local_store *store)
{
    if (store == NULL) {
        return;
    }
    store_chore_drop_all(store);
    if (store->by_name != NULL) {
        store_topics_fini(store);
    }
    tail_reserve_fini(&store->tail_reserve);
    journal_close(store->journal);
    cursor_page_close(store->page);
    range_page_close(store->range_page);
    file_close(store->sync_fd);
    store_recover_drop(store);
    free(store->batches[0].changes);
    free(store->batches[1].changes);
    free(store->journal_directory);
    free(store->topics_directory);
    store->magic = 0;
    free(store);
}

void store_local_internal_break(struct local_store *store, enum err err)
{
    if (store->broken) {
        return;
    }
    store->broken = true;
    store->stats.failed = true;
    DIAG_ERROR("store_broken", "shard=%u err=%s", store->shard, err_name(err));
    if (store->serving && store->options->fatal != NULL) {
        store->options->fatal(store->options->context, err);
    }
}

/* --- closing -------------------------------------------------------------- */

static void nothing_run(struct io_work *work)
{
    (void)work;
}

/* The helper has done all that was before: nothing refers to us any more. */
static void close_done(struct io_work *work)
{
    struct local_store *store =
        CONTAINER_OF(work, struct local_store, job.work);
    void (*closed)(void *) = store->closed;
    void *context = store->closed_context;
    store_local_internal_destroy(store);
    closed(context);
}

/* The last task: nothing of ours runs any more, but the journal may be making
 * a file. */
static void close_task(struct io_task *task)
{
    struct local_store *store = CONTAINER_OF(task, struct local_store, kick);
    struct io *io = store->io;
    io_hook_remove(io, &store->hook);
    io_timer_stop(io, &store->cursor_timer);
    io_timer_stop(io, &store->hold_timer);
    io_timer_stop(io, &store->chore_timer);
    io_timer_stop(io, &store->checkpoint_timer);
    io_timer_stop(io, &store->space_timer);
    io_timer_stop(io, &store->retention_timer);
    if (!store->broken) {
        struct shard_end *end = &store->data->ends[store->shard];
        end->place = journal_place(store->journal);
        end->checkpoint = store->checkpoint.number;
        store_notes_write(store, &end->notes);
    }
    journal_close(store->journal);
    store->journal = NULL;
    store->job.work.run = nothing_run;
    store->job.work.done = close_done;
    io_work_start(io, &store->job.work);
}

/* Tell whether something is still to be committed or reported. */
static bool changes_left(const struct local_store *store)
{
    return store->batches[0].count + store->batches[1].count > 0 ||
           !list_empty(&store->finished) || journal_committing(store->journal);
}

void store_local_internal_close_step(struct local_store *store)
{
    if (!store->closing || store->closing_posted) {
        return;
    }
    if (changes_left(store)) {
        if (!journal_committing(store->journal)) {
            store_append_kick(store);
        }
        return;
    }
    bool trouble = store->broken || store->job_failing ||
                   io_timer_running(&store->hold_timer);
    if (!store->cursors_tried && !trouble) {
        store->cursors_tried = true;
        store->cursors_due = !list_empty(&store->cursors_dirty);
        store_append_kick(store);
        return;
    }
    bool idle = store->checkpoint_run.step == CHECKPOINT_NONE &&
                !store->checkpoint_run.wanted;
    if (!store->checkpoint_tried && !store->close_prepared && !trouble &&
        idle) {
        store->checkpoint_tried = true;
        if (store->committed_since || !list_empty(&store->dirty)) {
            store_checkpoint_begin(store);
            return;
        }
    }
    if (store->job.running || store->reads > 0 || store->blobs > 0 ||
        (!idle && !trouble)) {
        return; /* its end makes a turn */
    }
    if (store->kicked) {
        return; /* the task that is posted comes first */
    }
    if (store->checkpoint_tried && (store->committed_since || !idle)) {
        DIAG_WARN("closed_without_checkpoint", "shard=%u", store->shard);
    }
    store->closing_posted = true;
    store->kick.run = close_task;
    io_post(store->io, &store->kick);
}

static void
local_close(struct store *base, void (*closed)(void *context), void *context)
{
    struct local_store *store = store_of(base);
    CHECK(!store->closing);
    store->closing = true;
    store->closed = closed;
    store->closed_context = context;
    store_append_kick(store);
}

static void local_prepare_close(struct store *base)
{
    struct local_store *store = store_of(base);
    store->close_prepared = true;
    if (store->committed_since || !list_empty(&store->dirty)) {
        store_checkpoint_begin(store);
    }
}

static bool local_close_prepared(const struct store *base)
{
    struct local_store *store = store_of((struct store *)base);
    return store->broken || store->job_failing ||
           io_timer_running(&store->hold_timer) ||
           (store->checkpoint_run.step == CHECKPOINT_NONE &&
            !store->checkpoint_run.wanted);
}

static const struct store_stats *local_stats(const struct store *base)
{
    struct local_store *store = store_of((struct store *)base);
    const struct journal_stats *journal = journal_stats(store->journal);
    store->stats.journal_bytes = journal->used_bytes;
    store->stats.journal_size_max = store->options->journal_size;
    store->stats.memory_size_max = store->options->memory_size_max;
    store->stats.disk_reserve = store->options->disk_reserve;
    return &store->stats;
}

/* --- opening -------------------------------------------------------------- */

static const struct store_ops local_ops = {
    .name = "local",
    .close = local_close,
    .prepare_close = local_prepare_close,
    .close_prepared = local_close_prepared,
    .tell_lost = store_read_tell_lost,
    .stats = local_stats,
    .topic_open = store_topics_open,
    .topic_each = store_topics_each,
    .topic_unused = store_topics_unused,
    .topic_unmake = store_topics_unmake,
    .topic_delete = store_topics_delete,
    .topic_configure = store_topics_configure,
    .append = store_append_message,
    .append_encoded = store_append_record,
    .view_open = store_views_open,
    .view_each = store_views_each,
    .view_hold = store_views_hold,
    .next_sequence = store_append_next,
    .cursor_store = store_cursor_note,
    .cursor_save = store_cursor_keep,
    .cursor_move = store_cursor_move_to,
    .acked_add = store_acked_note,
    .acked_next = store_acked_find,
    .purge = store_cursor_purge,
    .find_time = store_read_find_time,
    .reader_create = store_read_create,
    .reader_next = store_read_next,
    .reader_destroy = store_read_destroy,
    .blob_begin = store_blob_receive,
    .blob_write = store_blob_take,
    .blob_end = store_blob_finish,
    .blob_share = store_blob_repeat,
    .blob_drop = store_blob_discard,
    .blob_keep = store_blob_release,
    .blob_open = store_blob_find,
    .blob_damaged = store_blob_lost,
};

/* Make what recovery found the state on disk; in a hurry, what is little beside
 * other work. Until then it is durable in the journal, which just stays as long
 * as it is: so does it on a full disk, which does not keep us from serving what
 * is there. */
static enum err first_checkpoint(struct local_store *store)
{
    uint64_t little =
        store->options->hurried ? store->options->memory_size_max / 4 : 0;

    if (store->stats.recovered > 0 || !list_empty(&store->dirty)) {
        store_checkpoint_begin(store);
        if (store->stats.memory_bytes >= little) {
            store_checkpoint_resume(store);
            store_flush_all_now(store, true);
        }
    }
    return store->broken ? ERR_IO : ERR_OK;
}

/* Begin to serve. */
static void start(struct local_store *store)
{
    store->serving = true;
    store->hook_turn = io_stats(store->io)->turns;
    store->hook.turn = store_append_turn;
    io_hook_add(store->io, &store->hook);
    store_checkpoint_arm(store);
    for (struct list *node = store->topics.next; node != &store->topics;
         node = node->next) {
        store_space_arm(CONTAINER_OF(node, struct local_topic, link));
    }
    store_space_check(store);
    store_append_kick(store); /* chores may wait */
}

enum err store_local_open(struct store_local_data *data,
                          struct io *io,
                          uint32_t shard,
                          struct store **out)
{
    CHECK(shard < data->meta.shard_count);
    struct local_store *store = NULL;
    enum err err = store_local_internal_create(data, shard,
                                               data->meta.shard_count, &store);
    if (err != ERR_OK) {
        return err;
    }
    store->base.ops = &local_ops;
    store->io = io;
    store->cursor_timer.expired = store_cursor_expired;
    store->hold_timer.expired = store_flush_expired;
    store->chore_timer.expired = store_chore_expired;
    store->checkpoint_timer.expired = store_checkpoint_expired;
    store->space_timer.expired = store_space_expired;
    store->retention_timer.expired = store_space_retention_expired;
    err = store_recover_open(store);
    if (err == ERR_OK) {
        err = first_checkpoint(store);
    }
    if (err != ERR_OK) {
        io_timer_stop(io, &store->cursor_timer);
        io_timer_stop(io, &store->hold_timer);
        io_timer_stop(io, &store->chore_timer);
        io_timer_stop(io, &store->checkpoint_timer);
        io_timer_stop(io, &store->space_timer);
        store_local_internal_destroy(store);
        return err;
    }
    uint64_t took_ns = clock_monotonic_ns() - store->recovery.started_ns;
    store->stats.recovery_ms = took_ns / 1000000;
    start(store);
    *out = &store->base;
    return ERR_OK;
}
