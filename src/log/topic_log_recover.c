/* Opening a topic's log.
 *
 * The happy path: `cmd` is believed, and so the folder is listed, the sizes of
 * its segments are taken, and no record is read. What lies behind the end that
 * `cmd` names was written after that checkpoint. It is not synced and may have
 * holes, yet the journal has all of it; but if `cmd` itself is an old one, or
 * gone, it may be all there is. So nothing is cut before the replay shows
 * which it is: see topic_log_append() and topic_log_settle().
 *
 * Without a believable `cmd` the end is where the first damage is, or a gap
 * between segments, and the rest begins there.
 *
 * What makes no sense is left alone, or put aside under the name
 * `<N>.msg.damaged` when its own name is going to be used.
 *
 * SPDX-License-Identifier: MIT
 */

#include "log/topic_log_internal.h"

#include "base/check.h"
#include "base/diag.h"
#include "log/topic_folder.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct topic_segment *last_of(struct topic_log *log)
{
    CHECK(!list_empty(&log->segments));
    return CONTAINER_OF(log->segments.prev, struct topic_segment, link);
}

/* --- segments ------------------------------------------------------------- */

/* Open a segment for a look, and give its size on disk. */
static enum err open_sized(const struct topic_log *log,
                           struct topic_segment *segment,
                           uint64_t *out_size)
{
    enum err err = topic_segment_open(segment, log->directory);
    if (err != ERR_OK) {
        return err;
    }
    return file_size(segment->fd, out_size);
}

/* Make the object of a file that is there, with its size on disk. */
static enum err look(const struct topic_log *log,
                     uint64_t first,
                     struct topic_segment **out_segment,
                     uint64_t *out_size)
{
    struct topic_segment *segment = topic_segment_create(first);
    if (segment == NULL) {
        return ERR_NOMEM;
    }
    enum err err = open_sized(log, segment, out_size);
    if (err != ERR_OK) {
        topic_segment_destroy(segment);
        return err == ERR_NOT_FOUND || err == ERR_TOO_LARGE ? ERR_IO : err;
    }
    *out_segment = segment;
    return ERR_OK;
}

/* Remember segments [from, count) as the rest. */
static enum err set_rest(struct topic_log *log,
                         const struct topic_folder *folder,
                         size_t from,
                         bool behind_last,
                         bool walked)
{
    size_t count = folder->count - from;
    if (count == 0 && !behind_last && !walked) {
        return ERR_OK;
    }
    struct topic_rest *rest =
        malloc(sizeof(*rest) + count * sizeof(rest->firsts[0]));
    if (rest == NULL) {
        return ERR_NOMEM;
    }
    rest->behind_last = behind_last;
    rest->walked = walked;
    rest->count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        rest->firsts[i] = folder->firsts[from + i];
    }
    log->rest = rest;
    return ERR_OK;
}

/* Let the writer go on at the end of the last segment. */
static void writer_continue(struct topic_log *log)
{
    const struct topic_segment *last = last_of(log);
    CHECK(last->exact);
    log->writer.open = true;
    log->writer.first = last->first;
    log->writer.end = last->end;
    log->writer.size = last->size;
}

/* --- with cmd ------------------------------------------------------------- */

/* What one segment is, by `cmd`, `next` being where the one behind begins. */
static enum err believe_one(struct topic_log *log,
                            const struct topic_state_cmd *cmd,
                            uint64_t first,
                            uint64_t next,
                            bool *out_behind)
{
    bool open = cmd->open_size != 0 && first == cmd->open_first;
    if (cmd->open_size != 0 && first > cmd->open_first) {
        DIAG_WARN("segment_senseless", "path=%s/%" PRIu64 ".msg open=%" PRIu64,
                  log->directory, first, cmd->open_first);
        return ERR_OK;
    }
    struct topic_segment *segment = NULL;
    uint64_t size = 0;
    enum err err = look(log, first, &segment, &size);
    if (err != ERR_OK) {
        return err;
    }
    topic_segment_close(segment);
    segment->end = open || next > cmd->end ? cmd->end : next;
    segment->size = open && size > cmd->open_size ? cmd->open_size : size;
    if (segment->size < SEGMENT_HEAD_SIZE) {
        segment->size = SEGMENT_HEAD_SIZE; /* nothing to read in it */
    }
    list_append(&log->segments, &segment->link);
    if (!open) {
        return ERR_OK;
    }
    if (size < cmd->open_size) {
        DIAG_WARN("segment_short",
                  "path=%s/%" PRIu64 ".msg size=%" PRIu64 " believed=%" PRIu64,
                  log->directory, first, size, cmd->open_size);
        return ERR_OK; /* nothing is appended to it any more */
    }
    segment->exact = true;
    *out_behind = size > cmd->open_size;
    writer_continue(log);
    return ERR_OK;
}

/* Fill the log as `cmd` says. */
static enum err believe(struct topic_log *log,
                        const struct topic_state_cmd *cmd,
                        const struct topic_folder *folder)
{
    size_t count = folder->count;
    bool behind_last = false;
    size_t i = 0;
    for (; i < count && folder->firsts[i] < cmd->end; i++) {
        uint64_t next = i + 1 < count ? folder->firsts[i + 1] : UINT64_MAX;
        enum err err =
            believe_one(log, cmd, folder->firsts[i], next, &behind_last);
        if (err != ERR_OK) {
            return err;
        }
    }
    /* An open segment without a record, and none of the rest. */
    if (i < count && folder->firsts[i] == cmd->end && cmd->open_size != 0 &&
        cmd->open_first == cmd->end) {
        enum err err =
            believe_one(log, cmd, cmd->end, UINT64_MAX, &behind_last);
        if (err != ERR_OK) {
            return err;
        }
        i++;
    }
    log->stats.end = cmd->end;
    log->stats.oldest = cmd->oldest;
    log->stats.quarantined = cmd->quarantined;
    return set_rest(log, folder, i, behind_last, false);
}

/* --- without cmd ---------------------------------------------------------- */

/* Walk a segment as far as it is whole, record by record. */
static enum err walk_whole(struct topic_segment *segment, uint64_t size)
{
    struct segment_walk walk;
    segment_walk_init(&walk, segment->fd, SEGMENT_HEAD_SIZE, size,
                      segment->first);
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        struct segment_step step;
        err = segment_walk_next(&walk, &step);
    }
    segment->end = walk.sequence;
    segment->size = walk.offset;
    segment->exact = true;
    segment_walk_fini(&walk);
    return err == ERR_CORRUPT || err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Fill the log as far as its records are whole. */
static enum err walk_all(struct topic_log *log,
                         const struct topic_folder *folder)
{
    size_t count = folder->count;
    if (count == 0) {
        return ERR_OK;
    }
    bool whole = true;
    size_t i = 0;
    uint64_t end = folder->firsts[0];
    log->stats.oldest = end;
    while (i < count && whole && folder->firsts[i] == end) {
        struct topic_segment *segment = NULL;
        uint64_t size = 0;
        enum err err = look(log, folder->firsts[i], &segment, &size);
        if (err != ERR_OK) {
            return err;
        }
        list_append(&log->segments, &segment->link);
        err = walk_whole(segment, size);
        topic_segment_close(segment);
        if (err != ERR_OK) {
            return err;
        }
        whole = segment->size == size;
        end = segment->end;
        i++;
        if (segment->end == segment->first && i < count) {
            break; /* the next one has another number, so this is a hole */
        }
    }
    log->stats.end = end;
    writer_continue(log);
    DIAG_INFO("topic_walked", "path=%s segments=%zu end=%" PRIu64 " whole=%d",
              log->directory, i, end, whole ? 1 : 0);
    return set_rest(log, folder, i, !whole, true);
}

/* --- open ----------------------------------------------------------------- */

/* Build the indexes that are not there, now rather than at the first read. */
static enum err build_missing(struct topic_log *log,
                              const struct topic_folder *folder)
{
    for (struct list *node = log->segments.next; node != &log->segments;
         node = node->next) {
        struct topic_segment *segment =
            CONTAINER_OF(node, struct topic_segment, link);
        if (segment->size <= SEGMENT_HEAD_SIZE ||
            topic_folder_has_index(folder, segment->first)) {
            continue;
        }
        enum err err = topic_segment_open_index(segment, log->directory, true);
        topic_segment_close(segment);
        if (err != ERR_OK) {
            return err == ERR_NOT_FOUND || err == ERR_TOO_LARGE ? ERR_IO : err;
        }
    }
    return ERR_OK;
}

/* The oldest sequence is at least that of the first segment; nothing that is
 * not on disk comes before it. */
static void raise_oldest(struct topic_log *log)
{
    uint64_t first = log->stats.end;
    if (!list_empty(&log->segments)) {
        first =
            CONTAINER_OF(log->segments.next, struct topic_segment, link)->first;
    }
    if (log->stats.oldest < first) {
        log->stats.oldest = first;
    }
    topic_log_raise_oldest(log, log->stats.oldest);
}

static enum err fill(struct topic_log *log, const struct topic_folder *folder)
{
    struct topic_state_key key = {
        .directory = log->directory,
        .topic_id = log->topic_id,
        .checkpoint = log->checkpoint,
    };
    struct topic_state_cmd cmd;
    enum err err = topic_state_load_cmd(&key, &log->cmd_slots, &cmd);
    if (err == ERR_OK) {
        err = believe(log, &cmd, folder);
    } else if (err == ERR_NOT_FOUND) {
        err = walk_all(log, folder);
    }
    if (err != ERR_OK) {
        return err == ERR_TOO_LARGE ? ERR_IO : err;
    }
    log->stats.flushed = log->stats.end;
    log->writer.position = log->stats.end;
    raise_oldest(log);
    return build_missing(log, folder);
}

/* Read `dlv`. */
static enum err load_cursor(struct topic_log *log,
                            struct topic_cursor *out_cursor)
{
    struct topic_state_key key = {
        .directory = log->directory,
        .topic_id = log->topic_id,
        .checkpoint = log->checkpoint,
    };
    enum err err = topic_state_load_dlv(&key, &log->dlv_slots, out_cursor);
    if (err == ERR_NOT_FOUND) {
        *out_cursor = (struct topic_cursor){.next = log->stats.oldest};
        err = ERR_OK;
    }
    log->stats.state_stale =
        topic_state_stale(&log->cmd_slots, log->checkpoint) ||
        topic_state_stale(&log->dlv_slots, log->checkpoint);
    return err == ERR_TOO_LARGE ? ERR_IO : err;
}

enum err topic_log_recover(struct topic_log *log,
                           struct topic_cursor *out_cursor)
{
    struct topic_folder folder;
    if (log->view) {
        return load_cursor(log, out_cursor);
    }
    enum err err = topic_folder_list(log->directory, &folder);
    if (err == ERR_NOT_FOUND) {
        *out_cursor = (struct topic_cursor){0};
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    log->writer.folder_known = true;
    log->writer.folder_new = false;
    log->stats.plain = folder.plain;
    err = fill(log, &folder);
    topic_folder_fini(&folder);
    return err == ERR_OK ? load_cursor(log, out_cursor) : err;
}

/* --- settle --------------------------------------------------------------- */

/* Cut the file of a segment to its size. */
static enum err cut_file(const struct topic_log *log,
                         const struct topic_segment *segment)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, log->directory, segment->first, false);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_WRITE, &fd);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t size = 0;
    err = file_size(fd, &size);
    if (err == ERR_OK && size > segment->size) {
        err = file_truncate(fd, segment->size);
    }
    file_close(fd);
    return err;
}

/* Remove both files of a segment, or (`aside`) give the .msg another name. */
static enum err
clear_name(const struct topic_log *log, uint64_t first, bool aside)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, log->directory, first, true);
    if (err == ERR_OK) {
        err = file_remove(path);
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    err = segment_path(path, log->directory, first, false);
    if (err != ERR_OK) {
        return err;
    }
    if (!aside) {
        err = file_remove(path);
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    char name[DIR_PATH_MAX];
    size_t size = strlen(path);
    CHECK(size + sizeof(".damaged") <= sizeof(name)); /* see topic_log_open() */
    memcpy(name, path, size);
    memcpy(name + size, ".damaged", sizeof(".damaged"));
    DIAG_WARN("segment_put_aside", "path=%s", name);
    err = file_rename(path, name);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Let go of all segments: the journal begins before the first of them, so it
 * has them all, and the one before them was lost. */
static enum err cut_segments(struct topic_log *log, uint64_t first)
{
    while (!list_empty(&log->segments)) {
        struct topic_segment *last = last_of(log);
        enum err err = clear_name(log, last->first, false);
        if (err != ERR_OK) {
            return err;
        }
        log->hint = NULL;
        list_remove(&last->link);
        topic_segment_destroy(last);
    }
    topic_writer_forget(&log->writer);
    log->stats.end = first;
    log->stats.oldest = first;
    return ERR_OK;
}

/* Clear the names of the rest that begin at or past a sequence. */
static enum err cut_names(struct topic_log *log, uint64_t first)
{
    struct topic_rest *rest = log->rest;
    while (rest->count > 0 && rest->firsts[rest->count - 1] >= first) {
        enum err err = clear_name(log, rest->firsts[rest->count - 1], false);
        if (err != ERR_OK) {
            return err;
        }
        rest->count--;
    }
    return ERR_OK;
}

/* The journal brings it all again, from `first` on: cut. */
static enum err cut_rest(struct topic_log *log, uint64_t first)
{
    enum err err = ERR_OK;
    if (log->rest->walked && first < log->stats.oldest) {
        err = cut_segments(log, first);
    } else if (log->rest->behind_last) {
        err = cut_file(log, last_of(log));
    }
    return err == ERR_OK ? cut_names(log, 0) : err;
}

/* Take what is whole of a segment, from where it is believed so far, up to
 * sequence `until`. */
static enum err take_whole(struct topic_log *log,
                           struct topic_segment *segment,
                           uint64_t size,
                           uint64_t until)
{
    struct segment_landing landing = {.limit = size};
    struct segment_walk walk;
    segment_walk_init(&walk, segment->fd, segment->size, size, segment->end);
    enum err err = ERR_OK;
    while (err == ERR_OK && walk.sequence < until) {
        uint64_t expected = walk.sequence;
        struct segment_step step;
        err = segment_walk_next(&walk, &step);
        if (err == ERR_CORRUPT) {
            err = segment_walk_resync(&walk, &landing);
            if (err == ERR_OK && walk.sequence < until) {
                topic_log_note_lost(log, expected, walk.sequence);
            }
        } else if (err == ERR_OK) {
            segment->end = walk.sequence;
            segment->size = walk.offset;
        }
    }
    segment_walk_fini(&walk);
    segment->exact = true;
    segment->has_index = false;
    segment->has_time = false;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Take what is whole behind the last segment's believed size. */
static enum err take_behind_last(struct topic_log *log, uint64_t until)
{
    struct topic_segment *last = last_of(log);
    uint64_t size = 0;
    enum err err = open_sized(log, last, &size);
    if (err == ERR_OK) {
        err = take_whole(log, last, size, until);
    }
    topic_segment_close(last);
    return err;
}

/* Take what is whole of a segment of the rest. */
static enum err
take_segment(struct topic_log *log, uint64_t first, uint64_t until)
{
    struct topic_segment *segment = NULL;
    uint64_t size = 0;
    if (!list_empty(&log->segments) && first < last_of(log)->end) {
        return clear_name(log, first, true); /* another one has its records */
    }
    enum err err = look(log, first, &segment, &size);
    if (err != ERR_OK) {
        return err;
    }
    if (size > SEGMENT_HEAD_SIZE) {
        err = take_whole(log, segment, size, until);
    }
    topic_segment_close(segment);
    if (err != ERR_OK || segment->end == segment->first) {
        topic_segment_destroy(segment);
        return err == ERR_OK ? clear_name(log, first, true) : err;
    }
    if (segment->first > log->stats.end) {
        topic_log_note_lost(log, log->stats.end, segment->first);
    }
    list_append(&log->segments, &segment->link);
    return ERR_OK;
}

/* The journal brings nothing below `until`: take what is whole of that. */
static enum err take_rest(struct topic_log *log, uint64_t until)
{
    struct topic_rest *rest = log->rest;
    enum err err = cut_names(log, until);
    if (err == ERR_OK && rest->behind_last) {
        err = take_behind_last(log, until);
    }
    for (uint32_t i = 0; i < rest->count && err == ERR_OK; i++) {
        uint64_t first = rest->firsts[i];
        if (!list_empty(&log->segments) && last_of(log)->first >= first) {
            continue; /* taken by a call that failed further on */
        }
        if (!list_empty(&log->segments) && last_of(log)->end > log->stats.end) {
            log->stats.end = last_of(log)->end;
        }
        err = take_segment(log, first, until);
    }
    if (err != ERR_OK || list_empty(&log->segments)) {
        return err;
    }
    if (last_of(log)->end > log->stats.end) {
        log->stats.end = last_of(log)->end;
    }
    err = cut_file(log, last_of(log));
    if (err == ERR_OK && last_of(log)->end == log->stats.end) {
        topic_writer_forget(&log->writer);
        writer_continue(log);
    }
    return err;
}

enum err topic_log_settle(struct topic_log *log, uint64_t first)
{
    CHECK(log->rest != NULL && log->flush == NULL);
    CHECK(log->tail.head == NULL);
    uint64_t end = log->stats.end;
    bool covered = first <= end;
    enum err err = covered ? cut_rest(log, first) : take_rest(log, first);
    if (err == ERR_OK) {
        /* A name that came back after a power cut could lie inside a segment
         * that is rolled elsewhere this time. */
        err = dir_sync(log->directory);
    }
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND || err == ERR_TOO_LARGE ||
                       err == ERR_CORRUPT
                   ? ERR_IO
                   : err;
    }
    DIAG_INFO(covered ? "rest_cut" : "rest_taken",
              "path=%s from=%" PRIu64 " end=%" PRIu64, log->directory, end,
              log->stats.end);
    free(log->rest);
    log->rest = NULL;
    log->stats.flushed = log->stats.end;
    log->writer.position = log->stats.end;
    topic_log_raise_oldest(log, log->stats.oldest);
    return ERR_OK;
}
