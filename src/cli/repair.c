/* Mending a data directory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/repair.h"

#include "base/buf.h"
#include "cli/restore_log.h"
#include "log/blob.h"
#include "log/meta.h"
#include "log/segment.h"
#include "log/topic_folder.h"
#include "log/topic_state.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COPY_SIZE = 1 << 20 };

enum err
repair_init(struct repair *repair, const char *directory, uint64_t now_ms)
{
    char name[64];

    repair->directory = directory;
    (void)snprintf(name, sizeof(name), "quarantine/%" PRIu64, now_ms);
    enum err err = dir_join(repair->quarantine, directory, name);
    return err == ERR_OK ? dir_join(repair->staging, directory, "repair") : err;
}

/* --- setting aside -------------------------------------------------------- */

/* Where something of a topic goes; makes the folder. NULL: of none. */
static enum err aside_path(const struct repair *repair,
                           const char *topic,
                           const char *name,
                           char path[DIR_PATH_MAX])
{
    char folder[DIR_PATH_MAX];
    char flat[DIR_PATH_MAX];
    enum err err =
        dir_join(folder, repair->quarantine, topic != NULL ? topic : "data");

    if (err == ERR_OK) {
        err = dir_create(folder);
    }
    /* Those of views have folders in their names. */
    (void)snprintf(flat, sizeof(flat), "%s", name);
    for (char *at = flat; *at != '\0'; at++) {
        *at = *at == '/' ? '_' : *at;
    }
    return err == ERR_OK ? dir_join(path, folder, flat) : err;
}

/* The path of something of a topic, and where it goes. */
static enum err aside_paths(const struct repair *repair,
                            const char *topic,
                            const char *folder,
                            const char *name,
                            char from[DIR_PATH_MAX],
                            char to[DIR_PATH_MAX])
{
    enum err err = dir_join(from, folder, name);

    return err == ERR_OK ? aside_path(repair, topic, name, to) : err;
}

/* Move a file, or a folder, out of its place; fine when it is not there. */
static enum err set_aside(const struct repair *repair,
                          const char *topic,
                          const char *folder,
                          const char *name)
{
    char from[DIR_PATH_MAX];
    char to[DIR_PATH_MAX];
    enum err err = aside_paths(repair, topic, folder, name, from, to);

    if (err == ERR_OK) {
        err = file_rename(from, to);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err copy_bytes(const char *from, const char *to, uint64_t begin)
{
    char *bytes = malloc(COPY_SIZE);
    uint64_t offset = begin;
    size_t got = COPY_SIZE;
    int source = -1;
    int target = -1;
    enum err err = bytes == NULL ? ERR_NOMEM : ERR_OK;

    if (err == ERR_OK) {
        err = file_open(from, FILE_READ, &source);
    }
    if (err == ERR_OK) {
        err = file_open(to, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &target);
    }
    while (err == ERR_OK && got == COPY_SIZE) {
        err = file_read_at(source, bytes, COPY_SIZE, offset, &got);
        if (err == ERR_OK && got > 0) {
            err = file_write_at(target, bytes, got, offset - begin, false);
        }
        offset += got;
    }
    if (err == ERR_OK) {
        err = file_sync(target);
    }
    file_close(source);
    file_close(target);
    free(bytes);
    return err;
}

/* Keep a file that is about to be replaced: under a second name, or copied. */
static enum err keep(const struct repair *repair,
                     const char *topic,
                     const char *folder,
                     const char *name)
{
    char from[DIR_PATH_MAX];
    char to[DIR_PATH_MAX];
    enum err err = aside_paths(repair, topic, folder, name, from, to);

    if (err == ERR_OK) {
        err = file_link(from, to);
    }
    if (err == ERR_UNSUPPORTED) {
        err = copy_bytes(from, to, 0);
    }
    return err == ERR_NOT_FOUND || err == ERR_EXISTS ? ERR_OK : err;
}

/* --- the directory -------------------------------------------------------- */

static enum err
count_journals(void *context, const char *name, bool is_directory)
{
    uint32_t *count = context;
    uint64_t shard = 0;

    if (is_directory && str_to_u64(str_from(name), &shard) == ERR_OK &&
        shard < 4096 && shard + 1 > *count) {
        *count = (uint32_t)shard + 1;
    }
    return ERR_OK;
}

enum err repair_meta(struct repair *repair)
{
    struct meta meta = {.shard_count = 1};
    char journals[DIR_PATH_MAX];
    char first[DIR_PATH_MAX];

    while (meta.node == 0) {
        clock_random(&meta.node, sizeof(meta.node));
    }
    enum err err = set_aside(repair, NULL, repair->directory, "meta");
    if (err == ERR_OK) {
        err = dir_join(journals, repair->directory, "journal");
    }
    if (err == ERR_OK) {
        err = dir_join(first, journals, "0");
    }
    if (err == ERR_OK) {
        err = dir_create(first);
    }
    if (err == ERR_OK) {
        err = dir_each(journals, count_journals, &meta.shard_count);
    }
    return err == ERR_OK ? meta_store(repair->directory, &meta) : err;
}

static enum err move_file(void *context, const char *name, bool is_directory)
{
    const struct repair *repair = context;
    char topics[DIR_PATH_MAX];
    enum err err = dir_join(topics, repair->directory, "topics");

    return err == ERR_OK && !is_directory
               ? set_aside(repair, NULL, topics, name)
               : err;
}

enum err repair_names(struct repair *repair, const struct repair_plan *plan)
{
    char topics[DIR_PATH_MAX];
    char folder[DIR_PATH_MAX];
    enum err err = dir_join(topics, repair->directory, "topics");

    if (err == ERR_OK) {
        err = dir_each(topics, move_file, repair);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    for (size_t index = 0; err == ERR_OK && index < plan->topic_count;
         index++) {
        const struct repair_topic *topic = &plan->topics[index];
        if (topic->conf) {
            err = dir_join(folder, topics, topic->topic->name);
            err = err == ERR_OK ? set_aside(repair, topic->topic->name, folder,
                                            "topic.conf")
                                : err;
        }
    }
    return err;
}

/* Journals being copied, one shard's after the other's. */
struct copying {
    const struct repair *repair;
    char journals[DIR_PATH_MAX];
    char from[DIR_PATH_MAX]; /* the shard's folder */
    const char *shard;
};

static enum err copy_slot(void *context, const char *name, bool is_directory)
{
    const struct copying *copying = context;
    char from[DIR_PATH_MAX];
    char to[DIR_PATH_MAX];
    char label[512];

    if (is_directory) {
        return ERR_OK;
    }
    (void)snprintf(label, sizeof(label), "journal-%s-%.200s", copying->shard,
                   name);
    enum err err = dir_join(from, copying->from, name);
    if (err == ERR_OK) {
        err = aside_path(copying->repair, NULL, label, to);
    }
    return err == ERR_OK ? copy_bytes(from, to, 0) : err;
}

static enum err copy_shard(void *context, const char *name, bool is_directory)
{
    struct copying *copying = context;

    if (!is_directory) {
        return ERR_OK;
    }
    copying->shard = name;
    enum err err = dir_join(copying->from, copying->journals, name);
    return err == ERR_OK ? dir_each(copying->from, copy_slot, copying) : err;
}

enum err repair_keep_journals(struct repair *repair)
{
    struct copying copying = {.repair = repair};
    enum err err = dir_join(copying.journals, repair->directory, "journal");

    return err == ERR_OK ? dir_each(copying.journals, copy_shard, &copying)
                         : err;
}

/* --- segments ------------------------------------------------------------- */

/* A segment being written anew. */
struct rewriting {
    struct restore_log log;
    const struct repair_topic *topic;
    uint64_t first;
    uint64_t end; /* numbers from here on are another segment's */
};

static enum err take_record(void *context, uint64_t sequence, struct str bytes)
{
    struct rewriting *rewriting = context;

    if (sequence >= rewriting->end) {
        return ERR_RANGE; /* that is all of it */
    }
    if (sequence < rewriting->first ||
        topic_gaps_has(&rewriting->topic->lost, sequence, sequence + 1)) {
        return ERR_OK;
    }
    return restore_log_put(&rewriting->log, bytes);
}

/* Put one of the new files in place, its index first gone, last there. */
static enum err place(const char *staging, const char *folder, uint64_t first)
{
    char from[DIR_PATH_MAX];
    char to[DIR_PATH_MAX];
    enum err err = ERR_OK;

    for (int index = 0; err == ERR_OK && index < 2; index++) {
        err = segment_path(from, staging, first, index == 1);
        if (err == ERR_OK) {
            err = segment_path(to, folder, first, index == 1);
        }
        if (err == ERR_OK) {
            err = file_rename(from, to);
        }
    }
    return err;
}

/* A folder of new segments. */
struct placing {
    const struct repair *repair;
    const char *folder;
    uint64_t replaced; /* the segment in whose place they come */
    bool found;        /* one has its number */
};

static enum err place_other(void *context, const char *name, bool is_directory)
{
    struct placing *placing = context;
    uint64_t first = 0;

    if (is_directory || !segment_name_parse(name, false, &first)) {
        return ERR_OK;
    }
    if (first == placing->replaced) {
        placing->found = true;
        return ERR_OK;
    }
    return place(placing->repair->staging, placing->folder, first);
}

/* Put the new files in the place of a segment: those behind it first, so that
 * at each moment all that is whole is in one of them. */
static enum err replace(const struct repair *repair,
                        const char *topic,
                        const char *folder,
                        uint64_t first)
{
    char name[SEGMENT_NAME_MAX];
    char index_name[SEGMENT_NAME_MAX];
    struct placing placing = {
        .repair = repair, .folder = folder, .replaced = first};

    segment_name(name, first, false);
    segment_name(index_name, first, true);
    enum err err = keep(repair, topic, folder, name);
    if (err == ERR_OK) {
        err = set_aside(repair, topic, folder, index_name);
    }
    if (err == ERR_OK) {
        err = dir_each(repair->staging, place_other, &placing);
    }
    if (err == ERR_OK && placing.found) {
        err = place(repair->staging, folder, first);
    } else if (err == ERR_OK) {
        char path[DIR_PATH_MAX];
        err = dir_join(path, folder, name);
        err = err == ERR_OK ? file_remove(path) : err;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    return err == ERR_OK ? dir_sync(folder) : err;
}

/* Where the segment behind one begins. */
static enum err next_segment(const char *folder, uint64_t first, uint64_t *out)
{
    struct topic_folder list;
    enum err err = topic_folder_list(folder, &list);

    *out = UINT64_MAX;
    for (size_t index = list.count; err == ERR_OK && index > 0; index--) {
        if (list.firsts[index - 1] > first) {
            *out = list.firsts[index - 1];
        }
    }
    if (err == ERR_OK) {
        topic_folder_fini(&list);
    }
    return err;
}

static enum err rewrite(struct repair *repair,
                        struct snapshot *snapshot,
                        const struct repair_topic *topic,
                        const char *folder,
                        uint64_t first)
{
    struct rewriting rewriting = {.topic = topic, .first = first};
    const struct snapshot_visit visit = {.record = take_record,
                                         .context = &rewriting};

    enum err err = dir_remove(repair->staging);
    if (err == ERR_OK || err == ERR_NOT_FOUND) {
        err = dir_create(repair->staging);
    }
    if (err == ERR_OK) {
        err = next_segment(folder, first, &rewriting.end);
    }
    if (err != ERR_OK) {
        return err;
    }
    restore_log_init(&rewriting.log, repair->staging);
    err = snapshot_read(snapshot, topic->topic, first, &visit);
    err = err == ERR_RANGE ? ERR_OK : err;
    if (err == ERR_OK) {
        err = restore_log_finish(&rewriting.log);
    }
    restore_log_fini(&rewriting.log);
    if (err == ERR_OK) {
        err = replace(repair, topic->topic->name, folder, first);
    }
    return err == ERR_OK ? dir_remove(repair->staging) : err;
}

/* Cut what is no record off the end of the last segment. */
static enum err cut_tail(struct repair *repair,
                         const struct repair_topic *topic,
                         const char *folder)
{
    char name[SEGMENT_NAME_MAX];
    char kept[SEGMENT_NAME_MAX + 8];
    char path[DIR_PATH_MAX];
    char aside[DIR_PATH_MAX];
    uint64_t size = 0;
    int fd = -1;

    segment_name(name, topic->tail, false);
    (void)snprintf(kept, sizeof(kept), "%s.tail", name);
    enum err err = dir_join(path, folder, name);
    if (err == ERR_OK) {
        err = aside_path(repair, topic->topic->name, kept, aside);
    }
    if (err == ERR_OK) {
        err = file_open(path, FILE_WRITE, &fd);
    }
    if (err == ERR_OK) {
        err = file_size(fd, &size);
    }
    if (err == ERR_OK && size < SEGMENT_HEAD_SIZE) {
        file_close(fd);
        return set_aside(repair, topic->topic->name, folder, name);
    }
    if (err == ERR_OK) {
        err = copy_bytes(path, aside, topic->tail_at);
    }
    if (err == ERR_OK) {
        err = file_truncate(fd, topic->tail_at);
    }
    if (err == ERR_OK) {
        err = file_sync(fd);
    }
    file_close(fd);
    return err;
}

/* --- state ---------------------------------------------------------------- */

/* Write a `dlv` anew. `name` is its path in the topic's folder. */
static enum err write_dlv(const struct repair *repair,
                          const struct snapshot_topic *of,
                          const char *topic,
                          const char *folder,
                          const char *name,
                          struct topic_state_key key)
{
    struct topic_state_slots slots = {0};
    const struct topic_cursor start = {.next = of->oldest};

    key.topic_id = of->id;
    enum err err = set_aside(repair, topic, folder, name);
    if (err == ERR_OK) {
        err = topic_state_store_dlv(
            &key, of->cursor != NULL ? of->cursor : &start, &slots);
    }
    return err == ERR_OK ? topic_state_sync(key.directory, false) : err;
}

/* Mend a view: set aside a topic.conf that is damaged, write `dlv` anew. One
 * that says nowhere who it is goes as a whole. */
static enum err mend_view(const struct repair *repair,
                          const struct snapshot_topic *view,
                          const char *topic,
                          const char *folder,
                          uint64_t checkpoint)
{
    char views[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    char name[DIR_PATH_MAX];
    char *memory = NULL;
    struct topic_conf conf = {0};
    const struct topic_state_key key = {.directory = path,
                                        .checkpoint = checkpoint};

    enum err err = dir_join(views, folder, TOPIC_CONF_VIEWS);
    if (err == ERR_OK) {
        err = dir_join(path, views, view->name);
    }
    if (err != ERR_OK || !view->in_folder) {
        return err;
    }
    (void)snprintf(name, sizeof(name), TOPIC_CONF_VIEWS "/%s", view->name);
    if (view->id == 0) {
        return set_aside(repair, topic, folder, name);
    }
    bool damaged = topic_conf_load(path, &memory, &conf) == ERR_CORRUPT;
    free(memory);
    if (damaged) {
        (void)snprintf(name, sizeof(name), TOPIC_CONF_VIEWS "/%s/topic.conf",
                       view->name);
        err = set_aside(repair, topic, folder, name);
    }
    (void)snprintf(name, sizeof(name), TOPIC_CONF_VIEWS "/%s/dlv", view->name);
    return err == ERR_OK ? write_dlv(repair, view, topic, folder, name, key)
                         : err;
}

/* Write `cmd` anew: no segment is open, so the next message begins one. */
static enum err write_cmd(const struct repair *repair,
                          const struct repair_topic *topic,
                          const struct topic_state_key *key)
{
    struct topic_state_slots slots = {0};
    struct topic_state_cmd cmd = {
        .end = topic->end,
        .oldest = topic->topic->oldest,
        .open_first = topic->end,
    };
    struct topic_folder list;
    enum err err = topic_folder_list(key->directory, &list);

    if (err != ERR_OK) {
        return err;
    }
    if (cmd.oldest == 0 && topic->topic->cmd_end == 0) {
        cmd.oldest = list.count > 0 ? list.firsts[0] : cmd.end;
    }
    topic_folder_fini(&list);
    err = set_aside(repair, topic->topic->name, key->directory, "cmd");
    return err == ERR_OK ? topic_state_store_cmd(key, &cmd, &slots) : err;
}

static enum err mend_state(struct repair *repair,
                           struct snapshot *snapshot,
                           const struct repair_topic *topic,
                           const char *folder)
{
    uint64_t checkpoint = snapshot_checkpoint(snapshot, topic->topic->name);
    const struct topic_state_key key = {
        .directory = folder,
        .topic_id = topic->topic->id,
        .checkpoint = checkpoint - 1,
    };

    if (checkpoint == 0 || topic->topic->id == 0) {
        return ERR_OK; /* none would be believed */
    }
    enum err err = write_cmd(repair, topic, &key);
    if (err == ERR_OK) {
        err = write_dlv(repair, topic->topic, topic->topic->name, folder, "dlv",
                        key);
    }
    for (size_t index = 0; err == ERR_OK && index < snapshot_count(snapshot);
         index++) {
        const struct snapshot_topic *view = snapshot_at(snapshot, index);
        if (!view->deleted && view->conf.parent == topic->topic->id) {
            err = mend_view(repair, view, topic->topic->name, folder,
                            checkpoint - 1);
        }
    }
    return err == ERR_OK ? topic_state_sync(folder, true) : err;
}

/* --- topics --------------------------------------------------------------- */

static enum err write_gaps(struct repair *repair,
                           const struct repair_topic *topic,
                           const char *folder)
{
    struct topic_gaps gaps = {0};
    const struct topic_gaps *both[] = {&topic->known, &topic->lost};
    enum err err = topic->gaps
                       ? set_aside(repair, topic->topic->name, folder, "gaps")
                       : ERR_OK;

    for (size_t list = 0; list < 2; list++) {
        for (size_t index = 0; err == ERR_OK && index < both[list]->count;
             index++) {
            err = topic_gaps_add(&gaps, both[list]->gaps[index].first,
                                 both[list]->gaps[index].end);
        }
    }
    if (err == ERR_OK && gaps.count > 0) {
        err = topic_gaps_store(folder, &gaps);
    }
    topic_gaps_fini(&gaps);
    return err;
}

static enum err mend_indexes(struct repair *repair,
                             const struct repair_topic *topic,
                             const char *folder)
{
    enum err err = ERR_OK;

    for (size_t index = 0; err == ERR_OK && index < topic->index_count;
         index++) {
        uint64_t first = topic->indexes[index];
        err = topic_inspect_mend_index(folder, first);
        if (err == ERR_NOT_FOUND) {
            char name[SEGMENT_NAME_MAX];
            segment_name(name, first, true);
            err = set_aside(repair, topic->topic->name, folder, name);
        }
    }
    return err;
}

static enum err set_bodies_aside(struct repair *repair,
                                 const struct repair_topic *topic,
                                 const char *folder)
{
    char blobs[DIR_PATH_MAX];
    enum err err = blob_folder(blobs, folder);

    for (size_t index = 0; err == ERR_OK && index < topic->body_count;
         index++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "%" PRIu64 "-%016" PRIx64,
                       topic->bodies[index].sequence, topic->bodies[index].id);
        err = set_aside(repair, topic->topic->name, blobs, name);
    }
    return err;
}

/* A topic.conf that is damaged: one without settings takes its place. */
static enum err mend_conf(struct repair *repair,
                          const struct repair_topic *topic,
                          const char *folder)
{
    char path[DIR_PATH_MAX];
    struct buf text = {0};
    const struct topic_conf conf = {.id = topic->topic->id,
                                    .created_ms = clock_wall_ms()};
    enum err err = set_aside(repair, topic->topic->name, folder, "topic.conf");

    if (err != ERR_OK || conf.id == 0) {
        return err; /* the next start gives it an id */
    }
    topic_conf_write(&conf, &text);
    err = buf_err(&text);
    if (err == ERR_OK) {
        err = dir_join(path, folder, "topic.conf");
    }
    if (err == ERR_OK) {
        err = file_replace(path, text.data, text.size);
    }
    buf_fini(&text);
    return err;
}

enum err repair_topic(struct repair *repair,
                      struct snapshot *snapshot,
                      const struct repair_topic *topic)
{
    char folder[DIR_PATH_MAX];
    enum err err = snapshot_path(snapshot, topic->topic, folder);

    if (err == ERR_OK && topic->conf) {
        err = mend_conf(repair, topic, folder);
    }
    if (err == ERR_OK && topic->tail_at != 0) {
        err = cut_tail(repair, topic, folder);
    }
    for (size_t index = 0; err == ERR_OK && index < topic->rewrite_count;
         index++) {
        err = rewrite(repair, snapshot, topic, folder, topic->rewrite[index]);
    }
    if (err == ERR_OK) {
        err = write_gaps(repair, topic, folder);
    }
    if (err == ERR_OK) {
        err = mend_indexes(repair, topic, folder);
    }
    if (err == ERR_OK) {
        err = set_bodies_aside(repair, topic, folder);
    }
    if (err == ERR_OK &&
        (topic->state || topic->rewrite_count > 0 || topic->lost.count > 0)) {
        err = mend_state(repair, snapshot, topic, folder);
    }
    return err == ERR_OK ? dir_sync(folder) : err;
}
