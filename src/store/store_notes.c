/* Notes of topics at rest: see store_notes.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_notes.h"

#include "base/diag.h"
#include "store/store_local.h"
#include "store/store_views.h"

enum { NOTE_BLOBS = 1 << 0 }; /* bodies were placed */

/* One topic or view, as read. */
struct note {
    uint64_t id;
    uint32_t flags;
    uint32_t views; /* how many follow */
    struct topic_conf conf;
    struct str log;
};

/* --- writing -------------------------------------------------------------- */

/* Tell whether neither the journal nor memory knows more than the folder. */
static bool at_rest(const struct local_topic *topic)
{
    const struct topic_log_stats *log = topic_log_stats(topic->log);

    if (topic->folder != FOLDER_MADE || topic->announced != ANNOUNCED_KEPT ||
        topic->deleted || topic->gone || topic->doomed != NULL) {
        return false;
    }
    if (topic->conf_dirty || topic->trim_dirty || topic->flushing ||
        topic->moves.first != NULL || topic->settings.first != NULL) {
        return false;
    }
    if (list_linked(&topic->dirty_link) || list_linked(&topic->cursor_link) ||
        list_linked(&topic->checkpoint_link) || !list_empty(&topic->blobs)) {
        return false;
    }
    return topic->base.parent != NULL ||
           (topic->next == log->end && topic->base.bounds.end == log->end &&
            topic->base.bounds.oldest == log->oldest);
}

/* Append what is known of one topic or view. False: it is not at rest, or there
 * is no memory; what was appended has to go. */
static bool append_one(const struct local_topic *topic, struct buf *to)
{
    const struct topic_conf conf = store_topics_conf(topic);
    size_t conf_size = topic_conf_body_size(&conf);
    size_t begin = to->size;
    struct topic_cursor cursor;

    if (!at_rest(topic)) {
        return false;
    }
    buf_put_u32(to, (uint32_t)conf_size);
    buf_put_u32(to, 0); /* of the log's note, once it is known */
    buf_put_u64(to, topic->base.id);
    buf_put_u32(to, topic->has_blobs ? NOTE_BLOBS : 0);
    buf_put_u32(to, topic->view_count);
    if (buf_reserve(to, conf_size) != ERR_OK) {
        return false;
    }
    topic_conf_body_write(&conf, to->data + to->size);
    to->size += conf_size;
    size_t log = to->size;
    store_cursor_snapshot(topic, &cursor);
    if (!topic_log_note(topic->log, topic->store->checkpoint.number, &cursor,
                        to) ||
        to->failed) {
        return false;
    }
    put_u32(to->data + begin + 4, (uint32_t)(to->size - log));
    return true;
}

/* Append a topic with its views, or nothing. */
static void append_topic(const struct local_topic *topic, struct buf *to)
{
    const struct list *views = &topic->views;
    size_t begin = to->size;
    bool whole = append_one(topic, to);

    for (struct list *node = views->next; whole && node != views;
         node = node->next) {
        whole =
            append_one(CONTAINER_OF(node, struct local_topic, view_link), to);
    }
    if (!whole) {
        to->size = begin;
    }
}

void store_notes_write(const struct local_store *store, struct buf *to)
{
    /* Files of some topic would be left for ever, when nobody looks. */
    if (!list_empty(&store->chores)) {
        return;
    }
    buf_init(to, STORE_NOTES_MAX);
    buf_put_u32(to, STORE_NOTES_VERSION);
    for (struct list *node = store->topics.next;
         !to->failed && node != &store->topics; node = node->next) {
        append_topic(CONTAINER_OF(node, struct local_topic, link), to);
    }
}

/* --- reading -------------------------------------------------------------- */

/* Read the next note. False: there is none, or none that makes sense. */
static bool read_one(struct reader *reader, struct note *out)
{
    uint32_t conf_size = reader_u32(reader);
    uint32_t log_size = reader_u32(reader);
    struct note note = {.id = reader_u64(reader)};

    note.flags = reader_u32(reader);
    note.views = reader_u32(reader);
    struct str conf = reader_bytes(reader, conf_size);
    note.log = reader_bytes(reader, log_size);
    if (reader->failed || note.id == 0 || note.log.size == 0 ||
        topic_conf_body_read(conf, &note.conf) != ERR_OK ||
        !store_topic_name_valid(note.conf.name)) {
        return false;
    }
    note.conf.id = note.id;
    *out = note;
    return true;
}

/* Make the topic or view of a note. ERR_INVALID: what it says cannot be. */
static enum err make(struct local_store *store,
                     const struct note *note,
                     const struct local_topic *parent,
                     struct local_topic **out)
{
    if (note->conf.parent != (parent != NULL ? parent->base.id : 0) ||
        store_data_shard(store->shard_count,
                         parent != NULL ? parent->base.name_str
                                        : note->conf.name) != store->shard ||
        store_topics_find_id(store, note->id) != NULL ||
        store_topics_find(store, parent, note->conf.name) != NULL) {
        return ERR_INVALID;
    }
    enum err err = store_topics_make_noted(store, &note->conf, note->log, out);
    if (err == ERR_OK) {
        (*out)->announced = ANNOUNCED_KEPT;
        (*out)->noted = true;
        (*out)->has_blobs = (note->flags & NOTE_BLOBS) != 0;
    }
    return err;
}

/* Make the next topic and its views. */
static enum err read_topic(struct local_store *store, struct reader *reader)
{
    struct local_topic *topic = NULL;
    struct local_topic *view = NULL;
    struct note note;

    if (!read_one(reader, &note)) {
        return ERR_INVALID;
    }
    uint32_t views = note.views;
    enum err err = make(store, &note, NULL, &topic);
    while (err == ERR_OK && views > 0) {
        views--;
        err = read_one(reader, &note) ? make(store, &note, topic, &view)
                                      : ERR_INVALID;
    }
    if (err == ERR_INVALID && topic != NULL) {
        enum err found = store_views_found(topic); /* those that are left */
        err = found == ERR_OK ? err : found;
    }
    return err;
}

/* What the process before knew; empty: nothing that can be believed. The
 * directory must have been its own until it was ours, with as many shards, and
 * at the same checkpoint. */
static struct str told(const struct local_store *store)
{
    const struct store_local_options *set = store->options;

    for (uint32_t i = 0; store->data->goes_on && i < set->end_count; i++) {
        const struct store_local_end *end = &set->ends[i];
        if (end->node == store->data->meta.node && end->shard == store->shard &&
            end->checkpoint == store->checkpoint.number) {
            return end->topics;
        }
    }
    return (struct str){NULL, 0};
}

enum err store_notes_read(struct local_store *store)
{
    struct reader reader = reader_of(told(store));
    enum err err = ERR_OK;

    if (reader_left(&reader) == 0 ||
        reader_u32(&reader) != STORE_NOTES_VERSION) {
        return ERR_OK;
    }
    while (err == ERR_OK && reader_left(&reader) > 0) {
        err = read_topic(store, &reader);
    }
    if (err == ERR_INVALID) {
        DIAG_WARN("notes_senseless", "shard=%u topics=%u", store->shard,
                  store->topic_count);
        return ERR_OK;
    }
    return err;
}
