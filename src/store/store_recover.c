/* Recovery: doc/log-format.md, section 9.
 *
 * Reads the folders of this shard's topics, then the journal from the last
 * checkpoint on, entry by entry, each of which is idempotent; then the cursor
 * page. The result is in memory; a checkpoint makes it the state on disk.
 *
 * A name leads to the topic that the journal named so last. The folder may
 * still be that of an earlier topic of the name, whose deletion follows in the
 * journal. If it does not, the entry was damaged: the folder is moved aside,
 * not removed, and named in the log.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_acked.h"
#include "store/store_blob.h"
#include "store/store_chore.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"
#include "store/store_notes.h"
#include "store/store_views.h"

#include "base/diag.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TELL_AFTER_NS UINT64_C(1000000000)
#define TELL_EVERY_NS UINT64_C(250000000)

/* --- folders -------------------------------------------------------------- */

/* Tell whether a file belongs to a topic with messages. */
static enum err find_state(void *context, const char *name, bool is_directory)
{
    size_t size = strlen(name);
    bool *found = context;
    if (!is_directory &&
        (strcmp(name, "cmd") == 0 || strcmp(name, "dlv") == 0 ||
         (size > 4 && strcmp(name + size - 4, ".msg") == 0))) {
        *found = true;
    }
    return ERR_OK;
}

/* Note a folder, for the journal to tell whose it is. */
static enum err orphan_add(struct local_store *store, const char *name)
{
    struct orphan *orphan = calloc(1, sizeof(*orphan));
    if (orphan == NULL) {
        return ERR_NOMEM;
    }
    memcpy(orphan->name, name, strlen(name) + 1);
    list_append(&store->recovery.orphans, &orphan->link);
    return ERR_OK;
}

/* Take an orphan out of the list; NULL when there is none of that name. */
static struct orphan *orphan_take(struct local_store *store, struct str name)
{
    struct list *head = &store->recovery.orphans;
    for (struct list *node = head->next; node != head; node = node->next) {
        struct orphan *orphan = CONTAINER_OF(node, struct orphan, link);
        if (str_equal(str_from(orphan->name), name)) {
            list_remove(node);
            return orphan;
        }
    }
    return NULL;
}

/* Make up what a lost topic.conf said; id 0: there is no topic here, or nobody
 * knows yet which one. */
static enum err conf_make_up(struct local_store *store,
                             const char *directory,
                             const char *name,
                             struct topic_conf *out)
{
    bool found = false;
    enum err err = dir_each(directory, find_state, &found);
    if (err != ERR_OK) {
        return err;
    }
    *out = (struct topic_conf){.created_ms = clock_wall_ms()};
    if (!found) {
        return ERR_OK;
    }
    out->id = topic_conf_guess_id(directory);
    if (out->id == 0) {
        out->id = topic_conf_guess_parent(directory);
    }
    if (out->id == 0) {
        return orphan_add(store, name);
    }
    DIAG_WARN("topic_conf_lost", "directory=%s id=%016llx", directory,
              (unsigned long long)out->id);
    return ERR_OK;
}

/* Take up one topic that has a folder. */
static enum err folder_open(struct local_store *store, const char *name)
{
    char directory[DIR_PATH_MAX];
    if (dir_join(directory, store->topics_directory, name) != ERR_OK) {
        return ERR_IO;
    }
    char *memory = NULL;
    struct topic_conf conf;
    enum err err = topic_conf_load(directory, &memory, &conf);
    bool lost = err == ERR_NOT_FOUND || err == ERR_CORRUPT;
    if (lost) {
        err = conf_make_up(store, directory, name, &conf);
    } else if (err == ERR_UNSUPPORTED) {
        DIAG_ERROR("topic_version_unknown", "directory=%s", directory);
    }
    if (err == ERR_OK && conf.parent != 0) {
        DIAG_WARN("topic_is_a_view", "directory=%s", directory);
        free(memory); /* put here by someone: left alone */
        return ERR_OK;
    }
    if (err != ERR_OK || conf.id == 0) {
        return err;
    }
    if (store_topics_find_id(store, conf.id) != NULL) {
        DIAG_WARN("topic_id_twice", "directory=%s id=%016llx", directory,
                  (unsigned long long)conf.id);
        free(memory);
        return ERR_OK; /* a copy that someone made: left alone */
    }
    conf.name = str_from(name);
    struct local_topic *topic = NULL;
    err = store_topics_make(store, &conf, false, &topic);
    free(memory);
    if (err != ERR_OK) {
        return err;
    }
    topic->announced = ANNOUNCED_KEPT;
    topic->conf_dirty = lost;
    if (lost || topic_log_stats(topic->log)->state_stale) {
        store_topics_mark(topic);
    }
    store_flush_close_files(store);
    return topic_log_stats(topic->log)->plain ? ERR_OK
                                              : store_views_found(topic);
}

/* A file is kept elsewhere. Where a link leads there may be messages, now or
 * once that is mounted; but what is not in the data directory is not synced
 * with it: there is no start with one. */
enum err store_recover_no_folder(struct local_store *store, const char *path)
{
    char to[DIR_PATH_MAX];
    char name[32];
    uint64_t number = 0;
    if (dir_is_link(path)) {
        DIAG_ERROR("topic_is_a_link", "path=%s", path);
        return ERR_IO;
    }
    clock_random(&number, sizeof(number));
    (void)snprintf(name, sizeof(name), "lost-%016llx",
                   (unsigned long long)number);
    enum err err = dir_join(to, store->data->directory, name);
    if (err == ERR_OK) {
        err = file_rename(path, to);
    }
    DIAG_ERROR("topic_is_a_file", "path=%s kept_in=%s err=%s", path, name,
               err_name(err));
    return err == ERR_OK ? ERR_OK : ERR_IO;
}

static enum err visit_folder(void *context, const char *name, bool is_directory)
{
    struct local_store *store = context;
    char path[DIR_PATH_MAX];
    if (!store_topic_name_valid(str_from(name))) {
        if (store->shard == 0) {
            DIAG_WARN("topic_folder_unknown", "directory=%s name=%s",
                      store->topics_directory, name);
        }
        return ERR_OK;
    }
    if (store_data_shard(store->shard_count, str_from(name)) != store->shard) {
        return ERR_OK;
    }
    const struct local_topic *noted =
        store_topics_find(store, NULL, str_from(name));
    if (noted != NULL && noted->noted) {
        return ERR_OK;
    }
    if (dir_join(path, store->topics_directory, name) != ERR_OK) {
        return ERR_IO;
    }
    if (!is_directory) {
        return store_recover_no_folder(store, path);
    }
    enum err err = folder_open(store, name);
    if (err != ERR_OK) {
        DIAG_ERROR("topic_unusable", "path=%s err=%s", path, err_name(err));
    }
    return err;
}

/* Let what is left of deleted topics be removed. */
static enum err visit_trash(void *context, const char *name, bool is_directory)
{
    struct local_store *store = context;
    if (!is_directory || !str_starts(str_from(name), STR("trash-"))) {
        return ERR_OK;
    }
    struct buf path = {0};
    buf_append_format(&path, "%s/%s", store->data->directory, name);
    buf_append_byte(&path, '\0');
    if (buf_err(&path) != ERR_OK) {
        buf_fini(&path);
        return ERR_NOMEM;
    }
    return store_chore_remove(store, path.data, NULL);
}

/* --- entries -------------------------------------------------------------- */

/* Count an entry of a topic that nobody knows; its deletion may follow. */
static enum err stranger(struct local_store *store, uint64_t id)
{
    struct recovery *recovery = &store->recovery;
    for (uint32_t i = 0; i < recovery->stranger_count; i++) {
        if (recovery->strangers[i].id == id) {
            recovery->strangers[i].entries++;
            return ERR_OK;
        }
    }
    if (recovery->stranger_count == recovery->stranger_capacity) {
        uint32_t capacity = 2 * recovery->stranger_capacity + 16;
        struct stranger *strangers =
            realloc(recovery->strangers, capacity * sizeof(*strangers));
        if (strangers == NULL) {
            return ERR_NOMEM;
        }
        recovery->strangers = strangers;
        recovery->stranger_capacity = capacity;
    }
    recovery->strangers[recovery->stranger_count] =
        (struct stranger){.id = id, .entries = 1};
    recovery->stranger_count++;
    return ERR_OK;
}

static void stranger_deleted(struct local_store *store, uint64_t id)
{
    struct recovery *recovery = &store->recovery;
    for (uint32_t i = 0; i < recovery->stranger_count; i++) {
        if (recovery->strangers[i].id == id) {
            recovery->stranger_count--;
            recovery->strangers[i] =
                recovery->strangers[recovery->stranger_count];
            return;
        }
    }
}

static enum err replay_record(struct local_topic *topic, struct str body)
{
    struct local_store *store = topic->store;
    struct record record;
    enum err err = record_decode(body, &record);
    if (err != ERR_OK) {
        return ERR_CORRUPT;
    }
    uint64_t end = topic_log_stats(topic->log)->end;
    err = topic_log_append(topic->log, str_cut(body, 0, record.size));
    if (err != ERR_OK) {
        return err == ERR_NOMEM ? ERR_NOMEM : ERR_IO;
    }
    store->recovery.records++;
    const struct message_blob *blob = &record.message.blob;
    if (blob->size > 0) {
        /* Whether it was placed is not known: again, then. */
        if (store_blob_note(topic, record.sequence, blob->id) != ERR_OK) {
            return ERR_NOMEM;
        }
        store_topics_mark(topic);
    }
    if (record.sequence < end) {
        return ERR_OK;
    }
    store->stats.recovered++;
    store_topics_mark(topic);
    store_topics_account(topic);
    if (store->stats.memory_bytes >= store->options->memory_size_max / 2) {
        store_flush_tails_now(store);
    }
    return ERR_OK;
}

/* Move a folder away whose messages are all in the journal. */
static enum err orphan_away(struct local_store *store, struct orphan *orphan)
{
    char path[DIR_PATH_MAX];
    struct chore *chore = NULL;
    uint64_t number = 0;
    clock_random(&number, sizeof(number));
    enum err err = dir_join(path, store->topics_directory, orphan->name);
    if (err == ERR_OK) {
        err = store_chore_move_away(store, path, str_from(orphan->name), number,
                                    &chore);
    }
    if (err == ERR_OK) {
        store_chore_take(store, chore);
    }
    return err;
}

/* The journal names a topic that has no folder of its own, so far. */
static enum err topic_appears(struct local_store *store,
                              const struct topic_conf *conf,
                              struct local_topic **out)
{
    enum err err = ERR_OK;
    struct orphan *orphan = orphan_take(store, conf->name);
    bool fresh = orphan == NULL || conf->made;
    if (orphan != NULL && fresh) {
        err = orphan_away(store, orphan);
    }
    free(orphan);
    if (err == ERR_OK) {
        err = store_topics_make(store, conf, fresh, out);
    }
    if (err == ERR_OK && !fresh) {
        err = store_views_found(*out);
    }
    return err;
}

/* The journal names a view that has no folder of its own, so far. One whose
 * topic nobody knows is a stranger. */
static enum err view_appears(struct local_store *store,
                             const struct topic_conf *conf,
                             struct local_topic **out)
{
    const struct local_topic *parent =
        store_topics_find_id(store, conf->parent);
    if (parent == NULL || parent->base.parent != NULL) {
        return ERR_NOT_FOUND;
    }
    return store_topics_make(store, conf, true, out);
}

static enum err
replay_topic(struct local_store *store, uint64_t id, struct str body)
{
    struct topic_conf conf;
    enum err err = topic_conf_body_read(body, &conf);
    if (err != ERR_OK || !store_topic_name_valid(conf.name)) {
        return ERR_CORRUPT;
    }
    conf.id = id;
    struct local_topic *topic = store_topics_find_id(store, id);
    if (topic == NULL) {
        err = conf.parent != 0 ? view_appears(store, &conf, &topic)
                               : topic_appears(store, &conf, &topic);
    } else if ((topic->base.parent != NULL) != (conf.parent != 0)) {
        return ERR_CORRUPT;
    } else {
        err = store_topics_set(topic, &conf);
    }
    if (err == ERR_NOT_FOUND) {
        return stranger(store, id);
    }
    if (err != ERR_OK) {
        return err == ERR_NOMEM ? ERR_NOMEM : ERR_IO;
    }
    if (conf.made && topic->epoch == 0 &&
        topic->base.cursor.next < conf.start) {
        topic->base.cursor.next = conf.start;
    }
    topic->announced = ANNOUNCED_KEPT;
    topic->conf_dirty = true;
    store_topics_take_name(topic);
    store_topics_mark(topic);
    return ERR_OK;
}

static enum err
replay_delete(struct local_store *store, uint64_t id, struct str body)
{
    struct local_topic *topic = store_topics_find_id(store, id);
    struct reader reader = reader_of(body);
    stranger_deleted(store, id);
    while (reader_left(&reader) >= sizeof(uint64_t)) {
        stranger_deleted(store, reader_u64(&reader)); /* views */
    }
    if (topic != NULL) {
        store_topics_gone(topic);
    }
    return ERR_OK;
}

static enum err replay_cursor(struct local_topic *topic, struct str body)
{
    struct topic_cursor cursor;
    size_t size = 0;
    if (!topic_cursor_read(body, &cursor, &size)) {
        return ERR_CORRUPT;
    }
    store_cursor_merge(topic, &cursor);
    return ERR_OK;
}

static enum err replay_trim(struct local_topic *topic, struct str body)
{
    struct reader reader = reader_of(body);
    uint64_t oldest = reader_u64(&reader);
    if (reader.failed) {
        return ERR_CORRUPT;
    }
    if (oldest > topic_log_stats(topic->log)->oldest) {
        topic_log_set_oldest(topic->log, oldest);
        store_topics_mark(topic);
        store_topics_account(topic);
    }
    return ERR_OK;
}

static enum err replay_entry(void *context,
                             enum journal_type type,
                             uint64_t topic_id,
                             struct str body)
{
    struct local_store *store = context;
    if (type == JOURNAL_ABORT) {
        return ERR_OK; /* the journal's own */
    }
    if (type == JOURNAL_TOPIC) {
        return replay_topic(store, topic_id, body);
    }
    if (type == JOURNAL_DELETE) {
        return replay_delete(store, topic_id, body);
    }
    struct local_topic *topic = store_topics_find_id(store, topic_id);
    if (topic == NULL) {
        return stranger(store, topic_id);
    }
    if (topic->base.parent != NULL && type != JOURNAL_CURSOR) {
        return ERR_CORRUPT;
    }
    switch (type) {
    case JOURNAL_RECORD:
        return replay_record(topic, body);
    case JOURNAL_CURSOR:
        return replay_cursor(topic, body);
    case JOURNAL_TRIM:
        return replay_trim(topic, body);
    default:
        return ERR_CORRUPT;
    }
}

static void replay_damaged(void *context,
                           uint64_t topic_id,
                           struct journal_place place,
                           uint64_t size)
{
    struct local_store *store = context;
    store->recovery.damaged++;
    store->stats.quarantined++;
    DIAG_WARN("journal_damaged",
              "shard=%u topic=%016llx generation=%llu offset=%llu size=%llu",
              store->shard, (unsigned long long)topic_id,
              (unsigned long long)place.generation,
              (unsigned long long)place.offset, (unsigned long long)size);
}

static void replay_progress(void *context, uint64_t done, uint64_t all)
{
    struct local_store *store = context;
    struct recovery *recovery = &store->recovery;
    uint64_t now_ns = clock_monotonic_ns();
    if (store->options->progress != NULL &&
        now_ns - recovery->started_ns >= TELL_AFTER_NS &&
        now_ns - recovery->told_ns >= TELL_EVERY_NS) {
        recovery->told_ns = now_ns;
        store->options->progress(store->options->context, done, all);
    }
}

/* --- afterwards ----------------------------------------------------------- */

/* Take a cursor from the page, if it is of the same epoch and further on. */
static bool
claim_slot(void *context, uint32_t slot, const struct cursor_page_entry *entry)
{
    struct local_store *store = context;
    struct local_topic *topic = store_topics_find_id(store, entry->topic_id);
    if (topic == NULL || topic->gone) {
        return false;
    }
    if (entry->epoch == topic->epoch) {
        struct topic_cursor cursor = {.epoch = entry->epoch,
                                      .next = entry->next,
                                      .attempts = entry->attempts};
        store_cursor_merge(topic, &cursor);
    }
    if (topic->page_slot != CURSOR_PAGE_NONE) {
        return false;
    }
    topic->page_slot = slot;
    return true;
}

/* Take in what the range page says of a cursor, if it is of the same epoch. */
static bool claim_ranges(void *context,
                         uint32_t slot,
                         uint64_t topic_id,
                         const struct topic_cursor *cursor)
{
    struct local_store *store = context;
    struct local_topic *topic = store_topics_find_id(store, topic_id);
    if (topic == NULL || topic->gone || cursor->epoch != topic->epoch ||
        (topic->range_slot != RANGE_PAGE_NONE && topic->range_slot != slot)) {
        return false;
    }
    store_cursor_merge(topic, cursor);
    topic->range_slot = slot;
    return true;
}

/* The folder of a topic whose name another one has, although it was never
 * deleted: keep it, out of the way. */
static enum err move_aside(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    char from[DIR_PATH_MAX];
    struct buf to = {0};
    buf_append_format(&to, "%s/lost-%016llx", store->data->directory,
                      (unsigned long long)topic->base.id);
    buf_append_byte(&to, '\0');
    enum err err = buf_err(&to);
    if (err == ERR_OK && store_topics_path(topic, from) != ERR_OK) {
        err = ERR_IO;
    }
    if (err == ERR_OK && topic->folder != FOLDER_NONE) {
        DIAG_ERROR("topic_displaced", "topic=%s kept_in=%s", topic->base.name,
                   to.data);
        err = file_rename(from, to.data);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    buf_fini(&to);
    if (err == ERR_OK) {
        store->sync_all_due |= topic->base.parent != NULL;
        topic->folder = FOLDER_NONE; /* gone, as far as we are concerned */
        store_topics_gone(topic);
    }
    return err;
}

/* One past the highest that was delivered, as far as is known. */
static uint64_t end_of(const struct local_topic *topic)
{
    const struct store_cursor *cursor = &topic->base.cursor;
    uint64_t end = cursor->range_count > 0
                       ? cursor->ranges[cursor->range_count - 1].end
                       : cursor->next;
    uint64_t acked = store_acked_end(topic);
    return acked > end ? acked : end;
}

/* The highest that cursors say was given. A number that a range has must not be
 * given again: its message would count as delivered. */
static uint64_t furthest(const struct local_topic *topic)
{
    uint64_t end = end_of(topic);
    const struct list *views = &topic->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        const struct local_topic *view =
            CONTAINER_OF(node, struct local_topic, view_link);
        uint64_t of_view = end_of(view);
        end = of_view > end ? of_view : end;
    }
    return end;
}

/* Settle one view, whose topic is settled. */
static enum err settle_view(struct local_topic *view)
{
    view->waits = false;
    if (view->displaced) {
        return move_aside(view);
    }
    if (view->base.cursor.next < view->base.bounds.oldest) {
        store_cursor_clamp(view);
        store_topics_mark(view);
    }
    store_cursor_spare(view);
    return ERR_OK;
}

/* Settle one topic after replay. */
static enum err settle(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    topic->waits = false;
    if (topic->displaced) {
        return move_aside(topic);
    }
    enum err err = topic_log_recovered(topic->log);
    if (err != ERR_OK) {
        return err == ERR_FULL || err == ERR_NOMEM ? err : ERR_IO;
    }
    const struct topic_log_stats *log = topic_log_stats(topic->log);
    struct store_cursor *cursor = &topic->base.cursor;
    uint64_t given = furthest(topic);
    if (given > log->end) {
        topic_log_set_end(topic->log, given);
        store_topics_mark(topic);
    }
    topic->base.bounds.oldest = log->oldest;
    topic->base.bounds.end = log->end;
    topic->next = log->end;
    topic->segments_seen = log->segment_count;
    if (cursor->next < log->oldest) {
        store_cursor_clamp(topic);
        store_topics_mark(topic);
    }
    store_cursor_spare(topic);
    store_topics_account(topic);
    store_flush_close_files(store);
    err = store_blob_settle(topic);
    if (err != ERR_OK) {
        return err;
    }
    char *files = topic_log_take_dropped(topic->log);
    if (files != NULL) {
        return store_chore_remove(store, NULL, files);
    }
    return ERR_OK;
}

/* Take up a folder that even the journal says nothing about. */
static enum err orphan_adopt(struct local_store *store, struct orphan *orphan)
{
    struct local_topic *topic = NULL;
    struct topic_conf conf = {.created_ms = clock_wall_ms(),
                              .name = str_from(orphan->name)};
    while (conf.id == 0) {
        clock_random(&conf.id, sizeof(conf.id));
    }
    DIAG_WARN("topic_state_lost", "topic=%s id=%016llx", orphan->name,
              (unsigned long long)conf.id);
    enum err err = store_topics_make(store, &conf, false, &topic);
    if (err == ERR_OK) {
        topic->announced = ANNOUNCED_KEPT;
        topic->conf_dirty = true;
        store_topics_mark(topic);
        err = store_views_found(topic);
    }
    return err;
}

/* Settle all topics, or all views. */
static enum err settle_list(struct list *head,
                            enum err (*settle_one)(struct local_topic *topic))
{
    struct list *node = head->next;
    while (node != head) {
        struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, link);
        node = node->next;
        enum err err = settle_one(topic);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err settle_all(struct local_store *store)
{
    struct recovery *recovery = &store->recovery;
    struct list *orphans = &store->recovery.orphans;
    while (!list_empty(orphans)) {
        struct orphan *orphan =
            CONTAINER_OF(list_take_first(orphans), struct orphan, link);
        enum err err = orphan_adopt(store, orphan);
        free(orphan);
        if (err != ERR_OK) {
            return err;
        }
    }
    cursor_page_claim(store->page, claim_slot, store);
    range_page_claim(store->range_page, claim_ranges, store);
    enum err err = store_acked_recover(store);
    if (err == ERR_OK) {
        err = settle_list(&store->topics, settle);
    }
    if (err == ERR_OK) {
        err = settle_list(&store->views, settle_view);
    }
    if (err != ERR_OK) {
        return err;
    }
    store_blob_recovered(store,
                         recovery->damaged > 0 || recovery->stranger_count > 0);
    for (uint32_t i = 0; i < recovery->stranger_count; i++) {
        store->stats.quarantined += recovery->strangers[i].entries;
        DIAG_ERROR("journal_topic_unknown",
                   "shard=%u topic=%016llx entries=%llu", store->shard,
                   (unsigned long long)recovery->strangers[i].id,
                   (unsigned long long)recovery->strangers[i].entries);
    }
    store_recover_drop(store);
    return ERR_OK;
}

void store_recover_drop(struct local_store *store)
{
    struct recovery *recovery = &store->recovery;
    for (struct list *node = list_take_first(&recovery->orphans); node != NULL;
         node = list_take_first(&recovery->orphans)) {
        free(CONTAINER_OF(node, struct orphan, link));
    }
    free(recovery->strangers);
    recovery->strangers = NULL;
    recovery->stranger_count = 0;
    recovery->stranger_capacity = 0;
}

/* --- the journal ---------------------------------------------------------- */

static enum err remove_one(void *context, const char *name, bool is_directory)
{
    char path[DIR_PATH_MAX];
    if (strcmp(name, "checkpoint") == 0) {
        return ERR_OK;
    }
    if (is_directory || dir_join(path, context, name) != ERR_OK) {
        return ERR_IO;
    }
    return file_remove(path);
}

/* Empty the folder of a journal that `meta` says is void. Its checkpoint is
 * written over, not removed, so that it always has one: see
 * checkpoint_recover(). */
static enum err journal_void(struct local_store *store)
{
    enum err err = dir_each(store->journal_directory, remove_one,
                            store->journal_directory);
    if (err == ERR_OK) {
        err = dir_sync(store->journal_directory);
    }
    store->checkpoint = (struct checkpoint){.number = store->data->meta.base};
    if (err == ERR_OK) {
        err = checkpoint_write(store->journal_directory, &store->checkpoint);
    }
    return err;
}

static enum err find_file(void *context, const char *name, bool is_directory)
{
    bool *found = context;
    size_t size = strlen(name);
    if (!is_directory && size > 4 && strcmp(name + size - 4, ".jnl") == 0) {
        *found = true;
    }
    return ERR_OK;
}

/* Say which file of the journal's folder is in the way. */
static enum err
named(const struct local_store *store, const char *name, enum err err)
{
    if (err != ERR_OK) {
        DIAG_ERROR("journal_file_unusable", "path=%s/%s err=%s",
                   store->journal_directory, name, err_name(err));
    }
    return err;
}

/* Read the checkpoint in force. A journal that `meta` says is void has one that
 * says so, too, since a change of shards completes one in each. So where there
 * is none but there are files, it is lost: all of the journal counts. */
static enum err checkpoint_recover(struct local_store *store)
{
    bool found = false;
    uint64_t base = store->data->meta.base;
    enum err err =
        checkpoint_load(store->journal_directory, &store->checkpoint);
    if (err != ERR_OK) {
        return named(store, "checkpoint", err);
    }
    if (store->checkpoint.number >= base) {
        return ERR_OK;
    }
    if (store->checkpoint.number == 0) {
        err = dir_each(store->journal_directory, find_file, &found);
    }
    if (err == ERR_OK && found) {
        DIAG_ERROR("checkpoint_lost", "path=%s/checkpoint",
                   store->journal_directory);
        store->checkpoint.number = base;
        return ERR_OK;
    }
    return err == ERR_OK ? journal_void(store) : err;
}

/* Where the process before says that the journal ended. */
static struct journal_place told_end(const struct local_store *store)
{
    const struct store_local_options *set = store->options;
    for (uint32_t i = 0; i < set->end_count; i++) {
        const struct store_local_end *end = &set->ends[i];
        if (end->node == store->data->meta.node && end->shard == store->shard) {
            return (struct journal_place){end->generation, end->offset};
        }
    }
    return (struct journal_place){0};
}

static enum err journal_recover(struct local_store *store)
{
    const struct store_local_options *set = store->options;
    struct journal_options options = {
        .io = store->io,
        .directory = store->journal_directory,
        .file_size = set->journal_file_size,
        .files_max = (uint32_t)(set->journal_size / set->journal_file_size),
        .batch_size_max = set->batch_size_max,
        .room = store_space_journal,
        .room_context = store,
        .end = told_end(store),
        .direct = set->direct,
        .sync_inline_max_us = set->sync_inline_max_us,
    };
    struct journal_place from = {
        .generation = store->checkpoint.generation,
        .offset = store->checkpoint.offset,
    };
    struct journal_replay replay = {
        .entry = replay_entry,
        .damaged = replay_damaged,
        .progress = replay_progress,
        .context = store,
    };
    return journal_open(&options, from, &replay, &store->journal);
}

enum err store_recover_open(struct local_store *store)
{
    store->recovery.started_ns = clock_monotonic_ns();
    enum err err = checkpoint_recover(store);
    if (err == ERR_OK) {
        err = store_notes_read(store);
    }
    if (err == ERR_OK) {
        err = dir_each(store->topics_directory, visit_folder, store);
    }
    if (err == ERR_OK && store->shard == 0 && store->io != NULL) {
        err = dir_each(store->data->directory, visit_trash, store);
    }
    if (err == ERR_OK) {
        err = named(store, "cursors",
                    cursor_page_open(store->journal_directory,
                                     store->options->topics_max, &store->page));
    }
    if (err == ERR_OK) {
        err = named(store, "ranges",
                    range_page_open(store->journal_directory,
                                    store->options->topics_max,
                                    &store->range_page));
    }
    if (err == ERR_OK) {
        err = journal_recover(store);
    }
    if (err == ERR_OK) {
        err = settle_all(store);
    }
    uint64_t took_ns = clock_monotonic_ns() - store->recovery.started_ns;
    store->stats.recovery_ms = took_ns / 1000000;
    if (err == ERR_OK) {
        DIAG_INFO("recovered",
                  "shard=%u topics=%u records=%llu new=%llu damaged=%llu "
                  "quarantined=%llu ms=%llu",
                  store->shard, store->topic_count,
                  (unsigned long long)store->recovery.records,
                  (unsigned long long)store->stats.recovered,
                  (unsigned long long)store->recovery.damaged,
                  (unsigned long long)store->stats.quarantined,
                  (unsigned long long)store->stats.recovery_ms);
    }
    return err == ERR_OK || err == ERR_FULL || err == ERR_NOMEM ? err : ERR_IO;
}
