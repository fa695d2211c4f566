/* Bodies too large for a record: brought to their topics, and removed.
 *
 * Which files are needed is known without reading segments: one in a topic's
 * folder has its message's number in its name, one that is not there yet is
 * named by a record that the journal still has. See doc/log-format.md, 11.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_blob.h"
#include "store/store_chore.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"

#include "base/diag.h"
#include "log/blob.h"

#include <stdlib.h>
#include <string.h>

static struct blob_place *place_of(struct list *node)
{
    return CONTAINER_OF(node, struct blob_place, link);
}

static enum err topic_path(const struct local_topic *topic,
                           char path[DIR_PATH_MAX])
{
    return dir_join(path, topic->store->topics_directory, topic->base.name);
}

static void place_free(struct local_store *store, struct blob_place *place)
{
    if (place->reserved) {
        tail_reserve_give(&store->tail_reserve);
    } else {
        free(place);
    }
}

/* --- placing -------------------------------------------------------------- */

enum err
store_blob_note(struct local_topic *topic, uint64_t sequence, uint64_t id)
{
    struct blob_place *place = malloc(sizeof(*place));
    bool reserved = place == NULL;
    if (reserved) {
        place = tail_reserve_take(&topic->store->tail_reserve, sizeof(*place));
    }
    if (place == NULL) {
        return ERR_NOMEM;
    }
    *place = (struct blob_place){
        .sequence = sequence, .id = id, .reserved = reserved};
    list_append(&topic->blobs, &place->link);
    return ERR_OK;
}

enum err store_blob_place(const struct local_topic *topic,
                          const struct list *blobs,
                          enum err *out_sync_err)
{
    const char *data = topic->store->data->directory;
    char path[DIR_PATH_MAX];
    enum err err = topic_path(topic, path);
    for (struct list *node = blobs->next; node != blobs && err == ERR_OK;
         node = node->next) {
        const struct blob_place *place = place_of(node);
        err = blob_place(data, path, place->sequence, place->id);
    }
    if (err == ERR_OK && !list_empty(blobs)) {
        *out_sync_err = blob_sync(data, path);
    }
    return err == ERR_TOO_LARGE ? ERR_IO : err;
}

void store_blob_forget(struct local_store *store, struct list *blobs)
{
    for (struct list *node = list_take_first(blobs); node != NULL;
         node = list_take_first(blobs)) {
        place_free(store, place_of(node));
    }
}

void store_blob_placed(struct local_topic *topic,
                       struct list *blobs,
                       enum err err)
{
    if (list_empty(blobs)) {
        return;
    }
    /* Even a run that failed may have brought some. */
    topic->has_blobs = true;
    if (err == ERR_OK) {
        store_blob_forget(topic->store, blobs);
        return;
    }
    struct list later;
    store_list_take(&topic->blobs, &later);
    store_list_take(blobs, &topic->blobs);
    for (struct list *node = list_take_first(&later); node != NULL;
         node = list_take_first(&later)) {
        list_append(&topic->blobs, node);
    }
    if (topic->gone) {
        store_blob_gone(topic);
    }
}

/* --- removing ------------------------------------------------------------- */

/* Append the path of a body that was not placed. */
static void
add_path(struct buf *files, const struct local_store *store, uint64_t id)
{
    char path[DIR_PATH_MAX];
    if (blob_incoming_path(path, store->data->directory, id) == ERR_OK) {
        buf_append_c(files, path);
        buf_append_byte(files, '\0');
    }
}

/* Let the files of a row be removed. What cannot be is removed by the next
 * start. */
static void remove_files(struct local_store *store, struct buf *files)
{
    if (files->size == 0 && !files->failed) {
        return;
    }
    buf_append_byte(files, '\0');
    enum err err = buf_err(files);
    if (err != ERR_OK) {
        buf_fini(files);
    } else {
        err = store_chore_remove(store, NULL, files->data);
    }
    if (err != ERR_OK) {
        DIAG_WARN("remove_failed", "shard=%u err=%s", store->shard,
                  err_name(err));
    }
}

/* Take out what is to be placed below `before`, its paths to `files`. */
static void
take_below(struct local_topic *topic, uint64_t before, struct buf *files)
{
    struct list *node = topic->blobs.next;
    while (node != &topic->blobs) {
        struct blob_place *place = place_of(node);
        node = node->next;
        if (place->sequence < before) {
            add_path(files, topic->store, place->id);
            list_remove(&place->link);
            place_free(topic->store, place);
        }
    }
}

/* The chore that removes a topic's bodies; NULL: none waits. */
static struct chore *sweep_waiting(struct local_topic *topic)
{
    struct list *head = &topic->store->chores;
    for (struct list *node = head->next; node != head; node = node->next) {
        struct chore *chore = CONTAINER_OF(node, struct chore, link);
        if (chore->topic_id == topic->base.id) {
            return chore;
        }
    }
    return NULL;
}

/* Let the bodies below `before` in the topic's folder be removed. */
static enum err sweep(struct local_topic *topic, uint64_t before)
{
    struct local_store *store = topic->store;
    struct chore *chore = sweep_waiting(topic);
    if (chore != NULL) {
        chore->blobs_before =
            before > chore->blobs_before ? before : chore->blobs_before;
        return ERR_OK;
    }
    char path[DIR_PATH_MAX];
    char folder[DIR_PATH_MAX];
    enum err err = topic_path(topic, path);
    if (err == ERR_OK) {
        err = blob_folder(folder, path);
    }
    char *from = err == ERR_OK ? strdup(folder) : NULL;
    if (from == NULL) {
        return ERR_NOMEM;
    }
    err = store_chore_remove(store, from, NULL);
    if (err != ERR_OK) {
        return err;
    }
    chore = CONTAINER_OF(store->chores.prev, struct chore, link);
    chore->topic_id = topic->base.id;
    chore->blobs_before = before;
    return ERR_OK;
}

void store_blob_trim(struct local_topic *topic, uint64_t before)
{
    struct buf files = {0};
    if (!list_empty(&topic->blobs)) {
        take_below(topic, before, &files);
        remove_files(topic->store, &files);
    }
    /* The running job may bring some. */
    if ((topic->has_blobs || topic->flushing) && before > 0 &&
        sweep(topic, before) != ERR_OK) {
        DIAG_WARN("remove_failed", "topic=%s blobs_before=%llu",
                  topic->base.name, (unsigned long long)before);
    }
}

void store_blob_gone(struct local_topic *topic)
{
    struct buf files = {0};
    if (topic->store->serving && !list_empty(&topic->blobs)) {
        take_below(topic, UINT64_MAX, &files);
        remove_files(topic->store, &files);
    }
    /* While recovering, those that no topic names go with the leftovers. */
    store_blob_forget(topic->store, &topic->blobs);
}

/* --- recovery ------------------------------------------------------------- */

static int compare_ids(const void *left, const void *right)
{
    const struct leftover *first = left;
    const struct leftover *second = right;
    return (first->id > second->id) - (first->id < second->id);
}

/* A row of leftovers that grows. */
struct row {
    struct leftover *leftovers; /* owned */
    size_t count;
    size_t capacity;
};

static enum err
visit_leftover(void *context, const char *name, bool is_directory)
{
    struct row *row = context;
    uint64_t id = 0;
    if (is_directory || !blob_incoming_parse(name, &id)) {
        DIAG_WARN("blob_unknown", "name=%s", name);
        return ERR_OK;
    }
    if (row->count == row->capacity) {
        size_t capacity = 2 * row->capacity + 16;
        struct leftover *leftovers =
            realloc(row->leftovers, capacity * sizeof(*leftovers));
        if (leftovers == NULL) {
            return ERR_NOMEM;
        }
        row->leftovers = leftovers;
        row->capacity = capacity;
    }
    row->leftovers[row->count].id = id;
    atomic_init(&row->leftovers[row->count].named, false);
    row->count++;
    return ERR_OK;
}

enum err store_blob_leftovers(struct store_local_data *data)
{
    char path[DIR_PATH_MAX];
    struct row row = {0};
    enum err err = dir_join(path, data->directory, "blobs");
    if (err == ERR_OK) {
        err = dir_each(path, visit_leftover, &row);
    }
    if (err != ERR_OK) {
        free(row.leftovers);
        return err == ERR_NOMEM ? err : ERR_IO;
    }
    if (row.count > 0) {
        qsort(row.leftovers, row.count, sizeof(*row.leftovers), compare_ids);
    }
    data->leftovers = row.leftovers;
    data->leftover_count = row.count;
    return ERR_OK;
}

/* A record names a body: it is no leftover. */
static void note_named(struct store_local_data *data, uint64_t id)
{
    const struct leftover key = {.id = id};
    struct leftover *found =
        data->leftover_count == 0
            ? NULL
            : bsearch(&key, data->leftovers, data->leftover_count, sizeof(key),
                      compare_ids);
    if (found != NULL) {
        atomic_store(&found->named, true);
    }
}

static enum err any_name(void *context, const char *name, bool is_directory)
{
    (void)context;
    (void)name;
    (void)is_directory;
    return ERR_EXISTS;
}

enum err store_blob_settle(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    char path[DIR_PATH_MAX];
    char folder[DIR_PATH_MAX];
    uint64_t oldest = topic->base.bounds.oldest;
    struct list *node = topic->blobs.next;
    while (node != &topic->blobs) {
        struct blob_place *place = place_of(node);
        node = node->next;
        if (place->sequence >= oldest) {
            note_named(store->data, place->id);
        } else { /* it goes with the leftovers */
            list_remove(&place->link);
            place_free(topic->store, place);
        }
    }
    bool none = topic_log_stats(topic->log)->plain && !topic->has_blobs;
    if (none || topic->noted || topic_path(topic, path) != ERR_OK ||
        blob_folder(folder, path) != ERR_OK ||
        dir_each(folder, any_name, NULL) != ERR_EXISTS) {
        return ERR_OK; /* none are placed, or all is known */
    }
    topic->has_blobs = true;
    return oldest > 0 ? sweep(topic, oldest) : ERR_OK;
}

void store_blob_recovered(struct local_store *store, bool doubt)
{
    struct store_local_data *data = store->data;
    struct buf files = {0};
    size_t count = 0;
    if (doubt) {
        atomic_store(&data->doubt, true);
    }
    if (store->io == NULL || /* another number of shards is yet to be made */
        atomic_fetch_add(&data->recovered, 1) + 1 != store->shard_count) {
        return;
    }
    for (size_t i = 0; i < data->leftover_count; i++) {
        if (!atomic_load(&data->leftovers[i].named)) {
            count++;
            add_path(&files, store, data->leftovers[i].id);
        }
    }
    if (count > 0 && atomic_load(&data->doubt)) {
        DIAG_WARN("blobs_kept",
                  "count=%zu; journals have damage that may concern them",
                  count);
        buf_fini(&files);
        return;
    }
    if (count > 0) {
        DIAG_INFO("blobs_removed", "count=%zu reason=%s", count,
                  "never answered");
    }
    remove_files(store, &files);
    return;
}
