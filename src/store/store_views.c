/* Views of topics: cursors over a topic's messages, with names and settings of
 * their own. And how topics and views are configured.
 *
 * A view is a local_topic with a parent. Its log has no messages, so it takes
 * part in nothing but checkpoints; it is announced, committed, undone, deleted
 * and recovered like a topic. Its bounds are a copy of the topic's, brought up
 * to date wherever those change. It holds its topic, so that one is not freed
 * before it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_views.h"

#include "base/diag.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"
#include "sys/clock.h"

#include <stdlib.h>

static struct local_topic *view_at(struct list *node)
{
    return CONTAINER_OF(node, struct local_topic, view_link);
}

/* --- what follows from the topic ------------------------------------------ */

void store_views_mirror(struct local_topic *topic)
{
    struct list *views = &topic->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        view_at(node)->base.bounds = topic->base.bounds;
    }
}

static void let_tell(struct local_topic *topic)
{
    if (!list_linked(&topic->moved_link)) {
        list_append(&topic->store->moved, &topic->moved_link);
    }
}

void store_views_moved(struct local_topic *topic)
{
    let_tell(topic);
    struct list *views = &topic->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        view_at(node)->base.bounds = topic->base.bounds;
        let_tell(view_at(node));
    }
}

/* Tell whether a view holds, or did before a change that may be undone. */
static bool holds_messages(const struct local_topic *view)
{
    const struct undo *undo = view->settings.first;
    return view->base.hold || (undo != NULL && undo->hold);
}

uint64_t store_views_delivered(const struct local_topic *topic)
{
    uint64_t delivered = store_cursor_settled(topic);
    const struct list *views = &topic->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        const struct local_topic *view = view_at(node);
        uint64_t next = store_cursor_settled(view);
        if (next < delivered && holds_messages(view)) {
            delivered = next;
        }
    }
    return delivered;
}

void store_views_clamp(struct local_topic *topic)
{
    store_cursor_clamp(topic);
    struct list *views = &topic->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        struct local_topic *view = view_at(node);
        view->base.bounds = topic->base.bounds;
        if (view->base.cursor.next < view->base.bounds.oldest) {
            store_cursor_clamp(view);
            store_cursor_page(view);
            store_cursor_mark(view);
            store_topics_mark(view);
        }
    }
}

/* --- purges --------------------------------------------------------------- */

enum err
store_views_undo(struct local_topic *topic, uint64_t before, struct undo *undo)
{
    struct list *views = &topic->views;
    for (struct list *node = views->next; node != views; node = node->next) {
        struct local_topic *view = view_at(node);
        if (view->base.cursor.next >= before) {
            continue;
        }
        struct undo *of_view = store_append_undo(view);
        if (of_view == NULL) {
            return ERR_NOMEM;
        }
        of_view->view = view;
        of_view->views = undo->views;
        undo->views = of_view;
        view->holds++;
    }
    return ERR_OK;
}

void store_views_purge(struct undo *undo)
{
    for (struct undo *at = undo->views; at != NULL; at = at->views) {
        store_append_undo_push(&at->view->moves, at);
    }
}

void store_views_purged(struct undo *undo)
{
    for (struct undo *at = undo->views; at != NULL;) {
        struct undo *next = at->views;
        struct local_topic *view = at->view;
        store_append_undo_settle(&view->moves, at);
        store_cursor_page(view);
        store_topics_mark(view);
        store_topics_release(view);
        at = next;
    }
    undo->views = NULL;
}

void store_views_unpurged(struct undo *undo)
{
    for (struct undo *at = undo->views; at != NULL;) {
        struct undo *next = at->views;
        struct local_topic *view = at->view;
        store_append_undo_take(&view->moves, at);
        store_cursor_set(view, &at->cursor);
        store_append_undo_free(at);
        store_cursor_clamp(view);
        store_cursor_page(view);
        store_cursor_mark(view);
        store_topics_release(view);
        at = next;
    }
    undo->views = NULL;
}

void store_views_drop(struct undo *undo)
{
    if (undo == NULL) {
        return;
    }
    for (struct undo *at = undo->views; at != NULL;) {
        struct undo *next = at->views;
        struct local_topic *view = at->view;
        store_append_undo_free(at);
        store_topics_release(view);
        at = next;
    }
    undo->views = NULL;
}

/* --- recovery ------------------------------------------------------------- */

/* Make up what the lost topic.conf of a view said; id 0: nobody knows. */
static struct topic_conf conf_make_up(const char *directory)
{
    struct topic_conf conf = {.created_ms = clock_wall_ms(),
                              .id = topic_conf_guess_id(directory)};
    if (conf.id != 0) {
        DIAG_WARN("topic_conf_lost", "directory=%s id=%016llx", directory,
                  (unsigned long long)conf.id);
    }
    return conf;
}

/* Take up one view that has a folder. */
static enum err
view_found(struct local_topic *topic, const char *directory, const char *name)
{
    struct local_store *store = topic->store;
    char *memory = NULL;
    struct topic_conf conf;
    enum err err = topic_conf_load(directory, &memory, &conf);
    bool lost = err == ERR_NOT_FOUND || err == ERR_CORRUPT;
    if (lost) {
        conf = conf_make_up(directory);
        conf.parent = topic->base.id;
    } else if (err != ERR_OK) {
        return err;
    }
    if (conf.id == 0 || conf.parent != topic->base.id ||
        store_topics_find_id(store, conf.id) != NULL) {
        DIAG_WARN("view_folder_unknown", "directory=%s id=%016llx", directory,
                  (unsigned long long)conf.id);
        free(memory);
        return ERR_OK; /* left alone */
    }
    conf.name = str_from(name);
    struct local_topic *view = NULL;
    err = store_topics_make(store, &conf, false, &view);
    free(memory);
    if (err != ERR_OK) {
        return err;
    }
    view->announced = ANNOUNCED_KEPT;
    view->conf_dirty = lost;
    if (lost || topic_log_stats(view->log)->state_stale) {
        store_topics_mark(view);
    }
    return ERR_OK;
}

static enum err visit_view(void *context, const char *name, bool is_directory)
{
    struct local_topic *topic = context;
    char above[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    if (!store_topic_name_valid(str_from(name))) {
        DIAG_WARN("view_name_unknown", "topic=%s name=%s", topic->base.name,
                  name);
        return ERR_OK;
    }
    if (store_topics_path(topic, above) != ERR_OK ||
        topic_conf_view_path(path, above, name) != ERR_OK) {
        return ERR_IO;
    }
    if (!is_directory) {
        return store_recover_no_folder(topic->store, path);
    }
    enum err err = view_found(topic, path, name);
    if (err != ERR_OK) {
        DIAG_ERROR("view_unusable", "path=%s err=%s", path, err_name(err));
    }
    return err;
}

enum err store_views_found(struct local_topic *topic)
{
    char above[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    enum err err = store_topics_path(topic, above);
    if (err == ERR_OK) {
        err = dir_join(path, above, TOPIC_CONF_VIEWS);
    }
    if (err != ERR_OK) {
        return ERR_IO;
    }
    err = dir_each(path, visit_view, topic);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* --- operations ----------------------------------------------------------- */

enum err store_views_open(struct store_topic *base,
                          struct str name,
                          bool create,
                          struct store_topic **out)
{
    struct local_topic *topic = store_topic_of(base);
    struct local_store *store = topic->store;
    struct local_topic *view = store_topics_find(store, topic, name);
    if (view != NULL) {
        *out = &view->base;
        return ERR_OK;
    }
    if (!create) {
        return ERR_NOT_FOUND;
    }
    enum err err = topic->view_count < STORE_VIEWS_MAX
                       ? store_topics_admit(store)
                       : ERR_BUSY;
    if (err != ERR_OK) {
        return err;
    }
    struct topic_conf conf = {
        .id = store_topics_fresh_id(store),
        .parent = base->id,
        .created_ms = clock_wall_ms(),
        .name = name,
    };
    err = store_topics_make(store, &conf, true, &view);
    if (err != ERR_OK) {
        return ERR_NOMEM;
    }
    view->base.cursor.next = base->bounds.end;
    *out = &view->base;
    return ERR_OK;
}

void store_views_each(struct store_topic *base,
                      void (*visit)(void *context, struct store_topic *view),
                      void *context)
{
    struct local_topic *topic = store_topic_of(base);
    struct list *node = topic->views.next;
    while (node != &topic->views) {
        struct local_topic *view = view_at(node);
        node = node->next;
        if (!view->deleted) {
            visit(context, &view->base);
        }
    }
}

/* Let `conf` be what a topic or view is set to. */
static void set(struct local_topic *topic,
                const struct topic_conf *conf,
                struct store_op *op)
{
    struct local_store *store = topic->store;
    void *body = NULL;
    struct str settings = {0};
    struct undo *undo = store_append_undo(topic);
    if (undo == NULL ||
        store_topics_copy(conf->settings, &settings) != ERR_OK ||
        store_append_put(topic, JOURNAL_TOPIC, topic_conf_body_size(conf),
                         &body) != ERR_OK) {
        store_append_undo_free(undo);
        free((char *)settings.data);
        store_append_finish(store, op, ERR_BUSY);
        return;
    }
    topic_conf_body_write(conf, body);
    journal_put_end(store->journal);
    store_append_note(topic, CHANGE_CONFIGURE, op)->undo = undo;
    store_append_undo_push(&topic->settings, undo);
    store_topics_set_copied(topic, conf, settings);
}

void store_topics_configure(struct store_topic *base,
                            struct str settings,
                            const struct store_retention *retention,
                            struct store_op *op)
{
    struct local_topic *topic = store_topic_of(base);
    op->topic = base;
    enum err err = store_append_admit(topic->store);
    if (err == ERR_OK && settings.size > STORE_SETTINGS_MAX) {
        err = ERR_TOO_LARGE;
    }
    if (err != ERR_OK) {
        store_append_finish(topic->store, op, err);
        return;
    }
    struct topic_conf conf = store_topics_conf(topic);
    conf.settings = settings;
    if (base->parent == NULL) {
        conf.retain_age_ms = retention->age_ms;
        conf.retain_bytes = retention->bytes;
        conf.retain_count = retention->count;
        conf.discard_old = retention->discard_old;
    }
    set(topic, &conf, op);
}

void store_views_hold(struct store_topic *base, bool hold, struct store_op *op)
{
    struct local_topic *view = store_topic_of(base);
    op->topic = base;
    enum err err = store_append_admit(view->store);
    if (err != ERR_OK) {
        store_append_finish(view->store, op, err);
        return;
    }
    struct topic_conf conf = store_topics_conf(view);
    conf.loose = !hold;
    set(view, &conf, op);
}
