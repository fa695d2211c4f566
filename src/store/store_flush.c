/* What is written behind the loop: tails to segments, folders and files of what
 * was deleted, the steps of a checkpoint.
 *
 * One job runs at a time, on the helper thread of the loop, and each is of
 * bounded size, so that the flush of one topic never waits long behind those of
 * others; while a checkpoint runs, its steps and urgent flushes take turns.
 * run() touches nothing but the job and what never changes.
 *
 * What fails:
 *   - A write: the tails are as they were, nothing is lost; jobs pause for
 *     STORE_HOLD_MS. Meanwhile memory and journal fill up to their bounds, and
 *     then producers are told to wait.
 *   - A sync: the store breaks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_acked.h"
#include "store/store_blob.h"
#include "store/store_chore.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"

#include "base/diag.h"
#include "log/blob.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- on the helper thread ------------------------------------------------- */

/* Remove files, as topic_log_take_dropped() gave them. One that is not there
 * is removed. */
static enum err remove_files(const char *files)
{
    enum err first = ERR_OK;
    for (const char *path = files; *path != '\0'; path += strlen(path) + 1) {
        enum err err = file_remove(path);
        if (err != ERR_OK && err != ERR_NOT_FOUND && first == ERR_OK) {
            first = err;
        }
    }
    return first;
}

/* A folder some of whose files are removed. */
struct removal {
    const char *directory;
    uint32_t count;
};

static enum err remove_view(void *context, const char *name, bool is_directory)
{
    struct removal *removal = context;
    char path[DIR_PATH_MAX];
    if (removal->count == STORE_JOB_REMOVE_MAX) {
        return ERR_AGAIN;
    }
    removal->count++;
    enum err err = dir_join(path, removal->directory, name);
    if (err != ERR_OK) {
        return err;
    }
    return is_directory ? dir_remove(path) : file_remove(path);
}

static enum err remove_one(void *context, const char *name, bool is_directory)
{
    struct removal *removal = context;
    char path[DIR_PATH_MAX];
    if (removal->count == STORE_JOB_REMOVE_MAX) {
        return ERR_AGAIN;
    }
    enum err err = dir_join(path, removal->directory, name);
    if (err != ERR_OK) {
        return err;
    }
    if (is_directory && strcmp(name, TOPIC_CONF_VIEWS) == 0) {
        struct removal views = {.directory = path, .count = removal->count};
        return dir_each(path, remove_view, &views);
    }
    if (is_directory) { /* bodies; dir_remove() takes the folder at the end */
        return blob_remove_below(path, UINT64_MAX,
                                 STORE_JOB_REMOVE_MAX - removal->count);
    }
    removal->count++;
    return file_remove(path);
}

/* Remove a folder, some files at a time: ERR_AGAIN until it is done. */
static enum err remove_folder(const char *directory)
{
    struct removal removal = {.directory = directory};
    enum err err = dir_each(directory, remove_one, &removal);
    return err == ERR_OK ? dir_remove(directory) : err;
}

static enum err run_chore(const struct chore *chore)
{
    if (chore->files != NULL) {
        return remove_files(chore->files);
    }
    if (chore->topic_id != 0) {
        return blob_remove_below(chore->from, chore->blobs_before,
                                 STORE_JOB_REMOVE_MAX);
    }
    enum err err = chore->to != NULL ? file_rename(chore->from, chore->to)
                                     : remove_folder(chore->from);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Replace a file in one step, without a sync. */
static enum err replace_unsynced(const char *path, const struct buf *data)
{
    char beside[DIR_PATH_MAX];
    int fd = -1;
    int size = snprintf(beside, sizeof(beside), "%s.new", path);
    if (size < 0 || (size_t)size >= sizeof(beside)) {
        return ERR_IO;
    }
    enum err err =
        file_open(beside, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &fd);
    if (err != ERR_OK) {
        return err;
    }
    err = file_write_at(fd, data->data, data->size, 0, false);
    file_close(fd);
    return err == ERR_OK ? file_rename(beside, path) : err;
}

/* Write the topic's folder and its topic.conf. A sync for each of many new
 * topics would take long: they are left to the checkpoint's. */
static enum err run_conf(const struct job *job, const struct job_topic *entry)
{
    char directory[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    if (store_topics_path(entry->topic, directory) != ERR_OK ||
        dir_join(path, directory, "topic.conf") != ERR_OK) {
        return ERR_IO;
    }
    enum err err = dir_create(directory);
    if (err == ERR_OK) {
        err = job->sync_topics
                  ? file_replace(path, entry->conf.data, entry->conf.size)
                  : replace_unsynced(path, &entry->conf);
    }
    return err;
}

/* Make the name of the folder durable that a view's folder is in. */
static enum err sync_above(const struct local_topic *topic)
{
    const struct local_topic *parent = store_parent_of(topic);
    char path[DIR_PATH_MAX];
    if (parent == NULL) {
        return ERR_OK; /* the checkpoint's last sync does it */
    }
    enum err err = store_topics_path(parent, path);
    return err == ERR_OK ? dir_sync(path) : err;
}

static void run_topic(struct job *job, struct job_topic *entry)
{
    if (entry->conf.size > 0) {
        entry->err = run_conf(job, entry);
    }
    /* First the bodies, then the records that name them. */
    if (entry->err == ERR_OK) {
        entry->err =
            store_blob_place(entry->topic, &entry->blobs, &job->sync_err);
    }
    if (job->sync_err != ERR_OK) {
        return;
    }
    if (entry->err == ERR_OK && entry->flush != NULL) {
        entry->err = topic_flush_run(entry->flush);
        if (entry->err == ERR_OK && job->sync_topics) {
            enum err err = topic_flush_sync(entry->flush);
            if (err == ERR_BUSY) {
                entry->err = err; /* descriptors: not even tried */
            } else {
                job->sync_err = err;
            }
        }
        if (entry->err == ERR_OK && job->sync_err == ERR_OK &&
            job->sync_topics && entry->conf.size > 0) {
            job->sync_err = sync_above(entry->topic);
        }
        if (entry->err == ERR_OK && job->forget_files) {
            topic_flush_synced(entry->flush);
        }
    }
}

/* Make durable what the topics' jobs wrote. */
static enum err run_sync(const struct local_store *store, bool all)
{
    if (all) {
        return file_sync_all(store->sync_fd);
    }
    enum err err = dir_sync(store->topics_directory);
    if (err == ERR_OK) {
        err = dir_sync(store->data->directory); /* trash-* */
    }
    return err;
}

static void job_run(struct io_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    switch (job->kind) {
    case JOB_CHORE:
        job->err = run_chore(job->chore);
        break;
    case JOB_FLUSH:
    case JOB_TOPICS:
        for (uint32_t i = 0; i < job->count && job->sync_err == ERR_OK; i++) {
            run_topic(job, &job->topics[i]);
        }
        break;
    case JOB_SYNC:
        job->sync_err = run_sync(job->store, job->sync_all);
        break;
    case JOB_COMPLETE:
        job->err =
            checkpoint_write(job->store->journal_directory, &job->checkpoint);
        break;
    }
}

/* --- choosing ------------------------------------------------------------- */

/* Tell whether the folder that has a topic's place waits to be moved away. */
static bool blocked_one(const struct local_topic *topic)
{
    const struct list *chores = &topic->store->chores;
    for (struct list *node = chores->next; node != chores; node = node->next) {
        const struct chore *chore = CONTAINER_OF(node, struct chore, link);
        char path[DIR_PATH_MAX];
        if (chore->to != NULL && str_equal(chore->name, topic->base.name_str) &&
            (store_topics_path(topic, path) != ERR_OK ||
             strcmp(chore->from, path) == 0)) {
            return true;
        }
    }
    return false;
}

/* Tell whether a topic's place is not its own yet. */
static bool blocked(const struct local_topic *topic)
{
    const struct local_topic *parent = store_parent_of(topic);
    return topic->displaced || topic->waits || blocked_one(topic) ||
           (parent != NULL &&
            (parent->displaced || parent->waits || blocked_one(parent)));
}

static void job_clear(struct local_store *store, enum job_kind kind)
{
    struct job *job = &store->job;
    job->kind = kind;
    job->store = store;
    job->count = 0;
    job->err = ERR_OK;
    job->sync_err = ERR_OK;
    job->sync_topics = false;
    job->sync_all = false;
    job->forget_files = false;
    job->chore = NULL;
}

bool store_flush_add(struct local_topic *topic, uint64_t checkpoint)
{
    struct local_store *store = topic->store;
    struct job *job = &store->job;
    struct local_topic *parent = store_parent_of(topic);
    CHECK(!topic->flushing && job->count < STORE_JOB_TOPICS_MAX);
    if (blocked(topic)) {
        return false;
    }
    struct job_topic entry = {.topic = topic};
    if (topic->folder != FOLDER_MADE ||
        (checkpoint != 0 && topic->conf_dirty)) {
        struct topic_conf conf = store_topics_settled_conf(topic);
        topic_conf_write(&conf, &entry.conf);
        if (buf_err(&entry.conf) != ERR_OK) {
            goto fail;
        }
    }
    struct topic_cursor cursor;
    if (checkpoint != 0) {
        store_acked_spare(topic);
        store_cursor_snapshot(topic, &cursor);
    }
    enum err err = topic_flush_begin(
        topic->log, checkpoint, checkpoint != 0 ? &cursor : NULL, &entry.flush);
    if (err != ERR_OK) {
        goto fail;
    }
    /* What changes from now on is for the next one. Only a checkpoint makes
     * it durable, so only that is the end of it. */
    topic->conf_dirty =
        topic->conf_dirty && (entry.conf.size == 0 || checkpoint == 0);
    topic->flushing = true;
    if (topic->folder == FOLDER_NONE) {
        topic->folder = FOLDER_MAYBE;
    }
    if (parent != NULL && parent->folder == FOLDER_NONE) {
        parent->folder = FOLDER_MAYBE; /* the view's is made inside of it */
    }
    topic->holds++;
    struct job_topic *added = &job->topics[job->count];
    *added = entry;
    store_list_take(&topic->blobs, &added->blobs);
    job->count++;
    return true;

fail:
    buf_fini(&entry.conf);
    return false;
}

/* Tell whether memory is short, so that even small tails must go. */
static bool pressed(const struct local_store *store)
{
    return store->stats.memory_bytes >= store->options->memory_size_max / 2 ||
           tail_reserve_used(&store->tail_reserve);
}

/* Gather topics from a list into the job. */
static void
gather_tails(struct local_store *store, struct list *head, size_t link_offset)
{
    uint64_t size = 0;
    struct list *node = head->next;
    while (node != head && size < STORE_JOB_SIZE_MAX &&
           store->job.count < STORE_JOB_TOPICS_MAX) {
        struct local_topic *topic =
            (struct local_topic *)(void *)((char *)node - link_offset);
        node = node->next;
        if (store_flush_add(topic, 0)) {
            size += topic->memory_seen;
        }
    }
}

/* Fill in a flush of large tails, or of the oldest when memory is short. */
static bool pick_flush(struct local_store *store)
{
    if (list_empty(&store->urgent) && !pressed(store)) {
        return false;
    }
    job_clear(store, JOB_FLUSH);
    gather_tails(store, &store->urgent,
                 offsetof(struct local_topic, urgent_link));
    if (store->job.count == 0) {
        gather_tails(store, &store->tails,
                     offsetof(struct local_topic, tail_link));
    }
    if (store->job.count == 0) {
        return false;
    }
    if (store->sync_all_due ||
        store->files_open >= store->options->files_open_max / 2) {
        store->job.forget_files = true;
        store->sync_all_due = true;
    }
    return true;
}

/* Tell whether a chore's topic is not there any more: another one may have its
 * folder by now. */
static bool outlived(const struct local_store *store, const struct chore *chore)
{
    return chore->topic_id != 0 &&
           store_topics_find_id(store, chore->topic_id) == NULL;
}

/* Take the first chore that moves a folder away, or else removes something. */
static bool pick_chore(struct local_store *store, bool moves)
{
    struct list *head = &store->chores;
    if (store->chores_paused) {
        return false;
    }
    struct list *node = head->next;
    while (node != head) {
        struct chore *chore = CONTAINER_OF(node, struct chore, link);
        node = node->next;
        if (outlived(store, chore)) {
            list_remove(&chore->link);
            store_chore_free(chore);
        } else if ((chore->to != NULL) == moves) {
            list_remove(&chore->link);
            job_clear(store, JOB_CHORE);
            store->job.chore = chore;
            return true;
        }
    }
    return false;
}

/* Take something to remove: when nothing else is to do, and now and then.
 * Before the store serves there is no time for it. */
static bool pick_removal(struct local_store *store, uint32_t jobs_before)
{
    if (!store->serving || store->jobs_since_removal < jobs_before ||
        !pick_chore(store, false)) {
        return false;
    }
    store->jobs_since_removal = 0;
    return true;
}

/* Fill in the next job; false when there is nothing to do now. */
static bool pick(struct local_store *store)
{
    if (store->job.running || store->broken ||
        io_timer_running(&store->hold_timer)) {
        return false;
    }
    bool picked = pick_chore(store, true) ||
                  pick_removal(store, STORE_JOBS_BEFORE_REMOVAL);
    if (!picked && !store->job_was_flush) {
        picked = pick_flush(store);
    }
    if (!picked) {
        job_clear(store, JOB_TOPICS);
        picked = store_checkpoint_pick(store);
    }
    if (!picked && store->job_was_flush) {
        picked = pick_flush(store);
    }
    picked = picked || pick_removal(store, 0);
    store->job_was_flush = picked && store->job.kind == JOB_FLUSH;
    store->jobs_since_removal += picked ? 1 : 0;
    return picked;
}

/* --- afterwards ----------------------------------------------------------- */

/* Tell whether a chore moves the folder of a view, not of a topic. */
static bool is_view(const struct local_store *store, const struct chore *chore)
{
    return strlen(chore->from) !=
           strlen(store->topics_directory) + 1 + chore->name.size;
}

/* A chore ended. What was moved away is removed next. */
static void chore_done(struct local_store *store)
{
    struct chore *chore = store->job.chore;
    enum err err = store->job.err;
    store->job.chore = NULL;
    store->job.err = ERR_OK; /* other jobs go on */
    if (err == ERR_AGAIN) {
        list_append(&store->chores, &chore->link);
        return;
    }
    if (err != ERR_OK) {
        DIAG_WARN("remove_failed", "path=%s err=%s",
                  chore->from != NULL ? chore->from : chore->files,
                  err_name(err));
    }
    if (err != ERR_OK && chore->to != NULL) {
        /* Must be done: no checkpoint completes before it. */
        list_append(&store->chores, &chore->link);
        store->chores_paused = true;
        if (store->io != NULL) {
            io_timer_start(store->io, &store->chore_timer, STORE_HOLD_MS);
        }
        return;
    }
    if (chore->to != NULL) {
        if (is_view(store, chore)) {
            store->sync_all_due = true; /* the name that it had */
        }
        free(chore->from);
        chore->from = chore->to;
        chore->to = NULL;
        chore->name = (struct str){0};
        list_append(&store->chores, &chore->link);
        return;
    }
    store_chore_free(chore);
}

/* One topic's part of a job ended. */
static void topic_done(struct local_store *store, struct job_topic *entry)
{
    struct local_topic *topic = entry->topic;
    enum err err = entry->err;
    if (store->job.sync_err != ERR_OK) {
        err = store->job.sync_err;
    }
    if (entry->flush != NULL) {
        topic_flush_end(topic->log, entry->flush, err);
    }
    if (entry->conf.size > 0) {
        if (err == ERR_OK) {
            topic->folder = FOLDER_MADE;
        } else {
            topic->conf_dirty = true;
        }
        buf_fini(&entry->conf);
    }
    store_blob_placed(topic, &entry->blobs, err);
    if (err != ERR_OK && store->job.err == ERR_OK) {
        store->job.err = err;
    }
    topic->flushing = false;
    if (!topic->gone) {
        store_topics_account(topic);
    }
    /* What goes while the store closes, nothing would say to the next start. */
    if (!topic->gone && store->serving && !store->closing &&
        topic->base.parent == NULL) {
        const struct topic_log_stats *log = topic_log_stats(topic->log);
        if (log->segment_count != topic->segments_seen ||
            log->oldest < topic->base.bounds.oldest) {
            topic->segments_seen = log->segment_count;
            store_space_trim(topic);
        }
    }
    store_topics_release(topic);
}

/* Pause after a failure, and say so once. */
static void job_failed(struct local_store *store, enum err err)
{
    if (!store->job_failing) {
        store->job_failing = true;
        DIAG_ERROR("background_write_failed", "shard=%u job=%d err=%s",
                   store->shard, (int)store->job.kind, err_name(err));
    }
    if (store->io != NULL) {
        if (err == ERR_FULL) {
            store_space_full(store);
        }
        io_timer_start(store->io, &store->hold_timer, STORE_HOLD_MS);
    }
}

/* Take in what a job did. */
static void job_apply(struct local_store *store)
{
    struct job *job = &store->job;
    job->running = false;
    if (job->kind == JOB_CHORE) {
        chore_done(store);
    }
    for (uint32_t i = 0; i < job->count; i++) {
        topic_done(store, &job->topics[i]);
    }
    job->count = 0;
    if (job->sync_err != ERR_OK) {
        store_local_internal_break(store, job->sync_err);
        return;
    }
    if (job->err != ERR_OK) {
        job_failed(store, job->err);
    } else if (store->job_failing) {
        store->job_failing = false;
        DIAG_INFO("background_write_recovered", "shard=%u", store->shard);
        if (store->io != NULL) {
            store_space_found(store);
        }
    }
    if (job->kind != JOB_CHORE && job->kind != JOB_FLUSH) {
        store_checkpoint_stepped(store);
    }
    store_flush_close_files(store);
}

static void job_done(struct io_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job_apply(job->store);
    /* The turn hook, which follows, starts the next one. */
}

void store_flush_next(struct local_store *store)
{
    if (pick(store)) {
        store->job.running = true;
        store->job.work.run = job_run;
        store->job.work.done = job_done;
        io_work_start(store->io, &store->job.work);
    }
}

void store_flush_all_now(struct local_store *store, bool complete)
{
    while (!store->job_failing &&
           (complete || store->checkpoint_run.step != CHECKPOINT_COMPLETE) &&
           pick(store)) {
        job_run(&store->job.work);
        job_apply(store);
    }
}

void store_flush_tails_now(struct local_store *store)
{
    bool progress = true;
    while (!list_empty(&store->tails) && progress) {
        uint64_t before = store->stats.memory_bytes;
        job_clear(store, JOB_FLUSH);
        gather_tails(store, &store->tails,
                     offsetof(struct local_topic, tail_link));
        store->job.forget_files = true;
        store->sync_all_due = true;
        job_run(&store->job.work);
        job_apply(store);
        progress = store->stats.memory_bytes < before;
    }
    store->job_failing = false; /* the checkpoint behind will tell */
}

void store_flush_expired(struct io_timer *timer)
{
    (void)timer; /* the turn hook starts the next job */
}

void store_flush_close_files(struct local_store *store)
{
    struct list *node = store->files.next;
    while (store->files_open > store->options->files_open_max &&
           node != &store->files) {
        struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, files_link);
        node = node->next;
        if (!topic->flushing) {
            topic_log_close_files(topic->log);
            const struct topic_log_stats *log = topic_log_stats(topic->log);
            store->files_open += log->files_open;
            store->files_open -= topic->files_seen;
            topic->files_seen = log->files_open;
            if (log->files_open == 0) {
                list_remove(&topic->files_link);
            }
        }
    }
}
