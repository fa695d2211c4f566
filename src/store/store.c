/* What all stores have in common, and the way to their operations.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store.h"

#include "base/check.h"

/* Which bytes a name may have: asked for each byte of each push. Written once
 * before main(), read by any thread after. */
static bool name_bytes[256];

__attribute__((constructor)) static void make_name_bytes(void)
{
    static const char valid[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "abcdefghijklmnopqrstuvwxyz0123456789._-";

    for (size_t i = 0; valid[i] != '\0'; i++) {
        name_bytes[(unsigned char)valid[i]] = true;
    }
}

bool store_topic_name_valid(struct str name)
{
    if (name.size == 0 || name.size > TOPIC_NAME_MAX ||
        str_equal(name, STR(".")) || str_equal(name, STR(".."))) {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        if (!name_bytes[(unsigned char)name.data[i]]) {
            return false;
        }
    }
    return true;
}

void store_close(struct store *store,
                 void (*closed)(void *context),
                 void *context)
{
    store->ops->close(store, closed, context);
}

void store_prepare_close(struct store *store)
{
    if (store->ops->prepare_close != NULL) {
        store->ops->prepare_close(store);
    }
}

bool store_close_prepared(const struct store *store)
{
    return store->ops->close_prepared == NULL ||
           store->ops->close_prepared(store);
}

void store_listen(struct store *store,
                  void (*told)(void *context, const struct store_news *news),
                  void *context)
{
    store->told = told;
    store->told_context = context;
    if (store->ops->tell_lost != NULL) {
        store->ops->tell_lost(store);
    }
}

const struct store_stats *store_stats(const struct store *store)
{
    return store->ops->stats(store);
}

enum err store_topic_open(struct store *store,
                          struct str name,
                          bool create,
                          struct store_topic **out)
{
    if (!store_topic_name_valid(name)) {
        return ERR_INVALID;
    }
    return store->ops->topic_open(store, name, create, out);
}

void store_topic_each(struct store *store,
                      void (*visit)(void *context, struct store_topic *topic),
                      void *context)
{
    store->ops->topic_each(store, visit, context);
}

/* The topic that has the messages. */
static struct store_topic *source(struct store_topic *topic)
{
    return topic->parent != NULL ? topic->parent : topic;
}

bool store_topic_unused(const struct store_topic *topic)
{
    return topic->readers == 0 && topic->store->ops->topic_unused(topic);
}

void store_topic_unmake(struct store_topic *topic)
{
    CHECK(list_empty(&topic->watches));
    CHECK(store_topic_unused(topic));
    topic->store->ops->topic_unmake(topic);
}

void store_topic_delete(struct store_topic *topic, struct store_op *op)
{
    CHECK(list_empty(&topic->watches));
    CHECK(topic->parent == NULL);
    topic->store->ops->topic_delete(topic, op);
}

enum err store_view_open(struct store_topic *topic,
                         struct str name,
                         bool create,
                         struct store_topic **out)
{
    CHECK(topic->parent == NULL);
    if (!store_topic_name_valid(name)) {
        return ERR_INVALID;
    }
    return topic->store->ops->view_open(topic, name, create, out);
}

void store_view_each(struct store_topic *topic,
                     void (*visit)(void *context, struct store_topic *view),
                     void *context)
{
    CHECK(topic->parent == NULL);
    topic->store->ops->view_each(topic, visit, context);
}

void store_view_hold(struct store_topic *view, bool hold, struct store_op *op)
{
    CHECK(view->parent != NULL);
    view->store->ops->view_hold(view, hold, op);
}

void store_view_delete(struct store_topic *view, struct store_op *op)
{
    CHECK(list_empty(&view->watches));
    CHECK(view->parent != NULL);
    view->store->ops->topic_delete(view, op);
}

void store_topic_configure(struct store_topic *topic,
                           struct str settings,
                           const struct store_retention *retention,
                           struct store_op *op)
{
    topic->store->ops->topic_configure(topic, settings, retention, op);
}

uint64_t store_next_sequence(const struct store_topic *topic)
{
    return topic->store->ops->next_sequence(
        topic->parent != NULL ? topic->parent : topic);
}

void store_cursor_save(struct store_topic *topic,
                       const struct store_cursor *cursor,
                       struct store_op *op)
{
    topic->store->ops->cursor_save(topic, cursor, op);
}

void store_cursor_move(struct store_topic *topic,
                       uint64_t next,
                       struct store_op *op)
{
    topic->store->ops->cursor_move(topic, next, op);
}

enum store_acked
store_acked_add(struct store_topic *topic, uint64_t first, uint64_t end)
{
    return topic->store->ops->acked_add == NULL
               ? STORE_ACKED_NOTED
               : topic->store->ops->acked_add(topic, first, end);
}

bool store_acked_next(struct store_topic *topic,
                      uint64_t from,
                      struct store_range *out)
{
    return topic->store->ops->acked_next != NULL &&
           topic->store->ops->acked_next(topic, from, out);
}

void store_purge(struct store_topic *topic,
                 uint64_t before,
                 struct store_op *op)
{
    CHECK(topic->parent == NULL);
    topic->store->ops->purge(topic, before, op);
}

enum err store_find_time(struct store_topic *topic,
                         uint64_t at_ms,
                         uint64_t *out_sequence)
{
    return topic->store->ops->find_time(source(topic), at_ms, out_sequence);
}

void store_watch_add(struct store_topic *topic, struct store_watch *watch)
{
    CHECK(watch->moved != NULL);
    list_append(&topic->watches, &watch->link);
}

void store_watch_remove(struct store_watch *watch)
{
    list_remove(&watch->link);
}

enum err store_reader_create(struct store_topic *topic,
                             struct store_reader **out)
{
    topic = source(topic);
    enum err err = topic->store->ops->reader_create(topic, out);
    topic->readers += err == ERR_OK ? 1 : 0;
    return err;
}

enum err store_reader_next(struct store_reader *reader,
                           uint64_t sequence,
                           struct record *out_record)
{
    return reader->topic->store->ops->reader_next(reader, sequence, out_record);
}

void store_reader_destroy(struct store_reader *reader)
{
    if (reader != NULL) {
        CHECK(reader->topic->readers > 0);
        reader->topic->readers--;
        reader->topic->store->ops->reader_destroy(reader);
    }
}

enum err
store_blob_begin(struct store *store, uint64_t size, struct store_blob **out)
{
    if (store->ops->blob_begin == NULL) {
        return ERR_UNSUPPORTED;
    }
    return store->ops->blob_begin(store, size, out);
}

size_t store_blob_write(struct store_blob *blob, struct str bytes)
{
    return blob->store->ops->blob_write(blob, bytes);
}

void store_blob_end(struct store_blob *blob)
{
    CHECK(blob->message.size > 0);
    blob->store->ops->blob_end(blob);
}

enum err store_blob_share(struct store_topic *topic,
                          uint64_t sequence,
                          const struct message_blob *body,
                          struct store_blob **out)
{
    if (topic->store->ops->blob_share == NULL) {
        return ERR_UNSUPPORTED;
    }
    return topic->store->ops->blob_share(topic, sequence, body, out);
}

void store_blob_drop(struct store_blob *blob)
{
    if (blob != NULL) {
        blob->store->ops->blob_drop(blob);
    }
}

void store_blob_keep(struct store_blob *blob)
{
    blob->store->ops->blob_keep(blob);
}

enum err store_blob_open(struct store_topic *topic,
                         uint64_t sequence,
                         const struct message_blob *blob,
                         int *out_fd)
{
    if (topic->store->ops->blob_open == NULL) {
        return ERR_NOT_FOUND;
    }
    return topic->store->ops->blob_open(source(topic), sequence, blob, out_fd);
}

void store_blob_damaged(struct store_topic *topic,
                        uint64_t sequence,
                        enum err err)
{
    if (topic->store->ops->blob_damaged != NULL) {
        topic->store->ops->blob_damaged(source(topic), sequence, err);
    }
}
