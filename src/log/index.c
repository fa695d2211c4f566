/* The sparse index of a segment.
 *
 * Loading works from the front: of the file's entries the longest row is kept
 * that is ascending and inside the segment; from its end those are dropped at
 * whose offset no record with that sequence begins; behind the last one kept
 * the segment is walked, and entries are added as when it was written. So a
 * missing, short, torn or garbled file are one case, and a good file costs one
 * read of it and a walk over its last 4 KiB of records.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/index.h"

#include "base/check.h"
#include "log/record.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    INDEX_CAPACITY_FIRST = 64,
    OFFSET_UNIT = 8, /* of index_entry.offset8 */
};

static_assert(sizeof(struct index_entry) == INDEX_ENTRY_SIZE,
              "an entry is its bytes on disk");

/* --- build ---------------------------------------------------------------- */

void index_builder_init(struct index_builder *builder, uint64_t first)
{
    *builder = (struct index_builder){
        .first = first,
        .due_at = SEGMENT_HEAD_SIZE,
    };
}

bool index_builder_add(struct index_builder *builder,
                       uint64_t sequence,
                       uint64_t offset,
                       uint64_t pushed_at_ms,
                       struct index_entry *out_entry)
{
    CHECK(sequence - builder->first <= UINT32_MAX);
    CHECK(offset / OFFSET_UNIT <= UINT32_MAX && offset % OFFSET_UNIT == 0);
    if (pushed_at_ms > builder->time_max) {
        builder->time_max = pushed_at_ms;
    }
    if (offset < builder->due_at) {
        return false;
    }
    *out_entry = (struct index_entry){
        .relative = (uint32_t)(sequence - builder->first),
        .offset8 = (uint32_t)(offset / OFFSET_UNIT),
        .time_ms = builder->time_max,
    };
    builder->count++;
    builder->due_at = offset + INDEX_INTERVAL;
    return true;
}

/* Tell whether an entry may stand where it does, after the one before. */
static bool entry_follows(const struct index_entry *entries, uint32_t i)
{
    const struct index_entry *entry = &entries[i];
    if (i == 0) {
        return entry->relative == 0 &&
               index_entry_offset(entry) == SEGMENT_HEAD_SIZE;
    }
    return entry->relative > entry[-1].relative &&
           entry->offset8 > entry[-1].offset8 &&
           entry->time_ms >= entry[-1].time_ms;
}

bool index_entries_ordered(const struct index_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!entry_follows(entries, i)) {
            return false;
        }
    }
    return true;
}

/* --- load ----------------------------------------------------------------- */

void index_content_fini(struct index_content *content)
{
    free(content->entries);
    content->entries = NULL;
    content->capacity = 0;
    content->builder.count = 0;
}

/* Make room for one more entry. */
static enum err content_grow(struct index_content *content, uint32_t count)
{
    if (count < content->capacity) {
        return ERR_OK;
    }
    uint32_t capacity = content->capacity * 2;
    if (capacity < INDEX_CAPACITY_FIRST) {
        capacity = INDEX_CAPACITY_FIRST;
    }
    if (capacity <= count) {
        capacity = count + 1;
    }
    struct index_entry *entries =
        realloc(content->entries, (size_t)capacity * sizeof(*entries));
    if (entries == NULL) {
        return ERR_NOMEM;
    }
    content->entries = entries;
    content->capacity = capacity;
    return ERR_OK;
}

/* Read the file's entries; those behind the segment's size may be among them.
 * A file that is not there has none. */
static enum err read_file(const struct index_segment *segment,
                          struct index_content *content,
                          uint32_t *out_count,
                          uint64_t *out_size)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, segment->directory, segment->first, true);
    if (err != ERR_OK) {
        return err;
    }
    *out_count = 0;
    *out_size = UINT64_MAX; /* of no file: whatever is stored is a change */
    int fd = -1;
    err = file_open(path, FILE_READ, &fd);
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    uint64_t size = 0;
    err = file_size(fd, &size);
    /* No index has more entries than fit the segment. */
    uint64_t count_max = segment->size / INDEX_INTERVAL + 1;
    uint64_t count = size / INDEX_ENTRY_SIZE;
    count = count < count_max ? count : count_max;
    if (err == ERR_OK) {
        err = content_grow(content, (uint32_t)count);
    }
    size_t got = 0;
    if (err == ERR_OK) {
        err = file_read_at(fd, content->entries,
                           (size_t)count * INDEX_ENTRY_SIZE, 0, &got);
        if (err == ERR_IO) {
            err = ERR_OK; /* an index that cannot be read is one to rebuild */
            got = 0;
        }
    }
    file_close(fd);
    if (err == ERR_OK) {
        *out_count = (uint32_t)(got / INDEX_ENTRY_SIZE);
        *out_size = size;
    }
    return err;
}

/* Tell whether the record of an entry begins where it says. */
static enum err entry_names_record(const struct index_segment *segment,
                                   const struct index_entry *entry,
                                   bool *out_right)
{
    char bytes[RECORD_HEADER_SIZE];
    size_t size = 0;
    enum err err = file_read_at(segment->fd, bytes, sizeof(bytes),
                                index_entry_offset(entry), &size);
    if (err != ERR_OK) {
        return err;
    }
    struct segment_record record;
    *out_right =
        segment_record_head((struct str){bytes, size}, &record) == ERR_OK &&
        record.sequence == segment->first + entry->relative;
    return ERR_OK;
}

/* How many of the file's entries to keep. */
static enum err count_kept(const struct index_segment *segment,
                           const struct index_entry *entries,
                           uint32_t count,
                           uint32_t *out_kept)
{
    uint32_t kept = 0;
    while (kept < count && entry_follows(entries, kept) &&
           index_entry_offset(&entries[kept]) < segment->size) {
        kept++;
    }
    bool right = false;
    while (kept > 0 && !right) {
        enum err err = entry_names_record(segment, &entries[kept - 1], &right);
        if (err != ERR_OK) {
            return err;
        }
        kept -= right ? 0 : 1;
    }
    *out_kept = kept;
    return ERR_OK;
}

/* Walk from the last entry to the segment's end and add what is due. */
static enum err walk_on(const struct index_segment *segment,
                        struct index_content *content)
{
    struct index_builder *builder = &content->builder;
    uint64_t offset = SEGMENT_HEAD_SIZE;
    uint64_t sequence = segment->first;
    if (builder->count > 0) {
        const struct index_entry *last = &content->entries[builder->count - 1];
        offset = index_entry_offset(last);
        sequence = segment->first + last->relative;
        builder->due_at = offset + INDEX_INTERVAL;
        builder->time_max = last->time_ms;
    }
    content->end = sequence;
    content->end_offset = offset;
    struct segment_landing landing = {
        .limit = segment->size,
        .sequence = segment->end,
        .exact = segment->exact,
    };
    struct segment_walk walk;
    segment_walk_init(&walk, segment->fd, offset, segment->size, sequence);
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        struct segment_step step;
        err = segment_walk_next(&walk, &step);
        if (err == ERR_CORRUPT) {
            err = segment_walk_resync(&walk, &landing);
            if (err == ERR_NOT_FOUND && landing.exact) {
                landing.exact = false; /* more than one place is damaged */
                err = segment_walk_resync(&walk, &landing);
            }
            continue;
        }
        if (err != ERR_OK) {
            break;
        }
        content->end = walk.sequence;
        content->end_offset = walk.offset;
        err = content_grow(content, builder->count);
        if (err == ERR_OK) {
            (void)index_builder_add(builder, step.record.sequence, step.offset,
                                    step.record.pushed_at_ms,
                                    &content->entries[builder->count]);
        }
    }
    segment_walk_fini(&walk);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err load(const struct index_segment *segment,
                     bool use_file,
                     struct index_content *out_content)
{
    struct index_content content = {0};
    index_builder_init(&content.builder, segment->first);
    uint32_t count = 0;
    uint64_t size = UINT64_MAX;
    enum err err = ERR_OK;
    if (use_file) {
        err = read_file(segment, &content, &count, &size);
    }
    if (err == ERR_OK) {
        err = count_kept(segment, content.entries, count, &content.kept);
    }
    if (err == ERR_OK) {
        content.builder.count = content.kept;
        err = walk_on(segment, &content);
    }
    if (err != ERR_OK) {
        index_content_fini(&content);
        return err;
    }
    content.in_order = content.kept == content.builder.count &&
                       size == (uint64_t)content.kept * INDEX_ENTRY_SIZE;
    *out_content = content;
    return ERR_OK;
}

enum err index_load(const struct index_segment *segment,
                    struct index_content *out_content)
{
    return load(segment, true, out_content);
}

enum err index_build(const struct index_segment *segment,
                     struct index_content *out_content)
{
    return load(segment, false, out_content);
}

enum err index_store(const struct index_segment *segment,
                     struct index_content *content)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, segment->directory, segment->first, true);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_WRITE | FILE_CREATE, &fd);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t keep = (uint64_t)content->kept * INDEX_ENTRY_SIZE;
    err = file_truncate(fd, keep);
    if (err == ERR_OK && content->builder.count > content->kept) {
        size_t count = content->builder.count - content->kept;
        err = file_write_at(fd, content->entries + content->kept,
                            count * INDEX_ENTRY_SIZE, keep, false);
    }
    file_close(fd);
    if (err == ERR_OK) {
        content->kept = content->builder.count;
        content->in_order = true;
    }
    return err;
}

/* --- look up -------------------------------------------------------------- */

enum err index_map_open(const char *directory,
                        uint64_t first,
                        uint32_t count,
                        struct index_map *out_map)
{
    if (count == 0) {
        *out_map = (struct index_map){0};
        return ERR_OK;
    }
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, directory, first, true);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_READ, &fd);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t size = 0;
    size_t wanted = (size_t)count * INDEX_ENTRY_SIZE;
    void *memory = NULL;
    err = file_size(fd, &size);
    if (err == ERR_OK && size < wanted) {
        err = ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        err = file_map(fd, wanted, false, &memory);
    }
    file_close(fd);
    if (err == ERR_OK) {
        *out_map = (struct index_map){memory, count, true};
    }
    return err;
}

void index_unmap(struct index_map *map)
{
    if (map->mapped) {
        file_unmap(map->entries, (size_t)map->count * INDEX_ENTRY_SIZE);
    } else {
        free(map->entries);
    }
    *map = (struct index_map){0};
}

uint32_t index_find_sequence(const struct index_map *map, uint32_t relative)
{
    uint32_t low = 0;
    uint32_t high = map->count; /* entries[high..] are past it */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (map->entries[middle].relative <= relative) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? map->count : low - 1;
}

uint32_t index_find_time(const struct index_map *map, uint64_t at_ms)
{
    uint32_t low = 0;
    uint32_t high = map->count; /* entries[high..] are not before it */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (map->entries[middle].time_ms < at_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? map->count : low - 1;
}

uint32_t index_find_offset(const struct index_map *map, uint64_t offset)
{
    uint32_t low = 0;
    uint32_t high = map->count; /* entries[high..] are past it */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index_entry_offset(&map->entries[middle]) <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
