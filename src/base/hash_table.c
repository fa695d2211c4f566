/* An intrusive hash table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/hash_table.h"

#include "base/check.h"

#include <stdlib.h>

enum { BUCKETS_FIRST = 64 }; /* a power of two */

static struct hash_node **bucket_of(const struct hash_table *table,
                                    uint64_t hash)
{
    return &table->buckets[hash & (table->bucket_count - 1)];
}

/* Have twice as many buckets. */
static enum err grow(struct hash_table *table)
{
    struct hash_table old = *table;
    uint32_t count =
        old.bucket_count == 0 ? BUCKETS_FIRST : 2 * old.bucket_count;
    struct hash_node **buckets = calloc(count, sizeof(struct hash_node *));

    if (buckets == NULL) {
        return ERR_NOMEM;
    }
    table->buckets = buckets;
    table->bucket_count = count;
    for (uint32_t i = 0; i < old.bucket_count; i++) {
        struct hash_node *next = NULL;
        for (struct hash_node *node = old.buckets[i]; node != NULL;
             node = next) {
            struct hash_node **bucket = bucket_of(table, node->hash);
            next = node->next;
            node->next = *bucket;
            *bucket = node;
        }
    }
    free(old.buckets);
    return ERR_OK;
}

void hash_table_fini(struct hash_table *table)
{
    free(table->buckets);
    *table = (struct hash_table){0};
}

enum err
hash_table_add(struct hash_table *table, struct hash_node *node, uint64_t hash)
{
    if (table->count >= table->bucket_count && grow(table) != ERR_OK &&
        table->bucket_count == 0) {
        return ERR_NOMEM;
    }
    struct hash_node **bucket = bucket_of(table, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    table->count++;
    return ERR_OK;
}

void hash_table_remove(struct hash_table *table, struct hash_node *node)
{
    CHECK(table->count > 0);
    struct hash_node **place = bucket_of(table, node->hash);

    while (*place != node) {
        CHECK(*place != NULL);
        place = &(*place)->next;
    }
    *place = node->next;
    node->next = NULL;
    table->count--;
}

/* The first of a chain that has a hash. */
static struct hash_node *seek(struct hash_node *node, uint64_t hash)
{
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}

struct hash_node *hash_table_first(const struct hash_table *table,
                                   uint64_t hash)
{
    return table->bucket_count == 0 ? NULL
                                    : seek(*bucket_of(table, hash), hash);
}

struct hash_node *hash_table_next(const struct hash_node *node)
{
    return seek(node->next, node->hash);
}

struct hash_node *hash_table_each(const struct hash_table *table,
                                  uint32_t *bucket,
                                  const struct hash_node *after)
{
    struct hash_node *next = after != NULL ? after->next : NULL;

    while (next == NULL && *bucket < table->bucket_count) {
        next = table->buckets[*bucket];
        *bucket += 1;
    }
    return next;
}
