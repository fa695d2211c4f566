/* Topics of the local store, by name and by id.
 *
 * A topic whose deletion is given is out of the table of names at once, so the
 * name can be used again, but stays in the table of ids and takes part in
 * flushes and checkpoints until the deletion is durable: if it fails, the topic
 * is there again with all it had. If its name was taken meanwhile, it is doomed
 * instead: its deletion is put once more before the newcomer is announced.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_local.h"
#include "store/store_local_internal.h"

#include "base/diag.h"
#include "sys/clock.h"

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
                                        struct str name)
{
    /* The low bits chose the shard. */
    uint64_t hash = str_hash(name) >> 16;
    return &store->by_name[hash & store->bucket_mask];
}

static struct local_topic **id_bucket(const struct local_store *store,
                                      uint64_t id)
{
    return &store->by_id[id & store->bucket_mask]; /* random already */
}

struct local_topic *store_topics_find(const struct local_store *store,
                                      struct str name)
{
    struct local_topic *topic = *name_bucket(store, name);
    while (topic != NULL && !str_equal(topic->base.name_str, name)) {
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
        name_bucket(topic->store, topic->base.name_str);
    topic->by_name_next = *bucket;
    *bucket = topic;
}

static void name_remove(struct local_topic *topic)
{
    struct local_topic **at = name_bucket(topic->store, topic->base.name_str);
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

/* Open its log; the cursor is what `dlv` says. */
static enum err log_open(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    char directory[DIR_PATH_MAX];
    if (dir_join(directory, store->topics_directory, topic->base.name) !=
        ERR_OK) {
        return ERR_IO;
    }
    struct topic_log_options options = {
        .directory = directory,
        .topic_id = topic->base.id,
        .checkpoint = store->checkpoint.number,
        .fresh = topic->folder == FOLDER_NONE,
        .segment_size_max = store->options->segment_size_max,
        .segment_count_max = store->options->segment_count_max,
        .direct = store->options->direct,
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
    topic->epoch = cursor.epoch;
    topic->base.cursor.next = cursor.next;
    topic->base.cursor.attempts = cursor.attempts;
    if (cursor.range_count > 0) {
        struct store_range ranges[TOPIC_RANGES_MAX];
        struct store_cursor set = {.next = cursor.next,
                                   .attempts = cursor.attempts,
                                   .range_count = cursor.range_count,
                                   .ranges = ranges};
        for (uint32_t i = 0; i < cursor.range_count; i++) {
            ranges[i].first = cursor.ranges[i].first;
            ranges[i].end = cursor.ranges[i].end;
        }
        store_cursor_set(topic, &set);
    }
    return ERR_OK;
}

/* Free a topic that is in no list and no table. */
static void topic_free(struct local_topic *topic)
{
    topic_log_close(topic->log);
    store_blob_forget(&topic->blobs);
    free((char *)topic->base.settings.data);
    free(topic->ranges);
    topic->magic = 0;
    free(topic);
}

enum err store_topics_make(struct local_store *store,
                           const struct topic_conf *conf,
                           bool fresh,
                           struct local_topic **out)
{
    CHECK(conf->name.size <= TOPIC_NAME_MAX && conf->id != 0);
    struct local_topic *topic = calloc(1, sizeof(*topic));
    if (topic == NULL) {
        return ERR_NOMEM;
    }
    topic->magic = STORE_TOPIC_MAGIC;
    topic->store = store;
    topic->folder = fresh ? FOLDER_NONE : FOLDER_MADE;
    topic->page_slot = CURSOR_PAGE_NONE;
    topic->base.store = &store->base;
    topic->base.id = conf->id;
    memcpy(topic->base.name, conf->name.data, conf->name.size);
    topic->base.name_str = (struct str){topic->base.name, conf->name.size};
    list_init(&topic->base.watches);
    list_init(&topic->blobs);
    enum err err = store_topics_set(topic, conf);
    if (err == ERR_OK) {
        err = log_open(topic);
    }
    if (err != ERR_OK) {
        topic_free(topic);
        return err;
    }
    if (store_topics_find(store, conf->name) == NULL) {
        name_insert(topic);
    }
    struct local_topic **bucket = id_bucket(store, conf->id);
    topic->by_id_next = *bucket;
    *bucket = topic;
    list_append(&store->topics, &topic->link);
    store->topic_count++;
    store_topics_account(topic);
    *out = topic;
    return ERR_OK;
}

void store_topics_take_name(struct local_topic *topic)
{
    struct local_topic *present =
        store_topics_find(topic->store, topic->base.name_str);
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
    struct list *heads[] = {&store->topics, &store->deleted};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        while (!list_empty(heads[i])) {
            struct list *node = list_take_first(heads[i]);
            struct local_topic *topic =
                CONTAINER_OF(node, struct local_topic, link);
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
    char *settings = NULL;
    if (conf->settings.size > 0) {
        settings = malloc(conf->settings.size);
        if (settings == NULL) {
            return ERR_NOMEM;
        }
        memcpy(settings, conf->settings.data, conf->settings.size);
    }
    free((char *)topic->base.settings.data);
    topic->base.settings = (struct str){settings, conf->settings.size};
    topic->base.retention.age_ms = conf->retain_age_ms;
    topic->base.retention.bytes = conf->retain_bytes;
    topic->base.retention.count = conf->retain_count;
    topic->base.retention.discard_old = conf->discard_old;
    topic->created_ms = conf->created_ms;
    return ERR_OK;
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
    topic->base.bounds.bytes = log->disk_bytes + log->memory_bytes;
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
    CHECK(topic->holds > 0);
    topic->holds--;
    if (topic->gone && topic->holds == 0) {
        list_remove(&topic->link);
        topic_free(topic);
    }
}

/* Let the folder be moved away, then removed. */
static void folder_chore(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    struct buf from = {0};
    struct buf to = {0};
    buf_append_format(&from, "%s/%s", store->topics_directory,
                      topic->base.name);
    buf_append_byte(&from, '\0');
    buf_append_format(&to, "%s/trash-%016llx", store->data->directory,
                      (unsigned long long)topic->base.id);
    buf_append_byte(&to, '\0');
    if (buf_err(&from) != ERR_OK || buf_err(&to) != ERR_OK) {
        buf_fini(&from);
        buf_fini(&to);
        store_local_internal_break(store, ERR_NOMEM);
        return;
    }
    enum err err = store_flush_chore(store, from.data, to.data, NULL,
                                     topic->base.name_str);
    if (err != ERR_OK) {
        store_local_internal_break(store, err);
    }
}

void store_topics_gone(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    CHECK(!topic->gone);
    if (topic->folder != FOLDER_NONE) {
        folder_chore(topic);
    }
    unlink_all(topic);
    list_append(&store->deleted, &topic->link);
    if (store->page != NULL) {
        cursor_page_drop(store->page, topic->page_slot);
    }
    topic->page_slot = CURSOR_PAGE_NONE;
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

void store_topics_revive(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    CHECK(topic->deleted && !topic->gone);
    topic->base.user = NULL;
    struct local_topic *present =
        store_topics_find(store, topic->base.name_str);
    if (present == NULL) {
        topic->deleted = false;
        name_insert(topic);
        store_list_move(&store->topics, &topic->link);
        return;
    }
    while (present->doomed != NULL) {
        present = present->doomed;
    }
    present->doomed = topic;
}

/* --- operations ----------------------------------------------------------- */

/* A number that is not 0 and no topic's of ours. */
static uint64_t fresh_id(const struct local_store *store)
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

enum err store_topics_open(struct store *base,
                           struct str name,
                           bool create,
                           struct store_topic **out)
{
    struct local_store *store = store_of(base);
    struct local_topic *topic = store_topics_find(store, name);
    if (topic != NULL) {
        *out = &topic->base;
        return ERR_OK;
    }
    if (!create) {
        return ERR_NOT_FOUND;
    }
    if (store_append_admit(store) != ERR_OK || is_full(store)) {
        return ERR_BUSY;
    }
    if (store_space_refuses(store)) {
        return ERR_FULL;
    }
    struct topic_conf conf = {
        .id = fresh_id(store),
        .created_ms = clock_wall_ms(),
        .name = name,
    };
    enum err err = store_topics_make(store, &conf, true, &topic);
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

/* Out of sight, until the deletion is durable or failed. */
static void hide(struct local_topic *topic)
{
    topic->deleted = true;
    name_remove(topic);
    list_remove(&topic->cursor_link);
    store_list_move(&topic->store->deleted, &topic->link);
}

bool store_topics_unused(const struct store_topic *base)
{
    const struct local_topic *topic = (const struct local_topic *)base;
    CHECK(topic->magic == STORE_TOPIC_MAGIC);
    /* One that is doomed waits for its announcement, and must not wait long. */
    return topic->announced == ANNOUNCED_NOT && topic->doomed == NULL &&
           !topic->deleted && topic->holds == 0;
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
        topic->deleted = false;
        name_insert(topic);
        store_list_move(&store->topics, &topic->link);
    }
    void *body = NULL;
    err = store_append_put(topic, JOURNAL_DELETE, 0, &body);
    if (err != ERR_OK) {
        store_append_finish(store, op, ERR_BUSY);
        return;
    }
    journal_put_end(store->journal);
    (void)store_append_note(topic, CHANGE_DELETE, op);
    hide(topic);
}

void store_topics_configure(struct store_topic *base,
                            struct str settings,
                            const struct store_retention *retention,
                            struct store_op *op)
{
    struct local_topic *topic = store_topic_of(base);
    struct local_store *store = topic->store;
    op->topic = base;
    enum err err = store_append_admit(store);
    if (err == ERR_OK && settings.size > STORE_SETTINGS_MAX) {
        err = ERR_TOO_LARGE;
    }
    if (err != ERR_OK) {
        store_append_finish(store, op, err);
        return;
    }
    struct topic_conf conf = store_topics_conf(topic);
    conf.settings = settings;
    conf.retain_age_ms = retention->age_ms;
    conf.retain_bytes = retention->bytes;
    conf.retain_count = retention->count;
    conf.discard_old = retention->discard_old;
    void *body = NULL;
    struct undo *undo = store_append_undo(topic);
    if (undo == NULL) {
        goto fail;
    }
    err = store_append_put(topic, JOURNAL_TOPIC, topic_conf_body_size(&conf),
                           &body);
    if (err != ERR_OK) {
        goto fail;
    }
    topic_conf_body_write(&conf, body);
    journal_put_end(store->journal);
    store_append_note(topic, CHANGE_CONFIGURE, op)->undo = undo;
    store_append_undo_push(&topic->settings, undo);
    if (store_topics_set(topic, &conf) != ERR_OK) {
        /* The journal has it; so has recovery. */
        store_local_internal_break(store, ERR_NOMEM);
    }
    return;

fail:
    store_append_undo_free(undo);
    store_append_finish(store, op, ERR_BUSY);
}
