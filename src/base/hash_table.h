/* An intrusive hash table: objects found by a 64-bit hash.
 *
 * A node is embedded in the object that is kept. Several objects may have the
 * same hash; whoever looks for one compares what was hashed. The table grows as
 * it fills, and never shrinks: it is as large as it once had to be, eight bytes
 * for each object.
 *
 *     for (node = hash_table_first(t, hash); node != NULL; node =
 * hash_table_next(node))
 *
 * Threads: none; the owner of the objects.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_HASH_TABLE_H
#define OPQ_BASE_HASH_TABLE_H

#include "base/err.h"

#include <stdint.h>

struct hash_node {
    struct hash_node *next; /* in its bucket; NULL: last */
    uint64_t hash;
};

/* Zeroed: empty. */
struct hash_table {
    struct hash_node **buckets; /* owned; NULL: none yet */
    uint32_t bucket_count;      /* a power of two, or 0 */
    uint32_t count;             /* nodes */
};

/* Free what the table has of its own. The objects are their owner's. */
void hash_table_fini(struct hash_table *table);

/* Put an object in, under a hash. Without memory for more buckets the table
 * only gets slower.
 * Borrows: node, until hash_table_remove() or hash_table_fini().
 * Errors:  ERR_NOMEM  these would be the first buckets; nothing is changed */
MUST_CHECK enum err
hash_table_add(struct hash_table *table, struct hash_node *node, uint64_t hash);

/* Take an object out, which is in it. */
void hash_table_remove(struct hash_table *table, struct hash_node *node);

/* Find the first object with a hash; NULL: none. */
struct hash_node *hash_table_first(const struct hash_table *table,
                                   uint64_t hash);

/* Find the next object with the same hash; NULL: none. */
struct hash_node *hash_table_next(const struct hash_node *node);

/* Go through all objects: `*bucket` begins with 0 and `after` with NULL, then
 * is what was returned; NULL: that was the last. The one that was returned may
 * be taken out only when the one behind it was asked for. */
struct hash_node *hash_table_each(const struct hash_table *table,
                                  uint32_t *bucket,
                                  const struct hash_node *after);

#endif
