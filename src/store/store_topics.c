/* Topics of the local store, and their views, by name and by id.
 *
 * A topic whose deletion is given is out of the table of names at once, so the
 * name can be used again, but stays in the table of ids and takes part in
 * flushes and checkpoints until the deletion is durable: if it fails, the topic
 * is there again with all it had. If its name was taken meanwhile, it is doomed
 * instead: its deletion is put once more before the newcomer is announced.
 *
 * The views of a topic are hidden, and there again, and gone, with it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_acked.h"
#include "store/store_blob.h"
#include "store/store_chore.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"
#include "store/store_views.h"

#include "base/diag.h"
#include "sys/clock.h"
#include "sys/pages.h"

#include <stdlib.h>
#include <string.h>

/* --- tables --------------------------------------------------------------- */

enum err store_topics_init(struct local_store *store)
{
    uint32_t bucket_count = 16;
    while (bucket_count < STORE_BUCKETS_MAX &&
           bucket_count < store->options->topics_max) {
        bucket_count *= 2;
    }
    store->bucket_mask = bucket_count - 1;
    store->by_name = calloc(bucket_count, sizeof(struct local_topic *));
    store->by_id = calloc(bucket_count, sizeof(struct local_topic *));
    if (store->by_name == NULL || store->by_id == NULL) {
        free(store->by_name);
        free(store->by_id);
        store->by_name = NULL;
        store->by_id = NULL;
        return ERR_NOMEM;
    }
    return ERR_OK;
}

static struct local_topic **name_bucket(const struct local_store *store,
                                        const struct local_topic *parent,
                                        struct str name)
{
    /* The low bits chose the shard. Views of many topics have one name. */
    uint64_t hash = str_hash(name) >> 16;
    hash ^= parent != NULL ? parent->base.id : 0;
    return &store->by_name[hash & store->bucket_mask];
}

static struct local_topic **id_bucket(const struct local_store *store,
                                      uint64_t id)
{
    return &store->by_id[id & store->bucket_mask]; /* random already */
}

struct local_topic *store_topics_find(const struct local_store *store,
                                      const struct local_topic *parent,
                                      struct str name)
{
    struct local_topic *topic = *name_bucket(store, parent, name);
    while (topic != NULL && (store_parent_of(topic) != parent ||
                             !str_equal(topic->base.name_str, name))) {
        topic = topic->by_name_next;
    }
    return topic;
}

struct local_topic *store_topics_find_id(const struct local_store *store,
                                         uint64_t id)
{
    struct local_topic *topic = *id_bucket(store, id);
    while (topic != NULL && topic->base.id != id) {
        topic = topic->by_id_next;
    }
    return topic;
}

static void name_insert(struct local_topic *topic)
{
    struct local_topic **bucket =
        name_bucket(topic->store, store_parent_of(topic), topic->base.name_str);
    topic->by_name_next = *bucket;
    *bucket = topic;
}

static void name_remove(struct local_topic *topic)
{
    struct local_topic **at =
        name_bucket(topic->store, store_parent_of(topic), topic->base.name_str);
    while (*at != NULL && *at != topic) {
        at = &(*at)->by_name_next;
    }
    if (*at == topic) {
        *at = topic->by_name_next;
    }
    topic->by_name_next = NULL;
}

static void id_remove(struct local_topic *topic)
{
    struct local_topic **at = id_bucket(topic->store, topic->base.id);
    while (*at != NULL && *at != topic) {
        at = &(*at)->by_id_next;
    }
    if (*at == topic) {
        *at = topic->by_id_next;
    }
    topic->by_id_next = NULL;
}

/* --- life ----------------------------------------------------------------- */

enum err store_topics_path(const struct local_topic *topic,
                           char path[DIR_PATH_MAX])
{
    const struct local_topic *parent = store_parent_of(topic);
    const char *topics = topic->store->topics_directory;
    if (parent == NULL) {
        return dir_join(path, topics, topic->base.name);
    }
    char above[DIR_PATH_MAX];
    enum err err = dir_join(above, topics, parent->base.name);
    return err == ERR_OK ? topic_conf_view_path(path, above, topic->base.name)
                         : err;
}

/* Open its log, by a note if that is not empty; the cursor is what `dlv`
 * says. */
static enum err log_open(struct local_topic *topic, struct str note)
{
    struct local_store *store = topic->store;
    char directory[DIR_PATH_MAX];
    if (store_topics_path(topic, directory) != ERR_OK) {
        return ERR_IO;
    }
    struct topic_log_options options = {
        .directory = directory,
        .topic_id = topic->base.id,
        .checkpoint = store->checkpoint.number,
        .fresh = topic->folder == FOLDER_NONE,
        .segment_size_max = store->options->segment_size_max,
        .segment_count_max = store->options->segment_count_max,
        .reserve = &store->tail_reserve,
        .direct = store->options->direct,
        .view = topic->base.parent != NULL,
        .note = note,
    };
    struct topic_cursor cursor;
    enum err err = topic_log_open(&options, &topic->log, &cursor);
    if (err != ERR_OK) {
        return err;
    }
    const struct topic_log_stats *stats = topic_log_stats(topic->log);
    topic->base.bounds.oldest = stats->oldest;
    topic->base.bounds.end = stats->end;
    topic->next = stats->end;
    if (topic->base.parent != NULL) {
        topic->base.bounds = topic->base.parent->bounds;
    }
    store_cursor_load(topic, &cursor);
    return ERR_OK;
}

/* Let a topic have one view more. */
static void view_link(struct local_topic *view)
{
    struct local_topic *parent = store_parent_of(view);
    list_append(&parent->views, &view->view_link);
    parent->view_count++;
    parent->holds++;
}

/* The list that has all of its kind. */
static struct list *home_of(const struct local_topic *topic)
{
    struct local_store *store = topic->store;
    return topic->base.parent != NULL ? &store->views : &store->topics;
}

/* Free a topic that is in no list and no table. */
static void topic_free(struct local_topic *topic)
{
    topic_log_close(topic->log);
    store_acked_close(topic);
    store_blob_forget(topic->store, &topic->blobs);
    free((char *)topic->base.settings.data);
    free(topic->ranges);
    free(topic->retries);
    store_chore_free(topic->removal);
    topic->magic = 0;
    free(topic);
}

static enum err make(struct local_store *store,
                     const struct topic_conf *conf,
                     bool fresh,
                     struct str note,
                     struct local_topic **out)
{
    CHECK(conf->name.size <= TOPIC_NAME_MAX && conf->id != 0);
    struct local_topic *parent = NULL;
    if (conf->parent != 0) {
        parent = store_topics_find_id(store, conf->parent);
        CHECK(parent != NULL && parent->base.parent == NULL);
    }
    pages_ahead(store->topic_count);
    struct local_topic *topic = calloc(1, sizeof(*topic) + conf->name.size + 1);
    if (topic == NULL) {
        return ERR_NOMEM;
    }
    topic->magic = STORE_TOPIC_MAGIC;
    topic->store = store;
    topic->folder = fresh ? FOLDER_NONE : FOLDER_MADE;
    topic->page_slot = CURSOR_PAGE_NONE;
    topic->range_slot = RANGE_PAGE_NONE;
    topic->base.store = &store->base;
    topic->base.parent = (struct store_topic *)parent;
    topic->base.id = conf->id;
    memcpy(topic->name, conf->name.data, conf->name.size);
    topic->base.name = topic->name;
    topic->base.name_str = (struct str){topic->name, conf->name.size};
    list_init(&topic->base.watches);
    list_init(&topic->blobs);
    list_init(&topic->views);
    enum err err = store_topics_set(topic, conf);
    if (err == ERR_OK) {
        err = log_open(topic, note);
    }
    if (err != ERR_OK) {
        topic_free(topic);
        return err;
    }
    if (store_topics_find(store, parent, conf->name) == NULL) {
        name_insert(topic);
    }
    if (parent != NULL) {
        view_link(topic);
    }
    struct local_topic **bucket = id_bucket(store, conf->id);
    topic->by_id_next = *bucket;
    *bucket = topic;
    list_append(home_of(topic), &topic->link);
    store->topic_count++;
    store_topics_account(topic);
    *out = topic;
    return ERR_OK;
}

enum err store_topics_make(struct local_store *store,
                           const struct topic_conf *conf,
                           bool fresh,
                           struct local_topic **out)
{
    return make(store, conf, fresh, (struct str){NULL, 0}, out);
}

enum err store_topics_make_noted(struct local_store *store,
                                 const struct topic_conf *conf,
                                 struct str note,
                                 struct local_topic **out)
{
    return make(store, conf, false, note, out);
}

void store_topics_take_name(struct local_topic *topic)
{
    struct local_topic *present = store_topics_find(
        topic->store, store_parent_of(topic), topic->base.name_str);
    if (present == topic) {
        return;
    }
    if (present != NULL) {
        name_remove(present);
        present->displaced = true;
        topic->waits = true;
    }
    topic->displaced = false;
    name_insert(topic);
}

/* Out of all lists and tables. */
static void unlink_all(struct local_topic *topic)
{
    list_remove(&topic->view_link);
    list_remove(&topic->link);
    list_remove(&topic->cursor_link);
    list_remove(&topic->dirty_link);
    list_remove(&topic->checkpoint_link);
    list_remove(&topic->moved_link);
    list_remove(&topic->tail_link);
    list_remove(&topic->urgent_link);
    list_remove(&topic->files_link);
    name_remove(topic);
    id_remove(topic);
}

void store_topics_fini(struct local_store *store)
{
    struct list *heads[] = {&store->views, &store->topics, &store->deleted};
    size_t count = sizeof(heads) / sizeof(heads[0]);
    for (size_t i = 0; i < count; i++) { /* while their topics are there */
        for (struct list *node = heads[i]->next; node != heads[i];
             node = node->next) {
            list_remove(
                &CONTAINER_OF(node, struct local_topic, link)->view_link);
        }
    }
    /* The tables go whole: whose parent is gone is not where it was there. */
    size_t tables_size =
        (store->bucket_mask + 1) * sizeof(struct local_topic *);
    memset(store->by_name, 0, tables_size);
    memset(store->by_id, 0, tables_size);
    for (size_t i = 0; i < count; i++) {
        while (!list_empty(heads[i])) {
            struct list *node = list_take_first(heads[i]);
            struct local_topic *topic =
                CONTAINER_OF(node, struct local_topic, link);
            topic->base.parent = NULL;
            unlink_all(topic);
            topic_free(topic);
        }
    }
    free(store->by_name);
    free(store->by_id);
    store->by_name = NULL;
    store->by_id = NULL;
}

enum err store_topics_set(struct local_topic *topic,
                          const struct topic_conf *conf)
{
    struct str settings;
    enum err err = store_topics_copy(conf->settings, &settings);
    if (err == ERR_OK) {
        store_topics_set_copied(topic, conf, settings);
    }
    return err;
}

enum err store_topics_copy(struct str settings, struct str *out)
{
    *out = (struct str){0};
    if (settings.size == 0) {
        return ERR_OK;
    }
    char *copy = malloc(settings.size);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    memcpy(copy, settings.data, settings.size);
    *out = (struct str){copy, settings.size};
    return ERR_OK;
}

void store_topics_set_copied(struct local_topic *topic,
                             const struct topic_conf *conf,
                             struct str settings)
{
    free((char *)topic->base.settings.data);
    topic->base.settings = settings;
    topic->base.retention.age_ms = conf->retain_age_ms;
    topic->base.retention.bytes = conf->retain_bytes;
    topic->base.retention.count = conf->retain_count;
    topic->base.retention.discard_old = conf->discard_old;
    topic->base.hold = topic->base.parent != NULL && !conf->loose;
    topic->created_ms = conf->created_ms;
}

struct topic_conf store_topics_conf(const struct local_topic *topic)
{
    return (struct topic_conf){
        .id = topic->base.id,
        .created_ms = topic->created_ms,
        .retain_age_ms = topic->base.retention.age_ms,
        .retain_bytes = topic->base.retention.bytes,
        .retain_count = topic->base.retention.count,
        .discard_old = topic->base.retention.discard_old,
        .loose = topic->base.parent != NULL && !topic->base.hold,
        .parent = topic->base.parent != NULL ? topic->base.parent->id : 0,
        .name = topic->base.name_str,
        .settings = topic->base.settings,
    };
}

struct topic_conf store_topics_settled_conf(const struct local_topic *topic)
{
    struct topic_conf conf = store_topics_conf(topic);
    const struct undo *undo = topic->settings.first;
    if (undo != NULL) {
        conf.settings = (struct str){undo->settings, undo->settings_size};
        conf.retain_age_ms = undo->retention.age_ms;
        conf.retain_bytes = undo->retention.bytes;
        conf.retain_count = undo->retention.count;
        conf.discard_old = undo->retention.discard_old;
        conf.loose = topic->base.parent != NULL && !undo->hold;
    }
    return conf;
}

void store_topics_mark(struct local_topic *topic)
{
    if (!topic->gone && !list_linked(&topic->dirty_link)) {
        list_append(&topic->store->dirty, &topic->dirty_link);
    }
}

/* Be in a list or not. */
static void keep_listed(struct list *head, struct list *node, bool listed)
{
    if (!listed) {
        list_remove(node);
    } else if (!list_linked(node)) {
        list_append(head, node);
    }
}

void store_topics_account(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    const struct topic_log_stats *log = topic_log_stats(topic->log);
    store->stats.memory_bytes += log->memory_bytes - topic->memory_seen;
    store->stats.quarantined += log->quarantined - topic->quarantined_seen;
    store->files_open += log->files_open;
    store->files_open -= topic->files_seen;
    topic->memory_seen = log->memory_bytes;
    topic->quarantined_seen = log->quarantined;
    topic->files_seen = log->files_open;
    if (topic->base.parent == NULL) {
        topic->base.bounds.bytes = log->disk_bytes + log->memory_bytes;
        store_views_mirror(topic);
    }
    if (topic->gone) {
        return;
    }
    keep_listed(&store->tails, &topic->tail_link, log->memory_bytes > 0);
    keep_listed(&store->urgent, &topic->urgent_link,
                log->memory_bytes >= store->flush_size);
    list_remove(&topic->files_link);
    if (log->files_open > 0) {
        list_append(&store->files, &topic->files_link);
    }
}

void store_topics_release(struct local_topic *topic)
{
    while (topic != NULL) {
        CHECK(topic->holds > 0);
        topic->holds--;
        if (!topic->gone || topic->holds > 0) {
            return;
        }
        struct local_topic *parent = store_parent_of(topic);
        list_remove(&topic->link);
        topic_free(topic);
        topic = parent; /* a view holds its topic */
    }
}

/* Have what the removal of its folder needs, while it can still be refused. */
static enum err removal_ready(struct local_topic *topic)
{
    char path[DIR_PATH_MAX];
    if (topic->removal != NULL || store_topics_path(topic, path) != ERR_OK) {
        return ERR_OK; /* without a path there is no folder */
    }
    return store_chore_move_away(topic->store, path, topic->base.name_str,
                                 topic->base.id, &topic->removal);
}

/* Let the folder be moved away, then removed. */
static void remove_folder(struct local_topic *topic)
{
    enum err err = removal_ready(topic);
    if (err != ERR_OK) { /* of what recovery deletes */
        store_local_internal_break(topic->store, err);
    } else if (topic->removal != NULL) {
        store_chore_take(topic->store, topic->removal);
        topic->removal = NULL;
    }
}

/* Let go of one topic or view, whose views are gone. */
static void gone_one(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    struct local_topic *parent = store_parent_of(topic);
    CHECK(!topic->gone && list_empty(&topic->views));
    if (topic->folder != FOLDER_NONE) {
        remove_folder(topic);
    }
    if (parent != NULL) {
        parent->view_count--;
    }
    unlink_all(topic);
    list_append(&store->deleted, &topic->link);
    store_cursor_drop(topic);
    store_acked_gone(topic);
    topic->deleted = true;
    topic->gone = true;
    store_blob_gone(topic);
    store->topic_count--;
    if (!store->serving) {
        /* Its folder is away, and with it what the journal seems to lack. */
        store->stats.quarantined -= topic->quarantined_seen;
    }
    store->stats.memory_bytes -= topic->memory_seen;
    store->files_open -= topic->files_seen;
    topic->memory_seen = 0;
    topic->files_seen = 0;
    topic->holds++;
    store_topics_release(topic);
}

void store_topics_gone(struct local_topic *topic)
{
    for (struct list *node = list_take_first(&topic->views); node != NULL;
         node = list_take_first(&topic->views)) {
        struct local_topic *view =
            CONTAINER_OF(node, struct local_topic, view_link);
        view->folder = FOLDER_NONE; /* it goes with the topic's */
        gone_one(view);
    }
    gone_one(topic);
}

/* Out of sight, until the deletion is durable or failed. */
static void hide_one(struct local_topic *topic)
{
    topic->deleted = true;
    name_remove(topic);
    list_remove(&topic->cursor_link);
    store_list_move(&topic->store->deleted, &topic->link);
}

/* The same, with its views. */
static void hide(struct local_topic *topic)
{
    hide_one(topic);
    struct list *views = &topic->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        struct local_topic *view =
            CONTAINER_OF(node, struct local_topic, view_link);
        if (!view->deleted) {
            view->hidden = true;
            hide_one(view);
        }
    }
}

/* In sight again. */
static void show_one(struct local_topic *topic)
{
    topic->deleted = false;
    topic->base.user = NULL;
    name_insert(topic);
    store_list_move(home_of(topic), &topic->link);
    store_cursor_mark(topic); /* what was noted before */
}

/* The same, with the views that were hidden with it. */
static void show(struct local_topic *topic)
{
    show_one(topic);
    struct list *views = &topic->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        struct local_topic *view =
            CONTAINER_OF(node, struct local_topic, view_link);
        if (view->hidden) {
            view->hidden = false;
            show_one(view);
        }
    }
}

/* The one that has a topic's name by now, be it hidden with its topic. */
static struct local_topic *namesake(const struct local_topic *topic)
{
    struct local_topic *parent = store_parent_of(topic);
    if (parent == NULL || !parent->deleted) {
        return store_topics_find(topic->store, parent, topic->base.name_str);
    }
    struct list *views = &parent->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        struct local_topic *view =
            CONTAINER_OF(node, struct local_topic, view_link);
        if (view->hidden &&
            str_equal(view->base.name_str, topic->base.name_str)) {
            return view;
        }
    }
    return NULL;
}

void store_topics_revive(struct local_topic *topic)
{
    CHECK(topic->deleted && !topic->gone);
    struct local_topic *present = namesake(topic);
    if (present != NULL) {
        while (present->doomed != NULL) {
            present = present->doomed;
        }
        present->doomed = topic;
    } else if (topic->base.parent != NULL && store_parent_of(topic)->deleted) {
        topic->hidden = true; /* until its topic is there again */
    } else {
        show(topic);
    }
}

/* --- operations ----------------------------------------------------------- */

uint64_t store_topics_fresh_id(const struct local_store *store)
{
    uint64_t id = 0;
    do {
        clock_random(&id, sizeof(id));
    } while (id == 0 || store_topics_find_id(store, id) != NULL);
    return id;
}

/* Tell whether there are as many topics as may be. It does not pass by itself,
 * unlike what else is busy, so an operator should know. */
static bool is_full(struct local_store *store)
{
    bool full = store->topic_count >= store->options->topics_max;
    if (full && !store->topics_full) {
        DIAG_ERROR("topics_max_reached", "shard=%u topics=%u", store->shard,
                   store->topic_count);
    }
    store->topics_full = full;
    return full;
}

enum err store_topics_admit(struct local_store *store)
{
    if (store_append_admit(store) != ERR_OK || is_full(store)) {
        return ERR_BUSY;
    }
    /* A topic may be needed for what is owed; what a push made it for is
     * refused after this. */
    return store_space_refuses(store, true) ? ERR_FULL : ERR_OK;
}

enum err store_topics_open(struct store *base,
                           struct str name,
                           bool create,
                           struct store_topic **out)
{
    struct local_store *store = store_of(base);
    struct local_topic *topic = store_topics_find(store, NULL, name);
    if (topic != NULL) {
        *out = &topic->base;
        return ERR_OK;
    }
    if (!create) {
        return ERR_NOT_FOUND;
    }
    enum err err = store_topics_admit(store);
    if (err != ERR_OK) {
        return err;
    }
    struct topic_conf conf = {
        .id = store_topics_fresh_id(store),
        .created_ms = clock_wall_ms(),
        .name = name,
    };
    err = store_topics_make(store, &conf, true, &topic);
    if (err != ERR_OK) {
        return ERR_NOMEM;
    }
    *out = &topic->base;
    return ERR_OK;
}

void store_topics_each(struct store *base,
                       void (*visit)(void *context, struct store_topic *topic),
                       void *context)
{
    struct local_store *store = store_of(base);
    struct list *node = store->topics.next;
    while (node != &store->topics) {
        struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, link);
        node = node->next;
        visit(context, &topic->base);
    }
}

bool store_topics_unused(const struct store_topic *base)
{
    const struct local_topic *topic = (const struct local_topic *)base;
    CHECK(topic->magic == STORE_TOPIC_MAGIC);
    /* One that is doomed waits for its announcement, and must not wait long. */
    return topic->announced == ANNOUNCED_NOT && topic->doomed == NULL &&
           !topic->deleted && topic->holds == 0; /* so it has no views */
}

void store_topics_unmake(struct store_topic *base)
{
    struct local_topic *topic = store_topic_of(base);
    hide(topic);
    store_topics_gone(topic);
}

void store_topics_delete(struct store_topic *base, struct store_op *op)
{
    struct local_topic *topic = store_topic_of(base);
    struct local_store *store = topic->store;
    op->topic = base;
    enum err err = store_append_admit(store);
    if (err != ERR_OK) {
        store_append_finish(store, op, err);
        return;
    }
    struct local_topic *doomed = topic->doomed;
    if (topic->announced == ANNOUNCED_NOT) {
        /* Nothing knows of it, but there may be one whose place it took. */
        topic->doomed = NULL;
        hide(topic);
        store_topics_gone(topic);
        if (doomed == NULL) {
            store_append_finish(store, op, ERR_OK);
            return;
        }
        topic = doomed;
        show(topic);
    }
    if (removal_ready(topic) != ERR_OK ||
        store_append_delete(topic, op) != ERR_OK) {
        store_append_finish(store, op, ERR_BUSY);
        return;
    }
    hide(topic);
}
