/* A table of numbers by 128-bit hashes, for many small entries of many owners.
 *
 * What dedup and collapse are built on. An entry is 36 bytes, and a bucket of
 * 4: 40 bytes in all. Memory grows by chunks, and buckets one by one (linear
 * hashing), so that no insertion ever moves the whole table; the chunks go when
 * the table is empty, but for the first.
 *
 * Two entries may have the same hash: the one inserted last need not be the one
 * found first. Entries stay where they are until they are removed.
 *
 * Threads: none; the owner's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_ID_TABLE_H
#define OPQ_QUEUE_ID_TABLE_H

#include "base/err.h"
#include "base/siphash.h"

#include <stdint.h>

#define ID_TABLE_NONE UINT32_MAX /* no entry */

/* Of 32-bit words alone, so that no padding is paid for. */
struct id_entry {
    uint32_t hash[4];
    uint32_t value[2]; /* by id_table_value() */
    uint32_t next;     /* private: in the bucket, or unused */
    uint32_t younger;  /* the owner's: the next in a list of its own */
    uint32_t note;     /* the owner's: whatever it wants */
};

_Static_assert(sizeof(struct id_entry) == 36, "without padding");

struct id_table {
    struct id_entry **chunks; /* owned; each owned */
    uint32_t **buckets;       /* owned; chunks of them, each owned */
    uint32_t chunk_count;
    uint32_t bucket_count;
    uint32_t bucket_chunks;
    uint32_t chunk_room;  /* of the array of pointers */
    uint32_t bucket_room; /* likewise */
    uint32_t fresh;       /* entries never used begin here */
    uint32_t unused;      /* the first entry that was removed */
    uint32_t count;
};

/* Make an empty table. Allocates nothing. */
void id_table_init(struct id_table *table);

/* Free it with all its entries. */
void id_table_fini(struct id_table *table);

/* Find an entry with this hash: the first, or the next one behind `after`.
 * ID_TABLE_NONE when there is none. */
uint32_t id_table_find(const struct id_table *table,
                       const struct siphash *hash,
                       uint32_t after);

/* Add an entry; `younger` is ID_TABLE_NONE, `note` and the value 0.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err id_table_insert(struct id_table *table,
                                    const struct siphash *hash,
                                    uint32_t *out_index);

/* Remove an entry that is there. */
void id_table_remove(struct id_table *table, uint32_t index);

/* An entry that is there; valid until it is removed. */
struct id_entry *id_table_entry(const struct id_table *table, uint32_t index);

/* Bytes of memory in use. */
uint64_t id_table_bytes(const struct id_table *table);

/* The number that an entry has. */
static inline uint64_t id_table_value(const struct id_entry *entry)
{
    return (uint64_t)entry->value[1] << 32 | entry->value[0];
}

/* Give an entry its number. */
static inline void id_table_set_value(struct id_entry *entry, uint64_t value)
{
    entry->value[0] = (uint32_t)value;
    entry->value[1] = (uint32_t)(value >> 32);
}

#endif
