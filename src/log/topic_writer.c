/* The writing end of a topic's log.
 *
 * The happy path: records are gathered where they lie into a batch of up to
 * 1 MiB; it is written by one call, then the index entries that fell due by
 * another; then the position moves.
 *
 * What can fail: opening (descriptors, permissions), a write (full, device),
 * memory for the list of what waits for a sync. The policy: nothing of a batch
 * counts before all of it is written; whatever a failure left behind `size` is
 * overwritten by the next try or cut before the segment is sealed. A segment
 * whose end on disk is not what is believed of it is left as it is, and the
 * next one begun.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_writer.h"

#include "base/check.h"
#include "base/diag.h"
#include "log/bulk.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_PARTS_MAX = 128,
    BATCH_ENTRIES_MAX = 512,
    BATCH_SIZE_MAX = 1024 * 1024, /* a record may take it past this */
    SEALED_CAPACITY_FIRST = 4,
    PAGE_SIZE = 4096,
    WRITE_BACK_STEP = 512 * 1024,
};

/* What is written by one call. */
struct batch {
    struct iovec parts[BATCH_PARTS_MAX];
    uint32_t part_count;
    struct index_entry entries[BATCH_ENTRIES_MAX];
    uint32_t entry_count;
    uint64_t bytes;
    uint64_t beside;              /* bytes of bodies that lie beside */
    uint64_t end;                 /* sequence behind it */
    struct index_builder builder; /* behind it */
};

void topic_writer_init(struct topic_writer *writer, const char *directory)
{
    *writer = (struct topic_writer){
        .directory = directory,
        .fd = -1,
        .index_fd = -1,
    };
}

static void close_one(int *fd)
{
    file_close(*fd);
    *fd = -1;
}

void topic_writer_fini(struct topic_writer *writer)
{
    if (writer->directory == NULL) {
        return;
    }
    topic_writer_forget(writer);
    topic_writer_synced(writer);
    free(writer->sealed);
    writer->sealed = NULL;
    writer->sealed_capacity = 0;
}

/* --- the open segment ----------------------------------------------------- */

/* Make room in the list of what waits for a sync. */
static enum err grow_sealed(struct topic_writer *writer)
{
    if (writer->sealed_count < writer->sealed_capacity) {
        return ERR_OK;
    }
    uint32_t capacity = writer->sealed_capacity * 2;
    capacity = capacity != 0 ? capacity : SEALED_CAPACITY_FIRST;
    struct topic_unsynced *sealed =
        realloc(writer->sealed, capacity * sizeof(*sealed));
    if (sealed == NULL) {
        return ERR_NOMEM;
    }
    writer->sealed = sealed;
    writer->sealed_capacity = capacity;
    return ERR_OK;
}

/* Cut what a failed write left behind the end of both files. */
static enum err cut(struct topic_writer *writer)
{
    enum err err = file_truncate(writer->fd, writer->size);
    if (err == ERR_OK) {
        err = file_truncate(writer->index_fd,
                            (uint64_t)writer->builder.count * INDEX_ENTRY_SIZE);
    }
    writer->cut_needed = err != ERR_OK;
    return err;
}

static enum err open_index(struct topic_writer *writer)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, writer->directory, writer->first, true);
    if (err != ERR_OK) {
        return err;
    }
    return file_open(path, FILE_WRITE | FILE_CREATE, &writer->index_fd);
}

/* Find out where the index of the open segment goes on, and mend it.
 * Errors: ERR_CORRUPT  the segment does not end as it is believed to */
static enum err load_builder(struct topic_writer *writer)
{
    struct index_segment segment = {
        .directory = writer->directory,
        .first = writer->first,
        .end = writer->end,
        .size = writer->size,
        .fd = writer->fd,
        .exact = true,
    };
    struct index_content content;
    enum err err = index_load(&segment, &content);
    if (err != ERR_OK) {
        return err;
    }
    if (content.end != writer->end || content.end_offset != writer->size) {
        err = ERR_CORRUPT;
    } else if (!content.in_order) {
        err = index_store(&segment, &content);
    }
    if (err == ERR_OK) {
        writer->builder = content.builder;
        writer->has_builder = true;
    }
    index_content_fini(&content);
    return err;
}

/* Have the files of the open segment open, and nothing behind its end.
 * Errors: ERR_NOT_FOUND, ERR_CORRUPT: it is not as it should be; and those of
 *         topic_writer_append() */
static enum err reopen(struct topic_writer *writer)
{
    enum err err = ERR_OK;
    if (writer->fd < 0) {
        uint64_t size = 0;
        err = segment_open(writer->directory, writer->first, true, &writer->fd,
                           &size);
        if (err == ERR_OK && size < writer->size) {
            err = ERR_CORRUPT;
        }
        if (err != ERR_OK) {
            return err;
        }
        writer->cut_needed = writer->cut_needed || size > writer->size;
    }
    if (!writer->has_builder) {
        err = load_builder(writer);
    }
    if (err == ERR_OK && writer->index_fd < 0) {
        err = open_index(writer);
    }
    if (err == ERR_OK && writer->cut_needed) {
        err = cut(writer);
    }
    return err;
}

/* Let the open segment be, as it is. */
static enum err seal(struct topic_writer *writer)
{
    enum err err = ERR_OK;
    if (writer->cut_needed) {
        err = reopen(writer);
        if (err == ERR_NOT_FOUND || err == ERR_CORRUPT) {
            err = ERR_OK; /* not as it should be: hands off */
        }
    }
    if (err == ERR_OK && writer->dirty) {
        err = grow_sealed(writer);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (writer->dirty) {
        writer->sealed[writer->sealed_count++] =
            (struct topic_unsynced){writer->first, writer->fd};
        writer->fd = -1;
    }
    topic_writer_forget(writer);
    return ERR_OK;
}

/* Begin the segment of a sequence. */
static enum err roll(struct topic_writer *writer,
                     uint64_t first,
                     const struct topic_writer_watch *watch)
{
    enum err err = ERR_OK;
    if (writer->open) {
        err = seal(writer);
    }
    if (err == ERR_OK) {
        err = topic_writer_folder(writer);
    }
    if (err != ERR_OK) {
        return err;
    }
    writer->first = first; /* not open yet: nothing counts so far */
    writer->end = first;
    writer->size = SEGMENT_HEAD_SIZE;
    writer->beside = 0;
    writer->written_back = 0;
    index_builder_init(&writer->builder, first);
    err = watch->begin(watch->context, writer);
    if (err == ERR_OK) {
        err = segment_create(writer->directory, first, clock_wall_ms(),
                             &writer->fd);
    }
    if (err == ERR_OK) {
        writer->names_dirty = true;
        err = open_index(writer);
    }
    if (err == ERR_OK) {
        err = file_truncate(writer->index_fd, 0);
    }
    if (err != ERR_OK) {
        topic_writer_forget(writer);
        return err;
    }
    writer->open = true;
    writer->has_builder = true;
    writer->dirty = true;
    watch->grown(watch->context, writer);
    return ERR_OK;
}

/* Have a segment open that takes the record next. */
static enum err prepare(struct topic_writer *writer,
                        const struct segment_record *record,
                        const struct topic_writer_watch *watch)
{
    bool fits =
        writer->open && record->sequence == writer->end &&
        (writer->end == writer->first ||
         (writer->size + writer->beside + record->size + record->beside <=
              writer->size_max &&
          writer->end - writer->first < writer->count_max));
    if (!fits) {
        return roll(writer, record->sequence, watch);
    }
    enum err err = watch->begin(watch->context, writer);
    if (err == ERR_OK) {
        err = reopen(writer);
    }
    if (err == ERR_NOT_FOUND || err == ERR_CORRUPT) {
        DIAG_WARN("segment_end_damaged",
                  "path=%s/%" PRIu64 ".msg end=%" PRIu64 " err=%s",
                  writer->directory, writer->first, writer->end, err_text(err));
        writer->cut_needed = false; /* hands off */
        return roll(writer, record->sequence, watch);
    }
    return err;
}

/* --- append --------------------------------------------------------------- */

/* Have what was written go to the disk bit by bit: the sync of a checkpoint
 * would have the device busy with all of it at once, and commits wait. The
 * last page waits, since more is coming to it. */
static void write_back(struct topic_writer *writer)
{
    uint64_t from = writer->written_back - writer->written_back % PAGE_SIZE;
    uint64_t whole = writer->size - writer->size % PAGE_SIZE;
    if (whole < from + WRITE_BACK_STEP) {
        return;
    }
    file_write_back(writer->fd, from, whole - from);
    writer->written_back = whole;
}

/* Write a batch to the open segment. */
static enum err commit(struct topic_writer *writer,
                       struct batch *batch,
                       const struct topic_writer_watch *watch)
{
    if (batch->bytes == 0) {
        return ERR_OK;
    }
    writer->dirty = true;
    enum bulk_way way = BULK_CACHED;
    enum err err =
        writer->direct
            ? bulk_write(writer->fd, batch->parts, batch->part_count,
                         writer->size, batch->bytes, &way)
            : file_write_parts(writer->fd, batch->parts, batch->part_count,
                               writer->size, false);
    if (err == ERR_OK && batch->entry_count > 0) {
        err = file_write_at(writer->index_fd, batch->entries,
                            (size_t)batch->entry_count * INDEX_ENTRY_SIZE,
                            (uint64_t)writer->builder.count * INDEX_ENTRY_SIZE,
                            false);
    }
    if (err != ERR_OK) {
        writer->cut_needed = true;
        return err;
    }
    writer->builder = batch->builder;
    writer->size += batch->bytes;
    writer->beside += batch->beside;
    writer->end = batch->end;
    writer->position = batch->end;
    writer->direct = writer->direct && way != BULK_REFUSED;
    write_back(writer);
    watch->grown(watch->context, writer);
    return ERR_OK;
}

/* Tell whether a record goes into the batch that is being gathered. */
static bool batch_takes(const struct topic_writer *writer,
                        const struct batch *batch,
                        const struct segment_record *record)
{
    if (batch->bytes == 0 || batch->bytes >= BATCH_SIZE_MAX ||
        batch->entry_count == BATCH_ENTRIES_MAX ||
        batch->part_count == BATCH_PARTS_MAX) {
        return false;
    }
    return record->sequence == batch->end &&
           writer->size + writer->beside + batch->bytes + batch->beside +
                   record->size + record->beside <=
               writer->size_max &&
           batch->end - writer->first < writer->count_max;
}

/* Add a record's bytes; those behind the last ones lengthen their part. */
static void batch_add(const struct topic_writer *writer,
                      struct batch *batch,
                      const char *bytes,
                      const struct segment_record *record)
{
    uint64_t offset = writer->size + batch->bytes;
    struct iovec *last = batch->parts + batch->part_count;
    if (batch->part_count > 0 &&
        (char *)last[-1].iov_base + last[-1].iov_len == bytes) {
        last[-1].iov_len += record->size;
    } else {
        /* The kernel's type has no const for what is only written out. */
        union {
            const char *in;
            char *out;
        } base = {.in = bytes};
        *last = (struct iovec){base.out, record->size};
        batch->part_count++;
    }
    if (index_builder_add(&batch->builder, record->sequence, offset,
                          record->pushed_at_ms,
                          &batch->entries[batch->entry_count])) {
        batch->entry_count++;
    }
    batch->bytes += record->size;
    batch->beside += record->beside;
    batch->end = record->sequence + 1;
}

/* Add a record, after writing what was gathered if that is due. */
static enum err append_one(struct topic_writer *writer,
                           struct batch *batch,
                           const char *bytes,
                           const struct segment_record *record,
                           const struct topic_writer_watch *watch)
{
    if (!batch_takes(writer, batch, record)) {
        enum err err = commit(writer, batch, watch);
        if (err == ERR_OK) {
            err = prepare(writer, record, watch);
        }
        if (err != ERR_OK) {
            return err;
        }
        batch->part_count = 0;
        batch->entry_count = 0;
        batch->bytes = 0;
        batch->beside = 0;
        batch->builder = writer->builder;
    }
    batch_add(writer, batch, bytes, record);
    return ERR_OK;
}

enum err topic_writer_append(struct topic_writer *writer,
                             const struct topic_tail *row,
                             const struct topic_writer_watch *watch)
{
    struct batch batch;
    batch.part_count = 0;
    batch.entry_count = 0;
    batch.bytes = 0;
    batch.beside = 0;
    for (const struct topic_chunk *chunk = row->head; chunk != NULL;
         chunk = chunk->next) {
        if (chunk->end <= writer->position) {
            continue;
        }
        for (size_t at = 0; at < chunk->size;) {
            struct segment_record record = topic_tail_record(chunk, at);
            const char *bytes = chunk->bytes + at;
            at += record.size;
            if (record.sequence < writer->position) {
                continue;
            }
            enum err err = append_one(writer, &batch, bytes, &record, watch);
            if (err != ERR_OK) {
                return err;
            }
        }
    }
    return commit(writer, &batch, watch);
}

enum err topic_writer_folder(struct topic_writer *writer)
{
    if (writer->folder_known) {
        return ERR_OK;
    }
    enum err err = dir_create(writer->directory);
    if (err == ERR_OK) {
        writer->folder_known = true;
        writer->names_dirty = true;
    }
    return err == ERR_EXISTS ? ERR_IO : err;
}

/* --- sync ----------------------------------------------------------------- */

/* Sync an index. One that is gone was dropped with its segment. */
static enum err sync_index(const struct topic_writer *writer, uint64_t first)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, writer->directory, first, true);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_WRITE, &fd);
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    err = file_sync(fd);
    file_close(fd);
    return err;
}

/* Make the names in the folder durable, and the folder's own. */
static enum err sync_names(const struct topic_writer *writer)
{
    enum err err = dir_sync(writer->directory);
    const char *slash = strrchr(writer->directory, '/');
    if (err != ERR_OK || !writer->folder_new || slash == NULL) {
        return err == ERR_NOT_FOUND ? ERR_IO : err;
    }
    char parent[DIR_PATH_MAX];
    size_t size = (size_t)(slash - writer->directory);
    CHECK(size < sizeof(parent) - 1);
    memcpy(parent, writer->directory, size);
    parent[size] = '\0';
    err = dir_sync(size > 0 ? parent : "/");
    return err == ERR_NOT_FOUND ? ERR_IO : err;
}

enum err topic_writer_sync(struct topic_writer *writer)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < writer->sealed_count && err == ERR_OK; i++) {
        err = file_sync(writer->sealed[i].fd);
        if (err == ERR_OK) {
            err = sync_index(writer, writer->sealed[i].first);
        }
    }
    if (err == ERR_OK && writer->open && writer->dirty) {
        err = file_sync(writer->fd);
        if (err == ERR_OK) {
            err = sync_index(writer, writer->first);
        }
    }
    if (err == ERR_OK && writer->names_dirty) {
        err = sync_names(writer);
    }
    if (err == ERR_OK) {
        topic_writer_synced(writer);
    }
    return err;
}

void topic_writer_synced(struct topic_writer *writer)
{
    for (uint32_t i = 0; i < writer->sealed_count; i++) {
        file_close(writer->sealed[i].fd);
    }
    writer->sealed_count = 0;
    writer->dirty = false;
    writer->names_dirty = false;
    writer->folder_new = false;
}

/* --- files ---------------------------------------------------------------- */

void topic_writer_close_files(struct topic_writer *writer)
{
    close_one(&writer->index_fd);
    if (!writer->dirty) {
        close_one(&writer->fd);
    }
}

void topic_writer_forget(struct topic_writer *writer)
{
    close_one(&writer->fd);
    close_one(&writer->index_fd);
    writer->open = false;
    writer->has_builder = false;
    writer->cut_needed = false;
    writer->dirty = false;
}

uint32_t topic_writer_files(const struct topic_writer *writer)
{
    return writer->sealed_count + (writer->fd >= 0 ? 1 : 0) +
           (writer->index_fd >= 0 ? 1 : 0);
}
