/* Putting topics into a data directory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/import_data.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "cli/acked_list.h"
#include "cli/restore_log.h"
#include "cli/snapshot.h"
#include "log/blob.h"
#include "log/meta.h"
#include "log/topic_state.h"
#include "store/store.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_MAX = 64 };

/* The topic being written. */
struct topic {
    bool begun;
    char name[TOPIC_NAME_MAX + 1];
    uint64_t id;
    uint64_t first;
    struct topic_cursor cursor;
    bool has_cursor;
    struct restore_log log;
    char *views[STORE_VIEWS_MAX]; /* owned: their paths, for a sync each */
    uint32_t view_count;
    /* The body of the last message, being written. */
    struct message_blob blob;
    uint64_t sequence;
    uint64_t written; /* of its bytes */
    uint32_t crc;     /* of these */
    int fd;           /* owned; -1: none is */
    bool has_blobs;
};

struct import_data {
    const char *directory;     /* borrowed */
    const char *mark;          /* borrowed */
    int lock;                  /* owned; -1: none */
    struct snapshot *snapshot; /* owned: what was there */
    char folder[DIR_PATH_MAX]; /* where the topic is written */
    struct topic topic;
};

/* --- opening -------------------------------------------------------------- */

/* Make a directory that a server will take for one of its own. */
static enum err make_directory(const char *directory)
{
    struct meta meta = {.shard_count = 1, .base = 1};
    char topics[DIR_PATH_MAX];

    while (meta.node == 0) {
        clock_random(&meta.node, sizeof(meta.node));
    }
    enum err err = dir_join(topics, directory, "topics");
    if (err == ERR_OK) {
        err = dir_create(topics);
    }
    if (err == ERR_OK) {
        err = dir_join(topics, directory, "journal/0");
    }
    if (err == ERR_OK) {
        err = dir_create(topics);
    }
    return err == ERR_OK ? meta_store(directory, &meta) : err;
}

static enum err remove_left(void *context, const char *name, bool is_directory)
{
    const struct import_data *data = context;
    char path[DIR_PATH_MAX];
    char views[DIR_PATH_MAX];

    if (!is_directory || strncmp(name, "import-", 7) != 0) {
        return ERR_OK;
    }
    enum err err = dir_join(path, data->directory, name);
    if (err == ERR_OK) {
        err = dir_join(views, path, TOPIC_CONF_VIEWS);
    }
    if (err != ERR_OK) {
        return err;
    }
    err = dir_remove(views);
    return err == ERR_OK || err == ERR_NOT_FOUND ? dir_remove(path) : err;
}

static enum err open_directory(struct import_data *data)
{
    const struct snapshot_options options = {.directory = data->directory,
                                             .bare = true};
    char path[DIR_PATH_MAX];
    struct meta meta;

    enum err err = meta_load(data->directory, &meta);
    if (err == ERR_NOT_FOUND) {
        err = make_directory(data->directory);
    }
    if (err == ERR_OK) {
        err = dir_join(path, data->directory, "opq.lock");
    }
    if (err == ERR_OK) {
        err = dir_lock(path, &data->lock);
    }
    if (err == ERR_OK) {
        err = dir_each(data->directory, remove_left, data);
    }
    if (err == ERR_OK) {
        err = snapshot_open(&options, &data->snapshot);
    }
    if (err == ERR_OK && snapshot_entries(data->snapshot) > 0) {
        err = ERR_CONDITION;
    }
    return err;
}

enum err import_data_open(const char *directory,
                          const char *mark,
                          struct import_data **out)
{
    struct import_data *data = calloc(1, sizeof(*data));

    if (data == NULL) {
        return ERR_NOMEM;
    }
    data->directory = directory;
    data->mark = mark;
    data->lock = -1;
    data->topic.fd = -1;
    restore_log_init(&data->topic.log, data->folder);
    enum err err = open_directory(data);
    if (err != ERR_OK) {
        import_data_close(data);
        return err;
    }
    *out = data;
    return ERR_OK;
}

void import_data_close(struct import_data *data)
{
    if (data == NULL) {
        return;
    }
    import_data_drop(data);
    snapshot_close(data->snapshot);
    dir_unlock(data->lock);
    free(data);
}

/* --- topics --------------------------------------------------------------- */

/* An id that no topic or view of the directory has. */
static uint64_t free_id(const struct import_data *data, uint64_t wanted)
{
    uint64_t id = wanted;

    for (size_t index = 0; index < snapshot_count(data->snapshot); index++) {
        if (snapshot_at(data->snapshot, index)->id == id) {
            id = 0;
        }
    }
    while (id == 0) {
        clock_random(&id, sizeof(id));
    }
    return id;
}

static enum err topic_path(const struct import_data *data,
                           char path[DIR_PATH_MAX])
{
    char topics[DIR_PATH_MAX];
    enum err err = dir_join(topics, data->directory, "topics");

    return err == ERR_OK ? dir_join(path, topics, data->topic.name) : err;
}

/* Whether the topic is there: ERR_AGAIN when this import has brought it. */
static enum err check_absent(const struct import_data *data)
{
    char path[DIR_PATH_MAX];
    char file[DIR_PATH_MAX];
    char *mark = NULL;
    size_t size = 0;
    int fd = -1;

    enum err err = topic_path(data, path);
    if (err == ERR_OK) {
        err = dir_join(file, path, "imported");
    }
    if (err != ERR_OK) {
        return err;
    }
    err = file_load(file, MARK_MAX, &mark, &size);
    bool same = err == ERR_OK && strcmp(mark, data->mark) == 0;
    free(mark);
    if (same) {
        return ERR_AGAIN;
    }
    err = file_open(path, FILE_READ, &fd);
    file_close(fd);
    return err == ERR_NOT_FOUND ? ERR_OK : ERR_EXISTS;
}

static enum err write_conf(const char *directory, const struct topic_conf *conf)
{
    char path[DIR_PATH_MAX];
    struct buf text = {0};

    topic_conf_write(conf, &text);
    enum err err = buf_err(&text);
    if (err == ERR_OK) {
        err = dir_join(path, directory, "topic.conf");
    }
    if (err == ERR_OK) {
        err = file_replace(path, text.data, text.size);
    }
    buf_fini(&text);
    return err;
}

enum err import_data_begin(struct import_data *data,
                           const struct topic_conf *conf,
                           uint64_t first)
{
    struct topic *topic = &data->topic;
    char name[32];

    import_data_drop(data);
    if (!store_topic_name_valid(conf->name)) {
        return ERR_INVALID;
    }
    memcpy(topic->name, conf->name.data, conf->name.size);
    topic->name[conf->name.size] = '\0';
    enum err err = check_absent(data);
    if (err != ERR_OK) {
        return err;
    }
    if (snapshot_checkpoint(data->snapshot, topic->name) == 0) {
        return ERR_CONDITION; /* its shard never completed one */
    }
    topic->id = free_id(data, conf->id);
    topic->first = first;
    topic->has_cursor = false;
    (void)snprintf(name, sizeof(name), "import-%016llx",
                   (unsigned long long)topic->id);
    err = dir_join(data->folder, data->directory, name);
    if (err == ERR_OK) {
        err = dir_create(data->folder);
    }
    if (err != ERR_OK) {
        return err;
    }
    topic->begun = true;
    struct topic_conf written = *conf;
    written.id = topic->id;
    written.parent = 0;
    written.created_ms =
        conf->created_ms != 0 ? conf->created_ms : clock_wall_ms();
    return write_conf(data->folder, &written);
}

enum err import_data_cursor(struct import_data *data,
                            const struct topic_cursor *cursor,
                            const struct topic_gaps *acked)
{
    data->topic.cursor = *cursor;
    data->topic.has_cursor = true;
    /* Should the topic not come about, the next start removes it. */
    return acked_list_store(data->directory, data->topic.name, data->topic.id,
                            cursor, acked);
}

/* Write `dlv` so that the checkpoint that is in force believes it. */
static enum err write_cursor(const struct import_data *data,
                             const char *directory,
                             uint64_t id,
                             const struct topic_cursor *cursor)
{
    struct topic_state_slots slots = {0};
    const struct topic_state_key key = {
        .directory = directory,
        .topic_id = id,
        .checkpoint = snapshot_checkpoint(data->snapshot, data->topic.name) - 1,
    };

    return topic_state_store_dlv(&key, cursor, &slots);
}

enum err import_data_view(struct import_data *data,
                          const struct topic_conf *conf,
                          const struct topic_cursor *cursor,
                          const struct topic_gaps *acked)
{
    struct topic *topic = &data->topic;
    char name[TOPIC_NAME_MAX + 1];
    char path[DIR_PATH_MAX];

    if (!store_topic_name_valid(conf->name) ||
        topic->view_count == STORE_VIEWS_MAX) {
        return ERR_INVALID;
    }
    memcpy(name, conf->name.data, conf->name.size);
    name[conf->name.size] = '\0';
    enum err err = topic_conf_view_path(path, data->folder, name);
    if (err == ERR_OK) {
        err = dir_create(path);
    }
    if (err != ERR_OK) {
        return err;
    }
    topic->views[topic->view_count] = strdup(path);
    if (topic->views[topic->view_count] == NULL) {
        return ERR_NOMEM;
    }
    topic->view_count++;
    struct topic_conf written = *conf;
    written.id = free_id(data, conf->id);
    written.parent = topic->id;
    written.created_ms =
        conf->created_ms != 0 ? conf->created_ms : clock_wall_ms();
    err = write_conf(path, &written);
    if (err == ERR_OK) {
        err = write_cursor(data, path, written.id, cursor);
    }
    return err == ERR_OK ? acked_list_store(data->directory, topic->name,
                                            written.id, cursor, acked)
                         : err;
}

/* --- messages ------------------------------------------------------------- */

/* Close the body that is being written; it must be complete. */
static enum err end_body(struct topic *topic)
{
    if (topic->fd < 0) {
        return ERR_OK;
    }
    if (topic->written != topic->blob.size || topic->crc != topic->blob.crc) {
        return ERR_INVALID;
    }
    enum err err = file_sync(topic->fd);
    file_close(topic->fd);
    topic->fd = -1;
    return err;
}

/* Begin the file of a body. */
static enum err begin_body(struct import_data *data, uint64_t sequence)
{
    struct topic *topic = &data->topic;
    char blobs[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    char name[64];

    enum err err = blob_folder(blobs, data->folder);
    if (err == ERR_OK && !topic->has_blobs) {
        err = dir_create(blobs);
        topic->has_blobs = err == ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    (void)snprintf(name, sizeof(name), "%llu-%016llx",
                   (unsigned long long)sequence,
                   (unsigned long long)topic->blob.id);
    err = dir_join(path, blobs, name);
    if (err == ERR_OK) {
        err = file_open(path, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE,
                        &topic->fd);
    }
    topic->written = 0;
    topic->crc = 0;
    return err;
}

enum err import_data_message(struct import_data *data,
                             const struct record *record)
{
    struct topic *topic = &data->topic;
    struct message message = record->message;
    size_t size = 0;

    enum err err = end_body(topic);
    if (err == ERR_OK && record->sequence < topic->first) {
        err = ERR_INVALID;
    }
    if (err == ERR_OK && message.blob.size > 0) {
        while (message.blob.id == 0) {
            clock_random(&message.blob.id, sizeof(message.blob.id));
        }
        topic->blob = message.blob;
        err = begin_body(data, record->sequence);
    }
    if (err == ERR_OK) {
        err = record_size(&message, &size);
    }
    if (err != ERR_OK) {
        return err;
    }
    char *bytes = aligned_alloc(RECORD_ALIGN, size);
    if (bytes == NULL) {
        return ERR_NOMEM;
    }
    record_encode(&message, record->sequence, bytes, size);
    err = restore_log_put(&topic->log, (struct str){bytes, size});
    free(bytes);
    return err;
}

enum err import_data_part(struct import_data *data, struct str bytes)
{
    struct topic *topic = &data->topic;

    if (topic->fd < 0 || bytes.size > topic->blob.size - topic->written) {
        return ERR_INVALID;
    }
    enum err err =
        file_write_at(topic->fd, bytes.data, bytes.size, topic->written, false);
    topic->written += bytes.size;
    topic->crc = crc32c(topic->crc, bytes.data, bytes.size);
    return err;
}

/* --- ends ----------------------------------------------------------------- */

/* Write the mark, `cmd` and `dlv`. */
static enum err write_state(struct import_data *data, uint64_t end)
{
    struct topic *topic = &data->topic;
    char path[DIR_PATH_MAX];
    struct topic_state_slots slots = {0};
    uint64_t oldest = topic->log.messages > 0 ? topic->log.oldest : end;
    const struct topic_state_cmd cmd = {
        .end = end, .oldest = oldest, .open_first = end};
    const struct topic_cursor start = {.next = oldest};
    const struct topic_state_key key = {
        .directory = data->folder,
        .topic_id = topic->id,
        .checkpoint = snapshot_checkpoint(data->snapshot, topic->name) - 1,
    };

    enum err err = dir_join(path, data->folder, "imported");
    if (err == ERR_OK) {
        err = file_replace(path, data->mark, strlen(data->mark));
    }
    if (err == ERR_OK) {
        err = topic_state_store_cmd(&key, &cmd, &slots);
    }
    if (err == ERR_OK) {
        err = write_cursor(data, data->folder, topic->id,
                           topic->has_cursor ? &topic->cursor : &start);
    }
    return err == ERR_OK ? topic_state_sync(data->folder, true) : err;
}

/* Make the folders in the topic's durable. */
static enum err sync_folders(struct import_data *data)
{
    struct topic *topic = &data->topic;
    char path[DIR_PATH_MAX];
    enum err err = ERR_OK;

    for (uint32_t index = 0; err == ERR_OK && index < topic->view_count;
         index++) {
        err = topic_state_sync(topic->views[index], false);
        err = err == ERR_OK ? dir_sync(topic->views[index]) : err;
    }
    if (err == ERR_OK && topic->view_count > 0) {
        err = dir_join(path, data->folder, TOPIC_CONF_VIEWS);
        err = err == ERR_OK ? dir_sync(path) : err;
    }
    if (err == ERR_OK && topic->has_blobs) {
        err = blob_folder(path, data->folder);
        err = err == ERR_OK ? dir_sync(path) : err;
    }
    return err == ERR_OK ? dir_sync(data->folder) : err;
}

/* Forget the topic; its folder is moved, or gone. */
static void forget(struct topic *topic)
{
    file_close(topic->fd);
    topic->fd = -1;
    restore_log_fini(&topic->log);
    for (uint32_t index = 0; index < topic->view_count; index++) {
        free(topic->views[index]);
    }
    topic->view_count = 0;
    topic->has_blobs = false;
    topic->begun = false;
}

enum err import_data_end(struct import_data *data, uint64_t end)
{
    struct topic *topic = &data->topic;
    char topics[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];

    enum err err = end_body(topic);
    if (err == ERR_OK && topic->log.messages > 0 && end < topic->log.end) {
        err = ERR_INVALID;
    }
    if (err == ERR_OK) {
        err = restore_log_finish(&topic->log);
    }
    if (err == ERR_OK && topic->log.messages > 0 && end > topic->log.end) {
        err = topic_gaps_add(&topic->log.gaps, topic->log.end, end);
    }
    if (err == ERR_OK && topic->log.gaps.count > 0) {
        err = topic_gaps_store(data->folder, &topic->log.gaps);
    }
    if (err == ERR_OK) {
        err = write_state(data, end);
    }
    if (err == ERR_OK) {
        err = sync_folders(data);
    }
    if (err == ERR_OK) {
        err = dir_join(topics, data->directory, "topics");
    }
    if (err == ERR_OK) {
        err = dir_create(topics);
    }
    if (err == ERR_OK) {
        err = topic_path(data, path);
    }
    if (err == ERR_OK) {
        err = file_rename(data->folder, path);
    }
    if (err == ERR_OK) {
        forget(topic);
        err = dir_sync(topics);
    }
    return err;
}

void import_data_drop(struct import_data *data)
{
    char views[DIR_PATH_MAX];

    if (!data->topic.begun) {
        return;
    }
    forget(&data->topic);
    /* What cannot be removed the next import does. */
    if (dir_join(views, data->folder, TOPIC_CONF_VIEWS) == ERR_OK &&
        dir_remove(views) != ERR_IO && dir_remove(data->folder) == ERR_OK) {
        data->folder[0] = '\0';
    }
}
