/* The sparse index of a segment: doc/log-format.md, section 4.
 *
 * An array of entries, ascending in sequence, offset and time; memory-mapped
 * for lookup. It is only ever a help: index_load() mends what is missing, short
 * or wrong from the segment itself.
 *
 *     building: index_builder_add() says for each record whether an entry is
 *               due; whoever writes the segment appends it to the file
 *     reading:  index_load() checks all of it, by reads and not through a
 *               mapping, so that a bad sector is an error and no signal; then
 *               index_map_open(), and lookups in memory
 *
 * Durability: none of its own.
 *
 * Threads: any; a map belongs to one thread.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_INDEX_H
#define OPQ_LOG_INDEX_H

#include "base/err.h"
#include "log/segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    INDEX_ENTRY_SIZE = 16,
    INDEX_INTERVAL = 4096, /* bytes of records to the next entry, at least */
};

/* An entry, as on disk. */
struct index_entry {
    uint32_t relative; /* sequence - the segment's first */
    uint32_t offset8;  /* offset / 8 */
    uint64_t time_ms;  /* the largest pushed_at_ms up to here */
};

/* What is known of an index under construction. */
struct index_builder {
    uint64_t first;    /* of the segment */
    uint32_t count;    /* entries so far */
    uint64_t due_at;   /* offset from which on a record gets an entry */
    uint64_t time_max; /* largest pushed_at_ms so far */
};

/* A segment as far as it is believed: what an index is about. */
struct index_segment {
    const char *directory; /* borrowed */
    uint64_t first;
    uint64_t end;  /* one past the last sequence, if `exact` */
    uint64_t size; /* bytes */
    int fd;        /* its .msg, open; borrowed */
    bool exact;
};

/* An index in order, whatever its file holds. */
struct index_content {
    struct index_builder builder; /* goes on behind the last record */
    struct index_entry *entries;  /* owned; builder.count of them */
    uint32_t capacity;            /* of entries */
    uint32_t kept;                /* that the file holds like this */
    bool in_order;                /* the file holds exactly these */
    uint64_t end;        /* one past the last whole record's sequence */
    uint64_t end_offset; /* where that record ends */
};

/* Entries in memory. */
struct index_map {
    struct index_entry *entries; /* a mapping, or owned memory */
    uint32_t count;
    bool mapped;
};

/* Begin an index for a segment that is empty. */
void index_builder_init(struct index_builder *builder, uint64_t first);

/* Note the next record. Returns true when it gets an entry.
 *
 * Gives: `*out_entry` then. */
bool index_builder_add(struct index_builder *builder,
                       uint64_t sequence,
                       uint64_t offset,
                       uint64_t pushed_at_ms,
                       struct index_entry *out_entry);

/* Read the index of a segment and bring it in order, in memory: entries that
 * are not ascending, lie behind the segment's size or name no record are
 * dropped, and what is missing at its end (all, when there is no file) is added
 * by walking the segment from there. Damage is stepped over.
 *
 * Gives:  `*out_content`, for index_content_fini().
 * Errors: ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM, ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err index_load(const struct index_segment *segment,
                               struct index_content *out_content);

/* As index_load(), from the segment alone: the file of the index is neither
 * read nor trusted. */
MUST_CHECK enum err index_build(const struct index_segment *segment,
                                struct index_content *out_content);

/* Bring the file in order, too: keep `content->kept` entries of it and write
 * the others behind them. Does not sync.
 *
 * Errors: ERR_IO, ERR_FULL, ERR_BUSY (descriptors), ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err index_store(const struct index_segment *segment,
                                struct index_content *content);

/* Free its memory. Accepts a zeroed one. */
void index_content_fini(struct index_content *content);

/* Map the first `count` entries of an index that was in order before.
 *
 * Gives:  `*out_map`, for index_unmap().
 * Errors: ERR_NOT_FOUND, ERR_CORRUPT (shorter than that): repair it
 *         ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM, ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err index_map_open(const char *directory,
                                   uint64_t first,
                                   uint32_t count,
                                   struct index_map *out_map);

/* Unmap or free. Accepts a zeroed one. */
void index_unmap(struct index_map *map);

/* The last entry at or before a sequence: its position. `map->count` when
 * there is none. */
uint32_t index_find_sequence(const struct index_map *map, uint32_t relative);

/* The last entry whose time is before `at_ms`: its position. `map->count` when
 * there is none. */
uint32_t index_find_time(const struct index_map *map, uint64_t at_ms);

/* The first entry whose offset is past `offset`: its position. `map->count`
 * when there is none. */
uint32_t index_find_offset(const struct index_map *map, uint64_t offset);

/* The offset that an entry says. */
static inline uint64_t index_entry_offset(const struct index_entry *entry)
{
    return (uint64_t)entry->offset8 * 8;
}

/* Tell whether entries are ascending and begin as they must. */
bool index_entries_ordered(const struct index_entry *entries, uint32_t count);

#endif
