/* A data directory as a whole: its lock, its meta file, the journals that
 * another number of shards left. doc/log-format.md, section 1.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_blob.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"

#include "base/diag.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of "_log" at the end of a name; 0 when it does not end so. */
static size_t log_suffix_size(struct str name)
{
    struct str suffix = STR("_log");
    struct str end = name.size < suffix.size
                         ? name
                         : str_cut(name, name.size - suffix.size, suffix.size);

    return str_equal(end, suffix) ? suffix.size : 0;
}

uint32_t store_data_shard(uint32_t shard_count, struct str topic)
{
    if (str_starts(topic, STR(".opq."))) {
        topic = str_cut(topic, 0, topic.size - log_suffix_size(topic));
    }
    return (uint32_t)(str_hash(topic) % shard_count);
}

enum err store_data_journal(const struct store_local_data *data,
                            uint32_t shard,
                            char path[DIR_PATH_MAX])
{
    int size =
        snprintf(path, DIR_PATH_MAX, "%s/journal/%u", data->directory, shard);
    if (size < 0 || size >= DIR_PATH_MAX) {
        return ERR_IO;
    }
    enum err err = dir_create(path);
    return err == ERR_EXISTS ? ERR_IO : err;
}

/* A context for looking into directories. */
struct look {
    const struct store_local_data *data; /* borrowed */
    uint64_t number;                     /* what was found */
};

static enum err look_any(void *context, const char *name, bool is_directory)
{
    struct look *look = context;
    (void)name;
    (void)is_directory;
    look->number++;
    return ERR_OK;
}

/* Tell whether a folder of the data directory has something in it. */
static enum err
something_in(const struct store_local_data *data, const char *name, bool *out)
{
    char path[DIR_PATH_MAX];
    struct look look = {.data = data};
    if (dir_join(path, data->directory, name) != ERR_OK) {
        return ERR_IO;
    }
    enum err err = dir_each(path, look_any, &look);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    *out = look.number > 0;
    return ERR_OK;
}

/* Make the meta file of a new directory. One with topics or journals in it is
 * not new: its meta file is lost, and so is what only that could tell. */
static enum err meta_make(struct store_local_data *data)
{
    bool topics = false;
    bool journals = false;
    enum err err = something_in(data, "topics", &topics);
    if (err == ERR_OK) {
        err = something_in(data, "journal", &journals);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (topics || journals) {
        DIAG_ERROR("meta_missing", "directory=%s", data->directory);
        return ERR_CORRUPT;
    }
    do {
        clock_random(&data->meta.node, sizeof(data->meta.node));
    } while (data->meta.node == 0);
    data->meta.shard_count = data->options->shard_count;
    data->meta.base = 0;
    return meta_store(data->directory, &data->meta);
}

/* --- another number of shards --------------------------------------------- */

/* How a checkpoint went that was to come to this step. */
static enum err run_outcome(const struct local_store *store,
                            enum checkpoint_step step)
{
    if (!store->broken && !store->job_failing &&
        store->checkpoint_run.step == step) {
        return ERR_OK;
    }
    return store->job.err == ERR_FULL ? ERR_FULL : ERR_IO;
}

/* Let all topics or views take part in the next checkpoint. */
static void mark_all(struct list *head)
{
    for (struct list *node = head->next; node != head; node = node->next) {
        store_topics_mark(CONTAINER_OF(node, struct local_topic, link));
    }
}

/* Bring the journal of one shard into its topics, as checkpoint `number`;
 * afterwards all is durable, but not in force. */
static enum err
shard_empty(struct store_local_data *data, uint32_t shard, uint64_t number)
{
    struct local_store *store = NULL;
    enum err err = store_local_internal_create(data, shard,
                                               data->meta.shard_count, &store);
    if (err != ERR_OK) {
        return err;
    }
    err = store_recover_open(store);
    if (err == ERR_OK) {
        /* First as always, so that no slot is left of a checkpoint that was
         * never complete; the journal stays as it is. */
        store_checkpoint_begin(store);
        store_checkpoint_resume(store);
        store_flush_all_now(store, true);
        err = run_outcome(store, CHECKPOINT_NONE);
    }
    if (err == ERR_OK) {
        mark_all(&store->topics);
        mark_all(&store->views);
        store->checkpoint.number = number - 1;
        store_checkpoint_begin(store);
        store_checkpoint_resume(store);
        store_flush_all_now(store, false);
        err = run_outcome(store, CHECKPOINT_COMPLETE);
    }
    store_local_internal_destroy(store);
    return err;
}

/* The highest number that a checkpoint of any shard can have used. */
static enum err highest_number(struct store_local_data *data, uint64_t *out)
{
    uint64_t highest = data->meta.base;
    for (uint32_t i = 0; i < data->meta.shard_count; i++) {
        char path[DIR_PATH_MAX];
        struct checkpoint checkpoint = {0};
        enum err err = store_data_journal(data, i, path);
        if (err == ERR_OK) {
            err = checkpoint_load(path, &checkpoint);
        }
        if (err != ERR_OK) {
            return err;
        }
        if (checkpoint.number > highest) {
            highest = checkpoint.number;
        }
    }
    *out = highest + 1; /* an incomplete one */
    return ERR_OK;
}

/* Empty all journals into the topics, and go over to our number of shards. */
static enum err shards_change(struct store_local_data *data)
{
    uint64_t number = 0;
    enum err err = highest_number(data, &number);
    DIAG_INFO("shards_change", "from=%u to=%u", data->meta.shard_count,
              data->options->shard_count);
    for (uint32_t i = 0; err == ERR_OK && i < data->meta.shard_count; i++) {
        err = shard_empty(data, i, number + 1);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct meta meta = data->meta;
    meta.shard_count = data->options->shard_count;
    meta.base = number + 1;
    err = meta_store(data->directory, &meta);
    if (err == ERR_OK) {
        data->meta = meta;
    }
    return err;
}

/* Remove the journal of a shard that there is no more, when it is void. */
static enum err
visit_journal(void *context, const char *name, bool is_directory)
{
    struct look *look = context;
    const struct store_local_data *data = look->data;
    uint64_t shard = 0;
    if (!is_directory || str_to_u64(str_from(name), &shard) != ERR_OK ||
        shard < data->meta.shard_count || shard > UINT32_MAX) {
        return ERR_OK;
    }
    char path[DIR_PATH_MAX];
    struct checkpoint checkpoint = {0};
    enum err err = store_data_journal(data, (uint32_t)shard, path);
    if (err == ERR_OK) {
        err = checkpoint_load(path, &checkpoint);
    }
    if (err == ERR_OK && checkpoint.number < data->meta.base) {
        err = dir_remove(path);
    } else if (err == ERR_OK) {
        DIAG_WARN("journal_unknown", "path=%s", path);
    }
    return err;
}

static enum err journals_clean(struct store_local_data *data)
{
    char path[DIR_PATH_MAX];
    struct look look = {.data = data};
    if (dir_join(path, data->directory, "journal") != ERR_OK) {
        return ERR_IO;
    }
    return dir_each(path, visit_journal, &look);
}

/* --- life ----------------------------------------------------------------- */

/* Say what is in the way of a start. */
static enum err named(const char *path, enum err err)
{
    if (err != ERR_OK && err != ERR_BUSY) {
        DIAG_ERROR("data_unusable", "path=%s err=%s", path, err_name(err));
    }
    return err;
}

static enum err folders_make(const struct store_local_data *data)
{
    static const char *const names[] = {"journal", "topics", "blobs", "acked"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[DIR_PATH_MAX];
        enum err err = dir_join(path, data->directory, names[i]);
        if (err == ERR_OK) {
            err = named(path, dir_create(path));
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return dir_sync(data->directory);
}

/* Lock it, and see whether somebody else did since the process before. */
static enum err lock(struct store_local_data *data, const char *path)
{
    const struct store_local_options *set = data->options;
    uint64_t since = set->end_count > 0 ? set->ends[0].locked : 0;
    return dir_lock_since(path, since, &data->lock_fd, &data->goes_on);
}

static enum err prepare(struct store_local_data *data)
{
    char path[DIR_PATH_MAX];
    enum err err = dir_create(data->directory);
    if (err == ERR_OK &&
        dir_join(path, data->directory, "opq.lock") != ERR_OK) {
        err = ERR_IO;
    }
    if (err == ERR_OK) {
        err = named(path, lock(data, path));
    }
    if (err == ERR_OK && dir_join(path, data->directory, "meta") != ERR_OK) {
        err = ERR_IO;
    }
    if (err == ERR_OK) {
        err = meta_load(data->directory, &data->meta);
        err = err == ERR_NOT_FOUND ? meta_make(data) : named(path, err);
    }
    if (err == ERR_OK) {
        err = folders_make(data);
    }
    if (err == ERR_OK) {
        err = journals_clean(data); /* before their numbers are used again */
    }
    if (err == ERR_OK && data->meta.shard_count != data->options->shard_count) {
        data->goes_on = false;
        err = shards_change(data);
        if (err == ERR_OK) {
            err = journals_clean(data);
        }
    }
    return err == ERR_OK ? store_blob_leftovers(data) : err;
}

enum err store_data_prepare(const struct store_local_options *options,
                            struct store_local_data **out)
{
    CHECK(options->shard_count > 0);
    struct store_local_data *data = calloc(1, sizeof(*data));
    if (data == NULL) {
        return ERR_NOMEM;
    }
    data->lock_fd = -1;
    data->options = calloc(1, sizeof(*data->options));
    data->directory = strdup(options->directory);
    enum err err = ERR_NOMEM;
    data->ends = calloc(options->shard_count, sizeof(*data->ends));
    if (data->options != NULL && data->directory != NULL &&
        data->ends != NULL) {
        *data->options = *options;
        data->options->directory = data->directory;
        err = prepare(data);
    }
    if (err != ERR_OK) {
        store_data_release(data);
        switch (err) {
        case ERR_BUSY:
        case ERR_UNSUPPORTED:
        case ERR_CORRUPT:
        case ERR_FULL:
        case ERR_NOMEM:
            return err;
        default:
            return ERR_IO;
        }
    }
    *out = data;
    return ERR_OK;
}

static void ends_free(struct store_local_data *data)
{
    bool used = data->ends != NULL && data->options != NULL;
    for (uint32_t i = 0; used && i < data->options->shard_count; i++) {
        buf_fini(&data->ends[i].notes);
    }
    free(data->ends);
}

void store_data_release(struct store_local_data *data)
{
    if (data != NULL) {
        dir_unlock(data->lock_fd);
        ends_free(data);
        free(data->leftovers);
        free(data->options);
        free(data->directory);
        free(data);
    }
}
